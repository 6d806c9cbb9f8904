"""Laws of `[ocp]`: half-set is refused by the key's name, and secrets show nowhere."""

import io

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from ocp_ingest.adapters.ocp.settings import OcpNames, OcpPaths, OcpSettings, configured, lacking
from ocp_ingest.adapters.ocp.vendor_text import TEXT_CHARS_MAX, clean, message_of

GOOD = OcpSettings(api_url="https://x", username="u", password="top-s3cret")


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"exports_host": "analytics"}, "ocp.analytics_url"),
        ({"analytics_url": "ftp://x"}, "ocp.analytics_url"),
        ({"requests_per_s": 0.0}, "ocp.requests_per_s"),
        ({"requests_per_s": float("nan")}, "ocp.requests_per_s"),
        ({"get_tries_max": 0}, "ocp.get_tries_max"),
        ({"answer_s_max": float("inf")}, "ocp.answer_s_max"),
        ({"zip_entries_max": 0}, "ocp.zip_entries_max"),
        ({"paths": OcpPaths(export="/e/{exprot}")}, "{exprot}"),
        ({"paths": OcpPaths(export="e/{export}")}, "ocp.paths.export"),
        ({"names": OcpNames(running=("RUN",), failed=("run",))}, "ocp.names.failed"),
        ({"api_url": "", "username": "", "password": "", "analytics_url": "https://x"},
         "ocp.analytics_url"),
    ],
)  # fmt: skip
def test_what_is_half_set_or_senseless_is_named(given: dict[str, object], key: str) -> None:
    found = lacking(msgspec.structs.replace(GOOD, **given))
    assert any(key in sentence for sentence in found)


def test_a_whole_section_lacks_nothing() -> None:
    assert lacking(GOOD) == []
    assert lacking(OcpSettings()) == []
    assert configured(GOOD)
    assert not configured(OcpSettings())


def test_no_way_of_printing_shows_the_password() -> None:
    settings, out = GOOD, io.StringIO()
    Console(file=out).print(settings, [settings])
    for text in (repr(settings), str(settings), f"{settings}", repr([settings]), out.getvalue()):
        assert "s3cret" not in text
        assert "https://x" in text


class TestVendorText:
    """OCP's words, fit for our logs."""

    @pytest.mark.parametrize(
        ("body", "text"),
        [
            (b'{"message":"An export is running"}', "An export is running"),
            (b'{"error":true,"code":5,"message":"old form"}', "old form"),
            (b'{"error":"invalid_grant","error_description":"bad"}', "bad"),
            (b'{"error":"invalid_grant"}', "invalid_grant"),
            (b"plain words\r\n\x1b[31mred", "plain words [31mred"),
            (b"<html><h1>502</h1>", ""),
            (b"", ""),
            (b"[1]", ""),
            (b'{"message":7}', ""),
            (b'{"message":"caller +34600111222 rang"}', "caller … rang"),
            (b'{"message":"job a1b2-600111222333 runs"}', "job a1b2-600111222333 runs"),
            (b'{"message":"token eyJhbGciOi.eyJzdWIi.c2ln ended"}', "token … ended"),
            (b'{"message":"token abcd ended"}', "token … ended"),
        ],
    )
    def test_what_is_kept(self, body: bytes, text: str) -> None:
        assert message_of(body, secrets=("abcd", "")) == text

    @given(st.binary(max_size=2000) | st.text(max_size=2000).map(str.encode))
    def test_it_is_one_short_printable_line(self, body: bytes) -> None:
        said = message_of(body)
        assert len(said) <= TEXT_CHARS_MAX
        assert "\n" not in said
        assert "\x1b" not in said

    @given(st.text(max_size=900), st.text("abcdef0123456789", min_size=8, max_size=20))
    def test_a_secret_is_never_repeated(self, text: str, secret: str) -> None:
        assert secret not in clean(text + secret + text, (secret,))
