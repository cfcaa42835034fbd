"""The training accuracy of an epoch: counted in the batches of its steps, before each update."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule import nn, optim
from chainrule.data import DataLoader, TensorDataset
from chainrule.plots import training as plots
from chainrule.training import Callback, Trainer

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.normal(size=(52, 6)).astype(np.float32)
LABELS = (IMAGES @ RANDOM.normal(size=(6, 3))).argmax(axis=1)


def count_correct(outputs, labels):
    return (outputs.argmax(1) == labels).sum()


def trainer(callbacks=(), count=count_correct, **options):
    """Four batches an epoch, the last of 4 examples."""
    network = nn.Sequential(
        nn.Linear(6, 8, generator=np.random.default_rng(1)),
        nn.Tanh(),
        nn.Linear(8, 3, generator=np.random.default_rng(2)),
    )
    loader = DataLoader(TensorDataset(IMAGES, LABELS), 16, shuffle=True, generator=np.random.default_rng(3))
    optimizer = optim.SGD(network.parameters(), lr=0.3)
    return Trainer(
        network, nn.CrossEntropyLoss(), optimizer, loader, count_correct=count, callbacks=callbacks, **options
    )


def by_a_plain_loop(epochs):
    """The fraction of right answers in each epoch, by a loop without a trainer."""
    twin, accuracies = trainer(), []
    for _ in range(epochs):
        right = 0
        for images, labels in twin.loader:
            scores = twin.network(images)
            right += int(np.sum(np.argmax(scores.numpy(), axis=1) == labels.numpy()))
            twin.optimizer.zero_grad()
            nn.functional.cross_entropy(scores, labels).backward()
            twin.optimizer.step()
        accuracies.append(right / len(IMAGES))
    return accuracies


@pytest.mark.parametrize(
    "options",
    [{}, {"compiled": True}, {"shards": 4}, {"shards": 2, "compiled": True}, {"accumulate": 2}],
    ids=str,
)
def test_it_is_that_of_the_batches_before_their_updates(options):
    history = trainer(**options).fit(3)
    accuracies = [record["train_accuracy"] for record in history]
    assert accuracies == by_a_plain_loop(3)
    assert accuracies[0] < accuracies[2]
    assert list(history[0])[:3] == ["epoch", "train_loss", "train_accuracy"]


@pytest.mark.parametrize("options", [{}, {"compiled": True}, {"shards": 4}], ids=str)
def test_counting_changes_nothing_else(options):
    counting, other = trainer(**options), trainer(count=None, **options)
    losses = [[record["train_loss"] for record in each.fit(2)] for each in (counting, other)]
    assert losses[0] == losses[1]
    for a, b in zip(counting.network.parameters(), other.network.parameters(), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert not [record for record in other.history if "train_accuracy" in record]


class Save(Callback):
    """Keeps the state after some step, and stops there."""

    def __init__(self, step):
        self.step, self.state = step, None

    def on_step(self, trainer):
        if trainer.global_step == self.step:
            self.state = trainer.state_dict()
            self.state["network"] = {name: tensor.clone() for name, tensor in self.state["network"].items()}
            trainer.interrupt = True


def interrupted(step):
    """A state within an epoch."""
    save = Save(step)
    with pytest.raises(KeyboardInterrupt):
        trainer([save]).fit(3)
    return save.state


@pytest.mark.parametrize("step", [1, 4, 6])
def test_a_resumed_epoch_counts_what_was_done_before(step):
    resumed = trainer()
    resumed.load_state_dict(interrupted(step))
    assert [record["train_accuracy"] for record in resumed.fit(3)] == by_a_plain_loop(3)


def test_a_state_of_a_version_that_did_not_count_begins_with_the_next_epoch():
    state = interrupted(6)  # in the second epoch
    del state["progress"]["correct"]
    for record in state["progress"]["history"]:
        del record["train_accuracy"]
    resumed = trainer()
    resumed.load_state_dict(state)
    first, second, third = resumed.fit(3)
    assert "train_accuracy" not in first | second
    assert third["train_accuracy"] == by_a_plain_loop(3)[2]


def test_the_curves_have_both_accuracies():
    history = [
        {"epoch": e, "train_loss": 1 / e, "train_accuracy": 1 - 0.2 / e, "validation_accuracy": 1 - 0.3 / e}
        for e in (1, 2, 3)
    ]
    loss, accuracy = plots.curves(history).axes
    lines = {line.get_label(): line.get_ydata() for line in accuracy.get_lines()}
    np.testing.assert_allclose(lines["training"], [80, 90, 280 / 3])
    np.testing.assert_allclose(lines["validation"], [70, 85, 90])
    assert loss.get_lines()[0].get_label() == "training"
