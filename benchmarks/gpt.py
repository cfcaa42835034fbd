"""Compare chainrule's GPT with PyTorch's on the same cores: steps, generation, memory, and a whole training run.

    python benchmarks/gpt.py                       everything, about ten minutes
    python benchmarks/gpt.py step generate         a training step on one thread and on two; generation with a cache
    python benchmarks/gpt.py memory                peak memory beyond that after the import
    python benchmarks/gpt.py train --data names --size names --batch 32
    python benchmarks/gpt.py --quick --steps 20    a few rounds, without torch.compile

`train` takes 2,000 steps on the first 90% of a text and prints the loss on the last 10%. All programs start with the
same weights and see the same batches; they run one after the other, on all threads. Each stops after --limit seconds
of training, and says so. Run the script on an otherwise idle machine; `bench.py` says how steps are measured.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bench
import numpy as np
import report

from chainrule import models, save, text

sys.path.insert(0, str(Path(__file__).parent / "programs"))
from gpt_job import Job

if TYPE_CHECKING:
    from collections.abc import Sequence

PARTS = ("step", "generate", "memory", "train")
WAYS = {report.OURS: ["jit"], "PyTorch": ["fused", "torch.compile"]}
"""The variants whose memory is measured."""


def measured(keys: Sequence[str], *, quick: bool) -> dict[str, Any]:
    """Measure works of `bench`, print their table, and return the JSON document."""
    run = bench.Bench(bench.QUICK if quick else bench.FULL, quick=quick)
    outcome = run.run(keys)
    print(bench.show(outcome), flush=True)
    return outcome


def speedup_of_cache(outcome: dict[str, Any]) -> dict[str, float]:
    """The time of generation without a cache divided by the time with a cache, from the rounds of both variants."""
    ours = next(entry for entry in outcome["results"] if entry["key"] == "W9")["peers"][report.OURS]
    return report.ratio(ours["no cache"], ours["jit"])


def memory(*, quick: bool) -> dict[str, dict[str, float]]:
    """The peak memory of a process that takes 30 steps of W8, minus its peak after the import: bytes by variant.

    Of two processes of a variant the second counts: the first may have to compile kernels, which are then on disk.
    """
    run, peaks = bench.Bench(bench.QUICK, quick=quick), {}
    for peer in [peer for peer in run.peers() if peer in WAYS]:
        for way in 2 * WAYS[peer]:
            with run.players("W8", [peer])[0] as player:
                before = 0 if player.imported() else player.peak()
                if run.takes_part(player, way) and way in player.variants:
                    player.block(way, 0, 30)
                    peaks.setdefault(peer, {})[way] = float(player.peak() - before)
    run.machine.close()
    for peer, ways in peaks.items():
        for way, value in ways.items():
            print(f"peak memory of W8 beyond the import: {peer} {way}: {report.amount(value, 'B')}", flush=True)
    return peaks


def training(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Train in each library, one after the other, and print losses and seconds."""
    data = text.load(options.data)
    model = models.build(
        "gpt",
        {"size": options.size, "vocab_size": data.tokenizer.vocab_size},
        generator=np.random.default_rng(options.seed),
    )
    sizes = {name: getattr(model.config, name) for name in ("vocab_size", "block_size", "layers", "heads", "width")}
    programs = [(report.OURS, "our_gpt.py", []), ("PyTorch", "torch_gpt_train.py", ["eager"])]
    if not options.quick:
        programs.append(("PyTorch", "torch_gpt_train.py", ["compile"]))
    records = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "tokens.npy", data.train)
        np.save(folder / "validation.npy", data.validation)
        save(model.state_dict(), folder / "weights.safetensors")
        job = Job(
            *(str(folder / file) for file in ("tokens.npy", "validation.npy", "weights.safetensors")),
            sizes, options.batch, options.steps, options.evaluations, options.limit, options.seed,
        )  # fmt: skip
        (folder / "job.json").write_text(json.dumps(asdict(job)), encoding="utf-8")
        print(f"{data!r}; {sizes}; {options.batch} texts a step", flush=True)
        for library, file, more in programs:
            if library == "PyTorch" and "PyTorch" in bench.missing():
                print("PyTorch: not installed")
                continue
            try:
                seconds, record = bench.program([str(bench.HERE / "programs" / file), str(folder / "job.json"), *more])
            except RuntimeError as error:  # continue with the other programs
                records.append({"library": library, "failed": str(error)})
                print(f"{library} {' '.join(more)}: {error}", flush=True)
                continue
            records.append({"library": library, "process_seconds": seconds, **record})
            print(described(records[-1], options.steps), flush=True)
    return records


def described(record: dict[str, Any], steps: int) -> str:
    """One line about a run: its losses and its seconds."""
    stopped = f" (stopped by --limit before step {steps})" if record["steps"] < steps else ""
    later = (record["seconds"] - record["first"]) / max(1, record["steps"] - 1)
    validation = ", ".join(f"{loss:.4f} at {step:,}" for step, loss in record["evaluations"])
    return (
        f"{record['library']} {record['version']} {record['variant']}: {record['steps']:,} steps{stopped} in "
        f"{record['seconds']:.1f} s, the first in {record['first']:.1f} s and each later one in {later * 1e3:.1f} ms; "
        f"the process {record['process_seconds']:.1f} s; loss {record['initial_loss']:.4f} to {record['loss']:.4f}; "
        f"validation {validation}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write JSON."""
    parser = argparse.ArgumentParser(description="Compare chainrule's GPT with PyTorch's.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"one of {', '.join(PARTS)}  [default: all]")
    parser.add_argument("--quick", action="store_true", help="few rounds, and without torch.compile")
    parser.add_argument("--steps", type=int, default=2000, help="steps of training  [default: 2000]")
    parser.add_argument("--batch", type=int, default=12, help="texts per step of training  [default: 12]")
    parser.add_argument("--data", default="shakespeare", help="a corpus's name or a text file  [default: shakespeare]")
    parser.add_argument("--size", default="shakespeare", help="the size of the model  [default: shakespeare]")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and batches  [default: 0]")
    parser.add_argument("--evaluations", type=int, default=4, help="validation losses during training  [default: 4]")
    parser.add_argument("--limit", type=float, default=300, help="seconds of training per program  [default: 300]")
    parser.add_argument("--json", type=Path, default=bench.BUILD / "gpt.json", help="[default: build/gpt.json]")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.parts) - set(PARTS))
    if unknown:
        parser.error(f"there is no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    for name in ("steps", "batch", "evaluations"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1")
    parts, outcome = options.parts or PARTS, {}
    keys = {"step": ["W8", "W8-2"], "generate": ["W9"]}
    works = [key for part in keys if part in parts for key in keys[part]]
    if works:
        outcome["works"] = measured(works, quick=options.quick)
    if "generate" in parts:
        outcome["cache"] = speedup_of_cache(outcome["works"])
        print("\nwithout the cache, generation takes {ratio:.1f} times as long".format(**outcome["cache"]), flush=True)
    if "memory" in parts:
        outcome["memory"] = memory(quick=options.quick)
    if "train" in parts:
        outcome["training"] = training(options)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(outcome, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"written: {options.json}")
    if any("failed" in record for record in outcome.get("training", ())):
        sys.exit(1)


if __name__ == "__main__":
    main()
