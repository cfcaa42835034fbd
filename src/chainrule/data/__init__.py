"""Data: MNIST (included in the package), data sets to download, folders of pictures or arrays, and CSV tables.

    train, validation, test = chainrule.data.mnist().split()
    images, labels = train

This package is cheap to import: what unpacks and downloads (lzma, pooch, rich) is imported on first use.
"""

from chainrule.data import idx, npy
from chainrule.data.augment import Augment
from chainrule.data.cache import CacheWarning
from chainrule.data.catalog import Source, available, load, load_test, mnist
from chainrule.data.dataset import TensorDataset
from chainrule.data.image_data import ImageData, Part, Split
from chainrule.data.loader import DataLoader
from chainrule.data.tables import TableData, load_table
from chainrule.files import cache_folder

__all__ = [
    "Augment",
    "CacheWarning",
    "DataLoader",
    "ImageData",
    "Part",
    "Source",
    "Split",
    "TableData",
    "TensorDataset",
    "available",
    "cache_folder",
    "idx",
    "load",
    "load_table",
    "load_test",
    "mnist",
    "npy",
]
