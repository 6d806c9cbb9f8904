"""A channel that publishes to an SNS topic, with the subject and text of a letter.

Attributes for subscription filters: `severity`, `what` (opened, worse, reminder, closed, test, or
digest), `kind` (of the incident; "digest" for several). A FIFO topic gets the letter's id for
deduplication and the incident's opening as the group.

What SNS answers                                 means
throttling, 5xx, no answer; no rights            tried again (rights are mended by people)
no such topic, a bad parameter                   given up
"""

from __future__ import annotations

import unicodedata
from typing import Any, Final

from ocp_ingest.adapters.aws.session import Answered, Aws
from ocp_ingest.adapters.notify.settings import Sns
from ocp_ingest.core.errors import Terminal
from ocp_ingest.core.limits import KIB
from ocp_ingest.desk.letters import one_line
from ocp_ingest.desk.notify import Letter, Wants

# Quotas of Publish (API reference): a subject is ASCII without line ends, shorter than 100
# characters; a message has 256 KiB, attributes included.
SUBJECT_CHARS_MAX: Final = 99
MESSAGE_BYTES_MAX: Final = 250 * KIB


class SnsChannel:
    """See the module's first line. `aws` is of the topic's region."""

    def __init__(self, settings: Sns, wants: Wants, aws: Aws) -> None:
        self.name = settings.name
        self.wants = wants
        self._topic = settings.topic_arn
        self._aws = aws

    async def send(self, letter: Letter) -> None:
        """Publishes it. Raises Transient, Terminal."""
        try:
            await self._aws.call("sns", "publish", **request_of(letter, self._topic))
        except Answered as bad:
            raise Terminal(f"SNS refuses the message: {bad.code}.") from None

    async def close(self) -> None:
        """Connections belong to who gave them."""


def request_of(letter: Letter, topic_arn: str) -> dict[str, Any]:
    """The parameters of Publish."""
    one = letter.alerts[0] if len(letter.alerts) == 1 else None
    attributes = {
        "severity": letter.severity,
        "what": one.what if one is not None else "digest",
        "kind": one.incident.kind if one is not None else "digest",
    }
    text = letter.text.encode()[:MESSAGE_BYTES_MAX].decode("utf-8", "ignore")
    request = {
        "TopicArn": topic_arn,
        "Subject": ascii_subject(letter.subject),
        "Message": text,
        "MessageAttributes": {
            name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
        },
    }
    if topic_arn.endswith(".fifo"):
        request |= {"MessageGroupId": letter.thread, "MessageDeduplicationId": letter.letter_id}
    return request


def ascii_subject(text: str) -> str:
    """A subject as SNS takes it: accents are dropped, anything else becomes a question mark."""
    plain = unicodedata.normalize("NFKD", one_line(text, 2 * SUBJECT_CHARS_MAX))
    bare = "".join(c for c in plain if not unicodedata.combining(c))
    return bare.encode("ascii", "replace").decode()[:SUBJECT_CHARS_MAX]
