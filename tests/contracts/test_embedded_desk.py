"""What SQLite must do for the desk: answer by its indexes alone, and mend what it derives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from ocp_ingest.adapters.embedded import call_pages, call_rows, schema
from ocp_ingest.adapters.embedded.alert_book import EmbeddedAlertBook
from ocp_ingest.adapters.embedded.bulk_book import EmbeddedBulkBook
from ocp_ingest.adapters.embedded.call_store import EmbeddedCallStore
from ocp_ingest.adapters.embedded.database import Database, change, rows, value
from ocp_ingest.adapters.embedded.figures import EmbeddedFigures
from ocp_ingest.adapters.embedded.vault import Vault
from ocp_ingest.adapters.journal import Deriving, derive
from ocp_ingest.core.call import fold
from ocp_ingest.core.counting import day_of
from ocp_ingest.core.errors import Transient
from ocp_ingest.core.limits import DAY_MS, HOUR_MS
from ocp_ingest.ports import CallQuery
from tests.contracts import samples
from tests.contracts.runtimes import BACKLOG_MAX, EmbeddedRuntime
from tests.contracts.samples import T0
from tests.contracts.test_alert_book import alert
from tests.contracts.test_bulk_book import CALLS, done, job
from tests.contracts.test_call_pages import COMBINATIONS, filled, population
from tests.contracts.test_figures import DAY, expected, told

LAST_DAY = day_of(T0 + 30 * DAY_MS)


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[EmbeddedRuntime]:
    made = EmbeddedRuntime(tmp_path)
    yield made
    made.close()


async def figures(runtime: EmbeddedRuntime) -> dict[tuple[str, str], dict[str, int]]:
    """All counters."""
    return told(await runtime.figures.days(DAY, LAST_DAY))


async def damage(runtime: EmbeddedRuntime, sql: str) -> None:
    """Changes the file as no program of ours would."""
    await runtime.database.write(partial(change, sql=sql))


# -- by indexes alone -----------------------------------------------------------------------------


@contextmanager
def noted(connection: apsw.Connection) -> Iterator[dict[str, Any]]:
    """The statements that a connection runs meanwhile, with the values of one run of each."""
    seen: dict[str, Any] = {}

    def note(_cursor: apsw.Cursor, sql: str, values: Any) -> bool:
        seen[sql] = values
        return True

    connection.set_exec_trace(note)
    try:
        yield seen
    finally:
        connection.set_exec_trace(None)


def plans(connection: apsw.Connection, work: Callable[[apsw.Connection], Any]) -> dict[str, str]:
    """How SQLite runs each statement of some work."""
    with noted(connection) as seen:
        work(connection)
    return {
        sql: "; ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values))
        for sql, values in seen.items()
        if sql.lstrip().startswith(("SELECT", "UPDATE", "DELETE"))
    }


def by_index(found: dict[str, str]) -> None:
    """Each statement steps into an index; none looks at all calls, none sorts."""
    assert found
    for sql, plan in found.items():
        assert "TEMP B-TREE" not in plan, (sql, plan)
        assert "SEARCH" in plan, (sql, plan)
        assert "SCAN" not in plan, (sql, plan)


async def test_pages_of_any_filters_are_read_by_index_alone(runtime: EmbeddedRuntime) -> None:
    await filled(runtime)
    cursors = [None, (await runtime.calls.page(CallQuery(limit=5))).cursor]

    def look(connection: apsw.Connection) -> dict[str, str]:
        found: dict[str, str] = {}
        for query in COMBINATIONS:
            for cursor in cursors:
                asked = msgspec.structs.replace(query, cursor=cursor)
                if asked.lobs != () and (asked.lobs is None or asked.lob in (None, *asked.lobs)):
                    found |= plans(connection, lambda c, a=asked: call_pages.page(c, a))  # type: ignore[misc] # a lambda's default has no type
        return found

    by_index(await runtime.database.read(look))


@pytest.mark.parametrize(
    "query",
    [
        CallQuery(stage="call_ended", outcome="stored"),
        CallQuery(stage="stored", ocp_group="g1", lob="care"),
        CallQuery(lob="rare", outcome="stored"),
        CallQuery(lobs=("rare", "claims")),
        CallQuery(problem="truncated", outcome="stored"),
        CallQuery(problem="none", lobs=("sales",)),
        CallQuery(lob="sales", to_ms=T0 - HOUR_MS),
    ],
)
async def test_what_matches_nothing_costs_the_same_among_more_calls(
    runtime: EmbeddedRuntime, query: CallQuery
) -> None:
    async def steps() -> int:
        taken = 0

        def tick() -> bool:
            nonlocal taken
            taken += 1
            return False

        def look(connection: apsw.Connection) -> None:
            connection.set_progress_handler(tick, 10)
            assert call_pages.page(connection, query) == ([], None)
            connection.set_progress_handler(None)

        await runtime.database.read(look)
        return taken

    for number in range(20):
        await runtime.calls.append(samples.life(f"a{number}", T0 + number))
    await runtime.calls.append(samples.life("other", T0, group="g2")[:3])
    before = await steps()
    await runtime.calls.append([e for n in range(400) for e in samples.life(f"b{n}", T0 + n)])
    assert await steps() <= before + 3


async def test_figures_are_read_by_index_alone(runtime: EmbeddedRuntime) -> None:
    await filled(runtime)
    found: dict[str, str] = {}
    database = runtime.database
    plain = database.read_now

    def watched(operation: Callable[[apsw.Connection], Any]) -> Any:
        def both(connection: apsw.Connection) -> Any:
            found.update(plans(connection, operation))
            return operation(connection)

        return plain(both)

    database.read_now = watched  # type: ignore[method-assign] # to see what it is asked
    await runtime.figures.days(DAY, LAST_DAY)
    for lobs in (None, ["care", "sales"]):
        await runtime.figures.open_ages([T0, T0 + HOUR_MS], lobs)
        await runtime.figures.oldest_open(lobs)
    await runtime.alerts.due(T0)
    await runtime.bulk.waiting("b1", limit=5)
    await runtime.bulk.items("b1", after=3, failed_only=True)
    first_of_open = [sql for sql in found if sql.endswith("'stored' ORDER BY lob LIMIT 1")]
    assert len(first_of_open) == 1
    assert "call_open" in found.pop(first_of_open[0])  # its first entry, and no further
    by_index(found)
    assert sum("call_open" in plan for plan in found.values()) == 3
    assert sum("bulk_item_" in plan for plan in found.values()) == 2


# -- mending --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE day_count SET n = n + 3 WHERE term='stored'",
        "DELETE FROM day_count WHERE term='started'",
        "INSERT INTO day_count VALUES ('{day}', 'nobody', 'lost', 2)",
        "UPDATE call SET counted = 0 WHERE call_id='c00'",
        "UPDATE call SET counted = NULL",
        "UPDATE call SET lob='elsewhere' WHERE call_id='c00'",
        "UPDATE call SET stage='call_ended', outcome='lost' WHERE call_id='c00'",
    ],
)
async def test_a_recount_corrects_what_was_wrong_and_says_so(
    runtime: EmbeddedRuntime, sql: str
) -> None:
    await filled(runtime)
    await damage(runtime, sql.format(day=DAY))
    changed = await figures(runtime) != await expected(runtime)
    corrected = await runtime.figures.recount(DAY, by="ana", now_ms=T0)
    assert corrected > 0 or not changed
    assert await figures(runtime) == await expected(runtime)
    assert await runtime.figures.recount(DAY, by="ana", now_ms=T0) == 0
    assert not any([await runtime.calls.rebuild(i) for i in await runtime.calls.call_ids()])


async def test_a_recount_leaves_other_days_alone(runtime: EmbeddedRuntime) -> None:
    await runtime.calls.append(samples.life("a"))
    await runtime.calls.append(samples.life("b", T0 + DAY_MS))
    await damage(runtime, "UPDATE day_count SET n = n + 1 WHERE term='stored'")
    assert await runtime.figures.recount(DAY, by="ana", now_ms=T0) == 1
    [one, other] = await runtime.figures.days(DAY, LAST_DAY)
    assert (one.terms["stored"], other.terms["stored"]) == (1, 2)


async def test_more_calls_than_one_piece_are_recounted(
    runtime: EmbeddedRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ocp_ingest.adapters.embedded.figures.RECOUNT_BATCH", 2)
    for number in range(5):
        await runtime.calls.append(samples.life(f"c{number}", T0 + number // 4))
    before = await figures(runtime)
    await damage(runtime, "UPDATE call SET counted=1, lob='x'")
    assert await runtime.figures.recount(DAY, by="ana", now_ms=T0) > 0
    assert await figures(runtime) == before


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE call SET counted = counted & 1",
        "UPDATE call SET problems = ''",
        "DELETE FROM call_problem",
        "UPDATE call SET record = x'00'",
    ],
)
async def test_rebuilding_mends_what_a_row_stands_for(runtime: EmbeddedRuntime, sql: str) -> None:
    [*_, journal] = [j for j in population() if j[-1].data.get("code") == "bad_at_ocp"]
    await runtime.calls.append(journal)
    call_id = journal[0].call_id
    await damage(runtime, sql)
    assert await runtime.calls.rebuild(call_id) is True
    assert await runtime.calls.rebuild(call_id) is False
    page = await runtime.calls.page(CallQuery(problem="truncated"))
    assert [call.call_id for call in page.calls] == [call_id]


async def test_a_call_without_a_journal_leaves_all_counters(runtime: EmbeddedRuntime) -> None:
    await runtime.calls.append(population()[3])
    await damage(runtime, "DELETE FROM journal")
    assert await runtime.calls.rebuild("c03") is True
    assert await figures(runtime) == {}
    assert runtime.database.read_now(lambda c: value(c, "SELECT count(*) FROM call_problem")) == 0


# -- files of older programs ----------------------------------------------------------------------

_OLD_PUT = """
INSERT INTO call (call_id, ocp_group, lob, stage, outcome, started_at, pend_at, record)
VALUES (?, ?, '', ?, ?, ?, ?, ?)
"""


def old_file(path: Path) -> None:
    """A file of version 2 with the population in it: no counters, no problems, no predicted lob."""
    connection = apsw.Connection(str(path))
    for script in schema.MIGRATIONS[:2]:
        connection.execute(script)
    connection.pragma("user_version", 2)
    connection.execute("INSERT INTO meta VALUES ('policy', 'as it was')")
    for journal in population():
        call = fold(journal[0].call_id, journal)
        row = derive(call, Deriving())
        columns = (row.ocp_group, row.stage, row.outcome, row.started_at, row.pend_at)
        connection.execute(_OLD_PUT, (call.call_id, *columns, call_rows.ENCODER.encode(call)))
    connection.close()


async def test_a_file_of_an_older_program_gets_its_counters_once(
    runtime: EmbeddedRuntime, tmp_path: Path
) -> None:
    await filled(runtime)
    (tmp_path / "old").mkdir()
    old_file(tmp_path / "old" / "store.sqlite3")
    for _ in range(2):
        upgraded = EmbeddedRuntime(tmp_path / "old")
        assert await figures(upgraded) == await figures(runtime)
        for query in (CallQuery(problem="truncated"), CallQuery(lob="care", outcome="lost")):
            assert await upgraded.calls.page(query) == await runtime.calls.page(query)
        upgraded.close()


async def test_an_upgrade_that_is_stopped_goes_on_where_it_was(
    runtime: EmbeddedRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(runtime)
    old_file(tmp_path / "old.sqlite3")
    monkeypatch.setattr("ocp_ingest.adapters.embedded.call_store.REDERIVE_BATCH", 3)
    seen: list[str] = []

    class Stopped(EmbeddedCallStore):
        """Killed before every third batch."""

        def _rederive_batch(self, connection: apsw.Connection, mark: str, after: str) -> str | None:
            seen.append(after)
            if len(seen) % 3 == 0:
                raise Transient("killed")
            return super()._rederive_batch(connection, mark, after)

    vault = Vault(tmp_path / "data.key")
    database = Database(tmp_path / "old.sqlite3", backlog_max=BACKLOG_MAX)
    starts = 1
    while starts < len(population()):
        try:
            Stopped(database, vault, runtime.deriving)
            break
        except Transient:
            starts += 1
    assert starts > 1
    assert len(set(seen)) == len(seen) - (starts - 1), "what was done is not done again"
    figured = EmbeddedFigures(database, runtime.deriving)
    assert told(await figured.days(DAY, LAST_DAY)) == await figures(runtime)
    assert database.read_now(
        lambda c: rows(c, "SELECT name FROM meta WHERE name NOT GLOB 'key:*'")
    ) == [("policy",)]
    database.close()


async def test_a_walk_for_other_rules_begins_anew(runtime: EmbeddedRuntime) -> None:
    await filled(runtime)
    put = "INSERT OR REPLACE INTO meta VALUES ('rederive', 'another-mark c99')"
    await damage(runtime, put)
    await damage(runtime, "UPDATE meta SET value='x' WHERE name='policy'")
    await damage(runtime, "UPDATE call SET counted=NULL, lob='x'")
    await damage(runtime, "DELETE FROM day_count")
    runtime.restart()
    assert await figures(runtime) == await expected(runtime)


async def test_a_damaged_record_does_not_stop_an_upgrade(runtime: EmbeddedRuntime) -> None:
    await filled(runtime)
    before = await figures(runtime)
    await damage(runtime, "UPDATE call SET record=x'00' WHERE call_id='c03'")
    await damage(runtime, "UPDATE meta SET value='x' WHERE name='policy'")
    runtime.restart()
    assert await figures(runtime) == before
    assert await runtime.calls.load("c03") is not None


# -- bounds ---------------------------------------------------------------------------------------


async def test_the_oldest_settled_alerts_give_way(runtime: EmbeddedRuntime) -> None:
    book = EmbeddedAlertBook(runtime.database, alerts_max=3)
    await book.add(alert("open"))
    for number in range(6):
        name = f"a{number}"
        await book.add(alert(name, made_at_ms=number, sent_at_ms=5))
    kept = {each.alert_id for each in await book.alerts()}
    assert kept == {"open", "a3", "a4", "a5"}


async def test_the_oldest_bulk_jobs_give_way_with_their_items_but_running_ones(
    runtime: EmbeddedRuntime,
) -> None:
    book = EmbeddedBulkBook(runtime.database, jobs_max=2)
    for number in range(5):
        await book.create(job(f"b{number}", made_at_ms=number), CALLS)
        if number == 0:
            await book.change("b0", "draft", "running", at_ms=1)
    assert [each.bulk_id for each in await book.jobs()] == ["b4", "b3", "b0"]
    await book.results("b0", [done(0)])
    found = runtime.database.read_now(lambda c: rows(c, "SELECT DISTINCT bulk_id FROM bulk_item"))
    assert sorted(found) == [("b0",), ("b3",), ("b4",)]
