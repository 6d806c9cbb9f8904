"""Lambda's Invoke, as far as it is asked here: a server that answers what a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.aws.servers import launch

DETECT_ARN = f"arn:aws:lambda:{launch.REGION}:{launch.ACCOUNT}:function:detect"


@dataclass
class FakeLambda:
    """`answer` is what the function returns, `error` the class that it raises instead.

    `status` is Lambda's own refusal; `wait_s` how long the function takes.
    """

    answer: Any = field(default_factory=dict)
    error: str = ""
    message: str = ""
    status: int = 0
    code: str = "TooManyRequestsException"
    wait_s: float = 0.0
    url: str = ""
    events: list[tuple[str, str, Any]] = field(default_factory=list)  # function, kind, event

    async def invoke(self, request: web.Request) -> web.Response:
        """POST /2015-03-31/functions/<name>/invocations (API reference, Invoke)."""
        kind = request.headers.get("X-Amz-Invocation-Type", "RequestResponse")
        self.events.append((request.match_info["name"], kind, await request.json()))
        if self.status:
            headers = {"x-amzn-ErrorType": self.code}
            return web.json_response({"Message": "no"}, status=self.status, headers=headers)
        if kind == "Event":
            return web.Response(status=202)
        await asyncio.sleep(self.wait_s)
        if self.error:
            body = {"errorType": self.error, "errorMessage": self.message, "stackTrace": []}
            return web.json_response(body, headers={"X-Amz-Function-Error": "Unhandled"})
        return web.json_response(self.answer)


@asynccontextmanager
async def fake_lambda(**given: Any) -> AsyncIterator[FakeLambda]:
    """One that listens on a free loopback port."""
    fake = FakeLambda(**given)
    app = web.Application()
    app.router.add_post("/2015-03-31/functions/{name}/invocations", fake.invoke)
    server = TestServer(app, access_log=None)
    await server.start_server()
    fake.url = str(server.make_url("")).rstrip("/")
    try:
        yield fake
    finally:
        await server.close()
