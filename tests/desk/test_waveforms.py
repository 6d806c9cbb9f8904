"""A waveform is computed once, a few at a time, and never of what is too large."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from ocp_ingest.core.errors import NotFound, TooLarge, Transient
from ocp_ingest.desk.waveform import AT_ONCE_MAX, Waveforms
from tests.core.audio.builders import talk, wav


class Store:
    """Recordings by key; scans wait for `gate`, and are counted."""

    def __init__(self) -> None:
        self.held = {f"k{n}": wav(talk(0.5, seed=n + 1)) for n in range(8)}
        self.gate = asyncio.Event()
        self.gate.set()
        self.scans: list[str] = []
        self.now = self.most = 0

    async def scan(self, bucket: str, key: str, sink: Callable[[bytes], None]) -> None:
        self.scans.append(key)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await self.gate.wait()
            if key not in self.held:
                raise NotFound("There is no such object.")
            for at in range(0, len(self.held[key]), 100):
                sink(self.held[key][at : at + 100])
        finally:
            self.now -= 1


def over(store: Any, **bounds: int) -> Waveforms:
    return Waveforms(store, **bounds)


async def test_a_waveform_is_computed_once_however_many_ask() -> None:
    store = Store()
    waveforms = over(store)
    store.gate.clear()
    asked = [asyncio.create_task(waveforms.of("s", "b", "k0", 9)) for _ in range(20)]
    await asyncio.sleep(0.01)
    store.gate.set()
    first, *others = await asyncio.gather(*asked)
    assert first is not None
    assert first.duration_ms == 500
    assert all(other is first for other in others)
    assert await waveforms.of("s", "b", "k0", 9) is first
    assert store.scans == ["k0"]


async def test_what_is_no_audio_is_remembered_too() -> None:
    store = Store()
    store.held["html"] = b"<html></html>" * 500
    waveforms = over(store)
    assert await waveforms.of("s", "b", "html", 9) is None
    assert await waveforms.of("s", "b", "html", 9) is None
    assert store.scans == ["html"]


async def test_only_so_many_are_kept_the_oldest_go_first() -> None:
    store = Store()
    waveforms = over(store, cache_max=2)
    for key in ("k0", "k1", "k0", "k2", "k0", "k1"):
        await waveforms.of(key, "b", key, 9)
    assert store.scans == ["k0", "k1", "k2", "k1"], "k0 was used again, so k1 went"


async def test_only_so_many_are_computed_at_once_and_only_so_many_wait() -> None:
    store = Store()
    waveforms = over(store, waiting_max=3)
    store.gate.clear()
    asked = [asyncio.create_task(waveforms.of(k, "b", k, 9)) for k in list(store.held)[:5]]
    await asyncio.sleep(0.01)
    with pytest.raises(Transient):
        await waveforms.of("k7", "b", "k7", 9)
    store.gate.set()
    assert all(await asyncio.gather(*asked))
    assert store.most == AT_ONCE_MAX
    assert await waveforms.of("k7", "b", "k7", 9) is not None, "there is room again"


async def test_what_is_too_large_is_refused_unread() -> None:
    store = Store()
    with pytest.raises(TooLarge):
        await over(store, bytes_max=10).of("s", "b", "k0", 11)
    assert store.scans == []


async def test_a_failure_is_told_and_not_kept() -> None:
    store = Store()
    waveforms = over(store)
    with pytest.raises(NotFound):
        await waveforms.of("s", "b", "later", 9)
    store.held["later"] = store.held["k0"]
    assert await waveforms.of("s", "b", "later", 9) is not None


async def test_who_goes_away_does_not_take_it_from_the_others() -> None:
    store = Store()
    waveforms = over(store)
    store.gate.clear()
    first = asyncio.create_task(waveforms.of("s", "b", "k0", 9))
    second = asyncio.create_task(waveforms.of("s", "b", "k0", 9))
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.sleep(0)
    store.gate.set()
    assert await second is not None
    assert store.scans == ["k0"]
