"""Rate limits of the console, in bounded memory; real time in seconds is an argument.

log-in, per address   FREE_TRIES wrong tries, then 1 s, 2 s, 4 s … up to ADDRESS_WAIT_S_MAX
log-in, per name      the same up to NAME_WAIT_S_MAX only: nobody can lock another out for long
requests, per session a bucket of BURST that fills by PER_S

An entry is forgotten after FORGET_S of quiet, and the oldest beyond ENTRIES_MAX: a flood of
made-up names or addresses costs us no memory, and each of them only makes its own waits shorter.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from typing import Final

# Five typing mistakes are human.
FREE_TRIES: Final = 5
# A quarter of an hour per try: 96 a day, against passwords of twelve characters.
ADDRESS_WAIT_S_MAX: Final = 900.0
# Somebody else may be the cause: a minute keeps guessing slow (1,440 a day) and the person working.
NAME_WAIT_S_MAX: Final = 60.0
FORGET_S: Final = 3_600.0
ENTRIES_MAX: Final = 10_000  # 200 bytes each
# A page that updates itself asks a few times a second at most; a player seeking, ten times.
PER_S: Final = 20.0
BURST: Final = 300.0
_EXPONENT_MAX: Final = 32  # keeps 2**n small; the bounds above end it long before


class Waits:
    """Growing waits after wrong tries."""

    def __init__(self, wait_s_max: float, entries_max: int = ENTRIES_MAX) -> None:
        self._wait_s_max = wait_s_max
        self._entries_max = entries_max
        self._held: OrderedDict[str, tuple[int, float]] = OrderedDict()  # failures, the last's time

    def left_s(self, key: str, now_s: float) -> float:
        """How long until this one may try again; 0: now."""
        failures, last_s = self._held.get(key, (0, 0.0))
        if failures < FREE_TRIES or now_s - last_s >= FORGET_S:
            return 0.0
        wait_s = min(self._wait_s_max, 2.0 ** min(failures - FREE_TRIES, _EXPONENT_MAX))
        return max(0.0, last_s + wait_s - now_s)

    def failed(self, key: str, now_s: float) -> None:
        """Counts a wrong try."""
        failures, last_s = self._held.pop(key, (0, now_s))
        self._held[key] = (1 if now_s - last_s >= FORGET_S else failures + 1, now_s)
        while len(self._held) > self._entries_max:
            self._held.popitem(last=False)

    def forget(self, key: str) -> None:
        """A right try ends the count."""
        self._held.pop(key, None)

    def __len__(self) -> int:
        return len(self._held)


class Rates:
    """A token bucket per key."""

    def __init__(
        self, per_s: float = PER_S, burst: float = BURST, entries_max: int = ENTRIES_MAX
    ) -> None:
        self._per_s, self._burst, self._entries_max = per_s, burst, entries_max
        self._held: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, as of

    def take(self, key: str, now_s: float) -> float:
        """Takes one; 0 when there was one, else how long until there is."""
        tokens, as_of_s = self._held.pop(key, (self._burst, now_s))
        tokens = min(self._burst, tokens + max(0.0, now_s - as_of_s) * self._per_s)
        short = tokens < 1.0
        self._held[key] = (tokens if short else tokens - 1.0, now_s)
        while len(self._held) > self._entries_max:
            self._held.popitem(last=False)
        return (1.0 - tokens) / self._per_s if short else 0.0

    def __len__(self) -> int:
        return len(self._held)


class Limits:
    """The console's three limits."""

    def __init__(self) -> None:
        self.addresses = Waits(ADDRESS_WAIT_S_MAX)
        self.names = Waits(NAME_WAIT_S_MAX)
        self.requests = Rates()


def network_of(address: str) -> str:
    """What an address counts as: of IPv6 the /64, since one subscriber has all of it."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)
