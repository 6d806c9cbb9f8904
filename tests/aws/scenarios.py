"""What can happen to one window, as scripts for the real state machine; a table.

functions   what each function answers, by name and op
polls       what the puller does with each token it is given, in order; the last repeats
downloads   the same for the worker
seconds     shorter time-outs of single states; the machine's own times are one per kind
ends        how the execution ends, and by which states it went
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.aws.fake_functions import Answer, Raise, Script, Sleep


@dataclass(frozen=True, slots=True)
class Success:
    """Whoever holds the token calls back."""

    output: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Failure:
    """Whoever holds the token says that it can't be done."""

    error: str


@dataclass(frozen=True, slots=True)
class Silence:
    """Whoever holds the token is gone."""


@dataclass(frozen=True, slots=True)
class BeatsOnly:
    """It lives, and never gets ready."""


Does = Success | Failure | Silence | BeatsOnly


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One execution of the machine."""

    law: str
    functions: Script = field(default_factory=dict)
    polls: Sequence[Does] = (Success({"next": "fetch"}),)
    downloads: Sequence[Does] = (Success({"stored": 3}),)
    seconds: dict[str, int] = field(default_factory=dict)
    broken: str = ""
    values: dict[str, str | int] = field(default_factory=dict)
    succeeds: bool = True
    # The error that is named by the cause of a failed execution.
    error: str = ""
    # Names of states in this order, others between them allowed.
    way: Sequence[str] = ()


POLL = Answer({
    "next": "poll",
    "first_poll": {"name": "", "at": "2026-11-01T00:01:00",
                   "input": {"export_job_id": "e-1", "iteration": 1, "dialog_group_ids": ["c-1"]}},
})  # fmt: skip
RELEASED = Answer({
    "next": "fetch", "round": 1, "until_ms": 1_700_000_000_000, "metadata": True, "audio": True,
})  # fmt: skip
OFTEN = {"next": "wait", "wait_s": 1}


def _functions(**other: Sequence[Answer | Raise | Sleep]) -> Script:
    """Those of a window that goes well, with some replaced; `_` stands for a point."""
    usual: Script = {
        "export.acquire": [Answer({"next": "go"})],
        "export.create": [POLL],
        "export.release": [RELEASED],
        "export.abandon": [Answer({"next": "ended"})],
        "metadata": [Answer({"calls": 3})],
        "finish": [Answer({"next": "done"})],
        "detect": [Answer({"looked_at": 0})],
    }
    return usual | {name.replace("_", ".", 1): does for name, does in other.items()}


_BUG = (Raise("ValueError"),)
_LONG = (Sleep(6.0),)
_NO_WORD = (Answer({"next": "perhaps"}),)
_NO_NUMBER = (Answer({"next": "wait", "wait_s": "soon"}),)
_ABANDONED = ("Abandoned", "Failed")


def _abandons(state: str, function: str, *, law: str) -> dict[str, Scenario]:
    """The ways in which a function's failure is no more than an incident."""
    made = {
        f"{state}-raises": _functions(**{function: _BUG}),
        f"{state}-too-slow": _functions(**{function: _LONG}),
    }
    return {
        name: Scenario(
            law=law, functions=functions, seconds={state: 2}, succeeds=False,
            error="States.Timeout" if name.endswith("slow") else "ValueError",
            way=(state, *_ABANDONED),
        )
        for name, functions in made.items()
    }  # fmt: skip


SCENARIOS: dict[str, Scenario] = {
    "goes-well": Scenario(
        law="a window that goes well is exported, fetched, finished, and its group planned anew",
        functions=_functions(),
        # The branches begin in any order.
        way=("AcquireGroup", "CreateExport", "WaitForExport", "ReleaseGroup", "Fetch",
             "FetchMetadata", "Finish", "Replan", "Done"),
    ),
    # -- the group's slot ------------------------------------------------------------------------
    "group-held": Scenario(
        law="an execution whose group is exporting waits, and asks again",
        functions=_functions(export_acquire=[Answer(OFTEN), Answer(OFTEN), Answer({"next": "go"})]),
        way=("AcquireGroup", "WaitForGroup", "AcquireGroup", "WaitForGroup", "AcquireGroup",
             "CreateExport", "Done"),
    ),
    "resumed-downloading": Scenario(
        law="a resumed job whose export is complete goes straight on to fetch",
        functions=_functions(export_acquire=[Answer({"next": "fetch"})]),
        way=("AcquireGroup", "ReleaseGroup", "Fetch", "Done"),
    ),
    "resumed-ended": Scenario(
        law="a job that has ended meanwhile ends its execution",
        functions=_functions(export_acquire=[Answer({"next": "ended"})]),
        way=("AcquireGroup", "Replan", "Done"),
    ),
    **_abandons("AcquireGroup", "export_acquire", law="acquire fails: an incident"),
    "acquire-unknown-word": Scenario(
        law="a word that nobody knows is an incident, not a guess",
        functions=_functions(export_acquire=_NO_WORD), succeeds=False, error="UnexpectedAnswer",
        way=("AcquireGroup", "GroupAcquired", *_ABANDONED),
    ),
    "acquire-no-number": Scenario(
        law="a wait without a number of seconds is an incident, not a dead execution",
        functions=_functions(export_acquire=_NO_NUMBER), succeeds=False, error="UnexpectedAnswer",
        way=("AcquireGroup", "GroupAcquired", *_ABANDONED),
    ),
    # -- the export ------------------------------------------------------------------------------
    "create-backs-off": Scenario(
        law="409, 429 and 5xx of OCP are waited out",
        functions=_functions(export_create=[Answer(OFTEN), POLL]),
        way=("CreateExport", "WaitToCreate", "CreateExport", "WaitForExport", "Done"),
    ),
    "create-finds-complete": Scenario(
        law="an export that is complete already is not polled",
        functions=_functions(export_create=[Answer({"next": "fetch"})]),
        way=("CreateExport", "ReleaseGroup", "Done"),
    ),
    "create-ends": Scenario(
        law="an export that is not worth having ends the job",
        functions=_functions(export_create=[Answer({"next": "ended"})]),
        way=("CreateExport", "Replan", "Done"),
    ),
    "create-retried": Scenario(
        law="a function that had trouble with AWS is invoked again",
        functions=_functions(
            export_acquire=[Raise("GroupBusy"), Answer({"next": "go"})],
            export_create=[Raise("Transient"), POLL],
            export_release=[Raise("Runtime.ExitError"), RELEASED],
            finish=[Raise("Transient"), Answer({"next": "done"})],
            metadata=[Raise("Transient"), Answer({"calls": 3})],
        ),
        way=("AcquireGroup", "CreateExport", "WaitForExport", "Done"),
    ),
    **_abandons("CreateExport", "export_create", law="create fails: an incident"),
    "create-unknown-word": Scenario(
        law="a word that nobody knows is an incident, not a guess",
        functions=_functions(export_create=_NO_WORD), succeeds=False, error="UnexpectedAnswer",
        way=("CreateExport", "ExportCreated", *_ABANDONED),
    ),
    # -- the wait for the export -----------------------------------------------------------------
    "poll-waits": Scenario(
        law="a puller that gives the export up for now lets it be asked for again",
        functions=_functions(), polls=[Success(OFTEN), Success({"next": "fetch"})],
        way=("WaitForExport", "ExportEnded", "WaitToCreate", "CreateExport", "WaitForExport",
             "ReleaseGroup", "Done"),
    ),
    "poll-ends": Scenario(
        law="an export that failed for good ends the job",
        functions=_functions(), polls=[Success({"next": "ended"})],
        way=("WaitForExport", "ExportEnded", "Replan", "Done"),
    ),
    "poll-unknown-word": Scenario(
        law="a word that nobody knows is an incident, not a guess",
        functions=_functions(), polls=[Success({"next": "perhaps"})], succeeds=False,
        error="UnexpectedAnswer", way=("ExportEnded", *_ABANDONED),
    ),
    "poll-fails": Scenario(
        law="a puller that says that it can't is an incident",
        functions=_functions(), polls=[Failure("PullerBroken")], succeeds=False,
        error="PullerBroken", way=("WaitForExport", *_ABANDONED),
    ),
    "schedule-lost": Scenario(
        law="a lost schedule is noticed by its silence, and the same export is looked at again",
        functions=_functions(), polls=[Silence(), Success({"next": "fetch"})],
        values={"ExportHeartbeatSeconds": 6},
        way=("WaitForExport", "PollAfterSilence", "ExportCreated", "WaitForExport", "ReleaseGroup",
             "Done"),
    ),
    "polled-for-ever": Scenario(
        law="polls that never come to an end are bounded too",
        functions=_functions(), polls=[BeatsOnly(), Success({"next": "fetch"})],
        values={"ExportTimeoutSeconds": 8, "ExportHeartbeatSeconds": 6},
        way=("WaitForExport", "PollAfterSilence", "WaitForExport", "ReleaseGroup", "Done"),
    ),
    "schedule-there-already": Scenario(
        law="a schedule of the same name is left alone, and looked past with a new token",
        functions=_functions(), polls=[Silence(), Success({"next": "fetch"})],
        way=("WaitForExport", "PollAfterSilence", "WaitForExport", "ReleaseGroup", "Done"),
    ),
    **{
        f"silence-{name}": Scenario(
            law="trouble after a silence is an incident too",
            functions=_functions(export_create=[POLL, *does]),
            polls=[Silence()], values={"ExportHeartbeatSeconds": 6},
            seconds={"PollAfterSilence": 2}, succeeds=False, error=error,
            way=("PollAfterSilence", *_ABANDONED),
        )
        for name, does, error in (("raises", _BUG, "ValueError"),
                                  ("too-slow", _LONG, "States.Timeout"))
    },
    # -- the fetch -------------------------------------------------------------------------------
    **_abandons("ReleaseGroup", "export_release", law="release fails: an incident"),
    "release-ended": Scenario(
        law="a job whose time is over is not fetched",
        functions=_functions(export_release=[Answer({"next": "ended"})]),
        way=("ReleaseGroup", "Replan", "Done"),
    ),
    "release-unknown-word": Scenario(
        law="a word that nobody knows is an incident, not a guess",
        functions=_functions(export_release=_NO_WORD), succeeds=False, error="UnexpectedAnswer",
        way=("ReleaseGroup", "RoundGiven", *_ABANDONED),
    ),
    "nothing-to-fetch": Scenario(
        law="a branch with nothing to do is left out",
        functions=_functions(export_release=[
            Answer({"next": "fetch", "round": 1, "until_ms": 5, "metadata": False, "audio": False})
        ]),
        way=("Fetch", "Finish", "Done"),
    ),
    "metadata-raises": Scenario(
        law="metadata that can't be had doesn't stop the downloads",
        functions=_functions(metadata=_BUG), way=("MetadataFailed", "Finish", "Done"),
    ),
    "metadata-too-slow": Scenario(
        law="metadata that takes too long doesn't stop the downloads",
        functions=_functions(metadata=_LONG), seconds={"FetchMetadata": 2},
        way=("MetadataFailed", "Finish", "Done"),
    ),
    "download-parked": Scenario(
        law="a download that was tried too often goes back as data",
        functions=_functions(), downloads=[Failure("DownloadParked")],
        way=("AudioFailed", "Finish", "Done"),
    ),
    "worker-dead": Scenario(
        law="a worker's silence ends the round long before its time is over",
        functions=_functions(), downloads=[Silence()], values={"DownloadHeartbeatSeconds": 6},
        way=("AudioFailed", "Finish", "Done"),
    ),
    "downloads-for-ever": Scenario(
        law="a round is bounded even when its worker lives",
        functions=_functions(), downloads=[BeatsOnly()],
        values={"DownloadTimeoutSeconds": 8, "DownloadHeartbeatSeconds": 6},
        way=("AudioFailed", "Finish", "Done"),
    ),
    "release-undecidable": Scenario(
        law="an answer that doesn't say what to fetch is an incident",
        functions=_functions(export_release=[Answer({"next": "fetch", "round": 1})]),
        succeeds=False, error="UnexpectedAnswer", way=("RoundGiven", *_ABANDONED),
    ),
    "branch-broken": Scenario(
        law="what a branch can't catch is an incident",
        functions=_functions(export_release=[
            Answer({"next": "fetch", "round": 1, "until_ms": 5, "metadata": False, "audio": False})
        ]),
        # A fault of the definition itself; the real one has no state that could end so.
        broken="NoMetadata", succeeds=False, error="Broken", way=("Fetch", *_ABANDONED),
    ),
    # -- the end ---------------------------------------------------------------------------------
    "another-round": Scenario(
        law="what a round did not bring is fetched in another one",
        functions=_functions(finish=[Answer(OFTEN), Answer({"next": "done"})]),
        downloads=[Failure("DownloadParked"), Success({"stored": 3})],
        way=("Finish", "WaitForRound", "ReleaseGroup", "Fetch", "Finish", "Done"),
    ),
    **_abandons("Finish", "finish", law="finish fails: an incident"),
    "finish-unknown-word": Scenario(
        law="a word that nobody knows is an incident, not a guess",
        functions=_functions(finish=_NO_WORD), succeeds=False, error="UnexpectedAnswer",
        way=("Finish", "RoundFinished", *_ABANDONED),
    ),
    "replan-refused": Scenario(
        law="a replan that can't be asked for is left to detect's own schedule",
        functions=_functions(), values={"DetectFunctionArn": "no-such-function"},
        way=("Replan", "Done"),
    ),
    "incident-refused": Scenario(
        law="an execution ends even when its incident can't be opened",
        functions=_functions(export_create=_BUG, export_abandon=_BUG), succeeds=False,
        error="ValueError", way=("CreateExport", *_ABANDONED),
    ),
    "incident-too-slow": Scenario(
        law="an execution ends even when its incident takes for ever",
        functions=_functions(export_create=_BUG, export_abandon=_LONG), succeeds=False,
        seconds={"Abandoned": 2}, error="ValueError", way=("CreateExport", *_ABANDONED),
    ),
}  # fmt: skip
