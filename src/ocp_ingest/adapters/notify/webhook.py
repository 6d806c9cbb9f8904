"""A channel that posts JSON to a URL, signed as Standard Webhooks do (standardwebhooks.com).

Header                is
webhook-id            the letter's id, the same at every try: what came twice is known by it
webhook-timestamp     Unix time of this try, seconds; receivers refuse what is minutes old
webhook-signature     "v1," and base64 of HMAC-SHA-256 over "<id>.<timestamp>.<body>"

Answer                means
2xx                   taken
410                   nobody wants this any more: given up
anything else         tried again; people mend a wrong secret or route within hours
3xx                   as any other: a redirect is not followed, or it would choose the destination

The name is resolved when the connection is made, and every address must be public unless private
ones are allowed. No proxy of the environment is used, and the answer's body is not read.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import msgspec

from ocp_ingest.adapters.notify.settings import Webhook
from ocp_ingest.adapters.ocp.destinations import PublicResolver, is_private
from ocp_ingest.adapters.ocp.http import PrivateAddressError
from ocp_ingest.core.calendar import rfc3339
from ocp_ingest.core.errors import Invalid, Terminal, Transient
from ocp_ingest.core.incident_words import meaning
from ocp_ingest.core.limits import KIB
from ocp_ingest.desk.notify import Letter, Wants
from ocp_ingest.desk.ports import Alert

SCHEMA_VERSION: Final = 1
SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - what a secret begins with
# The specification asks for at least 24 bytes of a key.
SECRET_BYTES_MIN: Final = 24
# A letter of 30 alerts is some 40 KiB; receivers take 256 KiB and more.
BODY_BYTES_MAX: Final = 256 * KIB
_CONNECT_S_MAX: Final = 10.0
_GONE: Final = 410


class WebhookChannel:
    """See the module's first line; `secret` is what the settings' file holds."""

    def __init__(
        self, settings: Webhook, wants: Wants, secret: str,
        now_s: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        """Raises Invalid for a secret that can't be used."""
        self.name = settings.name
        self.wants = wants
        self._settings = settings
        self._key = signing_key(secret, settings.name) if secret else b""
        self._now_s = now_s
        self._session: aiohttp.ClientSession | None = None

    async def send(self, letter: Letter) -> None:
        """Posts it. Raises Transient, Terminal."""
        body = msgspec.json.encode(payload(letter, self.name))
        if len(body) > BODY_BYTES_MAX:
            raise Terminal("The alerts are too many for one body.")
        host = urlsplit(self._settings.url).hostname or ""
        if not self._settings.allow_private and is_private(host):
            raise Terminal(f"The address {host} is private: allow_private decides that.")
        try:
            async with self._open().post(
                self._settings.url, data=body, headers=self._headers(letter, body),
                allow_redirects=False,
            ) as answer:  # fmt: skip
                status = answer.status
        except PrivateAddressError:
            raise Terminal(f"{host} is at a private address: allow_private decides that.") from None
        except (aiohttp.ClientError, OSError, TimeoutError) as bad:
            if _is_private_refusal(bad):
                raise Terminal(
                    f"{host} is at a private address: allow_private decides that."
                ) from None
            # Only the kind: texts of such errors may repeat the URL, which may hold a token.
            raise Transient(f"{host} can't be reached: {type(bad).__name__}.") from None
        if status == _GONE:
            raise Terminal(f"{host} answers 410: nobody wants these any more.")
        if not 200 <= status < 300:
            raise Transient(f"{host} answers {status}.")

    async def close(self) -> None:
        """Closes its connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _headers(self, letter: Letter, body: bytes) -> dict[str, str]:
        sent_s = int(self._now_s())
        headers = {
            "content-type": "application/json",
            "user-agent": "ocp-ingest",
            "webhook-id": letter.letter_id,
            "webhook-timestamp": str(sent_s),
        }
        if self._key:
            headers["webhook-signature"] = signature(self._key, letter.letter_id, sent_s, body)
        return headers

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            resolver = None if self._settings.allow_private else PublicResolver()
            self._session = aiohttp.ClientSession(
                # A connection for each letter: the next one is hours away, and the name may move.
                connector=aiohttp.TCPConnector(
                    resolver=resolver, use_dns_cache=False, force_close=True
                ),
                timeout=aiohttp.ClientTimeout(
                    total=self._settings.answer_s_max, sock_connect=_CONNECT_S_MAX
                ),
                trust_env=False,
                auto_decompress=False,
            )
        return self._session


def _is_private_refusal(bad: BaseException | None) -> bool:
    """aiohttp wraps what its resolver raises."""
    while bad is not None:
        if isinstance(bad, PrivateAddressError):
            return True
        bad = bad.__cause__ or getattr(bad, "os_error", None)
    return False


# -- signature ------------------------------------------------------------------------------------


def signing_key(secret: str, name: str) -> bytes:
    """The key that a secret stands for. Raises Invalid, naming the channel, never the secret."""
    if secret.startswith(SECRET_PREFIX):
        try:
            key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            raise Invalid(f"The secret of channel {name} is no base64 after whsec_.") from None
    else:
        key = secret.encode()
    if len(key) < SECRET_BYTES_MIN:
        raise Invalid(f"The secret of channel {name} must have {SECRET_BYTES_MIN} bytes or more.")
    return key


def signature(key: bytes, letter_id: str, at_s: int, body: bytes) -> str:
    """What the header says."""
    signed = f"{letter_id}.{at_s}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


# -- body -----------------------------------------------------------------------------------------


def payload(letter: Letter, channel: str) -> dict[str, Any]:
    """The documented JSON: `type` says whether it is one alert or a digest of several."""
    alerts = [
        _alert(a, links, letter) for a, links in zip(letter.alerts, letter.links, strict=True)
    ]
    one = len(alerts) == 1
    return {
        "type": "ocp_ingest.alert" if one else "ocp_ingest.digest",
        "version": SCHEMA_VERSION,
        "id": letter.letter_id,
        "channel": channel,
        "severity": letter.severity,
        "language": letter.language,
        "subject": letter.subject,
        "text": letter.text,  # what chat systems show
        **(alerts[0] if one else {"alerts": alerts}),
    }


def _alert(alert: Alert, links: tuple[str, str], letter: Letter) -> dict[str, Any]:
    held = alert.incident
    console, runbook = links
    return {
        "what": alert.what,
        "alert_id": alert.alert_id,
        "made_at": rfc3339(alert.made_at_ms),
        "incident": {
            "key": held.key,
            "kind": held.kind,
            "severity": held.severity,
            "meaning": meaning(held.kind, letter.language),
            "text": held.text,
            "opened_at": rfc3339(held.opened_at_ms),
            "last_at": rfc3339(held.last_at_ms or held.opened_at_ms),
            "closed_at": rfc3339(held.closed_at_ms),
            "calls": held.calls,
            "sample": list(held.sample),
        },
        "links": {"console": console or None, "runbook": runbook or None},
    }
