"""What the audit archive keeps, under which names, and what is read back of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_ingest.adapters.aws import archive_rules as rules
from ocp_ingest.adapters.aws.journal_items import item_of
from ocp_ingest.core.call import fold
from ocp_ingest.core.errors import Damaged
from ocp_ingest.core.events import Event, content_hash, variant_of
from tests.audit.stream import Record, record
from tests.contracts import samples


def written(event: Event) -> Record:
    """The stream's record of an event's first writing."""
    item = item_of(event)
    return record({"pk": item["pk"], "sk": item["sk"]}, None, item)


def other(pk: str, sk: str, old: Any = None, new: Any = None) -> Record:
    """A record of any other item."""
    key = {"pk": {"S": pk}, "sk": {"S": sk}}
    return record(key, old and key | old, new and key | new)


def lines(*records: Record) -> tuple[rules.Line, ...]:
    """Lines of a batch that holds nothing else."""
    found = rules.sort_out(records)
    assert not found.rejects
    return found.lines


def there_and_back(found: tuple[rules.Line, ...]) -> list[rules.Line]:
    """Through an object and out of it."""
    return rules.lines_of(rules.unpacked(rules.packed(rules.body(found))))


def journal_of(call: str) -> list[Event]:
    """Events of every kind as a store keeps them: one for each id, other bodies as variants."""
    held: dict[str, Event] = {}
    for event in samples.pool(call):
        taken = event.event_id in held
        one = variant_of(event) if taken else event
        held.setdefault(one.event_id, one)
    return list(held.values())


@given(st.permutations(journal_of("c#1")), st.data())
def test_a_call_is_the_same_from_its_archive_whatever_the_order_and_the_repeats(
    events: list[Event], data: st.DataObject
) -> None:
    again = data.draw(st.lists(st.sampled_from(events)))
    kept = there_and_back(lines(*map(written, [*events, *again])))
    journal = rules.read_back(kept)["c#1"]
    assert journal == events
    assert fold("c#1", journal) == fold("c#1", events)


def test_an_event_keeps_the_vendors_bytes_and_its_hash() -> None:
    event = samples.start(text="Über 🎧")
    (line,) = there_and_back(lines(written(event)))
    assert line.event == event
    assert line.event.raw
    assert line.content_hash == content_hash(event)
    assert (line.kind, line.at_ms, line.event_id) == (event.kind, event.at_ms, event.event_id)


@pytest.mark.parametrize(
    ("pk", "sk", "what"),
    [
        ("c1", "o", "opening"), ("c1", "call", None), ("incident#open", "k", "incident"),
        ("incident#closed", "k", "incident"), ("j#g1-1", "job", "export_job"),
        ("incident#number", "next", None), ("lookup#dialog#d", "l", None),
        ("counts#sales#20261122", "counts", None),
        ("g#g1", "lease", None), ("n#1", "n", None), ("evidence#", "1", None),
        ("counter#", "x", None), ("days#", "20261122#", None), ("meta#policy", "p", None),
    ],
)  # fmt: skip
def test_evidence_is_kept_and_what_follows_from_it_is_not(pk: str, sk: str, what: str) -> None:
    found = rules.sort_out([other(pk, sk, new={"x": {"N": "1"}})])
    assert [line.what for line in found.lines] == ([what] if what else [])
    assert not found.rejects


def test_a_call_whose_id_looks_like_another_item_is_a_call() -> None:
    event = samples.start(call="counts#sales#20261122")
    (line,) = lines(written(event))
    assert (line.what, line.call_id) == ("journal", "counts#sales#20261122")


def test_what_an_incident_or_a_job_says_can_be_read_without_the_platform() -> None:
    body = msgspec.msgpack.encode({"key": "unassigned", "calls": 3})
    for pk, attribute in (("incident#open", "i"), ("j#1", "body")):
        (line,) = lines(other(pk, "x", new={attribute: {"B": body}}))
        assert there_and_back((line,))[0].said == {"key": "unassigned", "calls": 3}
    (odd,) = lines(other("j#1", "x", new={"body": {"B": b"\xc1"}}))
    assert (odd.said, odd.item is None) == (None, False)


def test_binary_values_of_other_items_stay_readable() -> None:
    (line,) = lines(other("j#1", "job", new={"b": {"B": b"\x00\xff"}, "l": {"L": [{"B": b"x"}]}}))
    assert line.item == {
        "pk": {"S": "j#1"}, "sk": {"S": "job"}, "b": {"B": b"\x00\xff"}, "l": {"L": [{"B": b"x"}]},
    }  # fmt: skip
    assert there_and_back((line,))[0].item == line.item | {
        "b": {"B": "AP8="}, "l": {"L": [{"B": "eA=="}]},
    }  # fmt: skip


# -- a journal only grows ------------------------------------------------------------------------


def test_a_changed_event_is_told_and_read_back_as_it_was_first_written() -> None:
    first, forged = samples.end(), samples.end(duration=1)
    forged = msgspec.structs.replace(forged, event_id=first.event_id)
    item, changed = item_of(first), item_of(forged)
    key = {"pk": item["pk"], "sk": item["sk"]}
    found = rules.sort_out([written(first), record(key, item, changed)])
    assert [line.change for line in found.tampered] == ["MODIFY"]
    assert rules.read_back(there_and_back(found.lines))["c1"] == [first]
    assert rules.read_back(there_and_back(found.lines[1:]))["c1"] == [first]


def test_a_removed_event_is_told_and_still_read_back() -> None:
    event = samples.end()
    item = item_of(event)
    found = rules.sort_out([record({"pk": item["pk"], "sk": item["sk"]}, item, None)])
    assert [line.change for line in found.tampered] == ["REMOVE"]
    assert rules.read_back(there_and_back(found.lines))["c1"] == [event]


def test_an_archive_that_says_two_things_of_one_event_is_refused() -> None:
    first = samples.end()
    second = msgspec.structs.replace(samples.end(duration=1), event_id=first.event_id)
    with pytest.raises(Damaged):
        rules.read_back(lines(written(first), written(second)))


def test_a_forged_line_is_refused() -> None:
    text = rules.body(lines(written(samples.end())))
    assert b'"duration_ms":[0,60000]' in text
    with pytest.raises(Damaged):
        rules.lines_of(text.replace(b'"duration_ms":[0,60000]', b'"duration_ms":[0,60001]'))
    with pytest.raises(Damaged):
        rules.lines_of(b"{}\n")


# -- poison --------------------------------------------------------------------------------------


def _broken(**changes: Any) -> Record:
    good = written(samples.start())
    return good | {"dynamodb": {**good["dynamodb"], **changes}}


@pytest.mark.parametrize(
    "poison",
    [
        {}, {"eventName": "INSERT"}, {"eventName": "INSERT", "dynamodb": None},
        {"eventName": "INSERT", "dynamodb": []}, "no record at all",
        _broken(SequenceNumber="-1"), _broken(SequenceNumber="1.5"), _broken(SequenceNumber="٣"),
        _broken(ApproximateCreationDateTime="soon"), _broken(ApproximateCreationDateTime=1e300),
        _broken(NewImage={"d": {"B": "AQ=="}}), _broken(NewImage={"d": {"B": "%%%"}}),
        _broken(NewImage={"d": {"S": "text"}}), _broken(NewImage={}), _broken(NewImage=None),
        _broken(Keys={"pk": {"S": "c1"}}), {**_broken(), "eventName": "TRUNCATE"},
        _broken(Keys={"pk": {"S": "c1"}, "sk": {"S": "e#dialog_start:another"}}),
    ],
)  # fmt: skip
def test_a_record_that_cannot_be_understood_is_kept_whole_and_stops_nobody(poison: Any) -> None:
    good = samples.end()
    found = rules.sort_out([poison, written(good)])
    (reject,) = found.rejects
    assert reject.reason
    assert [line.event for line in found.lines] == [good]
    kept = msgspec.json.decode(rules.reject_body(reject))
    assert kept["record"] == (poison if isinstance(poison, dict) else {"record": repr(poison)})
    key = rules.reject_key("lane", reject)
    assert key.startswith("rejected/")
    assert key == rules.reject_key("lane", reject)


# -- names and bytes -----------------------------------------------------------------------------


def test_the_same_batch_has_the_same_name_and_the_same_bytes() -> None:
    records = list(map(written, samples.life()))
    one, two = rules.sort_out(records).lines, rules.sort_out(records).lines
    assert rules.journal_key("lane", one) == rules.journal_key("lane", two)
    assert rules.packed(rules.body(one)) == rules.packed(rules.body(two))


def test_names_say_hour_and_sequence_number_and_differ_by_shard() -> None:
    (line,) = lines(written(samples.start()))
    at = msgspec.structs.replace(line, changed_at_ms=1_790_000_000_000, seq="42")
    key = rules.journal_key("shard-1", [at])
    assert key.startswith("journal/2026/09/21/14/")
    assert key.endswith("-42.ndjson.gz")
    assert key != rules.journal_key("shard-2", [at])


def test_contents_beside_a_taken_name_have_a_name_of_their_own() -> None:
    assert rules.beside("a/b-1.ndjson.gz", b"x") == rules.beside("a/b-1.ndjson.gz", b"x")
    assert rules.beside("a/b-1.ndjson.gz", b"x") != rules.beside("a/b-1.ndjson.gz", b"y")
    assert rules.beside("a/b-1.ndjson.gz", b"x").startswith("a/b-1.")


PACKED = rules.packed(b"x")


@pytest.mark.parametrize(
    "held",
    [b"", b"no gzip", PACKED[:-3], PACKED + b"more", PACKED + rules.packed(b"y")],
)
def test_an_object_that_is_not_what_was_written_is_refused(held: bytes) -> None:
    with pytest.raises(Damaged):
        rules.unpacked(held)
