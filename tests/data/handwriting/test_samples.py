"""Drawn images in MNIST's format, and the data set made of them."""

import numpy as np
import pytest

from chainrule.data import catalog, handwriting, idx, load, load_test
from chainrule.data.handwriting import samples, training_set
from chainrule.data.image_data import FILES


def is_in_mnists_format(image):
    """Within 20×20 pixels, one side of 20, the center of mass within a pixel of the center unless the border stops it."""
    rows, columns = (np.flatnonzero(image.any(axis=axis)) for axis in (1, 0))
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert image.max() == 255
    assert max(height, width) <= 20
    for axis, lines in ((1, rows), (0, columns)):
        center = image.sum(axis=axis, dtype=float) @ np.arange(28) / image.sum(dtype=float)
        assert abs(center - 14) < 1.01 or lines[0] == 0 or lines[-1] == 27


def test_drawn_digits_have_mnists_format_and_come_again_from_the_same_seed():
    images, labels = samples.drawn_digits(60, np.random.default_rng(1), damaged=0.3)
    assert (images.shape, images.dtype, labels.dtype) == ((60, 28, 28), np.uint8, np.uint8)
    for image in images:
        is_in_mnists_format(image)
    assert set(labels.tolist()) <= set(range(10))
    assert len(set(labels.tolist())) > 7
    again = samples.drawn_digits(60, np.random.default_rng(1), damaged=0.3)
    assert np.array_equal(again[0], images)
    assert np.array_equal(again[1], labels)
    other = samples.drawn_digits(60, np.random.default_rng(2), damaged=0.3)
    assert not np.array_equal(other[1], labels)


def test_rare_shapes_are_as_frequent_as_asked():
    _, labels = samples.drawn_digits(200, np.random.default_rng(3), rare=1.0)
    expected = {int(label) for label, _ in samples.RARE}
    assert set(labels.tolist()) == expected
    assert np.mean(labels == 1) == pytest.approx(0.4, abs=0.1)  # four of ten
    for label, variant in samples.RARE:
        assert variant in handwriting.DIGITS[label]


def test_what_is_no_digit_has_mnists_format_and_no_mark_that_only_its_size_tells():
    images = samples.non_digits(60, np.random.default_rng(5))
    for image in images:
        is_in_mnists_format(image)
    assert set(samples.WITHOUT_SIZE) < set(handwriting.MARKS)
    assert len(np.unique(images, axis=0)) == 60


def test_damage_leaves_ink_and_is_not_the_same_twice():
    clean = samples._drawn_ink("8", np.random.default_rng(0))
    kept, generator = clean.copy(), np.random.default_rng(1)
    results = [samples.damage(clean, generator) for _ in range(40)]
    assert np.array_equal(clean, kept)
    for ink in results:
        assert ink.dtype == np.float32
        assert np.isfinite(ink).all()
        assert ink.min() >= 0
        assert 0.3 < ink.max() <= 1
    assert len({samples.to_image(ink).tobytes() for ink in results}) > 30


def test_blank_images_are_refused():
    images, _ = samples.drawn_digits(3, np.random.default_rng(0))
    images[2] = 0
    with pytest.raises(ValueError, match="damaged_digits: image 2 is blank"):
        samples.damaged_digits(images, np.random.default_rng(0))


@pytest.mark.parametrize("change", ["_rule", "_gap", "_neighbor", "_specks"])
def test_a_change_adds_or_removes_ink_where_it_says(change):
    clean = samples._drawn_ink("0", np.random.default_rng(0))
    changed = getattr(samples, change)(clean, np.random.default_rng(2))
    if change == "_gap":
        rows = np.flatnonzero((changed != clean).any(axis=1))
        assert len(rows) == rows[-1] - rows[0] + 1  # neighboring rows
        assert (changed[rows] <= 0.31 * clean[rows]).all()
    else:
        assert changed.sum() > clean.sum()
        assert changed.size >= clean.size


def test_the_data_set_keeps_mnist_first_and_last_and_damages_no_validation_image():
    generator = np.random.default_rng(8)
    images, _ = samples.drawn_digits(50, generator)
    labels = np.repeat(np.uint8([3, 9]), [40, 10])  # the last ten are set aside
    counts = training_set.Counts(drawn=5, damaged_drawn=6, damaged=7, cut_out=4, no_digits=8, marks=3)
    all_images, all_labels = training_set.extend(images, labels, validation=10, counts=counts)
    assert all_images.shape == (83, 28, 28)
    assert all_labels.dtype == np.uint8
    assert np.array_equal(all_images[:40], images[:40])
    assert np.array_equal(all_images[-10:], images[-10:])
    assert all_labels[-10:].tolist() == [9] * 10
    assert all_labels[51:58].tolist() == [3] * 7  # damaged ones, all from the first 40
    assert all_labels[62:73].tolist() == [training_set.NONE] * 11
    assert all_labels[58:62].max() < 10
    assert all_images[58:73].any(axis=(1, 2)).all()
    assert catalog.HANDWRITING.classes[training_set.NONE] == "none"
    again = training_set.extend(images, labels, validation=10, counts=counts)
    assert np.array_equal(again[0], all_images)


@pytest.fixture
def packed(monkeypatch, tmp_path):
    """Small images in the place of MNIST, in a cache of the test's own."""
    arrays = [np.full((count, 28, 28), count, np.uint8) for count in (7, 4)]
    arrays = [arrays[0], np.arange(7, dtype=np.uint8), arrays[1], np.arange(4, dtype=np.uint8)]
    files = {file: idx.encode(array) for file, array in zip(FILES, arrays, strict=True)}
    monkeypatch.setattr(training_set, "unpack", lambda names: ((name, files[name]) for name in files if name in names))
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "cache"))
    return arrays


def test_its_test_images_are_mnists_and_need_no_drawing(packed, monkeypatch):
    monkeypatch.setattr(training_set, "extend", None)  # would fail if called
    data = load_test("handwriting")
    assert np.array_equal(data.test_images, packed[2])
    assert np.array_equal(data.test_labels, packed[3])
    assert data.classes == (*"0123456789", "none")
    assert data.train_images.shape == (0, 28, 28)
    assert not catalog.HANDWRITING.cached
    assert {file: catalog.HANDWRITING.sha256[file] for file in FILES[2:]} == {
        file: catalog.MNIST.sha256[file] for file in FILES[2:]
    }


def test_it_is_drawn_once(packed, monkeypatch):
    calls = []

    def extend(images, labels):
        calls.append(len(images))
        return images[:3], labels[:3]

    monkeypatch.setattr(training_set, "extend", extend)
    for _ in range(2):
        data = load("handwriting")
        assert np.array_equal(data.train_images, packed[0][:3])
        assert data.train_labels.tolist() == [0, 1, 2]
        assert np.array_equal(data.test_images, packed[2])
    assert calls == [7]
    assert catalog.HANDWRITING.cached


def test_the_test_images_of_a_folder_come_with_the_rest(packed, tmp_path):
    for file, array in zip(FILES, packed, strict=True):
        idx.write(tmp_path / file, array)
    assert len(load_test(tmp_path).test_images) == 4
