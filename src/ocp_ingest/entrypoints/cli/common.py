"""What every command shares: options, opening the store, errors to exit codes, output."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, TypeVar

import typer

if TYPE_CHECKING:
    from ocp_ingest.bootstrap import Runtime
    from ocp_ingest.config_model import Config

T = TypeVar("T")
RuntimeName = Literal["embedded", "aws"]


class Exit(IntEnum):
    """Exit codes, the same for every command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    CONFLICT = 4
    TRY_AGAIN = 5


ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="TOML file; default ocp-ingest.toml if there.")
]
DataDirOption = Annotated[
    Path | None, typer.Option("--data-dir", help="Where the embedded runtime keeps everything.")
]
RuntimeOption = Annotated[
    RuntimeName,
    typer.Option(
        "--runtime",
        envvar="OCP_INGEST_RUNTIME",
        help="Where calls are kept: on this machine, or where the section [aws] says.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; kept in the call's journal.")]


def stop(code: Exit, text: str) -> NoReturn:
    """Ends the command with a sentence for whoever ran it."""
    typer.echo(f"ocp-ingest: {text}", err=True)
    raise typer.Exit(int(code))


def load_config(config: Path | None, data_dir: Path | None, **more: Any) -> Config:
    """The configuration with the options of the command line; a wrong one ends the command.

    A data directory that has a configuration of its own (the demo's) is used with it.
    """
    from ocp_ingest import config as reader
    from ocp_ingest.core.errors import Invalid

    if config is None and data_dir is not None and (data_dir / reader.DEFAULT_FILE).exists():
        config = data_dir / reader.DEFAULT_FILE
    overrides: dict[str, Any] = dict(more)
    if data_dir is not None:
        overrides["data"] = {"dir": str(data_dir)}
    try:
        return reader.load(config, overrides=overrides)
    except Invalid as bad:
        stop(Exit.USAGE, bad.text)


def with_store(
    config: Path | None, data_dir: Path | None, runtime: RuntimeName,
    work: Callable[[Runtime], Coroutine[Any, Any, T]],
) -> T:  # fmt: skip
    """Runs `work` on the store of a runtime and turns what it raises into an exit code."""
    import asyncio

    from ocp_ingest.core import errors
    from ocp_ingest.telemetry import set_up_logs

    loaded = load_config(config, data_dir)
    set_up_logs(loaded.log.format, "warning")
    run = _on_aws if runtime == "aws" else _on_this_machine
    try:
        return asyncio.run(run(loaded, work))
    except errors.OcpIngestError as failed:
        stop(exit_of(failed), failed.text)


def folder_of_store(loaded: Config) -> Path:
    """The folder of the embedded store; where none is yet, the command ends."""
    from ocp_ingest import bootstrap

    folder = Path(loaded.data.dir)
    if not (folder / bootstrap.DATABASE_FILE).exists():
        stop(Exit.NOT_FOUND, f"There is no store in {folder}; name one with --data-dir.")
    return folder


async def _on_this_machine(loaded: Config, work: Callable[[Runtime], Coroutine[Any, Any, T]]) -> T:
    from ocp_ingest import bootstrap

    folder_of_store(loaded)
    opened = bootstrap.embedded(loaded)
    try:
        return await work(opened)
    finally:
        opened.close()


async def _on_aws(loaded: Config, work: Callable[[Runtime], Coroutine[Any, Any, T]]) -> T:
    needs_aws()
    from ocp_ingest import bootstrap_aws
    from ocp_ingest.adapters.aws.session import Answered

    try:
        async with bootstrap_aws.open(loaded) as opened:
            return await work(opened)
    except Answered as bad:
        stop(Exit.FAILED, f"AWS answered {bad.code}: is the section [aws] right? See doctor.")


async def who(opened: Runtime) -> str:
    """Whoever runs the command, for the journal: on AWS the role or user that AWS knows."""
    from ocp_ingest.core.errors import OcpIngestError

    if (aws := getattr(opened, "aws", None)) is not None:
        try:
            said = await aws.call("sts", "get_caller_identity", again=True)
            return f"cli:{said['Arn']}"
        except OcpIngestError:
            pass  # the act is allowed or not by the table; a name of this machine does as well
    import getpass

    return f"cli:{getpass.getuser()}"


def needs_aws() -> None:
    """Ends the command where the packages of the AWS runtime are not installed."""
    from importlib.util import find_spec

    if find_spec("aiobotocore") is None:
        stop(Exit.USAGE, "The AWS runtime needs more packages: pip install 'ocp-ingest[aws]'.")


def exit_of(failed: Exception) -> Exit:
    """The exit code of an error's fate."""
    from ocp_ingest.core import errors

    fates = (
        (errors.NotFound, Exit.NOT_FOUND),
        (errors.Conflict, Exit.CONFLICT),
        (errors.Transient, Exit.TRY_AGAIN),
        (errors.Invalid, Exit.USAGE),
    )
    return next((code for kind, code in fates if isinstance(failed, kind)), Exit.FAILED)


def print_json(value: object) -> None:
    """One JSON document on one line of standard output."""
    import msgspec

    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()
