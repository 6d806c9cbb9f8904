"""What belongs together in a configuration is set together: each rule, in sentences of the key.

Rules
1. A half-set section is refused, naming the missing key.
2. Nothing listens beyond this machine with the built-in issuer: that one is for trying it out.
"""

from __future__ import annotations

import ipaddress
import math
import re
from typing import Final

import msgspec

from ocp_ingest.adapters.aws import settings as aws_settings
from ocp_ingest.adapters.notify import settings as notify_settings
from ocp_ingest.adapters.ocp import settings as ocp_settings
from ocp_ingest.adapters.oidc import settings as oidc_settings
from ocp_ingest.adapters.tokens.settings import Auth, Client
from ocp_ingest.config_model import Config
from ocp_ingest.core.access import EVERYTHING
from ocp_ingest.core.quiet import unknown_zone
from ocp_ingest.core.routing import FACTS, UNASSIGNED
from ocp_ingest.core.settings import LANDING, QUARANTINE


def check(config: Config) -> list[str]:
    """Everything that is half-set or contradictory, in sentences that name the key."""
    return [
        *_check_auth(config),
        *_check_bounds(config),
        *_check_lobs(config),
        *ocp_settings.lacking(config.ocp),
        *aws_settings.lacking(config.aws),
        *_check_aws(config),
        *notify_settings.lacking(config.alerts),
        *_check_telemetry(config),
        *_check_console(config),
    ]


def _check_auth(config: Config) -> list[str]:
    auth, found = config.auth, []
    keys = [key for key in ("jwks_url", "jwks_file") if getattr(auth, key)]
    if len(keys) > 1:
        found.append("`auth.jwks_url` and `auth.jwks_file` exclude each other: keep one.")
    if auth.issuer and not keys:
        found.append("`auth.issuer` is set without `auth.jwks_url` or `auth.jwks_file`.")
    if keys and not auth.issuer:
        found.append(f"`auth.{keys[0]}` is set without `auth.issuer`: say who issues the tokens.")
    if auth.jwks_url and not _safe_url(auth.jwks_url):
        found.append("`auth.jwks_url` must begin with https:// (http:// only on this machine).")
    if auth.audience_claim == "client_id":
        found += _check_client_claim(auth)
    elif not auth.audience:
        found.append("`auth.audience` must not be empty: tokens for others would be taken.")
    for name, client in auth.clients.items():
        found += _check_client(name, client, external=bool(auth.issuer))
    if not is_loopback(config.server.host) and not (auth.issuer and keys):
        found.append(
            f"`server.host` is {config.server.host}, beyond this machine, without real "
            "authentication: set `auth.issuer` and `auth.jwks_url`, or listen on 127.0.0.1."
        )
    return found


def _check_client_claim(auth: Auth) -> list[str]:
    if not auth.issuer:
        return ['`auth.audience_claim` is "client_id" without `auth.issuer`: ours has audiences.']
    if not auth.clients:
        return ['`auth.audience_claim` is "client_id" without a client: add [auth.clients.<id>].']
    return []


def _check_client(name: str, client: Client, *, external: bool) -> list[str]:
    where = f"auth.clients.{name}"
    secrets = [key for key in ("secret", "secret_file") if getattr(client, key)]
    if len(secrets) > 1:
        return [f"`{where}.secret` and `{where}.secret_file` exclude each other: keep one."]
    if external and secrets:
        return [f"`{where}.{secrets[0]}` is set, but `auth.issuer` issues the tokens: remove it."]
    if not external and not secrets:
        return [f"`{where}.secret` (or `secret_file`) is missing: the client could not log in."]
    if client.secret and len(client.secret) < _SECRET_CHARS_MIN:
        return [f"`{where}.secret` must have at least {_SECRET_CHARS_MIN} characters."]
    return []


_SECRET_CHARS_MIN: Final = 16  # shorter ones can be guessed


def _check_telemetry(config: Config) -> list[str]:
    section, found = config.telemetry, []
    if section.otlp_url and not section.otlp_url.startswith(("https://", "http://")):
        found.append("`telemetry.otlp_url` must begin with http:// or https://.")
    if section.otlp_headers_file and not section.otlp_url:
        found.append("`telemetry.otlp_headers_file` is set without `telemetry.otlp_url`.")
    if not 0 <= section.sample_share <= 1:
        found.append("`telemetry.sample_share` is a share: 0 to 1.")
    if not section.service_name:
        found.append("`telemetry.service_name` must not be empty.")
    return found


def _safe_url(url: str) -> bool:
    if url.startswith("https://"):
        return True
    host = url.removeprefix("http://").split("/")[0].rsplit(":", 1)[0]
    return url.startswith("http://") and is_loopback(host)


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine can reach what listens on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _check_bounds(config: Config) -> list[str]:
    found = []
    sections: tuple[tuple[str, msgspec.Struct], ...] = (
        ("limits", config.limits), ("server", config.server), ("fetch", config.fetch),
    )  # fmt: skip
    for section, struct in sections:
        for key in struct.__struct_fields__:
            value = getattr(struct, key)
            if (isinstance(value, int | float) and value < 0) or _is_zero_bound(key, value):
                found.append(f"`{section}.{key}` must be greater than 0.")
    if not 0 <= config.server.port <= 65_535:
        found.append("`server.port` must be 0 to 65535.")
    if config.limits.event_bytes_max > config.limits.batch_bytes_max:
        found.append("`limits.event_bytes_max` is larger than `limits.batch_bytes_max`.")
    if not (config.clock.scale > 0 and math.isfinite(config.clock.scale)):
        found.append("`clock.scale` must be greater than 0.")
    if (config.clock.scale != 1.0) and not config.clock.origin_ms:
        found.append(
            "`clock.scale` is set without `clock.origin_ms`: where does scaled time begin?"
        )
    if config.clock.origin_ms and not config.clock.real_origin_s:
        found.append("`clock.origin_ms` is set without `clock.real_origin_s`: the two are a pair.")
    return found


def _check_aws(config: Config) -> list[str]:
    """A bucket's whole name must be one that S3 takes, and a role needs a bucket to write to."""
    aws, found = config.aws, []
    if not aws_settings.configured(aws):
        return []
    buckets = set(_settings_buckets(config))
    for bucket in sorted({*aws_settings.OWN_BUCKETS, *buckets}):
        if not _BUCKET.fullmatch(aws.bucket_prefix + bucket):
            found.append(f"`aws.bucket_prefix` and `{bucket}` make no name of a bucket: "
                         "3-63 characters, a-z, 0-9, -, inner dots.")  # fmt: skip
    for bucket in sorted(set(aws.bucket_roles) - buckets - {LANDING, QUARANTINE}):
        found.append(f"`aws.bucket_roles` names `{bucket}`, which no line of business has.")
    return found


def _check_console(config: Config) -> list[str]:
    """What sessions and log-ins need; without people nobody gets in, so that is no fault."""
    console, found = config.console, oidc_settings.lacking(config.console.oidc)
    urls = {"console.public_url": console.public_url} | {
        f"console.oidc.{key}": getattr(console.oidc, key)
        for key in ("issuer", "authorization_url", "token_url", "jwks_url", "logout_url")
    }
    for key, url in urls.items():
        if url and not _safe_url(url):
            found.append(f"`{key}` must begin with https:// (http:// only on this machine).")
    if console.oidc.issuer and not console.public_url:
        found.append("`console.public_url` is missing: where does the provider send people back?")
    if console.session_key and console.session_key_file:
        found.append(
            "`console.session_key` and `console.session_key_file` exclude each other: keep one."
        )
    if console.session_key and len(console.session_key) < _SESSION_KEY_CHARS_MIN:
        found.append(f"`console.session_key` needs at least {_SESSION_KEY_CHARS_MIN} characters.")
    if not 0 < console.session_idle_s <= console.session_s:
        found.append("`console.session_idle_s` must be over 0 and at most `console.session_s`.")
    if console.proxies < 0:
        found.append("`console.proxies` must be 0 or more.")
    if console.secure_cookies == "never" and not is_loopback(config.server.host):
        found.append(
            '`console.secure_cookies` is "never" although `server.host` is beyond this machine: '
            "sessions would travel in clear."
        )
    if unknown_zone(console.time_zone):
        found.append(f"`console.time_zone` is {console.time_zone}, which is no IANA time zone.")
    known = {*config.lob, UNASSIGNED, EVERYTHING}
    for group, rights in console.oidc.groups.items():
        for lob in sorted(set(rights.lobs) - known):
            found.append(f"`console.oidc.groups.{group}.lobs` names `{lob}`: add [lob.{lob}].")
    return found


_SESSION_KEY_CHARS_MIN: Final = 32  # a shorter one could be guessed


def _settings_buckets(config: Config) -> list[str]:
    return [lob.bucket or f"lob-{name}" for name, lob in config.lob.items()] + [f"lob-{UNASSIGNED}"]


def _is_zero_bound(key: str, value: object) -> bool:
    return value == 0 and key.endswith("_max") and value is not False


def _check_lobs(config: Config) -> list[str]:
    found = []
    for number, rule in enumerate(config.routing, 1):
        if rule.lob not in config.lob and rule.lob != UNASSIGNED:
            found.append(f"`routing` rule {number} names `{rule.lob}`: add [lob.{rule.lob}].")
        for fact in rule.when:
            if fact not in FACTS and not fact.startswith("attached."):
                found.append(f"`routing` rule {number} asks for `{fact}`: known are "
                             f"{', '.join(FACTS)} and attached.<key>.")  # fmt: skip
    buckets: dict[str, str] = {LANDING: "our landing store", QUARANTINE: "our quarantine"}
    for name, lob in config.lob.items():
        if not _NAME.fullmatch(name):
            found.append(f"`lob.{name}`: a name is a-z, 0-9 and -, up to 40 characters.")
        bucket = lob.bucket or f"lob-{name}"
        if not _BUCKET.fullmatch(bucket):
            found.append(f"`lob.{name}.bucket` must be 3-63 characters: a-z, 0-9, -, inner dots.")
        if bucket in buckets:
            found.append(f"`lob.{name}.bucket` is {bucket}, which is {buckets[bucket]} already.")
        buckets[bucket] = f"that of `lob.{name}`"
    return found


_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_BUCKET: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]|\.(?=[a-z0-9])){1,61}[a-z0-9]")
