"""The webhook: what is signed, what is in the body, where it never goes."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import socket
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
import pytest

from ocp_ingest.adapters.notify.settings import Webhook
from ocp_ingest.adapters.notify.webhook import WebhookChannel, signing_key
from ocp_ingest.core.errors import Invalid, Terminal, Transient
from ocp_ingest.desk.notify import Wants
from tests.desk.fakes import START_MS
from tests.docs.pages import DOCS, blocks
from tests.notify.letters import a_letter
from tests.notify.receivers import SECRET, Hooks, hooks, webhook

PAGE: Final = DOCS / "how-to" / "monitor.md"


@pytest.fixture
async def server() -> AsyncIterator[Hooks]:
    async with hooks() as made:
        yield made


async def posted(server: Hooks, channel: WebhookChannel, *keys: str) -> Any:
    await channel.send(a_letter(*keys))
    await channel.close()
    return msgspec.json.decode(server.requests[-1][1])


def expected(key: bytes, headers: dict[str, str], body: bytes) -> str:
    """As a receiver computes it, from the specification's text."""
    signed = headers["webhook-id"].encode() + b"." + headers["webhook-timestamp"].encode() + b"."
    return "v1," + base64.b64encode(hmac.digest(key, signed + body, hashlib.sha256)).decode()


@pytest.mark.parametrize(
    ("secret", "key"),
    [
        (SECRET, SECRET.encode()),
        ("whsec_" + base64.b64encode(bytes(range(32))).decode(), bytes(range(32))),
    ],
)
async def test_a_receiver_that_has_the_secret_can_prove_who_sent_it(
    server: Hooks, secret: str, key: bytes
) -> None:
    await posted(server, webhook(server.url, secret))
    headers, body = server.requests[0]
    assert headers["webhook-signature"] == expected(key, headers, body)
    assert headers["webhook-signature"] != expected(b"x" * 32, headers, body)
    assert headers["webhook-signature"] != expected(key, headers, body + b" ")
    assert headers["content-type"] == "application/json"


async def test_every_try_has_its_own_time_and_the_letter_s_id(server: Hooks) -> None:
    times = iter((1_000.9, 2_000.0))
    channel = WebhookChannel(
        Webhook(name="hook", url=server.url, allow_private=True, allow_http=True), Wants(), SECRET,
        now_s=lambda: next(times),
    )  # fmt: skip
    letter = a_letter()
    await channel.send(letter)
    await channel.send(letter)
    await channel.close()
    said = [(h["webhook-id"], h["webhook-timestamp"]) for h, _ in server.requests]
    assert said == [(letter.letter_id, "1000"), (letter.letter_id, "2000")]


async def test_without_a_secret_nothing_is_signed(server: Hooks) -> None:
    await posted(server, webhook(server.url, ""))
    assert "webhook-signature" not in server.requests[0][0]


@pytest.mark.parametrize("secret", ["short", "whsec_!!!", "whsec_" + "QUJD"])
def test_a_secret_that_proves_nothing_is_refused_without_being_shown(secret: str) -> None:
    with pytest.raises(Invalid) as refused:
        signing_key(secret, "hook")
    assert "hook" in refused.value.text
    assert secret not in refused.value.text


async def test_the_body_of_one_alert_is_as_documented(server: Hooks) -> None:
    body = await posted(server, webhook(server.url))
    assert body == {
        "type": "ocp_ingest.alert",
        "version": 1,
        "id": a_letter().letter_id,
        "channel": "hook",
        "severity": "critical",
        "language": "es",
        "subject": "[ocp-ingest] Nueva (crítica): vendor_down:emea",
        "text": a_letter().text,
        "what": "opened",
        "alert_id": a_letter().letter_id,
        "made_at": "2026-09-21T14:13:20.000Z",
        "incident": {
            "key": "vendor_down:emea",
            "kind": "vendor_down",
            "severity": "critical",
            "meaning": "la API de exportación de OCP no responde",
            "text": "it does not answer",
            "opened_at": "2026-09-21T14:13:20.000Z",
            "last_at": "2026-09-21T14:13:20.000Z",
            "closed_at": None,
            "calls": 1,
            "sample": ["call-1"],
        },
        "links": {
            "console": "https://recordings.example.com/console/incidents?key=vendor_down%3Aemea",
            "runbook": "https://recordings.example.com/console/runbooks/vendor_down",
        },
    }
    assert START_MS == 1_790_000_000_000


async def test_a_digest_holds_each_of_its_alerts(server: Hooks) -> None:
    body = await posted(server, webhook(server.url), "slot_busy:a", "slot_busy:b")
    assert body["type"] == "ocp_ingest.digest"
    assert [one["incident"]["key"] for one in body["alerts"]] == ["slot_busy:a", "slot_busy:b"]
    assert "incident" not in body


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_2xx_is_taken(server: Hooks, status: int) -> None:
    server.status = status
    await posted(server, webhook(server.url))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 409, 425, 429, 500, 502, 503, 504])
async def test_what_people_or_time_may_mend_is_tried_again(server: Hooks, status: int) -> None:
    server.status = status
    with pytest.raises(Transient, match=f"answers {status}"):
        await posted(server, webhook(server.url))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(server: Hooks, status: int) -> None:
    async with hooks() as other:
        server.status, server.headers = status, {"Location": other.url}
        with pytest.raises(Transient):
            await posted(server, webhook(server.url))
        assert other.requests == []


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "10.1.2.3", "[::1]", "169.254.169.254", "[::ffff:10.0.0.1]"]
)
async def test_a_private_address_is_refused_for_good_before_anything_is_sent(
    server: Hooks, host: str
) -> None:
    port = server.url.split(":")[2].split("/")[0]
    channel = webhook(f"http://{host}:{port}/", allow_private=False)
    with pytest.raises(Terminal, match="private"):
        await posted(server, channel)
    assert server.requests == []


async def test_a_receiver_that_keeps_silent_is_given_up_after_a_time(server: Hooks) -> None:
    server.wait = lambda: asyncio.sleep(5)
    with pytest.raises(Transient, match="can't be reached"):
        await posted(server, webhook(server.url, answer_s_max=0.2))


async def test_a_receiver_that_hangs_up_is_tried_again() -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    listening = await asyncio.start_server(hang_up, "127.0.0.1", 0, family=socket.AF_INET)
    port = listening.sockets[0].getsockname()[1]
    channel = webhook(f"http://127.0.0.1:{port}/")
    with pytest.raises(Transient):
        await channel.send(a_letter())
    await channel.close()
    listening.close()


async def test_an_answer_without_an_end_is_not_read(server: Hooks) -> None:
    """The head decides; a receiver can't hold the loop by talking."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await writer.drain()
        await asyncio.sleep(3)
        writer.close()

    listening = await asyncio.start_server(talk, "127.0.0.1", 0, family=socket.AF_INET)
    port = listening.sockets[0].getsockname()[1]
    channel = webhook(f"http://127.0.0.1:{port}/")
    async with asyncio.timeout(2):
        await channel.send(a_letter())
    await channel.close()
    listening.close()


async def test_no_proxy_of_the_environment_hears_of_it(
    server: Hooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with hooks() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        await posted(server, webhook(server.url))
        assert proxy.requests == []


async def test_the_check_on_the_page_takes_ours_and_nobody_else_s(server: Hooks) -> None:
    [code] = blocks(PAGE, "python")
    space: dict[str, Any] = {}
    exec(code, space)
    await posted(server, webhook(server.url))
    headers, body = server.requests[0]
    key = SECRET.encode()
    assert space["check"](key, headers, body)
    assert not space["check"](key, headers, body + b"x")
    assert not space["check"](key[::-1], headers, body)
    old = {**headers, "webhook-timestamp": "1000"}
    old["webhook-signature"] = expected(key, old, body)
    assert not space["check"](key, old, body)


async def test_the_body_on_the_page_has_the_fields_of_ours(server: Hooks) -> None:
    shown = msgspec.json.decode(blocks(PAGE, "json")[0])
    body = await posted(server, webhook(server.url))
    assert shown.keys() == body.keys()
    assert shown["incident"].keys() == body["incident"].keys()
    assert shown["links"].keys() == body["links"].keys()
