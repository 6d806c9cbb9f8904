"""Small worlds for commands: a store on disk, filled through intake, and the command line on it.

Commands run in this process (a process each would take a second): same parser, same exit codes.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import structlog
from typer.testing import CliRunner

from ocp_ingest import bootstrap
from ocp_ingest import config as config_reader
from ocp_ingest.core.recording import parse_name
from ocp_ingest.core.vendor import Context
from ocp_ingest.entrypoints.cli import app
from ocp_ingest.ingest import intake, pipeline
from tests.story.kit import Talk, encoded, hiss

T = TypeVar("T")

CONFIG = """\
[data]
dir = "{data_dir}"
free_bytes_min = 1

[auth.clients.ocp]
secret = "correct-horse-battery-staple"

[[routing]]
lob = "banking"
when = {{ entry_app = "banking-*" }}

[lob.banking]

[log]
format = "json"
"""
OCP = """
[ocp]
api_url = "http://127.0.0.1:9"
username = "exporter"
password = "exporter"
groups = ["emea-retail"]
allow_private = true
"""


class Answer:
    """What a command said and its exit code."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    def json(self) -> Any:
        """Standard output, which must be one JSON document."""
        return json.loads(self.out)

    def lines(self) -> list[Any]:
        """Standard output as NDJSON."""
        return [json.loads(line) for line in self.out.splitlines()]


def run(*arguments: str) -> Answer:
    """Runs `ocp-ingest …` in this process."""
    # Wide enough that no cell of a table is cut.
    done = CliRunner().invoke(app, arguments, env={"COLUMNS": "250"})
    structlog.reset_defaults()
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Answer(done.exit_code, done.stdout, done.stderr)


class Shop:
    """An embedded store with its configuration; every act opens it anew, as every command does."""

    def __init__(self, folder: Path, more: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.data_dir = folder / "data"
        self.config = folder / "shop.toml"
        self.config.write_text(CONFIG.format(data_dir=self.data_dir) + more)
        self.rng = Random(1)

    def run(self, *arguments: str) -> Answer:
        """A command on this store."""
        return run(*arguments, "--config", str(self.config))

    def within(self, work: Callable[[bootstrap.Embedded], Awaitable[T]]) -> T:
        """Does something with the open store."""

        async def opened() -> T:
            runtime = bootstrap.embedded(config_reader.load(self.config, environ={}))
            try:
                return await work(runtime)
            finally:
                runtime.close()

        return asyncio.run(opened())

    def create(self) -> None:
        """Makes an empty store."""

        async def nothing(_: bootstrap.Embedded) -> None: ...

        self.within(nothing)

    def events(self, *bodies: dict[str, Any]) -> None:
        """OCP pushes events; workers do what follows."""

        async def send(runtime: bootstrap.Embedded) -> None:
            context = Context(received_at_ms=int(time.time() * 1000))
            await intake.events(runtime.world, [(b, encoded(b)) for b in bodies], context)
            await pipeline.drain(runtime.world)

        self.within(send)

    def upload(self, name: str, audio: bytes) -> None:
        """OCP pushes a recording; workers do what follows."""

        async def chunks() -> AsyncIterator[bytes]:
            yield audio

        async def take(runtime: bootstrap.Embedded) -> None:
            await intake.recording(runtime.world, parse_name(name), chunks(), source="stream")
            await pipeline.drain(runtime.world)

        self.within(take)

    def talk(self, duration_ms: int = 4_000, app: str = "banking-voice") -> Talk:
        """A call that OCP could tell of."""
        return Talk(self.rng, duration_ms, app)

    def announced(self) -> Talk:
        """A call with its CDRs and no recording."""
        talk = self.talk()
        self.events(talk.start(), talk.end())
        return talk

    def stored(self) -> Talk:
        """A call that is done."""
        talk = self.announced()
        self.upload(talk.name, hiss(self.rng, talk.duration_ms))
        return talk

    def quarantined(self) -> Talk:
        """A call whose recording is too long for it; whole bytes, kept aside."""
        talk = self.announced()
        self.upload(talk.name, hiss(self.rng, talk.duration_ms + 20_000))
        return talk
