"""ONNX: write networks as files that other runtimes execute, and load such files as trainable modules.

    import chainrule.onnx  # needs the library: pip install 'chainrule[onnx]'

    chainrule.onnx.export(network, "network.onnx", images)  # for onnxruntime and others; in evaluation mode
    network = chainrule.onnx.load("network.onnx")  # a Module, with the file's weights as parameters

An export is one more reading of the operations: given arrays they run, given Tensors they are differentiated, given
tracers they are compiled, and given the symbols of this package they write themselves down as ONNX nodes. `symbol.py`
has the NumPy functions, which is enough for most formulas; `nodes.py` the operations that have a node of their own.
Loading is one table, operator → function, by family in `operators/`. `backend` is the interface of ONNX's own tests.
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
