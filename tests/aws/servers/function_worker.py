"""One Lambda execution environment: a process that runs one handler, one invocation at a time.

Reads a JSON line per invocation from standard input and writes one to the descriptor named on the
command line; standard output and error are the function's log, as on Lambda.

    in   {"event", "request_id", "arn", "until_s", "crash": "" | "before" | "after"}
    out  {"answer"} or {"error": {"errorType", "errorMessage"}}

A crash is a real one: the process ends without a word, before or after the handler has run.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

# As the kernel's when memory runs out.
CRASHED: Final = 137


@dataclass(frozen=True, slots=True)
class Context:
    """What Lambda tells a handler of its invocation."""

    aws_request_id: str
    invoked_function_arn: str
    function_name: str
    memory_limit_in_mb: str
    until_s: float

    def get_remaining_time_in_millis(self) -> int:
        """How long until it is killed."""
        return max(0, int((self.until_s - time.time()) * 1000))


def invoke(handler: Callable[[Any, Context], Any], name: str, asked: dict[str, Any]) -> bytes:
    """Runs one invocation; the line to answer with."""
    context = Context(asked["request_id"], asked["arn"], name, "512", asked["until_s"])
    try:
        # Answers are JSON on Lambda; what can't be is the handler's error.
        return json.dumps({"answer": handler(asked["event"], context)}).encode()
    except Exception as failed:
        told = {"errorType": type(failed).__name__, "errorMessage": str(failed)}
        return json.dumps({"error": told}).encode()


def main(name: str, handler: str, descriptor: str) -> None:
    """Answers invocations until standard input ends."""
    module, _, function = handler.rpartition(".")
    does = getattr(importlib.import_module(module), function)
    with os.fdopen(int(descriptor), "wb", buffering=0) as out:
        out.write(b'{"ready": true}\n')
        for line in sys.stdin.buffer:
            asked = json.loads(line)
            if asked["crash"] == "before":
                os._exit(CRASHED)
            answer = invoke(does, name, asked)
            if asked["crash"] == "after":
                os._exit(CRASHED)
            out.write(answer + b"\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
