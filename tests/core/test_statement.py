"""Laws of statements: what is written is read back, and nothing else is one."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_ingest.core.errors import Damaged
from ocp_ingest.core.statement import DAY, PACK, STATEMENT_BYTES_MAX, parse, render

names = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True).filter(lambda n: n != "version")
values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=40)


@given(st.dictionaries(names, values, max_size=6))
def test_what_is_written_is_read_back(fields: dict[str, str]) -> None:
    assert parse(render(DAY, fields), DAY) == fields


@given(st.dictionaries(names, values, min_size=1, max_size=4), st.data())
def test_no_changed_byte_reads_as_the_same(fields: dict[str, str], data: st.DataObject) -> None:
    body = render(DAY, fields)
    at = data.draw(st.integers(0, len(body) - 1))
    bit = data.draw(st.integers(0, 7))
    changed = body[:at] + bytes([body[at] ^ (1 << bit)]) + body[at + 1 :]
    with contextlib.suppress(Damaged):
        assert parse(changed, DAY) != fields


@pytest.mark.parametrize(
    "body",
    [
        b"", b"\n", b"ocp-ingest seal of a day\n", render(PACK, {"day": "x"}),
        render(DAY, {"day": "x"})[:-1], render(DAY, {"day": "x"}) + b"\n",
        render(DAY, {"day": "x"}) + b"day y\n", b"\xff\xfe",
        b"ocp-ingest seal of a day\nversion 2\nday x\n",
    ],
)  # fmt: skip
def test_anything_else_is_none(body: bytes) -> None:
    with pytest.raises(Damaged):
        parse(body, DAY)


@pytest.mark.parametrize("value", ["", "a\nb", "ñ", "x" * STATEMENT_BYTES_MAX])
def test_what_a_statement_can_not_say_is_a_bug(value: str) -> None:
    with pytest.raises(AssertionError):
        render(DAY, {"field": value})
