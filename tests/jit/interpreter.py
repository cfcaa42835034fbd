"""A compiled program's text, run by Python itself: the same loops without Numba, for many small programs at once.

`tests/jit/conftest.py` makes a fixture of it, `interpreted`; `tests/fuzz` runs thousands of random programs that way.
"""

from __future__ import annotations

import ctypes
import math

import numpy as np

from chainrule.jit import program
from chainrule.kernels import native

KINDS = {
    "f4": np.float32, "f8": np.float64, "i8": np.int64, "i4": np.int32, "i2": np.int16, "s1": np.int8, "u1": np.uint8,
    "u2": np.uint16, "u4": np.uint32, "u8": np.uint64, "b1": np.bool_,
}  # fmt: skip


class Pointer:
    """Numbers in memory by their index."""

    def __init__(self, address, kind):
        self.address = int(address)
        self.memory = ctypes.cast(self.address, ctypes.POINTER(np.ctypeslib.as_ctypes_type(kind)))
        self.kind = kind

    def __getitem__(self, i):
        return self.kind(self.memory[int(i)])

    def __setitem__(self, i, value):
        self.memory[int(i)] = value if type(value) is int else value.item()


def shifted(start, count):
    return Pointer(start.address + int(count), start.kind)


def matrix(start, turned, rows, columns, row, kind):
    shape = (columns, rows) if turned else (rows, columns)
    count = (shape[0] - 1) * row + shape[1]
    memory = np.ctypeslib.as_array(
        ctypes.cast(start.address, ctypes.POINTER(np.ctypeslib.as_ctypes_type(kind))), (count,)
    )
    size = memory.itemsize
    found = np.lib.stride_tricks.as_strided(memory, shape, (row * size, size))
    return found.T if turned else found


def gemm(_, turned_x, turned_y, n, m, k, alpha, x, x_row, y, y_row, beta, out, out_row):
    kind = type(alpha)
    result = matrix(out, 0, n, m, out_row, kind)
    product = alpha * (matrix(x, turned_x, n, k, x_row, kind) @ matrix(y, turned_y, k, m, y_row, kind))
    result[...] = product + beta * result if beta else product


def dots(kind, _, n, m, k, x, x_row, y, y_row, out, out_row):
    gemm(None, 0, 1, n, m, k, kind(1), x, x_row, y, y_row, kind(0), out, out_row)


def kernel(description, *given):
    """A kernel is compiled all the same, and called by its address."""
    address = ctypes.c_int64.from_address(description.address + 8).value
    words = [x.address if isinstance(x, Pointer) else int(x) for x in (description, *given)]
    native.function(address, 8)(*words)


def all_below(indices, count, size, spared):
    found = np.array([indices[i] for i in range(count)])
    return bool((((found >= 0) & (found < size)) | (found == spared)).all())


def writable(changed, count):
    return all(ctypes.c_int32.from_address(int(changed[3 * i + 2])).value & 0x400 for i in range(count))


def reaches_into(start, size, changed, count):
    return any(start < changed[3 * i + 1] and changed[3 * i] < start + size for i in range(count))


def entrance(code):
    """Instead of `native.entrance`."""
    assert code.startswith(program.HEADER)
    space = dict(
        KINDS, pointer=Pointer, shifted=shifted, gemm=gemm, dots=dots, kernel=kernel, np=np, math=math,
        inner=lambda function: function,
        entrance=lambda function: function, apart=lambda function: function, keep_rows=lambda: None,
        abs=abs, all_below=all_below, writable=writable, reaches_into=reaches_into,
        add=lambda total, x: total + x, maximum=np.maximum, minimum=np.minimum, power=lambda x, y: x**y,
        exp=np.exp, log=np.log, log1p=np.log1p, expm1=np.expm1, tanh=np.tanh,
        hold_blas=lambda table: None, let_blas_go=lambda table: None, flush_denormals=lambda: 0,
        restore_denormals=lambda rule: None, call_others=lambda team, function, table, part, shares: 1,
        wait=lambda team, shares: None, release=lambda team, shares: None,
        DONE=native.DONE, WORK=native.WORK, CHECK=native.CHECK, ANSWER=native.ANSWER, SCALARS=native.SCALARS,
        CHANGED=native.CHANGED, READ_ONLY=native.READ_ONLY, ARGUMENT=native.ARGUMENT,
    )  # fmt: skip
    exec(code.removeprefix(program.HEADER), space)  # noqa: S102  # what `emit` wrote
    return np.errstate(all="ignore")(space["work"])
