"""The life of a call as a Mermaid diagram, generated from the tables of core.lifecycle.

Flags may be set in any order, and a call is in the stage of the last one that is set, so the edges
between stages show the usual way; every flag may also be set from any stage before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from ocp_ingest.core.call import FLAGS
from ocp_ingest.core.lifecycle import ACTIONS, OUTCOMES, STAGES, TOWARDS

_INDENT: Final = "    "


def state_diagram() -> str:
    """A Mermaid `stateDiagram-v2`: stages with their flags, outcomes, and the actions between."""
    lines = ["stateDiagram-v2", *_in_flight(), *_outcomes(), *_legend()]
    return "\n".join(lines) + "\n"


def _in_flight() -> Iterator[str]:
    stages = list(STAGES)
    yield f'{_INDENT}state "in flight" as in_flight {{'
    for stage, words in STAGES.items():
        yield f"{_INDENT * 2}{_stage(stage)}: {stage}<br/>{words}"
    yield f"{_INDENT * 2}[*] --> {_stage(stages[0])}"
    for before, after in pairwise(stages):
        actions = ", ".join(a for a, goal in TOWARDS.items() if goal == after)
        label = f": {actions}" if actions else ""
        yield f"{_INDENT * 2}{_stage(before)} --> {_stage(after)}{label}"
    yield f"{_INDENT}}}"
    yield f"{_INDENT}[*] --> in_flight"


def _outcomes() -> Iterator[str]:
    for outcome, words in OUTCOMES.items():
        yield f"{_INDENT}{outcome}: {outcome}<br/>{words}"
        if outcome in FLAGS:
            yield f"{_INDENT}in_flight --> {outcome}: no work is open"
            yield f"{_INDENT}{outcome} --> [*]"
            continue
        actions = ", ".join(a for a, goal in TOWARDS.items() if goal == outcome)
        yield f"{_INDENT}in_flight --> {outcome}: {actions}"
        yield f"{_INDENT}{outcome} --> in_flight: reopened, or its recording comes"


def _legend() -> Iterator[str]:
    # Comments: notes on composite states are drawn by few renderers.
    for action, words in ACTIONS.items():
        yield f"{_INDENT}%% {action}: {words}"


def _stage(stage: str) -> str:
    # A stage and an outcome have the same name: stored.
    return f"stage_{stage}"
