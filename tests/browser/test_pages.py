"""Every page, in both languages, wide and narrow, light and dark: whole, quiet, accessible."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

from tests.browser.conftest import Demo
from tests.browser.kit import NARROW, WIDE, Theme, visitor

PAGES = {
    "overview": "/",
    "calls": "/calls",
    "quarantined": "/calls?outcome=quarantined",
    "call-stored": "/calls/{stored}",
    "call-quarantined": "/calls/{quarantined}",
    "call-absent": "/calls/{absent}",
    "reconciliation": "/reconciliation",
    "bulk": "/bulk",
    "bulk-new": "/bulk/new?outcome=absent",
    "incidents": "/incidents",
    "alerts": "/alerts",
    "runbook": "/runbooks/recording_quarantined",
}
LOOKS: dict[str, tuple[tuple[int, int], str, Theme]] = {
    "wide-light-en": (WIDE, "en", "light"),
    "narrow-dark-es": (NARROW, "es", "dark"),
}


def path_of(demo: Demo, page: str) -> str:
    """The path, with a call of the demo's where it names one."""
    path = PAGES[page]
    for outcome in ("stored", "quarantined", "absent"):
        if f"{{{outcome}}}" in path:
            path = path.format(**{outcome: demo.calls("--outcome", outcome)[0]["call_id"]})
    return path


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_whole_quiet_and_accessible(
    demo: Demo, chromium: Browser, page: str, look: str
) -> None:
    size, lang, theme = LOOKS[look]
    with visitor(chromium, demo, size=size, lang=lang, theme=theme) as someone:
        someone.log_in("operator")
        shown = someone.go(path_of(demo, page))
        assert shown.locator("h1").count() == 1
        assert shown.locator("html").get_attribute("lang") == lang
        shown.wait_for_timeout(300)
        assert someone.overflow() <= 0, f"{page} is wider than the window"
        assert someone.accessible() == []
        someone.picture(f"{page}-{look}")


def test_the_log_in_page_is_accessible(demo: Demo, chromium: Browser) -> None:
    themes: tuple[Theme, ...] = ("light", "dark")
    for theme in themes:
        with visitor(chromium, demo, size=NARROW, theme=theme) as someone:
            someone.go("/login")
            assert someone.accessible() == []
            assert someone.overflow() <= 0
            someone.picture(f"login-{theme}")


def test_every_link_of_every_page_leads_somewhere(demo: Demo, chromium: Browser) -> None:
    """No link of the console ends at an error page; each address is asked for once."""
    with visitor(chromium, demo) as someone:
        someone.log_in("operator")
        seen: set[str] = set()
        broken: list[str] = []
        for page in PAGES:
            shown = someone.go(path_of(demo, page))
            links = shown.eval_on_selector_all("a[href]", "all => all.map(a => a.href)")
            for link in links:
                address = str(link).split("#")[0]
                known = "/console/" in address and "preferences" not in address
                if known and address not in seen and len(seen) < 150:
                    seen.add(address)
                    answer = someone.page.request.get(address)
                    if answer.status >= 400:
                        broken.append(f"{page}: {address} {answer.status}")
        assert len(seen) > 40
        assert broken == []


def test_the_language_is_switched_and_kept(demo: Demo, chromium: Browser) -> None:
    with visitor(chromium, demo, lang="en") as someone:
        someone.log_in("viewer")
        page = someone.page
        english = page.locator("h1").inner_text()
        page.locator("header a[hreflang=es]").click()
        page.wait_for_load_state()
        assert page.locator("html").get_attribute("lang") == "es"
        assert page.locator("h1").inner_text() != english
        someone.go("/calls")
        assert page.locator("html").get_attribute("lang") == "es"


def test_the_overview_moves_by_itself_and_can_be_held(demo: Demo, chromium: Browser) -> None:
    with visitor(chromium, demo) as someone:
        someone.log_in("viewer")
        page = someone.page
        clock = page.locator(".updated").first
        first = clock.inner_text()
        someone.until("first => document.querySelector('.updated').innerText !== first", first)
        page.locator("[data-live-pause]").click()
        page.wait_for_timeout(500)
        held = clock.inner_text()
        page.wait_for_timeout(7_000)
        assert clock.inner_text() == held
