"""The page of costs: computed, current, fair to both designs, and told when counts move away."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
import pytest

from tools import costs
from tools.cost_model import PRICES, Counts, load, rows, totals, usd

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


def test_what_is_counted_twice_as_often_costs_more() -> None:
    twice = {name: 2 * n for name, n in COUNTED.requests.items()}
    more = msgspec.structs.replace(COUNTED, requests=twice)
    assert totals(more, 3)[0] > totals(COUNTED, 3)[0]
    assert totals(more, 3)[1] == totals(COUNTED, 3)[1]


def test_counts_that_moved_by_more_than_a_fifth_are_told() -> None:
    assert costs.differences(COUNTED, COUNTED) == []
    units = {name: n * 1.19 for name, n in COUNTED.dynamodb_units.items()}
    assert costs.differences(COUNTED, msgspec.structs.replace(COUNTED, dynamodb_units=units)) == []
    units = {name: n * 1.21 for name, n in COUNTED.dynamodb_units.items()}
    fresh = msgspec.structs.replace(COUNTED, dynamodb_units=units)
    assert [line.split(" ")[0] for line in costs.differences(COUNTED, fresh)] == ["wru"]


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
