"""PyTorch's own settings for its optimizers (`optiminfo`), and ours: optimizers, schedules and clipping."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest

import chainrule
from chainrule import nn, optim
from chainrule.optim import lr_scheduler as our_schedules

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'chainrule[torch]'")
pytest.importorskip("expecttest", reason="PyTorch's sample inputs need expecttest: pip install expecttest")

from torch.optim import lr_scheduler as their_schedules  # noqa: E402  # only where PyTorch is installed

from . import optiminfo  # noqa: E402

STEPS = 30
PASSED = {
    "SGD": 16, "Adam": 12, "AdamW": 6, "RMSprop": 9, "Adagrad": 8, "Adadelta": 7, "Adamax": 6, "NAdam": 8, "RAdam": 7,
    "Rprop": 6, "Muon": 8,
}  # fmt: skip


@pytest.mark.parametrize("entry", optiminfo.ENTRIES, ids=lambda entry: entry.name)
def test_pytorchs_own_settings(entry):
    outcome = optiminfo.run(entry)
    assert outcome.wrong == []
    assert outcome.passed + len(outcome.unsupported) == outcome.total
    # as many settings as torch 2.13 lists for the CPU, and schedules of kinds that we have
    assert outcome.passed == PASSED[entry.name]


@pytest.mark.parametrize("entry", optiminfo.ENTRIES, ids=lambda entry: entry.name)
def test_what_pytorch_refuses(entry):
    cases, faults = optiminfo.refusals(entry)
    assert cases >= 7
    assert faults == []


def classes(module, kind):
    """The names of a module's public classes of a kind, without the kind itself."""
    found = {name for name, value in vars(module).items() if isinstance(value, type) and issubclass(value, kind)}
    return {name for name in found if not name.startswith("_")} - {kind.__name__}


def test_every_optimizer_and_every_schedule_is_there():
    assert set(optiminfo.NAMES) == classes(optim, optim.Optimizer) - {"Lion"} == {e.name for e in optiminfo.ENTRIES}
    assert {name for name, _ in SETTINGS} <= set(optiminfo.NAMES)
    used = {part for make in SCHEDULES.values() for part in make.__code__.co_names}
    used |= {
        part
        for make in SCHEDULES.values()
        for c in make.__code__.co_consts
        if hasattr(c, "co_names")
        for part in c.co_names
    }
    assert classes(our_schedules, our_schedules.LRScheduler) <= used


@pytest.mark.parametrize("name", optiminfo.NAMES)
def test_options_and_defaults(name):
    """Every option is PyTorch's, with its default; those that are missing are ways to run."""
    p, q = nn.Parameter(np.ones((1, 1))), torch.ones(1, 1)
    ours, theirs = getattr(optim, name)([p]).defaults, getattr(torch.optim, name)([q]).defaults
    assert ours == {option: value for option, value in theirs.items() if option not in optiminfo.WAYS_TO_RUN}
    for way in theirs.keys() - ours.keys():
        with pytest.raises(TypeError, match=f"'{way}'"):
            getattr(optim, name)([p], **{way: True})


SETTINGS = [
    ("SGD", {"lr": 0.1, "momentum": 0.7, "dampening": 0.1, "weight_decay": 0.3}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("Adam", {"lr": 0.1, "betas": (0.5, 0.6), "eps": 0.1}),
    ("Adam", {"lr": 0.1, "betas": (0.0, 0.0)}),
    ("AdamW", {"lr": 0.1, "betas": (0.5, 0.99), "weight_decay": 0}),
    (
        "NAdam",
        {"lr": 0.05, "betas": (0.7, 0.95), "momentum_decay": 0.3, "weight_decay": 0.2, "decoupled_weight_decay": True},
    ),
    ("RAdam", {"lr": 0.05, "betas": (0.7, 0.6), "weight_decay": 0.2}),
    ("RAdam", {"lr": 0.02, "betas": (0.7, 0.9), "eps": 0.1, "weight_decay": 0.2, "decoupled_weight_decay": True}),
    ("Adadelta", {"lr": 0.7, "rho": 0.6, "eps": 0.01, "weight_decay": 0.2}),
    ("Adamax", {"lr": 0.05, "betas": (0.7, 0.6), "eps": 0.1, "weight_decay": 0.2}),
    ("Rprop", {"lr": 0.05, "etas": (0.3, 1.7), "step_sizes": (0.01, 0.2)}),
    ("Muon", {"lr": 0.05, "momentum": 0.6, "nesterov": False, "adjust_lr_fn": "match_rms_adamw"}),
    ("Muon", {"lr": 0.05, "weight_decay": 0.0, "ns_coefficients": (2.0, -1.5, 0.5), "ns_steps": 3, "eps": 10.0}),
]


@pytest.mark.parametrize(("name", "options"), SETTINGS, ids=str)
def test_settings_of_ours(name, options):
    assert optiminfo.trajectories(name, options) == []


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("name", [name for name in optiminfo.NAMES if name != "Muon"])  # PyTorch's is in bfloat16
def test_state_stays_with_its_parameter_when_groups_are_edited(name, compiled):
    """Parameters leave the groups, return and change places, and groups too; also between a state and its loading."""
    start = np.random.default_rng(5).standard_normal((4, 2, 2))
    trajectories = []
    for library in (chainrule, torch):
        parameters = a, b, c, d = [library.tensor(values, requires_grad=True) for values in start]
        groups = [{"params": [a, b]}, {"params": [c], "lr": 0.05}]
        optimizer = getattr(library.optim, name)(groups, lr=0.02, **({"momentum": 0.9} if name == "SGD" else {}))

        def step(scale, parameters=parameters, optimizer=optimizer):
            for p in parameters:
                p.grad = None
            sum((p * p * p).sum() * scale * (i + 1) for i, p in enumerate(parameters)).backward()
            optimizer.step()

        run, trajectory = chainrule.jit(step) if compiled and library is chainrule else step, []

        def go(run=run, library=library, trajectory=trajectory, parameters=parameters):
            for _ in range(2):
                run(library.tensor(1 + 0.1 * len(trajectory)))
                trajectory.append([p.tolist() for p in parameters])

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is compiled anew after each change
            go()
            optimizer.param_groups[0]["params"] = [b]
            go()
            optimizer.param_groups[0]["params"] = [b, a]
            go()
            optimizer.param_groups.reverse()
            go()
            optimizer.param_groups[0]["params"].remove(c)
            go()
            optimizer.add_param_group({"params": [c, d]})
            optimizer.load_state_dict(optimizer.state_dict())
            go()
            del optimizer.param_groups[0]
            go()
        trajectories.append(trajectory)
    np.testing.assert_allclose(*trajectories, rtol=1e-6)


SCHEDULES = {
    "lambda": lambda s, o: s.LambdaLR(o, lambda t: 0.95**t),
    "lambda for each group": lambda s, o: s.LambdaLR(o, [lambda t: 1 / (1 + t), lambda t: t / 30]),
    "step": lambda s, o: s.StepLR(o, 4),
    "step 1": lambda s, o: s.StepLR(o, step_size=1, gamma=0.8),
    "step up": lambda s, o: s.StepLR(o, 7, gamma=1.5),
    "milestones": lambda s, o: s.MultiStepLR(o, [3, 10, 11]),
    "milestones twice": lambda s, o: s.MultiStepLR(o, [9, 5, 5], gamma=0.5),
    "milestones at the beginning": lambda s, o: s.MultiStepLR(o, [0, 2], gamma=0.5),
    "no milestones": lambda s, o: s.MultiStepLR(o, []),
    "linear": lambda s, o: s.LinearLR(o),
    "linear down": lambda s, o: s.LinearLR(o, 1.0, 0.1, total_iters=12),
    "linear to nothing": lambda s, o: s.LinearLR(o, 1.0, 0.0, total_iters=25),
    "linear of no steps": lambda s, o: s.LinearLR(o, 0.5, total_iters=0),
    "linear beyond": lambda s, o: s.LinearLR(o, 0.01, 0.7, total_iters=50),
    "exponential": lambda s, o: s.ExponentialLR(o, 0.9),
    "exponential up": lambda s, o: s.ExponentialLR(o, gamma=1.1),
    "exponential to nothing": lambda s, o: s.ExponentialLR(o, 0.0),
    "cosine": lambda s, o: s.CosineAnnealingLR(o, 30),
    "cosine with a floor": lambda s, o: s.CosineAnnealingLR(o, T_max=7, eta_min=0.01),
    "cosine of one step": lambda s, o: s.CosineAnnealingLR(o, 1, eta_min=0.02),
    "cosine of one step to nothing": lambda s, o: s.CosineAnnealingLR(o, 1),
    "cosine of two steps": lambda s, o: s.CosineAnnealingLR(o, 2),
    "cosine below its floor": lambda s, o: s.CosineAnnealingLR(o, 5, eta_min=0.3),
    "one cycle": lambda s, o: s.OneCycleLR(o, 1.0, total_steps=STEPS),
    "one cycle, linear": lambda s, o: s.OneCycleLR(o, 0.5, epochs=6, steps_per_epoch=6, anneal_strategy="linear"),
    "one cycle, three phases": lambda s, o: s.OneCycleLR(o, [1.0, 0.1], STEPS, pct_start=0.2, three_phase=True),
    "one cycle by group": lambda s, o: s.OneCycleLR(
        o, [1.0, 0.1], STEPS, base_momentum=[0.8, 0.7], max_momentum=[0.9, 0.99], div_factor=10.0, final_div_factor=50.0
    ),
    "one cycle without momentum": lambda s, o: s.OneCycleLR(o, 1.0, STEPS, cycle_momentum=False, pct_start=0.71),
    "multiplied": lambda s, o: s.MultiplicativeLR(o, lambda t: 0.9 if t % 3 else 1.2),
    "multiplied for each group": lambda s, o: s.MultiplicativeLR(o, [lambda t: 0.95, lambda t: 1 / t]),
    "constant": lambda s, o: s.ConstantLR(o),
    "constant for longer": lambda s, o: s.ConstantLR(o, factor=0.2, total_iters=11),
    "constant of no steps": lambda s, o: s.ConstantLR(o, 0.2, 0),
    "polynomial": lambda s, o: s.PolynomialLR(o),
    "polynomial, curved": lambda s, o: s.PolynomialLR(o, total_iters=17, power=2.5),
    "warm restarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 7),
    "warm restarts, longer and longer": lambda s, o: s.CosineAnnealingWarmRestarts(o, 3, T_mult=2, eta_min=0.01),
    "warm restarts at each step": lambda s, o: s.CosineAnnealingWarmRestarts(o, 1),
    "cyclic": lambda s, o: s.CyclicLR(o, 0.01, 0.3, step_size_up=4),
    "cyclic, halved": lambda s, o: s.CyclicLR(o, 0.01, 0.3, step_size_up=3, step_size_down=5, mode="triangular2"),
    "cyclic, shrinking": lambda s, o: s.CyclicLR(o, [0.01, 0.02], [0.3, 0.1], 3, 2, mode="exp_range", gamma=0.9),
    "cyclic by a function": lambda s, o: s.CyclicLR(
        o, 0.01, 0.3, 4, scale_fn=lambda x: 1 / x, scale_mode="cycle", base_momentum=[0.5, 0.6], max_momentum=0.95
    ),
    "cyclic by a function of steps": lambda s, o: s.CyclicLR(
        o, 0.01, 0.3, 4, scale_fn=lambda x: 0.9**x, scale_mode="iterations", cycle_momentum=False
    ),
    "several in a chain": lambda s, o: s.ChainedScheduler([s.ConstantLR(o, 0.1, 4), s.ExponentialLR(o, 0.9)], o),
    "a chain with a sequence": lambda s, o: s.ChainedScheduler(
        [s.SequentialLR(o, [s.LinearLR(o, 0.1, total_iters=3), s.StepLR(o, 4)], [5]), s.PolynomialLR(o, 25)]
    ),
    "a sequence of the newer ones": lambda s, o: s.SequentialLR(
        o,
        [s.MultiplicativeLR(o, lambda t: 0.9), s.ConstantLR(o), s.CosineAnnealingWarmRestarts(o, 4), s.PolynomialLR(o)],
        [3, 9, 20],
    ),
    "plateau": lambda s, o: s.ReduceLROnPlateau(o, patience=2),
    "plateau of a maximum": lambda s, o: s.ReduceLROnPlateau(o, "max", factor=0.5, patience=0, cooldown=3),
    "plateau by differences": lambda s, o: s.ReduceLROnPlateau(o, threshold=0.1, threshold_mode="abs", patience=1),
    "plateau of a maximum by differences": lambda s, o: s.ReduceLROnPlateau(
        o, "max", threshold=0.1, threshold_mode="abs", patience=1, min_lr=[0.01, 0.02]
    ),
    "plateau with a floor": lambda s, o: s.ReduceLROnPlateau(o, factor=0.3, patience=0, min_lr=0.004, eps=1e-3),
    "warm-up, then cosine": lambda s, o: s.SequentialLR(
        o, [s.LinearLR(o, 0.1, total_iters=5), s.CosineAnnealingLR(o, 25)], milestones=[5]
    ),
    "four in a row": lambda s, o: s.SequentialLR(
        o,
        [s.ExponentialLR(o, 0.9), s.StepLR(o, 3), s.MultiStepLR(o, [2, 4]), s.LambdaLR(o, lambda t: 1 / (2 + t))],
        [6, 13, 21],
    ),
    "the second from the beginning": lambda s, o: s.SequentialLR(
        o, [s.ExponentialLR(o, 0.9), s.LinearLR(o, 0.2, 0.9, 4)], [0]
    ),
    "two at one milestone": lambda s, o: s.SequentialLR(
        o, [s.StepLR(o, 2), s.ExponentialLR(o, 0.5), s.LinearLR(o)], [8, 8]
    ),
    "one in a row": lambda s, o: s.SequentialLR(o, [s.ExponentialLR(o, 0.9)], []),
    "one cycle after a warm-up": lambda s, o: s.SequentialLR(
        o, [s.LinearLR(o, 0.5), s.OneCycleLR(o, 1.0, total_steps=25)], [6]
    ),
}
TOGETHER = [
    ("step", "exponential"),
    ("linear", "cosine with a floor"),
    ("linear", "milestones twice", "exponential"),
    ("exponential", "plateau"),
    ("cosine", "lambda"),
    ("lambda", "step"),
    ("linear to nothing", "plateau with a floor"),
    ("linear", "warm-up, then cosine"),
    ("constant", "polynomial, curved", "multiplied"),
]
RUNS = [("SGD", (name,)) for name in SCHEDULES] + [("SGD", names) for names in TOGETHER]
RUNS += [
    ("Adam", (name,)) for name in SCHEDULES if "one cycle" in name or "cyclic" in name
]  # whose momentum is the first beta
MEASURES = [3.0, 2.0, 2.0, 1.95, 1.9, 1.9, float("nan"), 2.5, 1.0, 1.0, 0.99995, 1.05]


def pair(kind):
    return optiminfo.Pair(kind, {"lr": 0.2, **({"momentum": 0.5} if kind == "SGD" else {})}, groups=True)


def make(names, library, optimizer):
    with warnings.catch_warnings():
        # PyTorch's SequentialLR starts its schedules in a way that they themselves warn of
        warnings.filterwarnings("ignore", r"Detected call of `lr_scheduler.step\(\)` before", UserWarning)
        return [SCHEDULES[name](library, optimizer) for name in names]


def go_on(names, both, schedules):
    """Our schedules again, from states by way of text, in a new optimizer."""
    state = both.our_optimizer.state_dict()
    texts = [json.dumps(part) for part in (state["param_groups"], *[s.state_dict() for s in schedules])]
    groups, *states = map(json.loads, texts)
    both.our_optimizer = both.optimizer(optim, both.ours, both.options)
    schedules = make(names, our_schedules, both.our_optimizer)
    both.our_optimizer.load_state_dict({"state": state["state"], "param_groups": groups})
    for schedule, its_state in zip(schedules, states, strict=True):
        schedule.load_state_dict(its_state)
    return schedules


def assert_alike(both, ours, theirs):
    """Rates, momenta and everything else in the optimizers, and the parameters."""
    for one, two in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one.get_last_lr(), two.get_last_lr(), 1e-12, 1e-16, err_msg=f"step {both.steps}")
    assert both.difference() is None


@pytest.mark.parametrize("stopping", [False, True], ids=["through", "stopping"])
@pytest.mark.parametrize(("kind", "names"), RUNS, ids=str)
def test_schedules(kind, names, stopping):
    """PyTorch's never stop; ours stop and go on."""
    both = pair(kind)
    ours, theirs = make(names, our_schedules, both.our_optimizer), make(names, their_schedules, both.their_optimizer)
    assert_alike(both, ours, theirs)
    for number in range(STEPS):
        if stopping and number in (4, 5, 6, 13):
            ours = go_on(names, both, ours)
        both.step()
        for schedule in (*ours, *theirs):
            schedule.step(*([MEASURES[number % 12]] if "Plateau" in type(schedule).__name__ else []))
        assert_alike(both, ours, theirs)


ONE_CYCLES = [
    {"total_steps": 25},
    {"total_steps": 40, "pct_start": 0.1},
    {"total_steps": 20, "pct_start": 0.5, "anneal_strategy": "linear"},
    {"total_steps": 30, "three_phase": True},
    {"total_steps": 30, "three_phase": True, "pct_start": 0.4, "anneal_strategy": "linear"},
    {"total_steps": 25, "cycle_momentum": False},
    {"total_steps": 25, "base_momentum": 0.5, "max_momentum": 0.99},
    {"total_steps": 25, "div_factor": 3.0, "final_div_factor": 7.0},
    {"epochs": 4, "steps_per_epoch": 6},
    {"total_steps": 7, "pct_start": 0.0},
    {"total_steps": 3},
    {"total_steps": 1},
]


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@pytest.mark.parametrize("options", ONE_CYCLES, ids=str)
def test_one_cycle_to_its_end(options, kind):
    both = pair(kind)
    one, two = (
        library.OneCycleLR(optimizer, 0.5, **options)
        for library, optimizer in ((our_schedules, both.our_optimizer), (their_schedules, both.their_optimizer))
    )
    total = one.total_steps
    steps = 0 if total == 1 else total - (options.get("pct_start") == 0)  # PyTorch's next step would divide by 0
    for _ in range(steps):
        assert_alike(both, [one], [two])
        both.step()
        one.step()
        two.step()
    assert_alike(both, [one], [two])
    if total > 1:
        for schedule in (one, two):
            with pytest.raises(ValueError):  # each library says it in its own words
                [schedule.step() for _ in range(2)]


@pytest.mark.parametrize("last_epoch", [0, 2, 3, 9])
@pytest.mark.parametrize(
    "go_on",
    [
        lambda s, o, t: s.LambdaLR(o, lambda t: 0.9**t, last_epoch=t),
        lambda s, o, t: s.StepLR(o, 4, last_epoch=t),
        lambda s, o, t: s.MultiStepLR(o, [1, 10, 12], last_epoch=t),
        lambda s, o, t: s.LinearLR(o, 0.5, 0.1, 12, last_epoch=t),
        lambda s, o, t: s.ExponentialLR(o, 0.9, last_epoch=t),
        lambda s, o, t: s.CosineAnnealingLR(o, 8, last_epoch=t),
        lambda s, o, t: s.MultiplicativeLR(o, lambda t: 0.9, last_epoch=t),
        lambda s, o, t: s.ConstantLR(o, 0.5, 12, last_epoch=t),
        lambda s, o, t: s.PolynomialLR(o, 12, 2.0, last_epoch=t),
        lambda s, o, t: s.CosineAnnealingWarmRestarts(o, 4, last_epoch=t),
        lambda s, o, t: s.CyclicLR(o, 0.5, 0.7, 5, cycle_momentum=False, last_epoch=t),
    ],
    ids=lambda go_on: next(name for name in go_on.__code__.co_names if name.endswith(("LR", "Restarts"))),
)
def test_going_on_from_a_step(go_on, last_epoch):
    found = []
    for library, schedules, p in (
        (optim, our_schedules, nn.Parameter([1.0])),
        (torch.optim, their_schedules, torch.ones(1)),
    ):
        optimizer = library.SGD([{"params": [p], "initial_lr": 0.5}], lr=0.1)
        schedule = go_on(schedules, optimizer, last_epoch)
        found.append([schedule.get_last_lr()])
        for _ in range(STEPS):
            optimizer.step()
            schedule.step()
            found[-1].append(schedule.get_last_lr())
    np.testing.assert_allclose(*found, rtol=1e-10)


def gradients(dtype):
    """Parameters whose gradients are equal in both libraries; the first has none."""
    ours, theirs, rng = [], [], np.random.default_rng(0)
    for shape in [(2,), (3, 2), (), (4,)]:
        g = np.asarray(rng.standard_normal(shape), dtype)
        ours.append(nn.Parameter(np.ones_like(g)))
        theirs.append(torch.nn.Parameter(torch.ones_like(torch.tensor(g))))
        if shape != (2,):
            ours[-1].grad, theirs[-1].grad = chainrule.tensor(g), torch.tensor(g)
    return ours, theirs


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("norm_type", [2, 1.0, 3, 0, float("inf"), "inf", -1.0, float("-inf")])
def test_clipping_the_norm(norm_type, dtype, assert_same):
    relative = 1e-12 if dtype == np.float64 else 2e-6
    for largest in (0.0, 0.7, 1e3):
        ours, theirs = gradients(dtype)
        total = nn.utils.clip_grad_norm_(ours, largest, norm_type)
        assert_same(total, torch.nn.utils.clip_grad_norm_(theirs, largest, norm_type), relative)
        for p, q in zip(ours[1:], theirs[1:], strict=True):
            assert_same(p.grad, q.grad, relative)


@pytest.mark.parametrize("odd", [np.inf, -np.inf, np.nan])
def test_clipping_what_is_not_finite(odd, assert_same):
    for clip in (
        lambda utils, p: utils.clip_grad_norm_(p, 1.0),
        lambda utils, p: utils.clip_grad_norm_(p, 1.0, "inf"),
        lambda utils, p: utils.clip_grad_value_(p, 0.5),
    ):
        ours, theirs = gradients(np.float64)
        ours[1].grad[0, 0] = odd
        theirs[1].grad[0, 0] = odd
        clip(nn.utils, ours)
        clip(torch.nn.utils, theirs)
        for p, q in zip(ours[1:], theirs[1:], strict=True):
            assert_same(p.grad, q.grad, 1e-15)
