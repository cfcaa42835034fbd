"""A compiled function that reads and changes external memory in one call: each read sees what it sees in eager mode.

Each program runs in PyTorch, eagerly and compiled, on the same numbers, for several calls. It creates its external
arrays with `new(*shape)`, and returns its step and the arrays or Tensors to compare after each call.
"""

from __future__ import annotations

import numpy as np
import pytest

import chainrule
from chainrule.capture import jit
from chainrule.errors import CaptureError
from chainrule.ops import operation

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'chainrule[torch]'")

CALLS = 4


def two_tensors_exchange(lib, new):
    a, b = new(3), new(3)

    def step(x):
        before = a.clone()
        a.copy_(b + x)
        b.copy_(before)

    return step, [a, b]


def a_swap_without_arithmetic(lib, new):
    a, b = new(3), new(3)

    def step(x):
        before = a.clone()
        a.copy_(b)
        b.copy_(before)
        return x * a

    return step, [a, b]


def a_ring_of_copies(lib, new):
    a, b, c = new(2, 3), new(2, 3), new(2, 3)

    def step(x):
        before = a.clone()
        a.copy_(b)
        b.copy_(c)
        c.copy_(before)
        return a * x, c - b

    return step, [a, b, c]


def a_chain_of_copies(lib, new):
    """What is copied has been changed by the copy before."""
    a, b, c = new(3), new(3), new(3)

    def step(x):
        a.copy_(x)
        b.copy_(a)
        a.add_(1)
        c.copy_(a)
        a.copy_(b)
        return a + 0, b + c

    return step, [a, b, c]


def transposed_onto_itself(lib, new):
    a = new(3, 3)

    def step(x):
        a.copy_(a.T.clone() if lib is torch else a.T)
        return a * x

    return step, [a]


def transposed_onto_itself_after_a_change(lib, new):
    a = new(3, 3)

    def step(x):
        a.mul_(x)
        a.copy_(a.T.clone() if lib is torch else a.T)
        a.add_(a.T.clone() if lib is torch else a.T)

    return step, [a]


def the_weights_before_the_step(lib, new):
    w, before, log = new(3), new(3), new(2, 3)
    w.requires_grad_()
    optimizer = lib.optim.SGD([w], 0.1, momentum=0.9)

    def step(x):
        with lib.no_grad():
            before.copy_(w)
        optimizer.zero_grad()
        loss = ((w * x) ** 2).sum()
        loss.backward()
        optimizer.step()
        with lib.no_grad():
            log[0] = w
            log[1] = w - before
        return loss.detach()

    return step, [w, before, log]


def a_target_network(lib, new):
    w, target = new(3, 3), new(3, 3)
    w.requires_grad_()
    optimizer = lib.optim.Adam([w], 0.1)

    def step(x):
        optimizer.zero_grad()
        loss = ((w @ x - target.detach() @ x) ** 2).sum()
        loss.backward()
        with lib.no_grad():
            target.mul_(0.9)
            target.add_(w * 0.1)
        optimizer.step()
        return loss.detach(), w.detach() - target

    return step, [w, target]


def a_target_network_taken_over_whole(lib, new):
    w, target = new(3), new(3)
    w.requires_grad_()
    optimizer = lib.optim.SGD([w], 0.1)

    def step(x):
        with lib.no_grad():
            target.copy_(w)
        optimizer.zero_grad()
        ((w - x) ** 2).sum().backward()
        optimizer.step()
        return w.detach() - target

    return step, [w, target]


def a_delay_line(lib, new):
    line = new(4, 3)

    def step(x):
        line[1:] = line[:-1].clone()
        line[0] = x
        return (line * line).sum(0)

    return step, [line]


def a_delay_line_that_overlaps(lib, new):
    """NumPy copies what overlaps first; PyTorch wants the clone."""
    line = new(5)

    def step(x):
        line[1:] = line[:-1].clone() if lib is torch else line[:-1]
        line[0] = x[0]
        return line.sum()

    return step, [line]


def a_recurrent_state(lib, new):
    state, u, v = new(3), new(3, 3), new(3, 3)

    def step(x):
        out = (state @ u + x @ v).tanh()
        state.copy_(out)
        return out, state * 2, out - state

    return step, [state]


def a_stored_value_that_has_changed(lib, new):
    m, b = new(3, 3), new(3)

    def step(x):
        b.add_(x)
        m[1] = b
        b.mul_(2)
        m[:, 2] = b
        return m.sum()

    return step, [m, b]


def rows_of_outside_memory(lib, new):
    m = new(3, 3)

    def step(x):
        m[0].copy_(m[1])
        m[1].mul_(x)
        m[2] += m[0]
        for row in m:
            row.add_(1)
        return m[0] + m[2]

    return step, [m]


def views_see_what_is_changed_later(lib, new):
    m = new(3, 4)

    def step(x):
        row, column, flat, transposed = m[1], m[:, 1], m.reshape(-1), m.T
        m.mul_(2)
        column.add_(x)
        flat[0] = 7
        transposed[3, 2] = -1
        return row * 1, column * 1, flat + 0, transposed[1] * transposed[2]

    return step, [m]


def views_of_what_the_function_made(lib, new):
    w = new(3, 4)

    def step(x):
        y = w * x.reshape(3, 1)
        part, z = y[1:, ::2], y.T
        part.add_(1)
        y[0] = part[0, 0]
        inner = z[1:][:, 1]
        inner.copy_(part.reshape(-1)[:3])
        y.mul_(2)
        return y, part * 1, z + 0, inner - 1

    return step, [w]


def a_view_of_memory_in_another_order(lib, new):
    m = new(3, 4)

    def step(x):
        transposed = m.T
        flat = transposed.T.reshape(-1)
        m.copy_((m * 2).T.T + x.reshape(3, 1))
        flat[5] = 0
        transposed[0].sub_(x)
        return flat * 1, transposed + 1

    return step, [m]


def outputs_that_are_memory_outside(lib, new):
    a, b = new(3), new(3)

    def step(x):
        old = a.clone()
        a.copy_(b)
        b.mul_(x)
        return a + 0, b[1:] * 1, old

    return step, [a, b]


def gradients_that_are_memory_outside(lib, new):
    w, factor = new(3), new(3)
    w.requires_grad_()

    def step(x):
        w.grad = None
        (w * factor).sum().backward()
        factor.mul_(x)
        return factor * 1

    return step, [w, factor, lambda: w.grad]


def several_changes_of_one_tensor(lib, new):
    a, b = new(3), new(3)

    def step(x):
        a.add_(x)
        first = a * b
        a.mul_(a)
        b.copy_(a - first)
        a.sub_(b)
        return first, a * 1

    return step, [a, b]


def a_change_that_is_undone(lib, new):
    a, b = new(3), new(3)

    def step(x):
        before = a.clone()
        a.add_(x)
        b.copy_(a)
        a.copy_(before)
        return a * b

    return step, [a, b]


def sums_and_products_read_before_a_change(lib, new):
    w, total = new(3, 3), new(3)

    def step(x):
        y = w @ x
        total.add_(w.sum(0))
        w.add_(y.reshape(3, 1) * total)
        total.copy_(w @ y)
        return y, w.sum()

    return step, [w, total]


def optimizer_state_seen_from_outside(lib, new):
    w, seen = new(3), new(3)
    w.requires_grad_()
    optimizer = lib.optim.SGD([w], 0.1, momentum=0.9)

    def step(x):
        optimizer.zero_grad()
        ((w - x) ** 2).sum().backward()
        grad = w.grad * 1
        optimizer.step()
        with lib.no_grad():
            seen.copy_(grad)
            seen.sub_(w)
        return grad

    return step, [w, seen]


def averages_of_averages(lib, new):
    a, b, c = new(3), new(3), new(3)

    def step(x):
        a.mul_(0.5).add_(x * 0.5)
        b.mul_(0.5).add_(a * 0.5)
        c.copy_(b)
        b.sub_(a)
        return c - b

    return step, [a, b, c]


def one_number(lib, new):
    count, log = new(1).reshape(()), new(2)

    def step(x):
        log[0] = count
        count.add_(x.sum())
        log[1] = count
        return count * 1, log.sum()

    return step, [count, log]


def nothing_but_copies(lib, new):
    a, b, c = new(3), new(3), new(3)

    def step(x):
        a.copy_(x)
        b.copy_(c)

    return step, [a, b, c]


def one_number_everywhere(lib, new):
    """What is repeated is not what may be written into."""
    m, number = new(3, 4), new(1)

    def step(x):
        m.copy_(number * x[0])
        flat, rows = m.T.reshape(-1), m.clone()
        flat.mul_(2)
        m.T[1].copy_(x)
        rows[0] = m[1]
        return flat, rows

    return step, [m]


def a_view_of_columns_first(lib, new):
    """Its elements are one after the other in memory; a change of a few lays the rest out anew."""
    m = new(4, 3).T

    def step(x):
        flat = m.T.reshape(-1)
        m[1, 1:] = x
        first = flat * 1
        flat[::5] = x
        m.copy_(m.T.T * 2)
        return first, flat * 1

    return step, [m]


def memory_keeps_its_order(lib, new):
    """Whether a reshape is a view or a copy depends on the order in memory, which a change in place does not touch."""
    m, other, plain = new(4, 3).T, new(3, 4), new(3, 4)

    def step(x):
        m.copy_(other)
        plain.copy_(other.T.clone().T)
        y, z = m * 2, plain * 2
        copied, viewed = y.reshape(-1), z.reshape(-1)
        copied.add_(x[0])
        viewed.add_(x[1])
        other.mul_(x[2])
        return y, z

    return step, [m, other, plain]


def a_flipped_copy(lib, new):
    a = new(4)

    def step(x):
        flipped = a.flip(0)
        a[1:].copy_(flipped[:3])
        a[:3] += x
        return flipped

    return step, [a]


PROGRAMS = [
    two_tensors_exchange, a_swap_without_arithmetic, a_ring_of_copies, a_chain_of_copies, transposed_onto_itself,
    transposed_onto_itself_after_a_change, the_weights_before_the_step, a_target_network,
    a_target_network_taken_over_whole, a_delay_line, a_delay_line_that_overlaps, a_recurrent_state,
    a_stored_value_that_has_changed, rows_of_outside_memory, views_see_what_is_changed_later,
    views_of_what_the_function_made, a_view_of_memory_in_another_order, outputs_that_are_memory_outside,
    gradients_that_are_memory_outside, several_changes_of_one_tensor, a_change_that_is_undone,
    sums_and_products_read_before_a_change, optimizer_state_seen_from_outside, averages_of_averages, one_number,
    nothing_but_copies, one_number_everywhere, a_view_of_columns_first, memory_keeps_its_order,
    a_flipped_copy,
]  # fmt: skip


def arrays(x):
    """All results in a nest, as copies."""
    if isinstance(x, (tuple, list)):
        return [array for part in x for array in arrays(part)]
    return [] if x is None else [np.array(x.detach().numpy())]


def reading(program, lib, compile_it=lambda step: step):
    """What a program gives at each call: its results, then what lives outside."""
    random = np.random.default_rng(0)
    step, outside = program(lib, lambda *shape: lib.from_numpy(random.standard_normal(shape)))
    step = compile_it(step)
    actual = []
    recording = any(getattr(tensor, "requires_grad", False) for tensor in outside)
    with lib.enable_grad() if recording else lib.no_grad():
        for call in range(CALLS):
            x = lib.from_numpy(np.random.default_rng(call + 1).standard_normal(3))
            results = arrays(step(x))
            actual.append([*results, *arrays([t() if callable(t) else t for t in outside])])
    return actual


def agree(program):
    expected = reading(program, torch)
    for name, actual in (("eager", reading(program, chainrule)), ("compiled", reading(program, chainrule, jit))):
        for call, (ours, theirs) in enumerate(zip(actual, expected, strict=True)):
            for position, (one, other) in enumerate(zip(ours, theirs, strict=True)):
                what = f"{name}, call {call}, array {position}"
                np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12, err_msg=what)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_as_in_pytorch(program, interpreted):
    agree(program)


@pytest.mark.parametrize(
    "program", [the_weights_before_the_step, a_ring_of_copies, sums_and_products_read_before_a_change],
    ids=lambda program: program.__name__,
)  # fmt: skip
def test_as_in_pytorch_with_the_real_compiler(program):
    agree(program)


def test_graphs_from_before_hear_of_changes(interpreted):
    """Whoever needs the old value for a gradient is told, however the value was changed inside."""
    w = chainrule.ones(3, requires_grad=True)

    def whole(buffer, x):
        buffer.add_(x)

    def part(buffer, x):
        buffer[0].add_(x[0])

    def detached(buffer, x):
        buffer.detach()[1:].copy_(x[1:])

    def element(buffer, x):
        buffer[2] = x[0]

    for change in (whole, part, detached, element):
        buffer = chainrule.ones(3)

        @jit
        def step(x, buffer=buffer, change=change):
            with chainrule.no_grad():
                change(buffer, x)

        for _ in range(3):
            y = (buffer * w).sum()
            step(chainrule.ones(3) * 2)
            with pytest.raises(RuntimeError, match="changed in place after it was used"):
                y.backward()
        untouched = (w * 2 + buffer.clone()).sum()
        step(chainrule.ones(3))
        untouched.backward()


def test_changes_that_eager_code_refuses(interpreted):
    count, row = chainrule.zeros(3, dtype=np.int64), chainrule.zeros(3)
    wrong = [
        (lambda x: count.add_(0.5), TypeError),
        (lambda x: count[0].mul_(x[0]), TypeError),
        (lambda x: row.add_(x.unsqueeze(1)), ValueError),
        (lambda x: row[0].sub_(x[:1]), ValueError),
        (lambda x: row.copy_(x[:2]), ValueError),
    ]
    for change, kind in wrong:
        messages = []
        for run in (change, jit(change)):
            with pytest.raises(kind) as error:
                run(chainrule.ones(3))
            messages.append(str(error.value))
        assert messages[0] == messages[1]
        assert count.tolist() == row.tolist() == [0, 0, 0]
    jit(lambda x: count.copy_(x * 2.7))(chainrule.ones(3))  # which cuts off, as NumPy's assignment does
    assert count.tolist() == [2, 2, 2]


def test_a_call_of_python_that_gives_what_it_got(interpreted):
    """Its result is memory outside, which is changed before the result is wanted."""

    @operation
    def looked_at(input):
        assert np.isfinite(np.asarray(input)).all()
        return np.asarray(input)

    buffer, log = chainrule.ones(3), chainrule.zeros(3)

    @jit
    def step(x):
        with chainrule.no_grad():
            seen = looked_at(buffer)
            buffer.add_(x)
            log.copy_(seen)
            return seen

    for call in range(3):
        x = chainrule.from_numpy(np.random.default_rng(call).standard_normal(3).astype("f4"))
        before = buffer.tolist()
        assert step(x).tolist() == before == log.tolist()


def test_a_call_of_python_that_fails_changes_nothing(interpreted):
    """Whatever has been computed by then, and however early its value was known."""

    @operation
    def small(input):
        if np.abs(np.asarray(input)).max() > 5:
            raise ValueError("too large")
        return np.asarray(input) * 2

    buffer, other = chainrule.ones(3), chainrule.zeros(2, 3)

    @jit
    def step(x):
        with chainrule.no_grad():
            buffer.add_(x)
            other[0] = buffer
            other[1].copy_(x)
            return small(x * x) + small(buffer)

    step(chainrule.ones(3))
    with pytest.raises(ValueError, match="too large"):
        step(chainrule.ones(3) * 3)
    assert buffer.tolist() == [2, 2, 2]
    assert other.tolist() == [[2, 2, 2], [1, 1, 1]]


def test_memory_seen_through_two_tensors(interpreted):
    """A view from outside is another array than what it is a view of: refused where one is changed, else read."""
    base = chainrule.from_numpy(np.arange(12.0).reshape(3, 4))
    for view in (base[0], base[:, 1], base.T, base.reshape(-1), base[1:, 2:], chainrule.from_numpy(base.numpy()[::-1])):
        for changed, read in ((base, view), (view, base)):
            with pytest.raises(CaptureError, match="two tensors share"):
                jit(lambda x, changed=changed, read=read: (changed.add_(x), read * 1))(chainrule.ones(1))
        np.testing.assert_array_equal(base.numpy(), np.arange(12.0).reshape(3, 4))
        actual = jit(lambda x, view=view: base.sum() * x + view.sum())(chainrule.ones(1).double())
        assert actual.item() == base.numpy().sum() + view.numpy().sum()
    rows = [base[i] for i in range(3)]  # apart from each other
    jit(lambda: [row.mul_(2) for row in rows])()
    np.testing.assert_array_equal(base.numpy(), 2 * np.arange(12.0).reshape(3, 4))
