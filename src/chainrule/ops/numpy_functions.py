"""NumPy functions on Tensors, if their arguments differ from those of our operation: np.var, np.split, np.pad.

Each function has NumPy's name and those of NumPy's parameters that make sense for Tensors. If the arguments differ only
in axis (our dim) and keepdims (our keepdim), no function is needed here: the operation itself is in `NUMPY_FUNCTIONS`,
and `numpy_names` translates the two names. `Tensor.__array_function__` calls the functions and the operations.
"""

# ruff: noqa: A002, D103, N803  # NumPy documents the functions and names their parameters

from typing import Any

import numpy as np

from chainrule.errors import check

from chainrule.ops import (  # isort: skip
    arithmetic, comparisons, cumulative, indexing, linalg, padding, reductions, scattering, shape as shapes, sorting,
    stacking,
)  # fmt: skip
from chainrule.ops.operation import (  # isort: skip
    NUMPY_FUNCTIONS, Array, DTypeLike, Ints, Tensor, check_tensors, is_tensor, stop_gradient,
)  # fmt: skip

Axis = Ints | None


def clip(a: Array, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Tensor:
    low = a_min if min is None else min
    high = a_max if max is None else max
    return arithmetic.clamp(a, low, high) if low is not None or high is not None else a


def var(a: Array, axis: Axis = None, *, ddof: float = 0, keepdims: bool = False) -> Tensor:
    return reductions.var(a, axis, keepdim=keepdims, correction=ddof)


def std(a: Array, axis: Axis = None, *, ddof: float = 0, keepdims: bool = False) -> Tensor:
    return reductions.std(a, axis, keepdim=keepdims, correction=ddof)


def prod(a: Array, axis: Axis = None, dtype: DTypeLike | None = None, *, keepdims: bool = False) -> Tensor:
    if axis is None:
        out = reductions.prod(a, dtype=dtype)
        return shapes.reshape(out, shape=(1,) * a.ndim) if keepdims else out
    for reduced_axis in sorted(shapes.wrap_dims(a, axis, "prod"), reverse=True):
        a = reductions.prod(a, reduced_axis, keepdims, dtype=dtype)
    return a  # type: ignore[no-any-return]


def cumsum(a: Array, axis: int | None = None, dtype: DTypeLike | None = None) -> Tensor:
    return cumulative.cumsum(*_flat_if_none(a, axis), dtype=dtype)


def cumprod(a: Array, axis: int | None = None, dtype: DTypeLike | None = None) -> Tensor:
    return cumulative.cumprod(*_flat_if_none(a, axis), dtype=dtype)


def sort(a: Array, axis: int | None = -1, kind: Any = None, *, stable: bool | None = None) -> Tensor:
    return sorting.sort(*_flat_if_none(a, axis))[0]


def argsort(a: Array, axis: int | None = -1, kind: Any = None, *, stable: bool | None = None) -> Tensor:
    return sorting.argsort(*_flat_if_none(a, axis))


def repeat(a: Array, repeats: Any, axis: int | None = None) -> Tensor:
    return scattering.repeat_interleave(a, repeats, axis)


def roll(a: Array, shift: Ints, axis: Axis = None) -> Tensor:
    if isinstance(shift, int) and axis is not None and not isinstance(axis, int):
        shift = (shift,) * len(axis)
    return indexing.roll(a, shift, axis)


def flip(m: Array, axis: Axis = None) -> Tensor:
    return indexing.flip(m, range(m.ndim) if axis is None else axis)


def _flat_if_none(a: Array, axis: int | None) -> tuple[Array, int]:
    """Return the array and the axis, or the flattened array and 0."""
    return (shapes.reshape(a, shape=(-1,)), 0) if axis is None else (a, axis)


def split(ary: Array, indices_or_sections: Ints, axis: int = 0) -> list[Tensor]:
    axis = shapes.wrap_dim(ary, axis, "split")
    size = ary.shape[axis] if ary.ndim else 0
    if isinstance(indices_or_sections, int):
        count = indices_or_sections
        is_divisible = count > 0 and size % count == 0
        problem = f"axis {axis} of size {size} cannot be divided into {count} sections of equal size"
        check("split", is_divisible, problem)
        return list(shapes.split(ary, size // count, axis)) if size else [ary] * count
    starts = [0, *shapes.int_tuple(indices_or_sections, "split")]
    bounds = zip(starts, [*starts[1:], size], strict=True)
    return [ary[shapes.along(axis, slice(start, stop))] for start, stop in bounds]


def pad(array: Array, pad_width: Any, mode: str = "constant", *, constant_values: Any = 0) -> Tensor:
    modes = {numpy_mode: our_mode for our_mode, numpy_mode in padding.PAD_MODES.items()}
    check("pad", mode in modes, f"mode must be one of {', '.join(modes)}, not {mode!r}")
    is_number = isinstance(constant_values, (int, float, np.number))
    check("pad", is_number, f"constant_values must be one number, not {constant_values!r}")
    if isinstance(pad_width, dict):
        widths = [(0, 0)] * array.ndim
        for axis, width in pad_width.items():
            widths[shapes.wrap_dim(array, axis, "pad")] = np.broadcast_to(width, 2).tolist()
    else:
        try:
            widths = np.broadcast_to(np.asarray(pad_width), (array.ndim, 2)).tolist()
        except ValueError:
            requirement = f"a number, a pair, or a pair for each axis of {array.shape}"
            raise ValueError(f"pad: pad_width must be {requirement}, not {pad_width!r}") from None
    flat_widths = shapes.int_tuple([width for pair in reversed(widths) for width in pair], "pad")  # last axis first
    check("pad", min(flat_widths, default=0) >= 0, f"pad_width must not be negative, got {pad_width!r}")
    return padding.pad(array, flat_widths, modes[mode], constant_values if mode == "constant" else None)


def norm(x: Array, ord: Any = None, axis: Axis = None, keepdims: bool = False) -> Tensor:
    axes = range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    is_matrix_norm = len(axes) > 1
    if is_matrix_norm and ord not in (None, "fro"):
        raise ValueError(f"norm: ord={ord!r} of matrices is not supported: pass one axis for the norms of vectors")
    check("norm", ord != "fro" or is_matrix_norm, "ord='fro' is a norm of matrices, not of vectors")
    return reductions.norm(x, 2.0 if ord is None else ord, axis, keepdims)


def tril(m: Array, k: int = 0) -> Tensor:
    return indexing.tril(m, k)


def triu(m: Array, k: int = 0) -> Tensor:
    return indexing.triu(m, k)


def diag(v: Array, k: int = 0) -> Tensor:
    return stacking.diag(v, k)


def diagonal(a: Array, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    return indexing.diagonal(a, offset, axis1, axis2)


def trace(a: Array, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    return reductions.sum(indexing.diagonal(a, offset, axis1, axis2), -1)


def swapaxes(a: Array, axis1: int, axis2: int) -> Tensor:
    return shapes.transpose(a, axis1, axis2)


def tile(A: Array, reps: Ints) -> Tensor:
    return shapes.tile(A, reps)


def dot(a: Array, b: Array) -> Tensor:
    check_tensors("dot", *(x for x in (a, b) if not isinstance(x, (int, float))))
    if not np.ndim(a) or not np.ndim(b):
        return arithmetic.mul(a, b)
    if b.ndim > 2:  # combines every row of `a` with every matrix of `b`; matmul would treat both as batches
        return stacking.tensordot(a, b, ([-1], [-2]))
    return linalg.matmul(a, b)


def outer(a: Array, b: Array) -> Tensor:
    return linalg.outer(shapes.reshape(a, shape=(-1,)), shapes.reshape(b, shape=(-1,)))


def tensordot(a: Array, b: Array, axes: Any = 2) -> Tensor:
    return stacking.tensordot(a, b, axes)


# Functions without a gradient, which use only the values: saving to files, array_equal


def save(file: Any, arr: Array, **options: Any) -> None:
    np.save(file, _values(arr), **options)


def savez(file: Any, *args: Array, **kwds: Any) -> None:
    np.savez(file, *map(_values, args), **{name: _values(value) for name, value in kwds.items()})


def savez_compressed(file: Any, *args: Array, **kwds: Any) -> None:
    np.savez_compressed(file, *map(_values, args), **{name: _values(value) for name, value in kwds.items()})


def array_equal(a1: Array, a2: Array, equal_nan: bool = False) -> bool:
    return np.array_equal(_values(a1), _values(a2), equal_nan)


def _values(x: Any) -> Any:
    """Return the values of a Tensor as an array, even if it requires gradients; other objects unchanged."""
    return np.asarray(stop_gradient(x)) if is_tensor(x) else x


_FUNCTIONS = [
    clip, var, std, prod, cumsum, cumprod, sort, argsort, repeat, roll, flip, split, pad, tril, triu, diag,
    diagonal, trace, swapaxes, tile, dot, outer, tensordot, stacking.vstack, stacking.hstack, stacking.column_stack,
    linalg.einsum, comparisons.isclose, comparisons.allclose, save, savez, savez_compressed, array_equal,
]  # fmt: skip
NUMPY_FUNCTIONS.update({getattr(np, function.__name__): function for function in _FUNCTIONS})
NUMPY_FUNCTIONS[np.linalg.norm] = norm
