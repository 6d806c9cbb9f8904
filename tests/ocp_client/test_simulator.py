"""The client against the OCP simulator: its rules, and each of its faults that a client feels."""

import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest
from aiohttp.test_utils import TestServer

from ocp_ingest.adapters.ocp.client import OcpClient
from ocp_ingest.core.errors import OcpIngestError
from ocp_ingest.core.export_job import (
    Busy,
    Cancelled,
    Created,
    Gone,
    Listed,
    RateLimited,
    Refused,
    Status,
    Unavailable,
    VendorStatus,
)
from ocp_ingest.reconcile.ports import ExportFile, FileList, Mismatch
from ocp_sim import config
from ocp_sim.server import make_app
from ocp_sim.simulator import Simulator
from tests.ocp_client.kit import Times, content, settings
from tests.sim.kit import HOUR, T0, ManualClock, calm_settings, simulator

GROUP = "emea-retail"
AUDIO = ("audio",)
Script = config.Scripted


class Sim(NamedTuple):
    """A simulator, its clock, and a client of it."""

    sim: Simulator
    clock: ManualClock
    client: OcpClient
    times: Times


@asynccontextmanager
async def running(
    *script: config.Scripted,
    export: dict[str, Any] | None = None,
    auth: config.Auth | None = None,
    login: dict[str, Any] | None = None,
) -> AsyncIterator[Sim]:
    """Calls of ten hours, all of them over and in OCP's warehouse."""
    clock = ManualClock(T0)
    rules = {"redirect_share": 0, "rate_burst": 10_000} | (export or {})
    faults = config.ExportFaults(script=script, slow_s=0.05)
    sim = simulator(
        calm_settings(export=config.Export(**rules), export_faults=faults, auth=auth), clock=clock
    )
    clock.ms = T0 + 20 * HOUR
    server, times = TestServer(make_app(sim), access_log=None), Times()
    await server.start_server()
    who = {"username": "exporter", "password": "exporter"} | (login or {})
    ours = settings(str(server.make_url("")).rstrip("/"), **who)
    try:
        async with OcpClient(
            ours, now_ms=clock.now_ms, chance=lambda: 0.5, sleep=times.sleep,
            steady_s=times.steady_s,
        ) as client:  # fmt: skip
            yield Sim(sim, clock, client, times)
    finally:
        await server.close()


async def completed(at: Sim, types: tuple[str, ...] = AUDIO, hours: int = 10) -> str:
    created = await at.client.create(GROUP, T0, T0 + hours * HOUR, types)
    assert isinstance(created, Created)
    at.clock.ms += HOUR
    return created.export.export_id


async def listed(at: Sim, export_id: str) -> tuple[ExportFile, ...]:
    files = await at.client.files(GROUP, export_id)
    assert isinstance(files, FileList)
    return files.files


async def fetch(at: Sim, export_id: str, file: ExportFile) -> dict[str, bytes]:
    async with contextlib.aclosing(at.client.fetch(GROUP, export_id, file)) as found:
        return {one.name: await content(one) async for one in found}


def truth(at: Sim, name: str) -> bytes:
    return at.sim.world.audio(name)


class TestAnExport:
    """From the question to the bytes."""

    @pytest.mark.parametrize(
        "login",
        [{}, {"username": "", "password": "", "personal_access_token": "sim-pat"}],
    )
    async def test_it_is_created_polled_listed_and_fetched(self, login: dict[str, Any]) -> None:
        async with running(login=login or None) as at:
            created = await at.client.create(GROUP, T0 + 600_000, T0 + 2 * HOUR + 1, AUDIO)
            assert isinstance(created, Created)
            export = created.export
            assert (export.from_ms, export.to_ms, export.types) == (T0, T0 + 2 * HOUR, AUDIO)
            assert export.created_at == at.clock.ms
            first = await at.client.status(GROUP, export.export_id, 1)
            at.clock.ms += HOUR
            last = await at.client.status(GROUP, export.export_id, 2)
            assert isinstance(first, Status)
            assert isinstance(last, Status)
            assert first.export.status is VendorStatus.PENDING
            assert last.export.status is VendorStatus.COMPLETED
            files = await listed(at, export.export_id)
            assert last.export.file_count == len(files) > 0
            for file in files:
                assert await fetch(at, export.export_id, file) == {file.name: truth(at, file.name)}
            everything = await at.client.listing(GROUP)
            assert isinstance(everything, Listed)
            assert [one.export_id for one in everything.exports] == [export.export_id]

    async def test_cdrs_come_as_lines(self) -> None:
        async with running() as at:
            export_id = await completed(at, ("dialog_start", "dialog_end"))
            for file in await listed(at, export_id):
                async for one in at.client.fetch(GROUP, export_id, file):
                    assert one.kind == "cdr"
                    lines = (await content(one)).splitlines()
                    assert all(file.type.encode() in line for line in lines)

    async def test_zips_bring_every_recording(self) -> None:
        async with running(export={"audio_as": "zip"}) as at:
            export_id = await completed(at)
            [file] = [one for one in await listed(at, export_id) if one.name.endswith(".zip")]
            found = await fetch(at, export_id, file)
            assert found == {name: truth(at, name) for name in found}
            assert len(found) > 10

    async def test_a_list_of_many_pages_is_whole(self) -> None:
        async with running(export={"page_size_max": 3}) as at:
            export_id = await completed(at)
            status = await at.client.status(GROUP, export_id, 1)
            assert isinstance(status, Status)
            assert len(await listed(at, export_id)) == status.export.file_count
            assert at.sim.answers["files.200"] > 5


class TestRules:
    """OCP's refusals as the brain of stage 2 must see them."""

    async def test_one_running_export_per_group(self) -> None:
        async with running() as at:
            assert isinstance(await at.client.create(GROUP, T0, T0 + HOUR, AUDIO), Created)
            assert await at.client.create(GROUP, T0, T0 + HOUR, AUDIO) == Busy()
            other = await at.client.create("latam-retail", T0, T0 + HOUR, AUDIO)
            assert isinstance(other, Created)

    async def test_a_cancelled_export_frees_the_slot(self) -> None:
        async with running() as at:
            created = await at.client.create(GROUP, T0, T0 + HOUR, AUDIO)
            assert isinstance(created, Created)
            assert await at.client.cancel(GROUP, created.export.export_id) == Cancelled()
            assert isinstance(await at.client.create(GROUP, T0, T0 + HOUR, AUDIO), Created)

    async def test_a_bad_range_a_foreign_group_and_an_unknown_export(self) -> None:
        async with running() as at:
            short = await at.client.create(GROUP, T0, T0 + HOUR // 2, AUDIO)
            long = await at.client.create(GROUP, T0 - 49 * HOUR, T0, AUDIO)
            foreign = await at.client.create("nobody", T0, T0 + HOUR, AUDIO)
            assert [one.status for one in (short, long, foreign)] == [400, 400, 403]  # type: ignore[union-attr]
            assert isinstance(await at.client.status(GROUP, "no-such", 3), Gone)

    async def test_data_is_gone_after_a_day(self) -> None:
        async with running() as at:
            export_id = await completed(at)
            [first, *_] = await listed(at, export_id)
            at.clock.ms += 24 * HOUR
            status = await at.client.status(GROUP, export_id, 1)
            assert isinstance(status, Status)
            assert status.export.status is VendorStatus.EXPIRED
            assert isinstance(await at.client.files(GROUP, export_id), Gone)
            with pytest.raises(OcpIngestError) as gone:
                await fetch(at, export_id, first)
            assert gone.value.code == "expired"

    async def test_the_rate_limit_is_told_with_its_wait(self) -> None:
        async with running(export={"rate_burst": 1, "rate_per_s": 0.001}) as at:
            assert isinstance(await at.client.listing(GROUP), Listed)
            seen = await at.client.create(GROUP, T0, T0 + HOUR, AUDIO)
            assert isinstance(seen, RateLimited)
            assert seen.retry_after_s == pytest.approx(1000, abs=5)

    async def test_a_wrong_password_and_an_unaccepted_personal_token(self) -> None:
        async with running(login={"password": "wrong"}) as at:
            seen = await at.client.listing(GROUP)
            assert isinstance(seen, Refused)
            assert seen.status == 401
        pat = {"username": "", "password": "", "personal_access_token": "sim-pat"}
        async with running(auth=config.Auth(personal_tokens_accepted=False), login=pat) as at:
            assert isinstance(await at.client.listing(GROUP), Refused)

    async def test_a_second_factor(self) -> None:
        secret = "JBSWY3DPEHPK3PXP"
        user = config.User(
            username="exporter", password="exporter", groups=(GROUP,), totp_secret=secret
        )
        auth = config.Auth(users=(user,))
        async with running(auth=auth, login={"otp_secret": secret}) as at:
            assert isinstance(await at.client.listing(GROUP), Listed)
        async with running(auth=auth) as at:
            assert isinstance(await at.client.listing(GROUP), Refused)

    async def test_leaving_ends_the_login(self) -> None:
        async with running() as at:
            await at.client.listing(GROUP)
            sim = at.sim
        assert sim.answers["logout.204"] == 1


@pytest.mark.parametrize("op", ["list", "status", "files"])
@pytest.mark.parametrize(
    "fault", ["rate_limited", "server_error", "slow", "unauthorized", "dropped"]
)
async def test_a_get_that_fails_once_succeeds(op: str, fault: str) -> None:
    async with running(Script(op=op, fault=fault)) as at:
        export_id = await completed(at)
        asked: dict[str, Awaitable[object]] = {
            "list": at.client.listing(GROUP),
            "status": at.client.status(GROUP, export_id, 1),
            "files": at.client.files(GROUP, export_id),
        }
        for other in asked.keys() - {op}:
            await asked[other]
        assert isinstance(await asked[op], Listed | Status | FileList)
        assert at.sim.dice.fired == {f"{op}.{fault}": 1}


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("rate_limited", RateLimited), ("server_error", Unavailable), ("slow", Created),
     ("unauthorized", Created), ("dropped", Unavailable), ("conflict", Busy), ("foreign", Busy),
     ("answer_lost", Unavailable), ("failed", Created)],
)  # fmt: skip
async def test_each_fault_of_a_creation_has_its_observation(fault: str, kind: type) -> None:
    async with running(Script(op="create", fault=fault)) as at:
        assert isinstance(await at.client.create(GROUP, T0, T0 + HOUR, AUDIO), kind)
        posts = sum(n for key, n in at.sim.answers.items() if key.startswith("create."))
        assert posts <= 1 + (fault == "unauthorized")


async def test_a_job_whose_answer_was_lost_is_found_in_the_listing() -> None:
    async with running(Script(op="create", fault="answer_lost")) as at:
        seen = await at.client.create(GROUP, T0, T0 + HOUR, AUDIO)
        assert isinstance(seen, Unavailable)
        assert seen.sent
        found = await at.client.listing(GROUP)
        assert isinstance(found, Listed)
        [export] = found.exports
        assert (export.from_ms, export.to_ms) == (T0, T0 + HOUR)
        assert export.created_at == at.clock.ms


@pytest.mark.parametrize(
    "fault",
    ["cut", "short_body", "truncated", "token_expired", "redirect", "redirect_expired",
     "rate_limited", "server_error", "slow", "unauthorized", "dropped"],
)  # fmt: skip
@pytest.mark.parametrize("audio_as", ["files", "zip"])
async def test_a_download_that_suffers_once_is_whole(fault: str, audio_as: str) -> None:
    async with running(
        Script(op="download", fault=fault), export={"with_sha256": 1, "audio_as": audio_as}
    ) as at:
        export_id = await completed(at)
        [file, *_] = await listed(at, export_id)
        for name, data in (await fetch(at, export_id, file)).items():
            assert data == truth(at, name)
        assert at.sim.dice.fired == {f"download.{fault}": 1}


async def test_a_day_on_which_everything_goes_wrong_at_once() -> None:
    faults = ("cut", "short_body", "redirect", "token_expired", "redirect_expired", "server_error")
    script = [Script(op="download", fault=fault) for fault in faults]
    async with running(*script, export={"with_sha256": 1, "redirect_share": 0.5}) as at:
        export_id = await completed(at)
        for file in await listed(at, export_id):
            assert await fetch(at, export_id, file) == {file.name: truth(at, file.name)}
        assert len(at.sim.dice.fired) == len(faults)


async def test_wrong_bytes_are_found_by_the_checksum_and_right_ones_taken_next() -> None:
    async with running(Script(op="download", fault="wrong_bytes"), export={"with_sha256": 1}) as at:
        export_id = await completed(at)
        [file, *_] = await listed(at, export_id)
        with pytest.raises(Mismatch):
            await fetch(at, export_id, file)
        got = await fetch(at, export_id, file)
        assert hashlib.sha256(got[file.name]).hexdigest() == file.sha256


async def test_a_half_file_that_claims_to_be_whole_is_completed_by_the_listed_size() -> None:
    async with running(Script(op="download", fault="truncated"), export={"with_sha256": 0}) as at:
        export_id = await completed(at)
        [file, *_] = await listed(at, export_id)
        assert file.sha256 is None
        assert await fetch(at, export_id, file) == {file.name: truth(at, file.name)}
