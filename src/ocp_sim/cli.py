"""`ocp-sim`: the simulator as a process.

`serve` prints one line of JSON on standard output once it listens: {"event": "sim.ready", "url",
"port", "clock_origin_ms", "clock_scale", "clock_real_origin"}. The log goes to standard error.
"""

import asyncio
import json
import logging
import signal
import sys
import time
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import structlog
import typer
from msgspec.structs import replace

from ocp_sim import config
from ocp_sim.clock import ScaledClock

HOUR_MS = 3_600_000
SETTLE_H = 6  # a fast clock starts so far back that the day and its reconciliation are past

T = TypeVar("T", bound=msgspec.Struct)

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def _root() -> None:
    """A simulator of Omilia Cloud Platform."""


@app.command()
def serve(
    *,
    config_file: Annotated[Path | None, typer.Option("--config", help="TOML file.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one.")] = None,
    calls: Annotated[int | None, typer.Option(help="How many calls.")] = None,
    seed: Annotated[int | None, typer.Option(help="Which calls.")] = None,
    hours: Annotated[float | None, typer.Option(help="Span of the calls, domain hours.")] = None,
    target: Annotated[str | None, typer.Option(help="Receiver's base URL.")] = None,
    token_url: Annotated[str | None, typer.Option(help="Receiver's token endpoint.")] = None,
    client_id: Annotated[str | None, typer.Option(envvar="OCP_SIM_CLIENT_ID")] = None,
    client_secret: Annotated[str | None, typer.Option(envvar="OCP_SIM_CLIENT_SECRET")] = None,
    public_url: Annotated[str | None, typer.Option(help="How the receiver reaches us.")] = None,
    audio: Annotated[Path | None, typer.Option(help="Folder of speech clips.")] = None,
    calm: Annotated[bool, typer.Option("--calm", help="Nothing goes wrong.")] = False,
    autostart: Annotated[bool | None, typer.Option(help="Push at once, or when told.")] = None,
    clock_origin_ms: Annotated[int | None, typer.Option(help="Domain time at the origin.")] = None,
    clock_scale: Annotated[float, typer.Option(help="Domain seconds per real second.")] = 1.0,
    clock_real_origin: Annotated[
        float | None, typer.Option(help="Real epoch seconds of the origin.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Log what is normal, too.")] = False,
) -> None:
    """Serve OCP's API and push a day of calls."""
    _set_up_log(verbose)
    try:
        settings = config.read(config_file) if config_file else config.Settings()
        top = {"host": host, "port": port, "calls": calls, "seed": seed, "public_url": public_url}
        push = {
            "target": target,
            "token_url": token_url,
            "client_id": client_id,
            "client_secret": client_secret,
            "autostart": autostart,
        }
        settings = _with(
            settings,
            **top,
            audio_dir=str(audio) if audio else None,
            push=_with(settings.push, **push),
            world=_with(settings.world, hours=hours, faults=config.CALM if calm else None),
            export_faults=config.CALM_EXPORTS if calm else None,
        )
        clock = _clock(settings, clock_origin_ms, clock_scale, clock_real_origin)
        asyncio.run(_serve(settings, clock))
    except (ValueError, OSError) as wrong:
        typer.echo(f"ocp-sim: {wrong}", err=True)
        raise typer.Exit(2) from None


def main() -> None:
    """Entry point of the command."""
    app()


async def _serve(settings: config.Settings, clock: ScaledClock) -> None:
    from ocp_sim.server import start
    from ocp_sim.simulator import Simulator

    sim = Simulator(settings, clock)
    runner = await start(sim)
    ready = {
        "event": "sim.ready",
        "url": sim.public_url,
        "port": runner.addresses[0][1],
        "clock_origin_ms": clock.origin_ms,
        "clock_scale": clock.scale,
        "clock_real_origin": clock.real_origin_s,
    }
    typer.echo(json.dumps(ready))
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await stopped.wait()
    await runner.cleanup()


def _clock(
    settings: config.Settings, origin_ms: int | None, scale: float, real_origin_s: float | None
) -> ScaledClock:
    real_s = time.time() if real_origin_s is None else real_origin_s
    if origin_ms is None:
        origin_ms = int(real_s * 1000)
        if scale > 1:
            back_ms = int((settings.world.hours + SETTLE_H) * HOUR_MS)
            origin_ms = (origin_ms - back_ms) // HOUR_MS * HOUR_MS
    return ScaledClock(origin_ms, scale, real_s)


def _with(settings: T, **given: Any) -> T:
    return replace(settings, **{key: value for key, value in given.items() if value is not None})


def _set_up_log(verbose: bool) -> None:
    level = logging.INFO if verbose else logging.WARNING
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
