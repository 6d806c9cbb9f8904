"""Whole seeds, and that the laws can be broken: a check that can't fail proves nothing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ocp_ingest.core.call import fold
from ocp_proof.chance import Chance, Struck
from ocp_proof.invariants import BrokenLawError, Laws
from ocp_proof.run import Ran, run
from ocp_proof.shrink import shrink
from ocp_proof.story import settings_of, story_of
from tests.proof import calls

SEEDS = (7, 100, 103)


class TestSeeds:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_nothing_is_lost_in_any_of_these(self, seed: int) -> None:
        ran = run(seed)
        assert ran.broken == ""
        assert sum(ran.outcomes.values()) >= 100
        assert "in_flight" not in ran.outcomes
        assert ran.checks > 1_000

    def test_a_seed_replays_exactly(self) -> None:
        story = msgspec.structs.replace(story_of(11, 50), rate=1.0)
        first, again = run(11, story=story), run(11, story=story)
        assert first.struck == again.struck != ()
        assert (first.digest, first.steps) == (again.digest, again.steps)
        other = run(12, story=msgspec.structs.replace(story_of(12, 50), rate=1.0))
        assert other.digest != first.digest


class TestChance:
    def test_a_fault_switched_off_changes_nothing_before_it(self) -> None:
        kinds = (("a", 1.0), ("b", 1.0))

        def struck(off: frozenset[tuple[str, int]]) -> list[Struck]:
            chance = Chance(3, rate=2.0, off=off)
            for n in range(400):
                chance.draw("x" if n % 3 else "y", kinds)
            return chance.struck

        whole = struck(frozenset())
        assert len(whole) > 3
        gone = whole[2]
        assert struck(frozenset({(gone.point, gone.n)})) == [one for one in whole if one != gone]


class TestShrinking:
    def test_what_is_left_are_the_faults_that_break_it(self) -> None:
        guilty = {("p", 3), ("q", 8)}
        names = [("p", n) for n in range(1, 9)] + [("q", n) for n in range(1, 9)]

        def again(off: frozenset[tuple[str, int]]) -> Ran:
            left = tuple(Struck(p, n, "lost") for p, n in names if (p, n) not in off)
            broken = "broken" if guilty <= {(one.point, one.n) for one in left} else ""
            return Ran(seed=1, calls=50, days=1, steps=1, checks=1, seconds=0, struck=left,
                       points={}, outcomes={}, digest="", broken=broken)  # fmt: skip

        _, left = shrink(again(frozenset()), again=again)
        assert {(one.point, one.n) for one in left} == guilty


class TestLaws:
    """Each law, broken once."""

    def setup_method(self) -> None:
        self.settings = settings_of(story_of(1))
        self.laws = Laws(self.settings)

    def record(self, *events: Any) -> bytes:
        return msgspec.msgpack.encode(fold(calls.CALL_ID, events))

    def test_an_event_that_changes(self) -> None:
        self.laws.event("c", "e", None, b"1")
        with pytest.raises(BrokenLawError, match="changed"):
            self.laws.event("c", "e", b"1", b"2")

    def test_a_flag_that_is_unset(self) -> None:
        whole, less = self.record(*calls.cdrs()), self.record(calls.cdrs()[0])
        self.laws.record(calls.CALL_ID, less, whole)
        with pytest.raises(BrokenLawError, match="ended was unset"):
            self.laws.record(calls.CALL_ID, whole, less)

    def test_a_stored_recording_that_is_not_there(self) -> None:
        with pytest.raises(BrokenLawError, match="not in its bucket"):
            self.laws.record(calls.CALL_ID, None, self.record(*calls.whole_life()))

    def test_a_stored_recording_with_other_bytes(self) -> None:
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
        self.laws.journal = {calls.CALL_ID: calls.journal(calls.whole_life())}
        self.laws.object(calls.BUCKET, calls.KEY, None, held)
        with pytest.raises(BrokenLawError, match="another bucket"):
            self.laws.object("lob-cards", calls.KEY, None, held)

    def test_an_object_in_nobody_s_bucket(self) -> None:
        with pytest.raises(BrokenLawError, match="nobody"):
            self.laws.object("attic", "k", None, (calls.BODY, calls.SHA256))

    def test_two_exports_of_one_group(self) -> None:
        one, two = calls.job("a"), calls.job("b")
        self.laws.jobs, self.laws.open_jobs = {"a": one}, {"a"}
        with pytest.raises(BrokenLawError, match="both export"):
            self.laws.job("b", None, two)
        self.laws.job("b", None, calls.job("b", group="other"))
