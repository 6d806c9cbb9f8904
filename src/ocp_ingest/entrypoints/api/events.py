"""POST /v1/events: vendor messages in, durable before the answer."""

from __future__ import annotations

from typing import Final

import msgspec

from ocp_ingest.adapters.tokens.checker import Caller
from ocp_ingest.core.errors import Invalid
from ocp_ingest.core.limits import ID_CHARS_MAX
from ocp_ingest.core.vendor import Context
from ocp_ingest.entrypoints.api.auth import authenticate
from ocp_ingest.entrypoints.api.batch import split
from ocp_ingest.entrypoints.api.deps import Deps
from ocp_ingest.entrypoints.api.inbound import Inbound
from ocp_ingest.entrypoints.api.problems import Answer, NotAllowed, Unsupported
from ocp_ingest.entrypoints.api.unzip import Unzip
from ocp_ingest.ingest import intake

_ENCODER: Final = msgspec.json.Encoder()
# Nearly every request holds one event; its two possible answers are made once.
_ONE: Final = {
    new: Answer(200, _ENCODER.encode({"accepted": 1, "new": int(new), "duplicates": int(not new)}))
    for new in (True, False)
}


async def take_events(deps: Deps, request: Inbound) -> Answer:
    """The answer to one request of events. Raises what intake raises, and Denied."""
    if request.method != "POST":
        raise NotAllowed("POST")
    caller = await authenticate(deps, request.headers, "ingest")
    context = context_of(deps, request, caller)
    body = await _body(deps, request)
    limits = deps.config.limits
    try:
        batch = split(body, limits, ndjson=b"ndjson" in request.headers.get(b"content-type", b""))
    except Invalid as bad:
        await deps.world.evidence.keep("events", bad.text, body, context.received_at_ms)
        deps.metrics.add("ocp_ingest_events_total", 1, "refused")
        raise
    try:
        taken = await intake.events(deps.world, batch.messages, context, batch.refused)
    except Invalid as bad:
        _count(deps, *(int(str(bad.ids.get(name) or 0)) for name in ("new", "accepted", "refused")))
        raise
    _count(deps, sum(t.new for t in taken), len(taken), 0)
    if len(taken) == 1:
        return _ONE[taken[0].new]
    return Answer(200, _ENCODER.encode(intake.describe(taken)))


def context_of(deps: Deps, request: Inbound, caller: Caller) -> Context:
    """What is known of a message from outside of it. Raises Invalid for an absurd group."""
    settings = deps.world.settings
    group = request.query(deps.config.delivery.ocp_group_query)
    if group is not None and (len(group) > ID_CHARS_MAX or not group.isprintable()):
        raise Invalid(f"The OCP group in the URL must be {ID_CHARS_MAX} printable characters.")
    return Context(
        received_at_ms=deps.world.clock.now_ms(),
        ocp_group_url=group or None,
        ocp_group_client=settings.client_groups.get(caller.client_id),
        ocp_group_default=settings.ocp_group_default or None,
        number_key=settings.number_key,
    )


async def _body(deps: Deps, request: Inbound) -> bytes:
    bytes_max = deps.config.limits.batch_bytes_max
    encoding = request.headers.get(b"content-encoding", b"").strip().lower()
    if encoding in (b"", b"identity"):
        return await request.whole(bytes_max, "A request of events")
    if encoding not in (b"gzip", b"x-gzip"):
        raise Unsupported("The Content-Encoding must be gzip or none.")
    unzip = Unzip(bytes_max)
    async for block in request.blocks():
        unzip.feed(block)
    return unzip.finish()


def _count(deps: Deps, new: int, accepted: int, refused: int) -> None:
    for result, number in (("new", new), ("duplicate", accepted - new), ("refused", refused)):
        if number:
            deps.metrics.add("ocp_ingest_events_total", number, result)
