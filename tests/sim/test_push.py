"""The stream arrives whole at a receiver that fails at will: at least once, bounded, explained."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp.test_utils import TestServer
from msgspec.structs import replace

from ocp_sim import config
from ocp_sim.clock import ScaledClock
from ocp_sim.server import make_app
from ocp_sim.simulator import Simulator
from tests.sim.kit import T0, Receiver, calm_settings, simulator, until

FAST = 100_000  # a day in less than a second
Fault = Callable[[int], tuple[int, dict[str, str]] | None]


@asynccontextmanager
async def pushing(
    fault: Fault | None = None,
    shares: config.StreamFaults = config.CALM,
    scale: float = FAST,
    start: bool = True,
    calls: int = 50,
    **push: Any,
) -> AsyncIterator[tuple[Simulator, Receiver]]:
    """A simulator that pushes to a receiver, both over real sockets."""
    receiver = Receiver(fault)
    async with receiver.server:
        clock = ScaledClock(T0, scale, time.time())
        settings = calm_settings(shares=shares, push=receiver.push(**push), calls=calls)
        sim = simulator(settings, clock=clock)
        async with TestServer(make_app(sim), access_log=None) as server:
            sim.public_url = str(server.make_url("")).rstrip("/")
            if start:
                sim.pusher.start()
            yield sim, receiver


async def finished(sim: Simulator) -> None:
    async with asyncio.timeout(20):
        await sim.pusher.wait()


def sent_events(sim: Simulator) -> set[str]:
    return {str(dict(cdr.body)) for call in sim.world.calls for cdr in call.cdrs}


def sent_recordings(sim: Simulator) -> set[tuple[str, str, str]]:
    return {
        (call.recording.name, sim.world.sounds.facts(call.recording, "stream").sha256, group)
        for call in sim.world.calls
        if call.recording and not call.faults & {"lost", "nothing"}
        for group in [call.ocp_group]
    }


def assert_all_arrived(sim: Simulator, receiver: Receiver) -> None:
    assert {str(event) for event in receiver.events} == sent_events(sim)
    assert set(receiver.recordings) == sent_recordings(sim)


async def test_every_event_and_recording_arrives_once_on_a_calm_day() -> None:
    async with pushing() as (sim, receiver):
        await finished(sim)
        assert_all_arrived(sim, receiver)
        assert len(receiver.recordings) == len(sim.world.recordings)
        shown = sim.pusher.shown()
        assert (shown["state"], shown["done"]) == ("done", True)
        assert shown["delivered"] == shown["total"] == shown["tries"]
        assert len(receiver.tokens) == 1


async def test_each_form_of_delivery_carries_the_right_bytes() -> None:
    for form in config.Push().audio_forms:
        async with pushing(audio_forms={form: 1.0}, calls=10) as (sim, receiver):
            await finished(sim)
            assert set(receiver.recordings) == sent_recordings(sim)


async def test_each_form_of_events_says_the_same() -> None:
    for form in config.Push().event_forms:
        async with pushing(event_forms={form: 1.0}, calls=10) as (sim, receiver):
            await finished(sim)
            assert {str(event) for event in receiver.events} == sent_events(sim)
            packed = {header.get("Content-Encoding") for header in receiver.headers} - {None}
            assert packed == ({"gzip"} if form.endswith("gzip") else set())


async def test_a_receiver_that_fails_half_the_time_gets_everything() -> None:
    faults: dict[int, tuple[int, dict[str, str]]] = {
        1: (503, {}), 3: (500, {}), 5: (0, {}), 7: (429, {"Retry-After": "0"}),
    }  # fmt: skip
    async with pushing(lambda tries: faults.get(tries % 8)) as (sim, receiver):
        await finished(sim)
        assert_all_arrived(sim, receiver)
        shown = sim.pusher.shown()
        assert shown["given_up"] == shown["refused"] == shown["retrying"] == shown["waiting"] == 0
        assert shown["tries"] > 1.5 * shown["total"]
        assert shown["statuses"].keys() == {"202", "429", "500", "503", "no_answer"}


async def test_retry_after_is_waited_for_in_real_seconds() -> None:
    first: list[float] = []

    def fault(tries: int) -> tuple[int, dict[str, str]] | None:
        first.append(time.monotonic())
        return (503, {"Retry-After": "1"}) if tries == 1 else None

    async with pushing(fault, calls=1, concurrency=1) as (sim, _):
        await finished(sim)
        shown = sim.pusher.shown()
        assert shown["statuses"]["503"] == 1
        assert first[-1] - first[0] >= 1


async def test_a_refusal_is_final_and_told() -> None:
    async with pushing(lambda tries: (409, {}) if tries == 1 else None, calls=5) as (sim, _):
        await finished(sim)
        shown = sim.pusher.shown()
        assert (shown["refused"], shown["delivered"]) == (1, shown["total"] - 1)
        assert [p["status"] for p in shown["problems"]] == [409]
        assert shown["done"]


async def test_what_never_gets_through_is_given_up_after_the_window() -> None:
    async with pushing(lambda _: (503, {}), calls=2, retry_window_real_s_min=0.3) as (
        sim,
        receiver,
    ):
        await finished(sim)
        shown = sim.pusher.shown()
        assert shown["given_up"] == shown["total"]
        assert shown["tries"] > shown["total"]
        assert receiver.events == []


async def test_a_bad_token_is_refused_once_and_then_replaced() -> None:
    shares = replace(config.CALM, bad_token=0.2)
    async with pushing(shares=shares) as (sim, receiver):
        await finished(sim)
        assert_all_arrived(sim, receiver)
        assert sim.pusher.shown()["statuses"]["401"] == 10


async def test_a_token_that_the_receiver_forgets_is_fetched_anew() -> None:
    async with pushing(start=False) as (sim, receiver):
        sim.pusher.start()
        await until(lambda: sim.pusher.progress.delivered > 10)
        receiver.tokens.clear()
        receiver.tokens.add("keeps the numbers apart")
        await finished(sim)
        assert_all_arrived(sim, receiver)
        assert sim.pusher.shown()["statuses"]["401"] >= 1


async def test_a_token_is_renewed_before_it_expires() -> None:
    async with pushing(token_margin_s=0) as (sim, receiver):
        receiver.token_life_s = 0
        await finished(sim)
        assert_all_arrived(sim, receiver)
        assert len(receiver.tokens) == sim.pusher.shown()["tries"]
        assert "401" not in sim.pusher.shown()["statuses"]


async def test_an_upload_cut_in_the_middle_comes_again_whole() -> None:
    shares = replace(config.CALM, cut_upload=0.2)
    forms = {"raw": 0.5, "multipart": 0.25, "base64": 0.25}
    async with pushing(shares=shares, audio_forms=forms) as (sim, receiver):
        await finished(sim)
        assert set(receiver.recordings) == sent_recordings(sim)
        assert sim.pusher.shown()["statuses"]["no_answer"] == 10


async def test_a_bad_day_delivers_what_the_ledger_counts_on() -> None:
    async with pushing(shares=config.StreamFaults(), calls=100) as (sim, receiver):
        await finished(sim)
        names = {name for name, _, _ in receiver.recordings}
        for call in sim.world.calls:
            if call.recording is not None:
                silent = call.faults & {"lost", "nothing", "wrong_call_id"}
                assert (call.recording.name in names) != bool(silent)
        told = {str(event["group"]) for event in receiver.events}
        assert told == {c.call_id for c in sim.world.calls if "nothing" not in c.faults}


async def test_nothing_is_pushed_before_its_time() -> None:
    async with pushing(scale=1000, calls=50) as (sim, receiver):
        await until(lambda: len(receiver.events) > 3)
        now_ms = sim.clock.now_ms()
        assert all(event["time"] <= now_ms for event in receiver.events)
        assert sim.pusher.shown()["waiting"] > 0


async def test_a_muted_group_is_silent_and_the_rest_goes_on() -> None:
    async with pushing(start=False) as (sim, receiver):
        sim.pusher.muted_groups = frozenset({"emea-retail"})
        sim.pusher.start()
        await finished(sim)
        assert {group for _, _, group in receiver.recordings} == {"latam-retail"}
        shown = sim.pusher.shown()
        assert shown["dropped"] + shown["delivered"] == shown["total"]


async def test_a_group_may_fall_silent_while_its_pushes_are_being_retried() -> None:
    async with pushing(lambda _: (503, {}), calls=4) as (sim, _):
        await until(lambda: sim.pusher.progress.retrying > 3)
        sim.pusher.muted_groups = frozenset({"emea-retail", "latam-retail"})
        await finished(sim)
        shown = sim.pusher.shown()
        assert (shown["dropped"], shown["retrying"], shown["waiting"]) == (shown["total"], 0, 0)


async def test_a_pause_holds_everything_back_until_it_ends() -> None:
    async with pushing(start=False, calls=10) as (sim, receiver):
        sim.pusher.pause(True)
        sim.pusher.start()
        await asyncio.sleep(0.3)
        assert (receiver.tries, sim.pusher.state) == (0, "paused")
        sim.pusher.pause(False)
        await finished(sim)
        assert_all_arrived(sim, receiver)


async def test_a_receiver_that_is_not_there_yet_gets_everything_once_it_is() -> None:
    down = True
    async with pushing(lambda _: (0, {}) if down else None, calls=10) as (sim, receiver):
        await until(lambda: sim.pusher.progress.tries > 20)
        down = False
        await finished(sim)
        assert_all_arrived(sim, receiver)


async def test_no_more_pushes_are_under_way_than_allowed() -> None:
    most, now = 0, 0

    async with pushing(start=False, concurrency=3) as (sim, receiver):
        take = receiver._take_events

        async def slow(request: Any, body: bytes) -> None:
            nonlocal most, now
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.01)
            await take(request, body)
            now -= 1

        receiver._take_events = slow  # type: ignore[method-assign]
        sim.pusher.start()
        await finished(sim)
    assert 2 <= most <= 3


async def test_a_push_begins_once() -> None:
    async with pushing(calls=1) as (sim, _):
        with pytest.raises(RuntimeError, match="already begun"):
            sim.pusher.start()
