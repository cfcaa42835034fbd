"""The Python in documents and docstrings runs and prints what they say; the commands in them exist."""

from __future__ import annotations

import importlib.util
import inspect
import re
import shlex
import tomllib

import click
import numpy as np
import pytest
from PIL import Image

import chainrule
from chainrule import optim
from chainrule.capture import jit
from chainrule.cli import COMMANDS as COMMAND_NAMES
from chainrule.cli import cli, main
from chainrule.models import REGISTRY
from chainrule.ops import Operation

from . import documents
from .documents import ROOT
from .naming import naming

DOCUMENTS = {str(path.relative_to(ROOT)): path for path in documents.markdown()}
SOURCES = sorted((ROOT / "src" / "chainrule").rglob("*.py"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache folder for all documents, so that data are unpacked only once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def desk(tmp_path, cache, monkeypatch):
    """A folder with the files and folders that documents mention."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHAINRULE_CACHE", str(cache))
    registered = dict(REGISTRY)
    chainrule.manual_seed(0)
    for name in ("photo.jpg", "page.jpg"):
        Image.new("L", (40, 40), 255).save(name)
    folders = "RUN FOLDER build/reader experiments runs/first-try sweeps/sweep my-idx-files my-photos"
    for folder in folders.split():
        (tmp_path / folder).mkdir(parents=True)
    yield
    for name in REGISTRY.keys() - registered.keys():  # models that documents define
        del REGISTRY[name]


@pytest.fixture
def photos(desk):
    """A digit and a page of four, dark on light."""
    digits = chainrule.data.mnist().split().test.images
    page = np.full((300, 400), 235, np.uint8)
    for number, (y, x) in enumerate([(40, 40), (40, 160), (160, 60), (160, 200)]):
        page[y : y + 56, x : x + 56] -= (digits[number].repeat(2, 0).repeat(2, 1) * 0.8).astype(np.uint8)
    Image.fromarray(page).save("page.jpg")
    Image.fromarray(page[20:116, 20:116]).save("photo.jpg")


# Python


def check_operations(before, names):
    """Check the operations that a document defines: first and second derivatives, and compiled against eager."""
    operations = [
        value for key, value in names.items() if isinstance(value, Operation) and value is not before.get(key)
    ]
    for operation in operations:
        for seed in range(3):
            x = chainrule.from_numpy(np.random.default_rng(seed).normal(0, 3, (2, 3))).requires_grad_()
            assert chainrule.autograd.gradcheck(operation, x)
            assert chainrule.autograd.gradgradcheck(operation, x)
        compiled = jit(lambda x, operation=operation: operation(x) * 2)
        for seed in range(2):
            x = chainrule.from_numpy(np.random.default_rng(seed).normal(0, 3, (2, 3)))
            np.testing.assert_allclose(compiled(x).numpy(), operation(x).numpy() * 2, rtol=1e-12)
    return operations


def check_optimizers(defined):
    """Check that the optimizers that a document defines give the same eagerly, compiled, and with a reloaded state."""
    for kind in [value for value in defined if isinstance(value, type) and issubclass(value, optim.Optimizer)]:
        start, *gradients = np.random.default_rng(0).normal(0, 1, (7, 2, 3))
        results = []
        for compiled, reloaded in ((False, False), (True, False), (True, True)):
            w = chainrule.from_numpy(start.copy()).requires_grad_()
            optimizer = kind([w])

            def step(gradient, w=w, optimizer=optimizer):
                optimizer.zero_grad()
                (w * gradient).sum().backward()
                optimizer.step()

            run = jit(step) if compiled else step
            for gradient in gradients:
                run(chainrule.from_numpy(gradient))
                if reloaded:
                    optimizer.load_state_dict(optimizer.state_dict())
            results.append(w.detach().numpy())
        assert not np.array_equal(results[0], start)
        for result in results[1:]:
            np.testing.assert_allclose(result, results[0], rtol=1e-12)


def test_the_guide_teaches_operations_layers_optimizers_and_models():
    """Each is defined in a block of the architecture page; `test_python_in_documents` runs these blocks."""
    text = "\n".join(block.code for block in documents.blocks(ROOT / "docs" / "architecture.md"))
    for sign in (r"^@operation\b", r"^class \w+\(nn\.Module\)", r"^class \w+\(optim\.Optimizer\)", r"^@register\("):
        assert re.search(sign, text, re.MULTILINE), sign


def test_the_guides_optimizer_does_what_its_formula_says():
    names = {}
    for block in documents.blocks(ROOT / "docs" / "architecture.md"):
        names |= documents.names_for(block.needs)
        documents.run(block.code, names, "architecture")
    rng = np.random.default_rng(2)
    w, mean, square, gradients = rng.normal(0, 1, 4), [0.0] * 4, [0.0] * 4, rng.normal(0, 1, (5, 4))
    parameter = chainrule.from_numpy(w.copy()).requires_grad_()
    optimizer = names["Yogi"]([parameter], lr=0.01, betas=(0.8, 0.95), eps=0.1)
    for gradient in gradients:
        optimizer.zero_grad()
        (parameter * chainrule.from_numpy(gradient)).sum().backward()
        optimizer.step()
        for i in range(4):
            mean[i] = 0.8 * mean[i] + 0.2 * gradient[i]
            square[i] += 0.05 * gradient[i] ** 2 * (1 if gradient[i] ** 2 > square[i] else -1)
            w[i] -= 0.01 * mean[i] / (square[i] ** 0.5 + 0.1)
    np.testing.assert_allclose(parameter.detach().numpy(), w, rtol=1e-12)


NEEDED = {
    "chainrule.onnx": ("onnx", "'chainrule[onnx]'"),
    "chainrule.sklearn": ("sklearn", "'chainrule[sklearn]'"),
    "TensorBoard": ("tensorboardX", "'chainrule[tensorboard]'"),
}
"""The libraries that blocks of Python need, by words in the block: the library, and what to install for it."""


@pytest.mark.parametrize("document", DOCUMENTS)
def test_python_in_documents(document):
    names = {"__name__": "a document"}
    for block in documents.blocks(DOCUMENTS[document]):
        if re.search("^import (wandb|mlflow)$", block.code, re.MULTILINE):
            continue  # tests/bridges/test_trackers.py runs it on a run that it trains
        for words, (library, extra) in NEEDED.items():
            if words in block.code:
                pytest.importorskip(library, reason=f"{library} is not installed: pip install {extra}")
        needed = documents.names_for(block.needs)
        names |= needed
        before = dict(names)
        documents.run(block.code, names, f"{document}:{block.line}")
        operations = check_operations(before, names)
        check_optimizers([value for key, value in names.items() if before.get(key) is not value])
        if block.needs.startswith(("in ", "excerpt of ")):
            assert operations
        if block.needs.startswith("excerpt of "):
            module = importlib.import_module(block.needs.removeprefix("excerpt of "))
            assert set(documents.plain(block.code)) <= set(documents.plain(inspect.getsource(module)))


def test_what_documents_print_is_compared():
    (block, *_) = documents.blocks(ROOT / "README.md")
    wrong = block.code.replace("# 0.93", "# 0.99")
    assert wrong != block.code
    short = re.sub(r"^for x, y in batches:\n(    .*\n)+", "", wrong, flags=re.MULTILINE)  # nothing is learned
    assert "step" not in short
    with pytest.raises(AssertionError, match=r"README.*gives tensor\(0\..*, not 0\.99 after one pass"):
        documents.run(short, {}, "README")
    x = chainrule.tensor([1.0, 2.0])
    with pytest.raises(AssertionError, match=r"x \* 2 gives tensor\(\[2"):
        documents.run("x * 2  # tensor([2., 5.])", {"x": x}, "here")
    assert documents.run("y = 3\ny  # 3\ny + 1  # one more\nprint(y / 2)  # 1.5", {}, "here") == 2
    assert documents.agrees("tensor(0.9312)", "0.93 after one pass")
    assert not documents.agrees("tensor(0.9512)", "0.93 after one pass")
    assert not documents.agrees("0.9312", "0.93")


SMALL = """
import numpy as np
import chainrule
from chainrule import nn, optim
from chainrule.data import DataLoader, TensorDataset
images = chainrule.from_numpy(np.random.default_rng(0).random((8, 28, 28), np.float32))
labels = chainrule.arange(8)
"""
BEFORE = {
    "chainrule.data": "import chainrule",
    "chainrule.distributed.parallel": "import chainrule\nfrom chainrule import distributed, nn, optim",
    "chainrule.distributed.sharded": "import chainrule\nfrom chainrule import distributed, nn, optim",
    "chainrule.data.augment": SMALL
    + "from chainrule.data.augment import Augment\ndataset = TensorDataset(images, labels)",
    "chainrule.first_principles.network": (
        "from chainrule.first_principles import network as page\n"
        "Network = page.Network\n"
        "load_data_wrapper = lambda: [part[:300] for part in page.load_data_wrapper()]"
    ),
    "chainrule.capture.compiled": SMALL
    + "model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))\n"
    + "optimizer = optim.SGD(model.parameters(), 0.1)\n"
    + "def train_step(x, y):\n"
    + "    optimizer.zero_grad()\n"
    + "    loss = nn.functional.cross_entropy(model(x), y)\n"
    + "    loss.backward()\n"
    + "    optimizer.step()\n"
    + "    return loss",
    "chainrule.kernels.calling": (  # what it shows are the arguments, in their order
        "from chainrule.kernels.calling import ARGUMENTS\n"
        "table, descriptor, scalars, first, last, overwrite = ARGUMENTS\n"
        "def kernel(*names):\n"
        "    assert names == tuple(ARGUMENTS)"
    ),
    "chainrule.kernels.tree": "from chainrule.kernels.tree import ADDRESS, F4, I8, Kernel",
    "chainrule.onnx": SMALL + "network = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))",
    "chainrule.ops.operation": "import numpy as np\nfrom chainrule.ops import operation",
    "chainrule.plots": (
        "from chainrule.first_principles.descent import descend, parabola, parabola_gradient\n"
        "path = descend(parabola, parabola_gradient, start=10.0)"
    ),
    "chainrule.training.replay": (
        "from chainrule.data import mnist\n"
        "from chainrule.training import experiment, run\n"
        "first = run.create(experiment.configure('mlp', mnist(), limit=600, epochs=1), 'runs/first-try')\n"
        "experiment.prepare(first, mnist()).fit(1)"
    ),
}
"""Code to run before a module's examples, by module: definitions that the reader has already."""
SHORTER = {"epochs=30": "epochs=2"}
"""Replacements in examples that would take minutes."""


def module_of(source):
    parts = source.relative_to(ROOT / "src").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


EXAMPLES = [
    pytest.param(module_of(source), code, id=f"{module_of(source)} {name}".strip())
    for source in SOURCES
    for name, code in documents.examples(source)
]


@pytest.mark.parametrize(("module", "code"), EXAMPLES)
def test_python_in_docstrings(module, code):
    if module == "chainrule.torch":
        pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'chainrule[torch]'")
    if module == "chainrule.onnx":
        pytest.importorskip("onnx", reason="onnx is not installed: pip install 'chainrule[onnx]'")
    if "TensorBoard(" in code:
        pytest.importorskip(
            "tensorboardX", reason="tensorboardX is not installed: pip install 'chainrule[tensorboard]'"
        )
    if module.startswith("chainrule.sklearn"):
        pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install 'chainrule[sklearn]'")
    names = {}
    exec(BEFORE.get(module, ""), names)  # noqa: S102  # from the table above
    before = dict(names)
    for long, short in SHORTER.items():
        code = code.replace(long, short)
    documents.run(code, names, module)
    check_operations(before, names)


def test_docstrings_have_examples():
    modules = {parameters.values[0] for parameters in EXAMPLES}
    assert modules >= {"chainrule", "chainrule.torch", *BEFORE}


# Commands

SCRIPTS = [path for folder in ("examples", "benchmarks", "scripts") for path in sorted((ROOT / folder).glob("*.py"))]
HELP = [(f"chainrule {name} --help", cli.get_command(click.Context(cli), name)) for name in COMMAND_NAMES]
WHERE = [
    *((str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")) for path in DOCUMENTS.values()),
    *((str(path.relative_to(ROOT)), text) for path in (*SOURCES, *SCRIPTS) for _, text in documents.docstrings(path)),
    *(
        (name, "\n\n    " + (command.epilog or "").replace("\n", "\n    "))
        for name, command in (("chainrule --help", cli), *HELP)
    ),
]
COMMANDS = {command: where for where, text in WHERE for command in documents.commands(text)}
QUICK = (
    *("chainrule --help", "chainrule lesson", "chainrule models"),
    *("chainrule predict photo.jpg", "chainrule read page.jpg --out read.jpg"),
)
"""Commands that are also run."""


def check_chainrule(words):
    """Check that the command exists and accepts these arguments; a sentence may name a command without arguments."""
    if words[0].startswith("-"):
        assert words == ["--help"]
        return
    with click.Context(cli, info_name="chainrule") as context:
        found = cli.get_command(context, words[0])
        assert found is not None, f"there is no command {words[0]}"
        if words[1:]:
            arguments = ["mlp" if word == "NAME" else word for word in words[1:]]
            found.make_context(words[0], arguments, parent=context)


def check_make(words):
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([\w-]+):", text, re.MULTILINE))
    for word in words:
        name, is_variable, value = word.partition("=")
        if is_variable:
            assert re.search(rf"^{name} [?:]=", text, re.MULTILINE), f"make has no variable {name}"
            if name == "BENCH":
                check_bench(value.split())
        else:
            assert name in targets, f"make has no {name}"


def check_bench(works):
    text = "".join((ROOT / "benchmarks" / name).read_text(encoding="utf-8") for name in ("bench.py", "works.py"))
    for work in works:
        assert f'"{work}"' in text, f"make bench has no {work}"


def check_python(words):
    """Check that the script or module exists and has these options."""
    if words[0] == "-m":
        if words[1] == "venv":
            return
        assert importlib.util.find_spec(words[1]), words[1]
        return
    (script,) = ROOT.glob(words[0].replace("….py", "*.py").replace("…", "*"))
    text = script.read_text(encoding="utf-8")
    for word in words[1:]:
        option = word.strip("[]")
        assert not option.startswith("--") or f'"{option}"' in text, f"{script.name} has no {option}"


def check_pip(words):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert words[0] == "install"
    for word in words[1:]:
        wanted = re.search(r"\[(.*)\]", word)
        assert wanted is None or set(wanted[1].split(",")) <= set(extras)


CHECKS = {
    "chainrule": check_chainrule,
    "make": check_make,
    "python": check_python,
    "python3": check_python,
    "pip": check_pip,
}


def test_commands():
    for command in COMMANDS:
        with naming(command):
            name, *words = shlex.split(command.partition(" | ")[0].partition(" && ")[0].strip("…"), comments=True)
            CHECKS[name](words)


@pytest.mark.parametrize("command", QUICK)
def test_quick_commands_run(command, capfd, photos):
    assert command in COMMANDS
    with pytest.raises(SystemExit) as end:
        main(shlex.split(command)[1:])
    done = capfd.readouterr()
    assert end.value.code == 0, done.err
    assert done.out


def test_commands_that_are_not_there_are_seen():
    for command in (
        "chainrule learn",
        "chainrule train --speed 3",
        "chainrule predict",
        "make trains",
        "make bench BENCH=W77",
    ):
        name, *words = shlex.split(command)
        if words == ["predict"]:
            CHECKS[name](words)  # a name in a sentence
            continue
        with pytest.raises((AssertionError, click.ClickException)):
            CHECKS[name](words)
    assert {"README.md", "CONTRIBUTING.md", "docs/performance.md", "lessons/README.md"} <= set(COMMANDS.values())
