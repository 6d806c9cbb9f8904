"""The conservation law: started = stored + absent + quarantined + lost + in flight.

Each term is counted from its own source, so that the equation can fail: `started` from the
journal, `in_flight` from the pending index, `stored` from the buckets, the other outcomes from
the records. Where they disagree, the differences are told.
"""

from __future__ import annotations

from urllib.parse import unquote

import msgspec

from ocp_ingest.ingest.world import World

# Objects listed in one go; the listing itself goes on until the bucket's end.
_PAGE = 1_000


class Conservation(msgspec.Struct, frozen=True):
    """The terms by name, and every disagreement between their sources in words."""

    terms: dict[str, int]
    differences: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether the law holds and no sources disagree."""
        return not self.differences


async def conservation(world: World) -> Conservation:
    """Counts every term; reads the names of all stored objects, so it is no call for a hot path."""
    counted = await world.calls.counts()
    in_buckets = await stored_calls(world)
    terms = {**counted, "stored": in_buckets}
    differences = []
    if counted["stored"] != in_buckets:
        differences.append(
            f"{counted['stored']} calls say they are stored, the buckets hold {in_buckets}."
        )
    parts = ("stored", "absent", "quarantined", "lost", "in_flight")
    total = sum(terms[part] for part in parts)
    if terms["started"] != total:
        differences.append(f"{terms['started']} calls started, {total} are accounted for.")
    return Conservation(terms, tuple(differences))


async def stored_calls(world: World) -> int:
    """How many calls have the recording of their root dialog in a bucket.

    The bucket says that it is there; of an object that is not named like its call, the record
    says whether it is the root's or that of a further dialog.
    """
    calls: set[str] = set()
    for bucket in dict.fromkeys(world.settings.buckets().values()):
        after = ""
        while page := await world.recordings.list(bucket, after=after, limit=_PAGE):
            for held in page:
                if not held.key.endswith(".json") and await _is_root(world, bucket, held.key):
                    calls.add(held.key.split("/")[3])
            after = page[-1].key
    return len(calls)


async def _is_root(world: World, bucket: str, key: str) -> bool:
    """Whether an object, `yyyy/mm/dd/<call>/<dialog>.<ext>`, is the recording of its call."""
    _, _, _, call_part, file = key.split("/")
    if file.rpartition(".")[0] == call_part:
        return True
    call = await world.calls.load(unquote(call_part))
    place = call.root.stored if call is not None else None
    return place is not None and (place.bucket, place.key) == (bucket, key)
