"""Kernels as data: building them, rendering them to LLVM and to Python, and errors."""

import ctypes

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule.kernels import llvm, machine, python
from chainrule.kernels.tree import ADDRESS, BOOL, F4, F8, I4, I8, U1, Kernel, Loop, type_of

ARGUMENTS = {"x": ADDRESS, "out": ADDRESS, "n": I8, "a": I8, "b": I8, "c": I8}


STEPS = [
    lambda a, b: a + b, lambda a, b: a - b, lambda a, b: a * b, lambda a, b: a.kernel.select(a < b, a, b),
    lambda a, b: a.apply("floor"), lambda a, b: -a, lambda a, b: a.apply("maximum", b),
]  # fmt: skip


def compiled(kernel):
    return machine.function(machine._link(kernel.name, machine._compile(kernel)))


def test_a_kernel_can_be_inspected():
    kernel = Kernel("asked", ARGUMENTS)
    x, out = kernel.array("x", F4), kernel.array("out", F4)
    with kernel.loop(0, kernel["n"]) as i:
        out[i] = x[i] + x[i]
    (loop,) = kernel.body
    assert isinstance(loop, Loop)
    assert [node.op for node in loop.body] == ["load", "load", "add", "store"]
    assert "fadd float" in llvm.render(kernel)
    assert "for i_ in range(0, n):" in python.render(kernel)


def test_errors_while_building():
    kernel = Kernel("types", ARGUMENTS)
    x, y = kernel.array("x", F4)[0], kernel.array("out", F8)[0]
    with pytest.raises(TypeError, match="add: operands have types f4 and f8"):
        x + y
    with pytest.raises(TypeError, match="no value while the kernel is built"):
        bool(x > 0)
    with pytest.raises(TypeError, match="kernels do not compute with float16"):
        type_of(np.float16)
    with pytest.raises(TypeError, match="must directly follow a when"), kernel.otherwise():
        pass


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32), st.integers(0, 9))
def test_llvm_and_python_agree_on_any_arithmetic(seed, count):
    """A random formula over float64 and int64, in a loop with a condition, a variable and a selection."""
    random = np.random.default_rng(seed)
    kernel = Kernel(f"random_{seed}", ARGUMENTS)
    x, out = kernel.array("x", F8), kernel.array("out", F8)
    total = kernel.variable(F8, 0.5)
    with kernel.loop(0, kernel["n"]) as i:
        numbers = [x[i], i.to(F8), kernel.lift(1.5, F8)]
        for _ in range(6):
            a, b = (numbers[k] for k in random.integers(0, len(numbers), 2))
            a = a if a.op != "constant" else x[i]
            numbers.append(STEPS[random.integers(len(STEPS))](a, b))
        with kernel.when((numbers[-1] > 0.25) & (i % 3).differs(1)):
            total.set(total.value + numbers[-1])
        with kernel.otherwise():
            total.set(total.value * 0.5)
        out[i] = numbers[-1]
    out[kernel["n"]] = total.value
    numbers = random.normal(size=max(1, count))
    results = []
    for run in (compiled(kernel), python.executable(kernel)):
        result = np.full(count + 2, np.nan)
        run(numbers.ctypes.data, result.ctypes.data, count, 0, 0, 0)
        results.append(result)
    np.testing.assert_array_equal(*results)
    assert np.isnan(results[0][-1])  # memory behind the result is unchanged
    assert not np.isnan(results[0][:-1]).any()


@pytest.mark.parametrize("renderer", ["LLVM", "Python"])
def test_every_type_in_memory(renderer):
    for dtype in ("f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"):
        kind = type_of(dtype)
        kernel = Kernel(f"type_{kind}", ARGUMENTS)
        x, out = kernel.array("x", kind), kernel.array("out", F8)
        with kernel.loop(0, kernel["n"]) as i:
            out[i] = x[i].to(F8) * 2.0
        call = compiled(kernel) if renderer == "LLVM" else python.executable(kernel)
        values = np.array([0, 1, 3, 200, 255]).astype(dtype)
        result = np.full(5, np.nan)
        call(values.ctypes.data, result.ctypes.data, 5, 0, 0, 0)
        np.testing.assert_array_equal(result, 2 * values.astype(np.float64), err_msg=dtype)


def test_booleans_are_bytes_and_conversions_are_not_undefined():
    kernel = Kernel("booleans", ARGUMENTS)
    x, flags, whole = kernel.array("x", F4), kernel.array("out", BOOL), kernel.array("out", I4).at(4)
    with kernel.loop(0, kernel["n"]) as i:
        flags[i] = x[i] > 0.5
        whole[i] = x[i].to(I4)
    values = np.array([0.4, 0.6, np.nan, 7.9], np.float32)
    memory = np.full(32, 0xAB, np.uint8)
    compiled(kernel)(values.ctypes.data, memory.ctypes.data, 4, 0, 0, 0)
    np.testing.assert_array_equal(memory[:4], [0, 1, 0, 1])
    np.testing.assert_array_equal(memory[16:32].view(np.int32)[[0, 1, 3]], [0, 0, 7])


def test_vectors_shuffles_and_other_kernels():
    inner = Kernel("twice", {"x": I8}, I8, internal=True)
    inner.return_(inner["x"] * 2)
    kernel = Kernel("vectors", ARGUMENTS)
    x, out = kernel.array("x", F4), kernel.array("out", F4)
    low, high = x.vector(0, 4), x.vector(4, 4)
    out[0] = kernel.shuffle(low, high, [7, 0, 6, 1])
    out[4] = kernel.multiply_add(low, high, kernel.broadcast(kernel.lift(1.0, F4), 4))
    out[8] = kernel.add_lanes(high)
    out[9] = kernel.call(inner, kernel["n"]).to(F4)
    values, result = np.arange(8, dtype=np.float32), np.full(10, np.nan, np.float32)
    compiled(kernel)(values.ctypes.data, result.ctypes.data, 21, 0, 0, 0)
    np.testing.assert_array_equal(result, [7, 0, 6, 1, 1, 6, 13, 22, 22, 42])
    with pytest.raises(NotImplementedError):
        python.render(kernel)


def test_copy_fill_and_stack_arrays():
    kernel = Kernel("memory", ARGUMENTS)
    x, out = kernel.array("x", U1), kernel.array("out", U1)
    room = kernel.stack_array(U1, 16)
    room.copy_from(x, kernel["n"])
    out.copy_from(room, kernel["n"])
    out.at(2).fill_zero(kernel["a"])
    values, result = np.arange(1, 9, dtype=np.uint8), np.full(10, 0xAB, np.uint8)
    call = compiled(kernel)
    call(values.ctypes.data, result.ctypes.data, 8, 3, 0, 0)
    np.testing.assert_array_equal(result, [1, 2, 0, 0, 0, 6, 7, 8, 0xAB, 0xAB])
    call(values.ctypes.data, result.ctypes.data, 8, -5, 0, 0)  # none
    np.testing.assert_array_equal(result[:8], values)


def test_atomic_words():
    kernel = Kernel("atomic", ARGUMENTS)
    word, out = kernel["x"], kernel.array("out", I8)
    out[0] = kernel.atomic("add", word, 5)
    out[1] = kernel.atomic("load", word)
    out[2] = kernel.atomic("compare_exchange", word, 8, 100).to(I8)
    out[3] = kernel.atomic("compare_exchange", word, 8, 100).to(I8)
    kernel.atomic("store", word, 77)
    memory, result = ctypes.c_int64(3), np.full(4, -1)
    compiled(kernel)(ctypes.addressof(memory), result.ctypes.data, 0, 0, 0, 0)
    assert result.tolist() == [3, 8, 1, 0]
    assert memory.value == 77
