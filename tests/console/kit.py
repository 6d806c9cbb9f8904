"""The console on the real server over an embedded runtime, its people, and calls in every outcome.

    async with site(tmp_path) as site:
        made = await site.stored()                       # a call; also quarantined(), lost() …
        client = await site.login("operator")            # or viewer, auditor, cards_operator
        page = await client.get("/console/calls")
        await client.post(f"/console/calls/{made.call_id}/retry", reason="because")

Nothing works beside it: what is queued is done by the makers, within `pipeline.drain`.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from random import Random
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
import msgspec
from litestar.handlers import HTTPRouteHandler
from multidict import CIMultiDict
from yarl import URL

from ocp_ingest import bootstrap
from ocp_ingest import config as config_reader
from ocp_ingest.adapters.passwords import Cost, Passwords
from ocp_ingest.adapters.tokens.setup import Authority, authority
from ocp_ingest.config_model import Config
from ocp_ingest.core import events as ev
from ocp_ingest.core.access import Person, Role, scope_of
from ocp_ingest.core.call import Call
from ocp_ingest.core.recording import parse_name
from ocp_ingest.core.vendor import Context
from ocp_ingest.desk.ports import LocalUser
from ocp_ingest.desk.world import Desk
from ocp_ingest.entrypoints.api.app import create_app
from ocp_ingest.entrypoints.api.server import serving
from ocp_ingest.entrypoints.console.app import console_handlers
from ocp_ingest.entrypoints.console.deps import Console, build
from ocp_ingest.ingest import intake, operate, pipeline
from ocp_ingest.ingest.world import World
from ocp_ingest.reconcile.world import Stage2
from ocp_ingest.telemetry import Metrics
from tests.story.kit import Talk, encoded, hiss

SECRET: Final = "correct-horse-battery"
PASSWORD: Final = "correct horse battery staple"
# name -> role, lines of business
PEOPLE: Final[dict[str, tuple[Role, tuple[str, ...]]]] = {
    "viewer": ("viewer", ("*",)),
    "operator": ("operator", ("*",)),
    "auditor": ("auditor", ("*",)),
    "cards_operator": ("operator", ("cards",)),
}
# Hashing as in production costs a tenth of a second a log-in; these tests are about other things.
CHEAP: Final = Passwords(Cost(passes=1, memory_kib=64, lanes=1))
_CSRF: Final = re.compile(r'<meta name="csrf" content="([^"]*)">')
_ISSUER_KEY: Final[dict[str, bytes]] = {}
_HASHED: Final[dict[str, str]] = {}


def config_of(data_dir: Path, **sections: Any) -> Config:
    """A configuration with three lines of business; `sections` are joined over it."""
    tree: dict[str, Any] = {
        "server": {"port": 0, "stop_s_max": 5.0},
        "data": {"dir": str(data_dir), "free_bytes_min": 1},
        "auth": {"clients": {"ocp": {"secret": SECRET, "scopes": ["ingest", "read"]}}},
        "console": {"default_lang": "en"},
        "routing": [
            {"lob": lob, "when": {"entry_app": f"{lob}-*"}}
            for lob in ("banking", "cards", "insurance")
        ],
        "lob": {"banking": {}, "cards": {}, "insurance": {}},
    }
    for name, section in sections.items():
        merged = isinstance(section, Mapping) and isinstance(tree.get(name), Mapping)
        tree[name] = {**tree[name], **section} if merged else section
    return config_reader.parse(tree)


@dataclass
class Page:
    """An answer, whole."""

    status: int
    url: str
    headers: CIMultiDict[str]
    body: bytes
    cookies: Sequence[str] = ()  # its Set-Cookie headers

    @property
    def text(self) -> str:
        """The body as text, entities resolved."""
        return unescape(self.body.decode())

    @property
    def html(self) -> str:
        """The body as it came."""
        return self.body.decode()

    @property
    def location(self) -> str:
        """Where a redirect leads."""
        return self.headers["Location"]

    def json(self) -> Any:
        """The body, decoded."""
        return msgspec.json.decode(self.body)

    def csrf(self) -> str:
        """The page's form token."""
        found = _CSRF.search(self.html)
        assert found is not None, "the page has no form token"
        return unescape(found.group(1))


@dataclass
class Client:
    """A browser without a screen: a cookie jar, and the form token of the last page seen."""

    session: aiohttp.ClientSession
    base: str
    person: Person
    token: str = ""

    async def ask(
        self, method: str, path: str, *, follow: bool = True,
        headers: Mapping[str, str] | None = None, data: Any = None,
    ) -> Page:  # fmt: skip
        """One request, redirects followed unless told otherwise; `path` is taken as written."""
        url = URL(path if path.startswith("http") else f"{self.base}{path}", encoded=True)
        async with self.session.request(
            method, url, headers=headers, data=data, allow_redirects=follow
        ) as answer:
            page = Page(answer.status, str(answer.url), answer.headers.copy(), await answer.read(),
                        answer.headers.getall("Set-Cookie", []))  # fmt: skip
        found = _CSRF.search(page.body.decode("utf-8", "replace"))
        if found is not None:
            self.token = unescape(found.group(1))
        return page

    async def get(self, path: str, *, follow: bool = True, **headers: str) -> Page:
        """A GET; header names are written with underscores."""
        return await self.ask("GET", path, follow=follow, headers=_named(headers))

    async def part(self, path: str, **headers: str) -> Page:
        """A GET as htmx makes it."""
        return await self.ask("GET", path, headers=_named({"HX_Request": "true", **headers}))

    async def post(
        self, path: str, *, follow: bool = True, htmx: bool = False, csrf: str | None = None,
        fields: Sequence[tuple[str, str]] = (), **form: str,
    ) -> Page:  # fmt: skip
        """A form, with the token of the session; `fields` for names that come several times."""
        if csrf is None and not self.token:
            await self.get("/console/login")
        sent = [("csrf", self.token if csrf is None else csrf), *form.items(), *fields]
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        if htmx:
            headers["HX-Request"] = "true"
        return await self.ask(
            "POST", path, follow=follow, headers=headers, data=urlencode(sent).encode()
        )


def _named(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


@dataclass
class Site:
    """A served console, what is behind it, and makers of calls."""

    runtime: bootstrap.Embedded
    console: Console
    port: int
    authority: Authority
    sessions: list[aiohttp.ClientSession] = field(default_factory=list)
    rng: Random = field(default_factory=lambda: Random(1))

    @property
    def base(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def world(self) -> World:
        """The ports of stage 1."""
        return self.runtime.world

    @property
    def desk(self) -> Desk:
        """The desk's ports."""
        return self.runtime.desk

    @property
    def config(self) -> Config:
        """As it was read."""
        return self.runtime.config

    # -- people -----------------------------------------------------------------------------------

    def stranger(self) -> Client:
        """A client that has not logged in, with a cookie jar of its own."""
        jar = aiohttp.CookieJar(unsafe=True)  # cookies of an IP address
        self.sessions.append(aiohttp.ClientSession(cookie_jar=jar))
        return Client(self.sessions[-1], self.base, Person("", "", ()))

    async def login(self, name: str, password: str = PASSWORD) -> Client:
        """A client of one of PEOPLE, or of somebody added with `add`."""
        client = self.stranger()
        await client.get("/console/login")
        page = await client.post("/console/login", follow=False, name=name, password=password)
        assert page.status == 303, page.text
        assert self.desk.users is not None
        user = await self.desk.users.user(name)
        assert user is not None
        client.person = Person(user.name, user.role, scope_of(user.lobs))
        await client.get("/console/keys-of-the-test")  # any page of the session has its token
        return client

    async def add(
        self, name: str, role: str, lobs: tuple[str, ...], password: str = PASSWORD, **more: Any
    ) -> LocalUser:
        """Adds somebody, or replaces them."""
        if password not in _HASHED:
            _HASHED[password] = await CHEAP.hash(password)
        user = LocalUser(name=name, role=role, lobs=lobs, password=_HASHED[password], **more)
        assert self.desk.users is not None
        await self.desk.users.put(user)
        return user

    # -- calls ------------------------------------------------------------------------------------

    def talk(self, duration_ms: int = 4_000, app: str = "banking-voice") -> Talk:
        """A call that OCP could tell of: it ended ten minutes ago."""
        return Talk(self.rng, duration_ms, app)

    async def events(self, *bodies: dict[str, Any]) -> None:
        """OCP pushes events; workers do what follows."""
        context = Context(received_at_ms=int(time.time() * 1000))
        await intake.events(self.world, [(body, encoded(body)) for body in bodies], context)
        await pipeline.drain(self.world)

    async def deliver(self, name: str, audio: bytes) -> None:
        """OCP pushes a recording; workers do what follows."""

        async def chunks() -> AsyncIterator[bytes]:
            yield audio

        await intake.recording(self.world, parse_name(name), chunks(), source="stream")
        await pipeline.drain(self.world)

    async def in_flight(self, app: str = "banking-voice", **more: Any) -> Talk:
        """A call with its CDRs and no recording; `more` are further fields of both CDRs."""
        talk = self.talk(app=app)
        await self.events(talk.start(**more), talk.end(**more))
        return talk

    async def stored(
        self, app: str = "banking-voice", audio: bytes | None = None, **more: Any
    ) -> Talk:
        """A call whose recording is in the bucket of its line of business."""
        talk = await self.in_flight(app, **more)
        await self.deliver(talk.name, audio or hiss(self.rng, talk.duration_ms))
        return talk

    async def too_long(self, app: str = "banking-voice") -> Talk:
        """A call whose recording is too long for it: kept aside, still open; an export may help."""
        talk = await self.in_flight(app)
        await self.deliver(talk.name, hiss(self.rng, talk.duration_ms + 20_000))
        return talk

    async def quarantined(self, app: str = "banking-voice") -> Talk:
        """The same, and OCP's own copy is bad too: closed, in quarantine."""
        return await self._closed(await self.too_long(app), "quarantined", "bad_at_ocp")

    async def lost(self, app: str = "banking-voice") -> Talk:
        """A call that OCP deleted before a recording could be had."""
        return await self._closed(await self.in_flight(app), "lost", "retention_over")

    async def absent(self, app: str = "banking-voice") -> Talk:
        """A call that a person said has no recording."""
        talk = await self.in_flight(app)
        await operate.mark_absent(self.world, talk.call_id, who="kit", reason="never recorded")
        return talk

    async def _closed(self, talk: Talk, outcome: ev.Closing, code: str) -> Talk:
        now_ms = self.world.clock.now_ms()
        reason = f"The test closed it as {outcome}."
        await self.world.calls.append(
            [ev.closed(talk.call_id, outcome, epoch=0, at_ms=now_ms, reason=reason, code=code)]
        )
        return talk

    async def call(self, call_id: str) -> Call:
        """A call's record; it must be there."""
        found = await self.world.calls.load(call_id)
        assert found is not None
        return found


@asynccontextmanager
async def site(
    folder: Path, *, people: bool = True, reconcile: Any = None, stage2: Stage2 | None = None,
    passwords: Passwords = CHEAP, console: Mapping[str, Any] | None = None,
    more: Callable[[Console], list[HTTPRouteHandler]] = lambda _: [],
    now_s: Callable[[], float] = time.time, **sections: Any,
) -> AsyncIterator[Site]:  # fmt: skip
    """A console that is served within the `async with`.

    `sections` are joined over the configuration (console={"…": …} too, through `console`);
    `reconcile` and `stage2` are what the runtime would lend it; `more` gives further routes;
    `now_s` is the time that sessions and limits go by.
    """
    data_dir = folder / "data"
    data_dir.mkdir(parents=True, exist_ok=True)
    if "pem" in _ISSUER_KEY:  # an RSA key takes longer than a test
        (data_dir / "token-issuer.pem").write_bytes(_ISSUER_KEY["pem"])
    config = config_of(data_dir, **sections, **({"console": console} if console else {}))
    runtime = bootstrap.embedded(config)
    try:
        held = authority(config.auth, data_dir)
        _ISSUER_KEY.setdefault("pem", (data_dir / "token-issuer.pem").read_bytes())
        metrics = Metrics()
        built = build(
            runtime.desk, config, metrics=metrics, reconcile=reconcile, stage2=stage2,
            passwords=passwords, now_s=now_s,
        )  # fmt: skip
        handlers = console_handlers(built, more(built))
        api = create_app(runtime.world, held, config, metrics=metrics, more=handlers)
        async with serving(api, config.server) as port:
            opened = Site(runtime, built, port, held)
            if people:
                for name, (role, lobs) in PEOPLE.items():
                    await opened.add(name, role, lobs)
            try:
                yield opened
            finally:
                for session in opened.sessions:
                    await session.close()
    finally:
        runtime.close()
