"""Every setting of the simulator, from one TOML file and the command line.

Shares are 0..1. Spans named `_s`, `_h`, `_days` are domain time unless their comment says real.
The defaults are the "bad day": each thing that can go wrong does, at least once in 50 calls.
"""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

Share = Annotated[float, Meta(ge=0, le=1)]
Positive = Annotated[float, Meta(gt=0)]
Natural = Annotated[int, Meta(ge=1)]


class Group(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One OCP (tenant) group: the unit of subscriptions and of export slots."""

    name: str
    account_id: str
    region: str
    numbers: tuple[str, ...]  # destination numbers
    apps: tuple[str, ...]
    locales: tuple[str, ...]


GROUPS = (
    Group(
        name="emea-retail",
        account_id="4001",
        region="aws-eu-central-1",
        numbers=("900-100-200", "900-100-300"),
        apps=("banking-voice", "cards-voice"),
        locales=("es-ES", "en-GB"),
    ),
    Group(
        name="latam-retail",
        account_id="4002",
        region="aws-us-east-1",
        numbers=("800-555-0101", "800-555-0102"),
        apps=("banking-voice", "insurance-voice"),
        locales=("es-MX", "es-CO"),
    ),
)


class Shapes(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Shares of calls with a property that is no fault."""

    transfer: Share = 0.15
    multi_dialog: Share = 0.3  # the call runs miniApps: child dialogs
    sensitive: Share = 0.15  # a step that the recording mutes
    steps: Share = 0.5  # dialog_step CDRs are sent
    ivr_end: Share = 0.25  # the tenant sends its own `ivr_end` message
    mp3: Share = 0.1
    nameless_group: Share = 0.1  # CDRs without flow.ocp_group_name
    hidden_number: Share = 0.1  # origin_uri "undefined"


class StreamFaults(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Shares of calls that suffer each fault; see `faults.py` for what each means."""

    lost: Share = 0.10
    duplicated: Share = 0.05  # of the calls that are not lost
    reordered: Share = 0.05  # of the calls that are not lost
    early_recording: Share = 0.02
    late: Share = 0.02
    corrupt_stream: Share = 0.02
    error_body: Share = 0.01
    corrupt_at_ocp: Share = 0.01
    wrong_call_id: Share = 0.01
    trimmed: Share = 0.03
    missing_start: Share = 0.015
    missing_end: Share = 0.015
    nothing: Share = 0.015
    test_call: Share = 0.02
    too_short: Share = 0.02
    expired: Share = 0
    endless: Share = 0
    bad_token: Share = 0.02
    cut_upload: Share = 0.02
    late_at_ocp: Share = 0
    at_least_one: bool = True  # of each with a share above 0, from 50 calls on


class World(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What calls there are."""

    start_ms: int | None = None  # None: the clock's origin
    hours: Positive = 26
    groups: tuple[Group, ...] = GROUPS
    duration_s: tuple[Positive, Positive] = (5, 40)
    shortest_recorded_s: Positive = 2
    shapes: Shapes = Shapes()
    faults: StreamFaults = StreamFaults()
    cache_mib: Natural = 64  # rendered audio kept in memory


class Push(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The streaming export: where it pushes to, and how."""

    target: str = ""
    token_url: str = ""
    client_id: str = "ocp-sim"
    client_secret: str = ""
    scope: str = "ingest"
    events_path: str = "/v1/events"
    recordings_path: str = "/v1/recordings"
    autostart: bool = True
    concurrency: Natural = 16
    event_forms: dict[str, Share] = msgspec.field(
        default_factory=lambda: {
            "object": 0.7,
            "array": 0.1,
            "ndjson": 0.1,
            "object_gzip": 0.05,
            "ndjson_gzip": 0.05,
        }
    )
    audio_forms: dict[str, Share] = msgspec.field(
        default_factory=lambda: {
            "raw": 0.4,
            "raw_query": 0.1,
            "raw_put": 0.1,
            "multipart": 0.15,
            "base64": 0.1,
            "url": 0.15,
        }
    )
    retry_window_h: Positive = 24
    retry_window_real_s_min: float = 30  # real: HTTP does not get faster with the clock
    retry_first_s: Positive = 10
    retry_cap_s: Positive = 900
    retry_real_s_min: Positive = 0.05  # real
    request_timeout_s: Positive = 60  # real
    token_margin_s: float = 30  # real: renewed this long before it expires


class User(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An OCP user and the groups on its whitelist."""

    username: str
    password: str
    groups: tuple[str, ...]
    otp: str = ""  # a fixed code that the password grant must bring
    totp_secret: str = ""  # base32; then the code must be that of now (RFC 6238)


class AccessToken(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A personal access token and the groups it is good for."""

    token: str
    groups: tuple[str, ...]


class Auth(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Logins of the simulated platform."""

    realm: str = "master"
    client_id: str = "ocp"
    users: tuple[User, ...] = (
        User(
            username="exporter",
            password="exporter",  # noqa: S106 - a simulator's login protects nothing
            groups=("emea-retail", "latam-retail"),
        ),
    )
    personal_tokens: tuple[AccessToken, ...] = (
        AccessToken(
            token="sim-pat",  # noqa: S106 - a simulator's token protects nothing
            groups=("emea-retail", "latam-retail"),
        ),
    )
    personal_tokens_accepted: bool = True
    access_ttl_s: Positive = 300  # real
    refresh_ttl_s: Positive = 1800  # real


class Export(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The rules of the Export API; documented ones have the documented values."""

    base_path: str = "/exports-api/v1"
    range_h_min: Natural = 1
    range_h_max: Natural = 48
    range_by: Literal["start", "end"] = "start"
    future_allowed: bool = True
    kept_h: Positive = 24
    retention_days: Positive = 60
    watermark_s: float = 6000  # data enters exports this long after the call's end
    late_watermark_s: float = 18000  # the same for calls with the fault late_at_ocp
    pending_s: float = 20
    job_fixed_s: float = 120  # alpha
    job_per_hour_s: float = 10  # beta
    page_size_max: Natural = 100
    lines_per_file: Natural = 500
    audio_as: Literal["files", "zip", "mixed"] = "files"
    with_sha256: Share = 0.5  # share of listed files that tell their checksum
    redirect_share: Share = 0.2  # share of downloads answered by 302
    redirect_ttl_s: Positive = 5  # real
    cancel_supported: bool = True
    rate_per_s: Positive = 50  # real
    rate_burst: Natural = 100


class Scripted(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The next `times` requests of that kind (after `skip` of them) suffer this fault."""

    op: str
    fault: str
    times: Natural = 1
    skip: Annotated[int, Meta(ge=0)] = 0
    group: str | None = None


BAD_DAY_SCRIPT = (
    Scripted(op="token", fault="server_error"),
    Scripted(op="create", fault="rate_limited"),
    Scripted(op="create", fault="conflict", skip=1),
    Scripted(op="create", fault="answer_lost", skip=2),
    Scripted(op="create", fault="foreign", skip=3),
    Scripted(op="create", fault="failed", skip=4),
    Scripted(op="create", fault="files_missing", skip=6),
    Scripted(op="status", fault="server_error", skip=1),
    Scripted(op="status", fault="slow", skip=3),
    Scripted(op="files", fault="rate_limited", skip=1),
    Scripted(op="download", fault="cut"),
    Scripted(op="download", fault="short_body", skip=2),
    Scripted(op="download", fault="token_expired", skip=4),
    Scripted(op="download", fault="truncated", skip=6),
)


class ExportFaults(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What goes wrong in exports: a script first, then chance ("download.cut" = 0.05)."""

    script: tuple[Scripted, ...] = BAD_DAY_SCRIPT
    chance: dict[str, Share] = msgspec.field(default_factory=dict)
    retry_after_s: Natural = 1  # real
    slow_s: Positive = 0.5  # real
    slow_job_factor: Positive = 10
    missing_share: Share = 0.5  # of a job's audio files, with files_missing
    foreign_s: Positive = 600
    expire_early_s: Positive = 60


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of it."""

    calls: Annotated[int, Meta(ge=0)] = 200
    seed: int = 1
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8790
    public_url: str = ""  # how the receiver reaches us for URL deliveries; "": host and port
    audio_dir: str = ""  # folder of speech clips; "": those that come with the package
    world: World = World()
    push: Push = Push()
    auth: Auth = Auth()
    export: Export = Export()
    export_faults: ExportFaults = ExportFaults()


CALM = msgspec.convert(
    {name: 0 for name in StreamFaults.__struct_fields__ if name != "at_least_one"}, StreamFaults
)
"""Nothing goes wrong in the stream."""

CALM_EXPORTS = ExportFaults(script=())
"""Nothing goes wrong in exports."""


def read(path: Path) -> Settings:
    """Settings of a TOML file; raises `msgspec.ValidationError` naming the wrong key."""
    return msgspec.toml.decode(path.read_bytes(), type=Settings)
