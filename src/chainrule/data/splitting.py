"""Splits examples at random into training and test examples, with no example on both sides."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

TEST_FRACTION = 1 / 6
"""The share of test examples."""


def split(
    contents: Sequence[Any], groups: Sequence[Any], seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Split examples into training and test examples, a sixth of each group for the test.

    Copies of an example are on one side. Those in the training part come first, so that they are on one side of it,
    too, when its end is split off for validation; the others are in random order.

    Args:
        contents: what each example consists of, as something that can be compared and hashed.
        groups: the class of each example, or the same for all.
        seed: of the random numbers.

    Returns:
        Indices of the training examples, indices of the test examples, and how many examples are copies of others.
    """
    generator = np.random.default_rng(seed)
    copies = _positions(contents)
    by_group: dict[Any, list[list[int]]] = {}
    for indices in copies.values():
        by_group.setdefault(groups[indices[0]], []).append(indices)
    train: list[list[int]] = []
    test: list[list[int]] = []
    for same in by_group.values():
        order = [same[i] for i in generator.permutation(len(same))]
        count = max(1, round(len(order) * TEST_FRACTION)) if len(order) > 2 else 0
        test += order[:count]
        train += order[count:]
    return _in_random_order(train, generator), _flat(test), len(contents) - len(copies)


def shuffle(contents: Sequence[Any], seed: int) -> tuple[NDArray[np.int64], int]:
    """Return training examples in random order, but copies of others first, and how many examples are copies.

    Copies are then on one side when the end is split off for validation. The arguments are those of `split`.
    """
    copies = _positions(contents)
    return _in_random_order(list(copies.values()), np.random.default_rng(seed)), len(contents) - len(copies)


def digests(images: NDArray[Any]) -> list[bytes]:
    """Return a short content of each image, (N, ...), by which copies are found: they have the same."""
    return [blake2b(np.ascontiguousarray(image).data, digest_size=16).digest() for image in images]


def leak_note(train: Sequence[Any], test: Sequence[Any]) -> tuple[str, ...]:
    """Return a phrase on the test examples that are copies of training examples, given their contents, if there are."""
    contents = set(train)
    count = sum(content in contents for content in test)
    if not count:
        return ()
    return (f"{count:,} test image{'s are copies' if count > 1 else ' is a copy'} of training images",)


def _positions(contents: Sequence[Any]) -> dict[Any, list[int]]:
    """Return the positions of each different content."""
    copies: dict[Any, list[int]] = {}
    for index, content in enumerate(contents):
        copies.setdefault(content, []).append(index)
    return copies


def _in_random_order(copies: list[list[int]], generator: np.random.Generator) -> NDArray[np.int64]:
    shuffled = [copies[i] for i in generator.permutation(len(copies))]
    shuffled.sort(key=lambda indices: len(indices) == 1)  # keeps the random order among those without copies
    return _flat(shuffled)


def _flat(parts: list[list[int]]) -> NDArray[np.int64]:
    return np.array([index for part in parts for index in part], np.int64)
