"""A half-set channel is refused by the name of what it lacks; secrets come from files or AWS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ocp_ingest import bootstrap, config
from ocp_ingest.adapters.notify.settings import Alerts, lacking, secret_of
from ocp_ingest.core.errors import Invalid

HOOK = {"kind": "webhook", "name": "hook", "url": "https://alerts.example.com/x"}
MAIL = {
    "kind": "smtp", "name": "mail", "host": "mail.example.com", "sender": "a@example.com",
    "recipients": ["b@example.com"],
}  # fmt: skip
TOPIC = {"kind": "sns", "name": "topic", "topic_arn": "arn:aws:sns:eu-west-1:123456789012:x"}
ALL: list[dict[str, Any]] = [HOOK, MAIL, TOPIC]


def parsed(*channels: dict[str, Any], **more: Any) -> Alerts:
    return config.parse({"alerts": {"channels": list(channels), **more}}).alerts


def test_a_site_has_as_many_channels_as_it_likes() -> None:
    section = parsed(*ALL)
    assert [channel.name for channel in section.channels] == ["hook", "mail", "topic"]
    assert lacking(section) == []


@pytest.mark.parametrize(
    ("channel", "named"),
    [
        ({**HOOK, "url": ""}, "alerts.channels hook url"),
        ({**HOOK, "url": "http://alerts.example.com/"}, "alerts.channels hook url"),
        ({**HOOK, "url": "https://user:word@alerts.example.com/"}, "alerts.channels hook url"),
        ({**HOOK, "url": "https://[::1"}, "alerts.channels hook url"),
        ({**HOOK, "url": "file:///etc/passwd"}, "alerts.channels hook url"),
        ({**HOOK, "answer_s_max": 0}, "alerts.channels hook answer_s_max"),
        ({**HOOK, "name": "On Call"}, "alerts.channels On Call"),
        ({**HOOK, "quiet": {"from": "22:00"}}, "alerts.channels hook quiet.to"),
        ({**MAIL, "host": ""}, "alerts.channels mail host"),
        ({**MAIL, "sender": ""}, "alerts.channels mail sender"),
        ({**MAIL, "recipients": []}, "alerts.channels mail recipients"),
        ({**MAIL, "recipients": ["no address"]}, "alerts.channels mail recipients"),
        ({**MAIL, "sender": "a@b.c\r\nBcc: x@y.z"}, "alerts.channels mail sender"),
        ({**MAIL, "username": "u"}, "alerts.channels mail password_file"),
        ({**MAIL, "password_file": "/p"}, "alerts.channels mail username"),
        ({**MAIL, "tls": "none"}, "alerts.channels mail tls"),
        ({**MAIL, "tls": "none", "host": "localhost", "ca_file": "x"}, "channels mail ca_file"),
        ({**MAIL, "port": 0}, "alerts.channels mail port"),
        ({**TOPIC, "topic_arn": ""}, "alerts.channels topic topic_arn"),
        ({**TOPIC, "topic_arn": "arn:aws:sqs:eu-west-1:123456789012:x"}, "topic topic_arn"),
    ],
)  # fmt: skip
def test_what_a_channel_lacks_is_named(channel: dict[str, Any], named: str) -> None:
    with pytest.raises(Invalid) as refused:
        parsed(channel)
    assert f"{named}`" in refused.value.text
    assert refused.value.text.count("\n- ") == 1


def test_two_channels_of_one_name_are_refused() -> None:
    with pytest.raises(Invalid, match="hook has a name twice"):
        parsed(HOOK, {**MAIL, "name": "hook"})


@pytest.mark.parametrize("key", ["host", "topic_arn", "secret"])
def test_a_key_of_another_kind_is_refused(key: str) -> None:
    with pytest.raises(Invalid, match=key):
        parsed({**HOOK, key: "x"})


def test_a_secret_is_a_file_or_comes_from_aws_and_not_both(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("from-the-file\n")
    hook = {**HOOK, "secret_file": str(file)}
    section = parsed(hook)
    assert secret_of(section.channels[0], section) == "from-the-file"
    tree = {"alerts": {"channels": [HOOK]}, "aws": AWS}
    laid = config.with_secrets(config.parse(tree), {"alerts.secrets.hook": "from-aws"}).alerts
    assert secret_of(laid.channels[0], laid) == "from-aws"
    with pytest.raises(Invalid, match=r"alerts\.secrets\.hook"):
        parsed(hook, secrets={"hook": "x"})


AWS = {
    "region": "eu-west-1", "table": "t", "bucket_prefix": "p-", "work_queue_url": "https://q",
    "work_dlq_url": "https://d", "secret_arn": "arn:aws:secretsmanager:eu-west-1:1:secret:x",
}  # fmt: skip


def test_a_secret_for_no_channel_is_refused() -> None:
    with pytest.raises(Invalid, match=r"alerts\.secrets\.gone"):
        parsed(HOOK, secrets={"gone": "x"})


async def test_a_secret_that_can_t_be_read_stops_the_start_naming_its_key(tmp_path: Path) -> None:
    tree = {"alerts": {"channels": [{**HOOK, "secret_file": str(tmp_path / "gone")}]}}
    with pytest.raises(Invalid, match=r"alerts\.channels hook secret_file"):
        async with bootstrap.channels(config.parse(tree)):
            pass


async def test_the_configured_channels_are_made_with_the_section_s_words() -> None:
    quiet = {"from": "22:00", "to": "07:00"}
    tree: dict[str, Any] = {
        "console": {"public_url": "https://c.example.com/"},
        "alerts": {
            "channels": [{**HOOK, "language": "es", "quiet": quiet}, MAIL, TOPIC],
            "time_zone": "Europe/Madrid", "remind_hours": 2.0,
        },
    }  # fmt: skip
    async with bootstrap.channels(config.parse(tree)) as made:
        assert made.names == ("hook", "mail", "topic")
        assert made.console_url == "https://c.example.com/console"
        assert made.remind_ms == 2 * 3_600_000
        first = made.get("hook")
        assert first is not None
        assert (first.wants.language, first.wants.time_zone) == ("es", "Europe/Madrid")
        assert first.wants.quiet.from_ == "22:00"
