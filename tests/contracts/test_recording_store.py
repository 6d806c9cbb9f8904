"""Laws of a RecordingStore: create-only, whole or absent, every copy proved."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from ocp_ingest.core.errors import Conflict, Invalid, NotFound, Terminal
from ocp_ingest.core.limits import BLOCK_BYTES
from ocp_ingest.ports import Landed, ObjectInfo
from tests.contracts.runtimes import Runtime

BODY = bytes(range(256)) * 10


def sha(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


async def land(runtime: Runtime, body: bytes = BODY, block_bytes: int = 700) -> Landed:
    upload = await runtime.recordings.begin()
    for offset in range(0, len(body), block_bytes):
        await upload.write(memoryview(body)[offset : offset + block_bytes])
    return await upload.commit()


async def read(runtime: Runtime, bucket: str, key: str, *span: int) -> bytes:
    return b"".join([block async for block in runtime.recordings.read(bucket, key, *span)])


class TestUpload:
    @pytest.mark.parametrize("size", [0, 1, 2_560, BLOCK_BYTES, 3 * BLOCK_BYTES + 17])
    async def test_bytes_come_out_as_they_went_in(self, runtime: Runtime, size: int) -> None:
        body = (BODY * (size // len(BODY) + 1))[:size]
        landed = await land(runtime, body, block_bytes=50_000)
        assert (landed.bytes, landed.sha256) == (size, sha(body))
        runtime.restart()
        assert await read(runtime, "landing", landed.key) == body
        found = await runtime.recordings.head("landing", landed.key)
        assert found == ObjectInfo(landed.key, size, sha(body))

    async def test_nothing_is_visible_before_commit_nor_after_abort(self, runtime: Runtime) -> None:
        upload = await runtime.recordings.begin()
        await upload.write(BODY)
        assert await runtime.recordings.list("landing") == []
        await upload.abort()
        await upload.abort()
        assert await runtime.recordings.list("landing") == []

    async def test_abort_after_commit_leaves_the_object(self, runtime: Runtime) -> None:
        upload = await runtime.recordings.begin()
        await upload.write(BODY)
        landed = await upload.commit()
        await upload.abort()
        assert await read(runtime, "landing", landed.key) == BODY

    async def test_a_block_may_be_reused_by_its_owner_after_write(self, runtime: Runtime) -> None:
        buffer = bytearray(BLOCK_BYTES)
        upload = await runtime.recordings.begin()
        expected = b""
        for number in range(5):
            buffer[:] = bytes([number]) * BLOCK_BYTES
            await upload.write(memoryview(buffer))
            expected += bytes(buffer)
        landed = await upload.commit()
        assert landed.sha256 == sha(expected)

    async def test_uploads_at_once_do_not_mix_and_each_has_its_key(self, runtime: Runtime) -> None:
        bodies = [bytes([n]) * (BLOCK_BYTES + n) for n in range(12)]
        landed = await asyncio.gather(*(land(runtime, body, 90_000) for body in bodies))
        assert len({one.key for one in landed}) == 12
        for one, body in zip(landed, bodies, strict=True):
            assert one.sha256 == sha(body) == await runtime.recordings.hash("landing", one.key)


class TestCopy:
    async def test_a_copy_is_proved_and_said_once(self, runtime: Runtime) -> None:
        landed = await land(runtime)
        target = ("landing", landed.key, "sales", "2026/01/02/c1/d1.wav", landed.sha256)
        assert await runtime.recordings.copy_once(*target) is True
        runtime.restart()
        assert await runtime.recordings.copy_once(*target) is False
        found = await runtime.recordings.head("sales", "2026/01/02/c1/d1.wav")
        assert found == ObjectInfo("2026/01/02/c1/d1.wav", len(BODY), landed.sha256)
        assert await read(runtime, "sales", "2026/01/02/c1/d1.wav") == BODY
        assert await read(runtime, "landing", landed.key) == BODY

    async def test_other_bytes_at_the_key_are_a_conflict_and_stay(self, runtime: Runtime) -> None:
        await runtime.recordings.put_once("sales", "a/x.wav", b"older")
        landed = await land(runtime)
        with pytest.raises(Conflict):
            await runtime.recordings.copy_once(
                "landing", landed.key, "sales", "a/x.wav", landed.sha256
            )
        assert await read(runtime, "sales", "a/x.wav") == b"older"

    async def test_without_a_source_there_is_nothing_to_copy(self, runtime: Runtime) -> None:
        with pytest.raises(NotFound):
            await runtime.recordings.copy_once("landing", "aa/none", "sales", "x.wav", sha(b""))
        assert await runtime.recordings.list("sales") == []

    async def test_a_source_of_other_bytes_is_never_made_visible(self, runtime: Runtime) -> None:
        landed = await land(runtime)
        with pytest.raises(Terminal):
            await runtime.recordings.copy_once(
                "landing", landed.key, "sales", "x.wav", sha(b"what was received")
            )
        assert await runtime.recordings.head("sales", "x.wav") is None

    async def test_of_many_writers_of_one_key_one_wins_and_nothing_is_overwritten(
        self, runtime: Runtime
    ) -> None:
        landed = [await land(runtime, bytes([n]) * 1_000) for n in range(8)]
        answers = await asyncio.gather(
            *(
                runtime.recordings.copy_once("landing", one.key, "sales", "a/b/x.wav", one.sha256)
                for one in landed
            ),
            return_exceptions=True,
        )
        assert [answer for answer in answers if not isinstance(answer, Conflict)] == [True]
        winner = landed[answers.index(True)]
        assert await runtime.recordings.hash("sales", "a/b/x.wav") == winner.sha256

    async def test_of_many_copies_of_the_same_bytes_one_is_the_copy(self, runtime: Runtime) -> None:
        landed = await land(runtime)
        target = ("landing", landed.key, "sales", "x.wav", landed.sha256)
        answers = await asyncio.gather(*(runtime.recordings.copy_once(*target) for _ in range(8)))
        assert sorted(answers) == [False] * 7 + [True]


class TestPut:
    async def test_the_first_of_many_puts_stands(self, runtime: Runtime) -> None:
        bodies = [f'{{"n":{n}}}'.encode() for n in range(8)]
        answers = await asyncio.gather(
            *(runtime.recordings.put_once("sales", "x.wav.json", body) for body in bodies)
        )
        assert sum(answers) == 1
        assert await read(runtime, "sales", "x.wav.json") == bodies[answers.index(True)]
        assert await runtime.recordings.put_once("sales", "x.wav.json", b"new") is False
        found = await runtime.recordings.head("sales", "x.wav.json")
        assert found is not None
        assert found.sha256 == sha(bodies[answers.index(True)])


class TestReading:
    @pytest.mark.parametrize(
        ("offset", "length"), [(0, None), (3, None), (3, 10), (0, 0), (2_559, 5), (9_999, None)]
    )
    async def test_a_range_is_that_part_of_the_bytes(
        self, runtime: Runtime, offset: int, length: int | None
    ) -> None:
        landed = await land(runtime)
        got = [b async for b in runtime.recordings.read("landing", landed.key, offset, length)]
        assert b"".join(got) == BODY[offset : None if length is None else offset + length]

    async def test_scan_feeds_all_bytes_in_order(self, runtime: Runtime) -> None:
        body = BODY * 1_000
        landed = await land(runtime, body, 100_000)
        got = bytearray()
        await runtime.recordings.scan("landing", landed.key, got.extend)
        assert bytes(got) == body

    async def test_an_error_of_the_sink_is_the_callers(self, runtime: Runtime) -> None:
        landed = await land(runtime)

        def sink(block: bytes) -> None:
            raise FileNotFoundError("of the sink")

        with pytest.raises(FileNotFoundError):
            await runtime.recordings.scan("landing", landed.key, sink)

    async def test_what_is_not_there_is_not_found(self, runtime: Runtime) -> None:
        await runtime.recordings.put_once("sales", "a/b.wav", b"x")
        for key in ("none.wav", "a", "a/b.wav/c.wav", "a/none"):
            assert await runtime.recordings.head("sales", key) is None
            with pytest.raises(NotFound):
                await runtime.recordings.hash("sales", key)
            with pytest.raises(NotFound):
                await read(runtime, "sales", key)
            with pytest.raises(NotFound):
                await runtime.recordings.scan("sales", key, lambda _: None)


class TestListing:
    async def test_keys_come_once_in_byte_order_over_all_pages(self, runtime: Runtime) -> None:
        keys = ["a/b/c.wav", "a/b.wav", "a-b.wav", "a.wav", "a/b/c.wav.json", "a0/x", "ab/x", "Z/ñ",
                "a/b-c/d", "b"]  # fmt: skip
        for key in keys:
            await runtime.recordings.put_once("sales", key, key.encode())
        for limit in (1, 3, 100):
            seen: list[ObjectInfo] = []
            while page := await runtime.recordings.list(
                "sales", after=seen[-1].key if seen else "", limit=limit
            ):
                assert len(page) <= limit
                seen += page
            assert [info.key for info in seen] == sorted(keys, key=str.encode)
            # A store that lists no checksums (S3) says so; `head` has them.
            assert all(info.sha256 in ("", sha(info.key.encode())) for info in seen)
            assert [await runtime.recordings.head("sales", i.key) for i in seen] == [
                ObjectInfo(i.key, len(i.key.encode()), sha(i.key.encode())) for i in seen
            ]
        assert [
            i.key for i in await runtime.recordings.list("sales", after="a/b/zzz", limit=1)
        ] == ["a0/x"]

    async def test_a_bucket_never_used_is_empty(self, runtime: Runtime) -> None:
        assert await runtime.recordings.list("nothing") == []

    async def test_buckets_do_not_mix(self, runtime: Runtime) -> None:
        await runtime.recordings.put_once("sales", "x", b"1")
        await runtime.recordings.put_once("claims", "x", b"2")
        assert await read(runtime, "sales", "x") == b"1"
        assert await read(runtime, "claims", "x") == b"2"


class TestDeleting:
    async def test_an_object_of_landing_is_removed_and_none_is_fine(self, runtime: Runtime) -> None:
        landed = await land(runtime)
        await runtime.recordings.delete("landing", landed.key)
        await runtime.recordings.delete("landing", landed.key)
        assert await runtime.recordings.head("landing", landed.key) is None

    @pytest.mark.parametrize("bucket", ["sales", "quarantine", "unassigned"])
    async def test_nothing_else_is_ever_removed(self, runtime: Runtime, bucket: str) -> None:
        await runtime.recordings.put_once(bucket, "x", b"1")
        with pytest.raises(Invalid):
            await runtime.recordings.delete(bucket, "x")
        assert await read(runtime, bucket, "x") == b"1"


class TestNames:
    @pytest.mark.parametrize(
        ("bucket", "key"),
        [
            ("sales", "../x"), ("sales", "a/../../x"), ("sales", "/etc/passwd"), ("sales", ""),
            ("sales", "a//b"), ("sales", "a/./b"), ("sales", ".tmp/x"), ("sales", "a/.hidden"),
            ("sales", "a\\b"), ("sales", "a\x00b"), ("sales", "a\nb"), ("sales", "a" * 256),
            ("sales", "/".join(["a" * 200] * 6)), ("..", "x"), (".tmp", "x"), ("a/b", "x"),
            ("", "x"), ("a\n", "x"),
        ],
    )  # fmt: skip
    async def test_a_name_that_is_no_plain_relative_path_is_refused_everywhere(
        self, runtime: Runtime, bucket: str, key: str
    ) -> None:
        landed = await land(runtime)
        store = runtime.recordings
        with pytest.raises(Invalid):
            await store.put_once(bucket, key, b"")
        with pytest.raises(Invalid):
            await store.head(bucket, key)
        with pytest.raises(Invalid):
            await store.copy_once("landing", landed.key, bucket, key, landed.sha256)
        with pytest.raises(Invalid):
            await store.copy_once(bucket, key, "sales", "ok", landed.sha256)
        with pytest.raises(Invalid):
            await read(runtime, bucket, key)

    async def test_an_encoded_vendor_id_is_a_fine_name(self, runtime: Runtime) -> None:
        key = "2026/01/02/%2E.%2F..%00%22%C3%B1/%2Etmp.wav"
        assert await runtime.recordings.put_once("sales", key, b"x")
        assert [info.key for info in await runtime.recordings.list("sales")] == [key]
