"""Where OCP is, who we are there, and the names on its wire; section `[ocp]`.

What no public page states (ocp-facts 10.3) is a setting here, never a constant in the client.
`configured()` says whether the section is in use; `lacking()` names what a half-set one lacks.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import math
import re
from typing import Any, Final, Literal

import msgspec

from ocp_ingest.core.limits import GIB


class OcpPaths(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Paths below the hosts; `{realm}`, `{group}`, `{export}`, `{file}` are filled in, encoded."""

    token: str = "/auth/realms/{realm}/protocol/openid-connect/token"  # ocp-facts 1.1  # noqa: S105
    logout: str = "/auth/realms/{realm}/protocol/openid-connect/logout"  # 1.7
    exports: str = "/exports-api/v1/groups/{group}/exports"
    export: str = "/exports-api/v1/groups/{group}/exports/{export}"
    files: str = "/exports-api/v1/groups/{group}/exports/{export}/files"
    file: str = "/exports-api/v1/groups/{group}/exports/{export}/files/{file}"


class OcpFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Names of JSON fields and query parameters of the Export API; ours → OCP's."""

    id: str = "id"
    status: str = "status"
    window_from: str = "from"
    window_to: str = "to"
    types: str = "types"
    created_at: str = "createdAt"
    expires_at: str = "expiresAt"
    file_count: str = "fileCount"
    exports: str = "exports"
    files: str = "files"
    file_name: str = "name"
    file_type: str = "type"
    file_size: str = "size"
    file_sha256: str = "sha256"
    page: str = "page"
    total_pages: str = "totalPages"
    page_query: str = "page"
    size_query: str = "size"
    message: str = "message"


class OcpNames(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """OCP's words for export states and data types; ours → OCP's, several where OCP has several."""

    pending: tuple[str, ...] = ("PENDING",)
    running: tuple[str, ...] = ("IN_PROGRESS",)
    completed: tuple[str, ...] = ("COMPLETED",)
    failed: tuple[str, ...] = ("FAILED",)
    expired: tuple[str, ...] = ("EXPIRED",)
    cancelled: tuple[str, ...] = ("CANCELLED",)
    type_audio: str = "audio"
    type_dialog_start: str = "dialog_start"
    type_dialog_end: str = "dialog_end"
    type_dialog_step: str = "dialog_step"
    type_all: str = "ALL"


class OcpSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """OCP as its Export API's client sees it. Without `api_url` nothing is ever exported."""

    # Base URLs: hosts differ in some environments (ocp-facts 7). "" = as `api_url`.
    api_url: str = ""
    auth_url: str = ""
    analytics_url: str = ""
    # Which of them has the Export API; no public page says it (ocp-facts 2.3).
    exports_host: Literal["api", "analytics"] = "api"
    realm: str = "master"
    client_id: str = "ocp"
    # Either a user (with the code of its second factor, or the secret that makes codes) …
    username: str = ""
    password: str = ""
    password_file: str = ""
    otp: str = ""
    otp_secret: str = ""
    # … or a personal access token; whether exports take one is not documented (ocp-facts 1.15).
    personal_access_token: str = ""
    personal_access_token_file: str = ""
    personal_access_token_header: str = "X-OCP-PERSONAL-ACCESS-TOKEN"  # noqa: S105
    # OCP groups that may be exported; () = every group of which calls came.
    groups: tuple[str, ...] = ()
    # Omilia's own client renews its token so long before it ends (ocp-facts 1.8).
    token_early_s: float = 30.0
    # Lifetime of a token whose answer does not tell it.
    token_ttl_s: float = 60.0
    time_format: Literal["rfc3339", "epoch_ms"] = "rfc3339"
    page_size: int = 100
    page_first: int = 0
    # Requests of this account, all groups together; OCP limits them, the number is not public.
    requests_per_s: float = 5.0
    requests_burst: int = 10
    # A GET that failed is tried so often in all before the caller hears of it; a POST only once.
    get_tries_max: int = 3
    connect_s_max: float = 10.0
    answer_s_max: float = 60.0  # a whole answer, or the head of a download
    download_idle_s_max: float = 60.0  # silence inside a download
    download_s_max: float = 3600.0  # one file with all its resumes: 4 GiB at 1.2 MB/s
    download_resumes_max: int = 20  # of one file
    # Whether a file must have the size and the checksum that OCP's list tells of it.
    verify_size: bool = True
    verify_sha256: bool = True
    # Hosts that a download may be redirected to, besides the API's own: "name", "name:port", or
    # "*.example.com" for every name below it. Without a port, the scheme's own.
    redirect_hosts: tuple[str, ...] = ()
    # Private, loopback and link-local addresses are refused even for an allowed host.
    allow_private: bool = False
    # A ZIP is kept in a nameless temporary file while it is read; "" = the system's folder.
    spool_dir: str = ""
    zip_bytes_max: int = 16 * GIB
    zip_unpacked_bytes_max: int = 64 * GIB
    zip_entries_max: int = 10_000
    paths: OcpPaths = OcpPaths()
    fields: OcpFields = OcpFields()
    names: OcpNames = OcpNames()

    def __repr__(self) -> str:
        """Whose settings these are, and none of the secrets."""
        return f"OcpSettings(api_url={self.api_url!r}, realm={self.realm!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """The same for Rich."""
        return [("api_url", self.api_url), ("realm", self.realm)]


_LOGIN: Final = ("username", "password", "password_file", "otp", "otp_secret")
_TOKEN: Final = ("personal_access_token", "personal_access_token_file")


def configured(ocp: OcpSettings) -> bool:
    """Whether the section names an OCP to talk to."""
    return bool(ocp.api_url)


def lacking(ocp: OcpSettings) -> list[str]:
    """What makes the section half-set, in sentences that name the key; [] when it is whole."""
    login = [key for key in _LOGIN if getattr(ocp, key)]
    token = [key for key in _TOKEN if getattr(ocp, key)]
    found = []
    if not ocp.api_url:
        hosts = [key for key in ("auth_url", "analytics_url") if getattr(ocp, key)]
        used = [*login, *token, *hosts]
        if used:
            found.append(f"`ocp.{used[0]}` is set without `ocp.api_url`: say where OCP's API is.")
        return found
    for key in ("api_url", "auth_url", "analytics_url"):
        url = getattr(ocp, key)
        if url and not url.startswith(("https://", "http://")):
            found.append(f"`ocp.{key}` must begin with https:// (or http:// for a simulator).")
    if ocp.exports_host == "analytics" and not ocp.analytics_url:
        found.append('`ocp.exports_host` is "analytics" without `ocp.analytics_url`.')
    found += [*_beyond_bounds(ocp), *_bad_paths(ocp.paths), *_ambiguous(ocp.names)]
    if login and token:
        found.append(f"`ocp.{login[0]}` and `ocp.{token[0]}` exclude each other: keep one.")
    if not login and not token:
        found.append("`ocp.username` or `ocp.personal_access_token` is missing: who are we to OCP?")
    if login and not ocp.username:
        found.append(f"`ocp.{login[0]}` is set without `ocp.username`.")
    if ocp.username and not (ocp.password or ocp.password_file):
        found.append("`ocp.username` is set without `ocp.password` or `ocp.password_file`.")
    for one, other in (("password", "password_file"), _TOKEN, ("otp", "otp_secret")):
        if getattr(ocp, one) and getattr(ocp, other):
            found.append(f"`ocp.{one}` and `ocp.{other}` exclude each other: keep one.")
    if ocp.otp_secret and _secret_bytes(ocp.otp_secret) is None:
        found.append("`ocp.otp_secret` must be base32, as shown when the second factor was set up.")
    return found


# At least so much of each; a zero would stop the client or let nothing through.
_LEAST: Final[dict[str, float]] = {
    "token_early_s": 0.0, "token_ttl_s": 1.0, "page_size": 1, "page_first": 0,
    "requests_per_s": 0.01, "requests_burst": 1, "get_tries_max": 1, "connect_s_max": 0.01,
    "answer_s_max": 0.01, "download_idle_s_max": 0.01, "download_s_max": 0.01,
    "download_resumes_max": 0, "zip_bytes_max": 1, "zip_unpacked_bytes_max": 1,
    "zip_entries_max": 1,
}  # fmt: skip
_PLACES: Final[dict[str, set[str]]] = {
    "token": {"realm"},
    "logout": {"realm"},
    "exports": {"group"},
    "export": {"group", "export"},
    "files": {"group", "export"},
    "file": {"group", "export", "file"},
}
_STATES: Final = ("pending", "running", "completed", "failed", "expired", "cancelled")


def _beyond_bounds(ocp: OcpSettings) -> list[str]:
    values: dict[str, Any] = {key: getattr(ocp, key) for key in _LEAST}
    return [
        f"`ocp.{key}` must be at least {least:g}."
        for key, least in _LEAST.items()
        if not math.isfinite(values[key]) or values[key] < least
    ]


def _bad_paths(paths: OcpPaths) -> list[str]:
    found = []
    for key, places in _PLACES.items():
        template: str = getattr(paths, key)
        unknown = set(re.findall(r"\{(.*?)\}", template)) - places
        if not template.startswith("/"):
            found.append(f"`ocp.paths.{key}` must begin with a slash.")
        if unknown:
            found.append(f"`ocp.paths.{key}` has {{{min(unknown)}}}, which nothing fills in.")
    return found


def _ambiguous(names: OcpNames) -> list[str]:
    seen: dict[str, str] = {}
    found = []
    for key in _STATES:
        for word in getattr(names, key):
            if seen.setdefault(word.upper(), key) != key:
                found.append(
                    f"`ocp.names.{key}` and `ocp.names.{seen[word.upper()]}` share {word}."
                )
    return found


OTP_PERIOD_S: Final = 30  # RFC 6238's default, which every authenticator app uses
_OTP_DIGITS: Final = 6


def one_time_password(ocp: OcpSettings, now_s: float) -> str | None:
    """The second factor's code at `now_s` (real time): the fixed one, RFC 6238's, or None."""
    if not ocp.otp_secret:
        return ocp.otp or None
    secret = _secret_bytes(ocp.otp_secret)
    assert secret is not None, "the configuration was accepted with a bad otp_secret"
    digest = hmac.new(secret, int(now_s // OTP_PERIOD_S).to_bytes(8, "big"), "sha1").digest()
    at = digest[-1] & 0x0F
    number = int.from_bytes(digest[at : at + 4], "big") & 0x7FFF_FFFF
    return f"{number % 10**_OTP_DIGITS:0{_OTP_DIGITS}d}"


def _secret_bytes(text: str) -> bytes | None:
    compact = text.replace(" ", "").upper()
    try:
        return base64.b32decode(compact + "=" * (-len(compact) % 8))
    except (binascii.Error, ValueError):
        return None
