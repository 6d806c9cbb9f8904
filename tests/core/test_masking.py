"""What is personal never passes; identifiers, times and shapes do."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_ingest.core.masking import MASK, mask, mask_raw, mask_sets, mask_text

CALL = "1f0e2d3c4b5a69788796a5b4c3d2e1f01f0e2d3c.1795341600000.0f1e2d3c4b5a69788796a5b4c3d2e1f0"


@pytest.mark.parametrize(
    "text",
    ["+34600123456", "600 123 456", "(0034) 600-12-34-56", "tel:+34600123456", "91.555.12.34",
     "sip:34600123456@host", "1234567", "+1 (212) 555-0100"],
)  # fmt: skip
def test_telephone_numbers_are_masked_wherever_they_stand(text: str) -> None:
    for context in (text, f"call {text} back", f"a,{text};b", f'"{text}"'):
        masked = mask_text(context)
        assert MASK in masked
        assert sum(c.isdigit() for c in masked) == 0


@pytest.mark.parametrize(
    "text",
    [CALL, "123456", "6f0c2f0e-4a57-4a0e-9df5-3f1d0f6a7f11", "v1.2.3", "r600123456x", "",
     f"{CALL}~acc-7~1795341600000~{CALL}.wav", "0123456789abcdef0123456789abcdef"],
)  # fmt: skip
def test_identifiers_and_short_numbers_stay(text: str) -> None:
    assert mask_text(text) == text


def test_personal_fields_are_masked_at_any_depth_and_shapes_stay() -> None:
    body = {
        "id": "600123456", "time": 1_795_341_600_000, "origin_uri": "undefined",
        "destination_uri": "900100200", "test_flag": False,
        "incoming_attached_data": {"dni": "12345678Z", "empty": "", "vip": True, "n": 7},
        "a": [{"b": {"Origin_URI": "x", "transcription": "hola", "name": "intent"}}],
        "nlu": {"entities": [{"name": "dni", "instances": [{"value": "1", "begin": 3}]}]},
        "kvps": [{"key": "pin", "value": "0000", "step": 2}, {"key": "okResult", "value": "yes"}],
    }  # fmt: skip
    assert mask(body, ("*Result",)) == {
        "id": "600123456", "time": 1_795_341_600_000, "origin_uri": "undefined",
        "destination_uri": MASK, "test_flag": False,
        "incoming_attached_data": {"dni": MASK, "empty": "", "vip": True, "n": MASK},
        "a": [{"b": {"Origin_URI": MASK, "transcription": MASK, "name": "intent"}}],
        "nlu": {"entities": [{"name": "dni", "instances": [{"value": MASK, "begin": MASK}]}]},
        "kvps": [{"key": "pin", "value": MASK, "step": 2}, {"key": "okResult", "value": "yes"}],
    }  # fmt: skip


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
SECRET = "5550123 9876"


def _shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _shape(v) for k, v in value.items()}
    return [_shape(v) for v in value] if isinstance(value, list) else None


@given(value=JSON, field=st.sampled_from(["origin_uri", "attached", "utterance", "phone"]))
def test_no_personal_value_passes_whatever_surrounds_it(value: Any, field: str) -> None:
    body = {"x": [value, {field: {"deep": [SECRET, {"er": SECRET}]}}], "note": f"({SECRET})"}
    masked = mask(body)
    assert b"5550123" not in msgspec.json.encode(masked)
    assert _shape(masked) == _shape(body)


def test_absurd_depth_is_cut_not_crashed() -> None:
    value: Any = SECRET
    for _ in range(500):
        value = [{"origin_uri": value}]
    assert b"5550123" not in msgspec.json.encode(mask(value))


def test_raw_bytes_that_are_no_json_are_not_shown() -> None:
    assert mask_raw(b"") is None
    assert mask_raw(b"+34600123456") is None
    assert mask_raw(b'{"origin_uri":"1"}') == {"origin_uri": MASK}


def test_registers_are_masked_by_their_fields() -> None:
    sets = {
        "attached": [0, {"dni": "1"}], "destination": [0, "900100200"], "seen": [0, 5],
        "result_codes": [0, {"okResult": "yes", "called": "600123456"}],
        "session_id": [1, "600123456"],
    }  # fmt: skip
    assert mask_sets(sets) == {
        "attached": [0, {"dni": MASK}], "destination": [0, MASK], "seen": [0, 5],
        "result_codes": [0, {"okResult": "yes", "called": MASK}], "session_id": [1, "600123456"],
    }  # fmt: skip
