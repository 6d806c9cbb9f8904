"""The same seed is the same world, and a world keeps its promises."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_sim import config
from ocp_sim.world import World, build_world
from tests.sim.kit import GROUPS, HOUR, T0, FakeRenderer, faults, small_world

NAME = re.compile(r"([0-9a-f.]+)~([0-9]+)~([0-9]{13})~([0-9a-f.]+)\.(wav|mp3)")


@pytest.fixture(scope="module")
def world() -> World:
    return small_world(calls=100)


def test_the_same_seed_gives_the_same_calls_and_the_same_audio(world: World) -> None:
    again = small_world(calls=100)
    assert again.calls == world.calls
    assert [again.audio(n) for n in again.recordings] == [world.audio(n) for n in world.recordings]


def test_another_seed_gives_other_calls(world: World) -> None:
    other = small_world(calls=100, seed=2)
    assert not {c.call_id for c in other.calls} & {c.call_id for c in world.calls}


def test_a_fault_changes_no_other_call(world: World) -> None:
    """What is drawn for one call does not depend on what befalls another."""
    worse = small_world(calls=100, lost=0.2, too_short=0.1)
    for before, after in zip(world.calls, worse.calls, strict=True):
        if before.shapes == after.shapes and not after.faults:
            assert before == after


def test_calls_spread_over_the_span_in_order_and_end_within_it(world: World) -> None:
    starts = [call.start_ms for call in world.calls]
    assert starts == sorted(starts)
    assert starts[0] >= T0
    assert world.end_ms <= T0 + 10 * HOUR
    assert {int((start - T0) // HOUR) for start in starts} == set(range(10))


def test_every_group_and_app_has_calls(world: World) -> None:
    assert {call.ocp_group for call in world.calls} == set(GROUPS)
    assert {call.app for call in world.calls} == {
        "banking-voice", "cards-voice", "insurance-voice"
    }  # fmt: skip


def test_a_recording_name_says_group_account_start_and_dialog(world: World) -> None:
    for call in world.calls:
        assert call.recording is not None
        match = NAME.fullmatch(call.recording.name)
        assert match is not None
        group, account, time, dialog, extension = match.groups()
        assert (group, dialog) == (call.call_id, call.recording.dialog_id)
        assert (account, int(time)) == (call.account_id, call.start_ms)
        assert (extension == "mp3") == (call.recording.sound.codec == "mp3")


def test_a_recording_is_as_long_as_its_call(world: World) -> None:
    for call in world.calls:
        assert call.recording is not None
        assert call.recording.sound.duration_ms == call.duration_ms


def test_a_trimmed_recording_is_shorter_and_still_over_a_fifth_of_the_call() -> None:
    world = small_world(trimmed=0.2)
    trimmed = [call for call in world.calls if "trimmed" in call.faults]
    assert trimmed
    for call in trimmed:
        assert call.recording is not None
        assert 0.2 * call.duration_ms < len(world.audio(call.recording.name)) < call.duration_ms


def test_only_tests_and_too_short_calls_have_no_recording() -> None:
    world = small_world(test_call=0.1, too_short=0.1, lost=0.1)
    for call in world.calls:
        assert (call.recording is None) == bool(call.faults & {"test_call", "too_short"})
        assert (call.duration_ms < 2000) == ("too_short" in call.faults)


def test_the_stream_may_carry_other_bytes_than_ocp_keeps() -> None:
    world = small_world(corrupt_stream=0.1, corrupt_at_ocp=0.1, error_body=0.1, lost=0.1)
    for call in world.calls:
        assert call.recording is not None
        kept, sent = (world.audio(call.recording.name, source) for source in ("ocp", "stream"))
        spoilt = bool(call.faults & {"corrupt_stream", "error_body"})
        assert (kept != sent) == spoilt
        assert kept.startswith(b"<") == ("corrupt_at_ocp" in call.faults)
        assert sent.startswith(b"<error_") == ("error_body" in call.faults)


def test_a_recording_broken_at_ocp_is_never_just_empty() -> None:
    """A receiver may refuse an empty body at the door: it would never be judged."""
    world = small_world(calls=200, corrupt_at_ocp=0.5)
    broken = [call.recording for call in world.calls if "corrupt_at_ocp" in call.faults]
    assert len(broken) == 100
    for recording in broken:
        assert recording is not None
        assert not world.audio(recording.name).startswith(b"<zero_bytes")


def test_audio_is_kept_within_its_bound_and_rendered_again_alike() -> None:
    renderer = FakeRenderer()
    settings = config.World(faults=faults(), duration_s=(300, 400), cache_mib=1)
    world = build_world(1, 20, settings, renderer=lambda: renderer)
    first = {name: world.audio(name) for name in world.recordings}
    assert sum(map(len, first.values())) > 2**20
    assert sum(map(len, world.sounds._cache.values())) <= 2**20
    assert renderer.rendered == 20
    assert {name: world.audio(name) for name in world.recordings} == first
    assert renderer.rendered > 20


def test_size_and_checksum_are_known_without_rendering_twice() -> None:
    renderer = FakeRenderer()
    world = build_world(1, 5, config.World(faults=faults()), renderer=lambda: renderer)
    for recording in world.recordings.values():
        assert world.sounds.facts(recording, "ocp") == world.sounds.facts(recording, "stream")
    assert renderer.rendered == 5


def test_building_a_world_renders_nothing() -> None:
    renderer = FakeRenderer()
    build_world(1, 50, config.World(), renderer=lambda: renderer)
    assert renderer.rendered == 0


def test_real_speech_is_rendered_trimmed_and_spoilt_in_every_way_a_world_asks_for() -> None:
    shares = faults(trimmed=0.2, corrupt_stream=0.2, corrupt_at_ocp=0.2, error_body=0.2)
    settings = config.World(faults=shares, duration_s=(2, 4), shapes=config.Shapes(mp3=0.5))
    world = build_world(3, 50, settings)
    for call in world.calls:
        assert call.recording is not None
        kept, sent = (world.audio(call.recording.name, source) for source in ("ocp", "stream"))
        assert (kept == sent) != bool(call.faults & {"corrupt_stream", "error_body"})
        if "corrupt_at_ocp" not in call.faults:
            assert kept[:4] == b"RIFF" or call.recording.name.endswith(".mp3")
            expected_ms = call.duration_ms * (1 - (call.recording.trim_share or 0))
            assert wav_ms(kept) in (None, pytest.approx(expected_ms, abs=2))


def wav_ms(data: bytes) -> float | None:
    """Length of a WAV by its header, None for anything else."""
    if data[:4] != b"RIFF":
        return None
    bytes_per_s = int.from_bytes(data[28:32], "little")
    return int.from_bytes(data[data.index(b"data") + 4 :][:4], "little") / bytes_per_s * 1000


@given(st.integers(0, 40), st.integers(0, 10**6))
def test_any_number_of_calls_makes_a_world_with_distinct_ids(calls: int, seed: int) -> None:
    world = build_world(seed, calls, config.World(), renderer=FakeRenderer)
    assert len({call.call_id for call in world.calls}) == calls
    dialogs = [
        c.body["id"] for x in world.calls for c in x.cdrs if c.message_type == "dialog_start"
    ]
    assert len(set(dialogs)) == len(dialogs)
