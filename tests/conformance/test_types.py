"""Which type comes out, beside PyTorch: tensors, single numbers, Python's and NumPy's numbers, on either side."""

from __future__ import annotations

import itertools
import operator

import numpy as np
import pytest

import chainrule

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'chainrule[torch]'")

DTYPES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"]
NUMBERS = [2, 2.0, np.float64(2)]  # and True, where it makes sense
OPERATORS = ["add", "sub", "mul", "truediv", "pow", "lt", "eq"]


def tensors(dtype: str, ndim: int):
    array = np.full((2,) * ndim, 1, dtype)
    return chainrule.tensor(array), torch.tensor(array)


def compare(call, ours, theirs):
    """Both give the same type, or PyTorch refuses."""
    try:
        wanted = call(*theirs)
    except (RuntimeError, NotImplementedError):
        return False
    found = call(*ours)
    assert str(found.dtype) == str(wanted.dtype).removeprefix("torch.")
    np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=1e-3)
    return True


@pytest.mark.parametrize("name", OPERATORS)
def test_two_tensors(name):
    compared = 0
    for (one, n), (two, m) in itertools.product(itertools.product(DTYPES, (0, 1)), repeat=2):
        a, b = tensors(one, n), tensors(two, m)
        compared += compare(getattr(operator, name), (a[0], b[0]), (a[1], b[1]))
    assert compared >= 16 * 16  # subtraction leaves booleans out


@pytest.mark.parametrize("name", ["add", "truediv"])
def test_a_tensor_and_an_array(name):
    """An array counts as a tensor of its type, on either side."""
    for one, two, n, m in itertools.product(DTYPES, DTYPES, (0, 1), (0, 1)):
        a, b = tensors(one, n), tensors(two, m)
        compare(getattr(operator, name), (a[0], b[0].numpy()), (a[1], b[1]))
        compare(getattr(operator, name), (a[0].numpy(), b[0]), (a[1], b[1]))


@pytest.mark.parametrize("number", NUMBERS, ids=lambda n: f"{type(n).__name__}")
@pytest.mark.parametrize("name", OPERATORS)
def test_a_tensor_and_a_number(name, number):
    compared, call = 0, getattr(operator, name)
    for dtype, n in itertools.product(DTYPES, (0, 1)):
        ours, theirs = tensors(dtype, n)
        compared += compare(lambda x: call(x, number), (ours,), (theirs,))
        if not isinstance(number, np.generic):  # PyTorch leaves np.float64(2) - tensor to NumPy
            compared += compare(lambda x: call(number, x), (ours,), (theirs,))
        if name in ("add", "mul", "truediv", "eq"):
            compare(lambda x: call(x, True), (ours,), (theirs,))
    assert compared >= 16


@pytest.mark.parametrize(
    "number", [np.int8(2), np.float32(2), np.float16(2), np.uint8(2)], ids=lambda n: type(n).__name__
)
def test_a_number_of_numpys_counts_as_pythons(number):
    for dtype in DTYPES:
        x = tensors(dtype, 1)[0]
        assert (x * number).dtype == (number * x).dtype == (x * number.item()).dtype


def test_where_maximum_and_minimum():
    for (one, n), (two, m) in itertools.product(itertools.product(DTYPES, (0, 1)), repeat=2):
        a, b = tensors(one, n), tensors(two, m)
        true = (chainrule.tensor([True, False]), torch.tensor([True, False]))
        compare(
            lambda c, x, y: (chainrule if isinstance(x, chainrule.Tensor) else torch).where(c, x, y),
            (true[0], a[0], b[0]),
            (true[1], a[1], b[1]),
        )
        for name in ("maximum", "minimum"):
            compare(lambda x, y, name=name: getattr(x, name)(y), (a[0], b[0]), (a[1], b[1]))
    for dtype, number in itertools.product(DTYPES, [True, 2, 2.5]):
        a = tensors(dtype, 1)
        compare(
            lambda c, x, number=number: (chainrule if isinstance(x, chainrule.Tensor) else torch).where(c, x, number),
            (true[0], a[0]),
            (true[1], a[1]),
        )


def test_sums_means_and_comparisons_with_themselves():
    for dtype in DTYPES:
        ours, theirs = tensors(dtype, 2)
        for call in (
            lambda x: x.sum(),
            lambda x: x.sum(0),
            lambda x: x.argmax(),
            lambda x: x.amax(),
            lambda x: x == x,
            lambda x: x.abs(),
            lambda x: -x,
        ):
            compare(call, (ours,), (theirs,))
        for name in ("exp", "log", "sqrt", "tanh", "sigmoid"):
            compare(lambda x, name=name: getattr(x, name)(), (ours,), (theirs,))
        for call in (lambda x: x.float(), lambda x: x.double(), lambda x: x.long(), lambda x: x.bool()):
            compare(call, (ours,), (theirs,))


def test_arrays_of_pytorch_keep_their_type():
    for dtype in (torch.float64, torch.float32, torch.int32, torch.bool):
        theirs = torch.ones(2, dtype=dtype)
        assert chainrule.tensor(theirs).dtype == theirs.numpy().dtype
        assert chainrule.as_tensor(theirs).dtype == theirs.numpy().dtype


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_numbers_beyond_the_range_of_float16_are_refused(compiled):
    """PyTorch computes with them in float32: x / 100000 is not 0. In NumPy's float16, it is."""
    x = chainrule.tensor(np.array([1000, 60_000], np.float16))
    calls = [
        lambda x: x / 100_000, lambda x: x * 1e-7, lambda x: 1e5 / x, lambda x: x / 1e-7, lambda x: x - 1e6,
        lambda x: x > 1e5, lambda x: x // 100_000, lambda x: x.clamp(-1e5, 1e5), lambda x: x * -70_000,
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(OverflowError, match="is beyond the range of float16; convert the tensor with float"):
            (chainrule.jit(call) if compiled else call)(x)
    t = torch.tensor(x.numpy())
    for call in (
        lambda x: x + 1e-8, lambda x: x * 0.0, lambda x: x / float("inf"), lambda x: x * 65_504, lambda x: x / 1e-4,
        lambda x: x < float("inf"), lambda x: x.float() / 100_000,
    ):  # fmt: skip
        compare(chainrule.jit(call) if compiled else call, (x,), (t,))
