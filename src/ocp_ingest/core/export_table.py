"""Which rule decides about what was seen in which state, and every action it may choose.

What is not listed: LeaseLost is `stand_down` in every state but ENDED; anything else is `ignore`.
"""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from ocp_ingest.core import export_rules_create as create
from ocp_ingest.core import export_rules_fetch as fetch
from ocp_ingest.core import export_rules_run as run
from ocp_ingest.core import export_steps as steps
from ocp_ingest.core.export_actions import (
    Abandon,
    Act,
    Adopt,
    BackOff,
    Bisect,
    Block,
    Cancel,
    Create,
    FetchManifest,
    Finish,
    HalfOpen,
    Ignore,
    ListExports,
    PollAt,
    Quarantine,
    Release,
    Retry,
    StandDown,
    StartDownloads,
)
from ocp_ingest.core.export_facts import (
    Busy,
    Cancelled,
    Created,
    DownloadsFinished,
    Files,
    Gone,
    LeaseLost,
    Listed,
    Nothing,
    Progress,
    RateLimited,
    Refused,
    Seen,
    State,
    Status,
    TakenOver,
    Unavailable,
)


class Row(NamedTuple):
    """The rule for one observation in one state, and every action that it may choose."""

    rule: steps.Rule
    actions: tuple[type[Act], ...]


_CREATE = Row(create.create, (Create, BackOff, Abandon))
_LISTING = Row(create.judge_listing, (Adopt, BackOff, Create, Abandon))
_LIST_WHEN_DUE = Row(create.list_when_due, (ListExports, BackOff, Abandon))
_LIST_NOW = Row(create.list_now, (ListExports,))
_LIST_REFUSED = Row(create.listing_refused, (BackOff, Create, Block, Abandon))
_LIST_FAILED = Row(create.listing_failed, (BackOff, Abandon))
_REFUSED = Row(create.refused, (Bisect, Quarantine, Block))
_CREATED = Row(create.created, (PollAt,))
_LISTS: Final[Mapping[type[Seen], Row]] = {
    Nothing: _LIST_WHEN_DUE,
    TakenOver: _LIST_NOW,
    Created: _CREATED,
    Listed: _LISTING,
    Refused: _LIST_REFUSED,
    Gone: _LIST_REFUSED,
    RateLimited: _LIST_FAILED,
    Unavailable: _LIST_FAILED,
}
_ENDS = (Retry, Bisect, Quarantine, Finish, Abandon)
_POLL_FAILED = Row(run.poll_failed, (PollAt, Cancel, Block, HalfOpen, Ignore))
_BLOCK = Row(run.block, (Block, HalfOpen))
_WATCH = Row(run.watch, (PollAt, HalfOpen, Ignore))
_FETCH_FAILED = Row(fetch.fetch_failed, (Release, BackOff, Finish))
_STAND_DOWN = Row(steps.stand_down, (StandDown,))
_IGNORE = Row(steps.ignore, (Ignore,))

TABLE: Final[Mapping[State, Mapping[type[Seen], Row]]] = {
    State.PLANNED: {
        Nothing: _CREATE,
        TakenOver: _CREATE,
        Listed: _LISTING,
    },
    State.CREATING: {
        Nothing: Row(create.await_answer, (BackOff, ListExports)),
        TakenOver: _LIST_NOW,
        Created: _CREATED,
        Busy: Row(create.slot_busy, (ListExports, Adopt, BackOff, Abandon)),
        Refused: _REFUSED,
        Gone: _REFUSED,
        RateLimited: Row(create.create_later, (BackOff, Abandon)),
        Unavailable: Row(create.answer_lost, (ListExports, BackOff, Abandon)),
        Listed: _LISTING,
    },
    State.DOUBTFUL: _LISTS,
    State.BUSY: _LISTS,
    State.RUNNING: {
        Nothing: Row(run.poll_again, (PollAt,)),
        TakenOver: Row(run.poll_now, (PollAt,)),
        Status: Row(
            run.judge_status,
            (PollAt, FetchManifest, *_ENDS, Cancel, Block, HalfOpen, Ignore),
        ),
        Gone: Row(run.vanished, (Retry, Abandon, Ignore)),
        Refused: _POLL_FAILED,
        RateLimited: _POLL_FAILED,
        Unavailable: _POLL_FAILED,
    },
    State.CANCELLING: {
        Nothing: Row(run.cancel_again, (Cancel, Block, HalfOpen)),
        TakenOver: Row(run.cancel_again, (Cancel, Block, HalfOpen)),
        Cancelled: Row(run.slot_freed, (HalfOpen,)),
        Gone: Row(run.slot_freed, (HalfOpen,)),
        Refused: _BLOCK,
        RateLimited: _BLOCK,
        Unavailable: _BLOCK,
    },
    State.BLOCKED: {
        Nothing: Row(run.watch_again, (PollAt, HalfOpen)),
        TakenOver: Row(run.watch_again, (PollAt, HalfOpen)),
        Status: Row(run.judge_blocked, (PollAt, FetchManifest, HalfOpen, Ignore)),
        Gone: Row(run.slot_freed, (HalfOpen,)),
        Cancelled: Row(run.slot_freed, (HalfOpen,)),
        Refused: _WATCH,
        RateLimited: _WATCH,
        Unavailable: _WATCH,
    },
    State.READY: {
        Nothing: Row(fetch.fetch, (FetchManifest, BackOff, Finish)),
        TakenOver: Row(fetch.fetch, (FetchManifest, BackOff, Finish)),
        Files: Row(fetch.files, (StartDownloads, Finish)),
        Gone: Row(fetch.expired, (Finish,)),
        Refused: _FETCH_FAILED,
        RateLimited: _FETCH_FAILED,
        Unavailable: _FETCH_FAILED,
    },
    State.DOWNLOADING: {
        Nothing: Row(fetch.look_after, (Release, BackOff, StartDownloads, Finish)),
        TakenOver: Row(fetch.resume, (StartDownloads, Finish)),
        Progress: Row(fetch.progress, (BackOff, Release, Finish)),
        DownloadsFinished: Row(fetch.downloads_finished, (Finish, BackOff, Release, Ignore)),
        Gone: Row(fetch.expired, (Finish,)),
    },
    State.ENDED: {},
}


def row(state: State, seen: type[Seen]) -> Row:
    """The row of the table, defaults included."""
    if seen is LeaseLost and state is not State.ENDED:
        return _STAND_DOWN
    return TABLE[state].get(seen, _IGNORE)


def table_rows() -> Iterator[tuple[str, str, str, str]]:
    """State, observation, possible actions, rule in words: for the documentation."""
    for state, seen_rows in TABLE.items():
        for seen, (rule, actions) in seen_rows.items():
            says = (rule.__doc__ or "").strip().splitlines()[0]
            yield state.value, seen.__name__, ", ".join(a.__name__ for a in actions), says
