"""What the stream sends of each call, when and in which form. Pure.

Each subscription is per type and OCP group: a push carries events of one type, or one recording.
All times are domain time; order and moment are where most faults live (table in `faults.py`).
"""

from collections.abc import Iterator, Mapping
from random import Random
from typing import Final

from msgspec.structs import replace

from ocp_sim import config, faults, ids
from ocp_sim.model import Call, Cdr, Delivery
from ocp_sim.world import World

S: Final = 1000
MIN: Final = 60 * S
H: Final = 60 * MIN
EVENT_DELAY_MS: Final = (1 * S, 20 * S)  # from the fact to its push
RECORDING_DELAY_MS: Final = (30 * S, 5 * MIN)
LATE_MS: Final = (int(2.5 * H), 5 * H)
REORDER_GAP_MS: Final = (5 * MIN, 20 * MIN)  # far enough to survive a scaled clock
BACKWARDS_GAP_MS: Final = (10 * S, 2 * MIN)
DUPLICATE_GAP_MS: Final = 30 * MIN
BATCH_FORMS: Final = frozenset({"array", "ndjson", "ndjson_gzip"})


def deliveries(world: World, push: config.Push) -> tuple[Delivery, ...]:
    """Every push of the world, by time."""
    made = [one for call in world.calls for one in of_call(call, push, world.seed)]
    return tuple(sorted(made, key=lambda one: (one.at_ms, one.call_id, one.kind, one.form)))


def of_call(call: Call, push: config.Push, seed: int) -> list[Delivery]:
    """The pushes of one call, in no order."""
    if "nothing" in call.faults:
        return []
    rng = ids.chance(seed, call.index, "script")
    audio = list(_audio(call, push, rng))
    made = [*_events(call, push, rng, audio), *audio]
    if "bad_token" in call.faults:
        made[0] = replace(made[0], spoil_token=True)
    if "duplicated" in call.faults:
        made += [_again(one, push, rng) for one in made for _ in range(rng.choice((1, 1, 2)))]
    return made


def stray_call_id(call: Call) -> str | None:
    """The id of no call under which a mislabelled recording of this call is pushed."""
    if "wrong_call_id" not in call.faults:
        return None
    return ids.dialog_id(ids.chance(call.call_id, "stray"), call.start_ms)


def _audio(call: Call, push: config.Push, rng: Random) -> Iterator[Delivery]:
    if call.recording is None or call.faults & faults.NOT_STREAMED:
        return
    at_ms = call.end_ms + rng.randrange(*RECORDING_DELAY_MS)
    if "late" in call.faults:
        at_ms = call.end_ms + rng.randrange(*LATE_MS)
    name = call.recording.name
    if stray := stray_call_id(call):
        name = name.replace(call.call_id, stray)
    yield Delivery(
        at_ms=at_ms,
        call_id=call.call_id,
        ocp_group=call.ocp_group,
        account_id=call.account_id,
        form=_pick(push.audio_forms, rng),
        name=name,
        recording=call.recording.name,
        cut_first="cut_upload" in call.faults,
    )


def _events(
    call: Call, push: config.Push, rng: Random, audio: list[Delivery]
) -> Iterator[Delivery]:
    timed = [(cdr.happened_ms + rng.randrange(*EVENT_DELAY_MS), cdr) for cdr in _sent(call)]
    recorded_ms = audio[0].at_ms if audio else call.end_ms
    if "early_recording" in call.faults:
        late_ms = recorded_ms + rng.randrange(*REORDER_GAP_MS)
        timed = [(late_ms if _is(cdr, "dialog_start") else at, cdr) for at, cdr in timed]
    if "reordered" in call.faults:
        timed = _backwards(timed, recorded_ms, rng)
    form = _pick(push.event_forms, rng)
    batched = form in BATCH_FORMS and "reordered" not in call.faults
    for at_ms, records in _batches(timed, batched=batched):
        yield Delivery(
            at_ms=at_ms,
            call_id=call.call_id,
            ocp_group=call.ocp_group,
            account_id=call.account_id,
            form=form,
            events=tuple(record.body for record in records),
        )


def _sent(call: Call) -> list[Cdr]:
    missing = {f"dialog_{part}" for part in ("start", "end") if f"missing_{part}" in call.faults}
    return [cdr for cdr in call.cdrs if not (cdr.root and cdr.message_type in missing)]


def _is(cdr: Cdr, message_type: str) -> bool:
    return cdr.root and cdr.message_type == message_type


def _backwards(
    timed: list[tuple[int, Cdr]], recorded_ms: int, rng: Random
) -> list[tuple[int, Cdr]]:
    """Last fact first, and the start of the call after its recording."""
    last_first = [cdr for _, cdr in sorted(timed, key=lambda pair: pair[1].happened_ms)][::-1]
    at_ms, out = last_first[0].happened_ms, []  # nothing is sent before it happened
    for cdr in last_first:
        at_ms += rng.randrange(*BACKWARDS_GAP_MS)
        if _is(cdr, "dialog_start"):
            at_ms = max(at_ms, recorded_ms) + rng.randrange(*REORDER_GAP_MS)
        out.append((at_ms, cdr))
    return out


def _batches(timed: list[tuple[int, Cdr]], *, batched: bool) -> Iterator[tuple[int, list[Cdr]]]:
    if not batched:
        yield from ((at, [cdr]) for at, cdr in timed)
        return
    by_type: dict[str, list[tuple[int, Cdr]]] = {}
    for at, cdr in timed:
        by_type.setdefault(cdr.message_type, []).append((at, cdr))
    for members in by_type.values():
        yield max(at for at, _ in members), [cdr for _, cdr in members]


def _again(one: Delivery, push: config.Push, rng: Random) -> Delivery:
    """The same once more, perhaps in another form, some time later."""
    form = one.form
    if len(one.events) <= 1:
        form = _pick(push.audio_forms if one.recording else push.event_forms, rng)
    later_ms = one.at_ms + rng.randrange(DUPLICATE_GAP_MS)
    return replace(one, at_ms=later_ms, form=form, spoil_token=False, cut_first=False)


def _pick(weights: Mapping[str, float], rng: Random) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]
