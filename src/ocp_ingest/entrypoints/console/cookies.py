"""The console's cookies: which there are, how they are written and read.

name        holds                                      lasts
session     who is logged in, sealed                   the browser's session; ends inside, too
entry       a random text that the log-in form's CSRF  the browser's session
            token is bound to
provider    a log-in under way at the provider, sealed 10 min
said        the notice for the next page, sealed       1 min
lang theme  what the person chose                      a year

All are HttpOnly, SameSite=Lax and for /console alone; Secure and "__Host-" where we are reached by
https. One with that prefix can't be planted from another host of the domain (RFC 6265bis 4.1.3).
"""

from __future__ import annotations

from http.cookies import CookieError, SimpleCookie
from typing import Final

from ocp_ingest.entrypoints.console.page import PREFIX

PROVIDER_S: Final = 600
SAID_S: Final = 60
CHOICE_S: Final = 31_536_000
_HEADER_CHARS_MAX: Final = 16_384


class Cookies:
    """Names and attributes, as the place asks for: secure or not."""

    def __init__(self, secure: bool) -> None:
        self._secure = secure
        prefix = "__Host-ocp-" if secure else "ocp-"
        self.session = f"{prefix}session"
        self.entry = f"{prefix}entry"
        self.provider = f"{prefix}provider"
        self.said = f"{prefix}said"
        self.lang = "ocp-lang"
        self.theme = "ocp-theme"

    @property
    def secure(self) -> bool:
        """Whether browsers send them by https alone."""
        return self._secure

    def make(self, name: str, value: str, max_age_s: int | None = None) -> str:
        """A Set-Cookie header's text; without an age it ends with the browser."""
        # "__Host-" cookies must be for the whole host; the others need not be.
        path = "/" if name.startswith("__Host-") else PREFIX
        parts = [f"{name}={value}", f"Path={path}", "HttpOnly", "SameSite=Lax"]
        if self._secure:
            parts.append("Secure")
        if max_age_s is not None:
            parts.append(f"Max-Age={max_age_s}")
        return "; ".join(parts)

    def end(self, name: str) -> str:
        """A Set-Cookie header's text that takes a cookie away."""
        return self.make(name, "", 0)


def read(header: str) -> dict[str, str]:
    """The cookies of a request; what can't be read is left out."""
    found: dict[str, str] = {}
    for part in header[:_HEADER_CHARS_MAX].split(";"):
        try:
            jar = SimpleCookie(part.strip())
        except CookieError:
            continue
        for name, morsel in jar.items():
            found.setdefault(name, morsel.value)
    return found
