"""What `ocp-ingest doctor` looks at: each finding is "ok", "look" (a person should) or "fail"."""

from __future__ import annotations

import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from ocp_ingest.adapters.ocp.settings import configured
from ocp_ingest.bootstrap import Embedded, Runtime
from ocp_ingest.core.errors import OcpIngestError
from ocp_ingest.core.limits import GIB
from ocp_ingest.evidence.conservation import conservation

Finding = dict[str, Any]


Check = Callable[[], Awaitable[list[Finding]]]


def say(result: str, what: str, text: str) -> Finding:
    """One finding."""
    return {"result": result, "what": what, "text": text}


async def examine(
    runtime: Runtime, *, probe_ocp: bool = False, objects: bool | None = None
) -> list[Finding]:
    """All findings; a check that itself fails is a finding too.

    `probe_ocp` asks the tenant, by reading alone, where it differs from what is configured.
    `objects` compares with every object in the buckets; None: where that is cheap.
    """
    embedded = isinstance(runtime, Embedded)
    checks: list[tuple[str, Check]] = [("configuration", lambda: _configuration(runtime))]
    if isinstance(runtime, Embedded):
        checks.append(("disk", lambda: _disk(runtime)))
    else:
        from ocp_ingest.entrypoints import doctor_aws

        checks += doctor_aws.checks(runtime)
    checks += [
        ("conservation", lambda: _counts(runtime, embedded if objects is None else objects)),
        ("queue", lambda: _queue(runtime)),
        ("evidence", lambda: _strange_inputs(runtime)),
        ("incidents", lambda: _incidents(runtime)),
    ]
    if probe_ocp:
        checks.append(("ocp", lambda: _probe_ocp(runtime)))
    found: list[Finding] = []
    for name, check in checks:
        try:
            found += await check()
        except OcpIngestError as failed:
            found.append(say("fail", name, failed.text))
        except Exception as broken:
            found.append(say("fail", name, f"{type(broken).__name__}"))
    return found


async def _configuration(runtime: Runtime) -> list[Finding]:
    config = runtime.config
    found = [say("ok", "configuration", f"{len(config.lob)} lines of business")]
    if not config.lob or not config.routing:
        found.append(say("look", "routing", "No routing rule: every call will be unassigned."))
    if not configured(config.ocp):
        found.append(
            say("look", "ocp", "No Export API is configured: what the stream loses stays missing.")
        )
    if not config.auth.issuer and not config.auth.clients:
        found.append(say("look", "auth", "No client is configured: OCP can't get a token."))
    return found


async def _disk(runtime: Embedded) -> list[Finding]:
    data_dir = Path(runtime.config.data.dir)
    free = shutil.disk_usage(data_dir).free
    low = free < runtime.config.data.free_bytes_min
    found = [say("look" if low else "ok", "disk", f"{free / GIB:.1f} GiB free")]
    for name in _open_keys(data_dir):
        found.append(say("fail", "keys", f"Others may read {name}: run chmod 600."))
    if not os.access(data_dir, os.W_OK):
        found.append(say("fail", "disk", "The data directory can't be written."))
    return found


def _open_keys(data_dir: Path) -> list[str]:
    """Secrets that others than their owner may read."""
    secrets = sorted(path for kind in ("*.key", "*.pem") for path in data_dir.glob(kind))
    return [path.name for path in secrets if path.stat().st_mode & 0o077]


async def _counts(runtime: Runtime, objects: bool) -> list[Finding]:
    if not objects:
        return await _counted(runtime)
    said = await conservation(runtime.world)
    text = ", ".join(f"{name} {count}" for name, count in said.terms.items())
    found = [say("ok" if said.holds else "fail", "conservation", text)]
    return found + [say("fail", "conservation", line) for line in said.differences]


async def _counted(runtime: Runtime) -> list[Finding]:
    """The law from the store's own counts: millions of objects are not listed unasked."""
    terms = await runtime.world.calls.counts()
    text = ", ".join(f"{name} {count}" for name, count in terms.items())
    accounted = sum(count for name, count in terms.items() if name != "started")
    found = [say("ok" if accounted == terms["started"] else "fail", "conservation", text)]
    if accounted != terms["started"]:
        found.append(say("fail", "conservation", f"{terms['started']} calls started, {accounted} "
                         "are accounted for."))  # fmt: skip
    return found


async def _queue(runtime: Runtime) -> list[Finding]:
    parked = len(await runtime.world.queue.parked(limit=100))
    if parked:
        return [say("look", "queue", f"{parked} calls were tried too often and are parked.")]
    return []


async def _strange_inputs(runtime: Runtime) -> list[Finding]:
    counted = await runtime.world.evidence.counted("unknown_type:")
    found = [
        say("look", "unknown message type", f"{name.split(':', 1)[1]}: {count} kept")
        for name, count in sorted(counted.items())
    ]
    kept = await runtime.world.evidence.kept(limit=5)
    found += [say("look", "rejected input", f"{k.kind}: {k.reason}") for k in kept]
    return found


async def _incidents(runtime: Runtime) -> list[Finding]:
    open_ones = await runtime.world.incidents.incidents(open_only=True, limit=50)
    return [say("look", f"incident {i.kind}", i.text) for i in open_ones]


async def _probe_ocp(runtime: Runtime) -> list[Finding]:
    config = runtime.config
    if not configured(config.ocp):
        return [say("look", "ocp", "No Export API is configured: there is nothing to probe.")]
    from ocp_ingest.adapters.ocp.probe import probe

    groups = list(config.ocp.groups) or sorted(
        {*await runtime.world.calls.pending_groups(), config.calls.ocp_group_default} - {""}
    )
    seen = await probe(config.ocp, groups, life_ms=config.stage2.export_life_ms)
    return [say(*one) for one in seen]
