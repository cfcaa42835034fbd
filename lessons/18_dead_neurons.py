"""
Dead neurons and leaky ReLU
===========================

A neuron that stops responding could learn its way back. Why do some never recover, and can they be revived?

ReLU solved the vanishing gradient with a slope of exactly 1 for positive sums. Elsewhere its slope is exactly 0, and a
neuron whose sum is negative for every image gets no gradient at all. We watch one die, count the dead neurons of a
network, and bring a whole network back to life.

Prerequisites: :lesson:`vanishing-gradients`.
"""

import numpy as np

import chainrule
from chainrule import nn, optim
from chainrule.data import mnist
from chainrule.first_principles.activations import leaky_relu, leaky_relu_derivative, relu, relu_derivative
from chainrule.lessons import show
from chainrule.plots import charts, style
from chainrule.plots.animation import Animation

# %%
# Two bends
# ---------
#
# ReLU is flat to the left of zero. Leaky ReLU is almost flat there: it has a small slope α.
#
# .. math:: \text{ReLU}(z) = \max(0, z)
#    \qquad
#    \text{leaky}(z) = \begin{cases} z & \text{if } z > 0 \\ \alpha z & \text{if } z \le 0 \end{cases}
#    \qquad \alpha = 0.01 \text{, say}
#
# On the way back the error is multiplied by the slope (equation 3 of :lesson:`backpropagation`). A slope of 0 turns
# every error into 0.

pairs = {
    "ReLU": (relu, relu_derivative),
    "leaky ReLU, α = 0.1": (lambda z: leaky_relu(z, 0.1), lambda z: leaky_relu_derivative(z, 0.1)),
}
show(charts.functions(pairs, -3, 3, title="Flat, and almost flat"))

# %%
# One patient
# -----------
#
# The smallest case: a single neuron with one input. It should learn y = 2x, for x between 0 and 1.
#
# Its weight is 1, and its bias is -3, by an accident that we will look at later. So :math:`z = w x + b` is negative for
# every example: with ReLU its output is 0 for all of them, and so is the slope.

x = np.linspace(0, 1, 50)
y = 2 * x


def treat(alpha, steps=1000, rate=0.5):
    """Train with a slope of `alpha` left of zero; returns w, b, and the largest z and the loss of each step."""
    w, b, largest, losses = 1.0, -3.0, [], []
    for _ in range(steps):
        z = w * x + b  # (50,)
        a = leaky_relu(z, alpha)
        largest.append(z.max())
        losses.append(np.mean((a - y) ** 2))
        delta = 2 * (a - y) * leaky_relu_derivative(z, alpha) / len(x)
        w, b = w - rate * np.sum(delta * x), b - rate * np.sum(delta)
    return w, b, np.array(largest), np.array(losses)


histories = {}
for name, alpha in (("ReLU", 0.0), ("leaky ReLU, α = 0.01", 0.01)):
    w, b, largest, losses = treat(alpha)
    histories[name] = largest[:200]
    print(f"{name:<21} loss {losses[0]:.4f} at first, {losses[-1]:.4f} after 1,000 steps; w = {w:.4f}, b = {b:z.4f}")
    if largest.max() > 0:
        print(f"{'':<21} awake from step {np.argmax(largest > 0)} on")

labels = {"x_label": "step", "y_label": "the largest z of all examples"}
show(charts.lines(histories, title="A neuron lives where z is above 0", **labels))

# %%
# With ReLU not a single digit changes in a thousand steps. With the leak it climbs slowly, since it gets a hundredth of
# every error. As soon as z is above zero for the first example, it gets that example's full error, and recovers within
# a few steps.

# %%
# How a neuron dies
# -----------------
#
# By a step that is too long: it moves a neuron's weights so far that no image activates it any more.
#
# Pixels make this likely: they are never negative, so an error pushes all of a neuron's weights in the same direction.
# Here are two hidden layers of 100 rectifiers, 5,000 images and mini-batches of 50. We call a neuron **silent** if z
# is not above 0 for any of the images. A silent rectifier is **dead**: its slope is 0 for every image.

data = mnist().split()
pixels = (data.train.images[:5000].reshape(-1, 784) / 255).astype(np.float32)
answers = data.train.labels[:5000].astype(np.int64)
exam = (data.validation.images[:2000].reshape(-1, 784) / 255).astype(np.float32)
exam_answers = data.validation.labels[:2000]
cross_entropy = nn.CrossEntropyLoss()


def new_network(alpha):
    """784-100-100-10, always with the same initial weights; alpha 0 is ReLU."""
    random = np.random.default_rng(0)
    layers = [nn.Linear(n, m, generator=random) for n, m in ((784, 100), (100, 100), (100, 10))]
    return nn.Sequential(layers[0], nn.LeakyReLU(alpha), layers[1], nn.LeakyReLU(alpha), layers[2])


def sums(net, images):
    """Each layer's z for some images: (N, 100), (N, 100) and the scores (N, 10)."""
    passed, results = chainrule.from_numpy(images), []
    with chainrule.no_grad():
        for layer in net:
            passed = layer(passed)
            if isinstance(layer, nn.Linear):
                results.append(passed.numpy())
    if not all(np.isfinite(z).all() for z in results):  # comparisons with NaN would miscount the silent neurons
        raise ValueError("the network has diverged, its z are not finite; try a smaller learning rate")
    return results


def silent(net):
    """Which neurons of the two hidden layers are silent: two boolean arrays of 100."""
    return [z.max(axis=0) <= 0 for z in sums(net, pixels)[:2]]


def right(net):
    """The fraction of 2,000 validation images that are read right."""
    return float(np.mean(sums(net, exam)[-1].argmax(axis=1) == exam_answers))


def epoch(net, rate, random, after_step=lambda: None):
    """One pass through the images with plain gradient descent."""
    optimizer = optim.SGD(net.parameters(), lr=rate)
    for chosen in np.split(random.permutation(len(pixels)), len(pixels) // 50):
        loss = cross_entropy(net(chainrule.from_numpy(pixels[chosen])), chainrule.from_numpy(answers[chosen]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        after_step()


net = new_network(0.0)
history = [sums(net, pixels[:1000])[0]]
epoch(net, 0.7, np.random.default_rng(1), after_step=lambda: history.append(sums(net, pixels[:1000])[0]))
history = np.array(history)  # (101 steps, 1,000 images, 100 neurons): all z of the first layer
largest = history[1:].max(axis=1)  # (100 steps, 100 neurons): the largest z of each
dead = np.flatnonzero(silent(net)[0])
print(f"learning rate 0.7, after one epoch: {len(dead)} of the first layer's 100 neurons are dead")

victims = dead[:2]
survivor = int(np.flatnonzero(~silent(net)[0])[0])
curves = {f"neuron {k}, dead": largest[:, k] for k in victims} | {f"neuron {survivor}, alive": largest[:, survivor]}
labels = {"x_label": "step", "y_label": "largest z of 1,000 images"}
show(charts.lines(curves, title="The first epoch, neuron by neuron", **labels))
for k in victims:
    last = int(np.flatnonzero(largest[:, k] > 0)[-1]) + 1
    print(f"neuron {k}: last seen alive after step {last}; its largest z then stays at {largest[-1, k]:.4f}")

# %%
# Here is the moment itself, in motion, for the first of the two. Each dot is one of 200 images: its z, and what ReLU
# makes of it. Watch how they climb, and then land on the flat side.

victim = victims[0]
z = history[:, :200, victim]  # (101, 200)
line = np.linspace(z.min(), z.max(), 200)
figure = charts.lines({"ReLU": relu(line)}, line, title="A neuron dies", x_label="z", y_label="activation")
(dots,) = figure.axes[0].plot([], [], "o", color=style.LIGHT.second, markersize=5, alpha=0.5)


def draw(step):
    """Show the 200 images after a step."""
    dots.set_data(z[step], relu(z[step]))
    awake = np.sum(z[step] > 0)
    style.retitle(figure, f"Neuron {victim} after step {step}: awake for {awake} of 200 images")


draw(len(z) - 1)
show(Animation(figure, draw, len(z), max_frames=50, milliseconds=150))
print(
    f"neuron {victim} is awake for {np.sum(z[0] > 0)} of these 200 images at first, for {np.sum(z[-1] > 0)} in the end"
)

# %%
# Both were close to their most active, and one step corrected far too much. From then on their lines are perfectly
# level: their weights do not change any more, to the last bit. Let us check that.

loss = cross_entropy(net(chainrule.from_numpy(pixels)), chainrule.from_numpy(answers))
net.zero_grad()
loss.backward()
slopes = np.abs(net[0].weight.grad.numpy()).max(axis=1)  # (100,)
print(f"largest slope in any weight of the {len(dead)} dead: {slopes[dead].max():.1e}")
print(f"and of the others, on average: {np.delete(slopes, dead).mean():.1e}")

# %%
# Counting through training
# -------------------------
#
# A small learning rate and a large one, three slopes left of zero, four epochs each. We count after each epoch.

counts, marks = {}, {}
for rate in (0.1, 0.8):
    for name, alpha in (("ReLU", 0.0), ("α = 0.01", 0.01), ("α = 0.1", 0.1)):
        net, random = new_network(alpha), np.random.default_rng(1)
        shares = [[layer.mean() for layer in silent(net)]]
        for _ in range(4):
            epoch(net, rate, random)
            shares.append([layer.mean() for layer in silent(net)])
        counts[f"{name}, rate {rate}"], marks[f"{name}, rate {rate}"] = np.array(shares), right(net)  # (5, 2)

print("                      silent in the first layer       silent in the second layer")
print("after epoch             0    1    2    3    4            0    1    2    3    4      read right")
for name, shares in counts.items():
    first, second = ("".join(f"{share:5.0%}" for share in column) for column in shares.T)
    print(f"{name:<18} {first}        {second}      {marks[name]:9.1%}")

large = {name: shares[:, 0] for name, shares in counts.items() if "rate 0.8" in name}
figure = charts.dead_neurons(large, range(5), title="Silent neurons of the first layer")
figure.axes[0].set_ylabel("neurons that are silent (%)")
show(figure)

# %%
# Follow ReLU's first layer from left to right: the numbers never fall. Its inputs are pixels, which do not change, so a
# dead neuron stays dead. In the second layer a neuron may recover, because its inputs are the first layer, which is
# still learning.
#
# The leak does not keep a neuron from falling silent: the long step moves it just as far. But a silent neuron with a
# leak is not dead. With α = 0.1 the count goes down again, epoch by epoch. With α = 0.01 it does not.
#
# Is that luck? Here are ten epochs at the rate 0.8, with the images in three other orders.


def ten_epochs(alpha, order):
    """The number of silent neurons after each of ten epochs at the rate 0.8, and the fraction read right, as a line."""
    net, random, silent_counts = new_network(alpha), np.random.default_rng(order), []
    for number in range(1, 11):
        epoch(net, 0.8, random)
        try:
            silent_counts.append(int(silent(net)[0].sum()))
        except ValueError:
            return f"diverged in epoch {number}"
    first, second, fifth, tenth = (silent_counts[number - 1] for number in (1, 2, 5, 10))
    return f"{first:3} {second:3} {fifth:3} {tenth:3}   read right {right(net):.1%}"


print("silent of the first layer's 100 neurons, after 1, 2, 5 and 10 epochs")
for name, alpha in (("ReLU", 0.0), ("α = 0.01", 0.01), ("α = 0.1", 0.1)):
    for order in (2, 3, 4):
        print(f"{name:<9} order {order}: {ten_epochs(alpha, order)}")

# %%
# Not luck. With ReLU the count never falls. With α = 0.01 a silent neuron does get a gradient, but a hundredth of an
# error is too little to bring it back within ten epochs, and at this rate other neurons fall silent meanwhile. With
# a leak of 0.1 most of them come back: it is a cure if it is large enough.
#
# (The rate 0.8 is at the edge. On a different processor sums are rounded in a different order, and a network of this
# table may diverge, until its numbers are no longer finite; then the line says so.)

# %%
# A whole network revived
# -----------------------
#
# Now the worst case: a healthy network is trained for two epochs, and then every bias of its first layer is lowered
# until its neuron is silent for every image.
#
# All 100 are dead, nothing of the image gets past them, and the answer is the same for all. We continue training at the
# rate 0.3: with the same activation, and with leaky ones.

patient, random = new_network(0.0), np.random.default_rng(1)
for _ in range(2):
    epoch(patient, 0.1, random)
print(f"healthy: {silent(patient)[0].sum()} dead in the first layer, {right(patient):.1%} read right")
highest = sums(patient, pixels)[0].max(axis=0)  # (100,)
with chainrule.no_grad():
    patient[0].bias -= chainrule.from_numpy(highest + 1)  # the largest z of each is now -1
print(f"the accident: {silent(patient)[0].sum()} dead, {right(patient):.1%} read right")

recovery = {}
for name, alpha in (("ReLU", 0.0), ("α = 0.01", 0.01), ("α = 0.1", 0.1)):
    twin, random = new_network(alpha), np.random.default_rng(2)
    twin.load_state_dict(patient.state_dict())
    recovery[name], awake = [right(twin)], [0]
    for _ in range(6):
        epoch(twin, 0.3, random)
        recovery[name].append(right(twin))
        awake.append(100 - int(silent(twin)[0].sum()))
    print(f"{name:<9} awake after each epoch {awake}, read right in the end {recovery[name][-1]:6.1%}")

percent = {name: 100 * np.array(values) for name, values in recovery.items()}
labels = {"x_label": "epochs after the accident", "y_label": "read right (%)"}
show(charts.lines(percent, range(7), title="The same weights, a different bend", **labels))

# %%
# ReLU's line stays at the level of luck: its last layer only learns how often each digit occurs, which is all that it
# can still learn. In the other two, many of the neurons wake up, sooner with the larger leak, and the network reads
# again.

# %%
# Change one thing
# ----------------
#
# Before you run this: with a quarter of the learning rate that killed nearly a fifth of the first layer, how many
# rectifiers die?
#
# Is there a rate below which none die? And what do the dead ones cost, in images read right? Try 0.6 and 0.9.

rate = 0.175  # change me
net, random = new_network(0.0), np.random.default_rng(1)
for _ in range(2):
    epoch(net, rate, random)
print(f"ReLU at rate {rate}: {[int(layer.sum()) for layer in silent(net)]} dead, {right(net):.1%} read right")

# %%
# At small rates hardly any die, and a few dead ones among a hundred cost little: the others do their work. So the first
# thing to try against dead neurons is a smaller learning rate, and the second is the leak.

# %%
# Read next
# ---------
#
# :Lesson:`deeper-networks` has two inventions that let thirty layers learn.
#
# ``chainrule.nn`` has the relatives: ``LeakyReLU``, ``ELU``, ``GELU``. Leaky ReLU is from
# Maas, Hannun and Ng, Rectifier nonlinearities improve neural network acoustic models (2013).
