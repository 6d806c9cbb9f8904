"""Tells cdk-nag every reason of reasons.py, at the construct that it is about.

A wildcard is acknowledged by its own text, so a new one is a finding again.
"""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from constructs import IConstruct

from ocp_infra.reasons import FINDINGS, NAG, why, wildcards


def acknowledge(stack: cdk.Stack) -> None:
    """Walks the stack; what has no reason stays a finding."""
    for construct in stack.node.find_all():
        path = construct.node.path
        for end, rule, reason in FINDINGS:
            if path.endswith(end):
                _say(construct, NAG + rule, reason)
        if isinstance(construct, iam.CfnPolicy | iam.CfnManagedPolicy):
            for resource, actions in wildcards(stack.resolve(construct.policy_document)):
                if (because := why(resource, actions)) is not None:
                    _say(construct, f"{NAG}IAM5[Resource::{resource}]", because)


def _say(construct: IConstruct, finding: str, reason: str) -> None:
    cdk.Validations.of(construct).acknowledge(cdk.Acknowledgment(id=finding, reason=reason))
