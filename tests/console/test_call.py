"""The page of a call tells why it is as it is, with its evidence, and unmasks nothing by itself."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from ocp_ingest.core import events as ev
from ocp_ingest.core.errors import Transient
from ocp_ingest.core.events import KINDS
from ocp_ingest.core.limits import HOUR_MS
from ocp_ingest.core.view import call_view
from ocp_ingest.entrypoints.console.call import JOURNAL_PAGE
from ocp_ingest.entrypoints.console.takes import dialogs, refused
from ocp_ingest.ingest import operate
from tests.console.kit import Client, Page, Site
from tests.console.kit import site as site_of
from tests.core.audio.builders import talk, wav
from tests.story.kit import Talk, hiss

pytestmark = pytest.mark.asyncio(loop_scope="module")
NUMBER = "+34600123456"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """One site for all tests: each makes calls of its own."""
    async with site_of(tmp_path_factory.mktemp("call")) as served:
        yield served


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def operator(site: Site) -> Client:
    return await site.login("operator")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def spanish(site: Site) -> Client:
    client = await site.login("operator")
    await client.get("/console/preferences?lang=es&next=/console/")
    return client


async def show(client: Client, made: Talk, query: str = "") -> Page:
    page = await client.get(f"/console/calls/{made.call_id}{query}")
    assert page.status == 200, page.text
    return page


async def numbered(site: Site) -> Talk:
    """A call whose messages hold a telephone number."""
    return await site.in_flight(
        origin_uri=f"tel:{NUMBER}", incoming_attached_data={"contract": "ES-77123456"}
    )


# -- why ------------------------------------------------------------------------------------------


async def test_a_quarantined_call_says_why_it_is_there_and_what_can_be_done(
    site: Site, operator: Client
) -> None:
    page = await show(operator, await site.quarantined())
    assert "in quarantine" in page.text
    assert "What is wrong with the recording that arrived" in page.text
    assert "The recording is longer than its call." in page.text
    assert "The recording lasts 24.0 s, the call 4.0 s" in page.text, "with its numbers"
    assert "You can ask OCP for the recording again" in page.text
    assert "Ask OCP again" in page.text
    assert "Accept it as it is" in page.text
    where = page.html
    assert where.index("in quarantine") < where.index("Ask OCP again") < where.index("Journal")


async def test_who_reads_spanish_understands_it_without_english(
    site: Site, spanish: Client
) -> None:
    page = await show(spanish, await site.quarantined())
    assert "en cuarentena" in page.text
    verdict = '<p class="call-verdict">La copia de la grabación que tiene OCP tampoco sirve.</p>'
    assert verdict in page.text
    assert "La grabación es más larga que su llamada." in page.text
    assert "Pedirla de nuevo a OCP" in page.text
    assert "Aceptarla tal cual" in page.text
    # What is left in English is marked as such, or is a name.
    foreign = re.sub(r'<span class="muted" lang="en">.*?</span>', "", page.html)
    for english in ("The recording", "Missing", "Next", "Journal", "Listen", "Evidence"):
        assert english not in re.sub(r"<pre.*?</pre>", "", foreign, flags=re.DOTALL), english


async def test_an_open_call_says_what_is_missing_and_what_comes_when(
    site: Site, operator: Client
) -> None:
    page = await show(operator, await site.in_flight())
    assert "No recording arrived. OCP deletes its data in" in page.text
    assert "the flag “file received”" in page.text
    assert "No recording has arrived." in page.text


async def test_a_recording_that_waits_for_its_call_is_not_said_to_be_wrong(
    site: Site, operator: Client
) -> None:
    made = site.talk()
    await site.deliver(made.name, hiss(site.rng, made.duration_ms))
    page = await show(operator, made)
    assert "not judged yet" in page.text
    assert "What is wrong with the recording" not in page.text


async def test_the_state_of_an_open_call_updates_itself_and_a_closed_ones_does_not(
    site: Site, operator: Client
) -> None:
    made, done = await site.in_flight(), await site.stored()
    assert f'hx-get="/console/calls/{made.call_id}/state"' in (await show(operator, made)).html
    assert "/state" not in (await show(operator, done)).html
    part = await operator.part(f"/console/calls/{made.call_id}/state")
    assert part.status == 200
    assert "<html" not in part.html
    assert "No recording arrived." in part.text
    await operate.mark_absent(site.world, made.call_id, who="ana", reason="never recorded")
    part = await operator.part(f"/console/calls/{made.call_id}/state")
    assert part.status == 286, "htmx asks no more"
    assert "The call has been closed since" in part.text
    assert "has been closed since" not in (await show(operator, made)).text


async def test_every_outcome_has_its_page(site: Site, operator: Client) -> None:
    for how in ("in_flight", "stored", "too_long", "quarantined", "lost", "absent"):
        page = await show(operator, await getattr(site, how)())
        assert " style=" not in page.html
        assert "<script>" not in page.html


async def test_nobody_sees_a_call_of_another_line_of_business(site: Site) -> None:
    cards = await site.login("cards_operator")
    made = await site.quarantined()
    for path in ("", "/state", "/json"):
        page = await cards.get(f"/console/calls/{made.call_id}{path}")
        assert page.status == 404
        assert (await cards.get(f"/console/calls/no-such-call{path}")).status == 404
    assert (
        await cards.get(f"/console/calls/{(await site.stored('cards-voice')).call_id}")
    ).status == 200


# -- flags and evidence ---------------------------------------------------------------------------


async def test_each_flag_names_its_source_and_its_evidence(site: Site, operator: Client) -> None:
    made = await site.stored()
    page = await show(operator, made)
    call = await site.call(made.call_id)
    [sha] = call.root.versions
    place = call.root.stored
    assert place is not None
    timeline = page.text[page.text.index('id="flags"') : page.text.index('id="facts"')]
    assert "by stream" in timeline
    landed = call.root.versions[sha].landing_key
    stored_at = f"{place.bucket}/{place.key}"
    for evidence in (f"dialog_start:{made.call_id}", f"stored:{made.call_id}", sha, landed):
        assert evidence in timeline
    for evidence in (stored_at, "banking:"):
        assert evidence in timeline
    assert "not yet" not in timeline
    assert "not yet" in (await show(operator, await site.in_flight())).text


async def test_export_jobs_are_named_with_what_they_held_and_lead_to_their_page(
    site: Site, operator: Client
) -> None:
    made = await site.in_flight()
    window = (made.start_ms, made.start_ms + HOUR_MS)
    await site.world.calls.append([
        ev.export_asked(made.call_id, "job/1", at_ms=made.start_ms, window=window, attempt=1),
        ev.export_answered(
            made.call_id, "job/1", at_ms=made.start_ms + 9, job_id="ocp-77", task_id="t",
            window=window, found={"audio": False, "dialog_end": True}, files=[], metadata={},
        ),
    ])  # fmt: skip
    page = await show(operator, made)
    assert 'href="/console/reconciliation?job=job%2F1"' in page.html
    assert "ocp-77" in page.text
    assert "the recording: no" in page.text
    assert "CDR End: yes" in page.text


# -- recordings -----------------------------------------------------------------------------------


async def test_every_version_of_every_dialog_is_shown_and_the_one_that_counts_first(
    site: Site, operator: Client
) -> None:
    made = await site.too_long()
    await site.deliver(made.name, hiss(site.rng, made.duration_ms))  # supersedes the bad one
    page = await show(operator, made)
    call = await site.call(made.call_id)
    assert len(call.root.versions) == 2
    for sha in call.root.versions:
        assert sha in page.text
    assert page.text.count("Another version, received") == 1
    assert page.text.index("Stored at:") < page.text.index("Another version, received")


async def test_what_was_measured_is_told(site: Site, operator: Client) -> None:
    page = await show(operator, await site.stored(audio=wav(talk(4), "pcm_alaw")))
    for said in ("4 s", "WAV · pcm_alaw · 8,000 Hz · 1 channel", "64 kbit/s", "Silence", "valid"):
        assert said in page.text


class Deaf:
    """A store that does not answer."""

    async def head(self, bucket: str, key: str) -> Any:
        raise Transient("The store does not answer.")


async def test_a_store_that_does_not_answer_does_not_take_the_page_with_it(site: Site) -> None:
    made = await site.quarantined()
    call = await site.call(made.call_id)
    [dialog] = await dialogs(call, "en", Deaf())  # type: ignore[arg-type]
    [take] = dialog.takes
    assert (take.held, take.looked) == ((), False)
    [take] = refused(await dialogs(call, "en", site.world.recordings))
    assert [held.place.where for held in take.held] == ["landing", "quarantine"]
    assert take.looked


# -- the journal ----------------------------------------------------------------------------------


async def test_the_journal_is_masked(site: Site, operator: Client) -> None:
    made = await numbered(site)
    page = await show(operator, made)
    assert "dialog_start" in page.text
    assert NUMBER[1:] not in page.text
    assert "ES-77123456" not in page.text
    assert '"origin_uri": "***"' in page.text


async def test_a_long_journal_is_paged(site: Site, operator: Client) -> None:
    made = await site.in_flight()
    steps = [
        ev.operator("retried", made.call_id, at_ms=made.start_ms + n, who="ana", reason=f"try {n}")
        for n in range(JOURNAL_PAGE)
    ]
    await site.world.calls.append(steps)
    total = len(await site.world.calls.journal(made.call_id))
    first = await show(operator, made)
    assert f"{total} events" in first.text
    assert "Page 1 of 2" in first.text
    last = await show(operator, made, "?journal=2")
    shown = [set(re.findall(r"retried:[0-9a-f]{24}", page.text)) for page in (first, last)]
    assert not shown[0] & shown[1]
    assert len(shown[0] | shown[1]) == JOURNAL_PAGE
    beyond = await show(operator, made, "?journal=99")
    assert "Page 2 of 2" in beyond.text
    assert (await operator.get(f"/console/calls/{made.call_id}?journal=x")).status == 400


async def unmask(client: Client, made: Talk, reason: str, event: str = "dialog_start") -> Page:
    path = f"/console/calls/{made.call_id}/unmask"
    return await client.post(path, event_id=f"{event}:{made.call_id}", reason=reason)


async def test_unmasking_is_journalled_before_it_is_shown_once_and_is_not_logged(
    site: Site,
) -> None:
    auditor = await site.login("auditor")
    made = await numbered(site)
    with capture_logs() as logs:
        page = await unmask(auditor, made, "complaint 4711")
    assert page.status == 200
    assert NUMBER in page.text
    assert page.headers["Cache-Control"] == "no-store"
    journal = await site.world.calls.journal(made.call_id)
    [access] = [event for event in journal if event.kind == "accessed"]
    assert (access.data["by"], access.data["what"]) == ("auditor", "raw")
    assert access.data["reason"].startswith("complaint 4711 (event dialog_start:")
    assert NUMBER not in repr(logs)
    shown = await show(auditor, made)
    assert NUMBER not in shown.text
    assert "complaint 4711" in shown.text, "everybody sees who saw it"


async def test_nothing_is_unmasked_without_the_right_or_a_reason(
    site: Site, operator: Client
) -> None:
    made = await numbered(site)
    viewer, cards = await site.login("viewer"), await site.login("cards_operator")
    assert "/unmask" not in (await show(viewer, made)).html
    for client, reason, status in ((viewer, "because", 403), (cards, "because", 404),
                                   (operator, "", 400), (operator, "  ", 400)):  # fmt: skip
        page = await unmask(client, made, reason)
        assert page.status == status
        assert NUMBER not in page.text
    assert (await unmask(operator, made, "because", "no_such")).status == 404
    path = f"/console/calls/{made.call_id}/unmask?event_id=dialog_start:{made.call_id}"
    assert (await operator.get(path)).status == 405
    journal = await site.world.calls.journal(made.call_id)
    assert not [event for event in journal if event.kind == "accessed"]


async def test_an_event_of_another_call_is_not_unmasked_through_this_one(
    site: Site, operator: Client
) -> None:
    mine, other = await site.in_flight(), await numbered(site)
    page = await operator.post(
        f"/console/calls/{mine.call_id}/unmask",
        event_id=f"dialog_start:{other.call_id}", reason="because",
    )  # fmt: skip
    assert page.status == 404
    assert NUMBER not in page.text


async def test_the_json_is_the_apis_view(site: Site, operator: Client) -> None:
    made = await site.stored()
    page = await operator.get(f"/console/calls/{made.call_id}/json")
    assert page.headers["Content-Type"] == "application/json"
    assert page.headers["Content-Disposition"].startswith("attachment;")
    call = await site.call(made.call_id)
    assert page.json() == call_view(call, site.world.settings.policy, site.console.uri_of)


async def test_every_kind_of_event_has_a_name(site: Site) -> None:
    texts = site.console.pages.texts
    assert [kind for kind in KINDS if f"call.kind.{kind}" not in texts] == []
