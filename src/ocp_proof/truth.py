"""What OCP had and has of each call: the simulator's own word, never the platform's."""

from __future__ import annotations

import io
import wave
from typing import Final

from ocp_ingest.core.limits import MINUTE_MS
from ocp_sim.ledger import Entry, verdict
from ocp_sim.model import Call
from ocp_sim.world import World

# A process whose clock runs ahead takes OCP's retention for over by so much too soon.
_SKEW_MS: Final = 2 * MINUTE_MS


class Truth:
    """Of one world, in which OCP keeps everything for `retention_ms`.

    Recordings shorter than `strict_ms_min` break a rule of the line of business `strict_lob`.
    """

    def __init__(
        self, world: World, retention_ms: int, strict_lob: str, strict_ms_min: int
    ) -> None:
        self._world = world
        self._strict_lob = strict_lob
        self._strict_ms_min = strict_ms_min
        self._calls = {call.call_id: call for call in world.calls}
        self._retention_ms = retention_ms

    def gone_ms(self, call: Call) -> int:
        """When OCP deletes a call's recording."""
        return call.start_ms + self._retention_ms

    def can_give(self, call_id: str, now_ms: int) -> bool:
        """Whether OCP still holds a recording of this call."""
        call = self._calls.get(call_id)
        if call is None or call.recording is None or "expired" in call.faults:
            return False
        return now_ms < self.gone_ms(call) - _SKEW_MS

    def kept(self, call_id: str) -> str:
        """The SHA-256 of the recording that OCP keeps, or ""."""
        call = self._calls.get(call_id)
        if call is None or call.recording is None:
            return ""
        return self._world.sounds.facts(call.recording, "ocp").sha256

    def had(self, call_id: str) -> bool:
        """Whether OCP ever recorded this call."""
        call = self._calls.get(call_id)
        return call is not None and verdict(call)[0] != "absent"

    def expected(self, entry: Entry) -> str:
        """How a call must end: the simulator's word, held against the line of business' rules."""
        recording = self._calls[entry.call_id].recording
        if entry.expected != "stored" or not entry.app.startswith(f"{self._strict_lob}-"):
            return entry.expected
        assert recording is not None
        with wave.open(io.BytesIO(_as_pcm(self._world.audio(recording.name)))) as sound:
            length_ms = sound.getnframes() * 1_000 / sound.getframerate()
        return "quarantined" if length_ms < self._strict_ms_min else "stored"


def _as_pcm(body: bytes) -> bytes:
    """The same sound under the one format tag that the reader knows; its length is the same."""
    return body[:20] + b"\x01\x00" + body[22:]
