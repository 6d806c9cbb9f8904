"""WorkQueue on SQS: a standard queue with a redrive policy to its dead-letter queue.

Message on SQS            the port's view of it
visible                   waits
in flight                 held until its visibility timeout is over
on the dead-letter queue  parked

Rules
1. SQS knows whole seconds: leases and delays are rounded up, never down.
2. `tries` is SQS's own count of receives. The redrive policy (maxReceiveCount = tries_max) parks
   a message when it would be received once more, so nobody has to be alive for that; given back
   after its last try it becomes visible at once, and the next receive by anybody moves it. Where
   the policy allows more than we do, the message is moved by `take`: sent, then deleted.
3. For standard queues an older receipt handle may still work, so what a holder may do is decided
   here first: `extend` and `give_back` need a lease that runs by our own clock, and nothing
   is done with a message that was given back. `done` is asked of SQS even when the lease is over:
   the work is done whoever holds the message now.
   (knowledge centre, "sqs-receipt-handle-error"; API reference, DeleteMessage)
4. A put longer than SQS's 15 minutes carries its time; whoever receives it early sends it on with
   what is left and deletes it. Hiding it instead would spend its tries.
5. A put never merges with another: SQS can't look into a queue. The pipeline's steps are
   idempotent, so a call taken twice costs one read.
6. SQS keeps no order.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

import msgspec

from ocp_ingest.adapters.aws.session import Answered, Aws
from ocp_ingest.core.errors import TooLarge, Transient
from ocp_ingest.core.limits import HOUR_MS, KIB
from ocp_ingest.ports import Message
from ocp_ingest.telemetry import log

# Quotas of SQS (developer guide, "quotas-messages"): one long poll, messages of one receive, the
# longest delay and visibility timeout; a body may have 1 MiB, which we never need.
POLL_S_MAX: Final = 20
RECEIVE_MAX: Final = 10
DELAY_S_MAX: Final = 900
VISIBILITY_S_MAX: Final = 12 * HOUR_MS // 1000
BODY_BYTES_MAX: Final = 256 * KIB
# A long poll must be answered well before the connection is given up.
_ANSWER_MARGIN_S: Final = 5
# How long a look at the dead-letter queue hides what it sees, should the process die meanwhile.
_PEEK_S: Final = 10
# With any wait SQS asks all of its servers, so nothing found then means that it is empty.
_PEEK_WAIT_S: Final = 1
# Leases remembered; a worker has a handful at a time. The oldest give way, as if they were over.
_LEASES_MAX: Final = 10_000

# What SQS says of a receipt that is no good any more.
_GONE: Final = frozenset({
    "MessageNotInflight", "AWS.SimpleQueueService.MessageNotInflight",
    "ReceiptHandleIsInvalid", "InvalidParameterValue", "InvalidParameterValueException",
})  # fmt: skip


Raw = dict[str, Any]


class _Envelope(msgspec.Struct, frozen=True, omit_defaults=True):
    """A body as it is on SQS; `not_before` in epoch ms, 0 = when it is visible."""

    key: str
    body: dict[str, Any]
    not_before: int = 0


class AwsWorkQueue:
    """See ocp_ingest.ports.WorkQueue. `tries_max`: tries of a message before it is parked.

    A message on the queue that has no envelope is taken as a body of its own, if it is a JSON
    object: a state machine may send to this queue too. `now_s` is the system's clock.
    """

    def __init__(
        self, aws: Aws, queue_url: str, dlq_url: str, tries_max: int,
        *, now_s: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._aws = aws
        self._url = queue_url
        self._dlq_url = dlq_url
        self._tries_max = tries_max
        self._now_s = now_s
        self._leases = _Leases()
        answer_s_max = math.floor(aws.settings.answer_s_max) - _ANSWER_MARGIN_S
        self._poll_s_max = max(1, min(POLL_S_MAX, answer_s_max))

    async def put(self, key: str, body: dict[str, Any], *, delay_ms: int = 0) -> None:
        """Adds a message. Raises TooLarge."""
        longer = _seconds(delay_ms) > DELAY_S_MAX
        not_before = int(self._now_s() * 1000) + delay_ms if longer else 0
        await self._send(self._url, _sealed(_Envelope(key, body, not_before)), delay_ms)

    async def take(self, *, limit: int, lease_ms: int, wait_s: float) -> list[Message]:
        """At most 10 messages that nobody else holds; waits in whole seconds, rounded up.

        Without a wait SQS asks some of its servers only, so nothing found proves nothing.
        """
        assert lease_ms > 0, "a lease that is over at once would give a message to everybody"
        until_s = time.monotonic() + wait_s
        while True:
            left_s = max(0, math.ceil(until_s - time.monotonic()))
            taken = await self._receive(min(RECEIVE_MAX, limit), lease_ms, left_s)
            if taken or time.monotonic() >= until_s:
                return taken

    async def extend(self, message: Message, lease_ms: int) -> bool:
        """Keeps a message longer; False when the lease was over, whoever has the message now."""
        if not self._leases.runs(message.receipt):
            return False
        until_s = time.monotonic() + _hidden_s(lease_ms)
        kept = await self._show_in(message.receipt, _hidden_s(lease_ms), again=True)
        if kept:
            self._leases.add(message.receipt, until_s)
        return kept

    async def done(self, message: Message) -> None:
        """Ends it, unless it was given back, or SQS knows of a later holder."""
        if self._leases.given_back(message.receipt):
            return
        await self._delete(message.receipt)
        self._leases.end(message.receipt)

    async def give_back(self, message: Message, *, delay_ms: int) -> None:
        """Lets others have it after a while; after the last try the next receive parks it."""
        if not self._leases.runs(message.receipt):
            return
        delay_s = 0 if message.tries >= self._tries_max else _hidden_s(delay_ms)
        # Not repeated: by then somebody else may have it, and our receipt might still work.
        await self._show_in(message.receipt, delay_s, again=False)
        self._leases.add(message.receipt, None)

    async def parked(self, *, limit: int = 100) -> list[Message]:
        """Messages of the dead-letter queue, in no order; each had all of its tries.

        It looks at them under a short lease of its own, so two who look at once see a part each.
        """
        seen: dict[str, Raw] = {}
        try:
            while len(seen) < limit:
                found = await self._peek(min(RECEIVE_MAX, limit - len(seen)))
                new = {raw["MessageId"]: raw for raw in found if raw["MessageId"] not in seen}
                seen |= new
                if not new:
                    break
        finally:
            await self._show_parked(list(seen.values()))
        opened = [(raw, _opened(raw)) for raw in seen.values()]
        return [
            Message(envelope.body, raw["ReceiptHandle"], self._tries_max)
            for raw, envelope in opened
            if envelope is not None
        ]

    async def depth(self) -> int:
        """How many messages wait or are held, as SQS counts them: about, and a minute late."""
        names = ["", "NotVisible", "Delayed"]
        answer = await self._aws.call(
            "sqs", "get_queue_attributes", again=True, QueueUrl=self._url,
            AttributeNames=[f"ApproximateNumberOfMessages{name}" for name in names],
        )  # fmt: skip
        return sum(int(number) for number in answer["Attributes"].values())

    # -----------------------------------------------------------------------------------------

    async def _receive(self, limit: int, lease_ms: int, wait_s: int) -> list[Message]:
        asked_s = time.monotonic()  # on the safe side: SQS counts from its answer
        answer = await self._aws.call(
            "sqs", "receive_message", QueueUrl=self._url, MaxNumberOfMessages=limit,
            VisibilityTimeout=_hidden_s(lease_ms), WaitTimeSeconds=min(wait_s, self._poll_s_max),
            MessageSystemAttributeNames=["ApproximateReceiveCount"],
        )  # fmt: skip
        messages: list[Message] = []
        for raw in answer.get("Messages", []):
            message = await self._message(raw)
            if message is not None:
                self._leases.add(message.receipt, asked_s + _hidden_s(lease_ms))
                messages.append(message)
        return messages

    async def _message(self, raw: Raw) -> Message | None:
        """The message, or None for one that is not to be worked on now."""
        envelope = _opened(raw)
        if envelope is None:
            # The redrive policy parks it.
            log().error("queue.unreadable", message_id=raw["MessageId"])
            return None
        tries = int(raw["Attributes"]["ApproximateReceiveCount"])
        left_ms = envelope.not_before - int(self._now_s() * 1000)
        try:
            if left_ms > 0:
                await self._send(self._url, raw["Body"], left_ms)
                await self._delete(raw["ReceiptHandle"])
                return None
            if tries > self._tries_max:
                await self._send(self._dlq_url, raw["Body"], 0)
                await self._delete(raw["ReceiptHandle"])
                return None
        except Transient:  # it comes again when its lease is over
            return None
        return Message(envelope.body, raw["ReceiptHandle"], tries)

    async def _send(self, url: str, body: str, delay_ms: int) -> None:
        await self._aws.call(
            "sqs", "send_message", again=True, QueueUrl=url, MessageBody=body,
            DelaySeconds=min(DELAY_S_MAX, _seconds(delay_ms)),
        )  # fmt: skip

    async def _delete(self, receipt: str) -> None:
        try:
            await self._aws.call(
                "sqs", "delete_message", again=True, QueueUrl=self._url, ReceiptHandle=receipt
            )
        except Answered as no:
            if no.code not in _GONE:
                raise

    async def _show_in(self, receipt: str, delay_s: int, *, again: bool) -> bool:
        try:
            await self._aws.call(
                "sqs", "change_message_visibility", again=again, QueueUrl=self._url,
                ReceiptHandle=receipt, VisibilityTimeout=delay_s,
            )  # fmt: skip
        except Answered as no:
            if no.code not in _GONE:
                raise
            return False
        return True

    async def _peek(self, limit: int) -> list[Raw]:
        answer = await self._aws.call(
            "sqs", "receive_message", QueueUrl=self._dlq_url, MaxNumberOfMessages=limit,
            VisibilityTimeout=_PEEK_S, WaitTimeSeconds=_PEEK_WAIT_S,
        )  # fmt: skip
        found: list[Raw] = answer.get("Messages", [])
        return found

    async def _show_parked(self, seen: list[Raw]) -> None:
        for first in range(0, len(seen), RECEIVE_MAX):
            entries = [
                {"Id": str(number), "ReceiptHandle": raw["ReceiptHandle"], "VisibilityTimeout": 0}
                for number, raw in enumerate(seen[first : first + RECEIVE_MAX])
            ]
            with contextlib.suppress(Transient):  # else they show by themselves
                await self._aws.call(
                    "sqs", "change_message_visibility_batch", again=True,
                    QueueUrl=self._dlq_url, Entries=entries,
                )  # fmt: skip


class _Leases:
    """What this process holds: receipt -> when its lease is over, None once it was given back."""

    def __init__(self) -> None:
        self._until_s: OrderedDict[str, float | None] = OrderedDict()

    def add(self, receipt: str, until_s: float | None) -> None:
        self._until_s[receipt] = until_s
        self._until_s.move_to_end(receipt)
        while len(self._until_s) > _LEASES_MAX:
            self._until_s.popitem(last=False)

    def end(self, receipt: str) -> None:
        self._until_s.pop(receipt, None)

    def runs(self, receipt: str) -> bool:
        until_s = self._until_s.get(receipt)
        return until_s is not None and time.monotonic() < until_s

    def given_back(self, receipt: str) -> bool:
        return receipt in self._until_s and self._until_s[receipt] is None


def _seconds(duration_ms: int) -> int:
    return -(-duration_ms // 1000)


def _hidden_s(duration_ms: int) -> int:
    return min(VISIBILITY_S_MAX, _seconds(duration_ms))


def _sealed(envelope: _Envelope) -> str:
    # ASCII: SQS refuses some characters that may stand in a vendor's id.
    body = json.dumps(msgspec.to_builtins(envelope), separators=(",", ":"))
    if len(body) > BODY_BYTES_MAX:
        raise TooLarge(f"A message must be at most {BODY_BYTES_MAX} bytes.", key=envelope.key)
    return body


def _opened(raw: Raw) -> _Envelope | None:
    try:
        return msgspec.json.decode(raw["Body"], type=_Envelope)
    except msgspec.DecodeError:
        pass
    try:
        return _Envelope("", msgspec.json.decode(raw["Body"], type=dict[str, Any]))
    except msgspec.DecodeError:
        return None
