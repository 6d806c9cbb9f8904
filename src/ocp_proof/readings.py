"""What records and export jobs say: read once for the code under test and for the laws."""

from __future__ import annotations

from ocp_ingest.adapters.memory.call_store import CALLS
from ocp_ingest.adapters.memory.export_book import JOBS
from ocp_proof.law import law

__all__ = ["CALLS", "JOBS", "forget", "unchanged"]


def unchanged() -> None:
    """Raises BrokenLawError where the code under test has changed in place what it read."""
    for name, reading in (("a record", CALLS), ("an export job", JOBS)):
        law(reading.holds(), f"{name} that was read was changed in place")


def forget() -> None:
    """Between two worlds."""
    CALLS.forget()
    JOBS.forget()
