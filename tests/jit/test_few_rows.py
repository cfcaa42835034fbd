"""Compiled products of few rows, with their sizes as constants, as programs have them; and how pointers are made."""

import os
import re
import subprocess
import sys
from itertools import product

import numpy as np
import pytest
from tests.jit.few_rows import wrong

import chainrule
from chainrule import nn, optim
from chainrule.kernels import compile as kernels
from chainrule.kernels import native

SHAPES = [
    *product(("f4", "f8"), (1,), (4, 10), (3, 16, 17, 32, 33)),
    ("f4", 1, 1, 32), ("f4", 2, 10, 16), ("f4", 3, 4, 32), ("f4", 5, 10, 33), ("f4", 7, 4, 16), ("f8", 20, 9, 17),
]  # fmt: skip


@pytest.mark.slow
def test_each_call_has_its_own_product():
    assert wrong(SHAPES) == []


@pytest.mark.slow
def test_in_the_tiles_of_a_processor_with_avx2():
    if not chainrule.kernels.processor.FEATURES.get("avx2", False):
        pytest.skip("this processor has no AVX2")
    shapes = [*product(("f4",), (1,), (4, 10), (3, 8, 16, 17, 32, 33)), *product(("f8",), (1,), (4,), (3, 12, 17, 32))]
    code = f"from tests.jit import few_rows; few_rows.avx2_alone(); print(few_rows.wrong({shapes}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture
def compiled_text(monkeypatch, tmp_path):
    """LLVM's text of all that is compiled, as the code generator leaves it."""
    texts = []
    before = kernels.Machine.__init__

    def keep(self, made):
        before(self, made)
        texts.append(made.library.get_llvm_str())

    monkeypatch.setattr(kernels.Machine, "__init__", keep)
    monkeypatch.setattr(native, "folder", lambda: str(tmp_path))  # so that all is compiled
    return texts


@pytest.mark.slow
def test_only_whole_numbers_as_they_stand_become_pointers(compiled_text, monkeypatch):
    """A sum that becomes a pointer may be taken for another memory's, see `loops.memory`."""
    monkeypatch.setattr("chainrule.jit.program.WORTH_THREADS", 1)
    random = np.random.default_rng(1)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.LayerNorm(100),
        nn.Linear(100, 16), nn.Dropout(0.1), nn.GELU(), nn.Linear(16, 10),
    )  # fmt: skip
    optimizer = optim.Adam(net.parameters())

    def step(x, y):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        return loss

    step, x = chainrule.jit(step), random.random((16, 1, 12, 12), np.float32)
    for _ in range(2):  # the first tells the optimizer what it will remember
        step(x, np.arange(16) % 10)
    assert len(compiled_text) >= 1
    count = 0
    for text in compiled_text:
        for function in re.split("^define ", text, flags=re.MULTILINE)[1:]:
            made = dict(re.findall(r"^\s*(%\S+) = (.*)$", function, re.MULTILINE))
            stack = re.findall(r"inttoptr i64 (%[^ ]+) to ptr", function)
            assert "inttoptr (" not in function
            seen = set()
            while stack:
                name = stack.pop()
                if name in seen or name not in made:  # an argument
                    continue
                seen.add(name)
                how = made[name]
                assert how.startswith(("load i64", "phi i64")), f"{name} = {how}"
                stack += re.findall(r"\[ (%[^ ,]+),", how) if how.startswith("phi") else []
                count += 1
    assert count > 100
