"""Averaged weights: by hand, with batch normalization, and that they go on from a state.

`tests/conformance/test_averaging.py` compares them with PyTorch's.
"""

from __future__ import annotations

import re

import numpy as np
import pytest

import chainrule
from chainrule import nn, optim
from chainrule.optim import swa_utils
from chainrule.optim.swa_utils import SWALR, AveragedModel, update_bn


def random():
    return np.random.default_rng(7)


def network():
    return nn.Sequential(
        nn.Linear(3, 4, generator=random()), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2, generator=random())
    )


@pytest.mark.parametrize("avg_fn", [None, swa_utils.get_swa_avg_fn(), swa_utils.get_ema_avg_fn(0.5)])
def test_integer_buffers_are_copied_from_the_model(avg_fn):
    model = network()
    average = AveragedModel(model, avg_fn=avg_fn, use_buffers=True)
    for _ in range(4):
        model(chainrule.ones(2, 3))
        average.update_parameters(model)
    assert average.module[1].num_batches_tracked.item() == 4


def train(steps, averages, model=None, rng=None):
    """Train a network with batch normalization in a compiled step, and average after each."""
    model, rng = model or network(), rng or np.random.default_rng(1)
    optimizer = optim.SGD(model.parameters(), 0.1)

    @chainrule.jit
    def step(x, y):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    for _ in range(steps):
        step(*(chainrule.from_numpy(rng.standard_normal((8, n)).astype(np.float32)) for n in (3, 2)))
        for average in averages:
            average.update_parameters(model)
    return model


def arrays(module):
    return {name: tensor.numpy().copy() for name, tensor in module.state_dict().items()}


def test_the_mean_and_the_exponential_mean_of_a_compiled_training():
    model = network()
    mean, moving = AveragedModel(model), AveragedModel(model, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.7))
    rng, states = np.random.default_rng(1), []
    for _ in range(5):
        train(1, [mean, moving], model, rng)
        states.append(arrays(model))
    for name in ("0.weight", "1.bias", "3.bias"):
        np.testing.assert_allclose(
            arrays(mean.module)[name], np.mean([s[name] for s in states], 0), rtol=1e-5, atol=1e-7
        )
        expected = states[0][name]
        for state in states[1:]:
            expected = 0.7 * expected + 0.3 * state[name]
        np.testing.assert_allclose(arrays(moving.module)[name], expected, rtol=1e-5, atol=1e-7)
    for name in ("1.running_mean", "1.num_batches_tracked"):  # copied
        np.testing.assert_array_equal(arrays(mean.module)[name], states[-1][name])
    assert mean.n_averaged.item() == moving.n_averaged.item() == 5
    np.testing.assert_array_equal(mean.eval()(chainrule.ones(2, 3)).numpy(), mean.module(chainrule.ones(2, 3)).numpy())


def test_large_weights_run_as_a_program():
    p = nn.Linear(200, 300, generator=random())
    average = AveragedModel(p)
    average.update_parameters(p)
    first = p.weight.detach().clone()
    with chainrule.no_grad():
        p.weight.mul_(3.0)
    average.update_parameters(p)
    np.testing.assert_allclose(average.module.weight.detach().numpy(), 2 * first.numpy(), rtol=1e-6)


def test_buffers_can_be_averaged():
    model = network()
    average = AveragedModel(model, use_buffers=True)
    rng, states = np.random.default_rng(1), []
    for _ in range(4):
        train(1, [average], model, rng)
        states.append(arrays(model))
    expected = np.mean([s["1.running_var"] for s in states], 0)
    np.testing.assert_allclose(arrays(average.module)["1.running_var"], expected, rtol=1e-6)
    assert arrays(average.module)["1.num_batches_tracked"] == 4  # an integer: the model's


@pytest.mark.parametrize("function", [None, swa_utils.get_ema_avg_fn(0.9)])
def test_a_state_goes_on_bit_for_bit(function):
    whole_model, rng = network(), np.random.default_rng(1)
    whole = AveragedModel(whole_model, avg_fn=function)
    train(6, [whole], whole_model, rng)
    model, rng = network(), np.random.default_rng(1)
    half = AveragedModel(model, avg_fn=function)
    train(2, [half], model, rng)
    rest = AveragedModel(network(), avg_fn=function)
    rest.load_state_dict(half.state_dict())
    train(4, [rest], model, rng)
    assert {k: v.tobytes() for k, v in arrays(rest).items()} == {k: v.tobytes() for k, v in arrays(whole).items()}
    assert next(iter(whole.state_dict())) == "n_averaged"


def test_the_model_and_its_average_share_nothing():
    model = nn.Linear(2, 1)
    average = AveragedModel(model)
    before = arrays(average)
    with chainrule.no_grad():
        model.weight.zero_()
    assert {k: v.tolist() for k, v in arrays(average).items()} == {k: v.tolist() for k, v in before.items()}


class TestUpdateBn:
    def test_gives_the_means_over_all_batches(self):
        model = network()
        average = AveragedModel(model)
        train(3, [average], model)
        average.eval()
        rng = np.random.default_rng(2)
        batches = [chainrule.from_numpy(rng.standard_normal((6, 3)).astype(np.float32)) for _ in range(3)]
        update_bn([(batch, None) for batch in batches], average)
        inner = [average.module[0](batch).detach().numpy().astype(np.float64) for batch in batches]
        statistics = arrays(average.module)
        np.testing.assert_allclose(statistics["1.running_mean"], np.mean([x.mean(0) for x in inner], 0), rtol=1e-5)
        expected = np.mean([x.var(0, ddof=1) for x in inner], 0)
        np.testing.assert_allclose(statistics["1.running_var"], expected, rtol=1e-5)
        assert statistics["1.num_batches_tracked"] == 3
        assert not any(module.training for module in average.modules())
        assert average.module[1].momentum == 0.1

    def test_restores_the_modes_after_an_error(self):
        model = network().eval()
        model[3].train()
        with pytest.raises(ValueError, match="linear"):
            update_bn([chainrule.ones(4, 5)], model)
        assert [m.training for m in model.modules()] == [False, False, False, False, True]
        assert model[1].momentum == 0.1

    def test_without_batch_normalization_reads_no_data(self):
        update_bn(iter(lambda: pytest.fail("was read"), None), nn.Linear(1, 1))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda m: AveragedModel(3), TypeError, "AveragedModel: takes a module, not int"),
        (lambda m: AveragedModel(m, "cuda"), ValueError, """AveragedModel: device must be None or "cpu", not 'cuda'"""),
        (
            lambda m: AveragedModel(m, None, max, max),
            ValueError,
            "AveragedModel: takes avg_fn or multi_avg_fn, not both",
        ),
        (lambda m: swa_utils.get_ema_avg_fn(1.5), ValueError, "get_ema_avg_fn: decay must be from 0 to 1, got 1.5"),
        (lambda m: swa_utils.get_ema_multi_avg_fn("a"), TypeError, "decay must be a number, not 'a'"),
        (
            lambda m: AveragedModel(m).update_parameters(nn.Linear(3, 1)),
            ValueError,
            "AveragedModel: the parameters and buffers must have the shapes of the copied model's",
        ),
        (
            lambda m: SWALR(optim.SGD(m.parameters()), 0.1, -1),
            ValueError,
            "SWALR: anneal_epochs must be at least 0, not -1",
        ),
        (
            lambda m: SWALR(optim.SGD(m.parameters()), 0.1, 5, "log"),
            ValueError,
            """SWALR: anneal_strategy must be "cos" or "linear", not 'log'""",
        ),
        (
            lambda m: chainrule.jit(AveragedModel(m).update_parameters)(m),
            RuntimeError,
            "update_parameters() inside a compiled function would happen only once",
        ),
    ],
)
def test_what_makes_no_sense(make, error, message):
    with pytest.raises(error, match=re.escape(message)):
        make(nn.Linear(2, 1))
