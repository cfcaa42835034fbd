"""Animations: one frame per step, small files, atomic writes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from chainrule import plots
from chainrule.errors import UserError
from chainrule.first_principles.descent import bowl, bowl_gradient, descend, parabola, parabola_gradient
from chainrule.plots import animation, style

ROLL = descend(parabola, parabola_gradient, 10.0, 0.1, 7)
WALK = descend(bowl, bowl_gradient, (3.0, 2.0), 0.1, 3)
HISTORY = [{"epoch": e, "train_loss": 1 / e, "validation_accuracy": 1 - 0.1 / e} for e in (1, 2, 3)]


def frames(file):
    with Image.open(file) as image:
        assert image.format == "GIF"
        pictures, durations = [], []
        for i in range(image.n_frames):
            image.seek(i)
            pictures.append(np.asarray(image.convert("RGB")).astype(int))
            durations.append(image.info["duration"])
        return pictures, durations, image.info.get("loop")


def ink(picture, color):
    """The number of pixels close to a color."""
    return int((np.abs(picture - 255 * np.array(to_rgb(color))).max(axis=-1) < 12).sum())


def test_the_ball_rolls(tmp_path):
    plots.save_descent(ROLL, parabola, tmp_path / "ball.gif")
    pictures, durations, loop = frames(tmp_path / "ball.gif")
    assert len(pictures) == 8
    assert loop == 0
    assert durations[-1] > durations[0]
    assert all((one != two).any() for one, two in pairwise(pictures))
    below_title = [picture[60:-60] for picture in pictures]
    first, last = (ink(picture, style.LIGHT.first) for picture in (below_title[0], below_title[-1]))
    assert first < last / 5  # the path grows behind the ball
    assert (tmp_path / "ball.gif").stat().st_size < 200_000


def test_the_ball_rolls_on_a_map_in_the_dark(tmp_path):
    plots.save_descent(WALK, bowl, tmp_path / "walk.GIF", ((-1, 4), (-1, 3)), "A walk", dark=True)
    pictures, _, _ = frames(tmp_path / "walk.GIF")
    assert len(pictures) == 4
    assert np.abs(pictures[0][0, 0] - 255 * np.array(to_rgb(style.DARK.background))).max() < 12


def test_each_frame_shows_its_step(tmp_path, monkeypatch):
    seen = []

    def look(figure, show, count, *_):
        for step in range(count):
            show(step)
            way, ball = figure.axes[0].lines[1], figure.axes[0].lines[3]
            seen.append((way.get_xdata().tolist(), ball.get_ydata().tolist(), figure.get_suptitle()))

    monkeypatch.setattr(animation, "_write", look)
    plots.save_descent(ROLL, parabola, tmp_path / "ball.gif", title="Down")
    for step, (way, ball, title) in enumerate(seen):
        assert way == ROLL.points[: step + 1].tolist()
        assert ball == [ROLL.values[step]]
        assert title == f"Down: step {step}, f = {ROLL.values[step]:.3g}"
    assert len(seen) == 8


def test_curves_grow_and_the_best_is_known_at_the_end(tmp_path, monkeypatch):
    seen = []

    def look(figure, show, count, *_):
        loss, accuracy = figure.axes
        for row in range(count):
            show(row)
            stars = [line.get_visible() for line in accuracy.lines if line.get_label().startswith("best")]
            words = [text.get_visible() for text in accuracy.get_legend().get_texts()]
            seen.append((loss.lines[0].get_ydata().tolist(), stars, words, figure.get_suptitle()))

    monkeypatch.setattr(animation, "_write", look)
    plots.save_training(HISTORY, tmp_path / "run.gif")
    losses = [row["train_loss"] for row in HISTORY]
    assert [loss for loss, *_ in seen] == [losses[:1], losses[:2], losses]
    assert [stars for _, stars, _, _ in seen] == [[False], [False], [True]]
    assert [words for _, _, words, _ in seen] == [[True, False], [True, False], [True, True]]
    assert [title for *_, title in seen] == [f"Training: epoch {e}" for e in (1, 2, 3)]


def test_a_training_run_is_written(tmp_path):
    plots.save_training(HISTORY, str(tmp_path / "run.gif"))
    assert len(frames(tmp_path / "run.gif")[0]) == 3


@pytest.mark.parametrize("shape", [(4, 2, 6), (4, 2, 2, 3)])
def test_weights_take_shape(tmp_path, monkeypatch, shape):
    snapshots, seen = np.random.default_rng(0).normal(size=shape), []

    def look(figure, show, count, *_):
        for epoch in range(count):
            show(epoch)
            images = figure.axes[0].images
            seen.append(np.stack([np.asarray(image.get_array()) for image in images]))
            assert {image.get_clim() for image in images} == {(-np.abs(snapshots).max(), np.abs(snapshots).max())}

    with monkeypatch.context() as patch:
        patch.setattr(animation, "_write", look)
        plots.save_weights(snapshots, tmp_path / "w.gif", (2, 3))
    np.testing.assert_array_equal(seen, snapshots.reshape(4, 2, 2, 3))
    plots.save_weights(snapshots, tmp_path / "w.gif", (2, 3), max_frames=2)
    assert len(frames(tmp_path / "w.gif")[0]) == 2  # the first and the last


def test_the_same_animation_has_the_same_bytes(tmp_path):
    for name in ("one.gif", "two.gif"):
        plots.save_training(HISTORY, tmp_path / name)
    assert (tmp_path / "one.gif").read_bytes() == (tmp_path / "two.gif").read_bytes()


def test_errors(tmp_path):
    with pytest.raises(UserError, match=r"'\.mp4' is not a supported animation format; use \.gif"):
        plots.save_training(HISTORY, tmp_path / "run.mp4")
    with pytest.raises(UserError, match=r"run\.gif: the folder .*nowhere does not exist; create it first"):
        plots.save_training(HISTORY, tmp_path / "nowhere" / "run.gif")
    (tmp_path / "folder.gif").mkdir()
    with pytest.raises(UserError, match=r"folder\.gif: the animation cannot be written \("):
        plots.save_training(HISTORY, tmp_path / "folder.gif")
    with pytest.raises(ValueError, match="at least 2 frames, got max_frames=1"):
        plots.save_training(HISTORY, tmp_path / "run.gif", max_frames=1)
    with pytest.raises(ValueError, match=r"snapshots have shape \(2, 784\)"):
        plots.save_weights(np.zeros((2, 784)), tmp_path / "w.gif")
    assert list(tmp_path.iterdir()) == [tmp_path / "folder.gif"]


def test_the_regions_of_a_classifier_move(tmp_path, monkeypatch):
    """The boundary is x₁ = k in frame k: the share of class 1 shrinks, and the title counts the correct points."""
    seen = []

    def look(figure, show, count, *_):
        for index in range(count):
            show(index)
            (plane,) = (np.asarray(image.get_array()) for image in figure.axes[0].images)
            seen.append((plane.mean(), plane[:, 0].max(), plane[:, -1].min(), figure.get_suptitle()))
            assert not figure.axes[0].collections, "no border of another frame"

    monkeypatch.setattr(animation, "_write", look)
    classifiers = [lambda x, k=k: (x[:, 0] > k).astype(int) for k in (1.0, 2.0, 3.0)]
    positions, labels = [[0, 0], [1.5, 1], [2.5, 0], [4, 1]], [0, 0, 0, 1]
    plots.save_decision_boundary(classifiers, positions, labels, tmp_path / "moves.gif", unit="step", every=5)
    shares, left, right, titles = zip(*seen, strict=True)
    width = 4 + 2 * 0.8  # the points' range, with a fifth of it on each side
    np.testing.assert_allclose(shares, [(4.8 - k) / width for k in (1, 2, 3)], atol=0.01)
    assert (left, right) == ((0, 0, 0), (1, 1, 1))
    assert titles == tuple(f"Decision boundary: step {5 * i}, {n} of 4 correct" for i, n in enumerate((2, 3, 4)))


def test_regions_are_written_and_refused(tmp_path):
    classifiers = [lambda x, k=k: (x[:, 0] > k).astype(int) for k in (1.0, 2.0)]
    plots.save_decision_boundary(classifiers, [[0, 0], [3, 1]], [0, 1], tmp_path / "moves.gif", dark=True)
    pictures, _, _ = frames(tmp_path / "moves.gif")
    assert len(pictures) == 2
    assert (pictures[0] != pictures[1]).any()
    with pytest.raises(ValueError, match="no classifiers; expected one for each frame"):
        plots.save_decision_boundary([], [[0, 0]], [0], tmp_path / "none.gif")
    with pytest.raises(ValueError, match=r"expected \(N, 2\) and \(N,\)"):
        plots.save_decision_boundary(classifiers, [0, 1], [0, 1], tmp_path / "none.gif")
    assert not (tmp_path / "none.gif").exists()


def test_an_animation_is_the_file_that_it_writes_and_plays(tmp_path):
    rolling = plots.animate_descent(ROLL, parabola, title="Down", max_frames=4)
    rolling.save(tmp_path / "one.gif")
    plots.save_descent(ROLL, parabola, tmp_path / "two.gif", title="Down", max_frames=4)
    assert (tmp_path / "one.gif").read_bytes() == (tmp_path / "two.gif").read_bytes()
    assert rolling.figure.get_suptitle() == "Down: step 7, f = 4.4"
    playing = rolling.play()
    rolling.figure.canvas.draw()  # starts it
    assert list(playing.new_frame_seq()) == [0, 2, 5, 7]
    assert rolling.figure.get_suptitle().startswith("Down: step 0,")


def test_an_animated_border_takes_its_time(tmp_path):
    ways = [lambda x: x[:, 0] > 0, lambda x: x[:, 1] > 0, lambda x: x[:, 0] > 1]
    border = plots.animate_decision_boundary(ways, [[-1, 1], [2, 2]], [0, 1], title="Border", every=5, milliseconds=700)
    border.save(tmp_path / "border.gif")
    pictures, durations, _ = frames(tmp_path / "border.gif")
    assert len(pictures) == 3
    assert durations[:2] == [700, 700]
    assert border.figure.get_suptitle() == "Border: epoch 10, 2 of 2 correct"
