"""Synthetic pictures of handwritten digits, with every digit's box, to train a detector and to measure a reader.

    from chainrule.data.handwriting.pages import make_page

    page = make_page("strips", 7)
    page.image                # a Pillow image
    page.lines[0][2].label    # the third digit of the first line
    page.lines[0][2].box      # its tight box in pixels: left, top, right, bottom

The same kind, seed and `train` make the same page. Pages to measure with (the default) are written with MNIST's test
digits, pages to train with (`train=True`) with its training digits, from another stream of random numbers.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np

from chainrule.data.handwriting import everyday, faults, singles
from chainrule.data.handwriting.compose import Page, Written
from chainrule.data.handwriting.writing import Hand

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["KINDS", "MAX_PIXELS", "MOST_PIXELS", "Page", "Written", "make_page"]

MAX_PIXELS = 12_000_000
"""The default limit on the pixels of an everyday picture, as a phone takes it."""
MOST_PIXELS = MAX_PIXELS  # the former name

KINDS: dict[str, Callable[[np.random.Generator, Hand, int], Page]] = {
    "strips": faults.strips,
    "faint": faults.faint,
    "broad": faults.broad,
    "light on dark": faults.light_on_dark,
    "frames": singles.frames,
    "colors": singles.colors,
    "several": singles.several,
    "clutter": faults.clutter,
    "cells": faults.cells,
    "habits": singles.habits,
    "plots": singles.plots,
    "everyday": everyday.everyday,
    "no digits": everyday.nothing,
}
"""By kind, a function that makes a page from a generator, a writer and a limit on the pixels of everyday pictures."""


def make_page(kind: str, seed: int, *, train: bool = False, max_pixels: int = MAX_PIXELS) -> Page:
    """Make a page.

    Args:
        kind: one of `KINDS`.
        seed: of the random numbers, at least 0.
        train: whether the page is to train with, and not to measure with; the two share no digit of MNIST.
        max_pixels: limit on the pixels of an everyday picture; smaller pictures are made faster.

    Raises:
        ValueError: there is no such kind, the seed is not an integer of at least 0, or `max_pixels` is below 10,000.
    """
    if kind not in KINDS:
        raise ValueError(f"make_page: there is no kind {kind!r}; there are {', '.join(KINDS)}")
    if not (isinstance(seed, (int, np.integer)) and seed >= 0):
        raise ValueError(f"make_page: the seed must be an integer of at least 0, got {seed!r}")
    if not max_pixels >= 10_000:
        raise ValueError(f"make_page: max_pixels must be at least 10,000, got {max_pixels}")
    generator = np.random.default_rng((zlib.crc32(kind.encode()), int(train), seed))
    page = KINDS[kind](generator, Hand(generator, train=train), max_pixels)
    page.kind, page.seed, page.train = kind, seed, train
    return page
