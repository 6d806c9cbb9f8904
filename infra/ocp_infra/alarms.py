"""Alarms from the table in alarm_rules, the topic they ring at, and the budget.

Each alarm's name is the deployment's, a dash, and the name of its runbook; its description says
what has happened and where that page is.
"""

from __future__ import annotations

from typing import Final

from aws_cdk import Aws
from aws_cdk import aws_budgets as budgets
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from constructs import Construct

from ocp_infra.alarm_names import ALARMS, runbook
from ocp_infra.alarm_rules import Metric, Places, Rule, rules
from ocp_infra.names import Names
from ocp_infra.settings import Options

_MISSING: Final = {"quiet": "notBreaching", "keep": "ignore", "ring": "breaching"}
# Percent of the budget: what was spent, and what the month is predicted to cost.
_BUDGET_MARKS: Final = (("ACTUAL", 80), ("ACTUAL", 100), ("FORECASTED", 100))


class Alarms(Construct):
    """Topic, alarms and budget."""

    def __init__(
        self, scope: Construct, names: Names, options: Options, key: kms.IKey, places: Places,
        jump_arn: str,
    ) -> None:  # fmt: skip
        super().__init__(scope, "Alarms")
        self._names = names
        self.topic = self._topic(names, options, key)
        self.names: list[str] = []
        for (name, which), rule in rules(places).items():
            actions = [self.topic.topic_arn]
            if name == "work_queue_old":
                actions.append(jump_arn)  # too few workers: start more, then ask a person
            self._alarm(name, which, rule, actions)
        self._budget(options)

    def _topic(self, names: Names, options: Options, key: kms.IKey) -> sns.Topic:
        topic = sns.Topic(
            self, "Topic", topic_name=f"{names.prefix}-alarms", master_key=key, enforce_ssl=True
        )
        topic.add_to_resource_policy(iam.PolicyStatement(
            sid="AlarmsAndBudgets",
            principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com"),
                        iam.ServicePrincipal("budgets.amazonaws.com")],
            actions=["sns:Publish"],
            resources=[topic.topic_arn],
            conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
        ))  # fmt: skip
        if options.alarm_mail:
            sns.CfnSubscription(
                self, "Mail", topic_arn=topic.topic_arn, protocol="email",
                endpoint=options.alarm_mail,
            )  # fmt: skip
        return topic

    def _alarm(self, name: str, which: str, rule: Rule, actions: list[str]) -> None:
        whole = f"{name}-{which}" if which else name
        about = f"{which}: " if which else ""
        full = f"{self._names.prefix}-{whole}"
        ident = "".join(part.capitalize() for part in whole.replace("-", "_").split("_"))
        cloudwatch.CfnAlarm(
            self,
            ident,
            alarm_name=full,
            alarm_description=f"{about}{ALARMS[name].meaning}. What to do: {runbook(name)}",
            metrics=_queries(rule),
            threshold=rule.limit,
            comparison_operator="LessThanThreshold" if rule.below else "GreaterThanThreshold",
            evaluation_periods=rule.of,
            datapoints_to_alarm=rule.times,
            treat_missing_data=_MISSING[rule.missing],
            alarm_actions=actions,
            ok_actions=[self.topic.topic_arn],
        )
        self.names.append(full)

    def _budget(self, options: Options) -> None:
        property_ = budgets.CfnBudget
        subscriber = property_.SubscriberProperty(
            address=self.topic.topic_arn, subscription_type="SNS"
        )
        budgets.CfnBudget(
            self, "Budget",
            budget=property_.BudgetDataProperty(
                # Its page is budget_exceeded: a budget can't hold a description.
                budget_name=f"{self._names.prefix}-budget_exceeded",
                budget_type="COST", time_unit="MONTHLY",
                budget_limit=property_.SpendProperty(amount=options.budget_usd, unit="USD"),
                cost_filters={"TagKeyValue": [f"user:Application${self._names.prefix}"]},
            ),
            notifications_with_subscribers=[
                property_.NotificationWithSubscribersProperty(
                    notification=property_.NotificationProperty(
                        notification_type=kind, threshold=percent, threshold_type="PERCENTAGE",
                        comparison_operator="GREATER_THAN",
                    ),
                    subscribers=[subscriber],
                )
                for kind, percent in _BUDGET_MARKS
            ],
        )  # fmt: skip


def _queries(rule: Rule) -> list[cloudwatch.CfnAlarm.MetricDataQueryProperty]:
    query = cloudwatch.CfnAlarm.MetricDataQueryProperty
    alone = not rule.expression
    found = [
        query(id=ident, metric_stat=_stat(metric, rule.period_s), return_data=alone)
        for ident, metric in rule.metrics.items()
    ]
    if rule.expression:
        # A query of its own has no metric to take the period from.
        period = None if rule.metrics else rule.period_s
        found.append(query(
            id="value", expression=rule.expression, label="value", return_data=True, period=period
        ))  # fmt: skip
    return found


def _stat(metric: Metric, period_s: int) -> cloudwatch.CfnAlarm.MetricStatProperty:
    return cloudwatch.CfnAlarm.MetricStatProperty(
        stat=metric.stat,
        period=period_s,
        metric=cloudwatch.CfnAlarm.MetricProperty(
            namespace=metric.namespace,
            metric_name=metric.name,
            dimensions=[
                cloudwatch.CfnAlarm.DimensionProperty(name=name, value=value)
                for name, value in metric.dimensions.items()
            ],
        ),
    )
