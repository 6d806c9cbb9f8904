"""S3 for tests: a server that stands for it, buckets of one test, requests that fail on demand.

OCP_TEST_S3_ENDPOINT chooses another server than ministack, which is started where it is not set;
OCP_TEST_S3_SERVER says which one it is, so that its known untruths are expected (DIFFERENCES).
Its credentials are those of tests.aws.servers.launch.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any, Final

import aiohttp
import botocore.exceptions
import pytest
from aiobotocore.session import AioSession, get_session

from ocp_ingest.adapters.aws.session import Aws, Service
from ocp_ingest.adapters.aws.settings import AwsSettings
from tests.aws.clients import client
from tests.aws.servers import launch
from tests.aws.servers.fetch import ROOT

ENDPOINT: Final = "OCP_TEST_S3_ENDPOINT"
SERVER: Final = "OCP_TEST_S3_SERVER"

# How the reason of a difference begins that does not show each time.
SOMETIMES: Final = "Sometimes:"
_OVERWRITES: Final = "CopyObject with If-None-Match overwrites what is there (S3 answers 412)"
_ANSWERS_AND_OVERWRITES: Final = (
    "CopyObject with If-None-Match answers 412 and overwrites what is there all the same"
)
_TOO_EARLY: Final = "CompleteMultipartUpload looks at If-None-Match too early"
_NO_IF_MATCH: Final = "DeleteObject with If-Match is answered with NotImplemented"
_NO_CHECKSUM: Final = "HeadObject knows no checksum of what CopyObject has made"
# Server -> test function, or one case of it -> what S3 does and it does not.
DIFFERENCES: Final[dict[str, dict[str, str]]] = {
    "ministack": {
        "test_a_copy_is_proved_and_said_once": _OVERWRITES,
        "test_other_bytes_at_the_key_are_a_conflict_and_stay": _OVERWRITES,
        "test_of_many_writers_of_one_key_one_wins_and_nothing_is_overwritten": (
            f"{SOMETIMES} {_OVERWRITES}"
        ),
        "test_of_many_copies_of_the_same_bytes_one_is_the_copy": f"{SOMETIMES} {_OVERWRITES}",
    },
    "localstack": {
        "test_other_bytes_at_the_key_are_a_conflict_and_stay": _ANSWERS_AND_OVERWRITES,
        "test_of_many_writers_of_one_key_one_wins_and_nothing_is_overwritten": (
            _ANSWERS_AND_OVERWRITES
        ),
        "test_metadata_alone_proves_nothing": _ANSWERS_AND_OVERWRITES,
        "test_a_copy_of_damaged_bytes_is_removed_and_nothing_else_is[False-False]": _NO_IF_MATCH,
        "test_a_copy_of_damaged_bytes_is_removed_and_nothing_else_is[True-False]": _NO_IF_MATCH,
        "test_large_copies_at_once_are_one_copy": f"{SOMETIMES} {_TOO_EARLY}",
    },
    "seaweedfs": {
        "test_keys_come_once_in_byte_order_over_all_pages": (
            "ListObjectsV2 lists folders in the order of their names without the slash"
        ),
        "test_a_bucket_that_is_not_there_is_for_a_person": "PutObject makes a missing bucket",
        "test_any_one_request_may_fail_or_lose_its_answer[copy_whole]": _NO_CHECKSUM,
        "test_a_conflict_of_two_writers_at_once_is_tried_again[copy_whole]": _NO_CHECKSUM,
        "test_large_copies_at_once_are_one_copy": f"{SOMETIMES} {_TOO_EARLY}",
    },
}
# What tests of recordings write to and look at.
BUCKETS: Final = ("landing", "quarantine", "sales", "claims", "unassigned", "nothing")

_ours = secrets.token_hex(3)
_prefixes = count(1)


def differences() -> dict[str, str]:
    """Those of the server that is chosen; none for one that is not named, such as S3 itself."""
    named = os.environ.get(SERVER, "") if os.environ.get(ENDPOINT) else "ministack"
    return DIFFERENCES.get(named, {})


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """The address of S3 for one session of tests."""
    chosen = os.environ.get(ENDPOINT, "")
    if chosen:
        yield chosen
        return
    port = launch.free_port()
    env = launch.environment(GATEWAY_PORT=str(port), BIND_HOST="127.0.0.1", LOG_LEVEL="ERROR")
    command = [sys.executable, "-m", "tests.aws_adapters.truthful_ministack"]
    url = f"http://127.0.0.1:{port}"
    with launch.Server("ministack", command, folder=folder, url=url, env=env, cwd=ROOT):
        yield url


def expect_differences(request: pytest.FixtureRequest) -> None:
    """Makes the test an expected failure where the chosen server is known to say otherwise."""
    known, test = differences(), request.node
    why = known.get(test.name) or known.get(test.originalname)
    if why is not None:
        strict = not why.startswith(SOMETIMES)
        request.applymarker(pytest.mark.xfail(strict=strict, reason=why))


@lru_cache(maxsize=1)
def session() -> AioSession:
    """A session with the test's credentials, whatever the environment says; models load once."""
    made = get_session()
    made.set_credentials(launch.ACCESS_KEY, launch.SECRET_KEY)
    return made


def settings(url: str, *, prefix: str = "", **more: Any) -> AwsSettings:
    """Where the stand-in is; buckets under a prefix that no other test has."""
    return AwsSettings(
        region=launch.REGION,
        bucket_prefix=prefix or f"r{_ours}-{next(_prefixes)}-",
        endpoints={"s3": url, "sts": url},
        **more,
    )


@lru_cache(maxsize=4)
def observer(url: str) -> Any:
    """S3 as somebody else sees it: for what tests arrange and look up."""
    return client("s3", url)


def make_buckets(where: AwsSettings, names: Iterable[str] = BUCKETS) -> None:
    """Creates the buckets that a template would create."""
    s3 = observer(where.endpoints["s3"])
    for name in names:
        s3.create_bucket(
            Bucket=where.bucket_prefix + name,
            CreateBucketConfiguration={"LocationConstraint": launch.REGION},
        )


@dataclass
class Faults:
    """What goes wrong with requests, by their number from 0; and what was asked.

    `before`: it never arrives; `after`: it is done, its answer is lost; `answers`: by operation,
    codes and statuses that are answered instead, in order; `breaks`: after so many bytes a body's
    connection is lost; `edit`: is shown every answer and may change it.
    """

    before: set[int] = field(default_factory=set)
    after: set[int] = field(default_factory=set)
    always: set[str] = field(default_factory=set)
    answers: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    breaks: list[int] = field(default_factory=list)
    quietly: bool = False  # bodies that break just end
    asked: list[str] = field(default_factory=list)
    params: list[dict[str, Any]] = field(default_factory=list)
    by: list[str] = field(default_factory=list)  # access key of an assumed role, or ""
    edit: Callable[[str, dict[str, Any]], None] = lambda _operation, _answer: None

    def clear(self) -> None:
        """No faults, nothing asked yet."""
        self.__init__()  # type: ignore[misc]  # the same object: clients hold it

    def times(self, operation: str) -> int:
        """How often that was asked."""
        return self.asked.count(operation)


class FaultyAws(Aws):
    """`Aws` with faults as parameters."""

    def __init__(self, where: AwsSettings, faults: Faults | None = None) -> None:
        super().__init__(where, session())
        self.faults = faults or Faults()
        self.clients_open = 0

    def open(self, service: Service, **identity: str) -> AbstractAsyncContextManager[Any]:
        key = identity.get("aws_access_key_id", "")
        return self._open(super().open(service, **identity), key)

    @asynccontextmanager
    async def _open(self, real: AbstractAsyncContextManager[Any], key: str) -> AsyncIterator[Any]:
        async with real as opened:
            self.clients_open += 1
            yield _FaultyClient(opened, self.faults, key)
        self.clients_open -= 1


class _FaultyClient:
    def __init__(self, real: Any, faults: Faults, key: str) -> None:
        self._real = real
        self._faults = faults
        self._key = key

    def __getattr__(self, operation: str) -> Any:
        async def ask(**params: Any) -> Any:
            faults = self._faults
            number = len(faults.asked)
            faults.asked.append(operation)
            faults.params.append(params)
            faults.by.append(self._key)
            if number in faults.before or operation in faults.always:
                raise botocore.exceptions.EndpointConnectionError(endpoint_url="of the test")
            if faults.answers.get(operation):
                code, status = faults.answers[operation].pop(0)
                raise _client_error(code, status, operation)
            answer = await getattr(self._real, operation)(**params)
            if number in faults.after:
                raise botocore.exceptions.ReadTimeoutError(endpoint_url="of the test")
            if operation == "get_object" and faults.breaks:
                answer["Body"] = _BreakingBody(answer["Body"], faults.breaks.pop(0), faults.quietly)
            faults.edit(operation, answer)
            return answer

        return ask


class _BreakingBody:
    """The body of an answer whose connection is lost after so many bytes."""

    def __init__(self, real: Any, bytes_left: int, quietly: bool) -> None:
        self._real = real
        self._left = bytes_left
        self._quietly = quietly

    async def read(self, amount: int) -> bytes:
        if not self._left and self._quietly:
            return b""
        if not self._left:
            raise aiohttp.ClientPayloadError("of the test")
        block: bytes = await self._real.read(min(amount, self._left))
        self._left -= len(block)
        return block

    async def __aenter__(self) -> _BreakingBody:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._real.aclose()


def _client_error(code: str, status: int, operation: str) -> botocore.exceptions.ClientError:
    said: Any = {
        "Error": {"Code": code, "Message": "of the test"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return botocore.exceptions.ClientError(said, operation)


def put_as_somebody(s3: Any, bucket: str, key: str, body: bytes) -> None:
    """Writes an object of which S3 knows no SHA-256, as of one that came in parts."""
    s3.put_object(Bucket=bucket, Key=key, Body=body, ChecksumAlgorithm="CRC32")
