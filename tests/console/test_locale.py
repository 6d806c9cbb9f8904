"""Every text is in both languages with the same parameters; none is missing, none left over."""

from __future__ import annotations

import re
import tomllib
from datetime import UTC
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ocp_ingest
from ocp_ingest.entrypoints.console import formats
from ocp_ingest.entrypoints.console.locale import FOLDER, LANGS, Texts, chosen, params_of, texts

CONSOLE = FOLDER.parent
PACKAGE = Path(ocp_ingest.__file__).parent
FORMS = {"en", "es", "en_one", "es_one"}
_KEY = re.compile(r"""["']([a-z_]+\.[A-Za-z0-9_.\-]*)["']""")
# The beginning of a key whose end is filled in: f"calls.term.{term}", "calls.term." ~ term.
_STEM = re.compile(r"""["']([a-z_]+\.[A-Za-z0-9_.\-]*)(?:\{|["']\s*~)""")
_ASKED = re.compile(r"""(?<![\w.])t\(\s*["']([a-z_]+\.[A-Za-z0-9_.\-]+)["']\s*[,)]""")
_SAID = re.compile(
    r"""(?:say=|\.say\(visit, |_say\(visit, |\.text\(visit\.lang, )["']([a-z_]+\.[\w.\-]+)["']"""
)


def sources() -> dict[str, str]:
    """Templates and Python of the console, and what else of the package names its texts."""
    files = [*CONSOLE.rglob("*.html"), *PACKAGE.rglob("*.py")]
    return {str(file.relative_to(PACKAGE)): file.read_text("utf-8") for file in files}


def test_both_languages_have_every_text_with_the_same_parameters() -> None:
    for key, forms in texts().texts.items():
        assert set(forms) <= FORMS, key
        assert ("en_one" in forms) == ("es_one" in forms) or "en_one" in forms or "es_one" in forms
        wanted = params_of(forms["en"])
        assert params_of(forms["es"]) == wanted, key
        for form in ("en_one", "es_one"):
            assert params_of(forms.get(form, "")) <= wanted, (key, form)
            assert form not in forms or "n" in wanted, key
        for text in forms.values():
            assert text == text.strip() != "", key
            assert not re.search(r"\{[^a-z_}]|\{\w+[^\w}]", text), key  # names only


def test_no_text_holds_markup() -> None:
    for key, forms in texts().texts.items():
        for text in forms.values():
            assert not re.search(r"<[a-z/]|&[a-z]+;", text), key


def test_a_file_holds_the_texts_of_its_own_name() -> None:
    for file in FOLDER.glob("*.toml"):
        assert set(tomllib.loads(file.read_text("utf-8"))) == {file.stem}


def test_every_key_that_is_asked_for_is_there() -> None:
    held = texts()
    for file, source in sources().items():
        if "console" not in file:
            continue
        for key in [*_ASKED.findall(source), *_SAID.findall(source)]:
            assert key in held, (file, key)


def test_no_text_is_left_over() -> None:
    named: set[str] = set()
    begun: set[str] = set()
    for source in sources().values():
        named.update(_KEY.findall(source))
        begun.update(_STEM.findall(source))
    begun |= {name for name in named if name.endswith((".", "_"))}
    # "<file>." alone would excuse every text of a file: what follows it is begun elsewhere.
    whole = begun & {f"{file.stem}." for file in FOLDER.glob("*.toml")}
    stems = tuple((begun - whole) | {file + rest for file in whole for rest in begun})
    unused = [k for k in texts().texts if k not in named and not k.startswith(stems)]
    assert unused == []


def test_spanish_speaks_to_people_as_usted() -> None:
    familiar = re.compile(
        r"\b(tú|tu|tus|tienes|puedes|quieres|debes|eres|estás|haz|inténtalo|"
        r"contigo|prueba a)\b", re.IGNORECASE,
    )  # fmt: skip
    for key, forms in texts().texts.items():
        assert familiar.search(forms["es"]) is None, (key, forms["es"])


def test_a_text_has_its_plural_its_numbers_and_no_markup_of_its_own() -> None:
    held = Texts({"a.b": {"en": "{n} calls of {who}", "en_one": "{n} call of {who}",
                          "es": "{n} llamadas de {who}"}})  # fmt: skip
    assert held.text("en", "a.b", n=1, who="x") == "1 call of x"
    assert held.text("en", "a.b", n=12_345, who="{n}") == "12,345 calls of {n}"
    assert held.text("es", "a.b", n=12_345, who="x") == "12.345 llamadas de x"
    assert held.text("en", "a.c", "as it is") == "as it is"
    with pytest.raises(LookupError):
        held.text("en", "a.c")


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_header_and_cookie_give_a_language(cookie: str, accept: str) -> None:
    assert chosen(cookie, accept, "es") in LANGS


# -- numbers, times -------------------------------------------------------------------------------

AT_MS = 1_795_341_600_123  # 2026-11-22T10:00:00.123Z


def test_numbers_are_written_as_each_language_writes_them() -> None:
    assert formats.number(1_234_567, "es") == "1.234.567"
    assert formats.number(1_234_567.25, "en") == "1,234,567.2"
    assert formats.number(0.5, "es") == "0,5"
    assert formats.number(3.0, "en") == "3"
    assert formats.size(1_500_000, "es") == "1,5 MB"
    assert formats.size(999, "en") == "999 B"
    assert formats.size(999_999, "en") == "1 MB"
    assert formats.size(None, "en") == formats.NOTHING


def test_a_share_is_whole_only_when_nothing_is_missing() -> None:
    assert formats.percent(1.0, "es") == "100 %"
    assert formats.percent(0.999_999_9, "en") == "99.99%"
    assert formats.percent(0.000_001, "en") == "0.01%"
    assert formats.percent(0.0, "en") == "0%"
    assert formats.percent(0.9991, "es") == "99,91 %"
    assert formats.percent(0.5, "en", 0) == "50%"
    assert formats.percent(None, "en") == formats.NOTHING


def test_times_are_shown_in_the_sites_zone_and_marked_up_in_utc() -> None:
    madrid = ZoneInfo("Europe/Madrid")
    assert formats.moment(AT_MS, "es", madrid) == "22 nov 2026, 11:00:00"
    assert formats.moment(AT_MS, "en", UTC) == "22 Nov 2026, 10:00:00"
    assert formats.iso(AT_MS) == "2026-11-22T10:00:00.123Z"
    assert formats.day("20260901", "es") == "1 sept 2026"
    assert formats.day("nonsense", "es") == "nonsense"


def test_lengths_and_ages_say_what_matters() -> None:
    assert formats.span(200_000, "es") == "3 min 20 s"
    assert formats.span(7_200_000, "en") == "2 h"
    assert formats.span(7_205_000, "en") == "2 h"
    assert formats.span(90_061_000, "en") == "1 d 1 h"
    assert formats.span(850, "en") == "850 ms"
    assert formats.span(0, "en") == "0 ms"
    assert formats.span(-61_000, "en") == "-1 min 1 s"
    assert formats.ago(AT_MS - 200_000, AT_MS, "es") == "hace 3 min 20 s"
    assert formats.ago(AT_MS - 45 * 60_000 - 5_000, AT_MS, "en") == "45 min ago"
    assert formats.ago(AT_MS + 60_000, AT_MS, "es") == "en 1 min"
    assert formats.ago(AT_MS, AT_MS, "en") == "1 s ago"


@given(st.integers(-(10**14), 10**14), st.sampled_from(["en", "es"]))
def test_any_length_has_at_most_two_units(length_ms: int, lang: str) -> None:
    said = formats.span(length_ms, lang)
    assert 1 <= len(re.findall(r"ms|min|[dhs]", said)) <= 2
