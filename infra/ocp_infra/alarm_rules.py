"""What each alarm watches and when it rings; one row per name in alarm_names.

A rule says over how much time one value is taken (period), how many of the last such values must
be beyond the threshold (`of` the last), and what it means that there are none:
    quiet   no data is no trouble: events that do not happen
    keep    the last word stands: gauges that are sent once per sweep
    ring    no data is the trouble itself
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal, NamedTuple

from ocp_infra.alarm_names import INCIDENTS

MINUTE: Final = 60
Missing = Literal["quiet", "keep", "ring"]


class Metric(NamedTuple):
    """One metric; dimensions by CloudWatch's names."""

    namespace: str
    name: str
    dimensions: Mapping[str, str]
    stat: str = "Sum"


class Rule(NamedTuple):
    """Rings when the expression (or the only metric) is above, or with `below` below, `limit`."""

    metrics: Mapping[str, Metric]
    limit: float
    period_s: int = 5 * MINUTE
    expression: str = ""
    below: bool = False
    times: int = 1
    of: int = 1
    missing: Missing = "quiet"


class Places(NamedTuple):
    """Where things are: names of this deployment's resources."""

    function: Callable[[str], str]
    queue: Mapping[str, str]  # by the short name: "work", "work-dead", …
    table: str
    state_machine: str
    schedule_group: str
    balancer: str
    targets: str
    cluster: str
    service: Mapping[str, str]
    sweep_s: int
    pending_s_max: int
    lease_s: int


def rules(places: Places) -> dict[tuple[str, str], Rule]:
    """(name, which one) -> rule; "" where there is one only."""
    found: dict[tuple[str, str], Rule] = {}
    for make in (_incidents, _promise, _door, _tasks, _queues, _stage2, _functions, _table):
        for key, rule in make(places).items():
            assert key not in found
            found[key] = rule
    return found


def _incidents(places: Places) -> dict[tuple[str, str], Rule]:
    return {
        (kind, ""): Rule(
            {"open": Metric("OcpIngest", "IncidentsOpen", {"kind": kind}, "Maximum")}, 0,
            places.sweep_s, missing="keep",
        )
        for kind in INCIDENTS
    }  # fmt: skip


def _promise(places: Places) -> dict[tuple[str, str], Rule]:
    lost = Metric("OcpIngest", "CallsLost", {}, "Maximum")
    # Which groups there are is known to the platform only, so the oldest of all is asked for.
    oldest = 'SELECT MAX(OldestPendingAgeSeconds) FROM SCHEMA("OcpIngest", ocp_group)'
    ran = Metric("AWS/Lambda", "Invocations", {"FunctionName": places.function("detect")})
    return {
        ("pending_too_old", ""): Rule(
            {}, places.pending_s_max, places.sweep_s, oldest, times=1, of=2
        ),
        ("calls_lost", ""): Rule({"lost": lost}, 0, places.sweep_s, "DIFF(lost)"),
        ("detect_silent", ""): Rule(
            {"ran": ran}, 1, 2 * places.sweep_s, below=True, missing="ring"
        ),
    }


def _door(places: Places) -> dict[tuple[str, str], Rule]:
    def of_balancer(name: str) -> Metric:
        return Metric("AWS/ApplicationELB", name, {"LoadBalancer": places.balancer})

    def of_targets(name: str, stat: str) -> Metric:
        where = {"LoadBalancer": places.balancer, "TargetGroup": places.targets}
        return Metric("AWS/ApplicationELB", name, where, stat)

    refused = {
        "ours": of_balancer("HTTPCode_Target_4XX_Count"),
        "its": of_balancer("HTTPCode_ELB_4XX_Count"),
        "all": of_balancer("RequestCount"),
    }
    # Fewer than 20 requests say nothing about a share.
    share = ("IF(FILL(all, 0) + FILL(its, 0) < 20, 0, "
             "100 * (FILL(ours, 0) + FILL(its, 0)) / (FILL(all, 0) + FILL(its, 0)))")  # fmt: skip
    return {
        ("api_server_errors", ""): Rule(
            {"errors": of_balancer("HTTPCode_Target_5XX_Count")}, 5, times=2, of=3
        ),
        ("api_balancer_errors", ""): Rule(
            {"errors": of_balancer("HTTPCode_ELB_5XX_Count")}, 5, times=2, of=3
        ),
        ("api_refusals", ""): Rule(refused, 50, expression=share, times=3, of=3),
        ("api_connections_rejected", ""): Rule(
            {"rejected": of_balancer("RejectedConnectionCount")}, 0
        ),
        ("api_hosts_unhealthy", ""): Rule(
            {"unhealthy": of_targets("UnHealthyHostCount", "Maximum")}, 0, MINUTE, times=10, of=10
        ),
        ("api_no_host", ""): Rule(
            {"healthy": of_targets("HealthyHostCount", "Maximum")}, 1, MINUTE, below=True, times=3,
            of=3, missing="ring",
        ),
    }  # fmt: skip


def _tasks(places: Places) -> dict[tuple[str, str], Rule]:
    found: dict[tuple[str, str], Rule] = {}
    for name, service in places.service.items():
        where = {"ClusterName": places.cluster, "ServiceName": service}
        counts = {
            "wanted": Metric("ECS/ContainerInsights", "DesiredTaskCount", where, "Minimum"),
            "running": Metric("ECS/ContainerInsights", "RunningTaskCount", where, "Minimum"),
        }
        # Starting a task takes one or two minutes; more than fifteen are no start any more.
        found["tasks_low", name] = Rule(
            counts, 0, MINUTE, "wanted - running", times=15, of=15, missing="ring"
        )
        memory = Metric("AWS/ECS", "MemoryUtilization", where, "Maximum")
        found["task_memory_high", name] = Rule({"memory": memory}, 85, times=3, of=3)
    return found


def _queues(places: Places) -> dict[tuple[str, str], Rule]:
    def of(queue: str, name: str, stat: str) -> dict[str, Metric]:
        return {"value": Metric("AWS/SQS", name, {"QueueName": places.queue[queue]}, stat)}

    def age(queue: str, limit_s: int) -> Rule:
        return Rule(of(queue, "ApproximateAgeOfOldestMessage", "Maximum"), limit_s, times=3, of=3)

    def dead(queue: str) -> Rule:
        return Rule(of(queue, "ApproximateNumberOfMessagesVisible", "Maximum"), 0, missing="keep")

    return {
        # A message that a dead worker held shows again after a lease; two are no accident.
        ("work_queue_old", ""): age("work", 2 * places.lease_s),
        # The state machine's token waits 15 minutes for the first beat.
        ("download_queue_old", ""): age("download", 900),
        ("work_dead_letters", ""): dead("work-dead"),
        # Its function empties this queue within seconds: what was taken counts, not what lies.
        ("download_dead_letters", ""): Rule(
            of("download-dead", "NumberOfMessagesReceived", "Sum"), 0
        ),
        ("schedule_dead_letters", ""): dead("schedule-dead"),
        ("function_dead_letters", ""): dead("function-dead"),
        ("archive_dead_letters", ""): dead("archive-dead"),
    }


def _stage2(places: Places) -> dict[tuple[str, str], Rule]:
    def executions(name: str) -> Rule:
        where = {"StateMachineArn": places.state_machine}
        return Rule({"count": Metric("AWS/States", name, where)}, 0)

    def polls(name: str) -> Metric:
        return Metric("AWS/Scheduler", name, {"ScheduleGroup": places.schedule_group})

    failing = {"errors": polls("TargetErrorCount"), "slowed": polls("TargetErrorThrottledCount")}
    return {
        ("executions_failed", ""): executions("ExecutionsFailed"),
        ("executions_timed_out", ""): executions("ExecutionsTimedOut"),
        ("executions_aborted", ""): executions("ExecutionsAborted"),
        ("executions_throttled", ""): executions("ExecutionThrottled"),
        ("schedules_dropped", ""): Rule({"dropped": polls("InvocationDroppedCount")}, 0),
        ("schedules_failing", ""): Rule(
            failing, 0, expression="FILL(errors, 0) + FILL(slowed, 0)", times=3, of=3
        ),
    }


def _functions(places: Places) -> dict[tuple[str, str], Rule]:
    from ocp_infra.alarm_names import FUNCTIONS

    found: dict[tuple[str, str], Rule] = {}
    for name in FUNCTIONS:
        where = {"FunctionName": places.function(name)}
        # One failure is tried again; failures in two of three periods are not chance.
        found["function_errors", name] = Rule(
            {"errors": Metric("AWS/Lambda", "Errors", where)}, 0, times=2, of=3
        )
        found["function_throttled", name] = Rule(
            {"throttled": Metric("AWS/Lambda", "Throttles", where)}, 0, times=3, of=3
        )
    late = Metric(
        "AWS/Lambda", "IteratorAge", {"FunctionName": places.function("archive")}, "Maximum"
    )
    # An hour behind, of the 24 that the stream remembers; in milliseconds.
    found["archive_late", ""] = Rule({"age": late}, 3_600_000, times=3, of=3)
    return found


# Operations that DynamoDB counts system errors by.
_OPERATIONS: Final = ("GetItem", "PutItem", "UpdateItem", "DeleteItem", "Query", "BatchGetItem",
                      "TransactWriteItems")  # fmt: skip


def _table(places: Places) -> dict[tuple[str, str], Rule]:
    from ocp_infra.alarm_names import INDEXES

    def throttled(where: Mapping[str, str]) -> Rule:
        metrics = {
            "reads": Metric("AWS/DynamoDB", "ReadThrottleEvents", where),
            "writes": Metric("AWS/DynamoDB", "WriteThrottleEvents", where),
        }
        return Rule(metrics, 0, expression="FILL(reads, 0) + FILL(writes, 0)", times=2, of=3)

    table = {"TableName": places.table}
    errors = {
        f"e{number}": Metric("AWS/DynamoDB", "SystemErrors", {**table, "Operation": operation})
        for number, operation in enumerate(_OPERATIONS)
    }
    return {
        ("table_throttled", ""): throttled(table),
        **{
            ("index_throttled", index): throttled({**table, "GlobalSecondaryIndexName": index})
            for index in INDEXES
        },
        ("table_system_errors", ""): Rule(
            errors, 0, expression=" + ".join(f"FILL({ident}, 0)" for ident in errors), times=2, of=3
        ),
    }
