"""Every figure, light and dark: text is inside, does not overlap, and has enough contrast; so do lines."""

from __future__ import annotations

from itertools import combinations

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_hex

import chainrule
from chainrule import nn, plots
from chainrule.first_principles import descent as pages
from chainrule.first_principles.activations import sigmoid
from chainrule.plots import evaluation, style

RANDOM = np.random.default_rng(0)
HISTORY = [
    {
        "epoch": 1,
        "train_loss": 0.40,
        "train_accuracy": 0.8723,
        "validation_loss": 0.22,
        "validation_accuracy": 0.94,
        "seconds": 0.7,
    },
    {
        "epoch": 2,
        "train_loss": 0.20,
        "train_accuracy": 0.9589,
        "validation_loss": 0.15,
        "validation_accuracy": 0.97,
        "seconds": 0.7,
    },
]
IMAGES = RANDOM.random((4, 28, 28))
SMALL = np.linspace(0, 1, 28 * 28).reshape(28, 28)
CONFIDENCES = np.array([0.01, 0.02, 0.0, 0.0, 0.0, 0.0, 0.0, 0.9, 0.03, 0.04])
ROLLS = {f"rate {rate}": pages.descend(pages.parabola, pages.parabola_gradient, 10.0, rate, 9) for rate in (0.1, 1.05)}
WALKS = {f"momentum {m}": pages.descend(pages.bowl, pages.bowl_gradient, (3.0, 2.0), 0.1, 9, m) for m in (0.0, 0.8)}
POINTS, SIDES = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), [0, 0, 0, 1]
LEAF = chainrule.ones(3, 3, requires_grad=True)
BLOBS = np.concatenate([RANDOM.normal(0, 0.2, (9, 5)), RANDOM.normal(4, 0.2, (9, 5))])
WAVE = plots.network_frame(
    "Forward",
    [RANDOM.normal(size=(3, 2)), RANDOM.normal(size=(2, 3))],
    [[1, 0.5], [0.25, 0.5, 0.125], [0.5, -0.5]],
    [["input 1", "input 2"], ["hidden 1", "hidden 2", "hidden 3"], ["output 1", "output 2"]],
    slopes=[None, [-0.1, 0.2, 0.3], [0.1, -0.25]],
    back=[False, True],
    lit=[1],
)

FIGURES = {
    "curves": lambda dark: plots.curves(HISTORY, dark=dark),
    "confusion_matrix": lambda dark: plots.confusion_matrix([[9, 1], [0, 9]], dark=dark),
    "mistakes": lambda dark: plots.mistakes(IMAGES, (1, 2, 3, 4), (1, 0, 9, 7), (1, 1, 1, 1), dark=dark),
    "no mistakes": lambda dark: plots.mistakes(IMAGES, [1] * 4, [1] * 4, [1] * 4, dark=dark),
    "predictions": lambda dark: plots.predictions(IMAGES, (1, 2, 3, 4), (1, 0, 9, 4), dark=dark),
    "sweep": lambda dark: plots.sweep(
        [81.5, 90, 12, 95, np.nan],
        {
            "lr": [0.001, 0.0123, 0.4, 0.02, 0.3],
            "optimizer": ["adamw", "sgd", "adamw", "sgd", "a long name of an optimizer"],
            "momentum": [None, 0.5, None, 0.9, 0.1],
            "hidden": [32, 64, 128, 256, 16],
        },
        [True, True, False, True, False],
        label="validation accuracy (%)",
        choices={"optimizer": ["sgd", "adamw", "a long name of an optimizer"]},
        log=["lr"],
        dark=dark,
    ),
    "sweep of one": lambda dark: plots.sweep(
        [0.4], {"seed": [3]}, [True], label="loss", maximize=False, choices={"seed": range(9)}, dark=dark
    ),
    "calibration": lambda dark: plots.calibration([0.05, 0.55, 0.95] * 9000, [False, True, True] * 9000, dark=dark),
    "stages": lambda dark: plots.stages([("small", SMALL)], 7, CONFIDENCES, dark=dark),
    "lines": lambda dark: plots.lines({"a": [1, 2]}, title="One", x_label="epoch", y_label="loss", dark=dark),
    "functions": lambda dark: plots.functions({"sigmoid": (sigmoid, np.cos), "sine": (np.sin, np.cos)}, dark=dark),
    "gradients_by_layer": lambda dark: plots.gradients_by_layer(
        {"sigmoid": [1e-6, 1e-3, 1], "leaky ReLU": [0.5, 0.7, 1]}, dark=dark
    ),
    "gradients_by_step": lambda dark: plots.gradients_by_step(RANDOM.random((5, 8)), dark=dark),
    "dead_neurons": lambda dark: plots.dead_neurons({"ReLU": [0, 0.4], "leaky ReLU": [0, 0]}, dark=dark),
    "step_errors": lambda dark: plots.step_errors(
        [1e-8, 1e-5, 1e-2], {"forward": [1e-8, 1e-5, 1e-2], "central": [1e-8, 1e-10, 1e-4]}, dark=dark
    ),
    "word_probabilities": lambda dark: plots.word_probabilities(
        [("money", 0.4), ("cheques", 0.1)], "i am going to the bank to deposit some", dark=dark
    ),
    "descent_on_curve": lambda dark: plots.descent_on_curve(ROLLS, pages.parabola, dark=dark),
    "descent_on_contour": lambda dark: plots.descent_on_contour(WALKS, pages.bowl, dark=dark),
    "descent_on_surface": lambda dark: plots.descent_on_surface(WALKS, pages.bowl, dark=dark),
    "decision_boundary": lambda dark: plots.decision_boundary(
        lambda x: x.sum(axis=1) > 1.5, POINTS, SIDES, ([2, 2], -3), dark=dark
    ),
    "hidden_map": lambda dark: plots.hidden_map(BLOBS, [0] * 9 + [1] * 9, ["zero", "one"], dark=dark),
    "pixel_maps": lambda dark: plots.pixel_maps(
        SMALL, [("integrated gradients", SMALL - 0.4), ("occlusion", 0 * SMALL)], dark=dark
    ),
    "top_images": lambda dark: plots.top_images(IMAGES, [4.25, 1e-7, 1, 0], dark=dark),
    "attention_patterns": lambda dark: plots.attention_patterns(
        np.tile(np.tri(3) / [[1], [2], [3]], (3, 1, 1)), ["the", " ", "river"], dark=dark
    ),
    "network_diagram": lambda dark: plots.network_diagram(
        [RANDOM.normal(size=(3, 20)), RANDOM.normal(size=(1, 3))],
        [np.zeros(20), [-0.25, 1, 12.5], [0.5]],
        max_neurons=4,
        dark=dark,
    ),
    "activations": lambda dark: plots.activations(
        [("image", SMALL), ("maps", IMAGES), ("hidden", np.arange(30)), ("digits", CONFIDENCES)], dark=dark
    ),
    "number_grids": lambda dark: plots.number_grids(
        [("weights", [[1.0, 0.0], [0.25, 0.75]]), ("errors", [[-1.5, 0.0, 12.25]])],
        "Who looks at whom",
        ("word", ["river", "bank"]),
        ("looks at", ["river", "bank"]),
        {"errors": (0, 1, 1, 2)},
        dark=dark,
    ),
    "computation_graph": lambda dark: plots.computation_graph(
        (nn.functional.linear(LEAF, LEAF) - 1).square().mean(), {"a leaf": LEAF}, dark=dark
    ),
    "flow_diagram": lambda dark: plots.flow_diagram(WAVE.nodes, WAVE.arrows, "Numbers and slopes", dark=dark),
    "animate_flow": lambda dark: plots.animate_flow([WAVE, WAVE._replace(title="Back")], dark=dark).figure,
    "animate_decision_boundary": lambda dark: (
        plots.animate_decision_boundary(
            [lambda x: x[:, 0] > 0, lambda x: x.sum(axis=1) > 1.5], POINTS, SIDES, dark=dark
        ).figure
    ),
    "animate_descent": lambda dark: plots.animate_descent(ROLLS["rate 0.1"], pages.parabola, dark=dark).figure,
    "weight_images": lambda dark: plots.weight_images(RANDOM.normal(size=(7, 784)), dark=dark),
    "long captions": lambda dark: plots.weight_images(
        RANDOM.normal(size=(4, 9)), (3, 3), ["is there any ink at all?"] * 4, dark=dark
    ),
    "filters": lambda dark: plots.filters(RANDOM.normal(size=(4, 1, 3, 3)), dark=dark),
    "filters of filters": lambda dark: plots.filters(RANDOM.normal(size=(3, 4, 3, 3)), dark=dark),
    "feature_maps": lambda dark: plots.feature_maps(IMAGES, dark=dark),
}
NOT_FIGURES = {
    "network_frame",
    "principal_components",
    "save",
    "save_decision_boundary",
    "save_descent",
    "save_training",
    "save_weights",
}


def test_every_name_is_there_and_every_figure_is_looked_at():
    assert all(callable(getattr(plots, name)) for name in plots.__all__)
    assert set(plots.__all__) - NOT_FIGURES <= set(FIGURES)
    with pytest.raises(AttributeError, match="no attribute 'pie'"):
        _ = plots.pie


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("dark", [False, True])
def test_every_word_can_be_read(name, dark):
    figure = FIGURES[name](dark)
    figure.draw_without_rendering()  # computes the layout and the tick labels
    assert to_hex(figure.get_facecolor()) == (style.DARK if dark else style.LIGHT).background
    width, height = figure.get_size_inches() * figure.dpi
    cells = [text for axes in figure.axes if axes.images for text in axes.texts if name == "confusion_matrix"]
    boxes = [(word, word.get_window_extent()) for word in words_of(figure)]
    assert boxes
    for word, box in boxes:
        assert word.get_fontsize() >= style.SMALL
        assert (
            word in cells or contrast(word.get_color(), figure.get_facecolor()) > 4.5
        )  # a cell has its own background
        assert min(box.x0, box.y0) >= 0, word
        assert box.x1 <= width, word
        assert box.y1 <= height, word
    for (word, box), (other, another) in combinations(boxes, 2):
        assert not box.overlaps(another), (word, other)


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_has_a_title_and_every_panel_with_ticks_names_its_axes(name):
    figure = FIGURES[name](False)
    assert figure.get_suptitle()
    for axes in figure.axes:
        if axes.axison and len(axes.get_xticks()) and "colorbar" not in axes.get_label():
            assert axes.get_xlabel() or axes.get_shared_x_axes().get_siblings(axes) != [axes]
        if axes.axison and len(axes.get_yticks()) and name != "activations":  # its ticks number the neurons
            assert axes.get_ylabel()


@pytest.mark.parametrize("width", [5, 7])
def test_a_long_title_is_set_smaller(width):
    title = "What the neuron has made of eight cups of tea, and what not"
    figure = style.new_figure(width, 3, title, style.LIGHT)
    (drawn,) = figure.texts
    box = drawn.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= width * figure.dpi
    assert style.SMALL <= drawn.get_fontsize() < style.TITLE
    style.retitle(figure, "Tea")
    assert figure.get_suptitle() == "Tea"
    assert drawn.get_fontsize() == style.TITLE


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("mistakes", [0, 1, 10, 30, 100, 500, 1000])
def test_counts_can_be_read_on_every_color(dark, mistakes):
    (axes,) = evaluation.confusion_matrix([[1000, mistakes, 1000], [0, 1000, 0], [0, 0, 1000]], dark=dark).axes
    (image,) = axes.images
    grounds = image.cmap(image.norm(image.get_array()))  # (3, 3, 4)
    for cell in axes.texts[:9]:
        column, row = cell.get_position()
        assert contrast(cell.get_color(), grounds[row, column]) > 4


@pytest.mark.parametrize("theme", [style.LIGHT, style.DARK], ids=["light", "dark"])
@pytest.mark.parametrize("count", [2, 3, 4, 5, 8])
def test_lines_differ_in_gray_and_stand_out_from_the_ground(theme, count):
    colors, lines, markers = zip(*style.strokes(count, theme), strict=True)
    grays = sorted(lightness(color) for color in colors)
    assert np.diff(grays).min() > 5
    assert all(contrast(color, theme.background) > 2.9 for color in colors)
    assert len(set(lines)) == len(set(markers)) == min(count, 4)


def test_the_colors_of_signed_numbers_grow_lighter_and_have_gray_in_the_middle():
    colors = mpl.colormaps[style.SIGNED](np.linspace(0, 1, 21))[:, :3]
    assert (np.diff([lightness(color) for color in colors]) > 0).all()
    assert np.ptp(colors[10]) < 0.03


def words_of(figure):
    """All visible text: matplotlib also keeps labels of invisible ticks."""
    axes_of_ticks = [axis for axes in figure.axes for axis in axes._axis_map.values()]
    hidden = {
        label
        for axis in axes_of_ticks
        for tick in axis.get_major_ticks()
        for label in (tick.label1, tick.label2)
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
    }
    off = {
        text
        for axes in figure.axes
        if not axes.axison
        for axis in axes._axis_map.values()
        for text in axis.findobj(mpl.text.Text)
    }
    words = figure.findobj(mpl.text.Text)
    return [word for word in words if word.get_text() and word.get_visible() and word not in hidden | off]


def luminance(color):
    """The relative luminance of a color, from 0 to 1 (WCAG 2.1)."""
    parts = np.array(mpl.colors.to_rgb(color))
    return np.where(parts <= 0.03928, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722)


def lightness(color):
    """L* of a color, from 0 to 100 (CIE 1976): its lightness in gray."""
    y = luminance(color)
    return 116 * np.cbrt(y) - 16 if y > 0.008856 else 903.3 * y


def contrast(one, other):
    """The contrast of two colors, from 1 to 21 (WCAG 2.1, section 1.4.3, where 4.5 is the least for text)."""
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)
