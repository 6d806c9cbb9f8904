"""What the doors share: the world, who checks tokens, bounds, hooks. Built once in app.py."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ocp_ingest.adapters.tokens.issuer import BuiltInIssuer
from ocp_ingest.adapters.tokens.setup import Authority
from ocp_ingest.config_model import Config
from ocp_ingest.core.view import UriOf, plain_uri
from ocp_ingest.entrypoints.api.slots import Slots
from ocp_ingest.ingest.world import World
from ocp_ingest.telemetry import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What the runtime around the API lends it; each is optional.

    `reconcile(census)` starts a reconciliation and says what it began; `alive` names the worker
    loops and whether each is running; `disk` is the folder whose free space readiness looks at;
    `reach` says what of the runtime can be reached, where finding nothing in the store is too dear.
    """

    reconcile: Callable[[bool], Awaitable[dict[str, Any]]] | None = None
    alive: Callable[[], dict[str, bool]] | None = None
    disk: Path | None = None
    reach: Callable[[], Awaitable[dict[str, bool]]] | None = None
    uri_of: UriOf = plain_uri


@dataclass(frozen=True, slots=True, kw_only=True)
class Deps:
    """See the module's first line."""

    world: World
    authority: Authority
    config: Config
    metrics: Metrics
    uploads: Slots
    decoders: asyncio.Semaphore
    fetches: Slots
    hooks: Hooks = field(default_factory=Hooks)

    @property
    def issuer(self) -> BuiltInIssuer | None:
        """The built-in issuer, where tokens are ours."""
        return self.authority.issuer
