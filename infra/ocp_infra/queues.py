"""Queues and what happens to a message that nobody could handle.

queue           from -> to                         hidden   tries      then
work            intake, detect -> worker           10 min   step_tries work-dead
download        state machine -> worker            10 min   4          download-dead
work-dead       the above; `calls retry` -> work   -        -          14 days
download-dead   the above -> function dead_letters 6 min    for ever   14 days
schedule-dead   EventBridge Scheduler              -        -          14 days
function-dead   asynchronous calls of functions    -        -          14 days
archive-dead    the table's stream                 -        -          14 days

Hidden: how long a message that was taken stays invisible. A worker names its own lease when it
takes a message and extends it while it works; ten minutes are what is left when it dies. Lambda
asks for six times the function's own time (Lambda developer guide, services-sqs-configure).
"""

from __future__ import annotations

from typing import Final

from aws_cdk import Duration
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from ocp_infra.names import Names
from ocp_infra.settings import Platform

# The longest that SQS keeps a message: a long weekend and a week for a person.
_DEAD_DAYS: Final = 14
# Calls stay in the table; a message is only the bell. After four days the sweep rings again.
_WORK_DAYS: Final = 4
# OCP deletes an export a day after its creation, and the token waits 21 hours.
_DOWNLOAD_DAYS: Final = 2
# A download that killed three workers will kill the fourth.
DOWNLOAD_TRIES_MAX: Final = 4
DEAD_LETTERS_S_MAX: Final = 60
# Long polling: an idle worker asks three times a minute, not three hundred.
_RECEIVE_WAIT_S: Final = 20


class Queues(Construct):
    """All queues, under one key, over TLS only."""

    def __init__(self, scope: Construct, names: Names, platform: Platform, key: kms.IKey) -> None:
        super().__init__(scope, "Queues")
        self._names, self._key = names, key
        lease = Duration.seconds(-(-platform.step_lease_ms // 1000))
        self.work_dead = self._queue("work-dead", _DEAD_DAYS)
        self.work = self._queue(
            "work", _WORK_DAYS, lease,
            sqs.DeadLetterQueue(queue=self.work_dead, max_receive_count=platform.step_tries_max),
        )  # fmt: skip
        self.download_dead = self._queue(
            "download-dead", _DEAD_DAYS, Duration.seconds(6 * DEAD_LETTERS_S_MAX)
        )
        self.download = self._queue(
            "download", _DOWNLOAD_DAYS, lease,
            sqs.DeadLetterQueue(queue=self.download_dead, max_receive_count=DOWNLOAD_TRIES_MAX),
        )  # fmt: skip
        self.schedule_dead = self._queue("schedule-dead", _DEAD_DAYS)
        self.function_dead = self._queue("function-dead", _DEAD_DAYS)
        self.archive_dead = self._queue("archive-dead", _DEAD_DAYS)

    def _queue(
        self, name: str, days: int, hidden: Duration | None = None,
        dead: sqs.DeadLetterQueue | None = None,
    ) -> sqs.Queue:  # fmt: skip
        return sqs.Queue(
            self,
            name,
            queue_name=f"{self._names.prefix}-{name}",
            encryption=sqs.QueueEncryption.KMS,
            encryption_master_key=self._key,
            # A call to KMS per key and five minutes instead of per message.
            data_key_reuse=Duration.minutes(5),
            enforce_ssl=True,
            retention_period=Duration.days(days),
            visibility_timeout=hidden,
            receive_message_wait_time=Duration.seconds(_RECEIVE_WAIT_S),
            dead_letter_queue=dead,
        )
