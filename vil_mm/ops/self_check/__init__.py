"""The check that a GPU backend passes on the user's own GPU before it serves.

:mod:`~vil_mm.ops.self_check.checking` looks verdicts up and starts checks, :mod:`~vil_mm.ops.self_check.verdicts`
keeps them, and :mod:`~vil_mm.ops.self_check.worker` is the process where a check runs; it judges
(:mod:`~vil_mm.ops.self_check.judge`) a backend on problems (:mod:`~vil_mm.ops.self_check.problems`) within fences
(:mod:`~vil_mm.ops.self_check.fences`). ``python -m vil_mm.ops.self_check`` runs it by hand.
"""
