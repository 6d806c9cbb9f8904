"""Where each request goes. Identifiers are data: each fills one path segment, percent-encoded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, urlencode

from yarl import URL

from ocp_ingest.adapters.ocp.failed import Failed
from ocp_ingest.adapters.ocp.settings import OcpSettings
from ocp_ingest.core.export_job import Refused

# Servers and proxies drop these segments before they route, whatever their encoding.
_NO_SEGMENTS: Final = frozenset({"", ".", ".."})


def auth_url(settings: OcpSettings, which: str) -> URL:
    """The URL of the token endpoint ("token") or of the logout ("logout")."""
    return _url(settings.auth_url or settings.api_url, settings, which, realm=settings.realm)


def export_url(
    settings: OcpSettings, which: str, query: Mapping[str, str] | None = None, **names: str
) -> URL:
    """The URL of an operation of the Export API. Raises Failed(Refused) for an empty id, "..", …"""
    base = settings.analytics_url if settings.exports_host == "analytics" else settings.api_url
    return _url(base, settings, which, query, **names)


def _url(
    base: str, settings: OcpSettings, which: str, query: Mapping[str, str] | None = None,
    **names: str,
) -> URL:  # fmt: skip
    for key, name in names.items():
        if name in _NO_SEGMENTS:
            raise Failed(Refused(0, f"{name!r} can't be the name of a {key} in a URL."))
    path: str = getattr(settings.paths, which)
    for key, name in names.items():
        path = path.replace(f"{{{key}}}", quote(name, safe="~", errors="replace"))
    tail = f"?{urlencode(query)}" if query else ""
    return URL(base.rstrip("/") + path + tail, encoded=True)
