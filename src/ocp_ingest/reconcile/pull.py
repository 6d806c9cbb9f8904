"""The puller: asks OCP whether an export is ready, when a timer rings, and answers who waits.

heartbeat ─► poll n ─► not ready: the next timer
   │             └───► ready, ended, blocked: the token's answer
   └─ nobody waits for this token any more: stop, without a word to OCP

The token is looked at first: an old chain of timers must not make the poll that the living one
is about to make. Each timer's name has the poll's number and the token's, so one that is set
twice is one, and a chain can't fork. A pull that fails for a reason of our own is raised: Lambda
invokes it again with the same timer's input, twice, and everything here may be done again. A
timer of our own in its place would need the very services that have just failed. Should all of it
be lost, the token's silence is noticed within half an hour and the export polled without a timer.
"""

from __future__ import annotations

from typing import Any

from ocp_ingest.ingest.world import World
from ocp_ingest.reconcile.answer import Answer, PollInput, task_id
from ocp_ingest.reconcile.executions import Tasks
from ocp_ingest.reconcile.flow import Flow
from ocp_ingest.telemetry import log


async def pull(world: World, flow: Flow, tasks: Tasks, asked: PollInput) -> dict[str, Any]:
    """Makes the poll of a timer; returns what came of it. Raises Transient, to be done again."""
    if not await tasks.heartbeat(asked.task_token):
        return _superseded(asked)
    said = await flow.poll(asked)
    if said.next != "poll":
        if not await tasks.success(asked.task_token, said.data()):
            return _superseded(asked)
    elif said.first_poll is not None:
        body = said.first_poll.input | {"task_token": asked.task_token}
        await world.timetable.set(said.first_poll.name, said.first_poll.at_ms, body)
    return _pulled(asked, said)


def _pulled(asked: PollInput, said: Answer) -> dict[str, Any]:
    answer = {"next": said.next, "job_key": asked.job_key, "iteration": asked.iteration}
    return answer | ({"stale": True} if said.stale else {})


def _superseded(asked: PollInput) -> dict[str, Any]:
    log().info(
        "puller.superseded", job_key=asked.job_key, iteration=asked.iteration,
        task=task_id(asked.task_token),
    )  # fmt: skip
    return {"next": "superseded", "job_key": asked.job_key, "iteration": asked.iteration}
