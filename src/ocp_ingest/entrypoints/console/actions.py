"""What people do to one call: each a POST with a reason, journalled with their name.

A refusal is told in words of its own: what stands against it, and what can be done instead. The
page offers only what core.possible says; a refusal means that the call changed meanwhile.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote

from litestar import post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from litestar.response import Response

from ocp_ingest.core.call import Call
from ocp_ingest.core.errors import Conflict, Invalid
from ocp_ingest.core.lifecycle import outcome
from ocp_ingest.core.possible import Action
from ocp_ingest.entrypoints.console.deps import Console
from ocp_ingest.entrypoints.console.page import AnyRequest, Visit, call_url, form_of, visit_of
from ocp_ingest.ingest import operate

# action -> the last part of its address
PATHS: Final[dict[Action, str]] = {
    "retry": "retry", "reopen": "reopen", "mark_absent": "mark-absent", "release": "release",
}  # fmt: skip
_KINDS: Final[dict[Action, operate.Act]] = {
    "retry": "retried", "reopen": "reopened", "release": "released",
}  # fmt: skip


def routes(console: Console) -> list[HTTPRouteHandler]:
    """All routes of the area."""
    return [_route(console, action, path) for action, path in PATHS.items()]


def _route(console: Console, action: Action, path: str) -> HTTPRouteHandler:
    @post(f"/calls/{{call_id:str}}/{path}", name=f"call-{path}")
    async def do(request: AnyRequest, call_id: FromPath[str]) -> Response[bytes]:
        visit = visit_of(request)
        visit.person.require("act")
        call = await console.load(visit, unquote(call_id))
        form = await form_of(request, "reason", "dialog_id")
        await act(console, visit, call, action, form["reason"], form["dialog_id"])
        return console.go(call_url(call.call_id), said=f"call.done.{action}", visit=visit)

    return do


async def act(
    console: Console, visit: Visit, call: Call, action: Action, reason: str, dialog_id: str = ""
) -> None:
    """Does it. Raises Invalid without a reason, Conflict with the text key of why not."""
    if not reason:
        raise Invalid("Say why.", say="call.refused.reason")
    if dialog_id and dialog_id not in call.recordings:
        raise Invalid("The call has no such dialog.", say="call.audio.none")
    world, who = console.desk.world, visit.person.name
    try:
        if action == "mark_absent":
            await operate.mark_absent(world, call.call_id, who=who, reason=reason)
        else:
            await operate.act(
                world, _KINDS[action], call.call_id, who=who, reason=reason,
                dialog_id=dialog_id or None,
            )  # fmt: skip
    except Conflict as refused:
        fresh = await console.desk.world.calls.load(call.call_id) or call
        done = outcome(fresh, world.settings.policy)
        why = done.outcome if done else "open"
        say = f"call.refused.{action}.{why}"
        if say not in console.pages.texts:
            say = f"call.refused.{action}.other"
        raise Conflict(refused.text, say=say) from refused
