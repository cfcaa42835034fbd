"""Random pens, and the colors of ink and paper."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from chainrule.data.handwriting.ink import InkStyle

if TYPE_CHECKING:
    from collections.abc import Callable

    from chainrule.data.handwriting.sheet import Color

INKS = (  # the colors of ink, and the frequency of each
    ((0.10, 0.17, 0.55), 0.24),
    ((0.16, 0.30, 0.72), 0.10),
    ((0.08, 0.08, 0.10), 0.30),
    ((0.24, 0.24, 0.27), 0.10),
    ((0.75, 0.10, 0.12), 0.10),
    ((0.10, 0.45, 0.20), 0.06),
    ((0.45, 0.14, 0.50), 0.04),
    ((0.85, 0.40, 0.08), 0.03),
    ((0.10, 0.50, 0.55), 0.03),
)
PAPERS = (  # the colors of paper, and the frequency of each
    ((0.96, 0.96, 0.95), 0.45),
    ((0.93, 0.90, 0.84), 0.14),
    ((0.82, 0.81, 0.79), 0.11),
    ((0.95, 0.90, 0.66), 0.07),
    ((0.78, 0.88, 0.95), 0.05),
    ((0.96, 0.80, 0.84), 0.05),
    ((0.78, 0.92, 0.78), 0.05),
    ((0.97, 0.87, 0.35), 0.03),
    ((0.76, 0.62, 0.45), 0.03),
    ((0.66, 0.66, 0.66), 0.02),
)


def choose_color(
    generator: np.random.Generator, weighted_colors: tuple[tuple[Color, float], ...]
) -> tuple[float, float, float]:
    """Return a random color of `INKS` or `PAPERS`, slightly varied."""
    shares = np.array([share for _, share in weighted_colors])
    color = np.asarray(weighted_colors[generator.choice(len(weighted_colors), p=shares / shares.sum())][0])
    red, green, blue = np.clip(
        color * generator.uniform(0.92, 1.06) + generator.normal(0, 0.015, 3), 0.01, 0.99
    ).tolist()
    return red, green, blue


def random_ink(generator: np.random.Generator) -> InkStyle:
    """Return a random pen of any kind for paper."""
    kinds: tuple[Callable[[np.random.Generator], InkStyle], ...] = (
        pencil,
        ball_pen,
        gel_pen,
        fountain_pen,
        felt_pen,
        marker,
        crayon,
    )
    return kinds[generator.choice(len(kinds), p=[0.2, 0.3, 0.16, 0.06, 0.14, 0.1, 0.04])](generator)


def pencil(generator: np.random.Generator) -> InkStyle:
    """A pencil: gray, with the paper's grain in it."""
    gray = generator.uniform(0.15, 0.4)
    return InkStyle(
        (gray, gray, gray * 1.03),
        width=generator.uniform(0.03, 0.07),
        opacity=generator.uniform(0.35, 0.95),
        pressure=generator.uniform(0.1, 0.5),
        direction=generator.uniform(0, 0.25),
        swell=generator.uniform(0, 0.4),
        grain=generator.uniform(0.2, 0.6),
        softness=1.4,
    )


def ball_pen(generator: np.random.Generator) -> InkStyle:
    """A ball pen: thin, with pressure that varies, and skips."""
    return InkStyle(
        choose_color(generator, INKS),
        width=generator.uniform(0.022, 0.06),
        opacity=generator.uniform(0.55, 1),
        pressure=generator.uniform(0, 0.6),
        direction=generator.uniform(0, 0.35),
        swell=generator.uniform(0, 0.3),
        natural=generator.uniform(0, 0.3),
        skips=generator.choice([0, 0.03, 0.08]),
        grain=generator.uniform(0, 0.2),
    )


def gel_pen(generator: np.random.Generator) -> InkStyle:
    """A gel pen or a fineliner: even and dark."""
    return InkStyle(
        choose_color(generator, INKS),
        width=generator.uniform(0.03, 0.085),
        opacity=generator.uniform(0.85, 1),
        natural=generator.uniform(0, 0.3),
    )


def fountain_pen(generator: np.random.Generator) -> InkStyle:
    """A fountain pen: the width depends on the stroke's direction, the ink pools."""
    return InkStyle(
        choose_color(generator, INKS),
        width=generator.uniform(0.05, 0.1),
        pressure=generator.uniform(0.1, 0.35),
        nib=generator.uniform(0.1, 0.55),
        swell=0.3,
    )


def felt_pen(generator: np.random.Generator) -> InkStyle:
    """A felt pen: wide and a little translucent."""
    return InkStyle(
        choose_color(generator, INKS),
        width=generator.uniform(0.07, 0.14),
        opacity=generator.uniform(0.75, 1),
        pressure=generator.uniform(0, 0.2),
        softness=1.8,
    )


def marker(generator: np.random.Generator) -> InkStyle:
    """A marker: as wide as strokes get; it bleeds."""
    return InkStyle(
        choose_color(generator, INKS),
        width=generator.uniform(0.12, 0.24),
        opacity=generator.uniform(0.85, 1),
        natural=generator.uniform(0.3, 1),
        swell=generator.uniform(0, 0.3),
        grain=0.05,
        softness=2.2,
    )


def crayon(generator: np.random.Generator) -> InkStyle:
    """A crayon: wide, grainy, colored."""
    return InkStyle(
        choose_color(generator, INKS),
        width=generator.uniform(0.08, 0.16),
        opacity=generator.uniform(0.6, 0.9),
        pressure=0.3,
        grain=generator.uniform(0.4, 0.7),
        softness=2.5,
    )


def chalk(generator: np.random.Generator) -> InkStyle:
    """Chalk, light on a dark board."""
    tint = generator.choice([0.0, 0.0, 0.25]) * generator.random(3)
    red, green, blue = (0.95 - tint).tolist()
    return InkStyle(
        (red, green, blue),
        width=generator.uniform(0.05, 0.12),
        opacity=generator.uniform(0.6, 0.95),
        pressure=generator.uniform(0.1, 0.4),
        grain=generator.uniform(0.25, 0.6),
        softness=2.0,
        is_opaque=True,
    )


def screen_pen(generator: np.random.Generator, color: tuple[float, float, float]) -> InkStyle:
    """The pencil or brush of a drawing program: even and opaque, with smooth or hard edges."""
    return InkStyle(
        color,
        width=float(np.exp(generator.uniform(np.log(0.015), np.log(0.22)))),
        natural=0.0,
        softness=generator.choice([0.01, 1.0]),
        is_opaque=True,
        jitter=generator.choice([0, 0.008, 0.02]),
    )
