"""No recording that the simulator breaks could ever be stored: the judge knows every way.

Simulator and platform share no code, so neither's mistake about a format hides the other's. Each
way of breaking × each codec × several seeds; the healthy recording of the same spec is accepted.

What bytes alone can't tell is held against the call: an MP3 without a frame count that was cut
exactly between two frames is a whole, shorter MP3. OCP trims and pauses, so a shorter recording
is a warning, and an error only below a fifth of the call (`much_shorter_share_min`).
"""

from __future__ import annotations

import functools
from pathlib import Path
from random import Random

import msgspec
import pytest

from ocp_ingest.core.audio import AudioParser, AudioReport
from ocp_ingest.core.call import Call, Version, fold
from ocp_ingest.core.recording import parse_name
from ocp_ingest.core.rules import Finding, Rules, judge
from ocp_ingest.core.vendor import Context, VendorMapping, parse
from ocp_sim.audio import (
    CORRUPTIONS,
    RULE_BREAKERS,
    AudioSpec,
    Voices,
    corrupt,
    load_voices,
    render,
)
from ocp_sim.audio_codecs import mp3_frames
from tests.story.kit import Talk, encoded

SPECS = (
    AudioSpec("pcm16", 1, 8_000, 3_000, ()),
    AudioSpec("pcm16", 2, 8_000, 2_000, ()),
    AudioSpec("pcm16", 1, 16_000, 2_000, ()),
    AudioSpec("alaw", 1, 8_000, 3_000, ((600, 300),)),
    AudioSpec("alaw", 2, 8_000, 3_000, ()),
    AudioSpec("mulaw", 1, 8_000, 2_000, ()),
    AudioSpec("mulaw", 2, 8_000, 2_000, ()),
    AudioSpec("mp3", 1, 16_000, 3_000, ()),
    AudioSpec("mp3", 2, 8_000, 3_000, ()),
)
WAVS = [spec for spec in SPECS if spec.codec != "mp3"]
MP3S = [spec for spec in SPECS if spec.codec == "mp3"]
SEEDS = range(8)  # every kind of MP3, every variant of a corruption


@functools.cache
def _voices() -> Voices:
    return load_voices(None)


@functools.cache
def _recording(spec: AudioSpec, seed: int) -> bytes:
    return render(spec, seed, _voices())


def _name(value: object) -> str | None:
    if isinstance(value, AudioSpec):
        return f"{value.codec}-{value.channels}-{value.sample_rate_hz}"
    return None


def _inspected(body: bytes) -> AudioReport:
    parser = AudioParser()
    parser.feed(body)
    return parser.finish(expected_bytes=len(body))


def _judged(report: AudioReport, spec: AudioSpec, rules: Rules | None = None) -> list[Finding]:
    """What validation says of that report, the recording being the one of its call."""
    talk, context = Talk(Random(1), spec.duration_ms), Context(received_at_ms=0)
    cdrs = [parse(b, encoded(b), VendorMapping(), context) for b in (talk.start(), talk.end())]
    call: Call = fold(talk.call_id, [cdr.event for cdr in cdrs if cdr.event is not None])
    name = parse_name(talk.named("mp3" if spec.codec == "mp3" else "wav"))
    version = Version(report=msgspec.to_builtins(report), name=name.text, name_parts=name.parts())
    return judge(call, talk.call_id, version, rules or Rules())


def _refused(report: AudioReport, findings: list[Finding]) -> bool:
    return not report.ok or any(finding.severity == "error" for finding in findings)


@pytest.mark.parametrize("spec", SPECS, ids=_name)
def test_a_healthy_recording_is_accepted_without_a_word(spec: AudioSpec) -> None:
    for seed in SEEDS:
        report = _inspected(_recording(spec, seed))
        assert report.ok, report.problems
        assert _judged(report, spec) == []


@pytest.mark.parametrize("how", CORRUPTIONS)
@pytest.mark.parametrize("spec", SPECS, ids=_name)
def test_every_corruption_is_an_error_and_says_so_in_words(spec: AudioSpec, how: str) -> None:
    for seed in SEEDS:
        report = _inspected(corrupt(_recording(spec, seed), how, seed))
        assert _refused(report, _judged(report, spec)), (seed, report)
        for problem in report.problems:
            assert problem.text.endswith(".")
            assert len(problem.text.split()) > 3, "a sentence for an operator"


@pytest.mark.parametrize("spec", SPECS, ids=_name)
def test_every_corruption_shows_in_the_bytes_alone(spec: AudioSpec) -> None:
    """So it is in quarantine at once, and not only when the call's CDRs are there."""
    missed = [
        (how, seed) for how in CORRUPTIONS for seed in SEEDS
        if _inspected(corrupt(_recording(spec, seed), how, seed)).ok
    ]  # fmt: skip
    assert missed == []


RULED = {
    "silent": Rules(silence="error"),
    "dead_tail": Rules(dead_tail="error", dead_tail_share_max=0.5),
    "one_way": Rules(one_way="error"),
}


FITTING = [
    (spec, how) for spec in WAVS for how in RULE_BREAKERS if how != "one_way" or spec.channels == 2
]


@pytest.mark.parametrize(("spec", "how"), FITTING, ids=_name)
def test_what_a_rule_may_condemn_is_condemned_by_it(spec: AudioSpec, how: str) -> None:
    for seed in SEEDS:
        report = _inspected(corrupt(_recording(spec, seed), how, seed))
        assert report.ok, "sound bytes: by default a warning"
        if how == "dead_tail":  # of 60 %, which by default is measured and no more
            assert report.dead_tail_ms is not None
            assert report.dead_tail_ms >= 0.55 * spec.duration_ms
        else:
            assert report.problems, "but never without a word"
        assert not _refused(report, _judged(report, spec))
        assert _refused(report, _judged(report, spec, RULED[how]))


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("spec", MP3S, ids=_name)
def test_a_cut_between_two_mp3_frames_is_told_by_the_call(spec: AudioSpec, share: float) -> None:
    unseen = 0
    for seed in SEEDS:
        body = _recording(spec, seed)
        frames = mp3_frames(body)
        report = _inspected(body[: frames[int(len(frames) * share)].offset])
        findings = _judged(report, spec)
        if report.ok:
            unseen += 1
            assert any(f.code.startswith("duration.") for f in findings)
            assert _refused(report, findings) == (share < Rules().much_shorter_share_min)
    assert unseen, "no MP3 of the simulator lacks a frame count: this test tests nothing"


def test_the_clips_are_speech_of_the_package(tmp_path: Path) -> None:
    assert len(_voices().clips) >= 20
    with pytest.raises(ValueError, match="no speech"):
        load_voices(tmp_path)
