"""export: one step of an export job, by `op`, for the state machine.

event   {"op", "job_key", "ocp_group", "execution", "error"}; see reconcile/flow.py
answer  reconcile/answer.py
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from ocp_ingest.core.errors import Invalid
from ocp_ingest.entrypoints.functions.runtime import Context, Event, Functions, run, text_of
from ocp_ingest.reconcile.answer import Answer
from ocp_ingest.reconcile.flow import Flow

Op = Callable[[Flow, str, str, Event], Awaitable[Answer]]

_OPS: Final[dict[str, Op]] = {
    "acquire": lambda flow, key, group, event: flow.acquire(
        key, group, text_of(event, "execution")
    ),
    "create": lambda flow, key, group, _event: flow.create(key, group),
    "release": lambda flow, key, group, _event: flow.release(key, group),
    "abandon": lambda flow, key, group, event: flow.abandon(key, group, str(event.get("error"))),
}


def handler(event: Event, context: Context) -> dict[str, Any]:
    """Does one step and says how the state machine goes on."""
    op = _OPS.get(str(event.get("op")))
    if op is None:
        raise Invalid(f"`op` must be one of {', '.join(_OPS)}.")
    key, group = text_of(event, "job_key"), text_of(event, "ocp_group")

    async def work(functions: Functions) -> dict[str, Any]:
        return (await op(functions.flow(), key, group, event)).data()

    return run(context, work, op=str(event["op"]), job_key=key)
