"""python torch_recipe.py train|99 SEED: like our_recipe.py, in fast PyTorch.

Images are tensors in memory, batches are selected by index, the optimizer is fused, and convolutions use channels_last.
"""

import json
import sys
import time

import numpy as np
import torch
from recipes import recipe_for
from torch.nn.functional import cross_entropy

from chainrule import models
from chainrule.torch import to_torch

name, seed = sys.argv[1], int(sys.argv[2])
model, recipe, *parts = recipe_for(name)
(images, labels), judge, test = [
    (torch.tensor(np.asarray(x)).float() / 255, torch.tensor(np.asarray(y)).long()) for x, y in parts
]
net = to_torch(models.build(model, generator=np.random.default_rng(seed)))  # the same initial weights
if model != "mlp":
    net = net.to(memory_format=torch.channels_last)
kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimizer]
optimizer = kind(net.parameters(), recipe.lr, weight_decay=recipe.weight_decay, fused=True)
steps = -(-len(images) // recipe.batch_size)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.lr, total_steps=recipe.epochs * steps + 1)


def accuracy(images: torch.Tensor, labels: torch.Tensor) -> float:
    """The fraction of images read right."""
    net.eval()
    with torch.inference_mode():
        right = [
            (net(x).argmax(1) == y).float().sum() for x, y in zip(images.split(1000), labels.split(1000), strict=True)
        ]
    net.train()
    return float(sum(right)) / len(labels)


seconds, accuracies = [], []
for _ in range(recipe.epochs):
    started = time.perf_counter()
    for chosen in torch.randperm(len(images)).split(recipe.batch_size):
        optimizer.zero_grad()
        cross_entropy(net(images[chosen]), labels[chosen]).backward()
        optimizer.step()
        schedule.step()
    seconds.append(time.perf_counter() - started)
    accuracies.append(accuracy(*judge))
answer = {"seconds": seconds, "accuracies": accuracies, "version": torch.__version__}
print(json.dumps(answer | {"test_accuracy": accuracy(*test)}))
