"""Weights in safetensors files: the same bits back, and every damaged file named."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from safetensors.numpy import load_file

from chainrule import nn, tensor, weights
from chainrule.errors import RunError, UserError

KINDS = [
    "bool",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float16",
    "float32",
    "float64",
]


def file_of(path, dtype: str, size: int) -> str:
    """A safetensors file of one entry of any type, as the format's description says."""
    header = json.dumps({"scale": {"dtype": dtype, "shape": [1], "data_offsets": [0, size]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * size)
    return str(path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 0), (2, 3), (2, 1, 2, 1)], ids=str)
def test_the_same_bits_come_back(tmp_path, kind, shape):
    array = np.random.default_rng(0).integers(0, 255, shape).astype(kind)
    weights.save({"a.weight": array, "b": tensor([1.5])}, tmp_path / "w.safetensors")
    found = weights.load(tmp_path / "w.safetensors")
    assert list(found) == ["a.weight", "b"]
    assert found["a.weight"].shape == shape
    assert found["a.weight"].dtype == kind
    assert found["a.weight"].numpy().tobytes() == array.tobytes()


@settings(max_examples=30, deadline=None)
@given(array=arrays_of.arrays(np.float32, arrays_of.array_shapes(min_dims=0, max_side=4)))
def test_infinities_and_nan_come_back_too(tmp_path_factory, array):
    path = tmp_path_factory.mktemp("w") / "w.safetensors"
    weights.save({"a": array}, path)
    assert weights.load(path)["a"].numpy().tobytes() == array.tobytes()


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3).T,
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(12.0)[::2],
        np.arange(6.0)[::-1],
        np.broadcast_to(np.float32(3), (2, 2)),
        np.arange(6, dtype=">i4"),
        np.arange(6, dtype=">f8").reshape(3, 2).T,
    ],
    ids=["transposed", "Fortran", "every second", "backwards", "broadcast", "big-endian", "big-endian, transposed"],
)
def test_however_the_array_lies_in_memory(tmp_path, array):
    weights.save({"a": array}, tmp_path / "w")
    np.testing.assert_array_equal(weights.load(tmp_path / "w")["a"].numpy(), array)


def test_what_is_read_is_ones_own(tmp_path):
    weights.save({"a": np.zeros(3)}, tmp_path / "w")
    first, second = weights.load(tmp_path / "w")["a"], weights.load(tmp_path / "w")["a"]
    first += 1
    assert second.tolist() == [0, 0, 0]


def test_a_network_goes_through_a_file(tmp_path):
    first = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1))
    second = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1))
    weights.save(first.state_dict(), tmp_path / "w")
    second.load_state_dict(weights.load(tmp_path / "w"))
    assert list(load_file(tmp_path / "w")) == ["0.bias", "0.weight", "2.bias", "2.weight"]
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert a.numpy().tobytes() == b.numpy().tobytes()


def test_the_same_weights_make_the_same_file(tmp_path):
    state = nn.Linear(3, 2).state_dict()
    for name in ("one", "two"):
        weights.save(state, tmp_path / name, note="a note")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("note", [None, "", 'lines\n"and" ünïcode \x00', "x" * 100_000])
def test_a_note_is_kept(tmp_path, note):
    weights.save({"a": np.zeros(2)}, tmp_path / "w", note)
    assert weights.load_with_note(tmp_path / "w")[1] == note


def test_nothing_at_all_is_a_file_too(tmp_path):
    weights.save({}, tmp_path / "w", "only a note")
    assert weights.load_with_note(tmp_path / "w") == ({}, "only a note")


@pytest.mark.parametrize(
    "value",
    ["text", [None], np.array(["a"]), 1j, np.array([object()])],
    ids=["text", "none", "texts", "complex", "object"],
)
def test_only_numbers_are_weights(tmp_path, value):
    with pytest.raises(TypeError, match="holds booleans, integers or floats"):
        weights.save({"a": value}, tmp_path / "w")
    assert not list(tmp_path.iterdir())


# Files that are none


def test_a_missing_file_is_named(tmp_path):
    for place in (tmp_path / "none", tmp_path):
        with pytest.raises(RunError, match=f"{place}: no such file"):
            weights.load(place)


def test_every_truncation_is_noticed(tmp_path):
    weights.save({"a": np.arange(4.0), "b": np.arange(3)}, tmp_path / "w", "note")
    whole = (tmp_path / "w").read_bytes()
    for length in range(len(whole)):
        (tmp_path / "w").write_bytes(whole[:length])
        with pytest.raises(RunError, match="w: is not a whole safetensors file"):
            weights.load(tmp_path / "w")


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_a_damaged_byte_is_an_error_or_another_value_but_never_a_crash(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    weights.save({"a": np.arange(4.0), "b": np.arange(3)}, path, "note")
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        found, _ = weights.load_with_note(path)
    except UserError as error:
        assert str(path) in str(error)  # noqa: PT017  # not every damage is an error
    else:
        assert sum(array.nbytes for array in found.values()) == 56


@pytest.mark.parametrize("content", [b"", b"text, not weights", b"\xff" * 64, b"\0" * 64])
def test_other_files_are_named(tmp_path, content):
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(RunError, match="w: is not a whole safetensors file"):
        weights.load(tmp_path / "w")


@pytest.mark.parametrize(("dtype", "size"), [("BF16", 2), ("F8_E4M3", 1), ("F8_E5M2", 1), ("C64", 8)])
def test_a_type_that_a_tensor_cannot_hold_is_named(tmp_path, dtype, size):
    path = file_of(tmp_path / "w", dtype, size)
    with pytest.raises(RunError, match=f"w: scale is of type {dtype}, which a Tensor cannot hold; save it as F32"):
        weights.load(path)
