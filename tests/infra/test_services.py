"""Tasks and the door: no rights that are not needed, on either side of the load balancer."""

from __future__ import annotations

import json
from typing import Any

from tests.infra.synthesis import ROOT
from tests.infra.template import Template


def test_tasks_have_no_rights_on_their_own_machine(any_template: Template) -> None:
    names = set()
    for _, task in any_template.of_type("AWS::ECS::TaskDefinition"):
        (container,) = task["ContainerDefinitions"]
        names.add(container["Name"])
        assert container["ReadonlyRootFilesystem"] is True
        assert container["User"] == "10001:10001"
        assert container["LinuxParameters"]["Capabilities"]["Drop"] == ["ALL"]
        assert not container.get("Privileged")
        assert container["StopTimeout"] == 120
        assert container["MountPoints"] == [
            {"ContainerPath": "/tmp", "ReadOnly": False, "SourceVolume": "tmp"}
        ]
        assert task["RuntimePlatform"]["CpuArchitecture"] == "ARM64"
        assert task["TaskRoleArn"] != task["ExecutionRoleArn"]
    assert names == {"ingest", "worker"}


def test_the_image_is_what_the_tasks_expect() -> None:
    """User, entry point, configuration and the volume that a non-root user may write to."""
    text = (ROOT / "Dockerfile").read_text("utf-8")
    for line in ("USER 10001:10001", 'ENTRYPOINT ["ocp-ingest"]', 'VOLUME ["/tmp"]',
                 "OCP_INGEST_CONFIG=/app/ocp-ingest.toml"):  # fmt: skip
        assert line in text, line


def test_a_deployment_that_fails_is_rolled_back(any_template: Template) -> None:
    for name, service in any_template.of_type("AWS::ECS::Service"):
        deployment = service["DeploymentConfiguration"]
        assert deployment["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}, name
        assert deployment["MinimumHealthyPercent"] == 100
        network = service["NetworkConfiguration"]["AwsvpcConfiguration"]
        assert network["AssignPublicIp"] == "DISABLED"
        assert all("tasksSubnet" in subnet for subnet in network["Subnets"])


def test_the_load_balancer_speaks_modern_tls_only(any_template: Template) -> None:
    listener = any_template.one("AWS::ElasticLoadBalancingV2::Listener")
    assert (listener["Port"], listener["Protocol"]) == (443, "HTTPS")
    assert listener["SslPolicy"].startswith("ELBSecurityPolicy-TLS13-1-2-")
    (refusal,) = listener["DefaultActions"]
    assert refusal["FixedResponseConfig"]["StatusCode"] == "404"
    balancer = any_template.one("AWS::ElasticLoadBalancingV2::LoadBalancer")
    attributes = {a["Key"]: a["Value"] for a in balancer["LoadBalancerAttributes"]}
    assert attributes["routing.http.drop_invalid_header_fields.enabled"] == "true"
    assert attributes["idle_timeout.timeout_seconds"] == "120"
    assert attributes["access_logs.s3.enabled"] == "true"
    assert attributes["deletion_protection.enabled"] == "true"
    (paths,) = rule_of(any_template, 10)["Conditions"]
    assert paths["PathPatternConfig"]["Values"] == ["/v1/*", "/schema/*"]


def rule_of(template: Template, priority: int) -> dict[str, Any]:
    """A rule of the listener."""
    rules = [r for _, r in template.of_type("AWS::ElasticLoadBalancingV2::ListenerRule")]
    (rule,) = [r for r in rules if r["Priority"] == priority]
    return rule


def test_people_reach_the_console_and_nothing_else_where_it_is_served(
    template: Template, everything: Template, smallest: Template
) -> None:
    (paths,) = rule_of(template, 20)["Conditions"]
    assert paths["PathPatternConfig"]["Values"] == ["/console", "/console/*"]
    assert [a["Type"] for a in rule_of(template, 20)["Actions"]] == ["forward"]
    _, networks = rule_of(everything, 20)["Conditions"]
    assert networks["SourceIpConfig"]["Values"] == ["10.0.0.0/8", "192.0.2.0/24"]
    # A cookie is no token: the API's check of tokens must not be before these pages.
    assert [a["Type"] for a in rule_of(everything, 20)["Actions"]] == ["forward"]
    assert len(list(smallest.of_type("AWS::ElasticLoadBalancingV2::ListenerRule"))) == 1


def test_the_door_can_ask_for_certificates_and_tokens(
    template: Template, everything: Template
) -> None:
    def actions(held: Template) -> list[str]:
        rule = rule_of(held, 10)
        return [a["Type"] for a in sorted(rule["Actions"], key=lambda a: a.get("Order", 1))]

    assert actions(template) == ["forward"]
    assert actions(everything) == ["jwt-validation", "forward"]
    (check, _) = rule_of(everything, 10)["Actions"]
    config = check["JwtValidationConfig"]
    assert config["JwksEndpoint"] == f"{config['Issuer']}/.well-known/jwks.json"
    listener = everything.one("AWS::ElasticLoadBalancingV2::Listener")
    assert listener["MutualAuthentication"]["Mode"] == "verify"


def test_no_rule_of_the_firewall_looks_at_a_body(everything: Template) -> None:
    acl = everything.one("AWS::WAFv2::WebACL")
    assert [rule["Name"] for rule in acl["Rules"]] == ["networks", "ill-repute", "rate"]
    assert "Body" not in json.dumps(acl["Rules"])
    assert everything.one("AWS::WAFv2::WebACLAssociation")


def test_recordings_reach_s3_without_nat(any_template: Template) -> None:
    gateways = [e["ServiceName"].rpartition(".")[2]
                for _, e in any_template.of_type("AWS::EC2::VPCEndpoint")
                if e["VpcEndpointType"] == "Gateway"]  # fmt: skip
    assert sorted(gateways) == ["dynamodb", "s3"]
