"""Every rule of a line of business: what keeps it, what breaks it, and the words for that."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ocp_ingest.core.call import Call, Version, fold
from ocp_ingest.core.rules import Rules, judge, version_of
from tests.core.strategies import golden, taken

START, END = golden("dialog_start_root"), golden("dialog_end_near_hup")
CALL, TIME = START["id"], START["time"]
DURATION_MS = END["duration"]
REPORT: dict[str, Any] = {
    "container": "wav", "codec": "pcm_alaw", "sample_rate_hz": 8_000, "channels": 2,
    "duration_ms": DURATION_MS, "silence_share": 0.3, "channel_silence_share": [0.4, 0.5],
    "dead_tail_ms": 900, "problems": [],
}  # fmt: skip
PARTS = {"group_id": CALL, "account_id": "acme01", "time_ms": TIME, "dialog_id": CALL}


def call_of(**changes: Any) -> Call:
    return fold(CALL, [taken({**START, **changes}), taken({**END, **changes})])


def found(
    rules: Rules | None = None, *, report: dict[str, Any] | None = None, call: Call | None = None,
    dialog_id: str = CALL, name: str = "x.wav", **parts: Any,
) -> dict[str, str]:  # fmt: skip
    version = Version(report={**REPORT, **(report or {})}, name=name, name_parts={**PARTS, **parts})
    judged = judge(call or call_of(), dialog_id, version, rules or Rules())
    for finding in judged:
        assert finding.text.endswith(".")
        assert len(finding.text.split()) > 3, "a sentence for an operator"
    return {finding.code: finding.severity for finding in judged}


def test_a_recording_that_keeps_every_rule_has_no_findings() -> None:
    assert found() == {}


def paused() -> Call:
    return fold(CALL, [taken(START), taken(END), taken(golden("dialog_step_sensitive"))])


def measured(**report: Any) -> dict[str, Any]:
    return {"report": report}


def ruled(**rules: Any) -> dict[str, Any]:
    return {"rules": rules}


def named(**parts: Any) -> dict[str, Any]:
    return parts


def lasting(share: float, more_ms: int = 0) -> dict[str, Any]:
    return measured(duration_ms=round(DURATION_MS * share) + more_ms)


# code, the rule's severity, what breaks it, what just keeps it
BROKEN: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("format.container", "format", measured(container="ogg"), measured(container="rf64")),
    ("format.codec", "format", measured(codec="pcm_f32le"), measured(codec="mp3")),
    ("format.sample_rate_hz", "format", measured(sample_rate_hz=44_100),
     measured(sample_rate_hz=16_000)),
    ("format.channels", "format", measured(channels=3), measured(channels=1)),
    ("duration.bounds", "duration_bounds", ruled(duration_ms_min=DURATION_MS + 1),
     ruled(duration_ms_min=DURATION_MS)),
    ("duration.bounds", "duration_bounds", ruled(duration_ms_max=DURATION_MS - 1),
     ruled(duration_ms_max=DURATION_MS)),
    ("content.silent", "silence", measured(silence_share=0.99), measured(silence_share=0.98)),
    ("content.one_way", "one_way", measured(channel_silence_share=[0.1, 0.99]),
     measured(channel_silence_share=[0.1, 0.98])),
    ("content.dead_tail", "dead_tail", measured(dead_tail_ms=DURATION_MS),
     measured(dead_tail_ms=DURATION_MS * 8 // 10)),
    ("duration.longer", "longer", lasting(1, 5_001), lasting(1, 5_000)),
    ("duration.shorter", "shorter", lasting(0.97), lasting(0.981)),
    ("duration.much_shorter", "much_shorter", lasting(0.19), lasting(1)),
    ("identity.dialog", "identity", {"dialog_id": "another"}, {"dialog_id": CALL}),
    ("identity.account", "identity", named(account_id="other"), named(account_id="acme01")),
    ("identity.metadata", "identity", named(contradictions=["time_ms"]), named(contradictions=[])),
    ("identity.start", "start_skew", named(time_ms=TIME - 300_001), named(time_ms=TIME + 300_000)),
    ("rule.attached", "attached", ruled(required_attached=("customer_id", "policy")),
     ruled(required_attached=("customer_id",))),
    ("rule.name", "name", ruled(name_pattern="*.mp3"), ruled(name_pattern="x.*")),
    ("rule.direction", "direction", ruled(directions=("outbound",)),
     ruled(directions=("outbound", "inbound"))),
]  # fmt: skip


def _with(rules: dict[str, Any], case: dict[str, Any]) -> dict[str, str]:
    case = dict(case)
    return found(Rules(**{**case.pop("rules", {}), **rules}), **case)


@pytest.mark.parametrize(("code", "severity", "breaks", "keeps"), BROKEN)
@pytest.mark.parametrize("said", ["error", "warning", "off"])
def test_a_rule_is_broken_beyond_its_bound_kept_at_it_and_says_its_severity(
    code: str, severity: str, breaks: dict[str, Any], keeps: dict[str, Any], said: str
) -> None:
    broken = _with({severity: said}, breaks)
    assert broken == ({} if said == "off" else {code: said})
    assert _with({severity: said}, keeps) == {}


def test_every_severity_of_the_rules_is_proved_above() -> None:
    severities = {
        field.name for field in msgspec.structs.fields(Rules)
        if field.default in ("error", "warning", "off")
    }  # fmt: skip
    assert severities == {severity for _, severity, _, _ in BROKEN}


def test_long_calls_may_be_exceeded_by_a_share() -> None:
    hour_ms = 3_600_000
    long = call_of(duration=hour_ms)
    bound = hour_ms + hour_ms * 2 // 100
    assert found(call=long, report={"duration_ms": bound}) == {}
    assert found(call=long, report={"duration_ms": bound + 1}) == {"duration.longer": "error"}


def test_a_call_with_sensitive_steps_may_be_much_shorter() -> None:
    report = {"duration_ms": 1_000, "dead_tail_ms": 0}
    assert found(call=paused(), report=report) == {"duration.paused": "warning"}


def test_the_calls_length_and_start_are_no_measure_of_a_childs_recording() -> None:
    child = {"dialog_id": "child-1"}
    report = {"duration_ms": 10 * DURATION_MS}
    judged = judge(
        call_of(), "child-1",
        Version(report={**REPORT, **report}, name_parts={**PARTS, **child, "time_ms": 0}), Rules(),
    )  # fmt: skip
    assert judged == []


def test_a_length_that_only_a_dialog_of_doubt_has_told_condemns_no_recording() -> None:
    child = {**END, "id": "child-1", "duration": 900}
    child.pop("flow")
    doubtful = fold(CALL, [taken(START), taken(child)])
    assert doubtful.get("duration_ms") == 900
    assert found(call=doubtful) == {}


def test_what_is_unknown_of_the_call_breaks_no_rule_of_coherence() -> None:
    bare = fold(
        CALL, [taken({"message_type": "dialog_step", "id": CALL, "group": CALL, "time": TIME})]
    )
    assert found(call=bare, account_id="any", time_ms=TIME) == {}
    assert found(Rules(directions=("inbound",)), call=bare) == {"rule.direction": "error"}


def test_a_recording_of_unmeasured_format_is_refused_in_words() -> None:
    judged = judge(
        call_of(), CALL, Version(report={"container": "html"}, name_parts=PARTS), Rules()
    )
    assert {f.code for f in judged} >= {"format.container", "format.codec"}
    assert "html" in judged[0].text
    assert "wav, rf64" in judged[0].text


def test_the_words_say_by_how_much() -> None:
    version = Version(report={**REPORT, "duration_ms": 60_000}, name_parts=PARTS)
    [finding] = judge(call_of(), CALL, version, Rules())
    assert finding.text == (
        "The recording lasts 60.0 s, the call 20.3 s: it can't be longer than the call."
    )


def test_the_version_of_rules_changes_with_any_rule() -> None:
    plain = version_of(Rules())
    assert version_of(Rules()) == plain
    for field in msgspec.structs.fields(Rules):
        default = field.default
        other: Any
        if isinstance(default, tuple):
            other = (*default, "x") if field.name != "channels" else (1,)
        elif isinstance(default, str):
            other = "off" if default in ("error", "warning") else "x*"
        else:
            other = default + 1
        assert version_of(msgspec.structs.replace(Rules(), **{field.name: other})) != plain
