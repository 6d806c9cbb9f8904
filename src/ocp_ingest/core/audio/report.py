"""The result of reading a recording once: what it is, how long, how loud, what is wrong."""

import msgspec

from ocp_ingest.core.audio.problems import Problem


class AudioReport(msgspec.Struct, frozen=True):
    """Everything measured of one recording.

    ``container``: ``wav``, ``rf64``, ``bw64``, ``rifx``, ``mp3``, or the true name of
    anything else.
    ``codec``: ``pcm_s16le``, ``pcm_alaw``, ``mp3`` …; empty when unknown.
    ``bits_per_sample`` is 0 for MP3, whose samples have no fixed depth.
    ``frames`` are sample frames (one sample per channel) really received; for MP3 those of all
    complete audio frames, encoder delay and padding included.
    ``duration_ms`` is measured, ``declared_duration_ms`` is what the header claims (None when it
    claims nothing, as a streaming header).
    ``silence_share`` is the share of time (0 to 1) in which every channel is silent,
    ``channel_silence_share`` the same for each channel; None or empty when not measurable.
    ``dead_tail_ms`` is the silence at the end and ``longest_silence_ms`` the longest one, on all
    channels; ``silent_runs`` are (start_ms, length_ms) of silences of 1 s or more, the 64 longest,
    in order of time. ``digital_zero_share`` (WAV) is the share of time with exact digital zero.
    """

    container: str
    codec: str = ""
    sample_rate_hz: int = 0
    channels: int = 0
    bits_per_sample: int = 0
    bit_rate_bps: int = 0
    frames: int = 0
    duration_ms: int | None = None
    declared_duration_ms: int | None = None
    bytes: int = 0
    sha256: str = ""
    silence_share: float | None = None
    channel_silence_share: tuple[float, ...] = ()
    dead_tail_ms: int | None = None
    longest_silence_ms: int | None = None
    silent_runs: tuple[tuple[int, int], ...] = ()
    digital_zero_share: float | None = None
    streaming_header: bool = False
    problems: tuple[Problem, ...] = ()

    @property
    def ok(self) -> bool:
        """True when no problem is an error."""
        return all(problem.severity != "error" for problem in self.problems)


class Findings(msgspec.Struct):
    """What a container's walker hands back at the end; the parser adds bytes and hash."""

    container: str
    codec: str = ""
    sample_rate_hz: int = 0
    channels: int = 0
    bits_per_sample: int = 0
    bit_rate_bps: int = 0
    frames: int = 0
    duration_ms: int | None = None
    declared_duration_ms: int | None = None
    streaming_header: bool = False
    digital_zero_share: float | None = None


class Loudness(msgspec.Struct, frozen=True):
    """Silence over the whole recording; the fields of the report of the same names."""

    silence_share: float | None = None
    channel_silence_share: tuple[float, ...] = ()
    dead_tail_ms: int | None = None
    longest_silence_ms: int | None = None
    silent_runs: tuple[tuple[int, int], ...] = ()


def milliseconds(frames: int, rate_hz: int) -> int | None:
    """Return ``frames`` at ``rate_hz`` in ms, rounded to the nearest; None without a rate."""
    return (frames * 1000 + rate_hz // 2) // rate_hz if rate_hz > 0 else None
