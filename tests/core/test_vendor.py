"""What OCP's messages say, and what they do not: laws of parsing CDRs (ocp-facts section 4)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_ingest.core.call import Call, flags, fold
from ocp_ingest.core.errors import Invalid
from ocp_ingest.core.events import Event
from ocp_ingest.core.lifecycle import missing_cdrs
from ocp_ingest.core.limits import DURATION_MS_MAX, ID_CHARS_MAX, RECORD_VALUE_CHARS_MAX
from ocp_ingest.core.vendor import Context, VendorMapping, lookups, parse
from tests.core.strategies import GOLDEN, KEY, LAW, NUMBER, T0, bodies, golden, taken

MAPPING = VendorMapping()
CONTEXT = Context(number_key=KEY)
NAMES = sorted(path.stem for path in GOLDEN.glob("*.json"))
NUMBERS = ("15550100", "15550123")  # of the caller, and of an unlisted attached key


def parsed(body: Any, context: Context = CONTEXT, mapping: VendorMapping = MAPPING) -> Event | None:
    return parse(body, b"raw", mapping, context).event


def record(*bodies: dict[str, Any], mapping: VendorMapping = MAPPING) -> Call:
    events = [taken(body, mapping=mapping) for body in bodies]
    return fold(events[0].call_id, events)


@pytest.mark.parametrize("name", NAMES)
def test_every_golden_payload_is_taken_with_its_raw_bytes(name: str) -> None:
    raw = (GOLDEN / f"{name}.json").read_bytes()
    found = parse(json.loads(raw), raw, MAPPING, CONTEXT)
    assert found.event is not None
    assert found.event.raw == raw
    assert found.known is (name != "vb_enrolment")


@pytest.mark.parametrize("name", NAMES)
def test_no_number_of_the_customer_is_anywhere_in_an_events_data(name: str) -> None:
    event = taken(golden(name))
    said = json.dumps(event.data) + event.event_id
    if name == "dialog_start_outbound":
        # There the dialled number is the customer's; routing needs it, views mask it.
        assert event.data["sets"].pop("destination")[1] == NUMBER
        said = json.dumps(event.data)
    for number in NUMBERS:
        assert number not in said


@LAW
@given(bodies(), st.sampled_from([NUMBER, " 15550100 "]), st.booleans())
def test_the_callers_number_is_never_kept_not_even_as_customer_id_or_hash(
    body: dict[str, Any], number: str, keyed: bool
) -> None:
    attached = {"customer_id": number, "lob": "claims", "ani": number}
    said = {"origin_uri": number, "hashed_origin_uri": number, "incoming_attached_data": attached}
    event = parsed({**body, **said}, Context(number_key=KEY if keyed else b""))
    assert event is not None
    assert NUMBER not in json.dumps(event.data)


def test_the_root_dialog_starts_and_ends_the_call() -> None:
    start, end = golden("dialog_start_root"), golden("dialog_end_near_hup")
    call = record(start, end)
    assert flags(call)["call_started"] == start["time"]
    assert flags(call)["call_ended"] == flags(call)["ivr_ended"] == end["time"] + end["duration"]
    assert missing_cdrs(call) == ()


def test_the_time_of_a_dialog_end_is_the_start_and_duration_is_milliseconds() -> None:
    call = record(golden("dialog_end_transfer"))
    assert call.get("call_started") == 1_763_805_600_000
    assert call.get("call_ended") == 1_763_805_600_000 + 20_253
    assert call.get("duration_ms") == 20_253
    assert missing_cdrs(call) == ("dialog_start",), "an end tells the start, but is no CDR Start"


def test_what_closes_is_configuration() -> None:
    mapping = VendorMapping(time_is_start=(), call_ended=("ivr_end", "dialog_end"))
    call = record(golden("dialog_end_transfer"), mapping=mapping)
    assert call.get("call_ended") == 1_763_805_600_000
    both = record(golden("dialog_end_transfer"), golden("ivr_end"), mapping=mapping)
    assert both.get("call_ended") == 1_763_805_615_000, "the first selector that speaks wins"
    child = VendorMapping(call_started=("dialog_start:child",))
    started = record(golden("dialog_start_child"), golden("dialog_start_root"), mapping=child)
    assert started.get("call_started") == golden("dialog_start_child")["time"]


@pytest.mark.parametrize("name", [n for n in NAMES if "child" in n])
def test_a_childs_messages_are_kept_on_the_call_but_neither_start_nor_end_it(name: str) -> None:
    body = golden(name)
    call = record(body)
    assert call.call_id == body["group"] != body["id"]
    assert call.evidenced
    assert not any(flags(call).values())
    assert missing_cdrs(call) == ("dialog_start", "dialog_end")
    assert call.get("seen") == body["time"]
    assert call.root_dialog_id == call.call_id


@pytest.mark.parametrize(
    ("ident", "flow", "root"),
    [
        ("g", {"parent_step": 3, "type": "Alphanumeric"}, True),
        ("d", {"parent_step": 0, "type": "Flow"}, True),
        ("d", {"parent_step": "0", "type": "Flow"}, True),
        ("d", {"parent_step": 0, "type": "YesNo"}, False),
        ("d", {"parent_step": 1, "type": "Flow"}, False),
        ("d", {}, False),
        ("d", None, True),
        ("d", "undefined", True),
    ],
)
def test_which_dialog_is_the_root(ident: str, flow: Any, root: bool) -> None:
    body = {"message_type": "dialog_start", "id": ident, "group": "g", "time": T0, "flow": flow}
    event = taken(body)
    assert event.data["root"] is root
    assert ("call_started" in event.data["sets"]) is root


def test_undefined_and_empty_are_missing_values() -> None:
    sets = taken(golden("dialog_start_missing_values")).data["sets"]
    assert set(sets) == {
        "seen", "call_started", "root_dialog_id", "direction", "entry_app", "test_flag",
    }  # fmt: skip


@pytest.mark.parametrize("word", ["undefined", "", "UNDEFINED", "  ", "null", None])
@pytest.mark.parametrize("field", ["message_type", "id", "group"])
def test_a_required_field_that_is_missing_is_named(field: str, word: Any) -> None:
    with pytest.raises(Invalid, match=f"`{field}`"):
        parsed({**golden("dialog_start_root"), field: word})


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("id", 17, "`id` must be text, this is a number"),
        ("group", ["g"], "`group` must be text, this is an array"),
        ("id", "x" * (ID_CHARS_MAX + 1), "`id` must be at most 256"),
        ("group", "a\nb", "`group` must be at most 256 printable"),
        ("time", None, "`time` must be epoch milliseconds as an integer, this is nothing"),
        ("time", True, "`time` .* this is true/false"),
        ("time", "yesterday", "`time` .* this is text"),
        ("time", 1_763_805_600, "`time` must be epoch MILLIseconds"),
        ("time", 1_763_805_600_000_000, "`time` must be epoch MILLIseconds"),
        ("duration", -1, "`duration` must be milliseconds"),
        ("duration", DURATION_MS_MAX + 1, "`duration` must be milliseconds"),
        ("duration", True, "`duration` must be milliseconds"),
        ("duration", {"ms": 1}, "`duration` must be milliseconds"),
    ],
)
def test_an_error_names_the_field_and_what_belongs_in_it(
    field: str, value: Any, expected: str
) -> None:
    with pytest.raises(Invalid, match=expected):
        parsed({**golden("dialog_end_normal"), field: value})


@pytest.mark.parametrize("body", [None, [], "dialog_start", 7, True])
def test_what_is_no_object_is_refused_by_its_name(body: Any) -> None:
    with pytest.raises(Invalid, match="must be a JSON object"):
        parsed(body)


@pytest.mark.parametrize("time", [T0, str(T0), float(T0)])
def test_a_time_may_come_as_text_or_as_a_whole_float(time: Any) -> None:
    event = parsed({**golden("dialog_start_root"), "time": time})
    assert event is not None
    assert event.at_ms == event.key_at_ms == T0


def test_a_missing_duration_is_no_error_and_sets_none() -> None:
    for word in (None, "", "undefined"):
        sets = taken({**golden("dialog_end_normal"), "duration": word}).data["sets"]
        assert "duration_ms" not in sets
        assert "ivr_duration_ms" not in sets


def test_older_names_of_message_types_mean_the_newer_ones() -> None:
    for name in ("dialog_start_old_name", "dialog_end_old_name"):
        event = taken(golden(name))
        assert event.kind == name.removesuffix("_old_name")
        assert event.event_id == f"{event.kind}:{golden(name)['id']}"


def test_a_type_unknown_to_us_is_kept_and_is_no_evidence() -> None:
    found = parse(golden("vb_enrolment"), b"{}", MAPPING, CONTEXT)
    assert not found.known
    assert found.event is not None
    assert found.event.call_id == golden("vb_enrolment")["dialog_id"]
    assert found.event.kind == "other"
    assert found.event.data == {"message_type": "vb_enrolment"}
    assert not fold(found.event.call_id, [found.event]).evidenced


def test_a_type_unknown_to_us_that_names_no_call_gives_no_event() -> None:
    for ids in ({}, {"id": "undefined"}, {"group": "a\x00b"}, {"dialog_id": "x" * 300}):
        found = parse({"message_type": "audit", **ids}, b"{}", MAPPING, CONTEXT)
        assert (found.event, found.message_type, found.known) == (None, "audit", False)


@pytest.mark.parametrize("kind", ["received", "closed:lost", "dialog_start:x", "routed\n", "other"])
def test_a_type_unknown_to_us_can_not_spell_the_id_of_another_event(kind: str) -> None:
    event = parsed({"message_type": kind, "id": "d", "group": "g", "time": T0})
    assert event is not None
    assert event.kind == "other"
    assert event.event_id.startswith("other:")
    assert event.event_id.isprintable()


@LAW
@given(st.dictionaries(st.text(max_size=8), st.integers() | st.text() | st.none(), max_size=6))
def test_fields_unknown_to_us_change_no_fact(extra: dict[str, Any]) -> None:
    body = golden("dialog_start_root")
    extra = {f"x-{key}": value for key, value in extra.items()}
    plain, more = taken(body), taken({**body, **extra})
    assert more.data == plain.data
    assert more.event_id == plain.event_id
    assert (more.body_hash == plain.body_hash) is (not extra)


def test_key_order_and_spaces_do_not_make_another_message() -> None:
    body = golden("dialog_step")
    turned = dict(reversed(body.items()))
    assert taken(turned).event_id == taken(body).event_id
    assert taken(turned).body_hash == taken(body).body_hash


def test_start_step_and_end_of_one_dialog_are_three_events() -> None:
    steps = [golden("dialog_step"), {**golden("dialog_step"), "time": T0 + 1}]
    steps.append({**golden("dialog_step"), "step": 9})
    found = [golden("dialog_start_root"), golden("dialog_end_normal"), *steps]
    assert len({body["id"] for body in found}) == 1
    assert len({taken(body).event_id for body in found}) == 5


# --- the customer ---------------------------------------------------------------------------------


def customer(**changes: Any) -> tuple[int, str] | None:
    sets = taken({**golden("dialog_start_root"), **changes}).data["sets"]
    said = sets.get("customer_id")
    return None if said is None else (said[0], said[1])


def test_the_customer_is_the_attached_key_else_ocps_hash_else_a_keyed_hash() -> None:
    none: dict[str, Any] = {"incoming_attached_data": {}}
    assert customer() == (0, "CU-20417")
    assert customer(incoming_attached_data={"customerId": "B", "customer_id": "undefined"}) == (
        0, "B",
    )  # fmt: skip
    assert customer(**none) == (10, "9c2e5a71d0b34f86a8c1e7d95b203f64")
    keyed = customer(**none, hashed_origin_uri="")
    assert keyed is not None
    assert keyed[0] == 20
    assert keyed[1].startswith("hmac:")
    assert customer(**none, hashed_origin_uri="undefined", origin_uri="undefined") is None


def test_without_a_key_a_number_gives_no_customer_and_other_keys_give_others() -> None:
    body = {**golden("dialog_start_root"), "incoming_attached_data": {}, "hashed_origin_uri": ""}
    found = []
    for key in (b"", b"one", b"two", b"one"):
        event = parsed(body, Context(number_key=key))
        assert event is not None
        found.append(event.data["sets"].get("customer_id"))
    assert found[0] is None
    assert found[1] == found[3] != found[2]


def test_of_a_call_that_we_make_the_customer_is_the_one_who_is_called() -> None:
    inbound = customer(incoming_attached_data={}, hashed_origin_uri="")
    outbound = golden("dialog_start_outbound")
    assert outbound["destination_uri"] == golden("dialog_start_root")["origin_uri"]
    assert taken(outbound).data["sets"]["customer_id"] == list(inbound or ())


def test_cdr_start_names_the_customer_before_cdr_end_and_a_key_before_any_hash() -> None:
    start = {**golden("dialog_start_root"), "incoming_attached_data": {}}
    end = {**golden("dialog_end_normal"), "incoming_attached_data": {"customer_id": "E"}}
    assert record(start, end).get("customer_id") == "E"
    assert record(golden("dialog_start_root"), end).get("customer_id") == "CU-20417"


def test_only_listed_attached_keys_enter_the_record() -> None:
    assert record(golden("dialog_start_root")).get("attached") == {
        "customer_id": "CU-20417",
        "line_of_business": "claims",
    }


# --- the end ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("dialog_end_far_hup", "abandoned"),
        ("dialog_end_near_hup", "completed"),
        ("dialog_end_transfer", "transferred"),
        ("dialog_end_normal", "completed"),
        ("dialog_end_new_end_type", "completed"),  # by its result
        ("dialog_end_no_end_type", "unknown"),
    ],
)
def test_exit_status_and_result_codes_come_from_cdr_end(name: str, status: str) -> None:
    call = record(golden(name))
    assert call.get("exit_status") == status
    assert call.get("end_type") == golden(name).get("end_type")


def test_result_codes_come_from_the_events_text_and_from_kvps() -> None:
    assert record(golden("dialog_end_far_hup")).get("result_codes") == {
        "globalResult": "abandoned",
        "HUP": "FAR",
        "identificationResult": "failed",
    }


def test_what_customers_key_in_is_no_result_code() -> None:
    kvps = [{"key": key, "value": "1234"} for key in ("pinCode", "zip_code", "cardNumber")]
    call = record({**golden("dialog_end_normal"), "kvps": kvps})
    assert call.get("result_codes") == {"globalResult": "success"}


def test_ivr_end_has_its_own_time_and_its_word_goes_before_that_of_cdr_end() -> None:
    end = golden("dialog_end_far_hup")
    call = record(end, golden("ivr_end"))
    assert call.get("ivr_ended") == 1_763_805_615_000
    assert call.get("ivr_duration_ms") == 15_000
    assert call.get("exit_status") == "transferred"
    assert call.get("result_codes") == {"globalResult": "success", "queue": "claims-agents"}
    assert call.get("call_ended") == end["time"] + end["duration"]
    assert call.get("duration_ms") == end["duration"]


def test_without_ivr_end_cdr_end_ends_the_ivr_too() -> None:
    call = record(golden("dialog_end_far_hup"))
    assert call.get("ivr_ended") == call.get("call_ended")
    assert call.get("ivr_duration_ms") == 20_253


@pytest.mark.parametrize(("name", "held"), [("dialog_step", None), ("dialog_step_sensitive", True)])
def test_sensitive_steps_are_remembered(name: str, held: bool | None) -> None:
    assert record(golden(name)).get("sensitive") is held


def test_a_test_call_is_one_if_any_message_of_its_root_says_so() -> None:
    test, plain = golden("dialog_start_test_call"), golden("dialog_end_normal")
    assert record(test, plain).get("test_flag") is True
    assert record(plain).get("test_flag") is False
    assert record({**golden("dialog_start_child"), "test_flag": True}).get("test_flag") is None


# --- the tenant's group ---------------------------------------------------------------------------


def test_the_ocp_group_is_the_messages_the_urls_the_clients_or_the_default() -> None:
    body = golden("dialog_start_root")
    full = Context(ocp_group_url="url", ocp_group_client="client", ocp_group_default="default")
    lacking = {**body, "flow": {**body["flow"], "ocp_group_name": "undefined"}}
    found = [
        parsed(body, full),
        parsed(lacking, full),
        parsed(lacking, Context(ocp_group_client="client", ocp_group_default="default")),
        parsed(lacking, Context(ocp_group_default="default")),
    ]
    said = [event.data["sets"]["ocp_group"] for event in found if event is not None]
    assert said == [[0, "acme-claims"], [1, "url"], [2, "client"], [3, "default"]]
    nothing = parsed(lacking, Context())
    assert nothing is not None
    assert "ocp_group" not in nothing.data["sets"]


def test_a_group_that_is_known_by_a_better_word_stays() -> None:
    start, end = golden("dialog_start_root"), golden("dialog_end_normal")
    end["flow"].pop("ocp_group_name")
    late = parsed(end, Context(ocp_group_url="other"))
    assert late is not None
    for order in ([taken(start), late], [late, taken(start)]):
        assert fold(start["group"], order).get("ocp_group") == "acme-claims"


# --- bounds and look-ups ------------------------------------------------------------------------


def test_values_are_shortened_and_ids_never() -> None:
    body = golden("dialog_start_root")
    long = "x" * 999
    flow = {**body["flow"], "ocp_group_name": long, "account_id": long}
    sets = taken({**body, "channel": long, "session_id": long, "flow": flow}).data["sets"]
    for field in ("channel", "session_id", "account_id", "ocp_group"):
        assert sets[field][1] == long[:RECORD_VALUE_CHARS_MAX]
    longest = "x" * ID_CHARS_MAX
    assert taken({**body, "id": longest, "group": longest}).call_id == longest


def test_a_call_is_found_by_dialog_session_and_connection() -> None:
    body = golden("dialog_start_child")
    found = lookups(taken(body))
    assert ("dialog", body["id"]) in found
    root = golden("dialog_start_root")
    assert set(lookups(taken(root))) == {
        ("dialog", root["id"]),
        ("session", root["session_id"]),
        ("connection", root["connection_id"]),
    }
    assert lookups(taken(golden("vb_enrolment"))) == []
    assert lookups(taken(golden("ivr_end"))) == [], "its id need not be a dialog's"
