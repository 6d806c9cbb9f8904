"""What encoded things say, remembered for as long as they stay as they are.

The same record is read a hundred times between two changes. What is read is frozen and shared by
all who read it; who changed it in place would change it for everybody, which the simulation looks
for at the end of each run (`holds`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Reading(Generic[T]):
    """A decoder that remembers what it read last under each key; one for each type."""

    def __init__(self, decode: Callable[[bytes], T]) -> None:
        self._decode = decode
        self._known: dict[str, tuple[bytes, T]] = {}

    def __call__(self, key: str, body: bytes) -> T:
        """What the bytes under a key say. Raises what the decoder raises."""
        known = self._known.get(key)
        if known is not None and known[0] is body:
            return known[1]
        value = self._decode(body)
        self._known[key] = body, value
        return value

    def holds(self) -> bool:
        """Whether all that is remembered is still what its bytes say."""
        return all(self._decode(body) == value for body, value in self._known.values())

    def forget(self) -> None:
        """Remembers nothing any more: another world begins."""
        self._known.clear()
