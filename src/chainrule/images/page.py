"""Find and read the digits in a photo of a page, line by line.

Ink (see `ink`) is split into connected parts. Most parts are digits. Pieces of one digit are joined; touching digits
are cut if the pieces are read with more confidence; blots, dashes and dust are removed by size and shape. The digits
are then grouped into lines by following neighbors to the right, so a line may slope or bend a little.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from chainrule.images.ink import WIDEST_STROKE, find_ink
from chainrule.images.lines import group_into_lines
from chainrule.images.raster import shrink
from chainrule.images.steps import ink_to_mnist, normalize_gray

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from chainrule.images.raster import Gray

    Classifier = Callable[[NDArray[np.uint8]], NDArray[np.floating]]  # images (N, 28, 28) to probabilities (N, classes)
    Box = tuple[int, int, int, int]

LONGEST_SIDE = 2000  # pixels: larger photos are downsampled; a page of small digits is still readable
READING_HEIGHT = 64  # pixels: photos with taller digits are downsampled, since more pixels only add noise
# Digits taller than LARGE_DIGIT, a fraction of the image's shorter side, can have strokes as wide as shadows. They are
# read on a copy with a longer side of LARGE_SIDE pixels, with strokes up to LARGE_STROKE, a fraction of its shorter
# side.
LARGE_DIGIT, LARGE_SIDE, LARGE_STROKE = 0.35, 160, 0.35
MIN_DIGIT_PIXELS = 14  # minimum height of a digit in pixels: smaller ones look like dust
MAX_SPECKS = 4000  # maximum number of parts below half of MIN_DIGIT_PIXELS; a dusty scan has ten times as many
BORDER = 0.02  # of the image's shorter side: parts that lie only in this border are remains of rules or cut-off objects
EDGE_FRACTION = 0.75  # a part with this fraction of its ink along the edge of a sheet or a shadow belongs to that edge
CORE_INK = 0.3  # of a part's darkest ink: lighter pixels are the blur around its strokes
MIN_CONFIDENT = 5  # with fewer confident digits, larger objects such as a pen may hide smaller digits (see _read_small)
SURE_CONFIDENCE = 0.95  # minimum confidence of a digit with unusual size or darkness

# The following are fractions of the typical height of a digit.
SPECK_HEIGHT = 0.12  # a shorter part is dust
PIECE_HEIGHT = 0.6  # a shorter part is a piece of a digit, or not a digit
MAX_GAP = 0.15  # maximum distance between pieces of one digit
TALLEST_JOINED, WIDEST_JOINED = 1.75, 1.3  # maximum size of joined pieces: less than two digits
MIN_HEIGHT, MAX_HEIGHT, MAX_WIDTH = 0.3, 2.2, 6.0  # size limits of a digit, or of several touching digits
MAX_JOINT_THICKNESS = 0.3  # maximum thickness where two digits touch, relative to their height
MIN_THICKNESS, MAX_THICKNESS = 0.012, 0.6  # limits of the stroke thickness, relative to the part's longer side
# A frame has ink within FRAME_MARGIN of each side of its box, along more than FRAME_COVERAGE of the side, and no
# strokes thicker than FRAME_THICKNESS, relative to its longer side.
FRAME_MARGIN, FRAME_COVERAGE, FRAME_THICKNESS = 0.08, 0.8, 0.05
MIN_DARKNESS = 0.3  # minimum darkness relative to the page's typical ink: pencil next to a marker has a third
MIN_SHARPNESS = 0.1  # minimum sharpness: strokes have edges, shadows are gradual


@dataclass(frozen=True)
class Digit:
    """A digit on the page."""

    digit: int
    confidence: float
    box: Box  # left, top, right, bottom in pixels of the photo; right and bottom are exclusive
    image: NDArray[np.uint8]  # (28, 28), the network's input


@dataclass(frozen=True, eq=False)
class InkPart:
    """A connected part of the ink: its position and its pixels; pixels of other parts are 0."""

    top: int
    left: int
    ink: Gray  # (height, width)

    @property
    def height(self) -> int:
        """Height in pixels."""
        return int(self.ink.shape[0])

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(self.ink.shape[1])

    @property
    def bottom(self) -> int:
        """The first row below the part."""
        return self.top + self.height

    @property
    def right(self) -> int:
        """The first column to the right of the part."""
        return self.left + self.width

    @cached_property
    def thickness(self) -> float:
        """The maximum thickness of its strokes in pixels."""
        stroke = np.pad(self.ink > 0.5 * self.ink.max(), 1)
        return 2 * float(ndimage.distance_transform_edt(stroke).max())

    @cached_property
    def sharpness(self) -> float:
        """The steepness of its edges: a high percentile of pixel differences, relative to its darkness."""
        differences = []
        for one, other in ((self.ink[1:], self.ink[:-1]), (self.ink[:, 1:], self.ink[:, :-1])):
            both = (one > 0) & (other > 0)  # excludes the mask's own edge
            differences.append(np.abs(one - other)[both])
        steps = np.concatenate(differences)
        return float(np.percentile(steps, 90)) / self.darkness if steps.size else 1.0

    @cached_property
    def darkness(self) -> float:
        """The median ink of its strokes, from 0 to 1."""
        return float(np.median(self.ink[self.ink > 0.5 * self.ink.max()]))


def read_page(photo: NDArray[np.floating | np.uint8], classify: Classifier) -> list[list[Digit]]:
    """Find and read the handwritten digits in a photo of a page, dark on light.

    Args:
        photo: gray values `(height, width)`: floats from 0 (black) to 1 (white), or uint8 from 0 to 255.
        classify: the network, a function from images `(N, 28, 28)`, uint8, in MNIST's format, to class probabilities
            `(N, classes)`.

    Returns:
        The lines from top to bottom, each a list of digits from left to right; an empty list for an empty page.

    Raises:
        PictureError: the array does not hold gray values as above.
    """
    gray = normalize_gray(photo, LONGEST_SIDE)
    if min(gray.shape) < 2 * MIN_DIGIT_PIXELS:
        return []
    large, scale = _read_large(gray, classify), max(photo.shape) / max(gray.shape)
    lines = _read_small(gray, classify)
    if large and all(_is_remnant(digit, large) for digit in _flat(lines)):
        lines = large
    return _rescale(lines, scale)


def _read_small(gray: Gray, classify: Classifier) -> list[list[Digit]]:
    """Read small digits, the usual case.

    Large objects on the page, such as a pen, raise the typical height, so that digits are dropped as too small. If few
    digits are read with confidence, the parts below the size limit are read alone, and used if more of them are.
    """
    parts, digit_height = _find_parts(gray)
    lines = _read_at_reading_height(gray, parts, digit_height, classify)
    min_darkness = MIN_DARKNESS * _weighted_median([part.darkness for part in parts], parts)
    shorter = [part for part in parts if part.height < MIN_HEIGHT * digit_height and part.darkness > min_darkness]
    if _count_confident(lines) >= MIN_CONFIDENT or len(_digit_candidates(shorter)) < MIN_CONFIDENT:
        return lines
    shorter_lines = _read_at_reading_height(gray, shorter, _typical_height(shorter), classify)
    required = max(MIN_CONFIDENT, 2 * _count_confident(lines))
    return shorter_lines if _count_confident(shorter_lines) > required else lines


def _read_at_reading_height(
    gray: Gray, parts: Sequence[InkPart], digit_height: float, classify: Classifier
) -> list[list[Digit]]:
    """Read the digits among parts, given their typical height, on a downsampled copy if they are tall."""
    if digit_height <= 1.4 * READING_HEIGHT:
        return _read_lines(parts, digit_height, classify)
    downsampled = shrink(gray, round(READING_HEIGHT / digit_height * max(gray.shape)))
    scale = max(gray.shape) / max(downsampled.shape)
    parts, _ = _find_parts(downsampled)
    lines = _read_lines(parts, digit_height / scale, classify)
    return _rescale(lines, scale)


def _read_large(gray: Gray, classify: Classifier) -> list[list[Digit]]:
    """Read digits so large that their strokes can be as wide as shadows; an empty list if there are none."""
    small = shrink(gray, LARGE_SIDE)
    parts, digit_height = _find_parts(small, LARGE_STROKE)
    if digit_height < LARGE_DIGIT * min(small.shape):
        return []
    narrow = 0.9 * WIDEST_STROKE * min(small.shape)  # excludes a pen lying on the sheet, but not marker strokes
    thick = [part for part in parts if part.thickness > narrow]
    return _rescale(_read_lines(thick, digit_height, classify), max(gray.shape) / max(small.shape))


def _read_lines(parts: Sequence[InkPart], digit_height: float, classify: Classifier) -> list[list[Digit]]:
    """Read the digits among parts, given their typical height, in lines."""
    if not digit_height:
        return []
    parts = [part for part in _join(parts, digit_height) if _has_digit_size(part, digit_height)]
    typical_darkness = _weighted_median([part.darkness for part in parts], parts)
    # Much fainter parts are remains of rules, shadows, stains
    parts = [part for part in parts if part.darkness > MIN_DARKNESS * typical_darkness]
    lines = [_read_line(line, classify, digit_height, typical_darkness) for line in group_into_lines(parts)]
    return [line for line in lines if line]


def _rescale(lines: list[list[Digit]], factor: float) -> list[list[Digit]]:
    return [[replace(digit, box=_scale_box(digit.box, factor)) for digit in line] for line in lines]


def _scale_box(box: Box, factor: float) -> Box:
    left, top, right, bottom = (round(factor * side) for side in box)
    return left, top, right, bottom


def _flat(lines: list[list[Digit]]) -> list[Digit]:
    return [digit for line in lines for digit in line]


def _count_confident(lines: list[list[Digit]]) -> int:
    """The number of digits that are read with high confidence."""
    return sum(digit.confidence >= SURE_CONFIDENCE for digit in _flat(lines))


def _is_remnant(small: Digit, large: list[list[Digit]]) -> bool:
    """Whether a small digit is only a piece of a large one: the edge of its stroke, or dust next to it."""
    x, y = (small.box[0] + small.box[2]) / 2, (small.box[1] + small.box[3]) / 2
    for left, top, right, bottom in (digit.box for digit in _flat(large)):
        edge = 0.05 * (bottom - top)
        if left - edge <= x <= right + edge and top - edge <= y <= bottom + edge:
            return True
        if small.box[3] - small.box[1] < edge:
            return True
    return False


# Parts


def _find_parts(gray: Gray, widest: float = WIDEST_STROKE) -> tuple[list[InkPart], float]:
    """The connected parts of the ink, without those at borders and along edges; and the typical height of a digit."""
    ink, sheet, edge = find_ink(gray, widest)
    labels, count = ndimage.label(ink > 0, np.ones((3, 3)))
    inked = labels > 0
    darkest = np.zeros(count + 1, ink.dtype)
    np.maximum.at(darkest, labels[inked], ndimage.uniform_filter(ink, 3)[inked])
    labels, count = ndimage.label(ink > CORE_INK * darkest[labels], np.ones((3, 3)))
    inside = ndimage.binary_erosion(sheet, np.ones((3, 3)))  # excludes the image's border
    outside = set(labels[~inside & (labels > 0)].tolist())
    parts, border = [], BORDER * min(ink.shape)
    boxes = ndimage.find_objects(labels)
    lengths = np.array([max(extent.stop - extent.start for extent in box) for box in boxes])
    outside |= _surplus_specks(lengths)
    for number, box_slices in enumerate(boxes, start=1):
        rows, columns = box_slices
        if number in outside or lengths[number - 1] < 3:
            continue
        if any(
            min(extent.stop, side - extent.start) < border for extent, side in zip(box_slices, ink.shape, strict=True)
        ):
            continue
        padded_box = (slice(rows.start - 1, rows.stop + 1), slice(columns.start - 1, columns.stop + 1))
        nearby = labels[padded_box]
        pixels = ndimage.binary_dilation(nearby == number, np.ones((3, 3))) & np.isin(nearby, (0, number))
        if edge[box_slices][labels[box_slices] == number].mean() < EDGE_FRACTION:
            parts.append(InkPart(padded_box[0].start, padded_box[1].start, np.where(pixels, ink[padded_box], 0)))
    return parts, _typical_height(parts)


def _surplus_specks(lengths: NDArray[np.int64]) -> set[int]:
    """The labels (from 1) of all specks but the `MAX_SPECKS` longest."""
    specks = np.flatnonzero(lengths < MIN_DIGIT_PIXELS / 2)
    longest_first = specks[np.argsort(-lengths[specks], kind="stable")]
    return set((1 + longest_first[MAX_SPECKS:]).tolist())


def _typical_height(parts: Iterable[InkPart]) -> float:
    """The median height, weighted by ink, of parts that may be digits; 0 if there are none."""
    likely = _digit_candidates(parts)
    return _weighted_median([p.height for p in likely], likely)


def _digit_candidates(parts: Iterable[InkPart]) -> list[InkPart]:
    """The parts that may be digits by shape."""
    return [p for p in parts if p.height >= MIN_DIGIT_PIXELS and p.height > 0.4 * p.width and _is_stroke(p)]


def _weighted_median(values: Sequence[float], parts: Sequence[InkPart]) -> float:
    """The median of the parts' values weighted by their ink, so that many specks do not dominate."""
    if not values:
        return 0.0
    order = np.argsort(values)
    mass = np.cumsum([parts[i].ink.sum() for i in order])
    return float(values[order[np.searchsorted(mass, mass[-1] / 2)]])


def _is_stroke(part: InkPart) -> bool:
    """Whether a part is neither too thick for its size, like a blot, nor too thin, like a frame or a long line."""
    return MIN_THICKNESS < part.thickness / max(part.height, part.width) < MAX_THICKNESS and not _is_frame(part)


def _is_frame(part: InkPart) -> bool:
    """Whether a part is a thin outline along all sides of its box, empty inside, and too wide for a 1."""
    if part.thickness > FRAME_THICKNESS * max(part.height, part.width):
        return False
    down, across = max(3, round(FRAME_MARGIN * part.height)), max(3, round(FRAME_MARGIN * part.width))
    if part.width < 0.4 * part.height or part.ink[2 * down : -2 * down, 2 * across : -2 * across].any():
        return False
    inked = part.ink > 0
    sides = inked[:down].any(0), inked[-down:].any(0), inked[:, :across].any(1), inked[:, -across:].any(1)
    return all(float(side.mean()) > FRAME_COVERAGE for side in sides)


def _has_digit_size(part: InkPart, digit_height: float) -> bool:
    """Whether a part may be a digit, or several touching ones, given the typical height of a digit."""
    fits = (
        MIN_HEIGHT * digit_height <= part.height <= MAX_HEIGHT * digit_height and part.width <= MAX_WIDTH * digit_height
    )
    return fits and part.sharpness > MIN_SHARPNESS and part.height > 0.3 * part.width and _is_stroke(part)


# Joining and cutting


def _join(parts: Sequence[InkPart], digit_height: float) -> list[InkPart]:
    """Join the pieces of each digit whose strokes have gaps."""
    pieces = sorted(
        (p for p in parts if max(p.height, p.width) >= SPECK_HEIGHT * digit_height), key=lambda p: -p.height
    )
    joined: list[InkPart] = []
    boxes = np.zeros((4, len(pieces)))  # left, top, right, bottom of the joined parts
    for piece in pieces:  # tallest first, so that small pieces are added to existing digits
        gaps = _gaps(piece, boxes[:, : len(joined)])
        near = np.flatnonzero(gaps <= MAX_GAP * digit_height)
        fitting = (
            i for i in near[np.argsort(gaps[near], kind="stable")] if _belong_together(piece, joined[i], digit_height)
        )
        index = next(fitting, len(joined))
        if index == len(joined):
            joined.append(piece)
        else:
            joined[index] = _union(joined[index], piece)
        boxes[:, index] = joined[index].left, joined[index].top, joined[index].right, joined[index].bottom
    return joined


def _gaps(part: InkPart, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """The distances of a part's box from other boxes (4, N): left, top, right, bottom; 0 if they touch or overlap."""
    across = np.maximum(part.left, boxes[0]) - np.minimum(part.right, boxes[2])
    down = np.maximum(part.top, boxes[1]) - np.minimum(part.bottom, boxes[3])
    return np.asarray(np.hypot(np.maximum(across, 0), np.maximum(down, 0)))


def _belong_together(piece: InkPart, part: InkPart, digit_height: float) -> bool:
    """Whether a nearby piece may belong to the same digit, by their joint size, ink and relative position."""
    height = max(piece.bottom, part.bottom) - min(piece.top, part.top)
    width = max(piece.right, part.right) - min(piece.left, part.left)
    if height > TALLEST_JOINED * digit_height or width > WIDEST_JOINED * max(digit_height, part.width):
        return False
    if piece.darkness < 0.4 * part.darkness:
        return False
    overlap = (min(piece.right, part.right) - max(piece.left, part.left)) / min(piece.width, part.width)
    if overlap > 0.5:  # one above the other
        return True
    if piece.height >= PIECE_HEIGHT * digit_height or max(piece.height, piece.width) <= 0.25 * digit_height:
        return False
    return (
        overlap > 0.15 or piece.height < 0.5 * piece.width or piece.width < 0.15 * digit_height
    )  # else a small digit next to it


def _union(one: InkPart, other: InkPart) -> InkPart:
    top, left = min(one.top, other.top), min(one.left, other.left)
    ink = np.zeros((max(one.bottom, other.bottom) - top, max(one.right, other.right) - left), one.ink.dtype)
    for part in (one, other):
        here = ink[part.top - top : part.bottom - top, part.left - left : part.right - left]
        np.maximum(here, part.ink, out=here)
    return InkPart(top, left, ink)


def _cuts(part: InkPart) -> list[tuple[InkPart, InkPart]]:
    """Ways to cut a part in two vertically: through a single stroke, where there is least ink."""
    stroke = part.ink > 0.5 * part.darkness
    ink = ndimage.uniform_filter1d(stroke.sum(axis=0, dtype=float), 3)  # (width,)
    single_stroke = (
        np.abs(np.diff(stroke.astype(int), axis=0, prepend=0, append=0)).sum(axis=0) <= 2
    )  # columns crossed by one stroke
    low, high = round(0.2 * part.width), round(0.8 * part.width)
    cuts = [x for x in range(low, high) if single_stroke[x] and ink[x] == ink[max(0, x - 3) : x + 4].min()]
    cuts = [x for x in cuts if ink[x] < MAX_JOINT_THICKNESS * part.height]
    halves = []
    for x in sorted(cuts, key=lambda x: float(ink[x]))[:3]:
        left, right = _crop_columns(part, 0, x), _crop_columns(part, x, part.width)
        if left and right and min(left.height, right.height) > 0.5 * part.height:
            halves.append((left, right))
    return halves


def _crop_columns(part: InkPart, start: int, stop: int) -> InkPart | None:
    """The columns from `start` to `stop`, cropped to their ink; None if there is none."""
    ink = part.ink[:, start:stop]
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    if not rows.size:
        return None
    top, left = int(rows[0]), int(columns[0])
    return InkPart(part.top + top, part.left + start + left, ink[top : rows[-1] + 1, left : columns[-1] + 1])


# Reading


def _read_line(
    line: Sequence[InkPart], classify: Classifier, digit_height: float, typical_darkness: float
) -> list[Digit]:
    """Read the digits of a line, splitting touching digits and dropping parts that are not digits.

    Args:
        line: the parts of the line.
        classify: the network.
        digit_height: the typical height of a digit on the page.
        typical_darkness: the typical darkness of ink on the page.
    """
    line_height = float(np.median([part.height for part in line]))
    digits: list[Digit] = []
    for part, digit in zip(line, _read(line, classify), strict=True):
        for piece, candidate in _split_touching(part, digit, classify):
            unsure = candidate.confidence < SURE_CONFIDENCE
            unusual = not all(0.6 * height <= piece.height <= 2.0 * height for height in (line_height, digit_height))
            if not (unsure and (unusual or piece.darkness < 0.5 * typical_darkness)):
                digits.append(candidate)
    return digits


def _read(parts: Sequence[InkPart], classify: Classifier) -> list[Digit]:
    images = np.stack([_image(part) for part in parts])
    probabilities = classify(images)  # (N, classes)
    digits = []
    for part, image, row in zip(parts, images, probabilities, strict=True):
        best = int(row.argmax())
        # A part includes one pixel of soft edge all around, the digit's box does not.
        box = (part.left + 1, part.top + 1, part.right - 1, part.bottom - 1)
        digits.append(Digit(best, float(row[best]), box, image))
    return digits


def _image(part: InkPart) -> NDArray[np.uint8]:
    """A part in MNIST's format, with its ink scaled so that strokes are 1."""
    full = part.darkness
    start = 0.15 * full
    return ink_to_mnist(np.pad(np.clip((part.ink - start) / (full - start), 0, 1), 2))


def _split_touching(
    part: InkPart, whole: Digit, classify: Classifier, cuts_left: int = 3
) -> list[tuple[InkPart, Digit]]:
    """Cut a part that is too wide for one digit, if the pieces are read with more confidence than the whole.

    The pieces are cut again in the same way, at most `cuts_left` times in succession.
    """
    aspect = part.width / part.height
    if not cuts_left or aspect < 1.1 or (aspect < 1.4 and whole.confidence > 0.8):
        return [(part, whole)]
    best, min_confidence = None, SURE_CONFIDENCE if aspect < 1.4 else 0.7 * whole.confidence
    for halves in _cuts(part):
        digits = _read(halves, classify)
        confidence = min(digit.confidence for digit in digits)
        if confidence > min_confidence:
            best, min_confidence = list(zip(halves, digits, strict=True)), confidence
    if best is None:
        return [(part, whole)]
    return [piece for half, digit in best for piece in _split_touching(half, digit, classify, cuts_left - 1)]
