"""`ocp-ingest smoke`: after a deployment, one synthetic call end to end."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ocp_ingest.entrypoints.cli.common import (
    ConfigOption,
    DataDirOption,
    Exit,
    JsonOption,
    load_config,
    print_json,
    stop,
)


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(smoke)


def smoke(
    url: Annotated[
        str | None, typer.Option(help="The platform; default: [server] of the configuration.")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(help="A token with scopes ingest and read; - reads standard input."),
    ] = None,
    token_url: Annotated[
        str | None, typer.Option(help="Token endpoint; default: /oauth2/token of the platform.")
    ] = None,
    client_id: Annotated[str | None, typer.Option(help="Client for a token of its own.")] = None,
    client_secret_file: Annotated[
        Path | None, typer.Option(help="File with that client's secret.")
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds until it must be stored.", min=1)] = 120,
    ocp_group: Annotated[
        str, typer.Option(help="OCP group of the call; default: the token's.")
    ] = "",
    entry_app: Annotated[
        str, typer.Option(help="Application of the call, for routing it to a line of its own.")
    ] = "ocp-ingest-smoke",
    attached: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE of attached data, where rules require it.")
    ] = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send one synthetic call through a running platform, and wait until it is stored.

    The call is counted and kept like a real one; its id begins with smoke-. Beside an embedded
    platform nothing need be said: the address is the configuration's, the token its own issuer's.
    """
    import secrets

    from ocp_ingest.entrypoints.smoke import Options, run

    where, own = url or _address(config, data_dir), ""
    if token == "-":  # noqa: S105 - a dash is no token
        own = sys.stdin.readline().strip()
    elif token is not None:
        own = token
    elif client_id is None:
        own = _own_token(config, data_dir)
    elif client_secret_file is None:
        stop(Exit.USAGE, "--client-id needs --client-secret-file.")
    options = Options(
        url=where, token=own, token_url=token_url or "", client_id=client_id or "",
        client_secret=_secret(client_secret_file), timeout_s=timeout, ocp_group=ocp_group,
        entry_app=entry_app, attached=dict(_pair(text) for text in attached or ()),
    )  # fmt: skip
    if not where.startswith(("http://", "https://")):
        stop(Exit.USAGE, "--url must begin with https:// or http://.")
    report = run(
        options, suffix=secrets.token_hex(4),
        said=(lambda _: None) if as_json else typer.echo,
    )  # fmt: skip
    if as_json:
        print_json(report.view())
    elif report.good:
        typer.echo(f"The call {report.call_id} went all the way.")
    if not report.good:
        stop(Exit.FAILED, f"{report.failed} (call {report.call_id})")


def _address(config: Path | None, data_dir: Path | None) -> str:
    server = load_config(config, data_dir).server
    host = f"[{server.host}]" if ":" in server.host else server.host
    return f"http://{host}:{server.port}"


def _own_token(config: Path | None, data_dir: Path | None) -> str:
    """A token of the built-in issuer, which whoever can read its key may have."""
    import time

    from ocp_ingest.adapters.tokens.issuer import issue_token
    from ocp_ingest.core.errors import OcpIngestError

    loaded = load_config(config, data_dir)
    if loaded.auth.issuer:
        stop(Exit.USAGE, f"Tokens are issued by {loaded.auth.issuer}: give --client-id and "
             "--client-secret-file, or --token.")  # fmt: skip
    try:
        return issue_token(
            Path(loaded.data.dir), 3600, audience=loaded.auth.audience, now_s=time.time,
            scopes=("ingest", "read"),
        )  # fmt: skip
    except OcpIngestError as failed:
        stop(Exit.FAILED, failed.text)


def _secret(file: Path | None) -> str:
    from ocp_ingest.adapters.tokens.secrets import read_secret
    from ocp_ingest.core.errors import Invalid

    try:
        return read_secret(file, "--client-secret-file") if file is not None else ""
    except Invalid as bad:
        stop(Exit.USAGE, bad.text)


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        stop(Exit.USAGE, f"--attached is KEY=VALUE, not {text!r}.")
    return key, value
