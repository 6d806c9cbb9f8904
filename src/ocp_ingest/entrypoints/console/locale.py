"""The console's texts: `locale/*.toml`, one table per text, both languages side by side.

    [calls.found]            key: `<file>.<name>`, names may go deeper
    en = "{n} calls found"   {name} is filled in; numbers get the language's separators
    en_one = "{n} call found"        taken when the parameter n is 1
    es = "…"

Texts are plain: whatever marks them up is in the templates, so a filled-in value can't be markup.
A key that is not there is a bug and raises; where the last part is a word from outside (a kind of
incident), `_or` says what is shown for one that nobody has translated yet.
"""

from __future__ import annotations

import functools
import string
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from ocp_ingest.entrypoints.console.formats import number

Lang = Literal["en", "es"]
LANGS: Final[tuple[Lang, ...]] = ("es", "en")
FOLDER: Final = Path(__file__).parent / "locale"


class Texts:
    """All texts, by key."""

    def __init__(self, texts: Mapping[str, Mapping[str, str]]) -> None:
        self.texts = dict(texts)

    def __contains__(self, key: str) -> bool:
        return key in self.texts

    def text(self, lang: Lang, key: str, _or: str | None = None, **params: Any) -> str:
        """A text with its parameters. Raises LookupError for an unknown key without `_or`."""
        forms = self.texts.get(key)
        if forms is None:
            if _or is None:
                raise LookupError(f"no text of key {key!r}")
            return _or
        form = forms.get(f"{lang}_one") if params.get("n") == 1 else None
        said = {name: _word(value, lang) for name, value in params.items()}
        return (form or forms[lang]).format_map(said)


def _word(value: Any, lang: Lang) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number(value, lang)
    return str(value)


@functools.cache
def texts() -> Texts:
    """The texts of the package. Raises LookupError for a key that has not both languages."""
    found: dict[str, Mapping[str, str]] = {}
    for file in sorted(FOLDER.glob("*.toml")):
        _collect(tomllib.loads(file.read_text("utf-8")), "", found)
    return Texts(found)


def _collect(tree: Mapping[str, Any], prefix: str, found: dict[str, Mapping[str, str]]) -> None:
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if not isinstance(value, Mapping):
            raise LookupError(f"{key!r} is no table of languages")
        if any(isinstance(below, Mapping) for below in value.values()):
            _collect({k: v for k, v in value.items() if isinstance(v, Mapping)}, f"{key}.", found)
        if any(isinstance(below, str) for below in value.values()):
            found[key] = {k: v for k, v in value.items() if isinstance(v, str)}
            if missing := [lang for lang in LANGS if lang not in found[key]]:
                raise LookupError(f"{key!r} lacks {missing}")


def params_of(text: str) -> set[str]:
    """Names that a text wants filled in."""
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def chosen(cookie: str, accept_language: str, default: Lang) -> Lang:
    """The language to answer in: chosen before, else the browser's first that we have."""
    if cookie in LANGS:
        return cookie
    ranked: list[tuple[float, int, Lang]] = []
    for position, part in enumerate(accept_language.split(",")[:_LANGUAGES_MAX]):
        tag, _, rest = part.strip().partition(";")
        primary = tag.split("-")[0].strip().lower()
        if primary in LANGS:
            ranked.append((-_quality(rest), position, primary))
    best = min(ranked, default=None)
    return default if best is None or best[0] == 0 else best[2]


_LANGUAGES_MAX: Final = 20  # browsers send up to ten


def _quality(rest: str) -> float:
    name, _, value = rest.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return min(1.0, max(0.0, float(value)))
    except ValueError:
        return 0.0
