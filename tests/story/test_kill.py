"""What was acknowledged is there, whenever and however often the platform is killed.

kill -9 in the middle of 50 concurrent calls (two events and an upload each), at moments chosen by
a seed; then a restart on the same data; the sender repeats what got no 2xx. kill -9 does not test
fsync: tests/contracts/test_crash_durability.py does.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import aiohttp
import pytest

from ocp_ingest.bootstrap import Embedded
from ocp_ingest.core.call import flags, fold
from ocp_ingest.core.errors import NotFound
from ocp_ingest.core.settings import LANDING
from ocp_ingest.evidence.conservation import conservation
from tests.story.kit import Platform, Sender, Talk, encoded, hiss, sender, sha256, until

CALLS = 50
SEEDS = (11, 12, 13)
BLOCK = 16_384
FORMS = ("raw", "raw", "raw", "put", "multipart", "base64")


class Errand:
    """One message of the sender: repeated until it gets a 2xx."""

    def __init__(self, talk: Talk, kind: str, body: bytes, form: str = "") -> None:
        self.talk = talk
        self.kind = kind
        self.body = body
        self.form = form
        self.acknowledged = False
        self.begun = 0

    async def run(self, to: Sender, rng: Random) -> int:
        """One try; its status."""
        self.begun += 1
        if self.kind == "event":
            status, _ = await to.send("/v1/events", self.body)
        elif self.form in ("raw", "put"):
            method = "PUT" if self.form == "put" else "POST"
            head = f'attachment; filename="{self.talk.name}"'
            size = str(len(self.body))
            status, _ = await to.send(
                "/v1/recordings", self._slowly(rng), method,
                Content_Disposition=head, Content_Length=size,
            )  # fmt: skip
        else:
            status, _ = await to.deliver(self.talk.name, self.body, self.form)
        return status

    async def _slowly(self, rng: Random) -> AsyncIterator[bytes]:
        for at in range(0, len(self.body), BLOCK):
            yield self.body[at : at + BLOCK]
            await asyncio.sleep(rng.uniform(0, 0.02))


def _day(rng: Random) -> list[list[Errand]]:
    """What the sender has to say of each call."""
    calls = []
    for _ in range(CALLS):
        talk = Talk(rng, rng.randrange(3_000, 45_000, 20), rng.choice(("banking-a", "cards-b")))
        audio = hiss(rng, talk.duration_ms)
        errands = [
            Errand(talk, "event", encoded(talk.start())),
            Errand(talk, "event", encoded(talk.end())),
            Errand(talk, "recording", audio, rng.choice(FORMS)),
        ]
        rng.shuffle(errands)
        calls.append(errands)
    return calls


class Day:
    """One sender's day over several lives of the platform."""

    def __init__(self, platform: Platform, rng: Random) -> None:
        self.platform = platform
        self.rng = rng
        self.calls = _day(rng)
        self.cut_off = 0

    @property
    def errands(self) -> list[Errand]:
        """All messages of all calls."""
        return [errand for call in self.calls for errand in call]

    async def try_all(self, to: Sender, kill_after: int | None) -> None:
        """Sends all that has no 2xx yet, at once; kills the platform after so many more 2xx."""
        left = [kill_after]

        async def one(errand: Errand) -> None:
            try:
                status = await errand.run(to, self.rng)
            except (aiohttp.ClientError, ConnectionError):
                self.cut_off += 1
                return
            assert status in (200, 201), status
            errand.acknowledged = True
            if left[0] is not None:
                left[0] -= 1
                if left[0] == 0:
                    self.platform.kill()

        await asyncio.gather(*(one(e) for e in self.errands if not e.acknowledged))


async def _acknowledged_is_there(runtime: Embedded, errands: list[Errand]) -> None:
    """The law, seen from the store itself: journal and bytes of every 2xx."""
    for errand in errands:
        if not errand.acknowledged:
            continue
        journal = await runtime.world.calls.journal(errand.talk.call_id)
        if errand.kind == "event":
            assert errand.body in [event.raw for event in journal]
        else:
            [received] = [e for e in journal if e.kind == "received"]
            assert received.data["sha256"] == sha256(errand.body)
            assert await _bytes(runtime, errand.talk, received.data["landing_key"]) == errand.body


async def _bytes(runtime: Embedded, talk: Talk, landing_key: str) -> bytes:
    """A recording's bytes, in landing or, when a worker has just moved them on, in its bucket."""
    store = runtime.world.recordings
    try:
        return b"".join([block async for block in store.read(LANDING, landing_key)])
    except NotFound:
        call = await runtime.world.calls.load(talk.call_id)
        assert call is not None
        place = call.root.stored
        assert place is not None, "neither in landing nor stored"
        return b"".join([block async for block in store.read(place.bucket, place.key)])


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_kill_9_in_the_middle_of_uploads_loses_nothing_acknowledged_and_doubles_nothing(
    tmp_path: Path,
) -> None:
    with Platform(tmp_path) as platform:
        await platform.start()
        day = Day(platform, Random(SEEDS[0]))
        async with sender(platform) as to:
            for seed in SEEDS:
                missing = sum(not errand.acknowledged for errand in day.errands)
                await day.try_all(to, Random(seed).randrange(1, missing // 2))
                async with platform.store() as runtime:  # before the next life can heal anything
                    await _acknowledged_is_there(runtime, day.errands)
                await platform.start()
            assert day.cut_off >= CALLS, "nothing was under way when the platform was killed"
            await day.try_all(to, None)
            assert all(errand.acknowledged for errand in day.errands)

            async def over() -> bool:
                terms = await to.get("/v1/conservation")
                return bool(terms["stored"] == CALLS)

            await until(over, 60, "all calls are stored")
        assert platform.end() == 0
        await _day_is_whole(platform, day)


async def _day_is_whole(platform: Platform, day: Day) -> None:
    async with platform.store() as runtime:
        await _acknowledged_is_there(runtime, day.errands)
        said = await conservation(runtime.world)
        assert said.holds, said.differences
        assert said.terms["started"] == said.terms["stored"] == CALLS
        for errands in day.calls:
            call_id = errands[0].talk.call_id
            journal = await runtime.world.calls.journal(call_id)
            assert max(Counter(event.event_id for event in journal).values()) == 1
            assert Counter(event.kind for event in journal) == dict.fromkeys(
                ("dialog_start", "dialog_end", "received", "inspected", "validated", "routed",
                 "stored"), 1,
            )  # fmt: skip
            call = await runtime.world.calls.load(call_id)
            assert call == fold(call_id, journal)
            assert None not in flags(call).values()
    objects = platform.stored()
    audio = [body for name, body in objects.items() if not name.endswith(".json")]
    sent = [errand.body for errand in day.errands if errand.kind == "recording"]
    assert sorted(map(sha256, audio)) == sorted(map(sha256, sent))
    assert len(objects) == 2 * CALLS, "one sidecar for each recording, and nothing else"
    assert list((platform.data_dir / "recordings" / ".tmp").iterdir()) == []


@pytest.mark.slow
async def test_after_kill_9_work_that_a_dead_worker_held_goes_on_at_once(tmp_path: Path) -> None:
    with Platform(tmp_path) as platform:
        await platform.start()
        rng = Random(3)
        async with sender(platform) as to:
            talk = Talk(rng, 5_000)
            await to.events(talk.start(), talk.end())
            # Held by this process in the name of a worker, for ten minutes.
            async with platform.store() as runtime:
                platform.kill()
                await runtime.world.queue.put("call:x", {"call_id": talk.call_id})
                held = await runtime.world.queue.take(limit=9, lease_ms=600_000, wait_s=0)
                assert len(held) == 1
                upload = await runtime.world.recordings.begin()
                await upload.write(b"half of a recording")
                left = list((platform.data_dir / "recordings" / ".tmp").iterdir())
                assert len(left) == 1
            await platform.start()
            async with platform.store() as runtime:

                async def idle() -> bool:
                    return await runtime.world.queue.depth() == 0

                await until(idle, 20, "the held message is taken")
            assert list((platform.data_dir / "recordings" / ".tmp").iterdir()) == []


async def test_what_a_living_process_holds_is_left_to_it(tmp_path: Path) -> None:
    platform = Platform(tmp_path)
    async with platform.store() as first:
        await first.world.queue.put("call:x", {"call_id": "x"})
        await first.world.queue.take(limit=1, lease_ms=600_000, wait_s=0)
        lease = await first.book.lease("emea", "a", now_ms=1, ttl_ms=10**15)
        upload = await first.world.recordings.begin()
        await upload.write(b"half of a recording")
        async with platform.store() as second:
            assert await second.world.queue.take(limit=1, lease_ms=1, wait_s=0) == []
            assert await second.book.lease("emea", "b", now_ms=2, ttl_ms=1) is None
        await upload.write(b", and the rest")
        assert (await upload.commit()).bytes == len(b"half of a recording, and the rest")
    async with platform.store() as third:
        assert len(await third.world.queue.take(limit=1, lease_ms=1, wait_s=0)) == 1
        taken = await third.book.lease("emea", "c", now_ms=2, ttl_ms=1)
        assert lease is not None
        assert taken is not None
        assert taken.fence > lease.fence


@pytest.mark.slow
async def test_sigterm_answers_every_request_that_was_taken(tmp_path: Path) -> None:
    """Uploads that end within the bound get their 201, one that hangs gets 503, none is cut."""
    with Platform(tmp_path) as platform:
        await platform.start()
        rng = Random(5)
        talks = [Talk(rng, 4_000) for _ in range(12)]
        audio = {talk.call_id: hiss(rng, talk.duration_ms) for talk in talks}
        begun = asyncio.Event()
        waiting = len(talks) + 1

        async def slowly(body: bytes, hang: bool) -> AsyncIterator[bytes]:
            nonlocal waiting
            yield body[:BLOCK]
            await asyncio.sleep(0.3)
            waiting -= 1
            if waiting == 0:
                begun.set()
            await begun.wait()
            await asyncio.sleep(30 if hang else 1)
            yield body[BLOCK:]

        async with sender(platform) as to:

            async def upload(talk: Talk, hang: bool) -> tuple[int, object]:
                body = audio.setdefault(talk.call_id, hiss(rng, talk.duration_ms))
                head = f'attachment; filename="{talk.name}"'
                return await to.send(
                    "/v1/recordings", slowly(body, hang),
                    Content_Disposition=head, Content_Length=str(len(body)),
                )  # fmt: skip

            hung = Talk(rng, 4_000)
            tasks = [asyncio.create_task(upload(talk, False)) for talk in talks]
            stuck = asyncio.create_task(upload(hung, True))
            await begun.wait()
            status = await asyncio.to_thread(platform.end)
            assert status == 0
            assert [answer[0] for answer in await asyncio.gather(*tasks)] == [201] * len(talks)
            assert (await stuck)[0] == 503
        async with platform.store() as runtime:
            for talk in talks:
                [received] = await runtime.world.calls.journal(talk.call_id)
                kept = await _bytes(runtime, talk, received.data["landing_key"])
                assert kept == audio[talk.call_id]
            assert await runtime.world.calls.journal(hung.call_id) == []
