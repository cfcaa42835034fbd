"""
The same network four ways
==========================

A library hides the mathematics behind a few names. Is it still the same mathematics?

:Lesson:`the-network-reads-digits`'s network was written by hand, including every slope. Here it is again with the
engine, which computes the slopes by itself; then compiled; then in PyTorch, the library that most people use. All four
start from the same weights and see the same images in the same order. If they do the same calculations, they must get
the same numbers, to the last digits, after hundreds of steps.

Prerequisites: :lesson:`the-network-reads-digits`.
"""

import time

import numpy as np

import chainrule
from chainrule.capture import jit
from chainrule.data import mnist
from chainrule.first_principles.network import Network
from chainrule.lessons import optional, show
from chainrule.plots import charts

# %%
# The same start for all
# ----------------------
#
# The first 5,000 images of MNIST, in 500 mini-batches of ten; and one set of initial weights, from the class
# ``Network`` of :lesson:`the-network-reads-digits`.
#
# All numbers have about 16 digits (float64), so that a difference in the mathematics cannot hide behind rounding.

images, labels = mnist().split().train
x = (images[:5000] / 255).reshape(500, 10, 784)  # 500 mini-batches of 10 images, one row per image
y = np.eye(10)[labels[:5000]].reshape(500, 10, 10)  # the target outputs: 1 at the digit, 0 elsewhere
RATE = 3.0


def new_network():
    """The network by hand, always with the same initial weights."""
    return Network([784, 30, 10], seed=0)


# %%
# One: by hand
# ------------
#
# Every slope is a line of code derived by hand: the four equations of :lesson:`backpropagation`, in
# ``Network.backprop``.
#
# The cost is :math:`C = \frac{1}{2m} \sum (a - y)^2` over a mini-batch of :math:`m` images. Images are columns here,
# hence the ``.T`` (transposed: rows become columns).


def by_hand():
    """A function that takes one step and returns the loss before it, and one that returns all weights and biases."""
    network = new_network()

    def step(x, y):
        loss = np.sum((network.forward(x.T) - y.T) ** 2) / (2 * len(x))
        slopes_b, slopes_w = network.backprop(x.T, y.T)  # summed over the mini-batch
        network.biases = [b - RATE / len(x) * slope for b, slope in zip(network.biases, slopes_b, strict=True)]
        network.weights = [w - RATE / len(x) * slope for w, slope in zip(network.weights, slopes_w, strict=True)]
        return loss

    return step, lambda: [*network.weights, *(b[:, 0] for b in network.biases)]


# %%
# Two, three and four: with a library
# -----------------------------------
#
# With a library we write only the forward pass. It records each operation, and then walks the list backwards.
#
# That list is the **tape** of :lesson:`backpropagation`: each operation has its own derivative, and the chain rule
# combines them. chainrule uses PyTorch's names, so the same code works for both; ``library`` is one of the two.
#
# ``nn.Sequential`` puts layers in a row, ``double`` makes their numbers float64, and ``load_state_dict`` gives them the
# initial weights. ``zero_grad`` resets the slopes of the previous step, ``backward`` computes the new ones, and
# ``optimizer.step`` does :math:`\theta \leftarrow \theta - \eta \nabla C`. ``from_numpy`` makes a Tensor of an array;
# ``item`` and ``numpy`` lead back to a plain number and to an array.


def with_library(library, compiled=False):
    """The same two functions; `library` is chainrule or torch."""
    nn, hand = library.nn, new_network()
    network = nn.Sequential(nn.Linear(784, 30), nn.Sigmoid(), nn.Linear(30, 10), nn.Sigmoid()).double()
    start = {"0.weight": hand.weights[0], "0.bias": hand.biases[0][:, 0]}
    start |= {"2.weight": hand.weights[1], "2.bias": hand.biases[1][:, 0]}
    network.load_state_dict({name: library.tensor(values) for name, values in start.items()})
    optimizer = library.optim.SGD(network.parameters(), lr=RATE)

    def train_step(x, y):
        loss = ((network(x) - y) ** 2).sum() / (2 * len(x))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    if compiled:
        train_step = jit(train_step)

    def step(x, y):
        return train_step(library.from_numpy(x), library.from_numpy(y)).item()

    return step, lambda: [network[i].weight.detach().numpy() for i in (0, 2)] + [
        network[i].bias.detach().numpy() for i in (0, 2)
    ]  # fmt: skip


# %%
# The third way differs by one word. ``jit`` ("just in time") runs a single step, records its operations, and compiles
# them into one program; every later step runs that program, without Python in between.

ways = {"by hand": by_hand(), "engine": with_library(chainrule), "compiled": with_library(chainrule, compiled=True)}
torch = optional("torch", "torch")
if torch is not None:
    ways["PyTorch"] = with_library(torch)
print("ways:", ", ".join(ways))

# %%
# The same numbers
# ----------------
#
# Each takes the same 500 steps. Here is the loss of some mini-batches, to twelve decimals.

losses, seconds, first_step = {}, {}, {}
for name, (step, _) in ways.items():
    begin = time.perf_counter()
    first = step(x[0], y[0])  # timed separately: the third way compiles here
    first_step[name] = time.perf_counter() - begin
    times = []
    losses[name] = [first]
    for pixels, answers in zip(x[1:], y[1:], strict=True):
        begin = time.perf_counter()
        losses[name].append(step(pixels, answers))
        times.append(time.perf_counter() - begin)
    seconds[name] = float(np.median(times))

print("step    " + "".join(f"{name:>18}" for name in ways))
for number in (1, 2, 3, 10, 100, 250, 500):
    print(f"{number:4d}    " + "".join(f"{losses[name][number - 1]:18.12f}" for name in ways))

reference = ways["by hand"][1]()
for name, (_, parameters) in list(ways.items())[1:]:
    loss_gap = max(np.abs(np.subtract(losses[name], losses["by hand"])))
    weight_gap = max(np.abs(p - q).max() for p, q in zip(parameters(), reference, strict=True))
    print(f"{name:<9} largest difference from by hand: losses {loss_gap:.1e}, weights and biases {weight_gap:.1e}")

curves = {name: np.convolve(values, np.ones(25) / 25, "valid") for name, values in losses.items()}
axes_labels = {"x_label": "step", "y_label": "loss, mean of 25 steps"}
show(charts.lines(curves, range(25, 501), title="One line, drawn several times", **axes_labels))

# %%
# They differ only from the fifteenth decimal on: sums in a different order round differently. A single wrong slope
# would have changed the numbers from the second step on, since the second loss depends on every slope of the first
# step.

# %%
# The times
# ---------
#
# Times depend on the machine and its load; read them as ratios. Each is the median of 499 steps.

for name, each in seconds.items():
    ratio = each / seconds["by hand"]
    print(f"{name:<9} {ratio:5.2f} × the time by hand; its first step took {first_step[name]:.4f} s on this machine")

# %%
# Why is the engine slower than the code by hand? The calculations are the same, but the engine records them as it goes,
# and for ten small images the recording takes at least as long as the calculations. Compiling removes this: the
# operations are recorded once, in the first step, and turned into a program. That may take seconds, and pays off over
# the thousands of steps to come. (The engine's own first step is slow, too, the first time that you run this: it
# compiles some operations when they are first used, and keeps them on disk.) With larger mini-batches the calculations
# dominate, and the four times are closer together.

# %%
# The compiled program
# --------------------
#
# The compiled program can be read. It is short: matrix products, and loops that fuse everything else.
#
# Here is a single layer of two sigmoid neurons that look at four images of three pixels. Five operations that would
# each go through all the numbers have become one loop. In the columns, µs is millionths of a second, kB thousands of
# bytes (a number takes 4 or 8), and Mflop millions of additions and multiplications; Gflop/s is billions per second.

step = jit(lambda x, w: (1 / (1 + chainrule.exp(-(x @ w)))).sum())
step(chainrule.ones(4, 3), chainrule.ones(3, 2))
print(step.explain())

# %%
# Change one thing
# ----------------
#
# Before you run this: with 200 images per step instead of 10, is the engine's time closer to that of the code by hand,
# or further away? And which of them gains?
#
# Then try 1: what costs the most when there is almost nothing to compute?

count = 200  # change me
many_x, many_y = x.reshape(-1, 784), y.reshape(-1, 10)
timed = {}
for name, (step, _) in ways.items():
    times = []
    for i in range(31):
        chosen = slice(i * 37, i * 37 + count)
        begin = time.perf_counter()
        step(many_x[chosen], many_y[chosen])
        times.append(time.perf_counter() - begin)
    timed[name] = float(np.median(times[1:]))  # the first call compiles again, for the new shape
for name, each in timed.items():
    print(f"{count} images a step, {name:<9} {each / timed['by hand']:5.2f} × the time by hand")

# %%
# It is closer, on an otherwise idle machine: with many images per step the matrix products take nearly all the time, in
# all four versions. The remaining difference is how often intermediate results are written to memory and read again,
# and this is where fused loops gain.

# %%
# Read next
# ---------
#
# :Lesson:`any-curve` returns to pencil and paper, and asks what a network with one hidden layer can do at all.
#
# ``chainrule.autograd.tape`` is the tape and the backward pass, ``chainrule.jit`` the compiler, and ``chainrule.torch``
# converts whole networks from PyTorch and back (``from_torch``, ``to_torch``).
