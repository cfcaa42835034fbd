"""A playground's run as a script, which takes the same steps and prints the same numbers as the page shows."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from chainrule.studio.playground.setup import ACTIVATIONS, DATA, FEATURES, OPTIMIZERS

if TYPE_CHECKING:
    from chainrule.studio.playground.run import PlaygroundRun

_MAX_LINE = 100  # characters of a line of numbers


def script(run: PlaygroundRun, steps: int) -> str:
    """Return a script that repeats the run up to a step."""
    parts = [_head(run), _data(run), _model(run), _training(run, steps), _report(run)]
    return "\n".join(parts)


def _head(run: PlaygroundRun) -> str:
    toys = "from chainrule.data import toys\n" if DATA[run.setup.data].function else ""
    return f"import numpy as np\n\nimport chainrule\nfrom chainrule import nn, optim\n{toys}"


def _data(run: PlaygroundRun) -> str:
    setup, data = run.setup, DATA[run.setup.data]
    targets = "labels" if data.has_classes else "values"
    lines = ["# The data: points in the plane, and the network's inputs"]
    lines.append(f"generator = np.random.default_rng({setup.seed})")
    if data.function:
        classes = f"classes={setup.classes}, " if data.has_class_count else ""
        call = f"toys.{data.function.__name__}({setup.count}, {classes}noise={setup.noise!r}, generator=generator)"
        lines.append(f"points, {targets} = {call}")
    else:
        kind = "int64" if data.has_classes else "float32"
        lines += ["points = np.array([", *_lines([f"[{x1:.4f}, {x2:.4f}]" for x1, x2 in run.points.tolist()])]
        lines.append("], np.float32)")
        texts = [str(label) if data.has_classes else f"{label:.4f}" for label in run.targets.tolist()]
        lines += [f"{targets} = np.array([", *_lines(texts), f"], np.{kind})"]
    end = setup.training_count(len(run.points))
    features = ", ".join(FEATURES[name].code for name in setup.features)
    lines += [
        "order = generator.permutation(len(points))",
        f"train, validation = order[:{end}], order[{end}:]",
        "x1, x2 = points.T",
        f"inputs = chainrule.from_numpy(np.stack([{features}], axis=1))",
    ]
    values = targets if setup.outputs > 1 else f"{targets}.astype(np.float32)[:, None]"
    lines.append(f"targets = chainrule.from_numpy({values})")
    return "\n".join(lines) + "\n"


def _lines(texts: list[str]) -> list[str]:
    rows, row = [], "   "
    for text in texts:
        if len(row) + len(text) + 2 > _MAX_LINE:
            rows.append(row)
            row = "   "
        row += f" {text},"
    return [*rows, row]


def _model(run: PlaygroundRun) -> str:
    setup = run.setup
    widths = [len(setup.features), *setup.layers, setup.outputs]
    lines = ["# The network", f"generator = np.random.default_rng({setup.start})", "model = nn.Sequential("]
    for number, (fan_in, fan_out) in enumerate(itertools.pairwise(widths)):
        activation = f" nn.{ACTIVATIONS[setup.activation]}()," if number < len(setup.layers) else ""
        lines.append(f"    nn.Linear({fan_in}, {fan_out}, generator=generator),{activation}")
    name, options = OPTIMIZERS[setup.optimizer]
    arguments = {"lr": setup.rate, "weight_decay": setup.decay, **options}
    text = ", ".join(f"{option}={value!r}" for option, value in arguments.items())
    lines += [
        ")",
        f"optimizer = optim.{name}(model.parameters(), {text})",
        f"loss_function = nn.{type(run.loss_function).__name__}()",
    ]
    return "\n".join(lines) + "\n"


def _training(run: PlaygroundRun, steps: int) -> str:
    count = run.steps_per_epoch
    return f"""
@chainrule.jit
def train_step(inputs, targets):
    optimizer.zero_grad()
    loss = loss_function(model(inputs), targets)
    loss.backward()
    optimizer.step()
    return loss


for step in range({steps}):
    if step % {count} == 0:  # a new epoch
        order = generator.permutation(train)
    start = step % {count} * {run.batch}
    batch = order[start : start + {run.batch}]
    train_step(inputs[batch], targets[batch])
"""


def _report(run: PlaygroundRun) -> str:
    accuracy = ""
    if DATA[run.setup.data].has_classes:
        guess = "answers.numpy().argmax(axis=1)" if run.setup.outputs > 1 else "answers.numpy()[:, 0] > 0"
        accuracy = f"""
    accuracy = np.mean(({guess}) == labels[indices])
    print(f"{{name}} accuracy {{accuracy:.1%}}")"""
    parts = '("training", train)'
    parts += ', ("validation", validation)' if len(run.validation_indices) else ","
    return f"""
for name, indices in ({parts}):
    with chainrule.no_grad():
        answers = model(inputs[indices])
        loss = loss_function(answers, targets[indices])
    print(f"{{name}} loss {{loss.item():.4f}}"){accuracy}
print("weights of the first layer:", model[0].weight.numpy().round(4).tolist())
"""
