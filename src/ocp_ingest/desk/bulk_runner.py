"""The runner of bulk jobs.

Rules
1. An act carries the job's id as its order (ingest.operate): however often an item is taken up, by
   whichever process, the journal has the act once. So nobody claims items, and a runner that dies
   anywhere is followed by one that starts with the first item without a result.
2. What may be done to a call is judged again when its turn comes.
3. A call that can't be acted on never stops the others. What is worth trying again keeps waiting
   for its result, until it was tried too often.
4. Acts wake the pipeline and stage 2; they are paced so that live traffic goes first.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from ocp_ingest.core.errors import OcpIngestError, Transient
from ocp_ingest.core.limits import MINUTE_MS, SECOND_MS
from ocp_ingest.desk.bulk import JOBS_LOOKED_AT, LobOf, why_not_now
from ocp_ingest.desk.ports import BulkItem, BulkJob
from ocp_ingest.desk.world import Desk
from ocp_ingest.ingest import operate
from ocp_ingest.ports import Clock
from ocp_ingest.telemetry import log

# Acts a second, all jobs of a process together: each is a write and a wake-up, so this is far below
# what live traffic may use, and a cancel is heard within the second.
ITEMS_PER_S: Final = 20
# A pause between two looks for work that another process may have started, in real time.
LOOK_EVERY_MS: Final = 15 * SECOND_MS
# Tries of an item that meets trouble while others get through; with the pauses three minutes.
TRIES_MAX: Final = 8
# … while none gets through: the store is away, and an hour is as long as outages mostly last.
OUTAGE_TRIES_MAX: Final = 66
AGAIN_MS_MAX: Final = MINUTE_MS
# Items of one job that wait for another try; with so many, new ones would meet the same trouble.
TROUBLES_MAX: Final = 100
# What an item's result says of an error; the rest of a long one helps nobody.
TEXT_CHARS_MAX: Final = 500

_KINDS: Final[dict[str, operate.Act]] = {
    "retry": "retried", "reopen": "reopened", "release": "released",
}  # fmt: skip


class _Trouble(msgspec.Struct):
    """An item that is worth trying again; times in real ms."""

    first_ms: int
    tries: int = 0
    not_before_ms: int = 0


class BulkRunner:
    """Does the work of running jobs; any number of them may run at once."""

    def __init__(
        self, desk: Desk, lob_of: LobOf, real: Clock, *, items_per_s: int = ITEMS_PER_S
    ) -> None:
        """`real` measures the pace, in real time also where the domain's is scaled."""
        self._desk = desk
        self._lob_of = lob_of
        self._real = real
        self._batch = items_per_s
        self._bell = asyncio.Event()
        self._troubles: dict[str, dict[int, _Trouble]] = {}
        self._through_ms = -1  # when an item last got its result

    def ring(self) -> None:
        """Says that a job was started: the next look is now."""
        self._bell.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set; takes up what runs at the start."""
        fails = 0
        while not stop.is_set():
            pause_ms = LOOK_EVERY_MS
            try:
                if await self.turn():
                    pause_ms = 0
                fails = 0
            except OcpIngestError as failed:
                log().warning("bulk.unavailable", code=failed.code, reason=failed.text)
                pause_ms, fails = _again_ms(fails), fails + 1
            except Exception as bug:
                log().error("bulk.crashed", error=type(bug).__name__, exc_info=True)
                pause_ms, fails = _again_ms(fails), fails + 1
            if pause_ms:
                await self._wait(stop, pause_ms)

    async def turn(self) -> bool:
        """A batch of each running job, at the pace; False when nothing runs."""
        jobs = await self._desk.bulk.jobs(limit=JOBS_LOOKED_AT)
        running = sorted((j.started_at_ms, j.bulk_id) for j in jobs if j.state == "running")
        alive = {bulk_id for _, bulk_id in running}
        self._troubles = {b: held for b, held in self._troubles.items() if b in alive}
        for _, bulk_id in running:
            began_ms = self._real.now_ms()
            await self._batch_of(bulk_id)
            await self._real.sleep_ms(max(1, began_ms + SECOND_MS - self._real.now_ms()))
        return bool(running)

    async def _batch_of(self, bulk_id: str) -> None:
        """Acts on the next items of a job; the first batch without any ends it."""
        book, troubles = self._desk.bulk, self._troubles.setdefault(bulk_id, {})
        job = await book.job(bulk_id)
        if job is None or job.state != "running":
            return
        waiting = await book.waiting(bulk_id, limit=self._batch + len(troubles))
        if not waiting:
            await self._finish(job)
            return
        results = []
        for item in self._due(waiting, troubles)[: self._batch]:
            result = await self._try(job, item, troubles)
            if result is not None:
                troubles.pop(item.position, None)
                results.append(result)
        if results:
            await book.results(bulk_id, results)

    def _due(self, waiting: list[BulkItem], troubles: dict[int, _Trouble]) -> list[BulkItem]:
        """Items whose turn it is; no new ones while too many are in trouble."""
        now_ms, full = self._real.now_ms(), len(troubles) >= TROUBLES_MAX
        return [
            item for item in waiting
            if (not full if (held := troubles.get(item.position)) is None
                else held.not_before_ms <= now_ms)
        ]  # fmt: skip

    def _put_off(
        self, item: BulkItem, trouble: Transient, troubles: dict[int, _Trouble]
    ) -> BulkItem | None:
        """Lets an item wait longer after each try; its result, when it was tried too often."""
        now_ms = self._real.now_ms()
        held = troubles.setdefault(item.position, _Trouble(now_ms))
        held.tries += 1
        held.not_before_ms = now_ms + _again_ms(held.tries)
        others_got_through = self._through_ms >= held.first_ms
        if held.tries < (TRIES_MAX if others_got_through else OUTAGE_TRIES_MAX):
            return None
        return self._result(item, "failed", trouble.text)

    async def _finish(self, job: BulkJob) -> None:
        now_ms = self._desk.world.clock.now_ms()
        if await self._desk.bulk.change(job.bulk_id, "running", "done", at_ms=now_ms):
            log().info("bulk.done", bulk_id=job.bulk_id, calls=job.done, failed=job.failed)

    async def _try(
        self, job: BulkJob, item: BulkItem, troubles: dict[int, _Trouble]
    ) -> BulkItem | None:
        """The result of an item, or None while it is worth another try."""
        try:
            word, text = await self._act(job, item.call_id)
        except Transient as trouble:
            return self._put_off(item, trouble, troubles)
        except OcpIngestError as refused:
            word, text = "failed", refused.text
        except Exception as bug:
            error = type(bug).__name__
            log().error(
                "bulk.item_crashed", bulk_id=job.bulk_id, call_id=item.call_id, error=error,
                exc_info=True,
            )  # fmt: skip
            word, text = "failed", f"A bug: {error}; see the log."
        self._through_ms = self._real.now_ms()
        return self._result(item, word, text)

    def _result(self, item: BulkItem, word: str, text: str) -> BulkItem:
        at_ms = self._desk.world.clock.now_ms()
        return BulkItem(item.position, item.call_id, word, text[:TEXT_CHARS_MAX], at_ms)

    async def _act(self, job: BulkJob, call_id: str) -> tuple[str, str]:
        """Does the act, unless it can't be or was done; the result's word, and why."""
        world = self._desk.world
        order = operate.Order(job.bulk_id, job.started_at_ms)
        kind = _KINDS.get(job.action)
        call = await world.calls.load(call_id)
        if call is None or not operate.is_done(
            call, kind or "marked_absent", who=job.by, reason=job.reason, order=order
        ):
            code = why_not_now(self._desk, job, self._lob_of, call)
            if code:
                return "skipped", code
        # Also when it was done: whoever did it may have died before waking the workers.
        if kind is None:
            await operate.mark_absent(world, call_id, who=job.by, reason=job.reason, order=order)
        else:
            await operate.act(world, kind, call_id, who=job.by, reason=job.reason, order=order)
        return "done", ""

    async def _wait(self, stop: asyncio.Event, real_ms: int) -> None:
        """Waits so long, or for the bell, or for the end."""
        waits = [
            asyncio.ensure_future(one)
            for one in (stop.wait(), self._bell.wait(), self._real.sleep_ms(real_ms))
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._bell.clear()
            for waiting in waits:
                waiting.cancel()
            await asyncio.gather(*waits, return_exceptions=True)


def _again_ms(tries: int) -> int:
    """The pause after so many tries: one second, doubling up to a minute."""
    return min(AGAIN_MS_MAX, SECOND_MS << min(tries, 16))
