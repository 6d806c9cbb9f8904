"""Recordings become bytes: rendered when asked for, cached within a bound, always the same."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from ocp_sim.model import Damage, Recording, Sound, Source


class Renderer(Protocol):
    """What turns a description into audio; every answer depends on its arguments alone."""

    @property
    def corruptions(self) -> tuple[str, ...]:
        """The corruptions it knows by name."""
        ...

    def render(self, sound: Sound, seed: int) -> bytes:
        """A valid file."""
        ...

    def corrupt(self, data: bytes, how: str, seed: int) -> bytes:
        """An invalid file made from a valid one."""
        ...

    def trim(self, sound: Sound, share: float) -> Sound:
        """A shorter description: that share of the length taken away."""
        ...


class Facts(NamedTuple):
    """What a ledger or a file listing says of bytes."""

    size: int
    sha256: str


class Sounds:
    """Renders on demand; safe to call from several threads."""

    def __init__(self, renderer: Callable[[], Renderer], *, cache_bytes_max: int) -> None:
        self._make_renderer = renderer
        self._renderer: Renderer | None = None
        self._cache: OrderedDict[tuple[str, Source], bytes] = OrderedDict()
        self._cache_bytes = 0
        self._cache_bytes_max = cache_bytes_max
        self._facts: dict[tuple[str, Source], Facts] = {}
        self._lock = threading.RLock()

    def audio(self, recording: Recording, source: Source) -> bytes:
        """The bytes as OCP keeps them, or as its stream sends them."""
        key = _key(recording, source)
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
            data = self._make(recording, key[1])
            self._facts[key] = Facts(len(data), hashlib.sha256(data).hexdigest())
            self._keep(key, data)
            return data

    def facts(self, recording: Recording, source: Source) -> Facts:
        """Size and SHA-256 of those bytes; remembered for good once known."""
        key = _key(recording, source)
        with self._lock:
            if key not in self._facts:
                self.audio(recording, source)
            return self._facts[key]

    def _make(self, recording: Recording, source: Source) -> bytes:
        if self._renderer is None:
            self._renderer = self._make_renderer()
        sound = recording.sound
        if recording.trim_share is not None:
            sound = self._renderer.trim(sound, recording.trim_share)
        data = self._renderer.render(sound, recording.seed)
        damage = recording.damage_at_ocp
        if damage is None and source == "stream":
            damage = recording.damage_in_stream
        if damage is None:
            return data
        how = damage.how or _pick(damage, self._renderer.corruptions)
        return self._renderer.corrupt(data, how, recording.seed)

    def _keep(self, key: tuple[str, Source], data: bytes) -> None:
        self._cache[key] = data
        self._cache_bytes += len(data)
        while self._cache_bytes > self._cache_bytes_max and len(self._cache) > 1:
            _, dropped = self._cache.popitem(last=False)
            self._cache_bytes -= len(dropped)


def speech(folder: Path | None = None) -> Renderer:
    """Real speech: the clips that come with the package, or those of a folder."""
    return _Speech(folder)


class _Speech:
    """`ocp_sim.audio` as a `Renderer`; imported late, for it brings the numeric libraries."""

    def __init__(self, folder: Path | None) -> None:
        from ocp_sim import audio

        self._audio = audio
        self._voices = audio.load_voices(folder)
        self.corruptions: tuple[str, ...] = audio.CORRUPTIONS

    def render(self, sound: Sound, seed: int) -> bytes:
        return self._audio.render(self._audio.AudioSpec(*sound), seed, self._voices)

    def corrupt(self, data: bytes, how: str, seed: int) -> bytes:
        return self._audio.corrupt(data, how, seed)

    def trim(self, sound: Sound, share: float) -> Sound:
        return Sound(*self._audio.trim(self._audio.AudioSpec(*sound), share))


def _key(recording: Recording, source: Source) -> tuple[str, Source]:
    # Undamaged streams carry what OCP keeps: one rendering serves both.
    return (recording.name, source if recording.damage_in_stream else "ocp")


def _pick(damage: Damage, corruptions: tuple[str, ...]) -> str:
    # An empty body is no recording: a receiver may refuse it at the door, so it never ends
    # quarantined, which is what the ledger says of a recording broken at OCP.
    known = [how for how in corruptions if how != "zero_bytes"]
    return known[damage.pick % len(known)]
