"""What S3 may do to a recording's way: lost answers, broken lines, damaged bytes, other writers.

The contract suite holds the store to the port; here every request fails once, before it arrives
and after it was done, and the outcome must be as if it had not.
"""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import pytest
from aiohttp import web
from awscrt.checksums import crc64nvme
from hypothesis import given
from hypothesis import strategies as st

from ocp_ingest.adapters.aws.objects import WRITE_TRIES, Objects, base64_of, crc_text
from ocp_ingest.adapters.aws.reading import READ_TRIES
from ocp_ingest.adapters.aws.recording_store import AwsRecordingStore
from ocp_ingest.adapters.aws.session import AGAIN_TRIES
from ocp_ingest.adapters.aws.upload import (
    PART_BYTES,
    PART_BYTES_MIN,
    PARTS_AT_ONCE,
    PARTS_AT_ONCE_ALL,
    PARTS_MAX,
    S3Upload,
    part_bytes,
)
from ocp_ingest.core.errors import Conflict, Damaged, NotFound, Terminal, Transient
from ocp_ingest.core.limits import BLOCK_BYTES, DAY_MS, GIB, MIB
from ocp_ingest.ports import Landed, ObjectInfo
from tests.aws.servers.fetch import ROOT
from tests.aws_adapters import s3_kit
from tests.aws_adapters.s3_kit import Faults, FaultyAws

SMALL: Final = b"a recording that fits into one part"
LARGE: Final = bytes(range(256)) * 4 * (PART_BYTES_MIN // 1024) + b"the last part is small"
# Copies above this go in parts, here.
COPY_BYTES_MAX: Final = MIB


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of S3."""
    with s3_kit.server(tmp_path_factory.mktemp("s3")) as address:
        yield address


@dataclass
class Stage:
    """A store over buckets of its own, faults on demand, and S3 as somebody else sees it."""

    aws: FaultyAws
    store: AwsRecordingStore
    s3: Any

    @property
    def faults(self) -> Faults:
        return self.aws.faults

    def name(self, bucket: str) -> str:
        return self.aws.settings.bucket_prefix + bucket

    def open_uploads(self) -> list[str]:
        """Keys of multipart uploads that nobody has ended."""
        return [
            upload["Key"]
            for bucket in ("landing", "sales")
            for upload in self.s3.list_multipart_uploads(Bucket=self.name(bucket)).get(
                "Uploads", []
            )
        ]

    def end_open_uploads(self) -> None:
        """As the buckets' lifecycle rule does in time."""
        for bucket in ("landing", "sales"):
            name = self.name(bucket)
            for upload in self.s3.list_multipart_uploads(Bucket=name).get("Uploads", []):
                self.s3.abort_multipart_upload(
                    Bucket=name, Key=upload["Key"], UploadId=upload["UploadId"]
                )

    def versions(self, bucket: str) -> int:
        """How many versions and delete markers a bucket holds."""
        said = self.s3.list_object_versions(Bucket=self.name(bucket))
        return len(said.get("Versions", [])) + len(said.get("DeleteMarkers", []))


@pytest.fixture
async def stage(url: str, request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    """A stage with empty buckets."""
    s3_kit.expect_differences(request)
    made = make_stage(url)
    async with made.aws:
        yield made


def make_stage(url: str, **more: Any) -> Stage:
    where = s3_kit.settings(url, **more)
    s3_kit.make_buckets(where)
    aws = FaultyAws(where)
    store = AwsRecordingStore(aws, copy_bytes_max=COPY_BYTES_MAX, copy_part_bytes=PART_BYTES_MIN)
    return Stage(aws, store, s3_kit.observer(url))


def sha(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


async def upload(stage: Stage, body: bytes) -> Landed:
    """Through parts of the smallest size that S3 takes."""
    key = f"aa/{stage.store._new_id()}"
    slots = asyncio.Semaphore(PARTS_AT_ONCE_ALL)
    upload = S3Upload(Objects(stage.aws), key, slots, PART_BYTES_MIN)
    try:
        for offset in range(0, len(body), BLOCK_BYTES):
            await upload.write(memoryview(body)[offset : offset + BLOCK_BYTES])
        return await upload.commit()
    except BaseException:
        await upload.abort()
        raise


async def land_small(stage: Stage) -> None:
    landed = await upload(stage, SMALL)
    assert landed.sha256 == sha(SMALL) == await stage.store.hash("landing", landed.key)


async def land_large(stage: Stage) -> None:
    landed = await upload(stage, LARGE)
    assert landed.sha256 == sha(LARGE) == await stage.store.hash("landing", landed.key)
    assert landed.bytes == len(LARGE)


async def copy(stage: Stage, body: bytes) -> None:
    """Proved and said to be now, whatever answer is lost."""
    sha256, key = sha(body), stage.store._new_id()
    s3_kit.put_as_somebody(stage.s3, stage.name("landing"), key, body)
    assert await stage.store.copy_once("landing", key, "sales", f"{key}.wav", sha256) is True
    assert await stage.store.copy_once("landing", key, "sales", f"{key}.wav", sha256) is False
    found = await stage.store.head("sales", f"{key}.wav")
    assert found == ObjectInfo(f"{key}.wav", len(body), sha256)


async def copy_whole(stage: Stage) -> None:
    await copy(stage, SMALL)


async def copy_in_parts(stage: Stage) -> None:
    await copy(stage, LARGE)


async def put(stage: Stage) -> None:
    key = stage.store._new_id()
    assert await stage.store.put_once("sales", key, b"{}") is True
    assert await stage.store.put_once("sales", key, b"{}") is False


async def delete(stage: Stage) -> None:
    key = stage.store._new_id()
    await stage.store.put_once("landing", key, b"x")
    await stage.store.delete("landing", key)
    assert await stage.store.head("landing", key) is None


WAYS: Final[dict[str, Callable[[Stage], Awaitable[None]]]] = {
    "land_small": land_small,
    "land_large": land_large,
    "copy_whole": copy_whole,
    "copy_in_parts": copy_in_parts,
    "put": put,
    "delete": delete,
}


class TestLostAnswers:
    @pytest.mark.parametrize("way", WAYS)
    async def test_any_one_request_may_fail_or_lose_its_answer(
        self, stage: Stage, way: str
    ) -> None:
        await WAYS[way](stage)
        requests = list(stage.faults.asked)
        assert len(requests) >= 2
        for number, operation in enumerate(requests):
            for kind in ("before", "after"):
                stage.faults.clear()
                getattr(stage.faults, kind).add(number)
                await WAYS[way](stage)
                # Of an upload whose very beginning was not answered nobody knows.
                lost = kind == "after" and operation == "create_multipart_upload"
                assert len(stage.open_uploads()) == int(lost), (kind, operation)
                stage.end_open_uploads()

    @pytest.mark.parametrize(
        ("way", "operation"),
        [
            ("land_small", "put_object"), ("land_large", "upload_part"),
            ("land_large", "complete_multipart_upload"), ("copy_whole", "copy_object"),
            ("copy_in_parts", "upload_part_copy"), ("put", "put_object"),
        ],
    )  # fmt: skip
    async def test_s3_out_of_order_is_for_later_and_nothing_is_left(
        self, stage: Stage, way: str, operation: str
    ) -> None:
        stage.faults.always.add(operation)
        with pytest.raises(Transient):
            await WAYS[way](stage)
        tries = stage.faults.times(operation)
        assert tries <= WRITE_TRIES * AGAIN_TRIES
        assert stage.open_uploads() == []
        assert await stage.store.list("sales") == []
        assert [held.key for held in await stage.store.list("landing") if "/" in held.key] == []

    @pytest.mark.parametrize("way", ["land_small", "copy_whole", "put"])
    async def test_a_conflict_of_two_writers_at_once_is_tried_again(
        self, stage: Stage, way: str
    ) -> None:
        operation = {"copy_whole": "copy_object"}.get(way, "put_object")
        stage.faults.answers[operation] = [("ConditionalRequestConflict", 409)] * 2
        await WAYS[way](stage)

    async def test_a_conflict_at_the_end_of_an_upload_needs_a_new_upload(
        self, stage: Stage
    ) -> None:
        stage.faults.answers["complete_multipart_upload"] = [("ConditionalRequestConflict", 409)]
        with pytest.raises(Transient):
            await upload(stage, LARGE)
        assert stage.faults.times("complete_multipart_upload") == 1
        assert stage.open_uploads() == []

    async def test_an_upload_that_was_aborted_elsewhere_must_be_sent_again(
        self, stage: Stage
    ) -> None:
        stage.faults.answers["upload_part"] = [("NoSuchUpload", 404)]
        with pytest.raises(Transient, match="send the recording again"):
            await upload(stage, LARGE)

    async def test_missing_rights_are_no_fault_of_the_sender(self, stage: Stage) -> None:
        stage.faults.answers["put_object"] = [("AccessDenied", 403)] * WRITE_TRIES
        with pytest.raises(Transient, match="refuses us"):
            await upload(stage, SMALL)

    async def test_a_bucket_that_is_not_there_is_for_a_person(self, stage: Stage) -> None:
        with pytest.raises(Terminal, match="NoSuchBucket"):
            await stage.store.put_once("no-such-lob", "x", b"x")


class TestUpload:
    async def test_one_part_is_one_request_and_the_second_part_begins_an_upload_of_parts(
        self, stage: Stage
    ) -> None:
        for size, requests in (
            (PART_BYTES_MIN, ["put_object"]),
            (
                PART_BYTES_MIN + 1,
                ["create_multipart_upload", "upload_part", "upload_part",
                 "complete_multipart_upload"],
            ),
        ):  # fmt: skip
            stage.faults.asked.clear()
            await upload(stage, bytes(size))
            assert stage.faults.asked == requests

    async def test_bytes_that_change_on_their_way_are_never_visible(self, stage: Stage) -> None:
        for body, operation in ((SMALL, "put_object"), (LARGE, "complete_multipart_upload")):
            stage.faults.clear()
            stage.faults.answers[operation] = [("BadDigest", 400)] * WRITE_TRIES
            with pytest.raises(Transient, match="changed on their way"):
                await upload(stage, body)
        assert await stage.store.list("landing") == []

    async def test_s3_is_told_checksums_that_it_verifies_itself(self, stage: Stage) -> None:
        landed = await upload(stage, SMALL)
        found = stage.s3.head_object(
            Bucket=stage.name("landing"), Key=landed.key, ChecksumMode="ENABLED"
        )
        assert found["ChecksumSHA256"] == base64_of(sha(SMALL))
        landed = await upload(stage, LARGE)
        found = stage.s3.head_object(
            Bucket=stage.name("landing"), Key=landed.key, ChecksumMode="ENABLED"
        )
        assert found["ChecksumCRC64NVME"] == crc_text(crc64nvme(LARGE))
        assert found["ChecksumType"] == "FULL_OBJECT"

    async def test_a_checksum_over_parts_is_none_of_the_whole(self, stage: Stage) -> None:
        where = {"Bucket": stage.name("landing"), "Key": "x"}
        begun = stage.s3.create_multipart_upload(**where, ChecksumAlgorithm="SHA256")
        where["UploadId"] = begun["UploadId"]
        sent = stage.s3.upload_part(**where, PartNumber=1, Body=SMALL, ChecksumAlgorithm="SHA256")
        part = {"PartNumber": 1, "ETag": sent["ETag"], "ChecksumSHA256": base64_of(sha(SMALL))}
        stage.s3.complete_multipart_upload(**where, MultipartUpload={"Parts": [part]})
        assert await stage.store.head("landing", "x") == ObjectInfo("x", len(SMALL), "")

    async def test_a_key_that_is_taken_is_not_overwritten(self, stage: Stage) -> None:
        store = AwsRecordingStore(stage.aws, new_id=lambda: "aabb")
        first = await store.begin()
        await first.write(SMALL)
        await first.commit()
        second = await store.begin()
        await second.write(b"other bytes")
        with pytest.raises(Transient):
            await second.commit()
        await second.abort()
        assert await store.hash("landing", "aa/aabb") == sha(SMALL)

    async def test_abandoned_uploads_are_aborted_and_those_under_way_are_not(
        self, stage: Stage
    ) -> None:
        begun = S3Upload(
            Objects(stage.aws), "aa/left", asyncio.Semaphore(PARTS_AT_ONCE_ALL), PART_BYTES_MIN
        )
        await begun.write(LARGE)  # and its process dies
        now_ms = time.time_ns() // 1_000_000
        assert await stage.store.sweep(now_ms=now_ms) == 0
        assert await stage.store.sweep(now_ms=now_ms + DAY_MS - 60_000) == 0
        assert stage.open_uploads() == ["aa/left"]
        assert await stage.store.sweep(now_ms=now_ms + DAY_MS + 60_000) == 1
        assert stage.open_uploads() == []
        await begun.abort()

    async def test_abort_never_raises_and_nothing_is_left_of_a_cancelled_upload(
        self, stage: Stage
    ) -> None:
        begun = S3Upload(
            Objects(stage.aws), "aa/x", asyncio.Semaphore(PARTS_AT_ONCE_ALL), PART_BYTES_MIN
        )
        await begun.write(LARGE)
        ending = asyncio.create_task(begun.commit())
        await asyncio.sleep(0)
        ending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ending
        await begun.abort()
        assert stage.open_uploads() == []
        stage.faults.always.add("abort_multipart_upload")
        begun = S3Upload(
            Objects(stage.aws), "aa/y", asyncio.Semaphore(PARTS_AT_ONCE_ALL), PART_BYTES_MIN
        )
        await begun.write(LARGE)
        await begun.abort()
        await begun.abort()

    def test_ten_thousand_parts_hold_the_largest_recording(self) -> None:
        for largest in (GIB, 4 * GIB, 100 * GIB, 48 * 1024 * GIB):
            assert part_bytes(largest) * PARTS_MAX >= largest
        assert part_bytes(4 * GIB) == PART_BYTES >= PART_BYTES_MIN

    def test_memory_stays_bounded_however_large_a_recording_is(self, url: str) -> None:
        grown = subprocess.run(
            [sys.executable, "-m", "tests.aws_adapters.upload_memory", url],
            cwd=ROOT, check=True, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert int(grown.stdout) < 64 * MIB


class TestParts:
    """How bytes become parts, without a server."""

    @given(
        body=st.binary(max_size=300),
        cuts=st.lists(st.integers(1, 90), min_size=1, max_size=20),
        part=st.integers(7, 60),
    )
    def test_however_bytes_come_the_parts_are_full_but_the_last(
        self, body: bytes, cuts: list[int], part: int
    ) -> None:
        asked = asyncio.run(self._upload(body, cuts, part))
        if len(body) <= part:
            assert asked == [("put_object", 0, body)]
            return
        sent = sorted((n, sent) for operation, n, sent in asked if operation == "upload_part")
        assert [n for n, _ in sent] == list(range(1, len(sent) + 1))
        assert b"".join(block for _, block in sent) == body
        assert {len(block) for _, block in sent[:-1]} == {part}
        assert 0 < len(sent[-1][1]) <= part

    async def _upload(
        self, body: bytes, cuts: list[int], part: int
    ) -> list[tuple[str, int, bytes]]:
        objects = NotingObjects()
        upload = S3Upload(objects, "aa/x", asyncio.Semaphore(3), part)
        at, turn = 0, 0
        while at < len(body):
            size = cuts[turn % len(cuts)]
            await upload.write(body[at : at + size])
            at, turn = at + size, turn + 1
        landed = await upload.commit()
        assert (landed.bytes, landed.sha256) == (len(body), sha(body))
        assert objects.crc in ("", crc_text(crc64nvme(body)))
        assert objects.most_at_once <= PARTS_AT_ONCE
        return objects.asked


class NotingObjects(Objects):
    """Takes every request and notes what came."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, bytes]] = []
        self.crc = ""
        self.at_once = self.most_at_once = 0

    async def ask(
        self, operation: str, bucket: str, *, again: bool = False, **params: Any
    ) -> dict[str, Any]:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        for _ in range(10):  # long enough for others to begin
            await asyncio.sleep(0)
        self.at_once -= 1
        if "Body" in params:
            self.asked.append((operation, params.get("PartNumber", 0), params["Body"].read()))
        if operation == "complete_multipart_upload":
            self.crc = params["ChecksumCRC64NVME"]
            numbers = [part["PartNumber"] for part in params["MultipartUpload"]["Parts"]]
            assert numbers == list(range(1, len(numbers) + 1))
            assert params["MpuObjectSize"] == sum(len(body) for _, _, body in self.asked)
        return {"UploadId": "u", "ETag": "e"}


class TestReading:
    @pytest.mark.parametrize("quietly", [False, True])
    async def test_a_line_that_breaks_midway_is_no_reason_to_begin_anew(
        self, stage: Stage, quietly: bool
    ) -> None:
        landed = await upload(stage, LARGE)
        stage.faults.clear()
        stage.faults.quietly = quietly
        stage.faults.breaks = [MIB + 1, 0, 300_000]
        assert await stage.store.hash("landing", landed.key) == landed.sha256
        ranges = [p["Range"] for p in stage.faults.params if "Range" in p]
        assert len(ranges) == 4
        assert ranges[0] == "bytes=0-"
        # Whole blocks had been handed on, and of those nothing is read twice.
        assert ranges[1] == ranges[2] == f"bytes={MIB}-{len(LARGE) - 1}"
        stage.faults.breaks = [10]
        got = [b async for b in stage.store.read("landing", landed.key, 5, 100)]
        assert b"".join(got) == LARGE[5:105]

    async def test_a_line_that_keeps_breaking_is_for_later(self, stage: Stage) -> None:
        landed = await upload(stage, LARGE)
        stage.faults.breaks = [100] * (READ_TRIES + 5)
        stage.faults.asked.clear()
        with pytest.raises(Transient):
            await stage.store.hash("landing", landed.key)
        assert stage.faults.times("get_object") == READ_TRIES

    async def test_blocks_of_two_objects_never_mix(self, stage: Stage) -> None:
        landed = await upload(stage, LARGE)
        reading = stage.store.read("landing", landed.key)
        stage.faults.breaks = [2 * BLOCK_BYTES]
        assert await anext(reading)
        s3_kit.put_as_somebody(stage.s3, stage.name("landing"), landed.key, LARGE[::-1])
        with pytest.raises(Transient, match="replaced"):
            async for _ in reading:
                pass

    async def test_the_sink_works_in_another_thread_and_rests_when_scan_ends(
        self, stage: Stage
    ) -> None:
        landed = await upload(stage, LARGE)
        threads, working = set(), 0

        def sink(block: bytes) -> None:
            nonlocal working
            working += 1
            threads.add(threading.get_ident())
            time.sleep(0.2)
            working -= 1

        # The line is lost for good just after the first block was handed on.
        stage.faults.breaks = [0] * (READ_TRIES - 1) + [BLOCK_BYTES]
        with pytest.raises(Transient):
            await stage.store.scan("landing", landed.key, sink)
        assert working == 0
        assert threading.get_ident() not in threads
        assert threads


class TestCopy:
    async def test_bytes_that_s3_knows_to_be_others_are_not_copied_at_all(
        self, stage: Stage
    ) -> None:
        landed = await upload(stage, SMALL)
        with pytest.raises(Damaged):
            await stage.store.copy_once("landing", landed.key, "sales", "x.wav", sha(b"other"))
        assert stage.faults.times("copy_object") == 0

    @pytest.mark.parametrize("versioned", [True, False])
    @pytest.mark.parametrize("lost", [False, True])
    async def test_a_copy_of_damaged_bytes_is_removed_and_nothing_else_is(
        self, stage: Stage, versioned: bool, lost: bool
    ) -> None:
        if versioned:
            make_versioned(stage, "sales")
            await stage.store.put_once("sales", "x.wav", b"an earlier recording")
            stage.s3.delete_object(Bucket=stage.name("sales"), Key="x.wav")
        before = stage.versions("sales") if versioned else 0
        s3_kit.put_as_somebody(stage.s3, stage.name("landing"), "source", SMALL)
        stage.faults.clear()
        if lost:
            stage.faults.after.add(1)  # the copy: head, copy
        with pytest.raises(Damaged):
            await stage.store.copy_once("landing", "source", "sales", "x.wav", sha(b"received"))
        assert stage.faults.asked[1] == "copy_object"
        assert await stage.store.head("sales", "x.wav") is None
        if versioned:
            assert stage.versions("sales") == before
        assert await stage.store.hash("landing", "source") == sha(SMALL)

    async def test_a_damaged_copy_that_a_lock_keeps_is_said_to_be_there(self, stage: Stage) -> None:
        s3_kit.put_as_somebody(stage.s3, stage.name("landing"), "source", SMALL)
        stage.faults.answers["delete_object"] = [("AccessDenied", 403)]
        with pytest.raises(Damaged, match="could not be removed"):
            await stage.store.copy_once("landing", "source", "sales", "x.wav", sha(b"received"))

    async def test_metadata_alone_proves_nothing(self, stage: Stage) -> None:
        landed = await upload(stage, SMALL)
        stage.s3.put_object(
            Bucket=stage.name("sales"), Key="x.wav", Body=b"damaged",
            Metadata={"sha256": landed.sha256}, ChecksumAlgorithm="CRC32",
        )  # fmt: skip
        with pytest.raises(Conflict):
            await stage.store.copy_once("landing", landed.key, "sales", "x.wav", landed.sha256)
        assert await stage.store.hash("sales", "x.wav") == sha(b"damaged")

    async def test_the_same_bytes_by_another_way_are_the_same_recording(self, stage: Stage) -> None:
        landed = await upload(stage, SMALL)
        s3_kit.put_as_somebody(stage.s3, stage.name("sales"), "x.wav", SMALL)
        target = ("landing", landed.key, "sales", "x.wav", landed.sha256)
        assert await stage.store.copy_once(*target) is False

    async def test_what_is_too_large_for_one_request_is_copied_in_parts(self, stage: Stage) -> None:
        landed = await upload(stage, LARGE)
        stage.faults.clear()
        target = ("landing", landed.key, "sales", "x.wav", landed.sha256)
        assert await stage.store.copy_once(*target) is True
        assert stage.faults.times("copy_object") == 0
        assert stage.faults.times("upload_part_copy") == 2
        found = await stage.store.head("sales", "x.wav")
        assert found == ObjectInfo("x.wav", len(LARGE), landed.sha256)
        # Once it is there, nothing is read for finding that out.
        stage.faults.clear()
        assert await stage.store.copy_once(*target) is False
        assert stage.faults.asked == ["head_object", "head_object"]

    async def test_a_damaged_large_source_is_never_made_visible(self, stage: Stage) -> None:
        landed = await upload(stage, LARGE)
        with pytest.raises(Damaged):
            await stage.store.copy_once("landing", landed.key, "sales", "x", sha(b"received"))
        assert stage.faults.times("create_multipart_upload") == 1  # of the upload
        assert await stage.store.list("sales") == []

    async def test_a_source_that_is_replaced_while_it_is_copied_is_no_copy(
        self, stage: Stage
    ) -> None:
        landed = await upload(stage, LARGE)

        def replace(operation: str, _answer: dict[str, Any]) -> None:
            if operation == "create_multipart_upload":
                name = stage.name("landing")
                s3_kit.put_as_somebody(stage.s3, name, landed.key, LARGE[::-1])

        stage.faults.edit = replace
        with pytest.raises(Transient, match="replaced"):
            await stage.store.copy_once("landing", landed.key, "sales", "x", landed.sha256)
        assert stage.open_uploads() == []
        assert await stage.store.list("sales") == []

    async def test_large_copies_at_once_are_one_copy(self, stage: Stage) -> None:
        landed = await upload(stage, LARGE)
        target = ("landing", landed.key, "sales", "x.wav", landed.sha256)
        answers = await asyncio.gather(*(stage.store.copy_once(*target) for _ in range(3)))
        assert sorted(answers) == [False, False, True]
        assert stage.open_uploads() == []

    async def test_without_a_source_there_is_nothing_to_copy(self, stage: Stage) -> None:
        stage.faults.answers["copy_object"] = [("NoSuchKey", 404)]
        landed = await upload(stage, SMALL)
        with pytest.raises(NotFound):  # it went away after it was looked at
            await stage.store.copy_once("landing", landed.key, "sales", "x", landed.sha256)

    async def test_odd_characters_of_a_key_reach_s3_as_they_are(self, stage: Stage) -> None:
        key = "aa/%2E%C3%B1 +?versionId=1&x#.wav"
        await stage.store.put_once("landing", key, SMALL)
        assert await stage.store.copy_once("landing", key, "sales", key, sha(SMALL)) is True
        assert await stage.store.hash("sales", key) == sha(SMALL)


def make_versioned(stage: Stage, bucket: str) -> None:
    stage.s3.put_bucket_versioning(
        Bucket=stage.name(bucket), VersioningConfiguration={"Status": "Enabled"}
    )


class TestHalfAnswers:
    async def test_an_error_in_an_answer_of_status_200_is_a_failure(self) -> None:
        """S3 begins to answer a long copy with 200 before it knows how it will end."""
        seen: list[str] = []

        async def answer(request: web.Request) -> web.Response:
            seen.append(request.method)
            if request.method == "HEAD" and "landing" in request.path:
                return web.Response(headers={"Content-Length": "3", "ETag": '"e"'})
            if request.method == "HEAD":
                return web.Response(status=404)
            return web.Response(text=_EMBEDDED, content_type="application/xml")

        async with serving(answer) as address, FaultyAws(s3_kit.settings(address)) as aws:
            with pytest.raises(Transient, match="InternalError"):
                await AwsRecordingStore(aws).copy_once("landing", "a", "sales", "b", sha(b"x"))
        assert seen.count("PUT") == WRITE_TRIES


_EMBEDDED: Final = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    "<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"
)


@asynccontextmanager
async def serving(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> AsyncIterator[str]:
    """A server of our own that answers everything so."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
