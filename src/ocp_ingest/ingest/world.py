"""What a step is given: the ports and the settings, nothing global."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ocp_ingest.core.settings import Settings
from ocp_ingest.ingest.again import Again
from ocp_ingest.ports import (
    CallStore,
    Clock,
    Evidence,
    Incidents,
    RecordingStore,
    Timetable,
    WorkQueue,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """One runtime: every port has the same kind of implementation (memory, embedded, AWS)."""

    settings: Settings
    clock: Clock
    calls: CallStore
    evidence: Evidence
    incidents: Incidents
    recordings: RecordingStore
    queue: WorkQueue
    timetable: Timetable
    chance: Callable[[], float]  # 0 ≤ x < 1, for jitter only; seeded in tests
    again: Again = field(default_factory=Again)  # of this process alone
