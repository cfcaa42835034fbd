"""Figures of a network contain its weights and activations."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex

import chainrule
from chainrule import nn, plots
from chainrule.plots import style

RANDOM = np.random.default_rng(0)
WEIGHTS = [np.array([[2.0, -1.0], [0.0, 0.5], [1.0, -2.0]]), np.array([[3.0, 0.0, -1.5]])]


def pictures(figure):
    return [np.asarray(image.get_array()) for image in figure.axes[0].images]


def captions(figure):
    return [text.get_text() for text in figure.axes[0].texts]


class TestNetworkDiagram:
    def test_width_is_size_and_color_is_sign(self):
        (axes,) = plots.network_diagram(WEIGHTS).axes
        bundles = [bundle for bundle in axes.collections if isinstance(bundle, LineCollection)]
        for matrix, positive, negative in zip(WEIGHTS, bundles[::2], bundles[1::2], strict=True):
            for bundle, sign, color in ((positive, 1, style.LIGHT.first), (negative, -1, style.LIGHT.second)):
                weights = np.sort(sign * matrix[sign * matrix > 0])
                np.testing.assert_allclose(bundle.get_linewidths(), 6 * weights / np.abs(matrix).max())
                assert {to_hex(c) for c in bundle.get_colors()} == {color}
        assert bundles[0].get_linestyle() != bundles[1].get_linestyle()

    def test_a_wire_joins_its_two_neurons(self):
        (axes,) = plots.network_diagram([[[1.0, 0.0], [0.0, 2.0]]]).axes
        bundles = [bundle for bundle in axes.collections if isinstance(bundle, LineCollection)]
        circles = [bundle.get_offsets().tolist() for bundle in axes.collections if bundle not in bundles]
        wires = [segment.tolist() for segment in bundles[0].get_segments()]
        assert wires == [[circles[0][i], circles[1][i]] for i in range(2)]

    def test_layers_are_named_and_counted_and_large_ones_cut(self):
        (axes,) = plots.network_diagram(
            [RANDOM.normal(size=(30, 784)), RANDOM.normal(size=(10, 30))], max_neurons=10
        ).axes
        words = captions(axes.figure)
        assert {"inputs (784)", "hidden (30)", "outputs (10)"} < set(words)
        assert words.count("⋮") == 2
        circles = [b.get_offsets() for b in axes.collections if not isinstance(b, LineCollection)]
        assert [len(column) for column in circles] == [10, 10, 10]

    def test_values_stand_in_the_neurons(self):
        figure = plots.network_diagram(WEIGHTS, [[1, 0], [0.25, -0.5, 123.4], [[0.75]]], ["x", "h", "y"])
        words = captions(figure)
        assert [w for w in words if "(" not in w] == ["1.00", "0.00", "0.25", "-0.50", "123", "0.75"]
        assert [w for w in words if "(" in w] == ["x (2)", "h (3)", "y (1)"]

    def test_decimals_of_the_values(self):
        figure = plots.network_diagram([[[1.0]]], [[0.12345], [-0.5]], decimals=3)
        assert {"0.123", "-0.500"} < set(captions(figure))

    @pytest.mark.parametrize("shape", [(3, 2), (1, 3), (2, 2), (4, 2), (2, 1)])
    def test_each_weight_stands_on_its_line(self, shape):
        matrix = RANDOM.normal(size=shape)
        figure = plots.network_diagram([matrix], label_wires=True)
        figure.draw_without_rendering()
        (axes,) = figure.axes
        labels = [text for text in axes.texts if "(" not in text.get_text()]
        assert [label.get_text() for label in labels] == [f"{weight:.3g}" for weight in matrix.ravel()]
        inputs, outputs = [b.get_offsets() for b in axes.collections if not isinstance(b, LineCollection)]
        for label, (output, i) in zip(labels, np.ndindex(shape), strict=True):
            across, wire = np.array(label.get_position()) - inputs[i], outputs[output] - inputs[i]
            assert 0.1 < across[0] / wire[0] < 0.9
            assert across[0] * wire[1] == pytest.approx(across[1] * wire[0])
        boxes = [label.get_window_extent() for label in labels]
        assert not any(box.overlaps(other) for box, other in combinations(boxes, 2))

    def test_takes_a_modules_weights(self):
        layers = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
        figure = plots.network_diagram([layers[0].weight, layers[2].weight])
        assert {"inputs (3)", "hidden (4)", "outputs (2)"} <= set(captions(figure))

    def test_weights_of_zero_are_no_lines(self):
        (axes,) = plots.network_diagram([np.zeros((2, 2))]).axes
        assert all(not len(b.get_segments()) for b in axes.collections if isinstance(b, LineCollection))

    def test_errors(self):
        with pytest.raises(ValueError, match=r"shapes \[\(3, 2\), \(1, 2\)\]; expected"):
            plots.network_diagram([WEIGHTS[0], np.ones((1, 2))])
        with pytest.raises(ValueError, match=r"shapes \[\]; expected"):
            plots.network_diagram([])
        with pytest.raises(ValueError, match=r"sizes \[2, 2, 1\]; expected \[2, 3, 1\]"):
            plots.network_diagram(WEIGHTS, [[1, 2], [1, 2], [1]])
        with pytest.raises(ValueError, match="2 names for 3 layers"):
            plots.network_diagram(WEIGHTS, layers=["a", "b"])
        with pytest.raises(ValueError, match="max_neurons must be at least 2, got 1"):
            plots.network_diagram(WEIGHTS, max_neurons=1)


class TestActivations:
    def test_a_panel_a_layer(self):
        image, maps, hidden, out = RANDOM.random((5, 6)), RANDOM.random((3, 4, 4)), np.arange(20.0), np.arange(10.0)
        figure = plots.activations([("image", image), ("maps", maps), ("hidden", hidden), ("digits", out)])
        shown = [axes.images[0].get_array() for axes in figure.axes]
        np.testing.assert_array_equal(shown[0], image)
        np.testing.assert_array_equal(shown[1][:4, :4], maps[0])
        np.testing.assert_array_equal(shown[1][:4, 5:9], maps[1])
        np.testing.assert_array_equal(shown[1][5:9, :4], maps[2])
        np.testing.assert_array_equal(shown[2].compressed(), hidden)  # in a square of 5 × 4
        np.testing.assert_array_equal(shown[3], out[:, None])
        assert [axes.get_title("left") for axes in figure.axes] == ["image", "maps", "hidden", "digits"]
        assert figure.axes[1].get_xlabel().startswith("3 × 4 × 4 values\nfrom ")
        assert figure.axes[3].get_xlabel() == "10 neurons\nfrom 0 to 9"

    def test_takes_tensors(self):
        maps = (2 * chainrule.rand(2, 4, 4, requires_grad=True)).relu()
        figure = plots.activations([("convolution", maps)])
        np.testing.assert_array_equal(figure.axes[0].images[0].get_array()[:4, :4], maps[0].detach().numpy())
        assert figure.axes[0].get_xlabel().startswith("2 × 4 × 4 values")

    def test_errors(self):
        with pytest.raises(ValueError, match="there are no layers"):
            plots.activations([])
        with pytest.raises(ValueError, match=r"'batch' has shape \(1, 2, 3, 4\)"):
            plots.activations([("batch", np.zeros((1, 2, 3, 4)))])


class TestWeightImages:
    def test_rows_become_images_on_one_scale_around_zero(self):
        weights = RANDOM.normal(size=(3, 784))
        figure = plots.weight_images(weights)
        np.testing.assert_array_equal(pictures(figure), weights.reshape(3, 28, 28))
        assert {image.get_clim() for image in figure.axes[0].images} == {
            (-np.abs(weights).max(), np.abs(weights).max())
        }
        assert captions(figure) == ["neuron 0", "neuron 1", "neuron 2"]
        assert figure.axes[1].get_ylabel() == "weight"

    def test_takes_a_modules_weight_and_other_shapes(self):
        layer = nn.Linear(6, 2)
        figure = plots.weight_images(layer.weight, (2, 3), ["a", "b"])
        np.testing.assert_array_equal(pictures(figure), layer.weight.numpy().reshape(2, 2, 3))
        assert captions(figure) == ["a", "b"]
        box = figure.axes[0].images[0].get_extent()  # left, right, bottom, top: pixels are square
        assert (box[1] - box[0]) / 3 == pytest.approx((box[2] - box[3]) / 2)

    def test_weights_of_zero_have_a_scale(self):
        figure = plots.weight_images(np.zeros((1, 784)))
        figure.draw_without_rendering()
        low, high = figure.axes[0].images[0].get_clim()
        assert low == -high < 0

    def test_errors(self):
        with pytest.raises(ValueError, match=r"shape \(3, 100\) are not images of 28 × 28"):
            plots.weight_images(np.zeros((3, 100)))
        with pytest.raises(ValueError, match="1 captions for 2 neurons"):
            plots.weight_images(np.zeros((2, 784)), captions=["a"])


class TestFilters:
    def test_one_input_channel_in_a_square(self):
        layer = nn.Conv2d(1, 6, 3)
        figure = plots.filters(layer.weight)
        np.testing.assert_array_equal(pictures(figure), layer.weight.numpy()[:, 0])
        assert captions(figure) == ["0", "1", "2", "3", "4", "5"]

    def test_a_row_an_output_and_a_column_an_input(self):
        weights = RANDOM.normal(size=(3, 5, 2, 2))
        figure = plots.filters(weights, max_channels=4)
        np.testing.assert_array_equal(pictures(figure), weights[:, :4].reshape(12, 2, 2))
        assert captions(figure)[:5] == ["0 ← 0", "0 ← 1", "0 ← 2", "0 ← 3", "1 ← 0"]
        assert figure.get_suptitle() == "The filters: 3 of 3 outputs ← 4 of 5 inputs"
        rows = {round(image.get_extent()[3], 6) for image in figure.axes[0].images}
        assert len(rows) == 3

    def test_errors(self):
        with pytest.raises(ValueError, match=r"shape \(3, 3\); expected \(O, I, H, W\)"):
            plots.filters(np.zeros((3, 3)))


class TestFeatureMaps:
    def test_all_on_one_scale_from_zero(self):
        maps = RANDOM.random((5, 4, 4)) + 1
        figure = plots.feature_maps(maps)
        np.testing.assert_array_equal(pictures(figure), maps)
        assert {image.get_clim() for image in figure.axes[0].images} == {(0, maps.max())}
        assert captions(figure) == [f"channel {i}" for i in range(5)]

    def test_errors(self):
        with pytest.raises(ValueError, match=r"shape \(4, 4\); expected \(C, H, W\)"):
            plots.feature_maps(np.zeros((4, 4)))
