"""What any server has to do for a recording, step by step, and nothing else: no HTTP but the head.

    python -m bench.peers.floor PORT FOLDER STEPS

STEPS is a number: 1 receives a body, 2 writes it too, 3 hashes it with SHA-256 too, 4 makes it
durable too (fsync, begun while more comes). One thread, one connection at a time, blocks of 1 MiB.
"""

import hashlib
import os
import secrets
import socket
import sys
from pathlib import Path
from typing import Final

BLOCK_BYTES: Final = 1024 * 1024  # as large as ours
BEGIN_BYTES: Final = 2 * 1024 * 1024  # as often as ours
STEPS: Final = ("receive", "write", "SHA-256", "fsync")
ANSWER: Final = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"


def main(port: int, folder: Path, steps: int) -> None:
    """Serves until it is ended."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            peer, _ = listener.accept()
            with peer:
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while taken(peer, folder / secrets.token_hex(16), steps):
                    peer.sendall(ANSWER)


def taken(peer: socket.socket, path: Path, steps: int) -> bool:
    """Takes one request; False when no more comes."""
    block = memoryview(bytearray(BLOCK_BYTES))
    held = b""
    while b"\r\n\r\n" not in held:
        got = peer.recv(65536)
        if not got:
            return False
        held += got
    head, _, first = held.partition(b"\r\n\r\n")
    left = length(head)
    block[: len(first)] = first
    have, digest = len(first), hashlib.sha256()
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY) if left and steps > 1 else -1
    done = begun = 0
    while left > done:
        while have < min(BLOCK_BYTES, left - done):
            have += peer.recv_into(block[have : left - done])
        if steps > 1:
            os.write(descriptor, block[:have])
        if steps > 2:
            digest.update(block[:have])
        done, have = done + have, 0
        if steps > 3 and done - begun >= BEGIN_BYTES:
            os.posix_fadvise(descriptor, begun, 0, os.POSIX_FADV_DONTNEED)
            begun = done
    if descriptor >= 0:
        if steps > 3:
            os.fsync(descriptor)
        os.close(descriptor)
    return True


def length(head: bytes) -> int:
    """The announced length of a body; 0 without one."""
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
