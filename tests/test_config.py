"""One file and the environment give one checked configuration, or a sentence that names the key."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ocp_ingest import bootstrap, config
from ocp_ingest.config_model import Config
from ocp_ingest.core.errors import Invalid
from ocp_ingest.core.settings import LineOfBusiness

EXAMPLE = Path(__file__).parent.parent / "ocp-ingest.toml"
MARK = "#| "


def test_the_example_has_every_key_with_its_default() -> None:
    tree = tomllib.loads(EXAMPLE.read_text("utf-8"))
    assert config.parse(tree) == Config()
    # Tables whose keys a site names itself.
    shown = {"lob", "routing", "auth.clients", "alerts.channels", "console.oidc.groups"}
    missing = _keys(_plain(Config())) - _keys(tree) - shown
    assert {key for key in missing if not key.startswith("policy.stage2.")} == set()


def test_the_examples_without_defaults_parse_and_their_rules_are_the_defaults() -> None:
    text = EXAMPLE.read_text("utf-8")
    shown = [line.removeprefix("#|").removeprefix(" ") for line in text.splitlines()
             if line.startswith("#|")]  # fmt: skip
    tree = tomllib.loads("\n".join(shown))
    parsed = config.parse(tree)
    assert parsed.lob == {"sales": LineOfBusiness()}
    assert _keys(tree["lob"]["sales"]) == _keys(_plain(LineOfBusiness()))
    assert parsed.routing[0].lob == "sales"
    assert parsed.auth.clients["ocp"].ocp_group == "emea-retail"


def _plain(value: msgspec.Struct) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(value)
    return found


def _keys(tree: dict[str, Any], prefix: str = "") -> set[str]:
    """Dotted names of all keys; below free-form tables only the table's own."""
    found = set()
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value and name != "vendor.aliases":
            found |= _keys(value, f"{name}.")
        else:
            found.add(name)
    return found


def test_without_a_file_the_defaults_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert config.load(environ={}) == Config()


def write(folder: Path, text: str) -> Path:
    """A configuration file."""
    path = folder / "c.toml"
    path.write_text(text, "utf-8")
    return path


def test_the_environment_wins_over_the_file_and_options_over_both(tmp_path: Path) -> None:
    path = write(tmp_path, '[server]\nport = 1\nhost = "127.0.0.2"\n[data]\ndir = "a"\n')
    environ = {
        "OCP_INGEST_CONFIG": str(path),
        "OCP_INGEST_SERVER__PORT": "2",
        "OCP_INGEST_DATA__DIR": "b",
        "OTHER": "x",
    }
    found = config.load(environ=environ, overrides={"server": {"port": 3}, "log": {"level": None}})
    assert (found.server.port, found.server.host, found.data.dir) == (3, "127.0.0.2", "b")


@pytest.mark.parametrize(
    ("name", "text", "get", "value"),
    [
        ("SERVER__PORT", "9000", lambda c: c.server.port, 9000),
        ("server__port", "9000", lambda c: c.server.port, 9000),
        ("LIMITS__UPLOAD_IDLE_S_MAX", "1.5", lambda c: c.limits.upload_idle_s_max, 1.5),
        ("FETCH__ALLOW_PRIVATE", "True", lambda c: c.fetch.allow_private, True),
        ("FETCH__ALLOWED_HOSTS", '["a.example"]', lambda c: c.fetch.allowed_hosts, ("a.example",)),
        ("CALLS__OCP_GROUP_DEFAULT", "123", lambda c: c.calls.ocp_group_default, "123"),
        ("CALLS__NAME_GROUP_IS", "tenant", lambda c: c.calls.name_group_is, "tenant"),
        ("OCP__PATHS__EXPORTS", "/x/{group}", lambda c: c.ocp.paths.exports, "/x/{group}"),
        ("AUTH__CLIENTS__OCP__SECRET", "x" * 16, lambda c: c.auth.clients["ocp"].secret, "x" * 16),
        ("LOB__SALES__RULES__CHANNELS", "[2]", lambda c: c.lob["sales"].rules.channels, (2,)),
    ],
)
def test_a_variable_reaches_any_key(name: str, text: str, get: Any, value: Any) -> None:
    full = f"OCP_INGEST_{name.upper()}"
    assert get(config.load(Path("/dev/null"), {full: text})) == value


def test_a_variable_of_a_client_keeps_the_clients_spelling(tmp_path: Path) -> None:
    path = write(tmp_path, '[auth.clients.OCP-Sim]\nscopes = ["ingest"]\n')
    found = config.load(path, {"OCP_INGEST_AUTH__CLIENTS__OCP-SIM__SECRET": "s" * 16})
    assert set(found.auth.clients) == {"OCP-Sim"}


AWS = """[aws]
region = "eu-west-1"
table = "t"
bucket_prefix = "p-"
work_queue_url = "https://q"
work_dlq_url = "https://d"
"""
ISSUED = '[auth]\nissuer = "https://i"\njwks_url = "https://k"\n'
REFUSED = {
    "unknown key": ("[server]\nprot = 1", ["prot"]),
    "unknown section": ("[sever]\nport = 1", ["sever"]),
    "wrong type": ('[server]\nport = "1"', ["server.port"]),
    "wrong choice": ('[calls]\nname_group_is = "x"', ["calls.name_group_is"]),
    "console key twice": (
        f'[console]\nsession_key = "{"k" * 32}"\nsession_key_file = "f"',
        ["console.session_key", "session_key_file"],
    ),
    "console key short": ('[console]\nsession_key = "k"', ["console.session_key", "32"]),
    "console sessions": ("[console]\nsession_idle_s = 9\nsession_s = 8", ["session_idle_s"]),
    "console proxies": ("[console]\nproxies = -1", ["console.proxies"]),
    "console time zone": ('[console]\ntime_zone = "Mars/Base"', ["console.time_zone", "Mars"]),
    "console time zone path": ('[console]\ntime_zone = "../x"', ["console.time_zone"]),
    "console url": ('[console]\npublic_url = "http://c.example"', ["console.public_url", "https"]),
    "console cookies in clear": (
        f'[server]\nhost = "0.0.0.0"\n{ISSUED}[console]\nsecure_cookies = "never"',
        ["console.secure_cookies", "server.host"],
    ),
    "provider half set": ('[console.oidc]\nclient_id = "c"', ["console.oidc.issuer"]),
    "provider without the rest": (
        '[console.oidc]\nissuer = "https://i"',
        ["console.oidc.client_id", "console.oidc.groups", "console.public_url"],
    ),
    "provider in clear": ('[console.oidc]\nissuer = "http://i.example"', ["console.oidc.issuer"]),
    "provider's secret twice": (
        '[console.oidc]\nissuer = "https://i"\nclient_secret = "s"\nclient_secret_file = "f"',
        ["client_secret", "client_secret_file"],
    ),
    "provider without openid": (
        '[console.oidc]\nissuer = "https://i"\nscopes = ["email"]\nname_claims = []',
        ["console.oidc.scopes", "console.oidc.name_claims"],
    ),
    "provider's group": (
        '[console.oidc]\nissuer = "https://i"\n[console.oidc.groups.g]\nrole = "viewer"\n'
        '[console.oidc.groups.h]\nrole = "viewer"\nlobs = ["cards"]',
        ["console.oidc.groups.g.lobs", "groups.h.lobs", "cards"],
    ),
    "stage2 in policy": ("[policy.stage2]\ngrace_ms = 1", ["[stage2]"]),
    "beyond loopback": ('[server]\nhost = "0.0.0.0"', ["server.host", "auth.issuer"]),
    "beyond loopback 6": ('[server]\nhost = "::"', ["server.host"]),
    "beyond loopback by name": ('[server]\nhost = "example.com"', ["server.host"]),
    "issuer without keys": ('[auth]\nissuer = "https://i"', ["auth.issuer", "auth.jwks_url"]),
    "a client's token of our own issuer": (
        '[auth]\naudience_claim = "client_id"\n[auth.clients.a]\nsecret = "0123456789abcdef"',
        ["auth.audience_claim", "auth.issuer"],
    ),
    "a client's token without a client": (
        ISSUED + 'audience_claim = "client_id"', ["auth.audience_claim", "auth.clients"],
    ),
    "a table alone": ('[aws]\ntable = "t"', ["aws.region", "aws.bucket_prefix", "aws.table"]),
    "a queue without its dead letters": (
        AWS + 'download_queue_url = "https://q"', ["aws.download_dlq_url"],
    ),
    "schedules without a role": (AWS + 'schedule_group = "g"', ["aws.schedule_role_arn"]),
    "a prefix that makes no bucket": (
        AWS.replace('"p-"', '"P_"'), ["aws.bucket_prefix", "landing"],
    ),
    "a prefix that makes a bucket too long": (
        AWS.replace('"p-"', f'"{"p" * 60}-"'), ["aws.bucket_prefix"],
    ),
    "a role for no bucket": (
        AWS + 'bucket_roles = { sales = "arn" }', ["aws.bucket_roles", "sales"],
    ),
    "no connection": (AWS + "connections_max = 0", ["aws.connections_max"]),
    "keys without issuer": ('[auth]\njwks_file = "k"', ["auth.jwks_file", "auth.issuer"]),
    "two sources of keys": (
        '[auth]\nissuer = "https://i"\njwks_file = "k"\njwks_url = "https://k"',
        ["auth.jwks_url", "auth.jwks_file"],
    ),
    "keys in the clear": (
        '[auth]\nissuer = "https://i"\njwks_url = "http://keys.example/"', ["auth.jwks_url"]),
    "no audience": ('[auth]\naudience = ""', ["auth.audience"]),
    "client without secret": ('[auth.clients.a]\nscopes = ["read"]', ["auth.clients.a.secret"]),
    "short secret": ('[auth.clients.a]\nsecret = "short"', ["auth.clients.a.secret"]),
    "secret and issuer": (
        f'[auth]\nissuer = "https://i"\njwks_file = "k"\n[auth.clients.a]\nsecret = "{"x" * 16}"',
        ["auth.clients.a.secret", "auth.issuer"],
    ),
    "unknown scope": (
        '[auth.clients.a]\nsecret = "0123456789abcdef"\nscopes = ["all"]', ["all"]),
    "rule without lob": ('[[routing]]\nlob = "sales"\nwhen = {}', ["lob.sales"]),
    "rule with unknown fact": (
        '[lob.a]\n[[routing]]\nlob = "a"\nwhen = { color = "x" }', ["color"]),
    "lob name": ('[lob."../x"]\nbucket = "abc"', ["lob.../x"]),
    "bucket name": ('[lob.a]\nbucket = "../abc"', ["lob.a.bucket"]),
    "bucket taken": ('[lob.a]\nbucket = "landing"', ["lob.a.bucket"]),
    "bucket twice": ('[lob.a]\nbucket = "lob-b"\n[lob.b]', ["lob.b.bucket"]),
    "negative bound": ("[limits]\nworkers = -1", ["limits.workers"]),
    "zero bound": ("[limits]\nuploads_at_once_max = 0", ["limits.uploads_at_once_max"]),
    "event above batch": ("[limits]\nevent_bytes_max = 9000000", ["limits.event_bytes_max"]),
    "port": ("[server]\nport = 70000", ["server.port"]),
    "clock stands": ("[clock]\nscale = 0.0", ["clock.scale"]),
    "clock without origin": ("[clock]\nscale = 2.0", ["clock.origin_ms"]),
    "clock without real origin": ("[clock]\norigin_ms = 5", ["clock.real_origin_s"]),
    "login without url": ('[ocp]\nusername = "a"', ["ocp.username", "ocp.api_url"]),
    "url without login": ('[ocp]\napi_url = "https://o"', ["ocp.username"]),
    "user without password": (
        '[ocp]\napi_url = "https://o"\nusername = "a"', ["ocp.password"]),
    "user and token": (
        '[ocp]\napi_url = "https://o"\nusername = "a"\npassword = "b"\npersonal_access_token = "c"',
        ["ocp.personal_access_token"],
    ),
    "not toml": ("[server", ["not TOML"]),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_or_half_set_is_refused_by_its_name(name: str, tmp_path: Path) -> None:
    text, keys = REFUSED[name]
    with pytest.raises(Invalid) as refused:
        config.load(write(tmp_path, text), {})
    for key in keys:
        assert key in refused.value.text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("OCP_INGEST_SERVER__PROT", "1"),
        ("OCP_INGEST_SERVER__PORT__X", "1"),
        ("OCP_INGEST_PORT", "1"),
        ("OCP_INGEST_SERVER__PORT", "many"),
        ("OCP_INGEST_", "1"),
    ],
)
def test_a_wrong_variable_is_refused_by_its_name(name: str, text: str) -> None:
    with pytest.raises(Invalid) as refused:
        config.load(Path("/dev/null"), {name: text})
    assert name in refused.value.text


def test_a_missing_file_that_was_named_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"nowhere\.toml"):
        config.load(tmp_path / "nowhere.toml", {})


def test_beyond_this_machine_is_allowed_with_real_authentication() -> None:
    auth = {"issuer": "https://i.example", "jwks_url": "https://i.example/keys"}
    found = config.parse({"server": {"host": "0.0.0.0"}, "auth": auth})
    assert found.server.host == "0.0.0.0"


def test_settings_hold_what_the_pipeline_needs(tmp_path: Path) -> None:
    client = {"secret": "0123456789abcdef", "ocp_group": "g"}
    parsed = config.parse({
        "data": {"dir": str(tmp_path / "d")}, "stage2": {"grace_ms": 5},
        "auth": {"clients": {"ocp": client, "other": {"secret": "0123456789abcdef"}}},
        "lob": {"sales": {}}, "routing": [{"lob": "sales", "when": {"channel": "x"}}],
    })  # fmt: skip
    made = config.settings(parsed)
    assert made.policy.stage2.grace_ms == 5
    assert made.client_groups == {"ocp": "g"}
    assert made.buckets() == {"sales": "lob-sales", "unassigned": "lob-unassigned"}


def test_the_key_for_numbers_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    parsed = config.parse({"data": {"dir": str(tmp_path / "d")}})
    first = config.settings(parsed).number_key
    assert len(first) >= 32
    assert config.settings(parsed).number_key == first
    [path] = (tmp_path / "d").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600


def test_no_secret_is_in_the_text_of_a_configuration() -> None:
    secrets = {"a" * 16: "client", "b-pass": "ocp"}
    parsed = config.parse({
        "auth": {"clients": {"c": {"secret": "a" * 16}}},
        "ocp": {"api_url": "https://o", "username": "u", "password": "b-pass"},
    })  # fmt: skip
    assert not any(secret in repr(parsed) for secret in secrets)


# -- secrets that come later ---------------------------------------------------------------------

LATER = AWS + 'secret_arn = "arn"\n[ocp]\napi_url = "https://o"\nusername = "u"\n'


def test_with_a_secret_named_only_the_whole_is_checked(tmp_path: Path) -> None:
    half = config.load(write(tmp_path, LATER), {})
    with pytest.raises(Invalid, match=r"`ocp\.password`"):
        config.with_secrets(half, {})
    whole = config.with_secrets(half, {"ocp.password": "p-secret", "number_key": "k" * 32})
    assert (whole.ocp.username, whole.ocp.password) == ("u", "p-secret")
    with pytest.raises(Invalid, match=r"`ocp\.password`"):
        bootstrap.embedded(half)


def test_types_and_names_are_checked_before_the_secret_is_known(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="prot"):
        config.load(write(tmp_path, LATER + "[server]\nprot = 1"), {})


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("ocp.pasword", "p-secret", "pasword"),
        ("password", "p-secret", "`password`"),
        ("ocp.password.x", "p-secret", "ocp.password.x"),
        ("ocp.password", {"p-secret": "p-secret"}, "ocp.password"),
        ("ocp.password", 7, "ocp.password"),
        ("server.port", "p-secret", "server.port"),
        ("log.level", "p-secret", "log.level"),
        ("auth.clients.a.secret", "p-secret", "auth.clients.a.secret"),
    ],
)
def test_a_wrong_secret_is_refused_by_its_key_and_never_shown(
    key: str, value: Any, named: str, tmp_path: Path
) -> None:
    half = config.load(write(tmp_path, LATER), {})
    with pytest.raises(Invalid) as refused:
        config.with_secrets(half, {"ocp.password": "p-secret", key: value})
    assert named in refused.value.text
    assert "p-secret" not in refused.value.text


def test_laying_no_secret_over_a_configuration_changes_nothing() -> None:
    tree = tomllib.loads(EXAMPLE.read_text("utf-8").replace("#| ", "").replace("#|", ""))
    parsed = config.parse(tree)
    assert parsed.lob
    assert parsed.routing
    assert config.with_secrets(parsed, {}) == parsed


def test_the_runtime_is_no_key() -> None:
    assert config.load(Path("/dev/null"), {"OCP_INGEST_RUNTIME": "aws"}) == Config()
