"""From a photo to 28×28: a picture file becomes a digit in the form of the MNIST data set.

`files` opens a picture as grey values, `raster` holds the few array tools the steps need, and `steps` goes from the
grey picture to MNIST's own form and keeps every stage on the way.
"""

from __future__ import annotations

from chainrule.images.files import open_picture
from chainrule.images.steps import Stages, prepare, to_mnist

__all__ = ["Stages", "open_picture", "prepare", "to_mnist"]
