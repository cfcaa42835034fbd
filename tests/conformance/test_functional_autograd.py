"""jacobian, hessian, hvp, vjp and hooks beside PyTorch: the same values in the same tuples."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule
from chainrule import autograd, nn

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'chainrule[torch]'")

RELATIVE = 1e-12

# name: (function, shapes of its inputs; no tuple for a single one)
VECTOR = {
    "elementwise": (lambda x: (x * 2).exp() * x, (3,)),
    "a matrix product": (lambda x: x @ x.T, (2, 3)),
    "a number": (lambda x: (x**3).sum(), (2, 2)),
    "from a number": (lambda x: x**3, ()),
    "one element": (lambda x: x**2, (1,)),
    "a one-tuple": (lambda x: (x**2,), (2,)),
    "two outputs": (lambda x: (x.exp(), (x * x).sum()), (2,)),
    "two inputs": (lambda x, y: x @ y, ((2, 3), (3,))),
    "two and two": (lambda x, y: (x * y, (x**2).sum(0)), ((2, 2), (2,))),
    "an unused input": (lambda x, y: x * 2, ((2,), (3,))),
    "the input itself": (lambda x: x, (2,)),
    "an input in a one-tuple": (lambda x: x**3, ((2,),)),
}
NUMBER = {
    "cubes": (lambda x: (x**3).sum(), (2, 2)),
    "of shape (1,)": (lambda x: (x**3).sum(0, keepdim=True), (3,)),
    "from a number": (lambda x: x.exp() * x, ()),
    "linear": (lambda x: (x * 3).sum(), (2,)),
    "two inputs": (lambda x, y: ((x @ y) ** 2).sum() + y.exp().sum(), ((2, 3), (3,))),
    "an unused input": (lambda x, y: (x**2).sum(), ((2,), (3,))),
    "in a one-tuple": (lambda x: (x**3).sum(), ((2,),)),
}


def same(ours, theirs):
    assert isinstance(ours, tuple) == isinstance(theirs, tuple)
    if isinstance(ours, tuple):
        assert len(ours) == len(theirs)
        for one, two in zip(ours, theirs, strict=True):
            same(one, two)
        return
    assert not ours.requires_grad or theirs.requires_grad  # PyTorch gives some constants a history too
    assert (ours.shape, ours.dtype) == (tuple(theirs.shape), theirs.detach().numpy().dtype)
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=RELATIVE, atol=RELATIVE)


def both(shapes, requires_grad, seed=0, dtype=np.float64):
    """The same random numbers twice: ours and PyTorch's, a tuple if the shapes are one."""
    rng = np.random.default_rng(seed)
    if shapes == () or isinstance(shapes[0], int):
        array = np.asarray(rng.uniform(0.5, 1.5, shapes), dtype)
        return (
            chainrule.tensor(array, requires_grad=requires_grad),
            torch.tensor(array, requires_grad=requires_grad),
        )
    pairs = [both(shape, requires_grad, seed + i, dtype) for i, shape in enumerate(shapes)]
    return tuple(p[0] for p in pairs), tuple(p[1] for p in pairs)


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("requires_grad", [False, True])
class TestValues:
    @pytest.mark.parametrize("case", VECTOR)
    def test_jacobian(self, case, create_graph, requires_grad):
        function, shapes = VECTOR[case]
        ours, theirs = both(shapes, requires_grad)
        same(
            autograd.jacobian(function, ours, create_graph=create_graph),
            torch.autograd.functional.jacobian(function, theirs, create_graph=create_graph),
        )

    @pytest.mark.parametrize("case", VECTOR)
    def test_vjp(self, case, create_graph, requires_grad):
        function, shapes = VECTOR[case]
        ours, theirs = both(shapes, requires_grad)
        out = function(*theirs) if isinstance(theirs, tuple) else function(theirs)
        v_shapes = tuple(tuple(t.shape) for t in out) if isinstance(out, tuple) else tuple(out.shape)
        v, w = both(v_shapes, False, seed=9)
        same(
            autograd.vjp(function, ours, v, create_graph=create_graph),
            torch.autograd.functional.vjp(function, theirs, w, create_graph=create_graph),
        )

    @pytest.mark.parametrize("case", NUMBER)
    def test_second_order(self, case, create_graph, requires_grad):
        function, shapes = NUMBER[case]
        ours, theirs = both(shapes, requires_grad)
        v, w = both(shapes, False, seed=9)
        same(
            autograd.hessian(function, ours, create_graph=create_graph),
            torch.autograd.functional.hessian(function, theirs, create_graph=create_graph),
        )
        same(
            autograd.hvp(function, ours, v, create_graph=create_graph),
            torch.autograd.functional.hvp(function, theirs, w, create_graph=create_graph),
        )


def test_float32_stays_float32():
    ours, theirs = both((3,), False, dtype=np.float32)
    function = lambda x: (x**3).sum()  # noqa: E731
    one, two = autograd.hessian(function, ours), torch.autograd.functional.hessian(function, theirs)
    assert one.dtype == two.numpy().dtype == np.float32
    np.testing.assert_allclose(one.numpy(), two.numpy(), rtol=1e-6)


def test_what_was_made_with_create_graph_is_differentiated_in_turn():
    ours, theirs = both((3,), True)
    function = lambda x: x.exp() * x  # noqa: E731
    autograd.jacobian(function, ours, create_graph=True).square().sum().backward()
    torch.autograd.functional.jacobian(function, theirs, create_graph=True).square().sum().backward()
    same(ours.grad, theirs.grad)
    ours, theirs = both((3,), True)
    for library, x in ((autograd, ours), (torch.autograd.functional, theirs)):
        (library.hvp(lambda x: (x**4).sum(), x, x, create_graph=True)[1] ** 2).sum().backward()
    same(ours.grad, theirs.grad)


@pytest.mark.parametrize("create_graph", [False, True])
def test_hooks_hear_and_change_the_same(create_graph):
    """Tensor hooks, retained gradients and module hooks in a small network, walked twice."""
    weights = np.random.default_rng(0).standard_normal((3, 2))
    heard = {}
    for library, layers in ((chainrule, nn), (torch, torch.nn)):
        seen = heard[library.__name__] = {}

        def show(name, *gradients, seen=seen):
            for g in gradients:
                seen.setdefault(name, []).append(None if g is None else g.detach().numpy().copy())

        x = library.tensor(np.linspace(-1, 1, 8).reshape(4, 2), requires_grad=True)
        network = layers.Sequential(layers.Linear(2, 3), layers.Tanh(), layers.Linear(3, 1)).double()
        state = {"0.weight": weights, "0.bias": weights[:, 0], "2.weight": weights.T[:1], "2.bias": weights[0, :1]}
        network.load_state_dict({name: library.tensor(value) for name, value in state.items()})
        network[0].register_full_backward_hook(lambda m, i, o: show("0", *i, *o) or (i[0] * 3,))
        network[1].register_full_backward_hook(lambda m, i, o: (i[0] + o[0],))
        network[1].register_full_backward_hook(lambda m, i, o: show("1", *i, *o))
        network[2].register_forward_pre_hook(lambda m, args: args[0] * 2)
        network[2].register_forward_hook(lambda m, args, out: out * args[0].sum(1, keepdim=True))
        network[0].weight.register_hook(lambda g: show("weight", g) or g * 2)
        middle = network[0](x)
        middle.register_hook(lambda g: show("middle", g) or g**2)
        middle.retain_grad()
        loss = (network[2](network[1](middle)) ** 2).sum()
        if create_graph:
            (g,) = library.autograd.grad(loss, x, create_graph=True)
            show("first", g)
            (g**2).sum().backward()
        else:
            loss.backward(retain_graph=True)
            loss.backward()
        show("in the end", x.grad, middle.grad, *(p.grad for p in network.parameters()))
    ours, theirs = heard["chainrule"], heard["torch"]
    assert ours.keys() == theirs.keys() >= {"0", "1", "weight", "middle", "in the end"}
    for name, gradients in theirs.items():
        assert len(ours[name]) == len(gradients)
        for one, two in zip(ours[name], gradients, strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-10, atol=1e-12, err_msg=name)


STRICT = {
    "products": (lambda w, x, y: (x * y, (x * y).exp()), True),
    "an input without effect": (lambda w, x, y: x * 2, True),
    "an output without inputs": (lambda w, x, y: (x * y, y * y), True),
    "a constant output": (lambda w, x, y: (x * y, (x * 0).detach()), True),
    "an output of a captured leaf": (lambda w, x, y: (x * y, w * 1), True),
    "linear": (lambda w, x, y: x + y, True),
    "a single linear input": (lambda w, x: x * 2, False),
    "a single square": (lambda w, x: x * x, False),
    "the input itself": (lambda w, x: x, False),
    "a step": (lambda w, x: x.floor(), False),
    "a scalar": (lambda w, x: (x**3).sum(), False),
    "a linear scalar": (lambda w, x: (x * 3).sum(), False),
    "a square scalar": (lambda w, x: (x * x).sum(), False),
    "a scalar of both": (lambda w, x, y: ((x * y) ** 3).sum(), True),
    "a scalar, linear in one": (lambda w, x, y: (x**3).sum() + y.sum(), True),
    "a scalar of one": (lambda w, x, y: (x**3).sum(), True),
}


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize(
    ("name", "operation"),
    [
        (name, operation)
        for name in STRICT
        for operation in ("vjp", "jvp", "jacobian", *(("hvp", "hessian") if "scalar" in name else ()))
    ],
)
def test_strict_refuses_what_pytorch_refuses(name, operation, create_graph):
    function, has_two_inputs = STRICT[name]
    shapes = ((2,), (2,)) if has_two_inputs else (2,)

    def refusal(library, inputs, w, kinds):
        def of_inputs(*xs):
            return function(w, *xs)

        run = getattr(library.autograd.functional, operation)
        arguments = ()
        if operation in ("vjp", "jvp", "hvp"):
            arguments = (
                (of_inputs(*inputs) if has_two_inputs else of_inputs(inputs),) if operation == "vjp" else (inputs,)
            )
            arguments = tuple(
                tuple(v.detach() for v in part) if isinstance(part, tuple) else part.detach() for part in arguments
            )
        try:
            run(of_inputs, inputs, *arguments, create_graph=create_graph, strict=True)
        except kinds:
            return True
        return False

    ours, theirs = both(shapes, True)
    our_w, their_w = both((2,), True)
    assert refusal(chainrule, ours, our_w, RuntimeError) == refusal(torch, theirs, their_w, RuntimeError)
