"""The libraries of the bridges. `make test-bridges` requires all; otherwise tests of missing libraries are skipped."""

from __future__ import annotations

import importlib.util
import os

import pytest

MODULES = (
    "onnx",
    "onnxruntime",
    "onnxscript",
    "sklearn",
    "tensorboardX",
    "tensorboard",
    "optuna",
    "pypdfium2",
    "starlette",
    "uvicorn",
    "websockets",
    "wandb",
    "mlflow",
    "torch",
)


def pytest_configure(config: pytest.Config) -> None:
    """With CHAINRULE_BRIDGES=1 (`make test-bridges`), refuse to run without one of the libraries."""
    missing = [name for name in MODULES if importlib.util.find_spec(name) is None]
    if os.environ.get("CHAINRULE_BRIDGES") == "1" and missing:
        raise pytest.UsageError(f"{', '.join(missing)} cannot be imported; make test-bridges installs them")
