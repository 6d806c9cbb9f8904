"""What the evidence is given: the ports of stage 1, what stage 2 remembers, and its own."""

from __future__ import annotations

from dataclasses import dataclass

from ocp_ingest.evidence.ports import SealBook, Shelf, Signer
from ocp_ingest.evidence.sheet import PortSheets, Sheets
from ocp_ingest.ingest.world import World
from ocp_ingest.ports import Clock
from ocp_ingest.reconcile.book import ExportBook


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One runtime as its seals see it. `real` is real time: days are sealed by it."""

    world: World
    exports: ExportBook
    seals: SealBook
    shelf: Shelf
    signer: Signer
    real: Clock
    issuer: str  # whose evidence it is: a DNS name
    sheets: Sheets | None = None  # a store's own way to read many calls at once

    @property
    def reader(self) -> Sheets:
        """The store's own sheets, or those that any store has."""
        return self.sheets or PortSheets(self.world.calls, self.seals)
