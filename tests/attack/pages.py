"""Photos of pages: cropped, stretched, rotated, dusty, of any shape, and damaged files."""

from __future__ import annotations

import json
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np

from .attack import Case, Step, chainrule
from .child import WrongError
from .mutate import edits, write_edited

name = "pages"
MOST_PIXELS = 700_000  # larger photos legitimately take seconds
_folder = Path()


def prepare(folder: Path) -> None:
    """Draw four pages to modify."""
    global _folder
    _folder = folder
    from PIL import Image

    from chainrule.data.handwriting.pages import make_page

    for number in range(4):
        page = make_page("everyday", 9000 + number, max_pixels=MOST_PIXELS).image.convert("RGB")
        page.thumbnail((900, 900), Image.Resampling.BOX)
        page.save(folder / f"{number}.png")


def draw(random: np.random.Generator, folder: Path) -> Case:
    """An image of a page or of a pattern, changed up to twice, in one of four formats, sometimes with damaged bytes."""
    from PIL import Image

    if random.random() < 0.5:
        with Image.open(_folder / f"{int(random.integers(4))}.png") as page:
            image = page.convert("RGB")
        about = "a page"
    else:
        image, about = Image.fromarray(pattern(random)).convert("RGB"), "a pattern"
    for _ in range(int(random.integers(0, 3))):
        image = changed(random, image)
    if image.width * image.height > MOST_PIXELS:
        scale = (MOST_PIXELS / (image.width * image.height)) ** 0.5
        image = image.resize((max(1, int(scale * image.width)), max(1, int(scale * image.height))))
    kind, ending = [("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp"), ("TIFF", "tif")][int(random.integers(4))]
    content = BytesIO()
    image.save(content, kind, quality=int(random.integers(5, 95)))
    data = content.getvalue()
    changes = edits(random, data, 3, start=min(len(data) // 4, 400)) if random.random() < 0.3 else []
    file = folder / f"page.{ending}"
    rewrite = write_edited(file, data, changes)
    arguments = ["read", str(file), "--min-confidence", f"{random.random():.2f}"]
    steps: list[Step] = [Step("read --json", partial(read_and_look, file), codes=(0, 2))]
    if random.random() < 0.3:
        steps.append(
            chainrule(*arguments, "--out", folder / f"drawn.{random.choice(['png', 'jpg', 'webp', 'bmp', 'tif'])}")
        )
    return Case(f"{about} of {image.width}×{image.height}, {kind}, {len(changes)} edits", steps, len(changes), rewrite)


def pattern(random: np.random.Generator) -> np.ndarray:
    """Noise, stripes, dots, blocks or gradients."""
    height, width = (int(2 ** random.uniform(0, 12)) for _ in range(2))
    while height * width > MOST_PIXELS:
        height, width = max(1, height // 2), max(1, width // 2)
    values = np.full((height, width), float(random.integers(0, 256)))
    match random.integers(6):
        case 0:
            values += random.normal(0, 10 ** random.uniform(0, 2.5), values.shape)
        case 1:
            values[:: int(random.integers(1, 50))] = random.integers(0, 256)
        case 2:
            values[random.random(values.shape) < 10 ** random.uniform(-5, -1.5)] = random.integers(0, 256)
        case 3:
            side = int(random.integers(1, 60))
            few = random.integers(0, 256, (height // side + 1, width // side + 1))
            values = np.kron(few, np.ones((side, side)))[:height, :width]
        case 4:
            values = np.linspace(0, 255, height)[:, None] * np.linspace(0, 1, width)
        case _:
            for _ in range(int(random.integers(1, 60))):
                top, left = random.integers(height), random.integers(width)
                down, across = (int(side) for side in random.integers(1, 60, 2))
                values[top : top + down, left : left + across] = random.integers(0, 256)
    return values.clip(0, 255).astype(np.uint8)


def changed(random: np.random.Generator, image):  # type: ignore[no-untyped-def]
    """The image cropped, stretched, rotated, dusty or inverted."""
    from PIL import Image, ImageOps

    match random.integers(5):
        case 0:
            left, top = int(random.integers(image.width)), int(random.integers(image.height))
            right, bottom = int(random.integers(left, image.width)) + 1, int(random.integers(top, image.height)) + 1
            return image.crop((left, top, right, bottom))
        case 1:
            width, height = (max(1, int(side * 2 ** random.uniform(-3, 1))) for side in image.size)
            return image.resize((min(width, 4000), min(height, 4000)))
        case 2:
            return image.rotate(float(random.uniform(-180, 180)), expand=bool(random.integers(2)), fillcolor="white")
        case 3:
            pixels = np.array(image)
            pixels[random.random(pixels.shape[:2]) < 10 ** random.uniform(-4, -2)] = random.integers(0, 256)
            return Image.fromarray(pixels)
        case _:
            return ImageOps.invert(image)


def read_and_look(file: Path) -> None:
    """Check the JSON document: boxes within the photo, confidences from 0 to 1."""
    import contextlib
    import io
    import sys

    from chainrule.cli import main
    from chainrule.images import open_photo

    out = io.StringIO()
    code: object = 0
    with contextlib.redirect_stdout(out):
        try:
            main(["read", str(file), "--json"])
        except SystemExit as end:
            code = end.code
    if code:
        sys.exit(code)  # type: ignore[arg-type]
    image, scale = open_photo(file)
    size = scale * image.width, scale * image.height
    for digit in (digit for line in json.loads(out.getvalue())["lines"] for digit in line):
        left, top, right, bottom = digit["box"]
        if not (0 <= left < right <= size[0] + 1 and 0 <= top < bottom <= size[1] + 1):
            raise WrongError(f"box {digit['box']} in a photo of {size}")
        if not 0 <= digit["confidence"] <= 1.000001 or digit["digit"] not in (None, *range(10)):
            raise WrongError(str(digit))
