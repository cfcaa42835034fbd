"""
The chain rule
==============

A number goes through one machine, the result through a second, then a third. If the first number changes a little, how
much does the last one change?

The answer is one line long, and everything that a network learns rests on it. We nudge numbers, watch the nudges grow
and shrink from machine to machine, and find the rule ourselves. Then we give a machine the same number twice, and find
the other half of the rule.

Prerequisites: :lesson:`rolling-downhill`, :lesson:`one-neuron-learns`.
"""

import numpy as np

from chainrule.first_principles.activations import sigmoid
from chainrule.lessons import show
from chainrule.plots.flow import Arrow, Node, flow_diagram

# %%
# A slope is a factor
# -------------------
#
# Think of a function as a machine: a number goes in, a number comes out. Nudge what goes in by a little. The slope says
# how many times as large the nudge is when it comes out.
#
# In :lesson:`rolling-downhill` the slope was the steepness of a hill: the rise divided by the run. Turn that around,
# and the rise is the run *times* the slope. A machine that triples its input, :math:`u = 3x`, has the slope 3
# everywhere. A machine that squares, :math:`y = u^2`, has the slope :math:`2u`: it magnifies a nudge more, the larger
# its input is.

nudge = 0.01
print(f"triple: 2 → 6,  and {2 + nudge} → {3 * (2 + nudge):.4f}: the nudge {nudge} became {3 * (2 + nudge) - 6:.4f}")
for u in (1.0, 6.0):
    came_out = (u + nudge) ** 2 - u**2
    print(f"square: {u:g} → {u**2:g}, and {u + nudge} → {(u + nudge) ** 2:.4f}: ", end="")
    print(f"the nudge {nudge} became {came_out:.4f}, {came_out / nudge:.2f} times as large; the slope 2u is {2 * u:g}")

# %%
# It is not exactly 2u, since the slope is the tangent's and a nudge walks along the curve. The smaller the nudge, the
# smaller the difference.

# %%
# Two machines in a row
# ---------------------
#
# Now let the tripled number go straight into the machine that squares. The first makes a nudge 3 times as large, the
# second makes *that* 12 times as large. Together: 36 times.
#
# In symbols, for :math:`u = 3x` and :math:`y = u^2`, starting at :math:`x = 2`:
#
# .. math:: \frac{dy}{dx} = \frac{dy}{du} \cdot \frac{du}{dx} = 2u \cdot 3 = 12 \cdot 3 = 36
#
# That is the **chain rule**: *slopes of machines in a row are multiplied*. :math:`\frac{dy}{dx}` (say "dee y dee x")
# is another way to write the slope of :math:`y` in :math:`x`; it tells which two numbers one is talking about, which
# the prime in :math:`f'` does not.

x = 2.0
u, y = 3 * x, (3 * x) ** 2
du, dy = 3 * (x + nudge) - u, (3 * (x + nudge)) ** 2 - y
print(f"nudge to x {nudge}, to u {du:.4f}, to y {dy:.4f}")
print(f"first machine  {du:.4f} / {nudge:.4f} = {du / nudge:6.2f}   its slope 3")
print(f"second machine {dy:.4f} / {du:.4f} = {dy / du:6.2f}   its slope 2u = {2 * u:g}")
print(f"both           {dy:.4f} / {nudge:.4f} = {dy / nudge:6.2f}   the product {3 * 2 * u:g}")

boxes = {
    "x": Node(0, 0, f"{x:g}", f"+ {nudge:g}"),
    "u = 3x": Node(1, 0, f"{u:g}", f"+ {du:.2f}"),
    "y = u²": Node(2, 0, f"{y:g}", f"+ {dy:.2f}"),
}
arrows = [Arrow("x", "u = 3x", "× 3"), Arrow("u = 3x", "y = u²", f"× {dy / du:.0f}")]
show(flow_diagram(boxes, arrows, "A nudge on its way through two machines"))

# %%
# Can that be checked without nudging? Here it can: (3x)² is 9x², whose slope is 18x, and at 2 that is 36.
#
# One thing goes wrong more often than anything else: the slope of the second machine has to be taken at what goes into
# the *second* machine. That is :math:`u = 6`, not :math:`x = 2`. With :math:`2x \cdot 3` you would get:

print(f"right: 2u · 3 = {2 * u * 3:g}     wrong: 2x · 3 = {2 * x * 3:g}")

# %%
# Why it is true
# --------------
#
# Because fractions cancel. How far y moves per step of x is how far y moves per step of u, times how far u moves per
# step of x.
#
# Write :math:`\Delta` (a capital delta) for "the change in". Then, whatever the machines do,
#
# .. math:: \frac{\Delta y}{\Delta x} = \frac{\Delta y}{\Delta u} \cdot \frac{\Delta u}{\Delta x}
#
# This is exact for a nudge of any size, large or small. As the nudge shrinks, each of the three ratios settles on a
# slope, and the equation still holds. (If a nudge to :math:`x` does not move :math:`u` at all, there is nothing to
# divide by. But then :math:`y` does not move either, and a slope of 0 times anything is 0: the rule survives.) So
# :math:`\frac{dy}{dx}` is not a fraction, but a number that fractions come close to. That is why it may be treated like
# one here.

print("nudge to x    Δy/Δu    Δu/Δx   product    Δy/Δx")
for size in (1.0, 0.1, 0.01, 0.001):
    du, dy = 3 * (x + size) - u, (3 * (x + size)) ** 2 - y
    print(f"{size:10g}{dy / du:9.4f}{du / size:9.4f}{dy / du * (du / size):10.4f}{dy / size:9.4f}")

# %%
# The last two columns agree in every line; and from line to line they come closer to 36.

# %%
# A neuron is a chain
# -------------------
#
# One weight of one neuron: it is multiplied by the input, the bias is added, the sigmoid bends the sum, and the square
# of the error is the cost (another word for the loss). That is four machines in a row.
#
# .. math:: s = w x, \qquad z = s + b, \qquad \hat y = \sigma(z), \qquad C = (\hat y - y)^2
#
# We ask how :math:`C` changes with :math:`w`. So this time it is the weight that is nudged; the input :math:`x`, the
# bias :math:`b` and the right answer :math:`y` stay where they are. Each machine is so simple that its slope takes a
# line: multiplying by :math:`x` has the slope :math:`x`, adding something the slope 1, the sigmoid :math:`\hat y (1 -
# \hat y)`, and the square of the error twice the error.

x, w, b, right_answer = 2.0, 0.5, -0.6, 1.0


def run(w, b):
    """All numbers of the chain, from the weight to the cost."""
    s = w * x
    z = s + b
    guess = sigmoid(z)
    return np.array([w, s, z, guess, (guess - right_answer) ** 2])


values = run(w, b)
_, s, z, guess, cost = values
slopes = np.array([x, 1.0, guess * (1 - guess), 2 * (guess - right_answer)])
nudge = 0.001
arrived = run(w + nudge, b) - values  # the nudge at each station, measured

names = ["w", "s = w x", "z = s + b", "ŷ = σ(z)", "C = (ŷ - y)²"]
print("number          value   slope of the machine   nudge, measured   nudge, by the slopes")
expected = nudge
for i, name in enumerate(names):
    factor = slopes[i - 1] if i else 1.0
    expected *= factor
    shown = f"{factor:23.4f}" if i else " " * 23
    print(f"{name:<13}{values[i]:8.4f}{shown}{arrived[i]:18.6f}{expected:23.6f}")
print(f"dC/dw: the product of the slopes {np.prod(slopes):.4f}, measured {arrived[-1] / nudge:.4f}")

# %%
# The nudge doubles, stays, shrinks to a quarter in the sigmoid, and comes out negative: a larger weight makes the cost
# smaller.
#
# The two columns on the right are the whole truth about the chain rule: the left one is measured, and knows no
# calculus; the right one multiplies. The tiny difference at the end is the bend of the curve between the two points.

# %%
# From the front or from the back?
# --------------------------------
#
# A product does not care at which end you begin. But what you know on the way is not the same, and that is the idea
# behind backpropagation.
#
# From the front, each product says how far *this* number moves when :math:`w` does. From the back, each product says
# how far :math:`C` moves when *this* number does:

from_front = np.cumprod([1.0, *slopes])  # 1, then each slope multiplied on
from_back = np.cumprod([1.0, *slopes[::-1]])[::-1]
print("number         its slope in w   slope of C in it")
for name, front, back in zip(names, from_front, from_back, strict=True):
    print(f"{name:<13}{front:16.4f}{back:19.4f}")

boxes = {}
for i, (name, value) in enumerate(zip(names, values, strict=True)):
    boxes[name.split()[0]] = Node(0, i, f"{value:.4f}", f"{arrived[i]:+.6f}")
    boxes[f"C by {name.split()[0]}"] = Node(1, i, f"{from_back[i]:.4f}", "", True)
arrows = []
for i, slope in enumerate(slopes):
    first, second = names[i].split()[0], names[i + 1].split()[0]
    arrows.append(Arrow(first, second, f"× {slope:.4f}"))
    arrows.append(Arrow(f"C by {first}", f"C by {second}", f"× {slope:.4f}", back=True))
show(flow_diagram(boxes, arrows, "Down: the nudge. Up: the slope of C", gaps=(2.2, 1.05)))

# %%
# Both ways end at the same number, -0.3857. But the way back has collected the slope of C in *every* number it passed.
#
# That pays at once. The neuron has a second number to learn, its bias. It joins the chain at :math:`z`, where the slope
# of :math:`C` is already known; a nudge to :math:`b` arrives at :math:`z` as it is, so the slope is the same:

bias_slope = from_back[2] * 1.0
measured = (run(w, b + nudge)[-1] - cost) / nudge
print(f"dC/db = {from_back[2]:.4f} · 1 = {bias_slope:.4f}, measured {measured:.4f}")

# %%
# From the front we would have had to begin again for the bias, and once more for every further weight. From the back,
# one trip is enough for all of them. Remember that when networks have thousands.

# %%
# A number that is used twice
# ---------------------------
#
# What if there is more than one way from here to there? Take a machine that multiplies its two inputs, and give it the
# same number twice.
#
# .. math:: y = x \cdot x
#
# The nudge to :math:`x` now arrives on two wires. On each of them the machine multiplies it by what is on the *other*
# wire. First we nudge each wire alone, and then both:

x, nudge = 3.0, 0.01
first, second = (x + nudge) * x - x * x, x * (x + nudge) - x * x
both = (x + nudge) * (x + nudge) - x * x
print(f"first wire alone:  {x + nudge} · {x:g}    = {(x + nudge) * x:.4f}, changed by {first:.4f}")
print(f"second wire alone: {x:g}    · {x + nudge} = {x * (x + nudge):.4f}, changed by {second:.4f}")
print(f"both:              {x + nudge} · {x + nudge} = {(x + nudge) ** 2:.4f}, changed by {both:.4f}")
print(f"{first:.4f} + {second:.4f} = {first + second:.4f}, and {both - first - second:.4f} is left over")

boxes = {"x": Node(0, 0, f"{x:g}", f"slope {x:g} + {x:g}"), "y = x · x": Node(1.6, 0, f"{x * x:g}")}
arrows = [Arrow("x", "y = x · x", f"slope {x:g}", bend=bend) for bend in (0.4, -0.4)]
show(flow_diagram(boxes, arrows, "One number, two wires"))

# %%
# The changes *add up*. So the slope is 3 + 3 = 6, which is 2x: this is where the slope of the square comes from.
#
# What is left over, 0.0001, is nudge times nudge. If the nudge shrinks to a tenth, this shrinks to a hundredth. So the
# smaller the nudge, the less it counts beside the two changes, and in the slope nothing of it remains.

# %%
# Two paths
# ---------
#
# The second half of the chain rule: along a path slopes are multiplied; where paths meet, the products are added.
#
# Now the two wires go through two different machines on the way: :math:`u = 3x`, :math:`v = x^2`, and :math:`y = u
# \cdot v`. A round :math:`\partial`, as in :lesson:`the-bowl`, is written where a machine has several inputs and only
# one of them is meant:
#
# .. math:: \frac{dy}{dx} = \frac{\partial y}{\partial u} \cdot \frac{du}{dx} +
#    \frac{\partial y}{\partial v} \cdot \frac{dv}{dx} = v \cdot 3 + u \cdot 2x

x = 1.0
u, v = 3 * x, x**2
y = u * v
upper, lower = v * 3, u * 2 * x
print(f"x = {x:g}, u = {u:g}, v = {v:g}, y = {y:g}")
print(f"path through u: 3 · v = 3 · {v:g} = {upper:g}")
print(f"path through v: 2x · u = {2 * x:g} · {u:g} = {lower:g}")
print(f"dy/dx = {upper:g} + {lower:g} = {upper + lower:g}")
tiny = 1e-6
measured = (3 * (x + tiny) * (x + tiny) ** 2 - y) / tiny
print(f"measured by a nudge of {tiny}: {measured:.4f};  and y is 3x³, with slope 9x² = {9 * x**2:g}")

boxes = {
    "x": Node(0, 0.5, f"{x:g}", f"slope {upper:g} + {lower:g}"),
    "u = 3x": Node(1, 0, f"{u:g}", f"slope {v:g}"),
    "v = x²": Node(1, 1, f"{v:g}", f"slope {u:g}"),
    "y = u · v": Node(2, 0.5, f"{y:g}", "slope 1"),
}
arrows = [
    Arrow("x", "u = 3x", "× 3", back=True),
    Arrow("x", "v = x²", f"× {2 * x:g}", back=True),
    Arrow("u = 3x", "y = u · v", f"× {v:g}", back=True),
    Arrow("v = x²", "y = u · v", f"× {u:g}", back=True),
]
show(flow_diagram(boxes, arrows, "Back on two paths: multiply along, add where they meet"))

# %%
# Forget one of the paths, and you get 3 or 6 instead of 9: an answer that looks like any other. Whenever a number is
# used in two places, look for the plus sign.

# %%
# Many paths, few sums
# --------------------
#
# In a network every number is used by every neuron of the next layer. The paths multiply. But the work need not: each
# box can add up what comes back to it *once*, and pass the sum on.
#
# Here are two layers of two, with a slope on each wire. There are 2 · 2 = 4 paths from :math:`x` to :math:`y`. Below
# they are added up one by one, and then box by box, from the back.

wires = {"xa": 2.0, "xb": -1.0, "ac": 3.0, "bc": 1.0, "ad": -2.0, "bd": 4.0, "cy": 0.5, "dy": 1.0}
total = 0.0
for near in "ab":
    for far in "cd":
        path = wires[f"x{near}"] * wires[f"{near}{far}"] * wires[f"{far}y"]
        total += path
        factors = f"{wires[f'x{near}']:4g} · {wires[f'{near}{far}']:2g} · {wires[f'{far}y']:3g}"
        print(f"path x → {near} → {far} → y: {factors} = {path:4g}")
print(f"the sum over all paths: {total:g}")

slope = {"y": 1.0}
for here, users in (("c", "y"), ("d", "y"), ("a", "cd"), ("b", "cd"), ("x", "ab")):
    slope[here] = sum(wires[here + user] * slope[user] for user in users)
    terms = " + ".join(f"({wires[here + user]:g}) · ({slope[user]:g})" for user in users)
    print(f"box {here}: {terms} = {slope[here]:g}")

columns = {"x": (0, 0.5), "a": (1, 0), "b": (1, 1), "c": (2, 0), "d": (2, 1), "y": (3, 0.5)}
boxes = {name: Node(*where, "", f"slope {slope[name]:g}") for name, where in columns.items()}
arrows = [Arrow(*wire, f"× {factor:g}", back=True, at=0.36) for wire, factor in wires.items()]
show(flow_diagram(boxes, arrows, "Each wire is used once", gaps=(1.75, 1.0)))

for width, layers in ((2, 2), (10, 3), (30, 5)):
    paths, used = width**layers, width + (layers - 1) * width**2 + width
    print(f"{layers:2} layers of {width:2}: {paths:10,} paths, but only {used:5,} wires")

# %%
# The same -5.5. With five layers of thirty there are more than 24 million paths, and only 3,660 wires to visit.
#
# This is the whole secret of :lesson:`backpropagation`, and :lesson:`why-it-is-fast` measures what it saves.

# %%
# The slope of the sigmoid, taken apart
# -------------------------------------
#
# We have used the sigmoid's slope since :lesson:`one-neuron-learns` without a proof. With the chain rule it takes four
# small machines.
#
# .. math:: n = -z, \qquad p = e^n, \qquad q = 1 + p, \qquad \sigma = \frac{1}{q}
#
# Their slopes: minus 1; then :math:`e^n` itself, because :math:`e` is the one number whose powers have a slope equal to
# their height; then 1; and for the last one a line of algebra, in which :math:`h` shrinks to 0:
#
# .. math:: \frac{1}{h} \left( \frac{1}{q + h} - \frac{1}{q} \right) = \frac{-1}{q (q + h)} \to -\frac{1}{q^2}
#
# Multiply the four: the two minus signs cancel, and
#
# .. math:: \sigma'(z) = \frac{p}{q^2} = \frac{1}{q} \cdot \frac{p}{q} = \sigma(z)\, (1 - \sigma(z)),
#    \qquad\text{since}\quad \frac{p}{q} = \frac{q - 1}{q} = 1 - \frac{1}{q}
#
# What is special about :math:`e`? For powers of any number :math:`c`, :math:`c^{n+h} - c^n = c^n (c^h - 1)`: the slope
# at :math:`n` is the height there, times the slope at 0. Only for :math:`e` is the slope at 0 exactly 1, as the first
# three lines of output show.

for base in (2.0, np.e, 10.0):
    at_zero = (base**1e-6 - 1) / 1e-6
    print(f"the slope of {base:.4f} to the power of n, at n = 0, where its height is 1: {at_zero:.4f}")

z = 0.4
n = -z
p = np.exp(n)
q = 1 + p
print(f"z = {z}: n = {n:.4f}, p = {p:.4f}, q = {q:.4f}, σ = {1 / q:.4f}")
print(f"slopes (-1) · {p:.4f} · 1 · ({-1 / q**2:.4f}) = {-1 * p * 1 * -1 / q**2:.4f}")
print(f"σ (1 - σ) = {sigmoid(z) * (1 - sigmoid(z)):.4f}")

# %%
# Change one thing
# ----------------
#
# Before you run this: twenty machines in a row, each with the slope 0.9. Is more or less than half of a nudge left at
# the end? And if each has the slope 1.1?

slope = 0.9  # change me
for each in (slope, 1.0, 1.1, 0.25):
    left = ", ".join(f"{each**count:.4g} after {count}" for count in (1, 5, 10, 20))
    print(f"each slope {each:<5g} a nudge of 1 becomes {left}")

# %%
# Far less than half: 0.1216, an eighth. A little more than 1 in each, and it becomes 6.727 instead. In a long chain
# only slopes close to 1 let a nudge through.
#
# The slope of a sigmoid is never more than 0.25, and after twenty of them a millionth of a millionth is left. That is
# why deep networks of sigmoids hardly learned for years: see :lesson:`vanishing-gradients`.

# %%
# Read next
# ---------
#
# :Lesson:`backpropagation` does all this with a network of two layers: a chain, a sum where paths meet, and one trip
# from the back.
#
# The sigmoid and its slope are in ``chainrule.first_principles.activations``, and the drawings in
# ``chainrule.plots.flow``.
