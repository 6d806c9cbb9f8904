"""What only the embedded runtime promises: group commit, isolation of failures, encryption."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Any

import apsw
import pytest

from ocp_ingest.adapters.embedded import call_pages
from ocp_ingest.adapters.embedded.call_store import EmbeddedCallStore
from ocp_ingest.adapters.embedded.clock import ScaledClock, SystemClock
from ocp_ingest.adapters.embedded.database import Database, change, rows, value
from ocp_ingest.adapters.embedded.evidence import EmbeddedEvidence
from ocp_ingest.adapters.embedded.vault import Vault
from ocp_ingest.adapters.journal import Deriving
from ocp_ingest.core.errors import Invalid, Terminal, Transient
from ocp_ingest.core.lifecycle import CallPolicy
from ocp_ingest.ports import CallQuery
from tests.contracts import samples

PUT = "INSERT INTO meta (name, value) VALUES (?, '')"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(tmp_path / "store.sqlite3", backlog_max=10)
    yield made
    made.close()


def put(name: str) -> Callable[[apsw.Connection], int]:
    return lambda connection: change(connection, PUT, (name,))


def names(database: Database) -> set[str]:
    return {name for (name,) in database.read_now(lambda c: rows(c, "SELECT name FROM meta"))}


class Gate:
    """An operation that keeps the writer busy until it is let go."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.go = threading.Event()

    def __call__(self, connection: apsw.Connection) -> None:
        self.reached.set()
        self.go.wait(10)


class Gathered:
    """Counts, and notes what it has written in one go."""

    def __init__(self) -> None:
        self.held = 0
        self.written: list[int] = []

    def add(self, connection: apsw.Connection) -> None:
        self.held += 1

    def write(self, connection: apsw.Connection) -> None:
        if self.held:
            self.written.append(self.held)
        self.held = 0

    def forget(self) -> None:
        self.held = 0


class TestGroupCommit:
    async def test_what_gathers_is_committed_at_once(self, database: Database) -> None:
        gate = Gate()
        first = asyncio.create_task(database.write(gate))
        await asyncio.to_thread(gate.reached.wait)
        commits = 0

        def hook() -> bool:
            nonlocal commits
            commits += 1
            return False

        database._writer.set_commit_hook(hook)
        others = [asyncio.create_task(database.write(put(str(n)))) for n in range(9)]
        await asyncio.sleep(0)
        gate.go.set()
        await asyncio.gather(first, *others)
        assert names(database) == {str(n) for n in range(9)}
        assert commits <= 2

    async def test_an_operation_that_raises_is_undone_alone(self, database: Database) -> None:
        def bad(connection: apsw.Connection) -> None:
            change(connection, PUT, ("bad",))
            raise Invalid("no")

        gate = Gate()
        first = asyncio.create_task(database.write(gate))
        await asyncio.to_thread(gate.reached.wait)
        tasks = [
            asyncio.create_task(database.write(put("a"))),
            asyncio.create_task(database.write(bad)),
            asyncio.create_task(database.write(put("b"))),
        ]
        await asyncio.sleep(0)
        gate.go.set()
        await first
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(d) for d in done] == [int, Invalid, int]
        assert names(database) == {"a", "b"}

    async def test_what_is_gathered_is_written_once_a_batch_and_undone_with_what_raised(
        self, database: Database
    ) -> None:
        gathered = Gathered()
        database.gather(gathered)

        def bad(connection: apsw.Connection) -> None:
            gathered.held += 100
            raise Invalid("no")

        gate = Gate()
        first = asyncio.create_task(database.write(gate))
        await asyncio.to_thread(gate.reached.wait)
        good = [asyncio.create_task(database.write(gathered.add)) for _ in range(9)]
        await asyncio.sleep(0)
        gate.go.set()
        await asyncio.gather(first, *good)
        assert gathered.written == [9]

        gate = Gate()
        first = asyncio.create_task(database.write(gate))
        await asyncio.to_thread(gate.reached.wait)
        mixed = [
            asyncio.create_task(database.write(one)) for one in (gathered.add, bad, gathered.add)
        ]
        await asyncio.sleep(0)
        gate.go.set()
        await first
        done = await asyncio.gather(*mixed, return_exceptions=True)
        assert [type(one) for one in done] == [NoneType, Invalid, NoneType]
        assert sum(gathered.written) == 11
        assert gathered.held == 0

    async def test_a_call_is_counted_once_whatever_fails_beside_it(self, tmp_path: Path) -> None:
        database = Database(tmp_path / "s.sqlite3", backlog_max=100)
        store = EmbeddedCallStore(database, Vault(tmp_path / "data.key"), Deriving())

        def bad(connection: apsw.Connection) -> None:
            raise Invalid("no")

        gate = Gate()
        first = asyncio.create_task(database.write(gate))
        await asyncio.to_thread(gate.reached.wait)
        tasks = [
            asyncio.create_task(store.append([samples.start("a")])),
            asyncio.create_task(database.write(bad)),
            asyncio.create_task(store.append([samples.start("b")])),
        ]
        await asyncio.sleep(0)
        gate.go.set()
        await asyncio.gather(first, *tasks, return_exceptions=True)
        sql = "SELECT n FROM day_count WHERE term='started'"
        assert database.read_now(lambda c: rows(c, sql)) == [(2,)]
        database.close()

    async def test_over_the_backlog_it_is_refused_at_once_and_later_taken_again(
        self, database: Database
    ) -> None:
        gate = Gate()
        first = asyncio.create_task(database.write(gate))
        await asyncio.to_thread(gate.reached.wait)
        with pytest.raises(Transient):
            await database.write(put("x"), weight=10)
        gate.go.set()
        await first
        await database.write(put("x"), weight=100)
        assert names(database) == {"x"}

    async def test_a_failed_commit_fails_the_batch_and_acknowledges_nothing(
        self, database: Database
    ) -> None:
        await database.write(lambda c: value(c, "PRAGMA max_page_count=60"))
        blob = bytes(40_000)

        def fill(number: int) -> Callable[[apsw.Connection], int]:
            sql = "INSERT INTO alarm (name, at_ms, body) VALUES (?, 0, ?)"
            return lambda connection: change(connection, sql, (str(number), blob))

        done = await asyncio.gather(
            *(database.write(fill(n)) for n in range(10)), return_exceptions=True
        )
        failed = [d for d in done if isinstance(d, BaseException)]
        assert failed
        assert all(isinstance(d, Transient) and "full" in d.text for d in failed)
        stored = database.read_now(lambda c: rows(c, "SELECT name FROM alarm"))
        assert {name for (name,) in stored} == {
            str(n) for n, d in enumerate(done) if not isinstance(d, BaseException)
        }
        await database.write(put("still works"))

    async def test_a_closed_database_refuses_and_what_was_taken_is_written(
        self, tmp_path: Path
    ) -> None:
        database = Database(tmp_path / "s.sqlite3", backlog_max=100)
        tasks = [asyncio.create_task(database.write(put(str(n)))) for n in range(20)]
        await asyncio.sleep(0)
        database.close()
        await asyncio.gather(*tasks)
        with pytest.raises(Transient):
            await database.write(put("late"))
        with pytest.raises(Transient):
            names(database)
        assert not (tmp_path / "s.sqlite3-wal").exists()
        again = Database(tmp_path / "s.sqlite3", backlog_max=100)
        assert names(again) == {str(n) for n in range(20)}
        again.close()

    async def test_a_caller_that_went_away_harms_nobody(self, database: Database) -> None:
        gate = Gate()
        first = asyncio.create_task(database.write(gate))
        await asyncio.to_thread(gate.reached.wait)
        gone = asyncio.create_task(database.write(put("gone")))
        await asyncio.sleep(0)
        gone.cancel()
        gate.go.set()
        await first
        await database.write(put("next"))
        assert "next" in names(database)

    async def test_two_processes_take_turns(self, tmp_path: Path) -> None:
        one = Database(tmp_path / "s.sqlite3", backlog_max=100)
        two = Database(tmp_path / "s.sqlite3", backlog_max=100)
        await asyncio.gather(
            *(
                database.write(put(f"{which}-{n}"))
                for n in range(20)
                for which, database in (("one", one), ("two", two))
            )
        )
        assert len(names(one)) == 40
        one.close()
        two.close()


class TestFile:
    def test_a_file_of_a_newer_program_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "s.sqlite3"
        Database(path, backlog_max=1).close()
        connection = apsw.Connection(str(path))
        connection.pragma("user_version", 999)
        connection.close()
        with pytest.raises(Terminal, match="999"):
            Database(path, backlog_max=1)

    def test_a_damaged_file_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "s.sqlite3"
        path.write_bytes(b"this is no database at all " * 1_000)
        with pytest.raises(Terminal):
            Database(path, backlog_max=1)

    def test_every_commit_is_synced(self, database: Database) -> None:
        """2 is FULL; the crash tests prove what it is for."""
        assert value(database._writer, "PRAGMA synchronous") == 2
        assert value(database._writer, "PRAGMA journal_mode") == "wal"


class TestEncryption:
    SECRET = "+34600123456"  # a caller's number

    async def fill(self, folder: Path, vault: Vault) -> None:
        database = Database(folder / "s.sqlite3", backlog_max=100)
        store = EmbeddedCallStore(database, vault, Deriving())
        await store.append([samples.start(origin_uri=self.SECRET, utterance=self.SECRET)])
        await EmbeddedEvidence(database, vault, items_max=9).keep(
            "event", "bad", self.SECRET.encode(), 1
        )
        database.close()

    async def test_no_raw_message_is_on_disk_in_clear(self, tmp_path: Path) -> None:
        await self.fill(tmp_path, Vault(tmp_path / "data.key"))
        for path in tmp_path.iterdir():
            assert self.SECRET.encode() not in path.read_bytes()

    async def test_rows_of_older_keys_stay_readable_after_a_rotation(self, tmp_path: Path) -> None:
        vault = Vault(tmp_path / "data.key")
        await self.fill(tmp_path, vault)
        first = vault.key_id
        assert vault.rotate() != first
        database = Database(tmp_path / "s.sqlite3", backlog_max=100)
        store = EmbeddedCallStore(database, Vault(tmp_path / "data.key"), Deriving())
        await store.append([samples.end(origin_uri=self.SECRET)])
        raws = [e.raw for e in await store.journal("c1")]
        keys = await database.read(lambda c: rows(c, "SELECT DISTINCT key_id FROM journal"))
        database.close()
        assert len(raws) == 2
        assert all(self.SECRET.encode() in raw for raw in raws)
        assert len(keys) == 2

    async def test_a_reader_learns_a_key_that_another_process_made(self, tmp_path: Path) -> None:
        reads = Vault(tmp_path / "data.key")
        other = Vault(tmp_path / "data.key")
        other.rotate()
        sealed = other.encrypt(b"said", "row")
        assert reads.decrypt(sealed, "row", other.key_id) == b"said"

    def test_of_two_processes_that_make_a_key_neither_loses_the_other_s(
        self, tmp_path: Path
    ) -> None:
        one, two = Vault(tmp_path / "data.key"), Vault(tmp_path / "data.key")
        made = {one.key_id, one.rotate(), two.rotate(), one.rotate()}
        assert len(made) == 4
        assert set(Vault(tmp_path / "data.key")._file.keys) == made
        with one._alone(), pytest.raises(Transient, match="try again"):
            two.rotate()

    async def test_without_its_key_the_store_does_not_open(self, tmp_path: Path) -> None:
        await self.fill(tmp_path, Vault(tmp_path / "data.key"))
        lost = (tmp_path / "data.key").read_bytes()
        (tmp_path / "data.key").unlink()
        for _ in range(2):  # the second start finds the file that the first one made
            database = Database(tmp_path / "s.sqlite3", backlog_max=100)
            with pytest.raises(Terminal, match="put back"):
                EmbeddedCallStore(database, Vault(tmp_path / "data.key"), Deriving())
            database.close()
        (tmp_path / "data.key").write_bytes(lost)
        database = Database(tmp_path / "s.sqlite3", backlog_max=100)
        store = EmbeddedCallStore(database, Vault(tmp_path / "data.key"), Deriving())
        assert self.SECRET.encode() in (await store.journal("c1"))[0].raw
        database.close()

    async def test_a_row_moved_to_another_event_does_not_open(self, tmp_path: Path) -> None:
        vault = Vault(tmp_path / "data.key")
        await self.fill(tmp_path, vault)
        database = Database(tmp_path / "s.sqlite3", backlog_max=100)
        store = EmbeddedCallStore(database, vault, Deriving())
        await database.write(lambda c: change(c, "UPDATE journal SET event_id='other'"))
        with pytest.raises(Terminal, match="altered"):
            await store.journal("c1")
        database.close()

    def test_the_key_file_is_for_its_owner_alone(self, tmp_path: Path) -> None:
        Vault(tmp_path / "data.key")
        assert (tmp_path / "data.key").stat().st_mode & 0o777 == 0o600
        (tmp_path / "data.key").chmod(0o640)
        with pytest.raises(Terminal, match="chmod"):
            Vault(tmp_path / "data.key")
        assert [path.name for path in tmp_path.iterdir()] == ["data.key"]


class TestIndexes:
    async def steps(self, database: Database, work: Any) -> int:
        """Virtual machine steps of a read, in tens."""
        taken = 0

        def tick() -> bool:
            nonlocal taken
            taken += 1
            return False

        def counted(connection: apsw.Connection) -> None:
            connection.set_progress_handler(tick, 10)
            try:
                work(connection)
            finally:
                connection.set_progress_handler(None)

        await database.read(counted)
        return taken

    async def test_finding_due_work_reads_no_finished_call(self, tmp_path: Path) -> None:
        database = Database(tmp_path / "s.sqlite3", backlog_max=100_000)
        store = EmbeddedCallStore(database, Vault(tmp_path / "data.key"), Deriving())
        await store.append([samples.start("open-1"), samples.start("open-2")])

        async def measure(group: str | None) -> int:
            def look(connection: apsw.Connection) -> None:
                assert len(call_pages.pending(connection, 1 << 50, 10, group, None)) == 2

            return await self.steps(database, look)

        before = [await measure(group) for group in (None, "g1")]
        await store.append([e for n in range(400) for e in samples.life(f"c{n}")])
        assert (await store.counts())["stored"] == 400
        after = [await measure(group) for group in (None, "g1")]
        assert max(after) <= max(before) + 5  # a look at 400 more calls would be 40 more at least
        database.close()

    @pytest.mark.parametrize(
        "query",
        [
            CallQuery(limit=5), CallQuery(stage="stored", limit=5), CallQuery(lob="sales", limit=5),
            CallQuery(outcome="stored", limit=5), CallQuery(ocp_group="g1", limit=5),
        ],
    )  # fmt: skip
    async def test_a_page_reads_about_as_many_calls_as_it_shows(
        self, tmp_path: Path, query: CallQuery
    ) -> None:
        database = Database(tmp_path / "s.sqlite3", backlog_max=100_000)
        store = EmbeddedCallStore(database, Vault(tmp_path / "data.key"), Deriving())
        given = [e for n in range(300) for e in samples.life(f"c{n:03}", samples.T0 + n)]
        await store.append(given)
        page = await store.page(query)
        taken = await self.steps(database, lambda c: call_pages.page(c, query))
        after = CallQuery(limit=5, cursor=page.cursor)
        assert taken <= 100  # a look at each of them would be 300 at least
        assert await self.steps(database, lambda c: call_pages.page(c, after)) <= 100
        database.close()


class TestPolicy:
    async def test_a_changed_policy_derives_the_columns_anew(self, tmp_path: Path) -> None:
        database = Database(tmp_path / "s.sqlite3", backlog_max=100)
        vault = Vault(tmp_path / "data.key")
        store = EmbeddedCallStore(database, vault, Deriving())
        await store.append([samples.received()])
        [before] = await store.pending(until_ms=1 << 50, limit=9)
        later = Deriving(CallPolicy(resume_after_ms=CallPolicy().resume_after_ms + 1_000))
        store = EmbeddedCallStore(database, vault, later)
        [after] = await store.pending(until_ms=1 << 50, limit=9)
        assert after.at_ms == before.at_ms + 1_000
        assert await store.rebuild("c1") is False
        database.close()

    async def test_a_wrong_record_is_found_and_mended_by_rebuild(self, tmp_path: Path) -> None:
        database = Database(tmp_path / "s.sqlite3", backlog_max=100)
        store = EmbeddedCallStore(database, Vault(tmp_path / "data.key"), Deriving())
        [answer] = await store.append([samples.start(session_id="s1")])
        for damage in (
            "DELETE FROM call", "UPDATE call SET pend_at=NULL", "UPDATE call SET stage='stored'",
            "DELETE FROM lookup WHERE kind='session'",
            "UPDATE call SET ocp_group='', lob='x', stage='', outcome='', started_at=0, pend_at=0",
        ):  # fmt: skip
            await database.write(partial(change, sql=damage))
            assert await store.rebuild("c1") is True, damage
            assert await store.rebuild("c1") is False, damage
            assert await store.load("c1") == answer.call
            assert await store.call_of("session", "s1") == "c1"
            assert len(await store.pending(until_ms=1 << 50, limit=9)) == 1
        database.close()


class TestClocks:
    def test_a_scaled_clock_goes_on_where_it_was(self) -> None:
        real = SystemClock()
        started_s = real.now_ms() / 1000 - 10
        for _ in range(2):  # a second one with the same origin is a restart
            clock = ScaledClock(samples.T0, 3_600, started_s)
            assert abs(clock.now_ms() - (samples.T0 + 10 * 3_600_000)) < 3_600_000

    async def test_sleeping_is_shorter_by_the_scale(self) -> None:
        clock = ScaledClock(samples.T0, 3_600, SystemClock().now_ms() / 1000)
        before = clock.now_ms()
        await clock.sleep_ms(36_000)  # 10 ms of real time
        assert 36_000 <= clock.now_ms() - before < 36_000 * 100

    def test_a_clock_that_stands_still_is_refused(self) -> None:
        with pytest.raises(ValueError, match="scale"):
            ScaledClock(0, 0, 0)
