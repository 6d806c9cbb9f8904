"""Makes docs/grafana/ocp-ingest.json, the dashboard for Grafana; `--check` fails when it is stale.

Rows and panels are tables below. In an expression `$name` stands for a metric of
ocp_ingest.telemetry.METRICS (without its prefix) of the chosen jobs: `$oldest_open_seconds` becomes
`ocp_ingest_oldest_open_seconds{job=~"$job"}`, and `$calls{term="lost"}` joins its labels. A name
that METRICS does not have, or a label that its metric does not have, is an error here.

Gauges are the same from every process of a deployment: `max` takes one. Counters are of each.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

from ocp_ingest.telemetry import METRICS

ROOT: Final = Path(__file__).resolve().parent.parent
FILE: Final = ROOT / "docs" / "grafana" / "ocp-ingest.json"
# Of Grafana 12; newer ones read older schemas.
SCHEMA_VERSION: Final = 41
PREFIX: Final = "ocp_ingest_"
_WIDE: Final = 24
_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_METRIC: Final = re.compile(r"\$([a-z]\w*)(?:\{([^}]*)\})?")
_LABEL: Final = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"')
# What a query may say with a dollar that is no metric of ours.
_GRAFANA: Final = frozenset({"__rate_interval", "job"})
_OF_HISTOGRAM: Final = ("_bucket", "_sum", "_count")


class Query(NamedTuple):
    """One line of a panel; `legend` as Grafana writes it, with {{labels}}."""

    expr: str
    legend: str = ""


class Panel(NamedTuple):
    """`kind`: stat or timeseries. `bad`: (from, colour) steps of a stat's threshold."""

    title: str
    description: str
    kind: str
    unit: str
    queries: tuple[Query, ...]
    width: int = 8
    bad: tuple[tuple[float | None, str], ...] = ((None, "green"),)
    stacked: bool = False


_RISES: Final = ((None, "green"), (1.0, "red"))
_WARNS: Final = ((None, "green"), (1.0, "orange"))

ROWS: Final[dict[str, tuple[Panel, ...]]] = {
    "Is any call in danger?": (
        Panel(
            "Ready", "1: the process may be given work. 0: see /readyz for what it lacks.",
            "stat", "short", (Query("min($ready)"),), 3, ((None, "red"), (1.0, "green")),
        ),
        Panel(
            "Law holds", "Started = stored + absent + quarantined + lost + in flight, at the last "
            "check from its own sources. 0: runbook conservation_broken.",
            "stat", "short", (Query("min($law_holds)"),), 3, ((None, "red"), (1.0, "green")),
        ),
        Panel(
            "Checked", "How long ago the law was checked; it is every night.",
            "stat", "s", (Query("time() - max($law_checked_timestamp_seconds)"),), 3,
            ((None, "green"), (93_600.0, "orange"), (180_000.0, "red")),
        ),
        Panel(
            "Critical incidents", "Open now; the console lists them, each with its runbook.",
            "stat", "short", (Query('max($incidents_open{severity="critical"})'),), 3, _RISES,
        ),
        Panel(
            "Warnings", "Open incidents that are not critical.",
            "stat", "short", (Query('max($incidents_open{severity="warning"})'),), 3, _WARNS,
        ),
        Panel(
            "Lost", "Calls whose recording could not be had before OCP deleted it.",
            "stat", "short", (Query('max($calls{term="lost"})'),), 3, _RISES,
        ),
        Panel(
            "In flight", "Calls whose recording is not stored yet and whose work is open.",
            "stat", "short", (Query('max($calls{term="in_flight"})'),), 3,
        ),
        Panel(
            "Least time left", "Until OCP deletes the recording of the call in flight that began "
            "first. Below a week: runbook retention_near.",
            "stat", "s", (Query("min($retention_left_seconds)"),), 3,
            ((None, "red"), (604_800.0, "orange"), (1_209_600.0, "green")),
        ),
    ),
    "Completeness": (
        Panel(
            "Completeness", "Recordings stored of those due, per line of business, over the period "
            "of [alerts]. Below the objective: runbook completeness_low.",
            "timeseries", "percentunit",
            (Query("min by (lob) ($completeness_ratio)", "{{lob}}"),),
        ),
        Panel(
            "Delivered by the stream", "Of the recordings that came; 90 % are expected. The rest "
            "is brought by exports, later. Runbook stream_share_low.",
            "timeseries", "percentunit", (Query("min by (lob) ($streamed_ratio)", "{{lob}}"),),
        ),
        Panel(
            "Time to store", "From a call's end to its recording in the bucket: seconds for "
            "streamed ones, hours for those that an export brings.",
            "timeseries", "s",
            tuple(
                Query(
                    f"histogram_quantile({share}, sum by (le, source) "
                    "(rate($time_to_store_seconds_bucket[$__rate_interval])))",
                    f"{{{{source}}}} p{int(share * 100)}",
                )
                for share in (0.5, 0.95)
            ),
        ),
        Panel(
            "Terms of the law", "Each counted from its own source.",
            "timeseries", "short", (Query("max by (term) ($calls)", "{{term}}"),), 12,
        ),
        Panel(
            "Stored", "Bytes of recordings stored per second, per line of business.",
            "timeseries", "Bps",
            (Query("sum by (lob) (rate($stored_bytes_total[$__rate_interval]))", "{{lob}}"),), 12,
        ),
    ),
    "Backlog": (
        Panel(
            "Open calls by age", "Calls in flight by how long ago they began: h1 is up to an "
            "hour, d30 up to thirty days.",
            "timeseries", "short", (Query("max by (age) ($open_calls)", "{{age}}"),), 8,
            stacked=True,
        ),
        Panel(
            "Oldest open call", "Age of the call in flight that began first.",
            "timeseries", "s", (Query("max($oldest_open_seconds)", "age"),),
        ),
        Panel(
            "Stuck", "Age of the oldest call in a state, once it comes near the state's bound. "
            "Runbook calls_stuck.",
            "timeseries", "s", (Query("max by (state) ($stuck_seconds)", "{{state}}"),),
        ),
    ),
    "The door": (
        Panel(
            "Events", "Vendor messages per second, by what became of them.",
            "timeseries", "reqps",
            (Query("sum by (result) (rate($events_total[$__rate_interval]))", "{{result}}"),),
        ),
        Panel(
            "Recordings", "Deliveries per second, by what became of them. Refused: runbook "
            "subscription_silent.",
            "timeseries", "reqps",
            (Query("sum by (result) (rate($recordings_total[$__rate_interval]))", "{{result}}"),),
        ),
        Panel(
            "Bytes taken", "Of recordings, per second.",
            "timeseries", "Bps", (Query("sum(rate($recording_bytes_total[$__rate_interval]))"),),
        ),
        Panel(
            "Answers", "Requests per second by status; 503 is back-pressure, 4xx is for the "
            "sender.",
            "timeseries", "reqps",
            (Query("sum by (status) (rate($requests_total[$__rate_interval]))", "{{status}}"),),
        ),
        Panel(
            "Answer time, p95", "Per route, from a request's head to the end of its answer; of "
            "uploads, all of their bytes.",
            "timeseries", "s",
            (Query(
                "histogram_quantile(0.95, sum by (le, route) "
                "(rate($request_seconds_bucket[$__rate_interval])))", "{{route}}",
            ),),
        ),
        Panel(
            "Tokens refused", "Per second: 401 missing or bad, 403 without the scope.",
            "timeseries", "reqps",
            (Query(
                "sum by (status) (rate($tokens_refused_total[$__rate_interval]))", "{{status}}",
            ),),
        ),
    ),
    "Inside": (
        Panel(
            "Queue", "Messages that wait for a worker or are held by one; uploads under way.",
            "timeseries", "short",
            (Query("max($queue_depth)", "queue"), Query("sum($uploads)", "uploads")),
        ),
        Panel(
            "Steps, p95", "Time of a step of a recording's way.",
            "timeseries", "s",
            (Query(
                "histogram_quantile(0.95, sum by (le, step) "
                "(rate($step_seconds_bucket[$__rate_interval])))", "{{step}}",
            ),),
        ),
        Panel(
            "Steps that failed", "Per second; each is tried again. Runbook step_parked.",
            "timeseries", "ops",
            (Query("sum by (step) (rate($steps_failed_total[$__rate_interval]))", "{{step}}"),),
        ),
        Panel(
            "Export jobs", "That came to an end in the last hour, by which end.",
            "timeseries", "short",
            (Query("sum by (end) (increase($export_jobs_total[1h]))", "{{end}}"),), 12,
        ),
        Panel(
            "Alerts", "In the last hour, by channel and what became of them. Runbook "
            "alerts_undelivered.",
            "timeseries", "short",
            (Query(
                "sum by (channel, result) (increase($alerts_total[1h]))", "{{channel}} {{result}}",
            ),), 12,
        ),
    ),
}  # fmt: skip


def dashboard() -> dict[str, Any]:
    """The whole dashboard, as Grafana imports it."""
    return {
        "uid": "ocp-ingest",
        "title": "ocp-ingest",
        "description": "Whether any call recording is in danger, and why.",
        "tags": ["ocp-ingest"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": "1m",
        "time": {"from": "now-24h", "to": "now"},
        "annotations": {"list": []},
        "links": [],
        "templating": {"list": [_data_source(), _jobs()]},
        "panels": _panels(),
    }


def _data_source() -> dict[str, Any]:
    return {
        "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus",
        "multi": False, "includeAll": False, "refresh": 1, "hide": 0, "options": [], "current": {},
    }  # fmt: skip


def _jobs() -> dict[str, Any]:
    query = f"label_values({PREFIX}ready, job)"
    return {
        "name": "job", "label": "Job", "type": "query", "datasource": _SOURCE, "query": query,
        "definition": query, "multi": True, "includeAll": True, "allValue": ".+", "refresh": 2,
        "sort": 1, "hide": 0, "options": [], "current": {"text": "All", "value": "$__all"},
    }  # fmt: skip


def _panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    y = 0
    for title, panels in ROWS.items():
        place = {"h": 1, "w": _WIDE, "x": 0, "y": y}
        found.append({
            "id": len(found) + 1, "type": "row", "title": title, "collapsed": False,
            "gridPos": place, "panels": [],
        })  # fmt: skip
        y, x = y + 1, 0
        height = 4 if panels[0].kind == "stat" else 8
        for panel in panels:
            if x + panel.width > _WIDE:
                x, y = 0, y + height
            place = {"h": height, "w": panel.width, "x": x, "y": y}
            found.append(_panel(len(found) + 1, panel, place))
            x += panel.width
        y += height
    return found


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    steps = [{"color": colour, "value": value} for value, colour in panel.bad]
    defaults: dict[str, Any] = {
        "unit": panel.unit, "min": 0, "thresholds": {"mode": "absolute", "steps": steps},
        "color": {"mode": "thresholds" if panel.kind == "stat" else "palette-classic"},
    }  # fmt: skip
    if panel.kind == "timeseries":
        stacking = {"mode": "normal" if panel.stacked else "none", "group": "A"}
        defaults["custom"] = {
            "drawStyle": "line", "lineWidth": 1, "fillOpacity": 30 if panel.stacked else 0,
            "showPoints": "never", "spanNulls": True, "stacking": stacking,
        }  # fmt: skip
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _STAT if panel.kind == "stat" else _LINES,
        "targets": [
            {
                "refId": chr(ord("A") + n), "datasource": _SOURCE, "editorMode": "code",
                "range": True, "expr": written(query.expr),
                "legendFormat": query.legend or "__auto",
            }
            for n, query in enumerate(panel.queries)
        ],
    }  # fmt: skip


_STAT: Final = {
    "colorMode": "background", "graphMode": "none", "justifyMode": "auto", "textMode": "value",
    "orientation": "auto",
    "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
}  # fmt: skip
_LINES: Final = {
    "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
    "tooltip": {"mode": "multi", "sort": "desc"},
}


def written(expr: str) -> str:
    """An expression with metrics for their short names. Raises ValueError for a name we lack."""

    def whole(found: re.Match[str]) -> str:
        name, labels = found.group(1), found.group(2) or ""
        if name in _GRAFANA:
            return found.group(0)
        metric = metric_of(PREFIX + name)
        strange = set(_LABEL.findall(labels)) - set(METRICS[metric][2])
        if strange:
            raise ValueError(f"{metric} has no label {', '.join(sorted(strange))}: {expr}")
        joined = ", ".join(part for part in ('job=~"$job"', labels) if part)
        return f"{PREFIX}{name}{{{joined}}}"

    return _METRIC.sub(whole, expr)


def metric_of(name: str) -> str:
    """The metric of METRICS that a name in an expression stands for. Raises ValueError."""
    if name in METRICS and METRICS[name][0] != "histogram":
        return name
    for suffix in _OF_HISTOGRAM:
        base = name.removesuffix(suffix)
        if name.endswith(suffix) and base in METRICS and METRICS[base][0] == "histogram":
            return base
    raise ValueError(f"{name} is no series of ocp_ingest.telemetry.METRICS")


def text() -> str:
    """The file's content."""
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"


def stale() -> bool:
    """Whether the file does not say what the tables say."""
    return not FILE.exists() or FILE.read_text("utf-8") != text()


def main(arguments: list[str]) -> int:
    """Writes the file, or with --check says whether it is stale."""
    if "--check" in arguments:
        if stale():
            sys.stderr.write(f"{FILE.relative_to(ROOT)} is stale: python tools/grafana.py\n")
        return int(stale())
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(text(), "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
