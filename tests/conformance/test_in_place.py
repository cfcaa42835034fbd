"""Programs of views and changes in place, beside PyTorch: the same values and gradients, or one sentence."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule
from chainrule.capture import jit
from chainrule.kernels import machine

from ..capture import interpreter

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'chainrule[torch]'")

# What a program may be refused with
REFUSALS = (
    "was changed in place after it was used, and its old value is needed",
    "requires gradients cannot be changed in place while operations are recorded",
    "a view that was taken under no_grad() of a result with a history cannot be changed",
    "repeats an element",
    "read-only",
    "does not fit into shape",  # PyTorch drops leading dimensions of size 1 there
)

# Pieces that PyTorch does not let a program change if they come from chunk, unbind or a loop: there, the same by slices
OURS = {
    "piece": lambda x, i: x.chunk(2)[i],
    "row": lambda x, i: x.unbind()[i],
    "part": lambda x, i: x.split(1, -1)[i],
    "rows": list,
    "no_grad": chainrule.no_grad,
}
THEIRS = {
    "piece": lambda x, i: x.narrow(0, *((0, -(-len(x) // 2)), (-(-len(x) // 2), len(x) // 2))[i]),
    "row": lambda x, i: x.select(0, i),
    "part": lambda x, i: x.narrow(-1, i, 1),
    "rows": lambda x: [x.select(0, i) for i in range(len(x))],
    "no_grad": torch.no_grad,
}


class Writer:
    """Writes a program of 2 to 6 statements, by running each in PyTorch: what is refused there is not written."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.values = {name: self.random.uniform(0.5, 2, (4, 3)) for name in "xw"}
        self.space = start(torch.tensor, THEIRS, self.values)
        self.lines = []
        self.names, self.fresh = [], "h"
        self.run(self.pick("h = x * w", "h = (x * w).exp()", "h = (x.T * w.T).T", "h = x * w + 0", "h = x.sqrt()"))
        self.fresh = "d"
        self.run(self.pick("d = x.detach() * 2", "d = h.detach()", "d = h * 2", "d = (h.detach() + 1).T"))
        for _ in range(self.random.integers(2, 7)):
            for _ in range(20):
                if self.run(self.statement()):
                    break

    def pick(self, *choices):
        return choices[self.random.integers(len(choices))]

    def run(self, line):
        try:
            step(line, self.space, [*self.names, self.fresh])
        except (RuntimeError, IndexError, ValueError, TypeError):
            self.space = start(torch.tensor, THEIRS, self.values)
            for old in self.lines:
                step(old, self.space, self.names)
            self.fresh = None
            return False
        self.lines.append(line)
        self.names += [self.fresh] if self.fresh else []
        self.fresh = None
        return True

    def statement(self):
        line = self.view() if self.random.random() < 0.45 else self.change()
        return f"with no_grad(): {line}" if self.random.random() < 0.15 and not line.startswith("for") else line

    def view(self):
        source = self.pick(*self.names)
        value = self.space[source]
        dims = value.ndim
        choices = ["", ".detach()", ".reshape(-1)", ".unsqueeze(0)", ".unsqueeze(-1)", ".squeeze()"]
        choices += [f"[{self.index(value)}]"] * 6
        if dims == 2:
            choices += [".T", ".flatten()", ".diagonal()", ".diagonal(1)", ".permute(1, 0)", ".transpose(0, 1)"]
            choices += [".reshape(2, -1)"]
            choices += [".expand(2, -1, -1)", ".movedim(0, 1)", ".mT"]
        if dims == 3:
            choices += [".permute(1, 2, 0)", ".diagonal(0, 1, 2)"]
        choice = self.pick(*choices)
        if value.numel() and dims and self.random.random() < 0.25:
            choice = None
            text = self.pick(f"piece({source}, {self.random.integers(min(2, len(value)))})", f"row({source}, 0)")
            text = self.pick(text, f"part({source}, 0)")
        else:
            text = source + choice
            if not choice:
                text = self.pick(f"{source} * 1.5", f"{source}.exp() * 0.1", f"{source}.clone()")
        name = "abcefgi"[len(self.names) - 2] if len(self.names) < 9 else self.pick(*self.names)
        self.fresh = None if name in self.names else name
        return f"{name} = {text}"

    def index(self, value):
        parts = []
        for size in value.shape[: self.random.integers(value.ndim + 1)]:
            low = self.random.integers(0, max(size, 1))
            parts.append(self.pick(str(low), f"{low}:", f":{low + 1}", "::2", "-1:", ":", "1:3"))
        return ", ".join(parts) if parts else "..."

    def change(self):
        target = self.pick(*self.names)
        value = self.space[target]
        kind = self.random.integers(8)
        if kind == 0:
            return f"{target}.{self.pick('zero_()', 'fill_(3)', 'mul_(0.5)', 'div_(2)')}"
        if kind == 1 and value.ndim:
            return f"for r in rows({target}): r {self.pick('+=', '*=', '-=')} {self.number()}"
        if kind == 2 and value.ndim:
            return f"{target}[{self.index(value)}] {self.pick('+=', '*=', '=', '=')} {self.number()}"
        if kind == 3 and value.ndim:
            return f"{target}[{self.index(value)}].{self.pick('add_', 'mul_', 'sub_', 'copy_')}({self.other(target)})"
        if kind == 4 and value.ndim:
            return f"{target}[{self.index(value)}] = {self.other(target)}"
        if kind == 5:
            return f"{target} {self.pick('+=', '-=', '*=')} {self.other(target)}"
        return f"{target}.{self.pick('add_', 'sub_', 'mul_', 'copy_')}({self.other(target)})"

    def number(self):
        return str(round(self.random.uniform(0.5, 2), 2))

    def other(self, target):
        value = self.space[target]
        names = [name for name in self.names if not partly_the_same(value, self.space[name])]
        return self.pick(self.number(), *names, "x[0]", "w[1, 2]", "w", "w.T", "x[:, 0]", "w[0, 0] * x[1, 1]")


def partly_the_same(one, other):
    """Whether two tensors share memory but are not the same: PyTorch then reads what it has just written."""
    same = (one.data_ptr(), one.shape, one.stride()) == (other.data_ptr(), other.shape, other.stride())
    return not same and np.may_share_memory(one.detach().numpy(), other.detach().numpy())


def start(tensor, helpers, values):
    return {**helpers, **{name: tensor(value, requires_grad=True) for name, value in values.items()}}


def run(writer, tensor, helpers, values):
    space = start(tensor, helpers, values)
    for line in writer.lines:
        step(line, space, writer.names)
    return space


def step(line, space, names):
    exec(line, space)  # noqa: S102  # a line that `Writer` wrote
    for name in names:
        _ = space[name].grad_fn if name in space else None  # here PyTorch refuses what it refuses only now and then


def loss_of(space, names):
    """One number that every tensor of a program has a share in."""
    total = (space["x"] * 0 + space["w"] * 0).sum()
    for i, name in enumerate(sorted(names)):
        total = total + (space[name] * (1 + 0.3 * i)).sum() + (space[name].reshape(-1)[:1] ** 2).sum()
    return total


def theirs(writer):
    """A program's tensors in PyTorch, and the leaves' gradients: None where it has written over what they need."""
    space = run(writer, torch.tensor, THEIRS, writer.values)
    try:
        gradients = torch.autograd.grad(loss_of(space, writer.names), [space[name] for name in "xw"])
    except RuntimeError:
        return space, None
    return space, [gradient.numpy() for gradient in gradients]


def slope(writer, directions, eps=1e-6):
    """How the loss changes as the leaves move in some directions, by finite differences in PyTorch."""
    losses = []
    for sign in (1, -1):
        moved = {name: writer.values[name] + sign * eps * directions[name] for name in "xw"}
        losses.append(loss_of(run(writer, torch.tensor, THEIRS, moved), writer.names).item())
    return (losses[0] - losses[1]) / (2 * eps)


def equal(ours, expected, what):
    np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-12, err_msg=what)


def agree(writer, expected, gradients):
    """Run a program here; an AssertionError if something differs. Returns whether it ran or was refused."""
    text = "\n".join(writer.lines)
    refused = None
    try:
        space = run(writer, chainrule.tensor, OURS, writer.values)
        loss_of(space, writer.names).backward()
    except (RuntimeError, ValueError) as error:
        refused = str(error)
    if refused is not None:
        assert any(sentence in refused for sentence in REFUSALS), f"{refused} in:\n{text}"
        return False
    for name in writer.names:
        equal(space[name].detach().numpy(), expected[name].detach().numpy(), f"{name} after:\n{text}")
    found = {name: space[name].grad.numpy() for name in "xw"}
    if gradients is not None:
        for name, gradient in zip("xw", gradients, strict=True):
            equal(found[name], gradient, f"the gradient of {name} after:\n{text}")
    elif not any("no_grad" in line or "detach" in line for line in writer.lines):
        directions = {name: writer.random.uniform(-1, 1, (4, 3)) for name in "xw"}
        along = sum((found[name] * directions[name]).sum() for name in "xw")
        np.testing.assert_allclose(along, slope(writer, directions), rtol=1e-5, atol=1e-6, err_msg=text)
    return True


@pytest.mark.parametrize("block", range(4))
def test_random_programs(block):
    programs = [Writer(seed) for seed in range(100 * block, 100 * block + 100)]
    ran = [agree(program, *theirs(program)) for program in programs]
    assert sum(ran) > 75  # the others are refused, nearly all of them by PyTorch, too


@pytest.mark.parametrize("block", range(4))
def test_random_programs_compiled(block, monkeypatch):
    monkeypatch.setattr(machine, "address_of", interpreter.address_of)  # compiled programs are run by Python itself
    for seed in range(30 * block, 30 * block + 30):
        compiled_agrees(Writer(seed))


def compiled_agrees(writer):
    """Compile a program, and compare with itself on new numbers each time."""
    text = "\n".join(writer.lines)
    leaves = {name: chainrule.tensor(value, requires_grad=True) for name, value in writer.values.items()}

    def program():
        space = {**OURS, **leaves}
        for line in writer.lines:
            step(line, space, ())
        loss_of(space, writer.names).backward()
        return [space[name].detach() for name in writer.names]

    compiled = jit(program)
    for _ in range(2):
        for leaf in leaves.values():
            with chainrule.no_grad():
                leaf.copy_(writer.random.uniform(0.5, 2, (4, 3)))
        results = []
        for run_program in (program, compiled):
            for leaf in leaves.values():
                leaf.grad = None
            try:
                outputs = run_program()
            except (RuntimeError, ValueError) as error:
                results.append(str(error))
            else:
                results.append([tensor.numpy().copy() for tensor in (*outputs, *(x.grad for x in leaves.values()))])
        expected, found = results
        if isinstance(expected, str):
            assert isinstance(found, str), text
            continue
        assert not isinstance(found, str), f"{found} in:\n{text}"
        for one, other in zip(expected, found, strict=True):
            equal(other, one, f"compiled:\n{text}")
