"""The dashboard is current, names no metric or label that is not there, and leaves none out."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import pytest

from ocp_ingest.core.incidents import INCIDENT_KINDS
from ocp_ingest.telemetry import METRICS
from ocp_ingest.tracing import SPANS
from tests.docs.pages import DOCS
from tools import grafana

BOARD: Final[dict[str, Any]] = json.loads(grafana.FILE.read_text("utf-8"))
PANELS: Final[list[dict[str, Any]]] = [p for p in BOARD["panels"] if p["type"] != "row"]
EXPRESSIONS: Final[list[str]] = [t["expr"] for p in PANELS for t in p["targets"]]

each_panel = pytest.mark.parametrize("panel", PANELS, ids=[p["title"] for p in PANELS])


def test_the_file_is_what_the_generator_makes() -> None:
    assert not grafana.stale(), "run python tools/grafana.py"


def test_every_metric_is_on_it_and_none_that_is_not_there() -> None:
    named = {name for text in EXPRESSIONS for name in re.findall(r"ocp_ingest_\w+", text)}
    assert {grafana.metric_of(name) for name in named} == set(METRICS)


def test_every_legend_is_of_labels_that_the_query_keeps() -> None:
    for panel in PANELS:
        for target in panel["targets"]:
            kept = set(re.findall(r"by \(([^)]*)\)", target["expr"]))
            labels = {label.strip() for group in kept for label in group.split(",")}
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= labels


def test_labels_that_are_summed_by_are_the_metric_s() -> None:
    for text in EXPRESSIONS:
        [name] = set(re.findall(r"ocp_ingest_\w+", text))
        labels = {*METRICS[grafana.metric_of(name)][2], "le"}
        for group in re.findall(r"by \(([^)]*)\)", text):
            assert {label.strip() for label in group.split(",")} <= labels, text


def test_every_query_is_of_the_chosen_jobs_and_balanced() -> None:
    for text in EXPRESSIONS:
        assert text.count("ocp_ingest_") == text.count('{job=~"$job"')
        for left, right in ("()", "{}", "[]"):
            assert text.count(left) == text.count(right), text


@pytest.mark.parametrize(
    "wrong", ["max($no_such)", 'max($calls{colour="red"})', "max($request_seconds)"]
)
def test_what_does_not_exist_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="no"):
        grafana.written(wrong)


@each_panel
def test_a_panel_says_what_it_shows(panel: dict[str, Any]) -> None:
    assert len(panel["description"]) > 15
    assert panel["datasource"]["uid"] == "${datasource}"
    assert panel["fieldConfig"]["defaults"]["unit"]


def test_runbooks_that_are_named_exist() -> None:
    said = {name for p in PANELS for name in re.findall(r"[Rr]unbook (\w+)", p["description"])}
    assert said
    assert said <= set(INCIDENT_KINDS)


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not cells & taken
        taken |= cells


def test_it_asks_for_the_data_source_and_the_job() -> None:
    assert [one["name"] for one in BOARD["templating"]["list"]] == ["datasource", "job"]
    assert BOARD["schemaVersion"] >= 39
    assert "id" not in BOARD  # Grafana gives one at import


def test_the_page_on_monitoring_names_metrics_and_spans_that_are_there() -> None:
    text = (DOCS / "how-to" / "monitor.md").read_text("utf-8")
    named = set(re.findall(r"\bocp_ingest_[a-z_]+", text))
    assert named
    assert {grafana.metric_of(name) for name in named} <= set(METRICS)
    said = set(re.findall(r"`((?:event|recording|step|export)\.\w+|call)`", text))
    assert said == set(SPANS)
