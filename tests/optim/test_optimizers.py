"""The optimizers: first steps worked out by hand, groups, and states that go on bit for bit."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest

import chainrule
from chainrule import nn, optim


def parameter(*values: float) -> nn.Parameter:
    return nn.Parameter(np.array(values))


def step(optimizer: optim.Optimizer, parameter: chainrule.Tensor, gradient: float) -> list[float]:
    parameter.grad = chainrule.full(parameter.shape, gradient, dtype=parameter.dtype)
    optimizer.step()
    return parameter.tolist()


WITH_DECAY = [
    optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop, optim.Adagrad, optim.Adamax, optim.NAdam, optim.RAdam,
    optim.Adadelta, optim.Lion,
]  # fmt: skip


@pytest.mark.parametrize("shape", [(3,), (40, 50)])
@pytest.mark.parametrize("kind", [*WITH_DECAY, optim.Rprop])
def test_float16_is_changed_as_float64_up_to_its_digits(kind, shape):
    random = np.random.default_rng(8)
    start, *gradients = random.uniform(0.5, 2, (4, *shape)).astype(np.float16)
    half, double = (nn.Parameter(start.astype(dtype)) for dtype in (np.float16, np.float64))
    for p in (half, double):
        optimizer = kind([p], lr=0.0625)
        for gradient in gradients:
            p.grad = chainrule.from_numpy(gradient.astype(p.dtype))
            optimizer.step()
    assert half.dtype == np.float16
    np.testing.assert_allclose(half.detach().numpy().astype(np.float64), double.detach().numpy(), atol=6e-3)


class TestByHand:
    def test_sgd(self):
        p = parameter(1.0)
        assert step(optim.SGD([p], lr=0.1), p, 2.0) == [pytest.approx(0.8)]

    def test_sgd_with_momentum(self):
        p = parameter(1.0)
        sgd = optim.SGD([p], lr=0.1, momentum=0.5)
        assert step(sgd, p, 2.0) == [pytest.approx(1 - 0.1 * 2)]
        assert step(sgd, p, 1.0) == [pytest.approx(0.8 - 0.1 * (0.5 * 2 + 1))]
        assert step(sgd, p, 0.0) == [pytest.approx(0.6 - 0.1 * 0.5 * 2)]

    def test_sgd_with_dampening_spares_the_first_step(self):
        p = parameter(1.0)
        sgd = optim.SGD([p], lr=0.1, momentum=0.5, dampening=0.25)
        assert step(sgd, p, 2.0) == [pytest.approx(0.8)]
        assert step(sgd, p, 1.0) == [pytest.approx(0.8 - 0.1 * (0.5 * 2 + 0.75 * 1))]

    def test_nesterov_looks_ahead(self):
        p = parameter(1.0)
        sgd = optim.SGD([p], lr=0.1, momentum=0.5, nesterov=True)
        assert step(sgd, p, 2.0) == [pytest.approx(1 - 0.1 * (2 + 0.5 * 2))]
        assert step(sgd, p, 1.0) == [pytest.approx(0.7 - 0.1 * (1 + 0.5 * (0.5 * 2 + 1)))]

    def test_sgd_weight_decay_is_part_of_the_gradient(self):
        p = parameter(10.0)
        sgd = optim.SGD([p], lr=0.1, momentum=0.5, weight_decay=0.2)
        assert step(sgd, p, 1.0) == [pytest.approx(10 - 0.1 * (1 + 2))]
        assert step(sgd, p, 1.0) == [pytest.approx(9.7 - 0.1 * (0.5 * 3 + 1 + 0.2 * 9.7))]

    @pytest.mark.parametrize("kind", [optim.Adam, optim.AdamW])
    def test_adams_first_step_is_the_rate_whatever_the_gradient(self, kind):
        for gradient in (1e-3, 1.0, 1e5):
            p = parameter(1.0)
            assert step(kind([p], lr=0.01, weight_decay=0), p, gradient) == [pytest.approx(0.99, abs=1e-6)]

    def test_adams_second_step(self):
        p = parameter(1.0)
        adam = optim.Adam([p], lr=0.1, betas=(0.5, 0.75), eps=0.01)
        first = 1 - 0.1 * 2 / (2 + 0.01)
        assert step(adam, p, 2.0) == [pytest.approx(first, rel=1e-14)]
        mean = (0.5 * (0.5 * 2) + 0.5 * 1) / (1 - 0.25)
        square = (0.75 * (0.25 * 4) + 0.25 * 1) / (1 - 0.75**2)
        assert step(adam, p, 1.0) == [pytest.approx(first - 0.1 * mean / (math.sqrt(square) + 0.01), rel=1e-14)]

    def test_adam_adds_the_decay_to_the_gradient_and_adamw_shrinks_the_weight(self):
        p, q = parameter(2.0), parameter(2.0)
        # Adam: g = 1 + 0.5 · 2 = 2; AdamW: 2 · (1 - 0.1 · 0.5), then g = 1
        assert step(optim.Adam([p], lr=0.1, weight_decay=0.5, eps=1), p, 1.0) == [pytest.approx(2 - 0.1 * 2 / (2 + 1))]
        assert step(optim.AdamW([q], lr=0.1, weight_decay=0.5, eps=1), q, 1.0) == [
            pytest.approx(2 * 0.95 - 0.1 * 1 / (1 + 1))
        ]

    def test_amsgrad_divides_by_the_largest_mean_square_so_far(self):
        p = parameter(1.0)
        adam = optim.Adam([p], lr=0.1, betas=(0.0, 0.5), eps=0.0, amsgrad=True)
        assert step(adam, p, 4.0) == [pytest.approx(0.9)]
        # v: 0.5 · 16 = 8, then 0.5 · 8 + 0.5 · 1 = 4.5 < 8
        assert step(adam, p, 1.0) == [pytest.approx(0.9 - 0.1 * 1 / math.sqrt(8 / 0.75))]
        assert adam.state[0]["max_exp_avg_sq"].tolist() == [8]

    def test_rmsprop(self):
        p = parameter(1.0)
        rmsprop = optim.RMSprop([p], lr=0.1, alpha=0.75, eps=0.01)
        first = 1 - 0.1 * 2 / (math.sqrt(0.25 * 4) + 0.01)
        assert step(rmsprop, p, 2.0) == [pytest.approx(first)]
        assert step(rmsprop, p, 1.0) == [pytest.approx(first - 0.1 * 1 / (math.sqrt(0.75 * 1 + 0.25 * 1) + 0.01))]

    def test_rmsprop_centered_with_momentum(self):
        p = parameter(1.0)
        rmsprop = optim.RMSprop([p], lr=0.1, alpha=0.75, eps=0.0, momentum=0.5, centered=True)
        quotient = 2 / math.sqrt(0.25 * 4 - (0.25 * 2) ** 2)
        assert step(rmsprop, p, 2.0) == [pytest.approx(1 - 0.1 * quotient)]
        second = 0.5 * quotient + 1 / math.sqrt(0.75 * 1 + 0.25 * 1 - (0.75 * 0.5 + 0.25 * 1) ** 2)
        assert step(rmsprop, p, 1.0) == [pytest.approx(1 - 0.1 * quotient - 0.1 * second)]

    def test_adagrad(self):
        p = parameter(1.0)
        adagrad = optim.Adagrad([p], lr=0.1, lr_decay=0.5, initial_accumulator_value=5.0, eps=0.1)
        first = 1 - 0.1 * 2 / (3 + 0.1)
        assert step(adagrad, p, 2.0) == [pytest.approx(first)]
        assert step(adagrad, p, 4.0) == [pytest.approx(first - 0.1 / 1.5 * 4 / (5 + 0.1))]

    def test_adadelta(self):
        p = parameter(1.0)
        adadelta = optim.Adadelta([p], lr=0.5, rho=0.75, eps=0.01)
        first = 2 * math.sqrt(0.01 / (0.25 * 4 + 0.01))
        assert step(adadelta, p, 2.0) == [pytest.approx(1 - 0.5 * first)]
        second = math.sqrt((0.25 * first**2 + 0.01) / (0.75 * 1 + 0.25 * 9 + 0.01)) * 3
        assert step(adadelta, p, 3.0) == [pytest.approx(1 - 0.5 * first - 0.5 * second)]

    def test_adamax(self):
        p = parameter(1.0)
        adamax = optim.Adamax([p], lr=0.1, betas=(0.5, 0.75), eps=0.5)
        first = 0.1 * 2 / 2.5
        assert step(adamax, p, 2.0) == [pytest.approx(1 - first)]
        second = 0.1 * (0.5 * 1 + 0.5 * 1) / (1 - 0.25) / (0.75 * 2.5)  # 1 + 0.5 < 0.75 · 2.5
        assert step(adamax, p, 1.0) == [pytest.approx(1 - first - second)]

    def test_radam_takes_plain_steps_first(self):
        p = parameter(1.0)
        radam = optim.RAdam([p], lr=0.1, betas=(0.5, 0.8))
        # The limit of the length is 9; the lengths are 1, 1.889, 2.705, 3.450, 4.126, 4.737 and 5.285
        steps, last = [], 1.0
        for _ in range(7):
            (value,) = step(radam, p, 2.0)
            steps.append(last - value)
            last = value
        assert steps[:6] == [pytest.approx(0.2)] * 6
        length = 9 - 14 * 0.8**7 / (1 - 0.8**7)
        rectification = math.sqrt((length - 4) * (length - 2) * 9 / (5 * 7 * length))
        assert steps[6] == pytest.approx(0.1 * rectification)

    def test_nadam(self):
        p = parameter(1.0)
        nadam = optim.NAdam([p], lr=0.1, betas=(0.8, 0.5), eps=0.0, momentum_decay=0.5)
        now, later = 0.8 * (1 - 0.5 * 0.96**0.5), 0.8 * (1 - 0.5 * 0.96)
        step_size = (1 - now) * 2 / (1 - now) + later * 0.4 / (1 - now * later)
        assert step(nadam, p, 2.0) == [pytest.approx(1 - 0.1 * step_size / 2)]
        assert nadam.state[0]["mu_product"] == pytest.approx(now)

    def test_rprop_grows_shrinks_and_waits(self):
        p = parameter(0.0)
        rprop = optim.Rprop([p], lr=0.1, etas=(0.5, 2.0), step_sizes=(0.1, 0.3))
        # the sign stays, the size grows to its limit; the sign changes, the size shrinks and p waits; p goes on
        actual = [step(rprop, p, gradient)[0] for gradient in (1.0, 5.0, 0.1, -3.0, -2.0, 0.0, -1.0)]
        np.testing.assert_allclose(actual, [-0.1, -0.3, -0.6, -0.6, -0.45, -0.45, -0.3])

    def test_lion_is_the_papers_loop(self):
        p = parameter(1.0, -2.0)
        lion = optim.Lion([p], lr=0.1, betas=(0.5, 0.75), weight_decay=0.2)
        weight, mean = np.array([1.0, -2.0]), np.zeros(2)
        for gradient in np.random.default_rng(3).standard_normal((25, 2)):
            p.grad = chainrule.tensor(gradient)
            lion.step()
            update = np.sign(0.5 * mean + 0.5 * gradient)
            weight -= 0.1 * (update + 0.2 * weight)
            mean = 0.75 * mean + 0.25 * gradient
            np.testing.assert_allclose(p.numpy(), weight, rtol=1e-13)

    @pytest.mark.parametrize("kind", [optim.RMSprop, optim.Adagrad, optim.Adamax, optim.NAdam, optim.RAdam])
    def test_weight_decay_is_part_of_the_gradient(self, kind):
        p, q = parameter(2.0), parameter(2.0)
        assert step(kind([p], weight_decay=0.5), p, 1.0) == step(kind([q]), q, 2.0)


KINDS = [
    pytest.param(lambda p: optim.SGD(p, lr=0.1), id="sgd"),
    pytest.param(lambda p: optim.SGD(p, lr=0.1, momentum=0.9), id="momentum"),
    pytest.param(lambda p: optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=True), id="nesterov"),
    pytest.param(lambda p: optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1, dampening=0.2), id="dampening"),
    pytest.param(lambda p: optim.Adam(p, lr=0.1), id="adam"),
    pytest.param(lambda p: optim.Adam(p, lr=0.1, weight_decay=0.1), id="adam-decay"),
    pytest.param(lambda p: optim.Adam(p, lr=0.1, amsgrad=True), id="amsgrad"),
    pytest.param(lambda p: optim.AdamW(p, lr=0.1), id="adamw"),
    pytest.param(lambda p: optim.RMSprop(p, lr=0.1), id="rmsprop"),
    pytest.param(lambda p: optim.RMSprop(p, lr=0.02, momentum=0.9, centered=True), id="rmsprop-momentum-centered"),
    pytest.param(lambda p: optim.Adagrad(p, lr=0.5, lr_decay=0.001), id="adagrad"),
    pytest.param(lambda p: optim.Adadelta(p, lr=2.0, eps=1e-2), id="adadelta"),
    pytest.param(lambda p: optim.Adamax(p, lr=0.1, weight_decay=0.1), id="adamax"),
    pytest.param(lambda p: optim.NAdam(p, lr=0.1), id="nadam"),
    pytest.param(lambda p: optim.NAdam(p, lr=0.1, weight_decay=0.1, decoupled_weight_decay=True), id="nadam-decoupled"),
    pytest.param(lambda p: optim.RAdam(p, lr=0.1, betas=(0.9, 0.95)), id="radam"),
    pytest.param(lambda p: optim.Rprop(p, lr=0.1), id="rprop"),
    pytest.param(lambda p: optim.Lion(p, lr=0.1, weight_decay=0.1), id="lion"),
]


def learn(make, state=None, values=None, steps=5, shape=(3,), dtype=np.float64):
    """A parameter and its optimizer after some steps on a bowl that is not round."""
    p = nn.Parameter((np.arange(1.0, 1 + np.prod(shape)).reshape(shape) if values is None else values).astype(dtype))
    optimizer = make([p])
    if state is not None:
        optimizer.load_state_dict(state)
    for _ in range(steps):
        optimizer.zero_grad()
        ((p * p * p.detach().exp().sigmoid()).sum() + (p**4).sum() * 0.01).backward()
        optimizer.step()
    return p, optimizer


@pytest.mark.parametrize("make", KINDS)
class TestEveryKind:
    def test_goes_down(self, make):
        p, _ = learn(make, steps=40)
        assert np.abs(p.numpy()).max() < 1.5

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("shape", [(3,), (), (2, 2), (0,)])
    def test_a_state_goes_on_bit_for_bit(self, make, shape, dtype):
        whole, _ = learn(make, steps=9, shape=shape, dtype=dtype)
        half, optimizer = learn(make, steps=4, shape=shape, dtype=dtype)
        state = optimizer.state_dict()
        original = half.numpy().copy()
        learn(make, state=state, values=original.copy(), steps=1, shape=shape, dtype=dtype)  # does not spoil the state
        rest, _ = learn(make, state=state, values=original, steps=5, shape=shape, dtype=dtype)
        assert rest.numpy().tobytes() == whole.numpy().tobytes()
        assert (rest.shape, rest.dtype) == (shape, dtype)

    def test_a_state_survives_being_written_as_text(self, make):
        whole, _ = learn(make, steps=9)
        half, optimizer = learn(make, steps=4)
        text = json.dumps(optimizer.state_dict(), default=lambda array: array.tolist())
        state = json.loads(text)
        state["state"] = {
            k: {n: np.array(v) if isinstance(v, list) else v for n, v in s.items()} for k, s in state["state"].items()
        }
        rest, _ = learn(make, state=state, values=half.numpy().copy(), steps=5)
        assert rest.numpy().tobytes() == whole.numpy().tobytes()

    def test_a_number_without_dimensions_learns_like_a_list_of_one(self, make):
        one, single = learn(make, shape=(1,))[0], learn(make, shape=())[0]
        assert single.item() == one.item()

    def test_the_gradient_is_left_as_it_is(self, make):
        p = parameter(1.0, 2.0)
        optimizer = make([p])
        for _ in range(3):
            p.grad = chainrule.tensor(np.array([1.0, 2.0]))
            argument = p.grad
            optimizer.step()
            assert argument.tolist() == [1, 2]

    def test_writes_into_the_parameters_own_memory(self, make):
        p = parameter(1.0, 2.0)
        shared = p.detach()
        step(make([p]), p, 1.0)
        assert shared.tolist() == p.tolist() != [1, 2]

    def test_what_has_no_gradient_stays(self, make):
        p, q = parameter(1.0), parameter(2.0)
        frozen = nn.Parameter([3.0], requires_grad=False)
        optimizer = make([p, q, frozen])
        assert step(optimizer, q, 1.0) != [2]
        assert (p.tolist(), frozen.tolist(), p._version) == ([1], [3], [0])
        assert all(entries.get("step", 0) == 0 for entries in (optimizer.state.get(i, {}) for i in (0, 2)))
        optimizer.zero_grad()
        assert q.grad is None

    def test_maximize_goes_the_other_way(self, make):
        p, q = parameter(1.0, -2.0), parameter(1.0, -2.0)
        up, down = make([{"params": [p], "maximize": True}]), make([q])
        for gradient in ([1.0, 3.0], [-2.0, 0.5]):
            p.grad, q.grad = chainrule.tensor(np.array(gradient)), chainrule.tensor(-np.array(gradient))
            up.step()
            down.step()
        assert p.tolist() == q.tolist()

    def test_takes_odd_memory(self, make):
        plain, transposed = nn.Parameter(np.ones((3, 2))), nn.Parameter(chainrule.from_numpy(np.ones((2, 3)).T))
        gradient = np.arange(6.0).reshape(3, 2)
        for p in (plain, transposed):
            optimizer = make([p])
            for _ in range(3):
                p.grad = chainrule.tensor(gradient)
                optimizer.step()
        np.testing.assert_array_equal(plain.numpy(), transposed.numpy())


class TestGroups:
    def test_have_options_of_their_own(self):
        p, q = parameter(1.0), parameter(1.0)
        sgd = optim.SGD([{"params": [p]}, {"params": q, "lr": 0.5, "momentum": 0.9}], lr=0.1)
        for x in (p, q):
            x.grad = chainrule.ones(1, dtype=np.float64)
        sgd.step()
        assert (p.tolist(), q.tolist()) == ([0.9], [0.5])
        sgd.param_groups[0]["lr"] = 1.0
        sgd.step()
        assert (p.item(), q.item()) == (pytest.approx(-0.1), pytest.approx(0.5 - 0.5 * 1.9))

    def test_can_be_added(self):
        p, q = parameter(1.0), parameter(1.0)
        adam = optim.Adam([p])
        adam.add_param_group({"params": [q], "lr": 0.5})
        assert [g["lr"] for g in adam.param_groups] == [1e-3, 0.5]
        step(adam, q, 1.0)
        assert list(adam.state) == [1]

    def test_do_not_touch_what_was_given(self):
        argument = [{"params": [parameter(1.0)]}]
        optim.SGD(argument, lr=0.1)
        assert list(argument[0]) == ["params"]

    def test_show_in_repr(self):
        text = repr(optim.SGD([{"params": parameter(1.0)}, {"params": parameter(1.0), "lr": 0.5}], lr=0.1))
        assert text == (
            "SGD(lr=0.1, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, maximize=False; "
            "lr=0.5, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, maximize=False)"
        )

    @pytest.mark.parametrize(
        ("params", "error", "message"),
        [
            (lambda p: [], ValueError, "SGD: there are no parameters"),
            (lambda p: iter(()), ValueError, "SGD: there are no parameters"),
            (lambda p: nn.Linear(2, 1), TypeError, "SGD: takes parameters, not a module: pass module.parameters()"),
            (lambda p: p, TypeError, "SGD: takes a list of parameters, not a single Tensor: pass [parameter]"),
            (lambda p: [p, p], ValueError, "SGD: a parameter of shape (1,) is given twice"),
            (lambda p: [{"params": [p]}, {"params": [p]}], ValueError, "SGD: a parameter of shape (1,) is given twice"),
            (lambda p: [np.zeros(1)], TypeError, "SGD: takes Tensors, not ndarray"),
            (lambda p: [p, {"params": []}], TypeError, "SGD: takes Tensors, not dict"),
            (
                lambda p: [{"params": [p]}, parameter(2.0)],
                TypeError,
                "SGD: takes parameters or groups of them (dicts), not both",
            ),
            (
                lambda p: [p * 2],
                ValueError,
                "SGD: a parameter must be a leaf, not the result of an operation (shape (1,))",
            ),
            (
                lambda p: [{"params": [p], "lrr": 1}],
                ValueError,
                "SGD: has no option lrr; it has lr, momentum, dampening, weight_decay, nesterov, maximize",
            ),
            (lambda p: [{"params": [p], "lr": -1}], ValueError, "SGD: lr must not be negative, got -1"),
            (lambda p: [{"lr": 1}], TypeError, 'SGD: a group needs "params", an ordered collection such as a list'),
            (lambda p: {p}, TypeError, "SGD: parameters must be ordered: pass a list, not a set"),
            (
                lambda p: [{"params": {p}}],
                TypeError,
                'SGD: a group needs "params", an ordered collection such as a list',
            ),
        ],
    )
    def test_that_make_no_sense(self, params, error, message):
        with pytest.raises(error, match=re.escape(message)):
            optim.SGD(params(parameter(1.0)), lr=0.1)


class TestOptions:
    @pytest.mark.parametrize("kind", WITH_DECAY)
    @pytest.mark.parametrize("option", ["lr", "weight_decay"])
    def test_must_not_be_negative(self, kind, option):
        for value in (-0.1, float("nan")):
            with pytest.raises(ValueError, match=f"{kind.__name__}: {option} must not be negative, got {value}"):
                kind([parameter(1.0)], **{option: value})
        with pytest.raises(TypeError, match=f"{kind.__name__}: {option} must be a number, not 'fast'"):
            kind([parameter(1.0)], **{option: "fast"})

    def test_may_be_tensors_of_one_number(self):
        sgd = optim.SGD([{"params": parameter(1.0), "momentum": chainrule.tensor([0.5])}], lr=chainrule.tensor(0.25))
        assert (sgd.param_groups[0]["lr"], sgd.param_groups[0]["momentum"]) == (0.25, 0.5)
        with pytest.raises(ValueError, match=re.escape("SGD: lr must be one number, not a tensor of shape (2,)")):
            optim.SGD([parameter(1.0)], lr=chainrule.tensor([0.1, 0.2]))

    def test_of_each_kind(self):
        with pytest.raises(ValueError, match="SGD: momentum must not be negative"):
            optim.SGD([parameter(1.0)], momentum=-1)
        for options in ({}, {"momentum": 0.9, "dampening": 0.1}):
            with pytest.raises(ValueError, match="nesterov needs a momentum above 0 and no dampening"):
                optim.SGD([parameter(1.0)], nesterov=True, **options)
        with pytest.raises(ValueError, match="Adam: eps must not be negative"):
            optim.Adam([parameter(1.0)], eps=-1)
        for kind, option in [
            (optim.Adadelta, "rho"),
            (optim.NAdam, "momentum_decay"),
            (optim.Rprop, "lr"),
            (optim.Muon, "ns_steps"),
            (optim.RMSprop, "alpha"),
            (optim.RMSprop, "momentum"),
            (optim.Adagrad, "lr_decay"),
            (optim.Adagrad, "initial_accumulator_value"),
        ]:
            with pytest.raises(ValueError, match=f"{kind.__name__}: {option} must not be negative"):
                kind([parameter(1.0)], **{option: -1})
        for betas in (0.9, (0.9,), (0.9, 0.9, 0.9), (0.9, chainrule.tensor(0.9)), "ab"):
            with pytest.raises(TypeError, match="Adam: betas must be two numbers, not"):
                optim.Adam([parameter(1.0)], betas=betas)
        for betas in ((1.0, 0.9), (0.9, -0.1)):
            with pytest.raises(ValueError, match="AdamW: betas must be at least 0 and below 1, got"):
                optim.AdamW([parameter(1.0)], betas=betas)

    @pytest.mark.parametrize(
        ("kind", "options", "error", "message"),
        [
            (optim.Lion, {"betas": (0.9, 1.0)}, ValueError, "betas must be at least 0 and below 1, got 1.0"),
            (optim.Adadelta, {"rho": 1.5}, ValueError, "rho must be from 0 to 1, got 1.5"),
            (optim.Rprop, {"etas": (1.2, 0.5)}, ValueError, "etas must be one between 0 and 1 and one above 1, not"),
            (optim.Rprop, {"etas": 0.5}, TypeError, "etas must be two numbers, not 0.5"),
            (optim.Rprop, {"step_sizes": (1, 0.1)}, ValueError, "step_sizes must be the smallest and the largest, not"),
            (optim.Muon, {"ns_steps": 100}, ValueError, "ns_steps must be below 100, got 100"),
            (optim.Muon, {"ns_coefficients": (1, 2)}, ValueError, "ns_coefficients must be three numbers, not (1, 2)"),
            (optim.Muon, {"ns_coefficients": (1, 2, "a")}, TypeError, "ns_coefficients[2] must be a number, not 'a'"),
            (
                optim.Muon,
                {"adjust_lr_fn": "adam"},
                ValueError,
                """adjust_lr_fn must be "original" or "match_rms_adamw", not 'adam'""",
            ),
            (
                optim.Muon,
                {},
                ValueError,
                "takes matrices, and a parameter has shape (1,): give the others to another optimizer, such as AdamW",
            ),
        ],
    )
    def test_of_the_newer_kinds(self, kind, options, error, message):
        with pytest.raises(error, match=re.escape(f"{kind.__name__}: {message}")):
            kind([parameter(1.0)], **options)

    def test_a_refused_group_is_not_added(self):
        matrix, bias = chainrule.ones(2, 2, requires_grad=True), chainrule.ones(2, requires_grad=True)
        muon = optim.Muon([matrix])
        with pytest.raises(ValueError, match="takes matrices"):
            muon.add_param_group({"params": [bias]})
        assert [group["params"] for group in muon.param_groups] == [[matrix]]


class TestStates:
    def test_have_pytorchs_form(self):
        p, q = parameter(1.0), parameter(2.0)
        adam = optim.Adam([{"params": [p]}, {"params": [q], "lr": 0.5}])
        step(adam, q, 1.0)
        state = adam.state_dict()
        assert [g["params"] for g in state["param_groups"]] == [[0], [1]]
        assert state["param_groups"][0].keys() == adam.defaults.keys() | {"params"}
        assert {k: (np.ndim(v)) for k, v in state["state"][1].items()} == {"step": 0, "exp_avg": 1, "exp_avg_sq": 1}
        assert state["state"][1]["step"] == 1

    def test_are_copies(self):
        p = parameter(1.0)
        sgd = optim.SGD([p], momentum=0.9)
        step(sgd, p, 1.0)
        state = sgd.state_dict()
        step(sgd, p, 1.0)
        assert state["state"][0]["momentum_buffer"].tolist() == [1]

    def test_a_velocity_is_an_array_as_its_parameter_is(self):
        p, single = (chainrule.tensor(value, requires_grad=True) for value in ([1.0, 2.0], 1.0))
        sgd = optim.SGD([p, single], lr=0.1, momentum=0.9)
        state = sgd.state_dict()
        state["state"] = {0: {"momentum_buffer": 0.5}}
        with pytest.raises(
            ValueError,
            match=re.escape("SGD: momentum_buffer of parameter 0 must be numeric, of shape (2,); got shape ()"),
        ):
            sgd.load_state_dict(state)
        state["state"] = {1: {"momentum_buffer": 0.5}}  # a number for a parameter that is one
        sgd.load_state_dict(state)
        step(sgd, single, 1.0)
        assert single.item() == pytest.approx(1 - 0.1 * (0.9 * 0.5 + 1))
        assert sgd.state_dict()["state"][1]["momentum_buffer"].item() == pytest.approx(1.45)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                lambda s: s["param_groups"].append({"params": [2]}),
                "Adam: the state has groups of [2, 1] parameters, but this optimizer has [2]",
            ),
            (
                lambda s: s["param_groups"][0]["params"].pop(),
                "Adam: the state has groups of [1] parameters, but this optimizer has [2]",
            ),
            (
                lambda s: s["state"][0].update(exp_avg=np.zeros(3)),
                "Adam: exp_avg of parameter 0 must be numeric, of shape (2,); got shape (3,)",
            ),
            (
                lambda s: s["state"][0].update(exp_avg=0.5),
                "Adam: exp_avg of parameter 0 must be numeric, of shape (2,); got shape ()",
            ),
            (
                lambda s: s["state"][0].update(step=np.zeros(2)),
                "Adam: step of parameter 0 must be numeric, of shape (); got shape (2,)",
            ),
            (
                lambda s: s["state"].update({5: {"step": 1}}),
                "Adam: the state has a parameter 5, but this optimizer has 2",
            ),
            (
                lambda s: s["state"].update(weight={"step": 1}),
                "Adam: the state has a parameter 'weight', but this optimizer has 2",
            ),
            (lambda s: s["state"][0].pop("exp_avg_sq"), "Adam: the state of parameter 0 has no exp_avg_sq"),
            (
                lambda s: s["state"][0].update(step="a"),
                "Adam: step of parameter 0 must be numeric, of shape (); got shape ()",
            ),
            (lambda s: s.pop("state"), "Adam: a state must be a dict with the entries 'state' and 'param_groups'"),
            (
                lambda s: s["param_groups"][0].update(momentum=0.9),
                "Adam: the state belongs to another kind of optimizer: the options differ in momentum",
            ),
            (
                lambda s: s["param_groups"][0].pop("betas"),
                "Adam: the state belongs to another kind of optimizer: the options differ in betas",
            ),
        ],
    )
    def test_that_do_not_fit_change_nothing(self, change, message):
        def make():
            adam = optim.Adam([parameter(1.0, 2.0), parameter(3.0)])
            step(adam, adam.param_groups[0]["params"][0], 1.0)
            return adam

        adam, state = make(), make().state_dict()
        state["state"][0]["step"] = 77
        state["param_groups"][0]["lr"] = 99
        change(state)
        with pytest.raises(ValueError, match=re.escape(message)):
            adam.load_state_dict(state)
        assert (adam.state[0]["step"], adam.param_groups[0]["lr"]) == (1, 1e-3)

    def test_of_another_kind(self):
        p = parameter(1.0)
        sgd = optim.SGD([p], momentum=0.9)
        step(sgd, p, 1.0)
        with pytest.raises(
            ValueError,
            match="another kind of optimizer: the options differ in amsgrad, betas, dampening, decoupled_weight_decay, eps,",
        ):
            optim.Adam([p]).load_state_dict(sgd.state_dict())

    def test_bring_their_options(self):
        p = parameter(1.0)
        state = optim.SGD([p], lr=0.7, momentum=0.3).state_dict()
        sgd = optim.SGD([p], lr=0.1)
        sgd.load_state_dict(state)
        assert (sgd.param_groups[0]["lr"], sgd.param_groups[0]["momentum"]) == (0.7, 0.3)
        assert sgd.param_groups[0]["params"] == [p]


class TestMuon:
    """Values and states against PyTorch's are in `tests/conformance`."""

    @pytest.mark.parametrize("shape", [(30, 20), (20, 30), (7, 7), (1, 4)])
    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    def test_steps_along_directions_of_about_equal_length(self, shape, dtype):
        gradient = np.random.default_rng(4).standard_normal(shape).astype(dtype)
        p = nn.Parameter(np.zeros(shape, dtype))
        p.grad = chainrule.tensor(gradient)
        optim.Muon([p], lr=1.0, weight_decay=0.0).step()
        u, _, v = np.linalg.svd(gradient.astype(np.float64), full_matrices=False)
        singular = np.diag(u.T @ -p.numpy().astype(np.float64) @ v.T) / max(1, shape[0] / shape[1]) ** 0.5
        assert singular.min() > 0.3
        assert singular.max() < 1.3
        assert p.dtype == dtype

    def test_a_state_goes_on_bit_for_bit(self):
        def run(state=None, values=None, steps=6):
            return learn(lambda p: optim.Muon(p, lr=0.1), state, values, steps, shape=(4, 3), dtype=np.float32)

        whole, _ = run()
        half, optimizer = run(steps=2)
        state = optimizer.state_dict()
        rest, _ = run(state=state, values=half.numpy().copy(), steps=4)
        assert rest.numpy().tobytes() == whole.numpy().tobytes()

    def test_a_gradient_of_zeros_is_no_direction(self):
        p = nn.Parameter(np.ones((2, 3)))
        p.grad = chainrule.zeros(2, 3, dtype=np.float64)
        optim.Muon([p], lr=0.5, weight_decay=0.1).step()
        np.testing.assert_allclose(p.numpy(), 0.95)

    def test_without_elements(self):
        p = nn.Parameter(np.ones((0, 3)))
        p.grad = chainrule.zeros(0, 3, dtype=np.float64)
        optim.Muon([p]).step()
        assert p.shape == (0, 3)


class TestSteps:
    def test_may_compute_the_loss_by_themselves(self):
        p = parameter(1.0)
        sgd = optim.SGD([p], lr=0.1)

        def closure():
            sgd.zero_grad()
            loss = (p * p).sum()
            loss.backward()
            return loss

        with chainrule.no_grad():
            assert sgd.step(closure).item() == 1
        assert p.tolist() == [pytest.approx(0.8)]
        assert sgd.step() is None

    def test_gradients_of_zeros_are_gradients(self):
        p, q = parameter(1.0), parameter(1.0)
        sgd = optim.SGD([p, q], lr=0.1, momentum=0.5)
        step(sgd, p, 2.0)
        argument = p.grad
        sgd.zero_grad(set_to_none=False)
        assert (argument.tolist(), p.grad.tolist(), q.grad) == ([0], [0], None)
        sgd.step()
        assert p.tolist() == [pytest.approx(0.8 - 0.1 * 0.5 * 2)]

    def test_gradients_with_a_history_lose_it_when_they_become_zeros(self):
        p = parameter(3.0)
        (p**3).sum().backward(create_graph=True)
        assert p.grad.requires_grad
        optim.SGD([p]).zero_grad(set_to_none=False)
        assert (p.grad.tolist(), p.grad.requires_grad) == ([0], False)

    @pytest.mark.parametrize("make", KINDS)
    def test_infinities_are_results(self, make):
        p = nn.Parameter(np.array([1.0, 1.0, 1.0], np.float32))
        optimizer = make([p])
        for _ in range(2):
            p.grad = chainrule.tensor(np.array([np.inf, 1e30, np.nan], np.float32))
            optimizer.step()
        assert np.isnan(p.numpy()[2])


def test_a_state_of_pytorchs_form_and_types():
    """Ways to run are passed over, arrays take the parameter's type, but steps are counted."""
    p = parameter(1.0)
    adam = optim.Adam([p])
    group = {**adam.state_dict()["param_groups"][0], "foreach": None, "fused": None, "capturable": False}
    entries = {
        "step": np.array(3.0, np.float32),
        "exp_avg": np.ones(1, np.float32),
        "exp_avg_sq": np.ones(1, np.float32),
    }
    adam.load_state_dict({"state": {0: entries}, "param_groups": [group]})
    assert adam.state_dict()["param_groups"] == [{**adam.defaults, "params": [0]}]
    assert (adam.state[0]["step"], adam.state[0]["exp_avg"].dtype) == (3, np.float64)
    assert type(adam.state[0]["step"]) is int
    with pytest.raises(ValueError, match="Adam: lr must not be negative, got -1"):
        adam.load_state_dict({"state": {}, "param_groups": [{**group, "lr": -1}]})
    assert (adam.state[0]["step"], adam.param_groups[0]["lr"]) == (3, 1e-3)


def test_adagrads_sums_are_there_from_the_beginning():
    adagrad = optim.Adagrad([parameter(1.0, 2.0)], initial_accumulator_value=0.5)
    adagrad.add_param_group({"params": [parameter(3.0)], "initial_accumulator_value": 0.25})
    assert [(s["step"], s["sum"].tolist()) for s in adagrad.state_dict()["state"].values()] == [
        (0, [0.5, 0.5]),
        (0, [0.25]),
    ]


def test_an_optimizer_of_ones_own():
    class SignDescent(optim.Optimizer):
        def __init__(self, params, lr=0.1):
            super().__init__(params, {"lr": lr})

        def start(self, value, group):
            return {"steps": 0}

        def update(self, value, gradient, state, group):
            state["steps"] += 1
            value -= group["lr"] * np.sign(gradient)

    p = parameter(1.0, -1.0)
    optimizer = SignDescent([p])
    (p * p).sum().backward()
    optimizer.step()
    assert (p.tolist(), optimizer.state_dict()["state"]) == ([0.9, -0.9], {0: {"steps": 1}})
    with pytest.raises(NotImplementedError):
        optim.Optimizer([p], {}).step()


@pytest.mark.parametrize(
    ("kind", "options", "entry"),
    [(optim.SGD, {"momentum": 0.9}, "momentum_bufer"), (optim.SGD, {}, "junk"), (optim.Adam, {}, "max_exp_avg_sq")],
)
def test_an_unknown_entry_of_a_state_is_refused(kind, options, entry):
    w = chainrule.ones(2, requires_grad=True)
    optimizer = kind([w], lr=0.1, **options)
    (w * w).sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    assert optimizer.load_state_dict(state) is None
    state["state"].setdefault(0, {})[entry] = np.ones(2, np.float32)
    with pytest.raises(ValueError, match=f"{kind.__name__}: the state of parameter 0 has an unknown entry '{entry}'"):
        optimizer.load_state_dict(state)
