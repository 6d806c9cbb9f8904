"""The image's own install steps, run in a clean folder on this machine: what comes out starts."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.images.dockerfile import Instruction, read
from tests.images.test_dockerfile import ROOT, TEXT

# Settings of the stage that keep caches out of the image; here they would only cost time.
_NO_CACHE = {"PIP_NO_CACHE_DIR", "UV_NO_CACHE", "UV_LINK_MODE"}
_OFFLINE = re.compile(
    r"dns error|error sending request|Connection (?:refused|reset)|NewConnectionError|"
    r"Temporary failure in name resolution|network is unreachable",
    re.IGNORECASE,
)
_STEPS_S_MAX = 280


def _variables(one: Instruction) -> dict[str, str]:
    pairs = (word.partition("=") for word in one.words)
    return {name: value for name, _, value in pairs if name not in _NO_CACHE}


def installed(root: Path) -> Path:
    """The folder that the image takes over, made by the build stage's steps below `root`."""
    [build] = [stage for stage in read(TEXT).stages if stage.name == "build"]
    context, bin_ = root / "build", root / "bin"
    context.mkdir(parents=True)
    bin_.mkdir()
    for name in ("python", "python3"):  # the base's, not that of the tests' environment
        (bin_ / name).symlink_to(getattr(sys, "_base_executable", sys.executable))
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("VIRTUAL_ENV", "OCP_INGEST_"))}
    env = kept | {"PATH": f"{bin_}:{os.environ['PATH']}"}
    for one in build.instructions:
        if one.name == "ENV":
            env |= _variables(one)
        elif one.name == "COPY":
            _copy(one, context)
        elif one.name == "RUN":
            # Bytecode of every package would take most of the time and prove nothing.
            text = one.text.replace(" --compile-bytecode", "")
            _run(text.replace("/opt/", f"{root}/opt/"), context, env)
    return root / "opt" / "ocp-ingest"


def _copy(one: Instruction, context: Path) -> None:
    *sources, to = one.words
    for source in sources:
        target = context / to / Path(source).name if to.endswith("/") else context / to
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(ROOT / source, target)


def _run(text: str, context: Path, env: dict[str, str]) -> None:
    done = subprocess.run(
        ["/bin/sh", "-ec", text], cwd=context, env=env, capture_output=True, text=True,
        check=False, timeout=_STEPS_S_MAX,
    )  # fmt: skip
    if done.returncode and _OFFLINE.search(done.stderr):
        pytest.skip("the package index can't be reached")
    assert done.returncode == 0, done.stderr


def test_what_the_image_installs_starts_and_is_all_that_the_aws_runtime_needs(
    tmp_path: Path,
) -> None:
    home = installed(tmp_path)
    env = {"PATH": f"{home / 'bin'}:/usr/bin:/bin", "HOME": "/nonexistent"}
    helped = subprocess.run(
        ["ocp-ingest", "--help"], cwd=tmp_path, env=env, capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    assert helped.returncode == 0, helped.stderr
    assert "serve" in helped.stdout
    # Everything that either process imports, from the image's own packages alone.
    code = (
        "import ocp_ingest.entrypoints.platform_aws, ocp_ingest.entrypoints.worker\n"
        "import ocp_ingest.entrypoints.api.app, ocp_ingest.entrypoints.api.server\n"
        "import ocp_ingest.entrypoints.doctor_aws, ocp_ingest.adapters.aws.call_store\n"
        "import ocp_ingest.adapters.aws.recording_store, ocp_ingest.adapters.aws.tasks\n"
        "import sys; print(ocp_ingest.__path__[0])"
    )
    imported = subprocess.run(
        [home / "bin" / "python", "-I", "-c", code], capture_output=True, text=True, check=False,
        env=env, timeout=60,
    )  # fmt: skip
    assert imported.returncode == 0, imported.stderr
    assert imported.stdout.startswith(str(home))
    # Nothing that builds or tests is carried along.
    names = {path.name.partition("-")[0] for path in home.glob("lib/*/site-packages/*.dist-info")}
    assert names.isdisjoint({"pip", "uv", "hatchling", "pytest", "mypy", "numpy", "ministack"})
