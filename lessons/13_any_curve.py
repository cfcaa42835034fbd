"""
Any curve
=========

Networks read digits and write sentences. Is there anything that a network with one hidden layer could not do?

As a *formula*, hardly anything: with enough hidden neurons it comes as close as you like to any unbroken curve. This is
a theorem, and the proof is a drawing: two neurons make a bump, and bumps make everything. We build the network by hand,
one bump at a time, then let a second one learn the same curve. And we look at the small print, because the theorem
promises less than it seems to.

Prerequisites: :lesson:`neurons`, :lesson:`backpropagation`.
"""

import numpy as np

from chainrule.first_principles.activations import sigmoid
from chainrule.lessons import show
from chainrule.plots import charts

# %%
# A curve to draw
# ---------------
#
# One input x from 0 to 1, one output. Our curve is a day's temperature, say: up, down, with a few wiggles.


def curve(x):
    """The curve that we want."""
    return 0.5 + 0.3 * np.sin(2 * np.pi * x) + 0.15 * np.sin(6 * np.pi * x)


x = np.linspace(0, 1, 401)
for position in (0.0, 0.25, 0.5, 0.75):
    print(f"at x = {position}: {curve(position):.4f}")

# %%
# One neuron is a step
# --------------------
#
# A hidden neuron computes σ(w x + b). With a large weight it is nearly a step: 0 on one side, 1 on the other.
#
# The step is where :math:`w x + b = 0`, so at :math:`s = -b/w`. The larger the weight, the steeper the step; to have it
# at :math:`s` we choose :math:`b = -w s`.

steps = {f"w = {w}": sigmoid(w * x - w * 0.4) for w in (10, 50, 500)}
for name, values in steps.items():
    print(f"{name:<8} at x = 0.35: {values[140]:.4f}, at 0.40: {values[160]:.4f}, at 0.45: {values[180]:.4f}")
labels = {"x_label": "x", "y_label": "the neuron's activation"}
show(charts.lines(steps, x, title="A step at 0.4", **labels))

# %%
# Two neurons are a bump
# ----------------------
#
# One neuron steps up at the left end of the bump, another at its right end. The output adds the first, with weight h,
# and subtracts the second, with weight -h.


def bump(x, left, right, height, w=1000):
    """A bump by two hidden neurons."""
    return height * sigmoid(w * (x - left)) - height * sigmoid(w * (x - right))


for position in (0.2, 0.5, 0.8):
    first, second = sigmoid(1000 * (position - 0.4)), sigmoid(1000 * (position - 0.6))
    value = bump(position, 0.4, 0.6, 0.7)
    print(f"at x = {position}: 0.7 · {first:.0f} - 0.7 · {second:.0f} = {value:z.4f}")
show(
    charts.lines({"0.7 high": bump(x, 0.4, 0.6, 0.7)}, x, title="A bump from 0.4 to 0.6", x_label="x", y_label="output")
)

# %%
# Bumps are a curve
# -----------------
#
# Put bumps side by side, each as high as the curve is in its middle. The more bumps, the closer.


def by_bumps(x, count):
    """The curve drawn by `count` bumps: 2 · count hidden neurons."""
    ends = np.linspace(0, 1, count + 1)
    # The first step is left of 0, so that the ends belong to bumps as well
    ends[0], ends[-1] = -0.1, 1.1
    middles = (np.arange(count) + 0.5) / count
    # ends[i : i + 2] are the two ends of bump i, left and right
    return sum(bump(x, *ends[i : i + 2], curve(middles[i])) for i in range(count))


print("bumps   neurons   largest error")
for count in (5, 10, 20, 40, 80):
    print(f"{count:5d}   {2 * count:7d}   {np.abs(by_bumps(x, count) - curve(x)).max():13.4f}")
drawn = {"the curve": curve(x), "10 bumps": by_bumps(x, 10), "40 bumps": by_bumps(x, 40)}
show(charts.lines(drawn, x, title="Bumps side by side", x_label="x", y_label="output"))

# %%
# Twice as many bumps, about half the error; so there is a number of neurons for any error that you ask for. The
# argument needs one thing of the curve: that it does not jump, so that it hardly changes within a narrow bump. That is
# the whole idea of the **universal approximation theorem**.

# %%
# With ReLU
# ---------
#
# Does it depend on the sigmoid? Rectifiers draw it even better: each of them is a hinge, and hinges make a line of
# straight pieces.
#
# :math:`\max(0, x - s)` is flat up to :math:`s`, and from there on has the slope 1. Add it with the weight :math:`c`,
# and the slope of the whole changes by :math:`c` at :math:`s`. So to draw straight pieces from point to point, each
# neuron gets the *change* of slope at its point.
#
# ``np.diff`` subtracts from each number the one before it. So it makes rises of heights, and, used once more, changes
# of slopes. ``prepend=0.0`` puts a 0 in front: to the left of the first point everything is flat.


def by_hinges(x, count):
    """The curve drawn by straight pieces: one rectifier for each of them, and the output's bias."""
    points = np.linspace(0, 1, count + 1)
    slopes = np.diff(curve(points)) * count  # of each piece: rise over run, and the run is 1 / count
    changes = np.diff(slopes, prepend=0.0)
    return curve(points[0]) + sum(changes[i] * np.maximum(0, x - points[i]) for i in range(count))


print("rectifiers   largest error")
for count in (5, 10, 20, 40, 80):
    print(f"{count:10d}   {np.abs(by_hinges(x, count) - curve(x)).max():13.4f}")

# %%
# Twice as many, a quarter of the error, once the pieces are shorter than the wiggles: straight pieces follow a curve
# more closely than flat ones.

# %%
# It learns the curve
# -------------------
#
# Nobody sets bumps by hand. Here is a network of 16 tanh neurons that gets 200 points of the curve, and descends.
#
# (tanh is a sigmoid from -1 to 1.) The loss is the mean squared error, the slopes are the four equations of
# :lesson:`backpropagation`, and the steps have the momentum of :lesson:`the-bowl`, which goes faster where the slopes
# keep their direction. At first the hidden neurons' steps are at random places, and their weights are random with the
# standard deviation 8, so that most of the steps are fairly steep.
#
# Two things look different from the four equations. The output has no bend, so equation 1 has no :math:`\sigma'`. And
# each example is a row here, not a column, so rows and columns are exchanged everywhere: :math:`W a` becomes ``a @ w``.


def train(neurons, seed=0, steps=4000, rate=0.2, inputs=None, outputs=None):
    """Train 1-neurons-1 on points of the curve; returns the network as a function."""
    inputs = np.linspace(0, 1, 200) if inputs is None else inputs
    outputs = curve(inputs) if outputs is None else outputs
    a, y = inputs[:, None], outputs[:, None]  # (N, 1)
    random = np.random.default_rng(seed)
    w1 = random.normal(0, 8, (1, neurons))
    b1 = -w1[0] * random.uniform(0, 1, neurons)  # a step anywhere between 0 and 1
    weights = [w1, b1, random.normal(0, neurons**-0.5, (neurons, 1)), np.zeros(1)]
    velocities = [np.zeros_like(part) for part in weights]
    for _ in range(steps):
        w1, b1, w2, b2 = weights
        h = np.tanh(a @ w1 + b1)  # (N, neurons)
        delta2 = 2 * (h @ w2 + b2 - y) / len(a)  # (N, 1)
        delta1 = delta2 @ w2.T * (1 - h**2)  # (N, neurons): the slope of tanh is 1 - tanh²
        for part, velocity, slope in zip(
            weights, velocities, (a.T @ delta1, delta1.sum(axis=0), h.T @ delta2, delta2.sum(axis=0)), strict=True
        ):
            velocity *= 0.9
            velocity += slope
            part -= rate * velocity
    return lambda x: (np.tanh(np.asarray(x)[:, None] @ weights[0] + weights[1]) @ weights[2] + weights[3])[:, 0]


learned = train(16)
error = np.abs(learned(x) - curve(x)).max()
print(f"16 learned neurons: largest error {error:.4f}")
print(f"16 neurons as 8 bumps: largest error {np.abs(by_bumps(x, 8) - curve(x)).max():.4f}")
drawn = {"the curve": curve(x), "8 bumps": by_bumps(x, 8), "16 learned neurons": learned(x)}
show(charts.lines(drawn, x, title="By hand, and learned", x_label="x", y_label="output"))

# %%
# With the same number of neurons it is far closer than our bumps, because its steps are soft and lie where the curve
# needs them. Descent does not build bumps. It finds something better that nobody would draw by hand.

# %%
# The small print
# ---------------
#
# What does the theorem *not* say? First, nothing about what lies outside. The network was shown x from 0 to 1.

for position in (0.5, 1.2, 1.5, 3.0):
    print(f"at x = {position}: the curve {curve(position):.2f}, the network {learned([position])[0]:.2f}")

# %%
# Beyond the last example there is no reason why it should be right, and it is not.
#
# Second: that good weights exist does not mean that descent finds them. Here are three starts each, for several sizes.

print("largest error   start 0   start 1   start 2")
for neurons in (4, 8, 16):
    errors = [np.abs(train(neurons, seed)(x) - curve(x)).max() for seed in range(3)]
    print(f"{neurons:2d} neurons  " + "".join(f"{value:10.4f}" for value in errors))

# %%
# The same size succeeds from one start and fails from another. More neurons than necessary make it easier: there are
# more good places to arrive at.
#
# Third: in real life nobody gives you the curve. You get some points of it, with errors. Ten points and 16 neurons:

random = np.random.default_rng(3)
spots = np.linspace(0, 1, 10)
readings = curve(spots) + random.normal(0, 0.05, 10)
guess = train(16, steps=20_000, inputs=spots, outputs=readings)
print(f"at its ten points, it is {np.abs(guess(spots) - readings).max():.4f} from what it was told, at most")
print(f"between them it is up to {np.abs(guess(x) - curve(x)).max():.4f} from the truth")
figure = charts.lines({"the truth": curve(x), "the network": guess(x)}, x, title="Right at ten points",
                      x_label="x", y_label="output")  # fmt: skip
figure.axes[0].plot(spots, readings, "o", color="#5b2a86", markersize=8, zorder=4)
show(figure)

# %%
# At the dots it is nearly perfect, and between them it does what it likes. That is overfitting again
# (:lesson:`the-network-reads-digits`): a network that can draw any curve can also draw the wrong one.
#
# Fourth: the number of neurons. With one input, ten bumps were a start. With two inputs, a bump is a tower on a square,
# and ten per side are a hundred. With the 784 pixels of a digit:

for inputs in (1, 2, 3, 784):
    print(f"{inputs:3d} input{'s' if inputs > 1 else ''}: 10 to the power of {inputs} bumps")

# %%
# The number of atoms in the universe has about 80 zeros; this one has 784. So the theorem is not a recipe. Real
# networks are saved by two things: real data are not just any function of 784 numbers, and several layers can use what
# they have built again, as a convolution does with a stroke (:lesson:`the-convolutional-network`).

# %%
# Change one thing
# ----------------
#
# Before you run this: our curve goes up and down again and again. How well can two hidden neurons draw it, at best?
#
# Each tanh neuron has one step, up or down. Count the ups and downs of the curve in the figures above; then try 3, 5
# and 32.

neurons = 2  # change me
best = min((train(neurons, seed) for seed in range(3)), key=lambda net: np.abs(net(x) - curve(x)).max())
print(f"{neurons} neurons, the best of three starts: largest error {np.abs(best(x) - curve(x)).max():.4f}")
drawn = {"the curve": curve(x), f"{neurons} neurons": best(x)}
show(charts.lines(drawn, x, title="As well as it can", x_label="x", y_label="output"))

# %%
# The curve goes up four times and down three times. With two neurons it has two steps to place, and puts them where
# they help most: it gets the big wave and gives up the wiggles.

# %%
# Read next
# ---------
#
# A network can draw any curve, including the wrong one. :Lesson:`learning-better` is about how to keep it from that.
#
# The theorem is from Cybenko, Approximation by superpositions of a sigmoidal function (1989), and Hornik, Stinchcombe
# and White, Multilayer feedforward networks are universal approximators (1989). The proof by bumps is drawn, with
# moving pictures, in Nielsen, Neural Networks and Deep Learning (2015), chapter 4.
