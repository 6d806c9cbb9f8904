"""The table of an export job, its names, what survives the wire, and who may write."""

import re

import msgspec
import pytest
from msgspec.structs import replace

from ocp_ingest.core.export_job import (
    TABLE,
    Act,
    Action,
    Busy,
    Cancelled,
    Created,
    DownloadsFinished,
    ExportJob,
    Files,
    Gone,
    Ignore,
    LeaseLost,
    Listed,
    Nothing,
    Observation,
    Progress,
    RateLimited,
    Refused,
    Results,
    Seen,
    StandDown,
    State,
    TakenOver,
    decide,
    job_key,
    row,
    step,
    table_rows,
    timer_name,
)
from ocp_ingest.core.limits import DAY_MS, HOUR_MS
from tests.core.test_export_job import (
    FROM,
    LOST,
    NOW,
    POLICY,
    TO,
    downloading,
    export,
    planned,
    run,
    running,
    status,
)


@pytest.mark.parametrize("state", [s for s in State if s is not State.ENDED])
def test_who_lost_the_lease_or_comes_with_an_older_fence_does_nothing(state: State) -> None:
    job = replace(planned(), state=state)
    for seen in (LeaseLost(), TakenOver(2)):
        after, action = step(job, seen, NOW, POLICY)
        assert isinstance(action, StandDown)
        assert after == job


ALL_SEEN: list[Observation] = [
    Nothing(), TakenOver(9), LeaseLost(), Created(export()), Busy(), Refused(403), RateLimited(),
    LOST, Listed((export(),)), status("COMPLETED", 1), Gone(), Files(1, 1, "m"), Progress(1),
    DownloadsFinished(Results(1), 0), Cancelled(),
]  # fmt: skip


def test_an_ended_job_stays_ended() -> None:
    ended, _ = run(running(), status("FAILED", 1))
    for seen in ALL_SEEN:
        after, action = run(ended, (DAY_MS, seen))
        assert isinstance(action, Ignore)
        assert after == ended


def test_every_observation_has_a_row_in_every_state_and_the_table_documents_itself() -> None:
    kinds = {type(seen) for seen in ALL_SEEN}
    assert kinds == set(Seen.__subclasses__())
    assert set(TABLE) == set(State)
    for state in State:
        for kind in kinds:
            assert row(state, kind).actions
    rows = list(table_rows())
    assert len(rows) == sum(len(seen_rows) for seen_rows in TABLE.values())
    assert all(all(cells) for cells in rows)
    mentioned = {a for rows in TABLE.values() for r in rows.values() for a in r.actions}
    assert mentioned | {StandDown} == set(Act.__subclasses__())


def test_jobs_observations_and_actions_survive_the_wire() -> None:
    job, action = run(downloading(), Progress(1))
    assert msgspec.json.decode(msgspec.json.encode(job), type=ExportJob) == job
    assert msgspec.json.decode(msgspec.json.encode(action), type=Action) == action
    for seen in ALL_SEEN:
        assert msgspec.json.decode(msgspec.json.encode(seen), type=Observation) == seen


def test_decide_is_the_action_of_step() -> None:
    assert decide(planned(), Nothing(), NOW, POLICY) == step(planned(), Nothing(), NOW, POLICY)[1]


@pytest.mark.parametrize("group", ["retail", "Ventas/España 1", "x" * 300, ""])
def test_names_fit_step_functions_and_the_scheduler(group: str) -> None:
    key = job_key(group, FROM, FROM + 48 * HOUR_MS, 999)
    assert re.fullmatch(r"[A-Za-z0-9_.-]{1,80}", key)
    assert re.fullmatch(r"[A-Za-z0-9-]{1,64}", timer_name(key, 9999))
    assert key == job_key(group, FROM, FROM + 48 * HOUR_MS, 999)


def test_groups_that_look_alike_have_different_names() -> None:
    keys = {job_key(group, FROM, TO, 1) for group in ("a b", "a/b", "a-b", "a" * 40, "a" * 41)}
    assert len(keys) == 5
    assert job_key("retail", FROM, TO, 1) == "g-retail-20260921T00-4h-a1"
