"""How jobs are drawn: geometry of the time axis, and looks that need no colour."""

from __future__ import annotations

from datetime import datetime
from typing import Any, get_args
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ocp_ingest.core.export_facts import End, ExportJob, State, VendorStatus
from ocp_ingest.core.limits import DAY_MS, HOUR_MS
from ocp_ingest.entrypoints.console import timeline
from ocp_ingest.entrypoints.console.jobs import LOOKS, look_of
from ocp_ingest.entrypoints.console.locale import texts
from ocp_ingest.reconcile.results import Said

# -- words ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", ["en", "es"])
def test_every_state_end_status_and_result_has_words_in_both_languages(lang: Any) -> None:
    held = texts()
    keys = [f"state.{state.value}{more}" for state in State for more in ("", "_means")]
    keys += [f"end.{end.value}{more}" for end in End for more in ("", "_means")]
    keys += [f"status.{status.value}" for status in VendorStatus]
    keys += [f"look.{look.name}" for look in LOOKS]
    keys += [f"type.{name}" for name in ("audio", "dialog_start", "dialog_end")]
    keys += [f"result.{said}" for said in get_args(Said)]
    for key in keys:
        assert held.text(lang, f"reconciliation.{key}")


def test_no_two_looks_are_told_by_colour_alone() -> None:
    assert len({look.sign for look in LOOKS}) == len(LOOKS)
    assert len({look.name for look in LOOKS}) == len(LOOKS)


def test_only_ends_that_wait_for_a_person_look_so() -> None:
    job = ExportJob(
        job_key="k", ocp_group="g", from_ms=0, to_ms=HOUR_MS, attempt=1, planned_at=0,
        ready_from=0, alpha_s=1.0, beta_s=1.0,
    )  # fmt: skip
    looks = {
        end: look_of(msgspec.structs.replace(job, state=State.ENDED, end=end)).name for end in End
    }
    assert looks.pop(End.DONE) == "done"
    assert {end for end, look in looks.items() if look == "refused"} == {
        End.REFUSED, End.QUARANTINED,
    }  # fmt: skip
    assert set(looks.values()) == {"again", "refused"}
    states = {state: look_of(msgspec.structs.replace(job, state=state)).name for state in State}
    assert states[State.BLOCKED] == "blocked"
    assert states[State.RUNNING] == "exporting"
    assert states[State.DOWNLOADING] == "downloading"


# -- the axis -------------------------------------------------------------------------------------

MINUTE_MS = HOUR_MS // 60
# Starts and lengths in minutes; days crowd into a drawing of three.
SPANS = st.lists(st.tuples(st.integers(0, 7_000), st.integers(1, 2_880)), max_size=60)


@given(SPANS)
@example([(1_440, 60)] * 40)
@example([(5_750, 5)])
@example([(2_000 + n, 60) for n in range(60, 180)])
def test_no_two_bars_of_a_lane_touch_and_none_leaves_it(spans: list[tuple[int, int]]) -> None:
    items = [
        (start * MINUTE_MS, (start + length) * MINUTE_MS, n)
        for n, (start, length) in enumerate(spans)
    ]
    made = timeline.lane(items, 24 * HOUR_MS, 96 * HOUR_MS, 50 * HOUR_MS, ZoneInfo("UTC"))
    seen = [s for s in items if s[0] < 96 * HOUR_MS and s[1] > 24 * HOUR_MS]
    assert len(made.bars) + made.left_out == len(seen), "each is drawn, or counted"
    for bar in made.bars:
        assert bar.x >= 0
        assert bar.x + bar.width <= timeline.WIDTH
        assert bar.width >= timeline.BAR_WIDTH_MIN - 2
        assert bar.y + timeline.ROW_HEIGHT <= made.height - timeline.AXIS_HEIGHT
        for other in made.bars:
            if other is not bar and other.row == bar.row:
                assert bar.x + bar.width < other.x or other.x + other.width < bar.x


def test_a_bar_lies_over_the_hours_of_its_window() -> None:
    [bar] = timeline.lane(
        [(6 * HOUR_MS, 18 * HOUR_MS, "w")], 0, DAY_MS, 0, ZoneInfo("UTC")
    ).bars  # fmt: skip
    assert (bar.x, bar.x + bar.width) == (250, 748)


@given(st.sampled_from([1, 3, 7, 14, 30, 60]), st.integers(1_700_000_000_000, 1_800_000_000_000))
def test_marks_are_few_and_round_in_the_zone_also_when_clocks_change(days: int, end: int) -> None:
    zone = ZoneInfo("Europe/Madrid")
    marks = timeline.ticks(end - days * DAY_MS, end, zone)
    assert 3 <= len(marks) <= timeline.TICKS_MAX
    assert [mark.x for mark in marks] == sorted({mark.x for mark in marks})
    for mark in marks:
        at = datetime.fromtimestamp(mark.at_ms / 1000, zone)
        assert (at.minute, at.second) == (0, 0)
        assert mark.day is (at.hour == 0)
