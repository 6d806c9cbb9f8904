"""What the counts of a chunk walk mean: whole, cut, open-ended, or a header that lies.

Rules (codes in ``problems``)
  1. The audio chunk never came: the file was cut inside its header, or it has no audio.
  2. Size unknown to the writer (a sentinel): ``streaming_header``, time counted from the bytes.
  3. Fewer bytes of audio than declared: ``truncated``. Always an error, whatever the outer size
     says: a header that contradicts itself proves nothing about completeness.
  4. More bytes than all chunks claim: trailing; an error when they are more than a tag could be.
  5. The outer size, ``fact`` and a partial sample frame are hints only.
"""

from typing import Final

import msgspec

from ocp_ingest.core.audio.problems import ProblemList
from ocp_ingest.core.audio.report import Findings, milliseconds
from ocp_ingest.core.audio.wav_format import WavFormat

CHUNK_HEADER: Final = "a chunk header"
TAIL_BYTES_MAX: Final = 4_096  # bytes after the audio that may be a tag of some kind
TAIL_SHARE: Final = 100  # one part in so many of the audio may trail, too
_32: Final = 0xFFFFFFFF

# What real writers put behind the audio; anything else there may as well be garbage.
KNOWN_CHUNKS: Final = frozenset(
    (
        *(b"LIST", b"fact", b"cue ", b"bext", b"JUNK", b"junk", b"PAD ", b"id3 ", b"ID3 "),
        *(b"afsp", b"smpl", b"inst", b"PEAK", b"iXML", b"axml", b"chna", b"_PMX", b"plst"),
        *(b"note", b"labl", b"data", b"fmt ", b"DISP", b"LGWV", b"acid", b"cart", b"FLLR"),
        *(b"minf", b"elm1", b"umid"),
    )
)


class Walked(msgspec.Struct, frozen=True):
    """What a chunk walk saw. Sizes and offsets in bytes.

    ``cut_chunk`` names the chunk and ``cut_header`` the structure in which the file ended;
    ``endless`` is a sentinel that the bytes did not fulfil; ``tail_start`` is where bytes begin
    that belong to no chunk; ``riff_size`` is 0 when the outer size claims nothing.
    """

    container: str
    format: WavFormat | None
    bytes: int
    stopped: bool
    cut_chunk: str
    cut_chunk_start: int
    cut_header: str
    data_seen: bool
    data_open: bool
    declared: int
    endless: bool
    received: int
    fact: int
    tail_start: int | None
    tail_zero: bool
    riff_size: int
    chunks_end: int


def is_sentinel(size: int) -> bool:
    """Tell whether ``size`` is one that writers leave when they do not know the length.

    0; 0x7FFFF000 to 0x7FFFFFFF (SoX); 0xFFFFFF00 and more (FFmpeg; less a header in others);
    all 64 bits set (RF64).
    """
    return (
        size == 0
        or 0x7FFFF000 <= size <= 0x7FFFFFFF
        or 0xFFFFFF00 <= size <= _32
        or size == (1 << 64) - 1
    )


def judge(walked: Walked, problems: ProblemList) -> None:
    """Add what is wrong with the structure of the file."""
    if not walked.data_seen:
        _judge_header(walked, problems)
        return
    if not walked.received:
        problems.add("no_data")
    if walked.endless:
        if walked.received:
            problems.add("streaming_header", declared=f"0x{walked.declared:X}")
    elif walked.data_open:
        _judge_missing(walked, problems)
    else:
        _judge_tail(walked, problems)
    _judge_frames(walked, problems)


def _judge_header(walked: Walked, problems: ProblemList) -> None:
    if walked.stopped:
        return  # the reason for stopping is there already
    where = f"the chunk '{walked.cut_chunk}'" if walked.cut_chunk else walked.cut_header
    if where:
        problems.add("truncated_header", bytes=walked.bytes, where=where)
        return
    if walked.format is None:
        problems.add("no_fmt")
    problems.add("no_data")


def _judge_missing(walked: Walked, problems: ProblemList) -> None:
    missing, fmt = walked.declared - walked.received, walked.format
    ms = milliseconds(missing // fmt.align, fmt.rate_hz) if fmt and fmt.usable else 0
    problems.add(
        "truncated", missing=missing, declared=walked.declared, unit="bytes", missing_ms=ms
    )


def _judge_tail(walked: Walked, problems: ProblemList) -> None:
    if walked.cut_chunk and walked.cut_chunk.encode() in KNOWN_CHUNKS:
        problems.add("metadata_truncated", chunk=walked.cut_chunk)
    elif walked.cut_chunk:
        _judge_extra(walked, walked.bytes - walked.cut_chunk_start, False, problems)
    elif walked.tail_start is not None:
        _judge_extra(walked, walked.bytes - walked.tail_start, walked.tail_zero, problems)
    elif not walked.stopped and walked.riff_size:
        claimed = walked.riff_size
        if abs(claimed + 8 - walked.chunks_end) > 1:
            problems.add("riff_size_wrong", declared=claimed, received=walked.chunks_end - 8)


def _judge_extra(walked: Walked, extra: int, zero: bool, problems: ProblemList) -> None:
    if extra >> 32:
        received = walked.received + extra
        problems.add("size_wrapped", declared=walked.declared, received=received)
    elif zero:
        problems.add("trailing_zeros", extra=extra)
    elif extra > TAIL_BYTES_MAX and extra * TAIL_SHARE > walked.received:
        problems.add("data_size_short", declared=walked.declared, extra=extra)
    else:
        problems.add("trailing_bytes", extra=extra)


def _judge_frames(walked: Walked, problems: ProblemList) -> None:
    fmt = walked.format
    if fmt is None or not fmt.usable:
        return
    cut = walked.data_open and not walked.endless
    if walked.received % fmt.align and not cut:
        problems.add("partial_frame", extra=walked.received % fmt.align)
    frames = walked.declared // fmt.align
    if not walked.endless and walked.fact not in (0, _32, frames, frames * fmt.channels):
        problems.add("fact_wrong", declared=walked.fact, frames=frames)


def findings(walked: Walked, zero_share: float | None) -> Findings:
    """Return what the file is; ``zero_share`` is passed through."""
    fmt = walked.format
    if fmt is None:
        return Findings(walked.container)
    found = Findings(
        walked.container,
        fmt.codec,
        fmt.rate_hz,
        fmt.channels,
        fmt.bits,
        streaming_header=walked.endless,
        digital_zero_share=zero_share,
    )
    if fmt.usable:
        found.bit_rate_bps = fmt.rate_hz * fmt.align * 8
        found.frames = walked.received // fmt.align
        found.duration_ms = milliseconds(found.frames, fmt.rate_hz)
        if walked.data_seen and not walked.endless:
            found.declared_duration_ms = milliseconds(walked.declared // fmt.align, fmt.rate_hz)
    return found
