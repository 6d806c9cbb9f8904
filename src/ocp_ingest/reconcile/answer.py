"""The words in which the steps of a job answer the state machine, which only looks them up.

next    the state machine
go      asks for the export
poll    sets the first poll's timer, with a token, and waits for the puller's answer
wait    comes back after `wait_s` real seconds
fetch   frees the slot and has the files fetched; after a release: `round`, which parts have work
ended   the job has ended and is settled
done    … after its downloads
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import blake2b
from math import ceil
from typing import Any, Final, Literal

import msgspec

from ocp_ingest.core.export_job import ExportJob, timer_name
from ocp_ingest.core.limits import ID_CHARS_MAX, MINUTE_MS, SECOND_MS

Word = Literal["go", "poll", "wait", "fetch", "ended", "done"]
# Domain milliseconds to real seconds.
RealSeconds = Callable[[int], int]

# Scheduler's schedules ring within the minute of their time, and one in the past may never ring.
TIMER_LEAD_MS: Final = MINUTE_MS
# Step Functions makes tokens of up to so many characters.
TOKEN_CHARS_MAX: Final = 2_048
_TASK_ID_BYTES: Final = 8


class Ref(msgspec.Struct, frozen=True):
    """Where a list is kept that is too long to be passed on."""

    ref: str


class Timer(msgspec.Struct, frozen=True):
    """A one-off timer of a poll; `at` is UTC to the second, `input` what it brings, but the token.

    `at_ms` is for timers that are set by us.
    """

    name: str
    at: str
    input: dict[str, Any]
    at_ms: int


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a step of a job says; see the words above."""

    next: Word
    job_key: str
    ocp_group: str
    round: int
    until_ms: int  # when downloads must be over, domain time
    export_job_id: str
    wait_s: int = 0
    first_poll: Timer | None = None
    # Of a release: which parts have files to fetch, for whom.
    metadata: bool | None = None
    audio: bool | None = None
    dialog_group_ids: tuple[str, ...] | Ref | None = None
    stale: bool = False  # a poll that was not the next: somebody else goes on

    def data(self) -> dict[str, Any]:
        """As a function returns it."""
        built: dict[str, Any] = msgspec.to_builtins(self)
        return built


def real_seconds(scale: float) -> RealSeconds:
    """Real seconds of a wait in domain time that runs `scale` times as fast; at least one."""
    return lambda wait_ms: max(1, ceil(wait_ms / SECOND_MS / scale))


def timer(job: ExportJob, chain: str, at_ms: int) -> Timer:
    """The timer of the job's next poll; its name differs for each token, its `chain`.

    A token that is dead may have left timers behind: those must not stand in for a living one's.
    """
    number = job.polls + 1
    at_s = -(-at_ms // SECOND_MS)
    return Timer(
        name=f"{timer_name(job.job_key, number)}-{chain}",
        at=datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%S"),
        input={
            "export_job_id": job.export_id or "",
            "dialog_group_ids": msgspec.to_builtins(calls_of(job)),
            "ocp_group": job.ocp_group,
            "iteration": number,
            "job_key": job.job_key,
        },
        at_ms=at_ms,
    )


def calls_of(job: ExportJob) -> tuple[str, ...] | Ref:
    """The call that a job is for, or where its calls are listed: messages are small."""
    return job.call_ids if len(job.call_ids) == 1 else Ref(f"job:{job.job_key}")


def task_id(token: str) -> str:
    """Names a token without being one."""
    return blake2b(token.encode(), digest_size=_TASK_ID_BYTES).hexdigest()


class PollInput(msgspec.Struct, frozen=True, kw_only=True):
    """What a timer brings to the puller."""

    export_job_id: str
    task_token: str
    dialog_group_ids: tuple[str, ...] | Ref
    ocp_group: str
    iteration: int
    job_key: str


def checked_poll(event: object) -> PollInput:
    """A timer's input. Raises msgspec.ValidationError when it is none of ours."""
    asked = msgspec.convert(event, PollInput)
    named = (asked.export_job_id, asked.ocp_group, asked.job_key)
    if asked.iteration < 1 or not asked.task_token or not asked.job_key:
        raise msgspec.ValidationError("an empty field")
    if len(asked.task_token) > TOKEN_CHARS_MAX or any(len(name) > ID_CHARS_MAX for name in named):
        raise msgspec.ValidationError("a field is too long")
    return asked
