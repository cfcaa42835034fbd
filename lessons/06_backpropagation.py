"""
Backpropagation with numbers
============================

A network of several neurons gave a wrong answer. Which of its weights are to blame, and how much each?

That is all that backpropagation finds out. It does so in four equations, which look forbidding as long as there are no
numbers in them. So we take the smallest network with a hidden layer, put numbers into every equation, and follow them
with pencil and paper. Then we let the library do the same by itself, look at its notes, and compare.
"""

import numpy as np

import chainrule as cr
from chainrule.first_principles import backprop, finite_difference
from chainrule.first_principles.activations import sigmoid, sigmoid_derivative
from chainrule.lessons import show
from chainrule.plots import charts, graph, inside, points

# %%
# A network small enough to write down
# ------------------------------------
#
# Two inputs, three hidden neurons, one output. The right answer for this example is 1.
#
# Small numbers up at the letters count the layers; they are no powers. :math:`W^1` holds the weights of the hidden
# layer, a row for each of its three neurons, and :math:`W^2` those of the output. The matrices stand to the left of
# what they multiply, so the example is a column.

x = np.array([[1.0], [0.5]])  # (2, 1): the example
y = np.array([[1.0]])  # (1, 1): the right answer

W1 = np.array([[0.5, -1.0], [1.0, 0.5], [-0.5, 1.0]])  # (3, 2)
b1 = np.array([[0.1], [0.0], [-0.1]])  # (3, 1)
W2 = np.array([[1.0, -1.5, 0.5]])  # (1, 3)
b2 = np.array([[0.2]])  # (1, 1)
print(f"{W1.size} + {b1.size} + {W2.size} + {b2.size} = {W1.size + b1.size + W2.size + b2.size} numbers to learn")

# %%
# Forward
# -------
#
# Each layer does what lesson 1 did: weighted sums, then the sigmoid. We keep every number, for the way back.
#
# .. math::
#
#    z^1 &= W^1 x + b^1, \qquad & h &= \sigma(z^1) \\
#    z^2 &= W^2 h + b^2, \qquad & \hat y &= \sigma(z^2)
#
# The hidden layer's activations are called :math:`h` here; some books write :math:`a^1`.

z1 = W1 @ x + b1  # (3, 2) @ (2, 1) + (3, 1) = (3, 1)
h = sigmoid(z1)
z2 = W2 @ h + b2  # (1, 3) @ (3, 1) + (1, 1) = (1, 1)
guess = sigmoid(z2)


def row(column):
    """A column of numbers, on one line."""
    return "  ".join(f"{number:7.4f}" for number in column.ravel())


for i in range(3):
    terms = f"{W1[i, 0]:4.1f} · {x[0, 0]} + {W1[i, 1]:4.1f} · {x[1, 0]} + {b1[i, 0]:4.1f}"
    print(f"z¹ of hidden neuron {i + 1}: {terms} = {z1[i, 0]:5.2f},  h = σ({z1[i, 0]:5.2f}) = {h[i, 0]:.4f}")
terms = " + ".join(f"{w:g} · {a:.4f}" for w, a in zip(W2[0], h[:, 0], strict=True))
print(f"z² of the output: {terms} + {b2[0, 0]} = {z2[0, 0]:.4f},  ŷ = σ({z2[0, 0]:.4f}) = {guess[0, 0]:.4f}")

show(inside.network_diagram([W1, W2], [x, h, guess], title="What each neuron says"))

# %%
# How wrong was it?
# -----------------
#
# The answer should be 1, and it is not. The cost makes one number of it: half the square of the error.
#
# .. math:: C = \tfrac{1}{2} (\hat y - y)^2, \qquad \frac{\partial C}{\partial \hat y} = \hat y - y
#
# The half is there for convenience only: it cancels the 2 that comes down when the square is differentiated.

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
# It is read "delta", and often called the neuron's **error**. If :math:`\delta` is positive, a larger sum would make
# the cost larger, and the neuron should have said less; if it is negative, it should have said more. Once we know the
# :math:`\delta` of each neuron, the slopes of all weights and biases follow at once. And the best of it: the
# :math:`\delta` of a layer can be had from the :math:`\delta` of the layer behind it. So we begin at the end.

# %%
# Equation 1: the blame of the output
# -----------------------------------
#
# A push to z² moves ŷ, by the slope of the sigmoid; and ŷ moves C, by ŷ - y. The chain rule multiplies the two.
#
# .. math:: \delta^2 = (\hat y - y) \odot \sigma'(z^2)
#
# (:math:`\delta^2` is the :math:`\delta` of the second layer, not a square.) The sign :math:`\odot` multiplies
# numbers in the same place with each other, for when there are several outputs. The slope of the sigmoid is
# :math:`\sigma'(z) = \sigma(z) (1 - \sigma(z))`, as in lesson 5.

delta2 = (guess - y) * sigmoid_derivative(z2)  # (1, 1)
print(f"δ² = ({guess[0, 0]:.4f} - {y[0, 0]:.0f}) · {guess[0, 0]:.4f} · (1 - {guess[0, 0]:.4f}) = {delta2[0, 0]:.4f}")

# %%
# Negative: the output's sum was too small, as it should be for an answer below 1.

# %%
# Equation 2: the weights and the bias of the output
# --------------------------------------------------
#
# A weight's slope is the blame at the end of its wire, times what came along the wire.
#
# The sum is :math:`z^2 = w_1 h_1 + w_2 h_2 + w_3 h_3 + b`. A push to :math:`w_1` arrives in it multiplied by
# :math:`h_1`, and a push to the bias arrives as it is. So
#
# .. math:: \frac{\partial C}{\partial W^2} = \delta^2 h^T, \qquad \frac{\partial C}{\partial b^2} = \delta^2
#
# The raised T lays the column :math:`h` on its side, so that the result has the shape of :math:`W^2`.

slope_W2, slope_b2 = delta2 @ h.T, delta2  # (1, 1) @ (1, 3) = (1, 3)
for i in range(3):
    print(f"∂C/∂w of the wire from hidden neuron {i + 1}: {delta2[0, 0]:.4f} · {h[i, 0]:.4f} = {slope_W2[0, i]:.4f}")
print(f"∂C/∂b²: {slope_b2[0, 0]:.4f}")

# %%
# The hidden neuron that said most has the wire with the steepest slope: a change there makes the most difference.

# %%
# Equation 3: the blame carried back
# ----------------------------------
#
# A hidden neuron is to blame as far as its wire carries: the blame at the far end, times the weight, times its own
# slope.
#
# A push to the hidden neuron's sum moves :math:`h`, by the slope of *its* sigmoid. That moves :math:`z^2`, by the
# weight of the wire between them. And how :math:`z^2` moves the cost we know already: it is :math:`\delta^2`. So
#
# .. math:: \delta^1 = \bigl( (W^2)^T \delta^2 \bigr) \odot \sigma'(z^1)
#
# On the way forward the numbers went through :math:`W^2`; on the way back the blame goes through the same wires in the
# other direction, which is what the transposed matrix does: its rows are the columns of :math:`W^2`. Had there been
# several outputs, it would also add up what arrives from each of them.

delta1 = (W2.T @ delta2) * sigmoid_derivative(z1)  # (3, 1) @ (1, 1) = (3, 1)
for i in range(3):
    terms = f"{W2[0, i]:4.1f} · {delta2[0, 0]:.4f} · {h[i, 0]:.4f} · (1 - {h[i, 0]:.4f})"
    print(f"δ¹ of hidden neuron {i + 1}: {terms} = {delta1[i, 0]:7.4f}")

back = "The blame, carried back along the wires"
show(inside.network_diagram([W2], [delta1, delta2], ["δ¹, hidden", "δ², output"], title=back))

# %%
# The second hidden neuron has a weight below 0 to the output: it held the answer down, and so its blame has the other
# sign.

# %%
# Equation 4: the weights and biases of the hidden layer
# ------------------------------------------------------
#
# The same as equation 2, one layer earlier: blame at the end of the wire, times what came along it, now the inputs.
#
# .. math:: \frac{\partial C}{\partial W^1} = \delta^1 x^T, \qquad \frac{\partial C}{\partial b^1} = \delta^1

slope_W1, slope_b1 = delta1 @ x.T, delta1  # (3, 1) @ (1, 2) = (3, 2)
for i in range(3):
    print(f"hidden neuron {i + 1}: ∂C/∂w = {row(slope_W1[i])}    ∂C/∂b = {slope_b1[i, 0]:7.4f}")

# %%
# Now the question at the top has its answer: most to blame are the output's bias, and its wire from the second hidden
# neuron. A change there lowers the cost most.
#
# And that is all of it. Deeper networks repeat equations 3 and 4 for each layer, until the inputs are reached.
# Written for any layer :math:`l`, with :math:`a^l` for its activations, :math:`a^0 = x` and :math:`L` for the last one:
#
# .. math::
#
#    \delta^L &= (\hat y - y) \odot \sigma'(z^L) \\
#    \delta^l &= \bigl( (W^{l+1})^T \delta^{l+1} \bigr) \odot \sigma'(z^l) \\
#    \frac{\partial C}{\partial W^l} &= \delta^l (a^{l-1})^T, \qquad \frac{\partial C}{\partial b^l} = \delta^l
#
# Nothing was computed twice: each layer took what the layer behind it had found out. That is why the way back costs
# only about twice the way forward, however large the network; lesson 7 measures it.

# %%
# Is it true?
# -----------
#
# A slope can be measured, too: nudge one number, run forward, see how the cost changes. Thirteen numbers, fourteen
# runs.
#
# Each number has a run with its own nudge, and one run more, without any, gives the cost to compare with.

shapes = [part.shape for part in (W1, b1, W2, b2)]
ends = np.cumsum([np.prod(shape) for shape in shapes])[:-1]


def cost_of(numbers):
    """The cost of the network, from all its weights and biases in one row."""
    parts = [part.reshape(shape) for part, shape in zip(np.split(numbers, ends), shapes, strict=True)]
    return backprop.cost(backprop.forward(backprop.Layers(*parts), x).prediction, y)


by_equations = np.concatenate([part.ravel() for part in (slope_W1, slope_b1, slope_W2, slope_b2)])
all_numbers = np.concatenate([part.ravel() for part in (W1, b1, W2, b2)])
measured = finite_difference.forward_difference(cost_of, all_numbers)
labels = ["W¹", *[""] * 5, "b¹", *[""] * 2, "W²", *[""] * 2, "b²"]
print(" " * 17, " ".join(f"{label:>7}" for label in labels))
for title, values in (("by the equations", by_equations), ("by nudging", measured)):
    print(f"{title:<17}", " ".join(f"{value:7.4f}" for value in values))
print(f"largest difference: {np.abs(by_equations - measured).max():.1e}")

# %%
# The same from the tape
# ----------------------
#
# Nobody wants to write equations for each new network. The library writes down each operation while it runs: on a tape.
#
# The lines below are the forward pass from above, all but word for word: the weights are Tensors, arrays that
# remember where they came from, and the sigmoid is the library's. ``requires_grad=True`` says whose slopes we shall
# ask for. The example and the right answer stay plain arrays; nobody wants to learn those.

tensors = {
    name: cr.tensor(value, requires_grad=True) for name, value in {"W¹": W1, "b¹": b1, "W²": W2, "b²": b2}.items()
}
tz1 = tensors["W¹"] @ x + tensors["b¹"]
th = cr.sigmoid(tz1)
tz2 = tensors["W²"] @ th + tensors["b²"]
tguess = cr.sigmoid(tz2)
tcost = 0.5 * ((tguess - y) ** 2).sum()
print(f"C by hand {cost:.12f}, by the engine {tcost.item():.12f}")

names = {**tensors, "z¹": tz1, "h": th, "z²": tz2, "ŷ": tguess, "C": tcost}
show(graph.computation_graph(tcost, names, title="The tape of one forward pass"))

# %%
# Read the drawing from top to bottom, that is the way forward: W¹ times the example, plus b¹, through the sigmoid, and
# so on down to the cost, whose minus, square, sum and half are called ``sub``, ``pow``, ``sum`` and ``mul``. Filled
# boxes are what can be learned.
#
# ``backward()`` walks it from bottom to top. At each box it asks one question: if the result should change by so much,
# how much is that for each of the things it was made of? For ``sigmoid`` the answer is "times :math:`\sigma'`", for
# ``matmul`` "times the other matrix, transposed", for ``add`` "the same for both". Each answer is a line or two of
# Python, beside the operation itself; the four equations are nothing but these answers, one after the other.
# (``chainrule.draw`` gives the same drawing as text for Graphviz or Markdown pages.)

tz1.retain_grad()  # results in between do not keep their slopes unless asked to
tz2.retain_grad()
tcost.backward()

print("                       by the equations          from the tape")
by_hand = {"δ²": delta2, "W²": slope_W2, "b²": slope_b2, "δ¹": delta1, "W¹": slope_W1, "b¹": slope_b1}
from_tape = {"δ²": tz2.grad, "δ¹": tz1.grad, **{name: tensor.grad for name, tensor in tensors.items()}}
for name, ours in by_hand.items():
    for i, (one, other) in enumerate(zip(ours.ravel(), from_tape[name].numpy().ravel(), strict=True)):
        print(f"{name if i == 0 else '':<4}{one:35.15f}{other:23.15f}")
gap = max(np.abs(ours - from_tape[name].numpy()).max() for name, ours in by_hand.items())
print(f"largest difference: {gap:.1e}")

# %%
# Not just close: the same numbers, up to the rounding of the last digit. The engine has no other mathematics than
# yours.

# %%
# Change one thing
# ----------------
#
# Before you run this: let the right answer be 0 instead of 1. Which of the thirteen slopes change their sign?
#
# Look where :math:`y` stands in the equations, and what happens to everything that comes after it.

wanted = 0.0  # change me
layers = backprop.Layers(W1, b1, W2, b2)
before = np.concatenate([part.ravel() for part in backprop.backpropagate(layers, x, y)])
after = np.concatenate([part.ravel() for part in backprop.backpropagate(layers, x, np.array([[wanted]]))])
print(" " * 15, " ".join(f"{label:>7}" for label in labels))
print("right answer 1:", " ".join(f"{value:7.4f}" for value in before))
print(f"right answer {wanted:g}:", " ".join(f"{value:7.4f}" for value in after))
print("after / before:", " ".join(f"{value:7.4f}" for value in after / before))

# %%
# All of them, and all by the same factor. The right answer appears in equation 1 only; the other three hand on,
# multiplied by this and that, what they are given. Blame is what flows back, and it has a single source.

# %%
# And now let it learn
# --------------------
#
# Lesson 2 had to build the hidden layer for XOR by hand. With the four equations the network finds one by itself.
#
# All four examples stand side by side as the columns of one matrix; the equations stay as they are, and the slopes of
# the four are added up. Then each weight and bias takes a step against its slope, 5,000 times.

pairs = np.array([[0.0, 0.0, 1.0, 1.0], [0.0, 1.0, 0.0, 1.0]])  # (2, 4): a column an example
xor = np.array([[0.0, 1.0, 1.0, 0.0]])  # (1, 4)
learned, costs = backprop.train(layers, pairs, xor, learning_rate=2.0, epochs=5000)
print(f"cost {costs[0]:.4f} at the start, {costs[99]:.4f} in epoch 100, {costs[-1]:.4f} in epoch 5000")
print(f"wanted {row(xor)}\nit says {row(backprop.forward(learned, pairs).prediction)}")

show(charts.lines({"cost": costs}, title="XOR, learned by backpropagation", x_label="epoch", y_label="cost C", log="y"))
show(
    points.decision_boundary(
        lambda where: backprop.forward(learned, where.T).prediction[0] > 0.5,
        pairs.T,
        xor[0],
        None,
        ["0", "1"],
        title="Where the network now says 0 and 1",
    )
)

# %%
# Read next
# ---------
#
# "Is it true?" needed a run for each number, and gave the same result. Lesson 7 asks what that would cost in earnest.
#
# The four equations as functions: ``chainrule.first_principles.backprop``. The tape and the walk back along it:
# ``chainrule.autograd.tape``. An operation with its derivative below it: any file in ``chainrule.ops``.
