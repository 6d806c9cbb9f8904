"""A channel that sends plain-text e-mail through a server.

What the server answers           means
the message was taken             sent, also when some of several recipients were refused
4xx, or no answer                 tried again
a refused login, a certificate    tried again; people mend those within hours
5xx to the message or to all      given up: this message will never be taken
  recipients

smtplib knows the protocol and its traps; it blocks, so it runs in a thread, one letter at a time.
Headers are made by the standard library's modern policy from values without line ends, so that no
name of a group can add one. Letters of one opening of an incident belong to one thread.
"""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime
from typing import Final

from ocp_ingest.adapters.notify.settings import Smtp
from ocp_ingest.core.errors import OcpIngestError, Terminal, Transient
from ocp_ingest.desk.letters import one_line
from ocp_ingest.desk.notify import Letter, Wants

# Of a subject: longer ones are cut by mail programs anyway.
_SUBJECT_CHARS_MAX: Final = 200
_PERMANENT: Final = range(500, 600)


class SmtpChannel:
    """See the module's first line; `password` is what the settings' file holds."""

    def __init__(self, settings: Smtp, wants: Wants, password: str) -> None:
        self.name = settings.name
        self.wants = wants
        self._settings = settings
        self._password = password
        self._one = asyncio.Lock()

    async def send(self, letter: Letter) -> None:
        """Hands it to the server. Raises Transient, Terminal."""
        message = message_of(letter, self._settings)
        async with self._one:
            await asyncio.to_thread(self._send, message)

    async def close(self) -> None:
        """Nothing stays open."""

    def _send(self, message: EmailMessage) -> None:
        try:
            with self._connect() as server:
                if self._settings.username:
                    server.login(self._settings.username, self._password)
                server.send_message(message, self._settings.sender, list(self._settings.recipients))
        except (smtplib.SMTPException, OSError) as bad:
            raise _fate(bad, self._settings.host) from None

    def _connect(self) -> smtplib.SMTP:
        given = self._settings
        if given.tls == "tls":
            return smtplib.SMTP_SSL(
                given.host, given.port, timeout=given.answer_s_max, context=self._context()
            )
        server = smtplib.SMTP(given.host, given.port, timeout=given.answer_s_max)
        if given.tls == "starttls":
            try:
                server.starttls(context=self._context())
            except BaseException:
                server.close()
                raise
        return server

    def _context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self._settings.ca_file or None)


def _fate(bad: Exception, host: str) -> OcpIngestError:
    """Texts name the kind and the code: a server's own words may repeat the login."""
    kind = type(bad).__name__
    if isinstance(bad, smtplib.SMTPAuthenticationError):
        return Transient(f"{host} refuses the login ({bad.smtp_code}).")
    if isinstance(bad, smtplib.SMTPRecipientsRefused):
        codes = sorted({code for code, _ in bad.recipients.values()})
        if codes and all(code in _PERMANENT for code in codes):
            return Terminal(f"{host} refuses every recipient ({codes[0]}).")
        return Transient(f"{host} does not take the recipients now ({codes}).")
    if isinstance(bad, smtplib.SMTPSenderRefused | smtplib.SMTPDataError):
        fate = Terminal if bad.smtp_code in _PERMANENT else Transient
        return fate(f"{host} does not take the message ({bad.smtp_code}).")
    if isinstance(bad, smtplib.SMTPResponseException):
        return Transient(f"{host} answers {bad.smtp_code}.")
    return Transient(f"{host} can't be spoken to: {kind}.")


def message_of(letter: Letter, settings: Smtp) -> EmailMessage:
    """The message, whole; ids are the letter's, so that a second try is known as the same."""
    domain = settings.sender.rpartition("@")[2]
    message = EmailMessage(policy=SMTP_POLICY)
    message["From"] = Address("ocp-ingest", addr_spec=settings.sender)
    message["To"] = tuple(Address(addr_spec=one) for one in settings.recipients)
    message["Subject"] = one_line(letter.subject, _SUBJECT_CHARS_MAX)
    message["Date"] = format_datetime(datetime.fromtimestamp(letter.at_ms / 1000, UTC))
    message["Message-ID"] = f"<{letter.letter_id}@{domain}>"
    if letter.thread != letter.letter_id:
        thread = f"<incident-{letter.thread}@{domain}>"
        message["In-Reply-To"] = thread
        message["References"] = thread
    # RFC 3834: nobody's out-of-office note is to answer this.
    message["Auto-Submitted"] = "auto-generated"
    if letter.severity == "critical":
        message["Importance"] = "high"
    message.set_content(letter.text, cte="quoted-printable")
    message["Content-Language"] = letter.language  # after the content, which clears what is of it
    return message
