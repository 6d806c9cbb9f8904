"""Audio, read once as it passes: what it is, how long, how silent, what is wrong with it.

``AudioParser`` takes the bytes of one recording in any blocks and returns an ``AudioReport``.
It holds one block and a few KB, raises on no input, and decodes nothing.

The files in the order in which the bytes meet them: ``parser`` (one pass), ``sniff`` (what it is),
``mangled`` (text conversions), ``riff`` with ``wav_format`` and ``wav_content`` (the WAV family),
``mpeg`` with ``mpeg_header``, ``mpeg_tags`` and ``mpeg_verdict`` (MP3), ``silence``, ``problems``,
``report``.
"""

from ocp_ingest.core.audio.parser import AudioParser
from ocp_ingest.core.audio.problems import Problem
from ocp_ingest.core.audio.report import AudioReport

__all__ = ["AudioParser", "AudioReport", "Problem"]
