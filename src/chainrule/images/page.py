"""From a photographed page to its digits: where each one is, which it is, and which stand in one line.

Ink (`ink`) falls into parts that hang together. Most parts are digits. Some are pieces of one, which are joined; some
are several that touch, which are cut if the pieces read better; the rest is blots, dashes and dust, told by size and
shape. The digits that are left stand in lines: each one's neighbor is the next to its right on the same level, and so
a line may climb or bend a little.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from chainrule.images.ink import WIDEST_STROKE, find_ink
from chainrule.images.lines import in_lines
from chainrule.images.raster import shrink
from chainrule.images.steps import checked, ink_to_mnist

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from chainrule.images.raster import Gray

    Reader = Callable[[NDArray[np.uint8]], NDArray[np.floating]]  # (N, 28, 28) to confidences (N, classes)
    Box = tuple[int, int, int, int]

LONGEST_SIDE = 2000  # pixels of a photo's longer side: a sheet of small digits is still read
HANDY = 64  # pixels of a digit's height: in photos with larger ones there is only more noise to see
LARGE = 0.35  # of the picture's shorter side: a digit this tall may have strokes as wide as shadows elsewhere,
LARGE_SIDE, WIDEST_LARGE = 160, 0.35  # and is read on a copy of so many pixels, strokes being up to this wide
SMALLEST = 14  # pixels of a digit's height: smaller ones cannot be told from dust
MOST_SPECKS = 4000  # parts shorter than half of that: a scan with dust on every hundredth pixel has ten times as many
RIM = 0.02  # of the picture's shorter side: what lies in this rim alone is left of a rule, or of what is cut off there
EDGE = 0.75  # of a part's ink: with so much beside the edge of a sheet or a shadow, it is left of that edge
CORE = 0.3  # of a part's darkest ink: what is lighter is the blur around its strokes
MANY = 5  # so many sure digits are a page of them, whatever larger things, a pen perhaps, lie on it
SURE = 0.95  # confidence: what is read with less, and is odd in size or ink besides, is no digit

# All of the following in typical heights of a digit.
SPECK = 0.12  # a part shorter than this is dust
PIECE = 0.6  # a part shorter than this is a piece of a digit, or none
NEAR = 0.15  # pieces of one digit are at most so far apart
TALLEST_JOINED, WIDEST_JOINED = 1.75, 1.3  # less than two digits that stand in two lines, or side by side
SHORTEST, TALLEST, WIDEST = 0.3, 2.2, 6.0  # of a digit, or of several that touch
THICKEST_JOINT = 0.3  # where two digits touch, of their height
THINNEST, THICKEST = 0.012, 0.6  # of a part's own longer side: what pens and markers do to digits
FRAME, FRAMED, THIN_FRAME = 0.08, 0.8, 0.05  # a frame has ink so near to each side of its box, along so much of it
FAINTEST = 0.3  # of the darkness of the page's usual ink: a pencil beside a marker has a third
SOFTEST = 0.1  # of its darkness from pixel to pixel: a stroke has an edge, a shadow fades


@dataclass(frozen=True)
class Digit:
    """A digit on the page."""

    digit: int
    confidence: float
    box: Box  # left, top, right, bottom in pixels of the photo; the right and the bottom are the first ones outside
    image: NDArray[np.uint8]  # (28, 28), as it was read


@dataclass(frozen=True, eq=False)
class Part:
    """A piece of ink: where it is, and how dark it is there; 0 wherever the ink is another part's."""

    top: int
    left: int
    ink: Gray  # (height, width)

    @property
    def height(self) -> int:
        """In pixels."""
        return int(self.ink.shape[0])

    @property
    def width(self) -> int:
        """In pixels."""
        return int(self.ink.shape[1])

    @property
    def bottom(self) -> int:
        """The first row below it."""
        return self.top + self.height

    @property
    def right(self) -> int:
        """The first column beyond it."""
        return self.left + self.width

    @cached_property
    def thickness(self) -> float:
        """Of its strokes, where they are thickest, in pixels."""
        stroke = np.pad(self.ink > 0.5 * self.ink.max(), 1)
        return 2 * float(ndimage.distance_transform_edt(stroke).max())

    @cached_property
    def sharpness(self) -> float:
        """How steep its steepest edges are: the difference from pixel to pixel, as a part of its darkness."""
        steps = []
        for one, other in ((self.ink[1:], self.ink[:-1]), (self.ink[:, 1:], self.ink[:, :-1])):
            both = (one > 0) & (other > 0)  # where it was cut out, there is no edge of its own
            steps.append(np.abs(one - other)[both])
        found = np.concatenate(steps)
        return float(np.percentile(found, 90)) / self.darkness if found.size else 1.0

    @cached_property
    def darkness(self) -> float:
        """Of the ink in its strokes, from 0 to 1."""
        return float(np.median(self.ink[self.ink > 0.5 * self.ink.max()]))


def read_page(photo: NDArray[np.floating | np.uint8], read: Reader) -> list[list[Digit]]:
    """Find and read the handwritten digits in a photo of a page, dark on light.

    Args:
        photo: gray values `(height, width)`: floats from 0 (black) to 1 (white), or uint8 from 0 to 255.
        read: the network: pictures `(N, 28, 28)`, uint8, in MNIST's form, to confidences `(N, classes)`.

    Returns:
        The lines from top to bottom, each one's digits from left to right; an empty list if the page is empty.

    Raises:
        PictureError: the array has another form.
    """
    gray = checked(photo, LONGEST_SIDE)
    if min(gray.shape) < 2 * SMALLEST:
        return []
    large, scale = _read_large(gray, read), max(photo.shape) / max(gray.shape)
    lines = _read_small(gray, read)
    if large and all(_is_of(one, large) for one in _flat(lines)):
        lines = large
    return _rescaled(lines, scale)


def _read_small(gray: Gray, read: Reader) -> list[list[Digit]]:
    """Digits that are small beside the picture, as most are; or those beside something larger, if they are many."""
    parts, size = _find_parts(gray)
    lines = _read_handy(gray, parts, size, read)
    dark = FAINTEST * _median([part.darkness for part in parts], parts)
    shorter = [part for part in parts if part.height < SHORTEST * size and part.darkness > dark]
    if _sure(lines) >= MANY or len(_likely(shorter)) < MANY:
        return lines
    others = _read_handy(gray, shorter, _typical_height(shorter), read)
    return others if _sure(others) > max(MANY, 2 * _sure(lines)) else lines


def _read_handy(gray: Gray, parts: Sequence[Part], size: float, read: Reader) -> list[list[Digit]]:
    """The digits among the parts, which are typically of that size; on a smaller copy if they are large."""
    if size <= 1.4 * HANDY:
        return _read_lines(parts, size, read)
    handy = shrink(gray, round(HANDY / size * max(gray.shape)))
    scale = max(gray.shape) / max(handy.shape)
    parts, _ = _find_parts(handy)
    lines = _read_lines(parts, size / scale, read)
    return _rescaled(lines, scale)


def _read_large(gray: Gray, read: Reader) -> list[list[Digit]]:
    """Digits so large that their strokes may be as wide as shadows elsewhere; an empty list if they are not."""
    small = shrink(gray, LARGE_SIDE)
    parts, size = _find_parts(small, WIDEST_LARGE)
    if size < LARGE * min(small.shape):
        return []
    narrow = 0.9 * WIDEST_STROKE * min(small.shape)  # a pen that lies on the sheet is; a marker's strokes are not
    thick = [part for part in parts if part.thickness > narrow]
    return _rescaled(_read_lines(thick, size, read), max(gray.shape) / max(small.shape))


def _read_lines(parts: Sequence[Part], size: float, read: Reader) -> list[list[Digit]]:
    """The digits among the parts; `size` is their typical height."""
    if not size:
        return []
    parts = [part for part in _join(parts, size) if _may_be_digit(part, size)]
    dark = _median([part.darkness for part in parts], parts)  # what is much fainter is left of rules, shadows, stains
    parts = [part for part in parts if part.darkness > FAINTEST * dark]
    lines = [_read_line(line, read, size, dark) for line in in_lines(parts)]
    return [line for line in lines if line]


def _rescaled(lines: list[list[Digit]], by: float) -> list[list[Digit]]:
    return [[replace(digit, box=_scaled(digit.box, by)) for digit in line] for line in lines]


def _scaled(box: Box, by: float) -> Box:
    left, top, right, bottom = (round(by * side) for side in box)
    return left, top, right, bottom


def _flat(lines: list[list[Digit]]) -> list[Digit]:
    return [digit for line in lines for digit in line]


def _sure(lines: list[list[Digit]]) -> int:
    """How many of the digits are read with confidence."""
    return sum(digit.confidence >= SURE for digit in _flat(lines))


def _is_of(one: Digit, large: list[list[Digit]]) -> bool:
    """Whether it is but the edge of a large digit's stroke, or dust beside one."""
    x, y = (one.box[0] + one.box[2]) / 2, (one.box[1] + one.box[3]) / 2
    for left, top, right, bottom in (digit.box for digit in _flat(large)):
        edge = 0.05 * (bottom - top)
        if left - edge <= x <= right + edge and top - edge <= y <= bottom + edge:
            return True
        if one.box[3] - one.box[1] < edge:
            return True
    return False


# Parts


def _find_parts(gray: Gray, widest: float = WIDEST_STROKE) -> tuple[list[Part], float]:
    """The parts that ink falls into, without those at borders and along edges; and how tall a digit is, typically."""
    ink, sheet, edge = find_ink(gray, widest)
    labels, count = ndimage.label(ink > 0, np.ones((3, 3)))
    inked = labels > 0
    darkest = np.zeros(count + 1, ink.dtype)
    np.maximum.at(darkest, labels[inked], ndimage.uniform_filter(ink, 3)[inked])
    labels, count = ndimage.label(ink > CORE * darkest[labels], np.ones((3, 3)))
    inside = ndimage.binary_erosion(sheet, np.ones((3, 3)))  # the picture's border is the sheet's as well
    outside = set(labels[~inside & (labels > 0)].tolist())
    parts, rim = [], RIM * min(ink.shape)
    boxes = ndimage.find_objects(labels)
    lengths = np.array([max(at.stop - at.start for at in box) for box in boxes])
    outside |= _surplus_specks(lengths)
    for number, where in enumerate(boxes, start=1):
        rows, columns = where
        if number in outside or lengths[number - 1] < 3:
            continue
        if any(min(at.stop, side - at.start) < rim for at, side in zip(where, ink.shape, strict=True)):
            continue
        around = (slice(rows.start - 1, rows.stop + 1), slice(columns.start - 1, columns.stop + 1))
        mine = ndimage.binary_dilation(labels[around] == number, np.ones((3, 3))) & np.isin(labels[around], (0, number))
        if edge[where][labels[where] == number].mean() < EDGE:
            parts.append(Part(around[0].start, around[1].start, np.where(mine, ink[around], 0)))
    return parts, _typical_height(parts)


def _surplus_specks(lengths: NDArray[np.int64]) -> set[int]:
    """The numbers, from 1 on, of the shortest parts of a page that has far more specks than pieces of digits."""
    specks = np.flatnonzero(lengths < SMALLEST / 2)
    longest_first = specks[np.argsort(-lengths[specks], kind="stable")]
    return set((1 + longest_first[MOST_SPECKS:]).tolist())


def _typical_height(parts: Iterable[Part]) -> float:
    """The height of most of the ink that has the form of digits; 0 if there is none."""
    likely = _likely(parts)
    return _median([p.height for p in likely], likely)


def _likely(parts: Iterable[Part]) -> list[Part]:
    """Those that have the form of digits."""
    return [p for p in parts if p.height >= SMALLEST and p.height > 0.4 * p.width and not _no_stroke(p)]


def _median(values: Sequence[float], parts: Sequence[Part]) -> float:
    """The median where each part's value counts as often as it has ink, so that a hundred specks are not the rule."""
    if not values:
        return 0.0
    order = np.argsort(values)
    mass = np.cumsum([parts[i].ink.sum() for i in order])
    return float(values[order[np.searchsorted(mass, mass[-1] / 2)]])


def _no_stroke(part: Part) -> bool:
    """Whether it is too thick for its size, as a blot is, or too thin, as a frame or a long line."""
    return not THINNEST < part.thickness / max(part.height, part.width) < THICKEST or _is_frame(part)


def _is_frame(part: Part) -> bool:
    """Whether it goes along all sides of its box, thin, with nothing inside, and is too wide for a one."""
    if part.thickness > THIN_FRAME * max(part.height, part.width):
        return False
    down, across = max(3, round(FRAME * part.height)), max(3, round(FRAME * part.width))
    if part.width < 0.4 * part.height or part.ink[2 * down : -2 * down, 2 * across : -2 * across].any():
        return False
    inked = part.ink > 0
    sides = inked[:down].any(0), inked[-down:].any(0), inked[:, :across].any(1), inked[:, -across:].any(1)
    return all(float(side.mean()) > FRAMED for side in sides)


def _may_be_digit(part: Part, size: float) -> bool:
    fits = SHORTEST * size <= part.height <= TALLEST * size and part.width <= WIDEST * size
    return fits and part.sharpness > SOFTEST and part.height > 0.3 * part.width and not _no_stroke(part)


# Joining and cutting


def _join(parts: Sequence[Part], size: float) -> list[Part]:
    """Join the pieces of digits that were written or photographed with gaps."""
    waiting = sorted((p for p in parts if max(p.height, p.width) >= SPECK * size), key=lambda p: -p.height)
    joined: list[Part] = []
    boxes = np.zeros((4, len(waiting)))  # of those joined: left, top, right, bottom
    for piece in waiting:  # the tallest first, so that small ones come to a digit that is there
        gaps = _gaps(piece, boxes[:, : len(joined)])
        near = np.flatnonzero(gaps <= NEAR * size)
        fitting = (i for i in near[np.argsort(gaps[near], kind="stable")] if _belong_together(piece, joined[i], size))
        place = next(fitting, len(joined))
        if place == len(joined):
            joined.append(piece)
        else:
            joined[place] = _union(joined[place], piece)
        boxes[:, place] = joined[place].left, joined[place].top, joined[place].right, joined[place].bottom
    return joined


def _gaps(part: Part, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far apart a part's box is from others (4, N): left, top, right, bottom; 0 where they touch or overlap."""
    across = np.maximum(part.left, boxes[0]) - np.minimum(part.right, boxes[2])
    down = np.maximum(part.top, boxes[1]) - np.minimum(part.bottom, boxes[3])
    return np.asarray(np.hypot(np.maximum(across, 0), np.maximum(down, 0)))


def _belong_together(piece: Part, part: Part, size: float) -> bool:
    """Whether a piece that is near may be of the same digit: by their size together, their ink, and how they lie."""
    height = max(piece.bottom, part.bottom) - min(piece.top, part.top)
    width = max(piece.right, part.right) - min(piece.left, part.left)
    if height > TALLEST_JOINED * size or width > WIDEST_JOINED * max(size, part.width):
        return False
    if piece.darkness < 0.4 * part.darkness:
        return False
    overlap = (min(piece.right, part.right) - max(piece.left, part.left)) / min(piece.width, part.width)
    if overlap > 0.5:  # one above the other
        return True
    if piece.height >= PIECE * size or max(piece.height, piece.width) <= 0.25 * size:
        return False
    return overlap > 0.15 or piece.height < 0.5 * piece.width or piece.width < 0.15 * size  # else a small digit beside


def _union(one: Part, other: Part) -> Part:
    top, left = min(one.top, other.top), min(one.left, other.left)
    ink = np.zeros((max(one.bottom, other.bottom) - top, max(one.right, other.right) - left), one.ink.dtype)
    for part in (one, other):
        here = ink[part.top - top : part.bottom - top, part.left - left : part.right - left]
        np.maximum(here, part.ink, out=here)
    return Part(top, left, ink)


def _cuts(part: Part) -> list[tuple[Part, Part]]:
    """Ways to cut it in two, from top to bottom: through one stroke, where there is least ink to cut through."""
    stroke = part.ink > 0.5 * part.darkness
    ink = ndimage.uniform_filter1d(stroke.sum(axis=0, dtype=float), 3)  # (width,)
    once = np.abs(np.diff(stroke.astype(int), axis=0, prepend=0, append=0)).sum(axis=0) <= 2  # goes in and out
    low, high = round(0.2 * part.width), round(0.8 * part.width)
    places = [x for x in range(low, high) if once[x] and ink[x] == ink[max(0, x - 3) : x + 4].min()]
    places = [x for x in places if ink[x] < THICKEST_JOINT * part.height]
    halves = []
    for x in sorted(places, key=lambda x: float(ink[x]))[:3]:
        left, right = _trimmed(part, 0, x), _trimmed(part, x, part.width)
        if left and right and min(left.height, right.height) > 0.5 * part.height:
            halves.append((left, right))
    return halves


def _trimmed(part: Part, start: int, stop: int) -> Part | None:
    """The columns from `start` to `stop`, without the empty rows and columns around them; None if there is no ink."""
    ink = part.ink[:, start:stop]
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    if not rows.size:
        return None
    top, left = int(rows[0]), int(columns[0])
    return Part(part.top + top, part.left + start + left, ink[top : rows[-1] + 1, left : columns[-1] + 1])


# Reading


def _read_line(line: Sequence[Part], read: Reader, size: float, dark: float) -> list[Digit]:
    """Read the digits of a line, several that touch one by one; what is no digit is left out.

    Args:
        line: its parts.
        read: the network.
        size: the page's typical height of a digit.
        dark: the page's typical darkness of ink.
    """
    typical = float(np.median([part.height for part in line]))
    found: list[Digit] = []
    for part, digit in zip(line, _read(line, read), strict=True):
        for piece, one in _read_apart(part, digit, read):
            unsure = one.confidence < SURE
            odd = not 0.6 * typical <= piece.height <= 2.0 * typical or not 0.6 * size <= piece.height <= 2.0 * size
            if not (unsure and (odd or piece.darkness < 0.5 * dark)):
                found.append(one)
    return found


def _read(parts: Sequence[Part], read: Reader) -> list[Digit]:
    images = np.stack([_image(part) for part in parts])
    confidences = read(images)  # (N, classes)
    found = []
    for part, image, row in zip(parts, images, confidences, strict=True):
        best = int(row.argmax())
        # The soft edge, one pixel all around, belongs to the part, but not to the digit's box.
        box = (part.left + 1, part.top + 1, part.right - 1, part.bottom - 1)
        found.append(Digit(best, float(row[best]), box, image))
    return found


def _image(part: Part) -> NDArray[np.uint8]:
    """Its ink, from none to that of its strokes, in MNIST's form."""
    full = part.darkness
    start = 0.15 * full
    return ink_to_mnist(np.pad(np.clip((part.ink - start) / (full - start), 0, 1), 2))


def _read_apart(part: Part, whole: Digit, read: Reader, most: int = 4) -> list[tuple[Part, Digit]]:
    """Cut what is too wide for one digit where the pieces are read with more confidence than the whole."""
    wide = part.width / part.height
    if most < 2 or wide < 1.1 or (wide < 1.4 and whole.confidence > 0.8):
        return [(part, whole)]
    best, least = None, SURE if wide < 1.4 else 0.7 * whole.confidence
    for halves in _cuts(part):
        digits = _read(halves, read)
        confidence = min(digit.confidence for digit in digits)
        if confidence > least:
            best, least = list(zip(halves, digits, strict=True)), confidence
    if best is None:
        return [(part, whole)]
    return [found for half, digit in best for found in _read_apart(half, digit, read, most - 1)]
