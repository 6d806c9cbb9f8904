"""Builds the folder that the functions are deployed from: `build/lambda`, to be zipped as it is.

    python tools/build_lambda.py --config site.toml

What runs     the packages of requirements/lambda.lock for Lambda's ARM processors, by hash
              src/ocp_ingest without what no function imports (_DROPPED)
              the configuration as ocp-ingest.toml; one with secrets in it is refused
What does not tests, scripts, descriptions of AWS services that nobody calls
Bytecode      compiled by a Python of Lambda's version where there is one: Lambda can't keep what
              it compiles, so every cold start would do it again

The same sources, lock, configuration and Python give the same bytes; their hash is printed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, get_args

ROOT: Final = Path(__file__).resolve().parent.parent
LOCK: Final = ROOT / "requirements" / "lambda.lock"
PLATFORM: Final = "aarch64-manylinux2014"
# The functions' runtime in the template; a test of the template compares the two.
PYTHON_VERSION: Final = "3.13"
# Lambda's own bound on a package, unzipped (Lambda developer guide, "gettingstarted-limits").
BYTES_MAX: Final = 250 * 1024 * 1024
CONFIG_FILE: Final = "ocp-ingest.toml"
# Where Lambda unpacks the folder: traces name files as they are there.
TASK_DIR: Final = "/var/task"
# Of our package: servers, the command line, what tests need. A test imports every handler.
_DROPPED: Final = (
    "demo", "entrypoints/api", "entrypoints/cli", "entrypoints/doctor.py",
    "entrypoints/doctor_aws.py", "entrypoints/platform.py", "entrypoints/platform_aws.py",
    "entrypoints/smoke.py", "entrypoints/worker_health.py", "adapters/memory",
    "adapters/tokens/checker.py", "adapters/tokens/issuer.py", "adapters/tokens/keys.py",
    "adapters/tokens/setup.py", "adapters/ocp/probe.py", "adapters/ocp/probe_answers.py",
)  # fmt: skip
# What installing leaves at the top, and folders anywhere in packages that nothing imports.
_TOP_JUNK: Final = ("bin", ".lock")
_JUNK: Final = ("__pycache__", "tests")
# Keys that hold secrets: those belong into Secrets Manager.
_SECRET: Final = re.compile(r"(^|\.)(secret|password|otp|otp_secret|personal_access_token)$")
# Any time: zip knows none before 1980.
_MTIME_S: Final = 315_532_800


class Refused(Exception):
    """The folder can't be built like this; the text says what to change."""


def build(
    out: Path, config: Path, *, platform: str = PLATFORM, python: str = PYTHON_VERSION,
    bytecode: bool = True,
) -> str:  # fmt: skip
    """Builds the folder, replacing an older one; returns the hash of its content.

    `platform` and `python` as uv names them; platform "" is this machine's. Raises Refused.
    """
    text = _checked(config)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".lambda-") as work:
        folder = Path(work) / "lambda"
        _install(folder, platform, python)
        _trim(folder)
        _copy_ours(folder / "ocp_ingest")
        (folder / CONFIG_FILE).write_bytes(text)
        if bytecode:
            _compile(folder, python)
        _settle(folder)
        _check_size(folder)
        _replace(out, folder)
    return content_hash(out)


def _checked(config: Path) -> bytes:
    """The configuration's bytes. Raises Refused for one that no function could read."""
    from ocp_ingest import config as reader
    from ocp_ingest.core.errors import Invalid

    try:
        text = config.read_bytes()
        tree = tomllib.loads(text.decode())
        # Secrets and addresses come at deployment: only types and names can be checked by now.
        reader.parse({**tree, "aws": {**tree.get("aws", {}), "secret_arn": "later"}})
    except OSError as bad:
        raise Refused(f"{config} can't be read: {bad.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as bad:
        raise Refused(f"{config} is not TOML: {bad}.") from None
    except Invalid as bad:
        raise Refused(f"{config}: {bad.text}") from None
    held = [key for key in _set_keys(tree) if _SECRET.search(key)]
    if held:
        raise Refused(
            f"{config} holds `{held[0]}`: secrets belong into Secrets Manager (`aws.secret_arn`)."
        )
    return text


def _set_keys(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _set_keys(value, f"{prefix}{key}.")
        elif value not in ("", [], None):
            yield f"{prefix}{key}"


def _install(folder: Path, platform: str, python: str) -> None:
    command: list[str | Path] = [
        _uv(), "pip", "install", "--quiet", "--target", folder,
        "--require-hashes", "--only-binary", ":all:", "-r", LOCK,
    ]  # fmt: skip
    if platform:
        command += ["--python-platform", platform, "--python-version", python]
    else:
        command += ["--python", sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(f"The packages can't be installed:\n{done.stderr.strip()}")


def _uv() -> str:
    """The project's own uv, or whichever is there."""
    own = Path(sys.executable).parent / "uv"
    return str(own) if own.exists() else "uv"


def _trim(folder: Path) -> None:
    """Removes what no function needs."""
    junk = [path for name in _JUNK for path in folder.rglob(name) if path.is_dir()]
    for path in [*junk, *(folder / name for name in _TOP_JUNK)]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    services = folder / "botocore" / "data"
    for path in sorted(services.iterdir()):
        if path.is_dir() and path.name not in _services():
            shutil.rmtree(path)


def _services() -> frozenset[str]:
    """Services whose descriptions are needed: those that adapters may name."""
    from ocp_ingest.adapters.aws.session import Service

    return frozenset(get_args(Service))


def _copy_ours(to: Path) -> None:
    source = ROOT / "src" / "ocp_ingest"
    dropped = {source / name for name in _DROPPED}

    def ignored(folder: str, names: Sequence[str]) -> set[str]:
        return {n for n in names if n in _JUNK or Path(folder) / n in dropped}

    shutil.copytree(source, to, ignore=ignored)


def _compile(folder: Path, python: str) -> None:
    """Bytecode that never asks for the source's time, so it is the same in every build."""
    compiler = python_of(python)
    if compiler is None:
        sys.stderr.write(f"There is no Python {python} here: functions compile at every start.\n")
        return
    # Packages may hold files that are no code of this version: Lambda could not import them either.
    subprocess.run(
        [str(compiler), "-m", "compileall", "-q", "-f", "--invalidation-mode",
         "unchecked-hash", "-s", str(folder), "-p", TASK_DIR, str(folder)],
        check=False, env={**os.environ, "PYTHONHASHSEED": "0"},
    )  # fmt: skip


def python_of(version: str) -> Path | None:
    """A Python of that version on this machine, also one of pyenv that is not switched on."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    named = shutil.which(f"python{version}")
    beside = sorted(pyenv.glob(f"{version}.*/bin/python"), reverse=True)
    for path in [*([Path(named)] if named else []), *beside]:
        # pyenv has a name for every version, which fails where it is not switched on.
        asked = "import sys; print('%d.%d' % sys.version_info[:2])"
        said = subprocess.run([path, "-c", asked], capture_output=True, text=True, check=False)
        if said.stdout.strip() == version:
            return path
    return None


def _settle(folder: Path) -> None:
    """Times and rights that say nothing of this machine."""
    for path in [*folder.rglob("*"), folder]:
        path.chmod(0o755 if path.is_dir() else 0o644)
        os.utime(path, (_MTIME_S, _MTIME_S))


def _check_size(folder: Path) -> None:
    size = size_of(folder)
    if size >= BYTES_MAX:
        raise Refused(f"The folder has {size:,} bytes, Lambda takes {BYTES_MAX:,}.")


def _replace(out: Path, folder: Path) -> None:
    """Puts the new folder in the old one's place; anything else that is there is not touched."""
    if out.exists():
        if any(out.iterdir()) and not (out / "ocp_ingest").is_dir():
            raise Refused(f"{out} is no folder of this tool: name another one with --out.")
        shutil.rmtree(out)
    folder.rename(out)


def files_of(folder: Path) -> list[Path]:
    """Every file, in an order of its own."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def size_of(folder: Path) -> int:
    """Bytes of all files, as Lambda counts them."""
    return sum(path.stat().st_size for path in files_of(folder))


def content_hash(folder: Path) -> str:
    """SHA-256 of names and contents."""
    digest = hashlib.sha256()
    for path in files_of(folder):
        name = path.relative_to(folder).as_posix()
        digest.update(f"{name}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def main(arguments: Sequence[str]) -> int:
    """Builds, and says what was built."""
    parser = argparse.ArgumentParser(description="Builds the folder of the functions.")
    parser.add_argument("--config", type=Path, default=ROOT / CONFIG_FILE, help="the site's file")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "lambda")
    parser.add_argument("--platform", default=PLATFORM, help="as uv names it; '' = this machine")
    said = parser.parse_args(arguments)
    try:
        found = build(said.out, said.config, platform=said.platform)
    except Refused as refused:
        sys.stderr.write(f"build_lambda: {refused}\n")
        return 1
    megabytes = size_of(said.out) / 1024 / 1024
    print(f"{said.out}: {megabytes:.1f} MB of {BYTES_MAX // 1024 // 1024}, sha256 {found}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
