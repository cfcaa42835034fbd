"""Weights in safetensors files: the same bits back, and every damaged file named."""

from __future__ import annotations

import hashlib
import importlib
import json
import struct
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from safetensors.numpy import save as pack

import chainrule
from chainrule import nn, safetensors_io, tensor
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


@pytest.fixture(params=["the library", "our own"])
def reader(request, monkeypatch):
    """Files are read by the library safetensors; where it cannot be installed, by what stands in for it."""
    if request.param == "our own":
        monkeypatch.setitem(sys.modules, "safetensors", None)  # to import it is an ImportError


def file_of(path, dtype: str, size: int) -> str:
    """A safetensors file of one entry of any type, as the format's description says."""
    header = json.dumps({"scale": {"dtype": dtype, "shape": [1], "data_offsets": [0, size]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * size)
    return str(path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 0), (2, 3), (2, 1, 2, 1)], ids=str)
def test_the_same_bits_come_back(tmp_path, kind, shape, reader):
    array = np.random.default_rng(0).integers(0, 255, shape).astype(kind)
    safetensors_io.save({"a.weight": array, "b": tensor([1.5])}, tmp_path / "w.safetensors")
    loaded = safetensors_io.load(tmp_path / "w.safetensors")
    assert list(loaded) == ["a.weight", "b"]
    assert loaded["a.weight"].shape == shape
    assert loaded["a.weight"].dtype == kind
    assert loaded["a.weight"].numpy().tobytes() == array.tobytes()


@settings(max_examples=30, deadline=None)
@given(array=arrays_of.arrays(np.float32, arrays_of.array_shapes(min_dims=0, max_side=4)))
def test_infinities_and_nan_come_back_too(tmp_path_factory, array):
    path = tmp_path_factory.mktemp("w") / "w.safetensors"
    safetensors_io.save({"a": array}, path)
    assert safetensors_io.load(path)["a"].numpy().tobytes() == array.tobytes()


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
    safetensors_io.save({"a": array}, tmp_path / "w")
    np.testing.assert_array_equal(safetensors_io.load(tmp_path / "w")["a"].numpy(), array)


def test_what_is_read_is_ones_own(tmp_path, reader):
    safetensors_io.save({"a": np.zeros(3)}, tmp_path / "w")
    first, second = safetensors_io.load(tmp_path / "w")["a"], safetensors_io.load(tmp_path / "w")["a"]
    first += 1
    assert second.tolist() == [0, 0, 0]


def test_a_network_goes_through_a_file(tmp_path):
    first = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1))
    second = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1))
    safetensors_io.save(first.state_dict(), tmp_path / "w")
    second.load_state_dict(safetensors_io.load(tmp_path / "w"))
    assert list(load_file(tmp_path / "w")) == ["0.bias", "0.weight", "2.bias", "2.weight"]
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert a.numpy().tobytes() == b.numpy().tobytes()


def test_the_same_weights_make_the_same_file(tmp_path):
    state = nn.Linear(3, 2).state_dict()
    for name in ("one", "two"):
        safetensors_io.save(state, tmp_path / name, note="a note")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("note", [None, "", 'lines\n"and" ünïcode \x00', "x" * 100_000])
def test_a_note_is_kept(tmp_path, note, reader):
    safetensors_io.save({"a": np.zeros(2)}, tmp_path / "w", note)
    assert safetensors_io.load_with_note(tmp_path / "w")[1] == note


def test_nothing_at_all_is_a_file_too(tmp_path, reader):
    safetensors_io.save({}, tmp_path / "w", "only a note")
    assert safetensors_io.load_with_note(tmp_path / "w") == ({}, "only a note")


@pytest.mark.parametrize(
    "value",
    ["text", [None], np.array(["a"]), 1j, np.array([object()])],
    ids=["text", "none", "texts", "complex", "object"],
)
def test_only_numbers_are_weights(tmp_path, value):
    with pytest.raises(TypeError, match="holds booleans, integers or floats"):
        safetensors_io.save({"a": value}, tmp_path / "w")
    assert not list(tmp_path.iterdir())


# Files that are none


def test_a_missing_file_is_named_and_a_folder(tmp_path, reader):
    for path, message in ((tmp_path / "none", "no such file"), (tmp_path, r"cannot be read \(Is a directory\)")):
        with pytest.raises(RunError, match=f"{path}: {message}"):
            safetensors_io.load(path)


@pytest.mark.parametrize(
    "header",
    [
        '{"a": "%s"}' % ("x" * 100_000),
        '{"%s": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]}}' % ("x" * 100_000),
    ],
    ids=["no tensor", "a type that no Tensor has"],
)
def test_what_is_said_of_a_file_is_short(tmp_path, header, reader):
    (tmp_path / "w").write_bytes(len(header).to_bytes(8, "little") + header.encode() + b"\0")
    with pytest.raises(RunError, match="x{50}") as caught:
        safetensors_io.load(tmp_path / "w")
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "header",
    [
        r'{"a": {"dtype": "\u001b[2J\nb\u202e", "shape": [1], "data_offsets": [0, 1]}}',
        r'{"\u001b[2J\nb\u202e": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]}}',
    ],
    ids=["a type", "a name"],
)
def test_what_is_said_of_a_file_is_one_printable_sentence(tmp_path, header, reader):
    (tmp_path / "w").write_bytes(len(header).to_bytes(8, "little") + header.encode() + b"\0")
    with pytest.raises(RunError, match=r"\\x1b\[2J\\nb\\u202e") as caught:
        safetensors_io.load(tmp_path / "w")
    assert str(caught.value).isprintable()


def test_every_truncation_is_noticed(tmp_path, reader):
    safetensors_io.save({"a": np.arange(4.0), "b": np.arange(3)}, tmp_path / "w", "note")
    whole = (tmp_path / "w").read_bytes()
    for length in range(len(whole)):
        (tmp_path / "w").write_bytes(whole[:length])
        with pytest.raises(RunError, match="w: is not a complete safetensors file"):
            safetensors_io.load(tmp_path / "w")


def outcome(path):
    """What a file holds, as bytes; or that it is refused, by its name and in one sentence."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", safetensors_io.ChecksumWarning)
        try:
            arrays, note = safetensors_io.load_with_note(path, from_chainrule=True)
        except UserError as error:
            named = str(error).startswith(f"{path}: ") and "\n" not in str(error)
            return "refused" if named else f"refused in other words: {error}"
    return {name: (a.dtype.str, a.shape, a.tobytes()) for name, a in arrays.items()}, note


@pytest.mark.parametrize("note", [None, '{"step": 1}'])
def test_no_flipped_bit_is_loaded_as_another_number(tmp_path, note, reader):
    path = tmp_path / "w.safetensors"
    safetensors_io.save({"a.weight": np.arange(4, dtype="f4"), "b": np.arange(3)}, path, note)
    whole, content = outcome(path)[0], path.read_bytes()
    for index in range(len(content)):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[index] ^= 1 << bit
            path.write_bytes(damaged)
            loaded = outcome(path)
            assert loaded == "refused" or loaded[0] == whole, (index, bit, loaded)
            assert loaded == "refused" or loaded[1] == note, (index, bit, loaded)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_damage_is_loaded_as_other_numbers(tmp_path_factory, data):
    """Bytes changed, cut out, doubled or exchanged."""
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    safetensors_io.save({"a": np.arange(4.0), "b": np.arange(3), "c": np.arange(4.0) + 9}, path, "note")
    whole, content = outcome(path), path.read_bytes()
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(content))] * 2)))
    other = data.draw(st.sampled_from(["random", "out", "twice", "reversed", "zeros"]))
    part = {
        "random": data.draw(st.binary(min_size=stop - start, max_size=stop - start)),
        "out": b"",
        "twice": content[start:stop] * 2,
        "reversed": content[start:stop][::-1],
        "zeros": bytes(stop - start),
    }[other]
    path.write_bytes(content[:start] + part + content[stop:])
    loaded = outcome(path)
    assert loaded == "refused" or loaded[0] == whole[0]


def read(reader, path):
    """What a reader makes of a file without a checksum."""
    try:
        arrays, metadata = reader(path)
    except RunError:
        return "refused"
    return {name: (a.dtype.str, a.shape, a.tobytes()) for name, a in arrays.items()}, dict(metadata)


HEADER = {
    "__metadata__": {"format": "pt"},
    "a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
    "b": {"dtype": "I16", "shape": [0], "data_offsets": [16, 16]},
    "c": {"dtype": "BOOL", "shape": [], "data_offsets": [16, 17]},
}


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"__metadata__": {}},
        {"__metadata__": {"a": 1}},
        {"__metadata__": ["a"]},
        {"a": None},
        {"a": {}},
        {"a": {**HEADER["a"], "dtype": 1}},
        {"a": {**HEADER["a"], "dtype": "f32"}},
        {"a": {**HEADER["a"], "shape": [4]}},
        {"a": {**HEADER["a"], "shape": [3]}},
        {"a": {**HEADER["a"], "shape": [-2, -2]}},
        {"a": {**HEADER["a"], "shape": [2.0, 2]}},
        {"a": {**HEADER["a"], "shape": [2, True, 2]}},
        {"a": {**HEADER["a"], "shape": 4}},
        {"a": {**HEADER["a"], "shape": "22"}},
        {"a": {**HEADER["a"], "data_offsets": [1, 17]}},
        {"a": {**HEADER["a"], "data_offsets": [16, 0]}},
        {"a": {**HEADER["a"], "data_offsets": [0, 16, 17]}},
        {"a": {**HEADER["a"], "data_offsets": [0, 2**70]}},
        {"a": {"dtype": "F32", "shape": [2, 2]}},
        {"c": {**HEADER["c"], "data_offsets": [17, 18]}},
        {"c": {**HEADER["c"], "data_offsets": [15, 16]}},
        {"d": {"dtype": "U8", "shape": [1], "data_offsets": [17, 18]}},
        {"d": {"dtype": "U8", "shape": [1], "data_offsets": [16, 17]}},
    ],
    ids=str,
)
def test_our_reader_judges_a_header_as_the_library_does(tmp_path, change):
    header = json.dumps({**HEADER, **change}).encode()
    (tmp_path / "w").write_bytes(struct.pack("<Q", len(header)) + header + bytes(range(17)))
    assert read(safetensors_io._read_plainly, tmp_path / "w") == read(safetensors_io._read, tmp_path / "w")


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_our_reader_accepts_the_files_that_the_library_accepts(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "other.safetensors"
    header = json.dumps(HEADER).encode()
    content = struct.pack("<Q", len(header)) + header + bytes(range(17))
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(content))] * 2)))
    part = data.draw(st.sampled_from([b"", b"0", b" ", b'"', b"[]", b"\xff", content[start:stop] * 2]))
    path.write_bytes(content[:start] + part + content[stop:])
    assert read(safetensors_io._read_plainly, path) == read(safetensors_io._read, path)


def test_our_reader_refuses_missing_values_before_it_allocates_memory_for_them(tmp_path):
    count = 2**58
    header = json.dumps({"w": {"dtype": "F32", "shape": [count], "data_offsets": [0, 4 * count]}}).encode()
    (tmp_path / "w").write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(RunError, match="w: is not a complete safetensors file .the values of w are cut off"):
        safetensors_io._read_plainly(tmp_path / "w")


@pytest.mark.parametrize("header", [b"[" * 100_000, b'{"a":' * 100_000, b'{"a": NaN}', b"\xff", b"[]", b"1", b'"a"'])
def test_our_reader_refuses_what_is_no_header(tmp_path, header):
    (tmp_path / "w").write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(RunError, match="w: is not a complete safetensors file"):
        safetensors_io._read_plainly(tmp_path / "w")


def test_tensors_that_are_exchanged_are_noticed(tmp_path):
    """As if another file had been written over a part of this one: the same names, types and shapes."""
    safetensors_io.save({"a": np.arange(4.0), "b": np.arange(4.0) + 9}, tmp_path / "w")
    safetensors_io.save({"a": np.arange(4.0) + 9, "b": np.arange(4.0)}, tmp_path / "other")
    first, second = ((tmp_path / name).read_bytes() for name in ("w", "other"))
    assert len(first) == len(second)
    (tmp_path / "w").write_bytes(first[:-64] + second[-64:])
    with pytest.raises(RunError, match=r"w: does not match its checksum: it is damaged, or another program changed"):
        safetensors_io.load(tmp_path / "w")


@pytest.mark.parametrize("note", [None, "", "a note", "two\nlines"])
def test_the_checksum_is_what_the_first_paragraph_says(tmp_path, note):
    """Computed here once more, with nothing of ours."""
    arrays = {"b": np.arange(6, dtype="f4").reshape(2, 3).T, "a": np.float64(2.5), "c": np.zeros((0, 3), bool)}
    safetensors_io.save(arrays, tmp_path / "w", note)
    total = hashlib.sha256(json.dumps(note).encode())
    for name in ("a", "b", "c"):
        array = np.asarray(arrays[name])
        total.update(json.dumps([name, str(array.dtype), list(array.shape)]).encode() + array.tobytes())
    size = struct.unpack("<Q", (tmp_path / "w").read_bytes()[:8])[0]
    header = json.loads((tmp_path / "w").read_bytes()[8 : 8 + size])
    assert header["__metadata__"] == {"note": f"sha256 {total.hexdigest()}" + ("" if note is None else f"\n{note}")}


def test_other_programs_files_are_read_without_a_word(tmp_path, reader):
    for metadata in (None, {"format": "pt"}, {"format": "pt", "sha256": "0"}):
        save_file({"a": np.ones(2)}, tmp_path / "w", metadata)
        assert safetensors_io.load(tmp_path / "w")["a"].tolist() == [1, 1]
    safetensors_io.load(tmp_path / "w", from_chainrule=True)


@pytest.mark.parametrize(
    ("metadata", "ours"), [(None, True), ({"note": '{"a": 1}'}, True), ({"note": "a note"}, False)]
)
def test_our_older_files_are_read_with_one_line(tmp_path, metadata, ours):
    save_file({"a": np.ones(2)}, tmp_path / "w", metadata)
    with pytest.warns(safetensors_io.ChecksumWarning) as caught:
        arrays, note = safetensors_io.load_with_note(tmp_path / "w", from_chainrule=ours)
    assert [str(warning.message) for warning in caught] == [
        f"{tmp_path / 'w'}: has no checksum, like files of older versions: damage would go unnoticed"
    ]
    assert arrays["a"].tolist() == [1, 1]
    assert note == (metadata or {}).get("note")


@pytest.mark.parametrize("metadata", [{"note": "sha255 0123\n{}"}, {"note": ""}, {"nota": "sha256 0123"}], ids=str)
def test_a_checksum_whose_own_name_is_damaged(tmp_path, metadata):
    """It must not make a file of ours one that was never checked."""
    save_file({"a": np.ones(2)}, tmp_path / "w", metadata)
    with pytest.raises(RunError, match="w: its checksum is missing: the file is damaged; restore it from a backup"):
        safetensors_io.load(tmp_path / "w", from_chainrule=True)


@pytest.mark.parametrize(
    "shape", [[0, 2**62], [0, 2**63], [0, 2**64 - 1], [2**40, 0, 2**40], [2**32, 2**32, 0]], ids=str
)
def test_a_shape_that_no_array_can_have_is_named(tmp_path, shape, reader):
    header = json.dumps({"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}}).encode()
    (tmp_path / "w").write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(RunError, match="w: is not a complete safetensors file"):
        safetensors_io.load(tmp_path / "w")


@pytest.mark.parametrize("content", [b"", b"text, not weights", b"\xff" * 64, b"\0" * 64])
def test_other_files_are_named(tmp_path, content, reader):
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(RunError, match="w: is not a complete safetensors file"):
        safetensors_io.load(tmp_path / "w")


@pytest.mark.parametrize(("dtype", "size"), [("BF16", 2), ("F8_E4M3", 1), ("F8_E5M2", 1), ("C64", 8)])
def test_a_type_that_a_tensor_cannot_hold_is_named(tmp_path, dtype, size, reader):
    path = file_of(tmp_path / "w", dtype, size)
    with pytest.raises(RunError, match=f"w: scale is of type {dtype}, which Tensors do not have; save it as F32"):
        safetensors_io.load(path)


def test_a_file_is_byte_for_byte_that_of_the_library(tmp_path):
    """In the library everything is in memory three times before it is written, so it is not what writes."""
    random = np.random.default_rng(7)
    kinds = [*KINDS, *random.permutation(KINDS)]
    state = {
        f'{random.integers(99)}.{i}\n"ö': random.integers(0, 2, (i % 5, 3)).astype(kind) for i, kind in enumerate(kinds)
    }
    state["not in order"] = np.asfortranarray(random.random((3, 4)))
    state["big-endian"] = np.arange(5, dtype=">i4")
    state["no dimension"] = np.float32(1.5)
    for note in (None, "", "one\ntwo\u2028 ü"):
        safetensors_io.save(state, tmp_path / "ours", note)
        with safe_open(tmp_path / "ours", "numpy") as file:
            metadata = file.metadata()
        arrays = {
            name: np.array(value, np.asarray(value).dtype.newbyteorder("="), order="C") for name, value in state.items()
        }
        assert (tmp_path / "ours").read_bytes() == pack(arrays, metadata)


def test_the_name_of_the_notes_is_taken(tmp_path):
    with pytest.raises(ValueError, match="save: the name __metadata__ is reserved for the file's note"):
        safetensors_io.save({"__metadata__": [1.0]}, tmp_path / "w")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_saving_takes_no_memory_of_its_own(tmp_path, measure):
    code = """
import sys
import numpy as np
from chainrule import safetensors_io
state = {str(i): np.full((1000, 1000), i, np.float32) for i in range(50)}
if sys.argv[2:]:
    safetensors_io.save(state, sys.argv[1])
"""
    before = measure("-c", code, tmp_path / "w").megabytes
    assert 190 < before < 230
    assert measure("-c", code, tmp_path / "w", "save").megabytes < before + 20


def test_a_module_is_not_its_state(tmp_path):
    with pytest.raises(
        TypeError, match=r"save: takes a dict of tensors by name, not Linear: save\(model.state_dict\(\), "
    ):
        safetensors_io.save(nn.Linear(2, 2), tmp_path / "w.safetensors")
    with pytest.raises(TypeError, match="save: takes a dict of tensors by name, not list"):
        safetensors_io.save([np.ones(1)], tmp_path / "w.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_the_module_can_be_imported_under_its_former_name():
    """Warning filters may name `chainrule.weights.ChecksumWarning`."""
    assert importlib.import_module("chainrule.weights") is safetensors_io
    assert chainrule.weights is safetensors_io
