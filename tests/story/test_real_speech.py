"""Real speech goes the whole way over HTTP into its bucket, and comes out byte for byte."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

from ocp_sim.audio import AudioSpec, corrupt, load_voices, render
from tests.story.kit import Platform, Sender, Talk, command, hiss, sender, sha256, until

# codec and channels of the recording, form of its delivery, codec as the platform names it
WAYS = (
    (AudioSpec("pcm16", 1, 8_000, 5_000, ()), "raw", "pcm_s16le"),
    (AudioSpec("pcm16", 2, 8_000, 4_000, ()), "multipart", "pcm_s16le"),
    (AudioSpec("pcm16", 1, 16_000, 3_000, ()), "base64", "pcm_s16le"),
    (AudioSpec("alaw", 1, 8_000, 6_000, ((2_000, 900),)), "put", "pcm_alaw"),
    (AudioSpec("alaw", 2, 8_000, 3_000, ()), "raw", "pcm_alaw"),
    (AudioSpec("mulaw", 1, 8_000, 4_000, ()), "multipart", "pcm_mulaw"),
    (AudioSpec("mulaw", 2, 8_000, 5_000, ()), "base64", "pcm_mulaw"),
    (AudioSpec("mp3", 1, 16_000, 6_000, ()), "raw", "mp3"),
    (AudioSpec("mp3", 2, 8_000, 4_000, ()), "put", "mp3"),
)
APPS = ("banking-voice", "cards-voice", "insurance-voice")


async def _in_stage(to: Sender, call_id: str, stage: str) -> Any:
    async def there() -> Any:
        call = await to.call(call_id)
        return call if call is not None and call["stage"] == stage else None

    return await until(there, 30, f"the call gets to {stage}")


def _object(platform: Platform, recording: dict[str, Any]) -> bytes:
    path: str = recording["uri"]
    return (platform.data_dir / "recordings" / path).read_bytes()


async def test_speech_of_every_codec_arrives_in_its_bucket_byte_for_byte(tmp_path: Path) -> None:
    voices, rng = load_voices(None), Random(9)
    with Platform(tmp_path) as platform:
        await platform.start()
        async with sender(platform) as to:
            for number, (spec, form, codec) in enumerate(WAYS):
                talk = Talk(rng, spec.duration_ms, APPS[number % 3])
                audio = render(spec, number, voices)
                name = talk.named("mp3" if codec == "mp3" else "wav")
                await to.events(talk.start())
                status, said = await to.deliver(name, audio, form)
                assert (status, said["sha256"]) == (201, sha256(audio))
                await to.events(talk.end())
                call = await _in_stage(to, talk.call_id, "stored")
                _is_stored(call, APPS[number % 3].split("-")[0], name)
                [recording] = call["recordings"]
                assert _object(platform, recording) == audio
                _is_measured(recording, spec, codec, audio)
        assert len(platform.stored()) == 2 * len(WAYS)


def _is_stored(call: dict[str, Any], lob: str, name: str) -> None:
    assert call["outcome"] == "stored"
    assert call["line_of_business"] == lob
    assert None not in call["flags"].values()
    [recording] = call["recordings"]
    assert recording["uri"].startswith(f"lob-{lob}/")
    assert recording["uri"].endswith(name.rsplit(".", 1)[1])
    assert recording["problems"] == []


def _is_measured(recording: dict[str, Any], spec: AudioSpec, codec: str, audio: bytes) -> None:
    assert recording["bytes"] == len(audio)
    assert recording["codec"] == codec
    assert recording["channels"] == spec.channels
    assert recording["sample_rate_hz"] == spec.sample_rate_hz
    # An MP3 has up to three frames of the encoder's padding.
    assert 0 <= recording["duration_ms"] - spec.duration_ms <= (300 if codec == "mp3" else 1)


async def test_a_recording_of_an_unknown_call_waits_is_explained_and_heals(tmp_path: Path) -> None:
    talk = Talk(Random(4), 6_000)
    audio = render(AudioSpec("pcm16", 1, 8_000, 6_000, ()), 4, load_voices(None))
    with Platform(tmp_path) as platform:
        await platform.start()
        async with sender(platform) as to:
            status, said = await to.deliver(talk.name, audio)
            assert (status, said["result"]) == (201, "received")

            async def measured() -> Any:
                call = await to.call(talk.call_id)
                return call if call["next"]["action"] != "inspect" else None

            call = await until(measured, 30, "the recording is measured")
            assert call["outcome"] is None
            assert call["flags"]["call_started"] is None
            assert call["flags"]["file_received"] is not None
            assert call["next"]["action"] == "validate"
            assert call["next"]["at"] is not None
            explained = command(
                "calls", "explain", talk.call_id, "--config", str(platform.config), cwd=tmp_path
            )
            assert explained.returncode == 0, explained.stderr
            for words in ("CDR Start", "CDR End", f"{len(audio)} bytes came by stream", "Next:"):
                assert words in explained.stdout
            assert platform.stored() == {}
            await to.events(talk.end(), talk.start())
            call = await _in_stage(to, talk.call_id, "stored")
            _is_stored(call, "banking", talk.name)
            assert _object(platform, call["recordings"][0]) == audio


async def test_an_error_page_as_audio_is_taken_then_judged_in_words_and_kept(
    tmp_path: Path,
) -> None:
    rng = Random(6)
    talk = Talk(rng, 5_000)
    page = corrupt(hiss(rng, 1_000), "error_html", 6)
    with Platform(tmp_path) as platform:
        await platform.start()
        async with sender(platform) as to:
            await to.events(talk.start(), talk.end())
            assert (await to.deliver(talk.name, page))[0] == 201

            async def judged() -> Any:
                call = await to.call(talk.call_id)
                return call if call["recordings"][0]["problems"] else None

            call = await until(judged, 30, "the page is judged")
            [problem] = [
                p for p in call["recordings"][0]["problems"] if p["severity"] == "error"
            ]  # fmt: skip
            assert problem["code"] == "not_audio.html"
            assert "HTML" in problem["text"]
            assert f"{len(page):,} bytes" in problem["text"]
            assert call["outcome"] is None
            assert call["flags"]["post_processed"] is None
            assert platform.stored() == {}
            _is_in_quarantine(platform, talk, page, problem)
            await _good_bytes_supersede(platform, to, talk, hiss(rng, 5_000))
        _is_in_quarantine(platform, talk, page, problem)


def _is_in_quarantine(platform: Platform, talk: Talk, page: bytes, problem: dict[str, Any]) -> None:
    quarantine = platform.data_dir / "recordings" / "quarantine"
    files = sorted(path for path in quarantine.rglob("*") if path.is_file())
    assert [path.suffix for path in files] == [".bin", ".json"]
    assert files[0].read_bytes() == page
    reasons = json.loads(files[1].read_bytes())
    assert (reasons["call_id"], reasons["name"]) == (talk.call_id, talk.name)
    assert problem in reasons["problems"]


async def _good_bytes_supersede(platform: Platform, to: Sender, talk: Talk, audio: bytes) -> None:
    status, said = await to.deliver(talk.name, audio)
    assert (status, said["result"]) == (201, "superseding")
    call = await _in_stage(to, talk.call_id, "stored")
    assert _object(platform, call["recordings"][0]) == audio


async def test_the_same_bytes_again_are_the_same_recording_in_any_form(tmp_path: Path) -> None:
    rng = Random(8)
    talk = Talk(rng, 3_000)
    audio = hiss(rng, 3_000)
    with Platform(tmp_path) as platform:
        await platform.start()
        async with sender(platform) as to:
            await to.events(talk.start(), talk.end())
            assert (await to.deliver(talk.name, audio))[0] == 201
            for again in ("raw", "put", "multipart", "base64"):
                status, said = await to.deliver(talk.name, audio, again)
                assert (status, said["result"]) == (200, "already_received")
            await _in_stage(to, talk.call_id, "stored")
            status, said = await to.deliver(talk.name, hiss(rng, 3_000))
            assert status == 409
        assert sum(not name.endswith(".json") for name in platform.stored()) == 1
