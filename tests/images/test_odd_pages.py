"""Pages without digits: strips, specks, and very many parts."""

from __future__ import annotations

import time
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from chainrule.images.lines import _slope, group_into_lines
from chainrule.images.page import read_page
from chainrule.models import load_detector
from chainrule.reading import classifier
from chainrule.training import run as runs

from .test_page import digits_of, write


@pytest.fixture(scope="module")
def read():
    """The pretrained classifier and the pretrained detector."""
    return classifier(runs.shipped()), load_detector()


@pytest.mark.parametrize(
    ("short", "long"),
    [
        *[(short, long) for short in (28, 44) for long in (333, 1000, 1999, 2000, 2001, 4000, 9000)],
        *[(short, long) for short in (30, 63, 90) for long in (1000, 9000)],
    ],
)
def test_a_strip_has_its_ink_looked_for_as_any_page(read, short, long):
    """Regression: strips longer than 20 times their width caused a traceback, since a tile was higher than the strip."""
    random = np.random.default_rng(short * long)
    strip = np.full((short, long), 0.9, np.float32)
    strip[:, :: max(2, long // 9)] = 0.1
    strip[random.random(strip.shape) < 0.002] = 0.2
    for page in (strip, strip.T, np.full_like(strip, 0.9)):
        assert all(digit.confidence >= 0 for line in read_page(page, *read) for digit in line)


def test_specks_do_not_hide_digits(read):
    """A sheet with thousands of dots, and digits between them."""
    sheet = write(["314", "159"])
    dots, count = sheet.copy(), 0
    for down in range(5, 795, 11):
        for across in range(5, 995, 11):
            if sheet[max(0, down - 25) : down + 28, max(0, across - 25) : across + 28].min() > 0.85:
                dots[down : down + 3, across : across + 3] = 0.3
                count += 1
    assert count > 4000
    assert digits_of(read_page(dots, *read)) == ["314", "159"]


@pytest.mark.slow
def test_dots_everywhere_take_seconds(read):
    """Four megapixels with a black dot on every hundredth pixel, and no digits."""
    random = np.random.default_rng(0)
    page = np.where(random.random((2000, 2000)) < 0.01, 0, 255).astype(np.uint8)
    begun = time.process_time()
    read_page(page, *read)
    assert time.process_time() - begun < 10  # 2 s on an idle machine


def plain_lines(parts):
    """A simple implementation of `group_into_lines`."""
    slope, lines = _slope(parts), []
    for part in sorted(parts, key=lambda part: part.left):
        middle, steps = (part.top + part.bottom) / 2, []
        for line in lines:
            last = line[-3:]
            expected = np.mean([(p.top + p.bottom) / 2 + slope * (part.left - p.left) for p in last])
            steps.append(abs(middle - expected) / max(part.height, np.mean([p.height for p in last])))
        best = int(np.argmin(steps)) if steps else 0
        if steps and steps[best] < 0.5:
            lines[best].append(part)
        else:
            lines.append([part])
    return sorted(lines, key=lambda line: np.mean([(p.top + p.bottom) / 2 - slope * p.left for p in line]))


@pytest.mark.parametrize("seed", range(20))
def test_lines_are_those_of_a_plain_loop(seed):
    random = np.random.default_rng(seed)
    parts = []
    for _ in range(random.integers(1, 60)):
        top, left, height, width = random.integers(0, 500), random.integers(0, 800), *random.integers(8, 60, 2)
        parts.append(SimpleNamespace(top=top, left=left, height=height, width=width, bottom=top + height))
    lines = group_into_lines(parts)
    assert [[id(part) for part in line] for line in lines] == [[id(p) for p in line] for line in plain_lines(parts)]
    assert sum(map(len, lines)) == len(parts)
    assert all(a.left <= b.left for line in lines for a, b in pairwise(line))


def test_no_parts_no_lines():
    assert group_into_lines([]) == []
