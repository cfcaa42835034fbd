"""What scikit-learn can do of the works: 784-hidden-10 with ReLU, cross entropy and Adam, and reading with it."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np
import sklearn
import works
from sklearn.neural_network import MLPClassifier

if TYPE_CHECKING:
    from collections.abc import Callable

    from works import Work

    Step = Callable[[], object]


def about() -> dict[str, object]:
    """The version; its products are NumPy's."""
    return {"version": sklearn.__version__}


def variants(work: Work) -> dict[str, Callable[[], Step]]:
    """The ways to do a work."""
    makers = {"train": training, "predict": prediction}
    return {"MLPClassifier": lambda: makers[work.kind](work)} if work.model == "mlp" else {}


def build(work: Work) -> MLPClassifier:
    """A network that has seen one batch, without which it has no weights."""
    net = MLPClassifier((work.hidden,), alpha=0.0, batch_size=work.batch, learning_rate_init=works.RATE, random_state=0)
    return net.partial_fit(*rows(work)[0], classes=range(10))


def rows(work: Work) -> list[tuple[np.ndarray, np.ndarray]]:
    """The pool of a work, its pictures as rows, (batch, 784)."""
    return [(images.reshape(-1, 784), labels) for images, labels in works.batches(work, np.random.default_rng(1))]


def training(work: Work) -> Step:
    """A step of training on the next batch of the pool."""
    net, batches = build(work), cycle(rows(work))
    return lambda: net.partial_fit(*next(batches))


def prediction(work: Work) -> Step:
    """Confidences for all images."""
    net, images = build(work), rows(work)[0][0]
    return lambda: net.predict_proba(images)
