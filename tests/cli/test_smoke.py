"""`ocp-ingest smoke`: it goes all the way or says at which step it did not, and why."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from ocp_ingest import config as config_reader
from ocp_ingest.adapters.tokens.issuer import issue_token
from ocp_ingest.entrypoints import platform
from ocp_ingest.entrypoints.api.server import free_port
from ocp_ingest.entrypoints.smoke import CALL_MS, Options, run, tone
from tests.cli.kit import CONFIG, Answer
from tests.cli.kit import run as command
from tests.core.audio.reading import codes, read

T = TypeVar("T")
_RUNS = itertools.count()
ISSUED = """
[auth.clients.smoke]
secret = "correct-horse-battery-staple"
scopes = ["ingest", "read"]
"""


def beside(folder: Path, work: Callable[[str, Path], T], more: str = "") -> T:
    """Runs `work(url, configuration file)` in a thread beside a platform that serves."""
    port = free_port("127.0.0.1")
    file = folder / "c.toml"
    text = CONFIG.format(data_dir=folder / "data").replace("banking-*", "ocp-ingest-*")
    file.write_text(f"{text}{ISSUED}{more}[server]\nport = {port}\n")

    async def served() -> T:
        stop = asyncio.Event()
        serving = asyncio.create_task(platform.serve(config_reader.load(file, {}), stop))
        try:
            await _listens(port, serving)
            return await asyncio.to_thread(work, f"http://127.0.0.1:{port}", file)
        finally:
            stop.set()
            await serving

    return asyncio.run(served())


async def _listens(port: int, serving: asyncio.Task[None]) -> None:
    for _ in range(600):
        assert not serving.done(), serving.result()
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
            continue
        writer.close()
        return
    raise AssertionError("the platform does not listen")


def test_a_call_goes_all_the_way_with_nothing_said_but_the_configuration(tmp_path: Path) -> None:
    def smoked(_: str, file: Path) -> tuple[Answer, Any, Any]:
        answer = command("smoke", "--config", str(file), "--json")
        # The platform beside logs into the same process.
        said = json.loads(answer.out.splitlines()[-1])
        shown = command("calls", "show", said["call_id"], "--json", "--config", str(file))
        return answer, said, json.loads(shown.out.splitlines()[-1])

    answer, said, shown = beside(tmp_path, smoked)
    assert (answer.code, said["good"], said["failed"]) == (0, True, None)
    assert [step["what"] for step in said["steps"]] == [
        "ready", "dialog_start", "recording", "recording again", "dialog_end", "stored",
    ]  # fmt: skip
    assert said["call_id"].startswith("smoke-")
    assert (shown["stage"], shown["outcome"]) == ("stored", "stored")
    assert shown["call"]["entry_app"] == "ocp-ingest-smoke"
    assert said["line_of_business"] == shown["line_of_business"] == "banking"
    assert said["uri"] == shown["recordings"][0]["uri"]
    assert shown["recordings"][0]["problems"] == []


def test_a_token_is_had_for_a_clients_secret_and_never_shown(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("correct-horse-battery-staple\n")

    def smoked(url: str, _: Path) -> Answer:
        who = ("--client-id", "smoke", "--client-secret-file", str(secret))
        what = ("--ocp-group", "emea-retail", "--attached", "lob=x")
        return command("smoke", "--url", url, *who, *what)

    answer = beside(tmp_path, smoked)
    assert answer.code == 0, answer.err
    assert any(line.startswith("ok    token: lives 3600 s") for line in answer.out.splitlines())
    assert "eyJ" not in answer.out
    assert "correct-horse" not in answer.out


def _smoke(url: str, **given: Any) -> str:
    """What failed, in a run of a few seconds."""
    options = Options(url=url, timeout_s=given.pop("timeout_s", 3.0), **given)
    # Two runs within one second need ids of their own.
    report = run(options, suffix=f"x{next(_RUNS)}")
    assert not report.good
    return report.failed


def test_what_keeps_it_from_going_is_said_with_the_step(tmp_path: Path) -> None:
    rules = '\n[lob.strict]\n[lob.strict.rules]\nrequired_attached = ["branch"]\n[[routing]]\n' \
            'lob = "strict"\nwhen = { direction = "inbound" }\n'  # fmt: skip

    def failures(url: str, file: Path) -> dict[str, str]:
        def token(*scopes: str) -> str:
            return issue_token(
                Path(config_reader.load(file, {}).data.dir), 60, audience="ocp-ingest",
                now_s=time.time, scopes=scopes,
            )  # fmt: skip

        good = token("ingest", "read")
        return {
            "rules": _smoke(url, token=good, entry_app="strict"),
            "no token": _smoke(url, token="x"),
            "no scope": _smoke(url, token=token("ingest")),
            "bad secret": _smoke(url, client_id="smoke", client_secret="wrong"),
            "bad token url": _smoke(url, client_id="a", client_secret="b", token_url=f"{url}/no"),
        }

    said = beside(tmp_path, failures, rules)
    assert said["rules"].startswith("stored: the recording does not pass the rules: ")
    assert "branch" in said["rules"]
    assert said["no token"].startswith("dialog_start: answered 401")
    assert said["no scope"].startswith("stored: answered 403")
    assert "`read`" in said["no scope"]
    assert said["bad secret"].startswith("token: answered 401")
    assert said["bad token url"].startswith("token: answered 404")


def test_nobody_there_is_said_with_the_address() -> None:
    assert "127.0.0.1:9 does not answer" in _smoke("http://127.0.0.1:9", token="x")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--client-id", "a"),
        ("--client-id", "a", "--client-secret-file", "nowhere"),
        ("--url", "ftp://x", "--token", "x"),
        ("--url", "http://x", "--token", "x", "--attached", "novalue"),
        ("--timeout", "0"),
    ],
)
def test_half_set_options_are_a_usage_error(arguments: tuple[str, ...]) -> None:
    assert command("smoke", *arguments).code == 2


def test_where_somebody_else_issues_tokens_a_client_must_be_named(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('[auth]\nissuer = "https://i"\njwks_url = "https://k"\n')
    answer = command("smoke", "--config", str(file))
    assert (answer.code, "--client-id" in answer.err) == (2, True)


# -- a platform that does not do as it should -----------------------------------------------------


class Platform:
    """A fake platform; `answers` replaces what a path answers."""

    def __init__(self, **answers: tuple[int, Any]) -> None:
        self.answers = answers
        self.seen: list[tuple[str, str | None]] = []

    async def answer(self, request: web.Request) -> web.Response:
        """As told, else as the platform would while a call is on its way."""
        name = request.path.strip("/").replace("/", "_").replace("-", "_")
        name = "call" if name.startswith("v1_calls") else name
        self.seen.append((request.path, request.headers.get("Authorization")))
        status, body = self.answers.get(name, (200, {}))
        headers = {"Location": body} if status == 302 else {}
        return web.json_response({} if status == 302 else body, status=status, headers=headers)


def smoke_of(fake: Platform) -> str:
    """What fails against it."""

    async def served() -> str:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", fake.answer)
        server = TestServer(app, access_log=None)
        await server.start_server()
        try:
            url = str(server.make_url("")).rstrip("/")
            return await asyncio.to_thread(_smoke, url, token="t", timeout_s=1.0)
        finally:
            await server.close()

    return asyncio.run(served())


ONE = (200, {"accepted": 1})
AUDIO = tone(CALL_MS)


def taken(**more: Any) -> tuple[int, Any]:
    """The answer to the recording."""
    sha256 = hashlib.sha256(AUDIO).hexdigest()
    return 201, {"sha256": sha256, "result": "received"} | more


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({"readyz": (503, {"checks": {"store": False, "x": True}})}, "ready: .*503.*: store$"),
        ({"v1_events": (200, {"accepted": 0})}, "dialog_start: .*one event"),
        ({"v1_events": (500, {"detail": "Our fault."})}, r"dialog_start: .*500.*Our fault\."),
        ({"v1_events": (302, "http://127.0.0.1:9/")}, "dialog_start: answered 302"),
        ({"v1_events": ONE, "v1_recordings": (413, {"detail": "Big."})}, "recording: .*413"),
        ({"v1_events": ONE, "v1_recordings": taken(sha256="0")}, "recording: .*these bytes"),
        # The same answer twice: the second time it should have known the bytes.
        ({"v1_events": ONE, "v1_recordings": taken()}, "recording again: answered 201"),
    ],
)
def test_a_platform_that_answers_wrongly_fails_at_that_step(
    answers: dict[str, tuple[int, Any]], words: str
) -> None:
    assert re.search(words, smoke_of(Platform(**answers)))


def test_a_redirect_gets_no_token(tmp_path: Path) -> None:
    fake = Platform(readyz=(302, "/elsewhere"), elsewhere=(200, {}))
    smoke_of(fake)
    assert "/elsewhere" not in [path for path, _ in fake.seen]


def test_the_tone_is_a_recording_that_no_rule_minds() -> None:
    report = read(AUDIO)
    assert report.duration_ms == CALL_MS
    assert codes(report) == set()
