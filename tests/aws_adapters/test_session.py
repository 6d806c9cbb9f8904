"""Laws of a request to AWS: every failure has a fate, and nothing is asked twice unasked."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import botocore.exceptions
import msgspec
import pytest
from aiobotocore.credentials import AioCredentialResolver
from aiobotocore.session import AioSession
from aiohttp import web

from ocp_ingest.adapters.aws.session import AGAIN_TRIES, Answered, Aws, request
from ocp_ingest.adapters.aws.settings import AwsSettings
from ocp_ingest.core.errors import NoRights, Transient

# Longer than a local answer takes on a machine under load; one test waits for it in vain.
ANSWER_S: Final = 2.0
# Longer than that and the making of a client, shorter than the server keeps silent.
SOON_S: Final = 20.0

Reply = Callable[[web.Request], Awaitable[web.StreamResponse]]


def error(code: str, status: int = 400, **more: Any) -> Reply:
    """An error as DynamoDB, SQS and Scheduler send it."""

    async def reply(_request: web.Request) -> web.StreamResponse:
        body = {"__type": f"com.amazonaws.x#{code}", "message": "said AWS", **more}
        return _json(body, status)

    return reply


def said(body: dict[str, Any]) -> Reply:
    async def reply(_request: web.Request) -> web.StreamResponse:
        return _json(body, 200)

    return reply


def page(text: str, status: int) -> Reply:
    """What a proxy or load balancer says in AWS's place."""

    async def reply(_request: web.Request) -> web.StreamResponse:
        return web.Response(text=text, status=status, content_type="text/html")

    return reply


async def silence(_request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(2 * SOON_S)
    raise AssertionError("somebody waited for this")


async def cut(request: web.Request) -> web.StreamResponse:
    """The connection ends before any answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def torn(request: web.Request) -> web.StreamResponse:
    """The connection ends in the middle of an answer."""
    answer = web.StreamResponse(headers={"Content-Length": "1000"})
    await answer.prepare(request)
    await answer.write(b'{"Item": {')
    assert request.transport is not None
    request.transport.abort()
    return answer


def _json(body: dict[str, Any], status: int) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(body), status=status, content_type="application/x-amz-json-1.0"
    )


FOUND: Final = said({"Item": {"pk": {"S": "a"}}})


class Stage:
    """A server that answers as its script says, the last line for ever, and counts."""

    def __init__(self) -> None:
        self.script: list[Reply] = [FOUND]
        self.asked = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        await request.read()
        reply = self.script[min(self.asked, len(self.script) - 1)]
        self.asked += 1
        return await reply(request)


def session() -> AioSession:
    made = AioSession()
    made.set_credentials("key", "secret")
    return made


def settings(url: str, **more: Any) -> AwsSettings:
    endpoints = {"dynamodb": url, "s3": url, "sqs": url, "scheduler": url}
    plain = {"answer_s_max": ANSWER_S, "connect_s_max": ANSWER_S}
    return AwsSettings(region="eu-central-1", endpoints=endpoints, **plain | more)


@asynccontextmanager
async def served(stage: Stage) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", stage.answer)
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=0.01)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.fixture
async def stage() -> Stage:
    return Stage()


@pytest.fixture
async def aws(stage: Stage) -> AsyncIterator[Aws]:
    async with served(stage) as url, Aws(settings(url), session()) as made:
        yield made


async def get(aws: Aws, *, again: bool = False) -> dict[str, Any]:
    key = {"pk": {"S": "a"}}
    return await aws.call("dynamodb", "get_item", again=again, TableName="table", Key=key)


class TestFates:
    async def test_an_answer_is_what_aws_said(self, aws: Aws, stage: Stage) -> None:
        assert (await get(aws))["Item"] == {"pk": {"S": "a"}}
        assert stage.asked == 1

    @pytest.mark.parametrize("code", [
        "ProvisionedThroughputExceededException", "ThrottlingException", "Throttling",
        "RequestLimitExceeded", "RequestThrottled", "SlowDown", "TooManyRequestsException",
        "OverLimit", "KMS.ThrottlingException", "PriorRequestNotComplete",
    ])  # fmt: skip
    async def test_throttling_is_transient(self, aws: Aws, stage: Stage, code: str) -> None:
        stage.script = [error(code)]
        with pytest.raises(Transient, match=code):
            await get(aws)

    @pytest.mark.parametrize("reply", [
        error("InternalServerError", 500), error("ServiceUnavailable", 503),
        error("TransactionInProgressException"), error("TransactionConflictException"),
        error("SomethingNobodyHasHeardOf", 500), error("SomethingElse", 429),
        page("<h1>Bad gateway</h1>", 502), page("", 503), page("<h1>Too many</h1>", 429),
    ])  # fmt: skip
    async def test_trouble_of_the_service_is_transient(
        self, aws: Aws, stage: Stage, reply: Reply
    ) -> None:
        stage.script = [reply]
        with pytest.raises(Transient, match=r"dynamodb\.get_item"):
            await get(aws)

    @pytest.mark.parametrize("reply", [silence, cut, torn], ids=["silence", "cut", "torn"])
    async def test_an_answer_that_does_not_come_is_transient_and_soon(
        self, aws: Aws, stage: Stage, reply: Reply
    ) -> None:
        stage.script = [reply]
        with pytest.raises(Transient, match="did not answer"):
            await asyncio.wait_for(get(aws), SOON_S)
        assert stage.asked == 1

    async def test_a_page_in_the_place_of_an_answer_is_transient(
        self, aws: Aws, stage: Stage
    ) -> None:
        """It would be read as an empty answer: "no such item"."""
        stage.script = [page("<html>Welcome to the guest network</html>", 200)]
        with pytest.raises(Transient, match="did not answer"):
            await get(aws)

    async def test_nobody_listening_is_transient(self) -> None:
        with socket.socket() as held:
            held.bind(("127.0.0.1", 0))  # bound, but nobody listens
            url = f"http://127.0.0.1:{held.getsockname()[1]}"
            async with Aws(settings(url), session()) as aws:
                with pytest.raises(Transient, match="did not answer"):
                    await get(aws)

    @pytest.mark.parametrize("reply", [
        error("AccessDeniedException"), error("UnrecognizedClientException"),
        error("ExpiredTokenException"), error("InvalidSignatureException", 403),
        error("KMS.AccessDeniedException"),
    ])  # fmt: skip
    async def test_a_refusal_of_who_we_are_is_denied(
        self, aws: Aws, stage: Stage, reply: Reply
    ) -> None:
        stage.script = [reply]
        with pytest.raises(NoRights, match="role"):
            await get(aws)

    async def test_without_credentials_nothing_is_asked(self, stage: Stage) -> None:
        nobody = AioSession()
        nobody.register_component("credential_provider", AioCredentialResolver(providers=[]))
        async with served(stage) as url, Aws(settings(url), nobody) as aws:
            with pytest.raises(NoRights, match="no AWS credentials"):
                await get(aws)
        assert stage.asked == 0

    async def test_anything_else_is_an_answer_for_whoever_asked(
        self, aws: Aws, stage: Stage
    ) -> None:
        held = {"owner": {"S": "b"}}
        stage.script = [error("ConditionalCheckFailedException", Item=held)]
        with pytest.raises(Answered) as caught:
            await get(aws)
        no = caught.value
        assert (no.code, no.status, no.message) == (
            "ConditionalCheckFailedException", 400, "said AWS",
        )  # fmt: skip
        assert no.response["Item"] == held

    async def test_reasons_of_a_cancelled_transaction_come_with_it(
        self, aws: Aws, stage: Stage
    ) -> None:
        reasons = [{"Code": "None"}, {"Code": "ConditionalCheckFailed", "Message": "no"}]
        stage.script = [error("TransactionCanceledException", CancellationReasons=reasons)]
        put = {"Put": {"TableName": "table", "Item": {"pk": {"S": "a"}}}}
        with pytest.raises(Answered) as caught:
            await aws.call("dynamodb", "transact_write_items", TransactItems=[put, put])
        assert caught.value.response["CancellationReasons"] == reasons

    async def test_s3_says_the_same_in_its_own_way(self, aws: Aws, stage: Stage) -> None:
        async def xml(code: str, status: int) -> None:
            stage.script = [page(f"<Error><Code>{code}</Code></Error>", status)]
            await aws.call("s3", "get_object", Bucket="bucket", Key="key")

        with pytest.raises(Transient, match="slow down"):
            await xml("SlowDown", 503)
        with pytest.raises(NoRights):
            await xml("AccessDenied", 403)
        with pytest.raises(Answered) as caught:
            await xml("NoSuchKey", 404)
        assert (caught.value.code, caught.value.status) == ("NoSuchKey", 404)

    async def test_a_bug_of_ours_stays_what_it_is(self, aws: Aws, stage: Stage) -> None:
        with pytest.raises(botocore.exceptions.ParamValidationError):
            await aws.call("dynamodb", "get_item", again=True, Table="misspelt")
        assert stage.asked == 0


class TestAgain:
    async def test_nothing_is_asked_twice_unasked(self, aws: Aws, stage: Stage) -> None:
        """botocore's own retries would hide a lost answer from whoever has to deal with it."""
        stage.script = [error("InternalServerError", 500), FOUND]
        with pytest.raises(Transient):
            await get(aws)
        assert stage.asked == 1

    @pytest.mark.parametrize("trouble", [error("ThrottlingException"), cut, page("", 503)])
    async def test_short_troubles_are_waited_out(
        self, aws: Aws, stage: Stage, trouble: Reply
    ) -> None:
        stage.script = [*[trouble] * (AGAIN_TRIES - 1), FOUND]
        assert (await get(aws, again=True))["Item"]
        assert stage.asked == AGAIN_TRIES

    async def test_long_troubles_are_not(self, aws: Aws, stage: Stage) -> None:
        stage.script = [error("ThrottlingException")]
        with pytest.raises(Transient):
            await get(aws, again=True)
        assert stage.asked == AGAIN_TRIES

    @pytest.mark.parametrize(
        ("reply", "fate"),
        [(error("ConditionalCheckFailedException"), Answered), (error("AccessDenied"), NoRights)],
    )
    async def test_an_answer_is_never_asked_for_again(
        self, aws: Aws, stage: Stage, reply: Reply, fate: type[Exception]
    ) -> None:
        stage.script = [reply]
        with pytest.raises(fate):
            await get(aws, again=True)
        assert stage.asked == 1

    async def test_a_client_of_another_identity_has_the_same_fates(
        self, aws: Aws, stage: Stage
    ) -> None:
        stage.script = [error("ThrottlingException"), FOUND]
        other = aws.open("dynamodb", aws_access_key_id="o", aws_secret_access_key="t")
        async with other as client:
            params = {"TableName": "table", "Key": {"pk": {"S": "a"}}}
            answer = await request(client, "dynamodb", "get_item", again=True, **params)
        assert answer["Item"]
        assert stage.asked == 2


class TestClients:
    async def test_a_service_has_one_client_however_many_ask_at_once(self, aws: Aws) -> None:
        clients = await asyncio.gather(*(aws.client("dynamodb") for _ in range(20)))
        assert len({id(client) for client in clients}) == 1
        assert await aws.client("sqs") is not clients[0]

    async def test_closed_it_can_be_used_anew(self, stage: Stage) -> None:
        async with served(stage) as url:
            aws = Aws(settings(url), session())
            before = await aws.client("dynamodb")
            await aws.close()
            assert await aws.client("dynamodb") is not before
            assert await get(aws)
            await aws.close()
