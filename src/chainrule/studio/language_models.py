"""The language models of the view Next word: the GPT of a run, and the model of the lesson on the next word."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from chainrule.autograd import no_grad
from chainrule.errors import DataError
from chainrule.explain import attention_patterns
from chainrule.first_principles import language
from chainrule.tensor import from_numpy
from chainrule.text import CharTokenizer, Sampler, WordTokenizer, decode_stream, generate
from chainrule.training import run as runs
from chainrule.training.text_task import TEXT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from chainrule.models import GPT
    from chainrule.text import Tokenizer
    from chainrule.training.run import Run

MAX_SHOWN = 24
"""The most tokens whose attention is shown: the last ones of the text."""
N_NEW_WORDS = 20
"""How many words continue a text, unless its line ends before."""
N_NEW_PIECES = 80
"""How many tokens continue a text if they are not words, unless its line ends before."""
END_OF_LINE, SPACE = "↵", "␣"


@dataclass(frozen=True)
class Reading:
    """The predictions of a model for a text.

    Attributes:
        unit: what a token is: "word", "character" or "piece of a word".
        tokens: the labels of the last tokens that the model sees, T of them.
        unseen: how many tokens before those are not shown, or not seen by the model.
        probabilities: the probability of each token of the vocabulary to be the next one, (V,).
        attention: (layers, heads, T, T), float32; None for a model without attention.
        continuation: a possible continuation of the text.
        label: returns the label of a token of the vocabulary.
        piece: returns the text that a token would add.
    """

    unit: str
    tokens: list[str]
    unseen: int
    probabilities: NDArray[np.float64]
    attention: NDArray[np.float32] | None
    continuation: str
    label: Callable[[int], str]
    piece: Callable[[int], str]


class RunReader:
    """The GPT of a run.

    Args:
        run: the run.
        name: the run's name in the studio.
    """

    def __init__(self, run: Run, name: str) -> None:
        self.run, self.model, self.tokenizer = run, cast("GPT", run.load_network()), TEXT.load_tokenizer(run)
        self.unit = {WordTokenizer: "word", CharTokenizer: "character"}.get(type(self.tokenizer), "piece of a word")
        config, n_parameters = self.model.config, sum(parameter.numel() for parameter in self.model.parameters())
        parts = f"{config.layers} layers with {config.heads} heads each, {n_parameters:,} numbers"
        if run.folder == runs.SHIPPED_WORDS:
            sentences = len(language.CORPUS.read_text(encoding="utf-8").splitlines())
            self.about = (
                f"A small GPT in the package: {parts}. It has read nine tenths of {sentences} everyday sentences, and "
                f"knows no other words."
            )
        else:
            self.about = f"A GPT of the run {name}: {parts}."

    def encode(self, text: str) -> tuple[NDArray[np.int64], bool]:
        """Return a text's tokens and True; if it has none, the tokens of a new line, or token 0, and False."""
        tokens = self.tokenizer.encode(text, "the text").astype(np.int64)
        if len(tokens):
            return tokens, True
        try:
            return self.tokenizer.encode("\n").astype(np.int64), False
        except DataError:
            return np.zeros(1, np.int64), False

    def read(self, text: str, temperature: float, seed: int) -> Reading:
        """Predict the next token of a text, and continue the text; equal seeds give equal continuations.

        Raises:
            DataError: the tokenizer does not have a word or a character of the text.
            ValueError: the logits are not finite.
        """
        tokens, has_tokens = self.encode(text)
        before = tokens if has_tokens else tokens[:0]
        context = tokens[-self.model.block_size :]
        with no_grad():
            logits = self.model(from_numpy(context[None]))[:, -1].numpy()
        names = [self.label(int(token)) for token in context[-MAX_SHOWN:]]
        return Reading(
            self.unit,
            names,
            len(tokens) - len(names),
            Sampler(temperature).probabilities(logits)[0],
            attention_patterns(self.model, context)[:, :, -MAX_SHOWN:, -MAX_SHOWN:],
            self._pieces(text, before, self._continue(tokens, temperature, seed)),
            self.label,
            lambda token: self._pieces(text, before, [token]),
        )

    def label(self, token: int) -> str:
        """Return the label of a token: its text, with a sign for a space and for the end of a line."""
        return self.tokenizer.decode([token]).replace("\n", END_OF_LINE).replace(" ", SPACE)

    def _continue(self, tokens: NDArray[np.int64], temperature: float, seed: int) -> list[int]:
        """Return tokens that continue a text, up to the end of the line."""
        generator = np.random.default_rng(seed)
        drawn = generate(self.model, tokens, self._n_new_tokens, temperature, generator=generator, use_cache=False)
        return list(_line(self.tokenizer, drawn))

    @property
    def _n_new_tokens(self) -> int:
        return N_NEW_WORDS if isinstance(self.tokenizer, WordTokenizer) else N_NEW_PIECES

    def _pieces(self, text: str, before: NDArray[np.int64], more: Sequence[int]) -> str:
        """Return the text that the tokens `more` add to a text, whose own tokens are `before`."""
        piece = "".join(decode_stream(self.tokenizer, more, before))
        is_spaced = isinstance(self.tokenizer, WordTokenizer) and text[-1:].isspace()
        return piece.removeprefix(" ") if is_spaced else piece

    def code(self, text: str, temperature: float, seed: int) -> str:
        """Return a script that prints the same probabilities and the same continuation."""
        name = self.run.folder.name if self.run.folder == runs.SHIPPED_WORDS else str(self.run.folder.resolve())
        tokens, has_tokens = self.encode(text)
        count = self._n_new_tokens
        encode = f"tokenizer.encode({text!r})" if has_tokens else f"np.array({tokens.tolist()})"
        return f"""import numpy as np

import chainrule
from chainrule.text import Sampler, generate, load_tokenizer
from chainrule.training import run as runs

run = runs.find({name!r})
model, tokenizer = run.load_network(), load_tokenizer(run.folder / "tokenizer.json")
tokens = {encode}.astype(np.int64)
with chainrule.no_grad():
    logits = model(chainrule.from_numpy(tokens[None, -model.block_size :]))[:, -1]
probabilities = Sampler(temperature={temperature!r}).probabilities(logits.numpy())[0]
for token in np.argsort(-probabilities, kind="stable")[:15]:
    print(f"{{probabilities[token]:7.2%}} {{tokenizer.decode([token])!r}}")

random = np.random.default_rng({seed})
rest = []
for token in generate(model, tokens, {count}, temperature={temperature!r}, generator=random, use_cache=False):
    rest.append(token)
    if tokenizer.decode([token]) == "\\n":
        break
print(repr(tokenizer.decode([*tokens, *rest])))
"""


class LessonReader:
    """The model of the lesson on the next word, which the constructor trains, in about a second."""

    def __init__(self) -> None:
        self.model = language.train_model()
        n_weights = sum(weights.size for weights in self.model.weights)
        self.about = (
            f"The model of the lesson on the next word: {n_weights:,} numbers. It sees the last {language.CONTEXT} "
            f"words, each at its own position; it has no attention, so there are no wires to show."
        )

    def read(self, text: str, temperature: float, seed: int) -> Reading:
        """Predict the next word of a text, and continue the text; equal seeds give equal continuations.

        Raises:
            DataError: the model does not know a word of the text.
        """
        words = language.split(text.rpartition(language.END)[2])  # the unfinished sentence
        sentence = " ".join(words)
        with np.errstate(divide="ignore"):
            scores = np.log(self.model.probabilities(sentence))
        start = "" if not text or text[-1].isspace() else " "
        rest = self.model.complete(sentence, N_NEW_WORDS, temperature, seed).removeprefix(sentence).strip()
        has_ended = len(rest.split()) < N_NEW_WORDS
        return Reading(
            "word",
            words[-language.CONTEXT :],
            max(0, len(words) - language.CONTEXT),
            Sampler(temperature).probabilities(scores[None])[0],
            None,
            (start + rest if rest else "") + (language.END if has_ended else ""),
            lambda token: self.model.words[token],
            lambda token: self.model.words[token] if not token else start + self.model.words[token],
        )

    def code(self, text: str, temperature: float, seed: int) -> str:
        """Return a script that prints the same probabilities and the same continuation."""
        sentence = " ".join(language.split(text.rpartition(language.END)[2]))
        return f"""import numpy as np

from chainrule.first_principles import language
from chainrule.text import Sampler

model = language.train_model()
text = {sentence!r}
scores = np.log(model.probabilities(text))
probabilities = Sampler(temperature={temperature!r}).probabilities(scores[None])[0]
for word in np.argsort(-probabilities, kind="stable")[:15]:
    print(f"{{probabilities[word]:7.2%}} {{model.words[word]!r}}")
print(repr(model.complete(text, {N_NEW_WORDS}, {temperature!r}, {seed})))
"""


def _line(tokenizer: Tokenizer, tokens: Iterator[int]) -> Iterator[int]:
    """Yield tokens up to the end of a line."""
    for token in tokens:
        yield token
        if tokenizer.decode([token]) == "\n":
            return
