"""A newcomer on duty finds out why a call is in quarantine and asks OCP for it again."""

from __future__ import annotations

import re

from playwright.sync_api import Browser

from tests.browser.conftest import Demo
from tests.browser.kit import visitor


def test_from_the_overview_to_the_reason_to_the_request(demo: Demo, chromium: Browser) -> None:
    """Only by what the pages say and offer: no address is typed, no help is read."""
    with visitor(chromium, demo, lang="es") as someone:
        page = someone.log_in("operator").page
        someone.picture("story-1-overview", full=False)
        # The balance says how many are in quarantine; the number leads to them.
        page.locator(".equation a.warn").click()
        page.wait_for_url(re.compile("outcome=quarantined|term=quarantined"))
        someone.picture("story-2-quarantined", full=False)
        # One whose recording has something wrong with it, as its row says.
        faulty = page.locator(".problems .badge--warn")
        row = page.locator("table.calls tbody tr").filter(has=faulty)
        row.locator("a.call-id").first.click()
        page.wait_for_url(re.compile("/calls/"))
        # Why it is there, in words, and what was wrong with the bytes.
        why = page.locator(".call-why")
        assert "cuarentena" in why.inner_text()
        assert page.locator(".call-refused li").count() >= 1
        someone.picture("story-3-why", full=False)
        someone.ask("Pedirla de nuevo a OCP", "El cliente reclama la llamada.")
        assert page.locator("#notices [data-notice]").count() == 1
        assert "en curso" in page.locator("#state").inner_text().lower()
        someone.picture("story-4-asked", full=False)
        # It is told what happens next, and that it was done, by whom and why.
        assert "El cliente reclama la llamada." in someone.text()
