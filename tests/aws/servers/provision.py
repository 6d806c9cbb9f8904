"""Makes the resources of a deployment on the stand-ins, from the template that is deployed on AWS.

    LocalStack's CloudFormation   queues with their dead letters, buckets, keys, the secret, roles
                                  and their rights, functions, their event sources and asynchronous
                                  settings, schedule group and sweep, state machine, log groups
    DynamoDB Local                the table, from its definition in the template
    not made, and why             NOT_MADE; what refers to it gets a name that leads nowhere

Two things are made otherwise: a function's code is the address of the host that runs it
(functions_host.py), and a token counts as silent after a minute or two (HEARTBEATS), because a test
that kills a worker can't wait for a quarter of an hour.
What the containers of the tasks would be told is resolved by the same stack, as outputs.
"""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from infra.asl.render import TIMES
from tests.aws.clients import client
from tests.aws.servers.fetch import ROOT, Missing
from tests.aws.servers.launch import environment

SIGNING_SPEC: Final = "ECC_NIST_EDWARDS25519"
TABLE: Final = "ocp-ingest-table"
STACK: Final = "ocp-ingest"
# CDK on a loaded machine.
SYNTH_S_MAX: Final = 240

# Seconds of silence: of the template, and here. A worker beats every minute.
HEARTBEATS: Final[Mapping[int, int]] = {
    TIMES["ExportHeartbeatSeconds"]: 60, TIMES["DownloadHeartbeatSeconds"]: 90,
}  # fmt: skip

MADE: Final = frozenset({
    "AWS::IAM::ManagedPolicy", "AWS::IAM::Policy", "AWS::IAM::Role", "AWS::KMS::Alias",
    "AWS::KMS::Key", "AWS::Lambda::EventInvokeConfig", "AWS::Lambda::EventSourceMapping",
    "AWS::Lambda::Function", "AWS::Logs::LogGroup", "AWS::S3::Bucket", "AWS::S3::BucketPolicy",
    "AWS::SNS::Topic", "AWS::SQS::Queue", "AWS::SQS::QueuePolicy", "AWS::Scheduler::Schedule",
    "AWS::Scheduler::ScheduleGroup", "AWS::SecretsManager::Secret",
    "AWS::StepFunctions::StateMachine",
})  # fmt: skip

NOT_MADE: Final[Mapping[str, str]] = {
    "AWS::DynamoDB::Table": "made in DynamoDB Local from the same definition",
    "AWS::EC2::": "no network stands between processes on one machine",
    "AWS::ElasticLoadBalancingV2::": "tests speak to the process itself",
    "AWS::ECS::": "its containers' commands are started as processes, with their environment",
    "AWS::ApplicationAutoScaling::": "one worker, or as many as a test starts",
    "AWS::Cognito::": "not in LocalStack-core; the platform's own issuer stands for it",
    "AWS::WAFv2::": "not in LocalStack-core",
    "AWS::CloudWatch::": "nobody is woken by a test; tests/infra compares alarms with the code",
    "AWS::SNS::": "topics are made; nobody subscribes, and who may publish is read by tests/infra",
    "AWS::Budgets::": "not in LocalStack-core",
    "AWS::CloudTrail::": "not in LocalStack-core",
    "AWS::ApplicationSignals::": "not in LocalStack-core",
}


class Unknown(Exception):
    """The template holds a type of resource that nobody has decided about."""


@dataclass(frozen=True, slots=True)
class Provisioned:
    """What processes are told of the deployment, by process; and its functions."""

    tasks: dict[str, dict[str, str]]  # container -> its environment
    functions: dict[str, dict[str, Any]]  # name -> handler, environment, timeout_s
    state_machine_arn: str


def synthesise(config: Path, out: Path) -> dict[str, Any]:
    """The template for a platform's configuration. Raises Missing."""
    python = ROOT / ".venv-infra" / "bin" / "python"
    if not python.exists():
        raise Missing("The infrastructure's environment is missing: run `make synth` once.")
    done = subprocess.run(
        [str(python), "infra/app.py", "-c", "placeholder=true", "-c", f"config={config}",
         "--out", str(out)],
        cwd=ROOT, env=environment(), capture_output=True, text=True, check=False,
        timeout=SYNTH_S_MAX,
    )  # fmt: skip
    if done.returncode:
        raise Missing(f"The template can't be written: {(done.stdout + done.stderr)[-3000:]}")
    (template,) = out.glob("*.template.json")
    made: dict[str, Any] = json.loads(template.read_text("utf-8"))
    return made


def provision(
    template: dict[str, Any], *, localstack: str, dynamodb: str, function_host: str
) -> Provisioned:
    """Makes everything and returns when it is there."""
    table = _table(template)
    _make_table(table, dynamodb)
    reduced = reduce(copy.deepcopy(template), function_host)
    formation = client("cloudformation", localstack)
    storage = client("s3", localstack)
    storage.create_bucket(Bucket="templates", CreateBucketConfiguration=_here(storage))
    storage.put_object(Bucket="templates", Key="it.json", Body=json.dumps(reduced).encode())
    formation.create_stack(
        StackName=STACK, TemplateURL=f"{localstack}/templates/it.json",
        Parameters=[
            {"ParameterKey": name, "ParameterValue": f"arn:aws:none:::{name}"}
            for name in reduced.get("Parameters", {})
        ],
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )  # fmt: skip
    try:
        formation.get_waiter("stack_create_complete").wait(
            StackName=STACK, WaiterConfig={"Delay": 1, "MaxAttempts": 180}
        )
    except Exception as failed:
        raise AssertionError(_why(formation)) from failed
    return _read(_tasks(template["Resources"]), formation, client("lambda", localstack))


def reduce(template: dict[str, Any], function_host: str) -> dict[str, Any]:
    """The template without what is not made. Raises Unknown."""
    resources: dict[str, Any] = template["Resources"]
    kept = {name: made for name, made in resources.items() if _is_made(made)}
    for made in kept.values():
        if made["Type"] == "AWS::Lambda::Function":
            _forward(made["Properties"], function_host)
        if made["Type"] == "AWS::StepFunctions::StateMachine":
            made["Properties"]["DefinitionString"] = _hurried(made["Properties"])
    gone = resources.keys() - kept.keys()
    outputs = {
        _output(task, number): {"Value": value}
        for task, variables in _tasks(resources).items()
        for number, (_, value) in enumerate(variables)
    }
    whole = {
        "Parameters": {
            name: {"Type": "String"} for name in template.get("Parameters", {})
        },
        "Resources": kept,
        "Outputs": outputs,
    }  # fmt: skip
    cut: dict[str, Any] = _cut(whole, gone)
    return cut


def _output(task: str, number: int) -> str:
    """Names of outputs are letters and digits only."""
    return f"Task{task}X{number}"


def _is_made(resource: dict[str, Any]) -> bool:
    kind: str = resource["Type"]
    if kind in MADE:
        # The table's stream is read by the tests' own pump: the table is not LocalStack's. Its KMS
        # knows no Ed25519, so seals are signed by a key of a file.
        text = json.dumps(resource)
        return "StreamArn" not in text and SIGNING_SPEC not in text and "/seals" not in text
    if not any(kind.startswith(prefix) for prefix in NOT_MADE):
        raise Unknown(f"{kind}: make it, or say in provision.NOT_MADE why not")
    return False


def _forward(properties: dict[str, Any], function_host: str) -> None:
    properties["Code"] = {"ZipFile": "# runs elsewhere"}
    properties["Handler"] = properties.get("Handler", "index.handler")
    properties.pop("TracingConfig", None)
    variables = properties.setdefault("Environment", {}).setdefault("Variables", {})
    variables["FUNCTION_HOST"] = function_host


def _hurried(properties: dict[str, Any]) -> Any:
    """The definition, a text in pieces, with other heartbeats."""
    text = json.dumps(properties["DefinitionString"])
    for seconds, here in HEARTBEATS.items():
        told = f'\\"HeartbeatSeconds\\":{seconds}'
        assert told in text, f"the definition has no heartbeat of {seconds} s"
        text = text.replace(told, f'\\"HeartbeatSeconds\\":{here}')
    return json.loads(text)


def _tasks(resources: dict[str, Any]) -> dict[str, list[tuple[str, Any]]]:
    """The variables of each container, unresolved."""
    return {
        container["Name"]: [(v["Name"], v["Value"]) for v in container.get("Environment", ())]
        for made in resources.values() if made["Type"] == "AWS::ECS::TaskDefinition"
        for container in made["Properties"]["ContainerDefinitions"]
    }  # fmt: skip


def _cut(node: Any, gone: set[str]) -> Any:
    """Replaces what refers to resources that are not there."""
    if isinstance(node, list):
        return [_cut(one, gone) for one in node]
    if not isinstance(node, dict):
        return node
    if node.keys() == {"Ref"} and node["Ref"] in gone:
        return TABLE if "Table" in node["Ref"] else f"not-made-{node['Ref']}"
    if node.keys() == {"Fn::GetAtt"} and node["Fn::GetAtt"][0] in gone:
        name, attribute = node["Fn::GetAtt"]
        return f"arn:aws:none:::{name}/{attribute}"
    cut = {key: _cut(value, gone) for key, value in node.items()}
    if isinstance(cut.get("DependsOn"), list):
        cut["DependsOn"] = [name for name in cut["DependsOn"] if name not in gone]
    elif cut.get("DependsOn") in gone:
        del cut["DependsOn"]
    return cut


# -- the table -----------------------------------------------------------------------------------


def _table(template: dict[str, Any]) -> dict[str, Any]:
    (made,) = [
        r["Properties"] for r in template["Resources"].values()
        if r["Type"] == "AWS::DynamoDB::Table"
    ]  # fmt: skip
    properties: dict[str, Any] = made
    return properties


def _make_table(properties: dict[str, Any], dynamodb: str) -> None:
    kept = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")
    stream = properties.get("StreamSpecification", {}).get("StreamViewType")
    tables = client("dynamodb", dynamodb)
    tables.create_table(
        TableName=TABLE,
        **{name: properties[name] for name in kept},
        StreamSpecification={"StreamEnabled": bool(stream), "StreamViewType": stream},
    )
    tables.get_waiter("table_exists").wait(TableName=TABLE)


# -- what was made -------------------------------------------------------------------------------


def _read(
    variables: dict[str, list[tuple[str, Any]]], formation: Any, functions: Any
) -> Provisioned:
    (stack,) = formation.describe_stacks(StackName=STACK)["Stacks"]
    said = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
    tasks = {
        task: {name: said[_output(task, number)] for number, (name, _) in enumerate(named)}
        for task, named in variables.items()
    }
    pages = functions.get_paginator("list_functions").paginate()
    described = {
        f["FunctionName"]: {
            "handler": f["Handler"],
            "environment": f["Environment"]["Variables"],
            "timeout_s": f["Timeout"],
            "at_once": 3,
        }
        for page in pages for f in page["Functions"]
    }  # fmt: skip
    machine = next(iter(described.values()))["environment"]["OCP_INGEST_AWS__STATE_MACHINE_ARN"]
    return Provisioned(tasks, described, machine)


def _why(formation: Any) -> str:
    events = formation.describe_stack_events(StackName=STACK)["StackEvents"]
    return "\n".join(_failures(events)) or "The stack did not complete."


def _failures(events: list[dict[str, Any]]) -> Iterator[str]:
    for event in events:
        if "FAILED" in event.get("ResourceStatus", ""):
            why = event.get("ResourceStatusReason")
            yield f"{event['LogicalResourceId']} ({event['ResourceType']}): {why}"


def _here(storage: Any) -> dict[str, str]:
    return {"LocationConstraint": storage.meta.region_name}
