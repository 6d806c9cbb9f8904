"""Routing to lines of business, and the keys under which untrusted ids are stored."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_ingest.core.call import Call, fold
from ocp_ingest.core.routing import FACTS, UNASSIGNED, Route, Rule, fact, object_key, route
from ocp_ingest.core.settings import LineOfBusiness, Settings
from tests.core.strategies import CALL, LAW, T0, golden, taken

CLAIMS = Rule("claims", {"ocp_group": "acme-*"}, "acme")


def call_of(**changes: Any) -> Call:
    body = {**golden("dialog_start_root"), **changes}
    return fold(body["group"], [taken(body), taken(golden("dialog_end_transfer"))])


def test_the_first_rule_that_holds_decides_and_is_named() -> None:
    rules = (Rule("sales", {"channel": "web-*"}), CLAIMS, Rule("later", {"ocp_group": "acme-*"}))
    assert route(call_of(), rules) == Route("claims", "acme")
    assert route(call_of(channel="web-chat"), rules) == Route("sales", "rule 1")


def test_without_a_rule_that_holds_the_line_of_business_is_unassigned() -> None:
    for rules in ((), (Rule("sales", {"ocp_group": "sales"}),)):
        assert route(call_of(), rules).lob == UNASSIGNED


@pytest.mark.parametrize(
    ("when", "holds"),
    [
        ({"ocp_group": "acme-claims"}, True),
        ({"ocp_group": "acme-*", "direction": "inbound"}, True),
        ({"ocp_group": "acme-*", "direction": "outbound"}, False),  # every condition must hold
        ({"ocp_group": ("other", "acme-?laims")}, True),  # any of several patterns
        ({"ocp_group": ("other", "another")}, False),
        ({"ocp_group": ()}, False),
        ({"ocp_group": "ACME-*"}, False),  # case matters
        ({"destination": "155501*"}, True),
        ({"attached.line_of_business": "claims"}, True),
        ({"attached.lob": "*"}, False),  # a fact that is unknown matches no pattern
        ({"entry_app": "claims-[vw]oicebot"}, True),
        ({"account_id": "acme01", "device_type": "mobile", "channel": "omIVR"}, True),
        ({"exit_status": "transferred"}, True),
        ({}, True),
    ],
)
def test_a_rule_holds_when_every_condition_does(when: dict[str, Any], holds: bool) -> None:
    assert (route(call_of(), (Rule("x", when),)).lob == "x") is holds


def test_every_fact_that_rules_may_ask_for_can_be_known() -> None:
    call = call_of()
    assert all(fact(call, name) for name in FACTS)


def test_a_line_of_business_has_a_bucket_and_unassigned_needs_no_configuration() -> None:
    settings = Settings(lobs={"claims": LineOfBusiness(bucket="b-7"), "sales": LineOfBusiness()})
    assert settings.buckets() == {
        "claims": "b-7", "sales": "lob-sales", UNASSIGNED: "lob-unassigned",
    }  # fmt: skip


# --- keys ---------------------------------------------------------------------------------------

nasty = st.one_of(
    st.text(min_size=1, max_size=300).filter(lambda t: not re.search("[\ud800-\udfff]", t)),
    st.sampled_from(["..", ".", "...", "/", "../..", "/etc/passwd", "a/../b", "%2e%2e", "a\\b",
                     "~", ".hidden", "a\x00b", "ñ" * 200, "x" * 200, "x" * 201]),
)  # fmt: skip


@LAW
@given(nasty, nasty)
def test_a_key_is_relative_has_no_path_steps_and_fits_a_file_system(call: str, dialog: str) -> None:
    key = object_key(call, dialog, T0, "wav")
    year, month, day, *components = key.split("/")
    assert (year, month, day) == ("2025", "11", "22")
    assert len(components) == 2
    for component in components:
        assert re.fullmatch(r"[A-Za-z0-9_%.!-]+", component)
        assert not component.startswith(".")
        assert len(component) + len(".json") <= 255
    assert components[1].endswith(".wav")
    assert object_key(call, dialog, T0, "wav") == key


@LAW
@given(nasty, nasty, nasty, nasty)
def test_distinct_ids_have_distinct_keys(call: str, dialog: str, other: str, another: str) -> None:
    same = (call, dialog) == (other, another)
    assert (object_key(call, dialog, T0, "wav") == object_key(other, another, T0, "wav")) is same


def test_a_short_id_can_not_spell_a_shortened_one() -> None:
    shortened = object_key("x" * 201, "d", T0, "wav").split("/")[3]
    assert len(shortened) < 200
    for spelled in (shortened, shortened.replace("!", "."), shortened.replace("!", "%21")):
        assert object_key(spelled, "d", T0, "wav").split("/")[3] != shortened


def test_the_date_of_a_key_is_the_utc_date_of_the_calls_start() -> None:
    midnight = 1_767_225_600_000  # 2026-01-01T00:00:00Z
    assert object_key(CALL, "d", midnight, "mp3") == f"2026/01/01/{CALL}/d.mp3"
    assert object_key(CALL, "d", midnight - 1, "mp3") == f"2025/12/31/{CALL}/d.mp3"
