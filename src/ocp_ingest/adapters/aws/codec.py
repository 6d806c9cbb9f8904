"""Records and journal events as compressed bytes. The format is for good: items live for years.

Form of a record, after one byte that names it
  deflate stream  msgpack of [kinds, tree]: the record with every atom replaced by its number
  pool            the atoms' bytes, one after the other

What is left when the atoms (atoms.py) are out is structure, much the same in every call: the
preset dictionary holds most of it. A finished call of 3.6 KB is 300 bytes so; with a dictionary
alone it would be a thousand.

In the tree stands                  for
a negative integer -1-n             atom n
an integer key k                    words.KEYS_1[k]
text with \\x01                      text with the call's id there
text that begins with \\x02          that text without it, as it is

Form of an event, after the same byte: one deflate stream, msgpack of the list of its fields; its
dictionary ends with the call's id, which a vendor message says over and over.

Rules
1. decode(encode(x)) == x for every record and event; what fits no atom stays as it is.
2. Neither words nor dictionaries ever change: a new form gets a new number, and the old ones are
   read for ever (a test pins them).
3. Bytes that are none of ours raise Unreadable, whatever they are.
"""

from __future__ import annotations

import re
import zlib
from typing import Final

import msgspec

from ocp_ingest.adapters.aws.atoms import Atoms, atoms_of, restored
from ocp_ingest.adapters.aws.words import CDR_1, RECORD_1
from ocp_ingest.core.call import Call
from ocp_ingest.core.events import Event
from ocp_ingest.core.limits import MIB

FORM: Final = b"\x01"

# What a stream may unfold to: forty times the largest event, and as much memory as we may spare.
_BYTES_MAX: Final = 16 * MIB
_LEVEL: Final = 9
_RAW_DEFLATE: Final = -15
_MEMORY: Final = 9

_HEX_TEXT: Final = re.compile(r"(?:[0-9a-f]{2})+")

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder().decode


class Unreadable(Exception):
    """Bytes that this program did not write, or a newer one did."""


def encode_call(call: Call) -> bytes:
    """A record as bytes."""
    atoms = Atoms(call.call_id)
    tree = atoms.tree(_unpack(_pack(call)))
    body = _pack([bytes(atoms.kinds), tree])
    return FORM + _deflate(body, RECORD_1) + bytes(atoms.pool)


def decode_call(call_id: str, body: bytes) -> Call:
    """The record of a call. Raises Unreadable."""
    try:
        shape, pool = _inflate(body, RECORD_1)
        kinds, tree = _unpack(shape)
        call = msgspec.convert(restored(tree, call_id, atoms_of(call_id, kinds, pool)), Call)
    except _BROKEN as error:
        raise Unreadable("A record can't be read.") from error
    if call.call_id != call_id:
        raise Unreadable("A record is another call's.")
    return call


def encode_event(event: Event) -> bytes:
    """An event without its call's id and its own."""
    fields = [
        event.kind, event.at_ms, event.key_at_ms, event.source, event.received_at_ms,
        _from_hex(event.body_hash), msgspec.json.encode(event.data), event.raw, event.event_id,
    ]  # fmt: skip
    return FORM + _deflate(_pack(fields), CDR_1 + event.call_id.encode())


def decode_event(call_id: str, body: bytes) -> Event:
    """The event of a call. Raises Unreadable."""
    try:
        fields, rest = _inflate(body, CDR_1 + call_id.encode())
        kind, at_ms, key_at_ms, source, received_at_ms, digest, data, raw, event_id = _unpack(
            fields
        )
        if rest:
            raise ValueError("more than an event")
        body_hash = digest.hex() if isinstance(digest, bytes) else digest
        return msgspec.convert(
            {
                "call_id": call_id, "event_id": event_id, "kind": kind, "at_ms": at_ms,
                "key_at_ms": key_at_ms, "source": source, "received_at_ms": received_at_ms,
                "data": msgspec.json.decode(data), "raw": raw, "body_hash": body_hash,
            },
            Event,
        )  # fmt: skip
    except _BROKEN as error:
        raise Unreadable("An event can't be read.") from error


_BROKEN: Final = (
    zlib.error, msgspec.MsgspecError, ValueError, TypeError, KeyError, IndexError, OverflowError,
    RecursionError,
)  # fmt: skip


def _deflate(body: bytes, dictionary: bytes) -> bytes:
    stream = zlib.compressobj(
        _LEVEL, zlib.DEFLATED, _RAW_DEFLATE, _MEMORY, zlib.Z_DEFAULT_STRATEGY, dictionary
    )
    return stream.compress(body) + stream.flush()


def _inflate(body: bytes, dictionary: bytes) -> tuple[bytes, bytes]:
    """What the stream held, and what stands after it."""
    if body[:1] != FORM:
        raise ValueError("a form that this program does not know")
    stream = zlib.decompressobj(_RAW_DEFLATE, dictionary)
    held = stream.decompress(body[1:], _BYTES_MAX)
    if not stream.eof:
        raise ValueError("a stream without its end")
    return held, stream.unused_data


def _from_hex(text: str) -> bytes | str:
    return bytes.fromhex(text) if text and _HEX_TEXT.fullmatch(text) else text
