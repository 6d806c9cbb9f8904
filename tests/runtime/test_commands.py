"""Every command that looks at calls works on AWS as it does on this machine."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import pytest

from ocp_ingest import bootstrap_aws
from ocp_ingest.bootstrap_aws import AwsRuntime
from ocp_ingest.core.recording import parse_name
from ocp_ingest.core.vendor import Context
from ocp_ingest.entrypoints.smoke import tone
from ocp_ingest.ingest import intake, pipeline
from ocp_ingest.ingest import tell as telling
from tests.aws.servers import launch
from tests.cli.kit import Answer, run
from tests.runtime.fake_lambda import DETECT_ARN, FakeLambda, fake_lambda
from tests.runtime.site import NUMBER_KEY, Site
from tests.story.kit import Talk, encoded

T = TypeVar("T")
OCP = """
[ocp]
api_url = "http://127.0.0.1:9"
username = "exporter"
groups = ["emea-retail"]
"""


def on(site: Site, *arguments: str) -> Answer:
    """A command on this deployment."""
    return run(*arguments, "--runtime", "aws", "--config", str(site.config))


def within(site: Site, work: Callable[[AwsRuntime], Awaitable[T]]) -> T:
    """Does something with the open runtime."""

    async def opened() -> T:
        async with bootstrap_aws.open(site.load()) as runtime:
            return await work(runtime)

    return asyncio.run(opened())


def announced(site: Site, *, stored: bool = False) -> Talk:
    """A call with its CDRs; `stored` with its recording, all the way."""
    talk = Talk(Random(site.name), 5_000, "banking-voice")

    async def audio() -> Any:
        yield tone(5_000)

    async def take(runtime: AwsRuntime) -> None:
        context = Context(received_at_ms=int(time.time() * 1000))
        bodies = [talk.start(), talk.end()]
        await intake.events(runtime.world, [(b, encoded(b)) for b in bodies], context)
        if stored:
            await intake.recording(runtime.world, parse_name(talk.name), audio(), source="stream")
        await pipeline.drain(runtime.world)

    within(site, take)
    return talk


def test_a_call_is_shown_explained_and_acted_upon(site: Site) -> None:
    talk = announced(site, stored=True)
    [listed] = on(site, "calls", "list", "--json").lines()
    shown = on(site, "calls", "show", talk.call_id, "--json").json()
    assert listed == shown
    assert (shown["stage"], shown["line_of_business"]) == ("stored", "banking")
    assert "The recording is in lob-banking" in on(site, "calls", "explain", talk.call_id).out
    assert on(site, "calls", "show", "nobody").code == 3
    assert on(site, "calls", "mark-absent", "nobody", "--reason", "x").code == 3


def test_acts_are_journalled_under_the_name_that_aws_knows(site: Site) -> None:
    talk = announced(site)
    assert on(site, "calls", "mark-absent", talk.call_id, "--reason", "a test").code == 0
    [listed] = on(site, "calls", "list", "--outcome", "absent", "--json").lines()
    assert listed["call_id"] == talk.call_id
    assert on(site, "calls", "reopen", talk.call_id, "--reason", "it was none").code == 0
    assert on(site, "replay", "--json").json() == {"calls": 1, "healed": 0, "counters": 0}
    events = within(site, lambda runtime: runtime.world.calls.journal(talk.call_id))
    acts = [json.dumps(event.data) for event in events if event.kind in ("reopened", "closed")]
    assert len(acts) == 2
    assert all(f"arn:aws:iam::{launch.ACCOUNT}:" in act for act in acts)


def test_incidents_are_listed_and_closed(site: Site) -> None:
    async def open_one(runtime: AwsRuntime) -> None:
        await telling.people(runtime.world, "step_parked", "It keeps failing.", calls=["c"])

    within(site, open_one)
    assert [i["key"] for i in on(site, "incidents", "list", "--json").lines()] == ["step_parked"]
    assert on(site, "incidents", "close", "step_parked", "--reason", "seen to").code == 0
    assert on(site, "incidents", "list").out.strip() == "There is no incident."
    assert on(site, "incidents", "close", "step_parked", "--reason", "again").code == 3


def test_a_runtime_that_is_not_configured_is_a_usage_error(tmp_path: Path) -> None:
    answer = run("calls", "list", "--runtime", "aws")
    assert (answer.code, "`aws.table`" in answer.err) == (2, True)
    assert run("calls", "list", "--runtime", "azure").code == 2
    assert run("work").code == 2
    assert "serve" in run("work").err


def test_the_runtime_may_come_from_the_environment(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OCP_INGEST_RUNTIME", "aws")
    monkeypatch.setenv("OCP_INGEST_CONFIG", str(site.config))
    assert run("calls", "list", "--json").code == 0
    assert run("calls", "list", "--runtime", "embedded").code == 3, "the option wins"


def test_a_table_that_is_not_there_is_said_in_words(tmp_path: Path) -> None:
    site = Site(tmp_path, table="another")
    answer = on(site, "calls", "list")
    assert answer.code == 1
    assert "ResourceNotFoundException" in answer.err


# -- reconcile ------------------------------------------------------------------------------------

DETECTED = {"looked_at": 2, "resumed": 0, "closed": {}, "asked": {"emea-retail": 2},
            "started": ["emea-retail-1"]}  # fmt: skip


def with_lambda(
    folder: Path, work: Callable[[Site, FakeLambda], T], more: str = OCP, **given: Any
) -> T:
    """A deployment whose detect function is faked; commands run beside the fake's event loop."""

    async def served() -> T:
        async with fake_lambda(**given) as fake:
            endpoints = {**Site(folder / "first").section["endpoints"], "lambda": fake.url}
            secret = {"number_key": NUMBER_KEY, "ocp.password": "p"} if more else None
            site = Site(
                folder, detect_arn=DETECT_ARN, endpoints=endpoints, more=more, secret=secret
            )
            return await asyncio.to_thread(work, site, fake)

    return asyncio.run(served())


def test_a_reconciliation_by_hand_asks_the_detect_function(tmp_path: Path) -> None:
    def asked(site: Site, fake: FakeLambda) -> None:
        assert on(site, "reconcile", "run", "--json").json() == DETECTED
        assert "started: emea-retail-1" in on(site, "reconcile", "run").out
        assert on(site, "reconcile", "census", "--json").json() == DETECTED
        assert [event for _, _, event in fake.events] == [{}, {}, {"census": True}]

    with_lambda(tmp_path, asked, answer=DETECTED)


@pytest.mark.parametrize(("error", "code"), [("Transient", 5), ("Invalid", 2), ("KeyError", 1)])
def test_what_the_function_raises_decides_the_exit_code(
    error: str, code: int, tmp_path: Path
) -> None:
    def asked(site: Site, _: FakeLambda) -> None:
        assert on(site, "reconcile", "run").code == code

    with_lambda(tmp_path, asked, error=error, message="What to do.")


def test_without_a_function_to_ask_the_setting_is_named(site: Site) -> None:
    answer = on(site, "reconcile", "run")
    assert (answer.code, "`aws.detect_arn`" in answer.err) == (2, True)


def test_a_dry_run_plans_here_and_writes_nothing(tmp_path: Path) -> None:
    def planned(site: Site, fake: FakeLambda) -> None:
        talk = announced(site)
        before = _items(site)
        plans = on(site, "reconcile", "run", "--dry-run", "--json").json()
        assert plans == [] or talk.call_id in json.dumps(plans)
        status = on(site, "reconcile", "status", "--json").json()
        assert status["jobs"] == []
        assert sum(status["waiting"].values()) == 1
        assert fake.events == []
        assert _items(site) == before

    with_lambda(tmp_path, planned, answer=DETECTED)


def _items(site: Site) -> list[Any]:
    found = site.client("dynamodb").scan(TableName=site.name)["Items"]
    return sorted(found, key=str)
