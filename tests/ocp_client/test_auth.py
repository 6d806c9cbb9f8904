"""Laws of the login: always one good token, got by as few requests as possible, shown nowhere."""

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from ocp_ingest.adapters.ocp.auth import REFUSED_S, PasswordLogin
from ocp_ingest.adapters.ocp.settings import one_time_password
from ocp_ingest.core.export_job import Cancelled, Created, RateLimited, Refused, Status, Unavailable
from tests.ocp_client.kit import (
    GROUP,
    HOUR,
    PASSWORD,
    PAT,
    T0,
    Bench,
    Content,
    Reply,
    bench,
    fetch_one,
    pattern,
    reply,
    settings,
)


async def create(at: Bench) -> object:
    return await at.client.create(GROUP, T0, T0 + HOUR, ("audio",))


async def status(at: Bench) -> object:
    return await at.client.status(GROUP, "x1", 1)


async def test_the_password_grant_sends_what_ocp_documents() -> None:
    async with bench(otp="123456") as at:
        assert isinstance(await create(at), Created)
        [asked] = at.vendor.asked("token")
    assert asked.path == "/auth/realms/master/protocol/openid-connect/token"
    assert asked.form == {
        "client_id": "ocp",
        "grant_type": "password",
        "username": "exporter",
        "password": PASSWORD,
        "otp": "123456",
    }


async def test_a_token_is_used_until_shortly_before_its_end_then_refreshed() -> None:
    async with bench() as at:
        await status(at)
        at.times.at_s += 269
        await status(at)
        assert len(at.vendor.asked("token")) == 1
        at.times.at_s += 2  # 271 s of 300: less than 30 s are left
        await status(at)
        grants = [one.form["grant_type"] for one in at.vendor.asked("token")]
    assert grants == ["password", "refresh_token"]


@pytest.mark.parametrize("expires_in", [20, None, "soon", -5, True, 10**12])
async def test_short_or_senseless_lifetimes_do_not_mean_a_login_for_each_request(
    expires_in: object,
) -> None:
    async with bench() as at:
        at.vendor.expires_in = expires_in
        for _ in range(5):
            await status(at)
        assert len(at.vendor.asked("token")) == 1


async def test_a_hundred_requests_at_once_log_in_once() -> None:
    async with bench() as at:
        await asyncio.gather(*(status(at) for _ in range(100)))
        assert len(at.vendor.asked("token")) == 1
        at.vendor.tokens.clear()  # revoked: a hundred 401s
        seen = await asyncio.gather(*(status(at) for _ in range(100)))
        assert all(isinstance(one, Status) for one in seen)
        assert len(at.vendor.asked("token")) == 2


async def test_a_401_is_healed_once_and_a_second_is_told() -> None:
    async with bench() as at:
        await status(at)
        at.vendor.tokens.clear()
        assert isinstance(await create(at), Created)
        at.vendor.always["cancel"] = reply(401, {"message": "no"})
        seen = await at.client.cancel(GROUP, "x1")
        assert isinstance(seen, Refused)
        assert seen.status == 401
        assert len(at.vendor.asked("cancel")) == 2


async def test_a_failed_refresh_falls_back_to_the_password() -> None:
    async with bench() as at:
        for failure in (reply(400, {"error": "invalid_grant"}), Reply(503), Reply(drop=True)):
            await status(at)
            at.vendor.script["token"].append(failure)
            at.vendor.tokens.clear()
            assert isinstance(await status(at), Status)
        grants = [one.form["grant_type"] for one in at.vendor.asked("token")]
    assert grants == ["password", *["refresh_token", "password"] * 3]


async def test_a_token_that_ends_inside_a_download_is_renewed_and_the_download_goes_on() -> None:
    data = pattern(200_000)
    async with bench() as at:
        vendor, served = at.vendor, Content(data, cuts=(90_000,))
        await status(at)

        vendor.always["download"] = served
        vendor.script["download"].extend([served, Reply(401)])
        assert await fetch_one(at.client) == data
        tokens = [one.headers["Authorization"] for one in vendor.asked("download")]
    assert tokens == ["Bearer access-1", "Bearer access-1", "Bearer access-2"]


async def test_a_personal_token_goes_in_its_own_header_without_a_login() -> None:
    async with bench(personal_access_token=PAT) as at:
        assert isinstance(await create(at), Created)
        [asked] = at.vendor.seen
        assert asked.headers["X-OCP-PERSONAL-ACCESS-TOKEN"] == PAT
        assert "Authorization" not in asked.headers


async def test_a_refused_personal_token_is_refused_at_once() -> None:
    async with bench(personal_access_token="old") as at:
        seen = await status(at)
        assert isinstance(seen, Refused)
        assert seen.status == 401
        assert seen.poll_n == 1
        assert "personal" in seen.message
        assert len(at.vendor.seen) == 1


async def test_secrets_may_be_in_files(tmp_path: Path) -> None:
    (tmp_path / "password").write_text(PASSWORD + "\n")
    (tmp_path / "pat").write_text(PAT + "\n")
    async with bench(password="", password_file=str(tmp_path / "password")) as at:
        assert isinstance(await status(at), Status)
    file = str(tmp_path / "pat")
    async with bench(personal_access_token="", personal_access_token_file=file) as at:
        assert isinstance(await status(at), Status)


async def test_leaving_logs_out() -> None:
    async with bench() as at:
        await status(at)
        vendor = at.vendor
    [asked] = vendor.asked("logout")
    assert asked.form == {"client_id": "ocp", "refresh_token": "refresh-1"}
    assert vendor.refresh_tokens == set()


@pytest.mark.parametrize("answer", [Reply(500), Reply(drop=True)])
async def test_a_failed_logout_stops_nobody(answer: Reply) -> None:
    async with bench() as at:
        await status(at)
        at.vendor.always["logout"] = answer


class TestRefusals:
    """What the login endpoint says, as an operator must hear it."""

    @pytest.mark.parametrize(
        ("answer", "word"),
        [
            (reply(401, {"error_description": "Invalid user credentials"}), "ocp.password"),
            (reply(400, {"error_description": "Account disabled"}), "Account disabled"),
            (reply(404, {"error": "Realm does not exist"}), "ocp.realm"),
            (Reply(403, b"<html>nginx</html>"), "ocp.username"),
            (Reply(302, b"", {"Location": "/elsewhere"}), "ocp.auth_url"),
        ],
    )
    async def test_it_is_a_401_with_a_sentence_and_not_an_answer_of_the_export_api(
        self, answer: Reply, word: str
    ) -> None:
        async with bench() as at:
            at.vendor.always["token"] = answer
            for seen in (await create(at), await status(at), await at.client.files(GROUP, "x1")):
                assert isinstance(seen, Refused)
                assert seen.status == 401
                assert word in seen.message
                assert "nginx" not in seen.message

    async def test_it_is_remembered_so_that_the_account_is_not_locked(self) -> None:
        async with bench() as at:
            at.vendor.script["token"].append(reply(401, {"error": "invalid_grant"}))
            for _ in range(20):
                assert isinstance(await create(at), Refused)
            assert len(at.vendor.asked("token")) == 1
            at.times.at_s += REFUSED_S + 1
            assert isinstance(await create(at), Created)

    @pytest.mark.parametrize(
        "answer",
        [Reply(503), Reply(200, b"<html>"), reply(200, {"access_token": 7}), Reply(drop=True),
         reply(200, []), reply(200, {"access_token": "a\nb"}), Reply(wait_s=0.6)],
    )  # fmt: skip
    async def test_without_a_login_the_creation_surely_never_left(self, answer: Reply) -> None:
        async with bench(answer_s_max=0.3) as at:
            at.vendor.always["token"] = answer
            seen = await create(at)
            assert isinstance(seen, Unavailable)
            assert not seen.sent
            assert seen.kind.startswith("login")
            assert at.vendor.asked("create") == []

    async def test_its_rate_limit_is_told_and_kept(self) -> None:
        async with bench() as at:
            at.vendor.script["token"].append(Reply(429, b"", {"Retry-After": "30"}))
            assert await create(at) == RateLimited(30.0)
            assert isinstance(await create(at), RateLimited)
            at.times.at_s += 31
            assert isinstance(await create(at), Created)

    async def test_a_brief_outage_is_over_for_the_next_try_of_a_get(self) -> None:
        async with bench() as at:
            at.vendor.script["token"].append(Reply(503))
            at.times.at_s += 0
            first = await create(at)
            at.times.at_s += 1
            assert isinstance(first, Unavailable)
            assert isinstance(await create(at), Created)


class TestSecondFactor:
    """A code is good for one login."""

    SECRET = "JBSWY3DPEHPK3PXP"

    async def test_the_code_is_that_of_now(self) -> None:
        async with bench(otp_secret=self.SECRET) as at:
            await status(at)
            expected = one_time_password(settings("x", otp_secret=self.SECRET), at.times.wall_s())
            assert at.vendor.asked("token")[0].form["otp"] == expected

    async def test_a_second_login_waits_for_the_next_code(self) -> None:
        async with bench(otp_secret=self.SECRET) as at:
            for _ in range(2):
                await status(at)
                at.vendor.tokens.clear()
                at.vendor.refresh_tokens.clear()
            await status(at)
            codes = [one.form["otp"] for one in at.vendor.asked("token") if "otp" in one.form]
        assert len(codes) == 3
        assert len(set(codes)) == 3
        assert all(slept <= 30 for slept in at.times.slept)


class TestSecrecy:
    """Tokens and passwords are for OCP's eyes."""

    async def test_no_log_repr_or_message_has_them(self) -> None:
        with capture_logs() as logs:
            async with bench() as at:
                await status(at)
                echo = "refused: Bearer access-1 with s3cret-pass of +34600111222333"
                at.vendor.always["create"] = reply(400, {"message": echo})
                seen = await create(at)
                at.vendor.always["token"] = reply(401, {"error_description": PASSWORD})
                at.vendor.tokens.clear()
                denied = await at.client.cancel(GROUP, "x1")
                held = repr(vars(at.client)) + repr(at.client._login)
        text = repr((seen, denied, logs, held))
        for secret in ("access-1", "refresh-1", PASSWORD, "600111222333"):
            assert secret not in text

    def test_a_login_held_in_memory_shows_nothing(self) -> None:
        held = settings("https://x", personal_access_token=PAT)
        assert PAT not in repr(held)
        assert PASSWORD not in repr(settings("https://x"))
        assert PASSWORD not in str(settings("https://x"))


async def test_one_cancelled_waiter_does_not_spoil_the_login_of_the_others() -> None:
    async with bench() as at:
        at.vendor.script["token"].append(Reply(503, wait_s=0.3))
        first = asyncio.create_task(status(at))
        await asyncio.sleep(0.1)
        others = [asyncio.create_task(status(at)) for _ in range(3)]
        await asyncio.sleep(0)
        first.cancel()
        assert all(isinstance(one, Status) for one in await asyncio.gather(*others))
        assert isinstance(at.client._login, PasswordLogin)
        assert isinstance(await at.client.cancel(GROUP, "x1"), Cancelled)
