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
    return net.partial_fit(*batch(np.random.default_rng(0), work.batch), classes=range(10))


def batch(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of noise, (count, 784), and labels."""
    return rng.random((count, 784), np.float32), rng.integers(0, 10, count)


def training(work: Work) -> Step:
    """A step of training on the next batch of the pool."""
    rng = np.random.default_rng(1)
    batches = cycle([batch(rng, work.batch) for _ in range(work.pool)])
    net = build(work)
    return lambda: net.partial_fit(*next(batches))


def prediction(work: Work) -> Step:
    """Confidences for all images."""
    net, (images, _) = build(work), batch(np.random.default_rng(1), work.batch)
    return lambda: net.predict_proba(images)
