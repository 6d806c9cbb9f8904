"""The pure parts of hearing a recording: ranges, what browsers play, file names, drawings."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ocp_ingest.core.audio.peaks import MIDDLE, Waveform
from ocp_ingest.core.errors import Transient
from ocp_ingest.entrypoints.console.audio import Streams
from ocp_ingest.entrypoints.console.playing import disposition, media_type, unplayable
from ocp_ingest.entrypoints.console.ranges import Part, Unsatisfiable, part_of
from ocp_ingest.entrypoints.console.wave_svg import CHANNEL_HEIGHT, drawing


def test_only_so_many_are_heard_at_once() -> None:
    streams = Streams(2)
    with streams.one(), streams.one(), pytest.raises(Transient), streams.one():
        pass
    assert streams.open == 0
    with streams.one():
        assert streams.open == 1


@given(st.integers(0, 50), st.integers(0, 60), st.one_of(st.none(), st.integers(0, 60)))
def test_a_range_is_that_part_of_the_bytes(size: int, first: int, more: int | None) -> None:
    body, last = bytes(range(size)), "" if more is None else first + more
    want = body[first:] if more is None else body[first : first + more + 1]
    part = part_of(size, '"e"', f"bytes={first}-{last}", None)
    if not want:
        assert part == Unsatisfiable(size)
    else:
        assert part == Part(first, len(want), size)
        assert isinstance(part, Part)
        assert body[part.offset : part.offset + part.length] == want
        assert part.content_range == f"bytes {first}-{first + len(want) - 1}/{size}"


@given(st.integers(0, 50), st.integers(0, 60))
def test_a_suffix_is_the_end_of_the_bytes(size: int, length: int) -> None:
    part = part_of(size, '"e"', f"bytes=-{length}", None)
    have = min(size, length)
    assert part == (Part(size - have, have, size) if have else Unsatisfiable(size))


@pytest.mark.parametrize(
    "asked", [None, "bytes=0-1,3-4", "items=0-1", "bytes=a-b", "bytes=-", "bytes=5-2", "0-1", ""]
)
def test_what_is_no_range_of_ours_is_answered_with_the_whole(asked: str | None) -> None:
    assert part_of(10, '"e"', asked, None) == Part(0, 10, 10, whole=True)


def test_a_range_of_another_version_is_answered_with_the_whole() -> None:
    assert part_of(10, '"e"', "bytes=2-3", '"e"') == Part(2, 2, 10)
    assert part_of(10, '"e"', "bytes=2-3", '"f"') == Part(0, 10, 10, whole=True)
    assert part_of(10, '"e"', "bytes=2-3", "Sun, 22 Nov 2026 10:00:00 GMT").length == 10  # type: ignore[union-attr]


@pytest.mark.parametrize(("report", "why"), [
    (None, "unmeasured"),
    ({"container": "wav", "codec": "pcm_s24le", "frames": 9}, "format"),
    ({"container": "rf64", "codec": "pcm_s16le", "frames": 9}, "format"),
    ({"container": "wav", "codec": "pcm_s16le", "frames": 0}, "no_audio"),
    ({"container": "wav", "codec": "pcm_s16le", "frames": 9,
      "problems": [{"code": "size_wrapped"}]}, "open_header"),
    ({"container": "mp3", "codec": "mp3", "problems": [{"code": "free_format"}]}, "free_format"),
    ({"container": "wav", "codec": "pcm_s16le", "frames": 9,
      "problems": [{"code": "truncated"}]}, ""),
])  # fmt: skip
def test_a_report_says_whether_a_browser_plays_it(report: dict[str, Any] | None, why: str) -> None:
    assert unplayable(report) == why


@example("..", "wav", True)
@example(".hidden", "wav", True)
@example("x" * 300, "mp3", False)
@given(st.text(max_size=300), st.sampled_from(["wav", "mp3", "html", ""]), st.booleans())
def test_a_file_name_is_safe_whatever_the_id_is(ident: str, container: str, download: bool) -> None:
    said = disposition(ident, container, download=download)
    assert said.isascii()
    assert said.isprintable()
    name = said.split('"')[1]
    assert name.strip("-_.0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
    assert not name.startswith(".")
    assert said.count('"') == 2
    assert len(name) < 200
    assert media_type(container) in ("audio/wav", "audio/mpeg", "application/octet-stream")


@given(st.integers(1, 40), st.integers(1, 3), st.data())
def test_a_drawing_stays_in_its_picture(width: int, channels: int, data: st.DataObject) -> None:
    bytes_ = st.binary(min_size=width, max_size=width)
    pairs = [sorted((data.draw(bytes_), data.draw(bytes_))) for _ in range(channels)]
    wave = Waveform(tuple(p[0] for p in pairs), tuple(p[1] for p in pairs), width * 80, 80, 8_000)
    runs = [(0, 5), (width * 10 - 3, 90), (width * 10 + 1, 4)]
    picture = drawing(wave, runs)
    assert (picture.width, picture.height) == (width, CHANNEL_HEIGHT * channels)
    for number, path in enumerate(picture.paths):
        points = [point.split() for point in path.strip("MZ").split("L")]
        assert all(0 <= float(x) <= width for x, _ in points)
        top = number * CHANNEL_HEIGHT
        assert all(top <= float(y) <= top + CHANNEL_HEIGHT for _, y in points)
    for x, length in picture.silences:
        assert x >= 0
        assert x + length <= width + 0.2
    assert len(picture.silences) == 2, "none behind the end"


def test_silence_is_a_line_and_sound_is_higher_the_louder_it_is() -> None:
    levels = bytes([MIDDLE, MIDDLE + 13, MIDDLE + 127])
    wave = Waveform((bytes([MIDDLE] * 3),), (levels,), 240, 80, 8_000)
    ys = [float(point.split()[1]) for point in drawing(wave, ()).paths[0].strip("MZ").split("L")]
    silent, quiet, loud = ys[:3]
    assert silent == 49
    assert silent - quiet > 10
    assert quiet - loud > 10
