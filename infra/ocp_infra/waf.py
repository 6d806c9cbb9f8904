"""AWS WAF before the load balancer: networks, ill repute, a rate. No rule reads a body."""

from __future__ import annotations

from typing import Final

from aws_cdk import aws_wafv2 as waf
from constructs import Construct

from ocp_infra.names import Names
from ocp_infra.settings import Options


class Waf(Construct):
    """The web ACL; networks first, then repute, then the rate."""

    def __init__(self, scope: Construct, names: Names, options: Options, balancer_arn: str) -> None:
        super().__init__(scope, "Waf")
        known = [cidr for cidr in options.client_cidrs if cidr != "0.0.0.0/0"]
        rules = [*self._networks(names, known), _ill_repute(), _rate(options.waf_rate_max)]
        acl = waf.CfnWebACL(
            self, "Acl", scope="REGIONAL", name=names.prefix,
            rules=[_rule(priority, *rule) for priority, rule in enumerate(rules)],
            default_action=waf.CfnWebACL.DefaultActionProperty(allow={}),
            visibility_config=_seen("all"),
        )  # fmt: skip
        waf.CfnWebACLAssociation(self, "Door", web_acl_arn=acl.attr_arn, resource_arn=balancer_arn)

    def _networks(self, names: Names, known: list[str]) -> list[Named]:
        if not known:
            return []
        held = waf.CfnIPSet(
            self, "Networks", scope="REGIONAL", name=f"{names.prefix}-clients",
            ip_address_version="IPV4", addresses=known,
        )  # fmt: skip
        inside = _statement(
            ip_set_reference_statement=waf.CfnWebACL.IPSetReferenceStatementProperty(
                arn=held.attr_arn
            )
        )
        outside = waf.CfnWebACL.NotStatementProperty(statement=inside)
        return [("networks", _statement(not_statement=outside))]


_statement = waf.CfnWebACL.StatementProperty
Named = tuple[str, waf.CfnWebACL.StatementProperty]
_ILL_REPUTE: Final = "ill-repute"


def _ill_repute() -> Named:
    """AWS's own list of addresses; a group of rules brings its actions with it."""
    group = waf.CfnWebACL.ManagedRuleGroupStatementProperty(
        vendor_name="AWS", name="AWSManagedRulesAmazonIpReputationList"
    )
    return _ILL_REPUTE, _statement(managed_rule_group_statement=group)


def _rate(rate_max: int) -> Named:
    rate = waf.CfnWebACL.RateBasedStatementProperty(limit=rate_max, aggregate_key_type="IP")
    return "rate", _statement(rate_based_statement=rate)


def _rule(
    priority: int, name: str, statement: waf.CfnWebACL.StatementProperty
) -> waf.CfnWebACL.RuleProperty:
    of_group = name == _ILL_REPUTE
    return waf.CfnWebACL.RuleProperty(
        name=name, priority=priority, statement=statement, visibility_config=_seen(name),
        action=None if of_group else waf.CfnWebACL.RuleActionProperty(block={}),
        override_action=waf.CfnWebACL.OverrideActionProperty(none={}) if of_group else None,
    )  # fmt: skip


def _seen(name: str) -> waf.CfnWebACL.VisibilityConfigProperty:
    return waf.CfnWebACL.VisibilityConfigProperty(
        cloud_watch_metrics_enabled=True,
        metric_name=f"ocp-ingest-{name}",
        # Sampled requests would show query strings, which may name a recording.
        sampled_requests_enabled=False,
    )
