"""Data: IDX files, MNIST (shipped inside), data sets to download, and folders of one's own.

    train, validation, test = chainrule.data.mnist().split()
    images, labels = train

Importing this is cheap: what unpacking and downloading need is imported when they happen.
"""

from chainrule.data import idx
from chainrule.data.cache import CacheWarning, cache_folder
from chainrule.data.catalogue import Entry, available, load
from chainrule.data.image_data import ImageData, Part, Split
from chainrule.data.mnist import mnist  # from here on, chainrule.data.mnist is the function

__all__ = [
    "CacheWarning",
    "Entry",
    "ImageData",
    "Part",
    "Split",
    "available",
    "cache_folder",
    "idx",
    "load",
    "mnist",
]
