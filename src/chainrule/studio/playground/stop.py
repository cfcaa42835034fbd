"""The conditions at which a playground's run stops by itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chainrule.errors import UserError, shorten
from chainrule.studio.playground.setup import DATA, Setup

if TYPE_CHECKING:
    from collections.abc import Callable

    from chainrule.studio.playground.run import PlaygroundRun


@dataclass(frozen=True)
class Stop:
    """A condition, which is checked after each epoch.

    Attributes:
        kind: a key of `KINDS`.
        value: the number of epochs; the training loss to reach; or the accuracy to reach, in percent.
    """

    kind: str
    value: float

    def reason(self, run: PlaygroundRun) -> str | None:
        """Return a sentence for the page if the condition holds, else None."""
        return KINDS[self.kind](self.value, run)


def _epochs(value: float, run: PlaygroundRun) -> str | None:
    epoch = run.history[-1][0]
    return f"Stopped after epoch {epoch:,}." if epoch >= value else None


def _loss(value: float, run: PlaygroundRun) -> str | None:
    epoch, loss, _ = run.history[-1]
    return f"Stopped after epoch {epoch:,}: the training loss is {loss:.4f}." if loss <= value else None


def _accuracy(value: float, run: PlaygroundRun) -> str | None:
    evaluation = run.evaluate()
    name, accuracy = "validation", evaluation.validation_accuracy
    if math.isnan(accuracy):
        name, accuracy = "training", evaluation.train_accuracy
    if 100 * accuracy < value - 1e-9:
        return None
    return f"Stopped after epoch {run.history[-1][0]:,}: the {name} accuracy is {accuracy:.1%}."


KINDS: dict[str, Callable[[float, PlaygroundRun], str | None]] = {
    "epochs": _epochs, "loss": _loss, "accuracy": _accuracy,
}  # fmt: skip
_EXAMPLES = {"epochs": "epochs-300", "loss": "loss-0.05", "accuracy": "accuracy-95 (percent)"}


def read_stop(text: object, setup: Setup) -> Stop | None:
    """Read a condition such as "epochs-300", "loss-0.05" or "accuracy-95"; return None for "".

    Raises:
        UserError: the text is not a condition, or the condition does not fit the data.
    """
    if text == "":
        return None
    kind, _, number = text.partition("-") if isinstance(text, str) else ("", "", "")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if kind not in KINDS or not 0 <= value < math.inf:
        examples = ", ".join(_EXAMPLES.values())
        raise UserError(f"stop is {shorten(repr(text), 40)}, which is no condition; examples are {examples}")
    if kind == "accuracy" and not DATA[setup.data].has_classes:
        raise UserError(f"{setup.data} has values, not classes, so there is no accuracy to stop at; stop at a loss")
    if kind == "accuracy" and value > 100:
        raise UserError(f"an accuracy of {value:g}% cannot be reached: 100 at most")
    return Stop(kind, value)
