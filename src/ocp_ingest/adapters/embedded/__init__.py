"""The embedded runtime: one machine, SQLite and a local disk; state survives kill -9.

`database` is the one writer; `call_store` (with `journal_rows`, `call_pages`), `evidence`,
`work_queue` and `timetable` are ports on it; `disk`, `upload` and `recording_store` keep the
audio; `vault` encrypts; `clock` reads the time.
"""
