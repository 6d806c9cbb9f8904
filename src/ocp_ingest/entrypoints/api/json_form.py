"""A recording inside JSON as base64, or as a URL to fetch; the field names are settings.

A JSON body that is neither, under a usable name in the head of the request, is somebody's error
page sent as audio: it is taken as the recording that it claims to be and judged afterwards.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import msgspec

from ocp_ingest.config_model import Delivery
from ocp_ingest.core.errors import Invalid, TooLarge, Transient
from ocp_ingest.core.limits import BLOCK_BYTES, METADATA_BYTES_MAX, MIB
from ocp_ingest.core.recording import Name, parse_name
from ocp_ingest.core.vendor import Context
from ocp_ingest.entrypoints.api.deps import Deps
from ocp_ingest.entrypoints.api.inbound import Inbound
from ocp_ingest.entrypoints.api.names import name_of
from ocp_ingest.ingest import intake
from ocp_ingest.ingest.intake import TakenRecording

_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}")
# A sender waits so long for its turn to be decoded before it is told to come again.
_TURN_S_MAX: Final = 5.0


async def take_json(deps: Deps, request: Inbound, context: Context, said: str) -> TakenRecording:
    """Takes a JSON delivery. Raises Invalid for a broken one, and what intake raises."""
    limits = deps.config.limits
    # Four characters carry three bytes; the other fields are small.
    bytes_max = limits.base64_bytes_max * 4 // 3 + METADATA_BYTES_MAX
    async with _turn(deps, request):
        raw = await request.whole(bytes_max, "A recording inside JSON")
        form = _decode(deps, raw, said)
        if form.url is None:
            if form.data is None:
                form.data = raw  # an error page under a recording's name: see the module's text
            del raw
            return await _take_bytes(deps, form, context)
    async with deps.fetches.one():
        return await _take_url(deps, form, context)


@asynccontextmanager
async def _turn(deps: Deps, request: Inbound) -> AsyncIterator[None]:
    """Bounds how many large bodies are held in memory at once. Raises Transient."""
    announced = request.length()
    if announced is not None and announced <= METADATA_BYTES_MAX:
        yield
        return
    try:
        async with asyncio.timeout(_TURN_S_MAX):
            await deps.decoders.acquire()
    except TimeoutError:
        raise Transient(
            "Too many recordings inside JSON are being decoded.",
            retry_after_s=deps.config.limits.retry_after_s,
        ) from None
    try:
        yield
    finally:
        deps.decoders.release()


class _Form(msgspec.Struct):
    """A JSON delivery with our names for its fields."""

    name: Name
    data: bytes | None = None
    url: str | None = None
    size: int | None = None
    sha256: str | None = None


def _decode(deps: Deps, raw: bytes, said: str) -> _Form:
    delivery = deps.config.delivery
    try:
        fields = msgspec.json.decode(raw, type=_struct(delivery))
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as bad:
        if _has_usable_name(said) and not _claims(raw, delivery):
            return _Form(name=parse_name(said))
        raise Invalid(f"The body is no JSON delivery: {_words(bad)}.") from None
    values = msgspec.structs.asdict(fields)
    url, data = values.pop("url"), values.pop("data")
    if (url is None) == (data is None):
        if url is None and data is None and _has_usable_name(said):
            return _Form(name=parse_name(said))
        raise Invalid(f"The JSON must have one of `{delivery.data}` and `{delivery.url}`.")
    limit = deps.config.limits.base64_bytes_max
    if data is not None and len(data) > limit:
        raise TooLarge(f"A recording inside JSON may have {limit // MIB} MiB.")
    sha256 = values.pop("sha256")
    if sha256 is not None and not _SHA256.fullmatch(sha256):
        raise Invalid(f"Field `{delivery.sha256}` must be 64 hexadecimal digits.")
    size = values.pop("size")
    values.pop("content_type")
    fallback = said or _name_in(url or "")
    metadata = {getattr(delivery, key): value for key, value in values.items()}
    return _Form(name_of(fallback, metadata, delivery), data, url, size, sha256)


def _name_in(url: str) -> str:
    """The last step of a URL's path; whether it is a URL at all is for the fetch to say."""
    try:
        return unquote(urlsplit(url).path.rsplit("/", 1)[-1])
    except ValueError:
        return ""


def _claims(raw: bytes, delivery: Delivery) -> bool:
    """Whether a broken JSON body looks as if it was meant as a delivery."""
    return any(f'"{key}"'.encode() in raw for key in (delivery.data, delivery.url))


def _has_usable_name(said: str) -> bool:
    name = parse_name(said)
    return bool(name.dialog_id or name.group_id)


def _struct(delivery: Delivery) -> type[msgspec.Struct]:
    kinds: dict[str, Any] = {
        "name": str | None, "content_type": str | None, "data": bytes | None, "url": str | None,
        "size": int | None, "sha256": str | None, "group": str | None, "dialog_id": str | None,
        "account_id": str | None, "time": int | str | None,
    }  # fmt: skip
    return msgspec.defstruct(
        "JsonDelivery",
        [(key, kind, None) for key, kind in kinds.items()],
        rename={key: getattr(delivery, key) for key in kinds},
    )


def _words(bad: Exception) -> str:
    if isinstance(bad, RecursionError):
        return "it is nested too deep"
    if isinstance(bad, UnicodeDecodeError):
        return "its text is not UTF-8"
    return re.sub(r" - at `\$\.?([^`]*)`", r" in field `\1`", str(bad)).rstrip(".")


async def _take_bytes(deps: Deps, form: _Form, context: Context) -> TakenRecording:
    data = form.data or b""

    async def blocks() -> AsyncIterator[memoryview]:
        view = memoryview(data)
        for start in range(0, len(view), BLOCK_BYTES):
            yield view[start : start + BLOCK_BYTES]
            await asyncio.sleep(0)

    return await intake.recording(
        deps.world, form.name, blocks(), source="stream",
        expected_bytes=form.size, expected_sha256=form.sha256, context=context,
    )  # fmt: skip


async def _take_url(deps: Deps, form: _Form, context: Context) -> TakenRecording:
    from ocp_ingest.entrypoints.api.fetch import fetched  # an HTTP client: no part of a start

    limits = deps.config.limits
    # The name first: what can't be filed is not fetched.
    await intake.whose(deps.world, form.name)
    try:
        async with asyncio.timeout(limits.fetch_s_max):
            async with fetched(form.url or "", deps.config.fetch, limits) as source:
                return await intake.recording(
                    deps.world, form.name, source.blocks(), source="stream",
                    expected_bytes=form.size if form.size is not None else source.length,
                    expected_sha256=form.sha256, context=context,
                )  # fmt: skip
    except TimeoutError:
        raise Transient(
            f"The recording could not be fetched within {limits.fetch_s_max:g} s."
        ) from None
