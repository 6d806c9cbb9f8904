"""`ocp-ingest incidents …`: what is open, and closing it on a person's word."""

from __future__ import annotations

import pytest

from ocp_ingest.core.errors import Conflict
from tests.cli.kit import Shop
from tests.story.kit import hiss


def _conflict(shop: Shop) -> None:
    """Two different recordings of one dialog."""
    talk = shop.talk()
    shop.upload(talk.name, hiss(shop.rng, talk.duration_ms))
    with pytest.raises(Conflict):
        shop.upload(talk.name, hiss(shop.rng, talk.duration_ms))


def test_an_incident_is_listed_until_somebody_closes_it_with_a_reason(shop: Shop) -> None:
    shop.create()
    assert shop.run("incidents", "list").out.startswith("There is no incident")
    _conflict(shop)
    [listed] = shop.run("incidents", "list", "--json").lines()
    assert listed["key"] == "recording_conflict"
    closing = shop.run("incidents", "close", "recording_conflict", "--reason", "the first is right")
    assert closing.code == 0
    assert shop.run("incidents", "list", "--json").lines() == []
    [closed] = shop.run("incidents", "list", "--closed", "--json").lines()
    assert "the first is right" in closed["closed_how"]


def test_closing_needs_an_open_incident_and_a_reason(shop: Shop) -> None:
    shop.create()
    assert shop.run("incidents", "close", "nothing", "--reason", "x").code == 3
    _conflict(shop)
    assert shop.run("incidents", "close", "recording_conflict").code == 2
    assert shop.run("incidents", "close", "recording_conflict", "--reason", " ").code == 2
