"""Attention patterns, against the formula in NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule import explain, from_numpy, models, no_grad

TOKENS = np.random.default_rng(0).integers(0, 65, 11)


def build(**options):
    network = models.build("gpt", {"size": "tiny", **options}, generator=np.random.default_rng(1))
    for name, parameter in network.named_parameters():
        if "qkv" in name:
            parameter.data *= 30  # patterns that are far from even
    return network.double()


@pytest.mark.parametrize("options", [{}, {"variant": "llama", "kv_heads": 1}, {"block_size": 64}])
def test_patterns_are_those_of_the_formula(options):
    network = build(**options)
    tokens = np.tile(TOKENS, 5) if "block_size" in options else TOKENS  # as many as for fused attention
    found = explain.attention_patterns(network, tokens)
    config, length = network.config, len(tokens)
    assert found.shape == (config.layers, config.heads, length, length)
    expected = []
    with no_grad():
        x = network.token_embedding(from_numpy(tokens[None]))
        rotation = [table[:length] for table in network.rotary_tables] or None
        if rotation is None:
            x = x + network.position_embedding.weight[:length]
        for block in network.blocks:
            q, k, _ = np.split(
                block.attention.qkv(block.norm1(x)).numpy()[0],
                np.cumsum([config.heads * config.head_size, config.kv_heads * config.head_size]),
                axis=1,
            )
            x = block(x, rotation)
            for head in range(config.heads):
                shared = head * config.kv_heads // config.heads
                width = slice(head * config.head_size, (head + 1) * config.head_size)
                one, other = q[:, width], k[:, shared * config.head_size : (shared + 1) * config.head_size]
                if rotation is not None:
                    one, other = (rotate(part, *(table.numpy() for table in rotation)) for part in (one, other))
                weights = np.zeros((length, length))
                for i in range(length):
                    scores = other[: i + 1] @ one[i] / np.sqrt(config.head_size)
                    weights[i, : i + 1] = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
                expected.append(weights)
    np.testing.assert_allclose(found.reshape(-1, length, length), expected, rtol=1e-6, atol=1e-9)
    assert found.max() > 0.5


def rotate(x, cos, sin):
    half = x.shape[1] // 2
    return x * cos + np.concatenate([-x[:, half:], x[:, :half]], 1) * sin


def test_the_network_stays_as_it_was():
    network = build(dropout=0.5).train()
    first, second = (explain.attention_patterns(network, TOKENS) for _ in range(2))
    assert np.array_equal(first, second)
    assert all(module.training and not module._pre_hooks for module in network.modules())


def test_what_does_not_fit_is_refused():
    network = build()
    with pytest.raises(TypeError, match="takes a GPT, whose layers attend, not Sequential"):
        explain.attention_patterns(models.build("mlp"), TOKENS)
    with pytest.raises(ValueError, match=r"the tokens of one text, \(T,\), not \(1, 11\)"):
        explain.attention_patterns(network, TOKENS[None])
    with pytest.raises(ValueError, match="there are no tokens"):
        explain.attention_patterns(network, np.empty(0, np.int64))
    with pytest.raises(ValueError, match="longer than the block of 32"):
        explain.attention_patterns(network, np.zeros(33, np.int64))
    with pytest.raises(IndexError):
        explain.attention_patterns(network, [65])
    with pytest.raises(TypeError):
        explain.attention_patterns(network, [1.5])
