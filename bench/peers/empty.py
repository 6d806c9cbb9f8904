"""The limit of our server: Granian and Litestar, a handler that reads the body and answers."""

import asyncio
import sys

import uvloop
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server
from litestar import Litestar, asgi
from litestar.types import Receive, Scope, Send

ANSWER = b'{"accepted":1,"new":1,"duplicates":0}'


@asgi("/", copy_scope=False, is_mount=True)
async def door(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads to the end and says so."""
    more = True
    while more:
        message = await receive()
        more = bool(message.get("more_body", False))
    headers = [
        (b"content-type", b"application/json"), (b"content-length", str(len(ANSWER)).encode()),
    ]  # fmt: skip
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": ANSWER, "more_body": False})


async def main(port: int) -> None:
    """Serves until it is told to stop."""
    app = Litestar([door], openapi_config=None, logging_config=None, request_max_body_size=None)
    server = Server(
        app, address="127.0.0.1", port=port, interface=Interfaces.ASGINL, http=HTTPModes.http1,
        websockets=False, log_enabled=False, log_access=False,
    )  # fmt: skip
    await server.serve()


if __name__ == "__main__":
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.run(main(int(sys.argv[1])))
