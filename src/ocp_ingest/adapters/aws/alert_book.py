"""AlertBook on DynamoDB: an alert, its place among the newest, and its place among what is due.

pk              sk                          what
"desk#alert"    "a<alert id>"               the alert; t: its tries
"desk#told"     "<made at>#<alert id>"      id: every alert, in the order they were made
"desk#due"      "<due at>#<alert id>"       id: those neither sent nor given up

Rules
1. The three change in one transaction, on the condition that the alert's tries are those that were
   read: what is due is never missed, and what was sent is not due.
2. A settled alert expires after KEPT_DAYS; one that waits never does.
3. Only what is due is read to find it, by key.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from ocp_ingest.adapters.aws import table
from ocp_ingest.adapters.aws.desk_items import DeskItems, expiring
from ocp_ingest.adapters.aws.dynamo import ABSENT, Item, b, key, n, s
from ocp_ingest.adapters.aws.session import Aws
from ocp_ingest.desk.ports import Alert

# Half a year: an incident that an older one was about has been closed for long.
KEPT_DAYS: Final = 183

_ALERTS: Final = "desk#alert"
_TOLD: Final = "desk#told"
_DUE: Final = "desk#due"
_DIGITS: Final = 16  # of a time in ms: enough until the year 318857
_ALERT: Final = msgspec.msgpack.Decoder(Alert)


class AwsAlertBook:
    """See ocp_ingest.desk.ports.AlertBook."""

    def __init__(self, aws: Aws) -> None:
        self._items = DeskItems(aws)

    async def add(self, alert: Alert) -> bool:
        """Adds it; False when one of its id is there."""
        return await self._items.commit([
            self._items.write_of("Put", Item=_item(alert), ConditionExpression=ABSENT),
            *(self._items.write_of("Put", Item=place) for place in _places(alert)),
        ])  # fmt: skip

    async def keep(self, alert: Alert, *, tries_before: int) -> bool:
        """Replaces the alert if it was not tried since."""
        held = await self._items.get(_ALERTS, _sk(alert.alert_id))
        if held is None or int(held["t"]["N"]) != tries_before:
            return False
        places = _places(alert)
        kept = [(place[table.PK], place[table.SK]) for place in places]
        left = [p for p in _places(_alert(held)) if (p[table.PK], p[table.SK]) not in kept]
        return await self._items.commit([
            self._items.write_of(
                "Put", Item=_item(alert), ConditionExpression="d = :held",
                ExpressionAttributeValues={":held": held["d"]},
            ),
            *(self._items.write_of("Put", Item=place) for place in places),
            *(
                self._items.write_of("Delete", Key={name: p[name] for name in (table.PK, table.SK)})
                for p in left
            ),
        ])  # fmt: skip

    async def due(self, now_ms: int, *, limit: int = 100) -> list[Alert]:
        """Neither sent nor given up, and due; earliest first."""
        places = await self._items.before(_DUE, f"{max(0, now_ms):0{_DIGITS}}$", limit=limit)
        return await self._alerts(places)

    async def alerts(self, *, limit: int = 100) -> list[Alert]:
        """The newest."""
        return await self._alerts(await self._items.query(_TOLD, limit=limit, backwards=True))

    async def _alerts(self, places: Sequence[Item]) -> list[Alert]:
        keys = [key(_ALERTS, _sk(place["id"]["S"])) for place in places]
        held = await self._items.there(keys)
        asked = ((where[table.PK]["S"], where[table.SK]["S"]) for where in keys)
        return [_alert(held[where]) for where in asked if where in held]


def _sk(alert_id: str) -> str:
    return table.bounded_key("a", alert_id)


def _waits(alert: Alert) -> bool:
    return alert.sent_at_ms is None and not alert.given_up


def _item(alert: Alert) -> Item:
    item = key(_ALERTS, _sk(alert.alert_id)) | {
        "d": b(msgspec.msgpack.encode(alert)), "t": n(alert.tries)
    }  # fmt: skip
    return item if _waits(alert) else item | expiring(KEPT_DAYS)


def _places(alert: Alert) -> list[Item]:
    """Where an alert is listed."""
    told = _place(_TOLD, alert.made_at_ms, alert.alert_id)
    if _waits(alert):
        return [told, _place(_DUE, alert.next_at_ms, alert.alert_id)]
    return [told | expiring(KEPT_DAYS)]


def _place(pk: str, at_ms: int, alert_id: str) -> Item:
    order = table.bounded_key(f"{max(0, at_ms):0{_DIGITS}}#", alert_id)
    return key(pk, order) | {"id": s(alert_id)}


def _alert(item: Item) -> Alert:
    return _ALERT.decode(item["d"]["B"])
