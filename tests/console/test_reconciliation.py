"""Reconciliation: jobs on their axis and in the table, one job whole, the plan, run now."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
import pytest
import pytest_asyncio

from ocp_ingest.core import errors
from ocp_ingest.core.export_facts import End, ExportJob, State, VendorStatus
from ocp_ingest.core.export_group import GroupState
from ocp_ingest.core.limits import DAY_MS, HOUR_MS
from ocp_ingest.reconcile.census import CensusState
from ocp_ingest.reconcile.results import FileResult
from tests.console.kit import Client, Site
from tests.console.kit import site as site_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
GROUP: Final = "emea-retail"
OCP: Final = {
    "api_url": "https://ocp.invalid", "username": "u", "password": "p", "groups": [GROUP],
}  # fmt: skip
ASKED: list[bool] = []


async def reconcile(census: bool) -> dict[str, Any]:
    """What the platform lends the console."""
    ASKED.append(census)
    return {"looked_at": 7, "asked": {"emea-retail": 2, "latam": 3}, "resumed": 1, "closed": {}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """One site for all tests; each makes jobs of its own."""
    async with site_of(tmp_path_factory.mktemp("rec"), reconcile=reconcile) as served:
        yield served


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def operator(site: Site) -> Client:
    return await site.login("operator")


async def keep(site: Site, job: ExportJob | None = None, group: GroupState | None = None) -> None:
    """Writes a job or a group's state, as its runner would."""
    name = job.ocp_group if job else group.ocp_group if group else ""
    book = site.desk.book
    lease = await book.lease(name, "test", now_ms=site.world.clock.now_ms(), ttl_ms=60_000)
    assert lease is not None
    await book.keep(lease, job=job, group=group)


def a_job(site: Site, key: str, **changes: Any) -> ExportJob:
    """A job over two hours of this morning, done unless told."""
    now_ms = site.world.clock.now_ms() // HOUR_MS * HOUR_MS
    fields: dict[str, Any] = {
        "job_key": key, "ocp_group": GROUP, "from_ms": now_ms - 4 * HOUR_MS,
        "to_ms": now_ms - 2 * HOUR_MS, "attempt": 1, "planned_at": now_ms - HOUR_MS,
        "ready_from": 0, "alpha_s": 100.0, "beta_s": 10.0, "state": State.ENDED, "end": End.DONE,
        "finished_at": now_ms, "export_id": f"x-{key}", "polls": 3, "file_count": 4,
        "end_why": "every wanted file has its result", "first_polled_at": now_ms - HOUR_MS,
        "last_polled_at": now_ms, "status": VendorStatus.COMPLETED, "round": 1,
    }  # fmt: skip
    return ExportJob(**fields | changes)


def bars(html: str) -> dict[str, tuple[str, str]]:
    """Job key -> look and accessible name of each bar that is drawn."""
    link = r'href="/console/reconciliation\?job=([^"]+)" aria-label="([^"]+)"'
    found = re.findall(r'<a class="job job--(\w+)" ' + link, html)
    return {key: (look, words) for look, key, words in found}


def table_keys(html: str) -> list[str]:
    """Job keys of the table, in its order."""
    return re.findall(
        r'<td data-label="Window"><a href="/console/reconciliation\?job=([^"]+)"', html
    )


# -- groups and jobs ------------------------------------------------------------------------------


async def test_a_job_is_drawn_and_listed_with_its_state_in_words(
    site: Site, operator: Client
) -> None:
    await keep(site, a_job(site, "g-drawn-a1", call_ids=("c1", "c2")))
    await keep(site, a_job(site, "g-failed-a1", end=End.EXPIRED, call_ids=("c1",)))
    page = await operator.get("/console/reconciliation")
    assert page.status == 200
    drawn = bars(page.html)
    look, words = drawn["g-drawn-a1"]
    assert look == "done"
    assert "done" in words
    assert "2 calls" in words
    assert drawn["g-failed-a1"][0] == "again"
    assert {"g-drawn-a1", "g-failed-a1"} <= set(table_keys(page.html))
    assert "style=" not in page.html, "a strict policy forbids inline styles"


async def test_spans_and_groups_narrow_what_is_shown(site: Site, operator: Client) -> None:
    old_ms = site.world.clock.now_ms() // HOUR_MS * HOUR_MS - 5 * DAY_MS
    await keep(
        site, a_job(site, "g-old-a1", from_ms=old_ms, to_ms=old_ms + HOUR_MS, call_ids=("c",))
    )
    await keep(site, a_job(site, "g-other-a1", ocp_group="latam", call_ids=("c",)))
    near = table_keys((await operator.get("/console/reconciliation?days=3")).html)
    assert "g-other-a1" in near
    assert "g-old-a1" not in near
    far = table_keys((await operator.get("/console/reconciliation?days=7")).html)
    assert "g-old-a1" in far
    one = await operator.get("/console/reconciliation?days=7&group=latam")
    assert table_keys(one.html) == ["g-other-a1"]
    assert set(bars(one.html)) == {"g-other-a1"}
    strange = await operator.get("/console/reconciliation?days=9999999&group=nobody")
    assert strange.status == 200


async def test_a_groups_slot_cost_and_census_are_told(site: Site, operator: Client) -> None:
    now_ms = site.world.clock.now_ms()
    model = GroupState(ocp_group="x").model
    for hours, seconds in ((10, 300), (20, 400)):
        model = model.observe(hours, seconds)
    await keep(
        site,
        group=GroupState(
            ocp_group="shut", blocked_until=now_ms + HOUR_MS, blocked_why="OCP answered 403",
            model=model,
        ),
    )  # fmt: skip
    census = CensusState(until_ms=now_ms, calls=90, news=2, at_ms=now_ms, uncounted_hours=3)
    await site.desk.book.put_note("census:shut", msgspec.json.encode(census))
    page = await operator.get("/console/reconciliation?group=shut")
    assert "blocked" in page.text
    assert "OCP answered 403" in page.text
    assert "learned from 2 jobs" in page.text
    assert "90 lines; 2 were news to us" in page.text
    assert "3 hours were deleted by OCP uncounted" in page.text
    await keep(site, group=GroupState(ocp_group="half", half_open_since=1))
    half = await operator.get("/console/reconciliation?group=half")
    assert "one hour at a time" in half.text
    assert "(until an export succeeds again)" in half.text


async def test_a_running_job_holds_the_slot_and_a_downloading_one_does_not(
    site: Site, operator: Client
) -> None:
    open_ = {"end": None, "finished_at": None, "ocp_group": "busy", "call_ids": ("c",)}
    await keep(site, a_job(site, "g-runs", state=State.RUNNING, **open_))
    await keep(
        site,
        a_job(site, "g-loads", state=State.DOWNLOADING, released_at=5, planned_at=2**41, **open_),
    )
    text = (await operator.get("/console/reconciliation?group=busy")).text
    assert re.search(r"Holds the slot</dt>\s*<dd><a[^>]*>g-runs</a>", text)
    assert re.search(r"Also open</dt>\s*<dd><a[^>]*>g-loads</a>", text)


# -- one job --------------------------------------------------------------------------------------


async def test_a_job_tells_everything_about_itself(site: Site, operator: Client) -> None:
    talk = await site.stored("cards-voice")
    job = a_job(
        site, "g-whole-a2", attempt=2, call_ids=(talk.call_id,), task_id="task-7",
        execution_ref=None, end=End.PARTIAL, creates=1, ours=True,
    )  # fmt: skip
    await keep(site, a_job(site, "g-whole-a1", call_ids=(talk.call_id,), end=End.FAILED))
    await keep(site, job)
    results = {
        "b.wav": [FileResult("b.wav", "b.wav", "stored", call_id=talk.call_id)],
        "a.wav": [FileResult("a.wav", "a.wav", "skipped", call_id=talk.call_id)],
        "c.wav": [FileResult("c.wav", "c.wav", "failed", why="cut off at 12 bytes")],
    }
    await site.desk.book.put_note("results:g-whole-a2:1", msgspec.json.encode(results))
    page = await operator.get("/console/reconciliation?job=g-whole-a2")
    for said in ("x-g-whole-a2", "task-7", "partly done", "cut off at 12 bytes", "created by us",
                 "Other attempts at this window", talk.call_id):  # fmt: skip
        assert said in page.text, said
    assert page.text.index("c.wav") < page.text.index("b.wav") < page.text.index("a.wav")
    assert "g-whole-a1" in page.text


async def test_a_job_that_is_not_there_is_not_found(operator: Client) -> None:
    assert (await operator.get("/console/reconciliation?job=nothing")).status == 404


async def test_others_calls_are_counted_and_never_named(site: Site) -> None:
    mine, theirs = await site.stored("cards-voice"), await site.stored("banking-voice")
    await keep(site, a_job(site, "g-mixed-a1", call_ids=(mine.call_id, theirs.call_id)))
    results = {
        talk.name: [FileResult(talk.name, talk.name, "stored", call_id=talk.call_id)]
        for talk in (mine, theirs)
    }
    results["x"] = [FileResult("x", f"{theirs.call_id}.wav", "failed", why="nothing")]
    await site.desk.book.put_note("results:g-mixed-a1:1", msgspec.json.encode(results))
    clerk = await site.login("cards_operator")
    page = await clerk.get("/console/reconciliation?job=g-mixed-a1")
    assert mine.call_id in page.text
    assert theirs.call_id not in page.text
    assert "and 1 call of other lines of business" in page.text
    assert "2 more files are not shown here" in page.text
    whole = await (await site.login("viewer")).get("/console/reconciliation?job=g-mixed-a1")
    assert theirs.call_id in whole.text


# -- plan and run ---------------------------------------------------------------------------------


async def test_the_plan_names_what_is_due_to_whom_it_belongs_and_changes_nothing(
    tmp_path: Any,
) -> None:
    # Two days on: both calls' hours can be exported, and nobody waits for others to join them.
    real_s = time.time()
    ahead = {"origin_ms": int(real_s * 1000) + 2 * DAY_MS, "real_origin_s": real_s}
    async with site_of(tmp_path, ocp=OCP, clock=ahead) as site:
        talks = [await site.in_flight(f"{lob}-voice") for lob in ("banking", "cards")]
        before = [await site.world.calls.journal(talk.call_id) for talk in talks]
        for name, seen in (("viewer", talks), ("cards_operator", talks[1:])):
            client = await site.login(name)
            part = await client.part("/console/reconciliation/plan")
            assert "<html" not in part.html
            whole = await client.get("/console/reconciliation?plan=1")
            for page in (part, whole):
                named = [talk for talk in talks if talk.call_id in page.text]
                assert named == seen
                assert "2 calls" in page.text
            assert ("and 1 call of other lines" in part.text) is (len(seen) == 1)
        after = [await site.world.calls.journal(talk.call_id) for talk in talks]
        assert before == after
        assert await site.desk.book.jobs() == []


async def test_run_now_runs_once_and_says_what_came_of_it(operator: Client) -> None:
    ASKED.clear()
    page = await operator.post("/console/reconciliation/run")
    assert ASKED == [False]
    assert "Looked at 7 calls with work due: 5 are being asked of OCP" in page.text
    await operator.post("/console/reconciliation/run", census="yes")
    assert ASKED == [False, True]


@pytest.mark.parametrize("name", ["viewer", "auditor"])
async def test_who_may_not_act_runs_nothing(site: Site, name: str) -> None:
    ASKED.clear()
    client = await site.login(name)
    assert (await client.post("/console/reconciliation/run")).status == 403
    assert ASKED == []
    assert "Run now" not in (await client.get("/console/reconciliation")).text


async def test_where_no_ocp_is_configured_nothing_runs_and_the_page_says_so(tmp_path: Any) -> None:
    async with site_of(tmp_path) as bare:
        client = await bare.login("operator")
        page = await client.get("/console/reconciliation")
        assert "No Export API is configured" in page.text
        assert (await client.post("/console/reconciliation/run")).status == 409


async def test_trouble_while_it_runs_is_told_as_trouble(tmp_path: Any) -> None:
    async def broken(census: bool) -> dict[str, Any]:
        raise errors.Transient("The store is busy.")

    async with site_of(tmp_path, reconcile=broken) as site:
        client = await site.login("operator")
        assert (await client.post("/console/reconciliation/run")).status == 503
