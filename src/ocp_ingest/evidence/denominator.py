"""The census of a day: what OCP's own exports counted, against which our counts are held."""

from __future__ import annotations

from typing import Any, Final

from ocp_ingest.core.calendar import rfc3339
from ocp_ingest.core.export_facts import End, ExportJob
from ocp_ingest.core.limits import DAY_MS, HOUR_MS
from ocp_ingest.evidence.figures import day_start
from ocp_ingest.reconcile.book import ExportBook
from ocp_ingest.reconcile.census import CENSUS_TYPES
from ocp_ingest.reconcile.results import FAILED, held_results

# Newest jobs of a group that are looked through: some 40 days of a busy one.
JOBS_MAX: Final = 2_000
HOURS: Final = DAY_MS // HOUR_MS


async def census_of(exports: ExportBook, day: str) -> dict[str, Any]:
    """Per OCP group: hours of the day counted by a complete export, and what those found.

    A count's window may reach into the days beside; `lines` and `news` are those of the whole
    window. `complete`: every hour of the day of every known group was counted.
    """
    groups = [await _group(exports, g.ocp_group, day) for g in await exports.groups()]
    hours = [group["hours_counted"] for group in groups]
    return {
        "groups": groups,
        "hours_of_the_day": HOURS,
        "complete": bool(groups) and all(counted == HOURS for counted in hours),
    }


async def _group(exports: ExportBook, ocp_group: str, day: str) -> dict[str, Any]:
    from_ms = day_start(day)
    hours: set[int] = set()
    windows: list[dict[str, Any]] = []
    for job in await exports.jobs(ocp_group=ocp_group, limit=JOBS_MAX):
        if not _counts(job) or job.to_ms <= from_ms or job.from_ms >= from_ms + DAY_MS:
            continue
        flat = [said for held in (await held_results(exports, job)).values() for said in held]
        if any(said.result in FAILED for said in flat):
            continue
        first, last = max(job.from_ms, from_ms), min(job.to_ms, from_ms + DAY_MS)
        hours.update(range(first, last, HOUR_MS))
        windows.append({
            "from": rfc3339(job.from_ms),
            "to": rfc3339(job.to_ms),
            "export_id": job.export_id,
            "calls_and_dialogs": sum(said.lines for said in flat),
            "news": sum(said.new for said in flat),
        })  # fmt: skip
    return {
        "ocp_group": ocp_group,
        "hours_counted": len(hours),
        "windows": sorted(windows, key=lambda window: window["from"]),
    }


def _counts(job: ExportJob) -> bool:
    return job.types == CENSUS_TYPES and job.end is End.DONE
