"""Hosts the real handlers as Lambda does: `python -m tests.aws.servers.functions_host FILE PORT`.

POST /<function name>   invokes; body: the event; the answer's header x-function-error: it failed.
                        With x-invocation-type: Event it answers 202 at once, and the event is
                        repeated twice when it fails, as Lambda's asynchronous invocations are.
POST /__crash           {"function", "when": "before" | "during" | "after", "times": 1}: its next
                        invocations die before the handler, in its middle (SIGKILL), or after it
GET  /__stats           invocations, errors and crashes by function

FILE: {"functions": {name: {"handler", "environment", "timeout_s", "at_once"}}, "environment": {…}}.
An environment is a process (function_worker.py): it has its function's variables and lives for
many invocations, one at a time; a function has up to `at_once` of them, started when needed. A
process that dies or takes too long is replaced, and the caller is told as by Lambda.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
import uuid
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from tests.aws.servers.launch import ACCOUNT, REGION

# Python, botocore and our own modules on a loaded machine.
START_S_MAX: Final = 60.0
# Lambda waits a minute, then two; nobody has that long here, and domain time may be scaled.
AGAIN_S: Final = (0.5, 1.0)
# Of Lambda's asynchronous events; an answer is bounded too.
_LINE_BYTES_MAX: Final = 8 * 1024 * 1024
# A crash in the middle comes within this much of an invocation's start.
_DURING_S_MAX: Final = 0.3

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Function:
    """As the template made it."""

    name: str
    handler: str
    environment: dict[str, str]
    timeout_s: float
    at_once: int


class Died(Exception):
    """The process ended without an answer."""


class Environment:
    """One process of a function."""

    def __init__(self, process: asyncio.subprocess.Process, answers: asyncio.StreamReader) -> None:
        self.process = process
        self._answers = answers

    @classmethod
    async def start(cls, function: Function, log: Path) -> Environment:
        """Starts a process and waits until its handler is imported. Raises Died."""
        reading, writing = os.pipe()
        environment = {
            **os.environ, **function.environment,
            "AWS_LAMBDA_FUNCTION_NAME": function.name, "PYTHONUNBUFFERED": "1",
            "AWS_SDK_UA_APP_ID": function.name.removeprefix("ocp-ingest-"),
        }  # fmt: skip
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.aws.servers.function_worker", function.name,
                function.handler, str(writing), stdin=asyncio.subprocess.PIPE, stdout=output,
                stderr=output, pass_fds=(writing,), env=environment,
            )  # fmt: skip
        os.close(writing)
        answers = asyncio.StreamReader(limit=_LINE_BYTES_MAX)
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(answers), os.fdopen(reading, "rb")
        )
        made = cls(process, answers)
        try:
            await asyncio.wait_for(made._line(), START_S_MAX)
        except TimeoutError:
            made.kill()
            raise Died(f"{function.name} did not start") from None
        return made

    async def invoke(self, asked: Event, *, kill_after_s: float | None = None) -> Event:
        """One invocation. Raises Died, and TimeoutError when its time is over."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(asked).encode() + b"\n")
        if kill_after_s is not None:
            asyncio.get_running_loop().call_later(kill_after_s, self.kill)
        line = await asyncio.wait_for(self._line(), max(0.1, asked["until_s"] - time.time()))
        answer: Event = json.loads(line)
        return answer

    async def _line(self) -> bytes:
        line = await self._answers.readline()
        if not line.endswith(b"\n"):
            raise Died(f"signal: {await self.process.wait()}")
        return line

    def kill(self) -> None:
        """SIGKILL."""
        if self.process.returncode is None:
            self.process.kill()


@dataclass(slots=True)
class Pool:
    """The environments of one function."""

    function: Function
    slots: asyncio.Semaphore
    idle: list[Environment] = field(default_factory=list)
    crashes: list[str] = field(default_factory=list)


class Host:
    """All functions."""

    def __init__(self, functions: list[Function], folder: Path) -> None:
        self._pools = {f.name: Pool(f, asyncio.Semaphore(f.at_once)) for f in functions}
        self._folder = folder
        self._background: set[asyncio.Task[None]] = set()
        self.stats: dict[str, Counter[str]] = defaultdict(Counter)

    async def invoke(self, name: str, event: Any, request_id: str) -> tuple[Event, bool]:
        """The answer and whether it is an error."""
        pool = self._pools[name]
        async with pool.slots:
            answer = await self._invoke(pool, event, request_id)
        self.stats[name]["invocations"] += 1
        if "error" in answer:
            self.stats[name]["errors"] += 1
            self.stats[name][answer["error"]["errorType"]] += 1
            return answer["error"], True
        return answer["answer"], False

    async def _invoke(self, pool: Pool, event: Any, request_id: str) -> Event:
        function = pool.function
        crash = pool.crashes.pop(0) if pool.crashes else ""
        self.stats[function.name]["crashes"] += bool(crash)
        try:
            environment = pool.idle.pop() if pool.idle else await self._start(function)
        except Died as died:
            return _error("Runtime.ExitError", str(died))
        asked = {
            "event": event, "request_id": request_id,
            "arn": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{function.name}",
            "until_s": time.time() + function.timeout_s,
            "crash": crash if crash != "during" else "",
        }  # fmt: skip
        kill_after_s = random.random() * _DURING_S_MAX if crash == "during" else None
        try:
            answer = await environment.invoke(asked, kill_after_s=kill_after_s)
        except (Died, ConnectionError, BrokenPipeError) as died:
            environment.kill()
            return _error("Runtime.ExitError", f"Runtime exited with error: {died}")
        except TimeoutError:
            environment.kill()
            return _error(
                "Sandbox.Timedout", f"Task timed out after {function.timeout_s:.2f} seconds"
            )
        if kill_after_s is None:
            pool.idle.append(environment)
        return answer

    async def _start(self, function: Function) -> Environment:
        return await Environment.start(function, self._folder / f"{function.name}.log")

    def later(self, name: str, event: Any, request_id: str) -> None:
        """An asynchronous invocation: repeated twice when it fails, then forgotten."""
        task = asyncio.create_task(self._later(name, event, request_id))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _later(self, name: str, event: Any, request_id: str) -> None:
        for pause_s in (*AGAIN_S, None):
            _, failed = await self.invoke(name, event, request_id)
            if not failed:
                return
            if pause_s is not None:
                await asyncio.sleep(pause_s)
        self.stats[name]["given_up"] += 1

    def crash(self, name: str, when: str, times: int) -> None:
        """Lets the next invocations die."""
        self._pools[name].crashes += [when] * times

    def __contains__(self, name: str) -> bool:
        return name in self._pools

    def close(self) -> None:
        """Kills every process."""
        for task in self._background:
            task.cancel()
        for pool in self._pools.values():
            for environment in pool.idle:
                environment.kill()


def _error(kind: str, message: str) -> Event:
    return {"error": {"errorType": kind, "errorMessage": message}}


def application(host: Host) -> web.Application:
    """The HTTP side."""

    async def invoke(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in host:
            return web.json_response({"errorType": "ResourceNotFound"}, status=404)
        event = json.loads(await request.read() or b"{}")
        request_id = request.headers.get("x-request-id", str(uuid.uuid4()))
        if request.headers.get("x-invocation-type") == "Event":
            host.later(name, event, request_id)
            return web.Response(status=202)
        answer, failed = await host.invoke(name, event, request_id)
        headers = {"x-function-error": "Unhandled"} if failed else {}
        return web.json_response(answer, headers=headers)

    async def crash(request: web.Request) -> web.Response:
        asked = await request.json()
        host.crash(asked["function"], asked["when"], asked.get("times", 1))
        return web.json_response({})

    async def stats(_request: web.Request) -> web.Response:
        return web.json_response(host.stats)

    async def close(_app: web.Application) -> None:
        host.close()

    app = web.Application(client_max_size=_LINE_BYTES_MAX)
    app.router.add_get("/__stats", stats)
    app.router.add_post("/__crash", crash)
    app.router.add_post("/{name}", invoke)
    app.on_cleanup.append(close)
    return app


def functions_of(described: dict[str, Any]) -> list[Function]:
    """What the file describes."""
    common = described.get("environment", {})
    return [
        Function(name, f["handler"], {**f["environment"], **common}, f["timeout_s"], f["at_once"])
        for name, f in described["functions"].items()
    ]


def main(file: str, port: str) -> None:
    """Serves until it is told to stop."""
    path = Path(file)
    host = Host(functions_of(json.loads(path.read_text("utf-8"))), path.parent)
    web.run_app(application(host), host="127.0.0.1", port=int(port), print=None, access_log=None)


if __name__ == "__main__":
    main(*sys.argv[1:])
