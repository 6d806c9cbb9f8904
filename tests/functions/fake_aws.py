"""AWS for the functions' doors: what is asked is kept, what is answered is scripted."""

from __future__ import annotations

from collections import defaultdict, deque
from typing import Any

from ocp_ingest.adapters.aws.session import Answered, Aws
from ocp_ingest.adapters.aws.settings import AwsSettings

MACHINE = "arn:aws:states:eu-west-1:000000000000:stateMachine:recover"
DETECT = "arn:aws:lambda:eu-west-1:000000000000:function:detect"


class FakeAws(Aws):
    """Answers {} to everything that is not scripted."""

    def __init__(self) -> None:
        super().__init__(AwsSettings(state_machine_arn=MACHINE, detect_arn=DETECT))
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, deque[dict[str, Any] | Exception]] = defaultdict(deque)

    async def call(
        self, service: Any, operation: str, *, again: bool = False, **params: Any
    ) -> dict[str, Any]:
        self.asked.append((operation, params))
        if not self.answers[operation]:
            return {}
        said = self.answers[operation].popleft()
        if isinstance(said, Exception):
            raise said
        return said

    def of(self, operation: str) -> list[dict[str, Any]]:
        """What was asked by one operation."""
        return [params for asked, params in self.asked if asked == operation]


def error(code: str, status: int = 400) -> Answered:
    """An error that AWS answers."""
    return Answered(code, status, "as the test wants it", {})
