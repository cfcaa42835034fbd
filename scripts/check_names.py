"""Refuse names that are not allowed in src/: `python scripts/check_names.py [FOLDER ...]`.

A name is a noun that says what it holds, and the field's own word where there is one. The tables give, for each name
that is not allowed, the names to use instead.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent

PARTICIPLE = "a noun that says what it holds"
EVERYWHERE = {
    **dict.fromkeys(("found", "made", "given", "known", "kept", "taken"), PARTICIPLE),
    "told": "what it does: error_suffix, decode_descriptor, data_pointer, call_c",
    "entrance": "entry_point, link, make_wrapper",
    **dict.fromkeys(("place", "places", "place_of"), "axis, class_index, position, data_pointer, slot"),
    "spread": "parallel_for, broadcast, std",
    "turned": "transposed, flipped, reversed, rotated",
    "together": "run_parallel",
    "Host": "Guards",
    "expect": "add",
    "Form": "ArraySpec",
    "Replay": "Specialization",
    "late": "deferred_grad",
    "LostTensorError": "LeakedTracerError",
    "fresh": "overwrite",
    "hurry": "wake",
    "put_rows": "add_rows",
    "class_loss": "softmax_cross_entropy",
    "bernoulli_loss": "binary_cross_entropy",
    "blend": "ema_update",
    "Slide": "ConvParams",
    "Window": "PoolParams",
    "confidences": "probabilities",
    "plain_epochs": "epochs_without_augmentation",
}
"""Names that no function, class, argument, variable or attribute may have, with or without leading underscores. (A
trailing underscore is part of a name: `constant_` is PyTorch's.)"""
FUNCTIONS = {
    "large": "should_compile",
    "put": "add_at",
    "replace": "index_put",
    "rows": "embedding",
    "constant": "stop_gradient",
    "network": "sigmoid_mlp",
}
"""Names that no function or class may have; as names of variables they are everyday words."""


def names(tree: ast.AST) -> Iterator[tuple[str, int, bool]]:
    """Each name that is defined or assigned, with its line, and whether it is a function or class."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node.lineno, True
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno, False
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno, False
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno, False


def banned(source: str) -> Iterator[tuple[int, str, str]]:
    """The banned names in a source text: line, name, and the names to use instead."""
    lines = source.splitlines()
    for name, line, is_function in names(ast.parse(source)):
        if "former name" in lines[line - 1]:  # an alias, for users' code
            continue
        word = name.lstrip("_")
        better = EVERYWHERE.get(word) or (FUNCTIONS.get(word) if is_function else None)
        if better is not None:
            yield line, name, better


def main() -> int:
    """Print all banned names below the given folders; 1 if there are any."""
    folders = [Path(argument).resolve() for argument in sys.argv[1:]] or [ROOT / "src"]
    count = 0
    for path in sorted(path for folder in folders for path in folder.rglob("*.py")):
        for line, name, better in sorted(banned(path.read_text(encoding="utf-8"))):
            print(f"{path.relative_to(ROOT)}:{line}: {name}: write {better}")
            count += 1
    return int(count > 0)


if __name__ == "__main__":
    sys.exit(main())
