"""`ocp-ingest incidents …`: root causes that a person must know of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ocp_ingest.entrypoints.cli.common import (
    ConfigOption,
    DataDirOption,
    JsonOption,
    ReasonOption,
    RuntimeOption,
    print_json,
    who,
    with_store,
)

if TYPE_CHECKING:
    from ocp_ingest.bootstrap import Runtime
    from ocp_ingest.core.incidents import Incident

app = typer.Typer(no_args_is_help=True, help="Look at incidents, and close them.")


@app.command("list")
def list_incidents(
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    runtime: RuntimeOption = "embedded",
    closed: Annotated[bool, typer.Option("--closed", help="Closed ones too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List incidents, newest first."""

    async def work(opened: Runtime) -> list[Incident]:
        return await opened.world.incidents.incidents(open_only=not closed, limit=500)

    found = with_store(config, data_dir, runtime, work)
    for incident in found:
        if as_json:
            print_json(incident)
        else:
            _show(incident)
    if not found and not as_json:
        typer.echo("There is no incident.")


def _show(incident: Incident) -> None:
    from ocp_ingest.core.calendar import rfc3339

    state = f"closed {rfc3339(incident.closed_at_ms)}" if incident.closed_at_ms else "open"
    typer.echo(
        f"{incident.key}  {incident.severity}  since {rfc3339(incident.opened_at_ms)}  {state}\n"
        f"    {incident.text}"
    )
    if incident.sample:
        typer.echo(f"    calls: {', '.join(incident.sample[:3])}")


@app.command()
def close(
    key: Annotated[str, typer.Argument(metavar="KEY", help="The incident's key.")],
    reason: ReasonOption,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    runtime: RuntimeOption = "embedded",
) -> None:
    """Close an incident that does not close by itself; it opens again if its cause shows again."""

    async def work(opened: Runtime) -> None:
        from ocp_ingest.ingest import operate

        await operate.close_incident(opened.world, key, who=await who(opened), reason=reason)
        typer.echo(f"closed: {key}")

    with_store(config, data_dir, runtime, work)
