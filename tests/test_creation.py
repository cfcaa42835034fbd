"""Functions that create tensors: values, types, random numbers."""

from __future__ import annotations

import functools
import math
import re

import numpy as np
import pytest

import chainrule
from chainrule import nn, random
from chainrule.creation import one_hot

from .threads import call_in_two_threads


@pytest.mark.parametrize(("make", "value"), [(chainrule.zeros, 0), (chainrule.ones, 1)])
def test_zeros_and_ones(make, value):
    for size, shape in [((2, 3), (2, 3)), (((2, 3),), (2, 3)), (([2],), (2,)), (((),), ()), ((0, 3), (0, 3))]:
        out = make(*size)
        assert (out.shape, out.dtype, out.requires_grad) == (shape, np.float32, False)
        assert (out.numpy() == value).all()
    assert make(2, dtype=np.int64).dtype == np.int64
    assert make(2, requires_grad=True).requires_grad


def test_no_type_is_the_default_one():
    out = [
        chainrule.zeros(2, dtype=None),
        chainrule.ones(2, dtype=None),
        chainrule.eye(2, dtype=None),
        chainrule.linspace(0, 1, 2, dtype=None),
        chainrule.rand(2, dtype=None),
        chainrule.randn(2, dtype=None),
    ]
    assert [x.dtype for x in out] == [np.float32] * 6


def test_like_another():
    x = chainrule.tensor(np.zeros((2, 1)))
    assert (chainrule.ones_like(x).tolist(), chainrule.ones_like(x).dtype) == ([[1], [1]], np.float64)
    assert (chainrule.zeros_like(x, dtype=bool).tolist(), chainrule.zeros_like(x).shape) == ([[False], [False]], (2, 1))


def test_full():
    assert chainrule.full((2,), 1.5).dtype == np.float32
    assert chainrule.full((2,), 1).dtype == np.int64
    assert chainrule.full((2,), True).dtype == bool
    assert chainrule.full([1, 2], 2.0, dtype=np.float64, requires_grad=True).tolist() == [[2, 2]]


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32, np.int64])
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 2.0**64, -1e30, 300.0, -1.0, 127.0, 2, 2**40])
def test_a_number_that_no_integer_type_holds_is_refused_as_in_pytorch(dtype, number):
    torch = pytest.importorskip("torch")
    torch_type = getattr(torch, np.dtype(dtype).name)
    cases = [
        (lambda: chainrule.tensor([1, number], dtype=dtype), lambda: torch.tensor([1, number], dtype=torch_type)),
        (lambda: chainrule.as_tensor(number, dtype), lambda: torch.as_tensor(number, dtype=torch_type)),
        (lambda: chainrule.full((2,), number, dtype), lambda: torch.full((2,), number, dtype=torch_type)),
        (lambda: chainrule.zeros(1, dtype=dtype).fill_(number), lambda: torch.zeros(1, dtype=torch_type).fill_(number)),
    ]
    for ours, theirs in cases:
        try:
            expected = theirs().tolist()
        except RuntimeError:
            with pytest.raises(OverflowError):
                ours()
        else:
            assert ours().tolist() == expected


def assigned(library, number, dtype):
    x = library.zeros(1, dtype=dtype)
    x[0] = number
    return x


WAYS_TO_WRITE_A_NUMBER = {
    "tensor": lambda library, number, dtype: library.tensor([number], dtype=dtype),
    "tensor of a number": lambda library, number, dtype: library.tensor(number, dtype=dtype),
    "as_tensor": lambda library, number, dtype: library.as_tensor([number], dtype=dtype),
    "full": lambda library, number, dtype: library.full((1,), number, dtype=dtype),
    "linspace": lambda library, number, dtype: library.linspace(number, number, 1, dtype=dtype),
    "assignment": assigned,
    "fill_": lambda library, number, dtype: library.zeros(1, dtype=dtype).fill_(number),
    "masked_fill": lambda library, number, dtype: library.zeros(1, dtype=dtype).masked_fill(
        library.tensor([True]), number
    ),
    "masked_fill by a tensor": lambda library, number, dtype: library.zeros(1, dtype=dtype).masked_fill(
        library.tensor([True]), library.tensor(number)
    ),
    "scatter": lambda library, number, dtype: library.zeros(1, dtype=dtype).scatter(0, library.tensor([0]), number),
}


@pytest.mark.parametrize("way", WAYS_TO_WRITE_A_NUMBER)
@pytest.mark.parametrize("dtype", ["uint8", "int8", "int64", "bool", "float32"])
def test_one_rule_for_the_numbers_that_a_type_takes(dtype, way):
    torch = pytest.importorskip("torch")
    if (dtype, way) == ("bool", "linspace"):
        pytest.skip("PyTorch's linspace has no booleans")
    write = WAYS_TO_WRITE_A_NUMBER[way]
    numbers = (-1, -128, -129, -255, -256, 255, 256, True, 2.0, 2.5, -1.0, -2.5, np.int64(-1), np.int64(300))
    for number in numbers:
        try:
            expected = write(torch, number, getattr(torch, dtype)).tolist()
        except RuntimeError:
            with pytest.raises(OverflowError, match=f"^{number} does not fit into {dtype}$"):
                write(chainrule, number, np.dtype(dtype))
        else:
            out = write(chainrule, number, np.dtype(dtype))
            assert (out.tolist(), out.dtype) == (expected, dtype), number


def test_an_unsigned_type_takes_negative_integers_in_arange_padding_and_large_types():
    assert chainrule.arange(-1, 3, dtype=np.uint8).tolist() == [255, 0, 1, 2]  # as in PyTorch
    assert chainrule.pad(chainrule.tensor([7], dtype=np.uint8), (0, 1), value=-1).tolist() == [7, 255]
    assert chainrule.tensor([-1], dtype=np.uint16).tolist() == [65535]
    assert chainrule.tensor([-(2**63)], dtype=np.uint64).tolist() == [2**63]
    for number in (-(2**63) - 1, 2**64):
        with pytest.raises(OverflowError, match=f"^{number} does not fit into uint64$"):
            chainrule.tensor([number], dtype=np.uint64)


def test_linspace_of_integers_cuts_off_fractions_as_in_pytorch():
    torch = pytest.importorskip("torch")
    for start, end, steps in ((-0.5, 0.5, 2), (-5, 0, 4), (0.9, 5.9, 3), (-80.5, 58, 9), (3, 3, 1)):
        expected = torch.linspace(start, end, steps, dtype=torch.int64).tolist()
        assert chainrule.linspace(start, end, steps, dtype=np.int64).tolist() == expected
    assert chainrule.linspace(-0.5, 1, 2, dtype=np.uint8).tolist() == [0, 1]


def test_the_largest_numbers_with_fractions_that_are_cut_off():
    assert chainrule.tensor([255.9, -0.5], dtype=np.uint8).tolist() == [255, 0]
    assert chainrule.full((1,), -128.5, np.int8).tolist() == [-128]
    with pytest.raises(OverflowError, match="does not fit into int64"):
        chainrule.tensor([2.0**63], dtype=np.int64)


def test_full_and_arange_refuse_numbers_that_do_not_fit():
    for number in (1e39, -1e300):
        with pytest.raises(OverflowError, match=f"{re.escape(str(number))} does not fit into float32"):
            chainrule.full((2,), number)
    assert chainrule.full((1,), -math.inf).tolist() == [-math.inf]
    assert math.isnan(chainrule.full((), math.nan).item())
    for bounds in ((0, 300, 100), (300, 0, -100), (0, 300.0, 100)):
        assert chainrule.arange(*bounds, dtype=np.int16).tolist() == list(range(*map(int, bounds)))
        last = list(range(*map(int, bounds)))
        if max(last) > 255:
            with pytest.raises(OverflowError, match=r"300(\.0)? does not fit into uint8"):
                chainrule.arange(*bounds, dtype=np.uint8)
        else:
            assert chainrule.arange(*bounds, dtype=np.uint8).tolist() == last
    assert chainrule.arange(5, 5, dtype=np.uint8).tolist() == []


def test_arange():
    assert (chainrule.arange(3).tolist(), chainrule.arange(3).dtype) == ([0, 1, 2], np.int64)
    assert (chainrule.arange(1, 2, 0.25).tolist(), chainrule.arange(1, 2, 0.25).dtype) == (
        [1, 1.25, 1.5, 1.75],
        np.float32,
    )
    assert chainrule.arange(3, 0, -1).tolist() == [3, 2, 1]
    assert chainrule.arange(3.0).dtype == np.float32
    assert chainrule.arange(3, dtype=np.float64).dtype == np.float64
    far = chainrule.arange(0, 1e200, 1e199, dtype=np.float64)  # whose product is infinite
    np.testing.assert_allclose(far.numpy(), np.arange(10) * 1e199)


def test_arange_does_not_gather_errors():
    out = chainrule.arange(1000, 1100, 0.1).numpy()
    np.testing.assert_array_equal(out, (1000 + 0.1 * np.arange(1000)).astype(np.float32))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_rand_is_below_1(dtype):
    generator = np.random.default_rng(0)

    def largest():
        return chainrule.rand(20_000, dtype=dtype, generator=generator).amax()

    for function in (largest, chainrule.jit(largest)):
        assert function().dtype == dtype
        assert 0.999 < function().item() < 1


def test_linspace_and_eye():
    assert chainrule.linspace(0, 1, 5).tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert chainrule.linspace(255, 0, 4, dtype=np.uint8).tolist() == [255, 170, 85, 0]
    for start, end, dtype in ((0, 300, np.uint8), (-1.0, 5, np.uint8), (0, 1e6, np.float16)):
        with pytest.raises(OverflowError, match="does not fit into"):
            chainrule.linspace(start, end, 4, dtype=dtype)
    assert (chainrule.eye(2).tolist(), chainrule.eye(2).dtype) == ([[1, 0], [0, 1]], np.float32)
    assert chainrule.eye(1, 3, dtype=bool).tolist() == [[True, False, False]]


@pytest.mark.parametrize(
    "make",
    [
        lambda: chainrule.zeros(2, dtype=complex),
        lambda: chainrule.full((2,), 1j),
        lambda: chainrule.eye(2, dtype="U1"),
        lambda: chainrule.arange(2, dtype=complex),
    ],
)
def test_only_types_that_a_tensor_holds(make):
    with pytest.raises(TypeError, match="a Tensor holds booleans, integers or floats"):
        make()


class TestRandom:
    def test_the_same_seed_gives_the_same_bits(self):
        def draw() -> list[bytes]:
            out = [
                chainrule.rand(3, 2),
                chainrule.rand(()),
                chainrule.randn(4),
                chainrule.randint(0, 9, (5,)),
                chainrule.randn(()),
            ]
            return [t.numpy().tobytes() for t in out]

        chainrule.manual_seed(4)
        first = draw()
        assert draw() != first
        generator = chainrule.manual_seed(4)
        assert draw() == first
        assert generator is chainrule.default_generator()
        chainrule.manual_seed(5)
        assert draw() != first

    def test_a_generator_of_its_own(self):
        chainrule.manual_seed(0)
        state = chainrule.default_generator().bit_generator.state
        draws = [chainrule.randn(3, generator=np.random.default_rng(1)).tolist() for _ in range(2)]
        assert draws[0] == draws[1]
        assert chainrule.default_generator().bit_generator.state == state

    def test_float64_and_float32_are_the_same_draw(self):
        one, two = (chainrule.randn(5, dtype=t, generator=np.random.default_rng(1)) for t in (np.float32, np.float64))
        np.testing.assert_array_equal(one.numpy(), two.numpy().astype(np.float32))

    def test_distributions(self):
        generator = np.random.default_rng(0)
        even = chainrule.rand(100_000, generator=generator).numpy()
        assert (even.min() >= 0, even.max() <= 1) == (True, True)
        assert even.mean() == pytest.approx(0.5, abs=0.005)
        bell = chainrule.randn(100_000, generator=generator).numpy()
        assert (bell.mean(), bell.std()) == (pytest.approx(0, abs=0.015), pytest.approx(1, abs=0.015))
        whole = chainrule.randint(-1, 3, (10_000,), generator=generator)
        assert (set(whole.tolist()), whole.dtype) == ({-1, 0, 1, 2}, np.int64)

    def test_requires_grad(self):
        assert chainrule.rand(2, requires_grad=True).is_leaf

    def test_randint_takes_the_upper_bound_alone(self):
        out = [
            chainrule.randint(*arguments, **named, generator=np.random.default_rng(2)).tolist()
            for arguments, named in [
                ((0, 9, (5,)), {}),
                ((9, (5,)), {}),
                ((9,), {"size": (5,)}),
                ((), {"high": 9, "size": (5,)}),
                ((0, 9), {"size": 5}),
            ]
        ]
        assert out == [np.random.default_rng(2).integers(0, 9, 5).tolist()] * 5

    @pytest.mark.parametrize("seed", ["a", 1.5, True, None, [1, 2]])
    def test_a_seed_that_is_no_whole_number(self, seed):
        state = chainrule.default_generator().bit_generator.state
        with pytest.raises(TypeError, match="manual_seed: the seed must be an integer, not "):
            chainrule.manual_seed(seed)
        with pytest.raises(ValueError, match="manual_seed: the seed must be at least 0, not -1"):
            chainrule.manual_seed(-1)
        assert chainrule.default_generator().bit_generator.state == state

    @pytest.mark.parametrize("generator", [0, "a", np.random])
    def test_a_generator_that_is_none(self, generator):
        x = chainrule.ones(2)
        for draw in (
            lambda: chainrule.rand(2, generator=generator),
            lambda: chainrule.randint(3, (2,), generator=generator),
            lambda: nn.init.normal_(x, generator=generator),
            lambda: nn.functional.dropout(x, generator=generator),
        ):
            with pytest.raises(TypeError, match=r"the generator must be a numpy\.random\.Generator, not "):
                draw()
        assert x.tolist() == [1, 1]


class TestOneHot:
    def test_rows(self):
        assert one_hot([2, 0]).tolist() == [[0, 0, 1], [1, 0, 0]]
        assert one_hot(chainrule.tensor([[1], [0]]), 3).shape == (2, 1, 3)
        assert one_hot(np.array(1, np.uint8), 2).tolist() == [0, 1]
        assert one_hot([0]).dtype == np.int64
        assert one_hot([], 4).shape == (0, 4)

    def test_labels_that_are_none(self):
        for labels in ([3], [-1], [0, 5]):
            with pytest.raises(IndexError, match="but must be 0 to 2"):
                one_hot(labels, 3)
        for labels in ([0.5, 1.0], [True]):
            with pytest.raises(TypeError, match="the index must be integers, not"):
                one_hot(labels, 3)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: chainrule.zeros(2, -1), "zeros: sizes must not be negative, got (2, -1)"),
        (lambda: chainrule.rand(-2, 3), "rand: sizes must not be negative, got (-2, 3)"),
        (lambda: chainrule.eye(-1), "eye: sizes must not be negative, got (-1, -1)"),
        (lambda: chainrule.linspace(0, 1, -2), "linspace: steps must be at least 0, not -2"),
        (lambda: chainrule.randint(5, 2, (3,)), "randint: low must be below high, got 5 and 2"),
        (lambda: chainrule.arange(0, 5, 0), "arange: the step must not be 0"),
        (lambda: chainrule.arange(1, 0), "arange: steps of 1 do not lead from 1 to 0"),
        (lambda: chainrule.arange(-3), "arange: steps of 1 do not lead from 0 to -3"),
        (lambda: chainrule.arange(0, 1, -0.5), "arange: steps of -0.5 do not lead from 0 to 1"),
        (lambda: chainrule.arange(0, 1, math.nan), "arange: steps of nan do not lead from 0 to 1"),
        (lambda: chainrule.arange(math.inf), "arange: steps of 1 do not lead from 0 to inf"),
        (lambda: chainrule.arange(math.nan, 1), "arange: steps of 1 do not lead from nan to 1"),
    ],
)
def test_sizes_that_make_no_tensor(make, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        make()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: chainrule.arange("a"), "arange: takes numbers, not str"),
        (lambda: chainrule.arange(None), "arange: takes numbers, not NoneType"),
        (lambda: chainrule.arange(0, [3]), "arange: takes numbers, not list"),
        (lambda: chainrule.linspace(0, "a", 3), "linspace: takes numbers, not str"),
        (lambda: chainrule.linspace(0, 1, (3, 4)), "linspace: steps must be an integer, not (3, 4)"),
        (
            lambda: chainrule.full((2,), None, np.float32),
            "a Tensor holds booleans, integers or floats, not object",
        ),
        (lambda: chainrule.full((2,), "3", np.float32), "a Tensor holds booleans, integers or floats, not <U1"),
        (lambda: chainrule.rand(2, dtype=int), "rand: takes a floating type, not int64"),
        (lambda: chainrule.randn(2, dtype=bool), "randn: takes a floating type, not bool"),
        (lambda: chainrule.randint(0, 2.5, (3,)), "randint: takes one or more integers, not (0, 2.5)"),
        (lambda: chainrule.randint(1, 5), "randint: needs a size, such as (2, 3)"),
        (lambda: chainrule.randint(5), "randint: needs a size, such as (2, 3)"),
        (lambda: chainrule.ones_like(3), "ones_like: takes tensors or arrays, not int"),
        (lambda: chainrule.zeros_like([1, 2]), "zeros_like: takes tensors or arrays, not list"),
    ],
)
def test_what_makes_no_tensor(make, sentence):
    with pytest.raises(TypeError, match=re.escape(sentence)):
        make()


NO_NUMBERS = {"None": None, "text": "3", "in a list": [None, 1.0], "texts": np.array(["1", "2"]), "complex": 1 + 2j}


@pytest.mark.parametrize("dtype", [None, np.float32, np.int64])
@pytest.mark.parametrize("name", NO_NUMBERS)
def test_data_that_are_no_numbers(name, dtype):
    for make in (chainrule.tensor, chainrule.as_tensor):
        with pytest.raises(TypeError, match="a Tensor holds booleans, integers or floats, not "):
            make(NO_NUMBERS[name], dtype)


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("name", NO_NUMBERS)
def test_elements_that_are_no_numbers(name, recorded):
    x = chainrule.ones(2, 2, requires_grad=recorded) * 1
    for change in (x.copy_, x.fill_, lambda value: x.__setitem__(0, value), lambda value: x.__setitem__(x > 0, value)):
        with pytest.raises(TypeError, match="a Tensor holds booleans, integers or floats, not "):
            change(NO_NUMBERS[name])
    for name_of, change in (("add", x.__iadd__), ("mul", x.mul_), ("true_divide", x.div_), ("sub", x.sub_)):
        with pytest.raises(TypeError, match=f"{name_of}: takes "):
            change(NO_NUMBERS[name])
    assert x.tolist() == [[1, 1], [1, 1]]


def test_numbers_beyond_int64():
    assert (
        chainrule.tensor([2**70], np.float32).tolist() == chainrule.full((1,), 2**70, np.float32).tolist() == [2.0**70]
    )


def test_the_number_of_threads_is_a_whole_one():
    for number in ("a", 1.5, None):
        with pytest.raises(TypeError, match="set_num_threads: the number must be an integer, not "):
            chainrule.set_num_threads(number)


def test_two_threads_that_draw_first_share_the_default_generator(monkeypatch):
    monkeypatch.setattr(random, "default_generator", functools.cache(random.default_generator.__wrapped__))
    monkeypatch.setattr(random, "_generators", {})
    default_rng = np.random.default_rng

    def generator(in_the_middle):
        def create():
            in_the_middle()
            return default_rng()

        monkeypatch.setattr(np.random, "default_rng", create)
        return random.default_generator()

    first, second = call_in_two_threads(generator)
    assert first is second is random.default_generator()


@pytest.mark.parametrize("make", [chainrule.rand, chainrule.randn])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_single_random_number_is_an_array_without_dimensions(make, dtype):
    compiled = chainrule.jit(lambda: make((), dtype=dtype))
    for out in (make((), dtype=dtype), make(dtype=dtype), compiled(), compiled()):
        assert type(out.numpy()) is np.ndarray
        assert (out.shape, out.dtype) == ((), dtype)
