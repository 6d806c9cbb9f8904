"""`ocp-ingest` whose store answers at once and keeps nothing: what all the rest of it can do."""

from collections.abc import Sequence

from bench.peers.named import name_threads
from ocp_ingest.adapters.embedded.call_store import EmbeddedCallStore
from ocp_ingest.core.call import new
from ocp_ingest.core.events import Event
from ocp_ingest.entrypoints.cli import main
from ocp_ingest.ports import Appended


async def _append(self: EmbeddedCallStore, events: Sequence[Event]) -> list[Appended]:
    del self
    return [Appended(event, True, new(event.call_id)) for event in events]


if __name__ == "__main__":
    name_threads()
    EmbeddedCallStore.append = _append  # type: ignore[method-assign]
    main()
