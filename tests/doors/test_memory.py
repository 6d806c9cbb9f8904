"""A recording of any size passes in constant memory, in every streamed form."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest

from tests.doors.kit import NOW_MS, wav_head

GIB = 1024**3
MIB = 1024**2
GROWTH_BYTES_MAX = 64 * MIB
BLOCK = os.urandom(MIB)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[int, int, str]]:
    """A server's process id, port and token."""
    command = [sys.executable, "-m", "tests.doors.served", str(tmp_path / "data")]
    root = Path(__file__).parents[2]
    environ = {**os.environ, "PYTHONPATH": f"{root / 'src'}:{root}"}
    with subprocess.Popen(
        command, cwd=root, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        port, token = process.stdout.readline().split()
        try:
            yield process.pid, int(port), token
        finally:
            process.communicate(timeout=30)
            shutil.rmtree(tmp_path / "data", ignore_errors=True)


def resident(pid: int, field: str) -> int:
    """VmRSS (now) or VmHWM (highest) of a process, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no {field}")


def content(size: int) -> Iterator[bytes]:
    """A WAV of so many bytes, in blocks."""
    head = wav_head(size - 44)
    yield head + BLOCK[len(head) :]
    for _ in range(size // MIB - 1):
        yield BLOCK


def deliver(port: int, token: str, ident: str, size: int, form: str) -> tuple[int, dict[str, str]]:
    """Sends one recording; gives status and answer."""
    name = f"{ident}~a~{NOW_MS}~{ident}.wav"
    before, after, path = b"", b"", "/v1/recordings"
    headers = {"Authorization": f"Bearer {token}"}
    if form == "raw":
        path += f"?name={quote(name)}"
    else:
        headers["Content-Type"] = "multipart/form-data; boundary=b"
        before = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n'
        metadata = msgspec.json.encode({"name": name})
        after = b'\r\n--b\r\nContent-Disposition: form-data; name="metadata"\r\n\r\n'
        after += metadata + b"\r\n--b--\r\n"
    headers["Content-Length"] = str(len(before) + size + len(after))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def body() -> Iterator[bytes]:
        yield before
        yield from content(size)
        yield after

    connection.request("POST", path, body=body(), headers=headers)
    answer = connection.getresponse()
    return answer.status, msgspec.json.decode(answer.read())


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="measures by Linux's /proc")
@pytest.mark.parametrize("form", ["raw", "multipart"])
def test_a_gibibyte_passes_with_less_than_64_mib_of_memory(
    served: tuple[int, int, str], form: str
) -> None:
    pid, port, token = served
    # What is allocated once and kept (threads, SQLite, imports) is there before we measure.
    assert deliver(port, token, "warm", 8 * MIB, form)[0] == 201
    before = resident(pid, "VmRSS")
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # the highest mark begins anew
    status, answer = deliver(port, token, "large", GIB, form)
    growth = resident(pid, "VmHWM") - before
    digest = hashlib.sha256()
    for block in content(GIB):
        digest.update(block)
    assert (status, answer["sha256"]) == (201, digest.hexdigest())
    assert growth < GROWTH_BYTES_MAX, f"grew by {growth / MIB:.1f} MiB"
    print(f"\n{form}: resident memory grew by {growth / MIB:.1f} MiB")
