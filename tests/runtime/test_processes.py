"""The two processes of a deployment, for real: a call goes through API, queue and worker."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from ocp_ingest.adapters.tokens.issuer import issue_token
from ocp_ingest.config_model import Config
from ocp_ingest.entrypoints import platform_aws
from ocp_ingest.entrypoints.api.server import free_port
from tests.aws.servers import launch
from tests.cli.kit import run
from tests.runtime.fake_lambda import DETECT_ARN, FakeLambda, fake_lambda
from tests.runtime.site import NUMBER_KEY, Site
from tests.runtime.test_commands import OCP
from tests.story.kit import COMMANDS

# A stop ends long polls, which are 20 s long, and leaves room for a loaded machine.
STOP_S_MAX = 60.0


@contextmanager
def process(site: Site, command: str, port: int, path: str) -> Iterator[launch.Server]:
    """`ocp-ingest serve|work --runtime aws`, ready."""
    arguments = [str(COMMANDS / "ocp-ingest"), command, "--runtime", "aws", "--config",
                 str(site.config), "--port", str(port)]  # fmt: skip
    server = launch.Server(
        command, arguments, folder=site.folder, url=f"http://127.0.0.1:{port}", ready=path
    )
    with server:
        yield server


def test_a_call_goes_through_both_processes_and_both_stop_when_told(tmp_path: Path) -> None:
    site = Site(tmp_path)
    api, worker = free_port("127.0.0.1"), free_port("127.0.0.1")
    with (
        process(site, "serve", api, "/readyz") as serving,
        process(site, "work", worker, "/healthz") as working,
    ):
        answer = run("smoke", "--config", str(site.config), "--url", f"http://127.0.0.1:{api}")
        assert answer.code == 0, answer.err + serving.tail() + working.tail()
        [call] = run(
            "calls", "list", "--json", "--runtime", "aws", "--config", str(site.config)
        ).lines()
        assert (call["stage"], call["line_of_business"]) == ("stored", "banking")
        key = call["recordings"][0]["uri"].removeprefix("lob-banking/")
        held = site.client("s3").get_object(Bucket=site.bucket("lob-banking"), Key=key)
        assert len(held["Body"].read()) == call["recordings"][0]["bytes"]
        for server in (working, serving):
            server.signal(signal.SIGTERM)
        assert [_ended(server) for server in (working, serving)] == [0, 0]
    waiting = site.client("sqs").get_queue_attributes(
        QueueUrl=site.section["work_queue_url"], AttributeNames=["All"]
    )["Attributes"]
    assert waiting["ApproximateNumberOfMessages"] == "0"
    assert waiting["ApproximateNumberOfMessagesNotVisible"] == "0"


def _ended(server: launch.Server) -> int | None:
    """The exit status of a process that was told to stop."""
    running = server._running
    assert running is not None
    try:
        return running.wait(STOP_S_MAX)
    except subprocess.TimeoutExpired:
        return None


# -- the API beside a detect function -------------------------------------------------------------


@asynccontextmanager
async def api(folder: Path, more: str = OCP, **given: Any) -> AsyncIterator[tuple[FakeLambda, Any]]:
    """The API of `serve --runtime aws` in this process; a function that asks it."""
    async with fake_lambda(**given) as fake, aiohttp.ClientSession() as session:
        endpoints = {**Site(folder / "first").section["endpoints"], "lambda": fake.url}
        secret = {"number_key": NUMBER_KEY, "ocp.password": "p"}
        site = Site(
            folder, detect_arn=DETECT_ARN, endpoints=endpoints, more=more, secret=secret
        )  # fmt: skip
        port = free_port("127.0.0.1")
        config = _on(site.load(), port)
        stop = asyncio.Event()
        serving = asyncio.create_task(platform_aws.serve(config, stop))
        token = issue_token(Path(config.data.dir), 60, audience="ocp-ingest", now_s=time.time)
        headers = {"Authorization": f"Bearer {token}"}

        async def ask(method: str, path: str) -> tuple[int, Any]:
            url = f"http://127.0.0.1:{port}{path}"
            async with session.request(method, url, headers=headers) as answer:
                return answer.status, json.loads(await answer.read())

        try:
            await _listening(port, serving)
            yield fake, ask
        finally:
            stop.set()
            await serving


def _on(config: Config, port: int) -> Config:
    server = msgspec.structs.replace(config.server, port=port)
    return msgspec.structs.replace(config, server=server)


async def _listening(port: int, serving: asyncio.Task[None]) -> None:
    for _ in range(600):
        assert not serving.done(), serving.result()
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
            continue
        writer.close()
        return
    raise AssertionError("the API does not listen")


FOUND = {"looked_at": 2, "resumed": 1, "closed": {"absent": 1}, "asked": {"emea-retail": 1},
         "started": ["emea-retail-1"]}  # fmt: skip


async def test_a_reconciliation_asked_over_the_api_is_the_detect_functions(tmp_path: Path) -> None:
    async with api(tmp_path, answer=FOUND) as (fake, ask):
        status, said = await ask("POST", "/v1/reconciliations")
        assert status == 202
        assert {key: said[key] for key in FOUND} == FOUND
        assert (said["running"], said["census"].keys()) == (False, {"emea-retail"})
        assert [kind for _, kind, _ in fake.events] == ["RequestResponse"]
        # A census takes hours: it is begun, and its state is told.
        assert (await ask("POST", "/v1/reconciliations?census=true"))[0] == 202
        assert fake.events[-1][1:] == ("Event", {"census": True})
        fake.error, fake.message = "Transient", "Later."
        status, said = await ask("POST", "/v1/reconciliations")
        assert (status, said["code"]) == (503, "try_again")
        status, said = await ask("GET", "/readyz")
        assert (status, said["ready"]) == (200, True)
        assert said["checks"].keys() >= {"store", "landing", "not_stopping"}


async def test_a_census_that_is_switched_off_is_not_begun(tmp_path: Path) -> None:
    more = f"{OCP}[reconcile]\ncensus = false\n"
    async with api(tmp_path, more, answer=FOUND) as (fake, ask):
        status, said = await ask("POST", "/v1/reconciliations?census=true")
        assert (status, said["code"]) == (400, "invalid")
        assert fake.events == []


async def test_a_detection_that_takes_too_long_is_said_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform_aws, "_ANSWER_S_MAX", 0.3)
    async with api(tmp_path, answer=FOUND, wait_s=3.0) as (_, ask):
        status, said = await ask("POST", "/v1/reconciliations")
        assert (status, said["running"], said["looked_at"]) == (202, True, 0)
