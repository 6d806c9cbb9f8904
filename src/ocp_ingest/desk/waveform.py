"""Waveforms of recordings: each is computed once, off the event loop, a few at a time.

Rules
1. Bytes never change under a SHA-256, so what was computed is kept by it (the last CACHE_MAX).
2. Who asks for one that is being computed waits for that one; no bytes are read twice at once.
3. AT_ONCE_MAX are computed at once, WAITING_MAX may wait; beyond that it is Transient.
4. A recording of more than BYTES_MAX is refused: it would keep a processor busy for long.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Final

from ocp_ingest.core.audio.peaks import PeakReader, Waveform
from ocp_ingest.core.errors import TooLarge, Transient
from ocp_ingest.core.limits import GIB, MIB
from ocp_ingest.ports import RecordingStore

# 1 GiB is 18 h of 8 kHz, 16 bits, mono, and about 10 s of work; longer is no call.
BYTES_MAX: Final = GIB
# Work on samples holds the interpreter: more at once would only slow down the doors.
AT_ONCE_MAX: Final = 2
WAITING_MAX: Final = 32  # people looking at pages; more would wait for minutes
# A waveform of two channels has 6.5 KB: 256 of them are less than 2 MB.
CACHE_MAX: Final = 256
RETRY_AFTER_S: Final = 5.0


class Waveforms:
    """Computes and keeps waveforms; one for each process."""

    def __init__(
        self, recordings: RecordingStore, *, bytes_max: int = BYTES_MAX, cache_max: int = CACHE_MAX,
        waiting_max: int = WAITING_MAX,
    ) -> None:  # fmt: skip
        self._recordings = recordings
        self._bytes_max = bytes_max
        self._cache_max = cache_max
        self._waiting_max = waiting_max
        self._held: OrderedDict[str, Waveform | None] = OrderedDict()
        self._running: dict[str, asyncio.Task[Waveform | None]] = {}
        self._slots = asyncio.Semaphore(AT_ONCE_MAX)

    async def of(self, sha256: str, bucket: str, key: str, size_bytes: int) -> Waveform | None:
        """The waveform of the bytes there; None when they are no audio that is understood.

        Raises TooLarge, NotFound, Transient (also when too many are waiting).
        """
        if sha256 in self._held:
            self._held.move_to_end(sha256)
            return self._held[sha256]
        if size_bytes > self._bytes_max:
            mib = self._bytes_max // MIB
            raise TooLarge(f"Waveforms are drawn of recordings of up to {mib} MiB.")
        running = self._running.get(sha256)
        if running is None:
            if len(self._running) >= AT_ONCE_MAX + self._waiting_max:
                raise Transient("Too many waveforms are being drawn.", retry_after_s=RETRY_AFTER_S)
            running = asyncio.create_task(self._compute(sha256, bucket, key), name="waveform")
            self._running[sha256] = running
            running.add_done_callback(lambda done: self._forget(sha256, done))
        # Shielded: who leaves the page does not take it from the others.
        return await asyncio.shield(running)

    async def _compute(self, sha256: str, bucket: str, key: str) -> Waveform | None:
        async with self._slots:
            reader = PeakReader()
            await self._recordings.scan(bucket, key, reader.feed)
            # The end may hold the one block of a short file: off the loop, too.
            found = await asyncio.to_thread(reader.finish)
        self._held[sha256] = found
        while len(self._held) > self._cache_max:
            self._held.popitem(last=False)
        return found

    def _forget(self, sha256: str, done: asyncio.Task[Waveform | None]) -> None:
        self._running.pop(sha256, None)
        if not done.cancelled():
            done.exception()  # seen, whether or not anybody still waits
