"""State machine, tokens and detection on AWS: what their answers mean."""

from __future__ import annotations

import json

import pytest

from ocp_ingest.adapters.aws.executions import AwsDetection, AwsExecutions
from ocp_ingest.adapters.aws.session import Answered, Aws
from ocp_ingest.adapters.aws.settings import AwsSettings
from ocp_ingest.adapters.aws.tasks import AwsTasks
from ocp_ingest.core.errors import Invalid, Transient
from tests.functions.fake_aws import DETECT, MACHINE, FakeAws, error

SUPERSEDED = ["TaskTimedOut", "TaskDoesNotExist", "InvalidToken"]


class TestExecutions:
    async def test_the_same_execution_is_started_with_the_same_text_each_time(self) -> None:
        aws = FakeAws()
        for _ in range(2):
            assert await AwsExecutions(aws).start("k-r1", "k", "grüppe")
        first, second = aws.of("start_execution")
        assert first == second
        assert first["name"] == "k-r1"
        assert first["stateMachineArn"] == MACHINE
        assert json.loads(first["input"]) == {"job_key": "k", "ocp_group": "grüppe"}

    async def test_a_spent_name_is_said_to_be_spent(self) -> None:
        aws = FakeAws()
        aws.answers["start_execution"].append(error("ExecutionAlreadyExists"))
        assert not await AwsExecutions(aws).start("k", "k", "g")

    async def test_trouble_and_refusals_are_not_taken_for_a_spent_name(self) -> None:
        aws = FakeAws()
        aws.answers["start_execution"] += [Transient("slow"), error("InvalidName")]
        with pytest.raises(Transient):
            await AwsExecutions(aws).start("k", "k", "g")
        with pytest.raises(Answered):
            await AwsExecutions(aws).start("k", "k", "g")

    @pytest.mark.parametrize(
        ("status", "runs"),
        [("RUNNING", True), ("PENDING_REDRIVE", True), ("SUCCEEDED", False), ("FAILED", False),
         ("TIMED_OUT", False), ("ABORTED", False)],
    )  # fmt: skip
    async def test_only_what_is_under_way_runs(self, status: str, runs: bool) -> None:
        aws = FakeAws()
        aws.answers["describe_execution"].append({"status": status})
        assert await AwsExecutions(aws).is_running("k") is runs

    async def test_a_name_and_its_arn_are_the_same_execution(self) -> None:
        aws = FakeAws()
        arn = MACHINE.replace("stateMachine", "execution") + ":k-r2"
        for ref in ("k-r2", arn):
            aws.answers["describe_execution"].append({"status": "RUNNING"})
            assert await AwsExecutions(aws).is_running(ref)
        assert [asked["executionArn"] for asked in aws.of("describe_execution")] == [arn, arn]

    async def test_one_that_was_never_started_does_not_run(self) -> None:
        aws = FakeAws()
        aws.answers["describe_execution"].append(error("ExecutionDoesNotExist"))
        assert not await AwsExecutions(aws).is_running("k")

    def test_a_missing_address_is_named(self) -> None:
        with pytest.raises(Invalid, match=r"aws\.state_machine_arn"):
            AwsExecutions(Aws(AwsSettings()))
        with pytest.raises(Invalid, match=r"aws\.detect_arn"):
            AwsDetection(Aws(AwsSettings()))


class TestTasks:
    async def test_answers_are_sent_as_json_with_their_token(self) -> None:
        aws, tasks = FakeAws(), AwsTasks(FakeAws())
        tasks = AwsTasks(aws)
        assert await tasks.success("t", {"next": "fetch"})
        assert await tasks.failure("t", "DownloadParked", "x" * 40_000)
        assert await tasks.heartbeat("t")
        [success], [failure] = aws.of("send_task_success"), aws.of("send_task_failure")
        assert json.loads(success["output"]) == {"next": "fetch"}
        assert failure["error"] == "DownloadParked"
        assert len(failure["cause"]) <= 32_768
        assert aws.of("send_task_heartbeat") == [{"taskToken": "t"}]

    @pytest.mark.parametrize("code", SUPERSEDED)
    async def test_a_token_that_nobody_waits_for_is_no_error(self, code: str) -> None:
        aws = FakeAws()
        tasks = AwsTasks(aws)
        for operation in ("success", "failure", "heartbeat"):
            aws.answers[f"send_task_{operation}"].append(error(code))
        assert not await tasks.success("t", {})
        assert not await tasks.failure("t", "e", "c")
        assert not await tasks.heartbeat("t")

    async def test_trouble_and_other_refusals_are_raised(self) -> None:
        aws = FakeAws()
        aws.answers["send_task_success"] += [Transient("slow"), error("InvalidOutput")]
        with pytest.raises(Transient):
            await AwsTasks(aws).success("t", {})
        with pytest.raises(Answered):
            await AwsTasks(aws).success("t", {})

    async def test_without_a_token_nobody_is_asked(self) -> None:
        aws = FakeAws()
        assert not await AwsTasks(aws).heartbeat("")
        assert aws.asked == []


async def test_a_look_is_asked_for_without_waiting_for_it() -> None:
    aws = FakeAws()
    await AwsDetection(aws).ask("g")
    await AwsDetection(aws).ask()
    one, every = aws.of("invoke")
    assert (one["FunctionName"], one["InvocationType"]) == (DETECT, "Event")
    assert json.loads(one["Payload"]) == {"ocp_group": "g"}
    assert json.loads(every["Payload"]) == {}
