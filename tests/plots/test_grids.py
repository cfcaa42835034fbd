"""Grids of numbers show each number, its sign, and the framed window."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

import chainrule
from chainrule import plots
from chainrule.plots import style

WEIGHTS = np.array([[1.0, 0.0, 0.0], [0.25, 0.75, 0.0], [0.125, 0.5, 0.375]])
WORDS = ["the", "river", "bank"]


def words(axes):
    return [text.get_text() for text in axes.texts]


def test_each_number_stands_in_its_cell():
    (axes,) = plots.number_grids(
        [("weights", WEIGHTS)], rows=("word", WORDS), columns=("looks at", WORDS), decimals=3
    ).axes
    assert words(axes) == [f"{weight:.3f}" for weight in WEIGHTS.ravel()]
    assert [text.get_position() for text in axes.texts] == [(j, i) for i in range(3) for j in range(3)]
    assert [label.get_text() for label in axes.get_yticklabels()] == WORDS
    assert [label.get_text() for label in axes.get_xticklabels()] == WORDS
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("looks at", "word")
    assert axes.get_title(loc="left") == "weights"


def test_zero_has_no_color_and_signs_have_two():
    (axes,) = plots.number_grids([("slopes", chainrule.tensor([[-2.0, 0.0, 2.0]]))]).axes
    (image,) = axes.images
    low, zero, high = (np.array(image.cmap(image.norm(value)))[:3] for value in (-2.0, 0.0, 2.0))
    np.testing.assert_allclose(zero, to_rgb(style.LIGHT.background), atol=0.01)
    assert low[0] > low[2]  # orange
    assert high[2] > high[0]  # blue


def test_a_window_is_framed_in_its_grid_only():
    image, other = plots.number_grids(
        [("a", np.ones((4, 4))), ("b", np.ones((2, 2)))], windows={"a": (1, 2, 3, 2)}
    ).axes
    (frame,) = image.patches
    assert (frame.get_x(), frame.get_y(), frame.get_width(), frame.get_height()) == (1.5, 0.5, 2, 3)
    assert not other.patches


def test_grids_have_cells_of_one_size_and_do_not_overlap():
    figure = plots.number_grids([("image", np.zeros((4, 4))), ("a kernel with a long name", np.ones((2, 2)))])
    one, other = figure.axes
    boxes = [axes.get_window_extent() for axes in (one, other)]
    assert boxes[0].width / 4 == pytest.approx(boxes[1].width / 2)
    assert boxes[0].height / 4 == pytest.approx(boxes[1].height / 2)
    assert boxes[0].x1 < boxes[1].x0
    assert boxes[0].y1 == pytest.approx(boxes[1].y1)


@pytest.mark.parametrize(
    ("grids", "options", "message"),
    [
        ([], {}, "there are no grids"),
        ([("a", [1.0, 2.0])], {}, r"'a' has shape \(2,\)"),
        ([("a", np.zeros((0, 2)))], {}, r"'a' has shape \(0, 2\)"),
        ([("a", np.zeros((40, 40)))], {}, "with 1 to 1,000 cells"),
        ([("a", np.zeros((2, 3)))], {"rows": ("a", ["x"])}, "1 names for 2 rows"),
        ([("a", np.zeros((2, 3)))], {"columns": ("a", ["x", "y"])}, "2 names for 3 columns"),
        ([("a", np.zeros((2, 3)))], {"windows": {"b": (0, 0, 1, 1)}}, "not inside a grid 'b'"),
        ([("a", np.zeros((2, 3)))], {"windows": {"a": (1, 0, 2, 2)}}, r"window \(1, 0, 2, 2\) is not inside"),
    ],
)
def test_what_does_not_fit_is_refused(grids, options, message):
    with pytest.raises(ValueError, match=f"^number_grids: .*{message}"):
        plots.number_grids(grids, **options)
