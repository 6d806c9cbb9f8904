"""What becomes of single calls: bad audio, missing CDRs, unknown groups, files that fail."""

from __future__ import annotations

import asyncio

import pytest

from ocp_ingest.core import events as ev
from ocp_ingest.core.export_job import Results
from ocp_ingest.core.limits import DAY_MS, HOUR_MS, MINUTE_MS
from ocp_ingest.reconcile.detect import due_asks
from ocp_ingest.reconcile.download import Downloads
from tests.flow.fake_export_api import OcpCall
from tests.flow.reconcile_stage import GROUP, HOUR_0, Theatre
from tests.flow.stage import settings, tone

GARBAGE = b"<html>502 Bad Gateway</html>" * 40


class TestBadAudio:
    async def test_a_corrupt_recording_is_asked_for_once_more_superseded_and_stored(self) -> None:
        theatre = Theatre()
        call = await theatre.announced("c")
        await theatre.streamed(GARBAGE, call.file_name)
        await theatre.run_for(4 * HOUR_MS)
        await theatre.sweep()
        assert await theatre.outcomes() == {"c": "stored"}
        assert theatre.stored_bytes("c") == call.audio
        record = await theatre.stage.call("c")
        assert {v.source for v in record.root.versions.values()} == {"stream", "export"}
        assert len(theatre.ocp.ours) == 1
        assert any(body == GARBAGE for body in theatre.stage.objects("quarantine").values())

    async def test_the_same_bad_bytes_at_ocp_end_quarantined(self) -> None:
        theatre = Theatre()
        call = await theatre.announced("c", audio=GARBAGE)
        await theatre.streamed(GARBAGE, call.file_name)
        await theatre.run_for(4 * HOUR_MS)
        await theatre.live(HOUR_MS)
        assert await theatre.outcomes() == {"c": "quarantined"}
        assert f"recording_quarantined:{GROUP}" in theatre.incidents()
        assert len(theatre.ocp.ours) == 1

    async def test_bad_in_two_exports_it_ends_quarantined(self) -> None:
        theatre = Theatre()
        await theatre.announced("c", audio=GARBAGE)
        theatre.ocp.instead["c"].extend([GARBAGE + b"1", GARBAGE + b"2"])
        await theatre.run_for(4 * HOUR_MS)
        await theatre.live(DAY_MS)
        assert await theatre.outcomes() == {"c": "quarantined"}
        assert len(theatre.ocp.ours) == 2

    async def test_bad_in_one_export_and_good_in_the_next_it_is_stored(self) -> None:
        theatre = Theatre()
        call = await theatre.announced("c")
        theatre.ocp.instead["c"].append(GARBAGE)
        await theatre.run_for(4 * HOUR_MS)
        await theatre.live(DAY_MS)
        assert await theatre.outcomes() == {"c": "stored"}
        assert theatre.stored_bytes("c") == call.audio

    @pytest.mark.parametrize("inside", [False, True])
    async def test_a_recording_that_the_stream_brings_during_the_download_counts(
        self, inside: bool
    ) -> None:
        """Before its first byte it isn't fetched any more; within it both are kept."""
        theatre = Theatre()
        call = await theatre.announced("c")
        await theatre.run_for(4 * HOUR_MS)
        answers = theatre.hold_downloads()
        if inside:
            theatre.ocp.held, theatre.ocp.held_inside = None, answers
        await theatre.process.sweeper.sweep()
        await theatre.run_until(lambda: theatre.ocp.asked["fetch"] == 1, within_ms=HOUR_MS)
        streamed = tone(level=5_000)
        await theatre.streamed(streamed, call.file_name)
        await theatre.stage.drain()
        answers.set()
        await theatre.run_until(lambda: theatre.process.idle, within_ms=HOUR_MS)
        assert theatre.stored_bytes("c") == streamed
        assert theatre.ends() == ["done"]
        record = await theatre.stage.call("c")
        assert len(record.root.versions) == 1 + inside
        assert ("recording_conflict" in theatre.incidents()) == inside
        [export] = record.exports.values()
        assert [f["result"] for f in export.files] == ["conflict" if inside else "skipped"]


class TestMissingCdrs:
    @pytest.mark.parametrize("came", [("dialog_start",), ("dialog_end",), ()])
    async def test_missing_cdrs_are_healed_by_the_export(self, came: tuple[str, ...]) -> None:
        theatre = Theatre()
        call = theatre.at_ocp("c")
        assert call.audio is not None
        await theatre.stage.send(*(call.cdrs[kind] for kind in came))
        await theatre.streamed(call.audio, call.file_name, group=GROUP)
        await theatre.run_for(9 * HOUR_MS)
        await theatre.sweep()
        assert await theatre.outcomes() == {"c": "stored"}
        record = await theatre.stage.call("c")
        assert record.get("call_started") == call.start_ms
        assert record.get("call_ended") is not None
        assert len(theatre.ocp.ours) == 1
        assert "audio" not in theatre.ocp.ours[0].types, "the recording is here"

    async def test_a_call_of_which_only_its_end_came_gets_recording_and_start(self) -> None:
        theatre = Theatre()
        call = theatre.at_ocp("c")
        await theatre.stage.send(call.cdrs["dialog_end"])
        await theatre.run_for(9 * HOUR_MS)
        await theatre.live(HOUR_MS)
        assert await theatre.outcomes() == {"c": "stored"}
        assert len(theatre.ocp.ours) == 1
        assert set(theatre.ocp.ours[0].types) == {"audio", "dialog_start"}

    async def test_a_bad_line_costs_the_others_nothing(self) -> None:
        theatre = Theatre()
        calls = [theatre.at_ocp(f"c{n}", HOUR_0 + n * MINUTE_MS) for n in range(3)]
        for call in calls:
            await theatre.stage.send(call.cdrs["dialog_start"])
        calls[1].cdrs["dialog_end"] = {"message_type": "dialog_end", "id": 7}
        await theatre.run_for(9 * HOUR_MS)
        await theatre.sweep()
        held = await theatre.outcomes()
        assert (held["c0"], held["c2"]) == ("stored", "stored")
        record = await theatre.stage.call("c1")
        [export] = record.exports.values()
        assert export.found == {"audio": True, "dialog_end": False}
        assert theatre.stage.state.rejected

    async def test_the_recording_of_a_call_that_no_export_knows_ends_quarantined(self) -> None:
        theatre = Theatre()
        name = f"ghost~4001~{HOUR_0}~ghost.wav"
        await theatre.streamed(tone(), name, group=GROUP)
        await theatre.live(4 * DAY_MS)
        assert await theatre.outcomes() == {"ghost": "quarantined"}
        assert len(theatre.ocp.ours) == 3


class TestFilesThatFail:
    async def test_a_cut_download_is_fetched_again_in_the_next_round(self) -> None:
        theatre = Theatre()
        calls = [await theatre.announced(f"c{n}") for n in range(3)]
        theatre.ocp.cuts[calls[1].file_name] = 2
        await theatre.run_for(4 * HOUR_MS)
        await theatre.sweep()
        assert set((await theatre.outcomes()).values()) == {"stored"}
        assert theatre.ocp.fetched == {
            calls[0].file_name: 1, calls[1].file_name: 3, calls[2].file_name: 1,
        }  # fmt: skip
        assert theatre.ends() == ["done"]

    async def test_a_file_that_always_fails_backs_off_and_a_person_is_told(self) -> None:
        theatre = Theatre()
        bad, good = await theatre.announced("bad"), await theatre.announced("good")
        theatre.ocp.cuts[bad.file_name] = 1_000
        await theatre.run_for(4 * HOUR_MS)
        await theatre.live(3 * DAY_MS)
        assert await theatre.outcomes() == {"bad": "open", "good": "stored"}
        assert set(theatre.ends()) == {"partial"}
        assert 3 <= len(theatre.ocp.ours) <= 6, "doubling waits, not a loop"
        assert theatre.ocp.fetched[good.file_name] == 1
        assert theatre.ocp.fetched[bad.file_name] == 3 * len(theatre.ocp.ours)
        assert f"step_parked:download:{GROUP}" in theatre.incidents()
        for export in (await theatre.stage.call("bad")).exports.values():
            assert export.found == {}, "a failure proves nothing"
        theatre.ocp.cuts.clear()
        await theatre.live(6 * DAY_MS)
        assert (await theatre.outcomes())["bad"] == "stored"
        assert theatre.incidents() == {}

    async def test_a_failing_file_of_one_call_leaves_nothing_open_for_another(self) -> None:
        theatre = Theatre()
        bad, _ = await theatre.announced("bad"), await theatre.announced("missing")
        theatre.ocp.cuts[bad.file_name] = 3
        theatre.ocp.lacks["missing"] = 1
        await theatre.run_for(4 * HOUR_MS)
        await theatre.sweep()
        [export] = (await theatre.stage.call("missing")).exports.values()
        assert export.found == {"audio": False}

    async def test_a_failing_archive_may_have_held_anybodys_recording(self) -> None:
        theatre = Theatre()
        theatre.ocp.delivery = "zip"
        theatre.ocp.cuts["recordings.zip"] = 3
        await theatre.announced("there")
        await theatre.announced("missing")
        theatre.ocp.lacks["missing"] = 1
        await theatre.run_for(4 * HOUR_MS)
        await theatre.sweep()
        [export] = (await theatre.stage.call("missing")).exports.values()
        assert export.found == {}

    async def test_a_recording_not_in_the_export_is_a_miss_and_asked_for_later(self) -> None:
        theatre = Theatre()
        call = await theatre.announced("c")
        theatre.ocp.lacks["c"] = 2
        await theatre.run_for(4 * HOUR_MS)
        await theatre.live(2 * DAY_MS)
        assert await theatre.outcomes() == {"c": "stored"}
        assert theatre.stored_bytes("c") == call.audio
        created = [export.created_at for export in theatre.ocp.ours]
        assert created[1] - created[0] >= 2 * HOUR_MS
        assert created[2] - created[1] >= 4 * HOUR_MS

    async def test_files_that_are_none_of_ours_are_skipped_and_kept_as_evidence(self) -> None:
        theatre = Theatre()
        await theatre.announced("c")
        theatre.ocp.extra = [
            ("other", "readme.txt", b"hello"),
            ("recording", "no-name-of-ours.wav", tone()),
        ]
        await theatre.run_for(4 * HOUR_MS)
        await theatre.sweep()
        assert theatre.ends() == ["done"]
        assert await theatre.outcomes() == {"c": "stored"}
        assert [kept.kind for kept in theatre.stage.state.rejected] == ["export_file"]
        assert theatre.ocp.fetched["no-name-of-ours.wav"] == 1

    async def test_a_bug_at_one_file_does_not_cost_the_others(self) -> None:
        theatre = Theatre()
        for n in range(3):
            await theatre.announced(f"c{n}")
        theatre.ocp.answer("fetch", ZeroDivisionError("a bug"))
        await theatre.run_for(4 * HOUR_MS)
        await theatre.sweep()
        assert set((await theatre.outcomes()).values()) == {"stored"}
        assert theatre.ends() == ["done"]
        assert theatre.incidents(open_only=False) == {}
        assert sum(theatre.ocp.fetched.values()) == 3

    async def test_a_file_that_has_its_result_is_not_fetched_in_the_next_round(self) -> None:
        theatre = Theatre()
        call = theatre.at_ocp("c")
        await theatre.stage.send(call.cdrs["dialog_start"])
        theatre.ocp.cuts[call.file_name] = 2
        await theatre.run_for(9 * HOUR_MS)
        await theatre.sweep()
        assert theatre.ocp.fetched == {call.file_name: 3, "dialog_end.ndjson": 1}
        assert theatre.ends() == ["done"]

    async def test_results_until_the_end_of_the_data_are_told_though_one_file_hangs(self) -> None:
        theatre = Theatre()
        calls = [await theatre.announced(f"c{n}") for n in range(3)]
        await theatre.run_for(4 * HOUR_MS)
        held = asyncio.Event()

        def hang(operation: str) -> None:
            if operation == "fetch":
                theatre.ocp.held = held if theatre.ocp.asked["fetch"] == 1 else None

        theatre.ocp.on_ask = hang
        await theatre.process.sweeper.sweep()
        await theatre.run_until(lambda: theatre.ends() == ["expired"], within_ms=DAY_MS)
        await theatre.run_for(MINUTE_MS)
        told = {}
        for call in calls:
            [export] = (await theatre.stage.call(call.call_id)).exports.values()
            told[call.call_id] = export.found
        assert sorted(map(str, told.values())) == ["{'audio': True}", "{'audio': True}", "{}"]

    async def test_what_nobody_had_time_to_fetch_has_failed(self) -> None:
        theatre = Theatre()
        await theatre.announced("c")
        await theatre.run_for(4 * HOUR_MS)
        theatre.hold_downloads()
        await theatre.process.sweeper.sweep()
        await theatre.run_until(lambda: theatre.ocp.asked["fetch"] == 1, within_ms=HOUR_MS)
        [job] = theatre.jobs()
        world, stage2 = theatre.process.world, theatre.process.stage2
        late = Downloads(world, stage2, job, asyncio.Semaphore(1))
        assert await late.run(theatre.clock.now_ms()) == Results(
            failed=1, ref=f"results:{job.job_key}:1"
        )
        await theatre.process.sweeper.stop()


class TestNoExportWithoutNeed:
    async def test_a_recording_that_waits_for_its_cdr_is_not_fetched_again(self) -> None:
        theatre = Theatre()
        here, _ = theatre.at_ocp("here"), await theatre.announced("lost", HOUR_0 + MINUTE_MS)
        await theatre.stage.send(here.cdrs["dialog_start"])
        await theatre.streamed(here.audio or b"", here.file_name)
        await theatre.run_for(9 * HOUR_MS)
        await theatre.sweep()
        assert set(theatre.ocp.ours[0].types) == {"audio", "dialog_end"}
        assert set((await theatre.outcomes()).values()) == {"stored"}
        assert theatre.ocp.fetched[here.file_name] == 0

    async def test_a_test_call_ends_absent_without_any_export(self) -> None:
        theatre = Theatre()
        call = theatre.at_ocp("c")
        await theatre.stage.send(*(cdr | {"test_flag": True} for cdr in call.cdrs.values()))
        await theatre.live(DAY_MS)
        assert await theatre.outcomes() == {"c": "absent"}
        assert theatre.ocp.ours == []

    async def test_an_export_without_the_file_is_no_proof_of_absence(self) -> None:
        theatre = Theatre()
        theatre.at_ocp("c").audio = None
        await theatre.stage.send(*theatre.ocp.calls["c"].cdrs.values())
        await theatre.live(10 * DAY_MS)
        assert await theatre.outcomes() == {"c": "open"}

    async def test_an_operator_who_retries_does_not_wait_for_the_back_off(self) -> None:
        theatre = Theatre()
        await theatre.announced("c")
        theatre.ocp.lacks["c"] = 3
        await theatre.run_for(4 * HOUR_MS)
        await theatre.live(10 * HOUR_MS)
        assert await theatre.outcomes() == {"c": "open"}
        world = theatre.process.world
        act = ev.operator(
            "retried", "c", at_ms=theatre.clock.now_ms(), who="ana", reason="OCP has mended it"
        )
        await world.calls.append([act])
        await theatre.sweep(within_ms=HOUR_MS)
        assert await theatre.outcomes() == {"c": "stored"}


class TestUnknownGroup:
    """A call whose OCP group nobody told us; its recording came, its CDRs did not."""

    async def a_nameless_call(self, theatre: Theatre, group: str) -> OcpCall:
        call = theatre.at_ocp("c", group=group)
        await theatre.streamed(call.audio or b"", call.file_name)
        assert (await theatre.stage.call("c")).get("ocp_group") is None
        return call

    async def test_it_is_asked_for_in_the_default_group(self) -> None:
        theatre = Theatre(settings(ocp_group_default="b"), groups=("a", "b"))
        await self.a_nameless_call(theatre, "b")
        await theatre.live(12 * HOUR_MS)
        assert await theatre.outcomes() == {"c": "stored"}
        assert [export.group for export in theatre.ocp.ours] == ["b"]

    async def test_without_a_default_every_group_is_asked_in_turn_at_once(self) -> None:
        theatre = Theatre(groups=("a", "b", "c", "d"))
        await self.a_nameless_call(theatre, "d")
        await theatre.run_for(9 * HOUR_MS)
        await theatre.sweep()
        assert await theatre.outcomes() == {"c": "stored"}
        assert [export.group for export in theatre.ocp.ours] == ["a", "b", "c", "d"]
        assert (await theatre.stage.call("c")).get("ocp_group") == "d"

    async def test_only_the_no_of_all_groups_is_a_miss(self) -> None:
        theatre = Theatre(groups=("a", "b"))
        await self.a_nameless_call(theatre, "elsewhere")
        await theatre.live(4 * DAY_MS)
        assert await theatre.outcomes() == {"c": "quarantined"}
        assert [export.group for export in theatre.ocp.ours] == ["a", "b"] * 3
        founds = [e.found for e in (await theatre.stage.call("c")).exports.values()]
        assert sum(found.get("dialog_start") is False for found in founds) == 3

    async def test_without_any_group_a_person_is_told_and_the_call_stays_open(self) -> None:
        theatre = Theatre(groups=())
        await self.a_nameless_call(theatre, "a")
        await theatre.live(9 * HOUR_MS)
        assert await theatre.outcomes() == {"c": "open"}
        assert "group_blocked:unknown" in theatre.incidents()
        assert theatre.ocp.ours == []
        assert set(await due_asks(theatre.process.world)) == {""}
        await theatre.stage.send(*theatre.ocp.calls["c"].cdrs.values())
        await theatre.live(HOUR_MS)
        assert "group_blocked:unknown" not in theatre.incidents()


async def test_a_dry_run_tells_what_is_due_and_changes_nothing() -> None:
    theatre = Theatre()
    await theatre.announced("c")
    await theatre.run_for(4 * HOUR_MS)
    journal = {call: dict(held) for call, held in theatre.stage.state.journal.items()}
    asks = await due_asks(theatre.process.world, theatre.groups)
    assert [ask.call.call_id for ask in asks[GROUP]] == ["c"]
    assert asks[GROUP][0].needs == ("audio",)
    assert theatre.stage.state.journal == journal
    assert theatre.jobs() == []
