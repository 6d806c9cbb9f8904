"""A person without a mouse does the same work; what has the focus can be seen."""

from __future__ import annotations

import re

from playwright.sync_api import Browser, Page

from tests.browser.conftest import Demo
from tests.browser.kit import NARROW, visitor

TABS_MAX = 80


def tab_to(page: Page, css: str) -> None:
    """Presses Tab until something of that kind has the focus."""
    for _ in range(TABS_MAX):
        page.keyboard.press("Tab")
        if page.evaluate("css => document.activeElement.matches(css)", css):
            return
    raise AssertionError(f"Tab never comes to {css}")


def test_a_person_logs_in_finds_a_call_and_asks_for_it_again_by_keys_alone(
    demo: Demo, chromium: Browser
) -> None:
    call_id = demo.one("absent")
    with visitor(chromium, demo) as someone:
        page = someone.go("/login")
        keys = page.keyboard
        assert page.evaluate("document.activeElement.name") == "name"
        keys.type("operator")
        keys.press("Tab")
        keys.type(demo.password("operator"))
        keys.press("Enter")
        page.wait_for_url(re.compile(r"/console/?$"))
        keys.press("g")
        keys.press("c")
        page.wait_for_url(re.compile("/calls"))
        keys.press("/")
        keys.type(call_id)
        keys.press("Enter")
        page.wait_for_url(re.compile("/calls/"))
        tab_to(page, "details.ask > summary")
        keys.press("Enter")
        assert page.locator("dialog[open]").count() == 1
        assert page.evaluate("document.activeElement.name") == "reason"
        keys.press("Escape")
        assert page.locator("dialog[open]").count() == 0
        assert page.evaluate("document.activeElement.matches('details.ask > summary')")
        keys.press("Enter")
        keys.type("The customer says that it was recorded.")
        tab_to(page, "dialog[open] button[type=submit]")
        with page.expect_navigation():
            keys.press("Enter")
        assert page.locator("#notices [data-notice]").count() == 1
        assert "in flight" in page.locator("#state").inner_text()


def test_a_form_closed_and_asked_for_in_one_breath_is_whole(demo: Demo, chromium: Browser) -> None:
    """The browser tells of a closed dialog later than a quick hand opens it again."""
    with visitor(chromium, demo) as someone:
        someone.log_in("operator")
        page = someone.go(f"/calls/{demo.one('absent')}")
        page.locator("details.ask > summary").first.click()
        page.evaluate(
            """() => {
                document.querySelector('dialog[open]').close();
                document.querySelector('details.ask > summary').click();
            }"""
        )
        page.wait_for_timeout(200)
        assert page.locator("dialog[open] h2").count() == 1
        assert page.locator("dialog[open] button[type=submit]").count() == 1
        assert page.evaluate("document.activeElement.name") == "reason"
        page.keyboard.press("Escape")
        page.wait_for_timeout(200)
        assert page.locator("details.ask").first.locator("button[type=submit]").count() == 1


def test_the_first_tab_leads_past_the_menu(demo: Demo, chromium: Browser) -> None:
    with visitor(chromium, demo, size=NARROW) as someone:
        someone.log_in("viewer")
        page = someone.go("/calls")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.matches('.skip')")
        box = page.locator(".skip").bounding_box()
        assert box is not None
        assert box["y"] >= 0, "the skip link shows when it has the focus"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "content"


def test_whatever_has_the_focus_is_outlined(demo: Demo, chromium: Browser) -> None:
    with visitor(chromium, demo) as someone:
        someone.log_in("viewer")
        page = someone.go("/calls")
        for _ in range(30):
            page.keyboard.press("Tab")
            seen = page.evaluate(
                """() => {
                    const style = getComputedStyle(document.activeElement);
                    return document.activeElement === document.body
                        || (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0)
                        || style.boxShadow !== 'none';
                }"""
            )
            assert seen, page.evaluate("document.activeElement.outerHTML")


def test_the_keys_can_be_switched_off(demo: Demo, chromium: Browser) -> None:
    with visitor(chromium, demo) as someone:
        someone.log_in("viewer")
        page = someone.page
        page.keyboard.press("?")
        page.locator("dialog[open] [data-keys-on]").uncheck()
        page.keyboard.press("Escape")
        page.keyboard.press("g")
        page.keyboard.press("c")
        page.wait_for_timeout(500)
        assert page.url.rstrip("/").endswith("/console")
