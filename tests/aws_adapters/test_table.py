"""Laws of the keys: no item meets another, and keys sort as what they stand for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_ingest.adapters.aws import table
from ocp_ingest.core.errors import Invalid
from ocp_ingest.core.limits import DAY_MS, TIME_MS_MAX

# Any text, and texts of the characters that keys treat as something else.
ids = st.one_of(st.text(max_size=30), st.text(alphabet='"#!$\x01\x02a', max_size=8))
times = st.integers(0, 10**15)
KEY_BYTES_MAX = 1_024  # of a sort key of DynamoDB


@given(ids, ids)
def test_keys_of_calls_sort_as_call_ids_and_hold_no_hash_mark(one: str, other: str) -> None:
    keys = [table.call_key(one), table.call_key(other)]
    assert (keys[0].encode() < keys[1].encode()) == (one < other)
    assert (keys[0] == keys[1]) == (one == other)
    assert all("#" not in key for key in keys)


@given(ids)
def test_a_key_says_its_call_and_other_keys_say_none(call_id: str) -> None:
    assert table.call_id_of(table.call_key(call_id)) == call_id
    assert table.call_id_of(f"lookup#dialog#{call_id}") is None


@given(ids, ids)
def test_shards_of_ids_are_in_the_order_of_ids(one: str, other: str) -> None:
    shards = table.id_shards()
    assert shards == sorted(set(shards))
    assert {table.id_shard(one), table.id_shard(other)} <= set(shards)
    if one <= other:
        assert table.id_shard(one) <= table.id_shard(other)


@given(times, ids, times, ids)
def test_open_work_sorts_by_time_and_then_by_call(
    at_ms: int, call_id: str, until_ms: int, other: str
) -> None:
    order = table.pending_order(at_ms, call_id)
    assert table.pending_at(order) == at_ms
    assert (order < table.pending_end(until_ms)) == (at_ms <= until_ms)
    later = table.pending_order(until_ms, other)
    assert (order.encode() < later.encode()) == ((at_ms, call_id) < (until_ms, other))


@given(st.text(max_size=1_500), st.text(max_size=5))
def test_texts_of_any_length_have_keys_of_their_own(text: str, more: str) -> None:
    key = table.bounded_key("e#", text)
    assert len(key.encode()) <= KEY_BYTES_MAX
    assert key.startswith(table.key_prefix("e#", text))
    assert table.bounded_key("e#", text + more).startswith(table.key_prefix("e#", text))
    assert (table.bounded_key("e#", text + more) == key) == (more == "")


@given(st.integers(-DAY_MS, TIME_MS_MAX + DAY_MS))
def test_a_time_is_on_the_day_that_began_before_it(at_ms: int) -> None:
    day = table.day_of(at_ms)
    assert table.DAY_MIN <= day <= table.DAY_MAX
    if 0 <= at_ms < TIME_MS_MAX:
        assert 0 <= at_ms - table.day_start_ms(day) < DAY_MS


def test_an_id_that_leaves_no_room_for_the_rest_of_a_key_is_refused() -> None:
    table.call_key("x" * table.CALL_KEY_BYTES_MAX)
    for call_id in ("x" * (table.CALL_KEY_BYTES_MAX + 1), "\U0001f600" * 251, "#" * 501):
        with pytest.raises(Invalid):
            table.call_key(call_id)
    longest = table.pending_order(0, "x" * table.CALL_KEY_BYTES_MAX)
    assert len(longest.encode()) <= KEY_BYTES_MAX
