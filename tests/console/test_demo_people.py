"""A demo's people: random passwords in a file of the owner's, and users who log in with them."""

from __future__ import annotations

import stat
import time
from pathlib import Path

import msgspec

from ocp_ingest import bootstrap
from ocp_ingest import config as config_reader
from ocp_ingest.adapters.passwords import Passwords
from ocp_ingest.demo.people import PEOPLE, let_in, passwords
from ocp_ingest.demo.setting import STATE_FILE, prepare, write_config


async def _users(config: Path, words: dict[str, str]) -> dict[str, tuple[str, tuple[str, ...]]]:
    runtime = bootstrap.embedded(config_reader.load(config, environ={}))
    try:
        assert runtime.desk.users is not None
        found = await runtime.desk.users.users()
        # One of them: at the real cost, hashing takes its time.
        assert await Passwords().verify(words[found[0].name], found[0].password)
        return {user.name: (user.role, user.lobs) for user in found}
    finally:
        runtime.close()


async def test_a_demo_has_its_people_and_keeps_them_when_it_is_run_again(tmp_path: Path) -> None:
    import asyncio

    place = prepare(tmp_path / "demo", 10, 1)
    held = tmp_path / "demo" / STATE_FILE
    assert stat.S_IMODE(held.stat().st_mode) == 0o600
    words = place.state.passwords
    assert words.keys() == PEOPLE.keys()
    assert len({*words.values(), *passwords().values()}) == 2 * len(PEOPLE)
    config = write_config(place, port=1, sim_port=2, speed=1.0, real_s=time.time())
    for _ in range(2):
        await asyncio.to_thread(let_in, config, words)
        assert await _users(config, words) == PEOPLE
    again = prepare(tmp_path / "demo", 10, 1)
    assert (again.again, again.state.passwords) == (True, words)


def test_a_demo_from_before_there_was_a_console_gets_its_people(tmp_path: Path) -> None:
    place = prepare(tmp_path / "demo", 10, 1)
    held = tmp_path / "demo" / STATE_FILE
    old = msgspec.to_builtins(place.state)
    del old["passwords"]
    held.write_bytes(msgspec.json.encode(old))
    again = prepare(tmp_path / "demo", 10, 1)
    assert again.state.passwords.keys() == PEOPLE.keys()
    assert msgspec.json.decode(held.read_bytes())["passwords"] == again.state.passwords
