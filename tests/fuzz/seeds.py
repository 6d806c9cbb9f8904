"""Where fuzzing begins: small inputs of every form, good and broken, made by code."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Iterator

from tests.audio_corpus import BROKEN, VALID
from tests.core.audio import builders as b
from tests.fuzz.doors import NAME
from tests.fuzz.mutate import BYTES_MAX

HEAD_BYTES = 2_000  # of a long recording: its headers and some of its sound
_FILE = b'Content-Disposition: form-data; name="file"; filename="%s"\r\n' % NAME.encode()
_META = b'Content-Disposition: form-data; name="metadata"\r\n\r\n'


def of(target: str) -> list[bytes]:
    """The seeds of a target."""
    return list(_SEEDS[target]())


def _audio() -> Iterator[bytes]:
    yield from (b"", b.riff(b.FMT16), b.mp3(3), b.xing(9, 9), b.mp3(40))
    for make in (*(valid.make for valid in VALID.values()), *BROKEN.values()):
        data = make()
        yield data if len(data) <= HEAD_BYTES else data[:HEAD_BYTES]
        if len(data) <= BYTES_MAX // 2:
            yield data


def _zip() -> Iterator[bytes]:
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as archive:
            archive.writestr("a~b~1~c.wav", b.wav(b.speech())[:300])
            archive.writestr("../é.wav", bytes(500))
            archive.mkdir("folder")
            with archive.open("large.wav", "w", force_zip64=True) as member:
                member.write(b"RIFF" * 9)
        yield file.getvalue()
        yield b"junk before" + file.getvalue() + b"and behind"


def _multipart() -> Iterator[bytes]:
    file = _FILE + b"Content-Type: audio/wav\r\n\r\n" + b.riff(b.FMT16)
    meta = _META + json.dumps({"name": NAME, "size": 28}).encode()
    for parts in (
        [file],
        [meta, file],
        [file, meta],
        [file, file],
        [meta],
        [b"X: y\r\n\r\nz", file],
    ):
        yield b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + b"--b--\r\n"
    yield b"preamble\r\n--b\r\n" + file


def _json_form() -> Iterator[bytes]:
    for form in (
        {"name": NAME, "data": "UklGRg=="}, {"name": NAME, "url": "http://127.0.0.1/a.wav"},
        {"data": "UklGRg==", "size": 4, "sha256": "a" * 64}, {"name": 3}, {"error": "no such file"},
    ):  # fmt: skip
        yield json.dumps(form).encode()
    yield b"[]"


def _events() -> Iterator[bytes]:
    one = b'{"message_type":"dialog_start","id":"a","group":"a","time":1795341600000}'
    yield from (one, b"[" + one + b"," + one + b"]", one + b"\n" + one, gzip.compress(one))
    yield from (gzip.compress(one) * 2, b"[1,[2,{}]]", b'{\n "a": 1\n}', one + b"\nnope")


def _answers() -> Iterator[bytes]:
    export = {
        "id": "e-1", "status": "COMPLETED", "from": "2026-01-12T12:00:00.000Z",
        "to": "2026-01-12T13:00:00.000Z", "types": ["AUDIO"], "totalFiles": 3,
    }  # fmt: skip
    file = {"name": "a~b~1~c.wav", "type": "AUDIO", "size": 44, "sha256": "a" * 64}
    for said in (
        export, [export], {"exports": [export], "totalPages": 2}, {"files": [file]}, [file], {}, [],
    ):  # fmt: skip
        yield json.dumps(said).encode()


def _names() -> Iterator[bytes]:
    name = NAME.encode()
    yield from (name, b'attachment; filename="%s"' % name, b"attachment; filename=" + name)
    yield from (
        b"attachment; filename*=UTF-8''%C3%B1~a~1~b.wav; filename=x",
        b"a/b~c~1~d.mp3",
        b"~~~",
    )


_SEEDS = {
    "audio": _audio, "zip": _zip, "multipart": _multipart, "json_form": _json_form,
    "events": _events, "answers": _answers, "names": _names,
}  # fmt: skip
