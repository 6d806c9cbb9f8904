"""Opening the AWS runtime: secrets are laid over the configuration, nothing heavy is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ocp_ingest import bootstrap_aws
from ocp_ingest import config as config_reader
from ocp_ingest.core.errors import Invalid
from tests.runtime.site import NUMBER_KEY, Site

OCP = """
[ocp]
api_url = "http://127.0.0.1:9"
username = "exporter"
groups = ["emea-retail"]
"""


async def test_what_the_secret_holds_is_laid_over_the_file(tmp_path: Path) -> None:
    secret = {"number_key": NUMBER_KEY, "ocp.password": "p-secret"}
    site = Site(tmp_path, secret=secret, more=OCP)
    async with bootstrap_aws.open(site.load()) as runtime:
        assert runtime.config.ocp.password == "p-secret"
        assert runtime.world.settings.number_key == NUMBER_KEY.encode()
        async with bootstrap_aws.exports(runtime) as stage2:
            assert stage2 is not None
            assert stage2.groups == ("emea-retail",)
            assert stage2.book is runtime.book


async def test_without_an_export_api_there_is_no_stage_2(site: Site) -> None:
    async with (
        bootstrap_aws.open(site.load()) as runtime,
        bootstrap_aws.exports(runtime) as stage2,
    ):
        assert stage2 is None
        assert not runtime.world.settings.policy.export_enabled


BAD_SECRETS: dict[str, tuple[Any, str]] = {
    "nothing": ({}, "number_key"),
    "a short key": ({"number_key": "k" * 31}, "at least 32"),
    "a key that is no text": ({"number_key": 7}, "number_key"),
    "half a login": ({"number_key": NUMBER_KEY, "ocp.username": "u"}, "`ocp.username`"),
    "an unknown key": ({"number_key": NUMBER_KEY, "ocp.pasword": "p"}, "pasword"),
    "a list": ([NUMBER_KEY], "no JSON object"),
}


@pytest.mark.parametrize("name", BAD_SECRETS)
async def test_a_half_set_secret_is_refused_by_its_key(name: str, tmp_path: Path) -> None:
    secret, named = BAD_SECRETS[name]
    site = Site(tmp_path, secret=secret)
    with pytest.raises(Invalid, match=named) as refused:
        async with bootstrap_aws.open(site.load()):
            pass
    assert NUMBER_KEY not in refused.value.text


async def test_a_secret_that_is_not_there_is_refused_by_its_setting(tmp_path: Path) -> None:
    site = Site(tmp_path, secret_arn="arn:aws:secretsmanager:eu-west-1:000000000000:secret:none")
    with pytest.raises(Invalid, match=r"`aws\.secret_arn` can't be read: ResourceNotFound"):
        async with bootstrap_aws.open(site.load()):
            pass


async def test_without_a_secret_a_file_may_hold_the_key_for_numbers(tmp_path: Path) -> None:
    site = Site(tmp_path, secret_arn="")
    with pytest.raises(Invalid, match="number_key_file"):
        async with bootstrap_aws.open(site.load()):
            pass
    (tmp_path / "key").write_text(NUMBER_KEY)
    calls = msgspec.structs.replace(site.load().calls, number_key_file=str(tmp_path / "key"))
    with_file = msgspec.structs.replace(site.load(), calls=calls)
    async with bootstrap_aws.open(with_file) as runtime:
        assert runtime.world.settings.number_key == NUMBER_KEY.encode()
    assert not (tmp_path / "data").exists(), "nothing may be written: functions have no disk"


async def test_without_a_table_there_is_no_runtime() -> None:
    with pytest.raises(Invalid, match=r"`aws\.table`"):
        async with bootstrap_aws.open(config_reader.parse({})):
            pass


HEAVY = ("apsw", "cryptography", "granian", "joserfc", "litestar", "multipart", "typer",
         "uvloop")  # fmt: skip


def _imported(code: str) -> set[str]:
    """Packages that are imported after some code, in a process of its own."""
    code += "\nimport sys\nprint(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.split())


def test_a_function_that_opens_the_runtime_imports_no_server_and_no_database(site: Site) -> None:
    code = (
        "import asyncio, pathlib\n"
        "from ocp_ingest import bootstrap_aws, config\n"
        "async def main():\n"
        f"    loaded = config.load(pathlib.Path({str(site.config)!r}))\n"
        "    async with bootstrap_aws.open(loaded) as r, bootstrap_aws.exports(r): pass\n"
        "asyncio.run(main())"
    )
    imported = _imported(code)
    assert "aiobotocore" in imported
    assert imported.isdisjoint(HEAVY)


def test_the_embedded_runtime_needs_no_package_of_aws(tmp_path: Path) -> None:
    code = (
        "from ocp_ingest import bootstrap, config\n"
        f"loaded = config.parse({{'data': {{'dir': {str(tmp_path / 'd')!r}}}}})\n"
        "bootstrap.embedded(loaded).close()\n"
        "import ocp_ingest.entrypoints.cli, ocp_ingest.entrypoints.platform"
    )
    assert _imported(code).isdisjoint({"aiobotocore", "botocore", "awscrt"})
