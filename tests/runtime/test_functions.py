"""Asking a function: its answer, its failures by their fate, and what is not waited for."""

from __future__ import annotations

import time

import pytest

from ocp_ingest.adapters.aws import functions
from ocp_ingest.adapters.aws.session import Aws
from ocp_ingest.adapters.aws.settings import AwsSettings
from ocp_ingest.core import errors
from tests.aws.servers import launch
from tests.runtime.fake_lambda import DETECT_ARN, FakeLambda, fake_lambda


def aws_of(fake: FakeLambda) -> Aws:
    """A session that leads there."""
    return Aws(AwsSettings(region=launch.REGION, endpoints={"lambda": fake.url}))


async def test_a_function_that_answers_is_answered_for() -> None:
    async with fake_lambda(answer={"looked_at": 3}) as fake, aws_of(fake) as aws:
        said = await functions.ask(aws, DETECT_ARN, {"census": True}, s_max=5)
        assert said == {"looked_at": 3}
        assert fake.events == [(DETECT_ARN, "RequestResponse", {"census": True})]


async def test_one_that_is_told_is_not_waited_for() -> None:
    async with fake_lambda(error="Boom") as fake, aws_of(fake) as aws:
        await functions.tell(aws, DETECT_ARN, {"census": True})
        assert fake.events == [(DETECT_ARN, "Event", {"census": True})]


async def test_one_that_takes_too_long_goes_on_by_itself() -> None:
    async with fake_lambda(wait_s=30) as fake, aws_of(fake) as aws:
        began = time.monotonic()
        assert await functions.ask(aws, DETECT_ARN, {}, s_max=0.5) is None
        assert time.monotonic() - began < 10
        assert len(fake.events) == 1, "an invocation is never repeated"


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        ("Invalid", errors.Invalid), ("NoRights", errors.NoRights), ("Transient", errors.Transient),
        ("Conflict", errors.Conflict), ("NotFound", errors.NotFound),
        ("Terminal", errors.Terminal),
    ],
)  # fmt: skip
async def test_our_own_errors_come_back_as_they_were_raised(
    raised: str, kind: type[errors.OcpIngestError]
) -> None:
    async with fake_lambda(error=raised, message="What to do.") as fake, aws_of(fake) as aws:
        with pytest.raises(kind, match=r"^What to do\.$"):
            await functions.ask(aws, DETECT_ARN, {}, s_max=5)


async def test_the_text_of_another_error_is_not_shown() -> None:
    async with fake_lambda(error="KeyError", message="+34600123456") as fake, aws_of(fake) as aws:
        with pytest.raises(errors.Terminal, match="KeyError") as failed:
            await functions.ask(aws, DETECT_ARN, {}, s_max=5)
        assert "600123456" not in failed.value.text


async def test_a_group_that_is_busy_may_be_asked_again() -> None:
    async with fake_lambda(error="GroupBusy") as fake, aws_of(fake) as aws:
        with pytest.raises(errors.Transient):
            await functions.ask(aws, DETECT_ARN, {}, s_max=5)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (429, "TooManyRequestsException", errors.Transient),
        (500, "ServiceException", errors.Transient),
        (403, "AccessDeniedException", errors.NoRights),
        (404, "ResourceNotFoundException", errors.Terminal),
    ],
)
async def test_what_lambda_itself_refuses_has_a_fate(
    status: int, code: str, kind: type[Exception]
) -> None:
    async with fake_lambda(status=status, code=code) as fake, aws_of(fake) as aws:
        with pytest.raises(kind):
            await functions.ask(aws, DETECT_ARN, {}, s_max=5)
        with pytest.raises(kind):
            await functions.tell(aws, DETECT_ARN, {})


async def test_an_answer_that_is_no_object_is_a_persons_to_look_at() -> None:
    async with fake_lambda(answer=[1]) as fake, aws_of(fake) as aws:
        with pytest.raises(errors.Terminal, match="JSON object"):
            await functions.ask(aws, DETECT_ARN, {}, s_max=5)
