"""Reads the configuration: one TOML file, then `OCP_INGEST_*` variables, then it is checked whole.

Rules
1. `OCP_INGEST_SERVER__PORT=9000` is `port` in `[server]`; names nest by a double underscore and
   are compared without case. Lists and tables in a variable are written as in TOML.
2. A key that is not known is refused by its name: a typing mistake must not become a default.
3. What belongs together is checked by config_checks.
4. With `aws.secret_arn` the secrets are laid over the file and the variables, and only the whole
   is checked: reading checks types and names, the AWS runtime lays them and checks the rest.
"""

from __future__ import annotations

import os
import re
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from ocp_ingest.adapters.ocp import settings as ocp_settings
from ocp_ingest.adapters.tokens.secrets import read_or_make, read_secret
from ocp_ingest.config_checks import check
from ocp_ingest.config_model import Config
from ocp_ingest.core.errors import Invalid
from ocp_ingest.core.settings import Settings

DEFAULT_FILE: Final = "ocp-ingest.toml"
ENV_PREFIX: Final = "OCP_INGEST_"
# Names the file itself; it is no key of it.
ENV_FILE: Final = "OCP_INGEST_CONFIG"
# Which runtime a command uses; no key either, since both read the same file.
ENV_RUNTIME: Final = "OCP_INGEST_RUNTIME"
NUMBER_KEY_FILE: Final = "number.key"
# What the secret's object calls the key for callers' numbers; every other name is a key of ours.
NUMBER_KEY: Final = "number_key"
_NUMBER_KEY_BYTES: Final = 32


def load(
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Config:
    """The configuration; without a file, the defaults. Raises Invalid, naming the key.

    `path` None: what `OCP_INGEST_CONFIG` names, else `ocp-ingest.toml` here if there is one.
    `overrides` are options of a command line, nested like the file; they win.
    """
    environ = os.environ if environ is None else environ
    tree = _read(path, environ)
    for name in sorted(environ):
        if name.startswith(ENV_PREFIX) and name not in (ENV_FILE, ENV_RUNTIME):
            _put_variable(tree, name, environ[name])
    _join(tree, overrides or {})
    return parse(tree)


def parse(tree: Mapping[str, Any]) -> Config:
    """A configuration from plain values, checked. Raises Invalid, naming the key.

    Where secrets are still to come (rule 5), what belongs together is checked by `with_secrets`.
    """
    config = _convert(tree)
    if not config.aws.secret_arn:
        require(config)
    return config


def with_secrets(config: Config, secrets: Mapping[str, Any]) -> Config:
    """The configuration with secrets laid over it, checked. Raises Invalid, naming the key.

    `secrets` are {dotted key: value}, as in the object that `aws.secret_arn` holds; no value gets
    into an error's text.
    """
    tree: dict[str, Any] = msgspec.to_builtins(config)
    tree["policy"].pop("stage2", None)  # [stage2] is where those are
    for key, value in secrets.items():
        if key != NUMBER_KEY:
            _put_secret(tree, key, value)
    try:
        laid = _convert(tree)
    except Invalid as bad:
        # msgspec shows a word that is none of the allowed ones; here it may be a misplaced secret.
        text = _SHOWN_VALUE.sub("it is none of the allowed words.", bad.text)
        raise Invalid(f"{text} (with the secrets of `aws.secret_arn`)") from None
    require(laid)
    return laid


_SHOWN_VALUE: Final = re.compile(r"Invalid enum value .*", re.DOTALL)


def _put_secret(tree: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    held: Any = tree
    for step in sections:
        held = held.setdefault(step, {}) if isinstance(held, dict) else None
    if not isinstance(held, dict) or not sections:
        raise Invalid(f"The secret of `aws.secret_arn` has `{key}`, which is no key.")
    held[last] = value


def require(config: Config) -> None:
    """Raises Invalid, naming each key, when something is half-set or contradictory."""
    problems = check(config)
    if problems:
        raise Invalid("The configuration is not complete:\n- " + "\n- ".join(problems))


def _convert(tree: Mapping[str, Any]) -> Config:
    if "stage2" in tree.get("policy", {}):
        raise Invalid("`policy.stage2` is not a key: those belong in the section [stage2].")
    try:
        return msgspec.convert(tree, Config)
    except msgspec.ValidationError as bad:
        raise Invalid(f"The configuration is wrong: {_key_words(str(bad))}") from None


def _read(path: Path | None, environ: Mapping[str, str]) -> dict[str, Any]:
    named = path or (Path(environ[ENV_FILE]) if environ.get(ENV_FILE) else None)
    file = named or Path(DEFAULT_FILE)
    if named is None and not file.exists():
        return {}
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except OSError as bad:
        raise Invalid(f"The configuration file {file} can't be read: {bad.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as bad:
        raise Invalid(f"The configuration file {file} is not TOML: {bad}.") from None


def _join(tree: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Puts options over the tree; those that were not given are None."""
    for key, value in more.items():
        if isinstance(value, Mapping):
            below = tree.setdefault(key, {})
            if isinstance(below, dict):
                _join(below, value)
        elif value is not None:
            tree[key] = value


_KEY_PATH: Final = re.compile(r" - at `\$\.?([^`]*)`")


def _key_words(message: str) -> str:
    """msgspec's message with the key in our words."""
    found = _KEY_PATH.search(message)
    text = _KEY_PATH.sub("", message).replace("Object", "The section").rstrip(".")
    # msgspec cannot say which entry of a table is meant; the key's own name is in the sentence.
    return f"`{found.group(1)}`: {text}." if found and found.group(1) else f"{text}."


# -- environment ---------------------------------------------------------------------------------


def _put_variable(tree: dict[str, Any], name: str, text: str) -> None:
    steps = [s.lower() for s in name.removeprefix(ENV_PREFIX).split("__")]
    held: Any = tree
    kind: Any = Config
    for number, step in enumerate(steps):
        kind, key = _step(kind, step, held, name)
        if number == len(steps) - 1:
            held[key] = _value(text, kind, name)
            return
        held = held.setdefault(key, {})
        if not isinstance(held, dict):
            raise Invalid(f"{name} names no key: `{key}` is not a section.")


def _step(kind: Any, step: str, held: dict[str, Any], name: str) -> tuple[Any, str]:
    """The type below `kind` under `step`, and the key as it is spelt."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = typing.get_type_hints(kind)
        if step in hints:
            return hints[step], step
        raise Invalid(f"{name} names no key: `{step}` is not known in {kind.__name__}.")
    if typing.get_origin(kind) is dict:
        same = [key for key in held if key.lower() == step]
        return typing.get_args(kind)[1], same[0] if same else step
    raise Invalid(f"{name} names no key: nothing is below `{step}`.")


def _value(text: str, kind: Any, name: str) -> Any:
    if _is_text(kind):
        return text
    if text.lower() in ("true", "false"):
        text = text.lower()
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        raise Invalid(f'{name} must be written as a TOML value: a number, true, ["a"].') from None


def _is_text(kind: Any) -> bool:
    if typing.get_origin(kind) is typing.Literal:
        return all(isinstance(v, str) for v in typing.get_args(kind))
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return any(_is_text(k) for k in typing.get_args(kind))
    return kind is str


# -- what the pipeline needs of it ---------------------------------------------------------------


def settings(config: Config, number_key: bytes = b"") -> Settings:
    """The core's settings; makes the key for caller numbers in the data dir at first start.

    `number_key`, where it is given, is that key. Raises Invalid when a file that the configuration
    names can't be read.
    """
    named = config.calls.number_key_file
    if not number_key and named:
        number_key = read_secret(Path(named), "calls.number_key_file").encode()
    elif not number_key:
        number_key = read_or_make(Path(config.data.dir) / NUMBER_KEY_FILE, _NUMBER_KEY_BYTES)
    return Settings(
        vendor=config.vendor,
        policy=msgspec.structs.replace(
            config.policy,
            stage2=config.stage2,
            # Without an Export API nothing can be asked: calls must not wait for its answers.
            export_enabled=config.policy.export_enabled and ocp_settings.configured(config.ocp),
        ),
        limits=config.limits,
        routing=config.routing,
        lobs=config.lob,
        name_group_is=config.calls.name_group_is,
        ocp_group_default=config.calls.ocp_group_default,
        client_groups={n: c.ocp_group for n, c in config.auth.clients.items() if c.ocp_group},
        number_key=number_key,
    )
