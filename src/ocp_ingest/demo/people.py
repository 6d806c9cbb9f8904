"""Who can log in at a demo's console: one person of each role, and one who sees one business."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ocp_ingest.core.access import EVERYTHING, Role

if TYPE_CHECKING:
    from ocp_ingest import bootstrap

# name -> role, lines of business
PEOPLE: Final[dict[str, tuple[Role, tuple[str, ...]]]] = {
    "viewer": ("viewer", (EVERYTHING,)),
    "operator": ("operator", (EVERYTHING,)),
    "auditor": ("auditor", (EVERYTHING,)),
    "cards-operator": ("operator", ("cards",)),
}
_PASSWORD_BYTES: Final = 12  # 16 characters


def passwords() -> dict[str, str]:
    """A new password for each of them."""
    return {name: secrets.token_urlsafe(_PASSWORD_BYTES) for name in PEOPLE}


def let_in(config: Path, words: dict[str, str]) -> None:
    """Adds them to the store that a configuration names; makes the store if there is none."""
    from ocp_ingest import bootstrap
    from ocp_ingest import config as reader

    runtime = bootstrap.embedded(reader.load(config, environ={}))
    try:
        asyncio.run(_add(runtime, words))
    finally:
        runtime.close()


async def _add(runtime: bootstrap.Embedded, words: dict[str, str]) -> None:
    from ocp_ingest.adapters.passwords import Passwords
    from ocp_ingest.desk import people
    from ocp_ingest.desk.ports import LocalUser

    users, hashing = runtime.desk.users, Passwords()
    assert users is not None, "the embedded runtime has its own people"
    for name, (role, lobs) in PEOPLE.items():
        if await users.user(name) is None:
            hashed = await hashing.hash(words[name])
            user = LocalUser(name=name, role=role, lobs=lobs, password=hashed)
            await people.add(users, user, runtime.config.lob)
