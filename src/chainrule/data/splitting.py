"""Splits examples at random into training and test examples, with copies of an example on one side."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

TEST_FRACTION = 1 / 6
"""The fraction of examples that are for the test."""


def split(
    contents: Sequence[Any], groups: Sequence[Any], seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Split examples into training and test examples, a sixth of each group for the test.

    Copies of an example are on one side of the split. Training examples are in random order, except that those with
    copies come first: so copies also stay together when the end is later split off for validation. A group of fewer
    than three different examples has none for the test.

    Args:
        contents: a hashable value for each example; examples of equal content are copies.
        groups: the class of each example, or the same value for all.
        seed: of the random numbers.

    Returns:
        Indices of the training examples, indices of the test examples, and how many examples are copies of others.
    """
    generator = np.random.default_rng(seed)
    copies = _indices_by_content(contents)
    by_group: dict[Any, list[list[int]]] = {}
    for indices in copies.values():
        by_group.setdefault(groups[indices[0]], []).append(indices)
    train: list[list[int]] = []
    test: list[list[int]] = []
    for members in by_group.values():
        order = [members[i] for i in generator.permutation(len(members))]
        count = max(1, round(len(order) * TEST_FRACTION)) if len(order) > 2 else 0
        test += order[:count]
        train += order[count:]
    return _in_random_order(train, generator), _flatten(test), len(contents) - len(copies)


def shuffle(contents: Sequence[Any], seed: int) -> tuple[NDArray[np.int64], int]:
    """Return indices of training examples in random order, those with copies first, and how many examples are copies.

    So copies stay together when the end is later split off for validation. The arguments are those of `split`.
    """
    copies = _indices_by_content(contents)
    return _in_random_order(list(copies.values()), np.random.default_rng(seed)), len(contents) - len(copies)


def digests(images: NDArray[Any]) -> list[bytes]:
    """Return a hash of each image, (N, ...), as contents for `split` and `shuffle`."""
    return [blake2b(np.ascontiguousarray(image).data, digest_size=16).digest() for image in images]


def copies_note(count: int) -> tuple[str, ...]:
    """Return a remark on the number of examples that are copies of others; empty if it is 0."""
    return (f"{count} are copies of others",) if count else ()


def leak_note(train: Sequence[Any], test: Sequence[Any]) -> tuple[str, ...]:
    """Return a remark on test images that are copies of training images, given the contents; empty without any."""
    contents = set(train)
    count = sum(content in contents for content in test)
    if not count:
        return ()
    return (f"{count:,} test image{'s are copies' if count > 1 else ' is a copy'} of training images",)


def _indices_by_content(contents: Sequence[Any]) -> dict[Any, list[int]]:
    """Return the indices of the examples of each content."""
    copies: dict[Any, list[int]] = {}
    for index, content in enumerate(contents):
        copies.setdefault(content, []).append(index)
    return copies


def _in_random_order(copies: list[list[int]], generator: np.random.Generator) -> NDArray[np.int64]:
    shuffled = [copies[i] for i in generator.permutation(len(copies))]
    shuffled.sort(key=lambda indices: len(indices) == 1)  # a stable sort: examples without copies stay in random order
    return _flatten(shuffled)


def _flatten(parts: list[list[int]]) -> NDArray[np.int64]:
    return np.array([index for part in parts for index in part], np.int64)
