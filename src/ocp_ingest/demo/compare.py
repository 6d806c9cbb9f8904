"""The platform's answers against the simulator's ledger, call by call and byte by byte."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec


class Compared(msgspec.Struct):
    """Counts over the ledger's calls, and every disagreement in words."""

    calls: int = 0
    stored: int = 0
    absent: int = 0
    quarantined: int = 0
    lost: int = 0
    in_flight: int = 0
    unknown: int = 0  # of which we know nothing
    streamed: int = 0
    recovered: int = 0
    mismatches: int = 0
    unexpected: int = 0
    unannounced_found: int = 0
    strays: int = 0
    strays_open: int = 0
    problems: list[str] = []


def compare(
    ledger: Iterable[dict[str, Any]], calls: dict[str, dict[str, Any]], folder: Path,
    expectation: str,
) -> Compared:  # fmt: skip
    """`expectation` names the ledger's field: "expected", or "expected_without_export"."""
    found = Compared()
    known: set[str] = set()
    for entry in ledger:
        found.calls += 1
        known.add(entry["call_id"])
        call = calls.get(entry["call_id"])
        outcome = (call["outcome"] or "in_flight") if call is not None else "unknown"
        setattr(found, outcome, getattr(found, outcome) + 1)
        if call is not None and not entry["announced"]:
            found.unannounced_found += 1
        if outcome != entry[expectation]:
            found.unexpected += 1
            found.problems.append(
                f"{entry['call_id']}: {outcome}, expected {entry[expectation]} ({entry['reason']})"
            )
        if call is not None and outcome == "stored":
            _bytes(found, entry, call, folder)
    strays = [call for call_id, call in calls.items() if call_id not in known]
    found.strays = len(strays)
    found.strays_open = sum(call["outcome"] is None for call in strays)
    return found


def _bytes(found: Compared, entry: dict[str, Any], call: dict[str, Any], folder: Path) -> None:
    expected = entry["recording"]
    held = next(
        (r for r in call["recordings"] if expected and r["dialog_id"] == expected["dialog_id"]),
        None,
    )
    if expected is None or held is None or not held["uri"]:
        found.mismatches += 1
        found.problems.append(f"{entry['call_id']}: stored without the expected recording")
        return
    path = folder / "recordings" / held["uri"]
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "missing"
    if digest != expected["sha256"]:
        found.mismatches += 1
        found.problems.append(f"{entry['call_id']}: the stored bytes are {digest[:12]}…")
    if held["source"] == "stream":
        found.streamed += 1
    else:
        found.recovered += 1


def audit(terms: dict[str, Any], found: Compared, folder: Path) -> list[str]:
    """The conservation law with `stored` counted from the disk, not from what the platform says."""
    buckets = [p for p in (folder / "recordings").iterdir() if p.name not in _OURS]
    on_disk = sum(
        path.is_file() and path.suffix in (".wav", ".mp3") for b in buckets for path in b.rglob("*")
    )
    differences = []
    if on_disk != terms["stored"]:
        differences.append(f"{terms['stored']} calls are stored, the buckets hold {on_disk} files")
    parts = [terms[name] for name in ("absent", "quarantined", "lost", "in_flight")]
    if terms["started"] != on_disk + sum(parts):
        differences.append(f"{terms['started']} started, {on_disk + sum(parts)} accounted for")
    known = found.calls - found.unknown + found.strays
    if terms["started"] != known:
        differences.append(f"{terms['started']} started, by the ledger it should be {known}")
    return differences


# Buckets that are no line of business.
_OURS = frozenset({"landing", "quarantine"})
