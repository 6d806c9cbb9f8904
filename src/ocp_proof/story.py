"""What a seed's days are like: how many processes, how much goes wrong, what people do."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from ocp_ingest.core.eligibility import Policy
from ocp_ingest.core.lifecycle import CallPolicy
from ocp_ingest.core.limits import DAY_MS, HOUR_MS, MINUTE_MS
from ocp_ingest.core.routing import Rule
from ocp_ingest.core.settings import LineOfBusiness, Settings
from ocp_proof.chance import stream
from ocp_proof.sounds import Tones
from ocp_sim import config
from ocp_sim.world import World, build_world

CALLS_MIN: Final = 100
ORIGIN_MS: Final = 1_790_002_800_000  # a full hour; every run begins there
SPAN_H: Final = 8.0
# OCP keeps everything so long in a simulated world: retention runs out within a run.
RETENTION_MS: Final = 6 * DAY_MS
# Faults stop here: half of OCP's retention is left to heal what they did.
CALM_MS: Final = 3 * DAY_MS
# By then nothing may be left to do: retention is over, and every back-off with it.
END_MS: Final = 9 * DAY_MS

Act = Literal["retried", "reopened", "released", "mark_absent"]


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """All that a seed decides besides chance at the points."""

    seed: int
    calls: int
    processes: int
    workers: int
    rate: float
    skews_ms: tuple[int, ...]
    outages_ms: tuple[tuple[int, int], ...]  # OCP's API is silent from, to
    kills_ms: tuple[int, ...]  # somebody kills a process, besides the crashes at effects
    acts: tuple[tuple[int, Act, int], ...]  # when, what, on which call
    per_call: bool
    gather_ms: int
    audio_as: Literal["files", "zip", "mixed"]


def story_of(seed: int, calls: int = CALLS_MIN) -> Story:
    """The story of a seed."""
    rng = stream(seed, "story")
    processes = rng.choice((1, 2, 2, 3))
    outages = []
    for _ in range(rng.choice((0, 0, 1, 2))):
        at_ms = rng.randrange(CALM_MS - 8 * HOUR_MS)
        outages.append((at_ms, at_ms + rng.randrange(HOUR_MS, 8 * HOUR_MS)))
    acts: tuple[Act, ...] = ("retried", "reopened", "released", "mark_absent")
    return Story(
        seed=seed,
        calls=calls,
        processes=processes,
        workers=rng.choice((1, 2, 3)),
        rate=rng.choice((0.0, 0.5, 1.0, 1.0, 2.0)),
        skews_ms=tuple(rng.randrange(-30_000, 30_000) for _ in range(processes)),
        outages_ms=tuple(outages),
        kills_ms=tuple(rng.randrange(CALM_MS) for _ in range(rng.choice((0, 1, 3)))),
        acts=tuple(
            (rng.randrange(HOUR_MS, END_MS), rng.choice(acts), rng.randrange(calls))
            for _ in range(rng.choice((0, 2, 6)))
        ),
        per_call=rng.random() < 0.1,
        gather_ms=rng.choice((0, 6 * HOUR_MS)),
        audio_as=rng.choice(("files", "files", "zip", "mixed")),
    )


def world_of(story: Story) -> World:
    """The calls of a story: each thing that can go wrong in a stream does at least once."""
    faults = config.StreamFaults(expired=0.02, endless=0.02, late_at_ocp=0.02)
    world = config.World(
        start_ms=ORIGIN_MS,
        hours=SPAN_H,
        duration_s=(2.2, 4.0),
        shapes=config.Shapes(mp3=0.0),
        faults=faults,
    )
    return build_world(story.seed, story.calls, world, renderer=Tones)


def rules_of(story: Story) -> config.Export:
    """OCP's own rules in that world."""
    return config.Export(
        retention_days=RETENTION_MS / DAY_MS, audio_as=story.audio_as, page_size_max=1_000
    )


def settings_of(story: Story) -> Settings:
    """The platform's configuration: three lines of business, and calls that match none."""
    apps = ("banking", "cards")
    stage2 = Policy(
        retention_ms=RETENTION_MS, retention_alarm_ms=2 * DAY_MS, retention_margin_ms=DAY_MS,
        final_retry_ms=4 * HOUR_MS, gather_ms=story.gather_ms, max_call_ms=HOUR_MS,
        export_life_ms=24 * HOUR_MS,
    )  # fmt: skip
    return Settings(
        policy=CallPolicy(stage2=stage2, resume_after_ms=10 * MINUTE_MS),
        routing=tuple(Rule(lob=app, when={"entry_app": f"{app}-*"}) for app in apps),
        lobs={app: LineOfBusiness() for app in apps},
        number_key=b"0" * 32,
    )


__all__ = ["Story", "rules_of", "settings_of", "story_of", "world_of"]
