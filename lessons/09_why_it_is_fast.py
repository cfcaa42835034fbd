"""
Why backpropagation is fast
===========================

Slopes can be measured by nudging, without any calculus. Then why did anybody bother to invent backpropagation?

Because of the cost. The network that will read digits has 23,860 weights and biases. To nudge each of them means to run
the network 23,861 times, for one example and one step. We measure both methods side by side on growing networks,
estimate the cost for a network that reads digits, and look at where the savings come from. At the end, we see what
nudging is good for: with the right step, it is the best check.

Prerequisites: :lesson:`backpropagation`.
"""

import time
from itertools import pairwise

import numpy as np

from chainrule.first_principles import backprop, finite_difference
from chainrule.lessons import show
from chainrule.plots import charts

# %%
# Nudging, and what it costs
# --------------------------
#
# Nudge one number by a small h, see how much the cost changes, divide by h. Then the next number, and so on.
#
# .. math:: \frac{\partial C}{\partial w_j} \approx \frac{C(w + h\, e_j) - C(w)}{h}
#
# Here :math:`e_j` is 1 at position :math:`j` and 0 elsewhere: only :math:`w_j` is changed. This is called a **finite
# difference**. :math:`C(w)` is needed once, and then the whole network has to run again for each number. A function
# that counts its calls shows it:

for count in (1, 10, 100):
    heights = finite_difference.CallCounter(lambda w: float(np.sum(w**2)))
    finite_difference.forward_difference(heights, np.ones(count))
    print(f"{count:3} numbers: {heights.calls:3} runs")

# %%
# N numbers take N + 1 runs. And the more numbers there are, the more each run has to multiply: twice as many numbers
# take twice as many runs of twice the size, which is four times the multiplications.

# %%
# A race
# ------
#
# The same gradient for one example by both methods, in networks with 20 inputs, 2 outputs, and more and more hidden
# neurons.
#
# The times depend on your machine, and vary a little from run to run; their ratio is what matters.

finite_difference.race([10])  # warm up: the first run is slow
rows = finite_difference.race([10, 30, 100, 300, 1000])
print(" numbers      runs   by nudging   by backpropagation   ratio")
for numbers, calls, slow, fast in rows:
    print(f"{numbers:8,}  {calls:8,}   {1000 * slow:7.1f} ms   {1000 * fast:15.3f} ms   {slow / fast:5,.0f}")

sizes, runs, slow, fast = np.array(rows, float).T
labels = {"x_label": "weights and biases N", "y_label": "time for one gradient (s)"}
curves = {"by nudging": slow, "by backpropagation": fast}
show(charts.lines(curves, sizes, title="The price of a gradient", log="xy", **labels))

# %%
# On these logarithmic axes nudging climbs steadily with N, while backpropagation hardly rises at all.

# %%
# A network that reads digits
# ---------------------------
#
# 784 pixels, 30 hidden neurons, 10 outputs: 784 · 30 + 30 + 30 · 10 + 10 = 23,860 weights and biases. How long would it
# take to train them by nudging?
#
# We time two tasks, a run forward, and a run forward and back. For each we take the median of many, and multiply.

random = np.random.default_rng(0)
layers = backprop.start(784, 30, 10, random)
image, answer = random.random((784, 1)), np.eye(10)[:, [3]]  # any image; the answer is 1 at the digit 3, 0 elsewhere
total = sum(part.size for part in layers)


def seconds(task, repeats=30, together=10):
    """The median time of a task. Ten are timed together, because a browser's clock ticks only each tenth of a ms."""
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        for _ in range(together):
            task()
        times.append((time.perf_counter() - begun) / together)
    return float(np.median(times))


def in_words(duration):
    """Format seconds in a readable unit."""
    for unit, length in (("years", 365.25 * 86400), ("days", 86400), ("hours", 3600), ("minutes", 60), ("seconds", 1)):
        if duration >= length:
            return f"{duration / length:,.1f} {unit}"
    return f"{1000 * duration:.3g} milliseconds"


one_run = seconds(lambda: backprop.cost(backprop.forward(layers, image).prediction, answer))
one_way_back = seconds(lambda: backprop.backpropagate(layers, image, answer))
print(f"one run forward:  {1e6 * one_run:3.0f} millionths of a second")
print(f"forward and back: {1e6 * one_way_back:3.0f} millionths of a second, {one_way_back / one_run:.1f} times as long")
print(f"{'':<52}{'by nudging':>18}{'by backpropagation':>22}")
for title, gradients in (
    ("one gradient, one example", 1),
    ("one epoch of 50,000 examples", 50_000),
    ("thirty epochs", 30 * 50_000),
):
    by_nudging, by_going_back = gradients * (total + 1) * one_run, gradients * one_way_back
    print(f"{title:<52}{in_words(by_nudging):>18}{in_words(by_going_back):>22}")

# %%
# And this favors nudging: the nudges themselves, a changed copy of all numbers each time, are not counted.
#
# These are single examples. In practice, a network takes many examples at once, so that NumPy is called less often.
# That speeds up both methods alike, and nudging would still take thousands of times as long.

# %%
# Where the savings come from
# ---------------------------
#
# A nudge to a weight reaches the cost on every path through the layers after it. There are more paths than weights.
#
# The slope of the cost is the sum, over all these paths, of the product of the slopes along each path. In a network
# with layers of 784, 30 and 10, a weight of the first layer has 10 paths to the cost. With more layers the numbers
# multiply:

for hidden in (1, 2, 3, 5):
    widths = [784] + [30] * hidden + [10]
    wires = sum(a * b for a, b in pairwise(widths))
    paths = np.prod([float(width) for width in widths])
    kind = f"{hidden} hidden layer{'s' if hidden > 1 else ''} of 30:"
    print(f"{kind:<22} {wires:6,} wires, {paths:20,.0f} paths from an input to an output")

# %%
# Backpropagation never follows a path. It visits each *wire* once, from the back to the front.
#
# The contributions from all paths after a neuron are added up into a single number, its blame :math:`\delta`, which is
# passed on. All paths through the neuron share this sum. To compute something once and reuse it is called dynamic
# programming; it happens in equation 3 of :lesson:`backpropagation`.
#
# Counted in multiplications: forward needs one for each weight. Back needs one for each weight to find its slope, and
# one more to pass the blame on. So a gradient costs about three runs, no matter how many numbers there are. (What you
# measured above may be four or five: in a network this small, much of the time goes into calling NumPy, and into
# writing 23,860 slopes to memory.)

# %%
# Change one thing
# ----------------
#
# Before you run this: double the hidden neurons. How many times as long does nudging take, and how many times as long
# backpropagation?
#
# Count the runs, and think of how many multiplications each run takes.

hidden = 400  # change me
(before, _, slow_before, fast_before), (after, _, slow_after, fast_after) = finite_difference.race(
    [hidden // 2, hidden]
)
print(f"numbers: {before:,} → {after:,}, {after / before:.2f} times as many")
print(f"multiplications by nudging:          {(after / before) * (after + 1) / (before + 1):.2f} times as many")
print(f"multiplications by backpropagation:  {after / before:.2f} times as many")
print(f"measured: nudging {slow_after / slow_before:.1f} times, backpropagation {fast_after / fast_before:.1f} times")

# %%
# Twice the work in each run, times twice as many runs: four times the multiplications, instead of twice. The measured
# times grow less than that, because each call of NumPy has a fixed cost; larger networks come closer.

# %%
# What nudging is good for
# ------------------------
#
# It does not use the equations, so it cannot repeat their mistakes: it checks every derivative in this library.
#
# How small should the nudge be? If it is too large, the curve bends away; this error shrinks with :math:`h`. If it is
# too small, :math:`C(w + h)` and :math:`C(w)` agree in so many digits that their difference is mostly rounding: a
# computer keeps about 16 digits, and what is lost is divided by :math:`h`, so this error grows as :math:`1/h`. The best
# step is in between. Nudging to both sides,
#
# .. math:: \frac{\partial C}{\partial w_j} \approx \frac{C(w + h\, e_j) - C(w - h\, e_j)}{2 h}
#
# costs nearly twice the runs and is far more accurate: the bend moves both ends the same way, and cancels in their
# difference. We try both on :math:`e^x`, whose slope we know: it is :math:`e^x` itself.

steps = 10.0 ** -np.arange(1, 15)
points = np.linspace(0.5, 1.5, 101)
errors = {
    "to one side": finite_difference.error_curve(np.exp, np.exp, points, steps),
    "to both sides": finite_difference.error_curve(np.exp, np.exp, points, steps, central=True),
}
for name, error in errors.items():
    print(f"eˣ, nudged {name}: smallest error {error.min():.0e}, at h = {steps[error.argmin()]:.0e}")
show(charts.step_errors(steps, errors))

small = backprop.start(5, 4, 3, random)
x, y = random.random((5, 1)), np.eye(3)[:, [1]]
exact = backprop.backpropagate(small, x, y)


def cost_of(w1):
    """The cost of the small network with these weights in its first layer."""
    return backprop.cost(backprop.forward(small._replace(w1=w1), x).prediction, y)


nudged = finite_difference.central_difference(cost_of, small.w1)
gap = np.abs(exact.w1 - nudged).max()
print(f"the first layer of a 5-4-3 network, slopes by equations and by nudging: {gap:.0e} apart")

# %%
# Read next
# ---------
#
# One gradient costs three runs, but that is for one example, and there are 50,000.
# :Lesson:`stochastic-gradient-descent` asks whether a step has to look at all of them.
#
# Nudging, counting and the race are in ``chainrule.first_principles.finite_difference``.
# ``chainrule.autograd.gradcheck`` checks the engine's derivatives in the same way.
