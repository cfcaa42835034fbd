"""Every number in a lesson's text is printed by the lesson, stands in its code, or is computed here.

What a lesson prints is taken from its file in shown/, whose lines test_lessons compares with the real output. So a text
that states a figure cannot be wrong about it without a test that fails.
"""

from __future__ import annotations

import ast
import math
import re
from pathlib import Path

import numpy as np
import pytest

from chainrule import lessons
from chainrule.first_principles.activations import sigmoid_derivative
from chainrule.first_principles.language import CORPUS

LESSONS = lessons.available()
SHOWN = Path(__file__).parent / "shown"
NUMBER = re.compile(r"(?<![\w.,])(\d{1,3}(?:,\d{3})+|\d+)(\.\d+)?(%?)(?!\w)")
YEAR = re.compile(r"1[6-9]\d\d|20[0-3]\d")
SMALL = 20
"""Integers up to this one count things in sight, such as rows, examples and steps of a sum."""

GUESS, TARGET, OTHER_TARGET = 0.4493, 1, 0  # of the network of the lesson on backpropagation
NUMBERS = 784 * 30 + 30 + 30 * 10 + 10

COMPUTED = {  # what a text derives and the lesson does not print, and how
    "neurons": {"2.71828": math.e},
    "one-neuron-learns": {"0.0177": float(sigmoid_derivative(np.array(4.0)))},
    "the-chain-rule": {"24": 30**5 / 1e6},  # millions
    "the-bowl": {"98%": 1 - 1 / 50, "2.64": 2.64, "0.0264": 2.64e-2},  # how Python writes 10⁻²
    "backpropagation": {"0.5507": TARGET - GUESS, "0.4493": GUESS - OTHER_TARGET, "0.8159": GUESS / (TARGET - GUESS)},
    "why-it-is-fast": {"23,860": NUMBERS, "23,861": NUMBERS + 1},
    "stochastic-gradient-descent": {"50,000": 60_000 - 10_000},
    "the-network-reads-digits": {
        "70,000": 60_000 + 10_000,
        "5,000": 50_000 / 10,
        "90%": 0.9,
        "29": 30 - 1,
        "300": 3 / 0.01,
        "2,000": 2 * 10_000 / 10,
    },
    "four-ways": {"499": 500 - 1},
    "any-curve": {"32": 32},  # to try
    "learning-better": {"39,760": 784 * 50 + 50 + 50 * 10 + 10, "88%": 0.88},
    "the-convolutional-network": {
        "96": 32 + 64,
        "25,088": 32 * 28 * 28,
        "785": 784 + 1,
        "50": 6000 / 120,
        "0.69": math.log(2),
        "2.3": math.log(10),
    },
    "backward-through-convolution": {"180": math.degrees(math.pi)},
    "vanishing-gradients": {"0.00001": 1e-5},
    "dead-neurons": {"0.6": 0.6, "0.9": 0.9},  # to try
    "deeper-networks": {"45": math.comb(10, 2)},
    "optimizers": {"0.98": 1 - 0.01 * 2},
    "your-own-photo": {"99": 99},
    "the-next-word": {
        "379": len(CORPUS.read_text(encoding="utf-8").splitlines()),
        "80": 5 * 16,
        "64": 64,
    },
    "a-small-gpt": {"5,163": 5163, "128": 4 * 32, "96": 96, "12,288": 96 * 128, "175": 175, "300": 300},  # of GPT-3
}


def text_of(source: str) -> str:
    """The prose of a lesson: docstring and text cells, without formulas and code."""
    _, docstring, rest = source.split('"""', 2)
    cells = re.findall(r"^# %%\n((?:#.*\n?)+)", rest, re.MULTILINE)
    text = "\n".join([docstring, *(re.sub(r"^# ?", "", cell, flags=re.MULTILINE) for cell in cells)])
    text = re.sub(r"\.\. math::.*(?:\n(?: +.*| *(?=\n+ )))*", " ", text)
    return re.sub(r":math:`[^`]+`|``[^`]+``", " ", text)


def numbers_in(text: str) -> list[tuple[str, float]]:
    """Each number of a text, as it is written and its value."""
    found = [(match[0], match[1].replace(",", "") + (match[2] or ""), match[3]) for match in NUMBER.finditer(text)]
    return [(written, float(value) / (100 if percent else 1)) for written, value, percent in found]


def constants(source: str) -> set[float]:
    """The numbers in a lesson's code, also those in its strings."""
    found: set[float] = set()
    for node in ast.walk(ast.Module(ast.parse(source).body[1:], [])):
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            found.add(abs(float(node.value)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= {value for _, value in numbers_in(node.value)}
    return found


def is_among(written: str, value: float, values: set[float]) -> bool:
    """Whether a number is one of others, rounded as it is written."""
    decimals = len(written.rstrip("%").partition(".")[2]) + 2 * written.endswith("%")
    return any(abs(value - other) <= 0.5 * 10**-decimals + 1e-12 for other in values)


def printed(stem: str) -> set[float]:
    text = (SHOWN / f"{stem}.txt").read_text(encoding="utf-8")
    plain = {value for _, value in numbers_in(text)}
    return plain | {float(value) for value in re.findall(r"\d\.?\d*e[-+]\d+", text)}


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.key)
def test_each_number_in_the_text_is_shown_or_computed(lesson: lessons.Lesson) -> None:
    source = lesson.file.read_text(encoding="utf-8")
    shown, code = printed(lesson.file.stem[3:]), constants(source)
    computed = COMPUTED.get(lesson.key, {})
    unknown, used = [], set()
    for written, value in numbers_in(text_of(source)):
        if (value <= SMALL and value.is_integer()) or YEAR.fullmatch(written):
            continue
        if written in computed:
            used.add(written)
            assert is_among(written, value, {computed[written]}), f"{written} should be {computed[written]}"
        elif not is_among(written, value, shown) and value not in code:
            unknown.append(written)
    assert unknown == [], f"add the lines that show them to shown/{lesson.file.stem[3:]}.txt, or compute them here"
    assert used == set(computed), "the text no longer states these"


def test_a_wrong_number_is_noticed() -> None:
    source = '"""\nA\n=\n\nWhy 3,000?\n"""\n\n# %%\n# B\n# -\n#\n# It is 0.8704, or 87%, after\n# 25 steps (:math:`99`).\nrate = 0.25\nprint(f"after {7} of 40")\n'
    assert [written for written, _ in numbers_in(text_of(source))] == ["3,000", "0.8704", "87%", "25"]
    assert constants(source) == {0.25, 7.0, 40.0}
    for written, value, other, expected in (
        ("0.87", 0.87, 0.8704, True),
        ("0.8704", 0.8704, 0.87038, True),
        ("0.8704", 0.8704, 0.8706, False),
        ("87%", 0.87, 0.8704, True),
        ("88%", 0.88, 0.8704, False),
        ("3,000", 3000.0, 3001.0, False),
    ):
        assert is_among(written, value, {other}) is expected
