"""The console as `ocp-ingest serve` gives it: people come and go while it runs."""

from __future__ import annotations

import asyncio
import re
from html import unescape
from pathlib import Path

import aiohttp

from tests.story.kit import Platform, command

PASSWORD = "a sentence that nobody guesses"


async def users(platform: Platform, *arguments: str) -> str:
    """`ocp-ingest users …` beside the platform."""
    done = await asyncio.to_thread(
        command, "users", *arguments, "--config", str(platform.config), cwd=platform.folder
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def log_in(session: aiohttp.ClientSession, platform: Platform) -> int:
    """One try to log in; where it leads is the console or the form again."""
    async with session.get(f"{platform.url}/console/login") as answer:
        page = await answer.text()
    found = re.search(r'name="csrf" content="([^"]*)"', page)
    assert found is not None
    form = {"csrf": unescape(found.group(1)), "name": "ana", "password": PASSWORD}
    url = f"{platform.url}/console/login"
    async with session.post(url, data=form, allow_redirects=False) as answer:
        return answer.status


async def see(session: aiohttp.ClientSession, platform: Platform, path: str) -> int:
    """Status of a page, redirects not followed."""
    async with session.get(f"{platform.url}{path}", allow_redirects=False) as answer:
        return answer.status


async def test_somebody_added_while_it_serves_gets_in_and_somebody_disabled_is_out(
    tmp_path: Path,
) -> None:
    (tmp_path / "word").write_text(PASSWORD)
    with Platform(tmp_path) as platform:
        await platform.start()
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(cookie_jar=jar) as session:
            async with session.get(f"{platform.url}/console/") as answer:
                assert "users add" in await answer.text()
            word = str(tmp_path / "word")
            await users(platform, "add", "ana", "--role", "operator", "--lob", "*",
                        "--password-file", word)  # fmt: skip
            assert await log_in(session, platform) == 303
            for path in ("/console/", "/console/calls", "/console/reconciliation"):
                assert await see(session, platform, path) == 200, path
            await users(platform, "disable", "ana")
            assert await see(session, platform, "/console/") == 303
            assert await log_in(session, platform) == 403
        assert platform.end() == 0
        log = platform.log()
    assert '"event": "console.login"' in log
    assert PASSWORD not in log
    assert "argon2" not in log
