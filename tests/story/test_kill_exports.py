"""Stage 2 survives kill -9: the same export job goes on, and every call ends as it must.

The simulator pushes a morning of calls and loses two in five; domain time runs an hour a second.
The platform is killed while the stream is pushed, while an export runs at OCP, and while its files
are downloaded, and started again on the same data each time.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ocp_ingest.core.export_job import ExportJob
from ocp_ingest.demo.compare import compare
from tests.story.kit import Platform, Sender, Sim, sender, until

CALLS = 24
SPEED = 3_600
HOUR_MS = 3_600_000

CALM = ", ".join(
    f"{fault} = 0"
    for fault in (
        "duplicated", "reordered", "early_recording", "late", "corrupt_stream", "error_body",
        "corrupt_at_ocp", "wrong_call_id", "trimmed", "missing_start", "missing_end", "nothing",
        "test_call", "too_short", "bad_token", "cut_upload",
    )
)  # fmt: skip

SIM = f"""\
calls = {CALLS}
seed = 5

[world]
hours = 3
faults = {{ lost = 0.4, {CALM} }}

[push]
client_id = "ocp"

[export]
# An export takes two hours of domain time: long enough to be killed in.
job_fixed_s = 7200
redirect_share = 0

[export_faults]
script = []
"""

EXPORTS = """
[clock]
origin_ms = {origin_ms}
scale = {speed}
real_origin_s = {real_s!r}

[fetch]
allowed_hosts = ["127.0.0.1"]
allow_private = true
allow_http = true

[ocp]
api_url = "{sim}"
username = "exporter"
password = "exporter"
groups = ["emea-retail", "latam-retail"]
allow_private = true
requests_per_s = 40.0
requests_burst = 40

[reconcile]
census = false

[stage2]
gather_ms = 14400000
# No export is taken for stuck before its two hours are over.
wait_ms_min = 21600000
"""


# A kill may fall between OCP's creation of an export and our hearing of it: that is another story.
_KILLS_MAX = 5


class Morning:
    """Platform and simulator on one scaled clock."""

    def __init__(self, folder: Path) -> None:
        self.sim = Sim(folder, SIM)
        self.platform = Platform(folder)
        self._session: aiohttp.ClientSession | None = None

    async def begin(self) -> None:
        """Starts both; the day begins, and the stream with it."""
        real_s = time.time() + 1
        origin_ms = int(real_s * 1000) - 72 * HOUR_MS
        self.sim.start(
            "--target", self.platform.url, "--token-url", f"{self.platform.url}/oauth2/token",
            "--clock-origin-ms", str(origin_ms), "--clock-scale", str(SPEED),
            "--clock-real-origin", repr(real_s),
        )  # fmt: skip
        with self.platform.config.open("a") as config:
            config.write(EXPORTS.format(
                origin_ms=origin_ms, speed=SPEED, real_s=real_s, sim=self.sim.url
            ))  # fmt: skip
        await self.platform.start()

    async def jobs(self) -> list[ExportJob]:
        """Every job of the platform's export book."""
        async with self.platform.store() as runtime:
            return await runtime.book.jobs(limit=1_000)

    async def crash(self, to: Sender) -> tuple[dict[str, Any], list[ExportJob]]:
        """Kills the platform; what the simulator and the book say while it is dead."""
        self.platform.kill()
        status, jobs = await self.status(to), await self.jobs()
        await self.platform.start()
        return status, jobs

    async def status(self, to: Sender) -> dict[str, Any]:
        """What the simulator says of itself."""
        async with to.session.get(f"{self.sim.url}/_sim/status") as answer:
            said: dict[str, Any] = await answer.json()
            return said


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_killed_in_the_middle_of_an_export_the_same_job_goes_on(tmp_path: Path) -> None:
    morning = Morning(tmp_path)
    with morning.sim, morning.platform:
        await morning.begin()
        async with sender(morning.platform) as to:
            await _story(morning, to)


async def _story(morning: Morning, to: Sender) -> None:
    async with to.session.post(f"{morning.sim.url}/_sim/start", json={}) as answer:
        assert answer.status == 202, await answer.text()

    async def half_pushed() -> bool:
        push = (await morning.status(to))["push"]
        return bool(push["delivered"] * 2 > push["total"])

    await until(half_pushed, 60, "the stream is half done")
    await morning.crash(to)

    async def exporting() -> bool:
        return bool((await morning.status(to))["exports"]["statuses"].get("IN_PROGRESS"))

    running: set[str] = set()
    for _ in range(_KILLS_MAX):
        await until(exporting, 60, "an export runs at OCP")
        _, held = await morning.crash(to)
        running = {job.export_id for job in held if job.end is None and job.export_id}
        if running:
            break
    assert running, "no job of ours was on when the platform was killed"

    async def downloading() -> bool:
        answers = (await morning.status(to))["exports"]["answers"]
        return bool(answers.get("download.200", 0) > 0)

    await until(downloading, 60, "files are downloaded")
    await morning.crash(to)

    async def over() -> bool:
        pushed = (await morning.status(to))["push"]["done"]
        terms = await to.get("/v1/conservation")
        if not pushed or terms["in_flight"]:
            return False
        return all(job.end is not None for job in await morning.jobs())

    await until(over, 90, "every call has an outcome, and every job an end")
    status, jobs = await morning.status(to), await morning.jobs()
    _same_jobs_went_on(status, jobs, running)
    await _as_the_ledger_says(morning, to)


def _same_jobs_went_on(status: dict[str, Any], jobs: list[ExportJob], running: set[str]) -> None:
    exports = status["exports"]
    assert max(exports["most_running_per_group"].values()) == 1
    assert running <= {job.export_id for job in jobs}
    assert Counter(job.end.value for job in jobs if job.end) == {"done": len(jobs)}
    windows = Counter((job.ocp_group, job.from_ms, job.to_ms) for job in jobs)
    for job in jobs:
        if job.export_id in running:
            assert windows[job.ocp_group, job.from_ms, job.to_ms] == 1, "exported twice"
    assert exports["jobs"] == len(jobs) == exports["answers"]["create.201"]


async def _as_the_ledger_says(morning: Morning, to: Sender) -> None:
    async with to.session.get(f"{morning.sim.url}/_sim/ledger?format=ndjson") as answer:
        ledger = [json.loads(line) for line in (await answer.text()).splitlines()]
    page = await to.get("/v1/calls?limit=500")
    calls = {call["call_id"]: call for call in page["calls"]}
    found = await asyncio.to_thread(compare, ledger, calls, morning.platform.data_dir, "expected")
    assert found.problems == []
    assert (found.calls, found.stored, found.mismatches, found.unexpected) == (CALLS, CALLS, 0, 0)
    lost = sum("lost" in entry["faults"] for entry in ledger)
    # While the platform was dead hours passed: an export may have been quicker than the stream.
    assert found.recovered >= lost > 0
    assert found.streamed + found.recovered == CALLS
