"""Downloads by parts: a function and a worker share a round, and no file falls between them."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_ingest.adapters.memory.executions import Waiting
from ocp_ingest.adapters.memory.faults import Fault, Faults, Kind
from ocp_ingest.adapters.memory.work_queue import MemoryWorkQueue
from ocp_ingest.core.export_job import State
from ocp_ingest.core.limits import HOUR_MS, MIB, MINUTE_MS, SECOND_MS
from ocp_ingest.reconcile.branches import (
    BEAT_MS,
    MESSAGE_LEASE_MS,
    AudioWorker,
    Errand,
    metadata,
)
from ocp_ingest.reconcile.ports import ExportFile
from ocp_ingest.reconcile.results import METADATA_BYTES_MAX, in_part, part_of
from tests.flow.machine_stage import FUNCTION_MS_MAX, Cloud
from tests.flow.reconcile_stage import GROUP, HOUR_0

NAMES = st.sampled_from(["a.wav", "a.mp3", "a.zip", "a.ndjson", "a.json", "a", "a.txt", "A.JSONL"])
TYPES = st.sampled_from(["", "audio", "dialog_start", "dialog_end", "ivr_end"])
SIZES = st.none() | st.integers(0, 64 * MIB)


class TestParts:
    @pytest.mark.parametrize(
        ("file", "part"),
        [
            (ExportFile("start.ndjson", size=10), "metadata"),
            (ExportFile("start.JSON", "dialog_start", METADATA_BYTES_MAX), "metadata"),
            (ExportFile("start", "dialog_start", 10), "metadata"),
            (ExportFile("start.ndjson", size=METADATA_BYTES_MAX + 1), "audio"),
            (ExportFile("start.ndjson", "dialog_start"), "audio"),
            (ExportFile("all.zip", "dialog_start", 10), "audio"),
            (ExportFile("call.wav", "dialog_start", 10), "audio"),
            (ExportFile("call.wav", "audio", 10), "audio"),
            (ExportFile("readme.txt", size=10), "audio"),
        ],
        ids=lambda value: value if isinstance(value, str) else f"{value.name}-{value.size}",
    )
    def test_only_small_cdr_files_of_a_known_size_are_a_functions(
        self, file: ExportFile, part: str
    ) -> None:
        assert part_of(file) == part

    @given(st.lists(st.builds(ExportFile, NAMES, TYPES, SIZES)))
    def test_each_file_is_in_exactly_one_part(self, files: list[ExportFile]) -> None:
        both = in_part(files, "metadata") + in_part(files, "audio")
        assert sorted(both, key=repr) == sorted(files, key=repr)
        assert in_part(files, "all") == files


async def two_parts(cloud: Cloud) -> None:
    """A call that lacks its recording, and one that lacks its CDR End besides."""
    await cloud.announced("c1")
    half = cloud.at_ocp("c2", HOUR_0 + MINUTE_MS)
    await cloud.stage.send(half.cdrs["dialog_start"])
    await cloud.run_for(9 * HOUR_MS)


async def downloading(cloud: Cloud) -> asyncio.Event:
    """A round whose worker hangs at a file; set the event to let it go on."""
    held = cloud.hold_downloads()
    cloud.spawn(cloud.detect())
    await cloud.run_until(lambda: "worker" in cloud.invoked, within_ms=HOUR_MS)
    await cloud.run_until(lambda: cloud.ocp.asked["fetch"] >= 1, within_ms=MINUTE_MS)
    return held


def audio_token(cloud: Cloud) -> tuple[str, Waiting]:
    [held] = [(t, w) for t, w in cloud.machine.tokens.items() if w.open]
    return held


class TestBothParts:
    async def test_a_function_reads_the_cdrs_and_a_worker_brings_the_recordings(self) -> None:
        cloud = Cloud()
        await two_parts(cloud)
        await cloud.sweep()
        [job] = cloud.jobs()
        kept = {
            part: set(
                msgspec.json.decode(cloud.book_state.notes[f"results:{job.job_key}:1:{part}"])
            )
            for part in ("metadata", "audio")
        }
        audio = {call.file_name for call in cloud.ocp.calls.values()}
        assert kept == {"metadata": {"dialog_end.ndjson"}, "audio": audio}
        assert await cloud.outcomes() == {"c1": "stored", "c2": "stored"}
        assert f"results:{job.job_key}:1" not in cloud.book_state.notes

    async def test_a_part_without_files_is_skipped(self) -> None:
        cloud = Cloud()
        await cloud.announced("c")
        await cloud.run_for(4 * HOUR_MS)
        await cloud.sweep()
        assert "metadata" not in cloud.invoked
        assert cloud.ends() == ["done"]

    async def test_both_branches_failing_in_every_round_end_in_partial_and_cost_no_call(
        self,
    ) -> None:
        cloud = Cloud()
        await two_parts(cloud)

        def die(point: str) -> Fault | None:
            # The results of neither part can be kept in the first export's rounds.
            rounds = point == "ExportBook.put_note" and len(cloud.ocp.ours) == 1
            begun = cloud.jobs() and cloud.jobs()[0].state is State.DOWNLOADING
            return Fault(Kind.CRASH_BEFORE) if rounds and begun else None

        cloud.decide = die
        await cloud.live(20 * HOUR_MS)
        assert cloud.ends()[0] == "partial"
        assert cloud.jobs()[0].round == 3
        assert "dead_letters" in cloud.invoked
        assert await cloud.outcomes() == {"c1": "stored", "c2": "stored"}
        cloud.check_settled()

    async def test_only_what_failed_is_fetched_in_the_next_round(self) -> None:
        cloud = Cloud()
        await two_parts(cloud)
        cut = cloud.ocp.calls["c1"].file_name
        cloud.ocp.cuts[cut] = 2
        await cloud.sweep()
        assert cloud.ends() == ["done"]
        assert cloud.jobs()[0].round == 3
        other = cloud.ocp.calls["c2"].file_name
        assert cloud.ocp.fetched == {cut: 3, other: 1, "dialog_end.ndjson": 1}

    async def test_an_execution_that_follows_has_a_round_of_its_own(self) -> None:
        """The worker of the vanished one may be at it: its results do not replace the new ones."""
        cloud = Cloud()
        await two_parts(cloud)
        held = await downloading(cloud)
        [name] = cloud.running()
        cloud.vanish(name)
        cloud.spawn(cloud.detect())
        await cloud.run_for(30 * SECOND_MS)
        assert cloud.jobs()[0].round == 2
        held.set()
        cloud.ocp.held = None
        await cloud.live(2 * HOUR_MS)
        assert await cloud.outcomes() == {"c1": "stored", "c2": "stored"}
        assert cloud.ends() == ["done"]
        assert len(cloud.ocp.ours) == 1


class TestFunction:
    async def test_what_a_function_has_no_time_for_is_read_in_the_next_round(self) -> None:
        cloud = Cloud()
        await two_parts(cloud)
        held = cloud.hold_downloads()
        cloud.spawn(cloud.detect())
        await cloud.run_until(lambda: "metadata" in cloud.invoked, within_ms=HOUR_MS)
        await cloud.run_for(FUNCTION_MS_MAX + SECOND_MS)
        held.set()
        cloud.ocp.held = None
        await cloud.run_until(lambda: cloud.ends() == ["done"], within_ms=2 * HOUR_MS)
        assert cloud.jobs()[0].round == 2
        assert cloud.ocp.fetched["dialog_end.ndjson"] == 2
        assert await cloud.outcomes() == {"c1": "stored", "c2": "stored"}

    async def test_the_metadata_of_a_round_that_is_over_is_left_alone(self) -> None:
        cloud = Cloud()
        await two_parts(cloud)
        await cloud.sweep()
        [job] = cloud.jobs()
        i = cloud.invocation()
        fetched = cloud.ocp.fetched.copy()
        errand = Errand(job_key=job.job_key, ocp_group=GROUP, round=1, until_ms=job.expires_at)
        brought = await metadata(i.world, i.stage2, errand, left_ms=FUNCTION_MS_MAX)
        assert brought.superseded
        assert cloud.ocp.fetched == fetched


class TestWorker:
    async def test_a_download_of_hours_beats_each_minute_and_keeps_its_message(self) -> None:
        cloud = Cloud()
        await two_parts(cloud)
        held = await downloading(cloud)
        _, waiting = audio_token(cloud)
        await cloud.run_for(3 * HOUR_MS)
        assert waiting.beats >= 3 * HOUR_MS // BEAT_MS - 1
        [message] = cloud.downloads.messages.values()
        assert message.tries == 1
        assert message.at_ms > cloud.clock.now_ms() + MESSAGE_LEASE_MS - 2 * BEAT_MS
        held.set()
        await cloud.run_until(lambda: cloud.ends() == ["done"], within_ms=HOUR_MS)
        assert cloud.invoked.count("worker") == 1

    async def test_superseded_it_stops_and_drops_the_message(self) -> None:
        cloud = Cloud()
        await two_parts(cloud)
        await downloading(cloud)
        _, waiting = audio_token(cloud)
        waiting.open = False
        await cloud.run_for(BEAT_MS + SECOND_MS)
        assert not cloud.downloads.messages
        assert not cloud._working

    async def test_who_lost_the_message_stops_and_leaves_it_to_its_holder(self) -> None:
        cloud = Cloud()
        await two_parts(cloud)
        await downloading(cloud)
        [message] = cloud.downloads.messages.values()
        message.tries += 1  # received by somebody else
        message.at_ms = cloud.clock.now_ms() + HOUR_MS
        await cloud.run_for(BEAT_MS + SECOND_MS)
        assert not cloud._working
        assert list(cloud.downloads.messages.values()) == [message]
        _, waiting = audio_token(cloud)
        assert waiting.output is None

    async def test_told_to_stop_it_keeps_what_it_has_and_gives_the_message_back_at_once(
        self,
    ) -> None:
        cloud = Cloud()
        calls = [await cloud.announced(f"c{n}") for n in range(3)]
        await cloud.run_for(4 * HOUR_MS)
        held = asyncio.Event()

        def hang_at_the_last(operation: str) -> None:
            if operation == "fetch":
                cloud.ocp.held = held if cloud.ocp.asked["fetch"] == 3 else None

        cloud.ocp.on_ask = hang_at_the_last
        cloud.spawn(cloud.detect())
        await cloud.run_until(lambda: cloud.ocp.asked["fetch"] == 3, within_ms=HOUR_MS)
        cloud.stop.set()
        await cloud.run_for(1)
        assert not cloud._working
        [message] = cloud.downloads.messages.values()
        assert (message.state, message.at_ms) == ("waiting", cloud.clock.now_ms() - 1)
        ref = f"results:{cloud.jobs()[0].job_key}:1:audio"
        assert len(msgspec.json.decode(cloud.book_state.notes[ref])) == 2
        cloud.ocp.held, cloud.ocp.on_ask = None, lambda _operation: None
        cloud.stop.clear()
        await cloud.run_until(lambda: cloud.ends() == ["done"], within_ms=HOUR_MS)
        assert cloud.jobs()[0].round == 1, "the same round goes on"
        assert sorted(cloud.ocp.fetched[call.file_name] for call in calls) == [1, 1, 2]

    async def test_out_of_the_exports_time_it_says_what_it_has(self) -> None:
        cloud = Cloud()
        await two_parts(cloud)
        await downloading(cloud)
        in_time_ms = 20 * HOUR_MS + 5 * MINUTE_MS
        await cloud.run_until(lambda: cloud.ends() == ["expired"], within_ms=in_time_ms)
        assert not cloud.downloads.messages
        cloud.ocp.held = None
        await cloud.live(12 * HOUR_MS)
        assert await cloud.outcomes() == {"c1": "stored", "c2": "stored"}

    async def test_a_message_that_is_none_of_ours_is_parked_and_told_to_a_person(self) -> None:
        cloud = Cloud()
        queue = MemoryWorkQueue(cloud.downloads, Faults(), cloud.clock)
        await queue.put("", {"what": "is this?"})
        await cloud.run_for(2 * HOUR_MS)
        assert cloud.invoked.count("worker") == 4
        assert not cloud.downloads.messages
        assert "step_parked:download_queue" in cloud.incidents()

    async def test_its_loop_waits_for_messages_and_ends_when_told(self) -> None:
        cloud = Cloud()
        i, stop = cloud.invocation(), asyncio.Event()
        cloud.decide = lambda point: (
            Fault(Kind.LOST) if point == "WorkQueue.take" and len(cloud.passed) == 1 else None
        )
        worker = AudioWorker(i.world, i.stage2, i.queue, i.tasks)
        loop = asyncio.ensure_future(worker.run(stop))
        await cloud.run_for(MINUTE_MS)
        assert len(cloud.passed) > 2, "an unavailable queue is asked again"
        stop.set()
        await cloud.run_until(loop.done, within_ms=MINUTE_MS)
        loop.result()
