"""`chainrule train` on several ranks: rank 0 owns the run's folder and prints; the others copy the files they read.

Nothing is trained before all ranks agree on options, versions, settings and data.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NoReturn

from chainrule.cli.output import print_lines
from chainrule.distributed.agreement import compare, on_all_ranks, on_rank_zero
from chainrule.distributed.world import threads_per_rank
from chainrule.kernels.processor import CannotCompileError, llvm_binding
from chainrule.training import experiment
from chainrule.training.run import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from chainrule.distributed.world import World

_NOT_COPIED = {"model.safetensors", "metrics.jsonl", "result.json", "curves.png"}
"""Files of a run that the other ranks do not need, since only rank 0 reads and writes them."""

_SECONDS_TO_REPORT = 1.0
"""How long ranks above 1 wait before they abort all ranks, so that rank 0 or 1 can print the failure first."""


def compare_setup(world: World, options: Mapping[str, Any]) -> None:
    """Check that all ranks have the same command options, versions, number of threads, and kind of processor.

    Raises:
        RanksDifferError: they differ.
    """
    if world.size > 1:
        facts = {f"option --{name.replace('_', '-')}": value for name, value in options.items()}
        facts |= {f"version of {name}": value for name, value in experiment.versions().items()}
        facts["number of threads (CHAINRULE_THREADS)"] = threads_per_rank()
        facts["processor"] = _processor_name()
        facts["variable OPENBLAS_CORETYPE"] = os.environ.get("OPENBLAS_CORETYPE")
        compare(world, facts)


def _processor_name() -> str:
    """Return the kind of processor that machine code is compiled for, such as znver5."""
    try:
        return str(llvm_binding().get_host_cpu_name())
    except CannotCompileError:
        return platform.machine()


def compare_configs(world: World, config: Mapping[str, Any]) -> None:
    """Check that the config's sections, such as the data with its checksums, are the same on all ranks.

    The other entries, such as the seed, follow from the options, which `compare_setup` compares.

    Raises:
        RanksDifferError: they differ.
    """
    if world.size > 1:
        facts = {}
        for section, value in config.items():
            if isinstance(value, dict):
                facts.update({f"{section}.{name} of the config": entry for name, entry in value.items()})
        compare(world, facts)


@contextmanager
def scratch_folder(world: World) -> Iterator[Path | None]:
    """Yield a temporary folder for this rank's copy of the run; None on rank 0, which has the run itself.

    The trainer must be prepared inside the block, since it reads the run's files, such as the weights that the run
    starts from. Training itself reads none of them, so a rank that is killed while it trains leaves no folder behind.
    """
    if world.rank == 0:
        yield None
    else:
        with TemporaryDirectory(prefix="chainrule-rank-") as folder:
            yield Path(folder)


def copy_run(world: World, folder: Path | None, find: Callable[[], Run]) -> Run:
    """Find a run on rank 0, copy the files that its trainer is made from to the other ranks; return this rank's run.

    These files are the config and, if the run has them, the tokenizer and the weights that it starts from. Checkpoints
    are not copied: rank 0 sends its state to the other ranks (see `Trainer.fit`).

    Args:
        world: the ranks.
        folder: the scratch folder of this rank; None on rank 0.
        find: finds the run.
    """
    run = on_all_ranks(world, find if folder is None else lambda: None)
    files = on_rank_zero(world, lambda: {} if run is None else _files_to_copy(run))
    if run is not None:
        return run
    target = Path(folder or "")
    for name, content in files.items():
        (target / name).write_bytes(content)
    return Run(target)


def _files_to_copy(run: Run) -> dict[str, bytes]:
    """Return the content of a run's files that the other ranks need, by name."""
    files = [path for path in run.folder.iterdir() if path.is_file() and path.name not in _NOT_COPIED]
    return {path.name: path.read_bytes() for path in files}


class KilledMessage:
    """A context manager that prints a message if rank 0 is killed inside it; on other ranks, it does nothing.

    When a rank is killed, MPICH's mpiexec kills the others at once. A shell survives them, and prints the message if
    its input ends without the word "done". It waits before it prints: if a rank has reported the failure already,
    mpiexec exits in the meantime and closes the shell's output, so the failure is not reported twice.

    Args:
        world: the ranks.
        message: the message.
    """

    def __init__(self, world: World, message: str) -> None:
        self._is_needed = world.size > 1 and world.rank == 0 and sys.platform != "win32"
        script = 'read line; [ "$line" = done ] || { sleep 0.3; echo "$1" >&2; }'
        self._command = ["/bin/sh", "-c", script, "sh", message]
        self._shell: subprocess.Popen[str] | None = None

    def __enter__(self) -> KilledMessage:
        if self._is_needed:
            self._shell = subprocess.Popen(  # noqa: S603  # the message is an argument, not code
                self._command, stdin=subprocess.PIPE, start_new_session=True, text=True
            )
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()

    def cancel(self) -> None:
        """Do not print the message."""
        shell, self._shell = self._shell, None
        if shell is not None:
            shell.communicate("done\n")


def report_failure(world: World, killed_message: KilledMessage, message: str) -> None:
    """Print that a rank has failed, on ranks 0 and 1: one of them may be the failed rank."""
    killed_message.cancel()
    if world.rank <= 1:
        print_lines(f"chainrule: {message}", err=True)


def end_after_failure(world: World, killed_message: KilledMessage, message: str) -> NoReturn:
    """Report that a rank has failed, and end all ranks."""
    report_failure(world, killed_message, message)
    if world.rank > 1:
        time.sleep(_SECONDS_TO_REPORT)
    world.abort()
