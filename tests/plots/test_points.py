"""Decision boundaries match the classifier; the hidden map shows principal components."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule import plots
from chainrule.first_principles import perceptron

from .reading import legend

AND = perceptron.learn(perceptron.INPUTS, perceptron.AND)


def classify(points):
    return perceptron.predict(points, AND.weights, AND.bias)


def draw(**options):
    return plots.decision_boundary(classify, perceptron.INPUTS, perceptron.AND, **options)


def named(axes):
    return {line.get_label(): np.stack(line.get_data(), axis=-1).tolist() for line in axes.lines}


class TestDecisionBoundary:
    def test_the_plane_is_what_the_classifier_says(self):
        (axes,) = draw().axes
        (image,) = axes.images
        left, right, bottom, top = image.get_extent()
        plane = image.get_array()
        across, up = np.linspace(left, right, plane.shape[1]), np.linspace(bottom, top, plane.shape[0])
        said = classify(np.stack(np.meshgrid(across, up), axis=-1).reshape(-1, 2)).reshape(plane.shape)
        np.testing.assert_array_equal(plane, said)
        assert left < 0 < 1 < right
        assert bottom < 0 < 1 < top
        assert axes.images[0].origin == "lower"

    def test_points_by_their_class(self):
        (axes,) = draw(classes=["no", "yes"]).axes
        assert named(axes) == {"no": [[0, 0], [0, 1], [1, 0]], "yes": [[1, 1]]}
        no, yes = axes.lines
        assert no.get_marker() != yes.get_marker()
        assert no.get_color() != yes.get_color()
        assert axes.get_title("left") == "4 of 4 points correct"

    def test_what_is_read_wrongly_is_crossed(self):
        (axes,) = plots.decision_boundary(classify, perceptron.INPUTS, perceptron.OR).axes
        zero, one = [[0, 0]], [[0, 1], [1, 0], [1, 1]]  # by true class, not by predicted class
        assert named(axes) == {"class 0": zero, "class 1": one, "misclassified": [[0, 1], [1, 0]]}
        assert axes.get_title("left") == "2 of 4 points correct"

    def test_the_neurons_line_is_w_x_plus_b(self):
        (axes,) = draw(line=(AND.weights, AND.bias)).axes
        (line,) = [line for line in axes.lines if line.get_label() == "w · x + b = 0"]
        for point in (line.get_xy1(), line.get_xy2()):
            assert AND.weights @ point + AND.bias == pytest.approx(0, abs=1e-12)
        assert not np.allclose(line.get_xy1(), line.get_xy2())

    def test_three_classes_and_their_borders(self):
        points = np.array([[0.0, 0], [5, 0], [9, 1]])
        (axes,) = plots.decision_boundary(lambda x: np.digitize(x[:, 0], [2, 7]), points, [0, 1, 2]).axes
        (borders,) = axes.collections
        ends = np.concatenate([path.vertices[:, 0] for path in borders.get_paths()])
        width = axes.get_xlim()[1] - axes.get_xlim()[0]
        assert np.abs(ends[:, None] - [2, 7]).min(axis=1).max() < width / 200

    def test_a_classifier_with_one_answer_has_no_border(self):
        figure = plots.decision_boundary(lambda x: np.zeros(len(x)), [[1.0, 1.0]], [0])
        figure.draw_without_rendering()
        assert len(figure.axes[0].collections) == 0

    def test_errors(self):
        with pytest.raises(ValueError, match=r"shapes \(4, 3\) and \(4,\); expected"):
            plots.decision_boundary(classify, np.zeros((4, 3)), [0] * 4)
        with pytest.raises(ValueError, match=r"the classifier returned shape \(4, 2\) for points \(4, 2\)"):
            plots.decision_boundary(lambda x: x, perceptron.INPUTS, perceptron.AND)
        with pytest.raises(ValueError, match="1 class names for 2 classes"):
            draw(classes=["no"])
        with pytest.raises(ValueError, match="two finite weights, not both 0"):
            draw(line=([0, 0], 1.0))


class TestPrincipalComponents:
    ROWS = np.random.default_rng(0).normal(size=(50, 6)) * [5, 3, 1, 1, 0.5, 0.1] + 7

    def test_are_the_eigenvectors_of_the_covariance(self):
        flat, shares = plots.principal_components(self.ROWS, 3)
        sizes, directions = np.linalg.eigh(np.cov(self.ROWS.T))
        expected = (self.ROWS - self.ROWS.mean(axis=0)) @ directions[:, ::-1][:, :3]
        np.testing.assert_allclose(np.abs(flat), np.abs(expected), atol=1e-12)
        np.testing.assert_allclose(shares, sizes[::-1][:3] / sizes.sum())

    def test_the_sign_is_settled(self):
        flat, _ = plots.principal_components(self.ROWS)
        centered = self.ROWS - self.ROWS.mean(axis=0)
        directions = np.linalg.lstsq(centered, flat, rcond=None)[0]  # (H, 2)
        assert (directions[np.abs(directions).argmax(axis=0), [0, 1]] > 0).all()

    def test_rows_that_are_all_the_same(self):
        flat, shares = plots.principal_components(np.ones((4, 3)))
        assert not flat.any()
        assert not shares.any()

    def test_errors(self):
        with pytest.raises(ValueError, match=r"shape \(5, 1\) do not have 2 components"):
            plots.principal_components(np.ones((5, 1)))


class TestHiddenMap:
    LABELS = np.arange(50) % 3

    def test_every_example_stands_at_its_components(self):
        rows = TestPrincipalComponents.ROWS
        flat, shares = plots.principal_components(rows)
        figure = plots.hidden_map(rows, self.LABELS)
        (axes,) = figure.axes
        for i, line in enumerate(axes.lines):
            np.testing.assert_array_equal(np.stack(line.get_data(), axis=-1), flat[i == self.LABELS])
            assert line.get_marker() == f"${i}$"
        for i, text in enumerate(axes.texts):
            assert text.get_text() == str(i)
            np.testing.assert_allclose(text.get_position(), flat[i == self.LABELS].mean(axis=0))
        assert axes.get_xlabel() == f"first principal component ({shares[0]:.0%} of the variance)"
        assert axes.get_legend() is None

    def test_most_and_classes(self):
        (axes,) = plots.hidden_map(TestPrincipalComponents.ROWS, self.LABELS, ["a", "b", "c"], max_points=9).axes
        assert [len(line.get_xdata()) for line in axes.lines] == [3, 3, 3]
        assert legend(axes) == ["a", "b", "c"]

    def test_errors(self):
        with pytest.raises(ValueError, match=r"shapes \(50, 6\) and \(49,\); expected"):
            plots.hidden_map(TestPrincipalComponents.ROWS, self.LABELS[1:])
        with pytest.raises(ValueError, match="2 class names for 3 classes"):
            plots.hidden_map(TestPrincipalComponents.ROWS, self.LABELS, ["a", "b"])
