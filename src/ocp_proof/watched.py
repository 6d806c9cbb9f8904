"""The durable state with an eye on it: every change is checked before it is made.

The checks are laws of the state itself; they need no knowledge of who changes it or why.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Watched(dict[K, V]):
    """A dict that asks `put(key, before, after)` at each change; `after` None: removed."""

    def __init__(self, put: Callable[[K, V | None, V | None], None]) -> None:
        super().__init__()
        self._put = put

    def __setitem__(self, key: K, value: V) -> None:
        self._put(key, self.get(key), value)
        super().__setitem__(key, value)

    def __delitem__(self, key: K) -> None:
        self._put(key, self.get(key), None)
        super().__delitem__(key)

    def setdefault(self, key: K, default: V = None) -> V:  # type: ignore[assignment] # as dict's
        """As dict's, through the eye."""
        if key not in self:
            self[key] = default
        return self[key]

    def pop(self, key: K, *default: Any) -> Any:
        """As dict's, through the eye."""
        if key in self:
            self._put(key, self[key], None)
        return super().pop(key, *default)

    def update(self, *_args: Any, **_more: Any) -> None:
        """Nobody needs it; it would go past the eye."""
        raise NotImplementedError

    def clear(self) -> None:
        """Nobody may."""
        raise AssertionError("durable state is never cleared")


class Buckets(Watched[str, Watched[str, tuple[bytes, str]]]):
    """Buckets that make themselves; `put` is asked with bucket and key."""

    def __init__(
        self, put: Callable[[str, str, tuple[bytes, str] | None, tuple[bytes, str] | None], None]
    ) -> None:
        super().__init__(lambda _bucket, _before, _after: None)
        self._object = put

    def setdefault(self, key: str, default: Any = None) -> Any:
        """A bucket, made when first used."""
        if key not in self:
            self[key] = Watched(lambda k, before, after: self._object(key, k, before, after))
        return self[key]


class OpenJobs(set[str]):
    """Keys of open jobs; `asks` is called with each key that is to be opened, or closed."""

    def __init__(self, asks: Callable[[str, bool], None]) -> None:
        super().__init__()
        self._asks = asks

    def add(self, key: str, /) -> None:
        """As set's, through the eye."""
        self._asks(key, True)
        super().add(key)

    def discard(self, key: object, /) -> None:
        """As set's, through the eye."""
        self._asks(str(key), False)
        super().discard(str(key))
