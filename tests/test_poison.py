"""A kernel or a program that writes nothing is caught, even if the right answer lies in its memory from the call before."""

from __future__ import annotations

import ast

import numpy as np
import pytest

import chainrule
from chainrule import nn
from chainrule.capture import jit
from chainrule.kernels import convolution, job, machine, pooling, rows, special, warp
from chainrule.kernels.calling import stage_kernel
from chainrule.kernels.driver import PROGRESS
from chainrule.lower import eager

from . import poison
from .capture import interpreter

RANDOM = np.random.default_rng(0)
PLAIN = (1, 1), ((0, 0), (0, 0)), (1, 1), 1


def numbers(*shape):
    return RANDOM.standard_normal(shape).astype(np.float32)


IMAGES, WEIGHT, GRAD = numbers(2, 3, 6, 6), numbers(4, 3, 3, 3), numbers(2, 4, 4, 4)
TAPS = np.ones((2, 3, 3, 3), np.uint8)
ROWS = numbers(40, 30)
KERNELS = {
    "convolve": lambda: convolution.convolve(IMAGES, WEIGHT, *PLAIN),
    "convolve_input_gradient": lambda: convolution.convolve_input_gradient(GRAD, WEIGHT, IMAGES.shape, *PLAIN),
    "convolve_weight_gradient": lambda: convolution.convolve_weight_gradient(IMAGES, GRAD, WEIGHT.shape, *PLAIN),
    "max_pool": lambda: pooling.max_pool(IMAGES, (2, 2), (2, 2), (0, 0))[0],
    "taps of max_pool": lambda: pooling.max_pool(IMAGES, (2, 2), (2, 2), (0, 0))[1],
    "max_pool_gradient": lambda: pooling.max_pool_gradient(IMAGES[:, :, :3, :3], TAPS, IMAGES.shape, (2, 2), (2, 2), (0, 0)),
    "avg_pool": lambda: pooling.avg_pool(IMAGES, (2, 2), (2, 2), (0, 0)),
    "avg_pool_gradient": lambda: pooling.avg_pool_gradient(IMAGES[:, :, :3, :3], IMAGES.shape, (2, 2), (2, 2), (0, 0)),
    "gather_scaled": lambda: rows.gather_scaled(ROWS, np.array([3, 1, 2]), 0.5),
    "add_rows": lambda: rows.add_rows(ROWS + 10, np.arange(40) % 7, 7),
    "erf": lambda: special.erf(ROWS),
    "warp": lambda: warp.warp(ROWS[None], np.array([[[1.0, 0, 0], [0, 1, 0]]]), np.zeros((1, 2, 40, 30), np.float32)),
}  # fmt: skip


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_that_writes_nothing(name, monkeypatch):
    right = KERNELS[name]().copy()  # compiled, and its freed memory is the next call's
    np.testing.assert_array_equal(KERNELS[name](), right)
    monkeypatch.setattr(job, "parallel_for", lambda *_: None)
    wrong = KERNELS[name]()
    assert not np.any(wrong == right)


LONG = numbers(300, 100)
FORMULAS = {
    "softmax": lambda: chainrule.softmax.compute(LONG, dim=1),
    "softmax, columns": lambda: chainrule.softmax.compute(LONG, dim=0),
    "a sum": lambda: chainrule.sum.compute(LONG, dim=0),
    "softmax's rule": lambda: chainrule.softmax.fused_vjp(LONG, (np.exp(LONG), 1), (True,))[0],
}


@pytest.mark.parametrize("name", FORMULAS)
def test_an_eager_program_that_writes_nothing(name, monkeypatch):
    before = set(eager._programs)
    right = FORMULAS[name]().copy()
    np.testing.assert_array_equal(FORMULAS[name](), right)
    made = [eager._programs[key] for key in eager._programs if key not in before] or list(eager._programs.values())
    for formula in made:
        monkeypatch.setattr(formula.program, "enter", lambda *_: None)
    assert np.isnan(FORMULAS[name]()).all()


def step(net):
    def run(x):
        net.zero_grad()
        loss = (net(x) ** 2).sum()
        loss.backward()
        return net(x), loss

    return run


def by_hand(net, x):
    """The results of `step`, and the gradients of the weight and the bias."""
    out = x @ net.weight.numpy().T + net.bias.numpy()
    return out, (out**2).sum(), 2 * out.T @ x, 2 * out.sum(0)


@pytest.mark.parametrize("interpreted", [False, True])
def test_a_program_that_writes_nothing(interpreted, monkeypatch):
    if interpreted:
        monkeypatch.setattr(machine, "address_of", interpreter.address_of)
    net = nn.Linear(5, 3, generator=np.random.default_rng(1))
    compiled = jit(step(net))
    for count in range(2):
        x = numbers(4, 5)
        found = [*compiled(chainrule.from_numpy(x)), net.weight.grad, net.bias.grad]
        for ours, right in zip(found, by_hand(net, x), strict=True):
            np.testing.assert_allclose(ours.numpy(), right, rtol=1e-4, atol=1e-4, err_msg=str(count))
    [[specialization]] = compiled.specializations.values()
    words = specialization.program.table_view

    def nothing(*_):
        words[PROGRESS] += 1

    monkeypatch.setattr(specialization.program, "enter", nothing)
    for ours in (*compiled(chainrule.from_numpy(x)), net.weight.grad, net.bias.grad):
        assert np.isnan(ours.numpy()).all()


@pytest.mark.parametrize("fault", ["few_rows", "blas_product"])
def test_a_product_that_writes_nothing(fault, monkeypatch):
    """The rest of the program runs on what lies in memory in its place."""
    compiled = machine.address_of

    def address_of(key, build):
        return (
            compiled(f"test nothing for {fault}", lambda: stage_kernel("nothing"))
            if fault in key
            else compiled(key, build)
        )

    monkeypatch.setattr(machine, "address_of", address_of)
    weight = chainrule.from_numpy(numbers(40, 30))
    x = chainrule.from_numpy(numbers(1 if fault == "few_rows" else 60, 30))
    out = jit(lambda x: (x @ weight.T).clamp(-1, 1) + 1)(x)
    assert np.isnan(out.numpy()).all()


def test_a_run_that_is_refused_leaves_the_last_results():
    table = chainrule.ones(5, 3, requires_grad=True)

    @jit
    def rows_of(places):
        table.grad = None
        out = nn.functional.embedding(places, table) * 2
        out.sum().backward()
        return out

    rows_of(chainrule.tensor([1, 1]))
    with pytest.raises(IndexError, match="embedding"):
        rows_of(chainrule.tensor([1, 5]))
    assert table.grad.tolist() == [[0] * 3, [4] * 3, [0] * 3, [0] * 3, [0] * 3]


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "i4", "i8", "u1", "b1"])
def test_poison_is_no_number_that_anything_gives(dtype):
    array = poison.poison(np.zeros((2, 6), dtype)[:, ::2]).copy()
    raw = poison.poison(np.zeros(64, np.uint8))
    if array.dtype.kind == "f":
        assert np.isnan(array).all()
    else:
        assert not np.isin(array.view(np.uint8), [0, 1]).any()
    assert np.isnan(raw.view(np.float32)).all()
    assert np.isnan(raw.view(np.float64)).all()


def test_all_fresh_memory_of_the_library_is_poisoned():
    """`np.empty` is asked for by that name, so that the fixture can stand in its place."""
    others = []
    for path in poison.SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            imported = node.names if isinstance(node, ast.ImportFrom) and node.module == "numpy" else []
            others += [f"{path}:{node.lineno}" for name in imported if name.name.startswith("empty")]
            if isinstance(node, ast.Attribute) and node.attr in ("empty", "empty_like"):
                if ast.unparse(node.value) != "np":
                    others.append(f"{path}:{node.lineno}")
            elif isinstance(node, ast.Import):
                others += [
                    f"{path}:{node.lineno}" for name in node.names if name.name == "numpy" and name.asname != "np"
                ]
    assert not others
    assert {"chainrule.lower.program", "chainrule.kernels.convolution", "chainrule.kernels.pooling"} <= {
        module.__name__ for module in poison.allocating_modules()
    }
