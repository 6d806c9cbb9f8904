"""`ocp-ingest serve`: the embedded platform in one process."""

from __future__ import annotations

from typing import Annotated

import typer

from ocp_ingest.entrypoints.cli.common import ConfigOption, DataDirOption, Exit, load_config, stop


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(serve)


def serve(
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one.")] = None,
) -> None:
    """Serve the ingestion API, process recordings, reconcile; until it is told to stop."""
    from ocp_ingest.core.errors import OcpIngestError
    from ocp_ingest.entrypoints import platform
    from ocp_ingest.telemetry import set_up_logs

    loaded = load_config(config, data_dir, server={"host": host, "port": port})
    set_up_logs(loaded.log.format, loaded.log.level)
    try:
        platform.run(loaded)
    except OcpIngestError as failed:
        stop(Exit.FAILED, failed.text)
    except OSError as failed:
        stop(Exit.FAILED, f"The server can't start: {failed.strerror or failed}.")
