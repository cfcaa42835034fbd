"""
Backpropagation with numbers
============================

A network of several neurons gave a wrong answer. Which of its weights are to blame, and how much each?

Backpropagation answers exactly this question, in four equations that look forbidding as long as there are no numbers
in them. So we take a very small network with a hidden layer and two outputs, put numbers into every equation, and
follow them with pencil and paper. Then we let the library do the same by itself, and compare.

Prerequisites: :lesson:`one-neuron-learns`, :lesson:`the-chain-rule`.
"""

import numpy as np

import chainrule as cr
from chainrule.first_principles import backprop
from chainrule.first_principles.activations import sigmoid, sigmoid_derivative
from chainrule.lessons import show
from chainrule.plots import animation, charts, flow, graph

# %%
# A network small enough to write down
# ------------------------------------
#
# Two inputs, three hidden neurons, two outputs. As in :lesson:`one-neuron-learns`, the initial weights are arbitrary
# small numbers.
#
# In the end this network will add two bits. (A bit is 0 or 1.) The first output should say the last digit of the sum,
# and the second the carry: in binary, 1 + 1 is 10, digit 0 and carry 1. To follow it with a pencil we first give it the
# inputs 1 and 0.5, and ask for the answers 1 and 0.
#
# The superscripts are layer numbers, not powers. :math:`W^1` holds the weights of the hidden layer, with a row for each
# of its three neurons and a column for each of the two inputs: its shape is (3, 2). :math:`W^2` holds those of the
# outputs, two rows of three. As in :lesson:`neurons`, a matrix is written to the left of what it multiplies. So the
# inputs and the biases are columns: two inputs have the shape (2, 1).

x = np.array([[1.0], [0.5]])  # (2, 1): the example
y = np.array([[1.0], [0.0]])  # (2, 1): the right answers for it

W1 = np.array([[0.5, -1.0], [1.0, 0.5], [-0.5, 1.0]])  # (3, 2)
b1 = np.array([[0.1], [0.0], [-0.1]])  # (3, 1)
W2 = np.array([[1.0, -1.5, 0.5], [1.5, 0.5, -1.0]])  # (2, 3)
b2 = np.array([[0.2], [-0.5]])  # (2, 1)
print(f"the example: inputs {x[0, 0]} and {x[1, 0]}, right answers {y[0, 0]:g} and {y[1, 0]:g}")
print(f"hidden layer: {W1.size} weights, {b1.size} biases; outputs: {W2.size} weights, {b2.size} biases")
print(f"{W1.size} + {b1.size} + {W2.size} + {b2.size} = {W1.size + b1.size + W2.size + b2.size} numbers to learn")

# %%
# Forward
# -------
#
# Each layer does what :lesson:`neurons` did: weighted sums, then the sigmoid. We keep every number, for the way back.
#
# .. math::
#
#    z^1 &= W^1 x + b^1, \qquad & h &= \sigma(z^1) \\
#    z^2 &= W^2 h + b^2, \qquad & \hat y &= \sigma(z^2)
#
# :math:`z^1` and :math:`h` are columns of three, a number for each hidden neuron; :math:`z^2` and :math:`\hat y` are
# columns of two. :math:`h` is what the hidden neurons say (some books write :math:`a^1`), and :math:`\hat y` is what
# the network says: its guess. In Python ``@`` multiplies matrices: it goes along a row on the left and down a column on
# the right, multiplies number by number, and adds up.
#
# If you follow along by hand, your last digit may differ by one: only four of about 16 digits are printed.

z1 = W1 @ x + b1  # (3, 2) @ (2, 1) + (3, 1) = (3, 1)
h = sigmoid(z1)  # (3, 1)
z2 = W2 @ h + b2  # (2, 3) @ (3, 1) + (2, 1) = (2, 1)
guess = sigmoid(z2)  # (2, 1): ŷ


def factor(number, digits=4):
    """Format a number for a sum or product: in parentheses if it is negative."""
    return f"{number:.{digits}f}" if number >= 0 else f"({number:.{digits}f})"


for i in range(3):
    terms = f"{factor(W1[i, 0], 1)} · {x[0, 0]} + {factor(W1[i, 1], 1)} · {x[1, 0]} + {factor(b1[i, 0], 1)}"
    print(f"hidden neuron {i + 1}: z¹ = {terms} = {z1[i, 0]:.2f}, h = σ({z1[i, 0]:.2f}) = {h[i, 0]:.4f}")
for o in range(2):
    terms = " + ".join(f"{factor(W2[o, i], 1)} · {h[i, 0]:.4f}" for i in range(3))
    print(f"output {o + 1}: z² = {terms} + {factor(b2[o, 0], 1)} = {z2[o, 0]:.4f}")
    print(f"          ŷ = σ({z2[o, 0]:.4f}) = {guess[o, 0]:.4f}")

names = [["input 1", "input 2"], ["hidden 1", "hidden 2", "hidden 3"], ["output 1", "output 2"]]
forward = flow.network_frame("Forward: what each neuron says", [W1, W2], [x, h, guess], names)
show(flow.flow_diagram(forward.nodes, forward.arrows, forward.title))

# %%
# The arrows of the drawing are the network's **wires**: each carries the output of one neuron to a neuron of the next
# layer, multiplied by the weight that is written on it. The biases are not drawn.

# %%
# How wrong was it?
# -----------------
#
# The right answers are 1 and 0, and the network says 0.4493 and 0.5501. The cost C expresses this as one number: half
# the squared error, added up over the outputs.
#
# .. math:: C = \tfrac{1}{2} \sum_o (\hat y_o - y_o)^2, \qquad
#    \frac{\partial C}{\partial \hat y_o} = \hat y_o - y_o
#
# :Lesson:`one-neuron-learns` called it the loss, another word for the same thing, and had no factor ½. That only serves
# to cancel the 2 from the derivative of the square. Each output appears in one term of the sum, so the slope of
# :math:`C` in it is its own error.

cost = 0.5 * np.sum((guess - y) ** 2)
squares = " + ".join(f"({guess[o, 0]:.4f} - {y[o, 0]:.0f})²" for o in range(2))
print(f"C = ½ ({squares}) = {cost:.4f}")

# %%
# What is the blame of a neuron?
# ------------------------------
#
# Give a neuron's sum z a tiny push. How much does the cost change, for each unit of the push? That ratio is called δ.
#
# .. math:: \delta = \frac{\partial C}{\partial z}
#
# It is read "delta". Books call it the neuron's **error**; we call it the blame. Its size says how much the cost
# depends on this neuron, and its sign in which direction: where :math:`\delta` is positive, a larger sum makes the cost
# larger, so the neuron should have said less; where it is negative, the neuron should have said more. For the first
# output we can simply try it:

push = 0.001
pushed_cost = 0.5 * np.sum((sigmoid(z2 + np.array([[push], [0.0]])) - y) ** 2)
print(f"z² of output 1 from {z2[0, 0]:.4f} to {z2[0, 0] + push:.4f}: C from {cost:.6f} to {pushed_cost:.6f}")
print(f"its δ: {pushed_cost - cost:.6f} / {push} = {(pushed_cost - cost) / push:.3f}")

# %%
# Pushing every neuron of a large network would take too long. But the blame can be calculated, and once we know it for
# each neuron, the slopes of all weights and biases follow at once.
#
# Best of all, the blame of a layer follows from the blame of the next layer. So we begin at the end, with the outputs,
# and go backwards. That gives the method its name.

# %%
# Equation 1: the blame of the outputs
# ------------------------------------
#
# A push to z² moves ŷ, by the slope of the sigmoid; and ŷ moves C, by ŷ - y. The chain rule multiplies the two.
#
# .. math::
#
#    \delta^2 = \frac{\partial C}{\partial \hat y} \cdot \frac{\partial \hat y}{\partial z^2}
#    = (\hat y - y) \odot \sigma'(z^2)
#
# (:math:`\delta^2` is the :math:`\delta` of the second layer, not a square.) All of these are columns of two, and the
# sign :math:`\odot` multiplies them element by element: the first with the first, the second with the second.
# :math:`\sigma'` is the slope of the sigmoid, :math:`\sigma'(z) = \sigma(z) (1 - \sigma(z))`, as in
# :lesson:`the-chain-rule`; and as :math:`\sigma(z^2)` is :math:`\hat y`, here it is :math:`\hat y (1 - \hat y)`.

delta2 = (guess - y) * sigmoid_derivative(z2)  # (2, 1)
for o in range(2):
    says = f"{guess[o, 0]:.4f}"
    print(f"δ² of output {o + 1} = ({says} - {y[o, 0]:.0f}) · {says} · (1 - {says}) = {delta2[o, 0]:.4f}")

columns = [*names, ["cost C"]]
everything = {"weights": [W1, W2, np.ones((1, 2))], "values": [x, h, guess, [cost]], "names": columns}
equation1 = flow.network_frame(
    "Equation 1: from the cost to the outputs",
    **everything,
    slopes=[None, None, delta2],
    wires=[None, None, (guess - y).T],
    back=[False, False, True],
    lit=[2],
)
show(flow.flow_diagram(equation1.nodes, equation1.arrows, equation1.title, gaps=(1.75, 1.0)))

# %%
# The push gave the same result, -0.136. It is negative: a larger sum makes the cost smaller, because 0.4493 was too
# low. The second output's blame is positive: 0.5501 was too high.
#
# On the arrows back from the cost stand the two errors :math:`\hat y - y`. In the boxes they have been multiplied by
# the slopes of the sigmoids.

# %%
# Equation 2: the weights and the biases of the outputs
# -----------------------------------------------------
#
# The slope of the cost in a weight is the blame at the end of its wire, times the number that the wire carried.
#
# The sum of an output is :math:`z^2_o = w_{o1} h_1 + w_{o2} h_2 + w_{o3} h_3 + b_o`. A push to :math:`w_{o1}` arrives
# in it multiplied by :math:`h_1`, and a push to the bias arrives as it is. (:math:`w_{o1}` is the weight in row
# :math:`o` and column 1 of :math:`W^2`: first where the wire ends, then where it begins.) So
#
# .. math:: \frac{\partial C}{\partial W^2} = \delta^2 h^T, \qquad \frac{\partial C}{\partial b^2} = \delta^2
#
# The superscript T is not a power either: it transposes the column :math:`h` to a row (``.T`` in Python). A column of
# two times a row of three is a matrix of two rows and three columns, every blame times every :math:`h`: the shape of
# :math:`W^2`, a slope for each weight.

slope_W2, slope_b2 = delta2 @ h.T, delta2  # (2, 1) @ (1, 3) = (2, 3)
for o in range(2):
    for i in range(3):
        product = f"{factor(delta2[o, 0])} · {h[i, 0]:.4f} = {slope_W2[o, i]:.4f}"
        print(f"∂C/∂w of the wire from hidden neuron {i + 1} to output {o + 1}: {product}")
    print(f"∂C/∂b of output {o + 1}: {slope_b2[o, 0]:.4f}")

# %%
# To lower the cost, the weights and the bias of output 1 should grow, and those of output 2 should shrink. Among the
# three weights of either output, the one from hidden neuron 2 has the steepest slope, because that neuron says the
# most.

# %%
# Equation 3: the blame carried back
# ----------------------------------
#
# A hidden neuron speaks to both outputs. So its blame comes back on two wires, and is added up. On each wire it is the
# blame at the far end, times the wire's weight. The sum is multiplied by the neuron's own slope.
#
# A push to the sum of hidden neuron :math:`i` moves :math:`h_i`, by the slope of *its* sigmoid. That moves the sum of
# output :math:`o`, by the weight :math:`w_{oi}` of the wire between them, and we already know how that moves the cost:
# by :math:`\delta^2_o`. Along a path slopes are multiplied, and the two paths are added, as in
# :lesson:`the-chain-rule`:
#
# .. math::
#
#    \delta^1_i = \sum_o \frac{\partial C}{\partial z^2_o} \cdot \frac{\partial z^2_o}{\partial h_i} \cdot
#    \frac{\partial h_i}{\partial z^1_i}
#    = \left( \delta^2_1 w_{1i} + \delta^2_2 w_{2i} \right) \cdot \sigma'(z^1_i)
#
# and for all hidden neurons at once
#
# .. math:: \delta^1 = \bigl( (W^2)^T \delta^2 \bigr) \odot \sigma'(z^1)
#
# Why transposed? :math:`W^2` has a row for each *output*, with the weights that come in there. We need, for each
# *hidden neuron*, the weights that go out from it: a column of :math:`W^2`, which is a row of :math:`(W^2)^T`, of shape
# (3, 2). Its row :math:`i` is :math:`w_{1i}, w_{2i}`; multiplied by the column :math:`\delta^2`, pair by pair, and
# added up, it gives the parentheses above. On the way forward the numbers go through the wires from left to right; now
# the blame goes through the same wires from right to left.

carried = W2 * delta2  # (2, 3): what comes back on each wire; each row of W2 times the blame of its output
delta1 = (W2.T @ delta2) * sigmoid_derivative(z1)  # (3, 2) @ (2, 1) = (3, 1)
for i in range(3):
    terms = " + ".join(f"{factor(delta2[o, 0])} · {factor(W2[o, i], 1)}" for o in range(2))
    print(f"hidden neuron {i + 1}: {terms} = {carried[0, i]:.4f} + {factor(carried[1, i])} = {carried[:, i].sum():.4f}")
    own = f"{h[i, 0]:.4f} · (1 - {h[i, 0]:.4f})"
    print(f"                 δ¹ = {factor(carried[:, i].sum())} · {own} = {delta1[i, 0]:.4f}")

equation3 = flow.network_frame(
    "Equation 3: from the outputs to the hidden layer",
    **everything,
    slopes=[None, delta1, delta2],
    wires=[None, carried, None],
    back=[False, True, False],
    lit=[1],
)
show(flow.flow_diagram(equation3.nodes, equation3.arrows, equation3.title, gaps=(1.75, 1.0)))

# %%
# The outputs do not agree about hidden neuron 1. Output 1 would like it to say more, -0.1363; output 2 would like it to
# say less, 0.2042. The sum settles it: 0.0680, a little less. About hidden neuron 3 they agree, and it should say more.

# %%
# Equation 4: the weights and biases of the hidden layer
# ------------------------------------------------------
#
# The same as equation 2, one layer earlier: blame at the end of the wire, times the number it carried, now the inputs.
#
# .. math:: \frac{\partial C}{\partial W^1} = \delta^1 x^T, \qquad \frac{\partial C}{\partial b^1} = \delta^1
#
# A column of three times a row of two is a matrix of three rows and two columns, again in the shape of the weights.

slope_W1, slope_b1 = delta1 @ x.T, delta1  # (3, 1) @ (1, 2) = (3, 2)
for i in range(3):
    products = [f"{factor(delta1[i, 0])} · {x[j, 0]} = {slope_W1[i, j]:.4f}" for j in range(2)]
    print(f"hidden neuron {i + 1}: ∂C/∂w: {products[0]} and {products[1]}, ∂C/∂b: {slope_b1[i, 0]:.4f}")

slopes = flow.network_frame(
    "Equations 2 and 4: the slope of each weight",
    [W1, W2],
    [x, h, guess],
    names,
    slopes=[None, delta1, delta2],
    wires=[slope_W1, slope_W2],
)
show(flow.flow_diagram(slopes.nodes, slopes.arrows, slopes.title))

# %%
# Check any wire: the number on it is the δ where it ends, times the number where it begins. This answers the question
# at the top. The steepest slopes are those of the outputs' biases, -0.1363 and 0.1361, and of the weights from hidden
# neuron 2: a small change there moves the cost more than the same change anywhere else.
#
# And that is all. Here is the whole of it as a film: a wave forward, a wave back.

wave = [
    flow.network_frame(
        "Forward: the inputs", **everything | {"values": [x, None, None, None]}, wires=[None] * 3, lit=[0]
    ),
    flow.network_frame(
        "Forward: the hidden layer", **everything | {"values": [x, h, None, None]}, wires=[W1, None, None], lit=[1]
    ),
    flow.network_frame(
        "Forward: the outputs", **everything | {"values": [x, h, guess, None]}, wires=[None, W2, None], lit=[2]
    ),
    flow.network_frame("Forward: the cost", **everything, wires=[None, None, (guess - y).T], lit=[3]),
    equation1._replace(title="Back: the blame of the outputs"),
    equation3._replace(title="Back: the blame of the hidden layer"),
    flow.network_frame(
        "The slope of each weight", **everything, slopes=[None, delta1, delta2], wires=[slope_W1, slope_W2, None]
    ),
]
show(flow.animate_flow(wave, gaps=(1.75, 1.0)))

# %%
# Deeper networks repeat equations 3 and 4 for each layer, until the inputs are reached.
#
# Written for any layer :math:`l`, with :math:`a^l` for its activations, :math:`a^0 = x` and :math:`L` for the last one:
#
# .. math::
#
#    \delta^L &= (\hat y - y) \odot \sigma'(z^L) \\
#    \delta^l &= \bigl( (W^{l+1})^T \delta^{l+1} \bigr) \odot \sigma'(z^l) \\
#    \frac{\partial C}{\partial W^l} &= \delta^l (a^{l-1})^T, \qquad \frac{\partial C}{\partial b^l} = \delta^l
#
# Nothing was computed twice: each layer used the result of the layer after it. That is why the backward pass costs only
# about twice as much as the forward pass, however large the network is; :lesson:`why-it-is-fast` measures it.

# %%
# Does it help?
# -------------
#
# Let each of the seventeen numbers take one step against its slope. Do the answers come closer to 1 and 0?
#
# .. math::
#
#    W \leftarrow W - \eta \frac{\partial C}{\partial W}, \qquad b \leftarrow b - \eta \frac{\partial C}{\partial b}
#
# in both layers, with the learning rate :math:`\eta = 1`. ``backprop.Layers`` groups the four arrays under one name,
# and ``backprop.forward`` is the four lines of the forward pass, as a function.

layers = backprop.Layers(W1, b1, W2, b2)
rate = 1.0
stepped = backprop.Layers(W1 - rate * slope_W1, b1 - rate * slope_b1, W2 - rate * slope_W2, b2 - rate * slope_b2)
new_guess = backprop.forward(stepped, x).prediction
for title, said, height in (("before", guess, cost), ("after", new_guess, backprop.cost(new_guess, y))):
    print(f"{title:<6} the step: ŷ = {said[0, 0]:.4f} and {said[1, 0]:.4f}, C = {height:.4f}")

# %%
# Is it true?
# -----------
#
# A slope can also be measured: nudge one number, run forward, see how the cost changes. Seventeen numbers take
# seventeen more runs.

nudge = 1e-7
measured = []
for part in layers:  # W1, then b1, W2 and b2
    for index in np.ndindex(part.shape):  # every row and column of it
        number = part[index]
        part[index] = number + nudge
        measured.append((backprop.cost(backprop.forward(layers, x).prediction, y) - cost) / nudge)
        part[index] = number  # restore it


def in_a_row(parts):
    """All numbers of several arrays, one after the other."""
    return np.concatenate([part.ravel() for part in parts])


numbers = [f"W¹, input {j} → hidden neuron {i}" for i in (1, 2, 3) for j in (1, 2)]
numbers += [f"b¹, hidden neuron {i}" for i in (1, 2, 3)]
numbers += [f"W², hidden neuron {i} → output {o}" for o in (1, 2) for i in (1, 2, 3)]
numbers += [f"b², output {o}" for o in (1, 2)]
by_equations = in_a_row([slope_W1, slope_b1, slope_W2, slope_b2])
print("slope of the cost in               by the equations   by nudging")
for name, one, other in zip(numbers, by_equations, measured, strict=True):
    print(f"{name:<33}{one:18.4f}{other:13.4f}")
print(f"largest difference: {np.abs(by_equations - measured).max():.0e}")

# %%
# The same numbers. (Python writes 10⁻⁹ as 1e-09: a 1 in the ninth decimal place.) The small difference comes from the
# nudge, which is never quite small enough; :lesson:`why-it-is-fast` returns to it.

# %%
# The same from the tape
# ----------------------
#
# Nobody wants to derive equations for each new network. The library records each operation while it runs: this list is
# called the **tape**.
#
# The lines below are the forward pass from above, almost word for word. The weights and biases are Tensors: arrays that
# remember how they were computed. ``requires_grad=True`` says that we will ask for their slope, a part of the gradient.
# The example and the right answers stay plain arrays, since they are not learned.

tW1, tb1, tW2, tb2 = (cr.tensor(part, requires_grad=True) for part in layers)
tz1 = tW1 @ x + tb1
th = cr.sigmoid(tz1)
tz2 = tW2 @ th + tb2
tguess = cr.sigmoid(tz2)
tcost = 0.5 * ((tguess - y) ** 2).sum()
print(f"C by hand {cost:.12f}, by the library {tcost.item():.12f}")

boxes = {"W¹": tW1, "b¹": tb1, "W²": tW2, "b²": tb2, "z¹": tz1, "h": th, "z²": tz2, "ŷ": tguess, "C": tcost}
show(graph.computation_graph(tcost, boxes, title="The tape of one forward pass"))

# %%
# Read from top to bottom, the drawing is the forward pass: W¹ times the example (matmul), plus b¹ (add), through the
# sigmoid, and so on down to the cost, whose minus, square, sum and half are sub, pow, sum and mul.
#
# Each box has the name that we gave its result, if any, then the operation, then the shape; () is the shape of a single
# number. The filled boxes are what can be learned. The example and the right answers have no box, because nothing flows
# back to them.
#
# ``backward()`` goes from bottom to top. When it reaches a box, it already knows how much the cost changes with the
# result of that box, and asks: how much does it change with each input of the operation? For ``sigmoid`` the answer is
# "times :math:`\sigma'`", for ``matmul`` "times the other matrix, transposed", for ``add`` "the same for both". Each
# answer is a line or two of Python next to the operation itself; the four equations are just these answers, one after
# the other. :Lesson:`your-own-tape` builds such a tape from nothing.

tz1.retain_grad()  # intermediate results keep their gradient only on request
tz2.retain_grad()
tcost.backward()

by_hand = in_a_row([delta2, delta1, by_equations])
from_tape = in_a_row([tensor.grad.numpy() for tensor in (tz2, tz1, tW1, tb1, tW2, tb2)])
sums = [f"z², output {o} (δ²)" for o in (1, 2)] + [f"z¹, hidden neuron {i} (δ¹)" for i in (1, 2, 3)]
print("slope of the cost in               by the equations        from the tape")
for name, one, other in zip([*sums, *numbers], by_hand, from_tape, strict=True):
    print(f"{name:<33}{one:20.15f}{other:21.15f}")
print(f"largest difference: {np.abs(by_hand - from_tape).max():.1e}")

# %%
# Not just close: the same numbers, up to the rounding of the last digit. The library uses the same mathematics as you.

# %%
# Change one thing
# ----------------
#
# Before you run this: let the right answer of output 1 be 0 instead of 1. How many of the seventeen slopes keep their
# value? And which change by the same factor?
#
# Look where :math:`y_1` stands in the equations, and which of the others use the result.

wanted = 0.0  # change me
before = in_a_row(backprop.backpropagate(layers, x, y))
after = in_a_row(backprop.backpropagate(layers, x, np.array([[wanted], [0.0]])))
print(f"error of output 1: {guess[0, 0] - y[0, 0]:.4f} with {y[0, 0]:g}, {guess[0, 0] - wanted:.4f} with {wanted:g}")
print(f"slope of the cost in             right answer {y[0, 0]:g}  right answer {wanted:g}  second / first")
for name, one, other in zip(numbers, before, after, strict=True):
    print(f"{name:<33}{one:14.4f}{other:16.4f}{other / one:16.4f}")

# %%
# Four keep their value: the weights and the bias of output 2, which has made the same error as before. The four of
# output 1 change by one factor: the right answer appears only in equation 1, where 0.4493 - 1 = -0.5507 has become
# 0.4493; and 0.4493 / -0.5507 is -0.8159.
#
# The nine of the hidden layer all change, each neuron's by a factor of its own: its blame is a sum, and only one of the
# two terms has changed.

# %%
# And now let it learn
# --------------------
#
# :Lesson:`the-perceptron` had to build the hidden layer for XOR by hand. With the four equations the network finds one
# by itself, and learns to add: the last digit of the sum is XOR, and the carry is AND.
#
# It starts from the weights above. The four pairs of bits are the columns of one matrix; the equations stay the same,
# and the slopes of the four are added up. Then each weight and bias takes a step against its slope. An epoch is one
# pass through all examples, here one step, and there are 5,000.

pairs = np.array([[0.0, 0.0, 1.0, 1.0], [0.0, 1.0, 0.0, 1.0]])  # (2, 4): one column per example
answers = np.array([[0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])  # (2, 4): digit and carry
learned, costs = backprop.train(layers, pairs, answers, learning_rate=2.0, epochs=5000)
print(f"cost {costs[0]:.4f} at the start, {costs[99]:.4f} in epoch 100, {costs[-1]:.4f} in epoch 5000")
says = backprop.forward(learned, pairs).prediction
rows = [*zip(("input 1", "input 2"), pairs, strict=True), ("digit, wanted", answers[0]), ("it says", says[0])]
for title, row in [*rows, ("carry, wanted", answers[1]), ("it says", says[1])]:
    print(f"{title:<13}" + "".join(f"{number:9.4f}" for number in row))

show(
    charts.lines(
        {"cost": costs}, title="Adding, learned by backpropagation", x_label="epoch", y_label="cost C", log="y"
    )
)
stages = [layers]  # the network after 0, 20, 40, ... 600 epochs
for _ in range(30):
    stages.append(backprop.train(stages[-1], pairs, answers, learning_rate=2.0, epochs=20)[0])
classifiers = [
    lambda where, stage=stage: backprop.forward(stage, where.T).prediction[0] > 0.5  # what output 1 says
    for stage in stages
]
wanted = ["digit 0", "digit 1"]
show(animation.animate_decision_boundary(classifiers, pairs.T, answers[0], wanted, "The last digit", every=20))

# %%
# The axis of the cost is logarithmic: each labeled line is a tenth of the one above. In the film the orange area is
# where output 1 says 1: it has drawn two borders, like OR and NAND in :lesson:`the-perceptron`, but found them by
# itself.

# %%
# Read next
# ---------
#
# "The same from the tape" was a promise. :Lesson:`your-own-tape` keeps it: you build the tape yourself, and train this
# network with it. After that, :lesson:`why-it-is-fast` asks what nudging would cost in a large network.
#
# The four equations as functions: ``chainrule.first_principles.backprop``. The tape and the backward pass:
# ``chainrule.autograd.tape``. The drawing of the tape, as text: ``chainrule.draw``. Operations, each followed by its
# derivative: any file in ``chainrule.ops``.
