"""Moving pictures: the ball that rolls down, curves that grow, weights that take shape. Each writes a GIF."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from PIL import Image

from chainrule.errors import UserError
from chainrule.files import atomic_write
from chainrule.plots import descent, inside, training

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

    from chainrule.first_principles import descent as pages

_DPI = 80  # half the dots of a still picture's area: small files
_COLOURS = 64


def save_descent(
    path: pages.Path,
    function: Callable[..., ArrayLike],
    file: str | os.PathLike[str],
    title: str = "Rolling downhill",
    most: int = 60,
    *,
    dark: bool = False,
) -> None:
    """Write the ball's way down as a GIF: on the curve for one variable, on the map of heights for two.

    Args:
        path: what `first_principles.descent.descend` returned, of a single number or of two.
        function: f, takes (N,) and returns (N,), or takes (..., 2) and returns (...).
        file: where to write; it ends in .gif.
        title: one short line above.
        most: how many frames at most; of a longer path only every second, third, ... step is shown.
        dark: light on dark instead of dark on light.

    Raises:
        ValueError: the shapes do not fit.
        UserError: the file cannot be written.
    """
    flat = np.ndim(path.points) == 1
    draw = descent.descent_on_curve if flat else descent.descent_on_contour
    figure = draw(path, function, title=title, dark=dark)
    axes = figure.axes[0]
    steps = next(line for line in axes.lines if len(line.get_xdata()) == _finite(path))  # type: ignore[arg-type]
    ball = next(line for line in axes.lines if line.get_label() == "end")
    x, y = np.asarray(steps.get_xdata()), np.asarray(steps.get_ydata())
    heading = axes.title if flat else None

    def show(step: int) -> None:
        steps.set_data(x[: step + 1], y[: step + 1])
        ball.set_data(x[step : step + 1], y[step : step + 1])
        ...

    _write(figure, show, _chosen(len(x), most), file, 150)
