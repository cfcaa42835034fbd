"""Figures of what decided an answer: maps of pixels, the images that excite a neuron, attention patterns."""

from __future__ import annotations

from math import ceil, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps

from chainrule.plots import style

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray


def pixel_maps(
    image: ArrayLike,
    maps: Sequence[tuple[str, ArrayLike]],
    title: str = "Which pixels decided",
    *,
    dark: bool = False,
) -> Figure:
    """Draw an image, and beside it maps of its pixels: 0 is gray, lighter is positive, darker negative.

    Each map has its own color scale, up to its largest absolute value, which is printed below it.

    Args:
        image: (H, W).
        maps: (name, map (H, W)) each, as `explain.gradient_map`, `integrated_gradients` and `occlusion_map` return.
        title: title of the figure.
        dark: use a dark background.

    Raises:
        ValueError: there are no maps, or an array is not (H, W), of the image's shape, and finite.
    """
    if not maps:
        raise ValueError("pixel_maps: there are no maps; at least one (name, map) pair is needed")
    picture = style.as_array(image, float)
    arrays = [(name, style.as_array(array, float)) for name, array in maps]
    for name, array in [("the image", picture), *arrays]:
        if array.ndim != 2 or not array.size or array.shape != picture.shape:
            raise ValueError(f"pixel_maps: {name!r} has shape {array.shape}; expected (H, W), {picture.shape}")
        style.check_finite("pixel_maps", **{repr(name): array})
    theme = style.DARK if dark else style.LIGHT
    low, high = picture.min(), picture.max()
    pictures = [_colored((picture - low) / ((high - low) or 1), theme.grays)]
    captions = ["the image"]
    for name, array in arrays:
        largest = float(np.abs(array).max())
        pictures.append(_colored((array / (largest or 1) + 1) / 2, style.SIGNED))
        captions.append(f"{name}\n±{largest:.2g}")
    return style.sheet(pictures, captions, title, theme, columns=len(pictures), side=1.6)


def top_images(
    images: ArrayLike, values: ArrayLike, title: str = "What excites the neuron most", *, dark: bool = False
) -> Figure:
    """Draw the images that excite a neuron most, each with the neuron's output, and their mean.

    Args:
        images: (N, H, W), such as `train_images[top.indices[neuron]]`.
        values: (N,), such as `top.values[neuron]`.
        title: title of the figure.
        dark: use a dark background.

    Raises:
        ValueError: the shapes do not fit, or numbers are not finite.
    """
    pictures, outputs = style.as_array(images, float), style.as_array(values, float)
    if pictures.ndim != 3 or not pictures.size or outputs.shape != pictures.shape[:1]:
        raise ValueError(
            f"top_images: images have shape {pictures.shape} and values {outputs.shape}; expected (N, H, W) and (N,)"
        )
    style.check_finite("top_images", images=pictures, values=outputs)
    captions = [f"{value:.3g}" for value in outputs] + ["their mean"]
    return style.sheet([*pictures, pictures.mean(0)], captions, title, style.DARK if dark else style.LIGHT)


def attention_patterns(
    patterns: ArrayLike, tokens: Sequence[str], title: str = "Which token looks at which", *, dark: bool = False
) -> Figure:
    """Draw the attention of each head: a row for each token that looks, a column for each that is looked at.

    Args:
        patterns: (heads, T, T), such as a layer of what `explain.attention_patterns` returns.
        tokens: T short texts.
        title: title of the figure.
        dark: use a dark background.

    Raises:
        ValueError: the shapes do not fit, or numbers are not finite.
    """
    heads = style.as_array(patterns, float)
    if heads.ndim != 3 or not heads.size or heads.shape[1:] != (len(tokens), len(tokens)):
        raise ValueError(
            f"attention_patterns: patterns have shape {heads.shape}; expected (heads, T, T) for {len(tokens)} tokens"
        )
    style.check_finite("attention_patterns", patterns=heads)
    theme = style.DARK if dark else style.LIGHT
    names = [repr(token)[1:-1] if token.strip() else "␣" for token in tokens]
    columns = ceil(sqrt(len(heads)))
    rows = ceil(len(heads) / columns)
    side, longest = max(1.5, 0.19 * len(names)), 0.085 * max(map(len, names))  # inches: of a panel; of a name
    gap_x, gap_y = 0.6 + longest, 0.85 + longest
    right = 1.3
    size = columns * (side + gap_x) + right, rows * (side + gap_y) + 0.5
    figure = style.new_figure(*size, title, theme, (gap_x, gap_y - 0.3, right, 0.8))
    figure.subplots_adjust(wspace=gap_x / side, hspace=gap_y / side)
    image: Any = None
    for head, weights in enumerate(heads):
        axes = figure.add_subplot(rows, columns, head + 1)
        style.style_axes(axes, theme, title=f"head {head}", x="looked at", y="token")
        image = axes.imshow(weights, cmap=theme.grays, vmin=0, vmax=1)
        axes.set_xticks(range(len(names)), names, rotation=90 if longest > 0.1 else 0)
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(length=0)
    style.color_bar(figure, image, "attention", theme, right)
    return figure


def _colored(values: NDArray[Any], colors: str) -> NDArray[np.uint8]:
    """Return an image (H, W, 3) of values from 0 to 1 (H, W)."""
    return np.asarray(colormaps[colors](values, bytes=True)[..., :3], np.uint8)
