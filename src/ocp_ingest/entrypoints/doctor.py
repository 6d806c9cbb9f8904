"""What `ocp-ingest doctor` looks at: each finding is "ok", "look" (a person should) or "fail"."""

from __future__ import annotations

import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from ocp_ingest.adapters.ocp.settings import configured
from ocp_ingest.bootstrap import Embedded
from ocp_ingest.core.limits import GIB
from ocp_ingest.evidence.conservation import conservation

Finding = dict[str, Any]


def _say(result: str, what: str, text: str) -> Finding:
    return {"result": result, "what": what, "text": text}


async def examine(runtime: Embedded) -> list[Finding]:
    """All findings; a check that itself fails is a finding too."""
    found: list[Finding] = []
    for check in _CHECKS:
        try:
            found += await check(runtime)
        except Exception as broken:
            found.append(_say("fail", check.__name__.strip("_"), f"{type(broken).__name__}"))
    return found


async def _configuration(runtime: Embedded) -> list[Finding]:
    config = runtime.config
    found = [_say("ok", "configuration", f"{len(config.lob)} lines of business")]
    if not config.lob or not config.routing:
        found.append(_say("look", "routing", "No routing rule: every call will be unassigned."))
    if not configured(config.ocp):
        found.append(
            _say("look", "ocp", "No Export API is configured: what the stream loses stays missing.")
        )
    if not config.auth.issuer and not config.auth.clients:
        found.append(_say("look", "auth", "No client is configured: OCP can't get a token."))
    return found


async def _disk(runtime: Embedded) -> list[Finding]:
    data_dir = Path(runtime.config.data.dir)
    free = shutil.disk_usage(data_dir).free
    low = free < runtime.config.data.free_bytes_min
    found = [_say("look" if low else "ok", "disk", f"{free / GIB:.1f} GiB free")]
    for name in _open_keys(data_dir):
        found.append(_say("fail", "keys", f"Others may read {name}: run chmod 600."))
    if not os.access(data_dir, os.W_OK):
        found.append(_say("fail", "disk", "The data directory can't be written."))
    return found


def _open_keys(data_dir: Path) -> list[str]:
    """Secrets that others than their owner may read."""
    secrets = sorted(path for kind in ("*.key", "*.pem") for path in data_dir.glob(kind))
    return [path.name for path in secrets if path.stat().st_mode & 0o077]


async def _counts(runtime: Embedded) -> list[Finding]:
    said = await conservation(runtime.world)
    text = ", ".join(f"{name} {count}" for name, count in said.terms.items())
    found = [_say("ok" if said.holds else "fail", "conservation", text)]
    found += [_say("fail", "conservation", line) for line in said.differences]
    parked = len(await runtime.world.queue.parked(limit=100))
    if parked:
        found.append(_say("look", "queue", f"{parked} calls were tried too often and are parked."))
    return found


async def _strange_inputs(runtime: Embedded) -> list[Finding]:
    counted = await runtime.world.evidence.counted("unknown_type:")
    found = [
        _say("look", "unknown message type", f"{name.split(':', 1)[1]}: {count} kept")
        for name, count in sorted(counted.items())
    ]
    kept = await runtime.world.evidence.kept(limit=5)
    found += [_say("look", "rejected input", f"{k.kind}: {k.reason}") for k in kept]
    return found


async def _incidents(runtime: Embedded) -> list[Finding]:
    open_ones = await runtime.world.incidents.incidents(open_only=True, limit=50)
    return [_say("look", f"incident {i.kind}", i.text) for i in open_ones]


_CHECKS: Final[tuple[Callable[[Embedded], Awaitable[list[Finding]]], ...]] = (
    _configuration, _disk, _counts, _strange_inputs, _incidents,
)  # fmt: skip
