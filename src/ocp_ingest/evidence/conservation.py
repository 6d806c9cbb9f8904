"""The conservation law: started = stored + absent + quarantined + lost + in flight.

Each term is counted from its own source, so that the equation can fail: `started` from the
journal, `in_flight` from the pending index, `stored` from the buckets, the other outcomes from
the records. Where they disagree, the differences are told.

Calls go on while they are counted, so the stores are counted twice, before and after the buckets
are listed. Where nothing moved in between, every source must say the same to the last call
(`exact`); else the buckets must lie between the two counts: what was stored before the listing
must be in it. The stores that list cheaply count in one snapshot, whose terms always add up; where
one index is read after the other (AWS), they may be off by as many calls as moved.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

import msgspec

from ocp_ingest.ingest.world import World

# Objects listed in one go; the listing itself goes on until the bucket's end.
_PAGE = 1_000
PARTS: Final = ("stored", "absent", "quarantined", "lost", "in_flight")


class Conservation(msgspec.Struct, frozen=True):
    """The terms by name, and every disagreement between their sources in words.

    `exact`: nothing moved while it was counted, so that not one call can be hidden.
    """

    terms: dict[str, int]
    differences: tuple[str, ...]
    exact: bool = True

    @property
    def holds(self) -> bool:
        """Whether the law holds and no sources disagree."""
        return not self.differences


async def conservation(world: World, *, listing: bool = True) -> Conservation:
    """Counts every term; reads the names of all stored objects, so it is no call for a hot path.

    Without `listing`, for stores where that is dear, `stored` too is counted from the records.
    """
    before = await world.calls.counts()
    in_buckets = await stored_calls(world) if listing else None
    after = await world.calls.counts()
    return weighed(before, after, in_buckets)


def weighed(
    before: Mapping[str, int], after: Mapping[str, int], in_buckets: int | None
) -> Conservation:
    """Two counts of the terms, and what the buckets held in between (None: not listed), judged.

    Terms that were not listed are taken for no snapshot.
    """
    moved = _moved(before, after)
    differences = []
    if in_buckets is not None and not before["stored"] <= in_buckets <= after["stored"]:
        differences.append(
            f"{after['stored']} calls say they are stored, the buckets hold {in_buckets}."
        )
    # What the buckets hold stands where the record's word was: the law is about bytes.
    stored = after["stored"] if in_buckets is None or moved else in_buckets
    terms = {**after, "stored": stored}
    total = sum(terms[part] for part in PARTS)
    if abs(terms["started"] - total) > (moved if in_buckets is None else 0):
        differences.append(f"{terms['started']} calls started, {total} are accounted for.")
    return Conservation(terms, tuple(differences), exact=not moved)


def _moved(before: Mapping[str, int], after: Mapping[str, int]) -> int:
    """How many calls began or changed their term, at least and about, between two counts."""
    return sum(abs(after[term] - before[term]) for term in ("started", *PARTS))


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
