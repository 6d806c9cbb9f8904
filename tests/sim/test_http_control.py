"""`/_sim`: the ledger, the audio, the status, and changes while running."""

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from ocp_sim import config
from ocp_sim.clock import ScaledClock
from ocp_sim.server import make_app
from ocp_sim.simulator import Simulator
from tests.sim.kit import GROUPS, T0, calm_settings, simulator


@pytest.fixture
def sim() -> Simulator:
    return simulator(calm_settings(shares=config.StreamFaults()))


@pytest.fixture
async def client(sim: Simulator) -> AsyncIterator[Any]:
    async with TestClient(TestServer(make_app(sim), access_log=None)) as ready:
        yield ready


async def ask(client: Any, method: str, path: str, **given: Any) -> tuple[int, Any]:
    async with client.request(method, path, **given) as response:
        return response.status, await response.json()


async def test_the_ledger_comes_in_pages_or_as_lines_and_is_the_same(client: Any) -> None:
    paged: list[Any] = []
    for page in range(3):
        status, body = await ask(client, "GET", f"/_sim/ledger?page={page}&size=25")
        assert (status, body["total"], body["totalPages"], body["page"]) == (200, 60, 3, page)
        paged += body["calls"]
    async with client.get("/_sim/ledger?format=ndjson") as response:
        lines = [json.loads(line) for line in (await response.read()).splitlines()]
    assert lines == paged
    assert {
        "call_id", "ocp_group", "announced", "expected", "expected_without_export", "reason",
        "via", "recording", "faults",
    } <= lines[0].keys()  # fmt: skip
    assert len(lines) == 60


async def test_the_audio_of_a_call_is_there_as_kept_and_as_streamed(
    sim: Simulator, client: Any
) -> None:
    for call in sim.world.calls:
        if call.recording is not None:
            name = call.recording.name
            for path, source in (
                (f"/_sim/audio/{name}", "ocp"),
                (f"/_sim/audio/{name}?source=stream", "stream"),
                (f"/media/stream/{name}", "stream"),
                (f"/media/ocp/{name}", "ocp"),
            ):
                async with client.get(path) as response:
                    assert response.content_type == call.recording.content_type
                    expected = sim.world.audio(name, "ocp" if source == "ocp" else "stream")
                    assert await response.read() == expected


@pytest.mark.parametrize("path", ["/_sim/audio/no.wav", "/media/ocp/no.wav"])
async def test_an_unknown_recording_is_404(client: Any, path: str) -> None:
    assert (await ask(client, "GET", path))[0] == 404


async def test_the_status_tells_the_clock_the_world_the_push_and_the_exports(client: Any) -> None:
    status, body = await ask(client, "GET", "/_sim/status")
    assert status == 200
    assert body["now_ms"] == T0
    assert body["world"]["calls"] == 60
    assert (body["push"]["state"], body["push"]["done"]) == ("idle", False)
    assert body["exports"]["most_running_per_group"] == dict.fromkeys(GROUPS, 0)


async def test_rules_and_faults_change_while_running(sim: Simulator, client: Any) -> None:
    change = {
        "export": {"audio_as": "zip", "watermark_s": 0},
        "export_faults": {"script": [{"op": "list", "fault": "server_error"}]},
        "muted_groups": ["emea-retail"],
        "paused": True,
    }
    assert (await ask(client, "POST", "/_sim/faults", json=change))[0] == 200
    assert sim.platform.rules.audio_as == "zip"
    assert sim.platform.rules.kept_h == 24
    assert sim.pusher.muted_groups == {"emea-retail"}
    path = "/exports-api/v1/groups/emea-retail/exports"
    headers = {"X-OCP-PERSONAL-ACCESS-TOKEN": "sim-pat"}
    assert (await ask(client, "GET", path, headers=headers))[0] >= 500
    _, body = await ask(client, "GET", "/_sim/status")
    assert body["exports"]["faults_fired"] == {"list.server_error": 1}
    assert body["exports"]["answers"] in ({"list.500": 1}, {"list.502": 1}, {"list.503": 1})


@pytest.mark.parametrize("change", [
    {"export": {"audio_as": "tar"}}, {"export": {"no_such_rule": 1}}, {"nonsense": 1},
    {"export_faults": {"chance": {"create.cut": 0.5}}}, {"export_faults": {"chance": {"x": 2}}},
])  # fmt: skip
async def test_a_change_that_makes_no_sense_is_refused_and_changes_nothing(
    sim: Simulator, client: Any, change: dict[str, Any]
) -> None:
    before = (sim.platform.rules, sim.dice)
    status, body = await ask(client, "POST", "/_sim/faults", json=change)
    assert status == 400
    assert body["message"]
    assert (sim.platform.rules, sim.dice) == before


async def test_a_foreign_export_can_be_ordered(sim: Simulator, client: Any) -> None:
    order = {"group": GROUPS[0], "seconds": 60}
    assert (await ask(client, "POST", "/_sim/exports/foreign", json=order))[0] == 200
    assert sim.platform.running(T0, GROUPS[0]) is not None
    order["group"] = "nobody"
    assert (await ask(client, "POST", "/_sim/exports/foreign", json=order))[0] == 404


async def test_a_push_without_a_target_cannot_start(client: Any) -> None:
    status, body = await ask(client, "POST", "/_sim/start")
    assert status == 400
    assert "push.target" in body["message"]


async def test_domain_time_goes_on_at_the_pace_that_is_asked_for() -> None:
    clock = ScaledClock(T0, 3600.0, time.time())
    async with TestClient(TestServer(make_app(simulator(clock=clock)), access_log=None)) as client:
        status, said = await ask(client, "POST", "/_sim/clock", json={"scale": 0.001})
        assert (status, said["scale"], clock.scale) == (200, 0.001, 0.001)
        assert clock.now_ms() - said["now_ms"] < 1000
        for scale in (0, -1):
            status, _ = await ask(client, "POST", "/_sim/clock", json={"scale": scale})
            assert status == 400


async def test_a_clock_that_is_not_scaled_keeps_its_pace(client: Any) -> None:
    status, _ = await ask(client, "POST", "/_sim/clock", json={"scale": 2})
    assert status == 409
