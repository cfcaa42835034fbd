"""What Windows and macOS lack is taken away in a child process before chainrule is imported: it works all the same.

That is no Windows: paths, files that are open, DLLs and the linker are Linux's. What stands in docs/platforms.md as
asked for first, or as left out, is left out here.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

LACKING: dict[str, list[str]] = {
    "linux": [],
    "darwin": ["os.sched_getaffinity", "os.sched_setaffinity", "os.posix_fadvise", "os.memfd_create"],
    "win32": [
        "os.fork", "os.register_at_fork", "os.sched_getaffinity", "os.sched_setaffinity", "os.getuid", "os.geteuid",
        "os.getgid", "os.getegid", "os.fchmod", "os.fchown", "os.chown", "os.uname", "os.O_NOFOLLOW", "os.O_NONBLOCK",
        "os.O_DIRECTORY", "os.O_CLOEXEC", "os.posix_fadvise", "os.memfd_create", "os.pread", "os.killpg", "os.getpgid",
        "os.login_tty", "os.sysconf", "os.wait4", "os.nice", "time.tzset",
        "signal.SIGHUP", "signal.SIGKILL", "signal.SIGALRM", "signal.SIGPIPE", "signal.SIGUSR1", "signal.SIGQUIT",
        "signal.alarm", "signal.setitimer", "signal.pthread_sigmask", "signal.siginterrupt",
        "fcntl", "resource", "pwd", "grp", "termios", "tty", "pty",
    ],
}  # fmt: skip
"""For each system, what is not there: names in a module, or modules."""

PRETEND = '''
import json, os, signal, sys, time

# What the libraries below find out about the system is Linux's
import concurrent.futures, contextlib, ctypes, multiprocessing, pathlib, platform, platformdirs, shutil, subprocess, tempfile
import click, filelock, llvmlite.binding, numpy, numpy.random, rich.console, rich.progress, safetensors.numpy

SYSTEM, LACKING = sys.argv[1], json.loads(sys.argv[2])
del sys.argv[1:3]
assert not [name for name in sys.modules if name.partition(".")[0] == "chainrule"]
sys.platform = SYSTEM
for name in LACKING:
    module, _, attribute = name.partition(".")
    if attribute:
        if hasattr(sys.modules[module], attribute):  # this Python, too, may lack it
            delattr(sys.modules[module], attribute)
    else:
        sys.modules[name] = None  # to import it is an ImportError
if SYSTEM == "win32":
    opened = os.open

    def open_file(path, *options, **named):
        """A folder cannot be opened, nor be synced."""
        if os.path.isdir(path):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *options, **named)

    os.open = open_file
    shutil._use_fd_functions = False  # which open folders
    filelock.FileLock = lambda *_, **__: contextlib.nullcontext()  # its own locks ask Windows
'''

ENGINE = """
import numpy as np
import chainrule
from chainrule import nn, optim

chainrule.manual_seed(0)
chainrule.set_num_threads(2)
network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * 13 * 13, 10))
optimizer = optim.AdamW(network.parameters(), lr=0.01)

def step(x, y):
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(network(x), y)
    loss.backward()
    optimizer.step()
    return loss

x, y = chainrule.randn(64, 1, 28, 28), chainrule.randint(10, (64,))
compiled = chainrule.jit(step)
losses = [compiled(x, y).item() for _ in range(4)] + [step(x, y).item()]
wide = chainrule.randn(600, 700).softmax(1).sum(0).tolist()[:5]  # large enough for threads and fused loops
chainrule.save(network.state_dict(), "weights.safetensors")
again = chainrule.load("weights.safetensors")
assert {name: value.tolist() for name, value in network.state_dict().items()} == {n: v.tolist() for n, v in again.items()}
print(json.dumps([losses, wide]))
"""

CTRL_C = """
from chainrule.training import callbacks

def on_step(self, trainer, on_step=callbacks.Checkpoint.on_step):
    if (trainer.epoch, trainer.step_in_epoch) == (1, 2):
        signal.raise_signal(signal.SIGINT)
    on_step(self, trainer)

callbacks.Checkpoint.on_step = on_step
"""

COMMAND = "from chainrule.cli import main; main()"

PICTURES = "import matplotlib.pyplot, PIL.Image, scipy.ndimage, scipy.special"
"""What commands that read or draw pictures import, too, and it takes longer than all else."""

COMMANDS = """
from chainrule.cli import main
for arguments in json.loads(sys.argv[1]):
    try:
        main(arguments)
    except SystemExit as end:
        assert not end.code, arguments
    print(end="\\f")  # between what they print
"""


def pretend(
    system: str, folder: Path, cache: Path, program: str, *arguments: Any, before: str = "", code: int = 0
) -> str:
    """What a program prints where a system lacks what it lacks; `before` that is taken away, another one runs."""
    environment = {
        **os.environ,
        "CHAINRULE_CACHE": str(cache),
        "CHAINRULE_THREADS": "2",
        "MPLBACKEND": "agg",
    }
    if system == "win32":
        environment["PYTHONIOENCODING"] = "cp1252"  # what a pipe takes there
    done = subprocess.run(
        [sys.executable, "-c", f"{before}\n{PRETEND}{program}", system, json.dumps(LACKING[system]), *map(str, arguments)],
        cwd=folder, env=environment, capture_output=True, text=True, encoding="cp1252", timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def linux(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What comes out where nothing is taken away; and the folder for machine code and data."""
    folder = tmp_path_factory.mktemp("linux")
    cache = folder / "cache"
    return {"engine": pretend("linux", folder, cache, ENGINE), "run": train(folder, cache, "linux"), "cache": cache}


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory, linux: dict[str, Any]) -> dict[str, Path]:
    """For each other system a folder of its own for machine code and data, which all of its tests share.

    Windows lacks all that macOS lacks: it is enough that it begins with an empty folder.
    """
    folder = tmp_path_factory.mktemp("caches")
    return {"win32": folder / "win32", "darwin": shutil.copytree(linux["cache"], folder / "darwin")}


def train(folder: Path, cache: Path, system: str) -> tuple[bytes, Any, Any]:
    """A small run's weights, its evaluation, and what it reads in a picture."""
    Image.fromarray(np.pad(np.full((60, 12), 255, np.uint8), 40)).save(folder / "one.png")
    commands = (
        "train --limit 1000 --epochs 2 --out run --keep 1 --quiet",
        "evaluate run --json --mistakes mistakes.png",
        "predict one.png --run run --json",
        "runs .",
    )
    out = pretend(system, folder, cache, COMMANDS, json.dumps([each.split() for each in commands]), before=PICTURES)
    _, evaluation, read, listing, _ = out.split("\f")
    assert (folder / "mistakes.png").stat().st_size > 1000
    assert "run" in listing
    weights = (folder / "run" / "model.safetensors").read_bytes()
    return weights, json.loads(evaluation)["accuracy"], json.loads(read)


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_engine_threads_and_cache(system, tmp_path, caches, linux):
    first = pretend(system, tmp_path, caches[system], ENGINE)
    assert first == linux["engine"]
    kept = {path: path.read_bytes() for path in caches[system].rglob("*") if path.is_file()}
    assert kept
    assert pretend(system, tmp_path, caches[system], ENGINE) == first
    assert {path: path.read_bytes() for path in kept} == kept


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_a_run_is_trained_judged_and_used_to_the_same_bits(system, tmp_path, caches, linux):
    assert train(tmp_path, caches[system], system) == linux["run"]
    assert not [*tmp_path.rglob("*.tmp")]


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_ctrl_c_saves_and_the_run_goes_on_to_the_same_bits(system, tmp_path, caches, linux):
    options = ["train", "--limit", 1000, "--epochs", 2, "--out", "run", "--keep", 1, "--quiet"]
    pretend(system, tmp_path, caches[system], CTRL_C + COMMAND, *options, code=130)
    pretend(system, tmp_path, caches[system], COMMAND, "train", "--resume", "run", "--quiet", before=PICTURES)
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == linux["run"][0]


BROWSER = """
import sys, threading

import numpy, numpy.random  # which find out about the system themselves

sys.platform = "emscripten"
for name in (
    "llvmlite", "lzma", "_lzma", "safetensors", "platformdirs", "filelock", "pooch", "click", "rich", "scipy", "fcntl",
    "resource", "pwd", "multiprocessing", "subprocess", "_posixsubprocess",
):
    sys.modules[name] = None  # to import it is an ImportError

def start(self):
    raise RuntimeError("can't start new thread")

threading.Thread.start = start
"""

DIGITS = """
from chainrule import data
from chainrule.errors import DataError

loader = data.DataLoader(data.TensorDataset(np.arange(6.0).reshape(3, 2)), batch_size=2, prefetch_factor=2)
assert [batch[0].tolist() for batch in loader] == [[[0, 1], [2, 3]], [[4, 5]]]
try:
    data.load("kmnist")
except DataError as error:
    print(error)
"""


def test_in_a_browser_the_same_formulas_run_in_numpy(tmp_path, linux):
    """Python in a browser has no machine code of ours, no threads, no other processes, and few libraries."""
    done = subprocess.run(
        [sys.executable, "-c", f"{BROWSER}\nimport json\n{ENGINE}\n{DIGITS}"],
        cwd=tmp_path, env={**os.environ, "CHAINRULE_CACHE": str(tmp_path / "cache")},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    printed, refusal = done.stdout.splitlines()
    for ours, compiled in zip(json.loads(printed), json.loads(linux["engine"]), strict=True):
        np.testing.assert_allclose(ours, compiled, rtol=1e-5)
    assert refusal == "kmnist is not available in a browser: only a tenth of mnist is"
    assert done.stderr.count("Warning") == 1  # said once: LLVM cannot be used here, so ... run in NumPy, more slowly
    assert "RuntimeWarning: LLVM cannot be used here" in done.stderr


def test_without_the_global_lock_it_is_refused_in_one_sentence():
    program = "import sys; sys._is_gil_enabled = lambda: {}; import chainrule; print(chainrule.zeros(1))"
    for enabled, code in ((True, 0), (False, 1)):
        done = subprocess.run(
            [sys.executable, "-c", program.format(enabled)], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == code, done.stderr
        assert done.stderr.endswith(
            "" if enabled else "ImportError: chainrule needs Python's global lock, which this free-threaded Python runs "
            "without: set PYTHON_GIL=1\n"
        )  # fmt: skip
