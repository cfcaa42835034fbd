"""Folders of class folders with pictures, and .npz files: what is read, how it is split, and what is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image

from chainrule import data
from chainrule.data.pictures import is_picture_folder, read_square
from chainrule.data.splitting import split
from chainrule.errors import DataError


def write_pictures(folder, counts, seed=0, gray=False):
    rng = np.random.default_rng(seed)
    for name, count in counts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            pixels = rng.integers(0, 256, (20, 30) if gray else (20, 30, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


def rows(images):
    return {image.tobytes() for image in images}


def test_split_is_stratified_and_complete():
    groups = [0] * 30 + [1] * 12 + [2] * 3
    train, test, duplicates = split(range(45), groups, seed=4)
    assert sorted([*train, *test]) == list(range(45))
    assert np.bincount(np.array(groups)[test]).tolist() == [5, 2, 1]
    assert duplicates == 0
    again = split(range(45), groups, seed=4)
    np.testing.assert_array_equal(train, again[0])
    assert not np.array_equal(train, split(range(45), groups, seed=5)[0])


def test_copies_are_on_one_side_of_both_splits():
    contents = [f"picture {i // 3}" for i in range(36)] + [f"single {i}" for i in range(36)]
    for seed in range(20):
        train, test, duplicates = split(contents, [0] * 72, seed)
        assert duplicates == 24
        count = len(train) - len(train) // 6  # the end is split off for validation
        parts = [{contents[i] for i in indices} for indices in (train[:count], train[count:], test)]
        assert not parts[0] & parts[1]
        assert not parts[2] & (parts[0] | parts[1])


def test_pictures_of_all_kinds(tmp_path):
    folder = write_pictures(tmp_path / "animals", {"dog": 6, "cat": 12, "über": 3})
    Image.new("RGB", (50, 40), (255, 0, 0)).save(folder / "dog" / "red.jpg")
    Image.new("L", (9, 9), 7).save(folder / "cat" / "gray.bmp")
    (folder / ".hidden").mkdir()
    loaded = data.load(folder, image_size=16)
    assert loaded.classes == ("cat", "dog", "über")
    assert loaded.photos
    assert loaded.train_images.shape[1:] == (3, 16, 16)
    assert (len(loaded.train_images), len(loaded.test_images)) == (19, 4)
    assert repr(loaded).endswith("19 + 4 color images of 16×16, 3 classes)")
    assert np.bincount(loaded.test_labels).tolist() == [2, 1, 1]
    expected = {read_square(path, 16).tobytes() for path in folder.glob("[!.]*/*")}
    assert rows(loaded.train_images) | rows(loaded.test_images) == expected
    other = data.load(folder, image_size=16, seed=1)
    assert rows(other.test_images) != rows(loaded.test_images)
    np.testing.assert_array_equal(data.load(folder, image_size=16).train_images, loaded.train_images)


def test_gray_pictures_have_no_channels(tmp_path):
    loaded = data.load(write_pictures(tmp_path / "gray", {"a": 6, "b": 6}, gray=True))
    assert loaded.train_images.shape == (10, 32, 32)


def test_the_middle_is_cut_out_in_the_right_colors(tmp_path):
    pixels = np.zeros((8, 24, 3), np.uint8)
    pixels[:, :8], pixels[:, 8:16], pixels[:, 16:] = (255, 0, 0), (10, 200, 30), (0, 0, 255)
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    square = read_square(tmp_path / "wide.png", 8)
    assert square[:, 2:6, 2:6].reshape(3, -1).T.tolist() == [[10, 200, 30]] * 16


def test_duplicates_are_told(tmp_path):
    folder = write_pictures(tmp_path / "twice", {"a": 6, "b": 6})
    (folder / "a" / "again.png").write_bytes((folder / "a" / "0.png").read_bytes())
    assert data.load(folder).notes == ("1 are copies of others",)


def test_refusals(tmp_path):
    folder = write_pictures(tmp_path / "p", {"a": 6, "b": 6})
    (folder / "b" / "notes.txt").write_text("no picture")
    with pytest.raises(DataError, match=re.escape(f"{folder / 'b' / 'notes.txt'}: not an image in one of the formats")):
        data.load(folder)
    (folder / "b" / "notes.txt").unlink()
    (folder / "b" / "from-a.png").write_bytes((folder / "a" / "0.png").read_bytes())
    with pytest.raises(DataError, match=r"has the same picture in the classes a, b: keep one"):
        data.load(folder)
    (folder / "b" / "from-a.png").unlink()
    same = write_pictures(tmp_path / "same", {"a": 1, "b": 0})
    content = (same / "a" / "0.png").read_bytes()
    for file in ("a/1", "a/2", "b/0", "b/1", "b/2"):
        (same / f"{file}.png").write_bytes(content)
    with pytest.raises(DataError, match=r"has the same picture in the classes a, b: keep one"):
        data.load(same)
    for size in (2, 1000):
        with pytest.raises(DataError, match=f"the image size must be from 4 to 512 pixels, not {size}"):
            data.load(folder, image_size=size)
    (folder / "c").mkdir()
    with pytest.raises(DataError, match=r"c has 0 pictures: at least 3 are needed in each class"):
        data.load(folder)
    with pytest.raises(DataError, match="has only one class folder, a"):
        data.load(write_pictures(tmp_path / "one", {"a": 6}))
    assert not is_picture_folder(tmp_path / "nowhere")


# .npz


def test_npz_in_four_arrays(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (30, 9, 8)).astype(np.uint8), np.array(["b", "a", "c"])[rng.integers(0, 3, 30)]
    np.savez(tmp_path / "a.npz", x_train=x[:20], y_train=y[:20], x_test=x[20:], y_test=y[20:])
    loaded = data.load(tmp_path / "a.npz")
    order = [next(i for i in range(20) if (image == x[i]).all()) for image in loaded.train_images]
    assert sorted(order) == list(range(20))
    assert order != list(range(20))
    np.testing.assert_array_equal(loaded.test_images, x[20:])
    assert [loaded.classes[i] for i in loaded.train_labels] == y[order].tolist()
    assert [loaded.classes[i] for i in loaded.test_labels] == y[20:].tolist()
    assert not loaded.photos
    assert loaded.notes == ()
    again, other = data.load(tmp_path / "a.npz"), data.load(tmp_path / "a.npz", seed=1)
    np.testing.assert_array_equal(again.train_images, loaded.train_images)
    assert not np.array_equal(other.train_images, loaded.train_images)


def test_npz_sorted_by_class_with_copies(tmp_path):
    """Validation has every class though the file is sorted, no copy is in it and in the training, and leaks are told."""
    x = np.random.default_rng(1).integers(0, 256, (240, 5, 5)).astype(np.uint8)
    x[:12], x[210:213] = x[12:24], x[30:33]
    y = np.repeat(np.arange(4), 60)
    y[:12] = y[12:24]
    np.savez(tmp_path / "a.npz", x_train=x[:200], y_train=y[:200], x_test=x[200:], y_test=y[200:])
    loaded = data.load(tmp_path / "a.npz")
    assert loaded.notes == ("12 are copies of others", "3 test images are copies of training images")
    train, validation, _ = loaded.split()
    assert set(validation.labels.tolist()) == {0, 1, 2, 3}
    assert not rows(train.images) & rows(validation.images)


@pytest.mark.parametrize("shape", [(9, 8, 3), (3, 9, 8)])
def test_npz_in_two_arrays_and_colors(tmp_path, shape):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (30, *shape)).astype(np.uint8), np.arange(30).reshape(-1, 1) % 2 + 5
    np.savez_compressed(tmp_path / "b.npz", x=x, y=y)
    loaded = data.load(tmp_path / "b.npz")
    assert loaded.classes == ("5", "6")
    assert (len(loaded.train_images), len(loaded.test_images)) == (26, 4)
    channels_first = x if shape[0] == 3 else x.transpose(0, 3, 1, 2)
    by_content = {image.tobytes(): label for image, label in zip(channels_first, y[:, 0] - 5, strict=True)}
    for images, labels in ((loaded.train_images, loaded.train_labels), (loaded.test_images, loaded.test_labels)):
        assert [by_content[image.tobytes()] for image in images] == labels.tolist()


IMAGES = np.zeros((6, 4, 4), np.uint8)
BAD = {
    "holds a, b: there should be x_train, y_train, x_test, y_test, or x, y": {"a": IMAGES, "b": IMAGES},
    "x holds float64 of shape (6, 4, 4): images must be uint8": {"x": IMAGES * 1.0, "y": np.arange(6)},
    "x has shape (6, 4, 4, 2): colored images must be": {"x": np.zeros((6, 4, 4, 2), np.uint8), "y": np.arange(6)},
    "holds 6 images in x, but 5 labels": {"x": IMAGES, "y": np.arange(5)},
    "y holds float64 of shape (6,): labels must be integers or text": {"x": IMAGES, "y": np.arange(6) / 2},
    "has no images left for the test: at least 3 different ones of a class": {
        "x": np.arange(64, dtype=np.uint8).reshape(4, 4, 4),
        "y": np.arange(4) % 2,
    },
    "y holds 9223372036854775808: labels must be below 2⁶³": {"x": IMAGES, "y": np.full(6, 2**63, np.uint64)},
    "has 1 classes: there must be 2 to 1,000": {"x": IMAGES, "y": np.zeros(6, int)},
    "is not an .npz file of plain arrays, or it is damaged": {"x": np.array([{}]), "y": np.arange(6)},
}


@pytest.mark.parametrize("message", BAD)
def test_npz_refusals(tmp_path, message):
    np.savez(tmp_path / "bad.npz", **BAD[message])
    with pytest.raises(DataError, match=re.escape(message)):
        data.load(tmp_path / "bad.npz")


def test_npz_that_is_none(tmp_path):
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(DataError, match="not an .npz file of plain arrays, or it is damaged"):
        data.load(tmp_path / "text.npz")
    np.save(tmp_path / "array.npy", IMAGES)
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    np.savez_compressed(tmp_path / "damaged.npz", x=np.arange(8000, dtype=np.uint8).reshape(-1, 4, 4), y=np.arange(500))
    content = bytearray((tmp_path / "damaged.npz").read_bytes())
    content[60:200] = bytes(byte ^ 0x5A for byte in content[60:200])
    (tmp_path / "damaged.npz").write_bytes(content)
    for name in ("array.npz", "damaged.npz"):
        with pytest.raises(DataError, match="not an .npz file of plain arrays, or it is damaged"):
            data.load(tmp_path / name)
    with pytest.raises(DataError, match=r"there is no file .*nowhere\.npz"):
        data.load(tmp_path / "nowhere.npz")


def test_npz_labels_of_two_integer_types(tmp_path):
    """NumPy joins uint64 and int64 as float64: the classes would be "5.0" and "6.0"."""
    x = np.random.default_rng(0).integers(0, 256, (12, 4, 4)).astype(np.uint8)
    y = np.arange(12) % 2 + 5
    np.savez(tmp_path / "a.npz", x_train=x[:8], y_train=y[:8].astype(np.uint64), x_test=x[8:], y_test=y[8:])
    loaded = data.load(tmp_path / "a.npz")
    assert loaded.classes == ("5", "6")
    assert loaded.test_labels.tolist() == [0, 1, 0, 1]


def test_all_channels_are_augmented_alike():
    images = np.random.default_rng(0).integers(0, 256, (5, 12, 12)).astype(np.uint8)
    augment = data.Augment(shift=2, rotation=20, elastic=1)
    gray = augment(images, np.random.default_rng(1))
    color = augment(np.stack([images, 255 - images, images], 1), np.random.default_rng(1))
    np.testing.assert_array_equal(color[:, 0], gray)
    np.testing.assert_array_equal(color[:, 2], gray)
    assert not np.array_equal(color[:, 1], gray)
