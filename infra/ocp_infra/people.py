"""Telling people: the topic of the platform's own alerts, and what the API's tasks may publish to.

CloudWatch's alarms ring at a topic of their own (alarms.py): they also ring when no task runs.
Where [[alerts.channels]] names nobody, this topic is the channel, so that alerts are never for
nobody: whoever is subscribed gets them.
"""

from __future__ import annotations

from typing import Final

from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from constructs import Construct

from ocp_infra.names import Names
from ocp_infra.settings import Options, Platform

CHANNEL: Final = "on-call"


class People(Construct):
    """The topic."""

    def __init__(
        self, scope: Construct, names: Names, options: Options, platform: Platform, key: kms.IKey
    ) -> None:
        super().__init__(scope, "People")
        self._platform = platform
        self.topic = sns.Topic(
            self, "Topic", topic_name=f"{names.prefix}-alerts", master_key=key, enforce_ssl=True
        )
        if options.alarm_mail:
            sns.CfnSubscription(
                self, "Mail", topic_arn=self.topic.topic_arn, protocol="email",
                endpoint=options.alarm_mail,
            )  # fmt: skip

    def topics(self) -> list[str]:
        """ARNs that alerts go to: this one, and those that the configuration names."""
        named = sorted(set(self._platform.alert_topics or ()) - {""})
        return [self.topic.topic_arn, *named]

    def environment(self) -> dict[str, str]:
        """Section [alerts] as variables, where the configuration names no channel."""
        if self._platform.alert_topics is not None:
            return {}
        channel = f'{{ kind = "sns", name = "{CHANNEL}", topic_arn = "{self.topic.topic_arn}" }}'
        return {"OCP_INGEST_ALERTS__CHANNELS": f"[{channel}]"}
