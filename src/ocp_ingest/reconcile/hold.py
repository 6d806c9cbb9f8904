"""A group's lease in somebody's hands: of a runner that lives for hours, or of one invocation.

Whoever writes anything of a group holds its lease, renews it beside the work, and gives it up at
the end. The fence, not the time, is what protects: when another owner has taken the lease, every
late write is refused, so a process that was frozen between two writes harms nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn, TypeVar

from ocp_ingest.core.errors import Conflict, OcpIngestError, Transient
from ocp_ingest.core.limits import MINUTE_MS
from ocp_ingest.ingest.world import World
from ocp_ingest.reconcile.book import Lease
from ocp_ingest.reconcile.world import Stage2
from ocp_ingest.telemetry import log

T = TypeVar("T")

# The lease is renewed at this part of its time: two renewals may fail.
RENEWALS: Final = 3
# How long an invocation that was killed blocks its group, in real time: well below the four
# minutes for which a state machine repeats a step.
INVOCATION_LEASE_MS: Final = MINUTE_MS
# An invocation asks so often for a lease that another holds, with a jittered pause between: at
# most ten seconds, since a step of a job takes a second or two, and its caller pays for waiting.
_TRIES: Final = 5
_PAUSE_MS_MIN: Final = 1_000
_PAUSE_MS_JITTER: Final = 1_500


class GroupBusy(Transient):
    """Another invocation works on the group: the same request succeeds in a moment."""

    code = "group_busy"


class Hold:
    """The lease of one group under one owner's name; times are real."""

    def __init__(self, stage2: Stage2, ocp_group: str, owner: str, ttl_ms: int) -> None:
        self._stage2 = stage2
        self._group = ocp_group
        self._owner = owner
        self.renew_every_ms = ttl_ms // RENEWALS
        self._ttl_ms = ttl_ms
        self._lease: Lease | None = None

    async def take(self) -> Lease | None:
        """The lease, or None while another owner's runs."""
        self._lease = await self._ask()
        return self._lease

    async def keep(self) -> NoReturn:
        """Renews the lease until cancelled. Raises Conflict when it is lost."""
        assert self._lease is not None, "only what was taken can be kept"
        while True:
            held = self._lease
            await self._stage2.real.sleep_ms(self.renew_every_ms)
            try:
                renewed = await self._ask()
            except Transient:
                if self._stage2.real.now_ms() < held.until_ms:
                    continue
                renewed = None
            if renewed is None or renewed.fence != held.fence:
                raise Conflict("The group's lease is lost.", ocp_group=self._group)
            self._lease = renewed

    async def give_up(self) -> None:
        """Lets others have it; where that fails, it runs out by itself."""
        if self._lease is None:
            return
        try:
            await self._stage2.book.give_up(self._lease)
        except OcpIngestError as failed:
            log().warning("reconcile.lease_kept", ocp_group=self._group, reason=failed.text)

    async def _ask(self) -> Lease | None:
        return await self._stage2.book.lease(
            self._group, self._owner, now_ms=self._stage2.real.now_ms(), ttl_ms=self._ttl_ms
        )


async def under_lease(
    world: World, stage2: Stage2, ocp_group: str, owner: str,
    work: Callable[[Lease], Awaitable[T]],
) -> T:  # fmt: skip
    """Does an invocation's work under the group's lease; `owner` is no other invocation's.

    Raises GroupBusy when another holds the lease for longer than a moment, or has taken it.
    """
    hold = Hold(stage2, ocp_group, owner, INVOCATION_LEASE_MS)
    lease = await _take(world, stage2, hold, ocp_group)
    guard = asyncio.create_task(hold.keep(), name=f"lease:{ocp_group}")
    working = asyncio.ensure_future(work(lease))
    try:
        await asyncio.wait({guard, working}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            guard.result()
        return working.result()
    except Conflict as lost:
        raise GroupBusy("Another invocation has taken the group over.") from lost
    finally:
        for task in (guard, working):
            task.cancel()
        await asyncio.gather(guard, working, return_exceptions=True)
        await hold.give_up()


async def _take(world: World, stage2: Stage2, hold: Hold, ocp_group: str) -> Lease:
    for number in range(_TRIES):
        if number:
            await stage2.real.sleep_ms(_PAUSE_MS_MIN + int(_PAUSE_MS_JITTER * world.chance()))
        lease = await hold.take()
        if lease is not None:
            return lease
    raise GroupBusy("Another invocation works on the group.", ocp_group=ocp_group)
