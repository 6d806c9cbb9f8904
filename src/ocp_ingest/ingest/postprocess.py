"""inspect → validate: is this recording whole, and is it the recording of this call?

Integrity is judged on the bytes alone and at once; coherence and business rules when the call's
CDRs are there. A recording judged unusable goes to quarantine with the reasons in words before
the verdict is journalled, so that no verdict exists without its evidence.
"""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec

from ocp_ingest.core import events as ev
from ocp_ingest.core.audio import AudioParser
from ocp_ingest.core.call import Call, Version
from ocp_ingest.core.errors import Damaged, NotFound
from ocp_ingest.core.lifecycle import Work
from ocp_ingest.core.routing import quarantine_key, route
from ocp_ingest.core.rules import judge, version_of
from ocp_ingest.core.settings import LANDING, QUARANTINE
from ocp_ingest.ingest import tell
from ocp_ingest.ingest.world import World


async def inspect(world: World, call: Call, work: Work) -> Call:
    """Measures the bytes and journals the report."""
    version = call.recordings[work.dialog_id].versions[work.sha256]
    # The hash was taken on the way in; measuring it again here proves the landing store.
    parser = AudioParser()
    try:
        await world.recordings.scan(LANDING, version.at_hand, parser.feed)
    except NotFound as gone:
        return await landing_lost(world, call, work, gone.text)
    measured = parser.finish(expected_bytes=version.bytes)
    if measured.sha256 != work.sha256:
        return await landing_lost(world, call, work, "Its bytes have changed on the disk.")
    report: dict[str, Any] = msgspec.to_builtins(measured)
    if any(p["severity"] == "error" for p in report["problems"]):
        await _quarantine(world, call, work, version, report["problems"])
    event = ev.inspected(
        call.call_id, work.dialog_id, work.sha256, at_ms=world.clock.now_ms(), report=report
    )
    return (await world.calls.append([event]))[0].call


async def landing_lost(world: World, call: Call, work: Work, how: str) -> Call:
    """Journals that the bytes are gone, so that OCP is asked for them again, and tells a person.

    Another worker may have stored them meanwhile and tidied up: then nothing is lost.
    """
    fresh = await world.calls.load(call.call_id) or call
    recording = fresh.recordings[work.dialog_id]
    version = recording.versions[work.sha256]
    if recording.stored is not None or not version.at_hand:
        return fresh
    event = ev.landing_lost(
        call.call_id, work.dialog_id, work.sha256,
        at_ms=world.clock.now_ms(), landing_key=version.at_hand, how=how,
    )  # fmt: skip
    text = "A received recording is gone from the landing store; OCP is asked for it again."
    await tell.people(world, "landing_missing", text, severity="critical", calls=[call.call_id])
    return (await world.calls.append([event]))[0].call


async def validate(world: World, call: Call, work: Work) -> Call:
    """Holds the recording against its call and the rules of its line of business."""
    version = call.recordings[work.dialog_id].versions[work.sha256]
    lob = route(call, world.settings.routing).lob
    rules = world.settings.lob(lob).rules
    findings = judge(call, work.dialog_id, version, rules)
    valid = call.released(work.dialog_id) or all(f.severity != "error" for f in findings)
    problems: list[dict[str, Any]] = [msgspec.to_builtins(f) for f in findings]
    if not valid:
        await _quarantine(world, call, work, version, problems)
    event = ev.validated(
        call.call_id,
        work.dialog_id,
        work.sha256,
        epoch=call.epoch,
        at_ms=world.clock.now_ms(),
        valid=valid,
        problems=problems,
        rules=f"{lob}:{version_of(rules)}",
    )
    return (await world.calls.append([event]))[0].call


async def _quarantine(
    world: World, call: Call, work: Work, version: Version, problems: list[dict[str, Any]]
) -> None:
    key = quarantine_key(call.call_id, work.dialog_id, work.sha256, version.received_at_ms)
    reasons = {
        "call_id": call.call_id,
        "dialog_id": work.dialog_id,
        "sha256": work.sha256,
        "name": version.name,
        "problems": problems,
    }
    # Without the bytes, the reasons are kept all the same.
    with contextlib.suppress(NotFound, Damaged):
        await world.recordings.copy_once(LANDING, version.at_hand, QUARANTINE, key, work.sha256)
    await world.recordings.put_once(QUARANTINE, f"{key}.json", msgspec.json.encode(reasons))
