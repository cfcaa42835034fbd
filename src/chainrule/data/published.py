"""Data sets in MNIST's form that others publish: downloaded at first use, then in the cache like MNIST itself.

The sums are those of the gzipped files, as given by the authors (MD5) and by several libraries (SHA-256).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from chainrule.data import cache, idx
from chainrule.data.download import fetch
from chainrule.data.image_data import ImageData

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


@dataclass(frozen=True)
class Published:
    """A data set that its authors publish as four gzipped IDX files.

    Attributes:
        name: what it is asked for by, and its folder in the cache.
        about: one line for a list.
        classes: what each label means.
        mirrors: addresses to which `<file>.gz` is appended.
        sha256: for each file (train images, train labels, test images, test labels), the sum of its gzip.
    """

    name: str
    about: str
    classes: tuple[str, ...]
    mirrors: tuple[str, ...]
    sha256: Mapping[str, str]

    def load(self) -> ImageData:
        """The data set, from the cache, or downloaded into it.

        Raises:
            DataError: it is not in the cache and no mirror has it.
        """
        arrays = cache.load(self.name, self.sha256, self._download, patience=900)
        return ImageData(self.name, *arrays, classes=self.classes)

    def _download(self, wanted: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        for file, data in fetch({f"{file}.gz": self.sha256[file] for file in wanted}, self.mirrors):
            yield file.removesuffix(".gz"), idx.encode(idx.decode(data, file))


FASHION_MNIST = Published(
    name="fashion-mnist",
    about="pictures of clothes, 60,000 + 10,000 of 28×28, from Zalando Research (MIT licence)",
    classes=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),  # fmt: skip
    mirrors=(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
    sha256={
        "train-images-idx3-ubyte": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "train-labels-idx1-ubyte": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "t10k-images-idx3-ubyte": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "t10k-labels-idx1-ubyte": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
)

KMNIST = Published(
    name="kmnist",
    about="cursive Japanese characters, 60,000 + 10,000 of 28×28, from CODH (CC BY-SA 4.0)",
    classes=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    mirrors=(
        "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        "https://web.archive.org/web/2024id_/http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
    ),
    sha256={
        "train-images-idx3-ubyte": "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
        "train-labels-idx1-ubyte": "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
        "t10k-images-idx3-ubyte": "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
        "t10k-labels-idx1-ubyte": "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
    },
)
