"""What only the local disk promises: full, failing and forbidden disks, cancelled uploads."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from ocp_ingest.adapters.embedded.disk import TEMPORARY
from ocp_ingest.adapters.embedded.recording_store import EmbeddedRecordingStore
from ocp_ingest.core.errors import OcpIngestError, Terminal
from tests.contracts.forgetful_disk import ForgetfulDisk
from tests.contracts.forgetful_site import ROOT, Site, sha


class TestFullDisk:
    async def test_a_full_disk_is_transient_and_leaves_nothing(self) -> None:
        class Full(ForgetfulDisk):
            room = 5_000

            def write(self, descriptor: int, block: bytes | bytearray | memoryview) -> None:
                if len(block) > self.room:
                    raise OSError(28, "No space left on device")
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
