"""Which call suffers what: the plan of a bad day. Pure.

At most one MAIN fault per call:

| Fault | In the stream | At OCP | Ends |
|---|---|---|---|
| test_call | CDRs with test_flag, no recording | the same | absent |
| too_short | CDRs, shorter than OCP records | the same | absent |
| expired | CDRs, recording lost | recording deleted | lost |
| corrupt_at_ocp | spoiled bytes | the same spoiled bytes | quarantined |
| nothing | not one message | all of it | stored, by the census |
| lost | CDRs, no recording | all of it | stored, by an export |
| corrupt_stream | spoiled bytes | good bytes | stored, by an export |
| error_body | an HTML or JSON error page as audio | good bytes | stored, by an export |
| wrong_call_id | good bytes under the id of no call | all of it | stored, by an export |
| missing_start, missing_end | all but that CDR of the root | all of it | stored |
| endless | no dialog_end | no dialog_end | stored |
| trimmed | valid, shorter than the call | the same | stored |
| late | recording hours late | all of it | stored |
| reordered | end first, start last | all of it | stored |
| early_recording | recording before the CDR Start | all of it | stored |
| duplicated | every message two or three times | all of it | stored |

EXTRA faults come on top: bad_token (the first try carries a bad token), cut_upload (the
connection dies in the middle of the first try), late_at_ocp (enters exports hours late).
"""

from collections.abc import Iterable
from random import Random
from typing import Final

from ocp_sim.config import Shapes, StreamFaults

MAIN: Final = (
    "lost",
    "nothing",
    "late",
    "test_call",
    "too_short",
    "expired",
    "corrupt_at_ocp",
    "corrupt_stream",
    "error_body",
    "wrong_call_id",
    "missing_start",
    "missing_end",
    "endless",
    "trimmed",
    "reordered",
    "early_recording",
    "duplicated",
)
EXTRA: Final = ("bad_token", "cut_upload", "late_at_ocp")
UNRECORDED: Final = frozenset({"test_call", "too_short"})
NOT_STREAMED: Final = frozenset({"lost", "nothing", "expired"}) | UNRECORDED
NEEDS_EXPORT: Final = frozenset({"lost", "corrupt_stream", "error_body", "wrong_call_id"})

OF_THE_REST: Final = frozenset({"duplicated", "reordered"})  # share of the calls not lost
EARLY_IN_THE_DAY: Final = {"nothing": 0.6, "late": 0.8}  # so that what heals them comes in time
ENOUGH_CALLS: Final = 50  # from here on each fault happens at least once

Plan = tuple[frozenset[str], ...]


def plan_faults(calls: int, shares: StreamFaults, rng: Random) -> Plan:
    """The faults of each call by index; raises `ValueError` when the shares ask for too much."""
    plan: list[set[str]] = [set() for _ in range(calls)]
    free = list(range(calls))
    rng.shuffle(free)
    rest = calls
    for fault in MAIN:
        wanted = _count(getattr(shares, fault), rest if fault in OF_THE_REST else calls, rng)
        wanted = max(wanted, _least(shares, fault, calls))
        before = calls * EARLY_IN_THE_DAY.get(fault, 1)
        chosen = [index for index in free if index < before][:wanted]
        if len(chosen) < wanted and calls >= ENOUGH_CALLS:
            raise ValueError(f"shares of faults ask for more calls than there are, at {fault}")
        for index in chosen:
            plan[index].add(fault)
        free = [index for index in free if not plan[index]]
        rest -= len(chosen) if fault == "lost" else 0
    for fault in EXTRA:
        pool = [n for n, has in enumerate(plan) if _extra_fits(fault, has)]
        wanted = max(_count(getattr(shares, fault), calls, rng), _least(shares, fault, calls))
        _give(plan, pool, wanted, fault, rng)
    return tuple(frozenset(has) for has in plan)


def plan_shapes(faults: Plan, shares: Shapes, rng: Random) -> Plan:
    """The shapes (transfer, miniApps, ...) of each call; too short calls have none that fit."""
    plan: list[set[str]] = [set() for _ in faults]
    recorded = [n for n, has in enumerate(faults) if not has & UNRECORDED]
    for shape in Shapes.__struct_fields__:
        share = getattr(shares, shape)
        wanted = _count(share, len(faults), rng)
        if share and len(faults) >= ENOUGH_CALLS:
            wanted = max(1, wanted)
        _give(plan, recorded, wanted, shape, rng)
    return tuple(frozenset(has) for has in plan)


def _extra_fits(fault: str, has: Iterable[str]) -> bool:
    mine = set(has)
    if fault == "late_at_ocp":
        return bool(mine & NEEDS_EXPORT)
    return not mine & (NOT_STREAMED if fault == "cut_upload" else {"nothing"})


def _count(share: float, calls: int, rng: Random) -> int:
    if calls >= ENOUGH_CALLS:
        return round(share * calls)
    return int(share * calls + rng.random())


def _least(shares: StreamFaults, fault: str, calls: int) -> int:
    promised = shares.at_least_one and calls >= ENOUGH_CALLS and getattr(shares, fault) > 0
    return int(promised)


def _give(plan: list[set[str]], pool: list[int], wanted: int, what: str, rng: Random) -> None:
    for index in rng.sample(pool, min(wanted, len(pool))):
        plan[index].add(what)
