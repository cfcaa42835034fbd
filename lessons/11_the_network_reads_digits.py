"""
The network from scratch reads digits
=====================================

Nobody can write down what makes a 9 a nine. Can 23,860 numbers learn it from examples, with nothing but the chain rule?

All the pieces are there: neurons in layers (:lesson:`neurons`), a loss that says how wrong they are
(:lesson:`one-neuron-learns`), four equations for its slopes (:lesson:`backpropagation`), and steps by mini-batches
(:lesson:`stochastic-gradient-descent`). Together they fit on one page of NumPy, ``chainrule.first_principles.network``.
This lesson trains it on real handwriting, opens it up, and looks at what it gets wrong.

Prerequisites: :lesson:`backpropagation`, :lesson:`stochastic-gradient-descent`.
"""

import numpy as np

from chainrule.first_principles.activations import sigmoid
from chainrule.first_principles.network import Network, load_data_wrapper, side_by_side
from chainrule.lessons import show
from chainrule.plots import charts, evaluation, inside, style

# %%
# The digits
# ----------
#
# MNIST is 70,000 handwritten digits, each an image of 28 × 28 gray values. They are split into three sets, for three
# purposes.
#
# The network learns from the **training** images. The **validation** images are for choosing settings. The **test**
# images are used only once, at the end, for an honest grade: an exam with questions known in advance would measure
# nothing. Each example is a pair: 784 pixels, from 0 for paper to 1 for ink, in a column; and the answer, as ten
# numbers, 1 at the right digit and 0 elsewhere.

training, validation, test = load_data_wrapper()
x, y = training[0]
print(f"{len(training):,} training, {len(validation):,} validation and {len(test):,} test examples")
print(f"an example: pixels {x.shape}, answer {y.shape}, which is {y[:, 0].astype(int)}: a {y.argmax()}")

first = training[:20]
pictures = [pixels.reshape(28, 28) for pixels, _ in first]
captions = [str(answer.argmax()) for _, answer in first]
show(style.sheet(pictures, captions, "The first twenty of 50,000", style.LIGHT, columns=10, side=0.8))

# %%
# Before it has learned anything
# ------------------------------
#
# Its weights are small random numbers, and its biases are 0. There are ten possible answers, so it gets about a tenth
# right by luck.
#
# It has two layers of neurons, 30 hidden ones and 10 outputs,
#
# .. math:: a^{(1)} = \sigma(W^{(1)} x + b^{(1)}), \qquad a^{(2)} = \sigma(W^{(2)} a^{(1)} + b^{(2)})
#
# and the output neuron with the largest activation is the answer. The cost of an example is half the sum of the squared
# errors, :math:`C = \tfrac12 \sum_j (a^{(2)}_j - y_j)^2`. (The layer numbers stand in parentheses, so that
# :math:`a^{(2)}` is not read as a square.)

network = Network([784, 30, 10], seed=0)
print(f"weights and biases: {sum(p.size for p in network.weights + network.biases):,}")
new = network.evaluate(validation)
print(f"new, it reads {new} of {len(validation):,} validation images right")

# %%
# It learns
# ---------
#
# Each epoch shuffles the 50,000 images, takes them ten at a time, and makes 5,000 small steps downhill.
#
# The learning rate is 3. That is large because the sigmoid's slope, which multiplies every gradient, is never above
# ¼. The epochs are counted from 0, as in Python.

correct = network.SGD(training, 8, mini_batch_size=10, learning_rate=3.0, test_data=validation)

misread = {"validation": 100 - np.array([new, *correct]) / len(validation) * 100}
labels = {"x_label": "epochs that it has learned for", "y_label": "misread (%), logarithmic"}
show(charts.lines(misread, range(9), title="Most of it is learned in the first epoch", log="y", **labels))

# %%
# The first epoch takes it from one in ten to more than nine in ten. After that, progress is slower, and sometimes the
# accuracy (the fraction read right) falls: steps by mini-batches are noisy. We draw the *mistakes*, on a logarithmic
# axis, on which every halving is a step of the same height: on an axis from 0 to 100 everything after the first epoch
# would be a flat line.

on_training = network.evaluate([(x, int(y.argmax())) for x, y in training]) / len(training)
print(f"training images read right:   {on_training:.2%}")
print(f"validation images read right: {correct[-1] / len(validation):.2%}")

# %%
# It is better on the images that it learned from, because part of what it learned is about these particular images and
# not about digits. This is why the other sets are kept separate. The difference is called the **generalization gap**.
# It is small here. If training went on until the validation images were read *worse* from epoch to epoch while the
# training images were read better, the network would be **overfitting**.

# %%
# One image on its way through
# ----------------------------
#
# Follow a single image that it has not learned from: 784 pixels activate 30 hidden neurons, and these ten outputs.
#
# We take the first validation image that it gets wrong, because there is more to see.

x, digit = next((x, digit) for x, digit in validation if network.forward(x).argmax() != digit)
hidden = sigmoid(network.weights[0] @ x + network.biases[0])[:, 0]  # (30, 784) @ (784, 1) + (30, 1), as (30,)
outputs = network.forward(x)[:, 0]  # (10,)
with np.printoptions(precision=4, suppress=True):
    print(f"outputs for a {digit}: {outputs}")
print(f"the largest is output {outputs.argmax()}; together they add up to {outputs.sum():.4f}")

layers = [("pixels", x.reshape(28, 28)), ("hidden layer", hidden), ("outputs", outputs)]
show(inside.activations(layers, title=f"A {digit} goes through the network"))

# %%
# The outputs do not add up to 1, and nothing requires it: each is a separate neuron that says how confident it is of
# its digit. They are activations, not probabilities. :Lesson:`four-ways` still uses them. In :lesson:`learning-better`
# the ten outputs learn to add up to 1, as probabilities do. (Whether a network that says 90% is right nine times out of
# ten is another question; the answer is called its **calibration**, and it has to be measured.)

# %%
# What do the hidden neurons look for?
# ------------------------------------
#
# A hidden neuron has one weight for each pixel, so its weights can be shown as an image of 28 × 28.
#
# Bright pixels have positive weights: ink here activates the neuron. Dark pixels have negative weights. The captions
# name the digit whose output has the largest positive weight for the neuron, and the one with the largest negative
# weight.

output_weights = network.weights[1]  # (10, 30): one row per output, one column per hidden neuron
captions = [f"for {column.argmax()}, against {column.argmin()}" for column in output_weights.T]
show(inside.weight_images(network.weights[0], captions=captions, title="What 30 hidden neurons look for"))

edge = np.abs(network.weights[0].reshape(30, 28, 28)[:, 0]).mean()  # the top row, where there is never ink
middle = np.abs(network.weights[0].reshape(30, 28, 28)[:, 14]).mean()
initial = np.sqrt(2 / np.pi / 784)  # the mean of |w|, for normal w with variance 1/784
print(f"mean size of the weights: in the top row {edge:.4f}, in the middle {middle:.4f}; when new {initial:.4f}")

# %%
# They are not neat strokes and loops. Each is a patchwork that is useful only together with the other 29. Along the
# border, where there is never any ink, the weights keep their initial values: the gradient is error times input, and
# the input is 0.

# %%
# The exam
# --------
#
# Now, once, the test images.
#
# The figure counts how often each digit was read as each other; right answers are on the diagonal. The column
# **recall** is the fraction of a digit's images that were read right.

pixels = side_by_side([x for x, _ in test])  # (784, 10000)
digits = np.array([digit for _, digit in test])  # (10000,)
activations = network.forward(pixels)  # (10, 10000)
read, sure = activations.argmax(axis=0), activations.max(axis=0)
print(f"read right: {np.sum(read == digits)} of {len(digits):,}, {np.mean(read == digits):.2%}")

counts = np.zeros((10, 10), int)
np.add.at(counts, (digits, read), 1)
show(evaluation.confusion_matrix(counts))

wrong = counts * ~np.eye(10, dtype=bool)
for index in np.argsort(-wrong, axis=None, kind="stable")[:3]:
    true, predicted = np.unravel_index(index, wrong.shape)
    print(f"{wrong[true, predicted]} times a {true} was read as a {predicted}")

# %%
# The worst mistakes
# ------------------
#
# Which errors is it most confident of? They are the most instructive ones, and some of them are hard for us, too.
#
# The percentage is the activation of the winning output.

show(evaluation.mistakes(pixels.T.reshape(-1, 28, 28), digits, read, sure, count=20))

# %%
# Change one thing
# ----------------
#
# Before you run this: with a learning rate of 0.01 instead of 3, how far does it get in two epochs of the same
# mini-batches?
#
# To keep it short, these networks learn from the first 10,000 images. After 0.01, try 30 and 100.

rate = 0.01  # change me
for eta in (3.0, rate):
    twin = Network([784, 30, 10], seed=0)
    reads = twin.SGD(training[:10_000], 2, 10, eta, test_data=validation, progress=lambda line: None)
    print(f"learning rate {eta:g}: {reads[0]} right after one epoch, {reads[1]} after two")

seven = Network([784, 30, 10], seed=0)
seven.SGD(training[:70], 1, 10, 3.0, progress=lambda line: None)
print(f"learning rate 3: {seven.evaluate(validation)} right after seven steps")

# %%
# At 0.01 the steps are 300 times shorter, so 2,000 of them are together about as long as seven steps at 3. But they are
# the better steps: each looks at ten other images and starts from where the last one arrived, so the noise of single
# mini-batches averages out, and the network reads far more than after seven long ones. It is still learning, only
# slowly. Far above 3 the steps are so long that the sums land where the sigmoid is flat, the slopes vanish, and the
# network is stuck.

# %%
# Read next
# ---------
#
# :Lesson:`four-ways` writes this same network three more times, with the engine, compiled, and in PyTorch, and gets the
# same numbers.
#
# The module used here is ``chainrule.first_principles.network``. Its settings are those of Nielsen, Neural Networks and
# Deep Learning (2015), chapter 1, where the network is trained for 30 epochs.
