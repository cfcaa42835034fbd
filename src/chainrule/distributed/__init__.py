"""Data-parallel training: several processes, on one machine or many, train one network over MPI.

    mpiexec -n 4 chainrule train --model cnn

Training loops of your own can use `rank`, `world_size`, `average_gradients` and `broadcast`, or `ShardedStep`, whose
results are bitwise identical for any number of ranks. Without MPI, all of these work with one process.
"""

from chainrule.distributed.launcher import MissingMPIError
from chainrule.distributed.parallel import average_gradients, broadcast, rank, world_size
from chainrule.distributed.sharded import ShardedStep, ShardError
from chainrule.distributed.watch import RankFailedError

__all__ = [
    "MissingMPIError",
    "RankFailedError",
    "ShardError",
    "ShardedStep",
    "average_gradients",
    "broadcast",
    "rank",
    "world_size",
]
