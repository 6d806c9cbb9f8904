"""The HTTP API: doors for events and recordings, the read API, operations, tokens.

A request's way: app.py (routes, metrics) → auth.py (who may) → one file per door →
ingest/intake.py; whatever is raised on that way becomes a problem document in problems.py.
"""
