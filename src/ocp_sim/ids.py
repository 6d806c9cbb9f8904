"""Identifiers in the forms seen in OCP data, and the chance they are made from."""

from random import Random

DIALOG_HEAD_HEX = 40
DIALOG_TAIL_HEX = 32


def chance(*parts: object) -> Random:
    """A generator that depends on the parts alone, so that one call never shifts another."""
    return Random(":".join(str(part) for part in parts))  # noqa: S311 - reproducible, no secret


def hex_digits(rng: Random, digits: int) -> str:
    """Lower-case hexadecimal text of that many digits."""
    return f"{rng.getrandbits(4 * digits):0{digits}x}"


def dialog_id(rng: Random, start_ms: int) -> str:
    """`<40 hex>.<13 digits: start, epoch ms>.<32 hex>`, the form of dialog and group ids."""
    return f"{hex_digits(rng, DIALOG_HEAD_HEX)}.{start_ms:013d}.{hex_digits(rng, DIALOG_TAIL_HEX)}"


def uuid(rng: Random) -> str:
    """A random UUID (version 4) in the usual text form."""
    raw = (rng.getrandbits(128) & ~(0xF000 << 64) & ~(0xC000 << 48)) | (4 << 76) | (0x8000 << 48)
    text = f"{raw:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def recording_name(
    group_id: str, account_id: str, timestamp_ms: int, dialog: str, extension: str
) -> str:
    """`{groupId}~{accountId}~{dialogTimestamp}~{dialogId}.<ext>`, as whole-call recordings are."""
    return f"{group_id}~{account_id}~{timestamp_ms}~{dialog}.{extension}"
