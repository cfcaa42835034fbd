"""
Better steps
============

Downhill is the way. But how long should a step be, and does it have to go straight down?

:Lesson:`the-bowl` showed the trouble: in a long, narrow valley the slope points at the other wall, not along the
valley. One learning rate is too large across and too small along. Four rules for taking a step are in use everywhere:
plain descent, momentum, RMSprop and Adam. We write each down, follow its first steps with numbers, let all four race
through one valley, and then through a network.

Prerequisites: :lesson:`the-bowl`, :lesson:`stochastic-gradient-descent`, :lesson:`learning-better`.
"""

import numpy as np

import chainrule
from chainrule import nn, optim
from chainrule.data import mnist
from chainrule.first_principles.descent import Path
from chainrule.lessons import show
from chainrule.plots import animate_descent, charts
from chainrule.plots import descent as pictures

# %%
# A valley
# --------
#
# Our valley is a bowl, a hundred times as steep across as along. The lowest point is at (0, 0), and we start
# at (-4, 1).
#
# .. math:: f(x_1, x_2) = 0.005 \, x_1^2 + 0.5 \, x_2^2, \qquad \nabla f = (0.01 \, x_1, \; x_2)


def valley(points):
    """The height at a point (2,), or at each of many (..., 2)."""
    return 0.005 * points[..., 0] ** 2 + 0.5 * points[..., 1] ** 2


def slope(point):
    """The gradient at a point (2,)."""
    return np.array([0.01, 1.0]) * point


start = np.array([-4.0, 1.0])
print(f"height at the start {valley(start):.4f}, gradient ({slope(start)[0]:.2f}, {slope(start)[1]:.2f})")
print("the way to the bottom is (4, -1): mostly along; the gradient points mostly across")

# %%
# Plain descent
# -------------
#
# The rule that we know, with θ (theta) for all numbers that are learned, and g for the gradient.
#
# .. math:: \theta \leftarrow \theta - \eta \, g
#
# Each coordinate is multiplied by a factor in every step: :math:`1 - 0.01 \eta` along the valley, :math:`1 - \eta`
# across. Across, :math:`\eta` must be below 2, or the factor is beyond -1 and the steps grow. So along, the factor is
# at best 0.98: that is what the steep direction does to the flat one.


def plain(theta, g, memory, rate):
    """A step of plain descent, which needs no `memory` of earlier steps."""
    return theta - rate * g


# %%
# Momentum
# --------
#
# A ball does not stop at every point to look around. It keeps its speed.
#
# .. math:: v \leftarrow 0.9 \, v + g, \qquad \theta \leftarrow \theta - \eta \, v
#
# :math:`v` is the velocity: nine tenths of the last one, plus the slope. Where the slope keeps its direction, the
# velocity grows: to :math:`1 + 0.9 + 0.9^2 + \dots = 1 / (1 - 0.9) = 10` times the slope. Where it changes sign with
# every step, its parts cancel.


def momentum(theta, g, memory, rate):
    """A step with momentum; `memory` keeps the velocity."""
    memory["v"] = 0.9 * memory.get("v", 0.0) + g
    return theta - rate * memory["v"]


print(f"a slope of 1 in each step: velocity after 1, 5, 20 steps: "
      f"{', '.join(f'{sum(0.9**k for k in range(n)):.2f}' for n in (1, 5, 20))}")  # fmt: skip
print(f"a slope of 1, -1, 1, ...:  velocity after 1, 5, 20 steps: "
      f"{', '.join(f'{sum((-1) ** (n - 1 - k) * 0.9**k for k in range(n)):.2f}' for n in (1, 5, 20))}")  # fmt: skip

# %%
# RMSprop
# -------
#
# Another idea: give each number a step length of its own. Divide its slope by the usual size of its slope.
#
# .. math:: s \leftarrow 0.9 \, s + 0.1 \, g^2, \qquad \theta \leftarrow \theta - \eta \frac{g}{\sqrt{s} + \epsilon}
#
# :math:`s` is a running mean of the squared slopes, one for each number; its root is their usual size, the root mean
# square, hence RMS. :math:`\epsilon` prevents a division by 0. So steep and flat directions get steps of the same
# length, about :math:`\eta`. We start the mean with the first square.


def rmsprop(theta, g, memory, rate):
    """A step of RMSprop; `memory` keeps the mean of the squared slopes."""
    memory["s"] = 0.9 * memory.get("s", g**2) + 0.1 * g**2
    return theta - rate * g / (np.sqrt(memory["s"]) + 1e-8)


# %%
# Adam
# ----
#
# Both together: a velocity, divided by the usual size.
#
# .. math::
#
#    m &\leftarrow 0.9 \, m + 0.1 \, g, \qquad & \hat m &= m / (1 - 0.9^t) \\
#    s &\leftarrow 0.999 \, s + 0.001 \, g^2, \qquad & \hat s &= s / (1 - 0.999^t) \\
#    \theta &\leftarrow \theta - \eta \frac{\hat m}{\sqrt{\hat s} + \epsilon}
#
# Both means start at 0, and would be too small in the first steps: after one step, :math:`m` is only a tenth of the
# slope. How much too small? Say that every slope is the same :math:`g`. Each step leaves nine tenths of what :math:`m`
# still lacks of :math:`g`. At first it lacks all of it, so after :math:`t` steps it lacks :math:`0.9^t g`, and is
# :math:`(1 - 0.9^t) \, g`. Divide by :math:`1 - 0.9^t`, and :math:`g` is left. The same goes for :math:`s`, with 0.999.


def adam(theta, g, memory, rate):
    """A step of Adam; `memory` keeps both means and the number of steps."""
    t = memory["t"] = memory.get("t", 0) + 1
    memory["m"] = 0.9 * memory.get("m", 0.0) + 0.1 * g
    memory["s"] = 0.999 * memory.get("s", 0.0) + 0.001 * g**2
    m, s = memory["m"] / (1 - 0.9**t), memory["s"] / (1 - 0.999**t)
    return theta - rate * m / (np.sqrt(s) + 1e-8)


# %%
# The first two steps
# -------------------
#
# Here is what the four formulas do with the same start. Each has a learning rate that suits it.

RULES = {"plain": (plain, 1.8), "momentum": (momentum, 0.4), "RMSprop": (rmsprop, 0.1), "Adam": (adam, 0.3)}


def descend(rule, rate, steps, begin=start):
    """The path of a rule from a point: its points, heights and gradients."""
    points, memory = [begin], {}
    for _ in range(steps):
        points.append(rule(points[-1], slope(points[-1]), memory, rate))
    points = np.array(points)
    return Path(points, valley(points), np.array([slope(point) for point in points[:-1]]))


for name, (rule, rate) in RULES.items():
    first, second = (f"({step[0]:7.4f}, {step[1]:7.4f})" for step in np.diff(descend(rule, rate, 2).points, axis=0))
    print(f"{name:<9} rate {rate}: first step {first}, second {second}")

# %%
# Plain descent throws itself at the other wall. The first step of momentum is a plain one, the second is nearly twice
# as long along the valley. RMSprop and Adam step equally far in both directions, however steep they are: their first
# step is just the learning rate, with the sign of the slope.

# %%
# The race
# --------
#
# A hundred steps each. First the ball with momentum, in motion.

paths = {f"{name}, rate {rate}": descend(rule, rate, 100) for name, (rule, rate) in RULES.items()}
print("height after            10        20        50       100 steps    lowest on the way")
for name, path in paths.items():
    heights = "".join(f"{path.values[i]:10.1e}" for i in (10, 20, 50, 100))
    print(f"{name:<19}{heights}{path.values.min():21.1e}")
window = ((-4.6, 2.6), (-1.4, 1.4))
show(animate_descent(paths["momentum, rate 0.4"], valley, window, "A ball with momentum"))
show(pictures.descent_on_contour(paths, valley, window, "Four rules in one valley"))

# %%
# Plain descent goes from wall to wall, and creeps along. Momentum swings from wall to wall at first, too, but its speed
# along the valley grows, and it gets there sooner. RMSprop walks almost straight, but near the goal it does not settle:
# its steps keep their length when the slope is nearly 0, since both shrink together. Adam shoots past the goal, swings
# back, and settles.
#
# Who wins depends on the rates: with other rates the order changes. What does not change is how each of them moves.

heights = {name: path.values for name, path in paths.items()}
labels = {"x_label": "step", "y_label": "height above the bottom"}
show(charts.lines(heights, range(101), title="How high above the bottom", log="y", **labels))

# %%
# The same in the library
# -----------------------
#
# ``chainrule.optim`` has all four. Its RMSprop starts the mean at 0; otherwise the formulas are the same.

twin = chainrule.tensor(start, requires_grad=True)
steepness = chainrule.tensor(np.array([0.005, 0.5]))
for name, optimizer in (
    ("plain", optim.SGD([twin], lr=1.8)),
    ("momentum", optim.SGD([twin], lr=0.4, momentum=0.9)),
    ("Adam", optim.Adam([twin], lr=0.3)),
):
    with chainrule.no_grad():
        twin[...] = chainrule.tensor(start)
    for _ in range(100):
        height = (steepness * twin**2).sum()
        optimizer.zero_grad()
        height.backward()
        optimizer.step()
    ours = next(path for key, path in paths.items() if key.startswith(name)).points[-1]
    print(f"{name:<9} 100 steps, the same point to ten decimals: {np.allclose(twin.detach().numpy(), ours, 0, 1e-10)}")

# %%
# On a network
# ------------
#
# A valley has two coordinates, a network thousands, and every step sees different images. Does the same hold?
#
# 784-64-10 with ReLU, 2,000 images, 50 a step, five epochs, for several learning rates each.

data = mnist().split()
pixels = (data.train.images[:2000].reshape(-1, 784) / 255).astype(np.float32)
answers = data.train.labels[:2000].astype(np.int64)
cross_entropy = nn.CrossEntropyLoss()


def learn(make_optimizer, epochs=5):
    """The mean loss of each epoch."""
    random = np.random.default_rng(0)
    net = nn.Sequential(nn.Linear(784, 64, generator=random), nn.ReLU(), nn.Linear(64, 10, generator=random))
    optimizer, means = make_optimizer(net.parameters()), []
    for _ in range(epochs):
        losses = []
        for chosen in np.split(random.permutation(2000), 40):
            loss = cross_entropy(net(chainrule.from_numpy(pixels[chosen])), chainrule.from_numpy(answers[chosen]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        means.append(float(np.mean(losses)))
    return means


# Each entry: a function that makes, for a learning rate, the function that makes the optimizer; and the rates to try
FAMILIES = {
    "plain": (lambda rate: lambda parameters: optim.SGD(parameters, lr=rate), (0.01, 0.1, 0.5)),
    "momentum": (lambda rate: lambda parameters: optim.SGD(parameters, lr=rate, momentum=0.9), (0.001, 0.01, 0.1)),
    "RMSprop": (lambda rate: lambda parameters: optim.RMSprop(parameters, lr=rate), (0.0001, 0.001, 0.01)),
    "Adam": (lambda rate: lambda parameters: optim.Adam(parameters, lr=rate), (0.0001, 0.001, 0.01)),
}
curves = {}
print("mean loss in epoch          1       5")
for name, (family, rates) in FAMILIES.items():
    results = {rate: learn(family(rate)) for rate in rates}
    for rate, means in results.items():
        print(f"{name + f', rate {rate:g}':<22}{means[0]:8.4f}{means[-1]:8.4f}")
    best = min(rates, key=lambda rate: results[rate][-1] if np.isfinite(results[rate][-1]) else np.inf)
    curves[f"{name}, rate {best:g}"] = results[best]
labels = {"x_label": "epoch", "y_label": "mean loss, -ln p"}
show(charts.lines(curves, title="Each with the best of its three rates", **labels))

# %%
# With its best rate, each of them learns well, and plain descent is not far behind. The larger differences are between
# rates: a tenth of the best one costs more than a better rule gains. So the learning rate is the first thing to choose,
# with any rule.
#
# Why is Adam used so much, then? Its steps are about as long as the learning rate, whatever the size of the slopes. So
# a rate around 0.001 works for many networks, including deep ones, whose layers have slopes of very different sizes.

# %%
# Change one thing
# ----------------
#
# Before you run this: momentum 0.9 keeps nine tenths of the velocity. What will the ball do with 0.99, and what with
# 0.5?
#
# Count how often it passes the lowest point of the valley (:math:`x_1` changes its sign).

kept = 0.99  # change me


def with_memory(share):
    """Momentum, with this share of the velocity kept instead of 0.9."""

    def rule(theta, g, memory, rate):
        memory["v"] = share * memory.get("v", 0.0) + g
        return theta - rate * memory["v"]

    return rule


for share in (0.5, 0.9, kept):
    path = descend(with_memory(share), 0.4, 300)
    passes = int(np.sum(np.diff(np.sign(path.points[:, 0])) != 0))
    print(f"momentum {share}: passes the bottom {passes} times; height after 300 steps {path.values[-1]:.1e}")

# %%
# Too little momentum is nearly plain descent. Too much, and the ball swings back and forth like a pendulum with
# hardly any friction, for a very long time.

# %%
# Read next
# ---------
#
# :Lesson:`your-own-photo` leaves the training, and asks what happens between a camera and a network.
#
# The optimizers are in ``chainrule.optim``, with a dozen more, and ``chainrule.optim.lr_scheduler`` makes the rate
# smaller toward the end. Momentum is from Polyak (1964); RMSprop from Tieleman and Hinton's lecture, Divide the
# gradient by a running average of its recent magnitude (2012); Adam from Kingma and Ba, Adam: a method for stochastic
# optimization (2014).
