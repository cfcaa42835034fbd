"""chainrule as a backend of ONNX: the interface that ONNX's own tests and tools call.

import chainrule.onnx.backend as backend

outputs = backend.run_model(model, inputs)  # arrays
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx.backend.base
from onnx import helper

from chainrule.autograd import no_grad
from chainrule.onnx.errors import UnsupportedError
from chainrule.onnx.loader import GraphModule, from_model
from chainrule.tensor import Tensor, from_numpy

__all__ = ["Backend", "BackendRep", "is_compatible", "prepare", "run_model", "run_node", "supports_device"]


class BackendRep(onnx.backend.base.BackendRep):  # type: ignore[misc]  # the library has no types here
    """A model that is ready to run.

    Attributes:
        module: the model as a module.
    """

    def __init__(self, module: GraphModule) -> None:
        self.module = module

    def run(self, inputs: Any, **options: Any) -> tuple[Any, ...]:
        """Run the model on a list of arrays, one for each input, and return the outputs as arrays."""
        values = [inputs] if isinstance(inputs, np.ndarray) else list(inputs)
        values = [
            from_numpy(x) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x for x in map(_native, values)
        ]
        with no_grad():
            outputs = self.module(*values)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        return tuple([x.numpy() if isinstance(x, Tensor) else x for x in outputs])


def _native(x: Any) -> Any:
    """Return x as an array in the machine's byte order; refuse a type that Tensors do not have."""
    array = np.asarray(x)
    if array.dtype.kind not in "biuf":
        raise UnsupportedError(f"an input of the type {array.dtype} is not supported")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


class Backend(onnx.backend.base.Backend):  # type: ignore[misc]
    """The interface for whole models and for single nodes."""

    @classmethod
    def is_compatible(cls, model: Any, device: str = "CPU", **options: Any) -> bool:
        """Whether a model's operators and types are supported. Attributes are checked only when the model runs."""
        try:
            from_model(model)
        except UnsupportedError:
            return False
        return cls.supports_device(device)

    @classmethod
    def prepare(cls, model: Any, device: str = "CPU", **options: Any) -> BackendRep:
        """Return a model that is ready to run.

        Raises:
            UnsupportedError: the device, or an operator or type of the model, is not supported.
            OnnxError: the model is damaged.
        """
        if not cls.supports_device(device):
            raise UnsupportedError(f"the device {device} is not supported, only CPU is")
        return BackendRep(from_model(model))

    @classmethod
    def run_node(cls, node: Any, inputs: Any, device: str = "CPU", outputs_info: Any = None, **options: Any) -> Any:
        """Run a single node on arrays."""
        arrays = [np.asarray(x) for x in inputs]
        names = [name for name in node.input if name]
        values = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
            for name, x in zip(names, arrays, strict=True)
        ]
        outputs = [helper.make_empty_tensor_value_info(name) for name in node.output if name]
        for value in outputs:
            value.type.tensor_type.elem_type = 0
        graph = helper.make_graph([node], "node", values, outputs)
        version = options.get("opset_version", onnx.defs.onnx_opset_version())
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)])
        return cls.prepare(model, device).run(arrays)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether the device is the CPU."""
        return device == "CPU"


is_compatible, prepare, run_model = Backend.is_compatible, Backend.prepare, Backend.run_model
run_node, supports_device = Backend.run_node, Backend.supports_device
