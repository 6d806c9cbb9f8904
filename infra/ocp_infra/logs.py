"""Log groups: each with our key and an end; a function or task never makes its own."""

from __future__ import annotations

from typing import Final

from aws_cdk import RemovalPolicy
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from constructs import Construct

from ocp_infra.settings import Refused

# CloudWatch Logs takes these only.
_RETENTION: Final = {
    7: logs.RetentionDays.ONE_WEEK, 14: logs.RetentionDays.TWO_WEEKS,
    30: logs.RetentionDays.ONE_MONTH, 60: logs.RetentionDays.TWO_MONTHS,
    90: logs.RetentionDays.THREE_MONTHS, 180: logs.RetentionDays.SIX_MONTHS,
    365: logs.RetentionDays.ONE_YEAR, 731: logs.RetentionDays.TWO_YEARS,
}  # fmt: skip


def group(scope: Construct, ident: str, name: str, key: kms.IKey, days: int) -> logs.LogGroup:
    """A log group. Raises Refused for a number of days that CloudWatch Logs does not take."""
    if days not in _RETENTION:
        raise Refused(f"`log_days` is one of {', '.join(map(str, _RETENTION))}, not {days}.")
    return logs.LogGroup(
        scope, ident, log_group_name=name, encryption_key=key, retention=_RETENTION[days],
        removal_policy=RemovalPolicy.DESTROY,
    )  # fmt: skip
