"""Every operation of the library, on the table of its own tests: written and run in onnxruntime, or refused by name."""

from __future__ import annotations

import os
from collections import defaultdict

import numpy as np
import pytest

import chainrule

from ...ops import composed, elementwise, indexed  # noqa: F401  # they add their cases to the table
from ...ops.cases import CASES
from .networks import Apply

pytest.importorskip("onnx", reason="onnx is not installed: pip install 'chainrule[bridges]'")
onnxruntime = pytest.importorskip(
    "onnxruntime", reason="onnxruntime is not installed: pip install 'chainrule[bridges]'"
)

from chainrule.onnx import UnsupportedError, export  # noqa: E402  # needs onnx

GRADIENTS = {"add_at", "add_rows", "index_put", "convolution_weight_gradient", "max_pool_gradient", "avg_pool_gradient"}
"""Operations of derivatives, which a network in evaluation does not call; padding is the exception."""
WITHOUT_NODE = {"cumprod", "cummax", "cummin"}
EMPTY = {"tile (0, 1)", "repeat (0, 1)", "repeat_interleave (2, 3) -2 0"}
"""Results without elements, which onnxruntime's Reshape refuses."""


def fault_of(case, path):
    """Export one case and compare; return what is wrong, or None."""
    inputs = [a.astype(np.float32) if a.dtype.kind == "f" else a for a in case.inputs(np.float32)]
    names = [f"input_{i}" for i in range(len(inputs))]
    expected = case.call(*map(chainrule.tensor, inputs))
    expected = [x.detach().numpy() for x in (expected if isinstance(expected, (tuple, list)) else (expected,))]
    export(Apply(case.call), path, *inputs, dynamic=None, opset=20, input_names=names)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
    out = session.run(None, dict(zip(names, inputs, strict=True)))
    for one, other in zip(out, expected, strict=True):
        if (one.shape, one.dtype) != (other.shape, other.dtype):
            return f"{one.shape} {one.dtype} instead of {other.shape} {other.dtype}"
        if not np.allclose(one, other, rtol=1e-4, atol=1e-5, equal_nan=True):
            return f"{one} instead of {other}"
    return None


def test_every_operation(tmp_path):
    wrong, refused, passed, messages = {}, defaultdict(list), set(), []
    for case in CASES:
        if case.label.endswith("strided") or case.label in EMPTY:
            continue
        try:
            fault = fault_of(case, tmp_path / "m.onnx")
        except UnsupportedError as error:
            refused[case.operation].append(case.label)
            messages.append(str(error))
            continue
        if fault:
            wrong[case.label] = fault
        else:
            passed.add(case.operation)
    assert wrong == {}
    assert all("the operation" in message for message in messages)
    assert {*refused} <= GRADIENTS | WITHOUT_NODE | {"getitem"}
    assert all("True" in label or "mask" in label for label in refused["getitem"])
    assert len(passed) >= 150
