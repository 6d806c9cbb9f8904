"""Synthesis: the same bytes every time, no credentials, and refusals that say what to do.

cdk-nag runs in every synthesis: a finding without a reason ends it, so each test here and each
fixture is its proof too.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from infra.ocp_infra import settings
from tests.infra.conftest import CODE, EVERYTHING
from tests.infra.synthesis import ENVIRONMENT, PLATFORM, ROOT, run, written
from tests.infra.template import Template


def test_two_syntheses_are_byte_identical(folder: Path, template: Template) -> None:
    options = {"config": str(PLATFORM)}
    seeded = {"PYTHONHASHSEED": "1", "TZ": "Asia/Tokyo", "AWS_DEFAULT_REGION": "us-west-2"}
    again = written(folder / "again", options, seeded)
    first = folder / "plain" / again.name
    assert first.read_bytes() == again.read_bytes()


def test_the_linter_of_cloudformation_finds_nothing(
    folder: Path, template: Template, everything: Template, smallest: Template
) -> None:
    files = [str(next((folder / name).glob("*.template.json")))
             for name in ("plain", "everything", "smallest")]  # fmt: skip
    done = subprocess.run(
        [str(ENVIRONMENT / "bin" / "cfn-lint"), "--config-file", "infra/cfnlint.yaml", "--",
         *files],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_finding_without_a_reason_ends_the_synthesis(folder: Path) -> None:
    """The planted one: everybody may knock, and the reason for that is taken away."""
    plant = folder / "plant"
    plant.mkdir()
    (plant / "sitecustomize.py").write_text(
        "import sys; sys.path.insert(0, 'infra')\n"
        "from ocp_infra import reasons\n"
        "reasons.FINDINGS = tuple(f for f in reasons.FINDINGS if f[1] != 'EC23')\n"
    )
    done = run(folder / "nag", {"placeholder": "true"}, {"PYTHONPATH": str(plant)})
    assert done.returncode != 0
    assert "AwsSolutions-EC23" in done.stdout + done.stderr
    assert not list((folder / "nag").glob("*.template.json"))


def test_without_the_functions_package_it_says_which_command_makes_it(folder: Path) -> None:
    done = run(folder / "refused", {"lambda_code": str(folder / "nowhere")})
    assert done.returncode == 1
    assert "python tools/build_lambda.py" in done.stderr


def test_a_package_in_s3_makes_a_template_without_any_asset(smallest: Template) -> None:
    """What needs no CDK to deploy: `aws cloudformation deploy` takes it as it is."""
    bucket, _, key = CODE.partition("/")
    for _, function in smallest.of_type("AWS::Lambda::Function"):
        assert function["Code"] == {"S3Bucket": bucket, "S3Key": key}
    assert "cdk-" not in json.dumps(smallest.body["Resources"])
    assert set(smallest.body["Parameters"]) == {"CertificateArn", "ImageUri", "ImageRepositoryArn"}


# -- options and configuration, without CDK -------------------------------------------------------


def test_every_option_of_the_tests_is_one(tmp_path: Path) -> None:
    assert settings.options(EVERYTHING).waf is True


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"wof": "true"}, "`wof` is no option"),
        ({"waf": "yes"}, "`waf` is true or false"),
        ({"nat_gateways": "two"}, "`nat_gateways` is a whole number"),
    ],
)
def test_a_wrong_option_is_refused_by_its_name(options: dict[str, str], says: str) -> None:
    with pytest.raises(settings.Refused, match=says):
        settings.options(options)


@pytest.mark.parametrize("text", ["365", "GOVERNANCE", "GOVERNANCE:0", "LEGAL:3", "COMPLIANCE:x"])
def test_a_lock_is_a_mode_and_days(text: str) -> None:
    with pytest.raises(settings.Refused, match="GOVERNANCE:365"):
        settings.lock(text)


def test_a_bucket_that_s3_would_refuse_is_refused_before(tmp_path: Path) -> None:
    long = settings.from_tree({"lob": {"a" * 40: {}}})
    with pytest.raises(settings.Refused, match="shorter `bucket_prefix`"):
        settings.check_buckets(settings.Options().bucket_prefix, long)
    twice = settings.from_tree({"lob": {"a": {"bucket": "archive"}}})
    with pytest.raises(settings.Refused, match="archive, which is the platform's own"):
        settings.check_buckets("x-", twice)


def test_more_lines_of_business_than_a_stack_holds_are_refused() -> None:
    lobs = {f"l{n}": {} for n in range(settings.LOBS_MAX + 1)}  # type: ignore[var-annotated]  # TOML tables
    with pytest.raises(settings.Refused, match="40 at most"):
        settings.from_tree({"lob": lobs})


def test_a_sweep_of_parts_of_a_minute_is_refused() -> None:
    with pytest.raises(settings.Refused, match="whole minutes"):
        settings.from_tree({"reconcile": {"detect_every_s": 90.0}})


def test_an_unreadable_configuration_is_named(tmp_path: Path) -> None:
    with pytest.raises(settings.Refused, match=r"none\.toml"):
        settings.platform(tmp_path / "none.toml")
