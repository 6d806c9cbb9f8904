"""Measurements beside named peers: one file per row of the benchmark page."""
