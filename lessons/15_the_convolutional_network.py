"""
The convolutional network
=========================

Shift a digit by three pixels, and to the network of :lesson:`the-network-reads-digits` it is a different image. How can
a network look for a stroke anywhere?

By sliding a small window over the image. This lesson first uses a window made by hand, then lets a network learn 96 of
its own, and follows one digit all the way through: 28 × 28 pixels, 14 × 14, 7 × 7, 3,136 numbers, ten answers.

Prerequisites: :lesson:`the-network-reads-digits`, :lesson:`four-ways`.
"""

import numpy as np

import chainrule
from chainrule import nn, optim
from chainrule.capture import jit
from chainrule.data import mnist
from chainrule.first_principles.convolution import convolve, max_pool
from chainrule.lessons import show
from chainrule.plots import charts, inside, style

# %%
# A window that slides
# --------------------
#
# A **filter** is a small image of what it looks for. It is applied at every position of the image in turn.
#
# At each position the pixels under it are multiplied by the filter's weights and added up, just as in a neuron,
#
# .. math:: \text{out}_{i,j} = \sum_{u,v} \text{image}_{i+u,\,j+v} \cdot \text{filter}_{u,v} + b
#
# where u and v count the rows and columns of the filter. The sum is large where the image looks like the filter. It is
# a neuron with few inputs, and the *same* weights everywhere: what it learns in one corner, it can use in all others.
# This sliding sum is called a **convolution**. (In mathematics the filter is flipped first, upside down and left to
# right, and the sum without the flip is a cross-correlation. A network learns its filters, so it makes no difference.)
#
# ``convolve`` takes stacks of images and of filters; ``[None]`` makes a stack of one.

data = mnist().split()
digit = data.test.images[0] / 255  # a 7
edges = {
    "vertical, ink on the right": np.array([[-1.0, 0.0, 1.0]] * 3),
    "horizontal, ink below": np.array([[-1.0, 0.0, 1.0]] * 3).T,
}
pictures, captions = [digit], ["the digit"]
for name, edge in edges.items():
    response = convolve(digit[None], edge[None, None], np.zeros(1), padding=1)[0]  # (28, 28)
    pictures.append(response)
    captions.append(f"edges: {name}")
    print(f"{name}: from {response.min():.2f} to {response.max():.2f}")
look = style.LIGHT
show(style.sheet(pictures, captions, "Two filters of 3 × 3, made by hand", look, columns=3, colors=style.SIGNED,
                 limits=(-3, 3), bar="sum under the window", side=2.2))  # fmt: skip

# %%
# One filter responds to vertical edges, the other to horizontal ones: yellow where the image looks like the filter,
# blue where it looks like the opposite, gray where there is no such edge.

# %%
# What moves in, moves out
# ------------------------
#
# If the digit moves, the filter's response moves with it, and is otherwise the same.

upright = edges["vertical, ink on the right"][None, None]
moved = np.roll(digit, 3, axis=1)  # three pixels to the right
one = convolve(digit[None], upright, np.zeros(1), padding=1)[0]
other = convolve(moved[None], upright, np.zeros(1), padding=1)[0]
print("same picture, moved by three:", np.allclose(np.roll(one, 3, axis=1), other))

# %%
# Smaller, and less sensitive to position
# ---------------------------------------
#
# After a convolution comes **pooling**: of each square of 2 × 2 numbers, only the largest is kept.
#
# This halves the image in both directions. The exact position of the edge within the square is lost, which is useful: a
# stroke that is a pixel off is still the same stroke.

small = np.array([[[0.1, 0.9, 0.0, 0.0], [0.2, 0.3, 0.0, 0.4], [0.5, 0.0, 0.7, 0.6], [0.0, 0.0, 0.8, 0.1]]])
print("before:", small[0], sep="\n")
print("after:", max_pool(small)[0], sep="\n")

# %%
# The network
# -----------
#
# Convolution, rectifier and pooling, twice; then one layer of ten neurons that look at all that is left.
#
# A **rectifier** or ReLU is the activation max(0, z): negative values become zero. The shapes are:
#
# .. math:: 28 \times 28 \;\to\; 32 \text{ maps of } 28 \times 28 \;\to\; 14 \times 14
#    \;\to\; 64 \text{ maps of } 14 \times 14 \;\to\; 7 \times 7 \;\to\; 7 \cdot 7 \cdot 64 = 3136 \;\to\; 10
#
# A filter's output is called a **feature map**, or a channel: a map of where its feature was found. The second layer's
# filters look at all 32 maps of the first at once, so each of them has 32 × 5 × 5 weights. A border of two zeros around
# each image (``padding=2``) lets the window be centered on the outermost pixels, so that 5 × 5 filters keep the size.
#
# ``no_grad`` runs the layers without recording them for a way back, because here we only look.

random = np.random.default_rng(0)
network = nn.Sequential(
    nn.Conv2d(1, 32, 5, padding=2, generator=random), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(32, 64, 5, padding=2, generator=random), nn.ReLU(), nn.MaxPool2d(2),
    nn.Flatten(), nn.Linear(3136, 10, generator=random),
)  # fmt: skip


def layer_by_layer(image):
    """The output of each layer for one image (28, 28): pairs of a name and an array."""
    passed, outputs = chainrule.tensor(image[None, None].astype(np.float32)), []
    with chainrule.no_grad():
        for layer in network:
            passed = layer(passed)
            outputs.append((type(layer).__name__, passed.numpy()[0]))
    return outputs


print("shape of what comes out of each layer, and what it has to learn:")
for (name, output), layer in zip(layer_by_layer(digit), network, strict=True):
    learned = sum(p.numel() for p in layer.parameters())
    print(f"{name:<10} {' × '.join(map(str, output.shape)):<14} {learned:7,} weights and biases")

# %%
# The first layer computes 25,088 activations with 832 numbers (32 filters, each of 5 × 5 weights and a bias), because
# it uses each filter at all 784 positions. A layer of neurons that each look at every pixel, as in
# :lesson:`the-network-reads-digits`, would need 784 weights and a bias for each activation, 25,088 × 785 numbers:
# nearly twenty million.

# %%
# Ten probabilities
# -----------------
#
# The last layer returns ten scores z, of any size. Softmax turns them into ten fractions that sum to one.
#
# .. math:: p_j = \frac{e^{z_j}}{\sum_k e^{z_k}}, \qquad C = -\ln p_{\text{right}}
#
# Powers of :math:`e` make every score positive, and dividing by their sum makes the ten add up to 1: these are
# probabilities, as in :lesson:`learning-better`. The cost, cross entropy, is 0 if the right digit has all of the
# probability, 0.69 if it has a half, and 2.3 if it has a tenth: that is where an untrained network starts.

# %%
# It learns
# ---------
#
# 6,000 images, one epoch, 50 images per step. The optimizer is Adam, which adapts the step size of each weight;
# :lesson:`optimizers` explains how. ``@jit`` above a function compiles it, as ``jit(...)`` did in :lesson:`four-ways`.

pixels = (data.train.images[:6000] / 255).astype(np.float32)[:, None]  # (6000, 1, 28, 28)
answers = data.train.labels[:6000].astype(np.int64)
exam = (data.validation.images[:1000] / 255).astype(np.float32)[:, None]
exam_answers = data.validation.labels[:1000]
before = network[0].weight.detach().numpy().copy()


def learn(network):
    """Train for one epoch; returns the loss before each step."""
    cross_entropy, optimizer = nn.CrossEntropyLoss(), optim.Adam(network.parameters(), lr=0.002)

    @jit
    def step(x, y):
        loss = cross_entropy(network(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    batches = np.split(np.random.default_rng(1).permutation(len(pixels)), len(pixels) // 50)
    return [step(chainrule.from_numpy(pixels[i]), chainrule.from_numpy(answers[i])).item() for i in batches]


def right(network, images=exam):
    """The fraction of 1,000 validation images that a network reads right."""
    with chainrule.no_grad():
        scores = np.concatenate([network(chainrule.from_numpy(part)).numpy() for part in np.split(images, 10)])
    if not np.isfinite(scores).all():
        raise ValueError("the network has diverged, its scores are not finite; try a smaller learning rate")
    return np.mean(scores.argmax(axis=1) == exam_answers)


print(f"new: {right(network):.1%} of 1,000 validation images read right")
losses = learn(network)
for number in (1, 10, 30, 60, len(losses)):
    print(f"step {number:3d}: loss {losses[number - 1]:.4f}")
print(f"after {len(pixels):,} images: {right(network):.1%} read right")
show(charts.lines({"loss": losses}, title="Down, but not smoothly", x_label="step", y_label="cross entropy"))

# %%
# Each step measures the loss on different images: that is why the line is ragged.

# %%
# What did the filters become?
# ----------------------------
#
# These are the 32 filters of the first layer, 5 × 5 weights each, and below, how learning changed each of them.

filters = network[0].weight.detach().numpy()  # (32, 1, 5, 5)
show(inside.filters(filters, title="The 32 filters of the first layer"))
show(inside.filters(filters - before, title="What learning added to them"))
changed = np.linalg.norm(filters - before) / np.linalg.norm(before)
print(f"the change is {changed:.0%} of the size of the filters that it began with")

# %%
# The filters started as random numbers, and much of that noise is still there. The change is smoother, and shows what
# they are becoming: many have a bright and a dark side and look for an edge in one direction, like ours made by hand;
# others are bright everywhere and look for ink.

# %%
# What do they see in a digit?
# ----------------------------
#
# The feature maps of the first layer, after the rectifier: black where a filter found what it looks for.

seen = dict(enumerate(layer_by_layer(digit)))
show(inside.feature_maps(seen[1][1], title="A 7, seen by 32 filters"))

# %%
# Different filters respond to different sides of the strokes; some see only the upper edge, some only the slant. The
# second layer looks at combinations of these. After another pooling there are 64 maps of 7 × 7, and many are empty: a 7
# does not contain what they look for.

show(inside.feature_maps(seen[5][1], title="The same 7, after the second pooling"))

stations = [("image", digit), ("32 maps", seen[1][1]), ("pooled", seen[2][1]), ("64 maps", seen[4][1]),
            ("pooled", seen[5][1]), ("scores", seen[7][1])]  # fmt: skip
show(inside.activations(stations, title="28 → 14 → 7 → 3136 → 10"))

scores = seen[7][1].astype(float)
chances = np.exp(scores) / np.exp(scores).sum()
print("probabilities:", "  ".join(f"{j}: {p:.1%}" for j, p in enumerate(chances)))
print(f"they add up to {chances.sum():.4f}")

# %%
# Change one thing
# ----------------
#
# Before you run this: if the validation images are moved three pixels to the right, how many will it still read
# right?
#
# It has never seen a digit that is off center. The filters do not mind, as we saw; but what about the rest of the
# network? We compare it with one without filters: 128 rectifiers that each look at every pixel, trained on the same
# images.

distance = 3  # change me
dense = nn.Sequential(
    nn.Flatten(), nn.Linear(784, 128, generator=random), nn.ReLU(), nn.Linear(128, 10, generator=random)
)
learn(dense)
print("moved to the right by   convolutional   without filters")
for pixels_right in sorted({0, 1, 2, distance}):
    moved = np.roll(exam, pixels_right, axis=3)
    print(f"{pixels_right:21d}   {right(network, moved):13.1%}   {right(dense, moved):15.1%}")

# %%
# The network without filters fails much sooner. The filters of the convolutional network find every stroke at its new
# position, and pooling tolerates a pixel or two. But its last layer has a separate weight for each of the 7 × 7
# positions, and expects each feature where it learned it. The rest of the solution is to train with shifted digits, too
# (``chainrule.data.Augment``).

# %%
# Read next
# ---------
#
# :Lesson:`backward-through-convolution` goes back through filters and pooling, with numbers.
#
# ``chainrule.first_principles.convolution`` has the loops, forward and backward; ``chainrule.ops.convolution`` the
# fast version; and ``chainrule.models`` this network under the name ``cnn``. It goes back to LeCun and others,
# Gradient-based learning applied to document recognition (1998).
