"""Which pixels of an image decided the answer of a network.

Three methods answer different questions. A gradient shows how the score would change if a pixel were a little larger.
Integrated gradients divide the whole score among the pixels. Occlusion shows what happens if a part is covered.

Sources: Simonyan, Vedaldi and Zisserman, "Deep inside convolutional networks: visualising image classification models
and saliency maps" (2013), section 3; Sundararajan, Taly and Yan, "Axiomatic attribution for deep networks" (2017);
Zeiler and Fergus, "Visualizing and understanding convolutional networks" (2014), section 4.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.autograd import grad, no_grad
from chainrule.errors import check, check_integer
from chainrule.explain.layers import BATCH, as_inputs
from chainrule.nn.functional import softmax
from chainrule.tensor import from_numpy
from chainrule.training.modes import restore_modes

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    from chainrule.nn import Module
    from chainrule.tensor import Tensor


def gradient_map(network: Module, image: ArrayLike | Tensor, target: int | None = None) -> NDArray[Any]:
    """Return the derivative of a score with respect to each pixel: ∂ score / ∂ pixel, in eval mode.

    It is positive where a little more ink would raise the score, else negative or 0. For a neuron of a
    hidden layer, pass the network up to it, `layers(network)[0].prefix`: the score is its output, or the largest value
    of a filter's feature map.

        import numpy as np

        from chainrule import explain, models

        network = models.build("mlp", generator=np.random.default_rng(0))
        explain.gradient_map(network, np.zeros((28, 28), np.float32), target=3).shape  # (28, 28)

    Args:
        network: maps images (N, ...) to scores (N, classes), or to feature maps (N, filters, height, width).
        image: one image as the network takes it, without a batch dimension, floats.
        target: the class, or the neuron or filter; by default the one with the largest score.

    Returns:
        The derivatives, in the image's shape.

    Raises:
        TypeError: the image does not hold floats.
        ValueError: it does not fit the network.
        IndexError: there is no such class.

    Source: Simonyan, Vedaldi and Zisserman (2013), equation 4 (without the absolute value).
    """
    x = as_inputs("gradient_map", image)[None].requires_grad_()
    with restore_modes(network):
        network.eval()
        scores = _scores(network(x))
        (slopes,) = grad(scores[0, _target("gradient_map", scores, target)], [x])
    return np.array(slopes.numpy()[0])


def integrated_gradients(
    network: Module,
    image: ArrayLike | Tensor,
    target: int | None = None,
    *,
    baseline: ArrayLike | Tensor | None = None,
    steps: int = 50,
) -> NDArray[Any]:
    """Divide the score of an image among its pixels: (pixel - baseline) · mean gradient on the path from the baseline.

    The parts add up to score(image) - score(baseline), up to the error of the sum over `steps`, which replaces an
    integral. A pixel that equals the baseline, such as blank paper, gets 0.

        import numpy as np

        from chainrule import explain, models

        network = models.build("mlp", generator=np.random.default_rng(0))
        image = np.random.default_rng(1).random((28, 28), np.float32)
        parts = explain.integrated_gradients(network, image, target=3, steps=500)
        scores = explain.activations(network, np.stack([image, 0 * image]))[-1][:, 3]
        round(float(parts.sum() / (scores[0] - scores[1])), 2)  # 1.0

    Args:
        network: maps images (N, ...) to scores (N, classes).
        image: one image as the network takes it, without a batch dimension, floats.
        target: the class; by default the one with the largest score.
        baseline: the image where the path starts; by default 0, a blank image.
        steps: number of images on the path, in the middle of equal parts.

    Returns:
        The parts, in the image's shape.

    Raises:
        TypeError: the image does not hold floats.
        ValueError: it does not fit the network, the baseline does not fit it, or `steps` is below 1.
        IndexError: there is no such class.

    Source: Sundararajan, Taly and Yan (2017), equation 3.
    """
    owner = "integrated_gradients"
    check_integer(owner, "steps", steps, minimum=1)
    end = as_inputs(owner, image).numpy()
    start = np.zeros_like(end) if baseline is None else as_inputs(owner, baseline).numpy()
    check(owner, start.shape == end.shape, f"the baseline is {start.shape}, but the image is {end.shape}")
    total = np.zeros(end.shape, np.float64)
    with restore_modes(network):
        network.eval()
        with no_grad():
            index = _target(owner, _scores(network(from_numpy(end[None]))), target)
        for first in range(0, steps, BATCH):
            parts = (np.arange(first, min(first + BATCH, steps)) + 0.5) / steps
            way = start + parts.reshape(-1, *[1] * end.ndim) * (end - start)  # (steps, ...)
            x = from_numpy(way.astype(end.dtype)).requires_grad_()
            (slopes,) = grad(_scores(network(x))[:, index].sum(), [x])
            total += slopes.numpy().sum(0, dtype=np.float64)
    return np.asarray((end - start) * total / steps, end.dtype)


def occlusion_map(
    network: Module,
    image: ArrayLike | Tensor,
    target: int | None = None,
    *,
    size: int = 5,
    fill: float = 0.0,
    probabilities: Callable[[Tensor], Tensor] = softmax,
) -> NDArray[Any]:
    """Cover the square around each pixel, and return by how much the probability of a class falls.

    Where the result is positive, the covered part spoke for the class; where it is negative, against the class.

    Args:
        network: maps images (N, ...) to outputs (N, classes).
        image: one image as the network takes it, (height, width) or (channels, height, width), floats.
        target: the class; by default the most probable one.
        size: the side of the square in pixels, odd; it ends at the border of the image.
        fill: the value of covered pixels; 0 is blank paper for the models of digits.
        probabilities: maps outputs to probabilities, as a model's `probabilities` does.

    Returns:
        (height, width): probability(image) - probability(image with the square around that pixel covered).

    Raises:
        TypeError: the image does not hold floats.
        ValueError: it does not fit the network, or `size` is even or below 1.
        IndexError: there is no such class.

    Source: Zeiler and Fergus (2014), section 4.2.
    """
    owner = "occlusion_map"
    check_integer(owner, "size", size, minimum=1)
    check(owner, size % 2, f"size must be odd, so that the square has a middle, not {size}")
    check(owner, bool(np.isfinite(fill)), f"fill must be finite, not {fill}")
    picture = as_inputs(owner, image).numpy()
    shape = picture.shape
    check(owner, picture.ndim in (2, 3), f"takes an image (height, width) or (channels, height, width), not {shape}")
    height, width = picture.shape[-2:]
    rows, columns = np.arange(height), np.arange(width)
    covered_rows = abs(rows[:, None] - rows) <= size // 2  # (height, height): by the square around a pixel
    covered_columns = abs(columns[:, None] - columns) <= size // 2
    falls = np.empty(height * width, picture.dtype)
    with restore_modes(network), no_grad():
        network.eval()
        before = probabilities(_scores(network(from_numpy(picture[None])))).numpy()
        index = _target(owner, from_numpy(before), target)
        for start in range(0, falls.size, BATCH):
            row, column = np.divmod(np.arange(start, min(start + BATCH, falls.size)), width)
            covers = covered_rows[row][:, :, None] & covered_columns[column][:, None, :]  # (B, height, width)
            covers = covers.reshape(len(row), *[1] * (picture.ndim - 2), height, width)
            covered = np.where(covers, picture.dtype.type(fill), picture)
            after = probabilities(network(from_numpy(covered))).numpy()[:, index]
            falls[start : start + len(row)] = before[0, index] - after
    return falls.reshape(height, width)


def _scores(outputs: Tensor) -> Tensor:
    """Return (N, classes): the outputs, or the largest value of each feature map (N, filters, height, width)."""
    if outputs.ndim not in (2, 4):
        raise ValueError(
            f"the network's outputs must be (N, classes), or (N, filters, height, width), not {outputs.shape}"
        )
    return outputs if outputs.ndim == 2 else outputs.flatten(2).max(2)[0]


def _target(owner: str, scores: Tensor, target: int | None) -> int:
    """Return the target class, by default the one with the largest score."""
    if target is None:
        return int(scores.numpy()[0].argmax())
    check_integer(owner, "target", target, minimum=0)
    if target >= scores.shape[1]:
        raise IndexError(f"{owner}: there is no class {target}: the network has {scores.shape[1]}, from 0 on")
    return int(target)
