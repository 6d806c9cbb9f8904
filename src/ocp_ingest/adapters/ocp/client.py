"""OCP's Export API as `reconcile.ports.ExportApi`: what is asked, and what an answer comes to.

Everything adopted (ocp-facts 10.3) is in OcpSettings. One client is one account, shared by all
OCP groups; it lives in an `async with`, which logs out at its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from types import TracebackType
from typing import Final, Self

import aiohttp
from msgspec.structs import replace
from yarl import URL

from ocp_ingest.adapters.ocp.answers import Answers, Asked, Page
from ocp_ingest.adapters.ocp.api import Api
from ocp_ingest.adapters.ocp.auth import Login, login_of
from ocp_ingest.adapters.ocp.destinations import Destinations, PublicResolver
from ocp_ingest.adapters.ocp.download import Bounds, Download, Tools, error_of
from ocp_ingest.adapters.ocp.failed import Failed, Unreadable
from ocp_ingest.adapters.ocp.fetching import FetchBounds, fetched
from ocp_ingest.adapters.ocp.http import Http
from ocp_ingest.adapters.ocp.opening import Opener
from ocp_ingest.adapters.ocp.pages import PAGES_MAX, whole_list
from ocp_ingest.adapters.ocp.rate import Turns
from ocp_ingest.adapters.ocp.settings import OcpSettings
from ocp_ingest.adapters.ocp.urls import export_url
from ocp_ingest.adapters.ocp.zip_reader import ZipBounds
from ocp_ingest.core.export_job import (
    Busy,
    Cancelled,
    Created,
    Export,
    Gone,
    Listed,
    Refused,
    Status,
    Unavailable,
)
from ocp_ingest.core.limits import Limits
from ocp_ingest.reconcile.ports import (
    ExportFile,
    Failure,
    FetchedFile,
    FileList,
    no_progress,
)
from ocp_ingest.telemetry import log

_NOT_THERE: Final = frozenset({404, 410})


class OcpClient:
    """The client. `now_ms` is domain time; the other clocks are real, in seconds.

    Raises Invalid when a secret's file can't be read.
    """

    def __init__(
        self,
        settings: OcpSettings,
        *,
        now_ms: Callable[[], int],
        limits: Limits | None = None,
        chance: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        wall_s: Callable[[], float] = time.time,
        steady_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._limits = limits or Limits()
        self._now_ms = now_ms
        self._answers = Answers(settings)
        self._tools = Tools(steady_s, sleep, chance)
        times = (settings.connect_s_max, settings.answer_s_max, settings.download_idle_s_max)
        self._http = Http(*times)
        turns = Turns(settings.requests_per_s, settings.requests_burst, now_s=steady_s, sleep=sleep)
        self._login: Login = login_of(
            settings, self._http, wall_s=wall_s, steady_s=steady_s, sleep=sleep
        )
        self._api = Api(
            settings, self._http, self._login, turns, chance=chance, wall_s=wall_s, sleep=sleep
        )
        self._away = Http(*times, resolver=None if settings.allow_private else PublicResolver)
        destinations = Destinations(settings, export_url(settings, "exports", group="any"))
        self._opener = Opener(self._api, self._away, destinations)

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        await self._away.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self._login.close()
        finally:
            await self._away.__aexit__(kind, value, trace)
            await self._http.__aexit__(kind, value, trace)

    async def create(
        self, group: str, from_ms: int, to_ms: int, types: Sequence[str]
    ) -> Created | Busy | Failure:
        """POST; never repeated, except once for a token that had run out."""
        body = self._answers.request(from_ms, to_ms, types)
        try:
            url = export_url(self._settings, "exports", group=group)
            answer = await self._api.once("POST", url, json=body)
            asked = Asked(from_ms, to_ms, tuple(types), self._now_ms())
            return Created(self._answers.created(answer.body, asked))
        except Unreadable as wrong:
            return Unavailable(wrong.text)
        except Failed as failed:
            if isinstance(failed.seen, Refused) and failed.seen.status == 409:
                log().info("ocp.slot.busy", ocp_group=group, said=failed.seen.message)
                return Busy()
            return failed.seen

    async def listing(self, group: str) -> Listed | Failure:
        """GET, and the further pages where the answer tells of them."""
        try:
            exports, left_out, pages = await self._list_page(group, None)
            if pages > PAGES_MAX:
                raise Unreadable(f"The listing has {pages} pages, over {PAGES_MAX}.")
            for n in range(1, pages):
                more, wrong, _ = await self._list_page(group, self._settings.page_first + n)
                exports += more
                left_out += wrong
        except Unreadable as unreadable:
            return Unavailable(unreadable.text)
        except Failed as failed:
            return failed.seen
        if left_out:
            count, first = len(left_out), left_out[0]
            log().warning("ocp.listing.left_out", ocp_group=group, exports=count, first=first)
        known = {export.export_id: export for export in exports}
        return Listed(tuple(known.values()))

    async def status(self, group: str, export_id: str, n: int) -> Status | Gone | Failure:
        """GET of one export."""
        try:
            body = await self._api.get(self._url("export", group, export_id))
            return Status(self._answers.export(body), n)
        except Unreadable as wrong:
            return Unavailable(wrong.text, poll_n=n)
        except Failed as failed:
            return _gone(failed, n) or replace(failed.seen, poll_n=n)

    async def files(self, group: str, export_id: str) -> FileList | Gone | Failure:
        """GET of all pages."""

        async def page(n: int) -> Page:
            query = self._page_query(n)
            body = await self._api.get(self._url("files", group, export_id, query=query))
            return self._answers.page(body)

        try:
            return FileList(await whole_list(page, self._settings.page_first))
        except Unreadable as wrong:
            return Unavailable(wrong.text)
        except Failed as failed:
            return _gone(failed) or failed.seen

    async def cancel(self, group: str, export_id: str) -> Cancelled | Gone | Failure:
        """DELETE, once."""
        try:
            await self._api.once("DELETE", self._url("export", group, export_id))
            return Cancelled()
        except Failed as failed:
            return _gone(failed) or failed.seen

    async def fetch(
        self,
        group: str,
        export_id: str,
        file: ExportFile,
        progress: Callable[[int], None] = no_progress,
    ) -> AsyncGenerator[FetchedFile, None]:
        """GET of a file's bytes, resumed, and unpacked if it is a ZIP; see the port."""
        settings = self._settings
        try:
            url = self._url("file", group, export_id, file=file.name)
        except Failed as failed:
            raise error_of(failed) from None

        async def open_at(offset: int, etag: str | None) -> aiohttp.ClientResponse:
            return await self._opener.open(url, offset, etag)

        bounds = Bounds(
            bytes_max=max(self._limits.recording_bytes_max, settings.zip_bytes_max),
            resumes_max=settings.download_resumes_max,
            s_max=settings.download_s_max,
            verify_size=settings.verify_size,
            verify_sha256=settings.verify_sha256,
        )
        download = Download(file, open_at, bounds, self._tools)
        async with contextlib.aclosing(
            fetched(file, download, self._fetch_bounds(), progress)
        ) as found:
            async for one in found:
                yield one

    def _fetch_bounds(self) -> FetchBounds:
        settings, recording = self._settings, self._limits.recording_bytes_max
        inside = ZipBounds(settings.zip_entries_max, settings.zip_unpacked_bytes_max, recording)
        return FetchBounds(recording, settings.zip_bytes_max, inside, settings.spool_dir)

    async def _list_page(
        self, group: str, page: int | None
    ) -> tuple[tuple[Export, ...], list[str], int]:
        query = None if page is None else self._page_query(page)
        url = export_url(self._settings, "exports", query, group=group)
        return self._answers.listed(await self._api.get(url))

    def _page_query(self, page: int) -> dict[str, str]:
        fields = self._settings.fields
        return {fields.page_query: str(page), fields.size_query: str(self._settings.page_size)}

    def _url(
        self,
        which: str,
        group: str,
        export_id: str,
        query: dict[str, str] | None = None,
        **names: str,
    ) -> URL:
        return export_url(self._settings, which, query, group=group, export=export_id, **names)


def _gone(failed: Failed, n: int | None = None) -> Gone | None:
    seen = failed.seen
    return Gone(n) if isinstance(seen, Refused) and seen.status in _NOT_THERE else None
