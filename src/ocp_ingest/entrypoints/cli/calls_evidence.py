"""`ocp-ingest calls evidence`: the evidence pack of a call."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ocp_ingest.entrypoints.cli.calls import CallId
from ocp_ingest.entrypoints.cli.common import (
    ConfigOption,
    DataDirOption,
    RuntimeOption,
    who,
    with_store,
)
from ocp_ingest.entrypoints.cli.evidence_files import evidence_of, write_blocks, write_files

if TYPE_CHECKING:
    from ocp_ingest.bootstrap import Runtime
    from ocp_ingest.evidence.pack import UrlOf

OutOption = Annotated[
    Path, typer.Option("--out", help="An empty folder, or one to be made; or a new file *.zip.")
]


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("evidence")(evidence)


def evidence(
    call_id: CallId,
    out: OutOption,
    reason: Annotated[
        str, typer.Option("--reason", help="Why; kept in the call's journal.")
    ] = "an evidence pack was asked for",
    audio: Annotated[bool, typer.Option(help="Put the recordings themselves into it.")] = True,
    raw: Annotated[bool, typer.Option(help="Put the vendor's messages as they came.")] = True,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    runtime: RuntimeOption = "embedded",
) -> None:
    """Write a call's evidence pack: what a third party checks offline with openssl and sha256sum.

    It holds personal data: the recordings, and the vendor's messages as they came.
    """

    async def work(opened: Runtime) -> None:
        from ocp_ingest.core.errors import NotFound
        from ocp_ingest.desk.access import accessed
        from ocp_ingest.evidence import sealer
        from ocp_ingest.evidence.pack import Options, pack, zipped

        ours = evidence_of(opened)
        if await opened.world.calls.load(call_id) is None:
            raise NotFound(f"There is no call {call_id} here.", call_id=call_id)
        by = await who(opened)
        await accessed(opened.world, call_id, who=by, what="evidence", reason=reason)
        await sealer.seal(ours)
        files = pack(ours, call_id, Options(audio=audio, raw=raw), _url_of(opened))
        if out.suffix == ".zip":
            await write_blocks(zipped(files, ours.real.now_ms()), out)
        else:
            await write_files(files, out)
        typer.echo(f"{out}: check it with its verify.sh")

    with_store(config, data_dir, runtime, work)


def _url_of(opened: Runtime) -> UrlOf:
    """Where an object can be had: on AWS by HTTPS, for who may; else it is only named."""
    from ocp_ingest.evidence.pack import urn

    section = opened.config.aws
    if not hasattr(opened, "aws"):
        return urn
    return lambda bucket, key: (
        f"https://{section.bucket_prefix}{bucket}.s3.{section.region}.amazonaws.com/{key}"
    )
