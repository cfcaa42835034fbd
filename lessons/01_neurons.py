"""
Neurons, weights and biases
===========================

A neuron is said to "look for" something in a picture. How can a handful of numbers look for anything?

The answer needs no more than a straight line, one bend, and a little patience with sums. We build one neuron by hand,
let it look for an upright stroke, put several of them side by side, and count how many numbers a network that reads
digits has to find.

Prerequisites: none.
"""

import numpy as np

from chainrule.first_principles.activations import sigmoid
from chainrule.lessons import show
from chainrule.plots import charts, inside, style

# %%
# One input: a straight line
# --------------------------
#
# With a single input, a neuron begins as the line y = m x + c: the weight is its slope, the bias its height at zero.
#
# In the notation of neural networks the line is
#
# .. math:: z = w x + b
#
# where :math:`x` is the input, :math:`w` the **weight** and :math:`b` the **bias**. The weight says how much the input
# matters, and in which direction: for each step of :math:`x` to the right, :math:`z` rises by :math:`w`. The bias is
# there even without input: at :math:`x = 0` only :math:`b` is left.

x = np.array([0.0, 1.0, 2.0])
for weight, bias in ((2.0, 0.0), (-1.0, 0.0), (2.0, -3.0)):
    print(f"w = {weight:4.1f}, b = {bias:4.1f}:  x = 0, 1, 2 gives z = {weight * x + bias}")

# %%
# Many inputs: a weighted sum
# ---------------------------
#
# A picture is many numbers at once, one per pixel. Each pixel gets its own weight, and the products are added up.
#
# .. math:: z = w_1 x_1 + w_2 x_2 + \dots + w_n x_n + b = \sum_i w_i x_i + b
#
# Here are pictures of 3 × 3 pixels, 0 for paper and 1 for ink, and nine weights: 2 in the middle column, -1 beside it.
# Ink in the middle column is evidence *for* an upright stroke, ink anywhere else *against* it. That is all that
# "looking for" means.
#
# The sign :math:`\sum` (a capital sigma) says "add up", here for all :math:`i` from 1 to :math:`n`. In Python ``weights
# @ picture`` is this sum: ``@`` goes along two lists of numbers, multiplies them pair by pair, and adds up the
# products. ``zip`` goes along two lists side by side (``strict=True`` insists that they are equally long), and
# ``np.ravel`` lays the rows of a picture end to end.

pictures = {
    "upright stroke": [[0, 1, 0], [0, 1, 0], [0, 1, 0]],
    "a pixel missing": [[0, 1, 0], [0, 1, 0], [0, 0, 0]],
    "in gray": [[0, 0.5, 0], [0, 0.5, 0], [0, 0.5, 0]],
    "flat stroke": [[0, 0, 0], [1, 1, 1], [0, 0, 0]],
    "all ink": [[1, 1, 1], [1, 1, 1], [1, 1, 1]],
    "empty paper": [[0, 0, 0], [0, 0, 0], [0, 0, 0]],
}
inputs = np.array([np.ravel(picture) for picture in pictures.values()], float)  # (6, 9): one row per picture
weights = np.array([-1.0, 2.0, -1.0, -1.0, 2.0, -1.0, -1.0, 2.0, -1.0])  # (9,)

for name, picture in zip(pictures, inputs, strict=True):
    terms = [f"{w * pixel:+g}" for w, pixel in zip(weights, picture, strict=True) if pixel]
    print(f"{name:<16} Σ w x = {' '.join(terms) or '0':<26} = {weights @ picture:4.1f}")

sums = [f"{name}\nΣ w x = {weights @ picture:g}" for name, picture in zip(pictures, inputs, strict=True)]
show(style.sheet(inputs.reshape(-1, 3, 3), sums, "How upright is it?", style.LIGHT, columns=3, limits=(-0.15, 1)))

# %%
# All ink scores no better than empty paper: the evidence of the middle column is canceled by the other two.

# %%
# From a sum to an answer
# -----------------------
#
# A sum can be any number. To read it as no or yes, we bend it into the range from 0 to 1 with the sigmoid.
#
# .. math:: \sigma(z) = \frac{1}{1 + e^{-z}}
#
# Here :math:`e` is a fixed number, 2.71828..., and :math:`e^{-z}` a power of it: 1 at :math:`z = 0`, and divided by
# :math:`e` for each step of :math:`z` to the right. So on the right almost nothing is added to the 1, and on the left a
# great deal. (Any number above 1 would bend the sum in this way. With :math:`e` slopes come out simplest, as
# :lesson:`the-chain-rule` shows.)
#
# A very negative :math:`z` becomes almost 0, a very positive one almost 1, and 0 becomes exactly one half. Such a
# function is called an **activation function**, and its result is the neuron's **activation**.

for z in (-5, -1, 0, 1, 5):
    power = np.exp(-z)
    print(f"z = {z:2}: e to the power of {-z:2} is {power:8.4f}, σ(z) = 1 / (1 + {power:.4f}) = {1 / (1 + power):.4f}")

curves = {
    "w = 1, b = 0": sigmoid(np.linspace(-6, 6, 121)),
    "w = 3, b = 0\n(steeper)": sigmoid(3 * np.linspace(-6, 6, 121)),
    "w = 1, b = -3\n(later)": sigmoid(np.linspace(-6, 6, 121) - 3),
}
labels = {"x_label": "input x", "y_label": "activation σ(w x + b)"}
show(charts.lines(curves, np.linspace(-6, 6, 121), title="The weight makes it steep, the bias moves it", **labels))

# %%
# The bias is a threshold
# -----------------------
#
# How much evidence is enough? The bias decides: the activation exceeds one half exactly where the sum exceeds minus b.
#
# With :math:`b = -3` the threshold is half a stroke's worth of ink (a sum of 3). ``inputs`` has a row for each of the
# six pictures, and ``inputs @ weights`` computes the sum of every row at once.

bias = -3.0
activations = sigmoid(inputs @ weights + bias)  # (6, 9) @ (9,) = (6,)
for name, z, a in zip(pictures, inputs @ weights + bias, activations, strict=True):
    print(f"{name:<16} z = {z:4.1f}   activation {a:.4f}")

# %%
# Change one thing
# ----------------
#
# Before you run this: with the bias at -5 instead of -3, is a stroke with a pixel missing still seen? And a whole one?
#
# Take the sums from above, subtract 5, and see on which side of zero they fall. Then try 0: what does the neuron say
# about empty paper?

bias = -5.0  # change me
for name, a in zip(pictures, sigmoid(inputs @ weights + bias), strict=True):
    print(f"{name:<16} activation {a:.4f}  {'yes' if a > 0.5 else 'no'}")

# %%
# The whole stroke has 6 - 5 = 1 and is seen, the broken one 4 - 5 = -1 and is not: the neuron has become strict. With a
# bias of 0 it would answer 0.5, "I cannot tell", to empty paper.

# %%
# A layer: neurons side by side
# -----------------------------
#
# Several neurons with the same inputs form a layer, and their sums are a single product: a matrix times a vector.
#
# Write each neuron's weights as a row of a matrix :math:`W`, and the biases as a column :math:`b`. Then
#
# .. math:: z = W a + b, \qquad a' = \sigma(z)
#
# where :math:`a` is the output of the previous layer (here: the pixels) and :math:`a'` the output of this one.
# :math:`W` has a row for each neuron and a column for each input: 3 neurons that look at 9 pixels have a matrix of 3 ×
# 9. The product takes the rows one by one: go along a row of :math:`W` and down the column :math:`a`, multiply pair by
# pair, add up. Three rows give three sums. In Python that is ``W @ a``.
#
# The second neuron looks for a flat stroke. Its weights are those of the first, with rows and columns exchanged: the
# matrix is **transposed**, written :math:`W^T`, in Python ``.T``. The third has a weight of 1 for every pixel and a
# smaller threshold: any ink counts. (``np.full(9, 1.0)`` is nine ones, and ``np.stack`` makes a matrix of the three
# rows.)

upright = weights.reshape(3, 3)
W = np.stack([upright.ravel(), upright.T.ravel(), np.full(9, 1.0)])  # (3, 9): upright? flat? is there any ink?
b = np.array([-3.0, -3.0, -1.0])
show(inside.weight_images(W, (3, 3), ["upright?", "flat?", "any ink?"], title="The weights of three neurons"))
print(f"{'':<16} upright?    flat?  any ink?")
for name, picture in zip(pictures, inputs, strict=True):
    print(f"{name:<16}" + "".join(f"{activation:9.4f}" for activation in sigmoid(W @ picture + b)))

one_by_one = [sigmoid(row @ inputs[0] + own) for row, own in zip(W, b, strict=True)]
print("the same neurons one by one:", np.allclose(one_by_one, sigmoid(W @ inputs[0] + b)))

names = ["pixels", "upright? flat? any ink?"]
values = [inputs[0], sigmoid(W @ inputs[0] + b)]
show(inside.network_diagram([W], values, names, title="Three neurons look at an upright stroke"))

# %%
# Why the bend is needed
# ----------------------
#
# Two layers without an activation between them are one layer in disguise: a linear function of a linear function.
#
# .. math:: W_2 (W_1 x + b_1) + b_2 = (W_2 W_1)\, x + (W_2 b_1 + b_2)
#
# The first two lines that are printed below are the two sides, with random weights. With the sigmoid in between, no
# single layer gives the same for every input.

random = np.random.default_rng(0)
W1, b1, W2, b2 = (random.normal(size=shape) for shape in ((3, 2), 3, (1, 3), 1))
some_input = np.array([0.5, -1.0])
print(f"two layers, no bend   {(W2 @ (W1 @ some_input + b1) + b2)[0]:.6f}")
print(f"one layer instead     {((W2 @ W1) @ some_input + (W2 @ b1 + b2))[0]:.6f}")
print(f"two layers, a bend    {(W2 @ sigmoid(W1 @ some_input + b1) + b2)[0]:.6f}")

# %%
# How many numbers are there to find?
# -----------------------------------
#
# A network that reads digits has 784 inputs, one per pixel, 10 outputs, and neurons in between: 784-30-10 is one with
# 30 of them. Each neuron has a weight for each of its inputs, and one bias.

for hidden in (10, 30):
    first, second = 784 * hidden + hidden, hidden * 10 + 10
    print(f"784-{hidden}-10: {first:,} + {second} = {first + second:,} weights and biases")

# %%
# We chose nine weights by hand. Nobody can choose 23,860 that way: they have to be *learned*.

# %%
# Read next
# ---------
#
# :Lesson:`the-perceptron` presents the first machine that learned its own weights, and something that it could never
# learn.
#
# The functions used here are in ``chainrule.first_principles.activations``.
