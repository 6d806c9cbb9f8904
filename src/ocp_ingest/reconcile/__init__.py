"""Stage 2, in the order in which a missing call meets it.

detect → plan → export → poll → download → finish. Two runners drive it with one brain: `sweep.py`
has one sweep of the embedded one on one page; on AWS `dispatch.py` starts executions whose steps
are in `flow.py`, `pull.py` and `branches.py`.
"""
