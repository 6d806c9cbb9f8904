"""`ocp-ingest verify | seal`: whether the evidence still is what it was; seal what waits."""

from __future__ import annotations

import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ocp_ingest.entrypoints.cli.common import (
    ConfigOption,
    DataDirOption,
    Exit,
    JsonOption,
    RuntimeOption,
    print_json,
    with_store,
)
from ocp_ingest.entrypoints.cli.evidence_files import evidence_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ocp_ingest.bootstrap import Runtime
    from ocp_ingest.evidence.findings import Finding
    from ocp_ingest.evidence.world import Evidence

# Between two lines of progress.
_PROGRESS_S: Final = 5.0


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("verify")(verify)
    app.command("seal")(seal)


def verify(
    scope: Annotated[str, typer.Argument(help='"all", unless --call or --day says less.')] = "all",
    call: Annotated[str | None, typer.Option("--call", help="Only this call.")] = None,
    day: Annotated[
        str | None, typer.Option("--day", help="Calls that began on this day (yyyy-mm-dd, UTC).")
    ] = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="Objects by size and noted hash: they are not re-read.")
    ] = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    runtime: RuntimeOption = "embedded",
    as_json: JsonOption = False,
) -> None:
    """Hold journals, chains, records, stored objects and daily seals against each other.

    One line for each finding, then one for each class: ok, missing, differs, extra, broken. Exit
    code 0 when all is ok, 1 when anything is not.
    """

    async def work(opened: Runtime) -> bool:
        from ocp_ingest.core.errors import Invalid
        from ocp_ingest.evidence.findings import CLASSES

        if scope != "all" or (call is not None and day is not None):
            raise Invalid('Say nothing, "all", --call ID, or --day yyyy-mm-dd.')
        counts: Counter[str] = Counter()
        progress = _Progress()
        async for finding in _findings(evidence_of(opened), call, day, fast):
            counts[finding.kind] += 1
            progress.tell(counts)
            if finding.is_bad or call is not None:
                _print(finding, as_json)
        if as_json:
            print_json({"counts": {kind: counts[kind] for kind in CLASSES}})
        else:
            for kind in CLASSES:
                typer.echo(f"{kind:<8}{counts[kind]}")
        return sum(counts.values()) == counts["ok"]

    if not with_store(config, data_dir, runtime, work):
        raise typer.Exit(int(Exit.FAILED))


async def _findings(
    evidence: Evidence, call: str | None, day: str | None, fast: bool
) -> AsyncIterator[Finding]:
    from ocp_ingest.core.errors import NotFound
    from ocp_ingest.evidence import verify as checks

    if call is not None:
        known = await evidence.world.calls.load(call) is not None
        if not known and not await evidence.seals.chain(call):
            raise NotFound(f"There is no call {call} here.", call_id=call)
        for finding in await checks.one_call(evidence, call, fast=fast):
            yield finding
        return
    walk = (
        checks.everything(evidence, fast=fast)
        if day is None
        else checks.one_day(evidence, day, fast=fast)
    )
    async for finding in walk:
        yield finding


def _print(finding: Finding, as_json: bool) -> None:
    if as_json:
        print_json(finding)
    else:
        typer.echo(f"{finding.kind:<8}{finding.what} {finding.subject}  {finding.text}".rstrip())


class _Progress:
    """A line on standard error now and then, so that a long run shows that it lives."""

    def __init__(self) -> None:
        self._last_s = time.monotonic()

    def tell(self, counts: Counter[str]) -> None:
        now_s = time.monotonic()
        if now_s - self._last_s < _PROGRESS_S:
            return
        self._last_s = now_s
        bad = sum(counts.values()) - counts["ok"]
        sys.stderr.write(f"verify: {counts['ok']:,} ok, {bad:,} not\n")
        sys.stderr.flush()


def seal(
    every: Annotated[
        bool, typer.Option("--all", help="Look into every journal for events in no chain.")
    ] = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    runtime: RuntimeOption = "embedded",
    as_json: JsonOption = False,
) -> None:
    """Seal what waits, and close the days that are over; a running platform does it by itself."""

    async def work(opened: Runtime) -> None:
        from ocp_ingest.evidence import sealer

        evidence = evidence_of(opened)
        links = await sealer.seal(evidence)
        if every:
            links += await sealer.catch_up(evidence)
        days = await sealer.close_days(evidence)
        if as_json:
            print_json({"links": links, "days": days})
        else:
            typer.echo(f"{links} events sealed; days closed: {', '.join(days) or 'none'}")

    with_store(config, data_dir, runtime, work)
