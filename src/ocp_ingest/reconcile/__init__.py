"""Stage 2, in the order in which a missing call meets it.

detect → plan → export → poll → download → finish; `sweep.py` has one sweep on one page.
"""
