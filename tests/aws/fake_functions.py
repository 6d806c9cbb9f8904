"""Functions that answer as a test says; LocalStack's Lambda executor is pointed at them.

A script belongs to one job: {"export.create": [Answer({...}), Raise("Transient"), Sleep(5)]}. Each
invocation takes the next entry; the last one is repeated. `op` is part of the name when the event
has one. What was asked is kept, so that a test can look at the events themselves.
"""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Answer:
    """What a function returns."""

    body: Any


@dataclass(frozen=True, slots=True)
class Raise:
    """The exception that a function ends with; its class is the error's name to Step Functions."""

    kind: str
    message: str = "as the test wants it"


@dataclass(frozen=True, slots=True)
class Sleep:
    """A function that takes longer than anybody waits."""

    seconds: float
    then: Any = field(default_factory=dict)


Behaviour = Answer | Raise | Sleep
Script = dict[str, Sequence[Behaviour]]


class FakeFunctions:
    """An HTTP server in threads; `with`, then `url`."""

    def __init__(self) -> None:
        self.scripts: dict[str, Script] = {}
        self.asked: dict[str, list[tuple[str, dict[str, Any]]]] = defaultdict(list)
        self._lock = threading.Lock()
        fakes = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("content-length", 0))
                event = json.loads(self.rfile.read(length) or b"{}")
                body, failed = fakes.invoke(self.path.strip("/"), event)
                self.send_response(200)
                if failed:
                    self.send_header("x-function-error", "Unhandled")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def invoke(self, function: str, event: dict[str, Any]) -> tuple[bytes, bool]:
        """The next thing of the script; body, and whether it is an error."""
        name = f"{function}.{event['op']}" if "op" in event else function
        # Only detect is not told which job it is for.
        job = str(event.get("job_key") or event.get("ocp_group"))
        with self._lock:
            entries = self.scripts.get(job, {}).get(name)
            number = sum(asked == name for asked, _ in self.asked[job])
            self.asked[job].append((name, event))
        if not entries:
            return _error("Unscripted", f"{job} has no script for {name}")
        does = entries[min(number, len(entries) - 1)]
        if isinstance(does, Raise):
            return _error(does.kind, does.message)
        if isinstance(does, Sleep):
            time.sleep(does.seconds)
            return json.dumps(does.then).encode(), False
        return json.dumps(does.body).encode(), False

    def events(self, job: str, name: str) -> list[dict[str, Any]]:
        """What a function was asked for a job, in order."""
        with self._lock:
            return [event for asked, event in self.asked[job] if asked == name]

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._server.shutdown()
        self._server.server_close()


def _error(kind: str, message: str) -> tuple[bytes, bool]:
    return json.dumps({"errorType": kind, "errorMessage": message}).encode(), True
