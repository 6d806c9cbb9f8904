"""Whatever the OpenAPI document allows, and what it forbids, the platform answers as it says.

schemathesis reads the document that the platform serves and sends what it makes of it to the real
process: never a 5xx (but 503 where the document has it), always a documented status with its media
type, headers and schema. FUZZ_SECONDS makes it longer.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import msgspec
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis.core.result import Ok
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi import checks

from ocp_ingest.entrypoints.api.openapi import document
from tests.fuzz.bounds import EXAMPLES, rounds, seconds
from tests.story.kit import Platform, Talk, hiss, sender
from tools import ledger
from tools.fuzz import LEDGER

CHECKS = [
    checks.status_code_conformance, checks.content_type_conformance,
    checks.response_headers_conformance, checks.response_schema_conformance,
]  # fmt: skip
MODES = [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE]
ANSWER_S_MAX = 30.0  # a loaded machine; no request of a fuzzer needs a second
# In all of `make test`; the operations without parameters need one request.
QUICK_S = 5.0


def _operations() -> list[str]:
    paths = msgspec.json.decode(document(with_issuer=True))["paths"]
    # The document itself is left out by schemathesis: it was just read.
    return [
        f"{method.upper()} {path}"
        for path, item in paths.items() if path != "/schema/openapi.json" for method in item
    ]  # fmt: skip


OPERATIONS = _operations()
Case = schemathesis.Case[Any]


@dataclass
class Target:
    """A platform that knows a few calls, its document, and a token of every scope."""

    platform: Platform
    schema: BaseSchema
    token: str
    calls: list[str]
    names: list[str]
    session: requests.Session
    answered: int = 0


async def _calls(platform: Platform) -> tuple[list[str], list[str]]:
    """A whole call, one that is known by its recording alone, one with an awkward id."""
    rng = Random(7)
    whole, alone, awkward = Talk(rng, 2_000), Talk(rng, 2_000), Talk(rng, 2_000)
    awkward.call_id = "a/b %~é?#&.1"
    async with sender(platform) as to:
        await to.events(whole.start(), whole.end(), awkward.start(), awkward.end())
        for talk in (whole, alone):
            status, _ = await to.deliver(talk.name, hiss(rng, talk.duration_ms))
            assert status == 201
    return [t.call_id for t in (whole, alone, awkward)], [whole.name, alone.name]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """One process for all operations."""
    with Platform(tmp_path_factory.mktemp("openapi")) as platform:
        asyncio.run(platform.start())
        calls, names = asyncio.run(_calls(platform))
        with requests.Session() as session:
            form = {
                "grant_type": "client_credentials", "client_id": "operator",
                "client_secret": "correct-horse-battery-staple",
            }  # fmt: skip
            grant = session.post(f"{platform.url}/oauth2/token", data=form, timeout=ANSWER_S_MAX)
            schema = schemathesis.openapi.from_url(f"{platform.url}/schema/openapi.json")
            token = grant.json()["access_token"]
            made = Target(platform, schema, token, calls, names, session)
            yield made
        assert "request.failed" not in platform.log(), "an error that nobody foresaw"
        assert platform.end() == 0
        if os.environ.get("FUZZ_NOTE"):
            figures = {"api_requests": made.answered, "operations": len(OPERATIONS)}
            ledger.note(LEDGER, f"make fuzz FUZZ_SECONDS={os.environ['FUZZ_SECONDS']}", figures)


@pytest.mark.timeout(0)
@pytest.mark.parametrize("label", OPERATIONS)
def test_every_answer_is_one_of_the_document(target: Target, label: str) -> None:
    found = [one for one in target.schema.get_all_operations() if isinstance(one, Ok)]
    [operation] = [one.ok() for one in found if one.ok().label == label]
    parameters = bool(operation.definition.raw.get("parameters")) or operation.body
    share = 0.5 / len(OPERATIONS)
    for number in rounds(seconds(share, QUICK_S / len(OPERATIONS)) if parameters else 0):
        for mode in MODES if parameters else MODES[:1]:

            @seed(number)
            @settings(
                max_examples=EXAMPLES, deadline=None, database=None,
                suppress_health_check=list(HealthCheck), phases=[Phase.generate],
            )  # fmt: skip
            @given(case=operation.as_strategy(generation_mode=mode), luck=st.randoms())
            def conforms(case: Case, luck: Random) -> None:
                _nearer(target, case, luck)
                headers = {"Authorization": f"Bearer {target.token}"}
                answer = case.call(session=target.session, headers=headers, timeout=ANSWER_S_MAX)
                target.answered += 1
                assert answer.status_code < 500 or answer.status_code == 503, answer.text
                case.validate_response(answer, checks=CHECKS)

            conforms()


def _nearer(target: Target, case: Case, luck: Random) -> None:
    """Half the time something that exists in place of what does not: it gets further."""
    if luck.random() < 0.5:
        return
    if "call_id" in (case.path_parameters or {}):
        case.path_parameters["call_id"] = luck.choice(target.calls)
    if case.path == "/v1/recordings":
        case.query = {**(case.query or {}), "name": luck.choice(target.names)}
    if case.path == "/v1/events" and isinstance(case.body, dict):
        talk = Talk(luck, 2_000)
        body: dict[str, Any] = luck.choice((talk.start(), talk.end()))
        for key in luck.sample(sorted(body), k=2):
            body[key] = next(iter(case.body.values()), None)
        case.body = json.loads(json.dumps(body | case.body))
