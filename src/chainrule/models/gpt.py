"""`gpt`: a decoder-only transformer that predicts the next token, in the variants of GPT-2 and of Llama.

Its blocks and their sources are in `transformer`.
"""

from __future__ import annotations

import math
from dataclasses import fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import nn, ops
from chainrule.errors import RunError, check
from chainrule.models.registry import Recipe, register
from chainrule.models.transformer import Block, GPTConfig, Past, make_norm, rotary_tables
from chainrule.nn import functional as F  # noqa: N812  # the field's name for it
from chainrule.tensor import Tensor, from_numpy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.random import Generator

INITIAL_STD = 0.02
"""Standard deviation of the initial weights, as in GPT-2."""


class GPT(nn.Module):
    """A language model: for each token of a text, the logits of the token that comes next.

    Args:
        config: the sizes and the variant; a default `GPTConfig` if None.
        generator: source of the initial weights and of dropout.

    Weights are drawn from N(0, 0.02²), and those that project back onto the residual stream from
    N(0, 0.02² / (2 layers)), so that its variance does not grow with the number of layers; biases are 0.

    Shapes: tokens (N, T), integers from 0 to V - 1, to logits (N, T, V), for T up to `block_size`.

    Source: Radford et al., Language models are unsupervised multitask learners (2019), section 2.3.

        import chainrule
        from chainrule.models import GPT, GPTConfig

        model = GPT(GPTConfig(vocab_size=27, block_size=16, layers=2, heads=2, width=32))
        model(chainrule.tensor([[1, 2, 3]])).shape  # (1, 3, 27)
    """

    def __init__(self, config: GPTConfig | None = None, *, generator: Generator | None = None) -> None:
        self.config = config = GPTConfig() if config is None else config
        self.vocab_size, self.block_size = config.vocab_size, config.block_size
        self.token_embedding = nn.Embedding(config.vocab_size, config.width, generator=generator)
        self.position_embedding = (
            None if config.rotary else nn.Embedding(config.block_size, config.width, generator=generator)
        )
        self.rotary_tables = rotary_tables(config) if config.rotary else ()
        self.dropout = nn.Dropout(config.dropout, generator=generator)
        self.programs = Programs(self)
        self.blocks = [Block(config, generator) for _ in range(config.layers)]
        self.norm = make_norm(config)
        self.head = None if config.tied else nn.Linear(config.width, config.vocab_size, bias=False, generator=generator)
        residual_std = INITIAL_STD / math.sqrt(2 * config.layers)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                std = residual_std if name.endswith("projection.weight") else INITIAL_STD
                nn.init.normal_(parameter, 0.0, std, generator)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (N, T), integers, to logits (N, T, V).

        Raises:
            ValueError: T is 0 or more than `block_size`.
            IndexError: a token is not from 0 to V - 1.
            TypeError: the tokens are not integers.
        """
        return self._logits(self._features(tokens, self._first_positions(tokens)))

    def prefill(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Read the beginning of each text, (N, T), to be continued by `step`.

        Returns:
            The logits of the next token (N, V), and the keys and values of all tokens, (layers, 2, N, kv_heads, T, D).

        Raises:
            ValueError, IndexError, TypeError: as `forward`.
        """
        past = [Past() for _ in self.blocks]
        features = self._features(tokens, self._first_positions(tokens), past)
        return self._logits(features[:, -1]), _new_keys_and_values(past)

    def step(self, tokens: Tensor, position: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        """Read one more token of each text, given the keys and values of those before it.

        Args:
            tokens: (N, 1), integers.
            position: (1,), the number of tokens before them, below `block_size`.
            cache: (layers, 2, N, kv_heads, S, D), keys and values of earlier tokens; those from `position` on are
                ignored, so that one compiled program serves all lengths.

        Returns:
            The logits of the next token (N, V), and the keys and values of this one, (layers, 2, N, kv_heads, 1, D).
        """
        slots = np.arange(cache.shape[-2] + 1)
        visible = (from_numpy(slots) < position) | from_numpy(slots == cache.shape[-2])  # earlier tokens, and itself
        past = [Past(cache[layer, 0], cache[layer, 1], visible) for layer in range(self.config.layers)]
        rows = [F.embedding(position, table) for table in self._position_tables()]
        return self._logits(self._features(tokens, rows, past)[:, -1]), _new_keys_and_values(past)

    def _first_positions(self, tokens: Tensor) -> list[Tensor]:
        """Check tokens (N, T), and return the first T rows of the position tables."""
        check(self, tokens.ndim == 2, f"tokens must be (N, T), not {tokens.shape}")
        length = tokens.shape[1]
        check(self, length, "there are no tokens: a text needs at least one")
        if length > self.block_size:
            raise ValueError(f"GPT: a context of {length} tokens is longer than the block of {self.block_size}")
        return [table[:length] for table in self._position_tables()]

    def _position_tables(self) -> Sequence[Tensor]:
        """Return the tables with a row for each position: the learned vectors, or cos and sin of the rotary angles."""
        return self.rotary_tables if self.position_embedding is None else [self.position_embedding.weight]

    def _features(self, tokens: Tensor, positions: Sequence[Tensor], past: Sequence[Past] | None = None) -> Tensor:
        """Map tokens (N, T) to the input of the output layer, (N, T, E), given their rows of the position tables."""
        x = self.token_embedding(tokens)
        if self.position_embedding is not None:
            x = x + positions[0]
        x = self.dropout(x)
        rotation = positions if self.rotary_tables else None
        for i, block in enumerate(self.blocks):
            x = block(x, rotation, None if past is None else past[i])
        return self.norm(x)

    def _logits(self, features: Tensor) -> Tensor:
        weight = self.token_embedding.weight if self.head is None else self.head.weight
        return F.linear(features, weight)

    def extra_repr(self) -> str:
        """Return the fields of the config that differ from the defaults."""
        changed = [f for f in fields(GPTConfig) if getattr(self.config, f.name) != f.default]
        return ", ".join(f"{f.name}={getattr(self.config, f.name)!r}" for f in changed)


class Programs:
    """The compiled functions of one model that generation calls; a copy of the model compiles its own."""

    def __init__(self, model: GPT) -> None:
        self.model = model

    @cached_property
    def step(self) -> Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]:
        """`GPT.step`."""
        from chainrule.capture import jit  # imported here to keep the start of the command line fast

        return jit(self.model.step)

    @cached_property
    def next_logits(self) -> Callable[[Tensor], Tensor]:
        """The logits of the next token, (N, V), of texts (N, T)."""
        from chainrule.capture import jit

        return jit(lambda tokens: self.model.prefill(tokens)[0])

    def __reduce__(self) -> tuple[type[Programs], tuple[GPT]]:
        """Copy and pickle without the compiled functions."""
        return Programs, (self.model,)


def _new_keys_and_values(past: Sequence[Past]) -> Tensor:
    """Return the keys and values that the layers have computed, (layers, 2, N, kv_heads, T, D)."""
    return ops.stack([part for layer in past for part in layer.new]).unflatten(0, (-1, 2))


def next_token_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross entropy of logits (N, T, V) and the tokens (N, T) that come next, in nats a token."""
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))


SIZES: dict[str, dict[str, Any]] = {
    "names": {"vocab_size": 27, "block_size": 16, "layers": 4, "heads": 4, "width": 64},
    "shakespeare": {"vocab_size": 65, "block_size": 64, "layers": 4, "heads": 4, "width": 128},
    "tiny": {"vocab_size": 65, "block_size": 32, "layers": 2, "heads": 2, "width": 32},
}
"""Sizes by name: for names of up to 15 letters, for characters on a CPU (nanoGPT's), and for tests."""

VARIANTS: dict[str, dict[str, Any]] = {
    "gpt2": {},
    "llama": {"rms_norm": True, "rotary": True, "swiglu": True, "bias": False, "norm_eps": 1e-6},
}
"""The options of each variant by name."""


@register(
    "a small GPT, which predicts the next token of a text: sizes tiny, names, shakespeare",
    Recipe(
        epochs=8,
        batch_size=12,
        optimizer="adamw",
        lr=0.001,
        weight_decay=0.1,
        schedule="warmup-cosine",
        steps_per_epoch=250,
    ),
    loss=next_token_loss,
    task="text",
)
def gpt(
    *, size: str = "shakespeare", variant: str = "gpt2", vocab_size: int = 0, block_size: int = 0, layers: int = 0,
    heads: int = 0, kv_heads: int = 0, width: int = 0, dropout: float = 0.0, tied: bool = True,
    generator: Generator | None = None,
) -> GPT:  # fmt: skip
    """Build a GPT of a named size; other options override this size where they are not 0.

    Args:
        size: "names", "shakespeare" or "tiny"; see `SIZES`.
        variant: "gpt2" or "llama"; see `VARIANTS`.
        vocab_size: number of different tokens.
        block_size: longest context.
        layers: number of blocks.
        heads: number of query heads.
        kv_heads: number of key and value heads; 0 for as many as `heads`.
        width: size of a token's vector.
        dropout: probability of dropout.
        tied: whether the embedding's weight is also the weight of the output layer.
        generator: source of the initial weights and of dropout.

    Shapes: tokens (N, T) to logits (N, T, V).

    Raises:
        RunError: an unknown size or variant, or sizes that do not fit each other.
    """
    for option, value, table in (("size", size, SIZES), ("variant", variant, VARIANTS)):
        if value not in table:
            raise RunError(f"model 'gpt': option {option} must be one of {', '.join(table)}, not {value!r}")
    sizes = {
        "vocab_size": vocab_size, "block_size": block_size, "layers": layers, "heads": heads, "kv_heads": kv_heads,
        "width": width,
    }  # fmt: skip
    changes = {name: value for name, value in sizes.items() if value}
    try:
        config = GPTConfig(**SIZES[size] | VARIANTS[variant] | changes, dropout=dropout, tied=tied)
    except ValueError as error:
        raise RunError(f"model 'gpt': {error}") from None
    return GPT(config, generator=generator)
