"""The program that prints what the view Microscope shows, for "Copy as code"."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chainrule.training import run as runs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from chainrule.explain.backpropagation import ErrorEquation
    from chainrule.training.run import Run


def program(
    name: str, run: Run | None, image: int, target: int, weight: str, index: Sequence[int], error: ErrorEquation | None,
    *, digits: bool,
) -> str:  # fmt: skip
    """Return a program that prints the numbers: cost, equations of a weight and of a δ, finite difference, update.

    Args:
        name: the network's name in the studio.
        run: the network's run; None for a model before training.
        image: the image's number; below 0 for a drawing, which the page saves as drawing.png.
        target: the right class.
        weight: the name of the parameter that contains the weight.
        index: the weight's index in the parameter.
        error: the equation of the δ; None to leave it out.
        digits: whether the images are MNIST's; otherwise they are those of the run's data set.
    """
    lines = []
    if image < 0:
        lines += ["from chainrule.images import prepare"]
    elif digits:
        lines += ["from chainrule.data import mnist"]
    lines += ["from chainrule.explain import Backpropagation"]
    if run is None:
        model = name.rpartition("/")[2]
        lines = ["import numpy as np", "", "from chainrule import models", *lines]
        lines += ["from chainrule.training.optimizers import make_optimizer", "", f"model = models.get({model!r})"]
        lines += ["network = models.build(model.name, generator=np.random.default_rng(0))", "recipe = model.recipe"]
    else:
        source = "shipped()" if run.folder == runs.SHIPPED else f"find({str(run.folder)!r})"
        lines = ["from chainrule import models", *lines]
        lines += [
            "from chainrule.training import run as runs",
            "from chainrule.training.optimizers import make_optimizer",
        ]
        lines += ["", f"run = runs.{source}", "model, network = run.model, run.load_network()"]
        lines += ['recipe = models.Recipe(**run.config["training"])']
    if image < 0:
        lines += ['pixels = prepare("drawing.png").result  # Save writes this file']
    elif digits:
        lines += [f"pixels = mnist().test_images[{image}]"]
    else:
        lines += [f"pixels = run.task.load_test(run).test_images[{image}]"]
    lines += [
        f"passed = Backpropagation(network, pixels.astype(float) * models.PIXEL_SCALE, {target}, model.loss)",
        'print("cost", passed.cost)',
        "",
        f"weight = passed.weight({weight!r}, {tuple(index)})",
        'print("weight", weight.value)',
        'print("gradient", weight.gradient, "by the equation", weight.sum)',
        "for delta, activation in zip(weight.deltas.values, weight.activations.values):",
        '    print("  term", delta, "*", activation)',
    ]
    if error is not None:
        lines += [
            "",
            f"error = passed.error({error.layer!r}, {error.index})",
            'print("delta", error.delta, "by the equation", error.sum)',
            "for path in error.paths:",
            '    print("  factor", path.factor, "arriving", path.arriving)',
        ]
    lines += [
        "",
        "difference = passed.finite_difference(weight.name, weight.index)",
        'print("finite difference", difference.slope, "off by", difference.difference)',
        "after = passed.updated(weight.name, weight.index, lambda copy: make_optimizer(copy, recipe))",
        'print("after one step", after)',
    ]
    return "\n".join(lines) + "\n"
