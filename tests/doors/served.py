"""Serves the API over an embedded world in a process of its own, for tests that measure it.

`python -m tests.doors.served DATA_DIR`: prints port and a token, serves until its input ends.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from ocp_ingest import bootstrap
from ocp_ingest import config as config_reader
from ocp_ingest.adapters.tokens.setup import authority
from ocp_ingest.entrypoints.api.app import create_app
from ocp_ingest.entrypoints.api.server import serving
from ocp_ingest.telemetry import set_up_logs


async def main(data_dir: Path) -> None:
    """One life of the server."""
    set_up_logs("json")  # standard output is for the test
    config = config_reader.parse({"server": {"port": 0}, "data": {"dir": str(data_dir)}})
    runtime = bootstrap.embedded(config)
    try:
        held = authority(config.auth, data_dir)
        assert held.issuer is not None
        token = held.issuer.issue("test", ("ingest", "read"), 3600).access_token
        async with serving(create_app(runtime.world, held, config), config.server) as port:
            print(port, token, flush=True)
            await asyncio.to_thread(sys.stdin.read)
    finally:
        runtime.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
