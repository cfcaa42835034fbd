"""Pieces copied into one array, against NumPy's assignment, for all layouts, and the elements between the pieces."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule.kernels import machine
from chainrule.kernels.copy import DIMS, copy_job

pytestmark = pytest.mark.skipif(not machine.available(), reason="nothing is compiled here")
KINDS = [np.bool_, np.int16, np.float32, np.float64]


def elements(random, kind, shape):
    return random.integers(0, 2 if kind is np.bool_ else 100, shape).astype(kind)


def strides(array):
    return [s // array.itemsize for s in array.strides]


def begin(view, whole):
    at = view.__array_interface__["data"][0] - whole.__array_interface__["data"][0]
    return at // whole.itemsize


@st.composite
def layouts(draw):
    """A shape, the memory orders of some arrays of it, and the number of elements left out around each."""
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=DIMS))
    orders = draw(st.lists(st.permutations(range(len(shape))), min_size=1, max_size=3))
    axis = draw(st.integers(0, len(shape) - 1))
    return shape, orders, axis, draw(st.sampled_from(KINDS)), draw(st.integers(0, 2)), draw(st.integers(0, 10**6))


@settings(deadline=None, max_examples=60)
@given(layouts())
def test_pieces_side_by_side_with_gaps_between(drawn):
    shape, orders, axis, kind, gap, seed = drawn
    random = np.random.default_rng(seed)
    pieces = [elements(random, kind, [shape[d] for d in order]).transpose(np.argsort(order)) for order in orders]
    whole = list(shape)
    whole[axis] = len(pieces) * (shape[axis] + gap)
    out, expected = np.full(whole, 77, kind), np.zeros(whole, kind)
    described = []
    for number, piece in enumerate(pieces):
        part = [slice(None)] * len(shape)
        part[axis] = slice(number * (shape[axis] + gap), number * (shape[axis] + gap) + shape[axis])
        expected[tuple(part)] = piece
        target = out[tuple(part)]
        described.append((shape, strides(piece), strides(target), begin(target, out)))
    job = copy_job(np.dtype(kind), whole, described, fill=True)
    job.run(*pieces, out)
    np.testing.assert_array_equal(out, expected)


def test_elements_outside_of_pieces_are_unchanged_without_fill():
    out = np.full(6, 5.0)
    copy_job(out.dtype, (6,), [([2], [1], [2], 1)], fill=False).run(np.array([1.0, 2.0]), out)
    np.testing.assert_array_equal(out, [5, 1, 5, 2, 5, 5])


def test_a_broadcast_piece():
    out = np.zeros((2, 3))
    copy_job(out.dtype, (2, 3), [([2, 3], [0, 1], [3, 1], 0)], fill=True).run(np.array([1.0, 2.0, 3.0]), out)
    np.testing.assert_array_equal(out, [[1, 2, 3], [1, 2, 3]])


def test_more_dimensions_than_loops():
    sizes = [2] * (DIMS + 1)
    gaps = [3**d for d in range(DIMS + 1)][::-1]
    assert copy_job(np.dtype("f4"), (3 ** (DIMS + 1),), [(sizes, gaps, gaps, 0)], fill=True) is None
    dense = [2**d for d in range(DIMS + 1)][::-1]
    assert copy_job(np.dtype("f4"), (2 ** (DIMS + 1),), [(sizes, dense, dense, 0)], fill=True) is not None
