"""`ocp-ingest verify | seal | report … | calls evidence`: output and exit codes."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path
from random import Random

from ocp_ingest.core.calendar import day
from tests.cli.kit import Shop, run
from tests.evidence.kit import flipped


def today(shop: Shop) -> tuple[str, str]:
    """A stored call and the day it began."""
    talk = shop.stored()
    return talk.call_id, day(talk.start()["time"])


def spoil(shop: Shop) -> Path:
    """Changes one byte of a stored recording."""
    [path] = (shop.data_dir / "recordings/lob-banking").glob("**/*.wav")
    path.write_bytes(flipped(path.read_bytes(), Random(1)))
    return path


def test_verify_of_a_good_store_counts_by_class_and_ends_with_0(shop: Shop) -> None:
    shop.stored()
    shop.announced()
    done = shop.run("verify")
    assert done.code == 0
    lines = [line.split() for line in done.out.splitlines()]
    assert [kind for kind, _ in lines] == ["ok", "missing", "differs", "extra", "broken"]
    assert [number for _, number in lines[1:]] == ["0"] * 4


def test_verify_names_what_is_wrong_and_ends_with_1(shop: Shop) -> None:
    call_id, _ = today(shop)
    path = spoil(shop)
    done = shop.run("verify")
    assert done.code == 1
    [line] = [line for line in done.out.splitlines() if line.startswith("differs object")]
    assert path.name in line
    assert shop.run("verify", "--call", call_id).code == 1


def test_verify_of_one_call_and_of_one_day(shop: Shop) -> None:
    call_id, began = today(shop)
    one = shop.run("verify", "--call", call_id)
    assert one.code == 0
    assert f"ok      call {call_id}" in one.out
    assert shop.run("verify", "--day", began).code == 0
    assert shop.run("verify", "--call", "nobody").code == 3
    assert shop.run("verify", "--day", "someday").code == 2
    assert shop.run("verify", "--day", began, "--call", call_id).code == 2
    assert shop.run("verify", "everything").code == 2


def test_fast_does_not_read_the_bytes(shop: Shop) -> None:
    shop.stored()
    spoil(shop)
    assert shop.run("verify", "--fast").code == 0


def test_verify_as_json_is_one_object_a_line(shop: Shop) -> None:
    shop.stored()
    spoil(shop)
    *findings, last = shop.run("verify", "--json").lines()
    assert [finding["kind"] for finding in findings] == ["differs"]
    assert last["counts"]["differs"] == 1


def test_seal_says_how_much_it_sealed(shop: Shop) -> None:
    shop.announced()
    assert shop.run("seal", "--json").json() == {"links": 2, "days": []}
    assert shop.run("seal", "--all", "--json").json() == {"links": 0, "days": []}


def test_evidence_is_a_folder_that_its_own_recipe_passes(shop: Shop, tmp_path: Path) -> None:
    call_id, _ = today(shop)
    folder = tmp_path / "pack"
    done = shop.run("calls", "evidence", call_id, "--out", str(folder), "--reason", "a court asks")
    assert done.code == 0
    checked = subprocess.run(
        ["sh", folder / "verify.sh"], check=False, capture_output=True, encoding="utf-8"
    )
    assert checked.returncode == 0, checked.stdout
    assert shop.run("calls", "evidence", call_id, "--out", str(folder)).code == 2, "it is not empty"
    assert shop.run("calls", "evidence", "nobody", "--out", str(tmp_path / "x")).code == 3


def test_who_took_evidence_is_in_the_journal_and_in_the_pack(shop: Shop, tmp_path: Path) -> None:
    call_id, _ = today(shop)
    folder = tmp_path / "pack"
    shop.run("calls", "evidence", call_id, "--out", str(folder), "--reason", "a court asks")
    journal = "".join(path.read_text() for path in (folder / "events").glob("*.json"))
    assert '"what":"evidence"' in journal
    assert "a court asks" in journal


def test_evidence_is_one_zip_when_it_is_to_be(shop: Shop, tmp_path: Path) -> None:
    call_id, _ = today(shop)
    path = tmp_path / "pack.zip"
    assert shop.run("calls", "evidence", call_id, "--out", str(path), "--no-audio").code == 0
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    assert {"vcon.json", "verify.sh", "pack.txt.sig"} <= set(names)
    assert not [name for name in names if name.endswith(".wav")]
    assert path.stat().st_mode & 0o077 == 0
    assert shop.run("calls", "evidence", call_id, "--out", str(path)).code == 4


def test_completeness_is_printed_written_and_checked(shop: Shop, tmp_path: Path) -> None:
    _, began = today(shop)
    shop.announced()
    folder = tmp_path / "certificate"
    done = shop.run("report", "completeness", "--date", began, "--out", str(folder))
    assert done.code == 0
    assert "holds" in done.out
    said = shop.run("report", "completeness", "--date", began, "--json").json()
    assert (said["total"]["started"], said["leaves"]) == (2, 2)
    key = shop.run("report", "key", "--json").json()["key"]
    assert run("report", "verify", str(folder)).out.splitlines() == ["GOOD"]
    assert run("report", "verify", str(folder), "--key", key, "--json").json() == {
        "good": True, "problems": [],
    }  # fmt: skip
    (folder / "report.txt").write_text("All is well.\n")
    bad = run("report", "verify", str(folder))
    assert bad.code == 1
    assert "report.txt" in bad.out
    assert run("report", "verify", str(tmp_path / "nothing")).code == 3
    assert shop.run("report", "completeness", "--date", "today").code == 2


def test_the_key_is_told_with_its_id(shop: Shop, tmp_path: Path) -> None:
    shop.create()
    said = shop.run("report", "key").out
    assert said.startswith("-----BEGIN PUBLIC KEY-----")
    path = tmp_path / "key.pem"
    path.write_text(said.split("\n\n")[0] + "\n")
    der = subprocess.run(
        ["openssl", "pkey", "-pubin", "-in", path, "-outform", "DER"],
        check=True, capture_output=True,
    )  # fmt: skip
    digest = subprocess.run(["sha256sum"], input=der.stdout, capture_output=True, check=True)
    assert digest.stdout.decode().split()[0] == said.split()[-1]
