"""Run attacks in parallel processes, each in turn, until the time is over; or repeat one case."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import traceback
from collections import Counter
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, cast

from . import (
    base,
    checkpoints,
    configs,
    disks,
    idx_files,
    interrupts,
    kills,
    machine_code,
    pages,
    pictures,
    texts,
    weight_files,
)
from .attack import Attack, Case, Fall, Step, generator, judge
from .child import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from .child import Ended

MODULES = (
    idx_files, pictures, pages, weight_files, checkpoints, configs, kills, interrupts, disks, machine_code,
    texts,
)  # fmt: skip
ATTACKS: dict[str, Attack] = {module.name: cast("Attack", module) for module in MODULES}
CASES_PER_SEED = 1_000_000
MOST_SHRINKING_SECONDS = 20.0  # per failing case


@dataclass(frozen=True)
class Result:
    """The result of a case."""

    attack: str
    number: int
    steps: int
    megabytes: float
    seconds: float
    kind: str = ""
    what: str = ""
    about: str = ""


def run_all(folder: Path, names: list[str], seed: int, seconds: float, jobs: int | None, falls_folder: Path) -> int:
    """Run attacks for some time; print falls immediately and a table at the end. Returns 1 if any case fell."""
    idle = prepare(folder, names)
    jobs = jobs or len(os.sched_getaffinity(0))
    until = time.monotonic() + seconds
    reports = [folder / f"report-{job}.jsonl" for job in range(jobs)]
    workers = []
    for job, report in enumerate(reports):
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            work(folder / f"job-{job}", names, seed * CASES_PER_SEED + job, jobs, until, idle, report, falls_folder)
        workers.append(pid)
    broken = sum(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0 for pid in workers)
    if broken:
        print(f"the harness failed in {broken} of {jobs} processes; see above", flush=True)
    results = [Result(**json.loads(line)) for report in reports if report.exists() for line in report.open()]
    return max(summarize(names, results), int(broken > 0))


def prepare(folder: Path, names: Iterable[str]) -> float:
    """Import everything and create fixtures; returns the memory of an idle process in megabytes."""
    idle = idle_megabytes()
    import_everything()
    make_fixtures(folder, names, idle)
    return idle


def make_fixtures(folder: Path, names: Iterable[str], idle: float) -> None:
    """Create the files that the cases of some attacks start from."""
    base.make(folder / "base", idle)
    for name in names:
        (folder / name).mkdir()
        ATTACKS[name].prepare(folder / name)


def idle_megabytes() -> float:
    """The peak memory of Python after importing chainrule, started by a small process, whose memory counts."""
    code = (
        "import os, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import chainrule'])\n"
        "print(os.wait4(child.pid, 0)[2].ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout) * 1024 / 1e6


def import_everything() -> None:
    """Import what child processes need, without computing anything, so that no cache is filled."""
    import PIL.Image

    import chainrule.cli.evaluate
    import chainrule.cli.generate
    import chainrule.cli.listings
    import chainrule.cli.predict
    import chainrule.cli.read
    import chainrule.cli.train
    import chainrule.images.drawing
    import chainrule.images.page
    import chainrule.plots.evaluation
    import chainrule.plots.pictures
    import chainrule.plots.text
    import chainrule.plots.training  # noqa: F401

    PIL.Image.init()


def work(
    folder: Path, names: list[str], first: int, stride: int, until: float, idle: float, report: Path, falls_folder: Path
) -> None:
    """Run attacks in turn, each for about the same time; the main function of a worker process."""
    code = 1
    try:
        spent = dict.fromkeys(names, 0.0)
        numbers = dict.fromkeys(names, first)
        while time.monotonic() < until:
            name = min(names, key=lambda name: spent[name])
            begun = time.monotonic()
            in_a_forked_process(partial(report_one, folder, name, numbers[name], idle, report, falls_folder))
            spent[name] += time.monotonic() - begun
            numbers[name] += stride
        code = 0
    except BaseException:  # a bug in the harness
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def in_a_forked_process(action: Callable[[], None]) -> None:
    """Run an action in a forked process, so that the memory of generating a case is not counted, and is freed.

    Raises:
        RuntimeError: the action failed.
    """
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            action()
            code = 0
        except BaseException:  # a bug in the harness
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    if os.waitpid(pid, 0)[1]:
        raise RuntimeError("a case could not be run")


def report_one(folder: Path, name: str, number: int, idle: float, report: Path, falls_folder: Path) -> None:
    """Run a case and add a line to the report."""
    result = one(folder, name, number, idle, falls_folder)
    with report.open("a") as lines:
        lines.write(json.dumps(asdict(result)) + "\n")
    if result.kind:
        print_fall(result, falls_folder)


def one(folder: Path, name: str, number: int, idle: float, falls_folder: Path) -> Result:
    """Generate a case, run its steps, and save it if it falls."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    case = ATTACKS[name].draw(generator(name, number), folder)
    fall, ends = run_case(case, folder, idle)
    megabytes = max((ended.megabytes for step, ended in ends if not step.free), default=0.0)
    seconds = max((ended.seconds for step, ended in ends if not step.free), default=0.0)
    result = Result(name, number, len(ends), megabytes, seconds)
    if fall is None:
        return result
    shrink(case, fall, folder, idle)
    target = falls_folder / f"{name.replace(' ', '-')}-{number}"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder, target, symlinks=True, ignore_dangling_symlinks=True)
    for step, ended in ends:
        with (target / "what-it-printed.txt").open("a", errors="backslashreplace") as text:
            text.write(f"{step.name}: {ended.code}, {ended.seconds:.1f} s, {ended.megabytes:.0f} MB\n")
            text.write(ended.out + ended.err)
    return Result(name, number, len(ends), megabytes, seconds, fall.kind, fall.what, case.about)


def run_case(case: Case, folder: Path, idle: float) -> tuple[Fall | None, list[tuple[Step, Ended]]]:
    """Run the steps until one falls."""
    ends = []
    for step in case.steps:
        ended = run(step.action, folder, idle, step.signals)
        ends.append((step, ended))
        if (fall := judge(step, ended)) is not None:
            return Fall(fall.kind, f"{step.name}: {fall.what}"), ends
    return None, ends


def shrink(case: Case, fall: Fall, folder: Path, idle: float) -> None:
    """Remove the edits that are not needed for the fall, one by one."""
    if case.rewrite is None or case.edits < 2:
        return
    wanted, until = set(range(case.edits)), time.monotonic() + MOST_SHRINKING_SECONDS
    for edit in range(case.edits):
        if len(wanted) == 1 or time.monotonic() > until:
            break
        case.rewrite(wanted - {edit})
        again, _ = run_case(case, folder, idle)
        if again is not None and again.kind == fall.kind:
            wanted.discard(edit)
    case.rewrite(wanted)
    case.about += f", of which {len(wanted)} matter"


def print_fall(result: Result, falls_folder: Path) -> None:
    """Print a fall and how to repeat it, in a single write because other processes print, too."""
    case = f"{result.attack}:{result.number}"
    text = (
        f"{result.kind.upper()}  {result.attack} ({result.about})\n    {result.what}\n"
        f"    again: python -m tests.attack --case '{case}'   files: {falls_folder}/{case.replace(':', '-').replace(' ', '-')}\n"
    )
    os.write(sys.stdout.fileno(), text.encode(errors="backslashreplace"))


def repeat(folder: Path, name: str, number: int, falls_folder: Path) -> int:
    """Run one case again and show its output."""
    idle = prepare(folder, [name])
    result = one(folder / "job-0", name, number, idle, falls_folder)
    if not result.kind:
        print(f"{name}:{number} does not fall: {result.steps} steps, {result.seconds:.1f} s, {result.megabytes:.0f} MB")
        return 0
    print_fall(result, falls_folder)
    print((falls_folder / f"{name.replace(' ', '-')}-{number}" / "what-it-printed.txt").read_text(errors="replace"))
    return 1


def summarize(names: list[str], results: list[Result]) -> int:
    """Print a line for each attack; returns 1 if any case fell."""
    print(f"\n{'attack':14} {'cases':>7} {'commands':>9} {'falls':>6} {'most MB':>8} {'longest s':>10}")
    for name in names:
        own = [result for result in results if result.attack == name]
        falls = sum(bool(result.kind) for result in own)
        memory, longest = (max((getattr(r, part) for r in own), default=0.0) for part in ("megabytes", "seconds"))
        commands = sum(result.steps for result in own)
        print(f"{name:14} {len(own):7,} {commands:9,} {falls:6,} {memory:8.0f} {longest:10.1f}")
    kinds = Counter(result.kind for result in results if result.kind)
    counted = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()) or "nothing fell"
    print(f"{len(results):,} cases: {counted}")
    return int(bool(kinds))
