"""chainrule beside PyTorch, JAX and scikit-learn on the same cores, in one run: one table, also as JSON and a picture.

    python benchmarks/bench.py                everything, some twenty-five minutes
    python benchmarks/bench.py W1 W3 growth   some of it
    python benchmarks/bench.py --quick        most of it with few repeats and no torch.compile, in some five minutes

Quiet cores, please: whatever else runs on them is measured too. Each library works in a process of its own, and the
processes take turns (see `player` and `race`). OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE, which hold NumPy to an old
processor's kernels on some machines, are unset for all of them; other variables, such as OMP_NUM_THREADS, are left as
they are. A library that is not installed is named and skipped: pip install -e '.[torch,bench]'.
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
    """How much is measured.

    Attributes:
        rounds: blocks of each library, at the most.
        seconds: about how long a block takes.
        limit: seconds after which no further round is begun.
        processes: how often whole programs are run.
        seeds: how often MNIST is learned.
    """

    rounds: int
    seconds: float
    limit: float
    processes: int
    seeds: int


FULL, QUICK = Effort(40, 0.08, 60, 5, 5), Effort(2, 0.05, 20, 1, 0)
SIZES = 2
"""A size has so small a part of the rounds and the time of other works."""


class Bench:
    """One run of the benchmark.

    Attributes:
        effort: how much is measured.
        quick: whether what takes long is left out.
        results: what each work came to.
        versions: of the libraries that took part.
        skipped: why the others did not.
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
        self.transforms = ""  # of the article's program

    def run(self, keys: Sequence[str]) -> dict[str, Any]:
        """Measure works, and return the JSON document."""
        started = time.perf_counter()
        for key in keys:
            work, before = works.WORKS[key], time.perf_counter()
            self._products.append(self.machine.block("product", 0.1))
            try:
                self.results[key] = self._measure(work)
            except RuntimeError as error:  # the other works are worth having all the same
                self.results[key] = report.result(work, {}, facts={"could not be measured": str(error)})
                self.broken.append(key)
            print(f"{key}: {time.perf_counter() - before:.0f} s", file=sys.stderr, flush=True)
        self.machine.close()
        return document(self, keys, time.perf_counter() - started)

    @cached_property
    def epochs(self) -> Pairs:
        """An epoch of the article's program, as it stands and by `chainrule train`, in turn, for W4 and W4-process.

        The seconds of an epoch, and those of a process that does nothing else.
        """
        found: Pairs = {report.OURS: []}
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(self.effort.processes):
                _, several = ours_trained(folder, *ARTICLE, "--epochs", "4")
                seconds, _ = ours_trained(folder, *ARTICLE, "--epochs", "1")
                later = [record["seconds"] for record in several["epochs"][1:]]  # the first one also compiles
                found[report.OURS].append((median(later), seconds))
                if "PyTorch" in self.peers():
                    seconds, told = program([str(HERE / "programs" / "torch_article.py")])
                    found.setdefault("PyTorch", []).append((told["seconds"], seconds))
                    self.transforms = told["transforms"]
        return found

    @cached_property
    def first_calls(self) -> Pairs:
        """The first call of W2's step, compiled, in two processes one after the other that share a new cache.

        Of the libraries that can compile it here.
        """
        found: Pairs = {}
        for _ in range(min(3, self.effort.processes)):
            for peer in self.peers():
                if peer in FIRST_CALLS:
                    try:
                        pair = first_calls(*FIRST_CALLS[peer])
                        found.setdefault(peer, []).append(pair)
                    except RuntimeError:  # there is no C++ compiler
                        if peer == report.OURS:
                            raise
        return found

    @property
    def rate(self) -> dict[str, float]:
        """FLOPs a second of NumPy's large product: the median, the lowest and the highest."""
        flops = 2 * 2048**3
        times = [seconds for block in self._products for seconds in block]
        return {"median": flops / median(times), "low": flops / max(times), "high": flops / min(times)}

    def peers(self) -> list[str]:
        """The libraries that take part, ours first."""
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
        """Libraries that begin to get ready for a work, side by side."""
        settings = {"BENCH_COMPILE": "0" if self.quick else "1"}
        number = works.WORKS[key].threads
        if number:
            settings |= dict.fromkeys(("CHAINRULE_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(number))
        return [Player(peer, key, settings) for peer in peers]

    def takes_part(self, player: Player, only: str = "") -> bool:
        """Wait for a library; whether it could be imported. Noted, if not."""
        reason = player.ready(only)
        if reason:
            self.skipped[player.peer] = reason
            return False
        self.versions[player.peer] = player.about
        return True


def able(peer: str, work: Work) -> bool:
    """Whether a library can do a work, and is asked to: sizes, single operations, texts are between PyTorch and us."""
    if work.kind == "chain" or work.model == "gpt" or work.group in works.GROWTH:
        return peer in (report.OURS, "PyTorch")
    return peer != "scikit-learn" or work.model == "mlp"


def missing() -> dict[str, str]:
    """The libraries that are not installed."""
    return {peer: "not installed" for peer, module in MODULES.items() if find_spec(module) is None}


def version(peer: str) -> str:
    """Of a library that took part by whole programs only."""
    try:
        return metadata.version(MODULES.get(peer, peer) if peer != "scikit-learn" else peer)
    except metadata.PackageNotFoundError:
        return "(not installed as a package)"


def document(bench: Bench, keys: Sequence[str], seconds: float) -> dict[str, Any]:
    """All that was found, as JSON keeps it."""
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
    """The seconds of a step's first call with an empty cache, and with what that left."""
    with tempfile.TemporaryDirectory() as folder:
        code = FIRST_CALL.format(folder=folder, here=str(HERE), module=module, way=way)
        cold, warm = (program(["-c", code])[1]["seconds"] for _ in range(2))
        return cold, warm


def first_call(bench: Bench, work: Work) -> dict[str, Any]:
    """A step's first call, which compiles it, or finds it compiled by the process before."""
    which, most = (0, 0.7) if work.key == "W2-cold" else (1, 0.1)
    measured = one_of(bench.first_calls, which, {peer: way for peer, (_, way) in FIRST_CALLS.items()})
    ours = median(block[0] for block in measured[report.OURS]["jit"])
    kept = "within" if ours <= most else "over"
    return report.result(work, measured, facts={report.OURS: f"{kept} the {report.amount(most)} that it may take"})


def one_of(pairs: Pairs, which: int, ways: dict[str, str]) -> Measured:
    """The first or the second of each pair, by library and the one way it has to do a work."""
    return {peer: {ways[peer]: [[pair[which]] for pair in found]} for peer, found in pairs.items()}


def program(command: Sequence[str]) -> tuple[float, dict[str, Any]]:
    """Run Python with arguments; the seconds it took and the JSON document that it printed, if any."""
    time.sleep(PAUSE)
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-W", "ignore", *command], env=environment(), capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)[:200]}: ended with {done.returncode}: {done.stderr[-2000:]}")
    return seconds, json.loads(done.stdout or "{}")


def ours_trained(folder: str, *options: str) -> tuple[float, dict[str, Any]]:
    """Run `chainrule train`, in a new folder inside `folder`."""
    place = tempfile.mkdtemp(dir=folder)
    return program(["-m", "chainrule", "train", "--json", "--out", f"{place}/run", *options])


ARTICLE = ["--model", "mlp", "--optimizer", "adam", "--lr", "0.01", "--batch-size", "64"]


def epoch(bench: Bench, work: Work) -> dict[str, Any]:
    """An epoch, validation included on our side; or the whole process of one, start to end."""
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
    """From nothing to the first prediction; scikit-learn's network needs a step of training before that."""
    return whole(bench, work, {peer: START_UP[peer] for peer in bench.peers()})


def importing(bench: Bench, work: Work) -> dict[str, Any]:
    """Imports alone, less an empty process; and ours in imports of NumPy."""
    modules = {report.OURS: "chainrule"} | {peer: MODULES[peer] for peer in bench.peers()[1:]}
    codes = {peer: f"import {module}" for peer, module in modules.items()}
    taken = processes(bench, codes | {"nothing": "pass", "NumPy": "import numpy"})
    empty = median(taken["nothing"])
    numpy = median(taken["NumPy"]) - empty
    measured = {peer: {WAYS[peer]: [[seconds - empty] for seconds in taken[peer]]} for peer in codes}
    ours = median(taken[report.OURS]) - empty
    facts = {"import chainrule, in imports of NumPy": f"{ours / numpy:.2f} ({report.amount(numpy)} each)"}
    return report.result(work, measured, facts=facts)


WAYS = {"chainrule": "eager", "PyTorch": "eager", "JAX": "jit", "scikit-learn": "MLPClassifier"}


def whole(bench: Bench, work: Work, codes: dict[str, str]) -> dict[str, Any]:
    """Whole processes, each of which runs some lines of Python."""
    taken = processes(bench, codes)
    return report.result(work, {peer: {WAYS[peer]: [[seconds] for seconds in taken[peer]]} for peer in codes})


def processes(bench: Bench, codes: dict[str, str]) -> dict[str, list[float]]:
    """The seconds of processes that run some lines of Python, in turn, after one of each to warm up the files."""
    taken: dict[str, list[float]] = {name: [] for name in codes}
    for turn in range(bench.effort.processes + 1):
        for name, code in codes.items():
            seconds, _ = program(["-c", code])
            if turn:
                taken[name].append(seconds)
    return taken


def to_99(bench: Bench, work: Work) -> dict[str, Any]:
    """Train `quick` by its recipe on both sides, from the same weights; the seconds of training, and the accuracy.

    Our step is compiled before, as in every work but the first calls.
    """
    scripts = {report.OURS: ("our_recipe.py", "jit"), "PyTorch": ("torch_recipe.py", "channels_last")}
    scripts = {peer: script for peer, script in scripts.items() if peer in bench.peers()}
    measured: Measured = {peer: {way: []} for peer, (_, way) in scripts.items()}
    accuracies: dict[str, list[float]] = {peer: [] for peer in scripts}
    program([str(HERE / "programs" / "our_recipe.py"), "99", "0", "1"])
    for seed in range(bench.effort.seeds):
        for peer, (script, way) in scripts.items():
            _, found = program([str(HERE / "programs" / script), "99", str(seed)])
            measured[peer][way].append([sum(found["seconds"])])
            accuracies[peer].append(found["accuracies"][-1])
    facts = {peer: learned(measured[peer][way], accuracies[peer]) for peer, (_, way) in scripts.items()}
    return report.result(work, measured, facts=facts)


def learned(blocks: Sequence[Sequence[float]], accuracies: Sequence[float]) -> str:
    """What came of several seeds, in words."""
    reached = sum(accuracy >= 0.99 for accuracy in accuracies)
    return (
        f"mean {report.amount(mean(block[0] for block in blocks))} of training, test accuracy {mean(accuracies):.2%} "
        f"(mean), at least 99% for {reached} of {len(accuracies)} seeds"
    )


def default_training(bench: Bench, work: Work) -> dict[str, Any]:
    """`chainrule train` as it is, and the same network, recipe and images in PyTorch: whole processes."""
    measured: Measured = {report.OURS: {"jit": []}, "PyTorch": {}}
    accuracies: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(bench.effort.processes):
            seconds, found = ours_trained(folder, "--seed", str(seed))
            measured[report.OURS]["jit"].append([seconds])
            accuracies.setdefault(report.OURS, []).append(found["test_accuracy"])
            if "PyTorch" in bench.peers():
                seconds, found = program([str(HERE / "programs" / "torch_recipe.py"), "train", str(seed)])
                measured["PyTorch"].setdefault("fused", []).append([seconds])
                accuracies.setdefault("PyTorch", []).append(found["test_accuracy"])
    facts = {
        peer: f"test accuracy {mean(found):.2%} (mean of {len(found)} seeds)" for peer, found in accuracies.items()
    }
    return report.result(work, measured, facts=facts)


def memory(bench: Bench, work: Work) -> dict[str, Any]:
    """The most memory of processes that take 35 steps of W3: ours compiled, as it is timed; theirs in the smaller way.

    Of two processes the second counts: the first may have had to compile kernels, which are then on disk.
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
    """The keys of the works in these groups, or in all of them."""
    left_out = works.NOT_QUICK if quick and not groups else set()
    groups = groups or works.GROUPS
    keys = [work.key for work in works.TABLE if work.group in groups and work.key not in left_out]
    if "growth" in groups:
        sizes = [(work, int(work.key.partition("-")[2])) for row in works.GROWTH.values() for work in row]
        keys += [work.key for work, size in sizes if not quick or size in works.QUICK]
    return keys


def show(found: dict[str, Any]) -> str:
    """The whole report."""
    rows = [one for one in found["results"] if works.WORKS[one["key"]].group not in works.GROWTH]
    growth = [one for one in found["results"] if works.WORKS[one["key"]].group in works.GROWTH]
    parts = [report.header(found)]
    if rows:
        parts.append(report.table(rows, found["rate"]["median"]))
    if growth:
        parts.append(report.growth_table(growth))
    return "\n\n".join([*parts, report.notes(found["results"])]).rstrip()


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description="chainrule beside PyTorch, JAX and scikit-learn on the same cores.")
    parser.add_argument("works", nargs="*", metavar="WORK", help=f"of {', '.join(works.GROUPS)}; all if left out")
    parser.add_argument(
        "--quick", action="store_true", help="few repeats, without torch.compile and what takes longest"
    )
    parser.add_argument("--seeds", type=int, help=f"how often MNIST is learned to 99%%  [default: {FULL.seeds}]")
    parser.add_argument("--json", type=Path, default=BUILD / "bench.json", help="[default: build/bench.json]")
    parser.add_argument(
        "--picture", type=Path, help="[default: docs/pictures/bench.svg if all is measured, else in build]"
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
    found = bench.run(chosen(options.works, quick=options.quick))
    complete = not options.works and not options.quick
    picture = options.picture or (PICTURES if complete else BUILD) / "bench.svg"
    for file in (options.json, picture):
        file.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(show(found))
    import picture as pictures  # matplotlib, only now: the children's memory is counted from this process's

    pictures.save(found, picture)
    print(f"\n{found['seconds']} s; written: {options.json}, {picture}")
    if bench.broken:
        sys.exit(1)


if __name__ == "__main__":
    main()
