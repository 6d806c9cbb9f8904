"""The error tree. Fate is a type: who catches one knows what to do without reading the text.

OcpIngestError
├── Invalid     the sender must change the input; trying again as it is never helps
│   └── TooLarge    … because it is over a bound
├── Denied      the sender is not who it must be, or may not do this
├── NotFound    what was asked for does not exist
├── Conflict    another fact stands against this one; both are kept
├── Transient   try again later, as it is; `retry_after_s` says when
│   └── NoRights    … when a person has mended this process's own rights at a service
└── Terminal    no retry by software will help: a person must look
    └── Damaged     … because bytes that we held are not what they were

The text tells its reader what to do. Identifiers are attributes, so that logs need not parse text.
"""

from __future__ import annotations


class OcpIngestError(Exception):
    """Anything that this system raises on purpose."""

    code = "error"

    def __init__(self, text: str, **ids: str | int | None) -> None:
        super().__init__(text)
        self.text = text
        self.ids = ids


class Invalid(OcpIngestError):
    """The input can't be accepted as it is; the text names the field and what it should be."""

    code = "invalid"


class TooLarge(Invalid):
    """The input is over a bound; the text names the bound and its unit."""

    code = "too_large"


class Denied(OcpIngestError):
    """The caller's token is missing, bad, expired, or lacks the scope."""

    code = "denied"

    def __init__(self, text: str, *, authenticated: bool = False, **ids: str | int | None) -> None:
        super().__init__(text, **ids)
        self.authenticated = authenticated


class NotFound(OcpIngestError):
    """There is no such thing here."""

    code = "not_found"


class Conflict(OcpIngestError):
    """A fact already stands that this one contradicts; both are kept as evidence."""

    code = "conflict"


class Transient(OcpIngestError):
    """The same request may succeed later; `retry_after_s` is the sender's wait in seconds."""

    code = "try_again"

    def __init__(self, text: str, *, retry_after_s: float = 1.0, **ids: str | int | None) -> None:
        super().__init__(text, **ids)
        self.retry_after_s = retry_after_s


class NoRights(Transient):
    """A service refuses this process, not its caller: who calls us must never see a 401 or 403."""

    def __init__(self, text: str, *, retry_after_s: float = 30.0, **ids: str | int | None) -> None:
        super().__init__(text, retry_after_s=retry_after_s, **ids)


class Terminal(OcpIngestError):
    """Retrying is pointless; a person must look."""

    code = "terminal"


class Damaged(Terminal):
    """Bytes that we held are not what they were when we took them."""

    code = "damaged"
