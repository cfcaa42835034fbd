"""
Deeper networks
===============

Suitable initial weights let ten layers learn. What about thirty layers, or weights that do not suit?

:Lesson:`vanishing-gradients` was careful: each activation needed initial weights of just the right size. Two later
inventions make a network forgive. One measures each layer's numbers and brings them back to size: batch normalization.
The other gives every layer a way around it: residual connections. Nearly all large networks use some form of both. We
compute both by hand, and then repeat the race that the deep networks lost.

Prerequisites: :lesson:`vanishing-gradients`, :lesson:`dead-neurons`.
"""

import numpy as np

import chainrule
from chainrule import nn, optim
from chainrule.data import mnist
from chainrule.lessons import show
from chainrule.plots import charts

# %%
# Too small, or too large
# -----------------------
#
# A signal that is multiplied by the same factor in each layer soon fades away, or soon grows without end. Only with a
# factor of 1 does it survive.

for factor in (0.6, 1.0, 1.4):
    print(f"factor {factor}: after 10 layers {factor**10:9.4f}, after 30 layers {factor**30:12.7f}")

# %%
# So far we *chose* the weights so that the factor was close to 1. But weights change when they learn, and then it is no
# longer 1. It would be better if the network took care of it all the time.

# %%
# Measure and correct
# -------------------
#
# The idea of **batch normalization** is blunt: if a neuron's sums are too small or too large, measure it, and divide.
#
# Take one neuron and the images of a mini-batch. Its sums z have a mean :math:`\mu` and a variance :math:`\sigma^2`:
# the mean squared distance from the mean. (This :math:`\sigma` is not the sigmoid.) Subtract the mean, divide by the
# root of the variance:
#
# .. math:: \hat z = \frac{z - \mu}{\sqrt{\sigma^2 + \epsilon}}, \qquad \text{out} = \gamma \hat z + \beta
#
# Now the mean is 0 and the variance 1, whatever the weights are. :math:`\epsilon` (epsilon, here 0.00001) prevents a
# division by 0. Perhaps the next layer would rather have a different mean or size; so there are two numbers to learn
# for each neuron, :math:`\gamma` (gamma, 1 at first) and :math:`\beta` (beta, 0 at first). Here is a neuron whose sums
# are tiny and far from 0:

z = np.array([[0.52], [0.50], [0.49], [0.53]])  # (4, 1): four images, one neuron
mean, variance = z.mean(), z.var()
normalized = (z - mean) / np.sqrt(variance + 1e-5)
print(f"mean {mean:.4f}, variance {variance:.6f}, its root {np.sqrt(variance):.4f}")
for before, after in zip(z[:, 0], normalized[:, 0], strict=True):
    print(f"    {before:.2f} becomes ({before:.2f} - {mean:.2f}) / {np.sqrt(variance + 1e-5):.4f} = {after:7.4f}")
print(f"mean {normalized.mean():z.4f}, variance {normalized.var():.4f}")

layer = nn.BatchNorm1d(1).double()
print("the layer of the library gives the same:", np.allclose(layer(chainrule.tensor(z)).detach().numpy(), normalized))
tiny = layer(chainrule.tensor(z / 1000)).detach().numpy()
print(f"a thousand times smaller, variance {z.var() / 1e6:.1e}: variance afterwards {tiny.var():.4f}")

# %%
# The variance is not exactly 1 because of ε. With sums that are a thousand times smaller, ε is larger than the
# variance, and the correction does not work any more: so small a signal is treated as noise.
#
# There is a catch: the answer for one image now depends on the other images of its mini-batch. While the network
# learns, that does no harm. When it is used, there may be only one image. So during learning each such layer keeps a
# running average of means and variances, and afterwards uses these: that is what ``network.eval()`` switches to.

# %%
# A way around
# ------------
#
# The second idea: let a layer compute a *change*, and add it to what it was given. That is a **residual connection**,
# or shortcut.
#
# .. math:: \text{out} = x + f(x) \qquad\text{has the slope}\qquad 1 + f'(x)
#
# On the way back, the error passes through the 1 without any loss, whatever the layer does. Take layers with a small
# slope of 0.1, ten in a row:

slope = 0.1
print(f"ten layers:                 {slope} to the power of 10       = {slope**10:.1e}")
print(f"ten layers with shortcuts: (1 + {slope}) to the power of 10 = {(1 + slope) ** 10:.4f}")
print(f"of that, the way around all ten layers: 1; the ten ways through a single layer: {10 * slope:.1f}")

# %%
# Multiply out the tenth power of 1 + s, and you see all the paths on which the error can travel: one around all layers,
# ten through exactly one layer, 45 through two (there are 10 · 9 / 2 pairs of layers), and so on. The chain rule adds
# them up. The short ones do not vanish.

# %%
# Thirty layers
# -------------
#
# Now for real digits: 30 layers, 64 neurons in each hidden one, ReLU, and the weights that do *not* suit: variance
# 1/(3n), as in :lesson:`vanishing-gradients`.
#
# Four networks: plain; the numbers normalized in each hidden layer; each hidden layer with a shortcut; and both. A
# hidden layer is ReLU first, then the weights. In this order the shortcut goes around both, and nothing stands in the
# way from the last layer back to the first.
#
# A shortcut is a small class. Like ``Value`` in :lesson:`your-own-tape`, it says in ``__init__`` what to keep: here the
# layers inside. ``nn.Module`` in parentheses makes it a layer of the library, and ``forward`` says what comes out for
# ``x``. ``deep_network`` puts the layers in a row, with or without the two inventions. (A star, as in ``*layers``,
# hands over the items of a list one by one.)

data = mnist().split()
pixels = (data.train.images[:2000].reshape(-1, 784) / 255).astype(np.float32)
answers = data.train.labels[:2000].astype(np.int64)
exam = (data.validation.images[:2000].reshape(-1, 784) / 255).astype(np.float32)
exam_answers = data.validation.labels[:2000]
cross_entropy = nn.CrossEntropyLoss()


class Shortcut(nn.Module):
    """Adds what it was given to what its layers make of it."""

    def __init__(self, *layers):
        self.inside = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.inside(x)


def deep_network(depth, normalized=False, shortcuts=False):
    """784, `depth` - 2 hidden layers of 64, and 10 scores."""
    random = np.random.default_rng(0)

    def linear(inputs, outputs):
        layer = nn.Linear(inputs, outputs, generator=random)
        nn.init.uniform_(layer.weight, -(inputs**-0.5), inputs**-0.5, generator=random)  # variance 1/(3n)
        nn.init.zeros_(layer.bias)
        return layer

    def hidden(outputs):
        return [*([nn.BatchNorm1d(64)] if normalized else []), nn.ReLU(), linear(64, outputs)]

    layers = [linear(784, 64)]
    for _ in range(depth - 2):
        layers += [Shortcut(*hidden(64))] if shortcuts else hidden(64)
    return nn.Sequential(*layers, *hidden(10))


KINDS = {
    "plain": {},
    "normalized": {"normalized": True},
    "shortcuts": {"shortcuts": True},
    "both": {"normalized": True, "shortcuts": True},
}


def linear_layers(net):
    """The layers with weights, from the first to the last."""
    return [layer for layer in net.modules() if isinstance(layer, nn.Linear)]


def gradient_norms(net):
    """The norm of the gradient of each layer's weights, from the first layer to the last."""
    net.zero_grad()
    cross_entropy(net(chainrule.from_numpy(pixels[:500])), chainrule.from_numpy(answers[:500])).backward()
    return [float(np.linalg.norm(layer.weight.grad.numpy())) for layer in linear_layers(net)]


norms = {name: gradient_norms(deep_network(30, **options)) for name, options in KINDS.items()}
print("norm of the gradient in layer    1         2        15        29")
for name, values in norms.items():
    print(f"{name:<24}" + "".join(f"{values[i]:10.1e}" for i in (0, 1, 14, 28)))
show(charts.gradients_by_layer(norms, title="Thirty layers, weights that do not suit"))

# %%
# In the plain network nearly nothing arrives anywhere. With normalization there is a gradient in every layer, and
# with shortcuts too, without any careful choice.
#
# With normalization alone it *grows* toward the first layer, by a steady factor: too large is also possible. With both
# it grows far less, and with shortcuts alone it is nearly even, except in the first and last layer.

# %%
# And do they learn?
# ------------------
#
# Two epochs on 2,000 images, 50 at a time, plain gradient descent at the rate 0.1.


def learn(net, epochs=2, rate=0.1):
    """Train a network; returns the fraction of 2,000 other images that it then reads right."""
    random, optimizer = np.random.default_rng(1), optim.SGD(net.parameters(), lr=rate)
    net.train()
    for _ in range(epochs):
        for chosen in np.split(random.permutation(len(pixels)), len(pixels) // 50):
            loss = cross_entropy(net(chainrule.from_numpy(pixels[chosen])), chainrule.from_numpy(answers[chosen]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    net.eval()
    with chainrule.no_grad():
        scores = net(chainrule.from_numpy(exam)).numpy()
    if not np.isfinite(scores).all():
        raise ValueError("the network has diverged, its scores are not finite; try a smaller learning rate")
    return np.mean(scores.argmax(axis=1) == exam_answers)


depths = (4, 10, 30)
shares = {name: [learn(deep_network(depth, **options)) for depth in depths] for name, options in KINDS.items()}
print("read right of 2,000 images that it has not seen")
print("layers      " + "".join(f"{depth:9d}" for depth in depths))
for name, values in shares.items():
    print(f"{name:<12}" + "".join(f"{value:9.1%}" for value in values))
percent = {name: 100 * np.array(values) for name, values in shares.items()}
figure = charts.lines(percent, depths, title="The race, again", x_label="number of layers", y_label="read right (%)")
figure.axes[0].set_xticks(depths)
show(figure)
for name in ("normalized", "shortcuts"):
    share = learn(deep_network(30, **KINDS[name]), rate=0.02)
    print(f"30 layers, a fifth of the learning rate, {name:<10} {share:6.1%} read right")

# %%
# The plain network with ten or thirty layers is at the level of luck. For ten layers, one of the two inventions is
# enough. For thirty, at this rate, it takes both. Why? With shortcuts alone, the slopes are several times larger than
# with both, and the step is too long: with a fifth of the rate they learn. With normalization alone, the first layers
# have slopes hundreds of times those of the last, and no rate suits all of them.
#
# Look along the last row: thirty layers are hardly better than four. For these small images there is nothing that so
# many layers would be needed for. Depth pays where the task has many steps, and these two inventions are what makes it
# possible: networks for photos have 50 and more layers, large language models about 100.

# %%
# Change one thing
# ----------------
#
# Before you run this: if the initial weights are ten times too large instead of too small, which of the four networks
# will still learn?
#
# Think of what each of the two does with a factor of ten.

factor = 10.0  # change me
for name, options in KINDS.items():
    net = deep_network(10, **options)
    with chainrule.no_grad():
        for layer in linear_layers(net)[1:-1]:
            layer.weight *= factor
    try:
        print(f"hidden weights times {factor:g}, {name:<11} {learn(net, epochs=1):6.1%} read right")
    except ValueError:
        print(f"hidden weights times {factor:g}, {name:<11} diverged")

# %%
# The networks that measure and correct are the ones that learn. Shortcuts alone are no help against too large a factor:
# they add to what is already too large. With both it learns best.

# %%
# Read next
# ---------
#
# The networks here took plain steps downhill. :Lesson:`optimizers` asks whether there are better steps.
#
# The layers are ``chainrule.nn.BatchNorm1d`` and, for images, ``chainrule.nn.BatchNorm2d``; a shortcut is a plus sign.
# Batch normalization is from Ioffe and Szegedy, Batch normalization (2015); residual connections are from He, Zhang,
# Ren and Sun, Deep residual learning for image recognition (2015).
