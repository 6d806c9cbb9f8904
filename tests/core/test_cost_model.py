"""The cost model learns a line, forgets slowly, and never predicts nonsense."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_ingest.core.cost_model import JOBS_MEMORY, CostModel

jobs = st.lists(st.tuples(st.integers(1, 48), st.floats(-10, 1e6)), max_size=80)


def learned(history: list[tuple[int, float]]) -> CostModel:
    model = CostModel()
    for hours, seconds in history:
        model = model.observe(hours, seconds)
    return model


def test_without_history_the_prior_predicts() -> None:
    assert CostModel().line() == pytest.approx((120, 30))
    assert CostModel().predict_s(10) == pytest.approx(420)


@pytest.mark.parametrize(("alpha", "beta"), [(300, 30), (120, 60), (20, 0), (600, 5)])
def test_it_learns_the_line_of_its_jobs(alpha: float, beta: float) -> None:
    spans = [1, 2, 5, 12, 24, 48] * 10
    model = learned([(hours, alpha + beta * hours) for hours in spans])
    assert model.alpha_s == pytest.approx(alpha, abs=12)
    assert model.beta_s == pytest.approx(beta, rel=0.05, abs=0.6)


def test_one_job_moves_the_prediction_towards_it() -> None:
    model = CostModel().observe(2, 900)
    assert 180 < model.predict_s(2) < 900


def test_many_jobs_of_one_span_predict_that_span_and_stay_sane_elsewhere() -> None:
    model = learned([(2, 900.0)] * 40)
    assert model.predict_s(2) == pytest.approx(900, rel=0.1)
    assert 900 < model.predict_s(48) < 4000


def test_it_forgets_an_older_ocp() -> None:
    spans = [1, 12, 48]
    slow = [(spans[i % 3], 3000.0 + 100 * spans[i % 3]) for i in range(200)]
    fast = [(spans[i % 3], 60.0 + 5 * spans[i % 3]) for i in range(400)]
    assert learned(slow + fast).predict_s(24) == pytest.approx(180, rel=0.15)


@given(jobs)
def test_neither_coefficient_is_ever_negative_and_memory_is_bounded(
    history: list[tuple[int, float]],
) -> None:
    model = learned(history)
    alpha, beta = model.line()
    assert alpha >= 0
    assert beta >= 0
    assert model.predict_s(1) >= 1
    assert model.predict_s(48) <= 48 * 6 * 3600
    assert model.n <= JOBS_MEMORY


def test_falling_and_steep_histories_are_clamped_to_the_best_line_allowed() -> None:
    falling = learned([(1, 5000.0), (48, 10.0)] * 20)
    assert falling.beta_s == 0
    steep = learned([(1, 1.0), (2, 1.0), (10, 3000.0), (48, 20000.0)] * 15)
    assert steep.alpha_s == 0
    assert steep.beta_s > 0


@given(jobs, jobs)
def test_merging_is_symmetric_and_bounded(
    left: list[tuple[int, float]], right: list[tuple[int, float]]
) -> None:
    a, b = learned(left), learned(right)
    assert a.merge(b) == b.merge(a)
    assert a.merge(b).n <= JOBS_MEMORY * (1 + 1e-9)
    assert a.merge(CostModel()) == a
