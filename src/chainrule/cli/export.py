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
from chainrule.data.tables import ClassTarget
from chainrule.errors import UserError, join_names
from chainrule.files import atomic_write
from chainrule.models import images_to_inputs
from chainrule.tensor import from_numpy
from chainrule.training import run as runs
from chainrule.training.image_task import IMAGES
from chainrule.training.table_task import TableTask

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from chainrule.data.tables import NumberTarget
    from chainrule.nn import Module
    from chainrule.source import Graph
    from chainrule.tensor import Tensor
    from chainrule.training.run import Run


@dataclass(frozen=True)
class ExportOptions:
    """The values of the command's options; None where one is left out.

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
        inputs: what each number of an example means, if it is a row of a table.
    """

    summary: str
    values: Sequence[tuple[str, str, str, str]]
    snippet: Sequence[str]
    inputs: Sequence[str] = ()


@dataclass(frozen=True)
class ExportFormat:
    """A format to export to.

    Attributes:
        write: writes a run's network to a path; returns what to print about it.
        options: the options of the command that apply to this format, besides --raw.
    """

    write: Callable[[Run, Path, ExportOptions], Exported]
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Interface:
    """The input and output of a written file.

    Attributes:
        shape: the shape of one example.
        dtype: the type of the examples' numbers.
        input: the name of the input.
        output: the name of the output.
        before: preprocessing, from the file's input to the network's; None for none.
        after: postprocessing, from the network's output to the file's; None for none.
        dynamic: dimensions of any size (see `onnx.export`).
        inputs: what each number of an example means; empty for pixels and tokens.
        classes: what each number of a result means; empty for tokens and numbers.
    """

    shape: tuple[int, ...]
    dtype: type[Any]
    input: str
    output: str
    before: Callable[[Tensor], Tensor] | None
    after: Callable[[Tensor], Tensor] | None
    dynamic: dict[str, int]
    inputs: Sequence[str] = ()
    classes: Sequence[str] = ()


def _interface(run: Run, network: Module, raw: bool) -> Interface:
    """Return the input and output of a file with a run's network."""
    section, output = run.config["data"], "logits" if raw else "probabilities"
    after = None if raw else run.model.probabilities
    if isinstance(run.task, TableTask):
        encoder = run.task.encoder(run)
        before = None if raw else _standardize(*encoder.scaling)
        classes: Sequence[str] = ()
        if isinstance(encoder.target, ClassTarget):
            classes = encoder.target.classes
        else:
            output, after = "prediction", None if raw else _scale(encoder.target)
        names = encoder.input_names
        return Interface((len(names),), np.float32, "rows", output, before, after, {"batch": 0}, names, classes)
    if run.task is IMAGES:
        dtype, before = (np.float32, None) if raw else (np.uint8, images_to_inputs)
        shape = tuple(section["image_shape"])
        return Interface(shape, dtype, "images", output, before, after, {"batch": 0}, (), section["classes"])
    dynamic = {"batch": 0, "time": 1}
    return Interface((vars(network)["block_size"],), np.int64, "tokens", output, None, after, dynamic)


def _standardize(mean: NDArray[np.float64], std: NDArray[np.float64]) -> Callable[[Tensor], Tensor]:
    """Return the function from rows in the units of a table's columns to the inputs of the network."""
    subtracted, divided = from_numpy(mean.astype(np.float32)), from_numpy(std.astype(np.float32))
    return lambda rows: (rows - subtracted) / divided


def _scale(target: NumberTarget) -> Callable[[Tensor], Tensor]:
    """Return the function from a network's outputs to numbers in the units of the column."""
    return lambda outputs: outputs * target.std + target.mean


def _write_onnx(run: Run, path: Path, settings: ExportOptions) -> Exported:
    try:
        from chainrule import onnx  # an extra, which imports the library of that name
    except ImportError as error:
        raise UserError(str(error)) from None
    network = run.load_network()
    interface, opset = _interface(run, network, settings.raw), 20 if settings.opset is None else settings.opset
    name, output = interface.input, interface.output
    onnx.export(
        network, path, np.zeros((1, *interface.shape), interface.dtype), opset=opset, input_names=[name],
        output_names=[output], preprocess=interface.before, postprocess=interface.after, dynamic=interface.dynamic,
    )  # fmt: skip
    return Exported(
        f"ONNX opset {opset}, evaluation mode",
        onnx.describe(path),
        [
            "import onnxruntime",
            f"session = onnxruntime.InferenceSession({path.as_posix()!r})",
            f'{output} = session.run(None, {{"{name}": {name}}})[0]',
        ],
        interface.inputs,
    )


def _record(run: Run, settings: ExportOptions, batches: Sequence[int]) -> tuple[Interface, list[Graph]]:
    """Record a run's network for each size of a batch, with pre- and postprocessing unless they are left out."""
    network = run.load_network()
    interface = _interface(run, network, settings.raw)
    steps = [step for step in (interface.before, network, interface.after) if step is not None]
    examples = [np.zeros((n, *interface.shape), interface.dtype) for n in batches]
    return interface, [source.record(network, example, *steps) for example in examples]


def _write_source(
    path: Path, interface: Interface, graph: Graph, text: str, summary: str, snippet: Sequence[str]
) -> Exported:
    with atomic_write(path) as file:
        file.write(text.encode())
    values = [
        (kind, name, node.dtype.name, "(" + ", ".join(["batch", *map(str, node.shape[1:])]) + ")")
        for kind, name, node in (("input", "x", graph.input), ("output", interface.output, graph.output))
    ]
    return Exported(summary, values, snippet, interface.inputs)


def _title(run: Run) -> str:
    return f"The trained model {run.model.name}, in evaluation mode."


def _write_python(run: Run, path: Path, settings: ExportOptions) -> Exported:
    interface, (small, large) = _record(run, settings, (2, 3))
    text = source.write_numpy(small, large, _title(run), interface.classes, interface.inputs)
    module = path.stem if path.stem.isidentifier() else "..."
    snippet = [f"from {module} import predict", f"{interface.output} = predict(x)"]
    return _write_source(path, interface, small, text, "Python with NumPy, evaluation mode", snippet)


def _write_c(run: Run, path: Path, settings: ExportOptions) -> Exported:
    (interface, (graph,)), name = _record(run, settings, (1,)), source.c_name(path.stem)
    text = source.write_c(graph, _title(run), name, interface.classes, interface.inputs)
    snippet = [f'#include "{path.name}"', f"{name}_predict(x, y);  /* one example; link with -lm */"]
    return _write_source(path, interface, graph, text, "C99, evaluation mode", snippet)


FORMATS: dict[str, ExportFormat] = {
    ".onnx": ExportFormat(_write_onnx, options=("opset",)),
    ".py": ExportFormat(_write_python),
    ".h": ExportFormat(_write_c),
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
    help="Leave out the preprocessing and the softmax: floats from 0 to 1, or scaled columns, in, logits out.",
)
@click.option("--opset", type=int, metavar="N", help="For ONNX: the version of its operators, 13 to 23.  [default: 20]")
def export(run: str, file: str, raw: bool, opset: int | None) -> None:
    """Write a trained model as a file that runs without chainrule.

    RUN is a run's folder, or a folder of runs (the newest is used); "shipped" is the pretrained network. The extension
    of FILE is the format: .onnx for onnxruntime and other runtimes, .py for a file that needs NumPy alone, .h for a C
    header.

    By default the file takes what a user has, images of bytes (N, H, W), and gives the probability of each class. For a
    table, it takes the numbers of its rows in their units, and 1 or 0 for each category of its other columns.
    """
    check_output(file, "model", FORMATS)
    path = Path(file)
    target = FORMATS[path.suffix.lower()]
    settings = ExportOptions(raw, opset)
    for option in ("opset",):
        if getattr(settings, option) is not None and option not in target.options:
            raise UserError(f"{file}: --{option} is not for {path.suffix} files")
    try:
        exported = target.write(runs.find(run), path, settings)
    except ValueError as error:  # an option's value that does not fit
        raise UserError(str(error)) from None
    print_lines(f"wrote {file} ({path.stat().st_size:,} bytes): {exported.summary}")
    print_table(exported.values)
    if exported.inputs:
        print_lines(f"a row has {len(exported.inputs):,} numbers: {join_names(exported.inputs, limit=20)}")
    print_lines("to run it:", *("  " + line for line in exported.snippet))
