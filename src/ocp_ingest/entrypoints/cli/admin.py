"""`ocp-ingest token | rotate-key | replay | doctor`: what administrators need besides serving."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ocp_ingest.entrypoints.cli.common import (
    ConfigOption,
    DataDirOption,
    Exit,
    JsonOption,
    RuntimeOption,
    exit_of,
    folder_of_store,
    load_config,
    print_json,
    stop,
    with_store,
)

if TYPE_CHECKING:
    from ocp_ingest.bootstrap import Runtime


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(token)
    app.command()(rotate_key)
    app.command()(replay)
    app.command()(doctor)


def token(
    ttl: Annotated[int, typer.Option(help="Lifetime in seconds.", min=1)] = 3600,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """Print a token of the built-in issuer (embedded runtime only)."""
    from ocp_ingest.adapters.tokens.issuer import issue_token
    from ocp_ingest.core.errors import OcpIngestError

    loaded = load_config(config, data_dir)
    if loaded.auth.issuer:
        stop(Exit.USAGE, f"Tokens are issued by {loaded.auth.issuer}, not here.")
    try:
        made = issue_token(
            Path(loaded.data.dir), ttl, audience=loaded.auth.audience, now_s=time.time
        )
        typer.echo(made)
    except OcpIngestError as failed:
        stop(Exit.FAILED, failed.text)


def rotate_key(config: ConfigOption = None, data_dir: DataDirOption = None) -> None:
    """Make a new key for raw messages and rejected inputs (embedded runtime only).

    What older keys encrypted stays readable. A server that runs uses the new key when it starts
    again.
    """
    from ocp_ingest import bootstrap
    from ocp_ingest.core.errors import OcpIngestError

    folder = folder_of_store(load_config(config, data_dir))
    try:
        name = bootstrap.rotate_key(folder)
    except OcpIngestError as failed:
        stop(exit_of(failed), failed.text)
    typer.echo(
        f"{name} is the key of new rows: back up {bootstrap.VAULT_FILE}, then restart the server."
    )


# Calls folded between two lines of progress.
_PAGE = 500


def replay(
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    runtime: RuntimeOption = "embedded",
    as_json: JsonOption = False,
) -> None:
    """Rebuild every record from its journal; heals what a crash or a bug left behind."""

    async def work(opened: Runtime) -> dict[str, int]:
        replayed = healed = 0
        after, days = "", set()
        while ids := await opened.world.calls.call_ids(after=after, limit=_PAGE):
            for call_id in ids:
                if await opened.world.calls.rebuild(call_id):
                    healed += 1
                    days.add(await _day_of(opened, call_id))
            replayed += len(ids)
            after = ids[-1]
        return {"calls": replayed, "healed": healed, "counters": await _recount(opened, days)}

    said = with_store(config, data_dir, runtime, work)
    if as_json:
        print_json(said)
    else:
        typer.echo(f"{said['calls']} calls replayed, {said['healed']} records and "
                   f"{said['counters']} counters were not as they should have been.")  # fmt: skip


async def _day_of(opened: Runtime, call_id: str) -> str:
    from ocp_ingest.core.counting import day_of
    from ocp_ingest.core.lifecycle import start_ms

    call = await opened.world.calls.load(call_id)
    return day_of(0 if call is None else start_ms(call))


async def _recount(opened: Runtime, days: set[str]) -> int:
    """What a lost record was counted for, nobody knows: its day is counted anew."""
    desk = getattr(opened, "desk", None)
    if desk is None:
        return 0
    now_ms = opened.world.clock.now_ms()
    return sum([await desk.figures.recount(day, by="replay", now_ms=now_ms) for day in days])


def doctor(
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    runtime: RuntimeOption = "embedded",
    probe_ocp: Annotated[
        bool,
        typer.Option(
            "--probe-ocp", help="Ask OCP, by reading alone, where it differs from the settings."
        ),
    ] = False,
    objects: Annotated[
        bool | None,
        typer.Option(
            "--objects/--no-objects",
            help="Count every stored object too; default: not on AWS, where each list is billed.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check configuration, store, resources, keys and the counts; say what deserves a look.

    Each finding is ok, look (a person should) or fail. The exit code is 1 when one fails.
    """
    from ocp_ingest.entrypoints.doctor import examine

    async def work(opened: Runtime) -> list[dict[str, Any]]:
        return await examine(opened, probe_ocp=probe_ocp, objects=objects)

    findings = with_store(config, data_dir, runtime, work)
    if as_json:
        print_json(findings)
    else:
        for finding in findings:
            typer.echo(f"{finding['result']:5} {finding['what']}: {finding['text']}")
    if any(f["result"] == "fail" for f in findings):
        raise typer.Exit(int(Exit.FAILED))
