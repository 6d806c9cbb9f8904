"""The frame of every page: languages, themes, static files, errors, notices, ways in."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from urllib.parse import quote

import pytest
from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from litestar.response import Response

from ocp_ingest.core import errors
from ocp_ingest.entrypoints.console import app as app_module
from ocp_ingest.entrypoints.console.assets import Assets
from ocp_ingest.entrypoints.console.deps import Console
from ocp_ingest.entrypoints.console.page import (
    AnyRequest,
    call_url,
    form_of,
    local_path,
    url,
    visit_of,
)
from tests.console.kit import PASSWORD, Site
from tests.console.kit import site as site_of


async def test_a_stranger_is_taken_to_the_log_in_and_then_where_they_wanted(site: Site) -> None:
    stranger, wanted = site.stranger(), "/console/runbooks/x?a=1"
    page = await stranger.get(wanted, follow=False)
    assert (page.status, page.location) == (303, f"/console/login?next={quote(wanted, safe='')}")
    assert quote(wanted) not in (await stranger.get(page.location)).headers
    page = await stranger.post(
        "/console/login", follow=False, name="viewer", password=PASSWORD, next=wanted
    )
    assert (page.status, page.location) == (303, wanted)


async def test_for_htmx_a_stranger_is_sent_from_the_whole_page(site: Site) -> None:
    page = await site.stranger().part(
        "/console/", HX_Current_URL=f"{site.base}/console/calls?stage=stored"
    )
    assert page.status == 403
    assert page.headers["HX-Redirect"] == "/console/login?next=%2Fconsole%2Fcalls%3Fstage%3Dstored"


@pytest.mark.parametrize("path", ["/", "/console"])
async def test_the_ways_to_the_console_lead_to_it(site: Site, path: str) -> None:
    page = await site.stranger().get(path, follow=False)
    assert (page.status in (303, 308), page.location) == (True, "/console/")
    page = await site.stranger().get(f"{path}?a=1", follow=False)
    assert page.location == ("/console/?a=1" if path == "/console" else "/console/")


async def test_the_api_stays_as_it_was_and_its_document_has_no_console(site: Site) -> None:
    stranger = site.stranger()
    document = await stranger.get("/schema/openapi.json")
    assert "/console" not in document.html
    assert (await stranger.get("/healthz")).status == 200
    problem = await stranger.get("/v1/nowhere")
    assert problem.headers["Content-Type"] == "application/problem+json"


async def test_switched_off_there_is_no_console(tmp_path: Path) -> None:
    from ocp_ingest.entrypoints.console.app import served
    from ocp_ingest.telemetry import Metrics

    async with site_of(tmp_path, console={"enabled": False}) as off:
        assert served(off.desk, off.config, metrics=Metrics()) == []
        on = app_module.served(None, off.config, metrics=Metrics())
        assert on == []


# -- language and theme ---------------------------------------------------------------------------


async def test_the_language_is_the_chosen_one_else_the_browsers_else_the_sites(
    tmp_path: Path,
) -> None:
    async with site_of(tmp_path, console={"default_lang": "es"}) as opened:
        client = opened.stranger()
        assert '<html lang="es"' in (await client.get("/console/login")).html
        for accept, lang in {
            "en-GB,en;q=0.9": "en", "de, en;q=0.5, es;q=0.8": "es", "fr": "es", "en;q=0": "es",
            "es;q=x, en;q=0.1": "en",
        }.items():  # fmt: skip
            page = await client.get("/console/login", Accept_Language=accept)
            assert f'<html lang="{lang}"' in page.html, accept
        page = await client.get("/console/preferences?lang=en&next=/console/login")
        assert '<html lang="en"' in page.html
        page = await client.get("/console/login", Accept_Language="es")
        assert '<html lang="en"' in page.html


async def test_the_theme_is_kept_and_only_words_of_ours_are_taken(site: Site) -> None:
    client = site.stranger()
    assert 'data-theme="auto"' in (await client.get("/console/login")).html
    page = await client.get("/console/preferences?theme=dark&next=/console/login")
    assert 'data-theme="dark"' in page.html
    page = await client.get("/console/preferences?theme=%22onload&lang=xx&next=/console/login")
    assert 'data-theme="dark"' in page.html
    forged = await site.stranger().get("/console/login", Cookie='ocp-theme="x; ocp-lang=>')
    assert '<html lang="en" data-theme="auto">' in forged.html


@pytest.mark.parametrize(
    "outside",
    ["https://evil.example/", "//evil.example", "/\\evil.example", "/console/../v1", "/v1/calls",
     "/console/%2E%2e/v1", "/consoles", "/console/\r\nX: y", "/console/ x",
     "/console/" + "x" * 3_000, "", "javascript:1"],
)  # fmt: skip
def test_a_way_on_that_came_from_outside_leads_nowhere_else(outside: str) -> None:
    assert local_path(outside) == "/console/"


def test_a_way_on_inside_the_console_is_kept() -> None:
    for inside in ("/console", "/console/calls/a%2Fb?x=1&y=a..b", "/console?x=1"):
        assert local_path(inside) == inside


def test_paths_are_built_below_the_console_and_encoded_whole() -> None:
    assert url("/calls", stage="stored", empty="", none=None, from_="x") == (
        "/console/calls?stage=stored&from=x"
    )
    assert url("/console/calls?a=1", b=["x", "y z"]) == "/console/calls?a=1&b=x&b=y+z"
    assert call_url("a/b?c#d e", "audio", t=1) == "/console/calls/a%2Fb%3Fc%23d%20e/audio?t=1"


# -- static files ---------------------------------------------------------------------------------


async def test_static_files_are_kept_for_a_year_under_the_hash_of_their_content(
    site: Site,
) -> None:
    client = site.stranger()
    for name, kind in {
        "console.css": "text/css; charset=utf-8", "console.js": "text/javascript; charset=utf-8",
        "icon.svg": "image/svg+xml", "vendor/htmx-2.0.11.min.js": "text/javascript; charset=utf-8",
    }.items():  # fmt: skip
        page = await client.get(site.console.pages.assets.url(name))
        assert (page.status, page.headers["Content-Type"]) == (200, kind)
        assert page.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert page.cookies == []
        old = await client.get(f"/console/static/000000000000/{name}")
        assert (old.body, old.headers["Cache-Control"]) == (page.body, "no-cache")


async def test_a_static_file_is_packed_for_who_takes_it(site: Site) -> None:
    path = site.console.pages.assets.url("console.css")
    import aiohttp

    async with aiohttp.ClientSession(auto_decompress=False) as session:
        async with session.get(site.base + path, headers={"Accept-Encoding": "gzip"}) as answer:
            packed = await answer.read()
            assert answer.headers["Content-Encoding"] == "gzip"
            assert answer.headers["Vary"] == "Accept-Encoding"
        async with session.get(site.base + path, headers={"Accept-Encoding": "br"}) as answer:
            plain = await answer.read()
            assert "Content-Encoding" not in answer.headers
    assert gzip.decompress(packed) == plain
    assert len(packed) < len(plain) / 2


@pytest.mark.parametrize(
    "name", ["nothing.css", "..%2F..%2Fapp.py", "../app.py", "%2Fetc%2Fpasswd"]
)
async def test_nothing_else_is_a_static_file(site: Site, name: str) -> None:
    page = await site.stranger().get(f"/console/static/x/{name}", follow=False)
    assert page.status in (303, 404)


def test_a_changed_file_has_another_address(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text("a {}")
    (tmp_path / "secret.py").write_text("x")
    before = Assets(tmp_path)
    assert before.find("secret.py") is None
    (tmp_path / "a.css").write_text("b {}")
    assert Assets(tmp_path).url("a.css") != before.url("a.css")
    with pytest.raises(LookupError):
        before.url("b.css")


# -- errors and notices ---------------------------------------------------------------------------

FAULTS: dict[str, tuple[Exception, int]] = {
    "invalid": (errors.Invalid("Field `x` is wrong."), 400),
    "denied": (errors.Denied("Not yours.", authenticated=True), 403),
    "missing": (errors.NotFound("There is no such thing."), 404),
    "conflict": (errors.Conflict("Somebody else was faster."), 409),
    "large": (errors.TooLarge("Over 1 KiB."), 413),
    "later": (errors.Transient("The store is busy.", retry_after_s=2.5), 503),
    "terminal": (errors.Terminal("A person must look."), 500),
    "bug": (ZeroDivisionError("secret 600123456"), 500),
    "said": (errors.NotFound("English.", say="shell.error.no_call"), 404),
}


def _routes(console: Console) -> list[HTTPRouteHandler]:
    @get("/fault/{name:str}")
    async def fault(name: FromPath[str]) -> Response[bytes]:
        raise FAULTS[name][0]

    @post("/act")
    async def act(request: AnyRequest) -> Response[bytes]:
        form = await form_of(request, "why", "missing")
        assert form["missing"] == ""
        return console.go("/calls/none", "login.why.no_group", visit=visit_of(request),
                          tone="warn", name=form["why"])  # fmt: skip

    return [fault, act]


async def test_an_error_is_a_page_in_the_persons_language_and_a_notice_for_htmx(
    tmp_path: Path,
) -> None:
    async with site_of(tmp_path, more=_routes) as opened:
        client = await opened.login("viewer")
        for name, (bad, status) in FAULTS.items():
            path = f"/console/fault/{name}"
            page, part = await client.get(path), await client.part(path)
            assert page.status == part.status == status, name
            assert page.headers["Content-Type"] == "text/html; charset=utf-8"
            assert 'aria-label="Areas"' in page.html  # the whole frame, with the way out
            assert part.html.startswith('<div class="notice notice--bad" role="alert">')
            if name != "bug":
                said = "There is no call of that id among" if name == "said" else str(bad)
                assert said in page.text
                assert said in part.text
            if name == "later":
                assert page.headers["Retry-After"] == part.headers["Retry-After"] == "3"
        bug = await client.get("/console/fault/bug")
        assert "600123456" not in bug.text
        await client.get("/console/preferences?lang=es&next=/console/login")
        spanish = await client.get("/console/fault/conflict")
        assert "Alguien se ha adelantado" in spanish.text
        assert '<p class="muted" lang="en">Somebody else was faster.</p>' in spanish.html
        assert re.search(r'<code class="mono">[0-9a-f]{16}</code>', bug.html)


async def test_a_notice_is_shown_once_on_the_next_page_and_is_plain_text(tmp_path: Path) -> None:
    async with site_of(tmp_path, more=_routes) as opened:
        client = await opened.login("viewer")
        page = await client.post("/console/act", why="<b>Ana</b> ñ")
        assert page.status == 404
        assert 'class="notice notice--warn" role="status" data-notice' in page.html
        assert "You are known as &lt;b&gt;Ana&lt;/b&gt; ñ, but" in page.html
        assert "data-notice" not in (await client.get("/console/nowhere")).html
        gone = await client.post("/console/act", htmx=True, why="x", follow=False)
        assert (gone.status, gone.headers["HX-Redirect"]) == (200, "/console/calls/none")


async def test_a_forged_notice_is_not_shown(tmp_path: Path) -> None:
    async with site_of(tmp_path, more=_routes) as opened:
        client = await opened.login("viewer")
        client.session.cookie_jar.update_cookies({opened.console.cookies.said: "forged"})
        assert "data-notice" not in (await client.get("/console/nowhere")).html


async def test_a_form_is_bounded_and_urlencoded(tmp_path: Path) -> None:
    async with site_of(tmp_path, more=_routes) as opened:
        client = await opened.login("viewer")
        many = await client.post("/console/act", fields=[("a", "b")] * 300)
        assert many.status == 400
        headers = {"Content-Type": "application/json", "X-CSRF-Token": client.token}
        other = await client.ask("POST", "/console/act", headers=headers, data=b'{"why": "x"}')
        assert other.status == 400
        large = await client.post("/console/act", why="x" * 70_000)
        assert large.status == 413


async def test_a_method_that_a_page_does_not_take_is_a_page_too(site: Site) -> None:
    client = await site.login("viewer")
    page = await client.ask("DELETE", "/console/login")
    assert page.status == 405
    assert "GET" in page.headers["Allow"]
    assert "That can't be done here" in page.text


async def test_the_metrics_name_routes_by_template(site: Site) -> None:
    client = await site.login("viewer")
    await client.get("/console/nowhere/at/all")
    text = (await client.get("/metrics")).text
    assert 'route="/console/login"' in text
    assert "nowhere" not in text


async def test_the_page_tells_who_is_here_and_where(site: Site) -> None:
    client = await site.login("cards_operator")
    page = await client.get("/console/nowhere")
    assert "cards_operator" in page.text
    assert 'title="Sees: cards"' in page.html
    listed = await client.get("/console/calls/none")
    assert re.search(r'href="/console/calls" data-go="c" aria-current="page"', listed.html)
    assert page.html.count("aria-current") == 0
