"""Names of logs are documented literals, and nothing that is logged is personal."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

import pytest
import structlog

from ocp_ingest.telemetry import LOGS, METRICS, Metrics, set_up_logs
from tests.doors.kit import CALL, NAME, Doors, encoded, event, wav

SOURCES = Path(__file__).parents[2] / "src" / "ocp_ingest"
USED = re.compile(r'\blog\(\)\s*\.(?:debug|info|warning|error)\(\s*"([^"]+)"')


def test_every_log_name_is_documented_and_every_documented_one_is_used() -> None:
    texts = {p: p.read_text("utf-8") for p in SOURCES.rglob("*.py") if p.name != "telemetry.py"}
    used = {name for text in texts.values() for name in USED.findall(text)}
    assert used <= set(LOGS)
    assert {n for n in LOGS if not any(f'"{n}"' in text for text in texts.values())} == set()


async def test_logs_hold_no_token_no_number_and_no_attached_data(doors: Doors) -> None:
    with structlog.testing.capture_logs() as lines:
        token = doors.token()
        await doors.call("POST", "/v1/events", token=token, data=encoded(event()))
        bad = {**event(), "id": "+34600123456\n"}
        await doors.call("POST", "/v1/events", token=token, data=encoded(bad))
        await doors.call("POST", "/v1/events", token="eyJhbGciOiJub25lIn0.e30.", data=b"{}")
        await doors.call("POST", f"/v1/recordings?name={quote(NAME)}", token=token, data=wav())
        await doors.call("POST", "/v1/recordings?name=%2B34600123456.wav", token=token, data=b"x")

        async def bug(*_: object) -> None:
            raise ValueError("Ana, +34 600 123 456")

        object.__setattr__(doors.world.calls, "append", bug)
        await doors.call("POST", "/v1/events", token=token, data=encoded(event()))
    assert {line["event"] for line in lines} == {
        "token.refused", "recording.taken", "request.failed", "request.refused",
    }  # fmt: skip
    text = repr(lines)
    assert CALL in text
    for secret in ("600123456", "600 123 456", "eyJ", token, "Ana", "900100200"):
        assert secret not in text


@pytest.mark.parametrize("form", ["json", "console"])
def test_logs_go_to_standard_error(
    form: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ocp_ingest.telemetry import log

    try:
        set_up_logs(form, "info")  # type: ignore[arg-type]
        log().debug("server.stopping")
        log().info("server.started", port=7)
    finally:
        structlog.reset_defaults()
    out, err = capsys.readouterr()
    assert out == ""
    assert "server.started" in err
    assert "server.stopping" not in err


def test_metrics_of_two_processes_do_not_mix_and_labels_are_as_documented() -> None:
    one, other = Metrics(), Metrics()
    one.add("ocp_ingest_events_total", 2, "new")
    assert (
        one.value("ocp_ingest_events_total", "new"),
        other.value("ocp_ingest_events_total", "new"),
    ) == (2, 0)
    for name, (kind, meaning, labels) in METRICS.items():
        assert kind in ("counter", "gauge", "histogram")
        assert meaning
        assert all(labels.values())
        assert name.startswith("ocp_ingest_")
        assert (kind == "counter") == name.endswith("_total")
