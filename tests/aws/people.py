"""People at the console of a deployment after its day: they log in, look, listen, and act.

The provider is a server of the tests; the console's pages come from the process that a container
would run, with the template's variables. What they see is held against the simulator's ledger.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, quote, urlsplit

import aiohttp

from ocp_ingest.core.access import Person
from ocp_ingest.demo.client import Client as Api
from tests.aws.servers import launch
from tests.console.kit import Client
from tests.console.provider import CLIENT, SECRET, provider
from tests.console.test_overview import equation

# As the overview calls the terms of the law -> outcome of a call in the API.
TERMS: Final = {
    "stored": "stored", "no recording": "absent", "in quarantine": "quarantined", "lost": "lost",
}  # fmt: skip
REASON: Final = "The vendor sent a better copy."
GROUP: Final = "duty"
# The stream's last batch may still be on its way to the counters when the day is over.
COUNTED_S_MAX: Final = 60.0
_SRC: Final = re.compile(r'<source src="([^"]+)"')


@dataclass(frozen=True, slots=True)
class Door:
    """Where the console is, and where its people log in: the port is kept for the provider."""

    url: str
    provider_port: int

    @classmethod
    def at(cls, url: str) -> Door:
        """The door of a process."""
        return cls(url, launch.free_port())

    def environment(self) -> dict[str, str]:
        """What the process is told otherwise than a container: no Cognito, no TLS, no Fargate."""
        oidc = "OCP_INGEST_CONSOLE__OIDC__"
        return {
            "OCP_INGEST_CONSOLE__ENABLED": "true",
            "OCP_INGEST_CONSOLE__PUBLIC_URL": self.url,
            "OCP_INGEST_CONSOLE__DEFAULT_LANG": "en",
            "OCP_INGEST_CONSOLE__SECURE_COOKIES": "never",
            "OCP_INGEST_CONSOLE__SESSION_KEY": "k" * 64,
            f"{oidc}ISSUER": f"http://127.0.0.1:{self.provider_port}",
            f"{oidc}CLIENT_ID": CLIENT,
            f"{oidc}CLIENT_SECRET": SECRET,
            f"{oidc}GROUPS": f'{{ {GROUP} = {{ role = "operator", lobs = ["*"] }} }}',
        }


def visit(door: Door, api: Api, calls: list[dict[str, Any]], copy: Path) -> None:
    """A whole visit. `calls`: as the API tells them; `copy`: the buckets of lines of business."""
    asyncio.run(_visit(door, api, calls, copy))


async def _visit(door: Door, api: Api, calls: list[dict[str, Any]], copy: Path) -> None:
    jar = aiohttp.CookieJar(unsafe=True)  # cookies of an IP address
    async with (
        provider(door.provider_port) as fake,
        aiohttp.ClientSession(cookie_jar=jar) as session,
    ):
        fake.claims["groups"] = [GROUP]
        client = Client(session, door.url, Person("", "", ()))
        assert (await client.get("/console/", follow=False)).status == 303, "a stranger came in"
        page = await client.get("/console/login/start", follow=False)
        asked = {k: v[0] for k, v in parse_qs(urlsplit(page.location).query).items()}
        code = fake.authorize(asked)
        page = await client.get(f"/console/login/provider?code={code}&state={asked['state']}")
        assert page.status == 200, page.text
        await _looks(client, calls)
        await _listens(client, calls, copy)
        await _acts(client, api, calls)


async def _looks(client: Client, calls: list[dict[str, Any]]) -> None:
    """The overview's figures are the ledger's, as soon as the stream's counters have them."""
    outcomes = Counter(call["outcome"] for call in calls)
    expected = {
        "started": len(calls), "in flight": 0,
        **{term: outcomes[outcome] for term, outcome in TERMS.items()},
    }  # fmt: skip
    until = time.monotonic() + COUNTED_S_MAX
    while (said := equation(await client.get("/console/?period=d30"))) != expected:
        assert time.monotonic() < until, f"the overview says {said}, the ledger {expected}"
        await asyncio.sleep(1)


async def _listens(client: Client, calls: list[dict[str, Any]], copy: Path) -> None:
    """One call's page, and a range of its recording, as it lies in S3."""
    call = next(call for call in calls if call["outcome"] == "stored")
    recording = next(r for r in call["recordings"] if r["dialog_id"] == call["call_id"])
    path = f"/console/calls/{quote(call['call_id'], safe='')}"
    page = await client.get(path)
    assert page.status == 200
    assert call["call_id"] in page.text
    whole = (copy / recording["uri"]).read_bytes()
    sha = recording["sha256"]
    listen = f"{path}/recordings/{quote(recording['dialog_id'], safe='')}/{sha}/listen"
    player = await client.post(listen, htmx=True, follow=False, reason="quality")
    found = _SRC.search(player.html)
    assert found is not None, player.html
    piece = await client.get(unescape(found.group(1)), Range="bytes=1000-1999")
    assert piece.status == 206, piece.text
    assert piece.body == whole[1000:2000]


async def _acts(client: Client, api: Api, calls: list[dict[str, Any]]) -> None:
    """An action is in the journal, under the name that the provider vouched for."""
    call = next(call for call in calls if call["outcome"] == "quarantined")
    call_id = quote(call["call_id"], safe="")
    page = await client.post(f"/console/calls/{call_id}/reopen", reason=REASON)
    assert page.status == 200, page.text
    journal = api.get(f"/v1/calls/{call_id}/events")["events"]
    told = [event["data"] for event in journal if event["kind"] == "reopened"]
    assert [(data["by"], data["reason"]) for data in told][-1] == ("ana@example.com", REASON)
