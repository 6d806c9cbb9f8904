"""Every alarm has a page that says what to do, and everything that goes wrong has an alarm."""

from __future__ import annotations

import re
from typing import Any, Final

from infra.ocp_infra.alarm_names import (
    ALARMS,
    FUNCTIONS,
    INCIDENTS,
    INDEXES,
    OPERATIONS,
    SERVICES,
    runbook,
)
from ocp_ingest.adapters.aws.table import TABLE
from ocp_ingest.core.incidents import INCIDENT_KINDS
from ocp_ingest.entrypoints.functions import gauges
from tests.infra.synthesis import ROOT
from tests.infra.template import Template

PREFIX: Final = "ocp-ingest-"


def alarms(template: Template) -> dict[str, dict[str, Any]]:
    """By name, without the deployment's."""
    return {
        made["AlarmName"].removeprefix(PREFIX): made
        for _, made in template.of_type("AWS::CloudWatch::Alarm")
        if made["AlarmName"].startswith(PREFIX)  # not those of target tracking
    }


def test_every_kind_of_incident_has_an_alarm() -> None:
    assert set(INCIDENTS) == set(INCIDENT_KINDS)
    assert not set(INCIDENTS) & set(OPERATIONS)


def test_alarms_are_those_of_the_list(template: Template) -> None:
    wanted = {
        f"{name}-{which}" if which else name
        for name, alarm in ALARMS.items()
        if name != "budget_exceeded"
        for which in (alarm.each or ("",))
    }
    assert set(alarms(template)) == wanted


def test_every_alarm_names_its_page_and_the_page_is_there(template: Template) -> None:
    for name, alarm in alarms(template).items():
        page = runbook(name.partition("-")[0])
        assert page in alarm["AlarmDescription"]
        assert (ROOT / page).exists(), page
    assert (ROOT / runbook("budget_exceeded")).exists()


def test_every_alarm_is_heard(template: Template) -> None:
    name, _ = template.named("AWS::SNS::Topic", "TopicName", "-alarms")
    topic = template.attribute(name, "TopicArn")
    for name, alarm in alarms(template).items():
        assert topic in alarm["AlarmActions"], name
        assert alarm["OKActions"] == [topic], name
    budget = template.one("AWS::Budgets::Budget")
    for notification in budget["NotificationsWithSubscribers"]:
        assert notification["Subscribers"] == [{"Address": topic, "SubscriptionType": "SNS"}]


def test_the_topic_is_encrypted_and_lets_alarms_and_budgets_in(template: Template) -> None:
    for _, topic in template.of_type("AWS::SNS::Topic"):
        assert topic["KmsMasterKeyId"].startswith("arn:aws:kms:")
    texts = [str(policy) for _, policy in template.of_type("AWS::SNS::TopicPolicy")]
    assert all("aws:SecureTransport" in text for text in texts)
    (ours,) = [text for text in texts if "cloudwatch.amazonaws.com" in text]
    assert "budgets.amazonaws.com" in ours


def metrics(alarm: dict[str, Any]) -> list[tuple[str, str, dict[str, str]]]:
    """(namespace, name, dimensions) of what an alarm watches."""
    found = []
    for query in alarm["Metrics"]:
        if "MetricStat" in query:
            metric = query["MetricStat"]["Metric"]
            where = {d["Name"]: d["Value"] for d in metric.get("Dimensions", ())}
            found.append((metric["Namespace"], metric["MetricName"], where))
    return found


def test_our_own_metrics_are_the_ones_that_detect_sends(template: Template) -> None:
    sent = set(re.findall(r'"([A-Z]\w+)": \("(?:Count|Seconds)"', _source(gauges)))
    used = {
        name for alarm in alarms(template).values() for space, name, _ in metrics(alarm)
        if space == gauges.NAMESPACE
    }  # fmt: skip
    asked = " ".join(
        query.get("Expression", "") for alarm in alarms(template).values()
        for query in alarm["Metrics"]
    )  # fmt: skip
    assert used == {"IncidentsOpen", "CallsLost"}
    assert used < sent
    assert "OldestPendingAgeSeconds" in asked
    assert "OldestPendingAgeSeconds" in sent
    assert f'"{gauges.NAMESPACE}", ocp_group' in asked


def _source(module: object) -> str:
    file = getattr(module, "__file__", "")
    with open(str(file), encoding="utf-8") as text:
        return text.read()


def test_an_incident_alarm_watches_its_own_kind(template: Template) -> None:
    found = alarms(template)
    for kind in INCIDENTS:
        assert metrics(found[kind]) == [("OcpIngest", "IncidentsOpen", {"kind": kind})]
        assert found[kind]["TreatMissingData"] == "ignore"  # a late sweep closes nothing


def test_silence_of_the_sweep_and_of_the_door_is_an_alarm(template: Template) -> None:
    found = alarms(template)
    for name in ("detect_silent", "api_no_host", "tasks_low-ingest", "tasks_low-worker"):
        assert found[name]["TreatMissingData"] == "breaching", name
    query = found["detect_silent"]["Metrics"][0]["MetricStat"]
    assert query["Period"] == 2 * 1800
    assert query["Metric"]["Dimensions"] == [{"Name": "FunctionName", "Value": "ocp-ingest-detect"}]


def test_names_in_alarms_are_names_of_what_is_made(template: Template) -> None:
    names = {
        "QueueName": {q["QueueName"] for _, q in template.of_type("AWS::SQS::Queue")},
        "FunctionName": {f["FunctionName"] for _, f in template.of_type("AWS::Lambda::Function")},
        "TableName": {t["TableName"] for _, t in template.of_type("AWS::DynamoDB::Table")},
        "ScheduleGroup": {
            g["Name"] for _, g in template.of_type("AWS::Scheduler::ScheduleGroup")
        },
        "GlobalSecondaryIndexName": {g["IndexName"] for g in TABLE["GlobalSecondaryIndexes"]},
    }  # fmt: skip
    for name, alarm in alarms(template).items():
        for _, _, where in metrics(alarm):
            for dimension, known in names.items():
                assert dimension not in where or where[dimension] in known, name
    assert set(INDEXES) == names["GlobalSecondaryIndexName"]
    assert {f"{PREFIX}{f.replace('_', '-')}" for f in FUNCTIONS} == names["FunctionName"]
    services = {s["ServiceName"] for _, s in template.of_type("AWS::ECS::Service")}
    assert set(SERVICES) == services


def test_every_dead_letter_queue_has_an_alarm(template: Template) -> None:
    watched = {
        where["QueueName"] for alarm in alarms(template).values()
        for _, _, where in metrics(alarm) if "QueueName" in where
    }  # fmt: skip
    assert watched == {q["QueueName"] for _, q in template.of_type("AWS::SQS::Queue")}


def test_workers_follow_what_waits_for_each_of_them(template: Template) -> None:
    policies = {p["PolicyName"]: p for _, p in
                template.of_type("AWS::ApplicationAutoScaling::ScalingPolicy")}  # fmt: skip
    tracking = policies["backlog-per-task"]["TargetTrackingScalingPolicyConfiguration"]
    queries = tracking["CustomizedMetricSpecification"]["Metrics"]
    (answer,) = [q for q in queries if q["ReturnData"]]
    assert answer["Expression"] == "(work * 1 + download * 10) / IF(tasks < 1, 1, tasks)"
    jump = [n for n, p in template.of_type("AWS::ApplicationAutoScaling::ScalingPolicy")
            if p["PolicyName"] == "old-message"]  # fmt: skip
    assert alarms(template)["work_queue_old"]["AlarmActions"][1] == template.resolve(
        {"Ref": jump[0]}
    )


def test_the_dashboard_shows_every_alarm(template: Template) -> None:
    body = template.one("AWS::CloudWatch::Dashboard")["DashboardBody"]
    for name in alarms(template):
        assert f":alarm:{PREFIX}{name}" in body
