"""`chainrule export`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from chainrule import source
from chainrule.cli.arguments import PathName, check_output
from chainrule.cli.output import print_lines, print_table
from chainrule.errors import UserError
from chainrule.files import atomic_write
from chainrule.models import images_to_inputs
from chainrule.training import run as runs
from chainrule.training.image_task import IMAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chainrule.source import Graph
    from chainrule.training.run import Run


@dataclass(frozen=True)
class Settings:
    """What the options of the command ask for; None where an option is left out.

    Attributes:
        raw: leave the preprocessing and the softmax out.
        opset: the version of ONNX's operators.
    """

    raw: bool
    opset: int | None


@dataclass(frozen=True)
class Exported:
    """What is printed about a written file.

    Attributes:
        summary: the format and its version.
        values: inputs and outputs: ("input" or "output", name, type, shape).
        snippet: how to run the file.
    """

    summary: str
    values: Sequence[tuple[str, str, str, str]]
    snippet: Sequence[str]


@dataclass(frozen=True)
class Format:
    """A format to export to.

    Attributes:
        write: writes a run's network to a path; returns what to print about it.
        options: the options of the command that it has a use for, besides --raw.
    """

    write: Callable[[Run, Path, Settings], Exported]
    options: tuple[str, ...] = ()


def _write_onnx(run: Run, path: Path, settings: Settings) -> Exported:
    try:
        from chainrule import onnx  # an extra, which imports the library of that name
    except ImportError as error:
        raise UserError(str(error)) from None
    network, raw = run.load_network(), settings.raw
    opset = 20 if settings.opset is None else settings.opset
    options: dict[str, Any] = {"opset": opset, "postprocess": None if raw else run.model.probabilities}
    output = "logits" if raw else "probabilities"
    if run.task is IMAGES:
        shape = run.config["data"]["image_shape"]
        example = np.zeros((1, *shape), np.float32 if raw else np.uint8)
        input_names, options["preprocess"] = ["images"], None if raw else images_to_inputs
    else:
        example = np.zeros((1, vars(network)["block_size"]), np.int64)
        input_names, options["dynamic"] = ["tokens"], {"batch": 0, "time": 1}
    onnx.export(network, path, example, input_names=input_names, output_names=[output], **options)
    name = input_names[0]
    return Exported(
        f"ONNX opset {opset}, evaluation mode",
        onnx.describe(path),
        [
            "import onnxruntime",
            f"session = onnxruntime.InferenceSession({path.as_posix()!r})",
            f'{output} = session.run(None, {{"{name}": {name}}})[0]',
        ],
    )


def _record(run: Run, settings: Settings, batches: Sequence[int]) -> list[Graph]:
    """Record a run's network for each size of a batch, with pre- and postprocessing unless they are left out."""
    network = run.load_network()
    if run.task is IMAGES:
        shape, dtype = tuple(run.config["data"]["image_shape"]), np.dtype(np.float32 if settings.raw else np.uint8)
    else:
        shape, dtype = (vars(network)["block_size"],), np.dtype(np.int64)
    before = [images_to_inputs] if run.task is IMAGES and not settings.raw else []
    after = [] if settings.raw else [run.model.probabilities]
    return [source.record(network, np.zeros((n, *shape), dtype), *before, network, *after) for n in batches]


def _write_source(
    path: Path, settings: Settings, graph: Graph, text: str, summary: str, snippet: Sequence[str]
) -> Exported:
    with atomic_write(path) as file:
        file.write(text.encode())
    output = "logits" if settings.raw else "probabilities"
    values = [
        (kind, name, node.dtype.name, "(" + ", ".join(["batch", *map(str, node.shape[1:])]) + ")")
        for kind, name, node in (("input", "x", graph.input), ("output", output, graph.output))
    ]
    return Exported(summary, values, snippet)


def _classes(run: Run) -> list[str]:
    return run.config["data"]["classes"] if run.task is IMAGES else []


def _write_python(run: Run, path: Path, settings: Settings) -> Exported:
    small, large = _record(run, settings, (2, 3))
    text = source.write_numpy(small, large, f"The trained model {run.model.name}, in evaluation mode.", _classes(run))
    module = path.stem if path.stem.isidentifier() else "..."
    snippet = [f"from {module} import predict", "probabilities = predict(x)"]
    return _write_source(path, settings, small, text, "Python with NumPy, evaluation mode", snippet)


def _write_c(run: Run, path: Path, settings: Settings) -> Exported:
    (graph,), name = _record(run, settings, (1,)), source.c_name(path.stem)
    text = source.write_c(graph, f"The trained model {run.model.name}, in evaluation mode.", name, _classes(run))
    snippet = [f'#include "{path.name}"', f"{name}_predict(x, y);  /* one example; link with -lm */"]
    return _write_source(path, settings, graph, text, "C99, evaluation mode", snippet)


FORMATS: dict[str, Format] = {
    ".onnx": Format(_write_onnx, options=("opset",)),
    ".py": Format(_write_python),
    ".h": Format(_write_c),
}
"""The formats by file extension."""


@click.command(
    epilog="""\b
Examples:
  chainrule export shipped digits.onnx
  chainrule export shipped digits.py
  chainrule export runs/first-try digits.h
  chainrule export runs/first-try model.onnx --raw --opset 17"""
)
@click.argument("run", type=PathName())
@click.argument("file", type=PathName())
@click.option(
    "--raw",
    is_flag=True,
    help="Leave out the preprocessing of images and the softmax: floats from 0 to 1 in, logits out.",
)
@click.option("--opset", type=int, metavar="N", help="For ONNX: the version of its operators, 13 to 23.  [default: 20]")
def export(run: str, file: str, raw: bool, opset: int | None) -> None:
    """Write a trained model as a file that runs without chainrule.

    RUN is a run's folder, or a folder of runs (the newest is used); "shipped" is the pretrained network. The extension
    of FILE is the format: .onnx for onnxruntime and other runtimes, .py for a file that needs NumPy alone, .h for a C
    header.

    By default the file takes what a user has, bytes of images (N, H, W), and gives the probability of each class.
    """
    check_output(file, "model", FORMATS)
    path = Path(file)
    target = FORMATS[path.suffix.lower()]
    settings = Settings(raw, opset)
    for option in ("opset",):
        if getattr(settings, option) is not None and option not in target.options:
            raise UserError(f"{file}: --{option} is not for {path.suffix} files")
    try:
        exported = target.write(runs.find(run), path, settings)
    except ValueError as error:  # an option's value that does not fit
        raise UserError(str(error)) from None
    print_lines(f"wrote {file} ({path.stat().st_size:,} bytes): {exported.summary}")
    print_table(exported.values)
    print_lines("to run it:", *("  " + line for line in exported.snippet))
