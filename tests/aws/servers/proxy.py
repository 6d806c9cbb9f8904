"""An HTTP proxy in front of AWS's stand-ins: counts, and breaks what it is told to break.

    python -m tests.aws.servers.proxy PORT '{"dynamodb": URL, "*": URL}'

A request goes to the stand-in of its service, which its signature names (Credential=…/<service>/…);
the Host header is kept, so signatures stay valid. Faults are drawn with a seed:

    fault      what the client sees                         the effect has happened
    throttle   the service's own "slow down"                no
    error      the service's own "internal error"           no
    refused    the connection ends before an answer         no
    lost       the connection ends before an answer         YES

GET  /__totals   {"requests": {"dynamodb.PutItem": n}, "faults": {…}, "units": {…},
                 "of": {who: {"requests": {…}, "units": {"PutItem record": u}, "things": {…: n}}}}
POST /__faults   {"rate": 0.05, "seed": 7}; rate 0: off

Who asks is named by the client's user agent (AWS_SDK_UA_APP_ID); DynamoDB's write units are told
by what is written, too (`thing_of`). Where DynamoDB Local says less than DynamoDB bills, the bill
counts: a transaction's writes cost double, and a refused write what it would have (developer
guide, "transaction-apis", "WorkingWithItems"): one unit here, since our items are below 1 KB.

Only what clients ask for passes here: a stand-in's own calls (of a state machine, say) are neither
counted nor broken.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter, defaultdict
from random import Random
from typing import Any, Final
from urllib.parse import parse_qs

import aiohttp
from aiohttp import web
from yarl import URL

FAULTS: Final = ("throttle", "error", "refused", "lost")
# Parts of uploads are 8 MiB; a whole small recording may come in one request.
_BODY_BYTES_MAX: Final = 64 * 1024 * 1024
# Longer than a long poll of SQS.
_ANSWER_S_MAX: Final = 120.0
_SCOPE: Final = re.compile(r"Credential=[^/]+/\d{8}/[^/]+/([a-z0-9-]+)/aws4_request")
_WHO: Final = re.compile(r"\bapp/([A-Za-z0-9-]+)")
_HOP: Final = frozenset({
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailers",
    "transfer-encoding", "upgrade", "expect",
})  # fmt: skip

# How each service says "slow down" and "internal error": status, code. JSON unless S3 or STS.
_SLOW: Final = {
    "dynamodb": (400, "ProvisionedThroughputExceededException"),
    "s3": (503, "SlowDown"),
    "sqs": (400, "RequestThrottled"),
    "states": (400, "ThrottlingException"),
    "scheduler": (429, "ThrottlingException"),
    "lambda": (429, "TooManyRequestsException"),
    "sts": (400, "Throttling"),
    "secretsmanager": (400, "ThrottlingException"),
}
_BROKEN: Final = {
    "dynamodb": (500, "InternalServerError"),
    "s3": (500, "InternalError"),
    "sqs": (500, "InternalFailure"),
    "states": (500, "InternalFailure"),
    "scheduler": (500, "InternalServerException"),
    "lambda": (500, "ServiceException"),
    "sts": (500, "InternalFailure"),
    "secretsmanager": (500, "InternalServiceError"),
}
_REFUSALS: Final = ("ConditionalCheckFailedException", "TransactionCanceledException")
_XML: Final = frozenset({"s3", "sts"})


def service_of(headers: Any) -> str:
    """The service that a request is signed for; "" for one that is not."""
    found = _SCOPE.search(headers.get("Authorization", ""))
    return found[1] if found else ""


def operation_of(service: str, request: web.BaseRequest, body: bytes) -> str:
    """The API's name of what is asked for."""
    if target := request.headers.get("X-Amz-Target"):
        return target.rpartition(".")[2]
    if service == "s3":
        return _s3_operation(request)
    if service in ("scheduler", "lambda"):
        return _rest_operation(request)
    action = parse_qs(body.decode("latin-1")).get("Action", ["unknown"])
    return action[0]


def who_of(headers: Any) -> str:
    """The process that a request is from, as its environment names it; "" for one without."""
    found = _WHO.search(headers.get("User-Agent", ""))
    return found[1] if found else ""


def thing_of(body: bytes) -> str:
    """What a request to DynamoDB is about: an index, or the kind of its (first) item."""
    asked = json.loads(body)
    if "IndexName" in asked:
        return str(asked["IndexName"])
    for name in ("Item", "Key"):
        if name in asked:
            return _kind_of(asked[name])
    for write in asked.get("TransactItems", ()):
        ((_, said),) = write.items()
        return f"transaction: {_kind_of(said.get('Item') or said['Key'])}"
    for table in asked.get("RequestItems", {}).values():
        return f"batch: {_kind_of(table['Keys'][0])}"
    values = asked.get("ExpressionAttributeValues", {})
    return f"query: {_kind_of({'pk': values.get(':pk', {'S': ''}), 'sk': {'S': ''}})}"


def _kind_of(item: dict[str, Any]) -> str:
    """Keys of calls have no "#" (adapters.aws.table)."""
    pk, sk = item["pk"].get("S", ""), item["sk"].get("S", "")
    if "#" not in pk:
        return {"call": "record", "o": "opening"}.get(sk, sk.partition("#")[0] or "call")
    parts = pk.split("#")
    return f"lookup {parts[1]}" if parts[0] == "lookup" else parts[0]


def _s3_operation(request: web.BaseRequest) -> str:
    bucket, _, key = request.path.strip("/").partition("/")
    query, method = request.query, request.method
    kind = "Object" if key else "Bucket" if bucket else "Buckets"
    if "uploadId" in query or "uploads" in query:
        copied = "x-amz-copy-source" in request.headers
        return {
            "POST": "CompleteMultipartUpload" if "uploadId" in query else "CreateMultipartUpload",
            "PUT": "UploadPartCopy" if copied else "UploadPart",
            "DELETE": "AbortMultipartUpload",
            "GET": "ListParts" if "uploadId" in query else "ListMultipartUploads",
        }[method]
    if method == "PUT" and "x-amz-copy-source" in request.headers:
        return "CopyObject"
    if kind == "Bucket" and method == "GET":
        return "ListObjectsV2" if "list-type" in query else "GetBucket"
    verbs = {"PUT": "Put", "GET": "Get", "HEAD": "Head", "DELETE": "Delete", "POST": "Post"}
    return f"{verbs[method]}{kind}"


def _rest_operation(request: web.BaseRequest) -> str:
    if request.path.endswith("/invocations"):
        return "Invoke"
    verbs = {"POST": "Create", "GET": "Get", "DELETE": "Delete", "PUT": "Update"}
    kind, _, name = request.path.strip("/").partition("/")
    return f"{verbs[request.method]}{'Schedule' if name else kind.capitalize()}"


def _sums() -> defaultdict[str, float]:
    return defaultdict(float)


class Proxy:
    """State of the proxy."""

    def __init__(self, upstreams: dict[str, str]) -> None:
        self._upstreams = upstreams
        self._session: aiohttp.ClientSession | None = None
        self.requests: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.units: defaultdict[str, float] = defaultdict(float)
        self.requests_of: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.units_of: defaultdict[str, defaultdict[str, float]] = defaultdict(_sums)
        self.things_of: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.rate = 0.0
        self.random = Random(0)

    async def open(self, _app: web.Application) -> None:
        """Connections to the stand-ins."""
        self._session = aiohttp.ClientSession(
            auto_decompress=False, connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=_ANSWER_S_MAX),
            skip_auto_headers=("User-Agent", "Content-Type", "Accept", "Accept-Encoding"),
        )  # fmt: skip

    async def close(self, _app: web.Application) -> None:
        """Ends them."""
        assert self._session is not None
        await self._session.close()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One request, and perhaps one fault."""
        body = await request.read()
        service = service_of(request.headers)
        operation = operation_of(service, request, body)
        self.requests[f"{service}.{operation}"] += 1
        who = who_of(request.headers)
        self.requests_of[who][f"{service}.{operation}"] += 1
        fault = self._draw()
        if fault is not None:
            self.faults[fault] += 1
            self.faults[f"{service}.{operation}.{fault}"] += 1
        if fault in ("throttle", "error"):
            return _refusal(service, _SLOW if fault == "throttle" else _BROKEN)
        if fault == "refused":
            return _cut(request)
        answer = await self._forward(request, service, body)
        if service == "dynamodb":
            self._count_units(operation, body, answer, who)
        return _cut(request) if fault == "lost" else answer

    def _draw(self) -> str | None:
        return self.random.choice(FAULTS) if self.random.random() < self.rate else None

    async def _forward(self, request: web.Request, service: str, body: bytes) -> web.Response:
        assert self._session is not None
        url = self._upstreams.get(service) or self._upstreams["*"]
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _HOP}
        try:
            async with self._session.request(
                request.method, URL(f"{url}{request.raw_path}", encoded=True),
                data=body or None, headers=headers, allow_redirects=False,
            ) as answer:  # fmt: skip
                content = await answer.read()
        except (aiohttp.ClientError, TimeoutError):
            return web.Response(status=503)
        kept = [(k, v) for k, v in answer.headers.items() if k.lower() not in _HOP]
        response = web.Response(status=answer.status, body=content)
        response.headers.clear()
        response.headers.extend(kept)
        return response

    def _count_units(self, operation: str, asked: bytes, answer: web.Response, who: str) -> None:
        """DynamoDB says what a write cost when it is asked to, and when it was made."""
        thing = thing_of(asked)
        self.things_of[who][f"{operation} {thing}"] += 1
        if not isinstance(answer.body, bytes):
            return
        said = json.loads(answer.body or b"{}")
        each = 2 if operation == "TransactWriteItems" else 1
        units = 0.0
        if str(said.get("__type", "")).rpartition("#")[2] in _REFUSALS:
            units = each * len(json.loads(asked).get("TransactItems", " "))
        elif "ConsumedCapacity" in said:
            held = said["ConsumedCapacity"]
            consumed = held if isinstance(held, list) else [held]
            units = each * sum(one.get("CapacityUnits", 0) for one in consumed)
        if units:
            self.units[operation] += units
            self.units_of[who][f"{operation} {thing}"] += units

    def totals(self) -> dict[str, Any]:
        """What was asked for so far."""
        return {
            "requests": dict(self.requests), "faults": dict(self.faults),
            "units": dict(self.units),
            "of": {
                who: {
                    "requests": dict(requests), "units": dict(self.units_of[who]),
                    "things": dict(self.things_of[who]),
                }
                for who, requests in self.requests_of.items()
            },
        }  # fmt: skip


def _refusal(service: str, says: dict[str, tuple[int, str]]) -> web.Response:
    status, code = says.get(service, (500, "InternalFailure"))
    message = "The proxy was told to."
    if service in _XML:
        text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
        if service == "sts":
            text = f"<ErrorResponse>{text}</ErrorResponse>"
        return web.Response(status=status, text=text, content_type="application/xml")
    headers = {"x-amzn-errortype": code, "x-amzn-query-error": f"{code};Sender"}
    return web.Response(
        status=status, body=json.dumps({"__type": code, "message": message}).encode(),
        headers=headers, content_type="application/x-amz-json-1.0",
    )  # fmt: skip


def _cut(request: web.Request) -> web.Response:
    """Ends the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


def application(proxy: Proxy) -> web.Application:
    """The HTTP side."""

    async def totals(_request: web.Request) -> web.Response:
        return web.json_response(proxy.totals())

    async def faults(request: web.Request) -> web.Response:
        asked = await request.json()
        proxy.rate, proxy.random = float(asked["rate"]), Random(asked.get("seed", 0))
        return web.json_response(proxy.totals())

    app = web.Application(client_max_size=_BODY_BYTES_MAX)
    app.router.add_get("/__totals", totals)
    app.router.add_post("/__faults", faults)
    app.router.add_route("*", "/{path:.*}", proxy.handle)
    app.on_startup.append(proxy.open)
    app.on_cleanup.append(proxy.close)
    return app


def main(port: str, upstreams: str) -> None:
    """Serves until it is told to stop."""
    app = application(Proxy(json.loads(upstreams)))
    web.run_app(app, host="127.0.0.1", port=int(port), print=None, access_log=None,
                handler_cancellation=False)  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
