"""A seed, a number and settings become the calls of a day. Pure: chance comes from the seed.

Each call draws from its own generator (seed and index), so calls differ only where the plan of
faults says so. Recordings are described here and turned into bytes only when asked for.
"""

from collections.abc import Callable, Iterator
from random import Random
from typing import Final, NamedTuple

from ocp_sim import cdr, config, faults, ids
from ocp_sim.model import Call, Cdr, Damage, Recording, Sound, Source
from ocp_sim.sounds import Renderer, Sounds, speech

END_TYPES: Final = ("FAR_HUP", "NEAR_HUP", "NORMAL")
FRAME_MS: Final = 20  # telephone frames: durations are whole multiples
# Numbers kept free for fiction by Ofcom and NANPA.
FICTIONAL_NUMBERS: Final = ("447700900{:03d}", "1202555{:04d}")
CODECS: Final = (
    ("pcm16", 1, 8000),
    ("pcm16", 2, 8000),
    ("alaw", 1, 8000),
    ("alaw", 2, 8000),
    ("mulaw", 1, 8000),
    ("mulaw", 2, 8000),
    ("pcm16", 1, 16000),
)
MP3: Final = ("mp3", 1, 16000)
TRIM_SHARES: Final = (0.3, 0.5)


class Fate(NamedTuple):
    """What the plan says of one call."""

    faults: frozenset[str]
    shapes: frozenset[str]


class World:
    """The calls of one seed, by index and by recording name, and their audio."""

    def __init__(self, seed: int, settings: config.World, calls: tuple[Call, ...], sounds: Sounds):
        self.seed = seed
        self.settings = settings
        self.calls = calls
        self.sounds = sounds
        self.recordings = {c.recording.name: c.recording for c in calls if c.recording}

    @property
    def end_ms(self) -> int:
        """When the last call ended, epoch ms; 0 in an empty world."""
        return max((call.end_ms for call in self.calls), default=0)

    def audio(self, name: str, source: Source = "ocp") -> bytes:
        """The bytes of a recording as OCP keeps it or as the stream sends it.

        Raises `KeyError` when no recording has that name.
        """
        return self.sounds.audio(self.recordings[name], source)


def build_world(
    seed: int,
    calls: int,
    settings: config.World,
    *,
    start_ms: int = 0,
    renderer: Callable[[], Renderer] = speech,
) -> World:
    """The world of a seed; `start_ms` counts where the settings name no start."""
    first_ms = start_ms if settings.start_ms is None else settings.start_ms
    planned = faults.plan_faults(calls, settings.faults, ids.chance(seed, "faults"))
    shapes = faults.plan_shapes(planned, settings.shapes, ids.chance(seed, "shapes"))
    made = tuple(
        _call(ids.chance(seed, n), n, first_ms + offset, settings, Fate(planned[n], shapes[n]))
        for n, offset in enumerate(_offsets(seed, calls, settings))
    )
    sounds = Sounds(renderer, cache_bytes_max=settings.cache_mib * 2**20)
    return World(seed, settings, made, sounds)


def _offsets(seed: int, calls: int, settings: config.World) -> Iterator[int]:
    """Start of each call in ms, ascending, one in each equal slice of the span."""
    span_ms = settings.hours * 3_600_000 - settings.duration_s[1] * 1000
    for n in range(calls):
        yield int(span_ms * (n + ids.chance(seed, n, "start").random()) / calls)


def _call(rng: Random, index: int, start_ms: int, settings: config.World, fate: Fate) -> Call:
    group = rng.choice(settings.groups)
    duration_ms = _duration_ms(settings, rng, short="too_short" in fate.faults)
    facts = _facts(rng, group, start_ms, duration_ms, fate)
    mutes = _mutes(duration_ms, rng) if "sensitive" in fate.shapes else ()
    records = _cdrs(facts, rng, fate, mutes)
    recorded = not fate.faults & faults.UNRECORDED
    return Call(
        index=index,
        call_id=facts.group_id,
        ocp_group=group.name,
        account_id=group.account_id,
        app=facts.app,
        start_ms=start_ms,
        duration_ms=duration_ms,
        end_type=facts.end_type,
        cdrs=records,
        recording=_recording(facts, rng, fate, mutes) if recorded else None,
        faults=fate.faults,
        shapes=fate.shapes,
    )


def _duration_ms(settings: config.World, rng: Random, *, short: bool) -> int:
    low_s, high_s = settings.duration_s
    if short:
        low_s, high_s = settings.shortest_recorded_s * 0.2, settings.shortest_recorded_s * 0.9
    return int(rng.uniform(low_s, high_s) * 1000) // FRAME_MS * FRAME_MS


def _facts(
    rng: Random,
    group: config.Group,
    start_ms: int,
    duration_ms: int,
    fate: Fate,
) -> cdr.Facts:
    app = rng.choice(group.apps)
    number = rng.choice(FICTIONAL_NUMBERS).format(rng.randrange(100, 200))
    customer = {"customer_id": f"C-{rng.randrange(10**6):06d}", "segment": rng.choice("ABC")}
    root = cdr.Dialog(
        id=ids.dialog_id(rng, start_ms),
        start_ms=start_ms,
        duration_ms=duration_ms,
        flow_name=app,
        flow_type="Flow",
        parent_step=0,
    )
    return cdr.Facts(
        group_id=root.id,
        session_id=ids.uuid(rng),
        ocp_group=group,
        app=app,
        app_version=rng.randrange(1, 9),
        end_type="TRANSFER" if "transfer" in fate.shapes else rng.choice(END_TYPES),
        test="test_call" in fate.faults,
        locale=rng.choice(group.locales),
        origin="undefined" if "hidden_number" in fate.shapes else number,
        destination=rng.choice(group.numbers),
        connection_id=rng.choice(("undefined", ids.uuid(rng))),
        device_type=rng.choice(("mobile", "landline", "")),
        attached=customer if rng.random() < 0.8 else {},
        group_named="nameless_group" not in fate.shapes,
        root=root,
    )


def _cdrs(
    facts: cdr.Facts,
    rng: Random,
    fate: Fate,
    mutes: tuple[tuple[int, int], ...],
) -> tuple[Cdr, ...]:
    dialogs = [facts.root]
    if "multi_dialog" in fate.shapes:
        dialogs += _children(facts.root, rng)
    made = [cdr.start(facts, dialog, rng) for dialog in dialogs]
    if "steps" in fate.shapes or mutes:
        made += _steps(facts, rng, mutes)
    made += [cdr.end(facts, dialog) for dialog in dialogs if dialog is not facts.root]
    if "ivr_end" in fate.shapes:
        made.append(cdr.ivr_end(facts))
    if "endless" not in fate.faults:
        made.append(cdr.end(facts, facts.root))
    return tuple(sorted(made, key=lambda record: record.happened_ms))


def _children(root: cdr.Dialog, rng: Random) -> list[cdr.Dialog]:
    count = rng.randrange(1, 4)
    slot_ms = root.duration_ms // (count + 1)
    made = []
    for number in range(1, count + 1):
        start_ms = root.start_ms + number * slot_ms
        kind = rng.choice(cdr.MINI_APPS)
        made.append(
            cdr.Dialog(
                id=ids.dialog_id(rng, start_ms),
                start_ms=start_ms,
                duration_ms=int(slot_ms * rng.uniform(0.3, 0.9)),
                flow_name=f"{root.flow_name}-{kind.lower()}",
                flow_type=kind,
                parent_step=number,
            )
        )
    return made


def _steps(facts: cdr.Facts, rng: Random, mutes: tuple[tuple[int, int], ...]) -> list[Cdr]:
    plain = rng.randrange(1, 4)
    moments = [(rng.randrange(facts.root.duration_ms), False) for _ in range(plain)]
    moments += [(start, True) for start, _ in mutes]
    return [
        cdr.step(facts, number, facts.root.start_ms + at, rng, sensitive=sensitive)
        for number, (at, sensitive) in enumerate(sorted(moments), start=1)
    ]


def _mutes(duration_ms: int, rng: Random) -> tuple[tuple[int, int], ...]:
    start_ms = int(duration_ms * rng.uniform(0.3, 0.5))
    return ((start_ms, int(duration_ms * rng.uniform(0.1, 0.2))),)


def _recording(
    facts: cdr.Facts,
    rng: Random,
    fate: Fate,
    mutes: tuple[tuple[int, int], ...],
) -> Recording:
    root = facts.root
    codec, channels, rate_hz = MP3 if "mp3" in fate.shapes else rng.choice(CODECS)
    name = ids.recording_name(
        root.id, facts.ocp_group.account_id, root.start_ms, root.id, _extension(codec)
    )
    pick = rng.randrange(10**6)
    error_page = rng.choice(("error_html", "error_json"))
    in_stream = None
    if "error_body" in fate.faults:
        in_stream = Damage(pick=pick, how=error_page)
    elif "corrupt_stream" in fate.faults:
        in_stream = Damage(pick=pick)
    return Recording(
        dialog_id=root.id,
        name=name,
        content_type="audio/mpeg" if codec == "mp3" else "audio/wav",
        seed=rng.getrandbits(32),
        sound=Sound(codec, channels, rate_hz, root.duration_ms, mutes),
        trim_share=rng.uniform(*TRIM_SHARES) if "trimmed" in fate.faults else None,
        damage_at_ocp=Damage(pick=pick) if "corrupt_at_ocp" in fate.faults else None,
        damage_in_stream=in_stream,
    )


def _extension(codec: str) -> str:
    return "mp3" if codec == "mp3" else "wav"
