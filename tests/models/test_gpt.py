"""The GPT: its logits against its formulas in float64, its causality, its initial weights, its options, its cache."""

from __future__ import annotations

import math

import numpy as np
import pytest

import chainrule
from chainrule import models, no_grad, optim
from chainrule.errors import RunError
from chainrule.models.gpt import GPT, SIZES
from chainrule.models.transformer import GPTConfig, rotary_tables, rotate

SMALL = {"vocab_size": 11, "block_size": 7, "layers": 2, "heads": 4, "width": 24, "hidden": 40}
LLAMA = {"rms_norm": True, "rotary": True, "swiglu": True, "bias": False, "norm_eps": 1e-6}
VARIANTS = {
    "gpt2": {},
    "llama": LLAMA,
    "llama, grouped heads, untied": {**LLAMA, "kv_heads": 2, "tied": False},
    "one shared key and value head": {**LLAMA, "kv_heads": 1, "rope_theta": 50.0},
    "gpt2 without biases": {"bias": False},
    "gpt2 with RMSNorm": {"rms_norm": True},
}
VARIANT = pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)


def small(seed=0, **changes):
    """A small model whose weights are large enough that each of them matters."""
    model = GPT(GPTConfig(**{**SMALL, **changes}), generator=np.random.default_rng(seed))
    with no_grad():
        for i, parameter in enumerate(model.parameters()):
            noise = np.random.default_rng(seed + i).normal(0, 0.3, parameter.shape).astype(np.float32)
            parameter += chainrule.from_numpy(noise)
    return model


def texts(n=3, length=7, size=11, seed=0):
    return np.random.default_rng(seed).integers(0, size, (n, length))


# The formulas, position by position


def by_hand(model, text):
    """Logits (T, V) of one text: plain loops over heads and positions, in float64."""
    c, w = model.config, {name: tensor.numpy().astype(float) for name, tensor in model.state_dict().items()}

    def norm(x, name):
        if c.rms_norm:
            return x / np.sqrt((x**2).mean() + c.norm_eps) * w[f"{name}.weight"]
        return (x - x.mean()) / np.sqrt(x.var() + c.norm_eps) * w[f"{name}.weight"] + w.get(f"{name}.bias", 0)

    def linear(x, name):
        return w[f"{name}.weight"] @ x + w.get(f"{name}.bias", 0)

    def turn(vector, position):
        if not c.rotary:
            return vector
        half = len(vector) // 2
        pairs = vector[:half] + 1j * vector[half:]
        pairs = pairs * np.exp(1j * position * c.rope_theta ** (-np.arange(half) / half))
        return np.concatenate([pairs.real, pairs.imag])

    def feed_forward(x, name):
        if c.swiglu:
            gate, up = np.split(linear(x, f"{name}.gate_up"), 2)
            return linear(gate / (1 + np.exp(-gate)) * up, f"{name}.projection")
        x = linear(x, f"{name}.up")
        return linear(x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))), f"{name}.projection")

    d, groups = c.head_size, c.heads // c.kv_heads
    stream = [w["token_embedding.weight"][token] for token in text]
    if not c.rotary:
        stream = [x + w["position_embedding.weight"][t] for t, x in enumerate(stream)]
    for layer in range(c.layers):
        name = f"blocks.{layer}"
        rows = [linear(norm(x, f"{name}.norm1"), f"{name}.attention.qkv") for x in stream]
        q, k, v = zip(*(np.split(row, [c.heads * d, (c.heads + c.kv_heads) * d]) for row in rows), strict=True)
        for t in range(len(text)):
            heads = []
            for h in range(c.heads):
                query, own = turn(q[t][h * d : (h + 1) * d], t), slice(h // groups * d, (h // groups + 1) * d)
                scores = np.array([query @ turn(k[s][own], s) for s in range(t + 1)]) / math.sqrt(d)
                weights = np.exp(scores) / np.exp(scores).sum()
                heads.append(sum(weight * v[s][own] for s, weight in enumerate(weights)))
            stream[t] = stream[t] + linear(np.concatenate(heads), f"{name}.attention.projection")
            stream[t] = stream[t] + feed_forward(norm(stream[t], f"{name}.norm2"), f"{name}.feed_forward")
    head = w["token_embedding.weight" if c.tied else "head.weight"]
    return np.array([head @ norm(x, "norm") for x in stream])


@VARIANT
def test_the_logits_are_those_of_the_formulas(changes):
    model, tokens = small(**changes), texts()
    logits = model(chainrule.tensor(tokens)).detach().numpy()
    assert logits.shape == (3, 7, 11)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, [by_hand(model, text) for text in tokens], rtol=2e-4, atol=2e-4)


@VARIANT
def test_a_token_does_not_see_later_ones(changes):
    model, tokens = small(**changes), texts(1)
    changed = tokens.copy()
    changed[0, 4:] = (changed[0, 4:] + 1) % 11
    before, after = (model(chainrule.tensor(t)).detach().numpy() for t in (tokens, changed))
    np.testing.assert_array_equal(before[:, :4], after[:, :4])
    assert (before[:, 4:] != after[:, 4:]).any(axis=2).all()
    shorter = model(chainrule.tensor(tokens[:, :3])).detach().numpy()
    np.testing.assert_allclose(shorter, before[:, :3], rtol=1e-4, atol=1e-5)


def test_rotary_attention_depends_on_distances_only():
    """The same three tokens later, after others whose keys nothing attends to, would attend to each other the same."""
    cos, sin = rotary_tables(GPTConfig(**{**SMALL, "block_size": 20, **LLAMA}))
    query, key = (chainrule.from_numpy(np.random.default_rng(i).normal(size=(1, 6)).astype(np.float32)) for i in (0, 1))
    products = [
        (rotate(query, cos[t : t + 1], sin[t : t + 1]) * rotate(key, cos[s : s + 1], sin[s : s + 1])).sum().item()
        for t, s in [(5, 2), (19, 16), (3, 0), (4, 2)]
    ]
    assert products[:3] == pytest.approx([products[0]] * 3, rel=1e-5)
    assert abs(products[3] - products[0]) > 1e-2


# Training


def training_step(net, optimizer):
    """A training step of `net` on tokens and targets, which returns the loss."""

    def step(tokens, targets):
        optimizer.zero_grad()
        loss = models.get("gpt").loss(net(tokens), targets)
        loss.backward()
        optimizer.step()
        return loss

    return step


@VARIANT
def test_a_compiled_step_is_the_eager_one(changes):
    nets = [small(**changes) for _ in range(2)]
    eager, traced = (training_step(net, optim.SGD(net.parameters(), 0.1)) for net in nets)
    compiled = chainrule.jit(traced)
    for seed in (0, 2):
        batch = chainrule.tensor(texts(seed=seed)), chainrule.tensor(texts(seed=seed + 1))
        assert compiled(*batch).item() == pytest.approx(eager(*batch).item(), rel=1e-5)
    for one, other in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        np.testing.assert_allclose(one.detach().numpy(), other.detach().numpy(), rtol=1e-4, atol=1e-5)
    assert "Python call" not in compiled.explain()


def test_the_loss_is_the_mean_over_all_tokens():
    logits = np.random.default_rng(0).normal(size=(2, 3, 5))
    targets = np.array([[0, 4, 2], [1, 1, 3]])
    likelihoods = np.take_along_axis(logits - np.log(np.exp(logits).sum(-1, keepdims=True)), targets[..., None], -1)
    loss = models.get("gpt").loss(chainrule.tensor(logits), chainrule.tensor(targets))
    assert loss.item() == pytest.approx(-likelihoods.mean(), rel=1e-6)


@pytest.mark.parametrize("variant", ["gpt2", "llama"])
def test_it_learns_to_count(variant):
    model = models.build(
        "gpt", {"size": "tiny", "variant": variant, "vocab_size": 8}, generator=np.random.default_rng(0)
    )
    step = chainrule.jit(training_step(model, optim.AdamW(model.parameters(), 0.01)))
    random = np.random.default_rng(1)
    for _ in range(60):
        counts = (random.integers(0, 8, (8, 1)) + np.arange(17)) % 8
        loss = step(chainrule.tensor(counts[:, :-1]), chainrule.tensor(counts[:, 1:])).item()
    assert loss < 0.1


def test_dropout_draws_from_the_generator_in_training_only():
    model = small(dropout=0.5)
    tokens = chainrule.tensor(texts())
    first, second = (model(tokens).detach().numpy() for _ in range(2))
    assert (first != second).any()
    model.eval()
    np.testing.assert_array_equal(model(tokens).detach().numpy(), model(tokens).detach().numpy())
    np.testing.assert_allclose(model(tokens).detach().numpy()[0], by_hand(model, texts()[0]), rtol=2e-4, atol=2e-4)


# Initial weights


@pytest.mark.parametrize("variant", ["gpt2", "llama"])
def test_initial_weights_are_gpt2s(variant):
    model = models.build("gpt", {"variant": variant, "layers": 8}, generator=np.random.default_rng(0))
    seen = set()
    for name, parameter in model.named_parameters():
        values = parameter.detach().numpy()
        if values.ndim == 2:
            residual = name.endswith(("attention.projection.weight", "feed_forward.projection.weight"))
            assert values.std() == pytest.approx(0.02 / (4 if residual else 1), rel=0.05), name  # √(2 · 8) = 4
            assert abs(values.mean()) < 0.001
            seen.add(residual)
        else:
            np.testing.assert_array_equal(values, 0 if name.endswith("bias") else 1)
    assert seen == {False, True}
    tokens = chainrule.tensor(texts(4, 64, 65))
    loss = models.get("gpt").loss(model(tokens), chainrule.tensor(texts(4, 64, 65, seed=1))).item()
    assert loss == pytest.approx(math.log(65), abs=0.1)


def test_the_same_generator_gives_the_same_bits():
    first, again, other = (
        [
            p.detach().numpy().tobytes()
            for p in models.build("gpt", {"size": "tiny"}, generator=np.random.default_rng(seed)).parameters()
        ]
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first[0] != other[0]


# Sizes and options


def test_the_sizes_are_those_that_are_named():
    counts = {size: sum(p.numel() for p in models.build("gpt", {"size": size}).parameters()) for size in SIZES}
    expected = {}
    for name, (vocab, block, layers, width) in {
        "names": (27, 16, 4, 64),
        "shakespeare": (65, 64, 4, 128),
        "tiny": (65, 32, 2, 32),
    }.items():
        block_weights = 12 * width * width + 13 * width  # 4 + 8 matrices, their biases, two layer norms
        expected[name] = (vocab + block) * width + layers * block_weights + 2 * width
    assert counts == expected
    assert models.get("gpt").task == "text"
    assert models.get("mlp").task == "images"


def test_options_replace_parts_of_a_size():
    options = {"size": "tiny", "layers": 3, "heads": 8, "width": 64, "block_size": 9, "vocab_size": 40, "dropout": 0.25}
    model = models.build("gpt", {**options, "variant": "llama", "kv_heads": 2})
    assert (model.vocab_size, model.block_size) == (40, 9)
    config = model.config
    assert config.tied
    assert not models.build("gpt", {"size": "tiny", "tied": False}).config.tied
    assert (config.layers, config.heads, config.kv_heads, config.width, config.dropout) == (3, 8, 2, 64, 0.25)
    assert config.hidden == 192  # 8/3 · 64 = 170.7, rounded up to a multiple of 32
    assert model(chainrule.tensor(texts(2, 9, 40))).shape == (2, 9, 40)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": "huge"}, "option size must be one of names, shakespeare, tiny, not 'huge'"),
        ({"variant": "bert"}, "option variant must be one of gpt2, llama, not 'bert'"),
        ({"heads": 3}, "GPTConfig: heads=3 must divide width=128"),
        ({"heads": 4, "kv_heads": 3}, "GPTConfig: kv_heads=3 must divide heads=4"),
        ({"heads": 128, "variant": "llama"}, "GPTConfig: rotary positions need heads of even width, not 1"),
        ({"dropout": 1.5}, "GPTConfig: p must be a probability from 0 to 1, not 1.5"),
        ({"layers": 0}, "option layers must be at least 1, not 0"),
        ({"inputs": 784}, "has no option 'inputs'; it has size, variant, vocab_size"),
        ({"layers": 51}, "would have more than 10,000,000 parameters with layers 51: models by name are small"),
    ],
    ids=str,
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(RunError, match=message):
        models.build("gpt", options)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"vocab_size": 0}, ValueError, "vocab_size must be at least 1, not 0"),
        ({"block_size": 2.5}, TypeError, "block_size must be an integer, not 2.5"),
        ({"hidden": -1}, ValueError, "hidden must be at least 0, not -1"),
        ({"norm_eps": -1.0}, ValueError, "norm_eps must not be negative, got -1.0"),
        ({"norm_eps": np.inf}, ValueError, "norm_eps must be finite, not inf"),
        ({"rope_theta": 0.0}, ValueError, "rope_theta must be positive and finite, not 0.0"),
        ({"rope_theta": np.inf}, ValueError, "rope_theta must be positive and finite, not inf"),
        ({"rope_theta": None}, TypeError, "rope_theta must be a number, not None"),
    ],
    ids=str,
)
def test_sizes_that_cannot_be_are_refused(changes, error, message):
    with pytest.raises(error, match=f"GPTConfig: {message}"):
        GPTConfig(**changes)


@pytest.mark.parametrize(
    ("tokens", "error", "message"),
    [
        (np.zeros((1, 8), int), ValueError, "GPT: a context of 8 tokens is longer than the block of 7"),
        (np.zeros((1, 0), int), ValueError, "GPT: there are no tokens"),
        (np.zeros(3, int), ValueError, r"GPT: tokens must be \(N, T\), not \(3,\)"),
        (np.full((1, 2), 11), IndexError, "indices are 11 to 11, but must be 0 to 10"),
        (np.full((1, 2), -1), IndexError, "indices are -1 to -1, but must be 0 to 10"),
        (np.zeros((1, 2)), TypeError, "the index must be integers, not float"),
    ],
    ids=["too long", "empty", "no batch", "too large", "negative", "floats"],
)
def test_tokens_that_do_not_fit_are_refused(tokens, error, message):
    with pytest.raises(error, match=message):
        small()(chainrule.tensor(tokens))


def test_the_repr_names_what_differs_from_the_defaults():
    assert repr(GPT(GPTConfig(layers=1, vocab_size=5))).startswith(
        "GPT(\n  vocab_size=5, layers=1, kv_heads=4, hidden=512\n"
    )


# One token at a time


@VARIANT
def test_a_step_with_the_cache_gives_the_logits_of_the_whole_text(changes):
    model, tokens = small(**changes).eval(), texts(2)
    step = chainrule.jit(model.step)
    with no_grad():
        expected = model(chainrule.tensor(tokens)).numpy()
        logits, first = model.prefill(chainrule.tensor(tokens[:, :2]))
        np.testing.assert_allclose(logits.numpy(), expected[:, 1], rtol=1e-4, atol=1e-5)
        assert first.shape == (2, 2, 2, model.config.kv_heads, 2, 6)
        cache = np.full(
            (2, 2, 2, model.config.kv_heads, 7, 6), 1e30, np.float32
        )  # what is not yet written does not matter
        cache[..., :2, :] = first.numpy()
        for t in range(2, 7):
            logits, new = step(
                chainrule.tensor(tokens[:, t : t + 1]), chainrule.tensor([t]), chainrule.from_numpy(cache)
            )
            np.testing.assert_allclose(logits.numpy(), expected[:, t], rtol=1e-4, atol=1e-5)
            cache[..., t : t + 1, :] = new.numpy()
    assert len(step.specializations) == 1, "one program for all lengths"
    assert "Python call" not in step.explain()
