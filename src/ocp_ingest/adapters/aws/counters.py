"""Durable counters: one item each, all in one partition, so that they can be listed.

An addition whose answer was lost and that is done again counts twice: counters are for people to
look at, nothing is decided by them.
"""

from __future__ import annotations

from typing import Final

from ocp_ingest.adapters.aws import table
from ocp_ingest.adapters.aws.dynamo import Dynamo, n, s

_COUNTERS: Final = "counter#"
# Names may be empty, sort keys may not; and a name that is too long for a key is beside it.
_NAME_PREFIX: Final = "c"


async def add_count(dynamo: Dynamo, name: str, number: int) -> None:
    """Adds to a durable counter."""
    await dynamo.update(
        _COUNTERS, table.bounded_key(_NAME_PREFIX, name), "ADD k :n SET m = :name",
        n=n(number), name=s(name),
    )  # fmt: skip


async def counts(dynamo: Dynamo, prefix: str) -> dict[str, int]:
    """Durable counters whose name begins so, by name."""
    found = await dynamo.items(
        f"{table.PK} = :pk AND begins_with({table.SK}, :prefix)",
        ConsistentRead=True,
        ExpressionAttributeValues={
            ":pk": s(_COUNTERS), ":prefix": s(table.key_prefix(_NAME_PREFIX, prefix)),
        },
    )  # fmt: skip
    counted = {item["m"]["S"]: int(item["k"]["N"]) for item in found}
    return {name: counted[name] for name in sorted(counted) if name.startswith(prefix)}
