"""Loading: an ONNX file as a Module, whose parameters are the file's weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, inliner

from chainrule.errors import join_names, shorten
from chainrule.files import open_regular
from chainrule.nn import Module, Parameter
from chainrule.onnx.errors import OnnxError, UnsupportedError
from chainrule.onnx.operators import OPERATORS
from chainrule.onnx.operators.call import Call, dtype_of, read_tensor
from chainrule.tensor import Tensor, from_numpy

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from chainrule.ops.operation import Input

MAX_FILE_BYTES = 2**31
"""The largest file that is read, which is the limit of Protocol Buffers."""

MAX_SIZES = 64
"""Initializers of integers with at most one dimension and this many elements are taken for sizes, axes or positions:
constants whose values decide how the network is computed.
"""


def load(path: str | os.PathLike[str]) -> GraphModule:
    """Load an ONNX file as a module that computes what the file says, and can be trained.

    Floating initializers become parameters, under their names; tables of integers and the statistics of batch norm
    become buffers. So do single floats, of shape (), which other exporters write for constants. Short lists of integers
    are taken for sizes or axes: like the constants in the graph, they are not part of the state. A file holds a network
    for evaluation: dropout does nothing, and batch norm uses its running statistics, even after `train()`.

    Args:
        path: the file. Weights in a second file are read from its folder, and from nowhere else.

    Raises:
        UnsupportedError: an operator, its version or a type is not supported; the message names it.
        OnnxError: the file is damaged, or is not an ONNX model.
        OSError: the file cannot be read.
    """
    path = Path(path)
    model = read_model(path)
    try:
        return from_model(model, path.parent)
    except OnnxError as error:
        raise type(error)(f"{path}: {error}") from None


def read_model(path: Path) -> Any:
    """Read a file as ONNX's message, without weights that are in other files.

    Raises:
        OnnxError: the file is damaged, or is not an ONNX model.
        OSError: the file cannot be read.
    """
    with open_regular(path) as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise OnnxError(f"{path}: is larger than 2 GiB, the limit of a model in one file")
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # Protocol Buffers have exceptions of their own
        raise OnnxError(f"{path}: is not an ONNX model ({_one_line(error)})") from None
    if not model.HasField("graph"):
        raise OnnxError(f"{path}: is not an ONNX model: it has no graph")
    return model


def from_model(model: Any, folder: Path | None = None) -> GraphModule:
    """Return the module of a model in memory; weights in other files are read from `folder`, or refused if it is None.

    Raises:
        UnsupportedError, OnnxError: as for `load`.
    """
    try:
        if model.functions:
            model = inliner.inline_local_functions(model)
        return GraphModule(model, folder)
    except OnnxError:
        raise
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError) as error:
        raise OnnxError(f"the model is damaged: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    return shorten(" ".join(str(error).split()) or type(error).__name__)


class GraphModule(Module):
    """A network from a file, which runs its nodes in order.

    Attributes:
        input_names: the names of the inputs, in the order in which `forward` takes them.
        output_names: the names of the outputs; `forward` returns a tuple if there are several.
    """

    def __init__(self, model: Any, folder: Path | None = None) -> None:
        graph, versions = model.graph, {entry.domain: entry.version for entry in model.opset_import}
        opset = versions.get("", versions.get("ai.onnx", 0))
        newest = onnx.defs.onnx_opset_version()
        if not 0 <= opset <= newest:
            raise UnsupportedError(
                f"version {opset} of the operators is not supported: onnx {onnx.__version__} has {newest}"
            )
        if graph.sparse_initializer:
            raise UnsupportedError("sparse initializers are not supported")
        weights = {tensor.name: _read_weight(tensor, folder) for tensor in graph.initializer}
        for value in (*graph.input, *graph.output):
            _check_type(value)
        self.input_names = [value.name for value in graph.input if value.name not in weights]
        self.output_names = [value.name for value in graph.output]
        self._steps: tuple[_Step, ...] = tuple(_Step(node, opset) for node in graph.node)
        self._check_names(weights)
        self._add_weights(weights, _not_trained(model, graph))

    def _check_names(self, weights: Mapping[str, Any]) -> None:
        """Check that each value is defined exactly once, and before it is used."""
        defined = {*self.input_names, *weights}
        for step in self._steps:
            missing = [name for name in step.inputs if name and name not in defined]
            if missing:
                raise OnnxError(f"{step.call.label}: the input {join_names(missing)} is not defined before it")
            repeated = [name for name in step.call.outputs if name and name in defined]
            if repeated:
                raise OnnxError(f"{step.call.label}: the value {join_names(repeated)} is defined twice")
            defined.update(name for name in step.call.outputs if name)
        missing = [name for name in self.output_names if name not in defined]
        if missing:
            raise OnnxError(f"the output {join_names(missing)} is not defined")

    def _add_weights(self, weights: Mapping[str, NDArray[Any]], fixed: Mapping[str, bool]) -> None:
        """Add parameters and buffers under the file's names, which may have dots and slashes."""
        self._weights: dict[str, str] = {}  # names of attributes by names of initializers
        self._constants: dict[str, NDArray[Any]] = {}
        for name, array in weights.items():
            if array.dtype.kind != "f" and array.ndim < 2 and array.size <= MAX_SIZES:
                self._constants[name] = array
                continue
            attribute = name if name and not hasattr(self, name) else f"initializer.{name}"
            self._weights[name] = attribute
            tensor = from_numpy(array)
            if array.dtype.kind != "f" or fixed.get(name) is True:
                setattr(self, attribute, tensor)
                self._buffers = (*self._buffers, attribute)
            else:
                setattr(self, attribute, Parameter(tensor, requires_grad=name not in fixed))

    def forward(self, *inputs: Input) -> Any:
        """Compute the outputs.

        Raises:
            TypeError: too few or too many inputs.
        """
        if len(inputs) != len(self.input_names):
            expected = f"{len(self.input_names)} inputs: {join_names(self.input_names)}"
            raise TypeError(f"GraphModule: takes {expected}; got {len(inputs)}")
        values: dict[str, Any] = self._constants | dict(zip(self.input_names, inputs, strict=True))
        values.update((name, getattr(self, attribute)) for name, attribute in self._weights.items())
        with np.errstate(all="ignore"):
            for step in self._steps:
                step.run(values)
        outputs = [x if isinstance(x, Tensor) else from_numpy(x) for x in (values[n] for n in self.output_names)]
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def extra_repr(self) -> str:
        """Return the names of inputs and outputs."""
        return f"{', '.join(self.input_names)} -> {', '.join(self.output_names)}, {len(self._steps)} nodes"


class _Step:
    """A node and its function."""

    def __init__(self, node: Any, opset: int) -> None:
        if node.domain not in ("", "ai.onnx"):
            raise UnsupportedError(f"the operator {node.domain}:{node.op_type} is not supported")
        if node.op_type not in OPERATORS:
            raise UnsupportedError(f"the operator {node.op_type} is not supported")
        self.call, self.inputs = Call(node, opset), [*node.input]
        self.function, self.is_checked = OPERATORS[node.op_type], False

    def run(self, values: dict[str, Any]) -> None:
        """Compute the outputs, and add them to the values."""
        inputs = [values[name] if name else None for name in self.inputs]
        try:
            out = self.function(self.call, *inputs)
        except OnnxError:
            raise
        except (ValueError, IndexError, TypeError) as error:
            if self.call.name in str(error):  # the message names the operator already
                raise
            raise type(error)(f"{self.call.label}: {error}") from error
        if not self.is_checked:
            self.call.check_attributes()
            self.is_checked = True
        outputs = out if isinstance(out, tuple) else (out,)
        names = self.call.outputs
        if len(names) > len(outputs) or not names:
            self.call.refuse(f"{len(names)} outputs are not supported")
        for name, value in zip(names, outputs, strict=False):
            if name:
                values[name] = value if isinstance(value, Tensor) else np.asarray(value)


def _check_type(value: Any) -> None:
    """Check the type of an input or output."""
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        kind_name = (kind or "none").removesuffix("_type")
        raise UnsupportedError(f"{value.name}: the type {kind_name} is not supported, only tensors are")
    if value.type.tensor_type.elem_type:
        dtype_of(value.type.tensor_type.elem_type, value.name)


_FIXED_INPUTS = {
    "BatchNormalization": (3, 4), "Resize": (1, 2), "Upsample": (1,), "Clip": (1, 2), "Pad": (2,), "OneHot": (2,),
    "Dropout": (1,), "Range": (0, 1, 2),
}  # fmt: skip
"""For each operator, the positions of inputs that are not trained: statistics, scales, bounds."""


def _not_trained(model: Any, graph: Any) -> dict[str, bool]:
    """Return the initializers that are not trained; True for buffers, False for frozen parameters."""
    own_file = model.producer_name == "chainrule"
    fixed = {} if own_file else {tensor.name: True for tensor in graph.initializer if not tensor.dims}
    for node in graph.node:
        positions = _FIXED_INPUTS.get(node.op_type, ())
        fixed.update({node.input[i]: True for i in positions if i < len(node.input)})
    for prop in model.metadata_props:
        if prop.key in ("chainrule.buffers", "chainrule.frozen"):
            try:
                names = json.loads(prop.value)
            except (ValueError, RecursionError):
                names = []
            if isinstance(names, list):
                fixed.update({str(name): prop.key == "chainrule.buffers" for name in names})
    return fixed


def _read_weight(tensor: Any, folder: Path | None) -> NDArray[Any]:
    """Return the array of an initializer."""
    what = f"initializer {tensor.name!r}"
    if tensor.data_location != TensorProto.EXTERNAL:
        return read_tensor(tensor, what)
    dtype, shape = dtype_of(tensor.data_type, what), tuple(tensor.dims)
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    if folder is None or location in ("", ".", "..") or Path(location).name != location or "\\" in location:
        raise OnnxError(f"{what}: its data are in {location!r}, but may only be in a file beside the model")
    count = int(np.prod(shape, dtype=object)) * dtype.itemsize
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", count))
        with open_regular(folder / location, follow=False) as file:
            if offset < 0 or length != count or min(shape, default=0) < 0:
                raise ValueError("its offset, length and shape do not fit")
            file.seek(offset)
            content = file.read(count)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise OnnxError(f"{what}: cannot be read from {location} ({reason})") from None
    if len(content) < count:
        raise OnnxError(f"{what}: {location} is too short")
    return np.frombuffer(content, dtype.newbyteorder("<")).reshape(shape).astype(dtype)
