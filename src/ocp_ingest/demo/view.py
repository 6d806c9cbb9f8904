"""What a demo shows while it runs, and at its end."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from ocp_ingest.core.access import EVERYTHING
from ocp_ingest.core.calendar import rfc3339
from ocp_ingest.demo.people import PEOPLE
from ocp_ingest.demo.setting import Place

_TERMS = ("started", "stored", "absent", "quarantined", "lost", "in_flight")


class View:
    """Live progress on a terminal, single lines elsewhere; nothing when `quiet`."""

    def __init__(self, quiet: bool) -> None:
        # Progress goes to standard error, so that --json leaves standard output to one document.
        self._console = Console(file=sys.stderr if quiet else sys.stdout, quiet=quiet)
        self._live: Live | None = None
        self._last = ""

    def __enter__(self) -> View:
        if self._console.is_terminal and not self._console.quiet:
            self._live = Live(console=self._console, refresh_per_second=4)
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        if self._live is not None:
            self._live.__exit__(kind, error, trace)

    def started(self, place: Place, url: str, speed: float) -> None:
        """Says what runs where."""
        again = " (again: the same day on the same data)" if place.again else ""
        self._console.print(
            f"{place.state.calls} calls, seed {place.state.seed}{again}; platform {url}; "
            f"data {place.folder}\nDomain time runs {speed:,.0f} times as fast as real time."
        )

    def show(self, status: dict[str, Any], terms: dict[str, Any]) -> None:
        """One look at both processes."""
        push, exports = status["push"], status["exports"]
        now = rfc3339(status["now_ms"])
        if self._live is not None:
            table = Table("domain time", "pushed", *_TERMS, "exports")
            table.add_row(
                str(now)[:16], f"{push['delivered']}/{push['total']}",
                *(str(terms[t]) for t in _TERMS), str(exports["jobs"]),
            )  # fmt: skip
            self._live.update(table)
            return
        line = f"{terms['started']} started, {terms['stored']} stored, {exports['jobs']} exports"
        if line != self._last:
            self._last = line
            self._console.print(
                f"{str(now)[:16]}  pushed {push['delivered']}/{push['total']}  {line}, "
                f"{terms['in_flight']} in flight",
                highlight=False,
            )

    def ended(self, summary: dict[str, Any], place: Place) -> None:
        """The final table."""
        table = Table("result", "calls", title="Every call, by the simulator's ledger")
        for name, value in summary.items():
            if name != "problems":
                table.add_row(name.replace("_", " "), str(value))
        self._console.print(table)
        self._console.print(
            f"Look: ocp-ingest calls list --data-dir {place.folder}\n"
            f"      ocp-ingest calls show CALL_ID --data-dir {place.folder}\n"
            "      --keep-serving leaves the console up, for these people:",
            highlight=False,
        )
        table = Table("name", "password", "role", "sees")
        for name, (role, lobs) in PEOPLE.items():
            table.add_row(name, place.state.passwords[name], role,
                          "everything" if EVERYTHING in lobs else ", ".join(lobs))  # fmt: skip
        self._console.print(table)

    def problem(self, text: str) -> None:
        """One disagreement with the ledger."""
        self._console.print(f"[red]{text}[/]", highlight=False)

    def keep_serving(self, url: str) -> None:
        """Says how to go on."""
        self._console.print(
            f"Still serving; the console is at {url}/console/. Stop with Ctrl-C.", highlight=False
        )
