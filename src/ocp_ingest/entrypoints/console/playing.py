"""What a browser can do with a recording: its type, its file's name, and whether it plays; pure.

Browsers play WAV with PCM of 8 or 16 bits, A-law and µ-law, and MP3. Everything else is for other
programs and is downloaded: 24 and 32 bits, floats, RF64, big-endian numbers, headers written before
the length was known (players show no length and can't seek), and what is no audio at all.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

from ocp_ingest.core.audio.sniff import WAV_NAMES

_CODECS: Final = frozenset({"pcm_s16le", "pcm_u8", "pcm_alaw", "pcm_mulaw"})
_UNKNOWN: Final = "application/octet-stream"
_NAME_CHARS_MAX: Final = 120  # of a suggested file name; file systems end at 255 bytes


def unplayable(report: dict[str, Any] | None) -> str:
    """Why a browser can't play it, as the end of the text key `call.unplayable.…`; "" if it can."""
    if report is None:
        return "unmeasured"
    container, codec = str(report.get("container", "")), str(report.get("codec", ""))
    codes = {str(problem.get("code")) for problem in report.get("problems", ())}
    if container == "mp3":
        return "free_format" if "free_format" in codes else ""
    if container not in WAV_NAMES:
        return "no_audio"
    if container != "wav" or codec not in _CODECS:
        return "format"
    if report.get("streaming_header") or "size_wrapped" in codes:
        return "open_header"
    return "" if report.get("frames") else "no_audio"


def media_type(container: str) -> str:
    """Content-Type; never one that a browser would take for a page."""
    if container == "mp3":
        return "audio/mpeg"
    return "audio/wav" if container in WAV_NAMES else _UNKNOWN


def disposition(dialog_id: str, container: str, *, download: bool) -> str:
    """Content-Disposition with a name made of the dialog's id (RFC 6266); ids are untrusted."""
    extension = "mp3" if container == "mp3" else "wav" if container in WAV_NAMES else "bin"
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "_" for c in dialog_id)
    plain = f"{kept[:_NAME_CHARS_MAX].lstrip('.') or 'recording'}.{extension}"
    kind = "attachment" if download else "inline"
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(plain, safe='')}"
