"""Laws of Evidence and Incidents."""

from __future__ import annotations

import asyncio

from ocp_ingest.adapters.rejects import DROPPED, REJECTED_BYTES_MAX
from ocp_ingest.core.incidents import Incident
from tests.contracts.runtimes import ITEMS_MAX, Runtime


def incident(key: str = "k", at_ms: int = 1, *calls: str, text: str = "It broke.") -> Incident:
    return Incident(
        key=key, kind="unassigned", text=text, opened_at_ms=at_ms, calls=len(calls), sample=calls
    )


class TestRejected:
    async def test_a_rejected_input_is_kept_with_its_reason(self, runtime: Runtime) -> None:
        await runtime.evidence.keep("event", "not JSON", b"\x00<html>", 7)
        runtime.restart()
        [kept] = await runtime.evidence.kept()
        assert (kept.kind, kept.reason, kept.body, kept.at_ms) == (
            "event", "not JSON", b"\x00<html>", 7,
        )  # fmt: skip

    async def test_the_newest_come_first_and_the_oldest_give_way_counted(
        self, runtime: Runtime
    ) -> None:
        for number in range(ITEMS_MAX + 3):
            await runtime.evidence.keep("event", str(number), b"", number)
        kept = await runtime.evidence.kept()
        assert [k.at_ms for k in kept] == list(range(ITEMS_MAX + 2, 2, -1))
        assert [k.at_ms for k in await runtime.evidence.kept(limit=2)] == [7, 6]
        assert await runtime.evidence.counted() == {DROPPED: 3}

    async def test_only_the_first_bytes_of_a_large_input_are_kept(self, runtime: Runtime) -> None:
        body = b"a" * REJECTED_BYTES_MAX + b"b"
        await runtime.evidence.keep("recording", "too large", body, 1)
        [kept] = await runtime.evidence.kept()
        assert kept.body == b"a" * REJECTED_BYTES_MAX


class TestCounters:
    async def test_counts_add_up_whoever_counts_and_survive_a_restart(
        self, runtime: Runtime
    ) -> None:
        adds = [runtime.evidence.count({"type.mood": 2, "type.new": 1, "x": 0}) for _ in range(20)]
        await asyncio.gather(*adds)
        runtime.restart()
        await runtime.evidence.count({"y": 5})
        assert await runtime.evidence.counted("type.") == {"type.mood": 40, "type.new": 20}
        assert await runtime.evidence.counted() == {"type.mood": 40, "type.new": 20, "y": 5}

    async def test_a_prefix_is_text_and_no_pattern(self, runtime: Runtime) -> None:
        await runtime.evidence.count({"a_b": 1, "axb": 1, "a%": 1, "": 1})
        assert await runtime.evidence.counted("a_") == {"a_b": 1}
        assert await runtime.evidence.counted("a%") == {"a%": 1}
        assert await runtime.evidence.counted("b") == {}


class TestIncidents:
    async def test_one_cause_is_one_incident_however_many_calls_it_touches(
        self, runtime: Runtime
    ) -> None:
        assert await runtime.incidents.open(incident("k", 1, "c1"))
        assert not await runtime.incidents.open(incident("k", 5, "c2", text="It broke again."))
        assert not await runtime.incidents.open(incident("k", 6, "c2"))
        runtime.restart()
        [held] = await runtime.incidents.incidents()
        assert (held.calls, held.sample) == (2, ("c1", "c2"))
        assert (held.opened_at_ms, held.last_at_ms) == (1, 6)

    async def test_opened_by_many_at_once_it_is_opened_once(self, runtime: Runtime) -> None:
        opened = await asyncio.gather(
            *(runtime.incidents.open(incident("k", n, f"c{n}")) for n in range(10))
        )
        assert sum(opened) == 1
        [held] = await runtime.incidents.incidents()
        assert held.calls == 10

    async def test_a_closed_one_stays_and_its_cause_may_open_another(
        self, runtime: Runtime
    ) -> None:
        await runtime.incidents.open(incident("k", 1))
        assert await runtime.incidents.close("k", 9, "A rule was added.")
        assert not await runtime.incidents.close("k", 10, "Again.")
        assert await runtime.incidents.incidents() == []
        assert await runtime.incidents.open(incident("k", 20))
        new, old = await runtime.incidents.incidents(open_only=False)
        assert (new.opened_at_ms, new.closed_at_ms) == (20, None)
        assert (old.closed_at_ms, old.closed_how) == (9, "A rule was added.")

    async def test_closing_one_cause_leaves_others_open(self, runtime: Runtime) -> None:
        await runtime.incidents.open(incident("a", 1))
        await runtime.incidents.open(incident("b", 2))
        assert not await runtime.incidents.close("c", 3, "")
        await runtime.incidents.close("a", 3, "")
        assert [i.key for i in await runtime.incidents.incidents()] == ["b"]

    async def test_newest_first_up_to_the_limit(self, runtime: Runtime) -> None:
        for key, at_ms in (("a", 5), ("b", 9), ("c", 5), ("d", 1)):
            await runtime.incidents.open(incident(key, at_ms))
        assert [i.key for i in await runtime.incidents.incidents()] == ["b", "c", "a", "d"]
        assert [i.key for i in await runtime.incidents.incidents(limit=2)] == ["b", "c"]
