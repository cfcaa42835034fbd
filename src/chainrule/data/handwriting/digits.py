"""The digits as pen strokes: a function for each digit and variant returns the control points.

The unit is the height of a digit: y is 0 at the top and 1 on the baseline, x grows to the right. A stroke is a list of
control points that a smooth curve passes through; a point given twice is a corner. `vary(low, high)` is a length that
differs between writers, and a little between two digits of the same writer.

Europeans and Americans write differently: 1 with a long upstroke and 7 with a cross bar are European; 1 as a plain
line, with or without a base line, is American. The German 9 has a small loop, a straight stem and a long hook.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    Point = tuple[float, float]
    Path = list[Point]
    Vary = Callable[[float, float], float]
    Template = Callable[[Vary], list[Path]]


class Variant(NamedTuple):
    """One way to write a character.

    Attributes:
        template: takes `vary`, and returns the control points of each stroke.
        share: how often writers prefer it, in proportion to the shares of the character's other variants.
    """

    template: Template
    share: float


def arc(x: float, y: float, width: float, height: float, start: float, end: float) -> Path:
    """Return points of an ellipse about (x, y), from one angle to another, in degrees clockwise from the right."""
    count = max(3, round(abs(end - start) / 40) + 1)
    angles = [math.radians(start + (end - start) * i / (count - 1)) for i in range(count)]
    return [(x + width / 2 * math.cos(angle), y + height / 2 * math.sin(angle)) for angle in angles]


def corner(x: float, y: float) -> Path:
    """Return a point where the pen changes its direction abruptly."""
    return [(x, y), (x, y)]


def _zero(vary: Vary, start: float, turn: float) -> Path:
    width = vary(0.45, 0.85)
    return arc(width / 2, 0.5, width, 1.0, start, start - turn)


def _zero_plain(vary: Vary) -> list[Path]:
    return [_zero(vary, vary(-130, -40), vary(350, 380))]


def _zero_open(vary: Vary) -> list[Path]:
    return [_zero(vary, vary(-115, -65), vary(318, 345))]


def _zero_curled(vary: Vary) -> list[Path]:
    """The end overlaps the start, inside: a small curl at the top."""
    path = _zero(vary, vary(-80, -40), vary(345, 370))
    x, y = path[-1]
    return [[*path, (x - vary(0.08, 0.2), y + vary(0.05, 0.15))]]


def _zero_slashed(vary: Vary) -> list[Path]:
    path = _zero(vary, vary(-130, -60), 360)
    width = max(x for x, _ in path)
    return [path, [(width * vary(0.75, 1.05), vary(0.05, 0.25)), (width * vary(0.0, 0.2), vary(0.8, 0.98))]]


def _one(vary: Vary, upstroke: tuple[float, float] | None, base: bool) -> list[Path]:
    lean, bend = vary(-0.04, 0.04), vary(-0.03, 0.03)
    stem: Path = [(0.0, 0.0), (lean / 2 + bend, 0.5), (lean, 1.0)]
    strokes = [stem]
    if upstroke is not None:
        drop = vary(*upstroke)
        angle = math.radians(vary(18, 55))
        back = min(drop * math.tan(angle), 0.5)
        strokes = [[(-back, drop), (-back * 0.45, drop * vary(0.4, 0.52)), *corner(0.0, 0.0), *stem[1:]]]
    if base:
        left, right, tilt = vary(0.12, 0.4), vary(0.12, 0.4), vary(-0.04, 0.03)
        strokes.append([(lean - left, 1.0 - tilt), (lean, 1.0), (lean + right, 1.0 + tilt)])
    return strokes


def _one_plain(vary: Vary) -> list[Path]:
    return _one(vary, None, base=False)


def _one_flag(vary: Vary) -> list[Path]:
    return _one(vary, (0.08, 0.2), base=False)


def _one_upstroke(vary: Vary) -> list[Path]:
    return _one(vary, (0.2, 0.6), base=False)


def _one_base(vary: Vary) -> list[Path]:
    return _one(vary, None, base=True)


def _one_upstroke_base(vary: Vary) -> list[Path]:
    return _one(vary, (0.12, 0.45), base=True)


def _two_top(vary: Vary, width: float) -> Path:
    """The arch of a 2, down to the middle of its diagonal."""
    height = vary(0.38, 0.6)
    arch = arc(width / 2, height / 2, width * vary(0.85, 1.0), height, vary(-205, -155), vary(0, 20))
    return [*arch, (width * vary(0.55, 0.75), vary(0.62, 0.72))]


def _two_plain(vary: Vary) -> list[Path]:
    width, foot = vary(0.5, 0.75), vary(0.93, 1.0)
    end = [(width * 0.5, foot + vary(-0.04, 0.02)), (width * vary(0.95, 1.25), foot + vary(-0.04, 0.04))]
    return [[*_two_top(vary, width), *corner(vary(-0.05, 0.08), foot), *end]]


def _two_loop(vary: Vary) -> list[Path]:
    width, size = vary(0.5, 0.75), vary(0.1, 0.24)
    left = vary(-0.02, 0.1)
    loop = [(left + size * 0.4, 1.0 - size * 0.2), (left, 0.99), (left - size * 0.4, 1.0 - size * 0.6)]
    back = [(left + size * 0.15, 1.0 - size), (left + size, 1.0 - size * 0.5)]
    return [[*_two_top(vary, width), *loop, *back, (width * 0.75, 1.0), (width * vary(1.0, 1.25), vary(0.9, 1.0))]]


def _three_bowl(vary: Vary, waist: float, width: float) -> Path:
    """The lower half of a 3, from its waist."""
    return arc(width * 0.45, (1 + waist) / 2, width * 1.1, 1 - waist, -80, vary(130, 175))


def _three_round(vary: Vary) -> list[Path]:
    width, waist = vary(0.5, 0.72), vary(0.4, 0.52)
    top = arc(width * 0.45, waist / 2, width * vary(0.8, 1.0), waist, vary(-185, -140), vary(60, 80))
    return [[*top, *corner(width * vary(0.25, 0.45), waist), *_three_bowl(vary, waist, width)]]


def _three_loop(vary: Vary) -> list[Path]:
    """A small loop at the waist."""
    width, waist = vary(0.5, 0.72), vary(0.42, 0.52)
    top = arc(width * 0.45, waist / 2, width * vary(0.8, 1.0), waist, vary(-185, -140), 60)
    size, x = vary(0.06, 0.14), width * vary(0.2, 0.35)
    loop = [(x, waist + size * 0.1), (x - size * 0.6, waist - size * 0.4), (x + size * 0.3, waist - size * 0.5)]
    return [[*top, *loop, *_three_bowl(vary, waist, width)[1:]]]


def _three_flat(vary: Vary) -> list[Path]:
    """With a flat top and a straight diagonal, as on some price tags."""
    width, waist = vary(0.5, 0.72), vary(0.36, 0.45)
    top = [(0.0, vary(0.0, 0.05)), (width * 0.5, 0.0), *corner(width * 0.95, vary(-0.02, 0.02))]
    return [[*top, *corner(width * vary(0.3, 0.45), waist), *_three_bowl(vary, waist, width)]]


def _four_open(vary: Vary) -> list[Path]:
    bar, width, stem = vary(0.5, 0.68), vary(0.5, 0.75), vary(0.36, 0.55)
    left = [(vary(0.0, 0.18), vary(0.0, 0.08)), (vary(0.0, 0.06), bar * 0.6), *corner(0.0, bar)]
    across = [(width * 0.5, bar + vary(-0.03, 0.03)), (width * 1.05, bar + vary(-0.06, 0.04))]
    return [[*left, *across], [(stem + vary(0.0, 0.08), vary(0.0, 0.3)), (stem, 0.6), (stem + vary(-0.06, 0.02), 1.0)]]


def _four_cup(vary: Vary) -> list[Path]:
    """A rounded cup, and the stem at its right."""
    bar, stem = vary(0.45, 0.62), vary(0.42, 0.6)
    cup = [(vary(0.0, 0.08), vary(0.0, 0.1)), (0.0, bar * 0.55), (stem * 0.3, bar), (stem * 0.75, bar - 0.03)]
    return [
        [*cup, (stem, bar * vary(0.7, 0.85))],
        [(stem, vary(-0.02, 0.12)), (stem, 0.5), (stem - vary(0, 0.08), 1.0)],
    ]


def _four_closed(vary: Vary) -> list[Path]:
    bar, stem = vary(0.58, 0.74), vary(0.38, 0.58)
    first = [(stem, 0.0), (stem * 0.52, bar * 0.48), *corner(0.0, bar), (stem, bar + vary(-0.02, 0.02))]
    over = vary(0.12, 0.3)
    second = [(stem + vary(-0.03, 0.03), vary(-0.02, 0.08)), (stem, 0.5), (stem + vary(-0.04, 0.03), 1.0)]
    return [[*first, (stem + over, bar + vary(-0.04, 0.04))], second]


def _four_triangular(vary: Vary) -> list[Path]:
    """A triangle with its right side on the stem: the bar ends there, or hardly crosses it."""
    bar, stem = vary(0.55, 0.8), vary(0.4, 0.65)
    triangle = [
        *corner(stem, 0.0),
        *corner(vary(-0.04, 0.02), bar),
        (stem + vary(-0.01, 0.09), bar + vary(-0.03, 0.03)),
    ]
    return [triangle, [(stem, vary(-0.02, 0.02)), (stem, 0.5), (stem + vary(-0.03, 0.03), 1.0)]]


def _five_bowl(vary: Vary, shoulder: float, width: float) -> Path:
    path = arc(width * 0.4, (1 + shoulder) / 2, width * 1.15, 1 - shoulder, -95, vary(125, 175))
    return [(x, y + 0.02) for x, y in path]


def _five_cap(vary: Vary) -> list[Path]:
    """The cap is a stroke of its own, drawn last, and may miss the rest."""
    width, shoulder, left = vary(0.45, 0.65), vary(0.3, 0.45), vary(0.02, 0.12)
    body = [(left, vary(0.0, 0.06)), *corner(vary(-0.02, 0.06), shoulder + 0.08), *_five_bowl(vary, shoulder, width)]
    y = vary(-0.04, 0.04)
    return [body, [(left + vary(-0.06, 0.08), y), (width * 0.6, y), (width * vary(0.95, 1.35), y + vary(-0.08, 0.03))]]


def _five_single(vary: Vary) -> list[Path]:
    """In one stroke, from the end of the cap."""
    width, shoulder, left = vary(0.45, 0.65), vary(0.32, 0.45), vary(0.04, 0.14)
    cap = [(width * vary(0.95, 1.2), vary(-0.04, 0.03)), *corner(left, vary(0.0, 0.04))]
    return [[*cap, *corner(vary(0.0, 0.06), shoulder + 0.06), *_five_bowl(vary, shoulder, width)]]


def _five_curved(vary: Vary) -> list[Path]:
    """Like an S, without corners."""
    width = vary(0.45, 0.65)
    top = [(width * vary(0.9, 1.2), vary(0.0, 0.08)), (width * 0.5, 0.0), (vary(0.08, 0.16), vary(0.1, 0.2))]
    return [[*top, (width * 0.25, 0.42), *_five_bowl(vary, vary(0.38, 0.44), width)[1:]]]


def _six(vary: Vary, loop: tuple[float, float], bend: float) -> list[Path]:
    height, width = vary(*loop), vary(0.42, 0.66)
    stem = [(width * vary(0.6, 1.0), 0.0), (width * 0.35 - bend, 0.3), (-bend / 2, 0.62)]
    return [[*stem, *arc(width / 2, 1 - height / 2, width, height, 150, vary(-200, -165))]]


def _six_round(vary: Vary) -> list[Path]:
    return _six(vary, (0.42, 0.6), 0.08)


def _six_straight(vary: Vary) -> list[Path]:
    return _six(vary, (0.38, 0.52), 0.0)


def _six_small(vary: Vary) -> list[Path]:
    """A long stem and a small loop."""
    return _six(vary, (0.26, 0.38), 0.06)


def _six_open(vary: Vary) -> list[Path]:
    height, width = vary(0.4, 0.55), vary(0.42, 0.62)
    stem = [(width * vary(0.6, 0.95), 0.0), (width * 0.3, 0.3), (0.0, 0.65)]
    return [[*stem, *arc(width / 2, 1 - height / 2, width, height, 150, vary(-140, -105))]]


def _seven(vary: Vary, serif: bool, crossed: bool) -> list[Path]:
    width, foot, bend = vary(0.45, 0.75), vary(0.05, 0.35), vary(-0.05, 0.08)
    top = [(0.0, vary(0.0, 0.06)), (width * 0.5, vary(-0.02, 0.03)), *corner(width, vary(-0.02, 0.03))]
    if serif:
        top = [(vary(-0.04, 0.03), vary(0.1, 0.24)), *corner(0.0, vary(0.0, 0.04)), *top[1:]]
    x = width * foot
    strokes = [[*top, ((width + x) / 2 - bend, 0.48), (x, 1.0)]]
    if crossed:
        y = vary(0.4, 0.58)
        middle, half = width + (x - width) * y - bend, vary(0.12, 0.26)
        strokes.append([(middle - half, y + vary(-0.03, 0.05)), (middle + half, y + vary(-0.05, 0.03))])
    return strokes


def _seven_plain(vary: Vary) -> list[Path]:
    return _seven(vary, serif=False, crossed=False)


def _seven_crossed(vary: Vary) -> list[Path]:
    return _seven(vary, serif=False, crossed=True)


def _seven_serif(vary: Vary) -> list[Path]:
    return _seven(vary, serif=True, crossed=False)


def _seven_serif_crossed(vary: Vary) -> list[Path]:
    return _seven(vary, serif=True, crossed=True)


def _eight_single(vary: Vary) -> list[Path]:
    """In one stroke, an S closed from below."""
    waist, top, bottom = vary(0.4, 0.52), vary(0.36, 0.52), vary(0.46, 0.66)
    x = bottom / 2
    first = arc(x, waist / 2, top, waist, vary(-60, -10), -255)
    second = arc(x, (1 + waist) / 2, bottom, 1 - waist, -50, 215)
    return [
        [
            *first,
            (x, waist),
            *second,
            (x, waist),
            (x + top * 0.42, waist * 0.62),
            (x + vary(0.02, 0.2), vary(0.02, 0.16)),
        ]
    ]


def _eight_circles(vary: Vary) -> list[Path]:
    """As two circles, one on top of the other."""
    waist, top, bottom = vary(0.4, 0.52), vary(0.34, 0.5), vary(0.42, 0.62)
    x = bottom / 2
    upper = arc(x + vary(-0.04, 0.04), waist / 2, top, waist * vary(1.0, 1.08), vary(60, 110), vary(-290, -260))
    return [upper, arc(x, (1 + waist) / 2, bottom, 1 - waist, vary(-110, -70), vary(250, 285))]


def _eight_open(vary: Vary) -> list[Path]:
    """In one stroke whose ends do not meet at the top."""
    strokes = _eight_single(vary)
    strokes[0][-1] = (strokes[0][-1][0] + vary(0.12, 0.2), vary(-0.04, 0.06))
    return strokes


def _nine_loop(vary: Vary, width: float, height: float) -> Path:
    return arc(width / 2, height / 2, width, height, vary(-50, -15), vary(-385, -360))


def _nine_round(vary: Vary) -> list[Path]:
    width, height = vary(0.42, 0.64), vary(0.4, 0.58)
    tail = [(width * vary(0.95, 1.0), 0.6), (width * vary(0.6, 0.85), 0.87), (width * vary(0.05, 0.4), 1.0)]
    return [[*_nine_loop(vary, width, height), *tail]]


def _nine_straight(vary: Vary) -> list[Path]:
    width, height = vary(0.4, 0.62), vary(0.36, 0.55)
    loop = [*_nine_loop(vary, width, height)[:-1], *corner(width, vary(0.02, 0.16))]
    return [[*loop, (width + vary(-0.03, 0.02), 0.55), (width + vary(-0.08, 0.03), 1.0)]]


def _nine_german(vary: Vary) -> list[Path]:
    """A small loop, a straight stem, and a long hook at the foot."""
    width, height = vary(0.28, 0.46), vary(0.26, 0.42)
    reach = vary(0.3, 0.8)
    foot = [(width - 0.02, vary(0.76, 0.86)), (width - reach * 0.4, 1.0), (width - reach, vary(0.8, 0.96))]
    loop = [*_nine_loop(vary, width, height)[:-1], *corner(width, vary(0.02, 0.16))]
    return [[*loop, (width, 0.5), *foot]]


DIGITS: dict[str, dict[str, Variant]] = {
    "0": {
        "plain": Variant(_zero_plain, 5),
        "open": Variant(_zero_open, 2),
        "curled": Variant(_zero_curled, 2),
        "slashed": Variant(_zero_slashed, 0.4),
    },
    "1": {
        "plain": Variant(_one_plain, 3),
        "flag": Variant(_one_flag, 2),
        "upstroke": Variant(_one_upstroke, 4),
        "base": Variant(_one_base, 1.5),
        "upstroke-base": Variant(_one_upstroke_base, 1.5),
    },
    "2": {"plain": Variant(_two_plain, 3), "loop": Variant(_two_loop, 2)},
    "3": {"round": Variant(_three_round, 4), "loop": Variant(_three_loop, 1.5), "flat": Variant(_three_flat, 1.5)},
    "4": {
        "open": Variant(_four_open, 3),
        "cup": Variant(_four_cup, 2),
        "closed": Variant(_four_closed, 2),
        "triangular": Variant(_four_triangular, 2),
    },
    "5": {"cap": Variant(_five_cap, 3), "single": Variant(_five_single, 2), "curved": Variant(_five_curved, 1)},
    "6": {
        "round": Variant(_six_round, 3),
        "straight": Variant(_six_straight, 2),
        "small": Variant(_six_small, 1),
        "open": Variant(_six_open, 1),
    },
    "7": {
        "plain": Variant(_seven_plain, 3),
        "crossed": Variant(_seven_crossed, 2),
        "serif": Variant(_seven_serif, 1),
        "serif-crossed": Variant(_seven_serif_crossed, 1),
    },
    "8": {
        "single": Variant(_eight_single, 3),
        "circles": Variant(_eight_circles, 1.5),
        "open": Variant(_eight_open, 1),
    },
    "9": {"round": Variant(_nine_round, 2), "straight": Variant(_nine_straight, 2), "german": Variant(_nine_german, 2)},
}
"""The variants of each digit, by name."""
