"""Runs infra/app.py in its own environment, which is made when it is missing."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
PLATFORM: Final = Path(__file__).with_name("platform.toml")
ENVIRONMENT: Final = ROOT / ".venv-infra"
# Twenty seconds alone; a machine that runs everything at once takes many times that.
_S_MAX: Final = 600


def prepare() -> None:
    """Makes the environment, or fails with what to run."""
    if (ENVIRONMENT / ".ready").exists():
        return
    made = subprocess.run(
        ["bash", "tools/infra_venv.sh"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if made.returncode:
        raise AssertionError(f"Run `bash tools/infra_venv.sh`; it says:\n{made.stderr}")


def run(
    out: Path, options: Mapping[str, str], variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Synthesises without credentials and without a home."""
    out.mkdir(parents=True, exist_ok=True)
    command = [str(ENVIRONMENT / "bin" / "python"), "infra/app.py", "--out", str(out)]
    for key, value in options.items():
        command += ["-c", f"{key}={value}"]
    env = {
        "PATH": os.environ["PATH"], "HOME": str(out), "CDK_OUTDIR": str(out / "cdk"),
        "TMPDIR": str(out), **(variables or {}),
    }  # fmt: skip
    return subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=_S_MAX
    )


def written(
    out: Path, options: Mapping[str, str], variables: Mapping[str, str] | None = None
) -> Path:
    """The template's file; fails with what CDK or cdk-nag said."""
    done = run(out, {"placeholder": "true", **options}, variables)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    (file,) = out.glob("*.template.json")
    return file


def synthesise(out: Path, options: Mapping[str, str]) -> dict[str, Any]:
    """The template."""
    made: dict[str, Any] = json.loads(written(out, options).read_text("utf-8"))
    return made
