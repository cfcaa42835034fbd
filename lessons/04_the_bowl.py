"""
The bowl and the valley
=======================

With two numbers to change there is a whole plane of directions to go in. Which of them leads down, and why does the
shortest way down so often turn into a zigzag?

With thousands of numbers, as in a network, nothing new happens; we just cannot draw it any more. So look closely at
these pictures: a round bowl, a long and narrow valley, and a ball that learns to keep its speed.

Prerequisites: :lesson:`neurons`, :lesson:`rolling-downhill`.
"""

import numpy as np

from chainrule.first_principles.descent import bowl, bowl_gradient, descend
from chainrule.lessons import show
from chainrule.plots import animation, charts, descent

# %%
# Two slopes at once
# ------------------
#
# Hold one number fixed and measure the slope in the other: that is a partial derivative, written with a round ∂ (read
# "partial").
#
# The bowl is :math:`f(x_1, x_2) = x_1^2 + x_2^2`. With :math:`x_2` fixed, its square is a constant with slope 0, and so
#
# .. math:: \frac{\partial f}{\partial x_1} = 2 x_1, \qquad \frac{\partial f}{\partial x_2} = 2 x_2
#
# Both together are the **gradient**, a vector: :math:`\nabla f = (2 x_1, 2 x_2)`. (The triangle is called nabla; read
# "the gradient of f".)

here, nudge = np.array([8.0, 3.0]), 1e-6  # 1e-6 is how Python writes 10⁻⁶, or 0.000001
for i, name in enumerate(("x₁", "x₂")):
    there = here.copy()  # a copy, so that here stays where it is
    there[i] += nudge
    print(f"nudging {name} alone: slope {(bowl(there) - bowl(here)) / nudge:.4f}")
print(f"the gradient there:  {bowl_gradient(here)}")

# %%
# The gradient points straight uphill
# -----------------------------------
#
# Of all directions in the plane, the gradient's is the steepest way up, and its opposite the steepest way down.
#
# Walk a short way :math:`h` in direction :math:`u`, a vector of length 1. Then :math:`x_1` changes by :math:`h u_1`,
# which changes the height by nearly :math:`h u_1 \frac{\partial f}{\partial x_1}`, and likewise for :math:`x_2`. Add
# both and divide by :math:`h`: the slope in direction :math:`u` is
#
# .. math:: u_1 \frac{\partial f}{\partial x_1} + u_2 \frac{\partial f}{\partial x_2}
#
# That is the weighted sum of :lesson:`neurons`. In the opposite direction :math:`u_1` and :math:`u_2` change their
# signs, and so does the slope: the steepest way down is opposite to the steepest way up. We try 360 directions and
# compare.

angles = np.radians(np.arange(360))  # one for each degree
directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)  # (360, 2): in each row a vector of length 1
slopes = (bowl(here + nudge * directions) - bowl(here)) / nudge  # the 360 slopes at once
steepest = directions[slopes.argmax()]  # argmax: the number of the row where the slope is largest
gradient = bowl_gradient(here)
print(f"steepest of 360 directions: {np.round(steepest, 2)}, slope {slopes.max():.2f}")
print(f"the gradient's direction:   {np.round(gradient / np.hypot(*gradient), 2)}, length {np.hypot(*gradient):.2f}")
level = np.array([-gradient[1], gradient[0]]) / np.hypot(*gradient)  # (-b, a) is at right angles to (a, b)
print(f"at right angles to it:      slope {(bowl(here + nudge * level) - bowl(here)) / nudge:.4f}")

# %%
# Compare the first two lines. The best of the 360 directions, (0.93, 0.36), is almost that of the gradient, (0.94,
# 0.35): it is the nearest whole degree. And the slope there, 17.09, is the length of the gradient: by Pythagoras the
# root of 16² + 6².
#
# At right angles to the gradient the ground is level. Walk on at right angles to it, turning as it turns, and you stay
# at the same height: on a map such a path is a contour.

# %%
# The ball in the bowl
# --------------------
#
# The rule is that of :lesson:`rolling-downhill` with vectors: subtract the gradient times the learning rate η from x.
#
# .. math:: x \leftarrow x - \eta \nabla f(x)

round_paths = {f"rate {rate:g}": descend(bowl, bowl_gradient, here, rate, steps=15) for rate in (0.02, 0.1, 0.9)}
for name, path in round_paths.items():
    print(f"{name:<9} after 1 step {np.round(path.points[1], 4)}, after 15 {np.round(path.points[-1], 4)}")

show(descent.descent_on_contour(round_paths, bowl, ((-10, 10), (-6, 6)), "A round bowl: straight to the bottom"))
show(descent.descent_on_surface(round_paths["rate 0.1"], bowl, ((-10, 10), (-10, 10)), "The same path, in the bowl"))

# %%
# In a round bowl the gradient is twice the arrow from the bottom to the ball, so every step lies on the line through
# both, and the path is straight for every rate. With 0.9 the ball jumps over the bottom, along the same line.

# %%
# A narrow valley
# ---------------
#
# Now the bowl is stretched to ten times its length in one direction, and downhill no longer points to the bottom.
#
# .. math:: f(x_1, x_2) = \left(\frac{x_1}{10}\right)^2 + x_2^2, \qquad \nabla f = \left(\frac{2 x_1}{100}, 2 x_2\right)
#
# Across the valley (:math:`x_2`) the slope is steep, along it (:math:`x_1`) almost 0. The learning rate has to suit
# both. :Lesson:`rolling-downhill` found the factor by which a step multiplies x. Across, :math:`x_2 - \eta \cdot 2 x_2`
# is :math:`(1 - 2\eta)\, x_2`, so :math:`\eta` must stay below 1. Along, :math:`x_1 - \eta \cdot \frac{2 x_1}{100}` is
# :math:`(1 - \frac{\eta}{50})\, x_1`. This factor is close to 1: even with the rate 1 a step leaves 98% of the way.


def valley(x):
    return bowl(x, (10.0, 1.0))  # x₁ is divided by 10 and x₂ by 1 before they are squared


def valley_gradient(x):
    return bowl_gradient(x, (10.0, 1.0))


start = np.array([10.0, 1.0])
window = ((-11.0, 11.0), (-2.5, 2.5))
plain = descend(valley, valley_gradient, start, learning_rate=0.9, steps=100)
print(f"gradient at the start: {valley_gradient(start)}, though the bottom lies 10 away along x₁ and 1 along x₂")
for step in (1, 2, 3, 10, 100):
    print(f"after {step:3} steps: x = {np.round(plain.points[step], 4)}, height {plain.values[step]:.2e}")

show(descent.descent_on_contour({"rate 0.9": plain}, valley, window, "The narrow valley: a zigzag"))

# %%
# It bounces from side to side, and after a hundred steps along the valley it has still not arrived. (2.64e-02 is 2.64 ·
# 10⁻², or 0.0264.) Each step is at right angles to the contour where it begins; it does not look so, because the figure
# is stretched across the valley.

# %%
# Momentum
# --------
#
# A real ball does not stop after each step: it keeps part of its speed. Let it have a velocity v.
#
# .. math:: v \leftarrow \mu v + \nabla f(x), \qquad x \leftarrow x - \eta v
#
# :math:`\mu` (mu), the **momentum**, is the fraction of the speed that is kept from step to step. At the start v is 0.
# It adds up gradients, so it points uphill as they do, and is subtracted. With :math:`\mu = 0` this is the old rule.
#
# From side to side the gradients change sign and cancel each other; along the valley they all point the same way and
# add up. With :math:`\mu = 0.8` a constant slope counts :math:`1 + 0.8 + 0.8^2 + \dots = 5` times: v grows until
# :math:`v = 0.8 v + \text{slope}`, and then :math:`0.2 v` is the slope.

rolling = descend(valley, valley_gradient, start, learning_rate=0.9, steps=100, momentum=0.8)
for step in (1, 2, 3, 10, 100):
    x = np.round(rolling.points[step], 4) + 0.0  # + 0.0 turns -0. into 0.
    print(f"after {step:3} steps: x = {x}, height {rolling.values[step]:.2e}")

# %%
# Compare with the steps without momentum. The first is the same, because v was 0. After 2 and 3 steps the ball is even
# higher than the one without: it has kept its speed across the valley. (In the second step the old velocity and the new
# slope across cancel, 0.8 · 2 - 2 · 0.8 = 0, and :math:`x_2` stays at -0.8.) But along the valley the velocity grows:
# after 10 steps the ball is lower, and after 100 it has arrived.

both = {"no momentum": plain, "momentum 0.8": rolling}
show(descent.descent_on_contour(both, valley, window, "The narrow valley, with momentum and without"))
start_of_it = descend(valley, valley_gradient, start, learning_rate=0.9, steps=40, momentum=0.8)
show(animation.animate_descent(start_of_it, valley, window, "A ball with momentum 0.8"))
heights = {name: path.values for name, path in both.items()}
labels = {"x_label": "step", "y_label": "height f(x)"}
show(charts.lines(heights, np.arange(101), title="Momentum pays in a narrow valley", log="y", **labels))

# %%
# Change one thing
# ----------------
#
# Before you run this: if momentum 0.8 is good, is 0.98 better? How many steps until the height is below 0.000001?

momentum = 0.98  # change me


def steps_needed(momentum, max_steps=5000):
    """The number of steps until the height stays below 1e-6, as text."""
    path = descend(valley, valley_gradient, start, 0.9, max_steps, momentum)
    if not path.values[-1] <= 1e-6:  # also if it is not a number
        return f"not within {max_steps}"
    return str(np.flatnonzero(path.values > 1e-6)[-1] + 1)  # flatnonzero: the steps at which that is true


for mu in sorted({0.0, 0.5, 0.7, 0.8, 0.9, 0.95, momentum}):
    print(f"momentum {mu:<5g} {steps_needed(mu):>5} steps")

wild = descend(valley, valley_gradient, start, 0.9, 100, momentum)
show(descent.descent_on_contour({f"momentum {momentum:g}": wild}, valley, None, "A ball that hardly slows down"))

# %%
# The best is in between: 63 steps with 0.8, against 381 without momentum and 722 with 0.98. With 0.98 the ball is so
# hard to stop that it shoots past the bottom and swings to and fro. With 1 it never loses speed and never arrives.

# %%
# Read next
# ---------
#
# You can now roll down any slope, if you know the slope. :Lesson:`one-neuron-learns` turns the mistakes of a neuron
# into a hillside, and lets it roll down.
#
# The bowl, the valley and momentum are in ``chainrule.first_principles.descent``. Networks are trained with momentum as
# well: ``chainrule.optim.SGD(parameters, lr=0.1, momentum=0.9)``. SGD stands for stochastic gradient descent, which
# :lesson:`stochastic-gradient-descent` explains, and ``lr`` for the learning rate.
