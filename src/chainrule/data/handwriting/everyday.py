"""Everyday pictures of handwritten digits: photos, crops, scans, boards and drawings, of every size."""

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

    from chainrule.data.handwriting.compose import Lay
    from chainrule.data.handwriting.ink import InkStyle
    from chainrule.data.handwriting.sheet import Colors, Extent
    from chainrule.data.handwriting.writing import Hand

MIN_DIGIT = 16  # pixels: the height of the smallest digits in a picture
THRESHOLDS = (0.25, 0.55)  # of black and white scans, from the paper's brightness to that of the fainter digits
MOST_WORK = 2_500_000  # pixels: larger pictures are composed at this size and enlarged, as a phone's sensor does


@dataclass(frozen=True)
class Format:
    """The size of a picture, and that at which it is composed.

    Attributes:
        size: width and height of the picture, in pixels.
        work: the same of the sheet.
    """

    size: tuple[int, int]
    work: tuple[int, int]

    @property
    def zoom(self) -> float:
        """The ratio of the two."""
        return self.work[0] / self.size[0]


def random_format(random: np.random.Generator, most: int) -> Format:
    """A size from thumbnails to 12 megapixels, and at most `most` pixels; one in six is a strip."""
    low, high = [(110, 300), (300, 800), (800, 1800), (1800, 4100)][random.choice(4, p=[0.12, 0.28, 0.42, 0.18])]
    longer = random.uniform(low, high)
    aspect = random.choice([1.0, 4 / 3, 4 / 3, 16 / 9, 1.5, random.uniform(2.5, 8)])
    size = np.array([longer, max(40.0, longer / aspect)])
    size *= min(1.0, float(np.sqrt(most / size.prod())))
    if aspect < 2.5 and random.random() < 0.5:
        size = size[::-1]
    pixels = float(size.prod())
    zoom = min(float(np.clip(700 / np.sqrt(pixels), 1, 3)), float(np.sqrt(max(MOST_WORK, pixels) / pixels)))
    zoom = min(zoom, float(np.sqrt(MOST_WORK / pixels)))
    width, height = (round(side) for side in size.tolist())
    return Format((width, height), (round(width * zoom), round(height * zoom)))


def everyday(random: np.random.Generator, hand: Hand, most: int) -> Page:
    """A picture of any kind."""
    kinds: tuple[Callable[[np.random.Generator, Hand, Format], Page], ...] = (
        photo,
        scan,
        whiteboard,
        blackboard,
        screen,
    )
    kind = kinds[random.choice(len(kinds), p=[0.62, 0.12, 0.08, 0.06, 0.12])]
    return kind(random, hand, random_format(random, most))


def digit_size(random: np.random.Generator, form: Format) -> float:
    """The height of digits in the sheet's pixels: a share of the shorter side, and not too small to be read."""
    shorter = min(form.size)
    strip = max(form.size) > 2.5 * shorter
    low, high = (0.3, 0.75) if strip else (0.035, 0.35)
    share = float(np.exp(random.uniform(np.log(low), np.log(high))))
    return float(np.clip(share * shorter, min(MIN_DIGIT, 0.5 * shorter), 0.75 * shorter)) * form.zoom


def photo(random: np.random.Generator, hand: Hand, form: Format) -> Page:
    """A photo of a sheet of paper on a desk, or a part of it."""
    size = digit_size(random, form)
    color = inks.choose_color(random, inks.PAPERS)
    sheet = blank(random, form.work[::-1], color, rough=random.uniform(0.003, 0.02))
    random_pattern(random, sheet, size)
    pen = inks.random_ink(random)
    pen = replace(pen, width=max(pen.width, 1.1 * form.zoom / size))
    if random.random() < 0.12:
        show_through(random, hand, sheet, pen, size)
    write_something(random, hand, sheet, pen, size)
    if random.random() < 0.1:  # with another pen
        other = inks.random_ink(random)
        other = replace(other, width=max(other.width, 1.1 * form.zoom / size))
        scatter(sheet, hand, other, size * random.uniform(0.7, 1.3), random, most=8)
    camera = random_camera(random, form, size, pen)
    whole = random.random() < 0.35
    zoom = random.uniform(0.8, 0.95) if whole else random.uniform(1.0, 1.25)
    angle = random.choice([0.5, 2.5, 8.0], p=[0.3, 0.6, 0.1])
    corners = tilted(random, form.work, form.work, zoom=zoom, angle=angle, tilt=0.012 if not whole else 0.025)
    camera = replace(camera, corners=corners)
    background = surfaces.desk(random, form.work[::-1])
    lay = random_things(random, size, corners) if random.random() < 0.4 else None
    return take(sheet, camera, random, background=background, lay=lay)


def random_camera(random: np.random.Generator, form: Format, size: float, pen: InkStyle) -> Camera:
    """A phone's camera in the light of a room: what a person can still read.

    Args:
        random: the source of randomness.
        form: the picture's size.
        size: the digits' height in the sheet's pixels.
        pen: theirs; the fainter it is, the less noise there is.
    """
    warm = random.normal(0, 0.06)
    contrast = pen.opacity * (1 - 0.5 * pen.pressure) * (1 - 0.5 * pen.direction)
    contrast *= float(np.mean(pen.color)) if pen.covers else 1 - float(np.mean(pen.color))
    light = random.uniform(0.55, 1.06)
    noise = float(np.exp(random.uniform(np.log(0.003), np.log(0.04))))
    blur = float(np.exp(random.uniform(np.log(0.3), np.log(1.6)))) * form.zoom
    return Camera(
        size=form.work,
        blur=min(blur, 0.04 * size),
        far_blur=random.uniform(0.04, 0.07) * size if random.random() < 0.08 else 0.0,
        focus=random.uniform(0, 2 * np.pi),
        motion=random.uniform(0.05, 0.12) * size if random.random() < 0.06 else 0.0,
        noise=min(noise, 0.12 * contrast * light),
        light=light,
        uneven=random.uniform(0, 0.45),
        vignette=random.uniform(0, 0.3),
        shadow=random.uniform(0.15, 0.55) if random.random() < 0.4 else 0.0,
        tint=(1 + warm, 1 + random.normal(0, 0.02), 1 - 1.3 * warm),
        contrast=random.uniform(0.8, 1.35),
        sharpen=random.choice([0, 0, 60, 130]),
        resampled=form.size,
        quality=int(random.integers(30 if size > 28 * form.zoom else 55, 96)),
    )


def nothing(random: np.random.Generator, hand: Hand, most: int) -> Page:
    """A page without a digit: words, doodles, print, rules, things that lie on it."""
    form = random_format(random, most)
    size = digit_size(random, form)
    sheet = blank(random, form.work[::-1], inks.choose_color(random, inks.PAPERS), rough=random.uniform(0.003, 0.02))
    random_pattern(random, sheet, size)
    pen = inks.random_ink(random)
    pen = replace(pen, width=max(pen.width, 1.1 * form.zoom / size))
    if random.random() < 0.7:
        write_words(sheet, hand, pen, size, random, int(random.integers(1, 20)))
    if random.random() < 0.4:
        print_lines(random, sheet, size * random.uniform(0.4, 1.0), int(random.integers(1, 12)))
    if random.random() < 0.3:
        draw_frames(random, sheet, size)
    zoom = random.uniform(0.8, 1.2)
    corners = tilted(random, form.work, form.work, zoom=zoom, angle=2.5, tilt=0.02)
    camera = replace(random_camera(random, form, size, pen), corners=corners)
    background = surfaces.desk(random, form.work[::-1])
    return take(sheet, camera, random, background=background, lay=random_things(random, size, corners))


def random_things(random: np.random.Generator, size: float, corners: NDArray[np.float64]) -> Lay:
    """One to three things that lie on the sheet or hold it, where no digit is."""

    def lay(scene: Colors, boxes: list[Extent]) -> None:
        for _ in range(random.integers(1, 4)):
            things.lay_thing(random, scene, boxes, size * random.uniform(0.5, 1.5), corners)

    return lay


def scan(random: np.random.Generator, hand: Hand, form: Format) -> Page:
    """A scan: even light; some are black and white only."""
    size = digit_size(random, form)
    sheet = blank(random, form.work[::-1], (0.98, 0.98, 0.97), rough=random.uniform(0, 0.006))
    random_pattern(random, sheet, size)
    pen = inks.random_ink(random)
    pen = replace(pen, width=max(pen.width, 1.3 * form.zoom / size))
    write_something(random, hand, sheet, pen, size)
    black_white = random.random() < 0.4
    camera = Camera(
        size=form.work,
        corners=tilted(random, form.work, form.work, zoom=1.02, angle=0.8, tilt=0.0),
        blur=random.uniform(0.2, 0.7) * form.zoom,
        noise=random.uniform(0.001, 0.012),
        contrast=random.uniform(0.9, 1.3),
        resampled=form.size,
        quality=0 if black_white else int(random.choice([0, 50, 75, 92])),
    )
    background = np.full((*form.work[::-1], 3), 0.97, np.float32)
    page = take(sheet, camera, random, background=background)
    if black_white:
        from PIL import Image  # imported on first use

        levels = np.asarray(page.image.convert("L"), np.float32) / 255
        paper = float(np.median(levels))
        dirt = random.random(levels.shape) < random.choice([0, 0.0002, 0.001])
        threshold = paper - (paper - _faint_ink(levels, page)) * random.uniform(*THRESHOLDS)
        black = (levels < threshold) ^ dirt
        page.image = Image.fromarray(np.where(black, 0, 255).astype(np.uint8)).convert("RGB")
    return page


def _faint_ink(levels: NDArray[np.floating], page: Page) -> float:
    """The brightness of the ink of a page's fainter digits; black if it has none."""
    inks = []
    for digit in page.digits:
        left, top, right, bottom = (max(0, round(side)) for side in digit.box)
        inks.append(float(np.percentile(levels[top : bottom + 1, left : right + 1], 10)))
    return float(np.percentile(inks, 75)) if inks else 0.0


def whiteboard(random: np.random.Generator, hand: Hand, form: Format) -> Page:
    """A whiteboard with reflections, and smears of what was there before."""
    size = digit_size(random, form)
    sheet = blank(random, form.work[::-1], (0.9, 0.92, 0.93), rough=0.003)
    colors = ((0.08, 0.08, 0.1), (0.1, 0.2, 0.65), (0.75, 0.1, 0.12), (0.08, 0.5, 0.25))
    pen = replace(inks.felt_pen(random), color=colors[random.choice(4, p=[0.4, 0.3, 0.2, 0.1])])
    pen = replace(pen, width=random.uniform(0.05, 0.14), pressure=random.uniform(0.1, 0.45))
    smear(random, sheet, pen.color, 0.06)
    write_something(random, hand, sheet, pen, size)
    corners = tilted(random, form.work, form.work, zoom=1.1, tilt=0.012)
    camera = replace(random_camera(random, form, size, pen), corners=corners)
    glare = surfaces.glare(random, form.work[::-1])

    def lay(scene: Colors, boxes: list[Extent]) -> None:
        scene += glare

    return take(sheet, camera, random, lay=lay, background=np.full((*form.work[::-1], 3), 0.85, np.float32))


def blackboard(random: np.random.Generator, hand: Hand, form: Format) -> Page:
    """A blackboard, or dark paper, with chalk."""
    size = digit_size(random, form)
    colors = ((0.12, 0.22, 0.18), (0.10, 0.10, 0.11), (0.16, 0.2, 0.24), (0.08, 0.12, 0.3), (0.3, 0.1, 0.12))
    sheet = blank(random, form.work[::-1], colors[random.choice(5, p=[0.4, 0.3, 0.1, 0.1, 0.1])], rough=0.03)
    pen = inks.chalk(random)
    smear(random, sheet, (0.8, 0.8, 0.8), 0.12)
    if random.random() < 0.2:
        random_pattern(random, sheet, size)
    write_something(random, hand, sheet, pen, size)
    corners = tilted(random, form.work, form.work, zoom=1.1, tilt=0.012)
    camera = replace(random_camera(random, form, size, pen), corners=corners)
    background = np.full((*form.work[::-1], 3), 0.3, np.float32)
    return take(sheet, camera, random, background=background)


def smear(random: np.random.Generator, sheet: Sheet, color: tuple[float, float, float], amount: float) -> None:
    """What a wiper leaves on a board."""
    shape = sheet.height, sheet.width
    streaks = np.clip(smooth_noise(random, shape, max(shape) / 3, 5), 0, 1) * np.float32(amount * random.random())
    sheet.stain(slice(0, shape[0]), slice(0, shape[1]), streaks, color, covers=True)


def screen(random: np.random.Generator, hand: Hand, form: Format, *, dark: bool | None = None) -> Page:
    """A drawing program's picture: flat ground, smooth or jagged strokes, dark on light or light on dark."""
    form = Format(form.size, form.size)
    size = digit_size(random, form)
    dark = random.random() < 0.3 if dark is None else dark
    ground = (0.0, 0.0, 0.0) if dark else (1.0, 1.0, 1.0)
    if random.random() < 0.3:
        color = random.uniform(0, 0.25, 3) if dark else random.uniform(0.8, 1, 3)
        ground = (float(color[0]), float(color[1]), float(color[2]))
    sheet = Sheet(np.broadcast_to(np.asarray(ground, np.float32), (*form.work[::-1], 3)).copy())
    if random.random() < 0.7:
        ink = (1.0, 1.0, 1.0) if dark else (0.0, 0.0, 0.0)
    else:
        color = random.uniform(0.65, 1, 3) if dark else random.uniform(0, 0.55, 3)
        ink = (float(color[0]), float(color[1]), float(color[2]))
    pen = inks.screen_pen(random, ink)
    pen = replace(pen, width=max(pen.width, 1.2 / size))
    write_something(random, hand, sheet, pen, size)
    quality = int(random.choice([0, 0, 0, 70, 90]))
    return take(sheet, Camera(size=form.work, quality=quality), random)
