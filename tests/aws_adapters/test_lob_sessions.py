"""A bucket of a line of business is asked under its own role, and nothing else is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from ocp_ingest.adapters.aws.lob_sessions import (
    NAME_CHARS_MAX,
    REFUSED_S_MIN,
    RENEW_BEFORE_S,
    SESSION_S,
    LobSessions,
)
from ocp_ingest.adapters.aws.recording_store import AwsRecordingStore
from ocp_ingest.adapters.aws.session import AGAIN_TRIES
from ocp_ingest.core.errors import Transient
from tests.aws_adapters import s3_kit
from tests.aws_adapters.s3_kit import Faults, FaultyAws

ROLES: Final = {
    "sales": "arn:aws:iam::000000000000:role/lob-sales",
    "claims": "arn:aws:iam::000000000000:role/lob-claims",
}
BODY: Final = b"a recording"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of S3 and STS."""
    with s3_kit.server(tmp_path_factory.mktemp("s3")) as address:
        yield address


@dataclass
class Clock:
    """Seconds that pass when a test says so."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Stage:
    """A store whose lines of business have roles."""

    aws: FaultyAws
    store: AwsRecordingStore
    clock: Clock
    faults: Faults = field(init=False)

    def __post_init__(self) -> None:
        self.faults = self.aws.faults

    def roles_asked(self) -> list[str]:
        """Roles that were assumed, in order."""
        return [p["RoleArn"] for p in self.faults.params if "RoleArn" in p]


@asynccontextmanager
async def staged(url: str) -> AsyncIterator[Stage]:
    """Credentials last SESSION_S from the moment that the test's clock shows."""
    where = s3_kit.settings(url, bucket_roles=ROLES)
    s3_kit.make_buckets(where)
    clock = Clock()
    async with FaultyAws(where) as aws:

        def dated(operation: str, answer: dict[str, Any]) -> None:
            if operation == "assume_role":
                ends = datetime.fromtimestamp(clock.now + SESSION_S, UTC)
                answer["Credentials"]["Expiration"] = ends

        aws.faults.edit = dated
        yield Stage(aws, AwsRecordingStore(aws, sessions=LobSessions(aws, clock)), clock)
    assert aws.clients_open == 0


@pytest.fixture
async def stage(url: str) -> AsyncIterator[Stage]:
    """See `staged`."""
    async with staged(url) as made:
        yield made


async def land(stage: Stage) -> tuple[str, str]:
    upload = await stage.store.begin()
    await upload.write(BODY)
    landed = await upload.commit()
    return landed.key, landed.sha256


async def test_what_is_asked_of_a_bucket_is_asked_by_its_role(stage: Stage) -> None:
    key, sha256 = await land(stage)
    assert set(stage.faults.by) == {""}
    await stage.store.copy_once("landing", key, "sales", "x.wav", sha256)
    await stage.store.put_once("sales", "x.wav.json", b"{}")
    await stage.store.put_once("claims", "x.json", b"{}")
    await stage.store.put_once("quarantine", "x.json", b"{}")
    assert await stage.store.hash("sales", "x.wav") == sha256
    assert len(await stage.store.list("sales")) == 2
    await stage.store.delete("landing", key)
    prefix, identities = stage.aws.settings.bucket_prefix, dict[str, set[str]]()
    for by, params in zip(stage.faults.by, stage.faults.params, strict=True):
        if "Bucket" in params:
            identities.setdefault(params["Bucket"].removeprefix(prefix), set()).add(by)
    assert identities["landing"] == identities["quarantine"] == {""}
    assert len(identities["sales"]) == len(identities["claims"]) == 1
    assert len(identities["sales"] | identities["claims"] | {""}) == 3
    assert stage.roles_asked() == [ROLES["sales"], ROLES["claims"]]


async def test_a_session_says_whose_it_is_and_lasts_an_hour(stage: Stage) -> None:
    await stage.store.put_once("sales", "x", b"1")
    [asked] = [p for p in stage.faults.params if "RoleArn" in p]
    assert asked["RoleSessionName"] == "ocp-ingest-sales"
    assert asked["DurationSeconds"] == SESSION_S
    assert len(f"ocp-ingest-{'x' * 63}"[:NAME_CHARS_MAX]) == NAME_CHARS_MAX


async def test_first_uses_at_once_make_one_session(stage: Stage) -> None:
    await asyncio.gather(*(stage.store.put_once("sales", f"{n}", b"1") for n in range(20)))
    assert stage.roles_asked() == [ROLES["sales"]]


async def test_credentials_are_renewed_before_they_end_and_the_old_client_is_closed(
    stage: Stage,
) -> None:
    await stage.store.put_once("sales", "1", b"1")
    clients = stage.aws.clients_open
    stage.clock.now = SESSION_S - RENEW_BEFORE_S - 1
    await stage.store.put_once("sales", "2", b"2")
    assert len(stage.roles_asked()) == 1
    stage.clock.now += 2
    await asyncio.gather(*(stage.store.put_once("sales", f"a{n}", b"3") for n in range(5)))
    assert len(stage.roles_asked()) == 2
    assert len({by for by in stage.faults.by if by}) == 2
    assert stage.aws.clients_open == clients


async def test_a_request_under_way_keeps_the_client_that_it_began_with(stage: Stage) -> None:
    sessions = LobSessions(stage.aws, stage.clock)
    async with sessions.client("sales") as old:
        stage.clock.now = SESSION_S - 1
        async with sessions.client("sales") as new:
            assert new is not old
        await old.list_objects_v2(Bucket=f"{stage.aws.settings.bucket_prefix}sales")
        clients = stage.aws.clients_open
    assert stage.aws.clients_open == clients - 1


async def test_while_sts_is_down_what_is_left_of_a_session_is_used_up(stage: Stage) -> None:
    await stage.store.put_once("sales", "1", b"1")
    stage.faults.always.add("assume_role")
    stage.clock.now = SESSION_S - 1
    assert await stage.store.put_once("sales", "2", b"2") is True
    stage.clock.now = SESSION_S
    with pytest.raises(Transient):
        await stage.store.put_once("sales", "3", b"3")
    stage.faults.always.clear()
    assert await stage.store.put_once("sales", "3", b"3") is True


async def test_a_role_that_may_not_be_assumed_is_for_later_and_s3_is_not_asked(
    stage: Stage,
) -> None:
    stage.faults.answers["assume_role"] = [("AccessDenied", 403)] * 100
    with pytest.raises(Transient, match="refuses us"):
        await stage.store.put_once("sales", "x", b"1")
    assert set(stage.faults.asked) == {"assume_role"}
    assert len(stage.faults.asked) <= 2 * AGAIN_TRIES
    # Others are not held up by it.
    assert await stage.store.put_once("quarantine", "x", b"1") is True


async def test_revoked_credentials_are_replaced_but_not_again_and_again(stage: Stage) -> None:
    await stage.store.put_once("sales", "1", b"1")
    stage.faults.answers["list_objects_v2"] = [("ExpiredToken", 400)] * 2
    with pytest.raises(Transient):
        await stage.store.list("sales")
    await stage.store.put_once("sales", "2", b"2")
    assert len(stage.roles_asked()) == 1
    stage.clock.now = REFUSED_S_MIN
    with pytest.raises(Transient):
        await stage.store.list("sales")
    assert len(await stage.store.list("sales")) == 2
    assert len(stage.roles_asked()) == 2
