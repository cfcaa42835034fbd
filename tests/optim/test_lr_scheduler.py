"""Schedules: where they start, peak and end, and that they go on from a state."""

from __future__ import annotations

import itertools
import json
import math
import re

import numpy as np
import pytest

import chainrule
from chainrule import nn, optim
from chainrule.optim.lr_scheduler import (
    ChainedScheduler,
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    CyclicLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    MultiplicativeLR,
    MultiStepLR,
    OneCycleLR,
    PolynomialLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)


def sgd(lr: float = 0.1, momentum: float = 0.9, groups: int = 1) -> optim.SGD:
    return optim.SGD([{"params": nn.Parameter([1.0])} for _ in range(groups)], lr=lr, momentum=momentum)


def rates(scheduler: LRScheduler, steps: int) -> list[float]:
    actual = [scheduler.get_last_lr()[0]]
    for _ in range(steps):
        scheduler.step()
        assert scheduler.get_last_lr() == [g["lr"] for g in scheduler.optimizer.param_groups]
        actual.append(scheduler.get_last_lr()[0])
    return actual


class TestCosine:
    def test_goes_down_half_a_cosine_and_up_again(self):
        actual = rates(CosineAnnealingLR(sgd(0.4), T_max=4), 8)
        half = [0.4 * (1 + math.cos(math.pi * t / 4)) / 2 for t in range(5)]
        np.testing.assert_allclose(actual, half + half[3::-1], atol=1e-16)

    def test_has_a_floor(self):
        actual = rates(CosineAnnealingLR(sgd(0.5), T_max=10, eta_min=0.1), 10)
        assert (actual[0], actual[5], actual[10]) == (0.5, pytest.approx(0.3), pytest.approx(0.1))

    def test_each_group_from_its_own_rate(self):
        optimizer = optim.SGD([{"params": nn.Parameter([1.0])}, {"params": nn.Parameter([1.0]), "lr": 1.0}], lr=0.1)
        scheduler = CosineAnnealingLR(optimizer, T_max=2)
        scheduler.step()
        np.testing.assert_allclose([g["lr"] for g in optimizer.param_groups], [0.05, 0.5])

    def test_needs_steps(self):
        with pytest.raises(ValueError, match="T_max must be at least 1, got 0"):
            CosineAnnealingLR(sgd(), T_max=0)


class TestOneCycle:
    def test_starts_peaks_and_ends_where_it_should(self):
        optimizer = sgd()
        scheduler = OneCycleLR(optimizer, max_lr=1.0, total_steps=100, pct_start=0.3)
        assert optimizer.param_groups[0]["momentum"] == 0.95
        actual = rates(scheduler, 99)
        assert actual[0] == pytest.approx(1 / 25)
        assert (max(actual), actual.index(max(actual))) == (1, 29)
        assert actual[99] == pytest.approx(1 / 25 / 1e4)
        assert all(a < b for a, b in itertools.pairwise(actual[:30]))
        assert all(a > b for a, b in itertools.pairwise(actual[29:100]))
        assert optimizer.param_groups[0]["momentum"] == pytest.approx(0.95)

    def test_momentum_goes_the_other_way(self):
        for optimizer, read in [
            (sgd(), lambda g: g["momentum"]),
            (optim.Adam([nn.Parameter([1.0])]), lambda g: g["betas"][0]),
        ]:
            scheduler = OneCycleLR(optimizer, max_lr=1.0, total_steps=10, pct_start=0.5, anneal_strategy="linear")
            seen = [read(optimizer.param_groups[0])]
            for _ in range(9):
                scheduler.step()
                seen.append(read(optimizer.param_groups[0]))
            np.testing.assert_allclose(seen, [0.95, 0.925, 0.9, 0.875, 0.85, 0.87, 0.89, 0.91, 0.93, 0.95])
        assert optimizer.param_groups[0]["betas"][1] == 0.999

    def test_momentum_may_stay(self):
        optimizer = sgd(momentum=0.7)
        scheduler = OneCycleLR(optimizer, 1.0, total_steps=5, cycle_momentum=False)
        scheduler.step()
        assert optimizer.param_groups[0]["momentum"] == 0.7

    def test_three_phases(self):
        actual = rates(
            OneCycleLR(sgd(), 1.0, total_steps=20, pct_start=0.25, anneal_strategy="linear", three_phase=True), 19
        )
        assert (actual[0], actual[4], actual[8], actual[19]) == (
            pytest.approx(0.04),
            1,
            pytest.approx(0.04),
            pytest.approx(0.04 / 1e4),
        )

    def test_counts_epochs_times_steps_and_takes_a_rate_for_each_group(self):
        scheduler = OneCycleLR(sgd(groups=2), [1.0, 2.0], epochs=3, steps_per_epoch=7)
        assert scheduler.total_steps == 21
        assert scheduler.get_last_lr() == pytest.approx([0.04, 0.08])

    def test_the_usual_loop_of_so_many_steps_runs_through_and_not_beyond(self):
        scheduler = OneCycleLR(sgd(), 1.0, total_steps=5)
        for _ in range(5):
            scheduler.step()
        with pytest.raises(ValueError, match="OneCycleLR: step 6 is after the last of 5 steps"):
            scheduler.step()

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({}, "needs total_steps, or epochs and steps_per_epoch"),
            ({"epochs": 3}, "needs total_steps, or epochs and steps_per_epoch"),
            ({"total_steps": 0}, "the number of steps must be at least 1, got 0"),
            ({"epochs": 0, "steps_per_epoch": 5}, "the number of steps must be at least 1, got 0"),
            ({"total_steps": 5, "pct_start": 1.5}, "pct_start must be from 0 to 1, not 1.5"),
            ({"total_steps": 5, "anneal_strategy": "log"}, """anneal_strategy must be "cos" or "linear", not 'log'"""),
            ({"total_steps": 5, "max_lr": [1.0, 2.0]}, "max_lr has 2 values for 1 groups"),
            ({"total_steps": 5, "base_momentum": []}, "base_momentum has 0 values for 1 groups"),
        ],
    )
    def test_settings_that_make_no_sense(self, options, message):
        with pytest.raises(ValueError, match=f"OneCycleLR: {message}"):
            OneCycleLR(sgd(), **{"max_lr": 1.0, **options})

    def test_without_momentum_there_is_none_to_cycle(self):
        with pytest.raises(ValueError, match="the optimizer has no momentum to cycle; set cycle_momentum=False"):
            OneCycleLR(optim.Adagrad([nn.Parameter([1.0])]), 1.0, total_steps=5)


@pytest.mark.parametrize(
    ("make", "formula"),
    [
        (lambda o: LambdaLR(o, lambda t: t**2), lambda t: t**2),
        (lambda o: StepLR(o, 3), lambda t: 0.1 ** (t // 3)),
        (lambda o: MultiStepLR(o, [5, 2], 0.5), lambda t: 0.5 ** ((t >= 2) + (t >= 5))),
        (lambda o: ExponentialLR(o, 0.7), lambda t: 0.7**t),
        (lambda o: LinearLR(o, 0.2, 0.8, total_iters=4), lambda t: 0.2 + 0.6 * min(t, 4) / 4),
        (lambda o: MultiplicativeLR(o, lambda t: t / (t + 1)), lambda t: 1 / (t + 1)),
        (lambda o: ConstantLR(o, 0.25, 3), lambda t: 0.25 if t < 3 else 1),
        (lambda o: PolynomialLR(o, 5, 2.0), lambda t: (1 - min(t, 5) / 5) ** 2),
        (
            lambda o: CosineAnnealingWarmRestarts(o, 2, 2),
            lambda t: (
                [1, 0.5, 1, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5, 1][t] if t < 7 else (1 + math.cos(math.pi / 8)) / 2
            ),
        ),
        (lambda o: CyclicLR(o, 0.4, 1.2, 2, 1), lambda t: [1, 2, 3][t % 3]),
        (lambda o: ChainedScheduler([ExponentialLR(o, 0.5), StepLR(o, 2)]), lambda t: 0.5**t * 0.1 ** (t // 2)),
        (
            lambda o: SequentialLR(o, [ExponentialLR(o, 0.5), StepLR(o, 2)], [3]),
            lambda t: 0.5**t if t < 3 else 0.1 ** ((t - 3) // 2),
        ),
    ],
    ids=[
        "LambdaLR",
        "StepLR",
        "MultiStepLR",
        "ExponentialLR",
        "LinearLR",
        "MultiplicativeLR",
        "ConstantLR",
        "PolynomialLR",
        "CosineAnnealingWarmRestarts",
        "CyclicLR",
        "ChainedScheduler",
        "SequentialLR",
    ],
)
def test_each_kind_by_its_formula(make, formula):
    np.testing.assert_allclose(rates(make(sgd(0.4)), 7), [0.4 * formula(t) for t in range(8)], rtol=1e-14)


def test_two_schedules_on_one_optimizer_multiply():
    optimizer = sgd(1.0)
    first, second = ExponentialLR(optimizer, 0.5), StepLR(optimizer, 2, gamma=0.1)
    for expected in (0.5, 0.025, 0.0125, 0.000625):
        first.step()
        second.step()
        assert optimizer.param_groups[0]["lr"] == pytest.approx(expected)
    optimizer.param_groups[0]["lr"] = 8.0  # by someone else
    first.step()
    assert first.get_last_lr() == [4.0]


def test_a_later_schedule_starts_from_the_rate_before_the_first_one():
    optimizer = sgd(1.0)
    LinearLR(optimizer, 0.25)
    assert LambdaLR(optimizer, lambda t: 1.0).base_lrs == [1.0]


def test_in_a_row_each_schedule_starts_anew_also_one_that_has_been_stepped():
    optimizer = sgd(1.0)
    second = LambdaLR(optimizer, lambda t: 1 / (1 + t))
    second.step()
    assert rates(SequentialLR(optimizer, [ExponentialLR(optimizer, 0.5), second], [2]), 4) == [1, 0.5, 1, 0.5, 1 / 3]


def test_a_row_of_schedules_takes_states_of_as_many():
    optimizer = sgd()
    row = SequentialLR(optimizer, [StepLR(optimizer, 2), ExponentialLR(optimizer, 0.5)], [3])
    state = row.state_dict()
    with pytest.raises(ValueError, match="SequentialLR: the state has 1 schedulers, but this one has 2"):
        row.load_state_dict({**state, "_schedulers": state["_schedulers"][:1]})
    with pytest.raises(ValueError, match="ExponentialLR: the state does not fit: the entries differ in step_size"):
        row.load_state_dict({**state, "_schedulers": [state["_schedulers"][0]] * 2})


def test_functions_are_not_part_of_the_state():
    scheduler = LambdaLR(sgd(), lambda t: t)
    assert "lr_lambdas" not in json.loads(json.dumps(scheduler.state_dict()))
    state = LambdaLR(sgd(), lambda t: 7 * t).state_dict()
    scheduler.load_state_dict({**state, "last_epoch": 4})
    scheduler.step()
    assert scheduler.get_last_lr() == pytest.approx([0.1 * 5])


class TestPlateau:
    def test_waits_reduces_and_cools_down(self):
        optimizer = sgd(1.0)
        scheduler = ReduceLROnPlateau(optimizer, factor=0.5, patience=1, cooldown=2, min_lr=0.2)
        measures = [5.0, 4.0, 4.0, 4.0, 9.0, 9.0, 9.0, 9.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0]
        actual = []
        for measure in measures:
            scheduler.step(measure)
            actual += scheduler.get_last_lr()
        assert actual == [1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0.2, 0.2, 0.2]

    def test_takes_a_tensor(self):
        scheduler = ReduceLROnPlateau(sgd(1.0), "max", patience=0)
        scheduler.step(chainrule.tensor(0.5))
        scheduler.step(chainrule.tensor(0.4))
        assert (scheduler.best, scheduler.get_last_lr()) == (0.5, [pytest.approx(0.1)])

    def test_a_state_goes_on_by_way_of_text(self):
        one = ReduceLROnPlateau(sgd(1.0), patience=2)
        reloaded = json.loads(json.dumps(one.state_dict()))
        for measure in (3.0, 3.0, 3.0):
            one.step(measure)
        two = ReduceLROnPlateau(sgd(1.0))
        two.load_state_dict(json.loads(json.dumps(one.state_dict())))
        two.step(3.0)
        assert two.get_last_lr() == [pytest.approx(0.1)]
        one.load_state_dict(reloaded)
        one.step(1e9)
        assert (one.best, one.num_bad_epochs) == (1e9, 0)


SINGLE = sgd()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda o: StepLR(o, 0), ValueError, "StepLR: step_size must be at least 1, got 0"),
        (lambda o: StepLR(o, "a"), TypeError, "StepLR: step_size must be a number, not 'a'"),
        (lambda o: StepLR(o, 2, "a"), TypeError, "StepLR: gamma must be a number, not 'a'"),
        (lambda o: MultiStepLR(o, ["a"]), TypeError, "MultiStepLR: milestone 0 must be a number, not 'a'"),
        (lambda o: ExponentialLR(o, "a"), TypeError, "ExponentialLR: gamma must be a number, not 'a'"),
        (lambda o: LambdaLR(o, 3), ValueError, "LambdaLR: lr_lambda must be a function, not 3"),
        (lambda o: LinearLR(o, total_iters="a"), TypeError, "LinearLR: total_iters must be a number, not 'a'"),
        (lambda o: CosineAnnealingLR(o, 4, "a"), TypeError, "CosineAnnealingLR: eta_min must be a number, not 'a'"),
        (lambda o: OneCycleLR(o, "a", 10), TypeError, "OneCycleLR: max_lr must be a number, not 'a'"),
        (lambda o: OneCycleLR(o, 0.1, 10, div_factor=0), ValueError, "div_factor and final_div_factor must be above 0"),
        (lambda o: ReduceLROnPlateau(o, factor="a"), TypeError, "ReduceLROnPlateau: factor must be a number, not 'a'"),
        (
            lambda o: SequentialLR(o, [StepLR(o, 2), StepLR(o, 2), StepLR(o, 2)], [4, 3]),
            ValueError,
            "SequentialLR: milestones must be in increasing order, not [4, 3]",
        ),
        (lambda o: ConstantLR(o, 0), ValueError, "ConstantLR: factor must be above 0 and at most 1, got 0"),
        (lambda o: PolynomialLR(o, 0), ValueError, "PolynomialLR: total_iters must be at least 1, got 0"),
        (lambda o: PolynomialLR(o, 5, -1), ValueError, "PolynomialLR: power must not be negative, got -1"),
        (lambda o: CosineAnnealingWarmRestarts(o, 0), ValueError, "T_0 must be at least 1, not 0"),
        (lambda o: CosineAnnealingWarmRestarts(o, 2.5), TypeError, "T_0 must be an integer, not 2.5"),
        (lambda o: CosineAnnealingWarmRestarts(o, 2, 0), ValueError, "T_mult must be at least 1, not 0"),
        (
            lambda o: CosineAnnealingWarmRestarts(o, 2).step(-1),
            ValueError,
            "CosineAnnealingWarmRestarts: epoch must be a finite number of at least 0, got -1",
        ),
        (lambda o: CyclicLR(o, 0.1, 0.2, 0), ValueError, "CyclicLR: the steps up and down must be above 0, got 0, 0"),
        (
            lambda o: CyclicLR(o, 0.1, 0.2, mode="square"),
            ValueError,
            """CyclicLR: mode must be "triangular", "triangular2" or "exp_range", not 'square'""",
        ),
        (lambda o: CyclicLR(o, 0.1, 0.2, scale_fn=3), ValueError, "CyclicLR: scale_fn must be a function, not 3"),
        (lambda o: CyclicLR(o, [0.1, 0.2], 0.2), ValueError, "CyclicLR: base_lr has 2 values for 1 groups"),
        (lambda o: ChainedScheduler([]), ValueError, "ChainedScheduler: needs at least one scheduler"),
        (lambda o: ChainedScheduler([3]), TypeError, "ChainedScheduler: takes schedulers, not int"),
        (
            lambda o: ChainedScheduler([ReduceLROnPlateau(o)]),
            ValueError,
            "ChainedScheduler: scheduler 0 is a ReduceLROnPlateau, which cannot be part of a chain",
        ),
        (
            lambda o: SequentialLR(o, [ChainedScheduler([StepLR(o, 2)])], []),
            ValueError,
            "SequentialLR: scheduler 0 is a ChainedScheduler, which cannot be part of a sequence",
        ),
        (lambda o: LinearLR(o, 0), ValueError, "LinearLR: start_factor must be above 0 and at most 1, got 0"),
        (lambda o: LinearLR(o, 1.5), ValueError, "LinearLR: start_factor must be above 0 and at most 1, got 1.5"),
        (lambda o: LinearLR(o, 1, -0.5), ValueError, "LinearLR: end_factor must be between 0 and 1, got -0.5"),
        (lambda o: LambdaLR(o, []), ValueError, "LambdaLR: lr_lambda has 0 values for 1 groups"),
        (lambda o: ReduceLROnPlateau(o, factor=1), ValueError, "ReduceLROnPlateau: factor must be below 1, got 1"),
        (lambda o: ReduceLROnPlateau(o, "low"), ValueError, """mode must be "min" or "max", not 'low'"""),
        (
            lambda o: ReduceLROnPlateau(o, threshold_mode="x"),
            ValueError,
            """threshold_mode must be "rel" or "abs", not 'x'""",
        ),
        (lambda o: ReduceLROnPlateau(o, min_lr=[0, 0]), ValueError, "min_lr has 2 values for 1 groups"),
        (
            lambda o: SequentialLR(o, [], []),
            ValueError,
            "one milestone fewer than schedulers, not 0 schedulers and 0 milestones",
        ),
        (
            lambda o: SequentialLR(o, [StepLR(o, 2)], [1]),
            ValueError,
            "one milestone fewer than schedulers, not 1 schedulers and 1 milestones",
        ),
        (lambda o: SequentialLR(o, [o], []), TypeError, "SequentialLR: takes schedulers, not SGD"),
        (lambda o: SequentialLR(o, [StepLR(SINGLE, 2)], []), ValueError, "scheduler 0 belongs to another optimizer"),
        (
            lambda o: SequentialLR(o, [StepLR(o, 2), ReduceLROnPlateau(o)], [1]),
            ValueError,
            "SequentialLR: scheduler 1 is a ReduceLROnPlateau, which cannot be part of a sequence",
        ),
        (
            lambda o: SequentialLR(o, [SequentialLR(o, [StepLR(o, 2)], [])], []),
            ValueError,
            "SequentialLR: scheduler 0 is a SequentialLR, which cannot be part of a sequence",
        ),
        *[
            (
                lambda o, kind=kind, rest=rest: kind(None, *rest),
                TypeError,
                f"{kind.__name__}: takes an optimizer, not None",
            )
            for kind, rest in [
                (StepLR, (2,)),
                (LambdaLR, (len,)),
                (OneCycleLR, (1.0, 5)),
                (ReduceLROnPlateau, ()),
                (SequentialLR, ([], [])),
            ]
        ],
    ],
)
def test_what_makes_no_sense(make, error, message):
    with pytest.raises(error, match=re.escape(message)):
        make(sgd())


@pytest.mark.parametrize(
    "make",
    [
        lambda o: LambdaLR(o, lambda t: 1 / (1 + t)),
        lambda o: StepLR(o, 2, 0.5),
        lambda o: MultiStepLR(o, [2, 7, 7]),
        lambda o: ExponentialLR(o, 0.7),
        lambda o: LinearLR(o, total_iters=8),
        lambda o: SequentialLR(o, [LinearLR(o), ExponentialLR(o, 0.7)], [6]),
        lambda o: CosineAnnealingLR(o, T_max=7, eta_min=0.01),
        lambda o: MultiplicativeLR(o, lambda t: 0.9),
        lambda o: ConstantLR(o, 0.2, 7),
        lambda o: PolynomialLR(o, 9, 1.5),
        lambda o: CosineAnnealingWarmRestarts(o, 2, T_mult=2),
        lambda o: CyclicLR(o, 0.1, 0.4, 3, 2, mode="exp_range", gamma=0.9),
        lambda o: optim.swa_utils.SWALR(o, 0.01, 8),
        lambda o: OneCycleLR(o, 1.0, total_steps=12),
        lambda o: OneCycleLR(o, 1.0, total_steps=12, three_phase=True, anneal_strategy="linear"),
    ],
)
class TestStates:
    def test_go_on_exactly_also_by_way_of_text(self, make):
        uninterrupted, optimizer = sgd(), sgd()
        whole = rates(make(uninterrupted), 11)
        scheduler = make(optimizer)
        first = rates(scheduler, 5)
        states = json.loads(json.dumps([optimizer.state_dict(), scheduler.state_dict()]))
        other = sgd()
        resumed = make(other)
        other.load_state_dict(states[0])
        resumed.load_state_dict(states[1])
        assert first + rates(resumed, 6)[1:] == whole
        assert other.param_groups[0]["momentum"] == uninterrupted.param_groups[0]["momentum"]

    def test_of_another_schedule(self, make):
        scheduler = make(sgd())
        with pytest.raises(
            ValueError, match=f"{type(scheduler).__name__}: the state does not fit: the entries differ in other"
        ):
            scheduler.load_state_dict({**scheduler.state_dict(), "other": 1})
        state = scheduler.state_dict()
        del state["last_epoch"]
        with pytest.raises(ValueError, match="entries differ in last_epoch"):
            scheduler.load_state_dict(state)


def test_a_chain_goes_on_exactly_from_a_state():
    def make(optimizer):
        return ChainedScheduler([ConstantLR(optimizer, 0.2, 7), ExponentialLR(optimizer, 0.9)])

    whole = rates(make(sgd()), 11)
    optimizer, other = sgd(), sgd()
    chain = make(optimizer)
    rates(chain, 5)
    states = json.loads(json.dumps([optimizer.state_dict(), chain.state_dict()]))
    resumed = make(other)
    other.load_state_dict(states[0])
    resumed.load_state_dict(states[1])
    assert rates(resumed, 6) == whole[5:]
    with pytest.raises(ValueError, match="ChainedScheduler: the state has 1 schedulers, but this one has 2"):
        resumed.load_state_dict({**states[1], "_schedulers": states[1]["_schedulers"][:1]})


def test_warm_restarts_step_to_fractions_of_epochs():
    scheduler = CosineAnnealingWarmRestarts(sgd(1.0), 2, T_mult=3)
    actual = []
    for epoch in (0, 0.5, 1.5, 2, 3.5, 7.9999, 8, 9.5, 1):
        scheduler.step(epoch)
        actual += scheduler.get_last_lr()
    shares = [0, 0.25, 0.75, 0, 1.5 / 6, 5.9999 / 6, 0, 1.5 / 18, 0.5]
    np.testing.assert_allclose(actual, [(1 + math.cos(math.pi * share)) / 2 for share in shares], rtol=1e-12)
    assert scheduler.last_epoch == 1


def test_going_on_from_a_step():
    whole = rates(CosineAnnealingLR(sgd(), T_max=5), 6)
    optimizer = sgd()
    optimizer.param_groups[0].update(initial_lr=0.1, lr=whole[3])
    assert rates(CosineAnnealingLR(optimizer, T_max=5, last_epoch=2), 3) == whole[3:]
    with pytest.raises(
        ValueError, match="StepLR: continuing from step 2 needs each group's initial_lr: load the optimizer's"
    ):
        StepLR(sgd(), 3, last_epoch=2)


def test_a_schedule_of_ones_own():
    class Halving(LRScheduler):
        def get_lr(self):
            return [base / 2**self.last_epoch for base in self.base_lrs]

    assert rates(Halving(sgd(0.8)), 3) == [0.8, 0.4, 0.2, 0.1]
    with pytest.raises(NotImplementedError):
        LRScheduler(sgd())


class TestNothingIsChangedByACallThatFails:
    def test_a_step_past_the_end(self):
        schedule = OneCycleLR(sgd(), 1.0, total_steps=1)
        schedule.step()
        before = (schedule.state_dict(), schedule.optimizer.state_dict())
        for _ in range(2):
            with pytest.raises(ValueError, match="step 2 is after the last of 1 steps"):
                schedule.step()
        assert (schedule.state_dict(), schedule.optimizer.state_dict()) == before

    def test_a_measure_that_is_none(self):
        schedule = ReduceLROnPlateau(sgd())
        before = schedule.state_dict()
        with pytest.raises(ValueError, match="could not convert"):
            schedule.step("low")
        assert schedule.state_dict() == before

    def test_a_state_of_which_one_schedule_does_not_fit(self):
        optimizer = sgd()
        schedule = SequentialLR(optimizer, [StepLR(optimizer, 2), ExponentialLR(optimizer, 0.5)], [3])
        before = json.dumps(schedule.state_dict())
        state = {**schedule.state_dict(), "last_epoch": 7}
        state["_schedulers"][0]["last_epoch"] = 7
        del state["_schedulers"][1]["gamma"]
        with pytest.raises(ValueError, match="ExponentialLR: the state does not fit: the entries differ in gamma"):
            schedule.load_state_dict(state)
        assert json.dumps(schedule.state_dict()) == before


# A schedule, and its factor at step t
FACTORS = {
    "LambdaLR": (lambda o: LambdaLR(o, lambda t: 0.9**t), lambda t: 0.9**t),
    "StepLR": (lambda o: StepLR(o, 2), lambda t: 0.1 ** (t // 2)),
    "MultiStepLR": (lambda o: MultiStepLR(o, [2, 6]), lambda t: 0.1 ** ((t >= 2) + (t >= 6))),
    "ExponentialLR": (lambda o: ExponentialLR(o, 0.8), lambda t: 0.8**t),
    "LinearLR": (lambda o: LinearLR(o, 0.5, total_iters=8), lambda t: 0.5 + 0.5 * min(t, 8) / 8),
    "CosineAnnealingLR": (lambda o: CosineAnnealingLR(o, 12), lambda t: (1 + math.cos(math.pi * t / 12)) / 2),
}


class TestGroupsThatAreAddedLater:
    """After three steps, a group with the rate 0.05 joins one that began with 0.1."""

    @staticmethod
    def steps(scheduler, count=11):
        """The rates of both groups at each step after the second has come."""
        for _ in range(3):
            scheduler.step()
        optimizer = scheduler.optimizer
        optimizer.add_param_group({"params": nn.Parameter([1.0]), "lr": 0.05})
        for step in range(4, count):
            scheduler.step()
            assert scheduler.get_last_lr() == [g["lr"] for g in optimizer.param_groups]
            yield step, scheduler.get_last_lr()

    @pytest.mark.parametrize("name", FACTORS)
    def test_go_on_from_the_rate_that_they_come_with(self, name):
        make, factor = FACTORS[name]
        start = 0.05 if name == "LambdaLR" else 0.05 / factor(3)  # whose rates are told, not multiplied
        for step, (first, second) in self.steps(make(sgd())):
            assert first == pytest.approx(0.1 * factor(step))
            assert second == pytest.approx(start * factor(step))

    def test_come_up_again_to_their_own_rate(self):
        for step, (first, second) in self.steps(CosineAnnealingLR(sgd(), 4), 13):
            share = (1 - math.cos(math.pi * (step - 4) / 4)) / 2
            assert (first, second) == (pytest.approx(0.1 * share), pytest.approx(0.05 * share))

    def test_of_one_cycle_have_the_same_rates_and_momenta(self):
        scheduler = OneCycleLR(sgd(), 0.4, total_steps=12)
        for _, (first, second) in self.steps(scheduler):
            assert first == second
            assert len({g["momentum"] for g in scheduler.optimizer.param_groups}) == 1

    def test_of_one_cycle_without_momentum(self):
        for _, (first, second) in self.steps(OneCycleLR(sgd(), 0.4, total_steps=12, cycle_momentum=False)):
            assert first == second

    def test_of_a_plateau(self):
        optimizer = sgd()
        scheduler = ReduceLROnPlateau(optimizer, patience=0, min_lr=0.001)
        scheduler.step(1.0)
        optimizer.add_param_group({"params": nn.Parameter([1.0]), "lr": 0.05})
        for expected in ([0.01, 0.005], [0.001, 0.001], [0.001, 0.001]):
            scheduler.step(2.0)
            assert scheduler.get_last_lr() == pytest.approx(expected)

    def test_in_a_row(self):
        optimizer = sgd()
        row = SequentialLR(optimizer, [LinearLR(optimizer, 0.5, total_iters=4), ExponentialLR(optimizer, 0.8)], [6])
        actual = dict(self.steps(row, 9))
        assert [actual[step][1] / 0.05 for step in (4, 5, 6, 7)] == pytest.approx([1 / 0.875, 1 / 0.875, 1, 0.8])
        assert actual[7][0] == pytest.approx(0.08)

    @pytest.mark.parametrize(
        ("name", "make"),
        [
            ("lr_lambda", lambda o: LambdaLR(o, [lambda t: 1.0])),
            ("max_lr", lambda o: OneCycleLR(o, [0.4], 12)),
            ("max_momentum", lambda o: OneCycleLR(o, 0.4, 12, max_momentum=[0.9])),
            ("base_momentum", lambda o: OneCycleLR(o, 0.4, 12, base_momentum=[0.9])),
            ("min_lr", lambda o: ReduceLROnPlateau(o, min_lr=[0.0])),
        ],
    )
    def test_where_something_was_given_for_each_group(self, name, make):
        optimizer = sgd()
        scheduler = make(optimizer)
        optimizer.add_param_group({"params": nn.Parameter([1.0])})
        before = json.dumps(scheduler.state_dict())
        message = f"{name} was given per group, and a group was added: make a new scheduler with a {name} per group"
        with pytest.raises(ValueError, match=message):
            scheduler.step(*([1.0] if name == "min_lr" else []))
        assert json.dumps(scheduler.state_dict()) == before

    def test_that_are_taken_away(self):
        optimizer = sgd(groups=2)
        schedules = [StepLR(optimizer, 1), LambdaLR(optimizer, lambda t: 1.0), ReduceLROnPlateau(optimizer)]
        del optimizer.param_groups[1]
        for scheduler in schedules:
            with pytest.raises(
                ValueError, match="the optimizer has 1 groups, but this scheduler was made for 2: make a new one"
            ):
                scheduler.step(*([1.0] if scheduler is schedules[2] else []))

    @pytest.mark.parametrize("name", FACTORS)
    def test_states_say_nothing_else(self, name):
        make, _ = FACTORS[name]
        scheduler, other = make(sgd()), make(sgd(groups=2))
        list(self.steps(scheduler))
        other.load_state_dict(json.loads(json.dumps(scheduler.state_dict())))
        other.optimizer.load_state_dict(scheduler.optimizer.state_dict())
        scheduler.step()
        other.step()
        assert other.get_last_lr() == scheduler.get_last_lr()
