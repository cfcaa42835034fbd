"""Count the lines of src/chainrule by folder, and fail if the engine or the core exceeds its limit: small is a feature.

Two counts: all lines, and lines of code, which leave out blank lines, comments and docstrings.
"""

import ast
import sys
from collections import Counter
from pathlib import Path

ENGINE = {"ops", "autograd", "tensor.py", "nn", "optim"}
CORE = ENGINE | {"creation.py", "random.py", "lower", "capture", "kernels"}
LIMITS = {"the engine": (ENGINE, 7_242), "the core": (CORE, 15_970)}
"""The folders of each part, and how many lines of code the part may have. A limit is raised only for new operations,
layers and optimizers, with the reason in the commit, and lowered whenever code is removed; 4,100 and 7,900 lines are
the goals. Fused attention, whose kernels are written by hand, is 450 lines of the core, 40 of them in the engine; a
trace that frees what it no longer needs is 20. Seven optimizers, six schedules and averages of weights are 602 of the
engine. Operations that users of PyTorch and NumPy looked for (activations, inverse functions, remainders, logic,
sorting, running products, scattering) are 650 of the engine; their loops are 40 of the core. LSTM, GRU, RNN and their
cells are 357 of the engine, and 13 of the rest of the core. NumPy's functions on Tensors, resizing, instance norm,
layers of signals, stacking, slices, lists of modules and missing names are 610 of the engine. jvp is 40 of the engine
with `to("cpu")`, and `device=` of what creates tensors 25 of the core."""
root = Path(__file__).parent.parent / "src" / "chainrule"


def code_lines(source: str) -> int:
    """The number of lines of code."""
    lines = {
        number
        for number, line in enumerate(source.splitlines(), 1)
        if line.strip() and not line.strip().startswith("#")
    }
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


all_lines: Counter[str] = Counter()
code: Counter[str] = Counter()
for file in sorted(root.rglob("*.py")):
    part = file.relative_to(root).parts[0]  # a folder, or a file directly in src/chainrule
    source = file.read_text(encoding="utf-8")
    all_lines[part] += len(source.splitlines())
    code[part] += code_lines(source)

print(f"{'':<20}{'lines':>8}{'of code':>10}")
for part in sorted(all_lines):
    print(f"{part:<20}{all_lines[part]:>8,}{code[part]:>10,}{'  engine' if part in ENGINE else ''}")
parts_by_title = {title: parts for title, (parts, _) in LIMITS.items()} | {"all of src": set(all_lines)}
for title, parts in parts_by_title.items():
    print(f"{title:<20}{sum(all_lines[p] for p in parts):>8,}{sum(code[p] for p in parts):>10,}")
missing = [part for part in sorted(CORE) if not code[part]]
if missing:
    sys.exit(f"{', '.join(missing)}: not in {root}; the parts of the core must be named here")
exceeded = [
    f"{title} has {sum(code[p] for p in parts):,} lines of code, more than {limit:,}"
    for title, (parts, limit) in LIMITS.items()
    if sum(code[p] for p in parts) > limit
]
sys.exit("; ".join(exceeded) or 0)
