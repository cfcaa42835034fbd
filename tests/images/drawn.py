"""Digits drawn by hand-placed strokes: each is a list of polylines in a box of height 1, x to the right and y down."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw


def arc(x, y, across, down, start, stop, steps=24):
    """Points of an ellipse around (x, y), from one angle to another in degrees; 0 is right, 90 is down."""
    angles = np.radians(np.linspace(start, stop, steps))
    return [(x + across * math.cos(a), y + down * math.sin(a)) for a in angles]


STROKES = {
    0: [arc(0.3, 0.5, 0.3, 0.5, -90, 275)],
    1: [[(0.02, 0.22), (0.2, 0.0), (0.2, 1.0)]],
    2: [[*arc(0.28, 0.28, 0.27, 0.28, -170, 35), (0.0, 1.0), (0.6, 1.0)]],
    3: [[*arc(0.26, 0.25, 0.26, 0.25, -150, 80), *arc(0.26, 0.74, 0.3, 0.26, -85, 150)]],
    4: [[(0.38, 0.0), (0.0, 0.64), (0.62, 0.64)], [(0.46, 0.3), (0.44, 1.0)]],
    5: [[(0.58, 0.0), (0.1, 0.0), (0.06, 0.44), *arc(0.27, 0.69, 0.3, 0.31, -125, 150)]],
    6: [[(0.46, 0.0), (0.14, 0.38), *arc(0.29, 0.71, 0.27, 0.29, -170, 190)]],
    7: [[(0.0, 0.02), (0.6, 0.02), (0.2, 1.0)]],
    8: [[*arc(0.3, 0.26, 0.25, 0.26, 90, -270), *arc(0.3, 0.76, 0.3, 0.24, -90, 270)]],
    9: [[*arc(0.27, 0.29, 0.26, 0.28, 0, -350), (0.53, 0.3), (0.48, 1.0)]],
}


def draw_digits(text, size, height, width, at, step, ink=0, paper=255, zoom=4):
    """A gray picture (Pillow, mode L) with a row of digits.

    Args:
        text: the digits.
        size: the picture's width and height, in pixels.
        height: the height of a digit.
        width: the width of the pen.
        at: left and top of the first digit.
        step: the distance from one digit's left to the next digit's.
        ink: the brightness of the pen, from 0 to 255.
        paper: the brightness of the paper.
        zoom: the digits are drawn this many times as large, and then scaled down, for smooth edges.
    """
    picture = Image.new("L", (size[0] * zoom, size[1] * zoom), paper)
    pen = ImageDraw.Draw(picture)
    for number, digit in enumerate(text):
        for stroke in STROKES[int(digit)]:
            points = [(zoom * (at[0] + number * step + height * x), zoom * (at[1] + height * y)) for x, y in stroke]
            line(pen, points, ink, zoom * width)
    return picture.resize(size, Image.Resampling.BOX)


def line(pen, points, ink, width):
    """A polyline with round ends and joints."""
    pen.line(points, fill=ink, width=round(width))
    for x, y in points:
        pen.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=ink)
