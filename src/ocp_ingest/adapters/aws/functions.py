"""Asking a Lambda function of ours, and waiting for what it says or not.

Waiting   RequestResponse: the function's answer; what it raised comes back as its fate
Not       Event: Lambda has taken the event, and tries it twice more if it fails
Too long  the function goes on without us: its answer is in the table, None here

An invocation is never repeated here: the function may have begun, and it looks for itself.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec

from ocp_ingest.adapters.aws.session import Answered, Aws
from ocp_ingest.core.errors import (
    Conflict,
    Invalid,
    NoRights,
    NotFound,
    OcpIngestError,
    Terminal,
    Transient,
)

# What detect answers has a line for each group; Lambda's own bound on answers is 6 MB.
_ANSWER_BYTES_MAX: Final = 6 * 1024 * 1024
_OURS: Final[dict[str, type[OcpIngestError]]] = {
    kind.__name__: kind for kind in (Invalid, NoRights, NotFound, Conflict, Transient, Terminal)
}


async def ask(aws: Aws, arn: str, event: dict[str, Any], *, s_max: float) -> dict[str, Any] | None:
    """The function's answer; None when it takes longer than `s_max` real seconds.

    Raises Transient when it failed for a while, Terminal when it failed, NoRights.
    """
    try:
        async with asyncio.timeout(s_max):
            return await _ask(aws, arn, event)
    except TimeoutError:
        return None


async def tell(aws: Aws, arn: str, event: dict[str, Any]) -> None:
    """Hands an event to a function that does it later. Raises Transient, NoRights, Terminal."""
    await _invoke(aws, arn, event, "Event")


async def _ask(aws: Aws, arn: str, event: dict[str, Any]) -> dict[str, Any]:
    said = await _invoke(aws, arn, event, "RequestResponse")
    body = await said["Payload"].read(_ANSWER_BYTES_MAX)
    try:
        answer = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.MsgspecError:
        raise Terminal("The function's answer is no JSON object.") from None
    if said.get("FunctionError"):
        raise _fate(answer)
    return answer


def _fate(answer: dict[str, Any]) -> OcpIngestError:
    """What the function raised. Only the texts of our own errors are fit to be shown."""
    kind, text = str(answer.get("errorType", "an error")), str(answer.get("errorMessage", ""))
    if kind == "GroupBusy":
        return Transient("The function could not do it now: another one is at the group.")
    if kind in _OURS:
        return _OURS[kind](text)
    return Terminal(f"The function failed: {kind}. See its log.")


async def _invoke(aws: Aws, arn: str, event: dict[str, Any], kind: str) -> dict[str, Any]:
    try:
        return await aws.call(
            "lambda", "invoke", FunctionName=arn, InvocationType=kind,
            Payload=msgspec.json.encode(event),
        )  # fmt: skip
    except Answered as bad:
        raise Terminal(f"The function could not be invoked: {bad.code}.") from bad
