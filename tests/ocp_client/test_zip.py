"""Laws of ZIPs: what is in them comes out, in bounds; what is wrong is refused, and only that."""

import io
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocp_ingest.adapters.ocp import zip_reader
from ocp_ingest.adapters.ocp.zip_reader import Archive, ZipBounds
from ocp_ingest.core.errors import Invalid, OcpIngestError, TooLarge
from ocp_ingest.core.limits import MIB, Limits
from ocp_ingest.reconcile.ports import ExportFile, Mismatch
from tests.ocp_client.kit import Content, bench, content, fetch_all, pattern

BOUNDS = ZipBounds(entries_max=100, unpacked_bytes_max=1 << 30, member_bytes_max=1 << 24)
NAMES = ["g~4001~1760000400000~d.wav", "../../etc/passwd", "/abs.wav", "C:\\x.wav", "a/b/c.wav",
         "é😀.wav", "con", "x" * 300 + ".wav", ".."]  # fmt: skip


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def read(data: bytes, bounds: ZipBounds = BOUNDS) -> list[tuple[str, bytes]]:
    archive = Archive(io.BytesIO(data), bounds)
    return [(one.name, b"".join(archive.read(one))) for one in archive.members]


@given(
    st.dictionaries(
        st.sampled_from(NAMES),
        st.binary(max_size=2_000).filter(lambda data: not data.startswith(b"PK")),
        max_size=6,
    ),
    st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
)
def test_names_and_bytes_come_out_as_they_went_in(members: dict[str, bytes], method: int) -> None:
    assert dict(read(zipped(members, method))) == members


def test_streamed_archives_with_data_descriptors_and_zip64_are_read() -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_: int) -> int:
            raise io.UnsupportedOperation

        def tell(self) -> int:
            raise io.UnsupportedOperation

    pipe = Pipe()
    with (
        zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a.wav", "w", force_zip64=True) as member,
    ):
        member.write(pattern(100_000))
    assert read(pipe.getvalue()) == [("a.wav", pattern(100_000))]


def test_folders_are_skipped_and_comments_do_no_harm() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.mkdir("folder")
        archive.writestr("folder/a.wav", b"RIFF")
        archive.comment = b"PK" + b"c" * 60_000
    assert read(file.getvalue()) == [("folder/a.wav", b"RIFF")]


class TestBombs:
    """None is unpacked to be found out."""

    def test_too_many_entries(self) -> None:
        with pytest.raises(TooLarge, match="entries"):
            read(zipped({f"{n}.wav": b"" for n in range(101)}))

    def test_a_huge_directory_is_not_even_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        lying = bytearray(zipped({"a.wav": b"x"}))
        monkeypatch.setattr(zipfile, "ZipFile", None)  # a read would be a TypeError
        at = lying.rindex(b"PK\x05\x06")
        lying[at + 12 : at + 16] = struct.pack("<L", 1 << 30)
        with pytest.raises(TooLarge):
            read(bytes(lying))

    def test_a_zip64_directory_is_bounded_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(zipfile, "ZipFile", None)
        end64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1 << 40, 1 << 40, 99, 0)
        locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, 0, 1)
        end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 2**32 - 1, 0, 0)
        with pytest.raises(TooLarge):
            read(end64 + locator + end)

    def test_a_harmless_zip64_directory_is_read(self) -> None:
        plain = zipped({"a.wav": b"RIFF"})
        at = plain.rindex(b"PK\x05\x06")
        size, start = struct.unpack_from("<2L", plain, at + 12)
        end64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, size, start)
        locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, at, 1)
        most = 2**32 - 1
        end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, most, most, 0)
        assert read(plain[:at] + end64 + locator + end) == [("a.wav", b"RIFF")]

    def test_too_much_in_all(self) -> None:
        data = zipped({f"{n}.wav": pattern(1000) for n in range(5)})
        with pytest.raises(TooLarge, match="unpacks"):
            read(data, BOUNDS._replace(unpacked_bytes_max=4_999))

    def test_a_ratio_beyond_audio(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(zip_reader, "RATIO_FROM_BYTES", MIB)
        with pytest.raises(TooLarge, match="bomb"):
            read(zipped({"a.wav": bytes(2 * MIB)}))
        silence = zipped({"a.wav": bytes(MIB // 2)})  # a muted call
        assert read(silence) == [("a.wav", bytes(MIB // 2))]

    def test_entries_that_share_bytes(self) -> None:
        one = zipped({"a.wav": pattern(500)}, zipfile.ZIP_STORED)
        at = one.index(b"PK\x01\x02")
        end = one.rindex(b"PK\x05\x06")
        entry, tail = one[at:end], bytearray(one[end:])
        tail[8:12] = struct.pack("<2H", 2, 2)
        tail[12:16] = struct.pack("<L", 2 * len(entry))
        with pytest.raises((Invalid, Mismatch)):
            read(one[:at] + entry + entry + bytes(tail))

    def test_a_member_shorter_than_it_declares_is_not_whole(self) -> None:
        data = bytearray(zipped({"a.wav": pattern(1_000)}))
        for mark, field in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
            at = data.index(mark) + field
            data[at : at + 4] = struct.pack("<L", 2_000)
        with pytest.raises(Mismatch):
            read(bytes(data))

    def test_a_member_longer_than_it_declares_is_not_believed(self) -> None:
        data = bytearray(zipped({"a.wav": bytes(100_000)}))
        for mark, field in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
            at = data.index(mark) + field
            data[at : at + 4] = struct.pack("<L", 10)
        with pytest.raises(Mismatch):
            read(bytes(data))


class TestRefusedMembers:
    """One bad member costs itself, not the calls beside it."""

    def _reads(self, data: bytes, bounds: ZipBounds = BOUNDS) -> list[str]:
        archive = Archive(io.BytesIO(data), bounds)
        found = []
        for one in archive.members:
            try:
                found.append(f"{len(b''.join(archive.read(one)))} bytes")
            except Invalid as refused:
                found.append(refused.text)
        return found

    def test_a_zip_inside(self) -> None:
        data = zipped({"a.wav": b"RIFF", "b.wav": zipped({"c": b"x"}), "d.wav": b"RIFFxx"})
        first, second, third = self._reads(data)
        assert (first, third) == ("4 bytes", "6 bytes")
        assert "ZIP itself" in second

    def test_an_encrypted_one(self) -> None:
        data = bytearray(zipped({"a.wav": b"RIFF", "b.wav": b"RIFFxx"}, zipfile.ZIP_STORED))
        at = data.rindex(b"PK\x01\x02") + 8
        data[at] |= 1
        assert self._reads(bytes(data))[0] == "4 bytes"
        assert "encrypted" in self._reads(bytes(data))[1]

    @pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    def test_rare_methods(self, method: int) -> None:
        assert "method" in self._reads(zipped({"a.wav": b"RIFF"}, method))[0]

    def test_one_over_the_bound_of_a_recording(self) -> None:
        data = zipped({"a.wav": bytes(MIB + 1), "b.wav": b"RIFF"})
        first, second = self._reads(data, BOUNDS._replace(member_bytes_max=MIB))
        assert "1 MiB" in first
        assert second == "4 bytes"


@settings(max_examples=300)
@given(st.data())
def test_no_damage_makes_other_bytes_or_an_unknown_error(draw: st.DataObject) -> None:
    members = {"a.wav": pattern(300), "b.wav": pattern(200)}
    data = bytearray(zipped(members, draw.draw(st.sampled_from([0, 8]))))
    for _ in range(draw.draw(st.integers(1, 4))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    if draw.draw(st.booleans()):
        del data[draw.draw(st.integers(0, len(data) - 1)) :]
    try:
        archive = Archive(io.BytesIO(bytes(data)), BOUNDS)
    except OcpIngestError:
        return
    for one in archive.members:
        try:
            got = b"".join(archive.read(one))
        except OcpIngestError:
            continue
        assert got in (*members.values(), b"")  # the CRC vouches; b"" where an entry was lost


class TestFetched:
    """Through the client: from a file of an export to its recordings."""

    async def test_members_come_as_files_of_their_own(self, tmp_path: Path) -> None:
        members = {"g~1~2~d1.wav": pattern(300_000), "g~1~2~d2.mp3": b"ID3", "x.json": b"{}\n",
                   "notes.txt": b"?"}  # fmt: skip
        data = zipped(members)
        async with bench(spool_dir=str(tmp_path)) as at:
            at.vendor.always["download"] = Content(data, cuts=(1_000,))
            heard: list[int] = []
            found = []
            async for one in at.client.fetch("g", "x", ExportFile("e.zip", "ALL"), heard.append):
                found.append((one.name, one.kind, one.size, one.sha256, await content(one)))
            assert list(tmp_path.iterdir()) == []
        kinds = ["recording", "recording", "cdr", "other"]
        assert found == [
            (name, kind, len(data), None, data)
            for (name, data), kind in zip(members.items(), kinds, strict=True)
        ]
        assert heard[-1] == len(data)

    async def test_a_zip_is_told_by_its_bytes_not_by_its_name(self) -> None:
        async with bench() as at:
            at.vendor.always["download"] = Content(zipped({"a.wav": b"RIFF"}))
            [(found, data)] = await fetch_all(at.client, ExportFile("export-17", "audio"))
            assert (found.name, data) == ("a.wav", b"RIFF")
            at.vendor.always["download"] = Content(b"<html>error</html>")
            with pytest.raises(Mismatch):
                await fetch_all(at.client, ExportFile("e.zip", "audio"))

    async def test_a_zip_under_a_recording_s_name_is_a_bad_recording_and_kept_as_it_is(
        self,
    ) -> None:
        async with bench() as at:
            body = zipped({"a.wav": b"RIFF"})
            at.vendor.always["download"] = Content(body)
            [(found, data)] = await fetch_all(at.client, ExportFile("call.wav", "audio"))
            assert (found.name, found.kind, data) == ("call.wav", "recording", body)

    async def test_a_zip_over_the_bound_is_refused_with_the_key_to_change(self) -> None:
        data = zipped({"a.wav": pattern(3 * MIB)}, zipfile.ZIP_STORED)
        async with bench(Limits(recording_bytes_max=4 * MIB), zip_bytes_max=MIB) as at:
            at.vendor.always["download"] = Content(data)
            with pytest.raises(TooLarge, match="zip_bytes_max"):
                await fetch_all(at.client, ExportFile("e.zip"))

    async def test_a_plain_file_over_the_bound_of_a_recording_is_refused(self) -> None:
        async with bench(Limits(recording_bytes_max=MIB)) as at:
            at.vendor.always["download"] = Content(pattern(2 * MIB))
            with pytest.raises(TooLarge, match="1 MiB"):
                await fetch_all(at.client, ExportFile("a.wav"))

    async def test_a_folder_without_room_is_not_the_vendors_fault(self, tmp_path: Path) -> None:
        async with bench(spool_dir=str(tmp_path / "missing")) as at:
            at.vendor.always["download"] = Content(zipped({"a.wav": b"RIFF"}))
            with pytest.raises(OcpIngestError, match="spool_dir"):
                await fetch_all(at.client, ExportFile("e.zip"))

    async def test_a_member_need_not_be_read_to_get_to_the_next(self) -> None:
        data = zipped({"a.wav": pattern(500_000), "b.wav": b"RIFF"})
        async with bench() as at:
            at.vendor.always["download"] = Content(data)
            names = [one.name async for one in at.client.fetch("g", "x", ExportFile("e.zip"))]
        assert names == ["a.wav", "b.wav"]

    async def test_cdr_files_stream_as_they_are(self) -> None:
        lines = b'{"message_type":"dialog_start"}\n' * 3
        async with bench() as at:
            at.vendor.always["download"] = Content(lines)
            [(found, data)] = await fetch_all(at.client, ExportFile("d.json", "dialog_start", 96))
        assert (found.kind, data) == ("cdr", lines)
