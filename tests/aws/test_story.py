"""The whole system on servers that stand for AWS: nothing is lost, whatever happens to it.

Each story is one deployment and one bad day of calls: a tenth of the recordings never arrives, the
simulator's usual faults are on. The verdict is the demo's, and it is the same for every story.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ocp_ingest.demo.setting import prepare, write_config
from tests.aws.servers import provision
from tests.aws.servers.fetch import ROOT, Missing, Servers
from tests.aws.servers.launch import Server
from tests.aws.story import RECORD_BYTES_MAX, Story, Verdict

OPERATIONS_FILE = ROOT / "build" / "aws-operations.json"
# A day of this many calls is what the cost page counts; the others show one thing each.
CALLS = 200
FEW_CALLS = 40
FEW_SPEED = 1800.0
# What the worker promises; its container gives it 120.
STOP_S_MAX = 100

Telling = Callable[..., Story]


@pytest.fixture(scope="module")
def template(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The template of a deployment with the demo's lines of business."""
    if servers.localstack is None:
        pytest.skip(servers.why)
    folder = tmp_path_factory.mktemp("synth")
    place = prepare(folder / "demo", 1, 1)
    config = write_config(place, port=1, sim_port=1, speed=1.0, real_s=0.0)
    with config.open("a") as file:
        file.write('\n[console]\npublic_url = "https://calls.example.com"\n')
    try:
        return provision.synthesise(config, folder / "out")
    except Missing as missing:
        pytest.fail(str(missing))


@pytest.fixture
def tell(servers: Servers, template: dict[str, Any], tmp_path: Path) -> Iterator[Telling]:
    """Opens a story; it is closed with the test."""
    told: list[Story] = []

    def open_story(**options: Any) -> Story:
        story = Story(servers, tmp_path / f"story-{len(told)}", template, **options)
        told.append(story)
        return story.__enter__()

    yield open_story
    for story in told:
        story.__exit__(None, None, None)


def ended_well(verdict: Verdict) -> None:
    """Conservation holds, every call ended as OCP's ledger says, every byte is OCP's."""
    assert not verdict.problems(), "\n".join(verdict.problems()[:30])
    assert verdict.terms["holds"] is True
    assert verdict.compared.recovered > 0, "nothing had to be recovered: this day proves little"


@pytest.mark.timeout(1200)
def test_a_bad_day_ends_as_it_should(tell: Telling) -> None:
    story = tell(calls=CALLS)
    story.begin()
    verdict = story.run()
    OPERATIONS_FILE.parent.mkdir(exist_ok=True)
    OPERATIONS_FILE.write_text(json.dumps(verdict.operations, indent=2) + "\n", "utf-8")
    ended_well(verdict)
    assert verdict.compared.calls == CALLS
    assert verdict.operations["record_bytes"]["p99"] <= RECORD_BYTES_MAX
    assert verdict.operations["schedules"]["duplicates"] > 0, "each timer rang once only"
    # An execution that nobody foresaw would have ended in an incident.
    assert set(verdict.operations["executions"]) <= {"SUCCEEDED", "RUNNING"}
    # After the day: every event has its link in a chain, and people find what the ledger says.
    assert story.unsealed() == 0
    story.people()


@pytest.mark.timeout(900)
def test_requests_that_fail_and_answers_that_are_lost_change_nothing(tell: Telling) -> None:
    story = tell(calls=FEW_CALLS, speed=FEW_SPEED)
    story.break_requests(0.03)
    story.begin()
    story.watch()
    story.break_requests(0.0)  # the comparison itself is no part of the story
    verdict = story.verdict()
    ended_well(verdict)
    assert verdict.operations["faults"]["lost"] > 10


@pytest.mark.timeout(900)
def test_processes_that_end_in_the_middle_are_followed_by_others(tell: Telling) -> None:
    """Functions, workers and executions; a worker that is told to stop ends in good order."""
    story = tell(calls=FEW_CALLS, speed=FEW_SPEED)
    for function in ("export", "puller", "metadata", "finish", "detect"):
        for when in ("before", "during", "after"):
            story.crash(function, when)
    story.begin()
    aborted = 0
    for number in range(6):
        time.sleep(12)
        aborted += story.abort_executions()
        old = story.worker.pop()
        if number % 2:
            end_in_good_order(old)
        else:
            old.kill()
        story.start_worker()
    while not aborted:
        time.sleep(1)
        aborted += story.abort_executions()
    verdict = story.run()
    ended_well(verdict)
    assert verdict.operations["executions"]["ABORTED"] > 0
    counted = verdict.operations["functions"].values()
    assert sum(function["crashes"] for function in counted) >= 10, counted


def end_in_good_order(worker: Server) -> None:
    """SIGTERM; ECS kills after 120 s."""
    asked_at = time.monotonic()
    worker.signal(signal.SIGTERM)
    while worker.alive() and time.monotonic() - asked_at < STOP_S_MAX:
        time.sleep(0.2)
    assert not worker.alive(), f"it does not stop:\n{worker.tail()}"
    assert worker.stop() == 0, worker.tail()
