"""Deliberate faults that the attacks must find: `python -m tests.attack.planted steps`, or `faults`, or `attack`.

"steps" judges steps that do what must not be done; "faults" plants a fault in chainrule for each attack, which the
attack must find; "attack" runs an attack some of whose cases fall, to test what is printed and that cases can be
repeated.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import tempfile
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import click

from . import __main__, attack, base, campaign, child
from .attack import Case, Step, check
from .child import Signal, WrongError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np

MEGABYTE = 1_000_000


# Steps


def divide() -> None:
    """Ends in a traceback."""
    print(1 / 0)


def say(text: str, code: int = 0) -> None:
    """Prints to standard error."""
    sys.stderr.write(text)
    sys.exit(code)


def compute(seconds: float) -> None:
    """Uses the processor."""
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def take(megabytes: int) -> None:
    """Uses memory."""
    assert len(b"x" * megabytes * MEGABYTE)


def load_wrong() -> None:
    """Fails like a check that finds wrong data."""
    raise WrongError("other weights")


def crash() -> None:
    """Crashes like damaged machine code."""
    os.kill(os.getpid(), signal.SIGSEGV)


def catch_badly() -> None:
    """Catches SIGTERM and is ended by it."""

    def handle(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    signal.signal(signal.SIGTERM, handle)
    time.sleep(9)


STEPS: dict[str, tuple[Step, str | None]] = {
    "does nothing": (Step("", lambda: None), None),
    "a sentence": (Step("", partial(say, "chainrule: no\n", 2), (0, 2)), None),
    "a traceback": (Step("", divide, (0, 1)), "traceback"),
    "an internal error, reported": (
        Step("", partial(say, "chainrule: internal error; please report it", 1), (0, 1)),
        "traceback",
    ),
    "another exit code": (Step("", partial(sys.exit, 1)), "exit code"),
    "an invalid address": (Step("", crash), "signal"),
    "a signal that it catches, and that ends it": (
        Step("", catch_badly, (0,), (Signal(0.5, signal.SIGTERM),)),
        "signal",
    ),
    "a signal that was sent": (Step("", partial(time.sleep, 9), (0,), (Signal(0.1, signal.SIGTERM),)), None),
    "SIGKILL that was sent": (Step("", partial(time.sleep, 9), (0,), (Signal(0.1, signal.SIGKILL),)), None),
    "too long": (Step("", partial(compute, 0.8)), "hang"),
    "not too long": (Step("", partial(compute, 0.1)), None),
    "for ever": (Step("", partial(compute, 99)), "hang"),
    "waits for ever": (Step("", signal.pause), "hang"),
    "too much": (Step("", partial(take, 450)), "memory"),
    "not too much": (Step("", partial(take, 350)), None),
    "too much, in a check": (check("", partial(take, 450)), None),
    "more than there is": (Step("", partial(take, 9000)), "traceback"),
    "a wrong load": (check("", load_wrong), "wrong"),
    "no sentence": (Step("", partial(say, "", 2), (0, 2)), "noise"),
    "something else": (Step("", partial(say, "libtiff: bad tag\n")), "noise"),
    "many lines": (Step("", partial(say, "chainrule: \n" * 50)), "noise"),
    "an escape": (Step("", partial(print, "\x1b[2J")), "terminal"),
}
"""Steps and the kinds of their expected falls."""


def judge_steps(folder: Path) -> dict[str, str | None]:
    """The kind of fall of each step (None if it does not fall), with shorter time limits."""
    attack.MOST_SECONDS, child.CPU_SECONDS, child.WALL_SECONDS = 0.5, 1, 5.0
    (folder / "job").mkdir()
    idle = child.run(lambda: None, folder / "job", 0.0).megabytes
    falls = {}
    for name, (step, _) in STEPS.items():
        fall = attack.judge(step, child.run(step.action, folder / "job", idle, step.signals))
        falls[name] = fall and fall.kind
    return falls


# Faults in chainrule


def idx_any_promise() -> None:
    """A gzip is decompressed without limit, and the memory is never freed."""
    from chainrule.data import idx

    idx.MAX_INFLATED = 1 << 34


def pictures_out_of_range() -> None:
    """Gray values go beyond 1."""
    from chainrule import images

    right = images.open_digit
    images.open_digit = lambda file: 1.01 * right(file) + 0.01


def pages_slowly() -> None:
    """Reading a page takes longer than allowed."""
    from chainrule.images import page

    attack.MOST_SECONDS = 1.5  # a lower limit, so that the test takes less time
    right = page.read_page

    def read_page(*arguments: Any) -> Any:
        compute(attack.MOST_SECONDS + 0.1)
        return right(*arguments)

    page.read_page = read_page


def weights_without_checksum() -> None:
    """Damage is not detected: all checksums are equal."""
    from chainrule import safetensors_io

    class Checksum(str):
        __slots__ = ()

        def __radd__(self, other: str) -> Checksum:
            return self

        def __ne__(self, other: object) -> bool:
            return False

        __hash__ = str.__hash__

    safetensors_io._sha256 = lambda arrays, note: Checksum()


def checkpoints_without_sentence() -> None:
    """A checkpoint that does not match raises an internal error instead of a user error."""
    from chainrule.errors import RunError
    from chainrule.training import resume

    right = resume.resume

    def careless(*arguments: Any) -> None:
        try:
            right(*arguments)
        except RunError as error:
            raise ValueError(error) from error

    resume.resume = careless


def configs_raw() -> None:
    """Names are printed to the terminal without escaping."""
    from chainrule.cli import output

    output.printable = lambda text: text


def kills_forget() -> None:
    """A resumed run does not restore the order of its images."""
    from chainrule.data import loader

    loader.DataLoader.load_state_dict = lambda self, state: None


def interrupts_as_failures() -> None:
    """Stopped training ends like failed training."""
    from chainrule.cli import signals

    signals.Interruption.exit_code = 1


def disks_as_failures() -> None:
    """Disk errors are not OSErrors."""
    from chainrule import files, safetensors_io

    right = files.atomic_write

    @contextmanager
    def atomic_write(path: Path) -> Iterator[Any]:
        try:
            with right(path) as file:
                yield file
        except OSError as error:
            raise RuntimeError(f"{path} cannot be written") from error

    files.atomic_write = safetensors_io.atomic_write = atomic_write


def machine_code_unseen() -> None:
    """Damaged machine code is run."""
    from chainrule.kernels import machine

    def sha256(content: bytes = b"") -> Any:
        return SimpleNamespace(digest=lambda: bytes(32), hexdigest=hashlib.sha256(content).hexdigest)

    right = machine._machine()  # with valid checksums
    machine._machine = lambda: right
    machine.hashlib = SimpleNamespace(sha256=sha256)


def texts_raw() -> None:
    """Generated text is printed to the terminal without escaping."""
    from chainrule.cli import generate

    generate.print_text = lambda text: click.echo(text, nl=False)


PLANTS: dict[str, tuple[Callable[[], None], set[str]]] = {
    "idx": (idx_any_promise, {"memory"}),
    "pictures": (pictures_out_of_range, {"wrong"}),
    "pages": (pages_slowly, {"hang"}),
    "weights": (weights_without_checksum, {"wrong"}),
    "checkpoints": (checkpoints_without_sentence, {"traceback"}),
    "configs": (configs_raw, {"terminal"}),
    "kills": (kills_forget, {"wrong"}),
    "interrupts": (interrupts_as_failures, {"exit code"}),
    "disks": (disks_as_failures, {"traceback"}),
    "texts": (texts_raw, {"terminal"}),
    "machine code": (machine_code_unseen, {"signal", "wrong", "traceback"}),
}
"""For each attack: a fault in chainrule, and the kinds of falls that it can cause."""


def find_faults(folder: Path, seconds: float = 120.0) -> dict[str, tuple[str, str] | None]:
    """For each attack the kind and the description of its first fall; None if no case falls.

    Each fault is planted in a separate process, forked from one that has imported everything. The files that attacks
    start from are made without faults. Cases that fall are not shrunk.
    """
    campaign.MOST_SHRINKING_SECONDS = 0.0
    idle = campaign.prepare(folder, [])
    falls = {}
    for name in PLANTS:
        campaign.in_a_forked_process(partial(find_fault, folder, name, idle, time.monotonic() + seconds))
        falls[name] = json.loads((folder / name / "fall.json").read_text())
    return falls


def find_fault(folder: Path, name: str, idle: float, until: float) -> None:
    """Plant a fault, and save the kind and the description of the first fall in its attack."""
    PLANTS[name][0]()
    own = folder / name
    own.mkdir()
    campaign.ATTACKS[name].prepare(own)
    fall, number = None, 0
    while fall is None and time.monotonic() < until:
        result = campaign.one(folder / "job" / name, name, number, idle, folder / "kept")
        fall = (result.kind, result.what) if result.kind else None
        number += 1
    (own / "fall.json").write_text(json.dumps(fall))


# An attack with some falling cases

name = "planted"


def prepare(folder: Path) -> None:
    """Does nothing: each case creates its own file."""


def draw(random: np.random.Generator, folder: Path) -> Case:
    """A file of random bytes with five edits. About half of the cases fall, because of one of the edits."""
    if os.environ.get("PLANTED") == "in the harness":
        raise ZeroDivisionError("drawn")
    content = random.bytes(20)
    falls = bool(random.random() < 0.5)
    file = folder / "file"

    def rewrite(wanted: set[int]) -> None:
        file.write_bytes(content + bytes(sorted(wanted)))

    def look() -> None:
        if falls and 2 in file.read_bytes()[20:]:
            raise WrongError(content.hex())

    rewrite(set(range(5)))
    return Case(content.hex(), [check("looked at", look)], 5, rewrite)


def main() -> None:
    """Print the result as JSON; "attack" runs `python -m tests.attack` with only the planted attack."""
    what = sys.argv.pop(1)
    if what == "attack":
        base.make = lambda folder, idle: None  # its cases start from no files
        campaign.ATTACKS = {name: sys.modules[__name__]}  # type: ignore[dict-item]
        sys.exit(__main__.main())
    find: Callable[[Path], dict[str, Any]] = {"steps": judge_steps, "faults": find_faults}[what]
    with tempfile.TemporaryDirectory() as folder:
        base.environment(Path(folder))
        print(json.dumps(find(Path(folder))))


if __name__ == "__main__":
    main()
