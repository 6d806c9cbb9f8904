"""What people write: FastAPI on uvicorn, one SQLite transaction per event, durable as ours."""

import json
import sqlite3
import sys
import threading
from typing import Any

import uvicorn
from fastapi import FastAPI, Request

app = FastAPI()
_LOCAL = threading.local()
_FILE = sys.argv[2] if len(sys.argv) > 2 else ":memory:"

SCHEMA = """
CREATE TABLE IF NOT EXISTS event (id TEXT, kind TEXT, body TEXT, PRIMARY KEY (kind, id));
CREATE TABLE IF NOT EXISTS call (call_id TEXT PRIMARY KEY, started INTEGER, ended INTEGER);
"""


def connection() -> sqlite3.Connection:
    """This thread's connection: WAL, each commit synced."""
    held = getattr(_LOCAL, "connection", None)
    if held is None:
        held = _LOCAL.connection = sqlite3.connect(_FILE, timeout=30)
        held.execute("PRAGMA journal_mode=WAL")
        held.execute("PRAGMA synchronous=FULL")
        held.executescript(SCHEMA)
    return held


@app.post("/v1/events")
async def take(request: Request) -> dict[str, int]:
    """One event, one transaction."""
    body: dict[str, Any] = json.loads(await request.body())
    database = connection()
    with database:
        added = database.execute(
            "INSERT OR IGNORE INTO event VALUES (?, ?, ?)",
            (body["id"], body["message_type"], json.dumps(body)),
        ).rowcount
        column = "started" if body["message_type"] == "dialog_start" else "ended"
        database.execute(
            f"INSERT INTO call (call_id, {column}) VALUES (?, ?) "
            f"ON CONFLICT (call_id) DO UPDATE SET {column}=excluded.{column}",
            (body["group"], body["time"]),
        )
    return {"accepted": 1, "new": added, "duplicates": 1 - added}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
