"""Frames: what the page sees of a training network, many times a second.

A frame is a message (see `wire`): numbers in the JSON object, arrays behind it. Measurements that take longer, such as
histograms, are made less often, so that watching slows training by a few percent at most, whatever the network.
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
_MAX_TIME_SHARE = 0.005
"""The part of the processor's time that each measurement may take."""
_N_PROBES = 100
"""The number of training examples on which neurons are tested: a neuron that is 0 for all of them counts as dead."""
_MAX_HISTOGRAMS = 40
"""The most parameters with a histogram: those of a large network would make a frame too large."""


def finite(value: float) -> float | None:
    """Return a number, or None if it is not finite: JSON has no NaN."""
    return value if math.isfinite(value) else None


class _Measurement:
    """A measurement that is repeated as often as its share of the processor's time allows."""

    def __init__(self, measure: Callable[[Trainer], tuple[Any, list[bytes]]]) -> None:
        self.measure = measure
        self.result: tuple[Any, list[bytes]] = (None, [])
        self.due = 0.0

    def update(self, trainer: Trainer, now: bool) -> None:
        start = time.thread_time()
        if not now and start < self.due:
            return
        if not self.due:
            self.measure(trainer)  # the first measurement takes longer than later ones: it is not timed
            start = time.thread_time()
        self.result = self.measure(trainer)
        end = time.thread_time()
        self.due = end + (end - start) / _MAX_TIME_SHARE


class FrameMaker:
    """Makes frames of a training network.

    Args:
        model: the network's model.

    Attributes:
        curve: the losses of the steps so far.
        picture: an image of the data's shape, uint8, whose class probabilities are in the frames, or None.
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
        self._clock = (time.perf_counter(), 0)  # the time and the step of the last measurement of the speed

    def add(self, step: int, loss: float) -> None:
        """Note the loss of a step."""
        self.loss = loss
        self.curve.add(step, loss)

    def make(self, trainer: Trainer, now: bool = False) -> tuple[dict[str, Any], list[bytes]]:
        """Make a frame of the state after the last step.

        Args:
            trainer: the trainer.
            now: repeat all measurements, for instance because training pauses.
        """
        content: dict[str, Any] = {
            "step": trainer.global_step,
            "steps": trainer.epochs * len(trainer.loader),
            "steps_per_epoch": len(trainer.loader),
            "epoch": min(trainer.epoch + 1, trainer.epochs),
            "epochs": trainer.epochs,
            "completed": trainer.epoch,
            "loss": finite(self.loss),
            "mean_loss": finite(trainer.mean_loss),
            "mean_accuracy": finite(trainer.mean_accuracy),
            "rate": trainer.optimizer.param_groups[0]["lr"],
            "speed": self._speed(trainer.global_step),
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
        """Return the steps per second since the last frame; None for the first frame, and if there was no step."""
        last_time, last_step = self._clock
        now = time.perf_counter()
        self._clock = now, step
        return (step - last_step) / (now - last_time) if 0 < last_step < step else None

    def _bars(self, trainer: Trainer) -> tuple[Any, list[bytes]]:
        """Return the class probabilities of the picture."""
        if self.picture is None:
            return None, []
        with no_grad(), restore_modes(trainer.network):
            inputs = models.images_to_inputs(from_numpy(self.picture[None]))
            outputs = self.model.probabilities(trainer.network.eval()(inputs))
        return [finite(float(value)) for value in outputs.numpy()[0]], []


def _layers(trainer: Trainer) -> tuple[Any, list[bytes]]:
    """Return the root mean square of each layer's gradient, and of its weights."""
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
    """Return the histogram of each matrix of weights and of the filters of each convolution."""
    arrays = [(name, p.numpy()) for name, p in trainer.network.named_parameters() if p.ndim > 1][:_MAX_HISTOGRAMS]
    counted = [(name, histogram(array)) for name, array in arrays]
    limits = [{"name": name, "limit": limit} for name, (limit, _) in counted]
    return limits, [counts.astype(np.uint32).tobytes() for _, (_, counts) in counted]


def _neurons(trainer: Trainer) -> tuple[Any, list[bytes]]:
    """Return which neurons are 0 for each of the first `_N_PROBES` training examples."""
    neurons = dead_neurons(trainer.network, trainer.loader.dataset[:_N_PROBES][0])
    layers = [{"path": path, "kind": kind, "count": int(inactive.sum())} for path, (inactive, kind) in neurons.items()]
    return layers, [dead.astype(np.uint8).tobytes() for dead, _ in neurons.values()]
