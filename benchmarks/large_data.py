"""Train on a data set larger than the memory, and measure how much anonymous memory that takes.

    python benchmarks/large_data.py
    python benchmarks/large_data.py --gigabytes 0.3 --steps 50 --limit 100

The script writes 20 GB of training images, 28×28, into a temporary folder. The file is sparse: nearly all of it is a
hole that takes no space on disk and reads as zeros; up to 2,000 of MNIST's digits are at random positions. Then the
script trains `mlp` for some steps as `chainrule train --data FOLDER` does: it computes the checksums of all images,
shuffles all examples, prefetches, saves a checkpoint, and evaluates the validation and test images.

Anonymous memory is the memory that the system cannot drop: heap, stacks and copies, but not pages of mapped files. A
thread reads it 200 times a second from /proc/self/status (RssAnon). The script fails if it ever exceeds the limit.
Linux only.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

from chainrule import data, models
from chainrule.training import Callback, Interrupted, evaluate
from chainrule.training import run as runs
from chainrule.training.experiment import configure, prepare

STATUS = Path("/proc/self/status")
SIDE = 28


class MemorySampler(threading.Thread):
    """Samples this process's memory.

    Attributes:
        peak: the largest anonymous memory so far, in bytes.
        mapped_peak: the largest resident part of mapped files.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = self.mapped_peak = 0
        self._stop_event = threading.Event()

    def run(self) -> None:
        """Sample until stopped."""
        while not self._stop_event.wait(0.005):
            self.sample()

    def sample(self) -> int:
        """Update the peaks, and return the current anonymous memory in bytes."""
        status = STATUS.read_text()
        anonymous, mapped = (
            int(re.findall(rf"{name}:\s+(\d+) kB", status)[0]) << 10 for name in ("RssAnon", "RssFile")
        )
        self.peak, self.mapped_peak = max(self.peak, anonymous), max(self.mapped_peak, mapped)
        return anonymous

    def stop(self) -> None:
        """Take the last sample."""
        self._stop_event.set()
        self.join()
        self.sample()


class StopAfter(Callback):
    """Interrupts training after a number of steps, as Ctrl-C does; the checkpoint is saved."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_step(self, trainer) -> None:
        """Interrupt after the next step, if it is the last one."""
        if trainer.global_step + 1 >= self.steps:
            trainer.interrupt = True


def write_sparse(path: Path, header: bytes, count: int, row: int, positions: np.ndarray, rows: np.ndarray) -> int:
    """Write a file of `count` rows of `row` bytes, zeros except at some positions; return its size on disk in bytes."""
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + count * row)
        for position, content in zip(positions.tolist(), rows, strict=True):
            file.seek(len(header) + position * row)
            file.write(content.tobytes())
    return path.stat().st_blocks * 512


def npy_header(shape: tuple[int, ...]) -> bytes:
    """Return the header of a `.npy` file of uint8."""
    from io import BytesIO

    target = BytesIO()
    np.lib.format.write_array_header_1_0(target, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return target.getvalue()


def idx_header(shape: tuple[int, ...]) -> bytes:
    """Return the header of an IDX file of uint8."""
    return bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes()


def make_folder(folder: Path, images: int, kind: str) -> int:
    """Write the data set; return its size on disk in bytes."""
    train, _, test = data.mnist().split()
    generator = np.random.default_rng(0)
    digits = min(2000, images // 10)
    positions = np.sort(generator.choice(images, digits, replace=False))
    header, ending = (npy_header, "{}.npy") if kind == "npy" else (idx_header, "{}-idx{}-ubyte")
    on_disk = 0
    for name, array in (("images", train.images), ("labels", train.labels)):
        shape = (images, *array.shape[1:])
        path = folder / ending.format(f"train-{name}", len(shape))
        on_disk += write_sparse(path, header(shape), images, array[0].nbytes, positions, array[:digits])
    for name, array in (("images", test.images[:1000]), ("labels", test.labels[:1000])):
        path = folder / ending.format(f"test-{name}", array.ndim)
        on_disk += write_sparse(path, header(array.shape), len(array), array[0].nbytes, np.arange(len(array)), array)
    return on_disk


def check_space(folder: Path, size: int) -> None:
    """Exit unless there is space for a file of this size, or for a sparse one if the file system supports these."""
    probe = folder / "probe"
    with probe.open("wb") as file:
        file.truncate(1 << 24)
    has_holes = probe.stat().st_blocks * 512 < 1 << 20
    probe.unlink()
    free = shutil.disk_usage(folder).free
    needed = 1 << 28 if has_holes else size + (1 << 28)
    if free < needed:
        sys.exit(f"{folder} has {free:,} bytes free, but {needed:,} are needed: give another folder with --folder")


def cgroup_peak() -> int | None:
    """Return the peak memory of this process's control group, the page cache included; None if there is none."""
    group = Path("/proc/self/cgroup")
    name = group.read_text().rpartition("::")[2].strip() if group.exists() else ""
    file = Path("/sys/fs/cgroup") / name.lstrip("/") / "memory.peak"
    return int(file.read_text()) if file.exists() else None


def train(folder: Path, out: Path, steps: int) -> dict[str, float]:
    """Train for some steps, evaluate, and return the seconds of each part."""
    seconds: dict[str, float] = {}

    def lap(name: str, start: float) -> float:
        seconds[name] = time.perf_counter() - start
        return time.perf_counter()

    start = time.perf_counter()
    loaded = data.load(folder)
    start = lap("load, check the labels", start)
    config = configure("mlp", loaded, epochs=1)
    start = lap("checksums of all images", start)
    trainer = prepare(runs.create(config, out), loaded, [StopAfter(steps)])
    with suppress(Interrupted):
        trainer.fit(1)
    start = lap(f"shuffle, {trainer.step_in_epoch} steps, checkpoint", start)
    network, model = trainer.network, models.get("mlp")
    for part in loaded.split()[1:]:
        evaluate(network, model, *part)
    lap("validation and test", start)
    return seconds


def main() -> None:
    """Create the files, train, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=20, help="size of the training images, in 10⁹ bytes")
    parser.add_argument("--steps", type=int, default=500, help="training steps")
    parser.add_argument("--kind", choices=["npy", "idx"], default="npy", help="file format")
    parser.add_argument("--limit", type=float, default=1000, help="limit of anonymous memory, in 10⁶ bytes")
    parser.add_argument("--folder", help="where to create the files, which are removed at the end")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    if not STATUS.exists():
        sys.exit("anonymous memory is measured on Linux only")
    images = int(options.gigabytes * 1e9) // SIDE**2
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        check_space(folder, images * (SIDE**2 + 1))
        (folder / "data").mkdir()
        on_disk = make_folder(folder / "data", images, options.kind)
        sampler = MemorySampler()
        before = sampler.sample()
        sampler.start()
        seconds = train(folder / "data", folder / "run", options.steps)
        sampler.stop()
    result = {
        "images": images,
        "bytes": images * SIDE**2,
        "bytes_on_disk": on_disk,
        "anonymous_before": before,
        "anonymous_peak": sampler.peak,
        "mapped_peak": sampler.mapped_peak,
        "cgroup_peak": cgroup_peak(),
        "seconds": seconds,
    }
    if options.json:
        print(json.dumps(result))
    else:
        print(f"{images:,} images, {images * SIDE**2 / 1e9:.1f} GB ({on_disk / 1e6:.0f} MB on disk), {options.kind}")
        print(f"anonymous memory  {sampler.peak / 1e6:,.0f} MB at most ({before / 1e6:,.0f} MB before)")
        print(f"mapped files      {sampler.mapped_peak / 1e6:,.0f} MB resident at most, which the system may drop")
        if (peak := result["cgroup_peak"]) is not None:
            print(f"control group     {peak / 1e6:,.0f} MB at most, page cache and other processes included")
        for part, value in seconds.items():
            print(f"{part:<40}{value:8.2f} s")
    if sampler.peak > options.limit * 1e6:
        sys.exit(f"anonymous memory reached {sampler.peak / 1e6:,.0f} MB, more than {options.limit:,.0f} MB")


if __name__ == "__main__":
    main()
