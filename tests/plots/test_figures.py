"""What the figures show: the values of the data, titles and labels. Pixels are not compared."""

from __future__ import annotations

import math

import numpy as np
import pytest
from matplotlib.colors import to_hex

from chainrule.plots import evaluation, pictures, style, training

from .reading import legend

HISTORY = [
    {"epoch": 1, "train_loss": 0.40, "validation_loss": 0.22, "validation_accuracy": 0.94, "seconds": 0.7},
    {"epoch": 2, "train_loss": 0.20, "validation_loss": 0.15, "validation_accuracy": 0.97, "seconds": 0.7},
    {"epoch": 3, "train_loss": 0.10, "validation_loss": 0.16, "validation_accuracy": 0.96, "seconds": 0.7},
]
PROBABILITIES = np.array([0.01, 0.02, 0.0, 0.0, 0.0, 0.0, 0.0, 0.9, 0.03, 0.04])


def texts(axes):
    return [text.get_text() for text in axes.texts]


def line(axes, label):
    (marker,) = [drawn for drawn in axes.lines if drawn.get_label() == label]
    return np.asarray(marker.get_xdata()).tolist(), np.asarray(marker.get_ydata()).tolist()


class TestCurves:
    def test_draws_the_values_of_the_history(self):
        figure = training.curves(HISTORY, "mlp on mnist")
        loss, accuracy = figure.axes
        assert line(loss, "training") == ([1, 2, 3], [0.40, 0.20, 0.10])
        assert line(loss, "validation") == ([1, 2, 3], [0.22, 0.15, 0.16])
        epochs, percent = line(accuracy, "validation")
        assert epochs == [1, 2, 3]
        assert percent == pytest.approx([94, 97, 96])
        assert figure.get_suptitle() == "mlp on mnist"
        assert [axes.get_title("left") for axes in figure.axes] == ["Loss", "Accuracy"]
        assert [axes.get_xlabel() for axes in figure.axes] == ["epoch", "epoch"]
        assert [axes.get_ylabel() for axes in figure.axes] == ["loss (mean per example)", "accuracy (%)"]

    def test_marks_the_first_epoch_of_the_highest_accuracy(self):
        tie = [*HISTORY, HISTORY[1] | {"epoch": 4, "validation_loss": 0.01}]
        _, accuracy = training.curves(tie).axes
        assert line(accuracy, "best: 97% in epoch 2") == ([2], [97])

    def test_marks_the_lowest_validation_loss_where_no_accuracy_is_known(self):
        without = [{**row, "validation_accuracy": None} for row in HISTORY]
        loss, accuracy = training.curves(without).axes
        assert line(loss, "best: 0.15 in epoch 2") == ([2], [0.15])
        assert texts(accuracy) == ["no values"]

    def test_draws_perplexity_for_a_model_of_text(self):
        rows = [
            {"epoch": e, "train_loss": 2.0 / e, "validation_loss": v, "perplexity": math.exp(v)}
            for e, v in [(1, 2.1), (2, 1.9), (3, 2.0)]
        ]
        loss, right = training.curves(rows).axes
        assert (loss.get_ylabel(), right.get_ylabel()) == ("loss (mean per token)", "perplexity")
        assert right.get_title("left") == "Perplexity"
        assert line(right, "validation")[1] == pytest.approx([math.exp(2.1), math.exp(1.9), math.exp(2.0)])
        assert line(loss, "best: 1.9 in epoch 2") == ([2], [1.9])

    def test_draws_the_error_of_a_regression(self):
        errors = [3.0, 2.0, 2.5]
        rows = [
            {"epoch": e, "train_loss": 1.0, "validation_loss": v * v, "validation_rmse": 10 * v}
            for e, v in enumerate(errors, 1)
        ]
        loss, right = training.curves(rows).axes
        assert (loss.get_ylabel(), right.get_ylabel()) == ("loss (mean per example)", "root mean squared error")
        assert line(right, "validation")[1] == [30, 20, 25]
        assert line(loss, "best: 4 in epoch 2") == ([2], [4])

    def test_marks_the_lowest_loss_if_that_is_the_best(self):
        rows = [row | {"validation_loss": [0.3, 0.2, 0.1][e]} for e, row in enumerate(HISTORY)]
        loss, accuracy = training.curves(rows, best_by_loss=True).axes
        assert line(loss, "best: 0.1 in epoch 3") == ([3], [0.1])
        assert line(accuracy, "validation")[1] == pytest.approx([94, 97, 96])

    @pytest.mark.parametrize("nothing", [{}, {"validation_loss": None, "validation_accuracy": math.nan}])
    def test_needs_no_validation(self, nothing):
        loss, accuracy = training.curves([{"epoch": 1, "train_loss": 2.0} | nothing]).axes
        assert legend(loss) == ["training"]
        assert accuracy.get_legend() is None
        assert texts(accuracy) == ["no values"]

    def test_leaves_out_what_is_not_a_number_and_joins_the_rest(self):
        history = [
            {"epoch": e, "train_loss": 1.0, "validation_loss": v} for e, v in enumerate([3, None, math.inf, 2], 1)
        ]
        loss, _ = training.curves(history).axes
        assert line(loss, "validation") == ([1, 4], [3, 2])

    def test_one_epoch_is_a_marker_in_the_middle(self):
        loss, _ = training.curves(HISTORY[:1]).axes
        assert [drawn.get_marker() for drawn in loss.lines[:2]] == ["o", "s"]
        assert loss.get_xlim() == (0.5, 1.5)
        assert [tick for tick in loss.get_xticks() if 0.5 <= tick <= 1.5] == [1]

    @pytest.mark.parametrize("epochs", [2, 5, 17, 300])
    def test_ticks_are_whole_epochs(self, epochs):
        loss, _ = training.curves([{"epoch": e, "train_loss": 1 / e} for e in range(1, epochs + 1)]).axes
        assert all(tick == round(tick) for tick in loss.get_xticks())

    def test_lines_differ_in_more_than_color(self):
        loss, _ = training.curves(HISTORY).axes
        first, second = loss.lines[:2]
        assert first.get_linestyle() != second.get_linestyle()
        assert first.get_marker() != second.get_marker()

    def test_an_empty_history_is_an_error(self):
        with pytest.raises(ValueError, match="history is empty"):
            training.curves([])


class TestConfusionMatrix:
    MATRIX = ((50, 3, 0), (1, 40, 0), (0, 0, 0))

    def test_every_cell_shows_its_count_and_every_row_its_recall(self):
        figure = evaluation.confusion_matrix(self.MATRIX)
        (axes,) = figure.axes
        counts = {text.get_position(): text.get_text() for text in axes.texts[:9]}
        assert counts == {(c, r): str(self.MATRIX[r][c]) for r in range(3) for c in range(3)}
        assert texts(axes)[9:] == ["recall", "94.3%", "97.6%", "–"]
        assert figure.get_suptitle() == "90 of 94 correct (95.74%)"
        assert axes.get_ylabel() == "true class"
        assert axes.get_xlabel().startswith("predicted class")

    def test_mistakes_are_colored_by_their_share_and_the_diagonal_is_not(self):
        (axes,) = evaluation.confusion_matrix(self.MATRIX).axes
        (image,) = axes.images
        drawn = image.get_array()
        assert drawn.mask.tolist() == np.eye(3, dtype=bool).tolist()
        assert drawn[0, 1] == pytest.approx(3 / 53)
        assert image.norm.vmax == pytest.approx(3 / 53)
        assert image.norm(1 / 1000) > 0.1  # one in a thousand can be seen

    def test_a_perfect_model_is_calm(self):
        (axes,) = evaluation.confusion_matrix(np.eye(10, dtype=int) * 100).axes
        assert axes.images[0].norm.vmax == 0.03

    def test_names_of_classes(self):
        (axes,) = evaluation.confusion_matrix(self.MATRIX, ["Trouser", "Ankle boot", "Bag"]).axes
        assert [label.get_text() for label in axes.get_xticklabels()] == ["Trouser", "Ankle boot", "Bag"]
        assert [label.get_text() for label in axes.get_yticklabels()] == ["Trouser", "Ankle boot", "Bag"]

    def test_an_empty_set_has_no_percentage(self):
        assert evaluation.confusion_matrix(np.zeros((2, 2), int)).get_suptitle() == "0 of 0 correct"

    @pytest.mark.parametrize("shape", [(2, 3), (4,), (0, 0)])
    def test_another_shape_is_an_error_that_names_it(self, shape):
        with pytest.raises(ValueError, match=r"expected \(C, C\)"):
            evaluation.confusion_matrix(np.zeros(shape))

    def test_too_few_names_are_an_error(self):
        with pytest.raises(ValueError, match="2 class names for 3 classes"):
            evaluation.confusion_matrix(self.MATRIX, ["a", "b"])


class TestMistakes:
    IMAGES = np.arange(4 * 28 * 28, dtype=np.float64).reshape(4, 28, 28)
    LABELS, PREDICTIONS, PROBABILITIES = (1, 2, 3, 4), (1, 0, 9, 7), (0.99, 0.5, 0.8, 0.8)

    def draw(self, **options):
        return evaluation.mistakes(self.IMAGES, self.LABELS, self.PREDICTIONS, self.PROBABILITIES, **options)

    def test_the_most_confident_come_first(self):
        figure = self.draw()
        (axes,) = figure.axes
        assert texts(axes) == ["true 3\nread 9, 80.0%", "true 4\nread 7, 80.0%", "true 2\nread 0, 50.0%"]
        for image, which in zip(axes.images, (2, 3, 1), strict=True):
            np.testing.assert_array_equal(image.get_array(), self.IMAGES[which])
        assert figure.get_suptitle() == "All 3 mistakes"

    def test_pictures_do_not_overlap_and_all_are_inside(self):
        (axes,) = self.draw().axes
        (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
        boxes = [image.get_extent() for image in axes.images]  # left, right, bottom, top; y grows downwards
        assert all(left <= a < b <= right and top <= d < c <= bottom for a, b, c, d in boxes)
        assert len({(a, d) for a, _, _, d in boxes}) == 3

    def test_count_and_classes(self):
        figure = self.draw(count=1, classes=[f"class {i}" for i in range(10)])
        assert texts(figure.axes[0]) == ["true class 3\nread class 9, 80.0%"]
        assert figure.get_suptitle() == "The worst 1 of 3 mistakes"

    def test_no_mistakes_is_good_news(self):
        figure = evaluation.mistakes(self.IMAGES, self.LABELS, self.LABELS, self.PROBABILITIES)
        assert "All 4 images are classified correctly." in [text.get_text() for text in figure.texts]
        assert figure.axes == []

    def test_a_single_one(self):
        figure = evaluation.mistakes(self.IMAGES[:1], [1], [2], [0.9])
        assert figure.get_suptitle() == "The only mistake"
        assert len(figure.axes[0].images) == 1

    def test_arrays_that_do_not_fit_are_an_error_with_their_shapes(self):
        with pytest.raises(ValueError, match=r"have shapes \(4, 28, 28\), \(3,\)"):
            evaluation.mistakes(self.IMAGES, [1, 2, 3], self.PREDICTIONS, self.PROBABILITIES)

    def test_a_sheet_of_nothing_is_an_error(self):
        with pytest.raises(ValueError, match="count must be at least 1, got 0"):
            self.draw(count=0)


class TestPredictions:
    IMAGES = np.arange(3 * 4 * 6, dtype=np.uint8).reshape(3, 4, 6)

    def test_in_their_order_and_what_is_wrong_says_so(self):
        figure = evaluation.predictions(self.IMAGES, (1, 0, 1), (1, 1, 1), ["cat", "dog"])
        (axes,) = figure.axes
        assert texts(axes) == ["dog", "true cat\nread dog", "dog"]
        assert figure.get_suptitle() == "2 of the first 3 are right"
        for image, expected in zip(axes.images, self.IMAGES, strict=True):
            np.testing.assert_array_equal(image.get_array(), expected)

    def test_in_color_and_without_names(self):
        colors = np.arange(2 * 3 * 4 * 6, dtype=np.uint8).reshape(2, 3, 4, 6)
        (axes,) = evaluation.predictions(colors, [3, 4], [4, 4]).axes
        assert texts(axes) == ["true 3\nread 4", "4"]
        np.testing.assert_array_equal(axes.images[1].get_array(), colors[1].transpose(1, 2, 0))
        left, right, bottom, top = axes.images[0].get_extent()
        assert (right - left) / (bottom - top) == pytest.approx(6 / 4)

    @pytest.mark.parametrize(
        ("images", "labels"), [(np.zeros((0, 2, 2)), []), (np.zeros((2, 4, 2, 2)), [1, 1]), (np.zeros((2, 2, 2)), [1])]
    )
    def test_what_does_not_fit_is_an_error(self, images, labels):
        with pytest.raises(ValueError, match=r"predictions: images, labels and predictions have shapes"):
            evaluation.predictions(images, labels, labels)


class TestStages:
    PHOTO = np.full((40, 30), 200, np.uint8)
    SMALL = np.linspace(0, 1, 28 * 28).reshape(28, 28)

    def test_each_stage_is_a_panel_with_its_values_and_size(self):
        figure = pictures.stages([("photo", self.PHOTO), ("centered", self.SMALL)], digit=7)
        photo, small = figure.axes
        np.testing.assert_array_equal(photo.images[0].get_array(), self.PHOTO)
        np.testing.assert_array_equal(small.images[0].get_array(), self.SMALL)
        assert [axes.get_title("left") for axes in figure.axes] == ["photo", "centered"]
        assert [axes.get_xlabel() for axes in figure.axes] == ["30 × 40 pixels", "28 × 28 pixels"]
        assert [axes.images[0].get_clim() for axes in figure.axes] == [(0, 255), (0, 1)]
        assert figure.get_suptitle() == "Read as 7"

    def test_only_the_last_shows_its_pixels(self):
        photo, small = pictures.stages([("photo", self.PHOTO), ("centered", self.SMALL)]).axes
        assert len(photo.collections) == 0
        down, across = small.collections
        assert len(down.get_segments()) == len(across.get_segments()) == 27

    def test_probabilities_are_bars(self):
        figure = pictures.stages([("centered", self.SMALL)], 7, PROBABILITIES)
        bars = figure.axes[-1]
        assert [bar.get_width() for bar in bars.patches] == pytest.approx((100 * PROBABILITIES).tolist())
        assert texts(bars)[7] == "90.0"
        assert bars.get_xlabel() == "probability (%)"
        assert bars.yaxis_inverted()
        colors = [to_hex(bar.get_facecolor()) for bar in bars.patches]
        assert [i for i, color in enumerate(colors) if color == style.LIGHT.second] == [7]

    @pytest.mark.parametrize(("count", "rows"), [(1, 1), (4, 1), (5, 2), (9, 2)])
    def test_more_than_five_panels_take_two_rows(self, count, rows):
        figure = pictures.stages([("step", self.SMALL)] * count, 7, PROBABILITIES)
        assert len(figure.axes) == count + 1
        assert {axes.get_subplotspec().get_gridspec().nrows for axes in figure.axes} == {rows}

    def test_a_large_photo_is_drawn_smaller(self):
        large = np.zeros((1200, 1700), np.uint8)
        large[:, 850:] = 240
        (axes,) = pictures.stages([("photo", large)]).axes
        drawn = axes.images[0].get_array()
        assert drawn.shape == (400, 566)
        assert drawn[0, 0] == 0
        assert drawn[-1, -1] == 240
        assert axes.get_xlabel() == "1700 × 1200 pixels"
        assert len(axes.collections) == 0

    def test_a_long_title_is_wrapped(self):
        (axes,) = pictures.stages([("centered by the center of mass", self.SMALL)]).axes
        assert axes.get_title("left") == "centered by the\ncenter of mass"

    def test_white_paper_is_white(self):
        paper = np.full((20, 20), 1.0)
        paper[3, 4] = 1 + 2e-15  # a fitted background exceeds 1 by rounding errors
        (axes,) = pictures.stages([("background", paper)]).axes
        assert axes.images[0].get_clim() == (0, 1)

    def test_errors_say_what_does_not_fit(self):
        with pytest.raises(ValueError, match="there are no stages"):
            pictures.stages([])
        with pytest.raises(ValueError, match=r"'photo' has shape \(2, 2, 3\)"):
            pictures.stages([("photo", np.zeros((2, 2, 3)))])


class TestCalibration:
    PROBABILITIES, CORRECT = (0.05, 0.62, 0.68, 0.95, 0.99, 1.0), (False, True, False, True, True, True)

    def test_accuracy_against_confidence_with_counts(self):
        figure = evaluation.calibration(self.PROBABILITIES, self.CORRECT)
        above, below = figure.axes
        said, were = line(above, "the model")
        assert said == pytest.approx([5, 65, 98])
        assert were == pytest.approx([0, 50, 100])
        assert line(above, "perfect") == ([0, 100], [0, 100])
        assert [bar.get_height() for bar in below.patches] == [1, 0, 0, 0, 0, 0, 2, 0, 0, 3]
        assert texts(below) == ["1", "2", "3"]
        assert (below.get_xlabel(), above.get_ylabel()) == ("confidence (%)", "accuracy (%)")
        error = (0.05 * 1 + 0.15 * 2 + 0.02 * 3) / 6
        assert figure.get_suptitle() == f"Expected calibration error: {error:.2%}"

    def test_bins(self):
        _, below = evaluation.calibration(self.PROBABILITIES, self.CORRECT, bins=2).axes
        assert [bar.get_height() for bar in below.patches] == [1, 5]

    def test_errors(self):
        with pytest.raises(ValueError, match=r"shapes \(2,\) and \(3,\); expected \(N,\)"):
            evaluation.calibration([0.5, 0.5], [True, True, False])
        with pytest.raises(ValueError, match="from 0 to 1 and at least one bin"):
            evaluation.calibration([1.5], [True])
        with pytest.raises(ValueError, match="from 0 to 1 and at least one bin"):
            evaluation.calibration([0.5], [True], bins=0)
