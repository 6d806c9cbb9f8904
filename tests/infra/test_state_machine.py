"""The state machine of the template: bounded everywhere, and with no right that it does not use."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from infra.asl.render import TIMES
from tests.infra.iam import many, policies
from tests.infra.template import Template

HERE = "eu-west-1:111122223333"


@pytest.fixture(scope="module")
def definition(template: Template) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(
        template.one("AWS::StepFunctions::StateMachine")["DefinitionString"]
    )
    return made


def states(definition: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, state in definition["States"].items():
        yield name, state
        for branch in state.get("Branches", ()):
            yield from states(branch)


def test_every_task_ends_some_day(definition: dict[str, Any]) -> None:
    tasks = [(name, s) for name, s in states(definition) if s["Type"] == "Task"]
    assert len(tasks) >= 8
    for name, task in tasks:
        assert isinstance(task["TimeoutSeconds"], int), name
        if task["Resource"].endswith(".waitForTaskToken"):
            assert 0 < task["HeartbeatSeconds"] < task["TimeoutSeconds"], name
            assert task["Catch"], name
    assert definition["TimeoutSeconds"] > TIMES["DownloadTimeoutSeconds"]


def test_a_function_answers_before_its_state_gives_up(
    template: Template, definition: dict[str, Any]
) -> None:
    seconds = {template.attribute(n, "Arn"): f["Timeout"]
               for n, f in template.of_type("AWS::Lambda::Function")}  # fmt: skip
    for name, state in states(definition):
        arguments = state.get("Arguments", {})
        if "FunctionName" in arguments and arguments.get("InvocationType") != "Event":
            assert seconds[arguments["FunctionName"]] < state["TimeoutSeconds"], name


def test_a_poll_is_encrypted_under_our_key(template: Template, definition: dict[str, Any]) -> None:
    arguments = definition["States"]["WaitForExport"]["Arguments"]
    keys = {template.attribute(n, "Arn") for n, _ in template.of_type("AWS::KMS::Key")}
    assert arguments["KmsKeyArn"] in keys
    assert arguments["GroupName"] == template.one("AWS::Scheduler::ScheduleGroup")["Name"]


def test_it_is_a_standard_one_that_logs_everything_but_data(template: Template) -> None:
    made = template.one("AWS::StepFunctions::StateMachine")
    assert made["StateMachineType"] == "STANDARD"  # others can't wait for a token
    logging = made["LoggingConfiguration"]
    assert (logging["Level"], logging["IncludeExecutionData"]) == ("ALL", False)


def test_its_role_may_do_what_the_definition_asks_for_and_nothing_else(
    template: Template, definition: dict[str, Any]
) -> None:
    role = template.one("AWS::StepFunctions::StateMachine")["RoleArn"]
    rights: dict[str, set[str]] = {}
    for statement in policies(template).identity[role]:
        assert statement["Effect"] == "Allow"
        for action in many(statement["Action"]):
            rights.setdefault(action, set()).update(many(statement["Resource"]))
    logs = {action for action in rights if action.startswith("logs:")}
    used = {s["Arguments"]["FunctionName"] for _, s in states(definition)
            if "FunctionName" in s.get("Arguments", {})}  # fmt: skip
    assert rights["lambda:InvokeFunction"] == used
    assert rights["scheduler:CreateSchedule"] == {
        f"arn:aws:scheduler:{HERE}:schedule/ocp-ingest-polls/*"
    }
    assert rights["sqs:SendMessage"] == {f"arn:aws:sqs:{HERE}:ocp-ingest-download"}
    target = definition["States"]["WaitForExport"]["Arguments"]["Target"]
    assert rights["iam:PassRole"] == {target["RoleArn"]}
    assert rights.keys() - logs == {
        "lambda:InvokeFunction", "scheduler:CreateSchedule", "sqs:SendMessage", "iam:PassRole",
        "kms:DescribeKey", "kms:Decrypt", "kms:GenerateDataKey",
    }  # fmt: skip


def test_a_poll_may_invoke_the_puller_and_nothing_else(
    template: Template, definition: dict[str, Any]
) -> None:
    target = definition["States"]["WaitForExport"]["Arguments"]["Target"]
    found = {
        (action, resource)
        for statement in policies(template).identity[target["RoleArn"]]
        for action in many(statement["Action"])
        for resource in many(statement["Resource"])
        if not action.startswith("kms:")
    }
    assert found == {
        ("lambda:InvokeFunction", target["Arn"]),
        ("sqs:SendMessage", target["DeadLetterConfig"]["Arn"]),
    }


def test_only_who_is_handed_a_token_may_answer_it(template: Template) -> None:
    who = {
        role.rpartition("/")[2] for role, statements in policies(template).identity.items()
        if any("states:SendTaskSuccess" in many(s["Action"]) for s in statements)
    }  # fmt: skip
    assert len(who) == 3
    for part in ("TaskRolesWorker", "Rolepuller", "Roledeadletters"):
        assert any(part in name for name in who), part


def test_regular_events_reach_their_functions(template: Template) -> None:
    found = {s["Name"]: s for _, s in template.of_type("AWS::Scheduler::Schedule")}
    assert found["ocp-ingest-sweep"]["ScheduleExpression"] == "rate(30 minutes)"
    assert found["ocp-ingest-sweep"]["Target"]["Arn"].endswith(":ocp-ingest-detect")
    assert json.loads(found["ocp-ingest-recount"]["Target"]["Input"]) == {"recount": True}
    for schedule in found.values():
        assert schedule.get("GroupName", "default") == "default"  # not where polls are
        assert schedule["Target"]["DeadLetterConfig"]["Arn"].endswith("-schedule-dead")
