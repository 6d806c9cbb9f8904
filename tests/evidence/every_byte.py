"""One call whose bytes are changed one at a time, and put back: journal, record, objects, pack.

What          its bytes                                                       found by
journal       every value of every row of the call's journal                  verify
record        the record's row, columns too                                   verify
object        audio and metadata in their bucket                              verify
pack          every file of the call's pack: events and raw bytes (the        the openssl recipe
              journal), record.json, the audio and its metadata (objects)

`python tools/tamper.py` goes over every byte; tests/evidence/test_every_byte.py over some of them.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import apsw

from ocp_ingest.bootstrap import DATABASE_FILE
from ocp_ingest.evidence import verify
from ocp_ingest.evidence.pack import pack
from tests.evidence.kit import Site, write

WHATS: Final = ("journal", "record", "object")
_INTEGER_BYTES: Final = 6  # of a time in milliseconds
# Table -> what tells its rows apart. Columns come from the file itself: none can be forgotten.
_TABLES: Final = {"journal": "journal", "record": "call"}


class Place(NamedTuple):
    """A byte: of a row's column, or of a file."""

    where: str
    at: int


class Call:
    """A site with a stored call under a closed day, among others."""

    def __init__(self, folder: Path) -> None:
        self.site = Site(folder)
        self.call_id = asyncio.run(self._fill())
        self.pack = folder / "pack"
        asyncio.run(write(pack(self.site.evidence, self.call_id), self.pack))
        self._connection = apsw.Connection(str(self.site.data_dir / DATABASE_FILE))
        self._connection.set_busy_timeout(5_000)
        self._connection.pragma("synchronous", "OFF")

    async def _fill(self) -> str:
        await self.site.announced()
        call_id = await self.site.stored()
        await self.site.announced()
        await self.site.next_day()
        return call_id

    def close(self) -> None:
        """Ends it."""
        self._connection.close()
        self.site.close()

    # -- what there is to change ------------------------------------------------------------------

    def places(self, what: str) -> list[Place]:
        """Every byte of the journal's rows, of the record's row, or of the objects."""
        return list(self._files(self._objects()) if what == "object" else self._rows(what))

    def pack_places(self) -> list[Place]:
        """Every byte of the pack, but for its recipe: whoever changed that one says anything."""
        files = sorted(path for path in self.pack.rglob("*") if path.is_file())
        return list(self._files([path for path in files if path.name != "verify.sh"]))

    def _objects(self) -> list[Path]:
        found = (self.site.data_dir / "recordings").glob("lob-*/**/*")
        return sorted(path for path in found if path.is_file())

    @staticmethod
    def _files(paths: list[Path]) -> Iterator[Place]:
        for path in paths:
            yield from (Place(str(path), at) for at in range(path.stat().st_size))

    def _rows(self, what: str) -> Iterator[Place]:
        table = _TABLES[what]
        columns = [name for _, name, *_ in self._connection.execute(f"PRAGMA table_info({table})")]
        ids = [row for (row,) in self._connection.execute(
            f"SELECT rowid FROM {table} WHERE call_id=? ORDER BY rowid", (self.call_id,)
        )]  # fmt: skip
        for row in ids:
            for column in columns:
                where = f"{what}|{table}|{column}|{row}"
                yield from (Place(where, at) for at in range(self._length(where)))

    def _length(self, where: str) -> int:
        value = self._value(where)
        if isinstance(value, int):
            return _INTEGER_BYTES
        return 0 if value is None else len(value.encode() if isinstance(value, str) else value)

    def _value(self, where: str) -> Any:
        _, table, column, row = where.split("|")
        return self._connection.execute(
            f"SELECT {column} FROM {table} WHERE rowid=?", (int(row),)
        ).get  # fmt: skip

    # -- changing it ------------------------------------------------------------------------------

    def verify_finds(self, place: Place) -> bool | None:
        """Whether `verify` finds the byte changed; None where the store itself refuses the change
        (a number that another row has).
        """
        if "|" not in place.where:
            with changed(Path(place.where), place.at):
                return self._is_bad()
        with self.changed_row(place.where, place.at) as is_changed:
            return self._is_bad() if is_changed else None

    @contextmanager
    def changed_row(self, where: str, at: int) -> Iterator[bool]:
        """One bit of a byte of a value is turned while it lasts; False where the store itself
        refuses it.
        """
        before = self._value(where)
        try:
            row = self._put(where, _flipped(before, at))
        except apsw.ConstraintError:
            yield False
            return
        try:
            yield True
        finally:
            self._put(f"{where.rpartition('|')[0]}|{row}", before)

    def recipe_finds(self, place: Place) -> bool:
        """Whether `verify.sh` finds the byte of a file of the pack changed."""
        with changed(Path(place.where), place.at):
            done = subprocess.run(
                ["sh", str(self.pack / "verify.sh")], check=False, capture_output=True, timeout=60
            )
        return done.returncode == 1

    def _is_bad(self) -> bool:
        async def look() -> bool:
            found = await verify.one_call(self.site.evidence, self.call_id)
            return any(finding.is_bad for finding in found)

        return asyncio.run(look())

    def _put(self, where: str, value: Any) -> int:
        """Changes a value; the number of its row afterwards, which may be what was changed."""
        _, table, column, row = where.split("|")
        is_text = isinstance(value, tuple)
        sql = f"UPDATE {table} SET {column} = {'CAST(? AS TEXT)' if is_text else '?'} WHERE rowid=?"
        self._connection.execute(sql, (value[0] if is_text else value, int(row)))
        if column == "seq" and table == "journal":
            return int(value)
        return int(row)


@contextmanager
def changed(path: Path, at: int) -> Iterator[None]:
    """One bit of one byte of a file is turned while it lasts."""
    held = path.read_bytes()
    path.write_bytes(_bytes(held, at))
    try:
        yield
    finally:
        path.write_bytes(held)


def _bytes(body: bytes, at: int) -> bytes:
    return body[:at] + bytes([body[at] ^ 1 << at % 8]) + body[at + 1 :]


def _flipped(value: Any, at: int) -> Any:
    """The value with one bit of its byte turned; a text as bytes in a tuple: it may be no UTF-8."""
    if isinstance(value, int):
        return value ^ 1 << (8 * at + at % 8)
    if isinstance(value, str):
        return (_bytes(value.encode(), at),)
    return _bytes(value, at)
