"""ONNX: write networks as files that other runtimes execute, and load such files as trainable modules.

    import chainrule.onnx  # needs the library: pip install 'chainrule[onnx]'

    chainrule.onnx.export(network, "network.onnx", images)  # for onnxruntime and others; in evaluation mode
    network = chainrule.onnx.load("network.onnx")  # a Module, with the file's weights as parameters

Export calls the same operations with a different kind of argument. Given arrays, an operation computes; given Tensors,
it is differentiated as well; given tracers, it is compiled; given the symbols of this package, it is written as ONNX
nodes. `symbol.py` translates NumPy functions, which is enough for most formulas; `nodes.py` translates the operations
that have a node of their own. Loading is one table from operators to functions, by family in `operators/`. `backend` is
the interface that ONNX's own tests call.
"""

try:
    import onnx  # noqa: F401  # a missing library is reported here, in one sentence
except ModuleNotFoundError as error:
    if error.name != "onnx":  # ONNX is installed, but broken
        raise
    message = "chainrule.onnx needs the library onnx, which is not installed: pip install 'chainrule[onnx]'"
    raise ImportError(message) from None

from chainrule.onnx.errors import OnnxError, UnsupportedError
from chainrule.onnx.exporter import describe, export
from chainrule.onnx.loader import GraphModule, load

__all__ = ["GraphModule", "OnnxError", "UnsupportedError", "describe", "export", "load"]
