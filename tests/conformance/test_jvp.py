"""`func.jvp` and `autograd.functional.jvp` beside PyTorch's, which differentiates forwards."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule
from chainrule import autograd, func, nn

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'chainrule[torch]'")

FUNCTIONS = {
    "elementwise": (lambda t, f, x: (x.sigmoid() * x.exp()).tanh(), [(3, 2)]),
    "product": (lambda t, f, x, y: (x @ y).relu(), [(3, 2), (2, 4)]),
    "loss": (lambda t, f, x: f.cross_entropy(x, t.tensor([0, 2])), [(2, 3)]),
    "two outputs": (lambda t, f, x, y: (x * y, (x / y).sum()), [(3,), (3,)]),
    "normalized": (lambda t, f, x: f.layer_norm(x, (4,)), [(2, 4)]),
    "convolution": (lambda t, f, x, w: f.conv2d(x, w, padding=1), [(2, 2, 4, 4), (3, 2, 3, 3)]),
    "log softmax": (lambda t, f, x: f.log_softmax(x, -1), [(2, 4)]),
}


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # in PyTorch's own imports
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("place", ["func", "autograd"])
def test_jvp(name, place):
    function, shapes = FUNCTIONS[name]
    rng = np.random.default_rng(2)
    arrays = [rng.uniform(0.5, 1.5, shape) for shape in (*shapes, *shapes)]
    results = []
    for library, functional, convert in (
        (chainrule, nn.functional, chainrule.from_numpy),
        (torch, torch.nn.functional, torch.tensor),
    ):
        inputs = tuple(convert(a) for a in arrays[: len(shapes)])
        directions = tuple(convert(a) for a in arrays[len(shapes) :])
        module = library.func if place == "func" else library.autograd.functional
        result = module.jvp(lambda *x, t=library, f=functional: function(t, f, *x), inputs, directions)
        results.append([p for part in result for p in (part if isinstance(part, tuple) else (part,))])
    for mine, other in zip(*results, strict=True):
        assert mine.shape == tuple(other.shape)
        np.testing.assert_allclose(mine.numpy(), other.numpy(), rtol=1e-10, atol=1e-13)


def test_both_names_are_there():
    assert autograd.jvp is autograd.functional.jvp
    assert func.__all__ == ["jvp"]
