"""Proof that nothing was lost: counts from independent sources, held against each other."""
