"""What goes wrong in exports: drawn per request from a script, then by chance. Pure.

| Operation | Fault | Effect |
|---|---|---|
| any | rate_limited | 429 with Retry-After |
| | server_error | 500, 502 or 503 |
| | slow | the answer comes late |
| | unauthorized | the token is revoked, 401 |
| | dropped | connection closed, nothing done |
| create | conflict | 409 although the slot is free |
| | foreign | somebody else's export takes the slot, 409 |
| | answer_lost | the job is made, then the connection closed |
| | stuck, failed, slow_job | the job never ends, fails, takes ten times as long |
| | expire_early | EXPIRED soon after completion |
| | files_missing | the listing leaves recordings out |
| download | cut | connection reset in the middle |
| | short_body | right Content-Length, body ends early |
| | truncated | half the file, and a Content-Length that says so |
| | wrong_bytes | right length, other bytes |
| | redirect | 302 to a short-lived URL |
| | redirect_expired | 302 to a URL that has expired |
| | token_expired | cut in the middle, and the token is revoked |

`op` may be "any": every operation but `token`.
"""

from dataclasses import dataclass
from random import Random
from typing import Final

from ocp_sim.config import ExportFaults, Scripted
from ocp_sim.platform import Fate

ANYWHERE: Final = frozenset({"rate_limited", "server_error", "slow", "unauthorized", "dropped"})
JOB_FATES: Final = frozenset({"stuck", "failed", "slow_job", "expire_early", "files_missing"})
KNOWN: Final = {
    "token": frozenset({"rate_limited", "server_error", "slow", "dropped"}),
    "create": ANYWHERE | JOB_FATES | {"conflict", "foreign", "answer_lost"},
    "list": ANYWHERE,
    "status": ANYWHERE,
    "files": ANYWHERE,
    "cancel": ANYWHERE,
    "download": ANYWHERE
    | {"cut", "short_body", "truncated", "wrong_bytes"}
    | {"redirect", "redirect_expired", "token_expired"},
    "any": ANYWHERE,
}


@dataclass
class _Line:
    """A scripted fault and what is left of it."""

    one: Scripted
    skip: int
    times: int


class FaultDice:
    """Says what the next request suffers, and counts what it said."""

    def __init__(self, faults: ExportFaults, rng: Random) -> None:
        """Raises `ValueError` naming an operation or fault that does not exist."""
        self.faults = faults
        self.fired: dict[str, int] = {}
        self._rng = rng
        self._script = [_Line(one, one.skip, one.times) for one in faults.script]
        for one in faults.script:
            _check(one.op, one.fault)
        for key in faults.chance:
            _check(*key.split(".", 1))

    def draw(self, op: str, group: str | None = None) -> str | None:
        """The fault of this request, if any."""
        fault = self._scripted(op, group) or self._by_chance(op)
        if fault:
            key = f"{op}.{fault}"
            self.fired[key] = self.fired.get(key, 0) + 1
        return fault

    def fate(self, fault: str | None) -> Fate:
        """What a job-shaping fault of `create` does to the job."""
        faults = self.faults
        return Fate(
            failed=fault == "failed",
            stuck=fault == "stuck",
            slow_factor=faults.slow_job_factor if fault == "slow_job" else 1,
            missing_share=faults.missing_share if fault == "files_missing" else 0,
            kept_ms=int(faults.expire_early_s * 1000) if fault == "expire_early" else None,
        )

    def _scripted(self, op: str, group: str | None) -> str | None:
        found = None
        for line in self._script:
            if not _matches(line.one, op, group):
                continue
            if line.skip:
                line.skip -= 1
            elif line.times and found is None:
                line.times -= 1
                found = line.one.fault
        return found

    def _by_chance(self, op: str) -> str | None:
        for scope in (op, "any") if op != "token" else (op,):
            for key, share in self.faults.chance.items():
                where, _, fault = key.partition(".")
                if where == scope and self._rng.random() < share:
                    return fault
        return None


def _matches(one: Scripted, op: str, group: str | None) -> bool:
    fits = one.op == op or (one.op == "any" and op != "token")
    return fits and one.group in (None, group)


def _check(op: str, fault: str = "") -> None:
    if fault not in KNOWN.get(op, ()):
        raise ValueError(f"no such export fault: {op}.{fault}")
