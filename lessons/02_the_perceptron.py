"""
The perceptron, and what it cannot learn
========================================

Can a neuron find its weights by itself, from nothing but examples and its own mistakes?

In 1958 Frank Rosenblatt showed that it can, with a rule that fits on one line. We watch it learn AND and OR. Then we
give it a task that looks no harder, watch it fail, find out why, and fix it.

Prerequisites: :lesson:`neurons`.
"""

import itertools

import numpy as np

from chainrule.first_principles.perceptron import AND, INPUTS, NAND, OR, XOR, learn, predict, xor
from chainrule.lessons import show
from chainrule.plots import animation, points

# %%
# A neuron that says yes or no
# ----------------------------
#
# The perceptron is the neuron of :lesson:`neurons` with a harder bend: it says 1 if its sum is above 0, and 0 if it is
# not.
#
# .. math:: \hat y = \begin{cases} 1 & \text{if } w_1 x_1 + w_2 x_2 + b > 0 \\ 0 & \text{otherwise} \end{cases}
#
# The hat marks a guess: :math:`y` is the right answer, :math:`\hat y` what the neuron says. The first task is AND:
# answer 1 only if both inputs are 1. The perceptron gets only these four examples.

for inputs, answer in zip(INPUTS, AND, strict=True):
    print(f"x = {inputs}   y = {answer}")

# %%
# Learning from mistakes
# ----------------------
#
# It looks at one example after another. If its answer is right, nothing happens; if it is wrong, the weights move.
#
# .. math:: w \leftarrow w + (y - \hat y)\, x, \qquad b \leftarrow b + (y - \hat y)
#
# The arrow means "becomes", and each weight moves by its own input: :math:`w_1` by :math:`(y - \hat y)\, x_1`,
# :math:`w_2` by :math:`(y - \hat y)\, x_2`. The error :math:`y - \hat y` has one of three values:
#
# - 0 if the answer was right: nothing changes.
# - 1 if it should have said 1 and said 0: the example is added to the weights, and 1 to the bias. The sum for this
#   example grows by :math:`x_1^2 + x_2^2 + 1`, which is always above 0.
# - -1 if it should have said 0 and said 1: the example is subtracted, and 1 from the bias. The sum shrinks by as much.
#
# (Some texts subtract the other way around, :math:`\hat y - y`, and write a minus in front; it is the same rule.)
#
# One pass through all examples is called an **epoch**. Here is the first one for AND. All three numbers begin at 0, so
# every sum is 0 and every answer 0. That is right for the first three examples and wrong for (1, 1): 1 · (1, 1) is
# added to the weights and 1 to the bias. So epoch 1 has one mistake and ends with w = (1, 1) and b = 1. Now all four
# sums are above 0, even that of (0, 0), so epoch 2 begins with a mistake in the other direction.
#
# The function ``learn`` applies the rule to every example in turn, and returns the weights, the bias and a list with
# the number of mistakes in each epoch. We call it for one epoch at a time:

weights, bias = np.zeros(2), 0.0
stages = [(weights, bias)]
for epoch in itertools.count(1):  # 1, 2, 3, ... without end; break leaves the loop
    weights, bias, (mistakes,) = learn(INPUTS, AND, epochs=1, weights=weights, bias=bias)  # the list has one entry
    print(f"epoch {epoch}: mistakes: {mistakes}; now w = {weights}, b = {bias:g}")
    stages.append((weights, bias))
    if mistakes == 0:
        break

# %%
# An epoch without a mistake changes nothing, so neither would any later one: it has learned.
#
# The answer changes where the sum is exactly 0. With two inputs :math:`w_1 x_1 + w_2 x_2 + b = 0` is a straight line
# in the plane of the inputs, with 1 on one side and 0 on the other. The rule does not mention lines, but it finds one
# between the 0s and the 1s: see the figure below. A point on the line itself has the sum 0 and so the answer 0. Check
# it for (1, 0), with the last weights printed above: 2 · 1 + 1 · 0 - 2 = 0.

wanted = ["wanted: 0", "wanted: 1"]
show(
    points.decision_boundary(
        lambda x: predict(x, weights, bias), INPUTS, AND, (weights, bias), wanted, title="AND: a line was found"
    )
)

# For the film: a function of x for each stage, before the first epoch and after each. "lambda x: ..." is a function
# without a name, "stage=stage" gives it the stage of its own round, and "*stage" passes weights and bias one by one.
classifiers = [lambda x, stage=stage: predict(x, *stage) for stage in stages]
film = "AND, learned"
show(animation.animate_decision_boundary(classifiers, INPUTS, AND, wanted, film, milliseconds=900))

learned = learn(INPUTS, OR)  # stops after an epoch without mistakes, and after 100 epochs in any case
print(f"OR takes {len(learned.mistakes)} epochs: w = {learned.weights}, b = {learned.bias:g}")

# %%
# The task that it cannot learn
# -----------------------------
#
# XOR means "one or the other, but not both". Again there are four examples, and a hundred epochs to learn them.

failed = learn(INPUTS, XOR, epochs=100)
print("mistakes in the first ten epochs:", failed.mistakes[:10])
print("mistakes in the last ten epochs: ", failed.mistakes[-10:])
for epochs in (2, 3, 100):
    ended = learn(INPUTS, XOR, epochs=epochs)
    print(f"after {epochs:3} epochs: w = {ended.weights}, b = {ended.bias:g}")
print(f"it says {predict(INPUTS, failed.weights, failed.bias).astype(int)}, wanted {XOR}")

# %%
# It goes around in circles. From the third epoch on it makes four mistakes in each: two examples are added and two
# subtracted, which cancels, and so each epoch ends with the weights and the bias that it began with.
#
# How can two of four be right in the last line, if all four were wrong? Each answer was wrong at the moment it was
# given, and the weights moved after each. The last line asks all four with the same weights, those left at the end.
#
# More epochs would not help, and here is the proof. Put each example into :math:`w_1 x_1 + w_2 x_2 + b`. Where 1 is
# wanted, the sum must be above 0; where 0 is wanted, it must not. (Read "0, 1 → 1" as "for the inputs 0 and 1 the
# answer 1 is wanted".) So the weights and the bias would have to obey
#
# .. math::
#
#    \text{0, 0} \to 0: \qquad b &\le 0 \\
#    \text{0, 1} \to 1: \qquad w_2 + b &> 0 \\
#    \text{1, 0} \to 1: \qquad w_1 + b &> 0 \\
#    \text{1, 1} \to 0: \qquad w_1 + w_2 + b &\le 0
#
# Add the two in the middle: :math:`w_1 + w_2 + 2b > 0`. Add the outer two: :math:`w_1 + w_2 + 2b \le 0`. No numbers
# satisfy both. (In 1969 Marvin Minsky and Seymour Papert wrote a whole book, *Perceptrons*, about what else a single
# line cannot do.)
#
# If you distrust the proof, try it: draw 100,000 lines at random, and count for each how many of the four answers are
# right.

random = np.random.default_rng(0)
lines = random.normal(size=(100_000, 3))  # w₁, w₂ and b
answers = INPUTS @ lines[:, :2].T + lines[:, 2] > 0  # (4, 100000)
right = (answers == XOR[:, None]).sum(axis=0)  # XOR as a column, compared with every column; how many agree in each
for count in range(5):  # the mean of True and False is the fraction of True
    print(f"{count} of 4 right: {np.mean(right == count):6.1%} of 100,000 random lines")

# %%
# Three right is the most that any of them reaches, as the proof says. In the picture below, no straight line has the
# two squares (wanted: 1) on one side and the two circles (wanted: 0) on the other. The line drawn is one of the best:
# three are right, and only (1, 1) is on the wrong side.

show(
    points.decision_boundary(
        lambda x: predict(x, [1.0, 1.0], -0.5), INPUTS, XOR, ([1.0, 1.0], -0.5), wanted, title="XOR: three are the most"
    )
)

# %%
# Change one thing
# ----------------
#
# Before you run this: can a perceptron learn the task "are both inputs the same?" And how many tasks can it learn?
#
# The targets are the right answers for (0, 0), (0, 1), (1, 0) and (1, 1). Four answers that are 0 or 1 make
# :math:`2^4 = 16` tasks in all. Guess for how many of the 16 there is a line.
#
# ``mistakes`` has one entry for each epoch, and ``mistakes[-1]`` is the last. If it is above 0, a hundred epochs were
# not enough.

targets = np.array([1, 0, 0, 1])  # change me
print(f"{targets}: {'learned' if learn(INPUTS, targets).mistakes[-1] == 0 else 'not learned'}")

tasks = [np.array(task) for task in itertools.product((0, 1), repeat=4)]  # all rows of four that are 0 or 1
beyond = [task for task in tasks if learn(INPUTS, task).mistakes[-1] > 0]
print(f"{len(tasks) - len(beyond)} of {len(tasks)} tasks are learned; not learned:", *beyond)

# %%
# "The same" is XOR with 0 and 1 swapped, and just as impossible. For each of the other fourteen there is a line. (Where
# the answer is always 0 or always 1, it passes beside all four points.)

# %%
# A hidden layer
# --------------
#
# XOR means: at least one of them (OR), and not both (NAND). There is a line for each half, and AND combines them.
#
# So two perceptrons look at the inputs, and a third looks at the two. The two in between are a **hidden layer**:
# hidden, because their outputs are neither inputs nor the answer.

first, second, last = (learn(INPUTS, task) for task in (OR, NAND, AND))
hidden = np.stack([predict(INPUTS, p.weights, p.bias) for p in (first, second)], axis=1)  # (4, 2): a row per example
outputs = predict(hidden, last.weights, last.bias)
for inputs, between, answer in zip(INPUTS, hidden, outputs, strict=True):
    print(f"x = {inputs}   OR says {between[0]:.0f}, NAND says {between[1]:.0f}   AND of both: {answer:.0f}")

# xor is the same three perceptrons in one function.
show(points.decision_boundary(xor, INPUTS, XOR, None, wanted, title="XOR with a hidden layer: between two lines"))

# %%
# The network says 1 in a band: above the line of OR and below the line of NAND.
#
# In the outputs of the hidden layer the task has become easy. (0, 1) and (1, 0) have moved to the same point, (1, 1),
# because OR and NAND both say 1 for both of them. So the next figure has only three points, and a line is enough.

show(
    points.decision_boundary(
        lambda h: predict(h, last.weights, last.bias),
        hidden,
        XOR,
        (last.weights, last.bias),
        wanted,
        title="The same four, as the hidden layer sees them",
        axes_labels=("what OR says", "what NAND says"),
    )
)

# %%
# That is the purpose of hidden layers: they move the points until a line is enough. But we knew that XOR is "OR and
# NAND" and trained each perceptron on its own part. For digits nobody knows the parts.

# %%
# Read next
# ---------
#
# A network must find its hidden layer by itself. For that, "right" and "wrong" are too coarse: if a weight changes a
# little, most often no answer changes, so nothing tells whether the change was good. :lesson:`rolling-downhill` asks
# "which way is less wrong?", and takes a small step that way.
#
# The rule and the proof are in ``chainrule.first_principles.perceptron``.
