"""A recording is heard by those who may, from where they want, and never read further than that."""

from __future__ import annotations

import asyncio
import time
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from ocp_ingest.core.errors import Transient
from ocp_ingest.core.settings import LANDING
from ocp_ingest.entrypoints.console.audio import GRANT_S, pour
from tests.console.heard import HOUR_BYTES, Heard, heard_site, hour_wav
from tests.console.kit import Client
from tests.core.audio.builders import hush, interleave, lame, open_ended, talk, wav
from tests.story.kit import Talk, hiss

HOUR_MS = 3_600_000
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Heard]:
    async with heard_site(tmp_path_factory.mktemp("heard")) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def heard(served: Heard) -> Heard:
    """One site for all tests, as each makes calls of its own; the clock and the people as new."""
    served.later_s, served.store.read_bytes, served.store.scanned = 0.0, 0, 0
    await served.site.add("operator", "operator", ("*",))
    return served


async def stored(
    heard: Heard, audio: bytes, duration_ms: int = 4_000, app: str = "banking-x"
) -> Talk:
    made = heard.site.talk(duration_ms, app)
    await heard.site.events(made.start(), made.end())
    await heard.site.deliver(made.name, audio)
    return made


# -- the law --------------------------------------------------------------------------------------


async def test_an_hour_starts_anywhere_without_being_loaded_whole(heard: Heard) -> None:
    audio = hour_wav()
    made = await stored(heard, audio, HOUR_MS)
    client = await heard.site.login("operator")
    address = await heard.listen(client, made)
    assert heard.store.read_bytes == 0, "showing the player reads nothing"
    for middle, length in ((HOUR_BYTES // 2, 100_000), (HOUR_BYTES - 5_000_000, 2_500_000)):
        heard.store.read_bytes = 0
        tracemalloc.start()
        started_s = time.perf_counter()
        page = await client.get(address, Range=f"bytes={middle}-{middle + length - 1}")
        taken_s = time.perf_counter() - started_s
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert page.status == 206
        assert page.body == audio[middle : middle + length]
        assert heard.store.read_bytes == length
        assert taken_s < 1
        # The client's copies are in this process too.
        assert most < 4 * length + 8_000_000


async def test_a_player_that_asks_for_all_the_rest_and_leaves_ends_the_reading(
    heard: Heard,
) -> None:
    """`bytes=n-` of an hour: read no faster than it is taken, and no further once nobody does."""
    audio = hour_wav()
    made = await stored(heard, audio, HOUR_MS)
    client = await heard.site.login("operator")
    address = await heard.listen(client, made)
    url = f"{heard.site.base}{address}"
    async with client.session.get(url, headers={"Range": "bytes=1000000-"}) as answer:
        assert answer.status == 206
        assert answer.headers["Content-Range"] == f"bytes 1000000-{len(audio) - 1}/{len(audio)}"
        first = await answer.content.readexactly(50_000)
        assert first == audio[1_000_000:1_050_000]
        before = -1
        while before != heard.store.read_bytes:  # until the buffers between us are full
            before = heard.store.read_bytes
            await asyncio.sleep(0.3)
        assert heard.store.read_bytes < HOUR_BYTES // 2
        assert heard.store.open == 1
        answer.close()
    for _ in range(100):
        if heard.store.open == 0:
            break
        await asyncio.sleep(0.05)
    assert heard.store.open == 0
    assert heard.store.read_bytes < HOUR_BYTES // 2


async def test_a_player_that_takes_nothing_for_long_is_cut_off() -> None:
    async def blocks() -> AsyncIterator[bytes]:
        while True:
            yield b"x"

    async def silent() -> Any:
        await asyncio.Event().wait()

    async def full(message: Any) -> None:
        await asyncio.Event().wait()

    async with asyncio.timeout(5):
        await pour(b"first", blocks(), silent, full, stall_s_max=0.01)
    await asyncio.sleep(0)
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "audio-gone"]


async def test_a_store_that_fails_on_the_way_ends_the_answer_short() -> None:
    sent: list[Any] = []

    async def blocks() -> AsyncIterator[bytes]:
        yield b"second"
        raise Transient("The store does not answer.")

    async def silent() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append((message["body"], message["more_body"]))

    await pour(b"first", blocks(), silent, send)
    assert sent == [(b"first", True), (b"second", True)], "no end that says that it was whole"


# -- ranges ---------------------------------------------------------------------------------------


async def test_the_answers_headers_say_what_it_is(heard: Heard) -> None:
    audio = wav(talk(4))
    made = await stored(heard, audio)
    client = await heard.site.login("auditor")
    address = await heard.listen(client, made)
    [sha] = (await heard.site.call(made.call_id)).root.versions
    whole = await client.get(address)
    assert (whole.status, whole.body) == (200, audio)
    assert whole.headers["Content-Type"] == "audio/wav"
    assert whole.headers["ETag"] == f'"{sha}"'
    assert whole.headers["Accept-Ranges"] == "bytes"
    assert whole.headers["Cache-Control"] == "no-store"
    assert whole.headers["X-Content-Type-Options"] == "nosniff"
    assert whole.headers["Content-Disposition"].startswith('inline; filename="')
    last = await client.get(address, Range="bytes=-100")
    assert (last.status, last.body) == (206, audio[-100:])
    beyond = await client.get(address, Range=f"bytes={len(audio)}-")
    assert (beyond.status, beyond.body) == (416, b"")
    assert beyond.headers["Content-Range"] == f"bytes */{len(audio)}"
    other = await client.get(address, Range="bytes=5-9", If_Range='"older"')
    assert (other.status, other.body) == (200, audio)
    same = await client.get(address, Range="bytes=5-9", If_Range=f'"{sha}"')
    assert (same.status, same.body) == (206, audio[5:10])
    heard.store.read_bytes = 0
    head = await client.ask("HEAD", address, headers={"Range": "bytes=0-9"})
    assert (head.status, head.body, head.headers["Content-Length"]) == (206, b"", "10")
    assert heard.store.read_bytes == 0


# -- who may --------------------------------------------------------------------------------------


async def test_hearing_is_journalled_with_who_why_and_which_bytes(heard: Heard) -> None:
    made = await stored(heard, wav(talk(4)))
    client = await heard.site.login("auditor")
    await heard.listen(client, made, reason="complaint 4711")
    [sha] = (await heard.site.call(made.call_id)).root.versions
    journal = await heard.site.world.calls.journal(made.call_id)
    [access] = [event for event in journal if event.kind == "accessed"]
    assert access.data["by"] == "auditor"
    assert access.data["what"] == "audio"
    assert access.data["dialog_id"] == made.call_id
    assert access.data["reason"] == f"complaint 4711 (sha256 {sha[:16]})"


async def test_a_download_is_journalled_too_and_is_a_file(heard: Heard) -> None:
    made = await stored(heard, wav(talk(4)))
    client = await heard.site.login("operator")
    page = await heard.post(client, made, "download")
    assert page.status == 303
    file = await client.get(page.location)
    assert file.body == wav(talk(4))
    assert file.headers["Content-Disposition"].startswith("attachment;")
    journal = await heard.site.world.calls.journal(made.call_id)
    assert [e.data["reason"][:10] for e in journal if e.kind == "accessed"] == ["downloaded"]


async def test_who_may_not_hear_gets_no_address_and_nothing_is_journalled(heard: Heard) -> None:
    made = await stored(heard, wav(talk(4)))
    address = await heard.listen(await heard.site.login("operator"), made)
    viewer = await heard.site.login("viewer")
    assert (await heard.post(viewer, made, "listen")).status == 403
    assert (await heard.post(viewer, made, "download")).status == 403
    assert (await viewer.get(address)).status == 403
    page = await viewer.get(f"/console/calls/{made.call_id}")
    assert page.status == 200
    assert "/listen" not in page.html
    assert "/download" not in page.html
    journal = await heard.site.world.calls.journal(made.call_id)
    assert [e.data["by"] for e in journal if e.kind == "accessed"] == ["operator"]


async def test_nobody_hears_a_call_of_another_line_of_business_nor_learns_of_it(
    heard: Heard,
) -> None:
    made = await stored(heard, wav(talk(4)))
    address = await heard.listen(await heard.site.login("operator"), made)
    cards = await heard.site.login("cards_operator")
    for path in (address, await heard.path(made, "waveform")):
        assert (await cards.get(path)).status == 404
    for what in ("listen", "download"):
        assert (await heard.post(cards, made, what)).status == 404


@pytest.mark.parametrize("grant", ["", "x", "AAAA", None])
async def test_without_its_grant_an_address_gives_nothing(heard: Heard, grant: str | None) -> None:
    made = await stored(heard, wav(talk(4)))
    client = await heard.site.login("operator")
    address = await heard.listen(client, made)
    plain = address.split("?")[0]
    page = await client.get(plain if grant is None else f"{plain}?grant={grant}")
    assert page.status == 403
    assert "Listen" in page.text
    assert heard.store.read_bytes == 0


async def test_a_grant_is_of_one_session_of_one_recording_and_of_a_quarter_of_an_hour(
    heard: Heard,
) -> None:
    made, other = [await stored(heard, wav(talk(4, seed=n))) for n in (1, 2)]
    client = await heard.site.login("operator")
    address = await heard.listen(client, made)
    grant = address.split("?")[1]
    assert (await client.get(address)).status == 200
    again = await heard.site.login("operator")
    assert (await again.get(address)).status == 403, "the same person's other session"
    theirs = await heard.path(other, "audio")
    assert (await client.get(f"{theirs}?{grant}")).status == 403
    heard.later_s = GRANT_S - 5
    assert (await client.get(address)).status == 200
    heard.later_s = GRANT_S + 1
    assert (await client.get(address)).status == 403


async def test_who_loses_the_right_while_hearing_hears_no_more(heard: Heard) -> None:
    made = await stored(heard, wav(talk(4)))
    client = await heard.site.login("operator")
    address = await heard.listen(client, made)
    await heard.site.add("operator", "viewer", ("*",))
    assert (await client.get(address)).status == 403


async def test_where_a_reason_is_asked_for_there_is_no_hearing_without_one(tmp_path: Path) -> None:
    async with heard_site(tmp_path, console={"hear_reason": True}) as heard:
        made = await stored(heard, wav(talk(4)))
        client = await heard.site.login("operator")
        for what in ("listen", "download"):
            page = await heard.post(client, made, what)
            assert page.status == 400
            assert "Say why" in page.text
        assert await heard.listen(client, made, reason="complaint")
        assert 'name="reason" required' in (await client.get(f"/console/calls/{made.call_id}")).html


# -- where the bytes are --------------------------------------------------------------------------


async def test_bytes_are_found_wherever_they_are(heard: Heard) -> None:
    made = await heard.site.quarantined()
    client = await heard.site.login("operator")
    address = await heard.listen(client, made)
    from_landing = (await client.get(address)).body
    call = await heard.site.call(made.call_id)
    [version] = call.root.versions.values()
    await heard.site.world.recordings.delete(LANDING, version.landing_key)
    page = await client.get(f"/console/calls/{made.call_id}")
    assert "In quarantine:" in page.text
    assert "In the landing store:" not in page.text
    assert (await client.get(address)).body == from_landing


async def test_bytes_that_are_nowhere_are_said_to_be_gone(heard: Heard) -> None:
    made = heard.site.talk()
    await heard.site.deliver(made.name, hiss(heard.site.rng, 4_000))  # waits for its CDRs
    call = await heard.site.call(made.call_id)
    [version] = call.root.versions.values()
    await heard.site.world.recordings.delete(LANDING, version.landing_key)
    client = await heard.site.login("operator")
    page = await client.get(f"/console/calls/{made.call_id}")
    assert "not here any more" in page.text
    assert "/listen" not in page.html
    assert (await heard.post(client, made, "listen")).status == 404
    assert (await client.part(await heard.path(made, "waveform"))).status == 404
    journal = await heard.site.world.calls.journal(made.call_id)
    assert not [e for e in journal if e.kind == "accessed"], "nothing was heard"


async def test_a_recording_that_never_was_is_not_found(heard: Heard) -> None:
    made = await stored(heard, wav(talk(4)))
    client = await heard.site.login("operator")
    path = (await heard.path(made, "listen")).rsplit("/", 2)[0]
    assert (await client.post(f"{path}/{'0' * 64}/listen", htmx=True)).status == 404
    assert (await client.get(f"{path}/{'0' * 64}/audio")).status == 404


# -- what a browser plays -------------------------------------------------------------------------

PLAYS = {
    "pcm16": wav(talk(4)),
    "alaw stereo": wav(interleave(talk(4), hush(4)), "pcm_alaw", 2),
    "mulaw": wav(talk(4), "pcm_mulaw"),
    "mp3": lame(talk(4), kbps=32),
}
DOES_NOT = {
    "format": wav(talk(4), "pcm_f32le"),
    "open_header": open_ended(0xFFFFFFFF),
    "no_audio": b"<html><body>502 Bad Gateway</body></html>" * 20,
}


@pytest.mark.parametrize("name", PLAYS)
async def test_what_browsers_play_is_offered_with_its_type(heard: Heard, name: str) -> None:
    made = await stored(heard, PLAYS[name])
    client = await heard.site.login("operator")
    address = await heard.listen(client, made)
    page = await client.get(address, Range="bytes=0-9")
    assert page.headers["Content-Type"] == ("audio/mpeg" if name == "mp3" else "audio/wav")


@pytest.mark.parametrize("why", DOES_NOT)
async def test_what_browsers_do_not_play_is_downloaded_and_says_why(heard: Heard, why: str) -> None:
    made = await stored(heard, DOES_NOT[why], 2_000)
    client = await heard.site.login("operator")
    page = await client.get(f"/console/calls/{made.call_id}")
    assert "/listen" not in page.html
    assert "/download" in page.html
    assert heard.site.console.pages.texts.text("en", f"call.unplayable.{why}") in page.text
    player = await heard.post(client, made, "listen")
    assert player.status == 200
    assert "<audio" not in player.html
    assert heard.site.console.pages.texts.text("en", f"call.unplayable.{why}") in player.text
    file = await client.get((await heard.post(client, made, "download")).location)
    assert file.body == DOES_NOT[why]
    wanted = "application/octet-stream" if why == "no_audio" else "audio/wav"
    assert file.headers["Content-Type"] == wanted


# -- waveforms ------------------------------------------------------------------------------------


async def waved(heard: Heard, client: Client, made: Talk) -> str:
    page = await client.part(await heard.path(made, "waveform"))
    assert page.status == 200, page.text
    return page.text


async def test_a_waveform_says_in_words_what_it_shows(heard: Heard) -> None:
    left, right = talk(4), hush(4)
    made = await stored(heard, wav(interleave(left, right), "pcm_alaw", 2))
    text = await waved(heard, await heard.site.login("viewer"), made)
    assert 'role="img"' in text
    assert "Waveform: 4 s, 2 channels. 0% silence." in text
    assert "channel 1: 0%; channel 2: 100%" in text
    assert text.count("<path") == 2
    assert "style=" not in text, "the policy of the page forbids it"


async def test_a_waveform_is_computed_once(heard: Heard) -> None:
    made = await stored(heard, wav(talk(4)))
    viewer = await heard.site.login("viewer")
    assert await waved(heard, viewer, made) == await waved(heard, viewer, made)
    assert heard.store.scanned == 1


async def test_a_waveform_of_mp3_says_that_it_is_an_estimate(heard: Heard) -> None:
    made = await stored(heard, lame(talk(4), kbps=32))
    assert "estimate" in await waved(heard, await heard.site.login("viewer"), made)


async def test_what_is_no_audio_has_no_waveform_but_words(heard: Heard) -> None:
    made = await stored(heard, DOES_NOT["no_audio"])
    text = await waved(heard, await heard.site.login("viewer"), made)
    assert "no audio to draw" in text
    assert "<svg" not in text


async def test_without_script_the_waveform_and_the_player_are_pages(heard: Heard) -> None:
    made = await stored(heard, wav(talk(4)))
    client = await heard.site.login("operator")
    page = await client.get(await heard.path(made, "waveform"))
    assert "<!doctype html>" in page.html
    assert "<svg" in page.html
    page = await client.post(await heard.path(made, "listen"))
    assert "<!doctype html>" in page.html
    assert "<audio controls" in page.html
