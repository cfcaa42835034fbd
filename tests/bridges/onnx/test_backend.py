"""ONNX's own tests: every node case gives ONNX's outputs, or is refused by the name of an operator or type."""

from __future__ import annotations

import re
import warnings
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install 'chainrule[bridges]'")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx.backend import test as suite  # noqa: E402
from onnx.backend.test.loader import load_model_tests  # noqa: E402
from onnx.backend.test.runner import Runner  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

from chainrule.onnx import UnsupportedError, backend  # noqa: E402

DATA = Path(suite.__file__).parent / "data"


@dataclass
class Report:
    """What became of the cases: names by outcome, and counts by operator."""

    passed: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)
    by_operator: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))


def operators(model):
    return {node.op_type for node in model.graph.node}


def read(folder, kind):
    """The tensors of a case in files."""
    files = sorted(folder.glob(f"{kind}_*.pb"), key=lambda file: int(file.stem.rpartition("_")[2]))
    return [numpy_helper.to_array(onnx.load_tensor(file)) for file in files]


def run(case, report):
    """Run one case, and compare with ONNX's outputs in the suite's tolerance."""
    model, data = case.model, list(case.data_sets or ())
    if model is None:
        model = onnx.load(Path(case.model_dir) / "model.onnx")
        data = [
            (read(folder, "input"), read(folder, "output")) for folder in Path(case.model_dir).glob("test_data_set_*")
        ]
    assert data
    try:
        prepared = backend.prepare(model)
        for inputs, outputs in data:
            Runner.assert_similar_outputs(outputs, prepared.run(inputs), case.rtol, case.atol)
        outcome = "passed"
        report.passed.add(case.name)
    except UnsupportedError as error:
        outcome = "refused"
        report.refused[case.name] = str(error)
        named = any(re.search(rf"\b{name}\b", str(error)) for name in operators(model)) or "type" in str(error)
        if not named or "\n" in str(error):
            report.wrong[case.name] = f"refused without a name: {error}"
    except Exception as error:  # anything else is a failure, and listed
        outcome = "wrong"
        report.wrong[case.name] = f"{type(error).__name__}: {error}"
    for name in operators(model):
        report.by_operator[name][outcome] += 1


@pytest.fixture(scope="module")
def report():
    """All node cases, run once."""
    result = Report()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of NumPy, in ONNX's own computation of what it expects
        cases = load_model_tests(kind="node")
    for case in cases:
        run(case, result)
    return result


def test_node_cases(report):
    """At least 1,000 of 1,884 pass, none is wrong; `pytest -s` shows the counts by operator."""
    total = len(report.passed) + len(report.refused) + len(report.wrong)
    print(
        f"\n{total} cases: {len(report.passed)} pass, {len(report.refused)} are refused, {len(report.wrong)} are wrong"
    )
    print(f"{'operator':<28}{'passed':>8}{'refused':>8}{'wrong':>8}")
    for name, counts in sorted(report.by_operator.items()):
        print(f"{name:<28}{counts['passed']:>8}{counts['refused']:>8}{counts['wrong']:>8}")
    assert report.wrong == {}
    assert len(report.passed) >= 1400


def test_refusals_are_of_operators_that_are_not_supported(report):
    """An operator of the table is refused only for an option or a type."""
    from chainrule.onnx.operators import OPERATORS

    for name, message in report.refused.items():
        match = re.fullmatch(r"the operator ([\w.]+:)?(\w+) is not supported", message)
        assert match is None or match[1] or match[2] not in OPERATORS, name


@pytest.mark.parametrize(("kind", "count"), [("pytorch-converted", 82), ("pytorch-operator", 34), ("simple", 7)])
def test_cases_in_files(kind, count):
    """Models of older versions, down to 6, that PyTorch wrote."""
    result = Report()
    for case in load_model_tests(kind=kind):
        run(case, result)
    assert result.wrong == {}
    assert len(result.passed) >= count, result.refused


@pytest.mark.parametrize("file", sorted((DATA / "light").glob("*.onnx")), ids=lambda file: file.stem)
def test_light_models(file):
    """The nine networks of image recognition give the outputs that ONNX ships with them."""
    model = onnx.load(file)
    weights = {tensor.name for tensor in model.graph.initializer}
    (value,) = [value for value in model.graph.input if value.name not in weights]
    shape = [size.dim_value for size in value.type.tensor_type.shape.dim]
    count = int(np.prod(shape))
    example = (np.arange(count).reshape(shape) / count).astype(np.float32)
    (output,) = backend.run_model(model, [example])
    expected = numpy_helper.to_array(onnx.load_tensor(file.with_name(f"{file.stem}_output_0.pb")))
    np.testing.assert_allclose(output, expected, rtol=1e-3, atol=1e-5)


def test_a_single_node():
    node = helper.make_node("Add", ["a", "b"], ["c"])
    (out,) = backend.run_node(node, [np.float32([1, 2]), np.float32([3])])
    assert out.tolist() == [4, 5]


HALF, SINGLE = np.float16, np.float32

BEYOND_THE_CASES = {
    "the sums before each element of no elements": (
        "CumSum",
        [np.zeros((0, 2), SINGLE), np.array(0)],
        {"exclusive": 1},
    ),
    "a maximum of two windows": (
        "MaxUnpool",
        [np.array([[[[5, 5, 6]]]], SINGLE), np.array([[[[1, 1, 2]]]])],
        {"kernel_shape": [1, 2], "strides": [1, 1]},
    ),
    "a convolution of volumes in float16": (
        "Conv",
        [np.arange(27, dtype=HALF).reshape(1, 1, 3, 3, 3), np.ones((1, 1, 2, 2, 2), HALF)],
        {},
    ),
    "a transposed convolution in float16": (
        "ConvTranspose",
        [np.arange(8, dtype=HALF).reshape(1, 2, 2, 2), np.arange(12, dtype=HALF).reshape(2, 3, 2, 1), np.ones(3, HALF)],
        {"strides": [2, 1], "pads": [1, 0, 0, 0]},
    ),
    "a transposed convolution of sequences in float16": (
        "ConvTranspose",
        [np.arange(3, dtype=HALF).reshape(1, 1, 3), np.arange(2, dtype=HALF).reshape(1, 1, 2)],
        {},
    ),
    "averages in float16": ("AveragePool", [np.arange(16, dtype=HALF).reshape(1, 1, 4, 4)], {"kernel_shape": [2, 2]}),
    "the error function in float16": ("Erf", [np.array([-1, 0, 0.5], HALF)], {}),
    "maxima of nothing but -inf": (
        "MaxPool",
        [np.full((1, 2, 2, 2), -np.inf, SINGLE)],
        {"kernel_shape": [2, 2], "pads": [1, 1, 1, 1], "strides": [2, 2]},
    ),
    "cubic interpolation beyond the limits of bytes": (
        "Resize",
        [np.array([[[[0, 0, 255, 255, 0, 0]]]], np.uint8), np.zeros(0, SINGLE), np.array([1, 1, 1, 2], SINGLE)],
        {"mode": "cubic"},
    ),
}


@pytest.mark.parametrize("name", BEYOND_THE_CASES)
def test_nodes_that_the_cases_leave_out(name):
    """These give what ONNX's reference implementation gives."""
    op_type, inputs, attributes = BEYOND_THE_CASES[name]
    names = [f"input_{i}" for i in range(len(inputs))]
    node = helper.make_node(op_type, names, ["out", "indices"][: 1 + (op_type == "MaxPool")], **attributes)
    expected = ReferenceEvaluator(node).run(None, dict(zip(names, inputs, strict=True)))
    expected = expected if op_type == "MaxPool" else expected[:1]
    if op_type == "MaxPool":  # unlike the specification, the reference counts from 0 in each image
        expected[1] = np.arange(8).reshape(1, 2, 2, 2)
    for out, wanted in zip(backend.run_node(node, inputs), expected, strict=True):
        assert out.dtype == wanted.dtype
        np.testing.assert_array_equal(out, wanted)


def test_convolutions_of_integers_are_refused():
    for op_type in ("Conv", "ConvTranspose"):
        with pytest.raises(TypeError, match=f"^{op_type}: .*takes floats, not int64"):
            backend.run_node(helper.make_node(op_type, ["x", "w"], ["y"]), [np.ones((1, 1, 3, 3), np.int64)] * 2)


def test_maxima_determinants_and_gelu_in_float16():
    """As in PyTorch, in whose float16 GELU differs from that of float32 by rounding alone."""
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).normal(size=(1, 2, 5, 5)).astype(HALF)
    for op_type, attributes, function in (
        ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}, lambda x: torch.nn.functional.max_pool2d(x, 2)),
        ("Det", {}, torch.linalg.det),
        ("Gelu", {}, torch.nn.functional.gelu),
        ("Gelu", {"approximate": "tanh"}, lambda x: torch.nn.functional.gelu(x, approximate="tanh")),
    ):
        (out,) = backend.run_node(helper.make_node(op_type, ["x"], ["y"], **attributes), [x])
        assert out.dtype == HALF
        np.testing.assert_allclose(out, function(torch.tensor(x).float()).half().numpy(), rtol=1e-3)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64, np.uint64, bool])
@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_interpolation_keeps_a_constant(dtype, mode):
    """Also the smallest and the largest number of each type, which float64 may not hold."""
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], mode=mode)
    for number in (0, 1) if dtype is bool else (0, 1, np.iinfo(dtype).min, np.iinfo(dtype).max):
        constant = np.full((1, 1, 1, 6), number, dtype)
        (out,) = backend.run_node(node, [constant, np.array([1, 1, 1, 2], SINGLE)])
        assert out.dtype == dtype
        np.testing.assert_array_equal(out, np.full((1, 1, 1, 12), number, dtype))


def test_a_transposed_convolution_whose_kernel_shape_is_not_the_weights():
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], kernel_shape=[3, 3])
    with pytest.raises(ValueError, match=r"kernel_shape \(3, 3\) does not fit the weight \(1, 1, 2, 2\)"):
        backend.run_node(node, [np.ones((1, 1, 3, 3), SINGLE), np.ones((1, 1, 2, 2), SINGLE)])


def test_devices_and_compatibility():
    def model(op_type, kind=TensorProto.FLOAT):
        values = [helper.make_tensor_value_info(name, kind, [2]) for name in ("x", "y")]
        return helper.make_model(
            helper.make_graph([helper.make_node(op_type, ["x"], ["y"])], "g", values[:1], values[1:])
        )

    assert backend.supports_device("CPU")
    assert not backend.supports_device("CUDA")
    assert backend.is_compatible(model("Relu"))
    assert not backend.is_compatible(model("Relu"), "CUDA")
    assert not backend.is_compatible(model("StringNormalizer"))
    with pytest.raises(UnsupportedError, match="the device CUDA is not supported"):
        backend.prepare(model("Relu"), "CUDA")
    with pytest.raises(UnsupportedError, match="an input of the type complex64"):
        backend.run_model(model("Relu"), [np.ones(2, np.complex64)])
