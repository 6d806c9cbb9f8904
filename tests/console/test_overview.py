"""The overview: whose calls it counts, what its numbers lead to, and what it says on a bad day."""

from __future__ import annotations

import csv
import io
import re
import time
from dataclasses import replace
from html import unescape
from typing import Any

import msgspec
import pytest

from ocp_ingest.core.access import Person
from ocp_ingest.core.alerts import Objectives
from ocp_ingest.core.export_group import GroupState
from ocp_ingest.core.export_job import State, new_job
from ocp_ingest.core.incidents import INCIDENT_KINDS
from ocp_ingest.core.limits import DAY_MS, HOUR_MS, MINUTE_MS
from ocp_ingest.core.overview import named_period
from ocp_ingest.core.plan import Window
from ocp_ingest.desk.overview import look
from ocp_ingest.entrypoints.console.locale import texts
from ocp_ingest.ingest import tell
from ocp_ingest.ports import CallStore
from tests.console.kit import Client, Page, Site
from tests.console.kit import site as site_of
from tests.core.test_verdict import CAUSES
from tests.story.kit import Talk

COUNT = re.compile(r'<a class="count[^"]*" href="(/console/calls[^"]*)">([\d,]+)</a>')
TERM = re.compile(
    r'(?:>([\d,]+)</a>|<span class="muted">(0)</span>)<span class="term-name">([^<]+)<'
)


def equation(page: Page) -> dict[str, int]:
    """The law as the page writes it."""
    return {
        name: int((some or none).replace(",", "")) for some, none, name in TERM.findall(page.html)
    }


def counts(page: Page) -> list[tuple[str, int]]:
    """Every number that leads to calls: where to, and the number."""
    return [
        (unescape(href), int(number.replace(",", ""))) for href, number in COUNT.findall(page.html)
    ]


async def listed(client: Client, href: str) -> list[str]:
    """Ids of all calls that a link of the calls page leads to."""
    page = await client.get(href.replace("/console/calls?", "/console/calls.csv?"))
    assert page.status == 200, page.text
    return [row["call_id"] for row in csv.DictReader(io.StringIO(page.body.decode()))]


async def aged(site: Site, age_ms: int, app: str = "banking-voice") -> Talk:
    """A call without its recording that began so long ago."""
    talk = site.talk(app=app)
    talk.start_ms = int(time.time() * 1000) - age_ms
    await site.events(talk.start(), talk.end())
    return talk


@pytest.fixture
async def busy(site: Site) -> Site:
    """A site with calls of two lines of business in every outcome, and of several ages."""
    await site.stored("banking-voice")
    await site.stored("cards-voice")
    await site.stored("cards-voice")
    await site.in_flight("cards-voice")
    await site.quarantined("cards-voice")
    await site.lost("banking-voice")
    await site.absent("cards-voice")
    await site.in_flight("unknown-app")  # of no line of business yet
    await aged(site, 5 * HOUR_MS)
    await aged(site, 3 * DAY_MS, "cards-voice")
    await aged(site, 55 * DAY_MS)
    return site


async def test_the_law_counts_every_call_of_the_period_once(busy: Site) -> None:
    page = await (await busy.login("viewer")).get("/console/")
    assert equation(page) == {
        "started": 10, "stored": 3, "no recording": 1, "in quarantine": 1, "lost": 1,
        "in flight": 4,
    }  # fmt: skip
    assert "adds up" in page.text


async def test_a_scoped_operator_s_overview_counts_only_their_calls(busy: Site) -> None:
    page = await (await busy.login("cards_operator")).get("/console/")
    assert equation(page) == {
        "started": 6, "stored": 2, "no recording": 1, "in quarantine": 1, "lost": 0,
        "in flight": 2,
    }  # fmt: skip
    assert "banking" not in page.text
    assert "insurance" not in page.text
    assert "lost in this period" not in page.text


@pytest.mark.parametrize("name", ["operator", "cards_operator"])
@pytest.mark.parametrize("period", ["today", "d7", "d30"])
async def test_each_number_leads_to_exactly_the_calls_it_counts(
    busy: Site, name: str, period: str
) -> None:
    client = await busy.login(name)
    found = counts(await client.get(f"/console/?period={period}"))
    assert len(found) > 10
    for href, number in set(found):
        held = await listed(client, href)
        assert len(held) == len(set(held)) == number, href


async def test_calls_of_no_line_of_business_have_a_row_for_who_sees_everything(busy: Site) -> None:
    page = await (await busy.login("operator")).get("/console/")
    assert "not known yet" in page.text
    assert any("lob=-" in href and number == 1 for href, number in counts(page))
    page = await (await busy.login("cards_operator")).get("/console/")
    assert "not known yet" not in page.text


# -- the verdict ----------------------------------------------------------------------------------


async def test_a_day_on_which_all_is_stored_is_calm(site: Site) -> None:
    await site.stored("banking-voice")
    page = await (await site.login("viewer")).get("/console/")
    assert "All is well" in page.text
    assert "verdict--calm" in page.html
    assert '<ol class="reasons">' not in page.html


async def test_a_call_near_its_deletion_is_danger_and_the_first_line_leads_to_it(
    site: Site,
) -> None:
    near = await aged(site, 55 * DAY_MS, "cards-voice")
    await aged(site, 20 * DAY_MS, "cards-voice")
    client = await site.login("cards_operator")
    page = await client.get("/console/?period=today")
    assert "verdict--danger" in page.html
    assert "1 open call that OCP deletes within 7 days" in page.text
    first = re.search(r'<ol class="reasons">.*?href="([^"]+)"', page.html, re.DOTALL)
    assert first is not None
    assert await listed(client, unescape(first.group(1))) == [near.call_id]


async def test_what_others_have_in_danger_is_no_danger_of_one_s_own(site: Site) -> None:
    await aged(site, 55 * DAY_MS, "banking-voice")
    await site.lost("banking-voice")
    page = await (await site.login("cards_operator")).get("/console/")
    assert "verdict--calm" in page.html


async def test_the_oldest_open_call_is_named_with_the_time_left(busy: Site) -> None:
    page = await (await busy.login("operator")).get("/console/?period=today")
    assert "Oldest open call" in page.text
    assert "55 d ago" in page.text
    page = await (await busy.login("cards_operator")).get("/console/?period=today")
    assert "3 d ago" in page.text


# -- incidents and slots --------------------------------------------------------------------------


async def test_critical_incidents_come_first_and_name_no_call(site: Site) -> None:
    theirs = await site.in_flight("banking-voice")
    await tell.people(
        site.world, "recording_lost", f"{theirs.call_id} is lost", severity="critical",
        calls=[theirs.call_id],
    )  # fmt: skip
    for number in range(6):
        await tell.people(site.world, "slot_busy", f"group {number}", key=f"slot_busy:{number}")
    page = await (await site.login("cards_operator")).get("/console/")
    shown = page.text[page.text.index("Open incidents") :]
    assert shown.index("Recordings were lost") < shown.index("Somebody else holds the export slot")
    assert shown.count("open since") == 5
    assert "All (7)" in page.text
    assert theirs.call_id not in page.text
    assert "1 critical incident is open" in page.text


async def test_steps_that_wait_for_a_person_are_a_reason_to_watch(site: Site) -> None:
    await site.stored()
    await tell.people(site.world, "step_parked", "a step", calls=["a", "b"])
    page = await (await site.login("viewer")).get("/console/")
    assert "verdict--watch" in page.html
    assert "2 steps failed too often" in page.text


async def test_slots_tell_what_runs_what_waits_and_what_is_blocked(site: Site) -> None:
    await site.in_flight()
    book, now_ms = site.runtime.book, site.world.clock.now_ms()
    hour = now_ms // HOUR_MS * HOUR_MS
    state = GroupState(ocp_group="emea-retail")
    window = Window(
        ocp_group="emea-retail", from_ms=hour - 4 * HOUR_MS, to_ms=hour - HOUR_MS,
        call_ids=("a", "b"), ready_at=now_ms, predicted_s=60.0, urgent=False, why="",
        deadline_at=now_ms + DAY_MS, waiting_since=now_ms,
    )  # fmt: skip
    job = new_job(window, 1, state.model, now_ms)
    running = msgspec.structs.replace(
        job, state=State.RUNNING, export_id="x", posted_at=now_ms - 5 * MINUTE_MS
    )
    lease = await book.lease("emea-retail", "test", now_ms=now_ms, ttl_ms=60_000)
    assert lease is not None
    await book.keep(lease, group=state, job=msgspec.structs.replace(running, fence=lease.fence))
    lease = await book.lease("latam", "test", now_ms=now_ms, ttl_ms=60_000)
    assert lease is not None
    blocked = GroupState(
        ocp_group="latam", blocked_until=now_ms + HOUR_MS, blocked_why="OCP refused: 403"
    )
    await book.keep(lease, group=blocked)
    page = await (await site.login("viewer")).get("/console/")
    slots = page.text[page.text.index("Exports by OCP group") :]
    assert "3 hours" in slots
    assert "2 calls" in slots
    assert "5 min ago" in slots
    assert "1 call with open work" in slots
    assert "held up" in slots
    assert "OCP refused: 403" in slots
    assert "Exports are held up: latam" in page.text


# -- the law's full check -------------------------------------------------------------------------


async def test_an_operator_has_the_law_checked_now_and_sees_when_it_was(site: Site) -> None:
    await site.stored()
    client = await site.login("operator")
    assert "has not run yet" in (await client.get("/console/")).text
    page = await client.post("/console/law")
    assert page.status == 200
    assert "The law holds" in page.text
    assert "checked against journal and buckets" in page.text
    held = await site.desk.notes.get("law")
    assert held is not None
    assert held["by"] == "operator"


async def test_only_operators_have_the_law_checked(site: Site) -> None:
    for name in ("viewer", "auditor"):
        client = await site.login(name)
        assert "Check now" not in (await client.get("/console/")).text
        assert (await client.post("/console/law")).status == 403
    assert await site.desk.notes.get("law") is None


async def test_a_law_that_was_found_broken_is_the_first_reason_and_scoped_people_see_no_totals(
    site: Site,
) -> None:
    await site.stored("cards-voice")
    found = "7 calls say they are stored, the buckets hold 6."
    await site.desk.notes.put(
        "law", {"at_ms": site.world.clock.now_ms(), "terms": {"started": 777},
                "differences": [found]},
    )  # fmt: skip
    page = await (await site.login("viewer")).get("/console/")
    assert "The conservation law does not hold" in page.text
    assert found in page.text
    assert "/console/runbooks/conservation_broken" in page.html
    page = await (await site.login("cards_operator")).get("/console/")
    assert "verdict--danger" in page.html
    assert found not in page.text
    assert "777" not in page.text


# -- periods, languages, updates ------------------------------------------------------------------


async def test_a_custom_period_counts_its_days_alone(site: Site) -> None:
    await aged(site, 40 * DAY_MS)
    await site.in_flight()
    day = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 40 * 86_400))
    client = await site.login("viewer")
    page = await client.get(f"/console/?period=custom&from={day}&to={day}")
    assert equation(page)["started"] == 1
    assert f'value="{day}"' in page.html


@pytest.mark.parametrize(
    "query",
    ["period=custom", "period=custom&from=2026-01-01&to=2026-04-04", "period=x",
     "period=custom&from=2026-01-02&to=2026-01-01", "period=custom&from=a&to=b"],
)  # fmt: skip
async def test_a_period_that_is_none_is_told_so(site: Site, query: str) -> None:
    page = await (await site.login("viewer")).get(f"/console/?{query}")
    assert page.status == 400
    assert "A period has 1 to 93 days" in page.text


async def test_the_live_part_is_the_same_look_without_the_frame(busy: Site) -> None:
    client = await busy.login("viewer")
    whole = await client.get("/console/?period=d30")
    asked = re.search(r'hx-get="([^"]+)" hx-trigger="every 5s, refresh"', whole.html)
    assert asked is not None
    part = await client.part(unescape(asked.group(1)))
    assert "<html" not in part.html
    assert re.search(r"Updated \d\d:\d\d:\d\d", part.text)
    assert equation(part) == equation(whole)
    await busy.stored("banking-voice")
    assert equation(await client.part(unescape(asked.group(1))))["stored"] == 4


async def test_only_the_verdict_is_spoken(busy: Site) -> None:
    page = await (await busy.login("viewer")).get("/console/")
    live = page.html[page.html.index('id="live"') :]
    assert "aria-live" not in live
    assert 'role="status" id="verdict-said"' in page.html


async def test_it_speaks_spanish(busy: Site) -> None:
    client = await busy.login("operator")
    await client.get("/console/preferences?lang=es")
    page = await client.get("/console/")
    for words in ("Hay llamadas en peligro", "línea de negocio", "Balance de llamadas", "iniciadas",
                  "objetivo 99,9 %", "En curso: tiempo que queda en OCP"):  # fmt: skip
        assert words.lower() in page.text.lower()


async def test_nothing_in_the_page_needs_a_style_or_script_of_its_own(busy: Site) -> None:
    page = await (await busy.login("operator")).get("/console/")
    assert " style=" not in page.html
    assert not re.search(r"<script(?![^>]*\bsrc=)", page.html)
    assert not re.search(r"\son\w+=", page.html)


def test_every_reason_and_every_kind_of_incident_has_its_words() -> None:
    held = texts()
    for _, code, _ in CAUSES:
        assert all(f"overview.{part}.{code}" in held for part in ("reason", "do", "short"))
    assert all(f"overview.kind.{kind}" in held for kind in INCIDENT_KINDS)


# -- few reads ------------------------------------------------------------------------------------


class Unlisted:
    """A store of calls that answers only what costs the same over millions."""

    ALLOWED = frozenset({"pending", "pending_groups"})

    def __init__(self, calls: CallStore) -> None:
        self._calls = calls
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        assert name in self.ALLOWED, f"the overview asked for calls.{name}"
        self.asked.append(name)
        return getattr(self._calls, name)


async def test_a_look_lists_no_calls(busy: Site) -> None:
    calls: Any = Unlisted(busy.world.calls)
    desk = replace(busy.desk, world=replace(busy.world, calls=calls))
    period = named_period("d7", busy.world.clock.now_ms())
    held = await look(desk, Person("p", "viewer", None), period, Objectives(), ())
    assert held.whole.terms["started"] == 10
    assert len(calls.asked) <= 3


async def test_the_times_to_store_are_there(tmp_path: Any) -> None:
    """From the end of a call, ten minutes before its recording came."""
    async with site_of(tmp_path) as site:
        await site.stored("cards-voice")
        page = await (await site.login("cards_operator")).get("/console/")
        assert page.text.count("12 min 4 s") == 3
