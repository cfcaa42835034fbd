"""What users write, for type checkers: pyright in its strict mode finds nothing to say about it.

`make lint` runs pyright over it, by `scripts/check_types.py`; `test_user_code.py` calls the functions.
"""

from pathlib import Path
from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import chainrule
import chainrule.nn.functional as F  # noqa: N812
from chainrule import Tensor, data, nn, no_grad, ops, optim, training
from chainrule.autograd import gradcheck, hessian, hvp, jacobian, vjp
from chainrule.ops import operation
from chainrule.optim import lr_scheduler


def tensors() -> None:
    x = chainrule.tensor([1.0, 2.0], requires_grad=True)
    (x**2).sum().backward()
    assert_type(x.grad, Tensor | None)
    assert_type(chainrule.from_numpy(np.ones(3)), Tensor)
    assert_type(chainrule.as_tensor([1, 2]).long(), Tensor)
    assert_type(chainrule.zeros(2, 3, requires_grad=True), Tensor)
    assert_type(chainrule.full((2, 3), 1.0), Tensor)
    assert_type(chainrule.randint(0, 10, (3,)), Tensor)
    assert_type(chainrule.randint(10, (3,)), Tensor)
    assert_type(chainrule.randn(2, 3, generator=np.random.default_rng(0)), Tensor)
    assert_type(x.shape, tuple[int, ...])
    assert_type(x.size(0), int)
    assert_type(x.size(), tuple[int, ...])
    assert_type(x.detach().numpy(), NDArray[Any])
    print(f"{float(x.sum()):.3f}", x.sum().item(), len(x), x.requires_grad, x.dtype)


def arithmetic() -> None:
    x, y = chainrule.rand(3, 4), chainrule.ones(4)
    assert_type(x + y, Tensor)
    assert_type(1 - x * 2.0, Tensor)
    assert_type(2**x, Tensor)
    assert_type(x @ y, Tensor)
    assert_type(x / np.float32(2), Tensor)
    assert_type(x > 0, Tensor)
    assert_type(x == y, Tensor)
    assert_type(-x[0, 1:], Tensor)
    x += 1
    x[0] = y
    x.add_(y, alpha=2).clamp(0.0, 1.0)
    for row in x:
        assert_type(row, Tensor)


def operations() -> None:
    x = chainrule.rand(3, 4)
    assert_type(chainrule.tanh(x), Tensor)
    assert_type(chainrule.softmax(x, dim=1), Tensor)
    assert_type(chainrule.softmax(x, 1), Tensor)
    assert_type(x.softmax(-1).log(), Tensor)
    assert_type(x.sum(0, keepdim=True), Tensor)
    assert_type(x.mean((0, 1)), Tensor)
    assert_type(x.var(dim=0, correction=0), Tensor)
    assert_type(x.max(), Tensor)
    assert_type(x.max(1), tuple[Tensor, Tensor])
    values, indices = x.min(dim=1)
    assert_type(values, Tensor)
    assert_type(indices.argmax().item(), bool | int | float)
    assert_type(x.reshape(2, -1).transpose(0, 1).flatten(), Tensor)
    assert_type(chainrule.reshape(x, (2, 6)), Tensor)
    assert_type(chainrule.cat([x, x], dim=1), Tensor)
    assert_type(chainrule.stack((x, x)), Tensor)
    assert_type(x.split(2, dim=1), tuple[Tensor, ...])
    assert_type(chainrule.where(x > 0.5, x, 0.0), Tensor)
    assert_type(x.masked_fill(x < 0.5, 0), Tensor)
    assert_type(chainrule.einsum("ij,kj->ik", x, x), Tensor)
    assert_type(chainrule.div(x, 2, rounding_mode="floor"), Tensor)
    assert_type(chainrule.round(x, decimals=2), Tensor)
    assert_type(ops.leaky_relu(x, 0.1), Tensor)
    assert_type(ops.logsumexp(x, dim=1), Tensor)
    assert_type(ops.tanh.name, str)


def functional() -> None:
    x, labels = chainrule.rand(2, 3), chainrule.tensor([0, 2])
    assert_type(F.cross_entropy(x, labels, label_smoothing=0.1), Tensor)
    assert_type(F.mse_loss(x, x, reduction="sum"), Tensor)
    assert_type(F.dropout(x, 0.5, training=True), Tensor)
    assert_type(F.linear(x, weight=chainrule.rand(4, 3), bias=None), Tensor)
    assert_type(F.layer_norm(x, (3,), eps=1e-6), Tensor)
    assert_type(F.gelu(x, approximate="tanh"), Tensor)
    images = chainrule.rand(1, 1, 8, 8)
    assert_type(F.conv2d(images, chainrule.rand(2, 1, 3, 3), padding="same"), Tensor)
    assert_type(F.max_pool2d(images, 2), Tensor)
    assert_type(F.max_pool2d(images, 2, return_indices=True), tuple[Tensor, Tensor])
    assert_type(F.one_hot(labels, num_classes=3), Tensor)


class Residual(nn.Module):
    """A module of the user's: its call has `forward`'s signature."""

    def __init__(self, width: int, *, dropout: float = 0.0) -> None:
        self.linear = nn.Linear(width, width, generator=np.random.default_rng(0))
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList([nn.Linear(width, width) for _ in range(2)])
        self.scale = nn.Parameter(chainrule.ones(width))

    def forward(self, x: Tensor, times: int = 1) -> Tensor:
        """Add the layers to the input, several times."""
        for _ in range(times):
            x = x + self.dropout(self.linear(self.norm(x)).tanh()) * self.scale
        for layer in self.layers:
            x = layer(x)
        return x


class TwoHeads(nn.Module):
    """A module that returns several things."""

    def __init__(self) -> None:
        self.heads = nn.ModuleDict({"mean": nn.Linear(4, 1), "spread": nn.Linear(4, 1)})

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The mean, and a positive number."""
        return self.heads["mean"](x), F.softplus(self.heads["spread"](x))


def modules() -> None:
    x = chainrule.rand(2, 4)
    assert_type(nn.Linear(4, 3)(x), Tensor)
    assert_type(nn.ReLU()(x), Tensor)
    assert_type(nn.LeakyReLU(negative_slope=0.1)(x), Tensor)
    assert_type(nn.CrossEntropyLoss(label_smoothing=0.1)(x, chainrule.tensor([0, 1])), Tensor)
    assert_type(nn.MaxPool2d(2)(chainrule.rand(1, 1, 4, 4)), Tensor)
    assert_type(nn.MultiheadAttention(4, 2, batch_first=True)(x[None], x[None], x[None])[0], Tensor)
    assert_type(nn.BatchNorm1d(4).eval()(x), Tensor)
    block = Residual(4, dropout=0.1)
    assert_type(block(x, times=2), Tensor)
    mean, spread = TwoHeads()(x)
    assert_type(mean, Tensor)
    assert_type(spread, Tensor)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), block.norm, nn.Identity())
    assert_type(model[1].weight.shape, Any)
    assert_type(model[1:], nn.Sequential)
    assert_type(model.train(), nn.Sequential)
    assert_type(model.state_dict(), dict[str, Tensor])
    for name, parameter in model.named_parameters():
        assert_type(name, str)
        assert_type(parameter, nn.Parameter)
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    nn.init.xavier_uniform_(block.linear.weight)


@operation(promote="floating")
def swish(input: Tensor) -> Tensor:
    """x σ(x)."""
    return input * ops.sigmoid(input)


@swish.derivative
def _(grad: Tensor, input: Tensor) -> Tensor:
    """σ(x) + x σ(x) (1 - σ(x))."""
    slope = ops.sigmoid(input)
    return grad * (slope + input * slope * (1 - slope))


@operation
def scaled(input: Tensor, *, by: float = 2.0) -> Tensor:
    """The input, times an option."""
    return input * by


@scaled.derivative
def _(grad: Tensor, by: float) -> Tensor:
    return grad * by


def derivatives() -> None:
    x = chainrule.rand(3, dtype=np.float64, requires_grad=True)
    assert_type(swish(x), Tensor)
    assert_type(scaled(x, by=3.0), Tensor)
    assert_type(gradcheck(swish, x), bool)
    assert_type(chainrule.grad(swish(x).sum(), [x]), tuple[Tensor, ...])

    def energy(v: Tensor) -> Tensor:
        return (v * v).sum()

    assert_type(jacobian(swish, x), Tensor)
    assert_type(hessian(energy, x), Tensor)
    assert_type(vjp(swish, x, chainrule.ones(3, dtype=np.float64)), tuple[Tensor, Tensor])
    assert_type(hvp(energy, x, x), tuple[Tensor, Tensor])

    def product(v: Tensor, w: Tensor) -> Tensor:
        return v * w

    outputs, products = vjp(product, (x, x), x.detach())
    print(outputs.shape, len(products))
    handle = x.register_hook(lambda gradient: gradient * 2)
    handle.remove()


@no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """How many are right; the decorator keeps the signature."""
    guesses: Tensor = model(images).argmax(1)
    return float((guesses == labels).float().mean())


def training_loop(epochs: int = 1) -> float:
    """The loop of the README, with a schedule and a compiled step."""
    numbers = np.random.default_rng(0)
    images = numbers.integers(0, 256, (64, 28, 28), dtype=np.uint8)
    labels = numbers.integers(0, 10, 64)
    batches = data.DataLoader(data.TensorDataset(images, labels), batch_size=32, shuffle=True)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.ReLU(), nn.Linear(16, 10))
    optimizer = optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    schedule = lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)

    @chainrule.jit
    def step(x: Tensor, y: Tensor, smoothing: float = 0.0) -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x / 255), y, label_smoothing=smoothing)
        loss.backward()
        optimizer.step()
        return loss

    loss = chainrule.tensor(0.0)
    for _ in range(epochs):
        for x, y in batches:
            loss = step(x, y, smoothing=0.1)
            assert_type(loss, Tensor)
        schedule.step()
    assert_type(step.explain(), str)
    assert_type(optimizer.step(lambda: loss), Tensor)
    assert_type(accuracy(model, chainrule.tensor(images) / 255, chainrule.tensor(labels)), float)
    with chainrule.no_grad():
        model.eval()
    return loss.item()


class Learner:
    """A compiled method keeps its signature, too."""

    def __init__(self) -> None:
        self.layer = nn.Linear(2, 1)

    @chainrule.jit
    def predict(self, x: Tensor) -> Tensor:
        """The layer's result."""
        return self.layer(x)


def files(folder: Path) -> None:
    layer = nn.Linear(2, 1)
    chainrule.save(layer.state_dict(), folder / "model.safetensors")
    state = chainrule.load(folder / "model.safetensors")
    assert_type(state, dict[str, Tensor])
    layer.load_state_dict(state)
    assert_type(Learner().predict(chainrule.rand(3, 2)), Tensor)


def training_package() -> None:
    (images, labels), _, (test_images, test_labels) = data.mnist().split()
    dataset = data.TensorDataset(chainrule.tensor(images[:64]) / 255, labels[:64])
    model = chainrule.models.mlp()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    batches = data.DataLoader(dataset, batch_size=32)
    trainer = training.Trainer(model, nn.CrossEntropyLoss(), optimizer, batches, callbacks=[training.StopOnNaN()])
    history = trainer.fit(epochs=1)
    assert_type(history, list[dict[str, Any]])
    result = training.evaluate(model, chainrule.models.get("mlp"), test_images[:10], test_labels[:10])
    assert_type(result.accuracy, float)
