"""What a channel is: where alerts go, what it wants to hear, and one letter to it.

A channel takes a letter at least once: its `letter_id` is the same for every try, so that who
receives it twice can know. Implementations are in adapters/notify; they pass one contract suite.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from ocp_ingest.core.alerts import Severity
from ocp_ingest.core.incident_words import Language
from ocp_ingest.core.limits import HOUR_MS
from ocp_ingest.core.quiet import QuietHours
from ocp_ingest.desk.ports import Alert


class Wants(msgspec.Struct, frozen=True, kw_only=True):
    """What a channel is told, how, and when not. `time_zone` is the one of its quiet hours' times
    and of the times in its letters.
    """

    severity_min: Severity = "warning"
    language: Language = "en"
    quiet: QuietHours = QuietHours()
    time_zone: str = "UTC"


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """One message: plain text for people, and the alerts that it is about for machines.

    `subject` is one line; `thread` is the same for all letters about one opening of an incident.
    """

    letter_id: str
    thread: str
    severity: Severity
    language: Language
    subject: str
    text: str
    alerts: tuple[Alert, ...]
    links: tuple[tuple[str, str], ...]  # console and runbook of each alert; "" where none
    at_ms: int


class Channel(Protocol):
    """Somewhere alerts go."""

    @property
    def name(self) -> str:
        """Its name in the configuration."""

    @property
    def wants(self) -> Wants:
        """What it is told."""

    async def send(self, letter: Letter) -> None:
        """Hands a letter over. Raises Transient (another try may help), Terminal (none will)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Channels:
    """All channels of a deployment, and what their letters have in common."""

    channels: Sequence[Channel] = ()
    # Where people reach the console; "" = letters hold no links to it.
    console_url: str = ""
    # Where the runbooks are; "" = the console shows them.
    runbooks_url: str = ""
    # An open critical incident is told again after this long; 0: never.
    remind_ms: int = 4 * HOUR_MS

    def __iter__(self) -> Iterator[Channel]:
        return iter(self.channels)

    def __len__(self) -> int:
        return len(self.channels)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the channels, as configured."""
        return tuple(channel.name for channel in self.channels)

    def get(self, name: str) -> Channel | None:
        """A channel by its name."""
        return next((channel for channel in self.channels if channel.name == name), None)
