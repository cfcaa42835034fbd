"""The language model: gradients, and its prediction after "to deposit some", which is not in the corpus."""

from __future__ import annotations

import re

import numpy as np
import pytest

import chainrule
from chainrule import nn
from chainrule.errors import DataError
from chainrule.first_principles.finite_difference import central_difference
from chainrule.first_principles.language import (
    CONTEXT,
    CORPUS,
    END,
    NextWord,
    Weights,
    backpropagate,
    forward,
    loss,
    softmax,
    split,
    train_model,
    windows,
)

SENTENCE = "i am going to the bank to deposit some"
RANDOM = np.random.default_rng(0)
WEIGHTS = Weights(*(RANDOM.normal(size=shape) for shape in ((7, 3), (15, 4), (4,), (4, 7), (7,))))
CONTEXTS, TARGETS = RANDOM.integers(0, 7, (9, CONTEXT)), RANDOM.integers(0, 7, 9)


@pytest.fixture(scope="module")
def model() -> NextWord:
    return train_model()


def test_agrees_with_the_engine() -> None:
    embedding, w1, b1, w2, b2 = parameters = [chainrule.tensor(w, requires_grad=True) for w in WEIGHTS]
    x = nn.functional.embedding(chainrule.tensor(CONTEXTS), embedding).reshape(9, -1)
    scores = chainrule.tanh(x @ w1 + b1) @ w2 + b2
    theirs = nn.functional.cross_entropy(scores, chainrule.tensor(TARGETS))
    theirs.backward()
    assert loss(forward(WEIGHTS, CONTEXTS)[2], TARGETS) == pytest.approx(theirs.item(), abs=1e-12)
    for ours, parameter in zip(backpropagate(WEIGHTS, CONTEXTS, TARGETS), parameters, strict=True):
        np.testing.assert_allclose(ours, np.asarray(parameter.grad), rtol=0, atol=1e-12)


@pytest.mark.parametrize("part", Weights._fields)
def test_agrees_with_finite_differences(part: str) -> None:
    def at(values: np.ndarray) -> float:
        return loss(forward(WEIGHTS._replace(**{part: values}), CONTEXTS)[2], TARGETS)

    expected = central_difference(at, getattr(WEIGHTS, part))
    np.testing.assert_allclose(getattr(backpropagate(WEIGHTS, CONTEXTS, TARGETS), part), expected, rtol=0, atol=1e-8)


def test_softmax_of_large_scores() -> None:
    np.testing.assert_allclose(softmax(np.array([1000.0, 1000.0, -1000.0])), [0.5, 0.5, 0])


def test_windows() -> None:
    contexts, targets = windows([[3, 4]], context=3)
    assert contexts.tolist() == [[0, 0, 0], [0, 0, 3], [0, 3, 4]]
    assert targets.tolist() == [3, 4, 0]


@pytest.mark.parametrize("seed", range(3))
def test_money_comes_first_by_a_clear_margin(seed: int) -> None:
    (word, chance), (_, second) = train_model(seed).likeliest(SENTENCE, 2)
    assert word == "money"
    assert chance > 0.6
    assert chance > 5 * second


def test_the_corpus_does_not_give_the_answer_away() -> None:
    sentences = [" ".join(split(line)) for line in CORPUS.read_text(encoding="utf-8").splitlines()]
    assert len(sentences) == len(set(sentences)) > 300
    assert not [s for s in sentences if "deposit some" in s]
    assert not [s for s in sentences if " ".join(split(SENTENCE)[-CONTEXT:]) in s]
    followers = set(re.findall(r"\bsome (\w+)", "\n".join(sentences)))
    assert {"money", "bread", "books", "flowers", "water", "fish"} <= followers
    assert len(followers) > 30


def test_it_minds_what_went_before(model: NextWord) -> None:
    assert model.likeliest("she went to the bakery to buy some", 1)[0][0] == "bread"
    for other in ("he gave the dog some", "we sang some", "my aunt went to the library to find some"):
        assert model.likeliest(other, 1)[0][0] != "money"
    assert model.likeliest("the dog sleeps on the bank of the", 1)[0][0] == "river"  # the other meaning of bank


def test_probabilities(model: NextWord) -> None:
    chances = model.probabilities(SENTENCE)
    assert chances.shape == (len(model.words),)
    assert chances.sum() == pytest.approx(1)
    assert chances.min() >= 0
    best = model.likeliest(SENTENCE, 4)
    assert [chance for _, chance in best] == sorted(chances, reverse=True)[:4]
    assert model.likeliest("I am going to the BANK, to deposit some", 4) == best
    assert model.words[0] == END


def test_training_lowers_the_loss_and_is_seeded() -> None:
    text = CORPUS.read_text(encoding="utf-8")
    first, second = NextWord(text, seed=3), NextWord(text, seed=3)
    losses = first.train(epochs=3)
    assert losses == sorted(losses, reverse=True)
    assert losses[0] < np.log(len(first.words))  # better than guessing
    assert second.train(epochs=3) == losses
    assert all((a == b).all() for a, b in zip(first.weights, second.weights, strict=True))


def test_generates_text(model: NextWord) -> None:
    texts = [model.generate(seed=seed) for seed in range(20)]
    assert texts == [model.generate(seed=seed) for seed in range(20)]
    assert len(set(texts)) > 10
    assert all(set(split(text)) <= set(model.words) for text in texts)
    assert model.generate("we are going to the", seed=1).startswith("we are going to the ")
    assert len(model.generate("we", limit=3, seed=2).split()) <= 4
    cold = {model.generate("i am", temperature=0.01, seed=seed) for seed in range(5)}
    assert len(cold) == 1


def test_what_is_refused(model: NextWord) -> None:
    with pytest.raises(DataError, match="the model's vocabulary of 490 words does not contain blockchain, zebra"):
        model.likeliest("a zebra and some blockchain")
    with pytest.raises(ValueError, match="temperature must be above 0, got 0"):
        model.generate(temperature=0)
    with pytest.raises(DataError, match="the corpus has no words"):
        NextWord("\n .\n")


def test_a_model_that_diverged_says_nothing() -> None:
    model = NextWord("the cat sat\nthe dog ran", seed=0)
    model.weights.w1[:] = np.nan
    for ask in (model.probabilities, model.likeliest, model.generate):
        with pytest.raises(ValueError, match="probabilities: the outputs are not finite"):
            ask("the")
