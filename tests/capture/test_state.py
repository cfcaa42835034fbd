"""Compiled functions read and write external state in place, however it changes between calls."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule
from chainrule import nn, optim
from chainrule.capture import jit
from chainrule.errors import CaptureError
from chainrule.nn import functional as F  # noqa: N812

pytestmark = pytest.mark.usefixtures("interpreted")


def numbers(*shape, seed=0):
    return chainrule.from_numpy(np.random.default_rng(seed).standard_normal(shape))


class Pair:
    """A network with its optimizer and step, twice: run as it is, and compiled."""

    def __init__(self, build=None, optimizer=None):
        build = build or (lambda: nn.Sequential(nn.Linear(3, 4, generator=np.random.default_rng(0)), nn.Tanh()))
        optimizer = optimizer or (lambda p: optim.Adam(p, 0.05))
        self.nets = [build().double() for _ in range(2)]
        self.optimizers = [optimizer(net.parameters()) for net in self.nets]
        eager, compiled = (self.stepper(*pair) for pair in zip(self.nets, self.optimizers, strict=True))
        self.steps = eager, jit(compiled)
        self.calls = 0

    @staticmethod
    def stepper(net, optimizer):
        def step(x, y):
            optimizer.zero_grad()
            loss = F.mse_loss(net(x), y)
            loss.backward()
            optimizer.step()
            return loss

        return step

    def each(self, change):
        """Do the same to both sides."""
        for net, optimizer in zip(self.nets, self.optimizers, strict=True):
            change(net, optimizer)

    def batch(self, count=5):
        """Other numbers each time."""
        self.calls += 1
        return numbers(count, 3, seed=self.calls), numbers(count, 4, seed=self.calls + 100)

    def run(self, times=2, count=5):
        for _ in range(times):
            x, y = self.batch(count)
            expected, actual = (step(x, y) for step in self.steps)
            assert actual.item() == pytest.approx(expected.item(), rel=1e-10)
            states = [net.state_dict() for net in self.nets]
            for name, tensor in states[0].items():
                np.testing.assert_allclose(states[1][name].numpy(), tensor.numpy(), rtol=1e-9, atol=1e-14, err_msg=name)
            for p, q in zip(*(net.parameters() for net in self.nets), strict=True):
                assert (p.grad is None) == (q.grad is None)
                if p.grad is not None:
                    np.testing.assert_allclose(q.grad.numpy(), p.grad.numpy(), rtol=1e-9, atol=1e-14)

    @property
    def programs(self):
        return sum(map(len, self.steps[1].specializations.values()))


def test_results_are_their_own_memory_from_the_first_call_on():
    """The first call of a step with momentum runs as it is, for the momentum does not exist yet."""
    w = numbers(3).requires_grad_()
    optimizer = optim.SGD([w], 0.1, momentum=0.9)

    @jit
    def step(x):
        optimizer.zero_grad()
        loss = (w * x).sum()
        loss.backward()
        optimizer.step()
        return loss, {"weights": w, "text": "as it is"}

    expected, outputs = numbers(3).numpy(), []
    velocity = 0.0
    for seed in range(3):
        x = numbers(3, seed=seed + 1)
        loss, rest = step(x)
        assert loss.item() == pytest.approx(float((expected * x.numpy()).sum()))
        velocity = 0.9 * velocity + x.numpy()
        expected = expected - 0.1 * velocity
        assert rest["text"] == "as it is"
        assert not loss.requires_grad
        assert not rest["weights"].requires_grad
        outputs.append((rest["weights"], expected))
    for tensor, values in outputs:
        np.testing.assert_allclose(tensor.numpy(), values, rtol=1e-12)


def test_a_state_is_loaded_between_calls():
    pair = Pair()
    pair.run()
    saved = [{k: v.numpy().copy() for k, v in net.state_dict().items()} for net in pair.nets]
    pair.run(3)
    for net, state in zip(pair.nets, saved, strict=True):
        net.load_state_dict(state)
    pair.run()
    assert pair.programs == 1


def test_an_optimizers_state_is_loaded_between_calls():
    pair = Pair(optimizer=lambda p: optim.Adam(p, 0.05, amsgrad=True))
    pair.run()
    saved = [optimizer.state_dict() for optimizer in pair.optimizers]
    assert [s["state"][0]["step"] for s in saved] == [2, 2]
    pair.run(3)
    for optimizer, state in zip(pair.optimizers, saved, strict=True):
        optimizer.load_state_dict(state)
    pair.run(3)
    assert [o.state[1]["step"] for o in pair.optimizers] == [5, 5]


def test_momentum_begins_with_the_first_step():
    pair = Pair(optimizer=lambda p: optim.SGD(p, 0.1, momentum=0.9))
    pair.run(4)
    assert pair.programs == 1
    pair.each(lambda net, optimizer: optimizer.load_state_dict({**optimizer.state_dict(), "state": {}}))
    pair.run(4)


def test_an_array_of_the_state_is_replaced():
    pair = Pair()
    pair.run()
    pair.each(lambda net, optimizer: optimizer.state[0].update(exp_avg=np.ones((4, 3))))
    pair.run()


@pytest.mark.parametrize(
    "options", [{"lr": 0.5}, {"betas": (0.5, 0.6)}, {"weight_decay": 0.1}, {"eps": 1.0}, {"maximize": True}], ids=str
)
def test_settings_change_between_calls(options):
    pair = Pair()
    pair.run()
    pair.each(lambda net, optimizer: optimizer.param_groups[0].update(options))
    pair.run()


def test_parameters_are_rebound():
    pair = Pair()
    pair.run()

    def rebind(net, _):
        net[0].weight.data = np.ones((4, 3))
        net[0].bias.data = np.zeros(8)[::2]

    pair.each(rebind)
    pair.run()
    pair.each(lambda net, _: setattr(net[0].weight, "data", np.asfortranarray(net[0].weight.numpy())))
    pair.run()


def test_a_parameter_is_frozen_and_thawed():
    pair = Pair()
    pair.run()
    for wanted in (False, True):
        pair.each(lambda net, _, wanted=wanted: net[0].weight.requires_grad_(wanted))
        pair.run()


def test_another_parameter_joins():
    pair = Pair()
    extra = [numbers(4, seed=2).requires_grad_() for _ in range(2)]
    pair.run()
    for net, optimizer, more in zip(pair.nets, pair.optimizers, extra, strict=True):
        net[0].bias, before = nn.Parameter(more.detach()), net[0].bias
        assert before is not net[0].bias
        optimizer.add_param_group({"params": [net[0].bias]})
    pair.run()


def test_training_and_evaluation_alternate():
    def build():
        random = np.random.default_rng(1)
        return nn.Sequential(nn.Linear(3, 4, generator=random), nn.BatchNorm1d(4), nn.Dropout(0.5, generator=random))

    pair = Pair(build, lambda p: optim.SGD(p, 0.1))
    for training in (True, False, True, False, True):
        pair.each(lambda net, _, training=training: net.train(training))
        pair.run()
    assert pair.programs == 2
    assert [net[1].num_batches_tracked.item() for net in pair.nets] == [6, 6]


def test_hooks_come_and_go():
    pair = Pair()
    pair.run()
    handles = []
    pair.each(lambda net, _: handles.append(net[0].register_forward_hook(lambda module, inputs, out: out * 2)))
    pair.run()
    for handle in handles:
        handle.remove()
    pair.run()
    pair.each(lambda net, _: handles.append(net[0].weight.register_hook(lambda grad: grad * 3)))
    pair.run()
    for handle in handles[2:]:
        handle.remove()
    pair.run()


def test_the_last_batch_is_smaller():
    pair = Pair()
    for count in (5, 5, 2, 5, 2):
        pair.run(1, count)
    assert pair.programs == 2


def test_gradients_kept_by_the_caller_stay():
    w = numbers(3).requires_grad_()

    def step(x):
        w.grad = None
        (w * x).sum().backward()
        return w * 1, x

    compiled = jit(step)
    first = compiled(numbers(3))
    grad, array = w.grad, w.grad.numpy()
    copies = [t.numpy().copy() for t in (*first, grad)]
    x = numbers(3, seed=5)
    compiled(x)
    x.fill_(9)
    np.testing.assert_array_equal(w.grad.numpy(), numbers(3, seed=5).numpy())
    for tensor, copy in zip((*first, grad), copies, strict=True):
        np.testing.assert_array_equal(tensor.numpy(), copy)
    np.testing.assert_array_equal(array, copies[2])


def test_a_gradient_can_be_changed_outside():
    """Half of the step compiled, the other half not."""
    pair = Pair()

    def parts(net, optimizer):
        def gradients(x, y):
            net.zero_grad()
            F.mse_loss(net(x), y).backward()

        return gradients

    batches = [pair.batch() for _ in range(3)]
    for net, optimizer, convert in zip(pair.nets, pair.optimizers, (lambda f: f, jit), strict=True):
        gradients = convert(parts(net, optimizer))
        for batch in batches:
            gradients(*batch)
            nn.utils.clip_grad_norm_(net.parameters(), 0.01)
            optimizer.step()
    for p, q in zip(*(net.parameters() for net in pair.nets), strict=True):
        np.testing.assert_allclose(q.numpy(), p.numpy(), rtol=1e-10)


def test_backward_twice_without_zero_grad_is_an_error():
    net = nn.Linear(3, 1)

    def backward(x):
        loss = net(x).sum()
        loss.backward()
        return loss

    compiled, x, other = jit(backward), numbers(2, 3).float(), numbers(2, 3, seed=1).float()
    compiled(x)
    before = net.weight.grad.numpy().copy()
    np.testing.assert_allclose(before[0], x.numpy().sum(0), rtol=1e-6)
    with pytest.raises(CaptureError, match=r"exists before the call.*zero_grad\(\) first"):
        compiled(other)
    np.testing.assert_array_equal(net.weight.grad.numpy(), before)
    net.zero_grad()
    compiled(other)  # zeroed outside
    np.testing.assert_allclose(net.weight.grad.numpy()[0], other.numpy().sum(0), rtol=1e-6)


def test_a_gradient_that_nobody_makes_is_none():
    net, other = nn.Linear(3, 1), nn.Linear(3, 1)

    def step(x):
        net.zero_grad()
        other.zero_grad()
        net(x).sum().backward()

    compiled = jit(step)
    for seed in range(3):
        x = numbers(2, 3, seed=seed).float()
        other(x).sum().backward()
        compiled(x)
        assert other.weight.grad is None
        np.testing.assert_allclose(net.weight.grad.numpy()[0], x.numpy().sum(0), rtol=1e-6)


def test_a_step_does_not_take_a_gradient_from_outside():
    net = nn.Linear(3, 1)
    optimizer = optim.SGD(net.parameters(), 0.1)
    net(numbers(2, 3).float()).sum().backward()
    before = net.weight.numpy().copy()
    with pytest.raises(CaptureError, match="exists before the call"):
        jit(lambda: optimizer.step())()
    np.testing.assert_array_equal(net.weight.numpy(), before)


def test_a_tensor_from_outside_is_read_anew():
    scale, array = chainrule.tensor(2.0), np.array([1.0, 2.0], np.float32)
    compiled = jit(lambda x: x * scale + array)
    assert compiled(chainrule.ones(2)).tolist() == [3, 4]
    scale.fill_(5)
    array[:] = 0
    assert compiled(chainrule.tensor([1.0, 3.0])).tolist() == [5, 15]


def test_a_variable_outside_gets_another_tensor():
    target = {"y": chainrule.ones(2)}
    compiled = jit(lambda x: x * target["y"])
    assert compiled(chainrule.ones(2)).tolist() == [1, 1]
    target["y"] = chainrule.ones(2) * 7
    assert compiled(chainrule.ones(2)).tolist() == [7, 7]


@pytest.mark.parametrize("into", [lambda a, b: a.copy_(b), lambda a, b: a.__setitem__(0, b[0]), lambda a, b: a.add_(b)])
def test_a_variable_outside_that_is_only_written_elsewhere_gets_another_tensor(into):
    copy = chainrule.zeros(2, 2)
    source = {"y": chainrule.ones(2, 2)}
    compiled = jit(lambda: into(copy, source["y"]))
    expected = np.zeros((2, 2), np.float32)
    for factor in (1, 7, 3):
        source["y"] = chainrule.ones(2, 2) * factor
        compiled()
        into(chainrule.from_numpy(expected), source["y"])
        np.testing.assert_array_equal(copy.numpy(), expected)


def test_buffers_change_in_place():
    mean = chainrule.zeros(2)

    @jit
    def update(x):
        with chainrule.no_grad():
            mean.mul_(0.5)
            mean.add_(x.mean(0), alpha=0.5)
            mean[0] = 7
        return mean, mean.clone()

    alias, copy = update(chainrule.ones(3, 2) * 4)
    assert alias.tolist() == copy.tolist() == mean.tolist() == [7, 2]
    update(chainrule.ones(3, 2) * 6)
    assert mean.tolist() == [7, 4]
    assert alias.tolist() == [7, 2]


def test_tensors_made_inside_begin_anew():
    @jit
    def count(x):
        total = chainrule.zeros(2)
        more = chainrule.tensor([1.0, 2.0])
        total += x
        more += total
        return total, more

    for number in (1.0, 5.0, 2.0):
        total, more = count(chainrule.full((2,), number))
        assert total.tolist() == [number, number]
        assert more.tolist() == [1 + number, 2 + number]


def test_a_failing_first_run_leaves_the_optimizer_as_it_was():
    """What it remembers of a parameter is made while the step is traced; the run itself finds that the call is wrong."""
    net = nn.Linear(3, 2)
    optimizer = optim.Adam(net.parameters())
    total = chainrule.zeros(2, 3)

    @jit
    def step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        total.add_(x.detach())
        return loss

    with pytest.raises(IndexError):
        step(numbers(2, 3).float(), chainrule.tensor([0, 2]))
    assert optimizer.state == {}
    with pytest.raises(CaptureError, match="shares memory"):
        step(total, chainrule.tensor([0, 1]))
    assert optimizer.state == {}
    step(numbers(2, 3).float(), chainrule.tensor([0, 1]))
    assert [state["step"] for state in optimizer.state.values()] == [1, 1]


def test_a_failing_run_counts_no_step():
    """Labels out of range are found by the run itself; the optimizer has not moved."""
    net = nn.Linear(3, 2)
    optimizer = optim.Adam(net.parameters())

    @jit
    def step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        return loss

    x = numbers(2, 3).float()
    step(x, chainrule.tensor([0, 1]))
    weight = net.weight.numpy().copy()
    with pytest.raises(IndexError):
        step(x, chainrule.tensor([0, 2]))
    assert optimizer.state[0]["step"] == 1
    np.testing.assert_array_equal(net.weight.numpy(), weight)
    step(x, chainrule.tensor([1, 1]))
    assert optimizer.state[0]["step"] == 2


def test_arguments_lie_anyhow_in_memory():
    base = np.arange(24.0).reshape(4, 6)
    forms = [base[:, :3], base[::2, ::2].repeat(2, 0)[:, :3], base[::-1, ::-2], base.T[:4, :3], np.asfortranarray(base[:, :3]),
             np.broadcast_to(base[:1, :3], (4, 3)), base[:, :3].astype(">f8")]  # fmt: skip
    for first in forms:
        compiled = jit(lambda x: (x * 2, x.sum(0), x.T @ x))
        for array in (first, *forms):
            inputs = array.astype("f8")
            actual = compiled(array)
            np.testing.assert_array_equal(actual[0].numpy(), inputs * 2)
            np.testing.assert_array_equal(actual[1].numpy(), inputs.sum(0))
            np.testing.assert_allclose(actual[2].numpy(), inputs.T @ inputs)
        assert len(compiled.specializations) == 1


def test_a_checkpoint_goes_round(tmp_path):
    pair = Pair()
    pair.run()
    for net, name in zip(pair.nets, "ab", strict=True):
        chainrule.save(net.state_dict(), tmp_path / f"{name}.safetensors")
    pair.run()
    for net, name in zip(pair.nets, "ab", strict=True):
        net.load_state_dict(chainrule.load(tmp_path / f"{name}.safetensors"))
    pair.run()
    assert pair.programs == 1


def test_methods_and_named_tuples():
    from typing import NamedTuple

    class Batch(NamedTuple):
        x: object
        y: object

    class Trainer:
        scale = 3

        @jit
        def run(self, batch, *, power=1):
            return Batch(batch.x**power * self.scale, batch.y)

    trainer = Trainer()
    for number in (2, 3, 5):
        out = trainer.run(Batch(chainrule.ones(2) * number, chainrule.ones(1) + number), power=2)
        assert type(out) is Batch
        assert out.x.tolist() == [3 * number**2] * 2
        assert out.y.tolist() == [1 + number]


def test_a_single_result_stays_when_the_program_runs_again():
    compiled = jit(lambda x: x * 2)
    actual = [compiled(chainrule.full((3,), number)) for number in (1.0, 2.0, 3.0)]
    assert [out.tolist() for out in actual] == [[2] * 3, [4] * 3, [6] * 3]
    actual[2].add_(1)
    assert compiled(chainrule.full((3,), 5.0)).tolist() == [10] * 3
    assert actual[2].tolist() == [7] * 3


def test_recording_or_not_is_another_program():
    compiled = jit(lambda x: x * 2 if chainrule.is_grad_enabled() else x * 3)
    for number in (1.0, 2.0):
        x = chainrule.full((2,), number)
        assert compiled(x).tolist() == [2 * number] * 2
        with chainrule.no_grad():
            assert compiled(x).tolist() == [3 * number] * 2
    assert sum(map(len, compiled.specializations.values())) == 2


def test_a_graph_notices_what_a_program_has_changed():
    """A gradient that needs an old value is an error, also if a program, not an operation, has changed it since."""
    w, mean = numbers(3).requires_grad_(), numbers(3, seed=1)
    optimizer = optim.SGD([w], 0.1)

    @jit
    def step(x):
        optimizer.zero_grad()
        (w * x).sum().backward()
        optimizer.step()
        with chainrule.no_grad():
            mean.mul_(0.5)

    for seed in range(3):  # the call that is traced, and those that run its program
        of_parameter, of_buffer = (w**3).sum(), (w * 2 * mean).sum()
        step(numbers(3, seed=seed))
        for loss in (of_parameter, of_buffer):
            with pytest.raises(RuntimeError, match="changed in place"):
                loss.backward()
