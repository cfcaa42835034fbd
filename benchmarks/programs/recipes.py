"""The network, the recipe and the images of the MNIST training works, shared by both libraries."""

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


def recipe_for(name: str) -> tuple[str, Recipe, Part, Part, Part]:
    """A model's name, its recipe, and the images for training, for evaluation after each epoch, and for the test.

    Training to 99% is evaluated on the test images and selects nothing by validation, so it trains on all 60,000.
    """
    model, recipe = RECIPES[name]
    mnist = data.mnist()
    if name == "99":
        learn, _, test = mnist.split(0)
        return model, recipe, learn, test, test
    learn, judge, test = mnist.split()
    return model, recipe, learn, judge, test
