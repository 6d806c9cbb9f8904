"""Laws of one download: the reader gets the file, whole and exact, or an error; never else."""

import asyncio
import hashlib
from collections.abc import Mapping
from typing import NamedTuple

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_ingest.adapters.ocp.download import STALLS_MAX, Bounds, Download, Tools
from ocp_ingest.adapters.ocp.failed import Failed
from ocp_ingest.core.errors import OcpIngestError, Terminal, TooLarge, Transient
from ocp_ingest.core.export_job import RateLimited, Unavailable
from ocp_ingest.reconcile.ports import ExportFile, Mismatch
from tests.ocp_client.kit import Content as Served
from tests.ocp_client.kit import Reply, Times, bench, fetch_one, pattern

BOUNDS = Bounds(bytes_max=1 << 20, resumes_max=200, s_max=3600)


class Body:
    """A body that comes in blocks of `block` bytes and breaks after `cut`."""

    def __init__(self, data: bytes, cut: int | None, block: int) -> None:
        self.data = data if cut is None else data[:cut]
        self.broken = cut is not None
        self.block = block
        self.at = 0

    async def read(self, n: int = -1) -> bytes:
        got = self.data[self.at : self.at + min(n, self.block)]
        self.at += len(got)
        if not got and self.broken:
            raise aiohttp.ClientPayloadError("not complete")
        return got


class Given(NamedTuple):
    """A response, as a download reads it."""

    status: int
    headers: Mapping[str, str]
    content_length: int | None
    content: Body

    def close(self) -> None:
        """Nothing to close."""


class Server:
    """Serves `versions`, one after the other, as its faults say."""

    def __init__(
        self,
        *versions: bytes,
        cuts: tuple[int, ...] = (),
        block: int = 7,
        etag: bool = True,
        weak: bool = False,
        ranges: bool = True,
        length: bool = True,
        chunked: bool = False,
        blind: bool = False,  # honours Range whatever If-Range says
        shifted: int = 0,  # a 206 begins so much behind what was asked
    ) -> None:
        self.versions = list(versions)
        self.cuts = list(cuts)
        self.block = block
        self.etag, self.weak, self.ranges = etag, weak, ranges
        self.length, self.chunked = length, chunked
        self.blind, self.shifted = blind, shifted
        self.asked: list[tuple[int, str | None]] = []

    async def open_at(self, offset: int, etag: str | None) -> Given:
        self.asked.append((offset if etag else 0, etag))
        data = self.versions.pop(0) if len(self.versions) > 1 else self.versions[0]
        tag = f'"{hashlib.md5(data).hexdigest()}"'
        cut = self.cuts.pop(0) if self.cuts else None
        headers = {"ETag": f"W/{tag}" if self.weak else tag} if self.etag else {}
        if self.chunked:
            headers["Transfer-Encoding"] = "chunked"
        if etag and self.ranges and (etag == tag or self.blind):
            if offset >= len(data):
                return Given(416, {"Content-Range": f"bytes */{len(data)}"}, 0, Body(b"", None, 1))
            begin = offset + self.shifted
            headers["Content-Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
            return self._given(206, headers, data[begin:], cut)
        return self._given(200, headers, data, cut)

    def _given(self, status: int, headers: dict[str, str], body: bytes, cut: int | None) -> Given:
        told = len(body) if self.length and not self.chunked else None
        cut = None if cut is None or cut >= len(body) else cut
        return Given(status, headers, told, Body(body, cut, self.block))


def run(
    server: Server, file: ExportFile | None = None, bounds: Bounds = BOUNDS
) -> tuple[bytes, OcpIngestError | None]:
    """What the reader got, and how it ended."""

    async def go() -> tuple[bytes, OcpIngestError | None]:
        times, got = Times(), bytearray()
        tools = Tools(times.steady_s, times.sleep, lambda: 0.5)
        download = Download(file or ExportFile("a.wav"), server.open_at, bounds, tools)
        try:
            async for block in download.blocks():
                got += block
        except OcpIngestError as wrong:
            return bytes(got), wrong
        return bytes(got), None

    return asyncio.run(go())


DATA = st.binary(min_size=0, max_size=200)
CUTS = st.lists(st.integers(0, 200), max_size=12).map(tuple)


@given(DATA, CUTS, st.integers(1, 64), st.booleans(), st.booleans(), st.booleans())
def test_wherever_it_is_cut_the_bytes_are_the_files(
    data: bytes, cuts: tuple[int, ...], block: int, etag: bool, ranges: bool, chunked: bool
) -> None:
    server = Server(data, cuts=cuts, block=block, etag=etag, ranges=ranges, chunked=chunked)
    got, wrong = run(server)
    assert got == data[: len(got)]
    if wrong is None:
        assert got == data
    else:  # only where connections brought nothing new, too often in a row
        assert isinstance(wrong, Transient)
        assert len(server.asked) > STALLS_MAX


@given(DATA.filter(len), st.lists(st.integers(1, 200), max_size=12).map(tuple))
def test_cuts_that_let_a_byte_through_never_stop_a_resumable_download(
    data: bytes, cuts: tuple[int, ...]
) -> None:
    assert run(Server(data, cuts=cuts)) == (data, None)


@given(DATA, DATA, CUTS, st.booleans(), st.booleans())
def test_a_file_that_changes_is_never_mixed(
    old: bytes, new: bytes, cuts: tuple[int, ...], ranges: bool, blind: bool
) -> None:
    """Even if the server honours Range against If-Range: the ETag tells."""
    server = Server(old, new, cuts=cuts, ranges=ranges, blind=blind)
    got, wrong = run(server)
    assert wrong is not None or got in (old, new)


def test_a_range_of_another_version_is_not_believed() -> None:
    """A server that honours Range although If-Range says no: only its ETag tells."""
    old, new = pattern(100), bytes(reversed(pattern(100)))
    for version in (new, new[:90], new + b"more"):
        got, wrong = run(Server(old, version, cuts=(30,), blind=True))
        assert isinstance(wrong, Mismatch)
        assert got == old[:30]


def test_a_file_that_became_shorter_than_what_was_delivered_is_not_taken_for_whole() -> None:
    old = pattern(100)
    got, wrong = run(Server(old, old[:50], cuts=(60,), ranges=False))
    assert isinstance(wrong, Transient)
    assert got == old[:60]


@given(st.binary(min_size=2, max_size=100), st.data())
def test_other_bytes_of_the_same_length_are_a_mismatch_when_the_list_has_a_checksum(
    data: bytes, draw: st.DataObject
) -> None:
    at = draw.draw(st.integers(0, len(data) - 1))
    other = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
    file = ExportFile("a.wav", size=len(data), sha256=hashlib.sha256(data).hexdigest())
    assert run(Server(data), file) == (data, None)
    assert isinstance(run(Server(other), file)[1], Mismatch)
    assert run(Server(other), file, BOUNDS._replace(verify_sha256=False)) == (other, None)


def test_a_download_goes_on_where_it_was_cut_and_never_asks_for_delivered_bytes() -> None:
    server = Server(pattern(100), cuts=(30, 20, 49))
    assert run(server) == (pattern(100), None)
    assert [offset for offset, _ in server.asked] == [0, 30, 50, 99]


@pytest.mark.parametrize("faults", [{"etag": False}, {"weak": True}, {"ranges": False}])
def test_without_a_strong_etag_or_ranges_the_file_is_read_again_and_compared(
    faults: dict[str, bool],
) -> None:
    data = pattern(100)
    server = Server(data, cuts=(30, 60), **faults)
    assert run(server) == (data, None)
    if "ranges" not in faults:
        assert {etag for _, etag in server.asked} == {None}
    other = data[:10] + b"!" + data[11:]
    got, wrong = run(Server(data, other, cuts=(30,), **faults))
    assert isinstance(wrong, Mismatch)
    assert got == data[:30]


def test_a_range_from_another_offset_is_not_believed() -> None:
    server = Server(pattern(100), cuts=(30,), shifted=4)
    assert run(server) == (pattern(100), None)
    assert server.asked[-1] == (0, None)


class TestLength:
    """The announced length decides what is the end."""

    def test_half_a_file_with_a_fitting_length_is_completed(self) -> None:
        """A server that cuts the file itself, and says so, once."""
        data = pattern(100)
        server = Server(data)
        whole = server.open_at

        async def half_first(offset: int, etag: str | None) -> Given:
            given = await whole(offset, etag)
            if len(server.asked) == 1:
                return given._replace(content_length=50, content=Body(data[:50], None, 7))
            return given

        server.open_at = half_first  # type: ignore[method-assign]
        assert run(server, ExportFile("a.wav", size=100)) == (data, None)

    def test_a_file_that_stays_shorter_than_listed_is_a_mismatch(self) -> None:
        got, wrong = run(Server(pattern(60)), ExportFile("a.wav", size=100))
        assert isinstance(wrong, Mismatch)
        assert got == pattern(60)

    def test_unless_the_list_is_known_to_lie(self) -> None:
        bounds = BOUNDS._replace(verify_size=False)
        assert run(Server(pattern(60)), ExportFile("a.wav", size=100), bounds)[1] is None

    def test_more_than_listed_is_a_mismatch(self) -> None:
        assert isinstance(run(Server(pattern(60)), ExportFile("a.wav", size=59))[1], Mismatch)

    def test_a_shorter_file_without_ranges_ends_in_bounds(self) -> None:
        server = Server(pattern(60), ranges=False)
        assert isinstance(run(server, ExportFile("a.wav", size=100))[1], Transient)
        assert len(server.asked) <= STALLS_MAX + 2

    def test_a_body_that_says_no_length_is_read_until_it_ends_twice_at_one_place(self) -> None:
        data = pattern(100)
        server = Server(data, length=False, ranges=False)
        assert run(server) == (data, None)
        assert len(server.asked) == 2

    def test_a_chunked_body_says_its_end_itself(self) -> None:
        server = Server(pattern(100), chunked=True)
        assert run(server) == (pattern(100), None)
        assert len(server.asked) == 1


class TestBounds:
    """No download lasts for ever or fills the disk."""

    def test_resumes_are_counted(self) -> None:
        server = Server(pattern(100), cuts=(1,) * 50)
        wrong = run(server, bounds=BOUNDS._replace(resumes_max=5))[1]
        assert isinstance(wrong, Transient)
        assert len(server.asked) == 6

    def test_time_is_limited(self) -> None:
        server = Server(pattern(100), cuts=(1,) * 99)
        wrong = run(server, bounds=BOUNDS._replace(s_max=1.0))[1]
        assert isinstance(wrong, Transient)
        assert len(server.asked) < 50

    def test_a_body_that_drips_is_left(self) -> None:
        times = Times()

        class Drip(Body):
            async def read(self, n: int = -1) -> bytes:
                times.at_s += 1
                return await super().read(n)

        async def open_at(offset: int, etag: str | None) -> Given:
            return Given(200, {}, 100, Drip(pattern(100), None, 1))

        async def go() -> int:
            tools = Tools(times.steady_s, times.sleep, lambda: 0.5)
            bounds = BOUNDS._replace(s_max=10.0)
            download = Download(ExportFile("a"), open_at, bounds, tools)
            with pytest.raises(Transient):
                [_ async for _ in download.blocks()]
            return download.taken

        assert asyncio.run(go()) == 10

    def test_bytes_are_limited_listed_or_not(self) -> None:
        small = BOUNDS._replace(bytes_max=50)
        listed = Server(pattern(100))
        assert isinstance(run(listed, ExportFile("a", size=100), small)[1], TooLarge)
        assert listed.asked == []
        got, wrong = run(Server(pattern(100), chunked=True), bounds=small)
        assert isinstance(wrong, TooLarge)
        assert len(got) <= 50

    @pytest.mark.parametrize(("told_s", "s_max"), [(120.0, 3600.0), (20.0, 10.0)])
    def test_a_long_retry_after_is_the_callers_to_wait(self, told_s: float, s_max: float) -> None:
        times = Times()

        async def limited(offset: int, etag: str | None) -> Given:
            raise Failed(RateLimited(told_s))

        async def go() -> None:
            tools = Tools(times.steady_s, times.sleep, lambda: 0.5)
            bounds = BOUNDS._replace(s_max=s_max)
            download = Download(ExportFile("a"), limited, bounds, tools)
            with pytest.raises(Transient) as wrong:
                await anext(download.blocks())
            assert wrong.value.retry_after_s == told_s

        asyncio.run(go())
        assert times.slept == []

    def test_an_unreachable_vendor_is_given_up_after_a_few_tries(self) -> None:
        tries = 0

        async def dead(offset: int, etag: str | None) -> Given:
            nonlocal tries
            tries += 1
            raise Failed(Unavailable("connection"))

        server = Server(b"")
        server.open_at = dead  # type: ignore[method-assign]
        assert isinstance(run(server)[1], Transient)
        assert tries == STALLS_MAX + 1


def test_a_compressed_download_is_refused_in_words() -> None:
    server = Server(pattern(10))
    whole = server.open_at

    async def packed(offset: int, etag: str | None) -> Given:
        return (await whole(offset, etag))._replace(headers={"Content-Encoding": "gzip"})

    server.open_at = packed  # type: ignore[method-assign]
    assert isinstance(run(server)[1], Terminal)


class TestOverHttp:
    """The same over real connections."""

    @pytest.mark.parametrize("chunked", [False, True])
    async def test_cuts_are_healed(self, chunked: bool) -> None:
        data = pattern(700_000)
        served = Served(data, cuts=(0, 100_000, 1, 300_000), chunked=chunked)
        async with bench() as at:
            at.vendor.always["download"] = served
            assert await fetch_one(at.client) == data
            ranges = [one.headers.get("Range") for one in at.vendor.asked("download")]
            conditions = [one.headers.get("If-Range") for one in at.vendor.asked("download")]
        assert ranges[0] is None
        assert ranges[-1] is not None
        assert conditions[-1] == served.etag

    async def test_an_end_by_close_is_confirmed(self) -> None:
        data = pattern(50_000)
        async with bench() as at:
            at.vendor.always["download"] = Served(data, until_close=True)
            assert await fetch_one(at.client) == data
            assert len(at.vendor.asked("download")) == 2

    async def test_an_empty_file_is_empty(self) -> None:
        async with bench() as at:
            at.vendor.always["download"] = Served(b"")
            assert await fetch_one(at.client) == b""

    async def test_a_silent_connection_is_left(self) -> None:
        data = pattern(5_000)
        async with bench(download_idle_s_max=0.2) as at:
            at.vendor.script["download"].append(Reply(200, b"late", wait_s=1.0))
            at.vendor.always["download"] = Served(data)
            assert await fetch_one(at.client) == data
