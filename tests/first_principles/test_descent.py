"""Gradient descent: the article's table, learning rates, and momentum as in the engine."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule
from chainrule import optim
from chainrule.first_principles.descent import bowl, bowl_gradient, descend, parabola, parabola_gradient, table

TABLE = """\
Starting x: 10.0, f(x): 100.0000
Iteration 1: x = 8.0000, f(x) = 64.0000, Gradient = 20.0000
Iteration 10: x = 1.0737, f(x) = 1.1529, Gradient = 2.6844
Iteration 20: x = 0.1153, f(x) = 0.0133, Gradient = 0.2882
Iteration 30: x = 0.0124, f(x) = 0.0002, Gradient = 0.0309
Iteration 40: x = 0.0013, f(x) = 0.0000, Gradient = 0.0033
Iteration 50: x = 0.0001, f(x) = 0.0000, Gradient = 0.0004
Iteration 60: x = 0.0000, f(x) = 0.0000, Gradient = 0.0000
Iteration 70: x = 0.0000, f(x) = 0.0000, Gradient = 0.0000
Iteration 80: x = 0.0000, f(x) = 0.0000, Gradient = 0.0000
Iteration 90: x = 0.0000, f(x) = 0.0000, Gradient = 0.0000
Iteration 100: x = 0.0000, f(x) = 0.0000, Gradient = 0.0000"""


def test_the_article_s_table() -> None:
    assert table(descend(parabola, parabola_gradient, 10.0, learning_rate=0.1, steps=100)) == TABLE


def test_the_whole_path_is_kept() -> None:
    path = descend(parabola, parabola_gradient, 10.0, 0.1, 100)
    np.testing.assert_allclose(path.points, 10 * 0.8 ** np.arange(101), rtol=1e-12)
    np.testing.assert_array_equal(path.values, path.points**2)
    np.testing.assert_array_equal(path.gradients, 2 * path.points[:-1])


@pytest.mark.parametrize(("rate", "arrives"), [(0.01, True), (0.5, True), (0.99, True), (1.0, False), (1.05, False)])
def test_learning_rates(rate: float, arrives: bool) -> None:
    path = descend(parabola, parabola_gradient, 10.0, rate, steps=2000)
    assert (abs(path.points[-1]) < 1e-3) == arrives


def test_a_ball_that_flies_off_ends_the_walk() -> None:
    path = descend(parabola, parabola_gradient, 10.0, 10.0, steps=1000)
    assert not np.isfinite(path.values[-1])
    assert np.isfinite(path.values[:-1]).all()
    assert len(path.values) < 300


@pytest.mark.parametrize("momentum", [0.0, 0.7, 0.9])
def test_agrees_with_the_engine(momentum: float) -> None:
    start, widths = np.array([3.0, -2.0, 0.5]), np.array([4.0, 1.0, 2.0])
    x = chainrule.tensor(start, requires_grad=True)
    optimizer = optim.SGD([x], lr=0.1, momentum=momentum)
    path = descend(lambda p: bowl(p, widths), lambda p: bowl_gradient(p, widths), start, 0.1, 40, momentum)
    for step in range(40):
        np.testing.assert_allclose(path.points[step], np.asarray(x.detach()), rtol=0, atol=1e-12)
        optimizer.zero_grad()
        height = ((x / chainrule.tensor(widths)) ** 2).sum()
        assert height.item() == pytest.approx(path.values[step], abs=1e-12)
        height.backward()
        np.testing.assert_allclose(path.gradients[step], np.asarray(x.grad), rtol=0, atol=1e-12)
        optimizer.step()


def test_momentum_helps_in_a_narrow_valley() -> None:
    heights = [
        descend(lambda x: bowl(x, (10, 1)), lambda x: bowl_gradient(x, (10, 1)), (10.0, 1.0), 0.9, 100, m).values[-1]
        for m in (0.0, 0.8)
    ]
    assert heights[1] < heights[0] / 1e6


def test_a_grid_of_points_for_a_picture() -> None:
    grid = np.stack(np.meshgrid([0.0, 1.0, 2.0], [0.0, 3.0]), axis=-1)  # (2, 3, 2)
    np.testing.assert_array_equal(bowl(grid, (1, 3)), [[0, 1, 4], [1, 2, 5]])
    assert bowl_gradient(grid, (1, 3)).shape == grid.shape


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match=r"gradient of shape \(3,\) does not fit x of shape \(2,\)"):
        descend(bowl, lambda x: np.ones(3), (1.0, 2.0))
