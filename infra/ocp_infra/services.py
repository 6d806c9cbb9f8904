"""The tasks on Fargate (ARM): the ingestion API and the worker, of one image.

          vCPU  MiB   disk    how many               more when
ingest    1     4096  21 GiB  ingest_tasks_min..max  CPU over 60 %, or 600 requests a minute each
worker    0.5   2048  60 GiB  worker_tasks_min..max  over 20 messages wait for each task

Memory   an upload holds one 8 MiB part, 256 at once; the rest is the interpreter's. A worker
         streams: of four downloads it holds four parts at a time. Both are reckoned from what the
         embedded runtime was measured to hold and to take (docs/benchmarks.md), not from Fargate.
vCPU     a call costs a worker less than 0.2 s; a million a month are 8 % of one vCPU.
Disk     a ZIP of an export is unpacked from a temporary file, 16 GiB each.
Rules    no root, no capability, a read-only root file system; /tmp is a volume of its own. A task
         has 120 s to stop (the longest that Fargate gives): uploads end, messages are given back.
         A deployment whose tasks do not become healthy is rolled back by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from aws_cdk import CfnParameter, Duration
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_elasticloadbalancingv2 as elb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from ocp_infra import grants
from ocp_infra.edge import PORT, Edge
from ocp_infra.keys import Keys
from ocp_infra.logs import group
from ocp_infra.names import Names
from ocp_infra.network import Network
from ocp_infra.settings import Options
from ocp_infra.task_roles import TaskRoles

STOP_S: Final = 120
# Of those, uploads under way have so many; the rest is for logging out.
API_STOP_S: Final = 100
# The image's own folder for it; see Dockerfile.
CONFIG_FILE: Final = "/app/ocp-ingest.toml"
# Numbers, as the image may lack names; no user of it has a shell.
_USER: Final = "10001:10001"
# A volume of the task's own. The image declares it (VOLUME), or root would own it
# (ECS developer guide, bind-mounts).
_TMP: Final = "/tmp"  # noqa: S108
_CPU_SHARE: Final = 60
_REQUESTS_PER_MINUTE: Final = 600
# Fargate answers a health check that the image's own Python makes: it has no curl.
_ALIVE: Final = "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/healthz', timeout=4)"


class Shape(NamedTuple):
    """A task definition's size."""

    cpu: int
    memory_mib: int
    disk_gib: int


SHAPES: Final = {"ingest": Shape(1024, 4096, 21), "worker": Shape(512, 2048, 60)}
COMMANDS: Final = {
    "ingest": ["serve", "--runtime", "aws"],
    "worker": ["work", "--runtime", "aws"],
}


class Services(Construct):
    """Cluster and both services."""

    def __init__(
        self, scope: Construct, names: Names, options: Options, network: Network, keys: Keys,
        roles: TaskRoles, edge: Edge, image: CfnParameter, repository: CfnParameter,
        environment: Mapping[str, str], worker_environment: Mapping[str, str],
        ingest_environment: Mapping[str, str], session_key: secretsmanager.ISecret | None,
    ) -> None:  # fmt: skip
        super().__init__(scope, "Services")
        self._names, self._options, self._keys = names, options, keys
        self._image, self._repository, self._vpc = image, repository, network.vpc
        # Every task of the API reads the same cookies.
        self._secrets: dict[str, dict[str, ecs.Secret]] = {}
        if session_key is not None:
            self._secrets["ingest"] = {
                "OCP_INGEST_CONSOLE__SESSION_KEY": ecs.Secret.from_secrets_manager(session_key)
            }
        self.cluster = ecs.Cluster(
            self, "Cluster", cluster_name=names.prefix, vpc=network.vpc,
            # How many tasks run is known to no other metric.
            container_insights_v2=ecs.ContainerInsights.ENABLED,
        )  # fmt: skip
        common = {**environment, "OCP_INGEST_CONFIG": CONFIG_FILE, "OCP_INGEST_RUNTIME": "aws",
                  "OCP_INGEST_DATA__DIR": f"{_TMP}/ocp-ingest", "OCP_INGEST_OCP__SPOOL_DIR": _TMP,
                  "OCP_INGEST_LOG__FORMAT": "json"}  # fmt: skip
        self.ingest = self._service("ingest", roles.ingest, {
            **common, **ingest_environment,
            "OCP_INGEST_SERVER__HOST": "0.0.0.0",  # noqa: S104  (only the load balancer gets here)
            "OCP_INGEST_SERVER__PORT": str(PORT),
            "OCP_INGEST_SERVER__STOP_S_MAX": f"{API_STOP_S}.0",
        })  # fmt: skip
        self.worker = self._service("worker", roles.worker, {
            **common, **worker_environment,
            "OCP_INGEST_SERVER__HOST": "127.0.0.1", "OCP_INGEST_SERVER__PORT": str(PORT),
        })  # fmt: skip
        self.ingest.attach_to_application_target_group(edge.targets)
        self.ingest.node.add_dependency(edge.rule)
        self.ingest.connections.allow_from(edge.group, ec2.Port.tcp(PORT), "Load balancer")
        self._scale_ingest(edge)

    def _service(
        self, name: str, role: iam.Role, environment: Mapping[str, str]
    ) -> ecs.FargateService:
        group_ = ec2.SecurityGroup(
            self, f"Group-{name}", vpc=self._vpc, allow_all_outbound=False,
            description=f"Tasks of {name}",
        )  # fmt: skip
        group_.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.tcp(443), "AWS and OCP, TLS only")
        return ecs.FargateService(
            self, f"Service-{name}", cluster=self.cluster, service_name=name,
            task_definition=self._task(name, role, environment),
            desired_count=getattr(self._options, f"{name}_tasks_min"),
            min_healthy_percent=100, max_healthy_percent=200,
            circuit_breaker=ecs.DeploymentCircuitBreaker(enable=True, rollback=True),
            vpc_subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS),
            security_groups=[group_], assign_public_ip=False, enable_execute_command=False,
            propagate_tags=ecs.PropagatedTagSource.SERVICE,
            health_check_grace_period=Duration.seconds(60) if name == "ingest" else None,
        )  # fmt: skip

    def _task(
        self, name: str, role: iam.Role, environment: Mapping[str, str]
    ) -> ecs.FargateTaskDefinition:
        shape, names = SHAPES[name], self._names
        log = group(self, f"Log-{name}", f"/{names.prefix}/{name}", self._keys.logs,
                    self._options.log_days)  # fmt: skip
        task = ecs.FargateTaskDefinition(
            self, f"Task-{name}", family=f"{names.prefix}-{name}", cpu=shape.cpu,
            memory_limit_mib=shape.memory_mib, ephemeral_storage_gib=shape.disk_gib,
            runtime_platform=ecs.RuntimePlatform(
                cpu_architecture=ecs.CpuArchitecture.ARM64,
                operating_system_family=ecs.OperatingSystemFamily.LINUX,
            ),
            task_role=role, execution_role=self._execution_role(name, log.log_group_arn),
            volumes=[ecs.Volume(name="tmp")],
        )  # fmt: skip
        linux = ecs.LinuxParameters(self, f"Linux-{name}", init_process_enabled=True)
        linux.drop_capabilities(ecs.Capability.ALL)
        container = task.add_container(
            name, image=ecs.ContainerImage.from_registry(self._image.value_as_string),
            entry_point=["ocp-ingest"], command=COMMANDS[name], environment=dict(environment),
            secrets=self._secrets.get(name),
            user=_USER, readonly_root_filesystem=True, linux_parameters=linux,
            stop_timeout=Duration.seconds(STOP_S), essential=True,
            port_mappings=[ecs.PortMapping(container_port=PORT)] if name == "ingest" else None,
            # A full log buffer must not stop calls from coming in.
            logging=ecs.LogDriver.aws_logs(
                stream_prefix=name, log_group=log, mode=ecs.AwsLogDriverMode.NON_BLOCKING
            ),
            health_check=ecs.HealthCheck(
                command=["CMD", "python", "-c", _ALIVE], interval=Duration.seconds(30),
                timeout=Duration.seconds(5), retries=3, start_period=Duration.seconds(60),
            ),
        )  # fmt: skip
        container.add_mount_points(
            ecs.MountPoint(container_path=_TMP, source_volume="tmp", read_only=False)
        )
        return task

    def _execution_role(self, name: str, log_group_arn: str) -> iam.Role:
        """What Fargate itself does for a task: fetch the image, write the log."""
        pull = [
            "ecr:BatchCheckLayerAvailability",
            "ecr:BatchGetImage",
            "ecr:GetDownloadUrlForLayer",
        ]
        return grants.role(
            self, f"Execution-{name}", "ecs-tasks.amazonaws.com", f"Starts tasks of {name}",
            [
                grants.allow("PullImage", pull, [self._repository.value_as_string]),
                grants.allow("LogInToRegistry", ["ecr:GetAuthorizationToken"], ["*"]),
                *grants.logs(log_group_arn),
            ],
        )  # fmt: skip

    def _scale_ingest(self, edge: Edge) -> None:
        options = self._options
        count = self.ingest.auto_scale_task_count(
            min_capacity=options.ingest_tasks_min, max_capacity=options.ingest_tasks_max
        )
        count.scale_on_cpu_utilization("Cpu", target_utilization_percent=_CPU_SHARE)
        assert isinstance(edge.targets, elb.ApplicationTargetGroup)
        count.scale_on_request_count(
            "Requests", requests_per_target=_REQUESTS_PER_MINUTE, target_group=edge.targets
        )
