"""The recipes that packs and certificates carry: for people, and the same as a shell script."""

from __future__ import annotations

from importlib.resources import files
from typing import Literal


def recipe(of: Literal["pack", "certificate"]) -> dict[str, bytes]:
    """The files of a recipe by name."""
    texts = files("ocp_ingest.evidence") / "texts"
    return {
        "VERIFY.md": (texts / f"{of}.md").read_bytes(),
        "verify.sh": (texts / f"{of}.sh").read_bytes(),
    }
