"""Log-in at a provider: only what its signed token says, for the browser that began it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.console.kit import Client, Page, Site
from tests.console.kit import site as site_of
from tests.console.provider import CLIENT, OTHER_KEY, SECRET, FakeProvider, provider

PUBLIC = "http://127.0.0.1:1"  # only ever compared with
GROUPS = {
    "night": {"role": "operator", "lobs": ["cards"]},
    "day": {"role": "operator", "lobs": ["banking"]},
    "audit": {"role": "auditor", "lobs": ["*"]},
}


@asynccontextmanager
async def outside(folder: Path, **oidc: Any) -> AsyncIterator[tuple[Site, FakeProvider]]:
    """A console whose people come from a provider."""
    async with provider() as fake:
        section = {
            "issuer": fake.url, "client_id": CLIENT, "client_secret": SECRET, "groups": GROUPS,
            "answer_s_max": 2.0, **oidc,
        }  # fmt: skip
        async with site_of(
            folder, people=False, console={"public_url": PUBLIC, "oidc": section}
        ) as site:
            yield site, fake


async def begin(client: Client, wanted: str = "") -> dict[str, str]:
    """Sends the person to the provider; what the address asks it for."""
    page = await client.get(f"/console/login/start{wanted}", follow=False)
    assert page.status == 303, page.text
    return {name: values[0] for name, values in parse_qs(urlsplit(page.location).query).items()}


async def come_back(client: Client, code: str, state: str) -> Page:
    """The provider sends the person back."""
    return await client.get(f"/console/login/provider?code={code}&state={state}", follow=False)


async def log_in(client: Client, fake: FakeProvider, wanted: str = "") -> Page:
    """The whole way."""
    asked = await begin(client, wanted)
    return await come_back(client, fake.authorize(asked), asked["state"])


async def test_a_person_of_a_mapped_group_gets_in_and_goes_on(tmp_path: Path) -> None:
    async with outside(tmp_path) as (site, fake):
        client = site.stranger()
        page = await client.get("/console/login?next=/console/calls%3Fstage%3Dstored")
        assert "Log in with your company&#39;s account" in page.html
        assert 'name="password"' not in page.html
        page = await log_in(client, fake, "?next=/console/calls%3Fstage%3Dstored")
        assert (page.status, page.location) == (303, "/console/calls?stage=stored")
        page = await client.get("/console/nowhere")
        assert page.status == 404
        assert "ana@example.com" in page.text
        assert 'title="Sees: cards"' in page.html
        assert fake.asked.count("discovery") == 1


async def test_rights_are_those_of_the_first_group_and_its_roles_lines_of_business(
    tmp_path: Path,
) -> None:
    async with outside(tmp_path) as (site, fake):
        for groups, role, sees in (
            (["audit"], "auditor", "every line of business"),
            (["day", "night", "x"], "operator", "banking, cards"),
            # The auditor's view must not widen what the operator may do.
            (["audit", "night"], "operator", "Sees: cards"),
            ("day", "operator", "Sees: banking"),
        ):
            fake.claims["groups"] = groups
            client = site.stranger()
            assert (await log_in(client, fake)).status == 303
            page = await client.get("/console/nowhere")
            assert role in page.text
            assert sees in page.text


async def test_a_name_is_one_that_somebody_proved(tmp_path: Path) -> None:
    async with outside(tmp_path) as (site, fake):
        fake.claims |= {"email_verified": False, "preferred_username": "  ana  "}
        client = site.stranger()
        assert (await log_in(client, fake)).status == 303
        page = await client.get("/console/nowhere")
        assert "<strong>ana</strong>" in page.html
        assert "ana@example.com" not in page.text


async def test_a_person_of_no_mapped_group_is_told_so_by_name(tmp_path: Path) -> None:
    async with outside(tmp_path) as (site, fake):
        for groups in (["x"], [], None, 7, {"night": 1}, ""):
            fake.claims["groups"] = groups
            client = site.stranger()
            page = await log_in(client, fake)
            assert page.status == 403
            assert "You are known as ana@example.com, but none of your groups" in page.text
            assert not any("session=" in cookie for cookie in page.cookies)


Fault = Callable[[FakeProvider], object]
BAD_TOKENS: dict[str, Fault] = {
    "another audience": lambda fake: fake.claims.update(aud="other"),
    "no audience": lambda fake: fake.claims.update(aud=None),
    "audiences of another party": lambda fake: fake.claims.update(aud=[CLIENT, "o"], azp="o"),
    "several audiences without a party": lambda fake: fake.claims.update(aud=[CLIENT, "o"]),
    "another issuer": lambda fake: fake.claims.update(iss="https://other.example"),
    "expired": lambda fake: fake.claims.update(exp=int(time.time()) - 1),
    "no end": lambda fake: fake.claims.update(exp=None),
    "not yet": lambda fake: fake.claims.update(nbf=int(time.time()) + 60),
    "another nonce": lambda fake: fake.claims.update(nonce="other"),
    "no nonce": lambda fake: fake.claims.update(nonce=None),
    "another signer": lambda fake: setattr(fake, "signer", OTHER_KEY),
    "nobody": lambda fake: fake.claims.update(sub=None, email=None),
    "another algorithm": lambda fake: setattr(fake, "alg", "PS256"),
    "no token": lambda fake: setattr(fake, "token_body", b"{}"),
    "no JSON": lambda fake: setattr(fake, "token_body", b"<html>"),
    "a refused code": lambda fake: fake.codes.clear(),
}


@pytest.mark.parametrize("fault", BAD_TOKENS)
async def test_a_token_that_is_not_for_this_log_in_lets_nobody_in(
    tmp_path: Path, fault: str
) -> None:
    async with outside(tmp_path) as (site, fake):
        client = site.stranger()
        asked = await begin(client)
        code = fake.authorize(asked)
        BAD_TOKENS[fault](fake)
        page = await come_back(client, code, asked["state"])
        assert page.status == 403, page.text
        assert "You are not logged in" in page.text
        assert not any("session=" in cookie for cookie in page.cookies)
        assert (await client.get("/console/nowhere", follow=False)).status == 303


async def test_a_log_in_ends_in_the_browser_that_began_it_and_once(tmp_path: Path) -> None:
    async with outside(tmp_path) as (site, fake):
        client, other = site.stranger(), site.stranger()
        asked, theirs = await begin(client), await begin(other)
        code = fake.authorize(asked)
        for where, state in ((other, asked["state"]), (client, theirs["state"]),
                             (site.stranger(), asked["state"]), (client, "")):  # fmt: skip
            page = await come_back(where, code, state)
            assert page.status == 403
            assert "begun in another window" in page.text
        assert "token" not in fake.asked
        # A wrong state has used the log-in up: it begins again.
        asked = await begin(client)
        code = fake.authorize(asked)
        assert (await come_back(client, code, asked["state"])).status == 303
        assert (await come_back(client, code, asked["state"])).status == 403
        assert len({asked["state"], asked["nonce"], asked["code_challenge"]}) == 3
        assert asked["redirect_uri"] == f"{PUBLIC}/console/login/provider"


async def test_whoever_changes_their_mind_at_the_provider_is_told_nicely(tmp_path: Path) -> None:
    async with outside(tmp_path) as (site, _):
        client = site.stranger()
        asked = await begin(client)
        page = await client.get(
            f"/console/login/provider?error=access_denied&state={asked['state']}"
        )
        assert page.status == 403
        assert "cancelled at the company" in page.text


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (lambda fake: setattr(fake, "token_status", 503), 503),
        (lambda fake: setattr(fake, "token_status", 401), 500),
        (lambda fake: setattr(fake, "token_body", b"x" * 300_000), 503),
    ],
)
async def test_a_broken_provider_is_told_as_such(tmp_path: Path, fault: Fault, status: int) -> None:
    async with outside(tmp_path) as (site, fake):
        client = site.stranger()
        asked = await begin(client)
        fault(fake)
        page = await come_back(client, "c", asked["state"])
        assert page.status == status
        assert not any("session=" in cookie for cookie in page.cookies)


async def test_discovery_must_be_the_issuers_and_is_asked_again_after_a_fault(
    tmp_path: Path,
) -> None:
    async with outside(tmp_path) as (site, fake):
        client = site.stranger()
        fake.discovery = {"issuer": "https://other.example"}
        assert (await client.get("/console/login/start", follow=False)).status == 500
        fake.discovery = {"token_endpoint": None}
        assert (await client.get("/console/login/start", follow=False)).status == 500
        fake.discovery = {}
        assert (await log_in(client, fake)).status == 303


async def test_explicit_places_need_no_discovery(tmp_path: Path) -> None:
    async with provider() as fake:
        section = {
            "issuer": fake.url, "client_id": CLIENT, "client_secret": SECRET, "groups": GROUPS,
            "authorization_url": f"{fake.url}/authorize", "token_url": f"{fake.url}/token",
            "jwks_url": f"{fake.url}/jwks",
        }  # fmt: skip
        console = {"public_url": PUBLIC, "oidc": section}
        async with site_of(tmp_path, people=False, console=console) as site:
            client = site.stranger()
            assert (await log_in(client, fake)).status == 303
            assert "discovery" not in fake.asked
            page = await client.post("/console/logout")
            assert "You are logged out." in page.text


async def test_a_log_out_goes_on_to_the_providers_by_a_page_of_ours(tmp_path: Path) -> None:
    async with outside(tmp_path, logout_back_name="logout_uri") as (site, fake):
        client = site.stranger()
        await log_in(client, fake)
        await client.get("/console/nowhere")
        page = await client.post("/console/logout")
        assert page.url.endswith("/console/left")
        target = (
            f"{fake.url}/logout?x=1&amp;client_id={CLIENT}"
            "&amp;logout_uri=http%3A%2F%2F127.0.0.1%3A1%2Fconsole%2Flogin"
        )
        assert f'<meta http-equiv="refresh" content="0; url={target}">' in page.html
        assert (await client.get("/console/nowhere", follow=False)).status == 303


async def test_people_of_the_machine_get_in_beside_the_providers(tmp_path: Path) -> None:
    async with outside(tmp_path) as (site, _):
        await site.add("root", "operator", ("*",))
        page = await site.stranger().get("/console/login")
        assert "/console/login/start" in page.html
        assert 'name="password"' in page.html
        assert (await site.login("root")).person.role == "operator"
