"""A letter says what, how bad, since when and where to look, in the reader's language."""

from __future__ import annotations

import re

import pytest

from ocp_ingest.core.incident_words import IN_SPANISH, meaning
from ocp_ingest.core.incidents import INCIDENT_KINDS, Incident
from ocp_ingest.desk.letters import DIGEST_LINES_MAX, TEST_KIND, letter, links
from ocp_ingest.desk.news import alert_of
from ocp_ingest.desk.notify import Channels, Letter, Wants
from ocp_ingest.desk.ports import AlertWhat
from tests.desk.fakes import START_MS, FakeChannel, channels, incident

CONSOLE = "https://recordings.example.com/console"
MADRID = FakeChannel("ops", Wants(language="es", time_zone="Europe/Madrid"))
ENGLISH = FakeChannel("ops", Wants(time_zone="Europe/Madrid"))


def written(
    what: AlertWhat, about: Incident, channel: FakeChannel = ENGLISH, url: str = CONSOLE
) -> Letter:
    everything = channels(channel, console_url=url)
    return letter(everything, channel, [alert_of(channel, what, about, START_MS)], START_MS)


def test_every_kind_of_incident_has_spanish_words() -> None:
    assert IN_SPANISH.keys() == INCIDENT_KINDS.keys()
    assert all(meaning(kind, "es") != meaning(kind, "en") for kind in INCIDENT_KINDS)


def test_a_letter_says_it_in_english() -> None:
    said = written("opened", incident(sample=["c1", "c2"]))
    assert said.subject == "[ocp-ingest] New (critical): vendor_down:emea"
    assert said.text == (
        "New: OCP's Export API does not answer.\n"
        "\n"
        "Incident: vendor_down:emea\n"
        "Severity: critical\n"
        "Detail: it does not answer\n"
        "Open since: 2026-09-21 16:13 CEST\n"
        "Calls touched: 2 (for example c1, c2)\n"
        "\n"
        f"What to do: {CONSOLE}/runbooks/vendor_down\n"
        f"Console: {CONSOLE}/incidents?key=vendor_down%3Aemea\n"
        "\n"
        "Sent by ocp-ingest.\n"
    )


def test_and_in_spanish() -> None:
    said = written("worse", incident(), MADRID)
    assert said.subject == "[ocp-ingest] Ahora crítica (crítica): vendor_down:emea"
    assert said.text.startswith("Ahora crítica: La API de exportación de OCP no responde.\n")
    assert f"Qué hacer: {CONSOLE}/runbooks/vendor_down\n" in said.text
    assert "Abierta desde: 2026-09-21 16:13 CEST" in said.text


@pytest.mark.parametrize("what", ["opened", "worse", "reminder", "closed", "test"])
@pytest.mark.parametrize("channel", [ENGLISH, MADRID])
def test_no_letter_has_gaps_or_words_of_the_other_language(
    what: AlertWhat, channel: FakeChannel
) -> None:
    said = written(what, incident(), channel)
    other = r"\b(Severity|Open since|Sent by)\b" if channel is MADRID else r"\b(Gravedad|Enviado)\b"
    assert re.search(other, said.text) is None
    assert "\n\n\n" not in said.text
    assert "{" not in said.text + said.subject


def test_without_an_address_of_the_console_there_are_no_links() -> None:
    said = written("opened", incident(), url="")
    assert "http" not in said.text
    assert said.links == (("", ""),)


def test_runbooks_may_be_elsewhere() -> None:
    def runbook(base: str) -> str:
        return links(Channels(runbooks_url=base), incident())[1]

    assert runbook("https://wiki.example.com/rb/") == "https://wiki.example.com/rb/vendor_down"
    blob = "https://github.com/o/r/blob/main/docs/runbooks"
    assert runbook(blob) == f"{blob}/vendor_down.md"


def test_what_a_vendor_named_a_group_can_neither_break_a_line_nor_fill_a_page() -> None:
    nasty = "slot_busy:emea\r\nBcc: x@y.z\u2028\x00\x1b[31m" + "x" * 10_000
    said = written("opened", incident(nasty, text=f"{nasty}: held"))
    assert len(said.subject.splitlines()) == 1
    assert all(c.isprintable() for c in said.subject)
    assert "\x1b" not in said.text
    assert "\nBcc" not in said.text
    assert len(said.text) < 2_000


def test_how_a_person_closed_an_incident_is_not_told() -> None:
    gone = Incident(
        key="unassigned", kind="unassigned", text="t", opened_at_ms=START_MS,
        closed_at_ms=START_MS + 60_000, closed_how="ana: the caller 600123456 asked for it",
    )  # fmt: skip
    said = written("closed", gone)
    assert "Closed at: 2026-09-21 16:14 CEST" in said.text
    assert "600123456" not in said.text


def test_letters_about_one_opening_are_one_thread() -> None:
    one, other = written("opened", incident()), written("closed", incident())
    assert one.thread == other.thread
    assert one.letter_id != other.letter_id
    again = written("opened", incident(at_ms=START_MS + 1))
    assert again.thread != one.thread


def test_a_digest_lists_each_and_is_bounded() -> None:
    alerts = [
        alert_of(MADRID, "opened", incident(f"unassigned:{n}", severity="warning"), START_MS + n)
        for n in range(DIGEST_LINES_MAX + 5)
    ]
    said = letter(channels(MADRID, console_url=CONSOLE), MADRID, alerts[::-1], START_MS)
    assert said.subject == "[ocp-ingest] 35 avisos desde el 2026-09-21 16:13 CEST"
    assert said.text.count("Nueva (advertencia)") == DIGEST_LINES_MAX
    assert "… y 5 más" in said.text
    assert said.severity == "warning"
    assert [a.incident.key for a in said.alerts[:2]] == ["unassigned:0", "unassigned:1"]


def test_a_test_says_so_and_leads_to_the_console() -> None:
    about = Incident(key="test", kind=TEST_KIND, text="", opened_at_ms=START_MS)
    said = written("test", about, MADRID)
    assert said.subject == "[ocp-ingest] Prueba: los avisos llegan"
    assert f"{CONSOLE}/alerts" in said.text
    assert "Gravedad" not in said.text
