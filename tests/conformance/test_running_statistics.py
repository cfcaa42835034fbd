"""Batch and instance norm without one or both of the running statistics: the same numbers as PyTorch, or refused too."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import chainrule

torch = pytest.importorskip("torch")

BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
MISSING = [(), ("running_mean",), ("running_var",), ("running_mean", "running_var")]


def values(tensor: Any) -> Any:
    return None if tensor is None else tensor.detach().numpy().copy()


def assert_same_or_refused(run: Any, run_torch: Any) -> None:
    """Run both; compare what they return, or require that both refuse."""
    try:
        expected = run_torch()
    except (ValueError, RuntimeError):
        with pytest.raises(ValueError, match="running_mean and running_var") as refusal:
            run()
        assert "\n" not in str(refusal.value)
        return
    for actual, reference in zip(run(), expected, strict=True):
        assert (actual is None) == (reference is None)
        if reference is not None:
            np.testing.assert_allclose(actual, reference, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("missing", MISSING, ids=str)
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", ["batch_norm", "instance_norm"])
def test_functions(name, training, missing, compiled):
    x = np.random.default_rng(0).standard_normal((4, 3, 2)).astype(np.float32)

    def call(library: Any, compile_function: Any) -> list[Any]:
        def normalize(x: Any) -> Any:
            return getattr(library.nn.functional, name)(x, mean, var, **{flag: training})

        flag = "training" if name == "batch_norm" else "use_input_stats"
        mean = None if "running_mean" in missing else library.tensor([0.5, 0.0, -1.0])
        var = None if "running_var" in missing else library.tensor([2.0, 1.0, 0.5])
        function = compile_function(normalize)
        outputs = [values(function(library.tensor(x))) for _ in range(2)]
        return [*outputs, values(mean), values(var)]

    compile_function = chainrule.jit if compiled else lambda function: function
    assert_same_or_refused(lambda: call(chainrule, compile_function), lambda: call(torch, lambda function: function))


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("name", ["BatchNorm1d", "InstanceNorm1d"])
def test_layers(name, compiled):
    x = np.random.default_rng(0).standard_normal((4, 3, 2)).astype(np.float32)

    def call(
        library: Any, missing: tuple[str, ...], training: bool, tracking: bool, compile_function: Any
    ) -> list[Any]:
        layer = getattr(library.nn, name)(3, track_running_stats=True)
        layer(library.tensor(x + 1))
        layer.train(training)
        layer.track_running_stats = tracking
        for buffer in missing:
            setattr(layer, buffer, None)
        function = compile_function(layer)
        outputs = [values(function(library.tensor(x))) for _ in range(2)]
        return [*outputs, *[values(getattr(layer, buffer)) for buffer in BUFFERS]]

    compile_function = chainrule.jit if compiled else lambda function: function
    for case in itertools.product(MISSING, (True, False), (True, False)):
        assert_same_or_refused(
            lambda case=case: call(chainrule, *case, compile_function),
            lambda case=case: call(torch, *case, lambda function: function),
        )


def test_a_refused_call_changes_nothing():
    for name, layer in itertools.product(("running_mean", "running_var"), ("BatchNorm1d", "InstanceNorm1d")):
        module = getattr(chainrule.nn, layer)(3, track_running_stats=True)
        setattr(module, name, None)
        before = {key: value.tolist() for key, value in module.state_dict().items()}
        with pytest.raises(ValueError, match="needs running_mean and running_var, or neither"):
            module(chainrule.ones(4, 3, 2))
        assert {key: value.tolist() for key, value in module.state_dict().items()} == before
