"""CDRs are shaped as OCP's are known to be, field by field."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ocp_sim.model import Call
from ocp_sim.world import World
from tests.sim.kit import small_world

GOLDEN = Path(__file__).parent / "golden"
ID = re.compile(r"[0-9a-f]{40}\.[0-9]{13}\.[0-9a-f]{32}")
START_FIELDS = {
    "message_type", "id", "group", "time", "origin_uri", "hashed_origin_uri", "destination_uri",
    "connection_id", "channel", "device_type", "direction", "test_flag",
    "incoming_attached_data", "app", "asr", "diamant", "flow", "session_id", "locale",
}  # fmt: skip
END_FIELDS = {
    "message_type", "id", "group", "session_id", "time", "duration", "end_type", "events", "kvps",
    "app", "diamant", "flow", "channel", "test_flag",
}  # fmt: skip
FLOW_FIELDS = {
    "id", "account_id", "name", "type", "diamant_app_name", "uuid", "organization", "reportable",
    "parent_name", "parent_id", "parent_step", "root_step", "path", "path_app_ids",
    "ocp_organization_id",
}  # fmt: skip


@pytest.fixture(scope="module")
def world() -> World:
    return small_world(calls=80, test_call=0.05)


def bodies(world: World, message_type: str) -> list[tuple[Call, Any]]:
    found = [
        (call, cdr.body)
        for call in world.calls
        for cdr in call.cdrs
        if cdr.message_type == message_type
    ]
    assert found, f"no {message_type} in this world"
    return found


@pytest.mark.parametrize("message_type", ["dialog_start", "dialog_step", "dialog_end", "ivr_end"])
def test_a_known_call_gives_the_golden_cdr(message_type: str, world: World) -> None:
    golden = json.loads((GOLDEN / f"{message_type}.json").read_text())
    assert bodies(world, message_type)[0][1] == golden


def test_every_dialog_start_has_exactly_the_documented_fields(world: World) -> None:
    for _, body in bodies(world, "dialog_start"):
        assert body.keys() == START_FIELDS
        assert body["flow"].keys() - {"ocp_group_name"} == FLOW_FIELDS


def test_every_dialog_end_has_exactly_the_observed_fields(world: World) -> None:
    for _, body in bodies(world, "dialog_end"):
        assert body.keys() == END_FIELDS
        assert isinstance(body["events"], str)
        assert [set(pair) for pair in body["kvps"]] == [{"key", "value", "step"}] * 4


def test_the_root_dialog_is_the_group(world: World) -> None:
    for call, body in bodies(world, "dialog_start"):
        root = body["id"] == body["group"]
        assert root == (body["flow"]["type"] == "Flow" and body["flow"]["parent_step"] == 0)
        assert body["group"] == call.call_id


def test_a_child_dialog_is_a_mini_app_of_the_same_session(world: World) -> None:
    sessions = {body["group"]: body["session_id"] for _, body in bodies(world, "dialog_start")}
    children = [b for _, b in bodies(world, "dialog_start") if b["id"] != b["group"]]
    assert children
    for body in children:
        assert body["flow"]["diamant_app_name"] == "MiniApps"
        assert body["flow"]["parent_step"] > 0
        assert body["session_id"] == sessions[body["group"]]


def test_every_start_has_its_end_with_the_same_id_and_the_same_time(world: World) -> None:
    starts = {body["id"]: body["time"] for _, body in bodies(world, "dialog_start")}
    ends = {body["id"]: body["time"] for _, body in bodies(world, "dialog_end")}
    assert starts == ends


def test_the_end_of_the_root_tells_how_long_the_call_was_and_how_it_ended(world: World) -> None:
    for call, body in bodies(world, "dialog_end"):
        if body["id"] == body["group"]:
            assert (body["time"], body["duration"]) == (call.start_ms, call.duration_ms)
            assert body["end_type"] == call.end_type
            assert (call.end_type == "TRANSFER") == ("transfer" in call.shapes)


def test_ids_have_the_dotted_form_and_tell_the_start_of_their_dialog(world: World) -> None:
    for _, body in bodies(world, "dialog_start"):
        assert ID.fullmatch(body["id"])
        assert int(body["id"].split(".")[1]) == body["time"]


def test_missing_values_are_the_word_undefined_or_empty(world: World) -> None:
    for call, body in bodies(world, "dialog_start"):
        assert (body["origin_uri"] == "undefined") == ("hidden_number" in call.shapes)
        assert (body["hashed_origin_uri"] == "") == ("hidden_number" in call.shapes)
    assert "undefined" in {body["connection_id"] for _, body in bodies(world, "dialog_start")}


def test_the_tenant_group_is_named_unless_the_call_is_of_those_that_lack_it(world: World) -> None:
    for call, body in bodies(world, "dialog_start"):
        named = None if "nameless_group" in call.shapes else call.ocp_group
        assert body["flow"].get("ocp_group_name") == named


def test_the_test_flag_marks_test_calls_alone(world: World) -> None:
    flagged = {call.call_id for call, body in bodies(world, "dialog_start") if body["test_flag"]}
    assert flagged == {call.call_id for call in world.calls if "test_call" in call.faults}
    assert flagged


def test_a_sensitive_step_hides_what_was_said_and_is_muted_in_the_recording(world: World) -> None:
    found = 0
    for call, body in bodies(world, "dialog_step"):
        entity = body["nlu"]["semantic_interpretation"][0]["entities"][0]
        if entity["sensitivity_level"] == "HIGH":
            found += 1
            assert body["transcription"] == ""
            assert call.recording is not None
            muted_from = [start for start, _ in call.recording.sound.mutes]
            assert body["time"] - call.start_ms in muted_from
    assert found


def test_steps_are_lists_of_events_in_order_of_time(world: World) -> None:
    for call in world.calls:
        steps = [cdr.body for cdr in call.cdrs if cdr.message_type == "dialog_step"]
        assert [s["time"] for s in steps] == sorted(s["time"] for s in steps)
        assert all(isinstance(step["events"], list) for step in steps)


def test_ivr_end_tells_when_the_automated_part_ended(world: World) -> None:
    statuses = {"TRANSFER": "transferred", "FAR_HUP": "abandoned"}
    for call, body in bodies(world, "ivr_end"):
        assert body["time"] == call.end_ms
        assert body["exit_status"] == statuses.get(call.end_type, "completed")


def test_no_phone_number_is_one_that_anybody_has(world: World) -> None:
    for _, body in bodies(world, "dialog_start"):
        assert re.fullmatch(r"undefined|447700900\d{3}|120255501\d{2}", body["origin_uri"])
