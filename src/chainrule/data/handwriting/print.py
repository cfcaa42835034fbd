"""What is printed on paper: rules, squares, dots, margins, tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from chainrule.data.handwriting.sheet import rule

if TYPE_CHECKING:
    from chainrule.data.handwriting.sheet import Color, Sheet

BLUE, GRAY, RED, GREEN = (0.35, 0.5, 0.8), (0.4, 0.4, 0.42), (0.85, 0.3, 0.35), (0.4, 0.7, 0.55)


def random_pattern(random: np.random.Generator, sheet: Sheet, size: float) -> None:
    """Print nothing, or a pattern that suits digits of `size` pixels."""
    pitch = size * random.uniform(0.7, 2.2)
    thickness = float(np.clip(size * random.uniform(0.01, 0.05), 0.8, 12))
    color = (BLUE, GRAY, RED, GREEN)[random.choice(4, p=[0.45, 0.35, 0.05, 0.15])]
    strength = random.uniform(0.12, 0.75)
    kind = random.random()
    if kind < 0.45:
        return
    if kind < 0.65:
        ruled(random, sheet, pitch, thickness, color, strength)
    elif kind < 0.88:
        squared(random, sheet, pitch * 0.7, thickness, color, strength)
    elif kind < 0.95:
        dotted(random, sheet, pitch * 0.6, thickness, color, strength)
    else:
        ruled(random, sheet, pitch, thickness, color, strength)
        ruled(random, sheet, 2.7 * pitch, 1.6 * thickness, color, min(1, 1.5 * strength))


def ruled(
    random: np.random.Generator, sheet: Sheet, pitch: float, thickness: float, color: Color, strength: float
) -> None:
    """Level lines, sometimes with a margin."""
    start = random.uniform(0, pitch)
    rule(sheet, np.arange(start, sheet.height, pitch), axis=0, thickness=thickness, color=color, strength=strength)
    if random.random() < 0.25:
        margin = sheet.width * random.uniform(0.06, 0.16)
        rule(sheet, [margin], axis=1, thickness=thickness, color=RED, strength=strength)


def squared(
    random: np.random.Generator, sheet: Sheet, pitch: float, thickness: float, color: Color, strength: float
) -> None:
    """Squares; on some paper every fifth or tenth line is stronger."""
    bold = random.choice([0, 0, 0, 5, 10])
    for axis, side in enumerate((sheet.height, sheet.width)):
        positions = np.arange(random.uniform(0, pitch), side, pitch)
        rule(sheet, positions, axis=axis, thickness=thickness, color=color, strength=strength)
        if bold:
            rule(sheet, positions[::bold], axis=axis, thickness=1.8 * thickness, color=color, strength=strength)


def dotted(
    random: np.random.Generator, sheet: Sheet, pitch: float, thickness: float, color: Color, strength: float
) -> None:
    """A grid of dots."""
    radius = max(1.0, 1.2 * thickness)
    y = np.arange(sheet.height, dtype=np.float32)[:, None]
    x = np.arange(sheet.width, dtype=np.float32)
    down = (y + random.uniform(0, pitch)) % np.float32(pitch) - np.float32(pitch / 2)
    across = (x + random.uniform(0, pitch)) % np.float32(pitch) - np.float32(pitch / 2)
    amount = np.clip(radius + 0.5 - np.hypot(down, across), 0, 1) * np.float32(strength)
    sheet.stain(slice(0, sheet.height), slice(0, sheet.width), amount, color)


def frame(
    sheet: Sheet, extent: tuple[float, float, float, float], thickness: float, color: Color, strength: float
) -> None:
    """The outline of a box: left, top, right, bottom."""
    left, top, right, bottom = extent
    for axis, positions, span in ((0, (top, bottom), (left, right)), (1, (left, right), (top, bottom))):
        rule(sheet, positions, axis=axis, thickness=thickness, color=color, strength=strength, span=span)
