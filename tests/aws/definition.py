"""The state machine's definition taken apart: its states, its transitions, its times; pure."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from infra.asl.render import NUMBERS, TEXTS, TIMES, render

State = dict[str, Any]
Transition = tuple[str, str]


def rendered(**values: str | int) -> dict[str, Any]:
    """With these values, the real times, and each other text standing for itself."""
    return render({name: name for name in TEXTS} | dict(TIMES) | values)


def scopes(definition: State) -> Iterator[dict[str, State]]:
    """The states of the machine and those of each branch: `Next` reaches no further than these."""
    states: dict[str, State] = definition["States"]
    yield states
    for state in states.values():
        for branch in state.get("Branches", ()):
            yield from scopes(branch)


def states(definition: State) -> dict[str, State]:
    """Every state by its name, branches included; names are unique in the whole machine."""
    return {name: state for scope in scopes(definition) for name, state in scope.items()}


def successes(name: str, state: State) -> set[Transition]:
    """Where a state goes when nothing fails."""
    found = {choice["Next"] for choice in state.get("Choices", ())}
    found |= {state[key] for key in ("Next", "Default") if key in state}
    return {(name, to) for to in found}


def catches(name: str, state: State) -> set[Transition]:
    """Where its Catch goes."""
    return {(name, catch["Next"]) for catch in state.get("Catch", ())}


def shortened(definition: State, *, seconds: Mapping[str, int], broken: str = "") -> State:
    """With other time-outs of some states, one that fails, and retries that nobody waits for."""
    short = copy.deepcopy(definition)
    for name, state in states(short).items():
        if name == broken:
            state.clear()
            state |= {"Type": "Fail", "Error": "Broken"}
        if name in seconds:
            state["TimeoutSeconds"] = seconds[name]
        for retry in state.get("Retry", ()):
            retry |= {"IntervalSeconds": 1, "BackoffRate": 1, "MaxAttempts": 1}
    return short


__all__ = [
    "NUMBERS", "TEXTS", "TIMES", "State", "Transition", "catches", "rendered", "scopes",
    "shortened", "states", "successes",
]  # fmt: skip
