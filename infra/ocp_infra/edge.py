"""The door: a load balancer that speaks TLS only, and passes on /v1 and the console only.

option           what is checked before a request reaches a task
(always)         TLS 1.2 or 1.3, valid headers, path
client_cidrs     the network it comes from (security group)
console_cidrs    the same, for the console alone (rule)
mtls_bundle      the client's certificate
jwt_validation   the token's signature, issuer and expiry; scopes are the platform's to check; not
                 for the console, whose people have a cookie
waf              a rate per address, and the networks and addresses of ill repute

WAF sees the first 8 KB of a body at a load balancer, and audio looks like anything: no rule here
looks at bodies (AWS WAF developer guide, web-acl-setting-body-inspection-limit).
"""

from __future__ import annotations

from typing import Final

from aws_cdk import CfnParameter, Duration
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_elasticloadbalancingv2 as elb
from aws_cdk import aws_s3 as s3
from constructs import Construct

from ocp_infra.buckets import Buckets
from ocp_infra.identity import Identity
from ocp_infra.names import Names
from ocp_infra.network import Network
from ocp_infra.settings import Options
from ocp_infra.waf import Waf

PORT: Final = 8080
# At least one byte in so long. The platform itself ends a silent upload after 60 s, with an answer;
# a page of the console asks every few seconds, and a player reads in ranges.
IDLE_S: Final = 120
# Uploads under way when a task is replaced: as long as a task may take to stop.
_DRAIN_S: Final = 120
# All of the API; /metrics, /healthz and /readyz are for the inside.
PATHS: Final = ("/v1/*", "/schema/*")
CONSOLE_PATHS: Final = ("/console", "/console/*")


class Edge(Construct):
    """Load balancer, listener and the target group of the ingestion API."""

    def __init__(
        self, scope: Construct, names: Names, options: Options, network: Network,
        buckets: Buckets, identity: Identity, certificate: CfnParameter, *, console: bool,
    ) -> None:  # fmt: skip
        super().__init__(scope, "Edge")
        self.group = ec2.SecurityGroup(
            self, "Group", vpc=network.vpc, allow_all_outbound=False,
            description="Load balancer of the ingestion API",
        )  # fmt: skip
        for cidr in options.client_cidrs:
            self.group.add_ingress_rule(ec2.Peer.ipv4(cidr), ec2.Port.tcp(443), "OCP and operators")
        self.balancer = elb.ApplicationLoadBalancer(
            self, "Balancer", vpc=network.vpc, internet_facing=True, security_group=self.group,
            vpc_subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PUBLIC),
            idle_timeout=Duration.seconds(IDLE_S), drop_invalid_header_fields=True,
            desync_mitigation_mode=elb.DesyncMitigationMode.STRICTEST,
            deletion_protection=options.termination_protection,
        )  # fmt: skip
        for key, value in (
            ("access_logs.s3.enabled", "true"),
            ("access_logs.s3.bucket", names.bucket("logs")),
            ("access_logs.s3.prefix", "alb"),
        ):
            self.balancer.set_attribute(key, value)
        self.balancer.node.add_dependency(buckets.logs_policy)
        self.targets = elb.ApplicationTargetGroup(
            self, "Tasks", vpc=network.vpc, port=PORT, protocol=elb.ApplicationProtocol.HTTP,
            target_type=elb.TargetType.IP, deregistration_delay=Duration.seconds(_DRAIN_S),
            # A task with long uploads gets fewer new ones.
            load_balancing_algorithm_type=(
                elb.TargetGroupLoadBalancingAlgorithmType.LEAST_OUTSTANDING_REQUESTS
            ),
            health_check=elb.HealthCheck(
                path="/readyz", interval=Duration.seconds(10), timeout=Duration.seconds(5),
                healthy_threshold_count=2, unhealthy_threshold_count=3,
            ),
        )  # fmt: skip
        self.listener = self._listener(options, certificate)
        self._rule(options, identity)
        if console:
            self._console(options)
        if options.waf:
            Waf(self, names, options, self.balancer.load_balancer_arn)

    def _listener(self, options: Options, certificate: CfnParameter) -> elb.ApplicationListener:
        mtls = self._mtls(options.mtls_bundle) if options.mtls_bundle else None
        return elb.ApplicationListener(
            self, "Tls", load_balancer=self.balancer, port=443,
            protocol=elb.ApplicationProtocol.HTTPS, open=False, ssl_policy=elb.SslPolicy.TLS13_RES,
            certificates=[elb.ListenerCertificate.from_arn(certificate.value_as_string)],
            mutual_authentication=mtls,
            default_action=elb.ListenerAction.fixed_response(
                404, content_type="application/problem+json",
                message_body='{"title":"Not found","status":404}',
            ),
        )  # fmt: skip

    def _mtls(self, bundle: str) -> elb.MutualAuthentication:
        bucket, _, key = bundle.partition("/")
        store = elb.TrustStore(
            self, "Authorities", bucket=s3.Bucket.from_bucket_name(self, "Bundle", bucket), key=key
        )
        return elb.MutualAuthentication(
            mutual_authentication_mode=elb.MutualAuthenticationMode.VERIFY, trust_store=store
        )

    def _rule(self, options: Options, identity: Identity) -> None:
        """Forwards what belongs to the API; with `jwt_validation` only under a valid token."""
        self.rule = elb.ApplicationListenerRule(
            self, "Api", listener=self.listener, priority=10,
            action=elb.ListenerAction.forward([self.targets]),
            conditions=[elb.ListenerCondition.path_patterns(list(PATHS))],
        )  # fmt: skip
        if not options.jwt_validation:
            return
        made = self.rule.node.default_child
        assert isinstance(made, elb.CfnListenerRule)
        made.actions = [
            elb.CfnListenerRule.ActionProperty(
                type="jwt-validation", order=1,
                jwt_validation_config=elb.CfnListenerRule.JwtValidationConfigProperty(
                    issuer=identity.issuer, jwks_endpoint=identity.jwks_url
                ),
            ),
            elb.CfnListenerRule.ActionProperty(
                type="forward", order=2, target_group_arn=self.targets.target_group_arn
            ),
        ]  # fmt: skip

    def _console(self, options: Options) -> None:
        conditions = [elb.ListenerCondition.path_patterns(list(CONSOLE_PATHS))]
        if options.console_cidrs:
            conditions.append(elb.ListenerCondition.source_ips(list(options.console_cidrs)))
        elb.ApplicationListenerRule(
            self, "Console", listener=self.listener, priority=20,
            action=elb.ListenerAction.forward([self.targets]), conditions=conditions,
        )  # fmt: skip
