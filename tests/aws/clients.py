"""Plain botocore clients of the stand-ins, for what tests arrange and look up."""

from __future__ import annotations

import functools
from typing import Any

import botocore.config
import botocore.session

from tests.aws.servers.launch import ACCESS_KEY, REGION, SECRET_KEY


@functools.cache  # reading a service's model takes a tenth of a second
def client(service: str, url: str) -> Any:
    """A client of one service; nobody tries again behind a test's back."""
    session = botocore.session.Session()
    session.set_credentials(ACCESS_KEY, SECRET_KEY)
    config = botocore.config.Config(
        retries={"total_max_attempts": 2, "mode": "standard"},
        s3={"addressing_style": "path"},
        max_pool_connections=50,
        # Waiting for an answer of a server under load is no failure of ours.
        read_timeout=60,
    )
    return session.create_client(service, REGION, endpoint_url=url, config=config)
