"""`ocp-ingest users …`: people of the embedded runtime, let in and shut out by command."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from ocp_ingest.adapters.passwords import Passwords
from ocp_ingest.bootstrap import Embedded
from ocp_ingest.desk.ports import LocalUser
from ocp_ingest.entrypoints.cli import app
from tests.cli.kit import Answer, Shop

PASSWORD = "a sentence that nobody guesses"


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """A store with one line of business, `banking`."""
    made = Shop(tmp_path)
    made.create()
    (tmp_path / "word").write_text(PASSWORD + "\n")
    return made


def add(shop: Shop, *more: str) -> Answer:
    """Adds somebody whose password is in a file."""
    return shop.run("users", "add", *more, "--password-file", str(shop.config.parent / "word"))


def user_of(shop: Shop, name: str) -> LocalUser:
    """Somebody as the book has them."""

    async def look(runtime: Embedded) -> LocalUser | None:
        assert runtime.desk.users is not None
        return await runtime.desk.users.user(name)

    found = shop.within(look)
    assert found is not None
    return found


async def _fits(user: LocalUser, password: str) -> bool:
    return await Passwords().verify(password, user.password)


def test_somebody_is_added_with_a_hash_and_listed_without(shop: Shop) -> None:
    said = add(shop, "Ana", "--role", "operator", "--lob", "banking", "--lob", "unassigned")
    assert (said.code, said.out) == (0, "added: ana, operator, banking, unassigned\n")
    add(shop, "luis", "--role", "auditor", "--lob", "*", "--lob", "banking")
    user = user_of(shop, "ana")
    assert user.password.startswith("$argon2id$v=19$m=65536,t=3,p=1$")
    assert PASSWORD not in user.password
    listed = shop.run("users", "list", "--json")
    assert [(p["name"], p["role"], p["lobs"], p["enabled"]) for p in listed.lines()] == [
        ("ana", "operator", ["banking", "unassigned"], True), ("luis", "auditor", ["*"], True),
    ]  # fmt: skip
    assert "argon2" not in listed.out
    assert "luis  auditor  every line of business\n" in shop.run("users", "list").out


async def test_the_password_is_the_files_first_line(tmp_path: Path) -> None:
    import asyncio

    def made() -> LocalUser:
        shop = Shop(tmp_path)
        shop.create()
        (tmp_path / "word").write_bytes((PASSWORD + "\r\n").encode())
        assert add(shop, "ana", "--role", "viewer", "--lob", "*").code == 0
        return user_of(shop, "ana")

    user = await asyncio.to_thread(made)
    assert await _fits(user, PASSWORD)
    assert not await _fits(user, PASSWORD + "\n")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("ana", "--role", "king", "--lob", "*"), 2, "viewer, operator, auditor"),
        (("ana", "--role", "viewer"), 2, "at least one line of business"),
        (("ana", "--role", "viewer", "--lob", "cards"), 2, "banking"),
        (("a b", "--role", "viewer", "--lob", "*"), 2, "a-z"),
        (("x" * 65, "--role", "viewer", "--lob", "*"), 2, "64"),
        (("held", "--role", "viewer", "--lob", "*"), 4, "already"),
    ],
)
def test_what_can_not_be_is_refused_and_says_why(
    shop: Shop, arguments: tuple[str, ...], code: int, said: str
) -> None:
    assert add(shop, "held", "--role", "viewer", "--lob", "*").code == 0
    before = user_of(shop, "held")
    answer = add(shop, *arguments)
    assert answer.code == code
    assert said in answer.err
    assert len(shop.run("users", "list", "--json").lines()) == 1
    assert user_of(shop, "held") == before


@pytest.mark.parametrize("word", ["too short", "", "x" * 5_000, "ñ" * 600])
def test_a_bad_password_is_refused_before_the_store_is_touched(shop: Shop, word: str) -> None:
    (shop.config.parent / "word").write_text(word)
    answer = add(shop, "ana", "--role", "viewer", "--lob", "*")
    assert answer.code == 2
    assert word == "" or word not in answer.err
    assert shop.run("users", "list", "--json").lines() == []


def test_a_password_is_asked_for_twice_and_never_shown(shop: Shop) -> None:
    command = ["users", "add", "ana", "--role", "viewer", "--lob", "*", "--config",
               str(shop.config)]  # fmt: skip
    wrong = f"{PASSWORD}\nanother one entirely\n{PASSWORD}\n{PASSWORD}\n"
    done = CliRunner().invoke(app, command, input=wrong)
    assert done.exit_code == 0, done.output
    assert PASSWORD not in done.output
    assert user_of(shop, "ana").enabled
    done = CliRunner().invoke(app, [*command[:2], "luis", *command[3:], "--password-file", "-"],
                              input=PASSWORD)  # fmt: skip
    assert done.exit_code == 0, done.output


def test_every_change_ends_sessions_and_says_what_is_now(shop: Shop) -> None:
    add(shop, "ana", "--role", "viewer", "--lob", "*")
    generations = [user_of(shop, "ana").generation]
    for arguments, said in (
        (("disable", "ana"), "disabled: ana, viewer"), (("enable", "ANA"), "enabled: ana, viewer"),
        (("change", "ana", "--role", "operator"), "changed: ana, operator, every"),
        (("change", "ana", "--lob", "banking"), "changed: ana, operator, banking"),
        (("password", "ana", "--password-file", str(shop.config.parent / "word")), "password"),
    ):  # fmt: skip
        answer = shop.run("users", *arguments)
        assert (answer.code, said in answer.out) == (0, True), answer.err
        generations.append(user_of(shop, "ana").generation)
    assert generations == sorted(set(generations))
    assert user_of(shop, "ana").changed_at_ms > 0


def test_a_disabled_person_is_shown_as_such(shop: Shop) -> None:
    add(shop, "ana", "--role", "viewer", "--lob", "*")
    shop.run("users", "disable", "ana")
    assert not user_of(shop, "ana").enabled
    assert shop.run("users", "list").out == "ana  viewer  every line of business  disabled\n"


def test_nobody_and_nothing_to_change_are_told(shop: Shop) -> None:
    assert shop.run("users", "disable", "nobody").code == 3
    assert shop.run("users", "change", "nobody").code == 2
    assert "users add" in shop.run("users", "list").out


def test_on_aws_people_come_from_the_provider(shop: Shop) -> None:
    for command in (("list",), ("disable", "ana"), ("add", "a", "--role", "viewer")):
        answer = shop.run("users", *command, "--runtime", "aws")
        assert answer.code == 2
        assert "[console.oidc]" in answer.err
