"""The parts of a decoder-only transformer, in the variants of GPT-2 and of Llama: `gpt` stacks its blocks.

Both are pre-norm transformers with causal self-attention (Vaswani et al., Attention is all you need, 2017). GPT-2
(Radford et al., Language models are unsupervised multitask learners, 2019) has layer normalization, learned positions,
GELU and biases. Llama (Touvron et al., LLaMA: open and efficient foundation language models, 2023) has RMSNorm (Zhang
and Sennrich, Root mean square layer normalization, 2019), rotary positions (Su et al., RoFormer, 2021), SwiGLU
(Shazeer, GLU variants improve transformer, 2020), groups of heads that share a key and value head (Ainslie et al., GQA,
2023), and no biases.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from chainrule import nn, ops
from chainrule.errors import check, check_integer, check_not_negative
from chainrule.nn import functional as F  # noqa: N812  # the field's name for it
from chainrule.tensor import from_numpy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.random import Generator

    from chainrule.tensor import Tensor


@dataclass(frozen=True)
class GPTConfig:
    """The sizes of a GPT, and its variant.

    Attributes:
        vocab_size: V, the number of different tokens.
        block_size: the longest context, in tokens.
        layers: the number of blocks.
        heads: the number of query heads of each attention; must divide `width`.
        width: E, the size of a token's vector.
        kv_heads: the number of key and value heads, each shared by heads / kv_heads query heads; 0 for `heads`.
        hidden: the width of the feed-forward networks; 0 for 4 E, or with SwiGLU 8/3 E, rounded up to a multiple of 32.
        dropout: the probability of dropout after the embedding and after each sublayer; attention weights are kept.
        rms_norm: whether to use RMSNorm instead of layer normalization.
        rotary: whether to use rotary positions instead of learned ones.
        swiglu: whether to use SwiGLU instead of GELU.
        bias: whether linear layers and layer normalization have biases.
        tied: whether the embedding's weight is also the weight of the output layer.
        norm_eps: the `eps` of the normalizations.
        rope_theta: the base of the rotary frequencies.

    Raises:
        ValueError: a size is below 1, or one does not divide another; the message names it.
        TypeError: a size is not an integer.
    """

    vocab_size: int = 65
    block_size: int = 64
    layers: int = 4
    heads: int = 4
    width: int = 128
    kv_heads: int = 0
    hidden: int = 0
    dropout: float = 0.0
    rms_norm: bool = False
    rotary: bool = False
    swiglu: bool = False
    bias: bool = True
    tied: bool = True
    norm_eps: float = 1e-5
    rope_theta: float = 10_000.0

    def __post_init__(self) -> None:
        """Check the sizes, and fill in those that are 0."""
        for name in ("vocab_size", "block_size", "layers", "heads", "width"):
            check_integer(self, name, getattr(self, name), minimum=1)
        for name in ("kv_heads", "hidden"):
            check_integer(self, name, getattr(self, name), minimum=0)
        F.check_probability(self, self.dropout)
        check_not_negative(self, norm_eps=self.norm_eps, rope_theta=self.rope_theta)
        check(self, self.norm_eps < math.inf, f"norm_eps must be finite, not {self.norm_eps}")
        check(self, 0 < self.rope_theta < math.inf, f"rope_theta must be positive and finite, not {self.rope_theta}")
        check(self, not self.width % self.heads, f"heads={self.heads} must divide width={self.width}")
        head_size = self.width // self.heads
        check(self, not (self.rotary and head_size % 2), f"rotary positions need heads of even width, not {head_size}")
        hidden = -(-8 * self.width // 96) * 32 if self.swiglu else 4 * self.width
        object.__setattr__(self, "kv_heads", self.kv_heads or self.heads)
        object.__setattr__(self, "hidden", self.hidden or hidden)
        check(self, not self.heads % self.kv_heads, f"kv_heads={self.kv_heads} must divide heads={self.heads}")

    @property
    def head_size(self) -> int:
        """D, the width of a head."""
        return self.width // self.heads


class Past:
    """The keys and values of earlier tokens, which a layer puts before those of its own tokens.

    Args:
        keys: (N, kv_heads, S, D), or None without earlier tokens.
        values: as `keys`.
        visible: (S + T,), whether tokens attend to each of the S earlier and T own keys; None for causal attention.

    Attributes:
        new: the keys and values of the layer's own tokens, each (N, kv_heads, T, D), once the layer has run.
    """

    def __init__(self, keys: Tensor | None = None, values: Tensor | None = None, visible: Tensor | None = None) -> None:
        self.keys, self.values, self.visible = keys, values, visible
        self.new: tuple[Tensor, ...] = ()

    def extend(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Append the keys and values of the layer's tokens to the earlier ones, and return all."""
        self.new = key, value
        if self.keys is None or self.values is None:
            return key, value
        return ops.cat([self.keys, key], dim=2), ops.cat([self.values, value], dim=2)


class CausalSelfAttention(nn.Module):
    """Multi-head attention of each token to itself and to those before it.

    Queries, keys and values come from one linear layer, `qkv`: (heads + 2 kv_heads) · D outputs.
    """

    def __init__(self, config: GPTConfig, generator: Generator | None = None) -> None:
        width = (config.heads + 2 * config.kv_heads) * config.head_size
        self.heads, self.kv_heads, self.head_size = config.heads, config.kv_heads, config.head_size
        self.qkv = nn.Linear(config.width, width, config.bias, generator=generator)
        self.projection = nn.Linear(config.width, config.width, config.bias, generator=generator)

    def forward(self, x: Tensor, rotation: Sequence[Tensor] | None = None, past: Past | None = None) -> Tensor:
        """Map (N, T, E) to the same shape.

        Args:
            x: the tokens' vectors.
            rotation: cos and sin of the rotary angles of their positions, each (T, D), or None.
            past: the keys and values of earlier tokens.
        """
        n, length, width = x.shape
        q, k, v = self._project(x, rotation)
        visible = None
        if past is not None:
            (k, v), visible = past.extend(k, v), past.visible
        out = F.scaled_dot_product_attention(
            q, k, v, attn_mask=visible, is_causal=visible is None, enable_gqa=self.kv_heads != self.heads
        )
        return self.projection(out.transpose(1, 2).reshape(n, length, width))

    def weights(self, x: Tensor, rotation: Sequence[Tensor] | None = None) -> Tensor:
        """Return the weights of the attention of each token to itself and those before it, (N, heads, T, T).

        Arguments as in `forward`. The weights are the output of attention for values that are the rows of an identity
        matrix.
        """
        q, k, _ = self._project(x, rotation)
        values = from_numpy(np.eye(x.shape[1], dtype=x.dtype)).expand(*k.shape[:3], -1)
        grouped = self.kv_heads != self.heads
        return F.scaled_dot_product_attention(q, k, values, is_causal=True, enable_gqa=grouped)

    def _project(self, x: Tensor, rotation: Sequence[Tensor] | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return the queries (N, heads, T, D), and the keys and values (N, kv_heads, T, D)."""
        n, length, _ = x.shape
        split = [self.heads * self.head_size, *[self.kv_heads * self.head_size] * 2]
        q, k, v = (
            part.reshape(n, length, -1, self.head_size).transpose(1, 2) for part in self.qkv(x).split(split, dim=2)
        )
        if rotation is not None:
            q, k = rotate(q, *rotation), rotate(k, *rotation)
        return q, k, v


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the pairs (x[i], x[i + D/2]) of each vector (..., T, D) by the angles of its position.

    So the product of a query and a key depends on their positions only through the difference.

    Source: Su et al., RoFormer: enhanced transformer with rotary position embedding (2021). The pairs are those of
    Llama's checkpoints in the Hugging Face format.
    """
    half = x.shape[-1] // 2
    return x * cos + ops.cat([-x[..., half:], x[..., :half]], dim=-1) * sin


def rotary_tables(config: GPTConfig) -> tuple[Tensor, Tensor]:
    """Return cos and sin of the angles, position · theta^(-2i / D), of each position and pair: (block_size, D)."""
    frequencies = config.rope_theta ** (-np.arange(0, config.head_size, 2) / config.head_size)
    angles = np.outer(np.arange(config.block_size), np.concatenate([frequencies, frequencies]))
    return from_numpy(np.cos(angles).astype(np.float32)), from_numpy(np.sin(angles).astype(np.float32))


class FeedForward(nn.Module):
    """Two linear layers with GELU, in the approximation by tanh that GPT-2 uses."""

    def __init__(self, config: GPTConfig, generator: Generator | None = None) -> None:
        self.up = nn.Linear(config.width, config.hidden, config.bias, generator=generator)
        self.projection = nn.Linear(config.hidden, config.width, config.bias, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., E) to the same shape."""
        return self.projection(F.gelu(self.up(x), approximate="tanh"))


class SwiGLU(nn.Module):
    """silu(x Wᵍ) · (x Wᵘ), projected back; Wᵍ and Wᵘ are the halves of one layer, `gate_up`.

    Source: Shazeer, GLU variants improve transformer (2020).
    """

    def __init__(self, config: GPTConfig, generator: Generator | None = None) -> None:
        self.gate_up = nn.Linear(config.width, 2 * config.hidden, config.bias, generator=generator)
        self.projection = nn.Linear(config.hidden, config.width, config.bias, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., E) to the same shape."""
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.projection(F.silu(gate) * up)


class Block(nn.Module):
    """Attention, then a feed-forward network; each normalizes its input and adds its output to it."""

    def __init__(self, config: GPTConfig, generator: Generator | None = None) -> None:
        self.norm1, self.norm2 = make_norm(config), make_norm(config)
        self.attention = CausalSelfAttention(config, generator)
        self.feed_forward = (SwiGLU if config.swiglu else FeedForward)(config, generator)
        self.dropout1 = nn.Dropout(config.dropout, generator=generator)
        self.dropout2 = nn.Dropout(config.dropout, generator=generator)

    def forward(self, x: Tensor, rotation: Sequence[Tensor] | None = None, past: Past | None = None) -> Tensor:
        """Map (N, T, E) to the same shape; arguments as in `CausalSelfAttention`."""
        x = x + self.dropout1(self.attention(self.norm1(x), rotation, past))
        return x + self.dropout2(self.feed_forward(self.norm2(x)))


def make_norm(config: GPTConfig) -> nn.LayerNorm | nn.RMSNorm:
    """Return the normalization layer of the variant, for vectors of width E."""
    if config.rms_norm:
        return nn.RMSNorm(config.width, config.norm_eps)
    return nn.LayerNorm(config.width, config.norm_eps, bias=config.bias)
