"""The demo's client: what is answered 503 is asked again; every other refusal is told at once."""

from __future__ import annotations

import http.server
import json
import threading
import urllib.error
from collections.abc import Iterator

import pytest

from ocp_ingest.demo import client
from ocp_ingest.demo.client import Client


class Server(http.server.ThreadingHTTPServer):
    """Answers with the next of `statuses`, then with 200; `asked` holds the paths."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.statuses: list[int] = []
        self.asked: list[str] = []


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.server.asked.append(self.path)
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 200)
        self.send_header("retry-after", "0.001")
        self.end_headers()
        self.wfile.write(json.dumps({"good": True}).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.01,))
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def asking(server: Server) -> Client:
    return Client(f"http://127.0.0.1:{server.server_port}")


def test_what_is_answered_503_is_asked_again(server: Server) -> None:
    server.statuses = [503, 503]
    assert asking(server).post("/v1/reconciliations") == {"good": True}
    assert server.asked == ["/v1/reconciliations"] * 3


def test_asking_again_has_an_end(server: Server) -> None:
    server.statuses = [503] * 100
    with pytest.raises(urllib.error.HTTPError, match="503"):
        asking(server).post("/v1/reconciliations")
    assert len(server.asked) == client._TRIES_MAX


@pytest.mark.parametrize("status", [400, 401, 409, 500])
def test_every_other_refusal_is_told_at_once(server: Server, status: int) -> None:
    server.statuses = [status]
    with pytest.raises(urllib.error.HTTPError, match=str(status)):
        asking(server).post("/v1/reconciliations")
    assert len(server.asked) == 1
