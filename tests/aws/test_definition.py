"""Laws of the state machine's definition that no emulator checks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from infra.asl.render import FILE, render
from tests.aws.definition import (
    NUMBERS,
    TEXTS,
    TIMES,
    State,
    catches,
    rendered,
    scopes,
    states,
    successes,
)
from tests.aws.servers.fetch import ROOT
from tests.aws.servers.provision import NOT_MADE

DEFINITION = rendered()
STATES = states(DEFINITION)
TASKS = {name: state for name, state in STATES.items() if state["Type"] == "Task"}
TERMINAL = {"Succeed", "Fail"}
# Step Functions refuses a longer definition: 1 MB (service quotas).
BYTES_MAX = 1024 * 1024


def strings(node: Any) -> Iterator[str]:
    """Every string below a node, keys and comments left out."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key != "Comment":
                yield from strings(value)
    elif isinstance(node, list):
        for value in node:
            yield from strings(value)
    elif isinstance(node, str):
        yield node


def test_every_next_names_a_state_of_the_same_scope() -> None:
    for scope in scopes(DEFINITION):
        for name, state in scope.items():
            for _, to in successes(name, state) | catches(name, state):
                assert to in scope, f"{name} goes to {to}, which is not there"


def test_every_state_can_be_reached() -> None:
    for part in [DEFINITION, *(b for s in STATES.values() for b in s.get("Branches", ()))]:
        reached, frontier = set(), {part["StartAt"]}
        while frontier:
            name = frontier.pop()
            reached.add(name)
            state = part["States"][name]
            leads = successes(name, state) | catches(name, state)
            frontier |= {to for _, to in leads} - reached
        assert reached == set(part["States"])


def test_names_are_unique_so_that_a_history_is_unambiguous() -> None:
    assert sum(len(scope) for scope in scopes(DEFINITION)) == len(STATES)


def test_every_state_goes_on_or_ends() -> None:
    for name, state in STATES.items():
        ways = ("Next" in state) + ("End" in state) + ("Choices" in state)
        assert ways == (0 if state["Type"] in TERMINAL else 1), name


def test_only_the_types_that_hold_no_logic_are_used() -> None:
    allowed = {"Task", "Choice", "Parallel", "Map", "Wait", "Pass", *TERMINAL}
    assert {state["Type"] for state in STATES.values()} <= allowed


@pytest.mark.parametrize("name", sorted(TASKS))
def test_every_task_is_bounded_in_time(name: str) -> None:
    assert 0 < TASKS[name]["TimeoutSeconds"] < DEFINITION["TimeoutSeconds"]


@pytest.mark.parametrize("name", sorted(TASKS))
def test_whoever_holds_a_token_has_to_show_that_he_lives(name: str) -> None:
    task = TASKS[name]
    if task["Resource"].endswith(".waitForTaskToken"):
        assert 0 < task["HeartbeatSeconds"] < task["TimeoutSeconds"]
        assert "$states.context.Task.Token" in json.dumps(task["Arguments"])
    else:
        assert "HeartbeatSeconds" not in task


@pytest.mark.parametrize("name", sorted(TASKS))
def test_no_task_fails_without_being_caught(name: str) -> None:
    catch = TASKS[name]["Catch"]
    assert catch[-1]["ErrorEquals"] == ["States.ALL"], "the last Catch takes what is left"
    assert all("States.ALL" not in c["ErrorEquals"] for c in catch[:-1])


def test_no_branch_of_a_parallel_fails_the_other() -> None:
    """An uncaught error in one branch stops the others, whose workers go on without knowing."""
    branches = [b for state in STATES.values() for b in state.get("Branches", ())]
    assert branches
    for branch in branches:
        for name, state in branch["States"].items():
            if state["Type"] == "Task":
                ends = {to for _, to in catches(name, state)}
                assert ends, name
                assert all(branch["States"][to].get("End") for to in ends)


@pytest.mark.parametrize("name", sorted(TASKS))
def test_retries_are_bounded_and_jittered(name: str) -> None:
    for retry in TASKS[name]["Retry"]:
        assert 1 <= retry["MaxAttempts"] <= 8
        assert retry["MaxDelaySeconds"] <= 60
        assert retry["JitterStrategy"] == "FULL"
        assert "States.ALL" not in retry["ErrorEquals"], "what is unknown is not done again"


@pytest.mark.parametrize(
    "name", sorted(n for n, t in TASKS.items() if "lambda:invoke" in t["Resource"])
)
def test_a_function_that_dies_is_invoked_again(name: str) -> None:
    taken = {error for retry in TASKS[name]["Retry"] for error in retry["ErrorEquals"]}
    lost = {"Lambda.ServiceException", "Lambda.SdkClientException",
            "Lambda.TooManyRequestsException"}  # fmt: skip
    died = {"Lambda.Unknown", "Runtime.ExitError", "Sandbox.Timedout", "Transient"}
    # Nobody waits for what is invoked asynchronously, so only handing it over can fail.
    event = TASKS[name]["Arguments"].get("InvocationType") == "Event"
    assert taken >= (lost if event else lost | died)


@pytest.mark.parametrize(
    "name", sorted(n for n, s in STATES.items() if s["Type"] == "Choice" and "Default" in s)
)
def test_a_word_that_nobody_knows_ends_in_an_incident(name: str) -> None:
    if not name.endswith("Wanted"):
        assert STATES[name]["Default"] == "Abandoned"


def test_no_choice_can_fail_for_want_of_a_default() -> None:
    """States.NoChoiceMatched can't be caught."""
    assert all("Default" in s for s in STATES.values() if s["Type"] == "Choice")


@pytest.mark.parametrize("name", sorted(n for n, s in STATES.items() if s["Type"] == "Wait"))
def test_a_wait_is_entered_only_with_a_number_of_seconds(name: str) -> None:
    """A Wait has no Catch: a bad number there would end the execution without an incident."""
    leads = [
        choice["Condition"]
        for state in STATES.values()
        for choice in state.get("Choices", ())
        if choice["Next"] == name
    ]
    assert leads
    for condition in leads:
        assert "$type($states.input.wait_s) = 'number'" in condition
        assert "$states.input.wait_s >= 1" in condition


# What travels in a state is bounded: 256 KiB. Names of lists of calls never appear; the one list
# that a message names is either one call or a pointer, as the function gave it.
_LISTS = re.compile(r"\b(calls|call_ids|wanted|manifest|files|results|dialog_ids)\b")


def test_no_state_carries_a_list_of_calls() -> None:
    for name, state in STATES.items():
        for text in strings(state):
            assert not _LISTS.search(text), f"{name}: {text}"


def test_every_expression_is_jsonata_and_nothing_else() -> None:
    assert DEFINITION["QueryLanguage"] == "JSONata"
    paths = {"Parameters", "ResultPath", "InputPath", "OutputPath", "ResultSelector",
             "SecondsPath", "Variable"}  # fmt: skip
    for name, state in STATES.items():
        assert not paths & state.keys(), name
        for text in strings(state):
            assert ("$states" in text) == (text.startswith("{% ") and text.endswith(" %}")), text


def test_it_fits() -> None:
    assert len(json.dumps(DEFINITION)) < BYTES_MAX


# -- the deployment of the tests -----------------------------------------------------------------


def test_the_docs_name_all_that_the_test_deployment_leaves_out() -> None:
    page = (ROOT / "docs" / "reference" / "aws-not-proved.md").read_text("utf-8")
    said = set(re.findall(r"`(AWS::\w+::)`", page))
    assert said == {re.sub(r"(AWS::\w+::).*", r"\1", kind) for kind in NOT_MADE}


# -- render --------------------------------------------------------------------------------------


def test_each_placeholder_of_the_file_is_declared_and_each_declared_one_is_used() -> None:
    used = set(re.findall(r"\$\{([A-Za-z]+)\}", FILE.read_text("utf-8")))
    assert used == TEXTS | NUMBERS


def test_nothing_is_left_to_fill_in() -> None:
    assert "${" not in json.dumps(DEFINITION)


def test_numbers_become_numbers_and_values_are_not_filled_in_again() -> None:
    definition = rendered(ScheduleGroup="${Token[TOKEN.7]}", ExportHeartbeatSeconds=7)
    wait: State = states(definition)["WaitForExport"]
    assert wait["HeartbeatSeconds"] == 7
    assert wait["Arguments"]["GroupName"] == "${Token[TOKEN.7]}"


GIVEN: dict[str, str | int] = {name: name for name in TEXTS} | dict(TIMES)


@pytest.mark.parametrize("name", sorted(TEXTS | NUMBERS))
def test_a_value_that_is_missing_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        render({key: value for key, value in GIVEN.items() if key != name})


@pytest.mark.parametrize(
    ("name", "value"),
    [("Partitoin", "aws"), ("Partition", 7), ("Partition", ""), ("ExportTimeoutSeconds", "60"),
     ("ExportTimeoutSeconds", 0), ("ExportTimeoutSeconds", True)],
)  # fmt: skip
def test_a_value_that_is_unknown_or_of_another_type_is_named(name: str, value: str | int) -> None:
    with pytest.raises(ValueError, match=name):
        render(GIVEN | {name: value})
