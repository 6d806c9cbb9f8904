"""Which journal event set each flag of a call: its time, its source, and what proves it.

The record keeps who won, not which event it was; the journal has the event. A flag of a vendor
message belongs to the event whose register won (same priority, time and value), a flag of our own
to the step's event of that time. Where several say the same, the first of the journal stands.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from ocp_ingest.core.call import FLAGS, Call, flags
from ocp_ingest.core.events import VENDOR_KINDS, Event

# flag -> kind of our own event that sets it; the others are registers of vendor messages.
_OWN: Final = {"file_received": "received", "post_processed": "validated", "stored": "stored"}


class FlagSet(msgspec.Struct, frozen=True):
    """A flag, when it was set, and the event that set it (None: not set, or not in the journal)."""

    flag: str
    at_ms: int | None
    event: Event | None


def flag_evidence(call: Call, journal: Iterable[Event]) -> tuple[FlagSet, ...]:
    """All flags in the order of FLAGS."""
    held, found = flags(call), dict[str, Event]()
    for event in journal:
        for flag in FLAGS:
            if flag not in found and _sets(call, flag, held, event):
                found[flag] = event
    return tuple(FlagSet(flag, held[flag], found.get(flag)) for flag in FLAGS)


def _sets(call: Call, flag: str, held: dict[str, int | None], event: Event) -> bool:
    own = _OWN.get(flag)
    if own is None:
        said = event.data.get("sets", {}).get(flag) if event.kind in VENDOR_KINDS else None
        reg = call.regs.get(flag)
        if said is None or reg is None:
            return False
        return (said[0], event.at_ms, said[1]) == (reg[0], reg[1], reg[3])
    is_root = event.data.get("dialog_id") in (call.call_id, *call.roots)
    valid = own != "validated" or event.data.get("valid") is True
    return event.kind == own and is_root and valid and event.at_ms == held[flag]
