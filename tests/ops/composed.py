"""The table of operations, continued: composed functions, losses, normalization, attention, recurrent layers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule import ops

from .cases import CONDITION, CONVOLUTIONS, anything, apart, case, off_zero, positive, small, window_positions

# Arithmetic

case(ops.div, "div", ops.div, lambda x, y: x / y, anything(2, 3), off_zero(3))
for mode, rounded in [("floor", np.floor), ("trunc", np.trunc)]:
    case(
        ops.div,
        f"div {mode}",
        lambda x, y, mode=mode: ops.div(x, y, rounding_mode=mode),
        lambda x, y, rounded=rounded: rounded(x / y),
        anything(2, 3),
        off_zero(3),
    )
case(ops.clamp, "clamp", lambda x: ops.clamp(x, -0.7, 1.1), lambda x: np.clip(x, -0.7, 1.1), anything(2, 3))
case(
    ops.clamp,
    "clamp min",
    lambda x: ops.clamp(x, min=0.2),
    lambda x: x * (x > 0.2) + x.dtype.type(0.2) * (x <= 0.2),
    anything(2, 3),
)
case(
    ops.clamp,
    "clamp by tensors",
    ops.clamp,
    lambda x, a, b: np.minimum(np.maximum(x, a), b),
    anything(2, 3),
    -positive(3),
    positive(2, 1),
)
case(ops.lerp, "lerp", ops.lerp, lambda x, y, w: (1 - w) * x + w * y, anything(2, 3), anything(3), positive(2, 1))
case(
    ops.lerp,
    "lerp by a number",
    lambda x, y: ops.lerp(x, y, 0.25),
    lambda x, y: (3 * x + y) / 4,
    anything(3),
    anything(3),
)
case(
    ops.masked_fill,
    "masked_fill",
    lambda x: ops.masked_fill(x, CONDITION, 2.0),
    lambda x: x * ~CONDITION + x.dtype.type(2) * CONDITION,
    anything(2, 3),
)
case(
    ops.masked_fill,
    "masked_fill by a tensor",
    lambda x, y: ops.masked_fill(x, CONDITION, y),
    lambda x, y: x * ~CONDITION + y * CONDITION,
    anything(3),
    anything(),
)

# Reductions

for dim in [None, 0, (0, 1)]:
    for keepdim in [False, True]:
        for correction in [0, 1, 0.5]:
            case(
                ops.var,
                f"var {dim} {keepdim} {correction}",
                lambda x, dim=dim, k=keepdim, c=correction: ops.var(x, dim, keepdim=k, correction=c),
                lambda x, dim=dim, k=keepdim, c=correction: np.var(x, dim, ddof=c, keepdims=k),
                anything(3, 2),
            )
case(ops.var, "var biased", lambda x: ops.var(x, False), np.var, anything(4))
case(ops.std, "std", lambda x: ops.std(x, 1), lambda x: np.std(x, 1, ddof=1), anything(2, 3))
for p, dim, keepdim in [("fro", None, False), (None, 1, False), (1, 0, True), (3.0, (0, 1), False)]:
    case(
        ops.norm,
        f"norm {p} {dim}",
        lambda x, p=p, dim=dim, k=keepdim: ops.norm(x, p, dim, k),
        lambda x, q=2 if p in ("fro", None) else p, dim=dim, k=keepdim: (
            np.sum(np.abs(x) ** q, dim, keepdims=k) ** x.dtype.type(1 / q)
        ),
        off_zero(2, 3),
    )
for operation, plain, pairwise in [(ops.max, np.max, np.maximum), (ops.min, np.min, np.minimum)]:
    name = operation.__name__
    case(operation, name, operation, plain, apart(2, 3))
    for dim, keepdim in [(0, False), (-1, True)]:
        case(
            operation,
            f"{name} {dim}",
            lambda x, f=operation, dim=dim, k=keepdim: f(x, dim, k)[0],
            lambda x, f=plain, dim=dim, k=keepdim: f(x, dim, keepdims=k),
            apart(2, 3),
        )
    case(operation, f"{name} of two", operation, pairwise, anything(2, 3), anything(3))

# Shapes

case(
    ops.transpose, "transpose", lambda x: ops.transpose(x, 0, -1), lambda x: np.einsum("abc->cba", x), anything(2, 3, 4)
)
case(
    ops.transpose, "transpose one dimension with itself", lambda x: ops.transpose(x, 1, 1), lambda x: x, anything(2, 3)
)
for dim in [0, 1, 2, -1, -3]:
    case(
        ops.unsqueeze,
        f"unsqueeze {dim}",
        lambda x, dim=dim: ops.unsqueeze(x, dim),
        lambda x, dim=dim: np.array(x.tolist(), x.dtype).reshape({0: (1, 2, 3), 1: (2, 1, 3), 2: (2, 3, 1)}[dim % 3]),
        anything(2, 3),
    )
for shape, dim, after in [
    ((1, 2, 1), None, (2,)),
    ((1, 2, 1), 0, (2, 1)),
    ((1, 2, 1), -1, (1, 2)),
    ((1, 2, 1), 1, (1, 2, 1)),
    ((1, 2, 1), (0, 2), (2,)),
    ((1, 1), None, ()),
    ((), None, ()),
    ((), 0, ()),
]:
    case(
        ops.squeeze,
        f"squeeze{shape} {dim}",
        lambda x, dim=dim: ops.squeeze(x, dim),
        lambda x, after=after: x.reshape(after),
        anything(*shape),
    )
for shape, start, end, after in [
    ((), 0, -1, (1,)),
    ((3,), 0, -1, (3,)),
    ((2, 3), 0, -1, (6,)),
    ((2, 3, 2), 1, -1, (2, 6)),
    ((2, 3, 2), 0, 1, (6, 2)),
    ((2, 3, 2), -2, -1, (2, 6)),
    ((2, 3, 2), 1, 1, (2, 3, 2)),
    ((0, 3, 2), 1, -1, (0, 6)),
]:
    case(
        ops.flatten,
        f"flatten{shape} {start} {end}",
        lambda x, start=start, end=end: ops.flatten(x, start, end),
        lambda x, after=after: x.reshape(after),
        anything(*shape),
    )
case(ops.movedim, "movedim", lambda x: ops.movedim(x, 0, -1), lambda x: np.einsum("abc->bca", x), anything(2, 3, 4))
case(
    ops.movedim,
    "movedim several",
    lambda x: ops.movedim(x, (0, 1), (2, 0)),
    lambda x: np.einsum("abc->bca", x),
    anything(2, 3, 4),
)
case(ops.unflatten, "unflatten", lambda x: ops.unflatten(x, 1, (2, -1)), lambda x: x.reshape(2, 2, 3), anything(2, 6))
case(
    ops.expand,
    "expand",
    lambda x: ops.expand(x, 4, -1, 3),
    lambda x: np.stack([x * np.ones((1, 3), x.dtype)] * 4),
    anything(2, 1),
)
for times in [(2, 3), (2, 1, 3), (0, 1)]:
    case(ops.tile, f"tile {times}", lambda x, t=times: ops.tile(x, t), lambda x, t=times: np.tile(x, t), anything(2, 2))
    case(
        ops.repeat,
        f"repeat {times}",
        lambda x, t=times: ops.repeat(x, *t),
        lambda x, t=times: np.tile(x, t),
        anything(2, 2),
    )
case(ops.tile, "tile the last alone", lambda x: ops.tile(x, 2), lambda x: np.concatenate([x, x], 1), anything(2, 2))
for dim in [0, 1, -1]:
    for operation, plain in [(ops.cat, np.concatenate), (ops.stack, np.stack)]:
        case(
            operation,
            f"{operation.__name__} {dim}",
            lambda x, y, f=operation, d=dim: f([x, y], d),
            lambda x, y, f=plain, d=dim: f([x, y], d),
            anything(2, 2),
            anything(2, 2),
        )
case(
    ops.cat, "cat of one twice", lambda x: ops.cat([x, x * 2, x]), lambda x: np.concatenate([x, x * 2, x]), anything(2)
)
case(ops.cat, "cat with nothing", lambda x: ops.cat([x[:0, 0], x]), lambda x: x, anything(2, 3))
for sections, i, stretch in [
    (2, 1, slice(2, 4)),
    ((1, 0, 4), 2, slice(1, 5)),
    ((1, 0, 4), 1, slice(1, 1)),
    (5, 0, slice(5)),
]:
    case(
        ops.split,
        f"split {sections} {i}",
        lambda x, s=sections, i=i: ops.split(x, s)[i],
        lambda x, stretch=stretch: x[stretch],
        anything(5, 2),
    )
case(
    ops.chunk,
    "chunk",
    lambda x: ops.chunk(x, 3, 1)[2] * ops.chunk(x, 3, 1)[0][:, :1],
    lambda x: x[:, 4:] * x[:, :1],
    anything(2, 5),
)
case(
    ops.unbind,
    "unbind",
    lambda x: ops.unbind(x, 1)[2] * ops.unbind(x, 1)[0],
    lambda x: x[:, 2] * x[:, 0],
    anything(2, 3),
)

# Indices

for shape, dim, indices in [
    ((3, 4), 0, np.array([[0, 2, 1, 1], [2, 2, 0, 1]])),
    ((3, 4), 1, np.array([[0], [3], [3]])),
    ((3, 4), -1, np.array([[0, 0], [3, -1], [3, 2]])),
    ((3, 4), 0, np.array([[0], [2]])),
    ((5,), 0, np.array([4, 4, 1])),
    ((2, 3, 2), 1, np.array([[[0, 2]], [[1, 1]]])),
]:

    def take(x: np.ndarray, indices: np.ndarray, dim: int) -> np.ndarray:
        """out[i, j] = x[indices[i, j], j], for any dim, one line of x at a time."""
        sizes = [n for d, n in enumerate(x.shape) if d != dim % x.ndim]
        wide = np.moveaxis(np.broadcast_to(np.moveaxis(indices, dim, 0), (indices.shape[dim], *sizes)), 0, -1)
        lines = np.moveaxis(x, dim, -1)
        out = np.array([lines[at][wide[at]] for at in np.ndindex(*sizes)], x.dtype).reshape(wide.shape)
        return np.moveaxis(out, -1, dim)

    case(
        ops.take_along_dim,
        f"take_along_dim{shape} {dim} {indices.shape}",
        lambda x, indices=indices, dim=dim: ops.take_along_dim(x, indices=indices, dim=dim),
        lambda x, indices=indices, dim=dim, take=take: take(x, indices, dim),
        anything(*shape),
    )
for dim, indices, plain in [
    (0, np.array([[0, 2, 1, 1], [2, 2, 0, 1]]), lambda x: x[[[0, 2, 1, 1], [2, 2, 0, 1]], [0, 1, 2, 3]]),
    (-1, np.array([[0, 0], [3, 1], [3, 2]]), lambda x: x[[[0], [1], [2]], [[0, 0], [3, 1], [3, 2]]]),
    (0, np.array([[2, 0]]), lambda x: x[[2, 0], [0, 1]][None]),
    (1, np.zeros((3, 0), int), lambda x: x[:, :0]),
]:
    case(
        ops.gather,
        f"gather {dim} {indices.shape}",
        lambda x, dim=dim, indices=indices: ops.gather(x, dim, indices),
        plain,
        anything(3, 4),
    )
case(
    ops.gather,
    "gather of one dimension",
    lambda x: ops.gather(x, 0, np.array([3, 0, 3])),
    lambda x: x[[3, 0, 3]],
    anything(4),
)
case(
    ops.index_select,
    "index_select",
    lambda x: ops.index_select(x, 1, np.array([2, 0, 2])),
    lambda x: x[:, [2, 0, 2]],
    anything(2, 3),
)
case(ops.flip, "flip", lambda x: ops.flip(x, (0, -1)), lambda x: x[::-1, :, ::-1], anything(2, 3, 2))
case(
    ops.roll, "roll", lambda x: ops.roll(x, (1, -4), (0, 1)), lambda x: np.roll(np.roll(x, 1, 0), -4, 1), anything(2, 3)
)
case(ops.roll, "roll flat", lambda x: ops.roll(x, 4), lambda x: np.roll(x, 4), anything(2, 3))
for offset in [0, 1, -1]:
    case(
        ops.tril,
        f"tril {offset}",
        lambda x, k=offset: ops.tril(x, k),
        lambda x, k=offset: np.tril(x, k),
        anything(2, 3, 2),
    )
    case(
        ops.triu,
        f"triu {offset}",
        lambda x, k=offset: ops.triu(x, k),
        lambda x, k=offset: np.triu(x, k),
        anything(2, 3),
    )
    case(
        ops.diagonal,
        f"diagonal {offset}",
        lambda x, k=offset: ops.diagonal(x, k),
        lambda x, k=offset: np.diagonal(x, k),
        anything(3, 2),
    )
for shape in [(3, 3), (2, 3, 3), (0, 0)]:
    case(
        ops.indexing.main_diagonal,
        f"main_diagonal {shape}",
        ops.indexing.main_diagonal,
        lambda x: np.diagonal(x, 0, -2, -1),
        anything(*shape),
    )
case(
    ops.diagonal,
    "diagonal of a stack",
    lambda x: ops.diagonal(x, 0, -2, -1),
    lambda x: np.diagonal(x, 0, 1, 2),
    anything(2, 3, 3),
)

# Products

case(ops.mm, "mm", ops.mm, lambda x, y: np.einsum("ij,jk->ik", x, y), anything(2, 3), anything(3, 2))
case(ops.bmm, "bmm", ops.bmm, lambda x, y: np.einsum("bij,bjk->bik", x, y), anything(2, 2, 3), anything(2, 3, 1))
case(ops.dot, "dot", ops.dot, lambda x, y: np.einsum("i,i", x, y), anything(3), anything(3))
case(ops.outer, "outer", ops.outer, lambda x, y: np.einsum("i,j->ij", x, y), anything(3), anything(2))
for equation, shapes in [
    ("ij,jk->ik", [(2, 3), (3, 2)]),
    ("ij,jk", [(2, 3), (3, 2)]),
    ("ii", [(3, 3)]),
    ("iij->ji", [(2, 2, 3)]),
    ("...i,...i->...", [(2, 3), (3,)]),
    ("bij,bkj->bik", [(2, 2, 3), (2, 1, 3)]),
    ("i,j,k->kij", [(2,), (3,), (2,)]),
    ("ij,j,jk->i", [(2, 3), (3,), (3, 2)]),
    ("ij->", [(2, 3)]),
    ("ij->ji", [(2, 3)]),
    ("i,i->i", [(3,), (3,)]),
]:
    case(
        ops.einsum,
        f"einsum {equation}",
        lambda *parts, e=equation: ops.einsum(e, *parts),
        lambda *parts, e=equation: np.einsum(e, *parts),
        *(anything(*shape) for shape in shapes),
    )

# Losses

REDUCE = {"mean": np.mean, "sum": np.sum, "none": lambda losses: losses}
for reduction, reduce in REDUCE.items():
    for shape in [(), (3,), (2, 3)]:
        case(
            ops.mse_loss,
            f"mse_loss{shape} {reduction}",
            lambda x, y, reduction=reduction: ops.mse_loss(x, y, reduction),
            lambda x, y, reduce=reduce: reduce((x - y) * (x - y)),
            anything(*shape),
            anything(*shape),
        )
    for shape, labels in [
        ((3,), 1),
        ((2, 3), [2, 2]),
        ((2, 3, 2), [[0, 2], [1, 1]]),
        ((2, 3, 1, 2), [[[0, 2]], [[1, 1]]]),
    ]:

        def by_class(x: np.ndarray, labels: Any) -> np.ndarray:
            """The cross entropy of each example."""
            classes = np.moveaxis(x, min(1, x.ndim - 1), -1)
            chosen = np.arange(x.shape[min(1, x.ndim - 1)]) == np.asarray(labels)[..., None]
            return np.log(np.exp(classes).sum(-1)) - (classes * chosen).sum(-1)

        case(
            ops.cross_entropy,
            f"cross_entropy{shape} {reduction}",
            lambda x, labels=labels, reduction=reduction: ops.cross_entropy(x, np.array(labels), reduction=reduction),
            lambda x, labels=labels, reduce=reduce, by_class=by_class: reduce(by_class(x, labels)),
            anything(*shape),
        )
        case(
            ops.cross_entropy,
            f"cross_entropy{shape} of probabilities {reduction}",
            lambda x, y, reduction=reduction: ops.cross_entropy(x, y, reduction=reduction),
            lambda x, y, reduce=reduce: reduce(
                -(y * np.log(np.exp(x) / np.exp(x).sum(min(1, x.ndim - 1), keepdims=True))).sum(min(1, x.ndim - 1))
            ),
            anything(*shape),
            positive(*shape),
        )
for name, plain in {
    "l1_loss": lambda x, y: np.abs(x - y),
    "smooth_l1_loss": lambda x, y: np.where(np.abs(x - y) < 1, (x - y) ** 2 / 2, np.abs(x - y) - 0.5),
    "huber_loss": lambda x, y: np.where(np.abs(x - y) < 1, (x - y) ** 2 / 2, np.abs(x - y) - 0.5),
}.items():
    operation = getattr(ops, name)
    for reduction, reduce in REDUCE.items():
        case(
            operation,
            f"{name} {reduction}",
            lambda x, y, f=operation, r=reduction: f(x, y, reduction=r),
            lambda x, y, plain=plain, reduce=reduce: reduce(plain(x, y)),
            anything(2, 3),
            anything(2, 3),
        )
case(
    ops.smooth_l1_loss,
    "smooth_l1_loss beta",
    lambda x, y: ops.smooth_l1_loss(x, y, beta=2.0),
    lambda x, y: np.mean(np.where(np.abs(x - y) < 2, (x - y) ** 2 / 4, np.abs(x - y) - 1)),
    anything(4),
    anything(4),
)
case(
    ops.smooth_l1_loss,
    "smooth_l1_loss beta 0",
    lambda x, y: ops.smooth_l1_loss(x, y, beta=0),
    lambda x, y: np.mean(np.abs(x - y)),
    anything(4),
    anything(4),
)
case(
    ops.huber_loss,
    "huber_loss delta, weight",
    lambda x, y, w: ops.huber_loss(x, y, delta=0.5, weight=w),
    lambda x, y, w: np.mean(w * np.where(np.abs(x - y) < 0.5, (x - y) ** 2 / 2, (np.abs(x - y) - 0.25) / 2)),
    anything(4),
    anything(4),
    positive(4),
)
WEIGHT = np.array([0.5, 2.0, 1.5])
for reduction, reduce in REDUCE.items():
    chance, target, weight = (1 + small(2, 3) * 0.9) / 2, (1 + small(2, 3)) / 2, positive(3)
    case(
        ops.binary_cross_entropy,
        f"binary_cross_entropy {reduction}",
        lambda x, y, w, r=reduction: ops.binary_cross_entropy(x, y, w, reduction=r),
        lambda x, y, w, reduce=reduce: reduce(-w * (y * np.log(x) + (1 - y) * np.log(1 - x))),
        chance,
        target,
        weight,
    )
    case(
        ops.binary_cross_entropy_with_logits,
        f"binary_cross_entropy_with_logits {reduction}",
        lambda x, y, w, p, r=reduction: ops.binary_cross_entropy_with_logits(x, y, w, reduction=r, pos_weight=p),
        lambda x, y, w, p, reduce=reduce: reduce(
            w * (p * y * np.log(1 + np.exp(-x)) + (1 - y) * np.log(1 + np.exp(x)))
        ),
        anything(2, 3),
        target,
        weight,
        positive(3),
    )
    case(
        ops.kl_div,
        f"kl_div {reduction}",
        lambda x, y, r=reduction: ops.kl_div(x, y, reduction=r),
        lambda x, y, reduce=reduce: reduce(y * (np.log(y) - x)),
        anything(2, 3),
        positive(2, 3),
    )
    case(
        ops.nll_loss,
        f"nll_loss {reduction}",
        lambda x, r=reduction: ops.nll_loss(x, np.array([2, 0]), reduction=r),
        lambda x, reduce=reduce: reduce(-np.stack([x[0, 2], x[1, 0]])),
        anything(2, 3),
    )

    def weighed(x: np.ndarray, reduction: str) -> Any:
        """Cross entropy with the labels 2, 0, ignored, 1 and the weights of `WEIGHT`; 4 is the sum of their weights."""
        losses = np.log(np.exp(x).sum(1, keepdims=True)) - x
        losses = np.stack([losses[0, 2] * 1.5, losses[1, 0] * 0.5, 0 * losses[2, 0], losses[3, 1] * 2]).astype(x.dtype)
        return losses if reduction == "none" else losses.sum() / x.dtype.type(1 if reduction == "sum" else 4)

    case(
        ops.cross_entropy,
        f"cross_entropy weight, ignore_index {reduction}",
        lambda x, r=reduction: ops.cross_entropy(
            x, np.array([2, 0, 7, 1]), WEIGHT.astype(x.dtype), ignore_index=7, reduction=r
        ),
        lambda x, r=reduction, weighed=weighed: weighed(x, r),
        anything(4, 3),
    )
    case(
        ops.cross_entropy,
        f"cross_entropy label_smoothing {reduction}",
        lambda x, r=reduction: ops.cross_entropy(x, np.array([2, 0]), reduction=r, label_smoothing=0.25),
        lambda x, reduce=reduce: reduce(
            (np.log(np.exp(x).sum(1, keepdims=True)) - x) @ np.full(3, 1 / 12, x.dtype)
            + 3 * (np.log(np.exp(x).sum(1)) - np.stack([x[0, 2], x[1, 0]])) / 4
        ),
        anything(2, 3),
    )
case(
    ops.kl_div,
    "kl_div of logarithms",
    lambda x, y: ops.kl_div(x, y, "batchmean", True),
    lambda x, y: np.sum(np.exp(y) * (y - x)) / 2,
    anything(2, 3),
    anything(2, 3),
)

case(
    ops.losses.elementwise_binary_cross_entropy,
    "elementwise_binary_cross_entropy",
    ops.losses.elementwise_binary_cross_entropy,
    lambda x, y: -(y * np.log(x) + (1 - y) * np.log(1 - x)),
    (1 + small(2, 3) * 0.9) / 2,
    small(3),
)

# Normalization, embedding, attention, padding, convolution

PHI = np.vectorize(lambda x: (1 + math.erf(x / math.sqrt(2))) / 2)
case(ops.gelu, "gelu", ops.gelu, lambda x: (x * PHI(x)).astype(x.dtype), anything(2, 3))
case(
    ops.gelu,
    "gelu by tanh",
    lambda x: ops.gelu(x, approximate="tanh"),
    lambda x: x / (1 + np.exp(-x.dtype.type(math.sqrt(8 / math.pi)) * (x + 44715 * x**3 / 1000000))),
    anything(2, 3),
)


def standard(x: np.ndarray, axis: Any, eps: float = 1e-5) -> np.ndarray:
    """x with mean 0 and variance 1 along an axis."""
    return (x - np.mean(x, axis, keepdims=True)) / np.sqrt(np.var(x, axis, keepdims=True) + x.dtype.type(eps))


case(
    ops.layer_norm,
    "layer_norm",
    lambda x, w, b: ops.layer_norm(x, (3,), w, b),
    lambda x, w, b: standard(x, -1) * w + b,
    anything(2, 3),
    anything(3),
    anything(3),
)
case(
    ops.layer_norm,
    "layer_norm over two",
    lambda x: ops.layer_norm(x, (2, 2), eps=0.1),
    lambda x: standard(x, (-2, -1), 0.1),
    anything(2, 2, 2),
)
case(
    ops.rms_norm,
    "rms_norm",
    lambda x, w: ops.rms_norm(x, (3,), w, 0.1),
    lambda x, w: x * w / np.sqrt(np.mean(x * x, -1, keepdims=True) + x.dtype.type(0.1)),
    anything(2, 3),
    anything(3),
)
case(
    ops.group_norm,
    "group_norm",
    lambda x, w, b: ops.group_norm(x, 2, w, b),
    lambda x, w, b: standard(x.reshape(2, 2, 4), -1).reshape(2, 4, 2) * w[:, None] + b[:, None],
    anything(2, 4, 2),
    anything(4),
    anything(4),
)
case(
    ops.batch_norm,
    "batch_norm training",
    lambda x, w, b: ops.batch_norm(x, None, None, w, b, training=True),
    lambda x, w, b: standard(x, (0, 2)) * w[:, None] + b[:, None],
    anything(2, 3, 2),
    anything(3),
    anything(3),
)
MEAN, VARIANCE = np.array([0.5, -0.25]), np.array([0.75, 1.5])
case(
    ops.batch_norm,
    "batch_norm evaluation",
    lambda x, w: ops.batch_norm(x, MEAN.astype(x.dtype), VARIANCE.astype(x.dtype), w, eps=0.25),
    lambda x, w: ((x - MEAN) / np.sqrt(VARIANCE + 0.25)).astype(x.dtype) * w,
    anything(3, 2),
    anything(2),
)
ROWS = np.array([[2, 0], [2, 2]])
case(ops.embedding, "embedding", lambda w: ops.embedding(ROWS, w), lambda w: w[ROWS], anything(3, 2))
for mode, border in [("constant", "constant"), ("reflect", "reflect"), ("replicate", "edge"), ("circular", "wrap")]:
    case(
        ops.pad,
        f"pad {mode}",
        lambda x, m=mode: ops.pad(x, (1, 2, 2, 0), m),
        lambda x, m=border: np.pad(x, ((0, 0), (2, 0), (1, 2)), m),
        anything(1, 3, 3),
    )
case(
    ops.pad,
    "pad by a value, cut",
    lambda x: ops.pad(x, (1, -1), value=3.0),
    lambda x: np.pad(x[:, :-1], ((0, 0), (1, 0)), constant_values=3),
    anything(2, 3),
)


def attended(q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: Any = 0) -> np.ndarray:
    """Attention; the mask is added to the scores."""
    scores = np.exp(np.einsum("...le,...se->...ls", q, k) / q.dtype.type(math.sqrt(q.shape[-1])) + mask)
    return np.einsum("...ls,...sf->...lf", scores / scores.sum(-1, keepdims=True), v)


ATTENTION = ops.scaled_dot_product_attention
case(ATTENTION, "attention", ATTENTION, attended, anything(2, 2, 2), anything(2, 3, 2), anything(2, 3, 2))
case(
    ATTENTION,
    "attention, causal",
    lambda q, k, v: ATTENTION(q, k, v, is_causal=True),
    lambda q, k, v: attended(q, k, v, np.where(np.tri(3, 3), 0, -np.inf).astype(q.dtype)),
    anything(3, 2),
    anything(3, 2),
    anything(3, 2),
)
for is_causal, keys in [(False, 4), (True, 3), (True, 5)]:
    case(
        ops.attention.fused_attention,
        f"fused attention {is_causal} {keys}",
        lambda q, k, v, c=is_causal: ops.attention.fused_attention(q, k, v, is_causal=c, scale=1 / math.sqrt(2)),
        lambda q, k, v, c=is_causal, s=keys: attended(
            q, k, v, np.where(np.tri(3, s) + (not c), 0, -np.inf).astype(q.dtype)
        ),
        anything(2, 3, 2),
        anything(2, keys, 2),
        anything(2, keys, 3),
    )


def recurrence(step: Any) -> Any:
    """A plain loop over the steps of a sequence, which returns the states after each step."""

    def run(x: np.ndarray, state: np.ndarray, weight: np.ndarray, bias: Any = None) -> np.ndarray:
        states = []
        for projected in x:
            state = np.stack(step(projected, state[0] @ weight.T + (0 if bias is None else bias), *state))
            states.append(state)
        return np.stack(states)

    return run


def logistic(x: np.ndarray) -> np.ndarray:
    return 0.5 + 0.5 * np.tanh(x / 2)


def lstm_step(x: np.ndarray, h: np.ndarray, hidden: np.ndarray, cell: np.ndarray) -> Any:
    i, f, g, o = np.split(x + h, 4, -1)
    cell = logistic(f) * cell + logistic(i) * np.tanh(g)
    return logistic(o) * np.tanh(cell), cell


def gru_step(x: np.ndarray, h: np.ndarray, hidden: np.ndarray) -> Any:
    (x_r, x_z, x_n), (h_r, h_z, h_n) = np.split(x, 3, -1), np.split(h, 3, -1)
    z = logistic(x_z + h_z)
    return (z * hidden + (1 - z) * np.tanh(x_n + logistic(x_r + h_r) * h_n),)


for cell, step, gates, states in [
    (ops.recurrent.LSTM, lstm_step, 4, 2),
    (ops.recurrent.GRU, gru_step, 3, 1),
    (ops.recurrent.RNN_TANH, lambda x, h, hidden: (np.tanh(x + h),), 1, 1),
    (ops.recurrent.RNN_RELU, lambda x, h, hidden: (np.maximum(x + h, 0),), 1, 1),
]:
    for bias in ([], [anything(2 * gates)]):
        case(
            ops.recurrent.recurrent_scan,
            f"{step.__name__} {gates} {states} {len(bias)}",
            lambda *x, cell=cell: ops.recurrent.recurrent_scan(*x, cell=cell),
            recurrence(step),
            anything(3, 2, 2 * gates),
            anything(states, 2, 2),
            anything(2 * gates, 2),
            *bias,
        )
case(
    ATTENTION,
    "attention, mask of scores",
    ATTENTION,
    attended,
    anything(2, 2),
    anything(3, 2),
    anything(3, 1),
    anything(2, 3),
)


def convolved(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, positions: Any, groups: int) -> np.ndarray:
    """A convolution, tap by tap; `positions` is what `window_positions` returns."""
    counts, taps_on_pixels = positions
    out = np.zeros((len(x), len(weight), *counts), x.dtype) + bias[:, None, None]
    for o in range(len(weight)):
        for c in range(weight.shape[1]):
            for i, j, ky, kx, h, w in taps_on_pixels:
                out[:, o, i, j] += x[:, o // (len(weight) // groups) * weight.shape[1] + c, h, w] * weight[o, c, ky, kx]
    return out


for pictures, filters, stride, padding, dilation, groups in (
    CONVOLUTIONS[0],
    ((2, 2, 2, 3), (2, 1, 2, 2), (1, 2), ((1, 1), (0, 0)), (2, 1), 2),
):
    positions = window_positions(pictures[2:], filters[2:], stride, padding, dilation)
    case(
        ops.conv2d,
        f"conv2d {pictures}",
        lambda x, w, b, s=stride, p=padding, d=dilation, g=groups: ops.conv2d(x, w, b, s, tuple(q[0] for q in p), d, g),
        lambda x, w, b, positions=positions, g=groups: convolved(x, w, b, positions, g),
        anything(*pictures),
        anything(*filters),
        anything(filters[0]),
    )
case(
    ops.conv1d,
    "conv1d",
    lambda x, w, b: ops.conv1d(x, w, b, padding=1),
    lambda x, w, b: np.stack([np.correlate(x[0], row[0], "full") for row in w]) + b[:, None],
    anything(1, 4),
    anything(2, 1, 2),
    anything(2),
)
case(
    ops.conv_transpose2d,
    "conv_transpose2d",
    lambda x, w, b: ops.conv_transpose2d(x, w, b, stride=2),
    lambda x, w, b: np.einsum("chw,coyx->ohywx", x, w).reshape(2, 4, 6) + b[:, None, None],
    anything(3, 2, 3),
    anything(3, 2, 2, 2),
    anything(2),
)
case(
    ops.max_pool2d,
    "max_pool2d",
    lambda x: ops.max_pool2d(x, 2),
    lambda x: x.reshape(2, 2, 2, 2, 2).max((2, 4)),
    apart(2, 4, 4),
)
case(
    ops.avg_pool2d,
    "avg_pool2d",
    lambda x: ops.avg_pool2d(x, 2),
    lambda x: x.reshape(2, 2, 2, 2, 2).mean((2, 4)),
    anything(2, 4, 4),
)
case(
    ops.adaptive_avg_pool2d,
    "adaptive_avg_pool2d",
    lambda x: ops.adaptive_avg_pool2d(x, (2, None)),
    lambda x: np.stack([x[:, :2].mean(1), x[:, 1:].mean(1)], 1),
    anything(2, 3, 2),
)
