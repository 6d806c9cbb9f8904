"""When a missing call may be asked for again, and until when.

first try      the later of `end + grace` and `hour after end + watermark`: OCP exports whole
               hours, from a warehouse that lags behind
after a miss   the watermark doubles with each miss, counted from the hour and from the last try
unknown end    the call is taken to have lasted `max_call_ms`
last tries     from `retention - margin` on, every `final_retry_ms`, never after the deletion
deletion       `start + retention`: OCP may count from the end, the start is the safe reading

All times are epoch milliseconds UTC. Nothing here reads a clock.
"""

from typing import Final

import msgspec

from ocp_ingest.core.limits import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS

# 2^16 watermarks of 2 h are 15 years: beyond any retention, and far from silly integers.
DOUBLINGS_MAX: Final = 16


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every bound of stage 2; names end in their unit, each comment is the reason."""

    # Eligibility
    grace_ms: int = 15 * MINUTE_MS  # the stream may still deliver: most late recordings come in it
    watermark_ms: int = 2 * HOUR_MS  # OCP's own advice for data of its warehouse
    watermark_min_ms: int = 30 * MINUTE_MS  # below it the exported hour would not be over
    watermark_max_ms: int = 12 * HOUR_MS  # above it recovery is slower than a working day
    watermark_step_ms: int = 30 * MINUTE_MS  # the grid of the detection, so no delay is added
    watermark_sample_min: int = 50  # fewer calls say nothing about a rate of 2 %
    miss_rate_low: float = 0.02  # share; below it the watermark is needlessly long
    miss_rate_high: float = 0.10  # share; above it one export in ten was made for nothing
    max_call_ms: int = 4 * HOUR_MS  # a call without an end lasted at most this
    retention_ms: int = 60 * DAY_MS  # OCP deletes recordings and CDRs then
    retention_alarm_ms: int = 7 * DAY_MS  # urgent from here: a week to repair what blocks us
    retention_margin_ms: int = 2 * DAY_MS  # the last tries start here: one per working shift
    final_retry_ms: int = 8 * HOUR_MS  # between the last tries: six of them in the margin
    # Planning
    window_hours_max: int = 48  # OCP refuses longer ranges
    gather_ms: int = 0  # of a window of few calls, so that they share an export; 0: at once
    gather_calls: int = 20  # so many calls are worth an export at once
    ageing_ms: int = 24 * HOUR_MS  # waited longer: the window's weight doubles every such period
    poison_retry_ms: int = (
        24 * HOUR_MS
    )  # a quarantined hour is tried again daily: OCP may repair it
    # Creating
    intent_stale_ms: int = 2 * MINUTE_MS  # a POST still in flight after this has been given up
    clock_skew_ms: int = 2 * MINUTE_MS  # OCP's creation times against ours
    lost_max: int = 8  # POSTs of one job whose answer was lost: more are an outage
    create_ms_max: int = 24 * HOUR_MS  # a plan a day old is better made anew
    busy_retry_min_ms: int = MINUTE_MS  # a slot held by others: jitter from here ...
    busy_retry_max_ms: int = 5 * MINUTE_MS  # ... to here, so that groups do not march in step
    busy_look_ms: int = 30 * MINUTE_MS  # look again at least this often: an estimate may be wrong
    busy_alarm_ms: int = 2 * HOUR_MS  # a person must know that someone else holds the slot
    refused_block_ms: int = HOUR_MS  # 401/403: rights are mended by people, not by haste
    # Polling
    poll_delays_s: tuple[int, ...] = (60, 120, 300)  # small jobs are ready within minutes
    poll_every_s: int = 300  # then; EventBridge Scheduler has a minute's precision
    polls_max: int = 40  # of one wait: stops a runaway chain of schedules
    wait_factor: float = 4.0  # times the prediction: later than that it is stuck, not slow
    wait_ms_min: int = 30 * MINUTE_MS  # predictions of small jobs are too rough to act on sooner
    wait_ms_max: int = 6 * HOUR_MS  # the longest that one job may hold the slot unquestioned
    blocked_poll_ms: int = 30 * MINUTE_MS  # watching a stuck job: it may still complete
    cancels_max: int = 2  # once, and once more after a crash
    # Fetching
    export_life_ms: int = 24 * HOUR_MS  # OCP deletes an export's data a day after its creation
    download_ms_max: int = 20 * HOUR_MS  # leaves four hours of that life for a second plan
    adopt_life_ms_min: int = HOUR_MS  # an older export would expire under the download
    download_silence_ms: int = 15 * MINUTE_MS  # no progress for so long: the worker is dead
    download_rounds_max: int = 3  # files that failed three times are not failing by chance
    expiries_max: int = 2  # more than this many in a row: windows are too big, halve them
    cap_recovery_jobs: int = 8  # good jobs in a row before a halved cap doubles again
    # Retries
    errors_max: int = 8  # in a row: 429, 5xx, no answer
    backoff_min_ms: int = 2 * SECOND_MS  # first wait; doubles
    backoff_max_ms: int = 15 * MINUTE_MS  # last wait
    retry_after_ms_max: int = HOUR_MS  # a vendor's word is honoured, but waits stay finite
    cooldown_ms: int = 15 * MINUTE_MS  # of a group after a job was given up
    cooldown_share: int = 12  # 1/12 of OCP's silence so far: jobs fill calls' journals, and ...
    cooldown_ms_max: int = 4 * HOUR_MS  # ... after an outage of days six jobs a day are enough


def floor_h(at_ms: int) -> int:
    """The start of the hour that holds `at_ms`."""
    return at_ms - at_ms % HOUR_MS


def hour_after(at_ms: int) -> int:
    """The end of the hour that holds `at_ms`; a full hour belongs to the hour that it opens."""
    return floor_h(at_ms) + HOUR_MS


def span_of(start_ms: int | None, end_ms: int | None, policy: Policy) -> tuple[int, int]:
    """Start and end of a call of which one may be unknown; ValueError if both are.

    An end before its start, as broken CDRs have it, is raised to the start.
    """
    if start_ms is None and end_ms is None:
        raise ValueError("a call needs a start or an end to be asked for: give the first time seen")
    start = start_ms if start_ms is not None else (end_ms or 0) - policy.max_call_ms
    end = end_ms if end_ms is not None else start + policy.max_call_ms
    return start, max(start, end)


def deadline_at(start_ms: int, policy: Policy) -> int:
    """When OCP deletes the recording of a call that started at `start_ms`."""
    return start_ms + policy.retention_ms


def days_left(start_ms: int, now: int, policy: Policy) -> float:
    """Days until OCP deletes the recording; negative once it is gone."""
    return (deadline_at(start_ms, policy) - now) / DAY_MS


def eligible_at(
    start_ms: int | None,
    end_ms: int | None,
    misses: int,
    policy: Policy,
    *,
    watermark_ms: int | None = None,
    last_try_ms: int | None = None,
) -> int:
    """When the call may be exported (again); equal to its deadline once no try is left.

    `watermark_ms` is the group's adapted one. `last_try_ms`, the time of the last export that did
    not hold the call, keeps an old call from spending all its doublings at once.
    """
    start, end = span_of(start_ms, end_ms, policy)
    base = policy.watermark_ms if watermark_ms is None else watermark_ms
    back_off = base << min(misses, DOUBLINGS_MAX)
    earliest = end + policy.grace_ms
    at = max(earliest, hour_after(end) + back_off)
    if last_try_ms is not None and misses > 0:
        at = max(at, last_try_ms + back_off // 2)
    deadline = deadline_at(start, policy)
    last_chance = deadline - min(policy.retention_margin_ms, policy.retention_ms // 4)
    if at <= last_chance:
        return at
    if last_try_ms is None or last_try_ms < last_chance:
        return min(max(last_chance, earliest), deadline)
    at = last_try_ms + min(policy.final_retry_ms, policy.retention_ms // 8)
    return min(at, deadline)


def next_watermark(current_ms: int, missed: int, asked: int, policy: Policy) -> int:
    """The group's watermark after `asked` first tries of which `missed` were found only later.

    Calls that were never found do not count: they have no recording, whatever we wait. Raised
    twice as fast as lowered: a miss costs an export, patience only minutes.
    """
    step = policy.watermark_step_ms
    changed = current_ms
    if asked >= policy.watermark_sample_min:
        if missed < policy.miss_rate_low * asked:
            changed = current_ms - step
        elif missed > policy.miss_rate_high * asked:
            changed = current_ms + 2 * step
    on_grid = -(-changed // step) * step
    return min(max(on_grid, policy.watermark_min_ms), policy.watermark_max_ms)
