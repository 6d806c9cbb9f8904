"""Connections to AWS, and the one place where a request is made and its failure is given a fate.

What AWS answers                                   raised
throttling, 5xx, time-out, connection lost         Transient; the effect may have happened
our credentials or rights are not enough           NoRights
anything else (a failed condition, no such key)    Answered, for the adapter to read

Nothing is tried again here unless asked for by `again`: after a lost answer only the adapter
knows how to find out what has happened. botocore's own retries are off for the same reason.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Final, Literal, Self

import aiohttp
import botocore.exceptions
import botocore.parsers
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession, get_session

from ocp_ingest.adapters.aws.settings import AwsSettings
from ocp_ingest.core.errors import NoRights, Transient

Service = Literal[
    "dynamodb", "s3", "sqs", "stepfunctions", "scheduler", "lambda", "secretsmanager", "sts",
    "cloudwatch", "ssm", "sns", "kms",
]  # fmt: skip

THROTTLED: Final = frozenset({
    "ProvisionedThroughputExceededException", "ThrottlingException", "Throttling",
    "RequestLimitExceeded", "RequestThrottled", "SlowDown", "TooManyRequestsException",
    "KMSThrottlingException", "EC2ThrottledException", "RequestThrottledException",
    "BandwidthLimitExceeded", "PriorRequestNotComplete", "LimitExceededException",
    "OverLimit", "KmsThrottled", "KMS.ThrottlingException",
})  # fmt: skip
_SERVER: Final = frozenset({
    "InternalError", "InternalFailure", "InternalServerError", "InternalServerException",
    "ServiceUnavailable", "ServiceUnavailableException", "RequestTimeout", "ServiceException",
    "RequestTimeoutException", "TransactionInProgressException", "ReplicatedWriteConflictException",
    "TransactionConflictException",
})  # fmt: skip
_DENIED: Final = frozenset({
    "AccessDenied", "AccessDeniedException", "UnrecognizedClientException",
    "InvalidSignatureException", "SignatureDoesNotMatch", "InvalidAccessKeyId",
    "ExpiredToken", "ExpiredTokenException",
    "InvalidClientTokenId", "MissingAuthenticationToken", "AllAccessDisabled",
    "AuthorizationHeaderMalformed", "KMSAccessDeniedException", "KmsAccessDenied",
    "KMS.AccessDeniedException",
})  # fmt: skip

# Tries of a request that may be repeated as it is, and the longest wait before the second; doubles.
AGAIN_TRIES: Final = 4
_AGAIN_S: Final = 0.1


class Answered(Exception):
    """AWS answered with an error that means something to whoever asked."""

    def __init__(self, code: str, status: int, message: str, response: dict[str, Any]) -> None:
        super().__init__(f"{code} ({status}): {message}")
        self.code = code
        self.status = status
        self.message = message
        self.response = response


class Aws:
    """Clients of one process, made when first used; `async with`, then `call`."""

    def __init__(self, settings: AwsSettings, session: AioSession | None = None) -> None:
        self.settings = settings
        self._session = session or get_session()
        self._stack = AsyncExitStack()
        self._clients: dict[tuple[str, str], Any] = {}
        self._opening = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        await self.close()

    async def close(self) -> None:
        """Closes every connection."""
        self._clients.clear()
        await self._stack.aclose()

    def on_close(self, close: Callable[[], Awaitable[None]]) -> None:
        """Has `close` called when this is closed; for clients of other identities."""
        self._stack.push_async_callback(close)

    async def client(self, service: Service) -> Any:
        """The client of a service under this process's own identity."""
        key = (service, "")
        if key not in self._clients:
            async with self._opening:
                if key not in self._clients:
                    self._clients[key] = await self._stack.enter_async_context(self.open(service))
        return self._clients[key]

    def open(self, service: Service, **identity: str) -> Any:
        """A new client as an async context manager; `identity` as for botocore's create_client."""
        settings = self.settings
        config = AioConfig(
            connect_timeout=settings.connect_s_max,
            read_timeout=settings.answer_s_max,
            max_pool_connections=settings.connections_max,
            retries={"total_max_attempts": 1, "mode": "standard"},
            s3={
                # Addresses of stand-ins have no names of their own for buckets.
                "addressing_style": "path" if "s3" in settings.endpoints else "auto",
                # TLS and a checksum that S3 verifies guard a body already; hashing it once more
                # for the signature would hold up the event loop for every block of audio.
                "payload_signing_enabled": False,
            },
        )
        return self._session.create_client(
            service,
            region_name=settings.region or None,
            endpoint_url=settings.endpoints.get(service),
            config=config,
            **identity,
        )

    async def call(
        self, service: Service, operation: str, *, again: bool = False, **params: Any
    ) -> dict[str, Any]:
        """Makes one request; with `again` it may be repeated: short troubles are waited out.

        Raises Transient, NoRights, Answered.
        """
        client = await self.client(service)
        return await request(client, service, operation, again=again, **params)


async def request(
    client: Any, service: str, operation: str, *, again: bool = False, **params: Any
) -> dict[str, Any]:
    """`Aws.call` on a client of another identity."""
    tries = AGAIN_TRIES if again else 1
    for number in range(1, tries + 1):
        try:
            answer: dict[str, Any] = await getattr(client, operation)(**params)
            _check_said_by_aws(answer, service)
            return answer
        except Exception as error:
            fate = fate_of(error, service, operation)
            if not isinstance(fate, Transient) or isinstance(fate, NoRights) or number == tries:
                raise fate from error
            # Full jitter; the only chance in here, and nothing depends on it.
            await asyncio.sleep(random.random() * _AGAIN_S * 2**number)  # noqa: S311
    raise AssertionError("unreachable")


def _check_said_by_aws(answer: dict[str, Any], service: str) -> None:
    """botocore reads a web page with status 200 as an empty answer: "no such item"."""
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    if service != "s3" and str(headers.get("content-type", "")).startswith("text/html"):
        raise ConnectionError("a web page came instead of an answer")


def fate_of(error: Exception, service: str, operation: str) -> Exception:
    """What a failed request means. Errors that are no answer and no lost connection stay."""
    where = f"{service}.{operation}"
    if isinstance(error, botocore.exceptions.ClientError):
        return _answer_of(error, where)
    if isinstance(error, _LOST):
        return Transient(f"AWS did not answer ({where}): {type(error).__name__}.")
    if isinstance(
        error, botocore.exceptions.NoCredentialsError | botocore.exceptions.CredentialRetrievalError
    ):
        return NoRights(f"There are no AWS credentials ({where}).")
    return error


_LOST: Final = (
    botocore.exceptions.HTTPClientError,  # time-outs and lost connections are below it
    botocore.exceptions.ConnectionError,
    botocore.exceptions.ResponseStreamingError,
    botocore.exceptions.IncompleteReadError,
    botocore.parsers.ResponseParserError,  # a proxy's page instead of an answer
    aiohttp.ClientError,  # a body that breaks while it is streamed
    ConnectionError,
    TimeoutError,
)


def _answer_of(error: botocore.exceptions.ClientError, where: str) -> Exception:
    response: dict[str, Any] = dict(error.response)
    code = str(response.get("Error", {}).get("Code", ""))
    message = str(response.get("Error", {}).get("Message", ""))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in THROTTLED or status == 429:
        return Transient(f"AWS asks us to slow down ({where}): {code}.")
    if code in _SERVER or status >= 500:
        return Transient(f"AWS has trouble ({where}): {code or status}.")
    if code in _DENIED:
        return NoRights(f"AWS refuses us ({where}): {code}. Look at this process's role.")
    return Answered(code, status, message, response)
