"""The next word: a network that reads a few words and says how likely each word of its vocabulary is to follow.

Every word is a row of numbers, its embedding, learned like any weight: words that are used alike end up with like
rows. Those of the last five words go side by side through a hidden layer, and the output has one score for each word:

    x = [E[w₁], ..., E[w₅]],  h = tanh(x W¹ + b¹),  z = h W² + b²
    p = softmax(z): pᵢ = e^zᵢ / Σⱼ e^zⱼ,  loss = -ln p of the word that really followed

Softmax and this loss together have the simplest of derivatives: ∂loss/∂z = p - y, y being 1 for the word that followed
and 0 for the others.

The corpus, `everyday.txt`, is a few hundred short sentences of our own. Some are about going to the bank, to deposit
wages or a cheque, to withdraw or borrow some money; others about some bread, some books, some flowers. Nowhere in it
does "deposit" come right before "some". What the model says after "i am going to the bank to deposit some" it has to
put together from what it has seen around banks, around deposits, and after "some".

Source: Bengio, Ducharme, Vincent and Jauvin, A Neural Probabilistic Language Model (2003).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from chainrule.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from chainrule.first_principles import Array

    Indices = NDArray[np.intp]

CORPUS = Path(__file__).with_name("everyday.txt")
CONTEXT = 5  # how many words the model looks back
END = "."  # ends a sentence; and stands for the words before its first


class Weights(NamedTuple):
    """All that is learned, or its gradient: V words, C of them looked back on, D numbers a word, H hidden neurons."""

    embedding: Array  # (V, D)
    w1: Array  # (C·D, H)
    b1: Array  # (H,)
    w2: Array  # (H, V)
    b2: Array  # (V,)


def split(text: str) -> list[str]:
    """The words of a text, in small letters, without punctuation."""
    return re.findall(r"[a-z']+", text.lower())


def windows(sentences: Sequence[Sequence[int]], context: int = CONTEXT) -> tuple[Indices, Indices]:
    """Sentences of word indices to contexts (N, C) and the word that followed each, (N,); 0 ends a sentence."""
    rows = []
    for sentence in sentences:
        padded = [0] * context + [*sentence, 0]
        rows += [padded[i : i + context + 1] for i in range(len(padded) - context)]
    table = np.array(rows)  # (N, C + 1)
    return table[:, :-1], table[:, -1]


def softmax(scores: Array) -> Array:
    """e^z divided by their sum: (..., V) to the same, each row adding up to 1."""
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))  # less the largest, which cancels: no overflow
    chances: Array = powers / powers.sum(axis=-1, keepdims=True)
    return chances


def forward(weights: Weights, contexts: Indices) -> tuple[Array, Array, Array]:
    """Contexts (N, C) to the embeddings side by side (N, C·D), the hidden layer (N, H) and the probabilities (N, V)."""
    x = weights.embedding[contexts].reshape(len(contexts), -1)  # (N, C, D) to (N, C·D)
    hidden = np.tanh(x @ weights.w1 + weights.b1)  # (N, H)
    return x, hidden, softmax(hidden @ weights.w2 + weights.b2)


def loss(probabilities: Array, targets: Indices) -> float:
    """The mean of -ln p over the words that followed: probabilities (N, V), targets (N,)."""
    return float(-np.log(probabilities[np.arange(len(targets)), targets]).mean())


def backpropagate(weights: Weights, contexts: Indices, targets: Indices) -> Weights:
    """The gradient of the loss in all weights, for contexts (N, C) and targets (N,)."""
    x, hidden, probabilities = forward(weights, contexts)
    delta2 = probabilities.copy()
    delta2[np.arange(len(targets)), targets] -= 1  # p - y
    delta2 /= len(targets)  # (N, V)
    delta1 = delta2 @ weights.w2.T * (1 - hidden**2)  # (N, H)
    to_words = (delta1 @ weights.w1.T).reshape(*contexts.shape, -1)  # (N, C, D)
    embedding = np.zeros_like(weights.embedding)
    np.add.at(embedding, contexts, to_words)  # a word that occurs twice is blamed twice
    return Weights(embedding, x.T @ delta1, delta1.sum(axis=0), hidden.T @ delta2, delta2.sum(axis=0))


class NextWord:
    """A model of a corpus: which words it knows, and what it has learned about what follows what.

    Args:
        text: the corpus, a sentence a line.
        dimensions: numbers a word.
        hidden: hidden neurons.
        seed: the same seed gives the same model.

    Attributes:
        words: the vocabulary; the first is the end of a sentence.
        weights: all that is learned.

    Raises:
        DataError: the corpus has no words.
    """

    def __init__(self, text: str, dimensions: int = 16, hidden: int = 64, seed: int = 0) -> None:
        sentences = [words for words in map(split, text.splitlines()) if words]
        if not sentences:
            raise DataError("the corpus has no words: it takes sentences, one a line")
        self.words = [END, *sorted({word for words in sentences for word in words})]
        self.index = {word: i for i, word in enumerate(self.words)}
        self.contexts, self.targets = windows([[self.index[word] for word in words] for words in sentences])
        self.random = np.random.default_rng(seed)
        inputs, outputs = CONTEXT * dimensions, len(self.words)
        self.weights = Weights(
            self.random.normal(0, 1, (outputs, dimensions)),
            self.random.normal(0, inputs**-0.5, (inputs, hidden)),
            np.zeros(hidden),
            self.random.normal(0, hidden**-0.5, (hidden, outputs)),
            np.zeros(outputs),
        )

    def train(self, epochs: int = 20, batch: int = 16, learning_rate: float = 0.2) -> list[float]:
        """Mini-batch gradient descent over the corpus; returns the mean loss of each epoch."""
        losses = []
        for _ in range(epochs):
            order = self.random.permutation(len(self.targets))
            for chosen in np.split(order, range(batch, len(order), batch)):
                slopes = backpropagate(self.weights, self.contexts[chosen], self.targets[chosen])
                self.weights = Weights(*(w - learning_rate * s for w, s in zip(self.weights, slopes, strict=True)))
            losses.append(loss(forward(self.weights, self.contexts)[2], self.targets))
        return losses

    def probabilities(self, text: str) -> Array:
        """How likely each word is to come next, (V,), adding up to 1; the end of the sentence is the first of them.

        Raises:
            DataError: the text has words that the corpus has not.
            ValueError: the model gives no numbers, as one that diverged does.
        """
        words = split(text)
        unknown = sorted(set(words) - set(self.words))
        if unknown:
            raise DataError(
                f"the model has never read {', '.join(unknown)}: it knows {len(self.words) - 1} everyday words"
            )
        context = ([0] * CONTEXT + [self.index[word] for word in words])[-CONTEXT:]
        chances: Array = forward(self.weights, np.array([context]))[2][0]
        if not np.isfinite(chances).all():
            raise ValueError("probabilities: they are not numbers any more; train with a smaller learning rate")
        return chances

    def likeliest(self, text: str, count: int = 5) -> list[tuple[str, float]]:
        """The likeliest next words with their probabilities, the best first."""
        chances = self.probabilities(text)
        return [(self.words[i], float(chances[i])) for i in np.argsort(-chances)[:count]]

    def generate(self, text: str = "", limit: int = 20, temperature: float = 1.0, seed: int = 0) -> str:
        """Go on from a text, word by word, each drawn by its probability, to the end of the sentence or `limit` words.

        Args:
            text: how it begins.
            limit: at most so many words more.
            temperature: below 1 the likely become likelier and the text tamer, above 1 the unlikely get their chance.
            seed: the same seed goes on in the same way.

        Raises:
            ValueError: temperature is not above 0.
            DataError: the text has words that the corpus has not.
        """
        if not temperature > 0:
            raise ValueError(f"generate: temperature {temperature} must be above 0")
        random, said = np.random.default_rng(seed), split(text)
        for _ in range(limit):
            chances = self.probabilities(" ".join(said))
            chances = (chances / chances.max()) ** (1 / temperature)
            word = self.words[random.choice(len(self.words), p=chances / chances.sum())]
            if word == END:
                break
            said.append(word)
        return " ".join(said)


def trained(seed: int = 0) -> NextWord:
    """The model of the shipped corpus, trained anew, in a few seconds."""
    model = NextWord(CORPUS.read_text(encoding="utf-8"), seed=seed)
    model.train()
    return model


def main() -> None:
    """Say what comes next, and tell a few sentences."""
    model = trained()
    print(
        f"{len(model.words) - 1} words, {len(model.targets):,} examples, {sum(w.size for w in model.weights):,} weights"
    )
    for text in (
        "i am going to the bank to deposit some",
        "she went to the bakery to buy some",
        "the children played on the",
    ):
        print(text, "...")
        for word, chance in model.likeliest(text):
            print(f"    {word:<10}{chance:7.1%}")
    for seed in range(5):
        print(model.generate(temperature=0.6, seed=seed))


if __name__ == "__main__":
    main()
