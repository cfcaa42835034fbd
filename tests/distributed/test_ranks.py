"""`mpiexec -n R`: the same bits for any R, refusals before training, and failures that end all ranks."""

from __future__ import annotations

import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from chainrule.data import idx
from chainrule.data.image_data import FILES
from chainrule.training import checkpoint

pytestmark = pytest.mark.slow  # each starts several processes

CASES, DRIVER = Path(__file__).with_name("cases.py"), Path(__file__).with_name("driver.py")
TRAIN = ["train", "--epochs", "4", "--batch-size", "40", "--seed", "2", "--quiet"]  # 7 steps an epoch


@pytest.fixture(scope="module")
def data(tmp_path_factory, digits):
    folder = tmp_path_factory.mktemp("data")
    for name, array in zip(
        FILES, (digits.train_images, digits.train_labels, digits.test_images, digits.test_labels), strict=True
    ):
        idx.write(folder / name, array)
    return folder


def run_alone(*arguments, folder):
    environment = {**os.environ, "CHAINRULE_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )


@pytest.fixture(scope="module")
def never_stopped(tmp_path_factory, data):
    """A run in shards of one process, without MPI."""
    folder = tmp_path_factory.mktemp("alone")
    run_alone("-m", "chainrule", *TRAIN, "--data", data, "--shards", "8", "--out", "run", folder=folder)
    return bits(folder / "run")


def bits(folder):
    """The reproducible parts of a run: best weights, and weights and optimizer of the last state."""
    state = checkpoint.load(folder / "checkpoint" / checkpoint.FILE_NAME)
    arrays = {name: np.asarray(tensor).tobytes() for name, tensor in state["network"].items()}
    for position, entries in state["optimizer"]["state"].items():
        arrays |= {f"{position}.{name}": np.asarray(value).tobytes() for name, value in entries.items()}
    return (folder / "model.safetensors").read_bytes(), arrays, state["generators"], state["progress"]["epoch"]


def resume(start, ranks, folder, job_folder):
    """Resume a run with a number of ranks."""
    copy = shutil.copytree(folder, job_folder / "resumed")
    job = start(ranks, "-m", "chainrule", "train", "--resume", copy, "--quiet")
    assert job.wait() == 0, job.sentences
    return bits(copy)


def test_the_same_bits_for_any_number_of_ranks(start, tmp_path):
    alone = [line.split() for line in run_alone(CASES, folder=tmp_path).stdout.splitlines()]
    assert len(alone) == 4
    for ranks in (2, 4):
        job = start(ranks, CASES)
        assert job.wait() == 0, job.sentences
        lines = [line.split() for line in job.out.splitlines()]
        for (*case, digest, epochs), line in zip(alone, lines, strict=True):
            assert line == [*case, *[digest] * ranks, epochs]
            assert epochs == "3"


def test_two_ranks_train_as_one_and_rank_0_alone_writes(start, data, never_stopped):
    job = start(2, "-m", "chainrule", *TRAIN, "--data", data, "--out", "run")
    assert job.wait() == 0, job.sentences
    folder = job.out_file.parent
    assert bits(folder / "run") == never_stopped
    assert job.sentences == []
    assert job.out.count("test accuracy") == 1
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    names = (
        "config.json",
        "metrics.jsonl",
        "model.safetensors",
        "checkpoint/state.safetensors",
        "result.json",
        "curves.png",
    )
    assert files == {"out.txt", "err.txt", *(f"run/{name}" for name in names)}


@pytest.fixture(scope="module")
def fine_tuned(tmp_path_factory, data):
    """A folder with a run, and a run of one process from its weights, in shards, with the arguments for the latter."""
    folder = tmp_path_factory.mktemp("fine-tuned")
    run_alone("-m", "chainrule", *TRAIN, "--data", data, "--epochs", 1, "--out", "source", folder=folder)
    arguments = [*TRAIN, "--data", data, "--from", folder / "source", "--freeze", "1", "--keep", "9"]
    run_alone("-m", "chainrule", *arguments, "--shards", "8", "--out", "run", folder=folder)
    return folder, arguments


@pytest.mark.parametrize("is_resumed", [False, True], ids=["new", "resumed"])
def test_two_ranks_train_from_the_weights_of_another_run_as_one_does(start, fine_tuned, tmp_path, is_resumed):
    """The second rank reads these weights as well, from its own copy of the run, which it removes."""
    folder, arguments = fine_tuned
    target, scratch = tmp_path / "run", tmp_path / "scratch"
    scratch.mkdir()
    options = [*arguments, "--out", target]
    if is_resumed:
        shutil.copytree(folder / "run", target)
        options = ["train", "--quiet", "--resume", target, "--epoch", "2"]
    job = start(2, "-m", "chainrule", *options, TMPDIR=str(scratch))
    assert job.wait() == 0, job.sentences
    assert job.sentences == []
    assert bits(target) == bits(folder / "run")
    assert (target / "start.safetensors").read_bytes() == (folder / "source" / "model.safetensors").read_bytes()
    assert not list(scratch.glob("chainrule-rank-*"))


def steps(folder):
    file = folder / "checkpoint" / checkpoint.FILE_NAME
    try:
        progress = checkpoint.load(file)["progress"]
    except Exception:
        return 0
    return progress["epoch"] * 7 + progress["step"]


def start_slowly(start, ranks, data, event="slow", **environment):
    """Start a training whose steps take a while, and wait until it has taken some."""
    job = start(ranks, DRIVER, event, *TRAIN, "--data", data, "--out", "run", **environment)
    folder = job.out_file.parent / "run"
    end = time.monotonic() + 60
    while steps(folder) < 3:
        assert job.process.poll() is None, job.sentences
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)
    return job, folder


def process_ids(folder):
    """The process of each rank, which the driver has written down."""
    return [int((folder.parent / f"rank-{rank}.pid").read_text()) for rank in range(4)]


def test_ctrl_c_stops_all_after_a_step_and_other_ranks_resume(start, data, never_stopped, tmp_path):
    job, folder = start_slowly(start, 4, data)
    job.process.send_signal(signal.SIGINT)
    assert job.wait(10) == 130
    first, second = job.sentences
    assert first == "stopping after this step (Ctrl-C again quits immediately)"
    assert second.startswith("stopped in epoch ")
    assert second.endswith("; resume with: chainrule train --resume run")
    assert resume(start, 2, folder, tmp_path) == never_stopped


@pytest.mark.parametrize("rank", [0, 2])
def test_a_killed_rank_ends_all(start, data, never_stopped, tmp_path, rank):
    job, folder = start_slowly(start, 4, data)
    os.kill(process_ids(folder)[rank], signal.SIGKILL)
    assert job.wait(10) != 0
    assert job.sentences == [
        "chainrule: a process was killed, so all ranks ended; resume from the last checkpoint with: "
        "chainrule train --resume run"
    ]
    assert_all_ended(folder)
    if rank:
        assert resume(start, 1, folder, tmp_path) == never_stopped


def assert_all_ended(folder):
    end = time.monotonic() + 5
    for process in process_ids(folder):
        while Path(f"/proc/{process}").exists():
            assert time.monotonic() < end, "a rank still runs"
            time.sleep(0.02)


@pytest.mark.parametrize("rank", [0, 3])
def test_a_stopped_rank_ends_all_within_ten_seconds(start, data, rank):
    job, folder = start_slowly(start, 4, data)
    os.kill(process_ids(folder)[rank], signal.SIGSTOP)
    assert job.wait(10) == 1
    (sentence,) = job.sentences
    host = platform.node()
    assert re.fullmatch(
        rf"chainrule: rank {rank} \({host}\) has not answered for \d s: it was killed or stopped, or its network is "
        "down; resume from the last checkpoint with: chainrule train --resume run",
        sentence,
    )
    assert_all_ended(folder)


def test_a_rank_that_hangs_ends_all_and_the_last_step_is_saved(start, data, never_stopped, tmp_path):
    job, folder = start_slowly(start, 4, data, "hang 12 1")
    assert job.wait(15) == 1
    (sentence,) = job.sentences
    assert re.search(r"rank 1 \(.*\) has been in one training step for \d s: it is stuck; resume", sentence)
    assert steps(folder) == 12
    assert resume(start, 2, folder, tmp_path) == never_stopped


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        ("error", "chainrule: internal error; please report it with the traceback above"),
        ("user", f"chainrule: rank 1 ({platform.node()}): a file has become shorter"),
    ],
)
def test_a_rank_with_an_error_of_its_own_ends_all_and_the_last_step_is_saved(start, data, event, sentence):
    job, folder = start_slowly(start, 2, data, f"{event} 9 1")
    assert job.wait(10) == 1
    assert job.sentences[-1].startswith(f"chainrule: rank 1 ({platform.node()}) ended before the others; resume")
    assert sentence in job.sentences
    assert steps(folder) == 9


@pytest.mark.parametrize(
    ("ranks", "event", "options", "sentence"),
    [
        (3, "none", [], "3 ranks cannot share 8 shards equally: start one of 1, 2, 4, 8 ranks, or choose another "
         "number of shards, a multiple of the ranks"),
        (2, "version", [], "the ranks differ in the version of numpy: NUMPY on rank 0 (HOST), 1.0 on rank 1 (HOST); it "
         "must be the same on all"),
        (2, "data", [], "the ranks differ in the data.crc32 of the config: "),
        (2, "missing data", [], "rank 1 (HOST): there are no such images"),
        (2, "none", ["--nonsense"], "chainrule: no such option '--nonsense'"),
    ],
)  # fmt: skip
def test_ranks_that_disagree_are_refused(start, data, ranks, event, options, sentence):
    arguments = [*TRAIN, "--data", data, "--out", "run", *options]
    job = start(ranks, DRIVER, event, *arguments)
    assert job.wait() == 2
    expected = sentence.replace("HOST", platform.node()).replace("NUMPY", np.__version__)
    assert [expected in line for line in job.sentences].count(True) == 1, job.sentences
    if "--nonsense" not in options:
        assert len(job.sentences) == 1
    assert not (job.out_file.parent / "run").exists()


def test_a_launcher_without_mpi4py(start, data, tmp_path):
    stub = tmp_path / "stub" / "mpi4py"
    stub.mkdir(parents=True)
    (stub / "__init__.py").write_text("raise ImportError(\"No module named 'mpi4py'\")")
    path = os.pathsep.join([str(stub.parent), os.environ.get("PYTHONPATH", "")])
    job = start(2, "-m", "chainrule", *TRAIN, "--data", data, PYTHONPATH=path)
    assert job.wait() == 2
    assert job.sentences == [
        "chainrule: this process was started by an MPI launcher, but mpi4py cannot be imported (No module named "
        "'mpi4py'): install it with: pip install 'chainrule[mpi]'"
    ]


LOOP = """
import sys, numpy as np, chainrule
from chainrule import distributed, nn, optim
network = nn.Linear(6, 2)
distributed.broadcast(network)
optimizer = optim.SGD(network.parameters(), 0.5)
@chainrule.jit
def gradients(x, y):
    optimizer.zero_grad()
    ((network(x) - y) ** 2).mean().backward()
rng = np.random.default_rng(5)
before = network.weight.detach().numpy().astype(float)
x, y = rng.standard_normal((9, 6)).astype("float32"), rng.standard_normal((9, 2)).astype("float32")
rows = [slice(0, 2), slice(2, 6), slice(6, 9)][distributed.rank()] if distributed.world_size() > 1 else slice(9)
gradients(chainrule.tensor(x[rows]), chainrule.tensor(y[rows]))
distributed.average_gradients(network, weight=len(x[rows]))
optimizer.step()
error = x @ before.T + (network.bias.detach().numpy() + 0.5 * network.bias.grad.numpy()) - y
expected = before - 0.5 * 2 * error.T @ x / error.size
assert abs(network.weight.detach().numpy() - expected).max() < 1e-6
sys.stdout.write(network.weight.detach().numpy().tobytes().hex() + "\\n")  # at once: ranks share it
"""


def test_a_loop_of_ones_own(start, tmp_path):
    """Three ranks with 2, 4 and 3 examples: the gradient of all 9, and the same bits on each rank."""
    (tmp_path / "loop.py").write_text(LOOP)
    job = start(3, tmp_path / "loop.py")
    assert job.wait() == 0, job.sentences
    lines = job.out.split()
    assert len(lines) == 3
    assert len(set(lines)) == 1
    assert run_alone(tmp_path / "loop.py", folder=tmp_path).stdout
