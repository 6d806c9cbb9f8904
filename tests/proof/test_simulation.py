"""Whole seeds, and that the laws can be broken: a check that can't fail proves nothing."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ocp_ingest.adapters import memory
from ocp_ingest.adapters.memory.recording_store import MemoryRecordingStore
from ocp_ingest.core import events as ev
from ocp_ingest.core.call import fold
from ocp_ingest.core.events import Event
from ocp_ingest.core.limits import HOUR_MS
from ocp_proof import readings
from ocp_proof.chance import Chance, Name, Struck, aims
from ocp_proof.effects import ALL_PAIRS, EFFECTS, ELSEWHERE
from ocp_proof.invariants import Laws
from ocp_proof.law import BrokenLawError
from ocp_proof.run import Ran, run
from ocp_proof.shrink import shrink
from ocp_proof.story import END_MS, Story, settings_of, story_of
from tests.proof import calls

# One without many faults, one with hundreds, one whose outage outlasts OCP's retention, one in
# which exports fail and stores of ours are out.
SEEDS = (7, 82, 13, 18)


def busy_story(seed: int) -> Story:
    """A small world in which much goes wrong."""
    return msgspec.structs.replace(story_of(seed, 50), rate=1.0)


class TestSeeds:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_nothing_is_lost_in_any_of_these(self, seed: int) -> None:
        ran = run(seed)
        assert ran.broken == ""
        # In the dark a call may never be heard of; which ones, the law at the end says of each.
        assert sum(ran.outcomes.values()) >= (1 if story_of(seed).dark else 100)
        assert "in_flight" not in ran.outcomes
        assert ran.checks > 1_000

    def test_what_people_ask_for_in_the_last_hour_is_done_too(self) -> None:
        late = (END_MS - HOUR_MS) | 1  # an odd time: everything is opened again
        ran = run(2, story=msgspec.structs.replace(story_of(2, 20), acts=((late, "bulk", 0),)))
        assert ran.broken == ""

    def test_a_seed_replays_exactly_in_other_processes_too(self) -> None:
        first = run(11, story=busy_story(11))
        assert first.struck != ()
        assert first.broken == ""
        for hash_seed in ("1", "2"):
            assert elsewhere(11, hash_seed) == [first.trace, first.digest]
        other = run(12, story=busy_story(12))
        assert (other.trace, other.digest) != (first.trace, first.digest)

    def test_a_broken_law_is_found_replayed_and_shrunk_to_the_fault_that_broke_it(self) -> None:
        seed = next(seed for seed in range(1, 200) if _is_aimed_at_copies(seed))

        def again(off: frozenset[Name] = frozenset()) -> Ran:
            return run(seed, calls=50, off=off, recordings=Trusting)

        broken = again()
        assert "other bytes than were proved" in broken.broken
        assert again().broken == broken.broken
        best, left = shrink(broken, again=again)
        assert best.broken
        assert [one.point for one in left] == ["RecordingStore.copy_once.bytes"]
        assert left[0].what in ("corrupt", "torn")
        assert run(seed, calls=50).broken == ""


def _is_aimed_at_copies(seed: int) -> bool:
    found = {(point, what) for (point, n), what in aims(seed).items() if n <= 8}
    aimed = ("RecordingStore.copy_once.bytes", "corrupt") in found
    return aimed and story_of(seed).rate > 0 and not story_of(seed).dark


class Trusting(MemoryRecordingStore):
    """The store as it must not be: it does not look at what arrived."""

    async def copy_once(
        self, bucket: str, key: str, to_bucket: str, to_key: str, sha256: str
    ) -> bool:
        source = self._object(bucket, key)[0]
        if self._stands(to_bucket, to_key, sha256):
            return False
        body = self._faults.through("RecordingStore.copy_once.bytes", source)
        return self._create(to_bucket, to_key, body, sha256)


def elsewhere(seed: int, hash_seed: str) -> list[str]:
    """The same run in a process of its own, whose sets and dicts of texts have another order."""
    code = (
        "from ocp_proof.run import run; from tests.proof.test_simulation import busy_story; "
        f"ran = run({seed}, story=busy_story({seed})); print(ran.trace, ran.digest)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    return done.stdout.split()[-2:]


class TestTheTable:
    def test_every_effect_of_the_memory_adapters_is_in_it(self) -> None:
        assert memory.__file__ is not None
        named = {
            point
            for path in Path(memory.__file__).parent.glob("*.py")
            for point in re.findall(r'(?:at|through)\(\s*"([A-Za-z_.]+)"', path.read_text("utf-8"))
        }
        known = {point for point in EFFECTS if not point.endswith("()")} | set(ELSEWHERE)
        unknown = {point for point in named - known if f"{point.partition('.')[0]}.*" not in known}
        assert not unknown, "say which faults can strike it, or who proves it instead"
        ours = {point for point in known if not point.startswith(("Ocp.", "Push."))}
        stale = {point for point in ours - named if not point.endswith(".*")}
        assert not stale, "these effects are no more"

    def test_nothing_is_in_both_parts_of_it(self) -> None:
        assert not set(EFFECTS) & set(ELSEWHERE)

    def test_some_fifty_seeds_aim_at_every_pair(self) -> None:
        aimed = {(point, kind) for seed in range(60) for (point, _), kind in aims(seed).items()}
        assert aimed == set(ALL_PAIRS)


class TestChance:
    def test_a_fault_switched_off_changes_nothing_before_it(self) -> None:
        def struck(off: frozenset[tuple[str, int]]) -> list[Struck]:
            chance = Chance(3, rate=12.0, off=off)
            for n in range(400):
                chance.draw("Ocp.create" if n % 3 else "CallStore.load")
            return chance.struck

        whole = struck(frozenset())
        assert len(whole) > 3
        gone = whole[2]
        assert struck(frozenset({(gone.point, gone.n)})) == [one for one in whole if one != gone]

    def test_only_faults_of_the_seed_s_own_kinds_happen_besides_those_it_aims_at(self) -> None:
        chance = Chance(3, rate=12.0, kinds=frozenset({"lost"}))
        for _ in range(400):
            chance.draw("CallStore.load")
        others = {(s.point, s.n): s.what for s in chance.struck if s.what != "lost"}
        assert others.items() <= aims(3).items()
        assert len(chance.struck) > 10

    def test_without_a_rate_nothing_goes_wrong(self) -> None:
        chance = Chance(3, rate=0.0)
        assert all(chance.draw(point) is None for point in EFFECTS for _ in range(50))

    def test_what_is_asked_of_a_store_that_is_out_fails_until_it_is_back(self) -> None:
        now_us = 0
        chance = Chance(
            4, rate=1e-9, now_us=lambda: now_us, outages_ms=[(1_000, 2_000, "CallStore.append")]
        )

        def fails(point: str) -> int:
            return sum(chance.draw(point) is not None for _ in range(10))

        for _ in range(50):  # past the passes that the seed aims at
            chance.draw("CallStore.load")
            chance.draw("CallStore.append.journal")
        assert fails("CallStore.append.journal") == 0
        now_us = 1_500_000
        assert fails("CallStore.append.journal") == 10
        assert fails("CallStore.load") == 0
        assert {one.what for one in chance.struck[-10:]} == {"lost", "unanswered"}
        now_us = 2_000_000
        assert fails("CallStore.append.journal") == 0
        chance.out("CallStore.load", 5)
        assert fails("CallStore.load") == 10


class TestReadings:
    def test_a_record_that_somebody_changes_in_place_is_noticed(self) -> None:
        body = msgspec.msgpack.encode(fold(calls.CALL_ID, calls.whole_life()))
        try:
            readings.CALLS(calls.CALL_ID, body)
            readings.unchanged()
            readings.CALLS(calls.CALL_ID, body).regs.clear()
            with pytest.raises(BrokenLawError, match="changed in place"):
                readings.unchanged()
        finally:
            readings.forget()

    def test_other_bytes_under_the_same_name_are_read_anew(self) -> None:
        first, whole = (
            msgspec.msgpack.encode(fold(calls.CALL_ID, events))
            for events in (calls.whole_life()[:1], calls.whole_life())
        )
        try:
            assert readings.CALLS(calls.CALL_ID, first) != readings.CALLS(calls.CALL_ID, whole)
        finally:
            readings.forget()


class TestShrinking:
    def test_what_is_left_are_the_faults_that_break_it(self) -> None:
        guilty = {("p", 3), ("q", 8)}
        names = [("p", n) for n in range(1, 9)] + [("q", n) for n in range(1, 9)]

        def again(off: frozenset[tuple[str, int]]) -> Ran:
            left = tuple(Struck(p, n, "lost") for p, n in names if (p, n) not in off)
            broken = "broken" if guilty <= {(one.point, one.n) for one in left} else ""
            return Ran(seed=1, calls=50, days=1, steps=1, checks=1, seconds=0, struck=left,
                       points={}, outcomes={}, digest="", trace="", broken=broken)  # fmt: skip

        _, left = shrink(again(frozenset()), again=again)
        assert {(one.point, one.n) for one in left} == guilty


class TestLaws:
    """Each law, broken once."""

    def setup_method(self) -> None:
        self.settings = settings_of(story_of(1))
        self.laws = Laws(self.settings)
        self.laws.journal = {calls.CALL_ID: {}}

    def journalled(self, *events: Event) -> None:
        for event in events:
            body = msgspec.json.encode(event)
            self.laws.event(event.call_id, event.event_id, None, body)
            self.laws.journal[event.call_id][event.event_id] = body

    def record(self, *events: Any) -> bytes:
        return msgspec.msgpack.encode(fold(calls.CALL_ID, events))

    def test_an_event_that_changes(self) -> None:
        with pytest.raises(BrokenLawError, match="changed"):
            self.laws.event("c", "e", b"1", b"2")

    def test_a_record_that_says_what_its_journal_does_not(self) -> None:
        start, end = calls.cdrs()
        self.journalled(start)
        self.laws.record(calls.CALL_ID, None, self.record(start))
        with pytest.raises(BrokenLawError, match="what its journal does not"):
            self.laws.record(calls.CALL_ID, None, self.record(start, end))
        self.journalled(end)
        self.laws.record(calls.CALL_ID, None, self.record(start))
        self.laws.record(calls.CALL_ID, None, self.record(start, end))

    def test_an_answer_before_the_journal_has_it(self) -> None:
        start, _ = calls.cdrs()
        self.laws.records = {calls.CALL_ID: self.record(start)}
        with pytest.raises(BrokenLawError, match="not in the journal"):
            self.laws.acknowledged(calls.CALL_ID, start.event_id)
        self.journalled(start)
        self.laws.acknowledged(calls.CALL_ID, start.event_id)
        self.laws.records = {calls.CALL_ID: self.record()}
        with pytest.raises(BrokenLawError, match="not in the record"):
            self.laws.acknowledged(calls.CALL_ID, start.event_id)

    def test_a_refusal_that_nobody_can_look_at(self) -> None:
        with pytest.raises(BrokenLawError, match="no evidence"):
            self.laws.refused(b"hello")

    def test_a_flag_that_is_unset(self) -> None:
        whole, less = self.record(*calls.cdrs()), self.record(calls.cdrs()[0])
        self.journalled(*calls.cdrs())
        self.laws.record(calls.CALL_ID, less, whole)
        with pytest.raises(BrokenLawError, match="ended was unset"):
            self.laws.record(calls.CALL_ID, whole, less)

    def test_a_stored_recording_that_is_not_there(self) -> None:
        self.journalled(*calls.whole_life())
        with pytest.raises(BrokenLawError, match="not in its bucket"):
            self.laws.record(calls.CALL_ID, None, self.record(*calls.whole_life()))

    def test_a_stored_recording_with_other_bytes(self) -> None:
        self.journalled(*calls.whole_life())
        self.laws.buckets = {calls.BUCKET: {calls.KEY: (b"other", "")}}
        with pytest.raises(BrokenLawError, match="other bytes"):
            self.laws.record(calls.CALL_ID, None, self.record(*calls.whole_life()))
        self.laws.buckets = {calls.BUCKET: {calls.KEY: (calls.BODY, "")}}
        self.laws.record(calls.CALL_ID, None, self.record(*calls.whole_life()))

    def test_an_object_that_is_overwritten_or_removed(self) -> None:
        held = (calls.BODY, calls.SHA256)
        with pytest.raises(BrokenLawError, match="overwritten"):
            self.laws.object("quarantine", "k", held, held)
        with pytest.raises(BrokenLawError, match="removed"):
            self.laws.object("quarantine", "k", held, None)
        self.laws.object("landing", "k", held, None)

    def test_an_object_where_nothing_was_routed(self) -> None:
        held = (calls.BODY, calls.SHA256)
        with pytest.raises(BrokenLawError, match="nothing was routed"):
            self.laws.object(calls.BUCKET, calls.KEY, None, held)
        self.journalled(*calls.whole_life())
        self.laws.object(calls.BUCKET, calls.KEY, None, held)
        with pytest.raises(BrokenLawError, match="another bucket"):
            self.laws.object("lob-cards", calls.KEY, None, held)

    def test_other_bytes_than_were_routed_unless_these_were_lost(self) -> None:
        life, other = calls.whole_life()[:-1], b"a better one"
        sha = hashlib.sha256(other).hexdigest()
        came = [
            ev.received(
                calls.CALL_ID, calls.CALL_ID, sha, at_ms=life[-1].at_ms, source="export",
                size_bytes=len(other), landing_key="cc/dd", name="", name_parts={},
                container="wav",
            ),
            ev.inspected(calls.CALL_ID, calls.CALL_ID, sha, at_ms=0, report={"problems": []}),
        ]  # fmt: skip
        valid = ev.validated(
            calls.CALL_ID, calls.CALL_ID, sha, epoch=0, at_ms=0, valid=True, problems=[], rules="r"
        )
        gone = ev.landing_lost(
            calls.CALL_ID, calls.CALL_ID, calls.SHA256, at_ms=0, landing_key="aa/bb", how="Gone."
        )
        self.journalled(*life, *came, valid)
        with pytest.raises(BrokenLawError, match="other bytes than were routed"):
            self.laws.object(calls.BUCKET, calls.KEY, None, (other, sha))
        self.journalled(gone)
        self.laws.object(calls.BUCKET, calls.KEY, None, (other, sha))

    def test_broken_bytes_in_place_of_whole_ones_that_were_lost(self) -> None:
        life, page = calls.whole_life()[:-1], b"<html>502</html>"
        sha = hashlib.sha256(page).hexdigest()
        report = {"problems": [{"severity": "error", "code": "not_audio.html", "text": "t"}]}
        came = [
            ev.received(
                calls.CALL_ID, calls.CALL_ID, sha, at_ms=life[-1].at_ms, source="stream",
                size_bytes=len(page), landing_key="cc/dd", name="", name_parts={},
                container="html",
            ),
            ev.inspected(calls.CALL_ID, calls.CALL_ID, sha, at_ms=0, report=report),
            ev.validated(calls.CALL_ID, calls.CALL_ID, sha, epoch=0, at_ms=0, valid=True,
                         problems=[], rules="r"),
            ev.landing_lost(calls.CALL_ID, calls.CALL_ID, calls.SHA256, at_ms=0,
                            landing_key="aa/bb", how="Gone."),
        ]  # fmt: skip
        self.journalled(*life, *came)
        with pytest.raises(BrokenLawError, match="other bytes than were routed"):
            self.laws.object(calls.BUCKET, calls.KEY, None, (page, sha))

    def test_an_object_in_nobody_s_bucket(self) -> None:
        with pytest.raises(BrokenLawError, match="nobody"):
            self.laws.object("attic", "k", None, (calls.BODY, calls.SHA256))
