"""`ocp-ingest calls …`: look at calls, and act on them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ocp_ingest.entrypoints.cli.common import (
    ConfigOption,
    DataDirOption,
    JsonOption,
    ReasonOption,
    RuntimeName,
    RuntimeOption,
    print_json,
    who,
    with_store,
)

if TYPE_CHECKING:
    from ocp_ingest.bootstrap import Runtime
    from ocp_ingest.core.call import Call

app = typer.Typer(no_args_is_help=True, help="Look at calls, and act on them.")

CallId = Annotated[str, typer.Argument(metavar="CALL_ID", help="The call's (dialog group's) id.")]


@app.command("list")
def list_calls(
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    runtime: RuntimeOption = "embedded",
    stage: Annotated[str | None, typer.Option(help="Only calls in this stage.")] = None,
    outcome: Annotated[
        str | None, typer.Option(help="stored, absent, quarantined, lost, or none: in flight.")
    ] = None,
    lob: Annotated[str | None, typer.Option(help="Only this line of business.")] = None,
    limit: Annotated[int, typer.Option(help="How many at most.", min=1, max=10_000)] = 50,
    as_json: JsonOption = False,
) -> None:
    """List calls, newest first."""

    async def work(opened: Runtime) -> list[Call]:
        from ocp_ingest.core.lifecycle import OUTCOMES, STAGES
        from ocp_ingest.ports import CallQuery

        _one_of("--stage", stage, tuple(STAGES))
        _one_of("--outcome", outcome, (*OUTCOMES, "none"))
        found: list[Call] = []
        cursor: str | None = None
        while len(found) < limit:
            query = CallQuery(
                stage=stage, outcome=outcome, lob=lob, cursor=cursor,
                limit=min(500, limit - len(found)),
            )  # fmt: skip
            page = await opened.world.calls.page(query)
            found += page.calls
            cursor = page.cursor
            if cursor is None:
                break
        _show_list(found, opened, as_json)
        return found

    with_store(config, data_dir, runtime, work)


def _one_of(option: str, value: str | None, allowed: tuple[str, ...]) -> None:
    """A typing mistake must not look like an empty answer."""
    from ocp_ingest.core.errors import Invalid

    if value is not None and value not in allowed:
        raise Invalid(f"{option} must be one of {', '.join(allowed)}.")


def _show_list(calls: list[Call], opened: Runtime, as_json: bool) -> None:
    from ocp_ingest.core.view import call_view

    policy = opened.world.settings.policy
    views = [call_view(call, policy) for call in calls]
    if as_json:
        for view in views:
            print_json(view)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("call id", "started", "stage", "outcome", "line of business", "next")
    for view in views:
        upcoming = view["next"]
        table.add_row(
            view["call_id"],
            view["flags"]["call_started"] or "",
            view["stage"],
            view["outcome"] or "in flight",
            view["line_of_business"] or "",
            f"{upcoming['action']} {upcoming['at']}" if upcoming["action"] else "",
        )
    Console().print(table)


@app.command()
def show(
    call_id: CallId,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    runtime: RuntimeOption = "embedded",
    as_json: JsonOption = False,
) -> None:
    """Show one call: flags, facts, recordings, exports, next step."""

    async def work(opened: Runtime) -> None:
        from ocp_ingest.core.view import call_view

        view = call_view(await _load(opened, call_id), opened.world.settings.policy)
        if as_json:
            print_json(view)
        else:
            _show_call(view)

    with_store(config, data_dir, runtime, work)


async def _load(opened: Runtime, call_id: str) -> Call:
    from ocp_ingest.core.errors import NotFound

    call = await opened.world.calls.load(call_id)
    if call is None:
        raise NotFound(f"There is no call {call_id} here.", call_id=call_id)
    return call


def _show_call(view: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from ocp_ingest.core.words import FLAG_WORDS

    console = Console()
    console.print(f"[bold]{view['call_id']}[/]  {view['stage']}  {view['outcome'] or 'in flight'}")
    if view["reason"]:
        console.print(view["reason"])
    flags = Table("flag", "when (UTC)", box=None)
    for flag, at in view["flags"].items():
        flags.add_row(FLAG_WORDS[flag], at or "[yellow]not yet[/]")
    console.print(flags)
    facts = Table("fact", "value", box=None)
    for fact, value in view["call"].items():
        if value is not None:
            facts.add_row(fact, str(value))
    console.print(facts)
    for recording in view["recordings"]:
        console.print(f"recording of {recording['dialog_id']}", style="bold")
        rows = Table("property", "value", box=None)
        for name, value in recording.items():
            if value not in (None, [], ""):
                rows.add_row(name, str(value))
        console.print(rows)
    if view["export"]["job_id"]:
        console.print("export", view["export"])
    if view["next"]["action"]:
        console.print("next", view["next"])


@app.command()
def explain(
    call_id: CallId,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    runtime: RuntimeOption = "embedded",
    as_json: JsonOption = False,
) -> None:
    """Say what is missing, why, what was tried, what happens next and when."""

    async def work(opened: Runtime) -> None:
        from ocp_ingest.core.explain import explain as explained

        call = await _load(opened, call_id)
        world = opened.world
        said = explained(call, world.settings.policy, world.clock.now_ms())
        if as_json:
            print_json(said)
            return
        typer.echo(f"{said.verdict}\n")
        for title, lines in (("Missing", said.missing), ("So far", said.tried)):
            if lines:
                typer.echo(f"{title}:")
                for line in lines:
                    typer.echo(f"  - {line}")
        typer.echo(f"Next: {said.next}")
        for line in said.also:
            typer.echo(f"Then: {line}")

    with_store(config, data_dir, runtime, work)


Act = Literal["retried", "reopened", "released"]


def _act(
    kind: Act, call_id: str, reason: str, config: Path | None, data_dir: Path | None,
    runtime: RuntimeName,
) -> None:  # fmt: skip
    async def work(opened: Runtime) -> None:
        from ocp_ingest.ingest import operate

        await operate.act(opened.world, kind, call_id, who=await who(opened), reason=reason)
        typer.echo(f"{kind}: {call_id}")

    with_store(config, data_dir, runtime, work)


@app.command()
def retry(
    call_id: CallId, reason: ReasonOption, config: ConfigOption = None,
    data_dir: DataDirOption = None, runtime: RuntimeOption = "embedded",
) -> None:  # fmt: skip
    """Have the next step of a call tried now."""
    _act("retried", call_id, reason, config, data_dir, runtime)


@app.command()
def reopen(
    call_id: CallId, reason: ReasonOption, config: ConfigOption = None,
    data_dir: DataDirOption = None, runtime: RuntimeOption = "embedded",
) -> None:  # fmt: skip
    """Reopen a call that was closed: it is judged and asked for anew."""
    _act("reopened", call_id, reason, config, data_dir, runtime)


@app.command()
def release(
    call_id: CallId, reason: ReasonOption, config: ConfigOption = None,
    data_dir: DataDirOption = None, runtime: RuntimeOption = "embedded",
) -> None:  # fmt: skip
    """Release a call's recording from quarantine: it is stored as it is."""
    _act("released", call_id, reason, config, data_dir, runtime)


@app.command("mark-absent")
def mark_absent(
    call_id: CallId, reason: ReasonOption, config: ConfigOption = None,
    data_dir: DataDirOption = None, runtime: RuntimeOption = "embedded",
) -> None:  # fmt: skip
    """Close a call as legitimately without a recording, on your word."""

    async def work(opened: Runtime) -> None:
        from ocp_ingest.ingest import operate

        await operate.mark_absent(opened.world, call_id, who=await who(opened), reason=reason)
        typer.echo(f"absent: {call_id}")

    with_store(config, data_dir, runtime, work)
