"""The works that scikit-learn supports: training and prediction of 784-hidden-10 with ReLU, cross entropy and Adam."""

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
    """The version; it uses NumPy's BLAS."""
    return {"version": sklearn.__version__}


def variants(work: Work) -> dict[str, Callable[[], Step]]:
    """The variants of a work."""
    makers = {"train": training, "predict": prediction}
    return {"MLPClassifier": lambda: makers[work.kind](work)} if work.model == "mlp" else {}


def build(work: Work) -> MLPClassifier:
    """A network after one batch, which initializes its weights."""
    net = MLPClassifier((work.hidden,), alpha=0.0, batch_size=work.batch, learning_rate_init=works.RATE, random_state=0)
    return net.partial_fit(*flat_batches(work)[0], classes=range(10))


def flat_batches(work: Work) -> list[tuple[np.ndarray, np.ndarray]]:
    """The pool of a work, with flattened images (batch, 784)."""
    return [(images.reshape(-1, 784), labels) for images, labels in works.batches(work, np.random.default_rng(1))]


def training(work: Work) -> Step:
    """A training step on the next batch of the pool."""
    net, batches = build(work), cycle(flat_batches(work))
    return lambda: net.partial_fit(*next(batches))


def prediction(work: Work) -> Step:
    """Probabilities for all images."""
    net, images = build(work), flat_batches(work)[0][0]
    return lambda: net.predict_proba(images)
