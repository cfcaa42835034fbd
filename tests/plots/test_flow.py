"""Boxes and arrows: what stands where, which way arrows point, one drawing after the other."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from PIL import Image

from chainrule.plots import flow, style
from chainrule.plots.flow import Arrow, Frame, Node

NODES = {"x": Node(0, 0, "2"), "u": Node(1, 0, "6", "slope 4", lit=True), "y": Node(2, 1, "24")}
ARROWS = [Arrow("x", "u", "times 3"), Arrow("u", "y", "times 4", back=True)]
WEIGHTS = [np.array([[0.5, -1.0], [1.0, 0.5], [-0.5, 1.0]]), np.array([[1.0, -1.5, 0.25]])]
NAMES = [["a", "b"], ["c", "d", "e"], ["f"]]


def drawn(figure, kind):
    return [part for part in figure.axes[0].get_children() if isinstance(part, kind) and part.get_visible()]


def words(figure):
    return [text.get_text() for text in figure.axes[0].texts if text.get_visible()]


def ends(arrow):
    return np.array(arrow._posA_posB)


def test_each_box_has_its_lines_in_order_and_arrows_point_where_they_should():
    figure = flow.flow_diagram(NODES, ARROWS, "A chain")
    assert figure.get_suptitle() == "A chain"
    assert words(figure) == ["x", "2", "u", "6", "slope 4", "y", "24", "times 3", "times 4"]
    boxes, (forward, back) = drawn(figure, FancyBboxPatch), drawn(figure, FancyArrowPatch)
    assert [to_hex(box.get_facecolor()) == style.LIGHT.grid for box in boxes] == [False, True, False]
    assert to_hex(forward.get_edgecolor()) == style.LIGHT.first
    assert to_hex(back.get_edgecolor()) == style.LIGHT.second
    sides = [(box.get_x(), box.get_x() + box.get_width()) for box in boxes]
    np.testing.assert_allclose(ends(forward)[:, 0], [sides[0][1], sides[1][0]])
    np.testing.assert_allclose(ends(back)[:, 0], [sides[2][0], sides[1][1]])  # from the result to the input


def test_boxes_in_one_column_are_connected_at_top_and_bottom():
    figure = flow.flow_diagram({"a": Node(0, 0), "b": Node(0, 2)}, [Arrow("a", "b")])
    (arrow,), (above, below) = drawn(figure, FancyArrowPatch), drawn(figure, FancyBboxPatch)
    np.testing.assert_allclose(ends(arrow)[:, 1], [above.get_y() + above.get_height(), below.get_y()])


@pytest.mark.parametrize("bend", [0.4, -0.4])
@pytest.mark.parametrize("back", [False, True])
def test_the_label_of_a_bent_arrow_is_on_it_and_inside(bend, back):
    figure = flow.flow_diagram({"a": Node(0, 0), "b": Node(2, 0)}, [Arrow("a", "b", "here", back, bend=bend)])
    figure.draw_without_rendering()
    (arrow,) = drawn(figure, FancyArrowPatch)
    start, middle, end = arrow.get_path().vertices[:3]  # a quadratic curve
    t = np.linspace(0, 1, 101)[:, None]
    path = (1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end
    (label,) = [text for text in figure.axes[0].texts if text.get_text() == "here"]
    assert np.hypot(*(path - label.get_position()).T).min() < 0.05  # inches
    low, high = sorted(figure.axes[0].get_ylim())
    assert low < path[:, 1].min() < path[:, 1].max() < high


def test_a_network_prints_its_numbers_and_its_weights_on_their_wires():
    frame = flow.network_frame("Back", WEIGHTS, [[1, 2], [3, 4, 5], [6]], NAMES, lit=[1], decimals=1)
    assert frame.nodes["d"] == Node(1, 1, "4.0", "", True)
    assert frame.nodes["f"] == Node(2, 1, "6.0", "", False)
    assert {arrow[:3] for arrow in frame.arrows} == {
        (NAMES[layer][i], NAMES[layer + 1][o], f"{weight:.3g}")
        for layer, matrix in enumerate(WEIGHTS)
        for (o, i), weight in np.ndenumerate(matrix)
    }
    assert not any(arrow.back for arrow in frame.arrows)


def test_a_network_on_the_way_back():
    slopes = [None, [0.1, -0.2, 0.3], [-0.4]]
    frame = flow.network_frame(
        "Back", WEIGHTS, [None, [3, 4, 5], [6]], NAMES, slopes=slopes, wires=[None, [[7, 8, 9]]], back=[True, True]
    )
    assert [frame.nodes[name].value for name in "adf"] == ["", "4.000", "6.000"]
    assert [frame.nodes[name].slope for name in "adf"] == ["", "δ -0.200", "δ -0.400"]
    first, second = ([arrow for arrow in frame.arrows if (arrow.end == "f") is last] for last in (False, True))
    assert all(arrow.faint and not arrow.label and not arrow.back for arrow in first)
    assert [(arrow.label, arrow.back) for arrow in second] == [("7", True), ("8", True), ("9", True)]


def test_frames_follow_one_another(tmp_path):
    later = {"x": Node(0, 0, "3"), "u": Node(1, 0, "9")}
    animation = flow.animate_flow([Frame("First", NODES, ARROWS), Frame("Then", later, ARROWS[:1])])
    assert (animation.figure.get_suptitle(), words(animation.figure)) == ("Then", ["x", "3", "u", "9", "times 3"])
    animation.draw(0)
    assert animation.figure.get_suptitle() == "First"
    assert words(animation.figure)[:2] == ["x", "2"]
    assert len(drawn(animation.figure, FancyBboxPatch)) == 3
    animation.save(tmp_path / "wave.gif")
    with Image.open(tmp_path / "wave.gif") as image:
        assert image.n_frames == 2
        for number in range(2):
            image.seek(number)
            picture = np.asarray(image.convert("RGB")).astype(int)
            assert picture[0, 0].tolist() == [255, 255, 255], "as on the page around it"
            for color in (style.LIGHT.first, style.LIGHT.second)[: 2 - number]:  # the way back is in the first alone
                distance = np.abs(picture - 255 * np.array(to_rgb(color))).max(axis=-1)
                assert (distance < 12).sum() > 30


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="there are no boxes"):
        flow.flow_diagram({}, [])
    with pytest.raises(ValueError, match="an arrow names 'z', which is not one of x, u, y"):
        flow.flow_diagram(NODES, [Arrow("x", "z")])
    with pytest.raises(ValueError, match=r"weights have shapes \[\(3, 2\), \(1, 3\)\], .* of sizes \[2, 2, 1\]"):
        flow.network_frame("No", WEIGHTS, [[1, 2], [3, 4], [6]], [["a", "b"], ["c", "d"], ["f"]])
    with pytest.raises(ValueError, match="network_frame: 1 of the 6 numbers of weights"):
        flow.network_frame("No", [np.where(WEIGHTS[0] == -1, np.nan, WEIGHTS[0])], [[1, 2], [3, 4, 5]], NAMES[:2])
    with pytest.raises(ValueError, match=r"network_frame: 2 values for layer 1 of 3 neurons"):
        flow.network_frame("No", WEIGHTS[:1], [[1, 2], [3, 4]], NAMES[:2])
