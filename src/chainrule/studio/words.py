"""The Python side of the view Next word: the next words' probabilities, the attention, and a continuation."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from chainrule.errors import RunError, UserError
from chainrule.studio.language_models import LessonReader, RunReader
from chainrule.training import run as runs
from chainrule.training.text_task import TEXT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chainrule.studio.language_models import Reading
    from chainrule.studio.shelf import Shelf

WORDS = runs.SHIPPED_WORDS.name
"""The name of the language model in the package."""
LESSON = "lesson"
"""The name of the model of the lesson on the next word, which has no attention."""
TOP = 15
"""The number of next words that are shown."""
MAX_TEXT = 2000  # characters
MAX_TEMPERATURE = 5.0
MAX_SEED = 2**32 - 1


class Reader(Protocol):
    """A language model."""

    about: str

    def read(self, text: str, temperature: float, seed: int) -> Reading:
        """Predict the next token of a text, and continue the text."""

    def code(self, text: str, temperature: float, seed: int) -> str:
        """Return a script that prints what `read` returns."""


@dataclass(frozen=True)
class Question:
    """A question of the page.

    Attributes:
        model: the model's name.
        text: the text to continue.
        temperature: the temperature of the probabilities and of the continuation.
        seed: the seed of the continuation.
    """

    model: str
    text: str
    temperature: float
    seed: int

    @classmethod
    def of(cls, content: dict[str, Any]) -> Question:
        """Return the question in a message.

        Raises:
            UserError: a value is missing, has the wrong type, or is out of range.
        """
        model, text, temperature, seed = (content.get(name) for name in ("model", "text", "temperature", "seed"))
        if not isinstance(model, str) or not isinstance(text, str):
            raise UserError("a question needs the name of a model and a text")
        if len(text) > MAX_TEXT:
            raise UserError(f"a text of {len(text):,} characters is too long; {MAX_TEXT:,} at most")
        is_number = isinstance(temperature, int | float) and not isinstance(temperature, bool)
        if not is_number or not 0 <= float(temperature or 0) <= MAX_TEMPERATURE:
            raise UserError(f"the temperature must be a number from 0 to {MAX_TEMPERATURE:g}")
        if type(seed) is not int or not 0 <= seed <= MAX_SEED:
            raise UserError(f"the seed must be an integer from 0 to {MAX_SEED:,}")
        return cls(model, text, float(temperature or 0), seed)


class Words:
    """Answers the view Next word.

    Args:
        shelf: the runs.
    """

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self._lock = threading.Lock()
        self._readers: dict[str, tuple[int, Reader]] = {}  # with the time of the weights' file

    def answer(self, content: dict[str, Any], buffers: list[bytes]) -> tuple[dict[str, Any], list[bytes]] | None:
        """Answer a message; return None if it is not understood."""
        match content, buffers:
            case {"ask": "models"}, []:
                return {"tell": "models", **self.models()}, []
            case {"ask": "read", "number": int(number)}, []:
                try:
                    answer, arrays = self.read(Question.of(content))
                except UserError as error:
                    answer, arrays = {"error": str(error)}, []
                return {"tell": "reading", "number": number, **answer}, arrays
        return None

    def close(self) -> None:
        """Do nothing: no work continues after the last page is closed."""

    def models(self) -> dict[str, Any]:
        """Return the names of the models, and which to show first."""
        names = [name for name in self.shelf.runs() if self._reads_text(name)]
        chosen = self.shelf.chosen
        return {"names": [WORDS, LESSON, *names], "chosen": chosen if chosen in names else WORDS}

    def _reads_text(self, name: str) -> bool:
        try:
            run = self.shelf.run(name)
            return run.task is TEXT and run.weights_file.exists()
        except UserError:
            return False

    def read(self, question: Question) -> tuple[dict[str, Any], list[bytes]]:
        """Return the next words, a continuation of the text, and the attention weights, float32.

        Raises:
            UserError: there is no such model, it cannot be read, or it does not know a word of the text.
        """
        with self._lock:
            reader = self._reader(question.model)
            try:
                reading = reader.read(question.text, question.temperature, question.seed)
            except ValueError as error:  # the logits are not finite
                if isinstance(error, UserError):
                    raise
                raise RunError(f"{question.model}: {str(error).removeprefix('generate: ')}") from None
        chances = reading.probabilities
        top = np.argsort(-chances, kind="stable")[:TOP]
        weights = reading.attention
        return {
            "about": reader.about,
            "unit": reading.unit,
            "tokens": reading.tokens,
            "unseen": reading.unseen,
            "words": [reading.label(int(i)) for i in top],
            "pieces": [reading.piece(int(i)) for i in top],
            "probabilities": [float(chances[i]) for i in top],
            "others": {"count": len(chances) - len(top), "probability": max(0.0, 1 - float(chances[top].sum()))},
            "choices": _equally_likely(chances),
            "continuation": reading.continuation,
            "attention": None if weights is None else list(weights.shape[:3]),
            "code": reader.code(question.text, question.temperature, question.seed),
        }, [] if weights is None else [np.ascontiguousarray(weights, "<f4").tobytes()]

    def _reader(self, name: str) -> Reader:
        """Return the model of this name; a run's model is loaded again when its file of weights has changed."""
        if name == LESSON:
            if name not in self._readers:
                self._readers[name] = 0, LessonReader()
            return self._readers[name][1]
        run = runs.Run(runs.SHIPPED_WORDS) if name == WORDS else self.shelf.run(name)
        if run.task is not TEXT:
            raise RunError(f"{name}: {run.model.name} reads {run.task.name} and predicts no words")
        changed = run.weights_file.stat().st_mtime_ns if run.weights_file.exists() else 0
        if name not in self._readers or self._readers[name][0] != changed:
            self._readers = {other: self._readers[other] for other in self._readers if other in (WORDS, LESSON)}
            self._readers[name] = changed, RunReader(run, name)
        return self._readers[name][1]


def _equally_likely(chances: NDArray[np.float64]) -> float:
    """Return e to the power of the entropy: the number of equally likely tokens that would be as uncertain."""
    positive = chances[chances > 0]
    return math.exp(-float((positive * np.log(positive)).sum()))
