"""The device API: scripts that name the CPU run unchanged, and every other device is refused in words."""

from __future__ import annotations

import copy
import re

import numpy as np
import pytest

import chainrule
from chainrule import nn

CPU = chainrule.device("cpu")


def test_the_usual_lines_of_a_script():
    device = chainrule.device("cuda" if chainrule.cuda.is_available() else "cpu")
    chainrule.cuda.manual_seed_all(3)
    model = nn.Linear(3, 2).to(device)
    x = chainrule.randn(4, 3, device=device)
    targets = chainrule.randint(0, 2, (4,), device="cpu").to(device)
    loss = nn.CrossEntropyLoss().to(device)(model(x.to(device)), targets)
    assert loss.cpu() is loss
    assert (str(device), device.type, device.index, chainrule.cuda.device_count()) == ("cpu", "cpu", None, 0)
    assert loss.device == device
    assert not loss.is_cuda


def test_devices_are_equal_by_index():
    assert chainrule.device("cpu") == CPU == chainrule.device(CPU)
    assert chainrule.device("cpu:0") != CPU
    assert CPU != "cpu"  # as in PyTorch
    assert len({CPU, copy.deepcopy(CPU), chainrule.device("cpu:0")}) == 2
    assert repr(CPU) == "device(type='cpu')"
    assert repr(chainrule.device("cpu:0")) == "device(type='cpu', index=0)"


CREATION = {
    "zeros": lambda **k: chainrule.zeros(2, **k),
    "ones": lambda **k: chainrule.ones(2, **k),
    "full": lambda **k: chainrule.full((2,), 1.0, **k),
    "zeros_like": lambda **k: chainrule.zeros_like(chainrule.ones(2), **k),
    "ones_like": lambda **k: chainrule.ones_like(chainrule.ones(2), **k),
    "arange": lambda **k: chainrule.arange(2, **k),
    "linspace": lambda **k: chainrule.linspace(0, 1, 2, **k),
    "eye": lambda **k: chainrule.eye(2, **k),
    "rand": lambda **k: chainrule.rand(2, **k),
    "randn": lambda **k: chainrule.randn(2, **k),
    "randint": lambda **k: chainrule.randint(0, 5, (2,), **k),
    "tensor": lambda **k: chainrule.tensor([1.0], **k),
    "as_tensor": lambda **k: chainrule.as_tensor([1.0], **k),
}


@pytest.mark.parametrize("name", CREATION)
def test_what_creates_tensors_takes_the_cpu_only(name):
    for device in ("cpu", "cpu:0", CPU, None):
        assert CREATION[name](device=device).device == CPU
    with pytest.raises(ValueError, match="device: chainrule computes on the CPU only: use \"cpu\", not 'cuda:1'"):
        CREATION[name](device="cuda:1")


def test_to_takes_devices_and_types_in_pytorchs_ways():
    x = chainrule.ones(2)
    for same in (x.to("cpu"), x.to(CPU), x.to(device="cpu"), x.to(np.float32), x.to("cpu", np.float32), x.to(x)):
        assert same is x
    for other in (
        x.to(np.float64),
        x.to("float64"),
        x.to(dtype=np.float64),
        x.to("cpu", np.float64),
        x.to(CPU, dtype="float64"),
        x.to(chainrule.zeros(1, dtype=np.float64)),
    ):
        assert (other.dtype, other.tolist()) == (np.float64, [1, 1])
    module = nn.Linear(2, 1)
    assert module.to("cpu") is module.cpu() is module
    assert module.weight.dtype == np.float32
    assert module.to(CPU, np.float64).weight.dtype == np.float64
    assert module.to(device="cpu", dtype=np.float32).weight.dtype == np.float32


def test_to_is_traced():
    step = chainrule.jit(lambda x: x.to("cpu").to("cpu", np.float64) * 2)
    for value in (1.0, 3.0):
        assert step(chainrule.full((2,), value)).tolist() == [2 * value] * 2


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda x, m: x.to("cuda"),
            ValueError,
            """device: chainrule computes on the CPU only: use "cpu", not 'cuda'""",
        ),
        (lambda x, m: x.to("mps:0"), ValueError, "not 'mps:0'"),
        (lambda x, m: x.to("cpu:1"), ValueError, "not 'cpu:1'"),
        (lambda x, m: x.cuda(), ValueError, "not 'cuda'"),
        (lambda x, m: m.cuda(), ValueError, "not 'cuda'"),
        (lambda x, m: m.to("cuda"), ValueError, "not 'cuda'"),
        (lambda x, m: m.to(device="xla"), ValueError, "not 'xla'"),
        (lambda x, m: chainrule.device(0), TypeError, """device: takes the name of a device, "cpu", not int"""),
        (lambda x, m: chainrule.device("gpu"), ValueError, "not 'gpu'"),
        (lambda x, m: x.to("gpu"), TypeError, "gpu"),
        (lambda x, m: x.to("cpu", device="cpu"), TypeError, "to: takes one device, not cpu and cpu"),
        (lambda x, m: x.to("cpu", np.float32, 3), TypeError, "to: takes a device and a type, not 'cpu', <class"),
        (lambda x, m: m.to(np.int64), TypeError, "Linear: parameters are floats and cannot become int64"),
    ],
)
def test_anything_else_is_refused(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call(chainrule.ones(2), nn.Linear(2, 2))
