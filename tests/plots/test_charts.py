"""Line and bar charts contain the data."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule
from chainrule import plots
from chainrule.first_principles.activations import sigmoid
from chainrule.plots import style

from .reading import legend


def drawn(axes):
    """The points of each line by its name."""
    return {line.get_label(): np.stack(line.get_data()).tolist() for line in axes.lines}


class TestLines:
    LABELS = {"title": "Learning", "x_label": "epoch", "y_label": "loss"}  # noqa: RUF012

    def test_draws_each_curve_over_x(self):
        figure = plots.lines({"a": [3, 2, 1], "b": [1, 1, 0]}, [0, 5, 10], **self.LABELS)
        (axes,) = figure.axes
        assert drawn(axes) == {"a": [[0, 5, 10], [3, 2, 1]], "b": [[0, 5, 10], [1, 1, 0]]}
        assert legend(axes) == ["a", "b"]
        assert (figure.get_suptitle(), axes.get_xlabel(), axes.get_ylabel()) == ("Learning", "epoch", "loss")
        assert axes.get_xscale() == axes.get_yscale() == "linear"

    def test_counts_from_one_and_a_single_curve_needs_no_legend(self):
        (axes,) = plots.lines({"loss": chainrule.tensor([0.5, 0.25], requires_grad=True)}, **self.LABELS).axes
        assert drawn(axes) == {"loss": [[1, 2], [0.5, 0.25]]}
        assert axes.get_legend() is None

    def test_leaves_out_what_cannot_be_drawn(self):
        curves = {"a": [1, np.nan, 3, np.inf], "b": [1, 0, -1, 2]}
        (plain,) = plots.lines(curves, **self.LABELS).axes
        assert drawn(plain) == {"a": [[1, 3], [1, 3]], "b": [[1, 2, 3, 4], [1, 0, -1, 2]]}
        (logarithmic,) = plots.lines(curves, **self.LABELS, log="y").axes
        assert drawn(logarithmic)["b"] == [[1, 4], [1, 2]]
        assert (logarithmic.get_xscale(), logarithmic.get_yscale()) == ("linear", "log")

    def test_nothing_positive_on_a_logarithmic_axis_is_an_empty_panel(self):
        figure = plots.lines({"a": [0, 0]}, **self.LABELS, log="xy")
        figure.draw_without_rendering()
        assert drawn(figure.axes[0]) == {"a": [[], []]}

    @pytest.mark.parametrize("x", [None, range(4), [25.0, 26.0, 27.0, 28.0], [1, 1000, 2500, 5000]])
    def test_whole_numbers_have_ticks_at_whole_numbers(self, x):
        (axes,) = plots.lines({"a": [4, 3, 2, 1]}, x, **self.LABELS).axes
        ticks = axes.get_xticks()
        assert len(ticks) >= 4
        np.testing.assert_array_equal(ticks, np.round(ticks))

    def test_ticks_between_numbers_that_are_not_whole_may_be_anything(self):
        (axes,) = plots.lines({"a": [4, 3, 2, 1]}, [0, 0.5, 1, 1.5], **self.LABELS).axes
        assert (axes.get_xticks() % 1 != 0).any()

    def test_a_logarithmic_axis_keeps_its_powers_of_ten(self):
        for x in (None, [1, 10, 100, 1000]):
            (axes,) = plots.lines({"a": [4, 3, 2, 1]}, x, **self.LABELS, log="x").axes
            powers = np.log10(axes.get_xticks())
            np.testing.assert_array_equal(powers, np.round(powers))

    def test_a_name_with_dollars_is_no_formula(self):
        figure = plots.lines({"$a": [1], "$\\b": [2]}, **self.LABELS)
        figure.draw_without_rendering()
        assert legend(figure.axes[0]) == ["$a", "$\\b"]

    def test_errors_name_the_curve_and_the_shapes(self):
        with pytest.raises(ValueError, match="there are no curves"):
            plots.lines({}, **self.LABELS)
        with pytest.raises(ValueError, match=r"'b' has shape \(3,\), but x has shape \(2,\)"):
            plots.lines({"a": [1, 2], "b": [1, 2, 3]}, **self.LABELS)
        with pytest.raises(ValueError, match=r"'a' has shape \(\)"):
            plots.lines({"a": 1.0}, **self.LABELS)


class TestFunctions:
    def test_each_panel_has_a_function_and_its_derivative(self):
        figure = plots.functions({"sine": (np.sin, np.cos), "sigmoid": (sigmoid, np.cos), "3": (np.cos, np.sin)}, -1, 2)
        assert [axes.get_title("left") for axes in figure.axes] == ["sine", "sigmoid", "3"]
        sine = drawn(figure.axes[0])
        x = np.array(sine["f(x)"][0])
        assert (x[0], x[-1]) == (-1, 2)
        assert sine["f(x)"][1] == np.sin(x).tolist()
        assert sine["f′(x)"] == [x.tolist(), np.cos(x).tolist()]
        assert figure.axes[0].get_ylim() == figure.axes[2].get_ylim()

    def test_errors(self):
        with pytest.raises(ValueError, match="there are no functions"):
            plots.functions({})
        with pytest.raises(ValueError, match=r"sum f\(x\) returned shape \(\) for x of shape \(401,\)"):
            plots.functions({"sum": (np.sum, np.cos)})


class TestGradients:
    NORMS = np.array([[0.1, 1.0], [0.01, 0.5], [0.001, 0.25]])

    def test_by_layer(self):
        (axes,) = plots.gradients_by_layer({"sigmoid": [1e-3, 1e-1], "tanh": [0.5, 1]}).axes
        assert drawn(axes) == {"sigmoid": [[1, 2], [1e-3, 1e-1]], "tanh": [[1, 2], [0.5, 1]]}
        assert axes.get_yscale() == "log"
        assert axes.get_xlabel().startswith("layer")

    def test_by_step(self):
        (axes,) = plots.gradients_by_step(self.NORMS, [10, 20, 30]).axes
        assert drawn(axes) == {
            f"layer {i + 1}": [[10, 20, 30], column.tolist()] for i, column in enumerate(self.NORMS.T)
        }
        assert axes.get_yscale() == "log"

    def test_errors(self):
        with pytest.raises(ValueError, match=r"shape \(3,\); expected \(S, L\)"):
            plots.gradients_by_step([1, 2, 3])
        with pytest.raises(ValueError, match="1 names for 2 layers"):
            plots.gradients_by_step(self.NORMS, layers=["first"])


class TestDeadNeurons:
    def test_shares_are_percent(self):
        (axes,) = plots.dead_neurons({"ReLU": [0, 0.25, 0.5], "leaky ReLU": [0, 0, 0]}, [0, 1, 2]).axes
        assert drawn(axes) == {"ReLU": [[0, 1, 2], [0, 25, 50]], "leaky ReLU": [[0, 1, 2], [0, 0, 0]]}
        assert axes.get_ylabel().endswith("(%)")

    @pytest.mark.parametrize("share", [-0.1, 7, np.nan])
    def test_another_number_is_no_share(self, share):
        with pytest.raises(ValueError, match="'ReLU' has fractions outside 0 to 1"):
            plots.dead_neurons({"ReLU": [0, share]})


class TestStepErrors:
    def test_a_v_with_a_star_at_its_lowest(self):
        steps, errors = [1e-1, 1e-3, 1e-5], {"forward": [1e-1, 1e-4, 1e-2], "central": [0, 1e-7, 1e-2]}
        (axes,) = plots.step_errors(steps, errors).axes
        forward, central, stars = axes.lines
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
        assert np.stack(forward.get_data()).tolist() == [steps, errors["forward"]]
        assert np.stack(central.get_data()).tolist() == [steps[1:], errors["central"][1:]]  # 0 has no logarithm
        assert np.stack(stars.get_data()).tolist() == [[1e-3, 1e-3], [1e-4, 1e-7]]
        assert legend(axes) == ["forward\nlowest 1e-04\nat h = 1e-03", "central\nlowest 1e-07\nat h = 1e-03"]

    def test_errors(self):
        with pytest.raises(ValueError, match=r"'forward' has shape \(3,\), but steps has shape \(2,\)"):
            plots.step_errors([1, 2], {"forward": [1, 2, 3]})


class TestWordProbabilities:
    def test_bars_are_percent_and_the_likeliest_stands_out(self):
        figure = plots.word_probabilities([("bread", 0.25), ("money", 0.5)], "deposit some")
        (axes,) = figure.axes
        assert [bar.get_width() for bar in axes.patches] == [25, 50]
        assert [tick.get_text() for tick in axes.get_yticklabels()] == ["bread", "money"]
        assert [text.get_text() for text in axes.texts] == ["25.0", "50.0"]
        assert [text.get_weight() for text in axes.texts] == ["normal", "bold"]
        assert "deposit some …" in [text.get_text() for text in figure.texts]
        assert axes.get_xlim()[1] > 50
        assert axes.patches[0].get_facecolor() != axes.patches[1].get_facecolor()

    def test_small_probabilities_fill_the_panel_too(self):
        (axes,) = plots.word_probabilities([("a", 0.002), ("b", 0.001)]).axes
        assert axes.get_xlim() == pytest.approx((0, 0.25))

    @pytest.mark.parametrize("words", [[], [("a", 1.5)], [("a", np.nan)]])
    def test_errors(self, words):
        with pytest.raises(ValueError, match="at least one word and probabilities from 0 to 1"):
            plots.word_probabilities(words)


def test_more_than_four_lines_run_from_dark_to_light():
    colors = [color for color, _, _ in style.strokes(6, style.LIGHT)]
    assert len(set(colors)) == 6
    assert colors[0] == "#440154"
