"""Every operation beside PyTorch: values, types and gradients, also at ties, infinities and NaN."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule
from chainrule import ops
from chainrule.nn import functional as F  # noqa: N812  # the field's name for it

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'chainrule[torch]'")

RELATIVE = {np.float64: 1e-13, np.float32: 2e-6}
SPECIAL = [-np.inf, -1e4, -2.0, -1.0, -0.0, 0.0, 0.5, 1.0, 2.0, 1e4, np.inf, np.nan]
PLAIN = np.random.default_rng(0).uniform(-3, 3, (4, 5))
POSITIVE = np.abs(PLAIN) + 0.1
TIES = np.array([[1.0, 3.0, 3.0, 0.0], [2.0, 2.0, 2.0, 2.0], [-1.0, -5.0, -5.0, -1.0]])
NOT_A_NUMBER = np.array([[1.0, np.nan, 3.0], [np.inf, np.inf, 2.0], [-np.inf, -np.inf, -np.inf], [np.nan, np.nan, 0.0]])
WITH_INFINITY = np.array([[1.0, 2.0, -np.inf], [1e4, -1e4, 1e4], [0.0, 0.0, 0.0]])
CUBE = np.random.default_rng(1).standard_normal((2, 3, 4))
MASK = PLAIN > 0
MATRICES = {
    n: np.random.default_rng(n).standard_normal(s)
    for n, s in enumerate([(4,), (4, 3), (2, 4), (5, 2, 4), (5, 4, 3), (3, 1, 2, 4)])
}
WITHOUT_NAN = [v for v in SPECIAL if v == v]


def pairs() -> tuple[np.ndarray, np.ndarray]:
    one, two = np.meshgrid(SPECIAL, SPECIAL)
    return one.ravel(), two.ravel()


CASES: dict[str, tuple] = {}


def case(name, ours, theirs, *arrays):
    CASES[name] = (ours, theirs, arrays)


for name, special in [
    ("neg", SPECIAL),
    ("exp", SPECIAL),
    ("log", SPECIAL),
    ("sqrt", SPECIAL),
    ("tanh", SPECIAL),
    ("sigmoid", SPECIAL),
    ("relu", SPECIAL),
    ("abs", WITHOUT_NAN),  # NumPy's sign of NaN is NaN, PyTorch's is 0
    ("sign", WITHOUT_NAN),
]:
    case(name, getattr(ops, name), getattr(torch, name), PLAIN)
    case(f"{name} special", getattr(ops, name), getattr(torch, name), np.array(special))
    case(f"{name} of one number", getattr(ops, name), getattr(torch, name), np.array(0.7))
for slope in (0.01, 0.3, 0.0):
    case(
        f"leaky_relu {slope} special",
        lambda x, s=slope: F.leaky_relu(x, negative_slope=s),
        lambda x, s=slope: torch.nn.functional.leaky_relu(x, s),
        np.array(WITHOUT_NAN if slope else [v for v in WITHOUT_NAN if v > -np.inf]),
    )
for name in ("add", "sub", "mul", "div", "maximum", "minimum"):
    case(name, getattr(ops, name), getattr(torch, name), PLAIN, PLAIN[:1] * 0.7)
    case(f"{name} special", getattr(ops, name), getattr(torch, name), *pairs())
for exponent in (0, 1, 2, 3, -1, 0.5, -0.5, 2.5):
    # at -inf and -0.0 PyTorch takes the square root for ½, NumPy for values alone
    special = [v for v in SPECIAL if str(v) not in ("-inf", "-0.0")] if abs(exponent) == 0.5 else SPECIAL
    case(f"pow {exponent} special", lambda x, e=exponent: x**e, lambda x, e=exponent: x**e, np.array(special))
for base in (0.0, 1.0, 2.0, 0.5, -2.0):
    case(f"power of {base}", lambda x, b=base: b**x, lambda x, b=base: b**x, np.array([-3.0, -1.0, 0.0, 1.0, 2.0, 3.0]))
case("pow", ops.pow, torch.pow, POSITIVE, PLAIN)
case("pow special", ops.pow, torch.pow, *(a[(pairs()[0] != 0) | (pairs()[1] != 0)] for a in pairs()))
case("where", lambda x, y: ops.where(MASK, x, y), lambda x, y: torch.where(torch.tensor(MASK), x, y), PLAIN, PLAIN[0])
case("number minus", lambda x: 3 - x, lambda x: 3 - x, PLAIN)
case("number over", lambda x: 3 / x, lambda x: 3 / x, np.array(SPECIAL))
for label, array in {"": CUBE, " ties": TIES, " special": NOT_A_NUMBER}.items():
    for name in ("sum", "mean", "amax", "amin"):
        for dim in (None, 0, -1, (0, 1)):
            for keepdim in (False, True):
                case(
                    f"{name}{label} {dim} {keepdim}",
                    lambda x, n=name, d=dim, k=keepdim: getattr(ops, n)(x, dim=d, keepdim=k),
                    lambda x, n=name, d=dim, k=keepdim: getattr(torch, n)(
                        x, dim=(() if n[0] == "a" else None) if d is None else d, keepdim=k
                    ),
                    array,
                )
    for name in ("max", "min"):
        if array is not NOT_A_NUMBER:  # PyTorch's max() shares the gradient between all NaN, its amax() makes all NaN
            case(f"{name}{label}", lambda x, n=name: getattr(x, n)(), lambda x, n=name: getattr(x, n)(), array)
        case(
            f"{name}{label} along", lambda x, n=name: getattr(x, n)(1)[0], lambda x, n=name: getattr(x, n)(1)[0], array
        )
for label, array in {"": CUBE, " ties": TIES, " special": NOT_A_NUMBER, " infinite": WITH_INFINITY}.items():
    for name in ("softmax", "log_softmax"):
        for dim in (0, 1, -1):
            case(
                f"{name}{label} {dim}",
                lambda x, n=name, d=dim: getattr(ops, n)(x, dim=d),
                lambda x, n=name, d=dim: getattr(torch, n)(x, dim=d),
                array,
            )
for one, two in [(0, 0), (0, 1), (2, 1), (2, 0), (0, 4), (3, 1), (3, 4), (3, 0), (5, 1), (2, 4)]:
    case(f"matmul {MATRICES[one].shape} {MATRICES[two].shape}", ops.matmul, torch.matmul, MATRICES[one], MATRICES[two])
for x in (MATRICES[0], MATRICES[2], MATRICES[3]):
    case(f"linear {x.shape}", ops.linear, torch.nn.functional.linear, x, MATRICES[1].T.copy(), MATRICES[1][0])
case("linear without bias", ops.linear, torch.nn.functional.linear, MATRICES[3], MATRICES[1].T.copy())
for label, call in {
    "reshape": lambda x: x.reshape(4, 6),
    "view": lambda x: x.view(-1),
    "permute": lambda x: x.permute(2, 0, 1),
    "transpose": lambda x: x.transpose(0, -1),
    "mT": lambda x: x.mT,
    "flatten": lambda x: x.flatten(1),
    "unsqueeze": lambda x: x.unsqueeze(-2),
    "squeeze": lambda x: x.unsqueeze(0).squeeze(0).squeeze(1),
    "expand": lambda x: x.expand(5, -1, 3, -1),
    "index": lambda x: x[1, :, 2],
    "slice": lambda x: x[:, 1:, ::2],
    "rows": lambda x: x[:, [2, 0, 2]],
    "pairs": lambda x: x[[0, 1, 0], [2, 2, 2]],
    "new dimension": lambda x: x[None, ..., None],
    "clone": lambda x: x.clone(),
    "iteration": lambda x: sum((row * i for i, row in enumerate(x)), x[0]),
    "mixture": lambda x: ((x + 1) ** 2).mean(0).exp().sum(-1) / (1 + x.abs().sum()),
    "in place": lambda x: (x * 1).mul_(3).add_(x, alpha=2).sub_(1).div_(x.exp()),
}.items():
    case(label, call, call, CUBE)
case("mask", lambda x: x[MASK], lambda x: x[torch.tensor(MASK)], PLAIN)
case("double", lambda x: x.double() * 1.1, lambda x: x.double() * 1.1, PLAIN)
case("float", lambda x: x.float() * 1.1, lambda x: x.float() * 1.1, PLAIN)


def assigned(x, y):
    z = x * 2
    z[1:, 0] = y[:3] * y[:3]
    z[0] = 7.0
    return z


case("assignment", assigned, assigned, PLAIN, PLAIN[0])


@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient(name, assert_same):
    for dtype in (np.float64, np.float32):
        check_value_and_gradient(name, dtype, assert_same)


def check_value_and_gradient(name, dtype, assert_same):
    ours, theirs, arrays = CASES[name]
    one = [chainrule.tensor(a.astype(dtype), requires_grad=True) for a in arrays]
    two = [torch.tensor(a.astype(dtype), requires_grad=True) for a in arrays]
    mine, other = ours(*one), theirs(*two)
    tolerance = RELATIVE[dtype] if name != "float" else RELATIVE[np.float32]
    assert_same(mine, other, tolerance, "value")
    upstream = np.random.default_rng(9).uniform(0.5, 1.5, mine.shape).astype(mine.dtype)
    mine.backward(chainrule.tensor(upstream))
    other.backward(torch.tensor(upstream))
    for position, (a, b) in enumerate(zip(one, two, strict=True)):
        assert_same(a.grad, b.grad, tolerance, f"gradient {position}")


@pytest.mark.parametrize("name", ["eq", "ne", "lt", "le", "gt", "ge"])
def test_comparisons(name, assert_same):
    one, two = pairs()
    assert_same(
        getattr(ops, name)(chainrule.tensor(one), two), getattr(torch, name)(torch.tensor(one), torch.tensor(two)), 0
    )


@pytest.mark.parametrize(
    "array", [CUBE, TIES, NOT_A_NUMBER, np.array([[3, 1], [2, 3]])], ids=["plain", "ties", "special", "integers"]
)
@pytest.mark.parametrize("name", ["argmax", "argmin", "all", "any", "isfinite", "logical_not"])
def test_places_and_truths(name, array, assert_same):
    ours, theirs = getattr(ops, name), getattr(torch, name)
    assert_same(ours(chainrule.tensor(array)), theirs(torch.tensor(array)), 0)
    if name not in ("isfinite", "logical_not"):
        assert_same(ours(chainrule.tensor(array), dim=1), theirs(torch.tensor(array), dim=1), 0)
        assert_same(
            ours(chainrule.tensor(array), dim=0, keepdim=True), theirs(torch.tensor(array), dim=0, keepdim=True), 0
        )


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int8, np.int32, np.int64])
def test_integers(dtype, assert_same):
    array = np.array([[0, 1, 5], [7, 2, 2]]).astype(dtype)
    x, y = chainrule.tensor(array), torch.tensor(array)
    for name in ("exp", "log", "sqrt", "tanh", "sigmoid", "sum", "amax", "amin"):
        assert_same(getattr(x, name)(), getattr(y, name)(), 2e-6, name)
    if dtype is not bool:
        for name in ("neg", "abs", "relu", "sign"):
            assert_same(getattr(x, name)(), getattr(y, name)(), 0, name)
        assert_same(x**2, y**2, 0)
        assert_same(x @ x.T, y @ y.T, 0)
    assert_same(x.sum(0), y.sum(0), 0)


def test_sharing_memory_through_dlpack():
    x = chainrule.tensor([[1.0, 2.0], [3.0, 4.0]])
    shared = torch.from_dlpack(x)
    x[0, 0] = 9.0
    assert shared.tolist() == [[9, 2], [3, 4]]
    assert torch.from_dlpack(x.T).tolist() == [[9, 3], [2, 4]]
    for dtype in (bool, np.uint8, np.int64, np.float16, np.float64):
        assert torch.from_dlpack(chainrule.zeros(2, dtype=dtype)).tolist() == [0, 0]
    back = chainrule.from_numpy(np.from_dlpack(shared))
    shared[1, 1] = -1
    assert back.tolist() == x.tolist() == [[9, 2], [3, -1]]
    with pytest.raises(BufferError, match="detach"):
        torch.from_dlpack(chainrule.ones(1, requires_grad=True))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda: chainrule.arange(5), lambda: torch.arange(5)),
        (lambda: chainrule.arange(1, 2, 0.3), lambda: torch.arange(1, 2, 0.3)),
        (lambda: chainrule.arange(1000, 1100, 0.1), lambda: torch.arange(1000, 1100, 0.1)),
        (lambda: chainrule.arange(5, 0, -2), lambda: torch.arange(5, 0, -2)),
        (lambda: chainrule.arange(3, 3), lambda: torch.arange(3, 3)),
        (lambda: chainrule.arange(3, 3, -0.5), lambda: torch.arange(3, 3, -0.5)),
        (lambda: chainrule.linspace(-1, 1, 7), lambda: torch.linspace(-1, 1, 7)),
        (lambda: chainrule.eye(2, 3), lambda: torch.eye(2, 3)),
        (lambda: chainrule.full((2,), 3), lambda: torch.full((2,), 3)),
        (lambda: chainrule.full((2,), 3.5), lambda: torch.full((2,), 3.5)),
        (lambda: chainrule.full((2,), True), lambda: torch.full((2,), True)),
        (lambda: chainrule.zeros(2, 0), lambda: torch.zeros(2, 0)),
        (lambda: chainrule.tensor([]), lambda: torch.tensor([])),
        (lambda: chainrule.tensor([1, 2.5]), lambda: torch.tensor([1, 2.5])),
        (lambda: chainrule.tensor([True]), lambda: torch.tensor([True])),
    ],
)
def test_creation(ours, theirs, assert_same):
    assert_same(ours(), theirs(), 1.2e-7)  # PyTorch's arange is a unit off in the last place here and there


def test_graphs_between_calls(assert_same):
    """Accumulation, retain_graph, gradients of results in between, inputs=, higher orders: the same calls, the same answers."""

    def run(library, tensor, grad):
        x, y = tensor([1.0, 2.0]), tensor([3.0, 5.0])
        h = x * y
        h.retain_grad()
        loss = (h * h).sum() + h.exp().sum() * 1e-3
        loss.backward(retain_graph=True)
        loss.backward(retain_graph=True)
        first = [x.grad, y.grad, h.grad]
        between = grad(loss, [h, x], retain_graph=True)
        once = grad(loss, x, create_graph=True)[0]
        twice = grad(once.sum(), [x, y], create_graph=True)
        third = grad(twice[0].sum(), y)
        z = tensor([2.0, 7.0])
        m = z.exp()
        (m * x).sum().backward(inputs=[z, m])
        return [loss, *first, *between, once, *twice, *third, z.grad, m.grad, x.grad]

    ours = run(chainrule, lambda v: chainrule.tensor(np.array(v), requires_grad=True), chainrule.grad)
    theirs = run(torch, lambda v: torch.tensor(v, dtype=torch.float64, requires_grad=True), torch.autograd.grad)
    for position, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        assert_same(a.detach(), b, 1e-13, str(position))


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
def test_nearest_neighbors_at_all_sizes(mode):
    """Where an output element starts at the edge of an input element, the rounding decides which one is taken."""
    for old_size in (3, 5, 10, 14, 28, 32, 33, 100):
        x = np.arange(old_size, dtype=np.float32).reshape(1, 1, old_size)
        sizes = [{"size": n} for n in range(1, 130) if n % old_size]
        factors = [{"scale_factor": f} for f in (0.7, 1.3, 1.7, 3.3, 4.7)]
        for options in sizes + factors:
            found = F.interpolate(chainrule.tensor(x), mode=mode, **options)
            expected = torch.nn.functional.interpolate(torch.tensor(x), mode=mode, **options)
            np.testing.assert_array_equal(found.numpy(), expected.numpy(), err_msg=f"{old_size}: {options}")


@pytest.mark.parametrize("count", [20, 16_384], ids=["small", "large"])
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize(
    ("name", "options", "dtype", "highest"),
    [
        ("hardswish", {}, np.float16, 6e4),
        ("hardswish", {}, np.float32, 3e38),
        ("softplus", {}, np.float16, 6e4),
        ("softplus", {"threshold": 200.0}, np.float32, 150),
        ("gelu", {"approximate": "tanh"}, np.float16, 6e4),
        ("gelu", {"approximate": "tanh"}, np.float32, 3e38),
        ("mish", {}, np.float16, 6e4),
        ("silu", {}, np.float16, 6e4),
        ("hardsigmoid", {}, np.float16, 6e4),
    ],
)
def test_activations_up_to_the_largest_number(name, options, dtype, highest, count, compiled):
    """No intermediate result overflows: values and derivatives are those that PyTorch computes in float64."""
    positive = np.geomspace(0.01, highest, count // 2)
    numbers = np.concatenate([-positive, positive]).astype(dtype)
    run = getattr(F, name)
    x = chainrule.tensor(numbers, requires_grad=True)
    upstream = chainrule.ones(count, dtype=dtype)

    def step():
        y = run(x, **options)
        y.backward(upstream)
        return y

    y = (chainrule.jit(step) if compiled else step)()
    t = torch.tensor(numbers.astype(np.float64), requires_grad=True)
    expected = getattr(torch.nn.functional, name)(t, **options)
    expected.sum().backward()
    tolerance = {"rtol": 2e-3, "atol": 3e-3} if dtype == np.float16 else {"rtol": 1e-5, "atol": 1e-6}
    np.testing.assert_allclose(y.detach().numpy(), expected.detach().numpy(), **tolerance)
    np.testing.assert_allclose(x.grad.numpy(), t.grad.numpy(), **tolerance)


@pytest.mark.parametrize("reduce", ["amax", "amin"])
def test_more_equal_numbers_than_float16_counts_share_the_gradient(reduce):
    count = 3_000
    x = chainrule.ones(1, dtype=np.float16).requires_grad_()
    source = chainrule.ones(count, dtype=np.float16).requires_grad_()
    out = ops.scatter_reduce(x, 0, chainrule.zeros(count, dtype=np.int64), source, reduce)
    out.backward(chainrule.full((1,), 100.0, dtype=np.float16))
    for leaf in (x, source):
        np.testing.assert_allclose(leaf.grad.numpy(), np.full(leaf.shape, 100 / (count + 1)), rtol=1e-3)


@pytest.mark.parametrize("shape", [(4, 8), (300, 260)], ids=str)
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_rms_norm_of_small_numbers_in_float16(shape, compiled):
    x = (1e-3 * np.random.default_rng(2).standard_normal(shape)).astype(np.float16)
    run = chainrule.jit(lambda x: F.rms_norm(x, shape[-1:])) if compiled else lambda x: F.rms_norm(x, shape[-1:])
    expected = torch.nn.functional.rms_norm(torch.tensor(x), shape[-1:])
    np.testing.assert_allclose(run(chainrule.tensor(x)).numpy(), expected.numpy(), rtol=2e-3, atol=1e-3)
