"""What checks find: five classes, and looking twice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Literal

import msgspec

from ocp_ingest.core.errors import OcpIngestError

Class = Literal["ok", "missing", "differs", "extra", "broken"]
# Class -> what it means.
CLASSES: Final[dict[Class, str]] = {
    "ok": "everything of a call, an object or a day is as it should be",
    "missing": "something that the evidence speaks of is gone",
    "differs": "it is there and is not what it was",
    "extra": "it is there and nothing speaks of it",
    "broken": "links, proofs, signatures or rows do not fit together, or can't be read",
}
What = Literal["call", "object", "day"]

# What reading a damaged row or file raises, besides the errors of our own tree.
UNREADABLE: Final = (msgspec.MsgspecError, ValueError, TypeError, KeyError, AttributeError)


class Finding(msgspec.Struct, frozen=True):
    """One result: of a call (its id), an object (bucket/key) or a day."""

    kind: Class
    what: What
    subject: str
    text: str = ""

    @property
    def is_bad(self) -> bool:
        """Whether a person must look."""
        return self.kind != "ok"


async def twice(look: Callable[[], Awaitable[list[Finding]]]) -> list[Finding]:
    """What is found both times: nothing that was only on its way."""
    first = await look()
    if not first:
        return []
    second = await look()
    return [finding for finding in second if finding in first]


def text_of(broken: BaseException) -> str:
    """What an error says to people; of a damaged file there is not more to say."""
    return broken.text if isinstance(broken, OcpIngestError) else "A file of it can't be read."
