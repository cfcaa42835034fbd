"""The figure of a computation graph has the boxes and arrows of `chainrule.draw`, from top to bottom."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import chainrule as cr
from chainrule.plots.graph import computation_graph


@pytest.fixture
def small_network():
    """The loss of a small network, and names for its tensors."""
    weight, bias, slope = (cr.tensor(np.ones(shape), requires_grad=True) for shape in ((3, 2), (3, 1), (1, 3)))
    z = weight @ np.ones((2, 1)) + bias
    hidden = cr.sigmoid(z)
    loss = ((slope @ hidden - hidden) ** 2).sum()  # hidden is used twice
    return loss, {"W": weight, "b": bias, "z": z, "h": hidden, "w": slope, 'a "quoted" name': loss}


def drawn(figure):
    """The text of each box by its position, and the arrows as pairs of positions."""
    axes = figure.axes[0]
    boxes = {text.get_position(): text for text in axes.texts if text.get_text()}
    arrows = [(text.xyann, text.xy) for text in axes.texts if not text.get_text()]
    return boxes, arrows


def test_boxes_and_arrows_are_those_of_the_graph(small_network):
    loss, names = small_network
    boxes, arrows = drawn(computation_graph(loss, names))
    words = sorted(text.get_text() for text in boxes.values())
    computed = [
        "matmul  (3, 1)",
        "z  add  (3, 1)",
        "h  sigmoid  (3, 1)",
        "matmul  (1, 1)",
        "sub  (3, 1)",
        "pow  (3, 1)",
    ]
    assert words == sorted(["W  (3, 2)", "b  (3, 1)", "w  (1, 3)", *computed, 'a "quoted" name  sum  ()'])
    ends = sorted((boxes[a].get_text().split("  ")[0], boxes[b].get_text().split("  ")[0]) for a, b in arrows)
    expected = [
        ("W", "matmul"),
        ("matmul", "z"),
        ("b", "z"),
        ("z", "h"),
        ("h", "matmul"),
        ("w", "matmul"),
        ("matmul", "sub"),
    ]
    assert ends == sorted([*expected, ("h", "sub"), ("sub", "pow"), ("pow", 'a "quoted" name')])


def test_every_arrow_points_downwards(small_network):
    loss, names = small_network
    figure = computation_graph(loss, names)
    low, high = figure.axes[0].get_ylim()
    assert low > high  # rows count from the top
    assert all(start[1] < end[1] for start, end in drawn(figure)[1])


def test_no_box_covers_another(small_network):
    loss, names = small_network
    figure = computation_graph(loss, names)
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure).draw()
    frames = [text.get_bbox_patch().get_window_extent() for text in drawn(figure)[0].values()]
    assert [1 for one, other in itertools.combinations(frames, 2) if one.overlaps(other)] == []
    for frame in frames:
        assert frame.x0 >= 0
        assert frame.x1 <= figure.bbox.width


def test_leaves_are_filled(small_network):
    loss, names = small_network
    boxes, _ = drawn(computation_graph(loss, names, dark=True))
    filled = {
        text.get_text()[0] for text in boxes.values() if text.get_bbox_patch().get_facecolor() != boxes_ground(boxes)
    }
    assert filled == {"W", "b", "w"}


def boxes_ground(boxes):
    """The fill of an operation."""
    return next(text for text in boxes.values() if "sigmoid" in text.get_text()).get_bbox_patch().get_facecolor()


def test_a_leaf_alone():
    boxes, arrows = drawn(computation_graph(cr.tensor([1.0, 2.0], requires_grad=True)))
    assert [text.get_text() for text in boxes.values()] == ["leaf  (2,)"]
    assert arrows == []


def test_a_graph_that_was_freed_is_an_error(small_network):
    loss, _ = small_network
    loss.backward()
    with pytest.raises(RuntimeError, match="freed by backward"):
        computation_graph(loss)
