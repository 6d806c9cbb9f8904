"""Bytes over HTTP: ranges, ETags, and the ways in which a download goes wrong."""

import asyncio
import hashlib
import shutil
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Protocol

from aiohttp import web

CHUNK_BYTES: Final = 64 * 1024
HALF_WAY: Final = frozenset({"cut", "short_body", "token_expired"})
ZIP_TIME: Final = (2024, 1, 1, 0, 0, 0)  # fixed, so that the same content is the same file
_OTHER: Final = bytes(byte ^ 0x5A for byte in range(256))
FLUSH_S: Final = 0.05  # lets what was written leave before the connection dies


class Blob(Protocol):
    """Something to download."""

    size: int
    sha256: str

    def read(self, offset: int, length: int) -> bytes:
        """That many bytes from there."""
        ...


class Memory:
    """Bytes at hand."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)
        self.sha256 = hashlib.sha256(data).hexdigest()

    def read(self, offset: int, length: int) -> bytes:
        """That many bytes from there."""
        return self._data[offset : offset + length]


class OnDisk:
    """A file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = path.stat().st_size
        with path.open("rb") as file:
            self.sha256 = hashlib.file_digest(file, "sha256").hexdigest()

    def read(self, offset: int, length: int) -> bytes:
        """That many bytes from there."""
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(length)


class ZipFolder:
    """ZIPs, built once each in a temporary folder that goes away with `close`."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="ocp-sim-"))
        self._built: dict[str, OnDisk] = {}
        self._lock = asyncio.Lock()

    async def get(self, key: str, members: Iterable[tuple[str, bytes]]) -> OnDisk:
        """The ZIP of that key (a plain word), built of the members when first asked for."""
        async with self._lock:
            if key not in self._built:
                path = self._folder / f"{key}.zip"
                await asyncio.to_thread(_build, path, members)
                self._built[key] = await asyncio.to_thread(OnDisk, path)
            return self._built[key]

    def close(self) -> None:
        """Delete them all."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _build(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name, ZIP_TIME), data)


async def send(
    request: web.Request, blob: Blob, content_type: str, fault: str | None = None
) -> web.StreamResponse:
    """Answer a download, whole or in part; raises `web.HTTPRequestRangeNotSatisfiable`."""
    etag = f'"{blob.sha256[:32]}"'
    begin, end, status = _span(request, blob.size, etag)
    headers = {"ETag": etag, "Accept-Ranges": "bytes", "Content-Type": content_type}
    if status == 206:
        headers["Content-Range"] = f"bytes {begin}-{end - 1}/{blob.size}"
    if fault == "truncated":
        end = begin + (end - begin) // 2
    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = end - begin
    await response.prepare(request)
    if request.method == "HEAD":
        return response
    stop = begin + (end - begin) // 2 if fault in HALF_WAY else end
    for at in range(begin, stop, CHUNK_BYTES):
        chunk = blob.read(at, min(CHUNK_BYTES, stop - at))
        await response.write(_wrong(chunk) if fault == "wrong_bytes" else chunk)
    if fault in HALF_WAY:
        await asyncio.sleep(FLUSH_S)
        drop(request, politely=fault == "short_body")
        return response
    await response.write_eof()
    return response


def drop(request: web.Request, *, politely: bool = False) -> None:
    """Close the connection: with a FIN after what was written, or with a reset."""
    if request.transport is not None:
        if politely:
            request.transport.close()
        else:
            request.transport.abort()


def _span(request: web.Request, size: int, etag: str) -> tuple[int, int, int]:
    if "Range" not in request.headers or request.headers.get("If-Range", etag) != etag:
        return 0, size, 200
    try:
        asked = request.http_range
    except ValueError:
        return 0, size, 200
    begin, end, _ = asked.indices(size)
    if begin >= end:
        raise web.HTTPRequestRangeNotSatisfiable(headers={"Content-Range": f"bytes */{size}"})
    return begin, end, 206


def _wrong(chunk: bytes) -> bytes:
    """Other bytes of the same length."""
    return chunk.translate(_OTHER)
