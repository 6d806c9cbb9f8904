"""The list of calls: what its search box understands, whom it shows what, and its CSV."""

from __future__ import annotations

import csv
import io
import re
from html import unescape
from urllib.parse import parse_qs, quote, urlencode, urlsplit
from zoneinfo import ZoneInfo

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from ocp_ingest.adapters.journal import Deriving
from ocp_ingest.core import events as ev
from ocp_ingest.core.access import Person
from ocp_ingest.core.audio.problems import TABLE
from ocp_ingest.core.audio.sniff import NAMES
from ocp_ingest.core.errors import Invalid
from ocp_ingest.core.limits import HOUR_MS
from ocp_ingest.core.words import WHY
from ocp_ingest.entrypoints.console import export_csv, filters, saved_links
from ocp_ingest.entrypoints.console.calls import PAGE_CALLS
from ocp_ingest.entrypoints.console.filters import Filter, filter_of, local, moment
from ocp_ingest.entrypoints.console.locale import texts
from ocp_ingest.entrypoints.console.problem_codes import CLOSINGS, CODES, JUDGED, label_of
from tests.console.kit import Client, Page, Site

ROW = re.compile(r'<a class="mono call-id" href="/console/calls/([^"]+)">')
ALL = Person("p", "operator", None)


def ids(page: Page) -> list[str]:
    """The calls of a page, as they stand in it."""
    return re.findall(r'class="mono call-id" href="[^"]+">([^<]+)<', page.html)


def next_of(page: Page) -> str | None:
    """Where the next page is."""
    found = re.search(r'href="([^"]+)" rel="next"', page.html)
    return unescape(found.group(1)) if found else None


async def exported(client: Client, **query: str) -> list[dict[str, str]]:
    """The rows of a search as CSV."""
    page = await client.get(f"/console/calls.csv?{urlencode(query)}")
    assert page.status == 200, page.text
    return list(csv.DictReader(io.StringIO(page.body.decode(), newline=""), strict=True))


async def many(site: Site, count: int, app: str = "banking-voice") -> list[str]:
    """So many announced calls, newest last."""
    talks = [site.talk(app=app) for _ in range(count)]
    await site.events(*[talk.start() for talk in talks])
    return [talk.call_id for talk in talks]


# -- one box --------------------------------------------------------------------------------------


async def test_the_box_goes_straight_to_a_call_by_any_of_its_ids(site: Site) -> None:
    talk = site.talk(app="cards-voice")
    more = {"session_id": "session 7", "connection_id": "conn/7"}
    child = talk.start(id="child-7", flow={"type": "Flow", "parent_step": 3,
                                           "ocp_group_name": "emea-retail"})  # fmt: skip
    await site.events(talk.start(**more), talk.end(**more), child)
    for name in ("viewer", "cards_operator"):
        client = await site.login(name)
        for ident in (talk.call_id, "child-7", "session 7", "conn/7", talk.name,
                      f'  "{talk.call_id}"\n'):  # fmt: skip
            page = await client.get(f"/console/calls?q={quote(ident, safe='')}", follow=False)
            assert (page.status, page.location) == (303, f"/console/calls/{quote(talk.call_id)}")


async def test_an_unknown_id_says_what_to_do_and_another_s_says_the_same(site: Site) -> None:
    theirs = await site.stored("banking-voice", session_id="s-1")
    client = await site.login("cards_operator")
    pages = [
        await client.get(f"/console/calls?q={quote(ident)}", follow=False)
        for ident in ("no-such-call", theirs.call_id, "s-1", theirs.name)
    ]
    for page in pages:
        assert page.status == 200
        assert "None of your calls has this id" in page.text
        assert "Check that the id is whole" in page.text
        assert ids(page) == []


async def test_an_id_in_quotes_of_its_own_is_found(site: Site) -> None:
    body = site.talk().start(id="'odd'", group="'odd'")
    await site.events(body)
    page = await (await site.login("viewer")).get("/console/calls?q='odd'", follow=False)
    assert (page.status, page.location) == (303, "/console/calls/%27odd%27")


async def test_an_id_of_two_calls_lists_both(site: Site) -> None:
    """A call's id may be another call's session."""
    one = await site.in_flight()
    two = await site.in_flight(session_id=one.call_id)
    page = await (await site.login("viewer")).get(f"/console/calls?q={quote(one.call_id)}")
    assert sorted(ids(page)) == sorted([one.call_id, two.call_id])


async def test_an_id_that_is_no_id_finds_nothing_and_breaks_nothing(site: Site) -> None:
    client = await site.login("viewer")
    for text in ("x" * 1024, "<script>", "%", "'; DROP TABLE call --", "~~~", "a\0b"):
        page = await client.get(f"/console/calls?q={quote(text, safe='')}")
        assert page.status == 200
        assert "<script>" not in page.html
        assert "None of your calls has this id" in page.text


# -- the list and its filters ---------------------------------------------------------------------


async def test_a_row_tells_stage_outcome_with_its_reason_what_comes_next_and_problems(
    site: Site,
) -> None:
    quarantined = await site.quarantined("cards-voice")
    absent = await site.absent("banking-voice")
    open_call = await site.in_flight("insurance-voice")
    page = await (await site.login("viewer")).get("/console/calls")
    rows = {i: row for row in page.text.split("<tr>") for i in ids(page) if f">{i}<" in row}
    assert "in quarantine" in rows[quarantined.call_id]
    assert "OCP's copy is unusable too" in rows[quarantined.call_id]
    assert "longer than the call" in rows[quarantined.call_id]
    assert "no recording" in rows[absent.call_id]
    assert "never recorded" in rows[absent.call_id]
    assert "in flight" in rows[open_call.call_id]
    assert re.search(r"in \d+ d", rows[open_call.call_id])
    assert "insurance" in rows[open_call.call_id]
    assert "emea-retail" in rows[open_call.call_id]


async def test_every_filter_leaves_exactly_its_calls(site: Site) -> None:
    stored = await site.stored("cards-voice")
    flying = await site.in_flight("cards-voice")
    bad = await site.quarantined("banking-voice")
    lost = await site.lost("banking-voice")
    nowhere = await site.in_flight("unknown-app")
    started = await site.console.desk.world.calls.load(flying.call_id)
    assert started is not None
    client = await site.login("operator")
    expected: list[tuple[dict[str, str], set[str]]] = [
        ({"lob": "cards"}, {stored.call_id, flying.call_id}),
        ({"lob": "-"}, {nowhere.call_id}),
        ({"lob": "cards", "stage": "call_ended"}, {flying.call_id}),
        ({"stage": "stored"}, {stored.call_id}),
        ({"outcome": "stored"}, {stored.call_id}),
        ({"outcome": "none"}, {flying.call_id, nowhere.call_id}),
        ({"outcome": "quarantined"}, {bad.call_id}),
        ({"problem": "duration.longer"}, {bad.call_id}),
        ({"problem": "retention_over"}, {lost.call_id}),
        ({"problem": "bad_at_ocp", "lob": "cards"}, set()),
        ({"group": "emea-retail", "term": "lost"}, {lost.call_id}),
        ({"group": "nowhere"}, set()),
        ({"term": "file_received"}, {stored.call_id, bad.call_id}),
        ({"term": "streamed"}, {stored.call_id}),
        ({"term": "recovered"}, set()),
        ({"to": "2026-01-01"}, set()),
        ({"from": "2026-01-01", "to": "2099-12-31T23:59:59.999Z", "term": "in_flight"},
         {flying.call_id, nowhere.call_id}),
    ]  # fmt: skip
    for query, wanted in expected:
        assert {row["call_id"] for row in await exported(client, **query)} == wanted, query
        assert set(ids(await client.get(f"/console/calls?{urlencode(query)}"))) == wanted, query


async def test_nobody_lists_another_s_calls_whatever_they_ask_for(site: Site) -> None:
    mine = await site.in_flight("cards-voice")
    await site.in_flight("banking-voice")
    await site.in_flight("unknown-app")
    client = await site.login("cards_operator")
    assert [row["call_id"] for row in await exported(client)] == [mine.call_id]
    for lob in ("banking", "-", "unassigned", "*"):
        assert await exported(client, lob=lob) == []
        assert ids(await client.get(f"/console/calls?lob={lob}")) == []
    page = await client.get("/console/calls")
    assert '<option value="banking"' not in page.html
    assert '<option value="-"' not in page.html


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("from=yesterday", "“Began from” is no time"),
        ("to=2026-13-01", "“Began before” is no time"),
        ("stage=x", "no such stage"),
        ("outcome=fine", "no such outcome"),
        ("problem=x", "no such problem"),
        ("term=t01", "no such counter"),
        ("cursor=x", "`cursor`"),
        (f"lob={'x' * 300}", "line of business"),
    ],
)
async def test_a_filter_that_is_none_says_which_part(site: Site, query: str, words: str) -> None:
    client = await site.login("viewer")
    for path in ("/console/calls", "/console/calls.csv"):
        if "cursor" in query and path.endswith("csv"):
            continue  # a CSV begins at the beginning
        page = await client.get(f"{path}?{query}")
        assert page.status == 400
        assert words in page.text


async def test_the_form_shows_the_filter_that_the_page_is_of(site: Site) -> None:
    query = "from=2026-11-22&to=2026-11-22T10:30:15.5Z&lob=cards&stage=stored&term=streamed"
    page = await (await site.login("viewer")).get(f"/console/calls?{query}")
    assert 'name="from" step="any" value="2026-11-22T00:00:00"' in page.html
    assert 'name="to" step="any" value="2026-11-22T10:30:15.500"' in page.html
    for option in ("cards", "stored", "streamed"):
        assert re.search(rf'<option value="{option}" selected>', page.html)


# -- pages ----------------------------------------------------------------------------------------


async def test_pages_follow_one_another_to_the_end(site: Site) -> None:
    made = await many(site, PAGE_CALLS + 7)
    client = await site.login("viewer")
    first = await client.get("/console/calls?lob=banking")
    following = next_of(first)
    assert following is not None
    assert "lob=banking" in following
    second = await client.get(following)
    assert (len(ids(first)), len(ids(second))) == (PAGE_CALLS, 7)
    assert sorted(ids(first) + ids(second)) == sorted(made)
    assert next_of(second) is None
    assert 'rel="first"' in second.html


async def test_pages_never_show_a_call_twice_nor_skip_one_while_calls_arrive(site: Site) -> None:
    reader = filters.reader(site.world.calls, Deriving.of(site.world.settings))
    made = await many(site, 12)
    for chosen in (Filter(), Filter(term="in_flight"), Filter(lob="banking", outcome="none")):
        shown: list[str] = []
        cursor: str | None = None
        while True:
            found, cursor = await reader.page(chosen, ALL, cursor, 3)
            shown += [one.call.call_id for one in found]
            if cursor is None:
                break
            await many(site, 2)
        assert len(shown) == len(set(shown))
        assert set(made) <= set(shown)
        made = [*shown, *made]


async def test_a_page_whose_filter_drops_calls_is_filled_from_the_following(site: Site) -> None:
    """Terms are judged on the record: what the index can't say costs reads, never a call."""
    bad = [(await site.too_long()).call_id for _ in range(2)]
    await many(site, 9)
    older = [(await site.too_long()).call_id]
    reader = filters.reader(site.world.calls, Deriving.of(site.world.settings))
    found, cursor = await reader.page(Filter(term="file_received"), ALL, None, 2)
    assert len(found) == 2
    rest, cursor = await reader.page(Filter(term="file_received"), ALL, cursor, 2)
    assert cursor is None
    assert {one.call.call_id for one in (*found, *rest)} == {*bad, *older}


# -- CSV ------------------------------------------------------------------------------------------


async def test_the_csv_holds_the_whole_search_and_says_who_took_it(site: Site) -> None:
    made = await many(site, PAGE_CALLS + 12, "cards-voice")
    client = await site.login("cards_operator")
    with structlog.testing.capture_logs() as lines:
        page = await client.get("/console/calls.csv?lob=cards")
    rows = list(csv.DictReader(io.StringIO(page.body.decode(), newline="")))
    assert sorted(row["call_id"] for row in rows) == sorted(made)
    assert tuple(rows[0]) == export_csv.COLUMNS
    assert page.headers["Content-Type"].startswith("text/csv")
    assert re.fullmatch(r'attachment; filename="calls-\d{8}T\d{6}Z\.csv"',
                        page.headers["Content-Disposition"])  # fmt: skip
    told = [line for line in lines if line["event"] == "console.exported"]
    assert [(t["person"], t["rows"], t["cut"]) for t in told] == [
        ("cards_operator", len(made), False)
    ]
    assert page.body.count(b"\r\n") == len(made) + 1


async def test_a_cell_that_begins_like_a_formula_is_quoted(site: Site) -> None:
    for number, prefix in enumerate(("=", "+", "-", "@", "\t", "'", '"')):
        ident = f"{prefix}cmd|' /C calc'!A0,{number}"
        body = site.talk().start(id=ident, group=ident)
        if not ident[0].isspace():  # ids are stripped where they come in
            await site.events(body)
    talk = await site.in_flight()
    await site.world.calls.append(
        [ev.closed(talk.call_id, "absent", epoch=0, at_ms=site.world.clock.now_ms(),
                   reason='=HYPERLINK("http://x";"y")\r\nnext')]
    )  # fmt: skip
    page = await (await site.login("viewer")).get("/console/calls.csv")
    rows = list(csv.reader(io.StringIO(page.body.decode(), newline=""), strict=True))
    assert len(rows) == 8
    for cell in (cell for row in rows for cell in row if cell):
        assert cell[0] not in "=+-@\t\r\n"
    assert any(row[0].startswith("'=cmd") for row in rows)
    assert any('\'=HYPERLINK("http://x";"y")\r\nnext' in row for row in rows)


@given(st.lists(st.text(st.characters(codec="utf-8")), min_size=1))
def test_every_line_can_be_read_back_but_for_the_apostrophe(cells: list[str]) -> None:
    read = next(csv.reader(io.StringIO(export_csv.line(cells), newline=""), strict=True))
    assert [cell.removeprefix("'") for cell in read] == [cell.removeprefix("'") for cell in cells]
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) for cell in read)


async def test_a_csv_that_is_cut_says_so_in_its_last_line(site: Site) -> None:
    await many(site, 7)
    reader = filters.reader(site.world.calls, Deriving.of(site.world.settings))
    for rows_max, cut in ((5, True), (7, False), (8, False)):
        first = await reader.page(Filter(), ALL, None, min(3, rows_max))
        policy = site.world.settings.policy
        pieces = [
            piece async for piece in
            export_csv.rows(reader, Filter(), ALL, policy, first, rows_max=rows_max)
        ]  # fmt: skip
        lines = b"".join(pieces).decode().splitlines()
        assert lines[-1].startswith('"CUT: only the first') is cut
        assert len(lines) == 1 + min(7, rows_max) + cut


# -- saved searches -------------------------------------------------------------------------------


def saved(page: Page) -> dict[str, str]:
    """The person's own links: name → where to."""
    return {
        unescape(name): unescape(href)
        for href, name in re.findall(
            r'class="chip chip--own"[^>]*><a href="([^"]+)"[^>]*>([^<]+)<', page.html
        )
    }


async def test_a_search_is_saved_found_again_replaced_and_deleted(site: Site) -> None:
    client = await site.login("viewer")
    page = await client.post(
        "/console/searches", name=" Bad  <cards> ", query="lob=cards&outcome=quarantined&cursor=x"
    )
    assert page.status == 200
    assert "The search is saved" in page.text
    link = saved(page)["Bad <cards>"]
    assert parse_qs(urlsplit(link).query) == {"lob": ["cards"], "outcome": ["quarantined"]}
    page = await client.post("/console/searches", name="bad <cards>", query="lob=cards")
    assert saved(page) == {"bad <cards>": "/console/calls?lob=cards"}
    gone = re.search(r'name="id" value="([^"]+)"', page.html)
    assert gone is not None
    for _ in range(2):
        page = await client.post("/console/searches/delete", id=gone.group(1), query="")
        assert page.status == 200
        assert saved(page) == {}


async def test_saved_searches_are_one_s_own_and_bounded(site: Site) -> None:
    viewer, auditor = await site.login("viewer"), await site.login("auditor")
    await viewer.post("/console/searches", name="mine", query="outcome=lost")
    assert saved(await auditor.get("/console/calls")) == {}
    links = saved_links.SavedLinks(site.desk.notes)
    for number in range(saved_links.LINKS_MAX):
        await links.add(auditor.person, f"link {number}", "outcome=lost")
    page = await auditor.post("/console/searches", name="one more", query="")
    assert page.status == 400
    assert "Delete one first" in page.text
    page = await auditor.post("/console/searches", name="LINK 3", query="outcome=absent")
    assert len(saved(page)) == saved_links.LINKS_MAX


@pytest.mark.parametrize(
    ("name", "query"), [("", "lob=cards"), ("x" * 61, ""), ("x", "stage=nonsense")]
)
async def test_a_search_that_can_not_be_saved_says_why(site: Site, name: str, query: str) -> None:
    page = await (await site.login("viewer")).post("/console/searches", name=name, query=query)
    assert page.status == 400


# -- on to bulk work ------------------------------------------------------------------------------


async def test_operators_take_the_search_on_to_bulk_work_and_others_do_not(site: Site) -> None:
    await site.quarantined()
    query = "outcome=quarantined&lob=banking"
    page = await (await site.login("operator")).get(f"/console/calls?{query}")
    found = re.search(r'href="(/console/bulk/new[^"]*)"', page.html)
    assert found is not None
    assert parse_qs(urlsplit(unescape(found.group(1))).query) == parse_qs(query)
    for name in ("viewer", "auditor"):
        page = await (await site.login(name)).get(f"/console/calls?{query}")
        assert "/console/bulk/new" not in page.html


async def test_what_bulk_work_takes_is_what_the_list_shows(site: Site) -> None:
    """Also where a term, which no index knows, narrows it."""
    flying = await site.in_flight("cards-voice")
    await site.stored("cards-voice")
    query = "term=in_flight&lob=cards"
    client = await site.login("cards_operator")
    assert ids(await client.get(f"/console/calls?{query}")) == [flying.call_id]
    page = await client.get(f"/console/bulk/new?{query}")
    assert page.status == 200
    assert ids(page) == [flying.call_id]


# -- parts ----------------------------------------------------------------------------------------


def test_a_day_is_one_of_the_console_s_time_zone_and_its_end_is_its_last_moment() -> None:
    zone = ZoneInfo("America/Santiago")
    begin = moment("from", "2026-11-22", zone)
    end = moment("to", "2026-11-22", zone, end=True)
    assert begin == moment("from", "2026-11-22T03:00:00Z", zone)
    assert end is not None
    assert begin is not None
    assert end - begin == 24 * HOUR_MS
    assert moment("to", "2026-11-22T10:00", zone, end=True) == begin + 10 * HOUR_MS


@given(st.integers(1_700_000_000_000, 1_900_000_000_000))
def test_a_time_in_the_form_is_the_time_of_the_link(at_ms: int) -> None:
    zone = ZoneInfo("Asia/Tokyo")  # no hour comes twice there
    assert moment("from", local(at_ms, zone), zone) == at_ms


@given(st.dictionaries(
    st.sampled_from(["from", "to", "lob", "group", "stage", "outcome", "problem", "term", "x"]),
    st.sampled_from(["", "stored", "lost", "none", "2026-11-22", "2026-11-22T10:00:00Z", "a b"]),
))  # fmt: skip
def test_a_filter_read_back_from_its_own_url_is_the_same(params: dict[str, str]) -> None:
    zone = ZoneInfo("UTC")
    try:
        chosen = filter_of(params, zone)
    except Invalid:
        return
    assert filter_of(chosen.params(), zone) == chosen


def test_every_problem_has_a_name_in_both_languages() -> None:
    held = texts()
    assert all(label_of(code)[0] in held for code in CODES)


def test_every_code_that_a_call_may_have_can_be_searched_by() -> None:
    plain = {code for code in TABLE if not code.endswith(".*")}
    family = {f"{of}.{name}" for name, (of, _) in NAMES.items()}
    assert plain | family | set(JUDGED) | set(CLOSINGS) == CODES
    assert set(CLOSINGS) <= set(WHY)
    import inspect

    from ocp_ingest.core import lifecycle, rules

    source = inspect.getsource(rules)
    assert set(re.findall(r'"((?:duration|content|identity|rule)\.[a-z_]+)"', source)) | {
        code for code in JUDGED if code.startswith("format.")
    } == set(JUDGED)
    closings = re.findall(r'Work\("close_\w+", .*?"(\w+)", root_id\)', inspect.getsource(lifecycle))
    assert set(closings) <= set(CLOSINGS)
