"""Reads a Dockerfile into instructions and stages, and a .dockerignore into what it lets through.

Only what ours uses is read (Dockerfile reference): comments, continued lines, ARG in names, JSON
forms. A .dockerignore's patterns are tried in order, the last that fits decides.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import PurePosixPath


@dataclass(frozen=True)
class Instruction:
    """One instruction: its name, its words as written, and its line."""

    name: str
    text: str
    line: int

    @property
    def words(self) -> list[str]:
        """The words; of a JSON form its strings."""
        return json.loads(self.text) if self.is_json else self.text.split()

    @property
    def is_json(self) -> bool:
        """Whether it is written as a JSON array ("exec form")."""
        return self.text.startswith("[")

    @property
    def commands(self) -> list[list[str]]:
        """The commands of a RUN, each as words."""
        return [part.split() for part in re.split(r"\s*(?:&&|;|\|\|)\s*", self.text) if part]


@dataclass
class Stage:
    """A FROM and what follows it."""

    base: str
    name: str
    instructions: list[Instruction] = field(default_factory=list)

    def of(self, name: str) -> list[Instruction]:
        """The stage's instructions of one name."""
        return [one for one in self.instructions if one.name == name]


@dataclass
class Dockerfile:
    """The file: arguments before the first stage, and the stages."""

    args: dict[str, str]
    stages: list[Stage]

    def filled(self, text: str, stage: Stage | None = None) -> str:
        """A text with the defaults of the arguments that it names."""
        values = dict(self.args)
        for arg in stage.of("ARG") if stage else ():
            name, _, default = arg.text.partition("=")
            values[name] = default or values.get(name, "")
        return re.sub(r"\$\{(\w+)\}", lambda found: values[found.group(1)], text)


def read(text: str) -> Dockerfile:
    """The instructions of a Dockerfile. Raises ValueError for what it does not know."""
    args: dict[str, str] = {}
    stages: list[Stage] = []
    for one in _instructions(text):
        if one.name == "FROM":
            words = one.words
            named = words[2] if len(words) == 3 and words[1].upper() == "AS" else ""
            stages.append(Stage(words[0], named))
        elif not stages:
            if one.name != "ARG":
                raise ValueError(f"line {one.line}: {one.name} before the first FROM")
            name, _, default = one.text.partition("=")
            args[name] = default
        else:
            stages[-1].instructions.append(one)
    return Dockerfile(args, stages)


_KNOWN = frozenset({
    "ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL",
    "ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
})  # fmt: skip


def _instructions(text: str) -> list[Instruction]:
    found: list[Instruction] = []
    held, begins = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("#") or (not line.strip() and not held):
            continue
        begins = begins if held else number
        held += line.strip()
        if held.endswith("\\"):
            held = held[:-1].rstrip() + " "
            continue
        name, _, rest = held.partition(" ")
        if name.upper() not in _KNOWN:
            raise ValueError(f"line {begins}: {name} is no instruction")
        found.append(Instruction(name.upper(), rest.strip(), begins))
        held = ""
    if held:
        raise ValueError("the last line is continued")
    return found


class Ignored:
    """A .dockerignore."""

    def __init__(self, text: str) -> None:
        lines = [line.strip() for line in text.splitlines()]
        self._patterns = [line for line in lines if line and not line.startswith("#")]

    def __call__(self, path: str) -> bool:
        """Whether a path below the context is left out."""
        ignored = False
        for pattern in self._patterns:
            wanted = pattern.removeprefix("!").strip("/")
            if _fits(path, wanted):
                ignored = not pattern.startswith("!")
        return ignored


def _fits(path: str, pattern: str) -> bool:
    """Whether a pattern names a path or a folder above it; `**/` is any folder, none too."""
    whole = PurePosixPath(path)
    names = [whole.as_posix(), *(parent.as_posix() for parent in whole.parents)][:-1]
    if pattern.startswith("**/"):
        inner = pattern.removeprefix("**/")
        return any(fnmatchcase(PurePosixPath(name).name, inner) for name in names)
    return any(
        name.count("/") == pattern.count("/") and fnmatchcase(name, pattern) for name in names
    )
