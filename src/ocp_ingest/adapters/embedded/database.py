"""SQLite with one writer: durable before the answer, many answers per fsync.

Theory of operation
1. All writes go through one thread. It takes everything that has gathered in its queue, runs the
   operations in one transaction, commits once (WAL, synchronous=FULL: the commit returns after the
   fsync), and only then answers. While it commits, the next batch gathers.
2. An operation that raises is rolled back alone: the batch is run again, each in a savepoint of its
   own, so an operation may run twice and must not count on the first time. A failure of the disk or
   of the commit fails the whole batch with Transient: nothing of it is acknowledged, whatever
   became of it.
3. The queue is bounded by weight; over it, Transient at once (the door says 503).
4. Reads use connections of their own and see the last commit; since answers come after commits,
   a caller always reads its own writes.
5. What an earlier process left in the WAL is copied back, durable, before anything is taken: a
   commit of its last moments may be in the page cache alone (killed before the sync, or the sync
   failed), and neither an answer nor a later commit may stand on it.
6. A second process (a command of the CLI beside a running server) may write too: SQLite's lock
   orders them, the busy timeout bounds the wait.
7. What operations gather (`Gathering`) is written once for all of a batch, before its commit; when
   they are rolled back, it is forgotten with them.
8. Items that wait one after the other for the same `Together` are given to it as one list. When it
   raises, they are run again like all others: each alone.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, ClassVar, Final, Generic, Protocol, TypeVar, cast

import apsw

from ocp_ingest.adapters.embedded.schema import migrate
from ocp_ingest.core.errors import Terminal, Transient

T = TypeVar("T")
Item = TypeVar("Item")
Operation = Callable[[apsw.Connection], T]
# An operation for many callers at once: an answer for each item, in their order.
Together = Callable[[apsw.Connection, list[Item]], Sequence[T]]

# Another process may hold the write lock for one of its commits: longer is a stuck process.
BUSY_TIMEOUT_MS: Final = 5_000
# Weight (events) of one commit: about 50 ms of work, so that nobody waits long for the others.
BATCH_WEIGHT_MAX: Final = 1_000
# WAL pages before the writer copies them back (16 MiB): seldom enough, and recovery stays short.
CHECKPOINT_PAGES: Final = 4_096
# Page cache of the writer, in KiB: holds the hot ends of all indexes of a million calls.
CACHE_KIB: Final = 65_536

_DISK_ERRORS: Final = (
    apsw.FullError, apsw.IOError, apsw.BusyError, apsw.LockedError, apsw.CantOpenError,
    apsw.ReadOnlyError, apsw.NoMemError, apsw.InterruptError,
)  # fmt: skip
_BROKEN_ERRORS: Final = (apsw.CorruptError, apsw.NotADBError)


class Gathering(Protocol):
    """What the operations of a batch have to write together (rule 7)."""

    def write(self, connection: apsw.Connection) -> object:
        """Writes what was gathered, and holds nothing any more."""

    def forget(self) -> None:
        """Holds nothing any more: what was gathered has been rolled back."""


def _each(connection: apsw.Connection, operations: list[Operation[Any]]) -> list[Any]:
    """Operations that have nothing in common, as one that takes them together."""
    return [operation(connection) for operation in operations]


class _Job(Generic[T]):
    """An item that waits for the writer's operation on it, and then its result or error."""

    __slots__ = ("error", "future", "item", "loop", "result", "together", "weight")

    def __init__(
        self, together: Together[Any, T], item: Any, weight: int,
        loop: asyncio.AbstractEventLoop | None,
    ) -> None:  # fmt: skip
        self.together = together
        self.item = item
        self.weight = weight
        self.loop = loop
        self.future: asyncio.Future[T] | concurrent.futures.Future[T] = (
            concurrent.futures.Future() if loop is None else loop.create_future()
        )
        self.result: T | None = None
        self.error: BaseException | None = None

    def resolve(self) -> None:
        """Answers whoever still waits; runs in the thread of the future's loop."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(cast(T, self.result))


class Database:
    """One SQLite file. Raises Terminal when it is damaged or of a newer version."""

    # FULL makes every commit an fsync. Only the proof of the crash tests sets it otherwise.
    synchronous: ClassVar[str] = "FULL"

    def __init__(self, path: Path, *, backlog_max: int, vfs: str | None = None) -> None:
        self._path = path
        self._vfs = vfs
        self._backlog_max = backlog_max
        self._queue: deque[_Job[Any]] = deque()
        # Plain, and rung only for a writer that sleeps: it is taken once for every event.
        self._lock = threading.Lock()
        self._gathered = threading.Condition(self._lock)
        self._asleep = False
        self._waiting = 0
        self._closed = False
        self._readers: list[apsw.Connection] = []
        self._gatherings: list[Gathering] = []
        if vfs is None:
            # Ours alone, whatever the umask: SQLite gives its other files the same mode.
            path.touch(mode=0o600)
        try:
            self._writer = self._connect()
            self._settle()
            migrate(self._writer)
        except apsw.Error as error:
            raise fate(error) from error
        sync_folders(path)
        self._thread = threading.Thread(target=self._run, name="sqlite-writer", daemon=True)
        self._thread.start()

    def gather(self, gathering: Gathering) -> None:
        """Has the writer write what operations put into it, once for each batch."""
        self._gatherings.append(gathering)

    async def write(self, operation: Operation[T], *, weight: int = 1) -> T:
        """Runs an operation in the writer; durable when it returns. Raises Transient."""
        return await self.write_together(_each, operation, weight=weight)

    async def write_together(
        self, together: Together[Item, T], item: Item, *, weight: int = 1
    ) -> T:
        """The same for an operation that takes what several callers wait for at once (rule 8)."""
        job: _Job[T] = _Job(together, item, weight, asyncio.get_running_loop())
        self._enqueue(job)
        return await cast("asyncio.Future[T]", job.future)

    def write_now(self, operation: Operation[T], *, weight: int = 1) -> T:
        """The same for callers without an event loop; blocks."""
        job: _Job[T] = _Job(_each, operation, weight, None)
        self._enqueue(job)
        return cast("concurrent.futures.Future[T]", job.future).result()

    async def read(self, operation: Operation[T]) -> T:
        """Runs a listing in a thread of its own, on the last commit."""
        return await asyncio.to_thread(self.read_now, operation)

    def read_now(self, operation: Operation[T]) -> T:
        """Runs a point read here and now, on the last commit."""
        try:
            with self._reader() as connection:
                return operation(connection)
        except apsw.Error as error:
            raise fate(error) from error

    @property
    def waiting(self) -> int:
        """Weight of what waits for the writer or is being written."""
        return self._waiting

    def close(self) -> None:
        """Writes what waits, copies the WAL back, closes; blocks."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._gathered.notify()
        self._thread.join()
        # A disk that fails now takes nothing away: the WAL is read again at the next start.
        with contextlib.suppress(apsw.Error):
            for reader in self._readers:
                reader.close()
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with contextlib.suppress(apsw.Error):
            self._writer.close()

    # -- the writer ---------------------------------------------------------------------------

    def _enqueue(self, job: _Job[Any]) -> None:
        with self._lock:
            if self._closed:
                raise Transient("The store is shutting down: try again when it is back.")
            if self._waiting and self._waiting + job.weight > self._backlog_max:
                raise Transient("Too much is waiting to be written: slow down and try again.")
            self._waiting += job.weight
            self._queue.append(job)
            if self._asleep:
                self._asleep = False
                self._gathered.notify()

    def _run(self) -> None:
        while batch := self._next_batch():
            self._commit(batch)
            with self._lock:
                self._waiting -= sum(job.weight for job in batch)
            _answer(batch)

    def _next_batch(self) -> list[_Job[Any]]:
        with self._lock:
            while not self._queue and not self._closed:
                self._asleep = True
                self._gathered.wait()
            batch: list[_Job[Any]] = []
            weight = 0
            while self._queue and weight < BATCH_WEIGHT_MAX:
                batch.append(self._queue.popleft())
                weight += batch[-1].weight
            return batch

    def _commit(self, batch: list[_Job[Any]]) -> None:
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            failed = self._run_all(batch)
            if failed is not None:
                self._roll_back("ROLLBACK")
                if len(batch) == 1:
                    batch[0].error = failed
                    return
                self._writer.execute("BEGIN IMMEDIATE")
                for job in batch:
                    self._run_alone(job)
            self._writer.execute("COMMIT")
        except BaseException as error:
            with contextlib.suppress(apsw.Error):
                self._roll_back("ROLLBACK" if self._writer.in_transaction else "")
            for job in batch:
                job.error = fate(error)

    def _run_all(self, batch: list[_Job[Any]]) -> Exception | None:
        """All in one go; what one has raised, if any: then each has to be run on its own.

        A savepoint costs two statements per operation, and operations hardly ever raise.
        """
        try:
            for together, jobs in groupby(batch, _TOGETHER):
                _run(self._writer, together, list(jobs))
        except (*_DISK_ERRORS, *_BROKEN_ERRORS):
            raise
        except Exception as error:
            return error
        self._write_gathered()
        return None

    def _run_alone(self, job: _Job[Any]) -> None:
        self._writer.execute("SAVEPOINT job")
        try:
            _run(self._writer, job.together, [job])
            self._write_gathered()
        except (*_DISK_ERRORS, *_BROKEN_ERRORS):
            raise
        except Exception as error:
            job.error = error
            self._roll_back("ROLLBACK TO job")
        self._writer.execute("RELEASE job")

    def _write_gathered(self) -> None:
        for gathering in self._gatherings:
            gathering.write(self._writer)

    def _roll_back(self, statement: str) -> None:
        for gathering in self._gatherings:
            gathering.forget()
        self._writer.execute(statement)

    # -- connections --------------------------------------------------------------------------

    def _settle(self) -> None:
        """Rule 5. Beside a process that runs there is nothing to settle, and nothing waits."""
        self._writer.set_busy_timeout(0)
        self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._writer.set_busy_timeout(BUSY_TIMEOUT_MS)

    def _connect(self) -> apsw.Connection:
        connection = apsw.Connection(str(self._path), vfs=self._vfs)
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={self.synchronous}")
        connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit={CHECKPOINT_PAGES * 4096}")
        connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        connection.execute("PRAGMA temp_store=MEMORY")
        return connection

    @contextlib.contextmanager
    def _reader(self) -> Iterator[apsw.Connection]:
        if self._closed:
            raise Transient("The store is shutting down: try again when it is back.")
        try:
            connection = self._readers.pop()
        except IndexError:
            connection = self._connect()
            connection.execute("PRAGMA query_only=ON")
        try:
            yield connection
        finally:
            if self._closed:
                connection.close()
            else:
                self._readers.append(connection)


def fate(error: BaseException) -> BaseException:
    """What an error of SQLite means to a caller."""
    if isinstance(error, apsw.FullError):
        mapped: Exception = Transient("The disk is full: free space for the store.")
    elif isinstance(error, _BROKEN_ERRORS):
        mapped = Terminal("The database file is damaged: restore it from a backup, then replay.")
    elif isinstance(error, _DISK_ERRORS):
        mapped = Transient(f"The store could not write or read ({type(error).__name__}).")
    else:
        return error
    mapped.__cause__ = error
    return mapped


_TOGETHER: Final = attrgetter("together")


def _run(connection: apsw.Connection, together: Together[Any, Any], jobs: list[_Job[Any]]) -> None:
    results = together(connection, [job.item for job in jobs])
    for job, result in zip(jobs, results, strict=True):
        job.result = result


def _answer(batch: list[_Job[Any]]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop | None, list[_Job[Any]]] = {}
    for job in batch:
        by_loop.setdefault(job.loop, []).append(job)
    for loop, jobs in by_loop.items():
        if loop is None:
            _resolve(jobs)
            continue
        # A closed loop has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_resolve, jobs)


def _resolve(jobs: list[_Job[Any]]) -> None:
    for job in jobs:
        job.resolve()


@contextlib.contextmanager
def snapshot(connection: apsw.Connection) -> Iterator[None]:
    """All that is read inside is of one commit."""
    with connection:
        yield


def sync_folders(path: Path) -> None:
    """Makes the names on the way to a file durable: SQLite does it for its journals only."""
    for folder in (path.parent, path.parent.parent):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def rows(
    connection: apsw.Connection, sql: str, values: Sequence[Any] = ()
) -> list[tuple[Any, ...]]:
    """All rows of a statement."""
    return connection.execute(sql, values).fetchall()


def row(
    connection: apsw.Connection, sql: str, values: Sequence[Any] = ()
) -> tuple[Any, ...] | None:
    """The first row of a statement, or None."""
    return connection.execute(sql, values).fetchone()


def value(connection: apsw.Connection, sql: str, values: Sequence[Any] = ()) -> Any:
    """The first value of a statement, or None."""
    return connection.execute(sql, values).get


def change(connection: apsw.Connection, sql: str, values: Sequence[Any] = ()) -> int:
    """Runs a statement; how many rows it changed."""
    connection.execute(sql, values)
    return connection.changes()
