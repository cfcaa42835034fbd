"""
One neuron learns
=================

Eight cups of tea, some liked and some not. Can a single neuron find out what makes a good cup, by rolling downhill?

The perceptron of :lesson:`the-perceptron` knew only right and wrong. Here we measure *how* wrong the neuron is with one
number, work out the slope of that number by hand, piece by piece, and let the neuron roll down it. A large network does
nothing else, only more of it.

Prerequisites: :lesson:`the-perceptron`, :lesson:`the-bowl`.
"""

import numpy as np

from chainrule.first_principles import activations
from chainrule.first_principles.neuron import LIKED, TEA, forward, gradients, mean_squared_error, train
from chainrule.lessons import show
from chainrule.plots import charts, points, style

# %%
# The examples
# ------------
#
# Each cup is two numbers, both relative to the usual cup: minutes of brewing and spoons of sugar. And a verdict: 1 or
# 0.

for cup, liked in zip(TEA, LIKED, strict=True):
    print(f"brewed {cup[0]:+.1f} minutes, {cup[1]:+.1f} spoons of sugar: {'liked' if liked else 'not liked'}")

# %%
# Forward: what the neuron says
# -----------------------------
#
# The neuron computes a sum and bends it, as in :lesson:`neurons`. Before it learns, its weights are two arbitrary small
# numbers.
#
# .. math:: z = x_1 w_1 + x_2 w_2 + b, \qquad \hat y = \sigma(z)
#
# :math:`\hat y` (say "y hat") is what the neuron says, and :math:`y` what would be right.

weights, bias = np.array([0.1, -0.2]), 0.0
predictions = forward(TEA, weights, bias)  # (8,)
for prediction, liked in zip(predictions, LIKED, strict=True):
    print(f"the neuron says {prediction:.4f}, right would be {liked:.0f}, error ŷ - y = {prediction - liked:+.4f}")

# %%
# One number for all mistakes
# ---------------------------
#
# Square the errors, so that too high and too low both count, and take their mean: the mean squared error, or loss.
#
# .. math:: C = \frac{1}{N} \sum_{i=1}^{N} (\hat y_i - y_i)^2
#
# With the examples fixed, :math:`C` depends only on the weights and the bias. It is the height of a landscape over
# :math:`w_1`, :math:`w_2` and :math:`b`, and to learn is to roll down in it.

loss = mean_squared_error(predictions, LIKED)
print(f"C = {loss:.4f}; a neuron that always said 0.5 would have {mean_squared_error(np.full(8, 0.5), LIKED):.4f}")

# %%
# Backward: three slopes in a row
# -------------------------------
#
# How does C change if a weight does? The weight moves z, z moves ŷ, and ŷ moves C. The three slopes are multiplied.
#
# That is the chain rule, and :lesson:`the-chain-rule` takes its time over it. For a single cup, whose error is squared:
#
# .. math::
#
#    \frac{\partial C}{\partial w_1} = \underbrace{2 (\hat y - y)}_{\partial C / \partial \hat y} \cdot
#    \underbrace{\hat y (1 - \hat y)}_{\partial \hat y / \partial z} \cdot
#    \underbrace{x_1}_{\partial z / \partial w_1}
#
# Why is the middle one :math:`\hat y (1 - \hat y)`? It is the slope of the sigmoid, which can be expressed by the
# sigmoid itself: :math:`\sigma'(z) = \sigma(z) (1 - \sigma(z))`. (:Lesson:`the-chain-rule` has the proof.) It is
# largest, 1/4, where the neuron is undecided.
#
# If you follow along by hand: numbers are computed with about 16 digits and printed with four, so your last digit may
# differ by one.

cup, liked, prediction = TEA[0], LIKED[0], predictions[0]
by_prediction, by_z = 2 * (prediction - liked), prediction * (1 - prediction)
print(f"∂C/∂ŷ   = 2 · ({prediction:.4f} - {liked:.0f})      = {by_prediction:8.4f}")
print(f"∂ŷ/∂z   = {prediction:.4f} · (1 - {prediction:.4f}) = {by_z:8.4f}")
print(f"∂z/∂w₁  = x₁                    = {cup[0]:8.4f}")
slope = by_prediction * by_z * cup[0]
print(f"∂C/∂w₁  = their product         = {slope:8.4f}")

nudge = 1e-6  # a millionth; cup[None] below is a table with this cup as its only row
nudged = forward(cup[None], weights + np.array([nudge, 0.0]), bias)[0]
measured = ((nudged - liked) ** 2 - (prediction - liked) ** 2) / nudge
print(f"measured, by a nudge to w₁      = {measured:8.4f}")

# %%
# Other bends, and their slopes
# -----------------------------
#
# The sigmoid is not the only bend. Whichever is taken, its slope stands in the middle of the product, and decides how
# much of an error comes through to the weights.
#
# Three others are common. **tanh**, the hyperbolic tangent, is a sigmoid that is stretched to reach from -1 to 1. The
# **ReLU** (rectified linear unit) lets a positive sum pass and stops a negative one; the **leaky ReLU** lets a small
# part of a negative one pass, here a tenth:
#
# .. math::
#
#    \tanh(z) = \frac{e^z - e^{-z}}{e^z + e^{-z}}, \qquad \text{ReLU}(z) = \max(0, z), \qquad
#    \text{leaky}(z) = \max(0.1\, z, z)
#
# The slope of tanh is :math:`1 - \tanh^2(z)`. The other two are straight lines with a corner, whose slopes can be read
# off. (At the corner itself there is none; one takes that of the left side.)

bends = {
    "sigmoid": (activations.sigmoid, activations.sigmoid_derivative),
    "tanh": (activations.tanh, activations.tanh_derivative),
    "ReLU": (activations.relu, activations.relu_derivative),
    "leaky ReLU": (lambda z: activations.leaky_relu(z, 0.1), lambda z: activations.leaky_relu_derivative(z, 0.1)),
}
places = np.array([-4.0, -1.0, 0.0, 1.0, 4.0])
print("slope at z =" + "".join(f"{z:9g}" for z in places))
for name, (_, slope_of) in bends.items():
    print(f"{name:<12}" + "".join(f"{slope:9.4f}" for slope in slope_of(places)))

z = np.linspace(-4, 4, 321)
figure = style.new_figure(6.8, 6.4, "Four bends, and their slopes", style.LIGHT, (0.75, 0.6, 1.5, 0.9))
panels = figure.subplots(2, 1, gridspec_kw={"hspace": 0.4})
for axes, part, heading, window in zip(
    panels, (0, 1), ("the bend", "its slope"), ((-1.2, 2.2), (-0.06, 1.1)), strict=True
):
    style.style_axes(axes, style.LIGHT, title=heading, x="z", y=("value", "slope")[part], open_frame=True)
    for (name, pair), (color, line, _) in zip(bends.items(), style.strokes(4, style.LIGHT), strict=True):
        axes.plot(z, pair[part](z), line, color=color, label=name, lw=1.8)
    axes.set_ylim(*window)
style.legend(panels[0], style.LIGHT)
show(figure)

# %%
# Look at the lower half. The sigmoid's slope is never above a quarter, and 0.0177 at 4. That of tanh is four times as
# large at 0, and even smaller at 4. A ReLU's is 1 for every positive sum, however large, and 0 for every other.
#
# This is why the choice of the bend matters in deep networks: see :lesson:`vanishing-gradients` and
# :lesson:`dead-neurons`.

# %%
# All cups at once
# ----------------
#
# For the mean over all cups, the slopes of the cups are added up and divided by N. For the bias, ∂z/∂b is 1.
#
# .. math::
#
#    \delta_i = \frac{2}{N} (\hat y_i - y_i)\, \hat y_i (1 - \hat y_i), \qquad
#    \frac{\partial C}{\partial w_j} = \sum_i \delta_i x_{ij}, \qquad
#    \frac{\partial C}{\partial b} = \sum_i \delta_i
#
# :math:`\delta_i` (delta) is :math:`\partial C / \partial z_i`. It already contains the division by :math:`N`, so the
# slopes of both weights and bias are *sums*. (Taking the mean for the bias would divide by :math:`N` twice. This
# mistake is easy to make and hard to see, because the neuron still learns: we make it on purpose below.)

slope_w, slope_b = gradients(TEA, LIKED, predictions)
print(f"∂C/∂w₁ = {slope_w[0]:.4f}   ∂C/∂w₂ = {slope_w[1]:.4f}   ∂C/∂b = {slope_b:.4f}")
for name, step in (("w₁", (nudge, 0, 0)), ("w₂", (0, nudge, 0)), ("b ", (0, 0, nudge))):
    there = mean_squared_error(forward(TEA, weights + np.array(step[:2]), bias + step[2]), LIKED)
    print(f"measured by a nudge to {name}: {(there - loss) / nudge:.4f}")

# %%
# Update: roll
# ------------
#
# Each weight and the bias take a step against their own slope, just like the ball. Then forward again, and so on.
#
# .. math::
#
#    w \leftarrow w - \eta \frac{\partial C}{\partial w}, \qquad
#    b \leftarrow b - \eta \frac{\partial C}{\partial b}

trained = train(TEA, LIKED, weights, bias, learning_rate=1.0, epochs=200)
print("loss in the first ten epochs:", ", ".join(f"{value:.4f}" for value in trained.losses[:10]))
print(f"and in epoch 200:             {trained.losses[-1]:.4f}")
print(f"weights {trained.weights[0]:.4f} and {trained.weights[1]:.4f}, bias {trained.bias:.4f}")
for liked, prediction in zip(LIKED, forward(TEA, trained.weights, trained.bias), strict=True):
    print(f"    liked: {liked:.0f}, the neuron says {prediction:.4f}")

wrong_w, wrong_b = weights, bias
for _ in range(200):
    by_w, by_b = gradients(TEA, LIKED, forward(TEA, wrong_w, wrong_b))
    wrong_w, wrong_b = wrong_w - 1.0 * by_w, wrong_b - 1.0 * by_b / len(TEA)  # divides by N twice
wrong_loss = mean_squared_error(forward(TEA, wrong_w, wrong_b), LIKED)
print(f"with the mistake, after 200 steps: bias {wrong_b:.4f} and loss {wrong_loss:.4f}")

show(
    points.decision_boundary(
        lambda x: forward(x, trained.weights, trained.bias) > 0.5,
        TEA,
        LIKED,
        (trained.weights, trained.bias),
        ["not liked", "liked"],
        title="What the neuron has made of eight cups of tea",
        axes_labels=("brewing, minutes from usual", "sugar, spoons from usual"),
    )
)

# %%
# Both weights are positive: longer brewing and more sugar both count in favor of a cup. It learned that by itself.
#
# With the mistake, each step moves the bias an eighth as far. It lags behind, and the loss with it, but it moves in the
# right direction. So a loss that falls does not prove that the gradient is right; comparing it with a nudge does.

# %%
# Change one thing
# ----------------
#
# Before you run this: let it start from weights forty times as large. Will it learn faster or slower?
#
# Think of the middle slope, :math:`\hat y (1 - \hat y)`, of a neuron that is very confident.

times = 40  # change me
start = times * weights
sure = train(TEA, LIKED, start, bias, learning_rate=1.0, epochs=200)
first = forward(TEA, start, bias)
with np.printoptions(precision=4, suppress=True, linewidth=120):
    print("it starts by saying  ", first)
    print("with slopes ŷ (1 - ŷ)", first * (1 - first))
for epoch in (1, 10, 50, 200):
    print(f"epoch {epoch:3}: loss {trained.losses[epoch - 1]:.4f} from the small weights, ", end="")
    print(f"{sure.losses[epoch - 1]:.4f} from {times} times as large ones")

names = [f"from {w[0]:.3g}, {w[1]:.3g}" for w in (weights, start)]
curves = dict(zip(names, (trained.losses, sure.losses), strict=True))
show(charts.lines(curves, title="Being sure too early", x_label="epoch", y_label="mean squared error"))

# %%
# Slower: where the neuron is confident, right or wrong, the sigmoid is flat, and no slope is left to roll down. That is
# why networks start from small weights, and why deep networks of sigmoids, where many such slopes are multiplied, have
# a hard time.

# %%
# Read next
# ---------
#
# Three slopes were multiplied here, because a change runs through three steps. :Lesson:`the-chain-rule` asks why, and
# what happens when there is more than one way to get there. Then :lesson:`backpropagation` stacks layers of neurons.
#
# The neuron is ``chainrule.first_principles.neuron``, a page long.
