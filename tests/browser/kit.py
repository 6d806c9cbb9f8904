"""A person at the console: logs in, goes places, and notices what a browser complains of."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Locator, Page

from tests.browser.conftest import Demo

Theme = Literal["light", "dark"]
SCREENSHOTS = Path("build/screenshots")
WIDE, NARROW = (1280, 900), (360, 780)
# What axe calls serious or critical stops the work of somebody.
SERIOUS = ("serious", "critical")
STANDARDS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


class Visitor:
    """One browser window of one person; `complaints` are errors of script, CSP and network."""

    def __init__(self, page: Page, demo: Demo) -> None:
        self.page = page
        self.demo = demo
        self.complaints: list[str] = []
        page.on("console", lambda m: self._note(m.type, m.text))
        page.on("pageerror", lambda e: self.complaints.append(f"error {e}"))
        page.on("requestfailed", lambda r: self._failed(r.url, str(r.failure)))

    def _note(self, kind: str, text: str) -> None:
        if kind == "error":
            self.complaints.append(text)

    def _failed(self, url: str, why: str) -> None:
        # A page that is left takes its requests with it.
        if "ERR_ABORTED" not in why:
            self.complaints.append(f"{url} {why}")

    def go(self, path: str) -> Page:
        """Opens a page of the console."""
        self.page.goto(f"{self.demo.url}/console{path}")
        return self.page

    def log_in(self, name: str) -> Visitor:
        """By the form."""
        page = self.go("/login")
        page.locator("input[name=name]").fill(name)
        page.locator("input[name=password]").fill(self.demo.password(name))
        page.locator("main button[type=submit]").click()
        page.wait_for_url(re.compile(r"/console/?$"))
        return self

    def text(self) -> str:
        """What stands on the page."""
        return self.page.locator("body").inner_text()

    def ask(self, summary: str, reason: str, within: Locator | None = None) -> None:
        """Presses an action's button, gives the reason, confirms."""
        page = self.page
        (within or page.locator("body")).locator("details.ask > summary", has_text=summary).filter(
            visible=True
        ).first.click()
        box = page.locator("dialog[open], details.ask[open]").locator("textarea[name=reason]").first
        box.fill(reason)
        form = page.locator("form").filter(has=page.locator("textarea[name=reason]:visible")).first
        form.locator("button[type=submit]").click()
        page.wait_for_load_state("networkidle")

    def until(self, condition: str, arg: object = None, *, s_max: float = 20.0) -> None:
        """Waits for a condition in JavaScript; the console's CSP forbids the library's own way."""
        until_s = time.monotonic() + s_max
        while not self.page.evaluate(condition, arg):
            assert time.monotonic() < until_s, f"it never came to {condition}"
            self.page.wait_for_timeout(100)

    def accessible(self) -> list[str]:
        """What axe finds serious, in words."""
        found = Axe().run(self.page, options={"runOnly": STANDARDS}).response["violations"]
        return [
            f"{one['id']} {one['help']}: {[node['target'] for node in one['nodes']][:5]}"
            for one in found if one["impact"] in SERIOUS
        ]  # fmt: skip

    def overflow(self) -> int:
        """CSS pixels that the page is wider than the window."""
        return int(self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        ))  # fmt: skip

    def picture(self, name: str, *, full: bool = True) -> None:
        """Keeps a screenshot; docs/images holds chosen ones."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=full)


@contextmanager
def visitor(
    browser: Browser, demo: Demo, *, size: tuple[int, int] = WIDE, lang: str = "en",
    theme: Theme = "light", **more: Any,
) -> Iterator[Visitor]:  # fmt: skip
    """A window that nobody has logged in at; whatever its browser complained of fails the test."""
    context: BrowserContext = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme=theme, locale=lang,
        accept_downloads=True, reduced_motion="reduce", **more,
    )  # fmt: skip
    try:
        held = Visitor(context.new_page(), demo)
        held.page.set_default_timeout(15_000)
        yield held
        assert not held.complaints, held.complaints
    finally:
        context.close()
