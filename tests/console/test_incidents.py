"""Incidents, inputs that nobody took, and alerts: who is told what, and who may end what."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

import msgspec
import pytest
import pytest_asyncio

from ocp_ingest.core.incident_words import meaning
from ocp_ingest.core.incidents import INCIDENT_KINDS, Incident
from ocp_ingest.core.lifecycle import OUTCOMES, STAGES
from ocp_ingest.desk.letters import links
from ocp_ingest.desk.notify import Channels
from ocp_ingest.desk.ports import Alert
from ocp_ingest.entrypoints.console import filters, incidents
from ocp_ingest.ports import Kept
from tests.console.kit import Client, Page, Site
from tests.console.kit import site as site_of

NUMBER: Final = "+34600111222"
BODY: Final = msgspec.json.encode(
    {"message_type": "dialog_start", "id": "d1", "origin_uri": f"tel:{NUMBER}"}
)


@pytest_asyncio.fixture
async def site(tmp_path: Any) -> AsyncIterator[Site]:
    """Each test has its own incidents."""
    async with site_of(tmp_path) as served:
        yield served


async def opened(
    site: Site, key: str, *calls: str, text: str = "Something happened.",
    severity: Literal["warning", "critical"] = "warning", more: int = 0,
) -> None:  # fmt: skip
    """An incident, as a step opens it."""
    await site.world.incidents.open(
        Incident(
            key=key, kind=key.partition(":")[0], severity=severity, text=text,
            opened_at_ms=site.world.clock.now_ms(), calls=len(calls) + more, sample=calls,
        )
    )  # fmt: skip


def main(page: Page) -> str:
    """What is in the page's main part."""
    return page.html.partition("<main")[2].partition("</main>")[0]


async def is_open(site: Site, key: str) -> bool:
    return any(one.key == key for one in await site.world.incidents.incidents())


# -- the list -------------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", ["en", "es"])
def test_every_kind_has_a_meaning_in_both_languages(lang: Literal["en", "es"]) -> None:
    words = {kind: meaning(kind, lang) for kind in INCIDENT_KINDS}
    assert all(words[kind] and words[kind] != kind for kind in INCIDENT_KINDS)
    other: Literal["en", "es"] = "es" if lang == "en" else "en"
    assert not any(words[kind] == meaning(kind, other) for kind in INCIDENT_KINDS)


async def test_an_incident_is_shown_with_all_that_is_known_of_it(site: Site) -> None:
    talk = await site.quarantined()
    key = "recording_quarantined:emea-retail"
    await opened(site, key, talk.call_id, text="OCP's own copy of the recording is unusable too.")
    await opened(site, "vendor_down", severity="critical", text=f"No answer for {NUMBER}.")
    client = await site.login("operator")
    page = await client.get("/console/incidents")
    for said in ("OCP's own copy of a recording is unusable", key, talk.call_id,
                 "OCP's Export API does not answer", "critical"):  # fmt: skip
        assert said in page.text, said
    assert NUMBER not in page.text
    assert 'href="/console/runbooks/recording_quarantined"' in page.html
    assert 'href="/console/calls?outcome=quarantined&amp;group=emea-retail"' in page.html
    assert page.text.index("vendor_down") < page.text.index(key), "the worse one comes first"
    await client.get("/console/preferences?lang=es")
    page = await client.get("/console/incidents")
    assert "La copia que OCP tiene de una grabación es inservible" in page.text
    assert "La copia de la grabación que tiene OCP tampoco sirve." in page.text


ASKED: Final = "the one you came for"
GONE: Final = "neither open nor among the newest closed ones"


async def test_the_incident_that_a_letter_links_comes_first(site: Site) -> None:
    await opened(site, "vendor_down:emea-retail", severity="critical")
    await opened(site, "retention_near:emea-retail")
    client = await site.login("operator")
    incident = next(
        one for one in await site.world.incidents.incidents() if one.kind == "retention_near"
    )
    link, _ = links(Channels(console_url=f"{site.base}/console"), incident)
    page = await client.get(link.removeprefix(site.base))
    said = main(page)
    assert said.index("retention_near:emea-retail") < said.index("vendor_down:emea-retail")
    assert said.count('aria-current="true"') == 1
    assert said.index('aria-current="true"') < said.index("retention_near:emea-retail")
    assert ASKED in page.text
    assert ASKED not in (await client.get("/console/incidents")).text


async def test_an_incident_that_was_closed_since_its_letter_is_shown_closed(site: Site) -> None:
    await opened(site, "unassigned")
    client = await site.login("operator")
    await client.post("/console/incidents/close", key="unassigned", reason="rule added")
    page = await client.get("/console/incidents?key=unassigned")
    assert "operator: rule added" in page.text
    assert ASKED in page.text
    assert GONE not in page.text


async def test_an_incident_that_is_not_there_is_said_not_to_be_there(site: Site) -> None:
    await opened(site, "unassigned")
    client = await site.login("operator")
    page = await client.get("/console/incidents?key=%3Cb%3E")
    assert GONE in page.text
    assert "<b>" not in main(page)
    assert "unassigned" in page.text
    assert ASKED not in page.text


@pytest.mark.parametrize("kind", sorted(INCIDENT_KINDS))
def test_where_an_incident_leads_is_a_page_that_understands_it(kind: str) -> None:
    for key in (kind, f"{kind}:emea-retail", f"{kind}:unknown", f"{kind}:file_received"):
        incident = Incident(key=key, kind=kind, text="", opened_at_ms=0)
        found = incidents.where(incident)
        if found is None:
            continue
        path, _, query = found.partition("?")
        assert path in (
            "/console/calls", "/console/reconciliation", "/console/incidents/inputs",
            "/console/alerts",
        )  # fmt: skip
        params = dict(part.split("=") for part in query.split("&") if part)
        if path == "/console/calls":
            chosen = filters.filter_of(params, ZoneInfo("UTC"))
            assert chosen.params() == params
            assert chosen.outcome in ("", "none", *OUTCOMES)
            assert chosen.stage in ("", *STAGES)
        assert "unknown" not in params.values()


async def test_closing_needs_the_right_and_a_reason_and_is_kept(site: Site) -> None:
    await opened(site, "unassigned")
    for name in ("viewer", "auditor"):
        client = await site.login(name)
        assert "/console/incidents/close" not in (await client.get("/console/incidents")).html
        page = await client.post("/console/incidents/close", key="unassigned", reason="why not")
        assert page.status == 403
    operator = await site.login("operator")
    page = await operator.post("/console/incidents/close", key="unassigned", reason=" ")
    assert page.status == 400
    assert await is_open(site, "unassigned")
    page = await operator.post("/console/incidents/close", key="unassigned", reason="rule added")
    assert "was closed" in page.text
    assert not await is_open(site, "unassigned")
    closed = await operator.get("/console/incidents?state=closed")
    assert "operator: rule added" in closed.text
    assert "/console/incidents/close" not in closed.html
    again = await operator.post("/console/incidents/close", key="unassigned", reason="rule added")
    assert again.status == 404


async def test_others_calls_are_counted_hidden_in_texts_and_not_closed(site: Site) -> None:
    mine, theirs = await site.lost("cards-voice"), await site.lost("banking-voice")
    await opened(site, "recording_lost:both", mine.call_id, theirs.call_id,
                 text=f"Lost: {mine.call_id} and {theirs.call_id}.")  # fmt: skip
    await opened(site, "recording_lost:mine", mine.call_id)
    await opened(site, "recording_lost:more", mine.call_id, more=4)
    await opened(site, "vendor_down")
    clerk = await site.login("cards_operator")
    page = await clerk.get("/console/incidents")
    assert mine.call_id in page.text
    assert theirs.call_id not in page.text
    assert "and 1 call that is not named here" in page.text
    closable = set(re.findall(r'name="key" value="([^"]+)"', page.html))
    assert closable == {"recording_lost:mine"}
    for key in ("recording_lost:both", "recording_lost:more", "vendor_down"):
        answer = await clerk.post("/console/incidents/close", key=key, reason="because")
        assert answer.status == 403, key
        assert await is_open(site, key)
    await clerk.post("/console/incidents/close", key="recording_lost:mine", reason="because")
    assert not await is_open(site, "recording_lost:mine")


async def test_an_incident_about_another_line_of_business_is_not_shown(site: Site) -> None:
    await opened(site, "completeness_low:banking", text="banking: 12 % are stored")
    await opened(site, "completeness_low:cards", text="cards: 98 % are stored")
    clerk = await site.login("cards_operator")
    page = await clerk.get("/console/incidents")
    assert "cards: 98 %" in page.text
    assert "banking" not in main(page)
    answer = await clerk.post(
        "/console/incidents/close", key="completeness_low:banking", reason="because"
    )
    assert answer.status == 404


# -- inputs ---------------------------------------------------------------------------------------


async def rejected(site: Site, body: bytes = BODY, kind: str = "event") -> str:
    """A rejected input; how the page names it."""
    await site.world.evidence.keep(kind, f"No `id`: {NUMBER}.", body, 1_790_000_000_000)
    return incidents.ident_of(Kept(kind, f"No `id`: {NUMBER}.", 1_790_000_000_000, body))


async def test_a_rejected_input_is_shown_masked(site: Site) -> None:
    await rejected(site)
    page = await (await site.login("viewer")).get("/console/incidents/inputs")
    assert "No `id`: ***." in page.text
    assert '"origin_uri": "***"' in page.text
    assert NUMBER not in page.text
    assert "unmask" not in main(page).replace("unmasked", "")


async def test_what_is_no_json_is_not_shown_at_all_before_it_is_unmasked(site: Site) -> None:
    await rejected(site, b"caller says: my name is Ana")
    page = await (await site.login("operator")).get("/console/incidents/inputs")
    assert "Ana" not in page.text
    assert page.html.count('class="kept"') == 1


async def test_unmasking_needs_a_reason_and_is_kept_before_anything_is_shown(site: Site) -> None:
    ident = await rejected(site)
    auditor = await site.login("auditor")
    path = "/console/incidents/inputs/unmask"
    assert (await auditor.post(path, ident=ident, reason="")).status == 400
    assert (await auditor.post(path, ident="f" * 24, reason="an audit")).status == 404
    assert await _accesses(site) == []
    page = await auditor.post(path, ident=ident, reason="an audit")
    assert page.status == 200
    assert NUMBER in page.text
    assert page.headers["Cache-Control"] == "no-store"
    [said] = await _accesses(site)
    assert (said["by"], said["reason"], said["ident"]) == ("auditor", "an audit", ident)
    binary = await rejected(site, b"RIFF\x00\xff<script>", "recording")
    shown = await auditor.post(path, ident=binary, reason="an audit")
    assert "52 49 46 46 00 ff" in shown.text
    assert (await auditor.get(path)).status == 405, "no link makes anybody unmask anything"


async def _accesses(site: Site) -> list[dict[str, Any]]:
    """What was kept of accesses, read as somebody who audits the store would."""
    query = "SELECT note FROM desk_note WHERE name LIKE 'accessed:%'"
    found = await site.runtime.database.read(lambda held: held.execute(query).fetchall())
    return [msgspec.json.decode(bytes(note)) for (note,) in found if isinstance(note, bytes)]


@pytest.mark.parametrize("name", ["viewer", "cards_operator"])
async def test_who_has_no_right_or_only_some_lines_unmasks_nothing(site: Site, name: str) -> None:
    ident = await rejected(site)
    client = await site.login(name)
    page = await client.post("/console/incidents/inputs/unmask", ident=ident, reason="curious")
    assert page.status == 403
    assert NUMBER not in page.text
    assert await _accesses(site) == []


async def test_a_scope_sees_that_something_was_rejected_and_nothing_of_it(site: Site) -> None:
    await rejected(site)
    page = await (await site.login("cards_operator")).get("/console/incidents/inputs")
    assert "No `id`" in page.text
    assert "origin_uri" not in page.text


async def test_parked_messages_are_named_to_those_whose_calls_they_are_about(site: Site) -> None:
    mine, theirs = await site.in_flight("cards-voice"), await site.in_flight("banking-voice")
    for talk in (mine, theirs):
        await site.world.queue.put(f"call:{talk.call_id}", {"call_id": talk.call_id})
    for _ in range(site.config.limits.step_tries_max):
        for message in await site.world.queue.take(limit=10, lease_ms=60_000, wait_s=0):
            await site.world.queue.give_back(message, delay_ms=0)
    assert len(await site.world.queue.parked()) == 2
    whole = await (await site.login("viewer")).get("/console/incidents/inputs")
    assert mine.call_id in whole.text
    assert theirs.call_id in whole.text
    part = await (await site.login("cards_operator")).get("/console/incidents/inputs")
    assert mine.call_id in part.text
    assert theirs.call_id not in part.text
    assert "1 message about calls of other lines of business" in part.text


async def test_unknown_types_are_counted_most_frequent_first(site: Site) -> None:
    await site.world.evidence.count({"unknown_type:dialog_hint": 2, "unknown_type:beat": 9})
    await site.world.evidence.count({"evidence.dropped": 5})
    page = await (await site.login("viewer")).get("/console/incidents/inputs")
    assert page.text.index("beat") < page.text.index("dialog_hint")
    assert "dropped" not in page.text


# -- alerts ---------------------------------------------------------------------------------------

CHANNELS: Final = [
    {"kind": "webhook", "name": "pager", "url": "https://hooks.example.com/T0/secret-path",
     "severity_min": "critical"},
    {"kind": "smtp", "name": "mail", "host": "mail.example.com", "sender": "a@example.com",
     "recipients": ["duty@example.com"],
     "quiet": {"from": "00:00", "to": "23:59", "time_zone": "UTC"}},
]  # fmt: skip


async def test_channels_and_what_was_told_are_shown_without_secrets(tmp_path: Any) -> None:
    async with site_of(tmp_path, alerts={"channels": CHANNELS}) as site:
        incident = Incident(key="vendor_down", kind="vendor_down", text="t", opened_at_ms=5)
        for number, more in enumerate(
            [{"sent_at_ms": 9}, {"given_up": True, "error": f"refused by {NUMBER}"}, {}]
        ):
            await site.desk.alerts.add(
                Alert(
                    alert_id=f"a{number}", channel="mail", what="opened", incident=incident,
                    made_at_ms=number, **more,  # type: ignore[arg-type] # fields of an alert
                )
            )  # fmt: skip
        client = await site.login("viewer")
        page = await client.get("/console/alerts")
        for said in ("pager", "https://hooks.example.com", "duty@example.com", "only what is"):
            assert said in page.text
        assert "secret-path" not in page.html
        assert NUMBER not in page.text
        states = re.findall(r'<span class="badge badge--(\w+)">(sent|waiting|not delivered)<',
                            page.html)  # fmt: skip
        assert states == [("info", "waiting"), ("bad", "not delivered"), ("ok", "sent")]
        assert "quiet now" in page.text
        assert "/console/alerts/test" not in page.html


async def test_a_test_is_for_operators_and_says_how_it_went(tmp_path: Any) -> None:
    async with site_of(tmp_path, alerts={"channels": CHANNELS}) as site:
        operator: Client = await site.login("operator")
        assert 'name="channel" value="pager"' in (await operator.get("/console/alerts")).html
        assert (await operator.post("/console/alerts/test", channel="nobody")).status == 404
        viewer = await site.login("viewer")
        assert (await viewer.post("/console/alerts/test", channel="pager")).status == 403


async def test_without_channels_the_page_says_that_nobody_is_told(site: Site) -> None:
    page = await (await site.login("viewer")).get("/console/alerts")
    assert "nobody is told" in page.text
