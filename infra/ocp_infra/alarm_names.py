"""Every alarm of a deployment: its name, what it means, and what it is raised for.

Rules
1. A name here is the name of its runbook, docs/runbooks/<name>.md; tests hold both ends of that.
2. An alarm that exists more than once (one per function, per index, per service) has one name, one
   page, and `each`: the last word of the alarm's own name says which one it is.
3. Plain values, no CDK: tests and documentation read this table without it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

FUNCTIONS: Final = (
    "detect", "export", "puller", "metadata", "finish", "dead_letters", "archive", "seal",
)  # fmt: skip
SERVICES: Final = ("ingest", "worker")
# By base table and index: a hot index throttles the writes of the table itself.
INDEXES: Final = ("pending", "by_day", "by_id")


class AlarmName(NamedTuple):
    """`metric` is what is watched, in CloudWatch's words; `each` what it is repeated for."""

    meaning: str
    metric: str
    each: tuple[str, ...] = ()


# One alarm per kind of incident (ocp_ingest.core.incidents.INCIDENT_KINDS, held equal by a test):
# metric OcpIngest/IncidentsOpen by `kind`, sent by every sweep of `detect`.
INCIDENTS: Final = (
    "unassigned", "recording_conflict", "object_conflict", "step_parked", "landing_missing",
    "subscription_silent", "group_blocked", "group_half_open", "slot_busy", "hours_quarantined",
    "windows_shrunk", "retention_near", "vendor_down", "recording_quarantined", "recording_lost",
    "archive_damaged", "calls_stuck", "completeness_low", "stream_share_low",
    "conservation_broken", "evidence_broken", "alerts_undelivered",
)  # fmt: skip

OPERATIONS: Final[dict[str, AlarmName]] = {
    # The promise itself.
    "pending_too_old": AlarmName(
        "a call has waited for its recording or its CDRs for longer than a day",
        "OcpIngest OldestPendingAgeSeconds, the oldest of all groups",
    ),
    "calls_lost": AlarmName(
        "more calls ended as lost: OCP's retention was over before their recording came",
        "OcpIngest CallsLost, its growth",
    ),
    "detect_silent": AlarmName(
        "the sweep that looks for missing recordings has not run for two of its periods",
        "AWS/Lambda Invocations of detect; no data is an alarm",
    ),
    # The door.
    "api_server_errors": AlarmName(
        "the ingestion API answers 5xx: OCP retries, until it gives up",
        "AWS/ApplicationELB HTTPCode_Target_5XX_Count",
    ),
    "api_balancer_errors": AlarmName(
        "the load balancer itself answers 5xx: no task could take the request, or it broke off",
        "AWS/ApplicationELB HTTPCode_ELB_5XX_Count",
    ),
    "api_refusals": AlarmName(
        "most requests are refused with 4xx: a token, a certificate or a subscription is wrong",
        "AWS/ApplicationELB 4xx of targets and load balancer, as a share of requests",
    ),
    "api_connections_rejected": AlarmName(
        "the load balancer is at its limit of connections and refuses new ones",
        "AWS/ApplicationELB RejectedConnectionCount",
    ),
    "api_hosts_unhealthy": AlarmName(
        "a task of the ingestion API does not pass /readyz",
        "AWS/ApplicationELB UnHealthyHostCount",
    ),
    "api_no_host": AlarmName(
        "no task of the ingestion API passes /readyz: nothing is taken any more",
        "AWS/ApplicationELB HealthyHostCount below 1; no data is an alarm",
    ),
    # The tasks.
    "tasks_low": AlarmName(
        "fewer tasks run than should: they stop, or can't be placed",
        "ECS/ContainerInsights DesiredTaskCount minus RunningTaskCount",
        SERVICES,
    ),
    "task_memory_high": AlarmName(
        "the tasks' memory is nearly used up; what they hold is bounded, so a bound is too high",
        "AWS/ECS MemoryUtilization",
        SERVICES,
    ),
    # Queues.
    "work_queue_old": AlarmName(
        "a step that is due has waited for a worker for too long: too few workers, or they hang",
        "AWS/SQS ApproximateAgeOfOldestMessage of the work queue",
    ),
    "download_queue_old": AlarmName(
        "a finished export waits for its download; OCP deletes its data a day after its creation",
        "AWS/SQS ApproximateAgeOfOldestMessage of the download queue",
    ),
    "work_dead_letters": AlarmName(
        "calls whose step was tried too often by a worker that died each time",
        "AWS/SQS messages in the work queue's dead-letter queue",
    ),
    "download_dead_letters": AlarmName(
        "downloads that no worker could finish; the execution was told, the next sweep plans anew",
        "AWS/SQS messages in the download queue's dead-letter queue",
    ),
    "schedule_dead_letters": AlarmName(
        "a poll of an export that EventBridge Scheduler could not deliver to the puller",
        "AWS/SQS messages in the scheduler's dead-letter queue",
    ),
    "function_dead_letters": AlarmName(
        "an asynchronous call of a function (a sweep, a re-plan) failed every time it was tried",
        "AWS/SQS messages in the functions' dead-letter queue",
    ),
    "archive_dead_letters": AlarmName(
        "changes of the table that could not be archived; the stream forgets them after a day",
        "AWS/SQS messages in the archive's dead-letter queue",
    ),
    # Stage 2.
    "executions_failed": AlarmName(
        "recoveries of a window that failed; the next sweep resumes their job",
        "AWS/States ExecutionsFailed",
    ),
    "executions_timed_out": AlarmName(
        "recoveries of a window that took longer than the state machine allows",
        "AWS/States ExecutionsTimedOut",
    ),
    "executions_aborted": AlarmName(
        "recoveries of a window that somebody stopped",
        "AWS/States ExecutionsAborted",
    ),
    "executions_throttled": AlarmName(
        "Step Functions slows the executions down: a quota of the account is reached",
        "AWS/States ExecutionThrottled",
    ),
    "schedules_dropped": AlarmName(
        "EventBridge Scheduler gave up a poll after its last retry",
        "AWS/Scheduler InvocationDroppedCount",
    ),
    "schedules_failing": AlarmName(
        "EventBridge Scheduler can't invoke the puller: permission, throttling, or a missing key",
        "AWS/Scheduler TargetErrorCount and TargetErrorThrottledCount",
    ),
    # Functions.
    "function_errors": AlarmName(
        "a function ends with errors that are no ordinary answer",
        "AWS/Lambda Errors",
        FUNCTIONS,
    ),
    "function_throttled": AlarmName(
        "a function is invoked more often at once than its concurrency allows",
        "AWS/Lambda Throttles",
        FUNCTIONS,
    ),
    "archive_late": AlarmName(
        "the archive lags behind the table; after 24 h the stream forgets what was not archived",
        "AWS/Lambda IteratorAge of archive",
    ),
    # The table.
    "table_throttled": AlarmName(
        "DynamoDB throttles requests to the table: more traffic than on-demand grows for",
        "AWS/DynamoDB ReadThrottleEvents and WriteThrottleEvents of the table",
    ),
    "index_throttled": AlarmName(
        "an index of the table is throttled, and with it the writes of the table: a hot key",
        "AWS/DynamoDB ReadThrottleEvents and WriteThrottleEvents of the index",
        INDEXES,
    ),
    "table_system_errors": AlarmName(
        "DynamoDB answers with errors of its own",
        "AWS/DynamoDB SystemErrors, all operations",
    ),
    # Money.
    "budget_exceeded": AlarmName(
        "this month's cost has passed, or is predicted to pass, the budget",
        "AWS Budgets: a notification, not a CloudWatch alarm",
    ),
}

INCIDENT_METRIC: Final = "OcpIngest IncidentsOpen by kind"

ALARMS: Final[dict[str, AlarmName]] = {
    **{kind: AlarmName("an incident of this kind is open", INCIDENT_METRIC) for kind in INCIDENTS},
    **OPERATIONS,
}


def runbook(name: str) -> str:
    """Path of the page that says what to do, from the root of the repository."""
    return f"docs/runbooks/{name}.md"
