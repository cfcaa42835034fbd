"""Fused attention beside PyTorch's: values, gradients and gradients of gradients."""

import numpy as np
import pytest

import chainrule
from chainrule import nn
from chainrule.ops.attention import fused_attention

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'chainrule[torch]'")

CASES = {
    "causal": ([(2, 4, 150, 16)] * 3, {"is_causal": True}),
    "full": ([(2, 4, 150, 16)] * 3, {}),
    "more keys": ([(3, 70, 8), (3, 200, 8), (3, 200, 8)], {"is_causal": True}),
    "fewer keys": ([(3, 200, 8), (3, 70, 8), (3, 70, 8)], {"is_causal": True, "scale": 0.3}),
    "wider values": ([(1, 64, 8), (1, 64, 8), (1, 64, 20)], {"scale": -1.5}),
    "grouped heads": ([(2, 6, 65, 4), (2, 2, 65, 4), (2, 2, 65, 4)], {"enable_gqa": True, "is_causal": True}),
}


def leaves(library, shapes, dtype):
    random = np.random.default_rng(4)
    return [library.tensor(random.standard_normal(shape).astype(dtype), requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("dtype", "relative"), [(np.float32, 3e-6), (np.float64, 1e-14)], ids=["f4", "f8"])
def test_the_same_as_pytorchs(case, dtype, relative, assert_same):
    shapes, options = CASES[case]
    ours, theirs = leaves(chainrule, shapes, dtype), leaves(torch, shapes, dtype)
    out = nn.functional.scaled_dot_product_attention(*ours, **options)
    wanted = torch.nn.functional.scaled_dot_product_attention(*theirs, **options)
    assert out.grad_fn.operation is fused_attention
    assert_same(out, wanted, relative)
    ((out + 1) ** 2).mean().backward()
    ((wanted + 1) ** 2).mean().backward()
    for name, x, y in zip(("query", "key", "value"), ours, theirs, strict=True):
        assert_same(x.grad, y.grad, relative, f"gradient of the {name}")


@pytest.mark.parametrize("case", ["causal", "wider values"])
def test_the_same_second_derivatives(case, assert_same):
    shapes, options = CASES[case]
    ours, theirs = leaves(chainrule, shapes, np.float64), leaves(torch, shapes, np.float64)
    out = nn.functional.scaled_dot_product_attention(*ours, **options)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        wanted = torch.nn.functional.scaled_dot_product_attention(*theirs, **options)
    first = chainrule.grad((out**3).mean(), ours, create_graph=True)
    second = torch.autograd.grad((wanted**3).mean(), theirs, create_graph=True)
    sum((x**2).sum() for x in first).backward()
    sum((x**2).sum() for x in second).backward()
    for name, x, y in zip(("query", "key", "value"), ours, theirs, strict=True):
        assert_same(x.grad, y.grad, 1e-12, f"gradient of the {name}")
