"""Draws the figures of a lesson twice, for light and for dark pages: on the site, and in the reader's browser."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
from matplotlib.colors import same_color, to_rgba
from matplotlib.text import Text
from PIL import Image

from chainrule.lessons import animation_of
from chainrule.plots.style import DARK, LIGHT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from matplotlib.figure import Figure

COLORS = [
    (getattr(LIGHT, name), getattr(DARK, name))
    for name in ("background", "grid", "frame", "foreground", "first", "second", "third")
]
GETTERS = ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor")


def scrape(block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Save the figures that a cell shows, and return the page's text for them: what sphinx-gallery calls a scraper."""
    texts = []
    for number, path in zip(plt.get_fignums(), block_vars["image_path_iterator"], strict=False):
        figure = plt.figure(number)
        title = title_of(figure)
        save(figure, path)  # sphinx-gallery makes the thumbnail from it
        animation = animation_of(figure)
        light, dark = (path.replace(".png", ending + (".gif" if animation else ".png")) for ending in ("", "_dark"))
        if animation:
            animation.save(light)
        darken(figure)
        if animation:
            animation.save(dark)
        else:
            save(figure, dark)
        width = figure.get_figwidth() * 100
        for file, theme in ((light, "only-light"), (dark, "only-dark")):
            relative = file.partition(f"{gallery_conf['src_dir']}/")[2]
            options = {"alt": title, "class": f"{theme} lesson-figure", "width": f"{width:.0f}px"}
            texts.append(f".. image:: /{relative}\n" + "".join(f"   :{key}: {text}\n" for key, text in options.items()))
    plt.close("all")
    return "\n".join(texts)


def save(figure: Figure, path: str) -> None:
    """Save a figure with a palette of 128 colors: a third of the bytes, and no difference that one sees."""
    drawing = BytesIO()
    figure.savefig(drawing)
    with Image.open(drawing) as image:
        image.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)


def pictures() -> Iterator[tuple[str, float, bytes, bytes]]:
    """Close the figures that a cell has shown; yields of each the title, the width in pixels, and the two pictures."""
    for number in plt.get_fignums():
        figure = plt.figure(number)
        light = _drawn(figure)
        darken(figure)
        dark = _drawn(figure)
        plt.close(number)
        yield title_of(figure), figure.get_figwidth() * 100, light, dark


def _drawn(figure: Figure) -> bytes:
    """A figure as PNG, an animation as GIF."""
    animation = animation_of(figure)
    if animation is None:
        drawing = BytesIO()
        figure.savefig(drawing)
        return drawing.getvalue()
    with TemporaryDirectory() as folder:
        file = Path(folder) / "animation.gif"
        animation.save(file)
        return file.read_bytes()


def title_of(figure: Figure) -> str:
    """What a figure shows, for those who cannot see it."""
    return figure.texts[0].get_text() if figure.texts else "figure"


def _get_sg_image_scraper() -> Callable[[Any, dict[str, Any], dict[str, Any]], str]:
    """What sphinx-gallery asks a module for that is named as a scraper."""
    return scrape


def darken(figure: Figure) -> None:
    """Replace the colors of the light theme by those of the dark one; pictures in gray stay as they are."""
    figure.set_facecolor(DARK.background)
    boxes = [text.get_bbox_patch() for text in figure.findobj(Text)]  # which findobj does not visit
    for artist in [*figure.findobj(include_self=True), *filter(None, boxes)]:
        for name in GETTERS:
            getter, setter = getattr(artist, f"get_{name}", None), getattr(artist, f"set_{name}", None)
            if getter is None or setter is None:
                continue
            changed = _replaced(getter())
            if changed is not None:
                setter(changed)


def _replaced(color: Any) -> Any:
    """A color, or several, with those of the light theme replaced; None if there are none of them."""
    if hasattr(color, "__array__") and getattr(color, "ndim", 1) == 2:
        rows = [(tuple(row), _replaced(tuple(row))) for row in color]
        return [new or old for old, new in rows] if any(new for _, new in rows) else None
    try:
        alpha = to_rgba(color)[3]
    except (TypeError, ValueError):
        return None
    for light, dark in COLORS:
        if alpha and same_color(to_rgba(color)[:3], to_rgba(light)[:3]):
            return to_rgba(dark, alpha)
    return None
