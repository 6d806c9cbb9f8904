"""Log-in and sessions: who gets in, how long they stay, and what throws them out."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path
from urllib.parse import urlencode

import msgspec
import pytest

from ocp_ingest.adapters.passwords import Cost, Passwords
from ocp_ingest.core.errors import Invalid, Transient
from ocp_ingest.desk import people
from ocp_ingest.entrypoints.console.deps import build
from ocp_ingest.entrypoints.console.limits import FREE_TRIES
from tests.console.kit import CHEAP, PASSWORD, PEOPLE, Client, Page, Site
from tests.console.kit import site as site_of


class Clock:
    """Real time as the test wants it."""

    def __init__(self) -> None:
        self.s = time.time()

    def __call__(self) -> float:
        """Epoch seconds."""
        return self.s


async def is_in(client: Client) -> bool:
    """Whether the client's session is still good."""
    page = await client.get("/console/nowhere", follow=False)
    assert page.status in (303, 404)
    return page.status == 404


async def enter(client: Client, name: str, password: str = PASSWORD) -> Page:
    """One try to log in."""
    return await client.post("/console/login", follow=False, name=name, password=password)


def session_cookie(client: Client) -> str:
    """The session's cookie as the browser holds it."""
    [held] = [c.value for c in client.session.cookie_jar if c.key.endswith("ocp-session")]
    return held


@pytest.mark.parametrize("name", PEOPLE)
async def test_everybody_gets_in_with_their_own_password_and_role(site: Site, name: str) -> None:
    client = await site.login(name)
    assert await is_in(client)
    page = await client.get("/console/nowhere")
    assert PEOPLE[name][0] in page.text


async def test_a_name_is_taken_in_any_case_and_with_spaces_around(site: Site) -> None:
    client = site.stranger()
    assert (await enter(client, "  OPERATOR ")).status == 303


async def test_a_wrong_password_an_unknown_and_a_disabled_person_look_alike(site: Site) -> None:
    await site.add("away", "viewer", ("*",), enabled=False)
    told = set()
    for name, password in (("viewer", "wrong"), ("nobody", PASSWORD), ("away", PASSWORD),
                           ("a b", PASSWORD), ("", PASSWORD), ("viewer", "")):  # fmt: skip
        page = await enter(site.stranger(), name, password)
        assert page.status == 403, name
        assert not any("session" in cookie for cookie in page.cookies)
        [said] = re.findall(r'<div class="notice notice--bad"[^>]*>([^<]*)', page.html)
        told.add(said)
        site.console.limits.addresses.forget("127.0.0.1")
    assert len(told) == 1


async def test_an_unknown_name_costs_as_much_as_a_wrong_password() -> None:
    passwords = Passwords(Cost(passes=2, memory_kib=8 * 1024, lanes=1))
    held = await passwords.hash(PASSWORD)
    await passwords.verify("x", None)  # the dummy is made

    async def lasts_s(phc: str | None) -> float:
        best = 9.0
        for _ in range(5):
            started = time.perf_counter()
            assert not await passwords.verify("wrong", phc)
            best = min(best, time.perf_counter() - started)
        return best

    known, unknown = await lasts_s(held), await lasts_s(None)
    assert 0.5 < known / unknown < 2.0
    assert not await passwords.verify("", None)


async def test_hashing_is_argon2id_of_the_recommended_cost_and_salted() -> None:
    first, second = await Passwords().hash(PASSWORD), await Passwords().hash(PASSWORD)
    assert first.startswith("$argon2id$v=19$m=65536,t=3,p=1$")
    assert first != second
    assert await Passwords().verify(PASSWORD, first)
    assert not await Passwords().verify(PASSWORD + " ", first)
    assert not await Passwords().verify(PASSWORD, "no hash at all")


async def test_log_ins_at_once_at_the_real_cost_all_end() -> None:
    passwords = Passwords()
    held = await passwords.hash(PASSWORD)
    async with asyncio.timeout(60):
        tries = (passwords.verify(PASSWORD, held) for _ in range(4))
        assert await asyncio.gather(*tries, Passwords().verify("x", held)) == [True] * 4 + [False]


async def test_a_password_is_long_enough_and_bounded() -> None:
    for bad in ("fourteen chars", "ñ" * 513):
        with pytest.raises(Invalid):
            await CHEAP.hash(bad)
    assert not await CHEAP.verify("x" * 100_000, await CHEAP.hash("x" * 1_024))


async def test_more_log_ins_at_once_than_the_machine_can_bear_are_told_to_come_back() -> None:
    passwords = Passwords(Cost(passes=1, memory_kib=16 * 1024, lanes=1))
    tries = [asyncio.create_task(passwords.verify("x", None)) for _ in range(40)]
    done = await asyncio.gather(*tries, return_exceptions=True)
    refused = [answer for answer in done if isinstance(answer, Transient)]
    assert len(refused) == 24
    assert [answer for answer in done if not isinstance(answer, Transient)] == [False] * 16


# -- waits ----------------------------------------------------------------------------------------


async def test_wrong_tries_wait_longer_each_time_even_with_the_right_password(
    tmp_path: Path,
) -> None:
    clock = Clock()
    async with site_of(tmp_path, now_s=clock) as site:
        client = site.stranger()
        for _ in range(FREE_TRIES):
            assert (await enter(client, "viewer", "wrong")).status == 403
        waited = []
        for _ in range(4):
            page = await enter(client, "viewer")
            assert page.status == 429
            wait_s = int(page.headers["Retry-After"])
            assert f"Wait {wait_s} s" in page.text
            waited.append(wait_s)
            clock.s += wait_s
            assert (await enter(client, "viewer", "wrong")).status == 403
        assert waited == sorted(waited)
        assert waited[-1] >= 8
        clock.s += 3_600
        assert (await enter(client, "viewer")).status == 303
        assert (await enter(site.stranger(), "viewer", "wrong")).status == 403


async def test_tries_sent_at_once_are_all_counted(site: Site) -> None:
    clients = [site.stranger() for _ in range(12)]
    for client in clients:
        await client.get("/console/login")
    pages = await asyncio.gather(*(enter(c, "viewer", "wrong") for c in clients))
    assert sum(page.status == 403 for page in pages) == FREE_TRIES
    assert sum(page.status == 429 for page in pages) == 12 - FREE_TRIES


async def enter_from(site: Site, address: str, name: str, password: str = PASSWORD) -> int:
    """One try of somebody whose address a proxy of ours tells; what they claim comes before it."""
    client = site.stranger()
    await client.get("/console/login")
    headers = {
        "X-Forwarded-For": f"6.6.6.6, {address}",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    form = urlencode({"csrf": client.token, "name": name, "password": password})
    page = await client.ask(
        "POST", "/console/login", follow=False, headers=headers, data=form.encode()
    )
    return page.status


async def test_an_address_that_tries_many_names_waits_and_others_do_not(tmp_path: Path) -> None:
    async with site_of(tmp_path, console={"proxies": 1}) as site:
        for number in range(FREE_TRIES):
            assert await enter_from(site, "2001:db8::1", f"n{number}", "wrong") == 403
        # One subscriber has the whole /64.
        assert await enter_from(site, "2001:db8::2", "viewer") == 429
        assert await enter_from(site, "2001:db8:1::2", "viewer") == 303


async def test_a_name_that_many_addresses_try_waits_and_a_minute_at_most(tmp_path: Path) -> None:
    clock = Clock()
    async with site_of(tmp_path, console={"proxies": 1}, now_s=clock) as site:
        for number in range(40):
            status = await enter_from(site, f"10.0.0.{number}", "viewer", "wrong")
            assert status == (403 if number < FREE_TRIES else 429)
        assert await enter_from(site, "10.0.1.1", "viewer") == 429
        assert await enter_from(site, "10.0.1.1", "operator") == 303
        for _ in range(20):
            clock.s += 61
            assert await enter_from(site, "10.0.1.2", "viewer", "wrong") in (403, 429)
        clock.s += 61
        assert await enter_from(site, "10.0.1.3", "viewer") == 303


async def test_without_a_proxy_of_ours_nobody_says_where_they_come_from(site: Site) -> None:
    for number in range(FREE_TRIES + 1):
        client = site.stranger()
        await client.get("/console/login")
        headers = {"X-Forwarded-For": f"10.0.0.{number}",
                   "Content-Type": "application/x-www-form-urlencoded"}  # fmt: skip
        body = f"csrf={client.token}&name=n{number}&password=wrong".encode()
        page = await client.ask("POST", "/console/login", headers=headers, data=body)
    assert page.status == 429


# -- sessions -------------------------------------------------------------------------------------


async def test_a_session_ends_when_it_is_left_alone_and_after_a_shift(tmp_path: Path) -> None:
    clock = Clock()
    limits = {"session_idle_s": 600, "session_s": 3_600}
    async with site_of(tmp_path, console=limits, now_s=clock) as site:
        idle, busy = await site.login("viewer"), await site.login("operator")
        for _ in range(5):
            clock.s += 590
            assert await is_in(busy)
        assert not await is_in(idle)
        clock.s += 590
        assert await is_in(busy)
        clock.s += 61
        assert not await is_in(busy)


async def test_a_page_that_updates_itself_keeps_no_session_alive(tmp_path: Path) -> None:
    clock = Clock()
    async with site_of(tmp_path, console={"session_idle_s": 600}, now_s=clock) as site:
        client = await site.login("viewer")
        for _ in range(5):
            clock.s += 119
            page = await client.part("/console/nowhere", X_Console_Automatic="1")
            assert page.status == 404
        clock.s += 119
        assert not await is_in(client)


async def test_whoever_is_disabled_or_changed_is_out_at_once(site: Site) -> None:
    assert site.desk.users is not None
    changes: list[dict[str, object]] = [
        {"enabled": False}, {"enabled": True}, {"password": await CHEAP.hash("x" * 20)},
        {"role": "auditor"}, {"lobs": ("cards",)},
    ]  # fmt: skip
    for change in changes:
        await site.add("ana", "viewer", ("*",), generation=int(time.monotonic_ns()))
        client = await site.login("ana")
        assert await is_in(client)
        await people.change(site.desk.users, "ana", now_ms=1, known_lobs=("cards",), **change)  # type: ignore[arg-type]
        assert not await is_in(client), change
    # Whatever wrote the book: who is disabled in it is out.
    held = await site.add("ana", "viewer", ("*",))
    client = await site.login("ana")
    await site.desk.users.put(msgspec.structs.replace(held, enabled=False))
    assert not await is_in(client)


async def test_rights_are_those_of_the_book_now_not_of_the_log_in(site: Site) -> None:
    client = await site.login("viewer")
    session = site.console.sessions.read(session_cookie(client))
    assert session is not None
    assert (session.role, session.lobs) == ("", ())
    person = await site.console.sessions.person(session)
    assert person is not None
    assert person.role == "viewer"


async def test_a_log_out_ends_copies_of_the_cookie_too_in_every_process(tmp_path: Path) -> None:
    clock = Clock()
    async with site_of(tmp_path, now_s=clock) as site:
        other = build(site.desk, site.config, passwords=CHEAP, now_s=clock)
        client, stays = await site.login("viewer"), await site.login("viewer")
        session = other.sessions.read(session_cookie(client))
        assert session is not None
        assert await other.sessions.person(session) is not None
        page = await client.post("/console/logout")
        assert "You are logged out." in page.text
        assert not await is_in(client)
        copied = site.stranger()
        held = f"ocp-session={site.console.sessions.sealed(session)}"
        page = await copied.get("/console/nowhere", follow=False, Cookie=held)
        assert page.status == 303
        assert await is_in(stays)
        clock.s += 6
        assert await other.sessions.person(session) is None


async def test_every_log_in_makes_a_session_of_its_own(site: Site) -> None:
    ids = set()
    for _ in range(3):
        session = site.console.sessions.read(session_cookie(await site.login("viewer")))
        assert session is not None
        ids.add(session.id)
    assert len(ids) == 3


async def test_a_cookie_of_another_key_purpose_or_hand_is_nobodys(site: Site) -> None:
    client = await site.login("viewer")
    good = session_cookie(client)
    session = site.console.sessions.read(good)
    assert session is not None
    seal = site.console.seal
    flipped = "A" if good[20] != "A" else "B"
    for forged in (
        good[:20] + flipped + good[21:], good[:-8], "", "x" * 9_000, "ñ",
        seal.seal("provider", session), seal.seal("said", session),
        type(seal)(b"another secret of more than 32 characters").seal("session", session),
    ):  # fmt: skip
        assert site.console.sessions.read(forged) is None
    assert site.console.sessions.read(good) == session


async def test_the_session_outlives_a_restart_and_not_a_new_key(tmp_path: Path) -> None:
    async with site_of(tmp_path) as site:
        cookie = session_cookie(await site.login("viewer"))
    key = tmp_path / "data" / "console.key"
    assert key.stat().st_mode & 0o777 == 0o600
    async with site_of(tmp_path) as site:
        assert site.console.sessions.read(cookie) is not None
    key.unlink()
    async with site_of(tmp_path) as site:
        assert site.console.sessions.read(cookie) is None
    file = tmp_path / "shared.key"
    file.write_text("k" * 40 + "\n")
    async with site_of(tmp_path, console={"session_key_file": str(file)}) as site:
        sealed = site.console.seal.seal("session", 1)
    async with site_of(tmp_path, console={"session_key": "k" * 40}) as site:
        assert site.console.seal.open("session", sealed, int) == 1
    file.write_text("short")
    with pytest.raises(Invalid, match="32"):
        async with site_of(tmp_path, console={"session_key_file": str(file)}):
            pass


async def test_cookies_are_for_us_alone(tmp_path: Path) -> None:
    async with site_of(tmp_path) as site:
        client = site.stranger()
        asked = (await client.get("/console/login")).cookies
        answered = (await enter(client, "viewer")).cookies
        [entry], [session, gone] = asked, answered
        assert re.fullmatch(r"ocp-entry=[\w-]{22}; Path=/console; HttpOnly; SameSite=Lax", entry)
        assert re.fullmatch(r"ocp-session=[\w-]+; Path=/console; HttpOnly; SameSite=Lax", session)
        assert gone == "ocp-entry=; Path=/console; HttpOnly; SameSite=Lax; Max-Age=0"
    for settings in ({"secure_cookies": "always"}, {"public_url": "https://c.example"}):
        async with site_of(tmp_path, console=settings) as site:
            [entry] = (await site.stranger().get("/console/login")).cookies
            assert entry.startswith("__Host-ocp-entry=")
            assert entry.endswith("; Path=/; HttpOnly; SameSite=Lax; Secure")


async def test_whoever_is_in_already_is_taken_on_from_the_log_in(site: Site) -> None:
    client = await site.login("viewer")
    page = await client.get("/console/login?next=/console/calls", follow=False)
    assert (page.status, page.location) == (303, "/console/calls")


async def test_before_there_is_anybody_the_page_says_how_to_add_the_first(tmp_path: Path) -> None:
    async with site_of(tmp_path, people=False) as site:
        page = await site.stranger().get("/console/login")
        assert "ocp-ingest users add NAME --role operator" in page.text
        assert 'name="password"' not in page.html
        await site.add("ana", "viewer", ("*",))
        page = await site.stranger().get("/console/login")
        assert "users add" not in page.text
        assert 'name="password"' in page.html
