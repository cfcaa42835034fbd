"""What both sides of a race to learn MNIST are given: the network, the recipe, the images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainrule import data, models

if TYPE_CHECKING:
    from chainrule.data.image_data import Part
    from chainrule.models import Recipe

RECIPES = {
    "train": ("mlp", models.get("mlp").recipe),
    "99": ("quick", models.get("quick").recipe),
}


def given(name: str) -> tuple[str, Recipe, Part, Part, Part]:
    """A model's name, its recipe, and the images to learn from, to be judged by after each epoch and at the end.

    The race to 99% is judged by the test images all along and chooses nothing by others, so it learns from all 60,000.
    """
    model, recipe = RECIPES[name]
    mnist = data.mnist()
    if name == "99":
        learn, _, test = mnist.split(0)
        return model, recipe, learn, test, test
    learn, judge, test = mnist.split()
    return model, recipe, learn, judge, test
