"""The functions' doors: what they take, what they raise, and one runtime for many invocations."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import structlog

from ocp_ingest.adapters.memory.desk import memory_desk
from ocp_ingest.adapters.memory.export_book import MemoryExportBook
from ocp_ingest.adapters.memory.faults import Faults
from ocp_ingest.bootstrap_aws import AwsRuntime
from ocp_ingest.config_model import Config
from ocp_ingest.core.errors import Invalid, NotFound, Terminal, Transient
from ocp_ingest.core.incidents import INCIDENT_KINDS
from ocp_ingest.core.limits import HOUR_MS
from ocp_ingest.entrypoints.functions import (
    dead_letters,
    detect,
    export,
    finish,
    metadata,
    puller,
    runtime,
)
from ocp_ingest.entrypoints.functions.runtime import Functions, Process
from ocp_ingest.ingest import tell
from ocp_ingest.reconcile.hold import GroupBusy
from ocp_ingest.reconcile.ports import Mismatch
from ocp_ingest.reconcile.world import Stage2
from tests.flow.machine_stage import Cloud
from tests.flow.reconcile_stage import GROUP
from tests.functions.fake_aws import MACHINE, FakeAws, error

Handler = Callable[[dict[str, Any], "Lambda"], dict[str, Any]]


@dataclass
class Lambda:
    """What Lambda says of an invocation."""

    aws_request_id: str = "request-1"
    left_ms: int = 900_000

    def get_remaining_time_in_millis(self) -> int:
        return self.left_ms


@dataclass
class Site:
    """A deployment in memory, behind the functions' real doors."""

    aws: FakeAws = field(default_factory=FakeAws)
    opened: int = 0
    fails: list[Exception] = field(default_factory=list)
    cloud: Cloud = field(init=False)

    def __post_init__(self) -> None:
        self.process = Process(self.opening)

    @asynccontextmanager
    async def opening(self) -> AsyncIterator[tuple[AwsRuntime, Stage2]]:
        self.opened += 1
        if self.fails:
            raise self.fails.pop()
        self.cloud = cloud = Cloud()
        await cloud.announced("c")
        cloud.clock.advance(4 * HOUR_MS)
        world = cloud.stage.world_with(Faults())
        book = MemoryExportBook(cloud.book_state, Faults())
        stage2 = Stage2(
            api=cloud.ocp, book=book, groups=(GROUP,), owner="p", real=cloud.clock, census=False
        )
        desk = memory_desk(world, book, cloud.stage.state, Faults())
        yield (
            AwsRuntime(config=Config(), world=world, book=book, desk=desk, aws=self.aws), stage2
        )  # fmt: skip


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    token = runtime.PROCESS.set(made.process)
    yield made
    runtime.PROCESS.reset(token)
    made.process.close()


def execution(job_key: str) -> str:
    return MACHINE.replace("stateMachine", "execution") + f":{job_key}"


def detected(site: Site) -> str:
    """The key of the job that detect has started."""
    assert len(detect.handler({"ocp_group": GROUP}, Lambda())["started"]) == 1
    return site.cloud.jobs()[0].job_key


class TestProcess:
    def test_one_runtime_and_one_loop_serve_many_invocations(self, site: Site) -> None:
        loops = set()

        async def work(functions: Functions) -> int:
            loops.add(asyncio.get_running_loop())
            return functions.left_ms()

        for _ in range(3):
            assert site.process.run(Lambda(), work) == 900_000 - runtime.ENDING_MS
        assert (site.opened, len(loops)) == (1, 1)

    def test_what_could_not_be_opened_is_tried_again_by_the_next_invocation(
        self, site: Site
    ) -> None:
        async def work(_functions: Functions) -> str:
            return "done"

        site.fails.append(Transient("Secrets Manager is slow."))
        with pytest.raises(Transient):
            site.process.run(Lambda(), work)
        assert site.process.run(Lambda(), work) == "done"

    def test_log_lines_name_the_invocation_that_they_are_of(self, site: Site) -> None:
        async def work(_functions: Functions) -> object:
            return structlog.contextvars.get_contextvars()

        for number in range(2):
            said = site.process.run(Lambda(f"request-{number}"), work, op="poll")
            assert said == {"request_id": f"request-{number}", "op": "poll"}
        assert structlog.contextvars.get_contextvars() == {}

    def test_every_invocation_has_a_name_of_its_own_in_leases(self, site: Site) -> None:
        names: list[str] = []

        async def work(functions: Functions) -> None:
            names.extend((functions.owner(), functions.owner()))

        for _ in range(2):  # a repeat of an asynchronous invocation has the same request id
            site.process.run(Lambda(), work)
        assert len(set(names)) == 4

    @pytest.mark.parametrize(
        ("raised", "name"),
        [
            (GroupBusy("busy"), "GroupBusy"), (Transient("slow"), "Transient"),
            (Mismatch("other bytes"), "Transient"), (Invalid("bad"), "Invalid"),
            (Terminal("look"), "Terminal"), (ZeroDivisionError(), "ZeroDivisionError"),
        ],
        ids=repr,
    )  # fmt: skip
    def test_errors_are_raised_by_the_name_of_their_fate(
        self, site: Site, raised: Exception, name: str
    ) -> None:
        async def work(_functions: Functions) -> None:
            raise raised

        with pytest.raises(type(raised).__mro__[-4 if name == "Transient" else 0]) as caught:
            site.process.run(Lambda(), work)
        assert type(caught.value).__name__ == name


class TestInput:
    @pytest.mark.parametrize(
        ("handler", "event"),
        [
            (export.handler, {}),
            (export.handler, {"op": "drop", "job_key": "k", "ocp_group": "g"}),
            (export.handler, {"op": "create", "ocp_group": "g"}),
            (export.handler, {"op": "create", "job_key": "k", "ocp_group": 7}),
            (export.handler, {"op": "acquire", "job_key": "k", "ocp_group": "g"}),
            (puller.handler, {}),
            (metadata.handler, {"job_key": "k", "ocp_group": "g", "round": 1}),
            (finish.handler, {"job_key": "k", "ocp_group": "g", "round": "1"}),
            (finish.handler, {"job_key": "k", "ocp_group": "g", "round": 1.5}),
            (detect.handler, {"ocp_group": ""}),
            (detect.handler, {"ocp_group": ["g"]}),
            (detect.handler, {"census": "yes"}),
            (detect.handler, {"census": True}),
        ],
        ids=lambda value: json.dumps(value) if isinstance(value, dict) else value.__module__[-8:],
    )
    def test_an_event_that_is_none_of_ours_is_refused(
        self, site: Site, handler: Handler, event: dict[str, Any]
    ) -> None:
        with pytest.raises(Invalid):
            handler(event, Lambda())

    def test_a_timers_token_is_in_no_error(self, site: Site) -> None:
        with pytest.raises(Invalid) as caught:
            puller.handler({"task_token": "very-secret", "iteration": "very-secret"}, Lambda())
        assert "very-secret" not in str(caught.value)

    def test_a_job_that_nobody_planned_is_not_found(self, site: Site) -> None:
        with pytest.raises(NotFound):
            export.handler({"op": "create", "job_key": "k", "ocp_group": GROUP}, Lambda())


class TestChain:
    def test_the_steps_of_a_job_through_the_doors(self, site: Site) -> None:
        key = detected(site)
        site.aws.answers["describe_execution"] += [{"status": "RUNNING"}] * 10
        event = {"job_key": key, "ocp_group": GROUP, "execution": execution(key)}
        assert export.handler(event | {"op": "acquire"}, Lambda())["next"] == "go"
        created = export.handler(event | {"op": "create"}, Lambda())
        assert created["next"] == "poll"
        token = {"task_token": "token-1"}
        first = json.loads(json.dumps(created["first_poll"]["input"])) | token
        site.cloud.clock.advance(60_000)
        assert puller.handler(first, Lambda())["next"] == "poll"
        [(_, body)] = site.cloud.stage.state.alarms.values()
        second = json.loads(body)
        assert second == first | {"iteration": 2}
        site.cloud.clock.advance(120_000)
        assert puller.handler(second, Lambda())["next"] == "fetch"
        [success] = site.aws.of("send_task_success")
        assert json.loads(success["output"])["next"] == "fetch"
        assert len(site.aws.of("send_task_heartbeat")) == 2
        released = export.handler(event | {"op": "release"}, Lambda())
        assert (released["next"], released["round"], released["audio"]) == ("fetch", 1, True)
        assert json.loads(site.aws.of("invoke")[-1]["Payload"]) == {"ocp_group": GROUP}
        part = event | {"round": 1.0, "until_ms": released["until_ms"]}
        assert metadata.handler(part, Lambda())["done"] == 0
        branches = [{"branch": "audio", "failed": True, "error": "States.HeartbeatTimeout"}]
        ended = finish.handler(event | {"round": 1, "branches": branches}, Lambda())
        assert ended["next"] == "wait"
        assert ended["wait_s"] >= 1
        assert site.cloud.jobs()[0].fence > 1

    def test_an_abandoned_execution_is_an_incident(self, site: Site) -> None:
        key = detected(site)
        event = {"op": "abandon", "job_key": key, "ocp_group": GROUP, "error": "States.Runtime"}
        assert export.handler(event, Lambda())["next"] == "done"
        assert "States.Runtime" in site.cloud.incidents()[f"step_parked:execution:{GROUP}"].text

    def test_a_dead_token_asks_ocp_nothing(self, site: Site) -> None:
        key = detected(site)
        site.aws.answers["send_task_heartbeat"].append(error("TaskTimedOut"))
        event = {
            "export_job_id": "x1", "task_token": "t", "dialog_group_ids": ["c"],
            "ocp_group": GROUP, "iteration": 1, "job_key": key,
        }  # fmt: skip
        assert puller.handler(event, Lambda())["next"] == "superseded"
        assert site.cloud.ocp.asked["status"] == 0


class TestDetect:
    def test_a_whole_look_measures_and_a_groups_does_not(
        self, site: Site, capsys: pytest.CaptureFixture[str]
    ) -> None:
        detected(site)
        assert '"_aws"' not in capsys.readouterr().out

        async def incident(functions: Functions) -> None:
            world = functions.runtime.world
            await tell.people(world, "vendor_down", "OCP is silent", key="vendor_down:g")

        site.process.run(Lambda(), incident)
        site.aws.answers["describe_execution"] += [{"status": "RUNNING"}]
        capsys.readouterr()
        done = detect.handler({"sweep": True}, Lambda())
        assert done["looked_at"] == 1
        lines = [
            json.loads(line) for line in capsys.readouterr().out.splitlines()
            if line.startswith('{"_aws"')
        ]  # fmt: skip
        said = {}
        for line in lines:
            [block] = line["_aws"]["CloudWatchMetrics"]
            assert block["Namespace"] == "OcpIngest"
            [names] = block["Dimensions"]
            assert set(names) <= {"ocp_group", "kind"}
            dimensions = tuple(line[name] for name in names)
            for metric in block["Metrics"]:
                [said[metric["Name"], dimensions]] = line[metric["Name"]]
        assert said["PendingCalls", (GROUP,)] == 1
        assert 0 < said["OldestPendingAgeSeconds", (GROUP,)] <= 4 * 3_600
        assert said["CallsInFlight", ()] == 1
        assert said["CallsLost", ()] == 0
        kinds = {dims[0]: n for (name, dims), n in said.items() if name == "IncidentsOpen"}
        assert set(kinds) == set(INCIDENT_KINDS)
        assert kinds["vendor_down"] == 1
        assert sum(kinds.values()) == 1


class TestDeadLetters:
    def test_each_waiting_state_fails_at_once_and_what_could_not_be_said_comes_again(
        self, site: Site
    ) -> None:
        body = json.dumps({
            "job_key": "k", "ocp_group": GROUP, "round": 1, "until_ms": 5, "task_token": "t",
            "dialog_group_ids": {"ref": "job:k"},
        })  # fmt: skip
        records = [
            {"messageId": "m1", "body": body},
            {"messageId": "m2", "body": "no JSON"},
            {"messageId": "m3", "body": body},
            {"messageId": "m4", "body": body},
        ]
        site.aws.answers["send_task_failure"] += [{}, Transient("slow"), error("TaskTimedOut")]
        answer = dead_letters.handler({"Records": records}, Lambda())
        assert answer == {"batchItemFailures": [{"itemIdentifier": "m3"}]}
        assert {f["error"] for f in site.aws.of("send_task_failure")} == {"DownloadParked"}
        assert "step_parked:download_queue" in site.cloud.incidents()
