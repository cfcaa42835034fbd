"""Print on paper: rules, squares, dots, margins, frames, text."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from chainrule.data.handwriting.sheet import rule

if TYPE_CHECKING:
    from chainrule.data.handwriting.sheet import Color, Sheet

BLUE, GRAY, RED, GREEN = (0.35, 0.5, 0.8), (0.4, 0.4, 0.42), (0.85, 0.3, 0.35), (0.4, 0.7, 0.55)


def random_pattern(generator: np.random.Generator, sheet: Sheet, size: float) -> None:
    """Print nothing, or a pattern that suits digits of `size` pixels."""
    pitch = size * generator.uniform(0.7, 2.2)
    thickness = float(np.clip(size * generator.uniform(0.01, 0.05), 0.8, 12))
    color = (BLUE, GRAY, RED, GREEN)[generator.choice(4, p=[0.45, 0.35, 0.05, 0.15])]
    strength = generator.uniform(0.12, 0.75)
    kind = generator.random()
    if kind < 0.45:
        return
    if kind < 0.65:
        ruled(generator, sheet, pitch, thickness, color, strength)
    elif kind < 0.88:
        squared(generator, sheet, pitch * 0.7, thickness, color, strength)
    elif kind < 0.95:
        dotted(generator, sheet, pitch * 0.6, thickness, color, strength)
    else:
        ruled(generator, sheet, pitch, thickness, color, strength)
        ruled(generator, sheet, 2.7 * pitch, 1.6 * thickness, color, min(1, 1.5 * strength))


def ruled(
    generator: np.random.Generator, sheet: Sheet, pitch: float, thickness: float, color: Color, strength: float
) -> None:
    """Print horizontal lines, sometimes with a margin."""
    start = generator.uniform(0, pitch)
    rule(sheet, np.arange(start, sheet.height, pitch), axis=0, thickness=thickness, color=color, strength=strength)
    if generator.random() < 0.25:
        margin = sheet.width * generator.uniform(0.06, 0.16)
        rule(sheet, [margin], axis=1, thickness=thickness, color=RED, strength=strength)


def squared(
    generator: np.random.Generator, sheet: Sheet, pitch: float, thickness: float, color: Color, strength: float
) -> None:
    """Print squares; on some paper every fifth or tenth line is stronger."""
    bold = generator.choice([0, 0, 0, 5, 10])
    for axis, side in enumerate((sheet.height, sheet.width)):
        positions = np.arange(generator.uniform(0, pitch), side, pitch)
        rule(sheet, positions, axis=axis, thickness=thickness, color=color, strength=strength)
        if bold:
            rule(sheet, positions[::bold], axis=axis, thickness=1.8 * thickness, color=color, strength=strength)


def dotted(
    generator: np.random.Generator, sheet: Sheet, pitch: float, thickness: float, color: Color, strength: float
) -> None:
    """Print a grid of dots."""
    radius = max(1.0, 1.2 * thickness)
    y = np.arange(sheet.height, dtype=np.float32)[:, None]
    x = np.arange(sheet.width, dtype=np.float32)
    down = (y + generator.uniform(0, pitch)) % np.float32(pitch) - np.float32(pitch / 2)
    across = (x + generator.uniform(0, pitch)) % np.float32(pitch) - np.float32(pitch / 2)
    amount = np.clip(radius + 0.5 - np.hypot(down, across), 0, 1) * np.float32(strength)
    sheet.stain(slice(0, sheet.height), slice(0, sheet.width), amount, color)


def frame(
    sheet: Sheet, extent: tuple[float, float, float, float], thickness: float, color: Color, strength: float
) -> None:
    """Print the outline of a box: left, top, right, bottom."""
    left, top, right, bottom = extent
    for axis, positions, span in ((0, (top, bottom), (left, right)), (1, (left, right), (top, bottom))):
        rule(sheet, positions, axis=axis, thickness=thickness, color=color, strength=strength, span=span)


FONTS = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-Oblique",
    "DejaVuSansMono",
    "DejaVuSerif",
    "DejaVuSerif-Italic",
    "STIXGeneral",
    "STIXGeneralBol",
    "STIXGeneralItalic",
)
PRINTED = "defhkmnprtuvwx"  # letters that do not look like digits


@functools.cache
def fonts() -> tuple[str, ...]:
    """Return the files of those of `FONTS` that matplotlib is installed with; empty without matplotlib."""
    package = importlib.util.find_spec("matplotlib")
    folders = [] if package is None else list(package.submodule_search_locations or ())
    files = sorted(Path(folder) / "mpl-data" / "fonts" / "ttf" / f"{name}.ttf" for folder in folders for name in FONTS)
    return tuple(str(file) for file in files if file.is_file())


def text(
    sheet: Sheet,
    words: str,
    left: float,
    top: float,
    size: float,
    color: Color,
    strength: float,
    font: int = 0,
) -> tuple[float, float, float, float]:
    """Print a line of text at a font size in pixels; return its box."""
    from PIL import Image, ImageDraw, ImageFont  # imported on first use

    files = fonts()
    face = ImageFont.truetype(files[font % len(files)], max(4, size)) if files else ImageFont.load_default(max(4, size))
    x, y, right, bottom = (round(side) for side in face.getbbox(words))
    if right <= x or bottom <= y:
        return left, top, left, top
    image = Image.new("L", (right - x, bottom - y))
    ImageDraw.Draw(image).text((-x, -y), words, fill=255, font=face)
    first, above = max(0, round(left)), max(0, round(top))
    amount = np.asarray(image, np.float32)[: max(0, sheet.height - above), : max(0, sheet.width - first)] / np.float32(
        255
    )
    height, width = amount.shape
    if amount.size:
        sheet.stain(slice(above, above + height), slice(first, first + width), amount * np.float32(strength), color)
    extent = (float(first), float(above), float(first + width), float(above + height))
    sheet.occupied.append(extent)
    return extent


def random_words(generator: np.random.Generator, count: int) -> str:
    """Return random words."""
    words = ["".join(generator.choice(list(PRINTED), generator.integers(2, 10))) for _ in range(count)]
    return " ".join(word.capitalize() if generator.random() < 0.3 else word for word in words)


def print_lines(generator: np.random.Generator, sheet: Sheet, size: float, lines: int) -> None:
    """Print lines of text where the sheet is free."""
    font, gray = int(generator.integers(9)), generator.uniform(0.05, 0.5)
    strength = generator.uniform(0.5, 1)
    left, top = generator.uniform(0.02, 0.4) * sheet.width, generator.uniform(0.02, 0.8) * sheet.height
    for line in range(lines):
        y = top + 1.5 * size * line
        words = random_words(generator, int(generator.integers(1, 7)))
        wide = min(sheet.width - left, 0.65 * size * len(words))
        if sheet.is_free((left, y, left + wide, y + 1.2 * size), 0.2 * size):
            text(sheet, words, left, y, size, (gray, gray, gray), strength, font)
