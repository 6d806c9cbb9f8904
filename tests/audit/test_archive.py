"""The audit archive on DynamoDB and S3: created only, once, whole; a call is rebuilt from it."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import pytest

from ocp_ingest.adapters.aws import archive as archive_module
from ocp_ingest.adapters.aws import archive_rules as rules
from ocp_ingest.adapters.aws import table
from ocp_ingest.adapters.aws.archive import ARCHIVE, Archive, answer
from ocp_ingest.adapters.aws.call_store import AwsCallStore
from ocp_ingest.adapters.aws.objects import Objects
from ocp_ingest.adapters.aws.session import Aws
from ocp_ingest.adapters.journal import Deriving
from ocp_ingest.adapters.memory.evidence import MemoryIncidents
from ocp_ingest.adapters.memory.faults import Faults
from ocp_ingest.adapters.memory.state import MemoryState
from ocp_ingest.core.call import fold
from ocp_ingest.core.errors import Transient
from tests.audit.stream import SHARD, Record, Recorder, batch, record
from tests.contracts import samples

NOW: Final = samples.T0 + samples.HOUR_MS


class Site:
    """A deployment's table, its archive and its incidents."""

    def __init__(self, aws: Recorder) -> None:
        self.aws = aws
        self.calls = AwsCallStore(aws, Deriving())
        self.incidents = MemoryIncidents(MemoryState(), Faults())
        self.archive = Archive(aws, self.incidents)

    async def take(self, records: list[Record], shard: str = SHARD) -> archive_module.Archived:
        """One batch of the stream."""
        return await self.archive.take(batch(records, shard), NOW)

    async def keys(self, prefix: str = "") -> list[str]:
        """Names of the archive's objects."""
        said = await self.aws.call("s3", "list_objects_v2", Bucket=self._bucket, Prefix=prefix)
        return [held["Key"] for held in said.get("Contents", [])]

    async def read(self, key: str) -> bytes:
        """An object's bytes."""
        said = await self.aws.call("s3", "get_object", Bucket=self._bucket, Key=key)
        async with said["Body"] as body:
            found: bytes = await body.read()
            return found

    async def lines(self) -> list[rules.Line]:
        """All lines of the archive, objects in order of their names."""
        found = [rules.lines_of(rules.unpacked(await self.read(k))) for k in await self.keys("j")]
        return [line for lines in found for line in lines]

    async def open_incidents(self) -> list[str]:
        """Keys of the open incidents."""
        return [incident.key for incident in await self.incidents.incidents()]

    @property
    def _bucket(self) -> str:
        return f"{self.aws.settings.bucket_prefix}{ARCHIVE}"


@pytest.fixture
def site(aws: Recorder) -> Site:
    return Site(aws)


async def test_the_fold_of_the_archive_is_the_record_of_the_store(site: Site) -> None:
    for number, event in enumerate([*samples.pool("c1"), *samples.life("c2")]):
        await site.calls.append([event])
        if number % 4 == 3:
            await site.take(site.aws.take())
    await site.take(site.aws.take())
    journals = rules.read_back(await site.lines())
    assert set(journals) == {"c1", "c2"}
    for call_id, events in journals.items():
        assert fold(call_id, events) == await site.calls.load(call_id)
        assert sorted(events, key=lambda e: e.event_id) == sorted(
            await site.calls.journal(call_id), key=lambda e: e.event_id
        )
    assert await site.open_incidents() == []


async def test_another_table_is_rebuilt_from_the_archive_alone(site: Site) -> None:
    await site.calls.append(samples.life("c1"))
    await site.take(site.aws.take())
    record_before = await site.calls.load("c1")
    for sk in [r["dynamodb"]["Keys"]["sk"] for r in await _all(site, "c1")]:
        await site.aws.call(
            "dynamodb", "delete_item", TableName=site.aws.settings.table,
            Key={"pk": {"S": table.call_key("c1")}, "sk": sk},
        )  # fmt: skip
    assert await site.calls.load("c1") is None
    events = rules.read_back(await site.lines(), "c1")["c1"]
    await AwsCallStore(site.aws, Deriving()).append(events)
    assert await site.calls.load("c1") == record_before


async def _all(site: Site, call_id: str) -> list[Record]:
    said = await site.aws.call(
        "dynamodb", "query", TableName=site.aws.settings.table, KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": {"S": table.call_key(call_id)}},
    )  # fmt: skip
    return [{"dynamodb": {"Keys": {"sk": item["sk"]}}} for item in said["Items"]]


async def test_a_batch_that_comes_again_changes_nothing(site: Site) -> None:
    await site.calls.append(samples.life())
    records = site.aws.take()
    first = await site.take(records)
    keys, lines = await site.keys(), await site.lines()
    again = await site.take(records)
    assert (first.put, again.put) == ("written", "stood")
    assert (await site.keys(), await site.lines()) == (keys, lines)
    assert await site.open_incidents() == []


@pytest.mark.parametrize("first", [2, 5])
async def test_a_batch_that_was_cut_otherwise_is_kept_beside_and_is_no_incident(
    site: Site, first: int
) -> None:
    await site.calls.append(samples.life())
    journal = [r for r in site.aws.take() if r["dynamodb"]["Keys"]["sk"]["S"].startswith("e#")]
    other = 5 if first == 2 else 2
    assert (await site.take(journal[:first])).put == "written"
    assert (await site.take(journal[:other])).put == ("beside" if other > first else "stood")
    await site.take(journal[other:])
    assert len(rules.read_back(await site.lines())["c1"]) == len(samples.life())
    assert await site.open_incidents() == []


async def test_other_contents_for_one_place_are_kept_beside_and_are_an_incident(
    site: Site,
) -> None:
    await site.calls.append([samples.start("c1")])
    await site.calls.append([samples.start("c2")])
    one, two = (
        next(r for r in site.aws.records if r["dynamodb"]["Keys"]["sk"]["S"].startswith("e#")
             and r["dynamodb"]["Keys"]["pk"]["S"] == call)
        for call in ("c1", "c2")
    )  # fmt: skip
    same = ("SequenceNumber", "ApproximateCreationDateTime")
    place = {name: one["dynamodb"][name] for name in same}
    forged = {**two, "dynamodb": {**two["dynamodb"], **place}}
    assert (await site.take([one])).put == "written"
    for _ in range(2):
        assert (await site.take([forged])).put == "conflict"
    assert len(await site.keys("journal/")) == 2
    assert set(rules.read_back(await site.lines())) == {"c1", "c2"}
    assert await site.open_incidents() == ["archive_damaged:conflict"]


async def test_a_poison_record_goes_to_the_side_and_the_others_are_archived(site: Site) -> None:
    await site.calls.append(samples.life())
    poison = record({"pk": {"S": "c9"}, "sk": {"S": "e#x"}}, None, {"d": {"B": b"\x07"}})
    for _ in range(2):
        done = await site.take([poison, *site.aws.records])
        assert done.rejected == 1
    (key,) = await site.keys("rejected/")
    assert msgspec.json.decode(await site.read(key))["record"] == poison
    assert len(rules.read_back(await site.lines())["c1"]) == len(samples.life())
    assert await site.open_incidents() == ["archive_damaged:rejected"]


async def test_a_removed_event_is_an_incident(site: Site) -> None:
    await site.calls.append(samples.life())
    await site.take(site.aws.take())
    await site.aws.call(
        "dynamodb", "delete_item", TableName=site.aws.settings.table,
        Key={"pk": {"S": "c1"}, "sk": {"S": table.event_key("dialog_end:c1")}},
    )  # fmt: skip
    await site.take(site.aws.take())
    assert await site.open_incidents() == ["archive_damaged:journal_changed"]
    assert len(rules.read_back(await site.lines())["c1"]) == len(samples.life())


async def test_a_batch_without_evidence_makes_no_object(site: Site) -> None:
    leftover = record({"pk": {"S": "g#g1"}, "sk": {"S": "lease"}}, None, {"x": {"N": "1"}})
    assert (await site.take([leftover])).put is None
    assert (await site.archive.take({"Records": [], "state": {}}, NOW)).put is None
    assert await site.keys() == []


async def test_a_gap_is_filled_from_the_table(site: Site) -> None:
    for number in range(5):
        await site.calls.append(samples.life(f"c{number}"))
    await site.calls.append(samples.life("next-day", at_ms=samples.T0 + 24 * samples.HOUR_MS))
    site.aws.take()  # the stream has forgotten all of it
    day = table.day_of(samples.T0)
    done = await site.archive.again(day)
    assert done == {"calls": 5, "events": 5 * len(samples.life())}
    journals = rules.read_back(await site.lines())
    assert sorted(journals) == [f"c{number}" for number in range(5)]
    for call_id, events in journals.items():
        assert fold(call_id, events) == await site.calls.load(call_id)
    keys = await site.keys()
    assert await site.archive.again(day) == done
    assert await site.keys() == keys


# -- lost answers --------------------------------------------------------------------------------


class Forgetful(Objects):
    """Loses the answers of its first writes, `after` or before they had their effect."""

    def __init__(self, aws: Aws, *, answers: int, after: bool) -> None:
        super().__init__(aws)
        self.left = answers
        self.after = after

    async def ask(
        self, operation: str, bucket: str, *, again: bool = False, **params: Any
    ) -> dict[str, Any]:
        """`Objects.ask`."""
        if operation != "put_object" or not self.left:
            return await super().ask(operation, bucket, again=again, **params)
        self.left -= 1
        if self.after:
            await super().ask(operation, bucket, again=again, **params)
        raise Transient("The answer was lost.")


@pytest.mark.parametrize("after", [True, False])
async def test_a_lost_answer_leaves_one_object(site: Site, after: bool) -> None:
    await site.calls.append(samples.life())
    objects = Forgetful(site.aws, answers=1, after=after)
    site.archive = Archive(site.aws, site.incidents, objects)
    done = await site.take(site.aws.take())
    assert objects.left == 0
    assert done.put == ("stood" if after else "written")
    assert len(await site.keys()) == 1
    assert await site.open_incidents() == []


async def test_a_store_that_does_not_answer_makes_the_batch_come_again(site: Site) -> None:
    await site.calls.append(samples.life())
    records = site.aws.take()
    broken = Forgetful(site.aws, answers=100, after=False)
    with pytest.raises(Transient):
        await Archive(site.aws, site.incidents, broken).take(batch(records), NOW)
    assert 0 < 100 - broken.left < 10
    done = await site.take(records)
    assert (done.put, done.counted > 0) == ("written", True)


def test_a_failed_batch_comes_again_from_its_first_record() -> None:
    records = [record({"pk": {"S": "c"}, "sk": {"S": "call"}}, None, {}) for _ in range(2)]
    event = batch(records) | {"state": {"kept": "as it is"}}
    first = records[0]["dynamodb"]["SequenceNumber"]
    assert answer(event, failed=True) == {
        "state": {"kept": "as it is"}, "batchItemFailures": [{"itemIdentifier": first}],
    }  # fmt: skip
    assert answer(event, failed=False)["batchItemFailures"] == []
    assert answer({"Records": []}, failed=False) == {"state": {}, "batchItemFailures": []}
