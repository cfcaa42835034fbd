"""Elementwise operators: arithmetic, functions, comparisons, activations."""

from __future__ import annotations

import math
from functools import reduce
from typing import Any

import numpy as np

from chainrule import ops
from chainrule.onnx.operators.call import (
    Call,
    Operator,
    array,
    detached,
    dtype_of,
    is_float,
    numpy_operator,
    plain_operator,
    wrap,
)
from chainrule.ops.arithmetic import trunc_divide
from chainrule.ops.shape import as_dtype, widen_float16


def _binary(function: Any) -> Operator:
    """Return the operator of a function of two values."""
    return lambda call, x, y: function(x, _broadcast_before_7(call, x, y))


def _broadcast_before_7(call: Call, x: Any, y: Any) -> Any:
    """Return y in a shape that broadcasts: before version 7, `axis` may be the dimension of x for y's first."""
    if call.opset >= 7:
        return y
    axis = call.get("axis") if call.get("broadcast", 0) else None
    return y if axis is None else ops.reshape(y, (*y.shape, *(1,) * (x.ndim - wrap(call, axis, x.ndim) - y.ndim)))


def _div(call: Call, x: Any, y: Any) -> Any:
    y = _broadcast_before_7(call, x, y)
    return ops.true_divide(x, y) if is_float(x) else trunc_divide(x, y)  # C's division of integers


def _mod(call: Call, x: Any, y: Any) -> Any:
    if call.get("fmod", 0):
        return ops.fmod(x, y)
    if is_float(x):
        call.refuse("floats need fmod=1")
    return ops.remainder(x, y)


def _pow(call: Call, x: Any, y: Any) -> Any:
    """Compute a power; the result has the type of the base."""
    y = _broadcast_before_7(call, x, y)
    if is_float(x):
        return ops.pow(x, as_dtype(y, x.dtype))
    if is_float(y):
        return np.power(array(x).astype(np.float64), array(y)).astype(x.dtype)
    return np.power(array(x), array(y).astype(x.dtype))


def _variadic(function: Any) -> Operator:
    return lambda call, *inputs: reduce(function, inputs)


def _mean(call: Call, *inputs: Any) -> Any:
    return ops.true_divide(reduce(ops.add, inputs), len(inputs))


def _clip(call: Call, x: Any, low: Any = None, high: Any = None) -> Any:
    low, high = call.get("min", low), call.get("max", high)
    if low is None and high is None:
        return x
    if not is_float(x):
        return np.clip(array(x), None if low is None else array(low), None if high is None else array(high))
    return ops.clamp(x, low, high)


def _cast(call: Call, x: Any) -> Any:
    _read_float8_attributes(call)
    return _convert(x, dtype_of(call.get("to"), call.label))


def _cast_like(call: Call, x: Any, target: Any) -> Any:
    _read_float8_attributes(call)
    return _convert(x, target.dtype)


def _read_float8_attributes(call: Call) -> None:
    """Read the attributes that have an effect only on floats of 8 bits, which are refused."""
    call.get("saturate")
    call.get("round_mode")


def _convert(x: Any, dtype: Any) -> Any:
    if is_float(x) and dtype.kind == "f":
        return as_dtype(x, dtype)
    return detached(x).astype(dtype)


def _bit_cast(call: Call, x: Any) -> Any:
    dtype = dtype_of(call.get("to"), call.label)
    if dtype.itemsize != x.dtype.itemsize:
        call.refuse(f"{x.dtype} and {dtype} have different sizes")
    return np.ascontiguousarray(array(x)).reshape(x.shape).view(dtype)


def _is_inf(call: Call, x: Any) -> Any:
    values = detached(x)
    negative = np.isneginf(values) if call.get("detect_negative", 1) else np.zeros(x.shape, bool)
    return negative | np.isposinf(values) if call.get("detect_positive", 1) else negative


def _bit_shift(call: Call, x: Any, y: Any) -> Any:
    direction = call.choose("direction", "LEFT", "RIGHT")
    x, y = array(x), array(y)
    bits = 8 * x.dtype.itemsize
    is_beyond = (y < 0) | (y >= bits)  # all bits are shifted out; a negative number counts as a large one
    count = np.where(is_beyond, 0, y).astype(x.dtype)
    if direction == "LEFT":
        return np.where(is_beyond, 0, np.left_shift(x, count)).astype(x.dtype)
    sign = np.where(x < 0, -1, 0)
    return np.where(is_beyond, sign, np.right_shift(x, count)).astype(x.dtype)


def _by_booleans(function: Any) -> Operator:
    """Return the operator of a logical function."""

    def compute(call: Call, *inputs: Any) -> Any:
        for x in inputs:
            if x.dtype != bool:
                call.refuse(f"takes booleans, not {x.dtype}")
        return function(*map(array, inputs))

    return compute


# Activations


def _relu(call: Call, x: Any) -> Any:
    return ops.relu(x) if is_float(x) else np.maximum(array(x), 0)


def _leaky_relu(call: Call, x: Any) -> Any:
    return ops.leaky_relu(x, call.get("alpha", 0.01))


def _prelu(call: Call, x: Any, slope: Any) -> Any:
    if call.opset < 7 and slope.ndim == 1:  # an entry for each channel, without trailing dimensions of size 1
        slope = ops.reshape(slope, (-1, *(1,) * (x.ndim - 2)))
    return ops.where(ops.lt(x, 0), ops.mul(x, slope), x)


def _elu(call: Call, x: Any) -> Any:
    return ops.elu(x, call.get("alpha", 1.0))


def _selu(call: Call, x: Any) -> Any:
    alpha, gamma = call.get("alpha", 1.67326319217681884765625), call.get("gamma", 1.05070102214813232421875)
    return ops.mul(ops.elu(x, alpha), gamma)


def _celu(call: Call, x: Any) -> Any:
    return ops.celu(x, call.get("alpha", 1.0))


def _hard_sigmoid(call: Call, x: Any) -> Any:
    return ops.clamp(ops.add(ops.mul(x, call.get("alpha", 0.2)), call.get("beta", 0.5)), 0.0, 1.0)


def _hard_swish(call: Call, x: Any) -> Any:
    return ops.mul(x, ops.clamp(ops.add(ops.mul(x, 1 / 6), 0.5), 0.0, 1.0))


def _thresholded_relu(call: Call, x: Any) -> Any:
    return ops.where(ops.gt(x, call.get("alpha", 1.0)), x, 0.0)


def _erf(x: Any) -> Any:
    return as_dtype(ops.erf(widen_float16(x)), x.dtype)


def _gelu(call: Call, x: Any) -> Any:
    return as_dtype(ops.gelu(widen_float16(x), approximate=call.choose("approximate", "none", "tanh")), x.dtype)


def _swish(call: Call, x: Any) -> Any:
    return ops.mul(x, ops.sigmoid(ops.mul(x, call.get("alpha", 1.0))))


def _shrink(call: Call, x: Any) -> Any:
    bias, limit = call.get("bias", 0.0), call.get("lambd", 0.5)
    if not is_float(x):
        values = array(x)
        return np.where(values < -limit, values + bias, np.where(values > limit, values - bias, 0)).astype(x.dtype)
    return ops.where(ops.lt(x, -limit), ops.add(x, bias), ops.where(ops.gt(x, limit), ops.sub(x, bias), 0.0))


def _softmax(function: Any) -> Operator:
    """Return the operator of a softmax. Before version 13, dimensions before `axis` are rows, the others columns."""

    def compute(call: Call, x: Any) -> Any:
        if call.opset >= 13:
            return function(x, call.get("axis", -1))
        axis = call.get("axis", 1)
        rows = math.prod(x.shape[: axis % max(x.ndim, 1) if axis < x.ndim else x.ndim])
        return ops.reshape(function(ops.reshape(x, (rows, math.prod(x.shape) // max(rows, 1))), 1), x.shape)

    return compute


def _hardmax(call: Call, x: Any) -> Any:
    axis = call.get("axis", -1 if call.opset >= 13 else 1)
    values = detached(x)
    flat = values if call.opset >= 13 else values.reshape(math.prod(x.shape[:axis]), -1)
    axis = axis if call.opset >= 13 else 1
    out = np.zeros_like(flat)
    np.put_along_axis(out, np.expand_dims(flat.argmax(axis), axis), 1, axis)
    return out.reshape(x.shape)


OPERATORS: dict[str, Operator] = {
    "Abs": plain_operator(ops.abs), "Neg": plain_operator(ops.neg), "Exp": plain_operator(ops.exp),
    "Log": plain_operator(ops.log), "Sqrt": plain_operator(ops.sqrt), "Reciprocal": plain_operator(ops.reciprocal),
    "Sin": plain_operator(ops.sin), "Cos": plain_operator(ops.cos), "Tan": plain_operator(ops.tan),
    "Sinh": plain_operator(ops.sinh), "Cosh": plain_operator(ops.cosh), "Tanh": plain_operator(ops.tanh),
    "Asin": plain_operator(ops.asin), "Acos": plain_operator(ops.acos), "Atan": plain_operator(ops.atan),
    "Asinh": plain_operator(ops.asinh), "Acosh": plain_operator(ops.acosh), "Atanh": plain_operator(ops.atanh),
    "Erf": plain_operator(_erf), "Sign": plain_operator(ops.sign), "Floor": plain_operator(ops.floor),
    "Ceil": plain_operator(ops.ceil), "Round": plain_operator(ops.round),
    "Add": _binary(ops.add), "Sub": _binary(ops.sub), "Mul": _binary(ops.mul), "Div": _div,
    "Mod": _mod, "Pow": _pow, "Min": _variadic(ops.minimum), "Max": _variadic(ops.maximum),
    "Sum": _variadic(ops.add), "Mean": _mean, "Clip": _clip, "Where": plain_operator(ops.where),
    "Equal": _binary(ops.eq), "Less": _binary(ops.lt), "LessOrEqual": plain_operator(ops.le),
    "Greater": _binary(ops.gt), "GreaterOrEqual": plain_operator(ops.ge),
    "And": _by_booleans(np.logical_and), "Or": _by_booleans(np.logical_or), "Xor": _by_booleans(np.logical_xor),
    "Not": _by_booleans(np.logical_not),
    "BitwiseAnd": numpy_operator(np.bitwise_and), "BitwiseOr": numpy_operator(np.bitwise_or),
    "BitwiseXor": numpy_operator(np.bitwise_xor), "BitwiseNot": numpy_operator(np.invert), "BitShift": _bit_shift,
    "IsNaN": plain_operator(lambda x: np.isnan(detached(x))), "IsInf": _is_inf,
    "Identity": plain_operator(lambda x: x), "Cast": _cast, "CastLike": _cast_like, "BitCast": _bit_cast,
    "Relu": _relu, "LeakyRelu": _leaky_relu, "PRelu": _prelu, "Elu": _elu, "Selu": _selu, "Celu": _celu,
    "Sigmoid": plain_operator(ops.sigmoid), "HardSigmoid": _hard_sigmoid, "HardSwish": _hard_swish,
    "Softplus": plain_operator(ops.softplus), "Softsign": plain_operator(ops.softsign),
    "ThresholdedRelu": _thresholded_relu, "Gelu": _gelu, "Mish": plain_operator(ops.mish), "Swish": _swish,
    "Shrink": _shrink, "Softmax": _softmax(ops.softmax), "LogSoftmax": _softmax(ops.log_softmax), "Hardmax": _hardmax,
}  # fmt: skip
