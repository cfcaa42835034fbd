"""
Learning better
===============

A network that is badly wrong should learn fast. Ours hardly moves. And when it has learned all its examples by heart,
is that good?

Two weaknesses of our networks, and what helps. First the loss: with squared errors a neuron that is sure and wrong
learns almost nothing. Cross entropy mends this, and we derive its slope line by line. Then the examples: with few
of them a network learns them by heart. More examples, weight decay, dropout, and stopping in time help, each by as much
as we measure and no more.

Prerequisites: :lesson:`one-neuron-learns`, :lesson:`backpropagation`, :lesson:`the-network-reads-digits`.
"""

import numpy as np

from chainrule.data import mnist
from chainrule.first_principles.activations import sigmoid
from chainrule.lessons import show
from chainrule.plots import charts

# %%
# Sure and wrong
# --------------
#
# One neuron, one input, which is always 1. The right answer is 0. Its weight and bias are 2, so it says nearly 1: it is
# sure, and wrong.
#
# With the squared error :math:`C = \tfrac12 (a - y)^2` the slope in the sum z is :math:`(a - y) \, \sigma'(z)`, as in
# :lesson:`backpropagation`. Here is what that means in numbers, next to a neuron that is only a little wrong:


def squared_error_slope(z, y):
    """∂C/∂z of the squared error of a sigmoid neuron."""
    a = sigmoid(z)
    return (a - y) * a * (1 - a)


for w, b in ((0.6, 0.9), (2.0, 2.0)):
    z = np.array(w + b)
    a = float(sigmoid(z))
    print(f"w = {w}, b = {b}: a = {a:.4f}, error a - y = {a:.4f}, slope of the sigmoid {a * (1 - a):.4f}")
    print(f"    their product, the slope in z: {squared_error_slope(z, 0.0):.4f}")

# %%
# The second neuron is more wrong, and has the smaller slope: it will learn *more slowly*. People learn fastest when
# they are badly wrong. What spoils it is the factor σ′(z), which is almost 0 where the sigmoid is flat:
# the neuron is **saturated**.

# %%
# A loss whose slope does not vanish
# ----------------------------------
#
# We want a loss whose slope is just the error, a - y. Which one would that be?
#
# Read the activation :math:`a` as the probability that the answer is 1. If the answer is 1, what happened had the
# probability :math:`a`; if it is 0, :math:`1 - a`. The loss is minus the logarithm of that probability:
#
# .. math:: C = \begin{cases} -\ln a & \text{if } y = 1 \\ -\ln (1 - a) & \text{if } y = 0 \end{cases}
#    \qquad\text{or in one line:}\qquad C = -\bigl( y \ln a + (1 - y) \ln (1 - a) \bigr)
#
# :math:`\ln` is the natural logarithm, the inverse of :math:`e^x`: :math:`\ln 1 = 0`, and :math:`\ln a` falls without
# end as :math:`a` goes to 0. So this loss, called **cross entropy**, is 0 for a neuron that is sure and right, and
# grows without end for one that is sure and wrong:

for a in (0.01, 0.1, 0.5, 0.9, 0.99):
    print(f"right answer 0, activation {a:.2f}: squared error {0.5 * a**2:.4f}, cross entropy {-np.log(1 - a):.4f}")

# %%
# Its slope, line by line
# -----------------------
#
# The chain rule needs two slopes: that of the loss in a, and that of a in z. Then we multiply.
#
# The first. The slope of :math:`\ln a` is :math:`1/a`. (:math:`e^x` has a slope equal to its height, here :math:`a`;
# for the inverse, rise and run are exchanged.) The slope of :math:`\ln(1 - a)` is :math:`-1/(1 - a)`, where the minus
# is the slope of :math:`1 - a`:
#
# .. math:: \frac{\partial C}{\partial a} = -\frac{y}{a} + \frac{1 - y}{1 - a}
#
# On one denominator:
#
# .. math:: \frac{\partial C}{\partial a} = \frac{-y (1 - a) + (1 - y) a}{a (1 - a)}
#    = \frac{-y + y a + a - y a}{a (1 - a)} = \frac{a - y}{a (1 - a)}
#
# The second is the slope of the sigmoid, :math:`\partial a / \partial z = a (1 - a)`. Their product:
#
# .. math:: \frac{\partial C}{\partial z} = \frac{a - y}{a (1 - a)} \cdot a (1 - a) = a - y
#
# The factor that vanished has been canceled. Nobody was lucky: the logarithm was chosen for it.

z, y = np.array(4.0), 0.0
a = float(sigmoid(z))
first, second = (a - y) / (a * (1 - a)), a * (1 - a)
print(f"∂C/∂a = {first:.4f}, ∂a/∂z = {second:.4f}, their product = {first * second:.4f}, and a - y = {a - y:.4f}")
nudge = 1e-6
pushed = [-np.log(1 - sigmoid(z + side)) for side in (nudge, -nudge)]
print(f"measured, by a nudge to z: {(pushed[0] - pushed[1]) / (2 * nudge):.4f}")
print(f"with the squared error it was {squared_error_slope(z, y):.4f}")

# %%
# The race
# --------
#
# The two neurons, both losses, the same learning rate 0.15, 300 steps.


def learn_zero(w, b, slope_of, steps=300, rate=0.15):
    """The activation before each step, for the input 1 and the right answer 0."""
    activations = []
    for _ in range(steps):
        z = np.array(w + b)
        activations.append(float(sigmoid(z)))
        delta = slope_of(z, 0.0)
        w, b = w - rate * delta, b - rate * delta  # the input is 1
    return activations


races = {
    f"{name}, from {start}": learn_zero(start, start, slope_of)
    for name, slope_of in (("squared error", squared_error_slope), ("cross entropy", lambda z, y: sigmoid(z) - y))
    for start in (0.75, 2.0)
}
for name, activations in races.items():
    print(f"{name:<24} before step 100 it says {activations[99]:.4f}, before step 300 {activations[-1]:.4f}")
labels = {"x_label": "step", "y_label": "activation (right: 0)"}
show(charts.lines(races, range(300), title="Sure and wrong", **labels))

# %%
# The curve of the squared error from 2.0 begins with a plateau: for many steps almost nothing happens. With cross
# entropy the first steps are the fastest, as they should be.

# %%
# Ten answers
# -----------
#
# A digit is one of ten. Ten sigmoids each say what they like. **Softmax** lets them compete: ten scores become ten
# probabilities that add up to 1.
#
# .. math:: p_j = \frac{e^{z_j}}{\sum_k e^{z_k}}, \qquad C = -\ln p_{\text{right}}
#
# Powers of :math:`e` make each score positive, and dividing by their sum makes them add up to 1. The loss is again
# minus the logarithm of the probability of what happened. For its slope we first take the logarithm:
#
# .. math:: C = -\ln \frac{e^{z_{\text{right}}}}{\sum_k e^{z_k}} = -z_{\text{right}} + \ln \sum_k e^{z_k}
#
# The slope of the first part in :math:`z_j` is -1 if :math:`j` is the right one, and 0 otherwise: that is
# :math:`-y_j`. For the second, the chain rule gives one over the sum, times the slope of the sum, which is
# :math:`e^{z_j}` because only one of its terms contains :math:`z_j`:
#
# .. math:: \frac{\partial C}{\partial z_j} = -y_j + \frac{1}{\sum_k e^{z_k}} \cdot e^{z_j} = p_j - y_j
#
# Probability minus truth, for each of the ten. It is the same simple result.

scores, truth = np.array([2.0, 1.0, -1.0]), np.array([0.0, 1.0, 0.0])  # three answers, the second is right
powers = np.exp(scores)
p = powers / powers.sum()


def loss_of(scores):
    """Cross entropy if the second is right."""
    return -np.log(np.exp(scores[1]) / np.exp(scores).sum())


measured = [(loss_of(scores + nudge * side) - loss_of(scores - nudge * side)) / (2 * nudge) for side in np.eye(3)]
with np.printoptions(precision=4, suppress=True):
    print("scores      ", scores, " e to their power", powers)
    print("p           ", p)
    print("p - y       ", p - truth)
    print("by nudging  ", np.array(measured))

# %%
# On digits
# ---------
#
# Does it matter for a real network? 1,000 training images, 50 hidden neurons, 20 images per step, and both losses.
#
# With the squared error the ten outputs are sigmoids, as in :lesson:`the-network-reads-digits`, at its learning rate
# of 3. With cross entropy they are a softmax, at 0.5. These are fair: each is a good rate for its loss. We write the
# network once more by hand, because it is short, and because the only difference is the line with ``delta``.
#
# ``train`` is the longest function so far, but you know its parts. Each round of its inner loop is one step, with 20
# images as the rows of a matrix: forward (``h``, ``z``), the blame of the outputs and of the hidden neurons (``delta``,
# ``delta1``, equations 1 and 3), and a step against the slopes (equations 2 and 4). After every second epoch it
# measures the loss and the right answers. ``decay``, ``dropout`` and ``mask`` come later in this lesson; here they
# change nothing.
#
# ``z - z.max(...)`` subtracts the largest score from all ten. That divides every power of :math:`e`, and so their sum,
# by the same number: the probabilities stay the same, and no power is too large for the computer.

data = mnist().split()
images = data.train.images[:8000].reshape(-1, 784) / 255  # (8000, 784): a row for each image
digits = data.train.labels[:8000]
exam, exam_digits = data.validation.images[:2000].reshape(-1, 784) / 255, data.validation.labels[:2000]


def train(count=1000, epochs=40, loss="cross entropy", rate=0.5, decay=0.0, dropout=0.0, seed=0, hidden=50):
    """Train 784-50-10 on the first images; returns [epoch, training loss, exam loss, training right, exam right]."""
    random = np.random.default_rng(seed)
    w1, b1 = random.normal(0, 784**-0.5, (784, hidden)), np.zeros(hidden)
    w2, b2 = random.normal(0, hidden**-0.5, (hidden, 10)), np.zeros(10)
    x, y, history = images[:count], np.eye(10)[digits[:count]], []  # y: 1 at the digit

    def predict(pixels):
        z = sigmoid(pixels @ w1 + b1) @ w2 + b2
        if loss == "squared error":
            return sigmoid(z)
        powers = np.exp(z - z.max(axis=1, keepdims=True))  # the same ratio, and no number too large for e
        return powers / powers.sum(axis=1, keepdims=True)

    for epoch in range(1, epochs + 1):
        for chosen in np.split(random.permutation(len(x)), len(x) // 20):
            h = sigmoid(x[chosen] @ w1 + b1)  # (20, 50)
            mask = (random.random(h.shape) >= dropout) / (1 - dropout) if dropout else 1.0
            z = h * mask @ w2 + b2  # (20, 10)
            if loss == "squared error":
                delta = squared_error_slope(z, y[chosen])
            else:
                powers = np.exp(z - z.max(axis=1, keepdims=True))
                delta = powers / powers.sum(axis=1, keepdims=True) - y[chosen]  # p - y
            delta = delta / len(chosen)
            delta1 = delta @ w2.T * mask * h * (1 - h)
            w2 = (1 - rate * decay) * w2 - rate * (h * mask).T @ delta
            w1 = (1 - rate * decay) * w1 - rate * x[chosen].T @ delta1
            b2, b1 = b2 - rate * delta.sum(axis=0), b1 - rate * delta1.sum(axis=0)
        if epoch == 1 or epoch % 2 == 0:
            rows = []
            for pixels, right in ((x, digits[:count]), (exam, exam_digits)):
                p = predict(pixels)
                rows.append((-np.log(p[np.arange(len(p)), right]).mean(), 100 * np.mean(p.argmax(axis=1) == right)))
            history.append([epoch, rows[0][0], rows[1][0], rows[0][1], rows[1][1]])
    history = np.array(history)
    if not np.isfinite(history).all():
        raise ValueError("the network has diverged, its loss is not finite; try a smaller learning rate")
    return history


plain = train()
by_squares = train(loss="squared error", rate=3.0)
print("read right of 2,000 images that it has not seen, after epoch   1       2       4      40")
for name, history in (("squared error", by_squares), ("cross entropy", plain)):
    shares = [history[history[:, 0] == epoch][0, 4] for epoch in (1, 2, 4, 40)]
    print(f"{name:<61}" + "  ".join(f"{share:5.1f}%" for share in shares))

# %%
# Cross entropy is ahead at the start, and there is little between them at the end: the cure is for slowness. (Nielsen
# found the same, with a different network.)

# %%
# By heart
# --------
#
# Now look at the same training again, at the loss on images that it learns from, and on others.

best = plain[plain[:, 2].argmin()]
for epoch in (1, 4, 10, 20, 40):
    row = plain[plain[:, 0] == epoch][0]
    print(
        f"after epoch {epoch:2d}: loss {row[1]:.4f} where it learned, {row[2]:.4f} where not; "
        f"right {row[3]:5.1f}% and {row[4]:4.1f}%"
    )
print(f"the loss where it did not learn is lowest after epoch {best[0]:.0f}: {best[2]:.4f}")
curves = {"images it learns from": plain[:, 1], "other images": plain[:, 2]}
labels = {"x_label": "epoch", "y_label": "mean loss, -ln p"}
show(charts.lines(curves, plain[:, 0], title="By heart", **labels))

# %%
# Where it learns, the loss keeps falling toward 0: it has every one of its 1,000 images right. On others the loss turns
# and rises, although the number of right answers hardly changes: on what it gets wrong, it becomes more and more sure.
# This is overfitting. The network has 39,760 numbers for 1,000 images.

# %%
# Stop in time
# ------------
#
# The first cure costs nothing. Keep the weights of the epoch where the loss on *other* images was lowest.
#
# It is called **early stopping**. The images that decide when to stop are the validation images: after that they are no
# longer an honest exam, because we have chosen by them. (The test images still are.)

# %%
# Weight decay
# ------------
#
# A network that knows things by heart needs large weights, to answer differently for images that hardly differ. So let
# us make large weights expensive.
#
# Add half of :math:`\lambda` (lambda) times the sum of all squared weights to the loss. The slope of
# :math:`\tfrac{\lambda}{2} w^2` is :math:`\lambda w`, so a step becomes
#
# .. math:: w \leftarrow w - \eta \left( \frac{\partial C}{\partial w} + \lambda w \right)
#    = (1 - \eta \lambda) \, w - \eta \frac{\partial C}{\partial w}
#
# Each step first shrinks every weight by a small fraction: **weight decay**. Only what the examples keep asking for
# survives. Whatever holds a network back from learning by heart is called **regularization**.

eta, lam, w = 0.5, 0.001, 2.0
print(f"one step without any slope: {w} becomes (1 - {eta} · {lam}) · {w} = {(1 - eta * lam) * w}")
print(f"after 1,000 such steps: {w * (1 - eta * lam) ** 1000:.4f}")

# %%
# Dropout
# -------
#
# The other cure: in each step, a random half of the hidden neurons is switched off.
#
# No neuron can rely on a particular other one, so they cannot agree on a trick that works for one image only. The
# remaining ones are doubled, so that the sums stay as large on average; and when the network is used, all are on. This
# is **dropout**. On the way back the blame is multiplied by the same ``mask``: a neuron that was off had no part in the
# answer, so its slope is 0, and a doubled one counts twice.

random = np.random.default_rng(0)
h = np.array([0.2, 0.9, 0.5, 0.7, 0.1, 0.6])
for _ in range(3):
    mask = (random.random(6) >= 0.5) / 0.5
    print("hidden", h, " times ", mask, " = ", h * mask, f" sum {np.sum(h * mask):.1f}")
mean = np.mean([np.sum(h * (random.random(6) >= 0.5) / 0.5) for _ in range(10_000)])
print(f"sum without dropout {h.sum():.1f}; mean of 10,000 draws with it {mean:.1f}")

# %%
# Measured
# --------
#
# Each cure alone, on the same network, with the same 1,000 images; and the network with more images instead.
#
# 2,000 exam images have a noise of their own, by the law of polls in :lesson:`stochastic-gradient-descent`. An answer
# that is right with the probability :math:`p` has the variance :math:`p (1 - p)`, and the mean of 2,000 of them a
# 2,000th of that. With about 88% right, the share is typically :math:`\sqrt{0.88 \cdot 0.12 / 2000}`, or 0.7 percentage
# points, from what all images of this kind would give. Smaller differences mean nothing.

runs = {
    "1,000 images": plain,
    "weight decay": train(decay=0.001),
    "dropout": train(dropout=0.5),
    "8,000 images": train(8000, epochs=6),
}
rows = {name: history[-1] for name, history in runs.items()}
rows = {"1,000 images": plain[-1], "stopped in time": best} | rows
print("                  epochs   right where it learned   right where not   loss where not")
for name, row in rows.items():
    print(f"{name:<17} {row[0]:6.0f} {row[3]:22.1f}% {row[4]:16.1f}% {row[2]:16.4f}")
late = plain[:, 0] >= 6  # before that, the loss falls steeply for all
cures = {name: history[late, 2] for name, history in runs.items() if len(history) == len(plain)}
labels = {"x_label": "epoch", "y_label": "loss on other images, -ln p"}
show(charts.lines(cures, plain[late, 0], title="What each cure does to the loss", **labels))

# %%
# Weight decay keeps the loss on other images close to its lowest point, without having to be stopped. Dropout does
# little for so small a network. In right answers the cures differ by hardly more than the noise. Eight times as many
# images do far more than all the cures, in about as many steps.
#
# That is the lesson that the field has learned over and over: first more examples, then everything else. If there are
# no more, one makes some: shifted, rotated, a bit larger (``chainrule.data.Augment``).

# %%
# Change one thing
# ----------------
#
# Before you run this: what will ten times the weight decay do to the images that it learns from, and to the others?
#
# Then try 0.1. What is the best loss that a network without any weights can have?

decay = 0.01  # change me
for strength in (0.0, 0.001, decay):
    row = (plain if not strength else runs["weight decay"] if strength == 0.001 else train(decay=strength))[-1]
    print(
        f"decay {strength:<6} right where it learned {row[3]:5.1f}%, where not {row[4]:5.1f}%, loss there {row[2]:.4f}"
    )
print(f"the loss of one that says a tenth for each digit: ln 10 = {np.log(10):.4f}")

# %%
# Too strong a decay is worse than none: the network cannot even learn what it is shown. The strength is chosen by
# trying, on the validation images, like the learning rate.

# %%
# Read next
# ---------
#
# :Lesson:`the-convolutional-network` uses softmax and cross entropy from the start, and a network that looks through
# small windows.
#
# In the library these are ``chainrule.nn.CrossEntropyLoss``, ``chainrule.nn.Dropout``, and the ``weight_decay`` of the
# optimizers in ``chainrule.optim``. The lesson follows Nielsen, Neural Networks and Deep Learning (2015), chapter 3.
# Weight decay for networks is from Krogh and Hertz, A simple weight decay can improve generalization (1991), dropout
# from Srivastava and others, Dropout (2014).
