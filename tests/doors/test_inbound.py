"""Bodies as they are read: where they end, and how long a silence may be."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ocp_ingest.core.errors import TooLarge, Transient
from ocp_ingest.entrypoints.api.inbound import Disconnected, Inbound, Patience


class Sender:
    """Sends these messages, one at each asking, and then nothing for ever."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self.left = list(messages)
        self.asked = 0

    async def __call__(self) -> Any:
        self.asked += 1
        if not self.left:
            await asyncio.Event().wait()
        return self.left.pop(0)


def part(body: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


def request(sender: Sender, patience: float | Patience = 60, **headers: str) -> Inbound:
    """A request with these headers; _ in a name stands for -."""
    named = [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()]
    held = patience if isinstance(patience, Patience) else Patience(patience)
    scope: Any = {"method": "POST", "query_string": b"", "headers": named}
    return Inbound(scope, sender, held)


async def test_an_announced_body_ends_with_its_last_byte() -> None:
    sender = Sender(part(b"ab"), part(b"c"))
    inbound = request(sender, content_length="3")
    assert await inbound.whole(10, "A body") == b"abc"
    assert sender.asked == 2
    assert not inbound.unread


async def test_blocks_of_an_announced_body_end_with_its_last_byte() -> None:
    inbound = request(Sender(part(b"ab"), part(b""), part(b"c")), content_length="3")
    assert [block async for block in inbound.blocks()] == [b"ab", b"c"]


@pytest.mark.parametrize("headers", [
    {}, {"content_length": "2", "transfer_encoding": "chunked"}, {"content_length": "9"},
])  # fmt: skip
async def test_other_bodies_end_where_the_server_says_so(headers: dict[str, str]) -> None:
    inbound = request(Sender(part(b"ab"), part(b"c", more=False)), 60, **headers)
    assert await inbound.whole(10, "A body") == b"abc"


async def test_a_body_over_its_bound_is_refused_as_soon_as_it_is() -> None:
    sender = Sender(part(b"abc"), part(b"def"))
    with pytest.raises(TooLarge):
        await request(sender).whole(2, "A body")
    assert sender.asked == 1


async def test_a_sender_that_vanishes_inside_its_body_is_told_so() -> None:
    with pytest.raises(Disconnected):
        await request(Sender(part(b"ab"), {"type": "http.disconnect"})).whole(10, "A body")


async def test_silence_ends_each_wait_and_nobody_elses() -> None:
    patience = Patience(0.1)
    tasks = []
    for _ in range(3):  # one after the other, so that one timer has to look several times
        late = request(Sender(part(b"ab")), patience)
        tasks.append(asyncio.create_task(late.whole(10, "A body")))
        await asyncio.sleep(0.005)
    busy = request(Sender(*[part(b"x")] * 3, part(b"y", more=False)), patience)
    assert await busy.whole(10, "A body") == b"xxxy"
    async with asyncio.timeout(5):
        done = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in done] == [Transient] * 3
    # The watch is kept for those who come after a pause, too.
    async with asyncio.timeout(5):
        with pytest.raises(Transient):
            await request(Sender(), patience).whole(10, "A body")


def test_silence_is_bounded_in_the_next_event_loop_too() -> None:
    patience = Patience(0.02)
    whole = request(Sender(part(b"x", more=False)), patience).whole(10, "A body")
    assert asyncio.run(whole) == b"x"

    async def silent() -> None:
        async with asyncio.timeout(5):
            await request(Sender(), patience).whole(10, "A body")

    with pytest.raises(Transient):
        asyncio.run(silent())


async def test_who_is_cancelled_by_others_stays_cancelled() -> None:
    task = asyncio.create_task(request(Sender(), 0.02).whole(10, "A body"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_door_after_a_silence_may_wait_again() -> None:
    async def both() -> bytes:
        with pytest.raises(Transient):
            await request(Sender(), 0.02).whole(10, "A body")
        await asyncio.sleep(0.001)  # would raise, were the cancellation still pending
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        return await request(Sender(part(b"z", more=False))).whole(10, "A body")

    assert await asyncio.create_task(both()) == b"z"
