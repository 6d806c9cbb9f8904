"""Starts LocalStack in host mode; runs inside its own Python 3.13, never in the project's.

Some of its parts want docker or the network, or lie about AWS; they are replaced here:
    Lambda's executor    an invocation is forwarded over HTTP to whoever hosts the functions:
                         POST $FUNCTION_HOST/<function name>, body = event; the answer's header
                         x-function-error says that the body is an error. A function's own variable
                         FUNCTION_HOST goes before the process's.
    JSONata              evaluated by jsonata-python instead of a Java library
    early callbacks      one that comes before the interpreter listens is heard all the same
    SQS's time           what is due again is there at once, not with the next round of a sweep
    Lambda's time-out    the function's Timeout bounds the HTTP request; reported as AWS does
Nothing of LocalStack's is imported by name at the top: the project's type checker runs elsewhere.
"""

from __future__ import annotations

import importlib
import json
import os
import threading
import urllib.error
import urllib.request
from typing import Any


def _module(name: str) -> Any:
    return importlib.import_module(name)


def _forwarding_executor() -> Any:
    """A Lambda runtime executor that runs nothing itself."""
    executors = _module("localstack.services.lambda_.invocation.runtime_executor")
    models = _module("localstack.services.lambda_.invocation.lambda_models")

    base: Any = executors.RuntimeExecutor

    class Forwarding(base):  # type: ignore[misc]  # LocalStack is not there when types are checked
        def start(self, env_vars: dict[str, str]) -> None:
            self.host = env_vars.get("FUNCTION_HOST") or os.environ["FUNCTION_HOST"]

        def stop(self) -> None:
            """Nothing runs."""

        def get_address(self) -> str:
            return "127.0.0.1"

        get_endpoint_from_executor = get_address

        def get_runtime_endpoint(self) -> str:
            return "http://127.0.0.1"

        def get_logs(self) -> str:
            return ""

        @classmethod
        def prepare_version(cls, function_version: Any) -> None:
            """The function's code stays unused."""

        @classmethod
        def cleanup_version(cls, function_version: Any) -> None:
            """Nothing was prepared."""

        def invoke(self, payload: dict[str, str]) -> Any:
            body, failed = self._forward(payload)
            return models.InvocationResult(payload["invoke-id"], body, failed, "")

        def _forward(self, payload: dict[str, str]) -> tuple[bytes, bool]:
            version = self.function_version
            request = urllib.request.Request(
                f"{self.host}/{version.id.function_name}",
                data=(payload["payload"] or "{}").encode(),
                headers={
                    "x-request-id": payload["invoke-id"],
                    "x-function-arn": payload["invoked-function-arn"],
                },
            )
            try:
                with urllib.request.urlopen(request, timeout=version.config.timeout) as answer:
                    return answer.read(), answer.headers.get("x-function-error") is not None
            except TimeoutError:
                said = f"Task timed out after {version.config.timeout}.00 seconds"
                return _error("Sandbox.Timedout", said), True
            except (urllib.error.URLError, ConnectionError) as lost:
                return _error("Runtime.ExitError", f"{type(lost).__name__}: {lost}"), True

    return Forwarding


def _error(kind: str, message: str) -> bytes:
    return json.dumps({"errorType": kind, "errorMessage": message}).encode()


def _replace_executor() -> None:
    executor = _forwarding_executor()

    class Plugins:
        """Stands for the registry of executors: there is one."""

        def exists(self, _name: str) -> bool:
            return True

        def load(self, _name: str) -> Plugins:
            return self

    class Plugin(Plugins):
        def load(self, _name: str = "") -> Any:
            return executor

    class Registry(Plugins):
        def load(self, _name: str) -> Plugins:
            return Plugin()

    executors = _module("localstack.services.lambda_.invocation.runtime_executor")
    executors.EXECUTOR_PLUGIN_MANAGER = Registry()


def _replace_jsonata() -> None:
    module = _module("localstack.services.stepfunctions.asl.jsonata.jsonata")
    jsonata = _module("jsonata")
    # Executions run in threads; the library keeps its present evaluator in a shared place.
    one_at_a_time = threading.Lock()

    def evaluate(expression: str) -> Any:
        with one_at_a_time:
            try:
                return jsonata.Jsonata(expression).evaluate(None)
            except Exception as failed:
                raise module.JSONataException("UNKNOWN", str(failed)) from failed

    module._eval_jsonata = evaluate


def _take_early_callbacks() -> None:
    """A worker may beat or answer before the interpreter, a thread, listens; AWS takes both."""
    callback = _module("localstack.services.stepfunctions.asl.eval.callback.callback")
    listening = callback.CallbackEndpoint.notify_heartbeat

    def notify_heartbeat(endpoint: Any) -> bool:
        return endpoint._heartbeat_endpoint is None or bool(listening(endpoint))

    listen = callback.CallbackEndpoint.setup_heartbeat_endpoint

    def setup_heartbeat_endpoint(endpoint: Any, *args: Any, **named: Any) -> Any:
        heart = listen(endpoint, *args, **named)
        if endpoint.get_outcome() is not None:
            heart.notify()
        return heart

    callback.CallbackEndpoint.notify_heartbeat = notify_heartbeat
    callback.CallbackEndpoint.setup_heartbeat_endpoint = setup_heartbeat_endpoint


def _let_queues_be_punctual() -> None:
    """A message whose time has come is there for the next request, not for one a second later."""
    models = _module("localstack.services.sqs.models")
    receive = models.StandardQueue.receive

    def punctual(queue: Any, *args: Any, **named: Any) -> Any:
        queue.requeue_inflight_messages()
        queue.enqueue_delayed_messages()
        return receive(queue, *args, **named)

    models.StandardQueue.receive = punctual


def main() -> None:
    """Runs until it is told to stop."""
    _replace_executor()
    _take_early_callbacks()
    _let_queues_be_punctual()
    _replace_jsonata()
    _module("localstack.runtime.main").main()


if __name__ == "__main__":
    main()
