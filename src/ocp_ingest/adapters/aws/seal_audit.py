"""What `verify` can't see through the ports: items of a call that don't fit it."""

from __future__ import annotations

from ocp_ingest.adapters.aws import table
from ocp_ingest.adapters.aws.call_index import Directory
from ocp_ingest.adapters.aws.call_listings import CallListings
from ocp_ingest.adapters.aws.dynamo import Dynamo, s
from ocp_ingest.adapters.aws.journal_items import event_of
from ocp_ingest.adapters.aws.records import Records
from ocp_ingest.adapters.aws.session import Aws
from ocp_ingest.adapters.journal import Deriving, derive
from ocp_ingest.core.call import fold


class SealAudit:
    """Items of calls, looked at one by one."""

    def __init__(self, aws: Aws, deriving: Deriving) -> None:
        self._dynamo = Dynamo(aws)
        self._records = Records(self._dynamo)
        self._deriving = deriving
        self._listings = CallListings(self._dynamo, Directory(self._dynamo))

    async def of(self, call_id: str) -> list[str]:
        """What is wrong with a call's items, in sentences. Raises Terminal for a damaged event."""
        items = await self._dynamo.items(
            f"{table.PK} = :pk AND begins_with({table.SK}, :event)", ConsistentRead=True,
            ExpressionAttributeValues={
                ":pk": s(table.call_key(call_id)), ":event": s(table.SK_EVENT),
            },
        )  # fmt: skip
        events = [event_of(call_id, item) for item in items]
        found = [
            f"The event {event.event_id} is under the key of another."
            for event, item in zip(events, items, strict=True)
            if item[table.SK]["S"] != table.event_key(event.event_id)
        ]
        if events:
            call = fold(call_id, events)
            held = await self._records.read(call_id)
            if not held.says(call, derive(call, self._deriving)):
                found.append("The record or its columns are not of its journal: run replay.")
        return found

    async def call_ids(self, after: str, limit: int) -> list[str]:
        """Calls that have a journal."""
        return await self._listings.call_ids(after, limit)
