"""CDR bodies, field by field as OCP's are known to be.

| Rule | Here |
|---|---|
| root dialog | `id == group`, `flow.type == "Flow"`, `flow.parent_step == 0` |
| child dialog | a miniApp: own `id`, same `group`, `flow.diamant_app_name == "MiniApps"` |
| `time` | epoch ms; in a `dialog_end` it is the START, the end is `time + duration` |
| missing values | the text "undefined", or "" |
| `events` | one comma-separated text in `dialog_end`, a list in `dialog_step` |
| `kvps` | list of {key, value, step} |

`ivr_end` is no OCP message that is publicly known: it is what this project adopts for tenants
that send one; its `time` is when the IVR part ended, `duration` how long it had lasted.
"""

import hashlib
from collections.abc import Mapping
from random import Random
from typing import Any, Final

from msgspec import Struct

from ocp_sim import config, ids
from ocp_sim.model import Cdr

ORGANIZATION: Final = "demo-bank"
MINI_APPS: Final = ("Alphanumeric", "YesNo", "Date", "Numeric")
INTENTS: Final = ("balance", "card_lost", "transfer_money", "claim_status", "agent")

Body = dict[str, Any]


class Dialog(Struct, frozen=True, kw_only=True):
    """One dialog of a call: the root or a miniApp."""

    id: str
    start_ms: int
    duration_ms: int
    flow_name: str
    flow_type: str  # "Flow" for the root
    parent_step: int


class Facts(Struct, frozen=True, kw_only=True):
    """What all CDRs of one call say alike."""

    group_id: str
    session_id: str
    ocp_group: config.Group
    app: str
    app_version: int
    end_type: str
    test: bool
    locale: str
    origin: str
    destination: str
    connection_id: str
    device_type: str
    attached: Mapping[str, str]
    group_named: bool
    root: Dialog


def start(facts: Facts, dialog: Dialog, rng: Random) -> Cdr:
    """The `dialog_start` of a dialog."""
    hashed = "" if facts.origin == "undefined" else _hash(facts.origin)
    body: Body = {
        "message_type": "dialog_start",
        "id": dialog.id,
        "group": facts.group_id,
        "session_id": facts.session_id,
        "time": dialog.start_ms,
        "origin_uri": facts.origin,
        "hashed_origin_uri": hashed,
        "destination_uri": facts.destination,
        "connection_id": facts.connection_id,
        "channel": "omIVR",
        "device_type": facts.device_type,
        "direction": "inbound",
        "locale": facts.locale,
        "test_flag": facts.test,
        "incoming_attached_data": dict(facts.attached),
        "app": _app(facts),
        "asr": {"mrcp_session_id": ids.hex_digits(rng, 16)},
        "diamant": _diamant(facts),
        "flow": flow(facts, dialog),
    }
    return _cdr(facts, dialog, body, dialog.start_ms)


def end(facts: Facts, dialog: Dialog) -> Cdr:
    """The `dialog_end` of a dialog: only the root's tells how the call ended."""
    root = dialog.id == facts.root.id
    end_type = facts.end_type if root else "NORMAL"
    body: Body = {
        "message_type": "dialog_end",
        "id": dialog.id,
        "group": facts.group_id,
        "session_id": facts.session_id,
        "time": dialog.start_ms,
        "duration": dialog.duration_ms,
        "end_type": end_type,
        "events": _events_text(dialog, end_type),
        "kvps": _kvps(facts, dialog),
        "channel": "omIVR",
        "test_flag": facts.test,
        "app": _app(facts),
        "diamant": _diamant(facts),
        "flow": flow(facts, dialog),
    }
    return _cdr(facts, dialog, body, dialog.start_ms + dialog.duration_ms)


def step(facts: Facts, number: int, at_ms: int, rng: Random, *, sensitive: bool) -> Cdr:
    """A `dialog_step` of the root: what the caller said and what the system did."""
    intent = rng.choice(INTENTS)
    body: Body = {
        "message_type": "dialog_step",
        "id": facts.root.id,
        "group": facts.group_id,
        "session_id": facts.session_id,
        "time": at_ms,
        "step": number,
        "channel": "omIVR",
        "locale": facts.locale,
        "input_modality": "speech",
        "transcription": "" if sensitive else intent.replace("_", " "),
        "original_utterance": "[sensitive]" if sensitive else intent.replace("_", " "),
        "test_flag": facts.test,
        "bio": {"search_result": "undefined"},
        "nlu": _nlu(facts, intent, rng, sensitive=sensitive),
        "action": {
            "name": f"Ask{intent.title().replace('_', '')}",
            "type": rng.choice(("ASK", "ANNOUNCEMENT")),
            "subtype": "",
            "prompt": f"prompt_{number:02d}",
            "tag": "",
            "timeout": 5000,
            "prompt_duration": rng.randrange(800, 4000),
        },
        "events": [
            {
                "index": 0,
                "active_intent": intent,
                "task_id": ids.hex_digits(rng, 8),
                "log": {"event": "initiated", "task": intent, "name": intent, "status": "ok"},
            }
        ],
        "app": _app(facts),
        "diamant": _diamant(facts),
        "flow": flow(facts, facts.root),
    }
    return _cdr(facts, facts.root, body, at_ms)


def ivr_end(facts: Facts) -> Cdr:
    """The adopted `ivr_end` message, for tenants that send one."""
    exit_status = {"TRANSFER": "transferred", "FAR_HUP": "abandoned"}
    body: Body = {
        "message_type": "ivr_end",
        "id": facts.root.id,
        "group": facts.group_id,
        "time": facts.root.start_ms + facts.root.duration_ms,
        "duration": facts.root.duration_ms,
        "exit_status": exit_status.get(facts.end_type, "completed"),
        "result_codes": {"globalResult": _result(facts.end_type)},
    }
    return _cdr(facts, facts.root, body, facts.root.start_ms + facts.root.duration_ms)


def flow(facts: Facts, dialog: Dialog) -> Body:
    """The `flow` object; its id is account.name.type.diamant_app_name.organization."""
    group = facts.ocp_group
    root = dialog.id == facts.root.id
    diamant_app = "Orchestrator" if root else "MiniApps"
    account, parent = group.account_id, "" if root else facts.root.flow_name
    body: Body = {
        "id": f"{account}.{dialog.flow_name}.{dialog.flow_type}.{diamant_app}.{ORGANIZATION}",
        "account_id": account,
        "name": dialog.flow_name,
        "type": dialog.flow_type,
        "diamant_app_name": diamant_app,
        "uuid": ids.uuid(ids.chance("flow", account, dialog.flow_name)),
        "organization": ORGANIZATION,
        "reportable": True,
        "parent_name": parent,
        "parent_id": "" if root else facts.root.id,
        "parent_step": dialog.parent_step,
        "root_step": dialog.parent_step,
        "path": [facts.root.flow_name] if root else [facts.root.flow_name, dialog.flow_name],
        "path_app_ids": [ids.uuid(ids.chance("app", facts.app))],
        "ocp_organization_id": ids.uuid(ids.chance("organization", ORGANIZATION)),
    }
    if facts.group_named:
        body["ocp_group_name"] = group.name
    return body


def _cdr(facts: Facts, dialog: Dialog, body: Body, happened_ms: int) -> Cdr:
    return Cdr(
        message_type=body["message_type"],
        dialog_id=dialog.id,
        root=dialog.id == facts.root.id,
        time_ms=dialog.start_ms,
        happened_ms=happened_ms,
        body=body,
    )


def _app(facts: Facts) -> Body:
    return {"name": facts.app, "version": facts.app_version}


def _diamant(facts: Facts) -> Body:
    return {"id": "diamant-3", "version": "10.14.2", "region": facts.ocp_group.region}


def _hash(number: str) -> str:
    return hashlib.sha256(f"ocp:{number}".encode()).hexdigest()


def _result(end_type: str) -> str:
    return "abandoned" if end_type == "FAR_HUP" else "success"


def _events_text(dialog: Dialog, end_type: str) -> str:
    hang_up = {"FAR_HUP": ",HUP:FAR", "NEAR_HUP": ",HUP:NEAR", "TRANSFER": ",transfer:agent"}
    return (
        f"auxiliary:initiated:{dialog.flow_name},globalResult:{_result(end_type)}"
        f"{hang_up.get(end_type, '')}"
    )


def _kvps(facts: Facts, dialog: Dialog) -> list[Body]:
    pairs = (
        ("appId", ids.uuid(ids.chance("app", facts.app))),
        ("testMode", str(facts.test).lower()),
        ("Locale", facts.locale),
        ("lastFlow", dialog.flow_name),
    )
    return [{"key": key, "value": value, "step": n} for n, (key, value) in enumerate(pairs)]


def _nlu(facts: Facts, intent: str, rng: Random, *, sensitive: bool) -> Body:
    entity = {
        "name": "CardNumber" if sensitive else "Topic",
        "sensitivity_level": "HIGH" if sensitive else "NONE",
        "instances": [
            {
                "value": "****" if sensitive else intent,
                "confidence": round(rng.uniform(0.7, 1.0), 2),
                "begin": 0,
                "end": 4,
            }
        ],
    }
    return {
        "result_type": "RECOGNITION",
        "result_count": 1,
        "work_flow_id": ids.hex_digits(rng, 12),
        "nlu_app": f"{facts.app}-nlu",
        "semantic_interpretation": [
            {
                "utterance": "" if sensitive else intent.replace("_", " "),
                "confidence": round(rng.uniform(0.6, 1.0), 2),
                "intent": {"name": intent, "status": "CONFIRMED", "confidence": 0.9},
                "entities": [entity],
            }
        ],
    }
