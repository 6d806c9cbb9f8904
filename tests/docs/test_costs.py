"""The page of costs: computed, current, fair to both designs, and told when counts move away."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
import pytest

from tools import costs
from tools.cost_model import (
    PER_CALL,
    PER_LOOK,
    PER_WINDOW,
    PRICES,
    Counts,
    load,
    rows,
    totals,
    usd,
)

COUNTED: Final = load(costs.COUNTED)


def test_the_page_says_what_prices_and_counts_say() -> None:
    assert costs.stale() == [], "run make docs"


@pytest.mark.parametrize("months", [3, 12])
def test_the_page_says_whether_the_target_is_met(months: int) -> None:
    """The target is a ratio of RATIO_MIN; what is asserted is that nobody is told otherwise."""
    ours, naive = totals(COUNTED, months)
    said = "met" if naive / ours >= costs.RATIO_MIN else "MISSED"
    line = f"- {months} months kept: naive costs {naive / ours:.1f} times ours; target at least"
    assert f"{line} {costs.RATIO_MIN:.0f}: {said}" in costs.PAGE.read_text("utf-8")


@pytest.mark.parametrize("months", [3, 12])
def test_a_total_is_the_sum_of_its_rows(months: int) -> None:
    found = rows(COUNTED, months)
    assert len({row.name for row in found}) == len(found)
    ours, naive = totals(COUNTED, months)
    assert ours == pytest.approx(sum(usd(row.ours) for row in found))
    assert naive == pytest.approx(sum(usd(row.naive) for row in found))


def test_every_price_is_used_and_says_where_it_was_read() -> None:
    used = {key for row in rows(COUNTED, 3) for bill in (row.ours, row.naive) for _, key in bill}
    assert used | {"s3_ir_gb"} == set(PRICES)  # that one is for recordings, beside the table
    assert all(price.source and price.usd > 0 for price in PRICES.values())


@pytest.mark.parametrize("what", ["requests", "units"])
@pytest.mark.parametrize("who", [*PER_CALL, *PER_WINDOW, *PER_LOOK])
def test_what_is_counted_twice_as_often_costs_more(who: str, what: str) -> None:
    more = _times(2, who, what)
    assert totals(more, 3)[0] > totals(COUNTED, 3)[0]
    assert totals(more, 3)[1] == totals(COUNTED, 3)[1]


def test_what_goes_by_the_clock_is_priced_by_the_month_and_not_by_the_tests_calls() -> None:
    """A look that costs the same is as dear in a test of half as many calls; a call is dearer."""
    half = msgspec.structs.replace(COUNTED, stored=COUNTED.stored // 2)
    finding = {row.name: usd(row.ours) for row in rows(COUNTED, 3)}
    halved = {row.name: usd(row.ours) for row in rows(half, 3)}
    assert halved["Finding what is missing"] == finding["Finding what is missing"]
    assert halved["S3 requests"] == pytest.approx(2 * finding["S3 requests"])
    archive = "Journal outside the table (audit archive), counters"
    more = {row.name: usd(row.ours) for row in rows(_times(2, "archive", "requests"), 3)}
    assert more[archive] == finding[archive]


def test_messages_that_detection_sent_again_are_no_calls() -> None:
    again = _with_requests("detect", {"sqs.SendMessage": 50})
    work = {"sqs.ReceiveMessage": 50, "sqs.DeleteMessage": 50}
    held = {name: n + work.get(name, 0) for name, n in COUNTED.by["work"].requests.items()}
    before = _with_requests("detect", {})
    by = again.by | {"work": msgspec.structs.replace(COUNTED.by["work"], requests=held)}
    assert msgspec.structs.replace(again, by=by).sqs == pytest.approx(before.sqs)


def _with_requests(who: str, requests: dict[str, int]) -> Counts:
    by = COUNTED.by | {who: msgspec.structs.replace(COUNTED.by[who], requests=requests)}
    return msgspec.structs.replace(COUNTED, by=by)


def _times(factor: float, who: str, what: str) -> Counts:
    held = COUNTED.by[who]
    more = {
        name: n if name.startswith("sqs.") else round(factor * n)  # those have a law of their own
        for name, n in getattr(held, what).items()
    }
    by = COUNTED.by | {who: msgspec.structs.replace(held, **{what: more})}
    return msgspec.structs.replace(COUNTED, by=by)


def test_counts_that_moved_by_more_than_a_fifth_are_told() -> None:
    assert costs.differences(COUNTED, COUNTED) == []
    assert costs.differences(COUNTED, _writing(1.19)) == []
    assert [line.split(" ")[0] for line in costs.differences(COUNTED, _writing(1.21))] == ["wru"]


def _writing(factor: float) -> Counts:
    by = {
        who: msgspec.structs.replace(
            held, units={name: factor * n for name, n in held.units.items()}
        )
        for who, held in COUNTED.by.items()
    }
    return msgspec.structs.replace(COUNTED, by=by)


def test_windows_are_compared_where_both_had_some() -> None:
    held = _with_windows(state_transitions=200, executions={"SUCCEEDED": 8, "FAILED": 2})
    assert held.windows == 10
    moved = msgspec.structs.replace(held, state_transitions=300)
    none = _with_windows(state_transitions=0, executions={})
    assert costs.differences(held, none) == []
    (line,) = costs.differences(held, moved)
    assert line == "state transitions per window: 20.00 was committed, 30.00 is counted now"


def _with_windows(**changes: object) -> Counts:
    return msgspec.structs.replace(COUNTED, **changes)


def test_check_reads_a_fresh_file(tmp_path: Path) -> None:
    fresh = tmp_path / "fresh.json"
    fresh.write_bytes(costs.COUNTED.read_bytes())
    assert costs.check(fresh) == []
    assert costs.main(["--check", str(fresh)]) == 0
    fresh.write_bytes(msgspec.json.encode(msgspec.structs.replace(COUNTED, stored=10)))
    assert costs.main(["--check", str(fresh)]) == 1
