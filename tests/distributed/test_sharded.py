"""A step in shards: against shards computed one by one, PyTorch, NumPy, and itself on several ranks."""

import hashlib

import numpy as np
import pytest

import chainrule
from chainrule import nn, optim
from chainrule.distributed import RankFailedError, ShardedStep, ShardError
from chainrule.distributed.sharded import check_ranks, check_shards, shard_bounds
from chainrule.distributed.world import World
from chainrule.nn import functional as F  # noqa: N812


class Cnn(nn.Module):
    def __init__(self, generator):
        self.convolution = nn.Conv2d(1, 4, 3, generator=generator)
        self.norm = nn.BatchNorm2d(4)
        self.linear = nn.Linear(64, 3, generator=generator)

    def forward(self, x):
        x = self.norm(self.convolution(x.reshape(-1, 1, 6, 6))).relu()
        return self.linear(x.flatten(1))


def mlp(generator, dropout=0.3):
    return nn.Sequential(
        nn.Linear(36, 20, generator=generator), nn.ReLU(), nn.Dropout(dropout, generator=generator),
        nn.Linear(20, 3, generator=generator),
    )  # fmt: skip


NETWORKS = {"mlp with dropout": mlp, "cnn with batch normalization": Cnn}
OPTIMIZERS = {
    "momentum": lambda parameters: optim.SGD(parameters, 0.1, momentum=0.9),
    "adam": lambda parameters: optim.Adam(parameters, 0.01),
}


def batches(sizes, seed=5):
    rng = np.random.default_rng(seed)
    return [
        (
            chainrule.tensor(rng.standard_normal((size, 36)).astype(np.float32)),
            chainrule.tensor(rng.integers(0, 3, size)),
        )
        for size in sizes
    ]


def digest(network, optimizer):
    arrays = [tensor.numpy() for tensor in network.state_dict().values()]
    arrays += [value for state in optimizer.state.values() for value in state.values()]
    return hashlib.sha256(b"".join(np.asarray(array).tobytes() for array in arrays)).hexdigest()


def train(world, build, make_optimizer, *, compiled=False, shards=8, sizes=(24, 24, 19, 24, 5, 1)):
    """Train with batches of 24, some smaller, and return a hash of the state, and the losses."""
    generator = np.random.default_rng(7)
    network = build(generator)
    optimizer = make_optimizer(network.parameters())
    options = {"batch_size": 24, "shards": shards, "compiled": compiled, "processes": world}
    step = ShardedStep(network, F.cross_entropy, optimizer, **options)
    losses = [step(*batch) for batch in batches(sizes)]
    return digest(network, optimizer), losses, generator.bit_generator.state


def test_all_ranks_learn_in_the_next_step_that_one_has_asked_to_stop(in_threads):
    def stops(world):
        network = mlp(np.random.default_rng(7))
        step = ShardedStep(network, F.cross_entropy, optim.SGD(network.parameters()), batch_size=8, processes=world)
        (batch,), flags = batches([8]), []
        for step.interrupt in (False, world.rank == 1, False):
            step(*batch)
            assert step.stop == step.should_stop  # its former name
            flags.append(step.should_stop)
        return flags

    assert in_threads(2, stops) == [[False, True, False]] * 2


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("network", NETWORKS)
def test_the_same_bits_for_any_number_of_ranks(in_threads, network, optimizer):
    expected = train(World(), NETWORKS[network], OPTIMIZERS[optimizer])
    for size in (2, 4, 8):
        for result in in_threads(size, lambda world: train(world, NETWORKS[network], OPTIMIZERS[optimizer])):
            assert result == expected, size


@pytest.mark.parametrize("network", NETWORKS)
def test_compiled_as_eager(network):
    compiled = train(World(), NETWORKS[network], OPTIMIZERS["adam"], compiled=True)
    eager = train(World(), NETWORKS[network], OPTIMIZERS["adam"])
    np.testing.assert_allclose(compiled[1], eager[1], rtol=2e-5)
    assert compiled[2] == eager[2]
    assert train(World(), NETWORKS[network], OPTIMIZERS["adam"], compiled=True) == compiled


def test_another_number_of_shards_gives_other_bits():
    """So that the tests here can fail."""
    assert train(World(), mlp, OPTIMIZERS["adam"], shards=4)[0] != train(World(), mlp, OPTIMIZERS["adam"])[0]


def test_the_gradient_is_that_of_the_shards_one_by_one():
    """The sum of weighted gradients, written out."""
    network = mlp(np.random.default_rng(1), dropout=0.0)
    ((x, y),) = batches([22])
    gradients = []
    for start, end in [(0, 6), (6, 12), (12, 17), (17, 22)]:  # 22 examples in 4 shards of at most 6
        network.zero_grad()
        F.cross_entropy(network(x[start:end]), y[start:end]).backward()
        weight = np.float32((end - start) / 22)
        gradients.append([p.grad.numpy() * weight for p in network.parameters()])
    a, b, c, d = gradients
    expected = [(a + b) + (c + d) for a, b, c, d in zip(a, b, c, d, strict=True)]
    gradients = []

    def keep_gradients():
        gradients.extend(p.grad.numpy().copy() for p in network.parameters())

    optimizer = optim.SGD(network.parameters(), 1.0)
    step = ShardedStep(network, F.cross_entropy, optimizer, batch_size=24, shards=4, update=keep_gradients)
    step(x, y)
    assert [g.tobytes() for g in gradients] == [g.tobytes() for g in expected]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("clip", [None, 0.05])
def test_the_update_is_pytorchs_of_the_whole_batch(compiled, clip):
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    network = mlp(np.random.default_rng(2), dropout=0.0)
    values = [p.detach().numpy().copy() for p in network.parameters()]
    w1, b1, w2, b2 = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in values)
    theirs = torch.optim.Adam([w1, b1, w2, b2], lr=0.01)
    optimizer = optim.Adam(network.parameters(), lr=0.01)

    def update():
        if clip is not None:
            nn.utils.clip_grad_norm_(network.parameters(), clip)
        optimizer.step()

    options = {"batch_size": 24, "shards": 8, "compiled": compiled, "update": update}
    step = ShardedStep(network, F.cross_entropy, optimizer, **options)
    for x, y in batches([24, 24, 13]):
        theirs.zero_grad()
        inputs = torch.tensor(x.numpy(), dtype=torch.float64)
        hidden = torch.relu(inputs @ w1.T + b1)
        loss = torch.nn.functional.cross_entropy(hidden @ w2.T + b2, torch.tensor(y.numpy()))
        loss.backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_([w1, b1, w2, b2], clip)
        theirs.step()
        assert step(x, y) == pytest.approx(loss.item(), abs=1e-6)
    for ours, other in zip(network.parameters(), (w1, b1, w2, b2), strict=True):
        np.testing.assert_allclose(ours.detach().numpy(), other.detach().numpy(), atol=2e-5)


def test_running_statistics_are_the_mean_of_the_shards():
    network = nn.BatchNorm1d(36, momentum=0.25)
    ((x, y),) = batches([20])
    step = ShardedStep(
        network, lambda out, target: (out * out * out).mean(), optim.SGD(network.parameters(), 0.1),
        batch_size=20, shards=4,
    )  # fmt: skip
    step(x, y)
    parts = x.numpy().reshape(4, 5, 36).astype(np.float64)
    np.testing.assert_allclose(network.running_mean.numpy(), 0.25 * parts.mean(axis=1).mean(axis=0), atol=1e-6)
    variances = parts.var(axis=1, ddof=1)
    np.testing.assert_allclose(network.running_var.numpy(), 0.75 + 0.25 * variances.mean(axis=0), rtol=1e-5)
    assert int(network.num_batches_tracked) == 1


def test_each_shard_has_random_numbers_of_its_own():
    seen = []

    def loss(out, target):
        seen.append(out.detach().numpy() != 0)
        return out.mean()

    network = nn.Dropout(0.5, generator=np.random.default_rng(4))
    weight = chainrule.ones(1, requires_grad=True)
    step = ShardedStep(
        network, lambda out, target: loss(out * weight, target), optim.SGD([weight], 0.0), batch_size=8, shards=4
    )
    for _ in range(2):
        step(chainrule.ones(8, 50), chainrule.zeros(8))
    masks = [mask.tobytes() for mask in seen]
    assert len(set(masks)) == 8


def test_a_generator_that_cannot_skip_numbers_is_refused():
    network = nn.Dropout(0.5, generator=np.random.Generator(np.random.MT19937(1)))
    step = ShardedStep(network, F.mse_loss, optim.SGD([chainrule.ones(1, requires_grad=True)], 0.1), batch_size=8)
    with pytest.raises(TypeError, match="a MT19937 cannot skip random numbers"):
        step(chainrule.ones(8, 2), chainrule.ones(8, 2))


def test_random_numbers_without_a_generator_are_the_shards_too():
    network, (batch,) = nn.Sequential(nn.Dropout(0.5), nn.Linear(36, 3)), batches([8])
    start = {name: tensor.numpy().copy() for name, tensor in network.state_dict().items()}
    results = []
    for _ in range(2):
        chainrule.manual_seed(11)
        network.load_state_dict(start)
        optimizer = optim.SGD(network.parameters(), 0.1)
        ShardedStep(network, F.cross_entropy, optimizer, batch_size=8, shards=2)(*batch)
        results.append(digest(network, optimizer))
    assert results[0] == results[1]


def test_parameters_without_a_gradient_are_not_updated():
    used, unused = chainrule.ones(3, requires_grad=True), chainrule.ones(2, requires_grad=True)
    optimizer = optim.SGD([used, unused], 0.1, weight_decay=0.5)
    step = ShardedStep(nn.ReLU(), lambda out, _: (out * used).mean(), optimizer, batch_size=4, shards=2)
    step(chainrule.ones(4, 3), chainrule.zeros(4))
    assert unused.tolist() == [1, 1]
    assert used.tolist() != [1, 1, 1]


def test_float64_stays_float64():
    network = nn.Linear(4, 1, dtype=np.float64)
    optimizer = optim.SGD(network.parameters(), 1.0)
    before = network.weight.detach().numpy().copy()
    x = np.random.default_rng(0).standard_normal((3, 4))
    step = ShardedStep(network, lambda out, _: out.mean(), optimizer, batch_size=3, shards=2)
    step(chainrule.tensor(x), chainrule.zeros(3))
    np.testing.assert_allclose(before - network.weight.detach().numpy(), x.mean(axis=0)[None], rtol=1e-14)


class Unplugged(World):
    size = 2

    def exchange(self, partner, outgoing, incoming):
        raise RankFailedError("rank 1 does not answer")


def test_a_failed_step_changes_nothing():
    generator = np.random.default_rng(3)
    network = nn.Sequential(mlp(generator), nn.BatchNorm1d(3))
    optimizer = optim.Adam(network.parameters())
    step = ShardedStep(network, F.cross_entropy, optimizer, batch_size=24, shards=8, processes=Unplugged())
    before = digest(network, optimizer), generator.bit_generator.state
    with pytest.raises(RankFailedError, match="rank 1 does not answer"):
        step(*batches([24])[0])
    assert (digest(network, optimizer), generator.bit_generator.state) == before


@pytest.mark.parametrize(
    ("count", "batch_size", "shards", "sizes"),
    [
        (128, 128, 8, [16] * 8),
        (100, 100, 8, [13, 13, 13, 13, 12, 12, 12, 12]),
        (80, 128, 8, [16, 16, 16, 16, 16, 0, 0, 0]),
        (7, 24, 8, [3, 2, 2, 0, 0, 0, 0, 0]),
        (1, 24, 8, [1, 0, 0, 0, 0, 0, 0, 0]),
        (9, 9, 8, [2, 2, 2, 2, 1, 0, 0, 0]),
        (5, 5, 1, [5]),
    ],
)
def test_bounds(count, batch_size, shards, sizes):
    bounds = shard_bounds(count, batch_size, shards)
    assert [end - start for start, end in bounds] == sizes
    assert [start for start, _ in bounds] == [sum(sizes[:i]) for i in range(shards)]


def test_refusals():
    with pytest.raises(ShardError, match="must be a power of two, such as 4 or 8, not 6"):
        check_shards(6, 100)
    with pytest.raises(ShardError, match="must be a power of two, such as 4 or 8, not 0"):
        check_shards(0, 100)
    with pytest.raises(ShardError, match="a batch of 5 cannot be cut into 8 shards, but into 4"):
        check_shards(8, 5)
    with pytest.raises(ShardError, match="3 ranks cannot share 8 shards equally: start one of 1, 2, 4, 8 ranks"):
        check_ranks(8, 3)
    with pytest.raises(ShardError, match="16 ranks cannot train a run without shards .* --override shards=16"):
        check_ranks(0, 16)
    step = ShardedStep(mlp(None), F.cross_entropy, optim.SGD([chainrule.ones(1, requires_grad=True)]), batch_size=8)
    with pytest.raises(ValueError, match="a batch must have 1 to 8 examples, not 9"):
        step(*batches([9])[0])
    with pytest.raises(RuntimeError, match="needs the gradients of gradients"):
        step.update()
