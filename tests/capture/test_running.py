"""Threads, processes, compiled code on disk, and machines where nothing can be compiled."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest

import chainrule
from chainrule import nn, optim
from chainrule.capture import jit
from chainrule.kernels import blas, llvm, machine, team
from chainrule.kernels.driver import FLUSH_SUBNORMALS
from chainrule.kernels.processor import CannotCompileError
from chainrule.lower import eager, kernel_call, program
from chainrule.lower.program import Program
from chainrule.nn import functional as F  # noqa: N812
from chainrule.ops import operation


def trained(steps=4, compiled=True):
    """A network after some steps, each with other numbers: its arrays; the losses; and the program."""
    random = np.random.default_rng(0)
    net = nn.Sequential(nn.Linear(20, 30, generator=random), nn.ReLU(), nn.Linear(30, 5, generator=random))
    optimizer = optim.SGD(net.parameters(), 0.1)

    def step(x, y):
        optimizer.zero_grad()
        loss = F.mse_loss(net(x), y)
        loss.backward()
        optimizer.step()
        return loss

    step = jit(step) if compiled else step
    losses = []
    for _ in range(steps):
        x, y = (chainrule.from_numpy(random.standard_normal((16, width)).astype("f")) for width in (20, 5))
        losses.append(step(x, y).item())
    arrays = [p.numpy().copy() for p in net.parameters()]
    if not compiled:
        return arrays, losses, None
    (specializations,) = step.specializations.values()
    return arrays, losses, specializations[0].program


@pytest.fixture
def eager_threads(monkeypatch):
    """Threads share even the least work."""
    monkeypatch.setattr(program, "WORK_PER_THREAD", 1)
    monkeypatch.setattr(kernel_call, "MIN_PARALLEL_WORK", 1)

    def use(number):
        monkeypatch.setattr(team, "_threads", number)

    return use


def test_any_number_of_threads_gives_the_same(eager_threads):
    results = [trained(compiled=False)[:2]]
    for number in (1, 2, 3):
        eager_threads(number)
        arrays, losses, program = trained()
        assert program.thread_count == number
        again, same_losses, _ = trained()
        assert [a.tobytes() for a in arrays] == [a.tobytes() for a in again]
        assert losses == same_losses
        results.append((arrays, losses))
    for arrays, losses in results[1:]:
        np.testing.assert_allclose(losses, results[0][1], rtol=1e-5)
        for one, other in zip(arrays, results[0][0], strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_partial_sums_do_not_depend_on_the_number_of_threads(monkeypatch):
    """Also in a group: a normalization and sums over its rows, which run together, block by block."""
    random = np.random.default_rng(7)
    x, w = (chainrule.from_numpy(random.standard_normal(shape).astype("f")) for shape in ((1000, 256), 256))

    @jit
    def sums_of_columns():
        centered = (x * w).tanh() - (x * w).tanh().mean(1, keepdim=True)
        scaled = (centered * w).exp() / (centered * w).exp().sum(1, keepdim=True)
        return (x * scaled).sum(0), (x * scaled * w).sum(0)

    results = []
    for number in (1, 6, 8):
        monkeypatch.setattr(team, "_threads", number)
        results.append([result.numpy().tobytes() for result in sums_of_columns()])
    assert results[0] == results[1] == results[2]


def products(w):
    """Two products and a sum, compiled."""
    weight = chainrule.from_numpy(w)
    return jit(lambda x: ((x @ weight).tanh() @ weight).sum(1))


def right(compute, x, w):
    """Whether it is what NumPy computes."""
    return np.allclose(compute(chainrule.from_numpy(x)).numpy(), (np.tanh(x @ w) @ w).sum(1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("number", [1, 2])
def test_several_threads_of_python_call_at_once(number, eager_threads):
    eager_threads(number)
    w = np.random.default_rng(0).standard_normal((40, 40)).astype("f")
    compute = products(w)
    arguments = [np.full((8, 40), i / 10, "f") for i in range(6)]
    wrong = []

    def work(i):
        wrong.extend(i for _ in range(60) if not right(compute, arguments[i], w))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong
    assert not any(thread.is_alive() for thread in threads)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("number", [1, 2])
def test_it_works_in_a_forked_process(number, eager_threads):
    eager_threads(number)
    w, *arguments = np.random.default_rng(0).standard_normal((6, 40, 40)).astype("f")
    compute = products(w)
    assert right(compute, arguments[0], w)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of a fork beside threads
        child = os.fork()
    if not child:
        os._exit(0 if all(right(compute, x, w) for x in arguments[1:4]) else 1)
    guard = threading.Timer(60, os.kill, (child, 9))
    guard.start()
    assert os.waitpid(child, 0)[1] == 0
    guard.cancel()
    assert right(compute, arguments[4], w)


STEP = """
import sys, time
import numpy as np
import chainrule
from chainrule.capture import jit
begun = time.perf_counter()
compute = jit(lambda x: (x * {factor} + 1).sum(0))
compute(chainrule.zeros(3, 2))
out = compute(chainrule.ones(3, 2))
print(out.tolist(), "chainrule.kernels.llvm" in sys.modules, time.perf_counter() - begun)
"""


def in_a_process(folder, factor=3):
    """What the step gives in a process of its own, and the files that are there afterwards, with their times."""
    environment = {**os.environ, "CHAINRULE_CACHE": str(folder)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", STEP.format(factor=factor)],
        env=environment,
        text=True,
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    files = (
        {path: path.stat().st_mtime_ns for path in Path(folder).rglob("*") if path.is_file()} if folder.is_dir() else {}
    )
    return done.stdout.rpartition(" ")[0], files


def test_the_next_process_finds_the_machine_code_and_compiles_nothing(tmp_path):
    out, files = in_a_process(tmp_path)
    assert out == "[12.0, 12.0] True"
    assert {path.suffix for path in files} == {".code"}
    again, later = in_a_process(tmp_path)
    assert again == "[12.0, 12.0] False"
    assert later == files
    other, most = in_a_process(tmp_path, factor=5)  # the same loop with another number
    assert other == "[18.0, 18.0] False"
    assert most == files


def test_damaged_machine_code_is_made_anew(tmp_path):
    _, files = in_a_process(tmp_path)
    largest = max(files, key=lambda path: path.stat().st_size)
    whole = largest.read_bytes()
    for damaged in (whole[:-1], b"", whole[:-100] + bytes([whole[-100] ^ 1]) + whole[-99:]):
        largest.write_bytes(damaged)
        assert in_a_process(tmp_path)[0] == "[12.0, 12.0] True"
        assert in_a_process(tmp_path)[0] == "[12.0, 12.0] False"
        largest.write_bytes(whole)


def test_no_folder_can_be_written(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    assert in_a_process(blocked) == ("[12.0, 12.0] True", {})


@pytest.fixture
def untried(monkeypatch):
    monkeypatch.setattr(machine, "_available", True)


@pytest.mark.parametrize("fault", ["no compiler", "no blas"])
def test_where_nothing_can_be_compiled_functions_run_as_they_are(fault, untried, monkeypatch):
    if fault == "no compiler":

        def missing(key, build):
            raise CannotCompileError("No module named 'llvmlite'")

        monkeypatch.setattr(machine, "address_of", missing)
    else:

        def nameless():
            raise blas.NoBlasError("NumPy's library of linear algebra has no cblas_sgemm with 64-bit sizes")

        monkeypatch.setattr(blas, "gemm_addresses", nameless)
    random, w = np.random.default_rng(3), chainrule.ones(3, requires_grad=True)
    optimizer = optim.Adam([w], 0.1)

    @jit
    def step(x):
        optimizer.zero_grad()
        loss = (nn.functional.dropout(x, 0.5, generator=random) * w).sum()
        loss.backward()
        optimizer.step()
        return loss

    with pytest.warns(RuntimeWarning, match=r"LLVM cannot be used here.*in NumPy.*(llvmlite|cblas_sgemm)") as record:
        first = step(chainrule.ones(3)).item()
    assert len(record) == 1
    assert record[0].filename == __file__
    mask = np.random.default_rng(3).random(3, np.float32) >= 0.5
    assert first == 2 * mask.sum()
    assert optimizer.state[0]["step"] == 1
    step(chainrule.ones(3))
    assert optimizer.state[0]["step"] == 2
    assert not step.specializations
    assert step.explain() == "nothing is compiled here: it runs in NumPy"


def test_explain():
    w = chainrule.ones(4, 3)
    compute = jit(lambda x: (x @ w).relu().sum())
    assert "before the first call" in compute.explain()
    compute(chainrule.ones(2, 4))
    assert "2×4 @ 4×3" in compute.explain()
    code = compute.explain(code=True)
    assert "matrix product, a hand-written kernel" in code
    assert "np.maximum(" in code


@pytest.mark.parametrize(("images", "shared"), [(64, 128), (256, 256)])
def test_threads_share_a_product_by_neurons_or_by_images(images, shared):
    """Whichever are more: each thread reads its own part of the larger matrix, and all of the other."""
    random = np.random.default_rng(0)
    w = chainrule.from_numpy(random.random((300, 128), np.float32))
    compute = jit(lambda x: x @ w)
    for _ in range(2):
        x = random.random((images, 300), np.float32)
        np.testing.assert_allclose(compute(chainrule.from_numpy(x)).numpy(), x @ w.numpy(), rtol=1e-5)
    [[specialization]] = compute.specializations.values()
    (call,) = specialization.program.kernel_calls.values()
    assert call.n_rows == shared


def test_it_has_its_places_in_the_library():
    assert chainrule.jit(lambda x: x + 1)(chainrule.ones(1)).item() == 2
    assert chainrule.set_num_threads is team.set_num_threads
    code = "import sys, chainrule; chainrule.jit(abs); assert 'llvmlite' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_wrong_indices_again_and_again_on_two_threads(monkeypatch):
    """Both threads find the mistake, neither goes on without the other, and nothing changes."""
    monkeypatch.setattr(program, "WORK_PER_THREAD", 1)
    monkeypatch.setattr(team, "_threads", 2)
    table = chainrule.ones(50, 64, requires_grad=True)
    optimizer = optim.SGD([table], 0.001)

    @jit
    def step(indices):
        optimizer.zero_grad()
        loss = (F.embedding(indices, table) ** 2).sum()
        loss.backward()
        optimizer.step()
        return loss

    numbers, wrong = np.ones(50), chainrule.arange(40) + 11
    for number in range(300):
        begin = number % 11
        loss = step(chainrule.arange(40) + begin)
        chosen = numbers[begin : begin + 40]
        assert loss.item() == pytest.approx(64 * (chosen**2).sum(), rel=1e-4)
        chosen *= 1 - 2 * 0.001
        before = table.numpy().tobytes()
        with pytest.raises(IndexError, match="embedding"):
            step(wrong)
        assert table.numpy().tobytes() == before
    np.testing.assert_allclose(table.numpy(), np.broadcast_to(numbers[:, None], (50, 64)), rtol=1e-4)


def test_an_index_that_another_thread_corrects_before_the_error_is_raised():
    """The check finds it out of range, but when the error is to be raised, it is valid: the run goes on with it."""
    table = chainrule.from_numpy(np.arange(12.0).reshape(4, 3))
    lookup = jit(lambda indices: F.embedding(indices, table) * 2)
    lookup(chainrule.tensor([3, 0]))
    [[specialization]] = lookup.specializations.values()
    [(value, size, ignore_index, validate)] = specialization.program.index_checks

    def corrected_meanwhile(array):
        array[array >= size] = 1
        return validate(array)

    specialization.program.index_checks[0] = value, size, ignore_index, corrected_meanwhile
    np.testing.assert_array_equal(lookup(chainrule.tensor([2, 4])).numpy(), [[12, 14, 16], [6, 8, 10]])


def test_memory_that_another_thread_makes_writable_before_the_error_is_raised(monkeypatch):
    array = np.array([1.0, 2.0])
    total = chainrule.from_numpy(array)
    double = jit(lambda: total.mul_(2))
    double()
    check = Program._check_writable

    def writable_meanwhile(program):
        array.flags.writeable = True
        check(program)

    monkeypatch.setattr(Program, "_check_writable", writable_meanwhile)
    array.flags.writeable = False
    double()
    np.testing.assert_array_equal(array, [4, 8])


def test_what_python_gives_back_may_lie_in_the_programs_own_memory():
    """A call whose result is a view of its input: the input's memory is used again while the view is still wanted."""

    @operation
    def seen_again(input):
        return np.asarray(input)[:]  # which a compiled function cannot follow, so it becomes a Python call

    @jit
    def compute(x):
        seen, more = seen_again(x * 2 + 1), x
        for _ in range(4):
            more = weight @ more
        return seen + more.sum()

    weight = chainrule.eye(6)
    for first in range(3):
        x = np.arange(first, first + 6, dtype=np.float32)
        np.testing.assert_array_equal(compute(chainrule.from_numpy(x)).numpy(), x * 2 + 1 + x.sum())


@pytest.fixture
def refusing(untried, monkeypatch, tmp_path):
    """A list; while it is not empty LLVM takes no new kernel."""
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path))
    monkeypatch.setattr(machine, "_addresses", dict(machine._addresses))
    monkeypatch.setattr(machine, "_rejections", {})
    jit(lambda x: (x * 3).sum())(chainrule.ones(3))  # so that what all programs need is there
    render, armed = llvm.render, []
    monkeypatch.setattr(llvm, "render", lambda *arguments: "no language of LLVM's" if armed else render(*arguments))
    return armed


def test_a_loop_that_is_refused_stops_no_other_function(refusing):
    @jit
    def odd(x):
        return (x.cosh() / 7.25).amax(0)

    x = np.random.default_rng(2).normal(size=(5, 3))
    refusing.append(1)
    with pytest.warns(
        RuntimeWarning, match=r"^odd runs in NumPy, more slowly, because LLVM rejects one of its loops"
    ) as record:
        actual = [odd(chainrule.from_numpy(values)) for values in (x, x + 1)]
    assert len(record) == 1
    refusing.clear()
    for out, values in zip(actual, (x, x + 1), strict=True):
        np.testing.assert_allclose(out.numpy(), (np.cosh(values) / 7.25).max(0), rtol=1e-12)
    other = jit(lambda x: (x.sinh() / 7.5).amax(0))
    np.testing.assert_allclose(other(chainrule.from_numpy(x)).numpy(), (np.sinh(x) / 7.5).max(0), rtol=1e-12)
    assert other.specializations
    assert not odd.specializations


def test_a_loop_that_is_refused_stops_no_other_formula(refusing, monkeypatch):
    monkeypatch.setattr(eager, "_programs", type(eager._programs)())
    x = np.random.default_rng(2).normal(size=(3, 11, 700))
    refusing.append(1)
    with pytest.warns(RuntimeWarning, match=r"^log_softmax runs in NumPy") as record:
        out = [chainrule.log_softmax(chainrule.from_numpy(x), dim=1) for _ in range(2)]
    assert len(record) == 1
    refusing.clear()
    total = chainrule.from_numpy(x).sum((0, 2))
    expected = np.log(np.exp(x) / np.exp(x).sum(1, keepdims=True))
    np.testing.assert_allclose(out[0].numpy(), expected, rtol=1e-9)
    np.testing.assert_array_equal(out[1].numpy(), out[0].numpy())
    np.testing.assert_allclose(total.numpy(), x.sum((0, 2)), rtol=1e-9)
    assert [program is None for program in eager._programs.values()] == [True, False]


def test_who_interrupts_a_run_gets_the_functions_result_and_leaves_its_alone(monkeypatch):
    w = chainrule.zeros(3)

    @jit
    def step(x):
        w.add_(x)
        return x.exp().sum()

    step(chainrule.zeros(3))
    inner = []
    run = Program.run

    def interrupted(program, arrays):
        run(program, arrays)
        if not inner:
            inner.append(None)
            inner[0] = step(chainrule.full((3,), 2.0)).item()

    monkeypatch.setattr(Program, "run", interrupted)
    outer = step(chainrule.ones(3)).item()
    assert (outer, inner[0]) == (pytest.approx(3 * math.e), pytest.approx(3 * math.e**2))
    assert w.tolist() == [3, 3, 3]
    assert step(chainrule.ones(3)).item() == pytest.approx(3 * math.e)


def test_a_step_takes_numbers_without_all_their_digits_for_0_and_another_function_does_not():
    tiny = np.full(100, 1e-40, np.float32)
    half, target = tiny * np.float32(0.5), chainrule.zeros(100)

    @jit
    def step(x):
        target.copy_(x * 0.5)

    step(chainrule.from_numpy(tiny))
    np.testing.assert_array_equal(target.numpy(), 0 if FLUSH_SUBNORMALS else half)  # not every processor can
    np.testing.assert_array_equal(jit(lambda x: x * 0.5)(chainrule.from_numpy(tiny)).numpy(), half)
    assert np.float32(1e-40) * np.float32(1) > 0  # and the rule of this thread is as before
