"""Marks other than digits and letters: smileys, crosses, checks, arrows, scribbles, frames, punctuation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from chainrule.data.handwriting.digits import Variant, arc, corner

if TYPE_CHECKING:
    from chainrule.data.handwriting.digits import Path, Template, Vary


def _smiley(vary: Vary) -> list[Path]:
    eyes = vary(0.3, 0.42)
    face = arc(0.5, 0.5, vary(0.85, 1.1), 1.0, -90, vary(-460, -440))
    mouth = arc(0.5, vary(0.5, 0.58), vary(0.4, 0.6), vary(0.3, 0.5), 160, 20)
    return [face, [(0.33, eyes), (0.33, eyes + vary(0.02, 0.12))], [(0.67, eyes), (0.67, eyes + 0.08)], mouth]


def _blot(vary: Vary) -> list[Path]:
    """A filled disk, drawn as a dense spiral."""
    turns, size = 7, vary(0.6, 1.0)
    angles = [i * 0.6 for i in range(round(turns * 2 * math.pi / 0.6))]
    width = vary(0.7, 1.3)
    radii = [size * (0.1 + 0.4 * i / len(angles)) + vary(-0.03, 0.03) for i in range(len(angles))]
    return [[(0.5 + width * r * math.cos(a), 0.5 + r * math.sin(a)) for a, r in zip(angles, radii, strict=True)]]


def _dot(vary: Vary) -> list[Path]:
    y = vary(0.9, 1.0)
    return [[(0.0, y), (vary(0.0, 0.03), y + vary(0.01, 0.03))]]


def _comma(vary: Vary) -> list[Path]:
    return [[(0.04, 0.92), (0.05, 1.0), (vary(-0.08, 0.0), vary(1.08, 1.2))]]


def _dash(vary: Vary) -> list[Path]:
    y = vary(0.45, 0.65)
    return [[(0.0, y), (vary(0.2, 0.7), y + vary(-0.04, 0.04))]]


def _equals(vary: Vary) -> list[Path]:
    y, gap, width = vary(0.35, 0.5), vary(0.14, 0.3), vary(0.35, 0.7)
    return [[(0.0, y), (width, y + vary(-0.03, 0.03))], [(0.0, y + gap), (width, y + gap + vary(-0.03, 0.03))]]


def _plus(vary: Vary) -> list[Path]:
    size, y = vary(0.4, 0.8), vary(0.45, 0.6)
    return [
        [(0.0, y), (size, y + vary(-0.04, 0.04))],
        [(size * vary(0.42, 0.58), y - size / 2), (size / 2, y + size / 2)],
    ]


def _cross(vary: Vary) -> list[Path]:
    width = vary(0.6, 1.1)
    return [[(0.0, vary(0.0, 0.1)), (width, vary(0.9, 1.0))], [(width, vary(0.0, 0.1)), (0.0, vary(0.9, 1.0))]]


def _check(vary: Vary) -> list[Path]:
    low = vary(0.2, 0.4)
    return [[(0.0, vary(0.5, 0.7)), *corner(low, 1.0), (vary(0.7, 1.1), vary(0.0, 0.15))]]


def _arrow(vary: Vary) -> list[Path]:
    length, y, size = vary(0.8, 1.6), vary(0.4, 0.6), vary(0.15, 0.3)
    end = (length, y + vary(-0.1, 0.1))
    head = [(length - size, end[1] - size), *corner(*end), (length - size, end[1] + size)]
    return [[(0.0, y), (length / 2, y), end], head]


def _underline(vary: Vary) -> list[Path]:
    length, y = vary(1.5, 4.0), vary(1.05, 1.2)
    return [[(0.0, y), (length / 2, y + vary(-0.04, 0.04)), (length, y + vary(-0.06, 0.06))]]


def _frame(vary: Vary) -> list[Path]:
    width, tilt = vary(1.3, 2.2), vary(-0.04, 0.04)
    corners = [*corner(width, tilt), *corner(width, 1.0), *corner(0.0, 1.0 - tilt)]
    return [[(0.0, 0.0), *corners, (vary(-0.03, 0.03), vary(-0.04, 0.04))]]


def _scribble(vary: Vary) -> list[Path]:
    count = round(vary(6, 14))
    width = vary(0.7, 1.5)
    path = [(width * i / count, vary(0.0, 0.25) if i % 2 else vary(0.75, 1.0)) for i in range(count)]
    return [path]


def _tangle(vary: Vary) -> list[Path]:
    return [[(vary(0.0, 1.0), vary(0.0, 1.0)) for _ in range(round(vary(8, 16)))]]


def _wave(vary: Vary) -> list[Path]:
    count, height = round(vary(4, 9)), vary(0.15, 0.35)
    return [[(i * 0.22, 0.5 + (height if i % 2 else -height) / 2) for i in range(count)]]


def _star(vary: Vary) -> list[Path]:
    turn = vary(-0.15, 0.15)
    angles = [turn - math.pi / 2 + i * 4 * math.pi / 5 for i in range(6)]
    return [[point for a in angles for point in corner(0.5 + 0.52 * math.cos(a), 0.5 + 0.52 * math.sin(a))]]


def _hash(vary: Vary) -> list[Path]:
    lean = vary(0.0, 0.15)
    bars = [[(x + lean, 0.0), (x, 1.0)] for x in (vary(0.15, 0.25), vary(0.45, 0.6))]
    return [*bars, [(0.0, vary(0.28, 0.38)), (0.8, 0.32)], [(0.0, vary(0.62, 0.72)), (0.78, 0.66)]]


def _asterisk(vary: Vary) -> list[Path]:
    size = vary(0.3, 0.5)
    rays = [vary(-0.1, 0.1) + i * math.pi / 3 for i in range(3)]
    return [
        [(0.5 - size * math.cos(a), 0.5 - size * math.sin(a)), (0.5 + size * math.cos(a), 0.5 + size * math.sin(a))]
        for a in rays
    ]


def _question(vary: Vary) -> list[Path]:
    hook = arc(0.25, 0.22, vary(0.4, 0.55), 0.44, 190, 380)
    return [[*hook, (0.25, 0.55), (0.25, 0.74)], [(0.25, 0.97), (0.26, 1.0)]]


def _percent(vary: Vary) -> list[Path]:
    size = vary(0.26, 0.36)
    return [
        [(0.85, 0.0), (0.1, 1.0)],
        arc(0.18, 0.2, size, size, -90, -450),
        arc(0.78, 0.8, size, size, -90, -450),
    ]


def _euro(vary: Vary) -> list[Path]:
    curve = arc(0.45, 0.5, vary(0.6, 0.8), 1.0, -50, -310)
    return [curve, [(-0.08, 0.42), (0.45, 0.4)], [(-0.08, 0.58), (0.4, 0.56)]]


def _heart(vary: Vary) -> list[Path]:
    dip = vary(0.2, 0.3)
    left = [*corner(0.5, dip), (0.3, 0.02), (0.05, 0.12), (0.08, 0.45), *corner(0.5, 1.0)]
    return [[*left, (0.92, 0.45), (0.95, 0.12), (0.7, 0.02), (0.5, dip)]]


def _triangle(vary: Vary) -> list[Path]:
    top = vary(0.35, 0.65)
    return [[(top, 0.0), *corner(1.0, vary(0.9, 1.0)), *corner(0.0, vary(0.9, 1.0)), (top, vary(0.0, 0.04))]]


def _tally(vary: Vary) -> list[Path]:
    count = round(vary(3, 5))
    bars: list[Path] = [[(i * 0.22, vary(0.0, 0.06)), (i * 0.22 + vary(-0.04, 0.04), 1.0)] for i in range(count)]
    return [*bars, [(-0.15, vary(0.6, 0.8)), (count * 0.22, vary(0.2, 0.4))]]


_TEMPLATES: dict[str, Template] = {
    "smiley": _smiley,
    "blot": _blot,
    "dot": _dot,
    "comma": _comma,
    "dash": _dash,
    "equals": _equals,
    "plus": _plus,
    "cross": _cross,
    "check": _check,
    "arrow": _arrow,
    "underline": _underline,
    "frame": _frame,
    "scribble": _scribble,
    "tangle": _tangle,
    "wave": _wave,
    "star": _star,
    "hash": _hash,
    "asterisk": _asterisk,
    "question": _question,
    "percent": _percent,
    "euro": _euro,
    "heart": _heart,
    "triangle": _triangle,
    "tally": _tally,
}
MARKS: dict[str, dict[str, Variant]] = {name: {"plain": Variant(mark, 1)} for name, mark in _TEMPLATES.items()}
"""The marks, by name; each has one variant. Their height is relative to that of a digit: a dot is small."""
