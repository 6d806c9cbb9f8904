"""What holds for every route, whichever they are: a session, a token, the headers, the scope."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import pytest

from ocp_ingest.entrypoints.console.app import routes_of
from ocp_ingest.entrypoints.console.limits import BURST, ENTRIES_MAX, Rates, Waits, network_of
from ocp_ingest.entrypoints.console.security import CSP
from tests.console.kit import Client, Page, Site
from tests.console.kit import site as site_of

# Everything that a stranger may ask for; a route that is added here is a decision.
OPEN = {
    "/login",
    "/login/start",
    "/login/provider",
    "/left",
    "/preferences",
    "/static/{tag}/{name}",
}
PROVIDER = {
    "issuer": "https://login.example", "client_id": "console", "client_secret": "s" * 20,
    "authorization_url": "https://login.example/a", "token_url": "https://login.example/t",
    "jwks_url": "https://login.example/k", "groups": {"g": {"role": "viewer", "lobs": ["*"]}},
}  # fmt: skip
SETTINGS = {"public_url": "https://console.example", "secure_cookies": "never", "oidc": PROVIDER}
HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Route(NamedTuple):
    """One method of one path."""

    method: str
    template: str

    def path(self, call_id: str = "no-such-call") -> str:
        """A path of it."""
        filled = re.sub(r"\{call_id\}", quote(call_id, safe=""), self.template)
        return "/console" + re.sub(r"\{[^}]*\}", "none", filled)


def routes(site: Site) -> list[Route]:
    """All that the console answers to."""
    return sorted(
        {
            Route(str(method), re.sub(r":\w+\}", "}", path) or "/")
            for handler in routes_of(site.console)
            for path in handler.paths
            for method in handler.http_methods
        }
    )


async def test_every_route_but_the_open_ones_needs_a_session(tmp_path: Path) -> None:
    async with site_of(tmp_path, console=SETTINGS) as site:
        found = routes(site)
        assert {route.template for route in found} >= OPEN
        for route in found:
            if route.template in OPEN:
                continue
            page = await site.stranger().ask(route.method, route.path(), follow=False)
            assert page.status == 303, route
            assert page.location.partition("?")[0] == "/console/login", route


async def test_every_route_that_may_change_something_needs_the_token_of_its_session(
    site: Site,
) -> None:
    client, other = await site.login("operator"), await site.login("operator")
    changing = [route for route in routes(site) if route.method not in ("GET", "HEAD")]
    assert {route.method for route in changing} == {"POST"}
    for route in changing:
        for csrf in ("", "x", other.token, client.token[:-1], site.console.seal.tag("csrf", "")):
            page = await client.post(route.path(), csrf=csrf, follow=False, reason="because")
            assert page.status == 403, (route, csrf)
            assert "too old, or from another session" in page.text


@pytest.mark.parametrize(
    ("headers", "taken"),
    [
        ({}, True), ({"Sec-Fetch-Site": "same-origin"}, True), ({"Sec-Fetch-Site": "none"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, False), ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "null"}, True), ({"Origin": "null"}, True),
        ({"Origin": "https://evil.example"}, False), ({"Origin": "ours"}, True),
        ({"Origin": "http://127.0.0.1:1"}, False),
    ],
)  # fmt: skip
async def test_a_form_of_another_site_is_refused_even_with_the_token(
    site: Site, headers: dict[str, str], taken: bool
) -> None:
    client = await site.login("viewer")
    sent = {key: site.base if value == "ours" else value for key, value in headers.items()}
    sent |= {"Content-Type": "application/x-www-form-urlencoded"}
    page = await client.ask(
        "POST", "/console/logout", follow=False, headers=sent, data=f"csrf={client.token}".encode()
    )
    assert page.status == (303 if taken else 403)


async def test_the_token_may_come_as_a_header(site: Site) -> None:
    client = await site.login("viewer")
    headers = {"X-CSRF-Token": client.token, "HX-Request": "true"}
    page = await client.ask("POST", "/console/logout", follow=False, headers=headers)
    assert page.status == 303


async def test_without_cookies_the_log_in_says_what_is_wrong(site: Site) -> None:
    page = await site.stranger().ask(
        "POST", "/console/login", data=b"csrf=x&name=viewer&password=x",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )  # fmt: skip
    assert page.status == 403
    assert "Allow cookies" in page.text


async def test_every_answer_carries_the_headers_and_no_page_is_kept(site: Site) -> None:
    client, stranger = await site.login("operator"), site.stranger()
    made = await site.stored()
    answers: list[Page] = [
        await who.ask(route.method, route.path(made.call_id), follow=False)
        for route in routes(site) for who in (client, stranger)
    ]  # fmt: skip
    answers += [
        await stranger.get(path, follow=False)
        for path in ("/console", "/console/", "/console/nowhere", "/console/static/x/none.css")
    ]
    answers.append(await client.ask("PUT", "/console/login"))
    for page in answers:
        for name, value in HEADERS.items():
            assert page.headers.getall(name) == [value], (page.url, name)
        cached = page.headers["Cache-Control"]
        assert cached == "no-store" or "/static/" in page.url or "private" in cached, page.url


async def test_no_page_has_script_or_style_that_the_policy_forbids(site: Site) -> None:
    client = await site.login("operator")
    for made in (await site.stored(), await site.quarantined(), await site.in_flight()):
        for route in routes(site):
            if route.method != "GET":
                continue
            page = await client.get(route.path(made.call_id), follow=False)
            if not page.headers["Content-Type"].startswith("text/html"):
                continue
            for forbidden in (r"<style", r"\sstyle\s*=", r"<script(?![^>]* src=\")", r"\son[a-z]+=",
                              r"javascript:", r"https?://(?!www\.w3\.org/)", r"hx-on"):  # fmt: skip
                found = re.search(forbidden, page.html, re.IGNORECASE)
                assert found is None, (route, page.html[max(0, found.start() - 80) :][:200])


# -- another's calls ------------------------------------------------------------------------------


def call_routes(site: Site) -> Iterator[Route]:
    """Every route about one call."""
    return (route for route in routes(site) if "{call_id}" in route.template)


def told(page: Page, call_id: str, client: Client) -> tuple[int, str]:
    """What a page tells, without the id that was asked for."""
    body = page.html.replace(client.token, "TOKEN")
    for written in (quote(quote(call_id, safe=""), safe=""), quote(call_id, safe=""), call_id):
        body = body.replace(written, "CALL")
    return page.status, body


async def test_nobody_learns_that_another_line_of_business_has_a_call(site: Site) -> None:
    client = await site.login("cards_operator")
    theirs = [await site.stored(), await site.quarantined(), await site.in_flight()]
    unknown_lob = await site.in_flight("nobodys-app")
    for route in call_routes(site):
        for call_id in (*(made.call_id for made in theirs), unknown_lob.call_id):
            absent = call_id[:-4] + "beef"
            for given in ("", "a reason of a few words"):
                answers = []
                for asked in (call_id, absent):
                    if route.method != "POST":
                        page = await client.ask(route.method, route.path(asked), follow=False)
                    else:
                        page = await client.post(
                            route.path(asked), follow=False, reason=given, dialog_id=asked
                        )
                    answers.append(told(page, asked, client))
                assert answers[0] == answers[1], (route, call_id)
                if route.method != "POST" or given:
                    assert answers[0][0] in (404, 403), (route, answers[0][0])
        assert (await site.call(theirs[0].call_id)).acts == {}


async def test_their_own_calls_are_theirs(site: Site) -> None:
    client = await site.login("cards_operator")
    mine = await site.stored("cards-voice")
    page = await client.get(f"/console/calls/{quote(mine.call_id, safe='')}")
    assert page.status == 200


@pytest.mark.parametrize(
    "call_id", ["a/b", "a%2Fb", "ñ ?#&=", "<script>alert(1)</script>", "é" * 200]
)
async def test_a_call_id_of_any_characters_is_looked_up_and_shown_as_text(
    site: Site, call_id: str
) -> None:
    client = await site.login("viewer")
    page = await client.get(f"/console/calls/{quote(call_id, safe='')}")
    assert page.status == 404
    assert "<script>alert" not in page.html
    assert "There is no call of that id" in page.text


# -- rates ----------------------------------------------------------------------------------------


async def test_a_session_that_asks_too_much_is_told_to_wait(tmp_path: Path) -> None:
    now = [1e9]
    async with site_of(tmp_path, now_s=lambda: now[0]) as site:
        client, other = await site.login("viewer"), await site.login("viewer")
        statuses = [(await client.get("/console/nowhere")).status for _ in range(int(BURST) + 5)]
        assert statuses.count(429) >= 5
        assert set(statuses) == {404, 429}
        page = await client.get("/console/nowhere")
        assert page.status == 429
        assert page.headers["Retry-After"] == "1"
        assert "Too many requests" in page.text
        assert (await other.get("/console/nowhere")).status == 404
        assert (await client.get(site.console.pages.assets.url("console.css"))).status == 200
        now[0] += 1
        assert (await client.get("/console/nowhere")).status == 404


def test_limits_hold_bounded_memory_and_forget_the_oldest() -> None:
    waits, rates = Waits(60.0, entries_max=10), Rates(entries_max=10)
    for number in range(1_000):
        waits.failed(f"n{number}", float(number))
        rates.take(f"n{number}", float(number))
    assert len(waits) == len(rates) == 10
    assert ENTRIES_MAX * 200 < 4_000_000


def test_waits_double_to_their_bound_and_a_clock_set_back_frees_nobody() -> None:
    waits, now_s, waited = Waits(60.0), 0.0, []
    for _ in range(20):
        waits.failed("a", now_s)
        waited.append(waits.left_s("a", now_s))
        now_s += waited[-1]
    assert waited[:11] == [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60]
    assert waits.left_s("a", now_s - 100) > 60
    assert waits.left_s("b", now_s) == 0


def test_an_address_counts_as_its_network() -> None:
    assert network_of("2001:db8:1:2:3::4") == network_of("2001:db8:1:2:ffff::1")
    assert network_of("::ffff:10.0.0.1") == network_of("10.0.0.1") == "10.0.0.1"
    assert network_of("10.0.0.1") != network_of("10.0.0.2")
    assert network_of("x") == network_of("") == "unknown"
