"""The view Microscope: one weight of a network, one image, and the equations of backpropagation.

- `view`: its messages.
- `subjects`: the networks and images to choose from.
- `look`: what is told of a weight and of a δ.
- `code`: the program that prints the same numbers.
"""
