"""Under whose identity a bucket is asked: the role of its line of business, or our own.

A role writes to one bucket only, so a mistake in routing can't put a recording into the bucket of
another line of business. Whatever is asked of a bucket with a role goes through that role, reading
too: the keys that encrypt it are for the role as well. Landing and quarantine are our own.

Credentials are kept in this process until shortly before their end; the client that they were for
is closed when the last request under way has ended. While a role can't be assumed again, what is
left of the old credentials is used up. Credentials that AWS refuses are forgotten, which heals
revoked ones, but not sooner than a minute after they were given: a missing right stays missing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from ocp_ingest.adapters.aws.session import Answered, Aws
from ocp_ingest.core.errors import NoRights, Transient

# AWS's bound where one role assumes another, as a task's role does here (STS AssumeRole).
SESSION_S: Final = 3_600
# Longer than any one request takes, so that none is under way when its credentials end.
RENEW_BEFORE_S: Final = 300
# How old refused credentials must be for others to be asked for.
REFUSED_S_MIN: Final = 60
# AWS's bound of a session's name, which CloudTrail shows beside each request.
NAME_CHARS_MAX: Final = 64


@dataclass(eq=False)
class _Session:
    client: Any
    context: AbstractAsyncContextManager[Any]
    since_s: float
    until_s: float
    users: int = 0
    retired: bool = False


class LobSessions:
    """S3 clients per bucket; closed with the `Aws` that they belong to."""

    def __init__(self, aws: Aws, now_s: Callable[[], float] = time.time) -> None:
        self._aws = aws
        self._roles = aws.settings.bucket_roles
        self._now_s = now_s
        self._held: dict[str, _Session] = {}
        self._open: set[_Session] = set()  # those held, and those that requests still use
        self._opening: dict[str, asyncio.Lock] = {}
        self._closing_set = False

    @asynccontextmanager
    async def client(self, bucket: str) -> AsyncIterator[Any]:
        """The S3 client for a bucket, named as the pipeline knows it, for one request.

        Raises Transient, NoRights, Answered where the role can't be assumed.
        """
        if bucket not in self._roles:
            yield await self._aws.client("s3")
            return
        session = await self._session(bucket)
        session.users += 1
        try:
            yield session.client
        except NoRights:
            if self._now_s() - session.since_s >= REFUSED_S_MIN:
                session.retired = True
                if self._held.get(bucket) is session:
                    del self._held[bucket]
            raise
        finally:
            session.users -= 1
            if session.retired and not session.users:
                await self._end(session)

    async def close(self) -> None:
        """Closes every client; requests under way are not waited for."""
        self._held.clear()
        for session in list(self._open):
            await self._end(session)

    async def _end(self, session: _Session) -> None:
        if session in self._open:
            self._open.remove(session)
            await session.context.__aexit__(None, None, None)

    async def _session(self, bucket: str) -> _Session:
        held = self._held.get(bucket)
        if held is not None and self._now_s() < held.until_s - RENEW_BEFORE_S:
            return held
        async with self._opening.setdefault(bucket, asyncio.Lock()):
            held = self._held.get(bucket)
            if held is not None and self._now_s() < held.until_s - RENEW_BEFORE_S:
                return held
            return await self._renewed(bucket, held)

    async def _renewed(self, bucket: str, held: _Session | None) -> _Session:
        try:
            made = await self._assume(bucket)
        except (Transient, Answered):
            if held is not None and self._now_s() < held.until_s:
                return held
            raise
        if not self._closing_set:
            self._closing_set = True
            self._aws.on_close(self.close)
        self._open.add(made)
        self._held[bucket] = made
        if held is not None:
            held.retired = True
            if not held.users:
                await self._end(held)
        return made

    async def _assume(self, bucket: str) -> _Session:
        answer = await self._aws.call(
            "sts", "assume_role", again=True,
            RoleArn=self._roles[bucket],
            RoleSessionName=f"ocp-ingest-{bucket}"[:NAME_CHARS_MAX],
            DurationSeconds=SESSION_S,
        )  # fmt: skip
        given = answer["Credentials"]
        context = self._aws.open(
            "s3",
            aws_access_key_id=given["AccessKeyId"],
            aws_secret_access_key=given["SecretAccessKey"],
            aws_session_token=given["SessionToken"],
        )
        client = await context.__aenter__()
        return _Session(client, context, self._now_s(), given["Expiration"].timestamp())
