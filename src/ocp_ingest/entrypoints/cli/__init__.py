"""`ocp-ingest`: the command line. Heavy imports wait until a command needs them.

Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 conflict, 5 try again.
"""

from __future__ import annotations

import typer

from ocp_ingest.entrypoints.cli import admin, calls, demo, incidents, reconcile, serve, smoke

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
app.add_typer(calls.app, name="calls")
app.add_typer(incidents.app, name="incidents")
app.add_typer(reconcile.app, name="reconcile")


def main() -> None:
    """Entry point of the command."""
    app()
