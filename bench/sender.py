"""A client of recordings that costs as little as it can: raw sockets, sendfile, one processor.

    python -m bench.sender PORT PATH_PREFIX TOKEN FILE COUNT AT_ONCE

Sends FILE COUNT times, each under a name of its own, over AT_ONCE connections that stay open, and
prints {"seconds", "bytes", "statuses", "last_ms"} as JSON; `last_ms` are the times from the last
byte of a body to its answer.
"""

import json
import os
import secrets
import socket
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

ANSWER_S_MAX = 120.0
NAME = "{call}.1763805600000.{mark}~acme~1763805600000~{call}.1763805600000.{mark}.wav"


@dataclass
class Work:
    """What all connections share."""

    port: int
    prefix: str
    token: str
    file: Path
    left: int
    statuses: Counter[int] = field(default_factory=Counter)
    last_ms: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self) -> bool:
        """Takes one of the recordings that are left."""
        with self.lock:
            self.left -= 1
            return self.left >= 0


def main(arguments: list[str]) -> None:
    """Sends and prints."""
    port, prefix, token, file, count, at_once = arguments
    work = Work(int(port), prefix, token, Path(file), int(count))
    threads = [threading.Thread(target=connection, args=(work,)) for _ in range(int(at_once))]
    began_s = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began_s
    total = os.path.getsize(file) * int(count)
    said = {
        "seconds": seconds, "bytes": total, "statuses": dict(work.statuses),
        "last_ms": work.last_ms,
    }  # fmt: skip
    print(json.dumps(said))


def connection(work: Work) -> None:
    """One connection, kept open."""
    size = work.file.stat().st_size
    with socket.create_connection(("127.0.0.1", work.port)) as peer, work.file.open("rb") as file:
        peer.settimeout(ANSWER_S_MAX)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while work.next():
            peer.sendall(head(work, size))
            file.seek(0)
            peer.sendfile(file)
            sent_s = time.perf_counter()
            status = answer(peer)
            with work.lock:
                work.statuses[status] += 1
                work.last_ms.append((time.perf_counter() - sent_s) * 1000)


def head(work: Work, size: int) -> bytes:
    """The head of a PUT under a new name."""
    name = NAME.format(call=secrets.token_hex(20), mark=secrets.token_hex(16))
    lines = [
        f"PUT {work.prefix}{name} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: audio/wav",
        f"Content-Length: {size}",
    ]  # fmt: skip
    if work.token:
        lines.append(f"Authorization: Bearer {work.token}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def answer(peer: socket.socket) -> int:
    """The status of the answer, read whole. Raises ConnectionError."""
    held = b""
    while b"\r\n\r\n" not in held:
        block = peer.recv(65536)
        if not block:
            raise ConnectionError("The server closed the connection.")
        held += block
    top, _, body = held.partition(b"\r\n\r\n")
    lengths = [
        int(line.split(b":")[1]) for line in top.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    ]  # fmt: skip
    while len(body) < (lengths[0] if lengths else 0):
        body += peer.recv(65536)
    return int(top.split()[1])


if __name__ == "__main__":
    main(sys.argv[1:])
