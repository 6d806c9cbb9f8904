"""Every code that a call can be searched by, in the groups in which people look for it.

A code has a short name in both languages, `calls.problem.<code>`; a family (`not_audio.html`) has
one, `calls.problem.<family>`, followed by the true kind. Closings share the list: why a call was
closed is what is wrong with it.
"""

from __future__ import annotations

from typing import Final

from ocp_ingest.core.audio.problems import TABLE
from ocp_ingest.core.audio.sniff import NAMES

# Codes of closings that detection makes (core.lifecycle); an operator's have none.
CLOSINGS: Final = (
    "retention_over", "bad_at_ocp", "bad_and_retention_over", "unknown_to_ocp", "test_call",
    "recording_off", "too_short",
)  # fmt: skip
# Codes of core.rules.judge: the recording against its call and its line of business.
JUDGED: Final = (
    "duration.much_shorter", "duration.shorter", "duration.paused", "duration.longer",
    "duration.bounds", "content.silent", "content.one_way", "content.dead_tail",
    "format.container", "format.codec", "format.sample_rate_hz", "format.channels",
    "identity.dialog", "identity.account", "identity.metadata", "identity.start",
    "rule.attached", "rule.name", "rule.direction",
)  # fmt: skip
# Codes of core.audio.problems whose cause lies before or after the bytes of a container.
_TRANSPORT: Final = ("empty", "leading_bytes", "length_mismatch", "crlf_mangled", "utf8_mangled")
_CONTENT: Final = (
    "zero_filled", "silent", "constant_value", "silent_channel", "dead_tail", "long_silence",
)  # fmt: skip

FAMILIES: Final = tuple(dict.fromkeys(family for family, _ in NAMES.values()))


def _plain() -> tuple[str, ...]:
    grouped = {*CLOSINGS, *_TRANSPORT, *_CONTENT}
    return tuple(code for code in TABLE if not code.endswith(".*") and code not in grouped)


def _family(family: str) -> tuple[str, ...]:
    return tuple(f"{family}.{name}" for name, (of, _) in NAMES.items() if of == family)


# group (a text `calls.problems.<group>`) -> its codes
GROUPS: Final[dict[str, tuple[str, ...]]] = {
    "closing": CLOSINGS,
    "judged": JUDGED,
    "transport": _TRANSPORT,
    "content": _CONTENT,
    "container": _plain(),
    **{family: _family(family) for family in FAMILIES},
}
CODES: Final = frozenset(code for codes in GROUPS.values() for code in codes)


def label_of(code: str) -> tuple[str, str]:
    """The text key of a code's name, and what follows it ("" but for families)."""
    family, _, kind = code.partition(".")
    if family in FAMILIES:
        return f"calls.problem.{family}", kind
    return f"calls.problem.{code}", ""
