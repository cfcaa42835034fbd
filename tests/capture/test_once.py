"""Side effects in compiled functions: repeated by each call as in eager mode, or refused with the user's line."""

from __future__ import annotations

import copy
import random
import threading
import types

import numpy as np
import pytest

import chainrule
from chainrule import nn, optim
from chainrule.autograd import set_detect_anomaly, set_grad_enabled
from chainrule.capture import jit
from chainrule.errors import CaptureError
from chainrule.nn import functional as F  # noqa: N812
from chainrule.optim.lr_scheduler import StepLR

pytestmark = pytest.mark.usefixtures("interpreted")


class Setting:
    """A network with all that a step may touch."""

    def __init__(self):
        random = np.random.default_rng(0)
        self.net = nn.Sequential(nn.Linear(3, 4, generator=random), nn.Dropout(0.5, generator=random), nn.Linear(4, 2))
        self.optimizer = optim.Adam(self.net.parameters(), 0.1)
        self.random, self.free, self.outside = random, np.random.default_rng(7), chainrule.ones(3)
        self.saved, self.scheduler = self.optimizer.state_dict(), StepLR(self.optimizer, 2)
        self.more = nn.Linear(2, 2)

    def whole(self):
        """Everything that a refused call must leave alone."""
        return copy.deepcopy((
            {name: tensor.numpy() for name, tensor in self.net.state_dict().items()}, self.optimizer.state_dict(),
            self.random.bit_generator.state, self.free.bit_generator.state, chainrule.is_grad_enabled(),
            [(p.requires_grad, p.grad is None, p._node.hooks) for p in self.net.parameters()],
            [(m.training, m._hooks, m._pre_hooks, m._backward_hooks, sorted(vars(m))) for m in self.net.modules()],
            [sorted(map(str, vars(thing))) for thing in (self.optimizer, self.scheduler)],
            chainrule.default_generator().bit_generator.state,
        ))  # fmt: skip


REFUSED = [
    ("chainrule.manual_seed(0)", "manual_seed()"),
    ("chainrule.rand(3, generator=np.random.default_rng(0))", "create it outside"),
    ("chainrule.rand(3, generator=copy.deepcopy(s.random))", "create it outside"),
    ("s.free.permutation(3)", "s.free, a random generator, is used through its own methods"),
    (
        "(chainrule.rand(3, generator=s.free), s.free.random(), chainrule.rand(3, generator=s.free))",
        "through its own methods",
    ),
    ("chainrule.default_generator().random()", "through its own methods"),
    ("s.net[0].register_forward_hook(print)", "registering a hook"),
    ("s.net[0].register_forward_pre_hook(print)", "registering a hook"),
    ("s.net.register_full_backward_hook(print)", "registering a hook"),
    ("s.net[0].weight.register_hook(abs)", "registering a hook"),
    ("s.net[0].requires_grad_(False)", "requires_grad_()"),
    ("setattr(s.net[0].weight, 'requires_grad', False)", "requires_grad_()"),
    ("s.net.double()", "changing the type of parameters"),
    ("s.optimizer.load_state_dict(s.saved)", "load_state_dict()"),
    ("s.optimizer.state_dict()", "state_dict()"),
    ("s.optimizer.add_param_group({'params': s.more.parameters()})", "add_param_group()"),
    ("s.optimizer.param_groups[0].pop('eps')", "removing s.optimizer.param_groups[0]['eps']"),
    ("s.optimizer.param_groups[0].update(lr=loss)", "s.optimizer.param_groups[0]['lr'] is set to a Tensor"),
    ("s.optimizer.param_groups[0].update(params=[])", "is set to a list"),
    ("s.optimizer.state.clear()", "removing"),
    ("s.optimizer.state.update({0: {}})", "is set to a dict"),
    ("float(s.optimizer.param_groups[0]['lr'])", "float()"),
    ("f\"{s.optimizer.param_groups[0]['lr']}\"", "text"),
    ("repr(s.optimizer)", "text"),
    ("chainrule.full((2,), s.optimizer.param_groups[0]['lr'])", "with an optimizer's number"),
    ("chainrule.tensor(s.optimizer.param_groups[0]['lr'])", "array"),
    ("s.scheduler.step()", "the step of a StepLR"),
    ("set_grad_enabled(False)", "set_grad_enabled()"),
    ("set_detect_anomaly(True)", "set_grad_enabled() or the like"),
    ("chainrule.no_grad().__enter__()", "set_grad_enabled() or the like"),
    ("setattr(s.net, '2', nn.Linear(4, 2))", "s.net.2 is set to a Linear"),
    ("setattr(s.net[0], 'weight', nn.Parameter(np.ones((4, 3), 'f4')))", "s.net.0.weight is set to a Parameter"),
    ("setattr(s.net, 'table', np.ones(3))", "s.net.table is set to a ndarray"),
    ("setattr(s.net, 'call', lambda: 3)", "s.net.call is set to a function"),
    ("setattr(s, 'thing', types.SimpleNamespace(a=loss))", "s.thing is set to a SimpleNamespace"),
    ("delattr(s.net[0], 'bias')", "deleting s.net.0.bias"),
    ("delattr(s, 'free')", "deleting s.free"),
]


@pytest.mark.parametrize(("expression", "reason"), REFUSED, ids=[expression for expression, _ in REFUSED])
@pytest.mark.parametrize("steps", [0, 1])
def test_it_is_refused(expression, reason, steps):
    s, asked = Setting(), [False]
    space = {
        "chainrule": chainrule, "np": np, "nn": nn, "copy": copy, "types": types, "set_grad_enabled": set_grad_enabled,
        "set_detect_anomaly": set_detect_anomaly,
    }  # fmt: skip
    exec(compile(f"def act(s, loss):\n    return {expression}", __file__, "exec"), space)  # noqa: S102  # the table's own lines

    @jit
    def step(x):
        s.optimizer.zero_grad()
        loss = s.net(x).square().mean()
        loss.backward()
        s.optimizer.step()
        if asked[0]:
            space["act"](s, loss)
        return loss

    for _ in range(steps):
        step(chainrule.ones(2, 3))
    asked[0] = True
    before = s.whole()
    with pytest.raises(CaptureError) as caught:
        step(chainrule.ones(2, 3))
    np.testing.assert_equal(s.whole(), before)
    message = str(caught.value)
    assert message.startswith("jit: ")
    assert reason in message
    assert f"({__file__}:" in message
    asked[0] = False
    step(chainrule.ones(2, 3))


def test_a_state_of_arrays_is_loaded_inside():
    """Values are copied in by each call, from the arrays as they are then."""
    net, state = nn.Linear(3, 2), {"weight": np.zeros((2, 3)), "bias": np.zeros(2)}

    @jit
    def restart(x):
        net.load_state_dict(state)
        return net(x).sum(0)

    with chainrule.no_grad():
        for number in range(4):
            state["weight"][:], state["bias"][:] = number, -number
            net.weight.fill_(9)
            assert restart(chainrule.ones(2, 3)).tolist() == [4 * number, 4 * number]
            assert net.weight.tolist() == [[number] * 3] * 2


def test_weights_are_drawn_inside():
    """A new layer in each call, from the generator that is handed on."""

    def compute(x, generator):
        layer = nn.Linear(3, 2, generator=generator)
        with chainrule.no_grad():
            nn.init.normal_(layer.bias, generator=generator)
        return layer(x) + chainrule.rand(2, generator=generator)

    compiled, generators = jit(compute), [np.random.default_rng(1) for _ in range(2)]
    for seed in range(3):
        x = chainrule.from_numpy(np.random.default_rng(seed).standard_normal((4, 3)).astype("f4"))
        expected, result = compute(x, generators[0]), compiled(x, generators[1])
        np.testing.assert_allclose(result.numpy(), expected.detach().numpy(), rtol=1e-5)


def test_numbers_of_the_optimizer_are_returned():
    w = chainrule.ones(2, requires_grad=True)
    optimizer = optim.Adam([w], 0.1)

    @jit
    def step(x):
        optimizer.zero_grad()
        (w * x).sum().backward()
        optimizer.step()
        group = optimizer.param_groups[0]
        return {"lr": group["lr"], "half": [group["lr"] / 2], "betas": group["betas"], "amsgrad": group["amsgrad"]}

    for rate in (0.1, 0.2, 1):
        optimizer.param_groups[0]["lr"] = rate
        result = step(chainrule.ones(2))
        assert result == {"lr": rate, "half": [rate / 2], "betas": (0.9, 0.999), "amsgrad": False}
        assert type(result["half"][0]) is float
    assert w.tolist()[0] < 0


def test_numbers_of_the_optimizer_are_assigned():
    w = chainrule.ones(2, requires_grad=True)
    optimizer, held = optim.SGD([w], 0.1), types.SimpleNamespace()

    class Log:
        rate = rates = None

    log = Log()

    @jit
    def step(x):
        optimizer.zero_grad()
        (w * x).sum().backward()
        optimizer.step()
        log.rate, log.rates = optimizer.param_groups[0]["lr"], (optimizer.param_groups[0]["lr"] * 2, "twice")

    assert held is not None
    for rate in (0.1, 0.2, 0.4):
        optimizer.param_groups[0]["lr"] = rate
        step(chainrule.ones(2))
        assert log.rate == rate
        assert log.rates == (2 * rate, "twice")


def test_tensors_that_are_assigned_are_new_in_each_call():
    """They are detached results, which the caller may keep and change."""
    net = nn.Linear(3, 2, generator=np.random.default_rng(0))

    class Probe:
        def __init__(self):
            self.out = self.both = None

    probe, outputs = Probe(), []

    @jit
    def step(x):
        probe.out = net(x)
        probe.both = {"sum": probe.out.sum(), "parts": [probe.out[0], (probe.out[1] * 2,)], "name": "both"}
        return probe.out.mean()

    for number in range(4):
        x = chainrule.ones(2, 3) * number
        mean, expected = step(x), (x @ net.weight.T + net.bias).detach().numpy()
        np.testing.assert_allclose(probe.out.numpy(), expected, rtol=1e-6)
        np.testing.assert_allclose(probe.both["parts"][1][0].numpy(), 2 * expected[1], rtol=1e-6)
        assert probe.both["sum"].item() == pytest.approx(expected.sum(), rel=1e-5)
        assert mean.item() == pytest.approx(expected.mean(), rel=1e-5)
        outputs.append((probe.out, expected))
    for tensor, expected in outputs:
        np.testing.assert_allclose(tensor.numpy(), expected, rtol=1e-6)


def test_what_is_read_after_an_assignment_is_what_was_assigned():
    net = nn.Sequential(nn.Linear(3, 3, generator=np.random.default_rng(0)), nn.Dropout(0.5)).double()

    def compute(x):
        net.eval()
        a = net(x)
        net[1].p = 0.0
        net.train()
        b = net(x)
        net[1].p = 0.5
        return a + 2 * b

    compiled = jit(compute)
    with chainrule.no_grad():
        for change in (lambda: None, net.eval, lambda: setattr(net[1], "p", 0.25), net.train):
            change()
            x = chainrule.rand(2, 3).double()
            expected = compute(x).numpy()
            change()
            np.testing.assert_allclose(compiled(x).numpy(), expected, rtol=1e-12)
            assert net.training
            assert net[1].p == 0.5
    assert sum(map(len, compiled.specializations.values())) == 2  # for two probabilities, which are read first


def test_a_dropout_module_inside_a_hook_of_a_loss():
    """Hooks that are there run in each program, and what they read counts."""
    net, factor = nn.Linear(3, 2, generator=np.random.default_rng(0)), [2.0]
    net.register_forward_hook(lambda module, inputs, out: F.dropout(out, 0.0) * factor[0])
    step = jit(lambda x: net(x).sum())
    with chainrule.no_grad():
        for value in (2.0, 3.0, 2.0):
            factor[0] = value
            assert step(chainrule.ones(1, 3)).item() == pytest.approx(net(chainrule.ones(1, 3)).sum().item(), rel=1e-6)


class Phase:
    name, count = "begin", 0


def test_what_is_assigned_to_a_class_is_assigned_in_each_call():
    """It cannot be undone and done again, so each call is traced."""

    @jit
    def train(x):
        Phase.name, Phase.count = "train", Phase.count + 1
        return x * Phase.count

    @jit
    def judge(x):
        Phase.name = "judge"
        return x + len(Phase.name)

    Phase.count = 0
    for number in range(1, 4):
        assert train(chainrule.ones(1)).item() == number
        assert (Phase.name, Phase.count) == ("train", number)
        assert judge(chainrule.ones(1)).item() == 6
        assert Phase.name == "judge"


def test_generators_of_other_kinds():
    """Python's and NumPy's old ones: each call is traced, and draws."""
    mine, old = random.Random(3), np.random.RandomState(4)  # noqa: S311
    others = random.Random(3), np.random.RandomState(4)  # noqa: S311

    @jit
    def step(x):
        return x * mine.random() + float(old.rand())

    for _ in range(4):
        expected = np.float32(others[0].random()) + np.float32(others[1].rand())
        assert step(chainrule.ones(1)).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        lambda metrics, loss: metrics["all"].append(1.0),
        lambda metrics, loss: metrics.update(loss=loss),
        lambda metrics, loss: metrics["all"].append(loss),
        lambda metrics, loss: metrics.pop("all"),
        lambda metrics, loss: metrics["more"][0].__setitem__("a", 2),
    ],
)
def test_a_list_or_dict_among_the_arguments_is_not_for_results(change):
    metrics = {"all": [], "more": ({"a": 1},)}

    @jit
    def step(x, metrics):
        loss = x.sum()
        change(metrics, loss)
        return loss

    with pytest.raises(CaptureError, match="list or dict among the arguments is changed.*return it instead"):
        step(chainrule.ones(2), metrics)
    assert metrics == {"all": [], "more": ({"a": 1},)}


def test_a_list_from_outside_is_returned_itself():
    names, tensors = ["a", {"b": 1}], [chainrule.ones(2)]

    @jit
    def step(x):
        return names, {"names": names}, tensors, [*tensors, x * 2]

    for _ in range(3):
        first, inside, same, new = step(chainrule.ones(2))
        assert first is names
        assert inside["names"] is names
        assert same is tensors
        assert [t.tolist() for t in new] == [[1, 1], [2, 2]]
    names.append("c")
    assert step(chainrule.ones(2))[0] == ["a", {"b": 1}, "c"]


def test_a_generators_own_draws_are_noticed_beside_other_threads():
    """Those of a kernel, a progress bar or our own, which live on."""
    generator, over = np.random.default_rng(3), threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    try:
        compiled = jit(lambda x: x + chainrule.rand(2, generator=generator) + generator.normal())
        with pytest.raises(CaptureError, match="through its own methods"):
            compiled(chainrule.ones(2))
    finally:
        over.set()
        thread.join()


def test_a_generators_own_draws_are_noticed_beside_another_trace():
    """What the other one draws by chainrule's functions, from the same generator, is no reason to refuse."""
    generator, drawn, end = np.random.default_rng(3), threading.Event(), threading.Event()
    actual = []

    def slow(x):
        out = x + chainrule.rand(2, generator=generator)
        drawn.set()
        end.wait(60)
        return out + chainrule.rand(2, generator=generator)

    compiled = jit(slow)
    thread = threading.Thread(target=lambda: actual.append(compiled(chainrule.ones(2))))
    thread.start()
    drawn.wait(60)
    ours = jit(lambda x: x + chainrule.rand(2, generator=generator))
    ours(chainrule.ones(2))
    with pytest.raises(CaptureError, match="through its own methods"):
        jit(lambda x: x + chainrule.rand(2, generator=generator) + generator.normal())(chainrule.ones(2))
    end.set()
    thread.join(60)
    assert len(actual) == 1
    assert ours.specializations
