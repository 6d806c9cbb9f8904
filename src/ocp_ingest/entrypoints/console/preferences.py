"""Language and theme: a cookie each. A GET, so that it works before the log-in and without script;
whoever makes a browser ask for it changes colours, and nothing else.
"""

from __future__ import annotations

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.response import Response

from ocp_ingest.entrypoints.console.cookies import CHOICE_S
from ocp_ingest.entrypoints.console.deps import Console
from ocp_ingest.entrypoints.console.guard import OPEN
from ocp_ingest.entrypoints.console.locale import LANGS
from ocp_ingest.entrypoints.console.page import AnyRequest, local_path, visit_of

THEMES = ("auto", "dark", "light")


def routes(console: Console) -> list[HTTPRouteHandler]:
    """The one route."""

    @get("/preferences", opt=OPEN, sync_to_thread=False)
    def preferences(request: AnyRequest) -> Response[bytes]:
        visit, query = visit_of(request), request.query_params
        for name, allowed in ((console.cookies.lang, LANGS), (console.cookies.theme, THEMES)):
            wanted = query.get(name.removeprefix("ocp-"), "")
            if wanted in allowed:
                visit.cookies.append(console.cookies.make(name, wanted, CHOICE_S))
        return console.go(local_path(query.get("next", "")))

    return [preferences]
