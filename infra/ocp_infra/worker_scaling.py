"""How many workers run: by what waits for each, and a jump when something has waited too long.

Target tracking on a metric that does not fall as tasks are added would never end; messages for
each running task is one that does (docs.aws.amazon.com/autoscaling/application/userguide/
application-auto-scaling-target-tracking-metric-math.html).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aws_cdk import aws_applicationautoscaling as scaling
from constructs import Construct

from ocp_infra.services import Services
from ocp_infra.settings import Options


class WorkerScaling(Construct):
    """Policies of the worker's service; `jump` is for the alarm on old messages."""

    # A download is a window's recordings, a step is one.
    DOWNLOAD_WEIGHT: Final = 10
    BACKLOG_PER_TASK: Final = 20
    JUMP_TASKS: Final = 2

    def __init__(
        self, scope: Construct, options: Options, services: Services,
        queues: Mapping[str, str],
    ) -> None:  # fmt: skip
        super().__init__(scope, "WorkerScaling")
        target = scaling.CfnScalableTarget(
            self, "Target", service_namespace="ecs", scalable_dimension="ecs:service:DesiredCount",
            resource_id=f"service/{services.cluster.cluster_name}/{services.worker.service_name}",
            min_capacity=options.worker_tasks_min, max_capacity=options.worker_tasks_max,
        )  # fmt: skip
        property_ = scaling.CfnScalingPolicy
        scaling.CfnScalingPolicy(
            self,
            "Backlog",
            policy_name="backlog-per-task",
            policy_type="TargetTrackingScaling",
            scaling_target_id=target.ref,
            target_tracking_scaling_policy_configuration=(
                property_.TargetTrackingScalingPolicyConfigurationProperty(
                    target_value=self.BACKLOG_PER_TASK,
                    # A worker that starts needs a minute, and ends what it holds before it stops.
                    scale_out_cooldown=60,
                    scale_in_cooldown=300,
                    customized_metric_specification=(
                        property_.CustomizedMetricSpecificationProperty(
                            metrics=self._metrics(services, queues)
                        )
                    ),
                )
            ),
        )
        self.jump = scaling.CfnScalingPolicy(
            self, "Jump", policy_name="old-message", policy_type="StepScaling",
            scaling_target_id=target.ref,
            step_scaling_policy_configuration=property_.StepScalingPolicyConfigurationProperty(
                adjustment_type="ChangeInCapacity", cooldown=300,
                metric_aggregation_type="Maximum",
                step_adjustments=[property_.StepAdjustmentProperty(
                    metric_interval_lower_bound=0, scaling_adjustment=self.JUMP_TASKS
                )],
            ),
        )  # fmt: skip

    def _metrics(
        self, services: Services, queues: Mapping[str, str]
    ) -> list[scaling.CfnScalingPolicy.TargetTrackingMetricDataQueryProperty]:
        running = _metric(
            "tasks", "ECS/ContainerInsights", "RunningTaskCount", "Average",
            {"ClusterName": services.cluster.cluster_name,
             "ServiceName": services.worker.service_name},
        )  # fmt: skip
        waiting = [
            _metric(ident, "AWS/SQS", "ApproximateNumberOfMessagesVisible", "Average",
                    {"QueueName": queue})
            for ident, queue in queues.items()
        ]  # fmt: skip
        weights = {"download": self.DOWNLOAD_WEIGHT}
        total = " + ".join(f"{ident} * {weights.get(ident, 1)}" for ident in queues)
        return [running, *waiting, _query(
            id="per_task", expression=f"({total}) / IF(tasks < 1, 1, tasks)", return_data=True,
            label="Messages for each running task",
        )]  # fmt: skip


_query = scaling.CfnScalingPolicy.TargetTrackingMetricDataQueryProperty


def _metric(
    ident: str, namespace: str, name: str, stat: str, dimensions: Mapping[str, str]
) -> scaling.CfnScalingPolicy.TargetTrackingMetricDataQueryProperty:
    policy = scaling.CfnScalingPolicy
    return _query(
        id=ident, return_data=False,
        metric_stat=policy.TargetTrackingMetricStatProperty(
            stat=stat,
            metric=policy.TargetTrackingMetricProperty(
                namespace=namespace, metric_name=name,
                dimensions=[
                    policy.TargetTrackingMetricDimensionProperty(name=key, value=value)
                    for key, value in dimensions.items()
                ],
            ),
        ),
    )  # fmt: skip
