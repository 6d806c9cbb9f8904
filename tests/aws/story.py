"""The whole system on servers that stand for AWS: a bad day of calls, real processes, real HTTP.

    OCP simulator ──► ocp-ingest serve ─┐                       ┌─ functions host (the functions)
                                        ├─► proxy ─► LocalStack ─┤
                      ocp-ingest work ──┘       └─► DynamoDB    └─ scheduler clock

Resources are made from the deployed template (servers/provision.py), processes get the variables
that the template gives them, changed in what OVERRIDDEN says. Requests of our processes pass the
proxy, which counts them and breaks some. Domain time is scaled as in `ocp-ingest demo`, whose
configuration, simulator and comparison with the simulator's ledger are used as they are; so is its
verdict: conservation holds, every call has the expected outcome, stored bytes equal OCP's.
"""

from __future__ import annotations

import gzip
import json
import math
import statistics
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from ocp_ingest.adapters.aws.seal_book import SK_LINKS
from ocp_ingest.adapters.aws.table import SK_EVENT, SK_RECORD, call_id_of, event_key
from ocp_ingest.adapters.signing import FileSigner
from ocp_ingest.demo.client import Client
from ocp_ingest.demo.compare import Compared, audit, compare
from ocp_ingest.demo.processes import Processes
from ocp_ingest.demo.setting import Place, prepare, write_config
from tests.aws.clients import client
from tests.aws.people import Door, visit
from tests.aws.servers import launch, provision
from tests.aws.servers.fetch import ROOT, Servers
from tests.aws.servers.launch import Server
from tests.aws.servers.provision import TABLE, Provisioned

# Domain seconds per real second: a day, its watermarks and its census in minutes. The embedded
# demo is four times as fast; here a state machine's steps take real seconds.
SPEED: Final = 900.0
# What the processes need to start before the day begins; seconds.
START_S: Final = 15.0
# Nothing has moved for so long: it never will.
PATIENCE_S: Final = 150.0
DAY_S_MAX: Final = 900.0
LOOK_S: Final = 2.0
CENSUS_LOOK_S: Final = 10.0
# OCP's watermark (2 h) and the rest of the last hour: then every hour of the day can be counted.
CENSUS_LAG_MS: Final = 3 * 3_600_000
GATHER_MS: Final = 6 * 3_600_000
# A step not done so long after it could be, in real seconds, is taken up again. Sooner, every look
# would queue again what only waits its turn: under load several messages for each step.
RESUME_S: Final = 4.0
# The one duplicate in so many deliveries of a schedule.
DUPLICATES: Final = 0.2
# A second's item is 1 KB: more costs another unit with each write.
RECORD_BYTES_MAX: Final = 1024

# What a process on this machine is told otherwise than a container: where the stand-ins are and
# where its own files go. Tokens come from the platform's own issuer: Cognito is not made.
OVERRIDDEN: Final = ("OCP_INGEST_AUTH__", "OCP_INGEST_DATA__", "OCP_INGEST_OCP__SPOOL_DIR",
                     "OCP_INGEST_SERVER__", "OCP_INGEST_CONSOLE__", "OCP_INGEST_ALERTS__",
                     "OCP_INGEST_EVIDENCE__")  # fmt: skip
SERVICES: Final = ("dynamodb", "s3", "sqs", "stepfunctions", "scheduler", "lambda",
                   "secretsmanager", "sts", "cloudwatch", "ssm", "sns", "kms")  # fmt: skip
SEAL: Final = "ocp-ingest-seal"


@dataclass(frozen=True, slots=True)
class Archived:
    """Events of journals (call, sort key) by the table and by the audit archive, and rejects."""

    in_table: frozenset[tuple[str, str]]
    in_archive: frozenset[tuple[str, str]]
    rejected: int


@dataclass(slots=True)
class Verdict:
    """How the day ended."""

    compared: Compared
    differences: list[str]
    terms: dict[str, Any]
    operations: dict[str, Any]
    pushes: dict[str, Any]
    exports: dict[str, Any]
    archive: Archived

    def problems(self) -> list[str]:
        """Everything that is not as the ledger says, in words."""
        found = self.compared
        counted = [
            f"{getattr(found, name)} {name}"
            for name in ("in_flight", "mismatches", "unexpected", "strays_open", "unknown")
            if getattr(found, name)
        ]
        archive = [
            *(f"not archived: {event} of {call}"
              for call, event in self.archive.in_table - self.archive.in_archive),
            *(f"archived, but in no journal: {event} of {call}"
              for call, event in self.archive.in_archive - self.archive.in_table),
            *([f"{self.archive.rejected} changes rejected"] if self.archive.rejected else []),
        ]  # fmt: skip
        return [*counted, *found.problems, *self.differences, *archive]


@dataclass
class Story:
    """One deployment and one day; `with`, then `run`."""

    servers: Servers
    folder: Path
    template: dict[str, Any]
    calls: int = 200
    seed: int = 7
    speed: float = SPEED
    workers: int = 1
    stack: ExitStack = field(default_factory=ExitStack)
    made: Provisioned | None = None
    worker: list[Server] = field(default_factory=list)

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.stack.close()

    # -- starting -----------------------------------------------------------------------------

    def _start(self) -> None:
        self.ports = {
            name: launch.free_port()
            for name in ("serve", "serve-reader", "sim", "proxy", "functions", "clock", "pump")
        }
        self.localstack = self._with(launch.localstack(self.servers, self.folder / "localstack"))
        self.dynamodb = self._with(launch.dynamodb(self.servers, self.folder / "dynamodb"))
        self.made = provision.provision(
            self.template, localstack=self.localstack.url, dynamodb=self.dynamodb.url,
            function_host=f"http://127.0.0.1:{self.ports['functions']}",
        )  # fmt: skip
        upstreams = {"dynamodb": self.dynamodb.url, "*": self.localstack.url}
        self.proxy = self._ours("proxy", "tests.aws.servers.proxy", json.dumps(upstreams),
                                ready="/__totals")  # fmt: skip
        self.place = prepare(self.folder / "demo", self.calls, self.seed)
        self.real_s = time.time() + START_S
        self.config = write_config(
            self.place, port=self.ports["serve"], sim_port=self.ports["sim"], speed=self.speed,
            real_s=self.real_s,
        )  # fmt: skip
        self._start_functions(self.made)
        self.sim_url = self._start_simulator()
        self.serve = self._process("serve", self.made.tasks["ingest"], "/readyz", wait=False)
        for number in range(self.workers):
            self.start_worker(number, wait=False)
        # What this harness and its people ask goes to an API of its own, whose requests are not
        # counted.
        self.door = Door.at(f"http://127.0.0.1:{self.ports['serve-reader']}")
        self.reader = self._process("serve-reader", self.made.tasks["ingest"], "/readyz",
                                    wait=False)  # fmt: skip
        for process in (self.serve, self.reader, *self.worker):
            process.wait_ready()
        clock = {
            "localstack": self.localstack.url, "functions": self.functions.url,
            "origin_ms": self.place.state.origin_ms, "scale": self.speed,
            "real_origin_s": self.real_s, "duplicates": DUPLICATES, "seed": self.seed,
            "real": [SEAL],
        }  # fmt: skip
        self.clock = self._ours("clock", "tests.aws.servers.scheduler_clock", json.dumps(clock),
                                ready="/__stats")  # fmt: skip
        pump = {
            "dynamodb": self.dynamodb.url, "functions": self.functions.url, "table": TABLE,
            "function": "ocp-ingest-archive", "duplicates": DUPLICATES, "seed": self.seed,
        }  # fmt: skip
        self.pump = self._ours("pump", "tests.aws.servers.stream_pump", json.dumps(pump),
                               ready="/__stats")  # fmt: skip
        secret = self.place.state.reader_secret
        self.platform = Client(self.reader.url, "demo", secret)
        self.simulator = Client(self.sim_url)

    def _with(self, server: Server) -> Server:
        self.stack.callback(server.leave)
        return server.start()

    def _ours(self, name: str, module: str, argument: str, *, ready: str) -> Server:
        port = self.ports[name]
        return self._with(
            launch.python(name, module, self.folder / name, str(port), argument, port=port,
                          env=launch.environment(), ready=ready)
        )  # fmt: skip

    def _start_functions(self, made: Provisioned) -> None:
        folder = self.folder / "functions"
        folder.mkdir()
        described = {"functions": made.functions, "environment": self._common()}
        for function in made.functions.values():
            function["environment"] = _kept(function["environment"])
        (folder / "functions.json").write_text(json.dumps(described), "utf-8")
        port = self.ports["functions"]
        self.functions = self._with(
            launch.python(
                "functions", "tests.aws.servers.functions_host", folder,
                str(folder / "functions.json"), str(port), port=port, env=launch.environment(),
                ready="/__stats",
            )
        )  # fmt: skip

    def _start_simulator(self) -> str:
        processes = self.stack.enter_context(Processes(self.place.folder))
        return processes.simulator(
            self.place, port=self.ports["sim"], speed=self.speed, real_s=self.real_s, audio=None,
            platform_url=f"http://127.0.0.1:{self.ports['serve']}",
        )  # fmt: skip

    def start_worker(self, number: int = 0, *, wait: bool = True) -> Server:
        """A worker; one of that number must not run."""
        assert self.made is not None
        name = f"work-{number}"
        self.ports[name] = launch.free_port()
        worker = self._process(name, self.made.tasks["worker"], "/healthz", wait=wait)
        self.worker.append(worker)
        return worker

    def _process(self, name: str, variables: dict[str, str], ready: str, *, wait: bool) -> Server:
        command = name.partition("-")[0]
        port = self.ports[name]
        env = launch.environment(**(_kept(variables) | self._common()), AWS_SDK_UA_APP_ID=command)
        if name == "serve-reader":
            env["OCP_INGEST_AWS__ENDPOINTS"] = self._endpoints("")
            env |= self.door.environment()
        env["OCP_INGEST_DATA__DIR"] = str(self.folder / name / "data")
        server = Server(
            name,
            [ROOT / ".venv" / "bin" / "ocp-ingest", command, "--runtime", "aws", "--host",
             "127.0.0.1", "--port", str(port)],
            folder=self.folder / name, url=f"http://127.0.0.1:{port}", env=env, ready=ready,
        )  # fmt: skip
        self.stack.callback(server.leave)
        return server.start(wait=wait)

    def _common(self) -> dict[str, str]:
        return {
            "OCP_INGEST_CONFIG": str(self.config),
            "OCP_INGEST_AWS__ENDPOINTS": self._endpoints(self.proxy.url),
            # The demo's calls wait half a day for each other; here each hour takes seconds.
            "OCP_INGEST_STAGE2__GATHER_MS": str(GATHER_MS),
            # A minute of this domain passes in a fifteenth of a second, before any step is done.
            "OCP_INGEST_POLICY__RESUME_AFTER_MS": str(int(RESUME_S * self.speed * 1000)),
            "OCP_INGEST_EVIDENCE__KEY_FILE": str(self._signing_key()),
        }

    def _signing_key(self) -> Path:
        path = self.folder / "seals.key"
        if not path.exists():
            FileSigner(path)
        return path

    def _endpoints(self, proxy: str) -> str:
        """A TOML table; without a proxy the stand-ins themselves."""
        urls = {"dynamodb": self.dynamodb.url}
        pairs = (f'{name} = "{proxy or urls.get(name, self.localstack.url)}"' for name in SERVICES)
        return "{ " + ", ".join(pairs) + " }"

    # -- the day ------------------------------------------------------------------------------

    def begin(self) -> None:
        """Lets OCP begin to push."""
        self.simulator.post("/_sim/start")

    def run(self) -> Verdict:
        """Waits for the end of the day and compares."""
        self.watch()
        return self.verdict()

    def watch(self) -> None:
        """Until everything was pushed and nothing is in flight, or nothing moves any more."""
        moved_at = started_at = time.monotonic()
        looked_at, before, asked, counted = 0.0, object(), False, False
        while time.monotonic() - started_at < DAY_S_MAX:
            self._check()
            status = self.simulator.get("/_sim/status")
            terms = self.platform.get("/v1/conservation")
            pushed = status["push"]["done"]
            lagged = status["now_ms"] > status["world"]["end_ms"] + CENSUS_LAG_MS
            if pushed and lagged and not counted:
                # Asking lets detect look, too: seldom, or it would do nothing else.
                if time.monotonic() - looked_at > CENSUS_LOOK_S:
                    counted = self._census_covers(status, ask=not asked)
                    asked, looked_at = True, time.monotonic()
            elif pushed and counted and terms["in_flight"] == 0:
                return
            now = (status["push"]["delivered"], terms, status["exports"]["jobs"])
            if now != before:
                before, moved_at = now, time.monotonic()
            if time.monotonic() - moved_at > PATIENCE_S:
                return
            time.sleep(LOOK_S)

    def _census_covers(self, status: dict[str, Any], *, ask: bool) -> bool:
        said = self.platform.post(f"/v1/reconciliations?census={'true' if ask else 'false'}")
        until = [state["until_ms"] for state in said["census"].values()]
        return bool(until) and min(until) >= status["world"]["end_ms"]

    def _check(self) -> None:
        for server in (self.localstack, self.dynamodb, self.serve, self.functions, self.clock):
            assert server.alive(), f"{server.name} has ended:\n{server.tail()}"

    # -- faults -------------------------------------------------------------------------------

    def break_requests(self, rate: float) -> None:
        """Lets so many of a hundred requests to AWS fail, each in one of four ways."""
        _post(f"{self.proxy.url}/__faults", {"rate": rate, "seed": self.seed})

    def crash(self, function: str, when: str, times: int = 1) -> None:
        """Lets the next invocations of a function die."""
        _post(f"{self.functions.url}/__crash",
              {"function": f"ocp-ingest-{function}", "when": when, "times": times})  # fmt: skip

    def abort_executions(self) -> int:
        """Stops every execution that runs, as a person may; how many there were."""
        states = client("stepfunctions", self.localstack.url)
        running = [arn for arn, status in self._listed() if status == "RUNNING"]
        for arn in running:
            states.stop_execution(executionArn=arn)
        return len(running)

    # -- the verdict --------------------------------------------------------------------------

    def verdict(self) -> Verdict:
        """Compares, call by call and byte by byte, with what the simulator knows."""
        status = self.simulator.get("/_sim/status")
        calls = {call["call_id"]: self._plain(call) for call in self.platform.calls()}
        ledger = list(self.simulator.lines("/_sim/ledger", format="ndjson"))
        copy = self.folder / "buckets"
        self._download(copy / "recordings")
        compared = compare(ledger, calls, copy, "expected")
        terms = self.platform.get("/v1/conservation")
        differences = audit(terms, compared, copy)
        return Verdict(
            compared, differences, terms, self.operations(compared), status["push"],
            status["exports"], self.archived(),
        )  # fmt: skip

    def people(self) -> None:
        """A visit at the console; after `verdict`, whose copy of the buckets it needs."""
        calls = [self._plain(call) for call in self.platform.calls()]
        visit(self.door, self.platform, calls, self.folder / "buckets" / "recordings")

    def unsealed(self) -> int:
        """Lets the sealer do what waits; how many events have no link in their call's chain."""
        until = time.monotonic() + PATIENCE_S
        while True:
            while _ask(f"{self.functions.url}/{SEAL}", {})["links"]:
                pass
            linked = self._linked()
            left = len(self._journals()) - linked
            if not left or time.monotonic() >= until:
                return left
            time.sleep(LOOK_S)

    def archived(self) -> Archived:
        """The audit archive held against the table, until they agree: an export may still end."""
        until = time.monotonic() + PATIENCE_S
        while True:
            dry = not _get(f"{self.pump.url}/__stats").get("waiting", 1)
            lines, rejected = self._archive()
            found = Archived(self._journals(), lines, rejected)
            if (dry and found.in_table == found.in_archive) or time.monotonic() >= until:
                return found
            time.sleep(LOOK_S)

    def _archive(self) -> tuple[frozenset[tuple[str, str]], int]:
        """Events of the archive, and how many changes it rejected."""
        lines, rejected = set(), 0
        for key, body in self._objects(f"{self._prefix()}archive"):
            rejected += key.startswith("rejected/")
            if key.startswith("journal/"):
                held = [json.loads(line) for line in gzip.decompress(body).splitlines()]
                lines |= {
                    (h["call_id"], event_key(h["event_id"])) for h in held if h["what"] == "journal"
                }
        return frozenset(lines), rejected

    def _journals(self) -> frozenset[tuple[str, str]]:
        """Events of the table."""
        return frozenset(
            (str(call_id_of(item["pk"]["S"])), item["sk"]["S"])
            for item in self._items(SK_EVENT, "pk, sk")
        )

    def _linked(self) -> int:
        """How many events the chains of all calls hold."""
        last: dict[str, int] = {}
        for item in self._items(SK_LINKS, "pk, k"):
            last[item["pk"]["S"]] = max(last.get(item["pk"]["S"], 0), int(item["k"]["N"]))
        return sum(last.values())

    def _items(self, begins: str, attributes: str) -> Iterator[dict[str, Any]]:
        """Items of the table whose sort key begins so."""
        pages = client("dynamodb", self.dynamodb.url).get_paginator("scan").paginate(
            TableName=TABLE, ProjectionExpression=attributes,
            FilterExpression="begins_with(sk, :begins)",
            ExpressionAttributeValues={":begins": {"S": begins}},
        )  # fmt: skip
        return (item for page in pages for item in page["Items"])

    def _objects(self, bucket: str) -> Iterator[tuple[str, bytes]]:
        """Keys and bytes of a bucket."""
        storage = client("s3", self.localstack.url)
        pages = storage.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        for key in (o["Key"] for page in pages for o in page.get("Contents", ())):
            yield key, storage.get_object(Bucket=bucket, Key=key)["Body"].read()

    def _plain(self, call: dict[str, Any]) -> dict[str, Any]:
        """A call with where its recordings lie as the comparison wants it: bucket/key."""
        prefix = f"s3://{self._prefix()}"
        for recording in call["recordings"]:
            uri = recording["uri"]
            recording["uri"] = uri.removeprefix(prefix) if uri else uri
        return call

    def _prefix(self) -> str:
        assert self.made is not None
        return self.made.tasks["worker"]["OCP_INGEST_AWS__BUCKET_PREFIX"]

    def _download(self, folder: Path) -> None:
        """Every bucket that recordings end up in, as folders and files."""
        storage = client("s3", self.localstack.url)
        for bucket in storage.list_buckets()["Buckets"]:
            logical = bucket["Name"].removeprefix(self._prefix())
            if not logical.startswith("lob-") or logical == bucket["Name"]:
                continue
            (folder / logical).mkdir(parents=True)
            for key, body in self._objects(bucket["Name"]):
                path = folder / logical / key
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(body)

    def operations(self, compared: Compared) -> dict[str, Any]:
        """What the day asked of AWS, and the sizes of records."""
        totals = _get(f"{self.proxy.url}/__totals")
        transitions = self._transitions()
        sizes, table_bytes = self._sizes()
        stored = compared.stored
        return {
            "calls": self.calls,
            "stored": stored,
            "streamed": compared.streamed,
            "recovered": compared.recovered,
            "requests": dict(sorted(totals["requests"].items())),
            "requests_per_stored_call": {
                name: round(count / max(1, stored), 3)
                for name, count in sorted(totals["requests"].items())
            },
            "dynamodb_units": totals["units"],
            "by": totals["of"],
            "faults": totals["faults"],
            "table_bytes": table_bytes,
            "state_transitions": sum(transitions.values()),
            "executions": dict(self._executions()),
            "states_entered": dict(sorted(transitions.items())),
            "functions": _get(f"{self.functions.url}/__stats"),
            "schedules": _get(f"{self.clock.url}/__stats"),
            "record_bytes": {
                "p50": round(statistics.median(sizes)) if sizes else 0,
                "p99": _percentile(sizes, 0.99),
                "max": max(sizes, default=0),
            },
        }

    def _transitions(self) -> Counter[str]:
        states = client("stepfunctions", self.localstack.url)
        found: Counter[str] = Counter()
        for arn, _ in self._listed():
            pages = states.get_paginator("get_execution_history").paginate(executionArn=arn)
            found.update(
                event["stateEnteredEventDetails"]["name"]
                for page in pages for event in page["events"]
                if "stateEnteredEventDetails" in event
            )  # fmt: skip
        return found

    def _executions(self) -> Counter[str]:
        return Counter(status for _, status in self._listed())

    def _listed(self) -> list[tuple[str, str]]:
        assert self.made is not None
        states = client("stepfunctions", self.localstack.url)
        pages = states.get_paginator("list_executions").paginate(
            stateMachineArn=self.made.state_machine_arn
        )
        return [(e["executionArn"], e["status"]) for page in pages for e in page["executions"]]

    def _sizes(self) -> tuple[list[int], int]:
        """Bytes of each call's record, and of the whole table, as DynamoDB counts items."""
        pages = client("dynamodb", self.dynamodb.url).get_paginator("scan").paginate(
            TableName=TABLE
        )  # fmt: skip
        items = [(i["sk"]["S"], item_bytes(i)) for page in pages for i in page["Items"]]
        return [size for sk, size in items if sk == SK_RECORD], sum(size for _, size in items)


def item_bytes(item: dict[str, Any]) -> int:
    """The size of an item: UTF-8 of names and texts, bytes of binaries, numbers by their digits.

    Source: Amazon DynamoDB developer guide, "DynamoDB item sizes and formats".
    """
    return sum(len(name.encode()) + _value_bytes(value) for name, value in item.items())


def _value_bytes(value: dict[str, Any]) -> int:
    ((kind, held),) = value.items()
    match kind:
        case "S":
            return len(held.encode())
        case "B":
            return len(held)
        case "N":
            return math.ceil(len(held.lstrip("-").strip("0.")) / 2) + 1
        case "BOOL" | "NULL":
            return 1
        case "M":
            return 3 + sum(1 + len(k.encode()) + _value_bytes(v) for k, v in held.items())
        case "L":
            return 3 + sum(1 + _value_bytes(v) for v in held)
        case _:
            return sum(len(one if isinstance(one, bytes) else one.encode()) for one in held)


def _percentile(sizes: list[int], part: float) -> int:
    return sorted(sizes)[max(0, math.ceil(len(sizes) * part) - 1)] if sizes else 0


def _kept(variables: dict[str, str]) -> dict[str, str]:
    """The template's variables but for what is different on this machine."""
    return {k: v for k, v in variables.items() if not k.startswith(OVERRIDDEN)}


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return json.load(answer)


def _post(url: str, body: object) -> None:
    request = urllib.request.Request(url, data=json.dumps(body).encode(), method="POST")
    with urllib.request.urlopen(request, timeout=60):
        return


def _ask(url: str, body: object) -> Any:
    request = urllib.request.Request(url, data=json.dumps(body).encode(), method="POST")
    with urllib.request.urlopen(request, timeout=300) as answer:
        return json.load(answer)


__all__ = ["RECORD_BYTES_MAX", "SPEED", "Place", "Story", "Verdict", "item_bytes"]
