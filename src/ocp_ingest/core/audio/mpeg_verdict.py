"""What the counts of a frame walk mean: whole, cut, damaged, or a header that lies.

Rules (numbers of the table in ``problems``)
  1. Nothing found: ``no_frames``; inside a tag that promises more: ``truncated_header`` too.
  2. Xing, Info, VBRI: fewer frames than promised is ``truncated``, unless the promised bytes are
     all there: then the promise is wrong. One frame less counts only with missing bytes, because
     writers disagree on whether the header frame itself is counted.
  3. The last frame is not whole: ``truncated``.
  4. Junk: a little is a warning, one part in a hundred or more is damage.
"""

from typing import Final, Protocol

from ocp_ingest.core.audio.mpeg_header import Header
from ocp_ingest.core.audio.mpeg_tags import Promise
from ocp_ingest.core.audio.problems import ProblemList
from ocp_ingest.core.audio.report import Findings, milliseconds

TAIL_BYTES_MAX: Final = 4_096  # bytes after the last frame that may be a tag of some kind
DAMAGE_SHARE: Final = 100  # one part in so many of the bytes lost is an error
_UNKNOWN: Final = 0xFFFFFFFF


class Walked(Protocol):
    """What the verdict needs to know of a walk."""

    problems: ProblemList
    content: bool
    first: Header | None
    promise: Promise | None
    promise_at: int
    frames: int
    frame_bytes: int
    owed: int
    owing: int
    gap: int
    gap_zero: bool
    junk: int
    resyncs: int
    gave_up: bool

    @property
    def received(self) -> int: ...


def judge(walk: Walked) -> Findings:
    """Add what is wrong with the stream and return what it is."""
    found = Findings("mp3", "mp3")
    if walk.first is None:
        if walk.owed:
            walk.problems.add(
                "truncated_header", bytes=walk.received, where="an ID3 tag that claims more"
            )
        walk.problems.add("no_frames", bytes=walk.received)
        return found
    rate_hz, samples = walk.first.rate_hz, walk.first.samples
    found.sample_rate_hz, found.channels = rate_hz, walk.first.channels
    promised = walk.promise.frames if walk.promise else None
    if promised and promised != _UNKNOWN:
        found.declared_duration_ms = milliseconds(promised * samples, rate_hz)
    if not walk.content:
        return found
    if walk.owed and walk.owing and walk.frames:
        walk.frames -= 1
        walk.frame_bytes -= walk.owing
    found.frames = walk.frames * samples
    found.duration_ms = milliseconds(found.frames, rate_hz)
    if walk.frames:
        found.bit_rate_bps = walk.frame_bytes * 8 * rate_hz // found.frames
    else:
        walk.problems.add("no_frames", bytes=walk.received)
    if walk.promise is not None:
        _judge_promise(walk, walk.promise, walk.first)
    _judge_end(walk, walk.first)
    _judge_junk(walk)
    return found


def _judge_promise(walk: Walked, promise: Promise, first: Header) -> None:
    available = walk.received - walk.promise_at
    short = promise.bytes is not None and promise.bytes > available
    bytes_fit = promise.bytes is not None and not short
    if promise.frames is not None:
        missing = promise.frames - walk.frames
        cut = missing > 1 or (missing == 1 and short)
        if promise.frames == _UNKNOWN or missing < -1 or (cut and bytes_fit):
            walk.problems.add(
                "xing_wrong", kind=promise.kind, declared=promise.frames,
                unit="frames", counted=walk.frames,
            )  # fmt: skip
            return
        if cut:
            walk.problems.add(
                "truncated", missing=missing, declared=promise.frames, unit="frames",
                missing_ms=milliseconds(missing * first.samples, first.rate_hz),
            )  # fmt: skip
            return
    if short:
        assert promise.bytes is not None
        walk.problems.add(
            "xing_wrong", kind=promise.kind, declared=promise.bytes, unit="bytes",
            counted=available,
        )  # fmt: skip


def _judge_end(walk: Walked, first: Header) -> None:
    if not walk.owed:
        return
    if walk.owing:
        walk.problems.add(
            "truncated", missing=walk.owed, declared=walk.owing, unit="bytes of the last frame",
            missing_ms=milliseconds(first.samples, first.rate_hz),
        )  # fmt: skip
    else:
        walk.problems.add("metadata_truncated", chunk="tag")


def _judge_junk(walk: Walked) -> None:
    lost = walk.junk
    if walk.gap and "format_change" not in walk.problems:
        big = walk.gap > TAIL_BYTES_MAX and walk.gap * DAMAGE_SHARE > walk.frame_bytes
        if walk.gap_zero:
            walk.problems.add("trailing_zeros", extra=walk.gap)
        elif walk.gave_up or big:
            lost += walk.gap
        else:
            walk.problems.add("trailing_bytes", extra=walk.gap)
    if lost * DAMAGE_SHARE > walk.frame_bytes or (lost and walk.gave_up):
        walk.problems.add("damaged_frames", resyncs=walk.resyncs + (lost > walk.junk), junk=lost)
    elif lost:
        walk.problems.add("resync", resyncs=walk.resyncs, junk=lost)
