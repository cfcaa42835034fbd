"""Tensor: construction, conversion, NumPy's protocols, types, indices."""

from __future__ import annotations

import copy
import math
import pickle
import re
import signal

import numpy as np
import pytest

import chainrule
from chainrule import Tensor, as_tensor, from_numpy, nn, no_grad, ops, tensor

F32, F64, I64 = np.float32, np.float64, np.int64


class TestWhatGoesIn:
    @pytest.mark.parametrize(
        ("data", "dtype"),
        [
            (1.5, F32),
            (1, I64),
            (True, bool),
            ([1.0, 2.0], F32),
            ([1, 2], I64),
            ([1, 2.5], F32),
            ([True, False], bool),
            ([[1.0], [2.0]], F32),
            ((1.0, 2.0), F32),
            ([], F32),
            (range(3), I64),
            (np.zeros(2), F64),
            (np.zeros(2, F32), F32),
            (np.zeros(2, np.float16), np.float16),
            (np.zeros(2, np.uint8), np.uint8),
            (np.float64(1), F64),
            (np.float32(1), F32),
            (np.int8(1), np.int8),
            ([np.float64(1), np.float64(2)], F64),
            ([np.zeros(2), np.zeros(2)], F64),
            (np.zeros(2, ">f8"), F64),
            (np.zeros(2, ">i4"), np.int32),
        ],
    )
    def test_types(self, data, dtype):
        for make in (tensor, Tensor, as_tensor):
            out = make(data)
            assert out.dtype == dtype
            assert out.dtype.isnative
            np.testing.assert_array_equal(out.numpy(), np.asarray(data))

    def test_a_type_can_be_asked_for(self):
        assert tensor([1, 2], dtype=F64).dtype == F64
        assert tensor([1.7], dtype=I64).tolist() == [1]
        assert tensor(np.zeros(2), dtype="float32").dtype == F32

    def test_tensors_and_lists_of_them(self):
        x = tensor(np.array([1.0, 2.0]), requires_grad=True)
        copied = tensor(x)
        assert (copied.dtype, copied.requires_grad) == (F64, False)
        assert tensor([x.detach(), x.detach()]).dtype == F64
        assert tensor([tensor(1.0), tensor(2.0)]).tolist() == [1, 2]

    def test_copies_and_shares(self):
        array = np.zeros(3)
        copied, shared, alike = tensor(array), from_numpy(array), as_tensor(array)
        array[0] = 5
        assert (copied.tolist()[0], shared.tolist()[0], alike.tolist()[0]) == (0, 5, 5)
        assert as_tensor(copied) is copied
        assert as_tensor(copied, F32).dtype == F32

    def test_another_type_keeps_the_gradient(self):
        x = tensor([1.0, 2.0], requires_grad=True)
        as_tensor(x * 3, F64).sum().backward()
        assert x.grad.tolist() == [3, 3]

    @pytest.mark.parametrize(
        "data", [1j, "abc", None, ["a"], [None], np.array([1j]), np.array([None]), {"a": 1}, np.zeros(1, "M8[s]")]
    )
    def test_what_is_no_number(self, data):
        with pytest.raises(TypeError, match="a Tensor holds booleans, integers or floats, not"):
            tensor(data)

    def test_uneven_lists(self):
        with pytest.raises(ValueError, match="inhomogeneous"):
            tensor([[1.0, 2.0], [3.0]])

    def test_from_numpy_takes_arrays_only(self):
        with pytest.raises(TypeError, match="from_numpy: takes an array, not list"):
            from_numpy([1.0])

    def test_memory_in_another_order_is_copied_in_order(self):
        assert tensor(np.asfortranarray(np.ones((3, 4)))).detach().numpy().flags.c_contiguous


class TestWhatComesOut:
    def test_shape_and_kin(self):
        x = tensor(np.zeros((2, 3, 4)))
        assert (x.shape, x.ndim, x.dim(), x.size(), x.size(1), x.size(-1), x.numel(), len(x)) == (
            (2, 3, 4),
            3,
            3,
            (2, 3, 4),
            3,
            4,
            24,
            2,
        )
        assert (x.T.shape, x.mT.shape) == ((4, 3, 2), (2, 4, 3))
        assert tensor(1.0).numel() == 1
        with pytest.raises(TypeError, match="without dimensions has no length"):
            len(tensor(1.0))

    def test_item_and_tolist(self):
        assert (tensor([[2.5]]).item(), type(tensor([[2]]).item()), tensor(True).item()) == (2.5, int, True)
        assert tensor([[1, 2], [3, 4]]).tolist() == [[1, 2], [3, 4]]
        assert tensor(1.5).tolist() == 1.5
        with pytest.raises(ValueError, match=r"only a tensor of one element is a number, but this has shape \(2,\)"):
            tensor([1, 2]).item()

    def test_python_numbers(self):
        x = tensor([2.75], requires_grad=True)
        assert (float(x), int(x), bool(x), round(float(x), 1)) == (2.75, 2, True, 2.8)
        assert math.sqrt(tensor(4.0)) == 2
        assert [10, 20, 30][tensor(1)] == 20
        assert list(range(tensor([3]))) == [0, 1, 2]
        with pytest.raises(TypeError, match="only an integer tensor can be an index, not float32"):
            [10][tensor(0.0)]
        with pytest.raises(ValueError, match=r"shape \(2,\) is neither true nor false: use .any\(\) or .all\(\)"):
            bool(tensor([True, True]))
        with pytest.raises(ValueError, match="neither true nor false"):
            bool(tensor([]))

    def test_iteration(self):
        assert [row.tolist() for row in tensor([[1, 2], [3, 4]])] == [[1, 2], [3, 4]]
        a, b = tensor([1.0, 2.0], requires_grad=True)
        assert a.requires_grad
        assert (a.item(), b.item()) == (1, 2)
        with pytest.raises(TypeError, match="no length"):
            iter(tensor(1.0))
        assert 2 in tensor([1, 2])
        assert 3 not in tensor([1, 2])

    def test_format(self):
        assert f"{tensor(3.14159):.2f}" == "3.14"
        assert f"{tensor([7]):>4d}" == "   7"
        assert f"{tensor([1, 2])}" == str(tensor([1, 2]))

    def test_is_hashed_by_identity(self):
        x, y = tensor([1.0]), tensor([1.0])
        assert len({x, y, x}) == 2

    @pytest.mark.parametrize(
        ("make", "text"),
        [
            (lambda: tensor(1.5), "tensor(1.5)"),
            (lambda: tensor([1.0, 2.0]), "tensor([1., 2.], shape=(2,))"),
            (lambda: tensor([1, 2]), "tensor([1, 2], shape=(2,))"),
            (lambda: tensor(True), "tensor(True)"),
            (lambda: tensor(np.zeros((0, 3))), "tensor([], shape=(0, 3), dtype=float64)"),
            (lambda: tensor([1.0], requires_grad=True), "tensor([1.], shape=(1,), requires_grad=True)"),
            (lambda: tensor([1.0], requires_grad=True) * 2, "tensor([2.], shape=(1,), from=mul)"),
            (lambda: tensor([[1.0, 2.0], [3.0, 4.0]]), "tensor([[1., 2.],\n        [3., 4.]], shape=(2, 2))"),
            (lambda: nn.Parameter([1.0]), "parameter([1.], shape=(1,), requires_grad=True)"),
            (lambda: nn.Parameter([1.0], requires_grad=False), "parameter([1.], shape=(1,))"),
            (lambda: tensor([np.nan, np.inf, 1 / 3]), "tensor([   nan,    inf, 0.3333], shape=(3,))"),
        ],
    )
    def test_repr(self, make, text):
        assert repr(make()) == text

    def test_repr_of_much_is_short(self):
        assert len(repr(chainrule.zeros(1000, 1000))) < 1000

    def test_pickle_is_refused(self):
        for dump in (pickle.dumps, copy.copy):
            with pytest.raises(TypeError, match="tensors cannot be pickled: save values with safetensors"):
                dump(tensor([1.0]))

    def test_deepcopy(self):
        x = nn.Parameter(np.array([1.0, 2.0]))
        pair = copy.deepcopy([x, x, tensor([3])])
        assert type(pair[0]) is nn.Parameter
        assert pair[0] is pair[1]
        assert pair[0] is not x
        pair[0].detach().zero_()
        (pair[0] * 2).sum().backward()
        assert (x.tolist(), x.grad, pair[0].grad.tolist()) == ([1, 2], None, [2, 2])
        with pytest.raises(RuntimeError, match=re.escape("use detach().clone()")):
            copy.deepcopy(x * 2)


class TestArrays:
    """np.asarray, np.array and DLPack."""

    def test_asarray_shares_if_nothing_is_recorded(self):
        x = tensor([1.0, 2.0])
        np.asarray(x)[0] = 5
        assert x.tolist() == [5, 2]

    def test_of_what_is_recorded_it_is_read_only(self):
        x = tensor([1.0, 2.0], requires_grad=True)
        with no_grad():
            arrays = [np.asarray(x), np.asarray(x, F32)]
        for array in (*arrays, x.numpy()):
            assert np.shares_memory(array, x.detach().numpy())
            assert not array.flags.writeable

    @pytest.mark.parametrize(
        "make",
        [
            lambda t, v: np.array([t, t * 2]),
            lambda t, v: np.asarray(t),
            lambda t, v: np.array(v, F32),
            lambda t, v: np.mean([t, t]),
            lambda t, v: np.sum([v, v]),
            lambda t, v: np.r_[t, t],
            lambda t, v: np.append([t], [t]),
            lambda t, v: np.append(v, v),
            lambda t, v: np.block([v, v]),
            lambda t, v: np.full(3, t),
            lambda t, v: np.zeros(2).__setitem__(..., v),
            lambda t, v: np.zeros(2).dot(v),
            lambda t, v: np.random.default_rng(0).normal(v),
            lambda t, v: tensor([t, t]),
            lambda t, v: as_tensor([v, v]),
            lambda t, v: chainrule.full((2,), t),
            lambda t, v: chainrule.zeros(2).__setitem__(..., [t, t]),
            lambda t, v: v.where([t, t], v),
        ],
    )
    def test_where_a_gradient_would_be_lost(self, make):
        x = tensor([1.0, 2.0], requires_grad=True)
        for values in (x, x * 2):
            with pytest.raises((RuntimeError, TypeError)) as raised:
                make(values.sum(), values)
            words = str(raised.value)
            assert "stack or cat" in words or "has no derivative here" in words or "takes tensors" in words
            with no_grad():
                assert np.asarray(values).shape == (2,)
        assert np.stack([x.sum(), x.mean()]).requires_grad
        assert np.array([x.detach(), x.detach()]).shape == (2, 2)

    def test_types_and_copies(self):
        x = tensor([1.5, 2.5])
        assert (np.asarray(x, I64).tolist(), np.asarray(x, F64).dtype) == ([1, 2], F64)
        array = np.array(x)
        array[0] = 9
        assert x.tolist() == [1.5, 2.5]
        assert np.array(x, F64, copy=True).flags.writeable
        assert np.shares_memory(np.array(x, copy=False), x.detach().numpy())
        with pytest.raises(ValueError, match="without a copy"):
            np.array(x, F64, copy=False)

    def test_dlpack(self):
        x = tensor(np.arange(6.0).reshape(2, 3))
        shared = np.from_dlpack(x)
        assert np.shares_memory(shared, x.numpy())
        np.testing.assert_array_equal(np.from_dlpack(x.T), x.T.numpy())
        for asking in (tensor([1.0], requires_grad=True), tensor([1.0], requires_grad=True) * 2):
            with pytest.raises(BufferError, match=r"call detach\(\) first"):
                np.from_dlpack(asking)
            np.from_dlpack(asking.detach())


class TestNumPyFunctions:
    X = np.array([[1.0, 4.0, 2.0], [3.0, 0.5, 6.0]])

    @pytest.mark.parametrize(
        "call",
        [
            lambda x: np.exp(x),
            lambda x: np.log(x) + np.sqrt(x) * np.tanh(x),
            lambda x: np.negative(x) - np.absolute(x) + np.abs(x),
            lambda x: np.add(x, 1) + np.subtract(1, x) + np.multiply(x, x) + np.divide(x, 2) + np.true_divide(1, x),
            lambda x: np.power(x, 2),
            lambda x: np.maximum(x, 2.0) + np.minimum(x, 3.0),
            lambda x: np.sum(x),
            lambda x: np.sum(x, axis=0),
            lambda x: np.sum(x, 1, keepdims=True),
            lambda x: np.mean(x, axis=(0, 1)),
            lambda x: np.max(x, axis=1) + np.min(x, axis=1),
            lambda x: np.amax(x, axis=0) + np.amin(x, axis=0),
            lambda x: np.matmul(x, np.swapaxes(x, 0, 1)),
            lambda x: np.matmul(np.transpose(x), x),
            lambda x: np.transpose(x, axes=(1, 0)),
            lambda x: np.reshape(x, (3, 2)),
            pytest.param(
                lambda x: np.reshape(x, shape=-1),
                marks=pytest.mark.skipif(np.lib.NumpyVersion(np.__version__) < "2.1.0", reason="NumPy 2.1 has `shape`"),
            ),
            lambda x: np.ravel(x),
            lambda x: np.expand_dims(x, axis=1),
            lambda x: np.squeeze(np.expand_dims(x, 0), axis=0),
            lambda x: np.broadcast_to(x, (2, 2, 3)),
            lambda x: np.where(np.greater(x, 2), x, 0.0),
            lambda x: np.take_along_axis(x, np.array([[0], [2]]), axis=1),
            lambda x: np.ones(3) * x,
            lambda x: np.ones((4, 2)) @ x,
            lambda x: np.float64(2) * x + x * np.float32(3) - np.float64(1),
            lambda x: np.float64(2) / x,
            lambda x: np.float64(2) ** x,
            lambda x: np.full((2, 1), 2.0) - x,
            lambda x: np.full((2, 1), 2.0) ** x,
        ],
    )
    def test_give_tensors_with_gradients(self, call):
        x = tensor(self.X, requires_grad=True)
        out = call(x)
        assert isinstance(out, Tensor)
        np.testing.assert_allclose(out.detach().numpy(), call(self.X), rtol=1e-14)
        out.sum().backward()
        assert x.grad.shape == (2, 3)

    @pytest.mark.parametrize(
        "call",
        [
            lambda x: np.argmax(x, axis=1),
            lambda x: np.argmin(x),
            lambda x: np.all(x > 1, axis=0),
            lambda x: np.any(np.less(x, 1)),
            lambda x: np.isfinite(x),
            lambda x: np.logical_not(x),
            lambda x: np.equal(x, 2) | (x != 3),
            lambda x: np.full(3, 2.0) < x,
            lambda x: np.full(3, 2.0) >= x,
            lambda x: np.float64(2) == x,
            lambda x: np.sign(x),
            lambda x: np.less_equal(x, x) & np.greater_equal(1, x) & np.not_equal(x, 1),
        ],
    )
    def test_without_derivative(self, call):
        out = call(tensor(self.X))
        assert isinstance(out, Tensor)
        np.testing.assert_array_equal(out.numpy(), call(self.X))

    def test_shape_and_kin(self):
        x = tensor(self.X, requires_grad=True)
        assert (np.shape(x), np.ndim(x)) == ((2, 3), 2)
        assert np.zeros_like(x).tolist() == [[0] * 3] * 2
        assert np.ones_like(x).dtype == F64

    @pytest.mark.parametrize(
        ("call", "name"),
        [
            (lambda x: np.arctan2(x, 1), "np.arctan2"),
            (lambda x: np.arctan2(x, x), "np.arctan2"),
            (lambda x: np.linalg.inv(x), "np.linalg.inv"),
            (lambda x: np.kron(x, x), "np.kron"),
            (lambda x: np.add.reduce(x), "np.add.reduce"),
            (lambda x: np.multiply.outer(x, x), "np.multiply.outer"),
            (lambda x: np.add.at(np.zeros(3), [0], x), "np.add.at"),
        ],
    )
    def test_that_are_not_supported_say_so(self, call, name):
        with pytest.raises(
            TypeError, match=re.escape(f"{name} has no derivative here; for values alone use {name}(tensor.numpy())")
        ):
            call(tensor(self.X))

    def test_options_that_are_not_supported_say_so(self):
        x, array = tensor(self.X), np.zeros((2, 3))
        with pytest.raises(TypeError, match="np.exp of a Tensor takes no out"):
            np.exp(x, out=array)
        with pytest.raises(TypeError, match="np.add of a Tensor takes no out"):
            array += x
        with pytest.raises(TypeError, match="np.exp of a Tensor takes no dtype, where"):
            np.exp(x, dtype=F32, where=True)
        assert np.sum(x, dtype=F32).dtype == F32
        with pytest.raises(TypeError):
            np.sum(x, 0, F32)
        with pytest.raises(TypeError, match="initial"):
            np.max(x, initial=5)

    def test_a_function_that_takes_no_array_here(self):
        with pytest.raises(TypeError, match="takes tensors, arrays and numbers, not list"):
            np.add(tensor([1.0]), [1.0])


class TestTypes:
    """PyTorch's rules (tests/conformance compares the whole table with PyTorch itself)."""

    @pytest.mark.parametrize(
        ("left", "right", "dtype"),
        [
            (tensor([1.0]), 2, F32),
            (tensor([1.0]), 2.5, F32),
            (tensor([1.0]), np.float64(2), F32),
            (tensor([1.0]), np.array(2.0), F32),
            (tensor([1.0]), np.array([2.0]), F64),
            (tensor([1.0]), tensor([1]), F32),
            (tensor([1.0]), tensor([True]), F32),
            (tensor([1]), 2, I64),
            (tensor([1]), 2.5, F32),
            (tensor([1]), np.float64(2), F32),
            (tensor([1]), np.array(2.0), F64),
            (tensor([1]), True, I64),
            (tensor([1], dtype=np.int8), 2, np.int8),
            (tensor([1], dtype=np.int8), np.int64(2), np.int8),
            (tensor([1], dtype=np.int8), tensor([1], dtype=np.uint8), np.int16),
            (tensor([1], dtype=np.uint8), 2.5, F32),
            (tensor([True]), 2, I64),
            (tensor([True]), 2.5, F32),
            (tensor([True]), True, bool),
            (tensor([True]), tensor(2.5), F32),
            (tensor([1.0], dtype=np.float16), 2.5, np.float16),
            (tensor([1.0], dtype=np.float16), tensor([1.0]), F32),
            (tensor([1.0]), tensor(1.0, dtype=F64), F32),
            (tensor(1.0), tensor(1.0, dtype=F64), F64),
            (tensor(1), 2.5, F32),
        ],
        ids=lambda v: getattr(v, "name", None) or f"{type(v).__name__}",
    )
    def test_arithmetic(self, left, right, dtype):
        assert (left * right).dtype == (right * left).dtype == (left + right).dtype == dtype
        assert np.maximum(left, right).dtype == dtype
        assert (left < right).dtype == (right == left).dtype == bool

    def test_division_makes_floats(self):
        assert (tensor([1]) / 2).dtype == (tensor([1]) / tensor([2])).dtype == (1 / tensor([True])).dtype == F32
        assert (tensor([1]) / np.array([2.0])).dtype == F64

    def test_division_that_rounds_down(self):
        x = tensor([-7.0, 7.0], requires_grad=True)
        assert ((x // 2).tolist(), (20 // x).tolist(), (x // x).tolist()) == ([-4, 3], [-3, 2], [1, 1])
        assert (tensor([-7, 7]) // 2).tolist() == [-4, 3]
        assert [(tensor([7]) // other).dtype for other in (2, 2.0, tensor([2]))] == [I64, F32, I64]
        assert (np.array([7.0]) // tensor([2.0])).tolist() == [3]
        assert (tensor([1.0, -1.0, 0.0]) // 0).tolist() == [math.inf, -math.inf, pytest.approx(math.nan, nan_ok=True)]
        (x // 2).sum().backward()
        assert x.grad.tolist() == [0, 0]
        y = x
        y //= 2
        assert (y.tolist(), x.tolist()) == ([-4, 3], [-7, 7])

    def test_choices(self):
        true = tensor([True])
        for one, two, dtype in [
            (1.0, 0.0, F32),
            (1, 0, I64),
            (1, 0.5, F32),
            (tensor([1]), 0.5, F32),
            (tensor([1.0], dtype=F64), 0, F64),
            (tensor(1.0, dtype=F64), 0.0, F64),
            (True, False, bool),
        ]:
            assert chainrule.where(true, one, two).dtype == dtype

    def test_products(self):
        assert (tensor([[1]]) @ tensor([[2]])).dtype == I64
        assert (tensor([[1.0]]) @ np.ones((1, 1), F32)).dtype == F32
        for other in (tensor([[1]]), np.ones((1, 1))):  # nothing is widened silently
            with pytest.raises(
                TypeError, match=r"matmul: both must have the same type, not float32 and (int64|float64)"
            ):
                tensor([[1.0]]) @ other

    def test_conversions(self):
        x = tensor([0.0, 1.5, -2.5], requires_grad=True)
        assert (x.double().dtype, x.long().tolist(), x.bool().tolist()) == (F64, [0, 1, -2], [False, True, True])
        assert x.float() is x
        assert x.to("float64").dtype == F64
        (x.double() * 2).sum().backward()
        assert (x.grad.dtype, x.grad.tolist()) == (F32, [2, 2, 2])


class TestComparisonsAndLogic:
    def test_elementwise_with_anything(self):
        x = tensor([1.0, 2.0, 3.0])
        for other in (2, 2.0, np.float64(2), np.array([2.0]), tensor(2), tensor([2, 2, 2])):
            assert (x < other).tolist() == [True, False, False]
            assert (x <= other).tolist() == [True, True, False]
            assert (x > other).tolist() == [False, False, True]
            assert (x >= other).tolist() == [False, True, True]
            assert (x == other).tolist() == [False, True, False]
            assert (x != other).tolist() == [True, False, True]
            assert (other == x).tolist() == [False, True, False]
            assert (other > x).tolist() == [True, False, False]

    def test_with_what_is_no_number(self):
        x = tensor([1.0])
        assert (x == "a", x != None, x == None, x == [1.0]) == (False, True, False, False)  # noqa: E711  # what is tested

    def test_and_or_not(self):
        x = tensor([True, True, False])
        y = tensor([True, False, False])
        assert [(x & y).tolist(), (x | y).tolist(), (~x).tolist()] == [
            [True, False, False],
            [True, True, False],
            [False, False, True],
        ]
        assert (x & np.array([True, False, True])).tolist() == [True, False, False]

    def test_unary(self):
        x = tensor([-1.0, 2.0])
        assert ((-x).tolist(), (+x).tolist(), abs(x).tolist()) == ([1, -2], [-1, 2], [1, 2])


class TestIndices:
    ARRAY = np.arange(24.0).reshape(2, 3, 4)

    @pytest.mark.parametrize(
        "index",
        [
            0,
            -1,
            (1, 2, 3),
            slice(1, None),
            (slice(None), slice(None, None, -1)),
            (..., 0),
            (None, 0, ..., None),
            ([1, 0],),
            ([0, 1, 1], [2, 2, 0]),
            (slice(None), [0, 2], slice(1, 3)),
            ARRAY > 11,
            (0, ARRAY[0] % 2 == 0),
            np.array([1, 1]),
            np.int64(1),
            True,
            slice(5, 9),
            (),
        ],
        ids=str,
    )
    def test_read_and_written_as_in_numpy(self, index):
        array = self.ARRAY.copy()
        x = tensor(array)
        np.testing.assert_array_equal(x[index].numpy(), array[index])
        x[index] = -1
        array[index] = -1
        np.testing.assert_array_equal(x.numpy(), array)
        x[index] = 2 * np.ones(array[index].shape)
        array[index] = 2
        np.testing.assert_array_equal(x.numpy(), array)

    def test_basic_indices_are_views_and_others_copies(self):
        x = tensor(self.ARRAY)
        for index in (0, (0, 1), (0, 1, 2), slice(1), (..., 0), (None, 1)):
            assert np.shares_memory(x[index].numpy(), x.numpy())
        for index in ([0], np.array([True, False]), x > 3):
            assert not np.shares_memory(x[index].numpy(), x.numpy())

    def test_values_that_do_not_fit(self):
        x = tensor([1, 2, 3])
        with pytest.raises(ValueError, match=r"a value of shape \(2,\) does not fit into shape \(3,\)"):
            x[:] = [1, 2]
        with pytest.raises(IndexError):
            x[5] = 1


class TestProducts:
    @pytest.mark.parametrize(
        ("one", "two"),
        [
            ((3,), (3,)),
            ((3,), (3, 2)),
            ((2, 3), (3,)),
            ((2, 3), (3, 4)),
            ((5, 2, 3), (3,)),
            ((3,), (5, 3, 4)),
            ((2, 1, 2, 3), (5, 3, 4)),
        ],
    )
    def test_matmul_as_in_numpy(self, one, two):
        rng = np.random.default_rng(0)
        a, b = rng.standard_normal(one), rng.standard_normal(two)
        for product in (
            tensor(a) @ tensor(b),
            a @ tensor(b),
            tensor(a) @ b,
            tensor(a).matmul(b),
            chainrule.matmul(tensor(a), b),
        ):
            np.testing.assert_array_equal(product.numpy(), a @ b)


class TestMethods:
    def test_shapes(self):
        x = tensor(np.arange(6.0).reshape(2, 3))
        assert (
            x.reshape(3, 2).shape
            == x.reshape((3, -1)).shape
            == x.view(3, 2).shape
            == x.reshape(np.int64(3), 2).shape
            == (3, 2)
        )
        assert x.reshape(-1).tolist() == x.flatten().tolist() == [0, 1, 2, 3, 4, 5]
        assert tensor([5.0]).reshape(()).shape == ()
        assert x.permute(1, 0).shape == x.permute((1, 0)).shape == x.transpose(0, 1).shape == (3, 2)
        assert x.expand(4, 2, 3).shape == x.expand(4, -1, -1).shape == x.expand((4, 2, -1)).shape == (4, 2, 3)
        assert x.unsqueeze(0).squeeze(0).shape == (2, 3)

    def test_largest_with_places(self):
        x = tensor([[1.0, 5.0], [7.0, 2.0]])
        values, indices = x.max(dim=0)
        assert (values.tolist(), indices.tolist(), indices.dtype) == ([7, 5], [1, 0], I64)
        values, indices = x.min(1, keepdim=True)
        assert (values.tolist(), indices.tolist()) == ([[1], [2]], [[0], [1]])
        assert (x.max().item(), x.min().item()) == (7, 1)

    def test_are_the_operations(self):
        x = tensor([0.5, 2.0])
        for name in (
            "abs exp erf log sqrt sign neg tanh sigmoid relu sum mean amax amin argmax argmin all any isfinite".split()
        ):
            np.testing.assert_array_equal(getattr(x, name)().numpy(), getattr(chainrule, name)(x).numpy())
        for name in "add sub mul div pow eq ne lt le gt ge maximum minimum matmul".split():
            np.testing.assert_array_equal(getattr(x, name)(x).numpy(), getattr(chainrule, name)(x, x).numpy())
        assert x.erf().tolist() == [pytest.approx(math.erf(0.5)), pytest.approx(math.erf(2))]
        assert x.sqrt().tolist() == [pytest.approx(0.5**0.5), pytest.approx(2**0.5)]
        assert x.any().item() is True


@pytest.mark.parametrize(
    ("dtype", "number"),
    [
        (np.uint8, 300), (np.uint8, -300), (np.int8, 200), (np.int8, -130), (np.int32, 2**31), (np.int64, 2**63),
        (np.int64, 1e30), (np.int64, math.nan), (np.uint8, math.inf), (np.float32, 1e300), (np.float16, 1e5),
    ],
)  # fmt: skip
def test_an_element_takes_no_number_that_its_type_cannot_hold(dtype, number):
    x = chainrule.ones(3, dtype=dtype)
    for change in (
        lambda: x.__setitem__(1, number), lambda: x.fill_(number), lambda: x.__setitem__(slice(2), [1, number]),
    ):  # fmt: skip
        with pytest.raises(OverflowError, match="does not fit into"):
            change()
    assert x.tolist() == [1, 1, 1]


def test_an_element_takes_the_largest_numbers_that_its_type_can_hold():
    for dtype in (np.uint8, np.int8, np.int16, np.int64):
        x, limits = chainrule.zeros(2, dtype=dtype), np.iinfo(dtype)
        x[0], x[1] = int(limits.min), int(limits.max)
        assert x.tolist() == [limits.min, limits.max]
    x = chainrule.zeros(3, dtype=np.float32)
    x[0], x[1], x[2] = math.inf, float(np.finfo(np.float32).max), 2**70
    assert x.tolist() == [math.inf, np.finfo(np.float32).max, 2.0**70]
    x = chainrule.zeros(1, dtype=np.uint8)
    x[0] = -1  # as in PyTorch
    assert x.tolist() == [255]


@pytest.mark.parametrize("compiled", [False, True])
def test_a_number_that_does_not_fit_is_told_with_the_operation(compiled):
    function = lambda x: x + 300  # noqa: E731
    with pytest.raises(
        OverflowError, match=r"add: \(3,\) and 300 do not fit: Python integer 300 out of bounds for uint8"
    ):
        (chainrule.jit(function) if compiled else function)(chainrule.zeros(3, dtype=np.uint8))


def test_a_signals_handler_computes_while_an_operation_does(monkeypatch):
    x, results = chainrule.tensor([1.0, -1.0]), []

    @ops.operation
    def doubled(input):
        signal.raise_signal(signal.SIGUSR1)
        return input * 2

    def handler(number, frame):
        results.append(((x / 0).tolist(), chainrule.log(x).tolist()[0]))  # no warning either

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        assert doubled(x).tolist() == [2, -2]
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert results == [([math.inf, -math.inf], 0)]


def test_an_error_that_speaks_of_contexts_stays_an_error():
    @ops.operation
    def failing(input):
        raise RuntimeError("cannot enter context of mine")

    with pytest.raises(RuntimeError, match="of mine"):
        failing(chainrule.ones(2))


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        *[(np.int64, value) for value in (np.float64("nan"), np.float32("inf"), 2.0**63, -(2.0**64), [1, math.nan])],
        *[(np.uint8, value) for value in (np.int64(300), 256, -256, [1, 300])],
        *[(np.int8, value) for value in (np.int64(200), -129, 128.0)],
        *[(np.float32, value) for value in (1e39, np.float64(-1e300), [0.0, 1e39])],
    ],
)
def test_elements_take_no_number_that_does_not_fit(dtype, value):
    x = from_numpy(np.zeros(2, dtype))
    with pytest.raises(OverflowError, match=f"does not fit into {np.dtype(dtype)}"):
        x[:] = value
    assert x.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        (np.int64, -(2.0**63), -(2**63)),
        (np.int64, 2**63 - 1, 2**63 - 1),
        (np.uint8, -1, 255),  # as in C and PyTorch
        (np.uint8, 255.5, 255),
        (np.int8, np.float64(-128.0), -128),
        (np.float32, math.inf, math.inf),
        (np.float32, 1e-50, 0.0),
        (np.uint64, 2**64 - 1, 2**64 - 1),
    ],
)
def test_elements_take_all_numbers_that_fit(dtype, value, expected):
    x = from_numpy(np.zeros(2, dtype))
    x[1] = value
    assert x.tolist() == [0, expected]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("other", [[1.0, 2.0], "a", None])
@pytest.mark.parametrize("change", ["add_", "sub_", "mul_", "div_"])
def test_a_change_in_place_takes_tensors_and_numbers(change, other, compiled):
    a = tensor([1.0, 2.0])

    def run():
        getattr(a, change)(other)

    with pytest.raises(TypeError, match=r"takes tensors, arrays and numbers, not (list|str|NoneType)"):
        (chainrule.jit(run) if compiled else run)()
    assert a.tolist() == [1.0, 2.0]
