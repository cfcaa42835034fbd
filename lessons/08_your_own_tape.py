"""
Your own tape
=============

The library finds the slopes of any formula by itself. How? Could you build that, from nothing, in a hundred lines?

You can, and this lesson does: a number that remembers how it was computed, and a walk back through its memories. On the
way we make the three classic mistakes on purpose, and look at the wrong numbers they give. In the end a network learns
with nothing but our own lines, and we compare every slope with the library's.

Prerequisites: :lesson:`the-chain-rule`, :lesson:`backpropagation`.
"""

import math

import numpy as np

import chainrule as cr
from chainrule.lessons import show
from chainrule.plots import charts
from chainrule.plots.flow import Arrow, Frame, Node, animate_flow, flow_diagram

# %%
# A number that remembers
# -----------------------
#
# The chain rule needs two things of every number: from which numbers it was computed, and how fast it changes with each
# of them. So let a number keep exactly that.
#
# The numbers it was computed from are its **parents**. How fast it changes with each is its **local slope**: local,
# because it concerns one machine alone, not what comes before or after. A sum changes as fast as each of its parts: two
# slopes of 1. A product changes with one factor as fast as the *other* factor is large, as in :lesson:`the-chain-rule`.
#
# In Python a ``class`` is a blueprint for things with several parts. ``__init__`` fills in the parts of a new one, and
# ``self`` is the thing itself. Where Python reads ``a + b`` it calls ``a.__add__(b)``, and for ``a * b`` it calls
# ``a.__mul__(b)``; so these two can be ours.


class Value:
    def __init__(self, number, parents=(), slopes=()):
        self.number, self.parents, self.slopes = number, parents, slopes
        self.gradient = 0.0

    def __add__(self, other):
        return Value(self.number + other.number, (self, other), (1.0, 1.0))

    def __mul__(self, other):
        return Value(self.number * other.number, (self, other), (other.number, self.number))


def example():
    """The formula that goes through this lesson: u = w x, then y = u + u u."""
    w, x = Value(3.0), Value(2.0)
    u = w * x
    square = u * u
    return {"w": w, "x": x, "u": u, "u · u": square, "y": u + square}


def report(values):
    """Print each value of a formula with its gradient."""
    print(", ".join(f"{name}: {value.gradient:g}" for name, value in values.items()))


values = example()
name_of = {value: name for name, value in values.items()}
for name, value in values.items():
    parents = ", ".join(f"{name_of[p]} (slope {s:g})" for p, s in zip(value.parents, value.slopes, strict=True))
    print(f"{name:<6}= {value.number:4g}, computed from {parents or 'nothing'}")

# %%
# We wrote down a formula, and got its tape for free: while it ran, each result noted its parents and slopes.
#
# The number ``u`` is used three times on the way to ``y``: once in the sum, twice in the product. Keep an eye on it.
# The answer is known: :math:`y = u + u^2` has the slope :math:`1 + 2u = 13` in :math:`u`, so the slope in :math:`w` is
# 13 · 2 = 26, and in :math:`x` it is 13 · 3 = 39.

where = {"w": (0, 0), "x": (0, 1), "u": (1, 0.5), "u · u": (2, 1.25), "y": (3, 0.5)}
boxes = {name: Node(*where[name], f"{value.number:g}") for name, value in values.items()}
arrows = [
    Arrow("w", "u", "slope 2"),
    Arrow("x", "u", "slope 3"),
    Arrow("u", "u · u", "slope 6", at=0.6, bend=0.35),
    Arrow("u", "u · u", "slope 6", at=0.4, bend=-0.35),
    Arrow("u", "y", "slope 1"),
    Arrow("u · u", "y", "slope 1"),
]
show(flow_diagram(boxes, arrows, "The tape: what was computed from what", gaps=(1.75, 1.25)))

# %%
# The way back, path by path
# --------------------------
#
# The chain rule says: multiply along each path, and add up the paths. That is a function of four lines, which calls
# itself for each parent.
#
# ``slope`` is the slope of the result in this value, along the path on which we came. It is added to the value's
# ``gradient``, and each parent is visited with it, times the local slope.


def follow_paths(value, slope):
    value.gradient += slope
    visits[0] += 1
    for parent, local in zip(value.parents, value.slopes, strict=True):
        follow_paths(parent, slope * local)


visits = [0]  # a list, so that the function can change the number in it
follow_paths(values["y"], 1.0)
report(values)
print(f"{len(values)} values, {visits[0]} visits")

# %%
# It is right: 26, 39, and 13 for u. And it is useless, because it visits a value once for every path that leads there.
#
# Let a number be doubled again and again, :math:`y + y`. Each doubling has two wires, so the number of paths doubles as
# well:

for doublings in (1, 5, 10, 15):
    y = Value(1.0)
    for _ in range(doublings):
        y = y + y
    visits = [0]
    follow_paths(y, 1.0)
    print(f"{doublings:2} doublings: {doublings + 1:2} values, {visits[0]:6,} visits")
print(f"50 doublings: 51 values, {2**51 - 1:,} visits: at a million a second, {(2**51 - 1) / 1e6 / 31557600:.0f} years")

# %%
# Visit each value once, in which order?
# --------------------------------------
#
# So each value should pass its slope on only once. Let us try the first thing that comes to mind: start at the result,
# and pass on from each value as soon as we meet it.
#
# ``waiting`` is a to-do list: the values that have been met and have not passed on yet. To see whether the result can
# be trusted, we compute the same formula in two ways: ``u + u * u`` and ``u * u + u``.


def as_we_meet_them(result):
    result.gradient = 1.0
    waiting, met = [result], {result}
    while waiting:
        value = waiting.pop(0)
        for parent, slope in zip(value.parents, value.slopes, strict=True):
            parent.gradient += slope * value.gradient
            if parent not in met:
                met.add(parent)
                waiting.append(parent)


values = example()
as_we_meet_them(values["y"])
print("u + u * u gives  ", end="")
report(values)

swapped = example()
swapped["y"] = swapped["u · u"] + swapped["u"]
as_we_meet_them(swapped["y"])
print("u * u + u gives  ", end="")
report(swapped)

# %%
# The slope in w is 2 one way and 26 the other, though the formula is the same. One value passed on too early.
#
# In ``u + u * u`` the sum's first parent is ``u``. It gets its slope of 1 and passes it on at once, 2 to ``w``. Only
# then does the product report to ``u`` that it needs 6 + 6 more. The gradient of ``u`` is right in the end, 13, but 12
# of it came after ``u`` had already spoken.
#
# So the rule is: *a value passes on when everything that uses it has passed on to it*. Not before.

# %%
# Put them in order
# -----------------
#
# We need all values in a row, each after its parents. Going through that row backward, everything that uses a value has
# its turn before the value itself.
#
# Such a row is called a **topological order**. To find one: a value may join the row when all of its parents are in it.
# So we take the result, and put it back on the to-do list with the note "when my parents are done"; then its parents go
# on the list, above it, and the same happens to them. (``pop()`` takes the last one from the list, the one on top.
# Values that have been met before are skipped.)
#
# Take ``u = w * x``. At first only ``u`` is on the list. It comes off, and the list becomes: ``u`` with the note,
# ``w``, and ``x`` on top. ``x`` comes off and goes back with its note; it has no parents, so it comes off again at
# once, and joins the row. The same happens to ``w``. Now ``u`` with its note is on top, and is the last to join: ``x``,
# ``w``, ``u``.


def order(result):
    done = []
    seen = set()
    waiting = [(result, False)]
    while waiting:
        value, parents_done = waiting.pop()
        if parents_done:
            done.append(value)
        elif value not in seen:
            seen.add(value)
            waiting.append((value, True))
            waiting += [(parent, False) for parent in value.parents]
    return done


def backward(result):
    ordered = order(result)
    for value in ordered:  # why only those with parents? See "Start from zero"
        if value.parents:
            value.gradient = 0.0
    result.gradient += 1.0
    for value in reversed(ordered):
        for parent, slope in zip(value.parents, value.slopes, strict=True):
            parent.gradient += slope * value.gradient


values = example()
name_of = {value: name for name, value in values.items()}
print("in order:", ", ".join(name_of[value] for value in order(values["y"])))
backward(values["y"])
print("u + u * u gives  ", end="")
report(values)

swapped = example()
swapped["y"] = swapped["u · u"] + swapped["u"]
backward(swapped["y"])
print("u * u + u gives  ", end="")
report(swapped)

# %%
# 26 both ways, and each value passed on once. These few lines are backpropagation, for any formula whatever.
#
# Here they are in motion. Watch ``u``: it waits until the product has reported, and only then passes its 13 on.

gradients = dict.fromkeys(values, 0.0) | {"y": 1.0}
name_of = {value: name for name, value in values.items()}
film = []
for value in reversed(order(values["y"])):
    here = name_of[value]
    passed = [(name_of[parent], slope) for parent, slope in zip(value.parents, value.slopes, strict=True)]
    for parent, slope in passed:
        gradients[parent] += slope * gradients[here]
    drawn = {
        name: Node(*where[name], f"{values[name].number:g}", f"gradient {gradient:g}", name == here)
        for name, gradient in gradients.items()
    }
    backward_arrows = [arrow._replace(back=arrow.end == here, faint=arrow.end != here) for arrow in arrows]
    spoken = " and ".join(f"{slope * gradients[here]:g} to {parent}" for parent, slope in passed)
    film.append(Frame(f"{here} passes {spoken}" if spoken else f"{here} has no parents", drawn, backward_arrows))
show(animate_flow(film, gaps=(1.85, 1.25)))

# %%
# The order in which the values were *computed* would do as well, since nothing can be computed before its parents. The
# library does that: it numbers its operations while they run, like lines on a tape, and reads the tape backward.

y = Value(1.0)
for _ in range(50):
    y = y + y
print(f"50 doublings: {len(order(y))} values, each visited once")

# %%
# Why ``+=`` and not ``=``?
# -------------------------
#
# A tempting slip: the last line of ``backward`` with = in place of +=. It even works, as long as no value is used
# twice.


def backward_with_a_slip(result):
    result.gradient = 1.0
    for value in reversed(order(result)):
        for parent, slope in zip(value.parents, value.slopes, strict=True):
            parent.gradient = slope * value.gradient  # the last use wins


values = example()
backward_with_a_slip(values["y"])
print("with =   ", end="")
report(values)

x = Value(3.0)
backward_with_a_slip(x * x)
print(f"x · x at 3, with =   slope {x.gradient:g}, and it should be 6")

# %%
# The gradient of u is now what its *last* use reported, 6, and what the other uses said is lost. The plus sign in += is
# the sum over paths.

# %%
# The whole class
# ---------------
#
# A network needs a little more: differences, powers, the sigmoid, and plain numbers such as the 2 in 2 · x.
#
# Each new machine is two things: its result, and its local slopes. That is all one ever has to add. A power :math:`x^n`
# has the slope :math:`n x^{n-1}`: you know it for :math:`n = 2`. ``as_value`` wraps a plain number, and ``__radd__`` is
# what Python calls for ``2 + x``, where the left side does not know how.


class Value:  # the whole of it
    def __init__(self, number, parents=(), slopes=()):
        self.number, self.parents, self.slopes = number, parents, slopes
        self.gradient = 0.0

    def __add__(self, other):
        other = as_value(other)
        return Value(self.number + other.number, (self, other), (1.0, 1.0))

    def __mul__(self, other):
        other = as_value(other)
        return Value(self.number * other.number, (self, other), (other.number, self.number))

    def __sub__(self, other):
        other = as_value(other)
        return Value(self.number - other.number, (self, other), (1.0, -1.0))

    def __pow__(self, exponent):
        slope = exponent * math.pow(self.number, exponent - 1) if exponent else 0.0
        return Value(math.pow(self.number, exponent), (self,), (slope,))

    def sigmoid(self):  # for a sum below -700, e to the power of minus the sum would be too large for a computer
        bent = 1 / (1 + math.exp(-self.number)) if self.number > -700 else 0.0
        return Value(bent, (self,), (bent * (1 - bent),))

    __radd__, __rmul__ = __add__, __mul__


def as_value(number):
    return number if isinstance(number, Value) else Value(number)


x = Value(3.0)
y = x * x + 2 * x
backward(y)
print(f"x² + 2x at x = 3: {y.number:g}, slope {x.gradient:g}, by hand 2x + 2 = {2 * 3 + 2}")
z = Value(0.4)
backward((z.sigmoid() - 1) ** 2)
print(f"(σ(z) - 1)² at z = 0.4: slope {z.gradient:.4f}, the -0.1928 of the chain rule's neuron")

# %%
# Start from zero
# ---------------
#
# ``backward`` adds to the gradients of inputs and weights. That is a feature: the slopes of several examples add up by
# themselves. But for the next step one has to start from zero.
#
# Let us roll down :math:`(w - 3)^2` from :math:`w = 10`, as in :lesson:`rolling-downhill`, at the rate 0.1: once with
# the gradient set to zero before each step, and once without. (The values in between, which have parents, are new in
# each step. The first lines of ``backward`` set them to zero anyway, in case somebody goes back through the same
# formula twice.)


def zero_gradients(values):
    for value in values:
        value.gradient = 0.0


trails = {}
for title, clear in (("with zero_gradients", True), ("without", False)):
    w, trail = Value(10.0), [10.0]
    for _ in range(40):
        if clear:
            zero_gradients([w])
        backward((w - 3) ** 2)
        w.number -= 0.1 * w.gradient
        trail.append(w.number)
    trails[title] = trail
    print(f"{title:<20}w after 1, 2, 5, 10, 40 steps: ", end="")
    print(", ".join(f"{trail[step]:.4f}" for step in (1, 2, 5, 10, 40)))

labels = {"x_label": "step", "y_label": "w"}
show(charts.lines(trails, np.arange(41), title="Without zeros, old slopes stay in the sum", **labels))

# %%
# Without the zeros, each step uses the sum of all slopes since the start. The ball cannot stop: it swings around 3
# forever.
#
# Every library has this trap. PyTorch's and ours call the cure ``optimizer.zero_grad()``, and forgetting it is the most
# common mistake of beginners, because nothing fails and the loss still falls at first.

# %%
# A network on our own tape
# -------------------------
#
# Now the network of :lesson:`backpropagation`: two inputs, three hidden neurons, two outputs that add up two bits. The
# same weights to begin with, but no matrices, no equations: just the formula of a neuron.

start = (
    [[0.5, -1.0], [1.0, 0.5], [-0.5, 1.0]],  # weights of the hidden layer, a row for each neuron
    [0.1, 0.0, -0.1],  # its biases
    [[1.0, -1.5, 0.5], [1.5, 0.5, -1.0]],  # weights of the outputs
    [0.2, -0.5],
)
adding = [((0, 0), (0, 0)), ((0, 1), (1, 0)), ((1, 0), (1, 0)), ((1, 1), (0, 1))]  # two bits; their sum, the carry


def make_network(kind):
    """The numbers to learn, each turned into a value of some kind."""
    W1, b1, W2, b2 = start
    rows1, rows2 = ([[kind(w) for w in row] for row in rows] for rows in (W1, W2))
    return rows1, [kind(b) for b in b1], rows2, [kind(b) for b in b2]


def numbers_of(network):
    """All seventeen in one list."""
    W1, b1, W2, b2 = network
    return [*(w for row in W1 for w in row), *b1, *(w for row in W2 for w in row), *b2]


def layer(inputs, rows, biases):
    """Each neuron: weighted sum, plus bias, through the sigmoid."""
    outputs = []
    for row, bias in zip(rows, biases, strict=True):
        z = bias
        for weight, number in zip(row, inputs, strict=True):
            z = z + weight * number
        outputs.append(z.sigmoid())
    return outputs


def guess(network, inputs):
    W1, b1, W2, b2 = network
    return layer(layer(inputs, W1, b1), W2, b2)


def cost_of(network, examples):
    """Half the squared error, summed over examples and outputs."""
    errors = [
        0.5 * (output - wanted) ** 2
        for inputs, answers in examples
        for output, wanted in zip(guess(network, inputs), answers, strict=True)
    ]
    return sum(errors[1:], errors[0])


network = make_network(Value)
one_example = [((1.0, 0.5), (1.0, 0.0))]  # the one that was followed with pencil and paper
cost = cost_of(network, one_example)
backward(cost)
print(f"C = {cost.number:.4f}, from {len(order(cost))} values")
(_, b1, W2, b2) = network
print("slopes of the outputs' biases:", ", ".join(f"{bias.gradient:.4f}" for bias in b2))
print("slopes of the hidden biases:  ", ", ".join(f"{bias.gradient:.4f}" for bias in b1))

# %%
# These are the δ of the two layers, number for number those of the four equations. The tape has never heard of them.
#
# The library's Tensors understand the same formulas. Handed the same numbers one at a time, do they give the same
# slopes on all four examples, to the last digit? (A computer's number has about 16 digits.)

cost = cost_of(network, adding)
zero_gradients(numbers_of(network))
backward(cost)
ours = [value.gradient for value in numbers_of(network)]

tensors = make_network(lambda number: cr.tensor(np.float64(number), requires_grad=True))
library_cost = cost_of(tensors, adding)
library_cost.backward()
theirs = [tensor.grad.item() for tensor in numbers_of(tensors)]
print(f"cost {cost.number!r} and {library_cost.item()!r}")
for name, i in (("first weight", 0), ("first bias", 6), ("last weight", 14), ("last bias", 16)):
    print(f"slope of the {name:<13}{ours[i]!r:>24}{theirs[i]!r:>24}")
print(f"largest difference of the 17: {max(abs(a - b) for a, b in zip(ours, theirs, strict=True)):.0e}")
print(f"and in a different order: (0.1 + 0.2) + 0.3 = {(0.1 + 0.2) + 0.3}, 0.1 + (0.2 + 0.3) = {0.1 + (0.2 + 0.3)}")

# %%
# Most are equal in all digits, and the others differ in the last one. It is the same sum in a different order; a
# computer rounds after each addition, so the order shows, as in the last line.
#
# The library goes through the uses of a value in a different order than we do. Neither is more right than the other.

# %%
# Now it learns
# -------------
#
# Four hundred steps of gradient descent: forward, backward, a step against each slope. Beside it the library, which
# takes all four examples at once, as matrices.
#
# The library's ``optimizer`` holds the numbers to learn: ``zero_grad`` sets their gradients to zero, and ``step`` takes
# a step against them.


def learn(steps, rate=2.0):
    """Train the network on our tape; the cost before each step."""
    costs = []
    for _ in range(steps):
        cost = cost_of(network, adding)
        zero_gradients(numbers_of(network))
        backward(cost)
        for value in numbers_of(network):
            value.number -= rate * value.gradient
        costs.append(cost.number)
    return costs


def learn_with_the_library(steps, rate=2.0):
    inputs = np.array([inputs for inputs, _ in adding], float).T  # (2, 4): an example in each column
    wanted = np.array([answers for _, answers in adding], float).T
    W1, b1, W2, b2 = (np.array(part) for part in start)  # below, b1[:, None] makes a column of b1
    parameters = [cr.tensor(part, requires_grad=True) for part in (W1, b1[:, None], W2, b2[:, None])]
    optimizer = cr.optim.SGD(parameters, lr=rate)
    costs = []
    for _ in range(steps):
        hidden = cr.sigmoid(parameters[0] @ inputs + parameters[1])
        outputs = cr.sigmoid(parameters[2] @ hidden + parameters[3])
        cost = 0.5 * ((outputs - wanted) ** 2).sum()
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
        costs.append(cost.item())
    return costs, np.concatenate([parameter.detach().numpy().ravel() for parameter in parameters])


costs = learn(400)
library_costs, library_numbers = learn_with_the_library(400)
for step in (1, 100, 200, 400):
    print(f"cost before step {step:3}: {costs[step - 1]:.12f}, by the library {library_costs[step - 1]:.12f}")
gap = max(abs(value.number - other) for value, other in zip(numbers_of(network), library_numbers, strict=True))
print(f"after 400 steps the 17 numbers are at most {gap:.0e} apart")
for inputs, wanted in adding:
    total, carry = guess(network, inputs)
    print(f"{inputs[0]} + {inputs[1]}: sum {total.number:.4f}, carry {carry.number:.4f}; wanted {wanted}")

both = {"our tape": costs, "the library": library_costs}
labels = {"x_label": "step", "y_label": "cost C"}
show(charts.lines(both, title="The same descent, twice", log="y", **labels))

# %%
# The two curves are one. A network that adds bits, trained by a class that you can hold in your head.
#
# What the library has beyond ours is speed and comfort, not mathematics: its values are whole arrays, so that Python is
# asked once per layer, not once per number; it has dozens of machines instead of five; and it frees the tape when it
# has been read.

# %%
# Change one thing
# ----------------
#
# Before you run this: x is used three times, in x · x · x. What is the slope at 2? And what would the slip, = in place
# of +=, make of it?

number = 2.0  # change me
x = Value(number)
backward(x * x * x)
slip = Value(number)
backward_with_a_slip(slip * slip * slip)
print(f"slope of x · x · x at {number:g}: {x.gradient:g}, by hand 3x² = {3 * number**2:g}")
print(f"with the slip: {slip.gradient:g}")

# %%
# Right is 12. With the slip only one of the three paths is left: x times x, 4. It is a third of the truth, and looks
# like any other number. So compare your slopes with a nudge, always.

# %%
# Read next
# ---------
#
# A gradient from the tape costs a few times as much as the formula itself, however many numbers there are.
# :Lesson:`why-it-is-fast` measures that.
#
# What you have built is ``chainrule.first_principles.tape``, a page long. The library's own tape, for arrays, is
# ``chainrule.autograd.tape``; its machines, each with its local slope beside it, are the files of ``chainrule.ops``.
