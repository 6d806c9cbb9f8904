"""What each function may do, beyond writing its own log.

              table  secret  state  work   state machine      others
detect        write  yes     write  send   start, describe
export        write  yes     write  send   -                  invoke detect
puller        write  yes     write  send   answer tokens      invoke detect, set polls
metadata      write  yes     write  send   -
finish        write  yes     write  send   -                  invoke detect
dead_letters  write  yes     read   -      answer tokens      take from download-dead
archive       write  -       -      -      -                  read the stream, write to archive
seal          write  yes     read   -      -                  write archive/evidence, sign
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from aws_cdk import aws_iam as iam

from ocp_infra import grants
from ocp_infra.buckets import SEALS
from ocp_infra.data import Data
from ocp_infra.keys import Keys
from ocp_infra.names import Names
from ocp_infra.queues import Queues

Statements = list[iam.PolicyStatement]


class Rights:
    """Statements per function."""

    def __init__(
        self, names: Names, keys: Keys, data: Data, queues: Queues, *, secret_arn: str,
        schedule_role_arn: str,
    ) -> None:  # fmt: skip
        self._names, self._keys, self._data, self._queues = names, keys, data, queues
        self._secret_arn, self._schedule_role_arn = secret_arn, schedule_role_arn

    def of(self, function: str) -> Statements:
        """What a function may do."""
        return _OF[function](self)

    # -- parts --------------------------------------------------------------------------------

    def book(self) -> Statements:
        """The table, the secret, long lists: what every step of stage 2 reads and writes."""
        return [*self.table(), *self.secret(), *self.state(write=True)]

    def table(self, *, write: bool = True) -> Statements:
        return grants.table(self._data.arn, self._keys.data.key_arn, write=write)

    def secret(self) -> Statements:
        return grants.secret(self._secret_arn, self._keys.messages.key_arn)

    def state(self, *, write: bool) -> Statements:
        arn = self._names.bucket_arn("state")
        more = grants.bucket_write("State", arn) if write else []
        actions = grants.WRITE_KEY if write else grants.READ_KEY
        return [*grants.bucket_read("State", arn), *more,
                grants.key("UseMediaKey", self._keys.media.key_arn, actions, "s3")]  # fmt: skip

    def wake_workers(self) -> Statements:
        return [*grants.send("WakeWorkers", [self._queues.work.queue_arn]), self._encrypt()]

    def kick_detect(self) -> Statements:
        arn = self._names.function_arn("detect")
        return [grants.allow("AskDetect", ["lambda:InvokeFunction"], [arn])]

    def _encrypt(self) -> iam.PolicyStatement:
        return grants.key("UseQueueKey", self._keys.messages.key_arn, grants.WRITE_KEY, "sqs")

    # -- functions ----------------------------------------------------------------------------

    def detect(self) -> Statements:
        names = self._names
        return [
            *self.book(),
            *self.wake_workers(),
            grants.allow("StartExecutions", ["states:StartExecution"], [names.state_machine_arn]),
            grants.allow("LookAtExecutions", ["states:DescribeExecution"], [names.executions_arn]),
        ]

    def step(self) -> Statements:
        """What reconcile/flow.py needs: a job's end may wake calls and other groups."""
        return [*self.book(), *self.wake_workers(), *self.kick_detect()]

    def puller(self) -> Statements:
        names, key_arn = self._names, self._keys.messages.key_arn
        return [
            *self.step(),
            *grants.answer_tokens(names),
            *grants.set_polls(names, self._schedule_role_arn, key_arn),
            # After a lost answer: is the schedule there the one that was asked for?
            grants.allow("LookAtPolls", ["scheduler:GetSchedule"], [names.schedules_arn]),
        ]

    def metadata(self) -> Statements:
        return [*self.book(), *self.wake_workers()]

    def dead_letters(self) -> Statements:
        return [
            *self.table(),
            *self.secret(),
            *self.state(write=False),
            *grants.consume("TakeDeadLetters", [self._queues.download_dead.queue_arn]),
            self._encrypt(),
            *grants.answer_tokens(self._names),
        ]

    def archive(self) -> Statements:
        arn = self._names.bucket_arn("archive")
        reads = ["dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator"]
        return [
            *self.table(),
            grants.allow("ReadStream", reads, [self._data.stream_arn]),
            *grants.bucket_write("Archive", arn),
            *grants.bucket_read("Archive", arn),
            grants.key("UseArchiveKey", self._keys.archive.key_arn, grants.WRITE_KEY, "s3"),
            *grants.send("SendUnarchived", [self._queues.archive_dead.queue_arn]),
            self._encrypt(),
        ]

    def seal(self) -> Statements:
        arn = self._names.bucket_arn("archive")
        return [
            *self.table(),
            *self.secret(),
            *self.state(write=False),
            grants.allow("WriteSeals", ["s3:PutObject"], [f"{arn}/{SEALS}*"]),
            *self.seals(),
            grants.key("UseArchiveKey", self._keys.archive.key_arn, grants.WRITE_KEY, "s3"),
            grants.allow("Sign", ["kms:Sign"], [self._keys.seals.key_arn]),
        ]

    def seals(self) -> Statements:
        """Reading what was sealed, and the key that it is proved by."""
        arn = self._names.bucket_arn("archive")
        return [
            grants.allow("ReadSeals", ["s3:GetObject"], [f"{arn}/{SEALS}*"]),
            grants.allow("ListSeals", ["s3:ListBucket"], [arn]),
            grants.allow("ReadSealsKey", ["kms:GetPublicKey"], [self._keys.seals.key_arn]),
        ]


_OF: Final[dict[str, Callable[[Rights], Statements]]] = {
    "detect": Rights.detect,
    "export": Rights.step,
    "puller": Rights.puller,
    "metadata": Rights.metadata,
    "finish": Rights.step,
    "dead_letters": Rights.dead_letters,
    "archive": Rights.archive,
    "seal": Rights.seal,
}
