"""A small world around one call: what the stream brings and when, and what OCP holds.

It does what the lifecycle lists, the earliest first, and nothing else: the clock jumps to the next
work or the next delivery. So whatever a call ends in, the derivation alone led it there.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ocp_ingest.core import call as calls
from ocp_ingest.core import events as ev
from ocp_ingest.core.call import Call, merge
from ocp_ingest.core.eligibility import floor_h, hour_after, span_of
from ocp_ingest.core.events import Event
from ocp_ingest.core.lifecycle import (
    CallPolicy,
    Outcome,
    Work,
    due,
    next_work,
    outcome,
    start_ms,
    works,
)
from ocp_ingest.core.limits import MINUTE_MS
from tests.core.strategies import CALL, T0, as_journal, problem, received, report, sha_of, taken

DURATION_MS: Final = 20 * MINUTE_MS
END_MS: Final = T0 + DURATION_MS
STEPS_MAX: Final = 200  # more is a loop, not a life

START: Final = {
    "message_type": "dialog_start", "id": CALL, "group": CALL, "time": T0,
    "flow": {"parent_step": 0, "type": "Flow", "ocp_group_name": "acme-claims"},
}  # fmt: skip
END: Final = {
    **START, "message_type": "dialog_end", "duration": DURATION_MS, "end_type": "NEAR_HUP",
}  # fmt: skip
GOOD, BAD, BAD_AT_OCP, WRONG = 0, 1, 2, 3  # versions of a recording, by their bytes


class Ocp(msgspec.Struct, kw_only=True):
    """What OCP's exports hold of the call; `failures` exports fail before the first that works."""

    start: bool = True
    end: bool = True
    audio: int | None = GOOD
    failures: int = 0
    tried: int = 0

    def holds(self, need: str) -> bool:
        """Whether an export asked for a type of data finds it."""
        return {"dialog_start": self.start, "dialog_end": self.end}.get(
            need, self.audio is not None
        )


class Walk:
    """Lives one call through; `trace` lists the actions done, `journal` the events."""

    def __init__(
        self, stream: list[Event], ocp: Ocp, policy: CallPolicy | None = None, epoch_rules: int = 0
    ) -> None:
        self.stream = sorted(stream, key=arrival)
        self.ocp = ocp
        self.policy = policy or CallPolicy()
        self.valid_from_epoch = epoch_rules  # before it the rules refuse the version WRONG
        self.call: Call = calls.new(CALL)
        self.journal: list[Event] = []
        self.trace: list[str] = []
        self.now_ms = T0

    def take(self, event: Event) -> None:
        """Journals an event and merges what stands, as a store does; time has come to it."""
        self.now_ms = max(self.now_ms, arrival(event))
        self.journal = as_journal([*self.journal, event])
        ids = (event.event_id, f"{event.event_id}~{event.body_hash[:16]}")
        for standing in self.journal:
            if standing.event_id in ids:
                self.call = merge(self.call, standing)

    def run(self) -> Outcome | None:
        """Until nothing is to be done and nothing more comes; raises when it does not end."""
        while self.step():
            assert len(self.trace) < STEPS_MAX, self.trace
        return outcome(self.call, self.policy)

    def step(self) -> bool:
        """The next delivery or the next work, whichever comes first."""
        work = next_work(self.call, self.policy)
        if self.stream and (
            work is None or arrival(self.stream[0]) <= max(work.at_ms, self.now_ms)
        ):
            self.take(self.stream.pop(0))
            return True
        if work is None:
            return False
        self.now_ms = max(self.now_ms, work.at_ms)
        first = due(self.call, self.policy, self.now_ms)[0]
        before = self.call
        self.do(first)
        self.trace.append(first.action)
        assert self.call != before, f"{first} changed nothing, so it would be done for ever"
        self.now_ms += 1_000
        return True

    def do(self, work: Work) -> None:
        """One piece of work, as the steps do it."""
        if work.action == "ask_export":
            self._export(work)
        elif work.action == "give_up":
            self.take(ev.given_up(CALL, epoch=self.call.epoch, at_ms=self.now_ms, reason="Over."))
        elif work.action.startswith("close_"):
            self.take(
                ev.closed(
                    CALL, work.action.removeprefix("close_"),  # type: ignore[arg-type]
                    epoch=self.call.epoch, at_ms=self.now_ms, reason="Because.", code=work.code,
                )
            )  # fmt: skip
        else:
            self._recording(work)

    def _recording(self, work: Work) -> None:
        dialog, sha, at_ms = work.dialog_id, work.sha256, self.now_ms
        place = {"lob": "claims", "bucket": "lob-claims", "key": f"k/{dialog}.wav"}
        if work.action == "inspect":
            whole = sha not in (sha_of(dialog, BAD), sha_of(dialog, BAD_AT_OCP))
            self.take(ev.inspected(CALL, dialog, sha, at_ms=at_ms, report=report(whole)))
        elif work.action == "validate":
            refused = sha == sha_of(dialog, WRONG) and self.call.epoch < self.valid_from_epoch
            valid = self.call.released(dialog) or not refused
            self.take(
                ev.validated(
                    CALL, dialog, sha, epoch=self.call.epoch, at_ms=at_ms, valid=valid,
                    problems=[] if valid else [problem()], rules="claims:1",
                )
            )  # fmt: skip
        elif work.action == "route":
            self.take(ev.routed(CALL, dialog, sha, at_ms=at_ms, rule="r", **place))
        else:
            assert work.action == "store"
            self.take(ev.stored(CALL, dialog, sha, at_ms=at_ms, size_bytes=9, **place))

    def _export(self, work: Work) -> None:
        self.ocp.tried += 1
        job, window = f"walk-{self.ocp.tried}", self._hours()
        asked_at_ms = self.now_ms
        self.take(ev.export_asked(CALL, job, at_ms=asked_at_ms, window=window, attempt=1))
        self.now_ms += 5 * MINUTE_MS
        needs = {
            n for w in works(self.call, self.policy) if w.at_ms <= asked_at_ms for n in w.needs
        }
        failed = self.ocp.tried <= self.ocp.failures
        found = {} if failed else {n: self.ocp.holds(n) for n in sorted(needs | set(work.needs))}
        files: list[dict[str, Any]] = []
        if found.get("audio"):
            assert self.ocp.audio is not None
            self.take(received(version=self.ocp.audio, at_ms=self.now_ms, source="export"))
            sha = sha_of(CALL, self.ocp.audio)
            files = [{"name": "f.wav", "dialog_id": CALL, "sha256": sha, "result": "received"}]
        for need, body in (("dialog_start", START), ("dialog_end", END)):
            if found.get(need):
                self.take(taken(body, "export"))
        self.take(
            ev.export_answered(
                CALL, job, at_ms=self.now_ms, job_id=f"x-{job}", task_id=job, window=window,
                found=found, files=files, metadata={},
            )
        )  # fmt: skip

    def _hours(self) -> tuple[int, int]:
        """All hours that the call may lie in, as the planner asks for them."""
        policy = self.policy.stage2
        start, end = span_of(start_ms(self.call), self.call.get("call_ended"), policy)
        return floor_h(start), hour_after(end)


def arrival(event: Event) -> int:
    """When an event of the stream came; vendor messages carry it as their time of receipt."""
    return event.received_at_ms or event.at_ms


def cdr(body: dict[str, Any], at_ms: int) -> Event:
    """A vendor message that comes at a certain time."""
    return msgspec.structs.replace(taken(body), received_at_ms=at_ms)
