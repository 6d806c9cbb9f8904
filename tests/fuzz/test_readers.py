"""Every reader of others' bytes: nothing but the documented errors, no hang, memory in bounds.

The kept corpus is read again and again; a moment of new mutations beside it, more with
FUZZ_SECONDS.
Audio, ZIPs and OCP's answers have laws of their own in tests/core/audio and tests/ocp_client.
"""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import tracemalloc
import zipfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocp_ingest.adapters.ocp.zip_reader import Archive
from ocp_ingest.core.limits import MIB
from tests.fuzz.bounds import seconds
from tests.fuzz.doors import NAME, Sites, told
from tests.fuzz.targets import TARGETS, ZIP_BOUNDS
from tools import fuzz

QUICK_S = 0.7  # of mutations for each target in `make test`
CORPUS_BYTES_MAX = 300_000  # of all kept inputs: this is a repository, no store
INPUT_S_MAX = 5.0
FEW = 70  # blocks; so many tiny parts are read before they are over their bound


@pytest.fixture(scope="module")
def sites() -> Sites:
    return Sites()


@pytest.mark.timeout(0)
@pytest.mark.parametrize("target", TARGETS)
def test_no_input_makes_more_than_a_documented_error(target: str) -> None:
    done = fuzz.fuzz(target, seconds(0.5 / len(TARGETS), QUICK_S), seed=1)
    assert done.findings == [], f"repeat with: python tools/fuzz.py --target {target} --repeat"
    assert done.inputs > 0


@pytest.mark.parametrize("target", TARGETS)
def test_every_kept_input_is_read_within_its_time(target: str) -> None:
    inputs = fuzz.kept(target)
    assert inputs, "the corpus of this target is gone"
    for path in inputs:
        with fuzz.alarm(INPUT_S_MAX):
            TARGETS[target](path.read_bytes())


def test_the_corpus_is_small() -> None:
    size = sum(path.stat().st_size for target in TARGETS for path in fuzz.kept(target))
    assert size <= CORPUS_BYTES_MAX


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Findings that are meant go elsewhere than to build/fuzz."""
    monkeypatch.setattr(fuzz, "FINDINGS", tmp_path)
    monkeypatch.setattr(fuzz, "ROOT", tmp_path)


@pytest.mark.usefixtures("shelf")
def test_a_finding_is_told_and_kept() -> None:
    """A fuzzer that sees nothing would look like a reader without faults."""

    def breaks(data: bytes) -> str:
        assert b"\0" not in data, "a reader that breaks"
        return str(len(data) // 100)

    done = fuzz.fuzz("names", 20.0, seed=1, run=breaks)
    assert len(done.findings) == fuzz.FINDINGS_MAX
    assert {b"\0" in path.read_bytes() for path in _taken(done)} == {True}


@pytest.mark.usefixtures("shelf")
def test_an_input_that_hangs_is_a_finding() -> None:
    def hangs(data: bytes) -> str:
        while b"\0" in data:
            pass
        return str(len(data))

    done = fuzz.fuzz("names", 60.0, seed=1, run=hangs, input_s_max=0.02)
    assert len(done.findings) == fuzz.FINDINGS_MAX
    assert {b"\0" in path.read_bytes() for path in _taken(done)} == {True}


@pytest.mark.usefixtures("shelf")
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the bound is Linux's")
def test_an_input_that_takes_too_much_memory_is_a_finding() -> None:
    def swells(data: bytes) -> str:
        return str(len(bytearray(2 * fuzz.INPUT_BYTES_MAX if b"\0" in data else 1)))

    done = fuzz.fuzz("names", 60.0, seed=1, run=swells)
    assert len(done.findings) == fuzz.FINDINGS_MAX
    assert {b"\0" in path.read_bytes() for path in _taken(done)} == {True}
    assert bytearray(2 * fuzz.INPUT_BYTES_MAX), "afterwards the process has its memory again"


def _taken(done: fuzz.Fuzzed) -> list[Path]:
    """The files of findings."""
    return [fuzz.ROOT / name for name in done.findings]


# -- multipart -----------------------------------------------------------------------------------

_SAFE = st.binary(min_size=1, max_size=400).filter(lambda data: b"--b" not in data)
_CUTS = st.lists(st.integers(0, 2_000), max_size=20)


def _form(audio: bytes, metadata: bytes | None, order: int) -> bytes:
    head = b'Content-Disposition: form-data; name="file"; filename="%s"' % NAME.encode()
    parts = [head + b"\r\nContent-Type: audio/wav\r\n\r\n" + audio]
    if metadata is not None:
        meta = b'Content-Disposition: form-data; name="metadata"\r\n\r\n' + metadata
        parts.insert(order, meta)
    return b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + b"--b--\r\n"


@given(audio=_SAFE, named=st.booleans(), order=st.integers(0, 1), places=_CUTS)
@settings(deadline=None, max_examples=60)
def test_a_whole_form_in_any_blocks_is_the_recording_in_it(
    sites: Sites, audio: bytes, named: bool, order: int, places: list[int]
) -> None:
    body = _form(audio, json.dumps({"name": NAME}).encode() if named else None, order)
    at = sorted({0, len(body), *(place % (len(body) + 1) for place in places)})
    site = sites.site()
    headers = {b"content-type": b"multipart/form-data; boundary=b"}
    blocks = [body[start:end] for start, end in pairwise(at)]
    answer = asyncio.run(sites.deliver(site, blocks, headers))
    assert answer.status == 201, told(answer)
    assert list(site.landed().values()) == [audio]
    assert site.read == len(blocks)


@pytest.mark.parametrize(
    ("block", "status"),
    [
        (b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n\r\n', 413),  # parts
        (b"--b\r\n" + b"X-Long: " + b"y" * 65_536, 413),  # a header without an end
        (b'--b\r\nContent-Disposition: form-data; name="metadata"\r\n\r\n' + b" " * 65_536, 413),
        (b"preamble " * 7_000, 413),
        (b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n' + b"x" * 65_536, 413),
        (b"--b--\r\n" + b"x" * 65_536, 413),
    ],
    ids=["parts", "header", "metadata", "preamble", "unknown part", "epilogue"],
)
def test_a_form_without_an_end_is_refused_in_constant_memory(
    sites: Sites, block: bytes, status: int
) -> None:
    """64 MiB of it are offered; of what is over a bound the first few blocks are read."""
    site = sites.site()
    blocks = [block, *[block[block.rfind(b"\r\n\r\n") + 4 :] or block] * 1_000]
    headers = {b"content-type": b"multipart/form-data; boundary=b"}
    tracemalloc.start()
    try:
        answer = asyncio.run(sites.deliver(site, blocks, headers))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert answer.status == status, told(answer)
    assert site.read <= FEW, "it was read to its end"
    assert peak < 4 * MIB
    assert site.open_uploads() == 0


# -- bombs ---------------------------------------------------------------------------------------


def _bombs() -> Iterator[tuple[str, bytes]]:
    yield "events", gzip.compress(bytes(8 * MIB))
    yield "json_form", b"[" * 100_000
    yield "json_form", b'{"name":' + b"[" * 100_000
    yield "answers", b'{"files":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    yield "answers", b'{"totalPages":1e99,"files":[' + b"{}," * 30_000 + b"{}]}"
    yield "names", b"attachment; " + b"filename=a; " * 5_000
    yield "names", b'attachment; filename="' + b"\\" * 60_001
    yield "names", b";" + b" " * 60_000
    yield "names", b"~" * 60_000
    yield "audio", b"RIFF\xff\xff\xff\xffWAVE" + b"LIST\0\0\0\0" * 20_000


@pytest.mark.parametrize("index", range(10))
def test_a_bomb_costs_a_few_times_its_own_size(index: int) -> None:
    target, data = list(_bombs())[index]
    TARGETS[target](b"")  # what is built once
    tracemalloc.start()
    try:
        with fuzz.alarm(INPUT_S_MAX):
            TARGETS[target](data)
        assert tracemalloc.get_traced_memory()[1] < 2 * MIB + 80 * len(data)
    finally:
        tracemalloc.stop()


def test_a_zip_bomb_is_read_in_blocks_or_not_at_all() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in "abcd":
            archive.writestr(name, bytes(MIB))
    tracemalloc.start()
    try:
        opened = Archive(io.BytesIO(file.getvalue()), ZIP_BOUNDS)
        assert sum(len(block) for one in opened.members for block in opened.read(one)) == 4 * MIB
        assert tracemalloc.get_traced_memory()[1] < 2 * MIB
    finally:
        tracemalloc.stop()


def test_a_name_of_an_entry_may_be_empty() -> None:
    """Found by the fuzzer: zipfile itself breaks on it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x", b"RIFF")
    data = bytearray(file.getvalue())
    at = data.index(b"PK\x01\x02")
    data[at + 28] = 0  # length of the name
    data[at + 30] = 1  # of the extra field: the directory keeps its size
    [member] = Archive(io.BytesIO(bytes(data)), ZIP_BOUNDS).members
    assert member.name == ""


def test_a_refusal_quotes_nothing_of_the_body(sites: Sites) -> None:
    """Found by the fuzzer: the parser's error held the header, and so the sender's text."""
    body = b'--b\r\nContent-Disposition: form-data; name="+34600123456\xff"\r\n\r\nx\r\n--b--\r\n'
    headers = {b"content-type": b"multipart/form-data; boundary=b"}
    answer = asyncio.run(sites.deliver(sites.site(), [body], headers))
    assert answer.status == 400
    assert b"Disposition" not in answer.body
    assert b"600123456" not in answer.body
