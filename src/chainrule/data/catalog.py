"""Data sets by name: where each comes from, its checksums, and `load`, which takes a name or a folder."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from chainrule.data import cache
from chainrule.data.download import fetch
from chainrule.data.folder import load_folder
from chainrule.data.image_data import FILES, ImageData
from chainrule.data.npz import load_npz
from chainrule.data.packed_mnist import ORIGINALS, SAMPLE, unpack
from chainrule.data.pictures import is_picture_folder, load_pictures
from chainrule.errors import DataError
from chainrule.images.digits import NO_DIGIT

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence


@dataclass(frozen=True)
class Source:
    """Where a data set comes from.

    Attributes:
        name: the argument of `load`, and the name of its folder in the cache.
        about: a one-line description.
        classes: what each label means.
        sha256: checksum of each published file, in the order of `FILES`; for a file that is not published but created
            here, the version of the code that creates it.
        create: yields the names and bytes of the requested files.
        patience: seconds to wait for another process that is creating the files.
        sample: an `.npz` file with a part of the data set, which only the package for browsers contains.
    """

    name: str
    about: str
    classes: tuple[str, ...]
    sha256: Mapping[str, str]
    create: cache.Creator
    patience: float
    sample: Path | None = None

    def load(self) -> ImageData:
        """Load the data set from the cache; create it there if necessary. In a browser, load its sample.

        Raises:
            DataError: the data set cannot be created, since the packed file is damaged or no mirror has it.
        """
        return self._browser_sample() or ImageData(
            self.name, self.classes, *cache.load(self.name, self.sha256, self.create, self.patience)
        )

    def load_test(self) -> ImageData:
        """Load the test images alone: the training images, which may take long to create, are not needed."""
        if sample := self._browser_sample():
            return replace(sample, train_images=sample.train_images[:0], train_labels=sample.train_labels[:0])
        checksums = {file: self.sha256[file] for file in FILES[2:]}
        images, labels = cache.load(self.name, checksums, self.create, self.patience)
        return ImageData(self.name, self.classes, images[:0], labels[:0], images, labels)

    def _browser_sample(self) -> ImageData | None:
        """Return the sample in a browser; None elsewhere.

        Raises:
            DataError: in a browser, if the data set has no sample.
        """
        if self.sample is not None and self.sample.exists():
            return replace(load_npz(self.sample, seed=None), name=self.name)
        if sys.platform == "emscripten":
            raise DataError(f"{self.name} is not available in a browser: only a tenth of mnist is")
        return None

    @property
    def cached(self) -> bool:
        """Whether the data set is in the cache."""
        return cache.is_ready(self.name, self.sha256)

    @property
    def bytes(self) -> int:
        """The size of the data set in the cache."""
        return cache.size(self.name)


def download_source(
    name: str, about: str, classes: tuple[str, ...], mirrors: tuple[str, ...], sums: tuple[str, ...]
) -> Source:
    """Return a source published as four gzip files on mirrors; `sums` are their SHA-256, in the order of `FILES`."""
    sha256 = dict(zip(FILES, sums, strict=True))
    return Source(name, about, classes, sha256, create=partial(fetch, sha256=sha256, mirrors=mirrors), patience=900)


MNIST = Source(
    "mnist",
    "handwritten digits, 60,000 + 10,000 of 28×28, by LeCun and Cortes (CC BY-SA 3.0); comes with chainrule",
    classes=tuple("0123456789"),
    sha256={file: sha256 for file, (_, sha256) in ORIGINALS.items()},
    create=unpack,
    patience=60,
    sample=SAMPLE,
)

# The authors publish only MD5 sums; these SHA-256 sums of the same files are those that other libraries use.
FASHION_MNIST = download_source(
    "fashion-mnist",
    "photographs of clothes, 60,000 + 10,000 of 28×28, by Zalando Research (MIT); downloaded, 30 MB",
    ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    mirrors=(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
    sums=(
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ),
)
KMNIST = download_source(
    "kmnist",
    "cursive Japanese characters, 60,000 + 10,000 of 28×28, by CODH (CC BY-SA 4.0); downloaded, 21 MB",
    ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    mirrors=(
        "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        "https://web.archive.org/web/2024id_/http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
    ),
    sums=(
        "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
        "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
        "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
        "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
    ),
)


def _create_handwriting(names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    from chainrule.data.handwriting.training_set import create  # imports Pillow

    return create(names)


HANDWRITING = Source(
    "handwriting",
    "MNIST, drawn digits and digits cut out of pages, with a class for what is no digit, 85,000 + 10,000 of 28×28; "
    "drawn here in three minutes",
    classes=(*MNIST.classes, NO_DIGIT),
    sha256={**dict.fromkeys(FILES[:2], "drawn from strokes, version 4"), **{f: MNIST.sha256[f] for f in FILES[2:]}},
    create=_create_handwriting,
    patience=1800,
)

SOURCES = {source.name: source for source in (MNIST, HANDWRITING, FASHION_MNIST, KMNIST)}


def mnist() -> ImageData:
    """Load MNIST: 60,000 training and 10,000 test images of the digits 0 to 9, uint8 (N, 28, 28), and labels, uint8.

    The first call unpacks 55 MB into the cache folder, in about a second; later calls map those files into memory. In
    a browser it is a tenth of each part, the first 6,000 + 1,000 images.

    Raises:
        DataError: the packed file in the package is damaged.
    """
    return MNIST.load()


def load(name: str | os.PathLike[str], *, image_size: int | None = None, seed: int = 0) -> ImageData:
    """Load a data set by its name (`available` lists them), or your own images.

    Your own images are a folder of IDX or `.npy` files, which are memory-mapped; a folder of class folders with
    pictures (`pictures.load_pictures`); or an `.npz` file (`npz.load_npz`). A name takes precedence over a folder of
    the same name; `./mnist` is always the folder.

    Args:
        name: a name or a path.
        image_size: height and width in pixels of the images of class folders; 32 if None.
        seed: of the split into training and test images, and of the order of an `.npz` file's training images.

    Raises:
        DataError: no such data set or folder, or it is incomplete, damaged or cannot be downloaded.
    """
    if str(name) == "":
        raise DataError(f"the name of the data set is empty: the data sets are {', '.join(SOURCES)}")
    if name in SOURCES:
        return SOURCES[str(name)].load()
    try:
        folder = Path(name).expanduser()
    except RuntimeError:
        raise DataError(f"{name}: there is no home folder of that name") from None
    if folder.is_dir():
        return load_pictures(folder, image_size, seed) if is_picture_folder(folder) else load_folder(folder)
    names = ", ".join(SOURCES)
    if folder.suffix.lower() == ".npz":
        return load_npz(folder, seed)
    if folder.exists():
        raise DataError(f"{folder} is a file: give a folder of images, an .npz file, or one of {names}")
    raise DataError(f"there is no data set or folder {str(name)!r}: the data sets are {names}")


def load_test(name: str | os.PathLike[str], *, image_size: int | None = None, seed: int = 0) -> ImageData:
    """Load a data set for its test images; a data set with a name comes without its training images.

    Arguments and errors are those of `load`.
    """
    return SOURCES[str(name)].load_test() if name in SOURCES else load(name, image_size=image_size, seed=seed)


def available() -> list[Source]:
    """Return the data sets that can be loaded by name."""
    return list(SOURCES.values())
