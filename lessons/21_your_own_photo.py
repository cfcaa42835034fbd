"""
Your own photo
==============

A network reads 99 out of 100 of MNIST's digits, or more. You photograph a 7 of your own. Why does it say something
else?

Because it has never seen a photo. MNIST's digits are white on black, 28 pixels wide, evenly lit, and centered; a photo
is none of that. Nearly all the work lies between the camera and the network, and it is done with tools that you know:
averages, division, and a threshold in the right place. We go through it stage by stage, then break it in every way that
happens on a kitchen table, and see what the reader does about each fault and what you can do.

Prerequisites: :lesson:`the-network-reads-digits`, :lesson:`the-convolutional-network`.
"""

import numpy as np

from chainrule.data import mnist
from chainrule.data.handwriting import draw, random_pen, random_style, render
from chainrule.errors import PictureError
from chainrule.images import SAMPLE, prepare
from chainrule.images.raster import resize
from chainrule.lessons import show
from chainrule.plots import charts, pictures, style
from chainrule.reading import DigitReader
from chainrule.training import run as runs

# %%
# The network, and what it knows
# ------------------------------
#
# We take the network that comes with chainrule. It has eleven outputs: ten digits, and one for "no digit".
#
# It is a convolutional network as in :lesson:`the-convolutional-network`, trained on MNIST and on digits and other
# marks that were drawn for it. Softmax makes its eleven scores add up to 1.

reader = DigitReader(runs.shipped())


def guesses(image):
    """The two most probable answers for a 28×28 image, as words with probabilities."""
    probabilities = reader.classify(image[None])[0]  # (11,)
    names = [name.replace("none", "no digit") for name in reader.classes]
    return [(names[i], float(probabilities[i])) for i in np.argsort(-probabilities)[:2]]


digit = mnist().split().test.images[0]
(first, sure), _ = guesses(digit)
print(f"eleven answers: {', '.join(reader.classes)}")
print(f"MNIST's first test image: {digit.shape[0]} × {digit.shape[1]} pixels from {digit.min()} to {digit.max()}")
print(f"read as {first}, with {sure:.1%}")

# %%
# A photo, without any care
# -------------------------
#
# The sample is a 7 in blue ink on yellowish paper, with the light from the left and a shadow on the right. First we
# only make it gray, and shrink it to 28 × 28.
#
# Then we do the least that one can think of. We invert its brightness, dark for bright, so that the ink is bright and
# the paper dark. And we stretch it, so that the darkest pixel is 0 and the brightest 255.
#
# ``prepare`` does all the work that this lesson takes apart. We keep the results of its stages: ``stages.gray`` is the
# picture in gray, and ``stages.clean``, for instance, how much ink it finds at each pixel, from 0 to 1.

stages = prepare(SAMPLE)
gray = stages.gray  # (192, 256): brightness from 0 for black to 1 for white


def without_care(brightness):
    """Shrink a photo to 28×28, inverted, and stretch its brightness."""
    small = resize(1 - brightness.astype(np.float32), (28, 28), "BOX")  # the mean of the pixels that fall together
    return np.rint(255 * (small - small.min()) / max(np.ptp(small), 1e-6)).astype(np.uint8)


shrunk = np.rint(255 * resize(gray, (28, 28), "BOX")).astype(np.uint8)
for name, image in (("only shrunk", shrunk), ("inverted and stretched", without_care(gray))):
    (one, p), (other, q) = guesses(image)
    print(f"{name:<26} {one} ({p:.1%}), or {other} ({q:.1%})")
captions = ["the photo", "only shrunk", "inverted and stretched", "what it knows"]
four = [gray, shrunk / 255, without_care(gray) / 255, digit / 255]
show(style.sheet(four, captions, "A photo is not an MNIST image", style.LIGHT, columns=4, colors="gray", side=1.8))

# %%
# To us it is plainly a 7. To the network it is a small gray thing in a landscape of light and shadow, unlike anything
# that it has learned from. It has not failed: it was asked something else.

# %%
# Light
# -----
#
# The first enemy is the light. Here is the brightness of the paper and of the ink, in different places.
#
# Could we say "darker than some **threshold** is ink"?

row = gray[40]  # a row of the picture above the digit: paper only
ink_brightness = gray[stages.clean > 0.5]
print(f"paper at the left  {row[:20].mean():.2f}")
print(f"paper at the right {row[-20:].mean():.2f}")
print(f"ink, typically     {np.median(ink_brightness):.2f}, at its palest {ink_brightness.max():.2f}")
below = {f"{limit:.2f}": np.mean(gray < limit) for limit in (0.4, 0.5, 0.6)}
print("share of the picture below a threshold:", ", ".join(f"{limit}: {part:.1%}" for limit, part in below.items()))
print(f"share of the picture that is ink: {np.mean(stages.clean > 0.5):.1%}")

# %%
# The paper in the shadow is darker than the palest ink in the light: no threshold separates them everywhere. A low one
# loses parts of the digit, a high one takes the shadow for ink.

# %%
# Divide it out
# -------------
#
# Light multiplies. What the camera sees is the light, times how much the paper or the ink reflects. So we divide by the
# light.
#
# The light is not known, but it changes slowly, and the paper shows it: around each pixel, the brightest pixels nearby
# are paper. ``prepare`` estimates the paper's brightness in this way everywhere, even under the ink, and then
#
# .. math:: \text{ink} = 1 - \frac{\text{picture}}{\text{paper}}
#
# should be nearly 0 on paper, however dark the shadow is there. Then one threshold fits everywhere.

flat = 1 - gray / stages.paper
print(f"ink, where paper is: at the left {flat[40, :20].mean():.2f}, at the right {flat[40, -20:].mean():.2f}")
print(f"ink, where ink is: {np.median(flat[stages.clean > 0.5]):.2f}")

# %%
# At the right, where the light falls off steeply, the estimate is a little too bright, and the paper is not quite 0.
# But the ink is still far above it. What is left is cleaned. The camera's noise is below the threshold. Specks of dust,
# ruled lines and the dark edge of a table are not connected to the digit, or have a different shape, and are dropped.
# Faint strokes stay if they are connected to strokes that are surely ink.

# %%
# Size and place
# --------------
#
# MNIST's digits were scaled to 20 pixels, and put into 28 × 28 so that their center of mass is in the middle. We have
# to do exactly the same.
#
# The **center of mass** is the mean position of the ink: each pixel's row and column, weighted by its ink. It is not
# the middle of the box around the digit: a 7 has most of its ink at the top. The digit is moved by whole pixels, so its
# center of mass lands within a pixel of the middle.

rows, columns = np.indices(stages.scaled.shape)  # the row and the column of each pixel, counted from 0
ink = stages.scaled.sum()
center = (rows * stages.scaled).sum() / ink, (columns * stages.scaled).sum() / ink
height, width = stages.scaled.shape
print(f"the box: {height} × {width} pixels, its middle ({(height - 1) / 2:.1f}, {(width - 1) / 2:.1f})")
print(f"the center of mass: ({center[0]:.1f}, {center[1]:.1f})")
rows, columns = np.indices((28, 28))
placed = stages.result / stages.result.sum(dtype=float)
print(f"in the 28 × 28 image: ({(rows * placed).sum():.1f}, {(columns * placed).sum():.1f}); its middle is 13.5")

# %%
# All stages
# ----------
#
# Here they are in a row, and what the network says of the last one.


def read(picture):
    """What is in a picture, as one line, and the 28×28 image that the network saw, or None."""
    try:
        reading = reader.read(picture, "the picture")
    except PictureError as problem:
        return str(problem), None
    image = reading.stages.result
    if reading.count > 1:
        return f"there are {reading.count} digits", image
    (one, p), (other, q) = guesses(image)
    return f"{one} ({p:.1%})" + (f", or {other} ({q:.1%})" if reading.second else ""), image


print("the sample:", read(SAMPLE)[0])
show(pictures.stages(list(stages), 7, reader.read(SAMPLE).probabilities))

# %%
# ``chainrule predict photo.jpg --explain steps.png`` draws this figure for a photo of yours, and ``chainrule predict
# --sample`` reads ours.

# %%
# A kitchen table full of faults
# ------------------------------
#
# Now we draw pictures with at most one fault each, on a page with uneven light. The first five are a 4 by the same
# hand.


def photograph(characters, *, paper=0.88, pen=0.25, noise=0.01, rules=0.0, seed=3):
    """A picture (240, 320) of characters in a row: brightness of paper and pen, noise, and darkness of ruled lines."""
    random = np.random.default_rng(seed)
    hand = random_style(random)
    inks = [render(draw(character, random, style=hand), 110, random_pen(random), random) for character in characters]
    sheet, left = np.zeros((240, 320)), (320 - sum(ink.shape[1] + 40 for ink in inks) + 40) // 2
    for ink in inks:
        top = (240 - ink.shape[0]) // 2
        sheet[top : top + ink.shape[0], left : left + ink.shape[1]] += ink
        left += ink.shape[1] + 40
    page = paper + (pen - paper) * sheet.clip(0, 1)
    for line in (20, 21):
        page[line::36] *= 1 - rules
    light = np.linspace(1, 0.75, 320)
    return (page * light + random.normal(0, noise, (240, 320))).clip(0, 1)


table = {
    "dark pen": photograph("4"),
    "faint pencil": photograph("4", pen=0.78),
    "ruled paper": photograph("4", rules=0.35),
    "chalk": photograph("4", paper=0.15, pen=0.85),
    "grainy": photograph("4", noise=0.06),
    "two digits": photograph("42"),
    "a letter": photograph("R"),
    "a heart": photograph(["heart"]),
    "nothing": photograph(""),
}
seen_images, captions = [], []
for name, picture in table.items():
    answer, image = read(picture)
    (careless, _), _ = guesses(without_care(picture))
    print(f"{name:<13} without care: {careless:<9} with care: {answer}")
    seen_images += [picture, np.zeros((28, 28)) if image is None else image / 255]
    captions += [name, "no digit found" if image is None else answer]
show(style.sheet(seen_images, captions, "The photo, and what the network saw", style.LIGHT,
                 columns=6, colors="gray", limits=(0, 1), side=1.3))  # fmt: skip

# %%
# What the reader does, and what you can do:
#
# - *Faint pencil*: ink is measured relative to the paper and its noise, and then stretched to full strength. You: press
#   harder, or move closer.
# - *Ruled paper*: lines that go across the whole picture are taken out. You: write between them, not on them.
# - *Chalk*: if the ink is brighter than its surroundings, the picture is inverted. Nothing to do.
# - *Grainy* (a phone at night): averages over several pixels remove the noise. You: more light.
# - *Two digits*: it says so. You: cut the picture, or use ``chainrule read``, which reads whole pages.
# - *A letter, a heart*: the eleventh answer. Without it, the network would have to choose among ten wrong ones. It is
#   no guarantee: a mark that it was never shown may be taken for the digit that it looks like most. Try
#   ``read(photograph(["question"]))``.
# - *Nothing*: one sentence instead of a guess. An answer that is always a digit is worth little.

# %%
# The second guess
# ----------------
#
# Some digits are hard for us, too. Let us fade the left side of an 8, a bit more each time: it becomes a 3.
#
# We do it in the 28 × 28 image. On the photo it would not work: the reader makes faint strokes as dark as the rest.

eight = prepare(photograph("8", seed=1)).result
left_side = np.arange(28) < (np.arange(28) * eight.sum(axis=0)).sum() / eight.sum()  # left of the center of mass
strengths, faded, chances = np.linspace(0, 1, 11), [], {"8": [], "3": [], "no digit": []}
for strength in strengths:
    image = np.where(left_side, eight * (1 - strength), eight).round().astype(np.uint8)
    faded.append(image / 255)
    row = dict(zip(reader.classes, reader.classify(image[None])[0].tolist(), strict=True))
    for name in chances:
        chances[name].append(100 * row["none" if name == "no digit" else name])
    (one, p), (other, q) = guesses(image)
    print(f"{strength:4.0%} faded: {one} ({p:.1%})" + (f", or {other} ({q:.1%})" if q >= 0.1 else ""))
show(style.sheet(faded[::2], [f"{s:.0%}" for s in strengths[::2]], "An 8 loses its left side", style.LIGHT,
                 columns=6, colors="gray", side=1.2))  # fmt: skip
labels = {"x_label": "left side faded (%)", "y_label": "probability (%)"}
show(charts.lines(chances, 100 * strengths, title="From 8 to 3", **labels))

# %%
# At both ends it is sure, and the change takes place within a few steps. There, and only there, a second guess is worth
# reading, and ``chainrule predict`` prints it from 10% on. Note how narrow that region is: networks are rarely in
# doubt, and sometimes are sure of what is wrong. A probability is what *it* thinks.

# %%
# Change one thing
# ----------------
#
# Before you run this: how pale may the pencil be on this paper (0.88) before nothing is found: 0.78, 0.82, or 0.86?
#
# The noise of this camera is 0.01. Does it depend on the noise as well? We also take one with half of it.

noise = 0.01  # change me
for level in (noise, noise / 2):
    for pen in (0.70, 0.78, 0.80, 0.82, 0.84, 0.86):
        answer, _ = read(photograph("4", pen=pen, noise=level))
        print(f"noise {level:.3f}, pencil {pen:.2f}, {(0.88 - pen) / level:4.1f} times the noise paler: {answer}")

# %%
# With half the noise, a paler pencil is found: ink counts if it stands out from the noise, not from the paper. But that
# is not all. Eight times the noise was enough for the first camera and is not for the second: there is also a fixed
# limit, of a few percent of the paper's brightness. What is paler than that may be a fold or the print on the back.
# Where it is in doubt whether there is anything, it says so instead of guessing.

# %%
# Read next
# ---------
#
# :Lesson:`the-next-word` leaves pictures behind and goes on to words.
#
# The stages are in ``chainrule.images.steps`` and ``chainrule.images.foreground``, and ``chainrule.reading`` puts them
# and the network together. A whole page of digits is a different problem: where are they? ``chainrule read page.jpg``
# finds them with a second network, ``chainrule.images.detection``. MNIST's format is described in LeCun, Bottou, Bengio
# and Haffner, Gradient-based learning applied to document recognition (1998), section III.
