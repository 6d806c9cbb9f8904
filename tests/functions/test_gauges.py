"""What a look at everything measures: by what is open and by days, never by every call."""

from __future__ import annotations

from ocp_ingest.core.counting import DAYS_MAX
from ocp_ingest.core.limits import DAY_MS
from ocp_ingest.entrypoints.functions.gauges import gauges
from tests.desk.office import Office


async def _calls(office: Office) -> dict[str, float]:
    *_, last = await gauges(office.desk, ())
    assert last.dimensions == {}
    return {name: value for name, (_, value) in last.values.items()}


async def test_what_is_in_flight_and_what_is_lost_is_measured() -> None:
    office = Office()
    await office.store(1)
    await office.receive(2, 3, 4)
    await office.lose(5, 6)
    assert await _calls(office) == {"CallsInFlight": 3, "CallsLost": 2}


async def test_a_loss_is_measured_until_long_after_ocps_retention() -> None:
    office = Office()
    await office.lose(1)
    office.sleep((DAYS_MAX - 2) * DAY_MS)
    assert (await _calls(office))["CallsLost"] == 1
    office.sleep(3 * DAY_MS)
    assert (await _calls(office))["CallsLost"] == 0


async def test_nothing_is_measured_by_counting_every_call() -> None:
    office = Office()
    await office.store(1)
    before = len(office.stage.faults.passed)
    await gauges(office.desk, ("emea-retail",))
    asked = set(office.stage.faults.passed[before:])
    assert "Figures.days" in asked
    assert "CallStore.counts" not in asked
