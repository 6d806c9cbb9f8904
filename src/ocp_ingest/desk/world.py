"""What the desk is given: the world of the steps, stage 2's book, and ports of its own."""

from __future__ import annotations

from dataclasses import dataclass

from ocp_ingest.desk.ports import AlertBook, BulkBook, DeskNotes, Figures, UserBook
from ocp_ingest.ingest.world import World
from ocp_ingest.reconcile.book import ExportBook


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """One runtime as the people on duty see it; `users` is None where they come from outside."""

    world: World
    book: ExportBook
    figures: Figures
    alerts: AlertBook
    bulk: BulkBook
    notes: DeskNotes
    users: UserBook | None = None
    # Whether buckets and parked messages may be listed: on AWS that costs, and disturbs the queue.
    listing: bool = True
