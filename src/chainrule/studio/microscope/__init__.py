"""The view Microscope: one weight of a network, one image, and the equations of backpropagation.

- `view`: answers the page's messages.
- `subjects`: the networks and images to choose from.
- `look`: describes a weight and a δ.
- `code`: writes the program that prints the same numbers.
"""
