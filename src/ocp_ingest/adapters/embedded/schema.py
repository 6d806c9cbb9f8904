"""The tables of the embedded runtime, and how an older file becomes a newer one.

Table      what it holds                               way in
journal    every event, once; `seq` grows              (call_id, event_id) unique
call       the record and its derived columns          partial index on open work; keyset pages
lookup     dialog, session, connection id → call       primary key
meta       what derived the columns, keys in use       primary key
rejected   inputs that could not be taken              id, oldest first
counter    durable counts                              primary key
incident   root causes; one open per key               partial unique index
message    work to be done                             by time; waiting ones by key
alarm      one-off alarms                              by time
export_*   stage 2: group leases and states, jobs,     by group; open jobs by a partial index
           notes that belong to jobs

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

# One script per step; a released one never changes.
MIGRATIONS: Final[tuple[str, ...]] = (_FIRST, _EXPORTS)


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
