"""The small pure parts: fault dice, retry rules, logins, rate limit, clock, settings."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocp_sim import config, ids
from ocp_sim.clock import ScaledClock
from ocp_sim.export_faults import KNOWN, FaultDice
from ocp_sim.rate import TokenBucket
from ocp_sim.retry import Answer, Fate, Step, next_step
from ocp_sim.tokens import LoginError, Logins, totp

# ---- fault dice -------------------------------------------------------------------------------


def dice(*script: config.Scripted, **chance: float) -> FaultDice:
    shares = {key.replace("__", "."): share for key, share in chance.items()}
    return FaultDice(config.ExportFaults(script=script, chance=shares), ids.chance(1))


def test_a_scripted_fault_comes_after_skipped_requests_and_as_often_as_told() -> None:
    rolled = dice(config.Scripted(op="create", fault="conflict", skip=2, times=2))
    drawn = [rolled.draw("create") for _ in range(6)]
    assert drawn == [None, None, "conflict", "conflict", None, None]
    assert rolled.fired == {"create.conflict": 2}


def test_a_scripted_fault_meets_only_its_operation_and_group() -> None:
    rolled = dice(config.Scripted(op="create", fault="stuck", group="a"))
    assert rolled.draw("status", "a") is None
    assert rolled.draw("create", "b") is None
    assert rolled.draw("create", "a") == "stuck"


def test_any_means_every_operation_but_the_login() -> None:
    rolled = dice(config.Scripted(op="any", fault="server_error", times=2))
    assert rolled.draw("token") is None
    assert rolled.draw("files", "a") == rolled.draw("download", "a") == "server_error"


def test_two_faults_for_one_request_come_one_after_the_other() -> None:
    rolled = dice(
        config.Scripted(op="create", fault="conflict"), config.Scripted(op="create", fault="stuck")
    )
    assert [rolled.draw("create") for _ in range(3)] == ["conflict", "stuck", None]


def test_chance_meets_its_share() -> None:
    rolled = dice(download__cut=0.3)
    hits = sum(rolled.draw("download") == "cut" for _ in range(2000))
    assert 500 < hits < 700
    assert rolled.draw("files") is None


@pytest.mark.parametrize("key", ["create.cut", "fly.cut", "download", "token.unauthorized"])
def test_an_unknown_fault_is_refused_by_name(key: str) -> None:
    with pytest.raises(ValueError, match="no such export fault"):
        FaultDice(config.ExportFaults(script=(), chance={key: 0.1}), ids.chance(1))
    op, _, fault = key.partition(".")
    with pytest.raises(ValueError, match="no such export fault"):
        FaultDice(config.ExportFaults(script=(config.Scripted(op=op, fault=fault),)), ids.chance(1))


def test_every_known_fault_is_accepted_and_the_bad_day_is_among_them() -> None:
    FaultDice(config.ExportFaults(), ids.chance(1))
    chance = {f"{op}.{fault}": 0.1 for op, known in KNOWN.items() for fault in known}
    FaultDice(config.ExportFaults(chance=chance), ids.chance(1))


# ---- retries ----------------------------------------------------------------------------------

PUSH = config.Push(retry_window_real_s_min=0)


def judged(
    status: int | None, tries: int = 1, tried_for_ms: int = 0, retry_after_s: float | None = None
) -> Step:
    answer = Answer(status, retry_after_s)
    return next_step(answer, tries, tried_for_ms, PUSH, ms_per_real_s=1000, jitter=1)


@pytest.mark.parametrize(("status", "fate"), [
    (200, Fate.DELIVERED), (202, Fate.DELIVERED), (204, Fate.DELIVERED),
    (None, Fate.AGAIN), (500, Fate.AGAIN), (503, Fate.AGAIN), (504, Fate.AGAIN),
    (408, Fate.AGAIN), (429, Fate.AGAIN), (401, Fate.AGAIN), (403, Fate.AGAIN),
    (400, Fate.REFUSED), (404, Fate.REFUSED), (409, Fate.REFUSED), (413, Fate.REFUSED),
    (422, Fate.REFUSED), (302, Fate.REFUSED),
])  # fmt: skip
def test_the_table_of_answers(status: int | None, fate: Fate) -> None:
    assert judged(status).fate is fate


def test_a_refused_token_is_renewed_at_once_and_then_with_pauses() -> None:
    assert judged(401, tries=1) == Step(Fate.AGAIN, 0)
    assert judged(401, tries=2).pause_ms > 0
    assert judged(403, tries=2).fate is Fate.REFUSED


def test_after_24_hours_of_domain_time_it_gives_up() -> None:
    day_ms = 24 * 3_600_000
    assert judged(503, tried_for_ms=day_ms - 11_000).fate is Fate.AGAIN
    assert judged(503, tried_for_ms=day_ms).fate is Fate.GIVEN_UP


def test_a_fast_clock_still_leaves_real_time_to_come_back() -> None:
    fast = config.Push(retry_window_real_s_min=30)
    step = next_step(Answer(503), 5, 24 * 3_600_000, fast, ms_per_real_s=1e8, jitter=1)
    assert step.fate is Fate.AGAIN
    assert step.pause_ms >= 0.05 * 1e8


def test_retry_after_is_real_time_and_the_least_pause() -> None:
    assert judged(429, retry_after_s=7200).pause_ms == 7_200_000
    assert judged(503, tries=20, retry_after_s=1).pause_ms == 900_000


@given(st.integers(1, 500))
def test_pauses_grow_to_a_bound(tries: int) -> None:
    assert judged(500, tries).pause_ms <= judged(500, tries + 1).pause_ms <= 900_000


# ---- logins -----------------------------------------------------------------------------------

USER = config.User(username="u", password="p", groups=("g",))
PASSWORD = {"grant_type": "password", "client_id": "ocp", "username": "u", "password": "p"}


def logins(*users: config.User, **given: object) -> Logins:
    numbers = iter(range(1000))
    settings = msgspec.structs.replace(config.Auth(users=users or (USER,)), **given)
    return Logins(settings, lambda: f"secret-{next(numbers)}")


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def refusal(held: Logins, form: dict[str, str], now_s: float = 0) -> tuple[int, str]:
    with pytest.raises(LoginError) as caught:
        held.token(form, now_s)
    return caught.value.status, caught.value.error


def test_a_password_gives_a_token_that_is_good_for_its_life() -> None:
    held = logins()
    given = held.token(PASSWORD, 0)
    assert given["expires_in"] == 300
    assert held.groups(bearer(given["access_token"]), 299.9) == ("g",)
    with pytest.raises(LoginError):
        held.groups(bearer(given["access_token"]), 300)


@pytest.mark.parametrize(("change", "refused"), [
    ({"password": "x"}, (401, "invalid_grant")),
    ({"username": "x"}, (401, "invalid_grant")),
    ({"client_id": "x"}, (400, "invalid_client")),
    ({"grant_type": "client_credentials"}, (400, "unsupported_grant_type")),
    ({"grant_type": "refresh_token"}, (400, "invalid_grant")),
])  # fmt: skip
def test_a_wrong_login_is_refused(change: dict[str, str], refused: tuple[int, str]) -> None:
    assert refusal(logins(), PASSWORD | change) == refused


def test_a_refresh_token_works_once_until_it_expires() -> None:
    held = logins()
    first = held.token(PASSWORD, 0)
    form = {"grant_type": "refresh_token", "client_id": "ocp"}
    second = held.token(form | {"refresh_token": first["refresh_token"]}, 1000)
    assert held.groups(bearer(second["access_token"]), 1200) == ("g",)
    assert refusal(held, form | {"refresh_token": first["refresh_token"]}, 1000)[0] == 400
    assert refusal(held, form | {"refresh_token": second["refresh_token"]}, 2800)[0] == 400


def test_a_logout_ends_the_login_with_its_tokens() -> None:
    held = logins()
    mine, other = held.token(PASSWORD, 0), held.token(PASSWORD, 0)
    held.logout({"client_id": "ocp", "refresh_token": mine["refresh_token"]})
    with pytest.raises(LoginError):
        held.groups(bearer(mine["access_token"]), 1)
    assert held.groups(bearer(other["access_token"]), 1) == ("g",)


def test_a_user_with_a_second_factor_must_bring_it() -> None:
    held = logins(msgspec.structs.replace(USER, otp="123456"))
    assert refusal(held, PASSWORD) == (401, "invalid_grant")
    assert held.token(PASSWORD | {"otp": "123456"}, 0)


def test_the_code_of_now_is_taken_and_that_of_long_ago_is_not() -> None:
    held = logins(msgspec.structs.replace(USER, totp_secret="GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"))
    code = totp("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", 59)
    assert code == "287082"  # RFC 6238, appendix B, last six digits
    assert held.token(PASSWORD | {"otp": code}, 59)
    assert refusal(held, PASSWORD | {"otp": code}, 200)[0] == 401


def test_a_personal_token_needs_no_login_and_can_be_out_of_use() -> None:
    headers = {"X-OCP-PERSONAL-ACCESS-TOKEN": "sim-pat"}
    assert "emea-retail" in logins().groups(headers, 0)
    with pytest.raises(LoginError):
        logins(personal_tokens_accepted=False).groups(headers, 0)
    with pytest.raises(LoginError):
        logins().groups({"X-OCP-PERSONAL-ACCESS-TOKEN": "other"}, 0)
    with pytest.raises(LoginError):
        logins().groups({}, 0)


# ---- rate limit, clock, settings --------------------------------------------------------------


@given(st.lists(st.floats(0, 3), min_size=1, max_size=200))
def test_a_bucket_lets_no_more_pass_than_burst_and_rate_allow(gaps: list[float]) -> None:
    bucket, now_s, passed = TokenBucket(2, 5), 100.0, 0
    for gap in gaps:
        now_s += gap
        passed += bucket.take(now_s) == 0
    assert passed <= 5 + 2 * sum(gaps[1:]) + 1e-6


def test_a_refused_request_may_pass_after_the_wait_it_was_told() -> None:
    bucket = TokenBucket(0.25, 1)
    assert bucket.take(0) == 0
    wait_s = bucket.take(0)
    assert wait_s == 4
    assert bucket.take(wait_s) == 0


def test_clocks_given_the_same_numbers_agree_whenever_they_start() -> None:
    real = 1000.0
    one = ScaledClock(5_000_000, 3600, 990, lambda: real)
    assert one.now_ms() == 5_000_000 + 10 * 3_600_000
    assert one.wait_s(one.now_ms() + 3_600_000) == pytest.approx(1)
    assert one.wait_s(0) == 0
    assert one.real_s(7_200_000) == pytest.approx(2)
    with pytest.raises(ValueError, match="above 0"):
        ScaledClock(0, 0, 0)


def test_a_clock_goes_on_from_where_it_was_at_another_pace() -> None:
    real = 1_000.0
    clock = ScaledClock(5_000_000, 3600, 990, lambda: real)
    before_ms = clock.now_ms()
    assert clock.rescale(20) == (before_ms, 1_000.0)
    assert clock.now_ms() == before_ms
    real += 2
    assert clock.now_ms() == before_ms + 40_000
    assert clock.real_s(40_000) == 2
    assert clock.origin_ms == 5_000_000
    with pytest.raises(ValueError, match="above 0"):
        clock.rescale(0)


def test_settings_are_read_from_toml_and_a_wrong_key_is_named(tmp_path: Path) -> None:
    file = tmp_path / "sim.toml"
    file.write_text(
        "calls = 7\n[world.faults]\nlost = 0.5\n[[export_faults.script]]\n"
        'op = "create"\nfault = "stuck"\n[push.audio_forms]\nraw = 1.0\n'
    )
    read = config.read(file)
    assert (read.calls, read.world.faults.lost) == (7, 0.5)
    assert read.export_faults.script == (config.Scripted(op="create", fault="stuck"),)
    assert read.push.audio_forms == {"raw": 1.0}
    file.write_text("[world.faults]\nloss = 0.5\n")
    with pytest.raises(msgspec.ValidationError, match="loss"):
        config.read(file)
    file.write_text("[world.faults]\nlost = 1.5\n")
    with pytest.raises(msgspec.ValidationError, match=r"faults.lost"):
        config.read(file)
