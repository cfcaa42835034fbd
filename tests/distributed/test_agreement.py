"""Agreement before training, the launcher's variables, and loops of one's own; ranks are threads."""

import sys
import types

import numpy as np
import pytest

import chainrule
from chainrule import distributed
from chainrule.distributed import parallel
from chainrule.distributed.agreement import OtherRankError, RanksDifferError, compare, on_all_ranks, on_rank_zero
from chainrule.distributed.launcher import MissingMPIError, launched_rank, launched_size, load_mpi
from chainrule.distributed.world import World
from chainrule.errors import RunError


def test_ranks_that_agree(in_threads):
    assert in_threads(4, lambda world: compare(world, {"seed": 3, "lr": 0.1})) == [None] * 4
    compare(World(), {"seed": 3})


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        (
            {"seed": 3, "lr": 0.2},
            "the ranks differ in the lr: 0.1 on rank 0, 0.2 on rank 2; it must be the same on all",
        ),
        ({"seed": 3}, "the ranks differ in the lr: 0.1 on rank 0, none on rank 2; it must be the same on all"),
        (
            {"seed": 3, "lr": 0.1, "limit": 5},
            "the ranks differ in the limit: none on rank 0, 5 on rank 2; it must be the same on all",
        ),
    ],
)
def test_ranks_that_differ_all_raise(in_threads, facts, message):
    errors = in_threads(4, lambda world: compare(world, facts if world.rank == 2 else {"seed": 3, "lr": 0.1}))
    assert {type(error) for error in errors} == {RanksDifferError}
    assert {str(error) for error in errors} == {message}


def test_an_error_on_one_rank_is_one_on_all(in_threads):
    def load(world):
        if world.rank in (1, 3):
            raise RunError(f"there is no file for {world.rank}")
        return world.rank * 10

    errors = in_threads(4, lambda world: on_all_ranks(world, lambda: load(world)))
    assert [type(error) for error in errors] == [OtherRankError, RunError, OtherRankError, OtherRankError]
    assert [str(error) for error in errors if isinstance(error, OtherRankError)] == [
        "rank 1: there is no file for 1"
    ] * 3
    assert in_threads(3, lambda world: on_all_ranks(world, lambda: world.rank * 10)) == [0, 10, 20]


def test_results_of_rank_zero(in_threads):
    assert in_threads(3, lambda world: on_rank_zero(world, lambda: {"rank": world.rank})) == [{"rank": 0}] * 3

    def fail():
        raise RunError("the run is damaged")

    errors = in_threads(2, lambda world: on_rank_zero(world, fail))
    assert [str(error) for error in errors] == ["the run is damaged", "rank 0: the run is damaged"]
    with pytest.raises(RunError):
        on_rank_zero(World(), fail)


# The launcher


@pytest.mark.parametrize(
    ("environment", "size", "rank"),
    [
        ({}, None, 0),
        ({"SLURM_PROCID": "3", "SLURM_NTASKS": "4"}, None, 0),  # a batch script, or srun --mpi=none
        ({"PMI_RANK": "2", "PMI_SIZE": "4"}, 4, 2),
        ({"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2", "PMIX_RANK": "1"}, 2, 1),
        ({"MV2_COMM_WORLD_RANK": "0", "MV2_COMM_WORLD_SIZE": "8"}, 8, 0),
        ({"PMIX_RANK": "5", "SLURM_STEP_NUM_TASKS": "6"}, 6, 5),
        ({"PMIX_RANK": "5"}, 0, 5),
    ],
)
def test_the_launchers_variables(environment, size, rank):
    assert launched_size(environment) == size
    assert launched_rank(environment) == rank


def fake_mpi(monkeypatch, size, thread_level=3):
    communicator = types.SimpleNamespace(Get_size=lambda: size)
    mpi = types.SimpleNamespace(
        COMM_WORLD=communicator, THREAD_MULTIPLE=3, Query_thread=lambda: thread_level,
        get_vendor=lambda: ("Some MPI", (4, 2, 0)),
    )  # fmt: skip
    package = types.ModuleType("mpi4py")
    package.MPI = mpi
    monkeypatch.setitem(sys.modules, "mpi4py", package)
    monkeypatch.setenv("MPIR_CVAR_SUPPRESS_ABORT_MESSAGE", "1")
    return mpi


def test_an_mpi_that_is_not_the_launchers_is_refused(monkeypatch):
    fake_mpi(monkeypatch, size=1)
    with pytest.raises(MissingMPIError, match=r"started 4 processes, but mpi4py's MPI \(Some MPI 4.2.0\) sees 1: use"):
        load_mpi(4)


def test_an_mpi_without_threads_is_refused(monkeypatch):
    fake_mpi(monkeypatch, size=4, thread_level=1)
    with pytest.raises(MissingMPIError, match="does not allow MPI calls from several threads"):
        load_mpi(4)
    mpi = fake_mpi(monkeypatch, size=4)
    assert load_mpi(4) is mpi
    assert load_mpi(0) is mpi


# One's own loop


def test_one_process_changes_nothing():
    network = chainrule.nn.Linear(3, 2)
    before = network.weight.detach().numpy().copy()
    network(chainrule.ones(1, 3)).sum().backward()
    gradient = network.weight.grad
    distributed.average_gradients(network, weight=7)
    distributed.broadcast(network)
    assert network.weight.grad is gradient
    assert (network.weight.detach().numpy() == before).all()
    assert (distributed.rank(), distributed.world_size()) == (0, 1)


@pytest.fixture
def as_ranks(in_threads, monkeypatch):
    """Call a function in each of some ranks, for which `distributed` sees its world."""
    import threading

    local = threading.local()
    monkeypatch.setattr(parallel, "world", lambda: getattr(local, "world", World()))

    def run(size, function):
        def call(world):
            local.world = world
            return function(world.rank)

        return in_threads(size, call)

    return run


def test_the_mean_of_gradients(as_ranks):
    rng = np.random.default_rng(6)
    values = rng.standard_normal((4, 5)).astype(np.float32)

    def average(rank):
        a, b, c = (chainrule.zeros(5, requires_grad=True) for _ in range(3))
        a.grad = chainrule.tensor(values[rank])
        if rank == 2:
            b.grad = chainrule.ones(5)
        distributed.average_gradients([a, b, c], weight=[1, 2, 3, 4][rank])
        return a.grad.numpy(), b.grad.numpy(), c.grad

    for a, b, c in as_ranks(4, average):
        np.testing.assert_allclose(a, np.average(values.astype(float), axis=0, weights=[1, 2, 3, 4]), atol=1e-6)
        np.testing.assert_allclose(b, np.full(5, 0.3), rtol=1e-6)
        assert c is None


def test_broadcast(as_ranks):
    def share(rank):
        network = chainrule.nn.BatchNorm1d(2)
        network.running_mean.copy_(chainrule.full((2,), float(rank)))
        network.weight.detach().copy_(chainrule.full((2,), rank + 0.5))
        distributed.broadcast(network, source=1)
        return network.running_mean.tolist(), network.weight.tolist()

    assert as_ranks(3, share) == [([1.0, 1.0], [1.5, 1.5])] * 3


def test_refusals(as_ranks):
    with pytest.raises(ValueError, match="there is no rank 1, only 0 to 0"):
        distributed.broadcast([chainrule.ones(1)], source=1)
    with pytest.raises(ValueError, match="the weight must be a number of at least 0, not -1"):
        distributed.average_gradients([], weight=-1)
    errors = as_ranks(2, lambda rank: distributed.broadcast(chainrule.ones(3 + rank)))
    assert errors[0] is None
    assert str(errors[1]) == "broadcast: rank 0 sends tensors of shapes [(3,)], not [(4,)]"

    def no_weight(rank):
        p = chainrule.ones(1, requires_grad=True)
        p.grad = chainrule.ones(1)
        distributed.average_gradients([p], weight=0)

    assert {str(error) for error in as_ranks(2, no_weight)} == {"average_gradients: the weights of all ranks are 0"}
    errors = as_ranks(2, lambda rank: distributed.average_gradients([3]))
    assert str(errors[0]) == "average_gradients: takes Tensors, not int"
