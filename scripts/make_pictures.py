"""Draw the README's picture, docs/pictures/explain.png: `make pictures`.

A 5 is drawn with a pen on paper that is darker at the right and at the bottom, as on a photo by a lamp; then
`chainrule predict five.jpg --explain explain.png` shows each step to 28×28 pixels and the pretrained network's
probabilities.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from chainrule.cli import main

PICTURE = Path(__file__).parent.parent / "docs" / "pictures" / "explain.png"
WIDTH, HEIGHT = 256, 188
STROKES = [[(186, 72), (134, 82), (124, 112)], [(124, 112), (152, 104), (172, 118), (160, 140), (128, 152), (108, 148)]]
"""The pen's lines, in pixels: x, y."""


def photo() -> Image.Image:
    """The photo of the digit: ink on unevenly lit paper, with the noise of a camera."""
    ink = Image.new("L", (WIDTH, HEIGHT), 0)
    pen = ImageDraw.Draw(ink)
    for stroke in STROKES:
        pen.line(stroke, fill=255, width=9, joint="curve")
    ink = ink.filter(ImageFilter.GaussianBlur(1.5))
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    paper = 205 - 70 * x / WIDTH - 35 * y / HEIGHT
    noise = np.random.default_rng(0).normal(0, 2, paper.shape)
    gray = paper * (1 - 0.75 * np.asarray(ink) / 255) + noise
    return Image.fromarray(np.clip(gray, 0, 255).astype(np.uint8))


def explain(picture: Path) -> None:
    """Write the picture, and exit as `chainrule predict` does."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "photo.png"
        photo().save(file)
        main(["predict", str(file), "--explain", str(picture)])


if __name__ == "__main__":
    explain(PICTURE)
