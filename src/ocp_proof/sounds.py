"""Recordings for thousands of simulated days: sound and valid, and made in microseconds.

Real speech belongs to the demo and the story tests; here every call only needs bytes of its own
that the real checks accept, and broken ones that they refuse.
"""

from __future__ import annotations

import struct
from random import Random
from typing import Final

from ocp_sim.model import Sound

_TAGS: Final = {"pcm16": (1, 16), "alaw": (6, 8), "mulaw": (7, 8)}
_TRIMMED_MS: Final = 20
_PERIOD_BYTES: Final = 8_191


class Tones:
    """See ocp_sim.sounds.Renderer."""

    corruptions: tuple[str, ...] = (
        "truncate", "garbage", "nul_bytes", "error_html", "error_json", "header_only", "one_byte",
    )  # fmt: skip

    def render(self, sound: Sound, seed: int) -> bytes:
        """A WAV of that length whose samples are the seed's own."""
        tag, bits = _TAGS[sound.codec]
        frames = sound.duration_ms * sound.sample_rate_hz // 1000
        # Long enough to hold every byte: a file without one looks mangled by a text-mode transfer.
        period = Random(seed).randbytes(_PERIOD_BYTES)  # noqa: S311 - reproducible, no secret
        size = frames * sound.channels * bits // 8
        data = (period * (size // len(period) + 1))[:size]
        align = sound.channels * bits // 8
        rate = sound.sample_rate_hz
        head = struct.pack(
            "<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + size, b"WAVE", b"fmt ", 16, tag, sound.channels,
            rate, rate * align, align, bits, b"data", size,
        )  # fmt: skip
        return head + data

    def corrupt(self, data: bytes, how: str, seed: int) -> bytes:
        """No valid recording any more."""
        noise = Random(seed).randbytes(64)  # noqa: S311 - reproducible, no secret
        made = {
            "truncate": data[: 44 + len(data) // 3],
            "garbage": b"\x7fJUNK" + noise * (len(data) // 64),
            "nul_bytes": bytes(len(data)),
            "error_html": b"<html><body><h1>502 Bad Gateway</h1></body></html>\n" * 9,
            "error_json": b'{"error": "Internal Server Error", "status": 500}' + b" " * 64,
            "header_only": data[:44],
            "one_byte": data[:1],
        }
        return made[how]

    def trim(self, sound: Sound, share: float) -> Sound:
        """A shorter description."""
        left = int(sound.duration_ms * (1 - share)) // _TRIMMED_MS * _TRIMMED_MS
        return sound._replace(duration_ms=max(_TRIMMED_MS, left))
