"""Which token of a text attends to which: the attention patterns of a transformer.

Source: Vaswani et al., Attention is all you need (2017), section 3.2.1.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.autograd import no_grad
from chainrule.errors import check, type_name
from chainrule.models import GPT
from chainrule.tensor import as_tensor

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from chainrule.nn import Module
    from chainrule.tensor import Tensor


def attention_patterns(network: Module, tokens: ArrayLike | Tensor) -> NDArray[Any]:
    """Return how much each token of a text attends to each other: softmax(Q Kᵀ / √D), by layer and head.

        import numpy as np

        from chainrule import explain, models

        network = models.build("gpt", {"size": "tiny"}, generator=np.random.default_rng(0))
        patterns = explain.attention_patterns(network, [5, 3, 8])
        patterns.shape, patterns[0, 0, 0]  # ((2, 2, 3, 3), array([1., 0., 0.], dtype=float32))

    Args:
        network: a GPT.
        tokens: (T,), integers.

    Returns:
        (layers, heads, T, T): row i holds the weights of tokens 0 to i in the output for token i; their sum is 1.

    Raises:
        TypeError: the network is not a GPT, or the tokens are not integers.
        ValueError: there are no tokens, or more than the network's longest context.
        IndexError: there is no such token.
    """
    if not isinstance(network, GPT):
        raise TypeError(f"attention_patterns: takes a GPT, whose layers attend, not {type_name(network)}")
    text = as_tensor(tokens)
    check("attention_patterns", text.ndim == 1, f"takes the tokens of one text, (T,), not {text.shape}")
    network = copy.deepcopy(network).eval()  # a copy, whose hooks are called only here
    patterns: list[NDArray[Any]] = []

    def record(attention: Any, inputs: tuple[Any, ...]) -> None:
        patterns.append(attention.weights(*inputs[:2]).numpy()[0])

    for block in network.blocks:
        block.attention.register_forward_pre_hook(record)
    with no_grad():
        network(text[None])
    return np.stack(patterns)
