"""Frames: what the page sees of a training network, many times a second.

A frame is a message (see `wire`): numbers in the JSON object, arrays behind it. What takes longer, such as histograms,
is measured less often, so that watching costs training a few percent of its time, whatever the network.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import models
from chainrule.autograd import no_grad
from chainrule.tensor import from_numpy
from chainrule.training.modes import restore_modes
from chainrule.training.observation import LossCurve, dead_neurons, gradient_rms, histogram, weight_rms

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from chainrule.models import Model
    from chainrule.training.trainer import Trainer

SECONDS_PER_FRAME = 1 / 30
_SHARE = 0.005
"""The part of the time that each measurement may take."""
_PROBES = 100
"""Training examples for which a dead neuron is silent."""
_MAX_HISTOGRAMS = 40
"""Parameters with a histogram: those of a large network would not fit into a frame."""


def finite(value: float) -> float | None:
    """Return a number, or None if it is not finite: JSON has no NaN."""
    return value if math.isfinite(value) else None


class _Measurement:
    """A measurement that is made again as soon as that takes no more than its share of the processor's time."""

    def __init__(self, measure: Callable[[Trainer], tuple[Any, list[bytes]]]) -> None:
        self.measure = measure
        self.result: tuple[Any, list[bytes]] = (None, [])
        self.due = 0.0

    def update(self, trainer: Trainer, now: bool) -> None:
        start = time.thread_time()
        if not now and start < self.due:
            return
        if not self.due:
            self.measure(trainer)  # the first time takes longer
            start = time.thread_time()
        self.result = self.measure(trainer)
        end = time.thread_time()
        self.due = end + (end - start) / _SHARE


class FrameMaker:
    """Makes frames of a training network.

    Args:
        model: the network's model.

    Attributes:
        curve: the losses of the steps so far.
        picture: an image of the data's shape, uint8, whose probabilities are in the frames; None for none.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.curve = LossCurve()
        self.picture: NDArray[np.uint8] | None = None
        self.loss = math.nan
        self._measurements = {
            "bars": _Measurement(self._bars),
            "layers": _Measurement(_layers),
            "histograms": _Measurement(_histograms),
            "neurons": _Measurement(_neurons),
        }
        self._clock = (time.perf_counter(), 0)  # when the speed was last measured, and the step

    def add(self, step: int, loss: float) -> None:
        """Note the loss of a step."""
        self.loss = loss
        self.curve.add(step, loss)

    def make(self, trainer: Trainer, now: bool = False) -> tuple[dict[str, Any], list[bytes]]:
        """Make a frame of the state after the last step.

        Args:
            trainer: the trainer.
            now: measure everything now, because training pauses.
        """
        content: dict[str, Any] = {
            "step": trainer.total_steps,
            "steps": trainer.epochs * len(trainer.loader),
            "steps_per_epoch": len(trainer.loader),
            "epoch": min(trainer.epoch + 1, trainer.epochs),
            "epochs": trainer.epochs,
            "completed": trainer.epoch,
            "loss": finite(self.loss),
            "mean_loss": finite(trainer.mean_loss),
            "mean_accuracy": finite(trainer.mean_accuracy),
            "rate": trainer.optimizer.param_groups[0]["lr"],
            "speed": self._speed(trainer.total_steps),
            "lengths": {},
        }
        buffers = [self.curve.array().tobytes()]
        for name, measurement in self._measurements.items():
            measurement.update(trainer, now)
            content[name], parts = measurement.result
            content["lengths"][name] = len(parts)
            buffers += parts
        return content, buffers

    def _speed(self, step: int) -> float | None:
        """Steps per second since the last frame."""
        (before, earlier), now = self._clock, time.perf_counter()
        self._clock = now, step
        return (step - earlier) / (now - before) if 0 < earlier < step else None

    def _bars(self, trainer: Trainer) -> tuple[Any, list[bytes]]:
        """The probabilities of the picture."""
        if self.picture is None:
            return None, []
        with no_grad(), restore_modes(trainer.network):
            inputs = models.images_to_inputs(from_numpy(self.picture[None]))
            outputs = self.model.probabilities(trainer.network.eval()(inputs))
        return [finite(float(value)) for value in outputs.numpy()[0]], []


def _layers(trainer: Trainer) -> tuple[Any, list[bytes]]:
    """The size of each layer's gradient and weights, per weight."""
    modules, weights = dict(trainer.network.named_modules()), weight_rms(trainer.network)
    return [
        {
            "path": path,
            "kind": type(modules[path]).__name__,
            "gradient": None if gradient is None else finite(gradient),
            "weights": finite(weights[path]),
        }
        for path, gradient in gradient_rms(trainer.network).items()
    ], []


def _histograms(trainer: Trainer) -> tuple[Any, list[bytes]]:
    """The histogram of each matrix of weights, and of each filter bank."""
    arrays = [(name, p.numpy()) for name, p in trainer.network.named_parameters() if p.ndim > 1][:_MAX_HISTOGRAMS]
    counted = [(name, histogram(array)) for name, array in arrays]
    limits = [{"name": name, "limit": limit} for name, (limit, _) in counted]
    return limits, [counts.astype(np.uint32).tobytes() for _, (_, counts) in counted]


def _neurons(trainer: Trainer) -> tuple[Any, list[bytes]]:
    """Which neurons are silent for all of some training examples."""
    neurons = dead_neurons(trainer.network, trainer.loader.dataset[:_PROBES][0])
    layers = [{"path": path, "kind": kind, "count": int(inactive.sum())} for path, (inactive, kind) in neurons.items()]
    return layers, [dead.astype(np.uint8).tobytes() for dead, _ in neurons.values()]
