"""`ocp-ingest serve | work`: the processes of either runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ocp_ingest.entrypoints.cli.common import (
    ConfigOption,
    DataDirOption,
    Exit,
    RuntimeOption,
    load_config,
    needs_aws,
    stop,
)

if TYPE_CHECKING:
    from ocp_ingest.config_model import Config

HostOption = Annotated[str | None, typer.Option(help="Address to listen on.")]
PortOption = Annotated[int | None, typer.Option(help="Port; 0 takes a free one.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(serve)
    app.command()(work)


def serve(
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    runtime: RuntimeOption = "embedded",
    host: HostOption = None,
    port: PortOption = None,
) -> None:
    """Serve the ingestion API, process recordings, reconcile; until it is told to stop.

    On AWS this serves the API alone: recordings are processed by `work`, and functions reconcile.
    """
    from ocp_ingest.entrypoints import platform

    if runtime == "aws":
        needs_aws()
        from ocp_ingest.entrypoints import platform_aws

        _run(platform_aws.run_api, config, data_dir, host, port)
    else:
        _run(platform.run, config, data_dir, host, port)


def work(
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    runtime: RuntimeOption = "embedded",
    host: HostOption = None,
    port: PortOption = None,
) -> None:
    """Process recordings and download exports, until it is told to stop (AWS only).

    Host and port are of the health check. The embedded runtime has its workers inside `serve`.
    """
    if runtime != "aws":
        stop(Exit.USAGE, "The embedded runtime works inside `ocp-ingest serve`; --runtime aws?")
    needs_aws()
    from ocp_ingest.entrypoints import platform_aws

    _run(platform_aws.run_worker, config, data_dir, host, port)


def _run(
    process: Callable[[Config], None], config: Path | None, data_dir: Path | None,
    host: str | None, port: int | None,
) -> None:  # fmt: skip
    from ocp_ingest.core.errors import OcpIngestError
    from ocp_ingest.telemetry import set_up_logs

    loaded = load_config(config, data_dir, server={"host": host, "port": port})
    set_up_logs(loaded.log.format, loaded.log.level)
    try:
        process(loaded)
    except OcpIngestError as failed:
        stop(Exit.FAILED, failed.text)
    except OSError as failed:
        stop(Exit.FAILED, f"The server can't start: {failed.strerror or failed}.")
