"""Runs the real definition on LocalStack's interpreter: functions, puller and worker are ours.

The schedules that the machine sets never fire there; the driver reads them, as it reads the
download queue, and does with each token what its scenario says.
"""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Final

import botocore.exceptions

from tests.aws.clients import client
from tests.aws.definition import rendered, shortened
from tests.aws.fake_functions import Answer, FakeFunctions
from tests.aws.scenarios import POLL, BeatsOnly, Does, Failure, Scenario, Silence, Success
from tests.aws.servers.launch import ACCOUNT, REGION

FUNCTIONS: Final = ("export", "metadata", "finish", "detect", "puller")
GROUP: Final = "machine-tests"
# Long enough for a loaded machine; scenarios that want a time-out set their own.
TIMES: Final[dict[str, str | int]] = {
    "ExportHeartbeatSeconds": 60, "ExportTimeoutSeconds": 120,
    "DownloadHeartbeatSeconds": 60, "DownloadTimeoutSeconds": 120,
}  # fmt: skip
# All scenarios run at once; seconds.
RUN_S_MAX: Final = 240
_BEAT_S: Final = 0.7
_LOOK_S: Final = 1.0
_AT_ONCE: Final = 12


@dataclass(slots=True)
class Ran:
    """What an execution left behind."""

    status: str
    output: dict[str, Any]
    error: str
    cause: str
    history: list[dict[str, Any]]
    # What was in each schedule and in each message, in order.
    schedules: list[dict[str, Any]] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    # What AWS said to a second callback with a used token.
    late: list[str] = field(default_factory=list)

    def entered(self) -> list[str]:
        """The states, in the order in which they were entered."""
        return [e["stateEnteredEventDetails"]["name"] for e in self.history
                if "stateEnteredEventDetails" in e]  # fmt: skip

    def transitions(self) -> set[tuple[str, str]]:
        """(state, next state), by the chain of events that led to each entry."""
        return {(name, to) for name, to, _ in self._steps()}

    def caught(self) -> set[tuple[str, str]]:
        """Those of the transitions that followed a failure."""
        return {(name, to) for name, to, failed in self._steps() if failed}

    def _steps(self) -> list[tuple[str, str, bool]]:
        by_id = {event["id"]: event for event in self.history}
        found = []
        for event in self.history:
            if "stateEnteredEventDetails" not in event:
                continue
            before = by_id.get(event.get("previousEventId", 0), {})
            if "stateExitedEventDetails" in before:
                cause = by_id.get(before.get("previousEventId", 0), {}).get("type", "")
                failed = cause.endswith(("Failed", "TimedOut"))
                left = before["stateExitedEventDetails"]["name"]
                found.append((left, event["stateEnteredEventDetails"]["name"], failed))
        return found


class Machine:
    """One LocalStack with everything that the definition names."""

    def __init__(self, url: str, fakes: FakeFunctions) -> None:
        self.url = url
        self.fakes = fakes
        self.states = client("stepfunctions", url)
        self.scheduler = client("scheduler", url)
        self.sqs = client("sqs", url)
        self._holding: dict[str, float] = {}  # tokens that are only kept alive, and their last beat
        self._used: list[tuple[str, str]] = []
        self._machines: dict[str, str] = {}
        self._looked = 0.0
        self._told: dict[tuple[str, str], int] = defaultdict(int)
        self._handled: set[tuple[str, str]] = set()
        self.ran: dict[str, Ran] = {}
        self._notes: dict[str, Ran] = defaultdict(lambda: Ran("", {}, "", "", []))
        self._create()

    def _create(self) -> None:
        functions = client("lambda", self.url)
        code = io.BytesIO()
        with zipfile.ZipFile(code, "w") as archive:
            archive.writestr("unused.py", "")
        for name in FUNCTIONS:
            functions.create_function(
                FunctionName=name, Runtime="python3.13", Handler="unused.handler", Timeout=30,
                Role=f"arn:aws:iam::{ACCOUNT}:role/any", Code={"ZipFile": code.getvalue()},
                Environment={"Variables": {"FUNCTION_HOST": self.fakes.url}},
            )  # fmt: skip
        for name in FUNCTIONS:
            functions.get_waiter("function_active_v2").wait(FunctionName=name)
        self.queue = self.sqs.create_queue(QueueName="machine-downloads")["QueueUrl"]
        self.scheduler.create_schedule_group(Name=GROUP)

    def run(self, scenarios: dict[str, Scenario]) -> None:
        """Drives an execution of each to its end, a few at a time: the server is one process."""
        machines = {name: self._machine(scenario) for name, scenario in scenarios.items()}
        waiting, running = list(scenarios.items()), dict[str, str]()
        until = time.monotonic() + RUN_S_MAX
        while (waiting or running) and time.monotonic() < until:
            if waiting and len(running) < _AT_ONCE:
                name, scenario = waiting.pop(0)
                running[name] = self._start(name, scenario, machines[name])
            self._poll(scenarios)
            self._work(scenarios)
            self._beat()
            self._take_ended(running)
            time.sleep(0.05)
        for name, arn in running.items():
            said = self.states.describe_execution(executionArn=arn)
            self.ran[name] = self._told_of(name, arn, said)

    def _take_ended(self, running: dict[str, str]) -> None:
        """Asks now and then: questions cost the server as much as the machine's own steps."""
        if time.monotonic() - self._looked < _LOOK_S:
            return
        self._looked = time.monotonic()
        for name, arn in list(running.items()):
            said = self.states.describe_execution(executionArn=arn)
            if said["status"] != "RUNNING":
                del running[name]
                self.ran[name] = self._told_of(name, arn, said)

    def _machine(self, scenario: Scenario) -> str:
        """Scenarios with the same times share one: reading a definition is what takes long."""
        arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:"
        values: dict[str, str | int] = {
            **TIMES,
            "Partition": "aws",
            **{f"{f.capitalize()}FunctionArn": f"{arn}{f}" for f in FUNCTIONS},
            "ScheduleGroup": GROUP,
            "ScheduleRoleArn": f"arn:aws:iam::{ACCOUNT}:role/scheduler",
            "ScheduleDlqArn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:schedule-dlq",
            "DownloadQueueUrl": self.queue,
            **scenario.values,
        }
        definition = json.dumps(
            shortened(rendered(**values), seconds=scenario.seconds, broken=scenario.broken)
        )
        if definition not in self._machines:
            self._machines[definition] = self.states.create_state_machine(
                name=f"recover-{len(self._machines)}", definition=definition, type="STANDARD",
                roleArn=f"arn:aws:iam::{ACCOUNT}:role/states",
            )["stateMachineArn"]  # fmt: skip
        return self._machines[definition]

    def _start(self, name: str, scenario: Scenario, machine: str) -> str:
        self.fakes.scripts[name] = _named(name, scenario)
        self.fakes.scripts[f"group of {name}"] = {"detect": scenario.functions["detect"]}
        started = self.states.start_execution(
            stateMachineArn=machine, name=name,
            input=json.dumps({"job_key": name, "ocp_group": f"group of {name}"}),
        )  # fmt: skip
        return str(started["executionArn"])

    def _poll(self, scenarios: dict[str, Scenario]) -> None:
        """The puller: each schedule is taken up once, and is gone afterwards."""
        for listed in self.scheduler.list_schedules(GroupName=GROUP)["Schedules"]:
            held = self.scheduler.get_schedule(GroupName=GROUP, Name=listed["Name"])
            given = json.loads(held["Target"]["Input"])
            name = given["job_key"]
            handled = (listed["Name"], given["task_token"])
            if name not in scenarios or handled in self._handled:
                continue
            self._handled.add(handled)
            self._notes[name].schedules.append(held)
            does = self._next(name, "poll", scenarios[name].polls)
            self._do(name, given["task_token"], does)
            # One that stays is in the way of the next of its name.
            if name != "schedule-there-already" or not isinstance(does, Silence):
                self.scheduler.delete_schedule(GroupName=GROUP, Name=listed["Name"])

    def _work(self, scenarios: dict[str, Scenario]) -> None:
        """The worker: each message is taken up once."""
        said = self.sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10)
        for message in said.get("Messages", ()):
            given = json.loads(message["Body"])
            name = given["job_key"]
            self._notes[name].messages.append(given)
            does = self._next(name, "download", scenarios[name].downloads)
            self._do(name, given["task_token"], does)
            self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])

    def _next(self, name: str, kind: str, does: Any) -> Does:
        number = self._told[name, kind]
        self._told[name, kind] += 1
        chosen: Does = does[min(number, len(does) - 1)]
        return chosen

    def _do(self, name: str, token: str, does: Does) -> None:
        if isinstance(does, Success):
            self.states.send_task_success(taskToken=token, output=json.dumps(does.output))
            self._used.append((name, token))
        elif isinstance(does, Failure):
            self.states.send_task_failure(taskToken=token, error=does.error, cause="the test's")
        elif isinstance(does, BeatsOnly):
            self._holding[token] = time.monotonic()

    def again(self) -> None:
        """A duplicate of each delivery calls back once more, when the first has taken effect."""
        for name, token in self._used:
            try:
                self.states.send_task_success(taskToken=token, output="{}")
                self.ran[name].late.append("accepted")
            except botocore.exceptions.ClientError as refused:
                self.ran[name].late.append(refused.response["Error"]["Code"])

    def _beat(self) -> None:
        for token, last in list(self._holding.items()):
            if time.monotonic() - last > _BEAT_S:
                try:
                    self.states.send_task_heartbeat(taskToken=token)
                    self._holding[token] = time.monotonic()
                except botocore.exceptions.ClientError:
                    del self._holding[token]  # superseded

    def _told_of(self, name: str, arn: str, said: dict[str, Any]) -> Ran:
        pages = self.states.get_paginator("get_execution_history").paginate(executionArn=arn)
        ran = self._notes[name]
        ran.history = [event for page in pages for event in page["events"]]
        ran.status = said["status"]
        ran.output = json.loads(said.get("output") or "{}")
        ran.error = said.get("error", "")
        ran.cause = said.get("cause", "")
        return ran


def _named(name: str, scenario: Scenario) -> dict[str, Any]:
    """The script, with first polls that carry names of their own, and detect's by its group."""
    script: dict[str, Any] = dict(scenario.functions)
    polls = 0
    entries = []
    for does in script["export.create"]:
        polls += does is POLL
        entries.append(_poll(name, polls) if does is POLL else does)
    # The last one is repeated, and a second wait needs a schedule of another name.
    if isinstance(entries[-1], Answer) and entries[-1].body["next"] == "poll":
        entries.append(_poll(name, polls + (name != "schedule-there-already")))
        entries.append(_poll(name, polls + 2))
    script["export.create"] = entries
    return script


def _poll(name: str, number: int) -> Answer:
    first = {**POLL.body["first_poll"], "name": f"{name}-{number}"}
    return Answer({"next": "poll", "first_poll": first})
