"""Processes understand what the template tells them: the real reader of configurations reads it."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import pytest

from ocp_ingest import config as config_module
from ocp_ingest.adapters.aws.settings import AwsSettings
from ocp_ingest.adapters.notify.settings import Sns
from ocp_ingest.config_model import Config
from ocp_ingest.entrypoints.console.app import lacks
from tests.infra.synthesis import PLATFORM
from tests.infra.template import Template

# Fields that the template does not set, and why.
NOT_SET: Final = {
    "endpoints": "the real services are at their own addresses",
    "connections_max": "its default is for these sizes of task",
    "connect_s_max": "tunes a process; the default is AWS's usual",
    "answer_s_max": "tunes a process; the default is AWS's usual",
}
SECRETS: Final = {"number_key": "k" * 64, "ocp.api_url": "https://us1-a.ocp.example",
                  "ocp.username": "u", "ocp.password": "p"}  # fmt: skip


def processes(template: Template) -> dict[str, dict[str, str]]:
    """Variables of every function and task."""
    found: dict[str, dict[str, str]] = {
        f["FunctionName"]: f["Environment"]["Variables"]
        for _, f in template.of_type("AWS::Lambda::Function")
    }
    for _, task in template.of_type("AWS::ECS::TaskDefinition"):
        (container,) = task["ContainerDefinitions"]
        found[container["Name"]] = {v["Name"]: v["Value"] for v in container["Environment"]}
    return found


def read(variables: dict[str, str]) -> Config:
    """As a process does: the site's file, the variables over it, then the secrets."""
    loaded = config_module.load(PLATFORM, environ=variables)
    return config_module.with_secrets(loaded, SECRETS)


def test_every_process_has_a_complete_and_coherent_configuration(template: Template) -> None:
    found = processes(template)
    assert len(found) == 10
    for name, variables in found.items():
        config = read(variables)
        assert config.aws.table == "ocp-ingest", name
        assert config.auth.audience_claim == "client_id"
        assert config.auth.jwks_url.startswith(config.auth.issuer)


def test_every_field_of_the_section_is_set_or_has_a_reason(template: Template) -> None:
    section = read(processes(template)["worker"]).aws
    for field in msgspec.structs.fields(AwsSettings):
        given = getattr(section, field.name)
        if field.name in NOT_SET:
            assert given == getattr(AwsSettings(), field.name), field.name
        else:
            assert given, f"aws.{field.name} is not set by the template"


def test_the_console_is_served_by_the_api_alone_and_lacks_nothing(template: Template) -> None:
    section = "OCP_INGEST_CONSOLE__OIDC__ISSUER"
    assert [name for name, given in processes(template).items() if section in given] == ["ingest"]
    variables = processes(template)["ingest"]
    config = read({**variables, **dict.fromkeys(secrets_of(template, "ingest"), "k" * 64)})
    assert lacks(config.console) == ""
    assert config.console.proxies == 1  # the load balancer, whose X-Forwarded-For is believed
    assert config.console.oidc.issuer == config.auth.issuer
    assert config.console.oidc.client_id not in config.auth.clients
    groups = {name: (group.role, group.lobs) for name, group in config.console.oidc.groups.items()}
    assert groups == {"duty": ("operator", ("*",)), "sales-leads": ("viewer", ("sales",))}
    (channel,) = config.alerts.channels
    assert isinstance(channel, Sns)
    assert channel.topic_arn.endswith(":ocp-ingest-alerts")


def test_a_platform_without_an_address_for_people_serves_no_console(smallest: Template) -> None:
    found = processes(smallest)["ingest"]
    assert found["OCP_INGEST_CONSOLE__ENABLED"] == "false"
    assert secrets_of(smallest, "ingest") == []
    assert "OCP_INGEST_ALERTS__CHANNELS" in found  # alerts reach people all the same


def secrets_of(template: Template, container_name: str) -> list[str]:
    """Variables that Fargate fills from Secrets Manager."""
    for _, task in template.of_type("AWS::ECS::TaskDefinition"):
        (container,) = task["ContainerDefinitions"]
        if container["Name"] == container_name:
            return [secret["Name"] for secret in container.get("Secrets", ())]
    raise AssertionError(f"there is no {container_name}")


def test_seals_are_signed_by_the_key_that_was_made_for_it(template: Template) -> None:
    name, made = template.named("AWS::KMS::Key", "Description", "Seals of the days")
    assert (made["KeySpec"], made["KeyUsage"]) == ("ECC_NIST_EDWARDS25519", "SIGN_VERIFY")
    variables = processes(template)["ocp-ingest-seal"]
    assert read(variables).evidence.kms_key == template.attribute(name, "Arn")


def test_the_worker_alone_is_told_of_the_copiers(template: Template) -> None:
    for name, variables in processes(template).items():
        roles = read(variables).aws.bucket_roles
        if name == "worker":
            assert set(roles) == {"lob-sales", "lob-collections", "recordings-support",
                                  "lob-unassigned"}  # fmt: skip
            assert len(set(roles.values())) == len(roles)
        else:
            assert roles == {}, name


def test_what_is_named_is_what_is_made(template: Template) -> None:
    section = read(processes(template)["worker"]).aws

    def made(kind: str, attribute: str = "Arn") -> set[str]:
        return {template.attribute(name, attribute) for name, _ in template.of_type(kind)}

    assert {section.puller_arn, section.detect_arn} < made("AWS::Lambda::Function")
    assert section.state_machine_arn in made("AWS::StepFunctions::StateMachine")
    assert section.schedule_role_arn in made("AWS::IAM::Role")
    assert section.schedule_key_arn in made("AWS::KMS::Key")
    assert section.schedule_dlq_arn in made("AWS::SQS::Queue")
    assert section.secret_arn in made("AWS::SecretsManager::Secret")
    assert set(section.bucket_roles.values()) < made("AWS::IAM::Role")
    assert section.schedule_group == template.one("AWS::Scheduler::ScheduleGroup")["Name"]
    queues = {q["QueueName"] for _, q in template.of_type("AWS::SQS::Queue")}
    for url in (section.work_queue_url, section.work_dlq_url, section.download_queue_url,
                section.download_dlq_url):  # fmt: skip
        assert url.rpartition("/")[2] in queues


def test_clients_keep_their_ocp_group_under_the_ids_that_cognito_gives(template: Template) -> None:
    clients = read(processes(template)["ingest"]).auth.clients
    assert len(clients) == 3
    assert {(c.scopes, c.ocp_group) for c in clients.values()} == {
        (("ingest",), "emea-retail"), (("read",), ""), (("ingest", "read", "operate"), ""),
    }  # fmt: skip


def test_only_the_api_listens_beyond_its_own_machine(template: Template) -> None:
    found = processes(template)
    assert read(found["ingest"]).server.host == "0.0.0.0"
    assert read(found["worker"]).server.host == "127.0.0.1"
    for name in ("ingest", "worker"):
        server = read(found[name]).server
        assert server.port == 8080
        assert server.stop_s_max < 120  # what ECS gives before it kills


def test_an_operator_gets_the_same_from_an_output(template: Template) -> None:
    outputs: dict[str, Any] = template.resolve(template.body["Outputs"])
    lines = [line.partition("=") for line in outputs["CliEnvironment"]["Value"].splitlines()]
    variables = {key: value.strip("'") for key, _, value in lines}
    assert variables["OCP_INGEST_RUNTIME"] == "aws"
    section = read(variables).aws
    worker = read(processes(template)["worker"]).aws
    assert section == msgspec.structs.replace(worker, bucket_roles={})


@pytest.mark.parametrize(
    "name", ["ApiHost", "TokenUrl", "ClientIds", "SecretArn", "AlarmTopicArn", "OperatorPolicyArn"]
)
def test_outputs_say_what_a_deployer_asks_for(template: Template, name: str) -> None:
    assert template.body["Outputs"][name]["Description"]
