"""Wiring: names adapters, as only bootstrap_aws.py does besides. Builds a runtime in one place.

Adapters are imported when they are built: AWS's functions import this file and start often.
The embedded runtime keeps everything below one data directory:
    ocp.sqlite3      journal, records, indexes, counters, queue, timetable, export book, desk
    recordings/      landing, quarantine, one folder per line of business
    presence.lock    held by every process that has the directory open
    evidence/        seals of the days and public keys; created only
    *.key, issuer    secrets, mode 600
"""

from __future__ import annotations

import os
import random
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ocp_ingest import config as config_module
from ocp_ingest.adapters.embedded.clock import ScaledClock, SystemClock
from ocp_ingest.adapters.ocp.settings import configured
from ocp_ingest.config_model import Config
from ocp_ingest.core.errors import NotFound
from ocp_ingest.desk.notify import Channels
from ocp_ingest.desk.world import Desk
from ocp_ingest.ingest.world import World
from ocp_ingest.ports import Clock
from ocp_ingest.reconcile.book import ExportBook
from ocp_ingest.reconcile.world import Stage2

if TYPE_CHECKING:
    from ocp_ingest.adapters.aws.session import Aws
    from ocp_ingest.adapters.embedded.database import Database
    from ocp_ingest.adapters.embedded.presence import Presence
    from ocp_ingest.adapters.embedded.recording_store import EmbeddedRecordingStore
    from ocp_ingest.adapters.signing import FileSigner
    from ocp_ingest.evidence.world import Evidence

# Real milliseconds. On one machine a paused process is rare and a killed one is restarted at once.
_LEASE_MS = 20_000

DATABASE_FILE = "ocp.sqlite3"
VAULT_FILE = "vault.key"
SIGNING_KEY_FILE = "evidence.key"
# The bucket of the shelf below `evidence/`.
SHELF_BUCKET = "seals"


class Runtime(Protocol):
    """What every runtime has: commands and doors need no more of it."""

    @property
    def config(self) -> Config:
        """The configuration that it was built from."""

    @property
    def world(self) -> World:
        """The ports of stage 1."""

    @property
    def book(self) -> ExportBook:
        """What stage 2 remembers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """One embedded runtime; `close` writes out what waits."""

    config: Config
    world: World
    database: Database
    recordings: EmbeddedRecordingStore
    book: ExportBook
    desk: Desk
    evidence: Evidence
    shelf: EmbeddedRecordingStore
    presence: Presence

    def close(self) -> None:
        """Ends the writer and closes the database; blocks."""
        self.recordings.close()
        self.shelf.close()
        self.database.close()
        self.presence.close()


def clock(config: Config) -> Clock:
    """Domain time as configured: real, or scaled for demonstrations."""
    section = config.clock
    if section.origin_ms:
        return ScaledClock(section.origin_ms, section.scale, section.real_origin_s)
    return SystemClock()


def embedded(config: Config) -> Embedded:
    """Opens (and at first start creates) the embedded runtime below `config.data.dir`.

    Raises Invalid for an unreadable or half-set setting, Terminal for a damaged store.
    """
    from ocp_ingest.adapters.embedded.presence import Presence

    config_module.require(config)
    data_dir = Path(config.data.dir)
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    presence = Presence(data_dir)
    try:
        return _open(config, data_dir, presence)
    except BaseException:
        presence.close()
        raise


def rotate_key(data_dir: Path) -> str:
    """Makes a new key for what a store encrypts; its name. Raises NotFound, Transient, Terminal."""
    from ocp_ingest.adapters.embedded.vault import Vault

    if not (data_dir / VAULT_FILE).exists():
        raise NotFound(f"{VAULT_FILE} is missing: put it back from a back-up.")
    return Vault(data_dir / VAULT_FILE).rotate()


def _open(config: Config, data_dir: Path, presence: Presence) -> Embedded:
    from ocp_ingest.adapters.embedded.alert_book import EmbeddedAlertBook
    from ocp_ingest.adapters.embedded.bulk_book import EmbeddedBulkBook
    from ocp_ingest.adapters.embedded.call_store import EmbeddedCallStore
    from ocp_ingest.adapters.embedded.database import Database
    from ocp_ingest.adapters.embedded.desk_book import EmbeddedDeskNotes, EmbeddedUserBook
    from ocp_ingest.adapters.embedded.evidence import EmbeddedEvidence, EmbeddedIncidents
    from ocp_ingest.adapters.embedded.export_book import EmbeddedExportBook
    from ocp_ingest.adapters.embedded.figures import EmbeddedFigures
    from ocp_ingest.adapters.embedded.presence import free_what_the_dead_held
    from ocp_ingest.adapters.embedded.recording_store import EmbeddedRecordingStore
    from ocp_ingest.adapters.embedded.seal_book import EmbeddedSealBook
    from ocp_ingest.adapters.embedded.sheets import EmbeddedSheets
    from ocp_ingest.adapters.embedded.timetable import EmbeddedTimetable
    from ocp_ingest.adapters.embedded.vault import Vault
    from ocp_ingest.adapters.embedded.work_queue import EmbeddedWorkQueue
    from ocp_ingest.adapters.journal import Deriving
    from ocp_ingest.evidence.sheet import PortSheets
    from ocp_ingest.evidence.shelf import BucketShelf
    from ocp_ingest.evidence.world import Evidence

    limits = config.limits
    database = Database(data_dir / DATABASE_FILE, backlog_max=limits.writer_backlog_max)
    try:
        vault = Vault(data_dir / VAULT_FILE)
        settings = config_module.settings(config)
        deriving = Deriving.of(settings)
        recordings = EmbeddedRecordingStore(data_dir / "recordings")
        shelf = EmbeddedRecordingStore(data_dir / "evidence")
        if presence.alone:
            recordings.sweep()
            shelf.sweep()
            free_what_the_dead_held(database)
            presence.share()
        world = World(
            settings=settings,
            clock=clock(config),
            calls=EmbeddedCallStore(database, vault, deriving),
            evidence=EmbeddedEvidence(database, vault, items_max=limits.evidence_items_max),
            incidents=EmbeddedIncidents(database),
            recordings=recordings,
            queue=EmbeddedWorkQueue(database, SystemClock(), tries_max=limits.step_tries_max),
            timetable=EmbeddedTimetable(database),
            chance=random.random,
        )
        book = EmbeddedExportBook(database)
        desk = Desk(
            world=world,
            book=book,
            figures=EmbeddedFigures(database, deriving),
            alerts=EmbeddedAlertBook(database),
            bulk=EmbeddedBulkBook(database),
            notes=EmbeddedDeskNotes(database),
            users=EmbeddedUserBook(database),
        )
        seals = EmbeddedSealBook(database, vault, deriving)
        by_port = PortSheets(world.calls, seals)
        evidence = Evidence(
            world=world,
            exports=book,
            seals=seals,
            sheets=EmbeddedSheets(database, vault, deriving, by_port),
            shelf=BucketShelf(shelf, SHELF_BUCKET),
            signer=_signer(config, data_dir),
            real=SystemClock(),
            issuer=config.evidence.issuer,
        )
    except BaseException:
        database.close()
        raise
    return Embedded(
        config=config, world=world, database=database, recordings=recordings, book=book,
        desk=desk, evidence=evidence, shelf=shelf, presence=presence,
    )  # fmt: skip


def _signer(config: Config, data_dir: Path) -> FileSigner:
    """The signing key: the one that is configured, else one of the data directory's own."""
    from ocp_ingest.adapters.signing import FileSigner

    named = config.evidence.key_file
    return FileSigner(Path(named) if named else data_dir / SIGNING_KEY_FILE, make=not named)


@asynccontextmanager
async def exports(runtime: Runtime) -> AsyncIterator[Stage2 | None]:
    """Stage 2 with its connections, logged out at the end; None when no OCP is configured."""
    # A runner that was killed blocks its groups no longer than its lease; renewed at a third.
    async with stage2_of(runtime, lease_ms=_LEASE_MS) as stage2:
        yield stage2


@asynccontextmanager
async def stage2_of(runtime: Runtime, *, lease_ms: int) -> AsyncIterator[Stage2 | None]:
    """What `exports` gives, for any runtime; `lease_ms` is real time."""
    config = runtime.config
    if not configured(config.ocp):
        yield None
        return
    from ocp_ingest.adapters.ocp.client import OcpClient

    now_ms, limits = runtime.world.clock.now_ms, config.limits
    async with OcpClient(config.ocp, now_ms=now_ms, limits=limits) as client:
        yield Stage2(
            api=client,
            book=runtime.book,
            groups=config.ocp.groups,
            # Another name after every start: a runner that was killed is not taken for this one.
            owner=f"{os.getpid()}-{secrets.token_hex(4)}",
            real=SystemClock(),
            detect_every_ms=int(config.reconcile.detect_every_s * 1000),
            per_call=config.reconcile.per_call,
            census=config.reconcile.census,
            census_back_ms=int(config.reconcile.census_back_s * 1000),
            lease_ms=lease_ms,
        )


@asynccontextmanager
async def channels(config: Config, aws: Aws | None = None) -> AsyncIterator[Channels]:
    """The channels of `[alerts]`, closed at the end; `aws` are connections that are there already.

    Raises Invalid for a secret that can't be read or used.
    """
    from ocp_ingest.adapters.notify.build import opened

    origin = config.console.public_url.rstrip("/")
    console_url = f"{origin}/console" if origin and config.console.enabled else ""
    async with opened(config.alerts, config.aws, aws, console_url=console_url) as made:
        yield made
