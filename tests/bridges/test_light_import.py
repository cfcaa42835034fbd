"""`import chainrule` and its command load none of the libraries that the bridges lead to."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["chainrule", "chainrule.cli"])
def test_no_bridge_is_loaded(module):
    code = (
        f"import sys, {module}; names = {{'onnx', 'onnxruntime', 'sklearn', 'tensorboardX', 'optuna', 'pypdfium2', 'torch'}}; "
        "print(sorted(names & set(sys.modules)))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"
