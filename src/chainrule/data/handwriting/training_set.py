"""The data set `handwriting`: MNIST, drawn digits, digits cut out of pages, and a class for non-digits.

MNIST's writers were Americans of around 1990, and its images are clean. A network trained on them alone takes a 1 with
an upstroke for a 7, and sees a digit in everything. So the data set adds to MNIST's training images:

- digits drawn from strokes, a third of them in ways that are rare in MNIST; some of them damaged as by a photo,
- damaged copies of some of MNIST's training images,
- digits as `chainrule read` cuts them out of photographed pages: small, faint, with a rule or a neighbor,
- letters, marks, pairs of digits and spots, and cutouts of pages without a digit; their class is "none".

The last 10,000 training images, which `ImageData.split` sets aside for validation, are MNIST's; so are the test images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from chainrule.data import idx
from chainrule.data.handwriting.cutouts import digit_cutouts, mark_cutouts
from chainrule.data.handwriting.samples import damaged_digits, drawn_digits, non_digits
from chainrule.data.image_data import FILES
from chainrule.data.packed_mnist import unpack

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

NONE = 10
"""The class of images that show no digit."""

VALIDATION = 10_000
"""The number of MNIST's training images that are for validation."""
SEED = 17
"""The seed of all that is drawn."""


class Counts(NamedTuple):
    """How many images of each kind are added.

    Attributes:
        drawn: digits drawn from strokes.
        damaged_drawn: such digits, damaged.
        damaged: damaged copies of MNIST's training images.
        cut_out: digits cut out of pages.
        no_digits: drawn letters, marks, pairs of digits and spots.
        marks: cutouts of pages without a digit.
    """

    drawn: int = 6_000
    damaged_drawn: int = 2_000
    damaged: int = 2_500
    cut_out: int = 8_000
    no_digits: int = 4_000
    marks: int = 2_500


COUNTS = Counts()


def create(names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Yield the name and bytes of each requested file of the data set; to draw its training files takes minutes.

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
    counts: Counts = COUNTS,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Insert drawn, damaged and cut out images before the last training images, which stay the last.

    Args:
        images: uint8 (N, 28, 28).
        labels: uint8 (N,).
        validation: the number of last images, which stay the last and are not damaged.
        counts: how many images of each kind to add.

    Returns:
        images, (N + sum of counts, 28, 28), and labels, (N + sum of counts,).
    """
    generator = np.random.default_rng(SEED)
    train = len(images) - validation
    chosen = generator.permutation(train)[: counts.damaged]
    none = np.concatenate([non_digits(counts.no_digits, generator), mark_cutouts(counts.marks, generator)])
    parts = [
        (images[:train], labels[:train]),
        drawn_digits(counts.drawn, generator),
        drawn_digits(counts.damaged_drawn, generator, damaged=1.0),
        (damaged_digits(images[chosen], generator), labels[chosen]),
        digit_cutouts(counts.cut_out, generator),
        (none, np.full(len(none), NONE, np.uint8)),
        (images[train:], labels[train:]),
    ]
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
