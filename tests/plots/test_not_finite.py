"""NaN and infinities: skipped where documented, rejected everywhere else."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

import chainrule
from chainrule import plots
from chainrule.first_principles.descent import Path
from chainrule.plots import animation, flow

from .reading import legend


def spoiled(shape, value, kind=float):
    """Numbers from 0 to 1, one of which is not finite."""
    array = np.random.default_rng(0).random(shape).astype(kind)
    array.flat[array.size // 2] = value
    return array


def steps(value):
    points = np.array([3.0, 2.0, 1.0])
    return Path(points, points**2, 2 * points[:-1]), lambda x: np.where(np.abs(x - 1) < 0.5, value, x**2)


def bowl(value):
    points = np.array([[3.0, 1.0], [2.0, 0.5], [1.0, 0.2]])
    function = lambda x: np.where(x[..., 0] < 1.5, value, (x**2).sum(axis=-1))  # noqa: E731
    return Path(points, (points**2).sum(axis=1), 2 * points[:-1]), function


PLANE, CLASSES = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), np.array([0, 1, 1, 0])

REFUSED = {
    "activations": lambda v, _: plots.activations([("image", spoiled((3, 3), v))]),
    "pixel_maps, image": lambda v, _: plots.pixel_maps(spoiled((3, 3), v), [("gradient", np.ones((3, 3)))]),
    "pixel_maps, map": lambda v, _: plots.pixel_maps(np.ones((3, 3)), [("gradient", spoiled((3, 3), v))]),
    "top_images, images": lambda v, _: plots.top_images(spoiled((2, 3, 3), v), [1, 2]),
    "top_images, values": lambda v, _: plots.top_images(np.ones((3, 2, 2)), spoiled(3, v)),
    "attention_patterns": lambda v, _: plots.attention_patterns(spoiled((2, 3, 3), v), list("abc")),
    "flow_diagram": lambda v, _: plots.flow_diagram({"x": flow.Node(0, v)}, []),
    "animate_flow": lambda v, _: plots.animate_flow([flow.Frame("", {"x": flow.Node(v, 0)}, [])]),
    "network_frame": lambda v, _: plots.network_frame("", [spoiled((1, 2), v)], [[1, 2], [3]], [["a", "b"], ["c"]]),
    "calibration": lambda v, _: plots.calibration(spoiled(5, v), np.ones(5)),
    "confusion_matrix": lambda v, _: plots.confusion_matrix(spoiled((3, 3), v)),
    "dead_neurons": lambda v, _: plots.dead_neurons({"layer": spoiled(4, v)}),
    "decision_boundary, points": lambda v, _: plots.decision_boundary(
        lambda x: np.zeros(len(x), int), spoiled((4, 2), v), CLASSES
    ),
    "decision_boundary, classifier": lambda v, _: plots.decision_boundary(
        lambda x: np.where(x[:, 0] > 0.5, v, 0.0), PLANE, CLASSES
    ),
    "decision_boundary, line": lambda v, _: plots.decision_boundary(
        lambda x: np.zeros(len(x), int), PLANE, CLASSES, line=([v, 1.0], 0.0)
    ),
    "decision_boundary, bias": lambda v, _: plots.decision_boundary(
        lambda x: np.zeros(len(x), int), PLANE, CLASSES, line=([1.0, 1.0], v)
    ),
    "descent_on_contour": lambda v, _: plots.descent_on_contour(*bowl(v)),
    "descent_on_surface": lambda v, _: plots.descent_on_surface(*bowl(v)),
    "feature_maps": lambda v, _: plots.feature_maps(spoiled((2, 3, 3), v)),
    "filters": lambda v, _: plots.filters(spoiled((2, 1, 3, 3), v)),
    "hidden_map": lambda v, _: plots.hidden_map(spoiled((6, 3), v), [0, 1, 0, 1, 0, 1]),
    "mistakes, probabilities": lambda v, _: plots.mistakes(np.zeros((4, 2, 2)), [0] * 4, [1] * 4, spoiled(4, v)),
    "mistakes, images": lambda v, _: plots.mistakes(spoiled((4, 2, 2), v), [0] * 4, [1] * 4, [0.5] * 4),
    "network_diagram, weights": lambda v, _: plots.network_diagram([np.ones((2, 2)), spoiled((1, 2), v)]),
    "network_diagram, values": lambda v, _: plots.network_diagram([np.ones((2, 2))], [[0.0, 1.0], [v, 1.0]]),
    "predictions": lambda v, _: plots.predictions(spoiled((4, 2, 2), v), [0] * 4, [1] * 4),
    "number_grids": lambda v, _: plots.number_grids([("weights", spoiled((2, 2), v))]),
    "animate_decision_boundary": lambda v, _: plots.animate_decision_boundary(
        [lambda x: x[:, 0] > 0], spoiled((4, 2), v), [0, 1, 0, 1]
    ),
    "save_decision_boundary": lambda v, folder: animation.save_decision_boundary(
        [lambda x: x[:, 0] > 0], spoiled((4, 2), v), [0, 1, 0, 1], folder / "b.gif"
    ),
    "save_weights": lambda v, folder: animation.save_weights(spoiled((2, 3, 4), v), folder / "w.gif", (2, 2)),
    "stages": lambda v, _: plots.stages([("photo", spoiled((3, 3), v))]),
    "stages, probabilities": lambda v, _: plots.stages([("photo", np.zeros((3, 3)))], 1, spoiled(10, v)),
    "step_errors": lambda v, _: plots.step_errors([0.1, 0.01], {"forward": [v, v]}),
    "weight_images": lambda v, _: plots.weight_images(spoiled((2, 4), v), (2, 2)),
    "word_probabilities": lambda v, _: plots.word_probabilities([("a", v)]),
}
LEFT_OUT = {  # and the figure's text about the rest
    "animate_descent": lambda v, _: plots.animate_descent(*steps(v)).figure,
    "computation_graph": lambda v, _: plots.computation_graph(chainrule.tensor([v, 1.0], requires_grad=True) * 2),
    "curves": lambda v, _: plots.curves([{"epoch": 1, "train_loss": v, "validation_loss": 1.0}]),
    "descent_on_curve": lambda v, _: plots.descent_on_curve(*steps(v)),
    "functions": lambda v, _: plots.functions({"f": (lambda x: np.where(x > 0, x, v), lambda x: x)}),
    "gradients_by_layer": lambda v, _: plots.gradients_by_layer({"a": [v, v], "b": [1.0, v]}),
    "gradients_by_step": lambda v, _: plots.gradients_by_step([[v, 1.0], [v, 2.0]]),
    "lines": lambda v, _: plots.lines({"a": [v, v]}, title="", x_label="", y_label=""),
    "sweep": lambda v, _: plots.sweep([v, 1.0, v], {"lr": [0.1, v, 3]}, [True, False, True], label="loss", log=["lr"]),
    "save_descent": lambda v, folder: animation.save_descent(*steps(v), folder / "d.gif"),
    "save_training": lambda v, folder: animation.save_training(
        [{"epoch": i, "train_loss": v if i == 1 else 0.5} for i in (1, 2)], folder / "t.gif"
    ),
}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", REFUSED)
def test_what_nothing_true_can_be_drawn_of_is_refused(tmp_path, name, value):
    function = name.split(",")[0]
    with pytest.raises(ValueError, match=f"^{function}: ") as caught:
        REFUSED[name](value, tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_is_left_out_leaves_the_rest(tmp_path, name, value):
    figure = LEFT_OUT[name](value, tmp_path)
    if figure is None:  # an animation in a file
        (file,) = tmp_path.iterdir()
        with Image.open(file) as picture:
            assert len(set(picture.convert("L").tobytes())) > 1  # not a blank page
        return
    figure.draw_without_rendering()
    points = [line.get_xydata() for axes in figure.axes for line in axes.lines]
    points += [np.asarray(collection.get_offsets()) for axes in figure.axes for collection in axes.collections]
    has_values = any(np.isfinite(part).all(axis=1).any() for part in points)
    texts = " ".join(text.get_text() for text in figure.findobj(Text))
    assert has_values or "no values" in texts or name == "computation_graph"
    assert name != "computation_graph" or "mul" in texts


def test_every_figure_is_in_one_of_the_tables():
    listed = {name.split(",")[0] for name in (*REFUSED, *LEFT_OUT)}
    figures = {name for name in plots.__all__ if name not in ("save", "principal_components")}
    assert figures <= listed, figures - listed


def test_a_curve_without_values_says_so():
    labels = {"title": "", "x_label": "", "y_label": ""}
    (axes,) = plots.lines({"a": [np.nan, np.nan], "b": [1, 2]}, **labels).axes
    assert legend(axes) == ["a (no values)", "b"]
    (axes,) = plots.lines({"a": [0, -1]}, **labels, log="y").axes
    assert [text.get_text() for text in axes.texts] == ["no values"]


def test_a_picture_that_was_read_as_nothing_is_no_mistake_for_another_class():
    with pytest.raises(ValueError, match=r"mistakes: 1 predictions are negative, so they name no class"):
        plots.mistakes(np.zeros((2, 2, 2)), [0, 1], [-1, 1], [0.5, 0.5], classes=["a", "b"])


def test_the_error_counts_and_names():
    with pytest.raises(ValueError, match=re.escape("weight_images: 1 of the 8 numbers of weights are not finite")):
        plots.weight_images(spoiled((2, 4), np.nan), (2, 2))
