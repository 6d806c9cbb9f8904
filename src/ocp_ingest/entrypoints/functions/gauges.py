"""What a look at everything measures, as CloudWatch metrics in its log lines (embedded metrics).

Metric                    per        is
OldestPendingAgeSeconds   ocp_group  how long the earliest open work has been due; 0 when none is
PendingCalls              ocp_group  calls with open work, due or not
IncidentsOpen             kind       open incidents; every kind each time, so that 0 is said too
CallsInFlight             –          open calls whose recording is not stored
CallsLost                 –          calls of the last DAYS_MAX days that are lost

Dimensions are bounded: groups are configured, kinds are a closed set. Times are domain time.
Nothing here costs by how many calls there ever were: what is open is read from its index, what is
lost from counters of days. A day that leaves the last DAYS_MAX takes its losses along; by then
OCP's retention has long been over for all of its calls.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import msgspec

from ocp_ingest.core.incidents import INCIDENT_KINDS
from ocp_ingest.core.limits import SECOND_MS
from ocp_ingest.desk.measure import recent_terms
from ocp_ingest.desk.world import Desk
from ocp_ingest.ingest.world import World
from ocp_ingest.reconcile.detect import UNKNOWN_GROUP

NAMESPACE: Final = "OcpIngest"
# Stands for calls whose group nobody told us.
UNKNOWN: Final = "unknown"
# Groups measured: each costs two metrics a month.
_GROUPS_MAX: Final = 200
# Open incidents counted; there is one per root cause and group.
_INCIDENTS_MAX: Final = 1_000


class Gauges(msgspec.Struct, frozen=True):
    """Values of one set of dimensions: name -> (unit, value)."""

    dimensions: dict[str, str]
    values: dict[str, tuple[str, float]]


async def gauges(desk: Desk, groups: tuple[str, ...]) -> list[Gauges]:
    """Measures now. Raises Transient."""
    world = desk.world
    waiting = await world.calls.pending_groups()
    named = list(dict.fromkeys((*groups, *sorted(waiting))))[:_GROUPS_MAX]
    measured = [await _group(world, group, waiting.get(group, 0)) for group in named]
    incidents = await world.incidents.incidents(limit=_INCIDENTS_MAX)
    counted = Counter(incident.kind for incident in incidents)
    measured += [
        Gauges({"kind": kind}, {"IncidentsOpen": ("Count", counted[kind])})
        for kind in INCIDENT_KINDS
    ]
    in_flight = float(sum(await desk.figures.open_ages((), None)))
    terms = await recent_terms(desk.figures, world.clock.now_ms())
    lost = float(terms.get("lost", 0))
    calls = {"CallsInFlight": ("Count", in_flight), "CallsLost": ("Count", lost)}
    return [*measured, Gauges({}, calls)]


async def _group(world: World, group: str, waiting: int) -> Gauges:
    now_ms = world.clock.now_ms()
    due = await world.calls.pending(until_ms=now_ms, limit=1, ocp_group=group)
    age_s = max(0, now_ms - due[0].at_ms) / SECOND_MS if due else 0.0
    name = UNKNOWN if group == UNKNOWN_GROUP else group
    values = {"OldestPendingAgeSeconds": ("Seconds", age_s), "PendingCalls": ("Count", waiting)}
    return Gauges({"ocp_group": name}, values)


def emit(measured: list[Gauges]) -> None:
    """Writes them to standard output, where Lambda's log finds them."""
    from aws_lambda_powertools.metrics import EphemeralMetrics

    for gauge in measured:
        # Without a service: it would be a dimension that no alarm names.
        metrics = EphemeralMetrics(namespace=NAMESPACE, service="")
        for name, value in gauge.dimensions.items():
            metrics.add_dimension(name, value)
        for name, (unit, number) in gauge.values.items():
            metrics.add_metric(name, unit, number)
        metrics.flush_metrics()
