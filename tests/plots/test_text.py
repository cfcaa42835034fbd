"""Text charts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule.plots import text

NUMBERS = st.none() | st.floats(allow_nan=True, allow_infinity=True).filter(lambda v: not 1e300 < abs(v) < math.inf)


class TestCurve:
    def test_a_straight_fall_in_ascii(self):
        assert text.curve([3, 2, 1, 0], width=7, height=4, ascii=True) == [
            "3 |*",
            "  | *",
            "  |  *",
            "0 |   *",
        ]

    def test_a_straight_fall_in_braille(self):
        assert text.curve([1, 0], width=7, height=2) == ["1 ┤⠑⢄", "0 ┤  ⠑⢄"]

    def test_neighbors_are_joined_across_a_jump_and_across_gaps(self):
        assert text.curve([0, None, 2], width=6, height=3, ascii=True) == ["2 |  *", "  | *", "0 |*"]
        steep = text.curve([5, 0], width=5, height=6, ascii=True)
        assert [line.count("*") for line in steep] == [1] * 6

    @pytest.mark.parametrize("values", [[], [None], [math.nan, math.inf, -math.inf]])
    def test_without_numbers_it_says_so(self, values):
        assert text.curve(values) == ["(no values)"]

    @pytest.mark.parametrize("values", [[0.5], [0.5, 0.5, 0.5], [None, 0.5]])
    @pytest.mark.parametrize("plain", [False, True])
    def test_one_height_is_one_row_with_one_label(self, values, plain):
        lines = text.curve(values, width=20, height=5, ascii=plain)
        assert [line.startswith("0.5") for line in lines] == [False, False, True, False, False]
        assert [len(line) > len("0.5 |") for line in lines] == [False, False, True, False, False]

    def test_labels_are_the_highest_and_the_lowest(self):
        lines = text.curve([0.0456789, 2.3025851, 1], height=4)
        assert lines[0].startswith("  2.303 ┤")
        assert lines[-1].startswith("0.04568 ┤")

    @given(st.lists(NUMBERS, max_size=30), st.integers(1, 90), st.integers(1, 9), st.booleans())
    def test_any_values_fit_the_frame(self, values, width, height, plain):
        lines = text.curve(values, width, height, ascii=plain)
        assert len(lines) in (1, height)
        widest = max(len(f"{v:.4g}") for v in [0, *values] if v is not None)
        assert all(len(line) <= max(width, widest + 3, len("(no values)")) for line in lines)
        if plain:
            assert all(line.isascii() for line in lines)

    def test_takes_an_array(self):
        assert len(text.curve(np.linspace(0, 1, 500, dtype=np.float32), height=3)) == 3


class TestBars:
    def test_lengths_and_percentages(self):
        assert text.bars([1, 0.5, 0.0625, 0], ["a", "b", "c", "dd"], width=18) == [
            " a ████████ 100.0%",
            " b ████      50.0%",
            " c ▌          6.2%",
            "dd            0.0%",
        ]

    def test_ascii(self):
        assert text.bars([0.75, 0.1], range(2), width=17, ascii=True) == ["0 ######    75.0%", "1 #         10.0%"]

    def test_nothing_known_has_no_bar(self):
        assert text.bars([None, math.nan], "ab", width=13) == ["a           -", "b           -"]

    def test_none_at_all(self):
        assert text.bars([], []) == []

    def test_every_line_has_the_width_and_a_share_above_one_no_longer_bar(self):
        lines = text.bars(np.array([1.0000001, 0.3, 0.123]), range(3), 40)
        assert [len(line) for line in lines] == [40, 40, 40]

    def test_labels_must_fit(self):
        with pytest.raises(ValueError):
            text.bars([0.5], ["a", "b"])
