"""`ocp-ingest calls …`: what it shows, what it changes, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import apsw
import pytest

from ocp_ingest.core.call import FLAGS
from ocp_ingest.core.words import FLAG_WORDS
from tests.cli.kit import OCP, Shop, run
from tests.story.kit import hiss

VIEW_KEYS = {
    "call_id", "ocp_group", "line_of_business", "stage", "outcome", "reason", "flags", "call",
    "recordings", "export", "next",
}  # fmt: skip
CALL_KEYS = {
    "started_at", "ivr_ended_at", "ivr_duration_ms", "ended_at", "duration_ms", "exit_status",
    "channel", "entry_app", "destination", "customer_id", "session_id", "connection_id",
    "result_codes",
}  # fmt: skip
RECORDING_KEYS = {
    "dialog_id", "name", "bytes", "sha256", "source", "duration_ms", "container", "codec",
    "sample_rate_hz", "channels", "uri", "problems",
}  # fmt: skip


def _show(shop: Shop, call_id: str) -> dict[str, Any]:
    answer = shop.run("calls", "show", call_id, "--json")
    assert answer.code == 0, answer.err
    said: dict[str, Any] = answer.json()
    return said


# -- show ----------------------------------------------------------------------------------------


def test_show_tells_the_six_flags_the_ivr_end_and_its_result_codes(shop: Shop) -> None:
    talk = shop.talk()
    shop.events(talk.start())
    ivr = {
        "message_type": "ivr_end", "id": talk.call_id, "group": talk.call_id,
        "time": talk.start_ms + 2_500, "duration": 2_500, "exit_status": "transferred",
        "result_codes": {"globalResult": "success", "queue": "claims"},
    }  # fmt: skip
    shop.events(ivr, talk.end())
    shop.upload(talk.name, hiss(shop.rng, talk.duration_ms))
    view = _show(shop, talk.call_id)
    assert view.keys() == VIEW_KEYS
    assert tuple(view["flags"]) == FLAGS
    assert len(FLAGS) == 6
    assert None not in view["flags"].values()
    assert view["call"].keys() == CALL_KEYS
    assert view["call"]["exit_status"] == "transferred"
    assert view["call"]["ivr_duration_ms"] == 2_500
    assert view["call"]["result_codes"]["queue"] == "claims"
    assert view["call"]["ivr_ended_at"] == view["flags"]["ivr_ended"]
    [recording] = view["recordings"]
    assert recording.keys() == RECORDING_KEYS
    text = shop.run("calls", "show", talk.call_id).out
    for words in (*FLAG_WORDS.values(), "exit_status", "transferred", "claims", recording["uri"]):
        assert words in text


def test_show_says_which_flags_are_not_set_yet(shop: Shop) -> None:
    talk = shop.announced()
    view = _show(shop, talk.call_id)
    unset = [flag for flag, at in view["flags"].items() if at is None]
    assert unset == ["file_received", "post_processed", "stored"]
    text = shop.run("calls", "show", talk.call_id).out
    assert text.count("not yet") == len(unset)


# -- list ----------------------------------------------------------------------------------------


def test_list_filters_by_stage_outcome_and_line_of_business(shop: Shop) -> None:
    stored, open_call, other = shop.stored(), shop.announced(), shop.talk(app="cards-voice")
    shop.events(other.start())

    def listed(*options: str) -> set[str]:
        answer = shop.run("calls", "list", "--json", *options)
        assert answer.code == 0, answer.err
        assert all(view.keys() == VIEW_KEYS for view in answer.lines())
        return {view["call_id"] for view in answer.lines()}

    everything = {stored.call_id, open_call.call_id, other.call_id}
    assert listed() == everything
    assert listed("--outcome", "stored") == {stored.call_id}
    assert listed("--outcome", "none") == everything - {stored.call_id}
    assert listed("--stage", "call_started") == {other.call_id}
    # Pinned, or where the rules have it until then.
    assert listed("--lob", "banking") == {stored.call_id, open_call.call_id}
    assert listed("--lob", "nothing-of-ours") == set()
    assert len(listed("--limit", "2")) == 2


def test_list_shows_a_table_with_whole_ids(shop: Shop) -> None:
    talks = [shop.announced() for _ in range(3)]
    text = shop.run("calls", "list").out
    assert all(talk.call_id in text for talk in talks)


def test_list_is_newest_first(shop: Shop) -> None:
    starts = {}
    for minutes in (3, 1, 2):
        talk = shop.talk()
        talk.start_ms -= minutes * 60_000
        shop.events(talk.start())
        starts[talk.call_id] = talk.start_ms
    listed = [view["call_id"] for view in shop.run("calls", "list", "--json").lines()]
    assert listed == sorted(starts, key=lambda call_id: -starts[call_id])


@pytest.mark.parametrize(
    "options", [("--stage", "flying"), ("--outcome", "happy"), ("--limit", "0"), ("--wrong",)]
)
def test_a_filter_that_cannot_be_is_a_usage_error(shop: Shop, options: tuple[str, ...]) -> None:
    shop.create()
    answer = shop.run("calls", "list", *options)
    assert answer.code == 2
    assert answer.err
    assert answer.out == ""


# -- explain -------------------------------------------------------------------------------------


def test_explain_says_what_is_missing_why_and_what_happens_next(tmp_path: Path) -> None:
    shop = Shop(tmp_path, OCP)
    talk = shop.announced()
    answer = shop.run("calls", "explain", talk.call_id)
    assert answer.code == 0
    for words in ("No recording arrived.", "Missing:", "the recording", "by an export job", "at 2"):
        assert words in answer.out
    said = shop.run("calls", "explain", talk.call_id, "--json").json()
    assert said.keys() == {
        "stage", "outcome", "verdict", "missing", "tried", "next", "next_at_ms", "also",
    }  # fmt: skip
    assert said["next_at_ms"] > talk.start_ms


def test_explain_promises_no_export_where_none_can_be_made(shop: Shop) -> None:
    talk = shop.announced()
    assert "export" not in shop.run("calls", "explain", talk.call_id).out


def test_explain_of_a_finished_call_says_where_it_is_and_that_nothing_follows(shop: Shop) -> None:
    talk = shop.stored()
    said = shop.run("calls", "explain", talk.call_id, "--json").json()
    assert said["outcome"] == "stored"
    assert "lob-banking" in said["verdict"]
    assert said["next"] == "Nothing."
    assert said["next_at_ms"] is None


# -- acts ----------------------------------------------------------------------------------------

ACTS = ("retry", "reopen", "release", "mark-absent")


def test_mark_absent_closes_and_reopen_opens_again_and_both_are_kept(shop: Shop) -> None:
    talk = shop.announced()
    answer = shop.run("calls", "mark-absent", talk.call_id, "--reason", "no recording in contract")
    assert answer.code == 0, answer.err
    view = _show(shop, talk.call_id)
    assert view["outcome"] == "absent"
    assert "no recording in contract" in view["reason"]
    assert shop.run("calls", "mark-absent", talk.call_id, "--reason", "again").code == 4
    assert shop.run("calls", "reopen", talk.call_id, "--reason", "it was found").code == 0
    assert _show(shop, talk.call_id)["outcome"] is None
    tried = shop.run("calls", "explain", talk.call_id, "--json").json()["tried"]
    assert any("cli:" in line and "it was found" in line for line in tried)


def test_release_stores_what_was_quarantined(shop: Shop) -> None:
    talk = shop.quarantined()
    problems = _show(shop, talk.call_id)["recordings"][0]["problems"]
    assert [p["code"] for p in problems if p["severity"] == "error"] == ["duration.longer"]
    assert shop.run("calls", "release", talk.call_id, "--reason", "two calls, agreed").code == 0
    shop.events(talk.end())  # workers run
    view = _show(shop, talk.call_id)
    assert view["outcome"] == "stored"
    assert view["recordings"][0]["uri"].startswith("lob-banking/")


def test_retry_has_the_next_try_made_now(tmp_path: Path) -> None:
    shop = Shop(tmp_path, OCP)
    talk = shop.announced()
    before = _show(shop, talk.call_id)["next"]
    assert before["action"] == "ask_export"
    assert shop.run("calls", "retry", talk.call_id, "--reason", "OCP is back").code == 0
    after = _show(shop, talk.call_id)["next"]
    assert after["action"] == "ask_export"
    assert after["at"] < before["at"]


@pytest.mark.parametrize("act", ACTS)
def test_an_act_needs_a_reason(shop: Shop, act: str) -> None:
    talk = shop.announced()
    assert shop.run("calls", act, talk.call_id).code == 2
    for reason in ("", "  ", "x" * 1_001):
        assert shop.run("calls", act, talk.call_id, "--reason", reason).code == 2


@pytest.mark.parametrize("act", ACTS)
def test_an_act_on_a_call_that_is_not_here_is_not_found(shop: Shop, act: str) -> None:
    shop.create()
    answer = shop.run("calls", act, "nobody", "--reason", "why not")
    assert answer.code == 3
    assert "nobody" in answer.err


def test_acts_that_contradict_the_call_are_conflicts(shop: Shop) -> None:
    stored, open_call = shop.stored(), shop.announced()
    for act, talk in (
        ("mark-absent", stored), ("reopen", stored), ("reopen", open_call), ("release", open_call),
    ):  # fmt: skip
        answer = shop.run("calls", act, talk.call_id, "--reason", "just because")
        assert answer.code == 4, act
        assert answer.err.startswith("ocp-ingest: ")


# -- what fits every command of the group --------------------------------------------------------


@pytest.mark.parametrize("command", ["show", "explain"])
def test_a_call_that_is_not_here_is_not_found(shop: Shop, command: str) -> None:
    shop.create()
    answer = shop.run("calls", command, "nobody", "--json")
    assert answer.code == 3
    assert "nobody" in answer.err
    assert answer.out == ""


def test_without_a_store_nothing_is_made(tmp_path: Path) -> None:
    answer = run("calls", "list", "--data-dir", str(tmp_path / "empty"))
    assert answer.code == 3
    assert "--data-dir" in answer.err
    assert not (tmp_path / "empty").exists()


def test_a_wrong_configuration_is_a_usage_error_that_names_the_key(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("[server]\nprot = 1\n")
    answer = run("calls", "list", "--config", str(wrong))
    assert answer.code == 2
    assert "prot" in answer.err
    answer = run("calls", "list", "--config", str(tmp_path / "missing.toml"))
    assert answer.code == 2


def test_a_store_that_somebody_else_is_writing_to_says_try_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = shop.announced()
    monkeypatch.setattr("ocp_ingest.adapters.embedded.database.BUSY_TIMEOUT_MS", 200)
    # The same library: locks of two SQLites in one process do not see each other.
    other = apsw.Connection(str(shop.data_dir / "ocp.sqlite3"))
    other.execute("BEGIN IMMEDIATE")
    try:
        answer = shop.run("calls", "retry", talk.call_id, "--reason", "now")
    finally:
        other.execute("ROLLBACK")
        other.close()
    assert answer.code == 5
    assert answer.err.startswith("ocp-ingest: ")


def test_a_damaged_store_is_a_failure_in_words(shop: Shop) -> None:
    shop.create()
    (shop.data_dir / "ocp.sqlite3").write_bytes(b"this is no database" * 500)
    for leftover in ("ocp.sqlite3-wal", "ocp.sqlite3-shm"):
        (shop.data_dir / leftover).unlink(missing_ok=True)
    answer = shop.run("calls", "list")
    assert answer.code == 1
    assert "damaged" in answer.err


def test_what_is_shown_holds_no_number_of_a_caller(shop: Shop) -> None:
    talk = shop.talk()
    shop.events(
        talk.start(origin_uri="+34600123456", incoming_attached_data={"note": "Ana 600123456"}),
        talk.end(origin_uri="+34600123456"),
    )
    shown = [
        shop.run("calls", *command).out
        for command in (
            ("list",), ("list", "--json"), ("show", talk.call_id), ("explain", talk.call_id),
            ("show", talk.call_id, "--json"), ("explain", talk.call_id, "--json"),
        )
    ]  # fmt: skip
    assert all("600123456" not in text and "Ana" not in text for text in shown)
    assert json.loads(shown[4])["call_id"] == talk.call_id
