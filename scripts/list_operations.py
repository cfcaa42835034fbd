"""Write docs/operations.md: every operation, its derivative, a link to its source, and PyTorch's name for it.

Links name a function, not its line: `elementwise.py#exp`. The site's build finds the line (docs/site/conf.py).
`make operations` runs this; a test fails when the page and the source differ.
"""

import importlib
import inspect
from collections import Counter
from pathlib import Path
from typing import Any

from chainrule.ops import Operation

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "operations.md"
FAMILIES = [
    "elementwise", "activations", "arithmetic", "comparisons", "reductions", "cumulative", "sorting", "shape",
    "indexing", "slicing", "scattering", "linalg", "stacking", "losses", "padding", "normalization", "attention",
    "convolution", "pooling", "resizing", "recurrent",
]  # fmt: skip
FUNCTIONAL_FAMILIES = {"losses", "padding", "normalization", "attention", "convolution", "pooling", "resizing"}
"""The families whose operations PyTorch has in torch.nn.functional. Names of other families are in torch."""
FUNCTIONAL_NAMES = {
    "celu", "elu", "embedding", "gelu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "logsigmoid", "mish",
    "prelu", "relu", "relu6", "selu", "silu", "softplus", "softsign",
}  # fmt: skip
"""Operations of other families that are in torch.nn.functional."""
TORCH_NAMES = {
    "erf": "torch.erf",
    "linear": "torch.nn.functional.linear",
    "cast": "torch.Tensor.to",
    "expand": "torch.Tensor.expand",
    "repeat": "torch.Tensor.repeat",
    "vector_norm": "torch.linalg.vector_norm",
    **dict.fromkeys(["getitem", "standardize"]),
}
"""PyTorch's names of operations to which no rule above applies; None for those that PyTorch does not have."""

INTRODUCTION = """\
# The operations

All operations, family by family. Each name links to the source file that has the formula and the derivative together.
x is the input, y the second operand, and G the gradient of the result. A derivative is given as the factor by which G
is multiplied or, where it mentions G or the gradient, as the gradient of the input. *Composed* operations call other
operations, so they need no derivative of their own. Rows in parentheses are internal operations.

{counts}

`make operations` writes this page; [the architecture](architecture.md) says how to add an operation.
"""


def page() -> str:
    """The text of the page."""
    counts: Counter[str] = Counter()
    parts = []
    for family in FAMILIES:
        module = importlib.import_module(f"chainrule.ops.{family}")
        title, *_ = (module.__doc__ or "").split("\n")
        parts.append(f"\n## {family}\n\n{title}\n\n| operation | what it gives | derivative | in PyTorch |")
        parts.append("| --- | --- | --- | --- |")
        for name, function in operations_of(module):
            is_public = name in module.__all__
            kind = "composed"
            if isinstance(function, Operation):
                kind = "differentiable" if function.rule else "not differentiable"
            counts[kind] += is_public
            parts.append(row(family, name, function, is_public))
    counts_sentence = (
        f"There are {counts['differentiable']} operations with a derivative, {counts['composed']} composed ones,\n"
        f"and {counts['not differentiable']} without a derivative, whose results are booleans or integers."
    )
    return INTRODUCTION.format(counts=counts_sentence) + "\n".join(parts) + "\n"


def operations_of(module: Any) -> list[tuple[str, Any]]:
    """The names and functions of a family's public and internal operations, in the order of the source."""
    functions = {value.name: value for value in vars(module).values() if isinstance(value, Operation)}
    functions |= {name: getattr(module, name) for name in module.__all__}
    own = [(name, f) for name, f in functions.items() if inspect.unwrap(f).__module__ == module.__name__]
    return sorted(own, key=lambda pair: inspect.getsourcelines(inspect.unwrap(pair[1]))[1])


def row(family: str, name: str, function: Any, is_public: bool) -> str:
    """One operation's row in the table."""
    if not isinstance(function, Operation):
        derivative = "*composed*"
    elif function.rule is None:
        derivative = "none"
    elif function.rule.__name__ == "_":  # defined right below the formula
        derivative = summary(function.rule)
    else:  # shared with other operations
        derivative = f"[{summary(function.rule)}]({link(family, function.rule.__name__)})"
    source_link = f"[`{name}`]({link(family, name)})"
    torch_name = pytorch(family, name) if is_public else None
    url = f"https://docs.pytorch.org/docs/stable/generated/{torch_name}.html"
    torch_link = f"[`{torch_name}`]({url})" if torch_name else ""
    first_cell = source_link if is_public else f"({source_link})"
    return f"| {first_cell} | {summary(function)} | {derivative} | {torch_link} |"


def link(family: str, function: str) -> str:
    """The link from docs/ to a function of a family."""
    return f"../src/chainrule/ops/{family}.py#{function}"


def summary(function: Any) -> str:
    """The first line of a function's docstring, escaped for a table."""
    return (function.__doc__ or "").strip().split("\n")[0].replace("|", "\\|").replace("*", "\\*")


def pytorch(family: str, name: str) -> str | None:
    """PyTorch's name for an operation."""
    if name in TORCH_NAMES:
        return TORCH_NAMES[name]
    is_functional = family in FUNCTIONAL_FAMILIES or name in FUNCTIONAL_NAMES
    return f"torch.nn.functional.{name}" if is_functional else f"torch.{name}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"written: {PAGE.relative_to(ROOT)}")
