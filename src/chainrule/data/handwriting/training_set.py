"""The data set `handwriting`: MNIST, digits drawn from strokes, damaged digits, and a class for what is no digit.

MNIST's writers were Americans of around 1990, and its images are clean. A network trained on them alone takes a 1 with
an upstroke for a 7, and sees a digit in everything. So to MNIST's 50,000 training images are added, each once:

- digits drawn from strokes, a third of them in ways that MNIST hardly has; some of them damaged as by a photo,
- MNIST's own training images, damaged likewise,
- letters, marks, pairs of digits and spots, whose class is "none".

These are 19,500: with 34,000, and more of them damaged beyond what a person would read, the network read fewer of
MNIST's validation images right, 99.46%.

The last 10,000 training images, which `ImageData.split` sets aside for validation, are MNIST's; so are the test images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from chainrule.data import idx
from chainrule.data.handwriting.samples import damaged_digits, drawn_digits, non_digits
from chainrule.data.image_data import FILES
from chainrule.data.packed_mnist import unpack

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

NONE = 10
"""The class of images that show no digit."""

VALIDATION = 10_000
DRAWN, DAMAGED_DRAWN, DAMAGED_MNIST, NO_DIGITS = 6_000, 4_000, 5_000, 4_500
SEED = 17


def create(names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Yield the names and bytes of the requested files of the data set; its training files take minutes.

    Raises:
        DataError: the packed file of MNIST is damaged.
    """
    if not set(names) & set(FILES[:2]):
        yield from unpack(names)
        return
    published = dict(unpack(FILES))
    images, labels = (idx.decode(published[file], file) for file in FILES[:2])
    for file, array in zip(FILES[:2], extend(images, labels), strict=True):
        published[file] = idx.encode(array)
    for name in names:
        yield name, published[name]


def extend(
    images: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    *,
    validation: int = VALIDATION,
    counts: tuple[int, int, int, int] = (DRAWN, DAMAGED_DRAWN, DAMAGED_MNIST, NO_DIGITS),
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Add drawn and damaged images to training images, before the last ones, which stay the last.

    Args:
        images: uint8 (N, 28, 28).
        labels: uint8 (N,).
        validation: the number of last images to leave where they are, and out of what is damaged.
        counts: how many drawn digits, drawn and damaged digits, damaged ones of `images`, and images of no digit.

    Returns:
        images, (N + sum of counts, 28, 28), and labels.
    """
    generator = np.random.default_rng(SEED)
    train = len(images) - validation
    drawn, drawn_labels = drawn_digits(counts[0], generator)
    damaged, damaged_labels = drawn_digits(counts[1], generator, damaged=1.0)
    chosen = generator.permutation(train)[: counts[2]]
    photographed = damaged_digits(images[chosen], generator)
    none = non_digits(counts[3], generator)
    all_images = np.concatenate([images[:train], drawn, damaged, photographed, none, images[train:]])
    nones = np.full(len(none), NONE, np.uint8)
    all_labels = [labels[:train], drawn_labels, damaged_labels, labels[chosen], nones, labels[train:]]
    return all_images, np.concatenate(all_labels)
