"""Requests to the Export API: our login, the account's turns, and what a failure means.

Status                 means
2xx                    the answer
401                    our token is over: renewed, and the request repeated, once
408, 5xx but 501       Unavailable, and the effect may have happened
429                    RateLimited; Retry-After stops the whole account
any other              Refused, with OCP's words

A GET is repeated in place for Unavailable and for a short RateLimited, `get_tries_max` times in
all, after a wait with full jitter. Nothing else is ever repeated in secret.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NoReturn

import aiohttp
from yarl import URL

from ocp_ingest.adapters.ocp.auth import Login
from ocp_ingest.adapters.ocp.failed import Failed
from ocp_ingest.adapters.ocp.http import Answer, Http
from ocp_ingest.adapters.ocp.rate import TURN_S_MAX, Turns, retry_after_s
from ocp_ingest.adapters.ocp.settings import OcpSettings
from ocp_ingest.adapters.ocp.vendor_text import message_of
from ocp_ingest.core.export_job import RateLimited, Refused, Unavailable
from ocp_ingest.telemetry import log

# The first wait before a GET is repeated, doubled each time; the durable waits are the job's.
RETRY_S: Final = 0.2
RETRY_S_MAX: Final = 2.0


class Api:
    """The Export API of one account."""

    def __init__(
        self,
        settings: OcpSettings,
        http: Http,
        login: Login,
        turns: Turns,
        *,
        chance: Callable[[], float],
        wall_s: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._settings = settings
        self._http = http
        self._login = login
        self._turns = turns
        self._chance = chance
        self._wall_s = wall_s
        self._sleep = sleep

    async def get(self, url: URL) -> bytes:
        """The body of a good answer. Raises Failed."""
        for tried in range(1, self._settings.get_tries_max):
            try:
                return (await self.once("GET", url)).body
            except Failed as failed:
                if not _passing(failed):
                    raise
            await self._sleep(jittered_s(tried, self._chance))
        return (await self.once("GET", url)).body

    async def once(self, method: str, url: URL, json: bytes | None = None) -> Answer:
        """A good answer. Raises Failed."""
        await self._turns.take()
        headers = await self._login.headers()
        answer = await self._http.send(method, url, headers, json=json)
        if answer.status == 401 and await self._login.renew(headers):
            await self._turns.take()
            headers = await self._login.headers()
            answer = await self._http.send(method, url, headers, json=json)
        if not 200 <= answer.status < 300:
            self.judge(answer)
        return answer

    async def open(self, url: URL, wanted: Mapping[str, str]) -> aiohttp.ClientResponse:
        """The head of an answer, whatever its status; the caller closes it. Raises Failed."""
        await self._turns.take()
        headers = await self._login.headers()
        response = await self._http.open(url, {**wanted, **headers})
        if response.status == 401:
            if not await self._renewed(headers, response):
                return response
            response.close()
            await self._turns.take()
            headers = await self._login.headers()
            response = await self._http.open(url, {**wanted, **headers})
        return response

    def judge(self, answer: Answer) -> NoReturn:
        """Raises the Failed that an answer without success means."""
        status = answer.status
        told = retry_after_s(
            answer.headers.get("Retry-After"), answer.headers.get("Date"), self._wall_s()
        )
        if told is not None and status in (429, 503):
            self._turns.pause(told)
            log().info("ocp.limited", status=status, retry_after_s=told)
        if status == 429:
            raise Failed(RateLimited(told))
        if status == 408 or (status >= 500 and status != 501):
            raise Failed(Unavailable(f"http {status}"))
        if 300 <= status < 400:
            raise Failed(Refused(status, "OCP redirects the request: check `ocp.api_url`."))
        said = message_of(answer.body, self._settings.fields.message, self._login.secrets())
        if status == 401:
            said = f"OCP refuses our token: check `ocp.username` or the personal one. {said}"
        raise Failed(Refused(status, said))

    async def _renewed(self, headers: Mapping[str, str], response: aiohttp.ClientResponse) -> bool:
        try:
            return await self._login.renew(headers)
        except BaseException:
            response.close()
            raise


def jittered_s(tried: int, chance: Callable[[], float]) -> float:
    """The wait after the try of that number, with full jitter."""
    return min(RETRY_S_MAX, RETRY_S * 2.0 ** min(tried, 16)) * chance()


def _passing(failed: Failed) -> bool:
    match failed.seen:
        case Unavailable():
            return True
        case RateLimited(retry_after_s=told):
            return told is None or told <= TURN_S_MAX
        case _:
            return False
