"""Any one byte of journal, record, chain, object or seal that is changed is found, and named."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any

import apsw
import pytest

from ocp_ingest.adapters.memory.clock import ManualClock
from ocp_ingest.bootstrap import DATABASE_FILE
from ocp_ingest.evidence import sealer
from ocp_ingest.evidence.findings import Finding
from tests.evidence.kit import Site, flipped

# Trials of one column or kind of file, each at another row and byte.
TRIALS = 4
# Column -> classes that may name a change of it.
JOURNAL = {
    "call_id": {"missing", "extra", "broken"},
    "event_id": {"missing", "extra", "broken"},
    "kind": {"differs", "broken"},
    "at_ms": {"differs"},
    "key_at_ms": {"differs"},
    "source": {"differs", "broken"},
    "received_at_ms": {"differs"},
    "body_hash": {"differs", "broken"},
    "content_hash": {"differs", "broken"},
    "opens": {"differs"},
    "key_id": {"broken", "differs"},
    "data": {"differs", "broken"},
    "raw": {"broken"},
    "seq": {"differs"},
}
LINKS = ("call_id", "n", "event_id", "event_hash", "link", "source", "received_at_ms", "body_hash",
         "day", "seq")  # fmt: skip
DAYS = ("day", "name", "call_id", "n", "link")


async def fill(site: Site) -> None:
    for _ in range(3):
        await site.stored()
    await site.quarantined()
    await site.announced()
    await site.next_day()
    await site.stored()
    await site.next_day()
    await site.stored()  # of a day that is still open
    await sealer.seal(site.evidence)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site with two closed days and one that is open."""
    folder = tmp_path_factory.mktemp("good")
    site = Site(folder)
    asyncio.run(fill(site))
    site.close()
    return folder


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    """A copy to be changed."""
    return shutil.copytree(good, tmp_path / "copy")


def verified(folder: Path) -> list[Finding]:
    """What `verify` finds in a copy."""
    config = folder / "site.toml"
    config.write_text(
        "\n".join(
            f'dir = "{folder / "data"}"' if line.startswith("dir = ") else line
            for line in config.read_text().splitlines()
        )
    )
    site = object.__new__(Site)
    site.config = config
    site.real = ManualClock(0)
    site.open()
    try:
        return asyncio.run(site.findings())
    finally:
        site.close()


def change(folder: Path, table: str, column: str, rng: Random) -> str:
    """Changes one value of a column by one byte or bit; what it was."""
    with apsw.Connection(str(folder / "data" / DATABASE_FILE)) as connection:
        keys = {"journal": "rowid", "call": "rowid", "seal_link": "call_id || '/' || n",
                "seal_day": "day || '/' || name"}  # fmt: skip
        key = keys[table]
        rows: list[Any] = connection.execute(
            f"SELECT {key}, {column}, typeof({column}) FROM {table}"
        ).fetchall()
        rows = [row for row in rows if row[1] not in (None, "", b"")]
        ident, value, kind = rng.choice(rows)
        if kind == "integer":
            # The low bits of a place in the journal are those of other events.
            low, high = {"n": (0, 3), "seq": (10, 30)}.get(column, (0, 40))
            changed: Any = value ^ (1 << rng.randrange(low, high))
        elif kind == "text":
            # What is no UTF-8 any more comes back as an error, which must be told too.
            changed = flipped(value.encode(), rng)
        else:
            changed = flipped(value, rng)
        sql = f"UPDATE {table} SET {column} = ? WHERE {key} = ?"
        if kind == "text":
            sql = f"UPDATE {table} SET {column} = CAST(? AS TEXT) WHERE {key} = ?"
        connection.execute(sql, (changed, ident))
    return f"{table}.{column}: {value!r} -> {changed!r}"


def trials(names: Iterable[str]) -> pytest.MarkDecorator:
    cases = [(name, seed) for name in names for seed in range(TRIALS)]
    return pytest.mark.parametrize(("name", "seed"), cases)


def test_a_site_that_nobody_touched_is_good(folder: Path) -> None:
    assert verified(folder) == []


@trials(JOURNAL)
def test_a_changed_value_of_the_journal_is_found(folder: Path, name: str, seed: int) -> None:
    was = change(folder, "journal", name, Random(f"journal {name} {seed}"))
    found = verified(folder)
    assert found, was
    assert {finding.kind for finding in found} & JOURNAL[name], (was, found)


@pytest.mark.parametrize("seed", range(12))
def test_a_changed_byte_of_a_record_is_found(folder: Path, seed: int) -> None:
    was = change(folder, "call", "record", Random(f"record {seed}"))
    assert {finding.kind for finding in verified(folder)} & {"differs", "broken"}, was


@trials(LINKS)
def test_a_changed_value_of_a_chain_is_found(folder: Path, name: str, seed: int) -> None:
    was = change(folder, "seal_link", name, Random(f"link {name} {seed}"))
    assert verified(folder), was


@trials(DAYS)
def test_a_changed_end_of_an_open_day_is_found(folder: Path, name: str, seed: int) -> None:
    was = change(folder, "seal_day", name, Random(f"day {name} {seed}"))
    assert verified(folder), was


def objects(folder: Path, ending: str) -> list[Path]:
    found = [*(folder / "data" / "recordings").glob(f"lob-*/**/*{ending}")]
    return sorted(path for path in found if path.is_file())


@pytest.mark.parametrize("seed", range(TRIALS))
@pytest.mark.parametrize("ending", [".wav", ".wav.json"])
def test_a_changed_byte_of_an_object_is_found(folder: Path, ending: str, seed: int) -> None:
    rng = Random(f"{ending} {seed}")
    path = rng.choice(objects(folder, ending))
    path.write_bytes(flipped(path.read_bytes(), rng))
    found = verified(folder)
    assert [(f.kind, f.what) for f in found] == [("differs", "object")]
    assert found[0].subject.endswith(path.name)


@pytest.mark.parametrize("seed", range(TRIALS))
@pytest.mark.parametrize("ending", [".bin", ".bin.json"])
def test_a_changed_byte_in_quarantine_is_found(folder: Path, ending: str, seed: int) -> None:
    rng = Random(f"{ending} {seed}")
    held = sorted((folder / "data/recordings/quarantine").glob(f"**/*{ending}"))
    path = rng.choice(held)
    path.write_bytes(flipped(path.read_bytes(), rng))
    assert {f.kind for f in verified(folder)} == {"differs"}


@pytest.mark.parametrize(
    "pattern",
    ["days/*/statement.txt", "days/*/*.sig", "days/*/parts.txt", "days/*/leaves-*.txt",
     "days/*/figures.json", "days/*/exceptions-*.ndjson", "keys/*.pem"],
)  # fmt: skip
@pytest.mark.parametrize("seed", range(TRIALS))
def test_a_changed_byte_of_a_seal_is_found(folder: Path, pattern: str, seed: int) -> None:
    rng = Random(f"{pattern} {seed}")
    held = sorted((folder / "data/evidence/seals").glob(pattern))
    path = rng.choice(held)
    path.write_bytes(flipped(path.read_bytes(), rng))
    assert "broken" in {finding.kind for finding in verified(folder)}, path.name


@pytest.mark.parametrize("ending", [".wav", ".json"])
def test_an_object_that_is_gone_is_missing(folder: Path, ending: str) -> None:
    path = objects(folder, ending)[0]
    path.unlink()
    [found] = verified(folder)
    assert (found.kind, found.what) == ("missing", "object")


@pytest.mark.parametrize(
    "name", ["2026/01/01/nobody/nobody.wav", "odd", "2026/01/01/nobody/nobody.wav.json"]
)
def test_an_object_that_no_journal_explains_is_extra(folder: Path, name: str) -> None:
    path = folder / "data/recordings/lob-banking" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    [found] = verified(folder)
    assert (found.kind, found.subject) == ("extra", f"lob-banking/{name}")


def test_a_second_object_beside_a_calls_own_is_extra(folder: Path) -> None:
    path = objects(folder, ".wav")[0]
    (path.parent / "another.wav").write_bytes(path.read_bytes())
    assert [f.kind for f in verified(folder)] == ["extra"]


def execute(folder: Path, *statements: str) -> None:
    with apsw.Connection(str(folder / "data" / DATABASE_FILE)) as connection:
        for statement in statements:
            connection.execute(statement)


FIRST_CALL = "(SELECT min(call_id) FROM journal)"
FIRST_EVENT = f"seq = (SELECT min(seq) FROM journal WHERE call_id = {FIRST_CALL})"


def test_an_event_that_is_gone_is_missing(folder: Path) -> None:
    execute(folder, f"DELETE FROM journal WHERE {FIRST_EVENT}")
    assert "missing" in {finding.kind for finding in verified(folder)}


def test_a_call_whose_journal_is_gone_is_missing(folder: Path) -> None:
    execute(folder, "DELETE FROM journal WHERE call_id = (SELECT min(call_id) FROM journal)")
    assert {finding.kind for finding in verified(folder)} == {"missing"}


def test_a_call_that_is_gone_with_its_chain_and_record_is_missed_by_the_leaves(
    folder: Path,
) -> None:
    execute(
        folder,
        "CREATE TEMP TABLE gone AS SELECT min(call_id) AS id FROM journal",
        *(f"DELETE FROM {table} WHERE call_id = (SELECT id FROM gone)"
          for table in ("journal", "seal_link", "seal_day", "call", "lookup")),
    )  # fmt: skip
    assert {"missing", "extra"} <= {finding.kind for finding in verified(folder)}


def test_the_last_events_cut_off_with_their_links_are_missed_by_the_leaves(folder: Path) -> None:
    call = "(SELECT min(call_id) FROM seal_link)"
    last = f"(SELECT max(n) FROM seal_link WHERE call_id = {call})"
    execute(
        folder,
        f"DELETE FROM journal WHERE call_id = {call} AND event_id = "
        f"(SELECT event_id FROM seal_link WHERE call_id = {call} AND n = {last})",
        f"DELETE FROM seal_link WHERE call_id = {call} AND n = {last}",
    )
    assert any("links of the call were sealed" in f.text for f in verified(folder))


def test_an_event_slipped_in_behind_the_sealer_is_extra(folder: Path) -> None:
    """At a place that was sealed long ago: whoever does it with a new one is linked like any."""
    free = "(SELECT min(seq) - 1 FROM journal)"
    columns = ("call_id, kind, at_ms, key_at_ms, source, received_at_ms, body_hash, content_hash, "
               "key_id, data, raw")  # fmt: skip
    execute(
        folder,
        f"INSERT INTO journal (seq, event_id, {columns}) "
        f"SELECT {free}, event_id || '!', {columns} FROM journal WHERE raw = x'' LIMIT 1",
    )
    assert "extra" in {finding.kind for finding in verified(folder)}


def test_a_record_without_its_row_and_a_row_without_its_columns_are_told(folder: Path) -> None:
    execute(folder, f"UPDATE call SET stage = 'lost' WHERE call_id = {FIRST_CALL}")
    assert [f.kind for f in verified(folder)] == ["differs"]
    execute(folder, f"DELETE FROM call WHERE call_id = {FIRST_CALL}")
    assert "missing" in {f.kind for f in verified(folder)}


def test_a_days_statement_exchanged_for_an_older_one_is_broken(folder: Path) -> None:
    first, second = sorted((folder / "data/evidence/seals/days").iterdir())
    shutil.copy(first / "statement.txt", second / "statement.txt")
    for signature in first.glob("*.sig"):
        shutil.copy(signature, second)
    assert ("broken", "day") in {(f.kind, f.what) for f in verified(folder)}


def test_a_shelf_that_is_gone_is_broken(folder: Path) -> None:
    shutil.rmtree(folder / "data/evidence/seals/days")
    assert {f.kind for f in verified(folder)} == {"broken"}


def test_a_chain_that_claims_a_day_on_which_it_was_not_sealed_is_broken(folder: Path) -> None:
    last = "(SELECT call_id FROM seal_link ORDER BY day DESC LIMIT 1)"
    execute(
        folder,
        f"DELETE FROM seal_day WHERE call_id = {last}",
        f"UPDATE seal_link SET day = (SELECT min(day) FROM seal_link) WHERE call_id = {last}",
    )
    found = verified(folder)
    assert {("broken", "day"), ("broken", "call")} == {(f.kind, f.what) for f in found}


def test_data_that_mean_the_same_in_other_bytes_differ(folder: Path) -> None:
    execute(folder, f"UPDATE journal SET data = CAST(data || ' ' AS BLOB) WHERE {FIRST_EVENT}")
    [found] = verified(folder)
    assert (found.kind, found.text[:8]) == ("differs", "The data")


def test_a_journal_that_names_a_bucket_that_can_be_none_is_told_and_stops_nothing(
    folder: Path,
) -> None:
    execute(
        folder,
        "UPDATE journal SET data = CAST(replace(CAST(data AS TEXT), 'lob-', '{ob/') AS BLOB) "
        "WHERE kind = 'stored' AND call_id = (SELECT min(call_id) FROM journal "
        "WHERE kind = 'stored')",
    )
    found = verified(folder)
    assert any("of the call's objects is no sense" in f.text for f in found)
    assert len({f.subject for f in found if f.what == "call"}) == 1
