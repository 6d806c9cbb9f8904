"""The frame walk of MP3: frames counted, never decoded.

Rules
  1. ID3v2 tags at the start (and between frames) are skipped by their own size.
  2. The first frame needs a second one of the same identity behind it; two more when it does not
     stand at the very start. Free format: the distance to the next equal header is its length.
  3. A frame is known by its 32-bit header alone: a table maps each header seen to its length. The
     table is bounded, because identity fixes all but 17 bits of a header.
  4. Lost: ID3v1, APE, Lyrics3 tags are passed over; another identity with a second frame behind it
     is a change of format and ends the walk; anything else is junk until two frames fit again.
     After ``RESYNCS_MAX`` losses or ``JUNK_BYTES_MAX`` of junk the rest is only counted.
  5. A last frame that is not whole, or fewer frames and bytes than Xing/Info/VBRI promise:
     truncated. A Xing that promises other numbers while its byte count fits: only wrong.
  6. Kept between blocks: ``LOOK`` bytes while frames follow each other, ``SEEK_BYTES_MAX`` while
     a frame is being confirmed.

Sources: ISO 11172-3, ISO 13818-3, id3.org (2.3, 2.4), the Xing and LAME tag as written by LAME,
VBRI as written by Fraunhofer, APEv2 and Lyrics3 2.00 descriptions.
"""

import re
from collections.abc import Callable, Iterable
from struct import Struct
from typing import Final

from ocp_ingest.core.audio.mpeg_header import (
    LOUD_GAIN,
    SIDE_BYTES,
    STEPS_BY_FIELDS,
    Header,
    SideLayout,
    parse_header,
)
from ocp_ingest.core.audio.mpeg_tags import (
    LYRICS,
    LYRICS_END,
    Promise,
    id3v2_bytes,
    read_promise,
    tag_bytes,
)
from ocp_ingest.core.audio.mpeg_verdict import judge
from ocp_ingest.core.audio.problems import ProblemList
from ocp_ingest.core.audio.report import Findings, Loudness
from ocp_ingest.core.audio.silence import SilenceMeter

LOOK: Final = 64  # bytes that must be there to judge a frame: header, CRC, side info, Xing or VBRI
FREE_BYTES_MAX: Final = 4_608  # bytes of a free-format frame: 640 kbit/s at 32 kHz, MPEG-1
SEEK_BYTES_MAX: Final = 3 * FREE_BYTES_MAX + 8  # bytes to confirm a frame by two more
FREE_TRIES_MAX: Final = 8  # searches for a free-format length per file; each is a scan
JUNK_BYTES_MAX: Final = 1 << 20  # bytes; more is no damage, it is another file
RESYNCS_MAX: Final = 1_000  # losses; a stream that breaks more often is not worth a scan
ENTRIES_MAX: Final = 4_096  # headers in the table; an encoder uses fewer than 60
_ID3_TAGS_MAX: Final = 64  # tags skipped per file

_WORD: Final = Struct(">I").unpack_from
_SYNC: Final = re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb][^\xf0-\xff]", re.DOTALL)


class MpegWalker:
    """Walks one MP3 file; ``content=False`` stops after the first frame and only counts."""

    container = "mp3"

    def __init__(self, problems: ProblemList, *, content: bool) -> None:
        self.problems = problems
        self.content = content
        self._offset = 0  # file offset of the first byte kept
        self._kept = b""
        self.owed = 0  # bytes of a frame or tag that have not arrived yet
        self.owing = 0  # whole length of that frame; 0 when it is a tag
        self._final = False
        self._step: Callable[[bytes, int, int], int] = self._start
        self.first: Header | None = None
        self._layouts: tuple[SideLayout, ...] = ()  # without and with CRC
        self._entries: dict[int, int] = {}  # header -> length << 2 | crc << 1 | mid_side
        self._sync = b""  # the two bytes with which every frame begins
        self._free_bytes = 0
        self._free_tries = 0
        self._tags = 0
        self._lyrics_bytes = 0
        self.promise: Promise | None = None
        self.promise_at = 0
        self.frames = 0
        self.frame_bytes = 0
        self.gap = 0  # junk since the last frame or tag
        self.gap_zero = True
        self.junk = 0  # junk between frames
        self.resyncs = 0
        self.gave_up = False
        self._meter: SilenceMeter | None = None
        self._loud = 0
        self._loud_frames = 0

    @classmethod
    def begins_in(cls, head: bytes) -> bool:
        """Tell whether frames that follow each other begin somewhere in ``head``."""
        walker = cls(ProblemList(), content=False)
        walker.feed(head)
        return walker.first is not None

    # -- blocks -----------------------------------------------------------------------------------

    def feed(self, block: bytes) -> None:
        """Take the next bytes of the file."""
        buffer = self._kept + block if self._kept else block
        self._run(buffer, len(buffer))

    def _run(self, buffer: bytes, end: int) -> None:
        """Step through ``buffer[:end]`` until a step needs more bytes than there are."""
        at = self.owed
        while at < end:
            step = self._step
            after = step(buffer, at, end)
            if after == at and self._step == step:
                break
            at = after
        self.owed = max(0, at - end)
        self._kept = buffer[at:end]
        self._offset += end - len(self._kept)

    def _enough(self, at: int, want: int, end: int) -> bool:
        return self._final or at + want <= end

    # -- steps: each takes a place and returns the next one, or the same to wait for bytes ---------

    def _start(self, buffer: bytes, at: int, end: int) -> int:
        if not self._enough(at, LOOK, end):
            return at
        size = id3v2_bytes(buffer, at)
        if size and self._tags < _ID3_TAGS_MAX:
            self._tags += 1
            self.owing = 0
            return at + size
        self._step = self._seek
        return at

    def _seek(self, buffer: bytes, at: int, end: int) -> int:
        """Look for a frame that others follow."""
        while True:
            match = _SYNC.search(buffer, at, end)
            found = match.start() if match else end if self._final else max(at, end - 2)
            self._add_gap(buffer, at, found)
            if self.gap > JUNK_BYTES_MAX or self.resyncs > RESYNCS_MAX:
                self.gave_up = True
                self._step = self._rest
                return found
            if match is None:
                return found
            fits = self._confirm(buffer, found, end)
            if fits is None:
                return found
            if fits:
                return self._accept(buffer, found)
            self._add_gap(buffer, found, found + 1)
            at = found + 1

    def _add_gap(self, buffer: bytes, at: int, end: int) -> None:
        if end > at:
            self.gap += end - at
            self.gap_zero = self.gap_zero and buffer.count(0, at, end) == end - at

    def _confirm(self, buffer: bytes, at: int, end: int) -> bool | None:
        """Tell whether a frame of ours stands at ``at``; None when more bytes are needed."""
        if not self._enough(at, LOOK, end):
            return None
        header = self._ours(_WORD(buffer, at)[0])
        if header is None:
            return False
        if self.first is None and not header.length:
            if not self._enough(at, SEEK_BYTES_MAX, end):
                return None
            self._free_bytes = self._free_length(buffer, at, end, header)
            if not self._free_bytes:
                return False
        return self._followed(buffer, at + self._length(header), end, header)

    def _followed(self, buffer: bytes, at: int, end: int, header: Header) -> bool | None:
        """Tell whether frames like ``header``, a tag or the end stand at ``at`` and after it."""
        at_start = self.first is None and not self.gap
        for _ in range(1 if at_start or self.first else 2):
            if not self._enough(at, LOOK, end):
                return None
            if at + 4 > end:
                return at_start or at == end
            if tag_bytes(buffer, at):
                return True
            following = self._ours(_WORD(buffer, at)[0])
            if following is None or not _alike(following, header):
                return False
            at += self._length(following)
        return True

    def _length(self, header: Header) -> int:
        return header.length or self._free_bytes + header.padding

    def _ours(self, word: int) -> Header | None:
        """Return the header when it may belong to this stream."""
        header = parse_header(word)
        if header is None or header.layer != 3:
            return None
        return header if self.first is None or _alike(header, self.first) else None

    def _free_length(self, buffer: bytes, at: int, end: int, header: Header) -> int:
        """Return the frame length without padding that three alike headers agree on, or 0."""
        self._free_tries += 1
        if self._free_tries > FREE_TRIES_MAX:
            return 0
        sync, limit = buffer[at : at + 2], min(end, at + FREE_BYTES_MAX)
        after = buffer.find(sync, at + LOOK, limit)
        while after >= 0:
            length = after - at - header.padding
            following = parse_header(_WORD(buffer, after)[0]) if after + 4 <= end else None
            if following is not None and _alike(following, header):
                third = after + length + following.padding
                last = parse_header(_WORD(buffer, third)[0]) if third + 4 <= end else following
                if last is not None and _alike(last, header):
                    return length
            after = buffer.find(sync, after + 1, limit)
        return 0

    def _accept(self, buffer: bytes, at: int) -> int:
        """Take the frame at ``at`` as the first one, or the first one after a loss."""
        self._step = self._walk
        if self.first is not None:
            self.resyncs += 1
            self.junk += self.gap
            self.gap, self.gap_zero = 0, True
            return at
        if self.gap:
            self.problems.add("junk_before_audio", junk=self.gap)
        self.gap, self.gap_zero = 0, True
        header = parse_header(_WORD(buffer, at)[0])
        assert header is not None
        self.first = header
        self._sync = buffer[at : at + 2]
        kind = (header.samples == 1152, header.channels)
        self._layouts = (SideLayout(*kind, crc=False), SideLayout(*kind, crc=True))
        self._meter = SilenceMeter(header.channels, header.rate_hz) if self.content else None
        if not header.length:
            self.problems.add("free_format")
        if not self.content:
            self._step = self._rest
        self.promise = read_promise(buffer, at, SIDE_BYTES[kind])
        self.promise_at = self._offset + at
        if self.promise is None:
            return at
        self.owing = self._length(header)
        return at + self.owing

    def _walk(self, buffer: bytes, at: int, end: int) -> int:
        """Go from frame to frame, in runs of equal ones where there are any."""
        last = end - 1 if self._final else end - LOOK
        begin, previous = at, 0
        while at <= last:
            word = _WORD(buffer, at)[0]
            entry = self._entries.get(word) or self._learn(word)
            if not entry:
                self._step = self._lost
                break
            length = entry >> 2
            run = max(1, (end - at) // length) if entry == previous else 1
            done = self._hear(buffer, at, word, entry, run)
            at += done * length
            self.frames += done
            self.owing, previous = length, entry
        self.frame_bytes += at - begin
        return at

    def _hear(self, buffer: bytes, at: int, word: int, entry: int, run: int) -> int:
        """Take up to ``run`` frames of the same entry; the only loop that runs once per frame."""
        layout = self._layouts[entry >> 1 & 1]
        values_of: Iterable[tuple[int, ...]]
        if run == 1:
            values_of = (layout.head.unpack_from(buffer, at),)
        else:
            length = entry >> 2
            whole = memoryview(buffer)[at : at + run * length]
            values_of = layout.frame(length).iter_unpack(whole)
        steps, gain_shift, size_shift = STEPS_BY_FIELDS, layout.gain_shift, layout.size_shift
        one, both = len(layout.parts) == 1, entry & 1
        right = layout.parts[0][3]
        done, now, now_since = 0, self._loud, 0
        for values in values_of:
            if values[0] != word and self._entries.get(values[0]) != entry:
                break
            if one:  # telephone MP3, written out: a call per frame would halve the speed
                fields = values[1] >> right
                loud = (fields >> gain_shift & 0xFF) + steps[fields & 0xFFFF] > LOUD_GAIN
                loud = loud and fields >> size_shift & 0xFFF > 0
            else:
                loud = layout.loud(values)
                if both and loud:
                    loud = 3
            if loud != now:
                self._heard(now, done - now_since)
                now, now_since = loud, done
            done += 1
        self._heard(now, done - now_since)
        return done

    def _learn(self, word: int) -> int:
        """Return the table entry of a header seen for the first time; 0 when it is not ours."""
        header = self._ours(word)
        if header is None:
            return 0
        if len(self._entries) >= ENTRIES_MAX:
            self._entries.clear()
        entry = self._length(header) << 2 | header.crc << 1 | header.mid_side
        self._entries[word] = entry
        return entry

    def _heard(self, loud: int, frames: int) -> None:
        """Sum frames of the same loudness; silence is counted when it ends."""
        if loud != self._loud:
            self._flush_loud()
            self._loud = loud
        self._loud_frames += frames

    def _flush_loud(self) -> None:
        if self._meter is not None and self.first is not None and self._loud_frames:
            silent = ((1 << self.first.channels) - 1) & ~self._loud
            self._meter.add(silent, self._loud_frames * self.first.samples)
        self._loud_frames = 0

    def _lost(self, buffer: bytes, at: int, end: int) -> int:
        """No frame where one must be: a tag, another format, or junk."""
        if not self._enough(at, LOOK, end):
            return at
        if self.owing and end - at < 4 and self._sync.startswith(buffer[at : min(end, at + 2)]):
            self.frames += 1  # a header cut after one to three bytes
            self.frame_bytes += self.owing
            return at + self.owing
        size = tag_bytes(buffer, at)
        if size and self._tags < _ID3_TAGS_MAX:
            self._tags += 1
            self.owing = 0
            self._step = self._walk
            return at + size
        if buffer.startswith(LYRICS, at):
            self._step = self._lyrics
            return at
        self._step = self._changed
        return at

    def _changed(self, buffer: bytes, at: int, end: int) -> int:
        """No tag either: frames of another format, or junk."""
        word = _WORD(buffer, at)[0]
        header = parse_header(word)
        if header is not None and header.length and self._ours(word) is None:
            after = at + header.length
            if not self._enough(after, 4, end):
                return at
            following = parse_header(_WORD(buffer, after)[0]) if after + 4 <= end else None
            if following is not None and following.identity == header.identity:
                self.problems.add("format_change", at=self._offset + at)
                self._step = self._rest
                return at
        self._step = self._seek
        return at

    def _lyrics(self, buffer: bytes, at: int, end: int) -> int:
        ends = [buffer.find(mark, at, end) for mark in LYRICS_END]
        found = min((place for place in ends if place >= 0), default=-1)
        if found >= 0:
            self._step = self._walk
            return found + len(LYRICS_END[0])
        self._lyrics_bytes += max(0, end - 8 - at)
        if self._final or self._lyrics_bytes > JUNK_BYTES_MAX:
            self._step = self._seek
            return at
        return max(at, end - 8)

    def _rest(self, buffer: bytes, at: int, end: int) -> int:
        self._add_gap(buffer, at, end)
        return end

    # -- the end ----------------------------------------------------------------------------------

    def finish(self) -> tuple[Findings, Loudness]:
        """Judge what arrived; no more bytes follow."""
        self._final = True
        kept = self._kept
        self._run(kept + bytes(LOOK), len(kept))
        self._flush_loud()
        found = judge(self)
        return found, self._meter.result(self.problems) if self._meter else Loudness()

    @property
    def received(self) -> int:
        """Bytes of the file that arrived."""
        return self._offset + len(self._kept)


def _alike(one: Header, other: Header) -> bool:
    return one.identity == other.identity and bool(one.length) == bool(other.length)
