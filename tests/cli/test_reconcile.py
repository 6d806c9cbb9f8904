"""`ocp-ingest reconcile …` against a real simulator of OCP, and without one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocp_sim import config
from ocp_sim.model import Call
from ocp_sim.world import build_world
from tests.cli.kit import OCP, Shop
from tests.story.kit import Sim, Talk

HOUR_MS = 3_600_000
CALLS = 8
SEED = 3

SIM = f"""\
calls = {CALLS}
seed = {SEED}

[world]
start_ms = {{start_ms}}
hours = 3

[export]
# Jobs take no time, polls come within a second.
watermark_s = 0
pending_s = 0.1
job_fixed_s = 0.1
job_per_hour_s = 0.001
redirect_share = 0
"""
QUICK = """
[reconcile]
census = false  # only by hand

[stage2]
poll_delays_s = [1]
poll_every_s = 1
backoff_min_ms = 20
backoff_max_ms = 40
errors_max = 2
"""


def _old(talk: Talk, hours: int) -> Talk:
    talk.start_ms -= hours * HOUR_MS
    return talk


class Site:
    """A shop whose OCP runs, with the calls that OCP has."""

    def __init__(self, shop: Shop, calls: tuple[Call, ...]) -> None:
        self.shop = shop
        self.calls = calls

    def announce(self, calls: tuple[Call, ...]) -> None:
        """The stream told of these calls and lost their recordings."""
        for call in calls:
            self.shop.events(*(dict(cdr.body) for cdr in call.cdrs))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    start_ms = int(time.time() * 1000) // HOUR_MS * HOUR_MS - 20 * HOUR_MS
    with Sim(tmp_path, SIM.format(start_ms=start_ms)) as sim:
        sim.start("--calm")
        login = OCP.replace("http://127.0.0.1:9", sim.url).replace(
            'groups = ["emea-retail"]', 'groups = ["emea-retail", "latam-retail"]'
        )
        world = config.World(start_ms=start_ms, hours=3, faults=config.CALM)
        calls = build_world(SEED, CALLS, world).calls
        yield Site(Shop(tmp_path, login + QUICK), calls)


@pytest.mark.slow
def test_a_run_recovers_what_was_lost_and_a_census_finds_the_rest(site: Site) -> None:
    shop, announced = site.shop, site.calls[:-2]
    site.announce(announced)
    before = shop.run("reconcile", "status", "--json").json()
    assert sum(before["waiting"].values()) == len(announced)
    assert before["jobs"] == []
    _the_plan_is_shown_and_nothing_done(site, announced)

    answer = shop.run("reconcile", "run", "--json")
    assert answer.code == 0, answer.err
    ran = answer.json()
    assert ran.keys() == {"looked_at", "resumed", "closed", "asked", "ended"}
    assert sum(ran["asked"].values()) == len(announced)
    assert set(ran["ended"]) == {"done"}
    stored = shop.run("calls", "list", "--json", "--outcome", "stored").lines()
    assert {view["call_id"] for view in stored} == {call.call_id for call in announced}
    assert all(view["recordings"][0]["source"] == "export" for view in stored)
    assert all(view["export"]["job_id"] for view in stored)
    status = shop.run("reconcile", "status", "--json").json()
    assert status.keys() == {"waiting", "groups", "jobs"}
    assert status["waiting"] == {}
    assert sum(job["calls"] for job in status["jobs"]) == len(announced)
    assert {job["end"] for job in status["jobs"]} == {"done"}
    text = shop.run("reconcile", "status").out
    assert all(job["job_key"] in text for job in status["jobs"])

    _a_census_finds_calls_never_announced(site)


def _the_plan_is_shown_and_nothing_done(site: Site, announced: tuple[Call, ...]) -> None:
    answer = site.shop.run("reconcile", "run", "--dry-run", "--json")
    assert answer.code == 0, answer.err
    plans = answer.json()
    planned: list[str] = []
    for plan in plans:
        assert plan.keys() == {"ocp_group", "predicted_s", "closed", "windows", "deferred"}
        for window in plan["windows"]:
            assert window.keys() == {"from", "to", "calls", "predicted_s", "urgent", "why"}
            planned += window["calls"]
    assert sorted(planned) == sorted(call.call_id for call in announced)
    text = site.shop.run("reconcile", "run", "--dry-run").out
    assert all(plan["ocp_group"] in text for plan in plans)
    assert site.shop.run("reconcile", "status", "--json").json()["jobs"] == []


def _a_census_finds_calls_never_announced(site: Site) -> None:
    shop, silent = site.shop, site.calls[-2:]
    answer = shop.run("reconcile", "census", "--json")
    assert answer.code == 0, answer.err
    counted = {line["ocp_group"]: line for line in answer.json()}
    assert set(counted) == {"emea-retail", "latam-retail"}
    assert sum(line["news"] for line in counted.values()) >= len(silent)
    listed = {view["call_id"] for view in shop.run("calls", "list", "--json").lines()}
    assert {call.call_id for call in silent} <= listed
    assert "lines read" in shop.run("reconcile", "census").out


def test_calls_of_an_unknown_group_are_planned_where_a_run_would_ask_for_them(
    tmp_path: Path,
) -> None:
    shop = Shop(tmp_path, OCP)
    talk = _old(shop.talk(), 20)
    start = talk.start()
    del start["flow"]["ocp_group_name"]
    end = start | {k: v for k, v in talk.end().items() if k not in start or k == "message_type"}
    shop.events(start, end)
    [plan] = shop.run("reconcile", "run", "--dry-run", "--json").json()
    assert plan["ocp_group"] == "emea-retail"


def test_a_run_whose_ocp_does_not_answer_says_try_again(tmp_path: Path) -> None:
    shop = Shop(tmp_path, OCP + QUICK)
    talk = _old(shop.talk(), 20)
    shop.events(talk.start(), talk.end())
    answer = shop.run("reconcile", "run", "--json")
    assert answer.code == 5, (answer.out, answer.err)
    assert answer.json()["ended"] == {"vendor_down": 1}
    view = shop.run("calls", "show", talk.call_id, "--json").json()
    assert view["outcome"] is None
    assert view["next"]["action"] == "ask_export"


def test_a_census_whose_ocp_does_not_answer_says_try_again(tmp_path: Path) -> None:
    shop = Shop(tmp_path, OCP + QUICK)
    shop.create()
    answer = shop.run("reconcile", "census", "--json")
    assert answer.code == 5, (answer.out, answer.err)
    assert answer.json()[0]["ocp_group"] == "emea-retail"


def test_without_an_export_api_nothing_is_run_and_nothing_is_planned(shop: Shop) -> None:
    talk = _old(shop.talk(), 20)
    shop.events(talk.start(), talk.end())
    for command in (("run",), ("census",)):
        answer = shop.run("reconcile", *command)
        assert answer.code == 2
        assert "[ocp]" in answer.err
    answer = shop.run("reconcile", "run", "--dry-run")
    assert answer.code == 0
    assert answer.out.startswith("Nothing is due")
    assert shop.run("reconcile", "run", "--dry-run", "--json").json() == []
