"""What the steps of stage 2 are given besides the world of stage 1."""

from __future__ import annotations

from dataclasses import dataclass

from ocp_ingest.core.limits import DAY_MS, GROUP_LEASE_MS
from ocp_ingest.ports import Clock
from ocp_ingest.reconcile.book import ExportBook
from ocp_ingest.reconcile.ports import ExportApi


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage2:
    """The export side of a runtime."""

    api: ExportApi
    book: ExportBook
    groups: tuple[str, ...]  # OCP groups to reconcile and to take a census of
    owner: str  # names this runner in leases; another one after every start
    real: Clock  # leases are about processes: real time, also where the domain's is scaled
    lease_ms: int = GROUP_LEASE_MS  # how long a dead runner blocks its group, in real time
    detect_every_ms: int = 30 * 60_000
    per_call: bool = False
    census: bool = True
    census_back_ms: int = 2 * DAY_MS  # the first census goes back so far at least
