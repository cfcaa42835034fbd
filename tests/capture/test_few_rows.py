"""Compiled matrix products of few rows, and pointers in generated code."""

import os
import subprocess
import sys
from itertools import product as combinations

import pytest
from tests.capture.few_rows import wrong

from chainrule.kernels import driver, llvm, processor, product
from chainrule.kernels.convolution_loops import correlate, partial_sums
from chainrule.kernels.tree import F4

SHAPES = [
    *combinations(("f4", "f8"), (1,), (4, 10), (3, 16, 17, 32, 33)),
    ("f4", 1, 1, 32), ("f4", 2, 10, 16), ("f4", 3, 4, 32), ("f4", 5, 10, 33), ("f4", 7, 4, 16), ("f8", 20, 9, 17),
]  # fmt: skip


@pytest.mark.slow
def test_each_call_has_its_own_product():
    assert wrong(SHAPES) == []


@pytest.mark.slow
def test_in_the_tiles_of_a_processor_with_avx2():
    if not processor.features().get("avx2", False):
        pytest.skip("this processor has no AVX2")
    shapes = [
        *combinations(("f4",), (1,), (4, 10), (3, 8, 16, 17, 32, 33)),
        *combinations(("f8",), (1,), (4,), (3, 12, 17, 32)),
    ]
    code = f"from tests.capture import few_rows; few_rows.restrict_to_avx2(); print(few_rows.wrong({shapes}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=True)
    assert done.stdout.strip() == "[]"


def test_no_whole_number_becomes_a_pointer():
    """LLVM may assume that a pointer made from a sum points to other memory, and drop writes through it."""
    kernels = [product.few_rows(F4), product.blas_product(F4), driver.driver(), correlate(F4), partial_sums(F4)]
    for kernel in kernels:
        assert "inttoptr" not in llvm.render(kernel)
