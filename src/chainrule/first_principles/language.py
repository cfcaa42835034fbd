"""A language model: a network that predicts the next word from the last five words.

Each word has an embedding, a row of numbers learned like any weight: words used in similar ways get similar embeddings.
The embeddings of the last five words are concatenated and pass through a hidden layer; the output has one score per
word:

    x = [E[w₁], ..., E[w₅]],  h = tanh(x W¹ + b¹),  z = h W² + b²
    p = softmax(z): pᵢ = e^zᵢ / Σⱼ e^zⱼ,  loss = -ln p of the word that actually followed

Softmax and this loss together have a simple derivative: ∂loss/∂z = p - y, where y is 1 for the word that followed and
0 for the others.

The corpus, `everyday.txt`, is a few hundred short sentences written for this package. Some are about going to the bank,
to deposit wages, to withdraw or borrow some money; others about some bread, some books, some flowers.
"deposit" never directly precedes "some". To complete "i am going to the bank to deposit some", the model has to combine
what it has seen around banks, around deposits, and after "some".

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
CONTEXT = 5  # the number of preceding words the model sees
END = "."  # the end of a sentence; also pads the context before its first word


class Weights(NamedTuple):
    """The weights, or their gradient: V words, C words of context, D numbers per embedding, H hidden neurons."""

    embedding: Array  # (V, D)
    w1: Array  # (C·D, H)
    b1: Array  # (H,)
    w2: Array  # (H, V)
    b2: Array  # (V,)


def split(text: str) -> list[str]:
    """The words of a text, in lower case, without punctuation."""
    return re.findall(r"[a-z']+", text.lower())


def windows(sentences: Sequence[Sequence[int]], context: int = CONTEXT) -> tuple[Indices, Indices]:
    """Convert sentences of word indices to contexts (N, C) and their next words (N,); the index 0 ends a sentence."""
    rows = []
    for sentence in sentences:
        padded = [0] * context + [*sentence, 0]
        rows += [padded[i : i + context + 1] for i in range(len(padded) - context)]
    table = np.array(rows)  # (N, C + 1)
    return table[:, :-1], table[:, -1]


def softmax(scores: Array) -> Array:
    """Softmax over the last axis, (..., V) to the same shape; each row sums to 1."""
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))  # subtracting the maximum avoids overflow
    probabilities: Array = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities


def forward(weights: Weights, contexts: Indices) -> tuple[Array, Array, Array]:
    """Map contexts (N, C) to concatenated embeddings (N, C·D), the hidden layer (N, H) and probabilities (N, V)."""
    x = weights.embedding[contexts].reshape(len(contexts), -1)  # (N, C, D) to (N, C·D)
    hidden = np.tanh(x @ weights.w1 + weights.b1)  # (N, H)
    return x, hidden, softmax(hidden @ weights.w2 + weights.b2)


def loss(probabilities: Array, targets: Indices) -> float:
    """The mean of -ln p over the words that followed: probabilities (N, V), targets (N,)."""
    return float(-np.log(probabilities[np.arange(len(targets)), targets]).mean())


def backpropagate(weights: Weights, contexts: Indices, targets: Indices) -> Weights:
    """The gradients of the loss for all weights, for contexts (N, C) and targets (N,)."""
    x, hidden, probabilities = forward(weights, contexts)
    delta2 = probabilities.copy()
    delta2[np.arange(len(targets)), targets] -= 1  # p - y
    delta2 /= len(targets)  # (N, V)
    delta1 = delta2 @ weights.w2.T * (1 - hidden**2)  # (N, H)
    grad_words = (delta1 @ weights.w1.T).reshape(*contexts.shape, -1)  # (N, C, D)
    grad_embedding = np.zeros_like(weights.embedding)
    np.add.at(grad_embedding, contexts, grad_words)  # sums over repeated words
    return Weights(grad_embedding, x.T @ delta1, delta1.sum(axis=0), hidden.T @ delta2, delta2.sum(axis=0))


class NextWord:
    """A next-word model of a corpus.

    Args:
        text: the corpus, one sentence per line.
        dimensions: numbers per embedding.
        hidden: number of hidden neurons.
        seed: random seed.

    Attributes:
        words: the vocabulary; the first entry is the end of a sentence.
        weights: the weights.

    Raises:
        DataError: the corpus has no words.
    """

    def __init__(self, text: str, dimensions: int = 16, hidden: int = 64, seed: int = 0) -> None:
        sentences = [words for words in map(split, text.splitlines()) if words]
        if not sentences:
            raise DataError("the corpus has no words; expected one sentence per line")
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
        """Run mini-batch gradient descent on the corpus; returns the mean loss after each epoch."""
        losses = []
        for _ in range(epochs):
            order = self.random.permutation(len(self.targets))
            for batch_indices in np.split(order, range(batch, len(order), batch)):
                gradients = backpropagate(self.weights, self.contexts[batch_indices], self.targets[batch_indices])
                self.weights = Weights(*(w - learning_rate * g for w, g in zip(self.weights, gradients, strict=True)))
            losses.append(loss(forward(self.weights, self.contexts)[2], self.targets))
        return losses

    def probabilities(self, text: str) -> Array:
        """The probability of each word to come next, (V,); the first is the end of the sentence.

        Raises:
            DataError: the text has words that are not in the corpus.
            ValueError: the probabilities are not finite, because training diverged.
        """
        words = split(text)
        unknown = sorted(set(words) - set(self.words))
        if unknown:
            raise DataError(
                f"the model's vocabulary of {len(self.words) - 1} words does not contain {', '.join(unknown)}"
            )
        context = ([0] * CONTEXT + [self.index[word] for word in words])[-CONTEXT:]
        probabilities: Array = forward(self.weights, np.array([context]))[2][0]
        if not np.isfinite(probabilities).all():
            raise ValueError("probabilities: the outputs are not finite; train with a smaller learning rate")
        return probabilities

    def likeliest(self, text: str, count: int = 5) -> list[tuple[str, float]]:
        """The most probable next words with their probabilities, in descending order."""
        probabilities = self.probabilities(text)
        return [(self.words[i], float(probabilities[i])) for i in np.argsort(-probabilities)[:count]]

    def complete(self, text: str = "", limit: int = 20, temperature: float = 0.0, seed: int = 0) -> str:
        """Continue a text as `generate` does; at temperature 0, always by the most probable word.

        Raises:
            ValueError: the temperature is negative.
            DataError: the text has words that are not in the corpus.
        """
        if temperature:
            return self.generate(text, limit, temperature, seed)
        words = split(text)
        for _ in range(limit):
            ((word, _),) = self.likeliest(" ".join(words), 1)
            if word == END:
                break
            words.append(word)
        return " ".join(words)

    def generate(self, text: str = "", limit: int = 20, temperature: float = 1.0, seed: int = 0) -> str:
        """Continue a text by sampling word by word, up to the end of the sentence or `limit` words.

        Args:
            text: the beginning.
            limit: maximum number of new words.
            temperature: below 1 sharpens the probabilities, above 1 flattens them.
            seed: random seed.

        Raises:
            ValueError: temperature is not above 0.
            DataError: the text has words that are not in the corpus.
        """
        if not temperature > 0:
            raise ValueError(f"generate: temperature must be above 0, got {temperature}")
        random, words = np.random.default_rng(seed), split(text)
        for _ in range(limit):
            probabilities = self.probabilities(" ".join(words))
            probabilities = (probabilities / probabilities.max()) ** (1 / temperature)
            word = self.words[random.choice(len(self.words), p=probabilities / probabilities.sum())]
            if word == END:
                break
            words.append(word)
        return " ".join(words)


def train_model(seed: int = 0) -> NextWord:
    """A model trained on the included corpus, in a few seconds."""
    model = NextWord(CORPUS.read_text(encoding="utf-8"), seed=seed)
    model.train()
    return model


def main() -> None:
    """Print next-word predictions and a few generated sentences."""
    model = train_model()
    print(
        f"{len(model.words) - 1} words, {len(model.targets):,} examples, {sum(w.size for w in model.weights):,} weights"
    )
    for text in (
        "i am going to the bank to deposit some",
        "she went to the bakery to buy some",
        "the children played on the",
    ):
        print(text, "...")
        for word, probability in model.likeliest(text):
            print(f"    {word:<10}{probability:7.1%}")
    for seed in range(5):
        print(model.generate(temperature=0.6, seed=seed))


if __name__ == "__main__":
    main()
