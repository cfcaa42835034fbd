"""Everyday pictures of handwritten digits: photos, scans, boards and drawings, from thumbnails to 12 megapixels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from chainrule.data.handwriting import inks, surfaces, things
from chainrule.data.handwriting.camera import Camera
from chainrule.data.handwriting.compose import Page, take, tilted
from chainrule.data.handwriting.layouts import draw_frames, show_through, write_something
from chainrule.data.handwriting.print import print_lines, random_pattern
from chainrule.data.handwriting.sheet import Sheet, blank, smooth_noise
from chainrule.data.handwriting.writing import scatter, write_words

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from chainrule.data.handwriting.compose import AddObjects
    from chainrule.data.handwriting.ink import InkStyle
    from chainrule.data.handwriting.sheet import Colors, Extent
    from chainrule.data.handwriting.writing import Hand

MIN_DIGIT = 16  # pixels: the height of the smallest digits in a picture
THRESHOLDS = (0.25, 0.55)  # of black and white scans: 0 is the paper's brightness, 1 that of the fainter digits
MAX_WORK_PIXELS = 2_500_000  # pixels: larger pictures are composed at this size and enlarged


@dataclass(frozen=True)
class Format:
    """The size of a picture, and of the sheet on which it is composed.

    Attributes:
        size: width and height of the picture in pixels.
        work: width and height of the sheet in pixels.
    """

    size: tuple[int, int]
    work: tuple[int, int]

    @property
    def zoom(self) -> float:
        """The sheet's size relative to the picture's."""
        return self.work[0] / self.size[0]


def random_format(generator: np.random.Generator, max_pixels: int) -> Format:
    """Return a random format, from a thumbnail to 12 megapixels, at most `max_pixels`; one in six is a strip."""
    low, high = [(110, 300), (300, 800), (800, 1800), (1800, 4100)][generator.choice(4, p=[0.12, 0.28, 0.42, 0.18])]
    longer = generator.uniform(low, high)
    aspect = generator.choice([1.0, 4 / 3, 4 / 3, 16 / 9, 1.5, generator.uniform(2.5, 8)])
    size = np.array([longer, max(40.0, longer / aspect)])
    size *= min(1.0, float(np.sqrt(max_pixels / size.prod())))
    if aspect < 2.5 and generator.random() < 0.5:
        size = size[::-1]
    pixels = float(size.prod())
    zoom = min(float(np.clip(700 / np.sqrt(pixels), 1, 3)), float(np.sqrt(max(MAX_WORK_PIXELS, pixels) / pixels)))
    zoom = min(zoom, float(np.sqrt(MAX_WORK_PIXELS / pixels)))
    width, height = (round(side) for side in size.tolist())
    return Format((width, height), (round(width * zoom), round(height * zoom)))


def everyday(generator: np.random.Generator, hand: Hand, max_pixels: int) -> Page:
    """A picture of any of the kinds below."""
    kinds: tuple[Callable[[np.random.Generator, Hand, Format], Page], ...] = (
        photo,
        scan,
        whiteboard,
        blackboard,
        screen,
    )
    kind = kinds[generator.choice(len(kinds), p=[0.62, 0.12, 0.08, 0.06, 0.12])]
    return kind(generator, hand, random_format(generator, max_pixels))


def digit_size(generator: np.random.Generator, fmt: Format) -> float:
    """Return a random height of digits in the sheet's pixels: a fraction of the shorter side that can be read."""
    shorter = min(fmt.size)
    strip = max(fmt.size) > 2.5 * shorter
    low, high = (0.3, 0.75) if strip else (0.035, 0.35)
    share = float(np.exp(generator.uniform(np.log(low), np.log(high))))
    return float(np.clip(share * shorter, min(MIN_DIGIT, 0.5 * shorter), 0.75 * shorter)) * fmt.zoom


def photo(generator: np.random.Generator, hand: Hand, fmt: Format) -> Page:
    """A photo of a sheet of paper on a desk, or a part of it."""
    size = digit_size(generator, fmt)
    color = inks.choose_color(generator, inks.PAPERS)
    sheet = blank(generator, fmt.work[::-1], color, rough=generator.uniform(0.003, 0.02))
    random_pattern(generator, sheet, size)
    pen = inks.random_ink(generator)
    pen = replace(pen, width=max(pen.width, 1.1 * fmt.zoom / size))
    if generator.random() < 0.12:
        show_through(generator, hand, sheet, pen, size)
    write_something(generator, hand, sheet, pen, size)
    if generator.random() < 0.1:  # with a second pen
        other = inks.random_ink(generator)
        other = replace(other, width=max(other.width, 1.1 * fmt.zoom / size))
        scatter(sheet, hand, other, size * generator.uniform(0.7, 1.3), generator, max_digits=8)
    camera = random_camera(generator, fmt, size, pen)
    whole = generator.random() < 0.35
    zoom = generator.uniform(0.8, 0.95) if whole else generator.uniform(1.0, 1.25)
    angle = generator.choice([0.5, 2.5, 8.0], p=[0.3, 0.6, 0.1])
    corners = tilted(generator, fmt.work, fmt.work, zoom=zoom, angle=angle, tilt=0.012 if not whole else 0.025)
    camera = replace(camera, corners=corners)
    background = surfaces.desk(generator, fmt.work[::-1])
    add_objects = random_things(generator, size, corners) if generator.random() < 0.4 else None
    return take(sheet, camera, generator, background=background, add_objects=add_objects)


def random_camera(generator: np.random.Generator, fmt: Format, size: float, pen: InkStyle) -> Camera:
    """Return a random phone's camera in the light of a room, whose pictures a person can still read.

    Args:
        generator: the source of randomness.
        fmt: the picture's format.
        size: the digits' height in the sheet's pixels.
        pen: the digits' pen; the fainter it is, the less noise there is.
    """
    warm = generator.normal(0, 0.06)
    contrast = pen.opacity * (1 - 0.5 * pen.pressure) * (1 - 0.5 * pen.direction)
    contrast *= float(np.mean(pen.color)) if pen.is_opaque else 1 - float(np.mean(pen.color))
    light = generator.uniform(0.55, 1.06)
    noise = float(np.exp(generator.uniform(np.log(0.003), np.log(0.04))))
    blur = float(np.exp(generator.uniform(np.log(0.3), np.log(1.6)))) * fmt.zoom
    return Camera(
        size=fmt.work,
        blur=min(blur, 0.04 * size),
        far_blur=generator.uniform(0.04, 0.07) * size if generator.random() < 0.08 else 0.0,
        far_direction=generator.uniform(0, 2 * np.pi),
        motion=generator.uniform(0.05, 0.12) * size if generator.random() < 0.06 else 0.0,
        noise=min(noise, 0.12 * contrast * light),
        light=light,
        unevenness=generator.uniform(0, 0.45),
        vignette=generator.uniform(0, 0.3),
        shadow=generator.uniform(0.15, 0.55) if generator.random() < 0.4 else 0.0,
        tint=(1 + warm, 1 + generator.normal(0, 0.02), 1 - 1.3 * warm),
        contrast=generator.uniform(0.8, 1.35),
        sharpen=generator.choice([0, 0, 60, 130]),
        saved_size=fmt.size,
        quality=int(generator.integers(30 if size > 28 * fmt.zoom else 55, 96)),
    )


def nothing(generator: np.random.Generator, hand: Hand, max_pixels: int) -> Page:
    """A page without a digit: words, doodles, print, rules, and objects that lie on it."""
    fmt = random_format(generator, max_pixels)
    size = digit_size(generator, fmt)
    sheet = blank(
        generator, fmt.work[::-1], inks.choose_color(generator, inks.PAPERS), rough=generator.uniform(0.003, 0.02)
    )
    random_pattern(generator, sheet, size)
    pen = inks.random_ink(generator)
    pen = replace(pen, width=max(pen.width, 1.1 * fmt.zoom / size))
    if generator.random() < 0.7:
        write_words(sheet, hand, pen, size, generator, int(generator.integers(1, 20)))
    if generator.random() < 0.4:
        print_lines(generator, sheet, size * generator.uniform(0.4, 1.0), int(generator.integers(1, 12)))
    if generator.random() < 0.3:
        draw_frames(generator, sheet, size)
    zoom = generator.uniform(0.8, 1.2)
    corners = tilted(generator, fmt.work, fmt.work, zoom=zoom, angle=2.5, tilt=0.02)
    camera = replace(random_camera(generator, fmt, size, pen), corners=corners)
    background = surfaces.desk(generator, fmt.work[::-1])
    return take(sheet, camera, generator, background=background, add_objects=random_things(generator, size, corners))


def random_things(generator: np.random.Generator, size: float, corners: NDArray[np.float64]) -> AddObjects:
    """Return a function that draws one to three objects where there is no digit."""

    def add_objects(scene: Colors, boxes: list[Extent]) -> None:
        for _ in range(generator.integers(1, 4)):
            things.lay_thing(generator, scene, boxes, size * generator.uniform(0.5, 1.5), corners)

    return add_objects


def scan(generator: np.random.Generator, hand: Hand, fmt: Format) -> Page:
    """A scan: even light; some are black and white only."""
    size = digit_size(generator, fmt)
    sheet = blank(generator, fmt.work[::-1], (0.98, 0.98, 0.97), rough=generator.uniform(0, 0.006))
    random_pattern(generator, sheet, size)
    pen = inks.random_ink(generator)
    pen = replace(pen, width=max(pen.width, 1.3 * fmt.zoom / size))
    write_something(generator, hand, sheet, pen, size)
    is_black_and_white = generator.random() < 0.4
    camera = Camera(
        size=fmt.work,
        corners=tilted(generator, fmt.work, fmt.work, zoom=1.02, angle=0.8, tilt=0.0),
        blur=generator.uniform(0.2, 0.7) * fmt.zoom,
        noise=generator.uniform(0.001, 0.012),
        contrast=generator.uniform(0.9, 1.3),
        saved_size=fmt.size,
        quality=0 if is_black_and_white else int(generator.choice([0, 50, 75, 92])),
    )
    background = np.full((*fmt.work[::-1], 3), 0.97, np.float32)
    page = take(sheet, camera, generator, background=background)
    if is_black_and_white:
        from PIL import Image  # imported on first use

        levels = np.asarray(page.image.convert("L"), np.float32) / 255
        paper = float(np.median(levels))
        dirt = generator.random(levels.shape) < generator.choice([0, 0.0002, 0.001])
        threshold = paper - (paper - _faint_ink(levels, page)) * generator.uniform(*THRESHOLDS)
        black = (levels < threshold) ^ dirt
        page.image = Image.fromarray(np.where(black, 0, 255).astype(np.uint8)).convert("RGB")
    return page


def _faint_ink(levels: NDArray[np.floating], page: Page) -> float:
    """Return the brightness of the ink of a page's fainter digits; black if the page has no digits."""
    brightnesses = []
    for digit in page.digits:
        left, top, right, bottom = (max(0, round(side)) for side in digit.box)
        brightnesses.append(float(np.percentile(levels[top : bottom + 1, left : right + 1], 10)))
    return float(np.percentile(brightnesses, 75)) if brightnesses else 0.0


def whiteboard(generator: np.random.Generator, hand: Hand, fmt: Format) -> Page:
    """A whiteboard with reflections, and with smears of wiped writing."""
    size = digit_size(generator, fmt)
    sheet = blank(generator, fmt.work[::-1], (0.9, 0.92, 0.93), rough=0.003)
    colors = ((0.08, 0.08, 0.1), (0.1, 0.2, 0.65), (0.75, 0.1, 0.12), (0.08, 0.5, 0.25))
    pen = replace(inks.felt_pen(generator), color=colors[generator.choice(4, p=[0.4, 0.3, 0.2, 0.1])])
    pen = replace(pen, width=generator.uniform(0.05, 0.14), pressure=generator.uniform(0.1, 0.45))
    smear(generator, sheet, pen.color, 0.06)
    write_something(generator, hand, sheet, pen, size)
    corners = tilted(generator, fmt.work, fmt.work, zoom=1.1, tilt=0.012)
    camera = replace(random_camera(generator, fmt, size, pen), corners=corners)
    glare = surfaces.glare(generator, fmt.work[::-1])

    def add_objects(scene: Colors, boxes: list[Extent]) -> None:
        scene += glare

    return take(
        sheet, camera, generator, add_objects=add_objects, background=np.full((*fmt.work[::-1], 3), 0.85, np.float32)
    )


def blackboard(generator: np.random.Generator, hand: Hand, fmt: Format) -> Page:
    """A blackboard, or dark paper, with chalk."""
    size = digit_size(generator, fmt)
    colors = ((0.12, 0.22, 0.18), (0.10, 0.10, 0.11), (0.16, 0.2, 0.24), (0.08, 0.12, 0.3), (0.3, 0.1, 0.12))
    sheet = blank(generator, fmt.work[::-1], colors[generator.choice(5, p=[0.4, 0.3, 0.1, 0.1, 0.1])], rough=0.03)
    pen = inks.chalk(generator)
    smear(generator, sheet, (0.8, 0.8, 0.8), 0.12)
    if generator.random() < 0.2:
        random_pattern(generator, sheet, size)
    write_something(generator, hand, sheet, pen, size)
    corners = tilted(generator, fmt.work, fmt.work, zoom=1.1, tilt=0.012)
    camera = replace(random_camera(generator, fmt, size, pen), corners=corners)
    background = np.full((*fmt.work[::-1], 3), 0.3, np.float32)
    return take(sheet, camera, generator, background=background)


def smear(generator: np.random.Generator, sheet: Sheet, color: tuple[float, float, float], amount: float) -> None:
    """Smear a board, as a wiper does."""
    shape = sheet.height, sheet.width
    streaks = np.clip(smooth_noise(generator, shape, max(shape) / 3, 5), 0, 1) * np.float32(amount * generator.random())
    sheet.stain(slice(0, shape[0]), slice(0, shape[1]), streaks, color, is_opaque=True)


def screen(generator: np.random.Generator, hand: Hand, fmt: Format, *, dark: bool | None = None) -> Page:
    """A drawing program's picture: flat ground, smooth or jagged strokes, dark on light or light on dark."""
    fmt = Format(fmt.size, fmt.size)
    size = digit_size(generator, fmt)
    dark = generator.random() < 0.3 if dark is None else dark
    ground = (0.0, 0.0, 0.0) if dark else (1.0, 1.0, 1.0)
    if generator.random() < 0.3:
        color = generator.uniform(0, 0.25, 3) if dark else generator.uniform(0.8, 1, 3)
        ground = (float(color[0]), float(color[1]), float(color[2]))
    sheet = Sheet(np.broadcast_to(np.asarray(ground, np.float32), (*fmt.work[::-1], 3)).copy())
    if generator.random() < 0.7:
        ink = (1.0, 1.0, 1.0) if dark else (0.0, 0.0, 0.0)
    else:
        color = generator.uniform(0.65, 1, 3) if dark else generator.uniform(0, 0.55, 3)
        ink = (float(color[0]), float(color[1]), float(color[2]))
    pen = inks.screen_pen(generator, ink)
    pen = replace(pen, width=max(pen.width, 1.2 / size))
    write_something(generator, hand, sheet, pen, size)
    quality = int(generator.choice([0, 0, 0, 70, 90]))
    return take(sheet, Camera(size=fmt.work, quality=quality), generator)
