"""What can be wrong with a recording, in codes and in words.

Rules
  1. Every code stands in the table below with its severity and its sentence. No other exists.
  2. ``error``: the recording is no audio that we take, or a part of it is missing or damaged.
     ``warning``: a hint; the business rules of the line of business decide what it means.
  3. Families end in ``.*``: the part after the dot is the true name found by the bytes
     (``not_audio.html``, ``unsupported.gsm``).
  4. A code appears once per report, however often its cause does: the list is bounded by the table.
  5. Sentences quote numbers and format names, never content.
"""

from typing import Final, Literal

import msgspec

Severity = Literal["error", "warning"]

TABLE: Final[dict[str, tuple[Severity, str]]] = {
    # -- what it is ---------------------------------------------------------------------------
    "empty": ("error", "The recording has no bytes at all."),
    "too_short": (
        "error",
        "The recording has only {bytes:,} bytes; no audio file is that short.",
    ),
    "not_audio.*": (
        "error",
        "The bytes are {words}, not audio: {bytes:,} bytes saved under the name of a recording.",
    ),
    "unsupported.*": (
        "error",
        "The audio is {words}; only WAV (PCM, float, A-law, µ-law) and MP3 are taken.",
    ),
    "leading_bytes": (
        "error",
        "A WAV header starts only at byte {at:,}; the {at:,} bytes before it are no audio.",
    ),
    # -- transport ----------------------------------------------------------------------------
    "length_mismatch": (
        "error",
        "{expected:,} bytes were announced and {received:,} arrived.",
    ),
    "crlf_mangled": (
        "error",
        "The file went through a text conversion: every line feed byte follows a carriage return, "
        "so bytes were inserted and all samples after the first one are shifted.",
    ),
    "utf8_mangled": (
        "error",
        "The file went through a text conversion: its binary content is valid UTF-8, "
        "so the original samples are destroyed.",
    ),
    # -- WAV structure ------------------------------------------------------------------------
    "truncated_header": (
        "error",
        "The file ends after {bytes:,} bytes inside {where}, before any audio.",
    ),
    "header_too_long": (
        "error",
        "The chunk '{chunk}' claims {size:,} bytes before the audio; at most {limit:,} are read.",
    ),
    "too_many_chunks": ("error", "More than {limit:,} chunks; the header is no real one."),
    "bad_chunk": (
        "error",
        "At byte {at:,} the file has no chunk name where one must be; the header is damaged.",
    ),
    "no_fmt": ("error", "The header does not describe the format: no 'fmt ' chunk before the end."),
    "fmt_twice": ("error", "The header describes the format twice; which one holds is unknown."),
    "fmt_after_data": ("error", "The format is described only after the audio."),
    "bad_fmt_size": (
        "error",
        "The format description has {size:,} bytes; it must have {low} to {limit:,}.",
    ),
    "bad_extensible": ("error", "The extended format description is too short or inconsistent."),
    "bad_channels": ("error", "The header claims {channels:,} channels; 1 to {limit} are taken."),
    "bad_sample_rate": (
        "error",
        "The header claims {rate:,} samples per second; {low:,} to {high:,} are taken.",
    ),
    "bad_bits": ("error", "The header claims {bits:,} bits per sample, which {codec} cannot have."),
    "bad_block_align": (
        "error",
        "The header claims {align:,} bytes per sample frame; its other fields give {right:,}.",
    ),
    "no_ds64": ("error", "The file is {container} but lacks the 64-bit sizes (no 'ds64' chunk)."),
    "bad_ds64": ("error", "The 64-bit size chunk has {size:,} bytes; it must have at least 24."),
    "no_data": ("error", "The file has a header but no audio."),
    "data_twice": ("error", "The file has two audio chunks; which one holds is unknown."),
    "joined_files": (
        "error",
        "A second file starts at byte {at:,}: two recordings were joined into one.",
    ),
    "truncated": (
        "error",
        "The recording is cut: {missing:,} of {declared:,} {unit} are missing "
        "(about {missing_ms:,} ms).",
    ),
    "data_size_short": (
        "error",
        "The header claims {declared:,} bytes of audio, but {extra:,} more follow that belong to "
        "nothing; part of the recording is hidden behind a wrong header.",
    ),
    "size_wrapped": (
        "error",
        "The audio is longer than a 32-bit size can say: the header claims {declared:,} bytes "
        "and {received:,} arrived.",
    ),
    "streaming_header": (
        "warning",
        "The header was written before the length was known (audio size {declared}); "
        "the duration is counted from the bytes, and a cut cannot be seen in the file alone.",
    ),
    "byte_rate_wrong": (
        "warning",
        "The header claims {claimed:,} bytes per second; its other fields give {right:,}.",
    ),
    "bits_ignored": (
        "warning",
        "The header claims {bits:,} bits per sample for {codec}, which always has 8.",
    ),
    "riff_size_wrong": (
        "warning",
        "The outer size of the header is {declared:,} bytes; the chunks end at {received:,}.",
    ),
    "fact_wrong": (
        "warning",
        "The header counts {declared:,} sample frames; the audio chunk has {frames:,}.",
    ),
    "partial_frame": ("warning", "The audio ends inside a sample frame ({extra} bytes of it)."),
    "missing_pad": ("warning", "The padding byte after an odd-sized chunk is missing."),
    "big_endian": (
        "warning",
        "The file is RIFX: its numbers are big-endian, and many players cannot read it.",
    ),
    "metadata_truncated": (
        "warning",
        "The file ends inside the chunk '{chunk}' after the audio; the audio itself is whole.",
    ),
    "trailing_bytes": ("warning", "{extra:,} bytes after the audio belong to nothing."),
    "trailing_zeros": ("warning", "{extra:,} zero bytes follow the audio."),
    # -- MP3 structure ------------------------------------------------------------------------
    "no_frames": ("error", "No MP3 frames were found in {bytes:,} bytes."),
    "format_change": (
        "error",
        "At byte {at:,} the stream changes its layer, version, rate or channels; "
        "what follows is not counted.",
    ),
    "damaged_frames": (
        "error",
        "The stream loses its frames {resyncs:,} times; {junk:,} bytes are no audio.",
    ),
    "resync": (
        "warning",
        "The stream loses its frames {resyncs:,} times; {junk:,} bytes were skipped.",
    ),
    "junk_before_audio": ("warning", "{junk:,} bytes before the first frame are no audio."),
    "xing_wrong": (
        "warning",
        "The {kind} header claims {declared:,} {unit}; {counted:,} were counted.",
    ),
    "free_format": (
        "warning",
        "The stream has no standard bit rate (free format); many players cannot read it.",
    ),
    # -- content ------------------------------------------------------------------------------
    "zero_filled": (
        "error",
        "A hole: {run:,} zero bytes in a row, which in {codec} is no silence but lost audio.",
    ),
    "silent": ("warning", "The recording is silent for {share:.1%} of its time."),
    "constant_value": (
        "warning",
        "Channel {channel} holds one constant value that is not zero for {share:.1%} of its time.",
    ),
    "silent_channel": (
        "warning",
        "Channel {channel} of {channels} is silent for {share:.1%} of its time: one-way audio.",
    ),
    "dead_tail": ("warning", "The last {tail_ms:,} ms are silent on every channel."),
    "long_silence": (
        "warning",
        "{silence_ms:,} ms in a row are silent on every channel, from {start_ms:,} ms on.",
    ),
}


class Problem(msgspec.Struct, frozen=True):
    """One finding: its code, its severity, and a sentence for an operator."""

    code: str
    severity: Severity
    text: str


class ProblemList:
    """Collects problems in the order found; the second of a code is dropped."""

    def __init__(self) -> None:
        self._by_code: dict[str, Problem] = {}

    def add(self, code: str, **facts: object) -> None:
        """Add ``code`` with the numbers that its sentence quotes; KeyError if the code is new."""
        if code in self._by_code:
            return
        family = code.split(".", 1)[0] + ".*" if "." in code else code
        severity, template = TABLE[family]
        self._by_code[code] = Problem(code, severity, template.format(**facts))

    def __contains__(self, code: str) -> bool:
        return code in self._by_code

    def as_tuple(self) -> tuple[Problem, ...]:
        """Return all problems, errors first, each group in the order found."""
        return tuple(sorted(self._by_code.values(), key=lambda p: p.severity))
