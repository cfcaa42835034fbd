"""Edge cases: ties, infinities, NaN, extreme values, and shapes that do not fit."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

import chainrule
from chainrule import nn, ops

INF, NAN = np.inf, np.nan


def slope(function, *values, dtype=np.float64):
    """The value and the gradient of the sum of function(values)."""
    x = chainrule.tensor(np.array(values, dtype), requires_grad=True)
    out = function(x)
    out.sum().backward()
    return out.detach().numpy(), x.grad.numpy()


class TestTies:
    def test_relu_and_abs_are_flat_at_zero(self):
        np.testing.assert_array_equal(slope(ops.relu, -1, 0.0, -0.0, 1)[1], [0, 0, 0, 1])
        np.testing.assert_array_equal(slope(ops.abs, -1, 0.0, 1)[1], [-1, 0, 1])
        np.testing.assert_array_equal(slope(ops.leaky_relu, 0.0)[1], [0.01])

    def test_maximum_and_minimum_share_a_tie(self):
        for operation in (ops.maximum, ops.minimum):
            x, y = (chainrule.tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
            operation(x, y).sum().backward()
            assert x.grad.tolist() == y.grad.tolist() == [0.5, 0.5]

    def test_amax_shares_evenly_between_all_that_are_largest(self):
        np.testing.assert_array_equal(slope(ops.amax, 3, 1, 3, 3)[1], [1 / 3, 0, 1 / 3, 1 / 3])
        np.testing.assert_array_equal(slope(ops.amin, 3, 1, 1)[1], [0, 0.5, 0.5])
        np.testing.assert_array_equal(slope(lambda x: x.max(), 2, 2)[1], [0.5, 0.5])

    def test_max_along_a_dimension_picks_the_first(self):
        x = chainrule.tensor([[1.0, 5, 5], [7, 7, 2]], requires_grad=True)
        values, indices = x.max(1)
        assert (values.tolist(), indices.tolist()) == ([5, 7], [1, 0])
        (values * chainrule.tensor([2.0, 3.0])).sum().backward()
        assert x.grad.tolist() == [[0, 2, 0], [3, 0, 0]]

    def test_argmax_and_argmin_take_the_first(self):
        x = chainrule.tensor([[1, 3, 3], [0, 0, 2]])
        assert (x.argmax().item(), x.argmin().item()) == (1, 3)
        assert (x.argmax(dim=1).tolist(), x.argmin(dim=1).tolist()) == ([1, 2], [0, 0])


class TestInfinitiesAndNan:
    """Nothing warns (warnings are errors here), and no value is clamped or replaced."""

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_values_and_slopes(self, dtype):
        for function, x, value, gradient in [
            (ops.log, 0.0, -INF, INF),
            (ops.log, -1.0, NAN, -1.0),
            (ops.log, INF, INF, 0.0),
            (ops.exp, 1000.0, INF, INF),
            (ops.exp, -1000.0, 0.0, 0.0),
            (ops.exp, -INF, 0.0, 0.0),
            (ops.sqrt, 0.0, 0.0, INF),
            (ops.sqrt, -1.0, NAN, NAN),
            (lambda x: 1 / x, 0.0, INF, -INF),
            (lambda x: 1 / x, -0.0, -INF, -INF),
            (lambda x: x / x, 0.0, NAN, NAN),
            (lambda x: x**-1, 0.0, INF, -INF),
            (lambda x: x**0.5, -1.0, NAN, NAN),
            (lambda x: x**0, 0.0, 1.0, 0.0),
            (lambda x: x**1, 0.0, 0.0, 1.0),
            (lambda x: x**2, 0.0, 0.0, 0.0),
            (lambda x: 0.0**x, 2.0, 0.0, 0.0),
            (lambda x: 0.0**x, 0.0, 1.0, 0.0),
            (lambda x: 2.0**x, -INF, 0.0, 0.0),
            (ops.tanh, 1e4, 1.0, 0.0),
            (ops.tanh, -INF, -1.0, 0.0),
            (ops.sigmoid, 1e4, 1.0, 0.0),
            (ops.sigmoid, -1e4, 0.0, 0.0),
            (ops.sigmoid, INF, 1.0, 0.0),
            (ops.sigmoid, -INF, 0.0, 0.0),
            (ops.relu, INF, INF, 1.0),
            (ops.relu, -INF, 0.0, 0.0),
            (ops.relu, NAN, NAN, 1.0),
            (ops.leaky_relu, -INF, -INF, 0.01),
            (ops.sign, -INF, -1.0, 0.0),
        ]:
            out = slope(function, x, dtype=dtype)
            np.testing.assert_allclose(out, [[value], [gradient]], rtol=1e-6, err_msg=f"{function} at {x}")

    def test_overflow_of_float32(self):
        x = chainrule.tensor([3e38], requires_grad=True)
        (x * 10).sum().backward()
        assert ((x * 10).tolist(), x.grad.tolist()) == ([INF], [10])
        assert (x + x).tolist() == [INF]
        assert (x * x - x * x).isfinite().tolist() == [False]
        assert chainrule.tensor([2**63 - 1]).float().tolist() == [float(2**63)]

    def test_in_place_does_not_warn_either(self):
        x = chainrule.tensor([3e38, 0.0])
        x *= 10
        x /= 0
        assert x.tolist()[0] == INF
        assert np.isnan(x.tolist()[1])

    def test_sigmoid_keeps_its_digits_far_below_zero(self):
        x = np.array([-700.0, -40.0, -5.0, 0.0, 5.0, 40.0])
        np.testing.assert_allclose(slope(ops.sigmoid, *x)[0][:3], np.exp(x[:3]) / (1 + np.exp(x[:3])), rtol=1e-14)
        np.testing.assert_allclose(slope(ops.sigmoid, *x)[1][:2], np.exp(x[:2]), rtol=1e-14)
        assert slope(ops.sigmoid, -20, dtype=np.float32)[0] == pytest.approx(np.exp(-20), rel=1e-6)

    def test_the_largest_of_nan_is_nan_and_so_is_its_gradient(self):
        for function in (ops.amax, ops.amin, lambda x: x.amax(dim=0)):
            value, gradient = slope(function, 1.0, NAN, 2.0)
            assert np.isnan(value)
            assert np.isnan(gradient).all()

    def test_maximum_of_nan_is_nan_and_lets_gradients_pass(self):
        for operation in (ops.maximum, ops.minimum):
            x, y = chainrule.tensor([1.0, NAN], requires_grad=True), chainrule.tensor([NAN, 1.0], requires_grad=True)
            out = operation(x, y)
            out.sum().backward()
            assert np.isnan(out.detach().numpy()).all()
            assert x.grad.tolist() == y.grad.tolist() == [1, 1]

    def test_the_largest_of_infinities(self):
        value, gradient = slope(ops.amax, INF, 1.0, INF)
        assert value == INF
        np.testing.assert_array_equal(gradient, [0.5, 0, 0.5])

    @pytest.mark.parametrize("function", [ops.softmax, ops.log_softmax])
    def test_softmax_of_huge_and_hopeless_scores(self, function):
        huge = function(chainrule.tensor([1e4, -1e4, 1e4]))
        wanted = (
            np.array([0.5, 0, 0.5]) if function is ops.softmax else np.array([-np.log(2), -2e4 - np.log(2), -np.log(2)])
        )
        np.testing.assert_allclose(huge.numpy(), wanted, rtol=1e-6)
        value, gradient = slope(lambda x: function(x)[0], 2.0, -INF)
        assert value == (1 if function is ops.softmax else 0)
        np.testing.assert_array_equal(gradient, [0, 0])
        assert np.isnan(function(chainrule.tensor([INF, 1.0])).numpy()[0])

    def test_cross_entropy_of_huge_scores(self):
        scores = chainrule.tensor([[1e4, -1e4], [1e4, -1e4], [-1e4, 1e4]], requires_grad=True)
        losses = ops.cross_entropy(scores, np.array([0, 1, 1]), reduction="none")
        assert losses.tolist() == [0, 2e4, 0]
        losses.mean().backward()
        np.testing.assert_allclose(scores.grad.numpy(), [[0, 0], [1 / 3, -1 / 3], [0, 0]], rtol=1e-6)

    def test_binary_cross_entropy_of_sure_scores_keeps_its_digits(self):
        scores = chainrule.tensor([-30.0, 30.0, -INF, INF, -INF, INF, 1e4], requires_grad=True)
        right = chainrule.tensor([0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.5])
        losses = ops.binary_cross_entropy_with_logits(scores, right, reduction="none")
        small = np.exp(-30)
        np.testing.assert_allclose(losses.detach().numpy(), [small, small, NAN, NAN, INF, INF, 5e3], rtol=1e-6)
        losses[:2].sum().backward()
        np.testing.assert_allclose(scores.grad.numpy()[:2], [small, -small], rtol=1e-6)

    @pytest.mark.parametrize("function", [ops.huber_loss, ops.smooth_l1_loss])
    def test_an_infinite_error_has_the_slope_of_a_large_one(self, function):
        value, gradient = slope(lambda x: function(x, np.zeros(3), "none"), -INF, 0.5, INF)
        np.testing.assert_array_equal(value, [INF, 0.125, INF])
        np.testing.assert_array_equal(gradient, [-1, 0.5, 1])

    def test_kl_div_takes_0_ln_0_for_0_and_no_negative_probability(self):
        scores, target = chainrule.zeros(3), chainrule.tensor([0.0, 1.0, -1.0])
        np.testing.assert_array_equal(ops.kl_div(scores, target, "none").numpy(), [0, 0, NAN])

    @pytest.mark.parametrize(
        "mask", [[[True, False], [False, False]], [[0.0, -INF], [-INF, -INF]]], ids=["truths", "scores"]
    )
    def test_attention_that_sees_nothing_gives_nothing(self, mask):
        query, key, value = (chainrule.tensor([[1.0], [2.0]], requires_grad=True) for _ in range(3))
        out = ops.scaled_dot_product_attention(query, key, value, chainrule.tensor(mask))
        assert out.tolist() == [[1], [0]]
        out.sum().backward()
        assert (query.grad.tolist(), key.grad.tolist(), value.grad.tolist()) == ([[0], [0]], [[0], [0]], [[1], [0]])

    def test_a_rounded_quotient_is_flat_also_over_0(self):
        for mode in ("trunc", "floor"):
            x, y = chainrule.tensor([1.0, -7.0], requires_grad=True), chainrule.tensor([0.0, 2.0], requires_grad=True)
            out = ops.div(x, y, rounding_mode=mode)
            assert out.tolist() == [INF, -3 if mode == "trunc" else -4]
            out.sum().backward()
            assert x.grad.tolist() == y.grad.tolist() == [0, 0]

    def test_hardtanh_lets_the_gradient_of_nan_pass(self):
        np.testing.assert_array_equal(slope(ops.hardtanh, NAN, -2.0, -1.0, 0.5, 1.0)[1], [1, 0, 0, 1, 0])

    def test_binary_cross_entropy_of_sure_probabilities(self):
        p, y = (
            chainrule.tensor([0.0, 1.0, 0.0, 1.0], requires_grad=True),
            chainrule.tensor([0.0, 1.0, 1.0, 0.0], requires_grad=True),
        )
        losses = ops.binary_cross_entropy(p, y, reduction="none")
        assert losses.tolist() == [0, 0, 100, 100]
        losses.sum().backward()
        np.testing.assert_allclose(p.grad.numpy(), [0, 0, -1e12, 1e12], rtol=1e-6)
        assert y.grad.tolist() == [100, -100, 100, -100]

    def test_the_deviation_of_equal_numbers_has_no_slope(self):
        value, gradient = slope(lambda x: x.std(0), [1.0, 2.0], [1.0, 4.0])
        np.testing.assert_allclose(value, [0, np.sqrt(2)])
        np.testing.assert_allclose(gradient, [[0, -np.sqrt(0.5)], [0, np.sqrt(0.5)]])

    def test_a_mean_over_nothing_is_nan(self):
        assert np.isnan(chainrule.zeros(0).mean().item())
        assert np.isnan(chainrule.zeros(2, 0).mean(dim=1).numpy()).all()
        assert np.isnan(ops.mse_loss(chainrule.zeros(0, 3), chainrule.zeros(0, 3)).item())
        assert np.isnan(ops.cross_entropy(chainrule.zeros(0, 3), np.zeros(0, int)).item())
        assert ops.cross_entropy(chainrule.zeros(0, 3), np.zeros(0, int), reduction="sum").item() == 0

    def test_where_does_not_leak_from_the_side_that_was_not_chosen(self):
        x = chainrule.tensor([0.0, 2.0], requires_grad=True)
        chainrule.where(x > 0, x * 3, 0.0).sum().backward()
        assert x.grad.tolist() == [0, 3]


class TestIntegersAndBooleans:
    def test_are_summed_as_int64(self):
        for dtype in (np.uint8, np.int32, bool):
            total = chainrule.tensor(np.full(300, 1, dtype)).sum()
            assert (total.item(), total.dtype) == (300, np.int64)

    def test_stay_in_arithmetic_and_become_float32_in_functions(self):
        x = chainrule.tensor([1, 4])
        assert [(x + 1).dtype, (x * x).dtype, (-x).dtype, abs(x).dtype, x.relu().dtype] == [np.int64] * 5
        for out in (
            x / 2,
            x.exp(),
            x.log(),
            x.sqrt(),
            x.tanh(),
            x.sigmoid(),
            ops.erf(x),
        ):
            assert out.dtype == np.float32
        assert chainrule.tensor(np.array([1, 2], np.uint8)).exp().dtype == np.float32

    def test_their_rounded_quotients_stay_integers(self):
        x, y = chainrule.tensor([7, -7, 8, 2**62 + 1]), chainrule.tensor([2, 2, -3, 1])
        for mode, wanted in [("trunc", [3, -3, -2, 2**62 + 1]), ("floor", [3, -4, -3, 2**62 + 1])]:
            out = ops.div(x, y, rounding_mode=mode)
            assert (out.tolist(), out.dtype) == (wanted, np.int64)

    def test_are_not_rounded_to_tens(self):
        x = chainrule.tensor(np.array([255, 14], np.uint8))
        assert x.round(decimals=1).tolist() == [255, 14]
        for function in (lambda x: x.round(decimals=-1), chainrule.jit(lambda x: x.round(decimals=-1))):
            with pytest.raises(TypeError, match="round: uint8 cannot be rounded to -1 decimals"):
                function(x)

    def test_booleans_are_not_rounded_to_float16(self):
        x = chainrule.tensor([True, False])
        for function in (lambda x: x.round(), chainrule.jit(lambda x: x.round())):
            with pytest.raises(TypeError, match="round: bool cannot be rounded"):
                function(x)

    def test_have_no_mean(self):
        with pytest.raises(TypeError, match=re.escape("mean: takes floats, not int64: convert it with .float()")):
            chainrule.tensor([1, 2]).mean()

    def test_a_type_that_numpy_has_no_loop_for(self):
        with pytest.raises(TypeError, match=r"^sign: \(1,\) does not fit: ufunc 'sign'"):
            chainrule.tensor([True]).sign()
        with pytest.raises(TypeError, match="^sub: "):
            chainrule.tensor([True]) - chainrule.tensor([True])

    @pytest.mark.parametrize(
        "function",
        [
            lambda x: x.softmax(0), lambda x: x.log_softmax(0), ops.leaky_relu, ops.elu, ops.silu, ops.softplus,
            ops.logsigmoid, ops.gelu, lambda x: ops.layer_norm(x, 2), lambda x: ops.rms_norm(x, 2),
            lambda x: ops.group_norm(x.reshape(1, 2), 1), lambda x: ops.batch_norm(x.reshape(2, 1), None, None, training=True),
            lambda x: ops.cross_entropy(x, chainrule.tensor(1)), lambda x: ops.nll_loss(x, chainrule.tensor(1)),
        ],
    )  # fmt: skip
    def test_are_no_scores(self, function):
        with pytest.raises(TypeError, match=r"^\w+: takes floats, not int64: convert it with \.float\(\)$"):
            function(chainrule.tensor([1, 4]))
        function(chainrule.tensor([1, 4]).float())
        function(chainrule.tensor([1, 4]).double())

    def test_are_scores_in_the_floating_type_that_is_asked_for(self):
        for function in (ops.softmax, ops.log_softmax):
            x = chainrule.tensor([1, 4])
            out = function(x, 0, dtype=np.float64)
            assert out.dtype == np.float64
            assert out.tolist() == function(x.double(), 0).tolist()
            with pytest.raises(TypeError, match="softmax: takes floats, not int64"):
                function(x.float(), 0, dtype=np.int64)

    def test_are_no_conditions(self):
        x = chainrule.tensor([1.0, 0.0])
        for condition in (x, x.long(), 1, 1.0):
            with pytest.raises(TypeError, match="^where: the condition must be boolean, not "):
                chainrule.where(condition, x, x)
        assert np.where(x > 0, x, 5.0).tolist() == [1, 5]
        assert np.where(True, x, 5.0).tolist() == [1, 0]  # as in NumPy
        with pytest.raises(TypeError, match="^masked_fill: the mask must be boolean, not float32"):
            x.masked_fill(x, 1.0)


class TestShapesThatDoNotFit:
    @pytest.mark.parametrize(
        ("call", "error", "message"),
        [
            (lambda z: z(2, 3) + z(4), ValueError, "add: (2, 3) and (4,) do not fit: the sizes must be equal, or 1"),
            (lambda z: z(2, 3) * z(2), ValueError, "mul: (2, 3) and (2,) do not fit"),
            (lambda z: z(2, 3) == z(2), ValueError, "eq: (2, 3) and (2,) do not fit"),
            (lambda z: ops.where(z(2) > 0, z(3), 1.0), ValueError, "where: (2,) and (3,) and () do not fit"),
            (lambda z: z(2, 3) @ z(4, 5), ValueError, "matmul: (2, 3) @ (4, 5) does not fit: the last dimension of the first is 3, but must be 4"),
            (lambda z: z(2) @ z(3), ValueError, "matmul: (2,) @ (3,) does not fit"),
            (lambda z: z(2, 2, 3) @ z(3, 3, 1), ValueError, "matmul: (2, 2, 3) and (3, 3, 1) do not fit"),
            (lambda z: z(()) @ z(3), ValueError, "matmul: takes matrices and vectors, not a number"),
            (lambda z: z(3) @ 2, TypeError, "matmul: takes tensors or arrays, not int"),
            (lambda z: [1.0] @ z(1), TypeError, "matmul: takes tensors or arrays, not list"),
            (lambda z: ops.dot(z(9), z(3)), ValueError, "dot: takes (n,) and (n,), not (9,) and (3,)"),
            (lambda z: ops.mm(z(2, 3), z(2, 3)), ValueError, "mm: takes (n, k) and (k, m), not (2, 3) and (2, 3)"),
            (lambda z: ops.bmm(z(2, 2, 3), z(1, 3, 2)), ValueError, "bmm: takes (b, n, k) and (b, k, m), not (2, 2, 3) and (1, 3, 2)"),
            (lambda z: ops.min(2, 0), TypeError, "min: takes a tensor, not the number 2"),
            (lambda z: ops.conv2d(z(1, 1, 2, 2), z(1, 1, 2, 2), z(1).double()), TypeError, "conv2d: input, weight and bias must have the same floating type, not float32, float32, float64"),
            (lambda z: ops.linear(z(64, 784), z(10, 100)), ValueError, "linear: input (64, 784) does not fit weight (10, 100): the last dimension must be 100"),
            (lambda z: ops.linear(z(()), z(10, 100)), ValueError, "linear: input () does not fit weight (10, 100)"),
            (lambda z: ops.linear(z(3), z(3)), ValueError, "linear: input (3,) does not fit weight (3,): the weight must be (out, in)"),
            (lambda z: ops.linear(z(3), z(2, 3), z(3)), ValueError, "linear: bias (3,) does not fit weight (2, 3): it must be (2,)"),
            (lambda z: z(2, 3).reshape(4), ValueError, "reshape: (2, 3) does not fit: cannot reshape"),
            (lambda z: z(2, 3).reshape(-1, -1), ValueError, "reshape: (2, 3) does not fit"),
            (lambda z: z(2, 3).permute(0, 0), ValueError, "permute: (2, 3) does not fit"),
            (lambda z: z(2, 3).permute(0), ValueError, "permute: (2, 3) does not fit"),
            (lambda z: z(2, 3).expand(4, 3), ValueError, "broadcast_to: (2, 3) does not fit"),
            (lambda z: z(2, 3).expand(3), ValueError, "expand: (3,) has fewer dimensions than the input's shape (2, 3)"),
            (lambda z: z(2, 3).transpose(0, 2), IndexError, "transpose: dim 2 is out of range for shape (2, 3): use -2 to 1"),
            (lambda z: z(2, 3).squeeze(-3), IndexError, "squeeze: dim -3 is out of range for shape (2, 3): use -2 to 1"),
            (lambda z: z(2, 3).unsqueeze(3), IndexError, "unsqueeze: dim 3 is out of range for shape (2, 3): use -3 to 2"),
            (lambda z: z(3).flatten(1), IndexError, "flatten: dim 1 is out of range for shape (3,): use -1 to 0"),
            (lambda z: z(2, 3).flatten(1, 0), ValueError, "flatten: start_dim 1 comes after end_dim 0 in shape (2, 3)"),
            (lambda z: z(2, 3).sum(2), IndexError, "sum: dim 2 is out of range for shape (2, 3): use -2 to 1"),
            (lambda z: z(2, 3).sum((0, 0)), ValueError, "sum: a dimension is named twice in (0, 0)"),
            (lambda z: z(2, 3).softmax(2), IndexError, "softmax: dim 2 is out of range for shape (2, 3)"),
            (lambda z: ops.gather(z(2, 3), 0, np.array([1])), ValueError, "gather: index (1,) does not fit input (2, 3): it must have the same number of dimensions and be no larger, except in dim 0"),
            (lambda z: ops.gather(z(2, 3), 0, np.zeros((1, 4), int)), ValueError, "gather: index (1, 4) does not fit input (2, 3)"),
            (lambda z: ops.einsum("...i,...i->...", z(2, 3), z(4, 3)), ValueError, 'einsum: a dimension of "..." is 2 in one operand and 4 in another'),
            (lambda z: ops.einsum("ij,jk", z(2, 3), z(4, 3)), ValueError, "einsum: 'j' is 3 in one operand and 4 in another"),
            (lambda z: ops.conv_transpose2d(z(1, 3, 4, 4), z(2, 3)), ValueError, "conv_transpose2d: takes input (N, C, H, W) and weight (C, O / groups, KH, KW) "),
            (lambda z: ops.conv2d(z(1, 3, 4, 4), z(2, 3)), ValueError, "conv2d: takes input (N, C, H, W) and weight (O, C / groups, KH, KW) "),
            (lambda z: ops.conv2d(z(1, 4, 4, 4), z(3, 2, 2, 2), groups=2), ValueError, "conv2d: groups=2 must be positive and divide the first size of weight (3, 2, 2, 2)"),
            (lambda z: z(0).amax(), ValueError, "amax: (0,) does not fit"),
            (lambda z: z(0).argmax(), ValueError, "argmax: (0,) does not fit"),
            (lambda z: z(2, 3)[2], IndexError, "getitem: (2, 3) does not fit: index 2 is out of bounds"),
            (lambda z: z(2, 3)[0, 0, 0], IndexError, "getitem: (2, 3) does not fit: too many indices"),
            (lambda z: z(2, 3)[np.array([5])], IndexError, "getitem: (2, 3) does not fit"),
            (lambda z: ops.take_along_dim(z(2), indices=np.array([2]), dim=0), IndexError, "take_along_dim: indices are 2 to 2, but must be 0 to 1"),
            (lambda z: ops.mse_loss(z(2, 1), z(2)), ValueError, "mse_loss: input (2, 1) and target (2,) must have the same shape"),
            (lambda z: ops.mse_loss(z(2), z(2), "all"), ValueError, "mse_loss: reduction must be \"mean\", \"sum\" or \"none\", not 'all'"),
            (lambda z: ops.kl_div(z(2), z(2), "all"), ValueError, "kl_div: reduction must be \"mean\", \"batchmean\", \"sum\" or \"none\", not 'all'"),
            (lambda z: ops.conv1d(z(1, 1, 4), z(1, 1, 2), stride=2, padding="same"), ValueError, "conv1d: padding must be a number, \"valid\", or \"same\" with stride 1, not 'same' with stride (2,)"),
            (lambda z: ops.max_pool2d(z(2, 3, 0, 5), 2), ValueError, "max_pool2d: takes (N, C, H, W) or (C, H, W), where only N may be 0, not (2, 3, 0, 5)"),
            (lambda z: ops.cat(z(2) for _ in range(2)), ValueError, "cat: takes a list or tuple of at least one tensor"),
            (lambda z: ops.cross_entropy(z(2, 3), np.zeros(3, int)), ValueError, "cross_entropy: target (3,) does not fit input (2, 3): it must be (2,)"),
            (lambda z: ops.cross_entropy(z(2, 3), z(2)), ValueError, "cross_entropy: a target of floats (2,) must be probabilities of shape (2, 3)"),
            (lambda z: ops.cross_entropy(z(()), np.array(0)), ValueError, "cross_entropy: input is a single number"),
            (lambda z: ops.cross_entropy(z(2, 3), np.array([0, 3])), IndexError, "cross_entropy: indices are 0 to 3, but must be 0 to 2"),
            (lambda z: ops.cross_entropy(z(2, 3), np.array([-1, 2])), IndexError, "cross_entropy: indices are -1 to 2"),
            (lambda z: ops.cross_entropy(z(2, 3), np.array([True, False])), TypeError, "cross_entropy: target must be integers (class indices) or floats (probabilities), not bool"),
            (lambda z: ops.nll_loss(z(2, 3), np.float32([0, 1])), TypeError, "nll_loss: target must be integers (class indices), not float32"),
            (lambda z: ops.instance_norm(z(2, 3, 4), use_input_stats=False), ValueError, "instance_norm: with use_input_stats=False, running_mean and running_var must be given"),
            (lambda z: ops.repeat_interleave(z(2, 3), 2, 0, output_size=5), ValueError, "repeat_interleave: output_size is 5, but dim 0 would have size 4"),
            (lambda z: ops.repeat_interleave(z(2, 3), np.array([1, 0, 3]), -1, output_size=8), ValueError, "repeat_interleave: output_size is 8, but dim 1 would have size 4"),
            (lambda z: ops.repeat_interleave(z(2, 3), 2, output_size=6), ValueError, "repeat_interleave: output_size is 6, but dim 0 would have size 12"),
            (lambda z: ops.select(z(()), 0, 0), IndexError, "select: a single number has no dimension to select from"),
            (lambda z: ops.cross_entropy(z(1, 3), np.array([0]), reduction="average"), ValueError, "cross_entropy: reduction must be"),
            (lambda z: z(2).to(complex), TypeError, "a Tensor holds booleans, integers or floats, not complex128"),
        ],
    )  # fmt: skip
    def test_one_sentence_with_the_operation_and_the_shapes(self, call, error, message):
        with pytest.raises(error, match=re.escape(message)):
            call(chainrule.zeros)

    def test_what_is_no_number(self):
        x = chainrule.tensor([1.0])
        for other in ([1.0], "1", None, 1j, np.array(["a"]), np.array([1j])):
            with pytest.raises(TypeError, match="add: takes"):
                x + other
            with pytest.raises(TypeError):
                x < other  # noqa: B015  # the comparison is what is tested


def test_the_caller_may_fill_his_index_and_label_arrays_again_before_backward():
    def run(spoil: bool):
        rows, labels = chainrule.tensor([0, 1]), chainrule.tensor([2, 0])
        pairs, mask = np.array([1, 1]), np.array([True, False, True])
        indices, seen = chainrule.tensor([[0], [2], [1]]), chainrule.tensor([[True, False, True]] * 3)
        x = chainrule.tensor(np.arange(9.0).reshape(3, 3), requires_grad=True)
        loss = ops.cross_entropy(x[rows], labels) + (x[pairs, rows] ** 2).sum() + (x[mask] * 3).sum()
        loss = loss + ops.gather(x, 1, indices).exp().sum() + ops.take_along_dim(x, indices, 1).sum()
        loss = loss + ops.index_select(x, 0, rows).sum() + ops.embedding(rows, x).sum()
        loss = loss + ops.scaled_dot_product_attention(x, x, x, seen)[0].sum()
        if spoil:
            rows[...], labels[...], pairs[...], mask[...], indices[...], seen[...] = 2, 1, 0, False, 1, True
        loss.backward()
        return x.grad.tolist()

    assert run(spoil=True) == run(spoil=False)


def test_indices_may_be_tensors():
    x = chainrule.tensor([[1.0, 2], [3, 4]])
    indices = chainrule.tensor([[0], [1]])
    assert ops.take_along_dim(x, indices=indices, dim=1).tolist() == [[1], [4]]
    assert ops.gather(x, 1, indices).tolist() == [[1], [4]]
    assert ops.index_select(x, 0, indices[:, 0]).tolist() == [[1, 2], [3, 4]]
    assert x[chainrule.tensor([1, 0]), chainrule.tensor(1)].tolist() == [4, 2]
    assert x[x > 2].tolist() == [3, 4]
    assert x[chainrule.tensor([True, False])].tolist() == [[1, 2]]


def test_dropout_is_the_same_draw_scaled():
    x = chainrule.tensor(np.full((50, 40), 3.0), requires_grad=True)
    out = nn.functional.dropout(x, 0.25, generator=np.random.default_rng(1))
    mask = np.random.default_rng(1).random((50, 40), np.float32) >= 0.25
    np.testing.assert_array_equal(out.detach().numpy(), np.where(mask, 4.0, 0))
    out.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), np.where(mask, 1 / 0.75, 0))


class TestAsPyTorchHasIt:
    """Cases in which NumPy, or a direct implementation, would give another result."""

    def test_the_slope_of_abs_at_nan_is_0(self):
        value, gradient = slope(ops.abs, NAN, 0.5, -0.5)
        assert np.isnan(value[0])
        assert gradient.tolist() == [0, 1, -1]

    @pytest.mark.parametrize("name", ["sum", "mean", "amax", "amin", "var", "std", "norm"])
    def test_no_dimensions_are_all_of_them(self, name):
        x, y = (chainrule.tensor([[3.0, 1.0], [2.0, 5.0]], requires_grad=True) for _ in range(2))
        one, other = getattr(x, name)(dim=()), getattr(y, name)()
        (one * 2).backward()
        (other * 2).backward()
        assert (one.shape, one.tolist(), x.grad.tolist()) == ((), other.tolist(), y.grad.tolist())
        assert getattr(x, name)(dim=(), keepdim=True).shape == (1, 1)

    @pytest.mark.parametrize("name", ["sum", "mean", "amax", "amin", "norm", "logsumexp"])
    def test_a_single_number_has_a_dimension_to_reduce(self, name):
        x = chainrule.tensor(3.0, requires_grad=True)
        for dim in (0, -1, (0,), [-1]):
            out = getattr(x, name)(dim=dim)
            out.backward()
            assert (out.shape, out.item(), x.grad.item()) == ((), 3, 1)
            x.grad = None

    def test_a_numpy_integer_is_a_dimension(self):
        x = chainrule.tensor([[True, False], [True, True]])
        for run in (lambda d: x.any(d), lambda d: x.all(d), lambda d: x.max(d)[0], lambda d: x.argmax(d)):
            assert run(np.int64(0)).tolist() == run(0).tolist()

    def test_but_any_and_all_reduce_none_then(self):
        x = chainrule.tensor([[True, False]])
        assert x.any(dim=()).tolist() == x.all(dim=()).tolist() == [[True, False]]
        assert chainrule.tensor(True).any(dim=0).tolist() is chainrule.tensor(True).all(dim=-1).tolist() is True

    def test_triangles_keep_the_type(self):
        for dtype in (np.bool_, np.uint8, np.int64, np.float32, np.float64):
            x = chainrule.ones(2, 2, dtype=dtype)
            assert (x.tril().dtype, x.triu().dtype) == (dtype, dtype)
            assert (x.tril().tolist(), x.triu().tolist()) == ([[1, 0], [1, 1]], [[1, 1], [0, 1]])

    def test_products_take_one_type(self):
        single, double = chainrule.ones(2, 2), chainrule.ones(2, 2).double()
        for product in (ops.matmul, ops.linear, ops.mm, lambda a, b: ops.einsum("ij,jk->ik", a, b)):
            for other in (double, double.long()):
                with pytest.raises(TypeError, match=f"both must have the same type, not float32 and {other.dtype}"):
                    product(single, other)
        with pytest.raises(TypeError, match="linear: both must have the same type, not float32 and float64"):
            ops.linear(single, single, double[0])

    def test_a_product_over_several_dimensions_is_refused(self):
        with pytest.raises(TypeError, match=r"prod: a dimension must be an integer, not \(0, 1\)"):
            chainrule.ones(2, 2).prod(dim=(0, 1))


class TestNoTensorsNoNumbers:
    """Lists, strings and fractions instead of tensors, dimensions and sizes: the error names the operation."""

    @pytest.mark.parametrize(
        ("call", "kind", "sentence"),
        [
            (lambda x: ops.cross_entropy(x, [0, 1]), TypeError, "cross_entropy: takes tensors or arrays, not list"),
            (lambda x: ops.nll_loss(x, "ab"), TypeError, "nll_loss: takes tensors or arrays, not str"),
            (lambda x: ops.mse_loss(x, 3), TypeError, "mse_loss: takes tensors or arrays, not int"),
            (lambda x: ops.cat([x, None]), TypeError, "cat: takes tensors or arrays, not NoneType"),
            (lambda x: nn.Linear(3, 2)(None), TypeError, "linear: takes tensors or arrays, not NoneType"),
            (lambda x: nn.Linear(3, 2)([1, 2, 3]), TypeError, "linear: takes tensors or arrays, not list"),
            (lambda x: ops.conv2d([x], x), TypeError, "conv2d: takes tensors or arrays, not list"),
            (lambda x: ops.max_pool2d("x", 2), TypeError, "max_pool2d: takes tensors or arrays, not str"),
            (lambda x: ops.layer_norm([1.0], 1), TypeError, "layer_norm: takes tensors or arrays, not list"),
            (lambda x: ops.group_norm([1.0], 1), TypeError, "group_norm: takes tensors or arrays, not list"),
            (lambda x: ops.batch_norm([1.0], x, x), TypeError, "batch_norm: takes tensors or arrays, not list"),
            (lambda x: ops.exp("a"), TypeError, "exp: takes tensors or arrays, not str"),
            (lambda x: ops.exp(None), TypeError, "exp: takes tensors or arrays, not NoneType"),
            (lambda x: ops.exp([1.0]), TypeError, "exp: takes tensors or arrays, not list"),
            (lambda x: x.to("cuda"), ValueError, "device: chainrule computes on the CPU only: use \"cpu\", not 'cuda'"),
            (lambda x: nn.Linear(3, 2).to("cuda"), ValueError, "chainrule computes on the CPU only"),
            (lambda x: x.to("float99"), TypeError, "a dtype must be NumPy's, such as numpy.float32, not 'float99'"),
            (lambda x: ops.stack([x, 3]), TypeError, "stack: takes tensors or arrays, not int"),
            (lambda x: ops.stack([x, x[0]]), ValueError, "stack: tensors must have the same shape, not (2, 3), (3,)"),
            (
                lambda x: ops.einsum(x, x),
                TypeError,
                'einsum: the equation comes first, such as "ij,jk->ik", not Tensor',
            ),
            (lambda x: ops.einsum("ij", 3), TypeError, "einsum: takes tensors or arrays, not int"),
            (lambda x: x.sum(dim="a"), TypeError, "sum: takes one or more integers, not 'a'"),
            (lambda x: x.transpose("a", 1), TypeError, "transpose: a dimension must be an integer, not 'a'"),
            (lambda x: x.flatten(0.5), TypeError, "flatten: a dimension must be an integer, not 0.5"),
            (lambda x: x.tile("a"), TypeError, "tile: takes one or more integers, not 'a'"),
            (lambda x: x.roll("a"), TypeError, "roll: takes one or more integers, not 'a'"),
            (lambda x: ops.pad(x, (1.5, 1)), TypeError, "pad: takes one or more integers, not (1.5, 1)"),
            (lambda x: x.reshape(-2, 3), ValueError, "reshape: a size must be at least 0, or -1 once, not (-2, 3)"),
            (lambda x: x.split(1, dim=7), IndexError, "split: dim 7 is out of range for shape (2, 3): use -2 to 1"),
            (lambda x: x.sum().split(1), ValueError, "split: a single number has no dimension to split"),
            (lambda x: x.chunk(2, 7), IndexError, "chunk: dim 7 is out of range for shape (2, 3): use -2 to 1"),
            (
                lambda x: x.chunk(1.5),
                ValueError,
                "chunk: the number of chunks must be an integer, at least 1, got 1.5",
            ),
            (
                lambda x: ops.avg_pool2d(x[None], "a"),
                TypeError,
                "avg_pool2d: kernel_size: takes one or more integers",
            ),
            *[
                (lambda x, call=call: call(x[0, 0]), IndexError, "dim 5 is out of range for shape (): use -1 to 0")
                for call in (
                    lambda x: x.cumsum(5),
                    lambda x: x.logsumexp(5),
                    lambda x: x.logsumexp((5,)),
                    lambda x: x.argmax(5),
                    lambda x: x.argmin(5),
                    lambda x: x.prod(5),
                    lambda x: x.max(5),
                    lambda x: x.min(5),
                    lambda x: x.squeeze(5),
                    lambda x: x.flatten(5),
                    lambda x: x.gather(5, np.array(0)),
                )
            ],
            (lambda x: x.argmax(2), IndexError, "argmax: dim 2 is out of range for shape (2, 3): use -2 to 1"),
            (lambda x: x.cumsum(None), TypeError, "cumsum: a dimension must be an integer, not None"),
            (lambda x: x.argmax("a"), TypeError, "argmax: a dimension must be an integer, not 'a'"),
            (lambda x: x.prod(1.0), TypeError, "prod: a dimension must be an integer, not 1.0"),
            (lambda x: x.max(True), TypeError, "max: a dimension must be an integer, not True"),
            (lambda x: x.transpose(0, True), TypeError, "transpose: a dimension must be an integer, not True"),
            (lambda x: x.flip(True), TypeError, "flip: takes one or more integers, not True"),
            (lambda x: x.size(2), IndexError, "size: dim 2 is out of range for shape (2, 3): use -2 to 1"),
            (lambda x: x[0, 0].size(0), IndexError, "size: a tensor without dimensions has no sizes"),
            (
                lambda x: x[0, 0].unflatten(0, (1, 1)),
                IndexError,
                "unflatten: a single number has no dimension",
            ),
            (lambda x: x.reshape(1.5), TypeError, "reshape: takes one or more integers, not 1.5"),
            (lambda x: x.permute(None), TypeError, "permute: takes one or more integers, not None"),
            (lambda x: x.reshape("6"), TypeError, "reshape: takes one or more integers, not '6'"),
            (
                lambda x: ops.group_norm(x[:1, :1], 1),
                ValueError,
                "group_norm: needs more than one value per group, or several examples, got (1, 1)",
            ),
            (
                lambda x: ops.scaled_dot_product_attention(x, x, x, (x[:, :2] > 0).long()),
                TypeError,
                "scaled_dot_product_attention: attn_mask must be boolean or float, not int64",
            ),
            (lambda x: ops.rms_norm(x.long(), 3), TypeError, "rms_norm: takes floats, not int64"),
            (
                lambda x: ops.adaptive_avg_pool2d(x[None].long(), 1),
                TypeError,
                "adaptive_avg_pool2d: takes floats, not int64",
            ),
        ],
    )
    def test_one_sentence(self, call, kind, sentence):
        with pytest.raises(kind, match=re.escape(sentence)) as caught:
            call(chainrule.ones(2, 3))
        assert type(caught.value) is kind
        assert "\n" not in str(caught.value)

    def test_an_attribute_that_a_formula_misses_is_its_own_error(self):
        @ops.operation
        def broken(x):
            return x.no_such_thing

        with pytest.raises(AttributeError, match="no_such_thing"):
            broken(chainrule.ones(2))


LAYOUTS = {
    "rows": lambda a, lib: a,
    "transposed": lambda a, lib: a.T.reshape(4, 3).T,
    "every second column": lambda a, lib: lib.cat([a, a], 1)[:, ::2],
    "every second row": lambda a, lib: lib.cat([a, a], 0)[::2],
    "one row expanded": lambda a, lib: a[:1].expand(3, 4),
}
NEW_MEMORY = {
    "repeat": lambda x, lib, f: x.repeat(2, 1),
    "repeat along a new dimension": lambda x, lib, f: x.repeat(2, 1, 1),
    "repeat once": lambda x, lib, f: x.repeat(1, 1),
    "tile": lambda x, lib, f: x.tile((1, 2)),
    "cat": lambda x, lib, f: lib.cat([x, x], 0),
    "cat of one": lambda x, lib, f: lib.cat([x], 1),
    "stack": lambda x, lib, f: lib.stack([x, x], 1),
    "roll": lambda x, lib, f: x.roll(1, 0),
    "rows picked": lambda x, lib, f: x[[0, 2]],
    "columns picked": lambda x, lib, f: x[:, [0, 2]],
    "index_select": lambda x, lib, f: x.index_select(1, lib.tensor([0, 2, 1])),
    "gather": lambda x, lib, f: x.gather(1, lib.tensor([[0, 2], [1, 1]])),
    "pad": lambda x, lib, f: f.pad(x, (1, 2)),
    "pad by reflection": lambda x, lib, f: f.pad(x[None], (1, 2), "reflect"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", NEW_MEMORY)
@pytest.mark.parametrize("compiled", [False, True])
def test_what_is_moved_lies_in_new_memory_in_order(name, layout, compiled):
    """A reshape of the result is a view, as in PyTorch."""
    torch = pytest.importorskip("torch")

    def program(lib, f):
        def run(a):
            x = LAYOUTS[layout](a, lib)
            y = NEW_MEMORY[name](x, lib, f)
            y.reshape(-1).add_(1)
            y.reshape(y.shape[0], -1)[1:].mul_(2)
            return y, x + 0

        return run

    a = np.random.default_rng(0).normal(size=(3, 4)).astype("f4")
    run = program(chainrule, nn.functional)
    out = (chainrule.jit(run) if compiled else run)(chainrule.from_numpy(a.copy()))
    expected = program(torch, torch.nn.functional)(torch.from_numpy(a.copy()))
    for ours, theirs in zip(out, expected, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


@pytest.mark.parametrize("numbers", [[4e33, 3e33], [1e-30, 2e-30], [5e37]])
@pytest.mark.parametrize("p", [2, 3, 1.5])
def test_lengths_neither_overflow_nor_vanish(numbers, p):
    wide = np.array(numbers, np.float32).astype(np.float64)
    expected = (wide**p).sum() ** (1 / p)
    x = chainrule.tensor(numbers, requires_grad=True)
    for run in (lambda x: x.norm(p), chainrule.jit(lambda x: x.norm(p))):
        np.testing.assert_allclose(run(x.detach()).numpy(), expected, rtol=1e-6)
    x.norm(p).backward()
    np.testing.assert_allclose(x.grad.numpy(), (wide / expected) ** (p - 1), rtol=1e-5)


UNUSUAL = [0.0, -0.0, 1.0, -1.0, 0.5, -2.0, 3.0, 6.0, -3.0, 100.0, -100.0, math.inf, -math.inf, math.nan]
FUNCTIONS = (
    *("abs", "exp", "expm1", "log", "log1p", "log2", "sqrt", "square", "reciprocal", "tanh", "sigmoid", "relu"),
    *("sin", "cos", "tan", "atan", "sinh", "cosh", "floor", "ceil", "round", "trunc", "erf", "neg"),
)
ACTIVATIONS = ("gelu", "silu", "softplus", "leaky_relu", "logsigmoid")


@pytest.mark.parametrize("upstream", [1.0, 0.0, math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("name", FUNCTIONS + ACTIVATIONS)
def test_unusual_numbers_and_gradients_come_out_as_pytorchs(name, upstream):
    torch = pytest.importorskip("torch")
    ours = getattr(nn.functional, name) if name in ACTIVATIONS else getattr(ops, name)
    theirs = getattr(torch.nn.functional if name in ACTIVATIONS else torch, name)
    x, t = chainrule.tensor(np.array(UNUSUAL), requires_grad=True), torch.tensor(UNUSUAL, dtype=torch.float64)
    t.requires_grad_()
    y, expected = ours(x), theirs(t)
    y.backward(chainrule.full(y.shape, upstream, dtype=np.float64))
    expected.backward(torch.full_like(expected, upstream))
    np.testing.assert_allclose(y.detach().numpy(), expected.detach().numpy(), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(x.grad.numpy(), t.grad.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.filterwarnings("ignore:.*degrees of freedom")
@pytest.mark.parametrize("numbers", [[1.5], [math.nan], [1.0, 2.0], [1.0, 1.0], [1.0, math.inf]])
@pytest.mark.parametrize("correction", [1, 2, 3])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_variance_of_too_few_numbers_is_pytorchs(numbers, correction, kind):
    torch = pytest.importorskip("torch")
    x = chainrule.tensor(np.array(numbers, kind), requires_grad=True)
    t = torch.from_numpy(np.array(numbers, kind)).requires_grad_()
    y, expected = x.var(correction=correction), t.var(correction=correction)
    y.backward()
    expected.backward()
    np.testing.assert_allclose(y.detach().numpy(), expected.detach().numpy(), rtol=1e-6)
    np.testing.assert_allclose(x.grad.numpy(), t.grad.numpy(), rtol=1e-6)
    assert x.grad.dtype == kind


@pytest.mark.parametrize("as_tensors", [False, True])
@pytest.mark.parametrize(("low", "high"), [(None, 1.0), (0.0, None), (0.0, 1.0)])
def test_the_derivative_of_clamp_at_nan_is_that_of_relu(low, high, as_tensors):
    """PyTorch's clamp has the derivative 0 there, its relu and hardtanh 1."""
    torch = pytest.importorskip("torch")

    def results(library, function):
        x = library.tensor([math.nan, 0.5, -2.0], requires_grad=True)
        out = function(x)
        out.sum().backward()
        return out.tolist(), x.grad.tolist()

    def clamp(library):
        bounds = [library.tensor(bound) if as_tensors and bound is not None else bound for bound in (low, high)]
        return results(library, lambda x: library.clamp(x, *bounds))

    (out, grad), (expected, expected_grad) = clamp(chainrule), clamp(torch)
    np.testing.assert_array_equal(out, expected)
    assert (grad[0], expected_grad[0]) == (1, 0)
    assert grad[1:] == expected_grad[1:]
    for function in (torch.relu, torch.nn.functional.hardtanh):
        assert results(torch, function)[1][0] == 1
    for function in (chainrule.relu, nn.functional.hardtanh):
        assert results(chainrule, function)[1][0] == 1


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("as_tensors", [False, True])
@pytest.mark.parametrize(("low", "high"), [(None, math.nan), (math.nan, None), (math.nan, 3.0), (-0.5, math.nan)])
def test_a_bound_that_is_nan_makes_clamp_nan_as_in_pytorch(low, high, as_tensors, compiled):
    torch = pytest.importorskip("torch")
    numbers = [-2.0, -0.5, 0.75, math.nan, math.inf, 4.0]
    x, expected = chainrule.tensor(numbers, requires_grad=True), torch.tensor(numbers, requires_grad=True)

    def bounds(library):
        return [library.tensor(b) if as_tensors and b is not None else b for b in (low, high)]

    def clamped():
        x.grad = None
        out = ops.clamp(x, *bounds(chainrule))
        out.sum().backward()
        return out.detach()

    wanted = torch.clamp(expected, *bounds(torch))
    wanted.sum().backward()
    for _ in range(2):
        np.testing.assert_array_equal((chainrule.jit(clamped) if compiled else clamped)().numpy(), wanted.detach())
        np.testing.assert_array_equal(x.grad.numpy(), expected.grad)


@pytest.mark.parametrize("compiled", [False, True])
def test_filling_keeps_the_type_and_where_promotes_as_in_pytorch(compiled):
    torch = pytest.importorskip("torch")

    def results(library, dtype, value):
        x, mask = library.tensor([1, 0], dtype=dtype), library.tensor([True, False])
        functions = {
            "masked_fill": lambda x: x.masked_fill(mask, value),
            "scatter": lambda x: x.scatter(0, library.tensor([0]), value),
            "where": lambda x: library.where(mask, value, x),
        }
        jit = chainrule.jit if library is chainrule and compiled else lambda function: function
        return {name: jit(function)(x) for name, function in functions.items()}

    for dtype in ("bool", "uint8", "int32", "int64", "float16", "float32", "float64"):
        for value in (2, 2.5, True):
            expected = results(torch, getattr(torch, dtype), value)
            for name, out in results(chainrule, np.dtype(dtype), value).items():
                assert out.tolist() == expected[name].tolist(), (dtype, value, name)
                assert f"torch.{out.dtype}" == str(expected[name].dtype), (dtype, value, name)


def test_filling_refuses_what_is_no_number_or_does_not_fit():
    x, mask, index = chainrule.zeros(2), chainrule.tensor([True, False]), chainrule.tensor([0])
    for value in ("a", None, [1.0, 2.0]):
        for fill in (lambda value=value: x.masked_fill(mask, value), lambda value=value: x.scatter(0, index, value)):
            with pytest.raises((TypeError, ValueError), match=r"^(masked_fill|scatter|a Tensor holds)"):
                fill()
    with pytest.raises(OverflowError, match=r"^-1e\+39 does not fit into float32$"):
        x.masked_fill(mask, -1e39)  # PyTorch: value cannot be converted to type float without overflow
    assert x.masked_fill(mask, -math.inf).tolist() == [-math.inf, 0]


@pytest.mark.parametrize("value", [300.0, -1.0, math.nan, math.inf, 300])
def test_padding_refuses_a_number_that_does_not_fit(value):
    x = chainrule.tensor([1, 2], dtype=np.uint8)
    with pytest.raises((OverflowError, ValueError)):
        ops.pad(x, (1, 1), value=value)
    assert ops.pad(x, (1, 1), value=255.0).tolist() == [255, 1, 2, 255]


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, bool])
def test_kernels_of_convolution_and_attention_refuse_integers(dtype):
    """Their public functions check the types; a file that `chainrule.onnx` loads reaches the operations directly."""
    from chainrule.ops import attention, convolution

    x, filters = (chainrule.tensor(np.ones((1, 1, n, n), dtype)) for n in (5, 3))
    params = convolution.ConvParams((1, 1), ((0, 0), (0, 0)), (1, 1), 1)
    calls = {
        "convolution": lambda: convolution.convolution(x, filters, params=params),
        "convolution_input_gradient": lambda: convolution.convolution_input_gradient(
            filters, filters, shape=(1, 1, 5, 5), params=params
        ),
        "convolution_weight_gradient": lambda: convolution.convolution_weight_gradient(
            x, filters, shape=(1, 1, 3, 3), params=params
        ),
        "fused_attention": lambda: attention.fused_attention(x, x, x, is_causal=True, scale=1.0),
    }
    for name, call in calls.items():
        with pytest.raises(TypeError, match=rf"^{name}: takes floats, not {np.dtype(dtype)}: convert it with "):
            call()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("stack", ([],)),
        ("stack", ([chainrule.ones(2)], 5)),
        ("stack", ([chainrule.ones(2)], "a")),
        ("cat", ([],)),
        ("vstack", ([],)),
        ("chunk", (chainrule.tensor(1.0), 2)),
        ("repeat", (chainrule.ones(2), -1)),
        ("tile", (chainrule.ones(2), -1)),
        ("norm", (chainrule.tensor([1, 2]),)),
        ("scatter", (chainrule.ones(2), 0, chainrule.tensor([0]), "a")),
    ],
)
def test_an_error_names_the_function_that_was_called(name, arguments):
    with pytest.raises((ValueError, IndexError, TypeError), match=f"^{name}: "):
        getattr(ops, name)(*arguments)
