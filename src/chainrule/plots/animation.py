"""Animated GIFs: gradient descent, training curves, weights and decision boundaries during training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from chainrule.errors import UserError, check_destination
from chainrule.files import atomic_write
from chainrule.plots import descent, inside, points, style, training

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from matplotlib.animation import FuncAnimation
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

    from chainrule.first_principles.descent import Path as DescentPath

_DPI = 80  # two thirds of the resolution of other figures, for small files
_COLORS = 128  # of the palette, also for small files
_PALETTE_FRAMES = 8  # the palette is chosen from about this many frames, and from the last one
_BOUNDARY_GRID = 200  # points along each axis where a classifier is evaluated
_LAST_FRAME = 2000  # milliseconds for which the last frame is shown


@dataclass(frozen=True)
class Animation:
    """A figure that changes step by step.

    Attributes:
        figure: the figure; it shows the last step until `draw` is called.
        draw: changes the figure to a step, from 0 to `count` - 1.
        count: number of steps.
        max_frames: maximum number of frames; for more steps, they are evenly spaced.
        milliseconds: how long a frame is shown.
    """

    figure: Figure
    draw: Callable[[int], None]
    count: int
    max_frames: int
    milliseconds: int

    def save(self, file: str | os.PathLike[str]) -> None:
        """Write the animation as a GIF, atomically.

        Raises:
            UserError: the file does not end in .gif, or cannot be written.
        """
        _write(self.figure, self.draw, self.count, file, self.max_frames, self.milliseconds)

    def play(self) -> FuncAnimation:
        """Play the animation on the figure's canvas, in a window; keep the result for as long as it should run."""
        from matplotlib.animation import FuncAnimation  # slow to import, and needed only here

        steps = _steps(self.count, self.max_frames)
        return FuncAnimation(self.figure, self._play, steps, interval=self.milliseconds, cache_frame_data=False)

    def _play(self, step: int) -> tuple[()]:
        self.draw(step)
        return ()


def animate_descent(
    path: DescentPath,
    function: Callable[..., ArrayLike],
    window: Any = None,
    title: str = "Rolling downhill",
    max_frames: int = 60,
    *,
    dark: bool = False,
) -> Animation:
    """Animate gradient descent: on a curve for one variable, on a contour plot for two.

    Args:
        path: a result of `first_principles.descent.descend`, of one or two variables.
        function: f, takes (N,) and returns (N,); or takes (..., 2) and returns (...).
        window: as for `descent_on_curve` or `descent_on_contour`.
        title: title of the figure; the step and the value of f are appended.
        max_frames: maximum number of frames; for a longer path, they are evenly spaced steps.
        dark: use a dark background.

    Raises:
        ValueError: the shapes do not fit.
    """
    one_variable = np.ndim(path.points) == 1
    draw = descent.descent_on_curve if one_variable else descent.descent_on_contour
    figure = draw(path, function, window, title, dark=dark)
    axes = figure.axes[0]
    if one_variable:
        axes.set_title("", loc="left")  # the panel's heading would show the end of the path from the start
        figure.subplots_adjust(top=1 - 0.6 / figure.get_figheight())
    # A plot of one variable has the curve first, then the trail
    trail, ball = axes.lines[int(one_variable)], next(line for line in axes.lines if line.get_label() == "end")
    x, y = np.asarray(trail.get_xdata()), np.asarray(trail.get_ydata())
    for text in figure.legends[0].get_texts():
        text.set_text("the ball" if text.get_text() == "end" else text.get_text())

    def show(step: int) -> None:
        trail.set_data(x[: step + 1], y[: step + 1])
        ball.set_data(x[step : step + 1], y[step : step + 1])
        style.retitle(figure, f"{title}: step {step}, f = {path.values[step]:.3g}")

    show(len(x) - 1)
    return Animation(figure, show, len(x), max_frames, 150)


def save_descent(
    path: DescentPath,
    function: Callable[..., ArrayLike],
    file: str | os.PathLike[str],
    window: Any = None,
    title: str = "Rolling downhill",
    max_frames: int = 60,
    *,
    dark: bool = False,
) -> None:
    """Write the animation of `animate_descent` to a file ending in .gif.

    Raises:
        ValueError: the shapes do not fit.
        UserError: the file cannot be written.
    """
    animate_descent(path, function, window, title, max_frames, dark=dark).save(file)


def save_training(
    history: Sequence[Mapping[str, float | None]],
    file: str | os.PathLike[str],
    title: str = "Training",
    max_frames: int = 60,
    *,
    dark: bool = False,
) -> None:
    """Animate the loss and accuracy curves, epoch by epoch, as a GIF.

    Args:
        history: as for `curves`.
        file: output file, ending in .gif.
        title: title of the figure; the epoch is appended.
        max_frames: maximum number of frames.
        dark: use a dark background.

    Raises:
        ValueError: `history` is empty.
        UserError: the file cannot be written.
    """
    figure = training.curves(history, title, dark=dark)
    lines = [line for axes in figure.axes for line in axes.lines]
    full_lines = [(line, np.asarray(line.get_xdata()), np.asarray(line.get_ydata())) for line in lines]
    growing_labels = ("training", "validation")
    best_artists: list[Any] = [line for line in lines if line.get_label() not in growing_labels]
    for legend in filter(None, (axes.get_legend() for axes in figure.axes)):
        for text, handle in zip(legend.get_texts(), legend.legend_handles, strict=True):
            best_artists += [] if text.get_text() in growing_labels else [text, handle]

    def show(row: int) -> None:
        epoch = float(history[row]["epoch"] or 0)
        for line, x, y in full_lines:
            if line not in best_artists:
                line.set_data(x[x <= epoch], y[x <= epoch])
        for part in best_artists:
            part.set_visible(row == len(history) - 1)  # the best epoch is marked in the last frame
        style.retitle(figure, f"{title}: epoch {epoch:g}")

    _write(figure, show, len(history), file, max_frames, 200)


def save_weights(
    snapshots: ArrayLike,
    file: str | os.PathLike[str],
    shape: tuple[int, int] = (28, 28),
    title: str = "What each neuron looks for",
    max_frames: int = 60,
    *,
    dark: bool = False,
) -> None:
    """Animate the weights of each neuron as images, epoch by epoch, as a GIF.

    Args:
        snapshots: (E, N, H · W) or (E, N, H, W), the weights before the first epoch and after each.
        file: output file, ending in .gif.
        shape: H and W, for flat weights.
        title: title of the figure; the epoch is appended.
        max_frames: maximum number of frames.
        dark: use a dark background.

    Raises:
        ValueError: the shapes do not fit, or weights are not finite.
        UserError: the file cannot be written.
    """
    table = style.as_array(snapshots, float)
    if table.ndim not in (3, 4) or not table.size:
        raise ValueError(f"save_weights: snapshots have shape {table.shape}; expected (E, N, H · W)")
    style.check_finite("save_weights", snapshots=table)
    figure = inside.weight_images(table[-1], shape, title=title, dark=dark)
    images, largest = figure.axes[0].images, float(np.abs(table).max()) or 1.0
    for image in images:
        image.set_clim(-largest, largest)

    def show(epoch: int) -> None:
        for image, weights in zip(images, table[epoch], strict=True):
            image.set_data(weights.reshape(shape) if weights.ndim == 1 else weights)
        style.retitle(figure, f"{title}: epoch {epoch}")

    _write(figure, show, len(table), file, max_frames, 250)


def animate_decision_boundary(
    classifiers: Sequence[Callable[[NDArray[np.float64]], ArrayLike]],
    positions: ArrayLike,
    labels: ArrayLike,
    classes: Sequence[str] | None = None,
    title: str = "Decision boundary",
    max_frames: int = 60,
    *,
    unit: str = "epoch",
    every: int = 1,
    milliseconds: int = 100,
    dark: bool = False,
) -> Animation:
    """Animate the regions of a classifier in the plane while it learns.

    Args:
        classifiers: the classifier before it learns and after each epoch: takes points (M, 2), returns their class
            indices, (M,).
        positions: (N, 2), the labeled points.
        labels: (N,) the true class indices.
        classes: class names; default "class 0", "class 1", ...
        title: title of the figure; the epoch and the number of correct points are appended.
        max_frames: maximum number of frames.
        unit: the unit of time in the title, such as "step".
        every: how many units lie between two classifiers.
        milliseconds: how long each frame is shown.
        dark: use a dark background.

    Raises:
        ValueError: there is no classifier, the shapes do not fit, or numbers are not finite.
    """
    animation = _animate_boundary(
        "animate_decision_boundary", classifiers, positions, labels, classes, title, max_frames, unit, every, dark
    )
    return replace(animation, milliseconds=milliseconds)


def save_decision_boundary(
    classifiers: Sequence[Callable[[NDArray[np.float64]], ArrayLike]],
    positions: ArrayLike,
    labels: ArrayLike,
    file: str | os.PathLike[str],
    classes: Sequence[str] | None = None,
    title: str = "Decision boundary",
    max_frames: int = 60,
    *,
    unit: str = "epoch",
    every: int = 1,
    dark: bool = False,
) -> None:
    """Write the animation of `animate_decision_boundary` to a file ending in .gif.

    Raises:
        ValueError: there is no classifier, the shapes do not fit, or numbers are not finite.
        UserError: the file cannot be written.
    """
    _animate_boundary(
        "save_decision_boundary", classifiers, positions, labels, classes, title, max_frames, unit, every, dark
    ).save(file)


def _animate_boundary(
    function: str,
    classifiers: Sequence[Callable[[NDArray[np.float64]], ArrayLike]],
    positions: ArrayLike,
    labels: ArrayLike,
    classes: Sequence[str] | None,
    title: str,
    max_frames: int,
    unit: str,
    every: int,
    dark: bool,
) -> Animation:
    """See `animate_decision_boundary`; `function` is named in error messages."""
    if not classifiers:
        raise ValueError(f"{function}: no classifiers; expected one for each frame")
    style.check_finite(function, positions=positions)
    figure = points.decision_boundary(classifiers[-1], positions, labels, None, classes, title, dark=dark)
    axes = figure.axes[0]
    axes.set_title("", loc="left")
    for mark in [*axes.collections, *[line for line in axes.lines if line.get_label() == "misclassified"]]:
        mark.remove()  # the borders and crosses of the last classifier
    style.legend(axes, style.DARK if dark else style.LIGHT)
    x, truth = style.as_array(positions, float), style.as_array(labels).astype(int)
    left, right, bottom, top = axes.images[0].get_extent()
    grid = points.grid_positions(left, right, bottom, top, _BOUNDARY_GRID)

    def show(index: int) -> None:
        regions = style.as_array(classifiers[index](grid)).astype(int)
        axes.images[0].set_data(regions.reshape(_BOUNDARY_GRID, _BOUNDARY_GRID))
        correct = int((style.as_array(classifiers[index](x)) == truth).sum())
        style.retitle(figure, f"{title}: {unit} {every * index}, {correct} of {len(truth)} correct")

    show(len(classifiers) - 1)
    return Animation(figure, show, len(classifiers), max_frames, 100)


def _write(
    figure: Figure,
    show: Callable[[int], None],
    count: int,
    file: str | os.PathLike[str],
    max_frames: int,
    milliseconds: int,
) -> None:
    """Render a frame for each of at most `max_frames` steps from 0 to `count` - 1, and write the file atomically."""
    check_destination(file, "animation", [".gif"])
    if max_frames < 2:
        raise ValueError(f"an animation needs at least 2 frames, got max_frames={max_frames}")
    figure.set_dpi(_DPI)
    canvas: Any = FigureCanvasAgg(figure)  # its methods have no type stubs
    pictures = []
    for step in _steps(count, max_frames):
        show(step)
        canvas.draw()
        pictures.append(Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]))
    selected = [*pictures[:: -(-len(pictures) // _PALETTE_FRAMES)], pictures[-1]]  # a color may be in a few frames only
    samples = Image.fromarray(np.concatenate([np.asarray(picture) for picture in selected]))
    palette = samples.quantize(_COLORS, Image.Quantize.MAXCOVERAGE)  # keeps rare colors
    frames = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    for frame in frames:
        _restore_background(frame, pictures[0])
    durations = [milliseconds] * (len(frames) - 1) + [_LAST_FRAME]
    try:
        with atomic_write(file) as stream:
            frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)
    except OSError as error:
        raise UserError(f"{file}: the animation cannot be written ({error.strerror or error})") from error


def _restore_background(frame: Image.Image, picture: Image.Image) -> None:
    """Restore the exact color of the corner in the palette: on a page of that color, the frame then has no edge."""
    colors, index = list(frame.getpalette() or ()), int(np.asarray(frame)[0, 0])
    colors[3 * index : 3 * index + 3] = np.asarray(picture)[0, 0].tolist()
    frame.putpalette(colors)


def _steps(count: int, max_frames: int) -> list[int]:
    """Return at most `max_frames` evenly spaced steps, from 0 to `count` - 1."""
    steps: list[int] = np.unique(np.linspace(0, count - 1, min(max_frames, count)).round().astype(int)).tolist()
    return steps
