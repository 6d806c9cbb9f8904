"""Makes the configured channels, and closes what they opened.

On the AWS runtime SNS is asked over the process's own connections when the topic is in its region;
otherwise, and embedded, over one connection per region with the credentials of the environment.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import msgspec

from ocp_ingest.adapters.aws.settings import AwsSettings
from ocp_ingest.adapters.notify import settings as given
from ocp_ingest.adapters.notify.settings import Alerts, Smtp, Sns, Webhook
from ocp_ingest.core.errors import Invalid
from ocp_ingest.desk.notify import Channel, Channels

if TYPE_CHECKING:
    from ocp_ingest.adapters.aws.session import Aws


@asynccontextmanager
async def opened(
    section: Alerts, aws_section: AwsSettings, aws: Aws | None = None, *, console_url: str = ""
) -> AsyncIterator[Channels]:
    """The channels of a section, closed at the end; `console_url` is where their links lead.

    Raises Invalid for a secret that can't be read or used, naming its key.
    """
    async with AsyncExitStack() as stack:
        made = [await _channel(one, section, aws_section, aws, stack) for one in section.channels]
        yield Channels(
            channels=tuple(made),
            console_url=console_url,
            runbooks_url=section.runbooks_url,
            remind_ms=given.remind_ms(section),
        )


async def _channel(
    channel: given.AnyChannel, section: Alerts, aws_section: AwsSettings, aws: Aws | None,
    stack: AsyncExitStack,
) -> Channel:  # fmt: skip
    wants = given.wants_of(channel, section)
    secret = given.secret_of(channel, section)
    match channel:
        case Webhook():
            from ocp_ingest.adapters.notify.webhook import WebhookChannel

            webhook = WebhookChannel(channel, wants, secret)
            stack.push_async_callback(webhook.close)
            return webhook
        case Smtp():
            from ocp_ingest.adapters.notify.smtp import SmtpChannel

            return SmtpChannel(channel, wants, secret)
        case Sns():
            return await _sns(channel, section, aws_section, aws, stack)


async def _sns(
    channel: Sns, section: Alerts, aws_section: AwsSettings, aws: Aws | None, stack: AsyncExitStack
) -> Channel:
    try:
        from ocp_ingest.adapters.aws.session import Aws as Opened
        from ocp_ingest.adapters.notify.sns import SnsChannel
    except ImportError:
        raise Invalid(
            f"`alerts.channels {channel.name}` is of kind sns, which needs the extra "
            "`ocp-ingest[aws]`: install it."
        ) from None
    region = given.region_of(channel)
    if aws is None or aws.settings.region != region:
        elsewhere = msgspec.structs.replace(aws_section, region=region)
        aws = await stack.enter_async_context(Opened(elsewhere))
    return SnsChannel(channel, given.wants_of(channel, section), aws)
