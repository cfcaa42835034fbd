"""One epoch of the article's PyTorch program, with a 784-128-10 network; prints the seconds of the epoch.

MNIST's images are provided like by torchvision's data set: one PIL image at a time, passed through both transforms.
They come from chainrule's package, so nothing is downloaded, and are the 50,000 that `chainrule train` uses. If
torchvision is not installed, or not compatible with this PyTorch, a function replaces its transforms.
"""

import json
import time

import numpy as np
import torch
from PIL import Image
from torch import nn, optim
from torch.utils.data import DataLoader, Dataset

from chainrule import data

try:
    from torchvision import transforms

    source = "torchvision"
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
except (ImportError, RuntimeError):  # RuntimeError if torchvision's binary is incompatible with this PyTorch
    source = "reimplemented, because torchvision is not available"

    def transform(picture: Image.Image) -> torch.Tensor:
        """ToTensor and Normalize."""
        x = torch.from_numpy(np.array(picture))[None].to(torch.float32).div(255)  # (1, 28, 28)
        mean, deviation = torch.tensor([0.1307])[:, None, None], torch.tensor([0.3081])[:, None, None]
        return x.sub_(mean).div_(deviation)


class Pictures(Dataset):
    """MNIST, one transformed picture at a time."""

    def __init__(self) -> None:
        part = data.mnist().split().train
        self.images, self.labels = torch.tensor(np.asarray(part.images)), torch.tensor(np.asarray(part.labels))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return transform(Image.fromarray(self.images[index].numpy())), int(self.labels[index])


train_loader = DataLoader(dataset=Pictures(), batch_size=64, shuffle=True)
model = nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
loss = nn.CrossEntropyLoss()
optimizer = optim.Adam(model.parameters(), lr=0.01)
started = time.perf_counter()
for xb, yb in train_loader:
    optimizer.zero_grad()
    final_loss = loss(model(xb), yb)
    final_loss.backward()
    optimizer.step()
print(json.dumps({"seconds": time.perf_counter() - started, "transforms": source}))
