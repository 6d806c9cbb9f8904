"""`ocp-proof`: run seeds, replay one, shrink what broke. Exit code 1: a law was broken."""

from __future__ import annotations

import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from ocp_proof.effects import ALL_KINDS, EFFECTS, PAIRS_SEEDS_MIN
from ocp_proof.many import Total, run_many
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
    seeds: Annotated[int, typer.Option(help="How many at most.", min=1)] = 100,
    first: Annotated[int, typer.Option("--from", help="The first one.")] = 1,
    seconds: Annotated[float | None, typer.Option(help="Stop starting new ones then.")] = None,
    jobs: Annotated[int, typer.Option(help="Processes; 0: one for each core.")] = 0,
    calls: Calls = 100,
    go_on: Annotated[bool, typer.Option("--go-on", help="Also after a broken law.")] = False,
    pairs: Annotated[
        bool | None,
        typer.Option(
            "--pairs/--no-pairs",
            help=f"Fail when a fault never struck an effect; default: from {PAIRS_SEEDS_MIN} seeds",
        ),
    ] = None,
    as_json: Annotated[
        Path | None, typer.Option("--json", help="Append the figures to this file, as one line.")
    ] = None,
) -> None:
    """Run many seeds; print what was hit, how fast, and whatever broke."""
    total = run_many(
        first, seeds, calls=calls, seconds=seconds, jobs=jobs, stop_at_failure=not go_on
    )
    for line in table(total):
        typer.echo(line)
    typer.echo(
        f"{total.seeds} seeds from {first}, {total.calls} calls, {total.faults} faults, "
        f"{total.checks} checks, {total.steps} steps in {total.seconds:.0f} s: "
        f"{total.call_days_per_s:.0f} simulated call-days a second"
    )
    typer.echo("outcomes: " + ", ".join(f"{k} {v}" for k, v in sorted(total.outcomes.items())))
    if as_json is not None:
        with as_json.open("a", encoding="utf-8") as file:
            file.write(msgspec.json.encode(figures(total, first)).decode() + "\n")
    for ran in total.broken:
        _tell(ran, shrunk=False)
    missed = total.missing
    if missed:
        typer.echo(f"never hit ({len(missed)}): " + ", ".join(f"{p} {w}" for p, w in missed))
    demanded = total.seeds >= PAIRS_SEEDS_MIN if pairs is None else pairs
    if total.broken or (missed and demanded):
        raise typer.Exit(1)


@app.command()
def effects() -> None:
    """Print which fault can strike which effect, as a table for the documentation."""
    typer.echo("\n".join(markdown()))


def markdown() -> list[str]:
    """The table of effects and faults."""
    lines = [f"| Effect | {' | '.join(ALL_KINDS)} |", "|---" * (len(ALL_KINDS) + 1) + "|"]
    for effect in sorted(EFFECTS):
        cells = ["x" if kind in EFFECTS[effect] else "" for kind in ALL_KINDS]
        lines.append(f"| `{effect}` | {' | '.join(cells)} |")
    return lines


def figures(total: Total, first: int) -> dict[str, object]:
    """What a run gave, for the ledger of runs."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": _commit(),
        "command": " ".join(["ocp-proof", *sys.argv[1:]]),
        "from": first,
        "seeds": total.seeds,
        "calls": total.calls,
        "call_days": round(total.call_days),
        "faults": total.faults,
        "checks": total.checks,
        "steps": total.steps,
        "seconds": round(total.seconds),
        "call_days_per_s": round(total.call_days_per_s),
        "broken": [{"seed": ran.seed, "law": ran.broken} for ran in total.broken],
        "outcomes": dict(sorted(total.outcomes.items())),
        "pairs_never_hit": [f"{effect} {kind}" for effect, kind in total.missing],
    }


def _commit() -> str:
    """The commit that was run, with a plus when files differed from it; "" outside of git."""
    git = shutil.which("git")
    if git is None:
        return ""
    told = [
        subprocess.run([git, *args], capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603 - fixed arguments
        for args in (("rev-parse", "--short", "HEAD"), ("status", "--porcelain", "src"))
    ]  # fmt: skip
    return told[0] + ("+" if told[1] else "")


def table(total: Total) -> list[str]:
    """How often each fault struck each effect; a dot where it can't."""
    width = max(map(len, EFFECTS))
    heads = [kind[:9] for kind in ALL_KINDS]
    lines = [" ".join([" " * width, f"{'passes':>9}", *(f"{head:>9}" for head in heads)])]
    for effect in sorted(EFFECTS):
        cells = [
            f"{total.hits[effect, kind] if kind in EFFECTS[effect] else '.':>9}"
            for kind in ALL_KINDS
        ]
        lines.append(" ".join([f"{effect:{width}}", f"{total.passed[effect]:9}", *cells]))
    return lines


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
        "trace": ran.trace,
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
