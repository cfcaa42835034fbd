"""The house stands: imports run downwards only, and `import chainrule` stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "src" / "chainrule"

# From the ground up; a room may import from itself and from those before it.
ROOMS = [
    ("console", "errors", "files", "formulas", "habits"),
    ("cuda", "devices"),
    ("kernels",),
    ("lower",),
    ("ops",),
    ("autograd",),
    ("random", "tensor"),
    ("creation", "func", "safetensors_io"),
    ("nn",),
    ("optim", "torch"),
    ("capture",),
    ("distributed",),
    ("images",),
    ("data",),
    ("models",),
    ("plots", "first_principles", "lessons"),
    ("text",),
    ("training",),
    ("onnx", "sklearn", "source", "notebooks", "exercises", "explain", "reading", "sweep"),
    ("studio",),
    ("cli",),
]
FLOOR = {room: floor for floor, rooms in enumerate(ROOMS) for room in rooms}
FILES = sorted(f for f in ROOT.rglob("*.py") if f.relative_to(ROOT).parts[0] not in ("__init__.py", "__main__.py"))


def room_of(file: Path) -> str:
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(file: Path) -> set[str]:
    """The rooms that a file imports from, but for names that only type checkers need."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    parts = [name.split(".") for name in names if name.startswith("chainrule.")]
    return {part[1] for part in parts if part[1] in FLOOR}


def test_every_room_has_its_floor():
    assert {room_of(file) for file in FILES} == set(FLOOR)


@pytest.mark.parametrize("own", FLOOR)
def test_imports_run_downwards(own):
    upwards = {
        (str(file.relative_to(ROOT)), room)
        for file in FILES
        if room_of(file) == own
        for room in imports(file)
        if room != own and FLOOR[room] >= FLOOR[own]
    }
    assert not upwards


def test_first_principles_have_nothing_of_the_engine_underneath():
    """NumPy, mistakes, files, output, randomness, each other; and MNIST's arrays, for the page that reads digits."""
    found = set()
    for file in (ROOT / "first_principles").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                assert node.level == 0, "imports are absolute, so that this test sees them"
                found |= {(file.stem, node.module, alias.name) for alias in node.names}
            elif isinstance(node, ast.Import):
                found |= {(file.stem, alias.name, "") for alias in node.names}
    allowed = ("console", "errors", "files", "random", "first_principles")
    engine = {
        (page, module, name)
        for page, module, name in found
        if module.split(".")[0] == "chainrule" and [*module.split("."), name][1] not in allowed
    }
    assert engine == {("network", "chainrule.data", "mnist")}
    outside = {module.split(".")[0] for _, module, _ in found} - {"chainrule"} - sys.stdlib_module_names
    assert outside == {"numpy"}


def test_importing_chainrule_loads_nothing_heavy():
    heavy = [
        "matplotlib",
        "PIL",
        "llvmlite",
        "pooch",
        "click",
        "rich",
        "safetensors",
        "platformdirs",
        "filelock",
        "numpy.random",
    ]
    code = f"import sys, chainrule; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_lazy_parts_are_attributes():
    code = "import chainrule; print(chainrule.data.mnist, chainrule.models.mlp, chainrule.training.Trainer)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
