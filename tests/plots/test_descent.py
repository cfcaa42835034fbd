"""Descent plots contain the path, in one, two and three dimensions."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule import plots
from chainrule.first_principles.descent import Path, bowl, bowl_gradient, descend, parabola, parabola_gradient

ROLL = descend(parabola, parabola_gradient, 10.0, 0.1, 20)
WALK = descend(bowl, bowl_gradient, (3.0, 2.0), 0.1, 20)
TWICE = {"slow": WALK, "fast": descend(bowl, bowl_gradient, (3.0, -2.0), 0.3, 8)}


def data(line):
    return np.stack(line.get_data())


def words(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


class TestCurve:
    def test_the_curve_the_steps_and_both_ends(self):
        figure = plots.descent_on_curve(ROLL, parabola)
        (axes,) = figure.axes
        curve, steps, start, end = axes.lines
        x, y = data(curve)
        np.testing.assert_array_equal(y, x**2)
        np.testing.assert_array_equal(data(steps), [ROLL.points, ROLL.values])
        np.testing.assert_array_equal(data(start), [[10.0], [100.0]])
        np.testing.assert_array_equal(data(end), [ROLL.points[-1:], ROLL.values[-1:]])
        assert x[0] < 0 < 10 < x[-1]
        assert axes.get_title("left") == "20 steps\nend: x = 0.1153"
        assert words(figure) == ["f", "steps", "start", "end"]

    @pytest.mark.parametrize(("count", "rows"), [(1, 1), (3, 1), (4, 2), (6, 2)])
    def test_a_panel_for_each_path(self, count, rows):
        figure = plots.descent_on_curve({f"rate {i}": ROLL for i in range(count)}, parabola)
        assert [axes.get_title("left").split(",")[0] for axes in figure.axes] == [f"rate {i}" for i in range(count)]
        assert figure.axes[0].get_subplotspec().get_gridspec().nrows == rows

    def test_a_path_that_flies_off_is_drawn_as_far_as_it_can_be(self):
        wild = descend(parabola, parabola_gradient, 10.0, 1e20, 100)
        assert not np.isfinite(wild.values[-1])
        figure = plots.descent_on_curve(wild, parabola)
        steps = figure.axes[0].lines[1]
        assert 1 < len(steps.get_xdata()) < len(wild.points)
        assert np.isfinite(data(steps)).all()
        figure.draw_without_rendering()

    def test_a_path_that_stays_where_it_is(self):
        figure = plots.descent_on_curve(descend(parabola, parabola_gradient, 0.0, steps=3), parabola)
        assert figure.axes[0].get_xlim() == (-1, 1)

    def test_a_window(self):
        figure = plots.descent_on_curve(ROLL, parabola, (-12, 12))
        assert figure.axes[0].get_xlim() == (-12, 12)

    def test_errors(self):
        with pytest.raises(ValueError, match=r"points and values have shapes \(21, 2\) and \(21,\)"):
            plots.descent_on_curve(WALK, parabola)
        with pytest.raises(ValueError, match="there are no paths"):
            plots.descent_on_curve({}, parabola)
        with pytest.raises(ValueError, match=r"the function returned shape \(\) for x of shape \(401,\)"):
            plots.descent_on_curve(ROLL, np.sum)
        with pytest.raises(ValueError, match="no finite point"):
            plots.descent_on_curve(Path(np.array([np.nan]), np.array([np.nan]), np.array([])), parabola)


class TestContour:
    def test_paths_share_a_map_of_the_function(self):
        figure = plots.descent_on_contour(TWICE, bowl)
        axes, bar = figure.axes
        ways = [line for line in axes.lines if "steps" in line.get_label()]
        for way, path in zip(ways, TWICE.values(), strict=True):
            np.testing.assert_array_equal(data(way), path.points.T)
        assert ways[0].get_color() != ways[1].get_color()
        assert ways[0].get_marker() != ways[1].get_marker()
        assert words(figure) == [f"slow: 20 steps to f = {WALK.values[-1]:.3g}", ways[1].get_label(), "start", "end"]
        assert bar.get_ylabel() == "height f(x₁, x₂)"
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("x₁", "x₂")
        assert axes.get_aspect() == 1

    def test_heights_are_the_functions(self):
        def valley(x):
            return bowl(x, (1.0, 2.0))

        axes = plots.descent_on_contour(WALK, valley, ((-2, 2), (-2, 2))).axes[0]
        lines = axes.collections[1]
        for level, line in zip(lines.levels, lines.get_paths(), strict=True):
            if 0 < level < 4 and len(line.vertices):
                np.testing.assert_allclose(valley(line.vertices), level, atol=0.01)

    def test_a_flat_function_and_a_thin_window_can_be_drawn(self):
        figure = plots.descent_on_contour(WALK, lambda x: 0 * x[..., 0], ((0, 1), (0, 100)))
        figure.draw_without_rendering()
        assert figure.get_figheight() < 12

    def test_errors(self):
        with pytest.raises(ValueError, match=r"descent_on_contour: points and values have shapes \(21,\)"):
            plots.descent_on_contour(ROLL, bowl)
        with pytest.raises(ValueError, match=r"shape \(81, 81, 2\) for x of shape \(81, 81, 2\); expected \(81, 81\)"):
            plots.descent_on_contour(WALK, parabola)


class TestSurface:
    def test_paths_lie_at_their_heights(self):
        figure = plots.descent_on_surface(TWICE, bowl)
        (axes,) = figure.axes
        ways = [line for line in axes.lines if "steps" in line.get_label()]
        for way, path in zip(ways, TWICE.values(), strict=True):
            np.testing.assert_array_equal(way.get_data_3d(), [*path.points.T, path.values])
        assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_zlabel()) == ("x₁", "x₂", "f(x₁, x₂)")
        assert words(figure)[2:] == ["start", "end"]

    def test_errors(self):
        with pytest.raises(ValueError, match=r"descent_on_surface: points and values have shapes \(21,\)"):
            plots.descent_on_surface(ROLL, bowl)
