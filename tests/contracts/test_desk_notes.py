"""DeskNotes and UserBook: small values under a name, as they were given."""

from __future__ import annotations

import pytest

from ocp_ingest.core.errors import TooLarge
from ocp_ingest.desk.ports import NOTE_BYTES_MAX, LocalUser
from tests.contracts.runtimes import DeskRuntime


class TestNotes:
    async def test_a_note_comes_back_as_it_was_also_after_a_restart(
        self, desk: DeskRuntime
    ) -> None:
        value = {"at_ms": 1 << 60, "terms": {"started": 3}, "list": [1, None, "ñ"], "ok": True}
        await desk.notes.put("law", value)
        desk.restart()
        assert await desk.notes.get("law") == value

    async def test_a_newer_one_replaces_it(self, desk: DeskRuntime) -> None:
        await desk.notes.put("law", {"n": 1, "old": 1})
        await desk.notes.put("law", {"n": 2})
        assert await desk.notes.get("law") == {"n": 2}

    async def test_names_are_apart_and_an_unknown_one_is_none(self, desk: DeskRuntime) -> None:
        await desk.notes.put("a:1", {"n": 1})
        await desk.notes.put("a", {})
        assert await desk.notes.get("a:1") == {"n": 1}
        assert await desk.notes.get("a") == {}
        assert await desk.notes.get("b") is None

    async def test_nobody_changes_a_note_from_outside(self, desk: DeskRuntime) -> None:
        value = {"list": [1]}
        await desk.notes.put("a", value)
        value["list"].append(2)
        held = await desk.notes.get("a")
        assert held == {"list": [1]}

    async def test_a_note_that_is_too_large_is_refused_and_the_old_one_stays(
        self, desk: DeskRuntime
    ) -> None:
        frame = len(b'{"t":""}')
        await desk.notes.put("a", {"t": "x" * (NOTE_BYTES_MAX - frame)})
        with pytest.raises(TooLarge):
            await desk.notes.put("a", {"t": "y" * (NOTE_BYTES_MAX - frame + 1)})
        held = await desk.notes.get("a")
        assert held is not None
        assert held["t"][0] == "x"


class TestUsers:
    """Where people come from outside, there is no book of them."""

    ANA = LocalUser(name="ana", role="operator", lobs=("*",), password="$argon2id$x")

    async def test_people_come_back_as_they_were_by_name(self, desk: DeskRuntime) -> None:
        if desk.users is None:
            return
        eve = LocalUser(
            name="eve", role="viewer", lobs=("cards", "care"), password="$argon2id$y",
            enabled=False, generation=4, changed_at_ms=77,
        )  # fmt: skip
        for user in (eve, self.ANA):
            await desk.users.put(user)
        desk.restart()
        assert await desk.users.users() == [self.ANA, eve]
        assert await desk.users.user("eve") == eve

    async def test_a_person_is_replaced_whole(self, desk: DeskRuntime) -> None:
        if desk.users is None:
            return
        await desk.users.put(self.ANA)
        changed = LocalUser(name="ana", role="viewer", lobs=("care",), password="z", generation=2)
        await desk.users.put(changed)
        assert await desk.users.users() == [changed]

    async def test_an_unknown_person_is_none_and_names_are_exact(self, desk: DeskRuntime) -> None:
        if desk.users is None:
            return
        assert await desk.users.users() == []
        await desk.users.put(self.ANA)
        assert await desk.users.user("Ana") is None
        assert await desk.users.user("") is None
