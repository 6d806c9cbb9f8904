"""Section `[alerts]` and its channels; every key, its default and its reason.

A channel's secret is a file (`secret_file`, `password_file`), or, for AWS, the value of
`alerts.secrets.<channel>` in the object that `aws.secret_arn` names. It is never in this section.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec

from ocp_ingest.adapters.tokens.secrets import read_secret
from ocp_ingest.core import alerts, quiet
from ocp_ingest.core.alerts import Duty, Severity
from ocp_ingest.core.errors import Invalid
from ocp_ingest.core.incident_words import Language
from ocp_ingest.core.limits import HOUR_MS
from ocp_ingest.core.quiet import QuietHours
from ocp_ingest.desk.notify import Wants

# A team has a handful; more of them are a mistake in a template.
CHANNELS_MAX: Final = 20
RECIPIENTS_MAX: Final = 50
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
# What is between "<" and ">" in a header: no line ends, no blanks, one "@".
_ADDRESS: Final = re.compile(r"[^@\s<>,;:\"\\]{1,64}@[^@\s<>,;:\"\\]{1,255}")
_TOPIC: Final = re.compile(r"arn:[a-z-]+:sns:([a-z0-9-]+):\d{12}:[A-Za-z0-9_-]{1,256}(\.fifo)?")


class ChannelSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every channel has."""

    # a-z, 0-9, -; how the console, the log and metrics call it.
    name: str
    # Milder incidents are not told here.
    severity_min: Severity = "warning"
    language: Language = "en"
    # { from = "22:00", to = "07:00", time_zone = "…", critical_passes = true }
    quiet: QuietHours = QuietHours()


class Webhook(ChannelSettings, frozen=True, kw_only=True, tag_field="kind", tag="webhook"):
    """Posts JSON, signed as Standard Webhooks do."""

    url: str = ""
    # Key of the signature (HMAC-SHA-256): "whsec_<base64>", or any text. "" = not signed.
    secret_file: str = ""
    # Private, loopback and link-local addresses are refused otherwise.
    allow_private: bool = False
    # A signed body is readable by everybody on its way.
    allow_http: bool = False
    answer_s_max: float = 20.0


class Smtp(ChannelSettings, frozen=True, kw_only=True, tag_field="kind", tag="smtp"):
    """Sends e-mail through a server."""

    host: str = ""
    # 587 for STARTTLS, 465 for TLS from the first byte.
    port: int = 587
    # "none" only for a server on this machine.
    tls: Literal["starttls", "tls", "none"] = "starttls"
    # A certificate authority of one's own, as a PEM file; "" = the system's.
    ca_file: str = ""
    # "" = the server asks for no login.
    username: str = ""
    password_file: str = ""
    sender: str = ""
    recipients: tuple[str, ...] = ()
    answer_s_max: float = 30.0


class Sns(ChannelSettings, frozen=True, kw_only=True, tag_field="kind", tag="sns"):
    """Publishes to a topic, as this process's own identity."""

    topic_arn: str = ""


AnyChannel = Webhook | Smtp | Sns


class Alerts(Duty, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[alerts]`: what is good enough, and who is told when it is not."""

    channels: tuple[AnyChannel, ...] = ()
    # Secrets of channels by their name; filled by `aws.secret_arn` alone.
    secrets: dict[str, str] = msgspec.field(default_factory=dict)


def wants_of(channel: AnyChannel, section: Alerts) -> Wants:
    """What a channel is told, with the section's time zone where it has none."""
    return Wants(
        severity_min=channel.severity_min,
        language=channel.language,
        quiet=channel.quiet,
        time_zone=channel.quiet.time_zone or section.time_zone,
    )


def remind_ms(section: Alerts) -> int:
    """When an open critical incident is told again; 0: never."""
    return int(section.remind_hours * HOUR_MS)


def secret_of(channel: AnyChannel, section: Alerts) -> str:
    """A channel's secret, or "". Raises Invalid, naming the key, when its file can't be read."""
    if channel.name in section.secrets:
        return section.secrets[channel.name]
    if isinstance(channel, Webhook) and channel.secret_file:
        return read_secret(Path(channel.secret_file), f"alerts.channels {channel.name} secret_file")
    if isinstance(channel, Smtp) and channel.password_file:
        key = f"alerts.channels {channel.name} password_file"
        return read_secret(Path(channel.password_file), key)
    return ""


def region_of(channel: Sns) -> str:
    """The region of a topic; its ARN says it."""
    found = _TOPIC.fullmatch(channel.topic_arn)
    assert found is not None, "the section was checked"
    return found.group(1)


# -- what belongs together ------------------------------------------------------------------------


def lacking(section: Alerts) -> list[str]:
    """What is half-set or contradictory, in sentences that name the key."""
    found = alerts.lacking(section)
    if len(section.channels) > CHANNELS_MAX:
        found.append(f"`alerts.channels`: at most {CHANNELS_MAX}.")
    names = Counter(channel.name for channel in section.channels)
    found += [
        f"`alerts.channels`: {n} has a name twice." for n, times in names.items() if times > 1
    ]
    found += [
        f"`alerts.secrets.{name}` is for no channel of [[alerts.channels]]."
        for name in sorted(section.secrets.keys() - names.keys())
    ]
    for number, channel in enumerate(section.channels, 1):
        where = f"alerts.channels {channel.name or number}"
        if _NAME.fullmatch(channel.name) is None:
            found.append(f"`{where}`: a name is a-z, 0-9 and -, up to 40 characters.")
        found += quiet.lacking(channel.quiet, f"{where} quiet")
        found += _lacking(channel, where, has_secret=channel.name in section.secrets)
    return found


def _lacking(channel: AnyChannel, where: str, *, has_secret: bool) -> list[str]:
    match channel:
        case Webhook():
            return _webhook(channel, where, has_secret=has_secret)
        case Smtp():
            return _smtp(channel, where, has_secret=has_secret)
        case Sns():
            return _sns(channel, where)


def _webhook(channel: Webhook, where: str, *, has_secret: bool) -> list[str]:
    found = _one_secret(where, "secret_file", channel.secret_file, has_secret=has_secret)
    if channel.answer_s_max <= 0:
        found.append(f"`{where} answer_s_max` must be greater than 0.")
    if not channel.url:
        return [*found, f"`{where} url` is missing."]
    try:
        url = urlsplit(channel.url)
        host = url.hostname
    except ValueError:
        return [*found, f"`{where} url` is no URL."]
    schemes = ("https", "http") if channel.allow_http else ("https",)
    if url.scheme not in schemes or not host:
        found.append(f"`{where} url` must begin with https:// (http:// with allow_http).")
    if url.username or url.password:
        found.append(f"`{where} url` must hold no credentials: those go into secret_file.")
    return found


def _smtp(channel: Smtp, where: str, *, has_secret: bool) -> list[str]:
    found = _one_secret(where, "password_file", channel.password_file, has_secret=has_secret)
    found += [
        f"`{where} {key}` is missing."
        for key in ("host", "sender", "recipients")
        if not getattr(channel, key)
    ]
    has_password = bool(channel.password_file) or has_secret
    if channel.username and not has_password:
        found.append(f"`{where} password_file` is missing, but `{where} username` is set.")
    if has_password and not channel.username:
        found.append(f"`{where} username` is missing, but it has a password.")
    if channel.tls == "none" and not _is_here(channel.host):
        found.append(f"`{where} tls` is none, which is for a server on this machine only.")
    if channel.ca_file and channel.tls == "none":
        found.append(f"`{where} ca_file` is set, but `{where} tls` is none.")
    if not 0 < channel.port < 65_536:
        found.append(f"`{where} port` must be 1 to 65535.")
    if channel.answer_s_max <= 0:
        found.append(f"`{where} answer_s_max` must be greater than 0.")
    if len(channel.recipients) > RECIPIENTS_MAX:
        found.append(f"`{where} recipients`: at most {RECIPIENTS_MAX}; use a mailing list.")
    addresses = [("sender", channel.sender), *(("recipients", r) for r in channel.recipients)]
    found += [
        f"`{where} {key}`: {one!r} is no address like people@example.com."
        for key, one in addresses
        if one and _ADDRESS.fullmatch(one) is None
    ]
    return found


def _sns(channel: Sns, where: str) -> list[str]:
    if not channel.topic_arn:
        return [f"`{where} topic_arn` is missing."]
    if _TOPIC.fullmatch(channel.topic_arn) is None:
        return [f"`{where} topic_arn` is no ARN of a topic: arn:aws:sns:<region>:<account>:<name>."]
    return []


def _one_secret(where: str, key: str, file: str, *, has_secret: bool) -> list[str]:
    if file and has_secret:
        name = where.rpartition(" ")[2]
        return [f"`{where} {key}` and `alerts.secrets.{name}` exclude each other: keep one."]
    return []


def _is_here(host: str) -> bool:
    return host in ("localhost", "127.0.0.1", "::1")


def checked(section: Alerts) -> Alerts:
    """The section. Raises Invalid, naming each key, when something is wrong with it."""
    if found := lacking(section):
        raise Invalid("The section [alerts] is not complete:\n- " + "\n- ".join(found))
    return section
