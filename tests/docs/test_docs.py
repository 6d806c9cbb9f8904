"""The pages say what the code says, and everything that they point to is there."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import typer

from ocp_ingest import config
from ocp_ingest.core.incidents import INCIDENT_KINDS
from ocp_ingest.entrypoints.api.openapi import document
from ocp_ingest.entrypoints.cli import app
from ocp_sim.config import Settings as SimSettings
from tests.docs.pages import (
    DOCS,
    PAGES,
    ROOT,
    blocks,
    code,
    headings,
    links,
    name,
    prose,
    slugs,
    spans,
)

pytestmark = pytest.mark.usefixtures("_no_environment")

each_page = pytest.mark.parametrize("page", PAGES, ids=name)


@pytest.fixture
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the developer's shell configures must not decide."""
    monkeypatch.delenv("OCP_INGEST_CONFIG", raising=False)


# -- nothing is missing, nothing is left over ----------------------------------------------------


def _loaded(path: str) -> Any:
    """A module that is in no package, by its file."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RUNBOOKS: Final = sorted((DOCS / "runbooks").glob("[!R]*.md"))


def test_every_incident_and_alarm_has_a_runbook_and_every_runbook_one_of_them() -> None:
    alarms = _loaded("infra/ocp_infra/alarm_names.py").ALARMS
    assert {page.stem for page in RUNBOOKS} == {*INCIDENT_KINDS, *alarms}


@pytest.mark.parametrize("page", RUNBOOKS, ids=lambda page: page.stem)
def test_a_runbook_says_what_it_means_where_to_look_what_to_do_and_when_it_is_over(
    page: Path,
) -> None:
    said = re.findall(r"(?m)^\*\*([A-Z][a-z ]+)\.\*\*", prose(page))
    parts = ["Means", "You see", "Find the cause", "Do", "Closes"]
    if page.stem not in INCIDENT_KINDS:
        parts = ["Means", "How bad", "Find the cause", "Do", "Over"]
    assert [part for part in said if part in parts] == parts
    assert headings(page) == [page.stem]


@pytest.mark.parametrize("kind", sorted(INCIDENT_KINDS))
def test_the_runbook_of_an_incident_says_where_to_look_on_aws(kind: str) -> None:
    text = (DOCS / "runbooks" / f"{kind}.md").read_text("utf-8")
    assert "**On AWS.**" in text or "--runtime aws" in text or "${BUCKET_PREFIX}" in text


@pytest.mark.parametrize("folder", ["runbooks", "decisions"])
def test_the_list_of_a_folder_names_each_of_its_pages_once(folder: str) -> None:
    listed = links(DOCS / folder / "README.md")
    pages = [page.name for page in (DOCS / folder).glob("*.md") if page.name != "README.md"]
    assert sorted(to for to in listed if "/" not in to) == sorted(pages)


def test_every_page_is_reached_from_the_readme() -> None:
    seen, ahead = set[Path](), [ROOT / "README.md", DOCS / "index.md"]
    while ahead:
        page = ahead.pop()
        seen.add(page)
        found = {(page.parent / to.partition("#")[0]).resolve() for to in links(page)}
        ahead += [to for to in found - seen if to.suffix == ".md" and to.exists()]
    assert [name(page) for page in PAGES if page not in seen] == []


def test_the_generated_pages_are_current() -> None:
    assert _loaded("tools/docs.py").stale() == [], "run make docs"


# -- what is pointed to exists -------------------------------------------------------------------


@each_page
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in slugs(target), f"{link}: no such heading"


@each_page
def test_every_file_of_the_sources_and_tests_that_is_named_exists(page: Path) -> None:
    for span in spans(page):
        if re.fullmatch(r"(src|tests|tools|requirements|docs)/[\w./-]+", span):
            assert (ROOT / span).exists(), span


@each_page
def test_every_command_and_option_exists(page: Path) -> None:
    for line in code(page):
        for said in re.findall(r"(?:^|[ /`(])ocp-ingest ((?:[a-z-]+ ?)+[^|;#)]*)", line):
            _follow(said.split())


def _follow(words: list[str]) -> None:
    command: Any = typer.main.get_command(app)
    while groups := getattr(command, "commands", None):
        assert words, f"{command.name} needs a command"
        if words[0].startswith("--"):  # an option of a group
            return
        assert words[0] in groups, f"ocp-ingest has no command {words[0]}"
        command, words = groups[words[0]], words[1:]
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    for word in words:
        option = word.strip("[]").partition("=")[0]
        assert not option.startswith("--") or option in known, f"{command.name} has no {option}"


# -- configuration -------------------------------------------------------------------------------


def _example() -> dict[str, Any]:
    """The commented example, with what it shows in its `#|` lines."""
    text = (ROOT / "ocp-ingest.toml").read_text("utf-8")
    shown = re.sub(r"(?m)^#\| ?(?:# (?=\w+ = ))?", "", text)
    return tomllib.loads(shown)


EXAMPLE: Final = _example()
# Tables whose entries a site names itself.
_NAMED: Final = {"auth.clients.<id>": "auth.clients.ocp", "lob.<name>.rules": "lob.sales.rules",
                 "lob.<name>": "lob.sales",
                 "console.oidc.groups.<name>": "console.oidc.groups.night-shift"}  # fmt: skip


def _section(path: str) -> Any:
    held: Any = EXAMPLE
    for step in _NAMED.get(path, path).split("."):
        assert isinstance(held, dict), path
        assert step in held, f"[{path}] is no section of ocp-ingest.toml"
        held = held[step]
    return held


@each_page
def test_every_section_and_key_that_is_named_exists(page: Path) -> None:
    for span in spans(page):
        found = re.fullmatch(r"\[([a-z][\w.<>]*)\](?: ([a-z]\w*)(?: = .*)?)?", span)
        if found is None:
            continue
        section = _section(found.group(1))
        assert found.group(2) is None or found.group(2) in section, span


@each_page
def test_every_configuration_that_is_shown_is_taken(page: Path) -> None:
    for text in blocks(page, "toml"):
        if text.startswith("# sim.toml"):
            msgspec.toml.decode(text, type=SimSettings)
        elif text.startswith("# site.toml"):
            config.parse(_deployed(tomllib.loads(text)))
        else:
            config.parse(tomllib.loads(text))


def _deployed(tree: dict[str, Any]) -> dict[str, Any]:
    """A site's file on AWS, with what the template and the secret add to it."""
    issuer = {"issuer": "https://issuer.example.com", "jwks_url": "https://issuer.example.com/k"}
    tree["auth"] = tree.get("auth", {}) | issuer
    tree["ocp"]["password"] = "from-the-secret"
    return tree


# -- what pages repeat of the code ---------------------------------------------------------------


def test_the_page_of_the_api_names_every_endpoint_and_no_other() -> None:
    paths = msgspec.json.decode(document(with_issuer=True))["paths"]
    page = " ".join(spans(DOCS / "reference" / "http-api.md"))
    said = set(
        re.findall(r"/(?:v1|oauth2|\.well-known|healthz|readyz|metrics|schema)[\w/{}.-]*", page)
    )
    assert said == set(paths)


def test_every_problem_of_validation_is_explained() -> None:
    source = (ROOT / "src" / "ocp_ingest" / "core" / "rules.py").read_text("utf-8")
    codes = set(re.findall(r'"((?:duration|content|identity|rule)\.\w+)"', source))
    assert len(codes) > 10
    assert codes <= set(spans(DOCS / "reference" / "data.md"))


def test_the_spanish_readme_has_the_same_parts() -> None:
    english, spanish = ROOT / "README.md", ROOT / "README.es.md"
    assert len(headings(english)) == len(headings(spanish))
    assert len(links(english)) == len(links(spanish))
    commands = [[_commands(text) for text in blocks(page)] for page in (english, spanish)]
    assert commands[0] == commands[1]


def _commands(block: str) -> list[str]:
    """The commands of a block, without their comments; a picture has none."""
    lines = [line.split("#")[0].split() for line in block.splitlines()]
    return [" ".join(words) for words in lines if words and words[0] in _PROGRAMS]


_PROGRAMS: Final = ("make", ".venv/bin/ocp-ingest")
