"""Handwriting as pen strokes: templates of characters, deformed at random as by a writer's hand.

A writer has a `Style` (slant, proportions, roundness, haste) and habits, such as which way to write a 7. No two
characters are the same: control points move, curves waver, ends overshoot, pressure varies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from chainrule.data.handwriting.digits import DIGITS, Variant
from chainrule.data.handwriting.letters import LETTERS
from chainrule.data.handwriting.marks import MARKS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from chainrule.data.handwriting.digits import Path

CHARACTERS: dict[str, dict[str, Variant]] = {**DIGITS, **LETTERS, **MARKS}
"""All characters that can be drawn: digits, letters and marks (by names such as "smiley"), and the variants of each."""

SAMPLES = 6  # points of a curve from one control point to the next


@dataclass(frozen=True)
class Stroke:
    """The path of the pen from touching the paper to leaving it.

    Attributes:
        points: (n, 2), x and y; the unit is a digit's height, y is 0 at its top and 1 on the baseline.
        pressure: (n,), 0 to 1.
    """

    points: NDArray[np.float64]
    pressure: NDArray[np.float64]


@dataclass(frozen=True)
class Drawing:
    """A drawn character.

    Attributes:
        strokes: in the order of writing.
        label: the character.
        variant: the name of the variant, the way it is written.
    """

    strokes: tuple[Stroke, ...]
    label: str
    variant: str

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """The smallest x and y and the largest x and y of the pen's path."""
        points = np.concatenate([stroke.points for stroke in self.strokes])
        (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
        return left, top, right, bottom


@dataclass(frozen=True)
class Style:
    """How one person writes.

    Attributes:
        seed: of the writer's habits: the variants, and their proportions.
        slant: the lean to the right, as dx/dy.
        aspect: the width, relative to the templates'.
        tilt: the rotation, in radians.
        roundness: 0 keeps corners, 1 rounds them.
        jitter: the standard deviation of control points.
        wobble: the amplitude of the curves' wavering.
        overshoot: how far the ends of strokes are drawn too long or too short.
        haste: 0 for even pressure; 1 for light upstrokes and tapering ends.
        faint: the probability that a part of a stroke is almost without pressure.
    """

    seed: int
    slant: float = 0.0
    aspect: float = 1.0
    tilt: float = 0.0
    roundness: float = 0.3
    jitter: float = 0.015
    wobble: float = 0.006
    overshoot: float = 0.02
    haste: float = 0.5
    faint: float = 0.1


def random_style(generator: np.random.Generator) -> Style:
    """Return the style of a new writer."""
    return Style(
        seed=int(generator.integers(2**32)),
        slant=float(np.clip(generator.normal(0.1, 0.16), -0.35, 0.55)),
        aspect=float(np.exp(generator.normal(0.0, 0.17))),
        tilt=float(generator.normal(0.0, 0.05)),
        roundness=float(generator.beta(1.2, 1.6)),
        jitter=float(generator.uniform(0.006, 0.024)),
        wobble=float(generator.uniform(0.0, 0.012)),
        overshoot=float(generator.uniform(0.0, 0.05)),
        haste=float(generator.uniform(0.0, 1.0)),
        faint=float(generator.choice([0.0, 0.1, 0.35])),
    )


def draw(label: str, generator: np.random.Generator, variant: str | None = None, style: Style | None = None) -> Drawing:
    """Draw a character.

    Args:
        label: one of `CHARACTERS`: a digit, a letter or the name of a mark.
        generator: the only source of randomness.
        variant: the way to write it; by default the writer's habit, rarely a different one.
        style: the writer; by default a new one.

    Raises:
        ValueError: there is no such character or variant.
    """
    if label not in CHARACTERS:
        raise ValueError(f"draw: there is no character {label!r}; there are {' '.join(CHARACTERS)}")
    variants = CHARACTERS[label]
    if variant is not None and variant not in variants:
        raise ValueError(f"draw: {label} is not drawn as {variant!r}; its variants are {', '.join(variants)}")
    style = style or random_style(generator)
    habits = np.random.default_rng((style.seed, list(CHARACTERS).index(label)))
    preferred = _choose(variants, habits)
    if variant is None:
        variant = preferred if generator.random() < 0.85 else _choose(variants, generator)

    def vary(low: float, high: float) -> float:
        position = habits.random() + 0.25 * generator.normal()
        return low + (high - low) * min(max(position, 0.0), 1.0)

    paths = variants[variant].template(vary)
    curves = _deform(paths, style, generator)
    return Drawing(tuple(Stroke(points, _pressure(points, style, generator)) for points in curves), label, variant)


def _choose(variants: Mapping[str, Variant], generator: np.random.Generator) -> str:
    """Return the name of a random variant, with probabilities in proportion to the shares."""
    position = generator.random() * sum(variant.share for variant in variants.values())
    for name, variant in variants.items():
        position -= variant.share
        if position < 0:
            return name
    return name


def _deform(paths: Sequence[Path], style: Style, generator: np.random.Generator) -> list[NDArray[np.float64]]:
    """Return the deformed curves through the control points."""
    aspect = style.aspect * math.exp(generator.normal(0.0, 0.06))
    slant, tilt = style.slant + generator.normal(0.0, 0.03), style.tilt + generator.normal(0.0, 0.02)
    cos, sin = math.cos(tilt), math.sin(tilt)
    # Squeeze and slant, then rotate
    linear = np.array([[aspect * cos, aspect * sin], [-slant * cos - sin, -slant * sin + cos]])
    bow = generator.normal(0.0, 0.04, 2)  # of the whole character, sideways and up
    curves = []
    for path in paths:
        control = np.array(path, np.float64)
        # Both points of a corner move together
        is_new_point = np.concatenate([[True], (control[1:] != control[:-1]).any(axis=1)])
        moves = generator.normal(0.0, style.jitter, (int(is_new_point.sum()), 2))
        curve = _smooth(_curve(control + moves[np.cumsum(is_new_point) - 1]), style.roundness)
        curve = _overshoot(curve, style, generator)
        position = np.linspace(0.0, 1.0, len(curve))[:, None]
        for frequency in (1.5, 3.5):
            phase = generator.uniform(0, 2 * math.pi, 2)
            curve = curve + style.wobble * np.sin(2 * math.pi * frequency * position + phase)
        centered = curve - (0.3, 0.5)
        curve = centered + bow * (centered[:, ::-1] ** 2 - 0.1)
        curves.append(curve @ linear + (0.3, 0.5))
    return curves


def _curve(control: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a Catmull-Rom spline through the points, (n, 2), broken at corners.

    Source: Catmull and Rom, "A class of local interpolating splines" (1974).
    """
    corners = np.flatnonzero((control[1:] == control[:-1]).all(axis=1)) + 1
    pieces = []
    for piece in np.split(control, corners):
        if len(piece) < 2:
            continue
        ends = np.concatenate([[2 * piece[0] - piece[1]], piece, [2 * piece[-1] - piece[-2]]])
        windows = np.lib.stride_tricks.sliding_window_view(ends, 4, axis=0)  # (n - 1, 2, 4)
        pieces.append((windows @ _basis()).transpose(0, 2, 1).reshape(-1, 2))
    pieces.append(control[-1:])
    return np.concatenate(pieces)


@cache
def _basis() -> NDArray[np.float64]:
    """Return the weights, (4, samples), of four consecutive points at positions between the second and the third."""
    t = np.arange(SAMPLES) / SAMPLES
    weights = [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2]
    return np.array(weights) / 2


def _smooth(curve: NDArray[np.float64], roundness: float) -> NDArray[np.float64]:
    """Round the corners: average neighboring points, but keep the ends."""
    for _ in range(round(6 * roundness)):
        inner = (curve[:-2] + 2 * curve[1:-1] + curve[2:]) / 4
        curve = np.concatenate([curve[:1], inner, curve[-1:]])
    return curve


def _overshoot(curve: NDArray[np.float64], style: Style, generator: np.random.Generator) -> NDArray[np.float64]:
    """Extend the ends along the pen's direction, or pull them back."""
    ends = []
    for outer, inner in ((0, 2), (-1, -3)):
        direction = curve[outer] - curve[inner]
        length = float(np.hypot(*direction)) or 1.0
        ends.append(curve[outer] + direction / length * style.overshoot * generator.uniform(-0.6, 1.4))
    return np.concatenate([ends[:1], curve[1:-1], ends[1:]])


def _pressure(points: NDArray[np.float64], style: Style, generator: np.random.Generator) -> NDArray[np.float64]:
    """Return the pen's pressure at each point: lighter upwards, in fast straight parts and towards the end."""
    steps = np.diff(points, axis=0)
    lengths = np.hypot(steps[:, 0], steps[:, 1]) + 1e-9
    down = np.append(steps[:, 1] / lengths, steps[-1, 1] / lengths[-1])  # 1 downwards, -1 upwards
    position = np.append(0.0, np.cumsum(lengths)) / lengths.sum()
    pressure = 1.0 - style.haste * (0.22 * (1 - down) + generator.uniform(0.0, 0.5) * position**3)
    phase, frequency = generator.uniform(0, 2 * math.pi), generator.uniform(0.6, 2.0)
    pressure *= 0.9 + 0.1 * np.sin(2 * math.pi * frequency * position + phase)
    if generator.random() < style.faint:
        center, width = generator.random(), generator.uniform(0.1, 0.4)
        pressure *= 1.0 - generator.uniform(0.4, 0.95) * np.exp(-(((position - center) / width) ** 2))
    return np.asarray(np.clip(pressure, 0.03, 1.0))
