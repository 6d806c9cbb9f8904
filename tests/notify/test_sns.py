"""SNS: attributes for filters, ASCII subjects, FIFO topics, bounds of Publish."""

from __future__ import annotations

from msgspec.structs import replace

from ocp_ingest.adapters.notify.settings import Sns
from ocp_ingest.adapters.notify.sns import (
    MESSAGE_BYTES_MAX,
    SUBJECT_CHARS_MAX,
    SnsChannel,
    ascii_subject,
    request_of,
)
from tests.aws_adapters import stand_in
from tests.notify.letters import SPANISH, a_letter
from tests.notify.receivers import aws, topic

ARN = "arn:aws:sns:eu-west-1:123456789012:alerts"


async def test_subscribers_can_filter_by_severity_kind_and_what_happened() -> None:
    made = topic()
    async with aws(stand_in.url()) as here:
        channel = SnsChannel(Sns(name="topic", topic_arn=made.arn), SPANISH, here)
        await channel.send(a_letter())
        await channel.send(a_letter("slot_busy:a", "slot_busy:b"))
    one, digest = [
        {name: said["Value"] for name, said in message["MessageAttributes"].items()}
        for message in made.read()
    ]
    assert one == {"severity": "critical", "what": "opened", "kind": "vendor_down"}
    assert digest == {"severity": "critical", "what": "digest", "kind": "digest"}


def test_a_fifo_topic_keeps_one_of_several_tries_and_the_order_of_an_incident() -> None:
    letter = a_letter()
    plain, fifo = request_of(letter, ARN), request_of(letter, f"{ARN}.fifo")
    assert "MessageGroupId" not in plain
    assert fifo["MessageDeduplicationId"] == letter.letter_id
    assert fifo["MessageGroupId"] == letter.thread


def test_a_subject_is_as_sns_takes_it() -> None:
    assert ascii_subject("Crítica: ñandú — 5 €") == "Critica: nandu ? 5 ?"
    assert ascii_subject("a\r\nb\tc\x00") == "a b c"
    assert len(ascii_subject("x" * 500)) == SUBJECT_CHARS_MAX
    assert len(ascii_subject("ﷺ" * 100)) <= SUBJECT_CHARS_MAX


def test_a_message_is_cut_before_the_quota_and_never_inside_a_character() -> None:
    long = replace(a_letter(), text="a" + "ñ" * 200_000)
    text = request_of(long, ARN)["Message"]
    assert len(text.encode()) <= MESSAGE_BYTES_MAX
    assert set(text) == {"a", "ñ"}
