"""All parts of a running simulator, put together in one place."""

import secrets
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ocp_sim import config, ids
from ocp_sim.clock import Clock
from ocp_sim.export_faults import FaultDice
from ocp_sim.platform import Platform
from ocp_sim.push import Pusher
from ocp_sim.rate import TokenBucket
from ocp_sim.serving import ZipFolder
from ocp_sim.sounds import Renderer, speech
from ocp_sim.tokens import Logins
from ocp_sim.world import build_world


class Simulator:
    """State of one simulator; its HTTP face is `server.make_app`.

    Raises `ValueError` for settings that cannot be: too many faults, unknown export faults.
    """

    def __init__(
        self,
        settings: config.Settings,
        clock: Clock,
        *,
        renderer: Callable[[], Renderer] | None = None,
        real_now_s: Callable[[], float] = time.time,
    ) -> None:
        folder = Path(settings.audio_dir) if settings.audio_dir else None
        self.settings = settings
        self.clock = clock
        self.real_now_s = real_now_s
        self.public_url = settings.public_url  # the server fills it in once it has a port
        self.world = build_world(
            settings.seed,
            settings.calls,
            settings.world,
            start_ms=clock.origin_ms,  # not now: the same world after a restart
            renderer=renderer or (lambda: speech(folder)),
        )
        self.platform = Platform(self.world, settings.export, ids.chance(settings.seed, "jobs"))
        self.dice = FaultDice(settings.export_faults, ids.chance(settings.seed, "exports"))
        self.logins = Logins(settings.auth, lambda: secrets.token_urlsafe(32))
        self.bucket = TokenBucket(settings.export.rate_per_s, settings.export.rate_burst)
        self.pusher = Pusher(self.world, settings.push, clock, lambda: self.public_url)
        self.zips = ZipFolder()
        self.answers: Counter[str] = Counter()  # "create.201" and so on

    def change_export_faults(self, faults: config.ExportFaults) -> None:
        """Other faults from now on; raises `ValueError` for unknown ones."""
        chance = ids.chance(self.settings.seed, "exports", sum(self.answers.values()))
        fired = self.dice.fired
        self.dice = FaultDice(faults, chance)
        self.dice.fired = fired

    def change_rules(self, rules: config.Export) -> None:
        """Other rules of the Export API from now on; jobs that exist keep theirs."""
        self.platform.rules = rules
        self.bucket = TokenBucket(rules.rate_per_s, rules.rate_burst)

    def shown(self) -> dict[str, Any]:
        """What `/_sim/status` tells."""
        now_ms = self.clock.now_ms()
        jobs = [job for held in self.platform.jobs.values() for job in held.values()]
        ours = [job for job in jobs if job.created_by == "api"]
        return {
            "now_ms": now_ms,
            "world": {
                "seed": self.world.seed,
                "calls": len(self.world.calls),
                "start_ms": self.world.calls[0].start_ms if self.world.calls else None,
                "end_ms": self.world.end_ms,
                "groups": list(self.platform.jobs),
            },
            "push": self.pusher.shown(),
            "exports": {
                "jobs": len(ours),
                "foreign_jobs": len(jobs) - len(ours),
                "statuses": dict(Counter(job.status(now_ms) for job in jobs)),
                "most_running_per_group": self.platform.most_running,
                "answers": dict(sorted(self.answers.items())),
                "faults_fired": self.dice.fired,
            },
        }
