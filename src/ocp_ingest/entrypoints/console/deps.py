"""What the pages share: the desk, the configuration, how a page is made. Built once per process."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from litestar.response import Response

from ocp_ingest.adapters.journal import Deriving
from ocp_ingest.adapters.oidc import settings as oidc_settings
from ocp_ingest.adapters.passwords import Passwords
from ocp_ingest.adapters.tokens.secrets import read_or_make, read_secret
from ocp_ingest.config_checks import is_loopback
from ocp_ingest.config_model import Config
from ocp_ingest.core.call import Call
from ocp_ingest.core.errors import Invalid, NotFound
from ocp_ingest.core.view import UriOf, plain_uri
from ocp_ingest.desk.notify import Channels
from ocp_ingest.desk.world import Desk
from ocp_ingest.entrypoints.console.assets import Assets
from ocp_ingest.entrypoints.console.cookies import SAID_S, Cookies
from ocp_ingest.entrypoints.console.ended import Ended
from ocp_ingest.entrypoints.console.limits import Limits
from ocp_ingest.entrypoints.console.locale import texts
from ocp_ingest.entrypoints.console.page import Pages, Said, Tone, Visit, url
from ocp_ingest.entrypoints.console.sealing import KEY_CHARS_MIN, Seal
from ocp_ingest.entrypoints.console.session import Sessions
from ocp_ingest.reconcile.world import Stage2
from ocp_ingest.telemetry import Metrics

if TYPE_CHECKING:
    from ocp_ingest.adapters.oidc.provider import Provider

KEY_FILE: Final = "console.key"
_KEY_BYTES: Final = 32
SAID_PURPOSE: Final = "said"

Reconcile = Callable[[bool], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Console:
    """See the module's first line."""

    desk: Desk
    config: Config
    metrics: Metrics
    uri_of: UriOf
    reconcile: Reconcile | None
    stage2: Stage2 | None
    pages: Pages
    seal: Seal
    sessions: Sessions
    cookies: Cookies
    limits: Limits
    passwords: Passwords
    provider: Provider | None
    deriving: Deriving
    channels: Channels  # where alerts go, for their test
    ring_bulk: Callable[[], None] | None  # tells this process's bulk runner that a job was started
    now_s: Callable[[], float]

    # -- answers ----------------------------------------------------------------------------------

    def page(
        self, visit: Visit, template: str, status: int = 200, **values: Any
    ) -> Response[bytes]:
        """A whole page; it shows the notice that the request before left."""
        if visit.said is not None:
            visit.cookies.append(self.cookies.end(self.cookies.said))
        return self.pages.response(visit, template, status, **values)

    def part(
        self, visit: Visit, template: str, status: int = 200, **values: Any
    ) -> Response[bytes]:
        """A fragment for htmx."""
        return self.pages.response(visit, template, status, **values)

    def go(
        self, path: str, said: str = "", *, tone: Tone = "ok", visit: Visit | None = None,
        **params: object,
    ) -> Response[bytes]:  # fmt: skip
        """On to another page after a POST, where the text of key `said` is shown once.

        With the `visit` of an htmx request the whole page goes on, not the fragment.
        """
        headers: dict[str, Any] = {}
        if said:
            assert said in self.pages.texts, f"no text of key {said!r}"
            value = self.seal.seal(SAID_PURPOSE, [said, tone, _words(params)])
            headers["Set-Cookie"] = self.cookies.make(self.cookies.said, value, SAID_S)
        if visit is not None and visit.htmx:
            return Response(b"", status_code=200, headers={"HX-Redirect": url(path), **headers})
        return Response(b"", status_code=303, headers={"Location": url(path), **headers})

    def said(self, cookie: str) -> Said | None:
        """The notice that `go` left."""
        held = self.seal.open(SAID_PURPOSE, cookie, tuple[str, Tone, dict[str, str]])
        return None if held is None or held[0] not in self.pages.texts else Said(
            held[0], held[2], held[1]
        )  # fmt: skip

    # -- calls ------------------------------------------------------------------------------------

    async def load(self, visit: Visit, call_id: str) -> Call:
        """A call that the visitor may see. Raises NotFound for unknown ones and others' alike."""
        call = await self.desk.world.calls.load(call_id)
        if call is None or not visit.person.sees(self.lob_of(call)):
            raise NotFound("There is no call of that id.", say="shell.error.no_call")
        return call

    def lob_of(self, call: Call) -> str:
        """Whose call it is: pinned, else by the routing rules of now, else ""."""
        return self.deriving.lob_of(call)

    @property
    def now_ms(self) -> int:
        """Domain time."""
        return self.desk.world.clock.now_ms()


def _words(params: dict[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in params.items()}


def build(
    desk: Desk,
    config: Config,
    *,
    metrics: Metrics | None = None,
    uri_of: UriOf = plain_uri,
    reconcile: Reconcile | None = None,
    stage2: Stage2 | None = None,
    channels: Channels | None = None,
    ring_bulk: Callable[[], None] | None = None,
    passwords: Passwords | None = None,
    now_s: Callable[[], float] = time.time,
) -> Console:
    """The console over a desk; `now_s` is real time, which sessions and limits go by.

    `reconcile(census)` runs reconciliation now; `stage2` is what the dry run plans with. Raises
    Invalid for a key that can't be read.
    """
    section = config.console
    seal = Seal(_key(config))
    cookies = Cookies(_is_secure(config))
    return Console(
        desk=desk, config=config, metrics=metrics or Metrics(), uri_of=uri_of,
        reconcile=reconcile, stage2=stage2,
        pages=Pages(texts(), Assets(), ZoneInfo(section.time_zone)),
        seal=seal,
        sessions=Sessions(
            seal, desk.users, Ended(desk.notes, now_s),
            idle_s=section.session_idle_s, lasts_s=section.session_s, now_s=now_s,
        ),
        cookies=cookies, limits=Limits(), passwords=passwords or Passwords(),
        provider=_provider(config, now_s), deriving=Deriving.of(desk.world.settings), now_s=now_s,
        channels=channels or Channels(), ring_bulk=ring_bulk,
    )  # fmt: skip


def _provider(config: Config, now_s: Callable[[], float]) -> Provider | None:
    if not oidc_settings.configured(config.console.oidc):
        return None
    # Its HTTP client is a tenth of a start, which most embedded deployments need not pay.
    from ocp_ingest.adapters.oidc.provider import Provider

    return Provider(config.console.oidc, _redirect_uri(config), now_s)


def _key(config: Config) -> bytes:
    """The secret under which cookies are sealed; every process of a deployment needs the same."""
    section = config.console
    if section.session_key_file:
        text = read_secret(Path(section.session_key_file), "console.session_key_file")
    elif section.session_key:
        text = section.session_key
    else:
        return read_or_make(Path(config.data.dir) / KEY_FILE, _KEY_BYTES)
    if len(text) < KEY_CHARS_MIN:
        raise Invalid(f"The console's session key needs at least {KEY_CHARS_MIN} characters.")
    return text.encode()


def _is_secure(config: Config) -> bool:
    wanted = config.console.secure_cookies
    if wanted == "auto":
        return not is_loopback(config.server.host) or config.console.public_url.startswith("https:")
    return wanted == "always"


def _redirect_uri(config: Config) -> str:
    return config.console.public_url.rstrip("/") + url("/login/provider")
