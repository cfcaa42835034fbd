"""The GPT of `chainrule.models` in PyTorch, with the same names of parameters, and generation with two kinds of cache.

Only the variant of GPT-2: pre-norm blocks, learned positions, GELU in the approximation by tanh, tied embeddings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]  # layer, queries, keys, values (N, heads, T, D)


class Attention(nn.Module):
    """The projections around attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.projection = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor, layer: int, attend: Attend) -> Tensor:
        """(N, T, E) to the same shape."""
        n, length, width = x.shape
        parts = self.qkv(x).split(width, 2)
        q, k, v = (part.view(n, length, self.heads, width // self.heads).transpose(1, 2) for part in parts)
        return self.projection(attend(layer, q, k, v).transpose(1, 2).reshape(n, length, width))


class FeedForward(nn.Module):
    """Two linear layers with GELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up, self.projection = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(..., E) to the same shape."""
        return self.projection(functional.gelu(self.up(x), approximate="tanh"))


class Block(nn.Module):
    """A pre-norm block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention, self.feed_forward = Attention(width, heads), FeedForward(width)

    def forward(self, x: Tensor, layer: int, attend: Attend) -> Tensor:
        """(N, T, E) to the same shape."""
        x = x + self.attention(self.norm1(x), layer, attend)
        return x + self.feed_forward(self.norm2(x))


def causal(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of each token to itself and to those before it."""
    return functional.scaled_dot_product_attention(q, k, v, is_causal=True)


class TorchGPT(nn.Module):
    """Tokens (N, T) to logits (N, T, V)."""

    def __init__(self, vocab_size: int, block_size: int, layers: int, heads: int, width: int) -> None:
        super().__init__()
        self.block_size = block_size
        self.shape = layers, heads, width // heads
        self.token_embedding, self.position_embedding = nn.Embedding(vocab_size, width), nn.Embedding(block_size, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """The logits of all tokens."""
        return self.run(tokens, self.position_embedding.weight[: tokens.shape[1]], causal)

    def run(self, tokens: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """The logits, with a given attention."""
        x = self.token_embedding(tokens) + positions
        for layer, block in enumerate(self.blocks):
            x = block(x, layer, attend)
        return functional.linear(self.norm(x), self.token_embedding.weight)


class GrowingCache:
    """Keys and values to which those of each new token are concatenated, as in transformers' DynamicCache."""

    def __init__(self, model: TorchGPT) -> None:
        self.model = model
        self.pairs: list[tuple[Tensor, Tensor] | None] = [None] * model.shape[0]

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend to all tokens so far; the first call gets the whole prompt."""
        pair = self.pairs[layer]
        if pair is not None:
            k, v = torch.cat([pair[0], k], 2), torch.cat([pair[1], v], 2)
        self.pairs[layer] = k, v
        return functional.scaled_dot_product_attention(q, k, v, is_causal=pair is None)

    def logits(self, tokens: Tensor, position: int) -> Tensor:
        """The logits of the token after these (N, T), the first of which is at `position`."""
        rows = self.model.position_embedding.weight[position : position + tokens.shape[1]]
        return self.model.run(tokens, rows, self.attend)[:, -1]


class PreallocatedCache:
    """Keys and values in tensors of the block's length, of which the part that is filled is read."""

    def __init__(self, model: TorchGPT) -> None:
        self.model, (layers, heads, size) = model, model.shape
        self.keys, self.values = torch.zeros(2, layers, 1, heads, model.block_size, size)

    def logits(self, tokens: Tensor, position: int) -> Tensor:
        """The logits of the token after these (1, T), the first of which is at `position`."""
        end = position + tokens.shape[1]

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            keys, values = self.keys[layer], self.values[layer]
            keys[:, :, position:end], values[:, :, position:end] = k, v
            return functional.scaled_dot_product_attention(
                q, keys[:, :, :end], values[:, :, :end], is_causal=not position
            )

        return self.model.run(tokens, self.model.position_embedding.weight[position:end], attend)[:, -1]


class CompiledCache(PreallocatedCache):
    """Keys and values in tensors of the block's length, all of which a compiled step reads, with a mask."""

    def __init__(self, model: TorchGPT) -> None:
        super().__init__(model)
        self.slots = torch.arange(model.block_size)
        self.step = torch.compile(self.masked, dynamic=False)

    def masked(self, tokens: Tensor, position: Tensor) -> Tensor:
        """The logits of the token after this one (1, 1), which is at a position (1,)."""
        visible = (self.slots <= position)[None]  # (1, block_size)

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            self.keys[layer].index_copy_(2, position, k)
            self.values[layer].index_copy_(2, position, v)
            return functional.scaled_dot_product_attention(q, self.keys[layer], self.values[layer], attn_mask=visible)

        return self.model.run(tokens, self.model.position_embedding(position), attend)[:, -1]

    def logits(self, tokens: Tensor, position: int) -> Tensor:
        """The logits of the token after these (1, T), the first of which is at `position`."""
        if tokens.shape[1] > 1:
            return super().logits(tokens, position)
        return self.step(tokens, torch.tensor([position]))


def generate(
    cache: GrowingCache | PreallocatedCache, prompt: Sequence[int], count: int, *, greedy: bool = False
) -> list[int]:
    """Draw tokens one by one, as `chainrule.text.generate` does within the block."""
    tokens, position, drawn = torch.tensor([prompt]), 0, []
    with torch.inference_mode():
        for _ in range(count):
            logits = cache.logits(tokens, position)
            position += tokens.shape[1]
            tokens = logits.argmax(1, keepdim=True) if greedy else torch.multinomial(logits.softmax(1), 1)
            drawn.append(int(tokens))
    return drawn
