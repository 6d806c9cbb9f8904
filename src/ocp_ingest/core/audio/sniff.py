"""What the bytes are, told by the bytes alone: never by a name or a Content-Type.

Rules
  1. The tables come first: a magic at an offset gives a name; the order of the rows decides.
  2. What starts as text is told apart by its first characters.
  3. Only the first ``SNIFF_BYTES`` bytes are looked at, whatever blocks they came in.
  4. A name is ``wav``, ``rf64``, ``bw64``, ``rifx`` or ``mp3`` when a walker takes it, otherwise
     the true name of what was saved; ``NAMES`` says it in words and to which family it belongs.

Magics: the public registries of the formats (RFC 3533 Ogg, RFC 9639 FLAC, ISO 14496-12 ftyp,
EBU Tech 3306 RF64, ITU-R BS.2088 BW64, RFC 4867 AMR, Sony Wave64 GUIDs …).
"""

from typing import Final

SNIFF_BYTES: Final = 4096  # bytes; holds three MP3 frames of 1,441 bytes less one, and any magic

WAV_NAMES: Final = frozenset({"wav", "rf64", "bw64", "rifx"})
VAGUE_NAMES: Final = frozenset({"unknown", "raw_alaw", "raw_mulaw", "gsm"})  # told by statistics
WRAPPERS: Final = frozenset({"http", "multipart", "text"})  # what a recording may be buried in

# name -> (family, words)
NAMES: Final[dict[str, tuple[str, str]]] = {
    "html": ("not_audio", "an HTML page"),
    "xml": ("not_audio", "an XML document"),
    "json": ("not_audio", "a JSON document"),
    "text": ("not_audio", "plain text"),
    "utf16": ("not_audio", "UTF-16 text"),
    "base64": ("not_audio", "base64 text that was never decoded"),
    "multipart": ("not_audio", "a multipart form body"),
    "http": ("not_audio", "an HTTP answer with its header lines"),
    "ffconcat": ("not_audio", "an ffconcat script"),
    "m3u": ("not_audio", "an M3U or HLS playlist"),
    "gzip": ("not_audio", "gzip data"),
    "zip": ("not_audio", "a ZIP archive"),
    "bzip2": ("not_audio", "bzip2 data"),
    "xz": ("not_audio", "xz data"),
    "zstd": ("not_audio", "Zstandard data"),
    "7z": ("not_audio", "a 7-Zip archive"),
    "rar": ("not_audio", "a RAR archive"),
    "tar": ("not_audio", "a tar archive"),
    "pdf": ("not_audio", "a PDF document"),
    "png": ("not_audio", "a PNG picture"),
    "jpeg": ("not_audio", "a JPEG picture"),
    "gif": ("not_audio", "a GIF picture"),
    "webp": ("not_audio", "a WebP picture"),
    "elf": ("not_audio", "an ELF program"),
    "sqlite": ("not_audio", "an SQLite database"),
    "zeros": ("not_audio", "zero bytes only"),
    "unknown": ("not_audio", "of no known kind"),
    "ogg": ("unsupported", "Ogg"),
    "opus": ("unsupported", "Opus in Ogg"),
    "vorbis": ("unsupported", "Vorbis in Ogg"),
    "speex": ("unsupported", "Speex in Ogg"),
    "flac": ("unsupported", "FLAC"),
    "m4a": ("unsupported", "MPEG-4 audio (M4A)"),
    "mp4": ("unsupported", "an MPEG-4 file"),
    "3gp": ("unsupported", "a 3GP file"),
    "mov": ("unsupported", "a QuickTime file"),
    "amr": ("unsupported", "AMR"),
    "aac": ("unsupported", "AAC"),
    "mp1": ("unsupported", "MPEG audio layer I"),
    "mp2": ("unsupported", "MPEG audio layer II"),
    "aiff": ("unsupported", "AIFF"),
    "au": ("unsupported", "Sun/NeXT AU"),
    "caf": ("unsupported", "Core Audio Format"),
    "w64": ("unsupported", "Sony Wave64"),
    "wavpack": ("unsupported", "WavPack"),
    "ape": ("unsupported", "Monkey's Audio"),
    "asf": ("unsupported", "Windows Media (ASF)"),
    "webm": ("unsupported", "Matroska/WebM"),
    "avi": ("unsupported", "AVI"),
    "midi": ("unsupported", "MIDI"),
    "voc": ("unsupported", "Creative Voice"),
    "sphere": ("unsupported", "NIST SPHERE"),
    "silk": ("unsupported", "SILK"),
    "riff": ("unsupported", "a RIFF file of another kind than WAVE"),
    "gsm": ("unsupported", "GSM 06.10 without a header"),
    "raw_alaw": ("unsupported", "A-law without a header"),
    "raw_mulaw": ("unsupported", "µ-law without a header"),
}

_RIFF: Final = {b"RIFF": "wav", b"RF64": "rf64", b"BW64": "bw64", b"RIFX": "rifx"}
_RIFF_FORMS: Final = {b"AVI ": "avi", b"WEBP": "webp", b"RMID": "midi"}
_MAGIC: Final[tuple[tuple[int, bytes, str], ...]] = (
    (0, b"fLaC", "flac"),
    (0, b"#!AMR", "amr"),
    (0, b"#!SILK", "silk"),
    (0, b"\x02#!SILK", "silk"),
    (0, b".snd", "au"),
    (0, b"dns.", "au"),
    (0, b"caff", "caf"),
    (0, b"riff\x2e\x91\xcf\x11", "w64"),
    (0, b"wvpk", "wavpack"),
    (0, b"MAC ", "ape"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
    (0, b"\x1a\x45\xdf\xa3", "webm"),
    (0, b"MThd", "midi"),
    (0, b"Creative Voice File", "voc"),
    (0, b"NIST_1A", "sphere"),
    (0, b"ADIF", "aac"),
    (0, b"PK\x03\x04", "zip"),
    (0, b"PK\x05\x06", "zip"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"BZh", "bzip2"),
    (0, b"\xfd7zXZ\x00", "xz"),
    (0, b"\x28\xb5\x2f\xfd", "zstd"),
    (0, b"7z\xbc\xaf\x27\x1c", "7z"),
    (0, b"Rar!\x1a\x07", "rar"),
    (0, b"%PDF-", "pdf"),
    (0, b"\x89PNG\r\n\x1a\n", "png"),
    (0, b"\xff\xd8\xff", "jpeg"),
    (0, b"GIF8", "gif"),
    (0, b"\x7fELF", "elf"),
    (0, b"SQLite format 3\x00", "sqlite"),
    (257, b"ustar", "tar"),
)
_FTYP: Final = {b"M4A": "m4a", b"M4B": "m4a", b"3gp": "3gp", b"3g2": "3gp", b"qt ": "mov"}
_OGG_CODECS: Final = ((b"OpusHead", "opus"), (b"\x01vorbis", "vorbis"), (b"Speex   ", "speex"))

_TEXT_STARTS: Final[tuple[tuple[bytes, str], ...]] = (
    (b"<!doctype html", "html"),
    (b"<html", "html"),
    (b"<head", "html"),
    (b"<body", "html"),
    (b"<!--", "html"),
    (b"<", "xml"),
    (b"{", "json"),
    (b"[", "json"),
    (b"http/", "http"),
    (b"ffconcat", "ffconcat"),
    (b"#extm3u", "m3u"),
    (b"--", "multipart"),
)
# base64 of "RIFF", "ID3" and of an MPEG sync
_BASE64_STARTS: Final = (b"UklG", b"SUQz", b"//u", b"//s", b"//M", b"//O", b"//I", b"//N")
_NOT_TEXT: Final = bytes(b for b in range(32) if b not in b"\t\n\r\f\x1b") + b"\x7f"

# Bytes of near-silence of the two laws: most of any call is made of them.
_ALAW_IDLE: Final = bytes(b ^ 0x55 for b in (*range(4), *range(0x80, 0x84)))
_MULAW_IDLE: Final = bytes((*range(0x7C, 0x80), *range(0xFC, 0x100)))
_IDLE_SHARE: Final = 0.6  # chance alone gives 3 %


def sniff(head: bytes) -> str:
    """Return the name of what ``head`` (the first ``SNIFF_BYTES`` bytes) begins; see ``NAMES``."""
    if not head:
        return "empty"
    for look in (_boxed, _magic, _utf16, _mpeg, _text):
        name = look(head)
        if name is not None:
            return name
    return _headerless(head)


def wav_inside(head: bytes) -> int:
    """Return the offset of a WAV header that follows other bytes, or -1."""
    at = head.find(b"RIFF", 1)
    while at >= 0 and head[at + 8 : at + 12] != b"WAVE":
        at = head.find(b"RIFF", at + 1)
    return at


def _boxed(head: bytes) -> str | None:
    """Tell the families whose first bytes say the family and later ones the member."""
    if head[:4] in _RIFF:
        form = head[8:12]
        return _RIFF[head[:4]] if form == b"WAVE"[: len(form)] else _RIFF_FORMS.get(form, "riff")
    if head[:4] == b"FORM" and head[8:11] == b"AIF":
        return "aiff"
    if head[:4] == b"OggS":
        return next((name for magic, name in _OGG_CODECS if magic in head[:64]), "ogg")
    if head[4:8] == b"ftyp":
        return _FTYP.get(head[8:11], "mp4")
    return None


def _magic(head: bytes) -> str | None:
    for offset, magic, name in _MAGIC:
        if head.startswith(magic, offset):
            return name
    return None


def _utf16(head: bytes) -> str | None:
    """A byte order mark alone could be an MPEG frame; Latin text has a zero in every pair, too."""
    marked = head[:2] in (b"\xff\xfe", b"\xfe\xff")
    return "utf16" if marked and head.count(0) * 3 >= len(head) else None


def _mpeg(head: bytes) -> str | None:
    if head[:3] == b"ID3":
        return "mp3"
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0 or head[1] & 0x18 == 0x08:
        return None
    if head[1] & 0xF6 == 0xF0:
        return "aac"  # ADTS: the same sync word, layer 0
    if head[2] & 0xF0 == 0xF0 or head[2] & 0x0C == 0x0C:
        return None
    return {0x02: "mp3", 0x04: "mp2", 0x06: "mp1"}.get(head[1] & 0x06)


def _text(head: bytes) -> str | None:
    body = head.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n")
    if not body or len(body.translate(None, _NOT_TEXT)) < len(body):
        return None
    if sum(byte > 0x7F for byte in body) * 4 > len(body):
        return None
    lower = body[:64].lower()
    if body.startswith(_BASE64_STARTS) and b" " not in body[:64]:
        return "base64"
    for start, name in _TEXT_STARTS:
        if lower.startswith(start):
            return "html" if name == "xml" and b"<html" in body.lower() else name
    return "text"


def _headerless(head: bytes) -> str:
    if not head.strip(b"\x00"):
        return "zeros"
    starts = head[::33]
    if len(starts) >= 10 and all(byte >> 4 == 0xD for byte in starts):
        return "gsm"  # RFC 3551 4.5.8: frames of 33 bytes, each with the signature 0xD
    for idle, name in ((_ALAW_IDLE, "raw_alaw"), (_MULAW_IDLE, "raw_mulaw")):
        if len(head) >= 64 and len(head.translate(None, idle)) < len(head) * (1 - _IDLE_SHARE):
            return name
    return "unknown"
