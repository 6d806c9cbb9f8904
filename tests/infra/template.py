"""A template as plain data, with CloudFormation's functions resolved to stand-in values.

Names and ARNs come out as AWS would make them, so policies can be compared with what they are
about: a role's ARN ends in its logical id, a bucket has the name that the template gives it.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any, Final

ACCOUNT: Final = "111122223333"
REGION: Final = "eu-west-1"
_PSEUDO: Final = {
    "AWS::Partition": "aws", "AWS::AccountId": ACCOUNT, "AWS::Region": REGION,
    "AWS::URLSuffix": "amazonaws.com", "AWS::StackName": "OcpIngest", "AWS::NoValue": "",
}  # fmt: skip
_HERE: Final = f"{REGION}:{ACCOUNT}"
# Type -> (property that holds the name or None for the logical id, ARN by name).
_ARNS: Final[dict[str, tuple[str | None, str]]] = {
    "AWS::IAM::Role": (None, f"arn:aws:iam::{ACCOUNT}:role/{{}}"),
    "AWS::S3::Bucket": ("BucketName", "arn:aws:s3:::{}"),
    "AWS::KMS::Key": (None, f"arn:aws:kms:{_HERE}:key/{{}}"),
    "AWS::SQS::Queue": ("QueueName", f"arn:aws:sqs:{_HERE}:{{}}"),
    "AWS::DynamoDB::Table": ("TableName", f"arn:aws:dynamodb:{_HERE}:table/{{}}"),
    "AWS::Lambda::Function": ("FunctionName", f"arn:aws:lambda:{_HERE}:function:{{}}"),
    "AWS::Logs::LogGroup": ("LogGroupName", f"arn:aws:logs:{_HERE}:log-group:{{}}"),
    "AWS::SNS::Topic": ("TopicName", f"arn:aws:sns:{_HERE}:{{}}"),
    "AWS::SecretsManager::Secret": ("Name", f"arn:aws:secretsmanager:{_HERE}:secret:{{}}"),
    "AWS::StepFunctions::StateMachine": (
        "StateMachineName", f"arn:aws:states:{_HERE}:stateMachine:{{}}"
    ),
}  # fmt: skip

Resource = dict[str, Any]


class Template:
    """One synthesised template."""

    def __init__(self, body: dict[str, Any]) -> None:
        self.body = body
        self.resources: dict[str, Resource] = body["Resources"]

    def copy(self) -> Template:
        """Another one, to be changed."""
        return Template(copy.deepcopy(self.body))

    def of_type(self, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """(logical id, resolved properties) of every resource of a type."""
        for name, made in self.resources.items():
            if made["Type"] == kind:
                yield name, self.resolve(made.get("Properties", {}))

    def one(self, kind: str) -> dict[str, Any]:
        """The properties of the only resource of a type."""
        ((_, properties),) = self.of_type(kind)
        return properties

    def named(self, kind: str, key: str, ending: str) -> tuple[str, dict[str, Any]]:
        """The resource of a type whose property ends so."""
        found = [(n, p) for n, p in self.of_type(kind) if str(p.get(key, "")).endswith(ending)]
        assert len(found) == 1, f"{len(found)} of {kind} with {key} …{ending}"
        return found[0]

    # -- functions of CloudFormation ------------------------------------------------------------

    def resolve(self, value: Any) -> Any:
        """The value with every function replaced."""
        if isinstance(value, list):
            return [self.resolve(one) for one in value]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((key, inner),) = value.items()
            if key == "Ref":
                return self._ref(inner)
            if key == "Fn::GetAtt":
                return self.attribute(*inner)
            if key == "Fn::Join":
                return inner[0].join(str(self.resolve(part)) for part in inner[1])
            if key == "Fn::Sub":
                return re.sub(r"\$\{([^}]+)\}", lambda m: str(self._ref(m[1])), inner)
            if key in ("Fn::Select", "Fn::Split", "Fn::GetAZs"):
                return f"{key}({self.resolve(inner)})"
        return {key: self.resolve(one) for key, one in value.items()}

    def _ref(self, name: str) -> Any:
        if name in _PSEUDO:
            return _PSEUDO[name]
        if name not in self.resources:
            return f"parameter-{name}"
        kind = self.resources[name]["Type"]
        if kind in ("AWS::SecretsManager::Secret", "AWS::SNS::Topic"):
            return self.attribute(name, "Arn")
        if kind == "AWS::SQS::Queue":
            return f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{self._name(name)}"
        return self._name(name)

    def _name(self, logical: str) -> str:
        made = self.resources[logical]
        key, _ = _ARNS.get(made["Type"], (None, ""))
        return str(self.resolve(made["Properties"][key])) if key else logical

    def attribute(self, logical: str, attribute: str) -> str:
        """An attribute of a resource, as far as a policy or a variable can hold it."""
        kind = self.resources[logical]["Type"]
        if kind in _ARNS and attribute in ("Arn", "TopicArn"):
            return _ARNS[kind][1].format(self._name(logical))
        if attribute in ("QueueName", "Name"):
            return self._name(logical)
        return f"{logical}.{attribute}"
