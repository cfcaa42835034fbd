"""Generation: tokens are drawn one by one from the predictions of a language model.

The keys and values of earlier tokens are kept in a cache: for a new token, the model computes one row of each matrix
product instead of one for each token of the text. `GPT.step` takes the cache as an array of fixed size, and the
position as an argument, so one compiled program serves all lengths.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.autograd import no_grad
from chainrule.errors import check, check_integer, check_not_negative, require_numbers
from chainrule.random import draw
from chainrule.tensor import from_numpy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.random import Generator
    from numpy.typing import ArrayLike, NDArray

    from chainrule.models import GPT

    Predict = Callable[[NDArray[np.int64]], NDArray[Any]]


FEW_TOKENS = 4
"""At most this many tokens are read one by one, with the compiled step: for small models, this is faster than one eager
pass."""


@dataclass(frozen=True)
class Sampler:
    """How tokens are drawn from logits.

    Attributes:
        temperature: the logits are divided by it: below 1, likely tokens become even likelier; 0 takes the likeliest.
        top_k: draw only from the k most likely tokens (and any that are as likely as the last of them).
        top_p: draw only from the smallest set of most likely tokens whose total probability is at least p. Applied
            after `top_k`.

    Raises:
        ValueError: the temperature is negative or NaN, `top_k` is below 1, or `top_p` is not above 0 and at most 1.
        TypeError: one of them is not a number, or `top_k` is not an integer.

    Sources: Fan et al., Hierarchical neural story generation (2018), for top-k; Holtzman et al., The curious case of
    neural text degeneration (2020), for top-p.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        """Check the settings; error messages begin with "generate", the function that takes them."""
        check_not_negative("generate", temperature=self.temperature)
        if self.top_k is not None:
            check_integer("generate", "top_k", self.top_k, minimum=1)
        if self.top_p is not None:
            require_numbers("generate", top_p=self.top_p)
            check("generate", 0 < self.top_p <= 1, f"top_p must be above 0 and at most 1, not {self.top_p}")

    def probabilities(self, logits: ArrayLike) -> NDArray[np.float64]:
        """Return the probabilities with which tokens are drawn, (N, V), from logits (N, V).

        Raises:
            ValueError: the largest logit of a text is not finite.
        """
        weights = self._weights(logits)
        probabilities: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
        return probabilities

    def __call__(self, logits: ArrayLike, generator: Generator | None = None) -> NDArray[np.int64]:
        """Draw a token for each row of logits (N, V). A temperature of 0 draws no random numbers.

        Raises:
            ValueError: the largest logit of a text is not finite.
        """
        weights = self._weights(logits)
        tokens: NDArray[np.int64]
        if not self.temperature:
            tokens = weights.argmax(axis=1)
        else:
            sums = weights.cumsum(axis=1)
            totals = sums[:, -1:]
            draws = np.minimum(draw("random", totals.shape, generator) * totals, np.nextafter(totals, 0))
            tokens = (sums > draws).argmax(axis=1)  # the first token whose cumulative sum is above the draw
        return tokens

    def _weights(self, logits: ArrayLike) -> NDArray[np.float64]:
        """Return weights proportional to the probabilities, (N, V); the largest in each row is 1."""
        scores = np.asarray(logits, np.float64)
        best = scores.max(axis=1, keepdims=True)
        invalid = best[~np.isfinite(best)]
        if invalid.size:
            raise ValueError(f"generate: a logit is {invalid[0]}: the weights of the model have diverged")
        weights: NDArray[np.float64]
        if not self.temperature:
            weights = np.zeros_like(scores)
            np.put_along_axis(weights, scores.argmax(axis=1)[:, None], 1.0, axis=1)
            return weights
        scores = scores - best
        with np.errstate(over="ignore", invalid="ignore"):  # -inf stays -inf, also at an infinite temperature
            scores = np.where(np.isneginf(scores), scores, scores / self.temperature)
        if self.top_k is not None and self.top_k < scores.shape[1]:
            threshold = np.partition(scores, -self.top_k, axis=1)[:, -self.top_k, None]  # the k-th largest score
            scores[scores < threshold] = -math.inf
        weights = np.exp(scores)
        if self.top_p is not None and self.top_p < 1:
            order = np.argsort(-weights, axis=1, kind="stable")
            descending = np.take_along_axis(weights, order, axis=1)
            preceding = np.cumsum(descending, axis=1) - descending  # the total weight of all likelier tokens
            descending[preceding >= self.top_p * weights.sum(axis=1, keepdims=True)] = 0.0
            np.put_along_axis(weights, order, descending, axis=1)
        return weights


def generate(
    model: GPT, prompt_tokens: Sequence[int] | NDArray[np.int64], max_new_tokens: int, temperature: float = 1.0,
    top_k: int | None = None, top_p: float | None = None, generator: Generator | None = None, *, use_cache: bool = True,
) -> Iterator[int]:  # fmt: skip
    """Continue a text: return an iterator over its next tokens, each drawn when it is requested.

    Args:
        model: a GPT, in eval mode if it has dropout.
        prompt_tokens: (T,), the beginning of the text, at least one token.
        max_new_tokens: the number of tokens to draw.
        temperature: the logits are divided by it; 0 takes the most likely token.
        top_k: draw only from the k most likely tokens (see `Sampler`).
        top_p: draw only from the smallest set of most likely tokens whose total probability is at least p.
        generator: source of the random numbers.
        use_cache: whether to keep keys and values; otherwise the model reads the whole context for each token.

    A context longer than the model's block is cropped to its last `block_size` tokens; their positions then start at 0
    again, also with rotary positions. So all keys and values change with each token: beyond the block, the model reads
    the whole block for each token.

    Raises:
        ValueError: the prompt is empty or holds an unknown token, the temperature is negative, `top_k` is below 1,
            `top_p` is not above 0 and at most 1, or the model has dropout and is in training mode.
        TypeError: the tokens are not integers.

    Source: Pope et al., Efficiently scaling transformer inference (2022), for the cache.

        import chainrule

        model = chainrule.models.build("gpt", {"size": "tiny"})
        tokens = list(chainrule.text.generate(model, [1, 2, 3], 40, temperature=0.8, top_k=10))
        len(tokens)  # 40
    """
    tokens = np.asarray(prompt_tokens)
    check("generate", tokens.ndim == 1, f"the prompt must be (T,), not {tokens.shape}; generate_batch takes (N, T)")
    batches = generate_batch(
        model, tokens[None], max_new_tokens, temperature, top_k, top_p, generator, use_cache=use_cache
    )
    return (int(token) for (token,) in batches)


def generate_batch(
    model: GPT, prompt_tokens: ArrayLike, max_new_tokens: int, temperature: float = 1.0, top_k: int | None = None,
    top_p: float | None = None, generator: Generator | None = None, *, use_cache: bool = True,
) -> Iterator[NDArray[np.int64]]:  # fmt: skip
    """Continue several texts of equal length: return an iterator over their next tokens, each (N,).

    Args:
        model: see `generate`.
        prompt_tokens: (N, T), the beginning of each text.
        max_new_tokens: the number of tokens to draw for each text.
        temperature: see `generate`.
        top_k: see `generate`.
        top_p: see `generate`.
        generator: see `generate`.
        use_cache: see `generate`.

    Raises:
        ValueError, TypeError: as `generate`.
    """
    tokens, size = np.asarray(prompt_tokens), model.vocab_size
    check("generate", tokens.ndim == 2, f"the prompts must be (N, T), not {tokens.shape}")
    check("generate", tokens.size, "the prompt is empty: give at least one token, such as a newline's")
    check("generate", tokens.dtype.kind in "iu", f"tokens must be integers, not {tokens.dtype}", TypeError)
    unknown = tokens[(tokens < 0) | (tokens >= size)]
    check("generate", not unknown.size, f"there is no token {unknown[:1]}; the model has 0 to {size - 1}")
    check_integer("generate", "max_new_tokens", max_new_tokens, minimum=0)
    drops_out = model.training and model.config.dropout > 0
    check("generate", not drops_out, "the model is in training mode, in which it drops out: call its eval() first")
    predict = _with_cache(model, len(tokens)) if use_cache else _without_cache(model)
    sampler, context = Sampler(temperature, top_k, top_p), tokens[:, -model.block_size :].astype(np.int64)
    return _draw_tokens(predict, sampler, context, model.block_size, max_new_tokens, generator)


def _draw_tokens(
    predict: Predict, sampler: Sampler, context: NDArray[np.int64], block_size: int, count: int,
    generator: Generator | None,
) -> Iterator[NDArray[np.int64]]:  # fmt: skip
    """Yield `count` times the next token of each text, (N,); the context (N, T) holds the last tokens of the texts."""
    for _ in range(count):
        drawn = sampler(predict(context), generator)
        context = np.concatenate([context, drawn[:, None]], axis=1)[:, -block_size:]
        yield drawn


def _without_cache(model: GPT) -> Predict:
    """Return a function from contexts (N, T) to the logits of their next tokens, (N, V)."""

    def predict(context: NDArray[np.int64]) -> NDArray[Any]:
        with no_grad():
            return model(from_numpy(context))[:, -1].numpy()

    return predict


def _with_cache(model: GPT, count: int) -> Predict:
    """Return a function like that of `_without_cache`, for contexts that each continue the previous one by one token.

    Once the block is full, a context drops the first token of the previous one.
    """
    config = model.config
    shape = config.layers, 2, count, config.kv_heads, config.block_size, config.head_size
    cache = np.zeros(shape, model.token_embedding.weight.dtype)
    token, position = np.zeros((count, 1), np.int64), np.zeros(1, np.int64)
    arguments = from_numpy(token), from_numpy(position), from_numpy(cache)  # they share the arrays' memory
    length = 0  # the number of tokens in the cache

    def predict(context: NDArray[np.int64]) -> NDArray[Any]:
        nonlocal length
        with no_grad():
            if length == config.block_size:
                return model.programs.next_logits(from_numpy(np.ascontiguousarray(context))).numpy()
            end = context.shape[1]
            if end - length > FEW_TOKENS:
                logits, new = model.prefill(from_numpy(context))
                cache[..., :end, :] = new.numpy()
                length = end
            while length < end:
                token[:], position[:] = context[:, length : length + 1], length
                logits, new = model.programs.step(*arguments)
                cache[..., length : length + 1, :] = new.numpy()
                length += 1
            return logits.numpy()

    return predict
