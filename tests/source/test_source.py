"""Networks as source code: the NumPy file and the C header compute what the network does, and nothing else is needed."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

import chainrule
from chainrule import models, nn, source
from chainrule.autograd import no_grad
from chainrule.models import images_to_inputs

COMPILER = shutil.which("cc")
C_TYPES = {"uint8": "uint8_t", "float32": "float", "float64": "double", "int64": "int64_t"}


def run_numpy(network, x, *steps):
    graphs = [source.record(network, np.zeros((n, *x.shape[1:]), x.dtype), *steps) for n in (2, 3)]
    text = source.write_numpy(*graphs, "A network.", [])
    assert "chainrule" not in text
    names = {}
    exec(compile(text, "model.py", "exec"), names)  # noqa: S102  # the text that we wrote
    return names["predict"](x)


def run_c(network, x, folder, *steps):
    graph = source.record(network, np.zeros((1, *x.shape[1:]), x.dtype), *steps)
    header = source.write_c(graph, "A network.", "model", [])
    (folder / "model.h").write_text(header)
    types = C_TYPES[x.dtype.name], C_TYPES[graph.output.dtype.name]
    call = (
        "return model_predict(x, y);"
        if "static inline int model_predict" in header
        else "model_predict(x, y); return 0;"
    )
    program = f'#include "model.h"\nint run(const {types[0]} *x, {types[1]} *y) {{ {call} }}\n'
    (folder / "run.c").write_text(program)
    command = ["cc", "-O2", "-std=c99", "-Wall", "-Werror", "-shared", "-fPIC", "run.c", "-o", "run.so", "-lm"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    library = ctypes.CDLL(str(folder / "run.so"))
    out = np.zeros((len(x), *graph.output.shape[1:]), graph.output.dtype)
    for example, row in zip(np.ascontiguousarray(x), out, strict=True):
        if library.run(example.ctypes.data_as(ctypes.c_void_p), row.ctypes.data_as(ctypes.c_void_p)):
            assert not row.any()
            raise IndexError("model_predict returned -1")
    return out


def run_network(network, x, *steps):
    value = chainrule.from_numpy(x)
    network.eval()
    with no_grad():
        for step in steps or (network,):
            value = step(value)
    return value.numpy()


def random_state(network):
    """The network with statistics of batch norm that are not the initial ones."""
    rng = np.random.default_rng(5)
    for buffer in network.buffers():
        if buffer.ndim:
            buffer.copy_(rng.uniform(0.5, 1.5, buffer.shape).astype(buffer.dtype))
    return network


def build(name):
    rng = np.random.default_rng(0)
    options = {"vocab_size": 20, "block_size": 12, "layers": 1, "heads": 2, "width": 16} if name == "gpt" else {}
    return random_state(models.build(name, options, generator=rng))


MODELS = ["mlp", "cnn", "lenet5", "quick", "best", "gpt"]
LAYERS = {
    "activations": ((7,), lambda: nn.Sequential(nn.Linear(7, 6), nn.GELU(), nn.Tanh(), nn.Softplus(), nn.ELU(), nn.SiLU())),
    "more activations": ((7,), lambda: nn.Sequential(nn.LeakyReLU(), nn.Sigmoid(), nn.Softmax(1), nn.LogSoftmax(1))),
    "layer norm": ((3, 7), lambda: nn.Sequential(nn.LayerNorm(7), nn.Linear(7, 2), nn.Flatten())),
    "batch norm": ((7,), lambda: random_state(nn.Sequential(nn.BatchNorm1d(7), nn.Dropout(0.5)))),
    "groups": ((4, 9, 8), lambda: nn.Sequential(nn.Conv2d(4, 6, (3, 2), stride=2, padding=1, dilation=2, groups=2))),
    "one channel a group": ((3, 6, 6), lambda: nn.Sequential(nn.Conv2d(3, 3, 3, groups=3), nn.Conv2d(3, 2, 1))),
    "pooling": ((2, 9, 7), lambda: nn.Sequential(nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(2, padding=1))),
    "ceil_mode": ((2, 8, 8), lambda: nn.Sequential(nn.MaxPool2d(3, 2, ceil_mode=True))),
    "double": ((7,), lambda: nn.Sequential(nn.Linear(7, 3), nn.Tanh()).double()),
}  # fmt: skip


@pytest.fixture(params=MODELS + list(LAYERS), scope="module")
def case(request):
    """A network, inputs for five examples, and the steps from input to output."""
    name, rng = request.param, np.random.default_rng(2)
    if name in LAYERS:
        shape, make = LAYERS[name]
        chainrule.manual_seed(3)
        return make(), rng.normal(size=(5, *shape)).astype("float64" if name == "double" else "float32"), ()
    network, probabilities = build(name), models.get(name).probabilities
    if name == "gpt":
        return network, rng.integers(0, 20, (5, 12)), (network, probabilities)
    return network, rng.integers(0, 256, (5, 28, 28)).astype(np.uint8), (images_to_inputs, network, probabilities)


def test_numpy_file(case):
    network, x, steps = case
    out = run_numpy(network, x, *steps)
    expected = run_network(network, x, *steps)
    assert out.dtype == expected.dtype
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(run_numpy(network, x, *steps)[:1], expected[:1], rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(COMPILER is None, reason="there is no C compiler, cc")
def test_c_header(case, tmp_path):
    network, x, steps = case
    np.testing.assert_allclose(
        run_c(network, x, tmp_path, *steps), run_network(network, x, *steps), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("token", [-1, 20, 2**40, -(2**63)])
def test_an_index_out_of_range_is_refused(token, tmp_path):
    network, x = build("gpt"), np.arange(12)[None]
    x[0, 3] = token
    for run in (run_network, run_numpy):
        with pytest.raises(IndexError, match="but must be 0 to 19"):
            run(network, x)
    if COMPILER is not None:
        with pytest.raises(IndexError, match="returned -1"):
            run_c(network, x, tmp_path)


class Custom(nn.Module):
    """A network of one function."""

    def __init__(self, function):
        self.weight = nn.Parameter(chainrule.ones(3))
        self.function = function

    def forward(self, x):
        return self.function(x * self.weight)


CUSTOM = {
    "shapes": lambda x: chainrule.cat([x[:, 1:], x[:, :1] * 2, x[..., None].squeeze(-1)], 1),
    "transposed": lambda x: x.reshape(-1, 3, 1).permute(0, 2, 1).reshape(x.shape[0], 3) - x.mean(1, keepdim=True),
    "choices": lambda x: chainrule.where(x > 0, x, x.abs() + x.clamp(-1, 1)),
    "maxima": lambda x: x.amax(1, keepdim=True) - x.sum(1, keepdim=True) + x**2 / (1 + x.exp()),
    "not numbers": lambda x: (x.log() + 1).clamp(max=0.5),
    "infinite": lambda x: (x / 0).relu(),
    "signs": lambda x: x.log().sign(),
    "a negative base": lambda x: (-2.0) ** x.floor(),
    "numbers as booleans": lambda x: x.bool().sum(1, keepdim=True) + x.bool().float(),
    "sums of booleans": lambda x: ((x > 0) + (x < 3)).float() * 2 + ((x > 0) * (x < 2)).float(),
    "booleans beside numbers": lambda x: (x > 0) * 0.5 + ((x > 0) < 0.5) * 2 + ((x > 0) == 0.5) * 4,
    "clamped booleans": lambda x: (x > 0).clamp(min=0.3),
    "beyond float32": lambda x: (x < 1e40).float() + (x > -1e40).float() * 2,
    "integers that are not NaN": lambda x: x.long().isnan().float() + x.long().isfinite().float() * 2,
}


@pytest.mark.filterwarnings("ignore:.*encountered in")
@pytest.mark.parametrize("name", CUSTOM)
def test_functions(name, tmp_path):
    network, x = Custom(CUSTOM[name]), np.array([[0.5, -1.0, 2.0], [-3.0, 0.0, 1.5]], np.float32)
    expected = run_network(network, x)
    assert run_numpy(network, x).dtype == expected.dtype
    np.testing.assert_allclose(run_numpy(network, x), expected, rtol=1e-6)
    if COMPILER is not None:
        np.testing.assert_allclose(run_c(network, x, tmp_path), expected, rtol=1e-6)


REFUSED = {
    "cumsum": (lambda x: x.cumsum(1), "the operation cumsum"),
    "values": (lambda x: x * x.sum().item(), "a number, which differs from input to input,|item"),
    "random numbers": (lambda x: x + chainrule.randn(3), "drawing random numbers"),
    "batch": (lambda x: x / x.shape[0], "depends on the size of the batch"),
    "one example": (lambda x: x[0], "a part of the batch"),
    "boolean index": (lambda x: x[:, True], "a boolean as an index"),
    "constant": (lambda x: chainrule.ones(3), "must return one tensor that depends on its input"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name):
    function, message = REFUSED[name]
    with pytest.raises(source.SourceError, match=message):
        run_numpy(Custom(function), np.ones((2, 3), np.float32))


def test_comments_tell_shapes():
    network = nn.Sequential(nn.Linear(2, 8), nn.Linear(8, 6), nn.Unflatten(1, (2, 3)), nn.Flatten(0, 1))
    graphs = [source.record(network, np.zeros((n, 2), np.float32)) for n in (2, 3)]
    text = source.write_numpy(*graphs, "A network.")
    shapes = re.findall(r"^    v\d+ = .*  # (\(.*\))$", text, re.MULTILINE)
    assert shapes[0] == "(2, 8)"  # a transposed weight: this 2 is not the batch
    assert shapes[1] == "(N, 8)"
    assert shapes[-1] == "(2 N, 3)"


def test_modes_and_weights_are_kept():
    network = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5)).train()
    before = network[0].weight.numpy().copy()
    run_numpy(network, np.ones((4, 3), np.float32))
    assert network.training
    np.testing.assert_array_equal(network[0].weight.numpy(), before)


def test_the_python_file_needs_numpy_alone(tmp_path):
    network = build("lenet5")
    graphs = [source.record(network, np.zeros((n, 28, 28), np.float32)) for n in (2, 3)]
    (tmp_path / "digits.py").write_text(source.write_numpy(*graphs, "Digits.", list("0123456789")))
    x = np.random.default_rng(1).random((4, 28, 28), np.float32)
    np.save(tmp_path / "x.npy", x)
    code = (
        "import sys; sys.modules['chainrule'] = None; import numpy as np; before = set(sys.modules); import digits; "
        "print(sorted({m.split('.')[0] for m in set(sys.modules) - before} - sys.stdlib_module_names)); "
        "np.save('y.npy', digits.predict(np.load('x.npy')))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "['digits', 'numpy']" or result.stdout.strip() == "['digits']"
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), run_network(network, x), rtol=1e-5, atol=1e-6)


def test_a_wrong_shape_is_named():
    network = nn.Linear(3, 2)
    graphs = [source.record(network, np.zeros((n, 3), np.float32)) for n in (2, 3)]
    names = {}
    exec(source.write_numpy(*graphs, "A layer.", []), names)  # noqa: S102  # the text that we wrote
    with pytest.raises(ValueError, match=re.escape("x must have shape (N, 3), not (5, 4)")):
        names["predict"](np.zeros((5, 4)))


def test_names_in_c():
    assert source.c_name("my-model 2") == "my_model_2"
    assert source.c_name("2nd") == "model_2nd"
    assert source.c_name("ü") == "model__"
