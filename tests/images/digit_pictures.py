"""Synthetic pictures of one digit in many situations: MNIST's test digits, on paper and on screens.

    picture, label = make_picture("thin box", 3)    # the situation's third picture, a Pillow image, and its digit

The same situation and number give the same picture. Pictures show the faults that photos, scans, screenshots and
drawing programs have; each situation is a function of a random generator and a 28×28 digit.
"""

from __future__ import annotations

import io
import zlib
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from chainrule.data import mnist

if TYPE_CHECKING:
    from collections.abc import Callable

Random = np.random.Generator
WHITE = np.ones(3, np.float32)
COLORS = {
    "red": (214, 30, 40),
    "green": (30, 150, 60),
    "blue": (25, 60, 190),
    "yellow": (250, 220, 40),
    "orange": (245, 140, 20),
    "purple": (120, 40, 160),
    "cyan": (40, 190, 220),
    "pink": (250, 150, 190),
    "brown": (110, 70, 40),
    "black": (20, 20, 22),
    "white": (250, 250, 250),
    "gray": (128, 128, 128),
}


@cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    data = mnist()
    return data.test_images, data.test_labels


def make_picture(situation: str, number: int) -> tuple[Image.Image, int]:
    """The picture of a situation with this number, and the digit it shows."""
    random = np.random.default_rng([zlib.crc32(situation.encode()), number])
    index = int(random.integers(len(_digits()[0])))
    return SITUATIONS[situation](random, _digits()[0][index]), int(_digits()[1][index])


# Ink and paper


def stroke(image: np.ndarray, height: int, wider: float = 0.0) -> np.ndarray:
    """A 28×28 digit with sharp edges, its longer side `height` pixels; 1 is full ink. `wider` widens the strokes."""
    rows, columns = np.nonzero(image > 40)
    part = np.pad(image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] / np.float32(255), 2)
    scale = height / (max(part.shape) - 4)
    shape = (max(1, round(scale * part.shape[1])), max(1, round(scale * part.shape[0])))
    large = np.asarray(Image.fromarray(part).resize(shape, Image.Resampling.BICUBIC))
    large = ndimage.gaussian_filter(large, 0.25 * scale) if scale > 3 else large
    return np.clip(0.5 + max(0.5 * scale, 5) * (large - 0.42 + min(wider, 0.3)), 0, 1)


def place(ink: np.ndarray, shape: tuple[int, int], random: Random, margin: float = 0.06) -> np.ndarray:
    """The ink somewhere on an empty field of `shape` (height, width), at least a fraction `margin` from its border."""
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    free = [int((side - extent) * (1 - 2 * margin)) for side, extent in zip(shape, ink.shape, strict=True)]
    start = [
        int((side - extent) * margin) + int(random.integers(max(1, room)))
        for side, extent, room in zip(shape, ink.shape, free, strict=True)
    ]
    field = np.zeros(shape, np.float32)
    field[start[0] : start[0] + ink.shape[0], start[1] : start[1] + ink.shape[1]] = ink
    return field


def pressure(ink: np.ndarray, random: Random, least: float) -> np.ndarray:
    """Ink that grows fainter, down to `least`, in some parts of the strokes."""
    field = random.normal(size=ink.shape).astype(np.float32)
    field = ndimage.gaussian_filter(field, 0.09 * max(ink.shape))
    low, high = np.percentile(field[ink > 0.3], [15, 75])
    return ink * (least + (1 - least) * np.clip((field - low) / (high - low), 0, 1))


def field_of(random: Random, image: np.ndarray, side: int, size: float, wider: float = 0.0) -> np.ndarray:
    """A field of about `side` pixels with a digit of `size`, a fraction of its shorter side."""
    shape = (side, max(24, round(side * random.uniform(0.75, 1.33))))
    return place(stroke(image, max(10, round(size * min(shape))), wider), shape, random)


def paint(ink: np.ndarray, pen: np.ndarray, paper: np.ndarray) -> np.ndarray:
    """Colors (height, width, 3) of ink on paper."""
    return paper * (1 - ink[..., None]) + ink[..., None] * np.asarray(pen, np.float32)


def light(random: Random, shape: tuple[int, int], strength: float = 0.35) -> np.ndarray:
    """Uneven light (height, width): a gradient and dark corners."""
    y, x = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None], np.linspace(-1, 1, shape[1], dtype=np.float32)
    angle = random.uniform(0, 2 * np.pi)
    gradient = 1 - random.uniform(0, strength) * (1 + np.cos(angle) * x + np.sin(angle) * y) / 2
    return gradient * (1 - random.uniform(0, 0.6 * strength) * ((x - 0.2) ** 2 + (y + 0.1) ** 2))


def photograph(random: Random, colors: np.ndarray, blur: float = 0.004, noise: float = 0.02, least: int = 55):
    """A photo of flat colors: light, blur (relative to the size), noise, JPEG."""
    colors = np.broadcast_to(colors, (*colors.shape[:2], 3)) * light(random, colors.shape[:2])[..., None]
    sigma = random.uniform(0.2, 0.5 + blur * min(colors.shape[:2]))
    colors = ndimage.gaussian_filter(colors, (sigma, sigma, 0))
    colors = colors + random.normal(0, random.uniform(0.003, noise), colors.shape).astype(np.float32)
    return jpeg(flat(colors), int(random.integers(least, 96)))


def flat(colors: np.ndarray) -> Image.Image:
    """An image of colors (height, width, 3) or gray values (height, width)."""
    values = np.rint(255 * np.clip(colors, 0, 1)).astype(np.uint8)
    return Image.fromarray(values)


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    """An image after JPEG compression."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def _paper(random: Random) -> np.ndarray:
    return np.asarray(random.choice([(0.96, 0.96, 0.95), (0.7, 0.7, 0.72), (0.95, 0.91, 0.8), (0.85, 0.88, 0.92)]), "f")


def _pen(random: Random) -> np.ndarray:
    return np.asarray(random.choice([(0.1, 0.1, 0.12), (0.15, 0.2, 0.55), (0.4, 0.4, 0.42), (0.6, 0.12, 0.15)]), "f")


def _size(random: Random) -> float:
    return random.uniform(0.3, 0.85)


# Situations


def scan(random: Random, image: np.ndarray) -> Image.Image:
    """Black on white, as scanned or exported."""
    return flat(1 - 0.9 * field_of(random, image, int(random.integers(60, 700)), _size(random)))


def photo(random: Random, image: np.ndarray) -> Image.Image:
    """A photo of paper under uneven light."""
    ink = field_of(random, image, int(random.integers(150, 900)), _size(random), random.uniform(-0.1, 0.1))
    return photograph(random, paint(ink, _pen(random), _paper(random)))


def shadows(random: Random, image: np.ndarray) -> Image.Image:
    """Shadows with edges, strong vignettes."""
    ink = field_of(random, image, int(random.integers(150, 700)), _size(random))
    y, x = np.linspace(-1, 1, ink.shape[0])[:, None], np.linspace(-1, 1, ink.shape[1])
    angle, sharp = random.uniform(0, 2 * np.pi), random.uniform(0.01, 0.2)
    across = np.cos(angle) * x + np.sin(angle) * y - random.uniform(-0.6, 0.6)
    shade = 1 - random.uniform(0.2, 0.55) / (1 + np.exp(-np.clip(across / sharp, -50, 50)))
    shade *= 1 - random.uniform(0, 0.5) * (x**2 + y**2) / 2
    return photograph(random, paint(ink, _pen(random), _paper(random)) * shade[..., None].astype(np.float32))


def thin_box(random: Random, image: np.ndarray) -> Image.Image:
    """A printed thin box around the digit, with paper outside."""
    side = int(random.integers(80, 500))
    ink = np.pad(field_of(random, image, side, random.uniform(0.4, 0.75)), int(random.uniform(0.03, 0.25) * side))
    pad = (ink.shape[0] - side) // 2
    for _ in range(int(random.integers(1, 3))):
        _outline(ink, pad, max(1, round(random.uniform(0.004, 0.02) * side)), random.uniform(0.5, 1))
        pad = max(1, pad - max(4, side // 20))
    return flat(1 - 0.9 * ink) if random.random() < 0.5 else photograph(random, 1 - 0.8 * ink[..., None])


def _outline(ink: np.ndarray, pad: int, pen: int, dark: float) -> None:
    """Draw a box `pad` pixels inside the border."""
    height, width = ink.shape
    box = np.zeros_like(ink)
    box[pad : height - pad, pad : width - pad] = dark
    box[pad + pen : height - pad - pen, pad + pen : width - pad - pen] = 0
    np.maximum(ink, box, out=ink)


def border(random: Random, image: np.ndarray) -> Image.Image:
    """A dark border along all or some sides, as scans and exported plots have."""
    colors = 1 - 0.9 * field_of(random, image, int(random.integers(60, 400)), random.uniform(0.4, 0.8))
    sides = random.random(4) < random.choice([0.5, 1.0])
    for turn, on in enumerate(sides):
        wide = max(1, round(random.uniform(0.005, 0.1) * min(colors.shape)))
        np.rot90(colors, turn)[:wide] = random.uniform(0, 0.5) if on else 1
    return flat(colors) if random.random() < 0.5 else jpeg(flat(colors), 80)


def drawn_frame(random: Random, image: np.ndarray) -> Image.Image:
    """A frame drawn by hand, rounded, crooked or with a gap, or a circle."""
    side = int(random.integers(150, 500))
    digit = field_of(random, image, side, random.uniform(0.35, 0.6))
    frame = Image.new("L", (2 * digit.shape[1], 2 * digit.shape[0]))
    pen = ImageDraw.Draw(frame)
    rows, columns = np.nonzero(digit > 0.3)
    gap = 0.1 * side + random.uniform(0.0, 0.1, 4) * side
    left, top = columns.min() - gap[0], rows.min() - gap[1]
    right, bottom = columns.max() + gap[2], rows.max() + gap[3]
    kind, width = random.integers(3), max(2, round(2 * random.uniform(0.006, 0.025) * side))
    if kind == 0:
        corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom), (left, top)])
        corners += random.normal(0, 0.015 * side, corners.shape)
        pen.line([tuple(2 * corner) for corner in corners], fill=255, width=width)
    elif kind == 1:
        box = tuple(2 * value for value in (left, top, right, bottom))
        pen.rounded_rectangle(box, 0.3 * side, outline=255, width=width)
    else:
        middle, radius = ((left + right) / 2, (top + bottom) / 2), 0.72 * max(right - left, bottom - top)
        start = random.uniform(0, 360)
        box = (2 * (middle[0] - radius), 2 * (middle[1] - radius), 2 * (middle[0] + radius), 2 * (middle[1] + radius))
        pen.arc(box, start, start + random.uniform(300, 360), fill=255, width=width)
    ink = np.maximum(digit, np.asarray(frame.reduce(2), np.float32) / 255)
    return photograph(random, paint(ink, _pen(random), _paper(random)))


def axes(random: Random, image: np.ndarray) -> Image.Image:
    """A plot of the digit's pixels, with axes, ticks and numbers."""
    side = int(random.integers(180, 420))
    cells = side // 28
    panel = np.kron(image / 255, np.ones((cells, cells)))
    panel = 1 - panel if random.random() < 0.4 else panel
    left, bottom = int(side * random.uniform(0.12, 0.25)), int(side * random.uniform(0.1, 0.2))
    colors = np.pad(panel, ((int(0.1 * side), bottom), (left, int(0.08 * side))), constant_values=1)
    picture = flat(colors).convert("L")
    pen = ImageDraw.Draw(picture)
    x0, y0, x1, y1 = left, int(0.1 * side), left + panel.shape[1], int(0.1 * side) + panel.shape[0]
    pen.rectangle((x0 - 1, y0 - 1, x1, y1), outline=0)
    for tick in range(0, 28, 5):
        x, y = x0 + tick * cells + cells // 2, y0 + tick * cells + cells // 2
        pen.line((x, y1, x, y1 + 4), 0)
        pen.line((x0 - 5, y, x0 - 1, y), 0)
        pen.text((x, y1 + 5), str(tick), 0, anchor="mt")
        pen.text((x0 - 7, y), str(tick), 0, anchor="rm")
    return picture


def transparent(random: Random, image: np.ndarray) -> Image.Image:
    """Strokes of any color, white above all, on a transparent canvas."""
    ink = field_of(random, image, int(random.integers(80, 500)), _size(random))
    color = random.choice([(255, 255, 255), (255, 255, 255), (0, 0, 0), (230, 230, 230), (250, 220, 40), (200, 0, 0)])
    canvas = np.empty((*ink.shape, 4), np.uint8)
    canvas[..., :3] = color if random.random() < 0.7 else np.where(ink[..., None] > 0, color, 0)
    canvas[..., 3] = np.rint(255 * ink)
    return Image.fromarray(canvas)


def colored(random: Random, image: np.ndarray) -> Image.Image:
    """Any pen on any paper, of equal luminance in half of the pictures."""
    ink = field_of(random, image, int(random.integers(80, 500)), _size(random))
    if random.random() < 0.5:
        pen, paper = (np.array(COLORS[name], np.float32) / 255 for name in random.choice([*COLORS][:9], 2, False))
        weights = np.array([0.299, 0.587, 0.114])
        paper = np.clip(paper * (weights @ pen) / (weights @ paper), 0, 1)
    else:
        pen, paper = (np.array(COLORS[name], np.float32) / 255 for name in random.choice([*COLORS], 2, False))
    if np.abs(pen - paper).max() < 0.15:
        paper = 0.3 + 0.5 * paper[::-1]
    colors = paint(ink, pen, paper)
    return flat(colors) if random.random() < 0.5 else jpeg(flat(colors), int(random.integers(60, 96)))


def tight(random: Random, image: np.ndarray) -> Image.Image:
    """A crop in which the digit touches the border, or nearly."""
    ink = stroke(image, int(random.integers(40, 400)), random.uniform(-0.05, 0.15))
    rows, columns = np.flatnonzero((ink > 0.5).any(1)), np.flatnonzero((ink > 0.5).any(0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    margins = np.rint(random.choice([0, 0, 0.02, 0.05], 4) * max(ink.shape)).astype(int)
    if ink.shape[1] < 0.35 * ink.shape[0]:  # a bar that fills the picture has no paper beside it
        margins[2:] = ink.shape[0] // 4
    ink = np.pad(ink, margins.reshape(2, 2))
    colors = paint(ink, _pen(random), _paper(random))
    return flat(colors) if random.random() < 0.5 else photograph(random, colors, 0.002)


def small(random: Random, image: np.ndarray) -> Image.Image:
    """A picture of 20 to 60 pixels."""
    side = int(random.integers(20, 60))
    ink = field_of(random, image, 8 * side, random.uniform(0.55, 0.85), random.uniform(-0.1, 0.1))
    colors = paint(ink, _pen(random), _paper(random)) * light(random, ink.shape)[..., None]
    reduced = flat(colors).resize((round(ink.shape[1] / 8), side), Image.Resampling.BOX)
    return jpeg(reduced, int(random.integers(50, 95))) if random.random() < 0.6 else reduced


def far(random: Random, image: np.ndarray) -> Image.Image:
    """A small digit in a large photo: 5 to 20% of its shorter side."""
    side = int(random.integers(700, 1600))
    ink = field_of(random, image, side, random.uniform(0.05, 0.2), random.uniform(-0.1, 0.1))
    return photograph(random, paint(ink, _pen(random), _paper(random)), 0.0006)


def low_quality(random: Random, image: np.ndarray) -> Image.Image:
    """JPEG of quality 15 to 40."""
    ink = field_of(random, image, int(random.integers(60, 300)), _size(random))
    return jpeg(photograph(random, paint(ink, _pen(random), _paper(random))), int(random.integers(15, 41)))


def ruled(random: Random, image: np.ndarray) -> Image.Image:
    """Lines or squares of a notebook, through the digit."""
    side = int(random.integers(150, 700))
    ink = field_of(random, image, side, random.uniform(0.25, 0.7))
    colors = np.empty((*ink.shape, 3), np.float32)
    colors[:] = _paper(random)
    pitch, wide = random.uniform(0.08, 0.35) * side, max(1, round(side * random.uniform(0.002, 0.008)))
    rule = 1 - random.uniform(0.15, 0.6) * np.array(random.choice([(1, 0.6, 0.3), (1, 1, 1), (0.3, 0.9, 0.8)]), "f")
    for axis in range(1 + int(random.integers(2))):
        for start in np.arange(random.uniform(0, pitch), ink.shape[axis] - wide, pitch).astype(int):
            np.moveaxis(colors, axis, 0)[start : start + wide] *= rule
    colors = np.minimum(colors, paint(ink, _pen(random), np.ones_like(colors)))
    angle = random.normal(0, 1.5)
    turned = flat(colors).rotate(angle, Image.Resampling.BILINEAR, fillcolor=(235, 235, 235))
    inset = round(0.03 * side)
    turned = turned.crop((inset, inset, turned.width - inset, turned.height - inset))
    return photograph(random, np.asarray(turned, np.float32) / 255, 0.002)


def faint(random: Random, image: np.ndarray) -> Image.Image:
    """Strokes that grow fainter: a ball pen pressed unevenly, a dry marker, pencil."""
    ink = field_of(random, image, int(random.integers(200, 800)), _size(random), random.uniform(-0.15, 0.0))
    ink = pressure(ink, random, random.uniform(0.15, 0.4)) * random.uniform(0.55, 0.9)
    return photograph(random, paint(ink, np.full(3, 0.1), _paper(random)), 0.002, 0.012, 75)


def hairline(random: Random, image: np.ndarray) -> Image.Image:
    """A digit drawn with a pen of 1 to 3 pixels on a large canvas."""
    side = int(random.integers(250, 900))
    mask = field_of(random, image, side, random.uniform(0.4, 0.85)) > 0.5
    depth = ndimage.distance_transform_edt(mask)
    ridge = mask & (depth >= ndimage.maximum_filter(depth, 3) - 0.5)  # the middle of the strokes
    wide = int(random.integers(1, 4))
    ink = ndimage.binary_dilation(ndimage.binary_closing(ridge, iterations=2), np.ones((wide, wide))).astype("f")
    return flat(1 - ndimage.gaussian_filter(ink, 0.5))


def thick(random: Random, image: np.ndarray) -> Image.Image:
    """A marker: strokes up to a third of the digit's height."""
    ink = field_of(random, image, int(random.integers(80, 600)), random.uniform(0.4, 0.9), random.uniform(0.2, 0.38))
    return photograph(random, paint(ink, _pen(random), _paper(random)))


def screenshot(random: Random, image: np.ndarray) -> Image.Image:
    """A drawing program: the canvas, tool bars with icons, a window's border."""
    side = int(random.integers(300, 700))
    dark = random.random() < 0.4
    ink = field_of(random, image, side, random.uniform(0.35, 0.85), random.uniform(-0.1, 0.2))
    canvas = np.where(dark, ink, 1 - ink)[..., None] * np.ones(3)
    top, left = int(random.uniform(0.05, 0.12) * side), int(random.choice([0, 0.08]) * side)
    colors = np.pad(
        canvas, ((top, random.choice([0, 22])), (left, 0), (0, 0)), constant_values=random.uniform(0.8, 0.95)
    )
    picture = flat(colors)
    pen = ImageDraw.Draw(picture)
    for x in range(8, picture.width - top, top + 4):
        pen.rectangle((x, 4, x + top - 10, top - 6), outline=(90, 90, 90), fill=tuple(random.integers(0, 255, 3)))
    if left:
        for y in range(top + 6, picture.height - left, left + 6):
            pen.ellipse((4, y, left - 5, y + left - 9), fill=tuple(random.integers(0, 255, 3)))
    pen.line((left, top, picture.width, top), (120, 120, 120))
    return picture


def neighbors(random: Random, image: np.ndarray) -> Image.Image:
    """A cell cut from a form: pieces of the next digits and of the form's lines at the border."""
    side = int(random.integers(60, 300))
    ink = np.pad(field_of(random, image, side, random.uniform(0.5, 0.7)), side // 5)
    other = stroke(_digits()[0][int(random.integers(10_000))], round(0.6 * side))
    other = other[: ink.shape[0], : int(random.uniform(0.05, 0.25) * side)]
    top = int(random.integers(max(1, ink.shape[0] - other.shape[0])))
    field = ink[top : top + other.shape[0], ink.shape[1] - other.shape[1] :]
    np.maximum(field, other, out=field)
    if random.random() < 0.5:
        start = int(random.integers(0, max(2, side // 20)))
        ink[-1 - start - max(1, side // 60) : ink.shape[0] - start] = random.uniform(0.5, 1)
    return photograph(random, paint(ink, _pen(random), _paper(random)))


def light_on_dark(random: Random, image: np.ndarray) -> Image.Image:
    """Chalk on a board, white on black."""
    ink = field_of(random, image, int(random.integers(80, 600)), _size(random))
    paper = np.asarray(random.choice([(0.1, 0.1, 0.1), (0.12, 0.25, 0.18), (0.2, 0.2, 0.25)]), "f")
    colors = paint(ink * random.uniform(0.6, 1), np.full(3, 0.92), paper)
    return photograph(random, colors) if random.random() < 0.7 else flat(colors)


def sheet_on_desk(random: Random, image: np.ndarray) -> Image.Image:
    """A sheet of paper with its edges on a desk, darker or brighter, crooked."""
    side = int(random.integers(250, 700))
    ink = field_of(random, image, side, random.uniform(0.35, 0.7))
    shade = random.choice([0.15, 0.3, 0.45]) * np.asarray(random.choice([(1.2, 1.0, 0.7), (1, 1, 1), (0.7, 0.9, 1.2)]))
    colors = paint(ink, _pen(random), np.full(3, 0.93))
    pads = [(int(random.choice([0, 0.1, 0.25]) * side), int(random.choice([0, 0.1, 0.25]) * side)) for _ in range(2)]
    colors = np.stack([np.pad(colors[..., c], pads, constant_values=shade[c]) for c in range(3)], axis=-1)
    fill = tuple(int(255 * value) for value in np.clip(shade, 0, 1))
    picture = flat(colors).rotate(random.normal(0, 4), Image.Resampling.BILINEAR, fillcolor=fill)
    return photograph(random, np.asarray(picture, np.float32) / 255)


SITUATIONS: dict[str, Callable[[Random, np.ndarray], Image.Image]] = {
    "scan": scan,
    "photo": photo,
    "shadows": shadows,
    "thin box": thin_box,
    "border": border,
    "drawn frame": drawn_frame,
    "axes": axes,
    "transparent": transparent,
    "colored": colored,
    "tight": tight,
    "small": small,
    "far": far,
    "low quality": low_quality,
    "ruled": ruled,
    "faint": faint,
    "hairline": hairline,
    "thick": thick,
    "screenshot": screenshot,
    "neighbors": neighbors,
    "light on dark": light_on_dark,
    "sheet on desk": sheet_on_desk,
}
