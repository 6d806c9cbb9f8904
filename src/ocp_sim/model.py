"""The simulator's values: calls as OCP knows them, and what its stream sends of them."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from msgspec import Struct

EventForm = Literal["object", "array", "ndjson", "object_gzip", "ndjson_gzip"]
AudioForm = Literal["raw", "raw_query", "raw_put", "multipart", "base64", "url"]
Source = Literal["ocp", "stream"]  # the bytes that OCP keeps, or those that its stream sends


class Sound(NamedTuple):
    """What a recording is to sound like; same fields as `ocp_sim.audio.AudioSpec`."""

    codec: str  # pcm16 | alaw | mulaw | mp3
    channels: int
    sample_rate_hz: int
    duration_ms: int
    mutes: tuple[tuple[int, int], ...] = ()  # (start_ms, length_ms) of sensitive stretches


class Damage(Struct, frozen=True):
    """How bytes are spoiled: a named corruption, or the pick-th of those known."""

    pick: int
    how: str | None = None


class Recording(Struct, frozen=True, kw_only=True):
    """One whole-call recording; its bytes follow from these fields alone."""

    dialog_id: str
    name: str
    content_type: str
    seed: int
    sound: Sound
    trim_share: float | None = None
    damage_at_ocp: Damage | None = None
    damage_in_stream: Damage | None = None


class Cdr(Struct, frozen=True, kw_only=True):
    """One call detail record: `time_ms` is its dialog's start, `happened_ms` when it came up."""

    message_type: str
    dialog_id: str
    root: bool
    time_ms: int
    happened_ms: int
    body: Mapping[str, Any]


class Call(Struct, frozen=True, kw_only=True):
    """One call as OCP holds it. `call_id` is the dialog group id, equal to the root dialog's id."""

    index: int
    call_id: str
    ocp_group: str
    account_id: str
    app: str
    start_ms: int
    duration_ms: int
    end_type: str
    cdrs: tuple[Cdr, ...]
    recording: Recording | None
    faults: frozenset[str]
    shapes: frozenset[str]

    @property
    def end_ms(self) -> int:
        """When the call ended, epoch ms."""
        return self.start_ms + self.duration_ms


class Delivery(Struct, frozen=True, kw_only=True):
    """One push of the stream: events of one type, or one recording.

    `at_ms` is the domain time before which it is not sent. `name` is what the push calls the
    recording (it may lie); `recording` is whose bytes it carries.
    """

    at_ms: int
    call_id: str
    ocp_group: str
    account_id: str
    form: str
    events: tuple[Mapping[str, Any], ...] = ()
    name: str | None = None
    recording: str | None = None
    spoil_token: bool = False
    cut_first: bool = False

    @property
    def kind(self) -> Literal["event", "recording"]:
        """What is pushed."""
        return "recording" if self.recording else "event"
