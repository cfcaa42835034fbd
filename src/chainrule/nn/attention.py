"""Embedding, multi-head attention and the transformer encoder layer.

Source: Vaswani et al., Attention is all you need (2017).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from chainrule import ops
from chainrule.creation import zeros
from chainrule.errors import check, check_floats, type_name
from chainrule.nn import functional as F  # noqa: N812  # the field's name for it
from chainrule.nn import init
from chainrule.nn.layers import Dropout, Linear, check_sizes
from chainrule.nn.module import Module, Parameter
from chainrule.nn.normalization import LayerNorm
from chainrule.ops.dtypes import DEFAULT
from chainrule.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.random import Generator
    from numpy.typing import DTypeLike

__all__ = ["Embedding", "MultiheadAttention", "TransformerEncoderLayer"]


class Embedding(Module):
    """A table of `num_embeddings` learned vectors: indices (...) to vectors (..., embedding_dim).

    Args:
        num_embeddings: number of vectors.
        embedding_dim: length of each vector.
        padding_idx: index whose vector starts at 0 and gets no gradient.
        generator: source of the initial values, drawn from N(0, 1).
        dtype: the type of the weight.
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None, *,
        generator: Generator | None = None, dtype: DTypeLike = DEFAULT,
    ) -> None:  # fmt: skip
        check_sizes(self, num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        in_range = padding_idx is None or -num_embeddings <= padding_idx < num_embeddings
        check(self, in_range, f"padding_idx {padding_idx} is out of range for {num_embeddings} vectors")
        self.padding_idx = padding_idx if padding_idx is None else padding_idx % num_embeddings
        self.weight = init.normal_(Parameter(zeros(num_embeddings, embedding_dim, dtype=dtype)), generator=generator)
        if padding_idx is not None:
            self.weight.data[padding_idx] = 0

    @classmethod
    def from_pretrained(cls, embeddings: Tensor, freeze: bool = True, padding_idx: int | None = None) -> Self:
        """Return an embedding of existing vectors.

        Args:
            embeddings: (num_embeddings, embedding_dim); the weight shares its memory.
            freeze: whether to keep the vectors fixed in training.
            padding_idx: index whose vector gets no gradient.

        Raises:
            ValueError: `embeddings` is not a matrix, or `padding_idx` is out of range.
            TypeError: `embeddings` is not a Tensor of floats.
        """
        name = f"{cls.__name__}.from_pretrained"
        is_tensor = isinstance(embeddings, Tensor)
        check(name, is_tensor, f"takes a Tensor, not {type_name(embeddings)}", TypeError)
        check_floats(name, embeddings)
        check(name, embeddings.ndim == 2, f"takes (num_embeddings, embedding_dim), not {embeddings.shape}")
        table = cls(0, embeddings.shape[1])
        table.num_embeddings, table.weight = embeddings.shape[0], Parameter(embeddings, requires_grad=not freeze)
        in_range = padding_idx is None or -table.num_embeddings <= padding_idx < table.num_embeddings
        check(name, in_range, f"padding_idx {padding_idx} is out of range for {table.num_embeddings} vectors")
        table.padding_idx = padding_idx if padding_idx is None else padding_idx % table.num_embeddings
        return table

    def forward(self, input: Tensor) -> Tensor:
        """Map integers (...) to (..., embedding_dim)."""
        return F.embedding(input, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        """Return the sizes."""
        return f"{self.num_embeddings}, {self.embedding_dim}"


class MultiheadAttention(Module):
    """Multi-head attention: each head attends over its own slice of the embedding.

    Args:
        embed_dim: E, the embedding size.
        num_heads: number of heads; must divide E.
        dropout: probability of setting an attention weight to zero in training.
        bias: whether the projections have biases.
        batch_first: whether inputs are (N, L, E) instead of (L, N, E).
        generator: source of the initial values and of dropout.
        dtype: the type of the parameters.

    Shapes: `in_proj_weight` (3 E, E), `in_proj_bias` (3 E,), `out_proj` a Linear of E to E.
    """

    _parameter_names = ("in_proj_weight", "in_proj_bias")

    def __init__(
        self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True, batch_first: bool = False, *,
        generator: Generator | None = None, dtype: DTypeLike = DEFAULT,
    ) -> None:  # fmt: skip
        check_sizes(self, embed_dim=embed_dim, num_heads=num_heads)
        F.check_probability(self, dropout)
        check(self, num_heads > 0 and not embed_dim % num_heads, f"{num_heads=} must divide {embed_dim=}")
        self.embed_dim, self.num_heads, self.batch_first = embed_dim, num_heads, batch_first
        self.dropout, self.generator = dropout, generator
        weight = Parameter(zeros(3 * embed_dim, embed_dim, dtype=dtype))
        self.in_proj_weight = init.xavier_uniform_(weight, generator=generator)
        self.in_proj_bias = Parameter(np.zeros(3 * embed_dim, dtype)) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias, generator=generator, dtype=dtype)
        if self.out_proj.bias is not None:
            init.zeros_(self.out_proj.bias)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Tensor | None = None,
        need_weights: bool = True, attn_mask: Tensor | None = None, average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        """Compute attention.

        Args:
            query: (L, N, E), or (N, L, E) with `batch_first`, or (L, E).
            key: in the layout of `query`, with S in place of L.
            value: the shape of `key`.
            key_padding_mask: (N, S) or (S,): booleans, True to ignore a key; or floats that are added to the scores.
            need_weights: whether to return the attention weights, too.
            attn_mask: (L, S) or (N · heads, L, S): booleans, True to ignore a key for a query; or floats that are added
                to the scores.
            average_attn_weights: whether to return the mean over heads, (N, L, S), instead of (N, heads, L, S).
            is_causal: has no effect. In PyTorch, it is a hint that `attn_mask`, which must then be passed, is causal.

        Returns:
            The output, in the query's shape, and the attention weights before dropout, or None.

        Raises:
            ValueError: incompatible shapes, or `is_causal` without `attn_mask`.
            TypeError: a mask that is neither boolean nor floating.
        """
        check(self, attn_mask is not None or not is_causal, "is_causal=True requires an attn_mask")
        is_unbatched = query.ndim == 2
        if is_unbatched:
            query, key, value = (part[None] for part in (query, key, value))
        elif not self.batch_first:
            query, key, value = (part.transpose(0, 1) for part in (query, key, value))  # (N, L, E)
        n, length = query.shape[:2]
        if not (query.ndim == key.ndim == 3 and key.shape[:2] == value.shape[:2] and key.shape[0] == n):
            shapes = ", ".join(str(part.shape) for part in (query, key, value))
            raise ValueError(f"MultiheadAttention: inputs must be (N, L, E), (N, S, E) and (N, S, E), not {shapes}")
        q, k, v = (self._heads(part, i) for i, part in enumerate((query, key, value)))  # (N, heads, L, E / heads)
        scores = (q * (1 / math.sqrt(q.shape[-1]))) @ k.transpose(-1, -2)  # (N, heads, L, S)
        if attn_mask is not None:
            pair_shape = (length, key.shape[1])
            self._check_mask("attn_mask", attn_mask, pair_shape, (n * self.num_heads, *pair_shape))
            shape = pair_shape if attn_mask.ndim == 2 else (n, self.num_heads, *pair_shape)
            scores = _apply_mask(scores, attn_mask.reshape(shape))
        if key_padding_mask is not None:
            self._check_mask("key_padding_mask", key_padding_mask, key.shape[1:2] if is_unbatched else key.shape[:2])
            scores = _apply_mask(scores, key_padding_mask.reshape((n, 1, 1, -1)))
        weights = F.softmax(scores, dim=-1)
        weights_after_dropout = F.dropout(weights, self.dropout, self.training, generator=self.generator)
        out = self.out_proj((weights_after_dropout @ v).transpose(1, 2).reshape(n, length, self.embed_dim))
        if is_unbatched:
            out, weights = out[0], weights[0]
        elif not self.batch_first:
            out = out.transpose(0, 1)
        if not need_weights:
            return out, None
        return out, weights.mean(dim=-3) if average_attn_weights else weights

    def _check_mask(self, name: str, mask: Tensor, *shapes: tuple[int, ...]) -> None:
        expected = " or ".join(map(str, shapes))
        check(self, mask.shape in shapes, f"{name} must have shape {expected}, not {mask.shape}")
        check(self, mask.dtype.kind in "bf", f"{name} must be boolean or floating, not {mask.dtype}", TypeError)

    def _heads(self, input: Tensor, third: int) -> Tensor:
        """Project (N, L, E) by a third of `in_proj_weight` (0: query, 1: key, 2: value) to (N, heads, L, E / heads)."""
        rows = slice(third * self.embed_dim, (third + 1) * self.embed_dim)
        bias = None if self.in_proj_bias is None else self.in_proj_bias[rows]
        projected = F.linear(input, self.in_proj_weight[rows], bias)
        return projected.reshape(*input.shape[:2], self.num_heads, -1).transpose(1, 2)


def _apply_mask(scores: Tensor, mask: Tensor) -> Tensor:
    return ops.where(mask, -np.inf, scores) if mask.dtype == bool else scores + mask


class TransformerEncoderLayer(Module):
    """Self-attention and a two-layer feed-forward network; each sublayer has a residual connection and layer norm.

    Args:
        d_model: E, the embedding size.
        nhead: number of attention heads.
        dim_feedforward: width of the hidden layer.
        dropout: dropout probability, also of the attention weights.
        activation: "relu", "gelu" or a function on Tensors.
        layer_norm_eps: `eps` of the layer norms.
        batch_first: whether inputs are (N, L, E) instead of (L, N, E).
        norm_first: whether to normalize before each sublayer instead of after it.
        bias: whether linear layers and layer norms have biases.
        generator: source of the initial values and of dropout.
        dtype: the type of the parameters.
    """

    def __init__(
        self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1,
        activation: str | Callable[[Tensor], Tensor] = "relu", layer_norm_eps: float = 1e-5, batch_first: bool = False,
        norm_first: bool = False, bias: bool = True, *, generator: Generator | None = None, dtype: DTypeLike = DEFAULT,
    ) -> None:  # fmt: skip
        options: dict[str, Any] = {"generator": generator, "dtype": dtype}
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first, **options)
        self.linear1 = Linear(d_model, dim_feedforward, bias, **options)
        self.dropout = Dropout(dropout, generator=generator)
        self.linear2 = Linear(dim_feedforward, d_model, bias, **options)
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
        self.dropout1 = Dropout(dropout, generator=generator)
        self.dropout2 = Dropout(dropout, generator=generator)
        functions: dict[Any, Any] = {"relu": F.relu, "gelu": F.gelu}
        self.activation = functions.get(activation, activation)
        message = f'activation must be "relu", "gelu" or a function, not {activation!r}'
        check(self, callable(self.activation), message)
        self.norm_first = norm_first

    def forward(
        self, src: Tensor, src_mask: Tensor | None = None, src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:  # fmt: skip
        """Map (L, N, E), or (N, L, E) with `batch_first`, to the same shape; masks as in `MultiheadAttention`."""

        def attend(x: Tensor) -> Tensor:
            return self.dropout1(self.self_attn(x, x, x, src_key_padding_mask, False, src_mask, is_causal=is_causal)[0])

        def feed_forward(x: Tensor) -> Tensor:
            return self.dropout2(self.linear2(self.dropout(self.activation(self.linear1(x)))))

        if self.norm_first:
            src = src + attend(self.norm1(src))
            return src + feed_forward(self.norm2(src))
        src = self.norm1(src + attend(src))
        return self.norm2(src + feed_forward(src))
