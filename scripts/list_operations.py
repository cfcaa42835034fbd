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
    "indexing", "slicing", "scattering", "linalg", "stacking", "losses", "networks", "normalization", "attention",
    "convolution", "pooling", "resizing", "recurrent",
]  # fmt: skip
# Families whose names are in torch.nn.functional
FUNCTIONAL = {"losses", "networks", "normalization", "attention", "convolution", "pooling", "resizing"}
ACTIVATIONS = {
    "celu",
    "elu",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "leaky_relu",
    "logsigmoid",
    "mish",
    "prelu",
    "relu",
    "relu6",
    "selu",
    "silu",
    "softplus",
    "softsign",
}
ELSEWHERE = {
    "erf": "torch.erf",
    "linear": "torch.nn.functional.linear",
    "cast": "torch.Tensor.to",
    "expand": "torch.Tensor.expand",
    "repeat": "torch.Tensor.repeat",
    "vector_norm": "torch.linalg.vector_norm",
    **dict.fromkeys(["getitem", "standardize"]),  # names of our own
}

INTRODUCTION = """\
# The operations

All that chainrule can differentiate, family by family; each name links to the source file that has its formula and
derivative together. G is the gradient that comes in; the rule says what it is multiplied by, or what becomes of it.
*Composed* is what is made of other operations, whose derivatives are then its own. Rows in parentheses are inner
operations that public ones are made of.

{counts}

`make operations` writes this page; [the architecture](architecture.md) says how to add an operation.
"""


def page() -> str:
    """The page's whole text."""
    counts: Counter[str] = Counter()
    parts = []
    for family in FAMILIES:
        module = importlib.import_module(f"chainrule.ops.{family}")
        title, *_ = (module.__doc__ or "").split("\n")
        parts.append(f"\n## {family}\n\n{title}\n\n| operation | what it gives | derivative | in PyTorch |")
        parts.append("| --- | --- | --- | --- |")
        for name, found in listed(module):
            public = name in module.__all__
            kind = "composed" if not isinstance(found, Operation) else "differentiable" if found.rule else "flat"
            counts[kind] += public
            parts.append(row(family, name, found, public))
    told = (
        f"There are {counts['differentiable']} with a derivative, {counts['composed']} composed, and "
        f"{counts['flat']} without one (their results are booleans or indices)."
    )
    return INTRODUCTION.format(counts=told) + "\n".join(parts) + "\n"


def listed(module: Any) -> list[tuple[str, Any]]:
    """A family's public operations and the inner ones, in the order of the source."""
    own = {found.name: found for found in vars(module).values() if isinstance(found, Operation)}
    own |= {name: getattr(module, name) for name in module.__all__}
    here = [(name, found) for name, found in own.items() if inspect.unwrap(found).__module__ == module.__name__]
    return sorted(here, key=lambda pair: inspect.getsourcelines(inspect.unwrap(pair[1]))[1])


def row(family: str, name: str, found: Any, public: bool) -> str:
    """One operation's row in the table."""
    if not isinstance(found, Operation):
        derivative = "*composed*"
    elif found.rule is None:
        derivative = "none"
    elif found.rule.__name__ == "_":  # defined right below the formula
        derivative = summary(found.rule)
    else:  # shared with other operations
        derivative = f"[{summary(found.rule)}]({link(family, found.rule.__name__)})"
    operation = f"[`{name}`]({link(family, name)})"
    torch_name = pytorch(family, name) if public else None
    theirs = f"[`{torch_name}`](https://docs.pytorch.org/docs/stable/generated/{torch_name}.html)" if torch_name else ""
    return f"| {operation if public else f'({operation})'} | {summary(found)} | {derivative} | {theirs} |"


def link(family: str, function: str) -> str:
    """The link from docs/ to a function of a family."""
    return f"../src/chainrule/ops/{family}.py#{function}"


def summary(function: Any) -> str:
    """The first line of what a function says about itself, as a table takes it."""
    return (function.__doc__ or "").strip().split("\n")[0].replace("|", "\\|").replace("*", "\\*")


def pytorch(family: str, name: str) -> str | None:
    """PyTorch's name for an operation."""
    if name in ELSEWHERE:
        return ELSEWHERE[name]
    return f"torch.nn.functional.{name}" if family in FUNCTIONAL or name in ACTIVATIONS else f"torch.{name}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"written: {PAGE.relative_to(ROOT)}")
