"""Make docs/pictures/studio.gif, the README's first picture: in the studio, a digit is drawn and a network is trained.

    make film

The script needs Chromium (`apt-get install chromium`) and the extras browser and studio. After a change to the studio,
run it again, and look at the film.
"""

from __future__ import annotations

import io
import itertools
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE = Path(__file__).parents[1] / "docs" / "pictures" / "studio.gif"
SIZE = {"width": 960, "height": 600}
SCALE = 0.75  # the size of the film relative to the page
COLORS = 192
SEVEN = ((0.27, 0.22), (0.72, 0.2), (0.56, 0.5), (0.44, 0.82))
"""The corners of the stroke that is drawn, as fractions of the pad."""


class Film:
    """Frames, and how many milliseconds each is shown."""

    def __init__(self, page: Any) -> None:
        self.page, self.frames, self.durations = page, [], []

    def shoot(self, milliseconds: int) -> None:
        """Add the page as it is now."""
        with Image.open(io.BytesIO(self.page.screenshot())) as picture:
            size = (round(picture.width * SCALE), round(picture.height * SCALE))
            self.frames.append(picture.convert("RGB").resize(size, Image.Resampling.LANCZOS))
        self.durations.append(milliseconds)

    def save(self, file: Path) -> None:
        """Write an animated GIF with one palette for all frames, so that nothing flickers."""
        strip = Image.fromarray(np.concatenate([np.asarray(frame) for frame in self.frames]))
        palette = strip.quantize(COLORS, dither=Image.Dither.NONE)
        first, *rest = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in self.frames]
        first.save(file, save_all=True, append_images=rest, duration=self.durations, loop=0, optimize=True)


def draw_a_seven(film: Film) -> None:
    """Film a stroke that grows, and the answers to it."""
    box = film.page.locator("canvas.pad").bounding_box()
    corners = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in SEVEN]
    film.page.mouse.move(*corners[0])
    film.page.mouse.down()
    for start, end in itertools.pairwise(corners):
        for part in (0.25, 0.5, 0.75, 1):
            film.page.mouse.move(*(a + part * (b - a) for a, b in zip(start, end, strict=True)))
            film.page.wait_for_timeout(250)  # until the studio has read the digit
            film.shoot(140)
    film.page.mouse.up()
    film.page.locator("#view [data-is-settled]").wait_for()
    film.shoot(1800)


def teach_spirals(film: Film) -> None:
    """Film a small network that learns two spirals."""
    film.shoot(900)
    film.page.get_by_role("button", name="Play").first.click()
    film.page.evaluate("document.querySelector('.playground canvas').closest('section').scrollIntoView()")
    for _ in range(24):
        film.page.wait_for_timeout(350)
        film.shoot(140)
    film.durations[-1] = 1800


@contextmanager
def studio(runs: Path) -> Iterator[str]:
    """Run a studio in a separate process; yields its address."""
    command = [sys.executable, "-u", "-m", "chainrule", "studio", "--no-browser", "--runs", str(runs)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603  # our own command
        try:
            yield process.stdout.readline().strip() if process.stdout else ""
        finally:
            process.terminate()


def main() -> None:
    """Film both scenes."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("make_film.py needs chromium: apt-get install chromium")
    with studio(FILE.parents[2] / "build" / "film") as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport=SIZE, color_scheme="light")
        film = Film(page)
        page.goto(address)
        page.locator("canvas.pad").wait_for()
        draw_a_seven(film)
        page.goto(address.partition("?")[0] + "#playground?data=spirals&layers=8-8")
        page.locator("#view .playground").wait_for()
        page.wait_for_timeout(1500)
        teach_spirals(film)
        browser.close()
    film.save(FILE)
    print(f"{FILE}: {len(film.frames)} frames, {FILE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
