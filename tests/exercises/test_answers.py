"""Answers that are typed: arithmetic is read, and anything else is refused without being executed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from chainrule.errors import UserError
from chainrule.exercises.answers import load_function, parse

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.25", 0.25),
        (" -1/4 ", -0.25),
        ("+3e-4", 3e-4),
        ("2^3", 8),
        ("2**-1", 0.5),
        ("½ · 3²", 4.5),
        ("−2 × 10⁻³", -0.002),
        ("√(16) ÷ 2", 2),
        ("33.5 %", 0.335),
        ("exp(1) - e + np.log(1) + math.sqrt(4)", 2),
        ("1/(1 + exp(-0.5))", 1 / (1 + math.exp(-0.5))),
        ("σ(0) + sigmoid(0) + tanh(0) + relu(-2)", 1),
        ("ln(e²)", 2),
        ("max(1, 3) - min(2, 5) + abs(-4)", 5),
        ("cos(π)", -1),
        ("[1, 2.5, -3]", [1, 2.5, -3]),
        ("1, 2, 3", [1, 2, 3]),
        ("(1, 2)", [1, 2]),
        ("[[1, 2], [3, 4]]", [[1, 2], [3, 4]]),
        ("[[1, 2], [3, 4]].T", [[1, 3], [2, 4]]),
        ("[[1, 2], [3, 4]] @ [1, 1]", [3, 7]),
        ("2 * [1, 2] - [0, 1]", [2, 3]),
        ("sum([1, 2, 3]) / mean([2, 4])", 2),
    ],
)
def test_arithmetic(text: str, value: object) -> None:
    np.testing.assert_allclose(parse(text)(), value, rtol=1e-15)


@pytest.mark.parametrize(
    ("text", "value"), [("23,860", 23860), ("1,234,567.5", 1234567.5), ("-1,000", -1000), ("0.5", 0.5)]
)
def test_thousands_where_a_number_is_meant(text: str, value: float) -> None:
    assert parse(text, scalar=True)() == value


def test_formulas_have_their_variables_by_name() -> None:
    formula = parse("w₁*x^2 - δ/e", ("w1", "x", "δ", "e"))
    assert formula(2.0, 3.0, 8.0, 4.0) == 16
    np.testing.assert_array_equal(parse("2*x", ("x",))(np.array([1.0, 2.0])), [2, 4])
    assert math.isnan(parse("x**0.5", ("x",))(-1.0))
    assert parse("1/x", ("x",))(0.0) == math.inf
    assert parse("9**9**9**9", ())() == math.inf, "at once: the numbers are floats"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the answer is empty"),
        ("   ", "the answer is empty"),
        ("2x", "cannot read the answer '2x' as arithmetic; write 2*x for 2x"),
        ("2 (x)", "the answer calls what it may not, or 2"),
        ("3 +", "cannot read the answer '3 +' as arithmetic"),
        ("[1, 2", "cannot read the answer"),
        ("y", "the answer uses 'y'; it is to be written with x and w"),
        ("x.real", "is more than arithmetic"),
        ("x.__class__", "is more than arithmetic"),
        ("().__class__.__bases__[0].__subclasses__()", "calls what it may not"),
        ("__import__('os').system('touch here')", "calls what it may not"),
        ("open('x')", "calls what it may not"),
        ("np.load('x')", "calls what it may not"),
        ("exp.__globals__", "is more than arithmetic"),
        ("lambda: 1", "is more than arithmetic"),
        ("[x for x in [1]]", "is more than arithmetic"),
        ("x if x else w", "is more than arithmetic"),
        ("x := 3", "cannot read the answer"),
        ("'text'", "is more than arithmetic"),
        ("True", "is more than arithmetic"),
        ("1j", "is more than arithmetic"),
        ("x // 2", "is more than arithmetic"),
        ("1 << 1000", "is more than arithmetic"),
        ("{1: 2}", "is more than arithmetic"),
        ("exp(x, out=w)", "is more than arithmetic"),
        ("1" * 2001, "the answer has 2,001 characters; write at most 2,000"),
        ("-" * 1990 + "1", "cannot read the answer"),
        ("(" * 900 + "1" + ")" * 900, "cannot read the answer"),
        ("x\x00", "cannot read the answer"),
    ],
)
def test_what_is_no_arithmetic_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(text, ("x", "w"))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2] + [1, 2, 3]", "cannot compute the answer '[1, 2] + [1, 2, 3]': "),
        ("[[1, 2], [3]]", "cannot compute the answer"),
        ("2 @ 3", "cannot compute the answer"),
        ("exp()", "cannot compute the answer"),
        ("sqrt(1, 2, 3)", "cannot compute the answer"),
        ("1" + "0" * 400, "cannot compute the answer"),
    ],
)
def test_what_cannot_be_computed_is_one_sentence(text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(text)()
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_product_of_many_dimensions_is_refused_and_not_allocated() -> None:
    column = "[" + ", ".join("[1]" for _ in range(100)) + "]"
    layer = "[" + ", ".join("[[1]]" for _ in range(100)) + "]"
    row = "[" + ", ".join("1" * 100) + "]"
    with pytest.raises(UserError, match="its arrays are too large"):
        parse(f"{layer}*{column}*{row}")()


@pytest.mark.parametrize(
    ("text", "right"), [("0,25", "0.25"), ("-0,5", "-0.5"), ("3,1", "3.1"), ("1234,567", "1234.567")]
)
def test_a_decimal_comma_is_told(text: str, right: str) -> None:
    with pytest.raises(UserError, match=f"write a decimal point, not a comma: {right}"):
        parse(text, scalar=True)


def test_a_file_defines_the_function(tmp_path: Path) -> None:
    file = tmp_path / "my.py"
    file.write_text("def slope(x):\n    return 2 * x\n\nif __name__ == '__main__':\n    raise SystemExit\n")
    assert load_function(file, "slope")(3) == 6


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "there is no such file; it should define the function slope"),
        ("def slope(x:\n", "line 1: "),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("slope = 3", "does not define the function slope"),
        ("", "does not define the function slope"),
    ],
)
def test_a_file_that_does_not(tmp_path: Path, source: str | None, message: str) -> None:
    file = tmp_path / "my.py"
    if source is not None:
        file.write_text(source)
    with pytest.raises(UserError) as caught:
        load_function(file, "slope")
    assert message in str(caught.value)
    assert str(file) in str(caught.value)
