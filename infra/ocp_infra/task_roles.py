"""What the tasks may do: the ingestion API takes in, the worker does the rest of the way.

         table  secret  landing              quarantine  state  queues               others
ingest   write  yes     write, read, delete  -           read   send work            invoke detect,
                                                                                     publish alerts
… with the console      read                 read                                    read recordings
worker   write  yes     write, read, delete  write       write  take work, download  tokens, copiers

People hear recordings through the API's tasks, which read them in their own name: they can become
no copier, so whoever got hold of one could write nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import Aws
from aws_cdk import aws_iam as iam
from constructs import Construct

from ocp_infra import grants
from ocp_infra.function_rights import Rights, Statements
from ocp_infra.keys import Keys
from ocp_infra.names import Names
from ocp_infra.queues import Queues
from ocp_infra.settings import Platform

_SERVICE = "ecs-tasks.amazonaws.com"


class TaskRoles(Construct):
    """One role per service; copiers are added to the worker's elsewhere."""

    def __init__(
        self, scope: Construct, names: Names, keys: Keys, queues: Queues, rights: Rights,
        platform: Platform, topics: Sequence[str],
    ) -> None:  # fmt: skip
        super().__init__(scope, "TaskRoles")
        self._names, self._keys, self._platform = names, keys, platform
        media = grants.key("UseMediaKey", keys.media.key_arn, grants.WRITE_KEY, "s3")
        messages = grants.key("UseQueueKey", keys.messages.key_arn, grants.WRITE_KEY, "sqs")
        landing, quarantine = names.bucket_arn("landing"), names.bucket_arn("quarantine")
        state = names.bucket_arn("state")
        both: Statements = [
            *rights.table(),
            *rights.secret(),
            *grants.bucket_write("Landing", landing),
            *grants.bucket_read("Landing", landing),
            *grants.bucket_read("State", state),
            # A second delivery of the same bytes is not kept.
            grants.allow("EmptyLanding", ["s3:DeleteObject"], [f"{landing}/*"]),
            media,
            messages,
            *rights.kick_detect(),
        ]
        self.ingest = self._role("Ingest", "Ingestion API: events and recordings from OCP", [
            *both,
            *grants.send("WakeWorkers", [queues.work.queue_arn]),
            grants.allow("LookAtQueues", ["sqs:GetQueueAttributes"],
                         [queues.work.queue_arn, queues.work_dead.queue_arn]),
            grants.allow("TellPeople", ["sns:Publish"], topics),
            grants.key("UseTopicKey", keys.messages.key_arn, grants.WRITE_KEY, "sns"),
            *(self._hear() if platform.console_url else ()),
        ])  # fmt: skip
        self.worker = self._role("Worker", "Worker: steps of the pipeline, downloads", [
            *both,
            grants.allow("ListUploads", ["s3:ListBucketMultipartUploads"], [landing]),
            *grants.bucket_write("Quarantine", quarantine),
            *grants.bucket_read("Quarantine", quarantine),
            # A quarantined copy that turns out to be wrong is taken back by its version.
            grants.allow("TakeBack", ["s3:DeleteObjectVersion"], [f"{quarantine}/*"]),
            *grants.bucket_write("State", state),
            *grants.send("GiveBack", [queues.work.queue_arn, queues.work_dead.queue_arn,
                                      queues.download.queue_arn]),
            *grants.consume("TakeMessages", [queues.work.queue_arn, queues.download.queue_arn,
                                             queues.work_dead.queue_arn]),
            *grants.answer_tokens(names),
        ])  # fmt: skip

    def _hear(self) -> Statements:
        """What the console plays: stored recordings, and those that wait for a person."""
        names = self._names
        found: Statements = list(grants.bucket_read("Quarantine", names.bucket_arn("quarantine")))
        for number, bucket in enumerate(self._platform.buckets.values()):
            found += grants.bucket_read(f"Lob{number}", names.bucket_arn(bucket))
        arns = [self._keys.lob[lob].key_arn for lob in self._platform.buckets]
        service = f"s3.{Aws.REGION}.{Aws.URL_SUFFIX}"
        return [*found, grants.allow("HearRecordings", grants.READ_KEY, arns,
                                     {"StringEquals": {"kms:ViaService": service}})]  # fmt: skip

    def _role(self, name: str, text: str, statements: list[iam.PolicyStatement]) -> iam.Role:
        return grants.role(self, name, _SERVICE, text, statements)
