"""Compare chainrule with PyTorch, JAX and scikit-learn on the same cores; prints a table, writes JSON and a figure.

    python benchmarks/bench.py                everything, about twenty-five minutes
    python benchmarks/bench.py W1 W3 growth   selected groups
    python benchmarks/bench.py --quick        most of it with few repeats and no torch.compile, about five minutes

Run it on an otherwise idle machine. Each library runs in its own process, and the processes take turns (see `player`
and `race`). OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE, which on some machines force NumPy to use an old processor's
kernels, are unset; other variables, such as OMP_NUM_THREADS, are kept. Libraries that are not installed are reported
and skipped: pip install -e '.[torch,bench]'.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING, Any

import report
import works
from player import PAUSE, PEERS, Player, environment, play
from race import race

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from race import Measured
    from works import Work

    Pairs = dict[str, list[tuple[float, float]]]  # seconds of two things, run by run, by library

HERE = Path(__file__).parent
BUILD, PICTURES = HERE.parent / "build", HERE.parent / "docs" / "pictures"
MODULES = {"PyTorch": "torch", "JAX": "jax", "scikit-learn": "sklearn"}


@dataclass(frozen=True)
class Effort:
    """How much to measure.

    Attributes:
        rounds: maximum number of blocks of each library.
        seconds: approximate duration of a block.
        limit: seconds after which no further round starts.
        processes: how often whole programs are run.
        seeds: how often MNIST is trained.
    """

    rounds: int
    seconds: float
    limit: float
    processes: int
    seeds: int


FULL, QUICK = Effort(40, 0.08, 60, 5, 5), Effort(2, 0.05, 20, 1, 0)
SIZES = 2
"""Works of the growth table get the rounds and the time of other works divided by this."""


class Bench:
    """One run of the benchmark.

    Attributes:
        effort: how much to measure.
        quick: whether slow variants are omitted.
        results: the result of each work.
        versions: the versions of the libraries that took part.
        skipped: why other libraries were skipped.
        broken: the works that could not be measured.
    """

    def __init__(self, effort: Effort, *, quick: bool = False) -> None:
        self.effort, self.quick = effort, quick
        self.results: dict[str, dict[str, Any]] = {}
        self.versions: dict[str, dict[str, Any]] = {}
        self.skipped = missing()
        self.broken: list[str] = []
        self.machine = Player("machine")
        self.machine.ready()
        self._products: list[list[float]] = []
        self.transforms = ""  # which transforms the article's program used

    def run(self, keys: Sequence[str]) -> dict[str, Any]:
        """Measure works, and return the JSON document."""
        started = time.perf_counter()
        for key in keys:
            work, before = works.WORKS[key], time.perf_counter()
            self._products.append(self.machine.block("product", 0.1))
            try:
                self.results[key] = self._measure(work)
            except RuntimeError as error:  # continue with the other works
                self.results[key] = report.result(work, {}, facts={"could not be measured": str(error)})
                self.broken.append(key)
            print(f"{key}: {time.perf_counter() - before:.0f} s", file=sys.stderr, flush=True)
        self.machine.close()
        return document(self, keys, time.perf_counter() - started)

    @cached_property
    def epochs(self) -> Pairs:
        """The times of the article's program and of `chainrule train`, taking turns, for W4 and W4-process.

        Pairs of the seconds of an epoch and the seconds of a whole process with one epoch.
        """
        pairs: Pairs = {report.OURS: []}
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(self.effort.processes):
                _, several = ours_trained(folder, *ARTICLE, "--epochs", "4")
                seconds, _ = ours_trained(folder, *ARTICLE, "--epochs", "1")
                later = [record["seconds"] for record in several["epochs"][1:]]  # the first epoch includes compilation
                pairs[report.OURS].append((median(later), seconds))
                if "PyTorch" in self.peers():
                    seconds, answer = program([str(HERE / "programs" / "torch_article.py")])
                    pairs.setdefault("PyTorch", []).append((answer["seconds"], seconds))
                    self.transforms = answer["transforms"]
        return pairs

    @cached_property
    def first_calls(self) -> Pairs:
        """The times of the first call of W2's compiled step, in two consecutive processes that share a new cache.

        Only for libraries that can compile it here.
        """
        pairs: Pairs = {}
        for _ in range(min(3, self.effort.processes)):
            for peer in self.peers():
                if peer in FIRST_CALLS:
                    try:
                        pair = first_calls(*FIRST_CALLS[peer])
                        pairs.setdefault(peer, []).append(pair)
                    except RuntimeError:  # there is no C++ compiler
                        if peer == report.OURS:
                            raise
        return pairs

    @property
    def rate(self) -> dict[str, float]:
        """FLOPs per second of NumPy's large matrix product: the median, the lowest and the highest."""
        flops = 2 * 2048**3
        times = [seconds for block in self._products for seconds in block]
        return {"median": flops / median(times), "low": flops / max(times), "high": flops / min(times)}

    def peers(self) -> list[str]:
        """The libraries that take part, starting with ours."""
        return [report.OURS, *(peer for peer in report.PEERS if peer not in self.skipped)]

    def _measure(self, work: Work) -> dict[str, Any]:
        if work.kind == "process":
            return PROCESSES[work.key](self, work)
        peers = [peer for peer in self.peers() if able(peer, work)]
        part = SIZES if work.group in works.GROWTH else 1
        with ExitStack() as stack:
            all_players = [stack.enter_context(player) for player in self.players(work.key, peers)]
            players = [player for player in all_players if self.takes_part(player)]
            rounds, limit = max(2, self.effort.rounds // part), self.effort.limit / part
            measured = race(players, rounds, self.effort.seconds, limit)
            return report.result(work, measured, {player.peer: player.failed for player in players})

    def players(self, key: str, peers: Sequence[str]) -> list[Player]:
        """Start the processes of several libraries for a work; they import their libraries concurrently."""
        settings = {"BENCH_COMPILE": "0" if self.quick else "1"}
        number = works.WORKS[key].threads
        if number:
            settings |= dict.fromkeys(("CHAINRULE_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(number))
        return [Player(peer, key, settings) for peer in peers]

    def takes_part(self, player: Player, only: str = "") -> bool:
        """Wait for a library's process; returns whether the import succeeded, and records the reason if not."""
        reason = player.ready(only)
        if reason:
            self.skipped[player.peer] = reason
            return False
        self.versions.setdefault(player.peer, player.about)  # W8, later, runs on one thread
        return True


def able(peer: str, work: Work) -> bool:
    """Whether a library takes part in a work: sizes, single operations and GPT compare only PyTorch and ours."""
    if work.kind == "chain" or work.model == "gpt" or work.group in works.GROWTH:
        return peer in (report.OURS, "PyTorch")
    return peer != "scikit-learn" or work.model == "mlp"


def missing() -> dict[str, str]:
    """The libraries that are not installed, with the reason."""
    return {peer: "not installed" for peer, module in MODULES.items() if find_spec(module) is None}


def version(peer: str) -> str:
    """The version of a library that took part only in whole programs."""
    try:
        return metadata.version(MODULES.get(peer, peer) if peer != "scikit-learn" else peer)
    except metadata.PackageNotFoundError:
        return "(not installed as a package)"


def document(bench: Bench, keys: Sequence[str], seconds: float) -> dict[str, Any]:
    """The JSON document of all results."""
    return {
        "date": date.today().isoformat(),
        "quick": bench.quick,
        "seconds": round(seconds),
        "machine": bench.machine.about,
        "rate": bench.rate,
        "versions": {peer: bench.versions.get(peer) or {"version": version(peer)} for peer in bench.peers()},
        "skipped": bench.skipped,
        "results": [bench.results[key] for key in keys],
    }


# Whole programs

FIRST_CALLS = {"chainrule": ("ours", "jit"), "PyTorch": ("pytorch", "torch.compile"), "JAX": ("jax_jit", "jit")}
FIRST_CALL = """
import json, os, sys, time
os.environ.update(CHAINRULE_CACHE={folder!r}, TORCHINDUCTOR_CACHE_DIR={folder!r}, BENCH_COMPILE="1")
sys.path.insert(0, {here!r})
import works
from peers import {module} as peer
step = peer.variants(works.WORKS["W2"])[{way!r}]()
begun = time.perf_counter()
step()
print(json.dumps({{"seconds": time.perf_counter() - begun}}))
"""


def first_calls(module: str, way: str) -> tuple[float, float]:
    """The seconds of a step's first call with an empty cache, and with the cache filled by it."""
    with tempfile.TemporaryDirectory() as folder:
        code = FIRST_CALL.format(folder=folder, here=str(HERE), module=module, way=way)
        cold, warm = (program(["-c", code])[1]["seconds"] for _ in range(2))
        return cold, warm


def first_call(bench: Bench, work: Work) -> dict[str, Any]:
    """A step's first call, which compiles it, or loads what the previous process compiled."""
    which, most = (0, 0.7) if work.key == "W2-cold" else (1, 0.1)
    measured = one_of(bench.first_calls, which, {peer: way for peer, (_, way) in FIRST_CALLS.items()})
    ours = median(block[0] for block in measured[report.OURS]["jit"])
    verdict = "within" if ours <= most else "over"
    return report.result(work, measured, facts={report.OURS: f"{verdict} the target of {report.amount(most)}"})


def one_of(pairs: Pairs, which: int, ways: dict[str, str]) -> Measured:
    """The first or the second of each pair, by library and its single variant."""
    return {peer: {ways[peer]: [[pair[which]] for pair in runs]} for peer, runs in pairs.items()}


def program(command: Sequence[str]) -> tuple[float, dict[str, Any]]:
    """Run Python with arguments; returns the seconds and the JSON document that it printed, if any."""
    time.sleep(PAUSE)
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-W", "ignore", *command], env=environment(), capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)[:200]}: ended with {done.returncode}: {done.stderr[-2000:]}")
    return seconds, json.loads(done.stdout or "{}")


def ours_trained(folder: str, *options: str) -> tuple[float, dict[str, Any]]:
    """Run `chainrule train` with a new run folder inside `folder`."""
    run_folder = tempfile.mkdtemp(dir=folder)
    return program(["-m", "chainrule", "train", "--json", "--out", f"{run_folder}/run", *options])


ARTICLE = ["--model", "mlp", "--optimizer", "adam", "--lr", "0.01", "--batch-size", "64"]


def epoch(bench: Bench, work: Work) -> dict[str, Any]:
    """An epoch (ours includes validation), or a whole process with one epoch."""
    which = 0 if work.key == "W4" else 1
    measured = one_of(bench.epochs, which, {report.OURS: "jit", "PyTorch": "as it stands"})
    facts = {"the transforms of PyTorch's pictures": bench.transforms} if bench.transforms and not which else {}
    return report.result(work, measured, facts=facts)


START_UP = {
    "chainrule": """
import chainrule
net = chainrule.nn.Sequential(chainrule.nn.Linear(784, 128), chainrule.nn.ReLU(), chainrule.nn.Linear(128, 10))
net(chainrule.zeros(1, 784)).argmax().item()
""",
    "PyTorch": """
import torch
net = torch.nn.Sequential(torch.nn.Linear(784, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
net(torch.zeros(1, 784)).argmax().item()
""",
    "JAX": """
import jax
from jax import numpy as jnp
keys = jax.random.split(jax.random.key(0))
w1, w2 = jax.random.normal(keys[0], (784, 128)), jax.random.normal(keys[1], (128, 10))
int((jax.nn.relu(jnp.zeros((1, 784)) @ w1 + jnp.zeros(128)) @ w2 + jnp.zeros(10)).argmax())
""",
    "scikit-learn": """
import numpy as np
from sklearn.neural_network import MLPClassifier
images = np.zeros((1, 784), np.float32)
MLPClassifier((128,), batch_size=1).partial_fit(images, [0], classes=range(10)).predict(images)
""",
}


def start_up(bench: Bench, work: Work) -> dict[str, Any]:
    """From process start to the first prediction; scikit-learn's network needs a training step first."""
    return whole(bench, work, {peer: START_UP[peer] for peer in bench.peers()})


def importing(bench: Bench, work: Work) -> dict[str, Any]:
    """The time of the import alone, without an empty process; and ours relative to NumPy's."""
    modules = {report.OURS: "chainrule"} | {peer: MODULES[peer] for peer in bench.peers()[1:]}
    codes = {peer: f"import {module}" for peer, module in modules.items()}
    times = processes(bench, codes | {"nothing": "pass", "NumPy": "import numpy"})
    empty = median(times["nothing"])
    numpy = median(times["NumPy"]) - empty
    measured = {peer: {WAYS[peer]: [[seconds - empty] for seconds in times[peer]]} for peer in codes}
    ours = median(times[report.OURS]) - empty
    facts = {"import chainrule / import numpy": f"{ours / numpy:.2f} (import numpy takes {report.amount(numpy)})"}
    return report.result(work, measured, facts=facts)


WAYS = {"chainrule": "eager", "PyTorch": "eager", "JAX": "jit", "scikit-learn": "MLPClassifier"}


def whole(bench: Bench, work: Work, codes: dict[str, str]) -> dict[str, Any]:
    """Time whole processes that run some lines of Python."""
    times = processes(bench, codes)
    return report.result(work, {peer: {WAYS[peer]: [[seconds] for seconds in times[peer]]} for peer in codes})


def processes(bench: Bench, codes: dict[str, str]) -> dict[str, list[float]]:
    """The seconds of processes that run some lines of Python, taking turns, after a warm-up of the file cache."""
    times: dict[str, list[float]] = {name: [] for name in codes}
    for turn in range(bench.effort.processes + 1):
        for name, code in codes.items():
            seconds, _ = program(["-c", code])
            if turn:
                times[name].append(seconds)
    return times


def to_99(bench: Bench, work: Work) -> dict[str, Any]:
    """Train `quick` by its recipe in both libraries from the same weights; the training time and the accuracy.

    Our step is compiled in advance, as in every work except the first calls.
    """
    scripts = {report.OURS: ("our_recipe.py", "jit"), "PyTorch": ("torch_recipe.py", "channels_last")}
    scripts = {peer: script for peer, script in scripts.items() if peer in bench.peers()}
    measured: Measured = {peer: {way: []} for peer, (_, way) in scripts.items()}
    accuracies: dict[str, list[float]] = {peer: [] for peer in scripts}
    program([str(HERE / "programs" / "our_recipe.py"), "99", "0", "1"])
    for seed in range(bench.effort.seeds):
        for peer, (script, way) in scripts.items():
            _, answer = program([str(HERE / "programs" / script), "99", str(seed)])
            measured[peer][way].append([sum(answer["seconds"])])
            accuracies[peer].append(answer["accuracies"][-1])
    facts = {peer: learned(measured[peer][way], accuracies[peer]) for peer, (_, way) in scripts.items()}
    return report.result(work, measured, facts=facts)


def learned(blocks: Sequence[Sequence[float]], accuracies: Sequence[float]) -> str:
    """Summarize several seeds in a sentence."""
    reached = sum(accuracy >= 0.99 for accuracy in accuracies)
    return (
        f"mean training time {report.amount(mean(block[0] for block in blocks))}, mean test accuracy "
        f"{mean(accuracies):.2%}, at least 99% for {reached} of {len(accuracies)} seeds"
    )


def default_training(bench: Bench, work: Work) -> dict[str, Any]:
    """Whole processes: `chainrule train` with its defaults, and the same network, recipe and images in PyTorch."""
    measured: Measured = {report.OURS: {"jit": []}, "PyTorch": {}}
    accuracies: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(bench.effort.processes):
            seconds, answer = ours_trained(folder, "--seed", str(seed))
            measured[report.OURS]["jit"].append([seconds])
            accuracies.setdefault(report.OURS, []).append(answer["test_accuracy"])
            if "PyTorch" in bench.peers():
                seconds, answer = program([str(HERE / "programs" / "torch_recipe.py"), "train", str(seed)])
                measured["PyTorch"].setdefault("fused", []).append([seconds])
                accuracies.setdefault("PyTorch", []).append(answer["test_accuracy"])
    facts = {
        peer: f"test accuracy {mean(values):.2%} (mean of {len(values)} seeds)" for peer, values in accuracies.items()
    }
    return report.result(work, measured, facts=facts)


def memory(bench: Bench, work: Work) -> dict[str, Any]:
    """The peak memory of processes that take 35 steps of W3: ours compiled, theirs in the variant that needs less.

    Of two processes the second counts: the first may have to compile kernels, which are then on disk.
    """
    ways = {report.OURS: ["jit"], "PyTorch": ["eager", "channels_last"], "JAX": ["jit"]}
    measured: Measured = {}
    for peer in bench.peers():
        for way in 2 * ways.get(peer, []):
            with bench.players("W3", [peer])[0] as player:
                if bench.takes_part(player, way):
                    player.block(way, 0, 30)
                    measured.setdefault(peer, {})[way] = [[player.peak()]]
    return report.result(work, measured)


PROCESSES: dict[str, Callable[[Bench, Work], dict[str, Any]]] = {
    "W2-cold": first_call,
    "W2-warm": first_call,
    "W4": epoch,
    "W4-process": epoch,
    "W6": start_up,
    "W6-import": importing,
    "99": to_99,
    "train": default_training,
    "memory": memory,
}


# The command


def chosen(groups: Sequence[str], *, quick: bool) -> list[str]:
    """The keys of the works in the given groups; default: all groups."""
    left_out = works.NOT_QUICK if quick and not groups else set()
    groups = groups or works.GROUPS
    keys = [work.key for work in works.TABLE if work.group in groups and work.key not in left_out]
    if "growth" in groups:
        sizes = [(work, int(work.key.partition("-")[2])) for row in works.GROWTH.values() for work in row]
        keys += [work.key for work, size in sizes if not quick or size in works.QUICK]
    return keys


def show(outcome: dict[str, Any]) -> str:
    """The report as text."""
    rows = [one for one in outcome["results"] if works.WORKS[one["key"]].group not in works.GROWTH]
    growth = [one for one in outcome["results"] if works.WORKS[one["key"]].group in works.GROWTH]
    parts = [report.header(outcome)]
    if rows:
        parts.append(report.table(rows, outcome["rate"]["median"]))
    if growth:
        parts.append(report.growth_table(growth))
    return "\n\n".join([*parts, report.notes(outcome["results"])]).rstrip()


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the report, and write JSON and figure."""
    parser = argparse.ArgumentParser(description="Compare chainrule with PyTorch, JAX and scikit-learn.")
    parser.add_argument("works", nargs="*", metavar="WORK", help=f"one of {', '.join(works.GROUPS)}  [default: all]")
    parser.add_argument("--quick", action="store_true", help="few repeats, without torch.compile and the slowest works")
    parser.add_argument("--seeds", type=int, help=f"seeds for training to 99%%  [default: {FULL.seeds}]")
    parser.add_argument("--json", type=Path, default=BUILD / "bench.json", help="[default: build/bench.json]")
    parser.add_argument(
        "--picture", type=Path, help="[default: docs/pictures/bench.svg for a complete run, else build/bench.svg]"
    )
    parser.add_argument("--player", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.player:
        peer, key = options.player
        if peer not in PEERS:
            parser.error(f"there is no player {peer!r}")
        play(peer, key)
        return
    unknown = sorted(set(options.works) - set(works.GROUPS))
    if unknown:
        parser.error(f"there is no work {', '.join(unknown)}; there are {', '.join(works.GROUPS)}")
    if options.seeds is not None and options.seeds < 1:
        parser.error("--seeds must be at least 1")
    effort = QUICK if options.quick else FULL
    seeds = options.seeds or max(effort.seeds, 1)
    bench = Bench(replace(effort, seeds=seeds), quick=options.quick)
    outcome = bench.run(chosen(options.works, quick=options.quick))
    complete = not options.works and not options.quick
    picture = options.picture or (PICTURES if complete else BUILD) / "bench.svg"
    for file in (options.json, picture):
        file.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(outcome, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(show(outcome))
    import picture as pictures  # imports matplotlib late, because child processes start from this process's memory

    pictures.save(outcome, picture)
    print(f"\n{outcome['seconds']} s; written: {options.json}, {picture}")
    if bench.broken:
        sys.exit(1)


if __name__ == "__main__":
    main()
