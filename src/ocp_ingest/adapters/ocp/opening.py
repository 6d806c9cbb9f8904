"""Opens a file at an offset: our token, the account's turns, redirects; one try.

Answer                     becomes
200, 206, 416              the response, to be read
401 of OCP                 the token is renewed and the request repeated, once
301, 302, 303, 307, 308    followed to an allowed destination (see `destinations`), 3 at most
any other, after a hop     Failed(Unavailable): a short-lived URL is over, OCP gives another one
any other, of OCP itself   Failed, as everywhere
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NoReturn

import aiohttp
from yarl import URL

from ocp_ingest.adapters.ocp.api import Api
from ocp_ingest.adapters.ocp.destinations import Destinations
from ocp_ingest.adapters.ocp.failed import Failed
from ocp_ingest.adapters.ocp.http import Answer, Http, why
from ocp_ingest.core.export_job import Refused, Unavailable
from ocp_ingest.core.limits import KIB

REDIRECTS_MAX: Final = 3
# Of an error's body, which is only read for its words.
ERROR_BYTES_MAX: Final = 16 * KIB
_CONTENT: Final = frozenset({200, 206, 416})
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


class Opener:
    """Opens downloads; `away` is the connection pool for hosts other than the API's."""

    def __init__(self, api: Api, away: Http, destinations: Destinations) -> None:
        self._api = api
        self._away = away
        self._destinations = destinations

    async def open(self, url: URL, offset: int, etag: str | None) -> aiohttp.ClientResponse:
        """A response of 200, 206 or 416, to be closed by the caller. Raises Failed."""
        wanted = {"Range": f"bytes={offset}-"} if offset and etag else {}
        if wanted and etag:
            wanted["If-Range"] = etag
        for hops in range(1 + REDIRECTS_MAX):
            response = await self._ask(url, wanted)
            if response.status in _CONTENT:
                return response
            if response.status not in _REDIRECTS:
                await self._fail(response, redirected=hops > 0)
            location = response.headers.get("Location")
            response.close()
            url = self._destinations.target(url, location)
        raise Failed(Refused(302, f"OCP redirects a download over {REDIRECTS_MAX} times."))

    async def _ask(self, url: URL, wanted: Mapping[str, str]) -> aiohttp.ClientResponse:
        if self._destinations.is_api(url):
            return await self._api.open(url, wanted)
        return await self._away.open(url, wanted)

    async def _fail(self, response: aiohttp.ClientResponse, *, redirected: bool) -> NoReturn:
        try:
            body = await response.content.read(ERROR_BYTES_MAX)
        except (aiohttp.ClientError, TimeoutError, OSError) as wrong:
            raise Failed(why(wrong)) from wrong
        finally:
            response.close()
        if redirected:
            raise Failed(Unavailable(f"the redirect's target answered {response.status}"))
        self._api.judge(Answer(response.status, response.headers, body))
