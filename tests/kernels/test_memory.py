"""Freed memory stays with the process: arrays of a later step take no new pages from the system."""

import platform
import subprocess
import sys

import pytest

STEPS = """
import resource
import chainrule
import numpy as np

def step():  # 40 MB, freed at the end
    arrays = [np.ones(2**18, np.float32) for _ in range(40)]

step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 5)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's rule")
def test_freed_memory_is_used_again_without_new_pages():
    done = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, timeout=60, check=True)
    assert float(done.stdout) < 500  # of 10,000 pages a step
