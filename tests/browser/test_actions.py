"""Each action of the console, pressed in a browser, does what its command does."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

from playwright.sync_api import Browser

from tests.browser.conftest import Demo
from tests.browser.kit import Visitor, visitor

REASON = "Asked for by the supervisor on duty."


def call(someone: Visitor, call_id: str) -> Visitor:
    """Opens a call through the search box, as people do."""
    page = someone.go("/calls")
    page.locator("input[name=q]").fill(call_id)
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/calls/"))
    return someone


def state(someone: Visitor) -> str:
    """What the head of a call says."""
    return someone.page.locator("#state").inner_text()


def test_a_closed_call_is_reopened_tried_again_and_marked_absent(
    demo: Demo, chromium: Browser
) -> None:
    call_id = demo.one("absent")
    with visitor(chromium, demo) as someone:
        call(someone.log_in("operator"), call_id)
        someone.ask("Reopen the call", REASON)
        assert "in flight" in state(someone)
        someone.ask("Try the next step now", REASON)
        assert "in flight" in state(someone)
        someone.ask("It has no recording", REASON)
        assert "no recording" in state(someone)
        text = someone.page.locator("#journal").locator("xpath=ancestor::section").inner_text()
        assert text.count(REASON) >= 3
        assert "operator" in text


def test_a_call_is_released_from_quarantine(demo: Demo, chromium: Browser) -> None:
    # Not one whose bytes are unusable: the newcomer's story needs that.
    call_id = next(
        one["call_id"] for one in demo.calls("--outcome", "quarantined")
        if not any(recording["problems"] for recording in one["recordings"])
    )  # fmt: skip
    with visitor(chromium, demo) as someone:
        call(someone.log_in("operator"), call_id)
        someone.ask("Accept it as it is", REASON)
        page = someone.page
        for _ in range(40):
            if "stored" in state(someone):
                break
            page.wait_for_timeout(500)
            page.reload()
        assert "stored" in state(someone)


def test_a_raw_message_is_unmasked_with_a_reason_and_the_journal_says_so(
    demo: Demo, chromium: Browser
) -> None:
    call_id = demo.calls("--outcome", "stored")[3]["call_id"]
    with visitor(chromium, demo) as someone:
        call(someone.log_in("auditor"), call_id)
        page = someone.page
        event = page.locator("details", has_text="dialog_start:").last
        event.locator("summary").first.click()
        assert "origin_uri" in event.inner_text()
        someone.ask("Show unmasked", REASON, within=event)
        raw = page.locator("pre").first.inner_text()
        assert "origin_uri" in raw
        call(someone, call_id)
        assert REASON in someone.text()


def test_bulk_work_is_counted_before_it_is_done_and_has_a_result_for_each_call(
    demo: Demo, chromium: Browser
) -> None:
    with visitor(chromium, demo) as someone:
        someone.log_in("operator")
        page = someone.go("/calls?outcome=absent")
        page.get_by_role("link", name=re.compile("bulk", re.IGNORECASE)).last.click()
        page.wait_for_url(re.compile("/bulk/new"))
        page.locator("input[name=action][value=reopen]").check()
        page.locator("textarea[name=reason]").fill(REASON)
        page.locator("main form button[type=submit]").last.click()
        page.wait_for_url(re.compile(r"/bulk/[^/]+$"))
        rows = page.locator("section[aria-labelledby=items] tbody tr").count()
        assert rows > 0
        page.locator("form[action$='/start'] button").click()
        page.wait_for_load_state()
        for _ in range(40):
            if page.locator("#progress").count() == 0:
                break
            page.wait_for_timeout(500)
            page.reload()
        with page.expect_download() as saved:
            page.get_by_role("link", name=re.compile("CSV")).click()
        told = list(csv.DictReader(io.StringIO(Path(saved.value.path()).read_text("utf-8-sig"))))
        assert len(told) == rows
        someone.picture("bulk-done")


def test_a_list_is_saved_as_a_link_and_as_csv(demo: Demo, chromium: Browser) -> None:
    with visitor(chromium, demo) as someone:
        someone.log_in("viewer")
        page = someone.go("/calls?outcome=stored&lob=cards")
        with page.expect_download() as saved:
            page.locator("a[href*='calls.csv']").click()
        lines = Path(saved.value.path()).read_text("utf-8-sig").splitlines()
        wanted = demo.calls("--outcome", "stored", "--lob", "cards")
        assert len(lines) >= len(wanted) + 1
        page.locator("details.save > summary").click()
        page.locator("details.save input[name=name]").fill("Cards, stored")
        page.locator("details.save button[type=submit]").click()
        page.wait_for_load_state()
        someone.go("/calls")
        page.get_by_role("link", name="Cards, stored").click()
        page.wait_for_load_state()
        assert "lob=cards" in page.url


def test_reconciliation_is_planned_dry_and_run(demo: Demo, chromium: Browser) -> None:
    with visitor(chromium, demo) as someone:
        someone.log_in("operator")
        page = someone.go("/reconciliation")
        page.locator("#plan a.button").click()
        page.wait_for_load_state("networkidle")
        before = page.locator("#plan-body").inner_text()
        assert before
        page.locator("form[action$='/run'] button").click()
        page.wait_for_load_state()
        assert page.locator("#notices [data-notice]").count() == 1
        page.locator("svg a.job").first.click()
        page.wait_for_url(re.compile("job="))
        someone.picture("job")


def test_an_incident_is_closed_with_a_reason(demo: Demo, chromium: Browser) -> None:
    with visitor(chromium, demo) as someone:
        someone.log_in("operator")
        page = someone.go("/incidents")
        before = page.locator("article.incident").count()
        someone.ask("Close", REASON)
        assert page.locator("article.incident").count() == before - 1
        someone.go("/incidents?state=closed")
        assert REASON in someone.text()


def test_the_law_is_checked_when_asked(demo: Demo, chromium: Browser) -> None:
    with visitor(chromium, demo) as someone:
        someone.log_in("operator")
        page = someone.page
        page.locator("form[action$='/law'] button").click()
        page.wait_for_load_state()
        page.locator(".checked .badge--ok").wait_for(timeout=30_000)


def test_who_may_not_act_is_offered_nothing_and_refused(demo: Demo, chromium: Browser) -> None:
    call_id = demo.calls("--outcome", "absent")[0]["call_id"]
    with visitor(chromium, demo) as someone:
        call(someone.log_in("viewer"), call_id)
        page = someone.page
        assert page.locator("details.ask").count() == 0
        assert page.locator("form[action*='listen']").count() == 0
        token = page.locator("meta[name=csrf]").get_attribute("content")
        answer = page.request.post(
            f"{page.url}/retry", form={"csrf": token or "", "reason": REASON},
            headers={"Origin": demo.url, "Sec-Fetch-Site": "same-origin"},
        )  # fmt: skip
        assert answer.status == 403


def test_nobody_sees_the_calls_of_another_line_of_business(demo: Demo, chromium: Browser) -> None:
    banking = demo.calls("--lob", "banking", "--outcome", "stored")[0]["call_id"]
    with visitor(chromium, demo) as someone:
        someone.log_in("cards-operator")
        text = someone.text()
        assert "cards" in text
        assert "banking" not in text, text
        page = someone.go("/calls")
        page.locator("input[name=q]").fill(banking)
        page.keyboard.press("Enter")
        page.wait_for_load_state()
        assert page.locator(f"a[href*='{banking[:40]}']").count() == 0
        assert page.request.get(f"{demo.url}/console/calls/{banking}").status == 404
