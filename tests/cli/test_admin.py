"""`ocp-ingest token | replay | doctor | serve`, and what it costs to ask for help."""

from __future__ import annotations

import socket
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import pytest

from ocp_ingest import config as config_reader
from ocp_ingest.adapters.tokens.setup import authority
from ocp_ingest.bootstrap import Embedded
from ocp_ingest.core.errors import Denied
from ocp_ingest.core.events import Event
from tests.cli.kit import OCP, Shop, run
from tests.story.kit import command, hiss

# -- help ----------------------------------------------------------------------------------------

COMMANDS = (
    (), ("serve",), ("work",), ("smoke",), ("demo",), ("token",), ("rotate-key",), ("replay",),
    ("doctor",),
    ("calls",), ("calls", "list"),
    ("calls", "show"), ("calls", "explain"), ("calls", "retry"), ("calls", "reopen"),
    ("calls", "release"), ("calls", "mark-absent"), ("reconcile",), ("reconcile", "run"),
    ("reconcile", "status"), ("reconcile", "census"),
)  # fmt: skip
HEAVY = (
    "aiohttp", "apsw", "cryptography", "granian", "joserfc", "litestar", "msgspec", "multipart",
    "numpy", "prometheus_client", "soxr", "stamina", "structlog", "uvloop",
)  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(name: tuple[str, ...]) -> None:
    answer = run(*name, "--help")
    assert answer.code == 0
    assert "Usage:" in answer.out
    described = [line.strip() for line in answer.out.splitlines() if line.strip()]
    assert any(line.endswith(".") for line in described), "a sentence says what it does"


def test_help_imports_nothing_that_takes_time() -> None:
    code = (
        "import sys\n"
        "sys.argv = ['ocp-ingest', '--help']\n"
        "from ocp_ingest.entrypoints.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print('HEAVY', sorted(set({HEAVY!r}) & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "HEAVY []"


@pytest.mark.parametrize("wrong", [("fly",), ("calls", "fly"), ("--fly",), ("token", "--ttl", "0")])
def test_what_is_no_command_is_a_usage_error(wrong: tuple[str, ...]) -> None:
    assert run(*wrong).code == 2


def test_the_exit_code_leaves_the_process(tmp_path: Path) -> None:
    """The console script, once, as a process: what the other tests see is what a shell gets."""
    shop = Shop(tmp_path)
    shop.create()
    done = command("calls", "show", "nobody", "--config", str(shop.config), cwd=tmp_path)
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr == "ocp-ingest: There is no call nobody here.\n"


# -- token ---------------------------------------------------------------------------------------


async def _check(shop: Shop, token: str) -> tuple[str, ...]:
    config = config_reader.load(shop.config, environ={})
    caller = await authority(config.auth, shop.data_dir).checker.check(token.encode())
    return tuple(sorted(caller.scopes))


async def test_a_token_is_good_for_everything_here_and_nowhere_else(tmp_path: Path) -> None:
    here, elsewhere = Shop(tmp_path / "here"), Shop(tmp_path / "elsewhere")
    answer = here.run("token")
    assert answer.code == 0
    token = answer.out.strip()
    assert answer.out.count("\n") == 1
    assert await _check(here, token) == ("ingest", "operate", "read")
    with pytest.raises(Denied):
        await _check(elsewhere, token)


def test_no_token_is_printed_where_somebody_else_issues_them(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    text = shop.config.read_text()
    outside = '[auth]\nissuer = "https://id.example"\njwks_url = "https://id.example/jwks"\n'
    shop.config.write_text(
        text.replace('[auth.clients.ocp]\nsecret = "correct-horse-battery-staple"\n', outside)
    )
    answer = shop.run("token")
    assert answer.code == 2
    assert "id.example" in answer.err
    assert answer.out == ""


# -- rotate-key ----------------------------------------------------------------------------------


def test_a_new_key_leaves_what_older_ones_encrypted_readable(shop: Shop) -> None:
    first = shop.stored()
    answer = shop.run("rotate-key")
    assert (answer.code, "restart the server" in answer.out) == (0, True), answer.err
    second = shop.stored()
    for talk in (first, second):
        journal = shop.within(partial(_journal, call_id=talk.call_id))
        assert any(event.raw for event in journal)
    assert shop.run("doctor").code == 0


def test_no_key_is_made_in_place_of_one_that_is_lost(shop: Shop) -> None:
    shop.stored()
    (shop.data_dir / "vault.key").unlink()
    answer = shop.run("rotate-key")
    assert (answer.code, "put it back" in answer.err) == (3, True)
    assert not (shop.data_dir / "vault.key").exists()
    answer = shop.run("replay")
    assert (answer.code, "put back vault.key" in answer.err) == (1, True)


def test_a_key_needs_a_store(shop: Shop) -> None:
    answer = shop.run("rotate-key")
    assert (answer.code, "--data-dir" in answer.err) == (3, True)


async def _journal(opened: Embedded, call_id: str) -> list[Event]:
    return await opened.world.calls.journal(call_id)


# -- replay --------------------------------------------------------------------------------------


def _by_hand(shop: Shop, sql: str, *values: Any) -> None:
    connection = apsw.Connection(str(shop.data_dir / "ocp.sqlite3"))
    connection.execute(sql, values)
    assert connection.changes() > 0
    connection.close()


def _counters(shop: Shop) -> list[Any]:
    connection = apsw.Connection(str(shop.data_dir / "ocp.sqlite3"))
    found = connection.execute("SELECT * FROM day_count WHERE n != 0 ORDER BY 1, 2, 3").fetchall()
    connection.close()
    return found


DAMAGE = {
    "a flag that was never set": "UPDATE call SET record=(SELECT record FROM call LIMIT 1 OFFSET 1)"
    " WHERE call_id=?",
    "no record at all": "DELETE FROM call WHERE call_id=?",
    "a column that lies": "UPDATE call SET stage='call_started', outcome='lost' WHERE call_id=?",
    "no open work": "UPDATE call SET pend_at=1 WHERE call_id=?",
    "no look-up": "DELETE FROM lookup WHERE call_id=?",
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=list(DAMAGE))
def test_replay_heals_a_record_that_was_damaged_by_hand(shop: Shop, damage: str) -> None:
    stored, _ = shop.stored(), shop.announced()
    before = shop.run("calls", "show", stored.call_id, "--json").json()
    listed = shop.run("calls", "list", "--json").lines()
    counted = _counters(shop)
    _by_hand(shop, damage, stored.call_id)
    answer = shop.run("replay", "--json")
    assert answer.code == 0, answer.err
    said = answer.json()
    assert (said["calls"], said["healed"]) == (2, 1)
    assert shop.run("calls", "show", stored.call_id, "--json").json() == before
    assert shop.run("calls", "list", "--json").lines() == listed
    assert _counters(shop) == counted
    again = {"calls": 2, "healed": 0, "counters": 0}
    assert shop.run("replay", "--json").json() == again
    assert shop.run("doctor").code == 0


def test_replay_heals_a_record_that_can_not_even_be_read(shop: Shop) -> None:
    stored = shop.stored()
    _by_hand(shop, "UPDATE call SET record=x'c1ffee' WHERE call_id=?", stored.call_id)
    # One call is read from its journal; a page of them says what to do.
    assert shop.run("calls", "show", stored.call_id).code == 0
    listed = shop.run("calls", "list")
    assert (listed.code, "replay" in listed.err) == (1, True)
    assert shop.run("replay", "--json").json() == {
        "calls": 1, "healed": 1, "counters": 0,
    }  # fmt: skip
    assert shop.run("calls", "show", stored.call_id).code == 0


def test_replay_of_an_empty_store_says_so_in_words(shop: Shop) -> None:
    shop.create()
    assert shop.run("replay").out.startswith("0 calls replayed")


# -- doctor --------------------------------------------------------------------------------------


def test_ocp_is_probed_only_when_asked(tmp_path: Path) -> None:
    shop = Shop(tmp_path, OCP)
    shop.create()
    assert not [f for f in _findings(shop) if f["what"].startswith("ocp ")]
    answer = shop.run("doctor", "--probe-ocp", "--json")
    [said] = [f for f in answer.json() if f["what"].startswith("ocp ")]
    assert (answer.code, said["result"]) == (1, "fail")
    assert "`ocp.auth_url`" in said["text"], "nobody listens there"


def test_without_an_export_api_there_is_nothing_to_probe(shop: Shop) -> None:
    shop.create()
    answer = shop.run("doctor", "--probe-ocp", "--json")
    assert answer.code == 0
    assert "nothing to probe" in answer.out


def _findings(shop: Shop, code: int = 0) -> list[dict[str, str]]:
    answer = shop.run("doctor", "--json")
    assert answer.code == code, answer.out
    found: list[dict[str, str]] = answer.json()
    assert all(f.keys() == {"result", "what", "text"} for f in found)
    assert {f["result"] for f in found} <= {"ok", "look", "fail"}
    assert any(f["result"] == "fail" for f in found) == (code == 1)
    return found


def _texts(found: list[dict[str, str]], what: str, result: str) -> list[str]:
    return [f["text"] for f in found if (f["what"], f["result"]) == (what, result)]


def test_a_healthy_store_has_nothing_that_fails(tmp_path: Path) -> None:
    shop = Shop(tmp_path, OCP)
    shop.stored()
    shop.announced()
    found = _findings(shop)
    assert {f["what"] for f in found if f["result"] == "ok"} >= {
        "configuration", "disk", "conservation",
    }  # fmt: skip
    [counts] = _texts(found, "conservation", "ok")
    assert "started 2" in counts
    assert "stored 1" in counts
    assert "in_flight 1" in counts
    text = shop.run("doctor").out
    assert all(f["text"] in text for f in found)


def test_types_of_messages_that_we_do_not_know_are_counted_and_shown(shop: Shop) -> None:
    talk = shop.talk()
    shop.events(talk.start(), talk.start(message_type="dialog_mood"))
    shop.events(talk.start(message_type="dialog_mood", id=f"{talk.call_id}x"))
    shop.events({"message_type": "vb_weather", "time": talk.start_ms})
    texts = _texts(_findings(shop), "unknown message type", "look")
    assert texts == ["dialog_mood: 2 kept", "vb_weather: 1 kept"]
    # … and are no error: the call goes on as if they had not come.
    assert shop.run("calls", "show", talk.call_id, "--json").json()["stage"] == "call_started"


def test_an_object_that_is_gone_from_its_bucket_breaks_conservation(shop: Shop) -> None:
    talk = shop.stored()
    [recording] = shop.run("calls", "show", talk.call_id, "--json").json()["recordings"]
    (shop.data_dir / "recordings" / recording["uri"]).unlink()
    texts = _texts(_findings(shop, code=1), "conservation", "fail")
    assert any("1 calls say they are stored, the buckets hold 0" in text for text in texts)


def test_an_object_that_nobody_speaks_of_breaks_conservation(shop: Shop) -> None:
    talk = shop.stored()
    [recording] = shop.run("calls", "show", talk.call_id, "--json").json()["recordings"]
    beside = (shop.data_dir / "recordings" / recording["uri"]).parents[1] / "stray" / "stray.wav"
    beside.parent.mkdir()
    beside.write_bytes(b"RIFF")
    _findings(shop, code=1)


@pytest.mark.parametrize("secret", ["vault.key", "number.key", "token-issuer.pem"])
def test_a_secret_that_others_may_read_fails(shop: Shop, secret: str) -> None:
    shop.create()
    shop.run("token")
    (shop.data_dir / secret).chmod(0o644)
    if secret == "vault.key":  # then not even the store opens
        answer = shop.run("doctor")
        assert answer.code == 1
        assert secret in answer.err
        return
    [text] = _texts(_findings(shop, code=1), "keys", "fail")
    assert secret in text


def test_what_is_not_configured_and_what_went_wrong_deserves_a_look(shop: Shop) -> None:
    talk = shop.quarantined()
    other = shop.talk()
    shop.events(other.start(), other.end())
    shop.upload(other.name, hiss(shop.rng, other.duration_ms))
    found = _findings(shop)
    assert _texts(found, "ocp", "look")
    unassigned = shop.talk(app="nobodys-voice")
    shop.events(unassigned.start(), unassigned.end())
    shop.upload(unassigned.name, hiss(shop.rng, unassigned.duration_ms))
    assert _texts(_findings(shop), "incident unassigned", "look")
    view = shop.run("calls", "show", unassigned.call_id, "--json").json()
    assert view["line_of_business"] == "unassigned"
    assert talk.call_id != unassigned.call_id


# -- serve ---------------------------------------------------------------------------------------


def test_serve_refuses_a_half_set_configuration_by_the_name_of_its_key(tmp_path: Path) -> None:
    shop = Shop(tmp_path, '[ocp]\napi_url = "http://127.0.0.1:9"\n')
    answer = shop.run("serve")
    assert answer.code == 2
    assert "ocp." in answer.err


def test_serve_listens_to_nobody_beyond_this_machine_with_its_own_issuer(shop: Shop) -> None:
    answer = shop.run("serve", "--host", "0.0.0.0")
    assert answer.code == 2
    assert "server.host" in answer.err


def test_serve_says_when_its_port_is_taken(shop: Shop) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = command(
            "serve", "--config", str(shop.config), "--port", port, cwd=shop.data_dir.parent
        )
    assert done.returncode in (1, 2)
    assert port in done.stderr
    assert "Traceback" not in done.stderr
