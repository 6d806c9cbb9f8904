"""`ocp-ingest users …`: who may log in at the console of the embedded runtime."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn, TypeVar

import typer

from ocp_ingest.entrypoints.cli.common import (
    ConfigOption,
    DataDirOption,
    Exit,
    JsonOption,
    RuntimeName,
    RuntimeOption,
    load_config,
    print_json,
    stop,
    with_store,
)

if TYPE_CHECKING:
    from ocp_ingest.bootstrap import Embedded, Runtime
    from ocp_ingest.desk.ports import LocalUser, UserBook

T = TypeVar("T")
app = typer.Typer(no_args_is_help=True, help="Who may log in at the console.")

_FILE_BYTES_MAX: Final = 4_096  # a password and a line end; anything longer is another file

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="How they log in.")]
PasswordOption = Annotated[
    Path | None,
    typer.Option("--password-file", help='File with the password ("-": standard input); asks '
                 "without it.", allow_dash=True),
]  # fmt: skip
LobOption = Annotated[
    list[str] | None,
    typer.Option("--lob", help='A line of business that they see; again for more; "*" is all.'),
]
RoleOption = Annotated[str | None, typer.Option("--role", help="viewer, operator or auditor.")]


@app.command("add")
def add_user(
    name: NameArgument,
    role: Annotated[str, typer.Option("--role", help="viewer, operator or auditor.")],
    lob: LobOption = None,
    password_file: PasswordOption = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    runtime: RuntimeOption = "embedded",
) -> None:
    """Add somebody; the first of them opens the console."""
    _embedded_only(runtime)
    password = _password(password_file)

    async def work(opened: Embedded) -> LocalUser:
        from ocp_ingest.adapters.passwords import Passwords
        from ocp_ingest.desk import people
        from ocp_ingest.desk.ports import LocalUser

        user = LocalUser(
            name=name, role=role, lobs=tuple(lob or ()), password=await Passwords().hash(password),
            changed_at_ms=opened.world.clock.now_ms(),
        )  # fmt: skip
        return await people.add(_book(opened), user, opened.config.lob)

    added = _with_users(config, data_dir, work)
    typer.echo(f"added: {added.name}, {added.role}, {_lobs(added)}")


@app.command("list")
def list_users(
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    runtime: RuntimeOption = "embedded",
    as_json: JsonOption = False,
) -> None:
    """List everybody, by name; never a password or its hash."""
    _embedded_only(runtime)

    async def work(opened: Embedded) -> list[LocalUser]:
        return await _book(opened).users()

    found = _with_users(config, data_dir, work)
    for user in found:
        if as_json:
            print_json(_shown(user))
        else:
            state = "" if user.enabled else "  disabled"
            typer.echo(f"{user.name}  {user.role}  {_lobs(user)}{state}")
    if not found and not as_json:
        typer.echo("There is nobody yet: ocp-ingest users add NAME --role operator --lob '*'")


@app.command()
def change(
    name: NameArgument,
    role: RoleOption = None,
    lob: LobOption = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    runtime: RuntimeOption = "embedded",
) -> None:
    """Give somebody another role or other lines of business; ends their sessions."""
    if role is None and not lob:
        stop(Exit.USAGE, "Say what changes: --role, --lob.")
    lobs = tuple(lob) if lob else None
    _change(runtime, config, data_dir, name, "changed", role=role, lobs=lobs)


@app.command()
def disable(
    name: NameArgument,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    runtime: RuntimeOption = "embedded",
) -> None:
    """Let somebody in no more; ends their sessions at once."""
    _change(runtime, config, data_dir, name, "disabled", enabled=False)


@app.command()
def enable(
    name: NameArgument,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    runtime: RuntimeOption = "embedded",
) -> None:
    """Let somebody in again, with the password that they had."""
    _change(runtime, config, data_dir, name, "enabled", enabled=True)


@app.command()
def password(
    name: NameArgument,
    password_file: PasswordOption = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    runtime: RuntimeOption = "embedded",
) -> None:
    """Give somebody a new password; ends their sessions."""
    _embedded_only(runtime)
    _change(runtime, config, data_dir, name, "password changed", word=_password(password_file))


def _change(
    runtime: RuntimeName, config: Path | None, data_dir: Path | None, name: str, said: str,
    *, word: str | None = None, **changes: Any,
) -> None:  # fmt: skip
    _embedded_only(runtime)

    async def work(opened: Embedded) -> LocalUser:
        from ocp_ingest.adapters.passwords import Passwords
        from ocp_ingest.desk import people

        hashed = await Passwords().hash(word) if word is not None else None
        return await people.change(
            _book(opened), name, now_ms=opened.world.clock.now_ms(), password=hashed,
            known_lobs=opened.config.lob, **changes,
        )  # fmt: skip

    changed = _with_users(config, data_dir, work)
    typer.echo(f"{said}: {changed.name}, {changed.role}, {_lobs(changed)}")


# -- what they share ------------------------------------------------------------------------------


def _embedded_only(runtime: RuntimeName) -> None:
    if runtime == "aws":
        stop(
            Exit.USAGE,
            "On AWS people come from the OpenID Connect provider: fill in [console.oidc], and give "
            "groups their rights in [console.oidc.groups.<group>].",
        )


def _with_users(
    config: Path | None, data_dir: Path | None,
    work: Callable[[Embedded], Coroutine[Any, Any, T]],
) -> T:  # fmt: skip
    def on_runtime(opened: Runtime) -> Coroutine[Any, Any, T]:
        from ocp_ingest.bootstrap import Embedded

        assert isinstance(opened, Embedded), "the other runtimes were refused before"
        return work(opened)

    load_config(config, data_dir)  # a wrong configuration is told before a password is asked for
    return with_store(config, data_dir, "embedded", on_runtime)


def _book(opened: Embedded) -> UserBook:
    users = opened.desk.users
    assert users is not None, "the embedded runtime has its own people"
    return users


def _password(file: Path | None) -> str:
    """The new password; checked before the store is opened."""
    from ocp_ingest.adapters.passwords import check
    from ocp_ingest.core.errors import Invalid

    if file is None:
        text = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        text = _read(file)
    try:
        check(text)
    except Invalid as bad:
        _refuse(bad.text)
    return str(text)


def _read(file: Path) -> str:
    try:
        raw = sys.stdin.buffer.read(_FILE_BYTES_MAX + 1) if str(file) == "-" else _start_of(file)
        text = raw.decode()
    except (OSError, UnicodeDecodeError) as bad:
        _refuse(f"The password can't be read from {file}: {bad}.")
    if len(raw) > _FILE_BYTES_MAX:
        _refuse(f"{file} is longer than a password.")
    return text.rstrip("\r\n")


def _start_of(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(_FILE_BYTES_MAX + 1)


def _refuse(text: str) -> NoReturn:
    stop(Exit.USAGE, text)


def _lobs(user: LocalUser) -> str:
    return "every line of business" if "*" in user.lobs else ", ".join(user.lobs)


def _shown(user: LocalUser) -> dict[str, Any]:
    from ocp_ingest.core.calendar import rfc3339

    return {
        "name": user.name, "role": user.role, "lobs": list(user.lobs), "enabled": user.enabled,
        "changed_at": rfc3339(user.changed_at_ms or None),
    }  # fmt: skip
