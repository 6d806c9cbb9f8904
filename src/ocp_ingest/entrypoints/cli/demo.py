"""`ocp-ingest demo`: the platform and the OCP simulator as two processes, one bad day between them.

Real HTTP, real audio, real disk. Domain time is scaled: the day, OCP's watermark, polls and
retention pass `--speed` times as fast; HTTP and token lifetimes do not. The exit code is 0 only
if the conservation law holds and every call ended as the simulator's ledger says, byte for byte.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ocp_ingest.entrypoints.cli.common import Exit, JsonOption, print_json, stop

# One domain hour per real second: the default day and its reconciliation take about a minute.
SPEED = 3_600.0


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(demo)


def demo(
    calls: Annotated[int, typer.Option(help="How many calls.", min=1, max=100_000)] = 200,
    seed: Annotated[int, typer.Option(help="Which calls, and what goes wrong with them.")] = 1,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Kept; default: ocp-data/demo, made anew.")
    ] = None,
    port: Annotated[int, typer.Option(help="Port of the platform; 0 takes a free one.")] = 0,
    as_json: JsonOption = False,
    keep_serving: Annotated[
        bool, typer.Option("--keep-serving", help="Leave the platform up until Ctrl-C.")
    ] = False,
    speed: Annotated[float, typer.Option(help="Domain seconds per real second.")] = SPEED,
    audio: Annotated[
        Path | None, typer.Option(help="Folder of WAV speech; default: the packaged clips.")
    ] = None,
) -> None:
    """Run one bad day of calls through the whole platform and check every byte."""
    from ocp_ingest.demo.run import DemoError, Options, run

    options = Options(
        calls=calls, seed=seed, data_dir=data_dir, port=port, quiet=as_json,
        keep_serving=keep_serving, speed=speed, audio=audio,
    )  # fmt: skip
    try:
        result = run(options)
    except DemoError as failed:
        stop(Exit.USAGE if failed.usage else Exit.FAILED, str(failed))
    if as_json:
        print_json(result.summary)
    if not result.good:
        raise typer.Exit(int(Exit.FAILED))
