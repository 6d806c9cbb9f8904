"""Every channel keeps the same promises to the desk, on real servers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ocp_ingest.core.errors import OcpIngestError, Terminal, Transient
from ocp_ingest.desk.notify import Letter
from tests.notify.letters import a_letter
from tests.notify.receivers import PASSWORD, RECEIVERS, SECRET, Receiver


@pytest.fixture(params=RECEIVERS)
async def receiver(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Receiver]:
    async with RECEIVERS[request.param](tmp_path) as made:
        yield made


async def test_a_letter_arrives_as_it_was_written(receiver: Receiver) -> None:
    letter = a_letter()
    await receiver.channel.send(letter)
    [got] = receiver.got()
    # SNS takes ASCII subjects only.
    assert got.subject in (letter.subject, "[ocp-ingest] Nueva (critica): vendor_down:emea")
    assert got.text.replace("\r\n", "\n").strip() == letter.text.strip()
    assert "exportación" in got.text


async def test_letters_arrive_in_the_order_in_which_they_are_sent(receiver: Receiver) -> None:
    for number in range(3):
        await receiver.channel.send(a_letter(f"slot_busy:g{number}"))
    assert [got.subject[-2:] for got in receiver.got()] == ["g0", "g1", "g2"]


async def test_a_letter_that_is_sent_again_is_known_as_the_same(receiver: Receiver) -> None:
    letter = a_letter()
    await receiver.channel.send(letter)
    await receiver.channel.send(letter)
    one, other = receiver.got()
    assert one == other
    assert one.letter_id in ("", letter.letter_id)


async def test_where_nobody_listens_another_try_may_help(receiver: Receiver) -> None:
    with pytest.raises(Transient) as failed:
        await receiver.unreachable.send(a_letter())
    _says_nothing_secret(failed.value)


async def test_a_refusal_for_now_is_tried_again(receiver: Receiver) -> None:
    receiver.refuse(False)
    with pytest.raises(Transient) as failed:
        await receiver.channel.send(a_letter())
    _says_nothing_secret(failed.value)


async def test_a_refusal_for_good_is_not(receiver: Receiver) -> None:
    receiver.refuse(True)
    with pytest.raises(Terminal) as failed:
        await receiver.channel.send(a_letter())
    _says_nothing_secret(failed.value)


async def test_a_group_s_name_adds_no_header_and_no_line(receiver: Receiver) -> None:
    nasty = a_letter("slot_busy:emea\r\nBcc: eve@example.com\r\n\r\nBuy now")
    forged = Letter(**{f: getattr(nasty, f) for f in nasty.__struct_fields__} | {
        "subject": "[ocp-ingest] x\r\nBcc: eve@example.com\n\nBuy now",
    })  # fmt: skip
    await receiver.channel.send(forged)
    [got] = receiver.got()
    assert "\n" not in got.subject.strip() or got.subject == forged.subject  # JSON may hold any
    assert not got.text.startswith("Buy now")


def _says_nothing_secret(failed: OcpIngestError) -> None:
    said = f"{failed} {failed.ids}"
    assert SECRET not in said
    assert PASSWORD not in said
    assert "in-the-url" not in said
