"""Laws of SealBook: chains that never fork and days that stay closed."""

from __future__ import annotations

import asyncio

import pytest

from ocp_ingest.core.errors import Transient
from ocp_ingest.core.events import Event
from ocp_ingest.core.proof import Tip, broken_at, entry_of, order_of
from ocp_ingest.evidence.ports import DayClosed, Marks
from tests.contracts import samples
from tests.contracts.runtimes import Runtime

MON, TUE, WED = "2026-11-23", "2026-11-24", "2026-11-25"
STRANGE = ["a b", "a#b", "a%23b", 'a"b', "ñandú/..", "ñ" * 256, "x" * 256, "-", "~a.b_c"]


async def take(runtime: Runtime, *events: Event) -> None:
    """The store takes events, and tells its stream."""
    appended = await runtime.calls.append(events)
    await runtime.stream([entry_of(one.event) for one in appended if one.new])


async def seal(runtime: Runtime, day: str = MON) -> int:
    """All that waits."""
    made = 0
    while (fresh := await runtime.seals.fresh(limit=100)).entries:
        made += await runtime.seals.seal(fresh.entries, day)
        await runtime.seals.done(fresh)
    return made


async def test_every_event_is_linked_once_in_the_order_in_which_it_was_taken(
    runtime: Runtime,
) -> None:
    await take(runtime, samples.end(), samples.start())
    await take(runtime, samples.received())
    assert await seal(runtime) == 3
    runtime.restart()
    links = await runtime.seals.chain("c1")
    assert [link.n for link in links] == [1, 2, 3]
    assert broken_at(links) is None
    assert [link.entry for link in links] == [
        entry_of(event) for event in (samples.end(), samples.start(), samples.received())
    ]
    assert {link.day for link in links} == {MON}
    assert await seal(runtime) == 0


async def test_what_was_sealed_before_a_crash_is_not_sealed_twice(runtime: Runtime) -> None:
    await take(runtime, *samples.life("c1"), *samples.life("c2"))
    fresh = await runtime.seals.fresh(limit=100)
    await runtime.seals.seal(fresh.entries, MON)
    runtime.restart()  # it never said that it was done
    held = await runtime.seals.chain("c1")
    assert await seal(runtime, TUE) == 0
    assert await runtime.seals.chain("c1") == held


async def test_later_events_extend_the_chain_where_it_stands(runtime: Runtime) -> None:
    await take(runtime, samples.start())
    await seal(runtime)
    first = await runtime.seals.chain("c1")
    await take(runtime, samples.end(), samples.received())
    assert await runtime.seals.waiting("c1") == {
        samples.end().event_id, samples.received().event_id,
    }  # fmt: skip
    await seal(runtime, TUE)
    links = await runtime.seals.chain("c1")
    assert links[:1] == first
    assert [link.day for link in links] == [MON, TUE, TUE]
    assert broken_at(links) is None
    assert await runtime.seals.waiting("c1") == frozenset()


@pytest.mark.parametrize("begun", [False, True])
async def test_sealers_at_the_same_time_make_one_chain(runtime: Runtime, begun: bool) -> None:
    if begun:
        await take(runtime, samples.unknown("c1"))
        await seal(runtime)
    before = len(await runtime.seals.chain("c1"))
    await take(runtime, *samples.life("c1"), *samples.life("c2"))
    entries = (await runtime.seals.fresh(limit=100)).entries
    ours = [entry for entry in entries if entry.call_id == "c1"]
    orders = [ours, ours[::-1], ours[3:] + ours[:3]]
    made = await asyncio.gather(
        *(runtime.seals.seal(order, MON) for order in orders), return_exceptions=True
    )
    assert all(isinstance(one, int | Transient) for one in made)
    links = await runtime.seals.chain("c1")
    added = [link.entry.event_id for link in links[before:]]
    assert sorted(added) == sorted(entry.event_id for entry in ours)
    assert broken_at(links) is None
    assert sum(one for one in made if isinstance(one, int)) <= len(ours)


async def test_a_days_ends_come_in_the_order_of_leaves_over_pages(runtime: Runtime) -> None:
    await take(runtime, *(samples.start(call) for call in STRANGE))
    await seal(runtime)
    await take(runtime, samples.end(STRANGE[0]))
    await seal(runtime)
    found: list[Tip] = []
    after = ""
    while page := await runtime.seals.sealed_on(MON, after=after, limit=3):
        found += page
        after = page[-1].call_id
    assert [tip.call_id for tip in found] == sorted(STRANGE, key=order_of)
    for tip in found:
        links = await runtime.seals.chain(tip.call_id)
        assert (tip.n, tip.link) == (links[-1].n, links[-1].link)
    assert await runtime.seals.sealed_on(TUE, limit=3) == []


async def test_a_day_holds_the_end_that_the_chain_had_on_it(runtime: Runtime) -> None:
    await take(runtime, samples.start())
    await seal(runtime, MON)
    await take(runtime, samples.end())
    await seal(runtime, TUE)
    assert [tip.n for tip in await runtime.seals.sealed_on(MON, limit=9)] == [1]
    assert [tip.n for tip in await runtime.seals.sealed_on(TUE, limit=9)] == [2]


async def test_nothing_is_sealed_on_a_day_that_is_being_closed_or_before(runtime: Runtime) -> None:
    await take(runtime, samples.start())
    await seal(runtime, MON)
    await runtime.seals.begin_close(TUE)
    await runtime.seals.begin_close(MON)  # an older sealer changes nothing
    runtime.restart()
    await take(runtime, samples.end())
    fresh = await runtime.seals.fresh(limit=9)
    for day in (MON, TUE):
        with pytest.raises(DayClosed):
            await runtime.seals.seal(fresh.entries, day)
    assert len(await runtime.seals.chain("c1")) == 1
    assert await runtime.seals.seal(fresh.entries, WED) == 1


async def test_marks_only_go_forward_and_outlive_the_process(runtime: Runtime) -> None:
    assert await runtime.seals.marks() == Marks()
    await take(runtime, samples.start())
    await seal(runtime, MON)
    await runtime.seals.begin_close(MON)
    await runtime.seals.closed(MON, "a" * 64)
    await runtime.seals.begin_close(TUE)
    await runtime.seals.closed(TUE, "b" * 64)
    await runtime.seals.closed(MON, "c" * 64)  # an answer that was lost, given again
    runtime.restart()
    assert await runtime.seals.marks() == Marks(MON, TUE, TUE, "b" * 64)


async def test_calls_with_a_chain_are_listed_in_order(runtime: Runtime) -> None:
    await take(runtime, *(samples.start(call) for call in ("c", "a", "b")))
    await seal(runtime)
    assert await runtime.seals.call_ids(limit=2) == ["a", "b"]
    assert await runtime.seals.call_ids(after="b", limit=2) == ["c"]


async def test_a_whole_life_passes_the_audit_before_and_after_it_is_sealed(
    runtime: Runtime,
) -> None:
    await take(runtime, *samples.pool("c1"))
    assert await runtime.seals.audit("c1") == []
    await seal(runtime)
    assert await runtime.seals.audit("c1") == []
    assert await runtime.seals.strays(limit=9) == []
    assert await runtime.seals.audit("nobody") == []


async def test_a_long_journal_is_one_chain(runtime: Runtime) -> None:
    events = [samples.unknown("c1", number) for number in range(450)]
    for at in range(0, 450, 150):
        await take(runtime, *events[at : at + 150])
        await seal(runtime)
    links = await runtime.seals.chain("c1")
    assert [link.n for link in links] == list(range(1, 451))
    assert broken_at(links) is None


async def test_small_values_are_kept(runtime: Runtime) -> None:
    assert await runtime.seals.note("scrub") == ""
    await runtime.seals.put_note("scrub", "lob-a\nk/1")
    await runtime.seals.put_note("other", "x")
    runtime.restart()
    await runtime.seals.put_note("scrub", "lob-b\n")
    assert await runtime.seals.note("scrub") == "lob-b\n"
    assert await runtime.seals.note("other") == "x"
