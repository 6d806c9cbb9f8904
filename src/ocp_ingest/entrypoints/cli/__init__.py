"""`ocp-ingest`: the command line. Heavy imports wait until a command needs them.

Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 conflict, 5 try again.
"""

from __future__ import annotations

import typer

from ocp_ingest.entrypoints.cli import (
    admin,
    calls,
    calls_evidence,
    demo,
    incidents,
    reconcile,
    report,
    serve,
    smoke,
    users,
    verify,
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Every call recording of Omilia Cloud Platform, proved to be where it belongs.",
)
serve.register(app)
demo.register(app)
admin.register(app)
smoke.register(app)
verify.register(app)
calls_evidence.register(calls.app)
app.add_typer(calls.app, name="calls")
app.add_typer(incidents.app, name="incidents")
app.add_typer(reconcile.app, name="reconcile")
app.add_typer(report.app, name="report")
app.add_typer(users.app, name="users")


def main() -> None:
    """Entry point of the command."""
    app()
