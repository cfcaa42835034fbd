"""python our_recipe.py 99 SEED [EPOCHS]: train on MNIST by a recipe from `recipes`.

Prints seconds and accuracies by epoch. The seconds include training and compilation, but not evaluation.
"""

import json
import sys
import time

from recipes import recipe_for

import chainrule
from chainrule import data, models, optim
from chainrule.training.evaluation import evaluate
from chainrule.training.trainer import Trainer

import numpy as np  # isort: skip  # after chainrule, which configures its BLAS threads

name, seed = sys.argv[1], int(sys.argv[2])
model, recipe, learn, judge, _ = recipe_for(name)
network = models.build(model, generator=np.random.default_rng(seed))
dataset = data.TensorDataset(learn.images, learn.labels.astype(np.int64), scale=models.PIXEL_SCALE)
loader = data.DataLoader(dataset, recipe.batch_size, shuffle=True, generator=np.random.default_rng(seed + 1000))
optimizer = optim.Adam(network.parameters(), recipe.lr)
schedule = optim.lr_scheduler.OneCycleLR(optimizer, recipe.lr, total_steps=recipe.epochs * len(loader) + 1)
trainer = Trainer(network, models.get(model).loss, optimizer, loader, scheduler=schedule, compiled=True)
seconds, accuracies = [], []
for epoch in range(int(sys.argv[3]) if len(sys.argv) > 3 else recipe.epochs):
    started = time.perf_counter()
    trainer.fit(epoch + 1)
    seconds.append(time.perf_counter() - started)
    accuracies.append(evaluate(network, models.get(model), *judge).accuracy)
print(json.dumps({"seconds": seconds, "accuracies": accuracies, "version": chainrule.__version__}))
