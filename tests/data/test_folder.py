"""Folders of IDX files: every usual spelling is understood, every mistake is named."""

from __future__ import annotations

import math
import re
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from chainrule.data import idx, load
from chainrule.data.image_data import FILES
from chainrule.data.mapping import mapped_files
from chainrule.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path, arrays: dict[str, np.ndarray]) -> Path:
    folder = tmp_path / "digits"
    folder.mkdir()
    for file, array in arrays.items():
        idx.write(folder / file, array)
    return folder


@pytest.mark.parametrize(
    "spelling",
    [
        "{part}-{kind}-idx{rank}-ubyte",
        "{part}-{kind}-idx{rank}-ubyte.gz",
        "{part}-{kind}.idx{rank}-ubyte",
        "{part}-{kind}.idx{rank}-ubyte.gz",
        "{part}-{kind}.idx",
        "{part}-{kind}.gz",
        "{part}-{kind}",
    ],
)
@pytest.mark.parametrize("test", ["t10k", "test"])
def test_usual_spellings(tmp_path: Path, arrays: dict[str, np.ndarray], spelling: str, test: str) -> None:
    for file, array in arrays.items():
        part = "train" if file.startswith("train") else test
        kind, rank = ("images", 3) if array.ndim == 3 else ("labels", 1)
        idx.write(tmp_path / spelling.format(part=part, kind=kind, rank=rank), array)
    (tmp_path / "README.md").write_text("other files do not matter")
    data = load(tmp_path)
    loaded = (data.train_images, data.train_labels, data.test_images, data.test_labels)
    for array, expected in zip(loaded, arrays.values(), strict=True):
        np.testing.assert_array_equal(array, expected)
    assert data.classes == ("0", "1", "2")
    assert data.name == str(tmp_path)
    assert not data.train_images.flags.writeable


def test_copies_of_training_images_in_the_test_are_told(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    assert load(folder).notes == ()
    test = arrays["t10k-images-idx3-ubyte"].copy()
    test[2] = arrays["train-images-idx3-ubyte"][5]
    idx.write(folder / "t10k-images-idx3-ubyte", test)
    assert load(folder).notes == ("1 test image is a copy of training images",)


def test_classes_come_from_the_largest_label(folder: Path) -> None:
    idx.write(folder / "t10k-labels-idx1-ubyte", np.array([0, 11, 2, 1], "int16"))
    data = load(str(folder))
    assert data.classes[-1] == "11"
    assert len(data.classes) == 12
    assert data.test_labels.dtype == np.int16


@pytest.mark.parametrize(
    ("file", "array", "message"),
    [
        ("train-images-idx3-ubyte", np.zeros((11, 5, 4), "uint8"), "11 images, but .*train-labels.* 12 labels"),
        ("t10k-labels-idx1-ubyte", np.zeros(5, "uint8"), "4 images, but .*t10k-labels.* 5 labels"),
        ("train-labels-idx1-ubyte", np.zeros((12, 1), "uint8"), "train-labels.* uint8 in 2 dimensions: labels"),
        (
            "train-labels-idx1-ubyte",
            np.zeros(12, "float32"),
            "train-labels.* float32 in 1 dimensions: labels must be int",
        ),
        ("train-labels-idx1-ubyte", np.full(12, -1, "int8"), "labels from -1 to -1: they must be from 0 to 999"),
        ("train-labels-idx1-ubyte", np.full(12, 2_000_000_000, "int32"), "to 2000000000: they must be from 0 to 999"),
        ("train-images-idx3-ubyte", np.zeros((12, 20), "uint8"), "uint8 in 2 dimensions: images must be uint8 in 3"),
        ("t10k-images-idx3-ubyte", np.zeros((4, 5, 4), "int16"), "t10k-images.* int16 in 3 dimensions: images"),
        ("train-images-idx3-ubyte", np.zeros((0, 5, 4), "uint8"), r"holds no images: its shape is \(0, 5, 4\)"),
        ("t10k-images-idx3-ubyte", np.zeros((4, 0, 4), "uint8"), "holds no images"),
        ("t10k-images-idx3-ubyte", np.zeros((4, 5, 5), "uint8"), "training images of 5×4, but test images of 5×5"),
    ],
)
def test_what_does_not_fit(folder: Path, file: str, array: np.ndarray, message: str) -> None:
    idx.write(folder / file, array)
    with pytest.raises(DataError, match=message) as caught:
        load(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    ("file", "part"),
    [
        ("train-images-idx3-ubyte", "training images"),
        ("train-labels-idx1-ubyte", "training labels"),
        ("t10k-images-idx3-ubyte", "test images"),
        ("t10k-labels-idx1-ubyte", "test labels"),
    ],
)
def test_a_missing_file(folder: Path, file: str, part: str) -> None:
    (folder / file).unlink()
    with pytest.raises(DataError, match=f"digits has no {part}: there should be a file {file} or {file}.gz"):
        load(folder)


def test_one_part_in_two_files(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    idx.write(folder / "test-images.idx3-ubyte.gz", arrays["t10k-images-idx3-ubyte"])
    with pytest.raises(
        DataError, match=r"test images twice, as t10k-images-idx3-ubyte and test-images\.idx3-ubyte\.gz"
    ):
        load(folder)


def test_a_damaged_file(folder: Path) -> None:
    (folder / "train-images-idx3-ubyte").write_bytes(b"\x1f\x8b rubbish")
    with pytest.raises(DataError, match="train-images-idx3-ubyte is a damaged gzip"):
        load(folder)


def test_a_folder_that_may_not_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(folder), "iterdir", refuse)
    with pytest.raises(DataError, match="digits cannot be read: Permission denied"):
        load(folder)


def test_no_such_name_or_folder(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match="no data set or folder 'mnits': the data sets are mnist, handwriting, fashion-mnist, kmnist"
    ):
        load("mnits")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="is a file: give a folder of images"):
        load(tmp_path / "file")


def test_a_folder_is_meant_when_it_looks_like_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.rename(folder.with_name("kmnist"))
    monkeypatch.chdir(folder.parent)
    assert load("./kmnist").name == "kmnist"
    assert len(load("./kmnist").train_labels) == 12


ZEROS: dict[str, list[tuple[int, ...]]] = {  # shapes of four files of zeros
    "images of 400 MB": [(500_000, 28, 28), (500_000,), (10, 28, 28), (10,)],
    "labels of 400 MB": [(60, 28, 28), (400_000_000,), (10, 28, 28), (10,)],
    "test images of 400 MB": [(60, 28, 28), (60,), (500_000, 28, 28), (500_000,)],
    "images of another size": [(80_000, 28, 28), (80_000,), (80_000, 28, 29), (80_000,)],
    "fewer labels": [(80_000, 28, 28), (79_999,), (10, 28, 28), (10,)],
    "tiny images": [(60_000_000, 1, 1), (60_000_000,), (10, 1, 1), (10,)],
    "huge images": [(7, 3000, 3000), (7,), (7, 3000, 3000), (7,)],
}


@pytest.fixture
def zeros(tmp_path: Path) -> Callable[[str], Path]:
    """Makes a folder of four gzips of zeros, which are packed to a thousandth."""

    def make(name: str) -> Path:
        for file, shape in zip(FILES, ZEROS[name], strict=True):
            packer = zlib.compressobj(1, wbits=31)
            with (tmp_path / f"{file}.gz").open("wb") as target:
                target.write(packer.compress(struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)))
                left = math.prod(shape)
                while left:
                    target.write(packer.compress(bytes(min(left, 1 << 22))))
                    left -= min(left, 1 << 22)
                target.write(packer.flush())
        return tmp_path

    return make


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("images of 400 MB", "train-images.* declares uint8 .* unpack it with gunzip"),
        ("test images of 400 MB", "t10k-images.* declares uint8 .* unpack it with gunzip"),
        ("labels of 400 MB", "train-labels.* declares uint8 .* unpack it with gunzip"),
        ("images of another size", "training images of 28×28, but test images of 28×29"),
        ("fewer labels", "80,000 images, but .* 79,999 labels"),
        ("tiny images", "holds 60,000,000 images: at most 4,000,000 are allowed"),
        ("huge images", "parameters"),
    ],
)
def test_small_files_take_little_memory(
    zeros: Callable[[str], Path], measure_command: Callable[..., Any], name: str, sentence: str
) -> None:
    """Whatever they promise: the four headers are compared before anything is unpacked."""
    folder = zeros(name)
    done = measure_command("train", "--data", folder, "--epochs", "1", "--quiet", cwd=folder)
    assert done.code == 2
    assert re.search(sentence, done.err)
    assert done.err.count("\n") == 1
    assert done.megabytes < (400 if name == "huge images" else 150)
    assert done.seconds < 20


def test_test_images_times_classes(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Each gets a confidence."""
    monkeypatch.setattr("chainrule.data.folder._MAX_PROBABILITIES", 12)
    assert len(load(folder).classes) == 3  # for 4 test images
    idx.write(folder / "train-labels-idx1-ubyte", np.arange(12, dtype="uint8") % 4)
    with pytest.raises(DataError, match=r"t10k-labels.* holds 4 labels, and there are 4 classes: .* at most 12"):
        load(folder)


# Memory-mapped folders


def write_npy(folder: Path, arrays: dict[str, np.ndarray], prefix: str = "test") -> Path:
    """Save a data set as train-images.npy, train-labels.npy, test-images.npy and test-labels.npy."""
    folder.mkdir()
    for part, (kind, array) in zip(("train", "train", prefix, prefix), arrays.items(), strict=True):
        np.save(folder / f"{part}-{'images' if 'images' in kind else 'labels'}.npy", array)
    return folder


@pytest.mark.parametrize("prefix", ["test", "t10k"])
@pytest.mark.parametrize("dtype", ["uint8", "int64", ">i4", "uint64"])
def test_npy_files(tmp_path: Path, arrays: dict[str, np.ndarray], prefix: str, dtype: str) -> None:
    arrays = {name: array if array.ndim == 3 else array.astype(dtype) for name, array in arrays.items()}
    data = load(write_npy(tmp_path / "folder", arrays, prefix))
    loaded = (data.train_images, data.train_labels, data.test_images, data.test_labels)
    for array, expected in zip(loaded, arrays.values(), strict=True):
        np.testing.assert_array_equal(array, expected)
        assert array.dtype == expected.dtype
    assert data.classes == ("0", "1", "2")
    assert len(mapped_files(*loaded)) == 4


def test_what_is_mapped(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    """Bytes that can be used as they are."""
    data = load(folder)
    parts = data.split(3)
    assert len(mapped_files(*parts.train, *parts.validation, *parts.test)) == 6
    (folder / "train-images-idx3-ubyte").unlink()
    idx.write(folder / "train-images-idx3-ubyte.gz", arrays["train-images-idx3-ubyte"])
    idx.write(folder / "train-labels-idx1-ubyte", arrays["train-labels-idx1-ubyte"].astype("int16"))
    data = load(folder)
    assert mapped_files(data.train_images, data.train_labels) == []
    assert data.train_labels.dtype.isnative
    np.testing.assert_array_equal(data.train_images, arrays["train-images-idx3-ubyte"])


@pytest.mark.parametrize(
    ("file", "array", "message"),
    [
        (
            "train-images.npy",
            np.zeros((12, 5, 4), "float32"),
            "holds float32 in 3 dimensions: images must be uint8 in 3",
        ),
        ("train-images.npy", np.zeros((12, 20), "uint8"), "holds uint8 in 2 dimensions: images must be uint8 in 3"),
        ("train-images.npy", np.zeros((11, 5, 4), "uint8"), "11 images, but .*train-labels.npy 12 labels"),
        ("train-images.npy", np.zeros((12, 5, 4), "uint8", "F"), "is in Fortran order"),
        ("test-labels.npy", np.zeros(4, "float64"), "holds float64 in 1 dimensions: labels must be integers"),
        ("test-labels.npy", np.array([0, 1, 2, -1]), "holds labels from -1 to 2: they must be from 0 to 999"),
        ("test-labels.npy", np.array([0, 1, 2, 1 << 40]), "to 1099511627776: they must be from 0 to 999"),
        ("test-labels.npy", np.array([None] * 4), "holds Python objects"),
    ],
)
def test_npy_files_that_do_not_fit(
    tmp_path: Path, arrays: dict[str, np.ndarray], file: str, array: np.ndarray, message: str
) -> None:
    folder = write_npy(tmp_path / "folder", arrays)
    np.save(folder / file, array)
    with pytest.raises(DataError, match=message) as caught:
        load(folder)
    assert str(caught.value).startswith(str(folder / file))


def test_an_image_file_in_two_formats(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    np.save(folder / "train-images.npy", arrays["train-images-idx3-ubyte"])
    with pytest.raises(
        DataError, match=r"has the training images twice, as train-images-idx3-ubyte and train-images.npy"
    ):
        load(folder)


def test_a_missing_file_is_named_in_both_formats(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    folder = write_npy(tmp_path / "folder", arrays)
    (folder / "test-labels.npy").unlink()
    with pytest.raises(DataError, match=r"there should be a file t10k-labels-.*gz, or test-labels.npy"):
        load(folder)


def test_a_file_beyond_4_gigabytes_is_mapped(folder: Path) -> None:
    """A sparse one: only a header, and a digit at its end, take space on disk."""
    count = (5 << 30) // (1 << 16)
    shape = (count, 256, 256)
    for part in ("train", "t10k"):
        with (folder / f"{part}-images-idx3-ubyte").open("wb") as file:
            images = shape if part == "train" else (4, 256, 256)
            file.write(struct.pack(">HBB3I", 0, 8, 3, *images))
            file.truncate(file.tell() + math.prod(images))
            file.seek(-1, 2)
            file.write(b"\x09")
    idx.write(folder / "train-labels-idx1-ubyte", np.zeros(count, "uint8"))
    data = load(folder)
    assert data.train_images.shape == shape
    assert data.train_images[-1, -1, -2:].tolist() == [0, 9]


def test_too_many_images_even_of_a_mapped_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chainrule.data.folder._MAX_MAPPED_IMAGES", 11)
    with pytest.raises(DataError, match="holds 12 images: at most 11 are allowed"):
        load(folder)


def test_checksums_are_those_of_the_whole_arrays(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    """As earlier versions computed them, over all bytes in memory at once; labels of two bytes in native order."""
    arrays["train-labels-idx1-ubyte"] = arrays["train-labels-idx1-ubyte"].astype("int16")
    idx.write(folder / "train-labels-idx1-ubyte", arrays["train-labels-idx1-ubyte"])
    data = load(folder)
    joined = [b"".join(array.tobytes() for array in list(arrays.values())[i : i + 2]) for i in (0, 2)]
    assert [data.train_crc32, data.test_crc32] == [zlib.crc32(content) for content in joined]
