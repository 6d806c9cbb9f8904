"""Runs a demo from an empty directory to a verdict."""

from __future__ import annotations

import re
import time
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from ocp_ingest.demo.client import Client
from ocp_ingest.demo.compare import Compared, audit, compare
from ocp_ingest.demo.people import let_in
from ocp_ingest.demo.processes import Processes, free_port, wait_until_ready
from ocp_ingest.demo.setting import DemoError, Place, prepare, write_config
from ocp_ingest.demo.view import View

__all__ = ["DemoError", "Options", "Result", "run"]

# OCP's watermark (2 h) and the rest of the last hour: then every hour of the day can be counted.
CENSUS_LAG_MS = 3 * 3_600_000
# Real seconds after which a demo that makes no progress has failed.
PATIENCE_S = 90.0
LOOK_EVERY_S = 0.5
# What both processes need to start, on a quiet machine.
START_S = 3.0


class Options(msgspec.Struct, frozen=True):
    """What the command line asked for."""

    calls: int
    seed: int
    data_dir: Path | None
    port: int
    quiet: bool
    keep_serving: bool
    speed: float
    audio: Path | None


class Result(msgspec.Struct, frozen=True):
    """The verdict; `summary` is the JSON line of design section 7."""

    summary: dict[str, Any]
    good: bool


def run(options: Options) -> Result:
    """Starts both processes, waits for the end of the day, compares. Raises DemoError."""
    place = prepare(options.data_dir, options.calls, options.seed)
    port = options.port or free_port()
    sim_port = free_port()
    write = partial(write_config, place, port=port, sim_port=sim_port, speed=options.speed)
    let_in(write(real_s=time.time()), place.state.passwords)
    # Both processes are up within seconds; the day begins when they are.
    real_s = time.time() + START_S
    config = write(real_s=real_s)
    url = f"http://127.0.0.1:{port}"
    view = View(options.quiet)
    with Processes(place.folder) as processes:
        # OCP first: it is there before us, and a platform that starts asks it at once.
        sim_url = processes.simulator(
            place, port=sim_port, platform_url=url, speed=options.speed, real_s=real_s,
            audio=options.audio,
        )  # fmt: skip
        processes.platform(config)
        platform = Client(url, "demo", place.state.reader_secret)
        simulator = Client(sim_url)
        wait_until_ready(lambda: platform.answers("/readyz"), processes)
        view.started(place, url, options.speed)
        simulator.post("/_sim/start")
        with view:
            status = _watch(platform, simulator, processes, view)
        result = _verdict(platform, simulator, place, status)
        view.ended(result.summary, place)
        for problem in result.summary["problems"][:20]:
            view.problem(problem)
        if options.keep_serving:
            _slow_down(place, processes, platform, simulator, port=port, sim_port=sim_port)
            view.keep_serving(url)
            _serve_on(processes)
    return result


# Domain seconds per real second once the day is over: a poll of a minute is had in seconds, and
# OCP's 60 days of retention last three real days.
_PACE_AFTER = 20.0


def _slow_down(
    place: Place, processes: Processes, platform: Client, simulator: Client, *, port: int,
    sim_port: int,
) -> None:  # fmt: skip
    """Both go on at a pace for people: else OCP's retention would be over within minutes."""
    processes.stop_platform()
    pace = simulator.post("/_sim/clock", {"scale": _PACE_AFTER})
    config = write_config(
        place, port=port, sim_port=sim_port, speed=_PACE_AFTER, real_s=pace["real_s"],
        origin_ms=pace["now_ms"],
    )  # fmt: skip
    processes.platform(config)
    wait_until_ready(lambda: platform.answers("/readyz"), processes)


def _watch(platform: Client, simulator: Client, processes: Processes, view: View) -> dict[str, Any]:
    """Until everything was pushed and nothing is in flight, or nothing has moved for long."""
    moved_at = time.monotonic()
    before: object = None
    asked = counted = False
    while True:
        processes.check()
        status = simulator.get("/_sim/status")
        terms = platform.get("/v1/conservation")
        view.show(status, terms)
        pushed = status["push"]["done"]
        if pushed and not counted and status["now_ms"] > status["world"]["end_ms"] + CENSUS_LAG_MS:
            # The day's census is due tomorrow; the demo asks for it when the day is complete.
            counted = _census_covers(platform, status, ask=not asked)
            asked = True
        # Not in the round that heard of the census: its finds are younger than these terms.
        elif pushed and counted and terms["in_flight"] == 0:
            return dict(status)
        now = (status["push"]["delivered"], terms, status["exports"]["jobs"])
        if now != before:
            before, moved_at = now, time.monotonic()
        if time.monotonic() - moved_at > PATIENCE_S:
            return dict(status)
        time.sleep(LOOK_EVERY_S)


def _census_covers(platform: Client, status: dict[str, Any], *, ask: bool) -> bool:
    """Whether every group's census has passed the end of the simulator's day."""
    said = platform.post(f"/v1/reconciliations?census={'true' if ask else 'false'}")
    until = [state["until_ms"] for state in said["census"].values()]
    return bool(until) and min(until) >= status["world"]["end_ms"]


def _verdict(platform: Client, simulator: Client, place: Place, status: dict[str, Any]) -> Result:
    calls = {call["call_id"]: call for call in platform.calls()}
    ledger = simulator.lines("/_sim/ledger", format="ndjson")
    found: Compared = compare(ledger, calls, place.folder, "expected")
    differences = audit(platform.get("/v1/conservation"), found, place.folder)
    pushes = status["push"]
    summary: dict[str, Any] = {
        **{name: getattr(found, name) for name in _COUNTS},
        "export_jobs": status["exports"]["jobs"],
        "duplicates_refused": _duplicates(platform),
        "mismatches": found.mismatches,
        "unexpected": found.unexpected,
        "unannounced_found": found.unannounced_found,
        "strays": found.strays,
        "conservation": "holds" if not differences else "broken",
        "pushes": pushes["total"],
        "problems": [*found.problems, *differences],
    }
    good = (
        found.calls == place.state.calls
        and found.in_flight == found.mismatches == found.unexpected == found.strays_open == 0
        and not differences
    )
    return Result(summary, good)


_COUNTS = (
    "calls", "stored", "absent", "quarantined", "lost", "in_flight", "streamed", "recovered",
)  # fmt: skip


_DUPLICATES = re.compile(
    r'ocp_ingest_(events_total\{result="duplicate"\}|recordings_total\{.*"already_received"\})'
)


def _duplicates(platform: Client) -> int:
    """Deliveries of what was there already, as the platform's metrics count them."""
    counted = 0.0
    for line in platform.text("/metrics").splitlines():
        name, _, value = line.rpartition(" ")
        if _DUPLICATES.fullmatch(name):
            counted += float(value)
    return int(counted)


def _serve_on(processes: Processes) -> None:
    try:
        while True:
            processes.check()
            time.sleep(1)
    except KeyboardInterrupt:
        return
