"""The networks and images that the Microscope can look at."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import models
from chainrule.data import mnist
from chainrule.errors import RunError, UserError, join_names
from chainrule.images import prepare
from chainrule.training.image_task import IMAGES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chainrule.models import Model, Recipe
    from chainrule.nn import Module
    from chainrule.studio.shelf import Shelf
    from chainrule.training.run import Run

UNTRAINED = "untrained/"
"""The prefix of the names of models without a run: their weights are those before training, with seed 0."""
DIGITS = [str(digit) for digit in range(10)]


@dataclass(frozen=True)
class Subject:
    """A network to look into.

    Attributes:
        name: its name in the studio.
        model: its model.
        network: the network with its weights.
        classes: the names of the classes.
        recipe: how the network is trained.
        images: the images to choose from: raw pixels (N, ...), uint8.
        labels: the class indices of the images, (N,).
        run: the network's run; None for an untrained model.
        takes_digits: whether the images are MNIST's, and a drawing fits.
    """

    name: str
    model: Model
    network: Module
    classes: list[str]
    recipe: Recipe
    images: NDArray[np.uint8]
    labels: NDArray[np.integer[Any]]
    run: Run | None
    takes_digits: bool


def names(shelf: Shelf) -> list[str]:
    """Return the names of all networks: the runs, and the image models before training."""
    return [*shelf.runs(), *[f"{UNTRAINED}{name}" for name, model in models.REGISTRY.items() if model.task == "images"]]


def find_run(shelf: Shelf, name: str) -> Run | None:
    """Return the run of this name; None for a model before training.

    Raises:
        UserError: there is no such run, or it does not read images.
    """
    if name.startswith(UNTRAINED):
        return None
    run = shelf.run(name)
    if run.task is not IMAGES:
        raise UserError(
            f"{name}: {run.model.name} reads {run.task.name}; the microscope is for networks of images, which are a "
            "chain of layers"
        )
    return run


def load(name: str, run: Run | None) -> Subject:
    """Return a network with its images.

    Raises:
        UserError: there is no such model, the run has no weights yet, or its images are missing.
    """
    return _untrained(name) if run is None else _trained(name, run)


def _trained(name: str, run: Run) -> Subject:
    classes = list(map(str, run.config["data"]["classes"]))
    takes_digits = run.config["data"]["image_shape"] == [28, 28] and set(DIGITS) <= set(classes)
    if takes_digits:
        data = mnist()
        images, labels = data.test_images, np.array([classes.index(str(digit)) for digit in data.test_labels])
    else:
        test = IMAGES.load_test(run)
        images, labels = test.test_images, test.test_labels
    recipe = models.Recipe(**run.config["training"])
    return Subject(name, run.model, run.load_network(), classes, recipe, images, labels, run, takes_digits)


def _untrained(name: str) -> Subject:
    model = models.REGISTRY.get(name.removeprefix(UNTRAINED))
    if model is None or model.task != "images":
        choices = join_names([name for name, model in models.REGISTRY.items() if model.task == "images"])
        raise RunError(f"there is no image model of this name; choose from {choices}")
    data = mnist()
    network = models.build(model.name, generator=np.random.default_rng(0))
    return Subject(name, model, network, DIGITS, model.recipe, data.test_images, data.test_labels, None, True)


def drawn(subject: Subject, picture: bytes | None) -> NDArray[np.uint8]:
    """Return a drawing's PNG file as the input of a network for digits.

    Raises:
        UserError: the network reads no digits, nothing is drawn, or the file is not a picture.
    """
    if not subject.takes_digits:
        raise UserError(f"{subject.name} reads no digits of 28×28 pixels, so a drawing does not fit; take an image")
    if picture is None:
        raise UserError("nothing is drawn yet: draw a digit, or take an image by its number")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "drawing.png"
        file.write_bytes(picture)
        return prepare(file, "the drawing").result
