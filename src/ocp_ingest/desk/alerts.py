"""Figures become incidents, incidents become alerts, alerts reach people.

evaluate   figures (desk.look) → judged (core.alerts) → incidents opened, closed
tell       incidents → what is news (desk.news) → the book → letters (desk.letters) → channels
run        both, again and again, until stopped

Rules
1. An incident that is open is written again only when it gets worse, or once an hour.
2. An alert is claimed in the book before it is sent (`keep`, which counts the try), and noted as
   sent afterwards. Who dies in between is followed, after CLAIM_MS, by another try: at least once.
3. What a channel does not take is tried again with a back-off that doubles; after TRIES_MAX, or at
   once when no try can help, it is given up, which is an incident of its own.
4. What was held back (quiet hours, or a channel that was down) goes out as one digest, and so does
   more than STORM at once.
5. Channels wait for nobody but themselves; letters of one channel go one after the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from ocp_ingest.core.alerts import Duty, Finding, Objectives, Snapshot, is_bad, judge
from ocp_ingest.core.errors import NotFound, OcpIngestError, Terminal, Transient
from ocp_ingest.core.incidents import Incident
from ocp_ingest.core.limits import HOUR_MS, MINUTE_MS, SECOND_MS
from ocp_ingest.desk.letters import TEST_KIND, letter
from ocp_ingest.desk.look import causes, look
from ocp_ingest.desk.measure import measure
from ocp_ingest.desk.news import Told, held_back, news, opening_of
from ocp_ingest.desk.notify import Channel, Channels
from ocp_ingest.desk.ports import Alert
from ocp_ingest.desk.world import Desk
from ocp_ingest.ingest import tell as telling
from ocp_ingest.reconcile.watch import watch_calls
from ocp_ingest.telemetry import log, measured

# The book is asked so often for what is due, in real seconds: a person waits for a first alert.
TELL_EVERY_S: Final = 15.0
# How long a claim holds: longer than any channel's own time-out.
CLAIM_MS: Final = 2 * MINUTE_MS
# 30 s, doubling up to an hour: twelve tries are five hours, a long outage of a mail server.
TRIES_MAX: Final = 12
BACKOFF_MS_MIN: Final = 30 * SECOND_MS
BACKOFF_MS_MAX: Final = HOUR_MS
# More letters at once than this are read by nobody.
STORM: Final = 10
# Read of the book at once.
_DUE_MAX: Final = 100
# Open incidents; there is one per root cause and group.
_OPEN_MAX: Final = 1_000
# Among so many of the newest, closed ones are looked for.
_CLOSED_MAX: Final = 500
# An open incident's text is renewed so often.
_AGAIN_MS: Final = HOUR_MS
_ERROR_CHARS_MAX: Final = 300
# What was told, in the desk's notes.
TOLD_NOTE: Final = "alerts.told"


# -- figures to incidents -------------------------------------------------------------------------


async def evaluate(desk: Desk, objectives: Objectives) -> Snapshot:
    """Opens and closes incidents as the figures say now; the figures. Raises Transient."""
    world = desk.world
    snapshot = await look(desk, objectives)
    held = await world.incidents.incidents(limit=_OPEN_MAX)
    # Who touches whom is read only when there is something to explain.
    known = await causes(world, held) if is_bad(snapshot, objectives) else []
    judgement = judge(snapshot, objectives, held, known)
    by_key = {incident.key: incident for incident in held}
    for finding in judgement.open:
        await _open(desk, finding, by_key.get(finding.key))
    for key, how in judgement.close:
        await world.incidents.close(key, world.clock.now_ms(), how)
    return snapshot


async def _open(desk: Desk, finding: Finding, held: Incident | None) -> None:
    """Rule 1."""
    if held is not None:
        worse = finding.severity == "critical" and held.severity != "critical"
        last_ms = max(held.opened_at_ms, held.last_at_ms)
        if not worse and desk.world.clock.now_ms() < last_ms + _AGAIN_MS:
            return
    await telling.people(
        desk.world, finding.kind, finding.text, key=finding.key, severity=finding.severity,
        calls=finding.calls,
    )  # fmt: skip


# -- incidents to alerts --------------------------------------------------------------------------


async def tell(desk: Desk, channels: Channels, now_ms: int) -> int:
    """Puts what is news into the book and delivers what is due; how many alerts were sent.

    Raises Transient when the stores do not answer; what channels answer is kept in the book.
    """
    held = await _announce(desk, channels, now_ms)
    due = await desk.alerts.due(now_ms, limit=_DUE_MAX)
    by_channel: dict[str, list[Alert]] = {}
    for alert in due:
        by_channel.setdefault(alert.channel, []).append(alert)
    failing = {incident.key for incident in held if incident.kind == UNDELIVERED}
    rounds = [
        _Round(desk, channels, name, alerts, now_ms, failing).deliver()
        for name, alerts in by_channel.items()
    ]
    done = await asyncio.gather(*rounds, return_exceptions=True)  # rule 5
    for one in done:
        if isinstance(one, BaseException):
            raise one
    return sum(number for number in done if isinstance(number, int))


async def _announce(desk: Desk, channels: Channels, now_ms: int) -> list[Incident]:
    incidents = desk.world.incidents
    held = await incidents.incidents(limit=_OPEN_MAX)
    if not channels:
        return held
    told = _told(await desk.notes.get(TOLD_NOTE))
    still = {opening_of(incident) for incident in held}
    over = not told.keys() <= still
    closed = await incidents.incidents(open_only=False, limit=_CLOSED_MAX) if over else []
    found = news(
        held, closed, told, tuple(channels), now_ms=now_ms, remind_ms=channels.remind_ms
    )  # fmt: skip
    for alert in found.alerts:
        await desk.alerts.add(alert)
    if found.left_out:
        log().warning("alerts.left_out", incidents=found.left_out)
    if found.told != told:  # only now: what was not added is made again, under the same id
        note = {ident: msgspec.to_builtins(one) for ident, one in found.told.items()}
        await desk.notes.put(TOLD_NOTE, note)
    return held


def _told(note: dict[str, object] | None) -> dict[str, Told]:
    try:
        return msgspec.convert(note or {}, dict[str, Told])
    except msgspec.ValidationError:
        return {}  # of another program's making: everything is told anew, under the same ids


# -- alerts to channels ---------------------------------------------------------------------------

# The kind of the incident that a channel's failure opens.
UNDELIVERED: Final = "alerts_undelivered"


class _Round:
    """One channel's due alerts, once."""

    def __init__(
        self, desk: Desk, channels: Channels, name: str, due: Sequence[Alert], now_ms: int,
        failing: set[str],
    ) -> None:  # fmt: skip
        self._desk = desk
        self._channels = channels
        self._name = name
        self._due = due
        self._now_ms = now_ms
        self._failing = failing

    async def deliver(self) -> int:
        """Sends what is due and may go; how many alerts were sent."""
        channel = self._channels.get(self._name)
        if channel is None:
            for alert in self._due:
                await self._end(alert, alert.tries, "There is no channel of this name any more.")
            return 0
        ready = [alert for alert in self._due if not await self._held_back(channel, alert)]
        sent = 0
        for lot in lots(ready):
            claimed = [one for alert in lot if (one := await self._claim(alert)) is not None]
            if claimed:
                sent += await self._send(channel, claimed)
        return sent

    async def _held_back(self, channel: Channel, alert: Alert) -> bool:
        until_ms = held_back(channel.wants, alert.what, alert.incident.severity, self._now_ms)
        if until_ms is None:
            return False
        held = replace(alert, next_at_ms=until_ms)
        await self._desk.alerts.keep(held, tries_before=alert.tries)
        return True

    async def _claim(self, alert: Alert) -> Alert | None:
        """Rule 2; None: somebody else has it."""
        mine = replace(alert, tries=alert.tries + 1, next_at_ms=self._now_ms + CLAIM_MS)
        kept = await self._desk.alerts.keep(mine, tries_before=alert.tries)
        return mine if kept else None

    async def _send(self, channel: Channel, alerts: Sequence[Alert]) -> int:
        error, final = await _handed_over(
            channel, alerts, self._channels, self._now_ms
        )  # fmt: skip
        if error is None:
            for alert in alerts:
                # As it was: who reads the book sees when, and that nothing is due any more.
                sent = replace(alert, sent_at_ms=self._now_ms, error="")
                await self._desk.alerts.keep(sent, tries_before=alert.tries)
            measured().add("ocp_ingest_alerts_total", len(alerts), self._name, "sent")
            await self._healed()
            return len(alerts)
        measured().add("ocp_ingest_alerts_total", len(alerts), self._name, "failed")
        for alert in alerts:
            if final or alert.tries >= TRIES_MAX:
                await self._end(alert, alert.tries, error)
            else:
                later = replace(alert, next_at_ms=self._now_ms + backoff_ms(alert.tries))
                await self._desk.alerts.keep(
                    replace(later, error=error), tries_before=alert.tries
                )  # fmt: skip
        return 0

    async def _end(self, alert: Alert, tries: int, error: str) -> None:
        """Rule 3: given up."""
        given_up = replace(alert, given_up=True, error=error)
        await self._desk.alerts.keep(given_up, tries_before=tries)
        log().error(
            "alert.given_up", channel=self._name, what=alert.what, incident=alert.incident.kind,
            tries=tries, reason=error,
        )  # fmt: skip
        measured().add("ocp_ingest_alerts_total", 1, self._name, "given_up")
        await telling.people(
            self._desk.world,
            UNDELIVERED,
            f"{self._name}: {error}",
            key=f"{UNDELIVERED}:{self._name}",
        )

    async def _healed(self) -> None:
        key = f"{UNDELIVERED}:{self._name}"
        if key in self._failing:
            await self._desk.world.incidents.close(key, self._now_ms, "an alert was taken")


def lots(ready: Sequence[Alert]) -> list[list[Alert]]:
    """What goes together into one letter (rule 4), in the order of sending."""
    if len(ready) > STORM:
        return [list(ready)]
    late = [alert for alert in ready if alert.next_at_ms > alert.made_at_ms]
    if len(late) < 2:
        return [[alert] for alert in ready]
    at_once = [[alert] for alert in ready if alert.next_at_ms <= alert.made_at_ms]
    return [*at_once, late]


def backoff_ms(tries: int) -> int:
    """The wait after so many tries."""
    return min(BACKOFF_MS_MAX, BACKOFF_MS_MIN << min(max(tries - 1, 0), 16))


async def _handed_over(
    channel: Channel, alerts: Sequence[Alert], channels: Channels, now_ms: int
) -> tuple[str | None, bool]:
    """Sends one letter: why it was not taken, or None; and whether no other try can help."""
    try:
        await channel.send(letter(channels, channel, alerts, now_ms))
    except OcpIngestError as failed:
        log().warning(
            "alert.failed", channel=channel.name, code=failed.code, reason=failed.text
        )  # fmt: skip
        return failed.text[:_ERROR_CHARS_MAX], isinstance(failed, Terminal)
    except Exception as bug:  # a bug in one channel must not silence the others
        log().error("alert.crashed", channel=channel.name, error=type(bug).__name__, exc_info=True)
        return f"An unexpected error ({type(bug).__name__}); see the log.", False
    log().info("alert.sent", channel=channel.name, alerts=len(alerts), what=alerts[0].what)
    return None, False


# -- the test button ------------------------------------------------------------------------------


async def test(desk: Desk, channels: Channels, channel: str, who: str) -> Alert:
    """Sends a test over a channel, now and once; the alert says whether it was taken.

    Raises NotFound for a channel that is not configured, Transient when the book does not answer.
    """
    found = channels.get(channel)
    if found is None:
        raise NotFound(f"There is no channel {channel}.", channel=channel)
    now_ms = desk.world.clock.now_ms()
    said = f"{channel}\0test\0{who}\0{now_ms}"
    alert = Alert(
        alert_id=hashlib.sha256(said.encode()).hexdigest()[:32],
        channel=channel,
        what="test",
        incident=Incident(key="test", kind=TEST_KIND, text="", opened_at_ms=now_ms),
        made_at_ms=now_ms,
        tries=1,
        next_at_ms=now_ms,
        given_up=True,  # whoever asked looks at the answer: nobody tries it again
    )
    if not await desk.alerts.add(alert):
        raise Transient("A test of this channel is under way.")
    error, _ = await _handed_over(found, [alert], channels, now_ms)
    if error is None:
        done = replace(alert, given_up=False, sent_at_ms=now_ms)
    else:
        done = replace(alert, error=error)
    await desk.alerts.keep(done, tries_before=1)
    return done


# -- again and again ------------------------------------------------------------------------------


async def run(
    desk: Desk, duty: Duty, channels: Channels, stop: asyncio.Event, *, alone: bool = False
) -> None:
    """Evaluates and tells until `stop` is set; whatever fails is tried at the next turn.

    `alone`: no reconciliation runs in this deployment, so that nobody else watches the calls.
    """
    wait_s = min(TELL_EVERY_S, duty.every_s)
    looked_s: float | None = None
    loop = asyncio.get_running_loop()
    while not stop.is_set():
        if looked_s is None or loop.time() >= looked_s + duty.every_s:
            looked_s = loop.time()
            await _tried("evaluate", _look_at(desk, duty, alone))
        await _tried("tell", tell(desk, channels, desk.world.clock.now_ms()))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), wait_s)


async def _look_at(desk: Desk, duty: Duty, alone: bool) -> None:
    if alone:
        groups = [group for group in await desk.world.calls.pending_groups() if group]
        await watch_calls(desk.world, groups, ())
    await measure(desk, duty, await evaluate(desk, duty))


async def _tried(what: str, work: Awaitable[object]) -> None:
    try:
        await work
    except OcpIngestError as failed:
        log().warning("alerts.unavailable", what=what, code=failed.code, reason=failed.text)
    except Exception as bug:  # a bug must not end the loop: it is what people rely on at night
        log().error("alerts.crashed", what=what, error=type(bug).__name__, exc_info=True)
