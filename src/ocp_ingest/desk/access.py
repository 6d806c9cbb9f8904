"""Who heard a recording or saw what is masked: kept in the call's journal, before it is given."""

from __future__ import annotations

from ocp_ingest.core import events as ev
from ocp_ingest.ingest.operate import check_reason
from ocp_ingest.ingest.world import World


async def accessed(
    world: World,
    call_id: str,
    *,
    who: str,
    what: ev.Accessed,
    reason: str,
    dialog_id: str | None = None,
) -> None:
    """Journals an access; give what was asked for only once this has returned.

    The same person with the same reason within core.events.ACCESS_SLOT_MS is journalled once.
    Raises Invalid without a reason, Transient when it could not be kept.
    """
    check_reason(reason)
    event = ev.accessed(
        call_id, at_ms=world.clock.now_ms(), who=who, what=what, reason=reason.strip(),
        dialog_id=dialog_id,
    )  # fmt: skip
    await world.calls.append([event])
