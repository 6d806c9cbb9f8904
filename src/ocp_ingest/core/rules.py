"""Validation of a recording: coherence with its call, and the rules of its line of business.

Rules are data: each has a severity ("error", "warning", "off") and a value; the verdict names the
version (hash) of the rules that gave it. Integrity is judged before, by core.audio, on the bytes
alone. Every problem says in words what is wrong, by how much, and what was expected.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, Final, Literal

import msgspec

from ocp_ingest.core.call import Call, Version
from ocp_ingest.core.events import canonical_hash

Severity = Literal["error", "warning", "off"]


class Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The rules of one line of business; section `[lob.<name>.rules]` of the configuration."""

    # Shorter recordings hold no conversation; longer ones are joined or runaway.
    duration_ms_min: int = 0
    duration_ms_max: int = 4 * 3_600_000
    duration_bounds: Severity = "error"
    containers: tuple[str, ...] = ("wav", "rf64", "bw64", "mp3")
    codecs: tuple[str, ...] = ("pcm_s16le", "pcm_u8", "pcm_alaw", "pcm_mulaw", "mp3")
    sample_rates_hz: tuple[int, ...] = (8_000, 16_000)
    channels: tuple[int, ...] = (1, 2)
    format: Severity = "error"
    # A recording that is silent for longer shares than these is suspicious, rarely wrong.
    silence_share_max: float = 0.98
    silence: Severity = "warning"
    # One channel silent while the other talks: half of the conversation is missing.
    one_way_share_max: float = 0.98
    one_way: Severity = "warning"
    # The line stayed dead at the end for longer than this share of the recording.
    dead_tail_share_max: float = 0.8
    dead_tail: Severity = "warning"
    required_attached: tuple[str, ...] = ()
    attached: Severity = "error"
    name_pattern: str = "*"
    name: Severity = "warning"
    directions: tuple[str, ...] = ()
    direction: Severity = "error"
    # The recording may be longer than the call by the larger of these two (ringing, rounding).
    longer_ms_max: int = 5_000
    longer_share_max: float = 0.02
    longer: Severity = "error"
    # OCP trims and pauses, so shorter is a warning …
    shorter_share_min: float = 0.98
    shorter: Severity = "warning"
    # … but below this share something is missing, unless the call has sensitive steps.
    much_shorter_share_min: float = 0.2
    much_shorter: Severity = "error"
    # The name's time against the call's start.
    start_skew_ms_max: int = 300_000
    start_skew: Severity = "warning"
    # Parts of the file name against the call's own ids.
    identity: Severity = "error"


def version_of(rules: Rules) -> str:
    """A short hash that changes when any rule does."""
    return canonical_hash(msgspec.to_builtins(rules))[:12]


class Finding(msgspec.Struct, frozen=True):
    """A problem as it goes into the verdict."""

    code: str
    severity: str
    text: str


def judge(call: Call, dialog_id: str, version: Version, rules: Rules) -> list[Finding]:
    """Every problem of an inspected version against its call and the rules; [] when none."""
    report = version.report or {}
    checks = (
        _format(report, rules),
        _bounds(report, rules),
        _content(report, rules),
        _duration(call, dialog_id, report, rules),
        _identity(call, dialog_id, version, rules),
        _business(call, version, rules),
    )
    found = [Finding(*problem) for check in checks for problem in check]
    return [f for f in found if f.severity != "off"]


_Problem = tuple[str, str, str]


def _format(report: Mapping[str, Any], rules: Rules) -> list[_Problem]:
    expected: tuple[tuple[str, tuple[Any, ...], str], ...] = (
        ("container", rules.containers, "container"),
        ("codec", rules.codecs, "codec"),
        ("sample_rate_hz", rules.sample_rates_hz, "sample rate in Hz"),
        ("channels", rules.channels, "number of channels"),
    )
    return [
        (f"format.{field}", rules.format,
         f"The {words} is {report.get(field)}; this line of business takes "
         f"{', '.join(map(str, allowed))}.")
        for field, allowed, words in expected
        if report.get(field) not in allowed
    ]  # fmt: skip


def _bounds(report: Mapping[str, Any], rules: Rules) -> list[_Problem]:
    duration = report.get("duration_ms")
    if duration is None or rules.duration_ms_min <= duration <= rules.duration_ms_max:
        return []
    return [
        ("duration.bounds", rules.duration_bounds,
         f"The recording lasts {_seconds(duration)}; this line of business takes "
         f"{_seconds(rules.duration_ms_min)} to {_seconds(rules.duration_ms_max)}."),
    ]  # fmt: skip


def _content(report: Mapping[str, Any], rules: Rules) -> list[_Problem]:
    found: list[_Problem] = []
    silent = report.get("silence_share")
    shares = report.get("channel_silence_share") or ()
    if silent is not None and silent > rules.silence_share_max:
        found.append(("content.silent", rules.silence,
                      f"{silent:.0%} of the recording is silence."))  # fmt: skip
    elif len(shares) > 1 and max(shares) > rules.one_way_share_max:
        channel = list(shares).index(max(shares)) + 1
        found.append(("content.one_way", rules.one_way,
                      f"Channel {channel} is silent for {max(shares):.0%}: one side of the "
                      "conversation is missing."))  # fmt: skip
    tail, duration = report.get("dead_tail_ms"), report.get("duration_ms")
    if tail and duration and tail / duration > rules.dead_tail_share_max:
        text = f"The last {_seconds(tail)} of {_seconds(duration)} are silent."
        found.append(("content.dead_tail", rules.dead_tail, text))
    return found


def _duration(
    call: Call, dialog_id: str, report: Mapping[str, Any], rules: Rules
) -> list[_Problem]:
    measured, expected = report.get("duration_ms"), call.duration_ms
    # Only the root dialog's length is the call's.
    if measured is None or not expected or dialog_id != call.root_dialog_id:
        return []
    words = f"The recording lasts {_seconds(measured)}, the call {_seconds(expected)}"
    if measured - expected > max(rules.longer_ms_max, expected * rules.longer_share_max):
        return [("duration.longer", rules.longer, f"{words}: it can't be longer than the call.")]
    share = measured / expected
    if share < rules.much_shorter_share_min:
        if call.get("sensitive"):
            return [("duration.paused", "warning",
                     f"{words}; the call has sensitive steps, at which OCP pauses.")]  # fmt: skip
        text = f"{words}: less than {rules.much_shorter_share_min:.0%} of it is there."
        return [("duration.much_shorter", rules.much_shorter, text)]
    if share < rules.shorter_share_min:
        return [("duration.shorter", rules.shorter,
                 f"{words}; OCP may have trimmed or paused it.")]  # fmt: skip
    return []


def _identity(call: Call, dialog_id: str, version: Version, rules: Rules) -> list[_Problem]:
    parts = version.name_parts
    found: list[_Problem] = []
    if parts.get("dialog_id", dialog_id) != dialog_id:
        text = "The file name names another dialog than the one it was filed under."
        found.append(("identity.dialog", rules.identity, text))
    account = call.get("account_id")
    if account and parts.get("account_id", account) != account:
        found.append(("identity.account", rules.identity,
                      "The file name's account differs from the call's."))  # fmt: skip
    for field in parts.get("contradictions", ()):
        text = f"The sender's metadata contradicts the file name in `{field}`."
        found.append(("identity.metadata", rules.identity, text))
    started, named = call.get("call_started"), parts.get("time_ms")
    is_root = dialog_id == call.root_dialog_id
    if started and named and is_root and abs(named - started) > rules.start_skew_ms_max:
        found.append(("identity.start", rules.start_skew,
                      f"The file name's time is {_seconds(abs(named - started))} away from the "
                      "call's start."))  # fmt: skip
    return found


def _business(call: Call, version: Version, rules: Rules) -> list[_Problem]:
    found: list[_Problem] = []
    values = call.get("attached") or {}
    lacking = [key for key in rules.required_attached if key not in values]
    if lacking:
        found.append(("rule.attached", rules.attached,
                      f"Required attached data is missing: {', '.join(lacking)}."))  # fmt: skip
    if not fnmatchcase(version.name, rules.name_pattern):
        found.append(("rule.name", rules.name,
                      f"The file name does not match {rules.name_pattern}."))  # fmt: skip
    direction = call.get("direction")
    if rules.directions and direction not in rules.directions:
        found.append(("rule.direction", rules.direction,
                      f"The direction is {direction or 'unknown'}; this line of business takes "
                      f"{', '.join(rules.directions)}."))  # fmt: skip
    return found


_SECOND_MS: Final = 1000


def _seconds(duration_ms: float) -> str:
    return f"{duration_ms / _SECOND_MS:.1f} s"
