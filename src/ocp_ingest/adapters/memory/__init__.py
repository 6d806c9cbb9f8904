"""Every port in memory, deterministic, with faults on demand; for tests and the simulation.

`state` survives a restart, `faults` decides what goes wrong, `clock` moves when told.
"""
