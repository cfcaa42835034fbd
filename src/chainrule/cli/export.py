"""`chainrule export`: write a trained model as ONNX, Python or C."""

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


DEFAULT_OPSET = 20
"""The version of ONNX's operators without --opset."""


@dataclass(frozen=True)
class ExportOptions:
    """The values of the command's options.

    Attributes:
        raw: leave out the preprocessing and the softmax.
        opset: the version of ONNX's operators; None for the default.
    """

    raw: bool
    opset: int | None


@dataclass(frozen=True)
class ExportReport:
    """What is printed about an exported file.

    Attributes:
        summary: the format and its version.
        signature: the file's inputs and outputs: ("input" or "output", name, type, shape).
        snippet: lines of code that run the file.
        feature_names: the meaning of each number of an example, if it is a row of a table; else empty.
    """

    summary: str
    signature: Sequence[tuple[str, str, str, str]]
    snippet: Sequence[str]
    feature_names: Sequence[str] = ()


@dataclass(frozen=True)
class ExportFormat:
    """A format to export to.

    Attributes:
        write: writes a run's network to a path; returns what to print about the file.
        has_opset: whether --opset applies to this format.
    """

    write: Callable[[Run, Path, ExportOptions], ExportReport]
    has_opset: bool = False


@dataclass(frozen=True)
class Interface:
    """The input and output of an exported file.

    Attributes:
        shape: the shape of one example.
        dtype: the type of the examples' numbers.
        input_name: the name of the input.
        output_name: the name of the output.
        preprocess: from the file's input to the network's; None if they are the same.
        postprocess: from the network's output to the file's; None if they are the same.
        dynamic: dimensions of any size (see `onnx.export`).
        feature_names: the meaning of each number of an example; empty for pixels and tokens.
        class_names: the meaning of each number of a result; empty for tokens and predicted numbers.
    """

    shape: tuple[int, ...]
    dtype: type[Any]
    input_name: str
    output_name: str
    preprocess: Callable[[Tensor], Tensor] | None
    postprocess: Callable[[Tensor], Tensor] | None
    dynamic: dict[str, int]
    feature_names: Sequence[str] = ()
    class_names: Sequence[str] = ()


def _describe_interface(run: Run, network: Module, raw: bool) -> Interface:
    """Describe the input and output of an exported file with a run's network."""
    section = run.config["data"]
    output_name = "logits" if raw else "probabilities"
    postprocess = None if raw else run.model.probabilities
    if isinstance(run.task, TableTask):
        encoder = run.task.encoder(run)
        class_names: Sequence[str] = ()
        if isinstance(encoder.target, ClassTarget):
            class_names = encoder.target.classes
        else:
            output_name = "prediction"
            postprocess = None if raw else _unstandardizer(encoder.target)
        return Interface(
            shape=(len(encoder.input_names),),
            dtype=np.float32 if raw else _number_type(*encoder.scaling),
            input_name="rows",
            output_name=output_name,
            preprocess=None if raw else _standardizer(*encoder.scaling),
            postprocess=postprocess,
            dynamic={"batch": 0},
            feature_names=encoder.input_names,
            class_names=class_names,
        )
    if run.task is IMAGES:
        return Interface(
            shape=tuple(section["image_shape"]),
            dtype=np.float32 if raw else np.uint8,
            input_name="images",
            output_name=output_name,
            preprocess=None if raw else images_to_inputs,
            postprocess=postprocess,
            dynamic={"batch": 0},
            class_names=section["classes"],
        )
    return Interface(
        shape=(vars(network)["block_size"],),
        dtype=np.int64,
        input_name="tokens",
        output_name=output_name,
        preprocess=None,
        postprocess=postprocess,
        dynamic={"batch": 0, "time": 1},
    )


def _standardizer(mean: NDArray[np.float64], std: NDArray[np.float64]) -> Callable[[Tensor], Tensor]:
    """Return the function from rows, in the units of a table's columns, to the network's inputs."""
    dtype = _number_type(mean, std)
    mean_tensor, std_tensor = from_numpy(mean.astype(dtype)), from_numpy(std.astype(dtype))
    return lambda rows: ((rows - mean_tensor) / std_tensor).to(np.float32)


def _unstandardizer(target: NumberTarget) -> Callable[[Tensor], Tensor]:
    """Return the function from the network's outputs to numbers in the units of the target column."""
    dtype = _number_type(np.array([target.mean]), np.array([target.std]))
    return lambda outputs: outputs.to(dtype) * target.std + target.mean


def _number_type(mean: NDArray[np.float64], std: NDArray[np.float64]) -> type[Any]:
    """Return float32 if it holds numbers near each mean up to 1/10,000 of the standard deviation; else float64.

    The times of a day in seconds since 1970, for example, differ by less than the 128 s between neighbors in float32.
    """
    limits = np.finfo(np.float32)
    is_precise = (np.abs(mean) + std) * limits.epsneg <= 1e-4 * std
    is_in_range = (std > limits.tiny) & (np.abs(mean) + std < 1e-6 * limits.max)
    return np.float32 if bool((is_precise & is_in_range).all()) else np.float64


def _write_onnx(run: Run, path: Path, options: ExportOptions) -> ExportReport:
    try:
        from chainrule import onnx  # imports the library `onnx`, which need not be installed
    except ImportError as error:
        raise UserError(str(error)) from None
    network = run.load_network()
    interface = _describe_interface(run, network, options.raw)
    opset = DEFAULT_OPSET if options.opset is None else options.opset
    input_name, output_name = interface.input_name, interface.output_name
    onnx.export(
        network,
        path,
        np.zeros((1, *interface.shape), interface.dtype),
        opset=opset,
        input_names=[input_name],
        output_names=[output_name],
        preprocess=interface.preprocess,
        postprocess=interface.postprocess,
        dynamic=interface.dynamic,
    )
    return ExportReport(
        f"ONNX opset {opset}, evaluation mode",
        onnx.describe(path),
        [
            "import onnxruntime",
            f"session = onnxruntime.InferenceSession({path.as_posix()!r})",
            f'{output_name} = session.run(None, {{"{input_name}": {input_name}}})[0]',
        ],
        interface.feature_names,
    )


def _record(run: Run, options: ExportOptions, batch_sizes: Sequence[int]) -> tuple[Interface, list[Graph]]:
    """Record a run's network for each batch size, with its pre- and postprocessing unless `raw` leaves them out."""
    network = run.load_network()
    interface = _describe_interface(run, network, options.raw)
    steps = [step for step in (interface.preprocess, network, interface.postprocess) if step is not None]
    batches = [np.zeros((batch_size, *interface.shape), interface.dtype) for batch_size in batch_sizes]
    return interface, [source.record(network, batch, *steps) for batch in batches]


def _write_source(
    path: Path, interface: Interface, graph: Graph, text: str, summary: str, snippet: Sequence[str]
) -> ExportReport:
    with atomic_write(path) as file:
        file.write(text.encode())
    signature = [
        (kind, name, node.dtype.name, "(" + ", ".join(["batch", *map(str, node.shape[1:])]) + ")")
        for kind, name, node in (("input", "x", graph.input), ("output", interface.output_name, graph.output))
    ]
    return ExportReport(summary, signature, snippet, interface.feature_names)


def _title(run: Run) -> str:
    return f"The trained model {run.model.name}, in evaluation mode."


def _write_python(run: Run, path: Path, options: ExportOptions) -> ExportReport:
    # The sizes that differ between the two graphs are those that depend on the batch
    interface, (graph_of_2, graph_of_3) = _record(run, options, (2, 3))
    text = source.write_numpy(graph_of_2, graph_of_3, _title(run), interface.class_names, interface.feature_names)
    module = path.stem if path.stem.isidentifier() else "..."
    snippet = [f"from {module} import predict", f"{interface.output_name} = predict(x)"]
    return _write_source(path, interface, graph_of_2, text, "Python with NumPy, evaluation mode", snippet)


def _write_c(run: Run, path: Path, options: ExportOptions) -> ExportReport:
    interface, (graph,) = _record(run, options, (1,))
    prefix = source.c_name(path.stem)
    text = source.write_c(graph, _title(run), prefix, interface.class_names, interface.feature_names)
    snippet = [f'#include "{path.name}"', f"{prefix}_predict(x, y);  /* one example; link with -lm */"]
    return _write_source(path, interface, graph, text, "C99, evaluation mode", snippet)


FORMATS: dict[str, ExportFormat] = {
    ".onnx": ExportFormat(_write_onnx, has_opset=True),
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
    help="Leave out preprocessing and softmax: the input is floats from 0 to 1, or standardized columns; the output is "
    "logits, or a standardized number.",
)
@click.option("--opset", type=int, metavar="N", help="For ONNX: the version of its operators, 13 to 23.  [default: 20]")
def export(run: str, file: str, raw: bool, opset: int | None) -> None:
    """Write a trained model as a file that runs without chainrule.

    RUN is a run's folder, or a folder of runs (the newest is used); "shipped" is the pretrained network. The extension
    of FILE selects the format: .onnx for onnxruntime and other runtimes, .py for a module that needs only NumPy, .h for
    a C header.

    By default, the input is images as bytes, (N, H, W) or (N, 3, H, W), and the output is the probability of each
    class. For a table, the input is its rows: numbers in their units, and 1 or 0 for each category of other columns.
    For a text, the input is tokens.
    """
    check_output(file, "model", FORMATS)
    path = Path(file)
    export_format = FORMATS[path.suffix.lower()]
    if opset is not None and not export_format.has_opset:
        raise UserError(f"{file}: --opset does not apply to {path.suffix} files")
    try:
        report = export_format.write(runs.find(run), path, ExportOptions(raw, opset))
    except ValueError as error:  # the value of an option is invalid
        raise UserError(str(error)) from None
    print_lines(f"wrote {file} ({path.stat().st_size:,} bytes): {report.summary}")
    print_table(report.signature)
    if report.feature_names:
        print_lines(f"a row has {len(report.feature_names):,} numbers: {join_names(report.feature_names, limit=20)}")
    print_lines("to run it:", *("  " + line for line in report.snippet))
