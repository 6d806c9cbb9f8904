"""The certificate of completeness of a day: figures, exceptions, denominator, signed.

It counts the calls that began on a day (UTC), one by one: how many of each line of business are
stored, absent, quarantined, lost or in flight; each call that is not stored, with its reason; how
many hours of that day OCP's own export counted; how long storing took; and a Merkle tree over all
of the calls, each as its chain stands, so that nobody can add or drop one later.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import msgspec

from ocp_ingest.core.calendar import rfc3339
from ocp_ingest.core.proof import PART_LEAVES, Tip, Tree, leaf_line, sha256, start
from ocp_ingest.core.statement import CERTIFICATE
from ocp_ingest.evidence.bundle import Bundle, File
from ocp_ingest.evidence.close import SealedDay, Walk, leaves_name, sealed_day
from ocp_ingest.evidence.figures import Surveyed, day_start
from ocp_ingest.evidence.recipe import recipe
from ocp_ingest.evidence.world import Evidence

_INDENT: Final = 2


class Certificate(msgspec.Struct, frozen=True):
    """What a certificate says, for whoever asked for it."""

    figures: dict[str, Any]
    root: str
    leaves: int


async def certificate(
    evidence: Evidence, day: str, lob: str | None, made: list[Certificate]
) -> AsyncIterator[File]:
    """The files of a certificate; each body is to be read before the next file is asked for.

    The summary is put into `made` before the last files are given. `lob` None: all lines of
    business. Raises Invalid for no day, Transient.
    """
    day_start(day)
    bundle = Bundle()
    tree = _CallTree(evidence)
    walk = Walk(evidence, day, "exceptions", lob, tree.add)
    async for name, body in walk.files():
        yield bundle.file(name, body)
    for name, body in tree.end():
        yield bundle.file(name, body)
    said = await walk.said()
    sealed = await sealed_day(evidence.shelf, day)
    for name, body in _seal_files(sealed).items():
        yield bundle.file(name, body)
    formatted = msgspec.json.format(msgspec.json.encode(said, order="sorted"), indent=_INDENT)
    yield bundle.file("figures.json", formatted + b"\n")
    yield bundle.file("parts.txt", tree.parts)
    yield bundle.file("report.txt", report(said, lob).encode())
    for name, body in recipe("certificate").items():
        yield bundle.file(name, body)
    made.append(Certificate(said, tree.root, tree.count))
    async for file in bundle.signed(
        evidence, "certificate.txt", CERTIFICATE, _fields(evidence, said, lob, tree, sealed)
    ):
        yield file


class _CallTree:
    """The tree over the calls as they are counted, newest start first."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._lines: list[bytes] = []
        self._whole = Tree()
        self._parts: list[str] = []
        self.count = 0

    @property
    def root(self) -> str:
        return self._whole.root

    @property
    def parts(self) -> bytes:
        return "".join(self._parts).encode("ascii")

    async def add(self, one: Surveyed) -> list[tuple[str, bytes]]:
        links = await self._evidence.seals.chain(one.call.call_id)
        tip = start(one.call.call_id)
        if links:
            tip = Tip(one.call.call_id, links[-1].n, links[-1].link)
        self._lines.append(leaf_line(tip))
        self.count += 1
        return self.end() if len(self._lines) == PART_LEAVES else []

    def end(self) -> list[tuple[str, bytes]]:
        if not self._lines:
            return []
        tree = Tree()
        for line in self._lines:
            tree.add(sha256(line))
        name, body = leaves_name(len(self._parts)), b"".join(self._lines)
        self._parts.append(f"{name} {sha256(body)} {len(self._lines)} {tree.root}\n")
        self._whole.add(tree.root)
        self._lines.clear()
        return [(name, body)]


def _seal_files(sealed: SealedDay | None) -> dict[str, bytes]:
    if sealed is None:
        return {}
    return {
        "seal/statement.txt": sealed.statement,
        "seal/statement.txt.sig": sealed.signature,
        "seal/key.pem": sealed.public_key,
    }


def _fields(
    evidence: Evidence, said: Mapping[str, Any], lob: str | None, tree: _CallTree,
    sealed: SealedDay | None,
) -> dict[str, str]:  # fmt: skip
    total = said["total"]
    terms = ("started", "stored", "absent", "quarantined", "lost", "in_flight")
    return {
        "issuer": evidence.issuer,
        "day": said["day"],
        "line_of_business": "all" if lob is None else lob or "unknown",
        "as_of": said["as_of"],
        "made_at": str(rfc3339(evidence.real.now_ms())),
        **{term: str(total[term]) for term in terms},
        "law": "holds" if total["law_holds"] else "broken",
        "census": "complete" if said["census"]["complete"] else "incomplete",
        "leaves": str(tree.count),
        "root": tree.root,
        "seal_of_the_day": sha256(sealed.statement) if sealed else "not closed yet",
    }


# -- for people ------------------------------------------------------------------------------------

_COLUMNS: Final = (
    "started", "stored", "absent", "quarantined", "lost", "in_flight", "streamed", "recovered",
)  # fmt: skip
_NAME_CHARS: Final = 24
_FIELD_CHARS: Final = 12


def report(said: Mapping[str, Any], lob: str | None) -> str:
    """The figures as a text."""
    lines = [
        f"Completeness of the calls that began on {said['day']} (UTC), as of {said['as_of']}",
        "" if lob is None else f"Line of business: {lob or 'not known'}\n",
        _row("line of business", _COLUMNS),
        *(_row(line["line_of_business"] or "(not known)", _values(line))
          for line in said["lines_of_business"]),
        _row("all", _values(said["total"])),
        "",
        *_law(said["total"]),
        *_times(said),
        "",
        *_census(said["census"]),
        "",
        f"{said['exceptions']['calls']} calls are not stored; each is in exceptions-*.ndjson with "
        "its reason.",
        "",
    ]  # fmt: skip
    return "\n".join(lines)


def _row(name: str, values: Any) -> str:
    cells = "".join(f"{str(value).replace('_', ' '):>{_FIELD_CHARS}}" for value in values)
    return f"{name:<{_NAME_CHARS}}{cells}"


def _values(line: Mapping[str, Any]) -> list[int]:
    return [line[column] for column in _COLUMNS]


def _law(total: Mapping[str, Any]) -> list[str]:
    law = "started = stored + absent + quarantined + lost + in flight"
    return [f"The law {law} {'holds' if total['law_holds'] else 'IS BROKEN'}."]


def _times(said: Mapping[str, Any]) -> list[str]:
    times = said["total"]["time_to_store_ms"]
    if not times:
        return []
    shares = ", ".join(f"{name} {ms / 1000:.1f} s" for name, ms in times.items())
    return [f"From the call's end to the proved copy: {shares}."]


def _census(census: Mapping[str, Any]) -> list[str]:
    if not census["groups"]:
        return ["No OCP group was ever counted: there is no denominator but what reached us."]
    hours = census["hours_of_the_day"]
    found = [
        f"OCP's own export counted, group by group ({'all' if census['complete'] else 'NOT ALL'} "
        "hours of the day):"
    ]
    for group in census["groups"]:
        lines = sum(window["calls_and_dialogs"] for window in group["windows"])
        news = sum(window["news"] for window in group["windows"])
        found.append(
            f"  {group['ocp_group']}: {group['hours_counted']} of {hours} hours; {lines} calls and "
            f"dialogs in their windows, {news} of them unknown to us until then"
        )
    return found
