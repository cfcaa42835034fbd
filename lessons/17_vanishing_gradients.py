"""
Vanishing gradients
===================

More layers can represent more. Then why did networks of ten layers, for decades, learn less than networks of two?

Because learning travels backwards. Each layer passes the error on to the one before it, and if every layer passes on a
little less than it gets, nothing reaches the first ones. We measure what arrives, layer by layer, for three
activations, and find that half of the solution is the activation, and the other half the initial weights.

Prerequisites: :lesson:`backpropagation`, :lesson:`the-convolutional-network`.
"""

import numpy as np

import chainrule
from chainrule import nn, optim
from chainrule.data import mnist
from chainrule.first_principles.activations import (
    relu,
    relu_derivative,
    sigmoid,
    sigmoid_derivative,
    tanh_derivative,
)
from chainrule.lessons import show
from chainrule.plots import charts

# %%
# A chain of single neurons
# -------------------------
#
# Ten layers of one neuron each, every weight 1 and every bias 0: the smallest possible deep network.
#
# Each is :math:`a_l = \sigma(w a_{l-1} + b)`. How much does the last activation move when the first input moves? The
# chain rule multiplies one factor for each layer:
#
# .. math:: \frac{\partial a_{10}}{\partial a_0} = \prod_{l=1}^{10} w \, \sigma'(z_l)
#    \qquad\text{and}\qquad \sigma'(z) = \sigma(z) (1 - \sigma(z)) \le \tfrac14
#
# (:math:`\prod` stands for a product, as :math:`\sum` does for a sum.) The sigmoid's slope is ¼ at its steepest, and
# less everywhere else. Ten factors of at most ¼ are at most :math:`4^{-10}`, about one in a million. We begin with the
# input 0.5:

activation, product = 0.5, 1.0
for layer in range(1, 11):
    activation = sigmoid(np.array(activation))
    product *= activation * (1 - activation)
    if layer in (1, 2, 5, 10):
        print(f"layer {layer:2d}: slope σ′ = {activation * (1 - activation):.4f}, product of all so far {product:.2e}")
print(f"at best it would have been ¼ to the power of 10 = {0.25**10:.2e}")

# %%
# Three activations and their slopes
# ----------------------------------
#
# The sigmoid is not the only choice. tanh is the sigmoid stretched to the range from -1 to 1, and ReLU is max(0, z).
#
# What counts on the way back is the slope. That of tanh is :math:`1 - \tanh^2(z)`, at most 1; that of ReLU is exactly 1
# for positive :math:`z`, and 0 for negative ones.

z = np.linspace(-4, 4, 401)
activations = {"sigmoid": sigmoid(z), "tanh": np.tanh(z), "ReLU": relu(z)}
slopes = {"sigmoid": sigmoid_derivative(z), "tanh": tanh_derivative(z), "ReLU": relu_derivative(z)}
print("slope at z =   0.0    1.0    2.0    4.0")
for name, values in slopes.items():
    at = "".join(f"{values[200 + 50 * k]:7.3f}" for k in (0, 1, 2, 4))
    print(f"{name:<11}{at}")
figure = charts.lines(activations, z, title="Three activations", x_label="z", y_label="activation")
figure.axes[0].set_ylim(-1.2, 2.2)  # ReLU goes on beyond
show(figure)
show(charts.lines(slopes, z, title="Their slopes", x_label="z", y_label="slope"))

# %%
# At z = 4 the sigmoid passes on a fiftieth of the error, tanh a thousandth, ReLU all of it. (At exactly 0 ReLU has a
# bend and no slope; one takes 0.)

# %%
# A real network
# --------------
#
# Ten layers for real digits: 784 pixels, nine hidden layers of 64 neurons, ten scores, cross entropy as in
# :lesson:`the-convolutional-network`.
#
# We compare three networks that differ only in the activation: the sigmoid, tanh, and ReLU. The initial weights are
# uniform (all values equally likely) between :math:`\pm 1/\sqrt{n}`, for a neuron with :math:`n` inputs, which is
# PyTorch's default, and the biases are 0.

data = mnist().split()
pixels = (data.train.images[:5000].reshape(-1, 784) / 255).astype(np.float32)
answers = data.train.labels[:5000].astype(np.int64)
cross_entropy = nn.CrossEntropyLoss()
ACTIVATIONS = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "ReLU": nn.ReLU}


def usual(n):
    """The standard deviation of weights that are uniform between ±1/√n."""
    return 1 / np.sqrt(3 * n)


def deep_network(activation, depth=10, deviation=usual, width=64):
    """A network of `depth` layers whose weights have the standard deviation `deviation(number of inputs)`."""
    random, layers, inputs = np.random.default_rng(0), [], 784
    for outputs in [width] * (depth - 1) + [10]:
        layer = nn.Linear(inputs, outputs, generator=random)
        edge = np.sqrt(3) * deviation(inputs)  # uniform between ±edge has this standard deviation
        nn.init.uniform_(layer.weight, -edge, edge, generator=random)
        nn.init.zeros_(layer.bias)
        layers += [layer, ACTIVATIONS[activation]()]
        inputs = outputs
    return nn.Sequential(*layers[:-1])  # no activation after the scores


def gradient_norms(net, count=1000):
    """The norm of the gradient of each layer's weights, from the first layer to the last."""
    net.zero_grad()
    cross_entropy(net(chainrule.from_numpy(pixels[:count])), chainrule.from_numpy(answers[:count])).backward()
    return [float(np.linalg.norm(layer.weight.grad.numpy())) for layer in net if isinstance(layer, nn.Linear)]


def table(norms):
    """Print one row per layer and one column per network."""
    print("layer   " + "".join(f"{name:>22}" for name in norms))
    for layer, row in enumerate(zip(*norms.values(), strict=True), start=1):
        print(f"{layer:5d}   " + "".join(f"{norm:22.1e}" for norm in row))


# %%
# The norm of a gradient is its length, the square root of the sum of its squares. In one step, a layer whose gradient
# has the norm 0.00001 changes by a ten-thousandth of the change of a layer with 0.1.

untrained = {name: gradient_norms(deep_network(name)) for name in ACTIVATIONS}
table(untrained)
for name, norms in untrained.items():
    left = (norms[1] / norms[8]) ** (1 / 7)
    print(f"{name:<8} on the way from layer 9 to layer 2, each layer leaves {left:.2f} of it")
show(charts.gradients_by_layer(untrained, title="Ten layers, weights between ±1/√n"))

# %%
# With the sigmoid, only a millionth or less reaches the first layers. And the others? Their gradients are about the
# same in every layer, but very small in all of them.
#
# A weight's gradient is the error where its wire ends times the activation where it begins. Here the activations shrink
# from layer to layer on the way forward, the errors shrink on the way back, and the product is equally small at both
# ends.

# %%
# The other half: the initial weights
# -----------------------------------
#
# If each layer's numbers are a little smaller than those of the previous layer, there is nothing to learn from after
# ten layers.
#
# Take a neuron with :math:`n` inputs whose squares have the mean :math:`\overline{a^2}`, and independent weights with
# mean 0 and variance :math:`v`. The square of each product :math:`w a` then has the mean :math:`v \, \overline{a^2}`.
# The signs are random, so in the square of the sum the products of different terms cancel on average, and the squares
# of the n terms remain:
#
# .. math:: \overline{z^2} = n \, v \, \overline{a^2}
#
# For the signal to keep its size through many layers, :math:`n v` must be 1 for tanh, which hardly changes a number
# near zero, and 2 for ReLU, which cuts off half of it. On the way back, the same calculation with the slopes leads to
# the same answer. The usual initialization has :math:`v = 1/(3n)`, since numbers that are uniform between :math:`\pm r`
# have the variance :math:`r^2/3`. So each layer reduces the mean square to a third, and with ReLU to a sixth.


def sizes_of_z(net):
    """The root mean square of each layer's sums z, for 1,000 images."""
    passed, sizes = chainrule.from_numpy(pixels[:1000]), []
    with chainrule.no_grad():
        for layer in net:
            passed = layer(passed)
            if isinstance(layer, nn.Linear):
                sizes.append(float(np.sqrt(np.mean(passed.numpy() ** 2))))
    return sizes


STARTS = {
    "variance 1/(3n)": usual,
    "variance 1/n": lambda n: np.sqrt(1 / n),
    "variance 2/n": lambda n: np.sqrt(2 / n),
}
for name, deviation in STARTS.items():
    sizes = sizes_of_z(deep_network("ReLU", deviation=deviation))
    print(f"ReLU, {name:<16} size of z in layers 1, 5 and 10: {sizes[0]:.1e}, {sizes[4]:.1e}, {sizes[9]:.1e}")

# %%
# Now give each activation a suitable initialization. The variance 1/n for tanh is Glorot and Bengio's (for layers of
# equal size), 2/n for ReLU is He's. For the sigmoid we try 1/n as well, and 16/n: weights four times as large, to make
# up for its slope of a quarter.

suited = {
    "sigmoid, 1/n": gradient_norms(deep_network("sigmoid", deviation=STARTS["variance 1/n"])),
    "sigmoid, 16/n": gradient_norms(deep_network("sigmoid", deviation=lambda n: 4 / np.sqrt(n))),
    "tanh, 1/n": gradient_norms(deep_network("tanh", deviation=STARTS["variance 1/n"])),
    "ReLU, 2/n": gradient_norms(deep_network("ReLU", deviation=STARTS["variance 2/n"])),
}
table(suited)
show(charts.gradients_by_layer(suited, title="Ten layers, each with weights that suit it"))

for name, deviation in (("1/n", STARTS["variance 1/n"]), ("16/n", lambda n: 4 / np.sqrt(n))):
    z = np.array(sizes_of_z(deep_network("sigmoid", deviation=deviation))[1:9]).mean()
    print(f"sigmoid, {name:<4}: typical size of z {z:.2f}, slope σ′ there {sigmoid(z) * (1 - sigmoid(z)):.3f}")

# %%
# tanh and ReLU now pass on all that they get: the gradients of all layers have about the same size. With the sigmoid
# and 1/n they still vanish. With 16/n they survive, but at a price: sums are so large that the sigmoid is flat there.

# %%
# The deeper, the worse
# ---------------------
#
# What reaches the first layer, from two layers to twenty? A constant factor per layer is a straight line on a
# logarithmic axis.

depths = [2, 4, 6, 8, 10, 15, 20]
first = {
    name: [gradient_norms(deep_network(activation, depth, deviation), 300)[0] for depth in depths]
    for name, activation, deviation in (
        ("sigmoid, 1/n", "sigmoid", STARTS["variance 1/n"]),
        ("tanh, 1/n", "tanh", STARTS["variance 1/n"]),
        ("ReLU, 1/(3n)", "ReLU", usual),
        ("ReLU, 2/n", "ReLU", STARTS["variance 2/n"]),
    )
}
for name, norms in first.items():
    print(f"{name:<13} first layer's gradient at depth 2: {norms[0]:.1e}, 10: {norms[4]:.1e}, 20: {norms[6]:.1e}")
labels = {"x_label": "number of layers", "y_label": "norm of the first layer's gradient"}
figure = charts.lines(first, depths, title="What arrives at the first layer", log="y", **labels)
figure.axes[0].set_xticks(depths)
show(figure)

# %%
# And do they learn?
# ------------------
#
# Each network is trained for two epochs on 5,000 images: mini-batches of 50, learning rate 0.1.


def learn(net, epochs=2, rate=0.1):
    """Train a network; returns the fraction of the images that it then reads right."""
    random, optimizer = np.random.default_rng(1), optim.SGD(net.parameters(), lr=rate)
    for _ in range(epochs):
        for chosen in np.split(random.permutation(len(pixels)), len(pixels) // 50):
            loss = cross_entropy(net(chainrule.from_numpy(pixels[chosen])), chainrule.from_numpy(answers[chosen]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with chainrule.no_grad():
        scores = net(chainrule.from_numpy(pixels)).numpy()
    if not np.isfinite(scores).all():
        raise ValueError("the network has diverged, its scores are not finite; try a smaller learning rate")
    return np.mean(scores.argmax(axis=1) == answers)


for activation, name, deviation in (
    ("sigmoid", "1/(3n)", usual),
    ("sigmoid", "1/n", STARTS["variance 1/n"]),
    ("sigmoid", "16/n", lambda n: 4 / np.sqrt(n)),
    ("tanh", "1/(3n)", usual),
    ("tanh", "1/n", STARTS["variance 1/n"]),
    ("ReLU", "1/(3n)", usual),
    ("ReLU", "2/n", STARTS["variance 2/n"]),
):
    share = learn(deep_network(activation, deviation=deviation))
    print(f"ten layers of {activation:<7} variance {name:<6}: {share:6.1%} read right")

# %%
# A tenth is pure luck. Whether the same ten layers learn or not depends on the activation and on the size of the random
# initial weights. For the sigmoid none of the three sizes is good: its slopes vanish, or its neurons are saturated.

# %%
# Change one thing
# ----------------
#
# Before you run this: how deep can a network of sigmoids be and still learn, with the same number of epochs?
#
# :Lesson:`the-network-reads-digits`'s had two layers and learned well. Try 3 and 4, too.

depth = 2  # change me
for activation, deviation in (("sigmoid", STARTS["variance 1/n"]), ("ReLU", STARTS["variance 2/n"])):
    share = learn(deep_network(activation, depth, deviation))
    print(f"{depth} layers of {activation:<7}: {share:6.1%} read right")

# %%
# Two layers of sigmoids learn, but slowly at this rate. With three, they are hardly better than luck after two epochs.
# ReLU does not have this problem: that is why deep networks are built with it, or with its relatives.

# %%
# Read next
# ---------
#
# ReLU has a problem of its own: a neuron whose slope is zero for every example never learns again.
# :Lesson:`dead-neurons` looks for such neurons.
#
# The initializations are in ``chainrule.nn.init``. They are from Glorot and Bengio, Understanding the difficulty of
# training deep feedforward neural networks (2010), and He and others, Delving deep into rectifiers (2015). Two
# more solutions, which need no suitable weights, come in :lesson:`deeper-networks`.
