"""What only the local disk promises: full, failing and forbidden disks, cancelled uploads."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
import threading
from pathlib import Path

import pytest

from ocp_ingest.adapters.embedded.disk import TEMPORARY
from ocp_ingest.adapters.embedded.file_system import FileSystem
from ocp_ingest.adapters.embedded.recording_store import LATER_NICE, EmbeddedRecordingStore
from ocp_ingest.adapters.embedded.upload import (
    BEGIN_BYTES,
    BLOCK_BYTES_MAX,
    BLOCK_BYTES_MIN,
    BLOCKS_BYTES_MAX,
    BUSY_S,
    REST_STEPS,
    Room,
)
from ocp_ingest.core.errors import OcpIngestError, Terminal
from tests.contracts.forgetful_disk import ForgetfulDisk
from tests.contracts.forgetful_site import ROOT, Site, sha


class TestFullDisk:
    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
    async def test_a_full_disk_is_transient_and_leaves_nothing(self, number: int) -> None:
        class Full(ForgetfulDisk):
            room = 5_000

            def write(self, descriptor: int, block: bytes | bytearray | memoryview) -> None:
                if len(block) > self.room:
                    raise OSError(number, os.strerror(number))
                self.room -= len(block)
                super().write(descriptor, block)

        disk = Full()
        site = Site(disk)
        site.start()
        await site.upload(3)
        upload = await site.store.begin()
        await upload.write(bytes(300_000))
        with pytest.raises(OcpIngestError) as caught:
            await upload.commit()
        assert caught.value.code == "try_again"
        assert "full" in caught.value.text
        await upload.abort()
        assert list(disk.list(ROOT / TEMPORARY)) == []
        assert await site.violations() == []
        disk.room = 1 << 30
        await site.upload(4)
        site.stop()

    async def test_one_block_that_was_not_written_fails_all_that_follows(self) -> None:
        tried = threading.Event()

        class Once(ForgetfulDisk):
            def write(self, descriptor: int, block: bytes | bytearray | memoryview) -> None:
                if not tried.is_set():
                    tried.set()
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
                super().write(descriptor, block)

        site = Site(Once())
        site.start()
        upload = await site.store.begin()
        await upload.write(bytes(BLOCK_BYTES_MAX))
        await asyncio.to_thread(tried.wait)
        await asyncio.sleep(0.01)  # its error is there now, and nobody was waiting for it
        for _ in range(2):
            with pytest.raises(OcpIngestError) as caught:
                await upload.write(bytes(BLOCK_BYTES_MAX))
            assert caught.value.code == "try_again"
            with pytest.raises(OcpIngestError):
                await upload.commit()
        await upload.abort()
        assert await site.store.list("landing") == []
        site.stop()

    async def test_a_copy_that_the_disk_garbles_is_never_visible(self) -> None:
        class Garbling(ForgetfulDisk):
            def copy(self, source: int, target: int) -> None:
                super().copy(source, target)
                self._open[target][0].data[0] ^= 1

        site = Site(Garbling())
        site.start()
        await site.upload(3)
        source = site.landed[0]
        with pytest.raises(OcpIngestError) as caught:
            await site.store.copy_once("landing", source.key, "sales", "x.wav", source.sha256)
        assert caught.value.code == "try_again"
        assert await site.store.list("sales") == []
        site.stop()

    async def test_a_folder_without_permission_needs_a_person(self) -> None:
        class Denied(ForgetfulDisk):
            def create(self, path: Path) -> int:
                raise PermissionError(13, "denied")

        site = Site(Denied())
        site.start()
        with pytest.raises(Terminal):
            await site.store.begin()
        site.stop()


class TestUpload:
    async def test_pieces_of_any_size_become_the_same_bytes(self, tmp_path: Path) -> None:
        store = EmbeddedRecordingStore(tmp_path / "r")
        body = os.urandom(3 * 1024 * 1024 + 17)
        for size in (1_000, 65_536, 417_792, len(body)):
            upload = await store.begin()
            for start in range(0, len(body), size):
                await upload.write(memoryview(body)[start : start + size])
            landed = await upload.commit()
            assert (landed.bytes, landed.sha256) == (len(body), sha(body))
            assert await store.hash("landing", landed.key) == landed.sha256
        await asyncio.to_thread(store.close)

    async def test_the_more_uploads_the_smaller_their_blocks(self, tmp_path: Path) -> None:
        store = EmbeddedRecordingStore(tmp_path / "r")
        assert Room().block_bytes == BLOCK_BYTES_MAX
        uploads = [await store.begin() for _ in range(200)]
        assert store._room.block_bytes == BLOCKS_BYTES_MAX // 200
        uploads += [await store.begin() for _ in range(100)]
        assert store._room.block_bytes == BLOCK_BYTES_MIN
        for upload in uploads:
            await upload.abort()
        assert store._room.uploads == 0
        upload = await store.begin()
        await upload.commit()
        assert store._room.uploads == 0
        await asyncio.to_thread(store.close)

    async def test_a_disk_that_takes_no_hints_loses_nothing(self, tmp_path: Path) -> None:
        hints = []

        class Deaf(FileSystem):
            def begin_writing(self, descriptor: int, offset: int) -> None:
                hints.append(offset)
                super().begin_writing(-1, offset)  # a descriptor that the system refuses

        store = EmbeddedRecordingStore(tmp_path / "r", files=Deaf())
        body = os.urandom(1024 * 1024)
        upload = await store.begin()
        for _ in range(5):
            await upload.write(body)
        landed = await upload.commit()
        assert await store.hash("landing", landed.key) == sha(body * 5) == landed.sha256
        assert hints == [0, BEGIN_BYTES]
        await asyncio.to_thread(store.close)

    @pytest.mark.skipif(sys.platform != "linux", reason="only there have threads priorities")
    async def test_what_nobody_waits_for_steps_back(self, tmp_path: Path) -> None:
        store = EmbeddedRecordingStore(tmp_path / "r")
        nice = []

        def sink(block: bytes) -> None:
            nice.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

        upload = await store.begin()
        await upload.write(b"x")
        landed = await upload.commit()
        await store.scan("landing", landed.key, sink)
        ours = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        assert nice == [max(LATER_NICE, ours)]
        await asyncio.to_thread(store.close)

    async def test_who_reads_whole_recordings_rests_while_an_upload_moves(
        self, tmp_path: Path
    ) -> None:
        slept: list[float] = []
        room = Room(clock=lambda: 0.0, sleep=slept.append)
        store = EmbeddedRecordingStore(tmp_path / "r", room=room)
        upload = await store.begin()
        await upload.write(bytes(BLOCK_BYTES_MAX))
        landed = await upload.commit()
        assert await store.hash("landing", landed.key) == landed.sha256
        assert slept == []  # its own upload is over
        moving = await store.begin()
        for _ in range(2):  # the second waits for the first, which has moved then
            await moving.write(bytes(BLOCK_BYTES_MAX))
        assert await store.hash("landing", landed.key) == landed.sha256
        assert slept
        await moving.abort()
        slept.clear()
        assert await store.hash("landing", landed.key) == landed.sha256
        assert slept == []
        await asyncio.to_thread(store.close)


class TestRoom:
    def test_a_rest_is_bounded_by_the_step_before_it(self) -> None:
        slept: list[float] = []
        room = Room(clock=lambda: 0.0, sleep=slept.append)
        room.uploads = 1
        room.moved()
        room.rest(0.0021)
        assert sum(slept) == pytest.approx(REST_STEPS * 0.0021)

    def test_a_rest_ends_when_no_bytes_move(self) -> None:
        now_s = [0.0]

        def sleep(seconds: float) -> None:
            now_s[0] += seconds

        room = Room(clock=lambda: now_s[0], sleep=sleep)
        room.uploads = 1
        room.moved()
        room.rest(1.0)
        assert BUSY_S <= now_s[0] < 2 * BUSY_S

    def test_nobody_rests_before_a_byte_came(self) -> None:
        room = Room(clock=lambda: 0.0)
        assert not room.busy
        room.uploads = 1
        assert not room.busy


class TestCancelledUpload:
    async def test_an_upload_cancelled_anywhere_leaves_no_file(self, tmp_path: Path) -> None:
        store = EmbeddedRecordingStore(tmp_path / "r")

        async def send() -> None:
            upload = await store.begin()
            try:
                for _ in range(50):
                    await upload.write(bytes(300_000))
                await upload.commit()
            finally:
                await upload.abort()

        for pause_s in (0.0, 0.001, 0.003, 0.006, 0.01):
            task = asyncio.create_task(send())
            await asyncio.sleep(pause_s)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await asyncio.to_thread(store.close)
        assert list((tmp_path / "r" / TEMPORARY).iterdir()) == []

    async def test_a_commit_cancelled_while_it_syncs_closes_its_file_once(self) -> None:
        syncing, go = threading.Event(), threading.Event()

        class Slow(ForgetfulDisk):
            closed = 0

            def fsync(self, descriptor: int) -> None:
                syncing.set()
                go.wait(10)
                super().fsync(descriptor)

            def close(self, descriptor: int) -> None:
                self.closed += 1
                super().close(descriptor)

        disk = Slow()
        store = EmbeddedRecordingStore(ROOT, files=disk)
        upload = await store.begin()
        await upload.write(b"abc")
        commit = asyncio.create_task(upload.commit())
        await asyncio.to_thread(syncing.wait)
        commit.cancel()
        with pytest.raises(asyncio.CancelledError):
            await commit
        aborted = asyncio.create_task(upload.abort())
        await asyncio.sleep(0.01)
        assert not aborted.done()  # it waits for the sync under way
        go.set()
        await aborted
        assert disk.closed == 1
        [info] = await store.list("landing")  # what had begun was ended: whole, and nobody's yet
        assert await store.hash("landing", info.key) == sha(b"abc") == info.sha256
        store.close()
