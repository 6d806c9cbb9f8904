"""Against a vendor that answers anything at any time, every job ends, in a name and in time.

The adversary picks each answer, lets timers ring late, duplicates old answers, kills the runner
between any two steps, and likes to stay with a few answers for long (an outage, a foreign export).
"""

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ocp_ingest.core.eligibility import Policy
from ocp_ingest.core.export_job import (
    TABLE,
    Act,
    Adopt,
    BackOff,
    Block,
    Busy,
    Cancel,
    Cancelled,
    Create,
    Created,
    DownloadsFinished,
    End,
    Export,
    ExportJob,
    FetchManifest,
    Files,
    Gone,
    Ignore,
    Listed,
    ListExports,
    Nothing,
    Observation,
    PollAt,
    Progress,
    RateLimited,
    Refused,
    Release,
    Results,
    StartDownloads,
    State,
    Status,
    TakenOver,
    Unavailable,
    VendorStatus,
    row,
    step,
    wait_ms,
)
from ocp_ingest.core.limits import DAY_MS, HOUR_MS, MINUTE_MS
from tests.core.test_export_job import FROM, NOW, TO, planned

POLICY = Policy()
LATE_MS = 10 * MINUTE_MS  # the latest that a timer rings here
STEPS_MAX = 6_000
# A day to create, six hours to wait, a day blocked, twenty hours to download; each may be late.
LIFE_MS_MAX = DAY_MS + 6 * HOUR_MS + DAY_MS + 20 * HOUR_MS + 4 * HOUR_MS


class Adversary:
    """Chooses the next observation; `mood` is the subset of answers that it likes at present."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.mood = self.rng.random()
        self.stubborn = self.rng.choice([0.5, 0.95, 1.0])
        self.crash_rate = self.rng.choice([0.0, 0.05, 0.3])
        self.fence = 3

    def pick(self, options: list[Observation]) -> Observation:
        if self.rng.random() > self.stubborn:
            self.mood = self.rng.random()
        return options[int(self.mood * len(options))]

    def export(self, now: int) -> Export:
        rng = self.rng
        span = rng.choice([(FROM, TO), (FROM, TO), (FROM - HOUR_MS, TO), (FROM, FROM + HOUR_MS)])
        return Export(
            export_id=f"e{rng.randrange(3)}",
            status=rng.choice(list(VendorStatus)),
            from_ms=span[0],
            to_ms=span[1],
            types=rng.choice([("audio",), ("ALL",), ("dialog_start",)]),
            created_at=now + rng.choice([0, 0, -HOUR_MS, -30 * HOUR_MS, 90 * DAY_MS]),
            expires_at=rng.choice([None, None, now - 1, now + HOUR_MS, now + 90 * DAY_MS]),
        )

    def listing(self, now: int) -> tuple[Export, ...]:
        return tuple(self.export(now) for _ in range(self.rng.randrange(3)))

    def answer(self, job: ExportJob, action: Act, now: int) -> Observation:
        if self.rng.random() < self.crash_rate:
            self.fence += 1
            return TakenOver(self.fence)
        poll_n = job.polls + self.rng.choice([1, 1, 1, 1, 0, 2])
        n = poll_n if isinstance(action, PollAt) else None
        errors: list[Observation] = [
            Refused(self.rng.choice([400, 403, 404]), "", n),
            RateLimited(self.rng.choice([None, 0.0, 30.0, 1e9]), n),
            Unavailable("503", self.rng.random() < 0.7, n),
        ]
        made = self.export(now)
        match action:
            case Create():
                return self.pick([Created(made), Busy(), Busy(self.listing(now)), Gone(), *errors])
            case ListExports():
                return self.pick([Listed(self.listing(now)), Listed(()), *errors])
            case PollAt():
                under_way = self.rng.choice([VendorStatus.PENDING, VendorStatus.IN_PROGRESS])
                slow = replace(made, status=under_way)
                return self.pick([Status(slow, poll_n), Status(made, poll_n), Gone(n), *errors])
            case FetchManifest():
                wanted = self.rng.randrange(3)
                return self.pick([Files(9, wanted, "m"), Gone(), *errors])
            case Cancel():
                return self.pick([Cancelled(), Gone(), *errors])
            case _:
                results = Results(1, self.rng.randrange(3), int(self.rng.random() < 0.1))
                return self.pick(
                    [Nothing(), Progress(1), DownloadsFinished(results, job.round), Gone()]
                    if job.state is State.DOWNLOADING
                    else [Nothing()]
                )


class Laws:
    """What must hold after each step, whatever the adversary does."""

    def __init__(self) -> None:
        self.at = NOW
        self.at_once = 0
        self.in_doubt = False

    def check(self, before: ExportJob, seen: Observation, job: ExportJob, action: Act) -> None:
        allowed = row(before.state, type(seen)).actions
        assert type(action) in allowed, f"{before.state} {seen} → {action} is not in the table"
        assert job.polls <= POLICY.polls_max + DAY_MS // POLICY.blocked_poll_ms + 1
        if isinstance(action, Ignore):
            assert job == before or isinstance(seen, TakenOver)
        self._never_twice(seen, action)

    def _never_twice(self, seen: Observation, action: Act) -> None:
        if isinstance(seen, Listed | Busy | Created | Refused | Gone):
            self.in_doubt = False
        if isinstance(action, Create):
            assert not self.in_doubt, "a second POST without a listing in between"

    def never_spins(self, now: int) -> None:
        self.at_once = self.at_once + 1 if now == self.at else 0
        self.at = now
        assert self.at_once < 12, "acts for ever without letting time pass"


def live(seed: int, rows: set[tuple[State, str]] | None = None) -> tuple[ExportJob, int, int]:
    """One life: (the job at its end, the time, the steps)."""
    world, laws = Adversary(seed), Laws()
    job, now = planned(), NOW
    seen: Observation = Nothing()
    for n in range(STEPS_MAX):
        before = job
        job, action = step(job, seen, now, POLICY)
        laws.check(before, seen, job, action)
        if rows is not None:
            rows.add((before.state, type(seen).__name__))
        if job.state is State.ENDED:
            return job, now, n
        if isinstance(action, Create):
            laws.in_doubt = True
        now, seen = _next(world, job, action, now)
        if isinstance(action, Create) and (
            isinstance(seen, RateLimited) or (isinstance(seen, Unavailable) and not seen.sent)
        ):
            laws.in_doubt = False
        laws.never_spins(now)
    raise AssertionError(f"no end after {STEPS_MAX} steps: {job}")


def _next(world: Adversary, job: ExportJob, action: Act, now: int) -> tuple[int, Observation]:
    late = world.rng.choice([0, 0, 1, world.rng.randrange(LATE_MS)])
    match action:
        case PollAt(at_ms=at):
            assert now <= at <= now + 6 * HOUR_MS
            if job.state is State.RUNNING:
                assert at <= max(now, job.watched_from + wait_ms(job, POLICY))
            return at + late, world.answer(job, action, at + late)
        case BackOff(until_ms=until):
            assert now < until <= now + HOUR_MS, "every wait is finite and goes forward"
            if job.state is State.DOWNLOADING:
                return until + late, world.answer(job, action, until)
            return until + late, Nothing()
        case Adopt() | Release() | Block():
            return now, Nothing()
        case StartDownloads():
            return now, Nothing() if world.rng.random() < 0.5 else Progress(1)
        case Ignore():
            return now + 1 + late, Nothing()
        case _:
            seen = world.answer(job, action, now)
            return (now + 1 + late if isinstance(seen, TakenOver) else now), seen


@settings(max_examples=300)
@given(st.integers(0, 2**32))
def test_every_job_ends_named_and_in_time(seed: int) -> None:
    job, now, _ = live(seed)
    assert job.end is not None
    assert job.end_why
    assert job.released_at is not None
    assert now - NOW <= LIFE_MS_MAX


def test_the_adversary_reaches_every_end_and_nearly_every_row() -> None:
    """Else the law above would be about less than it says."""
    seen_rows: set[tuple[State, str]] = set()
    ends = {live(seed, seen_rows)[0].end for seed in range(1500)}
    # Quarantine needs a window of one hour; NOT_CREATED a runner that is away for a day.
    assert ends >= set(End) - {End.QUARANTINED, End.NOT_CREATED}
    rows = {(state, kind.__name__) for state, row_of in TABLE.items() for kind in row_of}
    assert len(rows - seen_rows) <= 12, rows - seen_rows


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("never completes", lambda job: Status(_slow(), job.polls + 1)),
        ("is down", lambda job: Unavailable("503", True, job.polls + 1)),
        ("limits", lambda job: RateLimited(1e9, job.polls + 1)),
    ],
)
def test_the_longest_wait_is_six_hours_for_a_vendor_that(
    name: str, answer: Callable[[ExportJob], Observation]
) -> None:
    job, _ = step(planned(), Nothing(), NOW, POLICY)
    job, action = step(job, Created(_slow()), NOW, POLICY)
    now = NOW
    while isinstance(action, PollAt):
        now = action.at_ms
        job, action = step(job, answer(job), now, POLICY)
    assert isinstance(action, Cancel), name
    assert now == NOW + wait_ms(job, POLICY) <= NOW + 6 * HOUR_MS
    assert job.polls <= POLICY.polls_max


def _slow() -> Export:
    return Export(
        export_id="e1",
        status=VendorStatus.IN_PROGRESS,
        from_ms=FROM,
        to_ms=TO,
        types=("audio",),
        created_at=NOW,
    )
