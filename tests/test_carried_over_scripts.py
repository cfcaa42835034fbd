"""Scripts as users of PyTorch write them, run with PyTorch's imports and with ours: the losses are the same.

The calls are those of the article's examples and of the two repositories that it links to; docs/from-pytorch.md lists the
lines that change. Weights start from the same numbers in both, which neither library draws.
"""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'chainrule[torch]'")

IMPORTS = {
    "torch": """
import torch
import torch.nn.functional as F
from torch import nn, optim
from torch.nn.functional import mse_loss
from torch.optim import SGD, Adam
from torch.nn import Linear, ReLU, Sequential
from torch.utils.data import DataLoader, TensorDataset
from torch import tensor as Tensor
""",
    "chainrule": """
import chainrule as torch
import chainrule.nn.functional as F
from chainrule import nn, optim
from chainrule.nn.functional import mse_loss
from chainrule.optim import SGD, Adam
from chainrule.nn import Linear, ReLU, Sequential
from chainrule.data import DataLoader, TensorDataset
from chainrule import Tensor
""",
}

CLASSIFIER = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(784, 12)
        self.relu = nn.ReLU()
        self.second = nn.Linear(12, 10)

    def forward(self, x):
        return self.second(self.relu(self.first(x)))

model = Net()
start_from_given_numbers(model)
loss_function = nn.CrossEntropyLoss()
optimizer = optim.Adam(model.parameters(), lr=0.01)
train_loader = DataLoader(TensorDataset(torch.tensor(IMAGES).view(-1, 784), torch.tensor(LABELS)), batch_size=20)
for epoch in range(3):
    for inputs, targets in train_loader:
        optimizer.zero_grad()
        loss = loss_function(model(inputs), targets)
        loss.backward()
        optimizer.step()
    losses.append(loss.item())
with torch.no_grad():
    probabilities = torch.softmax(model(inputs), dim=1)
    predictions = torch.argmax(probabilities, dim=1)
losses += [probabilities.max().item(), predictions.sum().item(), (predictions == targets).sum().item()]
print(f"Predicted: {predictions}, loss {loss.item():.4f}")
"""

CONVOLUTIONS = """
class ImageClassifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(
            nn.Conv2d(1, 4, kernel_size=(3, 3), padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=(2, 2)),
            nn.Conv2d(4, 6, kernel_size=(3, 3), padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=(2, 2)),
            nn.Flatten(),
            nn.Linear(6 * 7 * 7, 10),
        )

    def forward(self, x):
        return self.model(x)

def evaluate(model, loader):
    model.eval()
    correct, total = 0, 0
    with torch.no_grad():
        for x, y in loader:
            _, predicted = torch.max(model(x), 1)
            total += y.size(0)
            correct += (predicted == y).sum().item()
    model.train()
    return 100 * correct / total

classifier = ImageClassifier()
start_from_given_numbers(classifier)
optimizer = Adam(classifier.parameters(), lr=0.001)
loss_function = nn.CrossEntropyLoss()
loader = DataLoader(TensorDataset(torch.tensor(IMAGES), torch.tensor(LABELS)), batch_size=20, shuffle=False)
classifier.train()
for epoch in range(2):
    total_loss = 0.0
    for x, y in loader:
        loss = loss_function(classifier(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total_loss += loss.item()
    losses.append(total_loss / len(loader))
losses.append(evaluate(classifier, loader))
torch.save(classifier.state_dict(), FOLDER / "state.file")
again = ImageClassifier()
again.load_state_dict(torch.load(FOLDER / "state.file"))
again.eval()
image = torch.tensor(IMAGES[0]).unsqueeze(0)
with torch.no_grad():
    output = torch.softmax(again(image), dim=1)
for digit, value in enumerate(output.flatten().numpy()):
    losses.append(float(value))
"""

LAYERS_BY_THEMSELVES = """
first, relu, second = Linear(784, 12), ReLU(), Linear(12, 10)
start_from_given_numbers(first)
start_from_given_numbers(second)
optimizer = SGD([*first.parameters(), *second.parameters()], lr=0.01, momentum=0.9)
targets = np.zeros((len(LABELS), 10), np.float32)
targets[np.arange(len(LABELS)), LABELS] = 1.0
pixels = IMAGES.reshape(-1, 784)
for epoch in range(3):
    epoch_loss = 0.0
    for start in range(0, len(pixels), 20):
        inputs = Tensor(pixels[start : start + 20], requires_grad=False)
        wanted = Tensor(targets[start : start + 20], requires_grad=False)
        loss = F.cross_entropy(second(relu(first(inputs))), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        epoch_loss += float(loss.data)
    losses.append(epoch_loss)
scores = second(relu(first(Tensor(pixels))))
losses.append(float(np.mean(np.argmax(np.asarray(scores.data), axis=1) == LABELS)))
"""

LINE = """
x_values = np.linspace(0, 1, 50, dtype=np.float32).reshape(-1, 1)
x, y = Tensor(x_values), Tensor(2 * x_values + 1)
model = Sequential(Linear(1, 1))
start_from_given_numbers(model)
optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
for epoch in range(100):
    loss = mse_loss(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(float(loss.data))
"""


def run(script: str, library: str, folder) -> list[float]:
    """The numbers that a script collects, with one library's imports."""
    rng = np.random.default_rng(5)
    names = {
        "np": np,
        "losses": [],
        "FOLDER": folder,
        "IMAGES": rng.random((60, 1, 28, 28), dtype=np.float32),
        "LABELS": np.arange(60) * 7 % 10,
        "start_from_given_numbers": start,
    }
    exec(compile(IMPORTS[library] + script, f"<{library}>", "exec"), names)  # noqa: S102  # written above
    return names["losses"]


def start(model) -> None:
    """Weights that depend on their shape alone."""
    state = {}
    for name, value in model.state_dict().items():
        rng = np.random.default_rng(value.shape[0])
        numbers = rng.uniform(-0.1, 0.1, tuple(value.shape)).astype(np.float32)
        state[name] = torch.from_numpy(numbers) if isinstance(value, torch.Tensor) else numbers
    model.load_state_dict(state)


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(CLASSIFIER, id="classifier"),
        pytest.param(CONVOLUTIONS, id="convolutions"),
        pytest.param(LAYERS_BY_THEMSELVES, id="layers"),
        pytest.param(LINE, id="line"),
    ],
)
def test_the_same_numbers_with_other_imports(script, tmp_path, capsys):
    ours, theirs = (run(script, library, tmp_path) for library in ("chainrule", "torch"))
    assert len(ours) == len(theirs) > 3
    np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=1e-6)
    if script in (CLASSIFIER, LINE):
        assert ours[0] > ours[2]
