"""
Backward through a convolution
==============================

A filter's weight is used at every position of the image. Who gets the blame when something goes wrong at one of them?

:Lesson:`backpropagation` followed the error through layers in which every weight is used once. In a convolution one
weight is used again and again, and pooling throws away three numbers of four. The chain rule needs no new idea for
either, only care. We go back through a convolution of a 4 × 4 image and a 2 × 2 filter, and through pooling, with every
number in sight, and then through a whole small network, checked by nudging and by the library.

Prerequisites: :lesson:`the-convolutional-network`, :lesson:`backpropagation`.
"""

import numpy as np

import chainrule as cr
from chainrule import nn
from chainrule.first_principles.convolution import convolve, convolve_backward, max_pool, max_pool_backward
from chainrule.lessons import show
from chainrule.plots import grids

# %%
# Forward
# -------
#
# The filter slides over the image. At each of nine positions, four pixels are multiplied by the four weights, and the
# products are added up.
#
# .. math:: \text{out}_{i,j} = x_{i,j} k_{0,0} + x_{i,j+1} k_{0,1} + x_{i+1,j} k_{1,0} + x_{i+1,j+1} k_{1,1}
#
# :math:`x` is the image, :math:`k` (for kernel, another word for filter) the weights. Rows and columns are counted from
# 0. There is no bias yet.

x = np.array([[1.0, 2.0, 0.0, 1.0], [0.0, 1.0, 3.0, 1.0], [2.0, 0.0, 1.0, 2.0], [1.0, 1.0, 0.0, 2.0]])  # (4, 4)
k = np.array([[1.0, -1.0], [2.0, 0.5]])  # (2, 2)


def slide(image, kernel):
    """The sums under a kernel at every position. (`convolve` takes stacks of images and filters; None makes one.)"""
    return convolve(image[None], kernel[None, None], np.zeros(1))[0]


out = slide(x, k)  # (3, 3)
for i, j in ((0, 0), (1, 2)):
    products = " + ".join(f"{x[i + u, j + v]:g} · {f'({k[u, v]:g})' if k[u, v] < 0 else f'{k[u, v]:g}'}"
                          for u in (0, 1) for v in (0, 1))  # fmt: skip
    print(f"out at row {i}, column {j}: {products} = {out[i, j]:g}")
parts = [("image x", x), ("filter k", k), ("out", out)]
show(grids.number_grids(parts, "Forward", windows={"image x": (1, 2, 2, 2), "out": (1, 2, 1, 1)}, decimals=1))

# %%
# The frames show one position: the window at row 1 and column 2 of the image gives the number at row 1 and column 2 of
# the output.

# %%
# The error arrives
# -----------------
#
# Further on in the network there is a loss C, and its slope has come back to each of the nine outputs. We take these
# slopes as given.
#
# .. math:: \delta_{i,j} = \frac{\partial C}{\partial \text{out}_{i,j}}
#
# These numbers are made up. Four of the outputs did nothing wrong: their slope is 0.

delta = np.array([[1.0, 0.0, -1.0], [0.0, 2.0, 0.0], [1.0, 0.0, 0.5]])  # (3, 3)
with np.printoptions(precision=1):
    print("∂C/∂out:", delta, sep="\n")

# %%
# Back to the weights
# -------------------
#
# A push to one weight moves *all nine* outputs, each by the pixel that it was multiplied with there. So the slope is a
# sum of nine products.
#
# :Lesson:`the-chain-rule` had this case: a value that is used several times gets the sum over all its uses. For the
# weight in the corner,
#
# .. math:: \frac{\partial C}{\partial k_{0,0}} = \sum_{i,j} \delta_{i,j} \, x_{i,j},
#    \qquad\text{and for any:}\qquad
#    \frac{\partial C}{\partial k_{u,v}} = \sum_{i,j} \delta_{i,j} \, x_{i+u,\,j+v}

slope_k = np.array([[np.sum(delta * x[u : u + 3, v : v + 3]) for v in (0, 1)] for u in (0, 1)])  # (2, 2)
terms = [f"{delta[i, j]:g} · {x[i, j]:g}" for i in range(3) for j in range(3) if delta[i, j]]
print(
    f"∂C/∂k at row 0, column 0: {' + '.join(terms).replace('+ -1', '- 1')} = {slope_k[0, 0]:g} (terms with 0 left out)"
)
with np.printoptions(precision=1):
    print("all four:", slope_k, sep="\n")

# %%
# Look at the formula again: it slides the 3 × 3 errors over the 4 × 4 image. The slopes of a filter *are* a
# convolution, of the image with the errors. The filter grows toward the patches at which the output should have been
# larger, and away from the others.

print("a convolution of the image with the errors gives the same:", np.array_equal(slide(x, delta), slope_k))

# %%
# Back to the image
# -----------------
#
# In a deep network the image is the output of an earlier layer, which needs its errors, too. How many windows has a
# pixel been in?
#
# A corner pixel in one, a pixel at the edge in two, one in the middle in four. In each it was multiplied by a different
# weight: as the window moves right, the pixel moves left in it. Which window multiplied the pixel at :math:`p, q` by
# the weight at :math:`u, v`? The one that starts :math:`u` rows above the pixel and :math:`v` columns to its left. Its
# output is at :math:`p - u` and :math:`q - v`. So
#
# .. math:: \frac{\partial C}{\partial x_{p,q}} = \sum_{u,v} \delta_{p-u,\,q-v} \, k_{u,v}
#
# where errors outside of the 3 × 3 count as 0.

slope_x = np.zeros((4, 4))
for i in range(3):
    for j in range(3):
        slope_x[i : i + 2, j : j + 2] += delta[i, j] * k  # each window gets its error, times the weights


def products_at(p, q):
    """The sum for one pixel, in writing."""
    places = [(u, v) for u in (0, 1) for v in (0, 1) if 0 <= p - u < 3 and 0 <= q - v < 3]
    terms = " + ".join(f"({delta[p - u, q - v]:g}) · ({k[u, v]:g})" for u, v in places)
    return f"{len(places)} window{'s' if len(places) > 1 else ''}: {terms} = {slope_x[p, q]:g}"


for p, q in ((0, 0), (0, 1), (1, 1)):
    print(f"∂C/∂x at row {p}, column {q}, in {products_at(p, q)}")

# %%
# This, too, is a convolution: put a border of zeros around the errors, rotate the filter by 180 degrees, and slide it.
# The rotation comes from p - u and q - v: the further right a weight, the further left its window.

rotated = k[::-1, ::-1]
by_sliding = slide(np.pad(delta, 1), rotated)  # (5, 5) and (2, 2) to (4, 4)
print("the errors with a border, under the rotated filter:", np.array_equal(by_sliding, slope_x))
parts = [("errors, with border", np.pad(delta, 1)), ("filter, rotated", rotated), ("∂C/∂x", slope_x)]
show(grids.number_grids(parts, "The way back is a convolution, too",
                        windows={"errors, with border": (1, 1, 2, 2), "∂C/∂x": (1, 1, 1, 1)}))  # fmt: skip

# %%
# And the bias? It is added to all nine outputs, so its slope is the sum of all errors:

print(f"∂C/∂b = {delta.sum():g}")
_, slopes, slope_b = convolve_backward(delta[None], x[None], k[None, None])
print(
    "the page of loops in first_principles agrees:", np.array_equal(slopes[0, 0], slope_k) and slope_b[0] == delta.sum()
)

# %%
# Back through pooling
# --------------------
#
# Pooling kept the largest of each four numbers. A push to any other changes nothing, as long as the largest stays the
# largest: its slope is 0.
#
# So the whole error goes to the one that was kept, and the others get nothing. One has to remember which it was.

z = np.array([[0.1, 0.9, 0.0, 0.0], [0.2, 0.3, 0.0, 0.4], [0.5, 0.0, 0.7, 0.6], [0.0, 0.0, 0.8, 0.1]])
pooled = max_pool(z[None])[0]  # (2, 2)
error = np.array([[1.0, -2.0], [3.0, 0.5]])
back = max_pool_backward(error[None], z[None])[0]  # (4, 4)
parts = [("before pooling", z), ("after", pooled), ("errors arrive", error), ("errors passed on", back)]
show(grids.number_grids(parts, "Back through max pooling", decimals=1))
print(f"of {z.size} numbers, {np.count_nonzero(back)} get an error; the sum of the errors stays: {back.sum():g}")
print(f"with the mean instead of the maximum, each would get a quarter: {error[0, 0] / 4:g} in the first square")

# %%
# If two numbers of a square are equally large, either could get the error. The first one does, as in most libraries.
# (At such a point the slope depends on the direction of the push, and one has to choose.)

# %%
# A whole network
# ---------------
#
# All together: an image of 5 × 5, a filter of 2 × 2 with a bias, ReLU, pooling, and one output neuron with four
# weights.
#
# The cost is half the squared error, with the right answer 1. We go forward, and then back, a line for each layer.

random = np.random.default_rng(1)
image, kernel, bias = random.normal(size=(5, 5)), random.normal(size=(2, 2)), np.array([0.1])
weights, target = random.normal(size=(2, 2)), 1.0


def forward(image, kernel, bias, weights):
    """All numbers on the way: sums (4, 4), activations (4, 4), pooled (2, 2), the score and the cost."""
    sums = convolve(image[None], kernel[None, None], bias)[0]
    active = np.maximum(sums, 0)
    pooled = max_pool(active[None])[0]
    score = np.sum(pooled * weights)
    return sums, active, pooled, score, 0.5 * (score - target) ** 2


sums, active, pooled, score, cost = forward(image, kernel, bias, weights)
print(f"score {score:.4f}, cost {cost:.4f}")

d_score = score - target  # the slope of ½ (score - target)²
d_weights = d_score * pooled  # (2, 2): error times what the wire carried
d_pooled = d_score * weights  # (2, 2): error times the wire's weight
d_active = max_pool_backward(d_pooled[None], active[None])[0]  # (4, 4): to the largest of each square
d_sums = d_active * (sums > 0)  # (4, 4): ReLU's slope is 1 or 0
d_kernel = np.array([[np.sum(d_sums * image[u : u + 4, v : v + 4]) for v in (0, 1)] for u in (0, 1)])
d_bias = d_sums.sum()
d_image = convolve(np.pad(d_sums, 1)[None], kernel[None, None, ::-1, ::-1], np.zeros(1))[0]  # (5, 5)
parts = [("sums", sums), ("after ReLU", active), ("pooled", pooled), ("back: at pooled", d_pooled), ("at sums", d_sums)]
show(grids.number_grids(parts, "Forward and back through a small network"))

# %%
# Of 16 sums at most four get an error, and fewer if ReLU had cut off the largest of a square as well.

# %%
# Is it true?
# -----------
#
# By nudging each number, and by the library, whose tape records the same network.

nudge, largest_gap = 1e-6, 0.0
for part, slopes in ((kernel, d_kernel), (bias, np.array([d_bias])), (weights, d_weights), (image, d_image)):
    for index in np.ndindex(part.shape):
        costs = []
        for sign in (1, -1):
            part[index] += sign * nudge
            costs.append(forward(image, kernel, bias, weights)[4])
            part[index] -= sign * nudge
        largest_gap = max(largest_gap, abs((costs[0] - costs[1]) / (2 * nudge) - slopes[index]))
count = kernel.size + bias.size + weights.size + image.size
print(f"by nudging, {count} slopes agree to seven decimals: {largest_gap < 1e-7}")

leaves = [cr.tensor(part, requires_grad=True) for part in (image, kernel, bias, weights)]
t_image, t_kernel, t_bias, t_weights = leaves
t_sums = nn.functional.conv2d(t_image.reshape(1, 1, 5, 5), t_kernel.reshape(1, 1, 2, 2), t_bias)
t_pooled = nn.functional.max_pool2d(cr.relu(t_sums), 2)
(0.5 * ((t_pooled.reshape(2, 2) * t_weights).sum() - target) ** 2).backward()
for name, leaf, slopes in zip(("image", "filter", "bias", "weights"), leaves, (d_image, d_kernel, d_bias, d_weights),
                              strict=True):  # fmt: skip
    print(f"{name:<8} the library's slopes, to twelve decimals: {np.allclose(leaf.grad.numpy(), slopes, 0, 1e-12)}")

# %%
# Change one thing
# ----------------
#
# Before you run this: with a filter of 3 × 3, in how many windows is one of the four pixels in the middle of the 4 × 4
# image? And how many outputs are there?
#
# The answer is a picture: errors of 1 everywhere and weights of 1 everywhere make each slope the number of windows.
# Then try 4 and 1.

size = 3  # change me
ones = np.ones((5 - size, 5 - size))
windows = convolve_backward(ones[None], x[None], np.ones((1, 1, size, size)))[0][0]
print(f"{ones.size} outputs; in how many windows each pixel is:")
print(windows.astype(int))

# %%
# A pixel in the middle is in every one of the four windows, a corner pixel in one. Pixels at the border count less in a
# convolution, which is one of the reasons for putting zeros around the image: then they are in more windows.

# %%
# Read next
# ---------
#
# :Lesson:`vanishing-gradients` asks what happens to the errors when there are many layers to go back through.
#
# The loops are in ``chainrule.first_principles.convolution``, the fast version in ``chainrule.ops.convolution``. The
# way back, used as a way forward, is a layer of its own: ``chainrule.nn.ConvTranspose2d`` makes small images large.
