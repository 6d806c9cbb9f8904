"""The network: tasks in private subnets of two zones; public ones hold the ALB and NAT only.

Recordings go to S3 through a gateway endpoint, which is free; NAT is for OCP and, unless
`interface_endpoints` is set, for the other services of AWS. Functions are not in here at all: they
need AWS's own interfaces and OCP, both public, and a function in a VPC would pay NAT for them.
"""

from __future__ import annotations

from typing import Final

from aws_cdk import aws_ec2 as ec2
from constructs import Construct

from ocp_infra import grants
from ocp_infra.keys import Keys
from ocp_infra.logs import group
from ocp_infra.names import Names
from ocp_infra.settings import Options

# Two zones are what a load balancer asks for.
ZONES: Final = 2

_INTERFACES: Final = {
    "Sqs": ec2.InterfaceVpcEndpointAwsService.SQS,
    "States": ec2.InterfaceVpcEndpointAwsService.STEP_FUNCTIONS,
    "Lambda": ec2.InterfaceVpcEndpointAwsService.LAMBDA_,
    "Secrets": ec2.InterfaceVpcEndpointAwsService.SECRETS_MANAGER,
    "Sts": ec2.InterfaceVpcEndpointAwsService.STS,
    "Logs": ec2.InterfaceVpcEndpointAwsService.CLOUDWATCH_LOGS,
    "Ecr": ec2.InterfaceVpcEndpointAwsService.ECR,
    "EcrDocker": ec2.InterfaceVpcEndpointAwsService.ECR_DOCKER,
}


class Network(Construct):
    """The VPC and its endpoints."""

    def __init__(self, scope: Construct, names: Names, options: Options, keys: Keys) -> None:
        super().__init__(scope, "Network")
        self.vpc = ec2.Vpc(
            self,
            "Vpc",
            ip_addresses=ec2.IpAddresses.cidr(options.vpc_cidr),
            max_azs=ZONES,
            nat_gateways=min(options.nat_gateways, ZONES),
            restrict_default_security_group=False,  # would need a function of its own; unused here
            subnet_configuration=[
                ec2.SubnetConfiguration(
                    name="public", subnet_type=ec2.SubnetType.PUBLIC, cidr_mask=24,
                    map_public_ip_on_launch=False,
                ),
                ec2.SubnetConfiguration(
                    name="tasks", subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS, cidr_mask=20
                ),
            ],
            gateway_endpoints={
                "S3": ec2.GatewayVpcEndpointOptions(service=ec2.GatewayVpcEndpointAwsService.S3),
                "Table": ec2.GatewayVpcEndpointOptions(
                    service=ec2.GatewayVpcEndpointAwsService.DYNAMODB
                ),
            },
        )  # fmt: skip
        if options.interface_endpoints:
            inside = ec2.SecurityGroup(
                self, "Endpoints", vpc=self.vpc, allow_all_outbound=False,
                description="Interface endpoints: TLS from the VPC",
            )  # fmt: skip
            inside.add_ingress_rule(ec2.Peer.ipv4(options.vpc_cidr), ec2.Port.tcp(443), "Tasks")
            for name, service in _INTERFACES.items():
                self.vpc.add_interface_endpoint(
                    name, service=service, security_groups=[inside], open=False
                )
        self._flow_logs(names, options, keys)

    def _flow_logs(self, names: Names, options: Options, keys: Keys) -> None:
        held = group(self, "Flows", f"/{names.prefix}/flows", keys.logs, options.log_days)
        actions = ["logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"]
        writer = grants.role(
            self, "FlowsRole", "vpc-flow-logs.amazonaws.com", "Writes the VPC's flow logs",
            [grants.allow("WriteFlows", actions, [f"{held.log_group_arn}:*", held.log_group_arn])],
        )  # fmt: skip
        ec2.CfnFlowLog(
            self,
            "Flow",
            resource_id=self.vpc.vpc_id,
            resource_type="VPC",
            # Accepted traffic is in the load balancer's and S3's own logs; this shows the rest.
            traffic_type="REJECT",
            log_destination_type="cloud-watch-logs",
            log_destination=held.log_group_arn,
            deliver_logs_permission_arn=writer.role_arn,
        )
