"""Laws of a paged list: all of it or an answer that says why not; and always an end."""

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_ingest.adapters.ocp import pages as bounds
from ocp_ingest.adapters.ocp.answers import Page
from ocp_ingest.adapters.ocp.failed import Unreadable
from ocp_ingest.adapters.ocp.pages import PAGES_MAX, READINGS_MAX, whole_list
from ocp_ingest.core.export_job import Unavailable
from ocp_ingest.reconcile.ports import ExportFile, FileList
from tests.ocp_client.kit import GROUP, bench, reply


def files(*names: str) -> tuple[ExportFile, ...]:
    return tuple(ExportFile(name) for name in names)


def numbered(count: int, since: int = 0) -> tuple[ExportFile, ...]:
    return files(*(f"f{n}" for n in range(since, since + count)))


class Listing:
    """Serves a list in pages; `now(n)` is the list as the n-th request finds it."""

    def __init__(
        self,
        now: Callable[[int], tuple[ExportFile, ...]],
        *,
        size: int = 3,
        told: bool = True,
        first: int = 0,
    ) -> None:
        self.now, self.size, self.told, self.first = now, size, told, first
        self.requests = 0

    async def read(self, page: int) -> Page:
        held = self.now(self.requests)
        self.requests += 1
        at = (page - self.first) * self.size
        return Page(held[at : at + self.size], -(-len(held) // self.size) if self.told else None)

    def whole(self) -> tuple[ExportFile, ...]:
        return asyncio.run(whole_list(self.read, self.first))


@given(st.integers(0, 20), st.integers(1, 7), st.booleans(), st.integers(0, 1))
def test_a_list_that_holds_still_is_read_whole_and_once(
    count: int, size: int, told: bool, first: int
) -> None:
    listing = Listing(lambda _: numbered(count), size=size, told=told, first=first)
    assert listing.whole() == numbered(count)
    assert listing.requests == max(1, -(-count // size)) + (not told and count > 0)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 5), st.integers(0, 8))
def test_a_list_that_changes_is_read_until_it_holds_still(
    before: int, after: int, size: int, changes_at: int
) -> None:
    """The change may shift files across pages: none may be lost that was there at the end."""
    late = numbered(after, since=100) + numbered(before)
    listing = Listing(lambda n: numbered(before) if n < changes_at else late, size=size)
    found = listing.whole()
    assert set(found) in (set(numbered(before)), set(late)) or changes_at == 0


def test_a_list_that_shrinks_under_the_reading_is_read_again() -> None:
    listing = Listing(lambda n: numbered(9) if n == 0 else numbered(6, since=3))
    assert listing.whole() == numbered(6, since=3)


def test_a_list_that_never_holds_still_is_told_so() -> None:
    listing = Listing(lambda n: numbered(6, since=100 - n))
    with pytest.raises(Unreadable, match="changed"):
        listing.whole()
    assert listing.requests <= READINGS_MAX * 3


def test_a_server_that_ignores_our_page_numbers_is_found_out() -> None:
    async def same(_page: int) -> Page:
        return Page(files("a", "b"), 3)

    with pytest.raises(Unreadable, match="page_query"):
        asyncio.run(whole_list(same))


def test_a_server_that_knows_no_pages_is_understood() -> None:
    async def same(_page: int) -> Page:
        return Page(files("a", "b"), None)

    assert asyncio.run(whole_list(same)) == files("a", "b")


@pytest.mark.parametrize("told", [PAGES_MAX + 1, 10**7])
def test_too_many_pages_are_refused_at_the_first(told: int) -> None:
    requests = 0

    async def many(page: int) -> Page:
        nonlocal requests
        requests += 1
        return Page(files(f"f{page}"), told)

    with pytest.raises(Unreadable):
        asyncio.run(whole_list(many))
    assert requests == 1


def test_pages_without_end_have_an_end() -> None:
    async def endless(page: int) -> Page:
        return Page(files(f"f{page}"), None)

    with pytest.raises(Unreadable, match="does not end"):
        asyncio.run(whole_list(endless))


def test_too_many_files_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "FILES_MAX", 10)
    with pytest.raises(Unreadable, match="10 files"):
        Listing(lambda _: numbered(12)).whole()


def test_pages_that_were_announced_and_are_empty_are_believed_when_seen_twice() -> None:
    requests = 0

    async def boasting(page: int) -> Page:
        nonlocal requests
        requests += 1
        return Page(files("a") if page == 0 else (), 900)

    assert asyncio.run(whole_list(boasting)) == files("a")
    assert requests == 4


def test_a_name_twice_is_one_file() -> None:
    twice = files("a", "b", "a", "c")
    assert Listing(lambda _: twice, size=2).whole() == files("a", "b", "c")


async def test_over_http() -> None:
    async with bench() as at:
        for n in range(3):
            found = [{"name": f"f{n}.wav", "type": "audio", "size": n, "sha256": "AB" * 32}]
            page = {"files": found, "page": n, "totalPages": 3}
            at.vendor.script["files"].append(reply(200, page))
        seen = await at.client.files(GROUP, "x1")
        assert isinstance(seen, FileList)
        assert seen.files[2] == ExportFile("f2.wav", "audio", 2, "ab" * 32)
        queries = [one.query for one in at.vendor.asked("files")]
        assert queries == [{"page": str(n), "size": "100"} for n in range(3)]
        at.vendor.always["files"] = reply(200, {"files": [{"name": "a"}], "totalPages": 2})
        assert isinstance(await at.client.files(GROUP, "x1"), Unavailable)
