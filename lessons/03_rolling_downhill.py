"""
Rolling downhill
================

You stand on a hillside in thick fog. You cannot see the valley; you can only feel how the ground slopes under your
feet. How do you get down, and how long should your steps be?

This is all that a network does when it learns. Here the hillside is the simplest possible, the curve of
:math:`f(x) = x^2`, and the only thing to choose is the length of the steps: too small, right, or too large.

Prerequisites: none.
"""

import numpy as np

from chainrule.first_principles.descent import Path, descend, parabola, parabola_gradient, table
from chainrule.lessons import show
from chainrule.plots import animation, charts, descent

# %%
# The slope under your feet
# -------------------------
#
# A straight line has one slope. A curve is steeper in one place than in another. To feel its slope where you stand, go
# a little to the right, and see how much the height changes.
#
# Rise over run: the height changes by :math:`f(x + h) - f(x)` over a distance of :math:`h`. This ratio is the slope of
# the straight line through the two points, the **secant**. It is not quite what we want, because the curve bends
# between the two. So let the second point come closer. The secant turns, and settles on the line that only touches the
# curve, the **tangent**. Its slope is the **derivative** at :math:`x`, written :math:`f'(x)` (say "f prime of x"):
#
# .. math:: f'(x) = \lim_{h \to 0} \frac{f(x + h) - f(x)}{h}
#
# "lim" is the **limit**: the number that the ratio comes as close to as you like, if only :math:`h` is small enough.
# (:math:`h` never becomes 0 itself; 0 divided by 0 says nothing.) For :math:`f(x) = x^2` it can be worked out:
#
# .. math:: \frac{(x + h)^2 - x^2}{h} = \frac{x^2 + 2xh + h^2 - x^2}{h} = 2x + h
#
# As :math:`h` shrinks, :math:`2x` is left. A positive slope says "uphill is to the right", a negative one "uphill is to
# the left".

for x in (10.0, 1.0, -3.0):
    ratios = ", ".join(f"{(parabola(x + h) - parabola(x)) / h:.4f} (h = {h:g})" for h in (1.0, 0.1, 0.001))
    print(f"at x = {x:4.1f}: {ratios}; 2x = {parabola_gradient(x):.4f}")

x, there = 1.0, np.linspace(-1.0, 3.2, 85)
pictured = {"the curve x²": parabola(there)}
for h in (2.0, 0.8):
    secant = (parabola(x + h) - parabola(x)) / h
    pictured[f"secant, h = {h:g}: slope {secant:g}"] = parabola(x) + secant * (there - x)
tangent = parabola_gradient(x)
pictured[f"tangent: slope {tangent:g}"] = parabola(x) + tangent * (there - x)
labels = {"x_label": "x", "y_label": "height"}
show(charts.lines(pictured, there, title="The secant turns into the tangent at x = 1", **labels))

# %%
# All three lines go through the point of the curve at x = 1. Look at your feet only, and the curve and its tangent can
# hardly be told apart: that is what a slope is good for, and all it is good for.

# %%
# One step, and another
# ---------------------
#
# Downhill is against the slope. So subtract a fraction of the slope from x; this fraction is the learning rate η (eta).
#
# .. math:: x \leftarrow x - \eta\, f'(x)
#
# (Read the arrow as "becomes".) The step is long where it is steep and short where it is nearly flat, so the ball slows
# down by itself as it nears the bottom. Starting from :math:`x = 10` with :math:`\eta = 0.1`, the first slope is 20, so
# the first step is 2 long. Each line shows the position and the height *after* a step, and the slope (Gradient)
# *before* it:

# path.points has all positions and path.values all heights; number 0 is the start.
path = descend(parabola, parabola_gradient, start=10.0, learning_rate=0.1, steps=100)
print(table(path))
print(f"The lowest place found: x = {path.points[-1]:.4f}, f(x) = {path.values[-1]:.4f}")

first_steps = descend(parabola, parabola_gradient, start=10.0, learning_rate=0.1, steps=20)
show(animation.animate_descent(first_steps, parabola, (-11, 11), "The ball rolls down"))

# %%
# Every step with this rate multiplies x by the same number, and that explains everything that follows.
#
# Put :math:`f'(x) = 2x` into the rule:
#
# .. math:: x - \eta \cdot 2x = (1 - 2\eta)\, x
#
# With :math:`\eta = 0.1` each step leaves 0.8 of :math:`x`, and after :math:`n` steps :math:`0.8^n \cdot 10` is left.

print(f"after 10 steps x = {path.points[10]:.4f}, and 0.8¹⁰ · 10 = {0.8**10 * 10:.4f}")

# %%
# Too small, right, too large
# ---------------------------
#
# Twenty steps with each of four learning rates. The factor 1 - 2η predicts where the ball goes.

rates = (0.01, 0.1, 0.5, 0.9)
paths: dict[str, Path] = {}
for rate in rates:
    paths[f"rate {rate:g}"] = path = descend(parabola, parabola_gradient, 10.0, rate, steps=20)
    print(f"rate {rate:<5g} factor {1 - 2 * rate:5.2f}   x after 1, 2, 20 steps: ", end="")
    print(", ".join(f"{path.points[step]:8.4f}" for step in (1, 2, 20)))

show(descent.descent_on_curve(paths, parabola, window=(-11, 11), title="Twenty steps from x = 10"))

# %%
# 0.01 creeps: after twenty steps it has covered a third of the way. 0.1 rolls down smoothly. 0.5 has the factor 0 and
# arrives in a single step, which works only for a parabola. 0.9 overshoots the bottom at each step, but lands lower on
# the other side than where it started, and so arrives all the same.

# %%
# Change one thing
# ----------------
#
# Before you run this: what will happen at rate 1.05? And at exactly 1.0? Work out the factor 1 - 2η first.

rate = 1.05  # change me
bold = descend(parabola, parabola_gradient, 10.0, rate, steps=10)
edge = descend(parabola, parabola_gradient, 10.0, 1.0, steps=10)
print(f"the factor at rate {rate:g} is {1 - 2 * rate:.1f}, at rate 1 it is {1 - 2 * 1.0:.1f}")
print(f"rate {rate:g}:", ", ".join(f"{x:.2f}" for x in bold.points))
print("rate 1:   ", ", ".join(f"{x:.2f}" for x in edge.points))

show(descent.descent_on_curve({"rate 1": edge, f"rate {rate:g}": bold}, parabola, title="On the edge, and beyond it"))

# %%
# At 1.0 the factor is -1: the ball jumps from 10 to -10 and back, forever. At 1.05 it is -1.1: each jump lands a tenth
# further out than the last, and the ball climbs out of the valley. The slope is right; the step is too long.

everything = {}
for rate in (0.01, 0.1, 0.9, 1.0, 1.05):
    everything[f"rate {rate:g}"] = descend(parabola, parabola_gradient, 10.0, rate, steps=40).values

labels = {"x_label": "step", "y_label": "height f(x)"}
show(charts.lines(everything, np.arange(41), title="Five learning rates", log="y", **labels))

# %%
# The height is drawn on a logarithmic scale: going up by the same distance means *multiplying* by the same number. Here
# each line of the grid is a hundred times the one below. Each step multiplies the height by the same number, so it
# moves the same distance up or down, and each rate is a straight line: down for every rate between 0 and 1, level at 1,
# up beyond it. (0.1 and 0.9 share a line: the factors 0.8 and -0.8 have the same square.) When a network is trained,
# the height is its loss, the number that says how wrong it is. A loss that rises looks just like the last line, and the
# first thing to try is a smaller rate.

# %%
# Two valleys
# -----------
#
# A ball in the fog stops at the first bottom it reaches. It cannot know whether there is a deeper one elsewhere.
#
# The curve :math:`f(x) = \frac{x^4}{4} - 2x^2 + x` has two valleys, and :math:`f'(x) = x^3 - 4x + 1`. (Worked out as
# above for :math:`x^2`, the slope of :math:`x^4` is :math:`4x^3`, and that of :math:`x` is 1.) The same rule, the same
# rate, two different starts:


def two_valleys(x):
    return x**4 / 4 - 2 * x**2 + x


def two_valleys_slope(x):
    return x**3 - 4 * x + 1


starts = {f"from {x:g}": descend(two_valleys, two_valleys_slope, x, learning_rate=0.05, steps=40) for x in (3.0, -0.5)}
for name, path in starts.items():
    end, height, slope = path.points[-1], path.values[-1], two_valleys_slope(path.points[-1])
    print(f"{name:<10} ends at x = {end:7.4f}, f(x) = {height:7.4f}, where the slope is {slope:7.4f}")

show(descent.descent_on_curve(starts, two_valleys, window=(-3.3, 3.3), title="Where you start decides where you end"))

# %%
# Both end where the slope is 0, but only one at the lowest point.

# %%
# Read next
# ---------
#
# A network has thousands of numbers to change at once, not one. :Lesson:`the-bowl` has two, which is enough to see what
# is new.
#
# The code of the descent is ``chainrule.first_principles.descent.descend``, ten lines long.
