"""Gradients through the operators of a file: those of ONNX's node cases, beside differences of the outputs."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import chainrule
from chainrule import from_numpy

pytest.importorskip("onnx", reason="onnx is not installed: pip install 'chainrule[bridges]'")

from onnx.backend.test.loader import load_model_tests  # needs onnx

from chainrule.onnx import UnsupportedError
from chainrule.onnx.loader import from_model

STEPS = 4  # elements of each input that are changed
KINKS = {
    "test_acosh_example", "test_elu_example", "test_floor_example", "test_hardmax_one_hot", "test_leakyrelu_example",
    "test_selu_example", "test_thresholdedrelu_example", "test_round", "test_reduce_min_default_axes_keepdims_example",
    "test_max_example", "test_min_example", "test_relu", "test_l2normalization_axis_0", "test_l1normalization_axis_0",
    "test_sign",
}  # fmt: skip
"""Cases with inputs at which the function has no derivative."""
NOT_WEIGHTS = {"BatchNormalization": (3, 4), "OneHot": (0, 1)}
"""Inputs without a gradient by definition: running statistics, as in PyTorch; positions and their number."""
NO_DERIVATIVE = {"BitCast", "Det", "Dropout", "Pad", "Pow", "Range", "Resize", "ScatterND", "TensorScatter", "Upsample"}
"""Refused while gradients are recorded: bits, sizes, scales, bounds, powers of integers, products of scattered values."""
RUNNING = {"test_batchnorm_example_training_mode", "test_batchnorm_epsilon_training_mode"}
"""Cases whose outputs are running statistics, which carry no gradient."""


def cases():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of NumPy, in ONNX's own computation of what it expects
        return [case for case in load_model_tests(kind="node") if "_expanded" not in case.name]


def check(module, inputs, positions, rng):
    """Compare the gradient of a random weighted sum of the outputs with its differences, for a few elements."""

    def outputs(arrays, requires_grad):
        values = [
            from_numpy(x.copy()).requires_grad_(requires_grad) if i in positions else x for i, x in enumerate(arrays)
        ]
        out = module(*values)
        return values, [x for x in (out if isinstance(out, tuple) else (out,)) if x.dtype == np.float64]

    with chainrule.no_grad():
        weights = [rng.normal(size=x.shape) for x in outputs(inputs, False)[1]]

    def total(arrays):
        with chainrule.no_grad():
            return sum(float((x.numpy() * w).sum()) for x, w in zip(outputs(arrays, False)[1], weights, strict=True))

    values, results = outputs(inputs, True)
    parts = [(x * from_numpy(w)).sum() for x, w in zip(results, weights, strict=True) if x.requires_grad]
    if parts:
        sum(parts[1:], start=parts[0]).backward()
    for i in positions:
        gradient = values[i].grad
        for flat in rng.permutation(inputs[i].size)[:STEPS]:
            index = np.unravel_index(flat, inputs[i].shape)
            sides = []
            for step in (1e-5, -1e-5):
                changed = [x.copy() if j in positions else x for j, x in enumerate(inputs)]
                changed[i][index] += step
                sides.append(total(changed))
            slope = (sides[0] - sides[1]) / 2e-5
            own = 0.0 if gradient is None else gradient.numpy()[index]
            assert own == pytest.approx(slope, rel=1e-4, abs=1e-5), f"input {i} at {index}"


def test_gradients_of_node_cases():
    """Right, or refused: an operator that has no derivative here does not lose the gradient silently."""
    rng = np.random.default_rng(0)
    checked, refused, faults = set(), {}, {}
    for case in cases():
        (node,) = case.model.graph.node if len(case.model.graph.node) == 1 else (None,)
        # a small change of an element that occurs twice changes the shape of Unique
        if node is None or node.op_type == "Unique" or case.name in KINKS | RUNNING:
            continue
        inputs = case.data_sets[0][0]
        fixed = NOT_WEIGHTS.get(node.op_type, ())
        positions = [
            i for i, x in enumerate(inputs)
            if getattr(x, "dtype", None) in (np.float32, np.float64) and x.size and list(node.input).index(case.model.graph.input[i].name) not in fixed
        ]  # fmt: skip
        if not positions or sum(inputs[i].size for i in positions) > 500:
            continue
        inputs = [np.asarray(x, np.float64) if i in positions else x for i, x in enumerate(inputs)]
        try:
            check(from_model(case.model), inputs, positions, rng)
            checked.add(node.op_type)
        except UnsupportedError:
            continue
        except RuntimeError as error:
            refused[node.op_type] = str(error)
        except (AssertionError, ValueError) as error:
            faults[case.name] = str(error).splitlines()[0]
    assert faults == {}
    assert {*refused} <= NO_DERIVATIVE
    assert all("cannot carry the gradient" in message for message in refused.values())
    assert len(checked) >= 80
