"""What shares its input's memory in PyTorch does so here, and what is a copy there is one here: seen by writing into it."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule
from chainrule.nn import functional as F  # noqa: N812  # the field's name for it

from ..naming import naming

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'chainrule[torch]'")

SHAPES = [(3, 4), (1, 4), (3, 1), (1, 1)]
EXPRESSIONS = [
    "x[0]", "x[-1]", "x[1:]", "x[:, ::2]", "x[..., 0]", "x[None]", "x[...]", "x[0, 0]", "x[[0]]", "x[i]", "x[m]",
    "x.T", "x.mT", "x.transpose(0, 1)", "x.permute(1, 0)", "x.movedim(0, 1)", "x.reshape(-1)", "x.reshape(*x.shape)",
    "x.T.reshape(-1)", "x.flatten()", "x.flatten(0, 0)", "x.unflatten(1, (1, -1))", "x.unsqueeze(0)", "x.squeeze()", "x.squeeze(0)",
    "x.chunk(2)[0]", "x.chunk(2, 1)[-1]", "x.split(1)[0]", "x.unbind(0)[0]", "x.unbind(1)[0]", "x.detach()", "x.clone()",
    "x.diagonal()", "x.diagonal(1)", "x.diagonal(-1)", "x.diagonal(0, 1, 0)", "x[i[0]:]", "x[m[0, 0]]", "x[i[:1]]",
    "x.flip(0)", "x.flip(0, 1)", "x.flip(())", "x.roll(0)", "x.roll(0, 0)", "x.roll(12)", "x.roll((0, 0), (0, 1))", "x.roll(1, 0)",
    "x.repeat(1, 1)", "x.repeat(2, 1)", "x.repeat(1, 3)", "x.repeat(1, 1, 1)", "x.tile(1)", "x.tile(1, 1)", "x.tile(2)",
    "x.gather(0, i[None] * 0)", "x.index_select(0, i * 0)", "x.take_along_dim(i[None] * 0, 0)",
    "x.tril()", "x.triu(-9)", "x.masked_fill(x > 9, 0)", "x.where(x < 9, 0)", "x.clamp(-9, 9)", "x.to(x.dtype)", "x.double()",
    "x + 0", "x * 1", "x / 1", "x ** 1", "x.abs()", "x.relu()", "x.maximum(x)", "+x", "-x",
    "x.sum(())", "x.sum(0)", "x.mean(1, keepdim=True)", "x.amax(0)", "x.max(0)[0]", "x.prod(0)", "x.logsumexp(0)", "x.cumsum(0)",
    "x.norm(1, 0)", "x.floor()", "x.round()", "x.lerp(x, 0.5)", "lib.cat([x])", "lib.cat([x, x[:0]])", "lib.stack([x])",
    "F.dropout(x, 0.5, False)", "F.dropout(x, 0.0, True)", "F.leaky_relu(x, 1.0)", "F.hardtanh(x, -9, 9)", "F.softmax(x, 0)",
]  # fmt: skip
"""Not here, for NumPy makes a copy and PyTorch a view, or the other way round, for reasons of their own: `x.expand`, whose
views nobody may write into."""


def written(expression, library, functional, x, i, m):
    """The input after the result of an expression in it has been filled with 7."""
    space = {"x": x, "i": i, "m": m, "lib": library, "F": functional}
    out = eval(expression, space)  # noqa: S307  # the table's own lines
    out[...] = 7
    return x


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_writing_into_the_result(shape):
    array = np.random.default_rng(0).uniform(-1, 1, shape)
    i, m = np.zeros(shape[1], np.int64), array > 0
    for expression in EXPRESSIONS:
        with naming(expression):
            ours, theirs = (
                written(expression, library, functional, *(library.from_numpy(a.copy()) for a in (array, i, m)))
                for library, functional in ((chainrule, F), (torch, torch.nn.functional))
            )
            np.testing.assert_array_equal(np.asarray(ours), theirs.numpy())
