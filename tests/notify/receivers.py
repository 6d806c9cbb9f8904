"""Real servers at the other end of the channels: HTTP; SMTP with TLS and login; SNS."""

from __future__ import annotations

import datetime
import email
import email.policy
import ipaddress
import os
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from itertools import count
from pathlib import Path
from typing import Any, Final

import msgspec
from aiohttp import web
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ocp_ingest.adapters.aws.session import Aws
from ocp_ingest.adapters.aws.settings import AwsSettings
from ocp_ingest.adapters.notify.settings import Smtp, Sns, Webhook
from ocp_ingest.adapters.notify.smtp import SmtpChannel
from ocp_ingest.adapters.notify.sns import SnsChannel
from ocp_ingest.adapters.notify.webhook import WebhookChannel
from ocp_ingest.desk.notify import Channel, Wants
from tests.aws.clients import client
from tests.aws.servers import launch
from tests.aws_adapters import s3_kit, stand_in

SECRET: Final = "a-secret-of-more-than-24-bytes"
PASSWORD: Final = "pass-word-of-the-mail-server"
USER: Final = "ocp-ingest"
_numbers = count(1)
SPANISH: Final = Wants(language="es", time_zone="Europe/Madrid")


@dataclass(frozen=True)
class Got:
    """A letter as a receiver knows it."""

    subject: str
    text: str
    letter_id: str


@dataclass(kw_only=True)
class Receiver:
    """One end of a channel. `refuse(True)`: for good; `refuse(False)`: for now."""

    channel: Channel
    unreachable: Channel  # the same where nobody listens
    refuse: Callable[[bool], None]
    got: Callable[[], list[Got]]


Open = Callable[[Path], AbstractAsyncContextManager[Receiver]]


# -- HTTP -----------------------------------------------------------------------------------------


@dataclass
class Hooks:
    """An HTTP server that answers what it is told and keeps what it got."""

    url: str = ""
    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    wait: Callable[[], Any] | None = None

    async def take(self, request: web.Request) -> web.Response:
        self.requests.append(
            ({k.lower(): v for k, v in request.headers.items()}, await request.read())
        )
        if self.wait is not None:
            await self.wait()
        return web.Response(status=self.status, headers=self.headers)


@asynccontextmanager
async def hooks() -> AsyncIterator[Hooks]:
    made = Hooks()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", made.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook?token=in-the-url"
    try:
        yield made
    finally:
        await runner.cleanup()


def webhook(url: str, secret: str = SECRET, **more: Any) -> WebhookChannel:
    given: dict[str, Any] = {"allow_private": True, "allow_http": True, **more}
    return WebhookChannel(Webhook(name="hook", url=url, **given), SPANISH, secret)


@asynccontextmanager
async def http_receiver(_: Path) -> AsyncIterator[Receiver]:
    async with hooks() as server:
        channel = webhook(server.url)
        nowhere = webhook(f"http://127.0.0.1:{launch.free_port()}/")

        def refuse(for_good: bool) -> None:
            server.status = 410 if for_good else 503

        def got() -> list[Got]:
            bodies = [(h, msgspec.json.decode(body)) for h, body in server.requests]
            return [Got(b["subject"], b["text"], h["webhook-id"]) for h, b in bodies]

        yield Receiver(channel=channel, unreachable=nowhere, refuse=refuse, got=got)
        await channel.close()
        await nowhere.close()


# -- SMTP -----------------------------------------------------------------------------------------


class Mailbox:
    """A mail server's handler that keeps what it got."""

    def __init__(self) -> None:
        self.messages: list[EmailMessage] = []
        self.envelopes: list[Envelope] = []
        self.answer = ""
        self.refused: set[str] = set()
        self.refused_with = "550 no such mailbox"

    async def handle_RCPT(
        self, _s: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if address in self.refused:
            return self.refused_with
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _s: SMTP, _session: Session, envelope: Envelope) -> str:
        if self.answer:
            return self.answer
        assert isinstance(envelope.content, bytes)
        parsed = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(parsed, EmailMessage)
        self.messages.append(parsed)
        self.envelopes.append(envelope)
        return "250 taken"


def login(_s: SMTP, _session: Session, _e: Envelope, mechanism: str, data: Any) -> AuthResult:
    good = data.login == USER.encode() and data.password == PASSWORD.encode()
    return AuthResult(success=good, handled=good)  # not handled: the server says 535


@dataclass
class MailServer:
    """Where it listens, whom it shows, what it got."""

    mailbox: Mailbox
    port: int
    ca_file: str


@asynccontextmanager
async def mail_server(folder: Path, *, starttls: bool = True) -> AsyncIterator[MailServer]:
    """Asks for STARTTLS and a login."""
    mailbox, authority = Mailbox(), certificate(folder)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority, folder / "key.pem")
    secure: dict[str, Any] = {"tls_context": context, "require_starttls": True} if starttls else {}
    controller = Controller(
        mailbox, hostname="127.0.0.1", port=launch.free_port(), authenticator=login,
        auth_required=starttls, auth_require_tls=starttls, **secure,
    )  # fmt: skip
    controller.start()
    try:
        yield MailServer(mailbox, controller.port, str(authority))
    finally:
        controller.stop()


def mail(port: int, ca_file: str = "", **more: Any) -> SmtpChannel:
    given: dict[str, Any] = {
        "host": "127.0.0.1", "port": port, "ca_file": ca_file, "username": USER,
        "sender": "alerts@example.com", "recipients": ("ana@example.com", "luis@example.com"),
        "answer_s_max": 5.0, **more,
    }  # fmt: skip
    password = PASSWORD if given["username"] else ""
    return SmtpChannel(Smtp(name="mail", **given), SPANISH, password)


@asynccontextmanager
async def smtp_receiver(folder: Path) -> AsyncIterator[Receiver]:
    async with mail_server(folder) as server:

        def refuse(for_good: bool) -> None:
            server.mailbox.answer = "554 never" if for_good else "451 later"

        def got() -> list[Got]:
            return [
                Got(m["Subject"], m.get_content(), m["Message-ID"].strip("<>").split("@")[0])
                for m in server.mailbox.messages
            ]

        yield Receiver(
            channel=mail(server.port, server.ca_file),
            unreachable=mail(launch.free_port(), server.ca_file),
            refuse=refuse,
            got=got,
        )


def certificate(folder: Path) -> Path:
    """A certificate of its own authority for 127.0.0.1, with its key beside it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )  # fmt: skip
    path = folder / "cert.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return path


# -- SNS ------------------------------------------------------------------------------------------


@dataclass
class Topic:
    """A topic whose messages land in a queue."""

    arn: str
    queue_url: str

    def read(self) -> list[dict[str, Any]]:
        """What came since it was read last: SNS's envelopes, in order of arrival."""
        found: list[dict[str, Any]] = []
        sqs = client("sqs", stand_in.url())
        while held := sqs.receive_message(QueueUrl=self.queue_url, MaxNumberOfMessages=10).get(
            "Messages"
        ):
            for message in held:
                found.append(msgspec.json.decode(message["Body"]))
                sqs.delete_message(QueueUrl=self.queue_url, ReceiptHandle=message["ReceiptHandle"])
        return found


def topic() -> Topic:
    """A new one; subscribed to by a queue of its own."""
    name = f"alerts-{os.getpid()}-{next(_numbers)}"
    sns, sqs = (client(service, stand_in.url()) for service in ("sns", "sqs"))
    arn = sns.create_topic(Name=name)["TopicArn"]
    url = sqs.create_queue(QueueName=f"{name}-heard")["QueueUrl"]
    said = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
    sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=said["QueueArn"])
    return Topic(arn, url)


def aws(endpoint: str) -> Aws:
    settings = AwsSettings(region=launch.REGION, endpoints={"sns": endpoint}, answer_s_max=5.0)
    return Aws(settings, s3_kit.session())


@asynccontextmanager
async def sns_receiver(_: Path) -> AsyncIterator[Receiver]:
    made = topic()
    async with (
        aws(stand_in.url()) as here,
        aws(f"http://127.0.0.1:{launch.free_port()}") as nowhere,
    ):
        settings = Sns(name="topic", topic_arn=made.arn)
        channel = SnsChannel(settings, SPANISH, here)

        def refuse(for_good: bool) -> None:
            if for_good:
                client("sns", stand_in.url()).delete_topic(TopicArn=made.arn)
            else:
                channel._aws = nowhere

        def got() -> list[Got]:
            # SNS has ids of its own; a letter's is not told to subscribers of a standard topic.
            return [Got(m["Subject"], m["Message"], "") for m in made.read()]

        yield Receiver(
            channel=channel, unreachable=SnsChannel(settings, SPANISH, nowhere), refuse=refuse,
            got=got,
        )  # fmt: skip


RECEIVERS: Final[dict[str, Open]] = {
    "webhook": http_receiver, "smtp": smtp_receiver, "sns": sns_receiver,
}  # fmt: skip
