"""The stack: every part, in the order in which they need each other.

keys -> data, buckets, queues, secrets, topic -> schedules -> functions, state machine -> archive
network, identity -> door -> tasks, copiers -> scaling -> alarms, dashboard
"""

from __future__ import annotations

from typing import Any

from aws_cdk import CfnOutput, CfnParameter, Stack, Tags
from constructs import Construct

from ocp_infra import environment
from ocp_infra.alarm_rules import Places
from ocp_infra.alarms import Alarms
from ocp_infra.audit import Audit
from ocp_infra.buckets import Buckets
from ocp_infra.copiers import Copiers
from ocp_infra.dashboard import Dashboard
from ocp_infra.data import Data
from ocp_infra.edge import Edge
from ocp_infra.function_rights import Rights
from ocp_infra.functions import Functions
from ocp_infra.identity import Identity
from ocp_infra.keys import Keys
from ocp_infra.names import Names
from ocp_infra.network import Network
from ocp_infra.operators import Operators
from ocp_infra.people import People
from ocp_infra.queues import Queues
from ocp_infra.schedules import Schedules
from ocp_infra.secret import Secret, SessionKey
from ocp_infra.services import Services
from ocp_infra.settings import Options, Platform, check_buckets
from ocp_infra.state_machine import StateMachine
from ocp_infra.task_roles import TaskRoles
from ocp_infra.worker_scaling import WorkerScaling


class OcpIngest(Stack):
    """One deployment of ocp-ingest."""

    def __init__(self, scope: Construct, options: Options, platform: Platform, **more: Any) -> None:
        super().__init__(scope, options.stack, **more)
        check_buckets(options.bucket_prefix, platform)
        self.options, self.platform, self.titles = options, platform, Names(options)
        Tags.of(self).add("Application", options.name)
        self._parameters()
        self._stores()
        self._stage2()
        self._tasks()
        self._watch()
        self._outputs()

    def _parameters(self) -> None:
        self.certificate = CfnParameter(
            self, "CertificateArn", type="String", allowed_pattern="arn:[^:]+:acm:.+",
            description="ACM certificate of the API's host name",
        )  # fmt: skip
        self.image = CfnParameter(
            self, "ImageUri", type="String", allowed_pattern=".+[:@].+",
            description="Image of ocp-ingest for ARM64, with its tag or digest",
        )  # fmt: skip
        self.repository = CfnParameter(
            self, "ImageRepositoryArn", type="String", allowed_pattern="arn:[^:]+:ecr:.+",
            description="ECR repository that the image is in",
        )  # fmt: skip

    def _stores(self) -> None:
        names, options, platform = self.titles, self.options, self.platform
        self.keys = Keys(self, names, platform)
        self.data = Data(self, names, self.keys)
        self.buckets = Buckets(self, names, options, platform, self.keys)
        self.queues = Queues(self, names, platform, self.keys.messages)
        self.secret = Secret(self, names, self.keys.messages)
        served = bool(platform.console_url)
        self.session_key = SessionKey(self, names, self.keys.messages).secret if served else None
        self.people = People(self, names, options, platform, self.keys.messages)

    def _stage2(self) -> None:
        names, options, keys, queues = self.titles, self.options, self.keys, self.queues
        self.schedules = Schedules(self, names, self.platform, keys, queues)
        self.identity = Identity(self, names, options, self.platform)
        role_arn = self.schedules.poll_role.role_arn
        self.variables = {
            **environment.aws_section(
                names, queues, table=self.data.name, secret_arn=self.secret.arn,
                schedule_role_arn=role_arn, schedule_key_arn=keys.messages.key_arn,
            ),
            **self.identity.environment(),
            "OCP_INGEST_EVIDENCE__KMS_KEY": keys.seals.key_arn,
        }  # fmt: skip
        self.rights = Rights(
            names, keys, self.data, queues, secret_arn=self.secret.arn, schedule_role_arn=role_arn
        )
        self.functions = Functions(self, names, options, keys, queues, self.rights, self.variables)
        StateMachine(self, names, options, keys, queues, role_arn)
        Audit(self, self.data, self.functions, self.buckets, queues)

    def _tasks(self) -> None:
        names, options, keys = self.titles, self.options, self.keys
        network = Network(self, names, options, keys)
        self.edge = Edge(
            self, names, options, network, self.buckets, self.identity, self.certificate,
            console=bool(self.platform.console_url),
        )  # fmt: skip
        roles = TaskRoles(
            self, names, keys, self.queues, self.rights, self.platform, self.people.topics()
        )
        copiers = Copiers(self, names, keys, self.buckets, roles.worker)
        self.worker_variables = environment.bucket_roles(copiers.arns())
        self.services = Services(
            self, names, options, network, keys, roles, self.edge, self.image, self.repository,
            self.variables, self.worker_variables,
            {**self.identity.console_environment(), **self.people.environment()}, self.session_key,
        )  # fmt: skip
        self.scaling = WorkerScaling(
            self, options, self.services,
            {"work": self.queues.work.queue_name, "download": self.queues.download.queue_name},
        )  # fmt: skip

    def _watch(self) -> None:
        names, options, queues = self.titles, self.options, self.queues
        places = Places(
            function=names.function,
            queue={
                "work": queues.work.queue_name, "work-dead": queues.work_dead.queue_name,
                "download": queues.download.queue_name,
                "download-dead": queues.download_dead.queue_name,
                "schedule-dead": queues.schedule_dead.queue_name,
                "function-dead": queues.function_dead.queue_name,
                "archive-dead": queues.archive_dead.queue_name,
            },
            table=self.data.name,
            state_machine=names.state_machine_arn,
            schedule_group=names.schedule_group,
            balancer=self.edge.balancer.load_balancer_full_name,
            targets=self.edge.targets.target_group_full_name,
            cluster=self.services.cluster.cluster_name,
            service={
                "ingest": self.services.ingest.service_name,
                "worker": self.services.worker.service_name,
            },
            sweep_s=self.platform.detect_every_s,
            pending_s_max=options.pending_hours_max * 3600,
            lease_s=-(-self.platform.step_lease_ms // 1000),
        )  # fmt: skip
        self.alarms = Alarms(
            self, names, options, self.keys.messages, places, self.scaling.jump.ref
        )
        Dashboard(self, names, places, self.alarms.names)
        self.operators = Operators(
            self, names, self.keys, queues, self.buckets, self.rights, self.data.arn,
            self.secret.arn,
        )  # fmt: skip

    def _outputs(self) -> None:
        lines = {**self.variables, "OCP_INGEST_RUNTIME": "aws"}
        for name, text, value in (
            ("CliEnvironment", "Variables for `ocp-ingest --runtime aws`; a line each",
             "\n".join(f"{key}='{value}'" for key, value in lines.items())),
            ("BucketRoles", "Writer of each line of business's bucket (the worker's variable)",
             next(iter(self.worker_variables.values()))),
            ("OperatorPolicyArn", "Attach it to whoever uses the command line",
             self.operators.policy.managed_policy_arn),
            ("ApiHost", "Point the API's host name here (CNAME or alias)",
             self.edge.balancer.load_balancer_dns_name),
            ("TokenUrl", "Where OCP fetches its tokens", self.identity.token_url),
            ("ClientIds", "OAuth clients; their secrets are in the user pool",
             ", ".join(f"{name}={client.user_pool_client_id}"
                       for name, (client, _, _) in self.identity.clients.items())),
            ("UserPoolId", "Cognito user pool", self.identity.pool.user_pool_id),
            ("SecretArn", "Add OCP's credentials to this JSON object", self.secret.arn),
            ("TableName", "DynamoDB table", self.data.name),
            ("BucketPrefix", "What names of buckets begin with", self.titles.bucket_prefix),
            ("StateMachineArn", "Recoveries of windows", self.titles.state_machine_arn),
            ("AlarmTopicArn", "Subscribe whoever is on call", self.alarms.topic.topic_arn),
            ("AlertTopicArn", "The platform's own alerts; subscribe whoever is on call",
             self.people.topic.topic_arn),
            ("ConsoleUrl", "Where people open the console; empty: it is not served",
             f"{self.platform.console_url}/console/" if self.platform.console_url else "-"),
            ("DashboardName", "CloudWatch dashboard", self.titles.prefix),
        ):  # fmt: skip
            CfnOutput(self, name, description=text, value=value)
