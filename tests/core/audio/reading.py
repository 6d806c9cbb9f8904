"""How the tests read a recording."""

from collections.abc import Iterator

from ocp_ingest.core.audio import AudioParser, AudioReport


def blocks(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def read(
    data: bytes, size: int = 1 << 18, *, content: bool = True, expected_bytes: int | None = None
) -> AudioReport:
    """Read ``data`` in blocks of ``size`` bytes."""
    parser = AudioParser(content=content)
    for block in blocks(data, size):
        parser.feed(block)
    return parser.finish(expected_bytes=expected_bytes)


def codes(report: AudioReport) -> set[str]:
    return {problem.code for problem in report.problems}
