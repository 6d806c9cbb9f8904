"""After a change of the policy, the index follows it with the next looks; on the real adapter."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from ocp_ingest.adapters.aws.call_store import AwsCallStore
from ocp_ingest.adapters.aws.session import Aws
from ocp_ingest.adapters.journal import Deriving
from ocp_ingest.core.lifecycle import CallPolicy
from ocp_ingest.entrypoints.functions import detect
from ocp_ingest.entrypoints.functions.runtime import Functions
from tests.aws_adapters import dynamo_kit, s3_kit
from tests.contracts import samples

NEW = Deriving(CallPolicy(recording_off_groups=("g1",)))
PLENTY_MS, LITTLE_MS = 900_000, 60_000


def invocation(calls: AwsCallStore, left_ms: int) -> Functions:
    """What deriving asks of an invocation: the store, and how much time is left."""
    world = SimpleNamespace(calls=calls)
    made: Any = SimpleNamespace(runtime=SimpleNamespace(world=world), left_ms=lambda: left_ms)
    return cast("Functions", made)


async def test_a_look_derives_what_a_changed_policy_left_behind() -> None:
    async with Aws(dynamo_kit.a_table(), s3_kit.session()) as aws:
        old, new = dynamo_kit.store(aws), dynamo_kit.store(aws, NEW)
        await old.rederive(limit=1)
        for number in range(3):
            await old.append([samples.start(f"c{number}"), samples.end(f"c{number}")])
        await detect._derive_anew(invocation(new, LITTLE_MS))
        assert await new.rebuild("c0"), "without time it leaves them to the next look"
        await detect._derive_anew(invocation(new, PLENTY_MS))
        assert not any([await new.rebuild(f"c{number}") for number in range(3)])
        assert await new.rederive(limit=1) == 0
