"""What the console asks of the embedded store, among few calls and among a million; see METHOD.

`filled_desk` makes (or finds, below build/) a data directory that a server opens as its own with
`config_of`, so whatever is built on the desk can be measured over the same calls.
"""

import asyncio
import contextlib
import hashlib
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import msgspec

from bench import filled
from bench.filled import Mould, as_row, call_id, cdrs, recording_steps
from bench.harness import MIB, ROOT, Child, Pair, Section, alternate, python, stopwatch
from ocp_ingest import bootstrap
from ocp_ingest import config as config_reader
from ocp_ingest.adapters.embedded import call_rows, schema
from ocp_ingest.adapters.journal import Deriving, cursor_of
from ocp_ingest.adapters.passwords import Passwords
from ocp_ingest.adapters.tokens.setup import authority
from ocp_ingest.config_model import Config
from ocp_ingest.core import events
from ocp_ingest.core.call import Call, fold
from ocp_ingest.core.counting import day_of
from ocp_ingest.core.events import Event
from ocp_ingest.core.limits import DAY_MS, HOUR_MS, MINUTE_MS
from ocp_ingest.desk.ports import LocalUser
from ocp_ingest.entrypoints.api.app import create_app
from ocp_ingest.entrypoints.api.server import serving
from ocp_ingest.entrypoints.console.app import served
from ocp_ingest.ports import CallQuery
from ocp_ingest.telemetry import Metrics, set_up_logs

METHOD: Final = """
What the console's overview and its search ask of the embedded store (SQLite), in a store of 10,000
calls and in one of 1,000,000, with the store's own tables, indexes, records and counters: calls of
60 days in five lines of business, 95 % stored, 1 % in flight, the rest absent, quarantined and
lost. A page has 50 calls, whole records; *over HTTP* it is the console's own page, log-in, session
and HTML included. Times are wall-clock, as somebody waits for them, of one
request at a time: medians (lowest – highest). The files are in the system's page cache.
"""

FEW: Final = 10_000
MANY: Final = 1_000_000
TARGET_MS: Final = 300
RUNS: Final = 31
PAGE: Final = 50

DAYS: Final = 60
SPAN_MS: Final = DAYS * DAY_MS
T0: Final = filled.T0
NOW: Final = T0 + SPAN_MS
# line of business -> calls of a hundred
LOBS: Final = {"one": 40, "two": 25, "three": 20, "four": 10, "five": 5}
# To be raised when the population below changes.
_POPULATION: Final = 1


def run() -> Section:
    """Fills what is not there yet, and measures."""
    few, many = filled_desk(FEW), filled_desk(MANY)
    with Child(*python("-m", "bench.console", str(few), str(many))) as child:
        found = msgspec.json.decode(child.result(), type=dict[str, Pair])
    slowest = max(found, key=lambda name: found[name].b.median)
    median = found[slowest].b.median
    verdict = "met" if median < TARGET_MS else "MISSED"
    size = filled.bytes_of(many) // MIB
    return Section(
        title="The console among a million calls",
        method=METHOD,
        columns=("question", f"{FEW:,} calls", f"{MANY:,} calls", "ratio"),
        rows=tuple(
            (name, f"{p.a.text(2)} ms", f"{p.b.text(2)} ms", p.ratio.text(2))
            for name, p in found.items()
        ),
        findings=(
            f"slowest among {MANY:,}: {slowest}, {median:.1f} ms; target below {TARGET_MS} ms: "
            f"{verdict}",
            f"database of {MANY:,} calls: {size:,} MiB (without journals and most look-ups)",
            f"peak memory of the measuring process: {child.peak_rss // MIB} MiB",
        ),
        libraries=("apsw", "msgspec"),
    )


# -- a data directory full of calls ---------------------------------------------------------------


def filled_desk(size: int) -> Path:
    """A data directory with so many calls, made once; 1,000,000 take two minutes and 3 GB."""
    made_of = [_POPULATION, size, _deriving().mark, *schema.MIGRATIONS]
    name = hashlib.sha256(msgspec.json.encode(made_of)).hexdigest()[:10]
    folder = ROOT / "build" / "bench" / f"console-{size}-{name}"
    if folder.exists():
        return folder
    for older in folder.parent.glob(f"console-{size}-*"):
        shutil.rmtree(older)
    making = folder.with_name(f"making-{folder.name}")
    shutil.rmtree(making, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="bench-console-", dir=filled.roomy()) as quick:
        _fill(Path(quick), size)
        shutil.copytree(quick, making)
    making.rename(folder)
    return folder


def config_of(folder: Path) -> Config:
    """The configuration of a filled data directory; its clock stands where the calls end."""
    rules = [{"lob": lob, "when": {"ocp_group": f"{lob}-*"}} for lob in LOBS]
    server = {"port": 0, "stop_s_max": 1.0}
    clock = {"origin_ms": NOW, "scale": 1.0, "real_origin_s": time.time()}
    return config_reader.parse({
        "data": {"dir": str(folder), "free_bytes_min": 1}, "clock": clock, "routing": rules,
        "server": server,
        "lob": {lob: {} for lob in LOBS},
    })  # fmt: skip


def _deriving() -> Deriving:
    return Deriving.of(config_reader.settings(config_of(Path(".")), b"not asked for here"))


def _fill(folder: Path, size: int) -> None:
    deriving = _deriving()
    with filled.filling(folder, deriving) as connection:
        connection.executemany(call_rows.PUT, _rows(size, deriving))
        found = connection.execute("SELECT started_at, call_id FROM call").fetchall()
        ids = sorted((_dialog_of(ident), at_ms, ident) for at_ms, ident in found)
        connection.executemany("INSERT INTO lookup VALUES ('dialog', ?, ?, ?)", ids)
        pending = sum(_kind(n) == "open" for n in range(size))
        filled.check(connection, deriving, size, pending)


def _dialog_of(ident: object) -> str:
    return f"d{ident}"


def call_id_of(n: int, size: int) -> str:
    """The id of the n-th call of a store."""
    return call_id(f"call{n}", T0 + n * SPAN_MS // size)


def _kind(n: int) -> str:
    """What became of the n-th call, of a thousand the same share."""
    place = n * 617 % 1_000  # scattered, and each once
    kinds = (("open", 10), ("quarantined", 12), ("lost", 13), ("absent", 15), ("warned", 50),
             ("recovered", 50), ("stored", 850))  # fmt: skip
    for kind, share in kinds:
        if place < share:
            return kind
        place -= share
    raise AssertionError("the shares are of a thousand")


def _lob(n: int) -> str:
    place = n // 7 * 31 % 100
    for lob, share in LOBS.items():
        if place < share:
            return lob
        place -= share
    raise AssertionError("the shares are of a hundred")


def _rows(size: int, deriving: Deriving) -> Iterator[tuple[Any, ...]]:
    moulds: dict[tuple[str, str], Mould] = {}
    for n in range(size):
        kind, lob, at_ms = _kind(n), _lob(n), T0 + n * SPAN_MS // size
        ident = call_id_of(n, size)
        if kind == "open":
            yield as_row(_open_call(n, ident, lob, at_ms), deriving)
            continue
        mould = moulds.get((kind, lob))
        if mould is None:
            mould = moulds[kind, lob] = Mould(_finished(kind, lob), deriving)
        yield mould.row(ident, at_ms)


def _open_call(n: int, ident: str, lob: str, at_ms: int) -> Call:
    journal = cdrs(ident, at_ms, ocp_group_name=f"{lob}-eu")
    return fold(ident, journal[: 1 + n % 3])


def _finished(kind: str, lob: str) -> Call:
    ident = call_id("mould", T0)
    both = cdrs(ident, T0, ocp_group_name=f"{lob}-eu")
    return fold(ident, [*both, *_ends(kind, ident, lob)])


def _ends(kind: str, ident: str, lob: str) -> list[Event]:
    match kind:
        case "stored":
            return recording_steps(ident, lob, MINUTE_MS)
        case "recovered":
            return recording_steps(ident, lob, 5 * HOUR_MS, "export")
        case "warned":
            steps = recording_steps(ident, lob, MINUTE_MS)
            return [_with_problem(step, "shorter_than_call", "warning") for step in steps]
        case "quarantined":
            steps = recording_steps(ident, lob, MINUTE_MS)[:2]
            closed = _closed(ident, "quarantined", "bad_at_ocp", DAY_MS)
            return [*[_with_problem(step, "truncated", "error") for step in steps], closed]
        case "lost":
            return [_closed(ident, "lost", "retention_over", 60 * DAY_MS)]
        case _:
            return [_closed(ident, "absent", "too_short", HOUR_MS)]


def _with_problem(event: Event, code: str, severity: str) -> Event:
    if event.kind != "inspected":
        return event
    problem = {"code": code, "severity": severity, "text": "The bench says so."}
    report = {**event.data["report"], "problems": [problem]}
    return msgspec.structs.replace(event, data={**event.data, "report": report})


def _closed(ident: str, outcome: events.Closing, code: str, after_ms: int) -> Event:
    reason = "The bench says so."
    return events.closed(ident, outcome, epoch=0, at_ms=T0 + after_ms, reason=reason, code=code)


# -- in the child ---------------------------------------------------------------------------------

Question = Callable[["Bench"], Coroutine[Any, Any, object]]


PASSWORD: Final = "a password of the measurement"
# A page of the console -> its path.
PAGES: Final[dict[str, str]] = {
    "overview, 7 days": "/",
    "overview, 30 days": "/?period=d30",
    "calls": "/calls",
    "calls, quarantined": "/calls?outcome=quarantined",
    "calls, one line of business": "/calls?lob=three",
    "calls, a call id": "/calls?q={call_id}",
}


class Console:
    """The console of a filled store over real HTTP, and somebody who has logged in."""

    def __init__(self, bench: "Bench", runner: asyncio.Runner) -> None:
        self._bench = bench
        self._run = runner.run
        self._open = contextlib.AsyncExitStack()
        self._run(self._enter())

    def timed(self, path: str) -> float:
        """Milliseconds until the whole page is here."""
        call_id = quote(call_id_of(self._bench.size // 3, self._bench.size))
        with stopwatch() as passed_ms:
            self._run(self._get(path.format(call_id=call_id)))
            return passed_ms()

    def close(self) -> None:
        """Stops serving."""
        self._run(self._open.aclose())

    async def _enter(self) -> None:
        runtime, metrics = self._bench.runtime, Metrics()
        config = runtime.config
        assert runtime.desk.users is not None
        word = await Passwords().hash(PASSWORD)
        await runtime.desk.users.put(
            LocalUser(name="bench", role="viewer", lobs=("*",), password=word)
        )
        app = create_app(
            runtime.world, authority(config.auth, Path(config.data.dir)), config, metrics=metrics,
            more=served(runtime.desk, config, metrics=metrics),
        )  # fmt: skip
        port = await self._open.enter_async_context(serving(app, config.server))
        jar = aiohttp.CookieJar(unsafe=True)
        base = f"http://127.0.0.1:{port}"
        self._http = await self._open.enter_async_context(
            aiohttp.ClientSession(base, cookie_jar=jar)
        )
        page = await self._get("/login")
        [token] = re.findall(r'<meta name="csrf" content="([^"]*)">', page)
        form = {"csrf": token, "name": "bench", "password": PASSWORD}
        headers = {"origin": base}
        async with self._http.post("/console/login", data=form, headers=headers) as answer:
            assert answer.status == 200, await answer.text()

    async def _get(self, path: str) -> str:
        async with self._http.get(f"/console{path}") as answer:
            text = await answer.text()
            assert answer.status == 200, (path, answer.status, text[:2000])
            return text


class Bench:
    """One filled store, open as a server has it."""

    def __init__(self, folder: Path, runner: asyncio.Runner) -> None:
        self.runtime = bootstrap.embedded(config_of(folder))
        self.desk = self.runtime.desk
        self.size = int(folder.name.split("-")[-2])
        self._run = runner.run

    def timed(self, question: Question) -> float:
        """Milliseconds that somebody waits for an answer."""
        with stopwatch() as passed_ms:
            self._run(question(self))
            return passed_ms()

    async def days(self, days: int) -> None:
        """The overview's counters."""
        found = await self.desk.figures.days(day_of(NOW - days * DAY_MS), day_of(NOW))
        assert sum(each.terms["started"] for each in found) > 0

    async def ages(self, lobs: tuple[str, ...] | None) -> None:
        """The overview's backlog."""
        edges = [NOW - age * DAY_MS for age in (60, 57, 53, 46, 30, 21, 14, 7, 3, 2, 1, 0)]
        assert sum(await self.desk.figures.open_ages(edges, lobs)) > 0

    async def oldest(self) -> None:
        """The overview's oldest open call."""
        assert await self.desk.figures.oldest_open(None) is not None

    async def by_call_id(self) -> None:
        """Search by the id of a call."""
        assert await self.desk.world.calls.load(call_id_of(self.size // 3, self.size)) is not None

    async def by_dialog_id(self) -> None:
        """Search by the id of a dialog."""
        calls, wanted = self.desk.world.calls, call_id_of(self.size // 3, self.size)
        found = await calls.call_of("dialog", _dialog_of(wanted))
        assert found == wanted
        assert await calls.load(found) is not None

    async def page(self, *, empty: bool = False, **filters: Any) -> None:
        """A page of the search."""
        page = await self.desk.world.calls.page(CallQuery(limit=PAGE, **filters))
        assert (len(page.calls) == 0) is empty


DEEP: Final = cursor_of(T0 + SPAN_MS // 10, "")
TWO: Final = ("two",)

QUESTIONS: Final[dict[str, Question]] = {
    "counters of 7 days": lambda b: b.days(7),
    "counters of 30 days": lambda b: b.days(30),
    "open calls by 12 ages": lambda b: b.ages(None),
    "open calls by 12 ages, one line of business": lambda b: b.ages(TWO),
    "oldest open call": Bench.oldest,
    "call id": Bench.by_call_id,
    "dialog id": Bench.by_dialog_id,
    "page: all": lambda b: b.page(),
    "page: all, deep": lambda b: b.page(cursor=DEEP),
    "page: one day": lambda b: b.page(from_ms=T0 + 30 * DAY_MS, to_ms=T0 + 31 * DAY_MS),
    "page: line of business": lambda b: b.page(lob="five"),
    "page: outcome stored": lambda b: b.page(outcome="stored"),
    "page: outcome quarantined": lambda b: b.page(outcome="quarantined"),
    "page: in flight": lambda b: b.page(outcome="none"),
    "page: stage": lambda b: b.page(stage="call_ended"),
    "page: problem": lambda b: b.page(problem="shorter_than_call"),
    "page: line of business and outcome": lambda b: b.page(lob="five", outcome="lost"),
    "page: whoever sees one line of business": lambda b: b.page(lobs=TWO),
    "page: …, deep": lambda b: b.page(lobs=TWO, cursor=DEEP),
    "page: …, problem": lambda b: b.page(lobs=TWO, problem="shorter_than_call"),
    "page: what no call has": lambda b: b.page(empty=True, outcome="stored", stage="call_ended"),
}


def main(few_folder: str, many_folder: str) -> None:
    """Measures two filled stores and prints a Pair for each question as JSON."""
    set_up_logs(level="warning")
    with asyncio.Runner() as runner:
        few, many = Bench(Path(few_folder), runner), Bench(Path(many_folder), runner)
        found = {
            name: alternate(partial(few.timed, q), partial(many.timed, q), runs=RUNS)
            for name, q in QUESTIONS.items()
        }
        consoles = Console(few, runner), Console(many, runner)
        found |= {
            f"page over HTTP: {name}": alternate(
                partial(consoles[0].timed, path), partial(consoles[1].timed, path), runs=RUNS
            )
            for name, path in PAGES.items()
        }
        for console in consoles:
            console.close()
        for bench in (few, many):
            bench.runtime.close()
    print(msgspec.json.encode(found).decode())


if __name__ == "__main__":
    main(*sys.argv[1:])
