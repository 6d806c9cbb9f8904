"""WorkQueues under any interleaving: nothing is lost, nothing is held by two within a lease."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ocp_ingest.ports import Message
from tests.contracts.runtimes import RUNTIMES, TRIES_MAX, Runtime

T = TypeVar("T")

# Steps of 10 ms need a clock of our own; SQS's is real and knows whole seconds. Its laws are in
# tests/aws_adapters/test_work_queue_aws.py.
LEFT_OUT: Final = {"aws"}


class WorkQueueMachine(RuleBasedStateMachine):
    """One queue, several holders, a ledger kept beside it."""

    @initialize(name=st.sampled_from(sorted(RUNTIMES.keys() - LEFT_OUT)))
    def open(self, name: str) -> None:
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.runtime: Runtime = RUNTIMES[name](Path(self.folder.name))
        self.now_ms = 0
        self.next = 0
        self.open_numbers: set[int] = set()
        # number -> the message as its last taker has it, and until when it is his alone
        self.holders: dict[int, tuple[Message, int]] = {}
        self.stale: list[Message] = []
        self.not_before: dict[int, int] = {}

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.runtime.close()
            self.runner.close()
            self.folder.cleanup()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @rule(delay_ms=st.sampled_from([0, 0, 50]))
    def put(self, delay_ms: int) -> None:
        body = {"n": self.next}
        self.run(self.runtime.queue.put(f"key-{self.next}", body, delay_ms=delay_ms))
        self.open_numbers.add(self.next)
        self.not_before[self.next] = self.now_ms + delay_ms
        self.next += 1

    @rule(limit=st.integers(1, 3), lease_ms=st.sampled_from([10, 100]))
    def take(self, limit: int, lease_ms: int) -> None:
        taken = self.run(self.runtime.queue.take(limit=limit, lease_ms=lease_ms, wait_s=0))
        assert len(taken) <= limit
        for message in taken:
            number = message.body["n"]
            assert number in self.open_numbers, "a message came back after its end"
            assert self.not_before.get(number, 0) <= self.now_ms, "a message came too early"
            before = self.holders.pop(number, None)
            if before is not None:
                assert before[1] <= self.now_ms, "a message was held by two within its lease"
                self.stale.append(before[0])
            assert message.tries <= TRIES_MAX
            self.holders[number] = (message, self.now_ms + lease_ms)

    @precondition(lambda self: bool(getattr(self, "holders", None)))
    @rule(data=st.data(), verb=st.sampled_from(["done", "give_back", "extend"]))
    def act(self, data: st.DataObject, verb: str) -> None:
        number = data.draw(st.sampled_from(sorted(self.holders)))
        message, _ = self.holders[number]
        queue = self.runtime.queue
        if verb == "extend":
            if self.run(queue.extend(message, 100)):
                self.holders[number] = (message, self.now_ms + 100)
            else:  # only when its lease was over and it was parked
                assert message.tries == TRIES_MAX
            return
        del self.holders[number]
        self.stale.append(message)
        if verb == "give_back":
            self.run(queue.give_back(message, delay_ms=20))
            self.not_before[number] = self.now_ms + 20
        else:
            parked = message.body in [m.body for m in self.run(queue.parked())]
            self.run(queue.done(message))
            if not parked:
                self.open_numbers.remove(number)

    @precondition(lambda self: bool(getattr(self, "stale", None)))
    @rule(data=st.data(), verb=st.sampled_from(["done", "give_back", "extend"]))
    def act_too_late(self, data: st.DataObject, verb: str) -> None:
        message = data.draw(st.sampled_from(self.stale))
        if verb == "extend":
            assert not self.run(self.runtime.queue.extend(message, 10_000))
        elif verb == "done":
            self.run(self.runtime.queue.done(message))
        else:
            self.run(self.runtime.queue.give_back(message, delay_ms=0))

    @rule(duration_ms=st.sampled_from([1, 10, 100]))
    def pass_time(self, duration_ms: int) -> None:
        self.runtime.pass_time(duration_ms)
        self.now_ms += duration_ms

    @rule()
    def restart(self) -> None:
        self.runtime.restart()

    @invariant()
    def every_message_put_and_not_done_is_there(self) -> None:
        if not hasattr(self, "runtime"):
            return
        parked = self.run(self.runtime.queue.parked())
        depth = self.run(self.runtime.queue.depth())
        assert depth + len(parked) == len(self.open_numbers)
        assert {message.body["n"] for message in parked} <= self.open_numbers
        assert all(message.tries == TRIES_MAX for message in parked)


WorkQueueMachine.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestWorkQueueMachine = WorkQueueMachine.TestCase
