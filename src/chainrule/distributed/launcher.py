"""Finds out whether an MPI launcher started this process, and loads MPI only then.

`mpiexec` and `srun` pass each process its rank in an environment variable. A process without one runs alone, and need
not import mpi4py: that initializes MPI, which takes a third of a second.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from chainrule.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

_RANK_VARIABLES = {
    "PMI_RANK": "PMI_SIZE",  # MPICH, Intel MPI, srun --mpi=pmi2
    "OMPI_COMM_WORLD_RANK": "OMPI_COMM_WORLD_SIZE",  # Open MPI
    "MV2_COMM_WORLD_RANK": "MV2_COMM_WORLD_SIZE",  # MVAPICH
    "PMIX_RANK": "SLURM_STEP_NUM_TASKS",  # srun --mpi=pmix
}
"""For each launcher, the environment variable with a process's rank, and the one with the number of processes."""


class MissingMPIError(UserError, ImportError):
    """An MPI launcher started this process, but MPI cannot be used."""


def launched_size(environment: Mapping[str, str] = os.environ) -> int | None:
    """Return the number of processes that an MPI launcher started; 0 if unknown, None without a launcher."""
    for rank_variable, size_variable in _RANK_VARIABLES.items():
        if rank_variable in environment:
            return _number(environment.get(size_variable, ""))
    return None


def launched_rank(environment: Mapping[str, str] = os.environ) -> int:
    """Return this process's rank among those that an MPI launcher started; 0 without a launcher."""
    return next((_number(environment[variable]) for variable in _RANK_VARIABLES if variable in environment), 0)


def _number(text: str) -> int:
    """Return the number in an environment variable; 0 if it is not a number."""
    return int(text) if text.isdecimal() else 0


def load_mpi(launched: int) -> Any:
    """Import and initialize MPI.

    Args:
        launched: the number of processes that the launcher started; 0 if unknown.

    Returns:
        The module `mpi4py.MPI`.

    Raises:
        MissingMPIError: mpi4py or its MPI library is missing, is not the launcher's MPI, or does not allow calls from
            several threads.
    """
    # If a rank fails, the run prints one sentence about it; MPICH would add a second one
    os.environ.setdefault("MPIR_CVAR_SUPPRESS_ABORT_MESSAGE", "1")
    try:
        from mpi4py import MPI  # initializes MPI
    except (ImportError, RuntimeError) as error:  # RuntimeError: mpi4py does not find the MPI library
        raise MissingMPIError(
            f"this process was started by an MPI launcher, but mpi4py cannot be imported ({error}): install it with: "
            "pip install 'chainrule[mpi]'"
        ) from None
    size = MPI.COMM_WORLD.Get_size()
    if launched and size != launched:
        raise MissingMPIError(
            f"the launcher started {launched} processes, but mpi4py's MPI ({_library(MPI)}) sees {size}: use the "
            "mpiexec of that MPI, or install mpi4py for the launcher's"
        )
    if MPI.Query_thread() < MPI.THREAD_MULTIPLE:
        raise MissingMPIError(
            f"{_library(MPI)} does not allow MPI calls from several threads (MPI_THREAD_MULTIPLE), which watching "
            "for failed ranks needs: use an MPI library that does"
        )
    return MPI


def _library(mpi: Any) -> str:
    """Return the name and version of the MPI library."""
    name, version = mpi.get_vendor()
    return f"{name} {'.'.join(map(str, version))}"
