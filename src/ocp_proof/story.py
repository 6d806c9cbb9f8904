"""What a seed's days are like: how many processes, how much goes wrong, what people do."""

from __future__ import annotations

from random import Random
from typing import Final, Literal

import msgspec

from ocp_ingest.core.eligibility import Policy
from ocp_ingest.core.lifecycle import CallPolicy
from ocp_ingest.core.limits import DAY_MS, HOUR_MS, MINUTE_MS
from ocp_ingest.core.routing import Rule
from ocp_ingest.core.rules import Rules
from ocp_ingest.core.settings import LineOfBusiness, Settings
from ocp_proof.chance import aims, stream
from ocp_proof.effects import ALL_KINDS
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
# An outage until then takes OCP's retention of every call with it.
DARK_UNTIL_MS: Final = RETENTION_MS + int(SPAN_H * HOUR_MS) + 4 * HOUR_MS
# By then nothing may be left to do: retention is over, and every back-off with it.
END_MS: Final = 9 * DAY_MS

# Clocks of two processes, and one after a restart, differ by up to a minute: NTP has failed.
SKEW_MS: Final = 30_000
# A suspended machine: longer than a runner's lease, and than a worker's.
_FROZEN_MS: Final = (6 * MINUTE_MS, 45 * MINUTE_MS)

# A rule of one line of business that some recordings of every world break: they are whole, and
# OCP has no others, so they end in quarantine.
STRICT_LOB: Final = "cards"
STRICT_MS_MIN: Final = 2_400

# Effects that only people's acts pass: a seed that aims at them has such acts.
_BULK: Final = ("BulkBook.", "DeskNotes.")
_REPLAY: Final = ("CallStore.rebuild", "CallStore.call_ids")

# What of ours may be out while the rest works, and for how long: a fail-over, or a full disk.
_OWN: Final = (
    "CallStore.append", "CallStore.append", "CallStore.", "ExportBook.", "RecordingStore.",
    "Timetable.", "WorkQueue.",
)  # fmt: skip
_OWN_MS: Final = (5 * MINUTE_MS, 90 * MINUTE_MS)
# Most exports are made by then.
_OWN_BEFORE_MS: Final = DAY_MS

Act = Literal[
    "retried", "reopened", "released", "mark_absent", "close_incident", "replay", "bulk",
]  # fmt: skip


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """All that a seed decides besides chance at the points."""

    seed: int
    calls: int
    processes: int
    workers: int
    rate: float
    kinds: frozenset[str]  # the faults that happen at all, besides those that a seed aims at
    outages_ms: tuple[tuple[int, int], ...]  # OCP's API is silent from, to
    dark: bool  # the last outage lasts until OCP's retention is over
    own_outages_ms: tuple[tuple[int, int, str], ...]  # a store of ours is silent: from, to, which
    vanishing: float  # the share of what lands that the landing store loses, before CALM_MS
    kills_ms: tuple[int, ...]  # somebody kills a process, besides the crashes at effects
    freezes_ms: tuple[tuple[int, int], ...]  # a process stands still: at, for
    acts: tuple[tuple[int, Act, int], ...]  # when, what, on which call
    push_tries: int  # so often OCP pushes what gets no answer; what is lost then is stage 2's
    push_slowness: int  # its pauses in between, in their usual lengths: minutes, or hours
    per_call: bool
    gather_ms: int
    detect_ms: int
    patience_s: float
    idle_s: float
    audio_as: Literal["files", "zip", "mixed"]


def story_of(seed: int, calls: int = CALLS_MIN) -> Story:
    """The story of a seed."""
    rng = stream(seed, "story")
    processes = rng.choice((1, 2, 2, 3))
    dark = rng.random() < 0.1
    outages = [_span(rng, CALM_MS - 8 * HOUR_MS, (HOUR_MS, 8 * HOUR_MS))
               for _ in range(rng.choice((0, 0, 1, 2)))]  # fmt: skip
    if dark:
        outages.append((rng.randrange(int(SPAN_H * HOUR_MS)), DARK_UNTIL_MS))
    elif rng.random() < 0.1:  # longer than a window may be, so that the census has to catch up
        outages.append(_span(rng, 12 * HOUR_MS, (54 * HOUR_MS, 60 * HOUR_MS)))
    acts: tuple[Act, ...] = (
        "retried", "reopened", "released", "mark_absent", "close_incident", "replay", "bulk",
    )  # fmt: skip
    aimed = {point for point, _ in aims(seed)}
    wanted: list[Act] = ["bulk", "bulk"] if any(p.startswith(_BULK) for p in aimed) else []
    wanted += ["replay", "replay"] if any(p.startswith(_REPLAY) for p in aimed) else []
    latest_ms = rng.choice((CALM_MS, CALM_MS, END_MS))
    return Story(
        seed=seed,
        calls=calls,
        processes=processes,
        workers=rng.choice((1, 2, 3)),
        rate=rng.choice((0.0, 0.5, 1.0, 1.0, 2.0, 2.0, 5.0, 12.0)),
        kinds=frozenset(kind for kind in ALL_KINDS if rng.random() < 0.5),
        outages_ms=tuple(outages),
        dark=dark,
        kills_ms=tuple(rng.randrange(CALM_MS) for _ in range(rng.choice((0, 1, 3)))),
        freezes_ms=tuple(_span(rng, CALM_MS, _FROZEN_MS, lasts=True)
                         for _ in range(rng.choice((0, 1, 4)))),
        acts=tuple(
            (rng.randrange(HOUR_MS, latest_ms), rng.choice(acts), rng.randrange(calls))
            for _ in range(rng.choice((0, 2, 6, 12)))
        )
        + tuple((rng.randrange(HOUR_MS, CALM_MS), act, 0) for act in wanted),
        push_tries=rng.choice((1, 2, 4, 4)),
        per_call=rng.random() < 0.1,
        gather_ms=rng.choice((0, 6 * HOUR_MS)),
        detect_ms=rng.choice((HOUR_MS // 2, HOUR_MS, 3 * HOUR_MS, 3 * HOUR_MS)),
        patience_s=rng.choice((3_600.0, 4 * 3_600.0)),
        idle_s=rng.choice((900.0, 1_800.0, 4 * 3_600.0, 4 * 3_600.0)),
        audio_as=rng.choice(("files", "files", "zip", "mixed")),
        push_slowness=rng.choice((1, 1, 1, 60)),
        own_outages_ms=tuple((*_span(rng, _OWN_BEFORE_MS, _OWN_MS), rng.choice(_OWN))
                             for _ in range(rng.choice((0, 0, 1, 3)))),
        vanishing=rng.choice((0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.3, 0.9)),
    )  # fmt: skip


def _span(
    rng: Random, before_ms: int, lasts_ms: tuple[int, int], *, lasts: bool = False
) -> tuple[int, int]:
    """From when, and until when (or for how long)."""
    at_ms, length_ms = rng.randrange(before_ms), rng.randrange(*lasts_ms)
    return at_ms, length_ms if lasts else at_ms + length_ms


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
    apps = ("banking", STRICT_LOB)
    stage2 = Policy(
        retention_ms=RETENTION_MS, retention_alarm_ms=2 * DAY_MS, retention_margin_ms=DAY_MS,
        final_retry_ms=4 * HOUR_MS, gather_ms=story.gather_ms, max_call_ms=HOUR_MS,
        export_life_ms=24 * HOUR_MS,
    )  # fmt: skip
    return Settings(
        policy=CallPolicy(stage2=stage2, resume_after_ms=10 * MINUTE_MS),
        routing=tuple(Rule(lob=app, when={"entry_app": f"{app}-*"}) for app in apps),
        lobs={
            app: LineOfBusiness(
                rules=Rules(duration_ms_min=STRICT_MS_MIN if app == STRICT_LOB else 0)
            )
            for app in apps
        },
        number_key=b"0" * 32,
    )


__all__ = ["Story", "rules_of", "settings_of", "story_of", "world_of"]
