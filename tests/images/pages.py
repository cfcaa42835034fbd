"""Synthetic photos of handwritten pages: MNIST's test digits as ink on paper, lit, rotated, blurred.

    page = make_page(seed)
    page.image                # a Pillow image, decoded from JPEG
    page.lines[0][2].label    # the third digit of the first line
    page.lines[0][2].box      # its position: left, top, right, bottom, in pixels

The same seed gives the same page. Pages have white, gray or cream paper, plain, ruled or squared; pencil, blue or black
pen, or marker; often a desk around the sheet; and shadows, blots and noise.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image
from scipy import ndimage

from chainrule.data import mnist

PAPERS = {"white": (0.95, 0.95, 0.94), "gray": (0.66, 0.66, 0.67), "cream": (0.94, 0.90, 0.78)}
PENS = {  # brightness of the ink in red, green and blue; stroke width relative to MNIST
    "faint pencil": ((0.62, 0.62, 0.63), -0.05),
    "pencil": ((0.42, 0.42, 0.44), -0.05),
    "blue pen": ((0.16, 0.24, 0.62), -0.05),
    "black pen": ((0.16, 0.16, 0.17), -0.05),
    "marker": ((0.06, 0.06, 0.07), 0.15),
}


@dataclass(frozen=True)
class Written:
    """A digit on a page."""

    label: int
    box: tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True, eq=False)
class Page:
    """A photo, the digits on it, and its parameters."""

    image: Image.Image
    lines: list[list[Written]]
    kind: str


@cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    data = mnist()
    return data.test_images, data.test_labels


def stroke(image: np.ndarray, height: int, wider: float) -> np.ndarray:
    """A 28×28 digit with sharp edges, cropped and scaled to `height` pixels; 1 is full ink."""
    rows, columns = np.nonzero(image > 40)
    part = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] / 255
    part = np.pad(part, 1)
    scale = height / (part.shape[0] - 2)
    large = ndimage.zoom(part, scale, order=3, mode="grid-constant", grid_mode=True)
    return np.clip(0.5 + max(0.5 * scale, 2) * (large - 0.45 + wider), 0, 1).astype(np.float32)


def make_page(
    seed: int,
    *,
    paper: str | None = None,
    pen: str | None = None,
    rules: str | None = None,
    desk: bool | None = None,
    shadow: bool | None = None,
    width: int | None = None,
    lines: int | None = None,
    shade: float | None = None,
) -> Page:
    """A photo of a page; parameters that are None are drawn from the seed.

    Args:
        seed: of all random choices.
        paper: a name in `PAPERS`.
        pen: a name in `PENS`.
        rules: "none", "ruled" or "squared".
        desk: whether the photo shows a desk around the sheet.
        shadow: whether a shadow with an edge falls on the sheet.
        width: the width of the photo, in pixels.
        lines: the largest number of lines.
        shade: the brightness of the desk, from 0 to 1; if None, between 0.1 and 0.4.
    """
    random = np.random.default_rng(seed)
    pick = lambda names: str(random.choice(list(names)))  # noqa: E731
    chances = [
        ("paper", paper, pick(PAPERS)),
        ("pen", pen, pick(PENS)),
        ("rules", rules, str(random.choice(["none", "ruled", "squared"], p=[0.5, 0.3, 0.2]))),
        ("desk", desk, bool(random.random() < 0.5)),
        ("shadow", shadow, bool(random.random() < 0.4)),
        ("width", width, int(random.integers(800, 3001))),
        ("lines", lines, int(random.integers(1, 8))),
    ]
    chosen = {name: drawn if value is None else value for name, value, drawn in chances}
    width = chosen["width"]
    height = int(width * random.choice([0.75, 4 / 3]))
    if height > 3000:
        height = int(width * 0.75)
    ink, written, pitch = _write(random, (height, width), chosen["pen"], chosen["lines"])
    sheet = _sheet(random, ink, chosen, pitch)
    photo, map_box = _lay_on_desk(random, sheet, chosen["desk"], shade)
    photo *= _light(random, photo.shape[:2], chosen["shadow"])[..., None]
    photo = ndimage.gaussian_filter(photo, (random.uniform(0.3, 0.7 + width / 2500),) * 2 + (0,))
    photo += random.normal(0, random.uniform(0.003, 0.02), photo.shape).astype(np.float32)
    file = io.BytesIO()
    Image.fromarray((photo.clip(0, 1) * 255).astype(np.uint8)).save(file, "JPEG", quality=int(random.integers(50, 96)))
    moved = [[Written(digit.label, map_box(digit.box)) for digit in line] for line in written]
    kind = ", ".join(f"{name} {value}" for name, value in chosen.items())
    return Page(Image.open(file), moved, kind)


def _write(random, shape, pen, most):
    """Write lines of digits; returns the ink (height, width) and the digits' positions."""
    images, labels = _digits()
    height, width = shape
    ink = np.zeros(shape, np.float32)
    size = max(30, random.uniform(0.035, 0.1) * min(shape))
    spacing, written = random.uniform(0.15, 0.8), []
    y = 0.12 * height
    for _ in range(most):
        line, here = [], size * random.uniform(0.85, 1.2)
        if y + 1.3 * here > 0.88 * height:
            break
        x = width * random.uniform(0.1, 0.2)
        for _ in range(random.integers(3, 15)):
            index = int(random.integers(len(images)))
            drawn = stroke(images[index], max(24, round(here * random.uniform(0.85, 1.15))), PENS[pen][1])
            tall, wide = drawn.shape
            left, top = int(x), int(y + random.uniform(-0.08, 0.08) * here)
            if left + wide > 0.88 * width:
                break
            field = ink[top : top + tall, left : left + wide]
            np.maximum(field, drawn, out=field)
            rows, columns = np.nonzero(drawn > 0.5)
            box = (left + columns.min(), top + rows.min(), left + columns.max() + 1, top + rows.max() + 1)
            line.append(Written(int(labels[index]), box))
            chance = random.random()
            if chance < 0.02:  # the next digit touches it, or nearly
                x += wide - 3
            else:
                x += wide + here * max(0.06, spacing * random.uniform(0.5, 1.5)) + (here if chance > 0.9 else 0)
        if line:
            written.append(line)
        y += here * random.uniform(1.5, 2.2)
    return ink, written, size


def _sheet(random, ink, chosen, size):
    """The colors of the sheet (height, width, 3): paper texture, rules, ink, and some blots."""
    height, width = ink.shape
    grain = ndimage.gaussian_filter(random.normal(0, 1, ink.shape).astype(np.float32), 1.5)
    sheet = np.asarray(PAPERS[chosen["paper"]], np.float32) * (1 + 0.02 * grain)[..., None]
    faint = np.float32(random.uniform(0.08, 0.25))
    line = np.asarray((faint, 0.7 * faint, 0.4 * faint), np.float32)  # a light blue
    pitch, thick = size * random.uniform(0.5, 1.8), max(1, round(width / 900))
    if chosen["rules"] != "none":
        for y in np.arange(pitch / 2, height - thick, pitch).astype(int):
            sheet[y : y + thick] *= 1 - line
        if chosen["rules"] == "squared":
            for x in np.arange(pitch / 2, width - thick, pitch).astype(int):
                sheet[:, x : x + thick] *= 1 - line
    if "pencil" in chosen["pen"]:
        ink = ink * np.clip(1 + 0.25 * grain / grain.std(), 0.3, 1)
    color = np.asarray(PENS[chosen["pen"]][0], np.float32) * np.float32(random.uniform(0.9, 1.05))
    sheet *= 1 - ink[..., None] * (1 - color)
    y, x = np.ogrid[:height, :width]
    for _ in range(random.integers(0, 3)):  # blots below all lines
        radius, down, across = random.uniform(0.1, 0.4) * size, random.uniform(0.9, 0.95), random.uniform(0.1, 0.9)
        blot = np.hypot(y - down * height, (x - across * width) / random.uniform(0.7, 1.4)) < radius
        sheet[blot] *= color
    for _ in range(random.integers(0, 30)):  # dust
        down, across, wide = int(random.integers(height)), int(random.integers(width)), max(1, width // 800)
        sheet[down : down + wide, across : across + wide] *= 0.5
    return sheet


def _lay_on_desk(random, sheet, desk, shade):
    """Take a slightly rotated photo in perspective; returns it and a function that maps boxes to the photo."""
    height, width = sheet.shape[:2]
    angle = np.deg2rad(random.uniform(-4, 4))
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], float)
    middle = np.array([width, height]) / 2
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    scale = random.uniform(0.82, 0.9) if desk else 1.18
    target = middle + scale * (corners - middle) @ turn.T
    target += random.uniform(-0.015, 0.015, (4, 2)) * (width, height)
    dark = random.uniform(0.1, 0.4)
    shade = (dark if shade is None else shade) * np.asarray(
        random.choice([(1.2, 1.0, 0.7), (1.0, 1.0, 1.0), (0.7, 0.9, 1.2)])
    )
    wood = random.normal(0, 1, (height, width)).astype(np.float32)
    wood = ndimage.uniform_filter1d(ndimage.gaussian_filter(wood, 2), 61, axis=1)
    wood = (1 + random.uniform(0, 0.15) * wood / wood.std())[..., None] * shade.astype(np.float32)
    there, back = _homography(corners, target), _homography(target, corners)
    warped = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(channel)).transform(
                (width, height), Image.Transform.PERSPECTIVE, back.ravel()[:8], Image.Resampling.BILINEAR, fillcolor=-1
            )
        )
        for channel in np.moveaxis(sheet, 2, 0)
    ]
    photo = np.stack(warped, axis=2)
    photo = np.where(photo < 0, wood, photo)

    def map_box(box):
        left, top, right, bottom = box
        points = np.array([(left, top, 1), (right, top, 1), (right, bottom, 1), (left, bottom, 1)]) @ there.T
        x, y = (points[:, :2] / points[:, 2:]).T
        return float(x.min()), float(y.min()), float(x.max()), float(y.max())

    return photo, map_box


def _homography(source, target):
    """The 3×3 matrix that maps four points (x, y, 1) to four others."""
    rows, wanted = [], []
    for (x, y), (u, v) in zip(source, target, strict=True):
        rows += [(x, y, 1, 0, 0, 0, -u * x, -u * y), (0, 0, 0, x, y, 1, -v * x, -v * y)]
        wanted += [u, v]
    return np.append(np.linalg.solve(rows, wanted), 1).reshape(3, 3)


def _light(random, shape, shadow):
    """The lighting (height, width): a gradient, dark corners, and optionally the edge of a shadow."""
    y, x = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None], np.linspace(-1, 1, shape[1], dtype=np.float32)
    angle = random.uniform(0, 2 * np.pi)
    light = 0.85 + random.uniform(0, 0.2) * (np.cos(angle) * x + np.sin(angle) * y)
    light *= 1 - random.uniform(0, 0.15) * (x**2 + y**2)
    if shadow:
        angle, sharp = random.uniform(0, 2 * np.pi), random.uniform(0.005, 0.2)
        across = np.cos(angle) * x + np.sin(angle) * y - random.uniform(-0.5, 0.8)
        light *= 1 - random.uniform(0.2, 0.5) / (1 + np.exp(-np.clip(across / sharp, -50, 50)))
    return light.astype(np.float32)


@dataclass
class Score:
    """Counts for the digits of one page, or of several."""

    written: int = 0
    matched: int = 0  # digits with a box whose intersection over union is above 0.4
    right: int = 0  # matched digits that are read correctly and with enough confidence
    false: int = 0  # boxes that match no digit
    pages: int = 0
    in_order: int = 0  # pages whose lines have the right numbers of digits

    def __add__(self, other: Score) -> Score:
        return Score(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    def __str__(self) -> str:
        return (
            f"{self.written} digits on {self.pages} pages: {self.matched / max(1, self.written):.2%} found, "
            f"{self.right / max(1, self.matched):.2%} of those read right, {self.false / max(1, self.pages):.2f} false "
            f"detections per page; all lines as written on {self.in_order} pages"
        )


def score(page: Page, lines, least: float = 0.5) -> Score:
    """Compare the digits on a page with the detected lines; digits with confidence below `least` count as wrong."""
    left_over = [digit for line in lines for digit in line]
    result = Score(pages=1, in_order=int([len(line) for line in page.lines] == [len(line) for line in lines]))
    for written in (digit for line in page.lines for digit in line):
        result.written += 1
        best = max(left_over, key=lambda digit: in_common(digit.box, written.box), default=None)
        if best is not None and in_common(best.box, written.box) > 0.4:
            left_over.remove(best)
            result.matched += 1
            result.right += best.digit == written.label and best.confidence >= least
    result.false = len(left_over)
    return result


def in_common(one, other) -> float:
    """The intersection over union of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(right - left) * (bottom - top) for left, top, right, bottom in (one, other)]
    return width * height / (sum(areas) - width * height)
