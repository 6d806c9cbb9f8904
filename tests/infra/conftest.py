"""The template, synthesised once per session in CDK's own environment; tests read plain JSON.

These tests need .venv-infra (CDK is 500 MB), so they run by `make test-infra` and CI only: that
target sets OCP_TEST_INFRA=1. Without it nothing of this folder is collected, and nothing skipped.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.infra.synthesis import PLATFORM, prepare, synthesise
from tests.infra.template import Template

collect_ignore_glob = [] if os.environ.get("OCP_TEST_INFRA") == "1" else ["test_*.py"]

# A package of the functions that lies in S3 already.
CODE = "acme-code/ocp-ingest/lambda.zip"
# Every option that adds or changes resources, at once.
EVERYTHING = {
    "waf": "true", "jwt_validation": "true", "mtls_bundle": "acme-pki/authorities.pem",
    "interface_endpoints": "true", "tracing": "true", "object_lock": "COMPLIANCE:30",
    "client_cidrs": "192.0.2.0/24,198.51.100.0/24", "alarm_mail": "oncall@example.com",
    "eraser_roles": "arn:aws:iam::111122223333:role/eraser", "nat_gateways": "1",
    "reserve_concurrency": "false", "console_cidrs": "10.0.0.0/8,192.0.2.0/24",
}  # fmt: skip


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    prepare()
    return tmp_path_factory.mktemp("synth")


@pytest.fixture(scope="session")
def template(folder: Path) -> Template:
    """Three lines of business, default options."""
    return Template(synthesise(folder / "plain", {"config": str(PLATFORM)}))


@pytest.fixture(scope="session")
def everything(folder: Path) -> Template:
    """The same platform with every option."""
    return Template(synthesise(folder / "everything", {"config": str(PLATFORM), **EVERYTHING}))


@pytest.fixture(scope="session")
def smallest(folder: Path) -> Template:
    """The repository's own configuration: no line of business but the unassigned; no CDK asset."""
    return Template(synthesise(folder / "smallest", {"lambda_s3": CODE}))


@pytest.fixture(params=["template", "everything", "smallest"])
def any_template(request: pytest.FixtureRequest) -> Template:
    """Each of them in turn."""
    made: Template = request.getfixturevalue(request.param)
    return made
