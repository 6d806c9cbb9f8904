"""Alerts: where they go, whether a channel is quiet now, a test of each, and what was told."""

from __future__ import annotations

from typing import Final

import msgspec
from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.response import Response

from ocp_ingest.adapters.notify.settings import AnyChannel, wants_of
from ocp_ingest.core.incident_words import meaning
from ocp_ingest.core.incidents import INCIDENT_KINDS
from ocp_ingest.core.masking import mask_text
from ocp_ingest.core.quiet import quiet_until
from ocp_ingest.desk.alerts import test as send_test
from ocp_ingest.desk.notify import Wants
from ocp_ingest.desk.ports import Alert
from ocp_ingest.entrypoints.console.deps import Console
from ocp_ingest.entrypoints.console.page import AnyRequest, Visit, form_of, visit_of
from ocp_ingest.entrypoints.console.runbooks import capital

ALERTS_SHOWN_MAX: Final = 100


class ChannelRow(msgspec.Struct, frozen=True):
    """A channel; `quiet_until_ms` is when the quiet hours that hold now end."""

    name: str
    kind: str
    target: str
    wants: Wants
    quiet_until_ms: int | None


class AlertRow(msgspec.Struct, frozen=True):
    """An alert; `state` is sent, waiting, failed or given_up, `title` what it is about."""

    alert: Alert
    state: str
    badge: str
    title: str
    error: str


_BADGES: Final = {"sent": "ok", "waiting": "info", "failed": "warn", "given_up": "bad"}


def routes(console: Console) -> list[HTTPRouteHandler]:
    """All routes of the page."""

    @get("/alerts")
    async def alerts(request: AnyRequest) -> Response[bytes]:
        visit = visit_of(request)
        visit.person.require("see")
        found = await console.desk.alerts.alerts(limit=ALERTS_SHOWN_MAX)
        return console.page(
            visit, "alerts.html", tab="alerts",
            channels=[_channel(console, visit, one) for one in console.config.alerts.channels],
            rows=[_alert(visit, one) for one in found], may_act=visit.person.may("act"),
        )  # fmt: skip

    @post("/alerts/test")
    async def test(request: AnyRequest) -> Response[bytes]:
        visit = visit_of(request)
        visit.person.require("act")
        channel = (await form_of(request, "channel"))["channel"]
        done = await send_test(console.desk, console.channels, channel, visit.person.name)
        taken = done.sent_at_ms is not None
        return console.go(
            "/alerts", "incidents.alerts.taken" if taken else "incidents.alerts.refused",
            tone="ok" if taken else "bad", visit=visit, channel=channel,
            error=mask_text(done.error),
        )  # fmt: skip

    return [alerts, test]


def _channel(console: Console, visit: Visit, channel: AnyChannel) -> ChannelRow:
    wants = wants_of(channel, console.config.alerts)
    kind = str(msgspec.to_builtins(channel)["kind"])
    return ChannelRow(
        channel.name, kind, _target(channel), wants,
        quiet_until(wants.quiet, wants.time_zone, visit.now_ms),
    )  # fmt: skip


def _target(channel: AnyChannel) -> str:
    """Where it goes, without what is only for whoever configures it: paths may hold tokens."""
    said = msgspec.to_builtins(channel)
    if "url" in said:
        scheme, _, rest = str(said["url"]).partition("://")
        return f"{scheme}://{rest.partition('/')[0]}"
    if "topic_arn" in said:
        return str(said["topic_arn"]).rpartition(":")[2]
    return ", ".join(said["recipients"])


def _alert(visit: Visit, alert: Alert) -> AlertRow:
    if alert.sent_at_ms is not None:
        state = "sent"
    elif alert.given_up:
        state = "given_up"
    else:
        state = "failed" if alert.error else "waiting"
    kind = alert.incident.kind
    title = capital(meaning(kind, visit.lang)) if kind in INCIDENT_KINDS else ""
    return AlertRow(alert, state, _BADGES[state], title, mask_text(alert.error))
