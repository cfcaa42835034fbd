"""The table of operations, continued: stacking, slices, diagonals, contractions, resizing, and layers of signals."""

from __future__ import annotations

import numpy as np

from chainrule import ops
from chainrule.ops.slicing import unfold

from .cases import anything, apart, case, positive

for operation, plain, shapes in [
    (ops.vstack, np.vstack, [(3,), (2, 3)]),
    (ops.vstack, np.vstack, [(3,), (3,)]),
    (ops.hstack, np.hstack, [(2,), (3,)]),
    (ops.hstack, np.hstack, [(2, 1), (2, 3)]),
    (ops.hstack, np.hstack, [(), (2,)]),
    (ops.column_stack, np.column_stack, [(2,), (2, 3)]),
    (ops.column_stack, np.column_stack, [(2,), (2,)]),
]:
    case(
        operation,
        f"{operation.__name__} {shapes}",
        lambda *parts, f=operation: f(parts),
        lambda *parts, f=plain: f(parts),
        *(anything(*shape) for shape in shapes),
    )
for shape, offset in [((3,), 0), ((3,), 2), ((2,), -1), ((0,), 0), ((2, 3), 0), ((3, 2), -1), ((2, 3), 2)]:
    case(
        ops.diag,
        f"diag {shape} {offset}",
        lambda x, k=offset: ops.diag(x, k),
        lambda x, k=offset: np.diag(x, k),
        anything(*shape),
    )
for shape in [(3, 3), (2, 3), (0, 2)]:
    case(ops.trace, f"trace {shape}", ops.trace, np.trace, anything(*shape))
for first, second, dims in [
    ((2, 3), (3, 4), 1),
    ((2, 3), (2, 3), 2),
    ((2,), (3,), 0),
    ((2, 3, 4), (4, 2, 5), ([0, -1], [1, 0])),
    ((2, 3), (0, 2), ([0], [1])),
]:
    case(
        ops.tensordot,
        f"tensordot {first} {second} {dims}",
        lambda x, y, dims=dims: ops.tensordot(x, y, dims),
        lambda x, y, dims=dims: np.tensordot(x, y, dims),
        anything(*first),
        anything(*second),
    )
case(
    ops.tensordot,
    "tensordot of a size of 1",
    lambda x, y: ops.tensordot(x, y, ([1], [0])),
    lambda x, y: np.tensordot(np.repeat(x, 3, 1), y, 1),
    anything(2, 1),
    anything(3, 2),
)
for dim, start, length in [(0, 1, 2), (-1, -3, 2), (1, 0, 0)]:
    case(
        ops.narrow,
        f"narrow {dim} {start} {length}",
        lambda x, d=dim, s=start, n=length: ops.narrow(x, d, s, n),
        lambda x, d=dim, s=start, n=length: x.take(range(s % x.shape[d], s % x.shape[d] + n), d),
        anything(3, 4),
    )
for dim, index in [(0, 1), (-1, -2)]:
    case(
        ops.select,
        f"select {dim} {index}",
        lambda x, d=dim, i=index: ops.select(x, d, i),
        lambda x, d=dim, i=index: x.take(i, d),
        anything(3, 4),
    )
for shape in [(), (3,), (2, 3)]:
    case(ops.t, f"t {shape}", ops.t, lambda x: np.einsum("ij->ji", x) if x.ndim == 2 else x, anything(*shape))
for shape, dim, size, step in [((5,), 0, 2, 1), ((2, 7), 1, 3, 2), ((4, 2), 0, 4, 1), ((2, 3), 0, 0, 1), ((), 0, 1, 1)]:
    case(
        unfold,
        f"unfold {shape} {dim} {size} {step}",
        lambda x, d=dim, n=size, s=step: unfold(x, d, n, s),
        lambda x, d=dim, n=size, s=step: np.stack(
            [
                np.moveaxis(np.atleast_1d(x).take(range(i, i + n), d), d, -1)
                for i in range(0, max(x.shape, default=1) - n + 1, s)
                if i + n <= (x.shape or (1,))[d]
            ],
            d,
        ).reshape(
            (n,) if not x.ndim else [(x.shape[d] - n) // s + 1 if k == d else m for k, m in enumerate(x.shape)] + [n]
        ),
        anything(*shape),
    )

# Resizing


def nearest(x: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
    for dim, size in enumerate(sizes, 2):
        x = x.take([i * x.shape[dim] // size for i in range(size)], dim)
    return x


def linear(x: np.ndarray, sizes: tuple[int, ...], align_corners: bool) -> np.ndarray:
    for dim, size in enumerate(sizes, 2):
        old = x.shape[dim]
        if align_corners:
            at = [i * (old - 1) / max(size - 1, 1) for i in range(size)]
        else:
            at = [min(max((i + 0.5) * old / size - 0.5, 0), old - 1) for i in range(size)]
        lines = np.moveaxis(x, dim, 0)
        parts = [lines[int(p)] * (1 - p % 1) + lines[min(int(p) + 1, old - 1)] * (p % 1) for p in at]
        x = np.moveaxis(np.stack(parts), 0, dim).astype(x.dtype)
    return x


for shape, sizes in [((2, 1, 3), (6,)), ((1, 2, 2, 3), (3, 2)), ((1, 2, 2, 3), (4, 3)), ((0, 1, 2, 2), (3, 3))]:
    case(
        ops.interpolate,
        f"interpolate {shape} {sizes} nearest",
        lambda x, s=sizes: ops.interpolate(x, s),
        lambda x, s=sizes: nearest(x, s),
        anything(*shape),
    )
    for corners in (True, False):
        mode = "linear" if len(sizes) == 1 else "bilinear"
        case(
            ops.interpolate,
            f"interpolate {shape} {sizes} {corners}",
            lambda x, s=sizes, m=mode, c=corners: ops.interpolate(x, s, mode=m, align_corners=c),
            lambda x, s=sizes, c=corners: linear(x, s, c),
            anything(*shape),
        )

# Signals, and instances

case(
    ops.max_pool1d,
    "max_pool1d",
    lambda x: ops.max_pool1d(x, 2, 1),
    lambda x: np.maximum(x[..., 1:], x[..., :-1]),
    apart(2, 2, 5),
)
case(
    ops.max_pool1d,
    "max_pool1d of one signal",
    lambda x: ops.max_pool1d(x, 3, 2, padding=1),
    lambda x: np.stack([x[:, :2].max(1), x[:, 1:4].max(1), x[:, 3:].max(1)], 1),
    apart(2, 5),
)
case(
    ops.avg_pool1d,
    "avg_pool1d",
    lambda x: ops.avg_pool1d(x, 2),
    lambda x: (x[..., 0:4:2] + x[..., 1:4:2]) / 2,
    anything(2, 2, 5),
)
case(
    ops.avg_pool1d,
    "avg_pool1d of one signal",
    lambda x: ops.avg_pool1d(x, 2, padding=1, count_include_pad=False),
    lambda x: np.stack([x[:, 0], (x[:, 1] + x[:, 2]) / 2], 1),
    anything(2, 3),
)


def stamped(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Transposed convolution with stride 2: each input position adds the filter, scaled by its value, to the output."""
    out = np.zeros((x.shape[0], w.shape[1], 2 * x.shape[2] - 2 + w.shape[2]), x.dtype)
    for i in range(x.shape[2]):
        out[:, :, 2 * i : 2 * i + w.shape[2]] += np.einsum("nc,cok->nok", x[:, :, i], w)
    return out + b[:, None]


case(
    ops.conv_transpose1d,
    "conv_transpose1d",
    lambda x, w, b: ops.conv_transpose1d(x, w, b, stride=2),
    stamped,
    anything(2, 2, 3),
    anything(2, 3, 4),
    anything(3),
)
case(
    ops.instance_norm,
    "instance_norm",
    lambda x, w, b: ops.instance_norm(x, weight=w, bias=b, eps=0.1),
    lambda x, w, b: (
        (x - x.mean((2, 3), keepdims=True))
        / np.sqrt(x.var((2, 3), keepdims=True) + x.dtype.type(0.1))
        * w[:, None, None]
        + b[:, None, None]
    ),
    anything(2, 3, 2, 2),
    positive(3),
    anything(3),
)
case(
    ops.instance_norm,
    "instance_norm of signals",
    ops.instance_norm,
    lambda x: (x - x.mean(2, keepdims=True)) / np.sqrt(x.var(2, keepdims=True) + x.dtype.type(1e-5)),
    anything(2, 2, 5),
)
