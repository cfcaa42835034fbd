"""Export: a network in evaluation mode as an ONNX file."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper, shape_inference

from chainrule import __version__
from chainrule.autograd import no_grad
from chainrule.errors import check, check_integer, shorten, type_name
from chainrule.files import atomic_write
from chainrule.nn import Module
from chainrule.onnx.dynamic import Dimensions, dimensions, merge
from chainrule.onnx.errors import OnnxError
from chainrule.onnx.graph import Constant, Node
from chainrule.onnx.loader import read_model
from chainrule.onnx.simplify import simplify
from chainrule.onnx.symbol import Symbol
from chainrule.onnx.trace import Trace
from chainrule.tensor import Tensor
from chainrule.training.modes import restore_modes

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from chainrule.ops.operation import Input

OPSETS = range(13, 24)
"""The versions of ONNX's operators that can be written. In 13, of 2020, the axes of ReduceSum became an input."""

MAX_FILE_BYTES = 2**31 - 2**24
"""The most bytes of weights in the file itself: a Protocol Buffers message holds 2 GiB; 16 MiB are for the graph."""

BATCH: Mapping[str, Any] = MappingProxyType({"batch": 0})
"""The default dynamic dimension: the first of every input."""


def export(
    module: Module, path: str | os.PathLike[str], *example: Input, dynamic: Mapping[str, Any] | None = BATCH,
    opset: int = 20, input_names: Sequence[str] | None = None, output_names: Sequence[str] | None = None,
    preprocess: Callable[..., Any] | None = None, postprocess: Callable[..., Any] | None = None,
) -> Path:  # fmt: skip
    """Write a network as an ONNX file, in evaluation mode: no dropout, batch norm with its running statistics.

    The network is called with the example, and its operations are recorded: loops are unrolled, of each branch the
    side that the call takes is recorded, and results that do not depend on an input become constants. The modes of its
    modules are restored afterwards. The weights keep the names of `state_dict()`. The file appears under its name once
    it is complete.

    Args:
        module: the network.
        path: the file; weights of nearly 2 GiB or more go into a second file beside it, with ".data" after its name.
        *example: an input for each positional parameter of `forward`. Only shapes and types matter.
        dynamic: the axes of variable size, by the dimension's name: {"batch": 0} for the first axis of every input,
            which is the default, or {"batch": {"tokens": 0}} for that of the input "tokens". With None all sizes are
            fixed.
        opset: the version of ONNX's operators, 13 to 23.
        input_names: names of the inputs; by default those of the parameters of `forward` or `preprocess`.
        output_names: names of the outputs; by default "output", or "output_0" and so on, or the keys of a dict.
        preprocess: a function of Tensors that runs before the network and becomes part of the file, such as one that
            scales the bytes of an image to the network's inputs.
        postprocess: a function of the network's output, such as softmax, that becomes part of the file.

    Returns:
        The path.

    Raises:
        OnnxError: an operation has no ONNX node, needs values of tensors, or depends on a dynamic size; the message
            names the operation and your line.
        TypeError: `module` is not a module, or an example is neither a Tensor nor an array.
        ValueError: the version is not supported, or a dimension or name does not fit.
        OSError: the file cannot be written.
    """
    check("export", isinstance(module, Module), f"takes a module, not {type_name(module)}", TypeError)
    check_integer("export", "opset", opset, 0)
    supported = f"{OPSETS.start} to {OPSETS.stop - 1}"
    check("export", opset in OPSETS, f"opset must be {supported}, not {opset}")
    inputs = _named_inputs(preprocess or module.forward, example, input_names)
    dims = dimensions(inputs, dynamic)
    state = module.state_dict()
    clashes = [name for name in inputs if name in state]
    check("export", not clashes, f"the input {clashes} has the name of a parameter; choose another with input_names")
    clashes = [name for name in output_names or () if name in state or name in inputs]
    check("export", not clashes, f"the output {clashes} has the name of an input or parameter; choose another")

    def run(*tensors: Tensor) -> Any:
        prepared = tensors if preprocess is None else preprocess(*tensors)
        out = module(*(prepared if isinstance(prepared, tuple) else (prepared,)))
        return out if postprocess is None else postprocess(out)

    traces, results = [], []
    with restore_modes(module), no_grad():
        module.eval()
        for number in range(len(dims.sizes)):
            trace = Trace(opset, state, [*inputs, *(output_names or ())])
            results.append(_outputs(trace, trace.call(run, dims.resized(inputs, number)), output_names))
            traces.append(trace)
    names = [*results[0]]
    if any([*result] != names for result in results):
        raise OnnxError("export: the network's outputs depend on the size of a dynamic dimension")
    nodes = simplify(_used(merge([trace.graph for trace in traces], dims), names), [*state], names)
    model = _Model(module, opset, _used(nodes, names), state)
    model.add_values(inputs, results, dims)
    model.write(Path(path))
    return Path(path)


def _named_inputs(
    function: Callable[..., Any], example: Sequence[Any], names: Sequence[str] | None
) -> dict[str, NDArray[Any]]:
    """Return the examples as arrays, by name."""
    check("export", example, "needs an example of each input after the path, such as zeros of the right shape")
    arrays = []
    for x in example:
        check(
            "export", isinstance(x, (Tensor, np.ndarray)), f"an example must be a Tensor, not {type_name(x)}", TypeError
        )
        array = x.detach().numpy() if isinstance(x, Tensor) else x
        check("export", array.dtype.kind in "biuf", f"an example of {array.dtype} has no type in ONNX", TypeError)
        arrays.append(array)
    if names is None:
        parameters = [
            p.name for p in inspect.signature(function).parameters.values() if p.kind <= p.POSITIONAL_OR_KEYWORD
        ]
        names = (
            parameters[: len(arrays)] if len(parameters) >= len(arrays) else [f"input_{i}" for i in range(len(arrays))]
        )
    _check_names("input_names", names, len(arrays))
    return dict(zip(names, arrays, strict=True))


def _check_names(what: str, names: Sequence[str], count: int) -> None:
    valid = all(isinstance(name, str) and name for name in names) and len({*names}) == len(names)
    check("export", valid and not isinstance(names, str), f"{what} must be different names, not {names!r}")
    check("export", len(names) == count, f"{what} has {len(names)} names for {count} values")


def _outputs(trace: Trace, result: Any, names: Sequence[str] | None) -> dict[str, Symbol]:
    """Return the results as values of the graph, by name."""
    if isinstance(result, dict):
        named = {str(key): value for key, value in result.items() if value is not None}
    else:
        parts = [part for part in result if part is not None] if isinstance(result, (tuple, list)) else [result]
        named = {f"output_{i}" if len(parts) > 1 else "output": part for i, part in enumerate(parts)}
    check("export", named, "the network returns nothing")
    if names is not None:
        _check_names("output_names", names, len(named))
        named = dict(zip(names, named.values(), strict=True))
    symbols = {}
    for name, value in named.items():
        check("export", isinstance(value, Tensor), f"the network returns a {type_name(value)}, not a Tensor", TypeError)
        symbol = trace.lift(value)
        own_name = name if names is not None else trace.graph.new_name(name)
        # a node of its own, so that the value can have the output's name
        trace.node("Identity", symbol, example=symbol.example)
        trace.graph.nodes[-1].outputs[0] = own_name
        symbols[own_name] = Symbol(trace, own_name, symbol.example)
    return symbols


class _Model:
    """Builds an ONNX model.

    Args:
        module: the network.
        opset: the version of the operators.
        nodes: the nodes of the file, in order.
        state: the network's parameters and buffers, by name.
    """

    def __init__(self, module: Module, opset: int, nodes: Sequence[Node], state: Mapping[str, Tensor]) -> None:
        self.module, self.opset, self.state = module, opset, state
        self.nodes = nodes
        used = {x for node in self.nodes for x in node.inputs if isinstance(x, str)}
        self.weights = {name: tensor.numpy() for name, tensor in state.items() if name in used}
        self.constants: dict[tuple[Any, ...], tuple[str, NDArray[Any]]] = {}
        self.names = {*state, *(name for node in self.nodes for name in node.outputs)}
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []

    def add_values(
        self, inputs: Mapping[str, NDArray[Any]], results: Sequence[Mapping[str, Symbol]], dims: Dimensions
    ) -> None:
        """Describe inputs and outputs: names, types and shapes."""
        self.names |= {*inputs}
        for name, array in inputs.items():
            shape: list[Any] = [*array.shape]
            for dimension, axes in dims.axes.items():
                if name in axes:
                    shape[axes[name]] = dimension
            self.inputs.append(helper.make_tensor_value_info(name, _type(array.dtype), shape))
        for name, symbol in results[0].items():
            columns = zip(*(result[name].shape for result in results), strict=True)
            shape = [dims.name_of(column) for column in columns]
            self.outputs.append(helper.make_tensor_value_info(name, _type(symbol.dtype), shape))

    def _name(self, operand: Any) -> str:
        """Return the name of an operand; a constant gets one, which equal constants share."""
        if isinstance(operand, str):
            return operand
        assert isinstance(operand, Constant)  # noqa: S101
        array = operand.array
        key = array.dtype.str, array.shape, array.tobytes()
        if key not in self.constants:
            name, count = "constant", len(self.constants)
            while name in self.names:
                name, count = f"constant_{count}", count + 1
            self.names.add(name)
            self.constants[key] = name, array
        return self.constants[key][0]

    def _roles(self) -> dict[str, str]:
        """Return metadata that tells `load` which initializers are buffers or frozen: ONNX does not tell them apart."""
        parameters = {id(p._data): p.requires_grad for p in self.module.parameters()}
        roles = {name: parameters.get(id(self.state[name]._data)) for name in self.weights}
        buffers = [name for name, is_trained in roles.items() if is_trained is None]
        frozen = [name for name, is_trained in roles.items() if is_trained is False]
        return {"chainrule.buffers": json.dumps(buffers), "chainrule.frozen": json.dumps(frozen)}

    def write(self, path: Path) -> None:
        """Write the file, or two if the weights are too large for one."""
        nodes = [
            helper.make_node(node.op_type, [self._name(x) for x in node.inputs], node.outputs, **node.attributes)
            for node in self.nodes
        ]
        # constants are written as nodes: `load` makes parameters of initializers
        constants = [
            helper.make_node("Constant", [], [name], value=_tensor(name, array))
            for name, array in self.constants.values()
        ]
        size = sum(array.nbytes for array in self.weights.values())
        data_file = path.with_name(path.name + ".data") if size > MAX_FILE_BYTES else None
        if data_file is None:
            tensors = [_tensor(name, array) for name, array in self.weights.items()]
        else:
            tensors = _write_data(self.weights, data_file)
        graph = helper.make_graph(
            constants + nodes, type(self.module).__name__, self.inputs, self.outputs, tensors,
            doc_string="Written by chainrule in evaluation mode: no dropout, batch norm with its running statistics.",
        )  # fmt: skip
        opset_imports = [helper.make_opsetid("", self.opset)]
        model = helper.make_model(
            graph, opset_imports=opset_imports, ir_version=helper.find_min_ir_version_for(opset_imports),
            producer_name="chainrule", producer_version=__version__,
        )  # fmt: skip
        helper.set_model_props(model, {"mode": "evaluation", **self._roles()})
        try:
            if data_file is None:
                try:
                    checker.check_model(model, full_check=True)
                except (checker.ValidationError, shape_inference.InferenceError) as error:
                    reason = shorten(" ".join(str(error).split()), 200)
                    raise OnnxError(f"export: the network cannot be written as ONNX: {reason}") from None
            with atomic_write(path) as file:
                file.write(model.SerializeToString())
        except BaseException:
            if data_file is not None:
                data_file.unlink(missing_ok=True)
            raise


def _used(nodes: Sequence[Node], outputs: Sequence[str]) -> list[Node]:
    """Return the nodes that the outputs need, without Identity nodes that only rename a result to an output's name."""
    needed, used = {*outputs}, list[Node]()
    for node in reversed(nodes):
        if needed.intersection(node.outputs):
            needed |= {x for x in node.inputs if isinstance(x, str)}
            used.append(node)
    used.reverse()
    results = {name for node in used for name in node.outputs}
    renamed: dict[Any, str] = {}
    for node in used:
        if node.op_type == "Identity" and node.outputs[0] in outputs and node.inputs[0] in results - {*outputs}:
            renamed.setdefault(node.inputs[0], node.outputs[0])
    remaining = [
        node for node in used if not (node.op_type == "Identity" and renamed.get(node.inputs[0]) == node.outputs[0])
    ]
    for node in remaining:
        node.inputs = [renamed.get(x, x) for x in node.inputs]
        node.outputs = [renamed.get(x, x) for x in node.outputs]
    return remaining


def _type(dtype: Any) -> int:
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def _tensor(name: str, array: NDArray[Any]) -> Any:
    return numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)


def _write_data(weights: Mapping[str, NDArray[Any]], path: Path) -> list[Any]:
    """Write arrays into a separate file, and return the tensors that refer to it."""
    tensors, offset = [], 0
    with atomic_write(path) as file:
        for name, array in weights.items():
            tensor = TensorProto(name=name, data_type=_type(array.dtype), dims=array.shape)
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", path.name), ("offset", offset), ("length", array.nbytes)):
                tensor.external_data.add(key=key, value=str(value))
            file.write(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False)).tobytes())
            offset += array.nbytes
            tensors.append(tensor)
    return tensors


def describe(path: str | os.PathLike[str]) -> list[tuple[str, str, str, str]]:
    """Return the inputs and outputs of an ONNX file: ("input" or "output", name, type, shape).

    Raises:
        OnnxError: the file is damaged, or is not an ONNX model.
        OSError: the file cannot be read.
    """
    graph = read_model(Path(path)).graph
    rows = []
    for kind, values in (("input", graph.input), ("output", graph.output)):
        for value in values:
            tensor = value.type.tensor_type
            sizes = [
                size.dim_param or (str(size.dim_value) if size.HasField("dim_value") else "?")
                for size in tensor.shape.dim
            ]
            dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type)
            rows.append((kind, value.name, dtype.name, f"({', '.join(sizes)}{',' * (len(sizes) == 1)})"))
    return rows
