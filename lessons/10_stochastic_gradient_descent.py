"""
Stochastic gradient descent
===========================

The slope of the loss is an average over all examples. Does each step need all of them?

:Lesson:`why-it-is-fast` made a gradient cheap: one pass forward, one back. But a network that reads digits learns from
50,000 images, and so far a step had to wait for all examples. This lesson asks a few at random instead, like a
pollster, and measures the cost and the gain.

Prerequisites: :lesson:`one-neuron-learns`, :lesson:`backpropagation`.
"""

import numpy as np

from chainrule.first_principles import sgd
from chainrule.first_principles.activations import sigmoid
from chainrule.first_principles.descent import Path
from chainrule.first_principles.network import Network, load_data_wrapper, side_by_side
from chainrule.lessons import show
from chainrule.plots import charts, style
from chainrule.plots import descent as pictures

# %%
# A thousand examples and one neuron
# ----------------------------------
#
# We begin with a single neuron and a single input: with one weight and one bias, everything can be drawn.
#
# Say :math:`x` is how much more or less than usual somebody practiced (0 is the usual time), and :math:`y` is 1 if the
# piece then went well and 0 if not. More practice makes success more likely, but never certain: we make up the
# examples, and let :math:`y` be 1 with the probability :math:`\sigma(2x - 1)`. The neuron predicts :math:`\hat y =
# \sigma(w x + b)`, and its loss is the mean of the squared errors, as in :lesson:`one-neuron-learns`:
#
# .. math:: C = \frac{1}{N} \sum_{i=1}^{N} (\hat y_i - y_i)^2
#    \qquad\text{so}\qquad
#    \nabla C = \frac{1}{N} \sum_{i=1}^{N} \nabla C_i
#
# :math:`\nabla C` (say "nabla C") is the gradient: the slopes in :math:`w` and in :math:`b`, as one vector.
# :math:`C_i` is the squared error of example :math:`i` alone.

random = np.random.default_rng(0)
features = random.normal(size=(1000, 1))
labels = (random.random(1000) < sigmoid(2 * features[:, 0] - 1)).astype(float)
start = np.array([-1.0, 1.5])  # w and b: a poor start, to make the descent long

full = sgd.gradient(features, labels, start)
print(f"{len(labels):,} examples, {labels.mean():.1%} of them went well")
print(f"gradient of all of them: ({full[0]:.4f}, {full[1]:.4f})")

# %%
# Ask a few
# ---------
#
# A few examples drawn at random are called a mini-batch. Their mean gradient is an estimate of the mean over all.
#
# .. math:: \nabla C_{\text{batch}} = \frac{1}{m} \sum_{i \in \text{batch}} \nabla C_i
#
# It costs :math:`m` examples, however many there are in total. Every draw gives a slightly different estimate:

for number, estimate in enumerate(sgd.sampled_gradients(features, labels, start, 10, 4, random), start=1):
    print(f"mini-batch {number} of 10 examples: ({estimate[0]:.4f}, {estimate[1]:.4f})")

# %%
# Here are 500 mini-batches of each of three sizes, a dot for each. The cross is the gradient of all 1,000 examples.

clouds = {size: sgd.sampled_gradients(features, labels, start, size, 500, random) for size in (1, 10, 100)}
figure = style.new_figure(10, 4, "What mini-batches say of the slope (cross: all)", style.LIGHT, (0.8, 0.65, 0.2, 0.9))
for axes, (size, cloud) in zip(figure.subplots(1, 3, sharex=True, sharey=True), clouds.items(), strict=True):
    heading = "1 example" if size == 1 else f"{size} examples"
    style.style_axes(axes, style.LIGHT, title=heading, x="slope in the weight", y="slope in the bias", open_frame=True)
    axes.plot(*cloud.T, ".", color=style.LIGHT.first, markersize=4, alpha=0.5)
    axes.plot(*full, "P", color=style.LIGHT.second, mec=style.LIGHT.foreground, markersize=12)
show(figure)

# %%
# Single examples lie on two curves, one for those that went well and one for those that did not. The more examples are
# averaged, the closer the dots are to the cross.

# %%
# On average they are right
# -------------------------
#
# The dots are centered on the cross: the estimate is neither too large nor too small on average.
#
# In a word, it is **unbiased**: the average over all possible mini-batches is exactly the full gradient, because every
# example is equally likely to be drawn. We can watch the average converge. The last column is how far it is from the
# full gradient, in percent of that gradient's length:

for draws in (10, 100, 1000, 10_000):
    mean = sgd.sampled_gradients(features, labels, start, 10, draws, random).mean(axis=0)
    away = np.linalg.norm(mean - full) / np.linalg.norm(full)
    print(f"mean of {draws:>6,} mini-batches of 10: ({mean[0]:.4f}, {mean[1]:.4f}), {away:6.2%} away")

# %%
# How wrong is a single one?
# --------------------------
#
# This is measured by the variance: the mean squared distance of a mini-batch's gradient from the full one.
#
# Let :math:`\sigma^2` be the variance of single examples (this :math:`\sigma` is not the sigmoid). A mean over
# :math:`m` of them, drawn without replacement (none of them twice), has
#
# .. math:: \operatorname{Var} = \frac{\sigma^2}{m} \cdot \frac{N - m}{N - 1}
#
# The first factor is the law of polls: four times as many examples give a quarter of the variance, and therefore half
# the typical error, because that is the square root of the variance. The second factor matters only when the mini-batch
# is a large part of the whole. It is 0 for :math:`m = N`: a mini-batch of all examples has no error.

sizes = [1, 4, 16, 64, 256, 900]
measured = [sgd.variance(sgd.sampled_gradients(features, labels, start, size, 2000, random)) for size in sizes]
theory = [sgd.expected_variance(features, labels, start, size) for size in sizes]
print("examples   measured      theory   ratio")
for size, one, other in zip(sizes, measured, theory, strict=True):
    print(f"{size:8d}   {one:.3e}   {other:.3e}   {one / other:.3f}")

both = {"measured": measured, "theory": theory, "σ²/m alone": [theory[0] / size for size in sizes]}
axes_labels = {"x_label": "examples in a mini-batch, m", "y_label": "variance of the gradient"}
show(charts.lines(both, sizes, title="Four times the examples, a quarter of the variance", log="xy", **axes_labels))

# %%
# Does it hold for real digits?
# -----------------------------
#
# The law holds for any examples. Here is a network of 23,860 weights and biases, and 2,000 real images.
#
# It is the network of :lesson:`the-network-reads-digits`. Next to the variance, in units of the full gradient's squared
# length, we print the **cosine** of the angle between a mini-batch's gradient and the full one: 1 for the same
# direction, 0 for a right angle, which would be useless. We measure twice: before training, and after three epochs.

training, validation, test = load_data_wrapper()
images, answers = (side_by_side(columns) for columns in zip(*training[:2000], strict=True))  # (784, 2000), (10, 2000)
network = Network([784, 30, 10], seed=0)


def digits_gradient(chosen):
    """The mean gradient over the chosen images, as one vector of 23,860 numbers."""
    slopes_b, slopes_w = network.backprop(images[:, chosen], answers[:, chosen])
    return np.concatenate([slope.ravel() for slope in (*slopes_b, *slopes_w)]) / images[:, chosen].shape[1]


def measure():
    """Print how far the gradients of mini-batches of several sizes are from that of all 2,000 images."""
    exact = digits_gradient(slice(None))
    print("images   variance / |gradient|²   variance · m   mean cosine")
    for size in (1, 4, 16, 64, 256):
        drawn = [digits_gradient(sgd.mini_batches(2000, size, random)[0]) for _ in range(200)]
        variance = np.mean([np.sum((g - exact) ** 2) for g in drawn]) / np.sum(exact**2)
        cosine = np.mean([g @ exact / np.linalg.norm(g) / np.linalg.norm(exact) for g in drawn])
        print(f"{size:6d}   {variance:22.4f}   {variance * size:12.2f}   {cosine:11.4f}")


print("new, it reads", network.evaluate(training[:2000]), "of 2,000 right")
measure()
network.SGD(training[:2000], 3, 10, 3.0, progress=lambda line: None)
print("\nafter three epochs it reads", network.evaluate(training[:2000]), "of 2,000 right")
measure()

# %%
# Variance times m hardly changes within a table, as the law says, until 256 of 2,000 is a large part of the whole. But
# the two tables are far apart. In a new network every image says the same: all outputs are too high, near ½, where nine
# of ten should be 0. A trained one has little slope left, and single images pull in all directions.

# %%
# What do we gain?
# ----------------
#
# Steps. One pass through our 1,000 examples of practice, an epoch, is a single exact step, or a hundred rough ones of
# 10 examples each.
#
# An epoch of **stochastic** (random) **gradient descent** is: shuffle the examples, split them into mini-batches, take
# one step for each,
#
# .. math:: \theta \leftarrow \theta - \eta\, \nabla C_{\text{batch}}
#
# where :math:`\theta` (theta) stands for all weights and biases together, and :math:`\eta` (eta) is the learning
# rate. Both runs below look at every example three times.


def loss(points):
    """The loss for many weights and biases at once, (..., 2) to (...)."""
    predictions = sigmoid(points[..., :1] * features[:, 0] + points[..., 1:])  # (..., 1000)
    return np.mean((predictions - labels) ** 2, axis=-1)


def walk(size, rate, epochs, seed=1):
    """The path of descent by mini-batches of a size, with the loss at each point."""
    shuffle, points = np.random.default_rng(seed), [start]
    for _ in range(epochs):
        for batch in sgd.mini_batches(len(labels), size, shuffle):
            points.append(points[-1] - rate * sgd.gradient(features[batch], labels[batch], points[-1]))
    return Path(np.array(points), loss(np.array(points)), np.diff(points, axis=0) / -rate)


exact, rough = walk(1000, rate=2.0, epochs=3), walk(10, rate=2.0, epochs=3)
for name, path in (("all 1,000 a step", exact), ("10 a step", rough)):
    print(f"{name:<17} {len(path.values) - 1:3d} steps: loss {path.values[0]:.4f} to {path.values[-1]:.4f}")

window = ((-1.6, 3.2), (-1.8, 1.9))
paths = {"10 examples a step": rough, "all 1,000 a step": exact}
figure = pictures.descent_on_contour(paths, loss, window, "Three passes over all examples")
figure.axes[0].set(xlabel="weight w", ylabel="bias b")
figure.axes[1].set_ylabel("loss C(w, b)")
for text in figure.legends[0].get_texts():
    text.set_text(text.get_text().replace("f = ", "C = "))
show(figure)

# %%
# The exact path is straight and short. The rough one staggers, but arrives. Near the bottom, where the slope is almost
# 0, only the noise is left, and it wanders around.

# %%
# Change one thing
# ----------------
#
# Before you run this: with a single example per step, at the same rate, will the loss in the second epoch be lower than
# with 10 and with 100 per step? And in the tenth?
#
# Ten epochs of single examples are 10,000 steps; of 100 examples, 100. The code prints the mean and the standard
# deviation (:math:`\sqrt{\operatorname{Var}}`) of the losses after each step of an epoch.

size = 1  # change me
for examples_a_step in (size, 10, 100):
    steps = len(labels) // examples_a_step
    second, tenth = (walk(examples_a_step, rate=2.0, epochs=epochs).values[-steps:] for epochs in (2, 10))
    print(
        f"{examples_a_step:3d} a step: second epoch {second.mean():.4f} ± {second.std():.4f}, "
        f"tenth {tenth.mean():.4f} ± {tenth.std():.4f}"
    )
print(f"the lowest loss there is: {walk(1000, rate=2.0, epochs=300).values[-1]:.4f}")

# %%
# One example per step takes the most steps and ends worst: its noise at the bottom is as large as on the slope, and it
# never settles. Ten per step is best in the second epoch. By the tenth, 100 per step has caught up and is less noisy.
# That is why people use mini-batches, neither one example nor all, and often reduce the learning rate toward the end.

# %%
# Read next
# ---------
#
# :Lesson:`the-network-reads-digits` takes exactly this recipe, with mini-batches of 10, and lets a network learn to
# read.
#
# The functions used here are in ``chainrule.first_principles.sgd``, and the factor for drawing without replacement is
# from Cochran, Sampling Techniques (1977), chapter 2. For real training, ``chainrule.data.DataLoader`` shuffles and
# splits the data, and ``chainrule.optim.lr_scheduler`` reduces the learning rate.
