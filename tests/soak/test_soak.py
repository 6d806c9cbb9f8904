"""Ended under load over broken connections and disks: nothing acknowledged is lost or doubled."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from random import Random

import pytest

from tests.soak.journal import Record, Writer
from tests.soak.load import Input, lost
from tests.soak.platform import KINDS, SoakPlatform
from tests.soak.power import Power
from tests.soak.proxy import FATES, FaultProxy
from tests.soak.soak import CALLS_A_ROUND, ROUNDS_MIN, Figures, Soak
from tests.story.kit import Platform, Talk, encoded, hiss, sender


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_kills_and_power_cuts_under_load_lose_and_double_nothing(tmp_path: Path) -> None:
    figures = await Soak(tmp_path, ROUNDS_MIN, seed=1).run()
    assert figures.problems == []
    assert figures.untested == []
    assert figures.clean
    assert figures.kills == ROUNDS_MIN + 1
    assert figures.acknowledged == ROUNDS_MIN * CALLS_A_ROUND * 3


def test_a_run_that_has_not_met_a_weather_is_not_clean() -> None:
    """Each of them alone spoils it."""
    figures = Figures(1, kills=2, power_cuts=1, under_way=1)
    for felt, names in (
        (figures.answers, ["503"]), (figures.weather, KINDS), (figures.connections, FATES),
        (figures.disk, [kind for kinds in KINDS.values() for kind in kinds]),
        (figures.power_lost, ["names", "torn writes of files"]),
    ):  # fmt: skip
        felt.update(dict.fromkeys(names, 1))
    assert figures.clean
    for felt in (figures.answers, figures.weather, figures.connections, figures.disk,
                 figures.power_lost):  # fmt: skip
        for name in list(felt):
            felt[name] = 0
            assert len(figures.untested) == 1
            assert not figures.clean
            felt[name] = 1
    figures.power_cuts = figures.kills
    assert figures.untested == ["kill -9"]


# -- the disk that forgets -----------------------------------------------------------------------


@pytest.mark.parametrize(("forgets", "loses"), [("", False), ("files", True), ("database", True)])
async def test_a_power_cut_takes_what_was_not_synced_and_nothing_else(
    tmp_path: Path, forgets: str, loses: bool
) -> None:
    """The soak's power cuts can be trusted: without the platform's syncs they lose its data."""
    rng = Random(1)
    with SoakPlatform(tmp_path, 1, forgets=forgets) as platform:
        await platform.live()
        async with sender(platform) as to:
            talks = [Talk(rng, 3_000) for _ in range(6)]
            audio = [hiss(rng, talk.duration_ms) for talk in talks]
            sent: list[Input] = []
            for talk, body in zip(talks, audio, strict=True):
                await to.events(talk.start())
                assert (await to.deliver(talk.name, body))[0] == 201
                sent += [Input(talk, "event", encoded(talk.start())),
                         Input(talk, "recording", body)]  # fmt: skip
        platform.kill()
        platform.cut()
        assert bool(await _lost(platform, sent)) is loses


async def _lost(platform: SoakPlatform, sent: Iterable[Input]) -> list[str]:
    """What is lost; all of it where the store can't even be opened."""
    try:
        async with platform.after_a_cut() as runtime:
            return await lost(runtime, sent)
    except Exception as broken:
        return [repr(broken)]


class Disk:
    """A folder and its journal, without a platform; `ends` counts what disks are left by cuts."""

    def __init__(self, folder: Path) -> None:
        self.root, graves = folder / "root", folder / "graves"
        self.root.mkdir()
        graves.mkdir()
        self._folder, self._ends = folder, 0
        self._writer = Writer(folder / "journal")
        self.power = Power(folder / "journal", graves)

    def put(self, *records: Record) -> None:
        for record in records:
            self._writer.put(record)

    def ends(self, name: str) -> set[bytes | None]:
        """What a file may be after a power cut, over many chances; None: not there."""
        found: set[bytes | None] = set()
        for seed in range(120):
            self._ends += 1
            image = self._folder / f"image{self._ends}"
            self.power.image(self.root, image, Random(seed))
            path = image / name
            found.add(path.read_bytes() if path.exists() else None)
        return found


DB = "ocp.sqlite3"


def test_a_write_since_the_last_sync_is_kept_dropped_or_torn(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    (disk.root / DB).write_bytes(b"NEW4more")
    disk.put(Record("write", DB, at=0, size=4, old=b"old4", new=b"NEW4"), Record("sync", DB))
    assert disk.ends(DB) == {b"NEW4more"}
    disk.put(Record("write", DB, at=4, size=4, new=b"more"))
    assert {b"NEW4", b"NEW4m", b"NEW4mo", b"NEW4mor", b"NEW4more"} == disk.ends(DB)


def test_what_a_failed_sync_should_have_kept_is_gone_and_what_came_later_is_not(
    tmp_path: Path,
) -> None:
    disk = Disk(tmp_path)
    (disk.root / DB).write_bytes(b"aXcYe")
    disk.put(Record("write", DB, at=1, size=5, old=b"b", new=b"X"), Record("doom", DB),
             Record("write", DB, at=3, size=5, old=b"d", new=b"Y"), Record("sync", DB))  # fmt: skip
    assert disk.ends(DB) == {b"abcYe"}


def test_a_name_is_as_it_was_or_as_it_is_until_its_folder_is_synced(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    (disk.root / "new").write_bytes(b"bytes")
    disk.put(Record("name", ".", text="new"))
    assert disk.ends("new") == {None, b"bytes"}
    disk.put(Record("settle", "."))
    assert disk.ends("new") == {b"bytes"}
    (tmp_path / "graves" / "1").write_bytes(b"bytes")
    (disk.root / "new").unlink()
    disk.put(Record("unname", ".", text="new", grave="1"))
    assert disk.ends("new") == {None, b"bytes"}
    disk.put(Record("settle", "."))
    assert disk.ends("new") == {None}


def test_a_record_that_the_process_died_in_never_happened(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    disk.put(Record("failed", "files"), Record("failed", "files"))
    journal = tmp_path / "journal"
    journal.write_bytes(journal.read_bytes()[:-1])
    disk.power.died()
    disk.put(Record("failed", "folders"))  # of the next life
    assert disk.power.look() == Counter({"failed files": 1, "failed folders": 1})


# -- the ledger's eye, and the proxy --------------------------------------------------------------


async def test_what_was_acknowledged_and_is_not_there_is_seen(tmp_path: Path) -> None:
    """The soak's own eye: without it, a clean run says nothing."""
    rng = Random(1)
    with Platform(tmp_path) as platform:
        await platform.start()
        talk = Talk(rng, 3_000)
        audio = hiss(rng, talk.duration_ms)
        async with sender(platform) as to:
            await to.events(talk.start())
            assert (await to.deliver(talk.name, audio))[0] == 201
        good = [
            Input(talk, "event", encoded(talk.start())), Input(talk, "recording", audio),
        ]  # fmt: skip
        bad = [
            Input(talk, "event", encoded(talk.end())), Input(talk, "recording", audio + b"!"),
            Input(Talk(rng, 3_000), "recording", audio),
        ]  # fmt: skip
        async with platform.store() as runtime:
            assert await lost(runtime, good) == []
            assert len(await lost(runtime, bad)) == len(bad)


async def test_the_proxy_breaks_connections_in_every_way_and_passes_the_others() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = await reader.read()
        writer.write(body)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    proxy = FaultProxy(Random(3), share=0.7)
    proxy.target = server.sockets[0].getsockname()
    await proxy.start()
    whole = 0
    try:
        for _ in range(60):
            whole += await _through(proxy.port, bytes(120_000)) == bytes(120_000)
    finally:
        await proxy.stop()
        server.close()
    assert set(proxy.seen) == {*FATES, "through"}
    # What is cut behind its last byte is whole.
    assert proxy.seen["through"] + proxy.seen["slow"] <= whole < 60


async def _through(port: int, body: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(body)
        await writer.drain()
        writer.write_eof()
        return await reader.read()
    except OSError:
        return b""
    finally:
        writer.transport.abort()
