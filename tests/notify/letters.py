"""Letters for the channels' tests."""

from __future__ import annotations

from ocp_ingest.desk.letters import letter
from ocp_ingest.desk.news import alert_of
from ocp_ingest.desk.notify import Letter, Wants
from tests.desk.fakes import START_MS, FakeChannel, channels, incident

CONSOLE = "https://recordings.example.com/console"
SPANISH = Wants(language="es", time_zone="Europe/Madrid")


def a_letter(*keys: str) -> Letter:
    """A letter about incidents of these keys; more than one make a digest."""
    to = FakeChannel("ops", SPANISH)
    alerts = [
        alert_of(to, "opened", incident(key, sample=["call-1"]), START_MS + number)
        for number, key in enumerate(keys or ("vendor_down:emea",))
    ]
    return letter(channels(to, console_url=CONSOLE), to, alerts, START_MS)
