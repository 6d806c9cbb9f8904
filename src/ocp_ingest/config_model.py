"""The configuration's sections; every key, its default and its reason. See ocp-ingest.toml.

Names end in their unit. What the pure core needs of it is `core.settings.Settings`.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from ocp_ingest.adapters.aws.settings import AwsSettings
from ocp_ingest.adapters.notify.settings import Alerts
from ocp_ingest.adapters.ocp.settings import OcpSettings
from ocp_ingest.adapters.oidc.settings import OidcSettings
from ocp_ingest.adapters.tokens.settings import Auth
from ocp_ingest.core.eligibility import Policy
from ocp_ingest.core.lifecycle import CallPolicy
from ocp_ingest.core.limits import GIB, Limits
from ocp_ingest.core.routing import Rule
from ocp_ingest.core.settings import LineOfBusiness
from ocp_ingest.core.vendor import VendorMapping


class Server(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[server]`: where the API listens."""

    host: str = "127.0.0.1"
    port: int = 8080
    # A stop waits so long for requests under way; uploads still running then are told to retry.
    stop_s_max: float = 20.0
    # Connections waiting to be accepted.
    backlog: int = 1024


class Data(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[data]`: where the embedded runtime keeps everything."""

    dir: str = "ocp-ingest-data"
    # Below it the process reports itself not ready: two of the largest recordings.
    free_bytes_min: int = 8 * GIB


class Calls(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[calls]`: how calls are told apart."""

    # What `groupId` in a recording's name is at this tenant (ocp-facts 5.5).
    name_group_is: Literal["call", "tenant"] = "call"
    # OCP group of messages of which nothing else says it.
    ocp_group_default: str = ""
    # Key of the HMAC that stands for a caller's number; "" = made at first start in the data dir.
    number_key_file: str = ""


class Delivery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[delivery]`: names on the wire of a delivered recording (ocp-facts 10.2)."""

    name_query: str = "name"
    ocp_group_query: str = "ocp_group"
    metadata_part: str = "metadata"
    file_part: str = "file"
    name: str = "name"
    content_type: str = "content_type"
    data: str = "data"
    url: str = "url"
    size: str = "size"
    sha256: str = "sha256"
    group: str = "group"
    dialog_id: str = "dialog_id"
    account_id: str = "account_id"
    time: str = "time"


class Fetch(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[fetch]`: recordings delivered as a URL. No allowed host: such deliveries are refused."""

    # Host names, or "*.example.com" for every name below it.
    allowed_hosts: tuple[str, ...] = ()
    # Private, loopback and link-local addresses are refused even for an allowed host.
    allow_private: bool = False
    allow_http: bool = False
    at_once_max: int = 16


class Reconcile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[reconcile]`: looking for what is missing, and asking OCP for it (stage 2)."""

    # In domain time: calls are asked for once their hour is exported, so minutes do not matter.
    detect_every_s: float = 1800.0
    # One export job for each call instead of one for a window of hours.
    per_call: bool = False
    # A daily export of every call's start finds calls of which nothing reached us.
    census: bool = True
    # How far the first census of a group goes back at least: calls from before the go-live that
    # OCP still has come in too. OCP's longest export is two days.
    census_back_s: float = 172_800.0


class ClockSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[clock]`: domain time, scaled for demonstrations; tokens and HTTP keep real time."""

    # Domain time is `origin_ms + (real time - real_origin_s) * scale`. 0 and 1: real time.
    origin_ms: int = 0
    scale: float = 1.0
    real_origin_s: float = 0.0


class ConsoleSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[console]`: the pages for the people on duty, below /console."""

    enabled: bool = True
    # Where people reach it, as "https://console.example.com": log-in providers and alerts name it.
    public_url: str = ""
    # Times are shown in this zone (IANA name).
    time_zone: str = "UTC"
    # Where neither the person nor the browser says which.
    default_lang: Literal["es", "en"] = "es"
    # A page left alone is logged out after half an hour, and everybody after a long shift.
    session_idle_s: int = 1_800
    session_s: int = 43_200
    # Seals the cookies; several processes need the same. "" = made at first start in the data dir.
    session_key: str = ""
    session_key_file: str = ""
    # Cookies by https alone. auto: unless only this machine can reach us.
    secure_cookies: Literal["auto", "always", "never"] = "auto"
    # Proxies of ours in front (a load balancer is one): whose X-Forwarded-For is believed.
    proxies: int = 0
    # Hearing and downloading a recording ask for a reason; both are journalled in any case.
    hear_reason: bool = False
    oidc: OidcSettings = OidcSettings()

    def __repr__(self) -> str:
        """Without its key."""
        return f"ConsoleSection(enabled={self.enabled!r}, public_url={self.public_url!r})"


class EvidenceSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[evidence]`: chains, daily seals, certificates and packs, and the key that signs them."""

    # Whose evidence it is: a DNS name of yours. It is in every statement and every vCon.
    issuer: str = "localhost"
    # The Ed25519 key, PKCS #8 in PEM, mode 600; "" = made at first start in the data dir.
    key_file: str = ""
    # On AWS: the id, ARN or alias of a KMS key of spec ECC_NIST_EDWARDS25519.
    kms_key: str = ""
    # Real seconds between two looks for events that no chain has yet.
    seal_every_s: float = 30.0
    # Stored objects read back and hashed each hour, all in turn; 0 = none. 200 recordings of five
    # minutes are 1 GB: half a minute of a disk.
    scrub_objects: int = 200


class Log(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[log]`: what goes to standard error."""

    format: Literal["auto", "console", "json"] = "auto"  # auto: console on a terminal
    level: Literal["debug", "info", "warning", "error"] = "info"


class Telemetry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[telemetry]`: traces of calls, by OTLP over HTTP. Without an address there are none."""

    # The collector: "http://collector:4318"; without a path, /v1/traces is meant.
    otlp_url: str = ""
    # What a collector asks for, as lines "name: value" in a file, for example a token.
    otlp_headers_file: str = ""
    # Share of the calls that are traced, 0 to 1; every process decides alike for a call.
    sample_share: float = 1.0
    # Name of this deployment in the traces.
    service_name: str = "ocp-ingest"


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One configuration: the file and the environment, joined and checked."""

    server: Server = Server()
    data: Data = Data()
    auth: Auth = Auth()
    calls: Calls = Calls()
    vendor: VendorMapping = VendorMapping()
    limits: Limits = Limits()
    policy: CallPolicy = CallPolicy()
    stage2: Policy = Policy()
    routing: tuple[Rule, ...] = ()
    lob: dict[str, LineOfBusiness] = {}
    delivery: Delivery = Delivery()
    fetch: Fetch = Fetch()
    ocp: OcpSettings = OcpSettings()
    reconcile: Reconcile = Reconcile()
    aws: AwsSettings = AwsSettings()
    console: ConsoleSection = ConsoleSection()
    alerts: Alerts = Alerts()
    telemetry: Telemetry = Telemetry()
    evidence: EvidenceSection = EvidenceSection()
    clock: ClockSection = ClockSection()
    log: Log = Log()
