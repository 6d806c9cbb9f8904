"""Small signed texts: what a day's seal, a certificate and an evidence pack say. Pure.

The first line is the title; every further one is a name, a space and a value. ASCII, one line feed
after each line, nothing else: the bytes that are signed are the bytes that a person reads, and a
shell takes a value with `sed -n 's/^root //p'`.

A statement is at most STATEMENT_BYTES_MAX long, the most that AWS KMS signs as a raw message (API
reference, Sign: "Messages can be 0-4096 bytes"), which Ed25519 there needs. What is longer is in
files of its own, and the statement has their SHA-256.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from ocp_ingest.core.errors import Damaged

STATEMENT_BYTES_MAX: Final = 4_096

DAY: Final = "ocp-ingest seal of a day"
CERTIFICATE: Final = "ocp-ingest certificate of completeness"
PACK: Final = "ocp-ingest evidence pack"
VERSION: Final = "1"

_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
_TEXT: Final = re.compile(r"[\x20-\x7e]+")


def render(title: str, fields: Mapping[str, str]) -> bytes:
    """The bytes of a statement, in the order of `fields`."""
    lines = [title, f"version {VERSION}", *(f"{name} {value}" for name, value in fields.items())]
    for name, value in fields.items():
        assert _NAME.fullmatch(name), name
        assert _TEXT.fullmatch(value), name
    body = "".join(f"{line}\n" for line in lines).encode("ascii")
    assert len(body) <= STATEMENT_BYTES_MAX, "a statement must fit into one signature"
    return body


def parse(body: bytes, title: str) -> dict[str, str]:
    """The fields of a statement. Raises Damaged unless it is one of that title, to the byte."""
    try:
        lines = body.decode("ascii").split("\n")
        fields = dict(line.split(" ", 1) for line in lines[1:-1])
    except ValueError:
        raise Damaged(f"This is no {title}.") from None
    if lines[0] != title or fields.pop("version", None) != VERSION:
        raise Damaged(f"This is no {title} of version {VERSION}.")
    try:
        again = render(title, fields)
    except AssertionError:
        again = b""
    if again != body:
        raise Damaged(f"This {title} is not written as such statements are.")
    return fields
