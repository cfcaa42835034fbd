"""A complete state in one file: what goes in comes out, and a damaged file is named."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from chainrule import safetensors_io, tensor
from chainrule.errors import RunError
from chainrule.training import checkpoint

plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
arrays = st.builds(
    lambda kind, size: np.arange(size).astype(kind), st.sampled_from(["u1", "i8", "f4", "f8"]), st.integers(0, 5)
)
keys = st.text().filter(lambda key: key != "<array>")
states = st.recursive(plain | arrays, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=8)


@settings(max_examples=60, deadline=None)
@given(state=states)
def test_what_goes_in_comes_out(tmp_path_factory, state):
    path = tmp_path_factory.getbasetemp() / "state"
    checkpoint.save(state, path)
    np.testing.assert_equal(checkpoint.load(path), state, strict=True)


def test_floats_and_large_integers_are_exact(tmp_path):
    state = {"float": [0.1, 1 / 3, 5e-324, -0.0, float("inf"), 1e23], "integer": 2**128 - 1}
    checkpoint.save(state, tmp_path / "state")
    content = checkpoint.load(tmp_path / "state")
    assert [x.hex() for x in content["float"]] == [x.hex() for x in state["float"]]
    assert content["integer"] == state["integer"]


def test_tuples_become_lists_keys_texts_and_tensors_arrays(tmp_path):
    checkpoint.save({0: (1, (2.5,)), "t": tensor([1.0, 2.0])}, tmp_path / "state")
    content = checkpoint.load(tmp_path / "state")
    assert content["0"] == [1, [2.5]]
    assert type(content["t"]) is np.ndarray
    assert content["t"].tolist() == [1, 2]


def test_keys_that_look_like_paths_do_not_meet(tmp_path):
    state = {"a": {"b": np.array([1])}, "a.b": np.array([2]), "a.b.0": [np.array([3])]}
    checkpoint.save(state, tmp_path / "state")
    np.testing.assert_equal(checkpoint.load(tmp_path / "state"), state)


def test_the_state_of_a_generator(tmp_path):
    for kind in (np.random.PCG64, np.random.Philox, np.random.MT19937, np.random.SFC64):
        generator, twin = np.random.Generator(kind(1)), np.random.Generator(kind(2))
        generator.random(7)
        generator.integers(0, 9, dtype=np.int32)  # leaves half a draw behind
        checkpoint.save(generator.bit_generator.state, tmp_path / "state")
        twin.bit_generator.state = checkpoint.load(tmp_path / "state")
        assert twin.random(50).tolist() == generator.random(50).tolist()


@pytest.mark.parametrize("value", [{1}, object(), 1j, b"bytes", np.float32(1)], ids=lambda v: type(v).__name__)
def test_nothing_else_is_kept(tmp_path, value):
    with pytest.raises(TypeError):
        checkpoint.save({"a": [value]}, tmp_path / "state")
    assert not list(tmp_path.iterdir())


def test_a_key_that_means_something_in_the_file_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="checkpoint: state.a has the key '<array>'"):
        checkpoint.save({"a": {"<array>": 3}}, tmp_path / "state")


def test_a_failing_write_leaves_the_old_state(tmp_path, fill_disk):
    path = tmp_path / "state"
    checkpoint.save({"step": 1, "w": np.ones(3)}, path)
    fill_disk()
    with pytest.raises(OSError, match="No space left") as caught:
        checkpoint.save({"step": 2, "w": np.zeros(3)}, path)
    assert caught.value.filename == str(path)
    assert checkpoint.load(path)["step"] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["state"]


# Files that are none


@pytest.mark.parametrize(
    "note",
    [
        None,
        "",
        "not JSON",
        '{"<array>": "none"}',
        '{"a": {"<array>": {}}}',
        '[{"<array>": ["state.w"]}]',
        "[" * 100_000,
    ],
    ids=["no note", "empty", "not JSON", "a missing array", "a dict for a name", "a list for a name", "too deep"],
)
def test_a_file_that_is_no_checkpoint_is_named(tmp_path, note):
    safetensors_io.save({"state.w": np.ones(2)}, tmp_path / "state", note)
    with pytest.raises(RunError, match=f"{tmp_path / 'state'}: is not a checkpoint"):
        checkpoint.load(tmp_path / "state")


def test_what_is_said_of_a_file_is_short(tmp_path):
    safetensors_io.save({}, tmp_path / "state", '{"<array>": "%s"}' % ("x" * 100_000))
    with pytest.raises(RunError, match="is not a checkpoint .'x{100}") as caught:
        checkpoint.load(tmp_path / "state")
    assert len(str(caught.value)) < 500


def test_a_missing_or_truncated_file_is_named(tmp_path):
    with pytest.raises(RunError, match="state: no such file"):
        checkpoint.load(tmp_path / "state")
    checkpoint.save({"w": np.ones(3)}, tmp_path / "state")
    whole = (tmp_path / "state").read_bytes()
    (tmp_path / "state").write_bytes(whole[:-1])
    with pytest.raises(RunError, match="state: is not a complete safetensors file"):
        checkpoint.load(tmp_path / "state")


def test_a_checkpoint_of_before_checksums_is_read_with_one_line(tmp_path):
    save_file({"state.w": np.arange(3.0)}, tmp_path / "state", {"note": '{"w": {"<array>": "state.w"}, "step": 7}'})
    with pytest.warns(safetensors_io.ChecksumWarning, match="state: has no checksum, like files of older versions"):
        content = checkpoint.load(tmp_path / "state")
    np.testing.assert_equal(content, {"w": np.arange(3.0), "step": 7})


@pytest.mark.parametrize("old", ["7", '"lr": 0.02'])
def test_a_number_of_the_note_is_under_the_checksum_too(tmp_path, old):
    checkpoint.save({"w": np.ones(3), "step": 7, "lr": 0.02}, tmp_path / "state")
    whole = (tmp_path / "state").read_bytes()
    text = old.replace('"', '\\"').encode()
    start = whole.rindex(text) + len(text) - 1
    (tmp_path / "state").write_bytes(whole[:start] + b"9" + whole[start + 1 :])
    with pytest.raises(RunError, match="state: does not match its checksum"):
        checkpoint.load(tmp_path / "state")


def test_names_in_a_file_never_lead_to_code(tmp_path):
    """Whatever a file says, it is numbers, texts, lists and dicts that come out."""
    text = json.dumps({"__class__": "os.system", "py/object": "os.system", "$ref": "file:///etc/passwd"})
    safetensors_io.save({}, tmp_path / "state", text)
    assert checkpoint.load(tmp_path / "state") == json.loads(text)
