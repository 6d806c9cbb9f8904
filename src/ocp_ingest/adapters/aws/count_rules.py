"""What a record's item counts for, and what a change of it adds. Pure; terms as in core.counting.

What a record counts for is a function of its item alone (`standing`); a change adds the difference
between its new and its old item, so a call that moves to another line of business, day or outcome
leaves the old counter as it enters the new one.

Counters of programs that knew fewer terms have none of the newer ones, which is read as zero; a
call that leaves such a term takes it below zero, until the recount of its day.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from ocp_ingest.adapters.aws import codec
from ocp_ingest.adapters.aws.archive_rules import Image, image
from ocp_ingest.adapters.aws.call_index import CODES
from ocp_ingest.adapters.aws.table import (
    DAY_PK,
    DAY_SK,
    OUTCOME,
    PENDING_PK,
    PK,
    RECORD,
    SK,
    SK_RECORD,
    call_id_of,
)
from ocp_ingest.core import counting
from ocp_ingest.core.counting import Standing

_OUTCOMES: Final = {letter: outcome for outcome, letter in CODES.items()}


def standing(item: Image | None) -> Standing | None:
    """What a record's item counts for; None for no item, and for a call that did not start.

    Raises codec.Unreadable, KeyError.
    """
    if item is None:
        return None
    call = codec.decode_call(call_id_of(item[PK]["S"]) or "", item[RECORD]["B"])
    lob = item[DAY_PK]["S"].rpartition("#")[0]
    outcome = _OUTCOMES[item[OUTCOME]["S"][:1]]
    return counting.standing(call, lob, int(item[DAY_SK]["N"]), PENDING_PK in item, outcome)


Place = tuple[str, str]  # line of business, day


class Delta(NamedTuple):
    """What one change of a record adds to counters."""

    seq: int
    by: dict[Place, dict[str, int]]


def deltas(records: Iterable[Mapping[str, Any]]) -> tuple[list[Delta], list[str]]:
    """What the changes of a batch add, in order of sequence numbers, without those that add
    nothing; and the calls whose records could not be read: the recount will tell of them.
    """
    found, unreadable = [], []
    for record in records:
        said = record.get("dynamodb") or {}
        keys = said.get("Keys") or {}
        pk, sk = (keys.get(name, {}).get("S", "") for name in (PK, SK))
        if sk != SK_RECORD or call_id_of(pk) is None:
            continue
        try:
            old, new = (standing(image(said.get(name))) for name in ("OldImage", "NewImage"))
            by = _difference(old, new)
            if by:
                found.append(Delta(int(said["SequenceNumber"]), by))
        except (codec.Unreadable, KeyError, ValueError, TypeError, AttributeError):
            unreadable.append(call_id_of(pk) or "")
    return sorted(found, key=lambda delta: delta.seq), unreadable


def _difference(old: Standing | None, new: Standing | None) -> dict[Place, dict[str, int]]:
    change: Counter[tuple[Place, str]] = Counter()
    for held, sign in ((old, -1), (new, 1)):
        if held is not None:
            change.update({((held.lob, held.day), term): sign for term in held.terms})
    by: dict[Place, dict[str, int]] = {}
    for (place, term), number in change.items():
        if number:
            by.setdefault(place, {})[term] = number
    return by


def chunk(
    left: Sequence[Delta], counters_max: int
) -> tuple[list[Delta], dict[Place, dict[str, int]]]:
    """As many of the first changes as one transaction takes, and what they add together."""
    taken: list[Delta] = []
    by: dict[Place, Counter[str]] = {}
    for delta in left:
        if len({*by, *delta.by}) > counters_max:
            break
        taken.append(delta)
        for place, terms in delta.by.items():
            by.setdefault(place, Counter()).update(terms)
    sums = {
        place: {term: number for term, number in terms.items() if number}
        for place, terms in by.items()
    }
    return taken, {place: terms for place, terms in sums.items() if terms}
