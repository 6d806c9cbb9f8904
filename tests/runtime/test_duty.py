"""A serving process tells people by itself: incident to webhook, the law checked, figures shown."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from random import Random

import msgspec

from tests.notify.receivers import SECRET, hooks
from tests.story.kit import Platform, Talk, hiss, sender, until

# What the last of the loops to come round has set.
SHOWN = (
    'ocp_ingest_incidents_open{severity="warning"} 1.0',
    "ocp_ingest_law_holds 1.0",
    'ocp_ingest_alerts_total{channel="hook",result="sent"} 1.0',
    'ocp_ingest_time_to_store_seconds_count{source="stream"} 1.0',
)


async def test_a_process_finds_tells_checks_and_shows(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    async with hooks() as server:
        alerts = (
            "\n[alerts]\nevery_s = 1.0\n\n[[alerts.channels]]\n"
            f'kind = "webhook"\nname = "hook"\nurl = "{server.url}"\nlanguage = "es"\n'
            f'secret_file = "{secret}"\nallow_private = true\nallow_http = true\n'
        )
        talk = Talk(Random(1), 6_000, app="nobody-knows-it")
        with Platform(tmp_path, alerts) as platform:
            await platform.start()
            async with sender(platform) as to:
                await to.events(talk.start(), talk.end())
                await to.deliver(talk.name, hiss(Random(3), 6_000))

                async def told() -> bool:
                    return bool(server.requests)

                async def shown() -> str:
                    async with to.session.get(f"{platform.url}/metrics") as answer:
                        text = await answer.text()
                    return text if all(line in text for line in SHOWN) else ""

                await until(told, 20, platform.log()[-2_000:])
                text = await until(shown, 20)
            assert await asyncio.to_thread(platform.end) == 0
    headers, body = server.requests[0]
    said = msgspec.json.decode(body)
    assert said["incident"]["key"] == "unassigned"
    assert said["subject"] == "[ocp-ingest] Nueva (advertencia): unassigned"
    assert headers["webhook-signature"].startswith("v1,")
    assert len(server.requests) == 1
    values = dict(re.findall(r"(?m)^(ocp_ingest_\w+(?:\{[^}]*\})?) ([\d.e+-]+)$", text))
    assert values['ocp_ingest_step_seconds_count{step="store"}'] == "1.0"
    assert float(values['ocp_ingest_stored_bytes_total{lob="unassigned"}']) > 90_000
    assert values["ocp_ingest_oldest_open_seconds"] == "0.0"
    assert SECRET not in platform.log()
    assert "in-the-url" not in platform.log()
