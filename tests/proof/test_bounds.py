"""The laws of exports, leases, queue and alarms, each broken once."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ocp_ingest.adapters.memory.export_book import ExportBookState
from ocp_ingest.adapters.memory.state import MemoryState, StoredMessage
from ocp_ingest.core.call import fold
from ocp_ingest.core.export_job import ExportJob, State
from ocp_ingest.core.limits import HOUR_MS, MINUTE_MS
from ocp_ingest.reconcile.book import Lease
from ocp_ingest.reconcile.drive import alarm_name
from ocp_proof.bounds import Bounds
from ocp_proof.law import BrokenLawError
from ocp_proof.story import settings_of, story_of
from ocp_sim import platform as sim
from tests.flow.stage import START_MS
from tests.proof import calls

GROUP = "emea-retail"
_JOB = msgspec.msgpack.Decoder(ExportJob)


def lease(owner: str, fence: int, *, group: str = GROUP, for_ms: int = 5 * MINUTE_MS) -> Lease:
    return Lease(ocp_group=group, owner=owner, fence=fence, until_ms=START_MS + for_ms)


def job(key: str = "a", **changes: Any) -> bytes:
    made = _JOB.decode(calls.job(key, changes.pop("group", GROUP)))
    return msgspec.msgpack.encode(msgspec.structs.replace(made, fence=3, **changes))


class TestExports:
    def setup_method(self) -> None:
        self.book = ExportBookState()
        self.book.leases[GROUP] = lease("one", 3)
        settings = settings_of(story_of(1))
        self.bounds = Bounds(settings, MemoryState(), self.book, lambda: START_MS)

    def open(self, key: str, body: bytes) -> None:
        self.book.jobs[key] = body
        self.book.open.add(key)

    def test_two_exports_of_one_group(self) -> None:
        self.open("a", job("a"))
        with pytest.raises(BrokenLawError, match="both export"):
            self.bounds.job("b", None, job("b"))
        self.book.leases["other"] = lease("one", 3, group="other")
        self.bounds.job("b", None, job("b", group="other"))

    def test_a_settled_job_that_goes_on(self) -> None:
        ended = job(state=State.ENDED)
        self.open("a", ended)
        self.bounds.job("a", ended, job())  # its runner never heard that it was kept
        self.book.open.clear()
        with pytest.raises(BrokenLawError, match="settled and goes on"):
            self.bounds.job("a", ended, job())

    def test_a_settled_job_that_is_opened_again(self) -> None:
        self.bounds.opened("a", True)
        self.bounds.opened("a", False)
        with pytest.raises(BrokenLawError, match="open again"):
            self.bounds.opened("a", True)

    def test_an_export_that_does_not_hold_what_the_job_is_for(self) -> None:
        from_ms = START_MS // HOUR_MS * HOUR_MS
        at_ocp = sim.Job(
            id="x1", ocp_group=GROUP, from_ms=from_ms, to_ms=from_ms + HOUR_MS,
            types=("audio", "dialog_start", "dialog_end"), created_ms=START_MS,
            started_ms=START_MS, ready_ms=None, expires_ms=START_MS, failed=False,
            created_by="api", files=(),
        )  # fmt: skip
        bounds = Bounds(
            settings_of(story_of(1)), MemoryState(), self.book, lambda: START_MS,
            lambda _group: {"x1": at_ocp},
        )  # fmt: skip
        bounds.job("a", None, job(export_id="x1"))
        with pytest.raises(BrokenLawError, match="has disappointed"):
            bounds.job("a", None, job(export_id="x1", spent_export_ids=("x1",)))
        with pytest.raises(BrokenLawError, match="does not hold"):
            bounds.job("a", None, job(export_id="x1", to_ms=from_ms + 2 * HOUR_MS))
        with pytest.raises(BrokenLawError, match="does not hold"):
            bounds.job("a", None, job(export_id="x1", types=("audio", "ivr_end")))

    def test_a_zombie_that_writes(self) -> None:
        self.book.leases[GROUP] = lease("two", 4)
        with pytest.raises(BrokenLawError, match="zombie"):
            self.bounds.job("a", None, job())

    @pytest.mark.parametrize(
        ("changes", "text"),
        [
            ({"to_ms": START_MS // HOUR_MS * HOUR_MS + 49 * HOUR_MS}, "a window"),
            ({"to_ms": START_MS // HOUR_MS * HOUR_MS + HOUR_MS + 1}, "a window"),
            ({"polls": 45}, "45 polls"),
            ({"creates": 700}, "700 POSTs"),
            ({"lost": 10}, "10 lost answers"),
            ({"cancels": 3}, "3 cancels"),
        ],
    )
    def test_a_bound_that_is_passed(self, changes: dict[str, int], text: str) -> None:
        from_ms = START_MS // HOUR_MS * HOUR_MS
        whole: dict[str, Any] = {"from_ms": from_ms, "to_ms": from_ms + HOUR_MS, **changes}
        with pytest.raises(BrokenLawError, match=text):
            self.bounds.job("a", None, job(**whole))

    def test_a_lease_that_is_taken_from_its_owner(self) -> None:
        with pytest.raises(BrokenLawError, match="took the lease"):
            self.bounds.lease(GROUP, lease("one", 3), lease("two", 4))
        over = lease("one", 3, for_ms=-5 * MINUTE_MS)
        self.bounds.lease(GROUP, over, lease("two", 4))
        with pytest.raises(BrokenLawError, match="old fence"):
            self.bounds.lease(GROUP, over, lease("two", 3))
        with pytest.raises(BrokenLawError, match="fell"):
            self.bounds.lease(GROUP, lease("one", 3), lease("one", 2))


class TestQueue:
    def setup_method(self) -> None:
        self.state = MemoryState()
        settings = settings_of(story_of(1))
        self.lease_ms = settings.limits.step_lease_ms
        self.book = ExportBookState()
        self.bounds = Bounds(settings, self.state, self.book, lambda: START_MS)

    def held(self, tries: int = 1) -> StoredMessage:
        at_ms = START_MS + self.lease_ms
        return StoredMessage(1, f"call:{calls.CALL_ID}", b"", at_ms, "held", tries)

    def test_a_message_that_waits_twice(self) -> None:
        self.state.messages[1] = waits = StoredMessage(1, "call:c", b"", 0)
        with pytest.raises(BrokenLawError, match="waits twice"):
            self.bounds.message(2, None, waits)

    def test_a_message_that_is_done_while_its_call_has_a_step_to_do(self) -> None:
        received = calls.whole_life()[:3]
        record = msgspec.msgpack.encode(fold(calls.CALL_ID, received))
        self.state.records[calls.CALL_ID] = record
        with pytest.raises(BrokenLawError, match="is done, and"):
            self.bounds.message(1, self.held(), None)
        self.bounds.changed_ms[calls.CALL_ID] = START_MS  # after its worker looked
        self.bounds.message(1, self.held(), None)
        self.bounds.changed_ms.clear()
        whole = msgspec.msgpack.encode(fold(calls.CALL_ID, calls.whole_life()))
        self.state.records[calls.CALL_ID] = whole
        self.bounds.message(1, self.held(), None)

    def test_a_message_that_was_tried_too_often(self) -> None:
        with pytest.raises(BrokenLawError, match="tried 9 times"):
            self.bounds.message(1, self.held(tries=9), None)

    def test_an_alarm_of_no_job_and_no_slot(self) -> None:
        self.bounds.alarm_set("detect")
        self.book.leases[GROUP] = lease("one", 3)
        self.bounds.alarm_set(f"slot:{GROUP}")
        with pytest.raises(BrokenLawError, match="an alarm of nothing"):
            self.bounds.alarm_set("slot:other")
        with pytest.raises(BrokenLawError, match="an alarm of nothing"):
            self.bounds.alarm_set(alarm_name("a"))
        self.bounds.job("a", None, job("a"))
        self.bounds.alarm_set(alarm_name("a"))
