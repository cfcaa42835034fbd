"""Layers: products, normalization, losses, dropout."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule import ops
from chainrule.nn import functional as F  # noqa: N812  # the field's name for it
from chainrule.onnx.operators.call import Call, Operator, array, detached, is_float, plain_operator, wrap
from chainrule.ops.normalization import standardize
from chainrule.ops.operation import stop_gradient
from chainrule.ops.shape import as_dtype, widen_float16


def _matmul(call: Call, x: Any, y: Any) -> Any:
    return ops.matmul(x, y) if is_float(x) else np.matmul(array(x), array(y))


def _gemm(call: Call, x: Any, y: Any, bias: Any = None) -> Any:
    """Compute alpha x y + beta bias, by `linear` where that is the same."""
    alpha, beta = call.get("alpha", 1.0), call.get("beta", 1.0)
    x_transposed, y_transposed = call.get("transA", 0), call.get("transB", 0)
    if call.opset < 7:
        call.get("broadcast", 0)  # newer versions always broadcast, and so does this one
    if not is_float(x):
        call.refuse(f"takes floats, not {x.dtype}")
    x = ops.permute(x, (1, 0)) if x_transposed else x
    y = y if y_transposed else ops.permute(y, (1, 0))
    if alpha == beta == 1 and (bias is None or bias.shape == y.shape[:1]):
        return F.linear(x, y, bias)
    out = ops.matmul(x, ops.permute(y, (1, 0)))
    out = out if alpha == 1 else ops.mul(out, alpha)
    return out if bias is None or not beta else ops.add(out, bias if beta == 1 else ops.mul(bias, beta))


def _einsum(call: Call, *inputs: Any) -> Any:
    return ops.einsum(call.get("equation"), *inputs)


def _batch_norm(call: Call, x: Any, scale: Any, bias: Any, mean: Any, variance: Any) -> Any:
    eps, momentum, training = call.get("epsilon", 1e-5), call.get("momentum", 0.9), call.get("training_mode", 0)
    if call.get("spatial", 1) != 1:
        call.refuse("spatial=0 is not supported")
    if call.opset < 7 and not call.get("is_test", 0):
        call.refuse("training mode is not supported in this version")
    channels = (1, -1, *(1,) * (x.ndim - 2))
    if not training:
        return F.batch_norm(
            as_dtype(x, x.dtype), mean, variance, as_dtype(scale, x.dtype), as_dtype(bias, x.dtype), False, 0.1, eps
        )
    dims = (0, *range(2, x.ndim))
    shaped = [ops.reshape(p, channels) for p in (scale, bias)]
    batch_mean, batch_variance = ops.mean(stop_gradient(x), dims), ops.var(stop_gradient(x), dims, correction=0)
    running = [
        ops.add(ops.mul(old, momentum), ops.mul(new, 1 - momentum))
        for old, new in ((mean, batch_mean), (variance, batch_variance))
    ]
    return standardize(x, *shaped, dim=dims, eps=eps), *running


def _instance_norm(call: Call, x: Any, scale: Any, bias: Any) -> Any:
    channels = (1, -1, *(1,) * (x.ndim - 2))
    parameters = [ops.reshape(p, channels) for p in (scale, bias)]
    return standardize(x, *parameters, dim=tuple(range(2, x.ndim)), eps=call.get("epsilon", 1e-5))


def _group_norm(call: Call, x: Any, scale: Any, bias: Any) -> Any:
    """Normalize groups of channels; scale and bias are per group before version 21, and per channel since."""
    groups, eps = call.get("num_groups"), call.get("epsilon", 1e-5)
    call.get("stash_type", 1)
    n, channels = x.shape[:2]
    grouped = ops.reshape(x, (n, groups, channels // groups, *x.shape[2:]))
    out = standardize(grouped, dim=tuple(range(2, grouped.ndim)), eps=eps)
    shape = (1, groups, 1 if call.opset < 21 else channels // groups, *(1,) * (x.ndim - 2))
    out = ops.add(ops.mul(out, ops.reshape(scale, shape)), ops.reshape(bias, shape))
    return ops.reshape(out, x.shape)


def _layer_norm(call: Call, x: Any, scale: Any, bias: Any = None) -> Any:
    axis, eps = wrap(call, call.get("axis", -1), x.ndim), call.get("epsilon", 1e-5)
    call.get("stash_type", 1)
    dims = tuple(range(axis, x.ndim))
    shift = 0.0 if bias is None else bias
    out = standardize(as_dtype(x, np.float32) if x.dtype == np.float16 else x, scale, shift, dim=dims, eps=eps)
    out = as_dtype(out, x.dtype)
    if len(call.outputs) == 1:
        return out
    mean = ops.mean(x, dims, True)
    return out, mean, ops.rsqrt(ops.add(ops.var(x, dims, keepdim=True, correction=0), eps))


def _rms_norm(call: Call, x: Any, scale: Any) -> Any:
    axis, eps = wrap(call, call.get("axis", -1), x.ndim), call.get("epsilon", 1e-5)
    call.get("stash_type", 1)
    wide = as_dtype(x, np.float32) if x.dtype == np.float16 else x
    dims = tuple(range(axis, x.ndim))
    out = ops.true_divide(wide, ops.sqrt(ops.add(ops.mean(ops.mul(wide, wide), dims, True), eps)))
    return ops.mul(as_dtype(out, x.dtype), scale)


def _lp_norm(call: Call, x: Any) -> Any:
    axis, p = wrap(call, call.get("axis", -1), x.ndim), call.get("p", 2)
    size = ops.norm(x, p, axis, True)
    return ops.where(ops.eq(size, 0), 0.0, ops.true_divide(x, ops.where(ops.eq(size, 0), 1.0, size)))


def _mean_variance_norm(call: Call, x: Any) -> Any:
    """Compute (x - mean) / (√variance + 1e-9), as the function in ONNX's specification does."""
    dims = call.ints("axes", (0, 2, 3))
    mean = ops.mean(x, dims, True)
    variance = ops.sub(ops.mean(ops.mul(x, x), dims, True), ops.mul(mean, mean))
    return ops.true_divide(ops.sub(x, mean), ops.add(ops.sqrt(variance), 1e-9))


def _local_response_norm(call: Call, x: Any) -> Any:
    alpha, beta, bias, size = call.get("alpha", 1e-4), call.get("beta", 0.75), call.get("bias", 1.0), call.get("size")
    before, after = (size - 1) // 2, size - 1 - (size - 1) // 2
    squares = ops.pad(ops.mul(x, x), [0, 0] * (x.ndim - 2) + [before, after])
    total = squares[:, : x.shape[1]]
    for i in range(1, size):
        total = ops.add(total, squares[:, i : i + x.shape[1]])
    return ops.true_divide(x, ops.pow(ops.add(ops.mul(total, alpha / size), bias), beta))


def _dropout(call: Call, x: Any, ratio: Any = None, training: Any = None) -> Any:
    rate = call.get("ratio", 0.5) if ratio is None else float(array(ratio).reshape(-1)[0])
    call.get("seed")
    is_training = training is not None and bool(detached(training).reshape(-1)[0])
    if (is_training and rate) or (call.opset < 7 and not call.get("is_test", 0)):
        call.refuse("training mode draws random numbers")
    return (x, np.ones(x.shape, bool)) if len(call.outputs) > 1 else x


def _nll_loss(call: Call, x: Any, target: Any, weight: Any = None) -> Any:
    return _negative_log_likelihood(call, x, target, weight)


def _negative_log_likelihood(call: Call, scores: Any, target: Any, weight: Any) -> Any:
    """Compute -w[class] x[class]; the mean is weighted, without ignored targets."""
    reduction, ignored = call.choose("reduction", "mean", "sum", "none"), call.get("ignore_index")
    classes = detached(target).astype(np.int64)
    valid = np.ones(classes.shape, bool) if ignored is None else classes != ignored
    index = np.where(valid, classes, 0)
    picked = ops.squeeze(ops.gather(scores, 1, np.expand_dims(index, 1)), 1)
    factors = ops.where(valid, np.ones(classes.shape, scores.dtype) if weight is None else weight[index], 0.0)
    losses = ops.mul(ops.neg(ops.where(valid, picked, 0.0)), factors)
    if reduction == "none":
        return losses
    return ops.sum(losses) if reduction == "sum" else ops.true_divide(ops.sum(losses), ops.sum(factors))


def _softmax_cross_entropy(call: Call, scores: Any, target: Any, weight: Any = None) -> Any:
    logs = ops.log_softmax(scores, 1)
    loss = _negative_log_likelihood(call, logs, target, weight)
    return (loss, logs) if len(call.outputs) > 1 else loss


def _det(x: Any) -> Any:
    return np.linalg.det(array(widen_float16(x))).astype(x.dtype)


OPERATORS: dict[str, Operator] = {
    "MatMul": _matmul, "Gemm": _gemm, "Einsum": _einsum, "BatchNormalization": _batch_norm,
    "InstanceNormalization": _instance_norm, "GroupNormalization": _group_norm, "LayerNormalization": _layer_norm,
    "RMSNormalization": _rms_norm, "LpNormalization": _lp_norm, "MeanVarianceNormalization": _mean_variance_norm,
    "LRN": _local_response_norm, "Dropout": _dropout, "NegativeLogLikelihoodLoss": _nll_loss,
    "SoftmaxCrossEntropyLoss": _softmax_cross_entropy, "Det": plain_operator(_det),
}  # fmt: skip
