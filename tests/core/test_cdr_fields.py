"""Reading single fields of a CDR."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_ingest.core.cdr_fields import (
    attached,
    clean,
    exit_status,
    lookup_path,
    result_codes,
    sensitive_step,
    short,
)
from ocp_ingest.core.limits import RECORD_KEYS_MAX, RECORD_VALUE_CHARS_MAX
from ocp_ingest.core.vendor import VendorMapping
from tests.core.strategies import LAW

SUCCESS = VendorMapping().success_results
KEYS = VendorMapping().result_keys


@pytest.mark.parametrize("value", ["undefined", "", "  ", "Undefined", "null", "None", None, 5, []])
def test_what_ocp_writes_for_a_missing_value_is_missing(value: Any) -> None:
    assert clean(value) is None


@LAW
@given(st.text())
def test_a_value_that_is_there_is_kept_but_for_the_space_around_it(text: str) -> None:
    found = clean(text)
    assert found is None or (found == text.strip() and found)
    assert len(short(text)) <= RECORD_VALUE_CHARS_MAX
    assert text.startswith(short(text))


def test_a_path_through_what_is_no_object_leads_nowhere() -> None:
    body = {"flow": {"name": "Main", "path": ["a"]}, "app": "undefined"}
    assert lookup_path(body, "flow.name") == "Main"
    for path in ("flow.nothing", "flow.path.a", "app.name", "x.y.z"):
        assert lookup_path(body, path) is None


def test_attached_data_is_let_in_by_key_only() -> None:
    data = {"lob": "claims", "ani": "15550100", "card": "undefined", "n": 5}
    assert attached(data, ("lob", "card", "n", "absent")) == {"lob": "claims"}
    many = {f"k{i}": "v" for i in range(99)}
    assert len(attached(many, tuple(many))) == RECORD_KEYS_MAX


@pytest.mark.parametrize(
    ("end_type", "codes", "status"),
    [
        ("TRANSFER", {}, "transferred"),
        ("TRANSFER", {"globalResult": "success"}, "transferred"),
        ("FAR_HUP", {}, "abandoned"),
        ("FAR_HUP", {"globalResult": "failed"}, "abandoned"),
        ("FAR_HUP", {"globalResult": "success"}, "completed"),
        ("FAR_HUP", {"globalResult": "Success"}, "completed"),
        ("FAR_HUP", {"HUP": "ok"}, "abandoned"),  # who hung up is no result
        ("NEAR_HUP", {}, "completed"),
        ("NEAR_HUP", {"globalResult": "failed"}, "completed"),
        ("NORMAL", {}, "completed"),
        ("BOT_TIMEOUT", {}, "bot_timeout"),
        ("BOT_TIMEOUT", {"globalResult": "ok"}, "completed"),
        (None, {}, "unknown"),
        (None, {"globalResult": "completed"}, "completed"),
    ],
)
def test_the_exit_status_table(end_type: str | None, codes: dict[str, str], status: str) -> None:
    assert exit_status(end_type, codes, SUCCESS) == status


def test_events_of_an_end_are_one_text_of_pairs() -> None:
    text = "auxiliary:initiated:x, globalResult:success ,HUP:NEAR,noise,appId:1,authResult:a:b"
    assert result_codes(text, None, KEYS) == {
        "globalResult": "success",
        "HUP": "NEAR",
        "authResult": "a:b",
    }


@pytest.mark.parametrize(
    "kvps",
    [
        [{"key": "globalResult", "value": "success", "step": 3}, {"key": "Locale", "value": "es"}],
        {"globalResult": "success", "Locale": "es"},
        [{"key": 5, "value": "x"}, {"value": "x"}, "x", None,
         {"key": "globalResult", "value": "success"}],
    ],
)  # fmt: skip
def test_kvps_may_be_a_list_or_a_map_with_noise_between(kvps: Any) -> None:
    assert result_codes(None, kvps, KEYS) == {"globalResult": "success"}


def test_kvps_go_before_the_events_text_and_missing_values_are_no_codes() -> None:
    kvps: list[dict[str, Any]]
    kvps = [{"key": "globalResult", "value": "failed"}, {"key": "aResult", "value": "undefined"}]
    kvps += [{"key": "bResult", "value": None}, {"key": "cResult", "value": 7}]
    text = "globalResult:success,dResult:undefined,eResult:"
    expected = {"globalResult": "failed", "cResult": "7"}
    assert result_codes(text, kvps, KEYS) == expected


@LAW
@given(st.dictionaries(st.text(), st.text() | st.integers() | st.none()), st.text())
def test_result_codes_are_bounded_texts(kvps: dict[str, Any], events: str) -> None:
    for key, value in result_codes(events, kvps, ("*",)).items():
        assert len(key) <= RECORD_VALUE_CHARS_MAX
        assert 0 < len(value) <= RECORD_VALUE_CHARS_MAX
    many = {f"{i}Result": "x" for i in range(99)}
    assert len(result_codes(None, many, KEYS)) == RECORD_KEYS_MAX


def _step(level: Any) -> dict[str, Any]:
    entity = {"name": "CardNumber", "sensitivity_level": level}
    return {"nlu": {"semantic_interpretation": [{"entities": [entity]}]}}


@pytest.mark.parametrize("level", ["HIGH", "medium", "PCI", True])
def test_a_step_with_a_sensitive_entity_is_sensitive(level: Any) -> None:
    assert sensitive_step(_step(level))


@pytest.mark.parametrize("level", ["NONE", "", "undefined", "low", "not_sensitive", None, False, 3])
def test_a_step_without_one_is_not(level: Any) -> None:
    assert not sensitive_step(_step(level))


def test_a_flag_makes_a_step_sensitive_and_odd_shapes_make_none() -> None:
    assert sensitive_step({"sensitive": True})
    assert sensitive_step({"action": {"sensitive": True}})
    odd: list[Any] = [None, "x", [None], [{"entities": "x"}], [{"entities": [None]}], {}]
    for readings in odd:
        assert not sensitive_step({"nlu": {"semantic_interpretation": readings}})
    assert not sensitive_step({"sensitive": "true", "nlu": []})
