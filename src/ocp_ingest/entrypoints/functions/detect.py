"""detect: looks at what is due and starts what is to run; reconcile/dispatch.py.

event                              looks at
{} or {"sweep": true}              everything, and measures it
{"ocp_group": …}                   one group
{"census": true} (and ocp_group)   the same, and takes the census of every complete hour

answer  {"looked_at", "resumed", "closed", "asked", "started", "unfinished"}
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ocp_ingest.core.errors import Invalid, OcpIngestError
from ocp_ingest.core.limits import ID_CHARS_MAX
from ocp_ingest.entrypoints.functions.runtime import Context, Event, Functions, run
from ocp_ingest.reconcile.dispatch import Dispatcher
from ocp_ingest.telemetry import log


def handler(event: Event, context: Context) -> dict[str, Any]:
    """One look. Raises what kept it from looking at a group, after it has looked at all others."""
    group, census = event.get("ocp_group"), event.get("census", False)
    if group is not None and not (isinstance(group, str) and 0 < len(group) <= ID_CHARS_MAX):
        raise Invalid("`ocp_group` must be a group's name.")
    if not isinstance(census, bool):
        raise Invalid("`census` must be true or false.")

    async def work(functions: Functions) -> dict[str, Any]:
        try:
            return await _look(functions, group, census)
        finally:
            if group is None:
                await _derive_anew(functions)
                await _measure(functions)

    return run(context, work, op="detect")


async def _look(functions: Functions, group: str | None, census: bool) -> dict[str, Any]:
    world, stage2 = functions.runtime.world, functions.stage2
    if census and not stage2.census:
        raise Invalid("The census is switched off: set `reconcile.census`.")
    total_ms = max(1, functions.left_ms())
    dispatcher = Dispatcher(
        world, stage2, functions.executions(), owner=functions.owner(),
        left=lambda: functions.left_ms() / total_ms,
    )  # fmt: skip
    done = await dispatcher.look(group, count_at_once=census)
    built: dict[str, Any] = msgspec.to_builtins(done)
    return built


# Calls in one step of deriving anew, and the time that must be left to begin one; a step takes
# seconds. A million calls are several looks' work, and until then their times are the old policy's.
_DERIVED_AT_ONCE: Final = 500
_DERIVE_LEFT_MS_MIN: Final = 120_000


async def _derive_anew(functions: Functions) -> None:
    """Lets the index follow a changed policy, as far as this invocation's time goes."""
    from ocp_ingest.adapters.aws.call_store import AwsCallStore

    calls = functions.runtime.world.calls
    if not isinstance(calls, AwsCallStore):
        return
    try:
        while functions.left_ms() > _DERIVE_LEFT_MS_MIN:
            looked_at = await calls.rederive(limit=_DERIVED_AT_ONCE)
            if not looked_at:
                return
            log().info("detect.derived_anew", calls=looked_at)
    except OcpIngestError as failed:  # the next look goes on
        log().warning("detect.not_derived", code=failed.code, reason=failed.text)


async def _measure(functions: Functions) -> None:
    """A look that can't be measured was a look all the same; its alarm treats silence as bad."""
    from ocp_ingest.entrypoints.functions.gauges import emit, gauges

    try:
        emit(await gauges(functions.runtime.desk, functions.stage2.groups))
    except OcpIngestError as failed:
        log().warning("detect.not_measured", code=failed.code, reason=failed.text)
