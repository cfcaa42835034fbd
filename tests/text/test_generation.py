"""Generation: the same tokens as a plain loop over the whole context, with the cache and beyond the block."""

from __future__ import annotations

import copy
from itertools import islice

import numpy as np
import pytest

import chainrule
from chainrule import models, no_grad
from chainrule.text import Sampler, generate, generate_batch

VARIANTS = {
    "gpt2": {},
    "llama": {"variant": "llama"},
    "grouped heads": {"variant": "llama", "kv_heads": 2},
}
VARIANT = pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)


def build(**options):
    """A small model with weights large enough that its probabilities differ widely."""
    model = models.build(
        "gpt",
        {"size": "tiny", "heads": 4, "block_size": 12, "tied": False, **options},
        generator=np.random.default_rng(0),
    )
    with no_grad():
        for i, parameter in enumerate(model.parameters()):
            parameter += chainrule.from_numpy(
                np.random.default_rng(i).normal(0, 0.4, parameter.shape).astype(np.float32)
            )
    return model


def plain(model, prompt, count, choose):
    """The loop that everyone writes first: read the last block of tokens, choose the next, append it."""
    texts = np.array(prompt)
    for _ in range(count):
        with no_grad():
            logits = model(chainrule.tensor(texts[:, -model.block_size :])).numpy()[:, -1]
        texts = np.concatenate([texts, choose(logits.astype(float))[:, None]], axis=1)
    return texts[:, -count:].T.tolist()


def inverse_cdf(generator, temperature):
    """Draw by the inverse of the cumulative distribution, one uniform number for each text."""

    def choose(logits):
        odds = np.exp((logits - logits.max(axis=1, keepdims=True)) / temperature)
        sums = np.cumsum(odds / odds.sum(axis=1, keepdims=True), axis=1)
        uniform = generator.random(len(logits))
        return np.array([np.searchsorted(row, u * row[-1], side="right") for row, u in zip(sums, uniform, strict=True)])

    return choose


# The same tokens as without a cache


@VARIANT
@pytest.mark.parametrize("length", [1, 5, 12, 30])
def test_greedy_tokens_are_those_of_a_plain_loop(options, length):
    """From one token, within the block of 12 and beyond it, from a full block and from more than the block."""
    model, prompts = build(**options), np.random.default_rng(length).integers(0, 65, (4, length))
    expected = plain(model, prompts, 20, lambda logits: logits.argmax(axis=1))
    for use_cache in (True, False):
        tokens = generate_batch(model, prompts, 20, 0, use_cache=use_cache)
        assert [row.tolist() for row in tokens] == expected
    assert len(np.unique(expected)) > 4, "the texts repeat one token, so that this shows little"
    assert list(generate(model, prompts[2], 20, 0)) == [row[2] for row in expected]


@VARIANT
def test_drawn_tokens_are_those_of_a_plain_loop_with_the_same_generator(options):
    model, prompts = build(**options), np.random.default_rng(1).integers(0, 65, (5, 3))
    expected = plain(model, prompts, 15, inverse_cdf(np.random.default_rng(7), 0.7))
    drawn = generate_batch(model, prompts, 15, temperature=0.7, generator=np.random.default_rng(7))
    assert [tokens.tolist() for tokens in drawn] == expected
    single = generate(model, prompts[0], 15, temperature=0.7, generator=np.random.default_rng(7))
    assert list(single) == [t for (t,) in plain(model, prompts[:1], 15, inverse_cdf(np.random.default_rng(7), 0.7))]


def test_one_program_serves_all_lengths():
    model = build()
    for prompt in ([1], [1, 2, 3], [4] * 9):
        list(generate(model, prompt, 20, 0))
    assert len(model.programs.step.specializations) == 1
    assert len(model.programs.next_logits.specializations) == 1
    assert "Python call" not in model.programs.step.explain()


def test_it_follows_the_weights():
    """The compiled program reads the weights anew, also after training between two tokens."""
    model = build()
    list(generate(model, [1], 3, 0))
    with no_grad():
        model.token_embedding.weight += chainrule.from_numpy(
            np.random.default_rng(9).normal(size=(65, 32)).astype(np.float32)
        )
    assert [[t] for t in generate(model, [1], 9, 0)] == plain(model, [[1]], 9, lambda logits: logits.argmax(axis=1))


def test_double_precision():
    model = build().double()
    assert [[t] for t in generate(model, [1], 15, 0)] == plain(model, [[1]], 15, lambda logits: logits.argmax(axis=1))


def test_a_copy_generates_by_itself():
    model = build()
    before = list(generate(model, [1], 5, 0))
    other = copy.deepcopy(model)
    with no_grad():
        model.head.weight *= -1.0
    assert list(generate(other, [1], 5, 0)) == before
    assert other.programs.model is other


# An iterator


def test_tokens_are_drawn_when_they_are_asked_for():
    model, generator = build(), np.random.default_rng(3)
    first = list(islice(generate(model, [2], 1_000_000, generator=generator), 4))
    state = generator.bit_generator.state
    other = np.random.default_rng(3)
    assert first == list(generate(model, [2], 4, generator=other))
    assert state == other.bit_generator.state, "no random number was drawn in advance"
    assert list(generate(model, [2], 0)) == []


def test_two_texts_take_turns():
    model = build()
    first, second = (list(generate(model, prompt, 15, 0)) for prompt in ([1, 2], [3]))
    turns = list(zip(generate(model, [1, 2], 15, 0), generate(model, [3], 15, 0), strict=True))
    assert turns == list(zip(first, second, strict=True))


def test_recording_is_on_again_between_tokens():
    for _ in generate(build(), [1], 2):
        assert chainrule.is_grad_enabled()


def test_the_default_generator_is_the_libraries():
    model = build()
    chainrule.manual_seed(5)
    first = list(generate(model, [1], 10))
    chainrule.manual_seed(5)
    assert list(generate(model, [1], 10)) == first == list(generate(model, [1], 10, generator=np.random.default_rng(5)))


def test_greedy_draws_nothing():
    generator = np.random.default_rng(1)
    list(generate(build(), [1], 5, 0, generator=generator))
    assert generator.random() == np.random.default_rng(1).random()


# The sampler, by hand

LOGITS = np.log([[0.1, 0.5, 0.25, 0.15]])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [0.1, 0.5, 0.25, 0.15]),
        ({"temperature": 0}, [0, 1, 0, 0]),
        ({"temperature": 0.5}, [0.01 / 0.345, 0.25 / 0.345, 0.0625 / 0.345, 0.0225 / 0.345]),
        ({"temperature": 1e-300}, [0, 1, 0, 0]),
        ({"temperature": float("inf")}, [0.25] * 4),
        ({"top_k": 1}, [0, 1, 0, 0]),
        ({"top_k": 2}, [0, 2 / 3, 1 / 3, 0]),
        ({"top_k": 9}, [0.1, 0.5, 0.25, 0.15]),
        ({"top_p": 0.4}, [0, 1, 0, 0]),
        ({"top_p": 0.6}, [0, 2 / 3, 1 / 3, 0]),
        ({"top_p": 0.85}, [0, 0.5 / 0.9, 0.25 / 0.9, 0.15 / 0.9]),
        ({"top_p": 1.0}, [0.1, 0.5, 0.25, 0.15]),
        ({"top_k": 2, "top_p": 0.7}, [0, 2 / 3, 1 / 3, 0]),  # the two have 2/3 and 1/3, not 0.5 and 0.25
        ({"top_k": 2, "top_p": 0.6}, [0, 1, 0, 0]),
    ],
    ids=str,
)
def test_probabilities_by_hand(settings, expected):
    sampler = Sampler(**settings)
    np.testing.assert_allclose(sampler.probabilities(LOGITS), [expected], rtol=1e-9, atol=1e-12)
    moved = sampler.probabilities(np.concatenate([LOGITS + 1e4, LOGITS[:, ::-1]]))
    np.testing.assert_allclose(moved, [expected, expected[::-1]], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("temperature", [1e-320, 0.5, float("inf")])
def test_tokens_that_are_excluded_stay_excluded(temperature):
    logits = [[1.0, 2.0, -np.inf, 2.0]]
    first = {0.5: np.exp(-2) / (2 + np.exp(-2)), float("inf"): 1 / 3}.get(temperature, 0.0)
    probabilities = Sampler(temperature).probabilities(logits)
    np.testing.assert_allclose(probabilities, [[first, (1 - first) / 2, 0, (1 - first) / 2]], rtol=1e-12)
    assert 2 not in Sampler(temperature)(np.repeat(logits, 200, axis=0), np.random.default_rng(0))


def test_tokens_as_likely_as_the_kth_stay():
    np.testing.assert_allclose(Sampler(top_k=2).probabilities([[1.0, 2.0, 1.0, 0.0]])[0, [0, 2]], [1 / (2 + np.e)] * 2)


def test_draws_have_the_probabilities():
    draws = Sampler(top_k=3)(np.repeat(LOGITS, 20_000, axis=0), np.random.default_rng(0))
    counts = np.bincount(draws, minlength=4) / 20_000
    np.testing.assert_allclose(counts, [0, 0.5 / 0.9, 0.25 / 0.9, 0.15 / 0.9], atol=0.01)
    assert not counts[0]


# What is refused


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"prompt_tokens": []}, ValueError, "the prompt is empty: give at least one token"),
        ({"prompt_tokens": [1, 65, -2]}, ValueError, r"there is no token \[65\]; the model has 0 to 64"),
        ({"prompt_tokens": [1.5]}, TypeError, "tokens must be integers, not float64"),
        ({"prompt_tokens": [[1, 2]]}, ValueError, r"the prompt must be \(T,\), not \(1, 2\); generate_batch takes"),
        ({"max_new_tokens": -1}, ValueError, "max_new_tokens must be at least 0, not -1"),
        ({"temperature": -0.5}, ValueError, "temperature must not be negative, got -0.5"),
        ({"temperature": float("nan")}, ValueError, "temperature must not be negative, got nan"),
        ({"temperature": "hot"}, TypeError, "temperature must be a number, not 'hot'"),
        ({"top_k": 0}, ValueError, "top_k must be at least 1, not 0"),
        ({"top_k": 2.5}, TypeError, "top_k must be an integer, not 2.5"),
        ({"top_p": 0}, ValueError, "top_p must be above 0 and at most 1, not 0"),
        ({"top_p": 1.1}, ValueError, "top_p must be above 0 and at most 1, not 1.1"),
        ({"top_p": "all"}, TypeError, "top_p must be a number, not 'all'"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_at_once(changes, error, message):
    with pytest.raises(error, match=f"^generate: {message}"):
        generate(build(), **{"prompt_tokens": [1], "max_new_tokens": 3, **changes})


def test_a_model_that_drops_out_is_refused():
    model = build(dropout=0.5)
    with pytest.raises(
        ValueError, match=r"^generate: the model is in training mode, in which it drops out: call its eval"
    ):
        generate(model, [1], 3)
    assert len(list(generate(model.eval(), [1], 3))) == 3


@pytest.mark.parametrize("temperature", [0, 1.0])
def test_weights_that_are_not_numbers_are_refused(temperature):
    model = build()
    with no_grad():
        model.norm.weight *= float("nan")
    with pytest.raises(ValueError, match=r"^generate: a logit is nan: the weights of the model have diverged"):
        next(generate(model, [1], 3, temperature))


def test_a_batch_needs_two_dimensions():
    with pytest.raises(ValueError, match=r"^generate: the prompts must be \(N, T\), not \(2,\)"):
        generate_batch(build(), [1, 2], 3)
