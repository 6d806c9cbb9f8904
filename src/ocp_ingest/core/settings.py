"""What the steps need from the configuration: plain values, read once, never changed."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from ocp_ingest.core.lifecycle import CallPolicy
from ocp_ingest.core.limits import Limits
from ocp_ingest.core.routing import UNASSIGNED, Rule
from ocp_ingest.core.rules import Rules
from ocp_ingest.core.vendor import VendorMapping

LANDING: Final = "landing"
QUARANTINE: Final = "quarantine"


class LineOfBusiness(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One line of business; section `[lob.<name>]`."""

    bucket: str = ""  # "" = "lob-<name>"
    rules: Rules = Rules()


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decides what the pipeline does with an input."""

    vendor: VendorMapping = VendorMapping()
    policy: CallPolicy = CallPolicy()
    limits: Limits = Limits()
    routing: tuple[Rule, ...] = ()
    lobs: dict[str, LineOfBusiness] = {}
    # What `groupId` in a recording's name means at this tenant (ocp-facts 5.5).
    name_group_is: Literal["call", "tenant"] = "call"
    ocp_group_default: str = ""
    # OAuth client → OCP group, for messages that do not say theirs.
    client_groups: dict[str, str] = {}
    # HMAC key for caller numbers (customer id of last resort).
    number_key: bytes = b""

    def lob(self, name: str) -> LineOfBusiness:
        """A line of business by name; "unassigned" exists without being configured."""
        return self.lobs.get(name, _PLAIN)

    def bucket(self, name: str) -> str:
        """The bucket of a line of business."""
        return self.lob(name).bucket or f"lob-{name}"

    def buckets(self) -> dict[str, str]:
        """Line of business → bucket, the unassigned one included."""
        return {name: self.bucket(name) for name in (*self.lobs, UNASSIGNED)}


_PLAIN: Final = LineOfBusiness()
