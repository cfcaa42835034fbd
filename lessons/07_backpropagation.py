"""
Backpropagation with numbers
============================

A network of several neurons gave a wrong answer. Which of its weights are to blame, and how much each?

Backpropagation answers exactly this question, in four equations that look forbidding as long as there are no numbers
in them. So we take a very small network with a hidden layer, put numbers into every equation, and follow them with
pencil and paper. Then we let the library do the same by itself, and compare.

Prerequisites: :lesson:`one-neuron-learns`.
"""

import numpy as np

import chainrule as cr
from chainrule.first_principles import backprop
from chainrule.first_principles.activations import sigmoid, sigmoid_derivative
from chainrule.lessons import show
from chainrule.plots import charts, graph, inside, points

# %%
# A network small enough to write down
# ------------------------------------
#
# Two inputs, three hidden neurons, one output. As in :lesson:`one-neuron-learns`, the initial weights are arbitrary
# small numbers.
#
# The superscripts are layer numbers, not powers. :math:`W^1` holds the weights of the hidden layer, with a row for each
# of its three neurons and a column for each of the two inputs: its shape is (3, 2). :math:`W^2` holds those of the
# output, one row of three. As in :lesson:`neurons`, a matrix is written to the left of what it multiplies. So the
# inputs and the biases are columns: two inputs have the shape (2, 1).

x = np.array([[1.0], [0.5]])  # (2, 1): the example
y = np.array([[1.0]])  # (1, 1): the right answer for it

W1 = np.array([[0.5, -1.0], [1.0, 0.5], [-0.5, 1.0]])  # (3, 2)
b1 = np.array([[0.1], [0.0], [-0.1]])  # (3, 1)
W2 = np.array([[1.0, -1.5, 0.5]])  # (1, 3)
b2 = np.array([[0.2]])  # (1, 1)
print(f"the example: inputs {x[0, 0]} and {x[1, 0]}, right answer {y[0, 0]:g}")
print(f"hidden layer: {W1.size} weights, {b1.size} biases; output: {W2.size} weights, {b2.size} bias")
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
# one number each. :math:`h` is what the hidden neurons say (some books write :math:`a^1`), and :math:`\hat y` is what
# the network says: its guess. In Python ``@`` multiplies matrices: it goes along a row on the left and down a column on
# the right, multiplies number by number, and adds up.
#
# If you follow along by hand, your last digit may differ by one: only four of about 16 digits are printed.

z1 = W1 @ x + b1  # (3, 2) @ (2, 1) + (3, 1) = (3, 1)
h = sigmoid(z1)  # (3, 1)
z2 = W2 @ h + b2  # (1, 3) @ (3, 1) + (1, 1) = (1, 1)
guess = sigmoid(z2)  # (1, 1): ŷ


def factor(number, digits=4):
    """Format a number for a sum or product: in parentheses if it is negative."""
    return f"{number:.{digits}f}" if number >= 0 else f"({number:.{digits}f})"


for i in range(3):
    terms = f"{factor(W1[i, 0], 1)} · {x[0, 0]} + {factor(W1[i, 1], 1)} · {x[1, 0]} + {factor(b1[i, 0], 1)}"
    print(f"hidden neuron {i + 1}: z¹ = {terms} = {z1[i, 0]:.2f}, h = σ({z1[i, 0]:.2f}) = {h[i, 0]:.4f}")
terms = " + ".join(f"{factor(W2[0, i], 1)} · {h[i, 0]:.4f}" for i in range(3))
print(f"output: z² = {terms} + {b2[0, 0]} = {z2[0, 0]:.4f}, ŷ = σ({z2[0, 0]:.4f}) = {guess[0, 0]:.4f}")

show(inside.network_diagram([W1, W2], [x, h, guess], title="What each neuron says", decimals=3, label_wires=True))

# %%
# The lines of the drawing are the network's **wires**: each carries the output of one neuron to a neuron of the next
# layer, multiplied by the weight that is written on it. The biases are not drawn.

# %%
# How wrong was it?
# -----------------
#
# The right answer is 1, and the network says 0.4493. The cost C expresses this as one number: half the squared error.
#
# .. math:: C = \tfrac{1}{2} (\hat y - y)^2, \qquad \frac{\partial C}{\partial \hat y} = \hat y - y
#
# :Lesson:`one-neuron-learns` did not have the factor ½. It only serves to cancel the 2 from the derivative of the
# square.

cost = 0.5 * np.sum((guess - y) ** 2)
print(f"C = ½ ({guess[0, 0]:.4f} - {y[0, 0]:.0f})² = {cost:.4f}")

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
# larger, so the neuron should have said less; where it is negative, the neuron should have said more. For the output we
# can simply try it:

push = 0.001
pushed_cost = 0.5 * np.sum((sigmoid(z2 + push) - y) ** 2)
print(f"z² from {z2[0, 0]:.4f} to {z2[0, 0] + push:.4f}: C from {cost:.6f} to {pushed_cost:.6f}")
print(f"δ of the output: {pushed_cost - cost:.6f} / {push} = {(pushed_cost - cost) / push:.3f}")

# %%
# Pushing every neuron of a large network would take too long. But the blame can be calculated, and once we know it for
# each neuron, the slopes of all weights and biases follow at once.
#
# Best of all, the blame of a layer follows from the blame of the next layer. So we begin at the end, with the output,
# and go backwards. That gives the method its name.

# %%
# Equation 1: the blame of the output
# -----------------------------------
#
# A push to z² moves ŷ, by the slope of the sigmoid; and ŷ moves C, by ŷ - y. The chain rule multiplies the two.
#
# .. math::
#
#    \delta^2 = \frac{\partial C}{\partial \hat y} \cdot \frac{\partial \hat y}{\partial z^2}
#    = (\hat y - y) \odot \sigma'(z^2)
#
# (:math:`\delta^2` is the :math:`\delta` of the second layer, not a square.) The sign :math:`\odot` multiplies element
# by element, in case there are several outputs. :math:`\sigma'` is the slope of the sigmoid, :math:`\sigma'(z) =
# \sigma(z) (1 - \sigma(z))`, as in :lesson:`one-neuron-learns`; and as :math:`\sigma(z^2)` is :math:`\hat y`, here it
# is :math:`\hat y (1 - \hat y)`.

delta2 = (guess - y) * sigmoid_derivative(z2)  # (1, 1)
print(f"δ² = ({guess[0, 0]:.4f} - {y[0, 0]:.0f}) · {guess[0, 0]:.4f} · (1 - {guess[0, 0]:.4f}) = {delta2[0, 0]:.4f}")

# %%
# The push gave the same result. And it is negative: a larger sum makes the cost smaller, because 0.4493 was too low.

# %%
# Equation 2: the weights and the bias of the output
# --------------------------------------------------
#
# The slope of the cost in a weight is the blame at the end of its wire, times the number that the wire carried.
#
# The sum is :math:`z^2 = w_1 h_1 + w_2 h_2 + w_3 h_3 + b`. A push to :math:`w_1` arrives in it multiplied by
# :math:`h_1`, and a push to the bias arrives as it is. So
#
# .. math:: \frac{\partial C}{\partial W^2} = \delta^2 h^T, \qquad \frac{\partial C}{\partial b^2} = \delta^2
#
# The superscript T is not a power either: it transposes the column :math:`h` to a row, so that the slopes have the
# shape of :math:`W^2`, a slope for each weight.

slope_W2, slope_b2 = delta2 @ h.T, delta2  # (1, 1) @ (1, 3) = (1, 3)
for i in range(3):
    print(f"∂C/∂w of the wire from hidden neuron {i + 1}: {delta2[0, 0]:.4f} · {h[i, 0]:.4f} = {slope_W2[0, i]:.4f}")
print(f"∂C/∂b of the output: {slope_b2[0, 0]:.4f}")

# %%
# All four are negative: to lower the cost, each of these numbers should grow. Of the three weights, the one from hidden
# neuron 2 has the steepest slope, because that neuron's output is the largest.

# %%
# Equation 3: the blame carried back
# ----------------------------------
#
# A hidden neuron's blame is the blame at the far end of its wire, times the wire's weight, times the neuron's own
# slope.
#
# A push to the sum of hidden neuron :math:`i` moves :math:`h_i`, by the slope of *its* sigmoid. That moves :math:`z^2`,
# by the weight :math:`w_i` of the wire between them. We already know how :math:`z^2` moves the cost: by
# :math:`\delta^2`. The chain rule multiplies the three:
#
# .. math::
#
#    \delta^1_i = \frac{\partial C}{\partial z^2} \cdot \frac{\partial z^2}{\partial h_i} \cdot
#    \frac{\partial h_i}{\partial z^1_i} = \delta^2 \cdot w_i \cdot \sigma'(z^1_i),
#    \qquad \text{all at once:} \quad
#    \delta^1 = \bigl( (W^2)^T \delta^2 \bigr) \odot \sigma'(z^1)
#
# :math:`(W^2)^T` is :math:`W^2` transposed to a column, shape (3, 1), so that each hidden neuron gets its own weight
# times :math:`\delta^2`. On the way forward the numbers go through the wires from left to right; now the blame goes
# through the same wires from right to left. With several outputs, the product would also add up the contributions of
# all of them.

delta1 = (W2.T @ delta2) * sigmoid_derivative(z1)  # (3, 1) @ (1, 1) = (3, 1)
for i in range(3):
    terms = f"{factor(delta2[0, 0])} · {factor(W2[0, i], 1)} · {h[i, 0]:.4f} · (1 - {h[i, 0]:.4f})"
    print(f"δ¹ of hidden neuron {i + 1}: {terms} = {delta1[i, 0]:.4f}")

back = {"title": "The blame goes from right to left", "decimals": 3, "label_wires": True}
show(inside.network_diagram([W2], [delta1, delta2], ["δ¹, hidden", "δ², output"], **back))

# %%
# Hidden neuron 2 has a negative weight to the output: the more it says, the less the output says. So its blame has the
# opposite sign, and it should have said less.

# %%
# Equation 4: the weights and biases of the hidden layer
# ------------------------------------------------------
#
# The same as equation 2, one layer earlier: blame at the end of the wire, times the number it carried, now the inputs.
#
# .. math:: \frac{\partial C}{\partial W^1} = \delta^1 x^T, \qquad \frac{\partial C}{\partial b^1} = \delta^1
#
# A column of three times a row of two is a matrix of three rows and two columns: each blame times each input, again in
# the shape of the weights.

slope_W1, slope_b1 = delta1 @ x.T, delta1  # (3, 1) @ (1, 2) = (3, 2)
for i in range(3):
    products = [f"{delta1[i, 0]:.4f} · {x[j, 0]} = {slope_W1[i, j]:.4f}" for j in range(2)]
    print(f"hidden neuron {i + 1}: ∂C/∂w: {products[0]} and {products[1]}, ∂C/∂b: {slope_b1[i, 0]:.4f}")

# %%
# This answers the question at the top. The steepest slopes are those of the output's bias, -0.1363, and of its weight
# from hidden neuron 2, -0.1059: a small change there lowers the cost more than the same change anywhere else.
#
# And that is all. Deeper networks repeat equations 3 and 4 for each layer, until the inputs are reached.
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
# Let each of the thirteen numbers take one step against its slope. Does the answer come closer to 1?
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
print(f"before the step: ŷ = {guess[0, 0]:.4f}, C = {cost:.4f}")
print(f"after the step:  ŷ = {new_guess[0, 0]:.4f}, C = {backprop.cost(new_guess, y):.4f}")

# %%
# Is it true?
# -----------
#
# A slope can also be measured: nudge one number, run forward, see how the cost changes. Thirteen numbers take thirteen
# more runs.

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


names = [f"W¹, input {j} → hidden neuron {i}" for i in (1, 2, 3) for j in (1, 2)]
names += [f"b¹, hidden neuron {i}" for i in (1, 2, 3)]
names += [f"W², hidden neuron {i} → output" for i in (1, 2, 3)]
names += ["b², output"]
by_equations = in_a_row([slope_W1, slope_b1, slope_W2, slope_b2])
print("slope of the cost in               by the equations   by nudging")
for name, one, other in zip(names, by_equations, measured, strict=True):
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
# called the tape.
#
# The lines below are the forward pass from above, almost word for word. The weights and biases are Tensors: arrays that
# remember how they were computed. ``requires_grad=True`` says that we will ask for their slope, a part of the gradient.
# The example and the right answer stay plain arrays, since they are not learned.

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
# number. The filled boxes are what can be learned. The example and the right answer have no box, because nothing flows
# back to them.
#
# ``backward()`` goes from bottom to top. When it reaches a box, it already knows how much the cost changes with the
# result of that box, and asks: how much does it change with each input of the operation? For ``sigmoid`` the answer is
# "times :math:`\sigma'`", for ``matmul`` "times the other matrix, transposed", for ``add`` "the same for both". Each
# answer is a line or two of Python next to the operation itself; the four equations are just these answers, one after
# the other.

tz1.retain_grad()  # intermediate results keep their gradient only on request
tz2.retain_grad()
tcost.backward()

by_hand = in_a_row([delta2, delta1, by_equations])
from_tape = in_a_row([tensor.grad.numpy() for tensor in (tz2, tz1, tW1, tb1, tW2, tb2)])
print("slope of the cost in               by the equations        from the tape")
for name, one, other in zip(["z², output (δ²)", *(f"z¹, hidden neuron {i} (δ¹)" for i in (1, 2, 3)), *names],
                            by_hand, from_tape, strict=True):  # fmt: skip
    print(f"{name:<31}{one:20.15f}{other:21.15f}")
print(f"largest difference: {np.abs(by_hand - from_tape).max():.1e}")

# %%
# Not just close: the same numbers, up to the rounding of the last digit. The library uses the same mathematics as you.

# %%
# Change one thing
# ----------------
#
# Before you run this: let the right answer be 0 instead of 1. Which of the thirteen slopes change their sign?
#
# Look where :math:`y` stands in the equations, and what happens to everything that comes after it.

wanted = 0.0  # change me
before = in_a_row(backprop.backpropagate(layers, x, y))
after = in_a_row(backprop.backpropagate(layers, x, np.array([[wanted]])))
print(f"slope of the cost in            right answer {y[0, 0]:g}  right answer {wanted:g}  second / first")
for name, one, other in zip(names, before, after, strict=True):
    print(f"{name:<31}{one:15.4f}{other:16.4f}{other / one:16.4f}")

# %%
# All of them, and all by the same factor. The right answer appears only in equation 1, where 0.4493 - 1 = -0.5507 has
# become 0.4493 - 0 = 0.4493; and 0.4493 / -0.5507 is the factor, -0.8159. The other three equations only multiply the
# result and pass it on.

# %%
# And now let it learn
# --------------------
#
# :Lesson:`the-perceptron` had to build the hidden layer for XOR by hand. With the four equations the network finds one
# by itself.
#
# It starts from the weights above. The four examples of XOR are the columns of one matrix; the equations stay the same,
# and the slopes of the four are added up. Then each weight and bias takes a step against its slope. An epoch is one
# pass through all examples, here one step, and there are 5,000.

pairs = np.array([[0.0, 0.0, 1.0, 1.0], [0.0, 1.0, 0.0, 1.0]])  # (2, 4): one column per example
xor = np.array([[0.0, 1.0, 1.0, 0.0]])  # (1, 4)
learned, costs = backprop.train(layers, pairs, xor, learning_rate=2.0, epochs=5000)
print(f"cost {costs[0]:.4f} at the start, {costs[99]:.4f} in epoch 100, {costs[-1]:.4f} in epoch 5000")
says = backprop.forward(learned, pairs).prediction
for title, numbers in (("input 1", pairs[0]), ("input 2", pairs[1]), ("wanted", xor[0]), ("it says", says[0])):
    print(f"{title:<8}" + "".join(f"{number:9.4f}" for number in numbers))

show(charts.lines({"cost": costs}, title="XOR, learned by backpropagation", x_label="epoch", y_label="cost C", log="y"))
show(
    points.decision_boundary(
        lambda where: backprop.forward(learned, where.T).prediction[0] > 0.5,
        pairs.T,
        xor[0],
        None,
        ["wanted: 0", "wanted: 1"],
        title="Where the network says more than one half",
        axes_labels=("input 1", "input 2"),
    )
)

# %%
# The axis of the cost is logarithmic: each grid line is a tenth of the one above. In the second figure the darker area
# is where the network says 1: it has drawn two borders, like OR and NAND in :lesson:`the-perceptron`, but with the 0s
# between them.

# %%
# Read next
# ---------
#
# "Is it true?" needed a run for each number, and gave the same result. :Lesson:`why-it-is-fast` asks what that would
# cost in a large network.
#
# The four equations as functions: ``chainrule.first_principles.backprop``. The tape and the backward pass:
# ``chainrule.autograd.tape``. The drawing of the tape, as text: ``chainrule.draw``. Operations, each followed by its
# derivative: any file in ``chainrule.ops``.
