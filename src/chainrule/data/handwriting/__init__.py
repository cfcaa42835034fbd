"""Handwriting drawn from strokes: digits in many writers' hands, letters and other marks.

`strokes` draws a character as the paths of a pen, `pen` renders them as ink of any size, `digits`, `letters` and
`marks` hold the templates, and `samples` makes images in MNIST's format:

    import numpy as np

    from chainrule.data.handwriting import draw, random_pen, random_style, render

    generator = np.random.default_rng(0)
    style = random_style(generator)  # one writer
    drawing = draw("7", generator, "crossed", style)
    ink = render(drawing, 40, random_pen(generator), generator)  # height × width, 0 for paper and 1 for ink
"""

from __future__ import annotations

from chainrule.data.handwriting.digits import DIGITS
from chainrule.data.handwriting.letters import LETTERS
from chainrule.data.handwriting.marks import MARKS
from chainrule.data.handwriting.pen import Pen, margin, random_pen, render
from chainrule.data.handwriting.strokes import CHARACTERS, Drawing, Stroke, Style, draw, random_style

__all__ = [
    "CHARACTERS",
    "DIGITS",
    "LETTERS",
    "MARKS",
    "Drawing",
    "Pen",
    "Stroke",
    "Style",
    "draw",
    "margin",
    "random_pen",
    "random_style",
    "render",
]
