"""`ocp-ingest token | replay | doctor`: what an administrator needs besides the server."""

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
    load_config,
    print_json,
    stop,
    with_store,
)

if TYPE_CHECKING:
    from ocp_ingest.bootstrap import Embedded


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(token)
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


# Calls folded between two lines of progress.
_PAGE = 500


def replay(
    config: ConfigOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False
) -> None:
    """Rebuild every record from its journal; heals what a crash or a bug left behind."""

    async def work(runtime: Embedded) -> dict[str, int]:
        replayed = healed = 0
        after = ""
        while ids := await runtime.world.calls.call_ids(after=after, limit=_PAGE):
            for call_id in ids:
                healed += await runtime.world.calls.rebuild(call_id)
            replayed += len(ids)
            after = ids[-1]
        return {"calls": replayed, "healed": healed}

    said = with_store(config, data_dir, work)
    if as_json:
        print_json(said)
    else:
        typer.echo(f"{said['calls']} calls replayed, {said['healed']} records were not as they "
                   "should have been.")  # fmt: skip


def doctor(
    config: ConfigOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False
) -> None:
    """Check configuration, store, disk, keys and the counts; say what deserves a look."""
    from ocp_ingest.entrypoints.doctor import examine

    async def work(runtime: Embedded) -> list[dict[str, Any]]:
        return await examine(runtime)

    findings = with_store(config, data_dir, work)
    if as_json:
        print_json(findings)
    else:
        for finding in findings:
            typer.echo(f"{finding['result']:5} {finding['what']}: {finding['text']}")
    if any(f["result"] == "fail" for f in findings):
        raise typer.Exit(int(Exit.FAILED))
