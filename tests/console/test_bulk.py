"""Bulk work in the console: choose, look, start, watch, and who may do and see which of it."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from msgspec.structs import replace

from ocp_ingest.core.bulk import BULK_ACTIONS, BULK_RESULTS, WHY_NOT
from ocp_ingest.desk.bulk_runner import BulkRunner
from ocp_ingest.desk.ports import BulkItem
from ocp_ingest.entrypoints.console.locale import texts
from tests.console.kit import Client, Page, Site
from tests.console.kit import site as site_of
from tests.desk.bulk_kit import Hurry, finish

WHY = "the exporter was down"


@pytest_asyncio.fixture
async def site(tmp_path: Any) -> AsyncIterator[Site]:
    """Each test has its own calls: filters are about all of them."""
    async with site_of(tmp_path) as served:
        yield served


async def form(client: Client, query: str = "outcome=lost") -> str:
    """The id that the form of a new job was given."""
    page = await client.get(f"/console/bulk/new?{query}")
    assert page.status == 200, page.text
    found = re.search(r'name="bulk_id" value="([^"]+)"', page.html)
    assert found is not None
    return found.group(1)


async def drafted(
    client: Client, action: str = "reopen", query: str = "outcome=lost"
) -> tuple[str, Page]:
    """A draft of the calls of a filter: its id and page."""
    bulk_id = await form(client, query)
    fields = dict(part.split("=") for part in query.split("&"))
    page = await client.post(
        "/console/bulk", bulk_id=bulk_id, action=action, reason=WHY, fields=list(fields.items())
    )
    return bulk_id, page


async def run(site: Site) -> None:
    """The platform's runner does all that runs."""
    await finish(BulkRunner(site.desk, site.console.lob_of, Hurry()))


async def acts(site: Site, call_id: str) -> list[tuple[str, str, str]]:
    journal = await site.world.calls.journal(call_id)
    return [(e.kind, e.data["by"], e.data["reason"]) for e in journal if e.source == "operator"]


@pytest.mark.parametrize("lang", ["en", "es"])
def test_every_action_result_and_reason_has_words_in_both_languages(lang: Any) -> None:
    held = texts()
    keys = [f"action.{action}{more}" for action in BULK_ACTIONS for more in ("", "_means")]
    keys += [f"why.{code}" for code in WHY_NOT]
    keys += [f"word.{word}" for word in (*BULK_RESULTS, "waiting", "acts")]
    keys += [f"state.{state}" for state in ("draft", "running", "cancelled", "done")]
    for key in keys:
        assert held.text(lang, f"bulk.{key}")


# -- the way through ------------------------------------------------------------------------------


async def test_from_a_filter_to_a_result_for_each_call(site: Site) -> None:
    lost = [await site.lost() for _ in range(2)]
    stored = await site.stored()
    client = await site.login("operator")
    new = await client.get("/console/bulk/new?outcome=lost")
    assert "2 calls match" in new.text
    assert all(talk.call_id in new.text for talk in lost)
    assert stored.call_id not in new.text

    bulk_id, page = await drafted(client)
    assert page.url.endswith(f"/console/bulk/{bulk_id}")
    assert "What would happen" in page.text
    assert "Start: 2 calls" in page.text
    assert [await acts(site, talk.call_id) for talk in lost] == [[], []], "nothing is done yet"

    page = await client.post(f"/console/bulk/{bulk_id}/start")
    assert "running" in page.text
    assert f'hx-get="/console/bulk/{bulk_id}/progress"' in page.html
    await run(site)
    done = await client.get(f"/console/bulk/{bulk_id}")
    assert "hx-get" not in done.html, "what has ended is not asked for again"
    assert "completed" in done.text or "done" in done.text
    for talk in lost:
        assert await acts(site, talk.call_id) == [("reopened", "operator", WHY)]
    assert bulk_id in (await client.get("/console/bulk")).html


async def test_the_dry_run_says_for_each_call_why_it_is_left_alone(site: Site) -> None:
    held, lost = await site.quarantined(), await site.lost()
    client = await site.login("operator")
    _, page = await drafted(client, "release", "group=emea-retail")
    assert "Start: 1 call" in page.text
    rows = dict(re.findall(
        r'href="/console/calls/([^"]+)">.*?<td data-label="Why"><span>(.*?)</span>',
        page.html, re.DOTALL,
    ))  # fmt: skip
    assert rows == {held.call_id: "–", lost.call_id: "no recording of it is here"}


async def test_nothing_to_do_offers_no_start_and_counting_again_finds_what_changed(
    site: Site,
) -> None:
    talk = await site.in_flight()
    client = await site.login("operator")
    bulk_id, page = await drafted(client, "reopen", "outcome=none")
    assert "it is open already" in page.text
    assert "/start" not in page.html
    await client.post(f"/console/calls/{talk.call_id}/mark-absent", reason="never recorded")
    again = await client.post(f"/console/bulk/{bulk_id}/dry")
    assert "Counted again" in again.text
    assert "Start: 1 call" in again.text


async def test_a_form_sent_twice_makes_one_job(site: Site) -> None:
    await site.lost()
    client = await site.login("operator")
    bulk_id = await form(client)
    for _ in range(2):
        fields = {"bulk_id": bulk_id, "action": "reopen", "reason": WHY, "outcome": "lost"}
        await client.post("/console/bulk", fields=list(fields.items()))
    assert [job.bulk_id for job in await site.desk.bulk.jobs()] == [bulk_id]


async def test_a_cancel_stops_it_and_says_so(site: Site) -> None:
    talk = await site.lost()
    client = await site.login("operator")
    bulk_id, _ = await drafted(client)
    await client.post(f"/console/bulk/{bulk_id}/start")
    page = await client.post(f"/console/bulk/{bulk_id}/cancel")
    assert "Stopped" in page.text
    await run(site)
    assert await acts(site, talk.call_id) == []
    assert (await client.post(f"/console/bulk/{bulk_id}/start")).status == 409


async def test_progress_is_a_fragment_that_reloads_the_page_at_the_end(site: Site) -> None:
    await site.lost()
    client = await site.login("operator")
    bulk_id, _ = await drafted(client)
    await client.post(f"/console/bulk/{bulk_id}/start")
    part = await client.part(f"/console/bulk/{bulk_id}/progress")
    assert "<html" not in part.html
    assert '<progress max="1" value="0"' in part.html
    assert "HX-Refresh" not in part.headers
    await run(site)
    part = await client.part(f"/console/bulk/{bulk_id}/progress")
    assert '<progress max="1" value="1"' in part.html
    assert part.headers["HX-Refresh"] == "true"


async def test_failed_ones_can_be_looked_at_alone_and_all_go_into_a_file(site: Site) -> None:
    lost = [await site.lost() for _ in range(3)]
    client = await site.login("operator")
    bulk_id, _ = await drafted(client)
    await client.post(f"/console/bulk/{bulk_id}/start")
    items = await site.desk.bulk.items(bulk_id)
    why = "=cmd: the store was away +34 600 111 222"
    await site.desk.bulk.results(bulk_id, [BulkItem(0, items[0].call_id, "failed", why, 5)])
    await run(site)
    failed = await client.get(f"/console/bulk/{bulk_id}?failed=1")
    named = [talk.call_id for talk in lost if talk.call_id in failed.text]
    assert named == [items[0].call_id]
    assert "600 111 222" not in failed.text, "numbers are masked"
    page = await client.get(f"/console/bulk/{bulk_id}/results.csv")
    assert page.headers["Content-Type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(page.html)))
    assert {row["call_id"]: row["result"] for row in rows} == {
        item.call_id: "failed" if item.position == 0 else "done" for item in items
    }
    assert rows[0]["why"].startswith("'=cmd"), "a spreadsheet must not run it"
    assert "600" not in rows[0]["why"]


async def test_long_lists_go_on_page_by_page(site: Site) -> None:
    talk = await site.lost()
    client = await site.login("operator")
    bulk_id, _ = await drafted(client)
    job = await site.desk.bulk.job(bulk_id)
    assert job is not None
    many = [f"{talk.call_id}-{n:03}" for n in range(200)]
    await site.desk.bulk.create(replace(job, bulk_id="L" * 16, total=200), many)
    seen: list[str] = []
    path: str | None = "/console/bulk/LLLLLLLLLLLLLLLL"
    pages = 0
    while path:
        page, pages = await client.get(path), pages + 1
        seen += re.findall(r'data-label="Call"><span><a[^>]*>([^<]+)</a>', page.html)
        following = re.search(r'href="([^"]+)" rel="next"', page.html)
        path = following.group(1).replace("&amp;", "&") if following else None
    assert seen == many
    assert pages == 2, "after the last item there is no empty page"
    assert "there is no such call" in page.text


# -- who may what ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["viewer", "auditor"])
async def test_who_only_looks_sees_jobs_and_changes_none(site: Site, name: str) -> None:
    talk = await site.lost()
    operator, client = await site.login("operator"), await site.login(name)
    bulk_id, _ = await drafted(operator)
    page = await client.get(f"/console/bulk/{bulk_id}")
    assert page.status == 200
    assert "<form" not in page.html.partition("<main")[2].partition("</main>")[0]
    assert (await client.get("/console/bulk/new?outcome=lost")).status == 403
    for path in ("start", "cancel", "dry"):
        assert (await client.post(f"/console/bulk/{bulk_id}/{path}")).status == 403
    fields = {"bulk_id": "A" * 16, "action": "reopen", "reason": WHY, "outcome": "lost"}
    assert (await client.post("/console/bulk", fields=list(fields.items()))).status == 403
    await run(site)
    assert await acts(site, talk.call_id) == []


async def test_a_scope_bounds_what_is_selected_and_hides_the_jobs_of_others(site: Site) -> None:
    mine, theirs = await site.lost("cards-voice"), await site.lost("banking-voice")
    operator, clerk = await site.login("operator"), await site.login("cards_operator")
    wide, _ = await drafted(operator)
    narrow, page = await drafted(clerk)
    assert mine.call_id in page.text
    assert theirs.call_id not in page.text
    listed = (await clerk.get("/console/bulk")).html
    assert narrow in listed
    assert wide not in listed
    for path in ("", "/progress", "/results.csv"):
        assert (await clerk.get(f"/console/bulk/{wide}{path}")).status == 404
    for path in ("start", "cancel", "dry"):
        assert (await clerk.post(f"/console/bulk/{wide}/{path}")).status == 404
    assert (await operator.post(f"/console/bulk/{narrow}/start")).status == 403, "not theirs"
    await clerk.post(f"/console/bulk/{narrow}/start")
    await run(site)
    assert await acts(site, mine.call_id) == [("reopened", "cards_operator", WHY)]
    assert await acts(site, theirs.call_id) == []


async def test_a_job_of_a_scope_does_not_name_calls_that_have_left_it(site: Site) -> None:
    mine, other = await site.lost("cards-voice"), await site.lost("banking-voice")
    clerk = await site.login("cards_operator")
    bulk_id, _ = await drafted(clerk)
    job = await site.desk.bulk.job(bulk_id)
    assert job is not None
    moved = replace(job, bulk_id="M" * 16, total=2)
    await site.desk.bulk.create(moved, [mine.call_id, other.call_id])
    for path in ("/console/bulk/MMMMMMMMMMMMMMMM", "/console/bulk/MMMMMMMMMMMMMMMM/results.csv"):
        page = await clerk.get(path)
        assert mine.call_id in page.text
        assert other.call_id not in page.text


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"reason": ""}, 400),
        ({"action": "delete"}, 400),
        ({"bulk_id": "../../etc"}, 400),
        ({"outcome": "none-such"}, 400),
        ({"outcome": ""}, 400),
        ({"csrf": "wrong"}, 403),
    ],
)
async def test_what_is_wrong_with_a_form_makes_no_job(
    site: Site, changes: dict[str, str], status: int
) -> None:
    await site.lost()
    client = await site.login("operator")
    fields = {"bulk_id": "B" * 16, "action": "reopen", "reason": WHY, "outcome": "lost"}
    sent = fields | changes
    token = sent.pop("csrf", None)
    page = await client.post("/console/bulk", csrf=token, fields=list(sent.items()))
    assert page.status == status
    assert await site.desk.bulk.jobs() == []


async def test_a_filter_is_needed(site: Site) -> None:
    client = await site.login("operator")
    page = await client.get("/console/bulk/new")
    assert page.status == 400
    assert "Choose a filter first" in page.text
