"""Uploads 200 MB to the S3 of argument 1 and prints by how many bytes the process has grown."""

from __future__ import annotations

import asyncio
import resource
import sys

from ocp_ingest.adapters.aws.recording_store import AwsRecordingStore
from ocp_ingest.core.limits import BLOCK_BYTES, MIB
from tests.aws_adapters import s3_kit

SIZE = 200 * MIB


def peak() -> int:
    """The largest resident set so far; Linux says it in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


async def main(url: str) -> None:
    """A small recording first, so that what is loaded once counts as there before."""
    where = s3_kit.settings(url)
    s3_kit.make_buckets(where, ["landing"])
    block = bytes(BLOCK_BYTES)
    async with s3_kit.FaultyAws(where) as aws:
        store = AwsRecordingStore(aws)
        before = 0
        for size in (BLOCK_BYTES, SIZE):
            before = before or (peak() if size == SIZE else 0)
            upload = await store.begin()
            for _ in range(size // BLOCK_BYTES):
                await upload.write(block)
            landed = await upload.commit()
            assert landed.bytes == size
    sys.stdout.write(str(peak() - before))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
