"""census: counts, from OCP's side, the calls of every group and hour.

A daily export of `dialog_start` finds calls of which nothing ever reached us, and gives
certificates their denominator. It shares the group's slot at the lowest priority.

Rules
1. Every hour is counted once it is complete: a watermark after its end, as OCP advises.
2. The first census of a group begins at the hour of its earliest known call, and at least
   `census_back_ms` back; each next one where the last one ended, however long ago that was.
3. An hour that OCP can't export at the moment is left behind as a gap, and counted later.
4. What OCP deletes before it is counted can't be counted any more; `uncounted_hours` says so.
5. A census that failed is tried again after an hour, doubling up to a day.
6. A call that OCP files under another group goes to that group, like any other message.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from ocp_ingest.core.calendar import rfc3339
from ocp_ingest.core.eligibility import Policy, floor_h
from ocp_ingest.core.export_group import GroupState, caps_of
from ocp_ingest.core.export_job import End, ExportJob, new_job
from ocp_ingest.core.limits import DAY_MS, HOUR_MS
from ocp_ingest.core.plan import Caps, Window
from ocp_ingest.ingest.world import World
from ocp_ingest.ports import CallQuery
from ocp_ingest.reconcile.book import ExportBook, Lease
from ocp_ingest.reconcile.plan import next_attempt
from ocp_ingest.reconcile.results import FAILED, load_results
from ocp_ingest.reconcile.world import Stage2
from ocp_ingest.telemetry import log

CENSUS_TYPES: Final = ("dialog_start",)
# OCP refused or failed these hours: the next window is another one, so it need not wait.
_SPLIT: Final = frozenset({End.BISECTED, End.QUARANTINED})

Span = tuple[int, int]


class CensusState(msgspec.Struct, frozen=True):
    """Until when a group is counted, but for `gaps`, and what was found; times epoch ms.

    `calls` are the lines read, `news` those of calls and dialogs that nobody had told us of.
    """

    until_ms: int = 0
    calls: int = 0
    news: int = 0
    at_ms: int = 0
    gaps: tuple[Span, ...] = ()
    uncounted_hours: int = 0
    failures: int = 0
    retry_at_ms: int = 0
    last_job: str = ""


def _ref(ocp_group: str) -> str:
    return f"census:{ocp_group}"


async def state(stage2: Stage2, ocp_group: str) -> CensusState:
    """How far the census of a group has come."""
    return await held_state(stage2.book, ocp_group)


async def held_state(book: ExportBook, ocp_group: str) -> CensusState:
    """The same, for those who only read the book."""
    body = await book.note(_ref(ocp_group))
    return msgspec.json.decode(body, type=CensusState) if body else CensusState()


def _at_once_ref(ocp_group: str) -> str:
    return f"census-at-once:{ocp_group}"


async def is_wanted_at_once(stage2: Stage2, ocp_group: str) -> bool:
    """Whether somebody asked for a count at once, and it is not through."""
    return await stage2.book.note(_at_once_ref(ocp_group)) == b"1"


async def want_at_once(stage2: Stage2, ocp_group: str, *, wanted: bool) -> None:
    """Remembers that, for runners that do not live until the count is through."""
    await stage2.book.put_note(_at_once_ref(ocp_group), b"1" if wanted else b"")


async def window(
    world: World, stage2: Stage2, group: GroupState, *, at_once: bool
) -> Window | None:
    """The next hours to count: of a whole day, or whatever is complete when asked at once."""
    policy, now_ms = world.settings.policy.stage2, world.clock.now_ms()
    watermark_ms = policy.watermark_ms if group.watermark_ms is None else group.watermark_ms
    ready_ms = floor_h(now_ms - watermark_ms)
    held = await state(stage2, group.ocp_group)
    if now_ms < held.retry_at_ms and not at_once:
        return None
    if not held.until_ms:
        held = await _begin(world, stage2, group.ocp_group, held, ready_ms)
    from_ms = held.until_ms
    spans = list(held.gaps)
    if ready_ms - from_ms >= (HOUR_MS if at_once else DAY_MS):
        spans.append((from_ms, ready_ms))
    alive, _ = _alive(spans, _oldest(policy, now_ms))
    found = _first_window(alive, caps_of(group), policy, now_ms)
    return _window(group, found, policy, watermark_ms) if found is not None else None


async def job_for(
    stage2: Stage2, lease: Lease, group: GroupState, hours: Window, now_ms: int
) -> ExportJob:
    """The census job of a window."""
    attempt = await next_attempt(stage2, hours)
    return new_job(hours, attempt, group.model, now_ms, fence=lease.fence, types=CENSUS_TYPES)


async def finish(world: World, stage2: Stage2, job: ExportJob) -> CensusState | None:
    """Moves the census on after a complete export; None when the hours must be counted again.

    Done twice for one job, it counts once.
    """
    held = await state(stage2, job.ocp_group)
    if held.last_job == job.job_key:
        return held
    flat = [said for file in (await load_results(stage2, job)).values() for said in file]
    now_ms = world.clock.now_ms()
    if job.end is not End.DONE or any(said.result in FAILED for said in flat):
        await _keep(stage2, job, _failed(held, job, now_ms))
        return None
    counted = _counted(held, job, world.settings.policy.stage2, now_ms)
    lines, news = sum(said.lines for said in flat), sum(said.new for said in flat)
    counted = replace(counted, calls=held.calls + lines, news=held.news + news)
    await _keep(stage2, job, counted)
    log().info(
        "census.done", ocp_group=job.ocp_group, until=rfc3339(counted.until_ms), lines=lines,
        news=news,
    )  # fmt: skip
    return counted


async def _keep(stage2: Stage2, job: ExportJob, held: CensusState) -> None:
    body = msgspec.json.encode(replace(held, last_job=job.job_key))
    await stage2.book.put_note(_ref(job.ocp_group), body)


def _failed(held: CensusState, job: ExportJob, now_ms: int) -> CensusState:
    if job.end in _SPLIT:
        return held
    wait_ms = min(DAY_MS, HOUR_MS << min(held.failures, 16))
    return replace(held, failures=held.failures + 1, retry_at_ms=now_ms + wait_ms)


def _counted(held: CensusState, job: ExportJob, policy: Policy, now_ms: int) -> CensusState:
    """The state after a complete count of the job's hours."""
    gaps = [part for gap in held.gaps for part in _minus(gap, (job.from_ms, job.to_ms))]
    if held.until_ms and job.from_ms > held.until_ms:
        gaps.append((held.until_ms, job.from_ms))  # left behind
    kept, over_ms = _alive(gaps, _oldest(policy, now_ms))
    return replace(
        held,
        until_ms=max(held.until_ms, job.to_ms),
        at_ms=now_ms,
        gaps=kept,
        uncounted_hours=held.uncounted_hours + over_ms // HOUR_MS,
        failures=0,
        retry_at_ms=0,
    )


async def _begin(
    world: World, stage2: Stage2, ocp_group: str, held: CensusState, ready_ms: int
) -> CensusState:
    """Rule 2: settles, once, from which hour on a group is counted."""
    last_ms = ready_ms - stage2.census_back_ms
    held = replace(held, until_ms=await _first_hour(world, ocp_group, floor_h(last_ms)))
    await stage2.book.put_note(_ref(ocp_group), msgspec.json.encode(held))
    return held


async def _first_hour(world: World, ocp_group: str, last: int) -> int:
    """The hour of the earliest known call, at most `last`; by bisection over OCP's retention."""
    policy, now_ms = world.settings.policy.stage2, world.clock.now_ms()
    first = _oldest(policy, now_ms)
    while first < last:
        middle = floor_h((first + last) // 2)
        query = CallQuery(ocp_group=ocp_group, from_ms=first, to_ms=middle + HOUR_MS, limit=1)
        if (await world.calls.page(query)).calls:
            last = middle
        else:
            first = middle + HOUR_MS
    return max(first, _oldest(policy, now_ms))


def _oldest(policy: Policy, now_ms: int) -> int:
    """The first hour that OCP still holds whole, and for long enough to be exported."""
    margin_ms = min(policy.retention_margin_ms, policy.retention_ms // 4)
    return floor_h(now_ms - policy.retention_ms + margin_ms) + HOUR_MS


def _alive(spans: Sequence[Span], oldest_ms: int) -> tuple[tuple[Span, ...], int]:
    """The spans without what OCP has deleted, and how much that is in ms."""
    kept = tuple((max(a, oldest_ms), b) for a, b in spans if b > max(a, oldest_ms))
    return kept, sum(b - a for a, b in spans if b > a) - sum(b - a for a, b in kept)


def _minus(span: Span, cut: Span) -> list[Span]:
    parts = [(span[0], min(span[1], cut[0])), (max(span[0], cut[1]), span[1])]
    return [(a, b) for a, b in parts if a < b]


def _first_window(spans: tuple[Span, ...], caps: Caps, policy: Policy, now_ms: int) -> Span | None:
    """The earliest hours that may be exported now, as many as the group's history allows."""
    shut = {poison.hour_ms for poison in caps.poison if poison.retry_at > now_ms}
    alone = {poison.hour_ms for poison in caps.poison} - shut
    for first, last in sorted(spans):
        start = next((hour for hour in range(first, last, HOUR_MS) if hour not in shut), None)
        if start is None:
            continue
        end = start + HOUR_MS
        while end < last and end not in shut | alone and start not in alone:
            if end + HOUR_MS - start > _cap_ms(caps, policy, start, end + HOUR_MS):
                break
            end += HOUR_MS
        return start, end
    return None


def _cap_ms(caps: Caps, policy: Policy, from_ms: int, to_ms: int) -> int:
    near = [s.hours for s in caps.suspects if s.from_ms < to_ms and from_ms < s.to_ms]
    return min([caps.hours, policy.window_hours_max, *near]) * HOUR_MS


def _window(group: GroupState, hours: Span, policy: Policy, watermark_ms: int) -> Window:
    from_ms, to_ms = hours
    alpha_s, beta_s = group.model.line()
    return Window(
        ocp_group=group.ocp_group,
        from_ms=from_ms,
        to_ms=to_ms,
        call_ids=(),
        predicted_s=alpha_s + beta_s * ((to_ms - from_ms) // HOUR_MS),
        urgent=False,
        why="the census counts every call that OCP knows of in these hours",
        deadline_at=from_ms + policy.retention_ms,
        waiting_since=to_ms,
        ready_at=to_ms + watermark_ms,
    )
