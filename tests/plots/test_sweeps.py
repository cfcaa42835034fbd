"""The figure of a sweep: which trial is the best, and where each is."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule import plots

VALUES = [0.5, 0.9, 0.95, 0.7, 0.9]
SETTINGS = {"lr": [1.0, 0.1, 0.01, None, 0.3], "kind": ["b", "a", "b", "b", "a"]}
COMPLETE = [True, True, False, True, True]


def lines(axes):
    return {line.get_label(): (line.get_xdata().tolist(), line.get_ydata().tolist()) for line in axes.lines}


@pytest.mark.parametrize(
    ("maximize", "best", "so_far"), [(True, 1, [0.5, 0.9, 0.9, 0.9, 0.9]), (False, 0, [0.5, 0.5, 0.5, 0.5, 0.5])]
)
def test_the_best_complete_trial_is_marked(maximize, best, so_far):
    figure = plots.sweep(VALUES, SETTINGS, COMPLETE, label="value", maximize=maximize, choices={"kind": ["a", "b"]})
    order, lr, kind = figure.axes
    assert lines(order) == {
        "best so far": ([0, 1, 2, 3, 4], so_far),
        "complete": ([0, 1, 3, 4], [0.5, 0.9, 0.7, 0.9]),
        "stopped early": ([2], [0.95]),
        "best": ([best], [VALUES[best]]),
    }
    assert lines(lr)["best"] == ([SETTINGS["lr"][best]], [VALUES[best]])
    np.testing.assert_array_equal(lines(lr)["complete"][0], [1.0, 0.1, np.nan, 0.3])
    assert np.round(lines(kind)["complete"][0]).tolist() == [1, 0, 1, 0]
    assert [tick.get_text() for tick in kind.get_xticklabels()] == ["a", "b"]


def test_no_trial_is_complete():
    figure = plots.sweep([0.5, np.nan], {"lr": [1, 2]}, [False, True], label="value")
    assert {label for label in lines(figure.axes[0]) if label[0] != "_"} == {"best so far", "stopped early"}


def test_of_many_settings_the_first_are_drawn():
    figure = plots.sweep([1.0], {f"setting {i}": [i] for i in range(12)}, [True], label="value")
    assert [axes.get_xlabel() for axes in figure.axes] == ["trial", *(f"setting {i}" for i in range(8))]


@pytest.mark.parametrize(
    ("values", "settings", "complete"), [([], {}, []), ([1.0], {"a": [1, 2]}, [True]), ([1.0], {}, [])]
)
def test_what_does_not_fit_is_an_error(values, settings, complete):
    with pytest.raises(ValueError, match="sweep: values have shape"):
        plots.sweep(values, settings, complete, label="value")
