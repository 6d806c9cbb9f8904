"""What people do to a call: with a reason, by their right, and never without being told the end."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from ocp_ingest.core.lifecycle import outcome
from ocp_ingest.core.possible import possible_actions
from ocp_ingest.entrypoints.console.actions import PATHS
from ocp_ingest.ingest import pipeline
from tests.console.kit import Client, Page, Site
from tests.console.kit import site as site_of
from tests.core.audio.builders import hush, wav

pytestmark = pytest.mark.asyncio(loop_scope="module")
MAKERS = ("in_flight", "stored", "too_long", "quarantined", "lost", "absent")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """One site for all tests: each makes calls of its own."""
    async with site_of(tmp_path_factory.mktemp("actions")) as served:
        yield served


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def operator(site: Site) -> Client:
    return await site.login("operator")


async def make(site: Site, how: str) -> str:
    made = await getattr(site, how)()
    return str(made.call_id)


async def state(site: Site, call_id: str) -> str | None:
    done = outcome(await site.call(call_id), site.world.settings.policy)
    return done.outcome if done else None


async def acts(site: Site, call_id: str) -> list[tuple[str, str, str]]:
    journal = await site.world.calls.journal(call_id)
    kinds = ("retried", "reopened", "released", "closed")
    return [(e.kind, e.data.get("by", ""), e.data["reason"]) for e in journal if e.kind in kinds]


async def do(
    client: Client, call_id: str, action: str, reason: str, *, dialog_id: str = "",
    csrf: str | None = None,
) -> Page:  # fmt: skip
    path = f"/console/calls/{call_id}/{action}"
    return await client.post(path, csrf=csrf, reason=reason, dialog_id=dialog_id)


# -- each action ----------------------------------------------------------------------------------


async def test_a_quarantined_call_is_asked_for_again(site: Site, operator: Client) -> None:
    call_id = await make(site, "quarantined")
    page = await do(operator, call_id, "reopen", reason="new rules since monday")
    assert page.status == 200
    assert page.url.endswith(f"/console/calls/{call_id}"), "back on the call's page"
    assert "The call is open again." in page.text
    assert ("reopened", "operator", "new rules since monday") in await acts(site, call_id)
    await pipeline.drain(site.world)
    assert await state(site, call_id) is None
    again = await operator.get(f"/console/calls/{call_id}")
    assert "The call is open again." not in again.text, "the notice is shown once"
    assert "OCP may hold a better copy" in again.text


async def test_a_quarantined_recording_is_accepted_as_it_is(site: Site, operator: Client) -> None:
    call_id = await make(site, "quarantined")
    page = await do(operator, call_id, "release", reason="heard it, it is right", dialog_id=call_id)
    assert "The recording was released" in page.text
    await pipeline.drain(site.world)
    assert await state(site, call_id) == "stored"


async def test_a_missing_call_is_tried_now_and_marked_as_having_none(
    site: Site, operator: Client
) -> None:
    call_id = await make(site, "in_flight")
    assert "tried now" in (await do(operator, call_id, "retry", reason="OCP is back")).text
    page = await do(operator, call_id, "mark-absent", reason="the line was dead")
    assert "it has no recording" in page.text
    assert await state(site, call_id) == "absent"
    assert await acts(site, call_id) == [
        ("retried", "operator", "OCP is back"),
        ("closed", "operator", "operator said so: the line was dead"),
    ]


async def test_with_htmx_the_whole_page_goes_on(site: Site, operator: Client) -> None:
    call_id = await make(site, "lost")
    page = await operator.post(
        f"/console/calls/{call_id}/reopen", htmx=True, reason="restored at OCP"
    )
    assert page.headers["HX-Redirect"] == f"/console/calls/{call_id}"


async def test_only_the_recording_that_was_named_is_released(site: Site, operator: Client) -> None:
    call_id = await make(site, "quarantined")
    await do(operator, call_id, "release", reason="this one", dialog_id=call_id)
    [act] = (await site.call(call_id)).acts.values()
    assert act.dialog_id == call_id
    page = await do(operator, call_id, "release", reason="another", dialog_id="another")
    assert page.status == 400
    assert len((await site.call(call_id)).acts) == 1


# -- offers ---------------------------------------------------------------------------------------


def offered(page: Page, call_id: str) -> list[str]:
    """The actions whose forms are on a call's page."""
    forms = re.findall(rf'action="/console/calls/{re.escape(call_id)}/([a-z-]+)"', page.html)
    return [form for form in forms if form in PATHS.values()]


@pytest.mark.parametrize("how", MAKERS)
async def test_a_page_offers_what_is_possible_and_all_of_it_is_accepted(
    site: Site, operator: Client, how: str
) -> None:
    call_id = await make(site, how)
    call = await site.call(call_id)
    wanted = [PATHS[o.action] for o in possible_actions(call, site.world.settings.policy)]
    page = await operator.get(f"/console/calls/{call_id}")
    assert offered(page, call_id) == wanted
    for action in wanted:
        other = await make(site, how)
        page = await do(operator, other, action, reason="because it is offered")
        assert page.status == 200, (how, action, page.text)


@pytest.mark.parametrize("name", ["viewer", "auditor"])
async def test_who_may_not_act_is_offered_nothing_and_refused(site: Site, name: str) -> None:
    client = await site.login(name)
    call_id = await make(site, "quarantined")
    page = await client.get(f"/console/calls/{call_id}")
    assert offered(page, call_id) == []
    assert "Operators can act on this call" in page.text
    for action in PATHS.values():
        assert (await do(client, call_id, action, reason="because")).status == 403
    assert [kind for kind, *_ in await acts(site, call_id)] == ["closed"]


async def test_nobody_acts_on_another_line_of_business_nor_learns_of_it(site: Site) -> None:
    cards = await site.login("cards_operator")
    call_id = await make(site, "quarantined")
    for action in PATHS.values():
        theirs = await do(cards, call_id, action, reason="because")
        nobodys = await do(cards, "no-such-call", action, reason="because")
        assert theirs.status == nobodys.status == 404
    assert [kind for kind, *_ in await acts(site, call_id)] == ["closed"]


# -- refusals -------------------------------------------------------------------------------------

REFUSED = {
    ("in_flight", "reopen"): "The call is open already",
    ("stored", "reopen"): "stored already",
    ("stored", "mark-absent"): "can't be marked as having none",
    ("lost", "mark-absent"): "closed already",
    ("in_flight", "release"): "no recording that could be released",
}


@pytest.mark.parametrize(("how", "action"), REFUSED)
async def test_a_refusal_says_what_stands_against_it(
    site: Site, operator: Client, how: str, action: str
) -> None:
    call_id = await make(site, how)
    before = await acts(site, call_id)
    page = await do(operator, call_id, action, reason="because")
    assert page.status == 409
    assert REFUSED[how, action] in page.text
    assert await acts(site, call_id) == before


async def test_a_refusal_is_told_in_spanish_to_who_reads_spanish(site: Site) -> None:
    client = await site.login("operator")
    await client.get("/console/preferences?lang=es&next=/console/")
    call_id = await make(site, "stored")
    page = await do(client, call_id, "reopen", reason="porque sí")
    assert page.status == 409
    assert "La grabación de la llamada ya está almacenada: no hay nada que pedir." in page.text


@pytest.mark.parametrize("action", PATHS)
async def test_every_action_has_its_words(site: Site, action: str) -> None:
    for key in (f"done.{action}", f"refused.{action}.other", f"action.{action}.any",
                f"action.{action}.means"):  # fmt: skip
        assert f"call.{key}" in site.console.pages.texts


@pytest.mark.parametrize("action", PATHS.values())
@pytest.mark.parametrize("reason", ["", "   ", "\n"])
async def test_nothing_is_done_without_a_reason(
    site: Site, operator: Client, action: str, reason: str
) -> None:
    call_id = await make(site, "quarantined")
    before = await acts(site, call_id)
    page = await do(operator, call_id, action, reason=reason)
    assert page.status == 400
    assert "Say why: the reason is kept in the journal" in page.text
    assert await acts(site, call_id) == before


async def test_nothing_is_done_by_a_form_of_another_session(site: Site, operator: Client) -> None:
    call_id = await make(site, "quarantined")
    page = await do(operator, call_id, "reopen", reason="because", csrf="forged")
    assert page.status == 403
    assert await state(site, call_id) == "quarantined"


async def test_an_action_is_no_link(site: Site, operator: Client) -> None:
    call_id = await make(site, "quarantined")
    for action in PATHS.values():
        page = await operator.get(f"/console/calls/{call_id}/{action}?reason=because")
        assert page.status == 405
    assert await state(site, call_id) == "quarantined"


async def test_a_call_of_any_id_can_be_acted_on(site: Site, operator: Client) -> None:
    """Slashes, percent signs, spaces and accents are part of an id, never of a path."""
    made = site.talk()
    ident = "a/b%2Fc d?é#" + made.call_id[:20]
    start = {**made.start(), "id": ident, "group": ident}
    await site.events(start, {**made.end(), "id": ident, "group": ident})
    path = "a%2Fb%252Fc%20d%3F%C3%A9%23" + made.call_id[:20]
    page = await operator.get(f"/console/calls/{path}")
    assert page.status == 200
    assert ident in page.text
    page = await operator.post(f"/console/calls/{path}/mark-absent", reason="because")
    assert page.status == 200
    assert await state(site, ident) == "absent"


async def test_a_silent_recording_is_no_reason_to_offer_a_release(
    site: Site, operator: Client
) -> None:
    """Warnings do not make a recording unusable."""
    made = await site.stored(audio=wav(hush(4)))
    page = await operator.get(f"/console/calls/{made.call_id}")
    assert "release" not in offered(page, made.call_id)
    assert "The recording is silent" in page.text or "The recording is silence" in page.text
