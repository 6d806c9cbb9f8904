"""E-mail: encrypted or not at all, logged in, refused for now or for good, with proper headers."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocp_ingest.adapters.notify.settings import Smtp
from ocp_ingest.adapters.notify.smtp import SmtpChannel, message_of
from ocp_ingest.core.errors import Terminal, Transient
from tests.notify.letters import SPANISH, a_letter
from tests.notify.receivers import PASSWORD, mail, mail_server


async def test_headers_say_who_when_about_what_and_that_no_person_wrote_it(tmp_path: Path) -> None:
    async with mail_server(tmp_path) as server:
        await mail(server.port, server.ca_file).send(a_letter())
    [message], [envelope] = server.mailbox.messages, server.mailbox.envelopes
    assert message["From"] == "ocp-ingest <alerts@example.com>"
    assert message["To"] == "ana@example.com, luis@example.com"
    assert message["Subject"] == "[ocp-ingest] Nueva (crítica): vendor_down:emea"
    assert message["Date"] == "Mon, 21 Sep 2026 14:13:20 +0000"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Importance"] == "high"
    assert message["Content-Language"] == "es"
    assert message.get_content_type() == "text/plain"
    assert envelope.mail_from == "alerts@example.com"
    assert envelope.rcpt_tos == ["ana@example.com", "luis@example.com"]


async def test_letters_of_one_incident_are_a_thread_and_a_digest_is_none(tmp_path: Path) -> None:
    async with mail_server(tmp_path) as server:
        channel = mail(server.port, server.ca_file)
        await channel.send(a_letter())
        await channel.send(a_letter("slot_busy:a", "slot_busy:b"))
    one, digest = server.mailbox.messages
    assert one["References"] == one["In-Reply-To"] == f"<incident-{a_letter().thread}@example.com>"
    assert one["Message-ID"] == f"<{a_letter().letter_id}@example.com>"
    assert digest["References"] is None


async def test_a_certificate_of_nobody_we_know_is_refused_and_no_password_is_sent(
    tmp_path: Path,
) -> None:
    async with mail_server(tmp_path) as server:
        with pytest.raises(Transient, match="SSLCertVerificationError"):
            await mail(server.port).send(a_letter())
    assert server.mailbox.messages == []


async def test_a_server_without_starttls_gets_neither_password_nor_message(tmp_path: Path) -> None:
    async with mail_server(tmp_path, starttls=False) as server:
        with pytest.raises(Transient, match="SMTPNotSupportedError"):
            await mail(server.port, server.ca_file).send(a_letter())
    assert server.mailbox.messages == []


async def test_a_plain_server_on_this_machine_may_be_used_without_login(tmp_path: Path) -> None:
    async with mail_server(tmp_path, starttls=False) as server:
        await mail(server.port, tls="none", username="").send(a_letter())
    assert len(server.mailbox.messages) == 1


async def test_a_wrong_password_is_tried_again_and_never_shown(tmp_path: Path) -> None:
    async with mail_server(tmp_path) as server:
        wrong = SmtpChannel(mail(server.port, server.ca_file)._settings, SPANISH, PASSWORD[::-1])
        with pytest.raises(Transient, match="refuses the login") as failed:
            await wrong.send(a_letter())
    assert PASSWORD[::-1] not in str(failed.value)


async def test_one_refused_recipient_does_not_keep_it_from_the_others(tmp_path: Path) -> None:
    async with mail_server(tmp_path) as server:
        server.mailbox.refused = {"luis@example.com"}
        await mail(server.port, server.ca_file).send(a_letter())
    [envelope] = server.mailbox.envelopes
    assert envelope.rcpt_tos == ["ana@example.com"]


@pytest.mark.parametrize(("said", "fate"), [("550 no", Terminal), ("450 later", Transient)])
async def test_when_all_recipients_are_refused_the_code_decides(
    said: str, fate: type[Exception], tmp_path: Path
) -> None:
    async with mail_server(tmp_path) as server:
        server.mailbox.refused = {"ana@example.com", "luis@example.com"}
        server.mailbox.refused_with = said
        with pytest.raises(fate):
            await mail(server.port, server.ca_file).send(a_letter())


@pytest.mark.parametrize(("said", "fate"), [("552 no", Terminal), ("452 later", Transient)])
async def test_a_message_that_is_refused_the_code_decides_too(
    said: str, fate: type[Exception], tmp_path: Path
) -> None:
    async with mail_server(tmp_path) as server:
        server.mailbox.answer = said
        with pytest.raises(fate):
            await mail(server.port, server.ca_file).send(a_letter())


def test_lines_are_short_enough_for_every_server() -> None:
    """RFC 5321: 998 bytes; quoted-printable keeps to 76."""
    settings = Smtp(name="m", host="h", sender="a@b.c", recipients=("d@e.f",))
    message = message_of(a_letter("slot_busy:" + "ñ" * 500), settings)
    assert max(map(len, message.as_bytes().split(b"\r\n"))) <= 998
