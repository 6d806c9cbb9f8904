"""What several callers append at once is as if one had appended after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from itertools import permutations
from pathlib import Path

import apsw
import pytest

from ocp_ingest.adapters.embedded import call_pages, schema
from ocp_ingest.adapters.embedded.call_store import EmbeddedCallStore
from ocp_ingest.adapters.embedded.database import Database, change, rows, value
from ocp_ingest.core.errors import Invalid
from ocp_ingest.core.events import Event
from ocp_ingest.ports import Appended
from tests.contracts import samples
from tests.contracts.runtimes import EmbeddedRuntime
from tests.contracts.test_database import PUT, Gate, names
from tests.contracts.test_embedded_desk import by_index, plans

T0 = samples.T0
FAR_MS = 1 << 50


def opened(folder: Path) -> Iterator[EmbeddedRuntime]:
    folder.mkdir()
    made = EmbeddedRuntime(folder)
    yield made
    made.close()


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[EmbeddedRuntime]:
    yield from opened(tmp_path / "one")


@pytest.fixture
def other(tmp_path: Path) -> Iterator[EmbeddedRuntime]:
    yield from opened(tmp_path / "other")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(tmp_path / "store.sqlite3", backlog_max=10)
    yield made
    made.close()


async def at_once(
    runtime: EmbeddedRuntime, requests: Sequence[Sequence[Event]]
) -> list[list[Appended]]:
    """Appends that wait for the writer together."""
    gate = Gate()
    first = asyncio.create_task(runtime.database.write(gate))
    await asyncio.to_thread(gate.reached.wait)
    tasks = [asyncio.create_task(runtime.calls.append(events)) for events in requests]
    await asyncio.sleep(0)
    gate.go.set()
    await first
    return await asyncio.gather(*tasks)


async def everything(runtime: EmbeddedRuntime) -> dict[str, list[tuple[object, ...]]]:
    """All rows that appends write; what is encrypted and when it came, apart."""
    statements = {
        "journal": "SELECT seq, call_id, event_id, content_hash, opens, data FROM journal",
        "call": "SELECT * FROM call ORDER BY call_id",
        "lookup": "SELECT * FROM lookup ORDER BY kind, ident",
        "problems": "SELECT * FROM call_problem ORDER BY code, call_id",
        "counts": "SELECT * FROM day_count WHERE n != 0 ORDER BY day, lob, term",
        "counter": "SELECT * FROM counter ORDER BY name",
    }
    return {
        name: await runtime.database.read(lambda c, sql=sql: rows(c, sql))  # type: ignore[misc] # a lambda's default has no type
        for name, sql in statements.items()
    }


def requests() -> list[list[Event]]:
    """Calls that meet in every way: repeats, variants, shared ids, several events of one."""
    return [
        [samples.start("c1", session_id="s1", connection_id="k1")],
        [samples.end("c1", session_id="s1")],
        [samples.start("c1", session_id="s1", connection_id="k1")],
        [samples.start("c1", channel="other")],
        [samples.start("c2", T0 - 5, session_id="s1"), samples.received("c2")],
        [samples.unknown("c3"), samples.unknown("c3", 1)],
        [samples.end("c3", group="g2")],
        [samples.received("c1"), samples.inspected("c1", samples.SHA, "truncated")],
        [samples.start("c4", T0 + 9, session_id="s9")],
        [samples.end("c4", T0 + 2, session_id="s9")],
    ]


async def test_what_is_appended_at_once_is_as_if_one_came_after_the_other(
    runtime: EmbeddedRuntime, other: EmbeddedRuntime
) -> None:
    given = requests()
    answers = await at_once(runtime, given)
    assert answers == [await other.calls.append(events) for events in given]
    assert await everything(runtime) == await everything(other)
    for call_id in ("c1", "c2", "c3", "c4"):
        assert await runtime.calls.rebuild(call_id) is False
    assert (await runtime.calls.counts())["started"] == 4


async def test_more_calls_than_one_statement_asks_for_are_all_found(
    runtime: EmbeddedRuntime, other: EmbeddedRuntime
) -> None:
    starts = [[samples.start(f"c{n}")] for n in range(150)]
    both = [[samples.start(f"c{n}"), samples.end(f"c{n}")] for n in range(150)]
    assert all(answer.new for [answer] in await at_once(runtime, starts))
    again = await at_once(runtime, both)
    assert [[a.new for a in answers] for answers in again] == [[False, True]] * 150
    await other.calls.append([event for events in starts for event in events])
    for events in both:
        await other.calls.append(events)
    assert await everything(runtime) == await everything(other)


@pytest.mark.parametrize("order", list(permutations(range(3))))
async def test_the_earliest_message_has_an_id_in_any_order(
    runtime: EmbeddedRuntime, other: EmbeddedRuntime, order: tuple[int, ...]
) -> None:
    said = [
        samples.start("c1", T0 + 20, session_id="s1"),
        samples.end("c1", T0, session_id="s1"),
        samples.start("c2", T0 + 10, session_id="s1"),
    ]
    await at_once(runtime, [[said[n]] for n in order])
    for n in order:
        await other.calls.append([said[n]])
    for each in (runtime, other):
        assert await each.calls.call_of("session", "s1") == "c1"


async def test_a_call_whose_row_was_lost_is_not_started_twice(runtime: EmbeddedRuntime) -> None:
    await runtime.calls.append([samples.unknown(), samples.start()])
    await runtime.database.write(lambda c: change(c, "DELETE FROM call"))
    await at_once(runtime, [[samples.end()], [samples.received()]])
    assert (await runtime.calls.counts())["started"] == 1


class Joiner:
    """Writes names, several at once where it can; one of them it refuses."""

    def __init__(self) -> None:
        self.lists: list[list[str]] = []

    def __call__(self, connection: apsw.Connection, items: list[str]) -> list[str]:
        self.lists.append(items)
        for item in items:
            change(connection, PUT, (item,))
            if item == "bad":
                raise Invalid("no")
        return [item.upper() for item in items]


async def waiting(database: Database, joiner: Joiner, items: Sequence[str]) -> list[object]:
    """What becomes of items that wait at once; one called "-" is an operation of its own."""
    gate = Gate()
    first = asyncio.create_task(database.write(gate))
    await asyncio.to_thread(gate.reached.wait)
    tasks: list[asyncio.Task[object]] = [
        asyncio.create_task(
            database.write(lambda c: change(c, PUT, ("-",))) if item == "-"
            else database.write_together(joiner, item)
        )
        for item in items
    ]  # fmt: skip
    await asyncio.sleep(0)
    gate.go.set()
    await first
    return list(await asyncio.gather(*tasks, return_exceptions=True))


async def test_items_that_wait_side_by_side_are_one_list_each_with_its_answer(
    database: Database,
) -> None:
    joiner = Joiner()
    assert await waiting(database, joiner, ["a", "b", "-", "c"]) == ["A", "B", 1, "C"]
    assert joiner.lists == [["a", "b"], ["c"]]
    assert names(database) == {"a", "b", "-", "c"}


async def test_an_item_that_is_refused_is_undone_alone(database: Database) -> None:
    joiner = Joiner()
    answers = await waiting(database, joiner, ["a", "bad", "b"])
    assert [str(type(a).__name__) for a in answers] == ["str", "Invalid", "str"]
    assert names(database) == {"a", "b"}


async def test_what_an_append_asks_is_answered_by_index_alone(runtime: EmbeddedRuntime) -> None:
    await at_once(runtime, requests())
    given = [samples.start(f"n{n}") for n in range(20)]
    store = runtime.calls
    assert isinstance(store, EmbeddedCallStore)

    def look(connection: apsw.Connection) -> dict[str, str]:
        found = plans(connection, lambda c: store._append(c, given))
        for group in (None, "g1"):
            for after in (None, first):
                found |= plans(
                    connection,
                    lambda c, a=after, g=group: call_pages.pending(c, FAR_MS, 3, g, a),  # type: ignore[misc] # as above
                )
        return found

    [first] = await runtime.calls.pending(until_ms=FAR_MS, limit=1)
    by_index(await runtime.database.write(look))


async def test_a_file_from_before_there_were_fewer_indexes_says_the_same(
    runtime: EmbeddedRuntime, tmp_path: Path
) -> None:
    (tmp_path / "old").mkdir()
    old = apsw.Connection(str(tmp_path / "old" / "store.sqlite3"))
    for script in schema.MIGRATIONS[:4]:
        old.execute(script)
    old.pragma("user_version", 4)
    await at_once(runtime, requests())
    tables = ("journal", "call", "lookup", "call_problem", "day_count", "meta", "counter")
    for table in tables:
        held = runtime.database.read_now(lambda c, t=table: rows(c, f"SELECT * FROM {t}"))  # type: ignore[misc]
        if held:
            marks = ", ".join("?" * len(held[0]))
            old.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", held)
    old.close()
    (tmp_path / "old" / "data.key").write_bytes((tmp_path / "one" / "data.key").read_bytes())
    (tmp_path / "old" / "data.key").chmod(0o600)
    upgraded = EmbeddedRuntime(tmp_path / "old")
    try:
        assert await everything(upgraded) == await everything(runtime)
        assert await upgraded.calls.counts() == await runtime.calls.counts()
        due = await runtime.calls.pending(until_ms=FAR_MS, limit=99)
        assert await upgraded.calls.pending(until_ms=FAR_MS, limit=99) == due
        sql = "SELECT count(*) FROM sqlite_schema WHERE name='call_pending'"
        assert upgraded.database.read_now(lambda c: value(c, sql)) == 0
    finally:
        upgraded.close()
