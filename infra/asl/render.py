"""The definition of the state machine with its placeholders filled in; pure.

Every string of the file may hold `${Name}`. A string that is nothing but the placeholder of a
number becomes a number: JSON has no other way to write one in the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

FILE: Final = Path(__file__).with_name("recover_window.asl.json")

# Everything that a deployment decides: names of its resources, and times.
TEXTS: Final = frozenset({
    "Partition", "ExportFunctionArn", "MetadataFunctionArn", "FinishFunctionArn",
    "DetectFunctionArn", "PullerFunctionArn", "ScheduleGroup", "ScheduleRoleArn",
    "ScheduleDlqArn", "DownloadQueueUrl",
})  # fmt: skip
# Seconds; what they should be, and why, is in TIMES.
NUMBERS: Final = frozenset({
    "ExportHeartbeatSeconds", "ExportTimeoutSeconds", "DownloadHeartbeatSeconds",
    "DownloadTimeoutSeconds",
})  # fmt: skip

TIMES: Final[Mapping[str, int]] = {
    # Several polls may fail before their silence is taken for a lost schedule.
    "ExportHeartbeatSeconds": 30 * 60,
    # The brain gives an export up after six hours; it must have the first word.
    "ExportTimeoutSeconds": 6 * 3600 + 30 * 60,
    # A worker beats every minute or two; a message may have to wait for one to be started.
    "DownloadHeartbeatSeconds": 15 * 60,
    # OCP keeps an export's files for a day; the rules give up downloading after 20 hours of it.
    "DownloadTimeoutSeconds": 21 * 3600,
}

_PLACEHOLDER: Final = re.compile(r"\$\{([A-Za-z]+)\}")


def render(values: Mapping[str, str | int]) -> dict[str, Any]:
    """The definition as an object, ready for JSON.

    `values` names each of TEXTS (strings) and of NUMBERS (seconds, whole and positive), no more.
    Raises ValueError that names what is missing, unknown, or of the wrong type.
    """
    _check(values)
    definition = json.loads(FILE.read_text("utf-8"))
    rendered: dict[str, Any] = _fill(definition, values)
    return rendered


def _check(values: Mapping[str, str | int]) -> None:
    known = TEXTS | NUMBERS
    if missing := sorted(known - values.keys()):
        raise ValueError(f"The state machine needs {', '.join(missing)}.")
    if unknown := sorted(values.keys() - known):
        raise ValueError(f"The state machine knows no {', '.join(unknown)}.")
    for name in sorted(known):
        value = values[name]
        whole = isinstance(value, int) and not isinstance(value, bool) and value > 0
        if name in NUMBERS and not whole:
            raise ValueError(f"{name} is not a whole number of seconds.")
        if name in TEXTS and not (isinstance(value, str) and value):
            raise ValueError(f"{name} is not a text.")


def _fill(node: Any, values: Mapping[str, str | int]) -> Any:
    if isinstance(node, dict):
        return {key: _fill(value, values) for key, value in node.items()}
    if isinstance(node, list):
        return [_fill(value, values) for value in node]
    if not isinstance(node, str):
        return node
    alone = _PLACEHOLDER.fullmatch(node)
    if alone is not None and alone[1] in NUMBERS:
        return values[alone[1]]
    # One pass: a value may look like a placeholder itself, as CDK's tokens do.
    return _PLACEHOLDER.sub(lambda found: str(_value(found[1], values)), node)


def _value(name: str, values: Mapping[str, str | int]) -> str | int:
    if name not in values:
        raise ValueError(f"The file has a placeholder {name} that nobody declares.")
    return values[name]
