"""The benchmark table as a figure: PyTorch's time divided by ours, and step times by size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import report

from chainrule.plots import style

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BAR = 0.3  # inches per row
GROWTH = 3.2  # height of the panels below, in inches
LEFT, RIGHT, TOP, BOTTOM = 3.6, 0.7, 0.95, 0.65  # inches


def draw(document: Mapping[str, Any], theme: style.Theme = style.LIGHT) -> Figure:
    """Draw the figure of a benchmark's JSON document."""
    growing = {
        kind: [entry for entry in document["results"] if entry["key"].startswith(f"{kind}-")]
        for kind in ("batch", "width")
    }
    sizes = {entry["key"] for rows in growing.values() for entry in rows}
    drawn = [entry for entry in document["results"] if "PyTorch" in entry["ratios"] and entry["key"] not in sizes]
    shown = {kind: rows for kind, rows in growing.items() if rows}
    bars, beneath = BAR * max(1, len(drawn)), (GROWTH + 0.3 if shown else 0)
    height = TOP + bars + BOTTOM + beneath
    figure = style.new_figure(9, height, "chainrule beside PyTorch on the same cores", theme)
    axes = figure.add_axes((LEFT / 9, (BOTTOM + beneath) / height, (9 - LEFT - RIGHT) / 9, bars / height))
    ratios(axes, drawn, theme)
    for position, (kind, rows) in enumerate(shown.items()):
        box = (0.8 + 4.2 * position) / 9, 0.65 / height, 3.3 / 9, (GROWTH - 1.0) / height
        growth(figure.add_axes(box), kind, rows, theme)
    return figure


def ratios(axes: Axes, results: Sequence[Mapping[str, Any]], theme: style.Theme) -> None:
    """Draw a bar for each work, and a mark at its target ratio."""
    style.style_axes(
        axes, theme, title="PyTorch's best / ours", x="ratio (higher is better; black: target)", open_frame=True
    )
    values = [entry["ratios"]["PyTorch"]["ratio"] for entry in results]
    goals = [entry["goals"].get("PyTorch", 1) for entry in results]
    axes.barh(range(len(results)), values, height=0.62, left=0, color=theme.first)
    for position, (entry, value) in enumerate(zip(results, values, strict=True)):
        axes.text(value * 1.04, position, f"{value:.2f}", va="center", size=style.SMALL, color=theme.foreground)
        if "PyTorch" in entry["goals"]:
            goal = entry["goals"]["PyTorch"]
            axes.plot([goal, goal], [position - 0.42, position + 0.42], color=theme.foreground, lw=2)
    axes.axvline(1, color=theme.frame, lw=1)
    axes.set(
        xscale="log", ylim=(len(results) - 0.4, -0.6), xlim=(min([0.5, *values]) * 0.9, max([2, *goals, *values]) * 1.5)
    )
    ticks(axes, [0.5, 1, 2, 5, 10, 20, 50, 100])
    axes.set_yticks(range(len(results)), [f"{entry['key'].partition('-')[0]}  {entry['name']}" for entry in results])


def growth(axes: Axes, kind: str, results: Sequence[Mapping[str, Any]], theme: style.Theme) -> None:
    """Draw the step times of each library over the size, with logarithmic axes."""
    style.style_axes(axes, theme, title=f"A step of 784-width-10 by {kind}", x=kind, y="milliseconds", open_frame=True)
    sizes = [int(entry["key"].partition("-")[2]) for entry in results]
    curves = [(f"{report.OURS} jit", report.OURS, "jit"), (f"{report.OURS} eager", report.OURS, "eager")]
    curves.append(("PyTorch's best", "PyTorch", ""))
    for (label, peer, way), (color, line, marker) in zip(curves, style.strokes(len(curves), theme), strict=True):
        times = [time_of(entry, peer, way) for entry in results]
        points = [(size, seconds) for size, seconds in zip(sizes, times, strict=True) if seconds]
        if points:
            x, y = zip(*points, strict=True)
            axes.plot(x, [1000 * seconds for seconds in y], line + marker, color=color, label=label, lw=1.8, ms=5)
    axes.set(xscale="log", yscale="log")
    ticks(axes, sizes)
    style.legend(axes, theme, loc="upper left")


def ticks(axes: Axes, positions: Sequence[float]) -> None:
    """Put ticks on a logarithmic axis at the given positions only."""
    low, high = axes.get_xlim()
    shown = [position for position in positions if low <= position <= high]
    axes.set_xticks(shown, [f"{position:g}" for position in shown])
    axes.set_xticks([], minor=True)


def time_of(entry: Mapping[str, Any], peer: str, way: str) -> float | None:
    """The median in seconds of a variant; default: the best one."""
    variants = entry["peers"].get(peer, {})
    stats = variants.get(way or entry["best"].get(peer, ""))
    return None if stats is None else float(stats["median"])


def save(document: Mapping[str, Any], path: Path) -> None:
    """Draw and save the figure."""
    style.save(draw(document), path)
