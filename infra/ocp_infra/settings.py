"""What a deployment is made of: the platform's own configuration file, and options of the template.

Rules
1. Lines of business, their buckets, bounds and intervals are read from the same ocp-ingest.toml
   that the processes read: the template never says them a second time.
2. Everything else is an option (`-c key=value`), each with a default and its reason below. An
   option that is not known is refused: a typing mistake must not become a default.
3. Secrets are neither: they are put into Secrets Manager by hand.

No CDK in here: tests compare it with the platform's own settings.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

UNASSIGNED: Final = "unassigned"
# Buckets of every deployment, besides those of the lines of business.
OWN_BUCKETS: Final = ("landing", "quarantine", "state", "archive", "logs")
# CloudFormation takes 500 resources in one stack; a line of business makes five.
LOBS_MAX: Final = 40
_BUCKET: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]|\.(?=[a-z0-9])){1,61}[a-z0-9]")
ACCOUNT: Final = "${AWS::AccountId}"
# core.access.ROLES; the first that a person's groups give counts, so the mightiest is first.
ROLES: Final = ("operator", "auditor", "viewer")
_HTTPS: Final = re.compile(r"https://[a-z0-9.-]+(:[0-9]+)?/?")
# A rule of a load balancer takes five values; two are the paths.
_CONSOLE_CIDRS_MAX: Final = 3
_DAY_MS: Final = 86_400_000


class Refused(Exception):
    """The configuration or an option can't be deployed; the text says what to change."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the template; `-c key=value`, lists separated by commas."""

    # The platform's configuration; it goes into the functions' code as it is.
    config: str = "ocp-ingest.toml"
    # Name of the stack, and what names of resources begin with.
    stack: str = "OcpIngest"
    name: str = "ocp-ingest"
    # Names of buckets are the whole world's: the account makes them ours.
    bucket_prefix: str = f"ocp-ingest-{ACCOUNT}-"
    # What tools/build_lambda.py has built; with `placeholder=true` an empty folder stands for it.
    lambda_code: str = "build/lambda"
    placeholder: bool = False
    # A zip that lies in S3 already ("bucket/key") instead: the template then needs no CDK at all.
    lambda_s3: str = ""
    # Two subnets of /20 and two of /24 are cut from it.
    vpc_cidr: str = "10.0.0.0/16"
    # One NAT gateway per zone: the end of a zone must not end the downloads from OCP.
    nat_gateways: int = 2
    # Interface endpoints cost 7 USD each a month and zone; with them only OCP goes through NAT.
    interface_endpoints: bool = False
    # Where requests may come from; the vendor's own networks are better than everybody.
    client_cidrs: tuple[str, ...] = ("0.0.0.0/0",)
    # The load balancer checks tokens too; the platform does in any case.
    jwt_validation: bool = False
    # "bucket/key" of a PEM bundle: clients must show a certificate of these authorities.
    mtls_bundle: str = ""
    # AWS WAF: the networks above, a rate, and the addresses of ill repute.
    waf: bool = False
    # Requests of one address in five minutes; OCP sends from few addresses.
    waf_rate_max: int = 60_000
    # Where people may come from, where the console is served: three networks at most (a rule of a
    # load balancer takes five values); empty: wherever requests may come from.
    console_cidrs: tuple[str, ...] = ()
    # First part of the token endpoint's name, the whole region's.
    auth_domain: str = f"ocp-ingest-{ACCOUNT}"
    # Retention of stored recordings, "GOVERNANCE:365": nobody deletes sooner. "" = no lock.
    object_lock: str = ""
    # The archive of what happened is always locked.
    archive_lock: str = "GOVERNANCE:365"
    # Recordings are rarely heard after a month; Glacier Instant Retrieval costs a fifth.
    glacier_after_days: int = 30
    log_days: int = 90
    # Roles that may delete recordings, for erasure on request; by default nobody may.
    eraser_roles: tuple[str, ...] = ()
    ingest_tasks_min: int = 2
    ingest_tasks_max: int = 10
    worker_tasks_min: int = 1
    worker_tasks_max: int = 20
    # Accounts with a concurrency limit of 10 can't reserve any of it.
    reserve_concurrency: bool = True
    # X-Ray for functions and the state machine.
    tracing: bool = False
    alarm_mail: str = ""
    # A call that waits longer for its recording is worth a person's look: most take hours.
    pending_hours_max: int = 24
    budget_usd: int = 1000
    termination_protection: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Platform:
    """What the template takes from ocp-ingest.toml, with the platform's defaults."""

    # Line of business -> bucket, as the pipeline knows it; core.settings.Settings.buckets().
    buckets: dict[str, str]
    # OAuth client -> (scopes, OCP group of its messages).
    clients: dict[str, tuple[tuple[str, ...], str]]
    step_tries_max: int = 8
    step_lease_ms: int = 600_000
    retention_days: int = 60
    detect_every_s: int = 1800
    # `console.public_url`, where the console is switched on; "": it is not served.
    console_url: str = ""
    # Groups of people -> (role, lines of business); the file's, or one per role.
    console_groups: dict[str, tuple[str, tuple[str, ...]]] = dataclasses.field(
        default_factory=lambda: {role: (role, ("*",)) for role in ROLES}
    )
    # People log in at a provider of their own (`console.oidc.issuer`), not in the user pool.
    console_elsewhere: bool = False
    # Topics that [[alerts.channels]] names; None: it names no channel at all.
    alert_topics: tuple[str, ...] | None = None


def options(context: Mapping[str, str]) -> Options:
    """Options from `key=value` pairs. Raises Refused, naming the key."""
    known = {field.name: field for field in dataclasses.fields(Options)}
    given: dict[str, Any] = {}
    for key, text in context.items():
        if key not in known:
            raise Refused(f"`{key}` is no option of the template; known are {', '.join(known)}.")
        given[key] = _value(key, text, known[key].default)
    made = Options(**given)
    if len(made.console_cidrs) > _CONSOLE_CIDRS_MAX:
        raise Refused(f"`console_cidrs` takes {_CONSOLE_CIDRS_MAX} networks at most.")
    return made


def _value(key: str, text: str, default: object) -> object:
    if isinstance(default, bool):
        if text not in ("true", "false"):
            raise Refused(f"`{key}` is true or false, not {text!r}.")
        return text == "true"
    if isinstance(default, int):
        if not text.isdecimal():
            raise Refused(f"`{key}` is a whole number, not {text!r}.")
        return int(text)
    if isinstance(default, tuple):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    return text


def lock(text: str) -> tuple[str, int] | None:
    """Mode and days of an Object Lock option. Raises Refused."""
    if not text:
        return None
    mode, _, days = text.partition(":")
    if mode not in ("GOVERNANCE", "COMPLIANCE") or not days.isdecimal() or int(days) < 1:
        raise Refused(f"A lock is written GOVERNANCE:365 or COMPLIANCE:365, not {text!r}.")
    return mode, int(days)


def platform(file: Path) -> Platform:
    """What the configuration file says. Raises Refused with a sentence."""
    try:
        tree = tomllib.loads(file.read_text("utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as bad:
        raise Refused(f"The configuration file {file} can't be read: {bad}.") from None
    return from_tree(tree)


def from_tree(tree: Mapping[str, Any]) -> Platform:
    """The same from values that were read already."""
    lobs = tree.get("lob", {})
    if len(lobs) > LOBS_MAX:
        raise Refused(f"{len(lobs)} lines of business make more resources than one stack takes: "
                      f"{LOBS_MAX} at most.")  # fmt: skip
    limits, stage2 = tree.get("limits", {}), tree.get("stage2", {})
    buckets = {name: lob.get("bucket") or f"lob-{name}" for name, lob in lobs.items()}
    every_s = int(tree.get("reconcile", {}).get("detect_every_s", Platform.detect_every_s))
    if every_s < 60 or every_s % 60:
        raise Refused("`reconcile.detect_every_s` must be whole minutes: schedules know no less.")
    return Platform(
        buckets={**buckets, UNASSIGNED: buckets.get(UNASSIGNED, f"lob-{UNASSIGNED}")},
        clients=_clients(tree.get("auth", {}).get("clients", {})),
        step_tries_max=limits.get("step_tries_max", Platform.step_tries_max),
        step_lease_ms=limits.get("step_lease_ms", Platform.step_lease_ms),
        retention_days=-(-stage2.get("retention_ms", 60 * _DAY_MS) // _DAY_MS),
        detect_every_s=every_s,
        **_console(tree.get("console", {})),
        alert_topics=_topics(tree.get("alerts", {}).get("channels", ())),
    )


def _console(section: Mapping[str, Any]) -> dict[str, Any]:
    """Raises Refused for a public address that no browser would take cookies from."""
    url = str(section.get("public_url", "")) if section.get("enabled", True) else ""
    if url and not _HTTPS.fullmatch(url):
        raise Refused(f"`console.public_url` must be like https://calls.example.com, not {url!r}.")
    oidc = section.get("oidc", {})
    found: dict[str, Any] = {
        "console_url": url.rstrip("/"), "console_elsewhere": bool(oidc.get("issuer"))
    }  # fmt: skip
    groups = {
        name: (str(group.get("role", "")), tuple(group.get("lobs", ())))
        for name, group in oidc.get("groups", {}).items()
    }
    return {**found, "console_groups": groups} if groups else found


def _topics(channels: Sequence[Mapping[str, Any]]) -> tuple[str, ...] | None:
    if not channels:
        return None
    return tuple(str(c.get("topic_arn", "")) for c in channels if c.get("kind") == "sns")


def _clients(given: Mapping[str, Any]) -> dict[str, tuple[tuple[str, ...], str]]:
    """The file's clients; without any, OCP's. `operator` is added for people and for `smoke`."""
    clients = {
        name: (tuple(client.get("scopes", ["ingest"])), str(client.get("ocp_group", "")))
        for name, client in (given or {"ocp": {}}).items()
    }
    return {"operator": (("ingest", "read", "operate"), ""), **clients}


def check_buckets(prefix: str, platform: Platform) -> None:
    """Raises Refused for a bucket whose whole name S3 would not take, or that exists twice."""
    seen = dict.fromkeys(OWN_BUCKETS, "the platform's own")
    for lob, bucket in platform.buckets.items():
        if bucket in seen:
            raise Refused(f"`lob.{lob}.bucket` is {bucket}, which is {seen[bucket]} already.")
        seen[bucket] = f"that of `lob.{lob}`"
    for bucket in seen:
        whole = (prefix + bucket).replace(ACCOUNT, "0" * 12)
        if not _BUCKET.fullmatch(whole):
            raise Refused(f"{whole} is no name of a bucket (3-63 characters: a-z, 0-9, -): set a "
                          "shorter `bucket_prefix`, or `lob.<name>.bucket`.")  # fmt: skip
