"""Augmentation: each setting does what it says, the same generator gives the same pictures, a stop changes nothing."""

from __future__ import annotations

import time

import numpy as np
import pytest

from chainrule.data import Augment, DataLoader, TensorDataset
from chainrule.data.augment import _gaussian

ALL = Augment(shift=2, rotation=10, scale=0.1, shear=5, elastic=1)


class Fixed:
    """Stands for a generator: draws the given numbers for down, across, turn, tall, wide and slant."""

    def __init__(self, **draws):
        self.draws = [draws.get(name, 0.0) for name in ("down", "across", "turn", "tall", "wide", "slant")]

    def uniform(self, low, high, shape):
        assert (low, high) == (-1, 1)
        return np.tile(np.array(self.draws)[:, None], shape[1])


def blobs(count=20, side=28, dtype=np.uint8):
    """Smooth pictures, dark near their borders, as digits are."""
    random = np.random.default_rng(0)
    y, x = np.indices((side, side)) - (side - 1) / 2
    centers = random.uniform(-4, 4, (count, 3, 2, 1, 1))
    ink = np.exp(-((y - centers[:, :, 0]) ** 2 + (x - centers[:, :, 1]) ** 2) / 6).max(axis=1)
    return (255 * ink).round().astype(np.uint8) if dtype == np.uint8 else ink.astype(dtype)


def random(seed=0):
    return np.random.default_rng(seed)


# What comes out


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(3, 28, 28), (2, 9, 14), (1, 1, 1), (0, 28, 28)], ids=str)
def test_shape_and_type_stay(dtype, shape):
    images = (random().random(shape) * 255).astype(dtype)
    before = images.copy()
    result = ALL(images, random())
    assert (result.shape, result.dtype) == (shape, dtype)
    np.testing.assert_array_equal(images, before)  # the pictures themselves are left alone


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_without_any_strength_nothing_changes(dtype):
    images = (random().random((4, 12, 15)) * 255).astype(dtype)
    np.testing.assert_array_equal(Augment()(images, random()), images)


def test_the_same_generator_gives_the_same_pictures_and_each_picture_is_changed_differently():
    images = np.repeat(blobs(1), 6, axis=0)
    first, again, other = ALL(images, random(1)), ALL(images, random(1)), ALL(images, random(2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any(axis=(1, 2)).all()
    assert len({picture.tobytes() for picture in first}) == 6


def test_bytes_are_rounded_floats():
    images = blobs(6)
    floats = ALL(images.astype(np.float32), random())
    np.testing.assert_array_equal(ALL(images, random()), np.rint(floats))


# Each setting


@pytest.mark.parametrize(("down", "across"), [(1, 0), (0, 1), (-1, 0), (0, -1), (1, -1)])
def test_a_whole_shift_moves_pixels_exactly(down, across):
    images = random().integers(0, 256, (2, 12, 10), np.uint8)
    expected = np.zeros_like(images)
    rows, columns = slice(3, None) if down < 0 else slice(None, 9), slice(3, None) if across < 0 else slice(None, 7)
    if not down:
        rows = slice(None)
    if not across:
        columns = slice(None)
    moved = np.roll(images, (-3 * down, -3 * across), axis=(1, 2))
    expected[:, rows, columns] = moved[:, rows, columns]
    np.testing.assert_array_equal(Augment(shift=3)(images, Fixed(down=down, across=across)), expected)


@pytest.mark.parametrize("quarters", [1, -1, 2])
@pytest.mark.parametrize("side", [11, 12])
def test_a_turn_by_quarters_is_numpys(quarters, side):
    images = random().integers(0, 256, (3, side, side), np.uint8)
    rotated = Augment(rotation=180)(images, Fixed(turn=quarters / 2))
    np.testing.assert_array_equal(rotated, np.rot90(images, quarters, axes=(1, 2)))


def test_scale_is_about_the_middle_on_each_axis():
    y, x = np.indices((29, 29)) - 14
    disc = (np.hypot(y, x) <= 6).astype(np.float64)[None]
    larger, smaller = (Augment(scale=1)(disc, Fixed(tall=t, wide=t)) for t in (-1, 1))
    assert larger.sum() == pytest.approx(4 * disc.sum(), rel=0.05)
    assert smaller.sum() == pytest.approx(disc.sum() / 4, rel=0.05)
    tall = Augment(scale=1)(disc, Fixed(tall=-1))[0]
    assert tall[14 - 11, 14] == tall[14 + 11, 14] == 1
    assert tall[14, 14 - 8] == tall[14, 14 + 8] == 0


def test_shear_slants_upright_strokes():
    line = np.zeros((1, 21, 21))
    line[0, 2:19, 10] = 1
    slanted = Augment(shear=45)(line, Fixed(slant=1))[0]
    assert [int(row.argmax()) for row in slanted[5:16]] == [10 - (i - 10) for i in range(5, 16)]
    flat = line.transpose(0, 2, 1)
    np.testing.assert_allclose(Augment(shear=45)(flat, Fixed(slant=1))[0, 10, 6:15], 1, atol=1e-12)


@pytest.mark.parametrize("smoothing", [2.0, 4.0, 8.0])
def test_elastic_displaces_by_so_many_pixels_everywhere(smoothing):
    field = Augment(elastic=1.5, smoothing=smoothing)._field((3000, 28, 28), random())
    assert field.shape == (3000, 2, 28, 28)
    np.testing.assert_allclose(np.sqrt((field**2).mean(axis=(0, 1))), 1.5, rtol=0.06)
    assert abs(field.mean()) < 0.05
    assert abs((field[:, 0] * field[:, 1]).mean()) < 0.05  # down says nothing of across


def test_elastic_is_smooth():
    """Neighbors' correlation is that of two Gaussians a pixel apart, e^(-1/4σ²)."""
    field = Augment(elastic=1, smoothing=3)._field((2000, 41, 41), random())[:, :, 15:26, 15:26]
    for axis in (2, 3):
        steps = np.diff(field, axis=axis)
        assert (steps**2).mean() == pytest.approx(2 - 2 * np.exp(-1 / 36), rel=0.05)


def test_elastic_keeps_the_ink_roughly():
    images = blobs(200, dtype=np.float32)
    bent = Augment(elastic=1)(images, random())
    ratio = bent.sum(axis=(1, 2)) / images.sum(axis=(1, 2))
    assert ratio.mean() == pytest.approx(1, abs=0.05)
    assert ((ratio > 0.5) & (ratio < 1.7)).all()
    assert (np.abs(bent - images).max(axis=(1, 2)) > 0.1).all()


def test_gaussian_weights_fall_off_and_keep_variances():
    weights = _gaussian(28, 4.0)
    np.testing.assert_allclose((weights**2).sum(axis=1), 1, rtol=1e-6)
    assert weights[10, 14] / weights[10, 10] == pytest.approx(np.exp(-0.5), rel=1e-5)


def test_values_up_to_the_strength_are_equally_likely():
    """A single bright pixel shows where it went: within the shift, on average nowhere."""
    images = np.zeros((4000, 21, 21))
    images[:, 10, 10] = 1
    moved = Augment(shift=3)(images, random())
    y, x = (np.einsum("nij,ij->n", moved, positions - 10) for positions in np.indices((21, 21)))
    for way in (y, x):
        assert abs(way).max() <= 3
        assert abs(way).max() > 2.9
        assert way.mean() == pytest.approx(0, abs=0.1)
        assert way.std() == pytest.approx(3 / np.sqrt(3), rel=0.05)
    assert abs(np.corrcoef(y, x)[0, 1]) < 0.06


# With a loader


def make(seed=3, count=22, **options):
    images, labels = blobs(count, dtype=np.float32), np.arange(count)
    options = {"shuffle": True, "augment": ALL, "generator": random(seed), **options}
    return DataLoader(TensorDataset(images, labels), 6, **options)


def one_pass(loader):
    return [(images.numpy().tobytes(), labels.tolist()) for images, labels in loader]


@pytest.mark.parametrize("shuffle", [True, False])
def test_labels_stay_with_their_pictures(shuffle):
    plain = blobs(22, dtype=np.float32)
    for images, labels in make(augment=lambda images, generator: images + 1, shuffle=shuffle):
        np.testing.assert_array_equal(images.numpy(), plain[labels.numpy()] + 1)
        assert images.dtype == np.float32


@pytest.mark.parametrize("shuffle", [True, False])
def test_every_pass_changes_pictures_anew_and_the_seed_decides_all(shuffle):
    loader, same, other = make(shuffle=shuffle), make(shuffle=shuffle), make(4, shuffle=shuffle)
    first, second = one_pass(loader), one_pass(loader)
    assert len({bits for bits, _ in first + second}) == 8
    assert [one_pass(same), one_pass(same)] == [first, second]
    assert one_pass(other) != first


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("batches", range(5))
def test_a_loader_that_was_stopped_goes_on_with_the_same_pictures(batches, shuffle):
    loader = make(shuffle=shuffle)
    expected = [one_pass(loader) for _ in range(3)]
    stopped = make(shuffle=shuffle)
    one_pass(stopped)
    running = iter(stopped)
    for _ in range(batches):
        next(running)
    resumed = make(99, shuffle=shuffle)
    resumed.load_state_dict(stopped.state_dict())
    assert [one_pass(resumed), one_pass(resumed)] == [expected[1][batches:], expected[2]]


def test_without_augmentation_a_loader_draws_what_it_always_did():
    order = random(3).permutation(22).tolist()
    assert [label for _, labels in make(augment=None) for label in labels.tolist()] == order
    assert [label for _, labels in make() for label in labels.tolist()] == order


# What it refuses


@pytest.mark.parametrize("name", ["shift", "rotation", "scale", "shear", "elastic", "smoothing"])
@pytest.mark.parametrize("value", [-1, -1e-9, np.nan, np.inf, -np.inf])
def test_a_setting_must_be_a_number_of_at_least_0(name, value):
    with pytest.raises(ValueError, match=f"Augment: {name} must be a number of at least 0, got {value}"):
        Augment(**{name: value})


def test_settings_that_make_no_sense():
    with pytest.raises(ValueError, match="Augment: shear must be below 90 degrees, got 90"):
        Augment(shear=90)
    with pytest.raises(ValueError, match="Augment: smoothing must be above 0 pixels, got 0"):
        Augment(elastic=1, smoothing=0)
    with pytest.raises(TypeError, match="zoom"):
        Augment(zoom=1)


@pytest.mark.parametrize("shape", [(28, 28), (1, 2, 1, 28, 28), (784,)], ids=str)
def test_pictures_of_another_form_are_refused(shape):
    with pytest.raises(ValueError, match=r"Augment: images must be \(N, H, W\) or \(N, C, H, W\), got shape \("):
        ALL(np.zeros(shape, np.float32), random())


@pytest.mark.parametrize("dtype", [np.int64, bool, complex])
def test_pictures_of_another_type_are_refused(dtype):
    with pytest.raises(TypeError, match="Augment: images must be uint8 or floats, got"):
        ALL(np.zeros((1, 4, 4), dtype), random())


def test_a_batch_is_quick():
    """A tenth of a training step of a small network, at most; here with room for a busy machine."""
    images = blobs(128)
    ALL(images, random())  # compiled by now
    seconds = []
    for _ in range(7):
        start = time.perf_counter()
        ALL(images, random())
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.02
