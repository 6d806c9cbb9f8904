"""Asks a tenant, by reading alone, where it differs from ocp-facts 10.3; `doctor --probe-ocp`.

Asked                        to see
a login                      its fields, the token's life
each group's listing         whether we may; fields, words of states and types, times
one completed export         its own status, how long it is kept
its files                    fields, names, whether pages are numbered and sized as configured
the first byte of a file     ranges, ETag, where it redirects to
an expired export's files    that they are answered as gone
an export that never was     that it is answered as gone; fields of an error

Nothing is created or cancelled, no token and no value of an answer gets into a finding, and every
request takes one of the account's turns.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
from yarl import URL

from ocp_ingest.adapters.ocp import probe_answers as judge
from ocp_ingest.adapters.ocp.answers import Answers
from ocp_ingest.adapters.ocp.auth import login_of
from ocp_ingest.adapters.ocp.destinations import Destinations
from ocp_ingest.adapters.ocp.failed import Failed, Unreadable
from ocp_ingest.adapters.ocp.http import Answer, Http
from ocp_ingest.adapters.ocp.probe_answers import Seen, fail, look, ok
from ocp_ingest.adapters.ocp.rate import Turns
from ocp_ingest.adapters.ocp.settings import OcpSettings
from ocp_ingest.adapters.ocp.urls import auth_url, export_url
from ocp_ingest.adapters.ocp.vendor_text import message_of
from ocp_ingest.core.errors import Invalid
from ocp_ingest.core.export_job import Export, RateLimited, Refused, VendorStatus

# An id that OCP has never given: of the length of its own ids.
_NEVER: Final = "00000000000000000000000000000000"
# Groups that are asked: they share one account and one set of settings.
GROUPS_MAX: Final = 20
_ONE_BYTE: Final = {"Range": "bytes=0-0"}


async def probe(settings: OcpSettings, groups: Sequence[str], *, life_ms: int) -> list[Seen]:
    """All findings; `life_ms` is how long exports are taken to be kept (`stage2`)."""
    try:
        async with _asking(settings) as ask:
            return await _Probe(settings, ask, life_ms).run(groups)
    except Invalid as bad:
        return [fail("ocp login", bad.text)]


class _Watched(Http):
    """Remembers the token endpoint's last answer."""

    def __init__(self, settings: OcpSettings) -> None:
        times = (settings.connect_s_max, settings.answer_s_max, settings.download_idle_s_max)
        super().__init__(*times)
        self._token_url = auth_url(settings, "token")
        self.login: Answer | None = None

    async def send(
        self, method: str, url: URL, headers: Mapping[str, str], *, json: bytes | None = None,
        form: Mapping[str, str] | None = None,
    ) -> Answer:  # fmt: skip
        answer = await super().send(method, url, headers, json=json, form=form)
        if url == self._token_url:
            self.login = answer
        return answer


class _Ask:
    """Requests under our login, one turn each."""

    def __init__(self, settings: OcpSettings, http: _Watched) -> None:
        steady_s, wall_s, sleep = time.monotonic, time.time, asyncio.sleep
        self.http = http
        self.login = login_of(settings, http, wall_s=wall_s, steady_s=steady_s, sleep=sleep)
        self._turns = Turns(
            settings.requests_per_s, settings.requests_burst, now_s=steady_s, sleep=sleep
        )

    async def get(self, url: URL) -> Answer:
        """The answer, whatever its status. Raises Failed."""
        await self._turns.take()
        return await self.http.send("GET", url, await self.login.headers())

    async def head_of(self, url: URL) -> tuple[int, Mapping[str, str]]:
        """Status and headers of the first byte's answer; the body is not read. Raises Failed."""
        await self._turns.take()
        response = await self.http.open(url, {**_ONE_BYTE, **await self.login.headers()})
        response.close()
        return response.status, response.headers


@asynccontextmanager
async def _asking(settings: OcpSettings) -> AsyncIterator[_Ask]:
    async with _Watched(settings) as http:
        ask = _Ask(settings, http)
        try:
            yield ask
        finally:
            await ask.login.close()


class _Probe:
    def __init__(self, settings: OcpSettings, ask: _Ask, life_ms: int) -> None:
        self._settings = settings
        self._ask = ask
        self._life_ms = life_ms
        self._answers = Answers(settings)

    async def run(self, groups: Sequence[str]) -> list[Seen]:
        try:
            await self._ask.login.headers()
        except Failed as failed:
            return [fail("ocp login", _words(failed))]
        found = self._login()
        if not groups:
            return [*found, look("ocp groups", "No group is known: set `ocp.groups`.")]
        if len(groups) > GROUPS_MAX:
            found.append(look("ocp groups", f"Only {GROUPS_MAX} of {len(groups)} are asked."))
        good: list[tuple[str, Export]] = []
        for group in groups[:GROUPS_MAX]:
            found += await self._guarded("ocp listing", self._listing(group, good))
        return found + await self._exports(groups[0], good)

    def _login(self) -> list[Seen]:
        answer = self._ask.http.login
        if answer is None:
            return [ok("ocp login", "A personal access token is used; the listing shows whether "
                       "the Export API takes it.")]  # fmt: skip
        return judge.token(answer.body, self._settings)

    async def _exports(self, group: str, good: list[tuple[str, Export]]) -> list[Seen]:
        """What can be seen of exports that exist, and of one that does not."""
        found = []
        complete = [(g, e) for g, e in good if e.status is VendorStatus.COMPLETED]
        if complete:
            # The newest: the others may expire while they are looked at.
            found += await self._one_export(*max(complete, key=lambda at: at[1].created_at))
        else:
            found.append(look("ocp files", "No completed export is there to look at files, names "
                              "and pages. Run this again after one."))  # fmt: skip
        for of, export in [at for at in good if at[1].status is VendorStatus.EXPIRED][:1]:
            found += await self._guarded("ocp expired export", self._expired(of, export))
        found += await self._guarded("ocp unknown export", self._unknown(group))
        return found

    async def _listing(self, group: str, good: list[tuple[str, Export]]) -> list[Seen]:
        answer = await self._ask.get(export_url(self._settings, "exports", group=group))
        what = f"ocp group {group}"
        if answer.status != 200:
            return [fail(what, self._refusal(answer))]
        said = _decoded(answer.body)
        entries, found = judge.top_list(said, self._settings.fields.exports, "exports", what)
        for entry in entries or ():
            try:
                good.append((group, self._answers.export(msgspec.json.encode(entry))))
            except Unreadable:
                continue  # judged below
        return found + (judge.exports(entries, self._settings) if entries is not None else [])

    async def _one_export(self, group: str, export: Export) -> list[Seen]:
        found = judge.life(export, self._life_ms)
        found += await self._guarded("ocp status", self._status(group, export))
        return found + await self._guarded("ocp files", self._files(group, export))

    async def _status(self, group: str, export: Export) -> list[Seen]:
        url = export_url(self._settings, "export", group=group, export=export.export_id)
        answer = await self._ask.get(url)
        if answer.status != 200:
            return [fail("ocp status", self._refusal(answer))]
        try:
            told = self._answers.export(answer.body)
        except Unreadable as wrong:
            return [fail("ocp status", wrong.text)]
        if told.export_id != export.export_id:
            return [fail("ocp status", "Another export is answered: check `ocp.paths.export`.")]
        return [ok("ocp status", "One export is read as in the listing.")]

    async def _files(self, group: str, export: Export) -> list[Seen]:
        settings = self._settings
        first = await self._page(group, export, settings.page_first, settings.page_size)
        if first.status != 200:
            return [fail("ocp files", self._refusal(first))]
        said = _decoded(first.body)
        entries, found = judge.top_list(said, settings.fields.files, "files", "ocp files")
        if entries is None:
            return found
        found += judge.files(entries, settings)
        found += self._pages_told(said)
        if len(entries) > 1:
            found += await self._paging(group, export, entries)
        if entries:
            found += await self._guarded("ocp download", self._first_byte(group, export, entries))
        return found

    def _pages_told(self, said: Any) -> list[Seen]:
        key = self._settings.fields.total_pages
        if isinstance(said, dict) and said.get(key) is None:
            return [look("ocp pages", f"The answer has no `{key}` but the fields "
                         f"{judge.fields_of(said)}: set `ocp.fields.total_pages`, else pages are "
                         "read until one is empty.")]  # fmt: skip
        return []

    async def _paging(self, group: str, export: Export, entries: Sequence[Any]) -> list[Seen]:
        """Pages of one file each: the sizes and the numbers must mean what we think."""
        settings, fields = self._settings, self._settings.fields
        pages = [
            _page_entries(_decoded((await self._page(group, export, n, 1)).body), fields.files)
            for n in (settings.page_first, settings.page_first + 1)
        ]
        if any(len(page) != 1 for page in pages):
            sizes = " and ".join(str(len(page)) for page in pages)
            return [look("ocp pages", f"The first pages of one file each have {sizes} files: check "
                         "`ocp.fields.size_query` and `ocp.page_first`.")]  # fmt: skip
        if pages[0] == pages[1]:
            return [fail("ocp pages", "The first two pages are the same: check "
                         "`ocp.fields.page_query`, or set `ocp.page_first` to "
                         f"{1 - min(settings.page_first, 1)}.")]  # fmt: skip
        if pages[0] != entries[:1]:
            return [fail("ocp pages", "The first page does not begin with the first file: check "
                         "`ocp.page_first`.")]  # fmt: skip
        return [ok("ocp pages", f"Pages are numbered from {settings.page_first} and sized.")]

    async def _page(self, group: str, export: Export, number: int, size: int) -> Answer:
        fields = self._settings.fields
        query = {fields.page_query: str(number), fields.size_query: str(size)}
        return await self._ask.get(
            export_url(self._settings, "files", query, group=group, export=export.export_id)
        )

    async def _first_byte(
        self, group: str, export: Export, entries: Sequence[Mapping[str, Any]]
    ) -> list[Seen]:
        settings, what = self._settings, "ocp download"
        name = str(entries[0].get(settings.fields.file_name, ""))
        url = export_url(settings, "file", group=group, export=export.export_id, file=name)
        status, headers = await self._ask.head_of(url)
        if status in (301, 302, 303, 307, 308):
            Destinations(settings, url).target(url, headers.get("Location"))  # raises Failed
            return [ok(what, "A download is redirected to a host that is allowed.")]
        if status not in (200, 206):
            return [fail(what, f"The first byte of a file is answered {status}: check "
                         "`ocp.paths.file`.")]  # fmt: skip
        found = [ok(what, "A file can be read.")]
        if status == 200 or not headers.get("ETag"):
            found.append(look(what, "Downloads can't be resumed (no ranges or no ETag): a broken "
                              "one begins anew. No setting adapts this."))  # fmt: skip
        return found

    async def _expired(self, group: str, export: Export) -> list[Seen]:
        answer = await self._page(group, export, self._settings.page_first, 1)
        what = "ocp expired export"
        if answer.status in (404, 410):
            return [ok(what, f"Its files are answered {answer.status}.")]
        return [look(what, f"Its files are answered {answer.status}; 404 or 410 would be "
                     "understood as gone.")]  # fmt: skip

    async def _unknown(self, group: str) -> list[Seen]:
        url = export_url(self._settings, "export", group=group, export=_NEVER)
        answer = await self._ask.get(url)
        return judge.unknown_export(answer.status, answer.body, self._settings)

    async def _guarded(self, what: str, looking: Awaitable[list[Seen]]) -> list[Seen]:
        try:
            return await looking
        except Failed as failed:
            return [fail(what, _words(failed))]

    def _refusal(self, answer: Answer) -> str:
        said = message_of(answer.body, self._settings.fields.message, self._ask.login.secrets())
        hints = {
            401: "our token is refused: check `ocp.username`, or use a personal access token",
            403: "this group is not on our user's whitelist (ocp-facts 1.16)",
            404: "check `ocp.api_url`, `ocp.exports_host`, `ocp.paths` and the group's name",
        }
        hint = hints.get(answer.status, "check `ocp.api_url` and `ocp.paths`")
        return f"It is answered {answer.status} {said}: {hint}."


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None


def _page_entries(said: Any, key: str) -> list[Any]:
    entries = said.get(key) if isinstance(said, dict) else said
    return entries if isinstance(entries, list) else []


def _words(failed: Failed) -> str:
    match failed.seen:
        case Refused(message=message):
            return message or "It is refused."
        case RateLimited():
            return "OCP limits us: try again in a minute, or lower `ocp.requests_per_s`."
        case other:
            return f"There is no answer ({other.kind}): check `ocp.api_url`, `ocp.auth_url`."
