"""Fakes of the desk's tests: a channel that remembers, and fails as it is told."""

from __future__ import annotations

from collections.abc import Sequence

from ocp_ingest.core.errors import OcpIngestError
from ocp_ingest.core.incidents import Incident
from ocp_ingest.core.quiet import QuietHours
from ocp_ingest.desk.notify import Channel, Channels, Letter, Wants

START_MS = 1_790_000_000_000  # 2026-09-21 14:13:20 UTC
NIGHT = QuietHours(from_="22:00", to="07:00", time_zone="UTC")


class FakeChannel:
    """Takes letters unless `failing` says what to raise."""

    def __init__(self, name: str = "ops", wants: Wants | None = None) -> None:
        self._name = name
        self._wants = wants or Wants()
        self.letters: list[Letter] = []
        self.tried = 0
        self.failing: OcpIngestError | Exception | None = None

    @property
    def name(self) -> str:
        return self._name

    @property
    def wants(self) -> Wants:
        return self._wants

    async def send(self, letter: Letter) -> None:
        self.tried += 1
        if self.failing is not None:
            raise self.failing
        self.letters.append(letter)

    @property
    def told(self) -> list[tuple[str, str]]:
        """(what, key) of every alert that arrived, in order."""
        return [(a.what, a.incident.key) for letter in self.letters for a in letter.alerts]


def channels(*made: Channel, remind_ms: int = 0, console_url: str = "") -> Channels:
    return Channels(channels=made, remind_ms=remind_ms, console_url=console_url)


def incident(
    key: str = "vendor_down:emea", severity: str = "critical", at_ms: int = START_MS,
    sample: Sequence[str] = (), text: str = "it does not answer",
) -> Incident:  # fmt: skip
    return Incident(
        key=key, kind=key.partition(":")[0], text=text, opened_at_ms=at_ms,
        severity="critical" if severity == "critical" else "warning",
        sample=tuple(sample), calls=len(sample),
    )  # fmt: skip
