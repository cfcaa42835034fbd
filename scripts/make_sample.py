"""Draw `src/chainrule/images/sample.jpg`, the picture of `chainrule predict --sample`: a 7 on paper, like a photo.

    python scripts/make_sample.py

The 7 is drawn from strokes of `chainrule.data.handwriting`. Uneven light, blur, noise and JPEG make it look like a
photo.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from chainrule.data.handwriting import draw, random_pen, random_style, render
from chainrule.images.raster import box_mean

FILE = Path(__file__).parent.parent / "src" / "chainrule" / "images" / "sample.jpg"
SEED, HEIGHT, WIDTH = 5, 480, 640


def main() -> None:
    """Draw the digit, light the paper, save the photo."""
    generator = np.random.default_rng(SEED)
    style = random_style(generator)
    ink = render(draw("7", generator, "crossed", style), 250, random_pen(generator), generator)
    page = np.zeros((HEIGHT, WIDTH), np.float32)
    top, left = (HEIGHT - ink.shape[0]) // 2, (WIDTH - ink.shape[1]) // 2 + 30
    page[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    paper, pen = np.array([0.93, 0.91, 0.86]), np.array([0.13, 0.17, 0.42])
    colors = paper + page[..., None] * (pen - paper)
    y, x = np.linspace(-1, 1, HEIGHT)[:, None], np.linspace(-1, 1, WIDTH)
    light = (0.9 - 0.2 * x - 0.08 * y) * (1 - 0.1 * (x**2 + y**2))
    shadow = 1 - 0.25 / (1 + np.exp(-(x + 0.4 * y - 0.65) / 0.08))
    colors *= (light * shadow)[..., None]
    colors = np.stack([box_mean(channel, 2) for channel in np.moveaxis(colors, 2, 0)], axis=2)
    colors += generator.normal(0, 0.008, colors.shape)
    Image.fromarray(np.rint(255 * colors.clip(0, 1)).astype(np.uint8)).save(FILE, "JPEG", quality=82)
    print(f"{FILE.name}: {FILE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
