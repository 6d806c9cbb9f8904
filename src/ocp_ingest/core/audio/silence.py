"""Silence over time: from one mask per window to shares, dead tail and runs.

Rules
  1. A mask has one bit per channel, set when that channel is silent in the window.
  2. Time is counted in sample frames, so the result does not depend on how the bytes arrived.
  3. Only the 64 longest runs of a second or more are kept; memory is constant.
"""

from heapq import heappush, heappushpop
from typing import Final

from ocp_ingest.core.audio.problems import ProblemList
from ocp_ingest.core.audio.report import Loudness, milliseconds

RUNS_MAX: Final = 64  # entries kept; a call has far fewer mutes and holds than that
RUN_MIN_S: Final = 1  # seconds; shorter pauses are ordinary speech
SILENT_SHARE: Final = 0.98  # of the time; the rest may be a click or the tone at the start
DEAD_TAIL_WARN_MS: Final = 10_000  # longer than any goodbye: the line was already gone
LONG_SILENCE_WARN_MS: Final = 30_000  # longer than an ordinary look-up by an agent


class SilenceMeter:
    """Sums silent stretches of ``channels`` channels at ``rate_hz``."""

    def __init__(self, channels: int, rate_hz: int) -> None:
        self.channels = channels
        self.rate_hz = rate_hz
        self.frames = 0
        self._all = (1 << channels) - 1
        self._silent = [0] * channels
        self._silent_all = 0
        self._run = 0
        self._longest = (0, 0)
        self._runs: list[tuple[int, int]] = []

    def add(self, mask: int, frames: int) -> None:
        """Add ``frames`` sample frames during which the channels in ``mask`` were silent."""
        for channel in range(self.channels):
            if mask >> channel & 1:
                self._silent[channel] += frames
        if mask == self._all:
            self._silent_all += frames
            self._run += frames
        elif self._run:
            self._close()
        self.frames += frames

    def _close(self) -> None:
        run, start = self._run, self.frames - self._run
        self._run = 0
        if run > self._longest[0]:
            self._longest = (run, start)
        if run >= RUN_MIN_S * self.rate_hz:
            if len(self._runs) < RUNS_MAX:
                heappush(self._runs, (run, start))
            else:
                heappushpop(self._runs, (run, start))

    def result(self, problems: ProblemList) -> Loudness:
        """Return the sums and add the warnings that follow from them."""
        if not self.frames:
            return Loudness()
        tail = self._run
        self._close()
        shares = tuple(round(silent / self.frames, 6) for silent in self._silent)
        self._warn(problems, shares, tail)
        by_start = sorted(self._runs, key=lambda found: found[1])
        return Loudness(
            silence_share=round(self._silent_all / self.frames, 6),
            channel_silence_share=shares,
            dead_tail_ms=self._ms(tail),
            longest_silence_ms=self._ms(self._longest[0]),
            silent_runs=tuple((self._ms(start), self._ms(run)) for run, start in by_start),
        )

    def _ms(self, frames: int) -> int:
        return milliseconds(frames, self.rate_hz) or 0

    def _warn(self, problems: ProblemList, shares: tuple[float, ...], tail: int) -> None:
        share = self._silent_all / self.frames
        if share >= SILENT_SHARE:
            problems.add("silent", share=share)
            return
        for number, channel_share in enumerate(shares, 1):
            if self.channels > 1 and channel_share >= SILENT_SHARE:
                problems.add(
                    "silent_channel", channel=number, channels=self.channels, share=channel_share
                )
        tail_ms, longest_ms = self._ms(tail), self._ms(self._longest[0])
        if tail_ms >= DEAD_TAIL_WARN_MS:
            problems.add("dead_tail", tail_ms=tail_ms)
        if longest_ms >= LONG_SILENCE_WARN_MS and self._longest[0] != tail:
            problems.add("long_silence", silence_ms=longest_ms, start_ms=self._ms(self._longest[1]))
