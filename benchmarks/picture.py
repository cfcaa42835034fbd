"""The table as a picture: how many times ours fits into PyTorch's time, and how step times grow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import report

from chainrule.plots import style

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BAR = 0.3  # inches a row
GROWTH = 3.2  # inches of the panels beneath
LEFT, RIGHT, TOP, BOTTOM = 3.6, 0.7, 0.95, 0.65  # inches


def draw(document: Mapping[str, Any], look: style.Look = style.LIGHT) -> Figure:
    """The figure of a benchmark's JSON document."""
    growing = {
        kind: [found for found in document["results"] if found["key"].startswith(f"{kind}-")]
        for kind in ("batch", "width")
    }
    sizes = {found["key"] for rows in growing.values() for found in rows}
    drawn = [found for found in document["results"] if "PyTorch" in found["ratios"] and found["key"] not in sizes]
    shown = {kind: rows for kind, rows in growing.items() if rows}
    bars, beneath = BAR * max(1, len(drawn)), (GROWTH + 0.3 if shown else 0)
    height = TOP + bars + BOTTOM + beneath
    figure = style.new_figure(9, height, "chainrule beside PyTorch on the same cores", look)
    axes = figure.add_axes((LEFT / 9, (BOTTOM + beneath) / height, (9 - LEFT - RIGHT) / 9, bars / height))
    ratios(axes, drawn, look)
    for place, (kind, rows) in enumerate(shown.items()):
        box = (0.8 + 4.2 * place) / 9, 0.65 / height, 3.3 / 9, (GROWTH - 1.0) / height
        growth(figure.add_axes(box), kind, rows, look)
    return figure


def ratios(axes: Axes, results: Sequence[Mapping[str, Any]], look: style.Look) -> None:
    """A bar for each work, and a mark at the ratio to reach."""
    style.dress(
        axes, look, title="PyTorch's best / ours", x="times (longer is better; black: to reach)", open_frame=True
    )
    values = [found["ratios"]["PyTorch"]["ratio"] for found in results]
    goals = [found["goals"].get("PyTorch", 1) for found in results]
    axes.barh(range(len(results)), values, height=0.62, left=0, color=look.first)
    for place, (found, value) in enumerate(zip(results, values, strict=True)):
        axes.text(value * 1.04, place, f"{value:.2f}", va="center", size=style.SMALL, color=look.ink)
        if "PyTorch" in found["goals"]:
            goal = found["goals"]["PyTorch"]
            axes.plot([goal, goal], [place - 0.42, place + 0.42], color=look.ink, lw=2)
    axes.axvline(1, color=look.quiet, lw=1)
    axes.set(
        xscale="log", ylim=(len(results) - 0.4, -0.6), xlim=(min([0.5, *values]) * 0.9, max([2, *goals, *values]) * 1.5)
    )
    ticks(axes, [0.5, 1, 2, 5, 10, 20, 50, 100])
    axes.set_yticks(range(len(results)), [f"{found['key'].partition('-')[0]}  {found['name']}" for found in results])


def growth(axes: Axes, kind: str, results: Sequence[Mapping[str, Any]], look: style.Look) -> None:
    """Step times of each library over the size, both axes logarithmic."""
    style.dress(axes, look, title=f"A step of 784-width-10 by {kind}", x=kind, y="milliseconds", open_frame=True)
    sizes = [int(found["key"].partition("-")[2]) for found in results]
    curves = [(f"{report.OURS} jit", report.OURS, "jit"), (f"{report.OURS} eager", report.OURS, "eager")]
    curves.append(("PyTorch's best", "PyTorch", ""))
    for (label, peer, way), (color, line, marker) in zip(curves, style.strokes(len(curves), look), strict=True):
        points = [
            (size, taken) for size, found in zip(sizes, results, strict=True) if (taken := time_of(found, peer, way))
        ]
        if points:
            x, y = zip(*points, strict=True)
            axes.plot(x, [1000 * seconds for seconds in y], line + marker, color=color, label=label, lw=1.8, ms=5)
    axes.set(xscale="log", yscale="log")
    ticks(axes, sizes)
    style.legend(axes, look, loc="upper left")


def ticks(axes: Axes, places: Sequence[float]) -> None:
    """Numbers under a logarithmic axis, at these places that it shows and nowhere else."""
    low, high = axes.get_xlim()
    shown = [place for place in places if low <= place <= high]
    axes.set_xticks(shown, [f"{place:g}" for place in shown])
    axes.set_xticks([], minor=True)


def time_of(found: Mapping[str, Any], peer: str, way: str) -> float | None:
    """A median in seconds; the best way's if none is named."""
    variants = found["peers"].get(peer, {})
    taken = variants.get(way or found["best"].get(peer, ""))
    return None if taken is None else float(taken["median"])


def save(document: Mapping[str, Any], path: Path) -> None:
    """Draw and write."""
    style.save(draw(document), path)
