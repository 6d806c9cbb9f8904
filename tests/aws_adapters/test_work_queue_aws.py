"""Laws of a WorkQueue that only SQS can break: its grain, its bounds, receipts that live on."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from ocp_ingest.adapters.aws.session import AGAIN_TRIES
from ocp_ingest.adapters.aws.settings import AwsSettings
from ocp_ingest.adapters.aws.work_queue import BODY_BYTES_MAX, AwsWorkQueue
from ocp_ingest.core.errors import TooLarge, Transient
from ocp_ingest.core.limits import HOUR_MS, MINUTE_MS
from ocp_ingest.ports import Message
from tests.aws.clients import client
from tests.aws_adapters import stand_in
from tests.aws_adapters.s3_kit import FaultyAws

TRIES_MAX: Final = 2
LONG_MS: Final = 10 * MINUTE_MS


@pytest.fixture
def where() -> AwsSettings:
    return stand_in.queues(tries_max=TRIES_MAX)


@pytest.fixture
async def aws(where: AwsSettings) -> AsyncIterator[FaultyAws]:
    async with FaultyAws(where) as made:
        yield made


def a_queue(aws: FaultyAws) -> AwsWorkQueue:
    where = aws.settings
    return AwsWorkQueue(aws, where.work_queue_url, where.work_dlq_url, TRIES_MAX)


@pytest.fixture
def queue(aws: FaultyAws) -> AwsWorkQueue:
    return a_queue(aws)


async def take(queue: AwsWorkQueue, lease_ms: int = LONG_MS) -> list[Message]:
    return await queue.take(limit=10, lease_ms=lease_ms, wait_s=0)


def send(where: AwsSettings, body: str) -> None:
    """By somebody else."""
    sqs = client("sqs", where.endpoints["sqs"])
    sqs.send_message(QueueUrl=where.work_queue_url, MessageBody=body)


def last(aws: FaultyAws, operation: str) -> dict[str, Any]:
    """What was asked for the last time."""
    numbers = [n for n, asked in enumerate(aws.faults.asked) if asked == operation]
    return aws.faults.params[numbers[-1]]


class TestTime:
    async def test_parts_of_seconds_are_rounded_up(
        self, queue: AwsWorkQueue, aws: FaultyAws
    ) -> None:
        """Rounded down, a lease would end too early and a delay would be none."""
        await queue.put("a", {})
        [message] = await take(queue, lease_ms=1)
        assert last(aws, "receive_message")["VisibilityTimeout"] == 1
        assert await queue.extend(message, 60_001)
        assert last(aws, "change_message_visibility")["VisibilityTimeout"] == 61
        await queue.give_back(message, delay_ms=1_999)
        assert last(aws, "change_message_visibility")["VisibilityTimeout"] == 2
        await queue.put("b", {}, delay_ms=1)
        assert last(aws, "send_message")["DelaySeconds"] == 1

    async def test_no_lease_is_longer_than_sqs_has_them(
        self, queue: AwsWorkQueue, aws: FaultyAws
    ) -> None:
        await queue.put("a", {})
        [message] = await take(queue, lease_ms=100 * HOUR_MS)
        assert last(aws, "receive_message")["VisibilityTimeout"] == 12 * 3600
        await queue.give_back(message, delay_ms=100 * HOUR_MS)
        assert last(aws, "change_message_visibility")["VisibilityTimeout"] == 12 * 3600

    async def test_a_longer_delay_than_sqs_has_is_kept_and_spends_no_try(
        self, queue: AwsWorkQueue, aws: FaultyAws
    ) -> None:
        await queue.put("a", {"n": 1}, delay_ms=2 * HOUR_MS)
        sent = last(aws, "send_message")
        assert sent["DelaySeconds"] == 900
        not_before = json.loads(sent["MessageBody"])["not_before"]
        assert abs(not_before - (time.time() * 1000 + 2 * HOUR_MS)) < MINUTE_MS
        # The last quarter of an hour of such a delay, a second of it:
        soon = json.loads(sent["MessageBody"]) | {"not_before": int(time.time() * 1000) + 900}
        send(aws.settings, json.dumps(soon))
        assert await take(queue) == []
        assert last(aws, "send_message")["DelaySeconds"] == 1
        [message] = await queue.take(limit=10, lease_ms=LONG_MS, wait_s=3)
        assert (message.body, message.tries) == ({"n": 1}, 1)
        assert await queue.depth() == 2

    @pytest.mark.parametrize("answer_s_max", [1.0, 7.5, 300.0])
    async def test_a_poll_ends_before_its_answer_is_taken_for_lost(
        self, where: AwsSettings, answer_s_max: float
    ) -> None:
        endpoints = where.endpoints
        settings = AwsSettings(
            region=where.region, work_queue_url=where.work_queue_url,
            work_dlq_url=where.work_dlq_url, endpoints=endpoints, answer_s_max=answer_s_max,
        )  # fmt: skip
        async with FaultyAws(settings) as aws:
            await a_queue(aws).put("a", {})
            await a_queue(aws).take(limit=1, lease_ms=LONG_MS, wait_s=60)
            assert last(aws, "receive_message")["WaitTimeSeconds"] == {
                1.0: 1, 7.5: 2, 300.0: 20,
            }[answer_s_max]  # fmt: skip


class TestHolding:
    async def test_whose_lease_is_over_asks_nothing_of_sqs(
        self, queue: AwsWorkQueue, aws: FaultyAws
    ) -> None:
        """Of a standard queue an old receipt may still work: on the next holder's message."""
        await queue.put("a", {})
        [message] = await take(queue, lease_ms=1)
        time.sleep(1)
        assert not await queue.extend(message, LONG_MS)
        await queue.give_back(message, delay_ms=0)
        assert aws.faults.times("change_message_visibility") == 0
        [again] = await take(queue)
        assert again.tries == 2

    async def test_a_message_of_another_process_is_nobody_else_s(
        self, queue: AwsWorkQueue, aws: FaultyAws
    ) -> None:
        await queue.put("a", {})
        [message] = await take(queue)
        other = a_queue(aws)
        assert not await other.extend(message, LONG_MS)
        await other.give_back(message, delay_ms=0)
        assert await take(other) == []
        await queue.give_back(message, delay_ms=0)
        assert len(await take(other)) == 1

    @pytest.mark.parametrize("verb", ["extend", "done", "give_back"])
    async def test_a_receipt_that_sqs_does_not_know_any_more_is_no_failure(
        self, queue: AwsWorkQueue, where: AwsSettings, verb: str
    ) -> None:
        await queue.put("a", {})
        [message] = await take(queue)
        sqs = client("sqs", where.endpoints["sqs"])
        sqs.delete_message(QueueUrl=where.work_queue_url, ReceiptHandle=message.receipt)
        if verb == "extend":
            assert not await queue.extend(message, LONG_MS)
        elif verb == "done":
            await queue.done(message)
        else:
            await queue.give_back(message, delay_ms=0)

    async def test_another_refusal_is_said(self, queue: AwsWorkQueue, aws: FaultyAws) -> None:
        await queue.put("a", {})
        [message] = await take(queue)
        for operation in ("change_message_visibility", "delete_message"):
            aws.faults.answers[operation] = [("QueueDoesNotExist", 400)] * 2
        for refused in (queue.extend(message, LONG_MS), queue.done(message)):
            with pytest.raises(Exception, match="QueueDoesNotExist"):
                await refused


class TestLostAnswers:
    async def test_a_put_is_there_once_at_least(self, queue: AwsWorkQueue, aws: FaultyAws) -> None:
        aws.faults.after = {0}
        await queue.put("a", {"n": 1})
        assert {m.body["n"] for m in await take(queue)} == {1}
        aws.faults.before = set(range(len(aws.faults.asked), len(aws.faults.asked) + AGAIN_TRIES))
        with pytest.raises(Transient):
            await queue.put("b", {"n": 2})

    async def test_done_may_be_said_again(self, queue: AwsWorkQueue, aws: FaultyAws) -> None:
        await queue.put("a", {})
        [message] = await take(queue)
        aws.faults.after = {len(aws.faults.asked)}
        await queue.done(message)
        assert aws.faults.times("delete_message") == 2
        assert await queue.depth() == 0

    async def test_a_message_is_not_given_back_twice(
        self, queue: AwsWorkQueue, aws: FaultyAws
    ) -> None:
        """The second time it could be somebody else's, and would be taken from him."""
        await queue.put("a", {})
        [message] = await take(queue)
        aws.faults.after = {len(aws.faults.asked)}
        with pytest.raises(Transient):
            await queue.give_back(message, delay_ms=0)
        assert aws.faults.times("change_message_visibility") == 1
        assert len(await take(queue)) == 1

    async def test_a_message_that_could_not_be_sent_on_comes_again(
        self, queue: AwsWorkQueue, aws: FaultyAws
    ) -> None:
        later = {"key": "a", "body": {}, "not_before": int(time.time() * 1000) + HOUR_MS}
        send(aws.settings, json.dumps(later))
        aws.faults.always.add("send_message")
        assert await take(queue, lease_ms=1) == []
        assert await queue.depth() == 1
        aws.faults.always.clear()
        time.sleep(1)
        assert await take(queue) == []
        assert await queue.depth() == 1


class TestBodies:
    @pytest.mark.parametrize("text", ["\uffff", "\x00\x1f", "ñ 😀", "\ud7ff\ue000\ufffe"])
    async def test_any_text_comes_back(self, queue: AwsWorkQueue, text: str) -> None:
        """SQS refuses some characters, and a call's id is the vendor's."""
        await queue.put(text, {text: [text, None, {"n": 1.5}]})
        [message] = await take(queue)
        assert message.body == {text: [text, None, {"n": 1.5}]}

    async def test_what_goes_to_sqs_is_ascii(self, queue: AwsWorkQueue, aws: FaultyAws) -> None:
        await queue.put("\uffff", {"a": "\uffff\x00ñ"})
        assert last(aws, "send_message")["MessageBody"].isascii()

    async def test_a_message_beyond_its_bound_is_refused(
        self, queue: AwsWorkQueue, aws: FaultyAws
    ) -> None:
        with pytest.raises(TooLarge):
            await queue.put("a", {"x": "x" * BODY_BYTES_MAX})
        assert aws.faults.asked == []

    async def test_what_others_send_is_a_body_if_it_is_an_object(
        self, queue: AwsWorkQueue, where: AwsSettings
    ) -> None:
        send(where, '{"job_key": "j", "task_token": "t"}')
        for garbage in ("call-1", "[1]", "null", '{"key": "a"'):
            send(where, garbage)
        [message] = await take(queue)
        assert message.body == {"job_key": "j", "task_token": "t"}
        assert await queue.depth() == 5, "what can't be read stays until it is parked"


class TestParking:
    async def test_a_policy_that_allows_more_than_we_do_parks_no_later(self) -> None:
        where = stand_in.queues(tries_max=100)
        async with FaultyAws(where) as aws:
            queue = a_queue(aws)
            await queue.put("a", {"n": 1})
            for _ in range(TRIES_MAX):
                [message] = await take(queue)
                await queue.give_back(message, delay_ms=0)
            assert await take(queue) == []
            [parked] = await queue.parked()
            assert (parked.body, parked.tries) == ({"n": 1}, TRIES_MAX)
            assert await queue.depth() == 0

    async def test_after_the_last_try_nobody_waits_for_a_delay(self, queue: AwsWorkQueue) -> None:
        await queue.put("a", {})
        for _ in range(TRIES_MAX):
            [message] = await take(queue)
            await queue.give_back(message, delay_ms=HOUR_MS if message.tries == TRIES_MAX else 0)
        assert await take(queue) == []
        assert len(await queue.parked()) == 1

    async def test_looking_at_parked_messages_hides_none(
        self, queue: AwsWorkQueue, where: AwsSettings
    ) -> None:
        sqs = client("sqs", where.endpoints["sqs"])
        for n in range(23):
            body = json.dumps({"key": str(n), "body": {"n": n}})
            sqs.send_message(QueueUrl=where.work_dlq_url, MessageBody=body)
        sqs.send_message(QueueUrl=where.work_dlq_url, MessageBody="garbage")
        for _ in range(2):
            assert sorted(m.body["n"] for m in await queue.parked()) == list(range(23))
        assert len(await queue.parked(limit=12)) == 12
        assert len(await queue.parked()) == 23
