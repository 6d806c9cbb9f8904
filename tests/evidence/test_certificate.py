"""Certificates: what they count, what they say of the denominator, and that no change passes."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from pathlib import Path
from random import Random

import pytest
from msgspec.structs import replace

from ocp_ingest.core.cost_model import CostModel
from ocp_ingest.core.errors import Invalid
from ocp_ingest.core.export_facts import End
from ocp_ingest.core.export_group import GroupState
from ocp_ingest.core.export_job import ExportJob, new_job
from ocp_ingest.core.limits import HOUR_MS
from ocp_ingest.core.plan import Window
from ocp_ingest.evidence.certificate import Certificate, certificate
from ocp_ingest.evidence.certificate_check import problems
from ocp_ingest.evidence.close import Walk
from ocp_ingest.evidence.denominator import census_of
from ocp_ingest.evidence.figures import day_start
from ocp_ingest.evidence.keys import key_id
from ocp_ingest.ingest import operate
from ocp_ingest.reconcile.book import ExportBook
from ocp_ingest.reconcile.census import CENSUS_TYPES
from ocp_ingest.reconcile.results import FileResult, ref_of
from tests.evidence.kit import Site, flipped, write


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The certificate of a day with a call in each state, whose seal is closed."""
    folder = tmp_path_factory.mktemp("certificate")
    site = Site(folder / "site")

    async def make() -> None:
        day = await fill(site)
        made: list[Certificate] = []
        await write(certificate(site.evidence, day, None, made), folder / "certificate")
        (folder / "key").write_text(await key_id(site.evidence.signer))

    asyncio.run(make())
    site.close()
    return folder / "certificate"


async def fill(site: Site) -> str:
    """Two stored, one each absent, in flight and refused; the day on which they began."""
    for _ in range(2):
        await site.stored()
    await site.quarantined()
    await site.announced()
    absent = await site.announced()
    await operate.mark_absent(site.world, absent, who="ana", reason="nobody spoke")
    return await site.next_day()


def check(folder: Path, key: str = "") -> list[str]:
    names = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    return problems(lambda name: (folder / name).read_bytes(), names, key)


def recipe(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(folder / "verify.sh"), *arguments],
        check=False, capture_output=True, encoding="utf-8", timeout=60,
    )  # fmt: skip


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    return shutil.copytree(good, tmp_path / "copy")


def test_a_good_one_passes_both_checks(good: Path) -> None:
    key = (good.parent / "key").read_text()
    assert check(good, key) == []
    done = recipe(good, key)
    assert done.returncode == 0, done.stdout
    assert "FAILED" not in done.stdout
    assert done.stderr == ""


def test_it_counts_each_state_and_names_each_exception_with_its_reason(good: Path) -> None:
    figures = json.loads((good / "figures.json").read_bytes())
    total = figures["total"]
    assert {term: total[term] for term in ("started", "stored", "absent", "in_flight")} == {
        "started": 5, "stored": 2, "absent": 1, "in_flight": 2,
    }  # fmt: skip
    assert total["law_holds"]
    assert [line["line_of_business"] for line in figures["lines_of_business"]] == ["banking"]
    lines = [json.loads(line) for line in (good / "exceptions-00000.ndjson").open()]
    assert sorted(line["state"] for line in lines) == ["absent", "in_flight", "in_flight"]
    assert all(line["reason"] for line in lines)
    assert "nobody spoke" in next(line["reason"] for line in lines if line["state"] == "absent")
    assert set(total["time_to_store_ms"]) == {"p50", "p90", "p95", "p99", "max"}


def test_people_can_read_it(good: Path) -> None:
    text = (good / "report.txt").read_text()
    assert "started = stored + absent + quarantined + lost + in flight holds." in text
    assert "banking" in text
    assert "no denominator" in text


def test_any_changed_byte_of_any_file_is_found_by_both(folder: Path) -> None:
    rng = Random(11)
    original = (folder / "verify.sh").read_bytes()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        held = path.read_bytes()
        path.write_bytes(flipped(held, rng))
        assert check(folder), path.name
        if path.read_bytes() != original and path.name != "verify.sh":
            assert recipe(folder).returncode == 1, path.name
        path.write_bytes(held)
    assert check(folder) == []


def test_an_added_and_a_missing_file_are_found(folder: Path) -> None:
    (folder / "exceptions-00001.ndjson").write_text("{}\n")
    assert check(folder)
    assert recipe(folder).returncode == 1
    (folder / "exceptions-00001.ndjson").unlink()
    (folder / "leaves-00000.txt").unlink()
    assert check(folder)
    assert recipe(folder).returncode == 1


def test_another_key_is_found(good: Path) -> None:
    assert check(good, "0" * 64) == ["It was signed by another key than the one that you named."]
    assert recipe(good, "0" * 64).returncode == 1


async def test_one_line_of_business_is_certified_alone(site: Site, tmp_path: Path) -> None:
    day = await fill(site)
    made: list[Certificate] = []
    await write(certificate(site.evidence, day, "banking", made), tmp_path / "one")
    assert check(tmp_path / "one") == []
    await write(certificate(site.evidence, day, "cards", made), tmp_path / "none")
    assert check(tmp_path / "none") == []
    # What is not stored yet has no line of business pinned; the rules say which it is.
    assert [one.figures["total"]["started"] for one in made] == [5, 0]


async def test_a_day_without_calls_has_a_certificate(site: Site, tmp_path: Path) -> None:
    made: list[Certificate] = []
    folder = await write(certificate(site.evidence, "2020-02-29", None, made), tmp_path / "c")
    assert check(folder) == []
    assert recipe(folder).returncode == 0


@pytest.mark.parametrize("day", ["", "yesterday", "2026-02-30", "20261123", "2026-11-23T00"])
async def test_what_is_no_day_is_refused(site: Site, day: str) -> None:
    with pytest.raises(Invalid):
        async for _ in certificate(site.evidence, day, None, []):
            pass


async def test_files_are_given_as_they_fill(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a day of a million calls needs no memory for them."""
    monkeypatch.setattr("ocp_ingest.evidence.close.EXCEPTIONS_PER_FILE", 2)
    for _ in range(5):
        await site.announced()
    walk = Walk(site.evidence, site.today, "e")
    names = [name async for name, _ in walk.files()]
    assert names == ["e-00000.ndjson", "e-00001.ndjson", "e-00002.ndjson"]
    assert (await walk.said())["exceptions"]["calls"] == 5


# -- the denominator -------------------------------------------------------------------------------

DAY = "2026-11-22"


async def counted(
    book: ExportBook, first_hour: int, hours: int, *, news: int = 0, failed: bool = False
) -> None:
    """A census export of some hours of DAY, done."""
    from_ms = day_start(DAY) + first_hour * HOUR_MS
    window = Window(
        ocp_group="g1", from_ms=from_ms, to_ms=from_ms + hours * HOUR_MS, call_ids=(),
        predicted_s=1, urgent=False, why="", deadline_at=0, waiting_since=0, ready_at=0,
    )  # fmt: skip
    job: ExportJob = new_job(window, 1, CostModel(), from_ms, fence=1, types=CENSUS_TYPES)
    job = replace(job, end=End.DONE, round=1, export_id="77")
    lease = await book.lease("g1", "us", now_ms=1, ttl_ms=10)
    assert lease is not None
    await book.keep(lease, group=GroupState(ocp_group="g1"), job=job)
    said = FileResult("f", "f", "failed" if failed else "taken", lines=10, new=news)
    body = json.dumps({"f": [{"file": "f", "name": "f", "result": said.result,
                              "lines": said.lines, "new": said.new}]})  # fmt: skip
    await book.put_note(ref_of(job, 1, "all"), body.encode())


async def test_the_census_says_how_many_hours_were_counted_and_what_they_found(
    site: Site,
) -> None:
    book = site.evidence.exports
    assert await census_of(book, DAY) == {
        "groups": [], "hours_of_the_day": 24, "complete": False,
    }  # fmt: skip
    await counted(book, -2, 12)
    [group] = (await census_of(book, DAY))["groups"]
    assert group["hours_counted"] == 10
    await counted(book, 10, 14, news=3)
    said = await census_of(book, DAY)
    [group] = said["groups"]
    assert (group["hours_counted"], said["complete"]) == (24, True)
    assert [window["news"] for window in group["windows"]] == [0, 3]


async def test_a_count_with_a_file_that_could_not_be_read_counts_nothing(site: Site) -> None:
    await counted(site.evidence.exports, 0, 24, failed=True)
    [group] = (await census_of(site.evidence.exports, DAY))["groups"]
    assert group["hours_counted"] == 0
