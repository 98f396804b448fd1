"""Training on several workers, without knowing the engine that runs them: each holds its rows and makes the same updates.

An engine calls `fit_part` on every worker, with that worker's rows and its `Collective`. All workers draw the same
initial weights and run the same training as on one machine, in which sums over rows are sums over workers.
"""

from skbackprop.distributed._disk import PartWriter
from skbackprop.distributed._faults import MOST_RESTARTS, cause_of
from skbackprop.distributed._fit import fit_part
from skbackprop.distributed._stores import SECONDS_BETWEEN_CHECKPOINTS, FileStore, MemoryStore

__all__ = [
    "MOST_RESTARTS",
    "SECONDS_BETWEEN_CHECKPOINTS",
    "FileStore",
    "MemoryStore",
    "PartWriter",
    "cause_of",
    "fit_part",
]
