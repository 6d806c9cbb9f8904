"""What a start brings along: a module that is not needed by every start is imported by none."""

import subprocess
import sys

SERVING = (
    "ocp_ingest.entrypoints.platform", "ocp_ingest.entrypoints.api.app",
    "ocp_ingest.entrypoints.api.server", "ocp_ingest.entrypoints.console.app",
)  # fmt: skip
# An HTTP client, Markdown, other people's models, AWS, traces: each a tenth of a start or more.
LATER = (
    "aiobotocore", "aiohttp", "boto3", "botocore", "markdown_it", "opentelemetry", "pydantic",
    "typer",
)  # fmt: skip


def _loaded(code: str) -> set[str]:
    """Which of LATER a new process has loaded after some code."""
    code += f"\nimport sys\nprint(*sorted(set({LATER!r}) & set(sys.modules)))\n"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.splitlines()[-1].split())


def test_serving_imports_nothing_that_only_some_deployments_need() -> None:
    assert _loaded("".join(f"import {name}\n" for name in SERVING)) == set()


def test_an_application_of_ours_brings_no_models_of_others_along() -> None:
    code = "from ocp_ingest.entrypoints.lean import LeanLitestar\nLeanLitestar([])\n"
    assert _loaded(code) == set()
