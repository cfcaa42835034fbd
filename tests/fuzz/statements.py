"""The table of statements: how each is generated, with its text for chainrule and, if different, for PyTorch.

To add a statement, write a function that picks variables from the draft and adds a line. `@setup` statements run before
the function is defined, `@body` statements in the function, and `@between` statements between calls; the number is a
weight. A statement that can trigger a bug in `KNOWN` calls `skip_if_excluded` first.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .draft import (
    Draft,
    UnfitError,
    booleans,
    dims,
    filled,
    floats,
    integers,
    into,
    numbers,
    recorded,
    shaped,
    wherever,
)  # fmt: skip
from .program import Variable

if TYPE_CHECKING:
    from collections.abc import Callable

    Statement = Callable[[Draft], None]

SETUP: list[Statement] = []
BODY: list[Statement] = []
BETWEEN: list[Statement] = []


def table(entries: list[Statement]) -> Callable[[int], Callable[[Statement], Statement]]:
    """Decorator that adds a statement to a table with a weight."""

    def times(count: int) -> Callable[[Statement], Statement]:
        def add(statement: Statement) -> Statement:
            entries.extend([statement] * count)
            return statement

        return add

    return times


setup, body, between = table(SETUP), table(BODY), table(BETWEEN)

# Setup


def new_array(d: Draft, shape: tuple[int, ...]) -> str:
    """An expression for a new array."""
    return f"numbers({', '.join(map(str, (d.seed(), *shape)))})"


@setup(4)
def buffer(d: Draft) -> None:
    """A tensor that does not require gradients."""
    shape = d.shape()
    d.define(f"cr.from_numpy({new_array(d, shape)})", shape, prefix="buf")


@setup(3)
def leaf(d: Draft) -> None:
    """A tensor that requires gradients."""
    shape = d.shape()
    array = new_array(d, shape)
    text = d.choose([f"cr.tensor({array}, requires_grad=True)", f"nn.Parameter(cr.from_numpy({array}))"])
    d.define(text, shape, prefix="w", history="leaf")


@setup(1)
def whole_numbers(d: Draft) -> None:
    """Indices."""
    shape = d.choose([(3,), (), (d.rows,), (2, 2), (0,)])
    d.define(f"cr.from_numpy(np.asarray(np.arange({math.prod(shape)}).reshape({shape}) % 3))", shape, "i", prefix="idx")


@setup(1)
def mask(d: Draft) -> None:
    """A mask."""
    shape = d.shape()
    d.define(f"cr.from_numpy(np.asarray({new_array(d, shape)} > 0))", shape, "b", prefix="mask")


STRIDES = {
    "transposed": (lambda s: s[::-1], "{}.T", True, ""),
    "sliced": (lambda s: (*s[:-1], 2 * s[-1]), "{}[..., ::2]", True, ""),
    "reversed": (lambda s: s, "{}[::-1]", False, ""),
    "broadcast": (lambda s: s[1:], "np.broadcast_to({}, {shape})", False, "read-only"),
}
"""Non-contiguous arrays: the shape of the base for a shape, the expression, whether PyTorch supports it, and how the
memory is unusual."""


def strided_array(d: Draft, shape: tuple[int, ...]) -> tuple[str, str | None, str]:
    """Choose a non-contiguous array: its text, that for PyTorch (None if unsupported), and how its memory is unusual."""
    base_shape, text, is_supported_by_torch, odd = STRIDES[d.choose(list(STRIDES))]
    return text.format(new_array(d, base_shape(shape)), shape=shape), "" if is_supported_by_torch else None, odd


@setup(1)
def strided(d: Draft) -> None:
    """A tensor on a non-contiguous array."""
    shape = d.choose([(d.rows, d.columns), (d.columns,)])
    text, torch, odd = strided_array(d, shape)
    d.define(f"cr.from_numpy({text})", shape, prefix="buf", odd=odd, torch=torch)


@setup(1)
def read_only(d: Draft) -> None:
    """A tensor or a leaf on read-only memory."""
    shape = d.shape()
    array = d.name("frozen")
    d.line(f"{array} = {new_array(d, shape)}")
    d.line(f"{array}.flags.writeable = False")
    is_leaf = d.chance(3)
    d.define(f"cr.from_numpy({array})", shape, prefix="buf", odd="read-only", history="leaf" if is_leaf else "")
    if is_leaf:
        d.line(f"{list(d.scope)[-1]}.requires_grad_()")


@setup(1)
def packed(d: Draft) -> None:
    """A field of packed records, whose stride is not a multiple of the element size."""
    size = d.rows
    array = d.name("records")
    d.line(f'{array} = np.zeros({size}, [("tag", "u1"), ("value", numbers(0).dtype)])')
    d.line(f'{array}["value"] = {new_array(d, (size,))}')
    d.define(f'cr.from_numpy({array}["value"])', (size,), prefix="buf", odd="packed")


@setup(2)
def alias(d: Draft) -> None:
    """A second tensor on the same memory."""
    a = d.pick(floats, wherever("outside"))
    if a.history or d.chance(3):
        d.define(f"{a}.detach()", a.shape, view=a, prefix="buf")
    else:
        make_view(d, a, "buf")


MODULES = {
    "Linear": ("nn.Linear({k}, {k})", ("in_features",)),
    "two layers": ("nn.Sequential(nn.Linear({k}, 3), nn.Tanh(), nn.Linear(3, {k}))", ("parts",)),
    "Block": ("Block(nn.Linear({k}, {k}))", ("block",)),
    "LayerNorm": ("nn.LayerNorm({k})", ("eps",)),
    "RMSNorm": ("nn.RMSNorm({k})", ("eps",)),
    "BatchNorm1d": ("nn.BatchNorm1d({k})", ("batch", "eps")),
    "batch norm and Linear": ("nn.Sequential(nn.BatchNorm1d({k}), nn.Linear({k}, {k}))", ("batch", "parts")),
    "Dropout": ("nn.Sequential(nn.Linear({k}, {k}), nn.Dropout(0.5))", ("parts", "dropout")),
    "Block of Dropout": ("Block(nn.Dropout(0.25))", ("block", "bare")),
    "Embedding": ("nn.Embedding(3, {k})", ("table",)),
    "GroupNorm": ("nn.GroupNorm(1, {k})", ("eps", "two")),
    "convolution": (
        "nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2, 1))",
        ("image",),
    ),
    "transformer": ("nn.TransformerEncoderLayer({k}, 1, 3, 0.0, batch_first=True)", ("sequence",)),
}


@setup(4)
def module(d: Draft) -> None:
    """A module with the same weights in all libraries."""
    net(d)


def net(d: Draft) -> Variable:
    """A module that keeps the shape (..., `columns`)."""
    if not d.columns:
        raise UnfitError
    text, details = MODULES[d.choose(list(MODULES))]
    return d.define(
        f"filled({text.format(k=d.columns)}, {100 * d.seed()})", kind="Module", prefix="net", details=details
    )


@setup(1)
def target(d: Draft) -> None:
    """A copy of a module, like a target network."""
    a = d.pick(modules)
    d.define(f"copy.deepcopy({a})", kind="Module", prefix="net", details=(*a.details, f"copy of {a}"))


OPTIMIZERS = {
    "SGD": ("SGD", "lr=0.1"),
    "momentum": ("SGD", "lr=0.1, momentum=0.9"),
    "nesterov": ("SGD", "lr=0.1, momentum=0.5, nesterov=True, weight_decay=0.1"),
    "maximize": ("SGD", "lr=0.1, maximize=True"),
    "Adam": ("Adam", "lr=0.1, eps=0.01"),
    "amsgrad": ("Adam", "lr=0.1, eps=0.01, amsgrad=True, weight_decay=0.1"),
    "AdamW": ("AdamW", "lr=0.1, eps=0.01"),
    "RMSprop": ("RMSprop", "lr=0.1, eps=0.01"),
    "centered": ("RMSprop", "lr=0.1, eps=0.1, momentum=0.5, centered=True"),
    "Adagrad": ("Adagrad", "lr=0.1, eps=0.01, lr_decay=0.1"),
}
"""Classes and arguments. With a small eps, a gradient that is a rounding error, 1e-17, would cause a full step."""


@setup(4)
def optimizer(d: Draft) -> None:
    """An optimizer of a module's parameters or of leaves."""
    owned = [v for v in d.scope.values() if v.history == "leaf" or (modules(v) and "bare" not in v.details)]
    if not owned:
        raise UnfitError
    first = d.choose(owned)
    text = f"{first}.parameters()" if modules(first) else f"[{first}]"
    more = [v for v in owned if v.history == "leaf" and v != first]
    if more and not modules(first) and d.chance(2):
        second = d.choose(more)
        text = f'[{{"params": [{first}]}}, {{"params": [{second}], "lr": 0.5}}]'
    name, options = OPTIMIZERS[d.choose(list(OPTIMIZERS))]
    d.define(f"optim.{name}({text}, {options})", kind="Optimizer", prefix="opt", details=(name, first.name))


@setup(1)
def schedule(d: Draft) -> None:
    """A learning-rate scheduler."""
    a = d.pick(optimizers)
    text = d.choose(["ExponentialLR({}, 0.5)", "StepLR({}, 2, 0.1)", "LambdaLR({}, lambda t: 1 / (1 + t))"])
    d.define(f"optim.lr_scheduler.{text.format(a)}", kind="Schedule", prefix="sched")


@setup(1)
def generator(d: Draft) -> None:
    """A generator of random numbers."""
    d.define(f"np.random.default_rng({d.seed()})", kind="Generator", prefix="rng")


def modules(v: Variable) -> bool:
    """A module."""
    return v.kind == "Module"


def optimizers(v: Variable) -> bool:
    """An optimizer."""
    return v.kind == "Optimizer"


def detail(name: str) -> Callable[[Variable], bool]:
    """Has this detail."""
    return lambda v: name in v.details


# Computations in the function


UNARY = [
    "{}.tanh()", "{}.relu()", "{}.sigmoid()", "{}.square()", "{}.abs()", "{}.sin()", "-{}", "{}.exp()", "{}.erf()",
    "F.gelu({})", "F.softplus({})", "F.silu({})", "F.leaky_relu({}, 0.1)", "F.elu({})", "{}.clamp(-0.5, 0.5)",
    "({}.square() + 1).sqrt()", "({}.abs() + 1).log()",
]  # fmt: skip


@body(16)
def unary(d: Draft) -> None:
    """An elementwise function."""
    a = d.pick(floats)
    d.define(d.choose(UNARY).format(a), a.shape, of=[a])


CONSTANT = ["{} * 2", "{} + 0.5", "1 - {}", "{} / 3", "{} ** 2", "2 / ({}.square() + 1)", "{} ** 3", "{} + 1", "{} - 0"]
ZEROS = ["{} / 0.0", "{} / -0.0", "({}.abs() + 1) / 0.0", "({}.abs() + 1) / -0.0"]


@body(12)
def with_constant(d: Draft) -> None:
    """Arithmetic with a number."""
    a = d.pick(floats)
    d.define(d.choose(CONSTANT).format(a), a.shape, of=[a])


@body(4)
def zero(d: Draft) -> None:
    """Numbers that are equal and give different results."""
    a = d.pick(floats)
    d.define(d.choose(ZEROS).format(a), a.shape, history=unbounded(a))


def unbounded(a: Variable) -> str:
    """The history of a result that may not be finite: "spent", for the libraries differ in gradients of 0 · infinity."""
    return "spent" if a.history else ""


BINARY = ["{} * {}", "{} + {}", "{} - {}", "{} / ({}.square() + 1)", "cr.maximum({}, {})", "cr.minimum({}, {})"]


@body(20)
def binary(d: Draft) -> None:
    """Arithmetic of two tensors, one of which may be broadcast."""
    a = d.pick(floats)
    b = d.pick(floats, into(a.shape))
    pair = (a, b) if d.chance(2) else (b, a)
    d.define(d.choose(BINARY).format(*pair), a.shape, of=[a, b])


NUMBER = [
    ("{a} * {n}", "f"), ("{n} - {a}", "f"), ("{a} / {n}", "f"), ("cr.full((2,), {n})", "?"), ("{a} + {n}", "f"),
    ("({a}.abs() + 1) / {n}", "f"), ("1 / ({a} * 0 + {n})", "f"), ("{a}.masked_fill({a} > 0, {n})", "f"), ("{a} * 2 if {n} else {a} + 1", "f"), ("cr.where({a} > {n}, {a}, 0.5)", "f"),
]  # fmt: skip


@body(40)
def with_number(d: Draft) -> None:
    """Arithmetic with a number that is an argument."""
    a, n = d.pick(floats), d.pick(numbers)
    text, kind = d.choose(NUMBER)
    history = "" if n.details[0] in ("", "one") else unbounded(a)
    d.define(text.format(a=a, n=n), a.shape if kind == "f" else (2,), kind, of=[a], history=history)


REDUCTIONS = ["sum", "mean", "amax", "amin", "var", "logsumexp", "prod", "std", "norm"]


@body(12)
def reduction(d: Draft) -> None:
    """A reduction over all dimensions or over one."""
    a = d.pick(floats)
    name = d.choose(REDUCTIONS)
    if 0 in a.shape and name not in ("sum", "mean", "prod"):
        raise UnfitError
    if not a.shape or d.chance(3):
        if name in ("amax", "amin", "logsumexp"):
            name = "mean"
        d.define(f"{a}.{name}()", of=[a])
        return
    dim = d.choose(range(len(a.shape)))
    keep = d.chance(2)
    shape = tuple(1 if i == dim else size for i, size in enumerate(a.shape) if keep or i != dim)
    text = f"dim={dim}, keepdim=True" if keep else f"{dim}"
    d.define(f"{a}.{name}({text})" if name != "norm" else f"{a}.norm(2, {text})", shape, of=[a])


@body(4)
def largest(d: Draft) -> None:
    """The largest or smallest elements along a dimension, or the indices of the largest."""
    a = d.pick(floats, dims(1, 2, 3), filled)
    dim = d.choose(range(len(a.shape)))
    shape = a.shape[:dim] + a.shape[dim + 1 :]
    if d.chance(3):
        d.define(f"{a}.argmax({dim})", shape, "j", of=[a])
    else:
        d.define(f"{a}.{d.choose(['max', 'min'])}({dim})[0]", shape, of=[a])


ALONG = [
    "{0}.softmax({d})", "{0} - {0}.mean({d}, keepdim=True)", "{0}.log_softmax({d})",
    "({0} + 1) / (({0} + 1 - ({0} + 1).mean({d}, keepdim=True)).square().mean({d}, keepdim=True) + 1)", "{0}.cumsum({d})",
    "F.max_pool2d({0}.tanh().reshape(len({0}), 1, 1, -1), (1, 3), 1, (0, 1)).reshape({0}.shape)",
    "F.conv2d({0}.reshape(len({0}), 1, 1, -1), cr.ones((2, 1, 1, 3), dtype=numbers(0).dtype), padding=(0, 1))"
    ".sin().sum(1).reshape({0}.shape)", "({0} - {0}.amax({d}, keepdim=True)).exp()",
]  # fmt: skip


@body(8)
def along(d: Draft) -> None:
    """A function along a dimension that keeps the shape."""
    a = d.pick(floats, dims(1, 2, 3), filled)
    text = d.choose(ALONG)
    d.define(text.format(a, d=d.choose([-1, 0])), a.shape, of=[a])


@body(16)
def product(d: Draft) -> None:
    """A matrix product."""
    a = d.pick(floats, dims(1, 2), filled)
    b = d.pick(floats, dims(1, 2), filled)
    if len(b.shape) == 2 and d.chance(2) and b.shape[1] == a.shape[-1]:
        d.define(f"{a} @ {b}.T", (*a.shape[:-1], b.shape[0]), of=[a, b])
    elif b.shape[0] == a.shape[-1]:
        d.define(f"{a} @ {b}", (*a.shape[:-1], *b.shape[1:]), of=[a, b])
    elif len(b.shape) == 2 and b.shape[1] == a.shape[-1]:
        d.define(f"F.linear({a}, {b})", (*a.shape[:-1], b.shape[0]), of=[a, b])
    else:
        raise UnfitError


@body(16)
def view(d: Draft) -> None:
    """A view of a tensor."""
    make_view(d, d.pick(floats), "t")


def make_view(d: Draft, a: Variable, prefix: str) -> Variable:
    """Add a view of a tensor."""
    text, shape = d.choose(views(a.shape))
    return d.define(text.format(a), shape, of=[a], view=a, prefix=prefix)


def views(shape: tuple[int, ...]) -> list[tuple[str, tuple[int, ...]]]:
    """The expressions of views of a tensor of this shape, and the views' shapes."""
    size = math.prod(shape)
    forms: list[tuple[str, tuple[int, ...]]] = [("{}.unsqueeze(0)", (1, *shape)), ("{}[...]", shape)]
    if not shape:
        return forms
    first, *rest = shape
    forms += [("{}[1:]", (max(0, first - 1), *rest)), ("{}[::2]", ((first + 1) // 2, *rest)), ("{}[None]", (1, *shape))]
    forms.append(("{}[:-1]", (max(0, first - 1), *rest)))
    if first:
        forms += [("{}[0]", tuple(rest)), ("{}[-1]", tuple(rest))]
    if first > 1:
        half = (first + 1) // 2
        forms += [("{}.chunk(2)[1]", (first - half, *rest)), ("{}.split(1)[1]", (1, *rest))]
    if size:
        forms += [("{}.reshape(-1)", (size,)), ("{}.flatten()", (size,))]
    if len(shape) == 2:
        forms += [
            ("{}.T", shape[::-1]),
            ("{}[:, 1:]", (first, max(0, shape[1] - 1))),
            ("{}.transpose(0, 1)", shape[::-1]),
        ]
        if shape[1]:
            forms += [("{}[:, 0]", (first,)), ("{}.unbind(1)[0]", (first,))]
        if size:
            forms.append(("{}.diagonal()", (min(shape),)))
    if first == 1:
        forms.append(("{}.squeeze(0)", tuple(rest)))
    if len(shape) == 1:
        forms.append(("{}.unsqueeze(1)", (first, 1)))
    return forms


@body(4)
def repeated(d: Draft) -> None:
    """An expanded or a repeated tensor."""
    a = d.pick(floats, dims(1, 2))
    text, shape = d.choose(
        [
            ("{}.expand(2, *{}.shape)", (2, *a.shape)),
            ("{}.repeat(2, *[1] * {}.ndim)", (2, *a.shape)),
            ("{}.repeat(*[1] * {}.ndim)", a.shape),
        ]
    )
    d.define(text.format(a, a), shape, of=[a], odd="read-only" if "expand" in text else "")


@body(4)
def flipped(d: Draft) -> None:
    """A reordering."""
    a = d.pick(floats, dims(1, 2), filled)
    d.define(f"{a}.{d.choose(['flip(0)', 'roll(1, 0)', 'roll(0, 0)'])}", a.shape, of=[a])


@body(4)
def joined(d: Draft) -> None:
    """A concatenation or a stack."""
    a = d.pick(floats, dims(1, 2))
    b = d.pick(floats, shaped(a.shape))
    if d.chance(2):
        d.define(f"cr.stack([{a}, {b}])", (2, *a.shape), of=[a, b])
    else:
        d.define(f"cr.cat([{a}, {b}])", (2 * a.shape[0], *a.shape[1:]), of=[a, b])


@body(8)
def copied(d: Draft) -> None:
    """A copy or a detached tensor."""
    a = d.pick(floats)
    if d.chance(2):
        d.define(f"{a}.detach()", a.shape, view=a)
    else:
        d.define(f"{a}.clone()", a.shape, of=[a])


@body(8)
def created(d: Draft) -> None:
    """A tensor created in the function."""
    shape = d.shape()
    text = d.choose(
        [
            "cr.zeros({shape}, dtype={dtype})",
            "cr.ones({shape}, dtype={dtype})",
            "cr.tensor({array})",
            "cr.from_numpy({array})",
        ]
    )
    if "array" in text:
        if "from_numpy" in text:
            d.skip_if_excluded("C9")
        text = text.format(array=new_array(d, shape))
    else:
        text = text.format(shape=shape, dtype="numbers(0).dtype")
    d.define(text, shape)


@body(4)
def drawn(d: Draft) -> None:
    """Random numbers."""
    generators = [v for v in d.scope.values() if v.kind == "Generator"]
    option = f", generator={d.choose(generators)}" if generators and d.chance(2) else ""
    shape = d.shape()
    d.define(f"cr.{d.choose(['randn', 'rand'])}(*{shape}{option})", shape, "f4")


@body(8)
def compared(d: Draft) -> None:
    """A mask."""
    a = d.pick(floats)
    b = d.pick(floats, into(a.shape))
    d.define(d.choose([f"{a} > 0", f"{a} < {b}", f"{a} == {b}", f"~({a} > {b})"]), a.shape, "b")


@body(8)
def masked(d: Draft) -> None:
    """A function of a mask and a tensor, or a choice between two tensors by a mask."""
    m = d.pick(booleans)
    a = d.pick(floats, into(m.shape))
    if a.shape == m.shape and d.chance(3):
        text = d.choose(["{a}.masked_fill({m}, 0.5)", "{a} * {m}", "{a}[{m}].sum()"])
        d.define(text.format(a=a, m=m), () if "sum" in text else m.shape, of=[a])
        return
    b = d.pick(floats, into(m.shape))
    d.define(f"cr.where({m}, {a}, {b})", m.shape, of=[a, b])


@body(8)
def picked(d: Draft) -> None:
    """Rows by their indices, which are 0 to 2."""
    i = d.pick(integers)
    a = d.pick(floats, dims(1, 2), lambda v: v.shape[0] >= 3)
    forms = [(f"{a}[{i}]", (*i.shape, *a.shape[1:]))]
    if len(a.shape) == 2:
        forms.append((f"F.embedding({i}, {a})", (*i.shape, *a.shape[1:])))
    if len(i.shape) == 1:
        forms.append((f"{a}.index_select(0, {i})", (*i.shape, *a.shape[1:])))
        if len(a.shape) == 1:
            forms.append((f"{a}.gather(0, {i})", i.shape))
    text, shape = d.choose(forms)
    d.define(text, shape, of=[a])


@body(12)
def called(d: Draft) -> None:
    """A call of a module with an input that fits."""
    a = d.pick(modules)
    if "table" in a.details:
        i = d.pick(integers)
        d.define(f"{a}({i})", (*i.shape, d.columns), of=[_learned(a)])
        return
    if "image" in a.details:
        x = d.pick(floats, dims(3), lambda v: v.shape[0] == 2 and min(v.shape) > 1)
        d.define(
            f"{a}(cr.stack([{x}, {x} * 2, {x} - 1, {x}]))[1]", (2, x.shape[1] - 1, x.shape[2] - 1), of=[x, _learned(a)]
        )
        return
    if "sequence" in a.details:
        x = d.pick(floats, dims(3), filled, lambda v: v.shape[-1] == d.columns)
        d.define(f"{a}({x})", x.shape, of=[x, _learned(a)])
        return
    x = d.pick(floats, dims(1, 2), lambda v: v.shape[-1] == d.columns)
    rows = x.shape[0] if len(x.shape) == 2 else 0
    if ("batch" in a.details and rows < 2) or ("two" in a.details and not rows):
        raise UnfitError
    d.define(f"{a}({x})", x.shape, of=[x, _learned(a)])


def _learned(a: Variable) -> Variable:
    """A leaf that stands for a module's parameters in `of=`."""
    return Variable(f"{a}.parameters", history="leaf")


@body(4)
def function(d: Draft) -> None:
    """A layer as a function."""
    if d.chance(4):
        a = d.pick(floats, dims(3), filled)
        causal = ", is_causal=True" if d.chance(2) else ""
        d.define(f"F.scaled_dot_product_attention({a}, {a}, {a}{causal})", a.shape, of=[a])
        return
    a = d.pick(floats, dims(2), filled)
    k = a.shape[1]
    vectors = [v for v in d.scope.values() if floats(v) and v.shape == (k,) and v.home == "outside" and not v.history]
    forms = [f"F.layer_norm({a}, ({k},))", f"F.rms_norm({a}, ({k},))", f"F.dropout({a}, 0.5, True)"]
    if len(vectors) > 1 and a.shape[0] > 1 and not any(v.odd or v.root for v in vectors[:2]):
        forms.append(f"F.batch_norm({a}, {vectors[0]}, {vectors[1]}.abs() + 1, None, None, True, 0.25)")
        forms.append(f"F.batch_norm({a}, {vectors[0]}, {vectors[1]}.abs() + 1, None, None, False)")
    d.define(d.choose(forms), a.shape, of=[a])


@body(8)
def loss(d: Draft) -> None:
    """A loss."""
    a = d.pick(floats, filled, recorded)
    b = d.pick(floats, shaped(a.shape))
    i = [v for v in d.scope.values() if integers(v) and len(a.shape) == 2 and v.shape == a.shape[:1] and a.shape[1] > 2]
    if i and d.chance(2):
        d.define(f"F.cross_entropy({a}, {d.choose(i)})", of=[a])
    else:
        d.define(f"F.{d.choose(['mse_loss', 'smooth_l1_loss', 'l1_loss'])}({a}, {b})", of=[a, b])


@body(20)
def backward(d: Draft) -> None:
    """Compute gradients of a tensor or of a function of it."""
    if d.quiet:
        raise UnfitError
    a = d.pick(floats, filled, lambda v: v.history == "result")
    d.line(
        f"{a}.backward()" if not a.shape else f"{a}.{d.choose(['square().mean()', 'sum()', 'sin().sum()'])}.backward()"
    )
    spent(d)


def spent(d: Draft) -> None:
    """Mark graphs as freed after `backward()`."""
    for v in list(d.scope.values()):
        if v.history == "result":
            d.update(v, history="spent")


@body(4)
def gradient(d: Draft) -> None:
    """A gradient as a tensor that can be differentiated again."""
    if d.quiet:
        raise UnfitError
    d.skip_if_excluded("C3")
    a = d.pick(floats, filled, lambda v: v.history == "result")
    w = d.pick(floats, lambda v: v.history == "leaf")
    d.define(f"cr.grad({a}.square().sum(), [{w}], create_graph=True, allow_unused=True)[0]", w.shape, "?")


@body(4)
def gradient_used(d: Draft) -> None:
    """Read a gradient."""
    w = d.pick(floats, lambda v: v.history == "leaf", wherever("outside"))
    d.define(f"({w}.detach() if {w}.grad is None else {w}.grad) * 2", w.shape)


@body(4)
def clipped(d: Draft) -> None:
    """Clip gradients."""
    a = d.pick(modules)
    text = f"nn.utils.{d.choose(['clip_grad_norm_', 'clip_grad_value_'])}({a}.parameters(), 0.5)"
    # PyTorch rejects an empty list
    d.line(text, f"any(p.grad is not None for p in {a}.parameters()) and {text}")


@body(20)
def stepped(d: Draft) -> None:
    """An optimizer's step."""
    d.line(f"{d.pick(optimizers)}.step()")


@body(16)
def trained(d: Draft) -> None:
    """A training step: a module's output, a loss, its gradients, an optimizer's step."""
    if d.quiet:
        raise UnfitError
    called(d)
    out = list(d.scope.values())[-1]
    if not filled(out) or out.history == "spent":
        raise UnfitError
    target = d.pick(floats, into(out.shape), lambda v: v.history != "spent")
    loss = d.define(f"F.mse_loss({out}, {target} + 0 * {out}.detach())", of=[out, target])
    d.line(f"{loss}.backward()")
    spent(d)
    stepped(d)


@body(4)
def averaged(d: Draft) -> None:
    """Move a module's parameters towards another's (EMA)."""
    a = d.pick(modules, lambda v: any(x.startswith("copy of") for x in v.details))
    other = next(x for x in a.details if x.startswith("copy of")).removeprefix("copy of ")
    change = d.choose(["p.copy_(q)", "p.mul_(0.5).add_(q, alpha=0.5)"])
    d.line(f"for p, q in zip({a}.parameters(), {other}.parameters()):\n    {change}", no_grad=True)


@body(1)
def forgotten(d: Draft) -> None:
    """Reset gradients within the function."""
    a = d.pick(lambda v: modules(v) or optimizers(v))
    d.line(f"{a}.zero_grad()")


# In-place changes in the function

METHODS = ["add_({b})", "mul_({b})", "sub_({b})", "add_(1)", "div_(2)", "add_({b}, alpha=0.5)"]
COPIES = ["copy_({b})", "zero_()", "fill_(2)", "copy_({b})"]
PARTS = [
    "{a}[0].{m}",
    "{a}[1:].{m}",
    "{a}.T.{m}",
    "{a}.reshape(-1).{m}",
    "{a}.unsqueeze(0).{m}",
    "for row in {a}:\n    row.{m}",
]


def changeable(v: Variable) -> bool:
    """May be changed in place."""
    return v.kind == "f" and v.home != "argument"


def write(d: Draft, a: Variable, text: str, value: Variable | None = None) -> None:
    """Add an in-place change.

    Args:
        d: the draft.
        a: the tensor that is changed.
        text: the statement, with {b} for the value.
        value: the tensor that {b} stands for, if any.
    """
    values = [] if value is None else [value]
    no_grad = d.quiet or a.history == "leaf" or d.chance(2)
    recorded_change = not no_grad and any(v.history for v in (a, *values))
    if recorded_change and a.home == "outside" and not a.root:
        no_grad, recorded_change = True, False
    if recorded_change:
        d.update(a, history="result")
    # PyTorch does not check for overlapping reads and writes
    d.line(text.format(b=value), text.format(b=f"{value}.clone()"), no_grad)


@body(20)
def change(d: Draft) -> None:
    """Change a tensor in place."""
    a = d.pick(changeable)
    text = d.choose(METHODS)
    write(d, a, f"{a}.{text}", d.pick(floats, into(a.shape)) if "{b}" in text else None)


@body(12)
def operator_change(d: Draft) -> None:
    """`+=` on a local tensor."""
    a = d.pick(floats, wherever("local"))
    write(d, a, f"{a} {d.choose(['+=', '*=', '-='])} {{b}}", d.pick(floats, into(a.shape)))


@body(20)
def copy_into(d: Draft) -> None:
    """Copy values into a tensor."""
    a = d.pick(changeable)
    text = d.choose(COPIES)
    write(d, a, f"{a}.{text}", d.pick(floats, into(a.shape)) if "{b}" in text else None)


@body(16)
def set_part(d: Draft) -> None:
    """Assign to some elements."""
    a = d.pick(changeable, dims(1, 2))
    n, *rest = a.shape
    forms = [("...", a.shape), ("1:", (max(0, n - 1), *rest)), ("::2", ((n + 1) // 2, *rest))]
    if n:
        forms += [("0", tuple(rest)), ("-1", tuple(rest))]
    if n >= 3:
        forms += [(i.name, (*i.shape, *rest)) for i in d.scope.values() if integers(i) and math.prod(i.shape) < 4]
    index, shape = d.choose(forms)
    if d.chance(3):
        write(d, a, f"{a}[{index}] = 1")
    else:
        write(d, a, f"{a}[{index}] = {{b}}", d.pick(floats, into(shape)))


@body(20)
def change_part(d: Draft) -> None:
    """Change a view of a tensor in place, which changes the tensor."""
    a = d.pick(changeable, dims(2), filled)
    method = d.choose(["add_(1)", "mul_(2)", "zero_()", "add_({b})", "copy_({b})"])
    text = d.choose(PARTS).format(a=a, m=method, b="{b}")
    write(d, a, text, d.pick(floats, lambda v: v.shape in ((), (1,))) if "{b}" in text else None)


@body(1)
def change_masked(d: Draft) -> None:
    """Assign to masked elements."""
    m = d.pick(booleans, dims(1, 2))
    a = d.pick(changeable, shaped(m.shape))
    write(d, a, f"{a}[{m}] = 0")


@body(1)
def change_argument(d: Draft) -> None:
    """Change an argument in place, which a compiled function refuses."""
    a = d.pick(floats, wherever("argument"))
    d.line(f"{a}.{d.choose(['add_(1)', 'zero_()'])}", no_grad=True)


# Python side effects


@body(1)
def seeded(d: Draft) -> None:
    """Reseed the default generator."""
    d.skip_if_excluded("C6")
    d.line(f"cr.manual_seed({d.seed()})")


@body(8)
def rate(d: Draft) -> None:
    """Set the learning rate in the function."""
    d.skip_if_excluded("C6")
    a = d.pick(optimizers)
    values = ["0.5", *[f"abs({v})" for v in d.scope.values() if numbers(v)] * 3]
    d.line(f'{a}.param_groups[0]["lr"] = {d.choose(values)}')


@body(1)
def regrouped(d: Draft) -> None:
    """Add a parameter group in the function."""
    d.skip_if_excluded("C6")
    group_added(d)


@body(1)
def scheduled(d: Draft) -> None:
    """Step a schedule in the function, which a compiled function refuses."""
    d.line(f"{d.pick(lambda v: v.kind == 'Schedule')}.step()")


@body(4)
def mode(d: Draft) -> None:
    """Set a module's mode in the function."""
    d.skip_if_excluded("C6")
    d.line(f"{d.pick(modules)}.{d.choose(['train()', 'eval()'])}")


@body(1)
def frozen_inside(d: Draft) -> None:
    """Freeze a module's parameters, which a compiled function refuses."""
    d.skip_if_excluded("C3")
    freeze(d, d.pick(modules))


@body(1)
def looked(d: Draft) -> None:
    """Branch on a value, which a compiled function refuses."""
    a = d.pick(floats, dims(0))
    d.line(f"if {a} > 1e9:\n    pass")


# Between calls


@between(3)
def buffer_changed(d: Draft) -> None:
    """Change a tensor outside in place."""
    a = d.pick(changeable, wherever("outside"), lambda v: not v.odd)
    d.line(f"{a}.{d.choose(['add_(1)', 'mul_(2)', 'zero_()'])}", no_grad=True)


@between(2)
def buffer_replaced(d: Draft) -> None:
    """Replace a tensor outside."""
    a = d.pick(floats, wherever("outside"))
    if d.shared(a):  # the old tensor stays alive
        d.skip_if_excluded("C3")
    if a.history:
        d.skip_if_excluded("C3")
        d.line(f"{a} = cr.tensor({new_array(d, a.shape)}, requires_grad=True)")
    else:
        d.line(f"{a} = cr.from_numpy({new_array(d, a.shape)})")


@between(2)
def option_changed(d: Draft) -> None:
    """Set an option of a parameter group."""
    a = d.pick(optimizers)
    options = ['["lr"] = 0.25', '["weight_decay"] = 0.5', '["maximize"] = True']
    options += {"SGD": ['["momentum"] = 0.75'], "Adam": ['["betas"] = (0.5, 0.5)', '["eps"] = 0.5']}.get(
        a.details[0], []
    )
    d.line(f"{a}.param_groups[0]{d.choose(options)}")


@between(1)
def group_added(d: Draft) -> None:
    """Add a parameter group."""
    a = d.pick(optimizers)
    w = d.pick(floats, lambda v: v.history == "leaf" and v.name not in a.details)
    d.line(
        f'if not any({w} is p for group in {a}.param_groups for p in group["params"]):\n    {a}.add_param_group({{"params": [{w}]}})'
    )


@between(1)
def schedule_stepped(d: Draft) -> None:
    """Step a schedule."""
    d.line(f"{d.pick(lambda v: v.kind == 'Schedule')}.step()")


@between(2)
def mode_changed(d: Draft) -> None:
    """Set training or evaluation mode."""
    d.line(f"{d.pick(modules)}.{d.choose(['eval()', 'train()'])}")


@between(2)
def state_loaded(d: Draft) -> None:
    """Save the state of a module or an optimizer or, if it has been saved, restore it."""
    a = d.pick(lambda v: modules(v) or optimizers(v))
    name = f"saved_{a}"
    if name in d.scope:
        d.line(f"{a}.load_state_dict(copy.deepcopy({name}))")
    elif modules(a):
        d.line(f"{name} = {{name: value.clone() for name, value in {a}.state_dict().items()}}")
        d.scope[name] = Variable(name, kind="state")
    else:
        d.line(f"{name} = copy.deepcopy({a}.state_dict())")
        d.scope[name] = Variable(name, kind="state")


@between(1)
def frozen(d: Draft) -> None:
    """Freeze or unfreeze a leaf or a module's parameters."""
    a = d.pick(lambda v: modules(v) or (v.history == "leaf" and v.home == "outside"))
    freeze(d, a)


def freeze(d: Draft, a: Variable) -> None:
    """Freeze (which drops gradients in chainrule but not in PyTorch) or unfreeze."""
    if d.chance(2):
        d.line(f"{a}.requires_grad_(True)")
    elif modules(a):
        d.line(f"{a}.requires_grad_(False)", torch=f"{a}.requires_grad_(False).zero_grad()")
    else:
        d.line(f"{a}.requires_grad_(False)", torch=f"{a}.requires_grad_(False).grad = None")


@between(1)
def forgotten_outside(d: Draft) -> None:
    """Reset gradients."""
    d.line(f"{d.pick(lambda v: modules(v) or optimizers(v))}.zero_grad()")


@between(1)
def seeded_outside(d: Draft) -> None:
    """Reseed the default generator."""
    d.line(f"cr.manual_seed({d.seed()})")


@between(3)
def part_replaced(d: Draft) -> None:
    """Replace a submodule, a parameter or a flag of a module."""
    a = d.pick(modules)
    d.skip_if_excluded("C3")
    k = d.columns
    forms = []
    if "block" in a.details:
        forms += ["{a}.scale = 2.0", "{a}.twice = True", f"{{a}}.inner = filled(nn.Linear({k}, {k}), {100 * d.seed()})"]
    if "dropout" in a.details:
        forms.append("list({a}.children())[1].p = 0.75")
    if "parts" in a.details:
        forms.append("list({a}.children())[0].eval()")
    if "in_features" in a.details:
        forms += [f"{{a}}.weight = nn.Parameter(cr.from_numpy({new_array(d, (k, k))}))", "{a}.bias = None"]
    if "eps" in a.details and "parts" not in a.details:
        forms.append("{a}.eps = 0.5")
    if "batch" in a.details and "parts" not in a.details:
        forms += ["{a}.momentum = 0.5", f"{{a}}.running_mean = cr.from_numpy({new_array(d, (k,))})"]
    if not forms:
        raise UnfitError
    d.line(d.choose(forms).format(a=a))


@between(1)
def module_replaced(d: Draft) -> None:
    """Replace a Linear module by another one."""
    a = d.pick(modules, detail("in_features"))
    d.skip_if_excluded("C3")
    d.line(f"{a} = filled(nn.Linear({d.columns}, {d.columns}), {100 * d.seed()})")


@between(1)
def optimizer_replaced(d: Draft) -> None:
    """Replace an optimizer by SGD."""
    a = d.pick(optimizers)
    d.skip_if_excluded("C3")
    owner = d.scope[a.details[1]]
    text = f"{owner}.parameters()" if modules(owner) else f"[{owner}]"
    d.line(f"{a} = optim.SGD({text}, lr=0.5)")


@between(1)
def hooked(d: Draft) -> None:
    """Register a hook that changes a module's output."""
    a = d.pick(modules)
    d.line(f"{a}.register_forward_hook(lambda module, inputs, output: output * 2)")
