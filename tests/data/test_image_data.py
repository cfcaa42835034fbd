"""Loaded data: parts, order, and that nobody changes it by accident."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from chainrule.data import ImageData
from chainrule.errors import DataError


def make(train: int = 12, test: int = 4) -> ImageData:
    """Images that carry their own position."""
    return ImageData(
        "toy",
        tuple("abc"),
        np.arange(train, dtype="uint8").reshape(-1, 1, 1) + np.zeros((train, 2, 3), "uint8"),
        np.arange(train, dtype="uint8") % 3,
        np.full((test, 2, 3), 200, "uint8"),
        np.zeros(test, "uint8"),
    )


def test_the_last_training_images_are_for_validation() -> None:
    data = make()
    train, validation, test = data.split(5)
    assert train.images[:, 0, 0].tolist() == list(range(7))
    assert validation.images[:, 0, 0].tolist() == list(range(7, 12))
    assert validation.labels.tolist() == [1, 2, 0, 1, 2]
    assert train.labels.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert test.images is data.test_images
    assert test.labels is data.test_labels
    assert np.shares_memory(train.images, data.train_images)


@pytest.mark.parametrize(("total", "expected"), [(12, 2), (5, 0), (60_000, 10_000), (120_000, 10_000)])
def test_validation_left_out(total: int, expected: int) -> None:
    train, validation, _ = make(train=total).split()
    assert (len(train.images), len(validation.labels)) == (total - expected, expected)


def test_a_data_set_says_how_many_are_for_validation() -> None:
    data = replace(make(), validation=7)
    assert data.split().train.images[:, 0, 0].tolist() == list(range(5))
    assert len(data.split(2).train.labels) == 10


def test_no_validation_at_all() -> None:
    assert len(make().split(0).train.labels) == 12


@pytest.mark.parametrize("validation", [-1, 12, 10_000])
def test_validation_that_does_not_fit(validation: int) -> None:
    with pytest.raises(DataError, match=rf"toy has 12 training images: {validation:,} .* only 0 to 11"):
        make().split(validation)


def test_arrays_are_read_only_but_the_givers_stay_as_they_are() -> None:
    images = np.zeros((3, 2, 2), "uint8")
    labels = np.zeros(3, "uint8")
    data = ImageData("toy", ("a",), images, labels, images, labels)
    with pytest.raises(ValueError, match="read-only"):
        data.train_images[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        data.split(1).train.labels[0] = 1
    images[0] = 1
    assert images.flags.writeable


def test_repr_says_what_it_is() -> None:
    assert repr(make()) == "ImageData(toy: 12 + 4 images of 2×3, 3 classes)"
