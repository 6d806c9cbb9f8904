"""Killed under load over broken connections: nothing that was acknowledged is lost or doubled."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest

from tests.soak.load import Input, lost
from tests.soak.proxy import FATES, FaultProxy
from tests.soak.soak import CALLS_A_ROUND, Soak
from tests.story.kit import Platform, Talk, encoded, hiss, sender

ROUNDS = 3


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_rounds_of_kill_9_under_load_lose_and_double_nothing(tmp_path: Path) -> None:
    figures = await Soak(tmp_path, ROUNDS, seed=1).run()
    assert figures.problems == []
    assert figures.clean
    assert figures.kills == ROUNDS + 1
    assert figures.acknowledged == ROUNDS * CALLS_A_ROUND * 3
    assert figures.under_way > 0, "nothing was under way at any kill"
    assert figures.cut_connections > 0, "no connection was cut: the faults do not reach"


async def test_what_was_acknowledged_and_is_not_there_is_seen(tmp_path: Path) -> None:
    """The soak's own eye: without it, a clean run says nothing."""
    rng = Random(1)
    with Platform(tmp_path) as platform:
        await platform.start()
        talk = Talk(rng, 3_000)
        audio = hiss(rng, talk.duration_ms)
        async with sender(platform) as to:
            await to.events(talk.start())
            assert (await to.deliver(talk.name, audio))[0] == 201
        good = [
            Input(talk, "event", encoded(talk.start())), Input(talk, "recording", audio),
        ]  # fmt: skip
        bad = [
            Input(talk, "event", encoded(talk.end())), Input(talk, "recording", audio + b"!"),
            Input(Talk(rng, 3_000), "recording", audio),
        ]  # fmt: skip
        async with platform.store() as runtime:
            assert await lost(runtime, good) == []
            assert len(await lost(runtime, bad)) == len(bad)


async def test_the_proxy_breaks_connections_in_every_way_and_passes_the_others() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = await reader.read()
        writer.write(body)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    proxy = FaultProxy(Random(3), share=0.7)
    proxy.target = server.sockets[0].getsockname()
    await proxy.start()
    whole = 0
    try:
        for _ in range(60):
            whole += await _through(proxy.port, bytes(120_000)) == bytes(120_000)
    finally:
        await proxy.stop()
        server.close()
    assert set(proxy.seen) == {*FATES, "through"}
    # What is cut behind its last byte is whole.
    assert proxy.seen["through"] + proxy.seen["slow"] <= whole < 60


async def _through(port: int, body: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(body)
        await writer.drain()
        writer.write_eof()
        return await reader.read()
    except OSError:
        return b""
    finally:
        writer.transport.abort()
