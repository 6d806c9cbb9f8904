"""Names of recordings: strictly parsed, never a path, and which call they belong to."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_ingest.core.errors import Invalid
from ocp_ingest.core.limits import ID_CHARS_MAX, NAME_CHARS_MAX
from ocp_ingest.core.recording import EXTENSIONS, Name, correlate, name_with_metadata, parse_name
from tests.core.strategies import LAW, T0, golden

ROOT = str(golden("dialog_start_root")["id"])
WCR = f"{ROOT}~acme01~{T0}~{ROOT}.wav"
idents = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="~/\\"),
                 min_size=1, max_size=40).filter(
    lambda t: t.lower() not in ("undefined", "null", "none")
    and t.rpartition(".")[2].lower() not in EXTENSIONS
)  # fmt: skip


@LAW
@given(idents, idents, st.integers(T0, T0 * 2), idents, st.sampled_from([".wav", ".MP3", ""]))
def test_a_name_is_four_parts_between_tildes(
    group: str, account: str, time: int, dialog: str, extension: str
) -> None:
    name = parse_name(f"{group}~{account}~{time}~{dialog}{extension}")
    assert (name.group_id, name.account_id, name.time_ms, name.dialog_id) == (
        group, account, time, dialog,
    )  # fmt: skip
    assert name.parts()["dialog_id"] == dialog


@pytest.mark.parametrize(
    "prefix", ["a/b/", "../../", "C:\\calls\\", "/", "x/..\\", "d" * 999 + "/"]
)
def test_a_folder_before_the_name_is_dropped_and_never_kept_as_a_part(prefix: str) -> None:
    name = parse_name(prefix + WCR)
    assert (name.group_id, name.dialog_id) == (ROOT, ROOT)
    assert len(name.text) <= NAME_CHARS_MAX


def test_percent_signs_are_data_and_are_not_decoded() -> None:
    name = parse_name(f"g%2F..%2F~acme~{T0}~%2e%2e.wav")
    assert (name.group_id, name.dialog_id) == ("g%2F..%2F", "%2e%2e")


@pytest.mark.parametrize("extension", ["wav", "WAV", "mp3", "ogg", "flac", "bin"])
def test_an_audio_extension_is_no_part_of_the_dialogs_id(extension: str) -> None:
    assert parse_name(f"g~a~{T0}~{ROOT}.{extension}").dialog_id == ROOT


def test_dots_inside_ids_are_kept() -> None:
    assert parse_name(f"g~a~{T0}~{ROOT}").dialog_id == ROOT
    assert parse_name(f"{ROOT}~a~{T0}~d").group_id == ROOT


@pytest.mark.parametrize("text", ["", "x.wav", "a~b~c.wav", "a~b~c~d~e.wav", "~~~~.wav", "~"])
def test_a_name_of_another_form_has_no_parts_but_keeps_its_text(text: str) -> None:
    name = parse_name(text)
    assert name.text == text
    assert name.parts() == {}


@pytest.mark.parametrize("part", ["", " ", "undefined", "null", "x" * (ID_CHARS_MAX + 1), "a\x07b"])
def test_a_part_that_makes_no_sense_is_none_and_the_others_stand(part: str) -> None:
    assert parse_name(f"g~{part}~{T0}~d.wav").parts() == {
        "group_id": "g", "time_ms": T0, "dialog_id": "d",
    }  # fmt: skip
    assert parse_name(f"{part}~a~{T0}~{part}.wav").parts() == {"account_id": "a", "time_ms": T0}


@pytest.mark.parametrize("time", ["", "now", "-1", "1763805600", str(T0 * 1000), "9" * 40, "١٢٣"])
def test_a_time_that_is_no_epoch_milliseconds_is_none(time: str) -> None:
    name = parse_name(f"g~a~{time}~d.wav")
    assert name.time_ms is None
    assert name.dialog_id == "d"


def test_a_name_that_is_too_long_is_not_cut_into_another_id() -> None:
    name = parse_name(f"g~a~{T0}~" + "d" * NAME_CHARS_MAX)
    assert name.parts() == {}
    assert len(name.text) == NAME_CHARS_MAX


@LAW
@given(st.text(max_size=60))
def test_any_text_is_a_name_whose_parts_are_bounded_and_printable(text: str) -> None:
    for value in parse_name(text).parts().values():
        assert isinstance(value, int) or (value.isprintable() and 0 < len(value) <= ID_CHARS_MAX)


def test_metadata_wins_over_the_name_and_contradictions_are_kept() -> None:
    name = name_with_metadata(WCR, {"dialog_id": "child", "account_id": "acme01", "time": str(T0)})
    assert name.dialog_id == "child"
    assert name.group_id == ROOT
    assert name.contradictions == ("dialog_id",)
    assert name.parts()["contradictions"] == ["dialog_id"]


def test_metadata_alone_is_enough_and_odd_metadata_adds_nothing() -> None:
    assert name_with_metadata("x.wav", {"group": "g", "time": T0}).parts() == {
        "group_id": "g", "time_ms": T0,
    }  # fmt: skip
    odd: dict[str, Any] = {"group": 5, "dialog_id": "undefined", "time": True, "account_id": None}
    assert name_with_metadata(WCR, odd) == parse_name(WCR)


@pytest.mark.parametrize(
    ("name", "of_dialog", "group_is", "found"),
    [
        (Name(group_id="g", dialog_id="d"), None, "call", ("g", "d")),
        (Name(group_id="g", dialog_id="d"), "c", "call", ("c", "d")),  # by its dialog first
        (Name(group_id="g"), None, "call", ("g", "g")),  # no dialog: the whole call's
        (Name(dialog_id="d"), None, "call", ("d", "d")),
        (Name(group_id="tenant", dialog_id="d"), None, "tenant", ("d", "d")),
        (Name(group_id="tenant", dialog_id="d"), "c", "tenant", ("c", "d")),
    ],
)
def test_which_call_a_recording_belongs_to(
    name: Name, of_dialog: str | None, group_is: Any, found: tuple[str, str]
) -> None:
    assert correlate(name, of_dialog, group_is) == found


@pytest.mark.parametrize(
    ("name", "group_is"), [(Name(), "call"), (Name(group_id="tenant"), "tenant")]
)
def test_without_a_usable_id_the_sender_is_told_what_to_send(name: Name, group_is: Any) -> None:
    with pytest.raises(Invalid, match="no usable name"):
        correlate(name, None, group_is)
