"""`ocp-ingest report …`: certificates of completeness, their check, and the signing key."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from ocp_ingest.entrypoints.cli.evidence_files import evidence_of, write_files

if TYPE_CHECKING:
    from ocp_ingest.bootstrap import Runtime
    from ocp_ingest.evidence.certificate import Certificate

app = typer.Typer(no_args_is_help=True, help="Certificates: what became of a day's calls, signed.")


@app.command()
def completeness(
    date: Annotated[str, typer.Option("--date", help="The day the calls began (yyyy-mm-dd, UTC).")],
    lob: Annotated[str | None, typer.Option("--lob", help="Only this line of business.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="An empty folder, or one to be made.")
    ] = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    runtime: RuntimeOption = "embedded",
    as_json: JsonOption = False,
) -> None:
    """Certify what became of the calls of a day: counts, exceptions, census, Merkle root.

    Without --out the figures are only printed. Exit code 1 when the law does not hold.
    """

    async def work(opened: Runtime) -> Certificate:
        from ocp_ingest.evidence import sealer
        from ocp_ingest.evidence.certificate import Certificate, certificate

        evidence, made = evidence_of(opened), list[Certificate]()
        await sealer.seal(evidence)
        files = certificate(evidence, date, lob, made)
        if out is not None:
            await write_files(files, out)
        else:
            async for file in files:
                async for _ in file.body:
                    continue
        return made[0]

    said = with_store(config, data_dir, runtime, work)
    if as_json:
        print_json({**said.figures, "root": said.root, "leaves": said.leaves})
    else:
        from ocp_ingest.evidence.certificate import report

        typer.echo(report(said.figures, lob))
        typer.echo(f"Merkle root over {said.leaves} calls: {said.root}")
        if out is not None:
            typer.echo(f"{out}: check it with `ocp-ingest report verify`, or its verify.sh")
    if not said.figures["total"]["law_holds"]:
        raise typer.Exit(int(Exit.FAILED))


@app.command("verify")
def verify_certificate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The certificate's folder.")],
    key: Annotated[
        str, typer.Option("--key", help="Id of the signing key, as its owner told you.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Check a certificate offline: signature, hashes, tree and sums."""
    from ocp_ingest.evidence.certificate_check import problems

    if not folder.is_dir():
        stop(Exit.NOT_FOUND, f"There is no folder {folder}.")
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    found = problems(lambda name: (folder / name).read_bytes(), names, key)
    if as_json:
        print_json({"good": not found, "problems": found})
    else:
        for problem in found:
            typer.echo(problem)
        typer.echo("BAD" if found else "GOOD")
    if found:
        raise typer.Exit(int(Exit.FAILED))


@app.command("key")
def signing_key(
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    runtime: RuntimeOption = "embedded",
    as_json: JsonOption = False,
) -> None:
    """Print the public key that signs now, and its id: publish both where others can find them."""

    async def work(opened: Runtime) -> None:
        from ocp_ingest.evidence.keys import keep_key, pem

        evidence = evidence_of(opened)
        ident = await keep_key(evidence)
        public = pem(await evidence.signer.public_key()).decode()
        if as_json:
            print_json({"key": ident, "public_key": public})
        else:
            typer.echo(f"{public}\n{ident}")

    with_store(config, data_dir, runtime, work)
