"""One dashboard: is the promise kept, what comes in, what waits, what fails, what it costs."""

from __future__ import annotations

import json
from typing import Any, Final

from aws_cdk import Aws, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from ocp_infra.alarm_rules import Places
from ocp_infra.names import Names

_WIDTH: Final = 8  # of 24: three in a row
_HEIGHT: Final = 6

Line = list[Any]


def _rows(places: Places) -> list[tuple[str, str, list[Line]]]:
    """(title, statistic, lines); a line is namespace, metric, dimensions."""
    balancer = ["LoadBalancer", places.balancer]
    targets = ["TargetGroup", places.targets, *balancer]

    def search(metric: str, dimension: str) -> Line:
        return [{"expression": f"SEARCH('{{OcpIngest,{dimension}}} MetricName=\"{metric}\"', "
                               "'Maximum', 300)"}]  # fmt: skip

    def queues(metric: str, names: tuple[str, ...]) -> list[Line]:
        return [["AWS/SQS", metric, "QueueName", places.queue[name]] for name in names]

    def services(namespace: str, metric: str) -> list[Line]:
        return [[namespace, metric, "ClusterName", places.cluster, "ServiceName", name]
                for name in places.service.values()]  # fmt: skip

    def functions(metric: str) -> list[Line]:
        from ocp_infra.alarm_names import FUNCTIONS

        return [["AWS/Lambda", metric, "FunctionName", places.function(n)] for n in FUNCTIONS]

    machine = ["StateMachineArn", places.state_machine]
    table = ["TableName", places.table]
    group = ["ScheduleGroup", places.schedule_group]
    dead = ("work-dead", "download-dead", "schedule-dead", "function-dead", "archive-dead")
    return [
        ("Oldest waiting call, s", "Maximum", [search("OldestPendingAgeSeconds", "ocp_group")]),
        ("Calls in flight and lost", "Maximum",
         [["OcpIngest", "CallsInFlight"], ["OcpIngest", "CallsLost"]]),
        ("Open incidents", "Maximum", [search("IncidentsOpen", "kind")]),
        ("Requests", "Sum", [
            ["AWS/ApplicationELB", name, *balancer] for name in (
                "RequestCount", "HTTPCode_Target_2XX_Count", "HTTPCode_Target_4XX_Count",
                "HTTPCode_Target_5XX_Count", "HTTPCode_ELB_4XX_Count", "HTTPCode_ELB_5XX_Count")]),
        ("Bytes in", "Sum", [["AWS/ApplicationELB", "ProcessedBytes", *balancer]]),
        ("Healthy hosts", "Minimum", [["AWS/ApplicationELB", "HealthyHostCount", *targets],
                                      ["AWS/ApplicationELB", "UnHealthyHostCount", *targets]]),
        ("Messages waiting", "Maximum",
         queues("ApproximateNumberOfMessagesVisible", ("work", "download"))),
        ("Oldest message, s", "Maximum",
         queues("ApproximateAgeOfOldestMessage", ("work", "download"))),
        ("Dead letters", "Maximum", queues("ApproximateNumberOfMessagesVisible", dead)),
        ("Tasks running", "Minimum", services("ECS/ContainerInsights", "RunningTaskCount")),
        ("CPU of tasks, %", "Average", services("AWS/ECS", "CPUUtilization")),
        ("Memory of tasks, %", "Maximum", services("AWS/ECS", "MemoryUtilization")),
        ("Executions", "Sum", [["AWS/States", name, *machine] for name in (
            "ExecutionsStarted", "ExecutionsSucceeded", "ExecutionsFailed",
            "ExecutionsTimedOut", "ExecutionsAborted")]),
        ("Polls", "Sum", [["AWS/Scheduler", name, *group] for name in (
            "InvocationAttemptCount", "TargetErrorCount", "InvocationDroppedCount")]),
        ("Functions: errors", "Sum", functions("Errors")),
        ("Functions: duration, ms", "p99", functions("Duration")),
        ("Table: capacity", "Sum", [["AWS/DynamoDB", "ConsumedWriteCapacityUnits", *table],
                                    ["AWS/DynamoDB", "ConsumedReadCapacityUnits", *table]]),
        ("Archive: lag, ms", "Maximum",
         [["AWS/Lambda", "IteratorAge", "FunctionName", places.function("archive")]]),
    ]  # fmt: skip


class Dashboard(Construct):
    """The dashboard, and the alarms' states on top of it."""

    def __init__(
        self, scope: Construct, names: Names, places: Places, alarm_names: list[str]
    ) -> None:
        super().__init__(scope, "Dashboard")
        states = {
            "type": "alarm", "x": 0, "y": 0, "width": 24, "height": _HEIGHT,
            "properties": {
                "title": "Alarms",
                "alarms": [names.arn("cloudwatch", f"alarm:{name}") for name in alarm_names],
            },
        }  # fmt: skip
        graphs = [
            {
                "type": "metric", "width": _WIDTH, "height": _HEIGHT,
                "x": number % 3 * _WIDTH, "y": (number // 3 + 1) * _HEIGHT,
                "properties": {"title": title, "stat": stat, "metrics": lines, "period": 300,
                               "region": Aws.REGION, "view": "timeSeries"},
            }
            for number, (title, stat, lines) in enumerate(_rows(places))
        ]  # fmt: skip
        body = {"widgets": [states, *graphs]}
        cloudwatch.CfnDashboard(
            self, "Board", dashboard_name=names.prefix,
            dashboard_body=Stack.of(self).to_json_string(json.loads(json.dumps(body))),
        )  # fmt: skip
