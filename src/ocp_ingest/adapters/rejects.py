"""What every Evidence does alike."""

from __future__ import annotations

from typing import Final

from ocp_ingest.core.limits import KIB

# First bytes of a rejected input that are kept: enough to see what it was, for any number of them.
REJECTED_BYTES_MAX: Final = 64 * KIB

# The durable counter of rejected inputs that gave way to newer ones.
DROPPED: Final = "evidence.dropped"
