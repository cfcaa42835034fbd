"""PyTorch's own sample inputs for its operators, run through ours.

PyTorch ships the samples that its operators are tested with (`op_db`, a list of OpInfo). For each entry in `ENTRIES`
all of them go through PyTorch and through chainrule: results, types, shapes, and gradients for a random upstream
gradient must agree, and what PyTorch refuses (`error_inputs`) must be refused here too, with a built-in kind of error.
Second derivatives are compared with finite differences. `make conformance` prints the report.
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
"""Entries that are not run although chainrule has their names: why, and which tests cover these operations."""

WITHOUT_SAMPLES = {
    **dict.fromkeys(("cast", "getitem", "standardize"), "names of our own"),
    "vector_norm": "the samples of `norm` go through it",
}
"""Public operations of chainrule for which PyTorch has no samples, and why."""

LEFT_OUT = {
    ("nn.functional.silu", "complex"),
    ("bmm", "triton_optimized"),
    ("nn.functional.batch_norm", "without_cudnn"),
}
"""Variants (names of an entry and a variant) that are for complex numbers or for a GPU."""

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
ANY_VALUE = 1e30  # an absolute tolerance for random numbers, which differ from PyTorch's
ROUNDED = {"nn.functional.hardsigmoid"}
"""Entries whose float64 derivative has only float32 precision in PyTorch: it multiplies by ⅙ in float32."""
TOLERANCES = {torch.float64: (1e-9, 1e-11), torch.float32: (2e-4, 2e-5)}
"""rtol and atol by type; those of gradients are ten times as large."""


def title(op: Any) -> str:
    """An entry's name with its variant."""
    return f"{op.name}.{op.variant_test_name}" if op.variant_test_name else op.name


def ours(op: Any) -> Any:
    """chainrule's function for an entry, or None."""
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


def converted(value: Any, pairs: list[tuple[torch.Tensor, chainrule.Tensor]]) -> Any:
    """A sample's value with chainrule's Tensors for PyTorch's; those that require gradients are added to `pairs`."""
    if isinstance(value, torch.Tensor):
        for theirs, ours in pairs:
            if theirs is value:
                return ours
        tensor = chainrule.Tensor._wrap(value.detach().numpy().copy(order="K"))
        if value.requires_grad:
            tensor.requires_grad_()
            pairs.append((value, tensor))
        return tensor
    if isinstance(value, torch.dtype):
        return TYPES.get(value, value)
    if isinstance(value, (list, tuple)) and not isinstance(value, torch.Size):
        return type(value)(converted(part, pairs) for part in value)
    if isinstance(value, torch.Size):
        return tuple(value)
    if isinstance(value, dict):
        return {key: converted(part, pairs) for key, part in value.items()}
    return value


def run(op: Any, dtype: torch.dtype, outcome: Outcome, max_samples: int | None = None) -> None:
    """Run the samples of an entry in one type: all, or at most `max_samples`, evenly chosen."""
    function = ours(op)
    differentiable = dtype.is_floating_point and op.supports_autograd
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch warns while it makes some samples
        samples = _samples(op, dtype, differentiable)
    step = 1 if max_samples is None else -(-len(samples) // max_samples) or 1
    for number, sample in enumerate(samples[::step]):
        outcome.total += 1
        where = f"{title(op)}, {str(dtype).removeprefix('torch.')}, sample {number * step}: {sample.summary()}"
        pairs: list[tuple[torch.Tensor, chainrule.Tensor]] = []
        arguments = converted((sample.input, *sample.args), pairs)
        options = converted(sample.kwargs, pairs)
        try:
            actual = function(*arguments, **options)
        except (TypeError, ValueError, NotImplementedError) as error:
            if _names_an_argument(error, sample):
                outcome.unsupported.append(str(error))
            else:
                outcome.wrong.append(f"{where}: raised {type(error).__name__}: {error}")
            continue
        except Exception as error:
            outcome.wrong.append(f"{where}: raised {type(error).__name__}: {error}")
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.manual_seed(0)
            expected = op.op(sample.input, *sample.args, **sample.kwargs)
        try:
            precision = torch.float32 if op.name in ROUNDED else dtype
            fault = compare(expected, actual, pairs, precision, random="dropout" in op.name)
        except Exception as error:  # in the gradients
            fault = f"raised {type(error).__name__}: {error}"
        if fault:
            outcome.wrong.append(f"{where}: {fault}")
        else:
            outcome.passed += 1


def _samples(op: Any, dtype: torch.dtype, requires_grad: bool) -> list[Any]:
    """The samples of `op.sample_inputs`, without its slow search of the call stack for a unittest at each sample."""
    set_rng_seed(0)
    return list(op.sample_inputs_func(op, "cpu", dtype, requires_grad))


def _names_an_argument(error: Exception, sample: Any) -> bool:
    """Whether an error names a keyword argument of the sample, or quotes a positional argument that is a string."""
    words = [*sample.kwargs, *(value for value in sample.args if isinstance(value, str))]
    return any(repr(word) in str(error) for word in words)


def different(expected: torch.Tensor, actual: Any, rtol: float, atol: float) -> str | None:
    """How a Tensor of chainrule differs from PyTorch's, if it does."""
    if isinstance(expected, bool):
        return None if actual is expected else f"{actual!r}, not {expected}"
    if not isinstance(actual, chainrule.Tensor):
        return f"a {type(actual).__name__}, not a Tensor"
    if tuple(expected.shape) != actual.shape:
        return f"shape {actual.shape}, not {tuple(expected.shape)}"
    if np.dtype(TYPES[expected.dtype]) != actual.dtype:
        return f"type {actual.dtype}, not {expected.dtype}"
    theirs, ours = expected.detach().numpy(), actual.numpy()
    if not np.allclose(theirs, ours, rtol, atol, equal_nan=True):
        return f"values differ by {np.nanmax(np.abs(theirs.astype(float) - ours.astype(float)))}"
    return None


def _parts(result: Any) -> list[Any]:
    """The Tensors of a result, which may be a nested tuple or list."""
    return [part for item in result for part in _parts(item)] if isinstance(result, (tuple, list)) else [result]


def compare(expected: Any, actual: Any, inputs: list[Any], dtype: torch.dtype, random: bool = False) -> str | None:
    """The first difference in results, or in gradients for a random upstream gradient, if any.

    Args:
        expected: PyTorch's result, or a tuple of results.
        actual: chainrule's.
        inputs: the pairs of Tensors, PyTorch's and chainrule's, that require gradients.
        dtype: the sample's type, for the tolerances.
        random: whether the results depend on random numbers, which differ from PyTorch's; then only shapes and types are
            compared.
    """
    their_parts, our_parts = _parts(expected), _parts(actual)
    if len(their_parts) != len(our_parts):
        return f"{len(our_parts)} results, not {len(their_parts)}"
    rtol, atol = (0, ANY_VALUE) if random else TOLERANCES.get(dtype, (0, 0))
    for t, o in zip(their_parts, our_parts, strict=True):
        if fault := different(t, o, rtol, atol):
            return f"the result: {fault}"
    results = [(t, o) for t, o in zip(their_parts, our_parts, strict=True) if getattr(t, "requires_grad", False)]
    if not results or not inputs or random:
        return None
    if not all(o.requires_grad for _, o in results):
        return "the result does not require gradients"
    generator = torch.Generator().manual_seed(1)
    upstream = [torch.randn(t.shape, generator=generator, dtype=t.dtype) for t, _ in results]
    theirs = torch.autograd.grad([t for t, _ in results], [t for t, _ in inputs], upstream, allow_unused=True)
    ours = chainrule.grad(
        [o for _, o in results],
        [o for _, o in inputs],
        [chainrule.from_numpy(u.numpy()) for u in upstream],
        allow_unused=True,
    )
    for position, (t, o) in enumerate(zip(theirs, ours, strict=True)):
        if t is None or o is None:
            if any(gradient is not None and np.any(gradient.numpy() != 0) for gradient in (t, o)):
                return f"gradient {position}: only one of the two libraries has one"
            continue
        if fault := different(t, o, rtol * 10, atol * 10):
            return f"gradient {position}: {fault}"
    return None


def refusals(op: Any) -> tuple[int, list[str]]:
    """The number of calls that PyTorch refuses, and a line for each that chainrule does not refuse properly."""
    function = ours(op)
    reflected = op.name.startswith("__r")  # PyTorch passes a number for the tensor, and so calls Python's own method
    if function is None or op.error_inputs_func is None or reflected:
        return 0, []
    count, faults = 0, []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        set_rng_seed(0)
        cases = list(op.error_inputs_func(op, "cpu"))
    for number, case in enumerate(cases):
        sample = case.sample_input
        pairs: list[Any] = []
        try:
            arguments = converted((sample.input, *sample.args), pairs)
            options = converted(sample.kwargs, pairs)
        except (TypeError, ValueError):
            continue  # NumPy has no such tensor: its type is bfloat16, say, or it has 65 dimensions
        count += 1
        with refused(f"{title(op)}, error input {number}", case.error_regex, faults):
            function(*arguments, **options)
    return count, faults


def second_order(op: Any, max_samples: int = 10) -> tuple[int, list[str]]:
    """Compare second derivatives with finite differences; the number of samples, and a line for each that differs.

    The samples are in float64, and evenly chosen. A sample's function f of all inputs x is differentiated with respect to t
    in f(x + t₀ v + t₁ w), with random directions v and w: by two numbers instead of hundreds.
    """
    function = ours(op)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        samples = _samples(op, torch.float64, True)
    count, faults = 0, []
    for number in range(0, len(samples), -(-len(samples) // max_samples)):
        sample = samples[number]
        pairs: list[tuple[torch.Tensor, chainrule.Tensor]] = []
        arguments = converted((sample.input, *sample.args), pairs)
        options = converted(sample.kwargs, pairs)
        if any(np.abs(x.numpy()).max(initial=0) > 1e4 for _, x in pairs):
            continue  # for inputs of a million, steps of 1e-6 would measure rounding errors
        loss = _along_a_plane(function, arguments, options, [x for _, x in pairs], seed=number)
        t = chainrule.zeros(2, dtype=np.float64, requires_grad=True)
        try:
            if not pairs or not loss(t).requires_grad:
                continue
            count += 1
            gradgradcheck(loss, t, atol=1e-4, rtol=1e-4)
        except Exception as error:
            if not _names_an_argument(error, sample) and not str(error).endswith("is not supported"):
                faults.append(f"{title(op)}, sample {number}: {sample.summary()}: {error}")
    return count, faults


def _along_a_plane(function: Any, arguments: Any, options: Any, inputs: list[chainrule.Tensor], seed: int) -> Any:
    """A loss as a function of t = (t₀, t₁), the distances by which all inputs are moved along two random directions."""
    rng = np.random.default_rng(seed)
    directions = [chainrule.from_numpy(rng.standard_normal((2, *x.shape))) for x in inputs]

    def loss(t: chainrule.Tensor) -> chainrule.Tensor:
        chainrule.manual_seed(0)  # dropout draws the same numbers in each call
        moved = {id(x): x.detach() + t[0] * d[0] + t[1] * d[1] for x, d in zip(inputs, directions, strict=True)}
        out = function(*_replaced(arguments, moved), **_replaced(options, moved))
        parts = out if isinstance(out, (list, tuple)) else [out]
        return sum((((part + 1) ** 2).sum() for part in parts if part.dtype.kind == "f"), chainrule.zeros(()))

    return loss


def _replaced(value: Any, new: dict[int, Any]) -> Any:
    """A sample's value in which Tensors are replaced by `new`, whose keys are the ids of Tensors."""
    if isinstance(value, (list, tuple)):
        return type(value)(_replaced(part, new) for part in value)
    if isinstance(value, dict):
        return {key: _replaced(part, new) for key, part in value.items()}
    return new.get(id(value), value)


def outcome_of(op: Any, max_samples: int | None = None) -> Outcome:
    """Run the samples of an entry in each of its types: all, or at most `max_samples`, evenly chosen."""
    outcome = Outcome(title(op))
    for dtype in types_of(op):
        run(op, dtype, outcome, max_samples)
    return outcome


def report(chosen: str = "") -> int:
    """Print, for each operator, the samples passed, in total and unsupported; returns the number of faults."""
    return show("OpInfo", ((outcome_of(op), refusals(op)) for op in ENTRIES if chosen in title(op)))
