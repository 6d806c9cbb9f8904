"""A small evaluator of IAM: what a role's session may do to a resource, policies on both sides.

The order is IAM's own within one account (IAM user guide, reference_policies_evaluation-logic):
    1. an explicit Deny on either side ends it
    2. an Allow on either side is enough; but a key, and the trust of a role, must allow by its own
       policy, where the account's root stands for "whoever IAM allows"
Conditions: the operators below, with IAM's rule for keys that the request does not have (a positive
operator is then false, a negated one true). What is not known here raises: nothing passes unseen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from tests.infra.template import ACCOUNT, Template

ROOT: Final = f"arn:aws:iam::{ACCOUNT}:root"
Statement = Mapping[str, Any]


class Request(NamedTuple):
    """Who (a role's ARN, or "" for a service), what, to which resource, and the context's keys."""

    principal: str
    action: str
    resource: str
    context: Mapping[str, str]


class Policies(NamedTuple):
    """Identity policies by role ARN; resource policies by what begins the resource's ARN."""

    identity: Mapping[str, list[Statement]]
    buckets: Mapping[str, list[Statement]]  # bucket ARN
    keys: Mapping[str, list[Statement]]  # key ARN
    trusts: Mapping[str, list[Statement]]  # role ARN


def policies(template: Template) -> Policies:
    """Every policy of a template."""
    identity: dict[str, list[Statement]] = {}
    trusts: dict[str, list[Statement]] = {}
    for logical, role in template.of_type("AWS::IAM::Role"):
        arn = template.attribute(logical, "Arn")
        assert not role.get("ManagedPolicyArns"), f"{logical} has a policy that is not ours"
        trusts[arn] = _statements(role["AssumeRolePolicyDocument"])
        identity[arn] = [
            s for policy in role.get("Policies", ()) for s in _statements(policy["PolicyDocument"])
        ]
    for _, policy in template.of_type("AWS::IAM::Policy"):
        for logical in policy["Roles"]:
            arn = template.attribute(logical, "Arn")
            identity[arn] += _statements(policy["PolicyDocument"])
    for logical, policy in template.of_type("AWS::IAM::ManagedPolicy"):
        # Whoever it will be attached to.
        identity[f"arn:aws:iam::{ACCOUNT}:role/holder-of-{logical}"] = _statements(
            policy["PolicyDocument"]
        )
    buckets: dict[str, list[Statement]] = {}
    for _, policy in template.of_type("AWS::S3::BucketPolicy"):
        arn = f"arn:aws:s3:::{policy['Bucket']}"
        assert arn not in buckets, f"{arn} has two policies: the later one would win"
        buckets[arn] = _statements(policy["PolicyDocument"])
    keys = {
        template.attribute(logical, "Arn"): _statements(key["KeyPolicy"])
        for logical, key in template.of_type("AWS::KMS::Key")
    }
    return Policies(identity, buckets, keys, trusts)


def _statements(document: Mapping[str, Any]) -> list[Statement]:
    return list(many(document["Statement"]))


def allowed(held: Policies, request: Request) -> bool:
    """Whether AWS would do it."""
    own = held.identity.get(request.principal, [])
    at, gate = _at_resource(held, request)
    if any(_applies(s, request, who=False) for s in own if s["Effect"] == "Deny"):
        return False
    if any(_applies(s, request) for s in at if s["Effect"] == "Deny"):
        return False
    by_identity = any(_applies(s, request, who=False) for s in own if s["Effect"] == "Allow")
    named = any(_applies(s, request) and not _is_root(s) for s in at if s["Effect"] == "Allow")
    if not gate:
        return by_identity or named
    delegated = any(_applies(s, request) and _is_root(s) for s in at if s["Effect"] == "Allow")
    return named or (delegated and by_identity)


def _at_resource(held: Policies, request: Request) -> tuple[list[Statement], bool]:
    """The resource's own policy, and whether it must allow by itself."""
    if request.resource in held.keys:
        return held.keys[request.resource], True
    if request.action == "sts:AssumeRole":
        return held.trusts[request.resource], True
    bucket = request.resource.split("/")[0]
    return held.buckets.get(bucket, []), False


def _applies(statement: Statement, request: Request, *, who: bool = True) -> bool:
    assert not statement.keys() & {"NotAction", "NotResource", "NotPrincipal"}, statement
    return (
        any(_like(p.lower(), request.action.lower()) for p in many(statement["Action"]))
        # A key's or a trust's policy speaks of what it is attached to.
        and any(_like(p, request.resource) for p in many(statement.get("Resource", "*")))
        and (not who or _is_meant(statement, request))
        and all(
            _holds(operator, key, [str(v) for v in many(values)], request.context)
            for operator, keys in statement.get("Condition", {}).items()
            for key, values in keys.items()
        )
    )


def _is_meant(statement: Statement, request: Request) -> bool:
    principal = statement["Principal"]
    if principal == "*":
        return True
    for kind, values in principal.items():
        for value in many(values):
            if kind == "AWS" and (
                value in ("*", request.principal) or (value == ROOT and request.principal)
            ):
                return True
            if kind == "Service" and value == request.context.get("service"):
                return True
    return False


def _is_root(statement: Statement) -> bool:
    principal = statement["Principal"]
    return isinstance(principal, Mapping) and ROOT in many(principal.get("AWS", []))


def _holds(operator: str, key: str, values: list[str], context: Mapping[str, str]) -> bool:
    there = key in context
    if operator == "Null":
        return any((value == "true") != there for value in values)
    if operator in ("StringEquals", "ArnEquals", "Bool"):
        return there and context[key] in values
    if operator in ("StringNotEquals", "ArnNotEquals"):
        return not there or context[key] not in values
    if operator == "ArnLike":
        return there and any(_like(value, context[key]) for value in values)
    raise NotImplementedError(f"condition operator {operator}")


def _like(pattern: str, text: str) -> bool:
    escaped = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(escaped, text, re.DOTALL) is not None


def many(value: Any) -> list[Any]:
    """IAM writes one value where there is one."""
    return list(value) if isinstance(value, list | tuple) else [value]
