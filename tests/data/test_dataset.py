"""TensorDataset: examples by their index, one gather for a whole batch."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from chainrule import tensor
from chainrule.capture import jit
from chainrule.data import idx, npy
from chainrule.data.dataset import TensorDataset
from chainrule.tensor import Tensor


@pytest.fixture
def images() -> np.ndarray:
    return np.arange(10 * 2 * 3, dtype=np.uint8).reshape(10, 2, 3)


@pytest.fixture
def labels() -> np.ndarray:
    return np.arange(10) * 11


@pytest.mark.parametrize(
    ("index", "chosen"),
    [
        (3, 3),
        (-1, 9),
        (np.int64(4), 4),
        (slice(2, 5), [2, 3, 4]),
        (slice(None, None, 4), [0, 4, 8]),
        ([0, 7, 7], [0, 7, 7]),
        ((0, 7), [0, 7]),
        ([], []),
        (np.array([9, 1]), [9, 1]),
        (tensor([9, 1]), [9, 1]),
        ([True] + [False] * 8 + [True], [0, 9]),
        (np.arange(10) > 7, [8, 9]),
    ],
    ids=str,
)
def test_takes_what_the_index_says(images, labels, index, chosen):
    actual = TensorDataset(images, labels)[index]
    chosen = np.asarray(chosen, np.int64)
    assert all(type(part) is Tensor for part in actual)
    assert [part.dtype for part in actual] == [np.uint8, np.int64]
    np.testing.assert_array_equal(actual[0].numpy(), images[chosen])
    np.testing.assert_array_equal(actual[1].numpy(), labels[chosen])


@pytest.mark.parametrize("index", [3, slice(2, 5), [0, 7], (1, 1), tensor([9, 1]), np.arange(10) > 7], ids=str)
@pytest.mark.parametrize("scale", [None, 1 / 255])
def test_a_compiled_function_takes_what_is_there_in_each_call(images, labels, index, scale):
    data = TensorDataset(images, labels, scale=scale)
    compiled = jit(lambda: data[index])
    for _ in range(2):
        for actual, expected in zip(compiled(), data[index], strict=True):
            assert actual.dtype == expected.dtype
            np.testing.assert_array_equal(actual.numpy(), expected.numpy())
        images += 1


def test_has_the_length_of_its_tensors(images, labels):
    assert len(TensorDataset(images, labels)) == 10
    assert len(TensorDataset(images[:0])) == 0


def test_keeps_no_copy_of_an_array_and_takes_tensors_as_they_are(images):
    own = tensor([1.0, 2.0])
    assert np.shares_memory(TensorDataset(images).tensors[0].numpy(), images)
    assert TensorDataset(own).tensors[0] is own


def test_reads_a_memory_map(tmp_path, images):
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    (actual,) = TensorDataset(mapped)[[5, 2]]
    np.testing.assert_array_equal(actual.numpy(), images[[5, 2]])


def test_transforms_a_batch_at_once(images, labels):
    calls = []

    def transform(pictures: Tensor, classes: Tensor) -> tuple[Tensor, ...]:
        calls.append(pictures.shape)
        return pictures / 255, classes, classes + 1

    actual = TensorDataset(images, labels, transform=transform)[[1, 2, 3]]
    assert calls == [(3, 2, 3)]
    np.testing.assert_allclose(actual[0].numpy(), images[1:4] / 255, rtol=1e-6)
    assert actual[2].tolist() == [12, 23, 34]


@pytest.mark.parametrize(
    "index", [np.array([4, 0, 4]), [1, 2], slice(1, 4), 3, np.arange(10) < 2, np.zeros(0, int)], ids=str
)
def test_scales_the_first_as_it_is_taken(images, labels, index):
    actual = TensorDataset(images, labels, scale=1 / 255)[index]
    pictures, classes = TensorDataset(images, labels)[index]
    np.testing.assert_array_equal(actual[0].numpy(), (pictures * (1 / 255)).numpy())  # the same bits
    assert actual[0].dtype == np.float32
    np.testing.assert_array_equal(actual[1].numpy(), classes.numpy())


def test_a_scaled_place_that_is_not_there(images):
    with pytest.raises(IndexError, match=r"indices are -1 to 2, but must be 0 to 9"):
        TensorDataset(images, scale=1 / 255)[np.array([2, -1])]


@pytest.mark.parametrize(("tensors", "message"), [((), r"\[\]"), ((np.zeros(3), np.zeros(4)), r"\[3, 4\]")])
def test_tensors_must_be_there_and_of_one_length(tensors, message):
    with pytest.raises(ValueError, match=f"needs tensors of the same length, got lengths {message}"):
        TensorDataset(*tensors)


def test_a_number_has_no_length():
    with pytest.raises(TypeError, match="no length"):
        TensorDataset(tensor(3.0))


@pytest.mark.parametrize("index", [10, -11, [0, 10], [0.5], [True, False]])
def test_an_index_that_does_not_fit_is_an_error(images, index):
    with pytest.raises(IndexError):
        TensorDataset(images)[index]


@pytest.mark.parametrize("index", [np.array([4, 0, 4]), [1, 2], slice(1, 4), 3, np.arange(10) < 2], ids=str)
@pytest.mark.parametrize("scale", [None, 0.5])
@pytest.mark.parametrize("dtype", [">i2", ">f4", ">f8"])
def test_an_array_in_another_byte_order_is_converted_by_the_batch(tmp_path, dtype, index, scale):
    numbers = np.arange(10 * 3).reshape(10, 3)
    idx.write(tmp_path / "a", numbers.astype(dtype))
    mapped = idx.memory_map(tmp_path / "a")
    assert not mapped.dtype.isnative or np.little_endian is False
    data = TensorDataset(mapped, np.arange(10), scale=scale)
    actual, labels = data[index]
    native = np.dtype(dtype).newbyteorder("=")
    assert actual.dtype == (native if scale is None else np.float32)
    np.testing.assert_array_equal(actual.numpy(), numbers[index] * (scale or 1))
    np.testing.assert_array_equal(labels.numpy(), np.arange(10)[index])
    np.testing.assert_array_equal(jit(lambda: data[index])()[0].numpy(), actual.numpy())
    assert data.tensors[0].dtype == native


@pytest.mark.parametrize("scale", [None, 1 / 255])
@pytest.mark.parametrize("kind", ["native", "swapped", "a view of columns"])
def test_a_batch_takes_no_more_memory_than_its_examples(tmp_path, scale, kind):
    """Whatever the layout of a large file, the whole of it is never copied: not once, and not for every batch."""
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((100, 5), ">i4" if kind == "swapped" else np.uint8))
    with path.open("r+b") as file:  # the header of a file of 100 MB, of which nothing is on disk
        rows, itemsize = 10**8 // 20, 4 if kind == "swapped" else 1
        np.lib.format.write_array_header_1_0(
            file, {"descr": ">i4" if kind == "swapped" else "|u1", "fortran_order": False, "shape": (rows, 5)}
        )
        file.truncate(file.tell() + rows * 5 * itemsize)
    mapped = npy.memory_map(path)
    tracemalloc.start()
    try:
        data = TensorDataset(mapped[:, ::2] if kind == "a view of columns" else mapped, scale=scale)
        for index in ([1, 3], np.array([rows - 1, 0]), slice(5, 7)):
            assert data[index][0].sum().item() == 0
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
