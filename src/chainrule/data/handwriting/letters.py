"""Letters as pen strokes: those that do not look like digits.

Left out are, among others, O and C (0), l and I (1), Z (2), S (5), b and G (6), B (8), a, g and q (9), u and y (an open
4).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from chainrule.data.handwriting.digits import Variant

if TYPE_CHECKING:
    from chainrule.data.handwriting.digits import Path, Vary

# Strokes are divided by |; ! after a point marks a corner
_SHAPES = {
    "A": "0,1 .3,0! .6,1 | .1,.65 .5,.63",
    "E": ".55,.02 0,0! 0,1! .58,1 | 0,.5 .45,.48",
    "F": ".58,0 0,.02! 0,1 | 0,.5 .42,.48",
    "H": "0,0 .02,1 | .6,0 .58,1 | 0,.5 .6,.48",
    "K": "0,0 0,1 | .55,0 .05,.55! .6,1",
    "L": "0,0 0,1! .55,.98",
    "M": "0,1 .05,0! .38,.7! .7,0! .76,1",
    "N": "0,1 .02,0! .55,1! .57,0",
    "P": "0,0 .02,1 | 0,.04 .35,0 .55,.25 .35,.52 .02,.55",
    "R": "0,0 .02,1 | 0,.04 .35,0 .52,.22 .35,.48 .02,.5! .58,1",
    "V": "0,0 .3,1! .6,0",
    "W": "0,0 .2,1! .42,.3! .62,1! .85,0",
    "X": "0,0 .6,1 | .6,.02 0,1",
    "d": ".5,.55 .28,.42 .05,.6 .06,.88 .25,1 .48,.82 .54,0! .52,.8 .62,1",
    "e": ".05,.72 .42,.66 .38,.46 .18,.45 .03,.7 .15,.96 .45,.92",
    "f": ".42,.05 .25,.02 .15,.25 .14,1 | 0,.45 .38,.43",
    "h": "0,0 .02,1! .05,.65 .25,.45 .42,.6 .44,1",
    "k": "0,0 0,1 | .4,.45 .05,.72! .45,1",
    "m": "0,.45 .02,1! .08,.6 .25,.44 .34,.62 .34,1! .4,.6 .56,.44 .66,.62 .68,1",
    "n": "0,.45 .02,1! .08,.6 .28,.44 .4,.6 .42,1",
    "p": "0,.45 .02,1.4 | .02,.55 .25,.42 .46,.62 .36,.92 .04,.95",
    "r": "0,.45 .02,1! .06,.62 .22,.46 .36,.5",
    "v": "0,.45 .2,1! .42,.45",
    "w": "0,.45 .15,1! .32,.55! .46,1! .66,.45",
    "x": "0,.45 .42,1 | .42,.45 0,1",
}


def parse_path(text: str) -> Path:
    """Return the control points of one stroke from a text such as "0,0 0,1! .5,1", where ! marks a corner."""
    path: Path = []
    for word in text.split():
        x, y = (float(value) for value in word.removesuffix("!").split(","))
        path += [(x, y)] * (2 if word.endswith("!") else 1)
    return path


def _template(shape: str, vary: Vary) -> list[Path]:
    """Return the strokes of a letter, of random width and slant."""
    width, shift = vary(0.75, 1.3), vary(-0.06, 0.06)
    return [[(x * width + shift * y, y) for x, y in parse_path(stroke)] for stroke in shape.split("|")]


LETTERS: dict[str, dict[str, Variant]] = {
    letter: {"plain": Variant(partial(_template, shape), 1)} for letter, shape in _SHAPES.items()
}
"""The letters, by name; each has one variant."""
