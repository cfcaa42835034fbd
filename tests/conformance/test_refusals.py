"""What PyTorch refuses, chainrule refuses, in one sentence of its own; beside each stands the call with what would fit."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import chainrule
from chainrule.kernels import team

torch = pytest.importorskip("torch")

OURS = SimpleNamespace(
    t=chainrule, nn=chainrule.nn, F=chainrule.nn.functional, init=chainrule.nn.init, optim=chainrule.optim,
    loader=lambda count, **how: chainrule.data.DataLoader(
        chainrule.data.TensorDataset(chainrule.zeros(count, 2)), **how
    ),
    types=np,
)  # fmt: skip
THEIRS = SimpleNamespace(
    t=torch, nn=torch.nn, F=torch.nn.functional, init=torch.nn.init, optim=torch.optim,
    loader=lambda count, **how: torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.zeros(count, 2)), **how),
    types=torch,
)  # fmt: skip

CALLS = """
    init.normal_(t.zeros(3), std=-1)                            | init.normal_(t.zeros(3), std=0)
    init.normal_(t.zeros(3), std=float("nan"))                  | init.normal_(t.zeros(3), mean=float("nan"))
    init.normal_(t.zeros(3), mean="0")                          | init.normal_(t.zeros(3), mean=2)
    init.normal_(t.zeros(3).to(types.int64))                    | init.normal_(t.zeros(3).to(types.float64))
    init.uniform_(t.zeros(3), 2, 1)                             | init.uniform_(t.zeros(3), 1, 1)
    init.uniform_(t.zeros(3), float("nan"), 1)                  | init.uniform_(t.zeros(3), -1, 1)
    init.uniform_(t.zeros(3), 0, float("inf"))                  | init.uniform_(t.zeros(3), 0, 1e30)
    init.uniform_(t.zeros(3), "0")                              | init.uniform_(t.zeros(3), 0)
    init.uniform_(t.zeros(3).to(types.int64))                   | init.uniform_(t.zeros(3))
    init.trunc_normal_(t.zeros(3), a=2, b=-2)                   | init.trunc_normal_(t.zeros(3), a=-1, b=2)
    init.trunc_normal_(t.zeros(3), a="-2")                      | init.trunc_normal_(t.zeros(3), mean=1)
    init.kaiming_uniform_(t.zeros(3, 4), mode="fan")            | init.kaiming_uniform_(t.zeros(3, 4), mode="fan_out")
    init.kaiming_uniform_(t.zeros(3, 4), nonlinearity="banana") | init.kaiming_uniform_(t.zeros(3, 4), nonlinearity="relu")
    init.kaiming_uniform_(t.zeros(3, 4), a="0")                 | init.kaiming_uniform_(t.zeros(3, 4), a=-1)
    init.kaiming_normal_(t.zeros(3))                            | init.kaiming_normal_(t.zeros(3, 4))
    init.kaiming_normal_(t.zeros(3, 4), mode=3)                 | init.kaiming_normal_(t.zeros(3, 4), a=0.5)
    init.xavier_uniform_(t.zeros(3, 4), gain=-1)                | init.xavier_uniform_(t.zeros(3, 4), gain=0)
    init.xavier_normal_(t.zeros(3, 4), gain=-1)                 | init.xavier_normal_(t.zeros(3, 4), gain=2)
    init.xavier_normal_(t.zeros(3, 4), gain="1")                | init.xavier_normal_(t.zeros(3, 4), gain=1)
    init.orthogonal_(t.zeros(3, 4), gain="1")                   | init.orthogonal_(t.zeros(3, 4), gain=-1)
    init.constant_(t.zeros(3), "1")                             | init.constant_(t.zeros(3).to(types.int64), 1)
    init.calculate_gain("leaky_relu", "0.1")                    | init.calculate_gain("leaky_relu", 0.1)
    t.where(t.ones(2), t.ones(2), t.zeros(2))                   | t.where(t.ones(2) > 0, t.ones(2), t.zeros(2))
    t.where(t.tensor([1, 0]), t.ones(2), t.zeros(2))            | t.where(t.tensor([True, False]), t.ones(2), t.zeros(2))
    t.ones(2).where(t.ones(2), t.zeros(2))                      | t.ones(2).where(t.ones(2) > 0, t.zeros(2))
    t.ones(2).masked_fill(t.ones(2), 1)                         | t.ones(2).masked_fill(t.ones(2) > 0, 1)
    F.softmax(t.tensor([1, 2]), 0)                              | F.softmax(t.tensor([1, 2]), 0, dtype=types.float32)
    F.log_softmax(t.tensor([1, 2]), 0)                          | F.log_softmax(t.tensor([1.0, 2.0]), 0)
    F.softmax(t.tensor([True, False]), 0)                       | F.softmax(t.tensor([1.0, 0.0]), 0)
    F.softmax(t.ones(2), 0.5)                                   | F.softmax(t.ones(2), 0)
    F.gelu(t.tensor([1, 2]))                                    | F.gelu(t.tensor([1.0, 2.0]))
    F.silu(t.tensor([1, 2]))                                    | F.silu(t.tensor([1.0, 2.0]))
    F.elu(t.tensor([1, 2]))                                     | F.elu(t.tensor([1.0, 2.0]))
    F.leaky_relu(t.tensor([1, 2]))                              | F.leaky_relu(t.tensor([1.0, 2.0]))
    F.softplus(t.tensor([1, 2]))                                | F.softplus(t.tensor([1.0, 2.0]))
    F.logsigmoid(t.tensor([1, 2]))                              | F.logsigmoid(t.tensor([1.0, 2.0]))
    F.relu(t.tensor([True, False]))                             | F.relu(t.tensor([1, 2]))
    F.dropout(t.tensor([1, 2]))                                 | F.dropout(t.tensor([1, 2]), training=False)
    F.layer_norm(t.tensor([[1, 2]]), (2,))                      | F.layer_norm(t.tensor([[1.0, 2.0]]), (2,))
    F.group_norm(t.tensor([[1, 2]]), 1)                         | F.group_norm(t.tensor([[1.0, 2.0]]), 1)
    F.batch_norm(t.tensor([[1], [2]]), None, None, training=True) | F.batch_norm(t.ones(2, 1), None, None, training=True)
    F.batch_norm(t.ones(2, 3), t.zeros(3), None, training=True) | F.batch_norm(t.ones(2, 3), None, None, training=True)
    t.repeat_interleave(t.ones(2, 3), 2, 0, output_size=5)      | t.repeat_interleave(t.ones(2, 3), 2, 0, output_size=4)
    F.cross_entropy(t.tensor([[1, 2]]), t.tensor([0]))          | F.cross_entropy(t.ones(1, 2), t.tensor([0]))
    F.nll_loss(t.tensor([[1, 2]]), t.tensor([0]))               | F.nll_loss(t.ones(1, 2), t.tensor([0]))
    F.mse_loss(t.tensor([1, 2]), t.tensor([1, 2]))              | F.mse_loss(t.ones(2), t.ones(2))
    loader(0, shuffle=True)                                     | loader(0, shuffle=False)
    loader(3, batch_size=0)                                     | loader(3, shuffle=True)
    t.set_num_threads(1.5)                                      | t.set_num_threads(1)
    t.set_num_threads(0)                                        | t.set_num_threads(1)
    optim.SGD(None, lr=0.1)                                     | optim.SGD([t.zeros(3)], lr=0.1)
    optim.SGD(3, lr=0.1)                                        | optim.SGD([t.zeros(3)], lr=0.1)
    optim.SGD([{"params": None}], lr=0.1)                       | optim.SGD([{"params": t.zeros(3)}], lr=0.1)
    optim.SGD([{"params": 3}], lr=0.1)                          | optim.SGD([{"params": [t.zeros(3)]}], lr=0.1)
    optim.SGD([t.zeros(3)], lr=-1)                              | optim.SGD([t.zeros(3)], lr=0)
    nn.utils.clip_grad_norm_(None, 1)                           | nn.utils.clip_grad_norm_([], 1)
    nn.utils.clip_grad_norm_(3, 1)                              | nn.utils.clip_grad_norm_(t.zeros(3), 1)
    nn.utils.clip_grad_norm_([t.zeros(3)], "x")                 | nn.utils.clip_grad_norm_([t.zeros(3)], 1)
    t.zeros("3")                                                | t.zeros(3)
    t.zeros(-1)                                                 | t.zeros(0)
    t.eye(2.5)                                                  | t.eye(2)
    t.linspace(0, 1, 2.5)                                       | t.linspace(0, 1, 2)
    t.linspace("0", 1, 3)                                       | t.linspace(0, 1, 3)
    t.ones(2).split("x")                                        | t.ones(2).split(1)
    t.ones(2).split([1.0, 1.0])                                 | t.ones(2).split([1, 1])
    t.ones(2).chunk(1.5)                                        | t.ones(2).chunk(1)
    t.tril(t.ones(2, 2), "0")                                   | t.tril(t.ones(2, 2), 0)
    t.triu(t.ones(2, 2), "0")                                   | t.triu(t.ones(2, 2), 0)
    t.cat(None)                                                 | t.cat([t.ones(2)])
    t.ones(2).to("banana")                                      | t.ones(2).to(types.float64)
    nn.Linear(2, 2).to("banana")                                | nn.Linear(2, 2).to(types.float64)
    nn.Linear(2, 2).apply(3)                                    | nn.Linear(2, 2).apply(repr)
    t.randint(5, 5, (2,))                                       | t.randint(5, 6, (2,))
    t.randint("0", 5, (2,))                                     | t.randint(0, 5, (2,))
    t.arange(5, 0, 1)                                           | t.arange(5, 0, -1)
    t.arange(0, 5, 0)                                           | t.arange(0, 5, 2)
    t.arange("3")                                               | t.arange(3)
"""  # what is refused | what fits


@pytest.fixture(autouse=True)
def _threads_as_before(monkeypatch):
    monkeypatch.setattr(team, "_threads", team.threads())
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def run(call: str, library: SimpleNamespace) -> Any:
    return eval(call, vars(library))  # noqa: S307  # written above


@pytest.mark.parametrize("call", [line.split("|")[0].strip() for line in CALLS.strip().splitlines()])
def test_refused_by_both(call):
    with pytest.raises(Exception):  # noqa: B017  # PyTorch's kinds of error are its own
        run(call, THEIRS)
    with pytest.raises((TypeError, ValueError)) as error:
        run(call, OURS)
    message = str(error.value)
    assert "\n" not in message
    assert not re.search(r"unsupported operand|object (is|of)|not supported between|positional|ufunc", message)


@pytest.mark.parametrize("call", sorted({line.split("|")[1].strip() for line in CALLS.strip().splitlines()}))
def test_what_fits_is_taken_by_both(call):
    run(call, THEIRS)
    run(call, OURS)


@pytest.mark.parametrize("call", ["t.manual_seed(-1)"])
def test_what_is_refused_by_chainrule_alone(call):
    """PyTorch takes None for "as it is", and a negative seed for another one."""
    run(call, THEIRS)
    with pytest.raises(
        (TypeError, ValueError), match=r"not None; tensors are always on the CPU|must be at least 0, not -1"
    ):
        run(call, OURS)
