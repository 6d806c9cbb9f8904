"""For all tests."""

from __future__ import annotations

from hypothesis import settings

# No test is timed: a machine that does something else for a moment is no finding.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
