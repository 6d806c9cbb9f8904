"""Proof of no loss: the production code, one seed, a virtual clock, faults at every effect.

The only package that knows both the platform and the simulator. What it runs is the real intake,
steps, workers, planner and sweep over the memory adapters, against the simulator's pure model of
OCP; what it checks is in `invariants`. A seed replays exactly.
"""
