"""What the driver of an export job can be told to do; see the table in export_job's header."""

import msgspec

from ocp_ingest.core.export_facts import End, ExportJob, Results


class Act(msgspec.Struct, frozen=True, tag=True):
    """Anything that the driver can be told to do."""


class Create(Act, frozen=True):
    """POST this export; the intent is already written."""

    intent_id: str
    ocp_group: str
    from_ms: int
    to_ms: int
    types: tuple[str, ...]


class ListExports(Act, frozen=True):
    """List the group's exports, all pages."""

    ocp_group: str


class Adopt(Act, frozen=True):
    """This export serves the job: no new one is made."""

    export_id: str


class PollAt(Act, frozen=True):
    """Ask the status at this time, as poll `n`; asked twice, the same timer."""

    at_ms: int
    n: int


class FetchManifest(Act, frozen=True):
    """Read and store the whole file list."""

    export_id: str


class StartDownloads(Act, frozen=True):
    """Hand over the files still missing, to be done before `until_ms`."""

    export_id: str
    round: int
    until_ms: int


class Release(Act, frozen=True):
    """Free the group's slot: the next window may be exported while this one downloads."""

    ocp_group: str


class Cancel(Act, frozen=True):
    """DELETE the export."""

    export_id: str


class BackOff(Act, frozen=True):
    """Wait until then; `spends_attempt`: counts against the files; `alarm`: tell a person."""

    until_ms: int
    why: str
    spends_attempt: bool = False
    alarm: bool = False


class Block(Act, frozen=True):
    """Nothing of this group can be exported until then."""

    ocp_group: str
    until_ms: int
    why: str


class HalfOpen(Act, frozen=True):
    """The slot is free again: try the group with one window of one hour."""

    ocp_group: str
    from_ms: int
    to_ms: int
    why: str


class Finish(Act, frozen=True):
    """Close the job; calls with a result keep it, the others return to pending."""

    end: End
    results: Results
    why: str


class Retry(Act, frozen=True):
    """Ask for the same window once more: `retry_of(job)`."""

    from_ms: int
    to_ms: int
    attempt: int
    why: str


class Bisect(Act, frozen=True):
    """Return the calls to pending; windows in these ranges get at most the half's hours."""

    halves: tuple[tuple[int, int], ...]
    why: str


class Quarantine(Act, frozen=True):
    """This hour cannot be exported: keep it out of all windows for a while."""

    hour_ms: int
    until_ms: int
    why: str


class Abandon(Act, frozen=True):
    """Give the job up without a verdict on its calls; `why` belongs into an incident."""

    end: End
    why: str


class StandDown(Act, frozen=True):
    """Another runner has the job: write nothing, do nothing."""

    why: str


class Ignore(Act, frozen=True):
    """A duplicate or a latecomer: nothing changes."""

    why: str


Action = (
    Create | ListExports | Adopt | PollAt | FetchManifest | StartDownloads | Release | Cancel
    | BackOff | Block | HalfOpen | Finish | Retry | Bisect | Quarantine | Abandon | StandDown
    | Ignore
)  # fmt: skip

# The job to keep first, then what to do.
Step = tuple[ExportJob, Action]
