"""The archive function as Lambda calls it: configuration from variables, answers, days by hand."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from ocp_ingest.adapters.aws import table
from ocp_ingest.adapters.aws.call_store import AwsCallStore
from ocp_ingest.adapters.aws.day_counts import read_counts
from ocp_ingest.adapters.journal import Deriving
from ocp_ingest.adapters.signing import FileSigner
from ocp_ingest.core.errors import Invalid
from ocp_ingest.entrypoints.functions.archive import RECOUNT_DAYS, Process
from ocp_ingest.entrypoints.functions.seal import Process as SealProcess
from tests.audit.stream import Recorder, batch
from tests.contracts import samples

DAY: Final = table.day_of(samples.T0)


@dataclass
class Invocation:
    """Lambda's context."""

    aws_request_id: str = "request-1"

    def get_remaining_time_in_millis(self) -> int:
        return 60_000


@pytest.fixture
def process(aws: Recorder, monkeypatch: pytest.MonkeyPatch) -> Process:
    """A process with the variables that the template sets; it may read no secret."""
    settings = aws.settings
    monkeypatch.delenv("OCP_INGEST_CONFIG", raising=False)
    for name, value in {
        "region": settings.region, "table": settings.table,
        "bucket_prefix": settings.bucket_prefix,
        "work_queue_url": "http://127.0.0.1:9/q", "work_dlq_url": "http://127.0.0.1:9/d",
        "secret_arn": "arn:aws:secretsmanager:eu-west-1:000000000000:secret:s",
        "endpoints": "{ " + ", ".join(f'{k} = "{v}"' for k, v in settings.endpoints.items()) + " }",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"OCP_INGEST_AWS__{name.upper()}", value)
    return Process()


async def test_a_batch_is_archived_counted_and_answered(aws: Recorder, process: Process) -> None:
    await AwsCallStore(aws, Deriving()).append(samples.life())
    event = batch(aws.take())
    said = await _run(process, event)
    assert said == {"state": {}, "batchItemFailures": []}
    assert (await read_counts(aws, ["sales"], [DAY]))["sales", DAY]["streamed"] == 1


async def test_a_batch_that_cannot_be_archived_now_comes_again(
    aws: Recorder, process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    await AwsCallStore(aws, Deriving()).append(samples.life())
    event = batch(aws.take())
    monkeypatch.setenv("OCP_INGEST_AWS__BUCKET_PREFIX", "no-such-bucket-")
    said = await _run(process, event)
    first = event["Records"][0]["dynamodb"]["SequenceNumber"]
    assert said["batchItemFailures"] == [{"itemIdentifier": first}]
    assert (await read_counts(aws, ["sales"], [DAY]))["sales", DAY]["streamed"] == 0


async def test_days_are_recounted_and_archived_anew_by_hand(
    aws: Recorder, process: Process
) -> None:
    await AwsCallStore(aws, Deriving()).append(samples.life())
    assert await _run(process, {"recount": DAY}) == {DAY: {"counters": 1, "changed": 1}}
    assert await _run(process, {"rearchive": DAY}) == {
        "calls": 1, "events": len(samples.life()),
    }  # fmt: skip
    nights = await _run(process, {"recount": True})
    assert len(nights) == RECOUNT_DAYS
    for wrong in (
        {"recount": 20261122},
        {"recount": "soon"},
        {"recount": False},
        {"rearchive": ""},
    ):
        with pytest.raises(Invalid):
            await _run(process, wrong)


async def _run(process: Process, event: dict[str, Any]) -> dict[str, Any]:
    """As Lambda does: outside of any event loop of ours."""

    def work() -> dict[str, Any]:
        try:
            return process.run(event, Invocation())
        finally:
            process.close()

    return await asyncio.to_thread(work)


async def test_the_seal_function_seals_what_waits_and_then_nothing(
    aws: Recorder, process: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "number.key").touch(mode=0o600)
    (tmp_path / "number.key").write_text("k" * 64)
    FileSigner(tmp_path / "seals.key")
    monkeypatch.delenv("OCP_INGEST_AWS__SECRET_ARN")
    monkeypatch.setenv("OCP_INGEST_CALLS__NUMBER_KEY_FILE", str(tmp_path / "number.key"))
    monkeypatch.setenv("OCP_INGEST_EVIDENCE__KEY_FILE", str(tmp_path / "seals.key"))
    await AwsCallStore(aws, Deriving()).append(samples.life())
    await _run(process, batch(aws.take()))
    assert await _sealed({}) == {"links": len(samples.life()), "days": 0}
    assert await _sealed({}) == {"links": 0, "days": 0}
    await AwsCallStore(aws, Deriving()).append(samples.life("untold"))
    assert await _sealed({}) == {"links": 0, "days": 0}
    assert await _sealed({"all": True}) == {"links": len(samples.life()), "days": 0}


async def _sealed(event: dict[str, Any]) -> dict[str, Any]:
    process = SealProcess()

    def work() -> dict[str, Any]:
        try:
            return process.run(event, Invocation())
        finally:
            process.close()

    return await asyncio.to_thread(work)
