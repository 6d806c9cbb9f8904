"""Journals of simulated calls: the simulator's CDRs through the real parser, our steps invented.

The steps follow each call's fault as the pipeline and reconciliation would: what is in the reports
and export answers has the form and the chance of the real ones, without the audio.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any, Final

import msgspec

from ocp_ingest.core import events as ev
from ocp_ingest.core.events import Event
from ocp_ingest.core.recording import parse_name
from ocp_ingest.core.vendor import Context, VendorMapping, parse
from ocp_sim import faults
from ocp_sim.config import World
from ocp_sim.model import Call
from ocp_sim.world import build_world

HOUR_MS: Final = 3_600_000
START_MS: Final = 1_795_118_400_000
KEY: Final = b"a test's key"
_MAPPING: Final = VendorMapping()
_UNUSABLE: Final = frozenset({"corrupt_stream", "error_body", "corrupt_at_ocp"})


def journals(seed: int, calls: int) -> Iterator[list[Event]]:
    """The whole journal of each call of a bad day, in an order in which it may happen."""
    for call in build_world(seed, calls, World(), start_ms=START_MS).calls:
        yield _journal(call, Random(f"{seed}:{call.index}"))


def _journal(call: Call, chance: Random) -> list[Event]:
    found = [event for cdr in call.cdrs if (event := _taken(dict(cdr.body))) is not None]
    at_ms = call.end_ms + chance.randrange(20_000, 400_000)
    jobs = 1 if chance.random() < 0.6 else 0
    if call.recording is not None and not call.faults & {"expired"}:
        streamed = not call.faults & faults.NOT_STREAMED
        damaged = bool(call.faults & _UNUSABLE)
        if streamed:
            found += _recording(call, chance, at_ms, "stream", usable=not damaged)
        if damaged or not streamed:
            found += _export(call, chance, at_ms + 3 * HOUR_MS, audio=True)
            usable = "corrupt_at_ocp" not in call.faults
            found += _recording(call, chance, at_ms + 4 * HOUR_MS, "export", usable=usable)
    elif call.recording is None:
        found.append(
            ev.closed(
                call.call_id, "absent", epoch=0, at_ms=at_ms, code="too_short",
                reason="The call was shorter than the shortest that OCP records.",
            )
        )  # fmt: skip
    for number in range(jobs):
        found += _export(call, chance, at_ms + (5 + number) * HOUR_MS, audio=chance.random() < 0.5)
    return found


def _taken(body: dict[str, Any]) -> Event | None:
    context = Context(source="stream", received_at_ms=body["time"] + 2_000, number_key=KEY)
    return parse(body, msgspec.json.encode(body), _MAPPING, context).event


def _recording(
    call: Call, chance: Random, at_ms: int, source: ev.Source, *, usable: bool
) -> list[Event]:
    assert call.recording is not None
    name, dialog = call.recording.name, call.recording.dialog_id
    sha, landing = chance.randbytes(32).hex(), chance.randbytes(16).hex()
    lob = call.app.partition("-")[0]
    report = _report(call, chance, sha, usable)
    found = [
        ev.received(
            call.call_id, dialog, sha, at_ms=at_ms, source=source, size_bytes=report["bytes"],
            landing_key=f"{landing[:2]}/{landing}", name=name,
            name_parts=parse_name(name).parts(), container="wav",
        ),
        ev.inspected(call.call_id, dialog, sha, at_ms=at_ms + 12_000, report=report),
    ]  # fmt: skip
    if not usable:
        return found
    problems = []
    if "trimmed" in call.faults:
        problems = [{
            "code": "duration.shorter", "severity": "warning",
            "text": f"The recording lasts {call.duration_ms * 0.4 / 1000:.1f} s, the call "
            f"{call.duration_ms / 1000:.1f} s; OCP may have trimmed or paused it.",
        }]  # fmt: skip
    key = f"2026/11/20/{call.call_id}/{dialog}.wav"
    place: dict[str, str] = {"lob": lob, "bucket": f"lob-{lob}", "key": key}
    return [
        *found,
        ev.validated(
            call.call_id, dialog, sha, epoch=0, at_ms=at_ms + 15_000, valid=True,
            problems=problems, rules=f"{lob}:aa179a037219",
        ),
        ev.routed(call.call_id, dialog, sha, at_ms=at_ms + 18_000, rule=lob, **place),
        ev.stored(
            call.call_id, dialog, sha, at_ms=at_ms + 21_000, size_bytes=report["bytes"], **place
        ),
    ]  # fmt: skip


def _report(call: Call, chance: Random, sha: str, usable: bool) -> dict[str, Any]:
    assert call.recording is not None
    sound = call.recording.sound
    wide = sound.codec == "pcm16"
    frames = call.duration_ms * sound.sample_rate_hz // 1000
    size = frames * sound.channels * (2 if wide else 1) + chance.randrange(44, 90)
    problem = {
        "code": "truncated", "severity": "error",
        "text": f"The recording is cut: {size // 3:,} of {size:,} bytes are missing "
        f"(about {call.duration_ms // 3:,} ms).",
    }  # fmt: skip
    return {
        "bit_rate_bps": sound.channels * sound.sample_rate_hz * (16 if wide else 8),
        "bits_per_sample": 16 if wide else 8,
        "bytes": size,
        "channel_silence_share": [round(chance.random(), 6) for _ in range(sound.channels)],
        "channels": sound.channels,
        "codec": {"pcm16": "pcm_s16le", "alaw": "pcm_alaw", "mulaw": "pcm_mulaw"}.get(
            sound.codec, sound.codec
        ),
        "container": "wav",
        "dead_tail_ms": chance.choice((0, 280)),
        "declared_duration_ms": call.duration_ms,
        "digital_zero_share": chance.choice((0.0, round(chance.random(), 6))),
        "duration_ms": call.duration_ms,
        "frames": frames,
        "longest_silence_ms": chance.randrange(3, 24) * 100,
        "problems": [] if usable else [problem],
        "sample_rate_hz": sound.sample_rate_hz,
        "sha256": sha,
        "silence_share": round(chance.random(), 6),
        "silent_runs": [[m, length] for m, length in sound.mutes],
        "streaming_header": False,
    }


def _export(call: Call, chance: Random, at_ms: int, *, audio: bool) -> list[Event]:
    from_ms = call.start_ms // HOUR_MS * HOUR_MS - chance.randrange(12) * HOUR_MS
    hours = chance.randrange(1, 26)
    job = f"g-{call.ocp_group}-20261120T{chance.randrange(24):02}-{hours:02}h-a1"
    types = ["audio", "dialog_end", "dialog_start"]
    name = call.recording.name if call.recording else ""
    file = {"dialog_id": call.call_id, "name": name, "result": "skipped", "sha256": ""}
    created = msgspec.json.decode(
        f'"2026-11-20T{chance.randrange(24):02}:24:54.{at_ms % 1000:03}Z"'
    )
    window = (from_ms, from_ms + hours * HOUR_MS)
    return [
        ev.export_asked(call.call_id, job, at_ms=at_ms, window=window, attempt=1),
        ev.export_answered(
            call.call_id, job, at_ms=at_ms + chance.randrange(600_000, 3_000_000),
            job_id=_uuid(chance), task_id=job, window=window,
            found={"audio": audio, "dialog_end": True, "dialog_start": True},
            files=[file] if audio else [],
            metadata={
                "created_at": created, "end": "done",
                "expires_at": created.replace("-20T", "-21T"), "file_count": chance.randrange(99),
                "ocp_group": call.ocp_group, "polls": 3, "said": True, "status": "COMPLETED",
                "tries": types, "why": "every wanted file has its result",
            },
        ),
    ]  # fmt: skip


def _uuid(chance: Random) -> str:
    text = chance.randbytes(16).hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
