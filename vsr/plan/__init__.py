"""What a run will take on this machine: its own clips and its own network, timed for some seconds.

:class:`Rehearsal` is a callback that measures at the start of ``Trainer.fit`` and ends the fit before it has trained:
device, precision, data and network are then those of the run, by construction.
"""

from vsr.plan.measure import Pool, duration, largest_batch, micro_step, seconds_per_clip, texture_pool
from vsr.plan.rehearsal import Plan, Rehearsal
from vsr.plan.table import advice, comparison, table

__all__ = [
    "Plan", "Pool", "Rehearsal", "advice", "comparison", "duration", "largest_batch", "micro_step", "seconds_per_clip",
    "table", "texture_pool",
]  # fmt: skip
