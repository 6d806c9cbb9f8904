"""Packs: checked by openssl, sha256sum and printf alone, good ones pass, changed ones don't."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import shutil
import subprocess
import zipfile
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from ocp_ingest.core.errors import NotFound
from ocp_ingest.core.events import canonical_bytes
from ocp_ingest.evidence.keys import key_id
from ocp_ingest.evidence.pack import Options, pack, zipped
from tests.evidence.kit import Site, flipped, write


def check(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the pack's own recipe."""
    return subprocess.run(
        ["sh", str(folder / "verify.sh"), *arguments],
        check=False, capture_output=True, encoding="utf-8", timeout=60,
    )  # fmt: skip


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A pack of a stored call under a closed day, of a fresh one, and of a quarantined one."""
    folder = tmp_path_factory.mktemp("packs")
    site = Site(folder / "site")

    async def make() -> None:
        for _ in range(5):
            await site.announced()
        stored, quarantined = await site.stored(), await site.quarantined()
        await site.next_day()
        fresh = await site.stored()
        for name, call_id in (("stored", stored), ("fresh", fresh), ("quarantined", quarantined)):
            await write(pack(site.evidence, call_id), folder / name)
        bare = Options(audio=False, raw=False)
        await write(pack(site.evidence, stored, bare), folder / "bare")
        key = await key_id(site.evidence.signer)
        (folder / "key").write_text(key)

    asyncio.run(make())
    site.close()
    names = ("stored", "fresh", "quarantined", "bare")
    return {"key": folder / "key", **{name: folder / name for name in names}}


def copied(source: Path, tmp_path: Path) -> Path:
    return shutil.copytree(source, tmp_path / "pack")


@pytest.mark.parametrize("name", ["stored", "fresh", "quarantined", "bare"])
def test_a_good_pack_passes(packs: dict[str, Path], name: str) -> None:
    done = check(packs[name], packs["key"].read_text())
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "GOOD"
    assert "FAILED" not in done.stdout
    assert done.stderr == ""


def test_the_recipe_says_what_it_has_checked(packs: dict[str, Path]) -> None:
    said = check(packs["stored"]).stdout
    for part in ("signature of the pack", "every file", "in one chain", "under the root of",
                 "signature of the day", "audio/"):  # fmt: skip
        assert any(line.startswith("ok") and part in line for line in said.splitlines()), part
    assert "note" in said, "without a key id it says whose word the pack is"


def test_another_key_than_the_owners_is_told(packs: dict[str, Path]) -> None:
    done = check(packs["stored"], "0" * 64)
    assert done.returncode == 1
    assert "FAILED  pack.txt is signed by the key that you named" in done.stdout


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_any_changed_byte_of_any_file_is_found(packs: dict[str, Path], tmp_path: Path) -> None:
    rng = Random(7)
    folder = copied(packs["stored"], tmp_path)
    recipe = (packs["stored"] / "verify.sh").read_bytes()
    for name in files(folder):
        path = folder / name
        held = path.read_bytes()
        path.write_bytes(flipped(held, rng))
        # A changed recipe may say anything: the good one tells.
        done = run_recipe(folder, recipe) if name == "verify.sh" else check(folder)
        path.write_bytes(held)
        assert done.returncode == 1, name
        assert done.stdout.splitlines()[-1] == "BAD", name
    assert check(folder).returncode == 0, "put back, it is good again"


def run_recipe(folder: Path, recipe: bytes) -> subprocess.CompletedProcess[str]:
    """The recipe as it should be, in place of the pack's own, whose hash is still looked at."""
    text = recipe.decode().replace('cd "$(dirname "$0")"', f'cd "{folder}"')
    return subprocess.run(
        ["sh", "-c", text], check=False, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize(
    ("pattern", "part"),
    [
        ("events/*.json", "journal"), ("events/*.raw", "journal"), ("chain.txt", "journal"),
        ("seal/leaf.txt", "the journal is under"), ("seal/proof.txt", "the journal is under"),
        ("seal/statement.txt", "signature of the day"),
        ("seal/statement.txt.sig", "signature of the day"), ("audio/*.wav", "audio/"),
        ("audio/*.json", "audio/"), ("pack.txt", "signature of the pack"),
    ],
)  # fmt: skip
def test_each_step_finds_by_itself_what_is_its_to_find(
    packs: dict[str, Path], tmp_path: Path, pattern: str, part: str
) -> None:
    """Not the list of hashes alone: whoever could write that one anew is found all the same."""
    folder = copied(packs["stored"], tmp_path)
    rng = Random(pattern)
    path = rng.choice(sorted(folder.glob(pattern)))
    path.write_bytes(flipped(path.read_bytes(), rng))
    failed = [line for line in check(folder).stdout.splitlines() if line.startswith("FAILED")]
    assert any(part in line for line in failed), failed


def forge(folder: Path) -> None:
    """Makes the list of hashes and the pack's statement anew, without the owner's key."""
    names = [n for n in files(folder) if n not in ("SHA256SUMS", "pack.txt", "pack.txt.sig")]
    sums = "".join(
        f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names
    )
    (folder / "SHA256SUMS").write_text(sums)
    said = (folder / "pack.txt").read_text()
    old = next(line for line in said.splitlines() if line.startswith("files "))
    new = f"files {hashlib.sha256(sums.encode()).hexdigest()}"
    (folder / "pack.txt").write_text(said.replace(old, new))


def test_a_forged_list_is_found_by_its_signature(packs: dict[str, Path], tmp_path: Path) -> None:
    folder = copied(packs["stored"], tmp_path)
    path = next(iter((folder / "audio").glob("*.wav")))
    path.write_bytes(flipped(path.read_bytes(), Random(1)))
    forge(folder)
    said = check(folder).stdout
    assert "FAILED  signature of the pack" in said
    assert "FAILED  audio/" in said, "and by the journal, which nobody can forge"


def test_a_pack_signed_by_another_key_is_found_by_the_key(
    packs: dict[str, Path], tmp_path: Path
) -> None:
    folder = copied(packs["stored"], tmp_path)
    (folder / "record.json").write_text("{}\n")
    openssl("genpkey", "-algorithm", "ed25519", "-out", str(tmp_path / "theirs"))
    openssl("pkey", "-in", str(tmp_path / "theirs"), "-pubout", "-out", str(folder / "key.pem"))
    der = openssl("pkey", "-pubin", "-in", str(folder / "key.pem"), "-outform", "DER")
    theirs = hashlib.sha256(der).hexdigest()
    said = (folder / "pack.txt").read_text().replace(packs["key"].read_text(), theirs)
    (folder / "pack.txt").write_text(said)
    forge(folder)
    openssl(
        "pkeyutl", "-sign", "-inkey", str(tmp_path / "theirs"), "-rawin", "-in",
        str(folder / "pack.txt"), "-out", str(folder / "pack.txt.sig"),
    )  # fmt: skip
    assert check(folder).returncode == 0, "without the owner's word about the key it can't be seen"
    done = check(folder, packs["key"].read_text())
    assert done.returncode == 1
    assert "FAILED  pack.txt is signed by the key" in done.stdout


def openssl(*arguments: str) -> bytes:
    return subprocess.run(["openssl", *arguments], check=True, capture_output=True).stdout


@pytest.mark.parametrize("change", ["added", "dropped", "swapped"])
def test_an_added_a_dropped_and_a_swapped_event_are_found(
    packs: dict[str, Path], tmp_path: Path, change: str
) -> None:
    folder = copied(packs["stored"], tmp_path)
    one, two = folder / "events/00003.json", folder / "events/00004.json"
    if change == "added":
        (folder / "events/00099.json").write_bytes(one.read_bytes())
    elif change == "dropped":
        one.unlink()
    else:
        held = one.read_bytes()
        one.write_bytes(two.read_bytes())
        two.write_bytes(held)
    assert check(folder).returncode == 1


def test_without_audio_the_recipe_checks_what_is_put_there_later(
    packs: dict[str, Path], tmp_path: Path
) -> None:
    folder = copied(packs["bare"], tmp_path)
    assert not list((folder / "audio").glob("*.wav"))
    assert not list((folder / "events").glob("*.raw"))
    said = check(folder).stdout
    assert "is not in this pack" in said
    [audio] = (packs["stored"] / "audio").glob("*.wav")
    shutil.copy(audio, folder / "audio")
    found = check(folder).stdout
    assert f"ok      audio/{audio.name}" in found
    (folder / "audio" / audio.name).write_bytes(flipped(audio.read_bytes(), Random(2)))
    assert f"FAILED  audio/{audio.name}" in check(folder).stdout


# -- the vCon --------------------------------------------------------------------------------------


def vcon(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "vcon.json").read_bytes())
    return found


def test_the_vcon_has_the_call_by_reference_with_the_hashes_of_its_audio(
    packs: dict[str, Path],
) -> None:
    said = vcon(packs["stored"])
    assert said["vcon"] == "0.4.0"
    assert said["uuid"][14] == "8"
    assert said["uuid"][19] in "89ab"
    [dialog] = said["dialog"]
    assert (dialog["type"], dialog["mediatype"]) == ("recording", "audio/x-wav")
    assert "body" not in dialog
    [audio] = (packs["stored"] / "audio").glob("*.wav")
    body = audio.read_bytes()
    assert dialog["content_hash"] == [
        f"sha512-{_base64(hashlib.sha512(body).digest())}",
        f"sha256-{_base64(hashlib.sha256(body).digest())}",
    ]
    assert dialog["duration"] == 1.0
    assert vcon(packs["bare"])["dialog"][0]["content_hash"] == dialog["content_hash"]


def _base64(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def test_the_vcons_attachments_are_the_journal_to_the_byte(packs: dict[str, Path]) -> None:
    folder = packs["stored"]
    attached = {a["filename"]: a["body"] for a in vcon(folder)["attachments"]}
    for path in sorted((folder / "events").glob("*.json")):
        assert attached[f"events/{path.name}"].encode() == path.read_bytes()
    assert attached["seal/proof.txt"].encode() == (folder / "seal/proof.txt").read_bytes()
    for attachment in vcon(folder)["attachments"]:
        assert {"start", "party", "dialog", "encoding"} <= attachment.keys()


def test_the_vcons_parties_have_no_numbers(packs: dict[str, Path]) -> None:
    customer, answered = vcon(packs["stored"])["parties"]
    assert not {"tel", "sip", "mailto", "name", "stir"} & customer.keys()
    assert answered["name"] == "banking-voice"


def test_the_verdicts_are_its_analysis(packs: dict[str, Path]) -> None:
    [analysis] = vcon(packs["quarantined"])["analysis"]
    assert (analysis["vendor"], analysis["dialog"]) == ("ocp-ingest", 0)
    [version] = analysis["body"]["versions"].values()
    assert [verdict["valid"] for verdict in version["verdicts"]] == [False]
    assert analysis["body"]["stored"] is None


# -- what is asked of the port ---------------------------------------------------------------------


async def test_an_unknown_call_has_no_pack(site: Site) -> None:
    with pytest.raises(NotFound):
        async for _ in pack(site.evidence, "nobody"):
            pass


async def test_a_zip_holds_the_same_files(site: Site, tmp_path: Path) -> None:
    call_id = await site.stored()
    blocks = [block async for block in zipped(pack(site.evidence, call_id), 1_790_000_000_000)]
    assert len(blocks) > 5, "it is given as it is made"
    with zipfile.ZipFile(io.BytesIO(b"".join(blocks))) as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path / "zip")
    done = check(tmp_path / "zip")
    assert done.returncode == 0, done.stdout


async def test_events_that_no_chain_has_yet_are_in_the_pack_too(site: Site, tmp_path: Path) -> None:
    call_id = await site.stored()
    events = await site.world.calls.journal(call_id)
    folder = await write(pack(site.evidence, call_id), tmp_path / "pack")
    held = [path.read_bytes() for path in sorted((folder / "events").glob("*.json"))]
    assert _sorted(held) == _sorted([canonical_bytes(event) for event in events])
    assert check(folder).returncode == 0


def _sorted(bodies: Sequence[bytes]) -> list[bytes]:
    return sorted(bodies)


async def test_a_recording_that_was_changed_makes_a_pack_that_fails(
    site: Site, tmp_path: Path
) -> None:
    call_id = await site.stored()
    [path] = (site.data_dir / "recordings/lob-banking").glob("**/*.wav")
    path.write_bytes(flipped(path.read_bytes(), Random(3)))
    folder = await write(pack(site.evidence, call_id), tmp_path / "pack")
    done = check(folder)
    assert done.returncode == 1
    assert "FAILED  audio/" in done.stdout
    assert "ok      signature of the pack" in done.stdout
