"""`ocp-ingest reconcile …`: stage 2 by hand."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ocp_ingest.entrypoints.cli.common import (
    ConfigOption,
    DataDirOption,
    Exit,
    JsonOption,
    RuntimeOption,
    print_json,
    stop,
    with_store,
)

if TYPE_CHECKING:
    from ocp_ingest.bootstrap import Runtime
    from ocp_ingest.reconcile.plan import GroupPlan

app = typer.Typer(no_args_is_help=True, help="Find, plan, export and close missing calls.")


_NO_OCP = "No Export API is configured: fill the section [ocp]."


@app.command()
def run(
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    runtime: RuntimeOption = "embedded",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, do nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Detect what is missing, and export it until nothing is due any more.

    On AWS the state machine exports, and this command says what was started. A dry run plans here
    and writes nothing, on either runtime.
    """
    if dry_run:
        plans = with_store(config, data_dir, runtime, _plans)
        _show_plans(plans, as_json)
        return
    if runtime == "aws":
        _say_started(with_store(config, data_dir, runtime, _ask_detect), as_json)
        return
    swept = with_store(config, data_dir, runtime, _sweep)
    if as_json:
        print_json(swept)
    else:
        typer.echo(", ".join(f"{name}: {value}" for name, value in swept.items()))
    ended = swept["ended"]
    if ended.get("refused"):
        stop(Exit.FAILED, "OCP refused an export: see `ocp-ingest reconcile status`.")
    if ended.keys() - _WELL_ENDED:
        stop(Exit.TRY_AGAIN, "Not every export could be had: see `ocp-ingest reconcile status`.")


# Ends of export jobs after which there is nothing to try again by hand.
_WELL_ENDED = frozenset({"done", "bisected"})
# Jobs of one run that are counted by their end.
_JOBS_MAX = 1_000


async def _plans(opened: Runtime) -> list[GroupPlan]:
    from ocp_ingest.reconcile.dry_run import dry_run

    config = opened.config
    return await dry_run(
        opened.world, opened.book, config.ocp.groups, per_call=config.reconcile.per_call
    )


def _show_plans(plans: list[GroupPlan], as_json: bool) -> None:
    from ocp_ingest.core.calendar import rfc3339

    if as_json:
        print_json([_plan_view(p) for p in plans])
        return
    if not plans:
        typer.echo("Nothing is due to be asked of OCP now.")
    for made in plans:
        total = sum(len(w.call_ids) for w in made.plan.windows)
        typer.echo(f"{made.plan.ocp_group}: {total} calls in {len(made.plan.windows)} exports, "
                   f"{made.plan.predicted_s:.0f} s predicted")  # fmt: skip
        if made.closed is not None:
            typer.echo(f"  closed until {rfc3339(made.closed.until_ms)}: {made.closed.why}")
        for number, window in enumerate(made.plan.windows, 1):
            typer.echo(
                f"  {number}. {rfc3339(window.from_ms)} to {rfc3339(window.to_ms)}  "
                f"{len(window.call_ids)} calls  {window.predicted_s:.0f} s  {window.why}"
            )
        for deferred in made.plan.deferred:
            typer.echo(f"  later: {deferred.call_id}: {deferred.why}")


def _plan_view(made: GroupPlan) -> dict[str, Any]:
    from ocp_ingest.core.calendar import rfc3339

    return {
        "ocp_group": made.plan.ocp_group,
        "predicted_s": made.plan.predicted_s,
        "closed": made.closed.why if made.closed else None,
        "windows": [
            {
                "from": rfc3339(w.from_ms),
                "to": rfc3339(w.to_ms),
                "calls": list(w.call_ids),
                "predicted_s": w.predicted_s,
                "urgent": w.urgent,
                "why": w.why,
            }
            for w in made.plan.windows
        ],
        "deferred": [{"call": d.call_id, "why": d.why} for d in made.plan.deferred],
    }


async def _ask_detect(opened: Runtime, event: dict[str, Any] | None = None) -> dict[str, Any]:
    """Lets the detect function look now, and waits for its answer."""
    from ocp_ingest.bootstrap_aws import AwsRuntime
    from ocp_ingest.core.errors import Transient
    from ocp_ingest.entrypoints.platform_aws import DETECT_S_MAX, ask_detect

    assert isinstance(opened, AwsRuntime)
    said = await ask_detect(opened, event or {}, s_max=DETECT_S_MAX)
    if said is None:
        raise Transient("The detect function has not ended yet: see `reconcile status`.")
    return said


async def _ask_census(opened: Runtime) -> dict[str, Any]:
    return await _ask_detect(opened, {"census": True})


def _say_started(said: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(said)
        return
    for name, value in said.items():
        if name != "started":
            typer.echo(f"{name}: {value}")
    for execution in said.get("started", []):
        typer.echo(f"started: {execution}")
    typer.echo("How they end: `ocp-ingest reconcile status`.")


async def _sweep(opened: Runtime) -> dict[str, Any]:
    from ocp_ingest import bootstrap
    from ocp_ingest.ingest.pipeline import drain
    from ocp_ingest.reconcile.sweep import Sweeper

    began_ms = opened.world.clock.now_ms()
    async with bootstrap.exports(opened) as stage2:
        if stage2 is None:
            stop(Exit.USAGE, _NO_OCP)
        sweeper = Sweeper(opened.world, stage2)
        try:
            swept = await sweeper.sweep()
            await sweeper.idle()
            await drain(opened.world)
        finally:
            await sweeper.stop()
    jobs = await opened.book.jobs(limit=_JOBS_MAX)
    ended = Counter(job.end.value for job in jobs if job.end and (job.finished_at or 0) >= began_ms)
    return {
        "looked_at": swept.looked_at,
        "resumed": swept.resumed,
        "closed": swept.closed,
        "asked": swept.asked,
        "ended": dict(ended),
    }


@app.command()
def status(
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    runtime: RuntimeOption = "embedded",
    as_json: JsonOption = False,
) -> None:
    """Show groups, their slots, and the latest export jobs."""

    async def work(opened: Runtime) -> dict[str, Any]:
        import msgspec

        groups = await opened.book.groups()
        jobs = await opened.book.jobs(limit=20)
        waiting = await opened.world.calls.pending_groups()
        return {
            "waiting": waiting,
            "groups": [msgspec.to_builtins(g) for g in groups],
            "jobs": [
                {
                    "job_key": job.job_key,
                    "job_id": job.export_id,
                    "execution": job.execution_ref,
                    "state": job.state.value,
                    "end": job.end.value if job.end else None,
                    "why": job.end_why,
                    "calls": len(job.call_ids),
                    "polls": job.polls,
                    "files": job.file_count,
                }
                for job in jobs
            ],
        }

    said = with_store(config, data_dir, runtime, work)
    if as_json:
        print_json(said)
        return
    for group, count in sorted(said["waiting"].items()):
        typer.echo(f"{group or '(group unknown)'}: {count} calls with open work")
    for job in said["jobs"]:
        state = job["end"] or job["state"]
        typer.echo(f"{job['job_key']}  {state}  {job['calls']} calls  {job['why']}")


@app.command()
def census(
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    runtime: RuntimeOption = "embedded",
    as_json: JsonOption = False,
) -> None:
    """Count, from OCP's side, the calls of every complete hour not counted yet.

    On AWS the state machine counts, and this command says what was started.
    """
    if runtime == "aws":
        _say_started(with_store(config, data_dir, runtime, _ask_census), as_json)
        return

    async def work(opened: Runtime) -> list[dict[str, Any]]:
        from dataclasses import replace

        import msgspec

        from ocp_ingest import bootstrap
        from ocp_ingest.reconcile.census import state
        from ocp_ingest.reconcile.sweep import Sweeper

        async with bootstrap.exports(opened) as stage2:
            if stage2 is None:
                stop(Exit.USAGE, _NO_OCP)
            # Asked for by hand it is taken, also where it is switched off as a daily habit.
            sweeper = Sweeper(opened.world, replace(stage2, census=True))
            try:
                groups = await sweeper.take_census()
                await sweeper.idle()
                states = [await state(stage2, group) for group in groups]
            finally:
                await sweeper.stop()
        return [
            {"ocp_group": g, **msgspec.to_builtins(s)} for g, s in zip(groups, states, strict=True)
        ]

    said = with_store(config, data_dir, runtime, work)
    if as_json:
        print_json(said)
    else:
        for line in said:
            typer.echo(f"{line['ocp_group']}: {line['calls']} lines read, {line['news']} were news")
    if any(line["failures"] for line in said):
        stop(Exit.TRY_AGAIN, "Not every hour could be counted: see `ocp-ingest reconcile status`.")
