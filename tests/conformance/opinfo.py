"""PyTorch's own sample inputs for its operators, run through ours.

PyTorch ships the samples that its operators are tested with (`op_db`, a list of OpInfo). For each entry in `ENTRIES`
all of them go through PyTorch and through chainrule: results, types, shapes, and gradients for a random upstream
gradient must agree, and what PyTorch refuses (`error_inputs`) must be refused here too, in Python's own kinds of
error. Second derivatives are measured by finite differences. `make conformance` prints the report.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch

import chainrule
from chainrule import nn
from chainrule.autograd import gradgradcheck

from .reports import Outcome, refused, show

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # PyTorch's test module warns about optional parts of its own
    from torch.testing._internal.common_methods_invocations import op_db
    from torch.testing._internal.common_utils import set_rng_seed

NAMES = """
    abs add sub mul div true_divide floor_divide pow neg sign exp expm1 log log1p log2 sqrt rsqrt square reciprocal sin cos tan tanh sinh cosh
    atan asin acos asinh acosh atanh exp2 log10 logaddexp remainder fmod cumprod cummax cummin sort argsort topk scatter
    scatter_reduce repeat_interleave isnan isinf isclose allclose logical_and logical_or logical_xor bitwise_and bitwise_or
    bitwise_xor bitwise_not nn.functional.relu6 nn.functional.softsign nn.functional.hardswish nn.functional.hardsigmoid
    nn.functional.instance_norm nn.functional.interpolate nn.functional.max_pool1d nn.functional.avg_pool1d
    nn.functional.conv_transpose1d diag trace tensordot vstack hstack column_stack narrow select t unfold view_as expand_as
    reshape_as contiguous nn.functional.mish nn.functional.celu nn.functional.selu nn.functional.softmin nn.functional.prelu __rmod__ __rand__
    __ror__ __rxor__ erf sigmoid nn.functional.logsigmoid nn.functional.softplus nn.functional.relu nn.functional.leaky_relu
    nn.functional.elu nn.functional.gelu nn.functional.silu nn.functional.hardtanh clamp maximum minimum floor ceil
    trunc round where masked_fill lerp sum mean var std prod max min amax amin argmax argmin logsumexp norm cumsum any all
    reshape view flatten unflatten transpose permute movedim squeeze unsqueeze expand broadcast_to repeat tile cat
    stack split chunk unbind nn.functional.pad flip roll gather index_select take_along_dim tril triu diagonal
    nn.functional.one_hot __getitem__ matmul mm bmm dot outer einsum nn.functional.linear nn.functional.conv1d
    nn.functional.conv2d nn.functional.conv_transpose2d nn.functional.max_pool2d nn.functional.avg_pool2d
    nn.functional.adaptive_avg_pool2d nn.functional.batch_norm nn.functional.layer_norm nn.functional.group_norm
    nn.functional.rms_norm nn.functional.embedding nn.functional.dropout nn.functional.dropout2d softmax log_softmax
    nn.functional.scaled_dot_product_attention nn.functional.cross_entropy nn.functional.nll_loss
    nn.functional.mse_loss nn.functional.l1_loss nn.functional.smooth_l1_loss nn.functional.huber_loss
    nn.functional.binary_cross_entropy nn.functional.binary_cross_entropy_with_logits nn.functional.kl_div eq ne lt le
    gt ge isfinite logical_not clone __rmatmul__ __radd__ __rsub__ __rmul__ __rpow__
""".split()

ELSEWHERE = {
    **dict.fromkeys(("T", "mT", "item"), "the samples call what is a property, or want a tensor: test_operations"),
    **dict.fromkeys(("bool", "double", "float", "long", "to"), "conversions, of memory formats too: test_types"),
    **dict.fromkeys(
        ("arange", "eye", "full", "linspace", "ones", "ones_like", "randint", "randn", "zeros", "zeros_like"),
        "the samples want a device or a type of PyTorch's: test_operations, tests/test_creation.py",
    ),
    "zero_": "changes leaves in place while operations are recorded, which is refused: tests/autograd",
    "put": "another operation has that name",
}
"""Entries of names that we have which are not run, and where those are looked at."""

WITHOUT_SAMPLES = {
    **dict.fromkeys(("cast", "getitem", "standardize"), "names of our own"),
    "vector_norm": "the samples of `norm` go through it",
}
"""Public operations of ours for which PyTorch has no samples under that name."""

# Variants that are another thing under the same name: complex numbers, a GPU's kernel.
LEFT_OUT = {
    ("nn.functional.silu", "complex"),
    ("bmm", "triton_optimized"),
    ("nn.functional.batch_norm", "without_cudnn"),
}

ENTRIES = [op for op in op_db if op.name in NAMES and (op.name, op.variant_test_name) not in LEFT_OUT]

TYPES = {
    torch.float32: np.float32,
    torch.float64: np.float64,
    torch.int64: np.int64,
    torch.int32: np.int32,
    torch.int16: np.int16,
    torch.int8: np.int8,
    torch.uint8: np.uint8,
    torch.bool: np.bool_,
}
ANY = 1e30  # a tolerance for what is random: other numbers than PyTorch's
ROUNDED = {"nn.functional.hardsigmoid"}
"""Entries that PyTorch computes in float32 also for float64: its ⅙ in the derivative."""
TOLERANCES = {torch.float64: (1e-9, 1e-11), torch.float32: (2e-4, 2e-5)}
"""rtol and atol by type; a gradient's are ten times as large."""


def title(op: Any) -> str:
    """An entry's name with its variant."""
    return f"{op.name}.{op.variant_test_name}" if op.variant_test_name else op.name


def ours(op: Any) -> Any:
    """Our function for an entry, or None."""
    if op.name == "__getitem__":
        return lambda x, index: x[index]
    if op.name == "where":  # PyTorch's samples have the input first in these three
        return lambda x, condition, other: chainrule.where(condition, x, other)
    if op.name == "einsum":
        return lambda operands, equation: chainrule.einsum(equation, operands)
    if op.name == "nn.functional.embedding":
        return lambda weight, index, **options: nn.functional.embedding(index, weight, **options)
    if op.name.startswith("nn.functional."):
        return getattr(nn.functional, op.name.removeprefix("nn.functional."), None)
    function = getattr(chainrule, op.name, None)
    if function is None and hasattr(chainrule.Tensor, op.name):
        return lambda x, *args, **options: getattr(x, op.name)(*args, **options)
    return function


def types_of(op: Any) -> list[torch.dtype]:
    """The types to run an entry in."""
    supported = op.supported_dtypes("cpu")
    return [t for t in (torch.float64, torch.float32) if t in supported] or [torch.int64]


def converted(value: Any, made: list[tuple[torch.Tensor, chainrule.Tensor]]) -> Any:
    """A sample's value with our Tensors in the place of PyTorch's; pairs that want gradients are noted in `made`."""
    if isinstance(value, torch.Tensor):
        if again := [ours for theirs, ours in made if theirs is value]:
            return again[0]
        tensor = chainrule.Tensor._wrap(value.detach().numpy().copy(order="K"))
        if value.requires_grad:
            tensor.requires_grad_()
            made.append((value, tensor))
        return tensor
    if isinstance(value, torch.dtype):
        return TYPES.get(value, value)
    if isinstance(value, (list, tuple)) and not isinstance(value, torch.Size):
        return type(value)(converted(part, made) for part in value)
    if isinstance(value, torch.Size):
        return tuple(value)
    if isinstance(value, dict):
        return {key: converted(part, made) for key, part in value.items()}
    return value


def run(op: Any, dtype: torch.dtype, outcome: Outcome, most: int | None = None) -> None:
    """Run the samples of an entry in one type: all, or at most so many, evenly chosen."""
    function = ours(op)
    differentiable = dtype.is_floating_point and op.supports_autograd
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch warns in making some samples
        samples = _samples(op, dtype, differentiable)
    step = 1 if most is None else -(-len(samples) // most) or 1
    for number, sample in enumerate(samples[::step]):
        outcome.total += 1
        where = f"{title(op)}, {str(dtype).removeprefix('torch.')}, sample {number * step}: {sample.summary()}"
        made: list[tuple[torch.Tensor, chainrule.Tensor]] = []
        arguments = converted((sample.input, *sample.args), made)
        options = converted(sample.kwargs, made)
        try:
            got = function(*arguments, **options)
        except (TypeError, ValueError, NotImplementedError) as error:
            if _names_an_argument(error, sample):
                outcome.unsupported.append(str(error))
            else:
                outcome.wrong.append(f"{where}: raised {type(error).__name__}: {error}")
            continue
        except Exception as error:  # whatever it is, it is told
            outcome.wrong.append(f"{where}: raised {type(error).__name__}: {error}")
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.manual_seed(0)
            wanted = op.op(sample.input, *sample.args, **sample.kwargs)
        try:
            precision = torch.float32 if op.name in ROUNDED else dtype
            fault = compare(wanted, got, made, precision, random="dropout" in op.name)
        except Exception as error:  # in the gradients: told like any other fault
            fault = f"raised {type(error).__name__}: {error}"
        if fault:
            outcome.wrong.append(f"{where}: {fault}")
        else:
            outcome.passed += 1


def _samples(op: Any, dtype: torch.dtype, requires_grad: bool) -> list[Any]:
    """What `op.sample_inputs` gives, without its search of the whole call stack for a unittest at each sample."""
    set_rng_seed(0)
    return list(op.sample_inputs_func(op, "cpu", dtype, requires_grad))


def _names_an_argument(error: Exception, sample: Any) -> bool:
    """Whether an error says which argument of the sample is not supported, by its name or, of a word, by its value."""
    words = [*sample.kwargs, *(value for value in sample.args if isinstance(value, str))]
    return any(repr(word) in str(error) for word in words)


def different(wanted: torch.Tensor, got: Any, rtol: float, atol: float) -> str | None:
    """How a Tensor of ours is not PyTorch's, if it is not."""
    if isinstance(wanted, bool):
        return None if got is wanted else f"{got!r}, not {wanted}"
    if not isinstance(got, chainrule.Tensor):
        return f"a {type(got).__name__}, not a Tensor"
    if tuple(wanted.shape) != got.shape:
        return f"shape {got.shape}, not {tuple(wanted.shape)}"
    if np.dtype(TYPES[wanted.dtype]) != got.dtype:
        return f"type {got.dtype}, not {wanted.dtype}"
    one, two = wanted.detach().numpy(), got.numpy()
    if not np.allclose(one, two, rtol, atol, equal_nan=True):
        return f"values differ by {np.nanmax(np.abs(one.astype(float) - two.astype(float)))}"
    return None


def _parts(result: Any) -> list[Any]:
    """A result's Tensors, also of tuples in tuples."""
    return [part for item in result for part in _parts(item)] if isinstance(result, (tuple, list)) else [result]


def compare(wanted: Any, got: Any, made: list[Any], dtype: torch.dtype, random: bool = False) -> str | None:
    """What is not alike in results and in gradients for a random upstream gradient, if anything.

    Args:
        wanted: PyTorch's result, or several.
        got: ours.
        made: the pairs of Tensors that want gradients.
        dtype: what the sample is in.
        random: whether numbers are drawn, other ones than PyTorch draws: tests/nn looks at them.
    """
    wanted_parts, got_parts = _parts(wanted), _parts(got)
    if len(wanted_parts) != len(got_parts):
        return f"{len(got_parts)} results, not {len(wanted_parts)}"
    rtol, atol = (0, ANY) if random else TOLERANCES.get(dtype, (0, 0))
    for w, g in zip(wanted_parts, got_parts, strict=True):
        if fault := different(w, g, rtol, atol):
            return f"the result: {fault}"
    pairs = [(w, g) for w, g in zip(wanted_parts, got_parts, strict=True) if getattr(w, "requires_grad", False)]
    if not pairs or not made or random:
        return None
    if not all(g.requires_grad for _, g in pairs):
        return "the result does not require gradients"
    generator = torch.Generator().manual_seed(1)
    upstream = [torch.randn(w.shape, generator=generator, dtype=w.dtype) for w, _ in pairs]
    theirs = torch.autograd.grad([w for w, _ in pairs], [t for t, _ in made], upstream, allow_unused=True)
    mine = chainrule.grad(
        [g for _, g in pairs],
        [x for _, x in made],
        [chainrule.from_numpy(u.numpy()) for u in upstream],
        allow_unused=True,
    )
    for position, (w, g) in enumerate(zip(theirs, mine, strict=True)):
        if w is None or g is None:
            other = g.numpy() if w is None and g is not None else w.numpy() if w is not None else np.zeros(1)
            if np.any(other != 0):
                return f"gradient {position}: only one of the two has one"
            continue
        if fault := different(w, g, rtol * 10, atol * 10):
            return f"gradient {position}: {fault}"
    return None


def refusals(op: Any) -> tuple[int, list[str]]:
    """How many calls PyTorch refuses, and those that we take, or refuse with another kind of error or none of our own."""
    function = ours(op)
    reflected = op.name.startswith("__r")  # PyTorch's calls have a number for a tensor, whose method is Python's own
    if function is None or op.error_inputs_func is None or reflected:
        return 0, []
    count, faults = 0, []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        set_rng_seed(0)
        cases = list(op.error_inputs_func(op, "cpu"))
    for number, case in enumerate(cases):
        sample = case.sample_input
        made: list[Any] = []
        try:
            arguments = converted((sample.input, *sample.args), made)
            options = converted(sample.kwargs, made)
        except (TypeError, ValueError):
            continue  # what NumPy does not have: a type such as bfloat16, 65 dimensions
        count += 1
        with refused(f"{title(op)}, error input {number}", case.error_regex, faults):
            function(*arguments, **options)
    return count, faults


def second_order(op: Any, most: int = 10) -> tuple[int, list[str]]:
    """How many float64 samples, evenly chosen, had their second derivatives measured; and those that differ.

    What is measured is f(x + t₀ v + t₁ w) in t, with random v and w for all inputs x: two numbers instead of hundreds.
    """
    function = ours(op)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        samples = _samples(op, torch.float64, True)
    count, faults = 0, []
    for number in range(0, len(samples), -(-len(samples) // most)):
        sample = samples[number]
        made: list[tuple[torch.Tensor, chainrule.Tensor]] = []
        arguments = converted((sample.input, *sample.args), made)
        options = converted(sample.kwargs, made)
        if any(np.abs(x.numpy()).max(initial=0) > 1e4 for _, x in made):
            continue  # of a million, finite differences of 1e-6 see the rounding alone
        loss = _along_a_plane(function, arguments, options, [x for _, x in made], seed=number)
        t = chainrule.zeros(2, dtype=np.float64, requires_grad=True)
        try:
            if not made or not loss(t).requires_grad:
                continue
            count += 1
            gradgradcheck(loss, t, atol=1e-4, rtol=1e-4)
        except Exception as error:
            if not _names_an_argument(error, sample) and not str(error).endswith("is not supported"):
                faults.append(f"{title(op)}, sample {number}: {sample.summary()}: {error}")
    return count, faults


def _along_a_plane(function: Any, arguments: Any, options: Any, inputs: list[chainrule.Tensor], seed: int) -> Any:
    """A loss as a function of t: how far all inputs x are moved along each of two random directions."""
    rng = np.random.default_rng(seed)
    directions = [chainrule.from_numpy(rng.standard_normal((2, *x.shape))) for x in inputs]

    def loss(t: chainrule.Tensor) -> chainrule.Tensor:
        chainrule.manual_seed(0)  # dropout draws the same each time
        moved = {id(x): x.detach() + t[0] * d[0] + t[1] * d[1] for x, d in zip(inputs, directions, strict=True)}
        out = function(*_replaced(arguments, moved), **_replaced(options, moved))
        parts = out if isinstance(out, (list, tuple)) else [out]
        return sum((((part + 1) ** 2).sum() for part in parts if part.dtype.kind == "f"), chainrule.zeros(()))

    return loss


def _replaced(value: Any, new: dict[int, Any]) -> Any:
    """A sample's value with other Tensors in the place of some, by their identity."""
    if isinstance(value, (list, tuple)):
        return type(value)(_replaced(part, new) for part in value)
    if isinstance(value, dict):
        return {key: _replaced(part, new) for key, part in value.items()}
    return new.get(id(value), value)


def outcome_of(op: Any, most: int | None = None) -> Outcome:
    """Run the samples of an entry in all its types: all, or at most so many in each, evenly chosen."""
    outcome = Outcome(title(op))
    for dtype in types_of(op):
        run(op, dtype, outcome, most)
    return outcome


def report(chosen: str = "") -> int:
    """Print, for each operator, samples passed / total / unsupported; returns the number of faults."""
    return show("OpInfo", ((outcome_of(op), refusals(op)) for op in ENTRIES if chosen in title(op)))
