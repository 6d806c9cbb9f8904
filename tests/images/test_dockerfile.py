"""The image's laws: pinned, small, nobody's root, and everything that it copies is there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.images.dockerfile import Dockerfile, Ignored, Instruction, Stage, read

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "Dockerfile").read_text("utf-8")
IGNORE = (ROOT / ".dockerignore").read_text("utf-8")


def copied(file: Dockerfile) -> Iterator[tuple[Stage, Instruction, list[str]]]:
    """Each COPY and ADD with the sources that it takes from the context."""
    for stage in file.stages:
        for one in [*stage.of("COPY"), *stage.of("ADD")]:
            words = [word for word in one.words if not word.startswith("--")]
            if not any(word.startswith("--from=") for word in one.words):
                yield stage, one, [file.filled(word, stage) for word in words[:-1]]


# -- the laws: each says what is wrong, or nothing ------------------------------------------------


def bases(file: Dockerfile) -> Iterator[str]:
    """A base is named by an argument, so that a digest can be given, and by a version."""
    named = {stage.name for stage in file.stages}
    for stage in file.stages:
        if stage.base in named:
            continue
        if not re.fullmatch(r"\$\{\w+\}", stage.base):
            yield f"the base {stage.base} is no argument: its digest could not be given"
        base = file.filled(stage.base)
        tag = base.partition("@")[0].partition(":")[2]
        if "@sha256:" not in base and not re.match(r"\d+\.\d+", tag):
            yield f"the base {base} is not pinned to a version"


def user(file: Dockerfile) -> Iterator[str]:
    """The last stage ends as a user with a number that is not root's."""
    users = file.stages[-1].of("USER")
    if not users or not re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1].text):
        yield "the container would run as root, or as a name that Kubernetes and ECS can't check"


def no_downloads(file: Dockerfile) -> Iterator[str]:
    """Nothing comes from an address that no hash stands for."""
    for stage in file.stages:
        for one in stage.of("ADD"):
            yield f"line {one.line}: ADD; COPY does what is needed"
        for one in stage.of("RUN"):
            if re.search(r"\b(curl|wget|git)\b|https?://", one.text):
                yield f"line {one.line}: something is downloaded without a hash"


def stages_exist(file: Dockerfile) -> Iterator[str]:
    """COPY --from names a stage before it."""
    before: set[str] = set()
    for stage in file.stages:
        for one in stage.of("COPY"):
            for source in re.findall(r"--from=(\S+)", one.text):
                if source not in before:
                    yield f"line {one.line}: there is no stage {source} before"
        before.add(stage.name)


def sources_exist(file: Dockerfile) -> Iterator[str]:
    """What is copied is in the tree, and the .dockerignore lets it through."""
    ignored = Ignored(IGNORE)
    for _, one, sources in copied(file):
        for source in sources:
            if not (ROOT / source).exists():
                yield f"line {one.line}: {source} does not exist"
            elif ignored(source):
                yield f"line {one.line}: {source} is ignored"


def exec_form(file: Dockerfile) -> Iterator[str]:
    """The process gets SIGTERM itself: no shell stands before it."""
    entry = file.stages[-1].of("ENTRYPOINT")
    if [one.words for one in entry if one.is_json] != [["ocp-ingest"]]:
        yield "ENTRYPOINT is not the command itself"
    if any(not one.is_json for one in file.stages[-1].of("CMD")):
        yield "CMD is written for a shell"


def signals(file: Dockerfile) -> Iterator[str]:
    """A stop is a SIGTERM, and health is ECS's to ask."""
    last = file.stages[-1]
    if [one.text for one in last.of("STOPSIGNAL")] != ["SIGTERM"]:
        yield "STOPSIGNAL is not SIGTERM"
    if [one.text for one in last.of("HEALTHCHECK")] != ["NONE"]:
        yield "HEALTHCHECK is not NONE"


def hashes(file: Dockerfile) -> Iterator[str]:
    """Every install is from a lock with hashes, or of the wheel just built; no pip at the end."""
    for stage in file.stages:
        for one in stage.of("RUN"):
            for command in one.commands:
                if "install" in command and not _is_pinned(command):
                    yield f"line {one.line}: {' '.join(command)} takes what it finds"
    last = " ".join(one.text for one in file.stages[-1].of("RUN"))
    if "install" in re.sub(r"\buninstall\b", "", last):
        yield "the last stage installs something"
    if "pip uninstall" not in last:
        yield "the last stage keeps pip"


def _is_pinned(command: list[str]) -> bool:
    from_lock = "--require-hashes" in command and any(w.endswith(".lock") for w in command)
    own_wheel = "--no-index" in command and "--no-deps" in command
    return (from_lock or own_wheel) and not any(w.startswith("--index") for w in command)


def apt(file: Dockerfile) -> Iterator[str]:
    """apt's lists stay in no layer, and it installs what is asked for."""
    for stage in file.stages:
        for one in stage.of("RUN"):
            if "apt-get install" in one.text or "apt install" in one.text:
                if "rm -rf /var/lib/apt/lists" not in one.text:
                    yield f"line {one.line}: the lists of apt stay"
                if "--no-install-recommends" not in one.text:
                    yield f"line {one.line}: apt may install more than is asked for"


def no_secrets(file: Dockerfile) -> Iterator[str]:
    """No argument and no variable is a secret: both are in the image's history."""
    for stage in file.stages:
        for one in [*stage.of("ARG"), *stage.of("ENV")]:
            if re.search(r"(?i)secret|password|token|access_key", one.text):
                yield f"line {one.line}: {one.text.split('=')[0]} would be in the image"


LAWS: tuple[Callable[[Dockerfile], Iterator[str]], ...] = (
    bases, user, no_downloads, stages_exist, sources_exist, exec_form, signals, hashes, apt,
    no_secrets,
)  # fmt: skip


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_the_image_keeps_every_law(law: Callable[[Dockerfile], Iterator[str]]) -> None:
    assert list(law(read(TEXT))) == []


# Law -> what to change in the file so that it is broken.
BROKEN = [
    (bases, "python:3.13-slim-trixie\n", "python:latest\n"),
    (bases, "python:3.13-slim-trixie\n", "python\n"),
    (bases, "FROM ${PYTHON_IMAGE} AS", "FROM python:3.13 AS"),
    (user, "USER 10001:10001", "USER ocp-ingest"),
    (user, "USER 10001:10001", "USER 0:0"),
    (user, "USER 10001:10001\n", ""),
    (no_downloads, "WORKDIR /app", "ADD https://x/y /y"),
    (no_downloads, "RUN groupadd", "RUN curl x && groupadd"),
    (stages_exist, "--from=build", "--from=built"),
    (sources_exist, "COPY pyproject.toml", "COPY setup.py"),
    (sources_exist, "COPY pyproject.toml", "COPY uv.toml Makefile"),
    (sources_exist, "COPY ${CONFIG}", "COPY tests/${CONFIG}"),
    (exec_form, 'ENTRYPOINT ["ocp-ingest"]', "ENTRYPOINT ocp-ingest"),
    (exec_form, 'CMD ["--help"]', "CMD --help"),
    (signals, "STOPSIGNAL SIGTERM", "STOPSIGNAL SIGINT"),
    (signals, "HEALTHCHECK NONE\n", ""),
    (hashes, "--require-hashes -r", "-r"),
    (hashes, "--no-index ", ""),
    (hashes, "pip uninstall --yes", "pip list --yes"),
    (hashes, "RUN groupadd", "RUN pip install --require-hashes -r aws.lock && groupadd"),
    (apt, "RUN groupadd", "RUN apt-get install -y gcc && groupadd"),
    (no_secrets, "ARG CONFIG", "ARG OCP_PASSWORD=x\nARG CONFIG"),
]  # fmt: skip


@pytest.mark.parametrize(("law", "old", "new"), BROKEN)
def test_each_law_notices_when_it_is_broken(
    law: Callable[[Dockerfile], Iterator[str]], old: str, new: str
) -> None:
    assert old in TEXT
    assert list(law(read(TEXT.replace(old, new)))) != []


def test_only_what_is_copied_gets_into_the_build() -> None:
    """A secret or a recording that lies beside the sources is not sent to whoever builds."""
    ignored = Ignored(IGNORE)
    for path in ("number.key", ".git/config", ".venv/bin/python", "ocp-data/demo/ocp.sqlite3",
                 "tests/kit.py", "src/ocp_ingest/__pycache__/x.pyc", "build/lambda/six.py",
                 "requirements/dev.lock", "infra/app.py"):  # fmt: skip
        assert ignored(path), path
    for path in ("src/ocp_ingest/core/call.py", "site.toml", "requirements/aws.lock"):
        assert not ignored(path), path


def test_the_bases_python_is_one_that_the_project_supports() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    base = read(TEXT).args["PYTHON_IMAGE"]
    found = re.match(r"python:(\d+)\.(\d+)-", base)
    assert found is not None
    least = re.fullmatch(r">=(\d+)\.(\d+)", project["requires-python"])
    assert least is not None
    assert tuple(map(int, found.groups())) >= tuple(map(int, least.groups()))


def _hadolint() -> str | None:
    own = Path(sys.executable).parent / "hadolint"
    return str(own) if own.exists() else shutil.which("hadolint")


@pytest.mark.skipif(_hadolint() is None, reason="hadolint is not installed")
def test_hadolint_finds_nothing() -> None:
    linter = _hadolint()
    assert linter is not None
    done = subprocess.run(
        [linter, ROOT / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")
