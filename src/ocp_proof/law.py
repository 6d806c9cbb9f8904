"""A law that must hold, and what becomes of a run in which it does not."""

from __future__ import annotations

from asyncio import events

from ocp_proof.loop import SimLoop


class BrokenLawError(BaseException):
    """An invariant does not hold; the text says which, of what.

    No `except Exception` of the code under test may hide it; and whatever hides it, the loop
    remembers it and ends the run.
    """


def law(holds: bool, text: str) -> None:
    """Raises BrokenLawError unless it holds."""
    if holds:
        return
    broken = BrokenLawError(text)
    loop = events._get_running_loop()
    if isinstance(loop, SimLoop):
        loop.end(broken)
    raise broken
