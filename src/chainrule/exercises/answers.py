"""Reads a typed answer without executing it: numbers, arithmetic, arrays, and formulas in named variables.

The text is parsed by Python's `ast`, and only the operators and functions listed here are evaluated, in float64. For an
answer that is a program, `load_function` executes the learner's file.
"""

from __future__ import annotations

import ast
import math
import operator
import re
import runpy
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import UserError, shorten
from chainrule.exercises.exercise import enumerate_words

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MAX_LENGTH = 2_000
"""The most characters of an answer."""
MAX_SIZE = 100_000
"""The most elements of an array in an answer."""

_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.MatMult: operator.matmul,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "exp": np.exp,
    "log": np.log,
    "ln": np.log,
    "sqrt": np.sqrt,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "tanh": np.tanh,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "relu": lambda z: np.maximum(z, 0),
    "abs": np.abs,
    "max": lambda *values: np.max(np.stack(values)),
    "min": lambda *values: np.min(np.stack(values)),
    "sum": np.sum,
    "mean": np.mean,
}
_CONSTANTS = {"pi": np.float64(np.pi), "e": np.float64(np.e)}
_SIGNS = {
    **dict.fromkeys("·×∙⋅*", "*"), **dict.fromkeys("−–—", "-"), "÷": "/", "^": "**",
    "½": "(1/2)", "¼": "(1/4)", "π": "pi", "σ": "sigmoid", "√": "sqrt",
    **{digit: str(value) for value, digit in enumerate("₀₁₂₃₄₅₆₇₈₉")},
}  # fmt: skip
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")


def parse(text: str, variables: tuple[str, ...] = (), scalar: bool = False) -> Callable[..., Any]:
    """Turn an answer into a function of its variables; without variables, it takes no arguments.

    Args:
        text: the answer, such as "0.25", "[[1, 2], [3, 4]]" or "2x"; see `_FUNCTIONS` for what may be called.
        variables: the names of the arguments, in order.
        scalar: whether a single number is meant, so that a comma separates thousands and not elements.

    Raises:
        UserError: the text is empty, too long, not arithmetic, or uses other names.
    """
    if len(text) > MAX_LENGTH:
        raise UserError(f"the answer has {len(text):,} characters; write at most {MAX_LENGTH:,}")
    if not text.strip():
        raise UserError("the answer is empty")
    python = _in_python(text.strip(), scalar)
    shown = shorten(text.strip(), 60)
    try:
        tree = ast.parse(python, mode="eval").body
        _check(tree, variables, shown)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        hint = "; write 2*x for 2x" if re.search(r"[\d)]\s*[^\W\d_]|[\d)]\s*\(", python) else ""
        raise UserError(f"cannot read the answer '{shown}' as arithmetic{hint}") from None

    def evaluate(*arguments: Any) -> Any:
        values = {name: np.asarray(value, float)[()] for name, value in zip(variables, arguments, strict=True)}
        with np.errstate(all="ignore"):
            try:
                return _evaluate(tree, {**_CONSTANTS, **values})
            except (ValueError, TypeError, OverflowError, RecursionError) as error:
                raise UserError(f"cannot compute the answer '{shown}': {shorten(str(error), 200)}") from None

    return evaluate


def load_function(file: Path, name: str) -> Callable[..., Any]:
    """Execute a learner's file, which is trusted like any program, and return the function that it defines.

    Raises:
        UserError: the file cannot be read or executed, or defines no such function.
    """
    if not file.is_file():
        raise UserError(f"{file}: there is no such file; it should define the function {name}")
    try:
        names = runpy.run_path(str(file), run_name="answer")
    except SyntaxError as error:
        raise UserError(f"{file}: line {error.lineno}: {error.msg}") from None
    except OSError as error:
        raise UserError(f"{file}: {error.strerror or error}") from None
    except (Exception, SystemExit) as error:
        raise UserError(f"{file}: {type(error).__name__}: {shorten(str(error), 200)}") from None
    function = names.get(name)
    if not callable(function):
        raise UserError(f"{file} does not define the function {name}")
    return function  # type: ignore[no-any-return]


def _in_python(text: str, scalar: bool) -> str:
    """Return the text with mathematical signs, powers and percent in Python's notation."""
    if scalar and re.fullmatch(r"[+\-−]?(0,\d+|\d{4,},\d+|\d+,(\d{1,2}|\d{4,}))", text):
        raise UserError(f"write a decimal point, not a comma: {text.replace(',', '.')}")
    if scalar and re.fullmatch(r"[+\-−]?\d{1,3}(,\d{3})+(\.\d+)?", text):
        text = text.replace(",", "")  # 23,860
    text = re.sub(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+", lambda power: f"**({power[0].translate(_SUPERSCRIPTS)})", text)
    text = re.sub(r"(?<=[\d.]) ?%$", "/100", text)
    return "".join(_SIGNS.get(sign, sign) for sign in text)


def _check(node: ast.expr, variables: tuple[str, ...], shown: str) -> None:
    """Raise a UserError for anything that is not listed in this file."""
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return
    if isinstance(node, ast.Name):
        if node.id not in variables and node.id not in _CONSTANTS:
            allowed = enumerate_words(variables) or "numbers"
            raise UserError(f"the answer uses '{shorten(node.id, 30)}'; it is to be written with {allowed}")
        return
    children: list[ast.expr]
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        children = [node.left, node.right]
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.UAdd | ast.USub):
        children = [node.operand]
    elif isinstance(node, ast.List | ast.Tuple):
        children = node.elts
    elif isinstance(node, ast.Attribute) and node.attr == "T":
        children = [node.value]
    elif isinstance(node, ast.Call) and not node.keywords:
        if _function_name(node.func) not in _FUNCTIONS:
            raise UserError(f"the answer calls what it may not, or 2(x) is meant as 2*(x): '{shown}'")
        children = node.args
    else:
        raise UserError(
            f"the answer '{shown}' is more than arithmetic; use numbers, + - * / **, brackets and functions"
        )
    for child in children:
        _check(child, variables, shown)


def _function_name(node: ast.expr) -> str:
    """Return the name of a called function, without the module in np.exp or math.exp."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("np", "math"):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _evaluate(node: ast.expr, names: dict[str, Any]) -> Any:
    """Return the value of an expression that `_check` accepts; float64 bounds the time that a power takes."""
    match node:
        case ast.Constant():
            return np.float64(node.value)  # type: ignore[arg-type]  # an int or a float
        case ast.Name():
            return names[node.id]
        case ast.BinOp():
            left, right = _evaluate(node.left, names), _evaluate(node.right, names)
            if (
                not isinstance(node.op, ast.MatMult)
                and math.prod(np.broadcast_shapes(left.shape, right.shape)) > MAX_SIZE
            ):
                raise ValueError("its arrays are too large")
            return _OPERATORS[type(node.op)](left, right)
        case ast.UnaryOp():
            value = _evaluate(node.operand, names)
            return -value if isinstance(node.op, ast.USub) else value
        case ast.List() | ast.Tuple():
            return np.array([_evaluate(element, names) for element in node.elts], float)
        case ast.Attribute():
            return _evaluate(node.value, names).T
        case ast.Call():
            return _FUNCTIONS[_function_name(node.func)](*(_evaluate(each, names) for each in node.args))
    raise AssertionError(node)
