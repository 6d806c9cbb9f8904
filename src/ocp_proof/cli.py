"""`ocp-proof`: run seeds, replay one, shrink what broke. Exit code 1: a law was broken."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Annotated

import msgspec
import typer

from ocp_proof.many import Total, run_many
from ocp_proof.process import ON_BYTES, ON_EFFECTS
from ocp_proof.run import Ran, run
from ocp_proof.shrink import shrink

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Simulate everything, lose nothing."
)

Calls = Annotated[int, typer.Option(help="Calls in each simulated world.", min=50)]


@app.command("run")
def run_one(
    seed: Annotated[int, typer.Option(help="Which one; the same seed is the same run.")],
    calls: Calls = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    shrunk: Annotated[bool, typer.Option("--shrink", help="Find the few faults at fault.")] = False,
) -> None:
    """Run one seed to its end."""
    ran = run(seed, calls=calls)
    if as_json:
        sys.stdout.write(msgspec.json.encode({**_shown(ran), "broken": ran.broken}).decode() + "\n")
    else:
        typer.echo(" ".join(f"{k}={v}" for k, v in _shown(ran).items()))
    if ran.broken:
        _tell(ran, shrunk=shrunk)
        raise typer.Exit(1)


@app.command()
def many(
    seeds: Annotated[int, typer.Option(help="How many.", min=1)] = 100,
    first: Annotated[int, typer.Option("--from", help="The first one.")] = 1,
    seconds: Annotated[float | None, typer.Option(help="Stop starting new ones then.")] = None,
    jobs: Annotated[int, typer.Option(help="Processes; 0: one for each core.")] = 0,
    calls: Calls = 100,
    go_on: Annotated[bool, typer.Option("--go-on", help="Also after a broken law.")] = False,
) -> None:
    """Run many seeds; print what was hit, how fast, and whatever broke."""
    total = run_many(
        first, seeds, calls=calls, seconds=seconds, jobs=jobs, stop_at_failure=not go_on
    )
    _table(total)
    typer.echo(
        f"{total.seeds} seeds from {first}, {total.calls} calls, {total.faults} faults, "
        f"{total.checks} checks, {total.steps} steps in {total.seconds:.0f} s: "
        f"{total.call_days / max(total.seconds, 0.001):.0f} simulated call-days a second"
    )
    typer.echo("outcomes: " + ", ".join(f"{k} {v}" for k, v in sorted(total.outcomes.items())))
    for ran in total.broken:
        _tell(ran, shrunk=False)
    missed = missing(total)
    if missed:
        typer.echo(f"never hit ({len(missed)}): " + ", ".join(f"{p} {w}" for p, w in missed))
    if total.broken:
        raise typer.Exit(1)


def missing(total: Total) -> list[tuple[str, str]]:
    """Pairs of an effect that was passed and a fault that never struck it."""
    found = []
    for point in sorted(total.passed):
        carries = point.endswith(".bytes")
        for kind, _ in ON_BYTES if carries else ON_EFFECTS:
            if not total.hits[point, kind.value]:
                found.append((point, kind.value))
    return found


def _table(total: Total) -> None:
    by_point: dict[str, Counter[str]] = {}
    for (point, what), times in total.hits.items():
        by_point.setdefault(point, Counter())[what] += times
    for point in sorted(by_point):
        said = ", ".join(f"{what} {n}" for what, n in sorted(by_point[point].items()))
        typer.echo(f"{point:34} {total.passed[point]:9} passes: {said}")


def _shown(ran: Ran) -> dict[str, object]:
    return {
        "seed": ran.seed,
        "calls": ran.calls,
        "days": round(ran.days, 2),
        "faults": len(ran.struck),
        "checks": ran.checks,
        "steps": ran.steps,
        "seconds": round(ran.seconds, 2),
        "digest": ran.digest,
        **{f"outcome_{name}": n for name, n in sorted(ran.outcomes.items())},
    }


def _tell(ran: Ran, *, shrunk: bool) -> None:
    typer.echo(f"BROKEN, seed {ran.seed}: {ran.broken}", err=True)
    if shrunk:
        best, struck = shrink(ran)
        typer.echo(f"with {len(struck)} faults still: {best.broken}", err=True)
        for one in struck:
            typer.echo(f"  {one.point} pass {one.n}: {one.what}", err=True)
    else:
        typer.echo(f"  ocp-proof run --seed {ran.seed} --calls {ran.calls} --shrink", err=True)


def main() -> None:
    """Entry point of the command."""
    app()
