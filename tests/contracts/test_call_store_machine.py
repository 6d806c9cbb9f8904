"""CallStores under any interleaving: the record is the fold of the journal, on every runtime."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ocp_ingest.core.call import Call, flags, fold
from ocp_ingest.core.events import Event, content_hash
from ocp_ingest.core.lifecycle import next_work, outcome, stage, start_ms
from ocp_ingest.core.vendor import lookups
from ocp_ingest.ports import Appended, CallQuery
from tests.contracts import samples
from tests.contracts.runtimes import RUNTIMES, Runtime

T = TypeVar("T")

CALLS: Final = ("c1", "c2", "c3")
EVENTS: Final = [event for call in CALLS for event in samples.pool(call)]
FAR_MS: Final = 1 << 50

# By number: an event's text is long, and so would the report of a failure be.
numbers = st.integers(0, len(EVENTS) - 1)


def told(answers: list[Appended]) -> list[tuple[str, bool, Call]]:
    return [(answer.event.event_id, answer.new, answer.call) for answer in answers]


class CallStoreMachine(RuleBasedStateMachine):
    """The same commands on several runtimes; what they hold must be equal and be a fold."""

    names: ClassVar[tuple[str, ...]] = ("embedded", "memory")

    @initialize()
    def open(self) -> None:
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.runtimes: dict[str, Runtime] = {}
        for name in self.names:
            folder = Path(self.folder.name) / name
            folder.mkdir()
            self.runtimes[name] = RUNTIMES[name](folder)
        self.sent: list[Event] = []
        self.flags: dict[str, dict[str, int | None]] = {}

    def teardown(self) -> None:
        if not hasattr(self, "runner"):
            return
        for runtime in self.runtimes.values():
            runtime.close()
        self.runner.close()
        self.folder.cleanup()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @rule(chosen=st.lists(numbers, min_size=1, max_size=6))
    def append(self, chosen: list[int]) -> None:
        events = [EVENTS[number] for number in chosen]
        answers = [told(self.run(r.calls.append(events))) for r in self.runtimes.values()]
        assert all(answer == answers[0] for answer in answers)
        self.sent += events

    @rule(number=numbers, times=st.integers(2, 4))
    def append_at_once(self, number: int, times: int) -> None:
        event = EVENTS[number]

        async def together(runtime: Runtime) -> list[list[Appended]]:
            return await asyncio.gather(*(runtime.calls.append([event]) for _ in range(times)))

        for runtime in self.runtimes.values():
            answers = self.run(together(runtime))
            assert sum(answer.new for [answer] in answers) <= 1
            assert len({answer.event.event_id for [answer] in answers}) == 1
        self.sent.append(event)

    @rule()
    def restart(self) -> None:
        for runtime in self.runtimes.values():
            runtime.restart()

    @rule(call=st.sampled_from(CALLS))
    def rebuild(self, call: str) -> None:
        for runtime in self.runtimes.values():
            assert self.run(runtime.calls.rebuild(call)) is False

    @invariant()
    def journal_holds_what_was_sent_and_record_is_its_fold(self) -> None:
        for runtime in getattr(self, "runtimes", {}).values():
            for call in CALLS:
                held = self.run(runtime.calls.journal(call))
                sent = {content_hash(e) for e in self.sent if e.call_id == call}
                # A variant's id says that it is one; but for the id it is what was sent.
                assert {e.event_id.partition("~")[0] for e in held} == {
                    e.event_id for e in self.sent if e.call_id == call
                }
                assert len(held) == len({(e.event_id, e.body_hash) for e in held})
                assert {content_hash(e) for e in held if "~" not in e.event_id} <= sent
                record = self.run(runtime.calls.load(call))
                assert record == (fold(call, held) if held else None)

    @invariant()
    def every_body_of_a_vendor_message_is_kept(self) -> None:
        for runtime in getattr(self, "runtimes", {}).values():
            for call in CALLS:
                held = {e.body_hash for e in self.run(runtime.calls.journal(call)) if e.body_hash}
                assert held == {e.body_hash for e in self.sent if e.call_id == call and e.body_hash}

    @invariant()
    def pending_is_exactly_the_calls_with_open_work(self) -> None:
        for runtime in getattr(self, "runtimes", {}).values():
            records = [self.run(runtime.calls.load(call)) for call in CALLS]
            expected = {}
            for record in records:
                work = next_work(record, runtime.policy) if record else None
                if record and work:
                    group = record.get("ocp_group") or ""
                    expected[record.call_id] = (work.at_ms, group)
            found = self.run(runtime.calls.pending(until_ms=FAR_MS, limit=100))
            assert {p.call_id: (p.at_ms, p.ocp_group) for p in found} == expected
            groups = [group for _, group in expected.values()]
            assert self.run(runtime.calls.pending_groups()) == {g: groups.count(g) for g in groups}

    @invariant()
    def pages_and_counts_agree_with_the_records(self) -> None:
        for runtime in getattr(self, "runtimes", {}).values():
            records = [r for call in CALLS if (r := self.run(runtime.calls.load(call)))]
            page = self.run(runtime.calls.page(CallQuery())).calls
            assert page == sorted(records, key=lambda r: (-start_ms(r), r.call_id))
            counts = self.run(runtime.calls.counts())
            assert counts["started"] == sum(r.evidenced for r in records)
            for record in records:
                ended = outcome(record, runtime.policy)
                name = ended.outcome if ended else "none"
                query = CallQuery(outcome=name, stage=stage(record))
                listed = record in self.run(runtime.calls.page(query)).calls
                working = next_work(record, runtime.policy) is not None
                assert listed == (ended is not None or working)
                assert not (ended and working)

    @invariant()
    def no_flag_is_unset(self) -> None:
        for name, runtime in getattr(self, "runtimes", {}).items():
            for call in CALLS:
                record = self.run(runtime.calls.load(call))
                now = flags(record) if record else {}
                before = self.flags.get(name + call, {})
                assert {f for f, at in before.items() if at} <= {f for f, at in now.items() if at}
                self.flags[name + call] = now

    @invariant()
    def every_id_of_a_cdr_finds_a_call_that_has_it(self) -> None:
        claims: dict[tuple[str, str], list[tuple[int, str]]] = {}
        for event in getattr(self, "sent", []):
            for name in lookups(event):
                claims.setdefault(name, []).append((event.at_ms, event.call_id))
        for runtime in getattr(self, "runtimes", {}).values():
            for (kind, ident), claimed in claims.items():
                found = self.run(runtime.calls.call_of(kind, ident))
                assert found == min(claimed)[1]


class AwsCallStoreMachine(CallStoreMachine):
    """The same on DynamoDB, beside the quickest other runtime to compare with."""

    names = ("aws", "memory")


_CALM: Final = [HealthCheck.too_slow, HealthCheck.data_too_large]
CallStoreMachine.TestCase.settings = settings(
    max_examples=20, stateful_step_count=15, deadline=None, suppress_health_check=_CALM
)
TestCallStoreMachine = CallStoreMachine.TestCase

# A step of this one makes some sixty requests and takes as much as fifty steps of the others, so
# it is given fewer; OCP_TEST_AWS_EXAMPLES asks for more.
AwsCallStoreMachine.TestCase.settings = settings(
    max_examples=int(os.environ.get("OCP_TEST_AWS_EXAMPLES", "5")),
    stateful_step_count=10,
    deadline=None,
    suppress_health_check=_CALM,
)
TestAwsCallStoreMachine = AwsCallStoreMachine.TestCase
