"""The recordings of a call as its page shows them: every version, its findings, its bytes."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec

from ocp_ingest.core.call import Call, Recording, Version
from ocp_ingest.core.errors import Transient
from ocp_ingest.core.explain import WORDS
from ocp_ingest.core.lifecycle import usable
from ocp_ingest.core.view import problems, shown
from ocp_ingest.core.words import Lang
from ocp_ingest.entrypoints.console.finding import Asked, Held, find
from ocp_ingest.entrypoints.console.playing import unplayable
from ocp_ingest.ports import RecordingStore

# Versions whose bytes are looked for in the stores for one page; more is a broken sender.
LOOKED_FOR_MAX: Final = 16


class Finding(msgspec.Struct, frozen=True):
    """A problem: `title` in the reader's language, `text` as it was journalled."""

    code: str
    severity: str
    title: str
    text: str


class Take(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a recording.

    `state` is valid, unusable or unjudged; `counts`: it is the one that people see elsewhere;
    `held` (): the bytes are nowhere, or (`looked` False) nobody could look.
    """

    asked: Asked
    state: str
    counts: bool
    findings: tuple[Finding, ...]
    held: tuple[Held, ...]
    looked: bool
    unplayable: str

    @property
    def version(self) -> Version:
        """What is known of it."""
        return self.asked.version

    @property
    def report(self) -> dict[str, Any]:
        """What was measured; {} before that."""
        return self.asked.version.report or {}


class Dialog(msgspec.Struct, frozen=True):
    """The recording of one dialog, its versions in the order in which they came."""

    dialog_id: str
    is_root: bool
    recording: Recording
    takes: tuple[Take, ...]


async def dialogs(call: Call, lang: Lang, store: RecordingStore | None) -> tuple[Dialog, ...]:
    """Every recording, the root dialog's first; without a store nobody looks for the bytes."""
    keys = [(d, sha) for d, r in sorted(call.recordings.items()) for sha in _in_order(r)]
    held = await _look(store, call, keys[:LOOKED_FOR_MAX]) if store is not None else {}
    found = []
    for dialog_id, recording in sorted(call.recordings.items()):
        counting = shown(call, dialog_id, recording)[0]
        takes = tuple(
            _take(Asked(call, dialog_id, sha, recording.versions[sha]), lang, counting, held)
            for sha in _in_order(recording)
        )
        found.append(Dialog(dialog_id, dialog_id == call.root_dialog_id, recording, takes))
    return tuple(sorted(found, key=lambda dialog: not dialog.is_root))


def refused(found: tuple[Dialog, ...]) -> tuple[Take, ...]:
    """Versions that are unusable while nothing of their dialog is stored."""
    open_ones = (dialog for dialog in found if dialog.recording.stored is None)
    return tuple(t for dialog in open_ones for t in dialog.takes if t.state == "unusable")


def _in_order(recording: Recording) -> list[str]:
    return sorted(recording.versions, key=lambda sha: (recording.versions[sha].received_at_ms, sha))


_Places = dict[tuple[str, str], tuple[Held, ...]]


async def _look(store: RecordingStore, call: Call, keys: list[tuple[str, str]]) -> _Places:
    """What was found of each; a store that does not answer must not take the page with it."""
    answers = await asyncio.gather(
        *(_all(store, call, dialog_id, sha) for dialog_id, sha in keys), return_exceptions=True
    )
    found: _Places = {}
    for key, answer in zip(keys, answers, strict=True):
        if isinstance(answer, BaseException):
            if not isinstance(answer, Transient):
                raise answer
        else:
            found[key] = answer
    return found


async def _all(store: RecordingStore, call: Call, dialog_id: str, sha: str) -> tuple[Held, ...]:
    return tuple([held async for held in find(store, call, dialog_id, sha)])


def _take(asked: Asked, lang: Lang, counting: str, held: _Places) -> Take:
    judged = usable(asked.call, asked.version, asked.dialog_id)
    say, key = WORDS[lang], (asked.dialog_id, asked.sha256)
    return Take(
        asked=asked,
        state={True: "valid", False: "unusable", None: "unjudged"}[judged],
        counts=asked.sha256 == counting,
        findings=tuple(
            Finding(p["code"], p["severity"], say.problem(p["code"]) or p["text"], p["text"])
            for p in problems(asked.version)
        ),
        held=held.get(key, ()),
        looked=key in held,
        unplayable=unplayable(asked.version.report),
    )
