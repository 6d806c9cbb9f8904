"""Each state, transition, Catch and time-out of the real definition, on LocalStack's interpreter.

All scenarios run at once, in a fixture; each test looks at one. Known differences from AWS: an
expired heartbeat is reported as States.Timeout, and a used token answers InvalidToken where AWS
says TaskTimedOut.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.aws.definition import catches, rendered, states, successes
from tests.aws.fake_functions import FakeFunctions
from tests.aws.machine import Machine
from tests.aws.scenarios import SCENARIOS

STATES = states(rendered())
# What a used or an expired token is answered with: by AWS, and by servers that stand for it.
SUPERSEDED = {"TaskTimedOut", "TaskDoesNotExist", "InvalidToken"}


@pytest.fixture(scope="module")
def machine(localstack: str) -> Iterator[Machine]:
    """Every scenario, run to its end."""
    with FakeFunctions() as fakes:
        machine = Machine(localstack, fakes)
        machine.run(SCENARIOS)
        yield machine


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_scenario(machine: Machine, name: str) -> None:
    """Its law is in the table."""
    scenario, ran = SCENARIOS[name], machine.ran[name]
    entered = ran.entered()
    assert ran.status == ("SUCCEEDED" if scenario.succeeds else "FAILED"), (entered, ran.cause)
    if not scenario.succeeds:
        assert ran.error == "Abandoned"
        assert ran.cause.startswith(f"{scenario.error}: "), ran.cause
    left = iter(entered)
    missed = [state for state in scenario.way if state not in left]
    assert not missed, (missed, entered)


def test_every_state_is_entered(machine: Machine) -> None:
    entered = {name for ran in machine.ran.values() for name in ran.entered()}
    assert entered == set(STATES)


def test_every_transition_is_taken(machine: Machine) -> None:
    taken = {step for ran in machine.ran.values() for step in ran.transitions()}
    all_of = {step for name, state in STATES.items() for step in successes(name, state)}
    assert all_of - taken == set()


def test_every_catch_catches(machine: Machine) -> None:
    caught = {step for ran in machine.ran.values() for step in ran.caught()}
    all_of = {step for name, state in STATES.items() for step in catches(name, state)}
    assert all_of - caught == set()


def test_every_time_out_is_reached(machine: Machine) -> None:
    """Of a task with a token both: of its heartbeat and of the whole."""
    timed_out = {
        "AcquireGroup": "AcquireGroup-too-slow", "CreateExport": "CreateExport-too-slow",
        "PollAfterSilence": "silence-too-slow", "ReleaseGroup": "ReleaseGroup-too-slow",
        "FetchMetadata": "metadata-too-slow", "Finish": "Finish-too-slow",
        "Abandoned": "incident-too-slow", "WaitForExport": "polled-for-ever",
        "DownloadAudio": "downloads-for-ever",
    }  # fmt: skip
    tasks = {name for name, state in STATES.items() if state["Type"] == "Task"}
    # Handing an event over has no duration of its own that a test could stretch.
    assert set(timed_out) == tasks - {"Replan"}
    for state, scenario in timed_out.items():
        kinds = [event["type"] for event in machine.ran[scenario].history]
        assert {"TaskTimedOut", "LambdaFunctionTimedOut"} & set(kinds), (state, kinds)
    for scenario in ("schedule-lost", "worker-dead"):
        assert "TaskTimedOut" in [e["type"] for e in machine.ran[scenario].history]


def test_a_schedule_says_when_what_and_for_whom(machine: Machine) -> None:
    (held,) = machine.ran["goes-well"].schedules
    assert held["ScheduleExpression"] == "at(2026-11-01T00:01:00)"
    assert held["ScheduleExpressionTimezone"] == "UTC"
    assert held["ActionAfterCompletion"] == "DELETE"
    assert held["FlexibleTimeWindow"] == {"Mode": "OFF"}
    assert held["Target"]["RetryPolicy"]["MaximumRetryAttempts"] <= 10
    assert held["Target"]["DeadLetterConfig"]["Arn"].endswith("schedule-dlq")


def test_the_puller_is_given_what_it_needs(machine: Machine) -> None:
    (held,) = machine.ran["goes-well"].schedules
    given = json.loads(held["Target"]["Input"])
    assert given.keys() == {
        "export_job_id", "task_token", "dialog_group_ids", "ocp_group", "iteration", "job_key",
    }  # fmt: skip
    assert given["job_key"] == "goes-well"
    assert given["ocp_group"] == "group of goes-well"
    assert given["dialog_group_ids"] == ["c-1"]


def test_the_worker_is_given_a_pointer_and_no_list(machine: Machine) -> None:
    (given,) = machine.ran["goes-well"].messages
    assert given.pop("task_token")
    assert given == {
        "job_key": "goes-well", "ocp_group": "group of goes-well", "round": 1,
        "until_ms": 1_700_000_000_000, "dialog_group_ids": {"ref": "job:goes-well"},
    }  # fmt: skip


def test_a_round_is_told_how_both_branches_went(machine: Machine) -> None:
    def branches(name: str) -> object:
        return machine.fakes.events(name, "finish")[0]["branches"]

    assert branches("goes-well") == [
        {"branch": "metadata", "failed": False, "answer": {"calls": 3}},
        {"branch": "audio", "failed": False, "answer": {"stored": 3}},
    ]
    assert branches("nothing-to-fetch") == [
        {"branch": "metadata", "failed": False, "skipped": True},
        {"branch": "audio", "failed": False, "skipped": True},
    ]
    failed = {"branch": "metadata", "failed": True, "error": "ValueError"}
    assert branches("metadata-raises") == [
        failed,
        {"branch": "audio", "failed": False, "answer": {"stored": 3}},
    ]
    assert branches("download-parked") == [
        {"branch": "metadata", "failed": False, "answer": {"calls": 3}},
        {"branch": "audio", "failed": True, "error": "DownloadParked"},
    ]


def test_after_a_silence_no_export_is_made_but_looked_for(machine: Machine) -> None:
    first, second = machine.fakes.events("schedule-lost", "export.create")
    assert "after_silence" not in first
    assert second["after_silence"] is True
    tokens = [s["Target"]["Input"] for s in machine.ran["schedule-lost"].schedules]
    assert len(set(tokens)) == 2


def test_every_function_knows_its_job_and_its_execution(machine: Machine) -> None:
    for name, asked in machine.fakes.asked.items():
        for function, event in asked:
            if function != "detect":
                assert event["job_key"] == name
                assert event["ocp_group"] == f"group of {name}"
                assert event["execution"].endswith(f":{name}")


def test_an_incident_names_the_error(machine: Machine) -> None:
    (told,) = machine.fakes.events("CreateExport-raises", "export.abandon")
    assert told["error"] == "ValueError"
    (told,) = machine.fakes.events("acquire-unknown-word", "export.abandon")
    assert told["error"] == "UnexpectedAnswer"


def test_a_second_callback_is_refused_as_superseded(machine: Machine) -> None:
    machine.again()
    said = [answer for ran in machine.ran.values() for answer in ran.late]
    assert said
    assert set(said) <= SUPERSEDED


def test_detect_is_asked_to_look_at_the_group_again(machine: Machine) -> None:
    asked = [event for _, event in machine.fakes.asked["group of goes-well"]]
    assert {"ocp_group": "group of goes-well"} in asked
