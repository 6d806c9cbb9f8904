"""The tables of the embedded runtime, and how an older file becomes a newer one.

Table      what it holds                               way in
journal    every event, once; `seq` grows              (call_id, event_id) unique
call       the record and its derived columns          partial indexes on open work; keyset pages
lookup     dialog, session, connection id → call       primary key
meta       what derived the columns, keys in use       primary key
rejected   inputs that could not be taken              id, oldest first
counter    durable counts                              primary key
incident   root causes; one open per key               partial unique index
message    work to be done                             by time; waiting ones by key
alarm      one-off alarms                              by time
export_*   stage 2: group leases and states, jobs,     by group; open jobs by a partial index
           notes that belong to jobs
call_problem  a call under each of its problems        as `call_by_place`, after the code
day_count  how many calls of a line of business that   by day
           began on a day are in each term
alert      what is told, and was                       due ones by time; newest first
bulk_*     bulk jobs, and a result for each call       newest first; waiting and failed items
desk_*     people of the console; notes of the desk    primary key
seal_link  the hash chain of each call's journal       by call and number
seal_day   where chains stand on days still open       by day, in the order of leaves
seal_note  how far days are sealed, and the like       primary key

Work that is open is in an index by OCP group; what is due of all groups is their merge, since
there are few. Events that open a call are in one by arrival, to be counted.

`call_by_place` answers every page with a filter (call_pages says how), so there is one index for
all combinations of filters instead of one for each. `call.counted` says in which terms of
core.counting a call is counted in `day_count`, as bits; NULL: in none yet.

`PRAGMA user_version` counts the migrations done; each is one transaction.
"""

from __future__ import annotations

from typing import Final

import apsw

from ocp_ingest.core.errors import Terminal

_FIRST: Final = """
CREATE TABLE journal (
  seq INTEGER PRIMARY KEY,
  call_id TEXT NOT NULL,
  event_id TEXT NOT NULL,
  kind TEXT NOT NULL,
  at_ms INTEGER NOT NULL,
  key_at_ms INTEGER NOT NULL,
  source TEXT NOT NULL,
  received_at_ms INTEGER NOT NULL,
  body_hash TEXT NOT NULL,
  content_hash TEXT NOT NULL,
  opens INTEGER,             -- 1 on the event with which a call began to count as started
  key_id TEXT NOT NULL,      -- of the key that encrypts raw; '' when there is no raw
  data BLOB NOT NULL,        -- JSON
  raw BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX journal_event ON journal (call_id, event_id);
CREATE UNIQUE INDEX journal_opens ON journal (call_id) WHERE opens = 1;

CREATE TABLE call (
  call_id TEXT NOT NULL UNIQUE,
  ocp_group TEXT NOT NULL,
  lob TEXT NOT NULL,
  stage TEXT NOT NULL,
  outcome TEXT NOT NULL,     -- 'none' while in flight, '' while nothing is known
  started_at INTEGER NOT NULL,
  pend_at INTEGER,           -- NULL when no work is open
  record BLOB NOT NULL       -- msgpack of core.call.Call
) STRICT;
CREATE INDEX call_pending ON call (pend_at, call_id, ocp_group) WHERE pend_at IS NOT NULL;
CREATE INDEX call_pending_group ON call (ocp_group, pend_at, call_id) WHERE pend_at IS NOT NULL;
CREATE INDEX call_by_start ON call (started_at DESC, call_id);
CREATE INDEX call_by_stage ON call (stage, started_at DESC, call_id);
CREATE INDEX call_by_outcome ON call (outcome, started_at DESC, call_id);
CREATE INDEX call_by_lob ON call (lob, started_at DESC, call_id);
CREATE INDEX call_by_group ON call (ocp_group, started_at DESC, call_id);

CREATE TABLE lookup (
  kind TEXT NOT NULL, ident TEXT NOT NULL, at_ms INTEGER NOT NULL, call_id TEXT NOT NULL,
  PRIMARY KEY (kind, ident)
) STRICT, WITHOUT ROWID;

CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE rejected (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  kind TEXT NOT NULL, reason TEXT NOT NULL, at_ms INTEGER NOT NULL,
  key_id TEXT NOT NULL, body BLOB NOT NULL
) STRICT;
CREATE TABLE counter (name TEXT PRIMARY KEY, n INTEGER NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE incident (
  id INTEGER PRIMARY KEY,
  key TEXT NOT NULL, opened_at_ms INTEGER NOT NULL, closed_at_ms INTEGER,
  incident BLOB NOT NULL     -- msgpack of core.incidents.Incident
) STRICT;
CREATE UNIQUE INDEX incident_open ON incident (key) WHERE closed_at_ms IS NULL;
CREATE INDEX incident_by_time ON incident (opened_at_ms DESC, id DESC);

CREATE TABLE message (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  key TEXT NOT NULL,
  body BLOB NOT NULL,        -- JSON
  state TEXT NOT NULL,       -- waiting, held, parked
  at_ms INTEGER NOT NULL,    -- waiting: from when it may be taken; held: until when
  tries INTEGER NOT NULL
) STRICT;
CREATE INDEX message_due ON message (at_ms, id) WHERE state != 'parked';
CREATE INDEX message_waiting ON message (key) WHERE state = 'waiting';
CREATE INDEX message_parked ON message (id) WHERE state = 'parked';

CREATE TABLE alarm (name TEXT PRIMARY KEY, at_ms INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
CREATE INDEX alarm_by_time ON alarm (at_ms, name);
"""

_EXPORTS: Final = """
CREATE TABLE export_group (
  ocp_group TEXT PRIMARY KEY,
  owner TEXT NOT NULL,       -- of the lease; '' when nobody has it
  fence INTEGER NOT NULL,
  until_ms INTEGER NOT NULL,
  state BLOB                 -- msgpack of core.export_group.GroupState; NULL before the first
) STRICT, WITHOUT ROWID;

CREATE TABLE export_job (
  job_key TEXT PRIMARY KEY,
  ocp_group TEXT NOT NULL,
  planned_at INTEGER NOT NULL,
  open INTEGER,              -- 1 until it is settled, then NULL
  job BLOB NOT NULL          -- msgpack of core.export_job.ExportJob
) STRICT;
CREATE INDEX export_job_open ON export_job (ocp_group, planned_at DESC, job_key DESC)
  WHERE open = 1;
CREATE INDEX export_job_by_time ON export_job (planned_at DESC, job_key DESC);
CREATE INDEX export_job_by_group ON export_job (ocp_group, planned_at DESC, job_key DESC);

CREATE TABLE export_note (ref TEXT PRIMARY KEY, body BLOB NOT NULL) STRICT;
"""

_DESK: Final = """
ALTER TABLE call ADD COLUMN problems TEXT NOT NULL DEFAULT '';  -- codes, one a line
ALTER TABLE call ADD COLUMN counted INTEGER;
DROP INDEX call_by_stage;
DROP INDEX call_by_outcome;
DROP INDEX call_by_lob;
DROP INDEX call_by_group;
CREATE INDEX call_by_place ON call (outcome, stage, lob, ocp_group, started_at DESC, call_id);
CREATE INDEX call_open ON call (lob, started_at, call_id)
  WHERE pend_at IS NOT NULL AND stage != 'stored';

CREATE TABLE call_problem (
  code TEXT NOT NULL,
  outcome TEXT NOT NULL, stage TEXT NOT NULL, lob TEXT NOT NULL, ocp_group TEXT NOT NULL,
  started_at INTEGER NOT NULL, call_id TEXT NOT NULL,
  PRIMARY KEY (code, outcome, stage, lob, ocp_group, started_at DESC, call_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE day_count (
  day TEXT NOT NULL, lob TEXT NOT NULL, term TEXT NOT NULL, n INTEGER NOT NULL,
  PRIMARY KEY (day, lob, term)
) STRICT, WITHOUT ROWID;

CREATE TABLE alert (
  id INTEGER PRIMARY KEY,
  alert_id TEXT NOT NULL UNIQUE,
  made_at_ms INTEGER NOT NULL,
  tries INTEGER NOT NULL,
  due_at_ms INTEGER,         -- NULL once it is sent or given up
  alert BLOB NOT NULL        -- msgpack of desk.ports.Alert
) STRICT;
CREATE INDEX alert_due ON alert (due_at_ms, alert_id) WHERE due_at_ms IS NOT NULL;
CREATE INDEX alert_by_time ON alert (made_at_ms DESC, alert_id DESC);

CREATE TABLE bulk_job (
  bulk_id TEXT PRIMARY KEY,
  made_at_ms INTEGER NOT NULL,
  state TEXT NOT NULL,
  started_at_ms INTEGER NOT NULL, ended_at_ms INTEGER NOT NULL,
  done INTEGER NOT NULL, failed INTEGER NOT NULL,
  job BLOB NOT NULL          -- msgpack of desk.ports.BulkJob; the columns above are newer
) STRICT, WITHOUT ROWID;
CREATE INDEX bulk_job_by_time ON bulk_job (made_at_ms DESC, bulk_id DESC);
CREATE TABLE bulk_item (
  bulk_id TEXT NOT NULL, position INTEGER NOT NULL, call_id TEXT NOT NULL,
  result TEXT NOT NULL,      -- '' while it waits
  text TEXT NOT NULL, at_ms INTEGER NOT NULL,
  PRIMARY KEY (bulk_id, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX bulk_item_waiting ON bulk_item (bulk_id, position) WHERE result = '';
CREATE INDEX bulk_item_failed ON bulk_item (bulk_id, position) WHERE result = 'failed';

CREATE TABLE desk_user (name TEXT PRIMARY KEY, user BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE desk_note (name TEXT PRIMARY KEY, note BLOB NOT NULL) STRICT, WITHOUT ROWID;
"""

_SEALS: Final = """
CREATE TABLE seal_link (
  call_id TEXT NOT NULL, n INTEGER NOT NULL,
  event_id TEXT NOT NULL,
  event_hash BLOB NOT NULL, link BLOB NOT NULL,  -- SHA-256, 32 bytes
  source TEXT NOT NULL, received_at_ms INTEGER NOT NULL, body_hash TEXT NOT NULL,
  day TEXT NOT NULL,         -- on which it was made
  seq INTEGER NOT NULL,      -- of its event in the journal
  PRIMARY KEY (call_id, n)
) STRICT, WITHOUT ROWID;
CREATE TABLE seal_day (
  day TEXT NOT NULL,
  name TEXT NOT NULL,        -- core.proof.order_of the call
  call_id TEXT NOT NULL, n INTEGER NOT NULL, link BLOB NOT NULL,
  PRIMARY KEY (day, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE seal_note (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
"""

# Every index costs each new call a page somewhere in the file, unless it grows at its end alone.
_FEWER: Final = """
DROP INDEX journal_opens;
CREATE INDEX journal_opens ON journal (opens) WHERE opens = 1;
DROP INDEX call_pending;
"""

# One script per step; a released one never changes.
MIGRATIONS: Final[tuple[str, ...]] = (_FIRST, _EXPORTS, _DESK, _SEALS, _FEWER)


def migrate(connection: apsw.Connection) -> None:
    """Brings a file to the newest version. Raises Terminal for a file of a newer program."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = int(connection.pragma("user_version"))
        if version > len(MIGRATIONS):
            raise Terminal(
                f"The database has version {version}, this program knows {len(MIGRATIONS)}: "
                "run the newer program.",
            )
        for script in MIGRATIONS[version:]:
            connection.execute(script)
        connection.pragma("user_version", len(MIGRATIONS))
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
