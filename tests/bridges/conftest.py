"""What the bridges need: `make test-bridges` installs it and promises it; elsewhere what is missing skips its tests."""

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
    missing = [name for name in MODULES if importlib.util.find_spec(name) is None]
    if os.environ.get("CHAINRULE_BRIDGES") == "1" and missing:
        raise pytest.UsageError(f"{', '.join(missing)} cannot be imported; make test-bridges installs them")
