"""Sheets on SQLite: many calls in one read, each row once, one fold and one hash of each event.

A page of the file that is damaged fails the whole read; then each call is read through the ports,
which find out which of them it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import apsw

from ocp_ingest.adapters.embedded import audit
from ocp_ingest.adapters.embedded.database import Database, snapshot
from ocp_ingest.adapters.embedded.seal_book import chain, chain_and_seqs, marks, position
from ocp_ingest.adapters.embedded.vault import Vault
from ocp_ingest.adapters.journal import Deriving
from ocp_ingest.core.errors import OcpIngestError, Transient
from ocp_ingest.core.proof import Link
from ocp_ingest.evidence.findings import UNREADABLE
from ocp_ingest.evidence.sheet import PortSheets, Rows, Sheet


class EmbeddedSheets:
    """See ocp_ingest.evidence.sheet.Sheets."""

    def __init__(
        self, database: Database, vault: Vault, deriving: Deriving, by_port: PortSheets
    ) -> None:
        self._database = database
        self._vault = vault
        self._deriving = deriving
        self._by_port = by_port

    async def of(self, call_ids: Sequence[str]) -> list[Sheet]:
        """All of one commit; of a call that can't be read in one go the ports say what can be."""
        try:
            found = await self._database.read(lambda c: self._read(c, call_ids))
        except Transient:
            raise
        except OcpIngestError:
            return await self._by_port.of(call_ids)
        return [await self._less(sheet) for sheet in found]

    async def chains(self, call_ids: Sequence[str]) -> list[list[Link] | None]:
        """See Sheets."""
        try:
            return await self._database.read(lambda c: [_links(c, each) for each in call_ids])
        except Transient:
            raise
        except OcpIngestError:
            return await self._by_port.chains(call_ids)

    async def _less(self, sheet: Sheet) -> Sheet:
        """A row's other columns may be readable without the one that is not."""
        if sheet.links is None or sheet.events is not None:
            return sheet
        [found] = await self._by_port.of([sheet.call_id])
        return found

    def _read(self, connection: apsw.Connection, call_ids: Sequence[str]) -> list[Sheet]:
        with snapshot(connection):
            closed, sealed = marks(connection).closed, position(connection)
            return [self._sheet(connection, each, closed, sealed) for each in call_ids]

    def _sheet(
        self, connection: apsw.Connection, call_id: str, closed: str, sealed: int
    ) -> Sheet:  # fmt: skip
        try:
            sealed_links = chain_and_seqs(connection, call_id)
        except (OcpIngestError, *UNREADABLE):
            return Sheet(call_id, None)
        links = sealed_links[0]
        try:
            journal = audit.journal(connection, self._vault, call_id)
        except (OcpIngestError, *UNREADABLE):
            return Sheet(call_id, links)
        waiting = frozenset(row.event_id for row in journal.rows if row.seq > sealed)
        return Sheet(
            call_id, links, journal.events, journal.call, journal.entries, waiting,
            self._rows(connection, journal, sealed_links, closed),
        )  # fmt: skip

    def _rows(
        self, connection: apsw.Connection, journal: audit.Journal,
        sealed: tuple[list[Link], dict[str, int]], closed: str,
    ) -> Rows | None:  # fmt: skip
        try:
            row = audit.Record.of(connection, journal.call.call_id)
            said = audit.judged(connection, self._deriving, journal, row, sealed, closed)
            record = row.call
            if row.held is not None and record is None:
                record = journal.call  # as CallStore.load gives it; what is wrong is in `said`
        except (OcpIngestError, *UNREADABLE):
            return None
        return Rows(record, tuple(said))


def _links(connection: apsw.Connection, call_id: str) -> list[Link] | None:
    try:
        return chain(connection, call_id)
    except (OcpIngestError, *UNREADABLE):
        return None
