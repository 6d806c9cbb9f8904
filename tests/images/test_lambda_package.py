"""The functions' folder: every handler imports from it alone, and it is the same each time."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tools import build_lambda

ROOT = Path(__file__).resolve().parents[2]
HANDLERS = sorted(
    path.stem
    for path in (ROOT / "src" / "ocp_ingest" / "entrypoints" / "functions").glob("*.py")
    if "def handler(" in path.read_text("utf-8")
)
CONFIG = '[lob.banking]\n[[routing]]\nlob = "banking"\nwhen = { entry_app = "b-*" }\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for this machine's processor: one for Lambda's could not be imported here."""
    base = tmp_path_factory.mktemp("lambda")
    config = base / "site.toml"
    config.write_text(CONFIG)
    try:
        build_lambda.build(base / "out", config, platform="", bytecode=False)
    except build_lambda.Refused as refused:
        if "error sending request" in str(refused) or "dns error" in str(refused):
            pytest.skip("the package index can't be reached")
        raise
    return base / "out"


def test_there_are_the_functions_that_the_template_names() -> None:
    assert set(HANDLERS) >= {
        "archive", "dead_letters", "detect", "export", "finish", "metadata", "puller",
        "seal",
    }  # fmt: skip


def test_every_handler_imports_from_the_folder_alone(folder: Path) -> None:
    names = [f"ocp_ingest.entrypoints.functions.{name}" for name in HANDLERS]
    code = (
        "import importlib, sys\n"
        f"sys.path.insert(0, {str(folder)!r})\n"
        "sys.path[:] = [p for p in sys.path if 'site-packages' not in p]\n"
        f"for name in {names!r}:\n"
        "    assert callable(importlib.import_module(name).handler)\n"
        "from ocp_ingest import bootstrap_aws, config\n"
        "print(importlib.import_module('ocp_ingest').__path__[0])\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", code], capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(folder / "ocp_ingest")


def test_whatever_a_handler_may_import_later_is_in_the_folder(folder: Path) -> None:
    """Imports inside functions too: a module left out would fail at the first such call."""
    seen: set[str] = set()
    ahead = [f"ocp_ingest.entrypoints.functions.{name}" for name in HANDLERS]
    ahead.append("ocp_ingest.bootstrap_aws")
    while ahead:
        name = ahead.pop()
        if name in seen:
            continue
        seen.add(name)
        path = _path(folder, name)
        assert path is not None, f"{name} is left out of the folder"
        ahead += _ours(path)
    assert "ocp_ingest.adapters.ocp.client" in seen
    assert "ocp_ingest.adapters.aws.call_store" in seen


def _path(folder: Path, name: str) -> Path | None:
    base = folder / Path(*name.split("."))
    found = [path for path in (base.with_suffix(".py"), base / "__init__.py") if path.exists()]
    return found[0] if found else None


def _ours(path: Path) -> list[str]:
    """Our modules that a file names in any of its imports, but for those of type checkers."""
    found = []
    for node in _executed(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            modules = [name for name in whole if _is_module(name)]
            found += [node.module, *modules]
    return [name for name in found if name.startswith("ocp_ingest")]


def _executed(tree: ast.AST) -> list[ast.AST]:
    nodes: list[ast.AST] = []
    ahead: list[ast.AST] = [tree]
    while ahead:
        node = ahead.pop()
        nodes.append(node)
        checked = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        ahead += [] if checked else list(ast.iter_child_nodes(node))
    return nodes


def _is_module(name: str) -> bool:
    base = ROOT / "src" / Path(*name.split("."))
    return base.with_suffix(".py").exists() or base.is_dir()


def test_the_folder_has_the_sites_configuration_and_nothing_that_is_not_run(folder: Path) -> None:
    assert (folder / "ocp-ingest.toml").read_text() == CONFIG
    names = {path.name for path in folder.iterdir()}
    assert names.isdisjoint({"granian", "litestar", "typer", "rich", "uvloop", "apsw", "bin"})
    every = list(folder.rglob("*"))
    assert not [path for path in every if path.name in ("__pycache__", "tests")]
    services = {path.name for path in (folder / "botocore" / "data").iterdir() if path.is_dir()}
    assert services == build_lambda._services()
    assert build_lambda.size_of(folder) < build_lambda.BYTES_MAX / 4


def test_the_same_inputs_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    config = tmp_path / "site.toml"
    config.write_text(CONFIG)
    built = build_lambda.build(tmp_path / "out", config, platform="", bytecode=False)
    assert built == build_lambda.content_hash(folder)
    # … and it is the content that is hashed.
    (tmp_path / "out" / "ocp-ingest.toml").write_text(CONFIG + " ")
    assert build_lambda.content_hash(tmp_path / "out") != built


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[ocp]\napi_url = "https://o"\nusername = "u"\npassword = "p"', "`ocp.password`"),
        ('[auth.clients.a]\nsecret = "0123456789abcdef"', "`auth.clients.a.secret`"),
        ('[ocp]\npersonal_access_token = "p"', "personal_access_token"),
        ("[server]\nprot = 1", "prot"),
        ("[server", "not TOML"),
    ],
)
def test_a_configuration_that_must_not_be_packed_is_refused(
    text: str, words: str, tmp_path: Path
) -> None:
    config = tmp_path / "site.toml"
    config.write_text(text)
    with pytest.raises(build_lambda.Refused, match=words):
        build_lambda.build(tmp_path / "out", config, platform="")
    assert not (tmp_path / "out").exists()


def test_a_folder_of_somebody_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    with pytest.raises(build_lambda.Refused, match="no folder of this tool"):
        build_lambda._replace(tmp_path, tmp_path / "new")
    assert (tmp_path / "mine").read_text() == "x"


def test_a_folder_that_lambda_would_not_take_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100)
    monkeypatch.setattr(build_lambda, "BYTES_MAX", 101)
    build_lambda._check_size(tmp_path)
    monkeypatch.setattr(build_lambda, "BYTES_MAX", 100)
    with pytest.raises(build_lambda.Refused, match="100 bytes"):
        build_lambda._check_size(tmp_path)


def test_what_is_installed_for_the_image_is_what_is_tested() -> None:
    """The locks of the image and of the functions pin the versions that the tests run with."""
    tested = _pins("dev.lock")
    for name in ("aws.lock", "lambda.lock", "build.lock"):
        pins = _pins(name)
        assert pins
        assert {package: v for package, v in pins.items() if tested.get(package) != v} == {}, name


def _pins(lock: str) -> dict[str, str]:
    lines = (ROOT / "requirements" / lock).read_text("utf-8").splitlines()
    pairs = [line.split()[0].split("==") for line in lines if "==" in line.split("#")[0]]
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}
