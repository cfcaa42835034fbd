"""From a photo to 28×28: a picture file becomes a digit in the form of the MNIST data set.

`files` opens a picture as gray values, `raster` holds the few array tools the steps need, and `steps` goes from the
gray picture to MNIST's own form and keeps every stage on the way. For a whole page of digits, `ink` tells ink from
paper, `page` finds the digits and has them read, and `drawing` shows them on the photo; these three need SciPy, and so
are imported by name: `from chainrule.images.page import read_page`.
"""

from __future__ import annotations

from chainrule.images.files import open_photo, open_picture
from chainrule.images.steps import Stages, prepare, to_mnist

__all__ = ["Stages", "open_photo", "open_picture", "prepare", "to_mnist"]
