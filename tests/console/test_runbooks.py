"""Runbooks as pages: each is there, leads to others, and lets no HTML or path through."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ocp_ingest.core.errors import NotFound
from ocp_ingest.core.incidents import INCIDENT_KINDS
from ocp_ingest.entrypoints.console import runbooks
from ocp_ingest.entrypoints.console.runbooks import html_of
from tests.console.kit import Site


def test_every_kind_of_incident_has_a_runbook() -> None:
    assert runbooks.names() >= INCIDENT_KINDS.keys()


@pytest.mark.parametrize("name", sorted(runbooks.names()))
def test_every_runbook_renders_and_leads_only_to_runbooks_that_are_there(name: str) -> None:
    html = runbooks.rendered(name)
    assert len(html) > 100
    for target in re.findall(r'href="([^"]*)"', html):
        below = target.removeprefix("/console/runbooks").lstrip("/")
        assert target.startswith("/console/runbooks")
        assert not below or below in runbooks.names()
    assert "style=" not in html
    assert not re.search(r"<(script|img|iframe|h1)\b", html)


@pytest.mark.parametrize(
    ("text", "shown", "never"),
    [
        ("<script>alert(1)</script>", "&lt;script&gt;", "<script"),
        ("a <b onclick=x>b</b>", "&lt;b onclick=x&gt;", "<b "),
        ("[go](javascript:alert(1))", "", "<a"),
        ("[go](https://evil.example/x)", "go (https://evil.example/x)", "<a"),
        ("[go](//evil.example/x.md)", "go (", "<a"),
        ("[go](../how-to/operate.md#incidents)", "go (docs/how-to/operate.md)", "<a"),
        ("[go](nothing_of_ours.md)", "go (docs/runbooks/nothing_of_ours.md)", "<a"),
        ("[go](group_blocked.txt)", "go (docs/runbooks/group_blocked.txt)", "<a"),
        ("[go](#part)", "go</p>", "<a"),
        ("![pic](http://x/y.png)", "pic", "<img"),
        ("```sh\na <b> & c\n```", "a &lt;b&gt; &amp; c", "<b>"),
    ],
)
def test_what_is_not_ours_stays_text(text: str, shown: str, never: str) -> None:
    html = html_of(text)
    assert shown in html
    assert never not in html


def test_links_among_runbooks_are_kept() -> None:
    assert '<a href="/console/runbooks/group_blocked">so</a>' in html_of(
        "[so](group_blocked.md#do) and [all](README.md)"
    )
    assert '<a href="/console/runbooks">all</a>' in html_of("[all](README.md)")


def test_cells_carry_their_columns_names_for_small_screens() -> None:
    html = html_of("|A|B & C|\n|-|-|\n|1|2|\n|3|4|\n\n|D|E|\n|-|-|\n|5|6|\n")
    assert html.count('<td data-label="B &amp; C"><span>') == 2
    assert html.count('<td data-label="E"><span>') == 1
    assert html.count("<td><span>") == 3, "the first cell of a row is its name"
    assert html.count('<th scope="col">') == 4


def test_a_title_is_the_pages_and_not_said_twice() -> None:
    assert html_of("# One\n\ntext\n") == "<p>text</p>\n"
    assert "two" in html_of("text\n\n# two\n")


def test_a_name_is_never_a_path() -> None:
    for name in ("../README", "..%2f..%2fpyproject", "/etc/passwd", "nothing"):
        with pytest.raises(NotFound):
            runbooks.rendered(name)
        assert runbooks.runbook_url(name) is None


def test_the_package_s_own_copy_goes_before_the_checkout_s() -> None:
    packaged, checkout = runbooks.FOLDERS
    assert packaged.parts[-2:] == ("ocp_ingest", "runbooks")
    assert checkout == Path(__file__).parents[2] / "docs" / "runbooks"


async def test_pages_have_the_incidents_title_in_the_persons_language(site: Site) -> None:
    client = await site.login("viewer")
    page = await client.get("/console/runbooks/group_blocked")
    assert page.status == 200
    assert "a group's exports are blocked" in page.text.lower()
    await client.get("/console/preferences?lang=es")
    page = await client.get("/console/runbooks/group_blocked")
    assert "Las exportaciones de un grupo están bloqueadas" in page.text
    assert '<article class="card runbook" lang="en">' in page.html


async def test_only_runbooks_are_served_and_only_to_people(site: Site) -> None:
    client = await site.login("viewer")
    assert (await client.get("/console/runbooks")).status == 200
    for name in ("README", "nothing", "..%2F..%2Fpyproject", "%2e%2e%2fREADME"):
        assert (await client.get(f"/console/runbooks/{name}")).status == 404
    page = await site.stranger().get("/console/runbooks/group_blocked", follow=False)
    assert page.status == 303
